//! Numbers of the format. What is only read, and refused by name, is here, too.

/// What a file begins with, before four digits: the version.
pub const MAGIC: &[u8] = b"REDIS";
/// What one of Valkey's own begins with, before three digits.
pub const MAGIC_VALKEY: &[u8] = b"VALKEY";

/// Versions of the format.
pub mod version {
    /// Redis 5 and 6.
    pub const REDIS_5: u16 = 9;
    /// Redis 7.0: what is written, if nothing needs more.
    pub const REDIS_7_0: u16 = 10;
    /// Redis 7.2, and Valkey when it writes for others.
    pub const REDIS_7_2: u16 = 11;
    /// Redis 7.4: fields of hashes have deadlines.
    pub const REDIS_7_4: u16 = 12;
    /// The last of Redis's whose types are known here as far as they can be held.
    pub const REDIS_MAX: u16 = 15;
    /// Valkey's own.
    pub const VALKEY_MIN: u16 = 80;
    pub const VALKEY_MAX: u16 = 81;
}

/// What stands in the place of a type and is none.
pub mod opcode {
    /// A template that hashes share (Redis 8.10).
    pub const HASH_TEMPLATES: u8 = 242;
    /// Something about a key (Redis), or a slot that is being imported (Valkey).
    pub const KEY_METADATA: u8 = 243;
    /// Of a slot: its number, and how many keys and deadlines it has. Three lengths.
    pub const SLOT_INFO: u8 = 244;
    /// A library of functions: its source.
    pub const FUNCTION: u8 = 245;
    /// The same, before Redis 7.0 was final.
    pub const FUNCTION_EARLY: u8 = 246;
    /// What a module has beside keys.
    pub const MODULE_AUX: u8 = 247;
    /// Seconds since the next key was accessed. A length.
    pub const IDLE: u8 = 248;
    /// How often the next key is accessed. A byte.
    pub const FREQ: u8 = 249;
    /// A name and a text about the file.
    pub const AUX: u8 = 250;
    /// How many keys and deadlines the database has. Two lengths.
    pub const RESIZE_DB: u8 = 251;
    /// The deadline of the next key, eight bytes, ms.
    pub const EXPIRE_MS: u8 = 252;
    /// The same, four bytes, seconds.
    pub const EXPIRE_S: u8 = 253;
    /// What follows is in the database with this number. A length.
    pub const SELECT_DB: u8 = 254;
    /// The end; the checksum follows.
    pub const END: u8 = 255;
}

/// Types and encodings of values.
pub mod kind {
    pub const STRING: u8 = 0;
    pub const LIST: u8 = 1;
    pub const SET: u8 = 2;
    /// A sorted set whose scores are texts.
    pub const ZSET: u8 = 3;
    pub const HASH: u8 = 4;
    /// A sorted set whose scores are eight bytes each.
    pub const ZSET_2: u8 = 5;
    /// A module's value before it could be skipped.
    pub const MODULE: u8 = 6;
    pub const MODULE_2: u8 = 7;
    pub const HASH_ZIPMAP: u8 = 9;
    pub const LIST_ZIPLIST: u8 = 10;
    pub const SET_INTSET: u8 = 11;
    pub const ZSET_ZIPLIST: u8 = 12;
    pub const HASH_ZIPLIST: u8 = 13;
    /// A list whose nodes are ziplists.
    pub const LIST_QUICKLIST: u8 = 14;
    pub const STREAM: u8 = 15;
    pub const HASH_LISTPACK: u8 = 16;
    pub const ZSET_LISTPACK: u8 = 17;
    /// A list whose nodes are listpacks, or single elements.
    pub const LIST_QUICKLIST_2: u8 = 18;
    /// A stream with what it remembers of entries that have gone.
    pub const STREAM_2: u8 = 19;
    pub const SET_LISTPACK: u8 = 20;
    /// A stream whose consumers have two times.
    pub const STREAM_3: u8 = 21;
    /// Of a release candidate of Redis 7.4; and of Valkey, which see [`HASH_VALKEY`].
    pub const HASH_METADATA_EARLY: u8 = 22;
    /// A hash with deadlines of fields as Valkey writes it: field, value, eight bytes.
    pub const HASH_VALKEY: u8 = 22;
    pub const HASH_LISTPACK_EX_EARLY: u8 = 23;
    /// A hash with deadlines of fields: the smallest, then how much more each is.
    pub const HASH_METADATA: u8 = 24;
    /// The same as a listpack of field, value and deadline in the order of deadlines.
    pub const HASH_LISTPACK_EX: u8 = 25;
}

/// How lengths begin: the first two bits, or more.
pub mod length {
    /// Six bits follow.
    pub const SHORT: u8 = 0x00;
    /// Six bits and a byte follow.
    pub const MIDDLE: u8 = 0x40;
    /// Four bytes follow, the highest first.
    pub const LONG: u8 = 0x80;
    /// Eight bytes follow, the highest first.
    pub const HUGE: u8 = 0x81;
    /// No length: the text is encoded, and six bits say how.
    pub const ENCODED: u8 = 0xC0;
}

/// How texts are encoded.
pub mod text {
    /// As a number of one, two or four bytes, the lowest first.
    pub const INT_8: u8 = 0;
    pub const INT_16: u8 = 1;
    pub const INT_32: u8 = 2;
    /// Compressed: two lengths, before and after decompression, then the bytes.
    pub const LZF: u8 = 3;
}

/// What a node of a quicklist is: one element, or a listpack.
pub mod node {
    pub const PLAIN: u64 = 1;
    pub const PACKED: u64 = 2;
}

/// A listpack begins with its length (four bytes) and a count (two), and ends with a
/// mark; see [`crate::listpack`] for what is between.
pub mod packed {
    pub const HEADER: usize = 6;
    pub const END: u8 = 0xFF;
    /// The count if it is this or more.
    pub const UNCOUNTED: u16 = u16::MAX;
}

/// Flags of a stream's entry, in the listpack of its node.
pub mod entry {
    pub const DELETED: i64 = 1;
    pub const SAME_FIELDS: i64 = 2;
}

/// `entries_read` of a group that does not know.
pub const ENTRIES_READ_UNKNOWN: u64 = u64::MAX;
