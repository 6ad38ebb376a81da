//! Hand-written cases: what chance would not find, and who runs it.
//!
//! Every file of `cases/` is one. Cases are separated by empty lines; each starts
//! with an empty keyspace and a new connection. `#` begins a comment line, `?` a line
//! of which only the type of the reply is compared. Arguments are quoted as in
//! redis-cli.

use crate::support::generate::Request;
use crate::support::lines::split;
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
