//! The protocol itself: malformed input, requests in pieces, pipelines, big
//! values, clients that do not read, replies that are switched off.

mod support;

use std::io::Write;
use std::net::Shutdown;
use support::client::{Client, encode};
use support::rng::{Rng, seed};
use support::server::Server;
use support::{long_run, show, wait_until, words};

/// Input that is malformed, or almost.
const INPUTS: &[(&str, &[u8])] = &[
    ("count is not a number", b"*x\r\n"),
    ("count with a blank", b"* 1\r\n$4\r\nPING\r\n"),
    ("count with a plus", b"*+1\r\n$4\r\nPING\r\n"),
    ("count too big", b"*2147483648\r\n"),
    ("count far too big", b"*99999999999999999999\r\n"),
    ("count just allowed plus one", b"*1048577\r\n"),
    ("count is empty", b"*\r\n"),
    ("count is a minus", b"*-\r\n"),
    ("dollar missing", b"*1\r\n+PING\r\n"),
    ("dollar missing, other byte", b"*1\r\n\xff4\r\nPING\r\n"),
    ("dollar missing, line end", b"*1\r\n\r\n"),
    ("length is not a number", b"*1\r\n$x\r\n"),
    ("length is negative", b"*1\r\n$-1\r\n"),
    (
        "length is very negative",
        b"*1\r\n$-9223372036854775808\r\n",
    ),
    ("length is empty", b"*1\r\n$\r\n"),
    ("length over proto-max-bulk-len", b"*1\r\n$536870913\r\n"),
    ("length overflows", b"*1\r\n$99999999999999999999\r\n"),
    ("second argument is wrong", b"*2\r\n$3\r\nGET\r\n:1\r\n"),
    ("unbalanced double quote", b"SET a \"b\r\n"),
    ("unbalanced single quote", b"SET a 'b\r\n"),
    ("text behind a quote", b"SET a \"b\"c\r\n"),
    (
        "a served request first",
        b"*1\r\n$4\r\nPING\r\n*x\r\nPING\r\n",
    ),
    ("nothing asked", b"*0\r\nPING\r\n"),
    ("fewer than nothing asked", b"*-1\r\nPING\r\n"),
    ("very few asked", b"*-1000\r\nPING\r\n"),
    ("empty lines", b"\r\n\r\n\n\nPING\r\n"),
    ("inline with quotes", b"ECHO \"a\\x41\\n\\\"\" \r\n"),
    ("inline with single quotes", b"ECHO 'a\\'b\\n'\r\n"),
    ("inline ends with a bare newline", b"PING\n"),
    ("inline with blanks around", b"   PING    hello   \r\n"),
    ("inline with tabs", b"\tPING\thello\t\r\n"),
    ("inline with NUL", b"PING\0x\r\n"),
    ("inline of blanks", b"    \r\nPING\r\n"),
    ("inline with an empty quoted name", b"\"\" x\r\n"),
    ("inline that looks like a reply", b"$4\r\nPING\r\n"),
    (
        "+separators are not looked at",
        b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
    ),
    ("an empty argument", b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n"),
    ("an empty name", b"*1\r\n$0\r\n\r\n"),
    (
        "+leading zeros in lengths",
        b"*02\r\n$04\r\nECHO\r\n$1\r\na\r\n",
    ),
    ("minus zero", b"*-0\r\nPING\r\n"),
    (
        "a form sent by a web page",
        b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nPING\r\n",
    ),
    ("a header of HTTP", b"host: localhost\r\nPING\r\n"),
    (
        "the same in a multibulk request",
        b"*1\r\n$4\r\nPost\r\n*1\r\n$4\r\nPING\r\n",
    ),
    (
        "+inline request after a multibulk one",
        b"*1\r\n$4\r\nPING\r\nPING\r\n*1\r\n$4\r\nPING\r\n",
    ),
];

/// Input whose length is the point.
fn overlong() -> Vec<(&'static str, Vec<u8>)> {
    let mut count = b"*".to_vec();
    count.resize(70_000, b'1');
    let mut length = b"*1\r\n$".to_vec();
    length.resize(70_000, b'1');
    let inline = vec![b'a'; 70_000];
    let mut quoted = b"ECHO \"".to_vec();
    quoted.resize(60_000, b'q');
    quoted.extend_from_slice(b"\"\r\n");
    vec![
        ("count without an end", count),
        ("length without an end", length),
        ("inline without an end", inline),
        ("a long inline request", quoted),
    ]
}

/// All that a server says to `input` until it closes; the sender then says
/// that no more will come.
fn answer(server: &Server, input: &[u8]) -> Vec<u8> {
    let mut client = server.connect();
    // The server may close before it has read everything.
    let _ = client.stream().write_all(input);
    let _ = client.stream().shutdown(Shutdown::Write);
    client.read_to_end()
}

/// As [`answer`], but leaves it to the server to close.
fn answer_and_close(server: &Server, input: &[u8]) -> Vec<u8> {
    let mut client = server.connect();
    let _ = client.stream().write_all(input);
    client.read_to_end()
}

#[test]
fn malformed_input_is_answered_as_by_redis() {
    let redis = Server::redis(&[]);
    let mut cordis = Server::cordis(2, &[]);
    let mut healthy = cordis.connect();
    let fixed = INPUTS.iter().map(|(name, input)| (*name, input.to_vec()));
    for (name, input) in fixed.chain(overlong()) {
        let expected = answer(&redis, &input);
        let reply = answer(&cordis, &input);
        assert_eq!(
            show(&reply),
            show(&expected),
            "{name}: {} (left: cordis, right: redis)",
            show(&input)
        );
        let refused = expected.windows(14).any(|part| part == b"Protocol error");
        if refused {
            // It must not take the client to close.
            assert_eq!(
                show(&answer_and_close(&cordis, &input)),
                show(&expected),
                "{name}"
            );
        }
        assert_eq!(healthy.call(&["PING"]).raw, b"+PONG\r\n", "after {name}");
    }
    cordis.assert_alive();
}

#[test]
fn limits_before_authentication_are_those_of_redis() {
    let redis = Server::redis(&["--requirepass", "secret"]);
    let cordis = Server::cordis(2, &["--requirepass", "secret"]);
    let long = format!("*2\r\n$4\r\nPING\r\n$16384\r\n{}\r\n", "x".repeat(16384));
    let inputs: &[&[u8]] = &[
        b"*11\r\n",
        b"*10\r\n$4\r\nPING\r\n",
        b"*1\r\n$16385\r\n",
        long.as_bytes(),
        b"GET a\r\n*11\r\n",
    ];
    for input in inputs {
        let ask = |server: &Server| {
            let mut client = Client::connect(server.port());
            let _ = client.stream().write_all(input);
            let _ = client.stream().shutdown(Shutdown::Write);
            show(&client.read_to_end())
        };
        assert_eq!(ask(&cordis), ask(&redis), "{}", show(input));
    }
    // Once authenticated, the same requests are served.
    let mut client = cordis.connect();
    client.send_raw(long.as_bytes());
    assert_eq!(client.read().bytes().len(), 16384);
}

/// Of several reasons to refuse a command a client is told the first.
#[test]
fn refusals_come_in_the_order_of_redis() {
    let servers = [1, 4].map(|shards| Server::cordis(shards, &["--requirepass", "secret"]));
    let redis = Server::redis(&["--requirepass", "secret"]);
    for lines in [
        "NOSUCH",
        "CONFIG NOSUCH",
        "CONFIG GET",
        "GET",
        "GET a",
        "SHUTDOWN",
        "MULTI",
        "AUTH",
        "AUTH secret\r\nMULTI\r\nSHUTDOWN NOSAVE\r\nGET\r\nSET a b\r\nEXEC\r\nEXEC",
        "AUTH secret\r\nMULTI\r\nCONFIG NOSUCH\r\nNOSUCH\r\nMULTI\r\nEXEC now\r\nEXEC",
        "AUTH secret\r\nMULTI\r\nSET a b\r\nNOSUCH\r\nDISCARD\r\nDISCARD\r\nGET a",
    ] {
        let ask = |server: &Server| {
            let mut client = Client::connect(server.port());
            client.send_raw(format!("{lines}\r\n").as_bytes());
            let _ = client.stream().shutdown(Shutdown::Write);
            show(&client.read_to_end())
        };
        let expected = ask(&redis);
        for cordis in &servers {
            assert_eq!(ask(cordis), expected, "{lines}");
        }
    }
}

#[test]
fn requests_arrive_in_any_pieces() {
    let cordis = Server::cordis(2, &[]);
    let mut input = Vec::new();
    for request in [
        words(&["SET", "{a}1", "value one"]),
        words(&["GET", "{a}1"]),
        words(&["SET", "b", "\r\n$3\r\n"]),
        words(&["MGET", "{a}1", "b", "none"]),
        words(&["PING"]),
    ] {
        encode(&request, &mut input);
    }
    input.extend_from_slice(b"PING inline\r\n\r\nGET b\r\n");
    let whole = answer(&cordis, &input);
    assert!(
        whole.ends_with(b"$6\r\ninline\r\n$6\r\n\r\n$3\r\n\r\n"),
        "{}",
        show(&whole)
    );
    for cut in 1..input.len() {
        let mut client = cordis.connect();
        client.send_raw(&input[..cut]);
        // A round trip on another connection makes it likely that the first
        // piece was read on its own; nothing depends on it.
        client.stream().flush().expect("the connection is open");
        std::thread::yield_now();
        client.send_raw(&input[cut..]);
        client.finish_sending();
        assert_eq!(show(&client.read_to_end()), show(&whole), "cut at {cut}");
    }
    let mut client = cordis.connect();
    for byte in &input {
        client.send_raw(std::slice::from_ref(byte));
    }
    client.finish_sending();
    assert_eq!(show(&client.read_to_end()), show(&whole), "byte by byte");
}

/// A request on one shard that may not overtake one on several waits for it, and
/// does not keep its core from hearing that the other is done.
#[test]
fn a_request_waits_behind_one_on_several_shards() {
    let cordis = Server::cordis(4, &[]);
    for input in [
        "MGET a b c d\r\nGET a\r\nMGET a b c d\r\nECHO x\r\n",
        "GET a\r\nGET b\r\nMSET a 1 b 2 c 3 d 4\r\nGET a\r\nGET d\r\nDEL a b c d\r\n",
    ] {
        let replies = answer(&cordis, input.as_bytes());
        let last: &[u8] = if input.starts_with("MGET") {
            b"$1\r\nx\r\n"
        } else {
            b"$1\r\n1\r\n$1\r\n4\r\n:4\r\n"
        };
        assert!(replies.ends_with(last), "{input:?}: {}", show(&replies));
    }
}

#[test]
fn replies_come_in_the_order_of_requests() {
    let cordis = Server::cordis(4, &[]);
    let seed = seed("replies_come_in_the_order_of_requests");
    let mut rng = Rng::new(seed);
    let mut client = cordis.connect();
    let mut stored = vec![None; 50];
    for _ in 0..20 {
        let mut requests = Vec::new();
        let mut expected = Vec::new();
        for i in 0..1 + rng.below(2000) {
            let key = rng.below(stored.len());
            let name = format!("key:{key}");
            match rng.below(4) {
                0 => {
                    let value = format!("{i}");
                    requests.push(words(&["SET", &name, &value]));
                    expected.push(b"+OK\r\n".to_vec());
                    stored[key] = Some(value);
                }
                1 => {
                    let text = format!("echo {i}");
                    requests.push(words(&["ECHO", &text]));
                    expected.push(format!("${}\r\n{text}\r\n", text.len()).into_bytes());
                }
                2 => {
                    requests.push(words(&["DEL", &name]));
                    let was = usize::from(stored[key].take().is_some());
                    expected.push(format!(":{was}\r\n").into_bytes());
                }
                _ => {
                    requests.push(words(&["GET", &name]));
                    expected.push(match &stored[key] {
                        Some(value) => format!("${}\r\n{value}\r\n", value.len()).into_bytes(),
                        None => b"$-1\r\n".to_vec(),
                    });
                }
            }
        }
        for (i, reply) in client.pipeline(&requests).iter().enumerate() {
            assert_eq!(
                show(&reply.raw),
                show(&expected[i]),
                "request {i} of a pipeline"
            );
        }
    }
}

/// Server memory that one client may hold which sends without reading.
const BACKLOG_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[test]
fn a_client_that_does_not_read_is_not_read_either() {
    let mut cordis = Server::cordis(2, &[]);
    let mut healthy = cordis.connect();
    let value = "v".repeat(1000);
    healthy.call(&["SET", "big", &value]);
    let before = cordis.rss_bytes();
    let requests = 100_000;
    let mut input = Vec::new();
    for _ in 0..requests {
        encode(&["GET", "big"], &mut input);
    }
    let mut client = cordis.connect();
    let mut writer = client.stream().try_clone().expect("a socket can be shared");
    let mut peak = before;
    std::thread::scope(|scope| {
        let sent = scope.spawn(move || {
            writer
                .write_all(&input)
                .expect("the server reads in the end")
        });
        // 100 MB of replies are due. Let the server do what it likes for some
        // rounds of somebody else's requests, then look at its memory.
        for _ in 0..2000 {
            assert_eq!(healthy.call(&["GET", "big"]).bytes().len(), value.len());
            peak = peak.max(cordis.rss_bytes());
        }
        for i in 0..requests {
            assert_eq!(client.read().bytes().len(), value.len(), "reply {i}");
        }
        sent.join().expect("the writer does not panic");
    });
    assert!(
        peak < before + BACKLOG_BYTES_MAX,
        "memory grew from {before} to {peak} bytes for one client"
    );
    cordis.assert_alive();
}

#[test]
fn a_hundred_thousand_requests_in_one_pipeline() {
    let cordis = Server::cordis(4, &[]);
    let mut client = cordis.connect();
    let requests: Vec<_> = (0..100_000)
        .map(|i| words(&["INCRBY", &format!("n{}", i % 100), "1"]))
        .collect();
    let replies = client.pipeline(&requests);
    for (i, reply) in replies.iter().enumerate() {
        assert_eq!(reply.integer(), i as i64 / 100 + 1, "request {i}");
    }
}

/// A flood is received differently from single requests and from large values. One
/// connection goes from each to each.
#[test]
fn floods_large_values_and_single_requests_in_turn() {
    let cordis = Server::cordis(2, &[]);
    let mut client = cordis.connect();
    let large = "v".repeat(3_000_000);
    for round in 0..3 {
        let mut requests = Vec::new();
        for i in 0..60_000 {
            requests.push(words(&["INCR", &format!("{round}:{}", i % 7)]));
            if i % 25_000 == 24_000 {
                requests.push(words(&["SET", "large", &large]));
                requests.push(words(&["STRLEN", "large"]));
            }
        }
        let mut counts = [0; 7];
        let mut key = 0;
        for (i, reply) in client.pipeline(&requests).iter().enumerate() {
            match requests[i][0].as_slice() {
                b"SET" => assert_eq!(show(&reply.raw), show(b"+OK\r\n"), "request {i}"),
                b"STRLEN" => assert_eq!(reply.integer(), large.len() as i64, "request {i}"),
                _ => {
                    counts[key] += 1;
                    assert_eq!(reply.integer(), counts[key], "request {i} of round {round}");
                    key = (key + 1) % counts.len();
                }
            }
        }
        for _ in 0..40 {
            assert_eq!(
                client.call(&["STRLEN", "large"]).integer(),
                large.len() as i64
            );
        }
    }
}

#[test]
fn big_values_come_back_whole() {
    let cordis = Server::cordis(2, &[]);
    let mut client = cordis.connect();
    let mut rng = Rng::new(7);
    let sizes = [16_383, 16_384, 16_385, 65_536, 1_000_003, 40_000_000];
    let sizes = sizes.iter().chain(long_run().then_some(&500_000_000));
    for size in sizes {
        let value = rng.bytes(*size);
        for key in ["a", "b", "c", "d"] {
            let request: [&[u8]; 3] = [b"SET", key.as_bytes(), &value];
            assert_eq!(client.call(&request).raw, b"+OK\r\n");
        }
        for key in ["a", "b", "c", "d"] {
            assert!(
                client.call(&["GET", key]).bytes() == value,
                "{size} bytes in {key}"
            );
        }
        let all = client.call(&["MGET", "a", "b", "c", "d"]).value();
        assert!(
            all.items().iter().all(|item| item.bytes() == value),
            "MGET of {size} bytes"
        );
        client.call(&["FLUSHALL"]);
        if *size > 100_000_000 {
            break;
        }
    }
}

#[test]
fn values_longer_than_the_limit_are_refused() {
    let redis = Server::redis(&["--proto-max-bulk-len", "1mb"]);
    let cordis = Server::cordis(2, &["--proto-max-bulk-len", "1mb"]);
    let exact = vec![b'x'; 1024 * 1024];
    for server in [&redis, &cordis] {
        let mut client = server.connect();
        let request: [&[u8]; 3] = [b"SET", b"k", &exact];
        assert_eq!(client.call(&request).raw, b"+OK\r\n", "{}", server.name);
        let refused = client.call(&["APPEND", "k", "y"]).to_string();
        assert_eq!(
            refused, "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            "{}",
            server.name
        );
        assert_eq!(client.call(&["STRLEN", "k"]).integer(), exact.len() as i64);
        client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048577\r\n");
        assert_eq!(
            show(&client.read_to_end()),
            show(b"-ERR Protocol error: invalid bulk length\r\n"),
            "{}",
            server.name
        );
    }
}

#[test]
fn claimed_lengths_cost_no_memory() {
    let mut cordis = Server::cordis(2, &[]);
    let before = cordis.rss_bytes();
    let mut clients = Vec::new();
    for _ in 0..100 {
        let mut client = cordis.connect();
        client.send_raw(b"*1000000\r\n$3\r\nSET\r\n$536870912\r\nabc");
        clients.push(client);
    }
    assert_eq!(cordis.connect().call(&["PING"]).raw, b"+PONG\r\n");
    let after = cordis.rss_bytes();
    assert!(
        after < before + 50_000_000,
        "from {before} to {after} bytes"
    );
    drop(clients);
    cordis.assert_alive();
}

#[test]
fn quit_answers_what_came_before_and_closes() {
    let redis = Server::redis(&[]);
    let cordis = Server::cordis(2, &[]);
    let inputs: &[&[u8]] = &[
        b"QUIT\r\n",
        b"PING\r\nQUIT\r\nPING\r\n",
        b"SET a 1\r\nGET a\r\nSET b 2\r\nGET b\r\nQUIT\r\nSET a 2\r\n",
        b"QUIT x\r\n",
    ];
    for input in inputs {
        assert_eq!(
            show(&answer_and_close(&cordis, input)),
            show(&answer_and_close(&redis, input)),
            "{}",
            show(input)
        );
    }
}

#[test]
fn everything_sent_before_half_closing_is_answered() {
    let cordis = Server::cordis(4, &[]);
    let mut input = Vec::new();
    for i in 0..5000 {
        encode(&["SET", &format!("k{i}"), "v"], &mut input);
    }
    let replies = answer(&cordis, &input);
    assert_eq!(replies.len(), 5000 * b"+OK\r\n".len());
}

#[test]
fn replies_can_be_switched_off_and_skipped() {
    let redis = Server::redis(&[]);
    let cordis = Server::cordis(4, &[]);
    let inputs: &[&str] = &[
        "CLIENT REPLY SKIP\r\nSET a 1\r\nGET a\r\n",
        "CLIENT REPLY SKIP\r\nCLIENT REPLY SKIP\r\nSET a 2\r\nGET a\r\n",
        "CLIENT REPLY OFF\r\nSET a 3\r\nGET a\r\nCLIENT REPLY ON\r\nGET a\r\n",
        "CLIENT REPLY OFF\r\nNOSUCH\r\nSET a\r\nCLIENT REPLY SKIP\r\nPING\r\nCLIENT REPLY ON\r\nPING\r\n",
        "CLIENT REPLY SKIP\r\nNOSUCH\r\nPING\r\n",
        "CLIENT REPLY SKIP\r\n\r\nPING\r\n",
        "CLIENT REPLY SKIP\r\n*0\r\nPING\r\n",
        "CLIENT REPLY SKIP\r\n*-1\r\n*1\r\n$4\r\nPING\r\nPING\r\n",
        "CLIENT REPLY SKIP\r\nMGET a b c d\r\n\r\nCLIENT REPLY SKIP\r\n  \r\nMGET a b c d\r\n",
        "MULTI\r\nCLIENT REPLY SKIP\r\nMGET a b c d\r\nEXEC\r\n\r\nPING\r\nPING\r\n",
        "CLIENT REPLY OFF\r\n\r\n*0\r\nPING\r\nCLIENT REPLY ON\r\n",
        "CLIENT REPLY SKIP\r\nMSET a 1 b 2 c 3 d 4\r\nMGET a b c d\r\n",
        "CLIENT REPLY OFF\r\nMGET a b c d\r\nGET a\r\nGET b\r\nCLIENT REPLY ON\r\n",
        "CLIENT REPLY SKIP\r\nCLIENT REPLY ON\r\nPING\r\n",
        "CLIENT REPLY SKIP\r\nRESET\r\nPING\r\n",
        "CLIENT REPLY OFF\r\nPING\r\nRESET\r\nPING\r\n",
        "CLIENT REPLY OFF\r\nQUIT\r\n",
        "CLIENT REPLY OFF\r\nHELLO 2\r\nPING\r\n",
    ];
    for input in inputs {
        assert_eq!(
            show(&answer(&cordis, input.as_bytes())),
            show(&answer(&redis, input.as_bytes())),
            "{input:?}"
        );
    }
}

#[test]
fn keys_vanish_when_their_time_has_come() {
    let cordis = Server::cordis(2, &[]);
    let mut client = cordis.connect();
    for i in 0..1000 {
        client.call(&["SET", &format!("short:{i}"), "v", "PX", "1"]);
        client.call(&["SET", &format!("long:{i}"), "v", "EX", "100000"]);
    }
    // Nobody reads the keys: that they go is the active cycle's work.
    wait_until("expired keys are removed unasked", || {
        client.call(&["DBSIZE"]).integer() == 1000
    });
    assert_eq!(client.call(&["EXISTS", "short:1", "long:1"]).integer(), 1);
}

#[test]
fn clients_can_be_killed() {
    let cordis = Server::cordis(4, &[]);
    let mut killer = cordis.connect();
    for _ in 0..20 {
        let mut victim = cordis.connect();
        let id = victim.call(&["CLIENT", "ID"]).to_string();
        assert_eq!(killer.call(&["CLIENT", "KILL", "ID", &id]).integer(), 1);
        assert!(victim.is_closed());
        assert_eq!(killer.call(&["CLIENT", "KILL", "ID", &id]).integer(), 0);
    }
    let mut victim = cordis.connect();
    victim.call(&["PING"]);
    let address = victim
        .stream()
        .local_addr()
        .expect("it is connected")
        .to_string();
    assert_eq!(killer.call(&["CLIENT", "KILL", &address]).raw, b"+OK\r\n");
    assert!(victim.is_closed());
    let mut others: Vec<Client> = (0..10).map(|_| cordis.connect()).collect();
    assert_eq!(
        killer.call(&["CLIENT", "KILL", "TYPE", "normal"]).integer(),
        10
    );
    assert!(others.iter_mut().all(Client::is_closed));
    assert_eq!(
        killer
            .call(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"])
            .integer(),
        1
    );
    assert!(killer.is_closed());
}
