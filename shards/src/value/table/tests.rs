//! The table against a map of the standard library.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

type Twin = BTreeMap<Vec<u8>, (Vec<u8>, Option<UnixMs>)>;

fn agree(table: &Table, twin: &Twin) {
    table.check();
    assert_eq!(table.len(), twin.len());
    let held: Twin = table
        .iter()
        .map(|it| (it.key.to_vec(), (it.value.to_vec(), it.expire_at)))
        .collect();
    assert_eq!(&held, twin);
    let keys: Vec<&[u8]> = table.iter().map(|it| it.key).collect();
    let len = keys.len();
    for from in [
        0,
        1,
        len / 3,
        len / 2 + 7,
        len.saturating_sub(1),
        len,
        len + 1,
    ] {
        let rest: Vec<&[u8]> = table.iter_from(from).map(|it| it.key).collect();
        assert_eq!(rest, keys[from.min(len)..]);
    }
}

fn key_of(number: usize) -> Vec<u8> {
    match number % 50 {
        0 => vec![b'k'; 2000 + number],
        1 => format!("a key of more than thirty-one bytes {number}").into_bytes(),
        _ => number.to_string().into_bytes(),
    }
}

/// Random insertions and removals over `keys` keys.
fn play(seed: u64, keys: usize, steps: usize, values: bool) {
    let mut random = Random::new(seed);
    let mut table = Table::new(values, seed).unwrap();
    let mut twin = Twin::new();
    for step in 0..steps {
        // Growing and shrinking by turns.
        let grows = (step * 4 / steps).is_multiple_of(2);
        let key = key_of(below(&mut random, keys));
        if below(&mut random, 10) < if grows { 8 } else { 2 } {
            let (mut value, mut expire_at) = (Vec::new(), None);
            if values {
                let large = below(&mut random, 100) == 0;
                value = vec![b'v'; below(&mut random, if large { 3000 } else { 40 })];
                let deadline = UnixMs(below(&mut random, 1000) as i64);
                expire_at = (below(&mut random, 3) == 0).then_some(deadline);
            }
            let record = Record {
                key: &key,
                value: &value,
                expire_at,
            };
            let new = table.insert(&record).unwrap();
            assert_eq!(new, twin.insert(key.clone(), (value, expire_at)).is_none());
        } else {
            assert_eq!(table.remove(&key), twin.remove(&key).is_some());
        }
        let found = table.get(&key).map(|it| (it.value.to_vec(), it.expire_at));
        assert_eq!(found, twin.get(&key).cloned());
        if step % (steps / 8) == 0 {
            agree(&table, &twin);
        }
    }
    agree(&table.try_clone().unwrap(), &twin);
    let mut now = 0;
    while table.earliest().is_some() {
        now += 50;
        let mut gone = Vec::new();
        while table.expire(UnixMs(now), 100, &mut |key| gone.push(key.to_vec())) {}
        let due = |at: &Option<UnixMs>| at.is_some_and(|at| at.0 <= now);
        let expected: Vec<_> = twin.iter().filter(|(_, it)| due(&it.1)).collect();
        gone.sort();
        assert!(gone.iter().eq(expected.iter().map(|(key, _)| *key)));
        twin.retain(|_, it| !due(&it.1));
        agree(&table, &twin);
    }
    for key in twin.keys() {
        assert!(table.remove(key));
    }
    agree(&table, &Twin::new());
    assert!(table.segments.len() < 4 && table.heap_bytes() < 64 * 1024);
}

#[test]
fn agrees_with_a_map() {
    for seed in 0..5 {
        play(seed, 40, 2_000, true);
        play(seed, 40, 2_000, false);
    }
    play(1, 30_000, 120_000, true);
    play(2, 60_000, 200_000, false);
}

#[test]
fn a_scan_meets_all_that_stays() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let mut table = Table::new(false, seed).unwrap();
        let add = |table: &mut Table, number: usize| {
            let key = number.to_string();
            let record = Record {
                key: key.as_bytes(),
                value: b"",
                expire_at: None,
            };
            table.insert(&record).unwrap();
        };
        let (stay, most) = (below(&mut random, 3000), 30_000);
        let shrinks = seed % 2 == 0;
        (0..if shrinks { most } else { stay }).for_each(|number| add(&mut table, number));
        let (mut met, mut cursor, mut next) = (BTreeSet::new(), 0, stay);
        loop {
            cursor = table.scan(cursor, 10, &mut |it| met.extend([it.key.to_vec()]));
            if cursor == 0 {
                break;
            }
            for _ in 0..below(&mut random, 60).min(most - next) {
                if shrinks {
                    table.remove(next.to_string().as_bytes());
                } else {
                    add(&mut table, next);
                }
                next += 1;
            }
        }
        table.check();
        assert!((0..stay).all(|number| met.contains(number.to_string().as_bytes())));
    }
}

#[test]
fn any_cursor_is_taken() {
    let mut random = Random::new(1);
    let mut table = Table::new(false, 1).unwrap();
    for _ in 0..10_000 {
        let key = random.next().to_le_bytes();
        let record = Record {
            key: &key,
            value: b"",
            expire_at: None,
        };
        table.insert(&record).unwrap();
        table.scan(random.next(), 10, &mut |_| {});
        table.scan(u64::MAX, 10, &mut |_| {});
    }
}

#[test]
fn choices_are_fair() {
    let mut random = Random::new(7);
    let mut table = Table::new(false, 7).unwrap();
    let (members, each) = (20_000, 20);
    for number in 0..members + 50_000 {
        let key = (number as u32).to_le_bytes();
        let record = Record {
            key: &key,
            value: b"",
            expire_at: None,
        };
        table.insert(&record).unwrap();
    }
    (members..members + 50_000).for_each(|it| {
        table.remove(&(it as u32).to_le_bytes());
    });
    let mut times = vec![0usize; members];
    for _ in 0..members * each {
        let key = table.choose(&mut random).key.try_into().unwrap();
        times[u32::from_le_bytes(key) as usize] += 1;
    }
    // Chi-squared: its mean is the number of members, its deviation sqrt(2n).
    let square = |times: &usize| (*times as f64 - each as f64).powi(2) / each as f64;
    let sum: f64 = times.iter().map(square).sum();
    let deviation = (2.0 * members as f64).sqrt();
    assert!((sum - members as f64).abs() < 5.0 * deviation, "{sum}");
}

#[test]
fn a_member_of_sixteen_bytes_takes_less_than_thirty() {
    let mut table = Table::new(false, 7).unwrap();
    for number in 0..200_000 {
        let key = format!("{number:016}");
        let record = Record {
            key: key.as_bytes(),
            value: b"",
            expire_at: None,
        };
        table.insert(&record).unwrap();
    }
    assert!(table.heap_bytes() < 200_000 * 30, "{}", table.heap_bytes());
    while table.free_some(10) {}
}

/// Fetching reads what may not be there: keys that are not, segments without any.
#[test]
fn keys_are_fetched_whether_or_not_they_are_there() {
    let mut table = Table::new(true, 3).unwrap();
    let keys: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    for key in &keys {
        let value = [b'x'; 20];
        let record = Record {
            key: key.as_bytes(),
            value: &value,
            expire_at: None,
        };
        assert!(table.insert(&record).unwrap());
    }
    assert!(table.heap_bytes > CACHED_BYTES);
    for some in keys.chunks(40).step_by(50) {
        table.fetch(some.iter().map(String::as_bytes));
    }
    table.fetch((0..1000).map(|_| &b"not there"[..]));
    table.fetch(std::iter::empty());
    // As if segments were there that have nothing any more.
    let emptied = Segment::new(true, 0, 0);
    assert_eq!(
        (emptied.touch_index(7), emptied.touch_record(7)),
        (u32::MAX, 0)
    );
    table.check();
    assert_eq!(table.len(), keys.len());
}

fn is_small(table: &Table, twin: &Twin, what: &str) {
    agree(table, twin);
    let mut fresh = Table::new(table.valued, 9).unwrap();
    for (key, (value, expire_at)) in twin {
        let record = Record {
            key,
            value,
            expire_at: *expire_at,
        };
        fresh.insert(&record).unwrap();
    }
    let (held, needed) = (table.heap_bytes(), fresh.heap_bytes());
    assert!(held <= 2 * needed + 4_096, "{what}: {held} {needed}");
}

/// One in a thousand stays, whatever ends the others.
#[test]
fn what_is_left_holds_no_more_than_twice_what_it_needs() {
    let count = 60_000;
    let key = |number: usize| number.to_string().into_bytes();
    let (due, never) = (Some(UnixMs(5)), None);
    for (length, what) in [
        (20, "expire"),
        (20, "remove"),
        (900, "replace"),
        (1_500, "replace"),
    ] {
        let count = if length > 20 { count / 10 } else { count };
        let (mut table, mut twin) = (Table::new(true, 3).unwrap(), Twin::new());
        let mut set = |table: &mut Table, number: usize, value: &[u8], expire_at| {
            let key = key(number);
            let record = Record {
                key: &key,
                value,
                expire_at,
            };
            table.insert(&record).unwrap();
            twin.insert(key, (value.to_vec(), expire_at));
        };
        (0..count).for_each(|number| set(&mut table, number, &vec![b'v'; length], never));
        if what == "replace" {
            (0..count).for_each(|number| set(&mut table, number, b"v", never));
            is_small(&table, &twin, what);
            continue;
        }
        for number in (0..count).filter(|number| number % 1000 > 0) {
            let key = key(number * 7919 % count);
            if what == "remove" {
                assert!(table.remove(&key));
            } else {
                table.set_deadline(&key, due).unwrap();
            }
            twin.remove(&key);
        }
        while table.expire(UnixMs(5), 100, &mut |_| ()) {}
        is_small(&table, &twin, what);
    }
}

#[test]
fn deadlines_change_and_nothing_else_does() {
    let (mut table, mut twin) = (Table::new(true, 3).unwrap(), Twin::new());
    let mut random = Random::new(8);
    for number in 0..3_000 {
        let (key, value) = (key_of(number), vec![b'v'; number % 40 * (number % 40)]);
        let record = Record {
            key: &key,
            value: &value,
            expire_at: None,
        };
        table.insert(&record).unwrap();
        twin.insert(key, (value, None));
    }
    for step in 0..20_000 {
        let key = key_of(below(&mut random, 3_000));
        let at = UnixMs(below(&mut random, 1000) as i64 + 1);
        let at = (below(&mut random, 3) > 0).then_some(at);
        table.set_deadline(&key, at).unwrap();
        twin.entry(key).and_modify(|it| it.1 = at);
        if step % 4_000 == 0 {
            agree(&table, &twin);
        }
    }
    table.set_deadline(b"not there", Some(UnixMs(1))).unwrap();
    agree(&table, &twin);
    assert!(table.earliest() <= twin.values().filter_map(|it| it.1).min());
}
