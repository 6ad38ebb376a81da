//! Hashes.
//!
//! | encoding | while | kept as |
//! |---|---|---|
//! | listpack | fields are few and short | field, value, field, value … |
//! | listpackex | the same, and fields have had deadlines | field, value, deadline (0: none) …, then the earliest deadline (8 bytes) |
//! | hashtable | else; never back | a table |
//!
//! A field whose deadline has passed stays until [`Hash::expire`] meets it;
//! those who look judge it by the time they are given. The earliest deadline is
//! a lower bound.

use super::listpack::{self, At, Element, Listpack};
use super::set::{Growth, SetPlace};
use super::table::{Record, Table, below};
use super::{Collection, Encoding, Type, Value, copy};
use crate::error::OutOfMemory;
use crate::types::{Random, UnixMs};

/// Bytes of the earliest deadline at the end of a listpackex.
const TAIL: usize = 8;
/// The earliest deadline where there is none.
const NEVER: i64 = i64::MAX;

/// A hash that can be changed.
#[derive(Debug)]
pub enum Hash {
    Listpack(Vec<u8>),
    ListpackEx(Vec<u8>),
    Table(Box<Table>),
}

/// A hash that is looked at.
#[derive(Clone, Copy, Debug)]
pub enum HashRef<'a> {
    Listpack(Listpack<'a>),
    /// The listpack without the tail, and the earliest deadline.
    ListpackEx(Listpack<'a>, i64),
    Table(&'a Table),
}

/// A field of a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub name: Element<'a>,
    pub value: Element<'a>,
    pub expire_at: Option<UnixMs>,
}

impl Field<'_> {
    /// Whether its time has come.
    pub fn is_due(&self, now: UnixMs) -> bool {
        self.expire_at.is_some_and(|at| at <= now)
    }
}

/// What becomes of a field's deadline when its value is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldTtl {
    Keep,
    Clear,
    At(UnixMs),
}

impl Hash {
    /// An empty one.
    pub fn new() -> Self {
        Self::Listpack(Vec::new())
    }

    /// One in a listpack, of fields and values by turns, or with deadlines (0: none)
    /// behind them, if the earliest of these (`Some(None)`: there is none) is told. Each
    /// field stands there once.
    ///
    /// # Errors
    /// There is no memory.
    pub fn of_rows(
        mut rows: Vec<u8>,
        deadlines: Option<Option<UnixMs>>,
    ) -> Result<Self, OutOfMemory> {
        let Some(earliest) = deadlines else {
            return Ok(Self::Listpack(rows));
        };
        rows.try_reserve_exact(TAIL)?;
        put_tail(&mut rows, earliest.map_or(NEVER, |at| at.0));
        Ok(Self::ListpackEx(rows))
    }

    /// Leaves the listpack, whatever the thresholds.
    ///
    /// # Errors
    /// There is no memory; nothing has changed.
    pub fn enlarge(&mut self, growth: &Growth<'_>) -> Result<(), OutOfMemory> {
        match self {
            Self::Table(_) => Ok(()),
            Self::Listpack(_) | Self::ListpackEx(_) => self.make_table(growth),
        }
    }

    /// Says that fields are about to be set: `more` of them, the longest field
    /// or value of `longest` bytes. If that is too much for the encoding, it is
    /// changed at once.
    pub fn expect(
        &mut self,
        more: usize,
        longest: usize,
        growth: &Growth<'_>,
    ) -> Result<(), OutOfMemory> {
        let thresholds = growth.thresholds;
        let fits = more <= thresholds.hash_max_listpack_entries
            && longest <= thresholds.hash_max_listpack_value;
        if fits || matches!(self, Self::Table(_)) {
            return Ok(());
        }
        self.make_table(growth)
    }

    /// Sets a field; whether it is new. When memory is lacking, it is as it was.
    pub fn set(
        &mut self,
        name: &[u8],
        value: &[u8],
        ttl: FieldTtl,
        growth: &Growth<'_>,
    ) -> Result<bool, OutOfMemory> {
        self.expect(0, name.len().max(value.len()), growth)?;
        if let FieldTtl::At(_) = ttl {
            self.make_room_for_deadlines()?;
        }
        let new = match self {
            Self::Table(table) => {
                let expire_at = match ttl {
                    FieldTtl::Keep => table.get(name).and_then(|it| it.expire_at),
                    FieldTtl::Clear => None,
                    FieldTtl::At(at) => Some(at),
                };
                return table.insert(&Record {
                    key: name,
                    value,
                    expire_at,
                });
            }
            Self::Listpack(bytes) => match Listpack::new(bytes).find(name, 2) {
                Some(at) => {
                    replace_after(bytes, at, value)?;
                    false
                }
                None => {
                    listpack::append(bytes, [name, value].into_iter())?;
                    true
                }
            },
            Self::ListpackEx(bytes) => set_ex(bytes, name, value, ttl)?,
        };
        // Also when none was added: the threshold may have been lowered.
        if self.len() > growth.thresholds.hash_max_listpack_entries
            && let Err(error) = self.make_table(growth)
            && new
        {
            self.remove(name);
            return Err(error);
        }
        Ok(new)
    }

    /// Gives a field that is there a deadline, or none. When memory is lacking,
    /// it is as it was.
    pub fn set_deadline(&mut self, name: &[u8], at: Option<UnixMs>) -> Result<(), OutOfMemory> {
        if at.is_some() {
            self.make_room_for_deadlines()?;
        }
        match self {
            Self::Table(table) => table.set_deadline(name, at)?,
            Self::Listpack(_) => {}
            Self::ListpackEx(bytes) => {
                bytes.try_reserve(TAIL)?;
                let earliest = cut_tail(bytes);
                let result = match Listpack::new(bytes).find(name, 3) {
                    Some(field) => replace_deadline(bytes, field, at),
                    None => Ok(()),
                };
                let bound = at.filter(|_| result.is_ok()).map_or(NEVER, |at| at.0);
                put_tail(bytes, earliest.min(bound));
                result?;
            }
        }
        Ok(())
    }

    /// Removes a field; whether it was there.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        match self {
            Self::Listpack(bytes) => remove_row(bytes, name, 2),
            Self::ListpackEx(bytes) => {
                let earliest = cut_tail(bytes);
                let removed = remove_row(bytes, name, 3);
                put_tail(bytes, earliest);
                removed
            }
            Self::Table(table) => table.remove(name),
        }
    }

    /// Removes fields that are due at `now`, after showing their names to
    /// `gone`, until about `budget` were looked at; whether more may be due.
    pub fn expire(&mut self, now: UnixMs, budget: usize, gone: &mut dyn FnMut(&[u8])) -> bool {
        match self {
            Self::Listpack(_) => false,
            Self::Table(table) => table.expire(now, budget, gone),
            Self::ListpackEx(bytes) => {
                cut_tail(bytes);
                let mut earliest = NEVER;
                let mut at = Listpack::new(bytes).first();
                while let Some(start) = at {
                    let listpack = Listpack::new(bytes);
                    let field = row(listpack, start, 3);
                    let last = listpack.next(start).and_then(|it| listpack.next(it));
                    if field.is_due(now) {
                        field.name.with_bytes(&mut *gone);
                        listpack::remove(bytes, start, 3);
                        // What came behind begins here now, if anything did.
                        let mut rest = Listpack::new(bytes).entries_from(start);
                        at = rest.next().map(|(at, _)| at);
                    } else {
                        earliest = earliest.min(field.expire_at.map_or(NEVER, |at| at.0));
                        at = last.and_then(|last| listpack.next(last));
                    }
                }
                put_tail(bytes, earliest);
                false
            }
        }
    }

    fn len(&self) -> usize {
        self.view().len()
    }

    /// Leaves the encoding listpack, which has no deadlines.
    fn make_room_for_deadlines(&mut self) -> Result<(), OutOfMemory> {
        let Self::Listpack(_) = self else {
            return Ok(());
        };
        let mut bytes = Vec::new();
        for field in self.view().iter() {
            listpack::append(
                &mut bytes,
                [field.name, field.value, Element::Int(0)].into_iter(),
            )?;
        }
        bytes.try_reserve(TAIL)?;
        put_tail(&mut bytes, NEVER);
        *self = Self::ListpackEx(bytes);
        Ok(())
    }

    fn make_table(&mut self, growth: &Growth<'_>) -> Result<(), OutOfMemory> {
        let mut table = Table::new(true, growth.seed)?;
        let (mut name, mut value) = (itoa::Buffer::new(), itoa::Buffer::new());
        for field in self.view().iter() {
            table.insert(&Record {
                key: field.name.to_bytes(&mut name),
                value: field.value.to_bytes(&mut value),
                expire_at: field.expire_at,
            })?;
        }
        *self = Self::Table(Box::new(table));
        Ok(())
    }
}

impl Default for Hash {
    fn default() -> Self {
        Self::new()
    }
}

/// The earliest deadline of a listpackex, which loses its tail.
fn cut_tail(bytes: &mut Vec<u8>) -> i64 {
    let (rest, earliest) = split_tail(bytes);
    let len = rest.len();
    bytes.truncate(len);
    earliest
}

/// The tail is never missing but in an empty hash that has just been made.
fn split_tail(bytes: &[u8]) -> (&[u8], i64) {
    match bytes.split_last_chunk::<TAIL>() {
        Some((rest, tail)) => (rest, i64::from_le_bytes(*tail)),
        None => (&[], NEVER),
    }
}

/// There is room: it was reserved, or held a tail before.
fn put_tail(bytes: &mut Vec<u8>, earliest: i64) {
    bytes.extend_from_slice(&earliest.to_le_bytes());
}

/// Puts another value behind the field at `at`.
fn replace_after(bytes: &mut Vec<u8>, at: At, value: &[u8]) -> Result<(), OutOfMemory> {
    let at = Listpack::new(bytes).next(at);
    listpack::replace(bytes, at.expect("a value follows a field"), value)
}

fn replace_deadline(bytes: &mut Vec<u8>, field: At, at: Option<UnixMs>) -> Result<(), OutOfMemory> {
    let listpack = Listpack::new(bytes);
    let third = listpack.next(field).and_then(|value| listpack.next(value));
    let third = third.expect("a value and a deadline follow a field");
    listpack::replace(bytes, third, at.map_or(0, |at| at.0))
}

fn remove_row(bytes: &mut Vec<u8>, name: &[u8], step: usize) -> bool {
    let found = Listpack::new(bytes).find(name, step);
    if let Some(at) = found {
        listpack::remove(bytes, at, step);
    }
    found.is_some()
}

/// [`Hash::set`] in a listpackex.
fn set_ex(
    bytes: &mut Vec<u8>,
    name: &[u8],
    value: &[u8],
    ttl: FieldTtl,
) -> Result<bool, OutOfMemory> {
    /// An element besides its text, and a deadline with what it takes.
    const ROOM: usize = 3 * 16 + TAIL;
    // So that nothing below can fail half-way.
    bytes.try_reserve(name.len() + value.len() + ROOM)?;
    let earliest = cut_tail(bytes);
    let deadline = match ttl {
        FieldTtl::At(at) => Some(at),
        FieldTtl::Keep | FieldTtl::Clear => None,
    };
    let found = Listpack::new(bytes).find(name, 3);
    let result = match found {
        Some(at) => replace_after(bytes, at, value).and_then(|()| match ttl {
            FieldTtl::Keep => Ok(()),
            _ => replace_deadline(bytes, at, deadline),
        }),
        None => {
            let deadline = Element::Int(deadline.map_or(0, |at| at.0));
            let row = [name.into(), value.into(), deadline];
            listpack::append(bytes, row.into_iter())
        }
    };
    put_tail(bytes, earliest.min(deadline.map_or(NEVER, |at| at.0)));
    result.map(|()| found.is_none())
}

/// The field whose row of `step` elements begins at `at`.
fn row(listpack: Listpack<'_>, at: At, step: usize) -> Field<'_> {
    let mut elements = listpack.entries_from(at).map(|(_, element)| element);
    field(&mut elements, step).expect("a row has all its elements")
}

/// The next field of a listpack.
fn field<'a>(elements: &mut impl Iterator<Item = Element<'a>>, step: usize) -> Option<Field<'a>> {
    let (name, value) = (elements.next()?, elements.next()?);
    let expire_at = match step {
        3 => match elements.next()? {
            Element::Int(0) | Element::Bytes(_) => None,
            Element::Int(at) => Some(UnixMs(at)),
        },
        _ => None,
    };
    Some(Field {
        name,
        value,
        expire_at,
    })
}

impl<'a> HashRef<'a> {
    /// Number of fields, due ones included.
    pub fn len(self) -> usize {
        match self {
            Self::Listpack(hash) => hash.len() / 2,
            Self::ListpackEx(hash, _) => hash.len() / 3,
            Self::Table(hash) => hash.len(),
        }
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    pub fn encoding(self) -> Encoding {
        match self {
            Self::Listpack(_) => Encoding::Listpack,
            Self::ListpackEx(..) => Encoding::ListpackEx,
            Self::Table(_) => Encoding::Hashtable,
        }
    }

    /// A lower bound of the fields' deadlines; nothing if there are none.
    pub fn earliest(self) -> Option<UnixMs> {
        match self {
            Self::Listpack(_) => None,
            Self::ListpackEx(_, earliest) => (earliest != NEVER).then_some(UnixMs(earliest)),
            Self::Table(hash) => hash.earliest(),
        }
    }

    /// A field, due or not.
    pub fn find(self, name: &[u8]) -> Option<Field<'a>> {
        match self {
            Self::Listpack(hash) => Some(row(hash, hash.find(name, 2)?, 2)),
            Self::ListpackEx(hash, _) => Some(row(hash, hash.find(name, 3)?, 3)),
            Self::Table(hash) => hash.get(name).map(of_record),
        }
    }

    /// The value of a field that is there and not due.
    pub fn get(self, name: &[u8], now: UnixMs) -> Option<Element<'a>> {
        let field = self.find(name)?;
        (!field.is_due(now)).then_some(field.value)
    }

    /// All fields, due ones included, in whatever order.
    pub fn iter(self) -> impl Iterator<Item = Field<'a>> {
        self.iter_from(0)
    }

    /// What [`HashRef::iter`] has behind so many fields.
    pub fn iter_from(self, index: usize) -> impl Iterator<Item = Field<'a>> {
        let (mut rows, mut records) = (None, None);
        match self {
            Self::Listpack(hash) => rows = Some((hash.iter_from(index * 2), 2)),
            Self::ListpackEx(hash, _) => rows = Some((hash.iter_from(index * 3), 3)),
            Self::Table(hash) => records = Some(hash.iter_from(index).map(of_record)),
        }
        let rows = rows.into_iter().flat_map(|(mut elements, step)| {
            std::iter::from_fn(move || field(&mut elements, step))
        });
        rows.chain(records.into_iter().flatten())
    }

    /// As [`SetRef::walk`](super::SetRef::walk), of fields, due ones included.
    pub fn walk<E>(
        self,
        at: &mut SetPlace,
        count: usize,
        mut visit: impl FnMut(Field<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let some = count.min(self.len().saturating_sub(at.visited));
        match self {
            Self::Table(table) => table.walk(&mut at.place, some, |it| visit(of_record(it)))?,
            _ => self.iter_from(at.visited).take(some).try_for_each(visit)?,
        }
        at.visited += some;
        Ok(())
    }

    /// One of the fields, each with the same chance, due or not. There must be
    /// one.
    pub fn choose(self, random: &mut Random) -> Field<'a> {
        let (hash, step) = match self {
            Self::Listpack(hash) => (hash, 2),
            Self::ListpackEx(hash, _) => (hash, 3),
            Self::Table(hash) => return of_record(hash.choose(random)),
        };
        let at = hash.at(below(random, hash.len() / step) * step);
        row(hash, at.expect("the hash is not empty"), step)
    }

    /// Visits some fields, due ones included; see [`Table::scan`]. Small hashes
    /// are visited whole.
    pub fn scan(self, cursor: u64, budget: usize, visit: &mut dyn FnMut(Field<'_>)) -> u64 {
        if let Self::Table(table) = self {
            return table.scan(cursor, budget, &mut |it| visit(of_record(it)));
        }
        self.iter().for_each(visit);
        0
    }
}

fn of_record(record: Record<'_>) -> Field<'_> {
    Field {
        name: Element::Bytes(record.key),
        value: Element::Bytes(record.value),
        expire_at: record.expire_at,
    }
}

impl PartialEq for HashRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        let same = |field: Field<'_>| {
            let found = field.name.with_bytes(|name| other.find(name));
            found.is_some_and(|found| {
                found.expire_at == field.expire_at
                    && field.value.with_bytes(|value| found.value.eq_bytes(value))
            })
        };
        self.len() == other.len() && self.iter().all(same)
    }
}

impl Collection for Hash {
    const TYPE: Type = Type::Hash;

    type Ref<'a> = HashRef<'a>;

    fn from_flat(encoding: Encoding, bytes: Vec<u8>) -> Self {
        match encoding {
            Encoding::ListpackEx => Self::ListpackEx(bytes),
            _ => Self::Listpack(bytes),
        }
    }

    fn view_flat(encoding: Encoding, bytes: &[u8]) -> HashRef<'_> {
        match encoding {
            Encoding::ListpackEx => {
                let (bytes, earliest) = split_tail(bytes);
                HashRef::ListpackEx(Listpack::new(bytes), earliest)
            }
            _ => HashRef::Listpack(Listpack::new(bytes)),
        }
    }

    fn flat(&self) -> Option<&[u8]> {
        match self {
            Self::Listpack(bytes) | Self::ListpackEx(bytes) => Some(bytes),
            Self::Table(_) => None,
        }
    }

    fn flat_mut(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Listpack(bytes) | Self::ListpackEx(bytes) => Some(bytes),
            Self::Table(_) => None,
        }
    }

    fn view(&self) -> HashRef<'_> {
        match self {
            Self::Listpack(bytes) => HashRef::Listpack(Listpack::new(bytes)),
            Self::ListpackEx(bytes) => Self::view_flat(Encoding::ListpackEx, bytes),
            Self::Table(table) => HashRef::Table(table),
        }
    }

    fn encoding(&self) -> Encoding {
        self.view().encoding()
    }

    fn is_empty(&self) -> bool {
        match self.view() {
            HashRef::Listpack(hash) | HashRef::ListpackEx(hash, _) => hash.is_empty(),
            HashRef::Table(table) => table.len() == 0,
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Listpack(bytes) | Self::ListpackEx(bytes) => bytes.capacity(),
            Self::Table(table) => table.heap_bytes(),
        }
    }

    fn free_some(&mut self, budget: usize) -> bool {
        match self {
            Self::Listpack(bytes) | Self::ListpackEx(bytes) => {
                *bytes = Vec::new();
                false
            }
            Self::Table(table) => table.free_some(budget),
        }
    }

    fn try_clone(&self) -> Result<Self, OutOfMemory> {
        Ok(match self {
            Self::Listpack(bytes) => Self::Listpack(copy(bytes)?),
            Self::ListpackEx(bytes) => Self::ListpackEx(copy(bytes)?),
            Self::Table(table) => Self::Table(Box::new(table.try_clone()?)),
        })
    }

    fn into_value(self) -> Value {
        Value::Hash(self)
    }

    fn of(value: &Value) -> Option<&Self> {
        match value {
            Value::Hash(it) => Some(it),
            _ => None,
        }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        match value {
            Value::Hash(it) => Some(it),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
