//! A snapshot that is under way: what keeps large values as they were at the cut until
//! they are encoded (`keyspace/cut.rs`).
//!
//! A large value is encoded in steps under a shared lock of its key, the *snapshot lock*.
//! It stands ahead of all others and waits for nobody, so it is no part of any deadlock.
//! There are two reasons to begin one: the walk has come to the value; or somebody has been
//! granted the key to write, and the value is unmet. Who was granted it waits after all, and
//! with him all who come later to the key, but nobody else.
//!
//! ```text
//!   request that writes a key ── unmet? ──▶ parked, with a ticket ──▶ granted
//!   ticket of a transaction, a block, a convoy, a waiter ───────────▶ granted
//!                             granted ── unmet? ──▶ snapshot lock ahead ─▶ encoded ─▶ granted
//! ```
//!
//! So that every request looks at the locks as long as this goes on, a ticket of the
//! snapshot's own stands ahead of nothing. A value that somebody waits for is *hurried*:
//! encoded in the same turns as slices are, whether or not anybody takes the chunks.
//!
//! Whatever changes a value without the lock of its key is met by the store, which encodes
//! it in one piece: commands under the lock of the whole shard. A value that is removed is
//! handed over to the snapshot, whoever removes it.

use super::Site;
use crate::error::OutOfMemory;
use crate::keyspace::{Chunk, Located};
use crate::order::locks::{Lock, Scope};
use crate::order::ticket::{Ticket, TicketKind};
use hashbrown::HashMap;
use std::collections::VecDeque;

/// A large value that is being encoded.
struct Encoded {
    ticket: Ticket,
    key: Located,
    hurried: bool,
}

/// The locks of a snapshot.
pub(super) struct Snapshot {
    /// Has everybody look at the locks, from the cut until the walk is over.
    standing: Option<Ticket>,
    /// By the hash of their keys.
    encoded: HashMap<u64, Encoded, ahash::RandomState>,
    hurried: VecDeque<Located>,
    /// Nobody takes what it makes: its walk goes on by itself.
    abandoned: bool,
}

impl Snapshot {
    pub fn new(hasher: ahash::RandomState) -> Self {
        Self {
            standing: None,
            encoded: HashMap::with_hasher(hasher),
            hurried: VecDeque::new(),
            abandoned: false,
        }
    }

    #[inline]
    pub fn is_under_way(&self) -> bool {
        self.standing.is_some()
    }

    /// Whether somebody waits for a value to be encoded, or for the end of all this.
    #[inline]
    pub fn is_hurried(&self) -> bool {
        !self.hurried.is_empty() || self.abandoned
    }
}

impl Site {
    /// The cut was made under a lock of the whole shard, which is about to be released.
    #[cold]
    pub(super) fn begin_snapshot(&mut self) {
        if self.snapshot.is_under_way() || !self.shard.is_being_walked() {
            return;
        }
        let ticket = self.tickets.issue(TicketKind::Snapshot, 0);
        self.locks.stand_ahead(ticket, None);
        self.locks.note_waits(true);
        self.snapshot.standing = Some(ticket);
    }

    /// Whether a snapshot is not over here: there is more to walk, or chunks were not taken.
    pub fn is_being_cut(&self) -> bool {
        self.snapshot.is_under_way() || self.shard.is_being_cut()
    }

    /// Takes a step of the snapshot's walk; whether there is more.
    pub fn go_on_cut(&mut self) -> bool {
        let budget = self.shard.settings.keys_per_step;
        let walked = self.shard.walk_cut(budget);
        // Nobody who has the key to himself has found it unmet, so nobody has. If somebody
        // did all the same, the store would see to it.
        if let Some(key) = walked.met.filter(|key| !self.locks.is_held_alone(key.hash)) {
            self.keep_back(key);
        }
        self.end_encoded();
        if !self.shard.is_being_walked()
            && let Some(ticket) = self.snapshot.standing.take()
        {
            self.locks.stand_back(ticket);
            self.locks.note_waits(!self.long.is_empty());
            for (_, encoded) in self.snapshot.encoded.drain() {
                self.locks.stand_back(encoded.ticket);
            }
            self.snapshot.hurried.clear();
        }
        self.snapshot.abandoned &= self.is_being_cut();
        walked.more
    }

    /// The snapshot is of no use: its walk goes on as slices do.
    pub fn abandon_cut(&mut self) {
        self.shard.abandon_cut();
        self.snapshot.abandoned = self.is_being_cut();
    }

    /// See [`Shard::take_chunks`](crate::Shard::take_chunks).
    pub fn take_chunks(&mut self) -> Result<Vec<Chunk>, OutOfMemory> {
        self.shard.take_chunks()
    }

    /// Whether a request may use a key now, without a ticket.
    #[inline]
    pub(super) fn allows(&self, key: Located, exclusive: bool) -> bool {
        self.locks.allows(key.hash, exclusive) && !(exclusive && self.is_unmet(key))
    }

    /// As [`Site::allows`], of a key that a ticket would lock.
    pub(super) fn is_lock_free(&self, lock: &Lock) -> bool {
        match (lock.written(), lock.scope) {
            (Some(key), _) => self.allows(key, true),
            (None, Scope::Key(hash)) => self.locks.allows(hash, false),
            (None, Scope::Shard) => self.locks.allows_all(lock.exclusive),
        }
    }

    /// Whether a snapshot is to encode what a key holds before anybody changes it.
    #[inline]
    fn is_unmet(&self, key: Located) -> bool {
        self.snapshot.is_under_way() && self.shard.is_unmet(key)
    }

    /// As [`Site::allows`], of a key by its name: where it belongs matters only to a
    /// snapshot.
    pub(super) fn allows_key(&self, key: &[u8], exclusive: bool) -> bool {
        match exclusive && self.snapshot.is_under_way() {
            true => self.allows(self.locate(key), true),
            false => self.locks.allows(self.hash(key), exclusive),
        }
    }

    /// The next ticket that has all its locks here.
    #[inline]
    pub fn next_granted(&mut self) -> Option<Ticket> {
        if !self.snapshot.is_under_way() {
            return self.locks.next_granted();
        }
        self.next_granted_beside()
    }

    /// As [`Site::next_granted`]; a ticket that is to write what is unmet waits.
    #[cold]
    fn next_granted_beside(&mut self) -> Option<Ticket> {
        loop {
            let ticket = self.locks.next_granted()?;
            let mut written = self.locks.written_by(ticket);
            written.retain(|key| self.shard.is_unmet(*key));
            if written.is_empty() {
                return Some(ticket);
            }
            for key in written {
                self.keep_back(key);
                self.hurry_encoding(key.hash);
            }
        }
    }

    /// A snapshot lock for a key whose value is unmet.
    fn keep_back(&mut self, key: Located) {
        self.shard.begin_large(key);
        if self.snapshot.encoded.contains_key(&key.hash) {
            return;
        }
        let number = self.snapshot.encoded.len();
        let ticket = self.tickets.issue(TicketKind::Snapshot, number);
        self.locks.stand_ahead(ticket, Some(key.hash));
        let encoded = Encoded {
            ticket,
            key,
            hurried: false,
        };
        self.snapshot.encoded.insert(key.hash, encoded);
    }

    /// Somebody waits for a value to be encoded.
    pub(super) fn hurry_encoding(&mut self, hash: u64) {
        if let Some(encoded) = self.snapshot.encoded.get_mut(&hash)
            && !std::mem::replace(&mut encoded.hurried, true)
        {
            self.snapshot.hurried.push_back(encoded.key);
        }
    }

    /// Takes a step of a value that somebody waits for; if there are several, of each in
    /// turn.
    pub fn go_on_hurried_encoding(&mut self) {
        let Some(key) = self.snapshot.hurried.pop_front() else {
            if self.snapshot.abandoned {
                self.go_on_cut();
            }
            return;
        };
        let step = self.shard.settings.slices.step;
        if !self.shard.encode_large(key, step) {
            // It is gone, or the snapshot is lost.
            self.end_encoding(key);
        }
        self.end_encoded();
        if self.snapshot.encoded.contains_key(&key.hash) {
            self.snapshot.hurried.push_back(key);
        }
    }

    /// Releases the locks of values that are encoded, or gone.
    fn end_encoded(&mut self) {
        for key in self.shard.take_ended_keys() {
            if !self.shard.is_unmet(key) {
                self.end_encoding(key);
            }
        }
    }

    fn end_encoding(&mut self, key: Located) {
        if let Some(encoded) = self.snapshot.encoded.remove(&key.hash) {
            self.locks.stand_back(encoded.ticket);
        }
    }
}
