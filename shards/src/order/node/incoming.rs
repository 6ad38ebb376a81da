//! The order of all boxes: where they leave and where they come in.
//!
//! Whatever a node sends in one turn has one stamp; a box to itself is among it. A
//! node opens boxes in the order of their stamps, and none before it knows that it
//! has all with smaller ones: that is what its *frontier* says. See
//! [`order`](crate::order) for why that is one history.

use super::Node;
use crate::log::{Record, Stamp};
use crate::order::batch::Batch;
use crate::order::merge::LogMerge;
use crate::types::{ShardId, UnixMs};
use std::collections::VecDeque;

/// Boxes that have come and have not been opened.
pub(super) struct Incoming {
    /// From each node, in the order in which it sent them.
    from: Vec<VecDeque<Box<Batch>>>,
    count: usize,
    /// Up to there they have been opened.
    frontier: u64,
}

impl Incoming {
    pub(super) fn new(shards: u16) -> Self {
        Self {
            from: (0..shards).map(|_| VecDeque::new()).collect(),
            count: 0,
            frontier: 0,
        }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn push(&mut self, from: ShardId, batch: Box<Batch>) {
        self.from[from.index()].push_back(batch);
        self.count += 1;
    }

    /// The next box below the frontier, in the order of stamps; those of one node stay
    /// in its order.
    fn pop(&mut self, frontier: u64) -> Option<(ShardId, Box<Batch>)> {
        if self.count == 0 {
            return None;
        }
        let fronts = (0..).zip(&mut self.from);
        let fronts = fronts.filter_map(|(id, boxes)| Some((boxes.front()?.stamp, id, boxes)));
        let (_, id, boxes) = fronts
            .filter(|(stamp, ..)| *stamp < frontier)
            .min_by_key(|(stamp, ..)| *stamp)?;
        let batch = boxes.pop_front()?;
        self.count -= 1;
        Some((ShardId(id), batch))
    }
}

impl Node {
    /// Whether anything is to leave that needs a stamp.
    #[inline]
    pub fn wants_stamp(&mut self) -> bool {
        self.follow_convoy();
        self.site.post.wants_stamp()
    }

    /// What is to be sent to other nodes at the end of a turn, after
    /// [`Node::wants_stamp`]. If that says so, `stamp` must be greater than every stamp
    /// of this node before, and nobody else's; otherwise it is not used.
    #[inline]
    pub fn outgoing(&mut self, stamp: u64, mut send: impl FnMut(ShardId, Box<Batch>)) {
        let Self { site, incoming, .. } = self;
        let id = site.id;
        site.post.leave(stamp, |target, batch| {
            if target == id {
                incoming.push(target, batch);
            } else {
                send(target, batch);
            }
        });
    }

    /// Boxes that this node is to open, or will be when they have left.
    pub(super) fn own_boxes(&self) -> impl Iterator<Item = &Batch> {
        let come = self.incoming.from.iter().flatten().map(|batch| &**batch);
        let boxes = self.site.post.own_boxes().chain(come);
        boxes.filter(|batch| !batch.answered)
    }

    /// A box has come from another node. Boxes of one node come in the order in which
    /// it sent them. It is opened by [`Node::catch_up`].
    #[inline]
    pub fn receive(&mut self, from: ShardId, batch: Box<Batch>) {
        self.incoming.push(from, batch);
    }

    /// Opens what has come and is below `frontier`: all boxes for this node with smaller
    /// stamps have been received, and none will be sent any more. Whether there was any.
    #[inline]
    pub fn catch_up(&mut self, now: UnixMs, frontier: u64) -> bool {
        let mut any = false;
        while let Some((from, batch)) = self.incoming.pop(frontier) {
            self.open(now, from, batch);
            any = true;
        }
        self.incoming.frontier = frontier;
        any
    }

    /// Whether boxes have come that are not opened yet.
    #[inline]
    pub fn has_incoming(&self) -> bool {
        !self.incoming.is_empty()
    }

    /// What runs at once from now on stands behind all boxes that were opened, at the
    /// instant `clock` ([`Stamp::at_once`]). While effects are recorded, to be called at
    /// the beginning of each turn, and between collecting input and serving it, after
    /// [`Node::catch_up`].
    pub fn stand(&mut self, clock: u64) {
        let frontier = self.incoming.frontier;
        let effects = self.site.shard.effects();
        effects.stand_at(|| Stamp::at_once(frontier, clock));
    }

    /// Takes what has been recorded since, at the end of a turn, and before what all of it
    /// stands. Whether that can only be known anew when something is over here.
    pub fn take_records(&mut self) -> (Vec<Record>, Stamp, bool) {
        let effects = self.site.shard.effects();
        let until = effects.end_turn();
        (effects.records().collect(), until, effects.is_open())
    }

    /// Gives away what has been recorded since, at the end of a turn.
    pub fn give_records(&mut self, merge: &mut LogMerge) {
        let (records, until, _) = self.take_records();
        merge.take(self.site.id, records.into_iter(), until);
    }
}
