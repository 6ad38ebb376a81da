//! Those who wait for entries of streams: who is served by what, and what ends it.

use super::{Client, NOW, SHARDS, Scene, key_of, said, text};
use crate::order::Unblock;
use crate::types::{Random, Slices, UnixMs};

/// A reply with one stream and one entry, whose only field has this value.
fn entry(key: &str, shard: u16, id: &str, value: &str) -> String {
    let key = key_of(key, shard);
    let bulk = |text: &str| format!("${} {text}", text.len());
    format!(
        "*1 *2 {} *1 *2 {} *2 $1 f {}",
        bulk(&key),
        bulk(id),
        bulk(value)
    )
}

fn new() -> Scene {
    let mut scene = Scene::new();
    scene.alone = true;
    scene
}

/// What `$` means is decided when the wait begins, wherever the streams lie.
#[test]
fn who_waits_gets_what_comes_after() {
    for request in [
        "XREAD BLOCK 0 STREAMS s@1 $",
        "XREAD BLOCK 0 STREAMS s@1 t@2 $ $",
    ] {
        for home in 0..SHARDS {
            let mut scene = new();
            scene.ask(1, 9, "XADD s@1 5-1 f old");
            scene.said();
            scene.ask(home, 1, request);
            scene.deliver_all();
            assert_eq!(scene.said(), []);
            // Nothing that it waits for.
            scene.ask(1, 9, "XDEL s@1 5-1");
            scene.ask(1, 9, "XSETID s@1 6-0");
            scene.deliver_all();
            scene.ask(2, 9, "XADD s@1 7-1 f new");
            scene.deliver_all();
            scene.settle();
            let replies = scene.said();
            let heard = replies.iter().filter(|reply| reply.0 == 1);
            let heard: Vec<&str> = heard.map(|reply| reply.1.as_str()).collect();
            assert_eq!(heard, [entry("s", 1, "7-1", "new")], "{request} {home}");
        }
    }
}

/// One entry is for all who read, also on several shards: in one round, not one after
/// the other.
#[test]
fn an_entry_wakes_every_reader_in_one_round() {
    let rounds = |readers: u64| {
        let mut scene = new();
        for client in 0..readers {
            let home = (client % u64::from(SHARDS)) as u16;
            scene.ask(home, client, "XREAD BLOCK 0 STREAMS s@1 t@2 $ $");
            scene.deliver_all();
        }
        scene.ask(1, 1000, "XADD s@1 7-1 f v");
        let mut boxes = 0;
        while let Some(at) =
            (0..SHARDS * SHARDS).find(|at| !scene.channels[usize::from(*at)].is_empty())
        {
            scene.deliver(at / SHARDS, at % SHARDS);
            (0..SHARDS).for_each(|node| {
                scene.catch_up(node);
            });
            boxes += 1;
        }
        scene.settle();
        let replies = scene.said();
        let served = replies.iter().filter(|reply| reply.0 < 1000);
        assert!(served.clone().all(|it| it.1 == entry("s", 1, "7-1", "v")));
        assert_eq!(served.count() as u64, readers);
        boxes
    };
    let few = rounds(6);
    assert!(rounds(300) <= few * 2, "{few} boxes are enough for six");
}

/// Who waits for something later, or only in another stream, goes on waiting.
#[test]
fn a_reader_waits_for_what_it_asked_for() {
    for streams in ["s@1 t@1", "s@1 t@2"] {
        let mut scene = new();
        scene.ask(0, 1, &format!("XREAD BLOCK 0 STREAMS {streams} 8 $"));
        scene.ask(
            1,
            2,
            &format!("XREAD COUNT 1 BLOCK 0 STREAMS {streams} 5 $"),
        );
        scene.deliver_all();
        scene.ask(1, 9, "XADD s@1 7-1 f v");
        scene.deliver_all();
        let second = said(2, &entry("s", 1, "7-1", "v"));
        assert_eq!(scene.said(), [said(9, "$3 7-1"), second]);
        scene.ask(1, 9, "XADD s@1 8-1 f w");
        scene.deliver_all();
        let first = said(1, &entry("s", 1, "8-1", "w"));
        assert_eq!(scene.said(), [said(9, "$3 8-1"), first]);
        scene.settle();
        let waits: usize = scene.nodes.iter().map(|node| node.waits().0).sum();
        assert_eq!(waits, 0);
    }
}

/// Of what a block adds on two shards a reader of both sees all or nothing.
#[test]
fn a_reader_sees_whole_blocks() {
    for seed in 0..200 {
        let (mut scene, mut random) = (new(), Random::new(seed));
        scene.ask(0, 1, "XREAD BLOCK 0 STREAMS s@1 t@2 $ $");
        scene.deliver_all();
        let adds = ["XADD s@1 7-1 f v", "XADD t@2 7-1 f v"].map(str::to_owned);
        scene.exec_over_shards((random.next() % 3) as u16, 2, &adds);
        scene.deliver_by_chance(&mut random);
        scene.settle();
        let replies = scene.said();
        let reply = &replies.iter().find(|reply| reply.0 == 1).unwrap().1;
        assert!(reply.starts_with("*2 "), "{seed}: {reply}");
    }
}

/// An end of waiting that crosses with an entry: one reply, and nothing stays.
#[test]
fn a_reader_ends_once() {
    for seed in 0..200 {
        let (mut scene, mut random) = (new(), Random::new(seed));
        for client in 0..6 {
            let home = (random.next() % 3) as u16;
            let block = [0, 50][(random.next() % 2) as usize];
            scene.ask(
                home,
                client,
                &format!("XREAD BLOCK {block} STREAMS s@1 t@2 $ $"),
            );
            scene.deliver_all();
            if random.next().is_multiple_of(2) {
                let waiting = Client {
                    key: 0,
                    id: client,
                    place: client as u32 + 1,
                };
                scene.nodes[usize::from(home)].unblock(waiting, None, Unblock::Timeout);
                scene.collect(home);
            }
        }
        scene.ask(1, 9, "XADD s@1 7-1 f v");
        scene.deliver_one_by_chance(&mut random);
        scene.now = UnixMs(NOW.0 + 100);
        for node in 0..SHARDS {
            let now = scene.now;
            scene.nodes[usize::from(node)].time_out(now);
            scene.collect(node);
        }
        scene.deliver_by_chance(&mut random);
        scene.settle();
        let mut heard: Vec<u64> = scene.said().iter().map(|reply| reply.0).collect();
        heard.sort_unstable();
        assert_eq!(heard, [0, 1, 2, 3, 4, 5, 9], "{seed}");
        let waits: usize = scene.nodes.iter().map(|node| node.waits().0).sum();
        assert_eq!(waits, 0, "{seed}");
    }
}

/// To read for a group is to write: it waits for who looks at what is pending.
#[test]
fn a_group_reads_behind_who_looks_at_what_is_pending() {
    let mut scene = new();
    for line in [
        "XADD s@1 1 f v",
        "XADD s@1 2 f v",
        "XADD s@1 3 f v",
        "XGROUP CREATE s@1 g 0",
        "XREADGROUP GROUP g c COUNT 2 STREAMS s@1 >",
    ] {
        scene.ask(1, 9, line);
    }
    scene.settle();
    scene.said();
    scene.nodes[1].shard_mut().settings.slices = Slices { above: 1, step: 1 };
    scene.ask(1, 1, "XPENDING s@1 g - + 9 c");
    scene.ask(1, 2, "XREADGROUP GROUP g c STREAMS s@1 >");
    scene.settle();
    let replies = scene.said();
    let reply_to = |client| {
        let found = replies.iter().find(|reply| reply.0 == client);
        found.map_or("", |reply| reply.1.as_str())
    };
    assert!(reply_to(1).starts_with("*2 *4 $3 1-0 "), "{replies:?}");
    assert_eq!(reply_to(2), entry("s", 1, "3-0", "v"));
}

/// Streams with a group each, `s@1` and `t@2`.
fn with_groups() -> Scene {
    let mut scene = new();
    for key in ["s@1", "t@2", "u@1"] {
        let home = key[2..].parse().unwrap();
        scene.ask(home, 9, &format!("XGROUP CREATE {key} g $ MKSTREAM"));
    }
    scene.deliver_all();
    scene.said();
    scene
}

/// What the summary of XPENDING says, in one line.
fn pending(scene: &mut Scene, key: &str) -> String {
    let home = key[2..].parse().unwrap();
    scene.ask(home, 999, &format!("XPENDING {key} g"));
    let replies = scene.said();
    replies
        .iter()
        .find(|reply| reply.0 == 999)
        .unwrap()
        .1
        .clone()
}

/// Each entry goes to one consumer, and those who came first get the first.
#[test]
fn consumers_are_served_one_by_one_in_turn() {
    for streams in ["s@1 u@1 > >", "s@1 t@2 > >"] {
        for seed in 0..50 {
            let (mut scene, mut random) = (with_groups(), Random::new(seed));
            for client in 0..6u64 {
                let home = (random.next() % 3) as u16;
                let ask = format!("XREADGROUP GROUP g c{client} COUNT 1 BLOCK 0 STREAMS {streams}");
                scene.ask(home, client, &ask);
                scene.deliver_all();
            }
            assert_eq!(scene.said(), []);
            for number in 1..=6 {
                scene.ask(1, 100, &format!("XADD s@1 {number}-1 f v"));
                if random.next().is_multiple_of(2) {
                    scene.deliver_one_by_chance(&mut random);
                }
            }
            scene.deliver_by_chance(&mut random);
            scene.settle();
            let replies = scene.said();
            for client in 0..6 {
                let heard = replies.iter().find(|reply| reply.0 == client).unwrap();
                let id = format!("{}-1", client + 1);
                assert_eq!(heard.1, entry("s", 1, &id, "v"), "{client} of {seed}");
            }
            assert!(pending(&mut scene, "s@1").starts_with("*4 :6 $3 1-1 $3 6-1 *6 "));
        }
    }
}

/// Where one stream cannot be read, nothing of another is claimed.
#[test]
fn nothing_is_claimed_beside_an_error() {
    let mut scene = with_groups();
    scene.ask(1, 9, "XADD s@1 1-1 f v");
    scene.ask(2, 9, "SET x@2 v");
    scene.said();
    for (streams, error) in [
        ("s@1 n@2 > >", "-NOGROUP No such key"),
        ("s@1 n@1 > >", "-NOGROUP No such key"),
        ("s@1 x@2 > >", "-WRONGTYPE"),
        ("s@1 t@2 > $", "-ERR The $ ID is meaningless"),
        ("s@1 t@2 > y", "-ERR Invalid stream ID"),
    ] {
        let ask = format!("XREADGROUP GROUP g c BLOCK 0 STREAMS {streams}");
        scene.ask(0, 1, &ask);
        scene.deliver_all();
        let replies = scene.said();
        assert!(replies[0].1.starts_with(error), "{streams}: {replies:?}");
        assert_eq!(pending(&mut scene, "s@1"), "*4 :0 $-1 $-1 *-1");
    }
    scene.settle();
}

/// Whatever takes a stream or its group away ends the waiting of the group's consumers;
/// those who only read wait for another one.
#[test]
fn consumers_are_told_that_their_group_is_gone() {
    let gone = "-NOGROUP No such key";
    for (ends, error) in [
        ("DEL s@1", gone),
        ("XGROUP DESTROY s@1 g", gone),
        ("SET s@1 v", "-WRONGTYPE"),
        ("RENAME s@1 r@1", gone),
        ("RENAME s@1 r@2", gone),
        ("RENAME w@1 s@1", "nothing"),
        ("MOVE s@1 1", gone),
        ("FLUSHDB", gone),
        ("FLUSHALL", gone),
        ("SWAPDB 0 1", gone),
        ("PEXPIREAT s@1 1", gone),
    ] {
        for streams in ["s@1 u@1", "s@1 t@2"] {
            let mut scene = with_groups();
            scene.ask(1, 9, "XGROUP CREATE w@1 g $ MKSTREAM");
            scene.said();
            let ask = format!("XREADGROUP GROUP g c BLOCK 0 STREAMS {streams} > >");
            scene.ask(0, 1, &ask);
            scene.deliver_all();
            scene.ask(2, 2, &format!("XREAD BLOCK 0 STREAMS {streams} $ $"));
            scene.deliver_all();
            assert_eq!(scene.said().iter().filter(|it| it.0 < 9).count(), 0);
            scene.ask(0, 9, ends);
            scene.settle();
            let replies = scene.said();
            let heard = replies.iter().find(|reply| reply.0 == 1);
            match heard {
                Some(reply) => assert!(reply.1.starts_with(error), "{ends}: {reply:?}"),
                None => assert_eq!(error, "nothing", "{ends} of {streams}"),
            }
            assert!(
                replies.iter().all(|reply| reply.0 != 2),
                "{ends}: {replies:?}"
            );
        }
    }
}

/// The time of a stream comes while nobody looks at it.
#[test]
fn consumers_are_told_that_their_stream_has_expired() {
    for streams in ["s@1 u@1", "s@1 t@2"] {
        let mut scene = with_groups();
        scene.ask(1, 9, &format!("PEXPIREAT s@1 {}", NOW.0 + 10));
        let ask = format!("XREADGROUP GROUP g c BLOCK 0 STREAMS {streams} > >");
        scene.ask(0, 1, &ask);
        scene.deliver_all();
        scene.said();
        scene.now = UnixMs(NOW.0 + 20);
        let now = scene.now;
        while scene.nodes[1].shard_mut().expire_due(now, 100).more {}
        scene.nodes[1].serve(now);
        scene.collect(1);
        scene.settle();
        let replies = scene.said();
        assert!(replies[0].1.starts_with("-NOGROUP"), "{replies:?}");
    }
}

/// A history is never waited for, and `>` beside it brings what is new.
#[test]
fn histories_are_read_beside_what_is_new() {
    let mut scene = with_groups();
    for (home, line) in [
        (1, "XADD s@1 1-1 f v"),
        (2, "XADD t@2 1-1 f w"),
        (0, "XREADGROUP GROUP g c STREAMS s@1 >"),
    ] {
        scene.ask(home, 9, line);
        scene.deliver_all();
    }
    scene.said();
    let read = |scene: &mut Scene| {
        scene.ask(0, 1, "XREADGROUP GROUP g c BLOCK 0 STREAMS s@1 t@2 0 >");
        scene.settle();
        scene.said().remove(0).1
    };
    let (first, second) = (entry("s", 1, "1-1", "v"), entry("t", 2, "1-1", "w"));
    let (first, second) = (first.replacen("*1 ", "", 1), second.replacen("*1 ", "", 1));
    assert_eq!(read(&mut scene), format!("*2 {first} {second}"));
    assert_eq!(read(&mut scene), format!("*1 {first}"));
    assert!(pending(&mut scene, "t@2").starts_with("*4 :1 "));
}

/// A group may go on in slices under its locks: nobody else reads for it meanwhile, and
/// what it was delivered has its place in the log before what others are.
#[test]
fn a_group_is_read_by_one_at_a_time() {
    let mut scene = new();
    for line in [
        "XGROUP CREATE s@1 g 0 MKSTREAM",
        "XGROUP CREATE t@1 g 0 MKSTREAM",
        "XADD s@1 1-1 f v",
        "XADD t@1 1-1 f v",
    ] {
        scene.ask(1, 9, line);
    }
    scene.said();
    for node in &mut scene.nodes {
        node.shard_mut().settings.slices = Slices { above: 1, step: 1 };
        node.shard_mut().settings.long_replies.piece = 1;
    }
    scene.ask(1, 1, "XREADGROUP GROUP g one STREAMS s@1 t@1 > >");
    assert_eq!(scene.said(), []);
    assert!(scene.go_on(1), "the second stream is still to be read");
    scene.ask(1, 2, "XREADGROUP GROUP g other STREAMS t@1 >");
    scene.ask(1, 3, "XACK t@1 g 1-1");
    scene.settle();
    let replies = scene.said();
    let reply = |client| &replies.iter().find(|reply| reply.0 == client).unwrap().1;
    assert!(reply(1).starts_with("*2 "), "{}", reply(1));
    assert_eq!((reply(2).as_str(), reply(3).as_str()), ("*-1", ":1"));
}

/// Who goes while it is being served has its reply, or has been delivered nothing.
#[test]
fn a_worker_that_goes_has_got_what_is_pending_with_it() {
    let mut ends = [0, 0];
    for boxes in 0..40 {
        let mut scene = new();
        for (home, line) in [
            (1, "XGROUP CREATE s@1 g 0 MKSTREAM"),
            (2, "XGROUP CREATE t@2 g 0 MKSTREAM"),
            (0, "XREADGROUP GROUP g one BLOCK 0 STREAMS s@1 t@2 > >"),
        ] {
            scene.ask(home, u64::from(home), line);
            scene.deliver_all();
        }
        let waiting = Client {
            key: 0,
            id: 0,
            place: scene.asked,
        };
        scene.said();
        scene.ask(1, 9, "XADD s@1 7-1 f v");
        for _ in 0..boxes {
            let full = |at: &u16| !scene.channels[usize::from(*at)].is_empty();
            if let Some(at) = (0..SHARDS * SHARDS).find(full) {
                scene.deliver(at / SHARDS, at % SHARDS);
            }
        }
        scene.nodes[0].unblock(waiting, None, Unblock::Gone);
        scene.collect(0);
        scene.deliver_all();
        scene.settle();
        let replies = scene.said();
        let reply = replies.iter().find(|reply| reply.0 == 0);
        let is_served = reply.is_some_and(|reply| reply.1 == entry("s", 1, "7-1", "v"));
        scene.ask(1, 9, "XACK s@1 g 7-1");
        let acked = format!(":{}", u64::from(is_served));
        assert_eq!(scene.said(), [said(9, &acked)], "{boxes}: {replies:?}");
        ends[usize::from(is_served)] += 1;
    }
    assert!(ends[0] > 0 && ends[1] > 0, "{ends:?}");
}

/// Who waits for a group behind one who only reads needs locks of its own: under those of
/// the other what it was delivered would come behind its acknowledgement in the log.
#[test]
fn a_group_is_served_under_locks_of_its_own() {
    let mut served = 0;
    for steps in 0..12 {
        let mut scene = new();
        scene.ask(1, 9, "XGROUP CREATE s@1 g 0 MKSTREAM");
        scene.ask(1, 9, "XGROUP CREATE t@1 g 0 MKSTREAM");
        for node in &mut scene.nodes {
            let shard = node.shard_mut();
            shard.settings.slices = Slices { above: 1, step: 1 };
            shard.effects().record(true);
        }
        scene.ask(1, 1, "XREAD COUNT 2 BLOCK 0 STREAMS s@1 t@1 $ $");
        scene.ask(1, 2, "XREADGROUP GROUP g c BLOCK 0 STREAMS s@1 t@1 > >");
        // More than one slice for the worker, one for who reads before it.
        let adds: Vec<String> = (1..=200)
            .map(|number| format!("XADD s@1 {number}-1 f v"))
            .collect();
        scene.exec(1, 9, &adds);
        let now = scene.now;
        scene.nodes[1].serve(now);
        for _ in 0..steps {
            scene.go_on(1);
        }
        scene.ask(1, 3, "XACK s@1 g 1-1");
        scene.settle();
        let replies = scene.said();
        let reply = replies.iter().find(|reply| reply.0 == 3).unwrap();
        let log = text(&scene.nodes[1].shard_mut().effects().take());
        let [claimed, acked] = ["XCLAIM", "XACK"].map(|name| log.find(name));
        let is_behind = claimed.is_some() && acked > claimed;
        assert!(is_behind == (reply.1 == ":1"), "{steps}: {reply:?}");
        served += u64::from(is_behind);
    }
    assert!(served > 0);
}

/// A group, a consumer and a key may be called as the word before the keys is, wherever
/// what would be taken for keys then belongs.
#[test]
fn a_group_does_not_hide_the_keys() {
    for (consumer, stream) in [("c@1", "s@2"), ("c@1", "s@0"), ("c@0", "s@1")] {
        let mut scene = new();
        for request in [
            &format!("XGROUP CREATE {stream} STREAMS 0 MKSTREAM"),
            &format!("XADD {stream} 5-1 f v"),
        ] {
            scene.ask(0, 9, request);
            scene.settle();
        }
        scene.said();
        let ask = format!("XREADGROUP COUNT 1 GROUP STREAMS {consumer} STREAMS {stream} >");
        scene.ask(0, 1, &ask);
        scene.settle();
        let (key, shard) = stream.split_once('@').unwrap();
        let found = entry(key, shard.parse().unwrap(), "5-1", "v");
        assert_eq!(scene.said(), [said(1, &found)]);
    }
}
