//! What values are made of.
//!
//! A string or a small collection lies as flat bytes within its entry; what is
//! too large or too changeable for that is a [`Value`] the entry refers to. A
//! collection's module has two forms: an owned one that can be changed (`Set`),
//! and one that is only looked at (`SetRef`), which is the same for flat bytes
//! in an entry and for an owned value.

mod copying;
pub mod geohash;
mod hash;
pub mod hyperloglog;
mod intset;
mod kind;
mod list;
pub mod listpack;
mod long_double;
mod owned;
mod quicklist;
mod set;
pub mod stream;
mod table;
mod view;
mod zset;

pub use crate::types::Type;
pub use copying::Copying;
pub use hash::{Field, FieldTtl, Hash, HashRef};
pub use kind::Encoding;
pub use list::{End, Limit, List, ListRef, Purge};
pub use listpack::Element;
pub use long_double::LongDouble;
pub use owned::Owned;
pub use quicklist::Quicklist;
pub use set::{Growth, Set, SetPlace, SetRef};
pub use stream::Stream;
pub use table::below;
pub use view::{StringRef, ValueRef};
pub use zset::{
    Cloning as ZsetCloning, Cut, Removal as ZsetRemoval, Walk, Zset, ZsetLimits, ZsetRef,
    ZsetUpdate,
};

use crate::error::OutOfMemory;
use std::fmt::Debug;

/// So many bytes are as much work to copy as an element is.
const COPIED_BYTES: usize = 256;

/// So many bytes may be without use in a flat collection, whatever its size.
const TRIM_ABOVE: usize = 32;

/// A value outside its entry. One variant per Redis type.
#[derive(Debug)]
pub enum Value {
    String(Vec<u8>),
    List(List),
    Set(Set),
    Zset(Zset),
    Hash(Hash),
    Stream(Box<Stream>),
}

/// What the keyspace must know of a type with elements.
///
/// A collection is never stored empty (a stream never counts as that). While it is in a *flat* encoding it can
/// be written as bytes and be had back from them; the keyspace does so whenever
/// it fits into its entry, and works on an owned copy to change it.
pub trait Collection: Sized + Debug + 'static {
    const TYPE: Type;

    /// It as it is looked at. Equal means: the same contents, whatever the
    /// encoding.
    type Ref<'a>: Copy + Debug + PartialEq;

    /// From the bytes [`Collection::flat`] gave under `encoding`. No bytes and
    /// `Encoding::Listpack`: a new, empty collection.
    fn from_flat(encoding: Encoding, bytes: Vec<u8>) -> Self;

    /// Looks at such bytes.
    fn view_flat(encoding: Encoding, bytes: &[u8]) -> Self::Ref<'_>;

    /// Its bytes while its encoding is a flat one.
    fn flat(&self) -> Option<&[u8]>;

    /// The buffer behind [`Collection::flat`].
    fn flat_mut(&mut self) -> Option<&mut Vec<u8>>;

    /// The buffer behind [`Collection::flat`], to be used again.
    fn into_flat(mut self) -> Option<Vec<u8>> {
        self.flat_mut().map(std::mem::take)
    }

    /// Gives back what a flat one has no use for after it was changed.
    #[inline]
    fn trim(&mut self) {
        if let Some(bytes) = self.flat_mut()
            && bytes.capacity() / 2 > bytes.len() + TRIM_ABOVE
        {
            bytes.shrink_to(bytes.len() + bytes.len() / 2);
        }
    }

    fn view(&self) -> Self::Ref<'_>;

    fn encoding(&self) -> Encoding;

    fn is_empty(&self) -> bool;

    /// About how many bytes it holds on the heap. O(1), or nearly.
    fn heap_bytes(&self) -> usize;

    /// Drops up to about `budget` elements in whatever order; whether there is
    /// more. To free a large one in slices; it is not used otherwise any more.
    fn free_some(&mut self, budget: usize) -> bool;

    fn try_clone(&self) -> Result<Self, OutOfMemory>;

    fn into_value(self) -> Value;

    /// It within a value, if that has this type.
    fn of(value: &Value) -> Option<&Self>;

    /// As [`Collection::of`], to be changed.
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
}

impl Value {
    /// The value whose flat bytes these are; of strings, the string.
    pub fn from_flat(of: Type, encoding: Encoding, bytes: Vec<u8>) -> Self {
        match of {
            Type::String => Self::String(bytes),
            Type::List => Self::List(List::from_flat(encoding, bytes)),
            Type::Set => Self::Set(Set::from_flat(encoding, bytes)),
            Type::Zset => Self::Zset(Zset::from_flat(encoding, bytes)),
            Type::Hash => Self::Hash(Hash::from_flat(encoding, bytes)),
            Type::Stream => Stream::from_flat(encoding, bytes).into_value(),
        }
    }

    /// Has elements fetched; see [`table::Table::fetch`].
    #[inline]
    pub fn fetch<'e>(&self, elements: impl Iterator<Item = &'e [u8]>) {
        if let Self::Set(Set::Table(table)) | Self::Hash(Hash::Table(table)) = self {
            table.fetch(elements);
        }
    }

    /// Bytes it holds on the heap, for deciding how to free it.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::String(bytes) => bytes.capacity(),
            Self::List(list) => list.heap_bytes(),
            Self::Set(set) => set.heap_bytes(),
            Self::Zset(zset) => zset.heap_bytes(),
            Self::Hash(hash) => hash.heap_bytes(),
            Self::Stream(stream) => Collection::heap_bytes(&**stream),
        }
    }

    /// See [`Collection::free_some`]. A string has no more after the first time.
    pub fn free_some(&mut self, budget: usize) -> bool {
        match self {
            Self::String(bytes) => {
                *bytes = Vec::new();
                false
            }
            Self::List(list) => list.free_some(budget),
            Self::Set(set) => set.free_some(budget),
            Self::Zset(zset) => zset.free_some(budget),
            Self::Hash(hash) => hash.free_some(budget),
            Self::Stream(stream) => stream.free_some(budget),
        }
    }

    pub fn try_clone(&self) -> Result<Self, OutOfMemory> {
        Ok(match self {
            Self::String(bytes) => Self::String(copy(bytes)?),
            Self::List(list) => Self::List(list.try_clone()?),
            Self::Set(set) => Self::Set(set.try_clone()?),
            Self::Zset(zset) => Self::Zset(zset.try_clone()?),
            Self::Hash(hash) => Self::Hash(hash.try_clone()?),
            Self::Stream(stream) => stream.try_clone()?.into_value(),
        })
    }
}

/// A copy of bytes, as large as they are.
pub fn copy(bytes: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    let mut copy = Vec::new();
    copy.try_reserve_exact(bytes.len())?;
    copy.extend_from_slice(bytes);
    Ok(copy)
}

/// Whether two texts are the same. Those of 4 to 32 bytes, as most keys and elements
/// are, are compared in reads that overlap, because a call of memcmp costs more; the
/// end first, where they differ as a rule.
#[inline]
pub fn is_same(one: &[u8], other: &[u8]) -> bool {
    fn ends<const N: usize>(text: &[u8]) -> Option<(&[u8; N], &[u8; N])> {
        text.last_chunk().zip(text.first_chunk())
    }
    one.len() == other.len()
        && match one.len() {
            8..=16 => ends::<8>(one) == ends::<8>(other),
            17..=32 => ends::<16>(one) == ends::<16>(other),
            4..8 => ends::<4>(one) == ends::<4>(other),
            _ => one == other,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_differ_in_every_byte() {
        for length in 0..40 {
            let text = vec![7u8; length];
            assert!(is_same(&text, &text.clone()));
            assert!(!is_same(&text, &vec![7u8; length + 1]));
            for at in 0..length {
                let mut other = text.clone();
                other[at] = 8;
                assert!(!is_same(&text, &other), "{length} {at}");
            }
        }
    }
}
