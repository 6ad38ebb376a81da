//! The entries of a stream, and what it remembers of those that have gone.
//!
//! Nodes lie in the order of the first ids that were put into them ([`Ordered`]); what is
//! added goes into the last one. Neighbours that deletions leave sparse become one.

use super::StreamId;
use super::node::{Entry, Node, NodeLimits, Pairs};
use super::ordered::{self, Keyed, Ordered, Place};
use crate::counted;
use crate::error::OutOfMemory;
use crate::value::COPIED_BYTES;

/// Freeing or copying a node is as much work as so many elements, beside its bytes.
pub(super) const NODE_COST: usize = 4;

/// Freeing so many bytes of a node is as much work as freeing an element.
const FREED_BYTES: usize = 16 << 10;

/// See the module.
#[derive(Debug, Default)]
pub struct Entries {
    nodes: Ordered<Node>,
    len: usize,
    /// Bytes of all nodes.
    bytes: usize,
    last_id: StreamId,
    max_deleted_id: StreamId,
    added: u64,
}

impl Entries {
    pub const fn new() -> Self {
        Self {
            nodes: Ordered::new(),
            len: 0,
            bytes: 0,
            last_id: StreamId::MIN,
            max_deleted_id: StreamId::MIN,
            added: 0,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The greatest id that was ever added, or was set.
    #[inline]
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// The greatest id that was ever deleted; trimming does not count.
    #[inline]
    pub fn max_deleted_id(&self) -> StreamId {
        self.max_deleted_id
    }

    /// How many were ever added (`entries-added`).
    #[inline]
    pub fn added(&self) -> u64 {
        self.added
    }

    /// The id of the first entry; 0-0 if there is none.
    pub fn first_id(&self) -> StreamId {
        self.first().map_or(StreamId::MIN, |entry| entry.id)
    }

    /// Nodes.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Bytes on the heap.
    #[inline]
    pub fn heap_bytes(&self) -> usize {
        self.nodes.heap_bytes() + self.bytes
    }

    pub fn first(&self) -> Option<Entry<'_>> {
        self.range(StreamId::MIN, StreamId::MAX).next()
    }

    pub fn last(&self) -> Option<Entry<'_>> {
        self.range_back(StreamId::MIN, StreamId::MAX).next()
    }

    /// Where the node lies in which an id would be.
    #[inline]
    fn place_of(&self, id: StreamId) -> Option<Place> {
        let place = self.nodes.seek(id);
        match self.nodes.at(place) {
            Some(node) if node.key() == id => Some(place),
            _ => self.nodes.before(place),
        }
    }

    /// The entry with this id.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        self.nodes.at(self.place_of(id)?)?.get(id)
    }

    pub fn contains(&self, id: StreamId) -> bool {
        self.get(id).is_some()
    }

    /// The entries from one id to another, both included.
    pub fn range(&self, from: StreamId, to: StreamId) -> Range<'_> {
        let place = self.place_of(from).unwrap_or(Ordered::<Node>::FRONT);
        let mut nodes = self.nodes.iter_from(place);
        let node = nodes.next();
        Range {
            at: node.map_or(0, |node| node.seek(from)),
            node,
            nodes,
            to,
        }
    }

    /// As [`Entries::range`], the last entry first.
    pub fn range_back(&self, from: StreamId, to: StreamId) -> RangeBack<'_> {
        let place = self.place_of(to);
        let node = place.and_then(|place| self.nodes.at(place));
        let mut end = 0;
        if let Some(node) = node {
            // What is behind `to` begins there.
            end = to.next().map_or(node.len_bytes(), |next| node.seek(next));
        }
        RangeBack {
            entries: self,
            node,
            place,
            end,
            from,
        }
    }

    /// How many entries there are from one id to another, or `most` if there are more.
    pub fn count(&self, from: StreamId, to: StreamId, most: usize) -> usize {
        let is_all = self.front().is_none_or(|node| from <= node.key());
        if is_all && to >= self.last_id {
            return self.len.min(most);
        }
        let place = self.place_of(from).unwrap_or(Ordered::<Node>::FRONT);
        let mut count = 0;
        for node in self.nodes.iter_from(place) {
            if node.key() > to || count >= most {
                break;
            }
            counted::elements(1);
            let is_whole = from <= node.key() && node.last() <= to;
            count += match is_whole {
                true => node.live(),
                false => node.count(from, to),
            };
        }
        count.min(most)
    }

    /// The nodes, in order.
    pub(super) fn iter_nodes(&self) -> ordered::Iter<'_, Node> {
        self.nodes.iter()
    }

    /// The nodes whose first id is this or one behind it, in order.
    pub fn nodes_from(&self, first: StreamId) -> ordered::Iter<'_, Node> {
        self.nodes.range_from(first)
    }

    /// Adds an entry. Its id must be greater than [`Entries::last_id`].
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    #[inline]
    pub fn append<'e>(
        &mut self,
        id: StreamId,
        fields: impl Pairs<'e>,
        limits: NodeLimits,
    ) -> Result<(), OutOfMemory> {
        debug_assert!(id > self.last_id);
        let fits = match self.nodes.last_mut() {
            Some(node) => {
                let before = node.heap_bytes();
                let fits = node.push(id, fields.clone(), limits)?;
                self.bytes += node.heap_bytes() - before;
                fits
            }
            None => false,
        };
        if !fits {
            self.append_node(id, fields, limits)?;
        }
        self.len += 1;
        self.added = self.added.wrapping_add(1);
        self.last_id = id;
        Ok(())
    }

    /// Adds an entry in a node of its own.
    fn append_node<'e>(
        &mut self,
        id: StreamId,
        fields: impl Pairs<'e>,
        limits: NodeLimits,
    ) -> Result<(), OutOfMemory> {
        // It will become about as large as the one before.
        let room = self.nodes.last().map_or(0, Node::len_bytes);
        let node = Node::new(id, fields, limits.room(room))?;
        let bytes = node.heap_bytes();
        self.nodes.insert(node)?;
        self.bytes += bytes;
        if let Some(full) = self.nodes.last_but_one_mut() {
            let room = full.heap_bytes();
            full.seal();
            self.bytes -= room - full.heap_bytes();
        }
        Ok(())
    }

    /// Sets what is remembered (XSETID).
    pub fn set_id(
        &mut self,
        last_id: StreamId,
        added: Option<u64>,
        max_deleted_id: Option<StreamId>,
    ) {
        self.last_id = last_id;
        self.added = added.unwrap_or(self.added);
        self.max_deleted_id = max_deleted_id.unwrap_or(self.max_deleted_id);
    }

    /// Deletes an entry (XDEL); whether it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let deleted = self.take_out(id);
        if deleted {
            self.max_deleted_id = self.max_deleted_id.max(id);
        }
        deleted
    }

    /// As [`Entries::delete`], but nobody will know.
    pub(super) fn take_out(&mut self, id: StreamId) -> bool {
        let Some(place) = self.place_of(id) else {
            return false;
        };
        self.change_node(place, |node| usize::from(node.delete(id))) > 0
    }

    /// Has entries of a node deleted, and says how many were; it goes if nothing in it
    /// lives any more, or joins a neighbour.
    fn change_node(&mut self, place: Place, delete: impl FnOnce(&mut Node) -> usize) -> usize {
        let Some(node) = self.nodes.at_mut(place) else {
            return 0;
        };
        let before = node.heap_bytes();
        let deleted = delete(node);
        let after = node.heap_bytes();
        self.bytes -= before - after;
        self.len -= deleted;
        if node.live() == 0 {
            self.bytes -= after;
            self.nodes.remove_at(place);
        } else if deleted > 0 {
            self.join_around(place);
        }
        deleted
    }

    fn join_around(&mut self, place: Place) {
        let behind = self.nodes.behind(place);
        if !self.join(place, behind)
            && let Some(before) = self.nodes.before(place)
        {
            self.join(before, place);
        }
    }

    /// Joins two neighbours if they are sparse and there is memory; whether it has.
    fn join(&mut self, left: Place, right: Place) -> bool {
        let joins = match (self.nodes.at(left), self.nodes.at(right)) {
            (Some(one), Some(other)) => one.joins(other),
            _ => false,
        };
        if !joins {
            return false;
        }
        let taken = self.nodes.at_mut(left).map(Node::take);
        let (Some(mut one), Some(other)) = (taken, self.nodes.at(right)) else {
            return false;
        };
        let before = one.heap_bytes();
        let joined = one.join(other);
        self.bytes += one.heap_bytes() - before;
        if let Some(slot) = self.nodes.at_mut(left) {
            *slot = one;
        }
        if joined && let Some(other) = self.nodes.remove_at(right) {
            self.bytes -= other.heap_bytes();
        }
        joined
    }

    /// The first node.
    pub(super) fn front(&self) -> Option<&Node> {
        self.nodes.first()
    }

    /// The first id that is not less than `id`, and the node it is in.
    pub(super) fn first_from(&self, id: StreamId) -> Option<(StreamId, &Node)> {
        let mut range = self.range(id, StreamId::MAX);
        let first = range.next()?.id;
        range.node.map(|node| (first, node))
    }

    /// Drops the first node; how many entries lived in it.
    pub(super) fn drop_front_node(&mut self) -> usize {
        let Some(node) = self.nodes.pop_first() else {
            return 0;
        };
        self.bytes -= node.heap_bytes();
        self.len -= node.live();
        node.live()
    }

    /// Drops entries of the first node, but for the last one, as long as they are wanted;
    /// how many.
    pub(super) fn drop_in_front_node(&mut self, wanted: impl FnMut(StreamId) -> bool) -> usize {
        self.change_node(Ordered::<Node>::FRONT, |node| node.delete_front(wanted))
    }

    /// Drops about as much as `budget` elements; whether there is more.
    pub(super) fn free_some(&mut self, budget: &mut usize) -> bool {
        self.nodes.free_some(budget, |node| {
            self.len -= node.live();
            self.bytes -= node.heap_bytes();
            NODE_COST + node.heap_bytes() / FREED_BYTES
        })
    }

    /// Goes on with a copy that began as nothing; whether there is more.
    pub(super) fn clone_some(
        &self,
        clone: &mut Self,
        budget: &mut usize,
    ) -> Result<bool, OutOfMemory> {
        let mut bytes = 0;
        let more = self.nodes.clone_some(&mut clone.nodes, budget, |node| {
            let copy = node.try_clone()?;
            counted::copied(copy.len_bytes());
            bytes += copy.heap_bytes();
            let cost = NODE_COST + copy.len_bytes() / COPIED_BYTES;
            Ok((copy, cost))
        });
        clone.bytes += bytes;
        let more = more?;
        if !more {
            clone.len = self.len;
            clone.set_id(self.last_id, Some(self.added), Some(self.max_deleted_id));
        }
        Ok(more)
    }

    /// Checks it; panics if it contradicts itself. For tests.
    pub fn check_invariants(&self) {
        self.nodes.check_invariants();
        let (mut len, mut bytes, mut before) = (0, 0, None);
        for node in self.nodes.iter() {
            node.check_invariants();
            assert!(before.is_none_or(|id| id < node.key()));
            before = Some(node.last());
            len += node.live();
            bytes += node.heap_bytes();
        }
        assert_eq!((len, bytes), (self.len, self.bytes));
        assert!(self.last().is_none_or(|entry| entry.id <= self.last_id));
    }
}

/// See [`Entries::range`].
#[derive(Clone, Debug)]
pub struct Range<'a> {
    node: Option<&'a Node>,
    at: usize,
    nodes: ordered::Iter<'a, Node>,
    to: StreamId,
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let node = self.node?;
            if let Some(entry) = node.next_live(&mut self.at) {
                counted::elements(1);
                if entry.id <= self.to {
                    return Some(entry);
                }
                self.node = None;
                return None;
            }
            self.node = self.nodes.next();
            self.at = self.node.map_or(0, Node::start);
        }
    }
}

/// See [`Entries::range_back`].
#[derive(Clone, Debug)]
pub struct RangeBack<'a> {
    entries: &'a Entries,
    node: Option<&'a Node>,
    place: Option<Place>,
    end: usize,
    from: StreamId,
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let node = self.node?;
            if let Some(entry) = node.prev_live(&mut self.end) {
                counted::elements(1);
                if entry.id >= self.from {
                    return Some(entry);
                }
                self.node = None;
                return None;
            }
            let nodes = &self.entries.nodes;
            self.place = self.place.and_then(|place| nodes.before(place));
            self.node = self.place.and_then(|place| nodes.at(place));
            self.end = self.node.map_or(0, Node::len_bytes);
        }
    }
}
