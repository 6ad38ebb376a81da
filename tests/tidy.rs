//! The shape of the source itself: arrows between modules, sizes, words that
//! must not appear, and documentation that is generated.

mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use support::commands::{Doc, documented};
use support::server::Server;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;

/// Modules of the engine, each with the ones it may name. From left to right:
/// `types, error, number, glob → {value → rdb, resp → log → effects} → keyspace → command →
/// shard → order`. A value knows no reply; the log is written as RESP, and
/// `order` stands last because a node owns its shard. `backlog`
/// and `psync` have their places for when they come.
const SHARDS_ARROWS: &[(&str, &[&str])] = &[
    ("counted", &[]),
    ("types", &[]),
    ("error", &["types"]),
    ("number", &[]),
    ("glob", &[]),
    ("value", &["counted", "types", "error", "number"]),
    ("resp", &["counted", "types", "error", "number"]),
    ("watch", &["types"]),
    ("keep", &["types"]),
    ("log", &["types", "resp"]),
    ("tracking", &["types", "resp"]),
    ("effects", &["types", "watch", "tracking", "keep", "log"]),
    (
        "keyspace",
        &[
            "counted", "types", "error", "number", "glob", "value", "rdb", "effects",
        ],
    ),
    ("rdb", &["counted", "types", "error", "number", "value"]),
    (
        "command",
        &[
            "counted", "types", "error", "number", "glob", "value", "resp", "effects", "keyspace",
            "rdb",
        ],
    ),
    (
        "shard",
        &[
            "types", "error", "value", "resp", "keep", "tracking", "effects", "keyspace", "rdb",
            "command",
        ],
    ),
    (
        "order",
        &[
            "counted", "types", "error", "number", "resp", "keep", "log", "tracking", "effects",
            "keyspace", "command", "shard", "pubsub",
        ],
    ),
    ("replies", &["resp", "order", "pubsub"]),
    ("pubsub", &["types", "error", "glob", "resp"]),
    ("backlog", &["types"]),
    ("psync", &["types", "backlog"]),
];

/// Modules of the order from left to right; each may name those before it. What is one
/// idea comes before what travels in boxes, a shard's site after that, and the node, which
/// owns a site, last: so nothing on a shard knows what clients have under way elsewhere.
const ORDER: &[&str] = &[
    "merge",
    "ticket",
    "reply",
    "timing",
    "call",
    "locks",
    "split",
    "program",
    "waiters",
    "batch",
    "convoy",
    "transaction",
    "post",
    "site",
    "node",
];

/// Modules of the server from left to right; each may name those before it.
/// `config` and `stats` stand side by side. `core` is what one core owns; a server
/// command is a function on it, so `commands` comes after, and what starts it all
/// comes last.
const SRC_ORDER: &[&str] = &[
    "config",
    "stats",
    "runtime",
    "session",
    "core",
    "questions",
    "snapshots",
    "commands",
    "admission",
    "dispatch",
    "net",
    "server",
    "main",
];

/// Arrows that point the wrong way today: crate, module, what it names. The list
/// may only get shorter: one that is mended must be taken out.
const DEBTS: &[(&str, &str, &str)] = &[];

/// The only files that may hold `unsafe`: in the engine behind a safe interface
/// with a safe twin as its oracle, in the server where a system call needs it. And
/// allocators that fail or count, for tests.
const UNSAFE_FILES: &[&str] = &[
    "shards/src/keyspace/entry.rs",
    "shards/src/keyspace/slab.rs",
    "shards/src/keyspace/table.rs",
    "shards/tests/memory.rs",
    "shards/tests/out_of_memory.rs",
    "shards/tests/streams.rs",
    "src/runtime/disk.rs",
    "src/runtime/memory.rs",
    "src/runtime/park.rs",
    "src/runtime/ring.rs",
    "src/runtime/tcp.rs",
    "src/runtime/ticks.rs",
    "tests/fuzz/fuzz_targets/rdb.rs",
];

/// Words that mean that something is unfinished.
const BANNED: &[&str] = &["TODO", "FIXME", "XXX", "todo!", "unimplemented!", "dbg!"];

/// Every Rust file below `folder`, relative to the root.
fn rust_files(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(ROOT).join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries {
            let path = entry.expect("the folder is readable").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() && name != "target" && !name.starts_with('.') {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(
                    path.strip_prefix(ROOT)
                        .expect("below the root")
                        .to_path_buf(),
                );
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).expect("sources are UTF-8 text")
}

/// Production lines with their numbers: comments blanked, `#[cfg(test)]` items
/// left out. Trusts rustfmt's indentation.
fn production_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut test_indent: Option<usize> = None;
    let mut pending = false;
    for (index, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let trimmed = line.trim();
        if let Some(depth) = test_indent {
            if indent == depth && trimmed.starts_with('}') {
                test_indent = None;
            }
            continue;
        }
        if trimmed.starts_with("#[cfg(test)]") {
            pending = true;
            continue;
        }
        if pending && !trimmed.starts_with("#[") {
            pending = false;
            if trimmed.ends_with('{') {
                test_indent = Some(indent);
            }
            continue;
        }
        let code = line.split("//").next().unwrap_or_default();
        lines.push((index + 1, code.to_string()));
    }
    lines
}

/// Files that are test modules as a whole.
fn is_test_file(path: &Path) -> bool {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    name == "tests"
        || name.ends_with("_tests")
        || path.components().any(|part| part.as_os_str() == "tests")
}

/// The first module after `crate::` in each place of a line.
fn crate_paths(line: &str) -> Vec<String> {
    paths_after("crate::", line)
}

/// The first module after a prefix in each place of a line.
fn paths_after(prefix: &str, line: &str) -> Vec<String> {
    line.match_indices(prefix)
        .filter(|(at, _)| !line[..*at].ends_with('$'))
        .flat_map(|(at, prefix)| {
            let rest = &line[at + prefix.len()..];
            let group = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let names = group.map_or(rest, |(inner, _)| inner);
            let names = if group.is_some() {
                names.split(',').collect()
            } else {
                vec![names]
            };
            names.into_iter().map(first_word).collect::<Vec<_>>()
        })
        .filter(|name| name.chars().next().is_some_and(char::is_lowercase))
        .collect()
}

fn first_word(text: &str) -> String {
    let text = text.trim_start();
    text.chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The top-level module a file belongs to: `keyspace` for `keyspace/table.rs`.
fn module_of(path: &Path, source: &str) -> String {
    let inside = path
        .strip_prefix(source)
        .expect("asked for files below the source");
    let first = inside.components().next().expect("a file has a name");
    let first = first.as_os_str().to_string_lossy();
    first.trim_end_matches(".rs").to_string()
}

/// Files that a `#[cfg(test)] mod name;` declares.
fn test_modules(source: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for path in rust_files(source) {
        let text = read(&path);
        let lines: Vec<&str> = text.lines().collect();
        for pair in lines.windows(2).filter(|pair| pair[0] == "#[cfg(test)]") {
            let name = pair[1].rsplit(' ').next().unwrap_or_default();
            let Some(name) = name.strip_suffix(';') else {
                continue;
            };
            let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
                Some("mod" | "lib" | "main") => {
                    path.parent().expect("below a folder").to_path_buf()
                }
                _ => path.with_extension(""),
            };
            found.push(folder.join(format!("{name}.rs")));
            found.push(folder.join(name).join("mod.rs"));
        }
    }
    found
}

/// Every `crate::module` in `source` that `allowed` does not list.
fn wrong_arrows(
    source: &str,
    allowed: &BTreeMap<&str, Vec<&str>>,
    debts_met: &mut Vec<(String, String, String)>,
) -> Vec<String> {
    let krate = source.split('/').next().unwrap_or_default();
    let tests = test_modules(source);
    let mut wrong = Vec::new();
    for path in rust_files(source) {
        let module = module_of(&path, source);
        if ["lib", "main"].contains(&module.as_str())
            || is_test_file(&path)
            || tests.contains(&path)
        {
            continue;
        }
        let Some(allowed) = allowed.get(module.as_str()) else {
            wrong.push(format!(
                "{}: module {module} has no place in the layers",
                path.display()
            ));
            continue;
        };
        for (number, line) in production_lines(&read(&path)) {
            for name in crate_paths(&line) {
                if name == module || allowed.contains(&name.as_str()) {
                    continue;
                }
                if DEBTS.contains(&(krate, module.as_str(), name.as_str())) {
                    debts_met.push((krate.to_string(), module.clone(), name));
                } else {
                    wrong.push(format!(
                        "{}:{number}: {module} names {name}",
                        path.display()
                    ));
                }
            }
        }
    }
    wrong
}

#[test]
fn modules_import_only_from_their_left() {
    let shards = SHARDS_ARROWS
        .iter()
        .map(|(module, allowed)| (*module, allowed.to_vec()))
        .collect();
    let side_by_side = ["config", "stats"];
    let src = SRC_ORDER
        .iter()
        .enumerate()
        .map(|(at, module)| {
            let left = SRC_ORDER[..at].to_vec();
            let left = left
                .into_iter()
                .filter(|other| !(side_by_side.contains(module) && side_by_side.contains(other)));
            (*module, left.collect())
        })
        .collect();
    let mut met = Vec::new();
    let mut wrong = wrong_arrows("shards/src", &shards, &mut met);
    wrong.extend(wrong_arrows("src", &src, &mut met));
    for (krate, module, name) in DEBTS {
        let debt = (
            (*krate).to_string(),
            (*module).to_string(),
            (*name).to_string(),
        );
        if !met.contains(&debt) {
            wrong.push(format!(
                "{krate}: {module} no longer names {name}: take it off DEBTS"
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "arrows that point the wrong way:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn modules_of_the_order_import_only_from_their_left() {
    const FOLDER: &str = "shards/src/order";
    let mut wrong = Vec::new();
    let mut met = Vec::new();
    for path in rust_files(FOLDER) {
        let module = module_of(&path, FOLDER);
        if module == "mod" || is_test_file(&path) {
            continue;
        }
        let Some(at) = ORDER.iter().position(|other| *other == module) else {
            wrong.push(format!("{}: it has no place", path.display()));
            continue;
        };
        let is_own_file = path.parent() == Some(Path::new(FOLDER));
        for (number, line) in production_lines(&read(&path)) {
            let mut names = paths_after("crate::order::", &line);
            if is_own_file {
                names.extend(paths_after("super::", &line));
            }
            for name in names.into_iter().filter(|name| *name != module) {
                if !ORDER[..at].contains(&name.as_str()) {
                    wrong.push(format!("{}:{number}: names {name}", path.display()));
                }
                met.push(name);
            }
        }
    }
    assert!(met.len() > 50, "the arrows are not found where they are");
    assert!(
        wrong.is_empty(),
        "arrows that point the wrong way:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn unsafe_stays_where_it_is_listed() {
    let mut wrong = Vec::new();
    for path in [rust_files("src"), rust_files("shards"), rust_files("tests")].concat() {
        let name = path.to_string_lossy().into_owned();
        let text = read(&path);
        let uses = text.lines().any(|line| {
            let code = line.split("//").next().unwrap_or_default();
            let word = concat!("un", "safe ");
            code.contains(&format!("{word}{{"))
                || code.contains(&format!("{word}fn"))
                || code.contains(&format!("{word}impl"))
                || code.contains(concat!("allow(un", "safe_code)"))
        });
        if uses && !UNSAFE_FILES.contains(&name.as_str()) {
            wrong.push(name);
        }
    }
    assert!(
        wrong.is_empty(),
        "not listed as files that need it: {wrong:?}"
    );
    for root in ["src/main.rs", "shards/src/lib.rs"] {
        assert!(
            read(Path::new(root)).contains(concat!("#![deny(un", "safe_code)]")),
            "{root} must deny it for the files that are not listed"
        );
    }
}

/// The README of the server draws the layers that are checked here, and has a line for
/// each module.
#[test]
fn the_layers_are_drawn_as_they_are() {
    let readme = read(Path::new("src/README.md"));
    let layers = SRC_ORDER.join(" → ").replacen(" → ", ", ", 1);
    assert!(readme.contains(&layers), "{layers}");
    let rows: Vec<&str> = readme
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    for module in SRC_ORDER {
        let names = [format!("`{module}/`"), format!("`{module}.rs`")];
        let named = |row: &&str| names.iter().any(|name| row.contains(name.as_str()));
        assert!(
            *module == "main" || rows.iter().any(named),
            "{module} has no row"
        );
    }
}

#[test]
fn glommio_is_named_in_the_runtime_alone() {
    let runtime = Path::new("src/runtime");
    let (inside, outside): (Vec<_>, Vec<_>) = [rust_files("src"), rust_files("shards")]
        .concat()
        .into_iter()
        .filter(|path| {
            let lines = production_lines(&read(path));
            lines.iter().any(|(_, line)| line.contains("glommio::"))
        })
        .partition(|path| path.starts_with(runtime));
    assert!(!inside.is_empty(), "it is looked for in vain");
    assert!(outside.is_empty(), "{outside:?} names it");
}

#[test]
fn files_and_functions_fit() {
    let mut wrong = Vec::new();
    for folder in ["src", "shards", "tests", "benches"] {
        for path in rust_files(folder) {
            let text = read(&path);
            let lines = text.lines().count();
            if lines > FILE_LINES_MAX {
                wrong.push(format!("{}: {lines} lines", path.display()));
            }
            for (name, lines) in functions(&text) {
                if lines > FUNCTION_LINES_MAX {
                    wrong.push(format!("{}: fn {name} has {lines} lines", path.display()));
                }
            }
            if !text.starts_with("//!") && !text.starts_with("#!") {
                wrong.push(format!("{}: does not say what it is", path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "too long or unexplained:\n{}",
        wrong.join("\n")
    );
}

/// Names of functions and how many lines of code their bodies have. Trusts
/// rustfmt: a body ends at the brace that stands where the function began.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let before = trimmed.split("fn ").next().unwrap_or_default();
        let words = [
            "pub",
            "pub(crate)",
            "pub(super)",
            "const",
            "async",
            "unsafe",
            "extern",
            "\"C\"",
        ];
        if !trimmed.contains("fn ") || !before.split_whitespace().all(|word| words.contains(&word))
        {
            continue;
        }
        let indent = line.len() - trimmed.len();
        let closing = format!("{}}}", &line[..indent]);
        let name = trimmed[before.len() + 3..]
            .split(['(', '<'])
            .next()
            .unwrap_or_default();
        let open = lines[at..]
            .iter()
            .position(|line| line.ends_with('{') || line.ends_with(';') || line.ends_with('}'));
        let Some(open) = open.filter(|open| lines[at + open].ends_with('{')) else {
            continue;
        };
        let body = lines[at + open + 1..]
            .iter()
            .take_while(|line| **line != closing);
        let code = body.filter(|line| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with("//")
        });
        found.push((name.to_string(), code.count()));
    }
    found
}

#[test]
fn nothing_is_left_unfinished() {
    let mut wrong = Vec::new();
    for path in [
        rust_files("src"),
        rust_files("shards/src"),
        rust_files("benches"),
    ]
    .concat()
    {
        for (number, line) in read(&path).lines().enumerate() {
            if BANNED.iter().any(|word| line.contains(word)) {
                wrong.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    let tests = [test_modules("src"), test_modules("shards/src")].concat();
    for path in [rust_files("src"), rust_files("shards/src")].concat() {
        if is_test_file(&path) || tests.contains(&path) {
            continue;
        }
        for (number, line) in production_lines(&read(&path)) {
            if line.contains(".unwrap()") {
                wrong.push(format!(
                    "{}:{number}: unwrap outside of tests",
                    path.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "unfinished:\n{}", wrong.join("\n"));
}

const BEGIN: &str = "<!-- commands:begin -->";
const END: &str = "<!-- commands:end -->";

/// The table of supported commands as the README shows it.
fn command_table(docs: &[Doc]) -> String {
    let mut groups: BTreeMap<&str, Vec<&Doc>> = BTreeMap::new();
    for doc in docs {
        groups.entry(&doc.group).or_default().push(doc);
    }
    let mut table = format!("{} commands.\n", docs.len());
    for (group, mut docs) in groups {
        docs.sort();
        write!(
            table,
            "\n**{group}**\n\n| Command | What it does |\n|---|---|\n"
        )
        .expect("a string grows");
        for doc in docs {
            let name = doc.name.replace('|', " ").to_uppercase();
            writeln!(table, "| {name} | {} |", doc.summary.replace('|', "\\|"))
                .expect("a string grows");
        }
    }
    table
}

/// `CORDIS_BLESS=1 cargo test --test tidy` rewrites the table.
#[test]
fn readme_lists_the_commands_there_are() {
    let cordis = Server::cordis(1, &[]);
    let table = command_table(&documented(&mut cordis.connect()));
    let path = Path::new("README.md");
    let readme = read(path);
    let (before, rest) = readme
        .split_once(BEGIN)
        .expect("README.md has a place for the commands");
    let (written, after) = rest
        .split_once(END)
        .expect("the place for the commands has an end");
    let wanted = format!("\n{table}");
    if written == wanted {
        return;
    }
    if std::env::var_os("CORDIS_BLESS").is_some() {
        let text = format!("{before}{BEGIN}{wanted}{END}{after}");
        fs::write(Path::new(ROOT).join(path), text).expect("README.md is writable");
        return;
    }
    panic!("the commands in README.md are out of date: CORDIS_BLESS=1 cargo test --test tidy");
}
