//! Keys → slots → shards, and what travels between cores.
//!
//! Everything that one turn of a core's loop sends to another core goes as one
//! [`Batch`]: concatenated requests, and later, in the same box, concatenated
//! replies. Boxes come back to their sender and are used again.

use shards::command::{Args, Handler, Span};
use shards::resp::Protocol;
use shards::{DbIndex, Request, Shard, ShardId, UnixMs};

/// Who gets the reply of a hop.
#[derive(Clone, Copy, Debug)]
pub enum Destination {
    /// The place `place` of the connection `key`, if it still is client `id`.
    Place { key: u32, id: u64, place: u32 },
    /// A part of the gathering `ticket`.
    Part { ticket: u32 },
}

/// One request on its way to the shard that owns its keys.
#[derive(Clone, Copy)]
struct Hop {
    handler: Handler,
    destination: Destination,
    /// Row number, for statistics.
    row: u16,
    db: DbIndex,
    protocol: Protocol,
    no_touch: bool,
    /// Where the hop's spans end in `spans`; they begin where the one before ends.
    spans_end: u32,
    /// Where the hop's reply ends in `replies`, and whether it is an error.
    reply_end: usize,
    failed: bool,
}

/// How a request wants to be run; the parts of a hop that are not arguments.
#[derive(Clone, Copy)]
pub struct Order {
    pub handler: Handler,
    pub row: u16,
    pub db: DbIndex,
    pub protocol: Protocol,
    pub no_touch: bool,
}

/// Bytes of requests from which on a batch is closed and another begun.
pub const BATCH_BYTES_MAX: usize = 16 << 20;

/// Requests from one core to another, and their replies.
#[derive(Default)]
pub struct Batch {
    hops: Vec<Hop>,
    /// Spans are absolute in `bytes`.
    spans: Vec<Span>,
    bytes: Vec<u8>,
    replies: Vec<u8>,
}

impl Batch {
    /// Whether nothing was put in.
    pub fn is_empty(&self) -> bool {
        self.hops.is_empty()
    }

    /// Number of requests.
    pub fn len(&self) -> usize {
        self.hops.len()
    }

    /// Whether another batch should be begun.
    pub fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES_MAX
    }

    /// Whether `bytes` more fit; only a lack of memory prevents it.
    pub fn reserve(&mut self, bytes: usize) -> bool {
        self.bytes.try_reserve(bytes).is_ok()
    }

    /// Copies a request in. `parts` are its arguments, the name first.
    pub fn push<'a>(
        &mut self,
        order: Order,
        destination: Destination,
        parts: impl Iterator<Item = &'a [u8]>,
    ) {
        for part in parts {
            // Lossless: a request is below 4 GiB and a batch is closed long before.
            let span = Span {
                start: self.bytes.len() as u32,
                len: part.len() as u32,
            };
            self.bytes.extend_from_slice(part);
            self.spans.push(span);
        }
        self.hops.push(Hop {
            handler: order.handler,
            destination,
            row: order.row,
            db: order.db,
            protocol: order.protocol,
            no_touch: order.no_touch,
            spans_end: self.spans.len() as u32,
            reply_end: 0,
            failed: false,
        });
    }

    /// Runs every request on the shard that owns their keys and keeps the replies.
    pub fn run(&mut self, shard: &mut Shard, now: UnixMs) {
        let mut first = 0usize;
        for hop in &mut self.hops {
            let last = hop.spans_end as usize;
            let args = Args::new(&self.bytes, &self.spans[first..last]);
            let request = Request {
                handler: hop.handler,
                args,
                db: hop.db,
                protocol: hop.protocol,
                no_touch: hop.no_touch,
                located: None,
            };
            hop.failed = shard.apply(now, &request, &mut self.replies).is_err();
            hop.reply_end = self.replies.len();
            first = last;
        }
    }

    /// The replies in request order: destination, row, whether it failed, bytes.
    pub fn replies(&self) -> impl Iterator<Item = (Destination, u16, bool, &[u8])> {
        let mut start = 0usize;
        self.hops.iter().map(move |hop| {
            let reply = &self.replies[start..hop.reply_end];
            start = hop.reply_end;
            (hop.destination, hop.row, hop.failed, reply)
        })
    }

    /// Empties the box for its next use. What a large value left is given back.
    pub fn clear(&mut self) {
        const KEEP: usize = 256 * 1024;
        self.hops.clear();
        self.spans.clear();
        for buffer in [&mut self.bytes, &mut self.replies] {
            buffer.clear();
            buffer.shrink_to(KEEP);
        }
    }
}

/// The shard of a key when `shards` share the keyspace.
#[inline]
pub fn shard_of(key: &[u8], shards: u16) -> ShardId {
    ShardId::of_slot(shards::slot_of(key), shards)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shard_owns_a_contiguous_range_and_sizes_differ_by_one() {
        for shards in [1u16, 2, 3, 7, 64, 1000] {
            let mut sizes = vec![0u32; usize::from(shards)];
            let mut last = 0;
            for slot in 0..16384u16 {
                let owner = ShardId::of_slot(shards::Slot(slot), shards).0;
                assert!(owner == last || owner == last + 1);
                last = owner;
                sizes[usize::from(owner)] += 1;
            }
            let (min, max) = (sizes.iter().min(), sizes.iter().max());
            assert!(
                max.zip(min).is_some_and(|(max, min)| max - min <= 1),
                "{shards}"
            );
        }
    }
}
