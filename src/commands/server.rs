//! Commands about the server as a whole: CONFIG, TIME.

use super::info::reset_here;
use super::{Context, Flow, ServerRow, ok};
use crate::config::{self, Config};
use crate::core::{Answer, Core};
use crate::runtime::boot::raise_descriptor_limit;
use crate::runtime::log;
use crate::snapshots::saving;
use shards::command::{Args, Arity, Flags, Group, flags};
use shards::{CommandError, Settings, ShardId};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

const ADMIN: Flags = flags::ADMIN
    .with(flags::NOSCRIPT)
    .with(flags::LOADING)
    .with(flags::STALE);

pub static COMMANDS: &[ServerRow] = &[
    ServerRow {
        name: "config",
        summary: "A container for commands about the configuration.",
        since: "2.0.0",
        complexity: "Depends on subcommand.",
        arity: Arity::AtLeast(2),
        flags: flags::NONE,
        subcommands: CONFIG,
        ..ROW
    },
    ServerRow {
        name: "time",
        summary: "The server's clock.",
        since: "2.6.0",
        arity: Arity::Exactly(1),
        flags: flags::LOADING.with(flags::STALE).with(flags::FAST),
        tips: &["nondeterministic_output"],
        run: time,
        ..ROW
    },
];

/// What the rows have in common.
const ROW: ServerRow = ServerRow {
    complexity: "O(1)",
    group: Group::Server,
    arity: Arity::Exactly(2),
    flags: ADMIN,
    ..super::ROW
};

static CONFIG: &[ServerRow] = &[
    ServerRow {
        name: "config|get",
        syntax: "parameter [parameter ...]",
        summary: "The values of directives, by name or pattern.",
        since: "2.0.0",
        complexity: "O(N) when N is the number of configuration parameters provided.",
        arity: Arity::AtLeast(3),
        history: &[("7.0.0", "Takes several patterns.")],
        run: config_get,
        ..ROW
    },
    ServerRow {
        name: "config|set",
        syntax: "parameter value [parameter value ...]",
        summary: "Change directives: all of them or none.",
        since: "2.0.0",
        complexity: "O(N) when N is the number of configuration parameters provided.",
        arity: Arity::AtLeast(4),
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        history: &[("7.0.0", "Sets several parameters.")],
        run: config_set,
        ..ROW
    },
    ServerRow {
        name: "config|resetstat",
        summary: "Begin the statistics of INFO anew.",
        since: "2.0.0",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        run: config_resetstat,
        ..ROW
    },
    ServerRow {
        name: "config|rewrite",
        summary: "Write the configuration back to its file.",
        since: "2.8.0",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        run: config_rewrite,
        ..ROW
    },
    ServerRow {
        name: "config|help",
        summary: "Describe the subcommands.",
        since: "5.0.0",
        flags: flags::LOADING.with(flags::STALE),
        run: config_help,
        ..ROW
    },
];

fn config_help(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    const HELP: &[&str] = &[
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
    ];
    ctx.help("CONFIG", HELP);
    Ok(Flow::Done)
}

fn config_get(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let pairs = ctx.core.config.get(args.iter().skip(2));
    let mut reply = ctx.reply();
    reply.map(pairs.len());
    for (name, value) in &pairs {
        reply.bulk(name);
        reply.bulk(value);
    }
    Ok(Flow::Done)
}

fn config_set(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    for at in (2..args.len()).step_by(2) {
        if config::is_secret(&args[at]) {
            ctx.redact(at + 1);
        }
    }
    let words: Vec<&[u8]> = args.iter().skip(2).collect();
    let pairs: Vec<_> = words
        .chunks_exact(2)
        .map(|pair| (pair[0], pair[1]))
        .collect();
    let local = ctx.is_local();
    let change = |config: &mut Config| {
        let mut wanted = config.clone();
        wanted.set(&pairs, local)?;
        if wanted.network.maxclients != config.network.maxclients {
            raise_descriptor_limit(&wanted).map_err(too_many_clients)?;
        }
        *config = wanted;
        Ok::<(), CommandError>(())
    };
    let new = ctx.core.shared.config.change(change)?;
    Ok(Flow::ask_all(move |core| configure_here(core, &new), ok))
}

fn too_many_clients(possible: u64) -> CommandError {
    let reason = format!(
        "The operating system is not able to handle the specified number of clients, try with \
         {possible}"
    );
    config::refused(b"maxclients", &reason.into())
}

/// Has this core take over a configuration, unless it has a newer one.
fn configure_here(core: &mut Core, new: &Config) -> Answer {
    if new.revision <= core.config.revision {
        return Answer::Done;
    }
    // What the whole process has only one of.
    if core.id == ShardId(0) {
        log::set_level(new.logs.loglevel);
        if new.server.dir != core.config.server.dir
            && let Err(error) = std::env::set_current_dir(&new.server.dir)
        {
            tracing::warn!(%error, dir = %new.server.dir.display(), "cannot enter the folder");
        }
    }
    if core.has_notices() {
        // As it was configured when they came about.
        core.publish_notices();
    }
    core.config = new.clone();
    // No directive, but DEBUG has a say in it.
    let slices = core.node.shard_mut().settings.slices;
    core.node.shard_mut().settings = Settings {
        slices,
        ..new.engine.clone()
    };
    core.notify_as_configured();
    core.time_as_configured();
    saving::hinder(core);
    Answer::Done
}

fn config_resetstat(_: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    Ok(Flow::ask_all(reset_here, ok))
}

fn config_rewrite(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    let Some(path) = ctx.core.config.config_file.clone() else {
        let text = "ERR The server is running without a config file";
        return Err(CommandError::Static(text));
    };
    let shared = Arc::clone(&ctx.core.shared);
    let rewrite = move || match shared.config.rewrite(&path) {
        Ok(()) => Answer::Done,
        Err(reason) => Answer::Text(reason.as_bytes().to_vec()),
    };
    Ok(Flow::Wait(Box::new(rewrite), rewrite_finish))
}

fn rewrite_finish(
    ctx: &mut Context<'_>,
    _: Args<'_>,
    answers: Vec<Answer>,
) -> Result<(), CommandError> {
    if let Some(Answer::Text(reason)) = answers.first() {
        tracing::warn!(reason = %String::from_utf8_lossy(reason), "CONFIG REWRITE failed");
        return Err(CommandError::quoting(
            "ERR Rewriting config file: ",
            reason,
            "",
        ));
    }
    ctx.reply().ok();
    Ok(())
}

fn time(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    // A clock before 1970 shows as 1970.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let mut reply = ctx.reply();
    reply.array(2);
    reply.bulk_integer(now.as_secs() as i64);
    reply.bulk_integer(i64::from(now.subsec_micros()));
    Ok(Flow::Done)
}
