//! Starting and stopping: what the command line accepts, how refusals read,
//! and that the server goes when it is told to.

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use support::server::{CORDIS, Server, TempDir, free_port, mortal};
use support::wait_until;

/// Runs the server in the hope that it refuses, and returns what it said.
///
/// Panics unless it ended with status 1 after one line on standard error that
/// names all of `naming`.
fn refusal(command: &mut Command, naming: &[&str]) -> String {
    let output = command.output().expect("setpriv (util-linux) is installed");
    let said = one_line_refusal(command, &output);
    for word in naming {
        assert!(
            said.to_lowercase().contains(&word.to_lowercase()),
            "{command:?} does not name {word:?}: {said}"
        );
    }
    said
}

fn one_line_refusal(command: &Command, output: &Output) -> String {
    let out = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        output.status.code(),
        Some(1),
        "{command:?} ended with {}:\n{out}{err}",
        output.status
    );
    assert_eq!(
        err.lines().count(),
        1,
        "{command:?} said on standard error:\n{err}"
    );
    assert!(!err.contains("panicked"), "{command:?}: {err}");
    err
}

/// The server with `args`, on a port of its own, if it were to start. `timeout`
/// ends a server that starts after all, so that the test fails and does not hang.
fn server(args: &[&str]) -> Command {
    let mut command = mortal("timeout");
    command.args(["--signal=KILL", "60", CORDIS]).args(args);
    command
}

/// Arguments that must be refused, and what the refusal must name.
const BAD_ARGUMENTS: &[(&[&str], &[&str])] = &[
    (&["--shards", "0"], &["shards"]),
    (&["--shards", "-1"], &["shards"]),
    (&["--shards", "many"], &["shards", "many"]),
    (&["--shards", "1000000"], &["shards"]),
    (&["--port", "99999"], &["port", "99999"]),
    (&["--port", "-1"], &["port"]),
    (&["--port", "x"], &["port"]),
    (&["--port", ""], &["port"]),
    (&["--port"], &["port"]),
    (&["--nosuch", "1"], &["nosuch"]),
    (&["--nosuch"], &["nosuch"]),
    (&["--maxmemory", "1zb"], &["maxmemory"]),
    (&["--timeout", "-1"], &["timeout"]),
    (&["--databases", "0"], &["databases"]),
    (&["--maxclients", "0"], &["maxclients"]),
    (&["--appendonly", "maybe"], &["appendonly"]),
    (&["--proto-max-bulk-len", "1"], &["proto-max-bulk-len"]),
    (&["--bind", "203.0.113.77"], &["bind", "203.0.113.77"]),
    (&["--bind", "not an address"], &["bind"]),
    (
        &["--bind", "127.0.0.1", "127.0.0.1"],
        &["bind", "127.0.0.1", "twice"],
    ),
    (
        &["--bind", "*", "127.0.0.1"],
        &["bind", "127.0.0.1", "twice"],
    ),
    (
        &["--dir", "/nonexistent/folder"],
        &["dir", "/nonexistent/folder"],
    ),
    (&["--dir", "/etc/passwd"], &["dir", "/etc/passwd"]),
    (&["--replicaof", "localhost 6379"], &["replica"]),
    (&["/nonexistent/cordis.conf"], &["/nonexistent/cordis.conf"]),
];

#[test]
fn bad_arguments_are_refused_with_one_line() {
    for (args, naming) in BAD_ARGUMENTS {
        let port = free_port().to_string();
        let with_port = [args, &["--port", port.as_str()][..]].concat();
        // A bad port must be the last one said, or it would be overruled.
        let bad_port = args[0] == "--port";
        refusal(
            &mut server(if bad_port { args } else { &with_port }),
            naming,
        );
    }
}

#[test]
fn a_port_in_use_is_refused() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    refusal(
        &mut server(&["--port", &port, "--bind", "127.0.0.1"]),
        &["port", &port, "in use"],
    );
    // Another Cordis is no exception, although its sockets share their port.
    let first = Server::cordis(2, &[]);
    let port = first.port().to_string();
    let args = [
        "--port",
        port.as_str(),
        "--bind",
        "127.0.0.1",
        "--shards",
        "2",
    ];
    refusal(&mut server(&args), &["port", &port, "in use"]);
    assert_eq!(first.connect().call(&["PING"]).raw, b"+PONG\r\n");
}

/// Whichever comes first has the port for itself, also while both still start.
#[test]
fn of_two_that_start_at_once_one_serves() {
    for shards in ["1", "4"] {
        for _ in 0..5 {
            let port = free_port().to_string();
            let args = ["--port", &port, "--bind", "127.0.0.1", "--shards", shards];
            let mut both: Vec<_> = (0..2)
                .map(|_| {
                    let mut command = mortal(CORDIS);
                    command.args(args).stdout(Stdio::piped());
                    command.stderr(Stdio::piped());
                    command.spawn().expect("setpriv (util-linux) is installed")
                })
                .collect();
            // Who serves says so; who does not ends without a word.
            let says: Vec<bool> = both
                .iter_mut()
                .map(|server| {
                    let mut said = String::new();
                    let out = server.stdout.take().expect("it is piped");
                    let read = BufReader::new(out).read_line(&mut said);
                    read.is_ok() && said.contains("ready")
                })
                .collect();
            for server in &mut both {
                server.kill().expect("it is ours");
                server.wait().expect("it is ours");
            }
            let serve = says.iter().filter(|says| **says).count();
            assert_eq!(serve, 1, "of two with {shards} shard(s)");
        }
    }
}

/// Configuration files that must be refused: text, line, and what is named.
const BAD_FILES: &[(&str, usize, &[&str])] = &[
    ("# fine\nport 0\nnosuch 1\n", 3, &["nosuch"]),
    ("port x\n", 1, &["port"]),
    ("\n\n\ntimeout\n", 4, &["timeout"]),
    ("requirepass \"unbalanced\n", 1, &[]),
    ("maxmemory 12 34\n", 1, &["maxmemory"]),
];

#[test]
fn mistakes_in_files_are_named_with_their_line() {
    let dir = TempDir::new();
    let path = dir.path().join("cordis.conf");
    let path = path.to_str().expect("temporary folders have plain names");
    for (text, line, naming) in BAD_FILES {
        fs::write(path, text).expect("own folder is writable");
        let line = line.to_string();
        let naming = [&["cordis.conf", line.as_str()], *naming].concat();
        refusal(&mut server(&[path]), &naming);
    }
}

/// A file as Redis comes with it: what has no effect is named in one line of the
/// log, and nothing keeps the server from starting.
#[test]
fn stock_files_of_redis_are_accepted() {
    let dir = TempDir::new();
    let path = dir.path().join("redis.conf");
    let name = path.to_str().expect("temporary folders have plain names");
    let stock = fs::read_to_string("/etc/redis/redis.conf")
        .expect("redis-server is installed: run tests/run.sh, which installs it");
    // Where this machine keeps the other server's files is not ours to write.
    let own = |line: &&str| !line.starts_with("dir ") && !line.starts_with("logfile ");
    let text: Vec<&str> = stock.lines().filter(own).collect();
    fs::write(&path, text.join("\n")).expect("own folder is writable");
    let server = Server::cordis_from_file(name, &["--hz", "20", "--appendfsync", "always"]);
    assert_eq!(server.connect().call(&["PING"]).raw, b"+PONG\r\n");
    let log = server.log();
    let named: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("without effect"))
        .collect();
    assert_eq!(named.len(), 1, "{log}");
    for directive in ["daemonize", "appendfsync", "hz", "activerehashing"] {
        assert!(named[0].contains(&format!(" {directive} ")), "{log}");
    }
}

#[test]
fn features_that_are_missing_are_refused_by_name() {
    for (name, value) in [
        ("cluster-enabled", "yes"),
        ("aclfile", "/etc/users.acl"),
        ("unixsocket", "/tmp/no.sock"),
        ("maxmemory-policy", "allkeys-lru"),
        ("tls-port", "6380"),
        ("rename-command", "FLUSHALL"),
        ("loadmodule", "/tmp/no.so"),
        ("user", "default"),
    ] {
        refusal(
            &mut server(&[&format!("--{name}"), value]),
            &[name, "not available"],
        );
        let dir = TempDir::new();
        let path = dir.path().join("cordis.conf");
        fs::write(&path, format!("# one\n{name} {value}\n")).expect("own folder is writable");
        let path = path.to_str().expect("temporary folders have plain names");
        refusal(
            &mut server(&[path]),
            &["line 2", name, value, "not available"],
        );
    }
}

#[test]
fn files_and_arguments_agree_on_who_wins() {
    let dir = TempDir::new();
    let path = dir.path().join("cordis.conf");
    let port = free_port();
    fs::write(
        &path,
        format!(
            "# a comment\nport {port}\ntimeout 11\n\nproto-max-bulk-len 5mb\nrequirepass \"a b\"\n"
        ),
    )
    .expect("own folder is writable");
    let path = path.to_str().expect("temporary folders have plain names");
    let server = Server::cordis_from_file(path, &["--timeout", "22", "--requirepass", "a b"]);
    let mut client = server.connect();
    let mut get = |name: &str| {
        client.call(&["CONFIG", "GET", name]).value().pairs()[0]
            .1
            .text()
    };
    assert_eq!(get("timeout"), "22");
    assert_eq!(get("proto-max-bulk-len"), (5 * 1024 * 1024).to_string());
    assert_eq!(get("requirepass"), "a b");
    assert_eq!(get("port"), server.port().to_string());
}

#[test]
fn rewritten_files_keep_what_was_set() {
    // The first server stays until the end: the file will name its folder.
    let dir = TempDir::new();
    let path = dir.path().join("cordis.conf");
    fs::write(&path, "# my comment\ntimeout 11\n").expect("own folder is writable");
    let name = path.to_str().expect("temporary folders have plain names");
    let server = Server::cordis_from_file(name, &[]);
    let mut client = server.connect();
    assert_eq!(
        client
            .call(&[
                "CONFIG",
                "SET",
                "timeout",
                "33",
                "proto-max-bulk-len",
                "7mb"
            ])
            .to_string(),
        "OK"
    );
    assert_eq!(client.call(&["CONFIG", "REWRITE"]).to_string(), "OK");
    let text = fs::read_to_string(&path).expect("the file is still there");
    assert!(text.contains("# my comment\n"), "{text}");
    assert!(text.contains("timeout 33\n"), "{text}");
    // The number of CPUs, which nobody has set.
    assert!(!text.contains("shards"), "{text}");
    let server = Server::cordis_from_file(name, &[]);
    let mut client = server.connect();
    let reply = client.call(&["CONFIG", "GET", "timeout"]).value();
    assert_eq!(reply.pairs()[0].1.text(), "33");
    let reply = client
        .call(&["CONFIG", "GET", "proto-max-bulk-len"])
        .value();
    assert_eq!(reply.pairs()[0].1.text(), (7 * 1024 * 1024).to_string());
}

#[test]
fn start_up_prints_one_line() {
    for shards in [1, 3] {
        let cordis = Server::cordis(shards, &[]);
        wait_until("a line is printed", || !cordis.log().is_empty());
        let log = cordis.log();
        assert_eq!(log.lines().count(), 1, "{log}");
        for fact in [
            env!("CARGO_PKG_VERSION").to_string(),
            format!("127.0.0.1:{}", cordis.port()),
            cordis.pid().to_string(),
            format!("{shards} shard"),
        ] {
            wait_until(&format!("{fact} is printed"), || {
                cordis.log().contains(&fact)
            });
        }
    }
}

#[test]
fn the_number_of_shards_follows_the_cpus_it_may_use() {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let cordis = Server::cordis_with_default_shards(&[]);
    wait_until(&format!("{cpus} shards are named"), || {
        cordis.log().contains(&format!("{cpus} shard"))
    });
}

#[test]
fn signals_stop_it_cleanly() {
    for signal in ["TERM", "INT"] {
        for shards in [1, 4] {
            let mut cordis = Server::cordis(shards, &[]);
            let mut clients: Vec<_> = (0..20).map(|_| cordis.connect()).collect();
            clients[0].call(&["SET", "a", "1"]);
            cordis.signal(signal);
            let status = cordis.wait_for_end();
            assert_eq!(
                status.code(),
                Some(0),
                "SIG{signal}, {shards} shard(s): {}",
                cordis.log()
            );
            assert!(clients.iter_mut().all(support::client::Client::is_closed));
        }
    }
}

/// The kernel takes the rings of a process apart after its end.
#[test]
fn another_takes_its_place_at_once() {
    for signal in ["TERM", "KILL", "KILL", "KILL"] {
        let mut cordis = Server::cordis(2, &[]);
        let _client = cordis.connect();
        cordis.signal(signal);
        cordis.wait_for_end();
        let port = cordis.port().to_string();
        let mut next = mortal(CORDIS)
            .args(["--port", &port, "--bind", "127.0.0.1", "--shards", "2"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("setpriv (util-linux) is installed");
        let mut said = String::new();
        let out = next.stdout.take().expect("it is piped");
        let read = BufReader::new(out).read_line(&mut said);
        next.kill().expect("it is ours");
        next.wait().expect("it is ours");
        assert!(
            read.is_ok() && said.contains("ready"),
            "after SIG{signal}: {said}"
        );
    }
}

#[test]
fn shutdown_stops_it_cleanly() {
    for args in [
        &["SHUTDOWN"][..],
        &["SHUTDOWN", "NOSAVE"],
        &["shutdown", "nosave", "now", "force"],
    ] {
        let mut cordis = Server::cordis(4, &[]);
        let mut client = cordis.connect();
        client.send(args);
        assert!(client.is_closed(), "{args:?}");
        assert_eq!(
            cordis.wait_for_end().code(),
            Some(0),
            "{args:?}: {}",
            cordis.log()
        );
    }
}

/// Runs the server where io_uring is forbidden, as container runtimes do.
#[test]
fn without_io_uring_it_names_cause_and_remedy() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/no_io_uring.py");
    let mut command = Command::new("python3");
    command
        .arg(script)
        .arg(CORDIS)
        .args(["--port", &free_port().to_string()]);
    refusal(&mut command, &["io_uring", "seccomp"]);
}

/// With next to no lockable memory, or with what does for a ring and not for an
/// executor, it either serves all the same or says why not.
#[test]
fn too_little_memlock_is_named() {
    for bytes in [4096, 256 * 1024] {
        let mut command = Command::new("setpriv");
        // Root may lock any amount unless that capability is taken away first.
        if fs::metadata("/proc/self")
            .is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
        {
            command.args(["--bounding-set", "-ipc_lock", "--inh-caps", "-ipc_lock"]);
        }
        command.args(["--pdeathsig", "KILL", "prlimit"]);
        command.arg(format!("--memlock={bytes}:{bytes}"));
        command.args(["timeout", "--signal=TERM", "5", CORDIS, "--shards", "2"]);
        command.args(["--port", &free_port().to_string(), "--bind", "127.0.0.1"]);
        let output = command.output().expect("setpriv (util-linux) is installed");
        let served = String::from_utf8_lossy(&output.stdout).lines().count() == 1
            && output.stderr.is_empty();
        if !served {
            let said = one_line_refusal(&command, &output);
            assert!(said.contains("memlock"), "{said}");
        }
    }
}

/// Who comes beyond the limit can then be told so, as Redis does it.
#[test]
fn maxclients_follows_the_descriptors_there_are() {
    let dir = TempDir::new();
    let limited = |limit: u32| {
        let script = dir.path().join(format!("limited-{limit}.sh"));
        let text = format!("#!/bin/sh\nulimit -n {limit}\nexec {CORDIS} \"$@\"\n");
        fs::write(&script, text).expect("own folder is writable");
        let runs = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&script, runs).expect("it is our own");
        let script = script.to_str();
        script
            .expect("temporary folders have plain names")
            .to_owned()
    };
    // Each address takes sockets of each shard.
    let addresses: Vec<String> = (1..=16).map(|last| format!("127.0.0.{last}")).collect();
    let mut many = vec!["--shards", "8", "--bind"];
    many.extend(addresses.iter().map(String::as_str));
    for (limit, args) in [(200, &["--shards", "1"][..]), (1000, &many)] {
        let cordis = Server::of_script(&limited(limit), dir.path(), args);
        let reply = cordis
            .connect()
            .call(&["CONFIG", "GET", "maxclients"])
            .value();
        let clients: u32 = reply.pairs()[0].1.text().parse().expect("it is a number");
        assert!((1..limit).contains(&clients), "{clients}");
        let mut connected: Vec<_> = (0..clients).map(|_| cordis.connect()).collect();
        for client in &mut connected {
            assert_eq!(client.call(&["PING"]).raw, b"+PONG\r\n");
        }
        assert_eq!(
            cordis.connect().read().raw,
            b"-ERR max number of clients reached\r\n"
        );
    }
    let port = free_port().to_string();
    let mut command = mortal("timeout");
    command.args(["60", &limited(100), "--port", &port]);
    refusal(&mut command, &["maxclients", "nofile", "ulimit -n"]);
}

/// Builds release, which takes minutes; `tests/run.sh` asks for it.
#[test]
#[ignore = "builds release: tests/run.sh runs it"]
fn run_sh_passes_its_arguments_on() {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("run.sh");
    let script = script.to_str().expect("the checkout has a plain path");
    let built = Command::new(script)
        .arg("--shards")
        .arg("0")
        .output()
        .expect("run.sh is executable");
    let refused = String::from_utf8_lossy(&built.stderr).into_owned();
    assert_eq!(built.status.code(), Some(1), "{refused}");
    assert!(refused.contains("shards"), "{refused}");

    let dir = TempDir::new();
    let folder = dir
        .path()
        .to_str()
        .expect("temporary folders have plain names");
    fs::write(dir.path().join("my.conf"), "timeout 44\n").expect("own folder is writable");
    let from = |args: &[&str]| Server::of_script(script, dir.path(), args);
    let dump = from(&["--dir", folder, "--dbfilename", "dump.rdb"]);
    let reply = dump
        .connect()
        .call(&["CONFIG", "GET", "dbfilename"])
        .value();
    assert_eq!(reply.pairs()[0].1.text(), "dump.rdb");
    let configured = from(&["my.conf"]);
    let reply = configured
        .connect()
        .call(&["CONFIG", "GET", "timeout"])
        .value();
    assert_eq!(reply.pairs()[0].1.text(), "44");
    let mut replica = Command::new(script);
    replica.args([
        "--port",
        &free_port().to_string(),
        "--replicaof",
        "localhost 6379",
    ]);
    let output = replica.output().expect("run.sh is executable");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("replica"));
}

/// Clients of all cores ask at once; the file is whole whenever somebody reads it.
#[test]
fn rewriting_from_many_cores_at_once_keeps_the_file_whole() {
    let dir = TempDir::new();
    let path = dir.path().join("cordis.conf");
    let comments = "# a comment\n".repeat(2000);
    fs::write(&path, format!("{comments}timeout 11\n# the end\n")).expect("own folder is writable");
    let name = path.to_str().expect("temporary folders have plain names");
    let server = Server::cordis_from_file(name, &["--shards", "4"]);
    let mut clients: Vec<_> = (0..16).map(|_| server.connect()).collect();
    for round in 0..20 {
        for client in &mut clients {
            client.send(&["CONFIG", "SET", "tcp-keepalive", &round.to_string()]);
            client.send(&["CONFIG", "REWRITE"]);
        }
        let text = fs::read_to_string(&path).expect("the file is there");
        assert!(text.starts_with(&comments) && text.contains("# the end\n"));
        for client in &mut clients {
            assert_eq!(client.read().to_string(), "OK");
            assert_eq!(client.read().to_string(), "OK");
        }
    }
    let text = fs::read_to_string(&path).expect("the file is there");
    assert!(text.contains("\ntcp-keepalive 19\n"), "{text}");
    let files = fs::read_dir(dir.path()).expect("it is there");
    let left = files.filter(|file| {
        let name = file.as_ref().map(|file| file.file_name());
        name.is_ok_and(|name| name.to_string_lossy().contains("tmp"))
    });
    assert_eq!(left.count(), 0);
}

/// Logs are rotated by moving the file away; who does so often sends SIGHUP as well.
#[test]
fn a_log_that_was_moved_away_is_begun_anew() {
    for shards in [1, 4] {
        let mut server = Server::cordis(
            shards,
            &["--logfile", "own.log", "--enable-debug-command", "yes"],
        );
        let path = |name: &str| server.dir().join(name);
        let text = |name: &str| fs::read_to_string(path(name)).unwrap_or_default();
        let mut clients: Vec<_> = (0..8).map(|_| server.connect()).collect();
        let mut say = |line: &str| {
            for client in &mut clients {
                assert_eq!(client.call(&["DEBUG", "LOG", line]).to_string(), "OK");
            }
        };
        say("before");
        // The path is one from the folder given with --dir.
        assert_eq!(text("own.log").matches("before").count(), 8);
        fs::rename(path("own.log"), path("old.log")).expect("own folder is writable");
        server.signal("HUP");
        say("after");
        assert_eq!(text("own.log").matches("after").count(), 8);
        assert_eq!(text("old.log").matches("after").count(), 0);
        for _ in 0..50 {
            server.signal("HUP");
            say("still there");
        }
        server.assert_alive();
    }
}

/// Who started it may have stopped reading what it says.
#[test]
fn closed_pipes_end_nothing() {
    let run = |args: &[&str]| {
        let mut command = server(args);
        let (out, err) = (Stdio::piped(), Stdio::piped());
        let mut child = command.stdout(out).stderr(err).spawn().expect("it starts");
        drop((child.stdout.take(), child.stderr.take()));
        child
    };
    let refused = run(&["--nosuch", "1"]).wait().expect("it is ours");
    assert_eq!(refused.code(), Some(1));
    for asked in ["--help", "--version"] {
        let status = run(&[asked]).wait().expect("it is ours");
        assert_eq!(status.code(), Some(0), "{asked}");
    }
    let port = free_port();
    let args = ["--port", &port.to_string(), "--bind", "127.0.0.1"];
    let args = [&args[..], &["--loglevel", "debug"]].concat();
    let mut serving = run(&[&args[..], &["--enable-debug-command", "yes"]].concat());
    wait_until("it serves", || {
        support::client::Client::try_connect(port).is_ok()
    });
    let mut client = support::client::Client::connect(port);
    for _ in 0..3 {
        assert_eq!(client.call(&["DEBUG", "LOG", "unheard"]).raw, b"+OK\r\n");
    }
    client.send(&["SHUTDOWN", "NOSAVE"]);
    assert_eq!(serving.wait().expect("it is ours").code(), Some(0));
}
