//! Sends the same requests to both servers and compares the replies.

use super::client::{Client, Reply, Value};
use super::generate::Request;
use super::server::Server;
use super::{commands, show_command};
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
    /// Byte for byte, but numbers as numbers: Redis 7.2 writes the shortest text
    /// of a score, 7.0 seventeen digits.
    Scores,
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
            if tips.contains(&"nondeterministic_output_order") {
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
    let sub = format!("{}|{}", lower(0), lower(1));
    let found = by_name
        .get(lower(0).as_str())
        .or_else(|| by_name.get(sub.as_str()));
    found.copied().unwrap_or(Comparison::Exact)
}

/// Whether two replies count as the same.
pub fn same(how: Comparison, one: &Reply, other: &Reply) -> bool {
    if one.raw == other.raw || NEWER_TEXTS.contains(&(&one.raw, &other.raw)) {
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
        Comparison::Scores => same_scores(&one.value(), &other.value()),
        Comparison::Shape => one.raw[0] == other.raw[0] && !one.is_error(),
    }
}

/// Whether two replies differ at most in how they write floating-point numbers.
fn same_scores(one: &Value, other: &Value) -> bool {
    let number = |text: &[u8]| -> Option<f64> { std::str::from_utf8(text).ok()?.parse().ok() };
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(a, b)| same_scores(a, b))
        }
        (Value::Bulk(one), Value::Bulk(other)) | (Value::Double(one), Value::Double(other)) => {
            let bits = |text| number(text).map(f64::to_bits);
            one == other || bits(one).is_some() && bits(one) == bits(other)
        }
        _ => one == other,
    }
}

fn sorted(values: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    texts.sort();
    texts
}

/// How a stream is sent.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    pub protocol: u8,
    /// At most this many requests are in flight. Batches grow up to it by
    /// turns, unless it is [`usize::MAX`]: then all go in one.
    pub depth: usize,
}

/// Two servers with the same history.
pub struct Pair<'a> {
    redis: &'a Server,
    cordis: &'a Server,
}

/// Where two servers parted.
struct Difference {
    index: usize,
    redis: Reply,
    cordis: Reply,
}

impl<'a> Pair<'a> {
    pub fn new(redis: &'a Server, cordis: &'a Server) -> Self {
        Self { redis, cordis }
    }

    /// Runs `stream` on both from an empty start; panics at the first reply
    /// that differs, with the shortest history that was found to show it.
    pub fn run(&self, mode: Mode, stream: &[Request]) {
        let Some(difference) = self.attempt(mode, stream) else {
            return;
        };
        let stream = &stream[..=difference.index];
        // One by one if that shows it, or else all at once: then it is about
        // order, and a reader must know that it was one pipeline.
        let shorter = [1, usize::MAX].into_iter().find_map(|depth| {
            let mode = Mode { depth, ..mode };
            let (history, difference) = self.shorten(mode, stream)?;
            Some((mode, history, difference))
        });
        let (mode, history, difference) = shorter.unwrap_or_else(|| {
            let tail = stream.len().saturating_sub(30);
            (mode, stream[tail..].to_vec(), difference)
        });
        let lines: Vec<String> = history
            .iter()
            .map(|request| show_command(request))
            .collect();
        panic!(
            "replies differ ({mode:?}, {}) after\n  {}\n  redis:  {:?}\n  cordis: {:?}",
            self.cordis.name,
            lines.join("\n  "),
            difference.redis,
            difference.cordis
        );
    }

    fn attempt(&self, mode: Mode, stream: &[Request]) -> Option<Difference> {
        let (mut redis, mut cordis) = self.fresh(mode);
        let mut at = 0;
        let mut depth = if mode.depth == usize::MAX {
            mode.depth
        } else {
            1
        };
        while at < stream.len() {
            let batch = &stream[at..stream.len().min(at.saturating_add(depth))];
            let expected = redis.pipeline(batch);
            let replies = cordis.pipeline(batch);
            for (i, (redis, cordis)) in expected.into_iter().zip(replies).enumerate() {
                if !same(comparison(&batch[i]), &redis, &cordis) {
                    return Some(Difference {
                        index: at + i,
                        redis,
                        cordis,
                    });
                }
            }
            at += batch.len();
            depth = if depth >= mode.depth { 1 } else { depth * 2 };
        }
        None
    }

    fn fresh(&self, mode: Mode) -> (Client, Client) {
        let open = |server: &Server| {
            let mut client = server.connect_with(mode.protocol);
            client.call(&["FLUSHALL"]);
            client
        };
        (open(self.redis), open(self.cordis))
    }

    /// Leaves out ever smaller pieces of the stream as long as the last
    /// request still differs. Nothing when it does not show one by one.
    fn shorten(&self, mode: Mode, stream: &[Request]) -> Option<(Vec<Request>, Difference)> {
        // What depends on timing shows in one attempt and hides in the next.
        let attempts = if mode.depth == 1 { 1 } else { 3 };
        let shows = |stream: &[Request]| {
            (0..attempts).find_map(|_| {
                let found = self.attempt(mode, stream)?;
                (found.index + 1 == stream.len()).then_some(found)
            })
        };
        let mut best = (stream.to_vec(), shows(stream)?);
        let mut piece = stream.len() / 2;
        while piece > 0 {
            let mut at = 0;
            while at + piece < best.0.len() {
                let mut shorter = best.0.clone();
                shorter.drain(at..at + piece);
                match shows(&shorter) {
                    Some(found) => best = (shorter, found),
                    None => at += piece,
                }
            }
            piece /= 2;
        }
        Some(best)
    }
}
