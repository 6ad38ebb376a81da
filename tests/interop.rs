//! Layer 6: the tools and libraries that people use, unchanged.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use support::client::encode;
use support::server::{Server, info_field, mortal};
use support::{wait_until, words};

/// Runs a program to its end; panics with all it said if it failed.
fn run(command: &mut Command) -> String {
    let output = command.output();
    let output = output.unwrap_or_else(|error| {
        panic!("{command:?}: {error}; run tests/run.sh, which installs it")
    });
    said(command, &output)
}

fn said(command: &Command, output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?} failed: {}\n{out}\n{err}",
        output.status
    );
    out
}

fn redis_cli(server: &Server, args: &[&str]) -> String {
    run(Command::new("redis-cli")
        .args(["-p", &server.port().to_string()])
        .args(args))
}

#[test]
fn redis_cli_reads_and_writes() {
    let cordis = Server::cordis(2, &[]);
    assert_eq!(redis_cli(&cordis, &["SET", "a", "hello"]), "OK\n");
    assert_eq!(redis_cli(&cordis, &["GET", "a"]), "hello\n");
    assert_eq!(redis_cli(&cordis, &["-3", "GET", "a"]), "hello\n");
    assert_eq!(redis_cli(&cordis, &["-3", "GET", "missing"]), "\n");
    assert_eq!(
        redis_cli(&cordis, &["--no-raw", "GET", "missing"]),
        "(nil)\n"
    );
    assert_eq!(redis_cli(&cordis, &["-n", "3", "INCR", "n"]), "1\n");
    assert_eq!(
        redis_cli(&cordis, &["-r", "5", "INCR", "n"]),
        "1\n2\n3\n4\n5\n"
    );
    assert_eq!(
        redis_cli(&cordis, &["--json", "-3", "MGET", "a", "x"]),
        "[\"hello\",null]\n"
    );
    assert!(redis_cli(&cordis, &["INCR", "a"]).contains("ERR value is not an integer"));
    assert!(redis_cli(&cordis, &["INFO", "server"]).contains("redis_version:7.2.4"));
}

/// What redis-cli prints of the first lines that a monitor is told.
#[test]
fn redis_cli_monitors() {
    for server in [Server::redis(&[]), Server::cordis(4, &[])] {
        let mut cli = Command::new("redis-cli")
            .args(["-p", &server.port().to_string(), "monitor"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("redis-cli is installed (tests/run.sh)");
        let out = cli.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(out).lines();
        let mut next = || lines.next().expect("it goes on").expect("it is text");
        assert_eq!(next(), "OK");
        let mut client = server.connect();
        client.call(&["SET", "key", "a \"b\"\n"]);
        client.call(&["MGET", "key", "b", "c", "d"]);
        let line = next();
        assert!(line.ends_with(r#"] "SET" "key" "a \"b\"\n""#), "{line}");
        let line = next();
        assert!(line.ends_with(r#"] "MGET" "key" "b" "c" "d""#), "{line}");
        cli.kill().expect("it is ours");
        cli.wait().expect("it is ours");
    }
}

#[test]
fn redis_cli_reads_commands_and_help_from_the_server() {
    let cordis = Server::cordis(2, &[]);
    let mut child = Command::new("redis-cli")
        .args(["-p", &cordis.port().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("redis-cli is installed (tests/run.sh)");
    let mut input = child.stdin.take().expect("it is piped");
    input
        .write_all(b"SET k \"a \\x00 b\"\nSTRLEN k\nSELECT 2\nDBSIZE\nHELLO 3\nPING\n")
        .expect("redis-cli reads");
    drop(input);
    let output = child.wait_with_output().expect("redis-cli ends");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(
        out.starts_with("OK\n5\nOK\n0\n") && out.ends_with("PONG\n"),
        "{out}"
    );
}

#[test]
fn redis_cli_pipes_a_million_bytes_and_more() {
    let cordis = Server::cordis(4, &[]);
    let count = 100_000;
    let mut input = Vec::new();
    for i in 0..count {
        encode(
            &words(&["SET", &format!("key:{i}"), &format!("value:{i}")]),
            &mut input,
        );
    }
    let mut child = Command::new("redis-cli")
        .args(["-p", &cordis.port().to_string(), "--pipe"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("redis-cli is installed (tests/run.sh)");
    let mut pipe = child.stdin.take().expect("it is piped");
    let writer = std::thread::spawn(move || pipe.write_all(&input).expect("redis-cli reads"));
    let output = child.wait_with_output().expect("redis-cli ends");
    writer.join().expect("the writer does not panic");
    let out = String::from_utf8_lossy(&output.stdout);
    assert!(
        out.contains(&format!("errors: 0, replies: {count}")),
        "{out}"
    );
    let mut client = cordis.connect();
    assert_eq!(client.call(&["DBSIZE"]).integer(), count);
    assert_eq!(
        client.call(&["GET", "key:77777"]).to_string(),
        "value:77777"
    );
}

#[test]
fn redis_benchmark_runs() {
    let cordis = Server::cordis(2, &[]);
    let port = cordis.port().to_string();
    let benchmark = |args: &[&str]| {
        run(Command::new("redis-benchmark")
            .args(["-p", &port, "-q"])
            .args(args))
    };
    for depth in ["1", "16", "100"] {
        let out = benchmark(&[
            "-n",
            "20000",
            "-c",
            "50",
            "-P",
            depth,
            "-r",
            "1000",
            "-t",
            "set,get,incr,mset,ping",
        ]);
        for test in [
            "PING_INLINE",
            "PING_MBULK",
            "SET",
            "GET",
            "INCR",
            "MSET (10 keys)",
        ] {
            assert!(
                out.contains(&format!("{test}: ")),
                "no figure for {test}:\n{out}"
            );
        }
    }
    benchmark(&[
        "-n",
        "5000",
        "-c",
        "10",
        "--threads",
        "2",
        "-3",
        "-t",
        "set,get",
    ]);
    benchmark(&["-n", "200", "-c", "10", "-d", "100000", "-t", "set,get"]);
    benchmark(&["-n", "2000", "-c", "500", "-k", "0", "-t", "get"]);
}

/// The Python that tests/run.sh prepared, with redis-py in it.
fn python() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("tests/.venv/bin/python");
    assert!(
        python.exists(),
        "tests/.venv is missing: run tests/run.sh, which makes it"
    );
    python
}

fn redis_py(server: &Server, password: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/redis_py.py");
    run(Command::new(python())
        .arg(script)
        .args([&server.port().to_string(), password]))
}

fn caching(server: &Server) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/caching.py");
    run(Command::new(python())
        .arg(script)
        .arg(server.port().to_string()))
}

#[test]
fn caches_of_clients_hold_nothing_old() {
    for shards in [1, 4] {
        let mut cordis = Server::cordis(shards, &[]);
        let out = caching(&cordis);
        assert!(out.ends_with("all well\n"), "{out}");
        cordis.assert_alive();
    }
}

#[test]
fn caching_script_expects_what_redis_does() {
    let out = caching(&Server::redis(&[]));
    assert!(out.ends_with("all well\n"), "{out}");
}

#[test]
fn redis_py_notices_nothing() {
    for shards in [1, 4] {
        let mut cordis = Server::cordis(shards, &["--requirepass", "pass word"]);
        let out = redis_py(&cordis, "pass word");
        assert!(out.ends_with("all well\n"), "{out}");
        cordis.assert_alive();
    }
}

/// The script must hold what it expects against the real server too.
#[test]
fn redis_py_script_expects_what_redis_does() {
    let redis = Server::redis(&["--requirepass", "pass word"]);
    let out = redis_py(&redis, "pass word");
    assert!(out.ends_with("all well\n"), "{out}");
}

fn streams(server: &Server, password: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/streams.py");
    run(Command::new(python())
        .arg(script)
        .args([&server.port().to_string(), password]))
}

/// Job queues whose workers die, over all shards: every job is done once.
#[test]
fn streams_are_used_through_redis_py() {
    for shards in [1, 4] {
        let mut cordis = Server::cordis(shards, &["--requirepass", "pass word"]);
        let out = streams(&cordis, "pass word");
        assert!(out.ends_with("all well\n"), "{out}");
        cordis.assert_alive();
    }
}

/// The script must hold what it expects against the real server too.
#[test]
fn the_script_of_streams_expects_what_redis_does() {
    let redis = Server::redis(&["--requirepass", "pass word"]);
    let out = streams(&redis, "pass word");
    assert!(out.ends_with("all well\n"), "{out}");
}

fn messages(server: &Server, password: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/messages.py");
    run(Command::new(python())
        .arg(script)
        .args([&server.port().to_string(), password]))
}

/// Patterns, threads, shard channels, connections that are lost.
#[test]
fn messages_are_used_through_redis_py() {
    let options = ["--requirepass", "pass word"];
    // The script must hold what it expects against the real server too.
    for mut server in [
        Server::redis(&options),
        Server::cordis(1, &options),
        Server::cordis(4, &options),
    ] {
        let out = messages(&server, "pass word");
        assert!(out.ends_with("all well\n"), "{}: {out}", server.name);
        server.assert_alive();
    }
}

/// What redis-cli prints while it listens, until it has printed so many lines.
fn listened(server: &Server, args: &[&str], lines: usize, publish: &[&[&str]]) -> Vec<String> {
    let mut child = mortal("redis-cli")
        .args(["-p", &server.port().to_string()])
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .expect("redis-cli is installed (tests/run.sh)");
    let mut client = server.connect();
    wait_until("redis-cli listens", || {
        let info = client.call(&["INFO", "stats"]).value().text();
        let counts = ["pubsub_channels", "pubsub_patterns", "pubsubshard_channels"];
        let counts = counts.iter().filter_map(|field| info_field(&info, field));
        counts
            .map(|count| count.parse::<usize>().expect("a number"))
            .sum::<usize>()
            == 2
    });
    for words in publish {
        assert_eq!(client.call(words).integer(), 1);
    }
    let out = BufReader::new(child.stdout.take().expect("it is piped"));
    let lines: Vec<String> = out.lines().take(lines).map_while(Result::ok).collect();
    child.kill().expect("it runs");
    child.wait().expect("it was started here");
    wait_until("nobody listens", || {
        client
            .call(&["CLIENT", "LIST", "TYPE", "pubsub"])
            .bytes()
            .is_empty()
    });
    lines
}

#[test]
fn redis_cli_prints_what_it_listens_to() {
    let servers = [
        Server::redis(&[]),
        Server::cordis(1, &[]),
        Server::cordis(4, &[]),
    ];
    let message: &[&[&str]] = &[&["PUBLISH", "a", "hello"], &["PUBLISH", "b", "two words"]];
    let sharded: &[&[&str]] = &[&["SPUBLISH", "a", "hello"]];
    for form in [
        &[][..],
        &["-3"],
        &["--csv"],
        &["-3", "--csv"],
        &["--no-raw"],
        &["--json", "-3"],
    ] {
        for (command, publish) in [
            (&["subscribe", "a", "b"][..], message),
            (&["psubscribe", "a*", "b*"], message),
            (&["ssubscribe", "a", "b"], sharded),
        ] {
            let args = [form, command].concat();
            // redis-server's own lines say how many there are to be.
            let per_line = form.iter().any(|it| ["--csv", "--json"].contains(it));
            let words = 2 * 3 + publish.len() * if command[0] == "psubscribe" { 4 } else { 3 };
            let head = usize::from(!form.is_empty() && form != ["-3"]);
            let count = head + if per_line { 2 + publish.len() } else { words };
            let told = servers
                .each_ref()
                .map(|it| listened(it, &args, count, publish));
            assert!(
                told[0].iter().any(|line| line.contains("hello")),
                "{args:?}: {told:?}"
            );
            assert_eq!(told[0], told[1], "{args:?}");
            assert_eq!(told[0], told[2], "{args:?}");
        }
    }
}
