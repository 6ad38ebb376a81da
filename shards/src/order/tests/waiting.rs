//! Those who wait for keys: whose turn it is, and for how long.

use super::{NOW, Scene, said};
use crate::types::UnixMs;

/// Who of two may only be served by a transaction is served in turn all the same.
#[test]
fn first_come_first_served_whatever_it_takes_to_serve() {
    for home in 0..3 {
        let mut scene = Scene::new();
        let requests = [
            "BLPOP q@1 0",
            "BLMOVE q@1 d@2 LEFT RIGHT 0",
            "BRPOP q@1 n@0 0",
            "BLMPOP 0 2 n@2 q@1 LEFT",
        ];
        scene.alone = true;
        for client in 0..12 {
            scene.ask(home, client, requests[client as usize % requests.len()]);
            scene.deliver_all();
        }
        assert!(scene.said().is_empty());
        let values: Vec<String> = (0..12).map(|value| format!("v{value:02}")).collect();
        // All but the last two at once, and those one after the other.
        scene.ask(0, 90, &format!("RPUSH q@1 {}", values[..10].join(" ")));
        scene.settle();
        for value in &values[10..] {
            scene.ask(2, 91, &format!("RPUSH q@1 {value}"));
            scene.settle();
        }
        let replies = scene.said();
        assert_eq!(replies.iter().filter(|reply| reply.0 < 12).count(), 12);
        // Each takes one: those from the right take the last there is at their turn.
        let mut left: Vec<&str> = values[..10].iter().map(String::as_str).collect();
        for (client, value) in (0..12u64).zip(&values) {
            let taken = match (client % 4, client) {
                (_, 10..) => value,
                (2, _) => left.pop().unwrap(),
                _ => left.remove(0),
            };
            let reply = replies.iter().find(|reply| reply.0 == client).unwrap();
            assert!(reply.1.contains(taken), "{client} of {home}: {reply:?}");
        }
    }
}

/// What somebody else takes in between leaves a move its place and its time.
#[test]
fn a_move_that_finds_nothing_waits_on_as_before() {
    let mut scene = Scene::new();
    scene.alone = true;
    scene.ask(0, 1, "BLMOVE q@1 d@2 LEFT LEFT 1");
    scene.deliver_all();
    scene.ask(1, 2, "BLPOP q@1 0");
    let until = Some(UnixMs(NOW.0 + 1000));
    assert_eq!(scene.nodes[0].next_timeout(), until);
    // Its turn comes, but before it is there the element has gone.
    scene.ask(1, 3, "RPUSH q@1 x");
    scene.ask(1, 4, "LPOP q@1");
    scene.now = UnixMs(NOW.0 + 700);
    scene.deliver_all();
    assert_eq!(scene.said(), [said(3, ":1"), said(4, "$1 x")]);
    assert_eq!(
        scene.nodes[0].next_timeout(),
        until,
        "its time does not begin anew"
    );
    scene.ask(1, 3, "RPUSH q@1 y");
    scene.deliver_all();
    assert_eq!(scene.said(), [said(3, ":1"), said(1, "$1 y")]);
    scene.ask(1, 3, "RPUSH q@1 z");
    assert!(scene.said().iter().any(|reply| reply.0 == 2));
    scene.settle();
}

/// Redis 7.2: the request is run again, whichever of its keys appeared first.
#[test]
fn the_first_named_of_the_keys_that_are_ready_is_taken() {
    let mut scene = Scene::new();
    scene.alone = true;
    scene.ask(0, 1, "BLPOP a@1 c@1 b@2 0");
    scene.deliver_all();
    // Nobody is served within a request: both are there when it is over.
    let pushes = ["RPUSH c@1 v", "RPUSH a@1 v"].map(str::to_owned);
    scene.exec(1, 2, &pushes);
    scene.settle();
    let replies = scene.said();
    let taken = replies.iter().find(|reply| reply.0 == 1).unwrap();
    assert_eq!(taken.1, format!("*2 $2 {} $1 v", super::key_of("a", 1)));
    scene.ask(1, 2, "LPOP c@1");
    assert_eq!(scene.said(), [said(2, "$1 v")]);
}

/// Thousands of waiters that a transaction serves, each of which lets the next be
/// served, do not make a deep stack.
#[test]
fn a_crowd_is_served_on_a_small_stack() {
    let crowd = || {
        let mut scene = Scene::new();
        scene.alone = true;
        for client in 0..4000 {
            scene.ask(0, client, &format!("BLMOVE w{client}@0 d@1 LEFT LEFT 0"));
        }
        scene.deliver_all();
        let pushes = (0..4000).map(|number| format!("RPUSH w{number}@0 v"));
        let pushes: Vec<String> = pushes.collect();
        scene.exec(0, 9999, &pushes);
        scene.settle();
        let mut served: Vec<u64> = scene.said().iter().map(|reply| reply.0).collect();
        served.sort_unstable();
        served.dedup();
        assert!((0..4000).all(|client| served.binary_search(&client).is_ok()));
    };
    let thread = std::thread::Builder::new().stack_size(512 * 1024);
    let ended = thread.spawn(crowd).unwrap().join();
    assert!(ended.is_ok(), "it has asserted something");
}
