//! What two servers hold: all keys by type, with encodings and deadlines.

use super::client::{Client, Reply};
use super::generate::Request;
use super::same::{Comparison, NEWER_ENCODINGS, comparison, same};
use super::server::{Server, info_field};
use super::{show, show_command};

const DATABASES: u16 = 16;

/// How many changes a server counts.
pub fn changes(client: &mut Client) -> i64 {
    let info = client.call(&["INFO", "persistence"]).to_string();
    let field = info_field(&info, "rdb_changes_since_last_save");
    let number = field.and_then(|number| number.parse().ok());
    number.expect("INFO has the number of changes")
}

/// The first thing that two servers do not have in common.
pub fn difference_of_states(redis: &Server, cordis: &Server) -> Option<String> {
    let (mut one, mut other) = (redis.connect(), cordis.connect());
    for db in 0..DATABASES {
        let select = ["SELECT".to_string(), db.to_string()];
        let [expected, got] = [&mut one, &mut other].map(|client| {
            client.call(&select);
            let keys = client.call(&["KEYS", "*"]).value();
            let mut keys: Vec<_> = keys.items().iter().map(|key| key.bytes()).collect();
            keys.sort();
            keys
        });
        if expected != got {
            let list = |keys: Vec<Vec<u8>>| keys.iter().map(|key| show(key)).collect::<Vec<_>>();
            let (expected, got) = (list(expected), list(got));
            return Some(format!(
                "other keys in {db}\n  redis:  {expected:?}\n  cordis: {got:?}"
            ));
        }
        let mut types = Vec::new();
        for key in &expected {
            types.push(one.call(&[b"TYPE", key.as_slice()]).to_string());
        }
        let questions: Vec<Request> = expected
            .iter()
            .zip(&types)
            .flat_map(|(key, of)| questions(key, of))
            .collect();
        let replies = one.pipeline(&questions).into_iter();
        let replies = replies.zip(other.pipeline(&questions));
        let types = types.iter().flat_map(|of| [of; QUESTIONS]);
        for ((question, (expected, got)), of) in questions.iter().zip(replies).zip(types) {
            if !agree(question, of, &expected, &got) {
                return Some(format!(
                    "{db}: {}\n  redis:  {expected:?}\n  cordis: {got:?}",
                    show_command(question)
                ));
            }
        }
    }
    None
}

/// Per key.
const QUESTIONS: usize = 4;

fn questions(key: &[u8], of: &str) -> [Request; QUESTIONS] {
    let content: &[&[u8]] = match of {
        "string" => &[b"GET", key],
        "list" => &[b"LRANGE", key, b"0", b"-1"],
        "set" => &[b"SMEMBERS", key],
        "hash" => &[b"HGETALL", key],
        "zset" => &[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"],
        "stream" => &[b"XINFO", b"STREAM", key, b"FULL", b"COUNT", b"0"],
        other => panic!("no test reads the type {other}"),
    };
    let questions: [&[&[u8]]; QUESTIONS] = [
        &[b"TYPE", key],
        &[b"PTTL", key],
        &[b"OBJECT", b"ENCODING", key],
        content,
    ];
    questions.map(|words| words.iter().map(|word| word.to_vec()).collect())
}

fn agree(question: &Request, of: &str, expected: &Reply, got: &Reply) -> bool {
    let how = comparison(question);
    let newer = || {
        NEWER_ENCODINGS.iter().any(|(kind, older, newer)| {
            *kind == of && expected.is_text(older) && got.is_text(newer)
        })
    };
    match how {
        Comparison::Encoding => expected == got || newer(),
        _ => same(how, question, expected, got),
    }
}
