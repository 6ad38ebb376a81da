//! The cut, and what goes on while a snapshot is under way.

use super::*;
use crate::command::snapshot::{Begun, Keys};
use crate::rdb::{self, Meta};
use crate::types::{Slices, Slot, Thresholds};
use std::collections::BTreeSet;

impl Scene {
    fn cut(&mut self, home: u16, client: u64) {
        self.asked += 1;
        let waiting = Client {
            key: 0,
            id: client,
            place: self.asked,
        };
        self.waiting.push(client);
        self.nodes[usize::from(home)].cut(self.now, waiting);
        self.collect(home);
    }

    /// The snapshot is made without anything happening meanwhile; what it is.
    fn finish_cut(&mut self) -> Vec<Vec<u8>> {
        let mut file = Vec::new();
        for node in &mut self.nodes {
            while node.is_being_cut() {
                node.go_on_cut(self.now);
                file.extend(node.take_chunks().unwrap().into_iter().map(|it| it.bytes));
            }
        }
        file
    }

    fn begun(&mut self) -> Begun {
        let replies = self.said();
        let reply = &replies
            .iter()
            .find(|(client, _)| *client == CUTTER)
            .unwrap()
            .1;
        Begun::read(format!("{reply} ").replace(' ', "\r\n").as_bytes()).unwrap()
    }
}

/// The client for whom snapshots are made.
const CUTTER: u64 = 99;

#[test]
fn a_cut_tells_what_there_is_on_all_shards() {
    let mut scene = Scene::new();
    scene.ask(1, 1, "MSET a@0 1 b@1 1 c@2 1 d@2 1");
    scene.settle();
    scene.ask(2, 1, "EXPIRE c@2 100");
    scene.db = DbIndex(1);
    scene.ask(1, 1, "HSET h@1 f 1 g 2");
    scene.cut(1, CUTTER);
    scene.deliver_all();
    let keys = |keys, expires| Keys { keys, expires };
    let mut there = Begun {
        changes: 7,
        fields_expire: false,
        dbs: BTreeMap::from([(DbIndex(0), keys(4, 1)), (DbIndex(1), keys(1, 0))]),
    };
    assert_eq!(scene.begun(), there);
    scene.cut(0, CUTTER);
    scene.deliver_all();
    assert_eq!(scene.said(), [said(CUTTER, "-ERR a snapshot is under way")]);
    scene.finish_cut();
    scene.ask(1, 1, "HPEXPIRE h@1 100000 FIELDS 1 f");
    scene.cut(2, CUTTER);
    scene.deliver_all();
    there.fields_expire = true;
    there.changes += 1;
    assert_eq!(scene.begun(), there);
}

/// Nothing is half done at the cut, and nobody who has seen what came after it learns of
/// anything that is missing in it.
#[test]
fn a_cut_waits_for_what_came_before_and_holds_up_all_that_follows() {
    let mut scene = half_locked("MSETNX a@0 new b@2 new");
    scene.cut(0, CUTTER);
    assert!(scene.catch_up(0));
    scene.ask(0, 2, "SET c@0 late");
    scene.ask(0, 3, "GET c@0");
    assert!(scene.said().is_empty());
    scene.deliver_all();
    let keys = Keys {
        keys: 2,
        expires: 0,
    };
    assert_eq!(scene.begun().dbs, BTreeMap::from([(DbIndex(0), keys)]));
}

/// What keys hold, by database, as it is encoded: none of these is the beginning of another.
type Held = BTreeSet<(u16, Vec<u8>)>;

/// More elements than a value may have to be encoded in one piece.
const MANY: usize = 40;

/// Every type is large that can be.
const LARGE: &[(&str, &str)] = &[
    ("l@0", "RPUSH"),
    ("s@0", "SADD"),
    ("h@0", "HSET"),
    ("z@0", "ZADD"),
    ("l@1", "RPUSH"),
    ("s@1", "SADD"),
];

impl Scene {
    /// With large values on shards 0 and 1, a string of some KiB and small ones.
    fn with_large_values() -> Self {
        let mut scene = Self::new();
        for node in &mut scene.nodes {
            let settings = &mut node.shard_mut().settings;
            settings.rdb_compression = false;
            settings.slices = Slices { above: 20, step: 4 };
            settings.encodings = Thresholds {
                list_max_listpack_size: 4,
                hash_max_listpack_entries: 4,
                set_max_listpack_entries: 4,
                zset_max_listpack_entries: 4,
                ..settings.encodings.clone()
            };
        }
        for db in [0, 1] {
            scene.db = DbIndex(db);
            for (key, verb) in LARGE {
                let element = |n: usize| match *verb {
                    "HSET" => format!("f{n} v{db}"),
                    "ZADD" => format!("{n} m{n}"),
                    _ => format!("e{n}"),
                };
                let elements: Vec<String> = (0..MANY).map(element).collect();
                scene.ask(0, 9, &format!("{verb} {key} {}", elements.join(" ")));
            }
            scene.ask(0, 9, "SETRANGE t@0 20000 x");
            scene.ask(0, 9, &format!("MSET a@0 {db} b@1 {db} c@2 {db}"));
        }
        scene.db = DbIndex(0);
        scene.settle();
        scene.said();
        scene
    }

    fn held(&self) -> Held {
        let mut held = Held::new();
        for node in &self.nodes {
            let slots = node.id().slots(SHARDS);
            for (db, slot) in [0, 1]
                .into_iter()
                .flat_map(|db| slots.clone().map(move |it| (db, it)))
            {
                let keyspace = node.shard().keyspace(DbIndex(db));
                keyspace.for_each_in_slot(Slot(slot), &mut |item| {
                    let meta = Meta {
                        expire_at: item.view.expire_at,
                        ..Meta::default()
                    };
                    let mut entry = Vec::new();
                    rdb::encode_entry(item.key, item.view.value, &meta, false, &mut entry).unwrap();
                    held.insert((db, entry));
                });
            }
        }
        held
    }

    /// A cut, and what it is to show.
    fn begin_cut(&mut self) -> Held {
        let held = self.held();
        self.cut(2, CUTTER);
        self.deliver_all();
        assert!(!self.begun().dbs.is_empty());
        held
    }

    /// So many large values were encoded in one piece.
    fn encoded_whole(&self) -> u64 {
        let nodes = self.nodes.iter();
        nodes.map(|node| node.shard().encoded_whole()).sum()
    }

    /// Makes the rest of the snapshot; what was made before is `file`.
    fn end_cut(&mut self, held: &Held, mut file: Vec<Vec<u8>>, place: &str) {
        file.extend(self.finish_cut());
        self.settle();
        let mut found = Held::new();
        let (file, mut db) = (file.concat(), 0);
        let mut rest = &file[..];
        while let Some(first) = rest.first() {
            if *first == 254 {
                db = u16::from(rest[1]);
                rest = &rest[2..];
                continue;
            }
            let at = (db, rest.to_vec());
            let entry = held.range(..=at).next_back().cloned();
            let entry = entry.filter(|(of, entry)| *of == db && rest.starts_with(entry));
            let entry = entry.unwrap_or_else(|| {
                panic!("{place}: {}", rest[..rest.len().min(60)].escape_ascii())
            });
            rest = &rest[entry.1.len()..];
            assert!(found.insert(entry), "{place}: twice");
        }
        assert_eq!(found.len(), held.len(), "{place}");
    }
}

/// Requests that change large values, or remove them.
const WRITES: &[&str] = &[
    "HSET h@0 f0 new",
    "DEL h@0",
    "SET h@0 small",
    "PERSIST h@0",
    "EXPIRE h@0 100",
    "LPUSH l@0 new",
    "LPOP l@0 3",
    "LTRIM l@0 1 0",
    "SADD s@0 new",
    "SREM s@0 e1",
    "SMOVE s@0 d@0 e1",
    "SMOVE s@0 s@1 e1",
    "ZADD z@0 1 new",
    "ZPOPMIN z@0",
    "ZREMRANGEBYRANK z@0 0 -1",
    "APPEND t@0 new",
    "SETRANGE t@0 3 new",
    "SETBIT t@0 3 1",
    "GETDEL t@0",
    "RENAME h@0 a@0",
    "RENAME a@0 h@0",
    "RENAME h@0 b@1",
    "RENAME b@1 h@0",
    "RENAME h@0 z@0",
    "RENAME l@0 l@1",
    "COPY a@0 h@0 REPLACE",
    "COPY h@0 b@1 REPLACE",
    "COPY b@1 h@0 REPLACE",
    "COPY h@0 z@0 DB 1 REPLACE",
    "MOVE h@0 1",
    "LMOVE l@0 l@1 LEFT RIGHT",
    "LMOVE l@0 d@0 LEFT RIGHT",
    "SUNIONSTORE s@0 s@0 s@1",
    "SUNIONSTORE s@1 s@0 s@1",
    "SINTERSTORE h@0 s@0 s@0",
    "ZUNIONSTORE z@0 2 z@0 s@1",
    "ZRANGESTORE z@0 z@0 0 3",
    "SORT l@0 ALPHA STORE l@0",
    "SORT l@0 BY nosort STORE l@1",
    "DEL h@0 l@1 a@0",
    "MSET h@0 1 s@1 1 t@0 1",
    "MSETNX d@1 1 d@2 1",
    "FLUSHDB",
    "FLUSHALL",
    "SWAPDB 0 1",
    "BITOP NOT t@0 t@0",
    "BITOP OR b@1 t@0 b@1",
];

#[test]
fn large_values_are_as_they_were_at_the_cut_and_none_is_encoded_in_one_piece() {
    for (number, line) in (0..).zip(WRITES) {
        for home in 0..2 {
            let place = format!("{line} from {home}");
            let mut scene = Scene::with_large_values();
            let held = scene.begin_cut();
            let mut file = Vec::new();
            // Before the walk, and somewhere in it.
            for _ in 0..(number * 7 + usize::from(home) * 30) % 60 {
                let now = scene.now;
                scene.nodes[0].go_on_cut(now);
                scene.collect(0);
            }
            file.extend(
                scene.nodes[0]
                    .take_chunks()
                    .unwrap()
                    .into_iter()
                    .map(|it| it.bytes),
            );
            scene.ask(home, 1, line);
            scene.settle_but_for_long_replies();
            let replies = scene.said();
            assert_eq!(replies.len(), 1, "{place}: it does not depend on the walk");
            assert!(!replies[0].1.starts_with('-'), "{place}: {replies:?}");
            assert_eq!(scene.encoded_whole(), 0, "{place}");
            scene.end_cut(&held, file, &place);
        }
    }
}

#[test]
fn who_writes_a_large_value_waits_for_it_and_nobody_else_does() {
    let mut scene = Scene::with_large_values();
    let held = scene.begin_cut();
    scene.ask(0, 1, "HLEN h@0");
    scene.ask(0, 2, "HSET h@0 f0 new");
    scene.ask(0, 3, "HGET h@0 f0");
    scene.ask(0, 4, "HGET h@0 f1");
    for line in ["SET a@0 1", "LLEN l@0", "GET t@0", "DEL a@0", "RPUSH d@0 1"] {
        scene.ask(0, 5, line);
    }
    scene.db = DbIndex(1);
    scene.ask(0, 6, "HGET h@0 f0");
    let replies = scene.said();
    let clients: Vec<u64> = replies.iter().map(|(client, _)| *client).collect();
    assert_eq!(
        clients,
        [1, 5, 5, 5, 5, 5],
        "no read passes a write that waits"
    );
    let mut steps = 0;
    while scene.go_on(0) {
        steps += 1;
    }
    assert!(steps > 10, "{steps}");
    let replies = [
        said(2, ":0"),
        said(3, "$3 new"),
        said(4, "$2 v0"),
        said(6, "$2 v1"),
    ];
    assert_eq!(scene.said(), replies);
    assert_eq!(scene.encoded_whole(), 0);
    scene.end_cut(&held, Vec::new(), "it is made");
}

#[test]
fn who_is_served_waits_for_what_a_snapshot_has_not_met() {
    // What waits, what has something appear for it, and the reply to that.
    for (waits, then) in [
        ("BLPOP w@0 0", "SWAPDB 0 1"),
        ("BLPOP w@0 v@1 0", "SWAPDB 0 1"),
        ("BLMOVE q@0 l@0 LEFT RIGHT 0", "RPUSH q@0 1"),
        ("BLMOVE q@0 l@1 LEFT RIGHT 0", "RPUSH q@0 1"),
        ("BLMOVE w@0 l@1 LEFT RIGHT 0", "SWAPDB 0 1"),
        ("BLMPOP 0 2 v@0 w@0 LEFT COUNT 30", "SWAPDB 0 1"),
    ] {
        let mut scene = Scene::with_large_values();
        scene.db = DbIndex(1);
        let elements: Vec<String> = (0..MANY).map(|n| n.to_string()).collect();
        scene.ask(0, 9, &format!("RPUSH w@0 {}", elements.join(" ")));
        scene.db = DbIndex(0);
        scene.alone = true;
        scene.ask(0, 1, waits);
        scene.settle_but_for_long_replies();
        scene.said();
        let held = scene.begin_cut();
        scene.ask(0, 2, then);
        scene.settle_but_for_long_replies();
        let replies = scene.said();
        assert_eq!(replies.len(), 2, "{waits}: {replies:?}");
        assert_eq!(scene.encoded_whole(), 0, "{waits}");
        scene.end_cut(&held, Vec::new(), waits);
    }
}

#[test]
fn blocks_wait_for_what_a_snapshot_has_not_met() {
    let lines = |lines: &[&str]| -> Vec<String> { lines.iter().map(ToString::to_string).collect() };
    for (block, replies) in [
        (
            lines(&["SET a@0 1", "HSET h@0 f0 new", "LPUSH l@0 new"]),
            "*3 +OK :0 :41",
        ),
        (
            lines(&["HLEN h@0", "HSET h@0 f0 new", "SADD s@1 new", "GET c@2"]),
            "*4 :40 :0 :1 $1 0",
        ),
        (
            lines(&["ZREMRANGEBYRANK z@0 0 -1", "LTRIM l@1 1 0"]),
            "*2 :40 +OK",
        ),
        (lines(&["FLUSHALL", "HSET h@0 f0 new"]), "*2 +OK :1"),
        (lines(&["SWAPDB 0 1", "DEL h@0"]), "*2 +OK :1"),
    ] {
        let mut scene = Scene::with_large_values();
        let held = scene.begin_cut();
        scene.exec_over_shards(1, 1, &block);
        scene.settle_but_for_long_replies();
        assert_eq!(scene.said(), [said(1, replies)], "{block:?}");
        assert_eq!(scene.encoded_whole(), 0, "{block:?}");
        scene.end_cut(&held, Vec::new(), replies);

        let on_one = block
            .iter()
            .all(|line| line.contains("@0") && !line.contains("@1"));
        let mut scene = Scene::with_large_values();
        let held = scene.begin_cut();
        let (waiting, manner, own) = scene.block(1, &block);
        if scene.nodes[0].place_block(&own).is_none() {
            assert!(!on_one, "{block:?}");
            continue;
        }
        let mut out = Vec::new();
        let who = (waiting, || waiting);
        let over = scene.nodes[0].exec_here(NOW, who, (0, manner), own, &mut out);
        assert!(over.is_none(), "it waits");
        scene.settle_but_for_long_replies();
        assert_eq!(scene.said(), [said(1, replies)], "{block:?}");
        assert_eq!(scene.encoded_whole(), 0, "{block:?}");
        scene.end_cut(&held, Vec::new(), replies);
    }
}

/// What is under the lock of the whole shard has no lock of a key to wait for.
#[test]
fn a_block_that_locks_the_shard_has_what_it_changes_encoded_in_one_piece() {
    let mut scene = Scene::with_large_values();
    let held = scene.begin_cut();
    scene.exec_over_shards(0, 1, &["DBSIZE".into(), "HSET h@0 f0 new".into()]);
    scene.settle_but_for_long_replies();
    assert_eq!(scene.said(), [said(1, "*2 :10 :0")]);
    assert_eq!(scene.encoded_whole(), 1);
    scene.end_cut(&held, Vec::new(), "a block with the whole shard");
}

#[test]
fn what_came_behind_the_cut_waits_for_what_it_has_not_met() {
    for (number, line) in (0..).zip(WRITES) {
        let mut scene = Scene::with_large_values();
        let held = scene.held();
        scene.cut(2, CUTTER);
        // Shard 0 has the lock of the cut.
        while scene.catch_up(2) {}
        assert!(scene.deliver(2, 0));
        let client = |home| 1 + u64::from(home);
        let home = number % 2;
        scene.ask(home, client(home), line);
        scene.ask(0, 3, "HSET h@0 f0 last");
        scene.settle_but_for_long_replies();
        let replies = scene.said();
        assert_eq!(replies.len(), 3, "{line}");
        assert_eq!(scene.encoded_whole(), 0, "{line}");
        scene.end_cut(&held, Vec::new(), line);
    }
}

#[test]
fn nothing_that_clears_a_database_waits_for_a_snapshot() {
    for line in ["FLUSHALL", "FLUSHDB", "SWAPDB 0 1"] {
        for begun in [0, 3, 20, 60] {
            let mut scene = Scene::with_large_values();
            let held = scene.begin_cut();
            for _ in 0..begun {
                let now = scene.now;
                scene.nodes[0].go_on_cut(now);
            }
            scene.ask(1, 1, line);
            scene.deliver_all();
            assert_eq!(scene.said(), [said(1, "+OK")], "{line}");
            scene.ask(0, 1, "HSET h@0 f0 new");
            scene.settle_but_for_long_replies();
            assert_eq!(scene.said().len(), 1);
            assert_eq!(scene.encoded_whole(), 0, "{line}");
            scene.end_cut(&held, Vec::new(), line);
        }
    }
}

#[test]
fn what_expires_is_in_the_snapshot() {
    for begun in [0, 3, 20, 60, 100] {
        for by_looking in [false, true] {
            let mut scene = Scene::with_large_values();
            for key in ["h@0", "l@0", "s@0", "z@0", "t@0"] {
                scene.ask(0, 9, &format!("PEXPIRE {key} 5"));
            }
            scene.said();
            let held = scene.begin_cut();
            for _ in 0..begun {
                let now = scene.now;
                scene.nodes[0].go_on_cut(now);
            }
            scene.now.0 += 10;
            let now = scene.now;
            if by_looking {
                for line in [
                    "HLEN h@0",
                    "LLEN l@0",
                    "SCARD s@0",
                    "ZCARD z@0",
                    "STRLEN t@0",
                ] {
                    scene.ask(0, 1, line);
                    assert_eq!(scene.said(), [said(1, ":0")], "nobody waits");
                }
            } else {
                while scene.nodes[0].shard_mut().expire_due(now, 10).more {}
            }
            scene.ask(0, 1, "DBSIZE");
            scene.settle_but_for_long_replies();
            let left = scene.nodes[0].shard().keyspace(DbIndex(0)).len();
            assert_eq!(left, 1, "what is handed over is not in its database");
            assert_eq!(scene.encoded_whole(), 0);
            scene.end_cut(&held, Vec::new(), "what expires");
        }
    }
}

#[test]
fn fields_of_a_large_hash_go_when_it_is_encoded() {
    let mut scene = Scene::with_large_values();
    scene.ask(0, 9, "HPEXPIRE h@0 5 FIELDS 3 f1 f2 f3");
    scene.said();
    let held = scene.begin_cut();
    scene.now.0 += 10;
    let now = scene.now;
    scene.ask(0, 1, "HMGET h@0 f1 f4");
    assert_eq!(scene.said(), [said(1, "*2 $-1 $2 v0")]);
    let progress = scene.nodes[0].shard_mut().expire_due(now, 1000);
    assert!(
        !progress.more && progress.next.is_some(),
        "it comes back later"
    );
    assert_eq!(scene.encoded_whole(), 0);
    scene.end_cut(&held, Vec::new(), "fields");
    while scene.nodes[0].shard_mut().expire_due(now, 10).more {}
    scene.ask(0, 1, "HLEN h@0");
    assert_eq!(scene.said(), [said(1, ":37")]);
}

#[test]
fn after_an_abandoned_snapshot_the_next_is_whole() {
    for begun in [0, 3, 20, 60, 100] {
        let mut scene = Scene::with_large_values();
        scene.begin_cut();
        for _ in 0..begun {
            let now = scene.now;
            scene.nodes[0].go_on_cut(now);
        }
        scene.ask(0, 1, "HSET h@0 f0 new");
        scene.ask(0, 2, "FLUSHDB");
        for node in &mut scene.nodes {
            node.abandon_cut();
            assert!(node.take_chunks().unwrap().is_empty());
            assert!(node.is_being_cut());
        }
        scene.settle_but_for_long_replies();
        assert_eq!(scene.said().len(), 2, "who waits is released");
        let is_over = |node: &Node| !node.is_being_cut() && node.is_unlocked();
        assert!(scene.nodes.iter().all(is_over), "by itself");
        scene.settle();
        let held = scene.begin_cut();
        scene.ask(0, 1, "HSET h@0 f0 newer");
        scene.settle_but_for_long_replies();
        scene.end_cut(&held, Vec::new(), "the next");
    }
}
