//! A transaction as its home core drives it: waiting for grants, then for
//! replies, then perhaps for writes.

use super::call::Call;
use super::reply::Ran;
use super::split::keys_of_part;
use super::ticket::{Client, Ticket};
use super::waiters::Unblock;
use crate::command::merge::Parts;
use crate::command::{
    Args, Ask, Cargo, Decide, Errand, Handler, Merge, OwnedArgs, Put, Row, Sliced, Work, Write,
};
use crate::keyspace::Parcel;
use crate::resp::{Protocol, Reply, read};
use crate::types::{DbIndex, ShardId, UnixMs, Waiting};
use std::rc::Rc;

/// A part's error: of the first shard, in shard order, that had one.
pub type PartError = Option<(ShardId, Vec<u8>)>;

/// A request on several shards.
pub struct Transaction {
    pub client: Client,
    pub ticket: Ticket,
    /// The program that this is a command of, which holds the locks for it, and
    /// the number of the command there.
    pub parent: Option<(Ticket, u32)>,
    /// What holds the locks for it on each shard, where those are offers.
    pub offers: Vec<(ShardId, Ticket)>,
    /// How the parts are run.
    pub call: Call,
    /// The protocol of the client, for the merged reply.
    pub protocol: Protocol,
    /// What shards are to run once all have granted.
    pub parts: Rc<[(ShardId, OwnedArgs)]>,
    /// Arguments from one key of a part to the next; 0 if every part is the
    /// whole request.
    pub step: usize,
    /// The whole request, for one that reads, then writes.
    pub request: Option<OwnedArgs>,
    /// The shard of its first key, if that is not read.
    pub destination: Option<ShardId>,
    /// What was asked for about single keys.
    pub rounds: Option<Box<Rounds>>,
    /// What its parts have taken so far.
    pub ticks: u64,
    /// It is to wait no longer; it ends so unless there is something for it.
    pub unblocked: Option<Unblock>,
    /// It has waited before.
    pub retries: Option<Retry>,
    /// Who takes part: more than have a part, if some hold destinations only.
    pub participants: Vec<ShardId>,
    /// Not all have granted yet: `missing` counts grants.
    pub locking: bool,
    /// The instant at which it is judged, once all have granted.
    pub at: UnixMs,
    /// The shard of each key that is read, in request order.
    pub owners: Vec<ShardId>,
    /// Grants or replies that are still to come.
    pub missing: usize,
    pub replies: Vec<(ShardId, Vec<u8>)>,
    pub error: PartError,
    /// A reply was longer than it may be, or they are together: there is none.
    pub too_long: bool,
    /// What parts in slices have found.
    pub sliced: Vec<(ShardId, Box<Sliced>)>,
    /// What a shard has taken away.
    pub parcel: Option<Box<Parcel>>,
    pub then: Then,
}

/// A request that has waited for a key is tried anew.
pub struct Retry {
    /// What it waits for, and until when.
    pub waiting: Waiting,
    /// The shards that keep its place among those who wait.
    pub places: Vec<ShardId>,
}

/// What is read in more than one round ([`Further::Keys`](crate::command::Further::Keys)).
pub struct Rounds {
    /// The replies of the first round.
    pub first: Vec<(ShardId, Vec<u8>)>,
    /// What stands in their place, key by key.
    pub known: Vec<Option<Vec<u8>>>,
    /// Which shards are asked now, and about which keys.
    pub asked: Vec<(ShardId, Vec<usize>)>,
}

impl Rounds {
    /// Takes the replies of a round in; false if there is no memory for them.
    pub fn take(&mut self, replies: Vec<(ShardId, Vec<u8>)>) -> bool {
        for (shard, reply) in replies {
            let asked = self.asked.iter().position(|(asked, _)| *asked == shard);
            let Some((_, keys)) = asked.map(|at| self.asked.swap_remove(at)) else {
                continue;
            };
            let mut rest = read::all_elements(&reply).unwrap_or_default();
            for key in keys {
                let (element, after) = read::split_value(rest).unwrap_or_default();
                let mut known = Vec::new();
                if known.try_reserve_exact(element.len()).is_err() {
                    return false;
                }
                known.extend_from_slice(element);
                self.known[key] = Some(known);
                rest = after;
            }
        }
        true
    }
}

/// What becomes of the parts' replies.
pub enum Then {
    Merge(Merge),
    /// They are what was read; this decides on reply and writes.
    Decide {
        decide: Decide,
        row: &'static Row,
    },
    /// They are those of writes; the reply is this.
    Reply(Vec<u8>),
    /// It is that of the one write, and the reply.
    Written,
}

/// A write that a decision asked for.
pub struct PlannedWrite {
    pub shard: ShardId,
    pub handler: Handler,
    pub args: OwnedArgs,
    /// The client's, if none is named.
    pub db: Option<DbIndex>,
    /// What it brings.
    pub cargo: Cargo,
    /// The last thing the transaction does on this shard.
    pub last: bool,
}

impl Transaction {
    /// How its parts are run. What they read is remembered for a client that keeps
    /// copies; what is read later is not.
    pub fn first_call(&mut self) -> Call {
        let mut call = self.call;
        self.call = call.unread();
        if let Then::Decide { row, .. } = self.then
            && call.caller.is_some()
        {
            call.keys = keys_of_part(row);
        }
        call
    }

    /// A transaction with these parts that locks nothing and has not begun. Its
    /// ticket is to be given.
    pub fn new(client: Client, call: Call, then: Then, parts: Vec<(ShardId, OwnedArgs)>) -> Self {
        let participants: Vec<ShardId> = parts.iter().map(|(shard, _)| *shard).collect();
        Self {
            client,
            ticket: Ticket::NONE,
            parent: None,
            offers: Vec::new(),
            call,
            protocol: call.protocol,
            missing: participants.len(),
            parts: parts.into(),
            step: 0,
            request: None,
            destination: None,
            rounds: None,
            ticks: 0,
            unblocked: None,
            retries: None,
            participants,
            locking: true,
            at: UnixMs(0),
            owners: Vec::new(),
            replies: Vec::new(),
            error: None,
            too_long: false,
            sliced: Vec::new(),
            parcel: None,
            then,
        }
    }

    /// Where the keys of a shard stand among all that are read, in order.
    pub fn places(&self, shard: ShardId) -> Vec<u32> {
        let all = (0..).zip(&self.owners);
        all.filter_map(|(place, owner)| (*owner == shard).then_some(place))
            .collect()
    }

    /// Who holds the locks for its parts on a shard.
    pub fn within(&self, shard: ShardId) -> Ticket {
        let offer = self.offers.iter().find(|(of, _)| *of == shard);
        let program = self.parent.map(|(program, _)| program);
        let offer = offer.map(|(_, ticket)| *ticket);
        offer.or(program).unwrap_or(self.ticket)
    }

    /// Whether nobody is left for whom it should take something. One that has not
    /// waited was sent before its client went: it runs. One that has asked for more has
    /// taken already, and is to say what.
    pub fn is_in_vain(&self) -> bool {
        let is_gone = self.retries.is_some() && self.unblocked == Some(Unblock::Gone);
        is_gone && self.rounds.is_none()
    }

    /// Whether what it writes may be written in slices, so that it must be over before
    /// the next command of its program begins.
    pub fn is_heavy(&self) -> bool {
        matches!(self.then, Then::Decide { row, .. } if row.may_be_heavy())
    }

    /// Whether the parts release their locks at once: nothing follows them.
    pub fn ends_with_parts(&self) -> bool {
        matches!(self.then, Then::Merge(_)) && self.parent.is_none()
    }

    /// What the part of `shard` has with it.
    pub fn cargo(&self, shard: ShardId) -> Cargo {
        let mut owners = self.owners.iter();
        Cargo {
            key: owners.position(|owner| *owner == shard).unwrap_or(0),
            inner: matches!(self.then, Then::Decide { .. }),
            ..Cargo::default()
        }
    }

    /// Its shards are about to be asked for more about some keys.
    pub fn ask_about_keys(&mut self, asks: &[Ask]) {
        let replies = std::mem::take(&mut self.replies);
        let keys = self.owners.len();
        let rounds = self.rounds.get_or_insert_with(|| {
            Box::new(Rounds {
                first: replies,
                known: vec![None; keys],
                asked: Vec::new(),
            })
        });
        let asked = asks.iter().map(|ask| (ask.shard, ask.keys.clone()));
        rounds.asked = asked.collect();
    }

    /// What shards have handed on, in their order.
    pub fn take_works(&mut self) -> Vec<Work> {
        let sliced = in_shard_order(&mut self.sliced).into_iter();
        sliced.filter_map(|sliced| sliced.work).collect()
    }

    /// Takes a part's reply in, and what it took away; whether it was the last.
    pub fn take(&mut self, from: ShardId, ran: Ran, reply: Vec<u8>, cargo: Cargo) -> bool {
        self.missing -= 1;
        self.too_long |= ran.too_long;
        self.ticks += ran.ticks;
        self.parcel = cargo.parcel.or(self.parcel.take());
        self.sliced
            .extend(cargo.sliced.map(|sliced| (from, sliced)));
        if ran.failed {
            // The first in shard order, whatever came in first.
            if self.error.as_ref().is_none_or(|(shard, _)| from < *shard) {
                self.error = Some((from, reply));
            }
        } else if self.too_long {
            self.replies = Vec::new();
        } else if !matches!(self.then, Then::Reply(_)) {
            self.replies.push((from, reply));
        }
        self.missing == 0
    }

    /// The request as it came: what is kept of it, or its parts put together.
    pub fn request(&self) -> OwnedArgs {
        if let Some(request) = &self.request {
            return request.clone();
        }
        let mut rests: Vec<(ShardId, Args<'_>)> = self
            .parts
            .iter()
            .map(|(shard, part)| (*shard, part.args().from(1)))
            .collect();
        let Some((_, first)) = self.parts.first() else {
            return OwnedArgs::default();
        };
        if self.step == 0 {
            return first.clone();
        }
        let mut words: Vec<&[u8]> = first.args().iter().take(1).collect();
        for owner in &self.owners {
            if let Some((_, rest)) = rests.iter_mut().find(|(shard, _)| shard == owner) {
                words.extend(rest.iter().take(self.step));
                *rest = rest.from(self.step);
            }
        }
        OwnedArgs::new(words)
    }

    /// Writes the merged reply, once all parts are in and nothing is to be
    /// decided; whether it is an error, and what follows it if it is long. It is
    /// `bytes_max` long at most, or [`Transaction::too_long`].
    pub fn merged(&mut self, out: &mut Vec<u8>, bytes_max: usize) -> (bool, Vec<Vec<u8>>) {
        if self.too_long {
            return (false, Vec::new());
        }
        if let Some((_, error)) = &self.error {
            out.extend_from_slice(error);
            return (true, Vec::new());
        }
        match &mut self.then {
            Then::Merge(merge) => {
                let mut reply = Reply::until(out, self.protocol, bytes_max);
                let mut parts = Parts {
                    replies: by_shard(&self.replies),
                    owners: &self.owners,
                    sliced: in_shard_order(&mut self.sliced),
                    pieces: Vec::new(),
                };
                merge(&mut parts, &mut reply);
                let pieces = parts.pieces;
                let follows: usize = pieces.iter().map(Vec::len).sum();
                self.too_long = reply.is_cut() || follows > bytes_max;
                match self.too_long {
                    true => (false, Vec::new()),
                    false => (false, pieces),
                }
            }
            Then::Reply(bytes) => {
                *out = std::mem::take(bytes);
                (false, Vec::new())
            }
            Then::Written => {
                // It may be long, and is not copied.
                let written = self.replies.pop();
                *out = written.map_or_else(Vec::new, |(_, bytes)| bytes);
                let pieces = self.sliced.pop().map(|(_, sliced)| sliced.written);
                (false, pieces.unwrap_or_default())
            }
            Then::Decide { .. } => (false, Vec::new()),
        }
    }
}

/// Each reply at the number of its shard.
fn by_shard(replies: &[(ShardId, Vec<u8>)]) -> Vec<&[u8]> {
    let end = replies.iter().map(|(shard, _)| shard.index() + 1).max();
    let mut all = vec![&[][..]; end.unwrap_or(0)];
    for (shard, reply) in replies {
        all[shard.index()] = reply;
    }
    all
}

fn in_shard_order(sliced: &mut Vec<(ShardId, Box<Sliced>)>) -> Vec<Sliced> {
    sliced.sort_unstable_by_key(|(shard, _)| *shard);
    sliced.drain(..).map(|(_, sliced)| *sliced).collect()
}

/// Where each write goes, and at last the errand, in the decided order, and which is the
/// last there.
pub fn plan(
    put: Option<Put>,
    writes: Vec<Write>,
    errand: Option<Errand>,
    owner: impl Fn(&[u8]) -> ShardId,
) -> Vec<PlannedWrite> {
    let owner = |args: &OwnedArgs| owner(args.args().get(1).unwrap_or_default());
    let place = |Write { handler, args }, db, parcel| PlannedWrite {
        shard: owner(&args),
        handler,
        args,
        db,
        cargo: Cargo {
            parcel,
            ..Cargo::default()
        },
        last: false,
    };
    let put = put.map(|put| place(put.write, put.db, Some(put.parcel)));
    let writes = writes.into_iter().map(|write| place(write, None, None));
    let errand = errand.map(|errand| {
        let shard = errand.shard.unwrap_or_else(|| owner(&errand.args));
        PlannedWrite {
            shard,
            handler: errand.handler,
            cargo: Cargo::with_work(errand.work),
            args: errand.args,
            db: None,
            last: false,
        }
    });
    let planned = put.into_iter().chain(writes).chain(errand);
    let mut planned: Vec<PlannedWrite> = planned.collect();
    let mut done: Vec<ShardId> = Vec::new();
    for write in planned.iter_mut().rev() {
        if !done.contains(&write.shard) {
            write.last = true;
            done.push(write.shard);
        }
    }
    planned
}
