//! Payloads for RESTORE: values of every form that Redis 7.0 reads, made from the
//! documentation of the format.

#[path = "../../shards/tests/rdb/written.rs"]
mod written;

use super::rng::Rng;
use written::{
    id, intset, len, listpack, packed, payload, raw, short_id, text, texts, ziplist, zipmap,
};

/// Something that RESTORE takes, mostly.
pub fn any(rng: &mut Rng) -> Vec<u8> {
    let body = body(rng);
    let version = *rng.pick(&[10, 10, 10, 9, 6, 1]);
    let mut bytes = payload(&body, version);
    if rng.one_in(10) {
        let at = rng.below(bytes.len());
        bytes[at] ^= 1 << rng.below(8);
    }
    bytes
}

/// Texts, none of them twice, in whatever order.
fn distinct(rng: &mut Rng) -> Vec<String> {
    let count = match rng.below(12) {
        0 => 100 + rng.below(60),
        1 => 500 + rng.below(30),
        _ => 1 + rng.below(8),
    };
    let numbers = rng.one_in(3);
    let long = rng.one_in(8);
    let first = rng.below(2_000) as i64 - 1_000;
    let mut all: Vec<String> = (first..)
        .take(count)
        .map(|number| match number % 5 {
            _ if numbers => number.to_string(),
            0 => (number * 1_000_000_007).to_string(),
            1 if long => format!("{number}{}", "x".repeat(70)),
            _ => format!("text {number}"),
        })
        .collect();
    let turn = rng.below(count);
    all.rotate_left(turn);
    all
}

/// Each with something that is its own.
fn paired(rng: &mut Rng) -> Vec<String> {
    let values = ["", "1", "-70000", "value"];
    let all = distinct(rng).into_iter();
    all.flat_map(|name| [name, (*rng.pick(&values)).to_owned()])
        .collect()
}

/// Members and scores, in the order that a sorted set has.
fn scored(rng: &mut Rng) -> Vec<(String, f64)> {
    let scores = [
        -0.5,
        0.0,
        1.0,
        1.0,
        2.5,
        3e20,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ];
    let mut all: Vec<(String, f64)> = distinct(rng)
        .into_iter()
        .map(|member| (member, *rng.pick(&scores)))
        .collect();
    all.sort_by(|one, other| one.1.total_cmp(&other.1).then_with(|| one.0.cmp(&other.0)));
    all
}

fn scored_words(rng: &mut Rng) -> Vec<String> {
    let score = |score: f64| match score {
        f64::INFINITY => "inf".to_owned(),
        f64::NEG_INFINITY => "-inf".to_owned(),
        score => score.to_string(),
    };
    let all = scored(rng).into_iter();
    all.flat_map(|(member, it)| [member, score(it)]).collect()
}

/// A blob, compressed or not.
fn blob(rng: &mut Rng, bytes: &[u8]) -> Vec<u8> {
    if rng.one_in(3) {
        packed(bytes)
    } else {
        raw(bytes)
    }
}

fn rows<T>(all: &[T], row: impl Fn(&T) -> Vec<u8>) -> Vec<u8> {
    let rows = all.iter().flat_map(row);
    len(all.len() as u64).into_iter().chain(rows).collect()
}

/// The type and the value.
fn body(rng: &mut Rng) -> Vec<u8> {
    let (number, value) = match rng.below(18) {
        0 => (0, text(distinct(rng)[0].as_bytes())),
        1 => (0, blob(rng, "text ".repeat(30).as_bytes())),
        2 => {
            let all = distinct(rng);
            (1, texts(all.len() as u64, &all))
        }
        3 => {
            let all = distinct(rng);
            (2, texts(all.len() as u64, &all))
        }
        4 => (
            3,
            rows(&scored(rng), |(member, score)| {
                [text(member.as_bytes()), text_score(*score)].concat()
            }),
        ),
        5 => {
            let all = paired(rng);
            (4, texts(all.len() as u64 / 2, &all))
        }
        6 => (
            5,
            rows(&scored(rng), |(member, score)| {
                [text(member.as_bytes()), score.to_le_bytes().to_vec()].concat()
            }),
        ),
        number => together(rng, number),
    };
    [vec![number], value].concat()
}

/// The type and the value, where elements lie together.
fn together(rng: &mut Rng, kind: usize) -> (u8, Vec<u8>) {
    let (number, bytes) = match kind {
        7 => (9, zipmap(&paired(rng), 2)),
        8 => (10, ziplist(&distinct(rng), false)),
        9 => {
            let first = rng.below(100) as i64;
            let width = *rng.pick(&[2, 4, 8]);
            let count = *rng.pick(&[1, 5, 512, 513]);
            (
                11,
                intset(width, &(first..first + count).collect::<Vec<_>>()),
            )
        }
        10 => (12, ziplist(&scored_words(rng), false)),
        11 => (13, ziplist(&paired(rng), rng.one_in(2))),
        12 => (16, listpack(&paired(rng))),
        13 => (17, listpack(&scored_words(rng))),
        14 => {
            let nodes = [
                ziplist(&distinct(rng), false),
                ziplist(&distinct(rng), false),
            ];
            return (14, rows(&nodes, |node| raw(node)));
        }
        15 => {
            let (one, other) = (listpack(&distinct(rng)), listpack(&distinct(rng)));
            let nodes = [(2, one), (1, b"an element by itself".to_vec()), (2, other)];
            let some = &nodes[..1 + rng.below(3)];
            return (
                18,
                rows(some, |(kind, node)| [len(*kind), raw(node)].concat()),
            );
        }
        kind => {
            let number = if kind == 16 { 15 } else { 19 };
            return (number, stream(rng, number));
        }
    };
    (number, blob(rng, &bytes))
}

fn text_score(score: f64) -> Vec<u8> {
    match score {
        f64::INFINITY => vec![254],
        f64::NEG_INFINITY => vec![255],
        score => {
            let text = score.to_string();
            [vec![text.len() as u8], text.into_bytes()].concat()
        }
    }
}

/// A stream with a group, of which some entries are pending.
fn stream(rng: &mut Rng, number: u8) -> Vec<u8> {
    let count = 1 + rng.below(20) as u64;
    let mut words = vec![
        count.to_string(),
        "0".to_owned(),
        "1".to_owned(),
        "field".to_owned(),
        "0".to_owned(),
    ];
    for nth in 0..count {
        match rng.one_in(4) {
            true => words
                .extend(["0", &nth.to_string(), "0", "1", "own", "value", "6"].map(str::to_owned)),
            false => words.extend(["2", &nth.to_string(), "0", "value", "4"].map(str::to_owned)),
        }
    }
    let node = [raw(&id((5, 0))), blob(rng, &listpack(&words))].concat();
    let mut bytes = [len(1), node, len(count), short_id((4 + count, 0))].concat();
    if number == 19 {
        bytes.extend([short_id((5, 0)), short_id((0, 0)), len(count)].concat());
    }
    let pending = rng.below(count as usize + 1) as u64;
    let ids: Vec<(u64, u64)> = (0..pending).map(|nth| (5 + nth, 0)).collect();
    let group = [text(b"g"), short_id((4 + pending, 0))].concat();
    bytes.extend([len(1), group].concat());
    if number == 19 {
        bytes.extend(len(pending));
    }
    let delivered = 1_600_000_000_000i64;
    bytes.extend(rows(&ids, |it| {
        [id(*it), delivered.to_le_bytes().to_vec(), len(3)].concat()
    }));
    bytes.extend([len(1), text(b"c"), delivered.to_le_bytes().to_vec()].concat());
    bytes.extend(rows(&ids, |it| id(*it)));
    bytes
}
