//! What convoys wait for, and what they do not.

use super::{Call, Client, NOW, Node, Placement, Run, Scene, half_locked, row, said, words};
use crate::command::{Merge, merge};
use crate::order::convoy::Convoy;
use crate::types::ShardId;

#[test]
fn a_convoy_needs_one_round_and_no_locks() {
    let mut scene = Scene::new();
    scene.ask(1, 1, "MSET a@0 1 b@1 1 c@2 1");
    assert!(scene.deliver(1, 0) && scene.deliver(1, 2) && scene.catch_up(1));
    assert!(scene.nodes.iter().all(Node::is_unlocked));
    assert!(scene.deliver(0, 1));
    assert!(scene.said().is_empty());
    assert!(scene.deliver(2, 1));
    assert_eq!(scene.said(), [said(1, "+OK")]);
    scene.settle();
}

#[test]
fn a_box_of_a_convoy_waits_for_the_locks_of_others() {
    // It holds the lock on shard 0 until it has both.
    let mut scene = half_locked("MSETNX a@0 1 b@2 1");
    scene.ask(1, 2, "MSET a@0 2 c@1 2");
    assert!(scene.deliver(0, 1) && scene.deliver(1, 0));
    // It has run on its own shard, so nobody may find it missing on the other.
    scene.ask(1, 3, "GET c@1");
    scene.ask(0, 4, "GET a@0");
    assert_eq!(scene.said(), [said(3, "$1 2")]);
    scene.settle();
    let replies = scene.said();
    for said in [said(1, ":1"), said(2, "+OK"), said(4, "$1 2")] {
        assert!(replies.contains(&said), "{replies:?}");
    }
}

#[test]
fn no_reader_passes_a_convoy_behind_a_read_of_the_whole_shard() {
    let mut scene = Scene::new();
    for number in 0..3 {
        scene.ask(0, 1, &format!("SET k{number}@0 1"));
    }
    scene.said();
    scene.ask(2, 1, "KEYS *");
    scene.deliver_all();
    assert!(scene.go_on(0));
    scene.ask(0, 2, "MSET a@0 2 b@1 2");
    scene.deliver_all();
    scene.ask(1, 4, "GET b@1");
    scene.ask(0, 3, "GET a@0");
    scene.ask(0, 5, "GET k0@0");
    assert_eq!(scene.said(), [said(4, "$1 2"), said(5, "$1 1")]);
    scene.settle();
    let replies = scene.said();
    assert!(replies.contains(&said(2, "+OK")) && replies.contains(&said(3, "$1 2")));
}

#[test]
fn requests_before_and_behind_a_convoy_keep_their_order() {
    let mut scene = Scene::new();
    // One client of node 1, as its core sends on what it has in one turn.
    let node = &mut scene.nodes[1];
    let (client, place) = (7, 0);
    let mut place = (place..).map(|place| Client {
        key: 0,
        id: client,
        place,
    });
    let mut next = || place.next().unwrap();
    for line in [
        "APPEND a@0 1",
        "MSET a@0 2 b@2 2",
        "APPEND a@0 3",
        "GET b@2",
    ] {
        let args = words(line);
        let row = row(line.split(' ').next().unwrap());
        let call = Call::of(row);
        match row.run {
            Run::OneShard(_) => {
                let owner = node.owner(&args.args()[1]);
                node.follow_convoy();
                node.send(owner, next(), call, args.args());
            }
            _ => {
                let Placement::Several(owners) = node.place(row, args.args()) else {
                    panic!("on several shards");
                };
                node.begin(NOW, next(), call, row, args.args(), owners);
            }
        }
    }
    scene.collect(1);
    scene.settle();
    scene.said();
    scene.ask(0, 2, "GET a@0");
    assert_eq!(scene.said(), [said(2, "$2 23")]);
}

#[test]
fn a_request_that_finds_no_memory_leaves_nothing_in_its_convoy() {
    let scene = Scene::new();
    let mut convoy = Convoy::default();
    convoy.boxes.resize_with(3, || None);
    let (key, id, place) = (0, 1, 0);
    let merge: Merge = merge::in_key_order;
    let who = (Client { key, id, place }, Call::of(row("MGET")), merge);
    let args = words("MGET a@0 b@1");
    let key = |at| {
        let located = scene.nodes[0].shard().locate(&args.args()[at]);
        (at, ShardId(at as u16 - 1), located)
    };
    let (one, both) = ([key(1)], [key(1), key(2)]);
    assert!(convoy.join(who, (args.args(), 1, true), one.into_iter(), Box::default));
    assert!(convoy.join(who, (args.args(), 1, true), both.into_iter(), Box::default));
    let locks = |convoy: &Convoy| -> Vec<_> {
        let boxes = convoy.boxes.iter().flatten();
        boxes.flat_map(|batch| batch.key_locks()).collect()
    };
    let all = locks(&convoy);
    assert_eq!((all.len(), convoy.shards()), (3, 2));
    convoy.members.pop();
    convoy.retract(1, 1);
    assert_eq!(convoy.shards(), 1, "a shard without work would not answer");
    assert_eq!(locks(&convoy), all[..1]);
    assert!(convoy.boxes[0].as_ref().unwrap().keys(0) == (0..1));
}
