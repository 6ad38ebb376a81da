//! Clients that track keys: who they are, and who is told on this core.
//!
//! The shards know trackers by their numbers, and on which core each is told
//! (`shards::tracking`). What they have to tell travels in a lane of its own and not in
//! boxes: it must be there before any reply to what has caused it has left, but need not
//! be in the order of anything, because it is put behind all that its client is still
//! owed.

use super::{CROWD, Core};
use crate::session::connection::{Connection, Phase};
use shards::ShardId;
use shards::replies::{Class, Piece};
use shards::resp::Protocol;
use shards::tracking::{Letter, Tracker, as_published};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// A client, by its connection's key and its id.
pub type ClientAt = (u32, u64);

/// Whom to tell for a tracker.
#[derive(Clone, Copy, Debug)]
struct Told {
    client: ClientAt,
    /// It is another client than the tracker.
    redirected: bool,
}

/// Trackers of all cores, as far as they concern this one.
#[derive(Debug, Default)]
pub struct Trackers {
    /// Those that were numbered here.
    numbered: u32,
    /// Those that are clients of this core.
    own: BTreeMap<Tracker, ClientAt>,
    /// Those that are told on this core.
    told: BTreeMap<Tracker, Told>,
}

impl Trackers {
    /// How many clients of this core track.
    pub fn len(&self) -> usize {
        self.own.len()
    }
}

impl Core {
    /// A client of this core begins to track: its number.
    pub fn number_tracker(&mut self, client: ClientAt) -> Tracker {
        loop {
            let Trackers { numbered, own, .. } = &mut self.trackers;
            let tracker = Tracker::nth(*numbered, self.id, self.shards);
            *numbered = numbered.wrapping_add(1);
            if let Entry::Vacant(place) = own.entry(tracker) {
                place.insert(client);
                return tracker;
            }
        }
    }

    /// A tracker of whatever core is told on core `on`, by telling this client.
    pub fn tell_tracker_on(
        &mut self,
        on: ShardId,
        tracker: Tracker,
        (client, redirected): (ClientAt, bool),
    ) {
        if on == self.id {
            let told = Told { client, redirected };
            self.trackers.told.insert(tracker, told);
        } else {
            self.trackers.told.remove(&tracker);
        }
    }

    /// A client of this core tracks no more; who was told in its place may be on another
    /// one.
    pub fn forget_tracker(&mut self, tracker: Tracker) {
        self.trackers.own.remove(&tracker);
        self.trackers.told.remove(&tracker);
    }

    /// Tells what letters say. Returns the trackers in whose place nobody can be told any
    /// more.
    pub fn take_letters(&mut self, letters: Vec<Letter>) -> Vec<Tracker> {
        let mut broken = Vec::new();
        for letter in letters {
            let trackers = match letter.to {
                Some(tracker) => vec![tracker],
                None => self.trackers.told.keys().copied().collect(),
            };
            for tracker in trackers {
                if !self.tell_tracker(tracker, &letter) {
                    broken.push(tracker);
                }
            }
        }
        broken
    }

    /// Tells a tracker, if it is told here; false if who was to be told in its place is
    /// gone.
    fn tell_tracker(&mut self, tracker: Tracker, letter: &Letter) -> bool {
        let Some(Told { client, redirected }) = self.trackers.told.get(&tracker).copied() else {
            return true;
        };
        let (key, id) = client;
        let Some(connection) = self.client(key, id).filter(|it| it.phase != Phase::Closed) else {
            return !redirected;
        };
        if connection.phase != Phase::Open {
            return true;
        }
        let is_pubsub = connection.class == Class::Pubsub;
        let piece = match connection.session.protocol {
            Protocol::Resp3 => Piece::Shared(letter.message.clone()),
            Protocol::Resp2 if redirected && is_pubsub => as_published(&letter.message).into(),
            // It cannot be told anything that it has not asked for.
            Protocol::Resp2 => return true,
        };
        self.push_to(key, piece);
        true
    }

    /// The client that was told in the place of a tracker of this core is gone.
    pub fn redirection_is_broken(&mut self, tracker: Tracker) {
        let client = self.trackers.own.get(&tracker).copied();
        let Some((key, id)) = client else {
            return;
        };
        let Some(connection) = self.client(key, id) else {
            return;
        };
        let session = &mut connection.session;
        let Some(tracking) = &mut session.tracking else {
            return;
        };
        let Some(redirect) = tracking.redirect else {
            return;
        };
        tracking.broken = true;
        if session.protocol == Protocol::Resp3 {
            let push = format!(">2\r\n$21\r\ntracking-redir-broken\r\n:{redirect}\r\n");
            self.push_to(key, push.into_bytes().into());
        }
    }

    /// Tells a client of this core something behind all that it is owed.
    fn push_to(&mut self, key: u32, piece: Piece) {
        let Self {
            connections,
            stats,
            output_max,
            crowd,
            told,
            ..
        } = self;
        let connection: &mut Connection = &mut connections[key as usize];
        let max = output_max[Class::Pubsub as usize].hard;
        connection.push_late(piece, max, stats);
        *told += 1;
        if connection.dirty || connection.in_crowd {
            return;
        }
        if *told > CROWD {
            connection.in_crowd = true;
            crowd.push_back(key);
        } else {
            self.mark_dirty(key);
        }
    }
}
