//! Requests that found nothing to take and wait for a key to appear.
//!
//! A waiter is data: who waits, with what request, on which keys of this
//! shard, until when. On a key the first to come is the first to be served.
//!
//! Invariants: an index stands in the queue of each of its waiter's keys, once;
//! no queue is empty. Costs: a key that appears is one look into a map; a
//! client is found by going through all waiters, which only happens when it
//! leaves or is unblocked.

use super::call::Call;
use super::ticket::Client;
use crate::command::OwnedArgs;
use crate::error::CommandError;
use crate::resp::{Protocol, Reply};
use crate::types::{Claim, ShardId, Type, UnixMs, Waiting};
use hashbrown::HashMap;
use slab::Slab;
use std::collections::{BTreeSet, VecDeque};

/// How waiting ends from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unblock {
    /// The client has gone: an empty reply, by which its core knows that it was not
    /// served.
    Gone,
    /// As if the time were over.
    Timeout,
    Error,
}

/// A request that waits.
pub struct Waiter {
    /// The client's core.
    pub home: ShardId,
    pub client: Client,
    pub call: Call,
    /// What to run when a key appears. Of one that waits elsewhere, too: what its row
    /// gives this shard to read.
    pub args: OwnedArgs,
    pub waiting: Waiting,
    /// It has keys on other shards: its home core decides who serves it, and
    /// when it has waited long enough.
    pub elsewhere: bool,
    /// No key can be held for it alone: to serve it takes more than the one it waits for
    /// (BLMOVE to another shard), or others are served by the same (XREAD).
    pub by_turn: bool,
    /// Its turn has come here or on another shard, and its home core tries to serve it.
    /// It keeps its place: of its database and type nobody behind it is served from its
    /// keys before it is known how that ended.
    pub tries: bool,
}

impl Waiter {
    /// The keys that it waits for here, in the order of the request.
    pub fn keys(&self) -> Vec<&[u8]> {
        let args = self.args.args();
        if self.elsewhere && self.waiting.claim == Claim::Takes {
            return args.iter().skip(1).collect();
        }
        let mut positions = Vec::new();
        let known = crate::command::keys_in(self.call.keys, args, &mut positions);
        let keys = positions.iter().filter_map(|at| args.get(*at));
        known.map_or(Vec::new(), |()| keys.collect())
    }
}

/// All that wait on one shard.
pub struct Waiters {
    all: Slab<Waiter>,
    queues: HashMap<Box<[u8]>, VecDeque<usize>, ahash::RandomState>,
    deadlines: BTreeSet<(UnixMs, usize)>,
}

impl Waiters {
    /// Nobody waits yet. `hasher` must be keyed: clients choose the keys.
    pub fn new(hasher: ahash::RandomState) -> Self {
        Self {
            all: Slab::new(),
            queues: HashMap::with_hasher(hasher),
            deadlines: BTreeSet::new(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub fn get(&self, index: usize) -> &Waiter {
        &self.all[index]
    }

    /// Whether a request's turn has come; see [`Waiter::tries`].
    pub fn set_tries(&mut self, index: usize, tries: bool) {
        self.all[index].tries = tries;
    }

    /// Whether somebody's turn has come, and it is not known yet how that ends.
    pub fn is_any_tried(&self) -> bool {
        self.all.iter().any(|(_, waiter)| waiter.tries)
    }

    /// One more waits, behind those who wait already.
    pub fn add(&mut self, waiter: Waiter) {
        let until = waiter.waiting.until.filter(|_| !waiter.elsewhere);
        let keys = keys_of(&waiter);
        let index = self.all.insert(waiter);
        for key in keys {
            self.queues.entry(key).or_default().push_back(index);
        }
        if let Some(until) = until {
            self.deadlines.insert((until, index));
        }
    }

    /// Who is the `nth` to wait for a key.
    pub fn nth(&self, key: &[u8], nth: usize) -> Option<usize> {
        self.queues.get(key)?.get(nth).copied()
    }

    pub fn remove(&mut self, index: usize) -> Waiter {
        let waiter = self.all.remove(index);
        if let Some(until) = waiter.waiting.until {
            self.deadlines.remove(&(until, index));
        }
        for key in keys_of(&waiter) {
            if let Some(queue) = self.queues.get_mut(&key) {
                queue.retain(|other| *other != index);
                if queue.is_empty() {
                    self.queues.remove(&key);
                }
            }
        }
        waiter
    }

    /// The request of a client, if it waits here: this one, not a later one.
    pub fn of_client(&self, home: ShardId, client: Client) -> Option<usize> {
        let is_its = |waiter: &Waiter| waiter.home == home && waiter.client == client;
        let mut all = self.all.iter();
        all.find(|(_, waiter)| is_its(waiter))
            .map(|(index, _)| index)
    }

    /// When the first of them has waited long enough.
    pub fn next_deadline(&self) -> Option<UnixMs> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    /// One that has waited long enough.
    pub fn overdue(&self, now: UnixMs) -> Option<usize> {
        let (until, index) = self.deadlines.first()?;
        (*until <= now).then_some(*index)
    }

    /// How many keys are waited for here, and by how many until a deadline.
    pub fn count(&self) -> (usize, usize) {
        (self.queues.len(), self.deadlines.len())
    }

    /// What anybody waits for: a key, and the type that its value is to have.
    pub fn awaited(&self) -> Vec<(Box<[u8]>, Type)> {
        let mut all = Vec::with_capacity(self.queues.len());
        for (key, queue) in &self.queues {
            let mut types: Vec<Type> = Vec::new();
            for index in queue {
                let of = self.all[*index].waiting.of;
                if !types.contains(&of) {
                    types.push(of);
                    all.push((key.clone(), of));
                }
            }
        }
        all
    }
}

/// The keys a waiter waits for here, each once.
fn keys_of(waiter: &Waiter) -> Vec<Box<[u8]>> {
    let mut keys: Vec<Box<[u8]>> = waiter.keys().into_iter().map(Box::from).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The reply to a request that stops waiting.
pub fn ending(how: Unblock, protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    let mut reply = Reply::new(&mut out, protocol);
    match how {
        Unblock::Gone => {}
        Unblock::Timeout => reply.null_array(),
        Unblock::Error => reply.error(&CommandError::Static(
            "UNBLOCKED client unblocked via CLIENT UNBLOCK",
        )),
    }
    out
}
