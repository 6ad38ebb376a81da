//! Pub/sub as clients see it, line by line beside redis-server: who is told what, in which
//! order, and what is refused. What is promised beyond that stands in `messages.rs`.

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use support::client::{Client, Reply, encode};
use support::lines::split;
use support::server::Server;
use support::show;

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
