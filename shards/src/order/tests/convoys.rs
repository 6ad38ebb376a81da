//! What convoys wait for, and what they do not.

use super::{Call, Client, Scene, row, said, words};
use crate::command::Merge;
use crate::order::convoy::Convoy;
use crate::types::ShardId;

/// A convoy of node 1 has its places on all shards, its boxes are on their way.
fn on_its_way(line: &str) -> Scene {
    let mut scene = Scene::new();
    scene.ask(1, 1, line);
    assert!(scene.deliver(1, 0) && scene.deliver(0, 2));
    assert!(scene.deliver(2, 1) && scene.deliver(0, 1));
    assert!(scene.said().is_empty());
    scene
}

#[test]
fn a_convoy_on_all_shards_goes_on_behind_another_and_runs_after_it() {
    let mut scene = on_its_way("MSET a@0 1 b@1 1 c@2 1");
    scene.ask(2, 2, "MSET a@0 2 d@1 2 e@2 2");
    assert!(scene.deliver(2, 0) && scene.deliver(0, 1));
    assert!(scene.deliver(0, 2) && scene.deliver(1, 2) && scene.deliver(1, 2));
    // It has run on its own core and on shard 1, although it has to wait on shard 0.
    assert!(scene.deliver(2, 1) && scene.deliver(2, 1));
    scene.ask(2, 3, "GET e@2");
    scene.ask(1, 4, "GET d@1");
    assert_eq!(scene.said(), [said(3, "$1 2"), said(4, "$1 2")]);
    // Its box overtakes that of the other.
    assert!(scene.deliver(2, 0));
    scene.ask(0, 5, "GET a@0");
    assert!(scene.said().is_empty());
    scene.settle();
    let replies = scene.said();
    assert_eq!(replies.len(), 3);
    assert!(replies.contains(&said(5, "$1 2")));
}

#[test]
fn a_convoy_on_some_shards_waits_until_what_it_follows_is_over() {
    let mut scene = Scene::new();
    scene.ask(1, 1, "MSET a@0 1 b@2 1");
    assert!(scene.deliver(1, 0));
    // The first has no lock on shard 2 yet, so the second must not be seen before it.
    scene.ask(1, 2, "MSET a@0 2 c@1 2");
    assert!(scene.deliver(1, 0));
    while scene.deliver(0, 1) || scene.deliver(1, 0) {}
    scene.ask(1, 3, "GET c@1");
    scene.ask(2, 4, "GET b@2");
    assert_eq!(scene.said(), [said(4, "$-1")]);
    scene.settle();
    assert!(scene.said().contains(&said(3, "$1 2")));
}

#[test]
fn a_convoy_of_the_coordinator_and_one_other_needs_one_round() {
    let mut scene = Scene::new();
    scene.ask(0, 1, "MSET a@0 1 b@1 1");
    scene.ask(0, 2, "GET a@0");
    assert!(scene.deliver(0, 1));
    scene.ask(1, 3, "GET b@1");
    assert_eq!(scene.said(), [said(3, "$1 1")]);
    assert!(scene.deliver(1, 0));
    assert_eq!(scene.said(), [said(1, "+OK"), said(2, "$1 1")]);
    scene.settle();
}

#[test]
fn locks_that_come_with_the_work_are_waited_for_with_it() {
    let mut scene = Scene::new();
    // The order is: first the one of node 1, then that of node 0.
    scene.ask(1, 1, "MSET a@0 1 b@1 1 c@2 1");
    assert!(scene.deliver(1, 0) && scene.deliver(0, 1));
    scene.ask(0, 2, "MSET d@0 2 b@1 2");
    assert!(scene.deliver(0, 1));
    scene.ask(1, 3, "GET b@1");
    assert!(scene.said().is_empty());
    scene.settle();
    let replies = scene.said();
    assert_eq!(replies.len(), 3);
    assert!(replies.contains(&said(3, "$1 2")));
}

#[test]
fn a_convoy_has_no_place_behind_a_read_of_the_whole_shard() {
    let mut scene = Scene::new();
    scene.ask(2, 1, "DBSIZE");
    assert!(scene.deliver(2, 0) && scene.deliver(0, 1) && scene.deliver(1, 2));
    assert!(scene.deliver(0, 2) && scene.deliver(2, 1));
    // The count is over on shards 1 and 2. On shard 0 reads still pass, so nothing
    // may be seen elsewhere.
    scene.ask(0, 2, "MSET a@0 2 b@1 2");
    while scene.deliver(0, 1) || scene.deliver(1, 0) {}
    scene.ask(0, 3, "GET a@0");
    scene.ask(1, 4, "GET b@1");
    assert_eq!(scene.said(), [said(3, "$-1")]);
    scene.settle();
    let replies = scene.said();
    assert!(replies.contains(&said(1, ":0")) && replies.contains(&said(4, "$1 2")));
}

#[test]
fn a_request_that_finds_no_memory_leaves_nothing_in_its_convoy() {
    let scene = Scene::new();
    let mut convoy = Convoy::default();
    convoy.boxes.resize_with(3, || None);
    let (key, id, place) = (0, 1, 0);
    let who = (
        Client { key, id, place },
        Call::of(row("MGET")),
        Merge::KeyOrder,
    );
    let args = words("MGET a@0 b@1");
    let key = |at| {
        let located = scene.nodes[0].shard.locate(&args.args()[at]);
        (at, ShardId(at as u16 - 1), located)
    };
    let (one, both) = ([key(1)], [key(1), key(2)]);
    assert!(convoy.join(who, (args.args(), 1), one.into_iter(), Box::default));
    assert!(convoy.join(who, (args.args(), 1), both.into_iter(), Box::default));
    let locks: Vec<_> = convoy.locks(None).collect();
    assert_eq!((locks.len(), convoy.shards()), (3, 2));
    convoy.members.pop();
    convoy.retract(1, 1);
    assert_eq!(
        convoy.shards(),
        1,
        "a shard without work would grant nothing"
    );
    assert_eq!(convoy.locks(None).collect::<Vec<_>>(), locks[..1]);
    assert!(convoy.boxes[0].as_ref().unwrap().keys(0) == (0..1));
}
