//! MULTI and what belongs to it.
//!
//! While a MULTI is open, commands are collected in the session; EXEC hands them
//! to the node in one block, which runs it on one shard in one piece or on
//! several under locks (see `shards::order`). The server's own commands in a
//! block run here, one at a time, when the node says that it is their turn.
//!
//! What a client watches is known to the shards of the keys. The session
//! remembers which, and tells them when it watches no more: after EXEC the
//! shards forget by themselves.

use super::{AnyRow, Context, Flow, ROW, RowOf, ServerRow, registry, run};
use crate::core::{Asker, Core};
use crate::session::Session;
use crate::session::connection::Pending;
use crate::session::queue::Queue;
use shards::command::{Args, Arity, Flags, Group, InMulti, KeySpec, Waits, flags};
use shards::order::{Block, Client, Manner, ServerStep};
use shards::resp::{Protocol, Reply};
use shards::{CommandError, Located, ProtocolError};

const PLAIN: Flags = flags::NOSCRIPT.with(flags::LOADING).with(flags::STALE);
const FAST: Flags = PLAIN.with(flags::FAST).with(flags::ALLOW_BUSY);

pub static COMMANDS: &[ServerRow] = &[
    ServerRow {
        name: "multi",
        summary: "Collect the commands that follow, for EXEC.",
        since: "1.2.0",
        complexity: "O(1)",
        group: Group::Transactions,
        waits: Waits::AsItSays,
        arity: Arity::Exactly(1),
        flags: FAST,
        in_multi: InMulti::Runs,
        run: multi,
        ..ROW
    },
    ServerRow {
        name: "exec",
        summary: "Run all that was collected since MULTI, as one.",
        since: "1.2.0",
        complexity: "Depends on commands in the transaction",
        group: Group::Transactions,
        waits: Waits::AsItSays,
        arity: Arity::Exactly(1),
        flags: PLAIN.with(flags::SKIP_SLOWLOG),
        in_multi: InMulti::RunsQueue,
        run: exec,
        ..ROW
    },
    ServerRow {
        name: "discard",
        summary: "Forget all that was collected since MULTI.",
        since: "2.0.0",
        complexity: "O(N), when N is the number of queued commands",
        group: Group::Transactions,
        waits: Waits::AsItSays,
        arity: Arity::Exactly(1),
        flags: FAST,
        in_multi: InMulti::Runs,
        run: discard,
        ..ROW
    },
    ServerRow {
        name: "watch",
        syntax: "key [key ...]",
        summary: "Have the next EXEC do nothing if one of these keys changes before it.",
        since: "2.2.0",
        complexity: "O(1) for every key.",
        group: Group::Transactions,
        waits: Waits::AsItSays,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::every(1, &["RO"])],
        flags: FAST,
        in_multi: InMulti::Runs,
        run: watch,
        ..ROW
    },
    ServerRow {
        name: "unwatch",
        summary: "Watch no key any more.",
        since: "2.2.0",
        complexity: "O(1)",
        group: Group::Transactions,
        waits: Waits::AsItSays,
        arity: Arity::Exactly(1),
        flags: FAST,
        run: unwatch,
        ..ROW
    },
];

/// Blocks that a core keeps for the next MULTI.
const SPARE_BLOCKS: usize = 32;

fn multi(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    if ctx.session().queue.is_some() {
        let text = "ERR MULTI calls can not be nested";
        return Err(CommandError::Static(text));
    }
    let block = ctx.core.spare_blocks.pop().unwrap_or_default();
    let refused = false;
    ctx.session().queue = Some(Box::new(Queue { block, refused }));
    ctx.reply().ok();
    Ok(Flow::Done)
}

fn discard(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    if ctx.session().queue.is_none() {
        return Err(CommandError::Static("ERR DISCARD without MULTI"));
    }
    ctx.core.discard(ctx.key);
    ctx.reply().ok();
    Ok(Flow::Done)
}

fn unwatch(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    ctx.core.unwatch(ctx.key);
    ctx.reply().ok();
    Ok(Flow::Done)
}

/// All earlier requests are over before a key is watched: what they change
/// does not count. What follows waits until every shard knows.
fn watch(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (key, core) = (ctx.key, &mut *ctx.core);
    let connection = &mut *core.connections[key as usize];
    if connection.session.queue.is_some() {
        let text = "ERR WATCH inside MULTI is not allowed";
        return Err(CommandError::Static(text));
    }
    if connection.is_waiting() {
        return Ok(Flow::Later);
    }
    let client = connection.client(key, Pending::Transaction);
    connection.barrier = true;
    let session = &mut connection.session;
    let mut watched = session.watched.take().unwrap_or_default();
    let how = (session.last_command.unwrap_or_default(), session.manner());
    core.node
        .watch(core.now, client, how, args.from(1), &mut watched);
    session.watched = Some(watched);
    core.deliver();
    Ok(Flow::Pending)
}

fn exec(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (key, core) = (ctx.key, &mut *ctx.core);
    let is_monitored = core.is_monitored();
    let connection = &mut *core.connections[key as usize];
    let session = &mut connection.session;
    let Some(queue) = &mut session.queue else {
        return Err(CommandError::Static("ERR EXEC without MULTI"));
    };
    if queue.refused {
        core.discard(key);
        return Err(CommandError::Static(
            "EXECABORT Transaction discarded because of previous errors.",
        ));
    }
    // The block has what is watched from here on, and is asked again if it
    // must wait now.
    queue.block.watched = session.watched.take().or(queue.block.watched.take());
    let owner = core.node.place_block(&queue.block);
    let pending = match owner {
        Some(_) => Pending::Single,
        None => Pending::Transaction,
    };
    let serves = queue.block.has_server_commands();
    // What it runs must be seen before monitors can be told.
    let reports = is_monitored && (serves || queue.block.watched.is_some());
    let manner = session.manner();
    if (serves || reports) && connection.is_waiting() {
        return Ok(Flow::Later);
    }
    let session = &mut connection.session;
    let Some(queue) = session.queue.take() else {
        return Ok(Flow::Done);
    };
    let how = (session.last_command.unwrap_or_default(), manner);
    core.stats.commands += queue.block.len() as u64;
    if reports {
        core.begin_monitored_block(key, (how.0, args), &queue.block);
    } else if is_monitored {
        core.monitor_block(key, &queue.block);
    }
    let connection = &mut *core.connections[key as usize];
    match owner {
        Some(owner) if owner == core.id && (core.shards == 1 || !connection.is_waiting()) => {
            return Ok(exec_here(ctx, how, queue.block, reports));
        }
        Some(owner) => {
            if connection.waits_for(Pending::Transaction) {
                core.node.follow_convoy();
            }
            let client = match reports {
                true => connection.client_of_monitored_block(key, pending),
                false => connection.client(key, pending),
            };
            core.node.exec_there(owner, client, how, queue.block);
        }
        None => {
            let client = match (serves, reports) {
                (true, _) => connection.client_of_block(key),
                (false, true) => connection.client_of_monitored_block(key, pending),
                (false, false) => connection.client(key, pending),
            };
            core.node.exec(core.now, client, how, queue.block);
            core.deliver();
            if serves {
                run_server_steps(core);
                return Ok(Flow::Block);
            }
        }
    }
    Ok(match reports {
        true => Flow::Block,
        false => Flow::Pending,
    })
}

/// All keys are on this core: the block runs now, unless one of them is locked.
fn exec_here(ctx: &mut Context<'_>, how: (u16, Manner), block: Box<Block>, reports: bool) -> Flow {
    let key = ctx.key;
    let Core {
        node,
        connections,
        now,
        ..
    } = &mut *ctx.core;
    let connection = &mut *connections[key as usize];
    let id = connection.session.id;
    let whose = Client { key, id, place: 0 };
    let client = || match reports {
        true => connection.client_of_monitored_block(key, Pending::Single),
        false => connection.client(key, Pending::Single),
    };
    let who = (whose, client);
    let over = node.exec_here(*now, who, how, block, ctx.out);
    let Some(mut block) = over else {
        ctx.core.deliver();
        return match reports {
            true => Flow::Block,
            false => Flow::Pending,
        };
    };
    if reports {
        ctx.core.monitored_block_ran(key, ctx.out);
    }
    let spare_blocks = &mut ctx.core.spare_blocks;
    if spare_blocks.len() < SPARE_BLOCKS {
        block.clear();
        spare_blocks.push(block);
    }
    ctx.core.deliver();
    Flow::Done
}

/// Adds a command to the open MULTI of a client.
///
/// # Errors
/// The queue is full: the client has to go.
pub fn enqueue(
    core: &mut Core,
    key: u32,
    command: &'static AnyRow,
    located: Option<Located>,
    args: Args<'_>,
) -> Result<(), ProtocolError> {
    let limit = core.config.clients.client_query_buffer_limit;
    let Some(queue) = &mut core.connections[key as usize].session.queue else {
        return Ok(());
    };
    let added = match &command.row {
        RowOf::Engine(row) => queue.block.push(command.number, row, located, args),
        RowOf::Server(_) => {
            let apart = command.waits != Waits::Never;
            queue.block.push_server(command.number, apart, args)
        }
    };
    if !added || queue.block.bytes() > limit {
        return Err(ProtocolError::QueryBufferLimit);
    }
    Ok(())
}

/// Whether a command may write, or what it is going to run.
pub fn may_write(session: &Session, command: &AnyRow) -> bool {
    match &session.queue {
        Some(_) if command.in_multi == InMulti::RunsQueue => {
            queued(session, command).any(|command| command.may_write)
        }
        _ => command.may_write,
    }
}

/// What a command is going to run beside itself: EXEC, what an open MULTI has queued.
pub fn queued(session: &Session, command: &AnyRow) -> impl Iterator<Item = &'static AnyRow> {
    let queue = session.queue.as_ref();
    let queue = queue.filter(|_| command.in_multi == InMulti::RunsQueue);
    let rows = queue.into_iter().flat_map(|queue| queue.block.rows());
    rows.filter_map(|row| registry().by_number(row))
}

/// A command was refused before it ran: an open MULTI cannot be executed any
/// more. For EXEC itself it is over; then this is the error instead.
pub fn refused(
    core: &mut Core,
    key: u32,
    row: Option<&AnyRow>,
    error: &CommandError,
) -> Option<CommandError> {
    if row.is_some_and(|row| row.in_multi == InMulti::RunsQueue) {
        core.discard(key);
        let error = error.to_bytes();
        let error = error.strip_prefix(b"ERR ").unwrap_or(&error);
        let before = b"EXECABORT Transaction discarded because of: ";
        return Some(CommandError::Owned([&before[..], error].concat().into()));
    }
    if let Some(queue) = &mut core.connections[key as usize].session.queue {
        queue.refused = true;
    }
    None
}

/// Runs the commands of the server whose turn has come in a block.
pub fn run_server_steps(core: &mut Core) {
    while let Some(step) = core.node.server_step() {
        run_server_step(core, &step);
    }
}

fn run_server_step(core: &mut Core, step: &ServerStep) {
    let asker = Asker {
        key: step.client.key,
        id: step.client.id,
        row: step.row,
        within: Some(step.ticket),
    };
    core.monitor_up_to_step(asker.key);
    assert!(
        core.client(asker.key, asker.id).is_some(),
        "a session stays until its block is over"
    );
    let command = registry().by_number(step.row);
    let Some(RowOf::Server(row)) = command.map(|command| &command.row) else {
        return core.reply_now(asker, Vec::new());
    };
    let args = step.args.args();
    if args.is_empty() {
        let mut out = Vec::new();
        Reply::new(&mut out, Protocol::Resp2).error(&CommandError::OutOfMemory);
        return core.reply_now(asker, out);
    }
    run::run(core, asker, row, args);
}
