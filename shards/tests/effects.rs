//! Plays random commands into one shard and the effects they leave into a
//! second one: both must end equal, deadlines included.
//!
//! Effects are played at the earliest instant there is: a replica deletes
//! nothing by itself, it is told. So the second shard's clock has nothing in
//! common with the first one's, nor has its seed.

#![allow(clippy::unwrap_used)] // a test may

use shards::command::digest::DIGEST_VALUE;
use shards::command::{Cargo, OwnedArgs};
use shards::order::{Block, Client, Manner, Node};
use shards::resp::{Limits, Partial, Protocol, Status, parse};
use shards::{
    Args, COMMANDS, DbIndex, Request, Row, Settings, Shard, ShardId, Slices, UnixMs, row,
};

const DBS: u16 = 2;
const KEYS: &[&str] = &["a", "b", "c", "d", "{t}e", "", "l", "m", "x", "y"];
const MEMBERS: &[&str] = &["m", "n", "1", "-70000", "o"];
const BEFORE_EVERYTHING: UnixMs = UnixMs(i64::MIN);

/// SplitMix64: small, and good enough to choose commands.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}

/// The row of a request, or that of its subcommand.
fn row_of(args: Args<'_>) -> &'static Row {
    let row = row(&args[0]).unwrap();
    let sub = args.get(1).unwrap_or_default().to_ascii_lowercase();
    let full = [row.name.as_bytes(), b"|", &sub].concat();
    let mut rows = row.subcommands.iter();
    rows.find(|row| row.name.as_bytes() == full).unwrap_or(row)
}

fn apply(shard: &mut Shard, now: UnixMs, db: DbIndex, args: Args<'_>) -> Vec<u8> {
    let row = row_of(args);
    let mut out = Vec::new();
    if !row.arity.accepts(args.len()) {
        return out;
    }
    let request = Request {
        db,
        ..Request::new(row.run.whole(), args)
    };
    // An error is a reply like any other here. What may work in slices does so, if the
    // settings of the shard say so.
    let mut cargo = Cargo {
        divisible: row.may_be_heavy(),
        ..Cargo::default()
    };
    if !cargo.divisible {
        let _ = shard.apply(now, &request, &mut out);
        return out;
    }
    loop {
        let ran = shard.apply_with(now, &request, &mut cargo, &mut out);
        if ran.is_err() || !cargo.goes_on() {
            return out;
        }
    }
}

/// A request for one of the rows, sensible more often than not.
fn request(random: &mut Random, now: UnixMs) -> Vec<String> {
    let family = COMMANDS[usize::try_from(random.below(COMMANDS.len() as u64)).unwrap()];
    let row = &family[usize::try_from(random.below(family.len() as u64)).unwrap()];
    let mut words = vec![row.name.to_owned()];
    // Flushes are rare, or there would be little to compare.
    if (row.name.starts_with("flush") || row.name == "swapdb") && random.below(20) != 0 {
        return vec!["get".into(), "a".into()];
    }
    if let Some(arguments) = odd_arguments(random, row.name) {
        words.extend(arguments.into_iter().map(str::to_owned));
        return words;
    }
    if row.syntax.contains("FIELDS") {
        words.extend(about_a_field(random, now, row.syntax));
        return words;
    }
    for word in row.syntax.split_whitespace() {
        let optional = word.starts_with('[') && random.below(2) == 0;
        if optional || word == "|" {
            break;
        }
        let word = word.trim_matches(['[', ']']);
        let argument = match word {
            "key" | "key1" | "key2" | "newkey" | "source" | "destination" => {
                random.pick(KEYS).into()
            }
            "index1" | "index2" | "db" | "destination-db" => random.pick(&["0", "1"]).into(),
            "value" => value(random),
            "member" | "field" | "...]" => random.pick(MEMBERS).into(),
            "seconds" => random.pick(&["1", "2", "3", "-1", "x"]).into(),
            "milliseconds" => random.below(4_000).to_string(),
            "unix-time-seconds" => (now.0 / 1000 + 2 - random.below(4).cast_signed()).to_string(),
            "unix-time-milliseconds" => {
                (now.0 + 1000 - random.below(2_000).cast_signed()).to_string()
            }
            "increment" | "decrement" | "offset" | "start" | "end" => random
                .pick(&["1", "-3", "0", "2.5", "7", "9223372036854775807"])
                .into(),
            "EX" | "NX" if random.below(2) == 0 => option(random, now, &mut words),
            other => other.into(),
        };
        words.push(argument);
    }
    words
}

/// Arguments of a command on the deadline of a field of a hash.
fn about_a_field(random: &mut Random, now: UnixMs, syntax: &str) -> Vec<String> {
    let mut words = vec![random.pick(KEYS).to_owned()];
    let mut push = |word: &str| words.push(word.to_owned());
    let (soon, instant) = (
        random.below(3_000),
        now.0 - 500 + random.below(3_000).cast_signed(),
    );
    match syntax.split_whitespace().nth(1) {
        Some("seconds") => push(&(soon / 1000).to_string()),
        Some("milliseconds") => push(&soon.to_string()),
        Some("unix-time-seconds") => push(&(instant / 1000).to_string()),
        Some("unix-time-milliseconds") => push(&instant.to_string()),
        Some("[EX" | "[FNX") if random.below(2) == 0 => {
            push("PXAT");
            push(&instant.to_string());
        }
        _ => {}
    }
    if syntax.contains("NX | XX") && random.below(2) == 0 {
        push(random.pick(&["NX", "XX", "GT", "LT"]));
    }
    if syntax.contains("KEEPTTL") && random.below(4) == 0 {
        push(random.pick(&["FNX", "FXX", "KEEPTTL"]));
    }
    push("FIELDS");
    push("2");
    for _ in 0..2 {
        push(random.pick(MEMBERS));
        if syntax.contains("field value") {
            push(&value(random));
        }
    }
    words
}

/// Arguments of commands whose syntax says too little of what makes sense.
fn odd_arguments<'a>(random: &mut Random, name: &str) -> Option<Vec<&'a str>> {
    let key = random.pick(KEYS);
    let offset = random.pick(&["0", "7", "12", "40", "300", "-1"]);
    Some(match name {
        "setbit" => vec![key, offset, random.pick(&["0", "1"])],
        "bitfield" => {
            let overflow = random.pick(&["WRAP", "SAT", "FAIL"]);
            let action = random.pick(&["SET", "INCRBY"]);
            let width = random.pick(&["u1", "i8", "u13", "i64"]);
            let value = random.pick(&["0", "1", "-1", "200", "9223372036854775807"]);
            vec![key, "OVERFLOW", overflow, action, width, offset, value]
        }
        "bitop" => {
            let operation = random.pick(&["AND", "OR", "XOR", "NOT"]);
            let (one, other) = (random.pick(KEYS), random.pick(KEYS));
            let mut arguments = vec![operation, key, one, other];
            arguments.truncate(if operation == "NOT" { 3 } else { 4 });
            arguments
        }
        "pfadd" => vec![key, offset, random.pick(&["a", "b", "c", "d", "e"])],
        // Rarely: dense ones are long, and all contents are compared.
        "pfdebug" if random.below(20) == 0 => vec![random.pick(&["GETREG", "TODENSE"]), key],
        "pfdebug" => vec!["ENCODING", key],
        "pfmerge" => vec![key, random.pick(KEYS)],
        "pfcount" => vec![key, random.pick(KEYS)][..1 + random.below(2) as usize].to_vec(),
        name if name.starts_with("geo") => return geo_arguments(random, name),
        name if name.starts_with('z') => return zset_arguments(random, name),
        name if name.starts_with('x') => return stream_arguments(random, name),
        // Changes nothing, and takes its time.
        "pfselftest" => vec!["x"],
        _ => return list_arguments(random, name),
    })
}

fn list_arguments<'a>(random: &mut Random, name: &str) -> Option<Vec<&'a str>> {
    // Mostly keys that hold lists.
    let mut list = || match random.below(8) {
        0 => random.pick(KEYS),
        1..5 => "l",
        _ => "m",
    };
    let (key, other) = (list(), list());
    let mut element = || random.pick(&["a", "b", "1", "-300", "a longer text than others"]);
    let (one, two) = (element(), element());
    let place = random.pick(&["0", "1", "-1", "2", "-3", "7"]);
    let (from, to) = (
        random.pick(&["LEFT", "RIGHT"]),
        random.pick(&["LEFT", "RIGHT"]),
    );
    Some(match name {
        "lpush" | "rpush" | "lpushx" | "rpushx" => vec![key, one, two],
        "lpop" | "rpop" => vec![key, place][..1 + random.below(2) as usize].to_vec(),
        "lset" => vec![key, place, one],
        "lrem" => vec![key, place, one],
        "ltrim" => vec![key, random.pick(&["0", "0", "1", "-9"]), place],
        "linsert" => vec![key, random.pick(&["BEFORE", "AFTER"]), one, two],
        "lmove" => vec![key, other, from, to],
        "rpoplpush" => vec![key, other],
        "lmpop" => vec!["2", key, other, from, "COUNT", place],
        "sort" => {
            let by = random.pick(&["*", "nosort", "m*", "*->m"]);
            vec![key, "ALPHA", "BY", by, "GET", "#", "STORE", other]
        }
        _ => return None,
    })
}

/// Arguments of commands on consumer groups.
fn group_arguments<'a>(
    random: &mut Random,
    name: &str,
    (key, id, other): (&'a str, &'a str, &'a str),
) -> Option<Vec<&'a str>> {
    let (group, consumer) = (random.pick(&["g", "g", "h"]), random.pick(&["c", "d", "e"]));
    let idle = random.pick(&["0", "0", "500"]);
    let mut arguments = vec![key, group];
    match name {
        "xgroup" => {
            let sub = random.pick(&[
                "CREATE",
                "CREATE",
                "CREATE",
                "SETID",
                "CREATECONSUMER",
                "DELCONSUMER",
                "DESTROY",
            ]);
            // Groups mostly stay.
            if sub == "DESTROY" && random.below(3) != 0 {
                return Some(vec![sub, key, "none"]);
            }
            arguments.insert(0, sub);
            arguments.extend(match sub {
                "CREATE" | "SETID" => vec![random.pick(&["$", "0", id])],
                "DESTROY" => vec![],
                _ => vec![consumer],
            });
            if sub == "CREATE" && random.below(2) == 0 {
                arguments.push("MKSTREAM");
            }
            if sub.len() < 7 && random.below(3) == 0 {
                arguments.extend(["ENTRIESREAD", random.pick(&["-1", "0", "3"])]);
            }
        }
        "xack" => arguments.extend([id, other]),
        "xackdel" => {
            let word = random.pick(&["KEEPREF", "DELREF", "ACKED"]);
            arguments.extend([word, "IDS", "2", id, other]);
        }
        "xclaim" => {
            arguments.extend([consumer, idle, id, other]);
            for _ in 0..random.below(4) {
                arguments.extend(match random.below(8) {
                    0..4 => vec!["FORCE"],
                    4 => vec!["JUSTID"],
                    5 => vec!["IDLE", "300"],
                    6 => vec!["RETRYCOUNT", "9"],
                    _ => vec!["LASTID", other],
                });
            }
        }
        "xautoclaim" => {
            arguments.extend([consumer, idle, random.pick(&["0", id])]);
            arguments.extend([&[][..], &["COUNT", "3"], &["JUSTID"]][random.below(3) as usize]);
        }
        "xpending" => arguments.extend(["-", "+", "9"]),
        "xreadgroup" => {
            let no_ack: &[&str] = [&["COUNT", "2"][..], &[], &["NOACK"]][random.below(3) as usize];
            let from = random.pick(&[">", ">", ">", "0"]);
            arguments = [&["GROUP", group, consumer], no_ack, &["STREAMS", key, from]].concat();
        }
        _ => return None,
    }
    Some(arguments)
}

fn stream_arguments<'a>(random: &mut Random, name: &str) -> Option<Vec<&'a str>> {
    let key = match random.below(8) {
        0 => random.pick(KEYS),
        1..5 => "x",
        _ => "y",
    };
    let ids = &["1", "1-1", "1-2", "2-0", "2-1", "3-2", "4-1", "4-5", "5-9"];
    let (id, other) = (random.pick(ids), random.pick(ids));
    let trimming: &[&str] = match random.below(8) {
        0 => &["MAXLEN", "~", "4"],
        1 => &["MAXLEN", "3"],
        2 => &["MAXLEN", "~", "1", "LIMIT", "7"],
        3 => &["MINID", "~", "3-1"],
        4 => &["MINID", "~", "2-1", "LIMIT", "3", "ACKED"],
        5 => &["MAXLEN", "=", "2", "DELREF"],
        6 => &["LIMIT", "0", "ACKED", "MAXLEN", "~", "0"],
        _ => &["MINID", "4-2"],
    };
    let mut arguments = vec![key];
    match name {
        "xadd" => {
            let words: &[&str] = match random.below(4) {
                0 => trimming,
                1 => &["NOMKSTREAM"],
                _ => &[],
            };
            arguments.extend(words);
            let new = &["1-*", "2-*", "3-*", "4-*", "4-*", "5-*"];
            let id = match random.below(8) {
                0 => id,
                1 if random.below(5) == 0 => "*",
                _ => random.pick(new),
            };
            arguments.extend([id, random.pick(MEMBERS), "v"]);
        }
        "xtrim" => arguments.extend(trimming),
        "xdel" => arguments.extend([id, other]),
        "xdelex" => {
            let word = random.pick(&["KEEPREF", "DELREF", "ACKED"]);
            arguments.extend([word, "IDS", "2", id, other]);
        }
        // So that ids begin anew.
        "xsetid" if random.below(2) == 0 => arguments.push("0"),
        "xsetid" => arguments.extend([id, "ENTRIESADDED", "100", "MAXDELETEDID", other]),
        _ => return group_arguments(random, name, (key, id, other)),
    }
    Some(arguments)
}

fn value(random: &mut Random) -> String {
    random
        .pick(&[
            "1",
            "-17",
            "3.25",
            "hello",
            "",
            "007",
            "a longer text than others",
        ])
        .into()
}

/// Arguments of commands that change sorted sets; now and then of the others.
fn geo_arguments<'a>(random: &mut Random, name: &str) -> Option<Vec<&'a str>> {
    let (key, other) = (random.pick(KEYS), random.pick(KEYS));
    let member = random.pick(&["1", "2", "a", "b"]);
    let longitude = random.pick(&["13.36", "13.58", "15.08", "-179.99"]);
    let latitude = random.pick(&["37.5", "38.11", "-85"]);
    let distance = random.pick(&["0", "50", "200", "30000"]);
    let store = random.pick(&["STORE", "STOREDIST"]);
    Some(match name {
        "geoadd" => vec![
            key,
            random.pick(&["NX", "XX", "CH"]),
            longitude,
            latitude,
            member,
        ],
        "geosearchstore" if store == "STORE" => {
            vec![
                key,
                other,
                "FROMLONLAT",
                longitude,
                latitude,
                "BYBOX",
                distance,
                "99",
                "km",
            ]
        }
        "geosearchstore" => {
            vec![
                key,
                other,
                "FROMMEMBER",
                member,
                "BYRADIUS",
                distance,
                "km",
                store,
            ]
        }
        "georadius" => vec![key, longitude, latitude, distance, "km", store, other],
        "georadiusbymember" => vec![key, member, distance, "km", "COUNT", "2", store, other],
        _ => return None,
    })
}

fn zset_arguments<'a>(random: &mut Random, name: &str) -> Option<Vec<&'a str>> {
    let (key, other) = (random.pick(KEYS), random.pick(KEYS));
    let members = &["m", "n", "o", "p", "17", ""];
    let (member, another) = (random.pick(members), random.pick(members));
    let score = random.pick(&["1", "2.5", "-3", "inf", "0.1", "1e300"]);
    let rank = random.pick(&["0", "1", "-1", "-2", "3"]);
    let option = random.pick(&["CH", "NX", "XX", "GT", "LT", "INCR", "XX"]);
    Some(match name {
        "zadd" if option == "INCR" => vec![key, option, score, member],
        "zadd" => vec![key, option, score, member, "7", another],
        "zincrby" => vec![key, score, member],
        "zrem" => vec![key, member, another],
        "zpopmin" | "zpopmax" => vec![key, random.pick(&["1", "0", "2"])],
        "zmpop" => vec!["2", key, other, random.pick(&["MIN", "MAX"]), "COUNT", "2"],
        "zremrangebyrank" => vec![key, rank, random.pick(&["0", "1", "-1"])],
        "zremrangebyscore" => vec![key, random.pick(&["-inf", "(1", "2"]), "3"],
        "zremrangebylex" => vec![key, random.pick(&["-", "[m", "(n"]), "[o"],
        "zrangestore" => vec![key, other, rank, "-1"],
        "zunionstore" | "zinterstore" => {
            let weight = random.pick(&["1", "0.3", "-2"]);
            vec![key, "2", key, other, "WEIGHTS", "1", weight]
        }
        "zdiffstore" => vec![key, "2", key, other],
        _ => return None,
    })
}

/// One of the options that SET, GETEX and EXPIRE know; its number, if it takes
/// one, is the last word.
fn option(random: &mut Random, now: UnixMs, words: &mut Vec<String>) -> String {
    let word = random.pick(&[
        "EX", "PX", "EXAT", "PXAT", "XX", "GT", "LT", "GET", "KEEPTTL", "PERSIST",
    ]);
    let number = match word {
        "EX" => 1 + random.below(3).cast_signed(),
        "PX" => 1 + random.below(3000).cast_signed(),
        "EXAT" => now.0 / 1000 + random.below(3).cast_signed(),
        "PXAT" => now.0 + random.below(3000).cast_signed() - 1000,
        _ => return word.into(),
    };
    words.push(word.into());
    number.to_string()
}

/// Plays a log into `replica`.
fn replay(log: &[u8], replica: &mut Shard) {
    replay_from(DbIndex(u16::MAX), log, replica);
}

/// Plays a part of a log that begins in a database; in which it ends.
fn replay_from(mut db: DbIndex, log: &[u8], replica: &mut Shard) -> DbIndex {
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
        if [&b"MULTI"[..], b"EXEC"].contains(&&args[0]) {
            continue;
        }
        if &args[0] == b"SELECT" {
            db = DbIndex(std::str::from_utf8(&args[1]).unwrap().parse().unwrap());
        } else {
            let reply = apply(replica, BEFORE_EVERYTHING, db, args);
            assert_ne!(reply.first(), Some(&b'-'), "{}", log.escape_ascii());
        }
    }
    db
}

/// The names of a log's commands.
fn names(log: &[u8]) -> Vec<Vec<u8>> {
    let limits = Limits {
        bulk_len: 1 << 20,
        request_len: 1 << 20,
        authenticated: true,
    };
    let (mut partial, mut names) = (Partial::default(), Vec::new());
    while partial.start < log.len() {
        let mut spans = Vec::new();
        let parsed = parse(log, &mut partial, &mut spans, &limits);
        assert_eq!(parsed, Ok(Status::Complete));
        names.push(Args::new(log, &spans)[0].to_vec());
    }
    names
}

/// Everything in `shard`, as replies.
fn contents(shard: &mut Shard) -> Vec<String> {
    let mut contents = Vec::new();
    for db in (0..DBS).map(DbIndex) {
        let mut ask = |words: &[&str]| {
            let args = OwnedArgs::new(words.iter().map(|word| word.as_bytes()));
            let reply = apply(shard, BEFORE_EVERYTHING, db, args.args());
            contents.push(format!("{db:?} {words:?} {}", reply.escape_ascii()));
        };
        ask(&["DBSIZE"]);
        for key in KEYS {
            ask(&["GET", key]);
            ask(&["LRANGE", key, "0", "-1"]);
            ask(&["PEXPIRETIME", key]);
            ask(&["ZRANGE", key, "0", "-1", "WITHSCORES"]);
            for member in MEMBERS {
                ask(&["SISMEMBER", key, member]);
                ask(&["HGET", key, member]);
                ask(&["HPEXPIRETIME", key, "FIELDS", "1", member]);
            }
            ask(&["SCARD", key]);
            ask(&["HLEN", key]);
            ask(&["XRANGE", key, "-", "+"]);
        }
        let words = std::iter::once(&b"digest"[..]).chain(KEYS.iter().map(|key| key.as_bytes()));
        let args = OwnedArgs::new(words);
        let request = Request {
            db,
            ..Request::new(DIGEST_VALUE.run.whole(), args.args())
        };
        let mut digests = Vec::new();
        shard
            .apply(BEFORE_EVERYTHING, &request, &mut digests)
            .unwrap();
        contents.push(digests.escape_ascii().to_string());
    }
    contents
}

/// So many seeds, or a hundred times as many others in a long run.
fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var_os("CORDIS_LONG").is_some_and(|value| value != "0") {
        true => {
            let start = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() << 20;
            start..start + count * 100
        }
        false => 0..count,
    }
}

#[test]
fn a_second_engine_follows_by_effects_alone() {
    for seed in seeds(40) {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut now = UnixMs(1_700_000_000_000);
        // Thresholds of encodings are not those of the other.
        let mut settings = Settings::default();
        settings.encodings.list_max_listpack_size = 3;
        settings.encodings.stream_node_max_entries = 3;
        if seed % 2 == 0 {
            settings.slices = Slices { above: 0, step: 2 };
        }
        let mut primary = Shard::new(DBS, 0..16_384, seed, settings);
        let mut replica = Shard::new(DBS, 0..16_384, !seed, Settings::default());
        primary.effects().record(true);
        let mut played = 0;
        for _ in 0..4_000 {
            now.0 += random.below(300).cast_signed();
            let db = DbIndex(u16::from(random.below(5) == 0));
            let words = request(&mut random, now);
            let args = OwnedArgs::new(words.iter().map(|word| word.as_bytes()));
            let changes = primary.effects().changes();
            apply(&mut primary, now, db, args.args());
            let changed = primary.effects().changes() != changes;
            let log = primary.effects().take();
            let names = names(&log);
            let all_are = |known: &[&[u8]]| names.iter().all(|name| known.contains(&&name[..]));
            // A look at what is pending counts, even where there is nothing.
            let has_looked = words[0] == "xreadgroup";
            assert!(!changed || !log.is_empty() || has_looked, "{words:?}");
            // What expires is no change that counts, nor is what finds nothing to clear,
            // nor to make room for what then overflows.
            let uncounted: [&[u8]; 6] = [
                b"SELECT",
                b"DEL",
                b"HDEL",
                b"flushdb",
                b"flushall",
                b"bitfield",
            ];
            assert!(changed || all_are(&uncounted), "{words:?}: {names:?}");
            played += usize::from(changed);
            replay(&log, &mut replica);
            if random.below(20) == 0 {
                assert_eq!(contents(&mut primary), contents(&mut replica), "{words:?}");
            }
        }
        assert!(played > 300, "only {played} requests changed anything");
        assert_eq!(contents(&mut primary), contents(&mut replica));
    }
}

/// Blocks leave what their commands leave, and together if it is more than one
/// command.
#[test]
fn blocks_leave_their_effects_together() {
    let client = Client {
        key: 0,
        id: 1,
        place: 0,
    };
    for seed in seeds(10) {
        println!("seed {seed}");
        let mut random = Random(seed);
        let mut now = UnixMs(1_700_000_000_000);
        let shard = Shard::new(DBS, 0..16_384, seed, Settings::default());
        let mut primary = Node::new(ShardId(0), 1, shard, seed);
        let mut replica = Shard::new(DBS, 0..16_384, !seed, Settings::default());
        primary.shard_mut().effects().record(true);
        let mut together = 0;
        for _ in 0..3_000 {
            now.0 += random.below(300).cast_signed();
            let mut block = Box::new(Block::default());
            for _ in 0..random.below(6) {
                let words = request(&mut random, now);
                let args = OwnedArgs::new(words.iter().map(|word| word.as_bytes()));
                let row = row_of(args.args());
                if row.arity.accepts(words.len()) {
                    assert!(block.push(0, row, None, args.args()));
                }
            }
            let db = DbIndex(u16::from(random.below(5) == 0));
            let manner = Manner {
                db,
                protocol: Protocol::Resp2,
                no_touch: false,
                tracks: Default::default(),
                silent: false,
            };
            let mut reply = Vec::new();
            let over = primary.exec_here(now, (client, || client), (0, manner), block, &mut reply);
            assert!(over.is_some(), "nothing is locked");
            primary.replies(|_| {});
            let log = primary.shard_mut().effects().take();
            let text = log.escape_ascii().to_string();
            let names = names(&log);
            let count = |name: &[u8]| names.iter().filter(|other| *other == name).count();
            let (multi, exec) = (count(b"MULTI"), count(b"EXEC"));
            let commands = names.len() - multi - exec - count(b"SELECT");
            assert_eq!(multi, usize::from(commands > 1), "{text}");
            assert_eq!(multi, exec, "{text}");
            together += multi;
            replay(&log, &mut replica);
            if random.below(20) == 0 {
                assert_eq!(
                    contents(primary.shard_mut()),
                    contents(&mut replica),
                    "{text}"
                );
            }
        }
        assert!(
            together > 50,
            "only {together} blocks changed more than one thing"
        );
        assert_eq!(contents(primary.shard_mut()), contents(&mut replica));
    }
}
