//! What the server tells about its own doing: slow commands, latencies,
//! statistics of commands.

mod support;

use support::client::{Client, Value};
use support::server::{Server, info_field};

fn number(value: &Value) -> i64 {
    match value {
        Value::Integer(number) => *number,
        other => panic!("{other:?} is no number"),
    }
}

/// SLOWLOG GET without what differs from run to run: ids from the first one on,
/// arguments, name.
fn slow_entries(client: &mut Client) -> Vec<(i64, Vec<String>, String)> {
    let reply = client.call(&["SLOWLOG", "GET", "-1"]).value();
    let entry = |entry: &Value| {
        let fields = entry.items();
        assert_eq!(fields.len(), 6, "{entry:?}");
        let args = fields[3].items().iter().map(Value::text).collect();
        (number(&fields[0]), args, fields[5].text())
    };
    reply.items().iter().map(entry).collect()
}

fn slow_addresses(client: &mut Client) -> Vec<String> {
    let reply = client.call(&["SLOWLOG", "GET", "-1"]).value();
    let address = |entry: &Value| entry.items()[4].text().to_owned();
    reply.items().iter().map(address).collect()
}

/// Blocks of the engine's commands, on one shard and on several.
const BLOCKS: &[&[&str]] = &[
    &["MULTI"],
    &["SET", "k1", "v"],
    &["INCR", "k1"],
    &["EXEC"],
    &["MULTI"],
    &["GET", "k1"],
    &["LPOP", "k2"],
    &["MGET", "k1", "k2", "k3", "k4", "k5"],
    &["RENAME", "k1", "k2"],
    &["EXEC"],
];

/// The same requests leave the same entries in both servers, wherever they run.
#[test]
fn slow_commands_are_logged_as_by_redis() {
    let long = "x".repeat(300);
    let many: Vec<String> = (0..40).map(|i| format!("k{i}")).collect();
    let mut mget = vec!["MGET"];
    mget.extend(many.iter().map(String::as_str));
    let mut mset = vec!["MSET"];
    mset.extend(many.iter().take(8).flat_map(|key| [key.as_str(), "v"]));
    let requests: &[&[&str]] = &[
        &["CLIENT", "SETNAME", "me"],
        &["SET", "a", &long],
        &["GET", "b"],
        &["get", "c", "d"],
        &["NOSUCH"],
        &["INCR", "a"],
        &mget,
        &mset,
        &["DEL", "k1", "k2", "a", "k3"],
        &["DBSIZE"],
        &["KEYS", "nosuch*"],
        &["FLUSHALL", "ASYNC"],
        &["AUTH", "someone", "secret"],
        &["AUTH", "secret"],
        &["HELLO", "2", "AUTH", "default", "secret", "SETNAME", "you"],
        &["HELLO", "2", "SETNAME", "auth"],
        &["CONFIG", "SET", "requirepass", "", "timeout", "0"],
        &["LCS", "k5", "k6"],
        &["PING", "x"],
        &["MULTI"],
        &["SELECT", "1"],
        &["CLIENT", "SETNAME", "them"],
        &["AUTH", "secret"],
        &["AUTH", "someone", "secret"],
        &["CONFIG", "SET", "requirepass", "", "timeout", "0"],
        &["HELLO", "2", "AUTH", "default", "secret"],
        &["SELECT", "nosuch"],
        &["EXEC"],
    ];
    let logged = |server: &Server| {
        let mut client = server.connect();
        client.call(&["CONFIG", "SET", "slowlog-log-slower-than", "0"]);
        client.call(&["SLOWLOG", "RESET"]);
        for request in requests.iter().chain(BLOCKS) {
            client.call(request);
        }
        let entries = slow_entries(&mut client);
        assert_eq!(
            client.call(&["SLOWLOG", "LEN"]).integer(),
            entries.len() as i64 + 1
        );
        let own = client.stream().local_addr().expect("it is connected");
        for address in slow_addresses(&mut client) {
            assert_eq!(address, own.to_string());
        }
        for pair in entries.windows(2) {
            assert!(pair[0].0 > pair[1].0, "ids fall: {pair:?}");
        }
        let entries = entries.into_iter().map(|(_, args, name)| (args, name));
        let mut entries: Vec<_> = entries.collect();
        // On several shards those of one block are logged as they end.
        entries[..4].sort();
        entries
    };
    let expected = logged(&Server::redis(&[]));
    for shards in [1, 4] {
        assert_eq!(logged(&Server::cordis(shards, &[])), expected, "{shards}");
    }
}

#[test]
fn only_what_was_slow_is_logged() {
    let cordis = Server::cordis(4, &["--enable-debug-command", "yes"]);
    let mut client = cordis.connect();
    client.call(&["CONFIG", "SET", "slowlog-log-slower-than", "20000"]);
    client.call(&["CONFIG", "SET", "latency-monitor-threshold", "20"]);
    client.call(&["SLOWLOG", "RESET"]);
    for key in ["a", "b", "c", "d"] {
        client.call(&["SET", key, "v"]);
    }
    client.call(&["DEBUG", "SLEEP", "0.03"]);
    let mut other = cordis.connect();
    let reply = other.call(&["SLOWLOG", "GET", "100"]).value();
    let slept: Vec<&Value> = reply
        .items()
        .iter()
        .filter(|entry| entry.items()[3].items()[0].text() == "DEBUG")
        .collect();
    assert_eq!(slept.len(), 1, "{reply:?}");
    let fields = slept[0].items();
    assert!(number(&fields[2]) >= 30_000, "{fields:?}");
    let address = client.stream().local_addr().expect("it is connected");
    assert_eq!(fields[4].text(), address.to_string());
    assert!(reply.items().len() < 5, "{reply:?}");

    // LATENCY has seen it, too.
    let latest = other.call(&["LATENCY", "LATEST"]).value();
    let event = latest
        .items()
        .iter()
        .find(|event| event.items()[0].text() == "command");
    let event = event.expect("DEBUG SLEEP is a slow command").items();
    assert!(number(&event[2]) >= 30 && number(&event[3]) >= number(&event[2]));
    let history = other.call(&["LATENCY", "HISTORY", "command"]).value();
    assert!(!history.items().is_empty());
    let graph = other.call(&["LATENCY", "GRAPH", "command"]).to_string();
    assert!(graph.starts_with("command - high "), "{graph}");
    let doctor = other.call(&["LATENCY", "DOCTOR"]).to_string();
    assert!(doctor.contains("command: "), "{doctor}");
    assert!(other.call(&["LATENCY", "RESET", "command"]).integer() >= 1);
    assert_eq!(other.call(&["LATENCY", "RESET", "command"]).integer(), 0);
    assert!(
        other
            .call(&["LATENCY", "HISTORY", "command"])
            .value()
            .items()
            .is_empty()
    );
}

#[test]
fn calls_are_counted_and_timed() {
    let redis = Server::redis(&[]);
    for shards in [1, 4] {
        let cordis = Server::cordis(shards, &[]);
        let told = |server: &Server| {
            let mut client = server.connect();
            client.call(&["CONFIG", "RESETSTAT"]);
            for key in ["a", "b", "c", "d", "e"] {
                client.call(&["SET", key, "v"]);
                client.call(&["INCR", key]);
                client.call(&["GET", key]);
                client.call(&["GET"]);
            }
            client.call(&["MGET", "a", "b", "c", "d"]);
            client.call(&["CLIENT", "GETNAME"]);
            client.call(&["DBSIZE"]);
            client.call(&["NOSUCH"]);
            // Fails when all cores have said that they do not know the client.
            client.call(&["CLIENT", "KILL", "192.0.2.1:1"]);
            client.call(&["MULTI"]);
            client.call(&["CLIENT", "KILL", "192.0.2.1:1"]);
            client.call(&["EXEC"]);
            let info = client.call(&["INFO", "commandstats"]).to_string();
            let mut lines: Vec<String> = info.lines().map(without_times).collect();
            lines.sort();
            (lines, client)
        };
        let (expected, _) = told(&redis);
        let (lines, mut client) = told(&cordis);
        assert_eq!(lines, expected);
        let info = client
            .call(&["INFO", "commandstats", "latencystats"])
            .to_string();
        let stats = info_field(&info, "cmdstat_get").expect("GET was called");
        let per_call = stats
            .split(',')
            .find_map(|part| part.strip_prefix("usec_per_call="))
            .and_then(|number| number.parse::<f64>().ok());
        assert!(per_call.is_some_and(|us| us > 0.0), "{stats}");
        let latency = info_field(&info, "latency_percentiles_usec_get").expect("GET was called");
        let names: Vec<&str> = latency
            .split(',')
            .filter_map(|part| part.split('=').next())
            .collect();
        assert_eq!(names, ["p50", "p99", "p99.9"], "{latency}");
        let everything = client.call(&["INFO", "everything"]).to_string();
        assert!(everything.contains("# Commandstats") && everything.contains("# Latencystats"));
        let default = client.call(&["INFO"]).to_string();
        assert!(!default.contains("# Commandstats"), "{default}");
    }
}

/// A line of commandstats without its times.
fn without_times(line: &str) -> String {
    let timed = |part: &&str| !part.starts_with("usec");
    line.split(',').filter(timed).collect::<Vec<_>>().join(",")
}

#[test]
fn histograms_count_every_call() {
    let cordis = Server::cordis(4, &[]);
    let mut client = cordis.connect_with(3);
    client.call(&["CONFIG", "RESETSTAT"]);
    for i in 0..100 {
        client.call(&["SET", &format!("k{i}"), "v"]);
        client.call(&["CLIENT", "ID"]);
    }
    let asked = client
        .call(&["LATENCY", "HISTOGRAM", "set", "client", "nosuch", "get"])
        .value();
    let pairs = asked.pairs();
    let names: Vec<String> = pairs.iter().map(|(name, _)| name.text()).collect();
    assert_eq!(names, ["set", "client|id"]);
    for (name, body) in &pairs {
        let body = body.pairs();
        assert_eq!(number(&body[0].1), 100, "{name:?}");
        let steps = body[1].1.pairs();
        assert_eq!(number(&steps.last().expect("calls took time").1), 100);
    }
    let all = client.call(&["LATENCY", "HISTOGRAM"]).value().pairs();
    assert!(all.iter().any(|(name, _)| name.text() == "set"));
    client.call(&["CONFIG", "SET", "latency-tracking", "no"]);
    client.call(&["SET", "k", "v"]);
    assert!(
        client
            .call(&["LATENCY", "HISTOGRAM"])
            .value()
            .pairs()
            .is_empty()
    );
}

/// Requests that a pause concerns wait, in order, on whatever core; others run.
#[test]
fn paused_clients_wait() {
    let cordis = Server::cordis(4, &[]);
    let mut pauser = cordis.connect();
    pauser.call(&["CLIENT", "PAUSE", "100000", "WRITE"]);
    let mut writers: Vec<Client> = (0..8).map(|_| cordis.connect()).collect();
    assert!(cordis.connect().call(&["SET", "a"]).is_error());
    for (i, writer) in writers.iter_mut().enumerate() {
        let key = format!("key:{i}");
        assert_eq!(writer.call(&["GET", &key]).raw, b"$-1\r\n");
        writer.send(&["SET", &key, "1"]);
        writer.send(&["GET", &key]);
        writer.send(&["MSET", &key, "2", "b", "x", "c", "x", "d", "x"]);
        writer.send(&["GET", &key]);
    }
    // What it counts it may keep, and that is passed on.
    let mut counters = [cordis.connect(), cordis.connect()];
    counters[0].send(&["PFCOUNT", "h"]);
    counters[1].call(&["MULTI"]);
    counters[1].send(&["PFCOUNT", "h"]);
    counters[1].send(&["EXEC"]);
    support::wait_until("all writers wait", || {
        let info = pauser.call(&["INFO", "clients"]).to_string();
        info_field(&info, "blocked_clients") == Some("10")
    });
    assert_eq!(pauser.call(&["DBSIZE"]).integer(), 0);
    let list = pauser.call(&["CLIENT", "LIST"]).to_string();
    assert_eq!(
        list.matches(" flags=b ").count() + list.matches(" flags=xb ").count(),
        10,
        "{list}"
    );
    // Nobody who only waits for a pause is unblocked.
    let waiting = list.lines().find(|line| line.contains(" flags=b "));
    let id = waiting.and_then(|line| line.strip_prefix("id=")?.split(' ').next());
    let id = id.expect("lines begin with the id");
    assert_eq!(pauser.call(&["CLIENT", "UNBLOCK", id]).integer(), 0);
    assert_eq!(pauser.call(&["CLIENT", "UNPAUSE"]).raw, b"+OK\r\n");
    for writer in &mut writers {
        for expected in [&b"+OK\r\n"[..], b"$1\r\n1\r\n", b"+OK\r\n", b"$1\r\n2\r\n"] {
            assert_eq!(writer.read().raw, expected);
        }
    }
    assert_eq!(counters[0].read().raw, b":0\r\n");
    assert_eq!(counters[1].read().raw, b"+QUEUED\r\n");
    assert_eq!(counters[1].read().raw, b"*1\r\n:0\r\n");
    pauser.call(&["FLUSHALL"]);
    // A pause of all ends by itself, and the stricter and longer of two holds.
    pauser.call(&["CLIENT", "PAUSE", "1", "ALL"]);
    let began = std::time::Instant::now();
    pauser.call(&["CLIENT", "PAUSE", "150", "WRITE"]);
    pauser.call(&["CLIENT", "PAUSE", "50", "ALL"]);
    let mut reader = cordis.connect_with(2);
    assert_eq!(reader.call(&["GET", "a"]).raw, b"$-1\r\n");
    assert!(began.elapsed().as_millis() >= 100);
}

/// A pause that would end beyond what the clock can show would hold for ever.
#[test]
fn a_pause_beyond_the_clock_is_refused() {
    for shards in [1, 4] {
        let cordis = Server::cordis(shards, &[]);
        let mut client = cordis.connect();
        for timeout in ["9223372036854775807", "9223372036854770000"] {
            for mode in ["ALL", "WRITE"] {
                let reply = client.call(&["CLIENT", "PAUSE", timeout, mode]);
                assert_eq!(reply.raw, b"-ERR timeout is out of range\r\n", "{timeout}");
            }
        }
        for key in ["a", "b", "c", "d", "e"] {
            assert_eq!(client.call(&["SET", key, "v"]).raw, b"+OK\r\n");
        }
    }
}

/// What a value is where it differs from that of redis-server 7.0, and why.
const OTHER_VALUES: &[(&str, &str)] = &[
    // Each server has its own.
    ("port", ""),
    ("dir", ""),
    // What comes from outside is always checked.
    ("sanitize-dump-payload", "yes"),
];

/// What redis-server 7.0 does not have: of 7.2, with the values of its redis.conf, or
/// our own.
const FURTHER_VALUES: &[(&str, &str)] = &[
    ("set-max-listpack-entries", "128"),
    ("set-max-listpack-value", "64"),
    ("shards", "2"),
];

/// Every directive of Redis has the value it has there, or no effect: then its
/// default is accepted, and said to have none.
#[test]
fn defaults_are_those_of_redis() {
    let all = |server: &Server| -> std::collections::BTreeMap<String, String> {
        let reply = server.connect().call(&["CONFIG", "GET", "*"]).value();
        let text = |(name, value): &(Value, Value)| (name.text(), value.text());
        reply.pairs().iter().map(text).collect()
    };
    let redis = all(&Server::redis(&["--save", "3600 1 300 100 60 10000"]));
    let debug = ["--enable-debug-command", "yes"];
    let ours = all(&Server::cordis_that_saves(2, &debug));
    for (name, value) in &ours {
        let other = OTHER_VALUES.iter().find(|(other, _)| other == name);
        let further = FURTHER_VALUES.iter().find(|(other, _)| other == name);
        match (redis.get(name), other, further) {
            (Some(theirs), None, None) => assert_eq!(value, theirs, "{name}"),
            (Some(_), Some((_, expected)), None) => {
                assert!(expected.is_empty() || value == expected, "{name}: {value}");
            }
            (None, None, Some((_, expected))) => assert_eq!(value, expected, "{name}"),
            _ => panic!("{name} is in a list that it does not belong to, or in none"),
        }
    }
    let dir = support::server::TempDir::new();
    let path = dir.path().join("redis.conf");
    let missing: Vec<_> = redis
        .iter()
        .filter(|(name, _)| !ours.contains_key(*name))
        .collect();
    assert!(missing.len() > 100, "{missing:?}");
    let lines = missing
        .iter()
        .map(|(name, value)| format!("{name} \"{value}\"\n"));
    std::fs::write(&path, lines.collect::<String>()).expect("own folder is writable");
    let path = path.to_str().expect("temporary folders have plain names");
    let server = Server::cordis_from_file(path, &[]);
    let log = server.log();
    let named = log.lines().find(|line| line.contains("without effect"));
    let named: Vec<&str> = named.unwrap_or_default().split(' ').collect();
    for (name, _) in missing {
        let name = name.replace("slave", "replica");
        assert!(named.contains(&name.as_str()), "{name}");
    }
}

/// Fields of INFO that came with 7.2.
const FURTHER_FIELDS: &[(&str, &[&str])] = &[
    ("Server", &["listener0"]),
    (
        "Clients",
        &["total_blocking_keys", "total_blocking_keys_on_nokey"],
    ),
    (
        "Persistence",
        &[
            "rdb_saves",
            "aof_rewrites",
            "aof_rewrites_consecutive_failures",
        ],
    ),
    (
        "Stats",
        &[
            "client_query_buffer_limit_disconnections",
            "client_output_buffer_limit_disconnections",
            "eventloop_cycles",
            "eventloop_duration_sum",
            "eventloop_duration_cmd_sum",
            "instantaneous_eventloop_cycles_per_sec",
            "instantaneous_eventloop_duration_usec",
            "acl_access_denied_auth",
            "acl_access_denied_cmd",
            "acl_access_denied_key",
            "acl_access_denied_channel",
        ],
    ),
];

/// What only this server tells.
const OWN_FIELDS: &[&str] = &["server_name", "cordis_version", "shards"];

#[test]
fn info_has_the_fields_of_redis() {
    let fields = |server: &Server| -> std::collections::BTreeSet<(String, String)> {
        let text = server.connect().call(&["INFO", "everything"]).to_string();
        let mut section = String::new();
        let mut found = std::collections::BTreeSet::new();
        for line in text.lines() {
            if let Some(heading) = line.strip_prefix("# ") {
                section = heading.trim().to_owned();
            } else if let Some((name, _)) = line.split_once(':') {
                // Commands and errors are named by what was called.
                if !["Commandstats", "Errorstats", "Latencystats"].contains(&section.as_str()) {
                    found.insert((section.clone(), name.to_owned()));
                }
            }
        }
        found
    };
    let mut expected = fields(&Server::redis(&[]));
    for (section, names) in FURTHER_FIELDS {
        for name in *names {
            expected.insert(((*section).to_owned(), (*name).to_owned()));
        }
    }
    for name in OWN_FIELDS {
        expected.insert(("Server".to_owned(), (*name).to_owned()));
    }
    for shards in [1, 4] {
        let ours = fields(&Server::cordis(shards, &[]));
        let missing: Vec<_> = expected.difference(&ours).collect();
        let further: Vec<_> = ours.difference(&expected).collect();
        assert!(
            missing.is_empty() && further.is_empty(),
            "{missing:?} {further:?}"
        );
    }
}

/// What INFO counts is what has happened.
#[test]
fn info_tells_what_is_true() {
    for shards in [1, 4] {
        let cordis = Server::cordis(shards, &["--requirepass", "secret"]);
        let mut client = cordis.connect();
        let figure = |client: &mut Client, name: &str| -> u64 {
            let info = client.call(&["INFO", "everything"]).to_string();
            let text = info_field(&info, name).expect("the field is there");
            text.parse().expect("it is a number")
        };
        // More used than resident reads as swapping.
        let (used, rss) = ("used_memory", "used_memory_rss");
        let info = client.call(&["INFO", "memory"]).to_string();
        let bytes = |name| info_field(&info, name).and_then(|text| text.parse::<u64>().ok());
        assert!(bytes(used) <= bytes(rss), "{info}");
        for name in [
            "mem_fragmentation_ratio",
            "rss_overhead_ratio",
            "allocator_rss_ratio",
            "allocator_frag_ratio",
        ] {
            let ratio = info_field(&info, name).and_then(|text| text.parse::<f64>().ok());
            assert!(ratio.is_some_and(|ratio| ratio >= 1.0), "{info}");
        }
        client.call(&["AUTH", "wrong"]);
        client.call(&["HELLO", "2", "AUTH", "default", "wrong"]);
        assert_eq!(figure(&mut client, "acl_access_denied_auth"), 2);
        let reads = figure(&mut client, "total_reads_processed");
        let writes = figure(&mut client, "total_writes_processed");
        let cycles = figure(&mut client, "eventloop_cycles");
        for _ in 0..10 {
            client.call(&["PING"]);
        }
        assert!(figure(&mut client, "total_reads_processed") >= reads + 10);
        assert!(figure(&mut client, "total_writes_processed") >= writes + 10);
        assert!(figure(&mut client, "eventloop_cycles") >= cycles + 10);
        assert!(figure(&mut client, "eventloop_duration_sum") > 0);
        for i in 0..1000 {
            client.call(&["SET", &format!("k{i}"), "v"]);
        }
        client.call(&["FLUSHALL", "ASYNC"]);
        support::wait_until("all is freed", || {
            figure(&mut client, "lazyfreed_objects") == 1000
        });
        assert_eq!(figure(&mut client, "lazyfree_pending_objects"), 0);
        let mut waiting = [cordis.connect(), cordis.connect()];
        waiting[0].send(&["BLPOP", "a", "b", "c", "100"]);
        waiting[1].send(&["BLPOP", "a", "0"]);
        support::wait_until("both wait", || {
            figure(&mut client, "total_blocking_keys") == 3
                && figure(&mut client, "clients_in_timeout_table") == 1
        });
    }
}

/// The fields of CLIENT LIST, and what they say of the client that asks.
#[test]
fn clients_are_described_as_by_redis() {
    let redis = Server::redis(&[]);
    let described = |server: &Server, request: &[&str]| -> Vec<(String, String)> {
        let text = server.connect().call(request).to_string();
        // Whoever looked whether the server is up may still be listed.
        let asks = |line: &&str| line.contains(" cmd=client|");
        let line = text.lines().find(asks).expect("it is connected");
        let pair = |field: &str| {
            let (name, value) = field.split_once('=').expect("fields have values");
            (name.to_owned(), value.to_owned())
        };
        line.split(' ').map(pair).collect()
    };
    for request in [&["CLIENT", "LIST"][..], &["CLIENT", "INFO"]] {
        let theirs = described(&redis, request);
        for shards in [1, 4] {
            let ours = described(&Server::cordis(shards, &[]), request);
            let mut names: Vec<&str> = ours.iter().map(|(name, _)| name.as_str()).collect();
            // These came with 7.2.
            names.retain(|name| !name.starts_with("lib-"));
            let known: Vec<&str> = theirs.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, known);
            let value = |of: &[(String, String)], wanted: &str| {
                let found = of.iter().find(|(name, _)| name == wanted);
                found.expect("the field is there").1.clone()
            };
            for name in ["qbuf", "argv-mem", "multi", "db", "flags", "cmd"] {
                assert_eq!(value(&ours, name), value(&theirs, name), "{name}");
            }
            assert_ne!(value(&ours, "qbuf-free"), "0");
        }
    }
}

/// While there is no password nobody is asked; who came without one, and has not
/// given any since, is asked for the next.
#[test]
fn a_new_password_is_asked_of_who_has_given_none() {
    let steps: &[(&str, &[&str])] = &[
        ("admin", &["CONFIG", "SET", "requirepass", "one"]),
        ("stranger", &["GET", "k"]),
        ("guest", &["AUTH", "one"]),
        ("admin", &["CONFIG", "SET", "requirepass", ""]),
        ("stranger", &["SET", "k", "v"]),
        ("stranger", &["MGET", "k", "a", "b", "c"]),
        ("stranger", &["ACL", "WHOAMI"]),
        // Came while there was no password.
        ("visitor", &["PING"]),
        ("admin", &["CONFIG", "SET", "requirepass", "two"]),
        ("stranger", &["GET", "k"]),
        ("stranger", &["MULTI"]),
        ("visitor", &["GET", "k"]),
        ("guest", &["GET", "k"]),
        ("admin", &["GET", "k"]),
        ("late", &["GET", "k"]),
        // A reset looks at what is asked then.
        ("visitor", &["RESET"]),
        ("visitor", &["GET", "k"]),
        ("admin", &["CONFIG", "SET", "requirepass", ""]),
        ("late", &["GET", "k"]),
        ("stranger", &["RESET"]),
        ("admin", &["CONFIG", "SET", "requirepass", "three"]),
        ("late", &["GET", "k"]),
        ("stranger", &["GET", "k"]),
        ("late", &["AUTH", "three"]),
        ("late", &["GET", "k"]),
    ];
    let play = |server: &Server| -> Vec<String> {
        // Who has not come yet does so with the first request.
        let mut clients = std::collections::BTreeMap::new();
        let steps = steps.iter().map(|(name, request)| {
            let client = clients.entry(*name).or_insert_with(|| server.connect());
            let reply = client.call(request).raw;
            format!("{name} {request:?}: {}", support::show(&reply))
        });
        steps.collect()
    };
    let expected = play(&Server::redis(&[]));
    for shards in [1, 4] {
        assert_eq!(play(&Server::cordis(shards, &[])), expected, "{shards}");
    }
}

#[test]
fn memory_is_accounted_for() {
    let redis = Server::redis(&[]);
    let cordis = Server::cordis(4, &[]);
    let mut client = cordis.connect_with(3);
    for key in ["a", "b", "c", "d"] {
        client.call(&["SET", key, &"x".repeat(100_000)]);
        let bytes = client.call(&["MEMORY", "USAGE", key]).integer();
        assert!((100_000..140_000).contains(&bytes), "{bytes}");
    }
    let names = |client: &mut Client| -> Vec<String> {
        let pairs = client.call(&["MEMORY", "STATS"]).value().pairs();
        pairs.iter().map(|(name, _)| name.text()).collect()
    };
    let known = names(&mut redis.connect_with(3));
    for name in names(&mut client) {
        assert!(known.contains(&name), "redis has no {name}");
    }
    let stats = client.call(&["MEMORY", "STATS"]).value().pairs();
    let figure = |wanted: &str| {
        let found = stats.iter().find(|(name, _)| name.text() == wanted);
        number(&found.expect("the figure is there").1)
    };
    assert_eq!(figure("keys.count"), 4);
    assert!(figure("dataset.bytes") > 400_000);
    let report = client.call(&["MEMORY", "MALLOC-STATS"]).to_string();
    assert!(report.contains("jemalloc statistics"), "{report}");
    assert!(!client.call(&["MEMORY", "DOCTOR"]).to_string().is_empty());
}

/// What the server tells of itself comes after what its client has sent before, on
/// whatever core that runs.
#[test]
fn questions_do_not_overtake_commands() {
    for server in [
        Server::redis(&[]),
        Server::cordis(4, &["--enable-debug-command", "yes"]),
    ] {
        let mut client = server.connect();
        for n in 0..40 {
            let key = format!("key:{n}");
            let words = |line: &str| line.split(' ').map(Vec::from).collect::<Vec<Vec<u8>>>();
            let replies = client.pipeline(&[
                words(&format!("SET {key} 1")),
                words("INFO keyspace"),
                words(&format!("APPEND {key} 2")),
                words(&format!("DEBUG OBJECT {key}")),
                words("CONFIG RESETSTAT"),
                words(&format!("GET {key}")),
                words("INFO stats"),
                words("FLUSHALL"),
                words("INFO keyspace"),
            ]);
            let text = |at: usize| replies[at].value().text();
            let name = &server.name;
            assert!(text(1).contains("db0:keys=1,"), "{name}: {}", text(1));
            assert!(text(3).contains(" encoding:raw "), "{name}: {}", text(3));
            assert!(
                text(6).contains("keyspace_hits:1\r\n"),
                "{name}: {}",
                text(6)
            );
            assert!(!text(8).contains("db0"), "{name}: {}", text(8));
        }
    }
}

/// As in Redis 7.2: who goes while it waits has not called anything.
#[test]
fn blocking_commands_count_when_they_are_over() {
    for shards in [1, 4] {
        let cordis = Server::cordis(shards, &[]);
        let mut client = cordis.connect();
        let calls = |client: &mut Client, command: &str| {
            let info = client.call(&["INFO", "commandstats"]).to_string();
            let line = info_field(&info, &format!("cmdstat_{command}"));
            line.map(|line| line.split(',').next().unwrap_or_default().to_owned())
        };
        let waiting = |client: &mut Client, count: usize| {
            support::wait_until("so many wait", || {
                let info = client.call(&["INFO", "clients"]).to_string();
                info_field(&info, "blocked_clients") == Some(&count.to_string())
            });
        };
        let requests: Vec<Vec<String>> = (0..12)
            .flat_map(|number| {
                let [a, b] = ["a", "b"].map(|name| format!("{name}{number}"));
                let line = |line: String| line.split(' ').map(str::to_owned).collect();
                [
                    line(format!("BLPOP {a} 0")),
                    line(format!("BLPOP {a} {b} 0")),
                    line(format!("BLMOVE {a} {b} LEFT LEFT 0")),
                ]
            })
            .collect();
        for round in 0..3 {
            let gone: Vec<Client> = requests
                .iter()
                .map(|request| {
                    let mut waiter = cordis.connect();
                    waiter.send(request);
                    waiter
                })
                .collect();
            waiting(&mut client, requests.len());
            for waiter in &gone {
                if round == 1 {
                    waiter.finish_sending();
                }
            }
            drop(gone);
            waiting(&mut client, 0);
        }
        assert_eq!(calls(&mut client, "blpop"), None, "on {shards} shards");
        assert_eq!(calls(&mut client, "blmove"), None, "on {shards} shards");
        let mut waiter = cordis.connect();
        waiter.send(&["BLPOP", "a1", "b1", "0"]);
        waiting(&mut client, 1);
        client.call(&["RPUSH", "b1", "x"]);
        waiter.read();
        waiter.call(&["BLMOVE", "a1", "b1", "LEFT", "LEFT", "0.001"]);
        assert_eq!(calls(&mut client, "blpop").as_deref(), Some("calls=1"));
        assert_eq!(calls(&mut client, "blmove").as_deref(), Some("calls=1"));
    }
}

/// A request that was left behind others, twice, and asks what its own connection holds.
#[test]
fn clients_are_listed_from_within_what_waited() {
    for shards in [1, 4] {
        let server = Server::cordis(shards, &[]);
        let mut client = server.connect();
        let tail = "x".repeat(4000);
        let lines: [&[&str]; 6] = [
            &["BLPOP", "nothing", "0.01"],
            &["PING"],
            &["BLPOP", "nothing", "0.01"],
            &["CLIENT", "LIST"],
            &["CLIENT", "INFO"],
            &["ECHO", &tail],
        ];
        let words = |line: &[&str]| line.iter().map(|word| Vec::from(*word)).collect();
        let replies = client.pipeline(&lines.map(words));
        for reply in &replies[3..5] {
            let text = reply.value().text();
            let held = text.split(' ').find_map(|word| word.strip_prefix("qbuf="));
            let held: u64 = held.expect("it is there").parse().expect("a number");
            assert!(held < 100_000, "{text}");
        }
        assert_eq!(replies[5].bytes(), tail.as_bytes());
    }
}
