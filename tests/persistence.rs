//! Dumps, over sockets: written and read back, by us and by redis-server, whatever
//! happens to disk and process meanwhile.

#[path = "persistence/reload.rs"]
mod reload;
mod support;
#[path = "persistence/trouble.rs"]
mod trouble;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::client::{Client, Value};
use support::server::{CORDIS, Server, TempDir, free_port, info_field, mortal};
use support::state::{changes, difference_of_states};
use support::wait_until;

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

/// Cordis in a folder that stays when it ends.
fn cordis_in(dir: &Path, shards: u16, options: &[&str]) -> Server {
    let own = ["--dir", text(dir), "--enable-debug-command", "yes"];
    Server::cordis(shards, &[&own, options].concat())
}

fn redis_in(dir: &Path) -> Server {
    Server::redis(&["--dir", text(dir)])
}

fn ok(client: &mut Client, request: &[&str]) {
    let reply = client.call(request);
    assert_eq!(reply.raw, b"+OK\r\n", "{request:?}: {reply}");
}

fn info(client: &mut Client, field: &str) -> String {
    let info = client.call(&["INFO", "persistence"]).to_string();
    let value = info_field(&info, field);
    value
        .unwrap_or_else(|| panic!("INFO has {field}"))
        .to_owned()
}

fn digest(server: &Server) -> String {
    server.connect().call(&["DEBUG", "DIGEST"]).to_string()
}

/// Waits until no dump is being written.
fn wait_for_dump(client: &mut Client) {
    wait_until("the dump is over", || {
        info(client, "rdb_bgsave_in_progress") == "0"
    });
}

/// Files in a folder.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).expect("the folder is there");
    let names = entries.map(|entry| {
        let name = entry.expect("the folder is readable").file_name();
        name.to_string_lossy().into_owned()
    });
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

/// Keys of every type and encoding, with and without deadlines, in several databases.
fn fill(client: &mut Client) {
    let mut requests: Vec<Vec<Vec<u8>>> = Vec::new();
    let mut put = |words: &[&str]| requests.push(support::words(words));
    let long = "long ".repeat(30_000);
    for db in ["0", "3", "15"] {
        put(&["SELECT", db]);
        put(&["SET", "int", "1234567"]);
        put(&["SET", "text", "a text \u{e9}"]);
        put(&["SET", "long", &long]);
        put(&["SET", "", "the empty key"]);
        put(&["SET", "later", "v", "PXAT", "4000000000123"]);
        put(&["SETRANGE", "zeros", "9000", "x"]);
        for number in 0..2000 {
            let member = format!("member {number}");
            let number = number.to_string();
            put(&["RPUSH", "list", &member, &number]);
            put(&["SADD", "set", &member]);
            put(&["SADD", "intset", &number]);
            put(&["HSET", "hash", &member, &number]);
            put(&["ZADD", "zset", &number, &member]);
            put(&[
                "XADD",
                "stream",
                &format!("{number}-1"),
                "n",
                &member,
                "f",
                "v",
            ]);
            put(&["SET", &format!("key:{number}"), &member]);
        }
        put(&["RPUSH", "small list", "a", "1", "-70000", ""]);
        put(&["SADD", "small set", "a", "1"]);
        put(&["SADD", "small intset", "3", "-4", "9223372036854775807"]);
        put(&["HSET", "small hash", "f", "v", "1", "2"]);
        put(&["ZADD", "small zset", "1.5", "a", "-inf", "b", "inf", "c"]);
        put(&["EXPIREAT", "hash", "4000000000"]);
        put(&["XGROUP", "CREATE", "stream", "group", "3-1"]);
        put(&[
            "XREADGROUP",
            "GROUP",
            "group",
            "reader",
            "COUNT",
            "7",
            "STREAMS",
            "stream",
            ">",
        ]);
        put(&["XDEL", "stream", "5-1", "1999-1"]);
    }
    for (request, reply) in requests.iter().zip(client.pipeline(&requests)) {
        assert!(
            !reply.raw.starts_with(b"-"),
            "{}: {reply}",
            support::show_command(request)
        );
    }
}

#[test]
fn what_was_saved_is_there_again_on_other_numbers_of_shards() {
    let dir = TempDir::new();
    let mut expected = None;
    for (from, to) in [(1, 4), (4, 3), (3, 1)] {
        let mut server = cordis_in(dir.path(), from, &[]);
        let mut client = server.connect();
        if expected.is_none() {
            fill(&mut client);
            // Hashes whose fields have deadlines.
            let reply = client.call(&[
                "HPEXPIREAT",
                "small hash",
                "4000000000123",
                "FIELDS",
                "1",
                "f",
            ]);
            assert_eq!(reply.raw, b"*1\r\n:1\r\n");
            expected = Some(digest(&server));
            client.call(&["SELECT", "0"]);
        }
        assert_eq!(Some(digest(&server)), expected);
        ok(&mut client, &["SAVE"]);
        assert_eq!(info(&mut client, "rdb_changes_since_last_save"), "0");
        server.signal("KILL");
        server.wait_for_end();
        let server = cordis_in(dir.path(), to, &[]);
        assert_eq!(Some(digest(&server)), expected, "{from} to {to} shards");
        let mut client = server.connect();
        assert_eq!(
            client.call(&["PEXPIRETIME", "later"]).raw,
            b":4000000000123\r\n"
        );
        assert_eq!(info(&mut client, "rdb_changes_since_last_save"), "0");
        let keys = client.call(&["INFO", "keyspace"]).to_string();
        let keys: u64 = [0, 3, 15]
            .map(|db| {
                let line = info_field(&keys, &format!("db{db}")).expect("it has keys");
                let keys = line.split([',', '=']).nth(1);
                keys.and_then(|keys| keys.parse::<u64>().ok())
                    .expect("a number")
            })
            .iter()
            .sum();
        assert_eq!(
            info(&mut client, "rdb_last_load_keys_loaded"),
            keys.to_string()
        );
        assert_eq!(names(dir.path()), ["dump.rdb"]);
    }
}

#[test]
fn dumps_cross_over_to_redis_server_and_back() {
    let dir = TempDir::new();
    let mut cordis = cordis_in(dir.path(), 2, &[]);
    let mut client = cordis.connect();
    fill(&mut client);
    ok(&mut client, &["SAVE"]);
    let check = Command::new("redis-check-rdb")
        .arg(dir.path().join("dump.rdb"))
        .output();
    let check = check.expect("redis-check-rdb comes with redis-server");
    assert!(
        check.status.success(),
        "{}",
        String::from_utf8_lossy(&check.stdout)
    );
    let redis = redis_in(dir.path());
    assert_eq!(difference_of_states(&redis, &cordis), None);
    ok(&mut redis.connect(), &["SAVE"]);
    client.send(&["SHUTDOWN", "NOSAVE"]);
    cordis.wait_for_end();
    let cordis = cordis_in(dir.path(), 3, &[]);
    assert_eq!(difference_of_states(&redis, &cordis), None);
}

/// What a client is told, and what INFO says, beside redis-server.
#[test]
fn saving_is_told_as_redis_tells_it() {
    for shards in [1, 3] {
        let (ours, theirs) = (TempDir::new(), TempDir::new());
        let cordis = cordis_in(ours.path(), shards, &[]);
        let redis = redis_in(theirs.path());
        let mut clients = [redis.connect(), cordis.connect()];
        for line in [
            "SET a 1",
            "MSET b 1 c 2 d 3",
            "SAVE",
            "LASTSAVE x",
            "SET a 2",
            "DEL a b",
            "BGSAVE x",
            "BGSAVE schedule x",
            "SAVE x",
            "MULTI",
            "SAVE",
            "EXEC",
            "MULTI",
            "SET x 1",
            "BGSAVE",
            "SET y 1",
            "EXEC",
        ] {
            let request: Vec<&str> = line.split(' ').collect();
            let [theirs, ours] = clients.each_mut().map(|client| client.call(&request));
            assert_eq!(theirs, ours, "{line}");
        }
        for client in &mut clients {
            // What a block has noted is begun soon.
            wait_until("it is saved", || changes(client) == 0);
            wait_for_dump(client);
            assert_eq!(info(client, "rdb_saves"), "2");
            client.call(&["SET", "z", "1"]);
            let started = client.call(&["BGSAVE"]);
            assert_eq!(started.raw, b"+Background saving started\r\n");
            wait_for_dump(client);
            assert_eq!(
                (changes(client), info(client, "rdb_saves")),
                (0, "3".to_owned())
            );
            assert_eq!(info(client, "rdb_last_bgsave_status"), "ok");
            let took: i64 = info(client, "rdb_last_bgsave_time_sec")
                .parse()
                .expect("a number");
            assert!(took >= 0);
        }
        let [theirs, ours] = clients
            .each_mut()
            .map(|client| client.call(&["LASTSAVE"]).value());
        match (theirs, ours) {
            (Value::Integer(one), Value::Integer(other)) => {
                assert!(one.abs_diff(other) <= 60, "{one} {other}");
            }
            other => panic!("{other:?}"),
        }
    }
}

/// What is written after the reply to BGSAVE is not in the dump, and counts as a change.
#[test]
fn a_dump_is_of_the_instant_at_which_it_was_begun() {
    let dir = TempDir::new();
    let server = cordis_in(dir.path(), 2, &[]);
    let mut client = server.connect();
    fill(&mut client);
    let expected = digest(&server);
    let mut requests = vec![support::words(&["BGSAVE"])];
    for number in 0..2000 {
        requests.push(support::words(&["SET", &format!("key:{number}"), "new"]));
    }
    requests.push(support::words(&["FLUSHALL"]));
    requests.push(support::words(&["SET", "a", "1"]));
    let replies = client.pipeline(&requests);
    assert_eq!(replies[0].raw, b"+Background saving started\r\n");
    wait_for_dump(&mut client);
    assert_ne!(changes(&mut client), 0);
    drop(server);
    assert_eq!(digest(&cordis_in(dir.path(), 1, &[])), expected);
}

#[test]
fn save_points_have_a_dump_written() {
    let dir = TempDir::new();
    let server = cordis_in(dir.path(), 2, &["--save", "1 3"]);
    let mut client = server.connect();
    client.call(&["MSET", "a", "1", "b", "2", "c", "3"]);
    wait_until("the point is reached", || changes(&mut client) == 0);
    assert_eq!(names(dir.path()), ["dump.rdb"]);
    ok(&mut client, &["CONFIG", "SET", "save", ""]);
    ok(&mut client, &["SET", "d", "4"]);
    assert_eq!(changes(&mut client), 1);
    ok(&mut client, &["CONFIG", "SET", "save", "3600 1000 1 1"]);
    wait_until("the other point is reached", || changes(&mut client) == 0);
    assert_eq!(info(&mut client, "rdb_saves"), "2");
}

#[test]
fn the_end_saves_where_redis_does() {
    for (points, how, saves) in [
        ("", &["SHUTDOWN"][..], false),
        ("", &["SHUTDOWN", "SAVE"], true),
        ("", &["TERM"], false),
        ("3600 1", &["SHUTDOWN"], true),
        ("3600 1", &["SHUTDOWN", "NOSAVE", "NOW", "FORCE"], false),
        ("3600 1", &["TERM"], true),
        ("3600 1", &["INT"], true),
    ] {
        let dir = TempDir::new();
        let mut server = cordis_in(dir.path(), 2, &["--save", points]);
        let mut client = server.connect();
        ok(&mut client, &["SET", "a", "1"]);
        match how {
            ["SHUTDOWN", ..] => {
                client.send(how);
                assert!(client.is_closed(), "{how:?}");
            }
            signal => server.signal(signal[0]),
        }
        assert_eq!(server.wait_for_end().code(), Some(0), "{points} {how:?}");
        let expected: &[&str] = if saves { &["dump.rdb"] } else { &[] };
        assert_eq!(names(dir.path()), expected, "{points} {how:?}");
    }
}

/// Clients that come while a dump is being read are told so, but for commands that say
/// that they can be run then.
#[test]
fn clients_are_told_of_loading() {
    let dir = TempDir::new();
    {
        let redis = redis_in(dir.path());
        let mut client = redis.connect();
        ok(&mut client, &["DEBUG", "POPULATE", "2000000"]);
        ok(&mut client, &["SET", "past", "v", "PXAT", "4000000000000"]);
        ok(&mut client, &["SAVE"]);
    }
    let port = free_port();
    let mut command = mortal(CORDIS);
    command.args([
        "--dir",
        text(dir.path()),
        "--port",
        &port.to_string(),
        "--bind",
        "127.0.0.1",
    ]);
    command.args(["--save", "", "--shards", "2"]);
    command.stdout(std::process::Stdio::null());
    let mut server = command.spawn().expect("setpriv (util-linux) is installed");
    let mut client = None;
    wait_until("it listens", || {
        client = Client::try_connect(port).ok();
        client.is_some()
    });
    let mut client = client.expect("it listens");
    let loading = b"-LOADING Redis is loading the dataset in memory\r\n";
    assert_eq!(client.call(&["GET", "key:1"]).raw, loading);
    assert_eq!(client.call(&["PING"]).raw, loading);
    assert_eq!(client.call(&["SAVE"]).raw, loading);
    let told = client.call(&["INFO", "persistence"]).to_string();
    assert_eq!(info_field(&told, "loading"), Some("1"), "{told}");
    for field in [
        "loading_start_time",
        "loading_total_bytes",
        "loading_loaded_bytes",
        "loading_loaded_perc",
        "loading_eta_seconds",
    ] {
        assert!(info_field(&told, field).is_some(), "{field}: {told}");
    }
    wait_until("it is loaded", || {
        client.call(&["PING"]).raw == b"+PONG\r\n"
    });
    assert_eq!(client.call(&["DBSIZE"]).raw, b":2000001\r\n");
    assert_eq!(info(&mut client, "loading"), "0");
    client.send(&["SHUTDOWN", "NOSAVE"]);
    assert!(server.wait().expect("it is ours").success());
}

/// Each connection's blocks are in the dump up to one of them, and each on all shards or
/// on none.
#[test]
fn a_dump_under_load_is_of_one_instant() {
    const WRITERS: usize = 3;
    const KEYS: usize = 40;
    let dir = TempDir::new();
    let mset = |writer: usize, number: u64| {
        let pairs = (0..KEYS).flat_map(|key| [format!("{writer}:{key}"), number.to_string()]);
        ["MSET".to_owned()]
            .into_iter()
            .chain(pairs)
            .collect::<Vec<_>>()
    };
    let server = cordis_in(dir.path(), 3, &[]);
    fill(&mut server.connect());
    let answered: [AtomicU64; WRITERS] = Default::default();
    let over = AtomicBool::new(false);
    let (before, after) = std::thread::scope(|scope| {
        for (writer, answered) in answered.iter().enumerate() {
            let (mut client, over) = (server.connect(), &over);
            scope.spawn(move || {
                for number in 1.. {
                    ok(
                        &mut client,
                        &mset(writer, number)
                            .iter()
                            .map(String::as_str)
                            .collect::<Vec<_>>(),
                    );
                    answered.store(number, Ordering::SeqCst);
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        let all = || answered.each_ref().map(|it| it.load(Ordering::SeqCst));
        wait_until("all write", || all().iter().all(|number| *number > 10));
        let mut client = server.connect();
        let before = all();
        let started = client.call(&["BGSAVE"]);
        assert_eq!(started.raw, b"+Background saving started\r\n");
        let after = all();
        wait_for_dump(&mut client);
        over.store(true, Ordering::SeqCst);
        (before, after)
    });
    assert_eq!(names(dir.path()), ["dump.rdb"]);
    drop(server);
    let server = cordis_in(dir.path(), 2, &[]);
    let mut client = server.connect();
    for writer in 0..WRITERS {
        let mut mget = vec!["MGET".to_owned()];
        mget.extend((0..KEYS).map(|key| format!("{writer}:{key}")));
        let reply = client.call(&mget).value();
        let values: BTreeSet<String> = reply.items().iter().map(Value::text).collect();
        assert_eq!(values.len(), 1, "a part of a MSET: {values:?}");
        let number: u64 = values
            .first()
            .and_then(|it| it.parse().ok())
            .expect("a number");
        // One more may have been done and not answered.
        let range = before[writer]..=after[writer] + 1;
        assert!(range.contains(&number), "{number} is not in {range:?}");
    }
}

/// Libraries of functions, which this server cannot run, are not lost.
#[test]
fn what_is_kept_of_redis_goes_back_to_it() {
    let dir = TempDir::new();
    let library = "#!lua name=lib\nredis.register_function('f', function() return 7 end)";
    {
        let redis = redis_in(dir.path());
        let mut client = redis.connect();
        assert_eq!(
            client.call(&["FUNCTION", "LOAD", library]).raw,
            b"$3\r\nlib\r\n"
        );
        ok(&mut client, &["SET", "a", "1"]);
        ok(&mut client, &["SAVE"]);
    }
    {
        let cordis = cordis_in(dir.path(), 2, &[]);
        let mut client = cordis.connect();
        ok(&mut client, &["SET", "b", "2"]);
        ok(&mut client, &["DEBUG", "RELOAD"]);
        ok(&mut client, &["SAVE"]);
    }
    let redis = redis_in(dir.path());
    let mut client = redis.connect();
    assert_eq!(client.call(&["FCALL", "f", "0"]).raw, b":7\r\n");
    assert_eq!(
        client.call(&["MGET", "a", "b"]).raw,
        b"*2\r\n$1\r\n1\r\n$1\r\n2\r\n"
    );
}

#[test]
fn what_is_due_when_a_dump_is_loaded_is_not_there() {
    let dir = TempDir::new();
    {
        let cordis = cordis_in(dir.path(), 2, &[]);
        let mut client = cordis.connect();
        // Whoever looks at it would delete it.
        ok(&mut client, &["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
        ok(&mut client, &["SET", "due", "v", "PX", "1"]);
        ok(&mut client, &["SET", "stays", "v"]);
        ok(&mut client, &["SAVE"]);
    }
    let server = cordis_in(dir.path(), 2, &[]);
    let mut client = server.connect();
    assert_eq!(client.call(&["DBSIZE"]).raw, b":1\r\n");
    assert_eq!(info(&mut client, "rdb_last_load_keys_expired"), "1");
    assert_eq!(info(&mut client, "rdb_last_load_keys_loaded"), "1");
}
