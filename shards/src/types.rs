//! The small types every layer shares. Each names its unit.

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
