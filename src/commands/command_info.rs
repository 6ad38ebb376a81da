//! COMMAND: what the table of commands says about itself.
//!
//! Nothing here is written by hand for a command: names, flags, categories, key
//! specifications and documentation all come from the rows.

use super::syntax::{Argument, ArgumentType, arguments};
use super::{AnyRow, Context, Flow, RowOf, ServerRow, registry};
use shards::command::{Args, Arity, Begin, Find, Flags, Group, KeySpec, flags};
use shards::resp::Reply;
use shards::{CommandError, glob};

pub static COMMANDS: &[ServerRow] = &[ServerRow {
    name: "command",
    summary: "Describe all commands.",
    since: "2.8.13",
    complexity: "O(N) where N is the total number of commands.",
    arity: Arity::AtLeast(1),
    tips: &["nondeterministic_output_order"],
    subcommands: SUBCOMMANDS,
    run: info,
    ..ROW
}];

/// What the rows have in common.
const ROW: ServerRow = ServerRow {
    complexity: "O(N) where N is the number of commands to look up.",
    group: Group::Server,
    arity: Arity::AtLeast(2),
    flags: flags::LOADING.with(flags::STALE),
    categories: &["@connection"],
    ..super::ROW
};

static SUBCOMMANDS: &[ServerRow] = &[
    ServerRow {
        name: "command|count",
        summary: "The number of commands.",
        since: "2.8.13",
        complexity: "O(1)",
        arity: Arity::Exactly(2),
        run: count,
        ..ROW
    },
    ServerRow {
        name: "command|list",
        syntax: "[FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
        summary: "The names of the commands.",
        since: "7.0.0",
        complexity: "O(N) where N is the total number of commands.",
        tips: &["nondeterministic_output_order"],
        run: list,
        ..ROW
    },
    ServerRow {
        name: "command|info",
        syntax: "[command-name [command-name ...]]",
        summary: "Describe commands, all if none is named.",
        since: "2.8.13",
        tips: &["nondeterministic_output_order"],
        history: &[("7.0.0", "Tells of all commands if none is named.")],
        run: info,
        ..ROW
    },
    ServerRow {
        name: "command|docs",
        syntax: "[command-name [command-name ...]]",
        summary: "Document commands, all if none is named.",
        since: "7.0.0",
        tips: &["nondeterministic_output_order"],
        run: docs,
        ..ROW
    },
    ServerRow {
        name: "command|getkeys",
        syntax: "command [arg [arg ...]]",
        summary: "The keys of a command with its arguments.",
        since: "2.8.13",
        complexity: "O(N) where N is the number of arguments to the command.",
        arity: Arity::AtLeast(4),
        run: getkeys,
        ..ROW
    },
    ServerRow {
        name: "command|getkeysandflags",
        syntax: "command [arg [arg ...]]",
        summary: "The keys of a command with its arguments, and what happens to them.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of arguments to the command.",
        arity: Arity::AtLeast(4),
        run: getkeysandflags,
        ..ROW
    },
    ServerRow {
        name: "command|help",
        summary: "Describe the subcommands.",
        since: "5.0.0",
        complexity: "O(1)",
        arity: Arity::Exactly(2),
        run: help,
        ..ROW
    },
];

fn help(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    const HELP: &[&str] = &[
        "(no subcommand)",
        "    Return details about all Redis commands.",
        "COUNT",
        "    Return the total number of commands in this Redis server.",
        "LIST",
        "    Return a list of all commands in this Redis server.",
        "INFO [<command-name> ...]",
        "    Return details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "GETKEYS <full-command>",
        "    Return the keys from a full Redis command.",
        "GETKEYSANDFLAGS <full-command>",
        "    Return the keys and the access flags from a full Redis command.",
    ];
    ctx.help("COMMAND", HELP);
    Ok(Flow::Done)
}

fn count(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    ctx.reply().integer(registry().commands.len() as i64);
    Ok(Flow::Done)
}

/// Which names COMMAND LIST gives.
enum Filter<'a> {
    All,
    /// Modules cannot be loaded, so no command is of one.
    Module,
    Category(&'a [u8]),
    Pattern(&'a [u8]),
}

impl Filter<'_> {
    fn matches(&self, command: &AnyRow) -> bool {
        match self {
            Self::All => true,
            Self::Module => false,
            Self::Category(wanted) => {
                let same = |name: &&str| wanted.eq_ignore_ascii_case(&name.as_bytes()[1..]);
                categories(command).iter().any(same)
            }
            Self::Pattern(pattern) => {
                glob::matches_ignoring_case(pattern, command.full_name.as_bytes())
            }
        }
    }
}

fn list(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let filter = match args.len() {
        2 => Filter::All,
        5 if args[2].eq_ignore_ascii_case(b"filterby") => {
            let kind_is = |name: &[u8]| args[3].eq_ignore_ascii_case(name);
            match () {
                () if kind_is(b"module") => Filter::Module,
                () if kind_is(b"aclcat") => Filter::Category(&args[4]),
                () if kind_is(b"pattern") => Filter::Pattern(&args[4]),
                () => return Err(CommandError::Syntax),
            }
        }
        _ => return Err(CommandError::Syntax),
    };
    let all = registry().commands.iter();
    let names: Vec<_> = all
        .flat_map(|command| std::iter::once(command).chain(&command.subcommands))
        .filter(|command| filter.matches(command))
        .map(|command| command.full_name)
        .collect();
    let mut reply = ctx.reply();
    reply.array(names.len());
    for name in names {
        reply.bulk(name.as_bytes());
    }
    Ok(Flow::Done)
}

fn info(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut reply = ctx.long_reply();
    if args.len() <= 2 {
        let commands = &registry().commands;
        reply.array(commands.len());
        for command in commands {
            write_info(&mut reply, command);
        }
        reply.complete()?;
        return Ok(Flow::Done);
    }
    reply.array(args.len() - 2);
    for name in args.iter().skip(2) {
        match registry().find_full(name) {
            Some(command) => write_info(&mut reply, command),
            None => reply.null(),
        }
        reply.complete()?;
    }
    Ok(Flow::Done)
}

fn write_info(reply: &mut Reply<'_>, command: &AnyRow) {
    reply.array(10);
    reply.bulk(command.full_name.as_bytes());
    reply.integer(command.arity.as_redis());
    let named = flags::NAMES
        .iter()
        .filter(|(flag, _)| command.flags.has(*flag));
    let named: Vec<_> = named.map(|(_, name)| *name).collect();
    write_words(reply, &named);
    let (first, last, step) = legacy_range(command.keys);
    for number in [first, last, step] {
        reply.integer(i64::from(number));
    }
    write_words(reply, &categories(command));
    reply.set(command.tips.len());
    for tip in command.tips {
        reply.bulk(tip.as_bytes());
    }
    reply.set(command.keys.len());
    for spec in command.keys {
        write_key_spec(reply, spec);
    }
    if command.subcommands.is_empty() {
        reply.set(0);
        return;
    }
    reply.array(command.subcommands.len());
    for sub in &command.subcommands {
        write_info(reply, sub);
    }
}

fn write_words(reply: &mut Reply<'_>, words: &[&str]) {
    reply.set(words.len());
    for word in words {
        reply.simple(word);
    }
}

fn write_key_spec(reply: &mut Reply<'_>, spec: &KeySpec) {
    reply.map(if spec.notes.is_empty() { 3 } else { 4 });
    if !spec.notes.is_empty() {
        reply.bulk(b"notes");
        reply.bulk(spec.notes.as_bytes());
    }
    reply.bulk(b"flags");
    write_words(reply, spec.access.0);
    let numbers = |reply: &mut Reply<'_>, part: &str, kind: &str, pairs: &[(&str, i32)]| {
        reply.bulk(part.as_bytes());
        reply.map(2);
        reply.bulk(b"type");
        reply.bulk(kind.as_bytes());
        reply.bulk(b"spec");
        reply.map(pairs.len());
        for (name, number) in pairs {
            reply.bulk(name.as_bytes());
            reply.integer(i64::from(*number));
        }
    };
    match spec.begin {
        Begin::Index(index) => numbers(reply, "begin_search", "index", &[("index", index)]),
        Begin::Unknown(_) | Begin::Anywhere(_) => {
            numbers(reply, "begin_search", "unknown", &[]);
            return numbers(reply, "find_keys", "unknown", &[]);
        }
        Begin::Keyword { word, from } | Begin::Behind { word, from, .. } => {
            reply.bulk(b"begin_search");
            reply.map(2);
            reply.bulk(b"type");
            reply.bulk(b"keyword");
            reply.bulk(b"spec");
            reply.map(2);
            reply.bulk(b"keyword");
            reply.bulk(word.as_bytes());
            reply.bulk(b"startfrom");
            reply.integer(i64::from(from));
        }
    }
    match spec.find {
        Find::Range { last, step, limit } => {
            let pairs = [("lastkey", last), ("keystep", step), ("limit", limit)];
            numbers(reply, "find_keys", "range", &pairs);
        }
        Find::Count { count, first, step } => {
            let pairs = [("keynumidx", count), ("firstkey", first), ("keystep", step)];
            numbers(reply, "find_keys", "keynum", &pairs);
        }
    }
}

/// First key, last key and step as clients before key specifications know
/// them; zeroes where the keys are no such range.
fn legacy_range(specs: &[KeySpec]) -> (i32, i32, i32) {
    let mut range: Option<(i32, i32, i32)> = None;
    for spec in specs {
        let (Begin::Index(index), Find::Range { last, step, .. }) = (spec.begin, spec.find) else {
            continue;
        };
        let last = if last < 0 { last } else { index + last };
        range = Some(match range {
            None => (index, last, step),
            // A negative end reaches further than any position.
            Some((first, end, _)) if end < 0 || last < 0 => (first.min(index), end.min(last), step),
            Some((first, end, _)) => (first.min(index), end.max(last), step),
        });
    }
    range.unwrap_or_default()
}

/// The categories of access control, in Redis's order: those that flags and group of a
/// row imply, and what else it names.
pub fn categories(command: &AnyRow) -> Vec<&'static str> {
    let has = |flag: Flags| command.flags.has(flag);
    // A container is nothing that could be run: only its subcommands count.
    let container = !command.subcommands.is_empty() && command.flags == flags::NONE;
    let group = |group: Group| command.group == group && !container;
    // Of the server's family, what concerns whole databases.
    let whole = matches!(command.row, RowOf::Engine(_)) && command.keys.is_empty();
    let accesses_keyspace = whole && (has(flags::WRITE) || has(flags::READONLY));
    let scripting = group(Group::Scripting);
    // A generic command for values of some types only (SORT) says which.
    let of_types = command.categories.contains(&"@list");
    [
        (
            (group(Group::Generic) && !of_types) || (group(Group::Server) && accesses_keyspace),
            "@keyspace",
        ),
        (has(flags::READONLY) && !scripting, "@read"),
        (has(flags::WRITE) && !scripting, "@write"),
        (group(Group::Set), "@set"),
        (group(Group::SortedSet), "@sortedset"),
        (group(Group::List), "@list"),
        (group(Group::Hash), "@hash"),
        (group(Group::String), "@string"),
        (group(Group::Bitmap), "@bitmap"),
        (group(Group::HyperLogLog), "@hyperloglog"),
        (group(Group::Geo), "@geo"),
        (group(Group::Stream), "@stream"),
        (has(flags::PUBSUB), "@pubsub"),
        (has(flags::ADMIN), "@admin"),
        (has(flags::FAST), "@fast"),
        (!has(flags::FAST), "@slow"),
        (has(flags::BLOCKING), "@blocking"),
        (has(flags::ADMIN), "@dangerous"),
        (group(Group::Connection), "@connection"),
        (group(Group::Transactions), "@transaction"),
        (scripting, "@scripting"),
    ]
    .into_iter()
    .filter(|(holds, name)| *holds || command.categories.contains(name))
    .map(|(_, name)| name)
    .collect()
}

fn docs(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let commands: Vec<&AnyRow> = if args.len() == 2 {
        registry().commands.iter().collect()
    } else {
        let names = args.iter().skip(2);
        names
            .filter_map(|name| registry().find_full(name))
            .collect()
    };
    let mut reply = ctx.long_reply();
    reply.map(commands.len());
    for command in commands {
        write_docs(&mut reply, command);
        reply.complete()?;
    }
    Ok(Flow::Done)
}

fn write_docs(reply: &mut Reply<'_>, command: &AnyRow) {
    let arguments = arguments(command.syntax, !command.keys.is_empty());
    reply.bulk(command.full_name.as_bytes());
    let flags = [
        (command.deprecated.is_some(), "deprecated"),
        (command.is_system, "syscmd"),
    ];
    let flags: Vec<&str> = flags
        .into_iter()
        .filter_map(|(set, flag)| set.then_some(flag))
        .collect();
    let more = [
        !flags.is_empty(),
        command.deprecated.is_some(),
        command.deprecated.is_some(),
        !command.history.is_empty(),
        !arguments.is_empty(),
        !command.subcommands.is_empty(),
    ];
    reply.map(4 + more.into_iter().filter(|there| *there).count());
    for (name, value) in [
        ("summary", command.summary),
        ("since", command.since),
        ("group", command.group.as_str()),
        ("complexity", command.complexity),
    ] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    write_past(reply, command, &flags);
    if !arguments.is_empty() {
        let mut keys = 0;
        reply.bulk(b"arguments");
        write_arguments(reply, &arguments, command.keys.len(), &mut keys);
    }
    if !command.subcommands.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(command.subcommands.len());
        for sub in &command.subcommands {
            write_docs(reply, sub);
        }
    }
}

fn write_past(reply: &mut Reply<'_>, command: &AnyRow, flags: &[&str]) {
    if !flags.is_empty() {
        reply.bulk(b"doc_flags");
        reply.set(flags.len());
        flags.iter().for_each(|flag| reply.simple(flag));
    }
    if let Some(deprecated) = &command.deprecated {
        reply.bulk(b"deprecated_since");
        reply.bulk(deprecated.since.as_bytes());
        reply.bulk(b"replaced_by");
        reply.bulk(deprecated.replaced_by.as_bytes());
    }
    if !command.history.is_empty() {
        reply.bulk(b"history");
        reply.set(command.history.len());
        for (version, change) in command.history {
            reply.array(2);
            reply.bulk(version.as_bytes());
            reply.bulk(change.as_bytes());
        }
    }
}

/// `keys` counts the key arguments written so far: the n-th belongs to the n-th
/// specification, and those that are left to the last one.
fn write_arguments(reply: &mut Reply<'_>, arguments: &[Argument], specs: usize, keys: &mut usize) {
    reply.array(arguments.len());
    for argument in arguments {
        let leaf = argument.parts.is_empty();
        let is_key = argument.kind == ArgumentType::Key;
        let mut words = Vec::new();
        for (set, word) in [
            (argument.optional, "optional"),
            (argument.multiple, "multiple"),
            (argument.multiple_token, "multiple_token"),
        ] {
            words.extend(set.then_some(word));
        }
        let more = [
            leaf,
            is_key,
            argument.token.is_some(),
            !words.is_empty(),
            !leaf,
        ];
        reply.map(2 + more.into_iter().filter(|there| *there).count());
        reply.bulk(b"name");
        reply.bulk(argument.name.as_bytes());
        reply.bulk(b"type");
        reply.bulk(argument.kind.as_str().as_bytes());
        if leaf {
            reply.bulk(b"display_text");
            reply.bulk(argument.name.as_bytes());
        }
        if is_key {
            reply.bulk(b"key_spec_index");
            reply.integer((*keys).min(specs.saturating_sub(1)) as i64);
            *keys += 1;
        }
        if let Some(token) = argument.token {
            reply.bulk(b"token");
            reply.bulk(token.as_bytes());
        }
        if !words.is_empty() {
            reply.bulk(b"flags");
            write_words(reply, &words);
        }
        if !leaf {
            reply.bulk(b"arguments");
            write_arguments(reply, &argument.parts, specs, keys);
        }
    }
}

/// A key's position among the arguments, and what the command does with it.
type KeyUse = (usize, &'static [&'static str]);

fn key_uses(args: Args<'_>) -> Result<Vec<KeyUse>, CommandError> {
    const NONE: Result<Vec<KeyUse>, CommandError> = Err(CommandError::Static(
        "ERR Invalid arguments specified for command",
    ));
    let fail = |text| Err(CommandError::Static(text));
    let Some(command) = registry().find_with_sub(args) else {
        return fail("ERR Invalid command specified");
    };
    if command.keys.is_empty() {
        return fail("ERR The command has no key arguments");
    }
    if !command.arity.accepts(args.len()) {
        return fail("ERR Invalid number of arguments specified for command");
    }
    let mut uses = Vec::new();
    for spec in command.keys {
        let mut positions = Vec::new();
        let fits = spec.named_positions(args, &mut positions).is_some();
        // A keyword may be missing; keys at a place of their own may not.
        let none_here = positions.is_empty() && matches!(spec.begin, Begin::Index(_));
        if !fits || none_here {
            if command.flags.has(flags::NO_MANDATORY_KEYS) {
                return Ok(Vec::new());
            }
            return NONE;
        }
        let words = spec.access_of(args);
        uses.extend(positions.into_iter().map(|at| (at, words)));
    }
    match uses.is_empty() && !command.flags.has(flags::NO_MANDATORY_KEYS) {
        true => NONE,
        false => Ok(uses),
    }
}

fn getkeys(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let args = args.from(2);
    let uses = key_uses(args)?;
    let mut reply = ctx.reply();
    reply.array(uses.len());
    for (at, _) in uses {
        reply.bulk(&args[at]);
    }
    Ok(Flow::Done)
}

fn getkeysandflags(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let args = args.from(2);
    let uses = key_uses(args)?;
    let mut reply = ctx.reply();
    reply.array(uses.len());
    for (at, words) in uses {
        reply.array(2);
        reply.bulk(&args[at]);
        write_words(&mut reply, words);
    }
    Ok(Flow::Done)
}
