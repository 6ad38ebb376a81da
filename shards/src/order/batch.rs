//! What travels between nodes: everything of one turn in one box.
//!
//! A box carries items in order; requests in it are copied once, into one
//! arena. The same box carries the replies back and is then used again.

use super::call::Call;
use super::locks::Lock;
use super::program::Task;
use super::reply::{Ran, Rest};
use super::ticket::{Client, Ticket};
use super::waiters::Unblock;
use crate::command::{Args, Cargo, Write};
use crate::counted;
use crate::keyspace::Located;
use crate::log::Stamp;
use crate::pubsub::{Cause, Message, Push};
use crate::types::{ShardId, Span, UnixMs, Waiting};
use std::ops::Range;

/// One thing that one node tells another.
pub(super) enum Item {
    /// Run this for a client of the sender.
    Request {
        call: Call,
        client: Client,
        /// Tells in which order the sender has sent this and others with the same stamp,
        /// to whatever nodes.
        number: u32,
        reply: Option<ReplyEnd>,
    },
    /// Run this step of a walk for a client of `home`, or send it on.
    Walk {
        call: Call,
        home: ShardId,
        client: Client,
    },
    /// Lock this for a transaction of the sender: its locks are those up to
    /// `locks_end`.
    Lock {
        ticket: Ticket,
        number: u32,
        locks_end: u32,
    },
    /// To the home core: all of the transaction's locks on the sender are held, since
    /// then.
    Granted { ticket: Ticket, at: UnixMs },
    /// Run this part of a transaction of the sender, then release its locks
    /// here if it is the last. It is judged at `at`. `within` is who holds the
    /// locks: itself, or the program that it belongs to, as the command with this number.
    Work {
        call: Call,
        ticket: Ticket,
        within: Ticket,
        number: u32,
        /// Where its keys stand in the request, if that is to be told.
        #[allow(clippy::box_collection)] // items are small
        places: Option<Box<Vec<u32>>>,
        at: UnixMs,
        last: bool,
        cargo: Cargo,
        reply: Option<ReplyEnd>,
    },
    /// To the home core: a part that was done in slices is over; or a command of its
    /// program, which has this number and is of this row. The arguments are the
    /// command, if it was slow.
    Ended {
        ticket: Ticket,
        step: Option<(u32, u16)>,
        ran: Ran,
        cargo: Cargo,
        reply: Vec<u8>,
    },
    /// To the home core: a piece of a long reply.
    Piece {
        client: Client,
        row: u16,
        rest: Rest,
        piece: Vec<u8>,
    },
    /// From the home core: the next piece of a long reply, please.
    Ask { ticket: Ticket },
    /// From the home core: nobody reads the rest of a long reply.
    Drop { ticket: Ticket },
    /// Run this part of member so and so of the convoy that the box belongs to.
    Part {
        call: Call,
        member: usize,
        /// Where its keys end in `located`.
        keys_end: u32,
        reply: Option<ReplyEnd>,
    },
    /// Run this block for a client of the sender. The block is away while it waits.
    Exec {
        client: Client,
        number: u32,
        task: Option<Box<Task>>,
        reply: Option<ReplyEnd>,
    },
    /// Say whether what a client of the sender watches has not changed, or gone by
    /// that instant, and forget it.
    Check {
        ticket: Ticket,
        watcher: u64,
        at: UnixMs,
        unchanged: Option<bool>,
    },
    /// Forget what a client of the sender watches.
    Unwatch { watcher: u64 },
    /// Run this command of a program of the sender, which is judged at `at`.
    Step {
        call: Call,
        ticket: Ticket,
        at: UnixMs,
        index: u32,
        reply: Option<ReplyEnd>,
        /// Where it goes on, instead of a reply.
        onward: Option<Box<Write>>,
    },
    /// Release the locks of the sender's transaction; there is nothing (more) to do.
    Release { ticket: Ticket },
    /// Note these keys for a client of the sender, who waits for them on several
    /// shards; then release the locks of its transaction.
    Wait { noted: Box<Noted>, ticket: Ticket },
    /// To the home core: a key has appeared that this client waits for on
    /// several shards, and is locked for it. The key, and what was read of it.
    Offer { client: Client, ticket: Ticket },
    /// Another shard has made an offer to this client of the sender: no longer
    /// wait with it.
    Recall { client: Client },
    /// To the home core: done, and no offer was made here. `sure`: nothing that holds
    /// or wants a lock here may have something for it.
    Recalled { client: Client, sure: bool },
    /// There is something for this client, which only a transaction can take. It keeps
    /// its place on this shard until that has ended.
    Turn { client: Client },
    /// To the home core: the request of this client waits from now on.
    Waits { client: Client },
    /// A client of the sender is to wait no longer.
    Unblock { client: Client, how: Unblock },
    /// Tell this to whoever listens to its channel, and the sender how many those are if
    /// it has a number for that; but nobody whose topic is not among the first so many of
    /// the receiver's. The cause is there if that is a client of the receiver.
    Publish {
        message: Message,
        topics: u64,
        cause: Option<Cause>,
        publication: Option<usize>,
        heard: Option<u64>,
    },
    /// Tell this to a client of the receiver; its place is that of the request that has
    /// `caused` it.
    Tell {
        to: Client,
        caused: bool,
        push: Push,
    },
    /// The reply to an earlier request that had to wait. The arguments are the
    /// request, if it was slow.
    Late {
        client: Client,
        row: u16,
        ran: Ran,
        reply: Vec<u8>,
    },
}

/// A request that waits for keys of several shards, as one of them notes it.
#[derive(Clone, Copy)]
pub(super) struct Noted {
    /// How to read a key of it.
    pub call: Call,
    pub client: Client,
    pub waiting: Waiting,
    /// See [`Waiter::by_turn`](super::waiters::Waiter::by_turn).
    pub by_turn: bool,
}

/// Where an item's reply ends; it begins where the one before ends.
#[derive(Clone, Copy)]
pub(super) struct ReplyEnd {
    pub end: usize,
    pub ran: Ran,
}

/// Items for which an empty box keeps memory.
const KEEP_ITEMS: usize = 1024;

/// Empties a vector, and gives memory for more than so many elements back.
#[inline]
pub(super) fn clear_to<T>(vector: &mut Vec<T>, keep: usize) {
    vector.clear();
    vector.shrink_to(keep);
}

/// Keys that make up the arguments behind the name, each with as many, and their places.
pub(super) fn placed<'a>(
    args: Args<'a>,
    places: &'a [u32],
) -> impl Iterator<Item = (&'a [u8], u32)> + Clone {
    let rest = args.len().saturating_sub(1);
    let step = rest.checked_div(places.len()).unwrap_or(1);
    let of_key = move |(key, place): (usize, &u32)| Some((args.get(1 + key * step)?, *place));
    places.iter().enumerate().filter_map(of_key)
}

/// Items from one node to another, and the replies to them.
#[derive(Default)]
pub struct Batch {
    pub(super) items: Vec<Item>,
    /// Where the arguments of each item end in `spans`.
    pub(super) spans_end: Vec<u32>,
    /// Absolute in `bytes`.
    pub(super) spans: Vec<Span>,
    pub(super) bytes: Vec<u8>,
    pub(super) locks: Vec<Lock>,
    /// Where the keys of a convoy's parts belong.
    pub(super) located: Vec<Located>,
    /// Where they stand among the arguments of the request, if that is to be told.
    pub(super) places: Vec<u32>,
    pub(super) replies: Vec<u8>,
    /// The box is on its way back: read the replies, not the items.
    pub(super) answered: bool,
    /// The convoy that the box belongs to: it carries its parts and nothing else.
    pub(super) convoy: Option<Ticket>,
    /// The number of the first request of the convoy.
    pub(super) first_number: u32,
    /// Its place in the order of all boxes; see [`order`](super). An answered box has
    /// none: it is 0 then.
    pub(super) stamp: u64,
}

/// Bytes of arguments from which on a box is closed and another begun.
const BYTES_MAX: usize = 16 << 20;
/// Bytes of arguments that a box can hold: a span tells where each of them lies.
const ARGUMENTS_MAX: usize = u32::MAX as usize;
/// Capacity of a buffer that is kept for the next use of a box.
const KEEP_BYTES: usize = 256 * 1024;

/// What lies below [`ARGUMENTS_MAX`].
#[inline]
fn short(len: usize) -> u32 {
    u32::try_from(len).expect("a box holds less than 4 GiB")
}

impl Batch {
    /// Whether nothing was put in.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether any of its requests may write. Transactions and convoys are known to their
    /// home cores.
    pub(super) fn writes(&self) -> bool {
        self.items.iter().any(|item| match item {
            Item::Request { call, .. } => call.write,
            Item::Exec { task, .. } => task.as_ref().is_some_and(|task| task.block.writes()),
            _ => false,
        })
    }

    /// Whether another box should be begun.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BYTES_MAX
    }

    /// Puts an item in, with its arguments; without any if there is no memory for them,
    /// which whoever runs it takes for that.
    #[inline]
    pub(super) fn push<'a>(&mut self, item: Item, args: impl Iterator<Item = &'a [u8]>) {
        let (spans, bytes) = (self.spans.len(), self.bytes.len());
        for arg in args {
            if !self.has_room(arg.len()) {
                self.spans.truncate(spans);
                self.bytes.truncate(bytes);
                break;
            }
            let span = Span {
                start: short(self.bytes.len()),
                len: short(arg.len()),
            };
            counted::shipped(arg.len());
            self.bytes.extend_from_slice(arg);
            self.spans.push(span);
        }
        self.items.push(item);
        let end = u32::try_from(self.spans.len()).expect("fewer arguments than bytes");
        self.spans_end.push(end);
    }

    /// Room for an argument of so many bytes; false if there is no memory for it.
    #[inline]
    fn has_room(&mut self, bytes: usize) -> bool {
        let end = self.bytes.len().saturating_add(bytes);
        let fits = end <= self.bytes.capacity() && self.spans.len() < self.spans.capacity();
        fits && end <= ARGUMENTS_MAX || self.make_room(bytes)
    }

    #[cold]
    fn make_room(&mut self, bytes: usize) -> bool {
        self.bytes.len().saturating_add(bytes) <= ARGUMENTS_MAX
            && self.bytes.try_reserve(bytes).is_ok()
            && self.spans.try_reserve(1).is_ok()
    }

    /// Whether the last item has no arguments, not even a name.
    pub(super) fn last_lacks_memory(&self) -> bool {
        self.args(self.items.len().saturating_sub(1)).is_empty()
    }

    /// Adds an argument to the last item; false if there is no memory for it.
    #[inline]
    pub(super) fn extend(&mut self, arg: &[u8]) -> bool {
        if !self.has_room(arg.len()) {
            return false;
        }
        self.spans.push(Span {
            start: short(self.bytes.len()),
            len: short(arg.len()),
        });
        counted::shipped(arg.len());
        self.bytes.extend_from_slice(arg);
        if let Some(end) = self.spans_end.last_mut() {
            *end += 1;
        }
        true
    }

    /// Where the keys of a part begin that comes next.
    #[inline]
    pub(super) fn keys_end(&self) -> u32 {
        short(self.located.len())
    }

    /// Says where the key stands in the request that is added next.
    pub(super) fn add_place(&mut self, at: usize) {
        self.places.resize(self.located.len(), 0);
        self.places.push(u32::try_from(at).unwrap_or(u32::MAX));
    }

    /// Adds a key to the last item, a part of a convoy; its arguments are to follow.
    #[inline]
    pub(super) fn add_key(&mut self, located: Located) {
        self.located.push(located);
        if let Some(Item::Part { keys_end, .. }) = self.items.last_mut() {
            *keys_end += 1;
        }
    }

    /// The keys of item `index`, a part of a convoy, and where they stand in the request; none if that was not told.
    pub(super) fn placed_keys(&self, index: usize) -> impl Iterator<Item = (&[u8], u32)> + Clone {
        let places = self.places.get(self.keys(index)).unwrap_or_default();
        placed(self.args(index), places)
    }

    /// Where the keys of item `index` lie in `located`, a part of a convoy.
    #[inline]
    pub(super) fn keys(&self, index: usize) -> Range<usize> {
        let end = |index: usize| match self.items.get(index) {
            Some(Item::Part { keys_end, .. }) => *keys_end as usize,
            _ => 0,
        };
        index.checked_sub(1).map_or(0, end)..end(index)
    }

    /// The locks that the parts of a convoy in this box need.
    pub(super) fn key_locks(&self) -> impl Iterator<Item = Lock> {
        let parts = self.items.iter().enumerate();
        parts.flat_map(|(index, item)| {
            let exclusive = matches!(item, Item::Part { call, .. } if call.write);
            let lock = move |located: &Located| Lock::of_key(*located, exclusive);
            self.located[self.keys(index)].iter().map(lock)
        })
    }

    /// Takes the last item out again.
    pub(super) fn pop(&mut self) {
        let last = self.items.len().saturating_sub(1);
        self.located.truncate(self.keys(last).start);
        self.places.truncate(self.located.len());
        self.items.pop();
        self.spans_end.pop();
        let spans = self.spans_end.last().map_or(0, |end| *end as usize);
        let bytes = self.spans.get(spans).map(|span| span.start as usize);
        self.bytes.truncate(bytes.unwrap_or(self.bytes.len()));
        self.spans.truncate(spans);
    }

    /// Whose part of a convoy the last item is.
    #[inline]
    pub(super) fn last_part(&self) -> Option<usize> {
        match self.items.last() {
            Some(Item::Part { member, .. }) => Some(*member),
            _ => None,
        }
    }

    /// Item `index` of an answered box of a convoy: whose part it is, and the
    /// reply.
    #[inline]
    pub(super) fn part(&self, index: usize) -> Option<(usize, ReplyEnd)> {
        match self.items.get(index) {
            Some(Item::Part { member, reply, .. }) => Some((*member, (*reply)?)),
            _ => None,
        }
    }

    /// Takes back the reply to item `index`, a request and the last that was answered,
    /// if its client then gets more than `bytes_max` with this box: what it sent in one
    /// go is not to take more memory than one reply may.
    #[cold]
    pub(super) fn bound(&mut self, index: usize, bytes_max: usize) {
        let Some(Item::Request { client: whose, .. }) = self.items.get(index) else {
            return;
        };
        let (mut start, mut end, mut sum) = (0, 0, 0);
        for item in self.items.iter().take(index + 1) {
            let (Item::Request {
                reply: Some(reply), ..
            }
            | Item::Work {
                reply: Some(reply), ..
            }
            | Item::Exec {
                reply: Some(reply), ..
            }
            | Item::Step {
                reply: Some(reply), ..
            }) = item
            else {
                continue;
            };
            (start, end) = (end, reply.end);
            match item {
                Item::Request { client, .. } | Item::Exec { client, .. }
                    if (client.key, client.id) == (whose.key, whose.id) =>
                {
                    sum += end - start;
                }
                _ => {}
            }
        }
        if sum <= bytes_max {
            return;
        }
        if let Some(Item::Request {
            reply: Some(reply), ..
        }) = self.items.get_mut(index)
        {
            (reply.end, reply.ran.too_long, reply.ran.failed) = (start, true, false);
            self.replies.truncate(start);
        }
    }

    /// Where item `index` stands in the order of everything.
    pub(super) fn stamp_of(&self, index: usize) -> Stamp {
        let number = match self.items[index] {
            Item::Request { number, .. }
            | Item::Exec { number, .. }
            | Item::Lock { number, .. } => number,
            Item::Part { member, .. } => self.first_number + short(member),
            _ => 0,
        };
        Stamp::sent(self.stamp, number)
    }

    /// The arguments of item `index`.
    #[inline]
    pub(super) fn args(&self, index: usize) -> Args<'_> {
        let end = |index: usize| self.spans_end.get(index).map_or(0, |end| *end as usize);
        let first = index.checked_sub(1).map_or(0, end);
        Args::new(&self.bytes, &self.spans[first..end(index)])
    }

    /// Empties the box for its next use. What a large value left is given back.
    pub(super) fn clear(&mut self) {
        // Requests of a hundred thousand keys come now and then, and boxes are many.
        clear_to(&mut self.items, KEEP_ITEMS);
        clear_to(&mut self.spans_end, KEEP_ITEMS);
        clear_to(&mut self.spans, 4 * KEEP_ITEMS);
        clear_to(&mut self.locks, KEEP_ITEMS);
        clear_to(&mut self.located, KEEP_ITEMS);
        clear_to(&mut self.places, KEEP_ITEMS);
        self.stamp = 0;
        self.answered = false;
        self.convoy = None;
        clear_to(&mut self.bytes, KEEP_BYTES);
        clear_to(&mut self.replies, KEEP_BYTES);
    }

    /// A box that says that a transaction of its receiver has been granted, as
    /// a test tells it too early.
    pub fn granted(ticket: Ticket) -> Self {
        let mut batch = Self::default();
        let at = UnixMs(0);
        batch.push(Item::Granted { ticket, at }, std::iter::empty());
        batch
    }

    /// A box that releases the locks of a transaction of its sender, as a test
    /// tells it too early.
    pub fn release(ticket: Ticket) -> Self {
        let mut batch = Self::default();
        batch.push(Item::Release { ticket }, std::iter::empty());
        batch
    }

    /// The transactions whose grant this box announces.
    pub fn grants(&self) -> impl Iterator<Item = Ticket> {
        self.items.iter().filter_map(|item| match item {
            Item::Granted { ticket, .. } if !self.answered => Some(*ticket),
            _ => None,
        })
    }
}
