//! Values that are being made of elements, one after the other.
//!
//! Each begins in its compact encoding, and leaves it where Redis would: at the same
//! numbers and lengths. No element may come twice, which takes a look into a table, not a
//! search: what is read is as large as whoever has written it wanted.

use super::packed;
use super::rows::Row;
use super::seen::Seen;
use crate::rdb::reader::Fault;
use crate::types::UnixMs;
use crate::value::listpack::Listpack;
use crate::value::{
    Collection, Element, FieldTtl, Growth, Hash, Limit, List, Owned, Set, Value, Zset, ZsetLimits,
    listpack,
};
use std::cmp::Ordering;

pub const TWICE: Fault = Fault::Corrupt("an element comes twice");

/// A listpack with longer elements than is configured stays one up to here, as one of any
/// size does in Redis (bytes).
const UNUSUAL_MAX: usize = 8 << 10;

/// A value that is being made.
#[derive(Debug)]
pub enum Making {
    List(List),
    Set(Members),
    Zset(Scored),
    Hash(Fields),
}

impl Making {
    /// Takes one more.
    #[inline]
    pub fn add(&mut self, row: &Row<'_>, growth: &Growth<'_>) -> Result<(), Fault> {
        match self {
            Self::List(list) => Ok(list.append(as_kept(row.name))?),
            Self::Set(set) => set.add(row.name, growth),
            Self::Zset(zset) => zset.add(row.name, row.score, growth),
            Self::Hash(hash) => hash.add(row, growth),
        }
    }

    /// Whether elements are looked for in a table or a tree.
    #[inline]
    pub fn is_large(&self) -> bool {
        matches!(
            self,
            Self::Set(Members::Large(_))
                | Self::Zset(Scored::Large(_))
                | Self::Hash(Fields::Large(_))
        )
    }

    /// What there is of it, if that is no longer compact.
    pub fn into_made(self) -> Option<Value> {
        match self {
            Self::List(list) => Some(Value::List(list)),
            Self::Set(Members::Large(set)) => Some(Value::Set(set)),
            Self::Zset(Scored::Large(zset)) => Some(Value::Zset(zset)),
            Self::Hash(Fields::Large(hash)) => Some(Value::Hash(hash)),
            Self::Set(_) | Self::Zset(_) | Self::Hash(_) => None,
        }
    }

    /// What has been made; nothing if it is empty.
    pub fn finish(self, growth: &Growth<'_>) -> Result<Option<Owned>, Fault> {
        match self {
            Self::List(list) if list.is_empty() => Ok(None),
            Self::List(list) => {
                let limit = Limit(growth.thresholds.list_max_listpack_size);
                Ok(Some(Owned::collection(list.fit(limit)?)))
            }
            Self::Set(set) => set.finish(),
            Self::Zset(zset) => zset.finish(),
            Self::Hash(hash) => hash.finish(),
        }
    }
}

/// A text as a number, if it is one.
#[inline]
fn as_kept(element: Element<'_>) -> Element<'_> {
    match element {
        Element::Int(_) => element,
        Element::Bytes(text) => Element::from(text),
    }
}

/// Elements of a listpack, each of which comes once.
#[derive(Debug)]
pub struct Distinct {
    pub flat: Vec<u8>,
    pub len: usize,
    seen: Seen,
    longest: usize,
}

impl Distinct {
    pub fn new(seed: u64) -> Self {
        Self {
            flat: Vec::new(),
            len: 0,
            seen: Seen::new(seed),
            longest: 0,
        }
    }

    pub fn add(&mut self, element: Element<'_>) -> Result<(), Fault> {
        let start = self.flat.len().max(COUNT);
        self.add_any(element)?;
        self.len = self.len.saturating_add(1);
        match self.seen.insert(&self.flat, start, self.flat.len())? {
            true => Ok(()),
            false => Err(TWICE),
        }
    }

    /// Adds what may come more than once.
    fn add_any(&mut self, element: Element<'_>) -> Result<(), Fault> {
        self.longest = self.longest.max(element.len_bytes());
        packed::push(&mut self.flat, element)
    }

    /// Whether it is within the limits for compact encodings. Where it is from one, long
    /// elements are no reason to leave it.
    fn fits(&self, entries: usize, value: usize, is_packed: bool) -> bool {
        let usual = self.longest <= value;
        self.len <= entries && (usual || is_packed && self.flat.len() <= UNUSUAL_MAX)
    }
}

/// Bytes of a listpack's count.
const COUNT: usize = 2;

/// A set.
#[derive(Debug)]
pub enum Members {
    /// In whatever order.
    Integers(Vec<i64>),
    Small(Distinct, bool),
    Large(Set),
}

impl Members {
    /// Of so many members, if the file is right, that come from a compact encoding or
    /// not.
    pub fn new(len: u64, is_packed: bool, growth: &Growth<'_>) -> Result<Self, Fault> {
        let thresholds = growth.thresholds;
        let integers = thresholds.set_max_intset_entries;
        let most = integers.max(thresholds.set_max_listpack_entries);
        Ok(if len > most as u64 {
            Self::Large(Set::large(growth)?)
        } else if integers == 0 {
            Self::Small(Distinct::new(growth.seed), is_packed)
        } else {
            Self::Integers(Vec::new())
        })
    }

    /// Of members of a listpack, which stay one although they may be integers.
    pub fn packed(growth: &Growth<'_>) -> Self {
        Self::Small(Distinct::new(growth.seed), true)
    }

    fn add(&mut self, member: Element<'_>, growth: &Growth<'_>) -> Result<(), Fault> {
        let thresholds = growth.thresholds;
        match self {
            Self::Integers(integers) => match as_kept(member) {
                Element::Int(number) if integers.len() < thresholds.set_max_intset_entries => {
                    integers.try_reserve(1).map_err(|_| Fault::OutOfMemory)?;
                    integers.push(number);
                    Ok(())
                }
                other => {
                    self.leave_integers(other, growth)?;
                    self.add(member, growth)
                }
            },
            Self::Small(members, is_packed) => {
                members.add(member)?;
                let entries = thresholds.set_max_listpack_entries;
                if !members.fits(entries, thresholds.set_max_listpack_value, *is_packed) {
                    let mut large = Set::large(growth)?;
                    for member in Listpack::new(&members.flat) {
                        member.with_bytes(|member| large.add(member, growth))?;
                    }
                    *self = Self::Large(large);
                }
                Ok(())
            }
            Self::Large(set) => match member.with_bytes(|member| set.add(member, growth))? {
                true => Ok(()),
                false => Err(TWICE),
            },
        }
    }

    /// The integers become members like others, for the sake of one more.
    fn leave_integers(&mut self, other: Element<'_>, growth: &Growth<'_>) -> Result<(), Fault> {
        let Self::Integers(integers) = self else {
            return Ok(());
        };
        let integers = sorted(std::mem::take(integers))?;
        let few = integers.len() < growth.thresholds.set_max_listpack_entries;
        let mut all = match matches!(other, Element::Bytes(_)) && few {
            true => Self::Small(Distinct::new(growth.seed), false),
            false => Self::Large(Set::large(growth)?),
        };
        for number in integers {
            all.add(Element::Int(number), growth)?;
        }
        *self = all;
        Ok(())
    }

    fn finish(self) -> Result<Option<Owned>, Fault> {
        Ok(match self {
            Self::Integers(integers) if integers.is_empty() => None,
            Self::Integers(integers) => {
                let set = Set::of_integers(&sorted(integers)?)?;
                Some(Owned::collection(set))
            }
            Self::Small(members, _) if members.len == 0 => None,
            Self::Small(members, _) => Some(Owned::collection(Set::Listpack(members.flat))),
            Self::Large(set) if set.is_empty() => None,
            Self::Large(set) => Some(Owned::collection(set)),
        })
    }
}

/// Integers that ascend, each of which comes once.
fn sorted(mut integers: Vec<i64>) -> Result<Vec<i64>, Fault> {
    integers.sort_unstable();
    match integers.is_sorted_by(|one, other| one < other) {
        true => Ok(integers),
        false => Err(TWICE),
    }
}

/// A sorted set.
#[derive(Debug)]
pub enum Scored {
    /// In the order of the file, which is often the reverse of theirs.
    Small(Distinct, Vec<f64>, bool),
    Large(Zset),
}

fn limits(growth: &Growth<'_>) -> ZsetLimits {
    ZsetLimits {
        entries: growth.thresholds.zset_max_listpack_entries,
        value: growth.thresholds.zset_max_listpack_value,
        seed: growth.seed,
    }
}

impl Scored {
    /// As [`Members::new`].
    pub fn new(len: u64, is_packed: bool, growth: &Growth<'_>) -> Result<Self, Fault> {
        let limits = limits(growth);
        Ok(match len > limits.entries as u64 {
            true => Self::Large(Zset::large(&limits)?),
            false => Self::Small(Distinct::new(growth.seed), Vec::new(), is_packed),
        })
    }

    fn add(&mut self, member: Element<'_>, score: f64, growth: &Growth<'_>) -> Result<(), Fault> {
        if score.is_nan() {
            return Err(Fault::Corrupt(crate::rdb::reader::NO_SCORE));
        }
        let limits = limits(growth);
        let (members, scores, is_packed) = match self {
            Self::Small(members, scores, is_packed) => (members, scores, is_packed),
            Self::Large(zset) => {
                let update = member.with_bytes(|member| zset.set(member, score, &limits))?;
                return match update.before {
                    None => Ok(()),
                    Some(_) => Err(TWICE),
                };
            }
        };
        members.add(member)?;
        scores.try_reserve(1).map_err(|_| Fault::OutOfMemory)?;
        scores.push(score);
        if !members.fits(limits.entries, limits.value, *is_packed) {
            let mut large = Zset::large(&limits)?;
            for (member, score) in Listpack::new(&members.flat).iter().zip(&*scores) {
                member.with_bytes(|member| large.append(member, *score))?;
            }
            *self = Self::Large(large);
        }
        Ok(())
    }

    fn finish(self) -> Result<Option<Owned>, Fault> {
        let (members, scores) = match self {
            Self::Large(zset) if zset.is_empty() => return Ok(None),
            Self::Large(zset) => return Ok(Some(Owned::collection(zset))),
            Self::Small(members, ..) if members.len == 0 => return Ok(None),
            Self::Small(members, scores, _) => (members, scores),
        };
        let mut rows = Vec::new();
        let room = rows.try_reserve_exact(scores.len());
        room.map_err(|_| Fault::OutOfMemory)?;
        rows.extend(scores.into_iter().zip(Listpack::new(&members.flat)));
        rows.sort_unstable_by(|(score, member), (other_score, other)| {
            // None is NaN.
            let by_score = score.partial_cmp(other_score).unwrap_or(Ordering::Equal);
            by_score.then_with(|| member.with_bytes(|one| other.with_bytes(|other| one.cmp(other))))
        });
        let mut zset = Zset::new();
        for (score, member) in rows {
            member.with_bytes(|member| zset.append(member, score))?;
        }
        Ok(Some(Owned::collection(zset)))
    }
}

/// A hash.
#[derive(Debug)]
pub enum Fields {
    Small {
        fields: Distinct,
        is_packed: bool,
        /// Rows have three elements.
        with_deadlines: bool,
        earliest: Option<UnixMs>,
    },
    Large(Hash),
}

impl Fields {
    /// As [`Members::new`]; of fields that may have deadlines or not.
    pub fn new(
        len: u64,
        is_packed: bool,
        with_deadlines: bool,
        growth: &Growth<'_>,
    ) -> Result<Self, Fault> {
        if len > growth.thresholds.hash_max_listpack_entries as u64 {
            let mut hash = Hash::new();
            hash.enlarge(growth)?;
            return Ok(Self::Large(hash));
        }
        Ok(Self::Small {
            fields: Distinct::new(growth.seed),
            is_packed,
            with_deadlines,
            earliest: None,
        })
    }

    fn add(&mut self, row: &Row<'_>, growth: &Growth<'_>) -> Result<(), Fault> {
        let (fields, is_packed, with_deadlines, earliest) = match self {
            Self::Small {
                fields,
                is_packed,
                with_deadlines,
                earliest,
            } => (fields, *is_packed, *with_deadlines, earliest),
            Self::Large(hash) => {
                let (mut name, mut value) = (itoa::Buffer::new(), itoa::Buffer::new());
                let new = hash.set(
                    row.name.to_bytes(&mut name),
                    row.value.to_bytes(&mut value),
                    row.deadline.map_or(FieldTtl::Clear, FieldTtl::At),
                    growth,
                )?;
                return if new { Ok(()) } else { Err(TWICE) };
            }
        };
        fields.add(row.name)?;
        fields.add_any(row.value)?;
        if with_deadlines {
            let deadline = row.deadline.map_or(0, |at| at.0);
            listpack::push_back(&mut fields.flat, deadline)?;
            *earliest = (*earliest).into_iter().chain(row.deadline).min();
        }
        let thresholds = growth.thresholds;
        let (entries, value) = (
            thresholds.hash_max_listpack_entries,
            thresholds.hash_max_listpack_value,
        );
        if !fields.fits(entries, value, is_packed) {
            let flat = std::mem::take(&mut fields.flat);
            let mut hash = Hash::of_rows(flat, with_deadlines.then_some(*earliest))?;
            hash.enlarge(growth)?;
            *self = Self::Large(hash);
        }
        Ok(())
    }

    fn finish(self) -> Result<Option<Owned>, Fault> {
        Ok(match self {
            Self::Small { fields, .. } if fields.len == 0 => None,
            Self::Small {
                fields,
                with_deadlines,
                earliest,
                ..
            } => {
                let hash = Hash::of_rows(fields.flat, with_deadlines.then_some(earliest))?;
                Some(Owned::collection(hash))
            }
            Self::Large(hash) if hash.is_empty() => None,
            Self::Large(hash) => Some(Owned::collection(hash)),
        })
    }
}
