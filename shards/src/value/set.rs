//! Sets.
//!
//! | encoding | while |
//! |---|---|
//! | intset | all members are integers, and few |
//! | listpack | members are few and short |
//! | hashtable | else; never back |
//!
//! Thresholds are the caller's, as is the seed of a table's hash.

use super::intset::{self, Intset};
use super::listpack::{self, Element, Listpack};
use super::table::{self, Record, Table, below};
use super::{Collection, Encoding, Type, Value, copy};
use crate::error::OutOfMemory;
use crate::number::parse_i64;
use crate::types::{Random, Thresholds};

/// What a set or a hash needs to know to grow.
#[derive(Clone, Copy)]
pub struct Growth<'a> {
    pub thresholds: &'a Thresholds,
    /// For a table's hash, should one be made.
    pub seed: u64,
}

/// A set that can be changed.
#[derive(Debug)]
pub enum Set {
    Intset(Vec<u8>),
    Listpack(Vec<u8>),
    Table(Box<Table>),
}

/// A set that is looked at.
#[derive(Clone, Copy, Debug)]
pub enum SetRef<'a> {
    Intset(Intset<'a>),
    Listpack(Listpack<'a>),
    Table(&'a Table),
}

/// How far a walk has come; see [`SetRef::walk`].
#[derive(Clone, Copy, Debug, Default)]
pub struct SetPlace {
    /// Members that were visited.
    pub visited: usize,
    pub(super) place: table::Cursor,
}

impl Set {
    /// An empty one.
    pub fn new() -> Self {
        Self::Listpack(Vec::new())
    }

    /// An empty one that is large whatever it holds.
    pub fn large(growth: &Growth<'_>) -> Result<Self, OutOfMemory> {
        Ok(Self::Table(Box::new(Table::new(false, growth.seed)?)))
    }

    /// One of these integers, which ascend, whatever the thresholds.
    pub fn of_integers(integers: &[i64]) -> Result<Self, OutOfMemory> {
        intset::of_sorted(integers).map(Self::Intset)
    }

    /// Says that `more` members are about to be added: if they are too many for
    /// the encoding, it is changed at once.
    pub fn expect(&mut self, more: usize, growth: &Growth<'_>) -> Result<(), OutOfMemory> {
        let thresholds = growth.thresholds;
        let fits = match self {
            Self::Intset(_) => more <= thresholds.set_max_intset_entries,
            // What an empty one becomes depends on the first member, too.
            Self::Listpack(bytes) if Listpack::new(bytes).is_empty() => {
                more <= thresholds.set_max_listpack_entries
                    || more <= thresholds.set_max_intset_entries
            }
            Self::Listpack(_) => more <= thresholds.set_max_listpack_entries,
            Self::Table(_) => true,
        };
        if fits {
            Ok(())
        } else {
            self.make_table(growth)
        }
    }

    /// Adds a member; whether it is new. When memory is lacking, it was not
    /// added.
    #[inline]
    pub fn add(&mut self, member: &[u8], growth: &Growth<'_>) -> Result<bool, OutOfMemory> {
        match self {
            Self::Table(table) => table.insert(&record(member)),
            Self::Intset(_) | Self::Listpack(_) => self.add_to_flat(member, growth),
        }
    }

    fn add_to_flat(&mut self, member: &[u8], growth: &Growth<'_>) -> Result<bool, OutOfMemory> {
        match self {
            Self::Table(_) => self.add(member, growth),
            Self::Intset(bytes) => match parse_i64(member) {
                Some(number) => {
                    let new = intset::insert(bytes, number)?;
                    // Only then: a threshold that was lowered says nothing yet.
                    if new
                        && Intset::new(bytes).len() > growth.thresholds.set_max_intset_entries
                        && let Err(error) = self.make_table(growth)
                    {
                        self.remove(member);
                        return Err(error);
                    }
                    Ok(new)
                }
                None => {
                    self.leave_intset(member, growth)?;
                    self.add(member, growth)
                }
            },
            Self::Listpack(bytes) => self::add_to_listpack(bytes, member, growth)?
                .map_or_else(|| self.add_otherwise(member, growth), Ok),
        }
    }

    /// Adds a member that the listpack did not take.
    fn add_otherwise(&mut self, member: &[u8], growth: &Growth<'_>) -> Result<bool, OutOfMemory> {
        let number = parse_i64(member).filter(|_| growth.thresholds.set_max_intset_entries > 0);
        if self.is_empty()
            && let (Some(number), Self::Listpack(bytes)) = (number, &mut *self)
        {
            let mut bytes = std::mem::take(bytes);
            bytes.clear();
            intset::insert(&mut bytes, number)?;
            *self = Self::Intset(bytes);
            return Ok(true);
        }
        self.make_table(growth)?;
        self.add(member, growth)
    }

    /// Leaves the encoding intset, to add a member that is no integer.
    fn leave_intset(&mut self, member: &[u8], growth: &Growth<'_>) -> Result<(), OutOfMemory> {
        let view = self.view();
        let longest = view.ends().map(|end| end.len_bytes()).max().unwrap_or(0);
        let thresholds = growth.thresholds;
        if view.len() < thresholds.set_max_listpack_entries
            && longest.max(member.len()) <= thresholds.set_max_listpack_value
        {
            let mut bytes = Vec::new();
            listpack::append(
                &mut bytes,
                Intset::new(self.flat().unwrap_or_default()).iter(),
            )?;
            *self = Self::Listpack(bytes);
            return Ok(());
        }
        self.make_table(growth)
    }

    fn make_table(&mut self, growth: &Growth<'_>) -> Result<(), OutOfMemory> {
        let mut table = Table::new(false, growth.seed)?;
        for member in self.view().iter() {
            member.with_bytes(|member| table.insert(&record(member)))?;
        }
        *self = Self::Table(Box::new(table));
        Ok(())
    }

    /// Removes a member; whether it was there.
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self {
            Self::Intset(bytes) => {
                parse_i64(member).is_some_and(|number| intset::remove(bytes, number))
            }
            Self::Listpack(bytes) => {
                let found = Listpack::new(bytes).find(member, 1);
                if let Some(at) = found {
                    listpack::remove(bytes, at, 1);
                }
                found.is_some()
            }
            Self::Table(table) => table.remove(member),
        }
    }
}

impl Default for Set {
    fn default() -> Self {
        Self::new()
    }
}

fn record(member: &[u8]) -> Record<'_> {
    Record {
        key: member,
        value: b"",
        expire_at: None,
    }
}

/// Whether the member is new; nothing if it does not belong into a listpack, or
/// not into this one.
fn add_to_listpack(
    bytes: &mut Vec<u8>,
    member: &[u8],
    growth: &Growth<'_>,
) -> Result<Option<bool>, OutOfMemory> {
    let listpack = Listpack::new(bytes);
    let thresholds = growth.thresholds;
    if listpack.is_empty() {
        if parse_i64(member).is_some() && thresholds.set_max_intset_entries > 0 {
            return Ok(None);
        }
    } else if listpack.find(member, 1).is_some() {
        return Ok(Some(false));
    }
    if listpack.len() >= thresholds.set_max_listpack_entries
        || member.len() > thresholds.set_max_listpack_value
    {
        return Ok(None);
    }
    listpack::push_back(bytes, member)?;
    Ok(Some(true))
}

impl<'a> SetRef<'a> {
    pub fn len(self) -> usize {
        match self {
            Self::Intset(set) => set.len(),
            Self::Listpack(set) => set.len(),
            Self::Table(set) => set.len(),
        }
    }

    /// Parts that it has been split into as it grew.
    pub fn segments(self) -> usize {
        match self {
            Self::Table(table) => table.segments(),
            _ => 0,
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    pub fn encoding(self) -> Encoding {
        match self {
            Self::Intset(_) => Encoding::Intset,
            Self::Listpack(_) => Encoding::Listpack,
            Self::Table(_) => Encoding::Hashtable,
        }
    }

    #[inline]
    pub fn contains(self, member: &[u8]) -> bool {
        match self {
            Self::Intset(set) => parse_i64(member).is_some_and(|number| set.contains(number)),
            Self::Listpack(set) => set.find(member, 1).is_some(),
            Self::Table(set) => set.get(member).is_some(),
        }
    }

    /// All members, in whatever order; an intset's ascending.
    pub fn iter(self) -> impl Iterator<Item = Element<'a>> {
        self.iter_from(0)
    }

    /// What [`SetRef::iter`] has behind so many members.
    pub fn iter_from(self, index: usize) -> impl Iterator<Item = Element<'a>> {
        let (mut integers, mut elements, mut records) = (None, None, None);
        match self {
            Self::Intset(set) => integers = Some(set.iter().skip(index).map(Element::Int)),
            Self::Listpack(set) => elements = Some(set.iter_from(index)),
            Self::Table(set) => {
                records = Some(set.iter_from(index).map(|it| Element::Bytes(it.key)));
            }
        }
        let flat = integers.into_iter().flatten();
        flat.chain(elements.into_iter().flatten())
            .chain(records.into_iter().flatten())
    }

    /// Visits up to `count` members from a place on, in the order of [`SetRef::iter`],
    /// until `visit` fails. Meanwhile the set must not change.
    pub fn walk<E>(
        self,
        at: &mut SetPlace,
        count: usize,
        mut visit: impl FnMut(Element<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let some = count.min(self.len().saturating_sub(at.visited));
        match self {
            Self::Table(table) => {
                table.walk(&mut at.place, some, |it| visit(Element::Bytes(it.key)))?;
            }
            _ => self.iter_from(at.visited).take(some).try_for_each(visit)?,
        }
        at.visited += some;
        Ok(())
    }

    /// One of the members, each with the same chance. There must be one.
    pub fn choose(self, random: &mut Random) -> Element<'a> {
        let chosen = match self {
            Self::Intset(set) => set.get(below(random, set.len())).map(Element::Int),
            Self::Listpack(set) => set.get(below(random, set.len())),
            Self::Table(set) => Some(Element::Bytes(set.choose(random).key)),
        };
        chosen.expect("the set is not empty")
    }

    /// Visits some members; see [`Table::scan`]. Small sets are visited whole.
    pub fn scan(self, cursor: u64, budget: usize, visit: &mut dyn FnMut(Element<'_>)) -> u64 {
        if let Self::Table(table) = self {
            return table.scan(cursor, budget, &mut |it| visit(Element::Bytes(it.key)));
        }
        self.iter().for_each(visit);
        0
    }

    /// The smallest and the largest number of an intset.
    fn ends(self) -> impl Iterator<Item = Element<'a>> {
        let ends = match self {
            Self::Intset(set) => [set.get(0), set.get(set.len().wrapping_sub(1))],
            Self::Listpack(_) | Self::Table(_) => [None, None],
        };
        ends.into_iter().flatten().map(Element::Int)
    }
}

impl PartialEq for SetRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        let mut members = self.iter();
        self.len() == other.len()
            && members.all(|member| member.with_bytes(|member| other.contains(member)))
    }
}

impl Collection for Set {
    const TYPE: Type = Type::Set;

    type Ref<'a> = SetRef<'a>;

    fn from_flat(encoding: Encoding, bytes: Vec<u8>) -> Self {
        match encoding {
            Encoding::Intset => Self::Intset(bytes),
            _ => Self::Listpack(bytes),
        }
    }

    fn view_flat(encoding: Encoding, bytes: &[u8]) -> SetRef<'_> {
        match encoding {
            Encoding::Intset => SetRef::Intset(Intset::new(bytes)),
            _ => SetRef::Listpack(Listpack::new(bytes)),
        }
    }

    fn flat(&self) -> Option<&[u8]> {
        match self {
            Self::Intset(bytes) | Self::Listpack(bytes) => Some(bytes),
            Self::Table(_) => None,
        }
    }

    fn flat_mut(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Intset(bytes) | Self::Listpack(bytes) => Some(bytes),
            Self::Table(_) => None,
        }
    }

    fn view(&self) -> SetRef<'_> {
        match self {
            Self::Intset(bytes) => SetRef::Intset(Intset::new(bytes)),
            Self::Listpack(bytes) => SetRef::Listpack(Listpack::new(bytes)),
            Self::Table(table) => SetRef::Table(table),
        }
    }

    fn encoding(&self) -> Encoding {
        self.view().encoding()
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Intset(bytes) => Intset::new(bytes).is_empty(),
            Self::Listpack(bytes) => Listpack::new(bytes).is_empty(),
            Self::Table(table) => table.len() == 0,
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Intset(bytes) | Self::Listpack(bytes) => bytes.capacity(),
            Self::Table(table) => table.heap_bytes(),
        }
    }

    fn free_some(&mut self, budget: usize) -> bool {
        match self {
            Self::Intset(bytes) | Self::Listpack(bytes) => {
                *bytes = Vec::new();
                false
            }
            Self::Table(table) => table.free_some(budget),
        }
    }

    fn try_clone(&self) -> Result<Self, OutOfMemory> {
        Ok(match self {
            Self::Intset(bytes) => Self::Intset(copy(bytes)?),
            Self::Listpack(bytes) => Self::Listpack(copy(bytes)?),
            Self::Table(table) => Self::Table(Box::new(table.try_clone()?)),
        })
    }

    fn into_value(self) -> Value {
        Value::Set(self)
    }

    fn of(value: &Value) -> Option<&Self> {
        match value {
            Value::Set(it) => Some(it),
            _ => None,
        }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        match value {
            Value::Set(it) => Some(it),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Settings;
    use std::collections::BTreeSet;

    fn thresholds(intset: usize, listpack: usize, value: usize) -> Thresholds {
        let mut thresholds = Settings::default().encodings;
        thresholds.set_max_intset_entries = intset;
        thresholds.set_max_listpack_entries = listpack;
        thresholds.set_max_listpack_value = value;
        thresholds
    }

    fn made_of(thresholds: &Thresholds, members: &[&str]) -> Set {
        let growth = Growth {
            thresholds,
            seed: 1,
        };
        let mut set = Set::new();
        for member in members {
            set.add(member.as_bytes(), &growth).unwrap();
        }
        set
    }

    #[test]
    fn encodings_change_as_in_redis() {
        let limits = thresholds(3, 4, 8);
        for (members, encoding) in [
            (&["1", "2", "3"][..], Encoding::Intset),
            (&["1", "2", "2", "3", "4"], Encoding::Hashtable),
            (&["1", "2", "x"], Encoding::Listpack),
            (&["1", "123456789", "x"], Encoding::Hashtable),
            (&["1", "x", "123456789"], Encoding::Hashtable),
            (&["x", "1", "2", "3"], Encoding::Listpack),
            (&["a", "b", "c", "d", "a"], Encoding::Listpack),
            (&["a", "b", "c", "d", "e"], Encoding::Hashtable),
            (&["a", "ninebytes"], Encoding::Hashtable),
            (&["01"], Encoding::Listpack),
        ] {
            assert_eq!(
                made_of(&limits, members).encoding(),
                encoding,
                "{members:?}"
            );
        }
        let none = thresholds(0, 4, 8);
        assert_eq!(made_of(&none, &["1", "2"]).encoding(), Encoding::Listpack);
        let mut set = Set::new();
        let growth = Growth {
            thresholds: &limits,
            seed: 1,
        };
        set.expect(4, &growth).unwrap();
        assert_eq!(set.encoding(), Encoding::Listpack);
        set.expect(5, &growth).unwrap();
        assert_eq!(set.encoding(), Encoding::Hashtable);
    }

    #[test]
    fn agrees_with_a_set_in_every_encoding() {
        let cases = [
            (thresholds(1000, 1000, 64), Encoding::Intset),
            (thresholds(0, 1000, 64), Encoding::Listpack),
            (thresholds(0, 0, 64), Encoding::Hashtable),
        ];
        for (thresholds, encoding) in cases {
            let growth = Growth {
                thresholds: &thresholds,
                seed: 5,
            };
            let (mut set, mut twin) = (Set::new(), BTreeSet::new());
            let mut random = Random::new(3);
            for _ in 0..2_000 {
                let member = (below(&mut random, 200) as i64 - 50).to_string();
                let bytes = member.as_bytes();
                if below(&mut random, 3) > 0 {
                    assert_eq!(set.add(bytes, &growth).unwrap(), twin.insert(member));
                } else {
                    assert_eq!(set.remove(bytes), twin.remove(&member));
                }
                assert_eq!(set.is_empty(), twin.is_empty());
                let view = set.view();
                if !twin.is_empty() {
                    assert_eq!(view.encoding(), encoding);
                    let chosen = view.choose(&mut random);
                    assert!(chosen.with_bytes(|it| view.contains(it)));
                }
            }
            let text = |it: Element<'_>| it.with_bytes(|it| String::from_utf8(it.into()).unwrap());
            assert_eq!(set.view().iter().map(text).collect::<BTreeSet<_>>(), twin);
            let (mut walked, mut place) = (Vec::new(), SetPlace::default());
            while place.visited < set.view().len() {
                let walk = set.view().walk(&mut place, 7, |it| {
                    walked.push(text(it));
                    Ok::<_, ()>(())
                });
                walk.unwrap();
            }
            assert_eq!(walked, set.view().iter().map(text).collect::<Vec<_>>());
            let mut met = BTreeSet::new();
            let mut cursor = 0;
            loop {
                cursor = set
                    .view()
                    .scan(cursor, 10, &mut |it| met.extend([text(it)]));
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(met, twin);
            assert_eq!(set.try_clone().unwrap().view(), set.view());
        }
    }
}
