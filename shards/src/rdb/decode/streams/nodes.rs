//! The entries of a node, in a listpack.
//!
//! ```text
//! live  deleted  count  name × count  0 │ entry │ entry │ …
//! entry: flags  ms  seq  value × count                        count + 3
//!    or: flags  ms  seq  fields  (name  value) × fields   2 × fields + 4
//! ```
//!
//! The last number is how many elements precede it in the entry. `ms` and `seq` are
//! counted from the key of the node.

use crate::counted;
use crate::number::parse_i64;
use crate::rdb::decode::WORK_BYTES;
use crate::rdb::decode::packed::Row;
use crate::rdb::format::entry::{DELETED, SAME_FIELDS};
use crate::rdb::reader::Fault;
use crate::value::Element;
use crate::value::stream::{Entries, NodeLimits, StreamId, pairs};

const BAD_NODE: Fault = Fault::Corrupt("a node of a stream contradicts itself");

/// Texts one behind the other.
#[derive(Debug, Default)]
struct Texts {
    bytes: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Texts {
    fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    fn push(&mut self, element: Element<'_>) -> Result<(), Fault> {
        element.with_bytes(|text| {
            let room = self.bytes.try_reserve(text.len());
            let room = room.and_then(|()| self.ends.try_reserve(1));
            room.map_err(|_| Fault::OutOfMemory)?;
            self.bytes.extend_from_slice(text);
            self.ends.push(self.bytes.len());
            Ok(())
        })
    }

    fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> + Clone {
        (0..self.ends.len()).map(|nth| {
            let start = nth.checked_sub(1).and_then(|before| self.ends.get(before));
            let range = start.copied().unwrap_or(0)..self.ends.get(nth).copied().unwrap_or(0);
            self.bytes.get(range).unwrap_or_default()
        })
    }
}

/// A node that is being gone through; its text is shown to every step.
#[derive(Debug)]
pub struct Node {
    key: StreamId,
    row: Row,
    names: Texts,
    /// What an entry has beside these.
    words: Texts,
    /// Entries still to come, that live and that do not.
    live: i64,
    deleted: i64,
}

impl Node {
    /// Reads what precedes the entries.
    pub fn open(text: &[u8], key: StreamId) -> Result<Self, Fault> {
        let mut row = Row::open(text)?;
        let (live, deleted) = (number(&mut row, text)?, number(&mut row, text)?);
        let count = number(&mut row, text)?;
        if live < 0 || deleted < 0 || count < 0 {
            return Err(BAD_NODE);
        }
        let mut names = Texts::default();
        for _ in 0..count {
            names.push(row.next(text)?)?;
        }
        if number(&mut row, text)? != 0 {
            return Err(BAD_NODE);
        }
        Ok(Self {
            key,
            row,
            names,
            words: Texts::default(),
            live,
            deleted,
        })
    }

    pub fn at(&self) -> usize {
        self.row.at()
    }

    /// Goes on by about so many entries; whether there are more.
    pub fn go_on(
        &mut self,
        text: &[u8],
        entries: &mut Entries,
        limits: NodeLimits,
        budget: &mut usize,
    ) -> Result<bool, Fault> {
        while self.row.has_more(text)? {
            let before = self.row.at();
            self.entry(text, entries, limits)?;
            let passed = self.row.at().saturating_sub(before);
            counted::elements(1);
            counted::copied(passed);
            let cost = passed.div_euclid(WORK_BYTES).saturating_add(1);
            *budget = budget.saturating_sub(cost);
            if *budget == 0 {
                return Ok(true);
            }
        }
        match (self.live, self.deleted) {
            (0, 0) => Ok(false),
            _ => Err(BAD_NODE),
        }
    }

    fn entry(
        &mut self,
        text: &[u8],
        entries: &mut Entries,
        limits: NodeLimits,
    ) -> Result<(), Fault> {
        let row = &mut self.row;
        let start = row.seen();
        let flags = number(row, text)?;
        // Both may be differences of unsigned numbers.
        let ms = self.key.ms.wrapping_add_signed(number(row, text)?);
        let seq = self.key.seq.wrapping_add_signed(number(row, text)?);
        let shares = flags & SAME_FIELDS != 0;
        let words = match shares {
            true => self.names.ends.len() as u64,
            false => {
                let fields = u64::try_from(number(row, text)?).map_err(|_| BAD_NODE)?;
                fields.checked_mul(2).ok_or(BAD_NODE)?
            }
        };
        self.words.clear();
        for _ in 0..words {
            self.words.push(row.next(text)?)?;
        }
        let passed = row.seen().saturating_sub(start);
        if u64::try_from(number(row, text)?) != Ok(passed) {
            return Err(BAD_NODE);
        }
        let left = match flags & DELETED {
            0 => &mut self.live,
            _ => &mut self.deleted,
        };
        *left = left
            .checked_sub(1)
            .filter(|left| *left >= 0)
            .ok_or(BAD_NODE)?;
        if flags & DELETED != 0 {
            return Ok(());
        }
        let id = StreamId::new(ms, seq);
        if id <= entries.last_id() {
            return Err(Fault::Corrupt("the entries of a stream are not in order"));
        }
        match shares {
            true => entries.append(id, self.names.iter().zip(self.words.iter()), limits)?,
            false => entries.append(id, pairs(self.words.iter()), limits)?,
        }
        Ok(())
    }
}

/// The next element, which must be a number.
fn number(row: &mut Row, text: &[u8]) -> Result<i64, Fault> {
    if !row.has_more(text)? {
        return Err(BAD_NODE);
    }
    match row.next(text)? {
        Element::Int(number) => Ok(number),
        Element::Bytes(text) => parse_i64(text).ok_or(BAD_NODE),
    }
}
