//! Requests on this shard alone that cannot be answered at once: they wait for
//! locks. What their clients send after them does not wait with them: who comes later
//! to the same key waits behind them, so nobody finds them missing.

use super::Site;
use crate::command::{Args, Cargo, KeySpec, Long, OwnedArgs, Write};
use crate::order::batch::{Batch, Item};
use crate::order::call::Call;
use crate::order::locks::{Lock, Scope};
use crate::order::program::Task;
use crate::order::reply::Ran;
use crate::order::ticket::{Client, Ticket, TicketKind};
use crate::types::{Blocked, ShardId, UnixMs};

/// A request on this shard alone that waits for locks.
pub struct Parked {
    pub home: ShardId,
    pub client: Client,
    pub call: Call,
    pub args: OwnedArgs,
    /// If there is one, this is to be run instead.
    pub task: Option<Box<Task>>,
}

impl Parked {
    /// A request whose arguments are another's: they are copied.
    pub fn new(home: ShardId, client: Client, call: Call, args: Args<'_>) -> Self {
        Self {
            home,
            client,
            call,
            args: OwnedArgs::new(args.iter()),
            task: None,
        }
    }

    /// Whether it may change keys.
    pub fn writes(&self) -> bool {
        match &self.task {
            Some(task) => task.block.writes(),
            None => self.call.write,
        }
    }
}

/// Why a request has no reply yet.
#[derive(Debug)]
pub enum Unanswered {
    /// It waits for a value.
    Waits(Box<Blocked>),
    /// It is to be run again, under a ticket, to be answered in pieces.
    Long,
}

/// The keys of a request, and whether it may change each. Nothing if they cannot be
/// told apart.
fn locked_keys<'a>(call: &Call, args: Args<'a>) -> Option<impl Iterator<Item = (&'a [u8], bool)>> {
    let mut found = Vec::new();
    let is_read = |spec: &KeySpec| spec.access_of(args).contains(&"RO");
    // Who writes and reads keys alone, whatever its options, changes those: a group reads,
    // says XREADGROUP's row.
    let reads_alone = call.keys.iter().all(|spec| spec.access.0.contains(&"RO"));
    for spec in call.keys {
        let mut positions = Vec::new();
        spec.positions(args, &mut positions)?;
        let write = call.write && (reads_alone || !is_read(spec));
        found.extend(positions.into_iter().map(|at| (at, write)));
    }
    let key = move |(at, write): (usize, bool)| Some((args.get(at)?, write));
    Some(found.into_iter().filter_map(key))
}

impl Site {
    /// Whether a request for keys of this shard must wait for locks.
    pub fn must_wait(&self, call: &Call, args: Args<'_>) -> bool {
        !self.locks.is_empty() && !self.is_free(call, args)
    }

    /// Whether no lock is in a request's way. Asked of every request while
    /// there are locks, so it does not allocate for one with a single key.
    pub(super) fn is_free(&self, call: &Call, args: Args<'_>) -> bool {
        let free = |key: &[u8]| self.allows_key(key, call.write);
        if let Some(at) = call.only_key() {
            return args.get(at).is_none_or(free);
        }
        if call.keys.is_empty() || call.reaches_any_key(args) {
            return self.locks.allows_all(call.write);
        }
        match locked_keys(call, args) {
            Some(mut keys) => keys.all(|(key, write)| self.allows_key(key, write)),
            None => true, // the handler refuses it
        }
    }

    /// A ticket asks for its locks on this shard; [`Site::next_granted`] will name it. It looks at
    /// the shard as of now, unless that is what it will do only then.
    pub fn lock_now(&mut self, now: UnixMs, ticket: Ticket, locks: Vec<Lock>) {
        self.lock(ticket, locks);
        self.look_from(now, ticket);
    }

    pub(super) fn lock(&mut self, ticket: Ticket, locks: Vec<Lock>) {
        self.reserve(ticket, &locks);
        self.locks.queue(ticket, locks);
        self.mind_waits();
    }

    /// A ticket asks for its locks on this shard; whether it has them. If not,
    /// [`Site::next_granted`] will name it when it has.
    pub(super) fn try_lock(&mut self, ticket: Ticket, locks: Vec<Lock>) -> bool {
        self.reserve(ticket, &locks);
        let granted = self.locks.lock(ticket, locks);
        self.mind_waits();
        granted
    }

    /// A ticket that may write takes its place in the log. What serves several who
    /// wait for a key is not one block, and the parts of a convoy have places of their own.
    fn reserve(&mut self, ticket: Ticket, locks: &[Lock]) {
        if !self.shard.effects().is_logging() || ticket.kind == TicketKind::Convoy {
            return;
        }
        let written = locks.iter().filter(|lock| lock.exclusive);
        if written.clone().next().is_none() {
            return;
        }
        let all = written.clone().any(|lock| lock.scope == Scope::Shard);
        let keys = written.filter_map(|lock| match lock.scope {
            Scope::Key(hash) => Some(hash),
            Scope::Shard => None,
        });
        let together = ticket.kind != TicketKind::Key;
        let effects = self.shard.effects();
        effects.reserve(ticket.id(), (keys, all), together);
    }

    /// The locks that a request on this shard alone needs.
    pub(super) fn locks_of(&self, call: &Call, args: Args<'_>) -> Vec<Lock> {
        let lock = |(key, exclusive)| Lock::of_key(self.locate(key), exclusive);
        let mut locks: Vec<Lock> = match locked_keys(call, args) {
            _ if call.keys.is_empty() || call.reaches_any_key(args) => {
                vec![Lock::of_shard(call.write)]
            }
            Some(keys) => keys.map(lock).collect(),
            None => Vec::new(), // the handler refuses it
        };
        Lock::unite(&mut locks);
        locks
    }

    /// Has a request wait for its locks.
    pub fn park(&mut self, now: UnixMs, request: Parked) {
        let locks = match &request.task {
            Some(task) => self.locks_of_block(&task.block),
            None => self.locks_of(&request.call, request.args.args()),
        };
        let index = self.parked.insert(request);
        let ticket = self.tickets.issue(TicketKind::Request, index);
        self.lock_now(now, ticket, locks);
    }

    /// Runs a request that another node sent, or has it wait; whether its box has
    /// the reply now.
    #[inline]
    pub fn run_or_park(
        &mut self,
        now: UnixMs,
        home: ShardId,
        client: Client,
        call: &Call,
        index: usize,
        batch: &mut Batch,
    ) -> bool {
        if self.must_wait(call, batch.args(index)) {
            self.park(now, Parked::new(home, client, *call, batch.args(index)));
            return false;
        }
        let ran = self.run_in(now, call, index, &mut Cargo::default(), batch);
        match (ran, &mut batch.items[index]) {
            (Ok(end), Item::Request { reply, .. }) => {
                *reply = Some(end);
                if end.end > self.reply_bytes_max() {
                    batch.bound(index, self.reply_bytes_max());
                }
                return true;
            }
            (Ok(_), _) => {}
            (Err(why), _) => {
                let request = Parked::new(home, client, *call, batch.args(index));
                self.put_aside(now, request, why);
            }
        }
        false
    }

    /// A request that ran without a ticket has no reply yet.
    pub fn put_aside(&mut self, now: UnixMs, request: Parked, why: Unanswered) {
        match why {
            Unanswered::Waits(blocked) => {
                let (home, client) = (request.home, request.client);
                self.wait(home, client, request.call, request.args.args(), &blocked);
            }
            Unanswered::Long => self.park(now, request),
        }
    }

    /// A parked request has its locks: it runs, as of the instant at which it came.
    pub fn run_parked(&mut self, now: UnixMs, ticket: Ticket) {
        let request = self.parked.remove(ticket.index());
        let at = self.looks_at(ticket).unwrap_or(now);
        self.group(ticket, 0);
        let goes_on = self.run_under(at, ticket, request);
        self.shard.effects().leave_ticket();
        if !goes_on {
            self.release_here(ticket);
        }
    }

    /// Runs a request whose locks this ticket holds; whether it goes on under it.
    pub(super) fn run_under(&mut self, now: UnixMs, ticket: Ticket, request: Parked) -> bool {
        if request.task.is_some() {
            return self.exec_late(now, ticket, request);
        }
        if !request.call.alone {
            self.run_late(now, request);
            return false;
        }
        let mut cargo = Cargo {
            long: Some(Long::default()),
            divisible: true,
            ..Cargo::default()
        };
        let (call, args) = (request.call, request.args.args());
        let mut reply = Vec::new();
        let ran = self.apply(now, &call, args, &mut cargo, &mut reply);
        match ran {
            Ok(ran) if cargo.more() => {
                self.begin_long(now, ticket, request, (cargo, ran), reply);
                return true;
            }
            ran => self.ran_late(now, request, ran, reply),
        }
        false
    }

    /// Runs a request that had to wait; given back if its reply is long.
    pub(super) fn run_late(&mut self, now: UnixMs, request: Parked) -> Option<Parked> {
        let mut reply = Vec::new();
        let mut cargo = Cargo::default();
        let (call, args) = (request.call, request.args.args());
        let ran = self.apply(now, &call, args, &mut cargo, &mut reply);
        if matches!(ran, Err(Unanswered::Long)) {
            return Some(request);
        }
        self.ran_late(now, request, ran, reply);
        None
    }

    /// A request that had to wait has run, and does not go on here.
    pub(super) fn ran_late(
        &mut self,
        now: UnixMs,
        request: Parked,
        ran: Result<Ran, Unanswered>,
        reply: Vec<u8>,
    ) {
        let ran = match ran {
            Ok(ran) => ran,
            Err(why) => return self.put_aside(now, request, why),
        };
        let (home, client, call) = (request.home, request.client, request.call);
        match self.shard.onward() {
            None => self.answer_late(home, client, &call, request.args.args(), ran, reply),
            Some(Write { handler, args }) => {
                let call = Call { handler, ..call };
                self.walk(now, home, client, call, args.args());
            }
        }
    }

    /// The reply to a request whose box has gone back without it.
    pub(super) fn answer_late(
        &mut self,
        home: ShardId,
        client: Client,
        call: &Call,
        request: Args<'_>,
        ran: Ran,
        reply: Vec<u8>,
    ) {
        let slow = self.timing.keep(ran.ticks, request);
        self.post
            .send_reply(home, client, call.row, ran, slow, reply);
    }
}
