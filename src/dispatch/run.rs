//! One request: check, then run it here, send it across, or queue it for EXEC.

use super::group::Parsed;
use super::http::{drop_http, is_http};
use super::{Step, protocol_error};
use crate::admission::admit;
use crate::commands::run::{Went, run as run_server};
use crate::commands::{AnyRow, RowOf, ServerRow, transaction};
use crate::core::{Asker, Core};
use crate::runtime::ticks;
use crate::session::Monitoring;
use crate::session::connection::Pending;
use shards::command::{Args, InMulti, Run, Waits, flags};
use shards::order::{Call, Placement};
use shards::resp::Reply;
use shards::{CommandError, Located, Row, ShardId};

/// Runs one request, or finds that it must wait.
#[inline]
pub(super) fn run(core: &mut Core, key: u32, parsed: &Parsed, args: Args<'_>) -> Step {
    let connection = &*core.connections[key as usize];
    if !connection.may_execute() {
        return Step::Stall;
    }
    let command = match admit(core, &connection.session, parsed.command, args) {
        Ok(command) => command,
        Err(_) if parsed.command.is_none() && is_http(&args[0]) => {
            drop_http(core, key);
            return Step::Stall;
        }
        Err(refused) => {
            refuse(core, key, refused.row, &refused.error);
            return Step::Next;
        }
    };
    let queues = connection.session.queue.is_some();
    if core.has_detours
        && let Some(step) = detour(core, key, command, args)
    {
        return step;
    }
    if queues && command.in_multi == InMulti::IsQueued {
        enqueue(core, key, command, parsed.located, args);
        return Step::Next;
    }
    match &command.row {
        RowOf::Engine(row) => {
            if engine(core, key, command, row, parsed, args) == Step::Stall {
                return Step::Stall;
            }
        }
        RowOf::Server(row) => {
            if overtakes(core, key, command) {
                return Step::Stall;
            }
            match serve(core, key, command, row, args) {
                Step::Next if command.flags.has(flags::KEEPS_CACHING) => {}
                Step::Next => core.connections[key as usize].session.caching_over(),
                Step::Stall => return Step::Stall,
                Step::Within => return Step::Next,
            }
        }
    }
    core.connections[key as usize].session.command_done();
    Step::Next
}

/// What a request that has been admitted passes while somebody pauses or monitors clients;
/// what becomes of it, if it does not go on.
#[cold]
fn detour(core: &mut Core, key: u32, command: &'static AnyRow, args: Args<'_>) -> Option<Step> {
    if core.connections[key as usize].session.monitoring == Monitoring::Yes {
        // Lines about what it has sent before come before this reply.
        core.tell_monitors();
    }
    let session = &core.connections[key as usize].session;
    let is_about_keys = command.may_write || command.flags.has(flags::READONLY);
    if session.monitoring == Monitoring::Yes && is_about_keys {
        // To Redis, a monitor is a kind of replica.
        let error = CommandError::Static("ERR Replica can't interact with the keyspace");
        refuse(core, key, Some(command), &error);
        return Some(Step::Next);
    }
    if let Some(pause) = &core.pause
        && pause.holds(transaction::may_write(session, command))
    {
        core.connections[key as usize].paused = true;
        core.paused.push(key);
        return Some(Step::Stall);
    }
    let is_queued = session.queue.is_some() && command.in_multi == InMulti::IsQueued;
    let who = (key, session.id);
    if let RowOf::Engine(row) = &command.row
        && !is_queued
        && !waits_alone(core, key, row, args)
    {
        core.monitor(who, command.number, args, &[]);
    }
    None
}

/// Whether a request cannot be sent before earlier ones are answered: one that goes from
/// shard to shard takes another path than requests and transactions.
fn waits_alone(core: &mut Core, key: u32, row: &'static Row, args: Args<'_>) -> bool {
    matches!(row.run, Run::ByCursor(_))
        && core.connections[key as usize].is_waiting()
        && matches!(core.node.place(row, args), Placement::Several(_))
}

/// A command for the open MULTI.
#[inline]
fn enqueue(
    core: &mut Core,
    key: u32,
    command: &'static AnyRow,
    located: Option<Located>,
    args: Args<'_>,
) {
    match transaction::enqueue(core, key, command, located, args) {
        Ok(()) => {
            let connection = &mut core.connections[key as usize];
            let protocol = connection.session.protocol;
            let out = connection.reply_buffer();
            let before = out.len();
            Reply::new(out, protocol).simple("QUEUED");
            connection.reply_written(before);
            connection.session.command_done();
        }
        Err(full) => protocol_error(core, key, full),
    }
}

/// Runs a command of the engine: here, on another core, or as a transaction.
#[inline]
fn engine(
    core: &mut Core,
    key: u32,
    command: &'static AnyRow,
    row: &'static Row,
    parsed: &Parsed,
    args: Args<'_>,
) -> Step {
    let placement = match parsed.located {
        Some(located) if parsed.single => Placement::One(core.node.owner_of(&located)),
        _ => core.node.place(row, args),
    };
    let connection = &mut *core.connections[key as usize];
    let (pending, owner) = match placement {
        Placement::One(owner) => (Pending::Single, Some(owner)),
        Placement::Several(_) => (Pending::Transaction, None),
    };
    // The steps of a walk take another path than requests and transactions.
    let alone = owner.is_none() && matches!(row.run, Run::ByCursor(_));
    if alone && connection.is_waiting() {
        // Trying again before the replies are in would be in vain, for ever.
        connection.barrier = true;
        return Step::Stall;
    }
    let session = &mut connection.session;
    session.last_command = Some(command.number);
    let caller = match &session.tracking {
        None => None,
        Some(_) => session.caller(command.flags),
    };
    let call = Call {
        handler: row.run.whole(),
        row: command.number,
        db: session.db,
        protocol: session.protocol,
        no_touch: session.no_touch,
        caller,
        alone: true,
        write: command.flags.has(flags::WRITE),
        keys: command.keys,
        located: parsed.located,
    };
    // What its client has under way elsewhere comes first.
    let at_once = core.shards == 1 || !connection.is_waiting();
    core.stats.commands += 1;
    match placement {
        Placement::One(owner) if at_once && owner == core.id => here(core, key, &call, args),
        Placement::One(owner) => {
            core.lap = 0;
            if connection.waits_for(Pending::Transaction) {
                core.node.follow_convoy();
            }
            across(core, key, owner, call, args);
        }
        Placement::Several(owners) => {
            core.lap = 0;
            let client = connection.client(key, pending);
            connection.barrier = alone;
            core.node.begin(core.now, client, call, row, args, owners);
            core.deliver();
        }
    }
    if command.flags.has(flags::BLOCKING) {
        core.connections[key as usize].block(owner);
        core.deliver();
    }
    Step::Next
}

/// Replies an error to a request that did not run.
#[cold]
fn refuse(core: &mut Core, key: u32, row: Option<&AnyRow>, error: &CommandError) {
    if let Some(row) = row {
        core.stats.rows[usize::from(row.number)].rejected += 1;
    }
    let instead = transaction::refused(core, key, row, error);
    let error = instead.as_ref().unwrap_or(error);
    core.stats.count_error(&error.to_bytes());
    let connection = &mut core.connections[key as usize];
    let protocol = connection.session.protocol;
    let out = connection.reply_buffer();
    let before = out.len();
    Reply::new(out, protocol).error(error);
    connection.reply_written(before);
    connection.session.command_done();
    connection.session.caching_over();
    core.mark_dirty(key);
}

/// All keys are on this core: a function call that writes the reply. Only if
/// a transaction holds one of them does the request wait.
#[inline]
fn here(core: &mut Core, key: u32, call: &Call, args: Args<'_>) {
    let connection = &mut *core.connections[key as usize];
    if !core.node.is_unlocked() && core.node.must_wait(call, args) {
        let client = connection.client(key, Pending::Single);
        core.node.park(core.now, client, *call, args);
        core.lap = 0;
        return;
    }
    let began = match core.lap {
        0 => ticks::now(),
        lap => lap,
    };
    if !connection.has_buffer() {
        connection.lend_buffer(core.spare_buffers.take());
    }
    let out = connection.reply_buffer();
    let before = out.len();
    match core.node.apply(core.now, call, args, out) {
        Ok(()) => {}
        Err(CommandError::Blocked(blocked)) => {
            let client = connection.client(key, Pending::Single);
            core.node.wait(client, *call, args, &blocked);
            core.lap = 0;
            return;
        }
        Err(CommandError::Long) => {
            let client = connection.client(key, Pending::Single);
            core.node.reply_at_length(core.now, client, *call, args);
            core.deliver();
            core.lap = 0;
            return;
        }
        Err(CommandError::TooLong) => connection.reply_too_long(&mut core.stats),
        Err(error) => {
            core.stats.count_error(&error.to_bytes());
            core.stats.rows[usize::from(call.row)].failed += 1;
        }
    }
    connection.reply_written(before);
    let id = connection.session.id;
    let ended = ticks::now();
    core.lap = ended;
    let took = ended.saturating_sub(began);
    core.stats.ran(call.row, ticks::to_ns(took));
    if took >= core.noteworthy_ticks {
        core.secret.clear();
        core.note(key, id, call.row, took, args);
    }
    if core.node.has_appeared() {
        core.node.serve(core.now);
        core.deliver();
        core.lap = 0;
    }
}

/// All keys are on one core, which is not to run it right now: copied once into its
/// batch.
#[inline]
fn across(core: &mut Core, key: u32, owner: ShardId, call: Call, args: Args<'_>) {
    let connection = &mut core.connections[key as usize];
    let client = connection.client(key, Pending::Single);
    core.node.send(owner, client, call, args);
}

/// Whether a server command would come before what its client has running elsewhere,
/// whose batch has not even left, although it is to wait for it.
fn overtakes(core: &mut Core, key: u32, command: &AnyRow) -> bool {
    let connection = &mut core.connections[key as usize];
    let overtakes = connection.is_waiting() && command.waits == Waits::ForEarlier;
    connection.barrier |= overtakes;
    overtakes
}

/// A command of the server.
#[inline]
fn serve(
    core: &mut Core,
    key: u32,
    command: &'static AnyRow,
    row: &'static ServerRow,
    args: Args<'_>,
) -> Step {
    core.stats.commands += 1;
    core.connections[key as usize].session.last_command = Some(command.number);
    let asker = Asker::request(core, key, command.number);
    match run_server(core, asker, row, args) {
        Went::On => Step::Next,
        Went::Within => Step::Within,
        Went::Later => {
            core.stats.commands -= 1;
            core.connections[key as usize].barrier = true;
            Step::Stall
        }
        Went::NextTurn => {
            core.stats.commands -= 1;
            Step::Stall
        }
        Went::Engine(row) => instead(core, key, command, row, args.from(1)),
    }
}

/// Runs a row of the engine for a command of the server.
fn instead(
    core: &mut Core,
    key: u32,
    command: &'static AnyRow,
    row: &'static Row,
    args: Args<'_>,
) -> Step {
    // It is counted where it runs.
    core.stats.commands -= 1;
    let parsed = Parsed {
        start: 0,
        spans_end: 0,
        command: Some(command),
        located: None,
        single: false,
    };
    engine(core, key, command, row, &parsed, args)
}
