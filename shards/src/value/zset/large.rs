//! A large sorted set: members by id, an index from member to id, and a tree
//! of scores and ids.
//!
//! Invariants: all three hold the same members; the tree's scores are the
//! members'. Costs: the score of a member O(1), everything with an order
//! O(log n). A member of 16 bytes takes some 52 bytes in all.

use super::index::Index;
use super::members::Members;
use super::tree::{Item, LeafItems, Tree, Twin};
use super::{Cut, Element};
use crate::error::OutOfMemory;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;

/// Removing so many members takes less than half a millisecond.
const REMOVED_SINGLY_UP_TO: usize = 512;

/// Members that move with each that is removed, if they are in sparse pages: so many
/// that a page is empty before as many are gone from others as make one sparse.
const MOVED: usize = 2;

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

/// A clone that is being made: it must not be looked at before it is.
#[derive(Debug)]
pub struct Cloning {
    clone: Box<Large>,
    twin: Option<Twin>,
}

impl Cloning {
    /// It is made.
    pub fn into_clone(self) -> Box<Large> {
        self.clone
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
    pub fn new(seed: u64) -> Result<Self, OutOfMemory> {
        Self::with_hasher(ahash::RandomState::with_seeds(
            seed,
            seed.rotate_left(19) ^ 0x9E37_79B9_7F4A_7C15,
            seed.rotate_left(37) ^ 0xBF58_476D_1CE4_E5B9,
            seed.rotate_left(53) ^ 0x94D0_49BB_1331_11EB,
        ))
    }

    fn with_hasher(hasher: ahash::RandomState) -> Result<Self, OutOfMemory> {
        Ok(Self {
            members: Members::default(),
            index: Index::new()?,
            tree: Tree::new()?,
            hasher,
        })
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
    pub fn run(&self, rank: usize) -> (LeafItems<'_>, usize) {
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
            (Some(id), Some(old)) if old != score => self.change_score(id, member, old, score)?,
            (Some(_), _) => return Ok((old, old)),
            (None, _) => self.insert(hash, member, score)?,
        }
        Ok((old, Some(score)))
    }

    fn insert(&mut self, hash_: u64, member: &[u8], score: f64) -> Result<(), OutOfMemory> {
        let id = self.members.insert(member, score)?;
        let (members, hasher) = (&self.members, &self.hasher);
        let hash_of = |id| hash(hasher, members.get(id));
        let mut done = self.index.insert(hash_, id, hash_of);
        if done.is_ok() {
            let before = |item| is_before(members, item, score, member);
            done = self.tree.insert(Item { score, id }, before);
            if done.is_err() {
                self.index.remove(hash_, id, hash_of);
            }
        }
        done.inspect_err(|_| self.members.remove(id))
    }

    /// Adds a member that is not there.
    pub fn add(&mut self, member: &[u8], score: f64) -> Result<(), OutOfMemory> {
        self.insert(hash(&self.hasher, member), member, score)
    }

    fn change_score(
        &mut self,
        id: u32,
        member: &[u8],
        old: f64,
        score: f64,
    ) -> Result<(), OutOfMemory> {
        let members = &self.members;
        let up_to = |item| is_up_to(members, item, old, member);
        let before = |item| is_before(members, item, score, member);
        if !self.tree.change_score(score, up_to, before) {
            // First what may fail; until then it is there with both scores.
            self.tree.insert(Item { score, id }, before)?;
            self.tree.remove(up_to);
        }
        self.members.set_score(id, score);
        Ok(())
    }

    /// Removes a member; the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let hash = hash(&self.hasher, member);
        let id = self.index.find(hash, |id| self.members.is(id, member))?;
        let score = self.members.score(id);
        let members = &self.members;
        self.tree
            .remove(|item| is_up_to(members, item, score, member));
        self.forget(hash, id);
        Some(score)
    }

    /// Removes a member that is not in the tree any more.
    fn forget(&mut self, hash_: u64, id: u32) {
        let (members, hasher) = (&self.members, &self.hasher);
        self.index
            .remove(hash_, id, |id| hash(hasher, members.get(id)));
        self.members.remove(id);
        self.gather();
    }

    /// Moves some members out of a sparse page, if there is one.
    #[inline]
    fn gather(&mut self) {
        for _ in 0..MOVED {
            let Some((old, new)) = self.members.move_one() else {
                return;
            };
            self.follow(old, new);
        }
    }

    /// A member has got another id.
    fn follow(&mut self, old: u32, new: u32) {
        let members = &self.members;
        let (member, score) = (members.get(new), members.score(new));
        self.index.rename(hash(&self.hasher, member), old, new);
        // There is nothing to see any more where it was.
        let up_to = |item: Item| item.id == old || is_up_to(members, item, score, member);
        self.tree.rename(new, up_to);
    }

    /// How the members of these ranks, which must be within the length, are best
    /// removed. If that leaves few of many, these move out, which takes less time than
    /// removing the others.
    pub fn removal(&self, ranks: Range<usize>) -> Removal {
        let kept = self.len() - ranks.len();
        let moves = ranks.len() > REMOVED_SINGLY_UP_TO && kept < ranks.len() / 2;
        Removal {
            ranks,
            // Without the memory there is still the long way.
            moved: moves.then(|| self.moved(kept).ok()).flatten(),
        }
    }

    fn moved(&self, kept: usize) -> Result<Moved, OutOfMemory> {
        Ok(Moved {
            to: Box::new(Self::with_hasher(self.hasher.clone())?),
            kept,
            count: 0,
        })
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
        self.forget(hash(&self.hasher, self.members.get(id)), id);
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
        let mut cloning = self.begin_clone()?;
        self.clone_some(&mut cloning, usize::MAX)?;
        Ok(*cloning.clone)
    }

    /// A clone that is to be made with [`Large::clone_some`].
    pub fn begin_clone(&self) -> Result<Cloning, OutOfMemory> {
        let mut clone = Self::with_hasher(self.hasher.clone())?;
        clone.index = self.index.begin_clone();
        Ok(Cloning {
            clone: Box::new(clone),
            twin: Some(Twin::default()),
        })
    }

    /// Goes on with a clone, by about `budget` members; whether there are more.
    pub fn clone_some(&self, cloning: &mut Cloning, budget: usize) -> Result<bool, OutOfMemory> {
        let Cloning { clone, twin } = cloning;
        let Some(tree) = twin else {
            return Ok(false);
        };
        if self.tree.clone_some(tree, budget)? {
            return Ok(true);
        }
        if self.members.clone_some(&mut clone.members, budget)? {
            return Ok(true);
        }
        if self.index.clone_some(&mut clone.index, budget)? {
            return Ok(true);
        }
        if let Some(tree) = twin.take().and_then(|twin| self.tree.cloned(twin)) {
            clone.tree = tree;
        }
        Ok(false)
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
