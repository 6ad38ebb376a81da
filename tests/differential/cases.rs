//! Hand-written cases: what chance would not find, and who runs it.
//!
//! Every file of `cases/` is one. Cases are separated by empty lines; each starts
//! with an empty keyspace and a new connection. `#` begins a comment line, `?` a line
//! of which only the type of the reply is compared. Arguments are quoted as in
//! redis-cli.

use crate::support::generate::Request;
use crate::support::same::{Comparison, comparison, same};
use crate::support::server::Server;
use crate::support::show_command;
use crate::support::state::{changes, difference_of_states};
use std::collections::BTreeSet;
use std::path::Path;

/// A line of a case file.
pub struct Line {
    pub number: usize,
    shape_only: bool,
    pub request: Request,
}

/// The files there are, by name: what is not in a list cannot be forgotten.
pub fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let entries = std::fs::read_dir(folder).expect("the cases are there");
    let mut files: Vec<(String, String)> = entries
        .map(|entry| {
            let path = entry.expect("the folder can be read").path();
            let text = std::fs::read_to_string(&path).expect("a case file is text");
            (path.display().to_string(), text)
        })
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no cases were found");
    files
}

pub fn cases(text: &str) -> Vec<Vec<Line>> {
    let mut cases = vec![Vec::new()];
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() {
            cases.push(Vec::new());
        } else if !line.starts_with('#') {
            let command = line.strip_prefix('?').unwrap_or(line);
            let current = cases.last_mut().expect("there is always a case");
            current.push(Line {
                number: index + 1,
                shape_only: command.len() < line.len(),
                request: split(command),
            });
        }
    }
    cases.retain(|case| !case.is_empty());
    cases
}

/// Cuts at blanks; within double quotes `\n \r \t \\ \" \xHH` stand for bytes,
/// and `{n*text}` outside of quotes for a repetition, `{1..9}` for nine words.
fn split(line: &str) -> Request {
    let bytes = line.as_bytes();
    let mut request = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b' ' {
            at += 1;
            continue;
        }
        let mut word = Vec::new();
        if bytes[at] == b'"' {
            at += 1;
            while bytes[at] != b'"' {
                let (byte, length) = unescape(&bytes[at..]);
                word.push(byte);
                at += length;
            }
            at += 1;
        } else {
            let end = bytes[at..].iter().position(|byte| *byte == b' ');
            let end = end.map_or(bytes.len(), |length| at + length);
            let written = &line[at..end];
            at = end;
            if let Some(numbers) = numbers(written) {
                request.extend(numbers.map(|number| number.to_string().into_bytes()));
                continue;
            }
            word = repeated(written);
        }
        request.push(word);
    }
    request
}

fn unescape(bytes: &[u8]) -> (u8, usize) {
    match bytes {
        [b'\\', b'x', high, low, ..] => {
            let digits = [*high, *low];
            let digits = std::str::from_utf8(&digits).expect("hex digits are ASCII");
            (
                u8::from_str_radix(digits, 16).expect("two hex digits follow \\x"),
                4,
            )
        }
        [b'\\', b'n', ..] => (b'\n', 2),
        [b'\\', b'r', ..] => (b'\r', 2),
        [b'\\', b't', ..] => (b'\t', 2),
        [b'\\', other, ..] => (*other, 2),
        _ => (bytes[0], 1),
    }
}

/// What `{first..last}` stands for.
fn numbers(word: &str) -> Option<std::ops::RangeInclusive<u32>> {
    let inner = word.strip_prefix('{')?.strip_suffix('}')?;
    let (first, last) = inner.split_once("..")?;
    Some(first.parse().ok()?..=last.parse().ok()?)
}

fn repeated(word: &str) -> Vec<u8> {
    let parts = word
        .strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}')?.split_once('*'));
    match parts.map(|(count, text)| (count.parse::<usize>(), text)) {
        Some((Ok(count), text)) => text.repeat(count).into_bytes(),
        _ => word.as_bytes().to_vec(),
    }
}

/// Runs all cases on both servers; panics with all that differs. Returns the
/// requests whose replies were compared in full.
pub fn run(mut cordis: Server) -> BTreeSet<Request> {
    let redis = Server::redis(&["--databases", "16", "--hash-max-listpack-entries", "512"]);
    let mut compared = BTreeSet::new();
    let mut differences = Vec::new();
    for (file, text) in files() {
        for (protocol, case) in cases(&text).iter().flat_map(|case| [(2, case), (3, case)]) {
            let found = differences_in(&redis, &cordis, protocol, case, &mut compared);
            differences.extend(found.into_iter().map(|text| format!("{file}:{text}")));
        }
    }
    cordis.assert_alive();
    assert!(
        differences.is_empty(),
        "{} cases differ on {}:\n{}",
        differences.len(),
        cordis.name,
        differences.join("\n")
    );
    compared
}

/// Where the servers part in one case: a reply, how much a line changed, or what
/// is there in the end.
fn differences_in(
    redis: &Server,
    cordis: &Server,
    protocol: u8,
    case: &[Line],
    compared: &mut BTreeSet<Request>,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut one = redis.connect_with(protocol);
    let mut other = cordis.connect_with(protocol);
    one.call(&["FLUSHALL"]);
    other.call(&["FLUSHALL"]);
    let mut watching = [redis.connect(), cordis.connect()];
    let mut before = watching.each_mut().map(changes);
    for line in case {
        let expected = one.call(&line.request);
        let reply = other.call(&line.request);
        let how = match line.shape_only {
            true => Comparison::Shape,
            false => comparison(&line.request),
        };
        let place = format!(
            "{} (RESP{protocol}) {}",
            line.number,
            show_command(&line.request)
        );
        // What follows would only repeat this.
        if !same(how, &line.request, &expected, &reply) {
            found.push(format!(
                "{place}\n  redis:  {expected:?}\n  cordis: {reply:?}"
            ));
            return found;
        }
        let after = watching.each_mut().map(changes);
        let [expected, got] = [0, 1].map(|server| after[server] - before[server]);
        if expected != got {
            found.push(format!(
                "{place}\n  redis:  {expected} changes\n  cordis: {got} changes"
            ));
        }
        before = after;
        if !line.shape_only {
            compared.insert(line.request.clone());
        }
    }
    let last = case.last().map_or(0, |line| line.number);
    let difference = difference_of_states(redis, cordis);
    found.extend(difference.map(|it| format!("{last} (RESP{protocol}) leaves {it}")));
    found
}
