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

/// A removal of many members that goes on step by step.
#[derive(Debug)]
pub struct Removal {
    /// What is to go.
    ranks: Range<usize>,
    moved: Option<Moved>,
}

/// What is to stay moves out instead.
#[derive(Debug)]
struct Moved {
    to: Box<Large>,
    /// How many stay, and how many of them have moved.
    kept: usize,
    count: usize,
}

impl Removal {
    /// Of members that can be removed at once.
    pub fn at_once(ranks: Range<usize>) -> Self {
        Self { ranks, moved: None }
    }

    /// Members that are still to be removed, or moved.
    pub fn left(&self) -> usize {
        match &self.moved {
            Some(moved) => moved.kept - moved.count,
            None => self.ranks.len(),
        }
    }

    /// Whether there is nothing more to do.
    pub fn is_over(&self) -> bool {
        self.ranks.is_empty()
    }

    /// Takes some of what is to go, from the end.
    pub fn take(&mut self, budget: usize) -> Range<usize> {
        let start = self.ranks.end.saturating_sub(budget);
        let some = start.max(self.ranks.start)..self.ranks.end;
        self.ranks.end = some.start;
        some
    }
}

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

    /// How the members of these ranks, which must be within the length, are best
    /// removed. If that leaves few of many, these move out, which takes less time than
    /// removing the others.
    pub fn removal(&self, ranks: Range<usize>) -> Removal {
        let kept = self.len() - ranks.len();
        let moves = ranks.len() > REMOVED_SINGLY_UP_TO && kept < ranks.len() / 2;
        Removal {
            ranks,
            moved: moves.then(|| Moved {
                to: Box::new(self.successor()),
                kept,
                count: 0,
            }),
        }
    }

    fn successor(&self) -> Self {
        Self {
            members: Members::default(),
            index: Index::default(),
            tree: Tree::default(),
            hasher: self.hasher.clone(),
        }
    }

    /// Removes, or moves, about `budget` members. Once it is over, the range is empty;
    /// then what moving has left is returned, to be freed in slices.
    pub fn remove_some(&mut self, removal: &mut Removal, budget: usize) -> Option<Box<Self>> {
        if let Some(moved) = &mut removal.moved {
            // Without the memory there is still the long way.
            if self.move_some(&removal.ranks, moved, budget).is_err() {
                removal.moved = None;
                return None;
            }
            if moved.count < moved.kept {
                return None;
            }
            removal.ranks = 0..0;
            let rest = removal.moved.take()?.to;
            return Some(Box::new(std::mem::replace(self, *rest)));
        }
        // From the end: what comes behind need not be moved up first.
        removal
            .take(budget)
            .rev()
            .for_each(|rank| self.remove_at(rank));
        None
    }

    /// Copies members that are not of `ranks`, until about `budget` are or none is left.
    fn move_some(
        &self,
        ranks: &Range<usize>,
        moved: &mut Moved,
        budget: usize,
    ) -> Result<(), OutOfMemory> {
        let end = moved.count.saturating_add(budget).min(moved.kept);
        while moved.count < end {
            let (rank, until) = match moved.count < ranks.start {
                true => (moved.count, ranks.start),
                false => (moved.count + ranks.len(), self.len()),
            };
            let (run, at) = self.run(rank);
            let some = (until - rank).min(end - moved.count);
            let stop = run.ids.len().min(at + some);
            for (id, score) in run.ids[at..stop].iter().zip(&run.scores[at..stop]) {
                moved.to.add(self.member(*id), *score)?;
            }
            moved.count += stop - at;
        }
        Ok(())
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
