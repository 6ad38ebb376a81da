//! The first word of an entry: what it is and how its bytes are laid out. See the
//! picture in [`entry`](super).

use crate::value::{Encoding, Type};

/// Keys from this length on get the long form.
pub const LONG_KEY: usize = 1 << 10;
/// Inline values stay below this; rooms of a slab are smaller anyway.
const INLINE_LIMIT: usize = 1 << 14;
pub const LONG_KEY_AT: usize = 32;

/// Strings have type 0.
pub const TYPE_MASK: u64 = 0xF;
pub const SNAPSHOT: u64 = 1 << 8;
pub const EXPIRES: u64 = 1 << 9;
pub const WORD: u64 = 1 << 10;
pub const OUTSIDE: u64 = 1 << 11;
pub const LONG: u64 = 1 << 12;
pub const KEY_LEN_SHIFT: u32 = 16;
const VALUE_LEN_SHIFT: u32 = 26;
const CLOCK_SHIFT: u32 = 40;
/// The access clock has this many bits.
pub const CLOCK_MASK: u32 = (1 << 24) - 1;

/// The first word of an entry; see the picture above.
#[derive(Clone, Copy)]
pub struct Header(pub u64);

impl Header {
    #[inline]
    pub fn has(self, flag: u64) -> bool {
        self.0 & flag != 0
    }

    #[inline]
    pub fn key_len(self) -> usize {
        (self.0 >> KEY_LEN_SHIFT) as usize & (LONG_KEY - 1)
    }

    #[inline]
    pub fn value_len(self) -> usize {
        (self.0 >> VALUE_LEN_SHIFT) as usize & (INLINE_LIMIT - 1)
    }

    #[inline]
    pub fn with_value_len(self, length: usize) -> Self {
        debug_assert!(length < INLINE_LIMIT);
        let mask = (INLINE_LIMIT as u64 - 1) << VALUE_LEN_SHIFT;
        Self(self.0 & !mask | (length as u64) << VALUE_LEN_SHIFT)
    }

    #[inline]
    pub fn with_encoding(self, encoding: Encoding) -> Self {
        Self(self.0 & !0xF0 | (encoding as u64) << 4)
    }

    pub fn encoding(self) -> Encoding {
        let index = (self.0 >> 4 & 0xF) as usize;
        Encoding::ALL[index]
    }

    #[inline]
    pub fn type_of(self) -> Type {
        Type::ALL[(self.0 & TYPE_MASK) as usize]
    }

    #[inline]
    pub fn clock(self) -> u32 {
        (self.0 >> CLOCK_SHIFT) as u32
    }

    #[inline]
    pub fn with_clock(self, clock: u32) -> Self {
        let kept = self.0 & ((1 << CLOCK_SHIFT) - 1);
        Self(kept | u64::from(clock & CLOCK_MASK) << CLOCK_SHIFT)
    }

    /// Whether there are eight bytes for a deadline.
    #[inline]
    pub fn has_deadline_room(self) -> bool {
        self.has(EXPIRES | LONG)
    }

    #[inline]
    pub fn word_at(self) -> usize {
        8 + 8 * usize::from(self.has_deadline_room())
    }

    /// Of a short entry.
    #[inline]
    pub fn key_at(self) -> usize {
        self.word_at() + 8 * usize::from(self.has(WORD))
    }
}
