//! What is written of values: the same at once and in steps, with what it is made of as the
//! format says, and read back as what it was.

use super::file::{encode_entry, encode_entry_head};
use super::*;
use crate::rdb::{Form, Meta, Terms, Version, decode, lzf};
use crate::types::{Settings, UnixMs};
use crate::value::stream::{NodeLimits, StreamId, pairs};
use crate::value::{
    Collection, End, FieldTtl, Growth, Hash, List, Set, Stream, Value, Zset, ZsetLimits,
    listpack::{self, Listpack},
};
use proptest::prelude::*;

/// What a value is made of in a file: lengths, texts and other bytes, one after the other.
#[derive(Debug, PartialEq, Eq)]
enum Item {
    Len(u64),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
}

/// Reads items, to look at what was written.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes
    }

    fn number(&mut self, len: usize) -> u64 {
        let bytes = self.bytes(len).iter();
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn len(&mut self) -> u64 {
        let head = self.number(1);
        match head >> 6 {
            0 => head & 0x3F,
            1 => (head & 0x3F) << 8 | self.number(1),
            _ if head == 0x80 => self.number(4),
            _ if head == 0x81 => self.number(8),
            _ => panic!("no length"),
        }
    }

    fn text(&mut self) -> Vec<u8> {
        if self.0[0] < 0xC0 {
            let len = self.len();
            return self.bytes(len as usize).to_vec();
        }
        let signed = |bytes: &[u8]| {
            let mut le = [if bytes[bytes.len() - 1] >= 0x80 {
                0xFF
            } else {
                0
            }; 8];
            le[..bytes.len()].copy_from_slice(bytes);
            i64::from_le_bytes(le).to_string().into_bytes()
        };
        match self.number(1) {
            0xC0 => signed(self.bytes(1)),
            0xC1 => signed(self.bytes(2)),
            0xC2 => signed(self.bytes(4)),
            _ => {
                let (compressed, len) = (self.len(), self.len());
                let mut text = Vec::new();
                let bytes = self.bytes(compressed as usize);
                lzf::decompress(bytes, len as usize, &mut text).unwrap();
                text
            }
        }
    }

    /// Items as these letters say, all that there are: `l`ength, `t`ext, `8` bytes.
    fn items(mut self, first: &str, repeated: &str) -> Vec<Item> {
        let mut items = Vec::new();
        let mut letters = first.chars().chain(repeated.chars().cycle());
        while !self.0.is_empty() {
            items.push(match letters.next() {
                Some('l') => Item::Len(self.len()),
                Some('t') => Item::Text(self.text()),
                Some('8') => Item::Bytes(self.bytes(8).to_vec()),
                letter => panic!("{letter:?}"),
            });
        }
        items
    }
}

fn written(value: ValueRef<'_>, compress: bool, budget: usize) -> Vec<u8> {
    let mut encoder = Encoder::new(value);
    let mut all = Vec::new();
    loop {
        // Each step's bytes are taken away.
        let mut out = Vec::new();
        let more = encoder.go_on(value, compress, budget, &mut out).unwrap();
        all.extend(out);
        if !more {
            return all;
        }
    }
}

/// What was written of a value is that value.
fn read_back(value: ValueRef<'_>, bytes: &[u8]) {
    let version = Version::of_payload(version_of(value)).unwrap();
    let form = Form::of(type_of(value), version).unwrap();
    let settings = settings();
    let growth = Growth {
        thresholds: &settings.encodings,
        seed: 5,
    };
    let now = UnixMs(0);
    let read = decode(form, bytes, &Terms { growth, now }).unwrap();
    assert!(read.is_some_and(|read| read.view() == value));
}

/// It is the same in one piece and in steps, compressed or not; its items.
fn check(value: ValueRef<'_>, first: &str, repeated: &str) -> Vec<Item> {
    let mut plain = Vec::new();
    encode(value, false, &mut plain).unwrap();
    let mut shorter = Vec::new();
    encode(value, true, &mut shorter).unwrap();
    let items = |bytes: &[u8]| Reader(bytes).items(first, repeated);
    let whole = items(&plain);
    assert_eq!(items(&shorter), whole);
    read_back(value, &plain);
    read_back(value, &shorter);
    for budget in [1, 7, 100, 5_000] {
        assert!(written(value, false, budget) == plain, "{budget}");
        assert!(items(&written(value, true, budget)) == whole, "{budget}");
    }
    whole
}

fn settings() -> Settings {
    Settings::default()
}

/// Short texts, numbers, and texts that are long, some of which can be compressed.
fn text(number: usize) -> Vec<u8> {
    match number % 101 {
        50 => format!("{number} ").repeat(4_000).into_bytes(),
        80 => (0..20_000)
            .map(|at| ((at * at * number) >> 7) as u8)
            .collect(),
        90 => number.to_string().into_bytes(),
        _ => format!("text {number} {}", "x".repeat(number % 50)).into_bytes(),
    }
}

fn texts(items: Vec<Item>) -> Vec<Vec<u8>> {
    let texts = items.into_iter().filter_map(|item| match item {
        Item::Text(text) => Some(text),
        _ => None,
    });
    texts.collect()
}

#[test]
fn long_strings_are_written_in_steps() {
    for len in [0, 20, 8_192, 8_193, 100_000, 3_000_000] {
        let kinds: [Vec<u8>; 3] = [
            vec![7; len],
            (0..len).map(|at| ((at % 1_000 * at) >> 3) as u8).collect(),
            (0..len as u64)
                .map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as u8)
                .collect(),
        ];
        for text in kinds {
            let value = Value::String(text);
            let items = check(value.view(), "", "t");
            assert!(matches!(&value, Value::String(text) if items == [Item::Text(text.clone())]));
            assert_eq!((type_of(value.view()), version_of(value.view())), (0, 10));
        }
    }
    let mut out = Vec::new();
    encode(
        ValueRef::String(StringRef::Bytes(&[7; 3_000_000])),
        true,
        &mut out,
    )
    .unwrap();
    assert!(out.len() < 40_000);
}

#[test]
fn sets_hashes_and_sorted_sets_are_written_in_steps() {
    let settings = settings();
    let growth = Growth {
        thresholds: &settings.encodings,
        seed: 3,
    };
    let limits = ZsetLimits {
        entries: 0,
        value: 0,
        seed: 3,
    };
    let (mut set, mut hash, mut zset) = (Set::large(&growth).unwrap(), Hash::new(), Zset::new());
    for number in 0..1_200 {
        let (name, value) = (text(number), text(number + 37));
        set.add(&name, &growth).unwrap();
        hash.set(&name, &value, FieldTtl::Clear, &growth).unwrap();
        zset.set(&name, number as f64 / 8.0, &limits).unwrap();
    }
    let value = set.into_value();
    let items = check(value.view(), "l", "t");
    assert_eq!(items[0], Item::Len(1_200));
    let mut found = texts(items);
    found.sort();
    let mut wanted: Vec<_> = (0..1_200).map(text).collect();
    wanted.sort();
    assert!(found == wanted);
    assert_eq!((type_of(value.view()), version_of(value.view())), (2, 10));

    let value = hash.into_value();
    let found = texts(check(value.view(), "l", "t"));
    for pair in found.chunks(2) {
        let number = (0..1_200).find(|number| text(*number) == pair[0]).unwrap();
        assert!(text(number + 37) == pair[1]);
    }
    assert_eq!(
        (found.len(), type_of(value.view()), version_of(value.view())),
        (2_400, 4, 10)
    );

    // The greatest first.
    let value = zset.into_value();
    let items = check(value.view(), "l", "t8");
    assert_eq!(items.len(), 2_401);
    for (number, pair) in (0..1_200).rev().zip(items[1..].chunks(2)) {
        let score = (number as f64 / 8.0).to_le_bytes().to_vec();
        assert!(pair == [Item::Text(text(number)), Item::Bytes(score)]);
    }
    assert_eq!((type_of(value.view()), version_of(value.view())), (5, 10));
}

/// Deadlines are told as how much they are behind the least that is known, and one.
#[test]
fn deadlines_of_fields_are_written() {
    let settings = settings();
    let growth = Growth {
        thresholds: &settings.encodings,
        seed: 3,
    };
    let mut hash = Hash::new();
    for number in 0..700 {
        let ttl = match number % 3 {
            0 => FieldTtl::Clear,
            _ => FieldTtl::At(UnixMs(1_000_000 + number as i64)),
        };
        hash.set(&text(number), b"v", ttl, &growth).unwrap();
    }
    let value = hash.into_value();
    let items = check(value.view(), "8l", "ltt");
    assert_eq!(items[0], Item::Bytes(1_000_001_i64.to_le_bytes().to_vec()));
    for row in items[2..].chunks(3) {
        let number = (0..700)
            .find(|number| row[1] == Item::Text(text(*number)))
            .unwrap();
        let behind = if number % 3 == 0 { 0 } else { number as u64 };
        assert_eq!(row[0], Item::Len(behind));
    }
    assert_eq!((type_of(value.view()), version_of(value.view())), (24, 12));

    let mut hash = Hash::new();
    for (field, at) in [("a", 0), ("b", 9_000), ("c", 500), ("d", 0), ("e", 700)] {
        let ttl = if at == 0 {
            FieldTtl::Clear
        } else {
            FieldTtl::At(UnixMs(at))
        };
        hash.set(field.as_bytes(), b"v", ttl, &growth).unwrap();
    }
    let items = check(hash.view_value(), "8", "t");
    let Item::Text(packed) = &items[1] else {
        panic!()
    };
    let elements: Vec<String> = elements(packed);
    assert_eq!(elements.join(" "), "c v 500 e v 700 b v 9000 a v 0 d v 0");
    assert_eq!(items[0], Item::Bytes(500_i64.to_le_bytes().to_vec()));
    assert_eq!(
        (type_of(hash.view_value()), version_of(hash.view_value())),
        (25, 12)
    );
    // The room for them does not count.
    for field in ["b", "c", "e"] {
        hash.set_deadline(field.as_bytes(), None).unwrap();
    }
    hash.expire(UnixMs(1), 10, &mut |_| {});
    let items = texts(check(hash.view_value(), "", "t"));
    assert_eq!(self::elements(&items[0]).join(" "), "a v b v c v d v e v");
    assert_eq!(
        (type_of(hash.view_value()), version_of(hash.view_value())),
        (16, 10)
    );
}

impl Hash {
    fn view_value(&self) -> ValueRef<'_> {
        ValueRef::Hash(self.view())
    }
}

/// The elements of a listpack of Redis.
fn elements(packed: &[u8]) -> Vec<String> {
    let total = u32::from_le_bytes(packed[..4].try_into().unwrap());
    assert_eq!((total as usize, packed.last()), (packed.len(), Some(&0xFF)));
    let flat = &packed[4..packed.len() - 1];
    assert!(listpack::validate(flat));
    let list = Listpack::new(flat);
    let texts = list
        .iter()
        .map(|it| it.with_bytes(|text| text.escape_ascii().to_string()));
    texts.collect()
}

#[test]
fn lists_keep_their_order() {
    let limit = crate::value::Limit(-2);
    let mut list = List::Listpack(Vec::new());
    let mut wanted = Vec::new();
    for number in 0..1_500 {
        let mut text = text(number);
        if number % 500 == 499 {
            // In a row of its own: as an element by itself.
            text = text.repeat(90_000 / text.len() + 1);
        }
        let end = if number % 2 == 0 {
            End::Back
        } else {
            End::Front
        };
        list.push(end, [text.as_slice()].into_iter(), limit)
            .unwrap();
        wanted.insert(if number % 2 == 0 { wanted.len() } else { 0 }, text);
    }
    let value = list.into_value();
    let items = check(value.view(), "l", "lt");
    assert_eq!(items[0], Item::Len((items.len() / 2) as u64));
    let mut found = Vec::new();
    for node in items[1..].chunks(2) {
        let Item::Text(text) = &node[1] else { panic!() };
        match node[0] {
            Item::Len(1) => found.push(text.escape_ascii().to_string()),
            _ => found.extend(elements(text)),
        }
    }
    let wanted: Vec<_> = wanted
        .iter()
        .map(|text| text.escape_ascii().to_string())
        .collect();
    assert!(found == wanted);
    assert_eq!(type_of(value.view()), 18);
}

#[test]
fn streams_are_written_in_steps() {
    let mut stream = Stream::new();
    for number in 0..900_u64 {
        let (name, value) = (text(number as usize % 7), text(number as usize));
        let fields = [&b"n"[..], &value, &name, b"5"];
        let fields = pairs(
            fields[..if number % 5 == 0 { 4 } else { 2 }]
                .iter()
                .copied(),
        );
        let id = StreamId::new(number / 3, 1 + number % 3 * 1_000);
        stream
            .entries
            .append(id, fields, NodeLimits::new(4_096, 100))
            .unwrap();
    }
    let huge: Vec<Vec<u8>> = (0..6_000).map(text).collect();
    let fields = pairs(huge.iter().map(Vec::as_slice));
    stream
        .entries
        .append(StreamId::new(400, 0), fields, NodeLimits::new(0, 0))
        .unwrap();
    stream.entries.delete(StreamId::new(50, 1));
    for name in ["one", "two"] {
        stream
            .groups
            .create(name.as_bytes(), StreamId::new(100, 0), None)
            .unwrap();
        let mut group = stream.groups.get_mut(name.as_bytes()).unwrap();
        for number in 0..500 {
            let consumer = format!("c{}", number % 7);
            let (consumer, _) = group
                .consumer_or_create(consumer.as_bytes(), UnixMs(5))
                .unwrap();
            group
                .claim(StreamId::new(number, 1), consumer, UnixMs(6), number)
                .unwrap();
            // Type 19 does not have that: it is read as when the consumer was seen.
            group.note_active(consumer, UnixMs(5));
        }
    }
    let nodes = stream.entries.nodes();
    let value = stream.into_value();
    // Behind the nodes there is nothing that could be compressed.
    let mut plain = Vec::new();
    encode(value.view(), false, &mut plain).unwrap();
    let nodes_of = |bytes: &[u8]| {
        let mut reader = Reader(bytes);
        assert_eq!(reader.len(), nodes as u64);
        let nodes: Vec<_> = (0..nodes).map(|_| (reader.text(), reader.text())).collect();
        (nodes, reader.0.to_vec())
    };
    let whole = nodes_of(&plain);
    let last = elements(&whole.0[nodes - 1].1);
    assert_eq!(last[..3], ["1", "0", "0"]);
    assert_eq!(last.len(), 3 + 1 + 4 + 6_000 + 1);
    assert_eq!(last[last.len() - 1], "6004");
    read_back(value.view(), &plain);
    for budget in [1, 7, 100, usize::MAX] {
        read_back(value.view(), &written(value.view(), true, budget));
        assert!(written(value.view(), false, budget) == plain, "{budget}");
        assert!(
            nodes_of(&written(value.view(), true, budget)) == whole,
            "{budget}"
        );
    }
    assert_eq!((type_of(value.view()), version_of(value.view())), (19, 10));
}

/// As much work as a budget says, whatever the value.
#[test]
fn steps_are_bounded() {
    let settings = settings();
    let growth = Growth {
        thresholds: &settings.encodings,
        seed: 3,
    };
    let mut set = Set::large(&growth).unwrap();
    for number in 0..3_000 {
        set.add(&text(number), &growth).unwrap();
    }
    let mut list = List::Listpack(Vec::new());
    let long = vec![5; 5_000_000];
    for text in [&b"a"[..], &long, b"b"] {
        list.push(End::Back, [text].into_iter(), crate::value::Limit(-2))
            .unwrap();
    }
    for value in [set.into_value(), list.into_value(), Value::String(long)] {
        for compress in [true, false] {
            let mut encoder = Encoder::new(value.view());
            let mut steps = 0;
            loop {
                let mut out = Vec::new();
                let more = encoder
                    .go_on(value.view(), compress, 100, &mut out)
                    .unwrap();
                // A hundred elements or their bytes, the last of them not long; or a piece
                // that is compressed.
                assert!(
                    out.len() <= 100 * COPIED_BYTES + 2 * LONG + (64 << 10),
                    "{}",
                    out.len()
                );
                steps += 1;
                if !more {
                    break;
                }
            }
            assert!(steps >= elements_of(value.view()) / 100 / 16, "{steps}");
        }
    }
}

#[test]
fn an_entry_tells_what_is_known_of_its_key() {
    let value = ValueRef::String(StringRef::Int(5));
    let mut out = Vec::new();
    encode_entry(b"key", value, &Meta::default(), true, &mut out).unwrap();
    assert_eq!(out, b"\0\x03key\xC0\x05");
    let meta = Meta {
        expire_at: Some(UnixMs(0x0102_0304_0506)),
        idle: Some(70),
        freq: Some(9),
    };
    out.clear();
    encode_entry_head(b"12", value, &meta, true, &mut out).unwrap();
    let head = b"\xFC\x06\x05\x04\x03\x02\x01\0\0\xF8\x40\x46\xF9\x09\0\xC0\x0C";
    assert_eq!(out, head);
}

/// Texts, among them numbers of every size, and long ones.
fn any_text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        (any::<i64>(), 0u32..63)
            .prop_map(|(number, shift): (i64, u32)| (number >> shift).to_string().into_bytes()),
        (1usize..12_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_collection_comes_back(
        rows in proptest::collection::vec((any_text(), any_text(), any::<f64>(), 0i64..5_000), 1..200),
        small in any::<bool>(),
    ) {
        let mut settings = settings();
        if small {
            settings.encodings.hash_max_listpack_value = usize::MAX;
            settings.encodings.set_max_listpack_value = usize::MAX;
        }
        let growth = Growth {
            thresholds: &settings.encodings,
            seed: 3,
        };
        let limits = ZsetLimits {
            entries: if small { 1_000 } else { 5 },
            value: usize::MAX,
            seed: 3,
        };
        let (mut set, mut numbers) = (Set::new(), Set::new());
        let (mut hash, mut dated, mut zset) = (Hash::new(), Hash::new(), Zset::new());
        for (name, value, score, at) in &rows {
            set.add(name, &growth).unwrap();
            numbers.add(at.to_string().as_bytes(), &growth).unwrap();
            hash.set(name, value, FieldTtl::Clear, &growth).unwrap();
            let ttl = if *at > 2_000 { FieldTtl::Clear } else { FieldTtl::At(UnixMs(at + 1)) };
            dated.set(name, value, ttl, &growth).unwrap();
            // A listpack forgets the sign of zero.
            let score = if score.is_nan() || *score == 0.0 { *at as f64 } else { *score };
            zset.set(name, score, &limits).unwrap();
        }
        let values = [
            set.into_value(), numbers.into_value(), hash.into_value(), dated.into_value(), zset.into_value(),
        ];
        for value in values {
            for compress in [false, true] {
                let mut bytes = Vec::new();
                encode(value.view(), compress, &mut bytes).unwrap();
                read_back(value.view(), &bytes);
                read_back(value.view(), &written(value.view(), compress, 3));
            }
        }
    }

    #[test]
    fn any_stream_comes_back(
        entries in proptest::collection::vec((0u64..4, any::<u64>(), proptest::collection::vec(any_text(), 2..9)), 1..60),
        gone in proptest::collection::vec(0usize..60, 0..20),
    ) {
        let mut stream = Stream::new();
        let mut ids = Vec::new();
        for (ms, seq, texts) in &entries {
            let last = stream.entries.last_id();
            let id = match ms {
                0 => last.next().unwrap(),
                _ => StreamId::new(last.ms + (ms << 20), *seq),
            };
            let fields = pairs(texts[..texts.len() / 2 * 2].iter().map(Vec::as_slice));
            stream.entries.append(id, fields, NodeLimits::new(4_096, 20)).unwrap();
            ids.push(id);
        }
        for at in gone {
            stream.entries.delete(ids[at % ids.len()]);
        }
        let value = stream.into_value();
        for compress in [false, true] {
            let mut bytes = Vec::new();
            encode(value.view(), compress, &mut bytes).unwrap();
            read_back(value.view(), &bytes);
            read_back(value.view(), &written(value.view(), compress, 3));
        }
    }
    #[test]
    fn any_list_comes_back(words in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 1..300)) {
        let mut list = List::Listpack(Vec::new());
        let limit = crate::value::Limit(-1);
        list.push(End::Back, words.iter().map(Vec::as_slice), limit).unwrap();
        let items = check(ValueRef::List(list.view()), "l", "lt");
        let found: Vec<_> = texts(items).iter().flat_map(|node| elements(node)).collect();
        let wanted: Vec<_> = words.iter().map(|text| text.escape_ascii().to_string()).collect();
        prop_assert_eq!(found, wanted);
    }
}
