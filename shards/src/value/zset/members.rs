//! The members of a large sorted set, each with its score, packed by length.
//!
//! ```text
//! page of members of length 5      id = page:20 room:12
//! ┌───────────┬───────┬───────────┬───────┬──
//! │ score (8) │ mem.. │ score (8) │ mem.. │ …
//! └───────────┴───────┴───────────┴───────┴──
//! ```
//!
//! All rooms of a page have one size, so a member needs no length beside it and
//! nothing is rounded up. A page grows to 32 KiB. Members too long for a room lie
//! alone, beside the rooms of their page.
//!
//! A page that has become sparse is left by its members, some with each removal:
//! whoever holds their ids is told the new ones. So is the last page when there are
//! few among many empty ones. What is held is thus never much more than what is
//! there.
//!
//! Invariants: the pages of a length that have room form a list, all but the one
//! that is being left; the free rooms of a page form a list within the rooms, and
//! have no number for a score. A page without a used room is *vacant*: it holds no
//! memory and is in no list; the last page is never vacant. Costs: all O(1).

use super::super::copy;
use crate::counted;
use crate::error::OutOfMemory;

/// No member has this id.
pub const NO_ID: u32 = u32::MAX;

/// A page grows up to this size, bytes.
const PAGE_BYTES: usize = 32 * 1024;

/// A room's number takes this many bits of an id.
const ROOM_BITS: u32 = 12;
const ROOMS_MAX: usize = 1 << ROOM_BITS;
const PAGES_MAX: usize = 1 << (32 - ROOM_BITS);

/// Longer members lie outside of their room.
const INSIDE_MAX: usize = 1000;

/// The class of members that lie outside.
const OUTSIDE: usize = INSIDE_MAX + 1;

const SCORE: usize = size_of::<f64>();

/// The score of a free room, whose lowest bits lead to the next one.
const FREE: u64 = f64::NAN.to_bits() & !(NO_ROOM as u64);

const NO_ROOM: u16 = u16::MAX;
const NO_PAGE: u32 = u32::MAX;

/// A page with fewer bytes may be as sparse as it likes.
const SPARSE_FROM: usize = 512;

/// So many rooms of a page that is being left are looked at in one go.
const LOOKED_AT: usize = 64;

/// Pages may be so many times those that are not vacant, and so many more.
const PAGES_FACTOR: usize = 4;
const PAGES_MORE: usize = 16;

#[derive(Debug)]
struct Page {
    rooms: Vec<u8>,
    /// Members too long for their rooms; empty in pages of others.
    long: Vec<Box<[u8]>>,
    /// Its neighbours among the pages of the class that have room.
    next: u32,
    prev: u32,
    class: u16,
    /// The first free room among those already made.
    free: u16,
    used: u16,
}

/// A page that its members leave.
#[derive(Clone, Copy, Debug)]
struct Leaving {
    page: u32,
    /// Rooms before this one are free.
    room: u16,
}

/// Members and their scores, by id.
#[derive(Debug, Default)]
pub struct Members {
    pages: Vec<Page>,
    /// Per class the first page that has room.
    open: Vec<u32>,
    /// Vacant pages, and a page before which there are none.
    vacant: usize,
    vacant_from: u32,
    leaving: Option<Leaving>,
    /// Bytes of rooms and of long members.
    heap_bytes: usize,
}

fn room_size(class: usize) -> usize {
    SCORE + if class == OUTSIDE { 0 } else { class }
}

fn rooms_in_page(class: usize) -> usize {
    (PAGE_BYTES / room_size(class)).min(ROOMS_MAX)
}

impl Page {
    #[inline]
    fn room(&self, room: usize) -> &[u8] {
        let size = room_size(usize::from(self.class));
        &self.rooms[room * size..(room + 1) * size]
    }

    #[inline]
    fn room_mut(&mut self, room: usize) -> &mut [u8] {
        let size = room_size(usize::from(self.class));
        &mut self.rooms[room * size..(room + 1) * size]
    }

    fn is_full(&self) -> bool {
        usize::from(self.used) == rooms_in_page(usize::from(self.class))
    }

    /// What becomes the number of bytes it holds.
    fn heap_bytes(&self) -> usize {
        self.rooms.capacity() + self.long.capacity() * size_of::<Box<[u8]>>()
    }

    /// A room for the taking; the page is not full. The bytes it takes more are added.
    #[inline]
    fn take(&mut self, heap_bytes: &mut usize) -> Result<usize, OutOfMemory> {
        if self.free == NO_ROOM {
            let size = room_size(usize::from(self.class));
            if self.rooms.capacity() - self.rooms.len() < size {
                let before = self.heap_bytes();
                let grown = self.grow();
                *heap_bytes += self.heap_bytes() - before;
                grown?;
            }
            let room = self.rooms.len() / size;
            self.rooms.resize(self.rooms.len() + size, 0);
            if usize::from(self.class) == OUTSIDE {
                self.long.push(Box::default());
            }
            self.used += 1;
            return Ok(room);
        }
        let room = usize::from(self.free);
        let next = &self.room(room)[..2];
        self.free = u16::from_le_bytes([next[0], next[1]]);
        self.used += 1;
        Ok(room)
    }

    /// Makes room for more at the end.
    #[cold]
    fn grow(&mut self) -> Result<(), OutOfMemory> {
        let class = usize::from(self.class);
        let size = room_size(class);
        let made = self.rooms.len() / size;
        let more = (made / 4).clamp(4, 256).min(rooms_in_page(class) - made);
        if class == OUTSIDE {
            self.long.try_reserve_exact(more)?;
        }
        Ok(self.rooms.try_reserve_exact(more * size)?)
    }

    fn put_back(&mut self, room: usize) {
        let free = FREE | u64::from(self.free);
        self.room_mut(room)[..SCORE].copy_from_slice(&free.to_le_bytes());
        // Lossless: below ROOMS_MAX.
        self.free = room as u16;
        self.used -= 1;
    }

    fn score(&self, room: usize) -> f64 {
        score_of(self.room(room))
    }

    /// Whether less than half of what it holds is in use.
    #[inline]
    fn is_sparse(&self) -> bool {
        let used = usize::from(self.used) * room_size(usize::from(self.class));
        self.rooms.len() >= SPARSE_FROM && used * 2 < self.rooms.len()
    }
}

#[inline]
fn id(page: u32, room: usize) -> u32 {
    // Lossless: below ROOMS_MAX.
    page << ROOM_BITS | room as u32
}

#[inline]
fn score_of(room: &[u8]) -> f64 {
    let bytes = room[..SCORE].try_into().expect("a room begins with it");
    f64::from_le_bytes(bytes)
}

impl Members {
    #[inline]
    fn at(&self, id: u32) -> (&Page, &[u8]) {
        let page = &self.pages[(id >> ROOM_BITS) as usize];
        (page, page.room(id as usize & (ROOMS_MAX - 1)))
    }

    /// The bytes of a member.
    #[inline]
    pub fn get(&self, id: u32) -> &[u8] {
        counted::elements(1);
        let (page, room) = self.at(id);
        if usize::from(page.class) == OUTSIDE {
            return &page.long[id as usize & (ROOMS_MAX - 1)];
        }
        &room[SCORE..]
    }

    /// Whether a member is these bytes.
    #[inline]
    pub fn is(&self, id: u32, member: &[u8]) -> bool {
        let page = &self.pages[(id >> ROOM_BITS) as usize];
        usize::from(page.class) == member.len().min(OUTSIDE) && self.get(id) == member
    }

    #[inline]
    pub fn score(&self, id: u32) -> f64 {
        score_of(self.at(id).1)
    }

    #[inline]
    pub fn set_score(&mut self, id: u32, score: f64) {
        let page = &mut self.pages[(id >> ROOM_BITS) as usize];
        let room = page.room_mut(id as usize & (ROOMS_MAX - 1));
        room[..SCORE].copy_from_slice(&score.to_le_bytes());
    }

    /// Adds a member, whether or not it is there already.
    pub fn insert(&mut self, member: &[u8], score: f64) -> Result<u32, OutOfMemory> {
        if member.len() >= OUTSIDE {
            return self.insert_long(member, score);
        }
        let page = self.open_page(member.len())?;
        let room = self.take_room(page)?;
        let bytes = self.pages[page as usize].room_mut(room);
        bytes[..SCORE].copy_from_slice(&score.to_le_bytes());
        bytes[SCORE..].copy_from_slice(member);
        Ok(id(page, room))
    }

    #[cold]
    fn insert_long(&mut self, member: &[u8], score: f64) -> Result<u32, OutOfMemory> {
        let long = copy(member)?.into_boxed_slice();
        let page = self.open_page(OUTSIDE)?;
        let room = self.take_room(page)?;
        self.heap_bytes += long.len();
        let it = &mut self.pages[page as usize];
        it.room_mut(room).copy_from_slice(&score.to_le_bytes());
        it.long[room] = long;
        Ok(id(page, room))
    }

    /// A room of a page that has one.
    #[inline]
    fn take_room(&mut self, page: u32) -> Result<usize, OutOfMemory> {
        let it = &mut self.pages[page as usize];
        let room = match it.take(&mut self.heap_bytes) {
            Ok(room) => room,
            Err(error) => {
                if it.used == 0 {
                    self.vacate(page);
                }
                return Err(error);
            }
        };
        if it.is_full() {
            self.unlink(page);
        }
        Ok(room)
    }

    /// A page of the class that has room.
    fn open_page(&mut self, class: usize) -> Result<u32, OutOfMemory> {
        if let Some(page) = self.open.get(class)
            && *page != NO_PAGE
        {
            return Ok(*page);
        }
        // Rather than a new one: who leaves it may as well stay.
        if let Some(leaving) = self.leaving
            && let left = &self.pages[leaving.page as usize]
            && usize::from(left.class) == class
            && !left.is_full()
        {
            self.stay();
            return Ok(leaving.page);
        }
        self.new_page(class)
    }

    fn new_page(&mut self, class: usize) -> Result<u32, OutOfMemory> {
        if self.open.len() <= class {
            self.open.try_reserve(class + 1 - self.open.len())?;
            self.open.resize(class + 1, NO_PAGE);
        }
        let fresh = Page {
            rooms: Vec::new(),
            long: Vec::new(),
            next: NO_PAGE,
            prev: NO_PAGE,
            // Lossless: a class is at most OUTSIDE.
            class: class as u16,
            free: NO_ROOM,
            used: 0,
        };
        let page = match self.vacant_page() {
            Some(page) => {
                self.pages[page as usize] = fresh;
                self.vacant -= 1;
                self.vacant_from = page + 1;
                page
            }
            None => {
                // The last page has no id to spare for NO_ID.
                if self.pages.len() >= PAGES_MAX - 1 {
                    return Err(OutOfMemory);
                }
                self.pages.try_reserve(1)?;
                self.pages.push(fresh);
                // Lossless: below PAGES_MAX.
                self.pages.len() as u32 - 1
            }
        };
        self.link(page);
        Ok(page)
    }

    /// The first vacant page: those at the end are to become so.
    fn vacant_page(&self) -> Option<u32> {
        if self.vacant == 0 {
            return None;
        }
        let mut pages = (self.vacant_from..).zip(&self.pages[self.vacant_from as usize..]);
        let found = pages.find(|(_, page)| page.used == 0);
        Some(found.expect("they are counted").0)
    }

    /// Puts a page first in the list of its class.
    fn link(&mut self, page: u32) {
        let class = usize::from(self.pages[page as usize].class);
        let next = std::mem::replace(&mut self.open[class], page);
        if next != NO_PAGE {
            self.pages[next as usize].prev = page;
        }
        let it = &mut self.pages[page as usize];
        (it.next, it.prev) = (next, NO_PAGE);
    }

    /// Takes a page out of the list of its class.
    fn unlink(&mut self, page: u32) {
        let it = &mut self.pages[page as usize];
        let (next, prev, class) = (it.next, it.prev, usize::from(it.class));
        (it.next, it.prev) = (NO_PAGE, NO_PAGE);
        match prev {
            NO_PAGE => self.open[class] = next,
            _ => self.pages[prev as usize].next = next,
        }
        if next != NO_PAGE {
            self.pages[next as usize].prev = prev;
        }
    }

    fn is_leaving(&self, page: u32) -> bool {
        self.leaving.is_some_and(|leaving| leaving.page == page)
    }

    /// Removes a member, which must be there.
    pub fn remove(&mut self, id: u32) {
        let (page, room) = (id >> ROOM_BITS, id as usize & (ROOMS_MAX - 1));
        let it = &mut self.pages[page as usize];
        let was_full = it.is_full();
        it.put_back(room);
        if let Some(long) = it.long.get_mut(room) {
            self.heap_bytes -= std::mem::take(long).len();
        }
        if was_full && !self.is_leaving(page) {
            self.link(page);
        }
        let it = &self.pages[page as usize];
        if it.used == 0 {
            self.vacate(page);
        } else if self.leaving.is_none() && it.is_sparse() {
            self.leave(page);
        }
    }

    fn leave(&mut self, page: u32) {
        if !self.pages[page as usize].is_full() {
            self.unlink(page);
        }
        self.leaving = Some(Leaving { page, room: 0 });
    }

    /// The page that was to be left is not.
    fn stay(&mut self) {
        if let Some(Leaving { page, .. }) = self.leaving.take()
            && !self.pages[page as usize].is_full()
        {
            self.link(page);
        }
    }

    /// A page has no member any more, or not yet one.
    fn vacate(&mut self, page: u32) {
        if self.is_leaving(page) {
            self.leaving = None;
        } else {
            self.unlink(page);
        }
        let it = &mut self.pages[page as usize];
        self.heap_bytes -= it.heap_bytes();
        (it.rooms, it.long, it.free) = (Vec::new(), Vec::new(), NO_ROOM);
        self.vacant += 1;
        self.vacant_from = self.vacant_from.min(page);
        while self.pages.last().is_some_and(|page| page.used == 0) {
            self.pages.pop();
            self.vacant -= 1;
        }
        // Lossless: below PAGES_MAX.
        let len = self.pages.len() as u32;
        self.vacant_from = self.vacant_from.min(len);
        if self.pages.len() * 4 < self.pages.capacity() {
            self.pages.shrink_to(self.pages.len() * 2);
        }
        let needed = self.pages.len() - self.vacant;
        if self.leaving.is_none() && self.pages.len() > PAGES_FACTOR * needed + PAGES_MORE {
            self.leave(len - 1);
        }
    }

    /// Moves a member out of a page that is to become vacant, if there is one: its id
    /// before and after. The id before is no one's any more.
    pub fn move_one(&mut self) -> Option<(u32, u32)> {
        let Leaving { page, room } = self.leaving?;
        let from = &self.pages[page as usize];
        let rooms = usize::from(room)..from.rooms.len() / room_size(usize::from(from.class));
        let mut looked_at = rooms.take(LOOKED_AT);
        let found = looked_at.by_ref().find(|room| !from.score(*room).is_nan());
        let Some(room) = found else {
            // Lossless: below ROOMS_MAX.
            self.leaving.as_mut()?.room += LOOKED_AT as u16;
            return None;
        };
        let class = usize::from(from.class);
        let to = match self.open[class] {
            NO_PAGE => self.new_page(class),
            open => Ok(open),
        };
        let Ok((to, target)) = to.and_then(|to| Ok((to, self.take_room(to)?))) else {
            // Without the memory they stay.
            self.stay();
            return None;
        };
        let [from, into] = self
            .pages
            .get_disjoint_mut([page as usize, to as usize])
            .expect("a page that is left is not in the list");
        into.room_mut(target).copy_from_slice(from.room(room));
        if class == OUTSIDE {
            into.long[target] = std::mem::take(&mut from.long[room]);
        }
        from.put_back(room);
        let emptied = from.used == 0;
        if let Some(leaving) = &mut self.leaving {
            // Lossless: below ROOMS_MAX.
            leaving.room = room as u16 + 1;
        }
        if emptied {
            self.vacate(page);
        }
        Some((id(page, room), id(to, target)))
    }

    pub fn heap_bytes(&self) -> usize {
        self.heap_bytes
            + self.pages.capacity() * size_of::<Page>()
            + self.open.capacity() * size_of::<u32>()
    }

    /// Drops about `budget` members; whether there is more. Nothing else may
    /// be done with it afterwards.
    pub fn free_some(&mut self, budget: usize) -> bool {
        let mut freed = 0;
        while freed < budget {
            let Some(page) = self.pages.last_mut() else {
                return false;
            };
            if page.long.pop().is_some() {
                freed += 1;
                continue;
            }
            // A page is freed in one go, whatever it holds.
            freed += 1 + usize::from(page.used) / 8;
            self.pages.pop();
        }
        true
    }

    /// Goes on with a clone, which is empty at first, by about `budget` members; whether
    /// there are more. Until it is made it must not be looked at.
    pub fn clone_some(&self, clone: &mut Self, budget: usize) -> Result<bool, OutOfMemory> {
        let mut spent = 0;
        let missing = self.pages.len() - clone.pages.len();
        if missing == 0 {
            return Ok(false);
        }
        clone.pages.try_reserve_exact(missing)?;
        while let Some(page) = self.pages.get(clone.pages.len()) {
            if spent >= budget {
                return Ok(true);
            }
            let rooms = copy(&page.rooms)?;
            let mut long: Vec<Box<[u8]>> = Vec::new();
            long.try_reserve_exact(page.long.len())?;
            for member in &page.long {
                clone.heap_bytes += member.len();
                long.push(copy(member)?.into_boxed_slice());
            }
            let twin = Page {
                rooms,
                long,
                ..*page
            };
            clone.heap_bytes += twin.heap_bytes();
            counted::elements(usize::from(page.used));
            spent += usize::from(page.used).max(1);
            clone.pages.push(twin);
        }
        let mut open = Vec::new();
        open.try_reserve_exact(self.open.len())?;
        open.extend_from_slice(&self.open);
        *clone = Self {
            pages: std::mem::take(&mut clone.pages),
            open,
            heap_bytes: clone.heap_bytes,
            ..*self
        };
        Ok(false)
    }

    /// Panics if the structure contradicts itself, or if it does not hold
    /// exactly `len` members.
    #[cfg(test)]
    pub fn check_invariants(&self, len: usize) {
        let used = self.pages.iter().map(|page| usize::from(page.used));
        assert_eq!(used.sum::<usize>(), len);
        let rooms = self.pages.iter().map(Page::heap_bytes);
        let long = self.pages.iter().flat_map(|page| &page.long);
        let long = long.map(|member| member.len());
        assert_eq!(self.heap_bytes, rooms.sum::<usize>() + long.sum::<usize>());
        let mut open = 0;
        for (class, first) in self.open.iter().enumerate() {
            let (mut page, mut prev) = (*first, NO_PAGE);
            while page != NO_PAGE {
                let it = &self.pages[page as usize];
                assert_eq!((usize::from(it.class), it.prev), (class, prev));
                assert!(!it.is_full() && it.used > 0 && !self.is_leaving(page));
                (open, prev, page) = (open + 1, page, it.next);
            }
        }
        let full = self.pages.iter().filter(|page| page.is_full()).count();
        let vacant = self.pages.iter().filter(|page| page.used == 0).count();
        let left = usize::from(self.leaving.is_some());
        assert_eq!(open + full + vacant + left, self.pages.len());
        assert_eq!(vacant, self.vacant);
        let before = &self.pages[..self.vacant_from as usize];
        assert!(before.iter().all(|page| page.used > 0));
        assert!(self.pages.last().is_none_or(|page| page.used > 0));
        for page in &self.pages {
            let size = room_size(usize::from(page.class));
            assert_eq!(page.rooms.len() % size, 0);
            let (mut free, mut next) = (0, page.free);
            while next != NO_ROOM {
                let room = page.room(usize::from(next));
                assert!(score_of(room).is_nan());
                (free, next) = (free + 1, u16::from_le_bytes([room[0], room[1]]));
            }
            let made = page.rooms.len() / size;
            assert_eq!(made, usize::from(page.used) + free);
            let used = (0..made).filter(|room| !page.score(*room).is_nan());
            assert_eq!(used.count(), usize::from(page.used));
        }
    }
}
