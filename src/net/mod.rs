//! Sockets: what the kernel reports, and what is handed to it.
//!
//! The only module that knows when a connection begins and ends. A connection
//! stays in the slab until the kernel has no operation left for it, so that a
//! token always means the same socket.

pub mod driver;
pub mod listener;
mod newcomers;
mod pace;
mod upkeep;

use crate::commands::{monitor, tracking};
use crate::core::{CROWD, Core};
use crate::dispatch::{self, Scratch};
use crate::runtime::ring::{BUFFER_BYTES, Completion, End};
use crate::session::connection::{BACKLOG_BYTES_MAX, Connection, Phase, TURN_BACKLOG_BYTES};
use shards::order::Unblock;
use shards::replies::Piece;
use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

/// Acts on one completion.
#[inline]
pub fn complete(
    core: &mut Core,
    scratch: &mut Scratch,
    listeners: &mut listener::Listeners,
    completion: Completion,
) {
    match completion {
        Completion::Received {
            token,
            buffer,
            more,
        } => {
            received(core, scratch, token, buffer.bytes(), more);
            core.ring.recycle(buffer);
        }
        Completion::Sent {
            token,
            buffer,
            sent,
        } => sent_to(core, token, buffer, sent),
        Completion::ReceiveEnded { token, end } => receive_ended(core, token, end),
        Completion::WatchEnded { token, end } => watch_ended(core, token, end),
        Completion::Accepted {
            token,
            socket,
            more,
        } => {
            match socket {
                Ok(socket) => listeners.newcomers.take(core, socket),
                Err(error) => tracing::warn!(%error, "accepting failed"),
            }
            if !more {
                listeners.rearm_later(token);
            }
        }
        Completion::Rung => core.activity.rung(),
    }
}

#[inline]
fn received(core: &mut Core, scratch: &mut Scratch, key: u32, bytes: &[u8], more: bool) {
    let connection = &mut core.connections[key as usize];
    connection.received(bytes.len() == BUFFER_BYTES, more);
    core.stats.reads += 1;
    core.activity.received(&mut connection.share);
    if connection.phase == Phase::Open {
        dispatch::receive(core, scratch, key, bytes);
        let connection = &mut core.connections[key as usize];
        if connection.backlog()
            > input_max(connection, core.config.clients.client_query_buffer_limit)
            && connection.receiving
            && !connection.stopping_receive
        {
            // The client is ahead of us: its kernel buffer takes the rest.
            connection.stopping_receive = true;
            if connection.stalled && connection.may_execute() {
                connection.floods();
            }
            core.ring.stop_receiving(key);
        }
    }
    core.mark_dirty(key);
}

/// Input bytes from which on a connection is no longer read. An incomplete
/// request must be able to reach the query buffer limit (and be refused). Who is blocked
/// may stay so for ever, and its end may stand behind all that it has sent: it is read up
/// to that limit, too.
fn input_max(connection: &Connection, query_buffer_limit: usize) -> usize {
    if !connection.stalled || connection.is_blocked() {
        query_buffer_limit.saturating_add(1)
    } else if connection.may_execute() {
        TURN_BACKLOG_BYTES
    } else {
        BACKLOG_BYTES_MAX
    }
}

fn sent_to(core: &mut Core, key: u32, buffer: Piece, sent: io::Result<usize>) {
    let connection = &mut core.connections[key as usize];
    connection.sent(core.turn);
    core.stats.writes += 1;
    match sent {
        Ok(bytes) if bytes == buffer.len() => core.stats.output_bytes += bytes as u64,
        // The client is gone; what it did not read, it will not read.
        Ok(_) | Err(_) => {
            connection.drop_output();
            connection.close();
        }
    }
    if let Piece::Owned(buffer) = buffer {
        core.spare_buffers.keep(buffer);
    }
    core.mark_dirty(key);
}

fn receive_ended(core: &mut Core, key: u32, end: End) {
    let connection = &mut core.connections[key as usize];
    connection.receiving = false;
    connection.stopping_receive = false;
    match end {
        End::Again => {}
        // What it has said is still answered.
        End::SaidAll => (connection.said_all, connection.ends) = (true, true),
        // Nobody is there to be answered.
        End::Broken => connection.close(),
    }
    core.mark_dirty(key);
}

fn watch_ended(core: &mut Core, key: u32, end: End) {
    let connection = &mut core.connections[key as usize];
    connection.watching = false;
    match end {
        End::Again => {}
        End::SaidAll => connection.ends = true,
        End::Broken => connection.close(),
    }
    core.mark_dirty(key);
}

/// The end of a turn: sends what there is to send, goes on with what waited,
/// closes what is to be closed.
#[inline]
pub fn flush(core: &mut Core, scratch: &mut Scratch) {
    if core.has_notices() {
        core.publish_notices();
    }
    core.turn = core.turn.wrapping_add(1);
    core.told = 0;
    core.tell_monitors();
    for key in std::mem::take(&mut core.next_turn) {
        if core.connections.contains(key as usize) {
            core.mark_dirty(key);
        }
    }
    let mut dirty = std::mem::take(&mut core.dirty);
    // Going on with waiting requests may mark connections anew.
    let mut index = 0;
    while index < dirty.len() {
        flush_one(core, scratch, dirty[index]);
        index += 1;
        dirty.append(&mut core.dirty);
    }
    // A share of the crowd each turn, so that nobody else waits for all of it.
    for _ in 0..CROWD {
        let Some(key) = core.crowd.pop_front() else {
            break;
        };
        if let Some(connection) = core.connections.get_mut(key as usize)
            && std::mem::take(&mut connection.in_crowd)
        {
            flush_one(core, scratch, key);
        }
    }
    dirty.clear();
    dirty.append(&mut core.dirty);
    core.dirty = dirty;
}

#[inline]
fn flush_one(core: &mut Core, scratch: &mut Scratch, key: u32) {
    let Some(connection) = core.connections.get_mut(key as usize) else {
        return;
    };
    connection.dirty = false;
    let max = core.output_max[connection.class as usize];
    if connection.output_bytes() > max.soft || connection.over_soft_limit_since.is_some() {
        upkeep::judge_output(core, key);
    }
    let connection = &mut core.connections[key as usize];
    if !connection.is_in_flight() && connection.has_output() && connection.phase != Phase::Closed {
        if connection.holds_back() {
            if !std::mem::replace(&mut connection.holding, true) {
                core.holding.push(key);
            }
        } else {
            let buffer = connection.take_output();
            connection.session.active_at = core.now;
            let soon = connection.sends(core.turn, buffer.len());
            core.ring.send(key, connection.socket.as_fd(), buffer, soon);
        }
    }
    if let Some(ticket) = connection.wants_more() {
        core.node.ask(core.now, ticket);
        core.deliver();
    }
    let connection = &mut core.connections[key as usize];
    if connection.stalled && connection.may_execute() {
        if connection.allowance(core.turn) == 0 {
            core.next_turn.push(key);
        } else {
            dispatch::resume(core, scratch, key);
        }
    }
    let connection = &mut core.connections[key as usize];
    if connection.waits_for_reader() {
        upkeep::look_later(core, key);
    }
    let connection = &mut core.connections[key as usize];
    if connection.phase == Phase::Open && connection.is_over() {
        connection.phase = Phase::Closing;
        connection.paused = false;
    }
    give_up_waiting(core, key);
    let connection = &mut core.connections[key as usize];
    match connection.phase {
        Phase::Open => receive_again(core, key),
        Phase::Closing => {
            if !connection.is_in_flight() && !connection.has_output() && !connection.is_waiting() {
                connection.close();
            }
        }
        Phase::Closed => {}
    }
    let connection = &mut core.connections[key as usize];
    if connection.phase == Phase::Closed {
        for ticket in connection.take_flows() {
            core.node.drop_reply(core.now, ticket);
        }
        core.deliver();
        // Its place may be another's next.
        core.stop_listening(key);
        monitor::end(core, key);
    }
    let connection = &mut core.connections[key as usize];
    if !connection.receiving && connection.is_unwatched() {
        connection.watching = true;
        core.ring.watch(key, connection.socket.as_fd());
    }
    if connection.phase == Phase::Closed {
        let_client_go(core, key);
    }
}

/// A closed connection no longer counts as a client unless a block runs on it or a shard
/// may still serve it, and is removed once the kernel has no more to do with it either.
fn let_client_go(core: &mut Core, key: u32) {
    let connection = &mut core.connections[key as usize];
    if !connection.is_released() {
        return;
    }
    if std::mem::take(&mut connection.counted) {
        core.shared.clients.fetch_sub(1, Ordering::Relaxed);
        tracking::untrack(core, key);
    }
    let connection = &mut core.connections[key as usize];
    if !connection.receiving && !connection.watching && !connection.is_in_flight() {
        core.discard(key);
        core.connections.remove(key as usize);
    }
}

/// A client that has gone, or has said all, does not wait in a blocking command: nobody
/// would be there to take what it waits for. One that has only ended its side of the
/// stream is told what it asks for if that is on its way: before it is known to wait it
/// may have been served, and even then it may be served at this moment. So the answer,
/// which is empty if it was not, is awaited.
#[inline]
fn give_up_waiting(core: &mut Core, key: u32) {
    let connection = &mut core.connections[key as usize];
    let Some((client, owner)) = connection.blocked(key) else {
        return;
    };
    if connection.killed {
        connection.close();
    }
    let is_gone = connection.phase == Phase::Closed;
    if is_gone || connection.ends && connection.is_parked() {
        if !is_gone {
            connection.phase = Phase::Closing;
        }
        connection.unblock();
        core.node.unblock(client, owner, Unblock::Gone);
        core.deliver();
    }
}

/// Has the kernel receive again what it was told to leave alone, once there is room.
#[inline]
fn receive_again(core: &mut Core, key: u32) {
    let connection = &mut core.connections[key as usize];
    if connection.receiving || connection.stopping_receive || connection.said_all {
        return;
    }
    let most = input_max(connection, core.config.clients.client_query_buffer_limit);
    let is_blocked = connection.is_blocked();
    if is_blocked && connection.backlog() > most {
        core.stats.query_limit_disconnections += 1;
        connection.close();
        return core.mark_dirty(key);
    }
    // Who waits, for whatever time, is received from all the same: its end may be hidden
    // behind much that it has sent.
    let in_bulk = connection.in_bulk() && !is_blocked;
    let most = match (connection.stalled, in_bulk) {
        // One buffer a turn is all that it may have executed.
        (true, true) => BUFFER_BYTES,
        // Not at the first byte of room: stopping and starting cost, too.
        (true, false) if !is_blocked => most / 2,
        _ => most,
    };
    if connection.backlog() > most {
        return;
    }
    connection.receiving = true;
    if in_bulk && connection.backlog() <= BUFFER_BYTES {
        core.ring.receive_once(key, connection.socket.as_fd());
    } else {
        core.ring.receive(key, connection.socket.as_fd());
    }
}

/// Replies that were held back for others are not held back beyond a tick.
fn let_go(core: &mut Core) {
    for key in std::mem::take(&mut core.holding) {
        if let Some(connection) = core.connections.get_mut(key as usize) {
            connection.holding = false;
            connection.impatient = connection.is_waiting();
            core.mark_dirty(key);
        }
    }
}
