//! Files that are whole, torn, wrong or unknown, as a scanner takes them in.

use super::*;
use crate::rdb::written::{self, len, text};
use crate::types::DbIndex;

/// A file of version 10 with these parts, and a right checksum.
fn file(parts: &[Vec<u8>]) -> Vec<u8> {
    written::file("REDIS0010", parts)
}

/// Everything in a file that is read in pieces of a size, as text.
fn scanned(bytes: &[u8], piece: usize) -> Result<Vec<String>, LoadError> {
    let mut scanner = Scanner::new(true);
    let mut found = Vec::new();
    let mut pieces = bytes.chunks(piece);
    loop {
        while let Some(item) = scanner.next()? {
            if let Item::Entry(entry) = &item {
                let start = entry.offset as usize;
                assert_eq!(bytes[start..start + entry.value.len()], *entry.value);
            }
            found.push(format!("{item:?}"));
        }
        match pieces.next() {
            Some(piece) => scanner.feed(piece).unwrap(),
            None if scanner.is_whole => return Ok(found),
            None => scanner.finish(),
        }
    }
}

#[track_caller]
fn fault(bytes: &[u8]) -> LoadError {
    let error = scanned(bytes, bytes.len().max(1)).unwrap_err();
    for piece in [1, 3, 100] {
        assert_eq!(scanned(bytes, piece).as_ref(), Err(&error));
    }
    error
}

/// A part of the file: bytes that are written one behind the other.
macro_rules! part {
    ($($bytes:expr),+ $(,)?) => {
        [$(AsRef::<[u8]>::as_ref(&$bytes)),+].concat()
    };
}

/// What a file says beside its keys.
fn heads() -> Vec<Vec<u8>> {
    let id = len(module_id("abcDEF-_9"));
    // A number, a text, two kinds of floats, another number, the end.
    let module = part![
        len(2),
        len(9),
        len(5),
        text(b"x"),
        len(3),
        [0; 4],
        len(4),
        [0; 8],
        [1, 3, 0]
    ];
    vec![
        part![[opcode::AUX], text(b"redis-ver"), text(b"7.0.15")],
        part![[opcode::AUX], text(b"ctime"), text(b"17")],
        part![[opcode::MODULE_AUX], id, len(2), len(2), module],
        part![[opcode::FUNCTION], text(b"#!lua name=f\nsource")],
        part![
            [opcode::SELECT_DB],
            len(3),
            [opcode::RESIZE_DB],
            len(7),
            len(2)
        ],
    ]
}

/// Keys with values of every shape.
fn parts() -> Vec<Vec<u8>> {
    let long = written::packed(&b"ab".repeat(5_000));
    let mut parts = heads();
    // A node, what is remembered, and a group with one pending, and whose it is.
    let nodes = part![len(1), text(&[0; 16]), text(b"node"), [1; 8]];
    let group = part![text(b"g"), [0; 3], len(1), [7; 24], len(1)];
    let consumer = part![len(1), text(b"c"), [8; 8], len(1), [9; 16]];
    let expire = part![
        [opcode::EXPIRE_MS],
        5i64.to_le_bytes(),
        [opcode::IDLE],
        len(9)
    ];
    let expire_s = part![[opcode::EXPIRE_S], 6i32.to_le_bytes(), [opcode::FREQ, 4]];
    parts.extend([
        part![[0], text(b"key"), text(b"value")],
        part![[0], text(b""), text(b"")],
        part![[0], text(b"-12345"), text(b"12345")],
        part![[0], long, long],
        part![expire, [2], text(b"set"), len(2), text(b"a"), text(b"b")],
        part![expire_s, [3], text(b"z"), len(1), text(b"a"), [3], b"1.5"],
        part![
            [5],
            text(b"z2"),
            len(2),
            text(b"a"),
            [0; 8],
            text(b"b"),
            [0; 8]
        ],
        part![[4], text(b"h"), len(1), text(b"f"), text(b"v")],
        part![
            [18],
            text(b"l"),
            len(2),
            len(2),
            text(b"pack"),
            len(1),
            text(b"plain")
        ],
        part![
            [24],
            text(b"hd"),
            [0; 8],
            len(1),
            len(0),
            text(b"f"),
            text(b"v")
        ],
        part![[25], text(b"hx"), [0; 8], text(b"pack")],
        part![[1], text(b"none"), len(0)],
        part![[19], text(b"s"), nodes, len(1), group, consumer],
        part![[opcode::SLOT_INFO], len(16_383), len(1), len(0)],
    ]);
    parts
}

fn module_id(name: &str) -> u64 {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let letters = name.chars().map(|it| LETTERS.find(it).unwrap() as u64);
    letters.fold(0, |id, letter| id << 6 | letter) << 10 | 3
}

#[test]
fn a_file_is_cut_into_its_parts() {
    let bytes = file(&parts());
    let all = scanned(&bytes, bytes.len()).unwrap();
    for piece in [1, 2, 7, 100, 4096] {
        assert_eq!(scanned(&bytes, piece).unwrap(), all);
    }
    let mut scanner = Scanner::new(true);
    scanner.feed(&bytes).unwrap();
    scanner.feed(b"behind").unwrap();
    let mut entries = 0;
    let mut next = || -> Option<String> {
        let item = scanner.next().unwrap()?;
        if let Item::Entry(entry) = &item {
            entries += 1;
            assert_eq!(entry.db, DbIndex(3));
            let expected = match entry.key {
                b"set" => (Some(UnixMs(5)), Some(9), None),
                b"z" => (Some(UnixMs(6_000)), None, Some(4)),
                _ => (None, None, None),
            };
            assert_eq!((entry.expire_at, entry.idle, entry.freq), expected);
            return Some(format!(
                "{:?} {:?}",
                entry.form,
                String::from_utf8_lossy(entry.key)
            ));
        }
        Some(format!("{item:?}"))
    };
    let version = Version {
        number: 10,
        is_valkey: false,
    };
    assert_eq!(next(), Some(format!("Head({version:?})")));
    let aux = |name: &str, text: &str| Some(format!("{:?}", Item::Aux(name.into(), text.into())));
    assert_eq!(next(), aux("redis-ver", "7.0.15"));
    assert_eq!(next(), aux("ctime", "17"));
    assert_eq!(next(), Some("Skipped(Module(\"abcDEF-_9\"))".to_owned()));
    assert!(next().is_some_and(|it| it.starts_with("Function")));
    assert_eq!(next(), Some("SelectDb(DbIndex(3))".to_owned()));
    assert_eq!(next(), Some("ResizeDb { keys: 7, expires: 2 }".to_owned()));
    assert_eq!(next(), Some("String \"key\"".to_owned()));
    assert_eq!(next(), Some("String \"\"".to_owned()));
    assert_eq!(next(), Some("String \"-12345\"".to_owned()));
    assert!(next().is_some_and(|it| it.len() > 10_000));
    for key in [
        "Set \"set\"",
        "ZsetText \"z\"",
        "Zset \"z2\"",
        "Hash \"h\"",
        "Quicklist2 \"l\"",
        "HashDeadlines \"hd\"",
        "HashListpackEx \"hx\"",
        "List \"none\"",
        "Stream2 \"s\"",
    ] {
        assert_eq!(next().as_deref(), Some(key));
    }
    assert_eq!(next(), Some("Skipped(SlotInfo)".to_owned()));
    assert!(next().is_some_and(|it| it.starts_with("End { checksum: Some")));
    assert_eq!(next(), None);
    assert_eq!(entries, 13);
    assert_eq!(scanner.behind(), b"behind");
}

#[test]
fn a_torn_file_is_refused_wherever_it_ends() {
    let bytes = file(&parts());
    let long = bytes.len() - 400..bytes.len();
    for end in (0..600).chain(long) {
        let error = fault(&bytes[..end]);
        assert_eq!(error.kind, Fault::Truncated, "{end}");
        assert!(error.offset <= end as u64);
    }
}

#[test]
fn the_checksum_is_looked_at() {
    let mut bytes = file(&parts());
    let at = bytes.len() - 30;
    bytes[at] ^= 1;
    assert!(matches!(fault(&bytes).kind, Fault::Checksum { .. }));
    let mut scanner = Scanner::new(false);
    scanner.feed(&bytes).unwrap();
    while scanner.next().unwrap().is_some() {}
    assert!(scanner.is_over);
    // None was computed.
    let end = bytes.len();
    bytes[end - 8..].fill(0);
    let all = scanned(&bytes, 100).unwrap();
    assert_eq!(all.last().unwrap(), "End { checksum: None }");
    // Before version 5 there is none.
    let old = [&b"REDIS0004"[..], &[opcode::END]].concat();
    assert_eq!(scanned(&old, 100).unwrap().len(), 2);
}

#[test]
fn what_is_not_known_is_refused_by_name_and_place() {
    for (head, kind) in [
        (&b"REDIS0016"[..], Fault::Version("REDIS0016".to_owned())),
        (b"REDIS0000", Fault::Version("REDIS0000".to_owned())),
        (b"REDIS00x1", Fault::Version("REDIS00x1".to_owned())),
        (b"REDIS0080", Fault::Version("REDIS0080".to_owned())),
        (b"VALKEY082", Fault::Version("VALKEY082".to_owned())),
        (b"VALKEY011", Fault::Version("VALKEY011".to_owned())),
        (b"RADIS0010", Fault::Magic),
        (b"\0\0\0\0\0\0\0\0\0", Fault::Magic),
    ] {
        assert_eq!(fault(head), LoadError { offset: 0, kind });
    }
    for (part, said) in [
        (vec![26], "a stream with idempotent producers (type 26)"),
        (vec![28], "an array (type 28)"),
        (vec![31], "a hash that shares a template (type 31)"),
        (vec![7], "a module's value (type 7)"),
        (vec![99], "a value of a type that is not known (type 99)"),
        (
            vec![22],
            "a hash as release candidates of Redis 7.4 wrote it (type 22)",
        ),
        (vec![242], "a template that hashes share (opcode 242)"),
        (
            vec![246],
            "a function as release candidates of Redis 7.0 wrote it (opcode 246)",
        ),
    ] {
        let before = [vec![0], text(b"k"), text(b"v")].concat();
        let offset = (9 + before.len()) as u64;
        let error = fault(&file(&[before, part, text(b"k"), text(b"v")]));
        assert_eq!(
            error.to_string(),
            format!("{said} cannot be loaded (at byte {offset})")
        );
    }
    let valkey = [
        b"VALKEY080".to_vec(),
        vec![22],
        text(b"k"),
        len(1),
        text(b"f"),
        text(b"v"),
        vec![0xFF; 8],
        vec![opcode::END],
        vec![0; 8],
    ]
    .concat();
    assert!(scanned(&valkey, 100).unwrap()[1].contains("HashValkey"));
    let slot = [vec![opcode::SLOT_INFO], len(16_384), len(0), len(0)].concat();
    assert_eq!(
        fault(&file(&[slot])).kind,
        Fault::Corrupt("a slot is out of range")
    );
}

#[test]
fn lengths_are_not_believed() {
    let huge = b"\x81\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF".to_vec();
    for (number, before) in [
        (0, vec![]),
        (1, vec![]),
        (5, vec![]),
        (19, vec![]),
        (18, len(1)),
    ] {
        let part = [vec![number], text(b"k"), before, huge.clone()].concat();
        // What follows is taken for what is counted, if that is read at once.
        let found = fault(&file(&[part])).kind;
        assert!(
            matches!(found, Fault::Truncated | Fault::Length),
            "{found:?}"
        );
    }
    let pending = [len(0), vec![0; 8], len(1), text(b"g"), vec![0; 3], huge].concat();
    let part = [vec![19], text(b"k"), pending].concat();
    assert_eq!(fault(&file(&[part])).kind, Fault::Truncated);
}

#[test]
fn a_buffer_is_as_large_as_what_lies_in_it() {
    let value = vec![b'x'; 10 << 20];
    let mut raw = len(value.len() as u64);
    raw.extend_from_slice(&value);
    let small = [vec![0], text(b"k"), text(b"v")].concat();
    let mut all = vec![[vec![0], text(b"large"), raw].concat()];
    all.extend(std::iter::repeat_n(small, 1_000_000));
    let bytes = file(&all);
    let mut scanner = Scanner::new(true);
    let (mut largest, mut last, mut entries) = (0, 0, 0);
    for piece in bytes.chunks(64 << 10) {
        scanner.feed(piece).unwrap();
        while let Some(item) = scanner.next().unwrap() {
            entries += usize::from(matches!(item, Item::Entry(_)));
        }
        last = scanner.buffer.capacity();
        largest = largest.max(last);
    }
    assert_eq!(entries, 1_000_001);
    assert!(largest < 3 * value.len(), "{largest}");
    assert!(last <= BUFFER_MAX, "{last}");
}
