//! Layer 5: identical requests to Cordis and to redis-server 7.0, replies
//! compared byte for byte.
//!
//! Streams are generated from the command table's `syntax`; the edges that
//! chance would not find are written down in `cases/`. Every command that the
//! running server lists must be met by one of the two, or be named in
//! [`EXCEPTIONS`] with the reason and the test that looks at it instead.

#[path = "differential/cases.rs"]
mod cases;
#[path = "differential/events.rs"]
mod events;
#[path = "differential/groups.rs"]
mod groups;
#[path = "differential/hits.rs"]
mod hits;
#[path = "differential/muted.rs"]
mod muted;
#[path = "differential/newer.rs"]
mod newer;
#[path = "differential/sessions.rs"]
mod sessions;
mod support;

use std::collections::BTreeSet;
use support::client::{Client, Value};
use support::commands;
use support::compare::{Mode, Pair};
use support::generate::{Generator, Request, Shape};
use support::long_run;
use support::rng::seed;
use support::server::Server;

/// Rows of the server (not of the engine's table) whose arguments are worth
/// varying at random.
const SERVER_SHAPES: &[(&str, &str)] = &[
    ("ping", "[message]"),
    ("echo", "message"),
    ("select", "index1"),
    ("client|setname", "connection-name"),
    ("client|getname", ""),
];

/// Rows that write what chance decides: two servers part after them.
const BY_CHANCE: &[&str] = &["spop", "sort", "sort_ro"];

/// Commands that no comparison with redis-server 7.0 covers, and why.
const EXCEPTIONS: &[(&str, &str)] = &[
    (
        "client|setinfo",
        "new in Redis 7.2: newer_than_the_reference",
    ),
    (
        "client|no-touch",
        "new in Redis 7.2: newer_than_the_reference",
    ),
    (
        "client|info",
        "names addresses and ids: lists_of_clients_have_the_fields_of_redis",
    ),
    ("client|help", "lists what there is: help_is_given"),
    ("command|help", "lists what there is: help_is_given"),
    ("config|help", "lists what there is: help_is_given"),
    ("latency|latest", "what took long: tests/introspection.rs"),
    ("acl|help", "lists what there is"),
    ("memory|stats", "figures: tests/introspection.rs"),
    ("memory|doctor", "words of our own: tests/introspection.rs"),
    (
        "memory|malloc-stats",
        "jemalloc's words: tests/introspection.rs",
    ),
    ("latency|doctor", "words of our own: tests/introspection.rs"),
    (
        "client|list",
        "names addresses and ids: lists_of_clients_have_the_fields_of_redis",
    ),
    (
        "client|id",
        "a number of the server's own: identifiers_grow",
    ),
    (
        "client|reply",
        "some of its modes answer nothing: tests/protocol.rs",
    ),
    (
        "command",
        "lists the server's own commands: rows_agree_with_redis",
    ),
    (
        "command|count",
        "counts the server's own commands: rows_agree_with_redis",
    ),
    (
        "command|list",
        "lists the server's own commands: rows_agree_with_redis",
    ),
    (
        "command|docs",
        "words of our own: documentation_is_complete",
    ),
    ("hexpire", "new in Redis 7.4: fields_have_deadlines"),
    ("hpexpire", "new in Redis 7.4: fields_have_deadlines"),
    ("hexpireat", "new in Redis 7.4: fields_have_deadlines"),
    ("hpexpireat", "new in Redis 7.4: fields_have_deadlines"),
    ("httl", "new in Redis 7.4: fields_have_deadlines"),
    ("hpttl", "new in Redis 7.4: fields_have_deadlines"),
    ("hexpiretime", "new in Redis 7.4: fields_have_deadlines"),
    ("hpexpiretime", "new in Redis 7.4: fields_have_deadlines"),
    ("hpersist", "new in Redis 7.4: fields_have_deadlines"),
    ("hgetex", "new in Redis 8.0: fields_have_deadlines"),
    ("hsetex", "new in Redis 8.0: fields_have_deadlines"),
    ("hgetdel", "new in Redis 8.0: fields_have_deadlines"),
    (
        "xdelex",
        "new in Redis 8.2: entries_go_with_regard_to_groups",
    ),
    (
        "xackdel",
        "new in Redis 8.2: streams/group_tests.rs of the engine",
    ),
    ("monitor", "tells of others' commands: tests/monitor.rs"),
    ("config|rewrite", "writes a file: tests/cli.rs"),
    (
        "debug",
        "its help differs with what there is to debug: debug_sleep_answers",
    ),
    (
        "hello",
        "names the server's version: hello_agrees_but_for_the_version",
    ),
    (
        "info",
        "figures of this server: info_has_the_fields_that_exporters_read",
    ),
    ("shutdown", "ends the server: tests/cli.rs"),
    ("time", "the clock: time_is_the_clock"),
];

/// Takes seconds on the reference; the cases try it.
const TOO_SLOW: &[&str] = &["pfselftest"];

/// Would block for as long as chance says; `blocking.rs` has their tests.
const BLOCKING: &[&str] = &[
    "blpop",
    "brpop",
    "blmove",
    "brpoplpush",
    "blmpop",
    "bzpopmin",
    "bzpopmax",
    "bzmpop",
    "xreadgroup",
];

/// Create consumers although there is nothing to claim, which 7.0 does not: the histories
/// of `groups.rs` have them after all are there.
const CREATING: &[&str] = &["xclaim", "xautoclaim"];

/// Take an argument that Redis 7.0 does not know; the cases try the rest, and
/// `newer_than_the_reference` that.
const LONGER: &[&str] = &["zrank", "zrevrank", "hscan"];

/// Words that Redis 7.0 does not know, where it knows all others.
const NEWER_WORDS: &str = "[KEEPREF | DELREF | ACKED]";

/// Every row of the engine that the reference knows, and some of the server's.
fn shapes(redis: &mut Client) -> Vec<Shape> {
    let known: BTreeSet<String> = commands::listed(redis).into_iter().collect();
    let engine = commands::engine_rows()
        .into_iter()
        .map(|row| (row.name, row.syntax));
    engine
        .chain(SERVER_SHAPES.iter().copied())
        .filter(|(name, _)| known.contains(*name))
        .filter(|(name, _)| {
            ![TOO_SLOW, LONGER, BY_CHANCE, BLOCKING, CREATING]
                .concat()
                .contains(name)
        })
        .map(|(name, syntax)| Shape::new(name, &syntax.replace(NEWER_WORDS, "")))
        .collect()
}

/// A server for which everything that may work in slices has too much to do for one
/// piece, however little there is.
fn in_slices(shards: u16) -> Server {
    let cordis = Server::cordis(shards, &["--enable-debug-command", "yes"]);
    let reply = cordis.connect().call(&["DEBUG", "SLICES", "1", "1"]);
    assert_eq!(reply.to_string(), "OK");
    cordis
}

fn random_streams(test: &str, mut cordis: Server) -> BTreeSet<Request> {
    let seed = seed(test);
    let redis = Server::redis(&["--hash-max-listpack-entries", "512"]);
    let pair = Pair::new(&redis, &cordis);
    let mut compared = BTreeSet::new();
    let rounds = if long_run() { 200 } else { 2 };
    for round in 0..rounds {
        for (protocol, depth) in [(2, 1), (3, 1), (2, 200), (3, 200)] {
            let shapes = shapes(&mut redis.connect());
            let mode = Mode { protocol, depth };
            let seed = seed.wrapping_add(round * 10 + u64::from(protocol) + depth as u64);
            let stream = Generator::new(seed, shapes).stream(8_000);
            pair.run(mode, &stream);
            compared.extend(stream);
        }
    }
    cordis.assert_alive();
    compared
}

/// The names of all requests that were sent and whose replies were compared.
fn agree(test: &str, shards: u16) -> BTreeSet<String> {
    let cordis = Server::cordis(1, &[]);
    let listed = listed_names(&cordis);
    let debug = ["--enable-debug-command", "yes"];
    let mut compared = cases::run(Server::cordis(shards, &debug));
    compared.extend(random_streams(test, Server::cordis(shards, &[])));
    let names = compared
        .iter()
        .flat_map(|request| name_of(request, &listed));
    names.collect()
}

fn listed_names(server: &Server) -> BTreeSet<String> {
    commands::listed(&mut server.connect())
        .into_iter()
        .collect()
}

/// Where slices begin with the second element.
#[test]
fn cases_and_streams_agree_in_slices() {
    for shards in [1, 4] {
        cases::run(in_slices(shards));
        random_streams("cases_and_streams_agree_in_slices", in_slices(shards));
    }
}

#[test]
fn histories_of_groups_agree() {
    let test = "histories_of_groups_agree";
    groups::run(test, Server::cordis(1, &[]));
    groups::run(test, Server::cordis(4, &[]));
    groups::run(test, in_slices(2));
}

#[test]
fn cases_and_streams_agree_on_four_shards() {
    agree("cases_and_streams_agree_on_four_shards", 4);
}

/// What is covered is what was sent here, not what somebody meant to send.
#[test]
fn cases_and_streams_agree_on_one_shard_and_meet_every_command() {
    let mut covered = agree(
        "cases_and_streams_agree_on_one_shard_and_meet_every_command",
        1,
    );
    let cordis = Server::cordis(1, &[]);
    let listed = listed_names(&cordis);
    covered.extend(EXCEPTIONS.iter().map(|(name, _)| (*name).to_string()));
    // A container without a subcommand is only an error, which the cases try.
    let missing: Vec<&String> = listed.difference(&covered).collect();
    assert!(missing.is_empty(), "no comparison covers {missing:?}");
    let idle: Vec<&str> = EXCEPTIONS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !listed.contains(*name))
        .collect();
    assert!(
        idle.is_empty(),
        "exceptions for commands that do not exist: {idle:?}"
    );
}

/// The names in `listed` that a request calls: itself, or container and subcommand.
fn name_of(request: &[Vec<u8>], listed: &BTreeSet<String>) -> Vec<String> {
    let lower = |word: &Vec<u8>| String::from_utf8_lossy(word).to_ascii_lowercase();
    let name = request.first().map(lower).unwrap_or_default();
    let sub = request.get(1).map(|word| format!("{name}|{}", lower(word)));
    let names = [Some(name), sub].into_iter().flatten();
    names.filter(|name| listed.contains(name)).collect()
}

/// `name=value` words of a line of CLIENT LIST, names only.
fn client_fields(line: &str) -> Vec<&str> {
    line.split_whitespace()
        .filter_map(|word| word.split('=').next())
        .collect()
}

#[test]
fn writes_tell_of_what_redis_notifies() {
    events::run(shapes);
}

#[test]
fn subscribers_are_sent_the_events_of_redis_on_one_shard() {
    events::compare_what_is_sent(1);
}

#[test]
fn subscribers_are_sent_the_events_of_redis_on_four_shards() {
    events::compare_what_is_sent(4);
}

#[test]
fn lists_of_clients_have_the_fields_of_redis() {
    let redis = Server::redis(&[]);
    let cordis = Server::cordis(2, &[]);
    let expected = redis.connect().call(&["CLIENT", "INFO"]).to_string();
    let mut client = cordis.connect();
    client.call(&["CLIENT", "SETNAME", "me"]);
    let others: Vec<Client> = (0..5).map(|_| cordis.connect_with(3)).collect();
    let info = client.call(&["CLIENT", "INFO"]).to_string();
    let fields = client_fields(&info);
    for field in client_fields(&expected) {
        assert!(
            fields.contains(&field),
            "CLIENT INFO lacks {field}=: {info}"
        );
    }
    assert!(info.contains(" name=me "), "{info}");
    assert!(info.contains(" cmd=client|info"), "{info}");
    let list = client.call(&["CLIENT", "LIST"]).to_string();
    assert_eq!(list.lines().count(), 1 + others.len(), "{list}");
    assert_eq!(list.matches(" resp=3").count(), others.len(), "{list}");
    for line in list.lines() {
        assert_eq!(client_fields(line), fields, "{line}");
    }
    let id = client.call(&["CLIENT", "ID"]).to_string();
    let only_me = client.call(&["CLIENT", "LIST", "ID", &id]).to_string();
    assert!(only_me.starts_with(&format!("id={id} ")), "{only_me}");
    assert_eq!(only_me.lines().count(), 1, "{only_me}");
}

#[test]
fn identifiers_grow() {
    let cordis = Server::cordis(4, &[]);
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        let mut client = cordis.connect();
        let id = client.call(&["CLIENT", "ID"]).integer();
        assert_eq!(id, client.call(&["CLIENT", "ID"]).integer());
        assert!(
            id > 0 && seen.insert(id),
            "client id {id} was given out twice"
        );
    }
}

#[test]
fn help_is_given() {
    let cordis = Server::cordis(1, &[]);
    let mut client = cordis.connect();
    for container in ["CLIENT", "COMMAND", "CONFIG"] {
        let help = client.call(&[container, "HELP"]).value();
        let first = help.items()[0].text();
        let expected =
            format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
        assert_eq!(first, expected);
    }
}

#[test]
fn debug_sleep_answers() {
    let cordis = Server::cordis(2, &["--enable-debug-command", "yes"]);
    assert_eq!(
        cordis
            .connect()
            .call(&["DEBUG", "SLEEP", "0.01"])
            .to_string(),
        "OK"
    );
}

#[test]
fn time_is_the_clock() {
    let cordis = Server::cordis(1, &[]);
    let reply = cordis.connect().call(&["TIME"]).value();
    let [seconds, micros] = reply.items() else {
        panic!("TIME replied {reply:?}")
    };
    let seconds: u64 = seconds.text().parse().expect("seconds are a number");
    let micros: u32 = micros.text().parse().expect("microseconds are a number");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("the clock is after 1970").as_secs();
    assert!(seconds.abs_diff(now) < 600 && micros < 1_000_000);
}

/// The pairs of HELLO but for what names the server, its version and the connection.
fn hello_pairs(client: &mut Client, args: &[&str]) -> Vec<(String, String)> {
    let pairs = client.call(args).value().pairs();
    let mut pairs: Vec<_> = pairs
        .into_iter()
        .map(|(name, value)| (name.text(), format!("{value:?}")))
        .collect();
    for (name, value) in &mut pairs {
        if ["version", "id"].contains(&name.as_str()) {
            value.clear();
        }
    }
    pairs
}

#[test]
fn hello_agrees_but_for_the_version() {
    let redis = Server::redis(&["--requirepass", "secret"]);
    let cordis = Server::cordis(2, &["--requirepass", "secret"]);
    for args in [
        &["HELLO", "3", "AUTH", "default", "secret"][..],
        &["HELLO", "2", "AUTH", "default", "secret", "SETNAME", "n"][..],
        &["HELLO", "3", "SETNAME", "m", "AUTH", "default", "secret"][..],
    ] {
        let mut one = Client::connect(redis.port());
        let mut other = Client::connect(cordis.port());
        assert_eq!(hello_pairs(&mut one, args), hello_pairs(&mut other, args));
        for args in [&["HELLO"][..], &["HELLO", "2"][..], &["HELLO", "3"][..]] {
            assert_eq!(hello_pairs(&mut one, args), hello_pairs(&mut other, args));
        }
        let name = [
            one.call(&["CLIENT", "GETNAME"]),
            other.call(&["CLIENT", "GETNAME"]),
        ];
        assert_eq!(name[0], name[1]);
    }
    let version = cordis.connect().call(&["HELLO", "2"]).value().pairs();
    let version = version.iter().find(|(name, _)| name.text() == "version");
    assert_eq!(
        version.map(|(_, value)| value.text()),
        Some("7.2.4".to_string())
    );
}

#[test]
fn refusals_before_authentication_agree() {
    let redis = Server::redis(&["--requirepass", "secret"]);
    let mut cordis = Server::cordis(2, &["--requirepass", "secret"]);
    let mut one = Client::connect(redis.port());
    let mut other = Client::connect(cordis.port());
    let requests: &[&[&str]] = &[
        &["PING"],
        &["GET", "a"],
        &["GET"],
        &["NOSUCH", "a"],
        &["HELLO"],
        &["HELLO", "3"],
        &["HELLO", "9"],
        &["HELLO", "x"],
        &["HELLO", "3", "SETNAME", "x"],
        &["HELLO", "3", "AUTH", "default", "wrong"],
        &["HELLO", "3", "AUTH", "nobody", "secret"],
        &["HELLO", "3", "AUTH", "default"],
        &["AUTH"],
        &["AUTH", "wrong"],
        &["AUTH", "nobody", "secret"],
        &["AUTH", "a", "b", "c"],
        &["CLIENT", "GETNAME"],
        &["RESET"],
        &["COMMAND", "COUNT"],
        &["AUTH", "default", "secret"],
        &["PING"],
        &["GET", "a"],
        &["AUTH", "wrong"],
        &["PING"],
        &["AUTH", "secret"],
        &["RESET"],
        &["PING"],
        &["QUIT"],
    ];
    for request in requests {
        let (expected, mut reply) = (one.call(request), other.call(request));
        // 7.2 says where the version stands; 7.0 did not.
        let text = String::from_utf8_lossy(&reply.raw);
        reply.raw = text
            .replace("HELLO <proto> AUTH", "HELLO AUTH")
            .into_bytes();
        assert_eq!(expected, reply, "{request:?}");
    }
    assert!(other.is_closed());
    cordis.assert_alive();
}

/// Fields that redis-py, redis_exporter, Lettuce and others look for.
const INFO_FIELDS: &[&str] = &[
    "redis_version",
    "redis_mode",
    "os",
    "arch_bits",
    "process_id",
    "run_id",
    "tcp_port",
    "uptime_in_seconds",
    "uptime_in_days",
    "config_file",
    "connected_clients",
    "maxclients",
    "blocked_clients",
    "used_memory",
    "used_memory_human",
    "used_memory_rss",
    "used_memory_peak",
    "used_memory_overhead",
    "used_memory_dataset",
    "mem_clients_normal",
    "maxmemory",
    "maxmemory_policy",
    "mem_fragmentation_ratio",
    "mem_allocator",
    "loading",
    "rdb_changes_since_last_save",
    "rdb_bgsave_in_progress",
    "rdb_last_save_time",
    "rdb_last_bgsave_status",
    "aof_enabled",
    "total_connections_received",
    "total_commands_processed",
    "instantaneous_ops_per_sec",
    "total_net_input_bytes",
    "total_net_output_bytes",
    "instantaneous_input_kbps",
    "instantaneous_output_kbps",
    "rejected_connections",
    "expired_keys",
    "evicted_keys",
    "keyspace_hits",
    "keyspace_misses",
    "pubsub_channels",
    "pubsub_patterns",
    "role",
    "connected_slaves",
    "master_replid",
    "master_repl_offset",
    "used_cpu_sys",
    "used_cpu_user",
    "cluster_enabled",
];

#[test]
fn info_has_the_fields_that_exporters_read() {
    let redis = Server::redis(&[]);
    let cordis = Server::cordis(2, &[]);
    let mut client = cordis.connect();
    client.call(&["SET", "k", "v", "EX", "1000"]);
    client.call(&["GET", "k"]);
    client.call(&["GET", "missing"]);
    let expected = redis.connect().call(&["INFO"]).to_string();
    let info = client.call(&["INFO"]).to_string();
    let field = |name| support::server::info_field(&info, name);
    for name in INFO_FIELDS {
        assert!(
            support::server::info_field(&expected, name).is_some(),
            "redis has no {name}: mend the list"
        );
        assert!(field(name).is_some(), "INFO lacks {name}");
    }
    assert_eq!(field("redis_version"), Some("7.2.4"));
    assert_eq!(field("server_name"), Some("cordis"));
    assert!(field("cordis_version").is_some());
    assert_eq!(field("keyspace_hits"), Some("1"));
    assert_eq!(field("keyspace_misses"), Some("1"));
    assert!(
        field("db0").is_some_and(|db| db.starts_with("keys=1,expires=1,avg_ttl=")),
        "{info}"
    );
    let sections = |info: &str| -> Vec<String> {
        info.lines()
            .filter(|line| line.starts_with('#'))
            .map(str::to_string)
            .collect()
    };
    assert_eq!(sections(&info), sections(&expected));
    let one = client.call(&["INFO", "clients", "memory"]).to_string();
    assert_eq!(sections(&one), ["# Clients", "# Memory"]);
    assert_eq!(client.call(&["INFO", "nosuchsection"]).to_string(), "");
}

#[test]
fn errors_are_counted_by_their_code() {
    let redis = Server::redis(&[]);
    let cordis = Server::cordis(4, &[]);
    let counts = |server: &Server| {
        let mut client = server.connect();
        client.call(&["CONFIG", "RESETSTAT"]);
        for key in ["a", "b", "c", "d", "e", "f"] {
            client.call(&["SET", key, "x"]);
            client.call(&["INCR", key]);
        }
        for request in [
            &["NOSUCH"][..],
            &["GET"],
            &["HELLO", "9"],
            &["CONFIG", "SET", "a", "b"],
        ] {
            client.call(request);
        }
        client.call(&["INFO", "errorstats"]).to_string()
    };
    assert_eq!(counts(&cordis), counts(&redis));
}

/// Elements of COMMAND INFO that are compared: all but the subcommands, which
/// have rows of their own.
const COMPARED_ELEMENTS: usize = 9;
const ARITY: usize = 1;
const TIPS: usize = 7;
/// Rows to which 7.2 gave more tips than 7.0.
const NEW_TIPS: &[&str] = &["config|resetstat", "config|rewrite"];

#[test]
fn rows_agree_with_redis() {
    let redis = Server::redis(&[]);
    let cordis = Server::cordis(1, &[]);
    let (mut one, mut other) = (redis.connect(), cordis.connect());
    let known: BTreeSet<String> = commands::listed(&mut one).into_iter().collect();
    let names = commands::listed(&mut other);
    let top_level = names.iter().filter(|name| !name.contains('|')).count();
    assert_eq!(
        other.call(&["COMMAND", "COUNT"]).integer(),
        top_level as i64
    );
    assert_eq!(other.call(&["COMMAND"]).value().items().len(), top_level);
    let mut differences = Vec::new();
    for name in names.iter().filter(|name| known.contains(*name)) {
        let row = |client: &mut Client| {
            let reply = client.call(&["COMMAND", "INFO", name]).value();
            reply.items()[0].clone()
        };
        let (expected, row) = (row(&mut one), row(&mut other));
        let (expected, row) = (expected.items(), row.items());
        assert_eq!(row.len(), expected.len(), "elements of COMMAND INFO {name}");
        for i in 0..COMPARED_ELEMENTS {
            if i == TIPS && NEW_TIPS.contains(&name.as_str())
                || i == ARITY && LONGER.contains(&name.as_str())
            {
                continue;
            }
            let (expected, got) = (&expected[i], &row[i]);
            let equal = match (expected, got) {
                (Value::Array(one), Value::Array(other)) => sorted(one) == sorted(other),
                _ => expected == got,
            };
            if !equal {
                differences.push(format!("{name}[{i}]: redis {expected:?}, cordis {got:?}"));
            }
        }
    }
    assert!(
        differences.is_empty(),
        "COMMAND INFO differs:\n{}",
        differences.join("\n")
    );
}

fn sorted(values: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = values.iter().map(|value| format!("{value:?}")).collect();
    texts.sort();
    texts
}

#[test]
fn documentation_is_complete() {
    let redis = Server::redis(&[]);
    let cordis = Server::cordis(1, &[]);
    let expected = commands::documented(&mut redis.connect());
    let docs = commands::documented(&mut cordis.connect());
    assert!(!docs.is_empty());
    for doc in &docs {
        assert!(!doc.summary.is_empty(), "{} has no summary", doc.name);
        if let Some(expected) = expected.iter().find(|known| known.name == doc.name) {
            // What 7.2 changed the reference does not know.
            let known = |version: &&String| !version.starts_with("7.2");
            let changes: Vec<&String> = doc.changes.iter().filter(known).collect();
            assert_eq!(
                (&doc.group, &doc.since, changes, &doc.deprecated),
                (
                    &expected.group,
                    &expected.since,
                    expected.changes.iter().collect(),
                    &expected.deprecated
                ),
                "{}",
                doc.name
            );
        }
    }
}
