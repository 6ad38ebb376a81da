//! Values of every form, written here as the format has them.

use super::*;
use crate::rdb::written::{intset, len, listpack, packed, text, texts, ziplist, zipmap};
use crate::types::Settings;
use crate::value::{Element, Encoding, StringRef, ValueRef};

const NOW: UnixMs = UnixMs(1_000_000);

/// A value by its encoding and its elements; of sorted sets and hashes what belongs to
/// them behind them.
fn shown(value: &Owned) -> (Encoding, Vec<String>) {
    let show =
        |element: Element<'_>| element.with_bytes(|it| String::from_utf8_lossy(it).into_owned());
    let all = match value.view() {
        ValueRef::String(StringRef::Int(number)) => vec![number.to_string()],
        ValueRef::String(StringRef::Bytes(text)) => vec![show(Element::Bytes(text))],
        ValueRef::List(list) => list.iter().map(show).collect(),
        ValueRef::Set(set) => set.iter().map(show).collect(),
        ValueRef::Zset(zset) => {
            let rows = zset.iter();
            rows.map(|(member, score)| format!("{} {score}", show(member)))
                .collect()
        }
        ValueRef::Hash(hash) => {
            let rows = hash.iter().map(|field| {
                let at = field
                    .expire_at
                    .map_or(String::new(), |at| format!(" {}", at.0));
                format!("{} {}{at}", show(field.name), show(field.value))
            });
            rows.collect()
        }
        ValueRef::Stream(_) => Vec::new(),
    };
    (value.encoding(), all)
}

fn with<R>(settings: &Settings, run: impl FnOnce(&Terms<'_>) -> R) -> R {
    let growth = Growth {
        thresholds: &settings.encodings,
        seed: 7,
    };
    run(&Terms { growth, now: NOW })
}

/// Decodes whole, and in slices of every small size, which must come to the same; and
/// every beginning must be refused.
pub fn whole_and_sliced(form: Form, bytes: &[u8]) -> Result<Option<Owned>, Fault> {
    let settings = Settings::default();
    with(&settings, |terms| {
        let whole = decode(form, bytes, terms);
        for budget in [1, 2, 7] {
            let mut decoder = Decoder::new(form);
            let sliced = loop {
                match decoder.go_on(bytes, terms, budget) {
                    Ok(None) => {}
                    Ok(Some(value)) => break Ok(value),
                    Err(error) => break Err(error),
                }
            };
            match (&whole, &sliced) {
                (Ok(Some(whole)), Ok(Some(sliced))) => assert_eq!(whole.view(), sliced.view()),
                (Ok(None), Ok(None)) => {}
                (Err(whole), Err(sliced)) => assert_eq!(whole, sliced),
                (Err(LoadError { kind, .. }), Ok(_)) => {
                    assert!(kind.to_string().contains("followed by"));
                }
                other => panic!("{other:?}"),
            }
        }
        if whole.is_ok() {
            for end in (0..bytes.len()).rev().take(200) {
                assert!(decode(form, &bytes[..end], terms).is_err(), "{end}");
            }
        }
        whole.map_err(|error| error.kind)
    })
}

#[track_caller]
fn check(form: Form, bytes: &[u8], encoding: Encoding, elements: &[&str]) {
    let value = whole_and_sliced(form, bytes)
        .unwrap()
        .expect("it is not empty");
    let elements = elements.iter().map(ToString::to_string).collect();
    assert_eq!(shown(&value), (encoding, elements), "{form:?}");
}

#[track_caller]
pub fn refused(form: Form, bytes: &[u8], fault: Fault) {
    match whole_and_sliced(form, bytes) {
        Err(found) => assert_eq!(found, fault),
        Ok(value) => panic!("{form:?}: {value:?}"),
    }
}

#[test]
fn strings() {
    check(Form::String, &text(b"abc"), Encoding::Embstr, &["abc"]);
    check(Form::String, &text(b""), Encoding::Embstr, &[""]);
    check(Form::String, b"\x0212", Encoding::Int, &["12"]);
    check(Form::String, &text(b"-70000"), Encoding::Int, &["-70000"]);
    check(Form::String, b"\xC0\xFF", Encoding::Int, &["-1"]);
    for len in [45, 257, 5_000, 100_000] {
        let long = "x".repeat(len);
        check(
            Form::String,
            &text(long.as_bytes()),
            Encoding::Raw,
            &[&long],
        );
        let packed = packed(long.as_bytes());
        assert!(packed.len() < len);
        check(Form::String, &packed, Encoding::Raw, &[&long]);
    }
    let left_over = Fault::Corrupt("a value is followed by bytes that are not its own");
    refused(Form::String, b"\x03abcd", left_over);
    refused(Form::String, b"\xC4abcd", Fault::Length);
    let plain = |form, bytes| plain_text(form, bytes);
    assert_eq!(plain(Form::String, b"\x03abc"), Some(&b"abc"[..]));
    for bytes in [&b"\x03abcd"[..], b"\xC0\x01", b"\x04abc"] {
        assert_eq!(plain(Form::String, bytes), None);
    }
    assert_eq!(plain(Form::List, b"\x03abc"), None);
}

#[test]
fn lists() {
    let three = ["a", "12", "c"];
    check(Form::List, &texts(3, &three), Encoding::Listpack, &three);
    let words = three.map(str::as_bytes);
    let row = listpack(&words);
    let node = |kind: u64, bytes: &[u8]| [len(kind), text(bytes)].concat();
    let list = |nodes: &[Vec<u8>]| [len(nodes.len() as u64), nodes.concat()].concat();
    check(
        Form::Quicklist2,
        &list(&[node(2, &row)]),
        Encoding::Listpack,
        &three,
    );
    let two = list(&[node(2, &row), node(1, b"plain"), node(1, b"77")]);
    let five = ["a", "12", "c", "plain", "77"];
    check(Form::Quicklist2, &two, Encoding::Listpack, &five);
    let empty = listpack::<&str>(&[]);
    let with_empty = list(&[node(2, &empty), node(2, &row), node(2, &empty)]);
    check(Form::Quicklist2, &with_empty, Encoding::Listpack, &three);
    assert!(
        whole_and_sliced(Form::Quicklist2, &list(&[node(2, &empty)]))
            .unwrap()
            .is_none()
    );
    assert!(
        whole_and_sliced(Form::Quicklist2, &len(0))
            .unwrap()
            .is_none()
    );
    assert!(whole_and_sliced(Form::List, &len(0)).unwrap().is_none());
    let many_empty = list(&vec![node(2, &empty); 300]);
    let none = whole_and_sliced(Form::Quicklist2, &many_empty).unwrap();
    assert!(none.is_none());
    for kind in [0, 3, 1 << 40] {
        let unknown = Fault::Corrupt("a list's node is of no known kind");
        refused(Form::Quicklist2, &list(&[node(kind, &row)]), unknown);
    }
    let old = ziplist(&words, false);
    check(Form::ListZiplist, &text(&old), Encoding::Listpack, &three);
    let nodes = [len(2), text(&old), text(&old)].concat();
    let six = ["a", "12", "c", "a", "12", "c"];
    check(Form::Quicklist, &nodes, Encoding::Listpack, &six);
    let many: Vec<String> = (0..3_000)
        .map(|number| format!("element {number}"))
        .collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    check(Form::List, &texts(3_000, &many), Encoding::Quicklist, &many);
    refused(Form::List, &texts(1 << 40, &three), Fault::Truncated);
    refused(Form::List, &texts(u64::MAX, &three), Fault::Truncated);
}

#[test]
fn sets() {
    let words = ["b", "12", "a"];
    check(
        Form::Set,
        &texts(3, &words),
        Encoding::Listpack,
        &["b", "12", "a"],
    );
    let numbers = ["3", "-1", "100000"];
    check(
        Form::Set,
        &texts(3, &numbers),
        Encoding::Intset,
        &["-1", "3", "100000"],
    );
    check(
        Form::Set,
        &texts(3, &["3", "-1", "x"]),
        Encoding::Listpack,
        &["-1", "3", "x"],
    );
    let row = listpack(&words.map(str::as_bytes));
    check(Form::SetListpack, &text(&row), Encoding::Listpack, &words);
    let integers = intset(2, &[1, 2]);
    check(
        Form::Intset,
        &text(&integers),
        Encoding::Intset,
        &["1", "2"],
    );
    for twice in [
        ["a", "b", "a"],
        ["1", "2", "1"],
        ["1", "a", "1"],
        ["a", "1", "1"],
    ] {
        refused(Form::Set, &texts(3, &twice), making::TWICE);
        let row = listpack(&twice.map(str::as_bytes));
        refused(Form::SetListpack, &text(&row), making::TWICE);
    }
    let many: Vec<String> = (0..600).map(|number| number.to_string()).collect();
    for (count, encoding) in [(512, Encoding::Intset), (513, Encoding::Hashtable)] {
        let some: Vec<&str> = many[..count].iter().map(String::as_str).collect();
        // A count that is too small to say that it will be large, and one that is right.
        let value = whole_and_sliced(Form::Set, &texts(count as u64, &some))
            .unwrap()
            .unwrap();
        assert_eq!((value.encoding(), shown(&value).1.len()), (encoding, count));
        let mut twice = some.clone();
        twice[count - 1] = twice[0];
        refused(Form::Set, &texts(count as u64, &twice), making::TWICE);
    }
    let long = "x".repeat(65);
    check(
        Form::Set,
        &texts(1, &[&long]),
        Encoding::Hashtable,
        &[&long],
    );
    // In a listpack, length is no reason to leave it, as in Redis.
    let row = text(&listpack(&[long.as_bytes()]));
    check(Form::SetListpack, &row, Encoding::Listpack, &[&long]);
    let longer = "x".repeat(9_000);
    let row = text(&listpack(&[longer.as_bytes()]));
    check(Form::SetListpack, &row, Encoding::Hashtable, &[&longer]);
}

/// Two members with binary scores.
fn binary(rows: &[(&str, f64)]) -> Vec<u8> {
    let rows = rows.iter().flat_map(|(member, score)| {
        [text(member.as_bytes()), score.to_le_bytes().to_vec()].concat()
    });
    len(2).into_iter().chain(rows).collect()
}

#[test]
fn sorted_sets() {
    let sorted = ["a 1.5", "b 2"];
    let zset = binary(&[("b", 2.0), ("a", 1.5)]);
    check(Form::Zset, &zset, Encoding::Listpack, &sorted);
    check(
        Form::Zset,
        &binary(&[("b", 0.0), ("a", -0.0)]),
        Encoding::Listpack,
        &["a 0", "b 0"],
    );
    let infinite = binary(&[("z", f64::INFINITY), ("y", f64::NEG_INFINITY)]);
    check(
        Form::Zset,
        &infinite,
        Encoding::Listpack,
        &["y -inf", "z inf"],
    );
    let written = [&[2][..], b"\x01a\x031.5", b"\x01b\x012"].concat();
    check(Form::ZsetText, &written, Encoding::Listpack, &sorted);
    let marks = [&[2][..], b"\x01z\xFE", b"\x01y\xFF"].concat();
    check(
        Form::ZsetText,
        &marks,
        Encoding::Listpack,
        &["y -inf", "z inf"],
    );
    let words: [&[u8]; 4] = [b"a", b"1.5", b"b", b"2"];
    check(
        Form::ZsetListpack,
        &text(&listpack(&words)),
        Encoding::Listpack,
        &sorted,
    );
    check(
        Form::ZsetZiplist,
        &text(&ziplist(&words, false)),
        Encoding::Listpack,
        &sorted,
    );
}

#[test]
fn scores_are_numbers_and_members_come_once() {
    let no_score = Fault::Corrupt("a score is no number");
    refused(
        Form::Zset,
        &binary(&[("b", f64::NAN), ("a", 1.5)]),
        no_score.clone(),
    );
    refused(Form::ZsetText, b"\x01\x01z\xFD", no_score.clone());
    for score in [&b"nan"[..], b"", b"x", b"1 "] {
        refused(
            Form::ZsetListpack,
            &text(&listpack(&[b"a", score])),
            no_score.clone(),
        );
    }
    refused(
        Form::ZsetListpack,
        &text(&listpack(&[b"a"])),
        packed::DAMAGED,
    );
    refused(
        Form::Zset,
        &binary(&[("a", 2.0), ("a", 1.5)]),
        making::TWICE,
    );
    let words: [&[u8]; 4] = [b"a", b"1.5", b"a", b"2"];
    refused(Form::ZsetListpack, &text(&listpack(&words)), making::TWICE);
}

#[test]
fn sorted_sets_grow() {
    let many = |count: u64| {
        let rows = (0..count).flat_map(|number| {
            let member = text(format!("member {number}").as_bytes());
            [member, (number as f64 / 2.0).to_le_bytes().to_vec()].concat()
        });
        len(count).into_iter().chain(rows).collect::<Vec<u8>>()
    };
    for (count, encoding) in [(128, Encoding::Listpack), (129, Encoding::Skiplist)] {
        let value = whole_and_sliced(Form::Zset, &many(count)).unwrap().unwrap();
        assert_eq!(
            (value.encoding(), shown(&value).1.len()),
            (encoding, count as usize)
        );
        assert_eq!(shown(&value).1[9], "member 9 4.5");
    }
}

#[test]
fn hashes() {
    let pairs = ["f", "1", "g", "two"];
    let shown_pairs = ["f 1", "g two"];
    check(
        Form::Hash,
        &texts(2, &pairs),
        Encoding::Listpack,
        &shown_pairs,
    );
    let words = pairs.map(str::as_bytes);
    check(
        Form::HashListpack,
        &text(&listpack(&words)),
        Encoding::Listpack,
        &shown_pairs,
    );
    check(
        Form::HashZiplist,
        &text(&ziplist(&words, true)),
        Encoding::Listpack,
        &shown_pairs,
    );
    let map = zipmap(&pairs, 2);
    check(Form::Zipmap, &text(&map), Encoding::Listpack, &shown_pairs);
    for twice in [["f", "1", "f", "2"], ["7", "1", "7", "2"]] {
        refused(Form::Hash, &texts(2, &twice), making::TWICE);
        let words = twice.map(str::as_bytes);
        refused(Form::HashListpack, &text(&listpack(&words)), making::TWICE);
        refused(
            Form::HashZiplist,
            &text(&ziplist(&words, false)),
            making::TWICE,
        );
    }
    refused(
        Form::HashListpack,
        &text(&listpack(&words[..3])),
        packed::DAMAGED,
    );
    // Values may be the same as fields.
    check(
        Form::Hash,
        &texts(2, &["a", "b", "b", "a"]),
        Encoding::Listpack,
        &["a b", "b a"],
    );
    for (count, encoding) in [(512, Encoding::Listpack), (513, Encoding::Hashtable)] {
        let all: Vec<String> = (0..2 * count).map(|number| number.to_string()).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let value = whole_and_sliced(Form::Hash, &texts(count, &all))
            .unwrap()
            .unwrap();
        assert_eq!(
            (value.encoding(), shown(&value).1.len()),
            (encoding, count as usize)
        );
    }
    let long = "x".repeat(65);
    check(
        Form::Hash,
        &texts(1, &["f", &long]),
        Encoding::Hashtable,
        &[&format!("f {long}")],
    );
    assert!(whole_and_sliced(Form::Hash, &len(0)).unwrap().is_none());
    assert!(
        whole_and_sliced(Form::HashListpack, &text(&listpack::<&str>(&[])))
            .unwrap()
            .is_none()
    );
}

#[test]
fn what_is_written_in_other_ways_is_kept_in_one() {
    // A number as a text, in too many bytes; a text with too long a head.
    let mut bytes = vec![0, 0, 0, 0, 4, 0];
    bytes.extend_from_slice(b"\x8212\x03");
    bytes.extend_from_slice(b"\xF1\x05\x00\x03");
    bytes.extend_from_slice(b"\xE0\x01x\x03");
    bytes.extend_from_slice(b"\xF4\x01\0\0\0\0\0\0\0\x09\xFF");
    let total = bytes.len() as u32;
    bytes[..4].copy_from_slice(&total.to_le_bytes());
    let value = whole_and_sliced(Form::HashListpack, &text(&bytes))
        .unwrap()
        .unwrap();
    assert_eq!(
        shown(&value),
        (
            Encoding::Listpack,
            vec!["12 5".to_owned(), "x 1".to_owned()]
        )
    );
    let Owned::Flat(_, flat, _) = value else {
        panic!("it is small");
    };
    let mut kept = Vec::new();
    for text in [&b"12"[..], b"5", b"x", b"1"] {
        crate::value::listpack::push_back(&mut kept, text).unwrap();
    }
    assert_eq!(flat, kept);
    // They are the same member, although they are written differently.
    let mut bytes = vec![0, 0, 0, 0, 2, 0];
    bytes.extend_from_slice(b"\x8212\x03\x0C\x01\xFF");
    bytes[0] = bytes.len() as u8;
    refused(Form::SetListpack, &text(&bytes), making::TWICE);
}

#[test]
fn fields_have_deadlines() {
    let later = NOW.0 + 50;
    let valkey = [
        len(3),
        texts_of(&["f", "1"]),
        later.to_le_bytes().to_vec(),
        texts_of(&["g", "2"]),
        (-1i64).to_le_bytes().to_vec(),
        texts_of(&["past", "3"]),
        NOW.0.to_le_bytes().to_vec(),
    ]
    .concat();
    let both = [&format!("f 1 {later}"), "g 2"];
    check(Form::HashValkey, &valkey, Encoding::ListpackEx, &both);
    let redis = [
        NOW.0.to_le_bytes().to_vec(),
        len(3),
        len(51),
        texts_of(&["f", "1"]),
        len(0),
        texts_of(&["g", "2"]),
        len(1),
        texts_of(&["past", "3"]),
    ]
    .concat();
    check(Form::HashDeadlines, &redis, Encoding::ListpackEx, &both);
    let (later_text, past) = (later.to_string(), NOW.0.to_string());
    let words = ["past", "3", &past, "f", "1", &later_text, "g", "2", "0"];
    let words: Vec<&[u8]> = words.iter().map(|it| it.as_bytes()).collect();
    let row = [NOW.0.to_le_bytes().to_vec(), text(&listpack(&words))].concat();
    check(Form::HashListpackEx, &row, Encoding::ListpackEx, &both);
    // All are past: nothing is left.
    let row = [NOW.0.to_le_bytes().to_vec(), text(&listpack(&words[..3]))];
    let past = whole_and_sliced(Form::HashListpackEx, &row.concat()).unwrap();
    assert!(past.is_none());
    // Unless nothing is to be left out. What is due from the beginning of time stays due.
    let settings = Settings::default();
    with(&settings, |terms| {
        let terms = Terms {
            now: UnixMs(i64::MIN),
            ..*terms
        };
        for (at, kept) in [(0, 1), (-7, 1), (i64::MAX, i64::MAX - 1)] {
            let row = [len(1), texts_of(&["f", "1"]), at.to_le_bytes().to_vec()].concat();
            let value = decode(Form::HashValkey, &row, &terms).unwrap().unwrap();
            assert_eq!(shown(&value).1, [format!("f 1 {kept}")]);
        }
    });
    let no_number = [
        0i64.to_le_bytes().to_vec(),
        text(&listpack(&[b"f", b"1", b"x"])),
    ]
    .concat();
    refused(
        Form::HashListpackEx,
        &no_number,
        Fault::Corrupt("a deadline is no number"),
    );
    let far = [
        i64::MAX.to_le_bytes().to_vec(),
        len(1),
        len(9),
        texts_of(&["f", "1"]),
    ]
    .concat();
    refused(
        Form::HashDeadlines,
        &far,
        Fault::Corrupt("a deadline is out of range"),
    );
}

fn texts_of(all: &[&str]) -> Vec<u8> {
    all.iter().flat_map(|it| text(it.as_bytes())).collect()
}
