//! Replies in pieces: who waits for them, and whom they do not keep waiting.

use super::*;
use crate::order::ticket::Ticket;
use crate::types::LongReplies;

/// A list of ten elements on shard 0, of which a client of node `home` has been
/// sent the first two.
fn half_read(home: u16) -> (Scene, Ticket) {
    let mut scene = listed();
    let ticket = begun(&mut scene, home);
    (scene, ticket)
}

fn listed() -> Scene {
    let mut scene = Scene::new();
    for node in &mut scene.nodes {
        node.shard_mut().settings.long_replies = LongReplies {
            elements: 5,
            bytes: 1000,
            piece: 14,
        };
    }
    scene.alone = true;
    scene.ask(0, 9, "RPUSH list@0 0 1 2 3 4 5 6 7 8 9");
    scene.said();
    scene
}

/// Client 1 begins to read the list.
fn begun(scene: &mut Scene, home: u16) -> Ticket {
    scene.ask(home, 1, "LRANGE list@0 0 -1");
    scene.deliver_all();
    let flows: Vec<(u16, u64, Ticket)> = scene.flows.drain(..).collect();
    assert!(matches!(flows[..], [(_, 1, _)]), "{flows:?}");
    assert_eq!(text(&scene.heard[&1]), "*10 $1 0 $1 1");
    assert!(scene.said().is_empty());
    flows[0].2
}

const WHOLE: &str = "*10 $1 0 $1 1 $1 2 $1 3 $1 4 $1 5 $1 6 $1 7 $1 8 $1 9";

impl Scene {
    /// The core of a client asks for the next piece.
    fn more(&mut self, home: u16, ticket: Ticket) {
        self.nodes[usize::from(home)].ask(NOW, ticket);
        self.collect(home);
        self.deliver_all();
    }

    fn drop_reply(&mut self, home: u16, ticket: Ticket) {
        self.nodes[usize::from(home)].drop_reply(NOW, ticket);
        self.collect(home);
        self.deliver_all();
    }

    /// Whether some reply is made without waiting for its client.
    fn hurries(&self) -> bool {
        self.nodes[0].has_slices()
    }
}

#[test]
fn a_long_reply_comes_as_it_is_asked_for() {
    for home in [0, 1] {
        let (mut scene, ticket) = half_read(home);
        for asked in 1.. {
            scene.settle_but_for_long_replies();
            scene.more(home, ticket);
            if let [(1, reply)] = &scene.said()[..] {
                assert_eq!((reply.as_str(), asked), (WHOLE, 4));
                break;
            }
        }
        scene.settle();
        scene.more(home, ticket);
        scene.settle();
        assert!(scene.said().is_empty(), "it is over");
    }
}

#[test]
fn readers_pass_and_do_not_hurry_it() {
    let (mut scene, ticket) = half_read(1);
    scene.ask(0, 2, "LLEN list@0");
    scene.ask(2, 3, "SET other@0 1");
    scene.ask(2, 4, "EXISTS list@0 other@1");
    scene.deliver_all();
    scene.settle_but_for_long_replies();
    assert_eq!(scene.said().len(), 3);
    assert!(!scene.hurries());
    scene.drop_reply(1, ticket);
    scene.settle();
}

#[test]
fn who_waits_for_the_key_does_not_wait_for_the_client() {
    let writers = [
        "RPUSH list@0 10",
        "DEL list@0",
        "MSET list@0 1 other@2 2",
        "FLUSHALL",
        "RENAME list@0 list@1",
    ];
    for line in writers {
        for home in [0, 1] {
            let (mut scene, _) = half_read(home);
            scene.ask(2, 2, line);
            scene.deliver_all();
            assert!(scene.said().is_empty(), "{line} waits");
            assert!(scene.hurries());
            scene.settle();
            let replies = scene.said();
            assert_eq!(replies[0], said(1, WHOLE), "{line}");
            assert_eq!(replies[1].0, 2, "{line}");
        }
    }
}

#[test]
fn one_that_comes_to_a_queue_is_hurried_from_the_start() {
    let mut scene = listed();
    // The writer has the lock here, and waits for the other shard's.
    scene.ask(1, 2, "DEL list@0 other@2");
    assert!(scene.deliver(1, 0));
    scene.ask(0, 1, "LRANGE list@0 0 -1");
    scene.ask(0, 3, "RPUSH list@0 new");
    scene.settle();
    let replies = scene.said();
    let all = [said(2, ":1"), said(1, "*0"), said(3, ":1")];
    assert!(
        all.iter().all(|reply| replies.contains(reply)),
        "{replies:?}"
    );

    let mut scene = listed();
    scene.ask(1, 2, "MGET list@0 other@2");
    assert!(scene.deliver(1, 0));
    // Behind the reader, the one waits and the other may not pass it.
    scene.ask(0, 3, "RPUSH list@0 new");
    scene.ask(0, 1, "LRANGE list@0 0 -1");
    scene.ask(0, 4, "RPUSH list@0 newer");
    scene.settle();
    assert!(scene.said().iter().any(|(client, _)| *client == 1));
}

#[test]
fn what_its_client_sends_later_comes_after_it() {
    let (mut scene, ticket) = half_read(1);
    scene.ask(1, 1, "RPUSH list@0 10");
    scene.ask(1, 1, "LLEN list@0");
    scene.settle();
    let replies = scene.said();
    assert_eq!(replies, [said(1, WHOLE), said(1, ":11"), said(1, ":11")]);
    scene.more(1, ticket);
    assert!(scene.said().is_empty());
}

#[test]
fn nobody_waits_for_a_reply_that_is_dropped() {
    for home in [0, 1] {
        let (mut scene, ticket) = half_read(home);
        scene.drop_reply(home, ticket);
        scene.settle();
        scene.ask(0, 2, "RPUSH list@0 10");
        assert_eq!(scene.said(), [said(2, ":11")]);
        // Dropped while it is hurried, and again.
        let ticket = begun_again(&mut scene, home);
        scene.ask(0, 2, "RPUSH list@0 11");
        scene.drop_reply(home, ticket);
        scene.drop_reply(home, ticket);
        scene.settle();
        assert_eq!(scene.said(), [said(2, ":12")]);
    }
}

fn begun_again(scene: &mut Scene, home: u16) -> Ticket {
    scene.heard.clear();
    scene.ask(home, 1, "LRANGE list@0 0 -1");
    scene.deliver_all();
    scene.flows.pop().unwrap().2
}

#[test]
fn a_key_that_is_about_to_go_stays_until_its_reply_is_made() {
    let mut scene = listed();
    let goes_at = UnixMs(NOW.0 + 5000);
    scene.ask(0, 9, &format!("PEXPIREAT list@0 {}", goes_at.0));
    scene.said();
    begun(&mut scene, 1);
    assert!(!scene.hurries());
    let soon = UnixMs(goes_at.0 - 1000);
    assert_eq!(scene.nodes[0].next_timeout(), Some(soon));
    assert!(scene.nodes[0].time_out(soon));
    assert!(scene.hurries());
    // The other core's clock is behind: it reads at the instant of the first piece.
    assert_eq!(
        scene.nodes[0].shard_mut().expire_due(goes_at, 100).expired,
        0
    );
    scene.settle();
    assert_eq!(scene.said(), [said(1, WHOLE)]);
    assert_eq!(
        scene.nodes[0].shard_mut().expire_due(goes_at, 100).expired,
        1
    );
    assert_eq!(scene.nodes[0].next_timeout(), None);
}

#[test]
fn a_key_that_goes_within_a_second_is_hurried_from_the_start() {
    let mut scene = listed();
    scene.ask(0, 9, &format!("PEXPIREAT list@0 {}", NOW.0 + 1000));
    scene.said();
    begun(&mut scene, 1);
    assert!(scene.hurries());
    scene.settle();
    assert_eq!(scene.said(), [said(1, WHOLE)]);
}

#[test]
fn a_leap_of_the_clock_takes_nothing_from_a_reply() {
    for home in [0, 1] {
        let mut scene = listed();
        scene.ask(0, 9, &format!("PEXPIREAT list@0 {}", NOW.0 + 60_000));
        scene.said();
        let ticket = begun(&mut scene, home);
        let shard = scene.nodes[0].shard_mut();
        let later = UnixMs(NOW.0 + 60_000);
        assert_eq!(shard.expire_due(later, 100).expired, 0);
        (0..4).for_each(|_| scene.more(home, ticket));
        assert_eq!(scene.said(), [said(1, WHOLE)]);
        scene.settle();
        assert_eq!(scene.nodes[0].shard_mut().expire_due(later, 100).expired, 1);
    }
}

#[test]
fn a_reply_that_cannot_be_finished_is_given_up() {
    for home in [0, 1] {
        let (mut scene, ticket) = half_read(home);
        // What no request can do: the key is locked.
        let key = key_of("list", 0);
        let mut effects = crate::Effects::default();
        let keyspace = scene.nodes[0].shard_mut().keyspace_mut(DbIndex(0));
        assert!(keyspace.at(NOW, false, &mut effects).delete(key.as_bytes()));
        scene.more(home, ticket);
        assert_eq!(scene.lost, [1]);
        scene.settle();
    }
}

/// A hash of ten fields on shard 0 that go one by one, of which a client of node
/// `home` has been sent the first.
fn half_read_hash(home: u16) -> (Scene, Ticket) {
    let mut scene = listed();
    for field in 0..10 {
        let at = NOW.0 + 60_000 + field;
        scene.ask(0, 9, &format!("HSETEX h@0 PXAT {at} FIELDS 1 {field} v"));
    }
    scene.said();
    scene.ask(home, 1, "HGETALL h@0");
    scene.deliver_all();
    let ticket = scene.flows.pop().unwrap().2;
    (scene, ticket)
}

#[test]
fn fields_that_go_while_others_look_are_still_replied() {
    for home in [0, 1] {
        for large in [false, true] {
            let (mut scene, ticket) = half_read_hash(home);
            if large {
                let settings = &mut scene.nodes[0].shard_mut().settings;
                settings.encodings.hash_max_listpack_entries = 0;
                scene.drop_reply(home, ticket);
                scene.heard.clear();
                scene.ask(
                    0,
                    9,
                    &format!("HSETEX h@0 PXAT {} FIELDS 1 x v", NOW.0 + 70_000),
                );
                scene.ask(0, 9, "HDEL h@0 x");
                scene.said();
                scene.ask(home, 1, "HGETALL h@0");
                scene.deliver_all();
                scene.flows.drain(..);
            }
            scene.now = UnixMs(NOW.0 + 60_004);
            // Nobody is shown what has gone, and nobody takes it from the reply.
            for (line, reply) in [
                ("HGET h@0 4", "$-1"),
                ("HGET h@0 5", "$1 v"),
                ("HMGET h@0 1 9", "*2 $-1 $1 v"),
                ("HEXISTS h@0 0", ":0"),
                ("HSTRLEN h@0 0", ":0"),
                ("HPTTL h@0 FIELDS 2 0 5", "*2 :-2 :1"),
            ] {
                scene.ask(0, 2, line);
                let replies = scene.said();
                assert_eq!(replies, [said(2, reply)], "{line}");
            }
            scene.nodes[0]
                .shard_mut()
                .expire_due(UnixMs(NOW.0 + 60_004), 100);
            scene.nodes[0].time_out(UnixMs(NOW.0 + 60_004));
            scene.settle();
            let replies = scene.said();
            assert_eq!(replies[0].1.split(' ').count(), 1 + 20 * 2, "{replies:?}");
            scene.nodes[0]
                .shard_mut()
                .expire_due(UnixMs(NOW.0 + 60_004), 100);
            scene.ask(0, 2, "HLEN h@0");
            assert_eq!(scene.said(), [said(2, ":5")]);
        }
    }
}

#[test]
fn a_key_that_expires_beside_a_hurried_reply_is_gone() {
    let mut scene = listed();
    scene.ask(0, 9, &format!("PEXPIREAT list@0 {}", NOW.0 + 1000));
    scene.ask(0, 9, &format!("SET x@0 old PXAT {}", NOW.0 + 10));
    scene.ask(0, 9, &format!("SET y@0 old PXAT {}", NOW.0 + 10));
    scene.said();
    begun(&mut scene, 1);
    assert!(scene.hurries());
    scene.nodes[0].shard_mut().effects().record(true);
    scene.now = UnixMs(NOW.0 + 10);
    for (line, reply) in [
        ("SET x@0 new", "+OK"),
        ("GET x@0", "$3 new"),
        ("GET y@0", "$-1"),
        ("DBSIZE", ""),
        ("DEL x@0", ":1"),
        ("SET x@0 newer", "+OK"),
    ] {
        if line == "DBSIZE" {
            assert_eq!(scene.nodes[0].shard().keyspace(DbIndex(0)).len(), 2);
            continue;
        }
        scene.ask(0, 2, line);
        assert_eq!(scene.said(), [said(2, reply)], "{line}");
        scene.nodes[0]
            .shard()
            .keyspace(DbIndex(0))
            .check_invariants();
    }
    let log = text(&scene.nodes[0].shard_mut().effects().take());
    let (x, y) = (key_of("x", 0), key_of("y", 0));
    let expected = [
        format!("DEL $2 {x}"),
        format!("SET $2 {x} $3 new"),
        format!("DEL $2 {y}"),
        format!("DEL $2 {x}"),
        format!("SET $2 {x} $5 newer"),
    ];
    let mut rest = &log[..];
    for words in expected {
        let at = rest
            .find(&words)
            .unwrap_or_else(|| panic!("{words}: {log}"));
        rest = &rest[at + words.len()..];
    }
    scene.settle();
    assert_eq!(scene.said(), [said(1, WHOLE)]);
}

#[test]
fn in_a_block_a_reply_is_made_whole() {
    let mut scene = listed();
    scene.alone = false;
    scene.ask(0, 1, "LRANGE list@0 0 -1");
    scene.ask(1, 2, "LRANGE list@0 0 -1");
    scene.settle();
    assert_eq!(scene.said(), [said(1, WHOLE), said(2, WHOLE)]);
}

#[test]
fn what_has_many_bytes_is_long_whatever_its_elements() {
    let mut scene = listed();
    let element = "e".repeat(400);
    scene.ask(
        0,
        9,
        &format!("RPUSH large@0 {element} {element} {element} {element}"),
    );
    scene.ask(0, 9, "RPUSH small@0 a b c d");
    scene.said();
    scene.ask(0, 2, "LRANGE small@0 0 -1");
    assert_eq!(scene.said(), [said(2, "*4 $1 a $1 b $1 c $1 d")]);
    scene.ask(0, 1, "LRANGE large@0 0 -1");
    assert_eq!(scene.flows.len(), 1);
    let expected = format!("*4{}", format!(" $400 {element}").repeat(4));
    while scene.said().is_empty() {
        let ticket = scene.flows.pop().unwrap().2;
        scene.more(0, ticket);
        if let Some((_, reply)) = scene.replies.first() {
            assert_eq!(*reply, expected);
        }
    }
    scene.settle();
}

#[test]
fn who_waits_for_one_key_is_served_while_another_is_read() {
    for home in [0, 1] {
        let mut scene = listed();
        scene.ask(home, 2, "BLPOP queue@0 list:@0 0");
        scene.deliver_all();
        // What is of no type that the client waits for.
        scene.ask(0, 9, "SADD list:@0 a b c d e f g h");
        scene.said();
        scene.ask(1, 1, "SMEMBERS list:@0");
        scene.deliver_all();
        assert_eq!(scene.flows.len(), 1);
        scene.ask(0, 3, "RPUSH queue@0 element");
        scene.settle();
        let mut replies = scene.said();
        replies.sort();
        let clients: Vec<u64> = replies.iter().map(|(client, _)| *client).collect();
        assert_eq!(clients, [1, 2, 3]);
        assert!(replies[1].1.ends_with("element"), "{replies:?}");
    }
}
