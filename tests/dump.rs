//! What DUMP replies, beside the real redis-server: it makes the same value there, and of
//! the same small value redis-server says the same bytes. Whole files are made of the
//! same bytes, which redis-check-rdb checks and redis-server loads.

mod support;

use shards::rdb::{self, Crc64, Meta};
use shards::{DbIndex, StringRef, UnixMs, ValueRef};
use std::process::Command;
use support::client::{Client, Reply, Value};
use support::rng::{Rng, seed};
use support::same::{comparison, same};
use support::server::{Server, TempDir};
use support::state::difference_of_states;
use support::{show, show_command, wait_until, words};

/// The deadline of some keys, far away.
const DEADLINE: i64 = 4_000_000_000_000;

/// Version and checksum.
const END_BYTES: usize = 10;

type Words = Vec<Vec<u8>>;

/// A text that can be compressed, but not much.
fn text(rng: &mut Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| *rng.pick(b"abcdefgh \0\xFF")).collect()
}

fn request(name: &str, key: &str, rest: impl IntoIterator<Item = Vec<u8>>) -> Words {
    let mut words = words(&[name, key]);
    words.extend(rest);
    words
}

fn number(number: i64) -> Vec<u8> {
    number.to_string().into_bytes()
}

/// Texts around each bound: of numbers, of what is compressed, of what is written in
/// steps, and of what is given up.
fn strings(rng: &mut Rng) -> Vec<Words> {
    let mut all = Vec::new();
    for number in [
        "0",
        "-1",
        "127",
        "128",
        "-128",
        "-129",
        "32767",
        "32768",
        "-32768",
        "-32769",
        "2147483647",
        "2147483648",
        "-2147483648",
        "-2147483649",
        "9223372036854775807",
        "007",
        "-0",
        "1e5",
        "",
    ] {
        all.push(request(
            "SET",
            &format!("number {number}"),
            words(&[number]),
        ));
    }
    for len in [
        19, 20, 21, 32, 44, 45, 63, 64, 128, 129, 1_024, 1_025, 4_096, 8_192, 8_193, 32_768,
        40_000, 300_000, 3_000_000,
    ] {
        let kinds = [text(rng, len), rng.bytes(len), vec![b'z'; len]];
        for (kind, value) in ["text", "random", "same"].iter().zip(kinds) {
            all.push(request("SET", &format!("{kind} {len}"), [value]));
        }
    }
    all
}

fn lists(rng: &mut Rng) -> Vec<Words> {
    let edges = [
        0,
        127,
        128,
        4_095,
        4_096,
        32_767,
        32_768,
        8_388_607,
        8_388_608,
        i64::from(i32::MAX),
    ];
    let edges = edges
        .iter()
        .flat_map(|edge| [*edge, -edge, -edge - 1, edge + 1]);
    let edges = edges.chain([i64::MAX, i64::MIN]);
    let mut all = vec![
        request("RPUSH", "list of numbers", edges.map(number)),
        request(
            "RPUSH",
            "list of few",
            [text(rng, 62), text(rng, 64), text(rng, 4_000)],
        ),
        request("RPUSH", "list of one", [rng.bytes(9_000)]),
    ];
    for at in 0..3_000 {
        let element = if at % 3 == 0 {
            number(at as i64 * 37)
        } else {
            text(rng, at % 90)
        };
        all.push(request("RPUSH", "list of many", [element]));
    }
    // Elements of every length, some in rows of their own, and rows with room in front.
    for at in 0..40 {
        let element = rng.bytes(at * 2_000);
        all.push(request(
            if at % 2 == 0 { "RPUSH" } else { "LPUSH" },
            "list of long",
            [element],
        ));
    }
    let huge = [
        text(rng, 2_000_000),
        b"small".to_vec(),
        rng.bytes(1_000_000),
    ];
    all.push(request("RPUSH", "list of huge", huge));
    all
}

fn sets(rng: &mut Rng) -> Vec<Words> {
    let mut all = vec![
        request("SADD", "set of bytes", (-50..50).map(number)),
        request("SADD", "set of words", [number(40_000), number(-3)]),
        request("SADD", "set of longs", [number(1 << 40), number(-3)]),
        request(
            "SADD",
            "set of few",
            words(&["a", "b", "3", "a longer member, to be compressed, longer"]),
        ),
    ];
    for at in 0..3_000 {
        let member = [format!("{at} ").into_bytes(), text(rng, at % 70)].concat();
        all.push(request("SADD", "set of many", [member]));
        all.push(request(
            "SADD",
            "set of many numbers",
            [number(at as i64 * 1_000_003)],
        ));
    }
    for at in 0..20 {
        all.push(request(
            "SADD",
            "set of long",
            [rng.bytes(at * 4_000), text(rng, at * 9_000)],
        ));
    }
    all
}

fn hashes(rng: &mut Rng) -> Vec<Words> {
    let mut all = vec![request(
        "HSET",
        "hash of few",
        words(&["a", "1", "b", "x", "5", "-7"]),
    )];
    for at in 0..3_000 {
        let field = [format!("{at} ").into_bytes(), text(rng, at % 40)].concat();
        all.push(request("HSET", "hash of many", [field, text(rng, at % 50)]));
    }
    for at in 0..20 {
        let pair = [rng.bytes(1 + at * 3_000), text(rng, (20 - at) * 3_000)];
        all.push(request("HSET", "hash of long", pair));
    }
    all
}

fn zsets(rng: &mut Rng) -> Vec<Words> {
    let scored = |pairs: &[&str]| words(pairs);
    let mut all = vec![
        request(
            "ZADD",
            "zset of few",
            scored(&["1", "a", "-5", "7", "4503599627370495", "c"]),
        ),
        request(
            "ZADD",
            "zset of fractions",
            scored(&[
                "1.5", "a", "inf", "b", "-inf", "c", "1e300", "d", "0.1", "e", "1e17", "f", "-2.5",
                "4",
            ]),
        ),
    ];
    for at in 0..3_000 {
        let score = format!("{}.{}", rng.below(500), rng.below(99));
        let member = [format!("{at} ").into_bytes(), text(rng, at % 60)].concat();
        all.push(request(
            "ZADD",
            "zset of many",
            [score.into_bytes(), member],
        ));
    }
    all.push(request(
        "ZADD",
        "zset of many",
        words(&["inf", "i", "-inf", "j", "-0", "k"]),
    ));
    for at in 0..15 {
        all.push(request(
            "ZADD",
            "zset of long",
            [number(at % 3), rng.bytes(1 + at as usize * 2_000)],
        ));
    }
    all
}

/// What is done to streams then. A `_` is a space in a name.
const ON_STREAMS: &[&str] = &[
    "XDEL stream 1-1 1-2 100-0 7-1",
    "XTRIM stream_of_kinds MAXLEN 120",
    "XGROUP CREATE stream g 0",
    "XGROUP CREATE stream other 20-0 ENTRIESREAD 3",
    "XGROUP CREATECONSUMER stream other idle",
    "XREADGROUP GROUP g one COUNT 150 STREAMS stream >",
    "XREADGROUP GROUP g two COUNT 90 STREAMS stream >",
    "XREADGROUP GROUP other three COUNT 90 STREAMS stream >",
    "XACK stream g 3-1 4-0 9-1",
    "XCLAIM stream g three 0 5-0 6-0 TIME 1600000000000 RETRYCOUNT 700",
    "XGROUP CREATE empty g $ MKSTREAM",
    "XADD emptied 5-5 f v",
    "XDEL emptied 5-5",
    "XSETID emptied 9-9 ENTRIESADDED 70 MAXDELETEDID 8-8",
];

/// The words of a line.
fn line_words(line: &str) -> Words {
    let words = line.split(' ');
    words
        .map(|word| word.replace('_', " ").into_bytes())
        .collect()
}

fn streams(rng: &mut Rng) -> Vec<Words> {
    let mut all = Vec::new();
    let mut add = |key: &str, id: String, fields: Vec<Vec<u8>>| {
        all.push(request(
            "XADD",
            key,
            [vec![id.into_bytes()], fields].concat(),
        ));
    };
    for at in 1..600 {
        let (ms, seq) = (at / 3 + 1, at % 3);
        let fields = vec![
            b"name".to_vec(),
            text(rng, at % 40),
            b"n".to_vec(),
            number(at as i64),
        ];
        add("stream", format!("{ms}-{seq}"), fields);
    }
    for at in 1..300 {
        let fields = (0..=at % 5).flat_map(|field| {
            [
                format!("f{}", field * (1 + at % 7)).into_bytes(),
                text(rng, at % 20),
            ]
        });
        add("stream of kinds", format!("{at}-9"), fields.collect());
        add(
            "stream of ids",
            format!("{}-{}", at * at * 7_919, u64::MAX / at as u64),
            vec![b"f".to_vec(), b"1".to_vec()],
        );
    }
    add(
        "stream of long",
        "1-1".into(),
        vec![text(rng, 3_000), b"v".to_vec()],
    );
    add(
        "stream of long",
        "1-2".into(),
        vec![b"a".to_vec(), rng.bytes(200_000)],
    );
    let fields = [
        text(rng, 100_000),
        rng.bytes(20_000),
        b"1".to_vec(),
        text(rng, 9_000),
        b"3".to_vec(),
        b"4".to_vec(),
    ];
    add("stream of long", "1-3".into(), fields.to_vec());
    add(
        "stream of long",
        "7-0".into(),
        (0..6_000)
            .flat_map(|at| [number(at), text(rng, 20)])
            .collect(),
    );
    all.extend(ON_STREAMS.iter().map(|line| line_words(line)));
    all
}

/// Every type, in every form that it has in a dump, around every bound.
fn values() -> Vec<Words> {
    let rng = &mut Rng::new(seed("dump"));
    let all = [
        strings(rng),
        lists(rng),
        sets(rng),
        hashes(rng),
        zsets(rng),
        streams(rng),
    ];
    all.concat()
}

fn send_all(client: &mut Client, requests: &[Words]) {
    for (request, reply) in requests.iter().zip(client.pipeline(requests)) {
        assert!(!reply.is_error(), "{}: {reply:?}", show_command(request));
    }
}

/// All keys, with what DUMP says of each.
fn dumps(client: &mut Client) -> Vec<(Vec<u8>, Vec<u8>)> {
    let keys = client.call(&["KEYS", "*"]).value();
    let mut keys: Vec<Vec<u8>> = keys.items().iter().map(Value::bytes).collect();
    keys.sort();
    let dump = |key: &Vec<u8>| client.call(&[b"DUMP", key.as_slice()]).value().bytes();
    let all: Vec<_> = keys.iter().map(dump).collect();
    keys.into_iter().zip(all).collect()
}

/// Two servers, of which Cordis has all values.
fn filled(shards: u16) -> (Server, Server) {
    let (cordis, redis) = (Server::cordis(shards, &[]), Server::redis(&[]));
    send_all(&mut cordis.connect(), &values());
    (cordis, redis)
}

fn assert_same(redis: &Server, cordis: &Server) {
    if let Some(difference) = difference_of_states(redis, cordis) {
        let shown: String = difference.chars().take(2_000).collect();
        panic!("{shown}");
    }
    // What is pending with whom, and how often it was delivered.
    for line in [
        "XPENDING stream g - + 1000",
        "XPENDING stream other - + 1000",
        "XINFO GROUPS stream",
        "XINFO GROUPS empty",
    ] {
        let request: Vec<&str> = line.split(' ').collect();
        let [one, other] = [redis, cordis].map(|server| server.connect().call(&request));
        assert_agree(&words(&request), &one, &other);
    }
}

fn assert_agree(request: &Words, one: &Reply, other: &Reply) {
    let agree = same(comparison(request), request, one, other);
    assert!(agree, "{}: {one:?} {other:?}", show_command(request));
}

#[test]
fn what_is_dumped_is_restored_by_redis() {
    for shards in [1, 2] {
        let (cordis, redis) = filled(shards);
        let mut client = redis.connect();
        for (key, payload) in dumps(&mut cordis.connect()) {
            let reply = client.call(&[b"RESTORE", key.as_slice(), b"0", &payload]);
            assert!(reply.raw == b"+OK\r\n", "{}: {reply:?}", show(&key));
        }
        assert_same(&redis, &cordis);
        // And it can be changed there: what is in a row of its own among a list's, too.
        for line in [
            "LSET list_of_huge 0 short",
            "LINSERT list_of_huge BEFORE small new",
            "LREM list_of_huge 1 small",
            "LPOP list_of_huge 2",
            "LTRIM list_of_long 3 -3",
            "XADD stream 10000-1 name x n 5",
            "XDEL stream 50-1",
            "XTRIM stream_of_ids MAXLEN 10",
            "ZINCRBY zset_of_fractions 3 e",
        ] {
            let request = line_words(line);
            let [one, other] = [&redis, &cordis].map(|server| server.connect().call(&request));
            assert_agree(&request, &one, &other);
        }
        assert_same(&redis, &cordis);
    }
}

/// Where redis-server keeps a value as we do, and nothing is compressed.
#[test]
fn small_values_are_dumped_as_redis_dumps_them() {
    let plain = ["--rdbcompression", "no"];
    let (cordis, redis) = (Server::cordis(2, &plain), Server::redis(&plain));
    let rng = &mut Rng::new(seed("small dumps"));
    let short = |words: &Words| words.iter().map(Vec::len).sum::<usize>() < 4_000;
    let mut requests: Vec<Words> = [strings(rng), lists(rng)].concat();
    requests.retain(|words| short(words) && !words[1].starts_with(b"list of m"));
    requests.extend([
        // A number that is kept as text.
        request("SET", "appended", words(&["12"])),
        request("APPEND", "appended", words(&["3"])),
        request("SADD", "set of bytes", (-50..50).map(number)),
        request("SADD", "set of words", [number(40_000), number(-3)]),
        request("SADD", "set of longs", [number(1 << 40), number(-3)]),
        request("SADD", "set of one", words(&["member"])),
        request(
            "HSET",
            "hash",
            words(&[
                "a",
                "1",
                "b",
                "x",
                "5",
                "-7",
                "long",
                "enough to be compressed if it were",
            ]),
        ),
        request(
            "ZADD",
            "zset",
            words(&["1", "a", "-5", "7", "2251799813685247", "c", "3", "3"]),
        ),
    ]);
    for (ms, seq) in [(5, 5), (5, 6), (9, 0), (9, 1)] {
        let fields = ["same", "1", "fields", "with values that differ"];
        let id = format!("{ms}-{seq}").into_bytes();
        requests.push(request(
            "XADD",
            "stream",
            [vec![id], words(&fields)].concat(),
        ));
    }
    let lines = [
        "XADD stream 10-0 other fields than before same 5 n -70000",
        "XGROUP CREATE stream g 5-6",
        "XGROUP CREATE stream h 0 ENTRIESREAD 2",
        "XGROUP CREATE alone g $ MKSTREAM",
    ];
    requests.extend(
        lines
            .iter()
            .map(|line| words(&line.split(' ').collect::<Vec<_>>())),
    );
    for server in [&cordis, &redis] {
        send_all(&mut server.connect(), &requests);
    }
    let [ours, theirs] = [&cordis, &redis].map(|server| dumps(&mut server.connect()));
    assert_eq!(ours.len(), theirs.len());
    for ((key, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        assert_eq!(ours, theirs, "{}", show(key));
    }
    assert!(ours.len() > 40);
}

/// A value that is dumped in slices is the same within a block, and after one.
#[test]
fn a_block_has_what_is_dumped_in_slices() {
    let cordis = Server::cordis(2, &[]);
    let mut client = cordis.connect();
    let rng = &mut Rng::new(seed("blocks"));
    send_all(&mut client, &[lists(rng), sets(rng)].concat());
    for keys in [
        ["list of huge", "set of long"],
        ["set of many", "list of many"],
    ] {
        let dump = |key| words(&["DUMP", key]);
        let [one, other] = keys.map(|key| client.call(&dump(key)).value());
        assert!(one.bytes().len() > 100_000 || other.bytes().len() > 50_000);
        client.call(&["MULTI"]);
        client.call(&["DUMP", keys[0]]);
        client.call(&["DUMP", "missing"]);
        client.call(&["DUMP", keys[1]]);
        client.call(&["DEL", keys[0], keys[1]]);
        client.call(&["DUMP", keys[1]]);
        let replies = client.call(&["EXEC"]).value();
        let (null, two) = (Value::Null, Value::Integer(2));
        assert_eq!(replies.items(), [one, null.clone(), other, two, null]);
    }
}

/// A file of all values, and the same keys again in another database.
fn file(cordis: &Server, compress: bool) -> Vec<u8> {
    let about = [
        ("redis-ver", "7.2.4".to_string()),
        ("redis-bits", "64".to_string()),
    ];
    let (mut out, mut client) = (Vec::new(), cordis.connect());
    let put = |done: Result<(), _>| assert!(done.is_ok());
    put(rdb::file_head(10, &about, &mut out));
    let all = dumps(&mut client);
    let meta = |at: usize| Meta {
        expire_at: at.is_multiple_of(3).then_some(UnixMs(DEADLINE)),
        ..Meta::default()
    };
    for db in [0, 11] {
        put(rdb::select_db(DbIndex(db), &mut out));
        put(rdb::resize_db(
            all.len() as u64,
            all.len().div_ceil(3) as u64,
            &mut out,
        ));
        for (at, (key, payload)) in all.iter().enumerate() {
            // The type of what DUMP wrote stands in the place of that of a string.
            let stand_in = ValueRef::String(StringRef::Int(0));
            let start = out.len();
            put(rdb::encode_entry_head(
                key,
                stand_in,
                &meta(at),
                compress,
                &mut out,
            ));
            let at = start + if meta(at).expire_at.is_some() { 9 } else { 0 };
            out[at] = payload[0];
            out.extend_from_slice(&payload[1..payload.len() - END_BYTES]);
        }
    }
    let text = ValueRef::String(StringRef::Bytes(
        b"a string that is compressed, is compressed",
    ));
    put(rdb::encode_entry(
        b"last",
        text,
        &Meta::default(),
        compress,
        &mut out,
    ));
    let mut checksum = Crc64::default();
    checksum.update(&out);
    put(rdb::file_end(compress.then_some(checksum), &mut out));
    out
}

#[test]
fn a_file_is_checked_and_loaded_by_redis() {
    let cordis = Server::cordis(2, &[]);
    let mut client = cordis.connect();
    send_all(&mut client, &values());
    for compress in [true, false] {
        let bytes = file(&cordis, compress);
        let folder = TempDir::new();
        let path = folder.path().join("dump.rdb");
        std::fs::write(&path, bytes).expect("the folder is there");
        let checked = Command::new("redis-check-rdb").arg(&path).output();
        let checked = checked.expect("it is installed with redis-server");
        let said = String::from_utf8_lossy(&checked.stdout);
        assert!(
            checked.status.success() && said.contains("RDB looks OK"),
            "{said}"
        );
        let place = folder.path().to_str().expect("it is text");
        let redis = Server::redis(&["--dir", place, "--dbfilename", "dump.rdb"]);
        let mut other = redis.connect();
        wait_until("all is loaded", || {
            other.call(&["DBSIZE"]).raw.starts_with(b":")
        });
        let keys = client.call(&["DBSIZE"]).integer();
        assert_eq!(other.call(&["DBSIZE"]).integer(), keys);
        other.call(&["SELECT", "11"]);
        assert_eq!(other.call(&["DBSIZE"]).integer(), keys + 1);
        assert!(
            other
                .call(&["GET", "last"])
                .to_string()
                .contains("is compressed, is")
        );
        other.call(&["FLUSHDB"]);
        other.call(&["SELECT", "0"]);
        for (at, (key, _)) in dumps(&mut client).iter().enumerate() {
            let deadline = other.call(&[b"PEXPIRETIME", key.as_slice()]).integer();
            assert_eq!(deadline, if at % 3 == 0 { DEADLINE } else { -1 });
            other.call(&[b"PERSIST", key.as_slice()]);
        }
        assert_same(&redis, &cordis);
    }
}
