//! Sockets: what the kernel reports, and what is handed to it.
//!
//! The only module that knows when a connection begins and ends. A connection
//! stays in the slab until the kernel has no operation left for it, so that a
//! token always means the same socket.

pub mod driver;
pub mod listener;
mod pace;
mod upkeep;

use crate::core::Core;
use crate::dispatch::{self, Scratch};
use crate::runtime::ring::{BUFFER_BYTES, Completion};
use crate::session::Session;
use crate::session::connection::{BACKLOG_BYTES_MAX, Connection, Phase, TURN_BACKLOG_BYTES};
use shards::order::Unblock;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
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
        Completion::ReceiveEnded { token, starved } => receive_ended(core, token, starved),
        Completion::Accepted {
            token,
            socket,
            more,
        } => {
            match socket {
                Ok(socket) => accepted(core, socket),
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
    connection.receiving = more;
    core.stats.reads += 1;
    connection.note_received(bytes.len() == BUFFER_BYTES);
    core.activity.received(&mut connection.share);
    if connection.phase == Phase::Open {
        dispatch::receive(core, scratch, key, bytes);
        let connection = &mut core.connections[key as usize];
        if connection.backlog() > input_max(connection, core.config.client_query_buffer_limit)
            && connection.receiving
            && !connection.pausing
        {
            // The client is ahead of us: its kernel buffer takes the rest.
            connection.pausing = true;
            if connection.stalled && connection.may_execute() {
                connection.floods();
            }
            core.ring.stop_receiving(key);
        }
    }
    core.mark_dirty(key);
}

/// Input bytes from which on a connection is no longer read. An incomplete
/// request must be able to reach the query buffer limit (and be refused).
fn input_max(connection: &Connection, query_buffer_limit: usize) -> usize {
    if connection.stalled {
        if connection.may_execute() {
            TURN_BACKLOG_BYTES
        } else {
            BACKLOG_BYTES_MAX
        }
    } else {
        query_buffer_limit.saturating_add(1)
    }
}

fn sent_to(core: &mut Core, key: u32, buffer: Vec<u8>, sent: io::Result<usize>) {
    let connection = &mut core.connections[key as usize];
    connection.in_flight = 0;
    core.stats.writes += 1;
    match sent {
        Ok(bytes) if bytes == buffer.len() => core.stats.output_bytes += bytes as u64,
        // The client is gone; what it did not read, it will not read.
        Ok(_) | Err(_) => {
            connection.drop_output();
            connection.close();
        }
    }
    core.spare_buffers.keep(buffer);
    core.mark_dirty(key);
}

fn receive_ended(core: &mut Core, key: u32, starved: bool) {
    let connection = &mut core.connections[key as usize];
    connection.receiving = false;
    if !starved && !connection.pausing && connection.phase == Phase::Open {
        // The client has said all. What it has said is still answered.
        connection.said_all = true;
    }
    connection.pausing = false;
    core.mark_dirty(key);
}

/// The end of a turn: sends what there is to send, goes on with what waited,
/// closes what is to be closed.
#[inline]
pub fn flush(core: &mut Core, scratch: &mut Scratch) {
    core.turn = core.turn.wrapping_add(1);
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
    dirty.clear();
    core.dirty = dirty;
}

#[inline]
fn flush_one(core: &mut Core, scratch: &mut Scratch, key: u32) {
    let Some(connection) = core.connections.get_mut(key as usize) else {
        return;
    };
    connection.dirty = false;
    if connection.output_bytes() > core.node.shard.settings.reply_max.bytes {
        connection.close_at_limit(&mut core.stats);
    }
    if connection.in_flight == 0 && connection.has_output() && connection.phase != Phase::Closed {
        if connection.holds_back() {
            if !std::mem::replace(&mut connection.holding, true) {
                core.holding.push(key);
            }
        } else {
            let buffer = connection.take_output();
            connection.in_flight = buffer.len();
            core.ring.send(key, connection.socket.as_fd(), buffer);
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
    if connection.said_all && !connection.stalled && connection.phase == Phase::Open {
        connection.phase = Phase::Closing;
    }
    give_up_waiting(core, key);
    let connection = &mut core.connections[key as usize];
    match connection.phase {
        Phase::Open => receive_again(core, key),
        Phase::Closing => {
            if connection.in_flight == 0 && !connection.has_output() && !connection.is_waiting() {
                connection.close();
            }
        }
        Phase::Closed => {
            for ticket in connection.take_flows() {
                core.node.drop_reply(core.now, ticket);
            }
            core.deliver();
        }
    }
    let connection = &mut core.connections[key as usize];
    if connection.phase == Phase::Closed
        && !connection.receiving
        && connection.in_flight == 0
        && !connection.runs_block
    {
        core.discard(key);
        core.connections.remove(key as usize);
        core.shared.clients.fetch_sub(1, Ordering::Relaxed);
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
    if is_gone || connection.said_all && connection.is_parked() {
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
    if connection.receiving || connection.pausing || connection.said_all {
        return;
    }
    let most = input_max(connection, core.config.client_query_buffer_limit);
    let most = match (connection.stalled, connection.in_bulk()) {
        (false, _) => most,
        // One buffer a turn is all that it may have executed.
        (true, true) => BUFFER_BYTES,
        // Not at the first byte of room: stopping and starting cost, too.
        (true, false) => most / 2,
    };
    if connection.backlog() > most {
        return;
    }
    connection.receiving = true;
    if connection.in_bulk() && connection.backlog() <= BUFFER_BYTES {
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

/// A client has connected.
fn accepted(core: &mut Core, socket: OwnedFd) {
    core.stats.connections_received += 1;
    match admit(core, &socket) {
        Ok(session) => {
            let entry = core.connections.vacant_entry();
            let key = entry.key() as u32;
            let mut connection = Box::new(Connection::new(socket, session));
            connection.receiving = true;
            core.ring.receive(key, connection.socket.as_fd());
            entry.insert(connection);
        }
        Err(text) => {
            core.stats.connections_rejected += 1;
            // A fresh socket has room for one line; nobody waits for it.
            let _ = rustix::net::send(&socket, text.as_bytes(), rustix::net::SendFlags::DONTWAIT);
        }
    }
}

const TOO_MANY: &str = "-ERR max number of clients reached\r\n";
const PROTECTED: &str = "-DENIED Redis is running in protected mode because protected mode is enabled \
and no password is set for the default user. In this mode connections are only accepted from the \
loopback interface. If you want to connect from external computers to Redis you may adopt one of \
the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET \
protected-mode no' from the loopback interface by connecting to Redis from the same host the server \
is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use \
CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected \
mode by editing the Redis configuration file, and setting the protected mode option to 'no', and \
then restarting the server. 3) If you started the server manually just for testing, restart it with \
the '--protected-mode no' option. 4) Set up an authentication password for the default user. NOTE: \
You only need to do one of the above things in order for the server to start accepting connections \
from the outside.\r\n";

fn admit(core: &Core, socket: &OwnedFd) -> Result<Session, &'static str> {
    let address = |found: rustix::io::Result<rustix::net::SocketAddrAny>| {
        let found = found
            .ok()
            .and_then(|any| std::net::SocketAddr::try_from(any).ok());
        found.unwrap_or_else(|| std::net::SocketAddr::from(([0, 0, 0, 0], 0)))
    };
    let peer = address(
        rustix::net::getpeername(socket).and_then(|any| any.ok_or(rustix::io::Errno::NOTCONN)),
    );
    let local = address(rustix::net::getsockname(socket));
    if core.config.protected_mode
        && core.config.requirepass.is_empty()
        && !peer.ip().to_canonical().is_loopback()
    {
        return Err(PROTECTED);
    }
    let clients = core.shared.clients.fetch_add(1, Ordering::Relaxed);
    if clients >= u64::from(core.config.maxclients) {
        core.shared.clients.fetch_sub(1, Ordering::Relaxed);
        return Err(TOO_MANY);
    }
    // Replies are batched here already; the kernel must not wait for more.
    let _ = rustix::net::sockopt::set_tcp_nodelay(socket, true);
    if core.config.tcp_keepalive_s > 0 {
        listener::keep_alive(socket, core.config.tcp_keepalive_s);
    }
    let id = core.shared.next_client.fetch_add(1, Ordering::Relaxed);
    let mut session = Session::new(id, peer, local, core.now);
    session.authenticated = core.config.requirepass.is_empty();
    Ok(session)
}
