//! What is on its way between nodes, and the stamps that order it.
//!
//! As between the server's cores: who publishes takes one stamp for all its boxes,
//! and its door is open until the last of them is pushed. Chance decides how long that
//! takes. What is pushed is there for its receiver; it opens what lies before all
//! open doors.

use crate::rng::Rng;
use shards::ShardId;
use shards::order::{Batch, Node};
use std::collections::VecDeque;

pub struct Network {
    count: usize,
    /// Boxes that have been pushed, one queue per ordered pair of nodes.
    queues: Vec<VecDeque<Box<Batch>>>,
    /// Boxes that each node has still to push, with their receivers.
    leaving: Vec<VecDeque<(usize, Box<Batch>)>>,
    /// The first stamp of what each node has still to push.
    doors: Vec<u64>,
    /// The next stamp.
    next: u64,
}

impl Network {
    pub fn new(count: usize) -> Self {
        Self {
            count,
            queues: (0..count * count).map(|_| VecDeque::new()).collect(),
            leaving: (0..count).map(|_| VecDeque::new()).collect(),
            doors: vec![u64::MAX; count],
            next: 1,
        }
    }

    /// A node is about to push what it has for others.
    pub fn publish(&mut self, from: usize, node: &mut Node) {
        if self.count == 1 {
            return;
        }
        let mut stamp = 0;
        if node.wants_stamp() {
            stamp = self.next;
            self.next += 1;
            self.doors[from] = self.doors[from].min(stamp);
        }
        let leaving = &mut self.leaving[from];
        node.outgoing(stamp, |to, batch| leaving.push_back((to.index(), batch)));
        self.shut(from);
    }

    /// What may happen next, in an order that chance decides: which node, and whether it
    /// pushes a box or takes in what was pushed to it.
    pub fn steps(
        &self,
        rng: &mut Rng,
        pushes: bool,
    ) -> impl Iterator<Item = (usize, bool)> + use<> {
        let count = self.count;
        let offset = rng.below(count);
        let pushes = pushes || rng.one_in(2);
        (0..2 * count).map(move |at| ((at / 2 + offset) % count, (at % 2 == 0) == pushes))
    }

    /// A node pushes its next box; false if it has none.
    pub fn push(&mut self, from: usize) -> bool {
        let Some((to, batch)) = self.leaving[from].pop_front() else {
            return false;
        };
        self.queues[from * self.count + to].push_back(batch);
        self.shut(from);
        true
    }

    fn shut(&mut self, from: usize) {
        if self.leaving[from].is_empty() {
            self.doors[from] = u64::MAX;
        }
    }

    /// Below it everything has been pushed.
    pub fn frontier(&self) -> u64 {
        let doors = self.doors.iter().copied().min();
        doors.unwrap_or(u64::MAX).min(self.next)
    }

    /// All that has been pushed to a node, with the senders. Ask for the frontier
    /// before.
    pub fn take(&mut self, to: usize) -> Vec<(ShardId, Box<Batch>)> {
        let mut taken = Vec::new();
        for from in 0..self.count {
            let queue = &mut self.queues[from * self.count + to];
            taken.extend(queue.drain(..).map(|batch| (ShardId(from as u16), batch)));
        }
        taken
    }

    /// Nothing is on its way.
    pub fn is_empty(&self) -> bool {
        self.queues.iter().all(VecDeque::is_empty) && self.leaving.iter().all(VecDeque::is_empty)
    }
}
