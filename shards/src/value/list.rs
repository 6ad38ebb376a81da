//! Lists.
//!
//! A short one is a listpack; one that is longer than `list-max-listpack-size`
//! says is a quicklist, until half of that is enough for it.

use super::listpack::{self, At, Element, Listpack, Wanted};
use super::quicklist::{Elements, Quicklist, first_of_last};
use super::{Collection, Encoding, Type, Value, copy};
use crate::error::OutOfMemory;

pub use super::quicklist::{End, Purge};

/// Up to where a list is a listpack: `list-max-listpack-size`.
#[derive(Clone, Copy, Debug)]
pub struct Limit(pub i64);

/// Bytes of a listpack in Redis beside those we keep: its length, and its end.
const UNKEPT: usize = 5;

/// Even if only a number of elements is told, a listpack is no larger (bytes).
const SAFE_BYTES: usize = 8192;

impl Limit {
    /// Bytes and elements.
    fn limits(self) -> (usize, usize) {
        match usize::try_from(self.0) {
            Ok(count) => (SAFE_BYTES, count.max(1)),
            Err(_) => {
                // -1 to -5; what is below means the last.
                let level = self.0.unsigned_abs().min(5) - 1;
                (4096 << level, usize::MAX)
            }
        }
    }

    fn allows(self, bytes: usize, count: usize) -> bool {
        let (bytes_max, count_max) = self.limits();
        bytes.saturating_add(UNKEPT) <= bytes_max && count <= count_max
    }

    /// Whether a quicklist is so short that it becomes a listpack again.
    fn wants_back(self, list: &Quicklist) -> bool {
        let (bytes_max, count_max) = self.limits();
        if count_max == usize::MAX {
            return list.fits_into(bytes_max / 2 - UNKEPT);
        }
        list.len() <= count_max / 2 && list.fits_into(bytes_max - UNKEPT)
    }
}

/// A list that can be changed.
#[derive(Debug)]
pub enum List {
    Listpack(Vec<u8>),
    Quicklist(Quicklist),
}

/// A list that is looked at.
#[derive(Clone, Copy, Debug)]
pub enum ListRef<'a> {
    Listpack(Listpack<'a>),
    Quicklist(&'a Quicklist),
}

impl PartialEq for ListRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl<'a> ListRef<'a> {
    /// Number of elements.
    pub fn len(self) -> usize {
        match self {
            Self::Listpack(list) => list.len(),
            Self::Quicklist(list) => list.len(),
        }
    }

    /// Element `index`.
    pub fn get(self, index: usize) -> Option<Element<'a>> {
        match self {
            Self::Listpack(list) => list.get(index),
            Self::Quicklist(list) => list.get(index),
        }
    }

    /// The element at an end.
    pub fn end(self, end: End) -> Option<Element<'a>> {
        match end {
            End::Front => self.get(0),
            End::Back => self.get(self.len().checked_sub(1)?),
        }
    }

    /// All elements.
    pub fn iter(self) -> Iter<'a> {
        match self {
            Self::Listpack(list) => Iter::Listpack(list.iter()),
            Self::Quicklist(list) => Iter::Quicklist(list.iter()),
        }
    }

    /// The elements from element `from` on.
    #[inline]
    pub fn iter_from(self, from: usize) -> Iter<'a> {
        match self {
            Self::Listpack(list) => Iter::Listpack(list.iter_from(from)),
            Self::Quicklist(list) => Iter::Quicklist(list.iter_from(from)),
        }
    }

    /// The elements but for the first so many from an end, from where they are to be
    /// gone through.
    pub fn iter_behind(self, end: End, count: usize) -> Iter<'a> {
        match (end, self) {
            (End::Front, _) => self.iter_from(count),
            (End::Back, _) if count == 0 => self.iter(),
            (End::Back, Self::Listpack(list)) => {
                Iter::Listpack(list.iter_until(list.len() - count))
            }
            (End::Back, Self::Quicklist(list)) => {
                Iter::Quicklist(list.iter_until(list.len() - count))
            }
        }
    }
}

/// See [`ListRef::iter`].
#[derive(Clone, Debug)]
pub enum Iter<'a> {
    Listpack(listpack::Iter<'a>),
    Quicklist(Elements<'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        match self {
            Self::Listpack(elements) => elements.next(),
            Self::Quicklist(elements) => elements.next(),
        }
    }
}

impl DoubleEndedIterator for Iter<'_> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        match self {
            Self::Listpack(elements) => elements.next_back(),
            Self::Quicklist(elements) => elements.next_back(),
        }
    }
}

impl List {
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// An empty one that is long whatever it holds.
    pub fn long() -> Self {
        Self::Quicklist(Quicklist::default())
    }

    /// Adds an element at the back, whatever the limit.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    pub fn append(&mut self, element: Element<'_>) -> Result<(), OutOfMemory> {
        match self {
            Self::Listpack(flat) => listpack::push_back(flat, element),
            Self::Quicklist(list) => list.push(End::Back, element),
        }
    }

    /// Turns it into a listpack if it could be one.
    ///
    /// # Errors
    /// There is no memory for that.
    pub fn fit(self, limit: Limit) -> Result<Self, OutOfMemory> {
        let (bytes_max, _) = limit.limits();
        match &self {
            Self::Quicklist(list)
                if list.fits_into(bytes_max - UNKEPT) && limit.allows(0, list.len()) =>
            {
                Ok(Self::Listpack(list.to_listpack()?))
            }
            _ => Ok(self),
        }
    }

    /// Whether so many elements in so many bytes may be a listpack.
    pub fn may_be_flat(limit: Limit, bytes: usize, count: usize) -> bool {
        limit.allows(bytes, count)
    }

    /// Turns it into a quicklist, if it may not be a listpack with so many
    /// elements and bytes more.
    fn prepare(&mut self, limit: Limit, count: usize, bytes: usize) -> Result<(), OutOfMemory> {
        if let Self::Listpack(flat) = self {
            let list = Listpack::new(flat);
            let now = flat.len().max(listpack::HEADER);
            if !limit.allows(now.saturating_add(bytes), list.len() + count) {
                *self = Self::Quicklist(Quicklist::from_listpack(list)?);
            }
        }
        Ok(())
    }

    /// Turns it into a listpack if it has become short.
    fn settle(&mut self, limit: Limit) {
        if let Self::Quicklist(list) = self
            && limit.wants_back(list)
            // Without the memory it stays as it is: that is right, too.
            && let Ok(flat) = list.to_listpack()
        {
            *self = Self::Listpack(flat);
        }
    }

    /// Adds elements at an end, one after the other.
    ///
    /// # Errors
    /// There is no memory for them; none is added.
    #[inline]
    pub fn push<'e>(
        &mut self,
        end: End,
        elements: impl ExactSizeIterator<Item = &'e [u8]> + Clone,
        limit: Limit,
    ) -> Result<(), OutOfMemory> {
        if let Self::Listpack(_) = self {
            let bytes = elements.clone().map(<[u8]>::len).sum();
            self.prepare(limit, elements.len(), bytes)?;
        }
        match (self, end) {
            (Self::Listpack(flat), End::Back) => listpack::append(flat, elements),
            (Self::Listpack(flat), End::Front) => listpack::prepend(flat, elements),
            (Self::Quicklist(list), _) => {
                for (pushed, element) in elements.enumerate() {
                    if let Err(error) = list.push(end, element.into()) {
                        list.drop_some(end, pushed);
                        return Err(error);
                    }
                }
                Ok(())
            }
        }
    }

    /// Removes up to `count` elements at an end and hands them to `look`, the
    /// outermost first.
    #[inline]
    pub fn pop(&mut self, end: End, count: usize, limit: Limit, mut look: impl FnMut(Element<'_>)) {
        match self {
            Self::Listpack(flat) => pop_flat(flat, end, count, look),
            Self::Quicklist(list) => {
                for _ in 0..count {
                    if !list.pop(end, &mut look) {
                        break;
                    }
                }
                self.settle(limit);
            }
        }
    }

    /// Keeps `count` elements from element `from` on. They are there. Returns
    /// parts that are too large to be freed on the spot.
    pub fn trim(&mut self, from: usize, count: usize, limit: Limit) -> Vec<Self> {
        let after = self.len() - from - count;
        match self {
            Self::Listpack(flat) => {
                if let Some(at) = Listpack::new(flat).at(from + count) {
                    listpack::remove(flat, at, after);
                }
                if let Some(at) = Listpack::new(flat).first() {
                    listpack::remove(flat, at, from);
                }
                Vec::new()
            }
            Self::Quicklist(list) => {
                let ends = [(End::Front, from), (End::Back, after)];
                let cut = ends.map(|(end, count)| list.cut(end, count));
                self.settle(limit);
                let cut = cut.into_iter().flatten().map(Self::Quicklist);
                cut.collect()
            }
        }
    }

    /// Puts an element in the place of element `index`, which is there.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    pub fn set(&mut self, index: usize, element: &[u8], limit: Limit) -> Result<(), OutOfMemory> {
        // As in Redis, what it replaces is not taken off.
        self.prepare(limit, 1, element.len())?;
        match self {
            Self::Listpack(flat) => {
                if let Some(at) = Listpack::new(flat).at(index) {
                    listpack::replace(flat, at, element)?;
                }
            }
            Self::Quicklist(list) => list.set(index, element.into())?,
        }
        self.settle(limit);
        Ok(())
    }

    /// Adds an element next to the first one that is `pivot`; whether there is
    /// one.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    pub fn insert(
        &mut self,
        pivot: &[u8],
        after: bool,
        element: &[u8],
        limit: Limit,
    ) -> Result<bool, OutOfMemory> {
        self.prepare(limit, 1, element.len())?;
        match self {
            Self::Listpack(flat) => {
                let Some(at) = Listpack::new(flat).find(pivot, 1) else {
                    return Ok(false);
                };
                if after {
                    listpack::insert_after(flat, at, element)?;
                } else {
                    listpack::insert_before(flat, at, element)?;
                }
                Ok(true)
            }
            Self::Quicklist(list) => list.insert(pivot, after, element.into()),
        }
    }

    /// Removes up to `count` elements that are `text`, looking from `end`, and
    /// returns how many.
    pub fn remove_equal(&mut self, text: &[u8], count: usize, end: End, limit: Limit) -> usize {
        let mut purge = Purge::new(end, count);
        match self {
            Self::Listpack(flat) => {
                let list = Listpack::new(flat);
                let from = match end {
                    End::Front => list.first(),
                    End::Back => first_of_last(list.entries(), Wanted::new(text), count),
                };
                from.map_or(0, |at| listpack::remove_equal(flat, at, text, count))
            }
            Self::Quicklist(_) => {
                self.remove_some_equal(text, &mut purge, usize::MAX, limit);
                purge.removed
            }
        }
    }

    /// Goes on with a removal by about `budget` elements; whether there is more to do.
    /// Only when it is over the list may be looked at. A listpack is none that takes
    /// long.
    pub fn remove_some_equal(
        &mut self,
        text: &[u8],
        purge: &mut Purge,
        budget: usize,
        limit: Limit,
    ) -> bool {
        let Self::Quicklist(list) = self else {
            return false;
        };
        let more = list.purge(purge, Wanted::new(text), budget);
        if !more && purge.removed > 0 {
            self.settle(limit);
        }
        more
    }

    /// Adds an element next to element `index`, which is there.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    pub fn insert_beside(
        &mut self,
        index: usize,
        after: bool,
        element: &[u8],
        limit: Limit,
    ) -> Result<(), OutOfMemory> {
        self.prepare(limit, 1, element.len())?;
        match self {
            Self::Listpack(flat) => match Listpack::new(flat).at(index) {
                Some(at) if after => listpack::insert_after(flat, at, element),
                Some(at) => listpack::insert_before(flat, at, element),
                None => Ok(()),
            },
            Self::Quicklist(list) => list.insert_beside(index, after, element.into()),
        }
    }
}

fn pop_flat(flat: &mut Vec<u8>, end: End, count: usize, mut look: impl FnMut(Element<'_>)) {
    let mut popped = 0;
    let mut at: Option<At> = None;
    let mut entries = Listpack::new(flat).entries();
    while popped < count {
        let next = match end {
            End::Front => entries.next(),
            End::Back => entries.next_back(),
        };
        let Some((place, element)) = next else { break };
        look(element);
        popped += 1;
        if end == End::Back || at.is_none() {
            at = Some(place);
        }
    }
    if let Some(at) = at {
        listpack::remove(flat, at, popped);
    }
}

impl Collection for List {
    const TYPE: Type = Type::List;

    type Ref<'a> = ListRef<'a>;

    fn from_flat(_encoding: Encoding, bytes: Vec<u8>) -> Self {
        Self::Listpack(bytes)
    }

    fn view_flat(_encoding: Encoding, bytes: &[u8]) -> ListRef<'_> {
        ListRef::Listpack(Listpack::new(bytes))
    }

    fn flat(&self) -> Option<&[u8]> {
        match self {
            Self::Listpack(bytes) => Some(bytes),
            Self::Quicklist(_) => None,
        }
    }

    fn flat_mut(&mut self) -> Option<&mut Vec<u8>> {
        match self {
            Self::Listpack(bytes) => Some(bytes),
            Self::Quicklist(_) => None,
        }
    }

    fn view(&self) -> ListRef<'_> {
        match self {
            Self::Listpack(bytes) => ListRef::Listpack(Listpack::new(bytes)),
            Self::Quicklist(list) => ListRef::Quicklist(list),
        }
    }

    fn encoding(&self) -> Encoding {
        match self {
            Self::Listpack(_) => Encoding::Listpack,
            Self::Quicklist(_) => Encoding::Quicklist,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Listpack(bytes) => Listpack::new(bytes).is_empty(),
            Self::Quicklist(list) => list.is_empty(),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Listpack(bytes) => bytes.capacity(),
            Self::Quicklist(list) => list.heap_bytes(),
        }
    }

    fn free_some(&mut self, budget: usize) -> bool {
        match self {
            Self::Listpack(bytes) => {
                *bytes = Vec::new();
                false
            }
            Self::Quicklist(list) => list.free_some(budget),
        }
    }

    fn try_clone(&self) -> Result<Self, OutOfMemory> {
        Ok(match self {
            Self::Listpack(bytes) => Self::Listpack(copy(bytes)?),
            Self::Quicklist(list) => Self::Quicklist(list.try_clone()?),
        })
    }

    fn into_value(self) -> Value {
        Value::List(self)
    }

    fn of(value: &Value) -> Option<&Self> {
        match value {
            Value::List(it) => Some(it),
            _ => None,
        }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        match value {
            Value::List(it) => Some(it),
            _ => None,
        }
    }
}
