//! Tables with good and with bad hashes.

use super::*;
use crate::keyspace::entry::{Draft, Payload};
use crate::value::Encoding;

#[test]
fn vectors_match_what_words_match() {
    let mut state = 1u64;
    for _ in 0..1000 {
        let line = Line(std::array::from_fn(|_| {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
            // Few tags, so that many match.
            (state >> 62 << TAG_SHIFT) | (state >> 20 & ((1 << TAG_SHIFT) - 1))
        }));
        for tag in 0..4 {
            let wanted = tag << (32 - TAG_BITS);
            assert_eq!(matches(&line, tag), matches_plainly(&line, wanted));
        }
    }
}

fn entry(slab: &mut Slab, key: &[u8]) -> Entry {
    let payload = Payload::Bytes(b"v", Encoding::Embstr);
    let draft = Draft {
        key,
        payload,
        expire_at: None,
        clock: 0,
        snapshot: false,
    };
    draft.settle().and_then(|draft| draft.build(slab)).unwrap()
}

/// A hash that crowds: many keys share a home, and the last line is busy.
fn crowded(key: &[u8]) -> u32 {
    let number: u32 = std::str::from_utf8(key).unwrap().parse().unwrap();
    (TAG_END - 1).wrapping_sub(number % 7 * 1000) % TAG_END
}

fn spread(key: &[u8]) -> u32 {
    let number: u32 = std::str::from_utf8(key).unwrap().parse().unwrap();
    number.wrapping_mul(0x9E37_79B1) >> (32 - TAG_BITS)
}

fn fill_and_empty(hash: fn(&[u8]) -> u32) {
    let (mut slab, mut table) = (Slab::default(), Table::default());
    let count = if cfg!(miri) { 60u32 } else { 700 };
    let keys: Vec<String> = (0..count).map(|i| i.to_string()).collect();
    for key in &keys {
        assert_eq!(table.lines() == 0, table.len() == 0);
        table.reserve().unwrap();
        table.insert(hash(key.as_bytes()), entry(&mut slab, key.as_bytes()));
        if table.len() % 50 == 0 {
            table.check_invariants(hash);
        }
    }
    for (i, key) in keys.iter().enumerate() {
        let (spot, found) = table.find(hash(key.as_bytes()), key.as_bytes()).unwrap();
        assert_eq!(found.key(), key.as_bytes());
        table.remove(spot).free(&mut slab);
        if i % 3 == 0 {
            table.shrink();
        }
        assert!(table.find(hash(key.as_bytes()), key.as_bytes()).is_none());
        if i % 20 == 0 && table.len() > 0 {
            table.check_invariants(hash);
        }
    }
    table.shrink();
    table.check_invariants(hash);
    assert_eq!(slab.entries(), 0);
}

#[test]
fn finds_what_it_holds_with_a_good_hash() {
    fill_and_empty(spread);
}

#[test]
fn finds_what_it_holds_with_a_bad_hash_and_around_the_end() {
    fill_and_empty(crowded);
}

#[test]
fn removal_along_a_walk_skips_nothing() {
    for hash in [spread as fn(&[u8]) -> u32, crowded] {
        let (mut slab, mut table) = (Slab::default(), Table::default());
        let count = if cfg!(miri) { 40u32 } else { 500 };
        for key in (0..count).map(|i| i.to_string()) {
            table.reserve().unwrap();
            table.insert(hash(key.as_bytes()), entry(&mut slab, key.as_bytes()));
        }
        let mut met = 0;
        for home in 0..table.lines() {
            let mut step = 0;
            while let Some((next, spot)) = table.of_home(home, step) {
                met += 1;
                if met % 3 == 0 {
                    step = next;
                } else {
                    table.remove(spot).free(&mut slab);
                    step = next - 1;
                }
            }
        }
        assert_eq!(met, count);
        table.check_invariants(hash);
        table.drain().for_each(|entry| drop(entry.free(&mut slab)));
    }
}

#[test]
fn tags_and_home_lines_agree() {
    for lines in [1usize, 3, 7, 10, 48, 512] {
        let table = Table {
            lines: vec![Line([0; WORDS]); lines].into_boxed_slice(),
            used: 0,
        };
        for line in 0..lines {
            let tag = table.first_tag(line);
            assert_eq!(table.home(tag), line);
            assert!(tag == 0 || table.home(tag - 1) + 1 == line);
        }
        assert_eq!(table.first_tag(lines), TAG_END);
    }
}
