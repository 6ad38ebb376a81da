//! SLOWLOG: the commands that took longest.
//!
//! Every core keeps those of its own clients; all are asked, and the answers
//! merge by the numbers of the entries.

use super::{Context, Flow, ServerRow};
use crate::core::{Answer, Core};
use crate::stats::slowlog::SlowEntry;
use shards::command::{Args, Arity, Flags, Group, flags};
use shards::{CommandError, parse_i64};

const ADMIN: Flags = flags::ADMIN.with(flags::LOADING).with(flags::STALE);

pub static COMMANDS: &[ServerRow] = &[ServerRow {
    name: "slowlog",
    summary: "A container for commands about slow commands.",
    complexity: "Depends on subcommand.",
    arity: Arity::AtLeast(2),
    flags: flags::NONE,
    subcommands: SUBCOMMANDS,
    ..ROW
}];

/// What the rows have in common.
const ROW: ServerRow = ServerRow {
    since: "2.2.12",
    complexity: "O(1)",
    group: Group::Server,
    arity: Arity::Exactly(2),
    flags: ADMIN,
    ..super::ROW
};

static SUBCOMMANDS: &[ServerRow] = &[
    ServerRow {
        name: "slowlog|get",
        syntax: "[count]",
        summary: "The latest entries, newest first.",
        complexity: "O(N) where N is the number of entries returned",
        arity: Arity::AtLeast(2),
        tips: &["request_policy:all_nodes", "nondeterministic_output"],
        history: &[("4.0.0", "Shows the client's address and name.")],
        run: get,
        ..ROW
    },
    ServerRow {
        name: "slowlog|len",
        summary: "The number of entries.",
        tips: &[
            "request_policy:all_nodes",
            "response_policy:agg_sum",
            "nondeterministic_output",
        ],
        run: len,
        ..ROW
    },
    ServerRow {
        name: "slowlog|reset",
        summary: "Forget all entries.",
        complexity: "O(N) where N is the number of entries in the slowlog",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        run: reset,
        ..ROW
    },
    ServerRow {
        name: "slowlog|help",
        summary: "Describe the subcommands.",
        since: "6.2.0",
        flags: flags::LOADING.with(flags::STALE),
        run: help,
        ..ROW
    },
];

fn help(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    const HELP: &[&str] = &[
        "GET [<count>]",
        "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
        "    Entries are made of:",
        "    id, timestamp, time in microseconds, arguments array, client IP and port,",
        "    client name",
        "LEN",
        "    Return the length of the slowlog.",
        "RESET",
        "    Reset the slowlog.",
    ];
    ctx.help("SLOWLOG", HELP);
    Ok(Flow::Done)
}

/// Entries that GET returns unless it is told otherwise.
const COUNT: i64 = 10;

fn count_of(args: Args<'_>) -> Result<usize, CommandError> {
    let count = match args.len() {
        2 => COUNT,
        3 => parse_i64(&args[2])
            .filter(|count| *count >= -1)
            .ok_or(CommandError::Static(
                "ERR count should be greater than or equal to -1",
            ))?,
        _ => return Err(CommandError::unfit_subcommand(&args[1], "SLOWLOG")),
    };
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

fn get(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let count = count_of(args)?.min(ctx.core.config.logs.slowlog_max_len);
    Ok(Flow::ask_all(
        move |core| newest_here(core, count),
        get_finish,
    ))
}

fn get_finish(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    answers: Vec<Answer>,
) -> Result<(), CommandError> {
    let count = count_of(args)?.min(ctx.core.config.logs.slowlog_max_len);
    let mut entries: Vec<SlowEntry> = Vec::new();
    for answer in answers {
        if let Answer::Slow(own) = answer {
            entries.extend(own);
        }
    }
    entries.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.id));
    entries.truncate(count);
    let mut reply = ctx.reply();
    reply.array(entries.len());
    for entry in &entries {
        reply.array(6);
        reply.integer(entry.id as i64);
        reply.integer(entry.at_s);
        reply.integer(entry.took_us as i64);
        reply.array(entry.args.len());
        for arg in &entry.args {
            reply.bulk(arg);
        }
        reply.bulk(entry.address.as_bytes());
        reply.bulk(&entry.name);
    }
    Ok(())
}

fn len(_: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    Ok(Flow::ask_all(
        |core| Answer::Count(core.slow_log.len() as u64),
        len_finish,
    ))
}

fn len_finish(
    ctx: &mut Context<'_>,
    _: Args<'_>,
    answers: Vec<Answer>,
) -> Result<(), CommandError> {
    // Each core keeps as many as the whole log may have: the oldest of all are
    // never shown.
    let len = super::total(&answers).min(ctx.core.config.logs.slowlog_max_len as u64);
    ctx.reply().integer(len as i64);
    Ok(())
}

fn reset(_: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    Ok(Flow::ask_all(forget_here, super::ok))
}

fn forget_here(core: &mut Core) -> Answer {
    core.slow_log.clear();
    Answer::Done
}

/// This core's newest entries.
fn newest_here(core: &Core, count: usize) -> Answer {
    Answer::Slow(core.slow_log.newest(count))
}
