//! Any bytes, read as a stream of commands for a shard.
//!
//! Three shards must agree: two that differ in the seed of their hash reply
//! the same, and a third that is only played the effects of the first ends
//! with the same keys.
//!
//! Input: a byte chooses a row, one how far the clock goes, one how many
//! arguments there are; each argument begins with a byte that chooses a word
//! from [`WORDS`] or, from 128 on, says how many bytes of it follow.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shards::command::OwnedArgs;
use shards::resp::{Limits, Partial, Status, parse};
use shards::{Args, COMMANDS, DbIndex, Request, Row, Settings, Shard, UnixMs};

const BEFORE_EVERYTHING: UnixMs = UnixMs(i64::MIN);
const KEYS: [&[u8]; 4] = [b"a", b"b", b"{a}c", b""];
const WORDS: &[&[u8]] = &[
    b"a",
    b"a",
    b"b",
    b"{a}c",
    b"",
    b"0",
    b"1",
    b"-1",
    b"5",
    b"100",
    b"1700000000",
    b"1700000001",
    b"1700000000100",
    b"9223372036854775807",
    b"-9223372036854775808",
    b"1.5",
    b"1e4932",
    b"0x1p-3",
    b"EX",
    b"PX",
    b"EXAT",
    b"PXAT",
    b"KEEPTTL",
    b"PERSIST",
    b"NX",
    b"XX",
    b"GT",
    b"LT",
    b"GET",
    b"LEN",
    b"IDX",
    b"MINMATCHLEN",
    b"WITHMATCHLEN",
    b"ASYNC",
    b"hello world",
];

fuzz_target!(|data: &[u8]| {
    let rows: Vec<&Row> = COMMANDS.iter().flat_map(|family| family.iter()).collect();
    let (mut first, mut second, mut follower) = (shard(1), shard(2), shard(3));
    first.effects().record(true);
    let mut now = UnixMs(1_700_000_000_000);
    let mut input = data.iter().copied();
    while let (Some(choice), Some(pause)) = (input.next(), input.next()) {
        let row = rows[usize::from(choice) % rows.len()];
        now.0 += i64::from(pause) * i64::from(pause) / 64;
        let args = arguments(row, &mut input);
        let reply = apply(&mut first, now, row, args.args());
        assert_eq!(reply, apply(&mut second, now, row, args.args()));
        assert!(!reply.is_empty(), "every request is answered");
        let log = first.effects().take();
        follow(&mut follower, &rows, &log);
    }
    for shard in [&first, &second, &follower] {
        shard.keyspace(DbIndex(0)).check_invariants();
    }
    assert_eq!(contents(&mut first, &rows), contents(&mut follower, &rows));
});

fn shard(seed: u64) -> Shard {
    Shard::new(
        1,
        0..16_384,
        seed,
        Settings {
            proto_max_bulk_len: 100_000,
            ..Settings::default()
        },
    )
}

fn arguments(row: &Row, input: &mut impl Iterator<Item = u8>) -> OwnedArgs {
    let mut words = vec![row.name.as_bytes().to_vec()];
    for _ in 0..input.next().unwrap_or(0) % 8 {
        match input.next() {
            None => break,
            Some(word @ 0..128) => words.push(WORDS[usize::from(word) % WORDS.len()].to_vec()),
            Some(len) => words.push(input.take(usize::from(len - 128)).collect()),
        }
    }
    OwnedArgs::new(words.iter().map(Vec::as_slice))
}

fn apply(shard: &mut Shard, now: UnixMs, row: &Row, args: Args<'_>) -> Vec<u8> {
    if !row.arity.accepts(args.len()) {
        return b"arity".to_vec();
    }
    let request = Request::new(row.run.whole(), args);
    let mut out = Vec::new();
    let failed = shard.apply(now, &request, &mut out).is_err();
    assert_eq!(failed, out.first() == Some(&b'-'));
    out
}

/// Plays what the first shard propagated.
fn follow(shard: &mut Shard, rows: &[&Row], log: &[u8]) {
    let limits = Limits {
        bulk_len: 1 << 20,
        request_len: 1 << 20,
        authenticated: true,
    };
    let mut partial = Partial::default();
    while partial.start < log.len() {
        let mut spans = Vec::new();
        assert_eq!(
            parse(log, &mut partial, &mut spans, &limits),
            Ok(Status::Complete)
        );
        let args = Args::new(log, &spans);
        if &args[0] != b"SELECT" {
            let is_it = |row: &&&Row| row.name.as_bytes().eq_ignore_ascii_case(&args[0]);
            let row = rows.iter().find(is_it).expect("effects are commands");
            let reply = apply(shard, BEFORE_EVERYTHING, row, args);
            assert_ne!(reply.first(), Some(&b'-'), "effects do not fail");
        }
    }
}

fn contents(shard: &mut Shard, rows: &[&Row]) -> Vec<Vec<u8>> {
    let mut contents = Vec::new();
    for name in ["get", "pexpiretime"] {
        let row = rows.iter().find(|row| row.name == name).expect("it exists");
        for key in KEYS {
            let args = OwnedArgs::new([name.as_bytes(), key]);
            contents.push(apply(shard, BEFORE_EVERYTHING, row, args.args()));
        }
    }
    contents.push(shard.keyspace(DbIndex(0)).len().to_string().into_bytes());
    contents
}
