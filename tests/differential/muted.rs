//! CLIENT REPLY, within blocks and around them: all bytes that a connection gets, from
//! both servers.

use crate::support::client::{Client, encode};
use crate::support::rng::{Rng, seed};
use crate::support::server::Server;
use crate::support::{long_run, show};

const ON: &str = "CLIENT REPLY ON";
const OFF: &str = "CLIENT REPLY OFF";
const SKIP: &str = "CLIENT REPLY SKIP";

const OPTIONS: &[&str] = &[
    "--enable-debug-command",
    "yes",
    "--client-output-buffer-limit",
    "normal 16mb 0 0",
];

/// What chance might not find. Every line is one connection's.
const WRITTEN: &[&[&str]] = &[
    &[
        "MULTI", "SET a 1", OFF, "SET b 2", "PING", "EXEC", "PING", ON, "PING",
    ],
    &[
        "MULTI", "SET a 1", SKIP, "SET b 2", "EXEC", "ECHO x", "ECHO y",
    ],
    &["MULTI", SKIP, ON, "GET b", "EXEC", "ECHO x", "ECHO y"],
    &["MULTI", SKIP, OFF, ON, "GET b", "EXEC", "ECHO x", "ECHO y"],
    &["MULTI", SKIP, OFF, "EXEC", "ECHO x", ON, "ECHO y"],
    &[
        "MULTI", "GET a", OFF, "GET b", ON, "GET c", "EXEC", "ECHO x",
    ],
    &[OFF, "MULTI", "GET a", ON, "GET b", "EXEC", "ECHO x"],
    &[SKIP, "EXEC", "ECHO x"],
    &["MULTI", SKIP, "EXEC", "EXEC", "ECHO x"],
    &["MULTI", OFF, "CLIENT REPLY NEVER", "EXEC", ON],
    &["MULTI", "GET a", OFF, "EXEC", "RESET", "ECHO x"],
    &["MULTI", "GET a", SKIP, "EXEC", "", "ECHO x"],
    &["MULTI", "GET a", SKIP, "EXEC", " ", "ECHO x"],
    &[SKIP, "*0", "ECHO x", SKIP, "*-1", "ECHO y"],
    &["WATCH w", "SET w 1", "MULTI", OFF, "EXEC", "ECHO x"],
    &[OFF, "WATCH w", "SET w 1", "MULTI", ON, "EXEC", ON],
    &[
        "MULTI",
        OFF,
        "LRANGE long 0 -1",
        ON,
        "LRANGE long 0 -1",
        "EXEC",
    ],
    &[
        "MULTI",
        OFF,
        "DEBUG SLEEP 0",
        "SLOWLOG RESET",
        ON,
        "EXEC",
        "ECHO x",
    ],
];

const COMMANDS: &[&str] = &[
    "GET a",
    "GET b",
    "SET c 3",
    "INCR d",
    "MGET a b c d",
    "MSET a 1 b 2 c 3",
    "GET big",
    "LRANGE long 0 -1",
    "COPY a e REPLACE",
    "DBSIZE",
    "LPOP a",
    "NOSUCH",
    "GET",
    "ECHO x",
    "CONFIG GET maxmemory",
    "CLIENT GETNAME",
    "SLOWLOG RESET",
    "LATENCY RESET",
    "SELECT 1",
    "SELECT 0",
    "WATCH a d",
    "RESET",
    "",
    "*0",
];

fn session(rng: &mut Rng) -> Vec<&'static str> {
    let mut lines = Vec::new();
    for _ in 0..1 + rng.below(12) {
        lines.push(match rng.below(10) {
            0 => ON,
            1 => OFF,
            2 => SKIP,
            3 | 4 => "MULTI",
            5 | 6 => "EXEC",
            _ => *rng.pick(COMMANDS),
        });
    }
    lines
}

fn send(client: &mut Client, lines: &[&str], at_once: bool) {
    let mut bytes = Vec::new();
    // Redis does not close a connection that it has nothing to send to.
    for line in lines.iter().chain(&["DISCARD", ON, "QUIT"]) {
        match line.is_empty() || line.starts_with([' ', '*']) {
            true => bytes.extend_from_slice(format!("{line}\r\n").as_bytes()),
            false => encode(&line.split(' ').collect::<Vec<_>>(), &mut bytes),
        }
        if !at_once {
            client.send_raw(&std::mem::take(&mut bytes));
        }
    }
    client.send_raw(&bytes);
}

fn muted(test: &str, shards: u16) {
    let servers = [Server::redis(OPTIONS), Server::cordis(shards, OPTIONS)];
    for server in &servers {
        let mut client = server.connect();
        client.call(&["SET", "big", &"x".repeat(200_000)]);
        let elements = vec!["an element of a long list"; 20_000];
        client.call(&[&["RPUSH", "long"][..], &elements].concat());
    }
    let mut rng = Rng::new(seed(test));
    let rounds = if long_run() { 100_000 } else { 1_000 };
    let drawn = (0..rounds).map(|_| session(&mut rng)).collect::<Vec<_>>();
    let written = WRITTEN.iter().map(|lines| lines.to_vec());
    // More than a client may be owed, which this one is not.
    let much = format!("MGET{}", " big".repeat(100));
    let much = [
        &[
            OFF, &much, "MULTI", &much, ON, "EXEC", "ECHO x", OFF, "MULTI", &much, "EXEC",
        ][..],
        &["MULTI", "GET a", OFF, &much, ON, "GET b", "EXEC"],
        &[SKIP, &much, "ECHO x"],
    ]
    .map(<[_]>::to_vec);
    let written = written.chain(much);
    for (number, lines) in written.chain(drawn).enumerate() {
        let [expected, got] = servers.each_ref().map(|server| {
            let mut client = server.connect();
            send(&mut client, &lines, number % 2 == 0);
            client.read_to_end()
        });
        assert!(
            expected == got,
            "{lines:?}\n  redis:  {}\n  cordis: {}",
            show(&expected),
            show(&got)
        );
    }
}

#[test]
fn muted_connections_get_the_same_bytes_on_one_shard() {
    muted("muted_connections_get_the_same_bytes_on_one_shard", 1);
}

#[test]
fn muted_connections_get_the_same_bytes_on_four_shards() {
    muted("muted_connections_get_the_same_bytes_on_four_shards", 4);
}
