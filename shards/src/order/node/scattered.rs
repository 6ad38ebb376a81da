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

use super::Node;
use super::home::Seen;
use crate::command::{Args, Cargo, Decide, KeySpec, OwnedArgs, Row, Run};
use crate::error::CommandError;
use crate::order::batch::{Batch, Item, Noted};
use crate::order::call::Call;
use crate::order::reply::Ran;
use crate::order::site::Offer;
use crate::order::split::{Owners, in_key_order};
use crate::order::ticket::{Client, Ticket, TicketKind};
use crate::order::transaction::{PlannedWrite, Retry, Then, Transaction};
use crate::order::waiters::{Unblock, ending};
use crate::resp::{Protocol, read as resp};
use crate::types::{Blocked, Claim, ShardId, UnixMs, Waiting};
use hashbrown::HashMap;
use std::collections::BTreeSet;

/// A request with keys on several shards that waits, at its home core.
pub(super) struct Request {
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

/// Requests of this core's clients that wait on several shards.
pub(super) struct Scattered {
    requests: HashMap<u64, Request, ahash::RandomState>,
    deadlines: BTreeSet<(UnixMs, u64)>,
}

impl Scattered {
    /// Nobody waits yet.
    pub fn new(hasher: ahash::RandomState) -> Self {
        Self {
            requests: HashMap::with_hasher(hasher),
            deadlines: BTreeSet::new(),
        }
    }

    fn next_deadline(&self) -> Option<UnixMs> {
        self.deadlines.first().map(|(until, _)| *until)
    }

    fn add(&mut self, request: Request) {
        let id = request.client.id;
        if let Some(until) = request.waiting.until {
            self.deadlines.insert((until, id));
        }
        self.requests.insert(id, request);
    }

    /// The request of a client that waits: this one, not a later one.
    fn of_client(&mut self, client: Client) -> Option<&mut Request> {
        let request = self.requests.get_mut(&client.id);
        request.filter(|request| request.client == client)
    }

    fn take(&mut self, client: u64) -> Option<Request> {
        let request = self.requests.remove(&client)?;
        if let Some(until) = request.waiting.until {
            self.deadlines.remove(&(until, client));
        }
        Some(request)
    }
}

impl Node {
    /// Serves those who wait for what has appeared.
    pub fn serve(&mut self, now: UnixMs) {
        self.pump(now);
    }

    /// Waiters of this core are to learn that there is something for them here.
    pub(super) fn hear(&mut self, now: UnixMs, offer: Option<Offer>) {
        for client in self.site.take_turns() {
            self.take_turn(now, client);
        }
        if let Some(Offer {
            client,
            ticket,
            key,
            read,
        }) = offer
        {
            self.offered(now, self.site.id, client, ticket, &key, &read);
        }
    }

    pub(super) fn serve_appeared(&mut self, now: UnixMs) {
        while self.site.has_appeared() {
            for (key, of) in self.site.take_appeared() {
                let ready = self.site.serve_key(now, key, of);
                self.hear(now, ready);
            }
        }
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
                self.site.note(from, **noted, OwnedArgs::new(args.iter()));
                self.site.release_here(ticket);
            }
            Item::Offer { client, ticket } => {
                let (key, read) = (args.get(0), args.get(1));
                let (key, read) = (key.unwrap_or_default(), read.unwrap_or_default());
                self.offered(now, from, client, ticket, key, read);
            }
            Item::Turn { client } => self.take_turn(now, client),
            Item::Waits { client } => self.site.begins_to_wait(client),
            Item::Unblock { client, how } => self.site.unblock_here(from, client, how),
            Item::Recall { client } => {
                self.site.recall(from, client);
            }
            Item::Recalled { client, sure } => self.heard(now, client, sure),
            _ => {}
        }
    }

    /// Ends the waiting of one of this core's clients. `owner` is the shard its
    /// request was for; nothing if for several. The reply, if there is to be
    /// one, comes as any other: the request may have been served meanwhile.
    pub fn unblock(&mut self, client: Client, owner: Option<ShardId>, how: Unblock) {
        if let Some(scattered) = self.scattered.of_client(client) {
            if !scattered.offers.is_empty() {
                // It is being served, or will try anew.
                if scattered.ended != Some(Unblock::Gone) {
                    scattered.ended = Some(how);
                }
            } else if let Some(scattered) = self.scattered.take(client.id) {
                self.end_scattered(&scattered, how);
            }
            return;
        }
        match owner {
            // Behind its request, which may be on its way.
            Some(_) if self.site.shards == 1 => self.site.unblock_here(self.site.id, client, how),
            Some(owner) => {
                self.site.post.tell(owner, Item::Unblock { client, how });
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

    /// Ends the waiting of those who have waited long enough; whether there
    /// were any.
    pub fn time_out(&mut self, now: UnixMs) -> bool {
        if self.next_timeout().is_none_or(|at| at > now) {
            return false;
        }
        self.site.time_out(now);
        while let Some((until, client)) = self.scattered.deadlines.first().copied()
            && until <= now
        {
            let scattered = self.scattered.take(client);
            let scattered = scattered.expect("a deadline is that of a request that waits");
            self.end_scattered(&scattered, Unblock::Timeout);
        }
        true
    }

    /// How many keys of this shard are waited for, and how many requests are to end at
    /// a deadline that this node looks after.
    pub fn waits(&self) -> (usize, usize) {
        let (keys, deadlines) = self.site.waits();
        (keys, deadlines + self.scattered.deadlines.len())
    }

    /// When [`Node::time_out`] has something to do.
    pub fn next_timeout(&self) -> Option<UnixMs> {
        let all = [self.site.next_timeout(), self.scattered.next_deadline()];
        all.into_iter().flatten().min()
    }
}

impl Node {
    /// A transaction that may wait has found nothing: every shard notes its
    /// keys, then releases them.
    pub(super) fn scatter(&mut self, transaction: Transaction, blocked: &Blocked) {
        // It has waited before, and its time goes on.
        let retries = transaction.retries.as_ref();
        let waiting = retries.map_or(blocked.waiting, |retry| retry.waiting);
        let (Then::Decide { decide, row }, Some(mut request)) =
            (transaction.then, transaction.request)
        else {
            return;
        };
        let (client, ticket) = (transaction.client, transaction.ticket);
        // As in Redis, what it is served with after it has waited is no copy.
        let call = transaction.call.unread();
        // Nobody else gets at its keys before every shard has noted them.
        self.site.begins_to_wait(client);
        if !blocked.instead.is_empty() {
            request = OwnedArgs::with_instead(request.args(), &blocked.instead);
        }
        let mut parts = self.parts_awaited(row, request.args(), waiting.claim);
        let mut shards = Vec::new();
        for shard in &transaction.participants {
            let part = parts.iter().position(|(of, _)| of == shard);
            let part = part.map(|at| parts.swap_remove(at).1).unwrap_or_default();
            if part.args().len() < 2 && !part.lack_memory() {
                self.release(*shard, ticket);
                continue;
            }
            shards.push(*shard);
            let noted = Noted {
                call,
                client,
                waiting,
                by_turn: row.keys.iter().any(is_destination) || waiting.claim != Claim::Takes,
            };
            if *shard == self.site.id {
                self.site.note(self.site.id, noted, part);
                self.site.release_here(ticket);
            } else {
                let item = Item::Wait {
                    noted: Box::new(noted),
                    ticket,
                };
                self.site
                    .post
                    .batch_for(*shard)
                    .push(item, part.args().iter());
            }
        }
        let read = in_key_order(&transaction.owners, &transaction.replies);
        let read = read.into_iter().map(<[u8]>::to_vec).collect();
        self.scattered.add(Request {
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

    /// What each shard is to note of a request that waits.
    fn parts_awaited(&self, row: &Row, args: Args<'_>, claim: Claim) -> Vec<(ShardId, OwnedArgs)> {
        if claim != Claim::Takes {
            let owners = Owners::find(row, args, |key| self.owner(key));
            let owners = owners.expect("the keys of a request that waits are known");
            return owners.parts(row, args, self.site.shards);
        }
        let mut parts: Vec<(ShardId, OwnedArgs)> = Vec::new();
        let read = keys_read(row, args);
        let awaited = keys_awaited(row, args);
        for key in read.into_iter().filter(|key| awaited.contains(key)) {
            let owner = self.owner(key);
            let known = parts.iter().position(|(shard, _)| *shard == owner);
            let at = known.unwrap_or_else(|| {
                parts.push((owner, OwnedArgs::new(args.get(0))));
                parts.len() - 1
            });
            parts[at].1.push(key);
        }
        parts
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
        let Some(scattered) = self.scattered.of_client(client) else {
            self.release(from, ticket);
            return;
        };
        let keys = keys_read(scattered.row, scattered.request.args());
        for (_, read_before) in keys
            .iter()
            .zip(&mut scattered.read)
            .filter(|(k, _)| **k == key)
        {
            *read_before = resp::all_elements(read).unwrap_or_default().to_vec();
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
            self.scattered.deadlines.remove(&(until, client.id));
        }
        for shard in others {
            if shard == self.site.id {
                if let Some(sure) = self.site.recall(self.site.id, client) {
                    self.heard(now, client, sure);
                }
            } else {
                let item = Item::Recall { client };
                self.site.post.tell(shard, item);
            }
        }
        self.heard(now, client, true);
    }

    /// One more shard has said whether it holds a key for a client, or is not sure
    /// that there is none. When all have, the request is served.
    pub(super) fn heard(&mut self, now: UnixMs, client: Client, sure: bool) {
        let Some(scattered) = self.scattered.of_client(client) else {
            return;
        };
        scattered.undecided -= 1;
        scattered.sure &= sure;
        if scattered.undecided > 0 {
            return;
        }
        let Some(scattered) = self.scattered.take(client.id) else {
            return;
        };
        let is_over = match scattered.ended {
            Some(Unblock::Gone) => {
                self.answer_ended(&scattered, Unblock::Gone);
                true
            }
            _ => scattered.sure && !self.has_much(&scattered) && self.choose(now, &scattered),
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

    /// Whether a request may take so much of a key that is held that it is done in slices:
    /// as a transaction.
    fn has_much(&self, scattered: &Request) -> bool {
        let above = self.shard().settings.slices.above;
        let count = |read: &Vec<u8>| usize::try_from(resp::integer(read)?).ok();
        let much = |read| count(read).is_some_and(|count| count > above);
        let row = scattered.row;
        row.is_heavy(scattered.request.args().len()) && scattered.read.iter().any(much)
    }

    /// Takes the first of the keys that are held for a request; false if that needs
    /// more than them.
    pub(super) fn choose(&mut self, now: UnixMs, scattered: &Request) -> bool {
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
                self.site
                    .post
                    .answer(client, scattered.call.row, Ran::ended(true), None, &out);
                true
            }
        }
    }

    /// Writes what a waiter has decided on; the reply follows.
    pub(super) fn take_offer(
        &mut self,
        now: UnixMs,
        scattered: &Request,
        writes: Vec<PlannedWrite>,
        then: Then,
    ) {
        let (client, call) = (scattered.client, scattered.call);
        if let (true, Then::Reply(out)) = (writes.is_empty(), &then) {
            self.site
                .post
                .answer(client, call.row, Ran::ended(false), None, out);
            return;
        }
        let index = self.transactions.vacant_key();
        let ticket = self.site.tickets.issue(TicketKind::Transaction, index);
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
            offers: scattered.offers.clone(),
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
    pub(super) fn forget(&mut self, shard: ShardId, client: Client) {
        if shard == self.site.id {
            self.site.unblock_here(self.site.id, client, Unblock::Gone);
        } else {
            let item = Item::Unblock {
                client,
                how: Unblock::Gone,
            };
            self.site.post.tell(shard, item);
        }
    }

    /// The reply to a request that has waited in vain.
    pub(super) fn answer_ended(&mut self, scattered: &Request, how: Unblock) {
        let row = scattered.call.row;
        if how == Unblock::Gone {
            return self
                .site
                .post
                .send_in_vain(self.site.id, scattered.client, row);
        }
        let reply = ending(how, scattered.call.protocol);
        let ran = Ran::ended(how == Unblock::Error);
        self.site
            .post
            .answer(scattered.client, row, ran, None, &reply);
    }

    pub(super) fn end_scattered(&mut self, scattered: &Request, how: Unblock) {
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
        if self.scattered.of_client(client).is_some()
            && let Some(scattered) = self.scattered.take(client.id)
        {
            self.try_anew(now, &scattered);
        }
    }

    /// Runs a request anew that has waited; all shards keep its place.
    pub(super) fn try_anew(&mut self, now: UnixMs, scattered: &Request) {
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
