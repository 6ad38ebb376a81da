//! Requests that wait for a key to appear: BLPOP and its kin.
//!
//! A handler that finds nothing says [`CommandError::Blocked`]. What follows
//! depends on where its keys lie:
//!
//! - All on one shard: the request waits there, and the shard alone decides
//!   whether it is served, has waited long enough, or is told to stop. When a
//!   key appears the request runs again, at once and before anything else can
//!   see the key: first come, first served.
//! - On several shards: the home core decides. It has every shard note the
//!   keys while all of them are still locked, so that nothing appears unseen.
//!   A shard where one appears locks it and *offers* it, with what was read of
//!   it. The home core then recalls the request from all other shards; each
//!   answers, or has an offer under way. With all answers in, it takes the first
//!   in the order of the request and gives the other locks back.
//! - If somebody has a key of it locked on a shard that makes no offer (a block that
//!   fills several of its keys), that key may be the first: then the home core gives all
//!   back and tries the whole request anew, as a transaction.
//! - If to serve it takes another shard, too (BLMOVE), the shard tells the home core
//!   that its turn has come, which tries the whole request anew as well.
//!
//! Until it is known how that has ended, it keeps its place on all shards: nobody
//! behind it is served, and if it has ended in vain it goes on waiting where it was.
//!
//! A key that is locked when it appears is looked at when its turn comes: a ticket
//! of its own waits in the queue of the lock, behind the requests that wait there
//! already and before all that come later, so that those who wait for the key are
//! not starved by a stream of blocks. If it turns out that the first of them has
//! another key that is locked, one ticket waits for all of its keys.

mod scattered;

use super::Node;
use crate::command::{Args, Decide, OwnedArgs, Row};
use crate::error::CommandError;
use crate::order::batch::{Batch, Item, Noted};
use crate::order::call::Call;
use crate::order::locks::{Lock, Scope};
use crate::order::reply::Ran;
use crate::order::ticket::{Client, Ticket, TicketKind};
use crate::order::transaction::Transaction;
use crate::order::waiters::{Unblock, Waiter};
use crate::resp::{Protocol, Reply};
use crate::shard::Shard;
use crate::types::{DbIndex, ShardId, Type, UnixMs, Waiting};
use hashbrown::{HashMap, HashSet};
use slab::Slab;
use std::collections::BTreeSet;

/// A request with keys on several shards that waits, at its home core.
pub(super) struct Scattered {
    client: Client,
    call: Call,
    row: &'static Row,
    decide: Decide,
    request: OwnedArgs,
    waiting: Waiting,
    /// Who has noted keys of it.
    shards: Vec<ShardId>,
    /// What was read of each key: nothing to take, unless it is offered.
    read: Vec<Vec<u8>>,
    /// Keys that are held for it.
    offers: Vec<(ShardId, Ticket)>,
    /// Once there is an offer: shards that have not yet said whether they have
    /// one, too.
    undecided: usize,
    /// None of them may have one that is not made yet.
    sure: bool,
    /// Its waiting is to end, unless what is offered is enough for it.
    ended: Option<Unblock>,
}

/// The home core's part.
pub(super) struct Blocked {
    scattered: HashMap<u64, Scattered, ahash::RandomState>,
    deadlines: BTreeSet<(UnixMs, u64)>,
    /// Keys of this shard that are offered, or wait in a lock's queue.
    offers: Slab<(Box<[u8]>, Type)>,
    /// Hashes of those that wait in a queue.
    queued: HashSet<(u64, Type), ahash::RandomState>,
    /// See [`Node::begun_to_wait`].
    begun: Vec<Client>,
}

impl Blocked {
    /// Nobody waits yet.
    pub(super) fn new(hasher: ahash::RandomState) -> Self {
        Self {
            scattered: HashMap::with_hasher(hasher.clone()),
            queued: HashSet::with_hasher(hasher),
            deadlines: BTreeSet::new(),
            offers: Slab::new(),
            begun: Vec::new(),
        }
    }

    fn next_deadline(&self) -> Option<UnixMs> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    fn add(&mut self, scattered: Scattered) {
        let id = scattered.client.id;
        if let Some(until) = scattered.waiting.until {
            self.deadlines.insert((until, id));
        }
        self.scattered.insert(id, scattered);
    }

    /// The request of a client that waits: this one, not a later one.
    fn of_client(&mut self, client: Client) -> Option<&mut Scattered> {
        let scattered = self.scattered.get_mut(&client.id);
        scattered.filter(|scattered| scattered.client == client)
    }

    fn take(&mut self, client: u64) -> Option<Scattered> {
        let scattered = self.scattered.remove(&client)?;
        if let Some(until) = scattered.waiting.until {
            self.deadlines.remove(&(until, client));
        }
        Some(scattered)
    }

    /// No key is held for anybody.
    pub(super) fn is_at_rest(&self) -> bool {
        self.offers.is_empty()
    }
}

impl Node {
    /// Has a request of one of this core's clients, for keys of this shard,
    /// wait, after it said so.
    pub fn wait(&mut self, client: Client, call: Call, args: Args<'_>, waiting: Waiting) {
        let args = OwnedArgs::new(args.iter());
        self.add_waiter(Waiter {
            home: self.id,
            client,
            call,
            args,
            waiting,
            elsewhere: false,
            moves: false,
            tries: false,
        });
    }

    pub(super) fn add_waiter(&mut self, waiter: Waiter) {
        let client = waiter.client;
        if waiter.args.lack_memory() {
            // Nobody would know for which keys.
            let mut reply = Vec::new();
            Reply::new(&mut reply, waiter.call.protocol).error(&CommandError::OutOfMemory);
            let nothing = OwnedArgs::default();
            let (home, ran) = (waiter.home, Ran::ended(true));
            return self.answer_late(home, client, &waiter.call, nothing.args(), ran, reply);
        }
        if !waiter.elsewhere && waiter.home != self.id {
            self.post.tell(waiter.home, Item::Waits { client });
        } else if !waiter.elsewhere {
            self.blocked.begun.push(client);
        }
        self.waiters.add(waiter);
        self.shard.effects().set_awaited(true);
    }

    fn drop_waiter(&mut self, index: usize) -> Waiter {
        let waiter = self.waiters.remove(index);
        if self.waiters.is_empty() {
            self.shard.effects().set_awaited(false);
        }
        waiter
    }

    /// Clients of this core whose requests have begun to wait. Whoever learns of
    /// it may rely on it: what is sent from now on comes after.
    #[inline]
    pub fn begun_to_wait(&mut self) -> Option<Client> {
        self.blocked.begun.pop()
    }

    /// Whether a key has appeared that somebody may wait for: then
    /// [`Node::serve`] must be called before anything else runs.
    #[inline]
    pub fn has_appeared(&self) -> bool {
        self.shard.has_appeared()
    }

    /// Serves those who wait for what has appeared.
    pub fn serve(&mut self, now: UnixMs) {
        self.pump(now);
    }

    pub(super) fn serve_appeared(&mut self, now: UnixMs) {
        while self.has_appeared() {
            if self.shard.effects().take_swapped() {
                self.look_again();
            }
            for (key, of) in self.shard.effects().take_appeared() {
                self.serve_key(now, key, of);
            }
        }
    }

    /// Has everybody who waits look again.
    fn look_again(&mut self) {
        for key in self.waiters.keys() {
            for of in [Type::List, Type::Zset] {
                self.shard.effects().appeared(&key, of);
            }
        }
    }

    fn serve_key(&mut self, now: UnixMs, key: Box<[u8]>, of: Type) {
        let hash = self.hash(&key);
        if self.next_waiter(now, &key, of, 0).is_none() {
            return;
        }
        if self.locks.allows(hash, true) {
            return self.serve_free(now, key, of, None);
        }
        let (scope, exclusive) = (Scope::Key(hash), true);
        self.queue_for(key, of, vec![Lock { scope, exclusive }]);
    }

    /// Takes a ticket, under which a key is looked at for those who wait for it;
    /// one at a time.
    fn queue_for(&mut self, key: Box<[u8]>, of: Type, locks: Vec<Lock>) {
        if self.blocked.queued.insert((self.hash(&key), of)) {
            let number = self.blocked.offers.insert((key, of));
            let ticket = self.tickets.issue(TicketKind::Key, number);
            self.lock(ticket, locks);
        }
    }

    /// The turn of a key has come that somebody waits for.
    pub(super) fn look(&mut self, now: UnixMs, ticket: Ticket) {
        let Some((key, of)) = self.blocked.offers.get(ticket.index()).cloned() else {
            return self.release_here(ticket);
        };
        self.blocked.queued.remove(&(self.hash(&key), of));
        self.serve_free(now, key, of, Some(ticket));
    }

    /// The `nth` or a later one of those who wait for a key, for which there is
    /// something: which it is, and its number.
    fn next_waiter(
        &mut self,
        now: UnixMs,
        key: &[u8],
        of: Type,
        mut nth: usize,
    ) -> Option<(usize, usize)> {
        // Databases in which somebody is being served, before those who come later.
        let mut taken: Vec<DbIndex> = Vec::new();
        loop {
            let index = self.waiters.nth(key, nth)?;
            let waiter = self.waiters.get(index);
            let (db, is_of) = (waiter.call.db, waiter.waiting.of == of);
            if is_of && waiter.tries {
                taken.push(db);
            } else if is_of && !taken.contains(&db) && self.shard.holds(now, db, key, of) {
                return Some((index, nth));
            }
            nth += 1;
        }
    }

    /// Serves those who wait for a key that nobody has locked but `ticket`.
    fn serve_free(&mut self, now: UnixMs, key: Box<[u8]>, of: Type, ticket: Option<Ticket>) {
        let hash = self.hash(&key);
        let mut nth = 0;
        while let Some((index, at)) = self.next_waiter(now, &key, of, nth) {
            nth = at;
            let waiter = self.waiters.get(index);
            if waiter.moves {
                self.looked(ticket);
                return self.give_turn(now, index);
            }
            if waiter.elsewhere {
                let first = self.first_ready(now, index, &key, of);
                if first == key {
                    // It has the ticket from now on.
                    return self.offer(now, index, &key, of, ticket);
                }
                self.looked(ticket);
                return self.offer(now, index, &first, of, None);
            }
            let locks = self.locks_of(&waiter.call, waiter.args.args());
            let free = |lock: &Lock| match lock.scope {
                Scope::Key(other) if other != hash => {
                    self.locks.allows(other, lock.exclusive)
                        || self
                            .locks
                            .holders(other)
                            .any(|holder| Some(holder) == ticket)
                }
                Scope::Key(_) | Scope::Shard => true,
            };
            if !locks.iter().all(free) {
                // Another of its keys is locked. First come first served: it is
                // looked at again when all of them are its.
                self.looked(ticket);
                return self.queue_for(key, of, locks);
            }
            if !self.serve_waiter(now, index) {
                nth += 1;
            }
        }
        self.looked(ticket);
    }

    /// A key was looked at under a ticket, if there was one.
    fn looked(&mut self, ticket: Option<Ticket>) {
        if let Some(ticket) = ticket {
            // Nothing has appeared by this alone.
            self.blocked.offers.try_remove(ticket.index());
            self.release_here(ticket);
        }
    }

    /// Runs the request of a waiter again; whether it was served.
    fn serve_waiter(&mut self, now: UnixMs, index: usize) -> bool {
        let waiter = self.waiters.get(index);
        let request = waiter.call.request(waiter.args.args());
        let mut reply = Vec::new();
        let began = (self.timing.clock)();
        let outcome = self.shard.apply(now, &request, &mut reply);
        if matches!(outcome, Err(CommandError::Blocked(_))) {
            return false;
        }
        let ran = Ran::of(&outcome, (self.timing.clock)().saturating_sub(began));
        let waiter = self.drop_waiter(index);
        let (home, client, call) = (waiter.home, waiter.client, waiter.call);
        self.answer_late(home, client, &call, waiter.args.args(), ran, reply);
        true
    }

    /// The first of a waiter's keys here that it can be offered: `key`, or one that it
    /// named before that and for which there is something, too.
    fn first_ready(&mut self, now: UnixMs, index: usize, key: &[u8], of: Type) -> Box<[u8]> {
        let Self {
            waiters,
            shard,
            locks,
            ..
        } = self;
        let waiter = waiters.get(index);
        let db = waiter.call.db;
        let mut named = waiter.args.args().iter().skip(1);
        let first = named.find(|other| {
            let is_free = |shard: &Shard| locks.allows(shard.hash(other), true);
            *other == key || is_free(shard) && shard.holds(now, db, other, of)
        });
        first.unwrap_or(key).into()
    }

    /// Tells the home core of a waiter that there is something for it, which only a
    /// transaction with other shards can take.
    fn give_turn(&mut self, now: UnixMs, index: usize) {
        self.waiters.set_tries(index, true);
        let Waiter { home, client, .. } = *self.waiters.get(index);
        if home == self.id {
            self.take_turn(now, client);
        } else {
            let item = Item::Turn { client };
            self.post.tell(home, item);
        }
    }

    /// Locks a key for a waiter that waits on other shards, too, unless `held` has
    /// it locked already, and tells its home core what was read of it.
    fn offer(&mut self, now: UnixMs, index: usize, key: &[u8], of: Type, held: Option<Ticket>) {
        self.waiters.set_tries(index, true);
        let ticket = held.unwrap_or_else(|| {
            let number = self.blocked.offers.insert((key.into(), of));
            let ticket = self.tickets.issue(TicketKind::Key, number);
            let (scope, exclusive) = (Scope::Key(self.hash(key)), true);
            let granted = self.locks.lock(ticket, vec![Lock { scope, exclusive }]);
            self.mind_waits();
            assert!(granted, "the key was free just now");
            ticket
        });
        let waiter = self.waiters.get(index);
        let (home, client) = (waiter.home, waiter.client);
        let args = waiter.args.args();
        let args = OwnedArgs::new(args.get(0).into_iter().chain([key]));
        let mut read = Vec::new();
        // An error is an element that leads to nothing: the lock comes back.
        if !args.lack_memory() {
            let request = waiter.call.request(args.args());
            let _ = self.shard.apply(now, &request, &mut read);
        }
        if home == self.id {
            self.offered(now, home, client, ticket, key, &read);
        } else {
            let item = Item::Offer { client, ticket };
            self.post
                .batch_for(home)
                .push(item, [key, &read[..]].into_iter());
        }
    }

    /// Releases what a ticket holds on this shard, and has those looked at who
    /// wait for keys that appeared meanwhile.
    pub(super) fn release_here(&mut self, ticket: Ticket) {
        self.shard.effects().end_block(ticket.block_id());
        self.look_over(ticket);
        self.locks.release(ticket, &mut self.granted);
        if ticket.home == self.id
            && ticket.kind == TicketKind::Key
            && let Some((key, of)) = self.blocked.offers.try_remove(ticket.index())
        {
            self.shard.effects().appeared(&key, of);
        }
        self.mind_waits();
    }

    /// Handles an item of a box that is about waiting.
    pub(super) fn receive_waiting(
        &mut self,
        now: UnixMs,
        from: ShardId,
        batch: &Batch,
        index: usize,
    ) {
        let args = batch.args(index);
        match batch.items[index] {
            Item::Wait { ref noted, ticket } => {
                self.note(from, **noted, OwnedArgs::new(args.iter()));
                self.release_here(ticket);
            }
            Item::Offer { client, ticket } => {
                let (key, read) = (args.get(0), args.get(1));
                let (key, read) = (key.unwrap_or_default(), read.unwrap_or_default());
                self.offered(now, from, client, ticket, key, read);
            }
            Item::Turn { client } => self.take_turn(now, client),
            Item::Waits { client } => self.blocked.begun.push(client),
            Item::Unblock { client, how } => self.unblock_here(from, client, how),
            Item::Recall { client } => self.recall(now, from, client),
            Item::Recalled { client, sure } => self.heard(now, client, sure),
            _ => {}
        }
    }

    /// Notes the keys of a request that waits on other shards, too.
    fn note(&mut self, home: ShardId, noted: Noted, args: OwnedArgs) {
        if let Some(index) = self.waiters.of_client(home, noted.client) {
            // It has tried in vain. What has appeared meanwhile is looked at.
            self.waiters.set_tries(index, false);
            return self.look_for(index);
        }
        self.add_waiter(Waiter {
            home,
            client: noted.client,
            call: noted.call,
            args,
            waiting: noted.waiting,
            elsewhere: true,
            moves: noted.moves,
            tries: false,
        });
    }

    /// Has the keys of a waiter of several shards looked at.
    fn look_for(&mut self, index: usize) {
        let waiter = self.waiters.get(index);
        let (of, args) = (waiter.waiting.of, waiter.args.clone());
        for key in args.args().iter().skip(1) {
            self.shard.effects().appeared(key, of);
        }
    }

    /// Ends the waiting of one of this core's clients. `owner` is the shard its
    /// request was for; nothing if for several. The reply, if there is to be
    /// one, comes as any other: the request may have been served meanwhile.
    pub fn unblock(&mut self, client: Client, owner: Option<ShardId>, how: Unblock) {
        if let Some(scattered) = self.blocked.of_client(client) {
            if !scattered.offers.is_empty() {
                // It is being served, or will try anew.
                if scattered.ended != Some(Unblock::Gone) {
                    scattered.ended = Some(how);
                }
            } else if let Some(scattered) = self.blocked.take(client.id) {
                self.end_scattered(&scattered, how);
            }
            return;
        }
        match owner {
            // Behind its request, which may be on its way.
            Some(_) if self.shards == 1 => self.unblock_here(self.id, client, how),
            Some(owner) => {
                self.post.tell(owner, Item::Unblock { client, how });
            }
            None => {
                // It is trying anew, and will not begin to wait again.
                let its = |(_, other): &(usize, &mut Transaction)| other.client == client;
                for (_, transaction) in self.transactions.iter_mut().filter(its) {
                    transaction.unblocked = Some(how);
                }
            }
        }
    }

    /// As [`Node::unblock`], on the shard where the request waits.
    fn unblock_here(&mut self, home: ShardId, client: Client, how: Unblock) {
        if let Some(index) = self.waiters.of_client(home, client) {
            if self.waiters.get(index).tries {
                // Those behind it have waited for how that ends.
                self.look_for(index);
            }
            let waiter = self.drop_waiter(index);
            let reply = ending(how, waiter.call.protocol);
            if !waiter.elsewhere && how == Unblock::Gone {
                self.post.send_in_vain(home, client, waiter.call.row);
            } else if !waiter.elsewhere {
                let failed = how == Unblock::Error;
                let args = waiter.args.args();
                self.answer_late(home, client, &waiter.call, args, Ran::ended(failed), reply);
            }
            return;
        }
        // It may wait for a lock. When it runs, it will not wait for more.
        for (_, request) in self.parked.iter_mut() {
            if request.home == home && request.client == client {
                request.call.alone = false;
            }
        }
    }

    /// Ends the waiting of those who have waited long enough; whether there
    /// were any.
    pub fn time_out(&mut self, now: UnixMs) -> bool {
        if self.next_timeout().is_none_or(|at| at > now) {
            return false;
        }
        while let Some(index) = self.waiters.overdue(now) {
            let waiter = self.drop_waiter(index);
            let reply = ending(Unblock::Timeout, waiter.call.protocol);
            let (home, client, call) = (waiter.home, waiter.client, waiter.call);
            let args = waiter.args.args();
            self.answer_late(home, client, &call, args, Ran::ended(false), reply);
        }
        while let Some((until, client)) = self.blocked.deadlines.first().copied()
            && until <= now
        {
            let scattered = self.blocked.take(client);
            let scattered = scattered.expect("a deadline is that of a request that waits");
            self.end_scattered(&scattered, Unblock::Timeout);
        }
        self.hurry_due(now);
        true
    }

    /// How many keys of this shard are waited for, and how many requests are to end at
    /// a deadline that this node looks after.
    pub fn waits(&self) -> (usize, usize) {
        let (keys, deadlines) = self.waiters.count();
        (keys, deadlines + self.blocked.deadlines.len())
    }

    /// When [`Node::time_out`] has something to do.
    pub fn next_timeout(&self) -> Option<UnixMs> {
        let local = self.waiters.next_deadline();
        let scattered = self.blocked.next_deadline();
        let all = [local, scattered, self.long.next_due()];
        all.into_iter().flatten().min()
    }
}

/// The reply to a request that stops waiting.
pub(super) fn ending(how: Unblock, protocol: Protocol) -> Vec<u8> {
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
