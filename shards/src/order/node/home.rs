//! What a transaction's home core does with it: collects grants, sends the
//! work out, collects the replies, and decides what is to be written.

use super::Node;
use crate::command::{
    Args, Cargo, Decide, Decision, Errand, Further, Handler, OwnedArgs, Row, Run, Work, Write,
    snapshot,
};
use crate::error::CommandError;
use crate::keyspace::Parcel;
use crate::order::batch::{Item, placed};
use crate::order::call::Call;
use crate::order::locks::Lock;
use crate::order::reply::Ran;
use crate::order::split::{Owners, in_key_order, part_step};
use crate::order::ticket::{Client, Ticket, TicketKind, number_of};
use crate::order::transaction::{PlannedWrite, Retry, Then, Transaction, plan};
use crate::order::waiters::{Unblock, ending};
use crate::resp::{Protocol, Reply};
use crate::types::{ShardId, UnixMs};
use std::rc::Rc;

/// What a row decided, beside the reply.
#[derive(Default)]
pub(super) struct Decided {
    pub writes: Vec<PlannedWrite>,
    /// The reply is the write's.
    pub written_reply: bool,
    /// What follows the reply.
    pub pieces: Vec<Vec<u8>>,
    /// Nothing is decided yet.
    pub further: Option<Further>,
    /// The reply is longer than it may be: there is none.
    pub too_long: bool,
}

/// What a row decides on. Without further rounds `first` is the same as `read`.
#[derive(Clone, Copy, Default)]
pub(super) struct Seen<'a> {
    pub read: &'a [&'a [u8]],
    pub first: &'a [&'a [u8]],
    pub owners: &'a [ShardId],
    pub destination: Option<ShardId>,
}

impl Node {
    /// Begins a transaction: a request whose keys lie on several shards, or
    /// that concerns all of every shard. The reply comes through
    /// [`Node::replies`]. The client must have no single-shard request under way.
    pub fn begin(
        &mut self,
        now: UnixMs,
        client: Client,
        call: Call,
        row: &'static Row,
        args: Args<'_>,
        owners: Owners,
    ) {
        match row.run {
            Run::ByCursor(_) => return self.site.walk(now, self.site.id, client, call, args),
            Run::EachShard { part, merge } if !owners.shards.is_empty() => {
                let call = Call {
                    handler: part,
                    located: None,
                    ..call
                };
                return self.join((client, call, merge), row, owners, args);
            }
            _ => self.close_convoy(),
        }
        self.begin_composed(now, self.compose(client, call, row, args, owners), None);
    }

    /// Begins a snapshot on all shards, for the server itself or for a client with no
    /// request under way. What there was at the cut comes through [`Node::replies`]; see
    /// [`snapshot::Begun`].
    pub fn cut(&mut self, now: UnixMs, client: Client) {
        let call = Call::of(&snapshot::CUT);
        let args = OwnedArgs::new([snapshot::CUT.name.as_bytes()]);
        let all = Owners::default();
        self.begin(now, client, call, &snapshot::CUT, args.args(), all);
    }

    /// Begins a transaction that is composed; `retries` if it has waited before.
    pub(super) fn begin_composed(
        &mut self,
        now: UnixMs,
        composed: Option<(Transaction, Vec<(ShardId, Lock)>)>,
        retries: Option<Retry>,
    ) {
        let Some((mut transaction, locks)) = composed else {
            return;
        };
        transaction.retries = retries;
        let index = self.transactions.vacant_key();
        let ticket = self.site.tickets.issue(TicketKind::Transaction, index);
        transaction.ticket = ticket;
        self.transactions.insert(transaction);
        self.ask_for_place(now, ticket, &locks);
        self.pump(now);
    }

    /// A transaction that has no ticket yet, and what it is to lock. Nothing for
    /// a row that has no parts.
    pub(super) fn compose(
        &self,
        client: Client,
        call: Call,
        row: &'static Row,
        args: Args<'_>,
        mut owners: Owners,
    ) -> Option<(Transaction, Vec<(ShardId, Lock)>)> {
        let protocol = call.protocol;
        let mut request = None;
        let (handler, skip, call_protocol, then) = match row.run {
            Run::OneShard(_) | Run::ByCursor(_) => return None,
            Run::EachShard { part, merge } => (part, 0, protocol, Then::Merge(merge)),
            Run::ReadThenWrite { read, decide, .. } | Run::Relocate { read, decide, .. } => {
                request = Some(OwnedArgs::new(args.iter()));
                let then = Then::Decide { decide, row };
                (read, row.run.skip(), Protocol::Resp2, then)
            }
        };
        let parts = owners.parts(row, args, self.site.shards);
        let participants = owners.participants(self.site.shards);
        let locks = self.locks_for(&owners, &participants, call.write, args);
        let elements = match owners.shards.is_empty() {
            true => participants.clone(),
            false => owners.shards.split_off(skip.min(owners.shards.len())),
        };
        let destination = owners.shards.first().filter(|_| skip > 0).copied();
        let call = Call {
            handler,
            protocol: call_protocol,
            located: None,
            ..call
        };
        let mut transaction = Transaction::new(client, call, then, parts);
        transaction.protocol = protocol;
        if !owners.positions.is_empty() {
            transaction.step = part_step(row);
        }
        transaction.request = request;
        transaction.missing = participants.len();
        transaction.participants = participants;
        transaction.owners = elements;
        transaction.destination = destination;
        Some((transaction, locks))
    }

    /// Takes a transaction's place in the order: every shard is told what it is to
    /// lock, in boxes that leave together. `locks` are in shard order.
    pub(super) fn ask_for_place(&mut self, now: UnixMs, ticket: Ticket, locks: &[(ShardId, Lock)]) {
        let number = self.site.post.numbers(1);
        for group in locks.chunk_by(|a, b| a.0 == b.0) {
            let Some((shard, _)) = group.first() else {
                continue;
            };
            let locks = group.iter().map(|(_, lock)| *lock);
            if self.site.shards == 1 {
                self.site.lock_now(now, ticket, locks.collect());
                continue;
            }
            let batch = self.site.post.batch_for(*shard);
            batch.locks.extend(locks);
            let locks_end = number_of(batch.locks.len());
            let item = Item::Lock {
                ticket,
                number,
                locks_end,
            };
            batch.push(item, std::iter::empty());
        }
    }

    /// What a transaction locks: its keys, or all of every shard that takes part.
    pub(super) fn locks_for(
        &self,
        owners: &Owners,
        participants: &[ShardId],
        exclusive: bool,
        args: Args<'_>,
    ) -> Vec<(ShardId, Lock)> {
        if owners.shards.is_empty() {
            let whole = Lock::of_shard(exclusive);
            return participants.iter().map(|shard| (*shard, whole)).collect();
        }
        let keys = owners.positions.iter().filter_map(|at| args.get(*at));
        let keys = keys.map(|key| Lock::of_key(self.site.locate(key), exclusive));
        let mut locks = Vec::with_capacity(owners.shards.len());
        locks.extend(owners.shards.iter().copied().zip(keys));
        locks.sort_unstable_by_key(|(shard, lock)| (*shard, lock.scope));
        locks.dedup_by_key(|(shard, lock)| (*shard, lock.scope));
        locks
    }

    /// One more shard has granted a transaction of this node, at this instant. When
    /// all have, the work goes out.
    pub(super) fn granted(&mut self, now: UnixMs, ticket: Ticket, at: UnixMs) {
        if ticket.kind == TicketKind::Program {
            return self.program_granted(now, ticket, at);
        }
        let Some(transaction) = self.transaction(ticket) else {
            return;
        };
        if !transaction.locking {
            // Its work is out already: `missing` counts replies now.
            return;
        }
        transaction.at = transaction.at.max(at);
        transaction.missing -= 1;
        if transaction.missing > 0 {
            return;
        }
        transaction.locking = false;
        let parts = Rc::clone(&transaction.parts);
        transaction.missing = parts.len();
        let (call, last) = (transaction.first_call(), transaction.ends_with_parts());
        if parts.is_empty() {
            // Nothing to read, only destinations.
            let transaction = self.transactions.remove(ticket.index());
            self.decide(now, transaction);
            return;
        }
        for (shard, args) in parts.iter() {
            let cargo = match self.transaction(ticket) {
                Some(transaction) => transaction.cargo(*shard),
                None => return,
            };
            self.work(now, *shard, ticket, (call, last, cargo), args.args());
        }
    }

    /// Runs a part here, or sends it.
    pub(super) fn work(
        &mut self,
        now: UnixMs,
        shard: ShardId,
        ticket: Ticket,
        (call, last, mut cargo): (Call, bool, Cargo),
        args: Args<'_>,
    ) {
        let tells_places = self.site.shard.is_ordering_notices();
        let Some(transaction) = self.transaction(ticket) else {
            return;
        };
        let (at, within) = (transaction.at, transaction.within(shard));
        let number = transaction.parent.map_or(0, |(_, number)| number);
        let places = tells_places.then(|| Box::new(transaction.places(shard)));
        if shard != self.site.id {
            let item = Item::Work {
                call,
                ticket,
                within,
                number,
                places,
                at,
                last,
                cargo,
                reply: None,
            };
            self.site.post.batch_for(shard).push(item, args.iter());
            return;
        }
        let mut reply = Vec::new();
        cargo.divisible = true;
        self.site.group(within, number);
        let ran = self.site.apply(at, &call, args, &mut cargo, &mut reply);
        let effects = self.site.shard.effects();
        if let Some(places) = places {
            effects.place_part(placed(args, &places));
        }
        effects.leave_ticket();
        let ran = ran.expect("a part of a transaction never waits");
        if cargo.goes_on() {
            let who = (at, ticket, within, number);
            return self
                .site
                .put_off(who, (call, last, cargo), None, args, (ran, reply));
        }
        if last {
            self.site.release_here(ticket);
        }
        self.take_part(now, shard, ticket, (ran, cargo), reply);
    }

    pub(super) fn release(&mut self, shard: ShardId, ticket: Ticket) {
        if shard == self.site.id {
            self.site.release_here(ticket);
        } else {
            self.site.post.tell(shard, Item::Release { ticket });
        }
    }

    /// A part's reply has come.
    pub(super) fn take_part(
        &mut self,
        now: UnixMs,
        from: ShardId,
        ticket: Ticket,
        (ran, cargo): (Ran, Cargo),
        reply: Vec<u8>,
    ) {
        let Some(transaction) = self.transaction(ticket) else {
            return;
        };
        let over = transaction.take(from, ran, reply, cargo);
        if !over {
            return;
        }
        let mut transaction = self.transactions.remove(ticket.index());
        if let Then::Decide { .. } = transaction.then {
            self.decide(now, transaction);
            return;
        }
        let mut out = Vec::new();
        let (failed, pieces) = transaction.merged(&mut out, self.site.reply_bytes_max());
        self.end_with(now, &transaction, (failed, out), pieces);
    }

    /// A transaction has its reply.
    pub(super) fn end(
        &mut self,
        now: UnixMs,
        transaction: &Transaction,
        failed: bool,
        reply: Vec<u8>,
    ) {
        let places = transaction.retries.iter().flat_map(|retry| &retry.places);
        for shard in places {
            // Behind the release of its locks.
            self.forget(*shard, transaction.client);
        }
        let is_unserved = matches!(transaction.then, Then::Decide { .. }) && reply.is_empty();
        if transaction.unblocked == Some(Unblock::Gone) && is_unserved {
            let (client, row) = (transaction.client, transaction.call.row);
            return self.site.post.send_in_vain(self.site.id, client, row);
        }
        let reply = match transaction.too_long {
            true => Vec::new(),
            false => reply,
        };
        let ticks = transaction.ticks;
        let slow = (ticks >= self.site.timing.slow).then(|| Box::new(transaction.request()));
        let (client, row, ran) = (
            transaction.client,
            transaction.call.row,
            Ran {
                failed,
                too_long: transaction.too_long,
                ticks,
            },
        );
        match transaction.parent {
            None => self.site.post.answer_owned(client, row, ran, slow, reply),
            Some((ticket, index)) => {
                self.step_done(now, (ticket, index as usize), (row, ran, slow), reply);
            }
        }
    }

    /// Everything is read: the row decides what the reply is and what to write.
    fn decide(&mut self, now: UnixMs, mut transaction: Transaction) {
        let mut out = Vec::new();
        let (mut decided, failed) = match &transaction.error {
            // What was read is not there to decide on, or nobody for whom to.
            _ if transaction.too_long || transaction.is_in_vain() => (Decided::default(), false),
            Some((_, error)) => {
                out.extend_from_slice(error);
                (Decided::default(), true)
            }
            None => match self.decision(&mut transaction, &mut out) {
                Ok(decided) => (decided, false),
                Err(CommandError::Blocked(blocked)) => match transaction.unblocked {
                    None => return self.scatter(transaction, &blocked),
                    Some(how) => {
                        out.extend(ending(how, transaction.protocol));
                        (Decided::default(), how == Unblock::Error)
                    }
                },
                Err(_) => (Decided::default(), true),
            },
        };
        transaction.too_long |= decided.too_long;
        if let Some(further) = decided.further.take() {
            return self.go_further(now, transaction, further);
        }
        let planned = decided.writes;
        for shard in &transaction.participants {
            if transaction.parent.is_none() && !planned.iter().any(|write| write.shard == *shard) {
                self.release(*shard, transaction.ticket);
            }
        }
        if planned.is_empty() {
            self.end_with(now, &transaction, (failed, out), decided.pieces);
            return;
        }
        let parent = transaction.parent;
        // What is written in slices must be over before the next command begins.
        let brings_work = planned.iter().any(|write| write.cargo.sliced.is_some());
        let is_heavy = brings_work || transaction.is_heavy();
        transaction.then = if decided.written_reply {
            transaction.call.protocol = transaction.protocol;
            Then::Written
        } else {
            Then::Reply(out)
        };
        transaction.missing = planned.len();
        transaction.replies.clear();
        let (call, ticket) = (transaction.call, transaction.ticket);
        self.put_back(transaction);
        for PlannedWrite {
            shard,
            handler,
            args,
            db,
            cargo,
            last,
        } in planned
        {
            let db = db.unwrap_or(call.db);
            let call = Call {
                handler,
                db,
                ..call
            };
            let last = last && parent.is_none();
            self.work(now, shard, ticket, (call, last, cargo), args.args());
        }
        if let Some(parent) = parent.filter(|_| !is_heavy) {
            self.writes_sent(now, parent);
        }
    }

    /// A transaction that was taken away just now goes on, under the same number.
    fn put_back(&mut self, transaction: Transaction) {
        let number = transaction.ticket.number;
        let again = number_of(self.transactions.insert(transaction));
        assert_eq!(again, number, "a slab reuses the place freed last");
    }

    /// Has shards run another round before there is a decision.
    fn go_further(&mut self, now: UnixMs, mut transaction: Transaction, further: Further) {
        let call = transaction.call;
        let asks: Vec<(ShardId, Handler, OwnedArgs, Cargo)> = match further {
            Further::Keys(asks) => {
                transaction.ask_about_keys(&asks);
                let asks = asks.into_iter();
                asks.map(|ask| (ask.shard, ask.handler, ask.args, Cargo::default()))
                    .collect()
            }
            Further::Errands(errands) => {
                transaction.replies.clear();
                transaction.rounds = None;
                let errands = errands.into_iter();
                let ask = |errand: Errand| {
                    let key = errand.args.args().get(1).unwrap_or_default();
                    let shard = errand.shard.unwrap_or_else(|| self.owner(key));
                    let cargo = Cargo::with_work(errand.work);
                    (shard, errand.handler, errand.args, cargo)
                };
                errands.map(ask).collect()
            }
        };
        transaction.missing = asks.len();
        let ticket = transaction.ticket;
        self.put_back(transaction);
        for (shard, handler, args, mut cargo) in asks {
            cargo.inner = true;
            let how = (Call { handler, ..call }, false, cargo);
            self.work(now, shard, ticket, how, args.args());
        }
    }

    /// What the row decides, or the error, which `out` has then.
    fn decision(
        &mut self,
        transaction: &mut Transaction,
        out: &mut Vec<u8>,
    ) -> Result<Decided, CommandError> {
        let brought = (transaction.parcel.take(), transaction.take_works());
        let mut fits = true;
        if let Some(rounds) = &mut transaction.rounds {
            fits = rounds.take(std::mem::take(&mut transaction.replies));
        }
        let (Then::Decide { decide, .. }, Some(request)) =
            (&transaction.then, &transaction.request)
        else {
            return Ok(Decided::default());
        };
        if request.lack_memory() || !fits {
            Reply::new(out, transaction.protocol).error(&CommandError::OutOfMemory);
            return Err(CommandError::OutOfMemory);
        }
        let rounds = transaction.rounds.as_deref();
        let replies = rounds.map_or(&transaction.replies, |rounds| &rounds.first);
        // Where work goes on, nothing was read.
        let first = match brought.1.is_empty() {
            true => in_key_order(&transaction.owners, replies),
            false => Vec::new(),
        };
        let mut read = first.clone();
        let known = rounds.iter().flat_map(|rounds| rounds.known.iter());
        for (read, known) in read.iter_mut().zip(known) {
            *read = known.as_deref().unwrap_or(read);
        }
        let seen = Seen {
            read: &read,
            first: &first,
            owners: &transaction.owners,
            destination: transaction.destination,
        };
        let alone = transaction.call.alone;
        let (args, protocol) = (request.args(), transaction.protocol);
        self.decided(
            transaction.at,
            *decide,
            args,
            seen,
            brought,
            protocol,
            alone,
            out,
        )
    }

    /// See [`Node::decision`], with what was read in the order of the keys, judged
    /// at `now`.
    #[allow(clippy::too_many_arguments)] // what a decision is made from
    pub(super) fn decided(
        &mut self,
        now: UnixMs,
        decide: Decide,
        args: Args<'_>,
        seen: Seen<'_>,
        (parcel, works): (Option<Box<Parcel>>, Vec<Work>),
        protocol: Protocol,
        alone: bool,
        out: &mut Vec<u8>,
    ) -> Result<Decided, CommandError> {
        let chance = self.site.shard.chance();
        let (random, seed) = (chance.choices.next(), chance.seeds.next());
        let max = self.site.shard.settings.reply_max;
        let reply = Reply::until(out, protocol, max.bytes);
        let mut decision = Decision::new(args, seen.read, &self.site.shard.settings, reply);
        (decision.first, decision.owners) = (seen.first, seen.owners);
        (decision.works, decision.destination) = (works, seen.destination);
        decision.home = self.site.id;
        (decision.random, decision.seed) = (random, seed);
        (decision.now, decision.alone) = (now, alone);
        decision.parcel = parcel;
        let decided = decide(&mut decision);
        let (put, writes) = (decision.put.take(), std::mem::take(&mut decision.writes));
        let (errand, further) = (decision.errand.take(), decision.further.take());
        let written_reply = decision.written_reply || errand.is_some();
        let pieces = std::mem::take(&mut decision.pieces);
        let follows: usize = pieces.iter().map(Vec::len).sum();
        let is_cut = decision.reply.is_cut() || follows > max.bytes;
        let lacks = |write: &Write| write.args.lack_memory();
        let lacks = writes.iter().any(lacks)
            || errand.iter().any(|errand| errand.args.lack_memory())
            || match &further {
                None => false,
                Some(Further::Keys(asks)) => asks.iter().any(|ask| ask.args.lack_memory()),
                Some(Further::Errands(all)) => all.iter().any(|it| it.args.lack_memory()),
            };
        let decided = match decided {
            Ok(()) if put.is_none() && lacks => Err(CommandError::OutOfMemory),
            // Nothing has changed that an error would deny.
            Ok(()) if is_cut && !max.closes && put.is_none() && writes.is_empty() => {
                Err(CommandError::OutOfMemory)
            }
            other => other,
        };
        match decided {
            Ok(()) => Ok(Decided {
                too_long: is_cut,
                writes: plan(put, writes, errand, |key| self.owner(key)),
                written_reply,
                pieces: if is_cut { Vec::new() } else { pieces },
                further,
            }),
            Err(error) => {
                out.clear();
                if !matches!(error, CommandError::Blocked(_)) {
                    Reply::new(out, protocol).error(&error);
                }
                Err(error)
            }
        }
    }
}
