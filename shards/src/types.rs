//! The small types every layer shares. Each names its unit.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;

/// Number of hash slots the keyspace is cut into, as in Redis Cluster.
pub const SLOTS: u16 = 16_384;

/// One of the 16384 hash slots: CRC16 of the key (or of its hash tag) modulo 16384.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

/// One shard: the slots owned by one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// The shard that owns `slot` when `shards` shards share the slots in
    /// contiguous ranges of almost equal size.
    ///
    /// `shards` must be between 1 and [`SLOTS`].
    #[inline]
    pub fn of_slot(slot: Slot, shards: u16) -> Self {
        // Lossless: slot < 16384 and shards <= 16384, so the quotient is < shards.
        #[allow(clippy::cast_possible_truncation)]
        Self((u32::from(slot.0) * u32::from(shards) / u32::from(SLOTS)) as u16)
    }

    /// The slots of this shard when there are `shards` of them: those for which
    /// [`ShardId::of_slot`] gives it.
    pub fn slots(self, shards: u16) -> Range<u16> {
        let start = |shard: u32| (shard * u32::from(SLOTS)).div_ceil(u32::from(shards));
        // Lossless: shard <= shards, so the quotient is at most 16384.
        #[allow(clippy::cast_possible_truncation)]
        let range = start(u32::from(self.0)) as u16..start(u32::from(self.0) + 1) as u16;
        range
    }

    /// As an index into per-shard arrays.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A numbered database (SELECT).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DbIndex(pub u16);

impl DbIndex {
    /// As an index into per-database arrays.
    #[inline]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// An instant: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixMs(pub i64);

/// A type, as TYPE names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    String,
    List,
    Set,
    Zset,
    Hash,
    Stream,
}

impl Type {
    pub const ALL: [Self; 6] = [
        Self::String,
        Self::List,
        Self::Set,
        Self::Zset,
        Self::Hash,
        Self::Stream,
    ];

    /// The name TYPE replies.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::List => "list",
            Self::Set => "set",
            Self::Zset => "zset",
            Self::Hash => "hash",
            Self::Stream => "stream",
        }
    }
}

/// How long a request that found nothing to take waits for it, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Then the reply is a null array; nothing: for ever.
    pub until: Option<UnixMs>,
    /// The type of value that is worth another look when it appears or grows.
    pub of: Type,
    pub claim: Claim,
}

/// What a request that waits does with what it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Takes it: those behind it may find nothing.
    Takes,
    /// Reads it, which concerns nobody else: all who wait are served.
    Reads,
    /// Takes it as one of those with this number: where one of them finds nothing, so
    /// do the others. It ends with an error when what it waits for is gone.
    Shares(u64),
}

impl Waiting {
    /// For a value of this type to take from.
    pub fn to_take(of: Type, until: Option<UnixMs>) -> Self {
        let claim = Claim::Takes;
        Self { until, of, claim }
    }
}

/// A request that cannot be answered yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    pub waiting: Waiting,
    /// Arguments, by position, that are to stand in the place of those it came with
    /// while it waits: what was meant by them depends on when it came.
    pub instead: Vec<(usize, Vec<u8>)>,
}

/// Where one argument of a request lies in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    /// What lies there.
    #[inline]
    pub fn of(self, buffer: &[u8]) -> &[u8] {
        let start = self.start as usize;
        &buffer[start..start + self.len as usize]
    }
}

/// A source of random numbers (SplitMix64) that its seed decides.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number; all bits are equally good.
    #[inline]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ mixed >> 31
    }
}

/// The two sources of random numbers of a shard. What clients see of one, with
/// SRANDMEMBER and its like, must tell them nothing of the other.
#[derive(Clone, Debug)]
pub struct Chance {
    /// Decides what is chosen.
    pub choices: Random,
    /// Keys the hashes of tables.
    pub seeds: Random,
}

impl Chance {
    /// Of the shard whose first slot is `slot`. Shards are given the same seed but
    /// should not make the same choices. From a state of SplitMix64 all numbers can be
    /// computed, earlier ones too, so no state is the other, nor the seed, in disguise.
    pub fn new(seed: u64, slot: u16) -> Self {
        let source = |purpose: u8| {
            let mut hasher = DefaultHasher::new();
            (seed, slot, purpose).hash(&mut hasher);
            Random::new(hasher.finish())
        };
        Self {
            choices: source(1),
            seeds: source(2),
        }
    }
}

/// What the engine needs to know of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Longest string value, bytes (proto-max-bulk-len).
    pub proto_max_bulk_len: usize,
    /// Longest sparse HyperLogLog, bytes (hll-sparse-max-bytes).
    pub hll_sparse_max_bytes: usize,
    /// Keys that one step of a request meets that goes through whole shards:
    /// some ten microseconds.
    pub keys_per_step: usize,
    pub slices: Slices,
    pub long_replies: LongReplies,
    pub reply_max: ReplyMax,
    /// Whether texts are compressed in what is dumped (rdbcompression).
    pub rdb_compression: bool,
    pub encodings: Thresholds,
}

/// How long the reply to one request may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyMax {
    /// At most half of the address space.
    pub bytes: usize,
    /// Who asks for more has to go; otherwise there is no memory for it.
    pub closes: bool,
}

/// When a request works in slices, and how long these are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slices {
    /// Elements that a request goes through in one piece.
    pub above: usize,
    /// Elements of a slice: some ten microseconds.
    pub step: usize,
}

/// When a reply is long, and how long its pieces are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongReplies {
    /// With more elements it is long.
    pub elements: usize,
    /// With more bytes it is long.
    pub bytes: usize,
    /// Bytes of a piece, but for the last element.
    pub piece: usize,
}

/// Up to where collections keep their compact encodings. Named as the
/// directives are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds {
    /// Elements of a list's node; negative: its size, -1 to -5 for 4 to 64 KiB.
    pub list_max_listpack_size: i64,
    /// Fields.
    pub hash_max_listpack_entries: usize,
    /// Bytes of a field or a value.
    pub hash_max_listpack_value: usize,
    /// Members that are all integers.
    pub set_max_intset_entries: usize,
    /// Members.
    pub set_max_listpack_entries: usize,
    /// Bytes of a member.
    pub set_max_listpack_value: usize,
    /// Members.
    pub zset_max_listpack_entries: usize,
    /// Bytes of a member.
    pub zset_max_listpack_value: usize,
    /// Bytes of a node; 0 for as many as may be.
    pub stream_node_max_bytes: usize,
    /// Entries of a node; 0 for as many as may be.
    pub stream_node_max_entries: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proto_max_bulk_len: 512 * 1024 * 1024,
            hll_sparse_max_bytes: 3000,
            keys_per_step: 256,
            rdb_compression: true,
            slices: Slices {
                above: 1024,
                step: 256,
            },
            long_replies: LongReplies {
                elements: 16 << 10,
                bytes: 1 << 20,
                piece: 64 << 10,
            },
            reply_max: ReplyMax {
                bytes: usize::MAX >> 1,
                closes: false,
            },
            encodings: Thresholds {
                list_max_listpack_size: -2,
                hash_max_listpack_entries: 512,
                hash_max_listpack_value: 64,
                set_max_intset_entries: 512,
                set_max_listpack_entries: 128,
                set_max_listpack_value: 64,
                zset_max_listpack_entries: 128,
                zset_max_listpack_value: 64,
                stream_node_max_bytes: 4096,
                stream_node_max_entries: 100,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_types_lead_back() {
        assert!((0..).zip(Type::ALL).all(|(n, of)| of as usize == n));
    }

    /// The state of a generator that gave `number`, before it did.
    fn state_before(number: u64) -> u64 {
        // Each step of `Random::next` is undone, the last one first.
        let unshift = |mixed: u64, by: u32| (0..3).fold(mixed, |guess, _| mixed ^ guess >> by);
        let inverse = |factor: u64| {
            (0..6).fold(factor, |guess, _| {
                guess.wrapping_mul(2u64.wrapping_sub(factor.wrapping_mul(guess)))
            })
        };
        let mixed = unshift(number, 31).wrapping_mul(inverse(0x94D0_49BB_1331_11EB));
        let mixed = unshift(mixed, 27).wrapping_mul(inverse(0xBF58_476D_1CE4_E5B9));
        unshift(mixed, 30).wrapping_sub(0x9E37_79B9_7F4A_7C15)
    }

    #[test]
    fn choices_lead_neither_to_seeds_nor_to_the_seed_of_all() {
        let (seed, slot) = (7, 4096);
        let mut chance = Chance::new(seed, slot);
        let seeds: Vec<u64> = (0..100).map(|_| chance.seeds.next()).collect();
        // Whoever has seen one whole number knows all that came before and will come.
        let state = state_before(chance.choices.next());
        assert_eq!(
            Random::new(state).next(),
            Chance::new(seed, slot).choices.next()
        );
        let mut known = Random::new(state.wrapping_sub(0x9E37_79B9_7F4A_7C15 << 10));
        for _ in 0..4_000 {
            assert_ne!(known.0, seed);
            assert_ne!(known.0 ^ u64::from(slot).rotate_left(48), seed);
            assert!(!seeds.contains(&known.next()));
        }
        // And what is chosen does not change what tables are keyed with.
        let mut other = Chance::new(seed, slot);
        (0..9).for_each(|_| _ = other.choices.next());
        assert_eq!(other.seeds.next(), seeds[0]);
    }

    #[test]
    fn every_slot_lies_in_the_range_of_its_shard() {
        for shards in [1, 2, 3, 7, 64, 1000, SLOTS] {
            let mut end = 0;
            for shard in (0..shards).map(ShardId) {
                let slots = shard.slots(shards);
                assert_eq!(slots.start, end);
                end = slots.end;
                for slot in slots {
                    assert_eq!(ShardId::of_slot(Slot(slot), shards), shard);
                }
            }
            assert_eq!(end, SLOTS);
        }
    }
}
