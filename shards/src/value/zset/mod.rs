//! Sorted sets.
//!
//! A small one is a listpack ([`small`]), a large one a tree with an index
//! ([`large`]), which OBJECT ENCODING calls a skiplist. Members are ordered by
//! score, then as bytes; a score is never NaN. A *rank* is a position in that
//! order, and every range is one of ranks: see [`Cut`].

mod index;
mod large;
mod members;
mod small;
#[cfg(test)]
mod tests;
mod tree;

use super::listpack::{Element, Listpack};
use super::{Collection, Encoding, Type, Value, copy};
use crate::error::OutOfMemory;
use large::Large;
pub use large::{Cloning, Removal};
use std::ops::Range;

/// A sorted set that can be changed.
#[derive(Debug)]
pub enum Zset {
    Listpack(Vec<u8>),
    Skiplist(Box<Large>),
}

/// A sorted set that is looked at.
#[derive(Clone, Copy, Debug)]
pub enum ZsetRef<'a> {
    Listpack(Listpack<'a>),
    Skiplist(&'a Large),
}

/// Up to where a sorted set stays small, and what becomes of it then.
#[derive(Clone, Copy, Debug)]
pub struct ZsetLimits {
    /// Members (zset-max-listpack-entries).
    pub entries: usize,
    /// Bytes of a member (zset-max-listpack-value).
    pub value: usize,
    /// Keys the hash of a large one.
    pub seed: u64,
}

/// A place between two members: members are behind it or before it. A range
/// goes from one cut to another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut<'a> {
    Start,
    End,
    BelowScore(f64),
    AboveScore(f64),
    /// Tells members of equal scores apart.
    BelowMember(&'a [u8]),
    AboveMember(&'a [u8]),
}

impl Cut<'_> {
    /// Whether it lies behind a member.
    #[inline]
    fn is_behind<'e>(self, score: f64, member: impl FnOnce() -> Element<'e>) -> bool {
        match self {
            Self::Start => false,
            Self::End => true,
            Self::BelowScore(bound) => score < bound,
            Self::AboveScore(bound) => score <= bound,
            Self::BelowMember(bound) => small::compare(member(), bound).is_lt(),
            Self::AboveMember(bound) => small::compare(member(), bound).is_le(),
        }
    }
}

/// What became of a member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZsetUpdate {
    pub before: Option<f64>,
    pub after: Option<f64>,
}

impl Zset {
    /// An empty one.
    pub fn new() -> Self {
        Self::Listpack(Vec::new())
    }

    /// An empty one that is large whatever it holds.
    pub fn large(limits: &ZsetLimits) -> Result<Self, OutOfMemory> {
        Ok(Self::Skiplist(Box::new(Large::new(limits.seed)?)))
    }

    /// An empty one for members of these lengths: large from the start if they make it
    /// large, as in Redis, whose results are no listpacks on the way: a listpack forgets
    /// the sign of a score of -0.
    pub fn to_hold(
        members: impl IntoIterator<Item = usize>,
        limits: &ZsetLimits,
    ) -> Result<Self, OutOfMemory> {
        let mut small = 0..limits.entries;
        let fits = |len| small.next().is_some() && len <= limits.value;
        if members.into_iter().all(fits) {
            Ok(Self::new())
        } else {
            Self::large(limits)
        }
    }

    /// Makes it small again if it could be.
    ///
    /// # Errors
    /// There is no memory.
    pub fn fit(self, limits: &ZsetLimits) -> Result<Self, OutOfMemory> {
        let fits = |view: ZsetRef<'_>| {
            let mut members = view.iter().map(|(member, _)| member.len_bytes());
            view.len() <= limits.entries && members.all(|len| len <= limits.value)
        };
        if matches!(self, Self::Listpack(_)) || !fits(self.view()) {
            return Ok(self);
        }
        let mut small = Self::new();
        for (member, score) in self.view().iter() {
            member.with_bytes(|member| small.set(member, score, limits))?;
        }
        Ok(small)
    }

    /// Gives a member the score that `choose` makes of its present one, if it
    /// makes any; it must not make NaN.
    ///
    /// # Errors
    /// There is no memory; nothing has changed.
    pub fn update(
        &mut self,
        member: &[u8],
        limits: &ZsetLimits,
        choose: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> Result<ZsetUpdate, OutOfMemory> {
        let bytes = match self {
            Self::Listpack(bytes) => bytes,
            Self::Skiplist(large) => {
                let (before, after) = large.update(member, choose)?;
                return Ok(ZsetUpdate { before, after });
            }
        };
        let found = small::find(Listpack::new(bytes), member);
        let before = found.map(|(_, score)| score);
        let Some(score) = choose(before) else {
            let after = before;
            return Ok(ZsetUpdate { before, after });
        };
        match found {
            Some((at, old)) if old != score => small::change_score(bytes, at, member, score)?,
            Some(_) => {
                let after = before;
                return Ok(ZsetUpdate { before, after });
            }
            None => {
                let len = small::len(Listpack::new(bytes));
                if len < limits.entries && member.len() <= limits.value {
                    small::insert(bytes, member, score)?;
                } else {
                    self.enlarge(limits.seed)?.add(member, score)?;
                }
            }
        }
        Ok(ZsetUpdate {
            before,
            after: Some(score),
        })
    }

    /// Gives a member a score.
    ///
    /// # Errors
    /// There is no memory; nothing has changed.
    pub fn set(
        &mut self,
        member: &[u8],
        score: f64,
        limits: &ZsetLimits,
    ) -> Result<ZsetUpdate, OutOfMemory> {
        self.update(member, limits, |_| Some(score))
    }

    /// Adds a member that is not there and comes behind all others, whatever the limits.
    ///
    /// # Errors
    /// There is no memory; nothing has changed.
    pub fn append(&mut self, member: &[u8], score: f64) -> Result<(), OutOfMemory> {
        match self {
            Self::Listpack(bytes) => small::insert(bytes, member, score),
            Self::Skiplist(large) => large.add(member, score),
        }
    }

    fn enlarge(&mut self, seed: u64) -> Result<&mut Large, OutOfMemory> {
        if let Self::Listpack(bytes) = self {
            let mut large = Box::new(Large::new(seed)?);
            for (_, member, score) in small::pairs(Listpack::new(bytes)) {
                member.with_bytes(|member| large.add(member, score))?;
            }
            *self = Self::Skiplist(large);
        }
        match self {
            Self::Skiplist(large) => Ok(large),
            Self::Listpack(_) => unreachable!("it was made large just now"),
        }
    }

    /// Removes a member; the score it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Listpack(bytes) => {
                let (at, score) = small::find(Listpack::new(bytes), member)?;
                small::remove(bytes, at);
                Some(score)
            }
            Self::Skiplist(large) => large.remove(member),
        }
    }

    /// Removes the members of these ranks, which must be within the length.
    /// Returns what is too large to be freed on the spot.
    pub fn remove_range(&mut self, ranks: Range<usize>) -> Option<Self> {
        let mut removal = self.removal(ranks);
        let mut rest = None;
        while !removal.is_over() {
            rest = self.remove_some(&mut removal, usize::MAX);
        }
        rest
    }

    /// How the members of these ranks, which must be within the length, are best
    /// removed step by step.
    pub fn removal(&self, ranks: Range<usize>) -> Removal {
        match self {
            Self::Listpack(_) => Removal::at_once(ranks),
            Self::Skiplist(large) => large.removal(ranks),
        }
    }

    /// A clone that is to be made with [`Zset::clone_some`], of one that is large.
    pub fn begin_clone(&self) -> Result<Option<Cloning>, OutOfMemory> {
        match self {
            Self::Listpack(_) => Ok(None),
            Self::Skiplist(large) => large.begin_clone().map(Some),
        }
    }

    /// Goes on with a clone, by about `budget` members; whether there are more.
    pub fn clone_some(&self, cloning: &mut Cloning, budget: usize) -> Result<bool, OutOfMemory> {
        match self {
            Self::Listpack(_) => Ok(false),
            Self::Skiplist(large) => large.clone_some(cloning, budget),
        }
    }

    /// Goes on with a removal, by about `budget` members. Returns what is too large to
    /// be freed on the spot.
    pub fn remove_some(&mut self, removal: &mut Removal, budget: usize) -> Option<Self> {
        match self {
            Self::Listpack(bytes) => {
                small::remove_range(bytes, &removal.take(budget));
                None
            }
            Self::Skiplist(large) => large.remove_some(removal, budget).map(Self::Skiplist),
        }
    }
}

impl Default for Zset {
    fn default() -> Self {
        Self::new()
    }
}

impl<'a> ZsetRef<'a> {
    pub fn len(self) -> usize {
        match self {
            Self::Listpack(row) => small::len(row),
            Self::Skiplist(large) => large.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    pub fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Listpack(row) => small::find(row, member).map(|(_, score)| score),
            Self::Skiplist(large) => large.score(member),
        }
    }

    /// The rank of a member, and its score.
    pub fn rank(self, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            Self::Listpack(row) => {
                let mut pairs = small::pairs(row).enumerate();
                let found = pairs.find(|(_, (_, other, _))| other.eq_bytes(member));
                found.map(|(rank, (_, _, score))| (rank, score))
            }
            Self::Skiplist(large) => large.rank(member),
        }
    }

    /// The ranks between two cuts. `reverse` says from which end they will be
    /// read; it makes a difference only where cuts of members meet different
    /// scores, in which case the answer is of no use anyway.
    pub fn between(self, min: Cut<'_>, max: Cut<'_>, reverse: bool) -> Range<usize> {
        match self {
            Self::Listpack(row) => small::between(row, min, max, reverse),
            Self::Skiplist(large) => {
                let (start, end) = (large.before(min), large.before(max));
                start..end.max(start)
            }
        }
    }

    /// Members and scores of these ranks, which must be within the length; from
    /// the last to the first with `reverse`.
    pub fn range(self, ranks: Range<usize>, reverse: bool) -> Walk<'a> {
        let left = ranks.len();
        let steps = match self {
            Self::Listpack(row) => Steps::Small(small::pairs_of(row, &ranks, reverse)),
            Self::Skiplist(large) => {
                let next = if reverse { ranks.end } else { ranks.start };
                Steps::Large(Runs {
                    large,
                    run: &[],
                    ids: &[],
                    next,
                })
            }
        };
        Walk {
            steps,
            left,
            reverse,
        }
    }

    /// All members and scores, in order.
    pub fn iter(self) -> Walk<'a> {
        self.range(0..self.len(), false)
    }

    /// The member of a rank, which must be below the length.
    pub fn at(self, rank: usize) -> Option<(Element<'a>, f64)> {
        self.range(rank..rank + 1, false).next()
    }

    /// Visits members from `cursor` (0 at first) until about `budget` were seen.
    /// Returns the next cursor, 0 at the end. A member that is there all the
    /// time is visited; it may be visited twice if others come or go. What is
    /// small is visited at once.
    pub fn scan(self, cursor: u64, budget: usize, mut visit: impl FnMut(Element<'_>, f64)) -> u64 {
        match self {
            Self::Listpack(row) => {
                small::pairs(row).for_each(|(_, member, score)| visit(member, score));
                0
            }
            Self::Skiplist(large) => large.scan(cursor, budget, |member, score| {
                visit(Element::Bytes(member), score);
            }),
        }
    }
}

impl PartialEq for ZsetRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        let same = |((one, one_score), (other, other_score)): ((Element<'_>, f64), _)| {
            let other: Element<'_> = other;
            let score: f64 = other_score;
            let member = one.with_bytes(|one| small::compare(other, one).is_eq());
            member && one_score.to_bits() == score.to_bits()
        };
        self.len() == other.len() && self.iter().zip(other.iter()).all(same)
    }
}

/// Members and scores; see [`ZsetRef::range`].
#[derive(Clone, Debug)]
pub struct Walk<'a> {
    steps: Steps<'a>,
    left: usize,
    reverse: bool,
}

#[derive(Clone, Debug)]
enum Steps<'a> {
    Small(small::Pairs<'a>),
    Large(Runs<'a>),
}

/// The leaves of a large sorted set, each found when it is needed.
#[derive(Clone, Debug)]
struct Runs<'a> {
    large: &'a Large,
    /// What is left of a leaf.
    run: &'a [f64],
    ids: &'a [u32],
    /// The rank behind (in reverse: before) that.
    next: usize,
}

impl<'a> Runs<'a> {
    #[inline]
    fn step(&mut self, reverse: bool) -> (Element<'a>, f64) {
        if self.run.is_empty() {
            self.load(reverse);
        }
        let parts = if reverse {
            self.run.split_last().zip(self.ids.split_last())
        } else {
            self.run.split_first().zip(self.ids.split_first())
        };
        let ((score, run), (id, ids)) = parts.expect("the rank was within the length");
        (self.run, self.ids) = (run, ids);
        (Element::Bytes(self.large.member(*id)), *score)
    }

    fn load(&mut self, reverse: bool) {
        if reverse {
            let (run, at) = self.large.run(self.next - 1);
            (self.run, self.ids) = (&run.scores[..=at], &run.ids[..=at]);
            self.next -= at + 1;
        } else {
            let (run, at) = self.large.run(self.next);
            (self.run, self.ids) = (&run.scores[at..], &run.ids[at..]);
            self.next += self.run.len();
        }
    }
}

impl<'a> Iterator for Walk<'a> {
    type Item = (Element<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match &mut self.steps {
            Steps::Small(pairs) => {
                let pair = if self.reverse {
                    pairs.next_back()
                } else {
                    pairs.next()
                };
                pair.map(|(_, member, score)| (member, score))
            }
            Steps::Large(runs) => Some(runs.step(self.reverse)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Walk<'_> {}

impl Collection for Zset {
    const TYPE: Type = Type::Zset;

    type Ref<'a> = ZsetRef<'a>;

    fn from_flat(_encoding: Encoding, bytes: Vec<u8>) -> Self {
        Self::Listpack(bytes)
    }

    fn view_flat(_encoding: Encoding, bytes: &[u8]) -> ZsetRef<'_> {
        ZsetRef::Listpack(Listpack::new(bytes))
    }

    fn flat(&self) -> Option<&[u8]> {
        match self {
            Self::Listpack(bytes) => Some(bytes),
            Self::Skiplist(_) => None,
        }
    }

    fn flat_mut(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Listpack(bytes) => Some(bytes),
            Self::Skiplist(_) => None,
        }
    }

    fn view(&self) -> ZsetRef<'_> {
        match self {
            Self::Listpack(bytes) => ZsetRef::Listpack(Listpack::new(bytes)),
            Self::Skiplist(large) => ZsetRef::Skiplist(large),
        }
    }

    fn encoding(&self) -> Encoding {
        match self {
            Self::Listpack(_) => Encoding::Listpack,
            Self::Skiplist(_) => Encoding::Skiplist,
        }
    }

    fn is_empty(&self) -> bool {
        self.view().is_empty()
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Listpack(bytes) => bytes.capacity(),
            Self::Skiplist(large) => large.heap_bytes(),
        }
    }

    fn free_some(&mut self, budget: usize) -> bool {
        match self {
            Self::Listpack(bytes) => {
                *bytes = Vec::new();
                false
            }
            Self::Skiplist(large) => large.free_some(budget),
        }
    }

    fn try_clone(&self) -> Result<Self, OutOfMemory> {
        Ok(match self {
            Self::Listpack(bytes) => Self::Listpack(copy(bytes)?),
            Self::Skiplist(large) => Self::Skiplist(Box::new(large.try_clone()?)),
        })
    }

    fn into_value(self) -> Value {
        Value::Zset(self)
    }

    fn of(value: &Value) -> Option<&Self> {
        match value {
            Value::Zset(it) => Some(it),
            _ => None,
        }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        match value {
            Value::Zset(it) => Some(it),
            _ => None,
        }
    }
}
