//! Layer 2: a snapshot of a shard that goes on being changed is the shard as it was at
//! the cut, each key once.
//!
//! Requests of all types go on at random while the snapshot walks, with expiry, moves
//! between databases, flushes and the freeing of memory in between. A door that does not
//! pass `store::before_change` makes it differ. Nobody keeps large values as they are here,
//! so the store must encode in one piece what is changed; what is removed it must not.

// Tests may unwrap; the lint knows test functions, not what they call.
#![allow(clippy::unwrap_used)]

use shards::command::OwnedArgs;
use shards::rdb::{self, Meta};
use shards::{Chunk, DbIndex, Request, Settings, Shard, Slices, Slot, Thresholds, UnixMs};
use std::collections::BTreeSet;

const DBS: u16 = 4;
const SLOTS: u16 = 16_384;
const START: i64 = 1_700_000_000_000;
const SEEDS: u64 = if cfg!(miri) { 1 } else { 12 };
const STEPS: usize = if cfg!(miri) { 60 } else { 4_000 };

/// A number from a number.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (mixed ^ mixed >> 27) % end
    }

    fn choose<'a>(&mut self, words: &[&'a str]) -> &'a str {
        words[self.below(words.len() as u64) as usize]
    }

    /// Keys are few, so that they meet; some share a slot, which splits.
    fn key(&mut self) -> String {
        match self.below(4) {
            0 => format!("{{tag}}{}", self.below(5_000)),
            1 => format!("key:{}{}", self.below(10), "k".repeat(1_100)),
            _ => format!("key:{}", self.below(60)),
        }
    }

    fn element(&mut self) -> String {
        match self.below(6) {
            0 => "long ".repeat(self.below(500) as usize),
            1 => self.below(1_000_000).to_string(),
            _ => format!("element{}", self.below(40)),
        }
    }

    /// Many elements, so that a value leaves its entry.
    fn elements(&mut self, step: usize) -> Vec<String> {
        let count = if self.below(8) == 0 { 200 } else { 2 };
        let element = |n: usize| match (step, n % step) {
            (2, 0) => self.below(90).to_string(),
            _ => format!("e{}", self.below(400)),
        };
        (0..count * step).map(element).collect()
    }
}

/// What keys held, by database, as it is encoded: none of these is the beginning of
/// another.
type Held = BTreeSet<(u16, Vec<u8>)>;

/// Values of more than 50 elements, and strings of some KiB, are large.
fn settings() -> Settings {
    let mut settings = Settings {
        // A text that is compressed in steps is not the same bytes as in one piece.
        rdb_compression: false,
        slices: Slices {
            above: 100,
            step: 16,
        },
        ..Settings::default()
    };
    settings.encodings = Thresholds {
        list_max_listpack_size: 16,
        hash_max_listpack_entries: 16,
        set_max_intset_entries: 16,
        set_max_listpack_entries: 16,
        zset_max_listpack_entries: 16,
        ..settings.encodings
    };
    settings
}

struct World {
    shard: Shard,
    now: UnixMs,
    random: Random,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            shard: Shard::new(DBS, 0..SLOTS, seed, settings()),
            now: UnixMs(START),
            random: Random(seed),
        }
    }

    fn request(&mut self, db: u16, words: &[String]) {
        let args = OwnedArgs::new(words.iter().map(String::as_bytes));
        let row = shards::row(&words[0]).unwrap();
        let request = Request {
            db: DbIndex(db),
            ..Request::new(row.run.whole(), args.args())
        };
        // Wrong types are among them.
        let _ = self.shard.apply(self.now, &request, &mut Vec::new());
    }

    fn step(&mut self) {
        let db = self.random.below(u64::from(DBS)) as u16;
        let (key, other) = (self.random.key(), self.random.key());
        let (element, number) = (self.random.element(), self.random.below(5).to_string());
        let line: Vec<&str> = match self.random.below(100) {
            0..8 => vec!["set", &key, &element],
            8..10 => vec!["set", &key, &element, "px", "3000"],
            10..14 => vec!["append", &key, &element],
            14..16 => vec!["setrange", &key, "3", &element],
            16 => vec!["setrange", &key, "20000", &element],
            17..21 => vec!["incrby", &key, &number],
            21..23 => vec!["setbit", &key, "9", "1"],
            23 => vec!["pfdebug", "todense", "hll"],
            24 => vec!["pfcount", "hll"],
            25..27 => vec!["pfadd", "hll", &element],
            27..31 => vec!["expire", &key, &number],
            31..33 => vec!["persist", &key],
            33..39 => vec!["del", &key, &other],
            39..42 => vec!["rename", &key, &other],
            42..45 => vec!["copy", &key, &other, "replace"],
            45..48 => vec!["move", &key, &number],
            48..52 => vec![
                self.random.choose(&["lpop", "rpop", "spop", "zpopmin"]),
                &key,
            ],
            52..54 => vec!["ltrim", &key, "1", "-2"],
            54..56 => vec!["lset", &key, "0", &element],
            56..58 => vec!["linsert", &key, "before", "e1", &element],
            58..60 => vec!["hincrby", &key, &element, "1"],
            60..62 => vec!["hpexpire", &key, "200", "fields", "2", "e1", "e2"],
            62..64 => vec!["hdel", &key, "e1", "e2", &element],
            64..66 => vec!["zremrangebyrank", &key, "0", "2"],
            66..68 => vec!["sunionstore", &key, &other, &key],
            68..70 => vec!["sort", &other, "alpha", "by", "nosort", "store", &key],
            70 => vec![self.random.choose(&["flushdb", "flushdb", "flushall"])],
            71..73 => vec!["swapdb", "0", &number],
            73..75 => vec!["getex", &key, "px", "1500"],
            _ => return self.other(db, key),
        };
        let line: Vec<String> = line.into_iter().map(str::to_owned).collect();
        self.request(db, &line);
    }

    /// Requests of many elements, and what happens beside requests.
    fn other(&mut self, db: u16, key: String) {
        let verb = self
            .random
            .choose(&["rpush", "sadd", "srem", "hset", "zadd"]);
        match self.random.below(16) {
            0 => self.now.0 += self.random.below(400) as i64,
            1 => {
                self.shard.expire_due(self.now, 20);
            }
            2 => {
                self.shard.free_some(50);
            }
            3 => {
                let first = self.random.below(5_000);
                for number in first..first + self.random.below(600) {
                    let words = ["set", &format!("{{tag}}{number}"), "flood"];
                    self.request(db, &words.map(str::to_owned));
                }
            }
            4 => {
                let first = self.random.below(5_000);
                for number in first..first + self.random.below(400) {
                    let words = ["del", &format!("{{tag}}{number}")];
                    self.request(db, &words.map(str::to_owned));
                }
            }
            _ => {
                let step = if ["hset", "zadd"].contains(&verb) {
                    2
                } else {
                    1
                };
                let mut words = vec![verb.to_owned(), key];
                words.extend(self.random.elements(step));
                self.request(db, &words);
            }
        }
    }

    /// Everything there is, due or not.
    fn held(&self) -> Held {
        let mut held = Held::new();
        let compress = self.shard.settings.rdb_compression;
        for db in 0..DBS {
            for slot in 0..SLOTS {
                let keyspace = self.shard.keyspace(DbIndex(db));
                keyspace.for_each_in_slot(Slot(slot), &mut |item| {
                    let mut entry = Vec::new();
                    let meta = Meta {
                        expire_at: item.view.expire_at,
                        ..Meta::default()
                    };
                    let value = item.view.value;
                    rdb::encode_entry(item.key, value, &meta, compress, &mut entry).unwrap();
                    held.insert((db, entry));
                });
            }
        }
        held
    }

    fn check(&self) {
        (0..DBS).for_each(|db| self.shard.keyspace(DbIndex(db)).check_invariants());
    }
}

/// What is to be in the file, and what is.
struct File {
    held: Held,
    found: Held,
    /// Pieces of a value the last of which has not come.
    pieces: Vec<u8>,
    keys: usize,
}

impl File {
    fn new(held: Held) -> Self {
        Self {
            held,
            found: Held::new(),
            pieces: Vec::new(),
            keys: 0,
        }
    }

    /// Adds chunks that follow those before.
    fn add(&mut self, chunks: Vec<Chunk>) {
        for chunk in chunks {
            assert!(!chunk.bytes.is_empty());
            self.keys += chunk.keys as usize;
            self.pieces.extend(chunk.bytes);
            if !chunk.more {
                self.read();
            }
        }
    }

    /// Reads what can stand anywhere in a file.
    fn read(&mut self) {
        const SELECT_DB: u8 = 254;
        let pieces = std::mem::take(&mut self.pieces);
        let mut rest = &pieces[..];
        let mut db = None;
        while let Some(first) = rest.first() {
            if *first == SELECT_DB {
                db = Some(u16::from(rest[1]));
                rest = &rest[2..];
                continue;
            }
            let at = (db.expect("it begins with its database"), rest.to_vec());
            let entry = self.held.range(..=at).next_back().cloned();
            let entry = entry.filter(|(of, entry)| Some(*of) == db && rest.starts_with(entry));
            let start = rest[..rest.len().min(60)].escape_ascii();
            let entry = entry.unwrap_or_else(|| panic!("not there at the cut: {start}"));
            rest = &rest[entry.1.len()..];
            assert!(self.found.insert(entry), "twice: {start}");
        }
    }

    fn end(self, place: &str) {
        assert_eq!(
            self.found.len(),
            self.held.len(),
            "{place}: some are missing"
        );
        assert_eq!(self.keys, self.held.len(), "{place}");
        assert!(self.pieces.is_empty());
    }
}

#[test]
fn a_snapshot_is_what_was_there_at_the_cut() {
    let mut whole = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let mut cuts = 0;
        while cuts < 3 {
            for _ in 0..world.random.below(STEPS as u64) {
                world.step();
            }
            world.check();
            let held = world.held();
            world.shard.begin_cut();
            let mut file = File::new(held);
            let (pace, budget) = (1 + world.random.below(60), world.random.below(100));
            loop {
                for _ in 0..world.random.below(pace) {
                    world.step();
                }
                let more = world.shard.walk_cut(budget as usize).more;
                if world.random.below(20) == 0 {
                    world.check();
                }
                if !more || world.random.below(10) == 0 {
                    file.add(world.shard.take_chunks().unwrap());
                }
                if !more {
                    break;
                }
            }
            world.check();
            assert!(!world.shard.is_being_cut());
            whole += world.shard.encoded_whole();
            file.end(&format!("seed {seed}, cut {cuts}"));
            cuts += 1;
        }
    }
    if !cfg!(miri) {
        assert!(whole > 0, "large values were changed");
    }
}
