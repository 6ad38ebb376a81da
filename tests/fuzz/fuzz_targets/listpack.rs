//! Bytes from outside that pass for a listpack, and changes of it: whatever
//! `validate` accepts can be walked and changed without a panic, and does as a
//! list of texts does.
//!
//! Input: one byte is the length of the listpack, then its bytes, then changes.
//! What is no listpack begins as an empty one.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shards::listpack::{self, Element, Listpack, validate};

fuzz_target!(|data: &[u8]| {
    let Some((len, data)) = data.split_first() else {
        return;
    };
    let (bytes, changes) = data.split_at(usize::from(*len).min(data.len()));
    let mut bytes = bytes.to_vec();
    if !validate(&bytes) {
        bytes.clear();
    }
    let mut twin = texts(&bytes);
    for change in changes.chunks(6) {
        make(change, &mut bytes, &mut twin);
        assert!(validate(&bytes));
        assert_eq!(texts(&bytes), twin);
    }
    let row = Listpack::new(&bytes);
    assert_eq!(row.len(), twin.len());
    let backwards = row.entries().rev().map(|(_, it)| text(it));
    assert!(backwards.eq(twin.iter().rev().cloned()));
    for (index, expected) in twin.iter().enumerate() {
        assert_eq!(row.get(index).map(text).as_ref(), Some(expected));
        let found = row.find(expected, 1).map(|at| text(row.element(at)));
        assert_eq!(found.as_ref(), Some(expected));
    }
    assert!(row.get(twin.len()).is_none());
});

fn text(element: Element<'_>) -> Vec<u8> {
    element.with_bytes(<[u8]>::to_vec)
}

fn texts(bytes: &[u8]) -> Vec<Vec<u8>> {
    Listpack::new(bytes).iter().map(text).collect()
}

/// An element of a kind and a size that the bytes choose.
fn element(kind: u8, size: u8, seed: u8) -> Vec<u8> {
    match kind % 5 {
        0 => i8::from_le_bytes([seed]).to_string().into_bytes(),
        1 => (i64::from(seed) << (size % 57)).to_string().into_bytes(),
        2 => (-(i64::from(seed) << (size % 56))).to_string().into_bytes(),
        3 => vec![seed; usize::from(size)],
        _ => vec![seed; usize::from(size) * 40],
    }
}

fn make(change: &[u8], bytes: &mut Vec<u8>, twin: &mut Vec<Vec<u8>>) {
    let of = |at: usize| change.get(at).copied().unwrap_or(0);
    let new = element(of(1), of(2), of(3));
    let index = usize::from(of(4)).checked_rem(twin.len());
    let at = index.and_then(|index| Listpack::new(bytes).at(index));
    let (Some(index), Some(at)) = (index, at) else {
        listpack::push_back(bytes, new.as_slice()).expect("there is memory");
        twin.push(new);
        return;
    };
    let count = usize::from(of(5));
    match of(0) % 8 {
        0 => {
            listpack::push_back(bytes, new.as_slice()).expect("there is memory");
            twin.push(new);
        }
        1 => {
            listpack::push_front(bytes, new.as_slice()).expect("there is memory");
            twin.insert(0, new);
        }
        2 => {
            listpack::insert_before(bytes, at, new.as_slice()).expect("there is memory");
            twin.insert(index, new);
        }
        3 => {
            listpack::insert_after(bytes, at, new.as_slice()).expect("there is memory");
            twin.insert(index + 1, new);
        }
        4 => {
            listpack::replace(bytes, at, new.as_slice()).expect("there is memory");
            twin[index] = new;
        }
        5 => {
            let count = count.min(twin.len() - index);
            listpack::remove(bytes, at, count);
            twin.drain(index..index + count);
        }
        6 => {
            let gone = twin[index].clone();
            let mut left = count;
            let removed = listpack::remove_equal(bytes, at, &gone, count);
            assert!(removed <= count);
            let mut place = 0;
            twin.retain(|it| {
                let goes = place >= index && left > 0 && *it == gone;
                place += 1;
                left -= usize::from(goes);
                !goes
            });
            assert_eq!(removed, count - left);
        }
        _ => {
            let tail = listpack::split_off(bytes, at).expect("there is memory");
            assert!(validate(&tail));
            assert_eq!(texts(&tail), twin[index..]);
            listpack::append_listpack(bytes, Listpack::new(&tail)).expect("there is memory");
        }
    }
}
