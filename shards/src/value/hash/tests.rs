//! Hashes against a map of the standard library.

use super::*;
use crate::types::{Settings, Thresholds};
use std::collections::BTreeMap;

type Twin = BTreeMap<String, (String, Option<UnixMs>)>;

fn text(element: Element<'_>) -> String {
    element.with_bytes(|bytes| String::from_utf8(bytes.into()).unwrap())
}

fn contents(hash: &Hash) -> Twin {
    let fields = hash.view().iter();
    fields
        .map(|it| (text(it.name), (text(it.value), it.expire_at)))
        .collect()
}

fn thresholds(entries: usize, value: usize) -> Thresholds {
    let mut thresholds = Settings::default().encodings;
    thresholds.hash_max_listpack_entries = entries;
    thresholds.hash_max_listpack_value = value;
    thresholds
}

/// Random changes; what is left is in `encoding`.
fn play(thresholds: &Thresholds, deadlines: bool, encoding: Encoding) {
    let growth = Growth {
        thresholds,
        seed: 9,
    };
    let mut random = Random::new(4);
    let (mut hash, mut twin, mut now) = (Hash::new(), Twin::new(), 0);
    for _ in 0..4_000 {
        let name = below(&mut random, 100).to_string();
        let value = "v".repeat(below(&mut random, 60)) + &name;
        let at = UnixMs(now + 1 + below(&mut random, 300) as i64);
        match below(&mut random, 10) {
            0..5 => {
                let ttl = match below(&mut random, 3) {
                    0 if deadlines => FieldTtl::At(at),
                    1 => FieldTtl::Keep,
                    _ => FieldTtl::Clear,
                };
                let new = hash.set(name.as_bytes(), value.as_bytes(), ttl, &growth);
                let old = twin.get(&name).and_then(|it| it.1);
                let expire_at = match ttl {
                    FieldTtl::At(at) => Some(at),
                    FieldTtl::Keep => old,
                    FieldTtl::Clear => None,
                };
                let old = twin.insert(name.clone(), (value, expire_at));
                assert_eq!(new.unwrap(), old.is_none());
            }
            5..7 => assert_eq!(hash.remove(name.as_bytes()), twin.remove(&name).is_some()),
            7..9 if deadlines => {
                let at = (below(&mut random, 3) > 0).then_some(at);
                hash.set_deadline(name.as_bytes(), at).unwrap();
                if let Some(field) = twin.get_mut(&name) {
                    field.1 = at;
                }
            }
            _ => {
                now += below(&mut random, 20) as i64;
                let mut gone = Vec::new();
                while hash.expire(UnixMs(now), 10, &mut |name| gone.push(name.to_vec())) {}
                let before = twin.len();
                twin.retain(|_, it| it.1.is_none_or(|at| at.0 > now));
                assert_eq!(gone.len(), before - twin.len());
            }
        }
        let view = hash.view();
        let value = view.get(name.as_bytes(), UnixMs(now)).map(text);
        let due = |it: &&(String, Option<UnixMs>)| it.1.is_some_and(|at| at.0 <= now);
        let held = twin.get(&name).filter(|it| !due(it));
        assert_eq!(value, held.map(|it| it.0.clone()));
        assert_eq!((view.len(), hash.is_empty()), (twin.len(), twin.is_empty()));
        let deadline = twin.values().filter_map(|it| it.1).min();
        assert!(deadline.is_none_or(|at| view.earliest().is_some_and(|it| it <= at)));
        if !twin.is_empty() {
            assert!(twin.contains_key(&text(view.choose(&mut random).name)));
        }
        assert_eq!(contents(&hash), twin);
    }
    assert_eq!(hash.encoding(), encoding);
    assert_eq!(hash.try_clone().unwrap().view(), hash.view());
    if let Some(flat) = hash.flat() {
        assert_eq!(Hash::view_flat(encoding, flat), hash.view());
    }
}

#[test]
fn agrees_with_a_map_in_every_encoding() {
    play(&thresholds(1000, 100), false, Encoding::Listpack);
    play(&thresholds(1000, 100), true, Encoding::ListpackEx);
    play(&thresholds(0, 100), false, Encoding::Hashtable);
    play(&thresholds(0, 100), true, Encoding::Hashtable);
}

#[test]
fn encodings_change_as_in_redis() {
    let limits = thresholds(2, 8);
    let growth = Growth {
        thresholds: &limits,
        seed: 1,
    };
    let set = |names: &[&str], value: &str, ttl| {
        let mut hash = Hash::new();
        for name in names {
            hash.set(name.as_bytes(), value.as_bytes(), ttl, &growth)
                .unwrap();
        }
        (hash.encoding(), hash.view().len())
    };
    let (keep, at) = (FieldTtl::Keep, FieldTtl::At(UnixMs(5)));
    assert_eq!(
        set(&["a", "b", "a"], "12345678", keep),
        (Encoding::Listpack, 2)
    );
    assert_eq!(set(&["a", "b", "c"], "1", keep), (Encoding::Hashtable, 3));
    assert_eq!(set(&["a"], "123456789", keep), (Encoding::Hashtable, 1));
    assert_eq!(set(&["123456789"], "", keep), (Encoding::Hashtable, 1));
    assert_eq!(set(&["a", "b"], "1", at), (Encoding::ListpackEx, 2));
    assert_eq!(set(&["a", "b", "c"], "1", at), (Encoding::Hashtable, 3));
    let mut hash = Hash::new();
    hash.expect(2, 8, &growth).unwrap();
    assert_eq!(hash.encoding(), Encoding::Listpack);
    hash.expect(3, 8, &growth).unwrap();
    assert_eq!(hash.encoding(), Encoding::Hashtable);
}
