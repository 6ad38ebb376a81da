//! A long list: rows of elements one behind the other.
//!
//! ```text
//! nodes:   node ── node ── node ── …      in a deque, none of them empty
//!           │
//!           ▼
//! ┌───────────────┬─────────┬─────────┬───┬─────────────┐
//! │ room in front │ element │ element │ … │ room behind │   up to NODE_BYTES, or
//! └───────────────┴─────────┴─────────┴───┴─────────────┘   a single larger element
//! ```
//!
//! Elements are encoded as in a listpack; a node counts its own. At an end of
//! the list, elements come and go without any others being moved: that is what
//! the room is for. A node that stops being the end gives back what it does not
//! use.
//!
//! Costs: both ends O(1); an index O(nodes), from the nearer end; a change in
//! the middle O(nodes + NODE_BYTES).

mod elements;
mod node;
mod purge;

pub use elements::Elements;
pub use purge::Purge;

use super::listpack::{
    At, Element, Encoded, Entries, HEADER, Listpack, Wanted, end_of, read, splice,
};
use crate::counted;
use crate::error::OutOfMemory;
use node::{NODE_BYTES, Node};
use std::collections::VecDeque;

/// What a fresh node of a list that is not much longer gets.
const NODE_BYTES_MIN: usize = 1024;

/// So many nodes are freed on the spot.
const CUT_NODES_MIN: usize = 16;

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Front,
    Back,
}

#[derive(Debug, Default)]
pub struct Quicklist {
    nodes: VecDeque<Node>,
    /// Elements.
    len: usize,
    /// Capacity of all nodes.
    bytes: usize,
}

impl Quicklist {
    /// The list whose flat form this is.
    pub fn from_listpack(flat: Listpack<'_>) -> Result<Self, OutOfMemory> {
        let bytes = flat.bytes();
        let mut list = Self::default();
        let mut entries = flat.entries();
        while let Some((At(start), _)) = entries.next() {
            let (mut end, mut count) = (entries.position().0, 1);
            let mut ahead = entries.clone();
            while ahead.next().is_some() && ahead.position().0 - start <= NODE_BYTES {
                end = ahead.position().0;
                count += 1;
                entries = ahead.clone();
            }
            let mut node = Node::new(end - start, End::Back)?;
            node.bytes.extend_from_slice(&bytes[start..end]);
            node.count = count;
            list.nodes.try_reserve(1)?;
            list.len += count;
            list.bytes += node.bytes.capacity();
            list.nodes.push_back(node);
        }
        Ok(list)
    }

    /// Its flat form.
    pub fn to_listpack(&self) -> Result<Vec<u8>, OutOfMemory> {
        let mut bytes = Vec::new();
        let live: usize = self.nodes.iter().map(Node::live).sum();
        bytes.try_reserve_exact(HEADER + live)?;
        let count = u16::try_from(self.len).unwrap_or(u16::MAX);
        bytes.extend_from_slice(&count.to_le_bytes());
        for node in &self.nodes {
            bytes.extend_from_slice(&node.bytes[node.start..]);
        }
        Ok(bytes)
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.bytes + self.nodes.capacity() * size_of::<Node>()
    }

    /// How many rows of elements it has.
    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Row `number`: the elements as they lie there, and how many they are.
    pub fn node(&self, number: usize) -> Option<(&[u8], usize)> {
        let node = self.nodes.get(number)?;
        Some((&node.bytes[node.start..], node.count))
    }

    /// The first element of row `number`.
    pub fn first_of_node(&self, number: usize) -> Option<Element<'_>> {
        let first = self.nodes.get(number)?.entries().next();
        first.map(|(_, element)| element)
    }

    /// Whether its flat form, count included, has at most so many bytes.
    pub fn fits_into(&self, bytes: usize) -> bool {
        let mut live = HEADER;
        for node in &self.nodes {
            live += node.live();
            if live > bytes {
                return false;
            }
        }
        true
    }

    pub fn try_clone(&self) -> Result<Self, OutOfMemory> {
        let mut clone = self.begin_clone()?;
        self.clone_some(&mut clone, usize::MAX)?;
        Ok(clone)
    }

    /// A clone that is to be made with [`Quicklist::clone_some`].
    pub fn begin_clone(&self) -> Result<Self, OutOfMemory> {
        let mut clone = Self::default();
        clone.nodes.try_reserve_exact(self.nodes.len())?;
        Ok(clone)
    }

    /// Goes on with a clone, by about `budget` elements; whether there are more.
    pub fn clone_some(&self, clone: &mut Self, budget: usize) -> Result<bool, OutOfMemory> {
        let mut spent = 0;
        while let Some(node) = self.nodes.get(clone.nodes.len()) {
            if spent >= budget {
                return Ok(true);
            }
            let mut copy = Node::new(node.live(), End::Back)?;
            copy.bytes.extend_from_slice(&node.bytes[node.start..]);
            copy.count = node.count;
            counted::copied(node.live());
            spent += node.count.max(node.live() / super::COPIED_BYTES);
            clone.len += node.count;
            clone.bytes += copy.bytes.capacity();
            clone.nodes.push_back(copy);
        }
        Ok(false)
    }

    /// Drops about `budget` elements; whether there are more.
    pub fn free_some(&mut self, budget: usize) -> bool {
        let mut freed = 0;
        while freed < budget
            && let Some(node) = self.nodes.pop_back()
        {
            freed += node.count;
            self.len -= node.count;
        }
        !self.nodes.is_empty()
    }

    #[inline]
    fn end_node(&mut self, end: End) -> Option<&mut Node> {
        match end {
            End::Front => self.nodes.front_mut(),
            End::Back => self.nodes.back_mut(),
        }
    }

    /// Adds an element.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    #[inline]
    pub fn push(&mut self, end: End, element: Element<'_>) -> Result<(), OutOfMemory> {
        let encoded = Encoded::new(element);
        match self.end_node(end) {
            Some(node) if node.has_room(end, encoded.len()) => node.push(end, &encoded),
            _ => self.push_elsewhere(end, &encoded)?,
        }
        self.len += 1;
        Ok(())
    }

    /// Adds an element to the node at an end, which must be rearranged for that, or
    /// in a node of its own.
    #[cold]
    fn push_elsewhere(&mut self, end: End, encoded: &Encoded<'_>) -> Result<(), OutOfMemory> {
        let more = encoded.len();
        match self.end_node(end) {
            Some(node) if node.takes(end, more) => {
                let before = node.bytes.capacity();
                node.make_room(end, more)?;
                node.push(end, encoded);
                let grown = node.bytes.capacity() - before;
                self.bytes += grown;
            }
            _ => self.push_node(end, encoded)?,
        }
        Ok(())
    }

    /// Adds an element in a node of its own.
    fn push_node(&mut self, end: End, encoded: &Encoded<'_>) -> Result<(), OutOfMemory> {
        self.nodes.try_reserve(1)?;
        let capacity = (self.bytes / 8).next_power_of_two();
        let capacity = capacity
            .clamp(NODE_BYTES_MIN, NODE_BYTES)
            .max(encoded.len());
        let mut node = Node::new(capacity, end)?;
        node.push(end, encoded);
        if let Some(old) = self.end_node(end) {
            let before = old.bytes.capacity();
            old.seal();
            let given_back = before - old.bytes.capacity();
            self.bytes -= given_back;
        }
        self.bytes += node.bytes.capacity();
        match end {
            End::Front => self.nodes.push_front(node),
            End::Back => self.nodes.push_back(node),
        }
        Ok(())
    }

    /// Removes the element at an end and hands it to `look`; whether there was one.
    #[inline]
    pub fn pop(&mut self, end: End, look: &mut impl FnMut(Element<'_>)) -> bool {
        let Some(node) = self.end_node(end) else {
            return false;
        };
        let at = node.end(end);
        look(read(&node.bytes, at));
        node.drop_end(end, at);
        let emptied = node.count == 0;
        self.len -= 1;
        if emptied {
            self.drop_node(end);
        }
        true
    }

    /// Drops up to `count` elements at an end.
    pub fn drop_some(&mut self, end: End, mut count: usize) {
        while count > 0 {
            let Some(node) = self.end_node(end) else {
                return;
            };
            if node.count <= count {
                count -= node.count;
                self.len -= node.count;
                self.drop_node(end);
                continue;
            }
            for _ in 0..count {
                let at = node.end(end);
                node.drop_end(end, at);
            }
            self.len -= count;
            return;
        }
    }

    /// Cuts off up to `count` elements at an end. Nodes that go as a whole are
    /// not freed but returned, if there are many: as a list to be freed in
    /// slices.
    pub fn cut(&mut self, end: End, count: usize) -> Option<Self> {
        let mut cut = Self::default();
        let mut walk = self.nodes.iter();
        let mut nodes = 0;
        loop {
            let node = match end {
                End::Front => walk.next(),
                End::Back => walk.next_back(),
            };
            match node {
                Some(node) if cut.len + node.count <= count => {
                    cut.len += node.count;
                    cut.bytes += node.bytes.capacity();
                    nodes += 1;
                }
                _ => break,
            }
        }
        // Whichever part has fewer nodes is moved to another deque.
        let kept = self.nodes.len() - nodes;
        let moves_cut = nodes <= kept;
        let moved = match (end, moves_cut) {
            (End::Front, true) | (End::Back, false) => 0..nodes.min(kept),
            (End::Front, false) | (End::Back, true) => nodes.max(kept)..self.nodes.len(),
        };
        if nodes < CUT_NODES_MIN || cut.nodes.try_reserve_exact(moved.len()).is_err() {
            self.drop_some(end, count);
            return None;
        }
        cut.nodes.extend(self.nodes.drain(moved));
        if !moves_cut {
            std::mem::swap(&mut cut.nodes, &mut self.nodes);
        }
        self.len -= cut.len;
        self.bytes -= cut.bytes;
        self.shrink_deque();
        self.drop_some(end, count - cut.len);
        Some(cut)
    }

    fn drop_node(&mut self, end: End) {
        let node = match end {
            End::Front => self.nodes.pop_front(),
            End::Back => self.nodes.pop_back(),
        };
        self.bytes -= node.map_or(0, |node| node.bytes.capacity());
        self.shrink_deque();
    }

    fn shrink_deque(&mut self) {
        if self.nodes.len() < self.nodes.capacity() / 4 {
            self.nodes.shrink_to(self.nodes.capacity() / 2);
        }
    }

    /// The node of element `index`, and how many of that are before it.
    fn node_of(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        if index < self.len / 2 {
            let mut before = index;
            for (number, node) in self.nodes.iter().enumerate() {
                counted::line();
                if before < node.count {
                    return Some((number, before));
                }
                before -= node.count;
            }
            return None;
        }
        let mut end = self.len;
        for (number, node) in self.nodes.iter().enumerate().rev() {
            counted::line();
            end -= node.count;
            if index >= end {
                return Some((number, index - end));
            }
        }
        None
    }

    /// Where element `index` is.
    fn place(&self, index: usize) -> Option<(usize, At)> {
        let (number, before) = self.node_of(index)?;
        let node = &self.nodes[number];
        let mut entries = node.entries();
        let found = if before < node.count / 2 {
            entries.nth(before)
        } else {
            entries.nth_back(node.count - 1 - before)
        };
        found.map(|(at, _)| (number, at))
    }

    pub fn get(&self, index: usize) -> Option<Element<'_>> {
        let (number, at) = self.place(index)?;
        Some(read(&self.nodes[number].bytes, at.0))
    }

    /// All elements.
    pub fn iter(&self) -> Elements<'_> {
        Elements {
            nodes: self.nodes.iter(),
            front: Entries::default(),
            back: Entries::default(),
        }
    }

    /// The elements from `index` on.
    pub fn iter_from(&self, index: usize) -> Elements<'_> {
        let Some((number, before)) = self.node_of(index) else {
            return Elements::default();
        };
        let mut nodes = self.nodes.range(number..);
        let mut front = nodes.next().map(Node::entries).unwrap_or_default();
        front.skip_some(before);
        Elements {
            nodes,
            front,
            back: Entries::default(),
        }
    }

    /// The elements before `index`, to be gone through from the end.
    pub fn iter_until(&self, index: usize) -> Elements<'_> {
        let Some((number, before)) = self.node_of(index) else {
            return self.iter();
        };
        let node = &self.nodes[number];
        let mut back = node.entries();
        if before < node.count / 2 {
            let mut entries = node.entries();
            entries.skip_some(before);
            back = Entries::between(&node.bytes, node.start, entries.position());
        } else {
            for _ in before..node.count {
                back.next_back();
            }
        }
        Elements {
            nodes: self.nodes.range(..number),
            front: Entries::default(),
            back,
        }
    }

    /// Adds an element next to element `index`, which is there.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    pub fn insert_beside(
        &mut self,
        index: usize,
        after: bool,
        element: Element<'_>,
    ) -> Result<(), OutOfMemory> {
        let Some((number, At(at))) = self.place(index) else {
            return Ok(());
        };
        let node = &self.nodes[number];
        let at = if after { end_of(&node.bytes, at) } else { at };
        let offset = at - node.start;
        self.insert_at(number, offset, element)
    }

    /// Puts an element in the place of element `index`, which is there.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    pub fn set(&mut self, index: usize, element: Element<'_>) -> Result<(), OutOfMemory> {
        let Some((number, at)) = self.place(index) else {
            return Ok(());
        };
        let encoded = Encoded::new(element);
        let node = &mut self.nodes[number];
        let old_len = end_of(&node.bytes, at.0) - at.0;
        let before = node.bytes.capacity();
        if node.count > 1 && node.live() - old_len + encoded.len() > NODE_BYTES {
            // It has to move to another node: add the new one before the old.
            let offset = at.0 - node.start;
            self.insert_at(number, offset, element)?;
            self.remove(index + 1);
            return Ok(());
        }
        let offset = at.0 - node.start;
        if encoded.len() > old_len {
            node.make_room(End::Back, encoded.len() - old_len)?;
        }
        let at = node.start + offset;
        splice(&mut node.bytes, at..at + old_len, &encoded);
        node.bytes.shrink_to(NODE_BYTES);
        let after = node.bytes.capacity();
        self.bytes = self.bytes - before + after;
        if encoded.len() < old_len {
            self.settle(number);
        }
        Ok(())
    }

    /// Has a node that may have become small take in its neighbours, if they are
    /// small together, or give back what it does not use. Otherwise elements that grew
    /// out of their nodes, each to one of its own, would keep as much when they are
    /// small again.
    fn settle(&mut self, number: usize) {
        let small = |list: &Self, left: usize| {
            let together = |right: &Node| list.nodes[left].live() + right.live();
            let right = list.nodes.get(left + 1);
            right.is_some_and(|right| together(right) <= NODE_BYTES / 2)
        };
        if small(self, number) {
            self.join(number);
        }
        if let Some(left) = number.checked_sub(1)
            && small(self, left)
        {
            self.join(left);
            return;
        }
        // Those at the ends may keep room for what is added there.
        let is_end = number == 0 || number + 1 == self.nodes.len();
        let node = &mut self.nodes[number];
        if !is_end && node.bytes.capacity() > 2 * node.live() {
            let before = node.bytes.capacity();
            node.seal();
            self.bytes = self.bytes - before + node.bytes.capacity();
        }
    }

    /// Moves the elements of the node behind node `left` into that, if there is memory.
    fn join(&mut self, left: usize) {
        let more = self.nodes[left + 1].live();
        let node = &mut self.nodes[left];
        let before = node.bytes.capacity();
        if node.make_room(End::Back, more).is_err() {
            return;
        }
        self.bytes = self.bytes - before + node.bytes.capacity();
        if let Some(right) = self.nodes.remove(left + 1) {
            self.bytes -= right.bytes.capacity();
            let node = &mut self.nodes[left];
            node.bytes.extend_from_slice(&right.bytes[right.start..]);
            node.count += right.count;
        }
        self.shrink_deque();
    }

    /// Adds an element next to the first one that is `pivot`, before or after
    /// it; whether there is one.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    pub fn insert(
        &mut self,
        pivot: &[u8],
        after: bool,
        element: Element<'_>,
    ) -> Result<bool, OutOfMemory> {
        let wanted = Wanted::new(pivot);
        for number in 0..self.nodes.len() {
            let node = &self.nodes[number];
            let found = node.entries().find(|(_, element)| wanted.is(*element));
            if let Some((At(at), _)) = found {
                let at = if after { end_of(&node.bytes, at) } else { at };
                let offset = at - node.start;
                self.insert_at(number, offset, element)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds an element before what is `offset` bytes behind the first element
    /// of a node; that may be its end.
    fn insert_at(
        &mut self,
        number: usize,
        offset: usize,
        element: Element<'_>,
    ) -> Result<(), OutOfMemory> {
        let encoded = Encoded::new(element);
        let fits = |node: &Node| node.live() + encoded.len() <= NODE_BYTES;
        if fits(&self.nodes[number]) {
            self.insert_in(number, offset, &encoded)?;
        } else {
            let mut right = number;
            if offset > 0 {
                right += 1;
            }
            if offset > 0 && offset < self.nodes[number].live() {
                self.split(number, offset)?;
            }
            // The element goes between two nodes: into either, or between.
            let left = right.checked_sub(1).filter(|left| fits(&self.nodes[*left]));
            if let Some(left) = left {
                self.insert_in(left, self.nodes[left].live(), &encoded)?;
            } else if self.nodes.get(right).is_some_and(fits) {
                self.insert_in(right, 0, &encoded)?;
            } else {
                self.nodes.try_reserve(1)?;
                let mut node = Node::new(encoded.len(), End::Back)?;
                node.push(End::Back, &encoded);
                self.bytes += node.bytes.capacity();
                self.nodes.insert(right, node);
            }
        }
        self.len += 1;
        Ok(())
    }

    fn insert_in(
        &mut self,
        number: usize,
        offset: usize,
        encoded: &Encoded<'_>,
    ) -> Result<(), OutOfMemory> {
        let node = &mut self.nodes[number];
        let before = node.bytes.capacity();
        let done = node.insert(offset, encoded);
        self.bytes += node.bytes.capacity() - before;
        done
    }

    /// Splits a node in two.
    fn split(&mut self, number: usize, offset: usize) -> Result<(), OutOfMemory> {
        self.nodes.try_reserve(1)?;
        let node = &mut self.nodes[number];
        let before = node.bytes.capacity();
        let tail = node.split_off(offset)?;
        node.seal();
        self.bytes = self.bytes - before + node.bytes.capacity() + tail.bytes.capacity();
        self.nodes.insert(number + 1, tail);
        Ok(())
    }

    /// Removes element `index`.
    fn remove(&mut self, index: usize) {
        let Some((number, At(at))) = self.place(index) else {
            return;
        };
        let node = &mut self.nodes[number];
        let end = end_of(&node.bytes, at);
        node.bytes.drain(at..end);
        node.count -= 1;
        self.len -= 1;
        if node.count == 0 {
            self.bytes -= node.bytes.capacity();
            self.nodes.remove(number);
            self.shrink_deque();
        } else {
            self.settle(number);
        }
    }
}

/// Where the first of the last `count` elements that are `wanted` begins; of
/// all of them, if there are fewer.
pub fn first_of_last(entries: Entries<'_>, wanted: Wanted<'_>, count: usize) -> Option<At> {
    let found = entries.rev().filter(|(_, element)| wanted.is(*element));
    found.take(count).last().map(|(at, _)| at)
}

#[cfg(test)]
mod tests;
