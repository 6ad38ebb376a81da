//! Values as files and payloads have them, damaged: whatever the bytes are, they are a
//! value or are refused, in slices as at once; files are cut in the same way however they
//! are read; RESTORE, whose checksum is always right here, changes nothing when it fails.
//! No length is believed: memory stays in proportion to the input.
//!
//! Input: what a value is made of, then what is done to its bytes.
#![no_main]

#[path = "../../../shards/tests/rdb/written.rs"]
mod written;

use libfuzzer_sys::fuzz_target;
use shards::rdb::{Decoder, Form, Item, LoadError, Scanner, Terms, Version, decode};
use shards::{DbIndex, Growth, Owned, Request, Settings, Shard, StringRef, UnixMs, ValueRef, row};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Counts what is given out.
struct Counting;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(now, Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a value may take besides what is in proportion to its bytes.
const CONSTANT: usize = 256 << 10;
/// A consumer of a group takes some 120 bytes, and is written in 11; three bytes of a
/// compressed text may be 264 of it.
const FACTOR: usize = 400;

const CLOCK: UnixMs = UnixMs(1_000_000);

/// The input, byte by byte; zeros behind its end.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    fn word(&mut self) -> Vec<u8> {
        let byte = self.byte();
        match byte % 6 {
            0 => (i64::from(byte) - 100).to_string().into_bytes(),
            1 => (i64::from(byte) << self.below(56)).to_string().into_bytes(),
            2 => vec![byte; self.below(80)],
            3 => vec![byte; self.below(80) * 60],
            _ => format!("w{byte}").into_bytes(),
        }
    }

    fn words(&mut self, most: usize) -> Vec<Vec<u8>> {
        let count = self.below(most);
        (0..count).map(|_| self.word()).collect()
    }

    fn blob(&mut self, bytes: &[u8]) -> Vec<u8> {
        match self.byte() % 3 {
            0 => written::packed(bytes),
            _ => written::raw(bytes),
        }
    }

    fn score(&mut self) -> f64 {
        match self.byte() {
            0 => f64::NAN,
            1 => f64::INFINITY,
            byte => f64::from(byte) / 2.0 - 9.0,
        }
    }
}

/// The type and the bytes of a value.
fn value(source: &mut Source<'_>) -> (u8, Vec<u8>) {
    let number = [
        0, 1, 2, 3, 4, 5, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 24, 25,
    ];
    let number = number[source.below(number.len())];
    let words = source.words(20);
    let bytes = match number {
        0 => {
            let word = source.word();
            source.blob(&word)
        }
        1 | 2 => written::texts(words.len() as u64, &words),
        3 => rows(&words, |word| {
            [written::text(word), b"\x031.5".to_vec()].concat()
        }),
        4 => written::texts(words.len() as u64 / 2, &words),
        5 => rows(&words, |word| {
            [written::text(word), source.score().to_le_bytes().to_vec()].concat()
        }),
        9 => source.blob(&written::zipmap(&words, 1)),
        10 | 12 | 13 => source.blob(&written::ziplist(&words, words.len() % 2 == 0)),
        11 => {
            let width = 2 << source.below(3);
            source.blob(&written::intset(width, &[-5, 0, 7, 90]))
        }
        14 => rows(&words, |word| {
            written::raw(&written::ziplist(&[word], false))
        }),
        18 => rows(&words, |word| match source.byte() % 3 {
            0 => [written::len(1), written::raw(word)].concat(),
            _ => [
                written::len(2),
                source.blob(&written::listpack(&[word, word])),
            ]
            .concat(),
        }),
        15 | 19 | 21 => stream(source, number),
        22 => rows(&words, |word| {
            let at = i64::from(source.byte()) * 10_000 - 1;
            [
                written::text(word),
                written::text(b"v"),
                at.to_le_bytes().to_vec(),
            ]
            .concat()
        }),
        24 => {
            let rows = rows(&words, |word| {
                let more = written::len(source.byte().into());
                [more, written::text(word), written::text(b"v")].concat()
            });
            [CLOCK.0.to_le_bytes().to_vec(), rows].concat()
        }
        25 => {
            let words = words
                .iter()
                .flat_map(|word| [word.clone(), b"v".to_vec(), b"1000020".to_vec()]);
            let row = written::listpack(&words.collect::<Vec<_>>());
            [vec![0; 8], source.blob(&row)].concat()
        }
        _ => source.blob(&written::listpack(&words)),
    };
    (number, bytes)
}

fn rows(words: &[Vec<u8>], mut row: impl FnMut(&Vec<u8>) -> Vec<u8>) -> Vec<u8> {
    let rows: Vec<u8> = words.iter().flat_map(&mut row).collect();
    [written::len(words.len() as u64), rows].concat()
}

fn stream(source: &mut Source<'_>, number: u8) -> Vec<u8> {
    let count = source.below(9) as u64;
    let head = [count, 0, 1].map(|it| it.to_string());
    let mut words: Vec<String> = head.into_iter().chain(["f".into(), "0".into()]).collect();
    for nth in 0..count {
        let entry = [
            "2".to_owned(),
            nth.to_string(),
            "0".into(),
            "v".into(),
            "4".into(),
        ];
        words.extend(entry);
    }
    let node = [
        written::raw(&written::id((5, 0))),
        source.blob(&written::listpack(&words)),
    ];
    let mut bytes = [written::len(1), node.concat(), written::len(count)].concat();
    bytes.extend(written::short_id((50, 0)));
    if number > 15 {
        bytes.extend(
            [
                written::short_id((5, 0)),
                written::short_id((0, 0)),
                written::len(9),
            ]
            .concat(),
        );
    }
    let groups = source.below(3) as u64;
    bytes.extend(written::len(groups));
    for group in 0..groups {
        bytes.extend(
            [
                written::text(&[b'a' + group as u8]),
                written::short_id((6, 0)),
            ]
            .concat(),
        );
        if number > 15 {
            bytes.extend(written::len(1));
        }
        let pending = source.below(6) as u64;
        bytes.extend(written::len(pending));
        for nth in 0..pending {
            bytes.extend([written::id((5 + nth, 0)), vec![7; 8], written::len(2)].concat());
        }
        bytes.extend([written::len(2), written::text(b"c")].concat());
        let seen = vec![1; if number == 21 { 16 } else { 8 }];
        bytes.extend([seen.clone(), written::len(pending)].concat());
        (0..pending).for_each(|nth| bytes.extend(written::id((5 + nth, 0))));
        bytes.extend([written::text(b"d"), seen, written::len(0)].concat());
    }
    bytes
}

/// Damages bytes as the rest of the input says.
fn damage(source: &mut Source<'_>, bytes: &mut Vec<u8>) {
    while !source.0.is_empty() {
        let what = source.byte();
        let place = usize::from(source.byte()) << 8 | usize::from(source.byte());
        let at = place % (bytes.len() + 1);
        match what % 7 {
            0 if at < bytes.len() => bytes[at] = source.byte(),
            1 if at < bytes.len() => bytes[at] ^= 1 << (what >> 5),
            2 => bytes.insert(at, source.byte()),
            3 if at < bytes.len() => drop(bytes.remove(at)),
            4 => bytes.truncate(at),
            5 => {
                let end = bytes.len().min(at + source.below(40));
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
            _ => {
                let length = u64::MAX >> source.below(64);
                bytes.splice(at..at, written::len(length));
            }
        }
    }
}

/// Goes through all of a value, and checks what can be checked.
fn look(value: &Owned) {
    match value.view() {
        ValueRef::String(StringRef::Int(_) | StringRef::Bytes(_)) => {}
        ValueRef::List(list) => assert_eq!(list.iter().count(), list.len()),
        ValueRef::Set(set) => assert!(set.iter().all(|it| it.with_bytes(|it| set.contains(it)))),
        ValueRef::Zset(zset) => {
            let rows: Vec<_> = zset.iter().collect();
            assert!(rows.is_sorted_by(|one, other| one.1 <= other.1));
            assert!(
                rows.iter()
                    .all(|row| row.0.with_bytes(|it| zset.score(it)) == Some(row.1))
            );
        }
        ValueRef::Hash(hash) => {
            for field in hash.iter() {
                let found = field.name.with_bytes(|name| hash.find(name));
                assert_eq!(found, Some(field));
                let earliest = hash.earliest();
                assert!(
                    field
                        .expire_at
                        .is_none_or(|at| earliest.is_some_and(|it| it <= at))
                );
            }
        }
        ValueRef::Stream(stream) => stream.check_invariants(),
    }
}

fn sliced(
    form: Form,
    bytes: &[u8],
    terms: &Terms<'_>,
    budget: usize,
) -> Result<Option<Owned>, LoadError> {
    let mut decoder = Decoder::new(form);
    loop {
        if let Some(value) = decoder.go_on(bytes, terms, budget)? {
            return Ok(value);
        }
    }
}

fn check_decoding(form: Form, bytes: &[u8], budget: usize) {
    let settings = Settings::default();
    let growth = Growth {
        thresholds: &settings.encodings,
        seed: 7,
    };
    let terms = Terms { growth, now: CLOCK };
    let before = NOW.load(Relaxed);
    PEAK.store(before, Relaxed);
    let whole = decode(form, bytes, &terms);
    let peak = PEAK.load(Relaxed) - before;
    assert!(
        peak <= FACTOR * bytes.len() + CONSTANT,
        "{peak} of {}",
        bytes.len()
    );
    match (&whole, sliced(form, bytes, &terms, budget)) {
        (Ok(Some(whole)), Ok(Some(sliced))) => assert!(whole.view() == sliced.view()),
        (Ok(None), Ok(None)) => {}
        (Err(one), Err(other)) => assert_eq!(*one, other),
        // What follows a value is not looked at in slices.
        (Err(error), Ok(_)) => assert!(error.to_string().contains("followed by")),
        other => panic!("{other:?}"),
    }
    if let Ok(Some(value)) = &whole {
        look(value);
    }
}

fn items(file: &[u8], piece: usize) -> Result<Vec<String>, LoadError> {
    let mut scanner = Scanner::new(true);
    let mut found = Vec::new();
    for piece in file.chunks(piece) {
        scanner.feed(piece).expect("there is memory");
        while let Some(item) = scanner.next()? {
            found.push(format!("{item:?}"));
            if matches!(item, Item::End { .. }) {
                return Ok(found);
            }
        }
    }
    scanner.finish();
    scanner.next()?;
    Ok(found)
}

fn check_restore(number: u8, bytes: &[u8]) {
    let version = if number == 22 { 80 } else { 12 };
    let payload = written::payload(&[&[number], bytes].concat(), version);
    let settings = Settings::default();
    let mut shard = Shard::new(1, 0..16_384, 7, settings);
    let mut ask = |words: &[&[u8]]| {
        let args = shards::command::OwnedArgs::new(words.iter().copied());
        let row = row(words[0]).expect("it is a command");
        let mut out = Vec::new();
        let request = Request::new(row.run.whole(), args.args());
        // An error is in the reply, too.
        let _ = shard.apply(CLOCK, &request, &mut out);
        out
    };
    assert_eq!(ask(&[b"SET", b"k", b"old"]), b"+OK\r\n");
    let reply = ask(&[b"RESTORE", b"k", b"0", &payload, b"REPLACE"]);
    match &*reply {
        b"+OK\r\n" => {}
        b"-ERR Bad data format\r\n" => assert_eq!(ask(&[b"GET", b"k"]), b"$3\r\nold\r\n"),
        other => panic!("{}", String::from_utf8_lossy(other)),
    }
    shard.keyspace(DbIndex(0)).check_invariants();
}

fuzz_target!(|data: &[u8]| {
    let mut source = Source(data);
    let (budget, piece) = (1 + source.below(40), 1 + source.below(90));
    let (number, mut bytes) = value(&mut source);
    damage(&mut source, &mut bytes);
    let version = Version {
        number: 12,
        is_valkey: number == 22,
    };
    let form = Form::of(number, version).expect("it is one that is read");
    check_decoding(form, &bytes, budget);
    check_restore(number, &bytes);
    let head = if number == 22 {
        "VALKEY080"
    } else {
        "REDIS0012"
    };
    let key = written::text(b"key");
    let entry = [vec![number], key.clone(), bytes, vec![0], key.clone(), key].concat();
    let file = written::file(head, &[entry]);
    let whole = items(&file, file.len());
    assert_eq!(items(&file, piece), whole);
});
