//! MEMORY: where memory goes. MEMORY USAGE looks at a key and is the engine's.

use super::info::stats_here;
use super::{Context, Flow, ServerRow};
use crate::core::{Answer, CoreStats};
use crate::runtime::memory;
use shards::CommandError;
use shards::command::{Args, Arity, Group, flags};
use std::sync::atomic::Ordering;

pub static COMMANDS: &[ServerRow] = &[ServerRow {
    name: "memory",
    summary: "A container for commands about memory.",
    arity: Arity::AtLeast(2),
    tips: &[],
    complexity: "Depends on subcommand.",
    subcommands: SUBCOMMANDS,
    ..ROW
}];

/// What the rows have in common.
const ROW: ServerRow = ServerRow {
    since: "4.0.0",
    complexity: "O(1)",
    group: Group::Server,
    arity: Arity::Exactly(2),
    tips: &[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ],
    ..super::ROW
};

static SUBCOMMANDS: &[ServerRow] = &[
    ServerRow {
        name: "memory|doctor",
        summary: "Say in words what the figures show.",
        run: doctor,
        ..ROW
    },
    ServerRow {
        name: "memory|malloc-stats",
        summary: "What the allocator tells about itself.",
        complexity: "Depends on how much memory is allocated, could be slow",
        run: |_, _| Ok(Flow::Wait(Box::new(malloc_stats), malloc_stats_finish)),
        ..ROW
    },
    ServerRow {
        name: "memory|purge",
        summary: "Have the allocator give free memory back.",
        complexity: "Depends on how much memory is allocated, could be slow",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        run: |_, _| Ok(Flow::Wait(Box::new(purge), purge_finish)),
        ..ROW
    },
    ServerRow {
        name: "memory|stats",
        summary: "Figures of memory use.",
        run: |_, _| Ok(Flow::ask_all(|core| stats_here(core, false), stats)),
        ..ROW
    },
    ServerRow {
        name: "memory|help",
        summary: "Describe the subcommands.",
        flags: flags::LOADING.with(flags::STALE),
        tips: &[],
        run: help,
        ..ROW
    },
];

fn help(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    const HELP: &[&str] = &[
        "DOCTOR",
        "    Return memory problems reports.",
        "MALLOC-STATS",
        "    Return internal statistics report from the memory allocator.",
        "PURGE",
        "    Attempt to purge dirty pages for reclamation by the allocator.",
        "STATS",
        "    Return information about the memory usage of the server.",
        "USAGE <key> [SAMPLES <count>]",
        "    Return memory in bytes used by <key> and its value. Nested values are",
        "    sampled up to <count> times (default: 5, 0 means sample all).",
    ];
    ctx.help("MEMORY", HELP);
    Ok(Flow::Done)
}

fn malloc_stats() -> Answer {
    Answer::Text(memory::allocator_report())
}

fn malloc_stats_finish(
    ctx: &mut Context<'_>,
    _: Args<'_>,
    answers: Vec<Answer>,
) -> Result<(), CommandError> {
    let text = match answers.first() {
        Some(Answer::Text(text)) => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    };
    ctx.reply().verbatim("txt", &text);
    Ok(())
}

fn purge() -> Answer {
    Answer::Count(u64::from(memory::purge()))
}

fn purge_finish(
    ctx: &mut Context<'_>,
    _: Args<'_>,
    answers: Vec<Answer>,
) -> Result<(), CommandError> {
    if super::total(&answers) == 0 {
        return Err(CommandError::Static("ERR Error purging dirty pages"));
    }
    ctx.reply().ok();
    Ok(())
}

/// A figure of MEMORY STATS.
enum Figure {
    Count(u64),
    Signed(i64),
    Ratio(f64),
}

/// Those of Redis's figures that mean something here. Keys and values are in
/// the same allocations, so there is no overhead per key to tell apart.
fn stats(ctx: &mut Context<'_>, _: Args<'_>, answers: Vec<Answer>) -> Result<(), CommandError> {
    let sum = CoreStats::sum(&answers);
    let memory = memory::read();
    // What was allocated at the start may have been touched since, or not yet.
    let startup = ctx.core.shared.startup_bytes.load(Ordering::Relaxed);
    let startup = startup.saturating_sub(memory.untouched);
    let keys: u64 = sum.keyspace.iter().map(|db| db.keys).sum();
    let overhead = startup + sum.client_bytes;
    let dataset = memory.allocated.saturating_sub(overhead);
    let net = memory.allocated.saturating_sub(startup);
    let ratio = |part: u64, whole: u64| Figure::Ratio(part as f64 / whole.max(1) as f64);
    let percent = |part: u64, whole: u64| Figure::Ratio(100.0 * part as f64 / whole.max(1) as f64);
    let above = |one: u64, other: u64| Figure::Signed(one as i64 - other as i64);
    let figures = [
        ("peak.allocated", Figure::Count(memory.peak)),
        ("total.allocated", Figure::Count(memory.allocated)),
        ("startup.allocated", Figure::Count(startup)),
        ("replication.backlog", Figure::Count(0)),
        ("clients.slaves", Figure::Count(0)),
        ("clients.normal", Figure::Count(sum.client_bytes)),
        ("cluster.links", Figure::Count(0)),
        ("aof.buffer", Figure::Count(0)),
        ("lua.caches", Figure::Count(0)),
        ("functions.caches", Figure::Count(0)),
        ("overhead.total", Figure::Count(overhead)),
        ("keys.count", Figure::Count(keys)),
        (
            "keys.bytes-per-key",
            Figure::Count(net.checked_div(keys).unwrap_or(0)),
        ),
        ("dataset.bytes", Figure::Count(dataset)),
        ("dataset.percentage", percent(dataset, net)),
        ("peak.percentage", percent(memory.allocated, memory.peak)),
        ("allocator.allocated", Figure::Count(memory.allocated)),
        ("allocator.active", Figure::Count(memory.active)),
        ("allocator.resident", Figure::Count(memory.resident)),
        (
            "allocator-fragmentation.ratio",
            ratio(memory.active, memory.allocated),
        ),
        (
            "allocator-fragmentation.bytes",
            above(memory.active, memory.allocated),
        ),
        ("allocator-rss.ratio", ratio(memory.resident, memory.active)),
        ("allocator-rss.bytes", above(memory.resident, memory.active)),
        ("rss-overhead.ratio", ratio(memory.rss, memory.resident)),
        ("rss-overhead.bytes", above(memory.rss, memory.resident)),
        ("fragmentation", ratio(memory.rss, memory.allocated)),
        ("fragmentation.bytes", above(memory.rss, memory.allocated)),
    ];
    ctx.reply().map(figures.len());
    for (name, figure) in figures {
        ctx.reply().bulk(name.as_bytes());
        match figure {
            Figure::Count(number) => ctx.reply().integer(number as i64),
            Figure::Signed(number) => ctx.reply().integer(number),
            Figure::Ratio(number) => super::double(ctx, &number.to_string()),
        }
    }
    Ok(())
}

/// Below this the ratios say nothing.
const SMALL_BYTES: u64 = 5 << 20;

fn doctor(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    let memory = memory::read();
    let beyond = |part: u64, whole: u64, percent: u64| {
        part / 100 * 100 > whole / 100 * percent && part - whole.min(part) > 10 << 20
    };
    let findings = [
        (
            memory.peak / 100 * 100 > memory.allocated / 100 * 150,
            "- Peak: more than 150% of the present use was needed once. What the allocator keeps \
             from then goes back within about a second; MEMORY PURGE does it at once.\n",
        ),
        (
            beyond(memory.active, memory.allocated, 110),
            "- Fragmentation: pages are used to less than nine tenths. It heals as keys are \
             written anew; restarting does it at once.\n",
        ),
        (
            beyond(memory.resident, memory.active, 110),
            "- Allocator: it holds free pages; MEMORY PURGE gives them back.\n",
        ),
        (
            beyond(memory.rss, memory.resident, 110),
            "- Process: more is resident than the allocator knows of: rings, buffers of the \
             kernel, the program itself.\n",
        ),
    ];
    let mut text = String::new();
    if memory.allocated < SMALL_BYTES {
        text.push_str("So little memory is in use that its figures say nothing.\n");
    } else {
        for (_, finding) in findings.iter().filter(|(found, _)| *found) {
            text.push_str(finding);
        }
        if text.is_empty() {
            text.push_str("Nothing about the use of memory stands out.\n");
        }
    }
    ctx.reply().verbatim("txt", &text);
    Ok(Flow::Done)
}
