//! LATENCY: events that took longer than `latency-monitor-threshold`, and how
//! the latencies of commands are distributed.

use super::info::stats_here;
use super::{Context, Flow, ServerRow, registry};
use crate::core::{Answer, Core, CoreStats};
use crate::stats::histogram::Histogram;
use crate::stats::latency::{EventKind, Events, Samples};
use shards::command::{Args, Arity, Flags, Group, flags};
use shards::{CommandError, UnixMs};
use std::fmt::Write;

const ADMIN: Flags = flags::ADMIN
    .with(flags::NOSCRIPT)
    .with(flags::LOADING)
    .with(flags::STALE);

pub static COMMANDS: &[ServerRow] = &[ServerRow {
    name: "latency",
    summary: "A container for commands about latencies.",
    complexity: "Depends on subcommand.",
    arity: Arity::AtLeast(2),
    flags: flags::NONE,
    tips: &[],
    subcommands: SUBCOMMANDS,
    ..ROW
}];

/// What the rows have in common.
const ROW: ServerRow = ServerRow {
    since: "2.8.13",
    complexity: "O(1)",
    group: Group::Server,
    arity: Arity::Exactly(2),
    flags: ADMIN,
    tips: &[
        "nondeterministic_output",
        "request_policy:all_nodes",
        "response_policy:special",
    ],
    ..super::ROW
};

static SUBCOMMANDS: &[ServerRow] = &[
    ServerRow {
        name: "latency|latest",
        summary: "The latest and the longest sample of each event.",
        run: |_, _| Ok(Flow::ask_all(events_here, latest)),
        ..ROW
    },
    ServerRow {
        name: "latency|history",
        syntax: "event",
        summary: "The samples of an event.",
        arity: Arity::Exactly(3),
        run: |_, _| Ok(Flow::ask_all(events_here, history)),
        ..ROW
    },
    ServerRow {
        name: "latency|graph",
        syntax: "event",
        summary: "Draw the samples of an event.",
        arity: Arity::Exactly(3),
        run: |_, _| Ok(Flow::ask_all(events_here, graph)),
        ..ROW
    },
    ServerRow {
        name: "latency|doctor",
        summary: "Say in words what the events show.",
        run: |_, _| Ok(Flow::ask_all(events_here, doctor)),
        ..ROW
    },
    ServerRow {
        name: "latency|reset",
        syntax: "[event [event ...]]",
        summary: "Forget the samples of some events or of all.",
        arity: Arity::AtLeast(2),
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        run: reset,
        ..ROW
    },
    ServerRow {
        name: "latency|histogram",
        syntax: "[command [command ...]]",
        summary: "How the latencies of some commands, or of all, are distributed.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of commands with latency information being \
                     retrieved.",
        arity: Arity::AtLeast(2),
        run: |_, _| Ok(Flow::ask_all(|core| stats_here(core, true), histogram)),
        ..ROW
    },
    ServerRow {
        name: "latency|help",
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
        "    Return a human readable latency analysis report.",
        "GRAPH <event>",
        "    Return an ASCII latency graph for the <event> class.",
        "HISTORY <event>",
        "    Return time-latency samples for the <event> class.",
        "LATEST",
        "    Return the latest latency samples for all events.",
        "RESET [<event> ...]",
        "    Reset latency data of one or more <event> classes.",
        "    (default: reset all data for all event classes)",
        "HISTOGRAM [COMMAND ...]",
        "    Return a cumulative distribution of latencies in the format of a histogram for the \
         specified command names.",
        "    If no commands are specified then all histograms are replied.",
    ];
    ctx.help("LATENCY", HELP);
    Ok(Flow::Done)
}

fn merged(answers: &[Answer]) -> Events {
    let mut events = Events::default();
    for answer in answers {
        if let Answer::Events(own) = answer {
            events.merge(own);
        }
    }
    events
}

fn latest(ctx: &mut Context<'_>, _: Args<'_>, answers: Vec<Answer>) -> Result<(), CommandError> {
    let events = merged(&answers);
    let mut reply = ctx.reply();
    reply.array(events.0.len());
    for (kind, Samples { samples, max_ms }) in &events.0 {
        let (at_s, ms) = samples.back().copied().unwrap_or_default();
        reply.array(4);
        reply.bulk(kind.name().as_bytes());
        reply.integer(at_s);
        reply.integer(ms as i64);
        reply.integer(*max_ms as i64);
    }
    Ok(())
}

/// The samples of the event called `name`, if there are any.
fn samples_of<'a>(events: &'a Events, name: &[u8]) -> Option<&'a Samples> {
    let named = |(kind, _): &(&EventKind, &Samples)| name == kind.name().as_bytes();
    events.0.iter().find(named).map(|(_, samples)| samples)
}

fn history(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    answers: Vec<Answer>,
) -> Result<(), CommandError> {
    let events = merged(&answers);
    let samples = samples_of(&events, &args[2]).map(|found| &found.samples);
    let mut reply = ctx.reply();
    reply.array(samples.map_or(0, |samples| samples.len()));
    for (at_s, ms) in samples.into_iter().flatten() {
        reply.array(2);
        reply.integer(*at_s);
        reply.integer(*ms as i64);
    }
    Ok(())
}

fn reset(_: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let named = |kind: &EventKind| {
        let mut names = args.iter().skip(2);
        args.len() == 2 || names.any(|name| name == kind.name().as_bytes())
    };
    let kinds: Vec<EventKind> = EventKind::ALL.into_iter().filter(named).collect();
    Ok(Flow::ask_all(
        move |core| forget_here(core, &kinds),
        reset_finish,
    ))
}

/// An event that several cores have had is one.
fn reset_finish(
    ctx: &mut Context<'_>,
    _: Args<'_>,
    answers: Vec<Answer>,
) -> Result<(), CommandError> {
    let count = merged(&answers).0.len();
    ctx.reply().integer(count as i64);
    Ok(())
}

fn events_here(core: &mut Core) -> Answer {
    Answer::Events(core.events.clone())
}

/// Forgets the events of these kinds; returns what it had of them.
fn forget_here(core: &mut Core, kinds: &[EventKind]) -> Answer {
    let had = kinds
        .iter()
        .filter_map(|kind| core.events.0.remove_entry(kind));
    Answer::Events(Events(had.collect()))
}

/// Lines of a graph.
const ROWS: u64 = 4;

/// A column per sample, its height in quarters of the range; below it, read
/// downwards, how long ago it was.
fn graph(ctx: &mut Context<'_>, args: Args<'_>, answers: Vec<Answer>) -> Result<(), CommandError> {
    let events = merged(&answers);
    let Some(found) = samples_of(&events, &args[2]) else {
        return Err(CommandError::quoting(
            "ERR No samples available for event '",
            &args[2],
            "'",
        ));
    };
    let name = String::from_utf8_lossy(&args[2]);
    let text = draw(&name, found, ctx.core.now);
    ctx.reply().verbatim("txt", &text);
    Ok(())
}

fn draw(name: &str, found: &Samples, now: UnixMs) -> String {
    let values = || found.samples.iter().map(|(_, ms)| *ms);
    let (low, high) = (values().min().unwrap_or(0), values().max().unwrap_or(0));
    let mut text = format!(
        "{name} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        found.max_ms,
        "-".repeat(80)
    );
    let height = |ms: u64| match high - low {
        0 => 1,
        range => 1 + (ms - low) * (ROWS * 3 - 1) / range,
    };
    for row in (0..ROWS).rev() {
        let mark = |ms: u64| match height(ms).saturating_sub(row * 3) {
            0 => ' ',
            1 => '_',
            2 => 'o',
            3 => '#',
            _ => '|',
        };
        let line: String = values().map(mark).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push('\n');
    let ages: Vec<String> = found
        .samples
        .iter()
        .map(|(at_s, _)| age(now.0 / 1000 - at_s))
        .collect();
    let longest = ages.iter().map(String::len).max().unwrap_or(0);
    for row in 0..longest {
        let letter = |age: &String| age.as_bytes().get(row).copied().map_or(' ', char::from);
        let line: String = ages.iter().map(letter).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Seconds in the largest unit that fits.
fn age(seconds: i64) -> String {
    match seconds.max(0) {
        s @ 0..60 => format!("{s}s"),
        s @ 60..3600 => format!("{}m", s / 60),
        s @ 3600..86_400 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

fn doctor(ctx: &mut Context<'_>, _: Args<'_>, answers: Vec<Answer>) -> Result<(), CommandError> {
    let events = merged(&answers);
    let threshold_ms = ctx.core.config.logs.latency_monitor_threshold_ms;
    let text = match (threshold_ms, events.0.is_empty()) {
        (0, _) => "Latency monitoring is off. \"CONFIG SET latency-monitor-threshold \
                   <milliseconds>\" turns it on.\n"
            .to_owned(),
        (_, true) => format!("Nothing has taken {threshold_ms} ms or longer.\n"),
        (_, false) => report(&events),
    };
    ctx.reply().verbatim("txt", &text);
    Ok(())
}

/// What the samples show, and what can be done about it.
fn report(events: &Events) -> String {
    let mut text = String::new();
    for (number, (kind, Samples { samples, max_ms })) in (1..).zip(&events.0) {
        let count = samples.len() as u64;
        let sum: u64 = samples.iter().map(|(_, ms)| ms).sum();
        let mean = sum / count.max(1);
        let away: u64 = samples.iter().map(|(_, ms)| ms.abs_diff(mean)).sum();
        let (first, last) = (samples.front(), samples.back());
        let span_s = match (first, last) {
            (Some((first, _)), Some((last, _))) => last - first,
            _ => 0,
        };
        let line = writeln!(
            text,
            "{number}. {}: {count} seconds with latency spikes (mean {mean} ms, mean deviation {} \
             ms, over {span_s} seconds). Worst of all: {max_ms} ms.",
            kind.name(),
            away / count.max(1),
        );
        line.expect("a string takes everything");
    }
    text.push('\n');
    for kind in events.0.keys() {
        text.push_str(match kind {
            EventKind::Command => {
                "- SLOWLOG GET shows the commands; those over many elements hold their shard up.\n"
            }
            EventKind::FastCommand => {
                "- Commands that are fast by nature were slow: look at the machine (CPU taken \
                 away, swapping, a busy hypervisor).\n"
            }
            EventKind::ExpireCycle => {
                "- Deleting expired keys took longer than its slice: look at the machine, and at \
                 large values that expire.\n"
            }
        });
    }
    text
}

fn histogram(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    answers: Vec<Answer>,
) -> Result<(), CommandError> {
    let sum = CoreStats::sum(&answers).stats;
    let found =
        |number: u16| -> Option<&Histogram> { sum.histograms.get(usize::from(number))?.as_ref() };
    let mut rows: Vec<(&str, u16)> = Vec::new();
    if args.len() == 2 {
        rows.extend(
            registry()
                .all()
                .map(|command| (command.full_name, command.number)),
        );
    }
    for name in args.iter().skip(2) {
        let Some(command) = registry().find_full(name) else {
            continue;
        };
        // A container stands for all of its subcommands.
        let all = std::iter::once(command).chain(&command.subcommands);
        rows.extend(all.map(|command| (command.full_name, command.number)));
    }
    rows.retain(|(_, number)| found(*number).is_some());
    let mut reply = ctx.long_reply();
    reply.map(rows.len());
    for (name, histogram) in rows
        .iter()
        .filter_map(|(name, row)| Some((name, found(*row)?)))
    {
        reply.bulk(name.as_bytes());
        reply.map(2);
        reply.bulk(b"calls");
        reply.integer(histogram.calls() as i64);
        reply.bulk(b"histogram_usec");
        let steps = histogram.cumulative_us();
        reply.map(steps.len());
        for (us, calls) in steps {
            reply.integer(us as i64);
            reply.integer(calls as i64);
        }
        reply.complete()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn graphs_have_a_column_per_sample() {
        let mut samples = Samples::default();
        for (at_s, ms) in [(0, 10), (90, 40), (100, 25)] {
            samples.add(at_s, ms);
        }
        let text = draw("command", &samples, UnixMs(100_000));
        let mut lines = text.lines();
        assert_eq!(
            lines.next(),
            Some("command - high 40 ms, low 10 ms (all time high 40 ms)")
        );
        let rest: Vec<&str> = lines.skip(1).collect();
        assert_eq!(rest, [" #", " |", " |#", "_||", "", "110", "m0s", " s"]);
        let mut flat = Samples::default();
        flat.add(1, 5);
        assert!(draw("x", &flat, UnixMs(0)).contains("\n_\n"));
    }
}
