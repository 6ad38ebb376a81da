//! How two replies to one request are held against each other.

use super::client::{Reply, Value};
use super::commands;
use shards::Row;
use shards::command::Group;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Two servers handle a request at slightly different times. Deadlines in the
/// streams are at least 250 s apart, so this forgives no wrong one.
const CLOCK_TOLERANCE_MS: i64 = 100_000;

/// How two replies to one request are held against each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Byte for byte.
    Exact,
    /// Byte for byte, once the elements are sorted.
    Unordered,
    /// Byte for byte, once the pairs of the map are sorted.
    UnorderedPairs,
    /// Integers may differ by as much as the clock may; this many units a second.
    Clock(i64),
    /// Byte for byte, but scores as numbers: Redis 7.2 writes the shortest text
    /// of a score, 7.0 seventeen digits.
    Scores,
    /// The name of an encoding; 7.2 has new ones for lists and sets.
    Encoding,
    /// As many elements, and none twice unless the request allows it;
    /// `chance::is_plausible` asks whether they are there.
    Picked,
    /// A cursor and elements; the same ones, in any order, where one reply has all.
    Scanned,
    /// What is told of streams and groups, but for how they are kept and for times.
    Told,
    /// Same type, and errors the same text.
    Shape,
}

/// What Redis 7.0 says, and what 7.2 says in its place.
const NEWER_TEXTS: &[(&[u8], &[u8])] = &[(
    b"-ERR timeout is negative\r\n",
    b"-ERR timeout is out of range\r\n",
)];

/// Rows whose reply depends on when it is asked, and units per second.
const CLOCKED: &[(&str, i64)] = &[
    ("ttl", 1),
    ("pttl", 1000),
    ("expiretime", 1),
    ("pexpiretime", 1000),
];

/// How the replies to `request` are compared: its row's tips say so.
pub fn comparison(request: &[Vec<u8>]) -> Comparison {
    static BY_NAME: OnceLock<HashMap<&str, Comparison>> = OnceLock::new();
    let by_name = BY_NAME.get_or_init(|| {
        let of_row = |row: &Row| {
            let tips = row.tips;
            let scan = ["scan", "sscan", "hscan", "zscan"].contains(&row.name);
            if scan {
                Comparison::Scanned
            } else if row.name.contains("rand") {
                Comparison::Picked
            } else if tips.contains(&"nondeterministic_output_order") {
                Comparison::Unordered
            } else if tips.contains(&"nondeterministic_output") {
                Comparison::Shape
            } else if row.group == Group::SortedSet {
                Comparison::Scores
            } else {
                Comparison::Exact
            }
        };
        let rows = commands::engine_rows();
        let mut map: HashMap<_, _> = rows.iter().map(|row| (row.name, of_row(row))).collect();
        map.insert("config|get", Comparison::UnorderedPairs);
        map.insert("hgetall", Comparison::UnorderedPairs);
        map.insert("object|encoding", Comparison::Encoding);
        // What ids are is known, and how far is trimmed; but for `*`, see below.
        map.insert("xadd", Comparison::Exact);
        map.insert("xtrim", Comparison::Exact);
        for name in [
            "xinfo|stream",
            "xinfo|groups",
            "xinfo|consumers",
            "xpending",
        ] {
            map.insert(name, Comparison::Told);
        }
        for name in ["xclaim", "xautoclaim"] {
            map.insert(name, Comparison::Exact);
        }
        // Bytes of other structures; the row has no tip that says so.
        map.insert("memory|usage", Comparison::Shape);
        map.extend(
            CLOCKED
                .iter()
                .map(|(name, per_second)| (*name, Comparison::Clock(*per_second))),
        );
        map
    });
    let lower = |index: usize| {
        let word = request.get(index).map(|word| word.to_ascii_lowercase());
        word.map(|word| String::from_utf8_lossy(&word).into_owned())
            .unwrap_or_default()
    };
    if lower(0) == "xadd" && request.iter().any(|word| word == b"*") {
        return Comparison::Shape;
    }
    let sub = format!("{}|{}", lower(0), lower(1));
    let found = by_name
        .get(lower(0).as_str())
        .or_else(|| by_name.get(sub.as_str()));
    found.copied().unwrap_or(Comparison::Exact)
}

/// Whether two replies to `request` count as the same.
pub fn same(how: Comparison, request: &[Vec<u8>], one: &Reply, other: &Reply) -> bool {
    if one.raw == other.raw && !matches!(how, Comparison::Picked | Comparison::Scanned)
        || NEWER_TEXTS.contains(&(&one.raw, &other.raw))
    {
        return true;
    }
    match how {
        Comparison::Exact => false,
        Comparison::Unordered => match (one.value(), other.value()) {
            (Value::Array(one), Value::Array(other)) | (Value::Set(one), Value::Set(other)) => {
                sorted(&one) == sorted(&other)
            }
            _ => false,
        },
        Comparison::UnorderedPairs => {
            let pairs = |reply: &Reply| {
                let pairs = reply.value().pairs();
                sorted(
                    &pairs
                        .into_iter()
                        .map(|(k, v)| Value::Array(vec![k, v]))
                        .collect::<Vec<_>>(),
                )
            };
            let kind = |reply: &Reply| reply.raw[0];
            kind(one) == kind(other) && !one.is_error() && pairs(one) == pairs(other)
        }
        Comparison::Clock(per_second) => match (one.value(), other.value()) {
            (Value::Integer(one), Value::Integer(other)) => {
                one > 0
                    && other > 0
                    && one.abs_diff(other) <= (CLOCK_TOLERANCE_MS * per_second / 1000) as u64
            }
            _ => false,
        },
        Comparison::Scores => same_scores(where_scores_are(request), &one.value(), &other.value()),
        Comparison::Encoding => NEWER_ENCODINGS
            .iter()
            .any(|(_, older, newer)| one.is_text(older) && other.is_text(newer)),
        Comparison::Picked => same_choice(request, &one.value(), &other.value()),
        Comparison::Scanned => same_step(request, &one.value(), &other.value()),
        Comparison::Told => !one.is_error() && same_told(&one.value(), &other.value()),
        Comparison::Shape => one.raw[0] == other.raw[0] && !one.is_error(),
    }
}

/// Fields of XINFO that are of a server's own, depend on its clock, or are new in 7.2.
const OWN_FIELDS: &[&[u8]] = &[
    b"radix-tree-keys",
    b"radix-tree-nodes",
    b"seen-time",
    b"active-time",
    b"idle",
    b"inactive",
];

/// Whether two replies of XINFO or XPENDING say the same.
fn same_told(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Map(_), Value::Map(_)) => {
            let pairs = |value: &Value| match value {
                Value::Map(pairs) => flat_fields(pairs.iter().map(|(name, of)| (name, of))),
                _ => Vec::new(),
            };
            same_all(&pairs(one), &pairs(other))
        }
        (Value::Array(one), Value::Array(other)) => {
            let fields = |items: &[Value]| {
                let pairs = items.chunks_exact(2).map(|pair| (&pair[0], &pair[1]));
                match items.len() % 2 {
                    0 => flat_fields(pairs),
                    _ => items.to_vec(),
                }
            };
            // A record of what is pending: an id, maybe a consumer, a time, a number.
            let is_record = |items: &[Value]| {
                matches!(items, [Value::Bulk(id), .., Value::Integer(_), Value::Integer(_)]
                    if id.contains(&b'-'))
            };
            match is_record(one) && is_record(other) && one.len() == other.len() {
                true => {
                    let time = one.len() - 2;
                    let near = match (&one[time], &other[time]) {
                        (Value::Integer(one), Value::Integer(other)) => {
                            one.abs_diff(*other) <= CLOCK_TOLERANCE_MS as u64
                        }
                        _ => false,
                    };
                    near && one[..time] == other[..time] && one.last() == other.last()
                }
                false => same_all(&fields(one), &fields(other)),
            }
        }
        _ => one == other,
    }
}

fn same_all(one: &[Value], other: &[Value]) -> bool {
    one.len() == other.len() && (one.iter().zip(other)).all(|(one, other)| same_told(one, other))
}

/// Names and contents, one behind the other, without [`OWN_FIELDS`].
fn flat_fields<'a>(pairs: impl Iterator<Item = (&'a Value, &'a Value)>) -> Vec<Value> {
    let own = |name: &Value| matches!(name, Value::Bulk(name) if OWN_FIELDS.contains(&&name[..]));
    let pairs = pairs.filter(|(name, _)| !own(name));
    pairs
        .flat_map(|(name, of)| [name.clone(), of.clone()])
        .collect()
}

/// Types whose values have an encoding in 7.2 that 7.0 did not give them: what 7.0
/// says, and what 7.2 may say.
pub const NEWER_ENCODINGS: &[(&str, &str, &str)] = &[
    ("list", "quicklist", "listpack"),
    ("set", "hashtable", "listpack"),
];

/// Where a reply has scores in the form of strings. Doubles are scores anyway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scores {
    Nowhere,
    /// Every string in it.
    Everywhere,
    /// Every second element of an array of strings, the first not included.
    Seconds,
    /// The last element.
    Last,
    /// In what is nested in the second element, as [`Scores::Seconds`].
    Nested,
}

fn where_scores_are(request: &[Vec<u8>]) -> Scores {
    let name = request[0].to_ascii_lowercase();
    let asked = |option: &[u8]| {
        let mut words = request[1..].iter();
        words.any(|word| word.eq_ignore_ascii_case(option))
    };
    match name.as_slice() {
        b"zscore" | b"zincrby" | b"zmscore" => Scores::Everywhere,
        b"zadd" if asked(b"INCR") => Scores::Everywhere,
        b"zpopmin" | b"zpopmax" => Scores::Seconds,
        b"bzpopmin" | b"bzpopmax" => Scores::Last,
        b"zrank" | b"zrevrank" => Scores::Last,
        b"zmpop" | b"bzmpop" | b"zscan" => Scores::Nested,
        _ if asked(b"WITHSCORES") => Scores::Seconds,
        _ => Scores::Nowhere,
    }
}

/// Whether two replies differ at most in how they write scores.
fn same_scores(place: Scores, one: &Value, other: &Value) -> bool {
    let number = |text: &[u8]| -> Option<f64> { std::str::from_utf8(text).ok()?.parse().ok() };
    let equal = |one: &[u8], other: &[u8]| {
        let bits = |text| number(text).map(f64::to_bits);
        one == other || bits(one).is_some() && bits(one) == bits(other)
    };
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            let of_element = |index: usize, element: &Value| match (place, element) {
                (Scores::Nested, _) if index == 0 => Scores::Nowhere,
                (Scores::Nested, _) | (Scores::Seconds, Value::Array(_)) => Scores::Seconds,
                (Scores::Seconds, _) if index % 2 == 1 => Scores::Everywhere,
                (Scores::Last, _) if index + 1 == one.len() => Scores::Everywhere,
                (Scores::Everywhere, _) => Scores::Everywhere,
                _ => Scores::Nowhere,
            };
            one.len() == other.len()
                && (one.iter().zip(other).enumerate())
                    .all(|(index, (a, b))| same_scores(of_element(index, a), a, b))
        }
        (Value::Double(one), Value::Double(other)) => equal(one, other),
        (Value::Bulk(one), Value::Bulk(other)) if place == Scores::Everywhere => equal(one, other),
        _ => one == other,
    }
}

/// The strings of a reply, whatever they are nested in; nothing if there is
/// anything else.
pub fn leaves(value: &Value) -> Option<Vec<Vec<u8>>> {
    match value {
        Value::Array(items) | Value::Set(items) => {
            let parts: Option<Vec<_>> = items.iter().map(leaves).collect();
            parts.map(|parts| parts.concat())
        }
        Value::Bulk(text) | Value::Double(text) => Some(vec![text.clone()]),
        _ => None,
    }
}

/// Whether an option of a request makes its reply one of pairs.
pub fn has_pairs(request: &[Vec<u8>]) -> bool {
    let name = request[0].to_ascii_lowercase();
    let with = |word: &Vec<u8>| {
        word.eq_ignore_ascii_case(b"WITHVALUES") || word.eq_ignore_ascii_case(b"WITHSCORES")
    };
    [&b"hscan"[..], b"zscan"].contains(&name.as_slice()) || request.get(3).is_some_and(with)
}

fn same_choice(request: &[Vec<u8>], one: &Value, other: &Value) -> bool {
    let (Some(expected), Some(got)) = (leaves(one), leaves(other)) else {
        return one == other;
    };
    let alike = match (one, other) {
        (Value::Array(one), Value::Array(other)) => one.len() == other.len(),
        (Value::Bulk(_), Value::Bulk(_)) => true,
        _ => false,
    };
    let step = if has_pairs(request) { 2 } else { 1 };
    let again = request.get(2).is_some_and(|count| count.starts_with(b"-"));
    let mut once: Vec<_> = got.iter().step_by(step).collect();
    once.sort();
    once.dedup();
    alike && expected.len() == got.len() && (again || once.len() == got.len().div_ceil(step))
}

fn same_step(request: &[Vec<u8>], one: &Value, other: &Value) -> bool {
    let step = |value: &Value| match value {
        Value::Array(parts) if parts.len() == 2 => {
            let cursor = leaves(&parts[0])?.first()?.clone();
            let digits = !cursor.is_empty() && cursor.iter().all(u8::is_ascii_digit);
            let found = leaves(&parts[1])?;
            digits.then_some((cursor, found))
        }
        _ => None,
    };
    let (Some(expected), Some(got)) = (step(one), step(other)) else {
        return one == other;
    };
    let width = if has_pairs(request) { 2 } else { 1 };
    let name = request[0].to_ascii_lowercase();
    let start = request.get(if name == b"scan" { 1 } else { 2 });
    let parts = |found: &[Vec<u8>]| {
        let mut parts: Vec<Vec<Vec<u8>>> = found.chunks(width).map(<[_]>::to_vec).collect();
        if name == b"zscan" {
            // As numbers: see `Scores`.
            let as_number = |text: &mut Vec<u8>| {
                let number = std::str::from_utf8(text).ok().map(str::parse::<f64>);
                if let Some(Ok(number)) = number {
                    *text = number.to_string().into_bytes();
                }
            };
            parts
                .iter_mut()
                .filter_map(|part| part.last_mut())
                .for_each(as_number);
        }
        parts.sort();
        parts.dedup();
        parts
    };
    let all = start.is_some_and(|start| start == b"0") && expected.0 == b"0" && got.0 == b"0";
    got.1.len() % width == 0 && (!all || parts(&expected.1) == parts(&got.1))
}

pub fn sorted(values: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    texts.sort();
    texts
}
