//! What takes, looks for, chooses or copies many elements of one key, in slices: the
//! same comes of it as in one piece, and nobody sees half of it.

use super::*;
use crate::types::Slices;
use std::collections::BTreeSet;

/// What there is before each request; every collection is large enough to be no listpack.
const BEFORE: &[&str] = &[
    "RPUSH l@0 5 3 9 3 1 07 2 8 3 -1 4 3",
    "RPUSH few@0 a b",
    "SADD s@0 a b c d e f g h i 1 2 3",
    "SADD n@0 1 2 3 4 5 6 7 8 9",
    "ZADD z@0 1 a 2 b 3 c 4 d 5 e 6 f 7 g",
    "ZADD y@0 3 b 1 c 2 x",
    "HSET h@0 a 1 b 2 c 3 d 4 e 5 f 6 g 7",
    "SET string@0 1",
    "SET old@0 1",
    "SETRANGE big@0 9000 x",
    "SETRANGE more@0 5000 abc",
    "SET abc@0 aabcbcbacccacbcb",
    "SET xaybzc@0 xaybzcabccbaxyzabcc",
];

/// Requests whose replies are the same each time.
const CERTAIN: &[&str] = &[
    "LPOP l@0 3",
    "RPOP l@0 4",
    "LPOP l@0 100",
    "RPOP few@0 100",
    "LPOP none@0 3",
    "LPOP string@0 3",
    "LPOP l@0 0",
    "LMPOP 2 none@0 l@0 LEFT COUNT 5",
    "LMPOP 2 l@0 few@0 RIGHT COUNT 50",
    "LMPOP 2 none@0 string@0 RIGHT COUNT 50",
    "BLMPOP 0 2 none@0 l@0 RIGHT COUNT 3",
    "BLMPOP 0 1 l@0 LEFT",
    "LINSERT l@0 BEFORE 3 x",
    "LINSERT l@0 AFTER 4 x",
    "LINSERT l@0 AFTER none x",
    "LINSERT none@0 AFTER 1 x",
    "LINSERT string@0 AFTER 1 x",
    "LPOS l@0 3 COUNT 0",
    "LPOS l@0 3 RANK -1",
    "LPOS l@0 3 RANK -2 COUNT 2",
    "LPOS l@0 3 RANK 2 COUNT 1",
    "LPOS l@0 3 RANK 9",
    "LPOS l@0 none",
    "LPOS l@0 3 COUNT 2 MAXLEN 3",
    "LPOS l@0 3 RANK -1 COUNT 2 MAXLEN 5",
    "LPOS l@0 none COUNT 0",
    "LPOS none@0 none COUNT 0",
    "LREM l@0 0 3",
    "LREM l@0 1 3",
    "LREM l@0 -1 3",
    "LREM l@0 -3 3",
    "LREM l@0 2 4",
    "LREM l@0 0 none",
    "LREM none@0 0 none",
    "LREM wide@0 0 3",
    "LREM wide@0 -2 3",
    "COPY wide@0 d@0",
    "ZPOPMIN z@0 3",
    "ZPOPMAX z@0 5",
    "ZPOPMAX z@0 100",
    "ZPOPMIN none@0 4",
    "ZPOPMIN string@0 4",
    "ZPOPMIN z@0 0",
    "ZMPOP 2 none@0 z@0 MAX COUNT 4",
    "ZMPOP 2 y@0 z@0 MIN COUNT 100",
    "BZMPOP 0 2 none@0 z@0 MIN COUNT 2",
    "BZMPOP 0 2 z@0 y@0 MAX",
    "ZRANDMEMBER z@0 100 WITHSCORES",
    "ZRANDMEMBER none@0 100",
    "SRANDMEMBER n@0 9",
    "ZRANGESTORE d@0 z@0 1 4",
    "ZRANGESTORE old@0 z@0 (2 +inf BYSCORE LIMIT 1 3",
    "ZRANGESTORE z@0 z@0 0 -1 REV",
    "ZRANGESTORE old@0 none@0 0 -1",
    "ZRANGESTORE old@0 string@0 0 -1",
    "COPY s@0 d@0",
    "COPY z@0 d@0",
    "COPY h@0 d@0",
    "COPY l@0 d@0",
    "COPY l@0 old@0",
    "COPY l@0 old@0 REPLACE",
    "COPY l@0 l@0 DB 1",
    "COPY none@0 d@0",
    "COPY big@0 d@0",
    "SSCAN s@0 0 COUNT 100",
    "SSCAN none@0 0 COUNT 100",
    "HSCAN h@0 0 COUNT 100 MATCH [a-d]",
    "HSCAN h@0 0 COUNT 100 NOVALUES",
    "ZSCAN z@0 0 COUNT 100 MATCH [a-d]",
    "BITCOUNT big@0",
    "BITCOUNT big@0 5000 -1",
    "BITCOUNT none@0",
    "BITPOS big@0 1",
    "BITPOS big@0 1 3 71999 BIT",
    "BITPOS big@0 0 9000",
    "BITPOS big@0 1 0 8000",
    "BITOP XOR d@0 big@0 more@0",
    "BITOP AND old@0 more@0 big@0 none@0",
    "BITOP NOT more@0 more@0",
    "BITOP OR old@0 none@0 none@0",
    "LCS abc@0 xaybzc@0",
    "LCS big@0 abc@0",
    "LCS abc@0 big@0 LEN",
    "LCS more@0 abc@0 IDX WITHMATCHLEN",
    "LCS xaybzc@0 abc@0 IDX MINMATCHLEN 2",
    "LCS none@0 big@0",
    "LCS big@0 more@0",
    "LCS l@0 big@0",
    "LCS big@0 abc@0 LEN IDX",
];

/// What holds of every key afterwards, in whatever order.
const AFTER: &[&str] = &[
    "LRANGE l@0 0 -1",
    "LRANGE few@0 0 -1",
    "LRANGE wide@0 0 -1",
    "SORT s@0 ALPHA",
    "SORT n@0",
    "ZRANGE z@0 0 -1 WITHSCORES",
    "ZRANGE y@0 0 -1 WITHSCORES",
    "HMGET h@0 a b c d e f g",
    "TYPE old@0",
    "LRANGE old@0 0 -1",
    "ZRANGE old@0 0 -1 WITHSCORES",
    "TYPE d@0",
    "OBJECT ENCODING d@0",
    "OBJECT ENCODING l@0",
    "SORT d@0 ALPHA",
    "HMGET d@0 a b c d e f g",
    "STRLEN d@0",
    "BITPOS d@0 1",
    "BITCOUNT d@0",
    "STRLEN old@0",
    "BITCOUNT more@0",
];

const SLICED: Slices = Slices { above: 0, step: 1 };
const WHOLE: Slices = Slices {
    above: 1000,
    step: 1000,
};

fn set_slices(scene: &mut Scene, slices: Slices) {
    for node in &mut scene.nodes {
        node.shard_mut().settings.slices = slices;
        // A piece of a reply is short, too.
        node.shard_mut().settings.long_replies.piece = if slices == WHOLE { 1 << 20 } else { 20 };
    }
}

fn scene_with(slices: Slices, spread: fn(&str) -> String) -> Scene {
    let mut scene = Scene::new();
    scene.alone = true;
    for node in &mut scene.nodes {
        let encodings = &mut node.shard_mut().settings.encodings;
        encodings.list_max_listpack_size = 4;
        encodings.set_max_listpack_entries = 4;
        encodings.hash_max_listpack_entries = 4;
        encodings.zset_max_listpack_entries = 4;
    }
    // Elements of which a node holds only one that is long.
    let long = "x".repeat(3000);
    let wide = ["a", "b", "c", "d", "e", "f"].map(|end| format!("{long}{end} 3"));
    let wide = format!("RPUSH wide@0 {}", wide.join(" "));
    for line in BEFORE.iter().copied().chain([wide.as_str()]) {
        scene.ask(0, 9, &spread(line));
        scene.settle();
    }
    scene.said();
    set_slices(&mut scene, slices);
    scene.nodes[0].shard_mut().effects().record(true);
    scene
}

fn scene(slices: Slices) -> Scene {
    scene_with(slices, str::to_owned)
}

/// All that the keys hold.
fn holds(scene: &mut Scene, spread: fn(&str) -> String) -> Vec<String> {
    set_slices(scene, WHOLE);
    let holds = AFTER.iter().map(|line| scene.answer(0, &spread(line)));
    holds.collect()
}

/// What the log of shard 0 makes of what there was before.
fn replayed(scene: &mut Scene) -> Vec<String> {
    let log = String::from_utf8(scene.nodes[0].shard_mut().effects().take()).unwrap();
    let mut twin = self::scene(WHOLE);
    twin.replay(&log);
    holds(&mut twin, str::to_owned)
}

#[test]
fn the_same_comes_of_slices_as_of_one_piece() {
    for line in CERTAIN {
        let mut whole = scene(WHOLE);
        let reply = whole.answer(0, line);
        let log = text(&whole.nodes[0].shard_mut().effects().take());
        let changes = whole.nodes[0].shard_mut().effects().changes();
        let held = holds(&mut whole, str::to_owned);
        for (step, home) in [(1, 0), (2, 1), (3, 0), (1000, 0)] {
            let mut sliced = scene(Slices { above: 0, step });
            assert_eq!(sliced.answer(home, line), reply, "{line}");
            let effects = sliced.nodes[0].shard_mut().effects();
            assert_eq!(effects.changes(), changes, "{line}");
            if line.contains("DB 1") || step == 1000 {
                assert_eq!(text(&effects.take()), log, "{line}");
            } else {
                assert_eq!(replayed(&mut sliced), held, "{line}");
            }
            assert_eq!(holds(&mut sliced, str::to_owned), held, "{line}");
        }
    }
}

/// The same keys, but for some that are mixed with others: they are of other shards.
fn spread(line: &str) -> String {
    let places = [
        ("l@0", "l@1"),
        ("z@0", "z@1"),
        ("d@0", "d@2"),
        ("y@0", "y@2"),
        ("more@0", "more@1"),
        ("abc@0", "abc@2"),
    ];
    moved(line, &places)
}

#[test]
fn the_same_comes_of_slices_where_keys_are_spread() {
    let ask = |line: &str, home: u16, slices: Slices| {
        let mut scene = scene_with(slices, spread);
        let reply = scene.answer(home, &spread(line));
        (reply, holds(&mut scene, spread))
    };
    for line in CERTAIN {
        let whole = ask(line, 0, WHOLE);
        for (step, home) in [(1, 0), (3, 1), (2, 2)] {
            let sliced = ask(line, home, Slices { above: 0, step });
            assert_eq!(sliced, whole, "{line}");
        }
    }
}

/// Where a result is stored nobody else could make it, so it is recorded as it is.
#[test]
fn bits_of_several_shards_are_recorded_where_they_come_to() {
    let lines = CERTAIN.iter().filter(|line| line.starts_with("BITOP"));
    for line in lines {
        for home in 0..SHARDS {
            let logs = [WHOLE, SLICED].map(|slices| {
                let mut scene = scene_with(slices, spread);
                for node in &mut scene.nodes {
                    node.shard_mut().effects().record(true);
                }
                scene.answer(home, &spread(line));
                let log = |node: &mut Node| text(&node.shard_mut().effects().take());
                scene.nodes.iter_mut().map(log).collect::<Vec<_>>()
            });
            assert_eq!(logs[0], logs[1], "{line}");
        }
    }
}

/// The elements of an array that was replied.
fn elements(reply: &str) -> Vec<String> {
    let words = reply.split(' ').skip(1);
    let words = words.filter(|word| !word.starts_with(['$', '*']));
    words.map(str::to_owned).collect()
}

#[test]
fn what_chance_takes_is_gone_and_recorded() {
    for (key, count, len) in [
        ("s@0", 2, 12),
        ("s@0", 7, 12),
        ("s@0", 40, 12),
        ("n@0", 4, 9),
    ] {
        for step in [1, 3, 1000] {
            let mut scene = scene(Slices { above: 0, step });
            let before: BTreeSet<String> = elements(&scene.answer(0, &format!("SMEMBERS {key}")))
                .into_iter()
                .collect();
            let changes = scene.nodes[0].shard_mut().effects().changes();
            let reply = scene.answer(step as u16 % 2, &format!("SPOP {key} {count}"));
            let taken = elements(&reply);
            let apart: BTreeSet<String> = taken.iter().cloned().collect();
            assert_eq!((taken.len(), apart.len()), (count.min(len), count.min(len)));
            assert!(apart.is_subset(&before));
            let changed = scene.nodes[0].shard_mut().effects().changes() - changes;
            assert_eq!(changed, taken.len() as u64);
            set_slices(&mut scene, WHOLE);
            let left = elements(&scene.answer(0, &format!("SMEMBERS {key}")));
            let left: BTreeSet<String> = left.into_iter().collect();
            assert_eq!(left, &before - &apart);
            let held = holds(&mut scene, str::to_owned);
            assert_eq!(replayed(&mut scene), held);
        }
    }
}

#[test]
fn what_chance_shows_is_there() {
    let all = "a b c d e f g h i 1 2 3 4 5 6 7 8 9";
    for (line, len, different) in [
        ("SRANDMEMBER s@0 2", 2, true),
        ("SRANDMEMBER s@0 7", 7, true),
        ("SRANDMEMBER s@0 50", 12, true),
        ("SRANDMEMBER n@0 -30", 30, false),
        ("ZRANDMEMBER z@0 3", 3, true),
        ("ZRANDMEMBER z@0 -30", 30, false),
        ("HRANDFIELD h@0 1", 1, true),
        ("HRANDFIELD h@0 3", 3, true),
        ("HRANDFIELD h@0 7", 7, true),
        ("HRANDFIELD h@0 -30", 30, false),
    ] {
        for (step, home) in [(1, 0), (3, 1), (1000, 0)] {
            let mut scene = scene(Slices { above: 0, step });
            let shown = elements(&scene.answer(home, line));
            assert_eq!(shown.len(), len, "{line}");
            assert!(shown.iter().all(|it| all.contains(it)), "{line}: {shown:?}");
            let apart: BTreeSet<&String> = shown.iter().collect();
            assert_eq!(apart.len() == len, different, "{line}: {shown:?}");
        }
    }
}

/// Every member is chosen as often as any other, whichever way they are chosen.
#[test]
fn slices_choose_each_with_the_same_chance() {
    for (count, takes) in [(2, false), (6, false), (2, true), (6, true)] {
        let mut counts = std::collections::BTreeMap::new();
        let mut scene = scene(SLICED);
        for _ in 0..600 {
            let line = if takes { "SPOP" } else { "SRANDMEMBER" };
            let shown = elements(&scene.answer(0, &format!("{line} s@0 {count}")));
            if takes {
                scene.answer(0, &format!("SADD s@0 {}", shown.join(" ")));
            }
            shown
                .into_iter()
                .for_each(|it| *counts.entry(it).or_insert(0) += 1);
        }
        let expected = 600 * count / 12;
        assert_eq!(counts.len(), 12);
        for (member, times) in counts {
            let near = expected * 7 / 10..expected * 13 / 10;
            assert!(near.contains(&times), "{member}: {times} of {expected}");
        }
    }
}

/// Fields that are due are none to choose, although they are still there.
#[test]
fn fields_that_are_due_are_not_chosen_in_slices() {
    for line in [
        "HRANDFIELD h@0",
        "HRANDFIELD h@0 2",
        "HRANDFIELD h@0 40",
        "HRANDFIELD h@0 -9",
    ] {
        for slices in [SLICED, WHOLE] {
            let mut scene = scene(slices);
            let due = NOW.0 + 5;
            scene.answer(0, &format!("HPEXPIREAT h@0 {due} FIELDS 5 a b c d e"));
            // Somebody who began before sees them still, so they stay.
            let keep = scene.nodes[0].shard_mut().keep();
            keep.look(NOW);
            scene.now = UnixMs(due);
            let shown = scene.answer(0, line);
            let shown = elements(&shown.replace("$1", "*1 $1"));
            assert!(!shown.is_empty(), "{line}");
            assert!(
                shown.iter().all(|it| "fg".contains(it)),
                "{line}: {shown:?}"
            );
            scene.nodes[0].shard_mut().keep().looked(NOW);
        }
    }
}

fn under_way(home: u16, line: &str) -> Scene {
    scene(SLICED).with_under_way(home, line)
}

#[test]
fn who_needs_a_key_of_it_waits_and_nothing_is_recorded_early() {
    for (line, other, reply) in [
        ("LPOP l@0 10", "LLEN l@0", ":2"),
        ("RPOP l@0 10", "LPUSH l@0 x", ":3"),
        ("LMPOP 1 l@0 LEFT COUNT 10", "LINDEX l@0 0", "$1 4"),
        ("LREM wide@0 0 3", "LLEN wide@0", ":6"),
        ("LINSERT l@0 AFTER 4 x", "LLEN l@0", ":13"),
        ("ZPOPMAX z@0 4", "ZCARD z@0", ":3"),
        ("ZMPOP 1 z@0 MIN COUNT 4", "ZSCORE z@0 a", "$-1"),
        ("SPOP s@0 5", "SCARD s@0", ":7"),
        ("SPOP s@0 12", "EXISTS s@0", ":0"),
        ("ZRANGESTORE d@0 z@0 0 -1", "EXISTS d@0", ":1"),
        ("COPY wide@0 d@0", "LLEN d@0", ":12"),
        ("COPY wide@0 old@0 REPLACE", "TYPE old@0", "+list"),
    ] {
        for home in [0, 1] {
            let mut scene = under_way(home, line);
            scene.ask(0, 2, other);
            scene.ask(0, 3, "GET string@0");
            scene.deliver_all();
            assert_eq!(scene.said(), [said(3, "$1 1")], "{other} waits for {line}");
            let changes = scene.nodes[0].shard_mut().effects().changes();
            let mut steps = 0;
            while scene.go_on(0) {
                steps += 1;
                let is_over = !scene.nodes[0].has_slices();
                let effects = scene.nodes[0].shard_mut().effects();
                assert_eq!(effects.changes() > changes, is_over, "{line}");
                assert_eq!(effects.take().is_empty(), !is_over, "{line}");
                assert!(scene.nodes[0].has_writes() || is_over);
                scene.deliver_all();
            }
            assert!(steps > 0, "{line}");
            scene.settle();
            let replies = scene.said();
            assert!(replies.contains(&said(2, reply)), "{line}: {replies:?}");
            assert_eq!(replies.len(), 2, "{line}: {replies:?}");
        }
    }
}

#[test]
fn reads_in_slices_let_other_reads_pass() {
    for line in [
        "LPOS l@0 none",
        "SRANDMEMBER s@0 -20",
        "ZRANDMEMBER z@0 5",
        "HRANDFIELD h@0 -40",
    ] {
        let mut scene = under_way(1, line);
        for (other, reply) in [
            ("LLEN l@0", ":12"),
            ("SCARD s@0", ":12"),
            ("HLEN h@0", ":7"),
        ] {
            scene.ask(0, 2, other);
            assert!(
                scene.said().contains(&said(2, reply)),
                "{other} passes {line}"
            );
        }
        scene.settle();
    }
}

/// Client 1 of a core has a block run whose keys lie on shard 0.
fn exec_on_0(scene: &mut Scene, home: u16, lines: &[String]) {
    let (waiting, manner, block) = scene.block(1, lines);
    let node = &mut scene.nodes[usize::from(home)];
    if home > 0 {
        node.exec_there(ShardId(0), waiting, (0, manner), block);
        return scene.collect(home);
    }
    let mut reply = Vec::new();
    let who = (waiting, || waiting);
    if node
        .exec_here(NOW, who, (0, manner), block, &mut reply)
        .is_some()
    {
        scene.replies.push((1, text(&reply)));
    }
    scene.collect(0);
}

/// In a block each command is over before the next one begins.
#[test]
fn what_takes_much_is_a_command_of_a_block() {
    let lines = [
        "LPOP l@0 3",
        "LREM l@0 0 3",
        "LPOP l@0",
        "ZPOPMIN z@0 4",
        "ZPOPMIN z@0",
        "COPY l@0 d@0",
        "LMPOP 2 none@0 d@0 RIGHT COUNT 2",
        "LLEN d@0",
        "SPOP s@0 20",
        "EXISTS s@0",
        "BITOP XOR bits@0 big@0 more@0",
        "BITCOUNT bits@0",
        "LCS abc@0 xaybzc@0 IDX",
    ]
    .map(str::to_owned);
    for home in 0..SHARDS {
        for far in [false, true] {
            let mut replies = Vec::new();
            for slices in [WHOLE, SLICED] {
                let mut scene = scene(slices);
                let mut lines = lines.to_vec();
                lines.extend(far.then(|| "SET far@1 1".to_owned()));
                match far {
                    true => scene.exec_over_shards(home, 1, &lines),
                    false => exec_on_0(&mut scene, home, &lines),
                }
                scene.settle();
                let own = scene.said().into_iter().find(|reply| reply.0 == 1);
                let mut own = elements(&own.unwrap().1);
                own.sort();
                replies.push((own, holds(&mut scene, str::to_owned)));
            }
            assert_eq!(replies[0], replies[1], "home {home}, {far}");
        }
    }
}

/// Who waits and takes much takes it in slices, in turn; the next one waits for that.
#[test]
fn who_has_waited_takes_much_in_turn() {
    let push = format!("RPUSH q@1 {}", ["a"; 3].join(" ")) + " b b b c";
    let add = "ZADD p@1 1 a 1 b 1 c 2 d 2 e 2 f 3 g".to_owned();
    for (first, second, third, fill, last) in [
        (
            "BLMPOP 0 2 none@1 q@1 LEFT COUNT 3",
            "BLMPOP 0 1 q@1 LEFT COUNT 3",
            "BLPOP q@1 0",
            push,
            "c",
        ),
        (
            "BZMPOP 0 2 none@1 p@1 MIN COUNT 3",
            "BZMPOP 0 1 p@1 MIN COUNT 3",
            "BZPOPMIN p@1 0",
            add,
            "g",
        ),
    ] {
        for elsewhere in [false, true] {
            for home in 0..SHARDS {
                let mut scene = Scene::new();
                scene.alone = true;
                set_slices(&mut scene, SLICED);
                let first = match elsewhere {
                    true => first.replace("none@1", "none@2"),
                    false => first.to_owned(),
                };
                for (client, line) in [(1, first.as_str()), (2, second), (3, third)] {
                    scene.ask(home, client, line);
                    scene.deliver_all();
                }
                assert!(scene.said().is_empty());
                scene.ask(1, 4, &fill);
                scene.ask(1, 5, "EXISTS q@1 p@1");
                scene.settle();
                let replies = scene.said();
                let of = |client| &replies.iter().find(|reply| reply.0 == client).unwrap().1;
                assert_eq!(of(4), ":7");
                assert!(of(1).contains("$1 a"), "{replies:?}");
                assert!(of(2).contains(if last == "c" { "$1 b" } else { "$1 e" }));
                assert!(of(3).contains(&format!("$1 {last}")), "{replies:?}");
                assert_eq!(scene.answer(1, "EXISTS q@1 p@1"), ":0");
            }
        }
    }
}

/// A client that goes away does not stop what it has begun to take.
#[test]
fn what_has_begun_to_be_taken_is_taken_whole() {
    for (line, left, length) in [
        ("LPOP l@0 10", ":2", "LLEN l@0"),
        ("SPOP s@0 5", ":7", "SCARD s@0"),
    ] {
        let mut scene = under_way(1, line);
        assert!(scene.flows.is_empty() && scene.heard.is_empty());
        scene.settle();
        scene.said();
        assert_eq!(scene.answer(0, length), left);
    }
}

/// The reply to a write is no longer than its client may have, although it is made in
/// slices.
#[test]
fn a_reply_that_is_too_long_in_all_is_none() {
    for line in [
        "LPOP l@0 12",
        "ZPOPMIN z@0 7",
        "SPOP s@0 9",
        "SRANDMEMBER s@0 -10000000",
    ] {
        for lines in [None, Some([line.to_owned()])] {
            let mut scene = scene(SLICED);
            for node in &mut scene.nodes {
                node.shard_mut().settings.reply_max.bytes = 60;
                node.shard_mut().settings.reply_max.closes = true;
            }
            match lines {
                Some(lines) => exec_on_0(&mut scene, 0, &lines),
                None => scene.ask(0, 1, line),
            }
            scene.settle();
            let replies = scene.said();
            assert!(
                replies.iter().all(|(_, reply)| reply.len() < 80),
                "{replies:?}"
            );
        }
    }
}

/// A reply that is held back until its request is over lies in pieces, each of which is
/// moved: one buffer for all of it was copied whenever it grew, and held up the shard.
#[test]
fn a_long_reply_that_was_held_back_comes_in_pieces() {
    let longest = |scene: &Scene| {
        let heard = scene.piece_lens.iter().copied();
        (heard.clone().max().unwrap_or(0), heard.sum::<usize>())
    };
    for home in [0, 1] {
        let mut scene = Scene::new();
        scene.alone = true;
        let element = "e".repeat(500);
        for _ in 0..20 {
            let line = format!("RPUSH l@0{}", format!(" {element}").repeat(100));
            scene.ask(0, 9, &line);
            scene.settle();
        }
        scene.said();
        scene.piece_lens.clear();
        scene.ask(home, 1, "LPOP l@0 2000");
        scene.settle();
        let (longest, all) = longest(&scene);
        assert!(all > 1_000_000, "{all}");
        assert!(longest < 300_000, "{longest}");
        let replies = scene.said();
        assert_eq!(replies.len(), 1);
        assert_eq!(replies[0].1.matches(&element).count(), 2000);
    }
}
