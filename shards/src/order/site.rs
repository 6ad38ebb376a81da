//! One shard, and the order in which requests run there.
//!
//! A site runs what it is given, has wait what must, and tells by its post what has
//! become of it. It knows nothing of what clients of its core have under way on other
//! shards: that is the node's, which owns it. What concerns a client of this very core
//! goes into no box, so the functions here return it.
//!
//! | file | a request here |
//! |---|---|
//! | `parked.rs` | runs, or waits for locks |
//! | `exec.rs`, `block.rs` | is a block, or a command of one |
//! | `parts.rs` | is part of a convoy |
//! | `walk.rs` | goes from shard to shard (SCAN) |
//! | `slices.rs` | goes on bit by bit |
//! | `long.rs` | has a long reply |
//! | `awaited.rs` | waits for a key to appear |
//! | `hearing.rs` | tells clients something they have not asked for |
//! | `tracked.rs` | is of a client that keeps copies of what it reads |
//! | `snapshot.rs` | waits for what a snapshot is to encode first |
//! | `instant.rs` | is judged as of an instant |

mod awaited;
mod block;
mod exec;
mod hearing;
mod instant;
mod long;
mod parked;
mod parts;
mod slices;
mod snapshot;
mod tracked;
mod walk;

pub(super) use awaited::Offer;
pub(super) use slices::{Over, Stepped};

use awaited::Awaited;
use instant::Looks;
use long::LongReplies;
pub(super) use parked::{Parked, Unanswered};
use slices::Slice;
use snapshot::Snapshot;

use crate::command::{Args, Cargo};
use crate::error::CommandError;
use crate::keyspace::{Located, slot_of};
use crate::order::batch::{Batch, Item, ReplyEnd, placed};
use crate::order::call::Call;
use crate::order::locks::Locks;
use crate::order::post::Post;
use crate::order::reply::Ran;
use crate::order::ticket::{Ticket, TicketKind, Tickets};
use crate::order::timing::Timing;
use crate::pubsub::{Audience, Outgoing, Subscriptions};
use crate::resp::{Protocol, Reply};
use crate::shard::Shard;
use crate::types::{ShardId, UnixMs};
use hashbrown::HashMap;
use slab::Slab;
use std::collections::VecDeque;
use std::sync::Arc;

/// Requests of a box whose memory is fetched together, before they run.
const PREFETCHED: usize = 16;

/// One shard, and what waits, works and is locked there.
pub(super) struct Site {
    pub id: ShardId,
    /// How many there are.
    pub shards: u16,
    pub shard: Shard,
    /// What requests from other cores and transactions are timed with.
    pub timing: Timing,
    pub tickets: Tickets,
    pub post: Post,
    locks: Locks,
    /// Requests that wait for locks.
    parked: Slab<Parked>,
    /// Boxes of convoys whose locks are not free yet, and where they came from.
    parked_boxes: HashMap<Ticket, (ShardId, Box<Batch>), ahash::RandomState>,
    looks: Looks,
    /// Parts of transactions and blocks that are not over.
    slices: VecDeque<Slice>,
    long: LongReplies,
    awaited: Awaited,
    snapshot: Snapshot,
    /// What clients of this core listen to.
    pub subscriptions: Subscriptions,
    /// What they are to be told.
    pub told: Outgoing,
}

impl Site {
    pub fn new(id: ShardId, shards: u16, shard: Shard, hasher: &ahash::RandomState) -> Self {
        Self {
            id,
            shards,
            shard,
            timing: Timing::default(),
            tickets: Tickets::of(id),
            post: Post::new(id, shards),
            locks: Locks::default(),
            parked: Slab::new(),
            parked_boxes: HashMap::with_hasher(hasher.clone()),
            looks: Looks::new(hasher.clone()),
            slices: VecDeque::new(),
            long: LongReplies::new(hasher.clone()),
            awaited: Awaited::new(hasher),
            snapshot: Snapshot::new(hasher.clone()),
            subscriptions: Subscriptions::new(id, hasher, Arc::new(Audience::new(shards))),
            told: Outgoing::default(),
        }
    }

    /// The shard that owns a key.
    #[inline]
    pub fn owner(&self, key: &[u8]) -> ShardId {
        ShardId::of_slot(slot_of(key), self.shards)
    }

    /// The shard that owns a key that has been located.
    #[inline]
    pub fn owner_of(&self, located: &Located) -> ShardId {
        ShardId::of_slot(located.slot, self.shards)
    }

    /// Whether no key of this shard is locked: requests run without a look at
    /// the locks.
    #[inline]
    pub fn is_unlocked(&self) -> bool {
        self.locks.is_empty()
    }

    /// Longest reply to one request.
    pub fn reply_bytes_max(&self) -> usize {
        self.shard.settings.reply_max.bytes
    }

    /// Nothing waits, works or is locked here, and nothing is to be sent.
    pub fn is_at_rest(&self) -> bool {
        self.locks.is_empty()
            && !self.locks.has_granted()
            && self.parked.is_empty()
            && self.parked_boxes.is_empty()
            && self.looks.is_empty()
            && self.slices.is_empty()
            && self.long.is_empty()
            && self.awaited.offers_nothing()
            && self.post.is_at_rest()
    }

    /// Whether something may still write: a request that waits for locks here or goes on
    /// in slices, or one for which a key has appeared here.
    pub fn has_writes(&self) -> bool {
        let mut parked = self.parked.iter().map(|(_, parked)| parked);
        parked.any(Parked::writes)
            || self.long.have_writes()
            || self.slices.iter().any(Slice::writes)
            || self.awaited.may_be_served()
    }

    /// What stands for a key in the locks: for that of every database, so that
    /// a request on the same key of two (MOVE, COPY) needs nothing special.
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.shard.hash(key)
    }

    /// As [`Site::hash`], with the slot.
    pub fn locate(&self, key: &[u8]) -> Located {
        self.shard.locate(key)
    }

    /// Runs a request on this shard: whether it failed, or why there is no reply.
    #[inline]
    pub fn apply(
        &mut self,
        now: UnixMs,
        call: &Call,
        args: Args<'_>,
        cargo: &mut Cargo,
        out: &mut Vec<u8>,
    ) -> Result<Ran, Unanswered> {
        if args.is_empty() {
            return Ok(lacks_memory(call.protocol, out));
        }
        let began = (self.timing.clock)();
        let request = call.request(args);
        self.begins(call);
        let outcome = self.shard.apply_with(now, &request, cargo, out);
        self.ran(call, args);
        match outcome {
            Err(CommandError::Blocked(blocked)) => return Err(Unanswered::Waits(blocked)),
            Err(CommandError::Long) => return Err(Unanswered::Long),
            _ => {}
        }
        let ticks = (self.timing.clock)().saturating_sub(began);
        Ok(Ran::of(&outcome, ticks))
    }

    /// Runs item `index` of a box; the reply goes into the box.
    #[inline]
    pub fn run_in(
        &mut self,
        now: UnixMs,
        call: &Call,
        index: usize,
        cargo: &mut Cargo,
        batch: &mut Batch,
    ) -> Result<ReplyEnd, Unanswered> {
        let mut out = std::mem::take(&mut batch.replies);
        let ran = self.apply(now, call, batch.args(index), cargo, &mut out);
        let end = out.len();
        batch.replies = out;
        ran.map(|ran| ReplyEnd { end, ran })
    }

    /// Runs a part of a transaction that another node drives.
    pub fn run_work(&mut self, index: usize, batch: &mut Batch) {
        let Item::Work {
            call,
            ticket,
            within,
            number,
            ref mut places,
            at,
            last,
            ref mut cargo,
            ..
        } = batch.items[index]
        else {
            return;
        };
        let places = places.take();
        let mut load = std::mem::take(cargo);
        load.divisible = true;
        let before = batch.replies.len();
        self.group(within, number);
        let answer = self.run_in(at, &call, index, &mut load, batch);
        let effects = self.shard.effects();
        if let Some(places) = places {
            effects.place_part(placed(batch.args(index), &places));
        }
        effects.leave_ticket();
        let answer = answer.expect("a part of a transaction never waits");
        if load.goes_on() {
            let who = (at, ticket, within, number);
            let reply = batch.replies.split_off(before);
            let ran = (answer.ran, reply);
            return self.put_off(who, (call, last, load), None, batch.args(index), ran);
        }
        if let Item::Work { cargo, reply, .. } = &mut batch.items[index] {
            (*cargo, *reply) = (load, Some(answer));
        }
        if last {
            self.release_here(ticket);
        }
    }

    /// The turn of item `index` of a box has come.
    #[inline]
    pub fn turn_to(&mut self, batch: &Batch, index: usize) {
        if index.is_multiple_of(PREFETCHED) {
            self.prefetch(&batch.items[index..]);
        }
        let effects = self.shard.effects();
        effects.stand_at(|| batch.stamp_of(index));
    }

    /// Has the memory that the next requests will touch fetched ahead: first
    /// the lines of the tables, then the entries they lead to.
    #[inline]
    fn prefetch(&self, items: &[Item]) {
        let next = || items.iter().take(PREFETCHED);
        let located = || {
            next().filter_map(|item| match item {
                Item::Request { call, .. } => Some((call.db, call.located?)),
                _ => None,
            })
        };
        for (db, located) in located() {
            self.shard.keyspace(db).prefetch_line(&located);
        }
        for (db, located) in located() {
            self.shard.keyspace(db).prefetch_entry(&located);
        }
    }

    /// Releases what a ticket holds on this shard, and has those looked at who
    /// wait for keys that appeared meanwhile.
    pub fn release_here(&mut self, ticket: Ticket) {
        self.shard.effects().end_ticket(ticket.id());
        if self.shard.effects().take_cut() {
            self.begin_snapshot();
        }
        self.look_over(ticket);
        self.locks.release(ticket);
        if ticket.home == self.id
            && ticket.kind == TicketKind::Key
            && let Some((key, of)) = self.awaited.end_offer(ticket)
        {
            self.shard.effects().appeared(&key, of);
        }
        self.mind_waits();
    }
}

/// Replies to a request for which there was no memory.
#[cold]
fn lacks_memory(protocol: Protocol, out: &mut Vec<u8>) -> Ran {
    Reply::new(out, protocol).error(&CommandError::OutOfMemory);
    Ran::ended(true)
}
