//! ACL: who the client is. There is one user yet, `default`.

use super::{Context, Flow, ServerRow};
use shards::CommandError;
use shards::command::{Args, Arity, Group, flags};

pub static COMMANDS: &[ServerRow] = &[
    ServerRow {
        name: "acl",
        summary: "A container for commands about users.",
        complexity: "Depends on subcommand.",
        arity: Arity::AtLeast(2),
        flags: flags::NONE,
        subcommands: SUBCOMMANDS,
        ..ROW
    },
    ServerRow {
        name: "role",
        summary: "The part of this server in replication.",
        since: "2.8.12",
        arity: Arity::Exactly(1),
        flags: flags::NOSCRIPT
            .with(flags::LOADING)
            .with(flags::STALE)
            .with(flags::FAST),
        categories: &["@admin", "@dangerous"],
        run: role,
        ..ROW
    },
];

/// What the rows have in common.
const ROW: ServerRow = ServerRow {
    since: "6.0.0",
    complexity: "O(1)",
    group: Group::Server,
    arity: Arity::Exactly(2),
    flags: flags::LOADING.with(flags::STALE),
    ..super::ROW
};

static SUBCOMMANDS: &[ServerRow] = &[
    ServerRow {
        name: "acl|whoami",
        summary: "The user of this connection.",
        flags: flags::NOSCRIPT.with(flags::LOADING).with(flags::STALE),
        run: whoami,
        ..ROW
    },
    ServerRow {
        name: "acl|help",
        summary: "Describe the subcommands.",
        run: help,
        ..ROW
    },
];

fn help(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    ctx.help(
        "ACL",
        &["WHOAMI", "    Return the current connection username."],
    );
    Ok(Flow::Done)
}

fn whoami(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    ctx.reply().bulk(b"default");
    Ok(Flow::Done)
}

/// Clients ask for it to find the primary.
fn role(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    let mut reply = ctx.reply();
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0);
    reply.array(0);
    Ok(Flow::Done)
}
