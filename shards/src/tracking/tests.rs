//! By example, and against a twin: for each key the set of those who have a copy.

use super::*;
use crate::types::Random;
use std::collections::{BTreeMap, BTreeSet};

const HERE: ShardId = ShardId(0);

fn tracker(number: u32) -> Tracker {
    Tracker::nth(number, HERE, 1)
}

fn wish(noloop: bool) -> Wish {
    Wish {
        told_on: HERE,
        noloop,
        prefixes: None,
    }
}

fn broadcast(noloop: bool, prefixes: &[&str]) -> Wish {
    let prefixes = prefixes.iter().map(|prefix| prefix.as_bytes().into());
    Wish {
        prefixes: Some(prefixes.collect()),
        ..wish(noloop)
    }
}

/// With trackers 0 to `count` that remember keys.
fn tracking(count: u32) -> Tracking {
    let mut tracking = Tracking::new(1, true);
    (0..count).for_each(|number| tracking.admit(tracker(number), wish(false)));
    tracking
}

fn read(tracking: &mut Tracking, reader: u32, keys: &[&str]) {
    tracking.remember(tracker(reader), keys.iter().map(|key| key.as_bytes()));
}

fn touch(tracking: &mut Tracking, key: &str, by: Option<u32>) {
    tracking.set_caller(by.map(tracker));
    tracking.touch(key.as_bytes());
    tracking.set_caller(None);
}

/// Who is told, and of which keys.
fn told(tracking: &mut Tracking) -> Vec<(Option<Tracker>, String)> {
    let letters = tracking.take_letters().into_iter();
    letters
        .map(|(_, letter)| {
            let text = std::str::from_utf8(&letter.message).unwrap();
            let keys = text.strip_prefix(">2\r\n$10\r\ninvalidate\r\n").unwrap();
            let words = keys
                .split("\r\n")
                .filter(|word| !word.starts_with(['$', '*']));
            let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
            (letter.to, words.join(" "))
        })
        .collect()
}

fn said(to: u32, keys: &str) -> (Option<Tracker>, String) {
    (Some(tracker(to)), keys.into())
}

#[test]
fn a_number_tells_the_home() {
    let mut all = BTreeSet::new();
    for home in 0..7 {
        for nth in [0, 1, 5, u32::MAX / 7, u32::MAX - 1, u32::MAX] {
            let tracker = Tracker::nth(nth, ShardId(home), 7);
            assert_eq!(tracker.home(7), ShardId(home));
            all.insert(tracker);
        }
    }
    assert!(all.len() > 4 * 7);
}

#[test]
fn who_has_a_copy_is_told_once() {
    let mut tracking = tracking(3);
    read(&mut tracking, 0, &["a", "b"]);
    read(&mut tracking, 1, &["b"]);
    read(&mut tracking, 1, &["b"]);
    assert_eq!(tracking.counts(), (2, 3));
    touch(&mut tracking, "c", None);
    assert!(!tracking.has_letters());
    touch(&mut tracking, "b", Some(1));
    touch(&mut tracking, "b", None);
    assert_eq!(told(&mut tracking), [said(0, "b"), said(1, "b")]);
    assert_eq!(tracking.counts(), (1, 1));
    read(&mut tracking, 1, &["b"]);
    tracking.passes(b"b");
    assert_eq!(told(&mut tracking), [said(1, "b")]);
    // Nobody knows this one.
    read(&mut tracking, 3, &["b"]);
    assert_eq!(tracking.counts(), (1, 1));
}

/// As in Redis, it has no copy after its own change either.
#[test]
fn who_wants_no_loop_is_not_told_of_its_own_changes() {
    let mut tracking = tracking(1);
    tracking.admit(tracker(1), wish(true));
    for reader in [0, 1] {
        read(&mut tracking, reader, &["a", "b"]);
    }
    touch(&mut tracking, "a", Some(1));
    touch(&mut tracking, "b", Some(0));
    touch(&mut tracking, "a", Some(0));
    assert_eq!(
        told(&mut tracking),
        [said(0, "a"), said(0, "b"), said(1, "b")]
    );
    read(&mut tracking, 1, &["a"]);
    tracking.set_caller(Some(tracker(1)));
    tracking.passes(b"a");
    assert_eq!(told(&mut tracking), [said(1, "a")], "its time had come");
}

#[test]
fn prefixes_are_told_of_once_a_turn() {
    let mut tracking = Tracking::new(1, true);
    tracking.admit(tracker(0), broadcast(false, &[""]));
    tracking.admit(tracker(1), broadcast(true, &["ab", "c"]));
    tracking.admit(tracker(2), broadcast(false, &["ab"]));
    assert_eq!(tracking.prefixes(), 3);
    for (key, by) in [("abz", 1), ("aba", 2), ("a", 0), ("c", 1), ("abz", 1)] {
        touch(&mut tracking, key, Some(by));
    }
    let all = [said(0, "a aba abz c"), said(1, "aba"), said(2, "aba abz")];
    assert_eq!(told(&mut tracking), all);
    assert!(!tracking.has_letters());
    // The last to change it is who matters.
    touch(&mut tracking, "ab", Some(1));
    touch(&mut tracking, "ab", None);
    read(&mut tracking, 0, &["a"]);
    assert_eq!(tracking.counts(), (0, 0), "they need not read");
    tracking.admit(tracker(2), broadcast(false, &["x"]));
    tracking.forget(tracker(0));
    touch(&mut tracking, "x", None);
    assert_eq!(
        told(&mut tracking),
        [said(1, "ab"), said(2, "ab"), said(2, "x")]
    );
    tracking.forget(tracker(1));
    tracking.forget(tracker(2));
    assert_eq!(tracking.prefixes(), 0);
    touch(&mut tracking, "ab", None);
    assert!(!tracking.has_letters() && !tracking.is_on());
}

#[test]
fn when_all_has_changed_one_shard_says_so_once() {
    for is_first in [true, false] {
        let mut tracking = Tracking::new(1, is_first);
        tracking.admit(tracker(0), wish(false));
        read(&mut tracking, 0, &["a"]);
        tracking.overturn();
        tracking.overturn();
        assert_eq!(tracking.counts(), (0, 0));
        touch(&mut tracking, "a", None);
        let all = is_first.then(|| (None, "_".into()));
        assert_eq!(told(&mut tracking), all.into_iter().collect::<Vec<_>>());
        read(&mut tracking, 0, &["a"]);
        touch(&mut tracking, "a", None);
        assert_eq!(told(&mut tracking), [said(0, "a")]);
    }
}

#[test]
fn a_message_on_the_channel_is_the_same_in_other_words() {
    let channel = "*3 $7 message $20 __redis__:invalidate ";
    let message = message_of([&b"a"[..], b"bc"].into_iter());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace("\r\n", " ");
    let keys = "*2 $1 a $2 bc ";
    assert_eq!(text(&message), format!(">2 $10 invalidate {keys}"));
    assert_eq!(text(&as_published(&message)), format!("{channel}{keys}"));
    let all = Letter::to_all().message;
    assert_eq!(text(&as_published(&all)), format!("{channel}$-1 "));
}

#[test]
fn what_falls_out_is_told() {
    let mut tracking = tracking(2);
    tracking.limit(10);
    let keys: Vec<String> = (0..100).map(|number| format!("k{number}")).collect();
    for (number, key) in keys.iter().enumerate() {
        read(&mut tracking, (number % 2) as u32, &[key]);
        assert!(tracking.counts().0 <= 10);
    }
    let fallen: Vec<String> = told(&mut tracking).into_iter().map(|it| it.1).collect();
    assert_eq!(fallen.len(), 90);
    for key in &keys {
        touch(&mut tracking, key, None);
    }
    let left: Vec<String> = told(&mut tracking).into_iter().map(|it| it.1).collect();
    let all: BTreeSet<&String> = fallen.iter().chain(&left).collect();
    assert_eq!(all.len(), 100, "each was told once");
    // A lower limit is reached step by step.
    tracking.limit(0);
    read(&mut tracking, 0, &["a", "b", "c"]);
    assert_eq!(tracking.counts().0, 1);
}

/// Reading and losing the same keys for ever takes no memory.
#[test]
fn what_a_tracker_holds_does_not_grow_with_time() {
    let mut tracking = tracking(2);
    read(&mut tracking, 1, &["other"]);
    for _ in 0..1000 {
        read(&mut tracking, 0, &["a", "b", "c"]);
        for key in ["c", "a", "b"] {
            touch(&mut tracking, key, None);
        }
        tracking.take_letters();
    }
    let holds = tracking.trackers.remove(&tracker(0)).unwrap().holds;
    assert!(holds.entries().len() < 100);
}

/// The end of a tracker goes on in steps, as many as it has keys; meanwhile others use the
/// table, and the places in it.
#[test]
fn a_tracker_that_goes_leaves_nothing() {
    let mut tracking = tracking(3);
    let keys: Vec<String> = (0..1000).map(|number| format!("k{number}")).collect();
    for key in &keys {
        read(&mut tracking, 0, &[key]);
    }
    for key in &keys[..500] {
        read(&mut tracking, 1, &[key]);
        read(&mut tracking, 2, &[key]);
    }
    tracking.forget(tracker(0));
    tracking.forget(tracker(0));
    assert!(tracking.is_on() && tracking.is_forgetting());
    assert!(tracking.forget_some(100));
    for key in &keys[100..700] {
        touch(&mut tracking, key, None);
    }
    assert_eq!(told(&mut tracking).len(), 2 * 400, "and nobody who is gone");
    for key in &keys[300..600] {
        read(&mut tracking, 1, &[key]);
    }
    let mut steps = 1;
    while tracking.forget_some(100) {
        steps += 1;
    }
    assert!(steps <= 12, "{steps}");
    assert_eq!(tracking.counts(), (400, 500));
    tracking.forget(tracker(1));
    tracking.forget(tracker(2));
    while tracking.forget_some(100) {}
    assert_eq!(tracking.counts(), (0, 0));
    assert!(!tracking.is_on());
}

#[test]
fn it_does_what_a_simple_twin_does() {
    for seed in 0..40 {
        let mut random = Random::new(seed);
        let mut below = |bound: u64| random.next() % bound;
        let mut tracking = Tracking::new(seed, true);
        let mut known: BTreeMap<u32, bool> = BTreeMap::new();
        let mut twin: BTreeMap<String, BTreeSet<u32>> = BTreeMap::new();
        for step in 0..2000 {
            let (who, key) = (below(6) as u32, format!("k{}", below(20)));
            match below(20) {
                0 => {
                    let noloop = below(2) == 0;
                    tracking.admit(tracker(who), wish(noloop));
                    known.insert(who, noloop);
                }
                // Numbers of those who have gone are not given to others at once.
                1 if !tracking.is_forgetting() => {
                    tracking.forget(tracker(who));
                    known.remove(&who);
                    for all in twin.values_mut() {
                        all.remove(&who);
                    }
                    if below(2) == 0 {
                        while tracking.forget_some(3) {}
                    } else {
                        tracking.forget_some(1);
                    }
                    while known.contains_key(&who) || tracking.forget_some(5) {}
                }
                2 if below(10) == 0 => {
                    tracking.overturn();
                    twin.clear();
                    tracking.take_letters();
                }
                3..12 => {
                    read(&mut tracking, who, &[&key]);
                    if known.contains_key(&who) {
                        twin.entry(key).or_default().insert(who);
                    }
                }
                _ => {
                    touch(&mut tracking, &key, Some(who));
                    let holders = twin.remove(&key).unwrap_or_default();
                    let is_told = |other: &u32| !(known[other] && *other == who);
                    let expected = holders.into_iter().filter(is_told);
                    let expected: Vec<_> = expected.map(|other| said(other, &key)).collect();
                    assert_eq!(told(&mut tracking), expected, "seed {seed}, step {step}");
                }
            }
            twin.retain(|_, all| !all.is_empty());
            let copies = twin.values().map(BTreeSet::len).sum();
            assert_eq!(
                tracking.counts(),
                (twin.len(), copies),
                "seed {seed}, step {step}"
            );
        }
    }
}
