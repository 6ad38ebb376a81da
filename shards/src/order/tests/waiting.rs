//! Those who wait for keys: whose turn it is, and for how long.

use super::{Client, NOW, Scene, key_of, said};
use crate::order::Unblock;
use crate::types::{DbIndex, Random, UnixMs};

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
    assert_eq!(taken.1, format!("*2 $2 {} $1 v", key_of("a", 1)));
    scene.ask(1, 2, "LPOP c@1");
    assert_eq!(scene.said(), [said(2, "$1 v")]);
}

/// The same where a block fills keys on several shards, which are not done with it at
/// one time: a key that is still locked may be the first.
#[test]
fn the_first_named_is_taken_whichever_shard_is_done_first() {
    for seed in 0..200 {
        let (mut scene, mut random) = (Scene::new(), Random::new(seed));
        scene.alone = true;
        scene.ask(0, 1, "BLPOP a@1 b@2 c@0 0");
        scene.deliver_all();
        let pushes = ["RPUSH c@0 v", "RPUSH b@2 v", "RPUSH a@1 v"].map(str::to_owned);
        let home = (random.next() % 3) as u16;
        scene.exec_over_shards(home, 2, &pushes);
        scene.deliver_by_chance(&mut random);
        scene.settle();
        let replies = scene.said();
        let taken = replies.iter().find(|reply| reply.0 == 1).unwrap();
        assert_eq!(taken.1, format!("*2 $2 {} $1 v", key_of("a", 1)), "{seed}");
    }
}

/// In whatever order boxes arrive, and whoever gives up in between: the first who
/// still waits takes the next element.
#[test]
fn turns_are_kept_in_whatever_order_boxes_arrive() {
    let requests = [
        "BLPOP q@1 0",
        "BLMOVE q@1 d@2 LEFT RIGHT 0",
        "BLPOP n@0 q@1 0",
        "BLMPOP 0 2 n@2 q@1 LEFT",
    ];
    for seed in 0..200 {
        let (mut scene, mut random) = (Scene::new(), Random::new(seed));
        scene.alone = true;
        let mut waiting: Vec<(u64, u16, u32)> = Vec::new();
        for client in 0..12 {
            let home = (random.next() % 3) as u16;
            let kind = (random.next() % requests.len() as u64) as usize;
            scene.ask(home, client, requests[kind]);
            // Its keys are all on shard 1, or not.
            waiting.push((client, home, if kind == 0 { 1 } else { u32::MAX }));
            scene.deliver_all();
        }
        for _ in 0..3 {
            let (id, home, owner) = waiting.remove(random.next() as usize % waiting.len());
            // Everybody has asked once, in turn.
            let (key, place) = (0, id as u32 + 1);
            let owner = (owner == 1).then_some(crate::types::ShardId(1));
            let how = [Unblock::Timeout, Unblock::Error, Unblock::Gone][random.next() as usize % 3];
            let client = Client { key, id, place };
            scene.nodes[usize::from(home)].unblock(client, owner, how);
            scene.collect(home);
            if random.next() % 2 == 0 {
                scene.deliver_by_chance(&mut random);
            }
        }
        scene.deliver_by_chance(&mut random);
        scene.said();
        for value in 0..waiting.len() {
            scene.ask(1, 90, &format!("RPUSH q@1 v{value}."));
            if random.next() % 3 == 0 {
                scene.deliver_by_chance(&mut random);
            }
        }
        scene.deliver_by_chance(&mut random);
        scene.settle();
        let replies = scene.said();
        for (value, (client, ..)) in waiting.iter().enumerate() {
            let reply = replies.iter().find(|reply| reply.0 == *client);
            let (_, text) = reply.unwrap_or_else(|| panic!("{seed}: {client} waits"));
            assert!(
                text.contains(&format!("v{value}.")),
                "{seed}: {client}: {text}"
            );
        }
    }
}

/// One who is being served is in the way of those behind it, but not of those who
/// wait for a key of the same name in another database, or for another type.
#[test]
fn a_turn_holds_up_nobody_in_another_database() {
    let mut scene = Scene::new();
    scene.alone = true;
    scene.ask(0, 1, "BLMOVE q@1 d@2 LEFT LEFT 0");
    scene.deliver_all();
    scene.db = DbIndex(1);
    scene.ask(1, 2, "BZPOPMIN q@1 0");
    scene.db = DbIndex(0);
    scene.ask(1, 3, "RPUSH q@1 x");
    scene.db = DbIndex(1);
    scene.ask(1, 4, "ZADD q@1 1 m");
    let replies = scene.said();
    assert!(replies.iter().any(|reply| reply.0 == 2), "{replies:?}");
    scene.settle();
    assert!(scene.said().contains(&said(1, "$1 x")));
}

/// A turn that comes when the request has ended is about that request, not about the
/// next of its client.
#[test]
fn a_turn_that_comes_too_late_leaves_the_next_request_alone() {
    let mut scene = Scene::new();
    scene.alone = true;
    scene.ask(0, 1, "BLMOVE q@1 d@2 LEFT LEFT 1");
    scene.deliver_all();
    scene.ask(1, 2, "RPUSH q@1 x");
    scene.ask(1, 2, "LPOP q@1");
    scene.now = UnixMs(NOW.0 + 1000);
    let now = scene.now;
    assert!(scene.nodes[0].time_out(now));
    scene.collect(0);
    scene.ask(0, 1, "BLPOP q@1 0");
    let replies = scene.said();
    assert_eq!(replies, [said(2, ":1"), said(2, "$1 x"), said(1, "*-1")]);
    scene.deliver_all();
    scene.ask(1, 2, "RPUSH q@1 y");
    scene.settle();
    let replies = scene.said();
    let own: Vec<_> = replies.iter().filter(|reply| reply.0 == 1).collect();
    let text = format!("*2 $2 {} $1 y", key_of("q", 1));
    assert_eq!(own, [&said(1, &text)]);
}

/// What appears for one whose client has gone meanwhile stays where it is.
#[test]
fn who_has_gone_before_its_turn_is_over_takes_nothing() {
    let mut scene = Scene::new();
    scene.alone = true;
    scene.ask(0, 1, "BLMOVE q@1 d@2 LEFT LEFT 0");
    scene.deliver_all();
    scene.ask(1, 2, "RPUSH q@1 x");
    // Its home core tries: the locks are on their way.
    assert!(scene.deliver(1, 0));
    let (key, id, place) = (0, 1, 1);
    scene.nodes[0].unblock(Client { key, id, place }, None, Unblock::Gone);
    scene.settle();
    scene.ask(1, 2, "LLEN q@1");
    scene.ask(2, 3, "EXISTS d@2");
    let replies = scene.said();
    let expected = [said(2, ":1"), said(1, ""), said(2, ":1"), said(3, ":0")];
    assert_eq!(replies, expected);
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

/// As CLIENT PAUSE does it: what travels arrives, and if nobody had anything under way
/// or has written meanwhile, nothing follows, whoever goes on waiting.
#[test]
fn what_may_still_write_is_known() {
    let scenes: &[&[&str]] = &[
        &["MSET a@0 1 b@2 1"],
        &["MGET a@0 b@2", "SET a@0 1"],
        &[
            "BLMOVE q@1 d@2 LEFT LEFT 0",
            "BLMOVE d@2 e@0 LEFT LEFT 0",
            "RPUSH q@1 x",
        ],
        &["BLPOP n@0 e@2 0", "BLPOP e@1 0", "RPUSH e@2 x"],
        &["RENAME a@0 b@1", "BRPOPLPUSH q@1 d@2 0"],
    ];
    let mut met_under_way = 0;
    for (number, lines) in (0..).zip(scenes.repeat(200)) {
        let mut random = Random::new(number);
        let mut scene = Scene::new();
        scene.alone = true;
        scene.ask(0, 9, "SET a@0 old");
        let (last, before) = lines.split_last().unwrap();
        for (client, line) in (1..).zip(before) {
            scene.ask(1, client, line);
            // Who waits is there before what he waits for.
            if line.starts_with('B') {
                scene.deliver_all();
            }
        }
        scene.ask(1, 8, last);
        // The pause begins at any time.
        for _ in 0..random.next() % 12 {
            scene.deliver_one_by_chance(&mut random);
        }
        let state = |scene: &mut Scene| {
            let nodes = scene.nodes.iter_mut();
            let states =
                nodes.map(|node| (node.has_writes(), node.shard_mut().effects().changes()));
            let (busy, changes): (Vec<bool>, Vec<u64>) = states.unzip();
            (busy.contains(&true), changes)
        };
        loop {
            let began = state(&mut scene);
            let mut travels: Vec<usize> = scene.channels.iter().map(|it| it.len()).collect();
            while travels.iter().any(|boxes| *boxes > 0) {
                let channel = random.next() % 9;
                // Later ones may come as well.
                travels[channel as usize] = travels[channel as usize].saturating_sub(1);
                scene.deliver(channel as u16 / 3, channel as u16 % 3);
            }
            if began == state(&mut scene) && !began.0 {
                scene.settle();
                assert_eq!(state(&mut scene), began, "{lines:?}, {number}");
                break;
            }
            met_under_way += 1;
            assert!(met_under_way < 100 * 1000, "{lines:?} is never over");
        }
    }
    assert!(met_under_way > 100, "{met_under_way}");
}

/// The first who waits for a key may have nothing to take from it, because it is where he
/// moves to; the next needs another key, too. Each is looked at once.
#[test]
fn who_has_nothing_to_take_lets_the_next_be_served() {
    let mut scene = Scene::new();
    for number in 0..5 {
        scene.ask(1, 9, &format!("SET k{number}@1 v"));
    }
    scene.alone = true;
    scene.ask(1, 1, "BLMOVE a@1 b@1 LEFT LEFT 0");
    scene.ask(1, 2, "BLMOVE b@1 c@1 LEFT LEFT 0");
    scene.alone = false;
    scene.settle();
    scene.said();
    // While all keys are read, both wait for the lock.
    scene.ask(1, 3, "KEYS *");
    scene.deliver_all();
    scene.ask(1, 4, "RPUSH b@1 x");
    scene.ask(1, 5, "RPUSH b@1 y");
    scene.settle();
    let replies = scene.said();
    assert!(replies.contains(&said(2, "$1 x")), "{replies:?}");
    scene.ask(1, 6, "LRANGE b@1 0 -1");
    scene.settle();
    assert_eq!(scene.said(), [said(6, "*1 $1 y")]);
}
