//! What is held, counted by the allocator: after a random history at most twice
//! what the same contents built afresh hold, and beside a request never more than
//! its reply and a constant.

#![allow(clippy::unwrap_used)] // a test may
#![allow(unsafe_code)] // an allocator

#[path = "memory/streams.rs"]
mod streams;

use shards::command::{Handler, OwnedArgs, digest::DIGEST_VALUE};
use shards::{Args, Request, Row, Settings, Shard, UnixMs, row};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

const NOW: UnixMs = UnixMs(1_700_000_000_000);
/// What a shard may hold whatever is in it: five pages of the slab, a piece of a table.
const CONSTANT: usize = 88 << 10;
/// What a request may need whatever it is about.
const SCRATCH: usize = 32 << 10;

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

/// A shard whose collections stay in their small encodings.
fn flat() -> Shard {
    let mut settings = Settings::default();
    let encodings = &mut settings.encodings;
    encodings.hash_max_listpack_entries = 5_000;
    encodings.set_max_intset_entries = 5_000;
    encodings.set_max_listpack_entries = 5_000;
    encodings.zset_max_listpack_entries = 5_000;
    Shard::new(1, 0..16_384, 7, settings)
}

fn send<'w>(shard: &mut Shard, words: impl IntoIterator<Item = &'w [u8]>, out: &mut Vec<u8>) {
    let args = OwnedArgs::new(words);
    let args = args.args();
    let _ = shard.apply(NOW, &Request::new(handler_of(args), args), out);
}

/// What runs a request, or the subcommand that it names.
fn handler_of(args: Args<'_>) -> Handler {
    let command = row(&args[0]).unwrap();
    let full = |sub: &Row| sub.name.split('|').nth(1).map(str::to_uppercase);
    let named = args.get(1).unwrap_or_default();
    let is = |sub: &&Row| full(sub).is_some_and(|name| name.as_bytes() == named);
    let sub = command.subcommands.iter().find(is);
    sub.unwrap_or(command).run.whole()
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
fn afresh(shard: &mut Shard, mut fresh: Shard) -> Shard {
    for key in elements(&ask(shard, "KEYS *")) {
        let key = String::from_utf8(key).unwrap();
        let (read, write, width) = match key.split('-').next().unwrap() {
            "list" => (format!("LRANGE {key} 0 -1"), "RPUSH", 1),
            "set" => (format!("SMEMBERS {key}"), "SADD", 1),
            "hash" => (format!("HGETALL {key}"), "HSET", 2),
            "zset" => (format!("ZRANGE {key} 0 -1 WITHSCORES"), "ZADD", 2),
            "stream" => {
                streams::afresh(shard, &mut fresh, &key);
                continue;
            }
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
    compare_with(shard, what, history);
}

fn compare_with(made: fn() -> Shard, what: &str, history: impl FnOnce(&mut Shard)) {
    let mut shard = made();
    history(&mut shard);
    while shard.free_some(10_000) {}
    let mut fresh = afresh(&mut shard, made());
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
    let mut first = made();
    for line in [
        "SET string-0 x",
        "RPUSH list-0 x",
        "SADD set-0 x",
        "HSET hash-0 f x",
        "ZADD zset-0 1 x",
        "XADD stream-0 1 f x",
    ] {
        ask(&mut first, line);
    }
    let empty = weight(first);
    let (held, needed) = (
        weight(shard).saturating_sub(empty),
        weight(fresh).saturating_sub(empty),
    );
    println!("{what}: holds {held} bytes, afresh {needed}, without any {empty}");
    assert!(
        held <= 2 * needed + CONSTANT,
        "{what} holds {held}, afresh {needed}"
    );
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

#[test]
fn a_list_whose_elements_were_long_is_as_small_as_a_new_one() {
    compare("list", |shard| {
        many(shard, 2_000, |_| "RPUSH list-0 x".to_owned());
        let text = long(4_000);
        many(shard, 2_000, |at| format!("LSET list-0 {at} {text}"));
        many(shard, 2_000, |at| format!("LSET list-0 {at} x"));
    });
}

/// Takes elements away, of which there are so many.
type Shrink = fn(&mut Shard, usize);

/// What adds element `at`, and how elements go until one in `1 / part` is left.
struct Kind {
    add: fn(usize) -> String,
    shrink: &'static [(&'static str, Shrink)],
}

/// Numbers below `count` in a random order, all but one in a thousand.
fn scattered(count: usize) -> impl Iterator<Item = usize> {
    (0..count - count / 1000).map(move |at| at * 7919 % count)
}

fn remove(shard: &mut Shard, ats: impl Iterator<Item = usize>, line: impl Fn(usize) -> String) {
    ats.for_each(|at| drop(ask(shard, &line(at))));
}

/// Repeats a request until so many elements are left, of which there are `count`.
fn until(shard: &mut Shard, count: usize, step: usize, line: &str) {
    (0..(count - count / 1000) / step).for_each(|_| drop(ask(shard, line)));
}

/// All is due whose time came before.
fn pass_time(shard: &mut Shard) {
    while shard.expire_due(UnixMs(NOW.0 + 1_000), 10_000).more {}
}

const ZSETS: Kind = Kind {
    add: |at| format!("ZADD zset-0 {} member:{at}", at * 7919 % 100_000),
    shrink: &[
        ("ZREM in any order", |shard, count| {
            remove(shard, scattered(count), |at| {
                format!("ZREM zset-0 member:{at}")
            });
        }),
        ("ZREM in order", |shard, count| {
            remove(shard, 0..count - count / 1000, |at| {
                format!("ZREM zset-0 member:{at}")
            });
        }),
        ("ZPOPMIN", |shard, count| {
            until(shard, count, 1, "ZPOPMIN zset-0")
        }),
        ("ZPOPMAX", |shard, count| {
            until(shard, count, 7, "ZPOPMAX zset-0 7")
        }),
        ("ZMPOP", |shard, count| {
            until(shard, count, 3, "ZMPOP 1 zset-0 MIN COUNT 3")
        }),
        ("ZREMRANGEBYRANK", |shard, count| {
            until(shard, count, 3, "ZREMRANGEBYRANK zset-0 5 7");
        }),
        ("ZREMRANGEBYRANK of all", |shard, count| {
            ask(
                shard,
                &format!("ZREMRANGEBYRANK zset-0 {} -1", count / 1000),
            );
        }),
        ("ZREMRANGEBYRANK of parts", |shard, count| {
            for _ in 0..10 {
                ask(shard, &format!("ZREMRANGEBYRANK zset-0 0 {}", count / 11));
            }
        }),
        ("ZREMRANGEBYSCORE", |shard, _| {
            remove(shard, (0..100_000).step_by(10), |at| {
                format!(
                    "ZREMRANGEBYSCORE zset-0 {at} ({}",
                    at + 10 - usize::from(at % 1000 == 0)
                )
            });
        }),
    ],
};

/// Members of very different lengths.
const MIXED: Kind = Kind {
    add: |at| {
        let length = if at % 50 == 0 { 1_500 } else { at * 31 % 200 };
        format!("ZADD zset-0 {} {at}{}", at % 1000, "x".repeat(length))
    },
    shrink: &[
        ("ZREM of long and short", |shard, count| {
            remove(shard, scattered(count), |at| {
                (MIXED.add)(at).replacen("ZADD zset-0", "ZREM zset-0", 1)
            });
        }),
        ("ZPOPMIN of long and short", |shard, count| {
            until(shard, count, 1, "ZPOPMIN zset-0")
        }),
    ],
};

const HASHES: Kind = Kind {
    add: |at| format!("HSET hash-0 f{at} {}", at * 7919),
    shrink: &[
        ("HDEL in any order", |shard, count| {
            remove(shard, scattered(count), |at| format!("HDEL hash-0 f{at}"));
        }),
        ("HDEL in order", |shard, count| {
            remove(shard, 0..count - count / 1000, |at| {
                format!("HDEL hash-0 f{at}")
            });
        }),
        ("fields expire", |shard, count| {
            remove(shard, scattered(count), |at| {
                format!("HPEXPIRE hash-0 {} FIELDS 1 f{at}", 1 + at % 999)
            });
            pass_time(shard);
        }),
        ("HGETEX and fields expire", |shard, count| {
            remove(shard, scattered(count), |at| {
                format!("HGETEX hash-0 PX {} FIELDS 1 f{at}", 1 + at % 999)
            });
            pass_time(shard);
        }),
        ("HPEXPIRE at once", |shard, count| {
            remove(shard, scattered(count), |at| {
                format!("HPEXPIREAT hash-0 1 FIELDS 1 f{at}")
            });
        }),
        ("HSET of long values and short ones", |shard, count| {
            let text = long(900);
            remove(shard, 0..count, |at| format!("HSET hash-0 f{at} {text}"));
            remove(shard, 0..count, |at| format!("HSET hash-0 f{at} 1"));
        }),
        ("HSET of very long values and short ones", |shard, count| {
            let text = long(1_500);
            remove(shard, 0..count, |at| format!("HSET hash-0 f{at} {text}"));
            remove(shard, 0..count, |at| format!("HSET hash-0 f{at} 1"));
        }),
        ("HDEL of very long values", |shard, count| {
            let text = long(1_500);
            remove(shard, 0..count, |at| format!("HSET hash-0 f{at} {text}"));
            remove(shard, scattered(count), |at| format!("HDEL hash-0 f{at}"));
        }),
    ],
};

const SETS: Kind = Kind {
    add: |at| format!("SADD set-0 member:{at}"),
    shrink: &[
        ("SREM in any order", |shard, count| {
            remove(shard, scattered(count), |at| {
                format!("SREM set-0 member:{at}")
            });
        }),
        ("SREM in order", |shard, count| {
            remove(shard, 0..count - count / 1000, |at| {
                format!("SREM set-0 member:{at}")
            });
        }),
        ("SPOP", |shard, count| until(shard, count, 1, "SPOP set-0")),
        ("SPOP of several", |shard, count| {
            until(shard, count, 9, "SPOP set-0 9")
        }),
        ("SPOP of nearly all", |shard, count| {
            ask(shard, &format!("SPOP set-0 {}", count - count / 1000));
        }),
        ("SMOVE and DEL", |shard, count| {
            remove(shard, scattered(count), |at| {
                format!("SMOVE set-0 set-1 member:{at}")
            });
            ask(shard, "DEL set-1");
        }),
    ],
};

const NUMBERS: Kind = Kind {
    add: |at| format!("SADD set-0 {}", at * 7919),
    shrink: &[("SREM of numbers", |shard, count| {
        remove(shard, scattered(count), |at| {
            format!("SREM set-0 {}", at * 7919)
        });
    })],
};

const LISTS: Kind = Kind {
    add: |at| format!("RPUSH list-0 element:{at}"),
    shrink: &[
        ("LPOP", |shard, count| until(shard, count, 1, "LPOP list-0")),
        ("RPOP", |shard, count| {
            until(shard, count, 7, "RPOP list-0 7")
        }),
        ("LTRIM", |shard, count| {
            let middle = count / 2;
            ask(
                shard,
                &format!("LTRIM list-0 {middle} {}", middle + count / 1000),
            );
        }),
        ("LREM", |shard, count| {
            remove(shard, scattered(count.min(5_000)), |at| {
                format!("LREM list-0 1 element:{at}")
            });
            ask(shard, "LTRIM list-0 0 20");
        }),
        ("LREM and LTRIM by turns", |shard, count| {
            for at in (0..count - count / 1000).step_by(2) {
                ask(shard, &format!("LREM list-0 1 element:{}", at + 1));
                ask(shard, "LTRIM list-0 0 -2");
            }
        }),
        ("RPOPLPUSH and DEL", |shard, count| {
            until(shard, count, 1, "RPOPLPUSH list-0 list-1");
            ask(shard, "DEL list-1");
        }),
    ],
};

const KEYS: Kind = Kind {
    add: |at| format!("SET string-{at} {}", long(40)),
    shrink: &[
        ("DEL in order", |shard, count| {
            remove(shard, 0..count - count / 1000, |at| {
                format!("DEL string-{at}")
            });
        }),
        ("DEL in any order", |shard, count| {
            remove(shard, scattered(count), |at| format!("DEL string-{at}"));
        }),
        ("UNLINK of many", |shard, count| {
            let all: Vec<usize> = scattered(count).collect();
            remove(shard, 0..all.len().div_ceil(50), |part| {
                let some = &all[part * 50..all.len().min(part * 50 + 50)];
                let keys: Vec<String> = some.iter().map(|at| format!("string-{at}")).collect();
                format!("UNLINK {}", keys.join(" "))
            });
        }),
        ("GETDEL", |shard, count| {
            remove(shard, scattered(count), |at| format!("GETDEL string-{at}"));
        }),
        ("keys expire", |shard, count| {
            remove(shard, scattered(count), |at| {
                format!("PEXPIRE string-{at} {}", 1 + at % 999)
            });
            pass_time(shard);
        }),
        ("other lengths", |shard, count| {
            remove(shard, scattered(count), |at| {
                format!("SET string-{at} {}", long(300))
            });
            remove(shard, scattered(count), |at| format!("SET string-{at} 1"));
        }),
        ("FLUSHALL", |shard, _| {
            ask(shard, "FLUSHALL");
        }),
    ],
};

/// Keys of one slot.
const SWOLLEN: Kind = Kind {
    add: |at| format!("SET string-{{a}}{at} {at}"),
    shrink: &[("DEL of keys of one slot", |shard, count| {
        remove(shard, scattered(count), |at| {
            format!("DEL string-{{a}}{at}")
        });
    })],
};

const SMALL_ONES: Kind = Kind {
    add: |at| match at % 5 {
        0 => format!("SADD set-{} m{at}", at / 500),
        1 => format!("HSET hash-{} f{at} {at}", at / 500),
        2 => format!("ZADD zset-{} {at} m{at}", at / 500),
        3 => format!("RPUSH list-{} m{at}", at / 500),
        _ => format!("APPEND string-{} {}", at / 500, long(7)),
    },
    shrink: &[("DEL of collections", |shard, count| {
        remove(shard, scattered(count / 500), |at| {
            format!("DEL set-{at} hash-{at} zset-{at} list-{at} string-{at}")
        });
    })],
};

fn shrink(made: fn() -> Shard, kind: &Kind, count: usize) {
    for (how, shrink) in kind.shrink {
        compare_with(made, how, |shard| {
            many(shard, count, kind.add);
            shrink(shard, count);
        });
    }
}

#[test]
fn a_sorted_set_that_lost_most_members_is_as_small_as_a_new_one() {
    shrink(shard, &ZSETS, 100_000);
    shrink(shard, &MIXED, 20_000);
    shrink(flat, &ZSETS, 2_000);
}

#[test]
fn hashes_and_sets_that_lost_most_elements_are_as_small_as_new_ones() {
    shrink(shard, &HASHES, 50_000);
    shrink(shard, &SETS, 100_000);
    shrink(shard, &NUMBERS, 50_000);
    shrink(flat, &HASHES, 2_000);
    shrink(flat, &SETS, 2_000);
    shrink(flat, &NUMBERS, 4_000);
}

#[test]
fn a_list_that_lost_most_elements_is_as_small_as_a_new_one() {
    shrink(shard, &LISTS, 100_000);
}

#[test]
fn keys_that_are_gone_leave_nothing() {
    shrink(shard, &KEYS, 200_000);
    shrink(shard, &SWOLLEN, 100_000);
    shrink(shard, &SMALL_ONES, 200_000);
}

#[test]
fn strings_are_as_large_as_what_is_in_them() {
    compare("strings", |shard| {
        let text = long(100_000);
        for line in [
            &format!("SET string-0 {text}"),
            "SET string-0 short",
            "SETRANGE string-1 300000 x",
            "SET string-1 short",
            &format!("APPEND string-2 {text}"),
            &format!("APPEND string-2 {text}"),
            "GETSET string-2 short",
            "SETBIT string-3 800000 1",
            "SET string-3 1",
            "INCR string-3",
        ] {
            ask(shard, line);
        }
        many(shard, 3_000, |at| {
            format!("APPEND string-4 {}", long(at as u64 % 300))
        });
    });
}

fn many(shard: &mut Shard, count: usize, line: impl Fn(usize) -> String) {
    (0..count).for_each(|number| drop(ask(shard, &line(number))));
}

/// The peak beside what a shard holds while it answers, and the reply's length.
fn peak(shard: &mut Shard, line: &str) -> (usize, usize) {
    let args = OwnedArgs::new(line.split(' ').map(str::as_bytes));
    let args = args.args();
    let handler = handler_of(args);
    let mut out = Vec::new();
    let before = HELD.get();
    PEAK.set(before);
    let _ = shard.apply(NOW, &Request::new(handler, args), &mut out);
    (usize::try_from(PEAK.get() - before).unwrap(), out.len())
}

/// Large enough that what a request needs of their members or values is seen.
fn filled() -> Shard {
    let mut shard = shard();
    many(&mut shard, 20_000, |at| format!("SADD set-0 m{at}"));
    many(&mut shard, 20_000, |at| format!("SADD set-1 m{at}"));
    many(&mut shard, 20_000, |at| {
        format!("HSET hash-0 f{at} {}", long(100))
    });
    many(&mut shard, 20_000, |at| format!("ZADD zset-0 {at} m{at}"));
    many(&mut shard, 20_000, |at| format!("ZADD zset-1 {at} m{at}"));
    many(&mut shard, 20_000, |at| format!("RPUSH list-0 {at}"));
    many(&mut shard, 20_000, |at| {
        format!("XADD stream-0 {} f {at}", at + 1)
    });
    let text = long(1 << 20);
    ask(&mut shard, &format!("SET string-0 {text}"));
    ask(&mut shard, &format!("HSET hash-1 f {text} g {text} h 1"));
    for set in ["set-2", "set-3"] {
        many(&mut shard, 20, |at| format!("SADD {set} {at}{text}"));
    }
    shard
}

#[test]
fn a_read_needs_no_more_than_its_reply_and_a_constant() {
    let mut shard = filled();
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
        "HGET hash-1 f",
        "HRANDFIELD hash-0 -5000 WITHVALUES",
        "ZRANGE zset-0 0 -1",
        "ZRANGE zset-0 0 5",
        "ZINTERCARD 2 zset-0 zset-1",
        "ZREVRANGEBYSCORE zset-0 +inf -inf LIMIT 5 5",
        "ZRANDMEMBER zset-0 -5000",
        "LRANGE list-0 0 -1",
        "LPOS list-0 19999",
        "XRANGE stream-0 - +",
        "XREVRANGE stream-0 9000 20",
        "XRANGE stream-0 70 + COUNT 10",
        "LCS string-1 string-2",
        "BITCOUNT string-0",
        "STRLEN string-0",
        "OBJECT ENCODING hash-1",
        "SCAN 0 COUNT 10",
        "HSCAN hash-0 0 COUNT 10",
    ] {
        let (peak, reply) = peak(&mut shard, line);
        // The buffer of the reply doubles. What several sets have in common stands
        // beside it, and for each member where it ends, as long as a short one.
        let factor = if line.starts_with("SINTER ") { 3 } else { 2 };
        println!("{line}: {peak} for {reply}");
        assert!(
            peak <= factor * reply + SCRATCH,
            "{line}: {peak} for {reply}"
        );
    }
    // One member of each is enough to be looked for in the other.
    let (peak, _) = peak(&mut shard, "SINTERCARD 2 set-2 set-3");
    assert!(peak <= (3 << 20) + SCRATCH, "{peak}");
}

#[test]
fn a_write_needs_no_more_than_what_is_written_and_a_constant() {
    let mut shard = filled();
    let text = long(1 << 20);
    for (line, copies) in [
        ("HPEXPIRE hash-1 100000 FIELDS 2 f g".to_owned(), 0),
        ("HPEXPIRE hash-1 200000 FIELDS 2 f g".to_owned(), 0),
        ("HPERSIST hash-1 FIELDS 2 f g".to_owned(), 0),
        ("PEXPIRE hash-1 100000".to_owned(), 0),
        ("PEXPIRE string-0 100000".to_owned(), 0),
        ("PERSIST string-0".to_owned(), 0),
        ("SETRANGE string-0 9 x".to_owned(), 0),
        ("SETBIT string-0 9 1".to_owned(), 0),
        ("RENAME string-0 string-1".to_owned(), 0),
        ("RENAME string-1 string-0".to_owned(), 0),
        ("LPUSH list-1 x".to_owned(), 0),
        ("LMOVE list-0 list-1 LEFT RIGHT".to_owned(), 0),
        ("LTRIM list-0 100 -100".to_owned(), 0),
        ("ZREMRANGEBYRANK zset-0 100 400".to_owned(), 0),
        ("SREM set-0 m1 m2 m3".to_owned(), 0),
        ("HDEL hash-1 f".to_owned(), 0),
        ("XADD stream-0 * f v".to_owned(), 0),
        ("XTRIM stream-0 MAXLEN 10000".to_owned(), 0),
        ("XTRIM stream-0 MAXLEN 5000 ACKED".to_owned(), 0),
        ("XDEL stream-0 19000 19001 19050".to_owned(), 0),
        (format!("XADD stream-1 * f {text}"), 1),
        ("INCR string-3".to_owned(), 0),
        (format!("SET string-0 {text}"), 1),
        (format!("HSET hash-1 g {text}"), 1),
        (format!("SADD set-2 {text}"), 1),
        (format!("ZADD zset-0 1 {text}"), 1),
        (format!("RPUSH list-0 {text}"), 1),
        ("COPY string-0 string-4".to_owned(), 1),
    ] {
        let (peak, reply) = peak(&mut shard, &line);
        let head = &line[..line.len().min(40)];
        println!("{head}: {peak} for {reply}");
        let most = copies * (text.len() + text.len() / 8) + reply + SCRATCH;
        assert!(peak <= most, "{head}: {peak} of {most}");
    }
}
