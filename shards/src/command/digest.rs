//! DEBUG DIGEST and DEBUG DIGEST-VALUE: 160 bits that tell whether two servers
//! hold the same. The server has the rest of DEBUG.
//!
//! The digest of a database is the sum (exclusive or) of those of its keys, so it
//! depends neither on the order of insertion nor on how many shards there are.
//! That of a key takes in its database, its name, its value, and whether it has a
//! deadline, but not which: a value that is the same digests the same in whatever
//! encoding it is kept. The elements of sets, hashes and sorted sets are summed up
//! as well; those of a list, and the entries of a stream, count in their order. Of
//! consumers it does not count when they were there: those who follow a log do not know. It is not the number that Redis
//! computes.
//!
//! A whole digest goes through all databases in slices, as KEYS does. A
//! collection is taken in at once.

use super::merge::{self, Parts};
use super::spec::{Arity, Group, InSlices, KeySpec, flags};
use super::{Args, Context, Outcome, ROW, Row, Run};
use crate::keyspace::{Item, StringRef, ValueRef, View};
use crate::resp::Reply;
use crate::types::{DbIndex, UnixMs};
use crate::value::Element;
use crate::value::stream::{self, Stream, StreamId};

/// Bytes of a digest.
pub const BYTES: usize = 20;
pub type Sum = [u8; BYTES];

/// DEBUG DIGEST. Not in the table: the server's DEBUG runs it.
pub static DIGEST: Row = Row {
    name: "digest",
    summary: "A digest of all databases.",
    since: "1.0.0",
    complexity: "O(N) with N the number of elements of all keys",
    group: Group::Server,
    arity: Arity::Exactly(1),
    flags: flags::READONLY,
    slices: InSlices::Always,
    run: Run::EachShard {
        part: digest,
        merge: add_up,
    },
    ..ROW
};

/// DEBUG DIGEST-VALUE. Not in the table, either.
pub static DIGEST_VALUE: Row = Row {
    name: "digest-value",
    syntax: "[key ...]",
    summary: "A digest of each of the values of keys.",
    since: "1.0.0",
    complexity: "O(N) with N the number of elements of the keys",
    group: Group::Server,
    arity: Arity::AtLeast(1),
    keys: &[KeySpec::every(1, &["RO"])],
    flags: flags::READONLY,
    run: Run::EachShard {
        part: digest_value,
        merge: merge::in_key_order,
    },
    ..ROW
};

/// Values take longer than names: so many times fewer keys in a step.
const SLOWER_THAN_KEYS: usize = 4;

fn digest(ctx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let mut sliced = ctx.cargo.sliced.take().unwrap_or_default();
    let budget = ctx.settings.keys_per_step / SLOWER_THAN_KEYS;
    if let Some(index) = ctx.database(i32::from(sliced.db)) {
        let (cursor, sum) = (sliced.cursor, &mut sliced.sum);
        let (next, is_end) = ctx.in_db(index, |db| {
            let now = db.now();
            let next = db.scan(cursor, budget, &mut |item| {
                add(sum, &of_item(now, index, &item));
            });
            (next, db.is_end(next))
        });
        sliced.cursor = if is_end { 0 } else { next };
        sliced.db += u16::from(is_end);
    }
    sliced.more = ctx.database(i32::from(sliced.db)).is_some();
    ctx.cargo.sliced = Some(sliced);
    Ok(())
}

/// The digest of all shards.
fn add_up(parts: &mut Parts<'_>, reply: &mut Reply<'_>) {
    let mut sum = Sum::default();
    parts
        .sliced
        .iter()
        .for_each(|part| add(&mut sum, &part.sum));
    reply.simple(&in_hex(&sum));
}

/// Keys that are not there digest to zeros.
fn digest_value(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    ctx.reply.array(args.len() - 1);
    for key in args.from(1).iter() {
        let now = ctx.db.now();
        let view = ctx.db.peek(key);
        let sum = view.and_then(|view| of_view(now, &view));
        let sum = sum.unwrap_or([0; BYTES]);
        ctx.reply.simple(&in_hex(&sum));
    }
    Ok(())
}

/// Adds one digest to another.
fn add(sum: &mut Sum, other: &Sum) {
    sum.iter_mut().zip(other).for_each(|(to, from)| *to ^= from);
}

/// Forty digits.
fn in_hex(sum: &Sum) -> String {
    sum.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A key that holds nothing any more adds nothing.
fn of_item(now: UnixMs, db: DbIndex, item: &Item<'_>) -> Sum {
    let Some(value) = of_view(now, &item.view) else {
        return [0; BYTES];
    };
    let mut hash = Hash::of("key");
    hash.word(u64::from(db.0));
    hash.bytes(item.key);
    hash.bytes(&value);
    hash.end()
}

/// Nothing for a hash all of whose fields are due.
fn of_view(now: UnixMs, view: &View<'_>) -> Option<Sum> {
    let mut hash = Hash::of(view.value.type_name());
    let mut sum = [0; BYTES];
    match view.value {
        ValueRef::String(StringRef::Bytes(bytes)) => hash.bytes(bytes),
        ValueRef::String(StringRef::Int(number)) => {
            hash.bytes(itoa::Buffer::new().format(number).as_bytes());
        }
        ValueRef::List(list) => list.iter().for_each(|element| hash.element(element)),
        ValueRef::Set(set) => set
            .iter()
            .for_each(|member| add(&mut sum, &of_pair(member, |_| ()))),
        ValueRef::Zset(zset) => zset.iter().for_each(|(member, score)| {
            // Zero has two signs, and one digest.
            let score = (score + 0.0).to_bits();
            add(&mut sum, &of_pair(member, |hash| hash.word(score)));
        }),
        ValueRef::Hash(fields) => {
            let mut alive = 0;
            for field in fields.iter().filter(|field| !field.is_due(now)) {
                let pair = of_pair(field.name, |hash| {
                    hash.element(field.value);
                    hash.word(u64::from(field.expire_at.is_some()));
                });
                add(&mut sum, &pair);
                alive += 1;
            }
            if alive == 0 {
                return None;
            }
        }
        ValueRef::Stream(stream) => take_in_stream(&mut hash, stream),
    }
    hash.bytes(&sum);
    hash.word(u64::from(view.expire_at.is_some()));
    Some(hash.end())
}

fn take_in_stream(hash: &mut Hash, stream: &Stream) {
    let entries = &stream.entries;
    for entry in entries.range(StreamId::MIN, StreamId::MAX) {
        hash.id(entry.id);
        hash.word(entry.fields.len() as u64);
        for (name, value) in entry.fields {
            hash.bytes(name);
            hash.bytes(value);
        }
    }
    hash.id(entries.last_id());
    hash.id(entries.max_deleted_id());
    hash.word(entries.added());
    for group in stream.groups.iter() {
        take_in_group(hash, group);
    }
}

fn take_in_group(hash: &mut Hash, group: &stream::Group) {
    hash.bytes(group.name());
    hash.id(group.last_id);
    hash.word(u64::from(group.entries_read.is_some()));
    hash.word(group.entries_read.unwrap_or_default());
    for (number, consumer) in group.consumers() {
        hash.bytes(consumer.name());
        hash.word(consumer.pending_len() as u64);
        for pending in group.pending_of(number, StreamId::MIN) {
            hash.id(pending.id);
            hash.word(pending.delivered.0.cast_unsigned());
            hash.word(pending.deliveries);
        }
    }
}

fn of_pair(element: Element<'_>, rest: impl FnOnce(&mut Hash)) -> Sum {
    let mut hash = Hash::of("element");
    hash.element(element);
    rest(&mut hash);
    hash.end()
}

/// A hash that is the same on every machine and in every run. It is made to
/// compare servers, not to withstand somebody who looks for collisions.
struct Hash([u64; 3]);

/// Odd numbers without a pattern: the fractions of some square roots.
const STARTS: [u64; 3] = [
    0x6A09_E667_F3BC_C909,
    0xBB67_AE85_84CA_A73B,
    0x3C6E_F372_FE94_F82B,
];
const FACTORS: [u64; 3] = [
    0xA54F_F53A_5F1D_36F1,
    0x9B05_688C_2B3E_6C1F,
    0x5BE0_CD19_137E_2179,
];

impl Hash {
    fn of(what: &str) -> Self {
        let mut hash = Self(STARTS);
        hash.bytes(what.as_bytes());
        hash
    }

    fn word(&mut self, word: u64) {
        for (lane, factor) in self.0.iter_mut().zip(FACTORS) {
            let product = u128::from(*lane ^ word) * u128::from(factor);
            // Both halves on purpose: the lower is weak in its lower bits.
            let folded = (product >> 64) as u64 ^ product as u64;
            *lane = folded.rotate_left(29) ^ lane.wrapping_mul(factor);
        }
    }

    /// The length goes first: what follows cannot be taken for a part of it.
    fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word));
        }
    }

    fn id(&mut self, id: StreamId) {
        self.word(id.ms);
        self.word(id.seq);
    }

    fn element(&mut self, element: Element<'_>) {
        element.with_bytes(|bytes| self.bytes(bytes));
    }

    fn end(mut self) -> Sum {
        // Every lane takes in the others.
        for lane in self.0 {
            self.word(lane);
        }
        let mut sum = [0; BYTES];
        let bytes = self.0.iter().flat_map(|lane| lane.to_le_bytes());
        sum.iter_mut().zip(bytes).for_each(|(to, from)| *to = from);
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever a stream and its groups hold makes a difference, but for when consumers
    /// were there.
    #[test]
    fn every_part_of_a_stream_counts() {
        use stream::{NodeLimits, pairs};
        type Change = fn(&mut Stream);
        fn group(stream: &mut Stream) -> stream::GroupMut<'_> {
            stream.groups.get_mut(b"group").unwrap()
        }
        fn claim(stream: &mut Stream, seq: u64, name: &[u8], at: i64, count: u64) {
            let mut group = group(stream);
            let (consumer, _) = group.consumer_or_create(name, UnixMs(1)).unwrap();
            let id = StreamId::new(1, seq);
            group.claim(id, consumer, UnixMs(at), count).unwrap();
        }
        fn append(stream: &mut Stream, words: [&[u8]; 2]) {
            let id = stream.entries.last_id().next().unwrap();
            let limits = NodeLimits::new(0, 0);
            let fields = pairs(words.into_iter());
            stream.entries.append(id, fields, limits).unwrap();
        }
        let changes: &[Change] = &[
            |_| (),
            |stream| append(stream, [b"f", b"v"]),
            |stream| append(stream, [b"fv", b""]),
            |stream| _ = stream.entries.delete(StreamId::new(0, 1)),
            |stream| _ = stream.entries.delete(StreamId::new(0, 2)),
            |stream| stream.entries.set_id(StreamId::new(9, 9), None, None),
            |stream| stream.entries.set_id(StreamId::new(0, 2), Some(9), None),
            |stream| _ = stream.groups.create(b"another", StreamId::MIN, None),
            |stream| group(stream).last_id = StreamId::new(0, 1),
            |stream| group(stream).entries_read = Some(0),
            |stream| _ = group(stream).consumer_or_create(b"new", UnixMs(1)),
            |stream| claim(stream, 1, b"one", 5, 1),
            |stream| claim(stream, 2, b"one", 5, 1),
            |stream| claim(stream, 1, b"two", 5, 1),
            |stream| claim(stream, 1, b"one", 6, 1),
            |stream| claim(stream, 1, b"one", 5, 2),
        ];
        let of = |change: Change| {
            let mut made = Stream::new();
            (0..2).for_each(|_| append(&mut made, [b"f", b"v"]));
            made.groups.create(b"group", StreamId::MIN, None).unwrap();
            claim(&mut made, 0, b"one", 5, 1);
            claim(&mut made, 0, b"two", 5, 1);
            change(&mut made);
            let view = View {
                value: ValueRef::Stream(&made),
                expire_at: None,
            };
            of_view(UnixMs(0), &view).unwrap()
        };
        let sums: std::collections::BTreeSet<Sum> = changes.iter().map(|it| of(*it)).collect();
        assert_eq!(sums.len(), changes.len());
        let seen = |stream: &mut Stream| {
            let mut group = group(stream);
            let consumer = group.find_consumer(b"one").unwrap();
            group.note_seen(consumer, UnixMs(99));
            group.note_active(consumer, UnixMs(99));
        };
        assert_eq!(of(seen), of(|_| ()));
    }

    #[test]
    fn every_bit_and_every_boundary_counts() {
        let of = |parts: &[&[u8]]| {
            let mut hash = Hash::of("test");
            parts.iter().for_each(|part| hash.bytes(part));
            hash.end()
        };
        let mut seen = std::collections::BTreeSet::new();
        let text = [0u8; 33];
        for len in 0..text.len() {
            assert!(seen.insert(of(&[&text[..len]])));
            for bit in 0..len * 8 {
                let mut changed = text;
                changed[bit / 8] ^= 1 << (bit % 8);
                assert!(seen.insert(of(&[&changed[..len]])));
            }
        }
        assert!(seen.insert(of(&[b"ab", b"c"])));
        assert!(seen.insert(of(&[b"a", b"bc"])));
        assert!(seen.insert(of(&[b"abc", b""])));
    }
}
