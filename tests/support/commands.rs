//! The commands there are: the engine's table, and what a running server lists.

use super::client::{Client, Value};
use shards::{COMMANDS, Row};

/// Every row of the engine that can be called, subcommands included.
///
/// Rows with subcommands are left out: their subcommands say what they do.
pub fn engine_rows() -> Vec<&'static Row> {
    fn collect(rows: &'static [Row], out: &mut Vec<&'static Row>) {
        for row in rows {
            if row.subcommands.is_empty() {
                out.push(row);
            }
            collect(row.subcommands, out);
        }
    }
    let mut out = Vec::new();
    for family in COMMANDS {
        collect(family, &mut out);
    }
    out
}

/// COMMAND LIST: names in lower case, `container|sub` included, sorted.
pub fn listed(client: &mut Client) -> Vec<String> {
    let reply = client.call(&["COMMAND", "LIST"]).value();
    let mut names: Vec<String> = reply.items().iter().map(Value::text).collect();
    names.sort();
    names
}

/// What COMMAND DOCS says of a command.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Doc {
    pub group: String,
    pub name: String,
    pub since: String,
    pub summary: String,
    /// Versions that changed it.
    pub changes: Vec<String>,
    /// Flags, since when it is deprecated, and what replaces it.
    pub deprecated: (Vec<String>, String, String),
}

/// COMMAND DOCS of everything, subcommands in place of their containers.
pub fn documented(client: &mut Client) -> Vec<Doc> {
    let reply = client.call(&["COMMAND", "DOCS"]).value();
    let mut docs = Vec::new();
    for (name, body) in reply.pairs() {
        collect_docs(&name.text(), &body, &mut docs);
    }
    docs.sort();
    docs
}

fn collect_docs(name: &str, body: &Value, out: &mut Vec<Doc>) {
    let pairs = body.pairs();
    let field = |wanted: &str| {
        let found = pairs.iter().find(|(key, _)| key.text() == wanted);
        found.map(|(_, value)| value)
    };
    if let Some(subcommands) = field("subcommands") {
        for (name, body) in subcommands.pairs() {
            collect_docs(&name.text(), &body, out);
        }
        return;
    }
    let text = |wanted: &str| field(wanted).map(Value::text).unwrap_or_default();
    let items = |wanted: &str| field(wanted).map(Value::items).unwrap_or_default();
    out.push(Doc {
        group: text("group"),
        name: name.to_string(),
        since: text("since"),
        summary: text("summary"),
        changes: items("history")
            .iter()
            .map(|change| change.items()[0].text())
            .collect(),
        deprecated: (
            items("doc_flags").iter().map(Value::text).collect(),
            text("deprecated_since"),
            text("replaced_by"),
        ),
    });
}
