//! A large sorted set: members by id, an index from member to id, and a tree
//! of scores and ids.
//!
//! Invariants: all three hold the same members; the tree's scores are the
//! members'. Costs: the score of a member O(1), everything with an order
//! O(log n). A member of 16 bytes takes some 52 bytes in all.

use super::index::Index;
use super::members::Members;
use super::tree::{Item, Run, Tree};
use super::{Cut, Element};
use crate::error::OutOfMemory;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

/// Removing so many members takes less than half a millisecond.
const REMOVED_SINGLY_UP_TO: usize = 512;

#[derive(Debug)]
pub struct Large {
    members: Members,
    index: Index,
    tree: Tree,
    hasher: ahash::RandomState,
}

/// Whether `item` comes before a member with a score.
#[inline]
fn is_before(members: &Members, item: Item, score: f64, member: &[u8]) -> bool {
    item.score < score || item.score == score && members.get(item.id) < member
}

#[inline]
fn is_up_to(members: &Members, item: Item, score: f64, member: &[u8]) -> bool {
    item.score < score || item.score == score && members.get(item.id) <= member
}

#[inline]
fn hash(hasher: &ahash::RandomState, member: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write(member);
    hasher.finish()
}

impl Large {
    /// An empty one; `seed` keys its hash.
    pub fn new(seed: u64) -> Self {
        Self {
            members: Members::default(),
            index: Index::default(),
            tree: Tree::default(),
            hasher: ahash::RandomState::with_seeds(
                seed,
                seed.rotate_left(19) ^ 0x9E37_79B9_7F4A_7C15,
                seed.rotate_left(37) ^ 0xBF58_476D_1CE4_E5B9,
                seed.rotate_left(53) ^ 0x94D0_49BB_1331_11EB,
            ),
        }
    }

    pub fn len(&self) -> usize {
        self.tree.len()
    }

    #[inline]
    fn find(&self, member: &[u8]) -> Option<u32> {
        let hash = hash(&self.hasher, member);
        self.index.find(hash, |id| self.members.is(id, member))
    }

    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        self.find(member).map(|id| self.members.score(id))
    }

    /// The rank of a member, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        let score = self.score(member)?;
        let before = |item| is_before(&self.members, item, score, member);
        Some((self.tree.rank(before), score))
    }

    /// How many members come before a cut.
    pub fn before(&self, cut: Cut<'_>) -> usize {
        self.tree
            .rank(|item| cut.is_behind(item.score, || Element::Bytes(self.members.get(item.id))))
    }

    /// What lies together around a rank, which must be below the length; and
    /// where in it that is.
    pub fn run(&self, rank: usize) -> (Run<'_>, usize) {
        self.tree.run(rank)
    }

    pub fn member(&self, id: u32) -> &[u8] {
        self.members.get(id)
    }

    /// Gives a member the score that `choose` makes of its present one, if it
    /// makes any. Returns the scores before and after.
    pub fn update(
        &mut self,
        member: &[u8],
        choose: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Result<(Option<f64>, Option<f64>), OutOfMemory> {
        let hash = hash(&self.hasher, member);
        let found = self.index.find(hash, |id| self.members.is(id, member));
        let old = found.map(|id| self.members.score(id));
        let Some(score) = choose(old) else {
            return Ok((old, old));
        };
        match (found, old) {
            (Some(id), Some(old)) if old != score => self.change_score(id, member, old, score),
            (Some(_), _) => return Ok((old, old)),
            (None, _) => self.insert(hash, member, score)?,
        }
        Ok((old, Some(score)))
    }

    fn insert(&mut self, hash_: u64, member: &[u8], score: f64) -> Result<(), OutOfMemory> {
        let id = self.members.insert(member, score)?;
        let (members, hasher) = (&self.members, &self.hasher);
        self.index
            .insert(hash_, id, |id| hash(hasher, members.get(id)));
        self.tree.insert(Item { score, id }, |item| {
            is_before(members, item, score, member)
        });
        Ok(())
    }

    /// Adds a member that is not there.
    pub fn add(&mut self, member: &[u8], score: f64) -> Result<(), OutOfMemory> {
        self.insert(hash(&self.hasher, member), member, score)
    }

    fn change_score(&mut self, id: u32, member: &[u8], old: f64, score: f64) {
        self.members.set_score(id, score);
        let members = &self.members;
        let up_to = |item| is_up_to(members, item, old, member);
        let before = |item| is_before(members, item, score, member);
        if !self.tree.change_score(score, up_to, before) {
            self.tree.remove(up_to);
            self.tree.insert(Item { score, id }, before);
        }
    }

    /// Removes a member; the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let hash = hash(&self.hasher, member);
        let id = self.index.find(hash, |id| self.members.is(id, member))?;
        let score = self.members.score(id);
        let members = &self.members;
        self.tree
            .remove(|item| is_up_to(members, item, score, member));
        self.index.remove(hash, id);
        self.members.remove(id);
        Some(score)
    }

    /// Removes the members of these ranks, which must be within the length. If
    /// that leaves few of many, these move out, which takes less time than
    /// removing the others; what they leave is returned, to be freed in slices.
    pub fn remove_range(&mut self, ranks: Range<usize>) -> Option<Box<Self>> {
        let kept = self.len() - ranks.len();
        if ranks.len() > REMOVED_SINGLY_UP_TO
            && kept < ranks.len() / 2
            // Without the memory there is still the long way.
            && let Ok(rest) = self.copy_without(&ranks)
        {
            return Some(Box::new(std::mem::replace(self, rest)));
        }
        // From the end: what comes behind need not be moved up first.
        ranks.rev().for_each(|rank| self.remove_at(rank));
        None
    }

    fn copy_without(&self, ranks: &Range<usize>) -> Result<Self, OutOfMemory> {
        let mut copy = Self {
            members: Members::default(),
            index: Index::default(),
            tree: Tree::default(),
            hasher: self.hasher.clone(),
        };
        for part in [0..ranks.start, ranks.end..self.len()] {
            let mut rank = part.start;
            while rank < part.end {
                let (run, at) = self.run(rank);
                let end = run.ids.len().min(at + part.end - rank);
                for (id, score) in run.ids[at..end].iter().zip(&run.scores[at..end]) {
                    copy.add(self.member(*id), *score)?;
                }
                rank += end - at;
            }
        }
        Ok(copy)
    }

    /// Removes the member with this rank, which must be below the length.
    pub fn remove_at(&mut self, rank: usize) {
        let id = self.tree.remove_at(rank).id;
        let hash = hash(&self.hasher, self.members.get(id));
        self.index.remove(hash, id);
        self.members.remove(id);
    }

    /// See [`Index::scan`].
    pub fn scan(&self, cursor: u64, budget: usize, mut visit: impl FnMut(&[u8], f64)) -> u64 {
        let hash_of = |id| hash(&self.hasher, self.members.get(id));
        self.index.scan(cursor, budget, hash_of, |id| {
            visit(self.members.get(id), self.members.score(id));
        })
    }

    pub fn heap_bytes(&self) -> usize {
        let parts = self.members.heap_bytes() + self.index.heap_bytes() + self.tree.heap_bytes();
        parts + size_of::<Self>()
    }

    /// Drops about `budget` members; whether there is more.
    pub fn free_some(&mut self, budget: usize) -> bool {
        self.tree.free_some(budget)
            || self.index.free_some(budget)
            || self.members.free_some(budget)
    }

    pub fn try_clone(&self) -> Result<Self, OutOfMemory> {
        Ok(Self {
            members: self.members.try_clone()?,
            index: self.index.clone(),
            tree: self.tree.twin(),
            hasher: self.hasher.clone(),
        })
    }

    /// Panics if the structure contradicts itself.
    #[cfg(test)]
    pub fn check_invariants(&self) {
        let hash_of = |id| hash(&self.hasher, self.members.get(id));
        self.members.check_invariants(self.len());
        self.index.check_invariants(hash_of);
        self.tree.check_invariants(|one, other| {
            assert_eq!(self.members.score(one.id), one.score);
            is_before(&self.members, one, other.score, self.members.get(other.id))
        });
        for rank in 0..self.len() {
            let (run, at) = self.run(rank);
            let member = self.member(run.ids[at]);
            assert_eq!(self.rank(member), Some((rank, run.scores[at])));
        }
    }
}
