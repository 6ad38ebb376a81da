//! Which of those who connect become clients.
//!
//! Where one client goes and the next one comes, on another core, the second may be heard
//! of first. So nobody is refused for want of room before every core has taken note of
//! what had happened when he came; meanwhile his socket waits, in a short list.

use super::listener;
use crate::core::{Core, Message};
use crate::runtime::boot::UNDECIDED_MAX;
use crate::session::{Connection, Session};
use rustix::net::{SendFlags, SocketAddrAny};
use shards::ShardId;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;

/// Turns after which a core has acted on what the kernel knew before them: it hears of the
/// end of a client in the first and of its last reply's in the second.
const TURNS_TO_SETTLE: u32 = 3;

/// One core's part in it.
#[derive(Default)]
pub struct Newcomers {
    /// Sockets for which there was no room, the oldest first.
    undecided: VecDeque<OwnedFd>,
    /// So many of them had come when all cores were asked to settle, …
    asked_for: usize,
    /// … and so many cores have not answered yet.
    missing: u16,
    /// Cores that this one has to answer, and the turns in which they asked.
    settling: Vec<(ShardId, u32)>,
}

impl Newcomers {
    /// A socket has connected.
    pub fn take(&mut self, core: &mut Core, socket: OwnedFd) {
        core.stats.connections_received += 1;
        let peer = peer_of(&socket);
        if core.config.network.protected_mode
            && core.config.network.requirepass.is_empty()
            && !peer.ip().to_canonical().is_loopback()
        {
            refuse(core, &socket, PROTECTED);
        } else if takes_place(core) {
            welcome(core, socket);
        } else if self.undecided.len() < UNDECIDED_MAX {
            self.undecided.push_back(socket);
            if self.missing == 0 {
                self.ask(core);
            }
        } else {
            refuse(core, &socket, TOO_MANY);
        }
    }

    /// Asks all cores to settle, this one included.
    fn ask(&mut self, core: &mut Core) {
        self.asked_for = self.undecided.len();
        self.missing = core.shards;
        for target in (0..core.shards).map(ShardId) {
            if target == core.id {
                self.asked(core, target);
            } else {
                core.mesh.send(target, Message::Settle);
            }
        }
    }

    /// A core asks this one to settle.
    pub fn asked(&mut self, core: &Core, by: ShardId) {
        self.settling.push((by, core.turn));
    }

    /// Whether a core waits for this one to settle: for some turns.
    #[inline]
    pub fn is_settling(&self) -> bool {
        !self.settling.is_empty()
    }

    /// Connections have been flushed: answers those who have waited long enough for it.
    #[inline]
    pub fn settle(&mut self, core: &mut Core) {
        if self.is_settling() {
            self.answer(core);
        }
    }

    #[cold]
    fn answer(&mut self, core: &mut Core) {
        let turn = core.turn;
        let is_due = |&(_, asked): &(ShardId, u32)| turn.wrapping_sub(asked) >= TURNS_TO_SETTLE;
        let (due, left) = std::mem::take(&mut self.settling)
            .into_iter()
            .partition(is_due);
        self.settling = left;
        let due: Vec<_> = due;
        for (by, _) in due {
            if by == core.id {
                self.settled(core);
            } else {
                core.mesh.send(by, Message::Settled);
            }
        }
    }

    /// A core has settled. If it was the last, those who waited for that are admitted or
    /// refused.
    pub fn settled(&mut self, core: &mut Core) {
        self.missing -= 1;
        if self.missing > 0 {
            return;
        }
        for socket in self.undecided.drain(..self.asked_for) {
            if takes_place(core) {
                welcome(core, socket);
            } else {
                refuse(core, &socket, TOO_MANY);
            }
        }
        if !self.undecided.is_empty() {
            self.ask(core);
        }
    }
}

/// Counts one more client, if there is room for it.
fn takes_place(core: &Core) -> bool {
    let max = u64::from(core.config.network.maxclients);
    let one_more = |clients: u64| (clients < max).then_some(clients + 1);
    let clients = &core.shared.clients;
    // Nobody is to see a place taken that is not.
    let taken = clients.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more);
    taken.is_ok()
}

/// The socket becomes a client.
fn welcome(core: &mut Core, socket: OwnedFd) {
    // Replies are batched here already; the kernel must not wait for more.
    let _ = rustix::net::sockopt::set_tcp_nodelay(&socket, true);
    if core.config.network.tcp_keepalive_s > 0 {
        listener::keep_alive(&socket, core.config.network.tcp_keepalive_s);
    }
    let id = core.shared.next_client.fetch_add(1, Ordering::Relaxed);
    let local = address(rustix::net::getsockname(&socket).ok());
    let mut session = Session::new(id, peer_of(&socket), local, core.now);
    session.authenticated = core.config.network.requirepass.is_empty();
    let entry = core.connections.vacant_entry();
    let key = entry.key() as u32;
    let mut connection = Box::new(Connection::new(socket, session));
    connection.receiving = true;
    core.ring.receive(key, connection.socket.as_fd());
    entry.insert(connection);
}

/// Says why, and closes.
fn refuse(core: &mut Core, socket: &OwnedFd, why: &str) {
    core.stats.connections_rejected += 1;
    // A fresh socket has room for one line; nobody waits for it.
    let _ = rustix::net::send(socket, why.as_bytes(), SendFlags::DONTWAIT);
}

fn peer_of(socket: &OwnedFd) -> SocketAddr {
    address(rustix::net::getpeername(socket).ok().flatten())
}

fn address(found: Option<SocketAddrAny>) -> SocketAddr {
    let found = found.and_then(|any| SocketAddr::try_from(any).ok());
    found.unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
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
