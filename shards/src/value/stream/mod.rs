//! Streams.
//!
//! ```text
//! Stream ─┬─ entries   nodes of packed entries, in the order of their ids
//!         └─ groups    by name; each has what is pending, and consumers by name
//! ```
//!
//! | file | keeps |
//! |---|---|
//! | `id.rs` | ids |
//! | `varint.rs` | numbers of few bytes |
//! | `ordered.rs` | items in the order of ids: nodes, what is pending, a consumer's ids |
//! | `node.rs` | entries in one piece of memory |
//! | `entries.rs`, `trim.rs` | all entries of a stream; taking them off its front |
//! | `consumers.rs`, `group.rs`, `groups.rs` | who reads, and what is not acknowledged |
//! | `reading.rs` | how far a group has read, and what is ahead of it |
//!
//! A stream has one encoding, lies outside its entry, and stays when nothing is left in
//! it.

mod consumers;
mod entries;
mod group;
mod groups;
mod id;
mod node;
mod ordered;
mod reading;
mod trim;
mod varint;

#[cfg(test)]
mod tests;

pub use consumers::{Consumer, ConsumerId};
pub use entries::{Entries, Range, RangeBack};
pub use group::{Group, Pending};
pub use groups::{GroupMut, Groups};
pub use id::{IdText, StreamId};
pub use node::{Entry, Fields, FieldsPlace, Node, NodeLimits, Pairs, pairs};
pub use ordered::Iter;
pub use trim::{References, Trim, TrimTo};

use super::{COPIED_BYTES, Collection, Encoding, Type, Value};
use crate::error::OutOfMemory;

/// See the module. Both parts may be borrowed at a time.
#[derive(Debug, Default)]
pub struct Stream {
    pub entries: Entries,
    pub groups: Groups,
}

/// What a stream is that nothing was ever added to.
static EMPTY: Stream = Stream {
    entries: Entries::new(),
    groups: Groups::new(),
};

impl PartialEq for Stream {
    /// The same contents.
    fn eq(&self, other: &Self) -> bool {
        let all = |stream: &'_ Self| {
            let entries = &stream.entries;
            (
                entries.len(),
                entries.last_id(),
                entries.max_deleted_id(),
                entries.added(),
            )
        };
        let entries = |of: &Entries, other: &Entries| {
            let (from, to) = (StreamId::MIN, StreamId::MAX);
            of.range(from, to).eq(other.range(from, to))
        };
        all(self) == all(other)
            && entries(&self.entries, &other.entries)
            && self.groups == other.groups
    }
}

impl Stream {
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.entries.heap_bytes() + self.groups.heap_bytes()
    }

    /// Removes a group. What it leaves may be much: it is to be buried
    /// ([`crate::Db::bury`]).
    pub fn destroy_group(&mut self, name: &[u8]) -> Option<Self> {
        let groups = self.groups.take(name)?;
        Some(Self {
            groups,
            ..Self::default()
        })
    }

    /// How much work a copy is, in elements.
    pub(super) fn copied_elements(&self) -> usize {
        self.heap_bytes() / COPIED_BYTES
    }

    /// Goes on with a copy that began as [`Stream::new`]; whether there is more.
    pub(super) fn clone_some(&self, clone: &mut Self, budget: usize) -> Result<bool, OutOfMemory> {
        let mut budget = budget.max(1);
        Ok(self.entries.clone_some(&mut clone.entries, &mut budget)?
            || self.groups.clone_some(&mut clone.groups, &mut budget)?)
    }

    /// Checks it; panics if it contradicts itself. For tests.
    pub fn check_invariants(&self) {
        self.entries.check_invariants();
        self.groups.check_invariants();
    }
}

impl Collection for Stream {
    const TYPE: Type = Type::Stream;

    type Ref<'a> = &'a Self;

    fn from_flat(_: Encoding, _: Vec<u8>) -> Self {
        Self::default()
    }

    /// There are no such bytes: streams are not flat.
    fn view_flat(_: Encoding, _: &[u8]) -> Self::Ref<'_> {
        &EMPTY
    }

    fn flat(&self) -> Option<&[u8]> {
        None
    }

    fn flat_mut(&mut self) -> Option<&mut Vec<u8>> {
        None
    }

    fn view(&self) -> Self::Ref<'_> {
        self
    }

    fn encoding(&self) -> Encoding {
        Encoding::Stream
    }

    /// It stays without entries, too.
    fn is_empty(&self) -> bool {
        false
    }

    fn heap_bytes(&self) -> usize {
        size_of::<Self>() + Self::heap_bytes(self)
    }

    fn free_some(&mut self, mut budget: usize) -> bool {
        self.groups.free_some(&mut budget) || self.entries.free_some(&mut budget)
    }

    fn try_clone(&self) -> Result<Self, OutOfMemory> {
        let mut clone = Self::default();
        self.clone_some(&mut clone, usize::MAX)?;
        Ok(clone)
    }

    fn into_value(self) -> Value {
        Value::Stream(Box::new(self))
    }

    fn of(value: &Value) -> Option<&Self> {
        match value {
            Value::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        match value {
            Value::Stream(stream) => Some(stream),
            _ => None,
        }
    }
}
