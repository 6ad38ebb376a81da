//! Writes that run out of memory, at every allocation they make.
//!
//! The n-th allocation of a request fails, for every n. If the request fails then,
//! either nothing has changed, or what has is counted and propagated: a second
//! shard that is fed with the effects is as the first one. Doing it again does the
//! rest.
//!
//! A small thing of bounded size that cannot be had ends the process, as in all of
//! the engine (`Box::new`); so each n has a process of its own. What elements make a
//! value grow by is no such thing.

#![allow(clippy::unwrap_used)] // a test may
#![allow(unsafe_code)] // an allocator

use shards::command::digest::DIGEST_VALUE;
use shards::command::{Cargo, OwnedArgs};
use shards::order::{Call, Client, Node, Placement};
use shards::resp::{Limits, Partial, Status, parse};
use shards::{Args, DbIndex, Request, Row, Settings, Shard, ShardId, Slices, UnixMs, row, slot_of};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::process::{Command, Output};

const NOW: UnixMs = UnixMs(1_700_000_000_000);
/// Tells the process of one n what it is to do: number of the scenario, and n.
const TASK: &str = "CORDIS_FAILING_ALLOCATION";
/// More bytes than these are never asked for in vain without an error for the client.
const SMALL_THING: usize = 512;

/// A box for a few things takes so many bytes.
const FEW_ITEMS: usize = 2048;

thread_local! {
    /// So many allocations succeed, then one fails.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The system's allocator, but for one failure.
struct Failing;

impl Failing {
    fn fails() -> bool {
        LEFT.with(|left| {
            let now = left.get();
            left.set(now.and_then(|count| count.checked_sub(1)));
            now == Some(0)
        })
    }
}

// SAFETY: everything is done by the system's allocator; null is a failure.
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if Self::fails() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // What becomes smaller stays where it is.
        if size > layout.size() && Self::fails() {
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// A request, and what there was before.
#[derive(Clone)]
struct Scenario {
    before: Vec<Vec<String>>,
    request: Vec<String>,
    /// Doing it again does the rest.
    again: bool,
    /// Nothing that is made needs a small thing that might be lacking.
    large: bool,
}

impl Scenario {
    /// Elements are added to what is large already.
    fn large(self) -> Self {
        Self {
            large: true,
            ..self
        }
    }

    fn what(&self) -> String {
        let words = self.request.iter().take(3);
        let words: String = words.flat_map(|word| [word.as_str(), " "]).collect();
        words.chars().take(60).collect()
    }
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_owned).collect()
}

/// A line, and behind it what `word` says for each number.
fn many(line: &str, numbers: std::ops::Range<usize>, word: fn(usize) -> String) -> Vec<String> {
    let more = numbers.flat_map(|number| words(&word(number)));
    words(line).into_iter().chain(more).collect()
}

/// Long ones lie in memory of their own.
fn text(number: usize) -> String {
    format!("{number}{}", "x".repeat(number % 3 * 700))
}

fn pair(number: usize) -> String {
    format!("f{number} {}", text(number))
}

/// Another value.
fn other(number: usize) -> String {
    format!("f{number} {}", text(number + 1))
}

fn scored(number: usize) -> String {
    format!("{number} {}", text(number))
}

fn place(number: usize) -> String {
    format!("{} 10 {}", number % 80, text(number))
}

fn fields(line: &str) -> Vec<String> {
    many(line, 0..6, |number| format!("f{number}"))
}

/// A request that does the rest when it is sent again.
fn with(before: &[&Vec<String>], request: Vec<String>) -> Scenario {
    Scenario {
        before: before.iter().map(|words| words.to_vec()).collect(),
        request,
        again: true,
        large: false,
    }
}

fn once(before: &[&Vec<String>], request: &str) -> Scenario {
    Scenario {
        again: false,
        ..with(before, words(request))
    }
}

fn on_sets() -> Vec<Scenario> {
    let large = many("SADD a", 0..700, text);
    let numbers = many("SADD a", 0..512, |it| it.to_string());
    let flat = many("SADD a", 0..100, |it| format!("{it}{}", "x".repeat(50)));
    let short = many("SADD a", 0..90, |it| format!("m{it}"));
    let (few, other) = (words("SADD a 1 x"), words("SADD b 2"));
    vec![
        with(&[&large], many("SADD a", 695..720, text)),
        with(&[&numbers], words("SADD a 600 601")),
        with(&[&flat], many("SADD a", 0..40, |it| (it * 7).to_string())),
        with(&[], many("SADD a", 0..20, text)),
        with(&[&few, &other], words("SADD a 3 y 4")),
        once(&[&few, &other], "SMOVE a b x"),
        once(&[&short], "SPOP a 80"),
    ]
}

fn on_hashes() -> Vec<Scenario> {
    let large = many("HSET a", 0..600, pair);
    let flat = many("HSET a", 0..100, |it| format!("f{it} {}", "x".repeat(50)));
    let dated = fields("HPEXPIREAT a 1700000009000 FIELDS 6");
    vec![
        with(&[&large], many("HSET a", 590..620, other)),
        with(&[&large], many("HMSET a", 0..10, |it| pair(it + 600))),
        with(&[&flat], many("HSET a", 90..140, pair)),
        with(&[], many("HSET a", 0..20, pair)),
        with(
            &[&large],
            many("HSETEX a PXAT 1700000009000 FIELDS 8", 596..604, pair),
        ),
        with(&[&large], many("HSETEX a FNX FIELDS 8", 600..608, pair)),
        with(&[&large], dated.clone()),
        with(&[&flat, &dated], fields("HPERSIST a FIELDS 6")),
        once(&[&flat, &dated], "DUMP a"),
        once(&[&large, &dated], "DUMP a"),
        with(
            &[&large, &dated],
            fields("HGETEX a PXAT 1700000008000 FIELDS 6"),
        ),
    ]
}

fn on_zsets() -> Vec<Scenario> {
    let large = many("ZADD a", 0..600, scored);
    let flat = many("ZADD a", 0..100, |it| {
        format!("{it} {it}{}", "x".repeat(50))
    });
    let updates = many("ZADD a CH", 590..620, |it| format!("{it} {}", text(it + 1)));
    vec![
        // Leaves, inner nodes and lines of the index are split on the way.
        with(&[&large], updates).large(),
        with(
            &[&large],
            many("ZADD a", 600..900, |it| format!("{it} m{it}")),
        )
        .large(),
        with(
            &[&large],
            many("ZADD a", 0..300, |it| format!("{} n{it}", it % 7)),
        )
        .large(),
        with(
            &[&large],
            many("ZADD a", 0..80, |it| format!("9{it} {}", text(it))),
        )
        .large(),
        with(
            &[&large],
            many("ZADD a", 0..40, |it| format!("7 {it}{}", "x".repeat(1_500))),
        )
        .large(),
        once(&[&large], "ZREMRANGEBYRANK a 0 580"),
        once(&[&large], "ZUNIONSTORE b 1 a").large(),
        once(&[&large], "COPY a b"),
        with(&[&flat], many("ZADD a", 90..130, scored)),
        with(&[&large], many("GEOADD a", 598..610, place)),
        with(&[], many("GEOADD a", 0..9, place)),
    ]
}

fn on_others() -> Vec<Scenario> {
    let large = many("RPUSH a", 0..600, text);
    let (few, other) = (words("RPUSH a 1 2 3"), words("RPUSH b 4"));
    let long = many("SET a", 0..1, |_| {
        "some of this text, ".repeat(9_000).replace(' ', "_")
    });
    let several = many("MSET", 0..12, |it| format!("{} {}", it % 5, text(it * 2)));
    vec![
        with(
            &[&words("PFADD a 1 2 3")],
            many("PFADD a", 0..300, |it| it.to_string()),
        ),
        with(&[&words("SET a 1")], several),
        with(
            &[],
            many("MSETNX", 0..6, |it| format!("k{it} {}", text(it))),
        ),
        with(&[&large], many("LPUSH a", 0..30, text)),
        with(&[&few], many("RPUSH a", 0..60, text)),
        with(&[&few], words("LINSERT a BEFORE 2 new")),
        once(&[&few, &other], "LMOVE a b LEFT RIGHT"),
        once(&[&long], "DUMP a"),
    ]
}

fn on_streams() -> Vec<Scenario> {
    let add = |it: usize| words(&format!("XADD a {} f {}", it + 1, text(it)));
    let entries: Vec<Vec<String>> = (0..230).map(add).collect();
    let entries: Vec<&Vec<String>> = entries.iter().collect();
    let long = format!("XADD a 999 {} {}", "f".repeat(900), "v".repeat(5_000));
    let group = words("XGROUP CREATE a g 0");
    let all = words("XREADGROUP GROUP g c STREAMS a >");
    let grouped = [&entries[..], &[&group]].concat();
    let read = [&grouped[..], &[&all]].concat();
    let claim = |command: &str, options: &str| {
        let ids: Vec<String> = (21..81).map(|id| id.to_string()).collect();
        words(format!("{command} {} {options}", ids.join(" ")).trim_end())
    };
    vec![
        once(&[], &long),
        once(&entries, &long),
        once(&entries, "XADD a 999 f v g w"),
        once(&entries, "XADD a MAXLEN 20 999 f v"),
        once(&entries, "XADD a MINID ~ 150 LIMIT 100 ACKED 999 f v"),
        once(&entries, "XTRIM a MAXLEN 120"),
        once(&entries, "XTRIM a MAXLEN 20 DELREF"),
        once(&entries[..60], "XDEL a 5 6 7 8 9"),
        once(&entries, "COPY a b"),
        once(&grouped, "XREADGROUP GROUP g c STREAMS a >"),
        once(&grouped, "XREADGROUP GROUP g c COUNT 3 STREAMS a >"),
        once(&grouped, "XREADGROUP GROUP g c NOACK STREAMS a >"),
        once(&read, "XREADGROUP GROUP g c STREAMS a 0"),
        once(&grouped, "XGROUP CREATE a h 0"),
        once(&grouped, "XGROUP CREATECONSUMER a g d"),
        with(&grouped, claim("XCLAIM a g d 0", "FORCE JUSTID")),
        with(&read, claim("XCLAIM a g d 0", "RETRYCOUNT 7")),
        with(&read, claim("XACKDEL a g DELREF IDS 60", "")),
        once(&read, "XAUTOCLAIM a g d 0 9 COUNT 60"),
        once(&read, "XGROUP DELCONSUMER a g c"),
        once(&read, "COPY a b"),
        once(&read, "DUMP a"),
    ]
}

/// What works in slices, and stores what comes of it or removes.
fn on_much() -> Vec<Scenario> {
    let set = many("SADD a", 0..300, text);
    let part = many("SADD b", 200..400, text);
    let list = many("RPUSH a", 0..300, text);
    let zset = many("ZADD a", 0..900, scored);
    let scores = many("ZADD b", 300..600, scored);
    vec![
        once(&[&set, &part], "SUNIONSTORE b a b"),
        once(&[&set, &part], "SINTERSTORE a a b"),
        once(&[&set, &part], "SDIFFSTORE k1 a b"),
        once(&[&list, &part], "SORT a ALPHA DESC STORE b"),
        once(&[&zset], "SORT a BY k* GET # GET k* ALPHA STORE a"),
        once(&[&zset, &scores], "ZUNIONSTORE b 2 a b"),
        once(&[&zset, &scores], "ZINTERSTORE a 2 a b WEIGHTS 2 1"),
        once(&[&zset], "ZREMRANGEBYRANK a 100 -100"),
        once(&[&zset], "ZREMRANGEBYSCORE a 0 100"),
        once(&[&zset], "ZPOPMAX a 300"),
        once(&[&zset], "ZRANGESTORE b a 0 -1"),
        once(&[&zset], "ZRANDMEMBER a 300"),
        once(&[&zset], "COPY a b"),
        once(&[&set], "SPOP a 60"),
        once(&[&set], "SPOP a 200"),
        once(&[&set], "SPOP a 300"),
        once(&[&set], "SSCAN a 0 COUNT 300"),
        once(&[&set], "COPY a b"),
        once(&[&list], "LPOP a 200"),
        once(&[&list], "LPOS a none COUNT 0"),
        once(&[&list], "COPY a b"),
        once(&[&set], "DUMP a"),
        once(&[&zset], "DUMP a"),
        once(&[&list], "DUMP a"),
    ]
}

/// What may work in slices does so, a few elements at a time.
fn apply(shard: &mut Shard, row: &Row, args: Args<'_>, out: &mut Vec<u8>) -> bool {
    assert!(row.arity.accepts(args.len()));
    let request = Request::new(row.run.whole(), args);
    if !row.may_be_heavy() {
        return shard.apply(NOW, &request, out).is_ok();
    }
    shard.settings.slices = Slices { above: 0, step: 20 };
    let mut cargo = Cargo {
        divisible: true,
        ..Cargo::default()
    };
    let start = out.len();
    loop {
        let before = out.len();
        let ran = shard.apply_with(NOW, &request, &mut cargo, out);
        if ran.is_err() {
            // What it has replied in slices before is no reply any more.
            out.drain(start..before);
        }
        if ran.is_err() || !cargo.goes_on() {
            return ran.is_ok();
        }
    }
}

/// The row of a request, that of its subcommand if it has one.
fn row_of(args: Args<'_>) -> &'static Row {
    let row = row(&args[0]).unwrap();
    let mut subcommands = row.subcommands.iter();
    let is_named = |sub: &&Row| {
        let name = sub.name.rsplit('|').next().unwrap_or_default();
        args.get(1)
            .is_some_and(|arg| arg.eq_ignore_ascii_case(name.as_bytes()))
    };
    subcommands.find(is_named).unwrap_or(row)
}

fn run(shard: &mut Shard, words: &[String]) {
    let args = OwnedArgs::new(words.iter().map(|word| word.as_bytes()));
    let mut out = Vec::new();
    let done = apply(shard, row_of(args.args()), args.args(), &mut out);
    assert!(done, "{}", out.escape_ascii());
}

/// Everything that the scenarios make, as replies.
fn contents(shard: &mut Shard) -> String {
    let mut out = Vec::new();
    let keys = many("digest-value a b", 0..6, |number| {
        format!("{number} k{number}")
    });
    let keys = OwnedArgs::new(keys.iter().map(|word| word.as_bytes()));
    apply(shard, &DIGEST_VALUE, keys.args(), &mut out);
    let deadlines = fields("HPEXPIRETIME a FIELDS 6");
    let deadlines = OwnedArgs::new(deadlines.iter().map(|word| word.as_bytes()));
    apply(
        shard,
        row("HPEXPIRETIME").unwrap(),
        deadlines.args(),
        &mut out,
    );
    shard.keyspace(DbIndex(0)).check_invariants();
    out.escape_ascii().to_string()
}

fn replay(shard: &mut Shard) -> impl FnMut(&[u8]) {
    let limits = Limits {
        bulk_len: 1 << 20,
        request_len: 1 << 24,
        authenticated: true,
    };
    move |log| {
        let mut partial = Partial::default();
        while partial.start < log.len() {
            let mut spans = Vec::new();
            let status = parse(log, &mut partial, &mut spans, &limits);
            assert_eq!(status, Ok(Status::Complete));
            let args = Args::new(log, &spans);
            if !matches!(&args[0], b"SELECT" | b"MULTI" | b"EXEC") {
                assert!(apply(shard, row_of(args), args, &mut Vec::new()));
            }
        }
    }
}

/// One allocation of a scenario fails. Whether the request made so many.
fn play(scenario: &Scenario, allocation: usize) -> bool {
    let shard = || Shard::new(1, 0..16_384, 7, Settings::default());
    let (mut primary, mut replica, mut unharmed) = (shard(), shard(), shard());
    for words in &scenario.before {
        for shard in [&mut primary, &mut replica, &mut unharmed] {
            run(shard, words);
        }
    }
    run(&mut unharmed, &scenario.request);
    primary.effects().record(true);
    let (before, changes) = (contents(&mut primary), primary.effects().changes());
    let args = OwnedArgs::new(scenario.request.iter().map(|word| word.as_bytes()));
    let row = row_of(args.args());
    let mut out = Vec::new();
    LEFT.set(Some(allocation));
    let done = apply(&mut primary, row, args.args(), &mut out);
    let reached = LEFT.take().is_none();
    assert!(
        done || out.starts_with(b"-ERR out of memory"),
        "{}",
        out.escape_ascii()
    );
    assert!(done || reached, "only for lack of memory");
    let after = contents(&mut primary);
    let log = primary.effects().take();
    assert_eq!(
        before == after,
        log.is_empty(),
        "propagated is what changed"
    );
    let counted = primary.effects().changes() > changes;
    assert_eq!(counted, !log.is_empty(), "counted is what changed");
    replay(&mut replica)(&log);
    assert_eq!(after, contents(&mut replica));
    if scenario.again && !done {
        run(&mut primary, &scenario.request);
        replay(&mut replica)(&primary.effects().take());
        let once_more = contents(&mut primary);
        assert_eq!(once_more, contents(&mut replica));
        assert_eq!(once_more, contents(&mut unharmed), "the rest is done");
    }
    println!("halfway: {}", !done && !log.is_empty());
    reached
}

/// What a test says in a process of its own.
fn child(test: &str, task: &str) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args([test, "--nocapture"])
        .env(TASK, task)
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap()
}

/// The bytes whose lack has ended a process.
fn lacked(complained: &str) -> Option<usize> {
    if complained.contains("panicked") {
        return None;
    }
    let (_, rest) = complained.split_once("memory allocation of ")?;
    rest.split(' ').next()?.parse().ok()
}

/// One allocation of a scenario fails, and nobody follows what is propagated: that may
/// lack memory, too. Whether the request made so many.
fn play_alone(scenario: &Scenario, allocation: usize) -> bool {
    let mut shard = Shard::new(1, 0..16_384, 7, Settings::default());
    for words in &scenario.before {
        run(&mut shard, words);
    }
    let args = OwnedArgs::new(scenario.request.iter().map(|word| word.as_bytes()));
    let mut out = Vec::with_capacity(1 << 10);
    LEFT.set(Some(allocation));
    let row = row(&scenario.request[0]).unwrap();
    let done = apply(&mut shard, row, args.args(), &mut out);
    let reached = LEFT.take().is_none();
    assert!(done || reached && out.starts_with(b"-ERR out of memory"));
    // It can be asked for again, whatever was lacking.
    run(&mut shard, &scenario.request);
    contents(&mut shard);
    reached
}

#[test]
fn what_elements_take_never_ends_the_process() {
    let scenarios = on_zsets();
    let mut scenarios = scenarios.iter().filter(|scenario| scenario.large);
    if let Ok(task) = std::env::var(TASK) {
        let (number, allocation) = task.split_once(' ').unwrap();
        let number = number.parse::<usize>().unwrap();
        let scenario = scenarios.nth(number).unwrap();
        println!(
            "reached: {}",
            play_alone(scenario, allocation.parse().unwrap())
        );
        return;
    }
    let survived: usize = (0..)
        .zip(scenarios)
        .map(|(number, scenario)| {
            let test = "what_elements_take_never_ends_the_process";
            fail_each(test, number, &scenario.what(), SMALL_THING)
        })
        .sum();
    assert!(survived > 100, "{survived}");
}

/// Has each allocation of a test's request fail in turn, in a process of its own: how
/// many failures were survived. Only what takes at most `small` bytes may end it.
fn fail_each(test: &str, number: usize, what: &str, small: usize) -> usize {
    let mut survived = 0;
    for allocation in 0.. {
        let task = format!("{number} {allocation}");
        let child = child(test, &task);
        let complained = String::from_utf8_lossy(&child.stderr);
        let was_small = lacked(&complained).is_some_and(|bytes| bytes <= small);
        assert!(
            was_small || child.status.success(),
            "{what} ({task}): {complained}"
        );
        if String::from_utf8_lossy(&child.stdout).contains("reached: false") {
            break;
        }
        survived += usize::from(!was_small);
    }
    survived
}

#[test]
fn what_memory_was_lacking_for_is_whole_or_told() {
    let families = [
        on_sets(),
        on_hashes(),
        on_zsets(),
        on_streams(),
        on_others(),
        on_much(),
    ];
    let scenarios = families.concat();
    if let Ok(task) = std::env::var(TASK) {
        let (scenario, allocation) = task.split_once(' ').unwrap();
        let scenario = &scenarios[scenario.parse::<usize>().unwrap()];
        println!("reached: {}", play(scenario, allocation.parse().unwrap()));
        return;
    }
    let (mut survived, mut halfway) = (0, 0);
    for (number, scenario) in scenarios.iter().enumerate() {
        // All of the first, and some of many.
        let step = |at: &usize| Some(at + 1 + at / 8);
        for allocation in std::iter::successors(Some(0), step) {
            let child = child(
                "what_memory_was_lacking_for_is_whole_or_told",
                &format!("{number} {allocation}"),
            );
            let said = String::from_utf8_lossy(&child.stdout).into_owned();
            let complained = String::from_utf8_lossy(&child.stderr);
            let what = scenario.what();
            if lacked(&complained).is_some() {
                continue;
            }
            assert!(
                child.status.success(),
                "{what} ({allocation}): {said}{complained}"
            );
            if said.contains("reached: false") {
                break;
            }
            survived += 1;
            halfway += usize::from(said.contains("halfway: true"));
        }
    }
    println!("{survived} failures survived, {halfway} of them halfway");
    assert!(survived > 100 && halfway > 20, "{survived} {halfway}");
}

/// Arguments for which there is no memory are none at all.
#[test]
fn arguments_are_whole_or_lacking() {
    let long = vec![b'x'; 10_000];
    for allocation in 0.. {
        LEFT.set(Some(allocation));
        let args = OwnedArgs::new([&b"ECHO"[..], &long, &long]);
        if LEFT.take().is_some() {
            assert_eq!(args.args().len(), 3);
            assert!(!args.lack_memory() && allocation > 2);
            break;
        }
        assert!(args.lack_memory() && args.args().is_empty());
    }
}

#[test]
fn a_snapshot_that_lacks_memory_is_lost_but_no_write_is() {
    for allocation in 0.. {
        let mut shard = Shard::new(1, 0..16_384, 7, Settings::default());
        run(&mut shard, &words("SET a before"));
        shard.begin_cut();
        let write = OwnedArgs::new(words("SETRANGE a 0 BE").iter().map(|word| word.as_bytes()));
        let mut out = Vec::with_capacity(100);
        LEFT.set(Some(allocation));
        // In place: it is the snapshot that asks for memory.
        let done = apply(&mut shard, row("SETRANGE").unwrap(), write.args(), &mut out);
        let all_there = LEFT.take().is_some();
        assert!(done);
        while shard.walk_cut(100).more {}
        shard.keyspace(DbIndex(0)).check_invariants();
        let chunks = shard.take_chunks();
        assert_eq!(chunks.is_ok(), all_there);
        if let Ok(chunks) = chunks {
            assert_eq!((chunks.len(), chunks[0].keys), (1, 1));
            assert!(allocation > 0);
            return;
        }
        assert!(shard.take_chunks().is_err(), "until it is abandoned");
    }
}

/// A value that is encoded in steps, by the walk or after it was deleted.
#[test]
fn a_large_value_that_lacks_memory_loses_the_snapshot_alone() {
    let (mut lost, mut made) = (0, 0);
    for (deletes, allocation) in (0..120).map(|run| (run % 2 == 0, run / 2)) {
        let mut shard = Shard::new(1, 0..16_384, 7, Settings::default());
        run(&mut shard, &words("SETRANGE a 300000 x"));
        shard.settings.rdb_compression = false;
        shard.begin_cut();
        let del = OwnedArgs::new(words("DEL a").iter().map(|word| word.as_bytes()));
        let mut out = Vec::with_capacity(100);
        LEFT.set(Some(allocation));
        let done = !deletes || apply(&mut shard, row("DEL").unwrap(), del.args(), &mut out);
        while shard.walk_cut(100).more {}
        let all_there = LEFT.take().is_some();
        shard.keyspace(DbIndex(0)).check_invariants();
        assert!(done && shard.keyspace(DbIndex(0)).is_empty() == deletes);
        let chunks = shard.take_chunks();
        // A value that cannot be freed later is freed at once.
        assert!(chunks.is_ok() || !all_there, "{allocation}");
        lost += usize::from(chunks.is_err());
        made += chunks.map_or(0, |all| all.iter().filter(|chunk| !chunk.more).count());
    }
    assert!(
        lost > 10 && made > 10 && lost + made == 120,
        "{lost} {made}"
    );
}

/// Two cores on this thread.
struct Pair {
    nodes: [Node; 2],
    stamp: u64,
}

impl Pair {
    fn new() -> Self {
        let node = |id| {
            let shard = Shard::new(1, ShardId(id).slots(2), 7, Settings::default());
            Node::new(ShardId(id), 2, shard, 7)
        };
        Self {
            nodes: [node(0), node(1)],
            stamp: 0,
        }
    }

    /// `a@1` stands for a key of core 1.
    fn key(word: &str) -> String {
        let Some((name, place)) = word.split_once('@') else {
            return word.to_owned();
        };
        let owner = ShardId(place.parse().unwrap());
        let mut keys = (0..).map(|number| format!("{name}{number}"));
        let owns = |key: &String| ShardId::of_slot(slot_of(key.as_bytes()), 2) == owner;
        keys.find(owns).unwrap()
    }

    /// A client of the first core asks for it: the reply.
    fn ask(&mut self, words: &[String], out: &mut Vec<u8>) {
        let left = LEFT.take();
        let words: Vec<String> = words.iter().map(|word| Self::key(word)).collect();
        let row = row(&words[0]).unwrap();
        let args = OwnedArgs::new(words.iter().map(String::as_bytes));
        LEFT.set(left);
        let client = Client {
            key: 0,
            id: 1,
            place: 0,
        };
        let (args, call) = (args.args(), Call::of(row));
        match self.nodes[0].place(row, args) {
            Placement::One(owner) => self.nodes[0].send(owner, client, call, args),
            Placement::Several(owners) => self.nodes[0].begin(NOW, client, call, row, args, owners),
        }
        let mut any = true;
        while std::mem::take(&mut any) {
            for from in 0..2 {
                self.stamp += u64::from(self.nodes[from].wants_stamp());
                let mut sent = None;
                self.nodes[from].outgoing(self.stamp, |_, batch| sent = Some(batch));
                if let Some(batch) = sent {
                    self.nodes[1 - from].receive(ShardId(from as u16), batch);
                    any = true;
                }
            }
            for node in &mut self.nodes {
                any |= node.catch_up(NOW, u64::MAX);
                while node.has_slices() {
                    any = true;
                    node.go_on(NOW);
                }
                node.replies(|replied| {
                    let left = LEFT.take();
                    out.extend_from_slice(&replied.whole());
                    LEFT.set(left);
                });
            }
        }
    }
}

/// What goes from shard to shard is as long as clients make it: where there is no memory
/// for it, they are told so.
#[test]
fn what_goes_to_other_shards_never_ends_the_process() {
    let long = "x".repeat(20_000);
    let before = [
        format!("MSET from@0 {long} near@0 {long} far@1 {long}"),
        format!("SADD s@0 {long}1 {long}2"),
        format!("SADD t@1 {long}3 {long}4"),
        format!("HSET h@1 f {long}"),
    ];
    let requests = [
        format!("MSETNX new@0 {long} other@1 {long}"),
        format!("MSETNX near@0 {long} other@1 {long}"),
        format!("SETRANGE far@1 10000 {long}"),
        "RENAME from@0 to@1".to_owned(),
        "COPY from@0 far@1 REPLACE".to_owned(),
        "SUNIONSTORE d@0 s@0 t@1".to_owned(),
        "SUNION s@0 t@1".to_owned(),
        "SDIFF t@1 s@0".to_owned(),
        format!("SMOVE t@1 s@0 {long}3"),
        format!("MGET from@0 far@1 {long}"),
        format!("MSET from@0 {long} far@1 {long}"),
        format!("HSET h@1 g {long}"),
    ];
    if let Ok(task) = std::env::var(TASK) {
        let (number, allocation) = task.split_once(' ').unwrap();
        let mut pair = Pair::new();
        for line in &before {
            pair.ask(&words(line), &mut Vec::new());
        }
        let request = words(&requests[number.parse::<usize>().unwrap()]);
        let mut out = Vec::with_capacity(1 << 20);
        LEFT.set(Some(allocation.parse().unwrap()));
        pair.ask(&request, &mut out);
        let reached = LEFT.take().is_none();
        let failed = out.starts_with(b"-");
        assert!(reached || !failed, "only for lack of memory");
        let lacks = out.starts_with(b"-ERR out of memory");
        assert_eq!(failed, lacks, "{}", out[..40].escape_ascii());
        for node in &pair.nodes {
            assert!(node.is_at_rest() && node.is_unlocked());
            node.shard().keyspace(DbIndex(0)).check_invariants();
        }
        println!("reached: {reached}");
        return;
    }
    let survived: usize = (0..)
        .zip(&requests)
        .map(|(number, request)| {
            let test = "what_goes_to_other_shards_never_ends_the_process";
            let what = &request[..20.min(request.len())];
            fail_each(test, number, what, FEW_ITEMS)
        })
        .sum();
    assert!(survived > 50, "{survived}");
}
