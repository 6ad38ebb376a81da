//! Sorted sets of both encodings against a map that is plainly right.

use super::*;
use crate::types::Random;
use std::collections::BTreeMap;

const SMALL: ZsetLimits = ZsetLimits {
    entries: usize::MAX,
    value: usize::MAX,
    seed: 7,
};
const LARGE: ZsetLimits = ZsetLimits {
    entries: 0,
    ..SMALL
};

/// Members and scores; order is made when it is asked for.
#[derive(Default)]
struct Twin(BTreeMap<Vec<u8>, f64>);

impl Twin {
    fn sorted(&self) -> Vec<(Vec<u8>, f64)> {
        let pairs = self
            .0
            .iter()
            .map(|(member, score)| (member.clone(), *score));
        let mut pairs: Vec<_> = pairs.collect();
        pairs.sort_by(|one, other| one.1.total_cmp(&other.1).then(one.0.cmp(&other.0)));
        pairs
    }
}

fn owned(walk: Walk<'_>) -> Vec<(Vec<u8>, f64)> {
    walk.map(|(member, score)| (member.with_bytes(<[u8]>::to_vec), score))
        .collect()
}

fn check(zset: &Zset, twin: &Twin) {
    let sorted = twin.sorted();
    let view = zset.view();
    assert_eq!(view.len(), sorted.len());
    assert_eq!(owned(view.iter()), sorted);
    let mut reversed = owned(view.range(0..view.len(), true));
    reversed.reverse();
    assert_eq!(reversed, sorted);
    if let Zset::Skiplist(large) = zset {
        large.check_invariants();
    }
    let mut scanned = Vec::new();
    let mut cursor = 0;
    loop {
        cursor = view.scan(cursor, 3, |member, score| {
            scanned.push((member.with_bytes(<[u8]>::to_vec), score));
        });
        if cursor == 0 {
            break;
        }
    }
    scanned.sort_by(|one, other| one.1.total_cmp(&other.1).then(one.0.cmp(&other.0)));
    assert_eq!(scanned, sorted);
}

fn member(random: &mut Random, variety: u64) -> Vec<u8> {
    let number = random.next() % variety;
    match number % 11 {
        0 => number.to_string().into_bytes(),
        1 => vec![b'x'; usize::try_from(number % 1200).unwrap()],
        2 => format!("-{number}").into_bytes(),
        _ => format!("member:{number:08}").into_bytes(),
    }
}

fn score(random: &mut Random) -> f64 {
    match random.next() % 8 {
        0 => f64::INFINITY,
        1 => f64::NEG_INFINITY,
        2 => (random.next() % 100) as f64 / 7.0,
        _ => (random.next() % 50) as f64 - 20.0,
    }
}

fn play(limits: &ZsetLimits, seed: u64, steps: usize, variety: u64) {
    let mut random = Random::new(seed);
    let (mut zset, mut twin) = (Zset::new(), Twin::default());
    for step in 0..steps {
        // Grows, then shrinks.
        let shrinking = step > steps * 2 / 3;
        let choice = random.next() % 10;
        let member = member(&mut random, variety);
        if choice < if shrinking { 2 } else { 7 } {
            let score = score(&mut random);
            let before = twin.0.insert(member.clone(), score);
            let updated = zset.set(&member, score, limits).unwrap();
            assert_eq!((updated.before, updated.after), (before, Some(score)));
        } else if choice < 9 {
            assert_eq!(zset.remove(&member), twin.0.remove(&member));
        } else if zset.view().len() > 3 {
            let start = usize::try_from(random.next()).unwrap() % (zset.view().len() - 2);
            for (member, _) in &twin.sorted()[start..start + 2] {
                twin.0.remove(member);
            }
            zset.remove_range(start..start + 2);
        }
        assert_eq!(zset.view().score(&member), twin.0.get(&member).copied());
        if step % (steps / 20) == 0 {
            check(&zset, &twin);
            let copy = zset.try_clone().unwrap();
            check(&copy, &twin);
            assert_eq!(copy.view(), zset.view());
        }
    }
    check(&zset, &twin);
    for (member, score) in twin.sorted() {
        assert_eq!(zset.remove(&member), Some(score));
    }
    check(&zset, &Twin::default());
    assert!(zset.is_empty());
}

#[test]
fn few_members_that_are_left_move_out() {
    for (ranks, moves) in [(0..4_990, true), (10..5_000, true), (5..4_000, true)]
        .into_iter()
        .chain([(0..5_000, true), (100..2_000, false), (0..300, false)])
    {
        let (mut zset, mut twin) = (Zset::new(), Twin::default());
        let mut random = Random::new(5);
        while zset.view().len() < 5_000 {
            let (member, score) = (member(&mut random, 100_000), score(&mut random));
            zset.set(&member, score, &LARGE).unwrap();
            twin.0.insert(member, score);
        }
        for (member, _) in &twin.sorted()[ranks.clone()] {
            twin.0.remove(member);
        }
        assert_eq!(zset.remove_range(ranks).is_some(), moves);
        check(&zset, &twin);
        // It can be changed as before.
        zset.set(b"another", 0.5, &LARGE).unwrap();
        twin.0.insert(b"another".to_vec(), 0.5);
        check(&zset, &twin);
    }
}

#[test]
fn both_encodings_do_as_a_map_does() {
    for seed in 0..3 {
        play(&SMALL, seed, 600, 60);
        play(&LARGE, seed, 600, 60);
        play(&LARGE, seed, 6_000, 3_000);
    }
    play(&LARGE, 99, 20_000, 8_000);
}

#[test]
fn cuts_fall_where_a_map_says() {
    for limits in [&SMALL, &LARGE] {
        let mut random = Random::new(5);
        let (mut zset, mut twin) = (Zset::new(), Twin::default());
        for _ in 0..300 {
            let (member, score) = (member(&mut random, 500), score(&mut random));
            zset.set(&member, score, limits).unwrap();
            twin.0.insert(member, score);
        }
        let sorted = twin.sorted();
        for _ in 0..300 {
            let (one, other) = (score(&mut random), score(&mut random));
            let at = |is_before: &dyn Fn(f64) -> bool| {
                sorted.partition_point(|(_, score)| is_before(*score))
            };
            let expected = at(&|score| score < one)..at(&|score| score <= other);
            for reverse in [false, true] {
                let cuts = (Cut::BelowScore(one), Cut::AboveScore(other));
                let found = zset.view().between(cuts.0, cuts.1, reverse);
                assert_eq!(found.len(), expected.len());
                assert!(found.is_empty() || found == expected);
                let walked = owned(zset.view().range(found.clone(), false));
                assert_eq!(walked, sorted[found]);
            }
        }
        for (rank, (member, score)) in sorted.iter().enumerate() {
            assert_eq!(zset.view().rank(member), Some((rank, *score)));
        }
    }
}

#[test]
fn members_of_one_score_are_cut_as_bytes() {
    for limits in [&SMALL, &LARGE] {
        let mut zset = Zset::new();
        for member in ["", "10", "9", "a", "b", "c"] {
            zset.set(member.as_bytes(), 0.0, limits).unwrap();
        }
        let view = zset.view();
        let between = |min, max| view.between(min, max, false);
        assert_eq!(between(Cut::Start, Cut::End), 0..6);
        assert_eq!(
            between(Cut::BelowMember(b"10"), Cut::BelowMember(b"a")),
            1..3
        );
        assert_eq!(
            between(Cut::AboveMember(b"10"), Cut::AboveMember(b"a")),
            2..4
        );
        assert!(between(Cut::End, Cut::Start).is_empty());
    }
}

#[test]
fn what_grows_at_an_end_stays_dense() {
    for descending in [false, true] {
        let mut zset = Zset::new();
        for number in 0..100_000_i32 {
            let score = f64::from(if descending { -number } else { number });
            let member = format!("member:{number:09}");
            zset.set(member.as_bytes(), score, &LARGE).unwrap();
        }
        let per_member = zset.heap_bytes() / 100_000;
        assert!(per_member < 50, "{per_member} bytes for each of 16 bytes");
    }
}

#[test]
fn a_member_of_16_bytes_takes_less_than_56() {
    let mut random = Random::new(3);
    let mut zset = Zset::new();
    let mut len = 0;
    for step in [110_000, 130_000, 160_000, 190_000, 220_000] {
        while len < step {
            let member = format!("{:016x}", random.next());
            let score = (random.next() % 1_000_000) as f64;
            zset.set(member.as_bytes(), score, &LARGE).unwrap();
            len += 1;
        }
        let per_member = zset.heap_bytes() / len;
        assert!(per_member < 56, "{per_member} bytes at {len}");
    }
}

#[test]
fn a_scan_sees_what_stays_while_others_come_and_go() {
    let mut random = Random::new(11);
    let mut zset = Zset::new();
    let name = |number: u64| format!("m{number}").into_bytes();
    for number in 0..500 {
        zset.set(&name(number), 1.0, &LARGE).unwrap();
    }
    for growing in [true, false] {
        let (mut seen, mut cursor, mut next) = (std::collections::BTreeSet::new(), 0, 1_000);
        loop {
            cursor = zset.view().scan(cursor, 5, |member, _| {
                seen.insert(member.with_bytes(<[u8]>::to_vec));
            });
            if cursor == 0 {
                break;
            }
            for _ in 0..40 {
                if growing && next < 6_000 {
                    zset.set(&name(next), random.next() as f64, &LARGE).unwrap();
                } else {
                    zset.remove(&name(next));
                }
                next += 1;
            }
        }
        assert!((0..500).all(|number| seen.contains(&name(number))));
    }
}

#[test]
fn freed_in_slices() {
    for limits in [&SMALL, &LARGE] {
        let mut zset = Zset::new();
        for number in 0..5_000 {
            let member = format!("{number}").repeat(1 + number % 300);
            zset.set(member.as_bytes(), number as f64, limits).unwrap();
            if limits.entries > 0 && number > 200 {
                break;
            }
        }
        let mut slices = 1;
        while zset.free_some(100) {
            slices += 1;
        }
        assert!(slices < 300, "{slices}");
        assert!(limits.entries > 0 || slices > 50, "{slices}");
    }
}

/// What is held by as many members as are in a map, if nothing was ever removed.
fn afresh(twin: &Twin) -> usize {
    let mut zset = Zset::new();
    // Not in order, which would make the tree denser than any history does.
    for (member, score) in &twin.0 {
        zset.set(member, *score, &LARGE).unwrap();
    }
    zset.heap_bytes()
}

/// Removes members in the order of `next` until one in a thousand is left, and looks
/// what they hold when half of those before are gone.
fn shrink(len: usize, name: fn(usize) -> Vec<u8>, next: fn(usize, usize) -> usize) {
    let (mut zset, mut twin) = (Zset::new(), Twin::default());
    for number in 0..len {
        let score = (number * 7919 % 1000) as f64;
        zset.set(&name(number), score, &LARGE).unwrap();
        twin.0.insert(name(number), score);
    }
    let mut checked = len;
    for step in 0..len - len / 1000 {
        let name = name(next(step, len));
        assert_eq!(zset.remove(&name), twin.0.remove(&name));
        if twin.0.len() * 2 <= checked {
            checked = twin.0.len();
            let (held, needed) = (zset.heap_bytes(), afresh(&twin));
            // A page that is being left; one that is not full yet.
            assert!(held <= 2 * needed + 40_960, "{held} {needed} at {checked}");
        }
    }
    assert!(checked < len / 400);
    check(&zset, &twin);
}

#[test]
fn what_is_left_holds_no_more_than_twice_what_it_needs() {
    let of_one_length = |number: usize| format!("member:{number:09}").into_bytes();
    let of_any_length = |number: usize| {
        let mut name = number.to_string().into_bytes();
        name.resize(name.len() + number * 31 % 150, b'x');
        name
    };
    let long = |number: usize| format!("{number:0>1500}").into_bytes();
    for next in [
        |step, len| step * 7919 % len,
        |step, _| step,
        |step, len| len - 1 - step,
        // Most of every page, then the next.
        |step, len| (step % (len / 10)) * 10 + step / (len / 10),
    ] {
        shrink(60_000, of_one_length, next);
        shrink(60_000, of_any_length, next);
        shrink(20_000, long, next);
    }
}

#[test]
fn members_that_come_and_go_take_no_more_and_more() {
    let (mut zset, mut random) = (Zset::new(), Random::new(4));
    let name = |number: u64| format!("member:{number:09}").into_bytes();
    let mut most = 0;
    for step in 0..400_000 {
        // Who is there for a moment, and who stays long.
        let number = if step % 3 == 0 {
            random.next() % 20_000
        } else {
            step
        };
        zset.set(&name(number), (step % 97) as f64, &LARGE).unwrap();
        if zset.view().len() > 10_000 {
            zset.remove_range(0..1);
        }
        if step == 100_000 {
            most = zset.heap_bytes();
        }
        assert!(step < 100_000 || zset.heap_bytes() < most * 3 / 2);
    }
}
