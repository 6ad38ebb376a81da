//! Listpacks against rows of texts.

use super::*;
use proptest::prelude::*;

fn texts(bytes: &[u8]) -> Vec<Vec<u8>> {
    let texts = Listpack::new(bytes).iter();
    texts.map(|it| it.with_bytes(<[u8]>::to_vec)).collect()
}

fn of(texts: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    append(&mut bytes, texts.iter().map(Vec::as_slice)).unwrap();
    bytes
}

/// Recorded with DUMP from redis-server 7.0.15, its header and end cut off.
#[test]
fn elements_are_laid_out_as_in_redis() {
    let texts = [
        "0",
        "127",
        "128",
        "-1",
        "4095",
        "-4096",
        "4096",
        "-32768",
        "32768",
        "-8388608",
        "8388608",
        "-2147483648",
        "2147483648",
        "-9223372036854775808",
        "",
        "a",
        "-0",
        "007",
    ];
    let bytes = of(&texts.map(|text| text.as_bytes().to_vec()));
    assert_eq!(bytes, RECORDED);
}

#[rustfmt::skip]
const RECORDED: &[u8] = &[
    0x12, 0x00, 0x00, 0x01, 0x7F, 0x01, 0xC0, 0x80, 0x02, 0xDF, 0xFF, 0x02, 0xCF,
    0xFF, 0x02, 0xD0, 0x00, 0x02, 0xF1, 0x00, 0x10, 0x03, 0xF1, 0x00, 0x80, 0x03,
    0xF2, 0x00, 0x80, 0x00, 0x04, 0xF2, 0x00, 0x00, 0x80, 0x04, 0xF3, 0x00, 0x00,
    0x80, 0x00, 0x05, 0xF3, 0x00, 0x00, 0x00, 0x80, 0x05, 0xF4, 0x00, 0x00, 0x00,
    0x80, 0x00, 0x00, 0x00, 0x00, 0x09, 0xF4, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
    0x00, 0x80, 0x09, 0x80, 0x01, 0x81, 0x61, 0x02, 0x82, 0x2D, 0x30, 0x03, 0x83,
    0x30, 0x30, 0x37, 0x04,
];

/// The lengths at which the length behind an element grows, as Redis has them.
#[test]
fn the_length_behind_grows_where_it_does_in_redis() {
    for (text_len, room) in [
        (126, 2 + 126 + 2),
        (125, 2 + 125 + 1),
        (16_377, 5 + 16_377 + 2),
        (16_378, 5 + 16_378 + 3),
    ] {
        let text = vec![b'x'; text_len];
        assert_eq!(Element::Bytes(&text).room(), room);
        let bytes = of(std::slice::from_ref(&text));
        assert_eq!(bytes.len(), HEADER + room);
        assert_eq!(texts(&bytes), [text]);
        assert!(validate(&bytes));
    }
}

#[test]
fn every_size_of_text_and_number_comes_back() {
    let mut rows: Vec<Vec<u8>> = Vec::new();
    for len in [
        0, 1, 63, 64, 126, 127, 128, 4095, 4096, 16_383, 70_000, 2_097_151,
    ] {
        rows.push(vec![b'x'; len]);
    }
    for bits in 0..63 {
        for number in [
            1i64 << bits,
            (1 << bits) - 1,
            -(1 << bits),
            -(1 << bits) - 1,
        ] {
            rows.push(number.to_string().into_bytes());
        }
    }
    rows.extend([i64::MAX, i64::MIN].map(|number| number.to_string().into_bytes()));
    let bytes = of(&rows);
    assert!(validate(&bytes));
    assert_eq!(texts(&bytes), rows);
    let backwards: Vec<_> = Listpack::new(&bytes).iter().rev().collect();
    let forwards: Vec<_> = Listpack::new(&bytes).iter().collect();
    assert!(backwards.iter().rev().eq(&forwards));
    for (element, row) in forwards.iter().zip(&rows) {
        assert_eq!(element.len_bytes(), row.len());
        assert!(element.eq_bytes(row));
    }
}

#[test]
fn more_elements_than_are_counted() {
    let mut bytes = Vec::new();
    for number in 0..70_000 {
        push_back(&mut bytes, number).unwrap();
        if number % 5_000 == 0 || (65_530..65_540).contains(&number) {
            assert_eq!(Listpack::new(&bytes).len() as i64, number + 1);
        }
    }
    assert!(validate(&bytes));
    let list = Listpack::new(&bytes);
    assert_eq!(list.get(69_999), Some(Element::Int(69_999)));
    assert_eq!(list.get(70_000), None);
    let at = list.at(10).unwrap();
    remove(&mut bytes, at, 69_000);
    assert_eq!(Listpack::new(&bytes).len(), 1_000);
    remove(&mut bytes, At(HEADER), usize::MAX);
    assert!(Listpack::new(&bytes).is_empty());
    assert_eq!(bytes, [0, 0]);
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (-200i64..200).prop_map(|number| number.to_string().into_bytes()),
        2 => any::<i64>().prop_map(|number| number.to_string().into_bytes()),
        3 => proptest::collection::vec(b'a'..b'd', 0..4),
        1 => proptest::collection::vec(any::<u8>(), 60..200),
        1 => (4_090usize..4_100).prop_map(|len| vec![b'x'; len]),
        1 => Just(b"-0".to_vec()),
    ]
}

#[derive(Clone, Debug)]
enum Change {
    Back(Vec<u8>),
    Front(Vec<u8>),
    Before(usize, Vec<u8>),
    After(usize, Vec<u8>),
    Replace(usize, Vec<u8>),
    Remove(usize, usize),
    SplitAndAppend(usize),
}

fn change() -> impl Strategy<Value = Change> {
    let index = 0usize..40;
    prop_oneof![
        3 => text().prop_map(Change::Back),
        3 => text().prop_map(Change::Front),
        2 => (index.clone(), text()).prop_map(|(index, text)| Change::Before(index, text)),
        2 => (index.clone(), text()).prop_map(|(index, text)| Change::After(index, text)),
        2 => (index.clone(), text()).prop_map(|(index, text)| Change::Replace(index, text)),
        2 => (index.clone(), 0usize..4).prop_map(|(index, count)| Change::Remove(index, count)),
        1 => index.prop_map(Change::SplitAndAppend),
    ]
}

/// Makes one change to both. Indices wrap around.
fn make(change: Change, bytes: &mut Vec<u8>, twin: &mut Vec<Vec<u8>>) {
    let place = |index: usize| {
        let index = index.checked_rem(twin.len())?;
        Some((index, Listpack::new(bytes).at(index).unwrap()))
    };
    match change {
        Change::Back(text) => {
            push_back(bytes, &text[..]).unwrap();
            twin.push(text);
        }
        Change::Front(text) => {
            push_front(bytes, &text[..]).unwrap();
            twin.insert(0, text);
        }
        Change::Before(index, text) => {
            let Some((index, at)) = place(index) else {
                return;
            };
            insert_before(bytes, at, &text[..]).unwrap();
            twin.insert(index, text);
        }
        Change::After(index, text) => {
            let Some((index, at)) = place(index) else {
                return;
            };
            insert_after(bytes, at, &text[..]).unwrap();
            twin.insert(index + 1, text);
        }
        Change::Replace(index, text) => {
            let Some((index, at)) = place(index) else {
                return;
            };
            replace(bytes, at, &text[..]).unwrap();
            twin[index] = text;
        }
        Change::Remove(index, count) => {
            let Some((index, at)) = place(index) else {
                return;
            };
            remove(bytes, at, count);
            twin.drain(index..(index + count).min(twin.len()));
        }
        Change::SplitAndAppend(index) => {
            let Some((index, at)) = place(index) else {
                return;
            };
            let mut tail = split_off(bytes, at).unwrap();
            assert_eq!(texts(bytes), twin[..index]);
            assert_eq!(texts(&tail), twin[index..]);
            append_listpack(&mut tail, Listpack::new(bytes)).unwrap();
            *bytes = tail;
            twin.rotate_left(index);
        }
    }
}

fn compare(bytes: &[u8], twin: &[Vec<u8>]) {
    let list = Listpack::new(bytes);
    assert!(validate(bytes));
    assert_eq!(texts(bytes), twin);
    assert_eq!(list.len(), twin.len());
    assert_eq!(list.is_empty(), twin.is_empty());
    assert_eq!(list, Listpack::new(&of(twin)));
    assert_eq!(list.first(), list.at(0));
    assert_eq!(list.last(), list.entries().next_back().map(|(at, _)| at));
    let mut at = list.first();
    for (index, (place, element)) in list.entries().enumerate() {
        assert_eq!(at, Some(place));
        assert_eq!(list.at(index), at);
        assert_eq!(list.get(index), Some(element));
        assert_eq!(list.entries_from(place).count(), twin.len() - index);
        assert_eq!(list.entries_to(place).count(), index + 1);
        at = list.next(place);
        if let Some(next) = at {
            assert_eq!(list.previous(next), Some(place));
        }
    }
    assert_eq!(at, None);
    assert_eq!(list.first().and_then(|first| list.previous(first)), None);
    assert_eq!(list.get(twin.len()), None);
    for step in 1..4 {
        for wanted in twin.iter().chain([&b"nowhere".to_vec(), &b"77".to_vec()]) {
            let index = (0..twin.len())
                .step_by(step)
                .find(|index| &twin[*index] == wanted);
            assert_eq!(
                list.find(wanted, step),
                index.and_then(|index| list.at(index))
            );
        }
    }
}

proptest! {
    #[test]
    fn changes_are_those_of_a_row_of_texts(changes in proptest::collection::vec(change(), 0..60)) {
        let (mut bytes, mut twin) = (Vec::new(), Vec::new());
        for change in changes {
            make(change, &mut bytes, &mut twin);
        }
        compare(&bytes, &twin);
    }

    /// Whatever is accepted can be walked to its end from both sides.
    #[test]
    fn what_is_accepted_can_be_walked(
        rows in proptest::collection::vec(text(), 0..20),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
    ) {
        let mut bytes = of(&rows);
        if !bytes.is_empty() {
            for (place, byte) in damage {
                let place = place.index(bytes.len());
                bytes[place] = byte;
            }
        }
        if validate(&bytes) {
            let list = Listpack::new(&bytes);
            let count = list.iter().count();
            prop_assert_eq!(count, list.len());
            prop_assert_eq!(count, list.iter().rev().count());
            let _ = list.find(b"x", 1);
        }
    }

    #[test]
    fn any_bytes_can_be_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if validate(&bytes) {
            let _ = texts(&bytes);
        }
    }
}
