//! Files as servers of all ages write them, from Redis 2.2 on, made from the
//! documentation of the format; they are kept in `files/`, for other tests, too. Each
//! holds what its version can, and is loaded to the last key.
//!
//! `CORDIS_BLESS=1` writes the files anew.

#![allow(clippy::unwrap_used)] // a test may

#[path = "rdb/written.rs"]
mod written;

use shards::rdb::{Entry, Item, Scanner, Skipped, Terms, decode};
use shards::stream::StreamId;
use shards::{DbIndex, Growth, Owned, Settings, StringRef, UnixMs, ValueRef};
use std::fmt::Write as _;
use std::path::PathBuf;
use written::{id, intset, len, listpack, packed, raw, short_id, text, texts, ziplist, zipmap};

/// Deadlines are far from here, on both sides.
const NOW: UnixMs = UnixMs(1_800_000_000_000);
const LATER: i64 = 4_102_444_800_000;

/// What a file is called, begins with, and may hold: the number of the version.
const SERVERS: &[(&str, &str, u16)] = &[
    ("redis-2.2", "REDIS0001", 1),
    ("redis-2.4", "REDIS0002", 2),
    ("redis-2.6", "REDIS0006", 6),
    ("redis-3.2", "REDIS0007", 7),
    ("redis-4.0", "REDIS0008", 8),
    ("redis-5.0", "REDIS0009", 9),
    ("redis-7.0", "REDIS0010", 10),
    ("redis-7.2", "REDIS0011", 11),
    ("redis-7.4", "REDIS0012", 12),
    ("redis-8.6", "REDIS0013", 13),
    ("redis-8.8", "REDIS0014", 14),
    ("redis-8.10", "REDIS0015", 15),
    ("valkey-9.0", "VALKEY080", 80),
    ("valkey-9.2", "VALKEY081", 81),
];

/// An entry: since which version it is written so, up to which, its bytes, and what is
/// to be found.
struct Key {
    since: u16,
    until: u16,
    bytes: Vec<u8>,
    found: String,
}

fn key(
    versions: std::ops::RangeInclusive<u16>,
    number: u8,
    name: &str,
    value: Vec<u8>,
    found: &str,
) -> Key {
    Key {
        since: *versions.start(),
        until: *versions.end(),
        bytes: [vec![number], text(name.as_bytes()), value].concat(),
        found: format!("0 {name} {found}"),
    }
}

const ALWAYS: std::ops::RangeInclusive<u16> = 1..=81;

fn strings() -> Vec<Key> {
    let long = "long ".repeat(40);
    vec![
        key(ALWAYS, 0, "text", raw(b"text"), "text"),
        key(ALWAYS, 0, "empty", raw(b""), ""),
        key(ALWAYS, 0, "int8", text(b"-7"), "-7"),
        key(ALWAYS, 0, "int16", text(b"-7000"), "-7000"),
        key(ALWAYS, 0, "int32", text(b"2000000000"), "2000000000"),
        key(
            ALWAYS,
            0,
            "int64",
            text(b"9007199254740993"),
            "9007199254740993",
        ),
        key(ALWAYS, 0, "long", raw(long.as_bytes()), &long),
        key(ALWAYS, 0, "packed", packed(&[b'x'; 600]), &"x".repeat(600)),
        key(
            ALWAYS,
            0,
            "17",
            raw(b"a number is the key"),
            "a number is the key",
        ),
    ]
}

const WORDS: [&str; 4] = ["a", "12", "-70000", "a text"];
const LIST: &str = "a 12 -70000 a text";

fn lists() -> Vec<Key> {
    let node = |kind, bytes: &[u8]| [len(kind), raw(bytes)].concat();
    let two = ziplist(&WORDS[..2], false);
    let nodes = [len(2), raw(&two), packed(&ziplist(&WORDS[2..], true))];
    let nodes_2 = [
        len(3),
        node(2, &listpack(&WORDS[..2])),
        node(1, b"-70000"),
        node(2, &listpack(&WORDS[3..])),
    ];
    let small = packed(&ziplist(&WORDS, false));
    vec![
        key(1..=1, 1, "list", texts(4, &WORDS), LIST),
        key(2..=6, 10, "list:small", small, LIST),
        key(7..=9, 14, "list", nodes.concat(), LIST),
        key(10..=81, 18, "list", nodes_2.concat(), LIST),
    ]
}

fn sets() -> Vec<Key> {
    let set = "-70000 12 a a text";
    let many: Vec<String> = (100..700).map(|number| format!("m{number}")).collect();
    let ints = raw(&intset(4, &[-70_000, 0, 7]));
    vec![
        key(ALWAYS, 2, "set", texts(4, &WORDS), set),
        key(ALWAYS, 2, "set:large", texts(600, &many), &many.join(" ")),
        key(2..=81, 11, "set:ints", ints, "-70000 0 7"),
        key(11..=81, 20, "set:small", raw(&listpack(&WORDS)), set),
    ]
}

fn sorted_sets() -> Vec<Key> {
    let zset = "a=-0.5 b=7 c=inf";
    let words = ["a", "-0.5", "b", "7", "c", "inf"];
    let written = [&[3][..], b"\x01c\xFE\x01a\x04-0.5\x01b\x017"].concat();
    let scores = [("c", f64::INFINITY), ("b", 7.0), ("a", -0.5)];
    let scores = scores
        .map(|(member, score)| [text(member.as_bytes()), score.to_le_bytes().to_vec()].concat());
    let binary = [len(3), scores.concat()].concat();
    vec![
        key(1..=7, 3, "zset", written, zset),
        key(2..=9, 12, "zset:small", raw(&ziplist(&words, false)), zset),
        key(8..=81, 5, "zset", binary, zset),
        key(10..=81, 17, "zset:small", raw(&listpack(&words)), zset),
    ]
}

fn hashes() -> Vec<Key> {
    let hash = "-70000=a text a=12";
    let words = ["-70000", "a text", "a", "12"];
    let old = raw(&ziplist(&words, false));
    vec![
        key(ALWAYS, 4, "hash", texts(2, &words), hash),
        key(2..=5, 9, "hash:small", raw(&zipmap(&words, 1)), hash),
        key(6..=9, 13, "hash:small", old, hash),
        key(10..=81, 16, "hash:small", raw(&listpack(&words)), hash),
    ]
}

fn fields() -> Vec<Key> {
    let later = LATER.to_string();
    let found = format!("f=1@{LATER} g=2");
    let row = listpack(&["past", "0", "1", "f", "1", &later, "g", "2", "0"]);
    let named = |name: &str, value: &str| [text(name.as_bytes()), text(value.as_bytes())].concat();
    let table = [
        LATER.to_le_bytes().to_vec(),
        len(2),
        len(1),
        named("f", "1"),
        len(0),
        named("g", "2"),
    ];
    let at = |at: i64| at.to_le_bytes().to_vec();
    let valkey = [
        len(3),
        named("past", "0"),
        at(1),
        named("f", "1"),
        at(LATER),
        named("g", "2"),
        at(-1),
    ];
    vec![
        key(12..=15, 24, "fields", table.concat(), &found),
        key(
            12..=15,
            25,
            "fields:small",
            [at(1), raw(&row)].concat(),
            &found,
        ),
        key(80..=81, 22, "fields", valkey.concat(), &found),
    ]
}

/// A stream of two entries with a group, in the form of a version.
fn stream(number: u8) -> Vec<u8> {
    let words = "2 1 1 f 0 2 0 0 one 4 3 1 0 gone 4 0 5 1 1 g two 6";
    let node = listpack(&words.split(' ').collect::<Vec<_>>());
    let mut bytes = [
        len(1),
        raw(&id((10, 0))),
        raw(&node),
        len(2),
        short_id((20, 0)),
    ]
    .concat();
    if number > 15 {
        bytes.extend([short_id((10, 0)), short_id((11, 0)), len(3)].concat());
    }
    bytes.extend([len(1), text(b"group"), short_id((15, 1))].concat());
    if number > 15 {
        bytes.extend(len(2));
    }
    let seen = [
        1_000i64.to_le_bytes().to_vec(),
        vec![0xFF; if number == 21 { 8 } else { 0 }],
    ]
    .concat();
    let pending = [id((15, 1)), 2_000i64.to_le_bytes().to_vec(), len(3)].concat();
    bytes.extend(
        [
            len(1),
            pending,
            len(1),
            text(b"consumer"),
            seen,
            len(1),
            id((15, 1)),
        ]
        .concat(),
    );
    bytes
}

fn streams() -> Vec<Key> {
    let found = "10-0 f one 15-1 g two last 20-0 group 15-1: 15-1 consumer 2000 3";
    vec![
        key(9..=9, 15, "stream", stream(15), found),
        key(10..=81, 19, "stream", stream(19), found),
        key(11..=81, 21, "stream:3", stream(21), found),
    ]
}

/// What stands before all keys.
fn heads(version: u16, found: &mut Vec<String>) -> Vec<Vec<u8>> {
    let aux = |name: &str, value: &str| {
        [vec![250], raw(name.as_bytes()), text(value.as_bytes())].concat()
    };
    let mut parts = Vec::new();
    if version >= 7 {
        let about = [
            ("redis-ver", "some"),
            ("redis-bits", "64"),
            ("ctime", "1700000000"),
        ];
        parts.extend(about.map(|(name, value)| aux(name, value)));
    }
    if version >= 10 {
        let source = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
        parts.push([vec![245], raw(source.as_bytes())].concat());
        found.push("library".to_owned());
    }
    parts.push(vec![254, 0]);
    if version >= 7 {
        parts.push([vec![251], len(30), len(2)].concat());
    }
    if version >= 13 {
        parts.push([vec![244], len(7), len(3), len(0)].concat());
        found.push("a slot's numbers".to_owned());
    }
    parts
}

/// Keys with something before them.
fn with_attributes(version: u16) -> Vec<(Vec<u8>, &'static str)> {
    let key =
        |before: &[u8], name: &str| [before, &[0], &text(name.as_bytes()), &raw(b"v")].concat();
    let before = |code: u8, bytes: &[u8]| [&[code], bytes].concat();
    let seconds = before(253, &2_000_000_000i32.to_le_bytes());
    let mut keys = vec![(key(&seconds, "expires"), "0 expires v until 2000000000000")];
    if version >= 3 {
        let past = before(252, &1_000i64.to_le_bytes());
        keys.push((key(&past, "past"), "0 past v until 1000"));
    }
    if version >= 9 {
        let idle = key(&before(248, &len(900)), "idle");
        keys.push((idle, "0 idle v idle for 900"));
        let frequent = key(&before(249, &[42]), "frequent");
        keys.push((frequent, "0 frequent v used 42"));
    }
    keys.push((key(&before(254, &len(9)), "elsewhere"), "9 elsewhere v"));
    keys
}

/// What a server of this version writes, and what is to be found in it.
fn file(head: &str, version: u16) -> (Vec<u8>, Vec<String>) {
    let mut found = Vec::new();
    let mut parts = heads(version, &mut found);
    let families = [
        strings(),
        lists(),
        sets(),
        sorted_sets(),
        hashes(),
        fields(),
        streams(),
    ];
    for key in families.into_iter().flatten() {
        if (key.since..=key.until).contains(&version) {
            parts.push(key.bytes);
            found.push(key.found);
        }
    }
    for (bytes, shown) in with_attributes(version) {
        parts.push(bytes);
        found.push(shown.to_owned());
    }
    (written::file(head, &parts), found)
}

/// A value, with what has no order sorted.
fn shown(value: &Owned) -> String {
    let show = |element: shards::listpack::Element<'_>| {
        element.with_bytes(|text| String::from_utf8_lossy(text).into_owned())
    };
    let mut words: Vec<String> = match value.view() {
        ValueRef::String(StringRef::Int(number)) => return number.to_string(),
        ValueRef::String(StringRef::Bytes(text)) => return String::from_utf8_lossy(text).into(),
        ValueRef::List(list) => return list.iter().map(show).collect::<Vec<_>>().join(" "),
        ValueRef::Set(set) => set.iter().map(show).collect(),
        ValueRef::Zset(zset) => zset
            .iter()
            .map(|(member, score)| format!("{}={score}", show(member)))
            .collect(),
        ValueRef::Hash(hash) => hash
            .iter()
            .map(|field| {
                let at = field
                    .expire_at
                    .map_or(String::new(), |at| format!("@{}", at.0));
                format!("{}={}{at}", show(field.name), show(field.value))
            })
            .collect(),
        ValueRef::Stream(stream) => return shown_stream(stream),
    };
    words.sort();
    words.join(" ")
}

fn shown_stream(stream: &shards::stream::Stream) -> String {
    let of = |id: StreamId| format!("{}-{}", id.ms, id.seq);
    let mut text = String::new();
    for entry in stream.entries.range(StreamId::MIN, StreamId::MAX) {
        for (field, value) in entry.fields {
            let [field, value] = [field, value].map(String::from_utf8_lossy);
            write!(text, "{} {field} {value} ", of(entry.id)).unwrap();
        }
    }
    write!(text, "last {}", of(stream.entries.last_id())).unwrap();
    for group in stream.groups.iter() {
        let name = String::from_utf8_lossy(group.name());
        write!(text, " {name} {}:", of(group.last_id)).unwrap();
        for pending in group.pending_from(StreamId::MIN) {
            let consumer = group.consumer(pending.consumer).unwrap();
            let name = String::from_utf8_lossy(consumer.name());
            let (id, at, count) = (of(pending.id), pending.delivered.0, pending.deliveries);
            write!(text, " {id} {name} {at} {count}").unwrap();
        }
    }
    text
}

fn shown_entry(entry: &Entry<'_>) -> String {
    let settings = Settings::default();
    let growth = Growth {
        thresholds: &settings.encodings,
        seed: 7,
    };
    let terms = Terms { growth, now: NOW };
    let value = decode(entry.form, entry.value, &terms)
        .unwrap()
        .expect("none is empty");
    let mut text = format!(
        "{} {} {}",
        entry.db.0,
        String::from_utf8_lossy(entry.key),
        shown(&value)
    );
    if let Some(at) = entry.expire_at {
        write!(text, " until {}", at.0).unwrap();
    }
    if let Some(idle) = entry.idle {
        write!(text, " idle for {idle}").unwrap();
    }
    if let Some(freq) = entry.freq {
        write!(text, " used {freq}").unwrap();
    }
    text
}

fn loaded(bytes: &[u8]) -> Vec<String> {
    let mut scanner = Scanner::new(true);
    scanner.feed(bytes).unwrap();
    scanner.finish();
    let mut found = Vec::new();
    while let Some(item) = scanner.next().unwrap() {
        match item {
            Item::Entry(entry) => found.push(shown_entry(&entry)),
            Item::Function(_) => found.push("library".to_owned()),
            Item::Skipped(Skipped::SlotInfo) => found.push("a slot's numbers".to_owned()),
            Item::Skipped(Skipped::Module(name)) => found.push(name),
            Item::SelectDb(db) => assert!([DbIndex(0), DbIndex(9)].contains(&db)),
            Item::Head(_) | Item::Aux(..) | Item::ResizeDb { .. } | Item::End { .. } => {}
        }
    }
    found
}

#[test]
fn files_of_all_ages_are_loaded() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/files");
    let bless = std::env::var_os("CORDIS_BLESS").is_some();
    for (name, head, version) in SERVERS {
        let path = folder.join(format!("{name}.rdb"));
        let (bytes, expected) = file(head, *version);
        if bless {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(&path, &bytes).unwrap();
        }
        let kept = std::fs::read(&path).unwrap();
        assert!(kept == bytes, "{name} is to be written anew");
        assert_eq!(loaded(&kept), expected, "{name}");
    }
}
