//! Pub/sub as clients see it, line by line beside redis-server: who is told what, in which
//! order, and what is refused. What is promised beyond that stands in `messages.rs`.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use support::client::{Client, Reply, Value, encode};
use support::lines::split;
use support::server::{Server, info_field};
use support::{show, wait_until};

/// How often the scripts run over several shards: each time connections may lie on other
/// cores.
const ROUNDS: usize = 4;

/// How replies of a line are compared.
#[derive(Clone, Copy, Debug, PartialEq)]
enum How {
    Exactly,
    /// They may come in any order; what they count, in order.
    InAnyOrder,
    /// Only of which kind they are.
    ByKind,
}

/// A line of a script: a connection sends requests in one go.
struct Line {
    place: String,
    text: String,
    who: String,
    how: How,
    requests: Vec<u8>,
}

/// What each connection is told because of a line, and whether it is closed then.
type Told = BTreeMap<String, (Vec<Reply>, bool)>;

/// The acts of the scripts, which stand in `tests/pubsub/`. Each begins with new connections,
/// after an empty line. A line is the name of a connection and what it sends, quoted as in
/// redis-cli; ` ; ` stands between requests that go in one pipeline. `%` before it says that
/// the order is free, `?` that only the kind of each reply counts; `#` begins a comment.
fn acts() -> Vec<Vec<Line>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pubsub");
    let mut acts = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the scripts are there") {
        let path = entry.expect("the folder can be read").path();
        let text = std::fs::read_to_string(&path).expect("a script is text");
        let mut act = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let place = format!("{}:{}", path.display(), index + 1);
            match line.trim() {
                "" => acts.push(std::mem::take(&mut act)),
                line if line.starts_with('#') => {}
                line => act.push(Line::read(place, line)),
            }
        }
        acts.push(act);
    }
    acts.retain(|act| !act.is_empty());
    assert!(acts.len() > 10, "most scripts were not found");
    acts
}

impl Line {
    fn read(place: String, line: &str) -> Self {
        let how = match line.as_bytes()[0] {
            b'%' => How::InAnyOrder,
            b'?' => How::ByKind,
            _ => How::Exactly,
        };
        let text = line.trim_start_matches(['%', '?']);
        let (who, rest) = text.split_once(' ').expect("a connection and a request");
        let mut requests = Vec::new();
        for request in rest.split(" ; ") {
            encode(&split(request), &mut requests);
        }
        Self {
            place,
            text: line.to_owned(),
            who: who.to_owned(),
            how,
            requests,
        }
    }
}

/// Plays an act on redis-server: what everybody is told after each line.
///
/// It runs on one thread: what came before a PING of somebody else has been answered when
/// that has been, at the latest with the second.
fn expected(redis: &Server, act: &[Line]) -> Vec<Told> {
    let mut observer = redis.connect();
    observer.call(&["FLUSHALL"]);
    let mut clients = BTreeMap::<String, Client>::new();
    let mut all = Vec::new();
    for line in act {
        let client = clients.entry(line.who.clone());
        let client = client.or_insert_with(|| redis.connect());
        client.send_raw(&line.requests);
        (0..4).for_each(|_| drop(observer.call(&["PING"])));
        let told = clients.iter_mut().map(|(name, client)| {
            let told = client.read_what_is_there();
            (name.clone(), told)
        });
        let told: Told = told.collect();
        clients.retain(|name, _| !told[name].1);
        all.push(told);
    }
    all
}

/// Plays it on Cordis, which must tell the same; what it tells else.
fn play(cordis: &Server, act: &[Line], expected: &[Told]) -> Result<(), String> {
    cordis.connect().call(&["FLUSHALL"]);
    let mut clients = BTreeMap::<String, Client>::new();
    for (line, expected) in act.iter().zip(expected) {
        let client = clients.entry(line.who.clone());
        let client = client.or_insert_with(|| cordis.connect());
        client.send_raw(&line.requests);
        for (name, (replies, ends)) in expected {
            let client = clients.get_mut(name).expect("it has spoken");
            let told: Vec<Reply> = replies
                .iter()
                .map_while(|_| client.try_read().ok())
                .collect();
            let Line { place, text, .. } = line;
            if !same(line.how, replies, &told) || *ends && !client.is_closed() {
                return Err(format!(
                    "{place} ({}), {text}\n  {name} is told {told:?}\n  by redis {replies:?}",
                    cordis.name
                ));
            }
            if *ends {
                clients.remove(name);
            }
        }
    }
    for (name, mut client) in clients {
        client.finish_sending();
        let rest = client.read_to_end();
        if !rest.is_empty() {
            let (place, rest) = (&act[0].place, show(&rest));
            return Err(format!(
                "{place} ({}): at last {name} is told {rest}",
                cordis.name
            ));
        }
    }
    Ok(())
}

fn same(how: How, expected: &[Reply], told: &[Reply]) -> bool {
    let kinds = |replies: &[Reply]| replies.iter().map(|it| it.raw[0]).collect::<Vec<_>>();
    match how {
        How::Exactly => expected == told,
        How::ByKind => kinds(expected) == kinds(told),
        How::InAnyOrder => in_any_order(expected) == in_any_order(told),
    }
}

/// Replies as sorted lines, without the numbers that they end with; and these.
fn in_any_order(replies: &[Reply]) -> (Vec<Vec<Vec<u8>>>, Vec<Vec<u8>>) {
    let lines = |raw: &[u8]| {
        let lines = raw.split(|byte| *byte == b'\n').map(<[u8]>::to_vec);
        let mut lines: Vec<_> = lines.collect();
        lines.sort();
        lines
    };
    let cut = |reply: &Reply| {
        let raw = &reply.raw;
        let last = raw[..raw.len() - 2].iter().rposition(|byte| *byte == b'\n');
        let start = last.map_or(0, |at| at + 1);
        match raw[start] {
            b':' if start > 0 => (lines(&raw[..start]), Some(raw[start..].to_vec())),
            _ => (lines(raw), None),
        }
    };
    let (mut texts, counts): (Vec<_>, Vec<_>) = replies.iter().map(cut).unzip();
    texts.sort();
    (texts, counts.into_iter().flatten().collect())
}

#[test]
fn everybody_is_told_what_redis_tells() {
    let redis = Server::redis(&[]);
    let mut cordis = [Server::cordis(1, &[]), Server::cordis(4, &[])];
    let mut wrong = Vec::new();
    for act in acts() {
        let told = expected(&redis, &act);
        for server in &cordis {
            let rounds = if server.name.contains('4') { ROUNDS } else { 1 };
            wrong.extend((0..rounds).find_map(|_| play(server, &act, &told).err()));
        }
    }
    cordis.iter_mut().for_each(Server::assert_alive);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Redis first: what is asserted of us holds of it.
fn servers() -> Vec<Server> {
    vec![
        Server::redis(&[]),
        Server::cordis(1, &[]),
        Server::cordis(4, &[]),
    ]
}

/// The fields of a client's line that tell what it listens to.
fn described(client: &mut Client, id: i64) -> Vec<String> {
    let list = client.call(&["CLIENT", "LIST", "ID", &id.to_string()]);
    let text = list.value().text();
    let fields = ["flags=", "sub=", "psub=", "ssub=", "cmd=", "resp="];
    let words = text.split_whitespace();
    let told = words.filter(|word| fields.iter().any(|field| word.starts_with(field)));
    told.map(str::to_owned).collect()
}

/// What INFO counts of channels, patterns and shard channels.
fn counted(client: &mut Client) -> Vec<String> {
    let stats = client.call(&["INFO", "stats"]).value().text();
    let fields = ["pubsub_channels", "pubsub_patterns", "pubsubshard_channels"];
    let counts = fields.iter().filter_map(|field| info_field(&stats, field));
    counts.map(str::to_owned).collect()
}

/// CLIENT LIST TYPE: how many there are.
fn of_type(client: &mut Client, kind: &str) -> usize {
    let list = client.call(&["CLIENT", "LIST", "TYPE", kind]);
    list.value().text().lines().count()
}

#[test]
fn clients_and_counts_are_told_as_in_redis() {
    let told: Vec<Vec<String>> = servers()
        .iter()
        .map(|server| {
            let mut other = server.connect();
            let mut told = Vec::new();
            let mut listeners: Vec<(Client, i64)> = (0..6)
                .map(|n| {
                    let mut client = server.connect_with(2 + n % 2);
                    let id = client.call(&["CLIENT", "ID"]).integer();
                    (client, id)
                })
                .collect();
            let steps: [(usize, &[&str]); 9] = [
                (0, &["SUBSCRIBE", "a", "b", "c"]),
                (1, &["PSUBSCRIBE", "a*", "b*"]),
                (2, &["SSUBSCRIBE", "s"]),
                (3, &["SUBSCRIBE", "a"]),
                (3, &["PSUBSCRIBE", "a*"]),
                (3, &["SSUBSCRIBE", "s", "t"]),
                (0, &["UNSUBSCRIBE", "b"]),
                (3, &["SUNSUBSCRIBE", "t"]),
                (1, &["PUNSUBSCRIBE", "a*", "b*"]),
            ];
            for (who, words) in steps {
                let (client, id) = &mut listeners[who];
                client.send(words);
                (1..words.len()).for_each(|_| drop(client.read()));
                told.extend(described(&mut other, *id));
                told.extend(counted(&mut other));
                told.push(of_type(&mut other, "pubsub").to_string());
                told.push(of_type(&mut other, "normal").to_string());
            }
            let killed = other.call(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            told.push(format!("{killed:?}"));
            for (n, (client, _)) in listeners.iter_mut().enumerate() {
                match n {
                    0 | 2 | 3 => assert!(client.is_closed(), "{}", server.name),
                    _ => assert_eq!(client.call(&["PING"]).raw, b"+PONG\r\n"),
                }
            }
            wait_until("the killed are gone", || of_type(&mut other, "pubsub") == 0);
            told.extend(counted(&mut other));
            told
        })
        .collect();
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0], told[2]);
}

/// A pause of writes holds PUBLISH up, alone and in a block; messages go out behind it.
#[test]
fn a_pause_of_writes_holds_messages_up() {
    for server in servers() {
        let (mut other, mut listener) = (server.connect(), server.connect_with(3));
        let confirmed = listener.call(&["SUBSCRIBE", "c"]);
        assert!(confirmed.raw.starts_with(b">3"), "{confirmed:?}");
        other.call(&["CLIENT", "PAUSE", "100000", "WRITE"]);
        let mut publishers: Vec<Client> = (0..3).map(|_| server.connect()).collect();
        publishers[0].send(&["PUBLISH", "c", "1"]);
        publishers[1].send(&["SPUBLISH", "s", "x"]);
        for words in [&["MULTI"][..], &["PUBLISH", "c", "2"], &["EXEC"]] {
            publishers[2].send(words);
        }
        assert_eq!(publishers[2].read().raw, b"+OK\r\n");
        wait_until("three are held up", || {
            let info = other.call(&["INFO", "clients"]).value().text();
            info_field(&info, "blocked_clients") == Some("3")
        });
        // Who listens is served meanwhile, and has been told nothing.
        assert_eq!(
            listener.call(&["PING"]).raw,
            b"+PONG\r\n",
            "{}",
            server.name
        );
        assert_eq!(listener.call(&["GET", "k"]).raw, b"_\r\n");
        other.call(&["CLIENT", "UNPAUSE"]);
        assert_eq!(publishers[0].read().raw, b":1\r\n", "{}", server.name);
        assert_eq!(publishers[1].read().raw, b":0\r\n", "{}", server.name);
        assert_eq!(publishers[2].read().raw, b"+QUEUED\r\n");
        assert_eq!(publishers[2].read().raw, b"*1\r\n:1\r\n", "{}", server.name);
        let mut texts = [listener.read(), listener.read()].map(|it| it.value().items()[2].text());
        texts.sort();
        assert_eq!(texts, ["1", "2"]);
    }
}

/// Who listens counts as a client as everybody does, and is let go as everybody is.
#[test]
fn who_listens_is_bound_by_the_limits_of_clients() {
    let options = ["--maxclients", "4"];
    for server in [
        Server::redis(&options),
        Server::cordis(1, &options),
        Server::cordis(4, &options),
    ] {
        let mut other = server.connect();
        let mut listeners: Vec<Client> = (0..3).map(|_| server.connect()).collect();
        for client in &mut listeners {
            client.call(&["SUBSCRIBE", "c"]);
        }
        let mut refused = Client::connect(server.port());
        assert!(
            refused.read_to_end().starts_with(b"-ERR max number"),
            "{}",
            server.name
        );
        assert_eq!(other.call(&["PUBLISH", "c", "x"]).integer(), 3);
        // More than may wait to be understood: it is closed, and listens no more.
        let limit = ["CONFIG", "SET", "client-query-buffer-limit", "1mb"];
        assert_eq!(other.call(&limit).raw, b"+OK\r\n");
        let mut request = b"*2\r\n$9\r\nSUBSCRIBE\r\n$2000000\r\n".to_vec();
        request.resize(1_900_000, b'x');
        let mut long = listeners.pop().expect("there are three");
        long.send_what_is_taken(&request);
        assert!(
            long.read_to_end().ends_with(b"$1\r\nx\r\n"),
            "{}",
            server.name
        );
        wait_until("it is gone", || {
            other.call(&["PUBLISH", "c", "y"]).integer() == 2
        });
        let mut next = server.connect();
        assert_eq!(next.call(&["PING"]).raw, b"+PONG\r\n", "{}", server.name);
    }
}

#[test]
fn nobody_listens_without_the_password() {
    let options = ["--requirepass", "secret"];
    for server in [
        Server::redis(&options),
        Server::cordis(1, &options),
        Server::cordis(4, &options),
    ] {
        let mut known = server.connect();
        let mut client = Client::connect(server.port());
        let requests: [&[&str]; 7] = [
            &["SUBSCRIBE", "c"],
            &["PSUBSCRIBE", "c*"],
            &["SSUBSCRIBE", "c"],
            &["PUBLISH", "c", "x"],
            &["SPUBLISH", "c", "x"],
            &["UNSUBSCRIBE"],
            &["PUBSUB", "CHANNELS"],
        ];
        for request in requests {
            let reply = client.call(request);
            assert_eq!(
                reply.raw, b"-NOAUTH Authentication required.\r\n",
                "{request:?}"
            );
        }
        assert_eq!(known.call(&["PUBLISH", "c", "x"]).integer(), 0);
        assert_eq!(client.call(&["AUTH", "secret"]).raw, b"+OK\r\n");
        client.call(&["SUBSCRIBE", "c"]);
        assert_eq!(known.call(&["PUBLISH", "c", "x"]).integer(), 1);
        // RESET takes both away.
        client.read();
        assert_eq!(client.call(&["RESET"]).raw, b"+RESET\r\n");
        assert!(client.call(&["SUBSCRIBE", "c"]).is_error());
        assert_eq!(
            known.call(&["PUBLISH", "c", "x"]).integer(),
            0,
            "{}",
            server.name
        );
    }
}

/// Who only listens says nothing, and is not closed for that (`timeout`).
#[test]
fn who_listens_may_be_silent() {
    let options = ["--timeout", "1"];
    for server in [
        Server::redis(&options),
        Server::cordis(1, &options),
        Server::cordis(4, &options),
    ] {
        let mut listeners: Vec<Client> = (2..4).map(|n| server.connect_with(n)).collect();
        listeners[0].call(&["SUBSCRIBE", "c"]);
        listeners[1].call(&["PSUBSCRIBE", "c"]);
        // Two rounds, so that everybody has been looked at since.
        for _ in 0..2 {
            let mut silent = server.connect();
            assert_eq!(silent.call(&["PING"]).raw, b"+PONG\r\n");
            assert!(silent.is_closed(), "{}", server.name);
        }
        let heard = server.connect().call(&["PUBLISH", "c", "x"]);
        assert_eq!(heard.integer(), 2, "{}", server.name);
        listeners[0].call(&["UNSUBSCRIBE"]);
        let kinds = listeners[0].read();
        assert!(matches!(kinds.value(), Value::Array(_)), "{kinds:?}");
        assert!(
            listeners[0].is_closed(),
            "{}: it listens no more",
            server.name
        );
    }
}

/// By the behaviour of Redis 7.2: its own messages come behind the reply that has caused
/// them, whoever else listens; in a block, behind its reply.
#[test]
fn who_publishes_to_itself_is_answered_first() {
    for server in [Server::cordis(1, &[]), Server::cordis(4, &[])] {
        // On other cores, too, or there is nothing to wait for.
        let mut others: Vec<Client> = (0..8).map(|_| server.connect()).collect();
        for listens in [false, true] {
            if listens {
                others
                    .iter_mut()
                    .for_each(|it| drop(it.call(&["SUBSCRIBE", "c"])));
            }
            let count = if listens { 9 } else { 1 };
            for n in 0..6 {
                let mut client = server.connect_with(3);
                client.call(&["SUBSCRIBE", "c"]);
                let requests = [
                    &["PUBLISH", "c", "1"][..],
                    &["GET", "k"],
                    &["MULTI"],
                    &["SET", "k1", "v"],
                    &["PUBLISH", "c", "2"],
                    &["EXISTS", "k1", "k2", "k3"],
                    &["EXEC"],
                ];
                let mut bytes = Vec::new();
                requests.iter().for_each(|words| encode(words, &mut bytes));
                client.send_raw(&bytes);
                let replies: Vec<Reply> = (0..9).map(|_| client.read()).collect();
                let at = |text: &str| {
                    let position = |it: &Reply| it.raw.starts_with(text.as_bytes());
                    replies
                        .iter()
                        .position(position)
                        .unwrap_or_else(|| panic!("{replies:?}"))
                };
                let block = format!("*3\r\n+OK\r\n:{count}\r\n:1\r\n");
                let first = ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\n1";
                let second = ">3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\n2";
                assert_eq!(
                    at(&format!(":{count}")),
                    0,
                    "{} {n}: {replies:?}",
                    server.name
                );
                assert!(
                    at(first) < at(second) && at(&block) < at(second),
                    "{replies:?}"
                );
                assert_eq!(client.call(&["UNSUBSCRIBE"]).raw[0], b'>');
            }
        }
    }
}
