//! One client: who it is and how it wants to be answered.

pub mod activity;
pub mod connection;
mod filter;
pub mod monitored;
pub mod queue;
pub mod tracking;

pub use connection::Connection;
pub use filter::ClientFilter;

use queue::Queue;
use shards::command::{Flags, flags};
use shards::order::{Manner, Watched};
use shards::replies::Class;
use shards::resp::Protocol;
use shards::tracking::{Tracker, Tracks};
use shards::{DbIndex, UnixMs};
use std::net::SocketAddr;
use tracking::Tracking;

/// CLIENT REPLY: which replies are dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Muted {
    /// All, until they are wanted again.
    pub off: bool,
    /// The one to the command at hand.
    pub this: bool,
    /// The one to the command after that; of a block, to the one after EXEC.
    pub next: bool,
}

/// MONITOR: whether a client is told of commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Monitoring {
    #[default]
    No,
    /// Not all cores know yet.
    Begins,
    Yes,
}

/// The state of one client that commands can see and change.
#[derive(Debug)]
pub struct Session {
    /// Unique over all cores and for the life of the process (CLIENT ID).
    pub id: u64,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub name: Box<[u8]>,
    pub lib_name: Box<[u8]>,
    pub lib_version: Box<[u8]>,
    pub db: DbIndex,
    pub protocol: Protocol,
    /// It has given the password, or there was none when it came (or when it was
    /// RESET). Who has not is served while there is none, and asked for the next one.
    pub authenticated: bool,
    pub muted: Muted,
    pub no_evict: bool,
    pub no_touch: bool,
    /// When the client connected, and when it last sent something or was sent something.
    pub connected_at: UnixMs,
    pub active_at: UnixMs,
    /// Number of the row of the last command; see `commands::Registry`.
    pub last_command: Option<u16>,
    /// It listens to channels.
    pub listens: bool,
    pub monitoring: Monitoring,
    /// An open MULTI.
    pub queue: Option<Box<Queue>>,
    /// What the client watches. The shards of the keys must be told when this goes.
    pub watched: Option<Box<Watched>>,
    /// It keeps copies of keys, and is told when they change. All shards know of it, and
    /// must be told when this goes.
    pub tracking: Option<Box<Tracking>>,
}

impl Session {
    /// A client that has just connected.
    pub fn new(id: u64, peer: SocketAddr, local: SocketAddr, now: UnixMs) -> Self {
        Self {
            id,
            peer,
            local,
            name: Box::default(),
            lib_name: Box::default(),
            lib_version: Box::default(),
            db: DbIndex(0),
            protocol: Protocol::Resp2,
            authenticated: false,
            muted: Muted::default(),
            no_evict: false,
            no_touch: false,
            connected_at: now,
            active_at: now,
            last_command: None,
            listens: false,
            monitoring: Monitoring::No,
            queue: None,
            watched: None,
            tracking: None,
        }
    }

    /// Drops the reply to the command at hand?
    #[inline]
    pub fn is_silent(&self) -> bool {
        self.muted.off || self.muted.this
    }

    /// Whose limits of output are its own.
    pub fn class(&self) -> Class {
        match (self.listens, self.monitoring) {
            (true, _) => Class::Pubsub,
            (false, Monitoring::Yes) => Class::Monitor,
            (false, _) => Class::Normal,
        }
    }

    /// Whether lines about commands are for it, which are replies to CLIENT REPLY.
    pub fn hears_commands(&self) -> bool {
        self.monitoring == Monitoring::Yes && !self.muted.off
    }

    /// How a block of this client is to be run, and answered.
    pub fn manner(&self) -> Manner {
        Manner {
            db: self.db,
            protocol: self.protocol,
            no_touch: self.no_touch,
            tracks: self
                .tracking
                .as_ref()
                .map_or_else(Tracks::default, |it| it.tracks()),
            silent: self.is_silent(),
        }
    }

    /// For whom a command with these flags runs, if that matters. What CLIENT CACHING has
    /// said of it is over with that.
    #[cold]
    pub fn caller(&mut self, flags: Flags) -> Option<Tracker> {
        let tracking = self.tracking.as_mut()?;
        let tracks = tracking.tracks();
        tracking.caching = false;
        tracks.caller(flags.has(flags::WRITE), flags.has(flags::READONLY))
    }

    /// A command is over that CLIENT CACHING may have been said of. Within a MULTI that is
    /// only EXEC.
    #[inline]
    pub fn caching_over(&mut self) {
        if let Some(tracking) = &mut self.tracking
            && self.queue.is_none()
        {
            tracking.caching = false;
        }
    }

    /// The client that is told in its place: 0 for none, -1 if it does not track.
    pub fn redirection(&self) -> i64 {
        let tracking = self.tracking.as_ref();
        tracking.map_or(-1, |it| it.redirect.map_or(0, |id| id.cast_signed()))
    }

    /// A command is over: `SKIP` counts down.
    #[inline]
    pub fn command_done(&mut self) {
        self.muted.this = std::mem::take(&mut self.muted.next);
    }
}
