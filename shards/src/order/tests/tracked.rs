//! Clients that keep copies of what they read: whatever happens on the way, no copy is
//! older than what a writer has been told to have written.

use super::{NOW, SHARDS, Scene, half_locked, key_of};
use crate::tracking::{Letter, Tracker, Tracks, Wish};
use crate::types::{Random, ShardId, UnixMs};
use std::collections::BTreeMap;

/// The tracker of a core.
fn tracker(home: u16) -> Tracker {
    Tracker::nth(5, ShardId(home), SHARDS)
}

fn reading(home: u16) -> Tracks {
    Tracks {
        reads: Some(tracker(home)),
        writes: None,
    }
}

impl Scene {
    fn with_trackers(mut self) -> Self {
        for node in &mut self.nodes {
            for home in 0..SHARDS {
                let wish = Wish {
                    told_on: ShardId(home),
                    noloop: false,
                    prefixes: None,
                };
                node.shard_mut().track(tracker(home), wish);
            }
        }
        self
    }

    /// The tracker of a core asks.
    fn reads(&mut self, home: u16, client: u64, line: &str) {
        self.tracks = reading(home);
        self.ask(home, client, line);
        self.tracks = Tracks::default();
    }

    /// Whom is told of which keys.
    fn told(&mut self) -> Vec<(u16, String)> {
        let letters = self.letters.drain(..);
        letters
            .map(|(to, letter)| (to.0, key_in(&letter)))
            .collect()
    }
}

/// The key that a letter is about; nothing for all.
fn key_in(letter: &Letter) -> String {
    let text = String::from_utf8_lossy(&letter.message);
    let last = text.trim_end().rsplit("\r\n").next();
    last.filter(|word| *word != "_").unwrap_or_default().into()
}

fn about(home: u16, name: &str, shard: u16) -> (u16, String) {
    (home, key_of(name, shard))
}

/// A read that waits behind a write is remembered when it runs, not when it comes: a
/// letter about that write would say nothing of what it has read.
#[test]
fn a_read_that_waits_is_remembered_when_it_runs() {
    let mut scene = half_locked("MSETNX a@0 new b@2 new").with_trackers();
    scene.reads(0, 2, "GET a@0");
    scene.reads(1, 3, "GET a@0");
    scene.settle();
    assert_eq!(scene.told(), []);
    scene.ask(0, 9, "SET a@0 newer");
    let mut told = scene.told();
    told.sort();
    assert_eq!(told, [about(0, "a", 0), about(1, "a", 0)]);
}

/// All ways in which a read is cut, sent and put together.
#[test]
fn every_key_that_a_request_reads_is_remembered() {
    let lines = [
        ("MGET a@0 b@1 c@2", 3),
        ("EXISTS a@0 b@1 c@2", 3),
        ("MGET a@0", 1),
        ("SINTER a@0 b@1 c@2", 3),
        ("SINTERCARD 3 a@0 b@1 c@2 LIMIT 1", 3),
        ("SUNION a@0 b@1", 2),
        ("ZUNION 2 a@0 b@1 WITHSCORES", 2),
        ("ZINTERCARD 2 a@0 b@1", 2),
        ("LCS a@0 b@1", 2),
        ("PFCOUNT a@0 b@1", 2),
        ("SORT_RO a@0 BY w*", 1),
        ("XREAD COUNT 1 STREAMS a@0 b@1 0 0", 2),
        ("OBJECT ENCODING a@0", 1),
        ("TTL a@0", 1),
        ("KEYS *", 0),
        ("DBSIZE", 0),
        ("SUNIONSTORE a@0 b@1 c@2", 0),
        ("SORT a@0 BY w*", 0),
        ("COPY a@0 b@1", 0),
    ];
    for (line, count) in lines {
        for home in 0..SHARDS {
            let mut scene = Scene::new().with_trackers();
            scene.reads(home, 1, line);
            scene.settle();
            scene.ask(home, 9, "MSET a@0 1 b@1 1 c@2 1");
            scene.settle();
            let mut told = scene.told();
            told.sort();
            let all = [
                about(home, "a", 0),
                about(home, "b", 1),
                about(home, "c", 2),
            ];
            let mut expected = all[..count].to_vec();
            expected.sort();
            assert_eq!(told, expected, "{line} of {home}");
        }
    }
}

#[test]
fn reads_within_a_block_are_remembered() {
    let lines = [
        "GET a@0",
        "SET b@1 1",
        "GET b@1",
        "MGET c@2 a@0",
        "SET c@2 1",
    ];
    let lines = lines.map(str::to_owned);
    for home in 0..SHARDS {
        let mut scene = Scene::new().with_trackers();
        scene.tracks = reading(home);
        scene.exec_over_shards(home, 1, &lines);
        scene.tracks = Tracks::default();
        scene.settle();
        assert_eq!(
            scene.told(),
            [about(home, "c", 2)],
            "what it changes itself"
        );
        scene.ask(0, 9, "MSET a@0 1 b@1 1 c@2 1");
        scene.settle();
        let mut told = scene.told();
        told.sort();
        let mut expected = [about(home, "a", 0), about(home, "b", 1)];
        expected.sort();
        assert_eq!(told, expected);
    }
    let mut scene = Scene::new().with_trackers();
    scene.tracks = reading(0);
    scene.exec(0, 1, &["GET a@0".into()]);
    scene.tracks = Tracks::default();
    scene.ask(0, 9, "DEL a@0");
    assert_eq!(scene.told(), [], "it was not there");
    scene.ask(0, 9, "SET a@0 1");
    assert_eq!(scene.told(), [about(0, "a", 0)]);
}

/// Nobody looks: the key is told of when it goes.
#[test]
fn who_has_a_copy_is_told_when_its_time_has_come() {
    let mut scene = Scene::new().with_trackers();
    scene.ask(0, 9, "SET a@0 1 PX 5");
    scene.ask(0, 9, "HSET h@0 f v");
    scene.ask(0, 9, "HPEXPIRE h@0 5 FIELDS 1 f");
    scene.reads(1, 1, "GET a@0");
    scene.reads(1, 1, "HGETALL h@0");
    scene.settle();
    scene.now = UnixMs(NOW.0 + 10);
    let now = scene.now;
    scene.nodes[0].shard_mut().expire_due(now, 10_000);
    scene.collect(0);
    let mut told = scene.told();
    told.sort();
    let mut expected = [about(1, "a", 0), about(1, "h", 0)];
    expected.sort();
    assert_eq!(told, expected);
}

/// What a client is sent, in order.
enum Sent {
    /// The reply to this request, for these keys.
    Reply(u64, Vec<usize>),
    /// A letter about a key, or all.
    Letter(Option<usize>),
    /// It knows from elsewhere how far the values of all keys have come.
    Knows(Vec<usize>),
}

/// A cache on each core, and what has become of its keys.
struct Caches {
    scene: Scene,
    random: Random,
    keys: Vec<String>,
    /// What each key has held, in order; nothing if it was not there.
    history: Vec<Vec<Option<String>>>,
    sent: Vec<Vec<Sent>>,
    replies: BTreeMap<u64, String>,
    requests: u64,
}

impl Caches {
    fn new(seed: u64) -> Self {
        let names = ["a", "b"];
        let keys: Vec<String> = (0..SHARDS)
            .flat_map(|shard| names.map(|name| key_of(name, shard)))
            .collect();
        Self {
            scene: Scene::new().with_trackers(),
            random: Random::new(seed),
            history: vec![vec![None]; keys.len()],
            keys,
            sent: (0..SHARDS).map(|_| Vec::new()).collect(),
            replies: BTreeMap::new(),
            requests: 0,
        }
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.random.next() % bound as u64) as usize
    }

    /// The cache of a core reads one or two keys, alone or in a block.
    fn read(&mut self) {
        let home = self.below(usize::from(SHARDS));
        let count = 1 + self.below(2);
        let which: Vec<usize> = (0..count).map(|_| self.below(self.keys.len())).collect();
        let how = self.below(3);
        self.requests += 1;
        let named = which.iter().map(|key| self.keys[*key].as_str());
        let scene = &mut self.scene;
        let line = format!("MGET {}", named.clone().collect::<Vec<_>>().join(" "));
        self.sent[home].push(Sent::Reply(self.requests, which.clone()));
        let home = home as u16;
        match how {
            0 => {
                scene.tracks = reading(home);
                let lines: Vec<String> = named.map(|key| format!("GET {key}")).collect();
                scene.exec_over_shards(home, self.requests, &lines);
                scene.tracks = Tracks::default();
            }
            1 if count == 1 => {
                let line = line.replace("MGET", "GET");
                scene.reads(home, self.requests, &line);
            }
            _ => scene.reads(home, self.requests, &line),
        }
    }

    /// The one who writes does something to one or two keys, from any core.
    fn write(&mut self) -> u64 {
        self.requests += 1;
        let request = self.requests;
        let home = self.below(usize::from(SHARDS)) as u16;
        let (one, other) = (self.below(self.keys.len()), self.below(self.keys.len()));
        let (first, second) = (self.keys[one].clone(), self.keys[other].clone());
        let (new, newer) = (format!("v{request}"), format!("w{request}"));
        let last = |key: usize| self.history[key].last().cloned().flatten();
        let (has, had) = (last(one), last(one));
        let mut becomes: Vec<(usize, Option<String>)> = Vec::new();
        let line = match self.below(8) {
            0 | 1 => {
                becomes.push((one, Some(new.clone())));
                format!("SET {first} {new}")
            }
            2 if one != other => {
                becomes.extend([(one, Some(new.clone())), (other, Some(newer.clone()))]);
                format!("MSET {first} {new} {second} {newer}")
            }
            3 => {
                becomes.push((one, None));
                format!("DEL {first}")
            }
            4 if one != other && has.is_some() => {
                becomes.extend([(one, None), (other, had)]);
                format!("RENAME {first} {second}")
            }
            5 if self.below(4) == 0 => {
                becomes.extend((0..self.keys.len()).map(|key| (key, None)));
                "FLUSHALL".to_owned()
            }
            6 => {
                becomes.extend([(one, Some(new.clone())), (other, Some(newer.clone()))]);
                let lines = [
                    format!("SET {first} {new}"),
                    format!("SET {second} {newer}"),
                ];
                self.scene.exec_over_shards(home, request, &lines);
                String::new()
            }
            _ => {
                becomes.push((one, None));
                format!("PEXPIREAT {first} 1")
            }
        };
        if !line.is_empty() {
            self.scene.ask(home, request, &line);
        }
        for (key, value) in becomes {
            self.history[key].push(value);
        }
        request
    }

    /// Something moves. A letter that has come stands behind all that its client is owed.
    fn step(&mut self) {
        let letters = &mut self.scene.letters;
        if self.random.next().is_multiple_of(3) && !letters.is_empty() {
            let at = (self.random.next() % letters.len() as u64) as usize;
            if let Some((to, letter)) = letters.remove(at) {
                let letter = Sent::Letter(self.about(&letter));
                self.sent[to.index()].push(letter);
            }
        } else {
            self.scene.deliver_one_by_chance(&mut self.random);
            let node = (self.random.next() % u64::from(SHARDS)) as u16;
            self.scene.go_on(node);
        }
        self.replies.extend(self.scene.said());
    }

    fn about(&self, letter: &Letter) -> Option<usize> {
        let key = key_in(letter);
        self.keys.iter().position(|other| *other == key)
    }

    /// A writer has its reply and tells all: what was said to them before is there by then.
    fn acknowledge(&mut self) {
        let letters: Vec<_> = self.scene.letters.drain(..).collect();
        for (to, letter) in letters {
            let letter = Sent::Letter(self.about(&letter));
            self.sent[to.index()].push(letter);
        }
        let known: Vec<usize> = self.history.iter().map(|values| values.len() - 1).collect();
        for sent in &mut self.sent {
            sent.push(Sent::Knows(known.clone()));
        }
    }

    /// What clients have been sent in order never leaves them with something too old.
    fn judge(&self, seed: u64) {
        for sent in &self.sent {
            let mut cache: BTreeMap<usize, Option<String>> = BTreeMap::new();
            for sent in sent {
                match sent {
                    Sent::Reply(request, keys) => {
                        let reply = self.replies[request].split(' ');
                        let values = reply.filter(|word| !word.starts_with('*'));
                        // `$2 v1` or `$-1`, of which only values and nulls are of interest.
                        let values = values.filter(|word| *word == "$-1" || !word.starts_with('$'));
                        for (key, value) in keys.iter().zip(values) {
                            let value = (value != "$-1").then(|| value.to_owned());
                            cache.insert(*key, value);
                        }
                    }
                    Sent::Letter(None) => cache.clear(),
                    Sent::Letter(Some(key)) => drop(cache.remove(key)),
                    Sent::Knows(known) => {
                        for (key, value) in &cache {
                            let may_be = &self.history[*key][known[*key]..];
                            assert!(may_be.contains(value), "seed {seed}: {value:?} of {key}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn no_copy_is_older_than_what_a_writer_was_told() {
    for seed in 0..400 {
        let mut caches = Caches::new(seed);
        for _ in 0..25 {
            let written = caches.write();
            for _ in 0..10_000 {
                caches.replies.extend(caches.scene.said());
                if caches.replies.contains_key(&written) {
                    break;
                }
                if caches.below(6) == 0 {
                    caches.read();
                }
                caches.step();
            }
            assert!(caches.replies.contains_key(&written), "seed {seed}");
            caches.acknowledge();
            for _ in 0..caches.below(4) {
                caches.read();
                caches.step();
            }
        }
        caches.scene.settle();
        caches.replies.extend(caches.scene.said());
        caches.acknowledge();
        caches.judge(seed);
    }
}
