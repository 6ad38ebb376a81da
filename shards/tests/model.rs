//! Layer 2: random operations on a keyspace against the whiteboard twin, with
//! every invariant checked after each.

// Tests may unwrap; the lint knows test functions, not what they call.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use shards::{Effects, Item, Keyspace, StringRef, Ttl, UnixMs, ValueRef, View};
use std::collections::BTreeSet;

#[path = "../src/keyspace/twin.rs"]
mod twin;

use twin::Twin;

const SLOTS: u16 = 16_384;
const START: UnixMs = UnixMs(1_700_000_000_000);

#[derive(Clone, Debug)]
enum Op {
    Set(Key, Text, Deadline),
    SetInt(Key, i64),
    SetRaw(Key, Text),
    SetText(Key, Text),
    Append(Key, Text),
    SetRange(Key, usize, Text),
    Add(Key, i64),
    Delete(Key),
    Expire(Key, Deadline),
    Read(Key),
    /// Milliseconds.
    Wait(i64),
    ExpireDue(usize),
    Flood(u16),
    Drain(u16),
    Clear,
    FreeSome(usize),
    Scan(usize),
    Random(u64),
    /// Somebody judges from now on.
    Look,
    /// And no longer; the number chooses who.
    Looked(usize),
    Pause(bool),
}

#[derive(Clone, Debug)]
enum Key {
    Any(u8),
    Tagged(u16),
    Long(u8, usize),
    Empty,
}

impl Key {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Any(number) => format!("key:{number}").into_bytes(),
            Self::Tagged(number) => format!("{{x}}{number}").into_bytes(),
            Self::Long(number, length) => {
                let mut key = number.to_string().into_bytes();
                key.resize(*length, b'.');
                key
            }
            Self::Empty => Vec::new(),
        }
    }
}

#[derive(Clone, Debug)]
enum Text {
    Number(i64),
    Bytes(usize, u8),
}

impl Text {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Number(number) => number.to_string().into_bytes(),
            Self::Bytes(length, fill) => vec![*fill; *length],
        }
    }
}

/// Milliseconds from now, or what to do with the one there is.
#[derive(Clone, Debug)]
enum Deadline {
    Keep,
    Clear,
    In(i64),
}

impl Deadline {
    fn ttl(&self, now: UnixMs) -> Ttl {
        match self {
            Self::Keep => Ttl::Keep,
            Self::Clear => Ttl::Clear,
            Self::In(after) => Ttl::At(UnixMs(now.0 + after)),
        }
    }
}

fn key() -> impl Strategy<Value = Key> {
    prop_oneof![
        4 => (0..20u8).prop_map(Key::Any),
        4 => (0..30u16).prop_map(Key::Tagged),
        2 => (0..3u8, prop::sample::select(vec![1000usize, 1023, 1024, 2000, 3000]))
            .prop_map(|(number, length)| Key::Long(number, length)),
        1 => Just(Key::Empty),
    ]
}

fn text() -> impl Strategy<Value = Text> {
    let lengths = prop_oneof![
        0..100usize,
        900..1100usize,
        1990..2060usize,
        Just(20_000),
        Just(70_000)
    ];
    prop_oneof![
        prop_oneof![-20..20i64, any::<i64>()].prop_map(Text::Number),
        (lengths, b'a'..b'd').prop_map(|(length, fill)| Text::Bytes(length, fill)),
    ]
}

fn deadline() -> impl Strategy<Value = Deadline> {
    prop_oneof![
        Just(Deadline::Keep),
        Just(Deadline::Clear),
        (-5..1000i64).prop_map(Deadline::In),
        (0..1_000_000_000i64).prop_map(Deadline::In),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (key(), text(), deadline()).prop_map(|(key, text, at)| Op::Set(key, text, at)),
        1 => (key(), any::<i64>()).prop_map(|(key, number)| Op::SetInt(key, number)),
        1 => (key(), text()).prop_map(|(key, text)| Op::SetRaw(key, text)),
        1 => (key(), text()).prop_map(|(key, text)| Op::SetText(key, text)),
        3 => (key(), text()).prop_map(|(key, text)| Op::Append(key, text)),
        3 => (key(), 0..3000usize, text()).prop_map(|(key, at, text)| Op::SetRange(key, at, text)),
        3 => (key(), prop_oneof![-9..9i64, any::<i64>()]).prop_map(|(key, by)| Op::Add(key, by)),
        4 => key().prop_map(Op::Delete),
        4 => (key(), deadline()).prop_map(|(key, at)| Op::Expire(key, at)),
        4 => key().prop_map(Op::Read),
        3 => prop_oneof![0..300i64, 0..100_000_000i64].prop_map(Op::Wait),
        3 => (1..40usize).prop_map(Op::ExpireDue),
        1 => (0..700u16).prop_map(Op::Flood),
        1 => (0..700u16).prop_map(Op::Drain),
        1 => Just(Op::Clear),
        1 => (1..200usize).prop_map(Op::FreeSome),
        2 => (1..30usize).prop_map(Op::Scan),
        1 => any::<u64>().prop_map(Op::Random),
        2 => Just(Op::Look),
        2 => any::<usize>().prop_map(Op::Looked),
        1 => any::<bool>().prop_map(Op::Pause),
    ]
}

/// What a look shows.
fn seen<'t>(twin: &'t Twin, now: UnixMs, key: &[u8]) -> Option<View<'t>> {
    let due = |view: &View<'_>| view.expire_at.is_some_and(|at| at <= now);
    twin.get(key).filter(|view| !due(view))
}

/// The keyspace and its twin, side by side.
struct Pair {
    keyspace: Keyspace,
    effects: Effects,
    twin: Twin,
    now: UnixMs,
    expired: u64,
    /// The instants at which somebody judges.
    looks: Vec<UnixMs>,
    paused: bool,
}

impl Pair {
    fn new(seed: u64) -> Self {
        Self {
            keyspace: Keyspace::new(seed, 0..SLOTS),
            effects: Effects::default(),
            twin: Twin::default(),
            now: START,
            expired: 0,
            looks: Vec::new(),
            paused: false,
        }
    }

    /// What is due by then goes when it is met.
    fn until(&self) -> UnixMs {
        match self.looks.iter().min() {
            _ if self.paused => UnixMs(0),
            first => first.map_or(self.now, |at| self.now.min(*at)),
        }
    }

    fn db(&mut self) -> shards::Db<'_> {
        self.keyspace.at(self.now, true, &mut self.effects)
    }

    /// The twin's half of lazy expiry, when a key is looked at.
    fn meet(&mut self, key: &[u8]) {
        self.pass(key, self.until());
    }

    /// The same before it is written: then nobody keeps what is due.
    fn meet_to_write(&mut self, key: &[u8]) {
        self.pass(key, self.now);
    }

    fn pass(&mut self, key: &[u8], until: UnixMs) {
        let expire_at = self.twin.get(key).and_then(|view| view.expire_at);
        if expire_at.is_some_and(|at| at <= until) {
            self.twin.remove(key);
            self.expired += 1;
        }
    }

    fn twin_text(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.twin.get(key)?.value {
            ValueRef::String(StringRef::Int(number)) => Some(number.to_string().into_bytes()),
            ValueRef::String(StringRef::Bytes(bytes)) => Some(bytes.to_vec()),
            _ => unreachable!("only strings are written here"),
        }
    }

    fn twin_set(&mut self, key: &[u8], text: &[u8], ttl: Ttl) {
        let number = std::str::from_utf8(text)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        let canonical = number.filter(|number| number.to_string().as_bytes() == text);
        let value = canonical.map_or(StringRef::Bytes(text), StringRef::Int);
        self.twin.set(key, value, ttl);
    }

    fn twin_overwrite(&mut self, key: &[u8], offset: usize, tail: &[u8]) -> usize {
        let mut text = self.twin_text(key).unwrap_or_default();
        let end = offset + tail.len();
        text.resize(text.len().max(end), 0);
        text[offset..end].copy_from_slice(tail);
        self.twin.set(key, StringRef::Bytes(&text), Ttl::Keep);
        text.len()
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Set(key, ..)
            | Op::SetInt(key, _)
            | Op::SetRaw(key, _)
            | Op::SetText(key, _)
            | Op::Append(key, _)
            | Op::SetRange(key, ..)
            | Op::Add(key, _)
            | Op::Delete(key)
            | Op::Expire(key, _)
            | Op::Read(key) => {
                let key = key.bytes();
                match op {
                    Op::Read(_) => self.meet(&key),
                    _ => self.meet_to_write(&key),
                }
                self.apply_to(&key, op);
                let now = self.now;
                let found = self
                    .keyspace
                    .at(now, true, &mut self.effects)
                    .lookup(&key)
                    .is_some();
                self.meet(&key);
                assert_eq!(found, seen(&self.twin, now, &key).is_some());
                assert_eq!(
                    self.keyspace.at(now, false, &mut self.effects).lookup(&key),
                    seen(&self.twin, now, &key)
                );
            }
            _ => self.apply_to_all(op),
        }
        self.keyspace.check_invariants();
        let info = self.keyspace.info();
        assert_eq!(info.keys, self.twin.len());
        assert_eq!(info.expired, self.expired);
    }

    fn apply_to(&mut self, key: &[u8], op: &Op) {
        match op {
            Op::Set(_, text, at) => {
                let (text, ttl) = (text.bytes(), at.ttl(self.now));
                self.db().set(key, &text, ttl).unwrap();
                self.twin_set(key, &text, ttl);
            }
            Op::SetInt(_, number) => {
                self.db().set_int(key, *number).unwrap();
                self.twin.set(key, StringRef::Int(*number), Ttl::Keep);
            }
            Op::SetRaw(_, text) => {
                self.db().set_raw(key, &text.bytes(), Ttl::Keep).unwrap();
                self.twin
                    .set(key, StringRef::Bytes(&text.bytes()), Ttl::Keep);
            }
            Op::SetText(_, text) => {
                self.db().set_text(key, &text.bytes()).unwrap();
                self.twin
                    .set(key, StringRef::Bytes(&text.bytes()), Ttl::Keep);
            }
            Op::Append(_, text) => {
                let length = self.db().append(key, &text.bytes()).unwrap();
                match self.twin_text(key) {
                    Some(old) => {
                        self.twin_overwrite(key, old.len(), &text.bytes());
                    }
                    None => self.twin_set(key, &text.bytes(), Ttl::Clear),
                }
                assert_eq!(length, self.twin_text(key).unwrap().len());
            }
            Op::SetRange(_, offset, text) => {
                let length = self.db().set_range(key, *offset, &text.bytes()).unwrap();
                assert_eq!(length, self.twin_overwrite(key, *offset, &text.bytes()));
            }
            Op::Add(_, by) => self.add(key, *by),
            Op::Delete(_) => assert_eq!(self.db().delete(key), self.twin.remove(key)),
            Op::Expire(_, at) => {
                let at = match at.ttl(self.now) {
                    Ttl::At(at) => Some(at),
                    _ => None,
                };
                assert_eq!(
                    self.db().set_expire_at(key, at),
                    self.twin.set_expire_at(key, at)
                );
            }
            _ => assert_eq!(
                self.keyspace
                    .at(self.now, true, &mut self.effects)
                    .read(key),
                seen(&self.twin, self.now, key)
            ),
        }
    }

    fn add(&mut self, key: &[u8], by: i64) {
        let text = self.twin_text(key).unwrap_or_else(|| b"0".to_vec());
        let number = std::str::from_utf8(&text).unwrap().parse::<i64>().ok();
        let canonical = number.filter(|number| number.to_string().as_bytes() == text);
        let sum = canonical.and_then(|number| number.checked_add(by));
        assert_eq!(self.db().add_int(key, by).ok(), sum);
        if let Some(sum) = sum {
            self.twin.set(key, StringRef::Int(sum), Ttl::Keep);
        }
    }

    fn apply_to_all(&mut self, op: &Op) {
        match op {
            Op::Wait(time_ms) => self.now.0 += time_ms,
            Op::ExpireDue(budget) => {
                let mut effects = std::mem::take(&mut self.effects);
                while self
                    .keyspace
                    .expire_due(self.now, *budget, &mut effects)
                    .more
                {
                    self.keyspace.check_invariants();
                }
                self.effects = effects;
                self.expired += self.twin.expire(self.until()) as u64;
                let earliest = self
                    .twin
                    .keys()
                    .filter_map(|key| self.twin.get(key)?.expire_at)
                    .min();
                assert!(self.keyspace.next_deadline() <= earliest || earliest.is_none());
            }
            Op::Flood(count) => self.flood(*count),
            Op::Drain(count) => {
                for key in (0..*count).map(|number| Key::Tagged(number).bytes()) {
                    self.meet_to_write(&key);
                    assert_eq!(self.db().delete(&key), self.twin.remove(&key));
                }
            }
            Op::Clear => {
                self.db().clear();
                self.twin = Twin::default();
            }
            Op::FreeSome(budget) => {
                self.keyspace.free_some(*budget);
            }
            Op::Scan(budget) => assert_eq!(self.scan(*budget), self.alive()),
            Op::Random(random) => {
                let found = self.db().random_key(*random);
                let alive = self.alive();
                assert!(found.map_or(alive.is_empty(), |key| alive.contains(&key)));
                // Which expired keys it came upon is its own affair.
                while self
                    .keyspace
                    .expire_due(self.now, 100, &mut self.effects)
                    .more
                {}
                self.expired += self.twin.expire(self.until()) as u64;
            }
            Op::Look => {
                self.looks.push(self.now);
                self.effects.keep().look(self.now);
            }
            Op::Looked(which) => {
                if let Some(last) = self.looks.len().checked_sub(1) {
                    let at = self.looks.swap_remove(which % (last + 1));
                    self.effects.keep().looked(at);
                }
            }
            Op::Pause(on) => {
                self.paused = *on;
                self.effects.keep().hold_all(*on);
            }
            _ => unreachable!("the others concern one key"),
        }
    }

    fn flood(&mut self, count: u16) {
        for number in 0..count {
            let key = Key::Tagged(number).bytes();
            self.meet_to_write(&key);
            let at = (number % 3 == 0).then_some(UnixMs(self.now.0 + i64::from(number)));
            let ttl = at.map_or(Ttl::Clear, Ttl::At);
            self.db().set(&key, b"flooded", ttl).unwrap();
            self.twin.set(&key, StringRef::Bytes(b"flooded"), ttl);
        }
    }

    fn alive(&self) -> BTreeSet<Vec<u8>> {
        let due = |view: View<'_>| view.expire_at.is_some_and(|at| at <= self.now);
        let keys = self.twin.keys();
        let alive = keys.filter(|key| !self.twin.get(key).is_some_and(due));
        alive.map(<[u8]>::to_vec).collect()
    }

    fn scan(&self, budget: usize) -> BTreeSet<Vec<u8>> {
        let (mut met, mut cursor) = (BTreeSet::new(), 0);
        loop {
            let mut visit = |item: Item<'_>| {
                met.insert(item.key.to_vec());
            };
            cursor = self.keyspace.scan(self.now, cursor, budget, &mut visit);
            if cursor == 0 {
                return met;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: match std::env::var_os("CORDIS_LONG") {
            _ if cfg!(miri) => 1,
            Some(value) if value != "0" => 6_400,
            _ => 64,
        },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn behaves_as_the_whiteboard(
        seed in any::<u64>(),
        ops in prop::collection::vec(op(), 1..if cfg!(miri) { 30 } else { 120 }),
    ) {
        let mut pair = Pair::new(seed);
        for op in &ops {
            pair.apply(op);
        }
    }
}

/// A number from a number.
fn mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mixed = (*state ^ *state >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed ^ mixed >> 27
}

#[test]
fn a_scan_meets_every_key_that_stays_while_others_come_and_go() {
    for (seed, prefix) in [(1u64, ""), (2, "{tag}"), (3, "{tag}"), (4, "")] {
        let mut pair = Pair::new(seed);
        let (stay, churn) = if cfg!(miri) {
            (30, 50)
        } else {
            (3000u64, 20_000u64)
        };
        let name = |kind: &str, number: u64| format!("{prefix}{kind}{number}").into_bytes();
        for number in 0..stay {
            pair.db()
                .set(&name("stays", number), b"", Ttl::Clear)
                .unwrap();
        }
        let (mut random, mut met, mut cursor, mut calls) = (seed, BTreeSet::new(), 0, 0u64);
        loop {
            let mut visit = |item: Item<'_>| {
                met.insert(item.key.to_vec());
            };
            cursor = pair.keyspace.scan(pair.now, cursor, 50, &mut visit);
            calls += 1;
            if cursor == 0 {
                break;
            }
            // Waves: the tables grow, split, and shrink again.
            for _ in 0..300 {
                let key = name("churn", mix(&mut random) % churn);
                if calls / 40 % 2 == 0 {
                    pair.db().set(&key, b"", Ttl::Clear).unwrap();
                } else {
                    pair.db().delete(&key);
                }
            }
        }
        pair.keyspace.check_invariants();
        assert!(
            (0..stay).all(|number| met.contains(&name("stays", number))),
            "seed {seed}"
        );
    }
}

#[test]
fn a_cursor_leads_through_all_shards() {
    let bounds = [0u16, 1, 5000, 16_000, SLOTS];
    let ranges: Vec<_> = bounds.windows(2).map(|bound| bound[0]..bound[1]).collect();
    let mut effects = Effects::default();
    let new = |range: &std::ops::Range<u16>| Keyspace::new(9, range.clone());
    let mut shards: Vec<_> = ranges.iter().map(new).collect();
    let owner = |slot: u64| {
        ranges
            .iter()
            .position(|range| u64::from(range.end) > slot)
            .unwrap()
    };
    let count = if cfg!(miri) { 50 } else { 2000 };
    for number in 0..count {
        let key = number.to_string();
        let shard = &mut shards[owner(u64::from(shards::slot_of(key.as_bytes()).0))];
        shard
            .at(START, true, &mut effects)
            .set(key.as_bytes(), b"", Ttl::Clear)
            .unwrap();
    }
    let (mut met, mut cursor) = (0, 0u64);
    loop {
        cursor = shards[owner(cursor >> 34)].scan(START, cursor, 7, &mut |_| met += 1);
        if cursor == 0 {
            break;
        }
    }
    assert_eq!(met, count);
}

#[test]
fn memory_comes_back_after_expiry_and_after_clear() {
    let mut pair = Pair::new(5);
    let count = if cfg!(miri) { 100 } else { 50_000u64 };
    for number in 0..count {
        let ttl = Ttl::At(UnixMs(START.0 + 1 + (number % 1000) as i64));
        pair.db()
            .set(
                number.to_string().as_bytes(),
                b"a value of some length",
                ttl,
            )
            .unwrap();
    }
    let held = pair.keyspace.info().page_bytes;
    assert_eq!(pair.keyspace.info().expires as u64, count);
    let mut slices = 0;
    let now = UnixMs(START.0 + 2000);
    let progress = loop {
        let progress = pair.keyspace.expire_due(now, 200, &mut pair.effects);
        slices += 1;
        if !progress.more {
            break progress;
        }
    };
    assert!(slices > if cfg!(miri) { 1 } else { 100 }, "in slices");
    assert_eq!((progress.next, pair.keyspace.len()), (None, 0));
    assert!(cfg!(miri) || pair.keyspace.info().page_bytes * 50 < held);
    pair.keyspace.check_invariants();

    for number in 0..count {
        let value = vec![b'v'; if number % 100 == 0 { 70_000 } else { 30 }];
        pair.db()
            .set(number.to_string().as_bytes(), &value, Ttl::Clear)
            .unwrap();
    }
    pair.keyspace.clear();
    assert_eq!(
        (pair.keyspace.len(), pair.keyspace.info().page_bytes),
        (0, 0)
    );
    pair.db().set(b"after", b"1", Ttl::Clear).unwrap();
    while pair.keyspace.free_some(100) {}
    assert_eq!(pair.keyspace.len(), 1);
    pair.keyspace.check_invariants();
}

#[test]
fn the_encodings_have_redis_names() {
    let mut pair = Pair::new(6);
    let mut db = pair.db();
    let mut encoding_of = |write: &dyn Fn(&mut shards::Db<'_>)| {
        db.delete(b"k");
        write(&mut db);
        db.object(b"k").unwrap().encoding.name()
    };
    assert_eq!(
        encoding_of(&|db| db.set(b"k", b"12", Ttl::Clear).unwrap()),
        "int"
    );
    assert_eq!(
        encoding_of(&|db| db.set(b"k", &[b'v'; 44], Ttl::Clear).unwrap()),
        "embstr"
    );
    assert_eq!(
        encoding_of(&|db| db.set(b"k", &[b'v'; 45], Ttl::Clear).unwrap()),
        "raw"
    );
    assert_eq!(encoding_of(&|db| drop(db.append(b"k", b"abc"))), "embstr");
    assert_eq!(
        encoding_of(&|db| drop(db.set_range(b"k", 0, b"abc"))),
        "raw"
    );
    let appended = |db: &mut shards::Db<'_>| {
        db.set(b"k", b"12", Ttl::Clear).unwrap();
        db.append(b"k", b"3").unwrap();
    };
    assert_eq!(encoding_of(&appended), "raw");
    assert_eq!(
        encoding_of(&|db| drop((appended(db), db.add_int(b"k", 1)))),
        "int"
    );
    assert_eq!(
        encoding_of(&|db| db.set_text(b"k", b"1.5").unwrap()),
        "embstr"
    );
}

#[test]
fn reads_refresh_the_access_time_unless_told_not_to() {
    let mut pair = Pair::new(7);
    pair.db().set(b"k", b"v", Ttl::Clear).unwrap();
    let later = UnixMs(START.0 + 90_000);
    let mut quiet = pair.keyspace.at(later, false, &mut pair.effects);
    assert!(quiet.read(b"k").is_some() && quiet.peek(b"k").is_some());
    assert_eq!(quiet.object(b"k").unwrap().idle_s, 90);
    let mut db = pair.keyspace.at(later, true, &mut pair.effects);
    assert!(db.peek(b"k").is_some());
    assert_eq!(db.object(b"k").unwrap().idle_s, 90);
    assert!(db.read(b"k").is_some());
    assert_eq!(db.object(b"k").unwrap().idle_s, 0);
}

#[test]
fn a_hint_stands_in_for_the_hash() {
    let mut pair = Pair::new(8);
    let (key, copy) = (b"key".to_vec(), b"key".to_vec());
    pair.db().set(&key, b"v", Ttl::Clear).unwrap();
    let wrong = pair.keyspace.locate(b"elsewhere");
    let right = pair.keyspace.locate(&key);
    pair.keyspace.prefetch_line(&right);
    pair.keyspace.prefetch_entry(&right);
    let mut db = pair.db();
    db.hint(wrong, &key);
    assert!(
        db.read(&key).is_none(),
        "the hint is believed for these bytes"
    );
    assert!(db.read(&copy).is_some(), "and for no others");
    db.hint(right, &key);
    assert!(db.read(&key).is_some());
}
