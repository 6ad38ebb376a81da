//! Requests that the shards can answer in one round, several of them at once.
//!
//! A convoy belongs to the core whose clients have sent the requests. It fills
//! during a turn: the parts of each shard go straight into the box that will
//! carry them there. The answered boxes come back to it, and when the last is in, all
//! replies are merged. All its boxes have one stamp, so its parts stand at one place
//! in the order.

use super::batch::{Batch, Item, clear_to};
use super::call::Call;
use super::reply::Ran;
use super::ticket::{Client, Ticket};
use crate::command::merge::Parts;
use crate::command::{Args, Merge, OwnedArgs};
use crate::keyspace::Located;
use crate::resp::Reply;
use crate::types::ShardId;

/// Requests, keys and bytes of arguments with which a convoy is full. A request
/// that is longer travels alone.
const REQUESTS_MAX: usize = 128;
const KEYS_MAX: usize = 1024;
const BYTES_MAX: usize = 256 * 1024;

/// One request of a convoy.
pub(super) struct Member {
    pub client: Client,
    pub call: Call,
    merge: Merge,
    /// Arguments from one key to the next.
    step: usize,
    /// Where its keys end in `owners`; they begin where those of the one before
    /// end.
    owners_end: usize,
}

/// See the module.
#[derive(Default)]
pub(super) struct Convoy {
    /// Nothing while it fills.
    pub ticket: Option<Ticket>,
    /// Boxes that are not back yet.
    pub missing: usize,
    pub members: Vec<Member>,
    /// The shard of each key of each member.
    owners: Vec<ShardId>,
    /// For each shard that takes part, what it is to do, later what it did.
    pub boxes: Vec<Option<Box<Batch>>>,
    bytes: usize,
}

/// Keys for which an empty convoy keeps memory.
const KEEP_KEYS: usize = 1024;

impl Convoy {
    pub fn is_full(&self) -> bool {
        self.members.len() >= REQUESTS_MAX
            || self.owners.len() >= KEYS_MAX
            || self.bytes >= BYTES_MAX
    }

    /// Whether any of its requests may write.
    pub fn writes(&self) -> bool {
        self.members.iter().any(|member| member.call.write)
    }

    /// Shards that take part.
    pub fn shards(&self) -> usize {
        self.boxes.iter().flatten().count()
    }

    /// Takes a request in: its keys with their positions, shards and places there,
    /// in order. False if there is no memory for it; then it leaves nothing.
    pub fn join(
        &mut self,
        (client, call, merge): (Client, Call, Merge),
        (args, step, placed): (Args<'_>, usize, bool),
        keys: impl Iterator<Item = (usize, ShardId, Located)>,
        mut empty: impl FnMut() -> Box<Batch>,
    ) -> bool {
        let member = self.members.len();
        let owners = self.owners.len();
        for (at, shard, located) in keys {
            let batch = self.boxes[shard.index()].get_or_insert_with(&mut empty);
            if batch.last_part() != Some(member) {
                let part = Item::Part {
                    call,
                    member,
                    keys_end: batch.keys_end(),
                    reply: None,
                };
                batch.push(part, args.get(0).into_iter());
                if batch.last_lacks_memory() {
                    self.retract(member, owners);
                    return false;
                }
            }
            if placed {
                batch.add_place(at);
            }
            batch.add_key(located);
            self.owners.push(shard);
            for arg in args.from(at).first(step).iter() {
                if !batch.extend(arg) {
                    self.retract(member, owners);
                    return false;
                }
                self.bytes += arg.len();
            }
        }
        self.members.push(Member {
            client,
            call,
            merge,
            step,
            owners_end: self.owners.len(),
        });
        true
    }

    /// Takes out what a request has put in that found no memory. A shard that has
    /// nothing to do then takes no part.
    #[cold]
    pub fn retract(&mut self, member: usize, owners: usize) {
        self.owners.truncate(owners);
        for place in &mut self.boxes {
            if let Some(batch) = place
                && batch.last_part() == Some(member)
            {
                batch.pop();
                if batch.is_empty() {
                    *place = None;
                }
            }
        }
    }

    /// All boxes are back: makes the replies to its requests.
    pub fn merging(&self) -> Merging<'_> {
        Merging {
            convoy: self,
            cursors: vec![Cursor::default(); self.boxes.len()],
            parts: Parts {
                replies: vec![&[]; self.boxes.len()],
                ..Parts::default()
            },
        }
    }

    /// The shard of each key of a member.
    fn owners(&self, index: usize) -> &[ShardId] {
        let before = index.checked_sub(1).map(|before| &self.members[before]);
        let begin = before.map_or(0, |before| before.owners_end);
        &self.owners[begin..self.members[index].owners_end]
    }

    /// Member `index` as its client sent it.
    #[cold]
    pub fn request(&self, index: usize) -> OwnedArgs {
        let owners = self.owners(index);
        let step = self.members[index].step;
        let part = |shard: usize| {
            let batch = self.boxes[shard].as_ref()?;
            let mut parts = (0..).map_while(|at| batch.part(at));
            let at = parts.position(|(member, _)| member == index)?;
            Some(batch.args(at))
        };
        let mut parts: Vec<Option<Args<'_>>> = (0..self.boxes.len()).map(part).collect();
        let mut words: Vec<&[u8]> = Vec::new();
        for owner in owners {
            if let Some(rest) = &mut parts[owner.index()] {
                if words.is_empty() {
                    words.extend(rest.get(0));
                }
                // At index 0 is the name, later the last word of the key before.
                words.extend(rest.from(1).iter().take(step));
                *rest = rest.from(step);
            }
        }
        OwnedArgs::new(words)
    }

    /// Empties the convoy for its next use, but for its boxes. What a large request left
    /// is given back.
    pub fn clear(&mut self) {
        self.ticket = None;
        clear_to(&mut self.members, KEEP_KEYS);
        clear_to(&mut self.owners, KEEP_KEYS);
        self.bytes = 0;
    }
}

/// The replies to the requests of a convoy, one after the other.
pub(super) struct Merging<'a> {
    convoy: &'a Convoy,
    /// How far the answers of each shard have been read.
    cursors: Vec<Cursor>,
    /// Of the request at hand.
    parts: Parts<'a>,
}

/// How far the answers in a box have been read.
#[derive(Clone, Copy, Default)]
struct Cursor {
    item: usize,
    /// Where the answer of `item` begins.
    start: usize,
}

impl Merging<'_> {
    /// Writes the reply to member `index`, which follows the one before. It is
    /// `bytes_max` long at most, or there is none.
    pub fn merge(&mut self, index: usize, out: &mut Vec<u8>, bytes_max: usize) -> Ran {
        let convoy = self.convoy;
        let mut ended = Ran::default();
        let length = out.len();
        let shards = convoy.boxes.iter().zip(&mut self.cursors);
        for ((batch, cursor), answer) in shards.zip(&mut self.parts.replies) {
            *answer = &[];
            let part = batch.as_ref().and_then(|batch| batch.part(cursor.item));
            let (Some((part, reply)), Some(batch)) = (part, batch) else {
                continue;
            };
            if part != index {
                continue;
            }
            *answer = &batch.replies[cursor.start..reply.end];
            (cursor.item, cursor.start) = (cursor.item + 1, reply.end);
            ended.ticks += reply.ran.ticks;
            ended.too_long |= reply.ran.too_long;
            // The error of the first in shard order.
            if reply.ran.failed && !ended.failed {
                out.extend_from_slice(answer);
                ended.failed = true;
            }
        }
        if ended.too_long {
            out.truncate(length);
            return ended;
        }
        if ended.failed {
            return ended;
        }
        debug_assert_eq!(out.len(), length);
        let member = &convoy.members[index];
        self.parts.owners = convoy.owners(index);
        let mut reply = Reply::until(out, member.call.protocol, length + bytes_max);
        (member.merge)(&mut self.parts, &mut reply);
        if reply.is_cut() {
            ended.too_long = true;
            out.truncate(length);
        }
        ended
    }
}
