//! KEYS, which goes through all shards in slices: who passes it, and who waits.

use super::*;

/// Fifty keys on every shard, and a KEYS that all shards have begun.
fn keys_half_way() -> Scene {
    let mut scene = Scene::new();
    for number in 0..150 {
        let line = format!("SET k{number}@{} 1", number % SHARDS);
        scene.ask(number % SHARDS, 9, &line);
    }
    scene.said();
    scene.ask(1, 1, "KEYS *");
    scene.deliver_all();
    (0..SHARDS).for_each(|node| assert!(scene.go_on(node)));
    assert!(scene.said().is_empty());
    scene
}

#[test]
fn writers_wait_for_the_end_of_keys_and_readers_do_not() {
    let mut scene = keys_half_way();
    scene.ask(0, 2, "SET k0@0 2");
    scene.ask(0, 3, "GET k3@0");
    scene.ask(2, 4, "MGET k0@0 k1@1 n@2");
    scene.ask(1, 5, "DBSIZE");
    scene.ask(0, 6, "MGET k0@0 k1@1");
    scene.deliver_all();
    let mut replies = scene.said();
    replies.sort();
    // The two on several shards came behind the writer on one of them.
    assert_eq!(replies, [said(3, "$1 1")]);
    scene.settle();
    let mut replies = scene.said();
    replies.sort();
    assert!(replies[0].1.starts_with("*150 "));
    assert_eq!(replies[1], said(2, "+OK"));
    assert_eq!(replies[2], said(4, "*3 $1 2 $1 1 $-1"));
    assert_eq!(replies[3], said(5, ":150"));
}

#[test]
fn readers_on_several_shards_pass_keys_as_long_as_nobody_writes() {
    let mut scene = keys_half_way();
    scene.ask(2, 4, "MGET k0@0 k1@1 n@2");
    scene.ask(1, 5, "DBSIZE");
    scene.ask(0, 6, "KEYS k1?@0");
    scene.deliver_all();
    let mut replies = scene.said();
    replies.sort();
    assert_eq!(replies, [said(4, "*3 $1 1 $1 1 $-1"), said(5, ":150")]);
    scene.ask(0, 7, "DEL k0@0 k1@1");
    scene.settle();
    assert!(scene.said().contains(&said(7, ":2")));
}

#[test]
fn what_expires_during_keys_is_met_all_the_same_and_is_gone_for_others() {
    let mut scene = Scene::new();
    for number in 0..20 {
        scene.ask(0, 9, &format!("SET k{number}@0 1 PXAT {}", NOW.0 + 1));
    }
    scene.said();
    scene.ask(0, 1, "KEYS *");
    scene.deliver_all();
    assert!(scene.go_on(0));
    let later = UnixMs(NOW.0 + 1);
    let shard = scene.nodes[0].shard_mut();
    assert_eq!(shard.expire_due(later, 100).expired, 0);
    for (line, reply) in [("GET k3@0", "$-1"), ("RANDOMKEY", "$-1")] {
        let args = words(line);
        let mut out = Vec::new();
        let call = Call::of(row(line.split(' ').next().unwrap()));
        let _ = shard.apply(later, &call.request(args.args()), &mut out);
        assert_eq!(text(&out), reply);
    }
    scene.settle();
    let replies = scene.said();
    assert!(replies[0].1.starts_with("*20 "), "{replies:?}");
    assert_eq!(
        scene.nodes[0].shard_mut().expire_due(later, 100).expired,
        20
    );
}
