//! What WATCH sees: everything that changes a key, and nothing that does not.
//!
//! The real server says what counts, wherever it knows the commands; Cordis must
//! agree on one shard and on four, for keys that lie anywhere, and for blocks that
//! run on the key's shard as for those that run on several.

mod support;

use support::client::{Client, Value};
use support::server::{Server, info_field};
use support::wait_until;

/// Before the key is watched, and after. Commands are parted by `;`, `K` is the
/// key, `O` another. Beside commands there are
/// - `LATER n`: until the server's clock shows n milliseconds more,
/// - `GONE`: until the current database is empty, which nobody looks at,
/// - `SELF …`: the client that watches does it,
/// - `WAIT …`: another client does it and is not answered yet,
/// - `SERVED`: until it is.
type Case = (&'static str, &'static str);

const CASES: &[Case] = &[
    // Nothing happens.
    ("", ""),
    ("SET K 1", "GET K; TTL K; TYPE K; OBJECT ENCODING K"),
    ("SET K 1", "TOUCH K; EXISTS K; STRLEN K; GETRANGE K 0 1"),
    ("SET K 1", "DEL O; SET O 1; RENAME O P"),
    (
        "SET K 1",
        "SETNX K 2; SET K 2 NX; MSETNX K 2 O 2; PERSIST K",
    ),
    ("SET K 1", "GETEX K; COPY O K; RENAMENX O K; INCR K x"),
    ("SET K a", "INCR K; LPUSH K a; SADD K a; HSET K a b"),
    (
        "",
        "DEL K; UNLINK K; LPOP K; SPOP K; EXPIRE K 100; APPEND K",
    ),
    ("SADD K a", "SADD K a; SREM K b; SMOVE O K a; SMOVE K O b"),
    ("HSET K a 1", "HSETNX K a 2; HDEL K b; HGET K a"),
    ("ZADD K 1 a", "ZADD K XX 1 b; ZADD K NX 2 a; ZREM K b"),
    (
        "RPUSH K a",
        "LREM K 0 b; LPUSHX O b; LINSERT K BEFORE z y; LPOS K a",
    ),
    ("PFADD K a", "PFADD K a"),
    ("SET K 1 EX 100", "EXPIRE K 200 NX; EXPIRE K 10 GT"),
    // Writes, those that leave the value as it was too.
    ("SET K 1", "SET K 1"),
    ("SET K 1", "SELF SET K 1"),
    ("", "SET K 1; DEL K"),
    ("SET K 1", "APPEND K x"),
    ("SET K 1", "APPEND K {}"),
    ("", "APPEND K {}"),
    ("SET K 1", "SETRANGE K 0 1"),
    ("SET K 1", "SETRANGE K 0 {}"),
    ("SET K 1", "GETSET K 1"),
    ("SET K 1", "INCRBY K 0"),
    ("SET K 1", "MSET O 1 K 1 P 1"),
    ("SET K 1", "SETBIT K 1 0"),
    ("SET K 1", "BITFIELD K GET u8 0"),
    ("SET K 1", "BITFIELD K SET u8 0 49"),
    ("SET O a; SET P b", "BITOP AND K O P"),
    ("SET K 1", "BITOP AND K O P"),
    ("HSET K a 1", "HSET K a 1"),
    ("HSET K a 1", "HINCRBY K a 0"),
    ("ZADD K 1 a", "ZADD K 1 a"),
    ("ZADD K 1 a", "ZINCRBY K 0 a"),
    ("RPUSH K a", "LSET K 0 a"),
    ("RPUSH K a", "LTRIM K 0 -1"),
    ("RPUSH K a", "LMOVE K K LEFT LEFT"),
    ("RPUSH K a b; RPUSH O a", "LMOVE O K LEFT LEFT"),
    ("RPUSH K a; RPUSH O a", "LMOVE K O LEFT RIGHT"),
    ("PFADD O a; PFADD K a", "PFMERGE K O"),
    ("PFADD K a b c", "PFCOUNT K"),
    // Deletion, and what comes in the place of what was there.
    ("SET K 1", "DEL K"),
    ("SET K 1", "UNLINK O K"),
    ("SET K 1", "GETDEL K"),
    ("RPUSH K a", "LPOP K"),
    ("SADD K a", "SPOP K"),
    ("SADD K a", "SMOVE K O a"),
    ("SADD O a", "SMOVE O K a"),
    ("SET O 1", "RENAME O K"),
    ("SET O 1; SET K 1", "RENAME O K"),
    ("SET K 1", "RENAME K O"),
    ("SET K 1", "RENAME K K"),
    ("SET O 1", "RENAMENX O K"),
    ("SET O 1", "COPY O K"),
    ("SET O 1; SET K 1", "COPY O K REPLACE"),
    ("SET K 1", "COPY K O REPLACE"),
    ("SET K 1", "COPY K K DB 1 REPLACE"),
    (
        "SELECT 1; SET O 1; SELECT 0",
        "SELECT 1; COPY O K DB 0; SELECT 0",
    ),
    ("SET K 1", "MOVE K 1"),
    (
        "SELECT 1; SET K 1; SELECT 0",
        "SELECT 1; MOVE K 0; SELECT 0",
    ),
    ("SET K 1; SELECT 1; SET K 1; SELECT 0", "MOVE K 1"),
    ("", "SELECT 1; SET K 1; SELECT 0"),
    // What stores.
    ("RPUSH O 2 1", "SORT O STORE K"),
    ("RPUSH K 2 1", "SORT O STORE K"),
    ("", "SORT O STORE K"),
    ("RPUSH K 2 1", "SORT K STORE O"),
    ("SADD O a; SADD P a", "SINTERSTORE K O P"),
    ("SADD K a; SADD P a", "SINTERSTORE K O P"),
    ("SADD P a", "SINTERSTORE K O P"),
    ("SADD O a", "SUNIONSTORE K O P"),
    ("SADD O a; SADD P a; SADD K z", "SDIFFSTORE K O P"),
    ("ZADD O 1 a; ZADD P 1 a", "ZINTERSTORE K 2 O P"),
    ("ZADD O 1 a", "ZRANGESTORE K O 0 -1"),
    ("ZADD K 1 a", "ZRANGESTORE K O 0 -1"),
    (
        "GEOADD O 1 1 a",
        "GEOSEARCHSTORE K O FROMMEMBER a BYRADIUS 1 km",
    ),
    // Deadlines.
    ("SET K 1", "EXPIRE K 100"),
    ("SET K 1 EX 100", "EXPIRE K 100"),
    ("SET K 1", "EXPIRE K -1"),
    ("SET K 1 EX 100", "PERSIST K"),
    ("SET K 1", "GETEX K EX 100"),
    ("SET K 1 EX 100", "GETEX K PERSIST"),
    ("SET K 1", "GETEX K PERSIST"),
    ("SET K 1 PX 20", "GONE"),
    ("SET K 1 PX 20", "LATER 30; GET K"),
    ("SET K 1 PX 20", "LATER 30; SELF GET K"),
    ("DEBUG SET-ACTIVE-EXPIRE 0; SET K 1 PX 20", "LATER 30"),
    (
        "DEBUG SET-ACTIVE-EXPIRE 0; SET K 1 PX 20",
        "LATER 30; GET K",
    ),
    ("DEBUG SET-ACTIVE-EXPIRE 0; SET K 1 PX 5; LATER 15", ""),
    ("DEBUG SET-ACTIVE-EXPIRE 0; SET K 1 PX 5; LATER 15", "GET K"),
    ("DEBUG SET-ACTIVE-EXPIRE 0; SET K 1 PX 5; LATER 15", "DEL K"),
    (
        "DEBUG SET-ACTIVE-EXPIRE 0; SET K 1 PX 5; LATER 15",
        "FLUSHALL",
    ),
    (
        "DEBUG SET-ACTIVE-EXPIRE 0; SET K 1 PX 20",
        "LATER 30; FLUSHALL",
    ),
    // Everything at once.
    ("SET K 1", "FLUSHALL"),
    ("SET K 1", "FLUSHALL ASYNC"),
    ("", "FLUSHALL"),
    ("SET O 1", "FLUSHDB"),
    ("SET K 1", "FLUSHDB"),
    ("SET K 1", "SELECT 1; FLUSHDB; SELECT 0"),
    ("SET K 1", "SWAPDB 0 1"),
    ("SELECT 1; SET K 1; SELECT 0", "SWAPDB 0 1"),
    ("SET K 1; SELECT 1; SET K 1; SELECT 0", "SWAPDB 1 0"),
    ("SET O 1", "SWAPDB 0 1"),
    ("SET K 1", "SWAPDB 0 0"),
    ("SET K 1", "SWAPDB 1 2"),
    // Those who wait are served.
    ("", "WAIT BLPOP K 0; RPUSH K a; SERVED"),
    ("", "WAIT BLPOP K O 0; RPUSH O a; SERVED"),
    ("", "WAIT BLPOP O K 0; RPUSH K a; SERVED"),
    ("", "WAIT BLMOVE O K LEFT LEFT 0; RPUSH O a; SERVED"),
    ("", "WAIT BLMOVE K O LEFT LEFT 0; RPUSH K a; SERVED"),
    ("", "WAIT BRPOPLPUSH O K 0; RPUSH P a"),
    ("", "WAIT BLMPOP 0 2 O K LEFT; RPUSH K a b; SERVED"),
    ("", "WAIT BZPOPMIN O K 0; ZADD K 1 a; SERVED"),
    ("", "WAIT BZMPOP 0 2 K O MAX; ZADD O 1 a; SERVED"),
    ("RPUSH K a", "SELF BLPOP K 0"),
    // In a block.
    ("SET K 1", "MULTI; SET K 1; EXEC"),
    ("SET K 1", "MULTI; SET O 1; SET K 1; SET P 1; EXEC"),
    ("SET K 1", "MULTI; SET K 1; DISCARD"),
    ("SET K 1", "MULTI; GET K; SET O 1; EXEC"),
];

/// What redis-server 7.0 does not know, and whether it counts.
const NEWER: &[(Case, bool)] = &[
    (
        ("HSET K a 1 b 2", "HTTL K FIELDS 1 a; HPERSIST K FIELDS 1 a"),
        false,
    ),
    (
        (
            "HSET K a 1 b 2",
            "HEXPIRE K 100 FIELDS 1 c; HGETEX K FIELDS 1 a",
        ),
        false,
    ),
    (("HSET K a 1 b 2", "HEXPIRE K 100 FIELDS 1 a"), true),
    (("HSET K a 1 b 2", "HEXPIRE K 0 FIELDS 1 a"), true),
    (
        (
            "HSET K a 1; HEXPIRE K 100 FIELDS 1 a",
            "HPERSIST K FIELDS 1 a",
        ),
        true,
    ),
    (("HSET K a 1 b 2", "HGETEX K EX 100 FIELDS 1 a"), true),
    (("HSET K a 1 b 2", "HGETDEL K FIELDS 1 a"), true),
    (("HSET K a 1 b 2", "HGETDEL K FIELDS 1 c"), false),
    (("HSET K a 1 b 2", "HSETEX K EX 100 FIELDS 1 a 1"), true),
    // A field's time comes: the hash changes, or is gone.
    (
        ("HSET K a 1 b 2; HPEXPIRE K 20 FIELDS 1 a", "LATER 40"),
        true,
    ),
    (
        (
            "HSET K a 1 b 2; HPEXPIRE K 20 FIELDS 1 a",
            "LATER 40; HGET K b",
        ),
        true,
    ),
    (("HSET K a 1; HPEXPIRE K 20 FIELDS 1 a", "GONE"), true),
    (
        ("HSET K a 1; HPEXPIRE K 20 FIELDS 1 a", "LATER 40; HGET K a"),
        true,
    ),
    (
        (
            "DEBUG SET-ACTIVE-EXPIRE 0; HSET K a 1 b 2; HPEXPIRE K 20 FIELDS 1 a",
            "LATER 40",
        ),
        true,
    ),
    (
        (
            "DEBUG SET-ACTIVE-EXPIRE 0; HSET K a 1; HPEXPIRE K 20 FIELDS 1 a",
            "LATER 40",
        ),
        true,
    ),
    (
        (
            "DEBUG SET-ACTIVE-EXPIRE 0; HSET K a 1 b 2; HPEXPIRE K 5 FIELDS 1 a; LATER 20",
            "",
        ),
        false,
    ),
    (
        (
            "DEBUG SET-ACTIVE-EXPIRE 0; HSET K a 1 b 2; HPEXPIRE K 5 FIELDS 1 a; LATER 20",
            "HGET K b; HGET K a",
        ),
        false,
    ),
];

/// Blocks that run on the watched key's shard alone, and on several.
const BLOCKS: &[&[&str]] = &[&["PING"], &["GET K"], &["SET x 1", "SET y 2", "SET z 3"]];

const OPTIONS: &[&str] = &["--enable-debug-command", "yes"];

/// What a server's clock shows.
fn server_ms(client: &mut Client) -> i64 {
    let time = client.call(&["TIME"]).value();
    let part = |at: usize| -> i64 { time.items()[at].text().parse().expect("TIME has numbers") };
    part(0) * 1000 + part(1) / 1000
}

/// Who takes part in a case.
struct Stage<'a> {
    server: &'a Server,
    watcher: Client,
    other: Client,
    /// Those who wait; they go away when the case is over.
    waiting: Vec<Client>,
}

impl<'a> Stage<'a> {
    fn new(server: &'a Server) -> Self {
        Self {
            server,
            watcher: server.connect(),
            other: server.connect(),
            waiting: Vec::new(),
        }
    }

    fn perform(&mut self, script: &str, place: usize) {
        for line in script
            .split(';')
            .map(str::trim)
            .filter(|line| !line.is_empty())
        {
            let named = line.split(' ').map(|word| match word {
                "K" | "O" | "P" => format!("{word}:{place}"),
                "{}" => String::new(),
                word => word.to_owned(),
            });
            let words: Vec<String> = named.collect();
            match words[0].as_str() {
                "LATER" => {
                    let ms: i64 = words[1].parse().expect("a number");
                    let until = server_ms(&mut self.other) + ms;
                    wait_until("time passes", || server_ms(&mut self.other) > until);
                }
                "GONE" => wait_until("the keys are gone by themselves", || {
                    self.other.call(&["DBSIZE"]).integer() == 0
                }),
                "SELF" => drop(self.watcher.call(&words[1..])),
                "WAIT" => {
                    let mut client = self.server.connect();
                    client.send(&words[1..]);
                    self.waiting.push(client);
                    wait_until("a client waits", || {
                        let info = self.other.call(&["INFO", "clients"]).to_string();
                        info_field(&info, "blocked_clients") == Some("1")
                    });
                }
                "SERVED" => self
                    .waiting
                    .iter_mut()
                    .for_each(|client| drop(client.read())),
                _ => drop(self.other.call(&words)),
            }
        }
    }

    /// Whether an EXEC after all this does nothing.
    fn sees(&mut self, case: Case, place: usize, block: &[&str]) -> bool {
        loop {
            if let Some(seen) = self.plays(case, place, block) {
                return seen;
            }
        }
    }

    /// Whether what is to be due only after it is watched is not due yet.
    fn is_in_time(&mut self, before: &str, place: usize) -> bool {
        let key = format!("K:{place}");
        let short = before.contains(" PX ") || before.contains("HPEXPIRE");
        if !short || before.contains("LATER") {
            return true;
        }
        if before.contains("HPEXPIRE") {
            let left = self.other.call(&["HPTTL", &key, "FIELDS", "1", "a"]);
            return left.raw.starts_with(b"*1\r\n:") && !left.raw.starts_with(b"*1\r\n:-");
        }
        self.other.call(&["EXISTS", &key]).integer() == 1
    }

    /// See [`Stage::sees`]; nothing if so much time went by before the key was watched
    /// that it is another case.
    fn plays(&mut self, (before, after): Case, place: usize, block: &[&str]) -> Option<bool> {
        self.perform("SELECT 0; FLUSHALL; DEBUG SET-ACTIVE-EXPIRE 1", place);
        self.perform(before, place);
        self.perform("SELF WATCH K", place);
        if !self.is_in_time(before, place) {
            self.perform("SELF UNWATCH", place);
            return None;
        }
        self.perform(after, place);
        self.perform("SELF MULTI", place);
        for command in block {
            self.perform(&format!("SELF {command}"), place);
        }
        let reply = self.watcher.call(&["EXEC"]).value();
        for client in std::mem::take(&mut self.waiting) {
            drop(client);
        }
        wait_until("nobody waits any more", || {
            let info = self.other.call(&["INFO", "clients"]).to_string();
            info_field(&info, "blocked_clients") == Some("0")
        });
        if let Value::Null = reply {
            return Some(true);
        }
        assert_eq!(
            reply.items().len(),
            block.len(),
            "{before} | {after}: {reply:?}"
        );
        Some(false)
    }
}

/// Whether Cordis sees what it should, for some keys on `shards` shards.
fn agrees(shards: u16, case: Case, expected: bool, stage: &mut Stage<'_>) -> Vec<String> {
    let mut wrong = Vec::new();
    // Time passes in some cases: these have fewer rounds.
    let places = if case.0.contains("PX") || case.0.contains("PEXPIRE") {
        2
    } else {
        5
    };
    for place in 0..places {
        for block in BLOCKS {
            let seen = stage.sees(case, place, block);
            if seen != expected {
                wrong.push(format!(
                    "{shards} shards, K:{place}, {case:?}, {block:?}: seen {seen}, not {expected}"
                ));
            }
        }
    }
    wrong
}

#[test]
fn watch_sees_what_redis_sees() {
    let redis = Server::redis(&[]);
    let mut real = Stage::new(&redis);
    let expected = CASES
        .iter()
        .map(|case| (*case, real.sees(*case, 0, &["PING"])));
    let expected: Vec<(Case, bool)> = expected.collect();
    let changes = expected.iter().filter(|(_, seen)| *seen).count();
    assert!(changes > 50 && CASES.len() - changes > 20, "{expected:?}");
    let all = expected.iter().chain(NEWER);
    let mut wrong = Vec::new();
    for shards in [1, 4] {
        let cordis = Server::cordis(shards, OPTIONS);
        let mut stage = Stage::new(&cordis);
        for (case, expected) in all.clone() {
            wrong.extend(agrees(shards, *case, *expected, &mut stage));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
