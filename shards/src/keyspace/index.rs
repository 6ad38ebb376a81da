//! The keys of one slot: one table, or many for a swollen slot.
//!
//! A slot holds a few hundred keys as a rule, and one table does. A hash tag
//! may put millions into one slot; then a directory, indexed by other bits of
//! the hash, leads to many tables (extendible hashing). A full table is split
//! in two, so no insertion ever moves more than one table's entries.
//!
//! ```text
//! prefix (16 bits of the hash)      depth 2: the first two bits of the prefix
//! map    │ 00 │ 01 │ 10 │ 11 │
//!          │    │    └──┬─┘
//! branches 0    1       2           branch 2 has depth 1: all prefixes 1…
//! ```
//!
//! Branches are never merged; the directory goes when the slot is empty. So
//! *(prefix, tag)* is an order that splits, growth and shrinking do not change:
//! an entry's position is the same for its whole life, and a [`Position`] a
//! scan has reached stays meaningful.

use super::entry::{Entry, EntryMut, EntryRef};
use super::slab::OutOfMemory;
use super::table::{Full, Spot, TAG_BITS, TAG_END, Table};

const PREFIX_BITS: u32 = 16;
const PREFIX_END: u32 = 1 << PREFIX_BITS;

/// The two parts of a hash that an index uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub prefix: u32,
    pub tag: u32,
}

impl Position {
    pub const START: Self = Self { prefix: 0, tag: 0 };

    /// Where a hash belongs.
    #[inline]
    pub fn of_hash(hash: u64) -> Self {
        Self {
            prefix: (hash >> (64 - TAG_BITS - PREFIX_BITS)) as u32 % PREFIX_END,
            tag: (hash >> (64 - TAG_BITS)) as u32,
        }
    }
}

/// Where an entry is, until the next insertion or removal in the slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    branch: u32,
    spot: Spot,
}

/// The keys of one slot. As with [`Table`], drain it before dropping it.
pub enum Index {
    One(Table),
    Many(Box<Directory>),
}

/// The tables of a swollen slot.
pub struct Directory {
    /// Number of bits of the prefix that index `map`.
    depth: u32,
    map: Vec<u32>,
    branches: Vec<Branch>,
}

struct Branch {
    /// The first prefix that leads here.
    start: u32,
    /// Number of bits of the prefix that are the same for all its entries.
    depth: u32,
    table: Table,
}

impl Branch {
    fn end(&self) -> u32 {
        self.start + (PREFIX_END >> self.depth)
    }
}

impl Default for Index {
    fn default() -> Self {
        Self::One(Table::default())
    }
}

impl Directory {
    #[inline]
    fn branch_of(&self, prefix: u32) -> u32 {
        self.map[(prefix >> (PREFIX_BITS - self.depth)) as usize]
    }
}

impl Index {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.tables().map(Table::len).sum()
    }

    #[inline]
    fn branch_of(&self, prefix: u32) -> u32 {
        match self {
            Self::One(_) => 0,
            Self::Many(directory) => directory.branch_of(prefix),
        }
    }

    #[inline]
    fn table(&self, branch: u32) -> &Table {
        match self {
            Self::One(table) => table,
            Self::Many(directory) => &directory.branches[branch as usize].table,
        }
    }

    #[inline]
    fn table_mut(&mut self, branch: u32) -> &mut Table {
        match self {
            Self::One(table) => table,
            Self::Many(directory) => &mut directory.branches[branch as usize].table,
        }
    }

    /// Its tables.
    pub fn tables(&self) -> impl Iterator<Item = &Table> {
        let (one, many) = match self {
            Self::One(table) => (Some(table), None),
            Self::Many(directory) => (None, Some(&directory.branches)),
        };
        one.into_iter()
            .chain(many.into_iter().flatten().map(|branch| &branch.table))
    }

    /// Finds a key, and its entry.
    #[inline]
    pub fn find(&self, position: Position, key: &[u8]) -> Option<(Place, EntryRef<'_>)> {
        let branch = self.branch_of(position.prefix);
        let (spot, entry) = self.table(branch).find(position.tag, key)?;
        Some((Place { branch, spot }, entry))
    }

    /// As [`Index::find`]; the entry may be changed in place.
    #[inline]
    pub fn find_mut(&mut self, position: Position, key: &[u8]) -> Option<(Place, EntryMut<'_>)> {
        let branch = self.branch_of(position.prefix);
        let (spot, entry) = self.table_mut(branch).find_mut(position.tag, key)?;
        Some((Place { branch, spot }, entry))
    }

    /// See [`Table::prefetch_line`].
    #[inline]
    pub fn prefetch_line(&self, position: Position) {
        self.table(self.branch_of(position.prefix))
            .prefetch_line(position.tag);
    }

    /// See [`Table::prefetch_entry`].
    #[inline]
    pub fn prefetch_entry(&self, position: Position) {
        self.table(self.branch_of(position.prefix))
            .prefetch_entry(position.tag);
    }

    /// Looks at the entry at a place.
    #[inline]
    pub fn entry(&self, place: Place) -> EntryRef<'_> {
        self.table(place.branch).entry(place.spot)
    }

    /// The entry at a place, to be changed in place.
    #[inline]
    pub fn entry_mut(&mut self, place: Place) -> EntryMut<'_> {
        self.table_mut(place.branch).entry_mut(place.spot)
    }

    /// Marks whether the entry at a place has a deadline.
    #[inline]
    pub fn set_expires(&mut self, place: Place, expires: bool) {
        self.table_mut(place.branch)
            .set_expires(place.spot, expires);
    }

    /// Puts another entry with the same key at a place.
    pub fn replace(&mut self, place: Place, entry: Entry) -> Entry {
        self.table_mut(place.branch).replace(place.spot, entry)
    }

    /// Makes room for one entry at `position`. `prefix` computes the prefix of
    /// a key of this slot.
    #[inline]
    pub fn reserve(
        &mut self,
        position: Position,
        prefix: impl Fn(&[u8]) -> u32,
    ) -> Result<(), OutOfMemory> {
        let branch = self.branch_of(position.prefix);
        match self.table_mut(branch).reserve() {
            Ok(()) => Ok(()),
            Err(Full::OutOfMemory) => Err(OutOfMemory),
            Err(Full::Split) => self.split(position, prefix),
        }
    }

    /// Splits the table of `position` until it has room.
    #[cold]
    fn split(
        &mut self,
        position: Position,
        prefix: impl Fn(&[u8]) -> u32,
    ) -> Result<(), OutOfMemory> {
        if let Self::One(table) = self {
            let table = std::mem::take(table);
            *self = Self::Many(Box::new(Directory {
                depth: 0,
                map: vec![0],
                branches: vec![Branch {
                    start: 0,
                    depth: 0,
                    table,
                }],
            }));
        }
        let Self::Many(directory) = self else {
            unreachable!("it was just made")
        };
        loop {
            let at = directory.branch_of(position.prefix) as usize;
            let branch = &mut directory.branches[at];
            if branch.depth == PREFIX_BITS {
                // Hundreds of millions of keys in one slot, or a hash that is
                // broken: growth is no longer bounded, but works.
                return branch.table.reserve_beyond();
            }
            match branch.table.reserve() {
                Ok(()) => return Ok(()),
                Err(Full::OutOfMemory) => return Err(OutOfMemory),
                Err(Full::Split) => directory.split_branch(at, &prefix)?,
            }
        }
    }

    /// Adds an entry whose key is not there; room has been reserved.
    pub fn insert(&mut self, position: Position, entry: Entry) {
        let branch = self.branch_of(position.prefix);
        self.table_mut(branch).insert(position.tag, entry);
    }

    /// Takes the entry at a place out. Memory is given back by
    /// [`Index::shrink`].
    pub fn remove(&mut self, place: Place) -> Entry {
        self.table_mut(place.branch).remove(place.spot)
    }

    /// Gives memory back around a place something was removed from.
    #[inline]
    pub fn shrink(&mut self, place: Place) {
        self.shrink_branch(place.branch);
    }

    /// Gives memory back that was reserved at `position`, for an entry that does
    /// not come.
    #[cold]
    pub fn unreserve(&mut self, position: Position) {
        self.shrink_branch(self.branch_of(position.prefix));
    }

    #[inline]
    fn shrink_branch(&mut self, branch: u32) {
        let table = self.table_mut(branch);
        table.shrink();
        if table.len() == 0
            && let Self::Many(directory) = self
            && directory
                .branches
                .iter()
                .all(|branch| branch.table.len() == 0)
        {
            *self = Self::default();
        }
    }

    /// Visits the entries of the home line at `from`, as far as their tag is
    /// not below it, and says where the next line begins. Nothing: the end.
    pub fn visit_line(
        &self,
        from: Position,
        visit: &mut dyn FnMut(Place, EntryRef<'_>),
    ) -> Option<Position> {
        let branch = self.branch_of(from.prefix);
        let table = self.table(branch);
        if table.len() > 0 {
            let (home, mut step) = (table.home(from.tag), 0);
            while let Some((next, spot)) = table.of_home(home, step) {
                step = next;
                if table.tag(spot) >= from.tag {
                    visit(Place { branch, spot }, table.entry(spot));
                }
            }
        }
        self.after_line(from)
    }

    /// Visits the entries whose position this is: one, as a rule.
    pub fn visit_at(&self, at: Position, visit: &mut dyn FnMut(Place, EntryRef<'_>)) {
        let branch = self.branch_of(at.prefix);
        let table = self.table(branch);
        if table.len() == 0 {
            return;
        }
        let (home, mut step) = (table.home(at.tag), 0);
        while let Some((next, spot)) = table.of_home(home, step) {
            step = next;
            if table.tag(spot) == at.tag {
                visit(Place { branch, spot }, table.entry(spot));
            }
        }
    }

    /// Where the home line after the one at `from` begins.
    pub fn after_line(&self, from: Position) -> Option<Position> {
        let branch = self.branch_of(from.prefix);
        let table = self.table(branch);
        if table.len() > 0 {
            let tag = table.first_tag(table.home(from.tag) + 1);
            if tag < TAG_END {
                return Some(Position {
                    prefix: from.prefix,
                    tag,
                });
            }
        }
        let end = match self {
            Self::One(_) => PREFIX_END,
            Self::Many(directory) => directory.branches[branch as usize].end(),
        };
        (end < PREFIX_END).then_some(Position {
            prefix: end,
            tag: 0,
        })
    }

    /// The first entry at or after `step` of the home line at `at` that is
    /// marked to have a deadline; see [`Table::of_home`].
    pub fn next_expiring(&self, at: Position, mut step: usize) -> Option<(usize, Place)> {
        let branch = self.branch_of(at.prefix);
        let table = self.table(branch);
        if table.len() == 0 {
            return None;
        }
        let home = table.home(at.tag);
        loop {
            let (next, spot) = table.of_home(home, step)?;
            if table.expires(spot) {
                return Some((next, Place { branch, spot }));
            }
            step = next;
        }
    }

    /// Some entry; the index must not be empty. Fair as far as `random` is.
    pub fn at_random(&self, mut random: u64) -> Option<EntryRef<'_>> {
        let len = self.len() as u64;
        let mut nth = ((u128::from(random) * u128::from(len)) >> 64) as usize;
        let table = self.tables().find(|table| {
            let here = nth < table.len();
            nth -= if here { 0 } else { table.len() };
            here
        })?;
        // Tables are at least two fifths full as a rule: a few attempts do.
        for _ in 0..64 {
            random = random
                .wrapping_mul(0x5851_F42D_4C95_7F2D)
                .wrapping_add(0x1405_7B7E_F767_814F);
            if let Some(entry) = table.at_random(random) {
                return Some(entry);
            }
        }
        table.iter().next()
    }

    /// All entries.
    pub fn iter(&self) -> impl Iterator<Item = EntryRef<'_>> {
        self.tables().flat_map(Table::iter)
    }

    /// Takes one table out; nothing once there are none. For an index that is
    /// being dismantled: nothing else may be asked of it afterwards.
    pub fn take_table(&mut self) -> Option<Table> {
        match self {
            Self::One(table) if table.len() == 0 => None,
            Self::One(table) => Some(std::mem::take(table)),
            Self::Many(directory) => directory.branches.pop().map(|branch| branch.table),
        }
    }

    /// Checks the structure; panics if it contradicts itself.
    pub fn check_invariants(&self, position: impl Fn(&[u8]) -> Position) {
        if let Self::Many(directory) = self {
            assert_eq!(directory.map.len(), 1 << directory.depth);
            assert!(self.len() > 0, "an empty slot has no directory");
            for (at, branch) in directory.branches.iter().enumerate() {
                let covered =
                    (branch.start..branch.end()).step_by(1 << (PREFIX_BITS - directory.depth));
                covered.for_each(|prefix| assert_eq!(directory.branch_of(prefix), at as u32));
                for entry in branch.table.iter() {
                    let prefix = position(entry.key()).prefix;
                    assert!((branch.start..branch.end()).contains(&prefix));
                }
            }
        }
        self.tables()
            .for_each(|table| table.check_invariants(|key| position(key).tag));
    }
}

impl Directory {
    /// Splits a branch by the next bit of its prefix.
    fn split_branch(
        &mut self,
        at: usize,
        prefix: impl Fn(&[u8]) -> u32,
    ) -> Result<(), OutOfMemory> {
        let (start, depth) = (self.branches[at].start, self.branches[at].depth);
        let middle = start + (PREFIX_END >> depth >> 1);
        let upper = self.branches[at].table.split(|key| prefix(key) >= middle)?;
        if depth == self.depth {
            self.map = self
                .map
                .iter()
                .flat_map(|branch| [*branch, *branch])
                .collect();
            self.depth += 1;
        }
        let shift = PREFIX_BITS - self.depth;
        let new = self.branches.len() as u32;
        self.branches[at].depth += 1;
        self.branches.push(Branch {
            start: middle,
            depth: depth + 1,
            table: upper,
        });
        let end = self.branches[new as usize].end();
        self.map[(middle >> shift) as usize..(end >> shift) as usize].fill(new);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::entry::{Draft, Payload};
    use crate::keyspace::slab::Slab;
    use crate::value::Encoding;

    fn hash(key: &[u8]) -> u64 {
        let number = u64::from_le_bytes(key.try_into().unwrap());
        let mixed = number.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed ^ mixed >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9)
    }

    fn position(key: &[u8]) -> Position {
        Position::of_hash(hash(key))
    }

    fn add(index: &mut Index, slab: &mut Slab, number: u64) {
        let key = number.to_le_bytes();
        let payload = Payload::Bytes(b"", Encoding::Embstr);
        let draft = Draft {
            key: &key,
            payload,
            expire_at: None,
            clock: 0,
            snapshot: false,
        };
        index
            .reserve(position(&key), |key| position(key).prefix)
            .unwrap();
        let entry = draft.settle().and_then(|draft| draft.build(slab)).unwrap();
        index.insert(position(&key), entry);
    }

    #[test]
    fn a_swollen_slot_splits_and_comes_back() {
        let (mut index, mut slab) = (Index::default(), Slab::default());
        let count = if cfg!(miri) { 4000 } else { 40_000u64 };
        for number in 0..count {
            add(&mut index, &mut slab, number);
        }
        assert!(matches!(&index, Index::Many(directory) if directory.branches.len() > 1));
        index.check_invariants(position);
        for number in 0..count {
            let key = number.to_le_bytes();
            let (place, _) = index.find(position(&key), &key).unwrap();
            index.remove(place).free(&mut slab);
            index.shrink(place);
        }
        assert!(matches!(index, Index::One(_)));
        assert_eq!(slab.entries(), 0);
    }

    #[test]
    fn a_walk_meets_everything_while_tables_split() {
        let (mut index, mut slab) = (Index::default(), Slab::default());
        let (first, more) = (2000u64, if cfg!(miri) { 3 } else { 40u64 });
        (0..first).for_each(|number| add(&mut index, &mut slab, number));
        let mut met = vec![false; first as usize];
        let (mut at, mut number) = (Some(Position::START), first);
        while let Some(position) = at {
            at = index.visit_line(position, &mut |_, entry| {
                let number = u64::from_le_bytes(entry.key().try_into().unwrap());
                if number < first {
                    met[number as usize] = true;
                }
            });
            if number < first + 20_000 {
                (0..more).for_each(|i| add(&mut index, &mut slab, number + i));
                number += more;
            }
        }
        assert!(met.iter().all(|met| *met));
        while let Some(mut table) = index.take_table() {
            table.drain().for_each(|entry| drop(entry.free(&mut slab)));
        }
    }
}
