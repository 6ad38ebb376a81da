//! One core's part of the order: runs what is its own, sends on what is not.

mod block;
mod blocked;
mod convoy;
mod drive;
mod exec;
mod home;
mod incoming;
mod instant;
mod long;
mod parked;
mod slices;
mod under_way;
mod walk;

use blocked::Blocked;
pub use drive::ServerStep;
use incoming::Incoming;
use long::LongReplies;
use parked::{Parked, Unanswered};
use slices::Slice;

use super::batch::{Batch, Item, ReplyEnd};
use super::call::Call;
use super::convoy::Convoy;
use super::locks::Locks;
use super::post::Post;
use super::program::Program;
use super::reply::Ran;
use super::reply::Replied;
use super::split::Owners;
use super::ticket::{Client, Ticket, TicketKind, Tickets};
use super::timing::Timing;
use super::transaction::Transaction;
use super::waiters::Waiters;
use crate::command::{Args, Cargo, Row, Run, flags};
use crate::error::CommandError;
use crate::keyspace::{Located, slot_of};
use crate::resp::{Protocol, Reply};
use crate::shard::Shard;
use crate::types::{ShardId, UnixMs};
use hashbrown::HashMap;
use slab::Slab;
use std::collections::VecDeque;

/// Where a request that is not for one known key runs.
pub enum Placement {
    One(ShardId),
    /// As a transaction: hand this to [`Node::begin`].
    Several(Owners),
}

/// Requests of a box whose memory is fetched together, before they run.
const PREFETCHED: usize = 16;

/// One core's shard, locks and transactions.
pub struct Node {
    id: ShardId,
    shards: u16,
    pub shard: Shard,
    /// What requests from other cores and transactions are timed with.
    pub timing: Timing,
    locks: Locks,
    /// Requests that wait for locks.
    parked: Slab<Parked>,
    transactions: Slab<Transaction>,
    /// The convoy that is being filled.
    open: Option<Box<Convoy>>,
    /// Those under way.
    convoys: Slab<Box<Convoy>>,
    /// Boxes of convoys whose locks are not free yet, and where they came from.
    held: HashMap<Ticket, (ShardId, Box<Batch>), ahash::RandomState>,
    #[allow(clippy::vec_box)] // they are boxes wherever else they are
    spare_convoys: Vec<Box<Convoy>>,
    spare_owners: Option<Owners>,
    /// Blocks on several shards.
    programs: Slab<Program>,
    /// Parts of transactions that are not over.
    slices: VecDeque<Slice>,
    long: LongReplies,
    /// Programs of which the server is to run a command.
    server_steps: VecDeque<Ticket>,
    waiters: Waiters,
    blocked: Blocked,
    tickets: Tickets,
    /// Tickets that have been granted here and not yet acted on.
    granted: VecDeque<Ticket>,
    /// [`Node::pump`] is at work further up.
    pumping: bool,
    /// Since when transactions look at this shard; see `instant`.
    looks: HashMap<Ticket, UnixMs, ahash::RandomState>,
    incoming: Incoming,
    post: Post,
}

impl Node {
    /// Node `id` of `shards`, around its shard. The shards of all nodes must have
    /// been given the same seed: what locks a key is its hash there.
    pub fn new(id: ShardId, shards: u16, shard: Shard, seed: u64) -> Self {
        let hasher = ahash::RandomState::with_seeds(seed, 1, 2, 3);
        Self {
            id,
            shards,
            shard,
            timing: Timing::default(),
            locks: Locks::default(),
            parked: Slab::new(),
            held: HashMap::with_hasher(hasher.clone()),
            looks: HashMap::with_hasher(hasher.clone()),
            long: LongReplies::new(hasher.clone()),
            waiters: Waiters::new(hasher.clone()),
            blocked: Blocked::new(hasher.clone()),
            transactions: Slab::new(),
            open: None,
            convoys: Slab::new(),
            spare_convoys: Vec::new(),
            spare_owners: None,
            programs: Slab::new(),
            slices: VecDeque::new(),
            server_steps: VecDeque::new(),
            tickets: Tickets::of(id),
            granted: VecDeque::new(),
            pumping: false,
            incoming: Incoming::new(shards),
            post: Post::new(id, shards),
        }
    }

    /// Which shard this is.
    #[inline]
    pub fn id(&self) -> ShardId {
        self.id
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

    /// Nothing is under way: no lock, no transaction, nothing to send.
    pub fn is_at_rest(&self) -> bool {
        self.locks.is_empty()
            && self.parked.is_empty()
            && self.granted.is_empty()
            && self.blocked.is_at_rest()
            && self.transactions.is_empty()
            && self.open.is_none()
            && self.convoys.is_empty()
            && self.held.is_empty()
            && self.looks.is_empty()
            && self.programs.is_empty()
            && self.slices.is_empty()
            && self.long.is_empty()
            && self.incoming.is_empty()
            && self.post.is_at_rest()
    }

    /// Has a request run on the shard that owns its keys, after all that its client has
    /// sent before.
    #[inline]
    pub fn send(&mut self, owner: ShardId, client: Client, mut call: Call, args: Args<'_>) {
        // What is refused wherever it runs stays here, and may name keys of others.
        if owner == self.id {
            call.located = call.located.filter(|it| self.owner_of(it) == owner);
        }
        let item = Item::Request {
            call,
            client,
            reply: None,
        };
        self.post.batch_for(owner).push(item, args.iter());
    }

    /// Where a request that is not for one known key runs: on one shard, with
    /// its row's [`Run::whole`], or as a transaction, on several or in slices.
    pub fn place(&mut self, row: &Row, args: Args<'_>) -> Placement {
        if row.flags.has(flags::SLICED) {
            return Placement::Several(Owners::default());
        }
        if self.shards == 1 {
            return Placement::One(self.id);
        }
        let room = self.spare_owners.take().unwrap_or_default();
        self.place_in(room, row, args)
    }

    fn place_in(&self, mut room: Owners, row: &Row, args: Args<'_>) -> Placement {
        let mut places = std::mem::take(&mut room.located);
        places.clear();
        let owner = |key: &[u8]| {
            let located = self.shard.locate(key);
            places.push(located);
            self.owner_of(&located)
        };
        // Refused wherever it runs; here is nearest.
        let Some(mut owners) = room.found(row, args, owner) else {
            return Placement::One(self.id);
        };
        owners.located = places;
        match (owners.only(), row.run) {
            (Some(only), _) => Placement::One(only),
            (None, Run::OneShard(_)) => Placement::One(self.id),
            // The cursor of a walk is looked at when it begins.
            (None, _) => Placement::Several(owners),
        }
    }

    /// Handles a box whose turn has come.
    fn open(&mut self, now: UnixMs, from: ShardId, mut batch: Box<Batch>) {
        if let Some(ticket) = batch.convoy {
            return self.receive_parts(now, from, ticket, batch);
        }
        if batch.answered {
            self.take_answers(now, from, &mut batch);
            self.post.keep(batch);
            return;
        }
        let mut locks_start = 0;
        let mut wants_answer = false;
        for index in 0..batch.items.len() {
            if index % PREFETCHED == 0 {
                self.prefetch(&batch.items[index..]);
            }
            match batch.items[index] {
                Item::Request { call, client, .. } => {
                    wants_answer |= self.run_or_park(now, from, client, &call, index, &mut batch);
                }
                Item::Work { .. } => {
                    self.run_work(index, &mut batch);
                    wants_answer = true;
                }
                Item::Release { ticket } => self.release_here(ticket),
                Item::Exec { .. }
                | Item::Step { .. }
                | Item::Check { .. }
                | Item::Unwatch { .. } => {
                    wants_answer |= self.receive_exec(now, from, index, &mut batch);
                }
                Item::Walk { call, home, client } => {
                    self.walk(now, home, client, call, batch.args(index));
                }
                Item::Lock { ticket, locks_end } => {
                    let locks = &batch.locks[locks_start..locks_end as usize];
                    locks_start = locks_end as usize;
                    self.lock_now(now, ticket, locks.to_vec());
                }
                Item::Granted { ticket, at } => self.granted(now, ticket, at),
                Item::Part { .. } => debug_assert!(false, "the box names its convoy"),
                Item::Late { .. } => self.take_late(index, &mut batch),
                Item::Ended { .. } => self.take_ended(now, from, index, &mut batch),
                Item::Piece { .. } | Item::Ask { .. } | Item::Drop { .. } => {
                    self.receive_long(now, &mut batch, index);
                }
                Item::Wait { .. }
                | Item::Offer { .. }
                | Item::Recall { .. }
                | Item::Recalled { .. }
                | Item::Turn { .. }
                | Item::Waits { .. }
                | Item::Unblock { .. } => {
                    self.receive_waiting(now, from, &batch, index);
                }
            }
            // Before the next item: what a release let through comes first.
            self.pump(now);
        }
        if !wants_answer {
            return self.post.keep(batch);
        }
        batch.answered = true;
        if from == self.id {
            self.take_answers(now, from, &mut batch);
            self.post.keep(batch);
        } else {
            self.post.depart(from, batch);
        }
    }

    /// The reply to an earlier request has come, with the request if it was slow.
    fn take_late(&mut self, at: usize, batch: &mut Batch) {
        let Item::Late {
            client,
            row,
            ran,
            ref mut reply,
        } = batch.items[at]
        else {
            return;
        };
        let reply = std::mem::take(reply);
        let slow = self.timing.keep(ran.ticks, batch.args(at));
        self.post.answer_owned(client, row, ran, slow, reply);
    }

    /// Runs a part of a transaction that another node drives.
    fn run_work(&mut self, index: usize, batch: &mut Batch) {
        let Item::Work {
            call,
            ticket,
            within,
            at,
            last,
            ref mut cargo,
            ..
        } = batch.items[index]
        else {
            return;
        };
        let mut load = std::mem::take(cargo);
        load.divisible = true;
        let before = batch.replies.len();
        self.group(within, last);
        let answer = self.run_in(at, &call, index, &mut load, batch);
        self.shard.effects().pause_block();
        let answer = answer.expect("a part of a transaction never waits");
        if load.goes_on() {
            let who = (at, ticket, within);
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

    /// Hands out the replies for clients of this core and forgets them.
    pub fn replies(&mut self, deliver: impl FnMut(Replied<'_>)) {
        self.post.hand_out(deliver);
    }

    /// Whether [`Node::replies`] has any.
    #[inline]
    pub fn has_replies(&self) -> bool {
        self.post.has_answers()
    }

    /// A transaction that is still under way.
    fn transaction(&mut self, ticket: Ticket) -> Option<&mut Transaction> {
        let transaction = self.transactions.get_mut(ticket.index())?;
        (transaction.ticket == ticket).then_some(transaction)
    }

    /// What stands for a key in the locks: for that of every database, so that
    /// a request on the same key of two (MOVE, COPY) needs nothing special.
    fn hash(&self, key: &[u8]) -> u64 {
        self.shard.hash(key)
    }

    /// Runs a request on this shard: whether it failed, or why there is no reply.
    #[inline]
    fn apply(
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
        let outcome = self.shard.apply_with(now, &request, cargo, out);
        match outcome {
            Err(CommandError::Blocked(waiting)) => return Err(Unanswered::Waits(waiting)),
            Err(CommandError::Long) => return Err(Unanswered::Long),
            _ => {}
        }
        let ticks = (self.timing.clock)().saturating_sub(began);
        Ok(Ran::of(&outcome, ticks))
    }

    /// Longest reply to one request.
    fn reply_bytes_max(&self) -> usize {
        self.shard.settings.reply_max.bytes
    }

    /// Runs item `index` of a box; the reply goes into the box.
    #[inline]
    fn run_in(
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

    /// Acts on what has been granted on this shard until nothing more follows.
    ///
    /// What it does may call it again: a waiter that is served begins a transaction,
    /// whose locks are granted, which serves the next. The call inside leaves that to
    /// the one outside, or a crowd of waiters would be a stack as deep as it is long.
    #[inline]
    fn pump(&mut self, now: UnixMs) {
        if std::mem::replace(&mut self.pumping, true) {
            return;
        }
        self.act_on_grants(now);
        self.pumping = false;
    }

    fn act_on_grants(&mut self, now: UnixMs) {
        loop {
            if self.has_appeared() {
                self.serve_appeared(now);
            }
            let Some(ticket) = self.granted.pop_front() else {
                return;
            };
            match ticket.kind {
                TicketKind::Convoy => self.run_held(now, ticket),
                TicketKind::Request => self.run_parked(now, ticket),
                TicketKind::Key => self.look(now, ticket),
                TicketKind::Transaction | TicketKind::Program => {
                    let at = self.looks_at(ticket).unwrap_or(now);
                    if ticket.home == self.id {
                        self.granted(now, ticket, at);
                    } else {
                        self.post.tell(ticket.home, Item::Granted { ticket, at });
                    }
                }
            }
        }
    }
}

/// Replies to a request for which there was no memory.
#[cold]
fn lacks_memory(protocol: Protocol, out: &mut Vec<u8>) -> Ran {
    Reply::new(out, protocol).error(&CommandError::OutOfMemory);
    Ran::ended(true)
}
