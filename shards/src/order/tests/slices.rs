//! Requests with much to do, in slices: the same comes of them as in one piece, and
//! nobody sees half of it or waits needlessly.

use super::*;
use crate::order::Unblock;
use crate::types::Slices;

/// What there is before each request; every key is of shard 0.
const BEFORE: &[&str] = &[
    "RPUSH l@0 5 3 9 3 1 07 2 8 -1 4",
    "RPUSH words@0 b a d c a e",
    "SADD s@0 a b c d e f g h i 1 2 3",
    "SADD t@0 c d e x y 3",
    "SADD u@0 d e 3 z",
    "ZADD z@0 1 a 2 b 3 c 4 d 5 e 6 f 7 g",
    "ZADD y@0 3 b 1 c 2 x",
    "MSET w1@0 9 w2@0 1",
    "GEOADD g@0 13.36 38.11 a 15.08 37.5 b 15.08 37.5 c 12.75 37.9 d 170 80 e 15 37 f 14 38 h",
    "XADD x@0 1 f v",
    "XADD x@0 2 f v",
    "XADD x@0 3 f v",
    "XADD x@0 4 f v",
    "XADD x@0 5 f v",
    "XADD x@0 6 f v",
    "XADD i@0 1 f v",
    "XADD i@0 2 f v",
    "XADD i@0 3 f v",
    "XADD v@0 2 f v",
    "XADD v@0 9 f v",
    "XGROUP CREATE i@0 g 0",
    "XGROUP CREATE v@0 g 0",
    "SET string@0 1",
    "SET old@0 1",
];

/// Requests that may work in slices.
const HEAVY: &[&str] = &[
    "XTRIM x@0 MAXLEN 0",
    "XTRIM x@0 MAXLEN 2 DELREF",
    "XTRIM x@0 MINID 5 ACKED",
    "XTRIM x@0 MAXLEN ~ 1 LIMIT 3 ACKED",
    "XADD x@0 MAXLEN 0 7 f v",
    "XADD x@0 MAXLEN 2 DELREF 7-* f v",
    "XADD x@0 MINID ~ 4 LIMIT 2 ACKED 7 f v",
    "XADD x@0 MINID 9 7 f v",
    "XADD x@0 MINID 4 ACKED 3 f v",
    "XREAD STREAMS i@0 v@0 0 0",
    "XREAD COUNT 1 STREAMS v@0 i@0 d@0 v@0 0 2 0 5",
    "XREAD STREAMS i@0 v@0 string@0 0 0 0",
    "XREADGROUP GROUP g c STREAMS i@0 v@0 > >",
    "XREADGROUP GROUP g c COUNT 2 STREAMS v@0 i@0 v@0 i@0 v@0 > > 0 > >",
    "ZREMRANGEBYSCORE z@0 2 (6",
    "ZREMRANGEBYRANK z@0 0 -1",
    "ZREMRANGEBYLEX z@0 - +",
    "ZREMRANGEBYRANK z@0 9 10",
    "ZREMRANGEBYRANK none@0 0 -1",
    "ZREMRANGEBYRANK string@0 0 -1",
    "SORT l@0",
    "SORT l@0 DESC LIMIT 2 4",
    "SORT l@0 LIMIT 7 100 GET # GET #",
    "SORT words@0",
    "SORT words@0 ALPHA",
    "SORT words@0 ALPHA DESC STORE old@0",
    "SORT words@0 BY nosort STORE words@0",
    "SORT none@0 STORE old@0",
    "SORT s@0 BY nosort STORE d@0",
    "SORT z@0 ALPHA LIMIT 1 2 STORE d@0",
    "SORT string@0",
    "SORT_RO l@0 DESC",
    "SINTER s@0 t@0 u@0",
    "SINTER s@0 none@0",
    "SUNION s@0 t@0 none@0 u@0",
    "SDIFF s@0 t@0 none@0",
    "SDIFF none@0 s@0",
    "SINTER s@0 string@0",
    "SINTERSTORE d@0 s@0 t@0",
    "SINTERSTORE old@0 s@0 none@0",
    "SUNIONSTORE s@0 s@0 t@0",
    "SDIFFSTORE old@0 s@0 t@0 u@0",
    "SDIFFSTORE old@0 t@0 s@0 t@0",
    "SINTERCARD 2 s@0 t@0",
    "SINTERCARD 3 s@0 t@0 u@0 LIMIT 1",
    "SINTERCARD 2 s@0 none@0",
    "SINTERCARD 1 s@0",
    "ZINTERCARD 2 z@0 y@0",
    "ZINTERCARD 2 z@0 s@0 LIMIT 2",
    "ZUNION 3 z@0 y@0 s@0 WITHSCORES",
    "ZUNION 2 z@0 y@0 WEIGHTS 2 -3 AGGREGATE MAX WITHSCORES",
    "ZUNION 2 none@0 z@0",
    "ZUNION 2 z@0 string@0",
    "ZINTER 2 z@0 y@0 WITHSCORES",
    "ZINTER 3 s@0 z@0 y@0 WEIGHTS 1 inf -inf AGGREGATE MIN WITHSCORES",
    "ZINTER 2 z@0 none@0",
    "ZDIFF 3 z@0 none@0 y@0 WITHSCORES",
    "ZUNIONSTORE d@0 2 z@0 y@0 WEIGHTS 1 0.5",
    "ZUNIONSTORE z@0 2 z@0 s@0 AGGREGATE MIN",
    "ZINTERSTORE d@0 2 z@0 y@0 AGGREGATE MAX",
    "ZINTERSTORE old@0 2 z@0 none@0",
    "ZDIFFSTORE d@0 2 z@0 y@0",
    "ZDIFFSTORE y@0 2 y@0 z@0",
    "GEOSEARCH g@0 FROMLONLAT 15 37 BYRADIUS 200 km",
    "GEOSEARCH g@0 FROMLONLAT 15 37 BYRADIUS 9000 km DESC WITHDIST WITHCOORD WITHHASH",
    "GEOSEARCH g@0 FROMMEMBER b BYBOX 400 400 km COUNT 2",
    "GEOSEARCH g@0 FROMLONLAT 15 37 BYRADIUS 9000 km COUNT 3 ANY",
    "GEOSEARCH g@0 FROMLONLAT 15 37 BYRADIUS 9000 km COUNT 3 ANY ASC",
    "GEOSEARCH g@0 FROMLONLAT -15 -37 BYRADIUS 1 km",
    "GEOSEARCH g@0 FROMMEMBER none BYRADIUS 1 km",
    "GEOSEARCH none@0 FROMMEMBER none BYRADIUS 1 km",
    "GEOSEARCH string@0 FROMLONLAT 15 37 BYRADIUS 1 km",
    "GEORADIUS_RO g@0 15 37 200 km COUNT 9 DESC",
    "GEORADIUSBYMEMBER g@0 a 200 km WITHDIST",
    "GEORADIUSBYMEMBER_RO g@0 a 200 km ASC",
    "GEORADIUS g@0 15 37 200 km STORE d@0",
    "GEORADIUSBYMEMBER g@0 a 200 km STOREDIST old@0",
    "GEOSEARCHSTORE d@0 g@0 FROMLONLAT 15 37 BYRADIUS 200 km COUNT 2",
    "GEOSEARCHSTORE g@0 g@0 FROMMEMBER a BYRADIUS 100 km STOREDIST",
    "GEOSEARCHSTORE old@0 g@0 FROMLONLAT -15 -37 BYRADIUS 1 km",
];

/// What holds of every key afterwards.
const AFTER: &[&str] = &[
    "XRANGE x@0 - +",
    "XPENDING i@0 g - + 10",
    "XPENDING v@0 g - + 10",
    "LRANGE l@0 0 -1",
    "LRANGE words@0 0 -1",
    "SMEMBERS s@0",
    "SMEMBERS t@0",
    "ZRANGE z@0 0 -1 WITHSCORES",
    "ZRANGE g@0 0 -1 WITHSCORES",
    "TYPE old@0",
    "TYPE d@0",
    "SORT old@0 BY nosort",
    "SORT d@0 BY nosort",
    "OBJECT ENCODING d@0",
    "OBJECT ENCODING old@0",
];

const SLICED: Slices = Slices { above: 0, step: 1 };

fn scene(slices: Slices) -> Scene {
    let mut scene = Scene::new();
    scene.alone = true;
    for line in BEFORE {
        scene.ask(0, 9, line);
    }
    scene.settle();
    scene.said();
    for node in &mut scene.nodes {
        node.shard_mut().settings.slices = slices;
        node.shard_mut().effects().record(true);
    }
    scene
}

const WHOLE: Slices = Slices {
    above: 1000,
    step: 1000,
};
impl Scene {
    pub(super) fn answer(&mut self, home: u16, line: &str) -> String {
        self.ask(home, 1, line);
        self.settle();
        let replies = self.said();
        assert_eq!(replies.len(), 1, "{line}: {replies:?}");
        replies[0].1.clone()
    }

    /// All that the keys hold.
    fn holds(&mut self) -> Vec<String> {
        let before = self.nodes[0].shard().settings.slices;
        self.nodes[0].shard_mut().settings.slices = WHOLE;
        let holds = AFTER.iter().map(|line| self.answer(0, line)).collect();
        self.nodes[0].shard_mut().settings.slices = before;
        holds
    }

    /// What the log of shard 0 makes of what there was before.
    fn replayed(&mut self) -> Vec<String> {
        let log = self.nodes[0].shard_mut().effects().take();
        let mut twin = scene(WHOLE);
        let log = String::from_utf8(log).unwrap();
        twin.replay(&log);
        twin.holds()
    }

    pub(super) fn replay(&mut self, log: &str) {
        let mut lines = log.split("\r\n");
        while let Some(count) = lines.next().and_then(|line| line.strip_prefix('*')) {
            let count: usize = count.parse().unwrap();
            let words: Vec<&str> = lines.by_ref().take(2 * count).skip(1).step_by(2).collect();
            if !["MULTI", "EXEC", "SELECT"].contains(&words[0]) {
                self.answer(0, &words.join(" "));
            }
        }
    }
}

#[test]
fn the_same_comes_of_slices_as_of_one_piece() {
    for line in HEAVY {
        let mut whole = scene(WHOLE);
        let reply = whole.answer(0, line);
        let log = text(&whole.nodes[0].shard_mut().effects().take());
        let (changes, holds) = (
            whole.nodes[0].shard_mut().effects().changes(),
            whole.holds(),
        );
        for (step, home) in [(1, 0), (2, 1), (3, 0), (1000, 0)] {
            let mut sliced = scene(Slices { above: 0, step });
            assert_eq!(sliced.answer(home, line), reply, "{line}");
            let node = &mut sliced.nodes[0];
            assert_eq!(node.shard_mut().effects().changes(), changes, "{line}");
            if step == 1000 {
                assert_eq!(text(&node.shard_mut().effects().take()), log, "{line}");
            } else {
                assert_eq!(sliced.replayed(), holds, "{line}");
            }
            assert_eq!(sliced.holds(), holds, "{line}");
        }
    }
}

fn under_way(home: u16, line: &str) -> Scene {
    scene(SLICED).with_under_way(home, line)
}

#[test]
fn others_are_served_while_one_has_much_to_do() {
    for home in [0, 1] {
        let mut scene = under_way(home, "SUNIONSTORE d@0 s@0 t@0");
        for (line, reply) in [
            ("GET old@0", "$1 1"),
            ("SET old@0 2", "+OK"),
            ("SCARD s@0", ":12"),
            ("SINTERCARD 1 u@0", ":4"),
        ] {
            scene.ask(0, 2, line);
            scene.deliver_all();
            assert_eq!(scene.said(), [said(2, reply)], "{line} does not wait");
        }
        scene.settle();
        assert_eq!(scene.said(), [said(1, ":14")]);
    }
}

#[test]
fn who_needs_a_key_of_it_waits_and_sees_all_of_it() {
    let waiting = [
        ("ZCARD z@0", ":2"),
        ("ZADD z@0 0 new", ":1"),
        ("MGET z@0 other@1", "*2 $-1 $-1"),
        ("DBSIZE", ":15"),
        ("FLUSHALL", "+OK"),
        ("SWAPDB 0 1", "+OK"),
        ("RENAME z@0 other@1", "+OK"),
        ("ZREMRANGEBYRANK z@0 0 0", ":1"),
        ("SORT l@0 BY w* GET w* LIMIT 0 1", "*1 $-1"),
    ];
    for (line, reply) in waiting {
        for home in [0, 1] {
            let mut scene = under_way(home, "ZREMRANGEBYRANK z@0 0 4");
            scene.ask(0, 2, line);
            scene.deliver_all();
            assert!(scene.said().is_empty(), "{line} waits");
            scene.settle();
            let replies = scene.said();
            assert_eq!(replies.len(), 2, "{line}");
            assert!(replies.contains(&said(1, ":5")), "{line}: {replies:?}");
            assert!(replies.contains(&said(2, reply)), "{line}: {replies:?}");
        }
    }
}

#[test]
fn it_is_judged_at_the_instant_of_its_beginning() {
    for line in ["SUNIONSTORE d@0 s@0 t@0", "SUNION s@0 t@0"] {
        let mut scene = scene(SLICED);
        for key in ["s@0", "t@0"] {
            scene.ask(0, 9, &format!("PEXPIREAT {key} {}", NOW.0 + 5));
        }
        scene.said();
        scene.ask(0, 1, line);
        assert!(scene.go_on(0));
        scene.now = UnixMs(NOW.0 + 10);
        scene.ask(0, 2, "EXISTS s@0");
        scene.settle();
        let replies = scene.said();
        assert!(replies.contains(&said(2, ":0")), "{replies:?}");
        let mut whole = replies.iter().filter(|reply| reply.0 == 1);
        let reply = &whole.next().unwrap().1;
        assert!(
            reply.starts_with(":14") || reply.starts_with("*14"),
            "{reply}"
        );
        // Nothing keeps what is due any more.
        let shard = scene.nodes[0].shard_mut();
        shard.expire_due(UnixMs(NOW.0 + 10), 1000);
        assert!(!shard.keep().holds_keys());
        assert_eq!(
            scene.answer(0, "DBSIZE"),
            if line.len() > 20 { ":14" } else { ":13" }
        );
    }
}

#[test]
fn a_block_with_much_to_do_is_one_block() {
    let lines = [
        "SET a@0 1",
        "ZREMRANGEBYRANK z@0 0 3",
        "SUNIONSTORE d@0 s@0 t@0",
        "SORT words@0",
        "SORT words@0 ALPHA DESC",
        "SCARD d@0",
        "GET a@0",
    ]
    .map(str::to_owned);
    let expected = "*7 +OK :4 :14 -ERR One or more scores can't be converted into double \
                    *6 $1 e $1 d $1 c $1 b $1 a $1 a :14 $1 1";
    let mut logs = Vec::new();
    for (slices, elsewhere) in [(WHOLE, false), (SLICED, false), (SLICED, true)] {
        let mut scene = scene(slices);
        let (waiting, manner, block) = scene.block(1, &lines);
        let mut reply = Vec::new();
        if elsewhere {
            scene.nodes[1].exec_there(ShardId(0), waiting, (0, manner), block);
            scene.collect(1);
            scene.deliver_all();
        } else {
            let who = (waiting, || waiting);
            let over = scene.nodes[0].exec_here(NOW, who, (0, manner), block, &mut reply);
            assert_eq!(over.is_some(), slices == WHOLE);
            scene.collect(0);
        }
        if slices == SLICED {
            assert!(reply.is_empty(), "it comes later");
            for (client, line) in (4..).zip(["GET a@0", "SCARD d@0", "ZCARD z@0", "FLUSHDB"]) {
                scene.ask(0, client, line);
                scene.deliver_all();
                assert!(scene.said().is_empty(), "{line} waits");
            }
            scene.ask(0, 3, "GET old@0");
            assert_eq!(scene.said(), [], "behind FLUSHDB");
            scene.settle();
            let replies = scene.said();
            let own = replies.iter().find(|reply| reply.0 == 1).unwrap();
            assert_eq!(own.1, expected);
            for other in [
                said(4, "$1 1"),
                said(5, ":14"),
                said(6, ":3"),
                said(7, "+OK"),
            ] {
                assert!(replies.contains(&other), "{other:?}: {replies:?}");
            }
        } else {
            assert_eq!(text(&reply), expected);
            scene.ask(0, 2, "FLUSHDB");
            scene.settle();
        }
        logs.push(text(&scene.nodes[0].shard_mut().effects().take()));
    }
    assert!(
        logs[0].starts_with("*2 $6 SELECT $1 0 *1 $5 MULTI"),
        "{logs:?}"
    );
    assert_eq!(logs[0], logs[1]);
    assert_eq!(logs[0], logs[2]);
}

#[test]
fn a_block_over_shards_goes_on_when_a_command_is_over() {
    let lines = [
        "SET far@1 1",
        "ZREMRANGEBYRANK z@0 0 3",
        "ZCARD z@0",
        "SUNIONSTORE far@2 s@0 t@0",
        "SCARD far@2",
        "SUNIONSTORE d@0 s@0 far@2",
        "SDIFF t@0 s@0",
        "GET far@1",
    ]
    .map(str::to_owned);
    for home in 0..SHARDS {
        let mut replies = Vec::new();
        for slices in [WHOLE, SLICED] {
            let mut scene = scene(slices);
            scene.exec_over_shards(home, 1, &lines);
            scene.settle();
            let own = scene.said().into_iter().find(|reply| reply.0 == 1);
            replies.push(own.unwrap().1);
        }
        assert_eq!(replies[0], replies[1]);
        let start = "*8 +OK :4 :3 :14 :14 :14 *2 ";
        assert!(replies[0].starts_with(start), "{}", replies[0]);
    }
}

#[test]
fn a_client_that_goes_away_does_not_stop_a_write() {
    let mut scene = under_way(1, "ZREMRANGEBYRANK z@0 0 4");
    // Nothing has been handed out that could be dropped.
    assert!(scene.flows.is_empty() && scene.heard.is_empty());
    scene.settle();
    scene.said();
    assert_eq!(scene.answer(0, "ZCARD z@0"), ":2");
}

#[test]
fn a_read_that_nobody_wants_any_more_ends() {
    let mut scene = under_way(1, "SUNION s@0 t@0");
    scene.nodes[0].shard_mut().settings.long_replies.piece = 10;
    while scene.flows.is_empty() {
        assert!(scene.go_on(0));
        scene.deliver_all();
    }
    let ticket = scene.flows[0].2;
    scene.nodes[1].drop_reply(NOW, ticket);
    scene.collect(1);
    scene.settle();
    assert!(scene.said().is_empty());
}

/// CLIENT PAUSE waits for what writes, on one shard as well, and for nothing else.
#[test]
fn what_writes_in_slices_is_known() {
    let mut scene = under_way(1, "ZREMRANGEBYRANK z@0 0 4");
    assert!(scene.nodes[0].has_writes());
    scene.settle();
    let mut scene = under_way(1, "SUNION s@0 t@0");
    assert!(!scene.nodes[0].has_writes());
    scene.settle();
    for (line, writes) in [("SUNIONSTORE d@0 s@0 t@0", true), ("SUNION s@0 t@0", false)] {
        let (waiting, manner, block) = scene.block(1, &[line.to_owned()]);
        let (who, mut reply) = ((waiting, || waiting), Vec::new());
        let over = scene.nodes[0].exec_here(NOW, who, (0, manner), block, &mut reply);
        assert!(over.is_none(), "it goes on in slices");
        assert_eq!(scene.nodes[0].has_writes(), writes);
        scene.settle();
    }
}

/// The same keys, but for those that are mixed with others: they are of other shards.
fn spread(line: &str) -> String {
    let places = [
        ("t@0", "t@1"),
        ("u@0", "u@2"),
        ("y@0", "y@1"),
        ("v@0", "v@1"),
        ("d@0", "d@2"),
    ];
    moved(line, &places)
}

/// The same as [`scene`], with its keys on several shards.
fn spread_scene(slices: Slices) -> Scene {
    let mut scene = Scene::new();
    scene.alone = true;
    for line in BEFORE {
        scene.ask(0, 9, &spread(line));
        scene.settle();
    }
    scene.said();
    for node in &mut scene.nodes {
        node.shard_mut().settings.slices = slices;
    }
    scene
}

#[test]
fn the_same_comes_of_slices_where_keys_are_spread() {
    let ask = |line: &str, home: u16, slices: Slices| {
        let mut scene = spread_scene(slices);
        let reply = scene.answer(home, &spread(line));
        for node in &mut scene.nodes {
            node.shard_mut().settings.slices = WHOLE;
        }
        // A union has its members in the order in which its inputs were met.
        let in_order = |line: &str, reply: String| {
            let mut words: Vec<String> = reply.split(' ').map(str::to_owned).collect();
            if ["SUNION", "SMEMBERS"].contains(&line.split(' ').next().unwrap()) {
                words.sort_unstable();
            }
            words
        };
        let holds = AFTER.iter();
        let holds = holds.map(|line| in_order(line, scene.answer(0, &spread(line))));
        let holds: Vec<Vec<String>> = holds.collect();
        (in_order(line, reply), holds)
    };
    for line in HEAVY {
        let whole = ask(line, 0, WHOLE);
        for (step, home) in [(1, 0), (3, 1), (2, 2)] {
            assert_eq!(ask(line, home, Slices { above: 0, step }), whole, "{line}");
        }
    }
}

/// What works on inputs of several shards, and what comes of it there.
const APART: &[(&str, &str, &str)] = &[
    ("SUNIONSTORE d@2 s@0 t@1", ":14", "SCARD d@2"),
    ("SINTERSTORE d@2 s@0 t@1", ":4", "SCARD d@2"),
    ("SDIFFSTORE d@2 s@0 t@1", ":8", "SCARD d@2"),
    ("SUNIONSTORE s@0 s@0 t@1", ":14", "SCARD s@0"),
    ("SDIFFSTORE s@0 s@0 t@1", ":8", "SCARD s@0"),
    ("ZUNIONSTORE d@2 2 z@0 y@1", ":8", "ZCARD d@2"),
    ("ZINTERSTORE d@2 2 z@0 y@1", ":2", "ZCARD d@2"),
    ("ZDIFFSTORE d@2 2 z@0 y@1", ":5", "ZCARD d@2"),
    ("ZRANGESTORE d@2 z@0 0 -1", ":7", "ZCARD d@2"),
    (
        "GEOSEARCHSTORE d@2 g@0 FROMLONLAT 15 37 BYRADIUS 9000 km",
        ":7",
        "ZCARD d@2",
    ),
    ("GEORADIUS g@0 15 37 9000 km STORE d@2", ":7", "ZCARD d@2"),
    ("SORT words@0 ALPHA STORE d@2", ":6", "LLEN d@2"),
    ("SORT l@0 BY w* GET w* STORE d@2", ":10", "LLEN d@2"),
    ("SINTERCARD 2 s@0 t@1", ":4", "SCARD d@2"),
    ("ZINTERCARD 2 z@0 y@1", ":2", "ZCARD d@2"),
];

/// A scene in which all of the above works in slices.
fn apart() -> Scene {
    let mut scene = spread_scene(SLICED);
    for node in &mut scene.nodes {
        node.shard_mut().effects().record(true);
    }
    scene
}

/// A step that a node takes is of one element, whatever it does of such a request, and
/// others of every core are served in between.
#[test]
fn others_are_served_while_work_goes_from_shard_to_shard() {
    for (line, reply, after) in APART {
        for home in 0..SHARDS {
            let mut scene = apart();
            scene.ask(home, 1, line);
            scene.deliver_all();
            let mut steps = 0;
            while let Some(node) =
                (0..SHARDS).find(|node| scene.nodes[usize::from(*node)].has_slices())
            {
                assert!(scene.said().is_empty(), "{line} has more to do");
                if !line.contains('*') {
                    for core in 0..SHARDS {
                        scene.ask(core, 2, "GET old@0");
                        scene.deliver_all();
                        assert_eq!(scene.said(), [said(2, "$1 1")], "{line}");
                    }
                }
                assert!(scene.go_on(node));
                scene.deliver_all();
                steps += 1;
            }
            assert_eq!(scene.said(), [said(1, reply)], "{line}");
            assert!(
                steps > 2 || line.starts_with("ZRANGESTORE"),
                "{line}: {steps} steps"
            );
            scene.settle();
            let len = if line.contains("CARD") { ":0" } else { reply };
            assert_eq!(scene.answer(1, after), len, "{line}");
        }
    }
}

#[test]
fn who_needs_a_key_of_work_on_its_way_waits() {
    for (line, reply, after) in APART {
        let mut scene = apart();
        scene.ask(1, 1, line);
        scene.deliver_all();
        let waiting = match line.contains("STORE") {
            true => *after,
            false => "DEL t@1 y@1",
        };
        scene.ask(2, 2, waiting);
        scene.deliver_all();
        let over = !scene.nodes.iter().any(Node::has_slices);
        assert!(
            over || scene.said().is_empty(),
            "{waiting} waits for {line}"
        );
        scene.settle();
        let replies = scene.said();
        assert!(
            over || replies.contains(&said(1, reply)),
            "{line}: {replies:?}"
        );
        let len = if line.contains("STORE") { reply } else { ":2" };
        assert!(
            over || replies.contains(&said(2, len)),
            "{line}: {replies:?}"
        );
    }
}

#[test]
fn work_on_its_way_is_judged_at_one_instant() {
    for (line, reply, _) in APART {
        let mut scene = apart();
        for key in ["s@0", "t@1", "z@0", "y@1", "l@0", "words@0", "w1@0"] {
            scene.ask(0, 9, &format!("PEXPIREAT {key} {}", NOW.0 + 5));
            scene.settle();
        }
        scene.said();
        scene.ask(2, 1, line);
        scene.deliver_all();
        assert!(scene.said().is_empty() || line.starts_with("ZRANGESTORE"));
        let over = !scene.nodes.iter().any(Node::has_slices);
        scene.now = UnixMs(NOW.0 + 10);
        scene.settle();
        if !over {
            assert_eq!(scene.said(), [said(1, reply)], "{line}");
        }
        for node in &mut scene.nodes {
            node.shard_mut().expire_due(UnixMs(NOW.0 + 10), 1000);
            assert!(!node.shard_mut().keep().holds_keys(), "{line}");
        }
    }
}

#[test]
fn a_client_that_goes_away_does_not_stop_work_on_its_way() {
    for (line, reply, after) in APART.iter().filter(|(line, ..)| line.contains("STORE")) {
        let mut scene = apart();
        scene.ask(1, 1, line);
        scene.deliver_all();
        let client = Client {
            key: 0,
            id: 1,
            place: scene.asked,
        };
        scene.nodes[1].unblock(client, None, Unblock::Gone);
        scene.settle();
        scene.said();
        assert_eq!(scene.answer(0, after), *reply, "{line}");
    }
}

/// What a reply is longer than it may be is found out late: there is none, and nothing
/// else is left of it.
#[test]
fn a_reply_that_becomes_too_long_ends_work_on_its_way() {
    for line in [
        "SUNION s@0 t@1",
        "SDIFF s@0 t@1",
        "ZUNION 2 z@0 y@1",
        "SORT l@0 GET w* GET #",
        "XREAD STREAMS i@0 v@1 0 0",
    ] {
        let mut scene = apart();
        let whole = scene.answer(1, line);
        for node in &mut scene.nodes {
            node.shard_mut().settings.reply_max.bytes = whole.len();
            node.shard_mut().settings.reply_max.closes = true;
        }
        scene.ask(1, 1, line);
        scene.settle();
        let replies = scene.said();
        assert_eq!(replies, [said(1, TOO_LONG)], "{line}");
        assert_eq!(scene.answer(0, "GET old@0"), "$1 1");
    }
}

/// A block sees what its own commands have stored elsewhere, in slices or not.
#[test]
fn a_block_waits_for_work_on_its_way() {
    let lines: Vec<String> = APART
        .iter()
        .flat_map(|(line, _, after)| [(*line).to_owned(), (*after).to_owned()])
        .collect();
    for home in 0..SHARDS {
        let mut replies = Vec::new();
        for slices in [WHOLE, SLICED] {
            let mut scene = apart();
            for node in &mut scene.nodes {
                node.shard_mut().settings.slices = slices;
            }
            scene.exec_over_shards(home, 1, &lines);
            scene.deliver_all();
            scene.ask(2, 2, "EXISTS d@2");
            scene.settle();
            let both = scene.said();
            assert!(both.contains(&said(2, ":1")), "{both:?}");
            replies.extend(both.into_iter().filter(|reply| reply.0 == 1));
        }
        assert_eq!(replies.len(), 2);
        assert_eq!(replies[0], replies[1]);
        let start = "*30 :14 :14 :4 :4 :8 :8 :14 :14 :8 :8 ";
        assert!(replies[0].1.starts_with(start), "{}", replies[0].1);
    }
}

/// What a shard is told to store it records as what it is: nobody else can make it.
#[test]
fn what_comes_of_work_on_its_way_is_recorded() {
    for (line, _, _) in APART.iter().filter(|(line, ..)| line.contains(" d@2 ")) {
        for above in [0, 1000] {
            let mut scene = apart();
            for node in &mut scene.nodes {
                node.shard_mut().settings.slices.above = above;
            }
            scene.answer(0, line);
            let log = scene.nodes[2].shard_mut().effects().take();
            let digest = scene.answer(2, "SORT d@2 ALPHA");
            let mut twin = apart();
            twin.replay(&String::from_utf8(log).unwrap());
            assert_eq!(twin.answer(2, "SORT d@2 ALPHA"), digest, "{line}");
            for node in [0, 1] {
                let log = scene.nodes[node].shard_mut().effects().take();
                assert_eq!(text(&log), "", "{line}");
            }
        }
    }
}
