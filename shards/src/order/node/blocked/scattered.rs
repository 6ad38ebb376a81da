//! Requests with keys on several shards that wait: their home cores' part.
//!
//! See [`blocked`](super) for who decides what.

use super::super::Node;
use super::super::home::Seen;
use super::{Scattered, ending};
use crate::command::{Args, Cargo, KeySpec, OwnedArgs, Row, Run};
use crate::error::CommandError;
use crate::order::batch::{Item, Noted};
use crate::order::call::Call;
use crate::order::reply::Ran;
use crate::order::split::{Owners, after_line, in_key_order};
use crate::order::ticket::{Client, Ticket, TicketKind};
use crate::order::transaction::{PlannedWrite, Retry, Then, Transaction};
use crate::order::waiters::Unblock;
use crate::resp::Protocol;
use crate::types::{ShardId, UnixMs, Waiting};

impl Node {
    /// A transaction that may wait has found nothing: every shard notes its
    /// keys, then releases them.
    pub(in crate::order::node) fn scatter(&mut self, transaction: Transaction, waiting: Waiting) {
        // It has waited before, and its time goes on.
        let retries = transaction.retries.as_ref();
        let waiting = retries.map_or(waiting, |retry| retry.waiting);
        let (Then::Decide { decide, row }, Some(request)) = (transaction.then, transaction.request)
        else {
            return;
        };
        let (client, ticket, call) = (transaction.client, transaction.ticket, transaction.call);
        // Nobody else gets at its keys before every shard has noted them.
        self.blocked.begun.push(client);
        let args = request.args();
        let keys: Vec<&[u8]> = keys_read(row, args);
        let awaited = keys_awaited(row, args);
        let mut shards = Vec::new();
        for shard in &transaction.participants {
            let own = keys.iter().zip(&transaction.owners);
            let own = own
                .filter(|(key, owner)| *owner == shard && awaited.contains(key))
                .map(|(key, _)| *key);
            let part = OwnedArgs::new(args.get(0).into_iter().chain(own));
            if part.args().len() < 2 {
                self.release(*shard, ticket);
                continue;
            }
            shards.push(*shard);
            let noted = Noted {
                call,
                client,
                waiting,
                moves: row.keys.iter().any(is_destination),
            };
            if *shard == self.id {
                self.note(self.id, noted, part);
                self.release_here(ticket);
            } else {
                let item = Item::Wait {
                    noted: Box::new(noted),
                    ticket,
                };
                self.post.batch_for(*shard).push(item, part.args().iter());
            }
        }
        let read = in_key_order(&transaction.owners, &transaction.replies);
        let read = read.into_iter().map(<[u8]>::to_vec).collect();
        self.blocked.add(Scattered {
            client,
            call: Call {
                protocol: transaction.protocol,
                ..call
            },
            row,
            decide,
            request,
            waiting,
            shards,
            read,
            offers: Vec::new(),
            undecided: 0,
            sure: true,
            ended: None,
        });
    }

    /// A shard holds a key for one of this core's clients.
    pub(super) fn offered(
        &mut self,
        now: UnixMs,
        from: ShardId,
        client: Client,
        ticket: Ticket,
        key: &[u8],
        read: &[u8],
    ) {
        let Some(scattered) = self.blocked.of_client(client) else {
            self.release(from, ticket);
            return;
        };
        let keys = keys_read(scattered.row, scattered.request.args());
        for (_, read_before) in keys
            .iter()
            .zip(&mut scattered.read)
            .filter(|(k, _)| **k == key)
        {
            *read_before = after_line(read).to_vec();
        }
        let first = scattered.offers.is_empty();
        scattered.offers.push((from, ticket));
        if !first {
            self.heard(now, client, true);
            return;
        }
        let others = scattered.shards.iter().copied();
        let others: Vec<ShardId> = others.filter(|shard| *shard != from).collect();
        // One more for this offer itself, which is heard below.
        scattered.undecided = others.len() + 1;
        if let Some(until) = scattered.waiting.until {
            self.blocked.deadlines.remove(&(until, client.id));
        }
        for shard in others {
            if shard == self.id {
                self.recall(now, self.id, client);
            } else {
                let item = Item::Recall { client };
                self.post.tell(shard, item);
            }
        }
        self.heard(now, client, true);
    }

    /// Another shard holds a key for a client: it is not to be offered any here.
    /// No answer if this shard has made an offer, too: that is one.
    pub(super) fn recall(&mut self, now: UnixMs, home: ShardId, client: Client) {
        let index = self.waiters.of_client(home, client);
        let Some(index) = index.filter(|index| !self.waiters.get(*index).tries) else {
            return;
        };
        self.waiters.set_tries(index, true);
        let args = self.waiters.get(index).args.args();
        let is_free = |key: &[u8]| self.locks.allows(self.shard.hash(key), false);
        let sure = args.iter().skip(1).all(is_free);
        if home == self.id {
            self.heard(now, client, sure);
        } else {
            self.post.tell(home, Item::Recalled { client, sure });
        }
    }

    /// One more shard has said whether it holds a key for a client, or is not sure
    /// that there is none. When all have, the request is served.
    pub(super) fn heard(&mut self, now: UnixMs, client: Client, sure: bool) {
        let Some(scattered) = self.blocked.of_client(client) else {
            return;
        };
        scattered.undecided -= 1;
        scattered.sure &= sure;
        if scattered.undecided > 0 {
            return;
        }
        let Some(scattered) = self.blocked.take(client.id) else {
            return;
        };
        let is_over = match scattered.ended {
            Some(Unblock::Gone) => {
                self.answer_ended(&scattered, Unblock::Gone);
                true
            }
            _ => scattered.sure && self.choose(now, &scattered),
        };
        if !is_over {
            // Behind the locks that are released now.
            self.try_anew(now, &scattered);
        }
        for (shard, ticket) in scattered.offers {
            self.release(shard, ticket);
        }
        if is_over {
            for shard in scattered.shards {
                self.forget(shard, client);
            }
        }
    }

    /// Takes the first of the keys that are held for a request; false if that needs
    /// more than them.
    pub(super) fn choose(&mut self, now: UnixMs, scattered: &Scattered) -> bool {
        let client = scattered.client;
        let args = scattered.request.args();
        let read: Vec<&[u8]> = scattered.read.iter().map(Vec::as_slice).collect();
        let mut out = Vec::new();
        let protocol = scattered.call.protocol;
        let decide = scattered.decide;
        let seen = Seen {
            read: &read,
            first: &read,
            ..Seen::default()
        };
        let nothing = (None, Vec::new());
        let decided = self.decided(now, decide, args, seen, nothing, protocol, true, &mut out);
        let held = |shard: ShardId| scattered.offers.iter().any(|(from, _)| *from == shard);
        match decided {
            Ok(decided) if decided.writes.iter().all(|write| held(write.shard)) => {
                let then = if decided.written_reply {
                    Then::Written
                } else {
                    Then::Reply(out)
                };
                self.take_offer(now, scattered, decided.writes, then);
                true
            }
            Ok(_) | Err(CommandError::Blocked(_)) => false,
            Err(_) => {
                self.post
                    .answer(client, scattered.call.row, Ran::ended(true), None, &out);
                true
            }
        }
    }

    /// Writes what a waiter has decided on; the reply follows.
    pub(super) fn take_offer(
        &mut self,
        now: UnixMs,
        scattered: &Scattered,
        writes: Vec<PlannedWrite>,
        then: Then,
    ) {
        let (client, call) = (scattered.client, scattered.call);
        if let (true, Then::Reply(out)) = (writes.is_empty(), &then) {
            self.post
                .answer(client, call.row, Ran::ended(false), None, out);
            return;
        }
        let index = self.transactions.vacant_key();
        let ticket = self.tickets.issue(TicketKind::Transaction, index);
        let protocol = match then {
            Then::Written => call.protocol,
            _ => Protocol::Resp2,
        };
        let call = Call {
            protocol,
            alone: false,
            located: None,
            ..call
        };
        self.transactions.insert(Transaction {
            ticket,
            protocol: scattered.call.protocol,
            request: Some(scattered.request.clone()),
            locking: false,
            at: now,
            missing: writes.len(),
            ..Transaction::new(client, call, then, Vec::new())
        });
        for write in writes {
            let call = Call {
                handler: write.handler,
                ..call
            };
            let load = (call, false, Cargo::default());
            self.work(now, write.shard, ticket, load, write.args.args());
        }
    }

    /// Tells a shard that a client of this core no longer waits there.
    pub(in crate::order::node) fn forget(&mut self, shard: ShardId, client: Client) {
        if shard == self.id {
            self.unblock_here(self.id, client, Unblock::Gone);
        } else {
            let item = Item::Unblock {
                client,
                how: Unblock::Gone,
            };
            self.post.tell(shard, item);
        }
    }

    /// The reply to a request that has waited in vain.
    pub(super) fn answer_ended(&mut self, scattered: &Scattered, how: Unblock) {
        let row = scattered.call.row;
        if how == Unblock::Gone {
            return self.post.send_in_vain(self.id, scattered.client, row);
        }
        let reply = ending(how, scattered.call.protocol);
        let ran = Ran::ended(how == Unblock::Error);
        self.post.answer(scattered.client, row, ran, None, &reply);
    }

    pub(super) fn end_scattered(&mut self, scattered: &Scattered, how: Unblock) {
        let client = scattered.client;
        for shard in &scattered.shards {
            self.forget(*shard, client);
        }
        self.answer_ended(scattered, how);
    }

    /// The turn of one of this core's clients has come on a shard: its request is tried
    /// anew. If somebody has taken the element meanwhile, it goes on waiting in its
    /// place, and until the same instant.
    pub(super) fn take_turn(&mut self, now: UnixMs, client: Client) {
        // If it has ended meanwhile, the shard has been told already.
        if self.blocked.of_client(client).is_some()
            && let Some(scattered) = self.blocked.take(client.id)
        {
            self.try_anew(now, &scattered);
        }
    }

    /// Runs a request anew that has waited; all shards keep its place.
    pub(super) fn try_anew(&mut self, now: UnixMs, scattered: &Scattered) {
        let (client, call, row) = (scattered.client, scattered.call, scattered.row);
        let args = scattered.request.args();
        let owners = Owners::find(row, args, |key| self.owner(key));
        let owners = owners.expect("the keys of a request that waits are known");
        let (waiting, places) = (scattered.waiting, scattered.shards.clone());
        self.close_convoy();
        let composed = self.compose(client, call, row, args, owners);
        self.begin_composed(now, composed, Some(Retry { waiting, places }));
        if let Some(how) = scattered.ended {
            self.unblock(client, None, how);
        }
    }
}

/// The keys of a request that its row reads.
fn keys_read<'a>(row: &Row, args: Args<'a>) -> Vec<&'a [u8]> {
    let skip = match row.run {
        Run::ReadThenWrite { skip, .. } => skip,
        _ => 0,
    };
    let mut positions = Vec::new();
    let known = crate::command::keys_of(row, args, &mut positions);
    let keys = positions.iter().skip(skip).filter_map(|at| args.get(*at));
    known.map_or(Vec::new(), |()| keys.collect())
}

/// Those of a request's keys that it waits for: not a destination, which may well
/// hold something. Who waited for that would be offered it for ever, in vain.
fn keys_awaited<'a>(row: &Row, args: Args<'a>) -> Vec<&'a [u8]> {
    let mut positions = Vec::new();
    for spec in row.keys.iter().filter(|spec| !is_destination(spec)) {
        if spec.positions(args, &mut positions).is_none() {
            return Vec::new();
        }
    }
    positions.iter().filter_map(|at| args.get(*at)).collect()
}

/// Whether these keys are written and not read.
fn is_destination(spec: &KeySpec) -> bool {
    spec.access.0.contains(&"insert")
}
