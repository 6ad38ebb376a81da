//! An entry to be: what it is made of, and what of that lies within it.

use super::header::{
    EXPIRES, Header, KEY_LEN_SHIFT, LONG, LONG_KEY, LONG_KEY_AT, OUTSIDE, SNAPSHOT, TYPE_MASK, WORD,
};
use crate::keyspace::slab::{FREE, OutOfMemory, ROOM_MAX};
use crate::types::UnixMs;
use crate::value::{Encoding, Type, Value, copy};

/// What a value is made of.
pub enum Payload<'a> {
    Int(i64),
    /// A string.
    Bytes(&'a [u8], Encoding),
    /// A collection in a flat encoding.
    Flat(Type, &'a [u8], Encoding),
    Outside(Box<Value>, Encoding),
}

impl<'a> Payload<'a> {
    /// What lies within the entry, if it fits.
    #[inline]
    fn inline(&self) -> Option<(Type, &'a [u8], Encoding)> {
        match *self {
            Self::Bytes(bytes, encoding) => Some((Type::String, bytes, encoding)),
            Self::Flat(of, bytes, encoding) => Some((of, bytes, encoding)),
            Self::Int(_) | Self::Outside(..) => None,
        }
    }
}

/// An entry to be.
pub struct Draft<'a> {
    pub key: &'a [u8],
    pub payload: Payload<'a>,
    pub expire_at: Option<UnixMs>,
    pub clock: u32,
    pub snapshot: bool,
}

impl<'a> Draft<'a> {
    /// Decides what lies inline: moves bytes that do not fit a room to a value
    /// outside.
    #[inline]
    pub fn settle(mut self) -> Result<Settled<'a>, OutOfMemory> {
        if let Some((of, bytes, encoding)) = self.payload.inline() {
            let base = 8 + 8 * usize::from(self.expire_at.is_some());
            let fits = self.key.len() < LONG_KEY && base + self.key.len() + bytes.len() <= ROOM_MAX;
            if !fits {
                let value = Value::from_flat(of, encoding, copy(bytes)?);
                self.payload = Payload::Outside(Box::new(value), encoding);
            }
        }
        let header = self.header();
        Ok(Settled {
            draft: self,
            header,
        })
    }

    #[inline]
    fn header(&self) -> Header {
        let long = self.key.len() >= LONG_KEY;
        let (of, flags, value_len, encoding) = match &self.payload {
            Payload::Int(_) => (Type::String, WORD, 0, Encoding::Int),
            Payload::Bytes(bytes, encoding) => (Type::String, 0, bytes.len(), *encoding),
            Payload::Flat(of, bytes, encoding) => (*of, 0, bytes.len(), *encoding),
            Payload::Outside(value, encoding) => (value.type_of(), WORD | OUTSIDE, 0, *encoding),
        };
        const { assert!((TYPE_MASK | SNAPSHOT | EXPIRES | WORD | OUTSIDE | LONG) & FREE == 0) };
        let mut bits = of as u64 | flags;
        bits |= if long {
            LONG
        } else {
            (self.key.len() as u64) << KEY_LEN_SHIFT
        };
        bits |= if self.expire_at.is_some() { EXPIRES } else { 0 };
        bits |= if self.snapshot { SNAPSHOT } else { 0 };
        Header(bits)
            .with_value_len(value_len)
            .with_encoding(encoding)
            .with_clock(self.clock)
    }
}

/// A draft whose layout is decided.
pub struct Settled<'a> {
    pub draft: Draft<'a>,
    pub header: Header,
}

impl Settled<'_> {
    /// Bytes of the entry.
    #[inline]
    pub fn size(&self) -> usize {
        if self.header.has(LONG) {
            LONG_KEY_AT + self.draft.key.len()
        } else {
            self.header.key_at() + self.draft.key.len() + self.header.value_len()
        }
    }
}
