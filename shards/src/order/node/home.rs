//! What a transaction's home core does with it: collects grants, sends the
//! work out, collects the replies, and decides what is to be written.

use super::{Node, number_of};
use crate::command::{Args, Cargo, Decide, Decision};
use crate::error::CommandError;
use crate::keyspace::Parcel;
use crate::order::batch::{Batch, Call, Item, Ticket};
use crate::order::split::in_key_order;
use crate::order::transaction::{PlannedWrite, Then, Transaction, plan};
use crate::order::watch::Ran;
use crate::resp::{Protocol, Reply};
use crate::types::{ShardId, UnixMs};
use std::rc::Rc;

/// What a row decided, beside the reply.
#[derive(Default)]
pub(super) struct Decided {
    pub writes: Vec<PlannedWrite>,
    /// The reply is the write's.
    pub written_reply: bool,
}

impl Node {
    /// One more shard has granted a transaction of this node. When all have,
    /// the work goes out.
    pub(super) fn granted(&mut self, now: UnixMs, ticket: Ticket) {
        let Some(transaction) = self.transaction(ticket) else {
            return;
        };
        if !transaction.locking {
            // Its work is out already: `missing` counts replies now.
            return;
        }
        transaction.missing -= 1;
        if transaction.missing > 0 {
            return;
        }
        transaction.locking = false;
        let parts = Rc::clone(&transaction.parts);
        transaction.missing = parts.len();
        let (call, last) = (transaction.call, transaction.ends_with_parts());
        if parts.is_empty() {
            // Nothing to read, only destinations.
            let transaction = self.transactions.remove(ticket.number as usize);
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
        if shard != self.id {
            let item = Item::Work {
                call,
                ticket,
                last,
                cargo,
                reply: None,
            };
            self.batch_for(shard).push(item, args.iter());
            return;
        }
        let mut reply = Vec::new();
        let ran = self.apply(now, &call, args, &mut cargo, &mut reply);
        let ran = ran.expect("a part of a transaction never waits");
        if last {
            self.release_here(ticket);
        }
        self.take_part(now, shard, ticket, (ran, cargo.parcel), &reply);
    }

    pub(super) fn release(&mut self, shard: ShardId, ticket: Ticket) {
        if shard == self.id {
            self.release_here(ticket);
        } else {
            self.batch_for(shard)
                .push(Item::Release { ticket }, std::iter::empty());
        }
    }

    /// An answered box has come back.
    pub(super) fn take_answers(&mut self, now: UnixMs, from: ShardId, batch: &mut Batch) {
        let mut start = 0;
        let mut items = std::mem::take(&mut batch.items);
        for (index, item) in items.iter_mut().enumerate() {
            match item {
                Item::Request {
                    call,
                    client,
                    reply: Some(reply),
                } => {
                    let bytes = &batch.replies[start..reply.end];
                    let slow = self.watch.keep(reply.ran.ticks, batch.args(index));
                    self.answer(*client, call.row, reply.ran, slow, bytes);
                    start = reply.end;
                }
                Item::Work {
                    ticket,
                    cargo,
                    reply: Some(reply),
                    ..
                } => {
                    let bytes = &batch.replies[start..reply.end];
                    start = reply.end;
                    let parcel = cargo.parcel.take();
                    self.take_part(now, from, *ticket, (reply.ran, parcel), bytes);
                }
                _ => {}
            }
        }
        batch.items = items;
        self.pump(now);
    }

    /// A part's reply has come.
    fn take_part(
        &mut self,
        now: UnixMs,
        from: ShardId,
        ticket: Ticket,
        (ran, parcel): (Ran, Option<Box<Parcel>>),
        reply: &[u8],
    ) {
        let Some(transaction) = self.transaction(ticket) else {
            return;
        };
        if !transaction.take(from, ran, reply, parcel) {
            return;
        }
        let mut transaction = self.transactions.remove(ticket.number as usize);
        if let Then::Decide { .. } = transaction.then {
            self.decide(now, transaction);
            return;
        }
        let mut out = Vec::new();
        let failed = transaction.merged(&mut out);
        self.finish(&transaction, failed, &out);
    }

    /// A transaction is over: its client gets its reply.
    fn finish(&mut self, transaction: &Transaction, failed: bool, reply: &[u8]) {
        let ticks = transaction.ticks;
        let slow = (ticks >= self.watch.slow).then(|| Box::new(transaction.request()));
        let (client, row) = (transaction.client, transaction.call.row);
        self.answer(client, row, Ran { failed, ticks }, slow, reply);
    }

    /// Everything is read: the row decides what the reply is and what to write.
    fn decide(&mut self, now: UnixMs, mut transaction: Transaction) {
        let mut out = Vec::new();
        let (decided, failed) = match &transaction.error {
            Some((_, error)) => {
                out.extend_from_slice(error);
                (Decided::default(), true)
            }
            None => match self.decision(now, &mut transaction, &mut out) {
                Ok(decided) => (decided, false),
                Err(CommandError::Blocked(waiting)) => return self.scatter(transaction, waiting),
                Err(_) => (Decided::default(), true),
            },
        };
        let planned = decided.writes;
        for shard in &transaction.participants {
            if !planned.iter().any(|write| write.shard == *shard) {
                self.release(*shard, transaction.ticket);
            }
        }
        if planned.is_empty() {
            self.finish(&transaction, failed, &out);
            return;
        }
        transaction.then = if decided.written_reply {
            transaction.call.protocol = transaction.protocol;
            Then::Written
        } else {
            Then::Reply(out)
        };
        transaction.missing = planned.len();
        transaction.replies.clear();
        let (call, ticket) = (transaction.call, transaction.ticket);
        // The same number again: it was freed just now.
        let again = number_of(self.transactions.insert(transaction));
        assert_eq!(again, ticket.number, "a slab reuses the place freed last");
        for PlannedWrite {
            shard,
            handler,
            args,
            db,
            parcel,
            last,
        } in planned
        {
            let db = db.unwrap_or(call.db);
            let call = Call {
                handler,
                db,
                ..call
            };
            let cargo = Cargo { key: 0, parcel };
            self.work(now, shard, ticket, (call, last, cargo), args.args());
        }
    }

    /// What the row decides, or the error, which `out` has then.
    fn decision(
        &mut self,
        now: UnixMs,
        transaction: &mut Transaction,
        out: &mut Vec<u8>,
    ) -> Result<Decided, CommandError> {
        let parcel = transaction.parcel.take();
        let (Then::Decide { decide, .. }, Some(request)) =
            (&transaction.then, &transaction.request)
        else {
            return Ok(Decided::default());
        };
        let read = in_key_order(&transaction.owners, &transaction.replies);
        let may_block = transaction.call.may_block;
        let (args, protocol) = (request.args(), transaction.protocol);
        self.decided(now, *decide, args, &read, parcel, protocol, may_block, out)
    }

    /// See [`Node::decision`], with what was read in the order of the keys.
    #[allow(clippy::too_many_arguments)] // what a decision is made from
    pub(super) fn decided(
        &mut self,
        now: UnixMs,
        decide: Decide,
        args: Args<'_>,
        read: &[&[u8]],
        parcel: Option<Box<Parcel>>,
        protocol: Protocol,
        may_block: bool,
        out: &mut Vec<u8>,
    ) -> Result<Decided, CommandError> {
        let random = self.shard.random();
        let reply = Reply::new(out, protocol);
        let mut decision = Decision::new(args, read, &self.shard.settings, reply);
        (decision.random, decision.now, decision.may_block) = (random, now, may_block);
        decision.parcel = parcel;
        let decided = decide(&mut decision);
        let (put, writes) = (decision.put.take(), std::mem::take(&mut decision.writes));
        let written_reply = decision.written_reply;
        match decided {
            Ok(()) => Ok(Decided {
                writes: plan(put, writes, |key| self.owner(key)),
                written_reply,
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
