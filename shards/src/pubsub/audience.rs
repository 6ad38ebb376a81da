//! On which nodes somebody listens to a channel: a table that all nodes share.
//!
//! Each node marks with its own bit the cells that channels of its clients fall into, before
//! it confirms the first subscription there, and takes the mark away with the last. Whoever publishes looks
//! at one cell. A cell serves many channels, so a mark may be of another one: then a node
//! is told in vain, and says that nobody has heard it. It is never missing: a message that is sent
//! after a subscription was confirmed finds the mark.
//!
//! A message may be on its way to a node because of somebody who has gone when somebody else
//! subscribes there, and those behind it may not be: with them missing it must not be heard,
//! either. So each node counts its topics as they appear, before it marks them; a
//! message says how many there were when its publisher had looked at the marks, and only
//! those hear it.
//!
//! The cells are made in pages, when the first of a page is marked: 2 MiB for a hundred
//! thousand channels, nothing without any. Beyond 64 nodes several share a bit, which is then
//! never taken away.

use super::Kind;
use crate::types::ShardId;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

const PAGES: usize = 256;
const PAGE_CELLS: usize = 1024;
/// Cells, a power of two.
pub(super) const CELLS: usize = PAGES * PAGE_CELLS;

/// See the module.
pub struct Audience {
    nodes: u16,
    pages: Box<[OnceLock<Box<[AtomicU64]>>]>,
    /// Nodes with any patterns.
    patterns: AtomicU64,
    /// How many topics have appeared on each node.
    topics: Box<[AtomicU64]>,
}

/// Nodes where somebody may listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ears {
    bits: u64,
    nodes: u16,
}

impl Audience {
    /// Nobody listens yet on any of so many nodes.
    pub fn new(nodes: u16) -> Self {
        Self {
            nodes,
            pages: (0..PAGES).map(|_| OnceLock::new()).collect(),
            patterns: AtomicU64::new(0),
            topics: (0..nodes).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    /// How many topics have appeared on a node: to be asked after [`Audience::of`].
    pub fn topics_of(&self, node: ShardId) -> u64 {
        self.topics[node.index()].load(Ordering::SeqCst)
    }

    /// One more topic appears on a node, before it is marked; which it is.
    pub(super) fn count_topic(&self, node: ShardId) -> u64 {
        self.topics[node.index()].fetch_add(1, Ordering::SeqCst) + 1
    }

    /// Where somebody may listen to a channel whose name has this hash.
    #[inline]
    pub fn of(&self, kind: Kind, hash: u64) -> Ears {
        let patterns = match kind {
            Kind::Channel => self.patterns.load(Ordering::SeqCst),
            Kind::Pattern | Kind::Sharded => 0,
        };
        let (page, cell) = place(hash);
        let marks = match self.pages[page].get() {
            Some(cells) => cells[cell].load(Ordering::SeqCst),
            None => 0,
        };
        Ears {
            bits: marks | patterns,
            nodes: self.nodes,
        }
    }

    /// Somebody on a node listens in that cell from now on.
    pub(super) fn mark(&self, node: ShardId, hash: u64) {
        let (page, cell) = place(hash);
        let cells =
            self.pages[page].get_or_init(|| (0..PAGE_CELLS).map(|_| AtomicU64::new(0)).collect());
        cells[cell].fetch_or(bit(node), Ordering::SeqCst);
    }

    /// Nobody on a node does any more.
    pub(super) fn unmark(&self, node: ShardId, hash: u64) {
        let (page, cell) = place(hash);
        if let Some(cells) = self.pages[page].get()
            && self.nodes <= 64
        {
            cells[cell].fetch_and(!bit(node), Ordering::SeqCst);
        }
    }

    /// Whether a node has patterns.
    pub(super) fn set_patterns(&self, node: ShardId, any: bool) {
        if any {
            self.patterns.fetch_or(bit(node), Ordering::SeqCst);
        } else if self.nodes <= 64 {
            self.patterns.fetch_and(!bit(node), Ordering::SeqCst);
        }
    }
}

impl Ears {
    /// There are none.
    #[inline]
    pub fn is_empty(self) -> bool {
        self.bits == 0
    }

    /// There are none on other nodes than this.
    #[inline]
    pub fn are_only_of(self, node: ShardId) -> bool {
        self.bits & !bit(node) == 0 && (self.nodes <= 64 || self.bits == 0)
    }

    /// The nodes.
    pub fn nodes(self) -> impl Iterator<Item = ShardId> {
        (0..self.nodes)
            .map(ShardId)
            .filter(move |node| self.bits & bit(*node) != 0)
    }
}

/// The cell of a hash, as a number.
pub(super) fn cell(hash: u64) -> usize {
    // The low bits; an address has room for them.
    (hash & (CELLS as u64 - 1)) as usize
}

fn place(hash: u64) -> (usize, usize) {
    let cell = cell(hash);
    (cell / PAGE_CELLS, cell % PAGE_CELLS)
}

fn bit(node: ShardId) -> u64 {
    1 << (node.0 % 64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_told_while_it_listens() {
        let audience = Audience::new(3);
        let ears = |hash| audience.of(Kind::Channel, hash).nodes().collect::<Vec<_>>();
        assert!(audience.of(Kind::Channel, 5).is_empty());
        audience.mark(ShardId(2), 5);
        audience.mark(ShardId(0), 5);
        assert_eq!(ears(5), [ShardId(0), ShardId(2)]);
        assert_eq!(ears(6), []);
        audience.set_patterns(ShardId(1), true);
        assert_eq!(ears(6), [ShardId(1)]);
        assert!(audience.of(Kind::Sharded, 6).is_empty());
        audience.set_patterns(ShardId(1), false);
        audience.unmark(ShardId(0), 5);
        assert_eq!(ears(5), [ShardId(2)]);
        assert!(audience.of(Kind::Channel, 5).are_only_of(ShardId(2)));
    }

    #[test]
    fn nodes_that_share_a_bit_are_all_told() {
        let audience = Audience::new(130);
        audience.mark(ShardId(1), 9);
        let ears = audience.of(Kind::Channel, 9);
        let nodes: Vec<u16> = ears.nodes().map(|node| node.0).collect();
        assert_eq!(nodes, [1, 65, 129]);
        assert!(!ears.are_only_of(ShardId(1)));
        audience.unmark(ShardId(65), 9);
        assert!(!audience.of(Kind::Channel, 9).is_empty());
    }
}
