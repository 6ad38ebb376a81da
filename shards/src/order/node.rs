//! One core's part of the order: runs what is its own, sends on what is not.

mod answers;
mod convoy;
mod drive;
mod exec;
mod home;
mod incoming;
mod publish;
mod scattered;
mod under_way;

pub use drive::ServerStep;
use incoming::Incoming;
use publish::Publication;
pub use publish::{HeardWithin, Publisher};
use scattered::Scattered;

use super::site::{Parked, Site, Stepped, Unanswered};
use crate::command::{Args, InSlices, Row, Run};
use crate::error::{CommandError, OutOfMemory};
use crate::keyspace::{Chunk, Located};
use crate::order::batch::{Batch, Item};
use crate::order::call::Call;
use crate::order::convoy::Convoy;
use crate::order::program::Program;
use crate::order::reply::Replied;
use crate::order::split::Owners;
use crate::order::ticket::{Client, Ticket, TicketKind};
use crate::order::timing::Timing;
use crate::order::transaction::Transaction;
use crate::shard::Shard;
use crate::tracking::{Letter, by_core};
use crate::types::{Blocked, ShardId, UnixMs};
use slab::Slab;
use std::collections::VecDeque;

/// Where a request that is not for one known key runs.
pub enum Placement {
    One(ShardId),
    /// As a transaction: hand this to [`Node::begin`].
    Several(Owners),
}

/// One core's part: its shard, and what its clients have under way.
pub struct Node {
    site: Site,
    transactions: Slab<Transaction>,
    /// The convoy that is being filled.
    open: Option<Box<Convoy>>,
    /// Those under way.
    convoys: Slab<Box<Convoy>>,
    #[allow(clippy::vec_box)] // they are boxes wherever else they are
    spare_convoys: Vec<Box<Convoy>>,
    spare_owners: Option<Owners>,
    /// Blocks on several shards.
    programs: Slab<Program>,
    /// Programs of which the server is to run a command.
    server_steps: VecDeque<Ticket>,
    scattered: Scattered,
    /// Messages that not all nodes have told to their clients.
    publications: Slab<Publication>,
    /// How many have heard what blocks have published.
    heard_within: Vec<HeardWithin>,
    /// Of the names of channels.
    topic_hasher: ahash::RandomState,
    /// [`Node::pump`] is at work further up.
    pumping: bool,
    incoming: Incoming,
}

impl Node {
    /// Node `id` of `shards`, around its shard. The shards of all nodes must have
    /// been given the same seed: what locks a key is its hash there.
    pub fn new(id: ShardId, shards: u16, shard: Shard, seed: u64) -> Self {
        let hasher = ahash::RandomState::with_seeds(seed, 1, 2, 3);
        Self {
            site: Site::new(id, shards, shard, &hasher),
            transactions: Slab::new(),
            open: None,
            convoys: Slab::new(),
            spare_convoys: Vec::new(),
            spare_owners: None,
            programs: Slab::new(),
            server_steps: VecDeque::new(),
            publications: Slab::new(),
            heard_within: Vec::new(),
            topic_hasher: hasher.clone(),
            scattered: Scattered::new(hasher),
            pumping: false,
            incoming: Incoming::new(shards),
        }
    }

    /// Which shard this is.
    #[inline]
    pub fn id(&self) -> ShardId {
        self.site.id
    }

    /// How many nodes there are.
    pub fn shards(&self) -> u16 {
        self.site.shards
    }

    #[inline]
    pub fn shard(&self) -> &Shard {
        &self.site.shard
    }

    #[inline]
    pub fn shard_mut(&mut self) -> &mut Shard {
        &mut self.site.shard
    }

    /// What requests from other cores and transactions are timed with from now on.
    pub fn time_with(&mut self, timing: Timing) {
        self.site.timing = timing;
    }

    /// The shard that owns a key.
    #[inline]
    pub fn owner(&self, key: &[u8]) -> ShardId {
        self.site.owner(key)
    }

    /// The shard that owns a key that has been located.
    #[inline]
    pub fn owner_of(&self, located: &Located) -> ShardId {
        self.site.owner_of(located)
    }

    /// Whether no key of this shard is locked: requests run without a look at
    /// the locks.
    #[inline]
    pub fn is_unlocked(&self) -> bool {
        self.site.is_unlocked()
    }

    /// Nothing is under way: no lock, no transaction, nothing to send.
    pub fn is_at_rest(&self) -> bool {
        self.site.is_at_rest()
            && self.transactions.is_empty()
            && self.open.is_none()
            && self.convoys.is_empty()
            && self.programs.is_empty()
            && self.publications.is_empty()
            && self.incoming.is_empty()
    }

    /// Whether a request of one of this core's clients, for keys of this shard,
    /// must wait; if so, [`Node::park`] it.
    pub fn must_wait(&self, call: &Call, args: Args<'_>) -> bool {
        self.site.must_wait(call, args)
    }

    /// Runs a request of one of this core's clients, for keys of this shard, in one
    /// piece: see [`Shard::apply`].
    #[inline]
    pub fn apply(
        &mut self,
        now: UnixMs,
        call: &Call,
        args: Args<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), CommandError> {
        self.site.begins(call);
        let ran = self.site.shard.apply(now, &call.request(args), out);
        self.site.ran(call, args);
        ran
    }

    /// Whether [`Node::take_letters`] has any.
    #[inline]
    pub fn has_letters(&self) -> bool {
        self.site.shard.tracking().has_letters()
    }

    /// What trackers of keys are to be told, by the cores on which they are. It is to be
    /// on its way there before any reply leaves to what has caused it.
    pub fn take_letters(&mut self) -> Vec<(ShardId, Vec<Letter>)> {
        let letters = self.site.shard.tracking_mut().take_letters();
        by_core(letters, self.site.shards)
    }

    /// Has a request of one of this core's clients wait.
    pub fn park(&mut self, now: UnixMs, client: Client, call: Call, args: Args<'_>) {
        let request = Parked::new(self.site.id, client, call, args);
        self.site.park(now, request);
    }

    /// The reply to a request of one of this core's clients, for keys of this
    /// shard, is long, as it said. It comes in pieces through [`Node::replies`].
    pub fn reply_at_length(&mut self, now: UnixMs, client: Client, call: Call, args: Args<'_>) {
        let request = Parked::new(self.site.id, client, call, args);
        self.site.put_aside(now, request, Unanswered::Long);
        self.pump(now);
    }

    /// Has a request of one of this core's clients, for keys of this shard,
    /// wait, after it said so.
    pub fn wait(&mut self, client: Client, call: Call, args: Args<'_>, blocked: &Blocked) {
        self.site.wait(self.site.id, client, call, args, blocked);
    }

    /// Clients of this core whose requests have begun to wait. Whoever learns of
    /// it may rely on it: what is sent from now on comes after.
    #[inline]
    pub fn begun_to_wait(&mut self) -> Option<Client> {
        self.site.begun_to_wait()
    }

    /// Whether a key has appeared that somebody may wait for: then
    /// [`Node::serve`] must be called before anything else runs.
    #[inline]
    pub fn has_appeared(&self) -> bool {
        self.site.has_appeared()
    }

    /// The client has read what it was sent of a reply: the next piece.
    pub fn ask(&mut self, now: UnixMs, ticket: Ticket) {
        self.site.ask(ticket);
        self.pump(now);
    }

    /// Nobody reads the rest of a reply.
    pub fn drop_reply(&mut self, now: UnixMs, ticket: Ticket) {
        self.site.drop_reply(ticket);
        self.pump(now);
    }

    /// Whether a part of a transaction, or a long reply, is to go on here.
    #[inline]
    pub fn has_slices(&self) -> bool {
        self.site.has_slices()
    }

    /// Takes one step, of some ten microseconds, of a part that is not over, and
    /// of a long reply. If there are several, each in turn.
    pub fn go_on(&mut self, now: UnixMs) {
        self.site.go_on_hurried();
        self.site.go_on_hurried_encoding();
        self.pump(now);
        if let Stepped::Over(over) = self.site.take_step() {
            if let Some(over) = over {
                self.part_over(now, self.site.id, *over);
            }
            self.pump(now);
        }
    }

    /// Whether a snapshot is not over on this core: there is more to walk, or chunks were
    /// not taken.
    pub fn is_being_cut(&self) -> bool {
        self.site.is_being_cut()
    }

    /// Takes a step of the walk of the snapshot that is under way, of some hundred
    /// microseconds at most; whether there is more. To be called when there is room for what
    /// it makes: what somebody waits for does not depend on it.
    pub fn go_on_cut(&mut self, now: UnixMs) -> bool {
        let more = self.site.go_on_cut();
        self.pump(now);
        more
    }

    /// Takes what the snapshot has encoded since it was last asked.
    ///
    /// # Errors
    /// The snapshot lacks something for which there was no memory: it is to be abandoned.
    pub fn take_chunks(&mut self) -> Result<Vec<Chunk>, OutOfMemory> {
        self.site.take_chunks()
    }

    /// The snapshot that is under way is of no use: no more chunks come of it. It is over
    /// when [`Node::is_being_cut`] says so: the walk goes on to its end, which takes little,
    /// with [`Node::go_on`].
    pub fn abandon_cut(&mut self) {
        self.site.abandon_cut();
    }

    /// Has a request run on the shard that owns its keys, after all that its client has
    /// sent before.
    #[inline]
    pub fn send(&mut self, owner: ShardId, client: Client, mut call: Call, args: Args<'_>) {
        // What is refused wherever it runs stays here, and may name keys of others.
        if owner == self.site.id {
            call.located = call.located.filter(|it| self.owner_of(it) == owner);
        }
        let item = Item::Request {
            call,
            client,
            number: self.site.post.numbers(1),
            reply: None,
        };
        self.site.post.batch_for(owner).push(item, args.iter());
    }

    /// Where a request that is not for one known key runs: on one shard, with
    /// its row's [`Run::whole`], or as a transaction, on several or in slices.
    pub fn place(&mut self, row: &Row, args: Args<'_>) -> Placement {
        if row.slices == InSlices::Always {
            return Placement::Several(Owners::default());
        }
        if self.site.shards == 1 {
            return Placement::One(self.site.id);
        }
        let room = self.spare_owners.take().unwrap_or_default();
        self.place_in(room, row, args)
    }

    fn place_in(&self, mut room: Owners, row: &Row, args: Args<'_>) -> Placement {
        let mut places = std::mem::take(&mut room.located);
        places.clear();
        let owner = |key: &[u8]| {
            let located = self.site.shard.locate(key);
            places.push(located);
            self.owner_of(&located)
        };
        // Refused wherever it runs; here is nearest.
        let Some(mut owners) = room.found(row, args, owner) else {
            return Placement::One(self.site.id);
        };
        owners.located = places;
        match (owners.only(), row.run) {
            (Some(only), _) => Placement::One(only),
            (None, Run::OneShard(_)) => Placement::One(self.site.id),
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
            self.site.post.keep(batch);
            return;
        }
        let mut locks_start = 0;
        let mut wants_answer = false;
        for index in 0..batch.items.len() {
            self.site.turn_to(&batch, index);
            match batch.items[index] {
                Item::Publish { .. } | Item::Tell { .. } => {
                    wants_answer |= self.site.receive_told(&mut batch.items[index]);
                }
                Item::Request { call, client, .. } => {
                    wants_answer |= self
                        .site
                        .run_or_park(now, from, client, &call, index, &mut batch);
                }
                Item::Work { .. } => {
                    self.site.run_work(index, &mut batch);
                    wants_answer = true;
                }
                Item::Release { ticket } => self.site.release_here(ticket),
                Item::Exec { .. }
                | Item::Step { .. }
                | Item::Check { .. }
                | Item::Unwatch { .. } => {
                    wants_answer |= self.site.receive_exec(now, from, index, &mut batch);
                }
                Item::Walk { call, home, client } => {
                    self.site.walk(now, home, client, call, batch.args(index));
                }
                Item::Lock {
                    ticket, locks_end, ..
                } => {
                    let locks = &batch.locks[locks_start..locks_end as usize];
                    locks_start = locks_end as usize;
                    self.site.lock_now(now, ticket, locks.to_vec());
                }
                Item::Granted { ticket, at } => self.granted(now, ticket, at),
                Item::Part { .. } => debug_assert!(false, "the box names its convoy"),
                Item::Late { .. } => self.take_late(index, &mut batch),
                Item::Ended { .. } => self.take_ended(now, from, index, &mut batch),
                Item::Piece { .. } | Item::Ask { .. } | Item::Drop { .. } => {
                    self.site.receive_long(&mut batch, index);
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
        if wants_answer {
            self.send_back(now, from, batch);
        } else {
            self.site.post.keep(batch);
        }
    }

    /// A box goes back with its answers.
    fn send_back(&mut self, now: UnixMs, from: ShardId, mut batch: Box<Batch>) {
        batch.answered = true;
        if from == self.site.id {
            self.take_answers(now, from, &mut batch);
            self.site.post.keep(batch);
        } else {
            self.site.post.depart(from, batch);
        }
    }

    /// Hands out the replies for clients of this core and forgets them.
    pub fn replies(&mut self, deliver: impl FnMut(Replied<'_>)) {
        self.site.post.hand_out(deliver);
    }

    /// Whether [`Node::replies`] has any.
    #[inline]
    pub fn has_replies(&self) -> bool {
        self.site.post.has_answers()
    }

    /// A transaction that is still under way.
    fn transaction(&mut self, ticket: Ticket) -> Option<&mut Transaction> {
        let transaction = self.transactions.get_mut(ticket.index())?;
        (transaction.ticket == ticket).then_some(transaction)
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
            if self.site.has_appeared() {
                self.serve_appeared(now);
            }
            let Some(ticket) = self.site.next_granted() else {
                return;
            };
            match ticket.kind {
                TicketKind::Convoy => self.run_parked_box(now, ticket),
                TicketKind::Request => self.site.run_parked(now, ticket),
                TicketKind::Key => {
                    let ready = self.site.look(now, ticket);
                    self.hear(now, ready);
                }
                TicketKind::Snapshot => debug_assert!(false, "it never waits"),
                TicketKind::Transaction | TicketKind::Program => {
                    let at = self.site.looks_at(ticket).unwrap_or(now);
                    if ticket.home == self.site.id {
                        self.granted(now, ticket, at);
                    } else {
                        self.site
                            .post
                            .tell(ticket.home, Item::Granted { ticket, at });
                    }
                }
            }
        }
    }
}
