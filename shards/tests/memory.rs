//! What is held, counted by the allocator: after a random history at most twice
//! what the same contents built afresh hold, and beside a request never more than
//! its reply and a constant.

#![allow(clippy::unwrap_used)] // a test may
#![allow(unsafe_code)] // an allocator

use shards::command::{OwnedArgs, digest::DIGEST_VALUE};
use shards::{Request, Settings, Shard, UnixMs, row};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

const NOW: UnixMs = UnixMs(1_700_000_000_000);
/// What a shard may hold whatever is in it: spare pages of the slab, a table that has
/// not been split.
const CONSTANT: usize = 64 << 10;

/// Histories that leave more, requests that take more, and why that is so today. The list may only get shorter.
const KNOWN: &[(&str, &str)] = &[
    (
        "SINTERCARD 2 set-0 set-1",
        "all that is common is collected, then counted",
    ),
    (
        "ZINTERCARD 2 zset-0 zset-1",
        "the result is built, then counted",
    ),
    ("sorted set", "pages with few members left are kept"),
];

thread_local! {
    /// Bytes this thread has, and the most it had.
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// The system's allocator, with a count.
struct Counting;

fn held(more: isize) {
    let held = HELD.get() + more;
    HELD.set(held);
    PEAK.set(PEAK.get().max(held));
}

// SAFETY: everything is done by the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        held(layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        held(-(layout.size() as isize));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        held(size as isize - layout.size() as isize);
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn shard() -> Shard {
    Shard::new(1, 0..16_384, 7, Settings::default())
}

fn send<'w>(shard: &mut Shard, words: impl IntoIterator<Item = &'w [u8]>, out: &mut Vec<u8>) {
    let args = OwnedArgs::new(words);
    let args = args.args();
    let handler = row(&args[0]).unwrap().run.whole();
    let _ = shard.apply(NOW, &Request::new(handler, args), out);
}

fn ask(shard: &mut Shard, line: &str) -> Vec<u8> {
    let mut out = Vec::new();
    send(shard, line.split(' ').map(str::as_bytes), &mut out);
    assert!(
        !out.starts_with(b"-"),
        "{line}: {}",
        String::from_utf8_lossy(&out)
    );
    out
}

/// Elements of a reply that is an array of bulk strings.
fn elements(reply: &[u8]) -> Vec<Vec<u8>> {
    let mut rest = reply;
    let mut line = || {
        let end = rest.iter().position(|byte| *byte == b'\r').unwrap();
        let line = &rest[..end];
        rest = &rest[end + 2..];
        line.to_vec()
    };
    let number = |line: &[u8]| {
        std::str::from_utf8(&line[1..])
            .unwrap()
            .parse::<usize>()
            .unwrap()
    };
    let count = number(&line());
    (0..count)
        .map(|_| {
            line();
            line()
        })
        .collect()
}

/// The same contents, built by one write of each element.
fn afresh(shard: &mut Shard) -> Shard {
    let mut fresh = self::shard();
    for key in elements(&ask(shard, "KEYS *")) {
        let key = String::from_utf8(key).unwrap();
        let (read, write, width) = match key.split('-').next().unwrap() {
            "list" => (format!("LRANGE {key} 0 -1"), "RPUSH", 1),
            "set" => (format!("SMEMBERS {key}"), "SADD", 1),
            "hash" => (format!("HGETALL {key}"), "HSET", 2),
            "zset" => (format!("ZRANGE {key} 0 -1 WITHSCORES"), "ZADD", 2),
            _ => {
                let value = String::from_utf8(ask(shard, &format!("GET {key}"))).unwrap();
                let value = value.split("\r\n").nth(1).unwrap();
                ask(&mut fresh, &format!("SET {key} {value}"));
                continue;
            }
        };
        for element in elements(&ask(shard, &read)).chunks(width) {
            let mut words = vec![write.as_bytes(), key.as_bytes()];
            words.extend(element.iter().map(Vec::as_slice));
            if write == "ZADD" {
                words.swap(2, 3);
            }
            send(&mut fresh, words, &mut Vec::new());
        }
    }
    fresh
}

/// Bytes that dropping a shard gives back.
fn weight(mut shard: Shard) -> usize {
    while shard.free_some(10_000) {}
    let before = HELD.get();
    drop(shard);
    usize::try_from(before - HELD.get()).unwrap()
}

/// What a history holds, and what its contents need.
fn compare(what: &str, history: impl FnOnce(&mut Shard)) {
    let mut shard = shard();
    history(&mut shard);
    while shard.free_some(10_000) {}
    let mut fresh = afresh(&mut shard);
    let keys = elements(&ask(&mut shard, "KEYS *"));
    let digest = |shard: &mut Shard| {
        let words =
            OwnedArgs::new(std::iter::once(&b"digest"[..]).chain(keys.iter().map(Vec::as_slice)));
        let mut out = Vec::new();
        let request = Request::new(DIGEST_VALUE.run.whole(), words.args());
        shard.apply(NOW, &request, &mut out).unwrap();
        out
    };
    assert_eq!(digest(&mut shard), digest(&mut fresh), "{what}");
    drop(keys);
    // Slots and tables come with the first keys, whatever those hold.
    let mut first = self::shard();
    for line in [
        "SET string-0 x",
        "RPUSH list-0 x",
        "SADD set-0 x",
        "HSET hash-0 f x",
        "ZADD zset-0 1 x",
    ] {
        ask(&mut first, line);
    }
    let empty = weight(first);
    let (held, needed) = (
        weight(shard).saturating_sub(empty),
        weight(fresh).saturating_sub(empty),
    );
    println!("{what}: holds {held} bytes, afresh {needed}, without any {empty}");
    let known = KNOWN.iter().find(|known| known.0 == what);
    if held > 2 * needed + CONSTANT {
        let (_, why) = known.unwrap_or_else(|| panic!("{what} holds {held}, afresh {needed}"));
        println!("known: {why}");
    } else if known.is_some() {
        println!("mended, take it out of KNOWN: {what}");
    }
}

/// A number below `end`, from a seed.
fn draw(state: &mut u64, end: u64) -> u64 {
    *state = state
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % end
}

fn long(len: u64) -> String {
    "x".repeat(usize::try_from(len).unwrap())
}

/// Grows, shrinks and changes collections by turns.
fn random_history(shard: &mut Shard, seed: u64) {
    let mut state = seed;
    for phase in 0..6 {
        // Phases in which most is added, and such in which most goes.
        let adds = if phase % 2 == 0 { 9 } else { 2 };
        for _ in 0..8_000 {
            let (key, element) = (draw(&mut state, 3), draw(&mut state, 3_000));
            let size = match draw(&mut state, 20) {
                0 => draw(&mut state, 2_000),
                _ => draw(&mut state, 20),
            };
            let text = long(size + 1);
            let add = draw(&mut state, 10) < adds;
            let line = match (draw(&mut state, 5), add) {
                (0, true) => format!("SET string-{element} {text}"),
                (0, false) => format!("DEL string-{element}"),
                (1, true) => format!("RPUSH list-{key} {text}"),
                (1, false) => format!("LPOP list-{key} 2"),
                (2, true) => format!("SADD set-{key} m{element}"),
                (2, false) => format!("SREM set-{key} m{element}"),
                (3, true) => format!("HSET hash-{key} f{element} {text}"),
                (3, false) => format!("HDEL hash-{key} f{element}"),
                (_, true) => format!("ZADD zset-{key} {size} m{element}"),
                (_, false) => format!("ZREM zset-{key} m{element}"),
            };
            ask(shard, &line);
        }
    }
}

#[test]
fn a_random_history_holds_no_more_than_twice_what_is_there() {
    for seed in 1..=3 {
        compare(&format!("history {seed}"), |shard| {
            random_history(shard, seed)
        });
    }
}

fn many(shard: &mut Shard, count: usize, line: impl Fn(usize) -> String) {
    (0..count).for_each(|number| drop(ask(shard, &line(number))));
}

#[test]
fn a_list_whose_elements_were_long_is_as_small_as_a_new_one() {
    compare("list", |shard| {
        many(shard, 2_000, |_| "RPUSH list-0 x".to_owned());
        let text = long(4_000);
        many(shard, 2_000, |at| format!("LSET list-0 {at} {text}"));
        many(shard, 2_000, |at| format!("LSET list-0 {at} x"));
    });
}

#[test]
fn a_sorted_set_that_lost_most_members_is_as_small_as_a_new_one() {
    for keep in [1_400, 137] {
        compare("sorted set", |shard| {
            many(shard, 50_000, |at| format!("ZADD zset-0 {at} member:{at}"));
            let gone = (0..50_000).filter(|at| at * 7919 % 50_000 >= keep);
            for at in gone {
                ask(shard, &format!("ZREM zset-0 member:{at}"));
            }
        });
    }
}

#[test]
fn hashes_and_sets_that_lost_most_elements_are_as_small_as_new_ones() {
    compare("hash and set", |shard| {
        many(shard, 30_000, |at| format!("HSET hash-0 f{at} {at}"));
        many(shard, 30_000, |at| format!("SADD set-0 m{at}"));
        many(shard, 29_500, |at| format!("HDEL hash-0 f{at}"));
        many(shard, 29_500, |at| format!("SREM set-0 m{at}"));
        many(shard, 500, |at| {
            format!("HSET hash-0 f{} {}", at + 29_500, long(1_000))
        });
        many(shard, 500, |at| format!("HSET hash-0 f{} 1", at + 29_500));
    });
}

#[test]
fn keys_that_are_gone_leave_nothing() {
    compare("keys", |shard| {
        many(shard, 100_000, |at| format!("SET string-{at} {}", long(40)));
        many(shard, 99_000, |at| format!("DEL string-{at}"));
    });
}

/// The peak beside what a shard holds while it answers, and the reply's length.
fn peak(shard: &mut Shard, line: &str) -> (usize, usize) {
    let args = OwnedArgs::new(line.split(' ').map(str::as_bytes));
    let args = args.args();
    let handler = row(&args[0]).unwrap().run.whole();
    let mut out = Vec::new();
    let before = HELD.get();
    PEAK.set(before);
    let _ = shard.apply(NOW, &Request::new(handler, args), &mut out);
    (usize::try_from(PEAK.get() - before).unwrap(), out.len())
}

#[test]
fn a_request_needs_no_more_than_its_reply_and_a_constant() {
    let mut shard = shard();
    many(&mut shard, 20_000, |at| format!("SADD set-0 m{at}"));
    many(&mut shard, 20_000, |at| format!("SADD set-1 m{at}"));
    many(&mut shard, 20_000, |at| {
        format!("HSET hash-0 f{at} {}", long(100))
    });
    many(&mut shard, 20_000, |at| format!("ZADD zset-0 {at} m{at}"));
    many(&mut shard, 20_000, |at| format!("ZADD zset-1 {at} m{at}"));
    many(&mut shard, 20_000, |at| format!("RPUSH list-0 {at}"));
    ask(&mut shard, &format!("SET string-0 {}", long(1 << 20)));
    for line in [
        "GET string-0",
        "MGET string-0 string-0 string-0 string-0",
        "GETRANGE string-0 0 1000",
        "SMEMBERS set-0",
        "SRANDMEMBER set-0 100",
        "SRANDMEMBER set-0 -10000",
        "SISMEMBER set-0 m1",
        "SINTER set-0 set-1",
        "SINTERCARD 2 set-0 set-1",
        "HGETALL hash-0",
        "HRANDFIELD hash-0 -5000 WITHVALUES",
        "ZRANGE zset-0 0 -1",
        "ZRANGE zset-0 0 5",
        "ZINTERCARD 2 zset-0 zset-1",
        "ZREVRANGEBYSCORE zset-0 +inf -inf LIMIT 5 5",
        "ZRANDMEMBER zset-0 -5000",
        "LRANGE list-0 0 -1",
        "LPOS list-0 19999",
    ] {
        let (peak, reply) = peak(&mut shard, line);
        // The buffer of the reply doubles, and beside it may stand what was found: an
        // address and a length for each element, as long as a short one.
        let known = KNOWN.iter().find(|known| known.0 == line);
        if peak > 4 * reply + CONSTANT {
            let (_, why) = known.unwrap_or_else(|| panic!("{line}: {peak} for {reply}"));
            println!("known: {line}: {peak} bytes for a reply of {reply}: {why}");
        } else if known.is_some() {
            println!("mended, take it out of KNOWN: {line}");
        }
    }
}
