//! What a connection knows of a blocking command of its client, and of the client's end.

use super::{Connection, Phase};
use shards::ShardId;
use shards::order::Client;

/// A blocking command under way.
#[derive(Clone, Copy)]
pub(super) struct Blocked {
    /// The shard with all of its keys, if there is one.
    owner: Option<ShardId>,
    place: u32,
    /// It is known to wait: its keys are noted where they belong.
    waits: bool,
}

impl Connection {
    /// A blocking command has just been started, for keys of `owner` or of
    /// several shards. Unless it is answered already, nothing else runs
    /// meanwhile, and nothing is held back for it.
    pub fn block(&mut self, owner: Option<ShardId>) {
        let Some(place) = self.replies.last_place() else {
            return;
        };
        self.blocked = Some(Blocked {
            owner,
            place,
            waits: false,
        });
        self.barrier = true;
        self.impatient = true;
    }

    /// The blocking command at `place` has begun to wait; whether there is something to do
    /// about it: its client has ended its side of the stream, or it would not be noticed.
    pub fn waits(&mut self, place: u32) -> bool {
        if let Some(blocked) = &mut self.blocked
            && blocked.place == place
        {
            blocked.waits = true;
            if self.replies.let_pass(place).is_err() {
                self.close();
            }
        }
        self.ends || !self.receiving
    }

    /// The last place for a reply that comes by itself.
    pub(super) fn last_owed(&self) -> Option<u32> {
        let last = self.replies.last_place()?;
        match self.blocked {
            Some(blocked) if blocked.waits && blocked.place == last => {
                (self.replies.places() > 1).then(|| last.wrapping_sub(1))
            }
            _ => Some(last),
        }
    }

    /// The blocking command that is under way: who waits, and on which shard
    /// (nothing: several).
    pub fn blocked(&self, key: u32) -> Option<(Client, Option<ShardId>)> {
        let Blocked { owner, place, .. } = self.blocked?;
        let client = Client {
            key,
            id: self.session.id,
            place,
        };
        Some((client, owner))
    }

    /// Whether the client waits in a blocking command, or for the end of a pause.
    pub fn is_blocked(&self) -> bool {
        self.is_parked() || self.paused
    }

    /// Whether the client is known to wait in a blocking command. Before that its
    /// request may just be served on another core.
    pub fn is_parked(&self) -> bool {
        self.blocked.is_some_and(|blocked| blocked.waits)
    }

    /// Whether nothing more is to be executed, because the client has ended its side of the
    /// stream: what waits for the end of a pause then never runs.
    #[inline]
    pub fn is_over(&self) -> bool {
        self.said_all && !self.stalled || self.ends && self.paused
    }

    /// Whether it would not be noticed without receiving that the client ends.
    #[inline]
    pub fn is_unwatched(&self) -> bool {
        !self.watching && !self.ends && self.phase != Phase::Closed
    }

    /// The blocking command under way is given up.
    pub fn unblock(&mut self) {
        self.blocked = None;
        self.gives_up = true;
    }

    /// Whether nothing that it has asked for needs it any more, or would serve it.
    #[inline]
    pub fn is_released(&self) -> bool {
        !self.runs_block && !self.gives_up
    }

    /// Whether others are told that it is there.
    pub fn is_listed(&self) -> bool {
        self.phase != Phase::Closed || self.gives_up
    }
}
