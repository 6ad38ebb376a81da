//! Removing all elements that are equal to one, some nodes at a time.

use super::super::listpack::{At, Wanted, cut_equal};
use super::{End, NODE_BYTES, Node, Quicklist, first_of_last};

/// How far a removal has come; see [`Quicklist::purge`].
#[derive(Clone, Debug)]
pub struct Purge {
    from: End,
    /// So many more are to go.
    left: usize,
    pub removed: usize,
    /// Nodes that were looked at, from that end, and those that have been put there
    /// again: the others are empty.
    read: usize,
    written: usize,
}

impl Purge {
    /// Nothing is done yet; up to `most` are to go.
    pub fn new(from: End, most: usize) -> Self {
        Self {
            from,
            left: most,
            removed: 0,
            read: 0,
            written: 0,
        }
    }

    /// Where the `nth` node from the end lies of `count`.
    fn place(&self, nth: usize, count: usize) -> usize {
        match self.from {
            End::Front => nth,
            End::Back => count - 1 - nth,
        }
    }

    /// Takes what is wanted out of a node; how many.
    fn cut(&mut self, node: &mut Node, wanted: Wanted<'_>) -> usize {
        let from = match self.from {
            End::Front => Some(At(node.start)),
            End::Back => first_of_last(node.entries(), wanted, self.left),
        };
        let cut = from.map_or(0, |from| {
            cut_equal(&mut node.bytes, from, wanted, self.left)
        });
        node.count -= cut;
        self.left -= cut;
        self.removed += cut;
        cut
    }

    /// One node of two neighbours, that which was passed before and this one, if they
    /// are small together and there is memory.
    fn join(&self, before: Node, node: Node) -> Result<Node, (Node, Node)> {
        if before.live() + node.live() > NODE_BYTES / 2 {
            return Err((before, node));
        }
        let (mut left, right) = match self.from {
            End::Front => (before, node),
            End::Back => (node, before),
        };
        if left.make_room(End::Back, right.live()).is_err() {
            return Err(match self.from {
                End::Front => (left, right),
                End::Back => (right, left),
            });
        }
        left.bytes.extend_from_slice(&right.bytes[right.start..]);
        left.count += right.count;
        Ok(left)
    }
}

impl Quicklist {
    /// Goes on with a removal from one node to the next, by about `budget` elements;
    /// whether there is more to do. What is small together is joined on the way. Until
    /// it is over, nodes that were passed may be empty.
    pub fn purge(&mut self, purge: &mut Purge, wanted: Wanted<'_>, budget: usize) -> bool {
        let (count, mut visited) = (self.nodes.len(), 0);
        while purge.left > 0 && purge.read < count {
            if visited >= budget {
                return true;
            }
            let mut node = std::mem::take(&mut self.nodes[purge.place(purge.read, count)]);
            visited += node.count.max(1);
            purge.read += 1;
            self.bytes -= node.bytes.capacity();
            let cut = purge.cut(&mut node, wanted);
            self.len -= cut;
            if node.count > 0 {
                if cut > 0 {
                    node.seal();
                }
                self.put_again(purge, node, count);
            }
        }
        let passed = match purge.from {
            End::Front => purge.written..purge.read,
            End::Back => count - purge.read..count - purge.written,
        };
        self.nodes.drain(passed);
        self.shrink_deque();
        false
    }

    /// Puts a node behind those that were passed, of `count` in all.
    fn put_again(&mut self, purge: &mut Purge, node: Node, count: usize) {
        let mut node = node;
        if let Some(before) = purge.written.checked_sub(1) {
            let last = purge.place(before, count);
            let before = std::mem::take(&mut self.nodes[last]);
            self.bytes -= before.bytes.capacity();
            let (kept, own) = match purge.join(before, node) {
                Ok(joined) => (joined, None),
                Err((before, own)) => (before, Some(own)),
            };
            self.bytes += kept.bytes.capacity();
            self.nodes[last] = kept;
            match own {
                None => return,
                Some(own) => node = own,
            }
        }
        self.bytes += node.bytes.capacity();
        self.nodes[purge.place(purge.written, count)] = node;
        purge.written += 1;
    }
}
