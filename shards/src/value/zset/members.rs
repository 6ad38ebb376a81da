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
//! nothing is rounded up. A page grows to 32 KiB; one without a used room holds
//! no memory. Members too long for a room lie alone, and their room keeps where.
//!
//! Invariants: the pages of a length that have room form a list; the free rooms
//! of a page form a list within the rooms. An id stays the same as long as its
//! member is there. Costs: all O(1).

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

/// What a room holds of a member outside: its place.
const PLACE: usize = size_of::<u32>();

const NO_ROOM: u16 = u16::MAX;
const NO_PAGE: u32 = u32::MAX;

#[derive(Debug)]
struct Page {
    rooms: Vec<u8>,
    /// The next page of the class that has room.
    next: u32,
    class: u16,
    /// The first free room among those already made.
    free: u16,
    used: u16,
}

/// Members and their scores, by id.
#[derive(Debug, Default)]
pub struct Members {
    pages: Vec<Page>,
    /// Per class the first page that has room.
    open: Vec<u32>,
    outside: Vec<Box<[u8]>>,
    /// Places outside that are empty.
    vacant: Vec<u32>,
    heap_bytes: usize,
}

fn room_size(class: usize) -> usize {
    SCORE + if class == OUTSIDE { PLACE } else { class }
}

fn rooms_in_page(class: usize) -> usize {
    (PAGE_BYTES / room_size(class)).min(ROOMS_MAX)
}

fn place(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes.try_into().expect("a place has four bytes"))
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

    /// A room for the taking; the page is not full.
    fn take(&mut self) -> Result<usize, OutOfMemory> {
        if self.free == NO_ROOM {
            self.grow()?;
            let size = room_size(usize::from(self.class));
            let room = self.rooms.len() / size;
            self.rooms.resize(self.rooms.len() + size, 0);
            self.used += 1;
            return Ok(room);
        }
        let room = usize::from(self.free);
        let next = &self.room(room)[..2];
        self.free = u16::from_le_bytes([next[0], next[1]]);
        self.used += 1;
        Ok(room)
    }

    /// Makes room for one more at the end.
    fn grow(&mut self) -> Result<(), OutOfMemory> {
        let class = usize::from(self.class);
        let size = room_size(class);
        if self.rooms.capacity() - self.rooms.len() >= size {
            return Ok(());
        }
        let made = self.rooms.len() / size;
        let more = (made / 4).clamp(4, 256).min(rooms_in_page(class) - made);
        Ok(self.rooms.try_reserve_exact(more * size)?)
    }

    fn put_back(&mut self, room: usize) {
        let free = self.free.to_le_bytes();
        self.room_mut(room)[..2].copy_from_slice(&free);
        // Lossless: below ROOMS_MAX.
        self.free = room as u16;
        self.used -= 1;
        if self.used == 0 {
            self.rooms = Vec::new();
            self.free = NO_ROOM;
        }
    }
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
            return &self.outside[place(&room[SCORE..]) as usize];
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
        let (_, room) = self.at(id);
        let bytes = room[..SCORE].try_into().expect("a room begins with it");
        f64::from_le_bytes(bytes)
    }

    #[inline]
    pub fn set_score(&mut self, id: u32, score: f64) {
        let page = &mut self.pages[(id >> ROOM_BITS) as usize];
        let room = page.room_mut(id as usize & (ROOMS_MAX - 1));
        room[..SCORE].copy_from_slice(&score.to_le_bytes());
    }

    /// Adds a member, whether or not it is there already.
    pub fn insert(&mut self, member: &[u8], score: f64) -> Result<u32, OutOfMemory> {
        let class = member.len().min(OUTSIDE);
        let page = self.open_page(class)?;
        let place = if class == OUTSIDE {
            self.insert_outside(member)?.to_le_bytes()
        } else {
            [0; PLACE]
        };
        let it = &mut self.pages[page as usize];
        let before = it.rooms.capacity();
        let room = match it.take() {
            Ok(room) => room,
            Err(error) => {
                if class == OUTSIDE {
                    self.remove_outside(u32::from_le_bytes(place));
                }
                return Err(error);
            }
        };
        self.heap_bytes += it.rooms.capacity() - before;
        let bytes = it.room_mut(room);
        bytes[..SCORE].copy_from_slice(&score.to_le_bytes());
        bytes[SCORE..].copy_from_slice(if class == OUTSIDE { &place } else { member });
        if it.is_full() {
            self.open[class] = it.next;
        }
        // Lossless: below ROOMS_MAX.
        Ok(page << ROOM_BITS | room as u32)
    }

    fn insert_outside(&mut self, member: &[u8]) -> Result<u32, OutOfMemory> {
        let bytes = copy(member)?.into_boxed_slice();
        let len = bytes.len();
        let place = match self.vacant.pop() {
            Some(place) => {
                self.outside[place as usize] = bytes;
                place
            }
            None => {
                let place = u32::try_from(self.outside.len()).map_err(|_| OutOfMemory)?;
                self.outside.try_reserve(1)?;
                self.outside.push(bytes);
                place
            }
        };
        self.heap_bytes += len;
        Ok(place)
    }

    fn remove_outside(&mut self, place: u32) {
        let bytes = std::mem::take(&mut self.outside[place as usize]);
        self.heap_bytes -= bytes.len();
        self.vacant.push(place);
    }

    /// A page of the class that has room.
    fn open_page(&mut self, class: usize) -> Result<u32, OutOfMemory> {
        if self.open.len() <= class {
            self.open.try_reserve(class + 1 - self.open.len())?;
            self.open.resize(class + 1, NO_PAGE);
        }
        if self.open[class] != NO_PAGE {
            return Ok(self.open[class]);
        }
        // The last page has no id to spare for NO_ID.
        if self.pages.len() >= PAGES_MAX - 1 {
            return Err(OutOfMemory);
        }
        self.pages.try_reserve(1)?;
        // Lossless: below PAGES_MAX; a class is at most OUTSIDE.
        let page = self.pages.len() as u32;
        self.pages.push(Page {
            rooms: Vec::new(),
            next: NO_PAGE,
            class: class as u16,
            free: NO_ROOM,
            used: 0,
        });
        self.open[class] = page;
        Ok(page)
    }

    /// Removes a member, which must be there.
    pub fn remove(&mut self, id: u32) {
        let (page, room) = (id >> ROOM_BITS, id as usize & (ROOMS_MAX - 1));
        let it = &mut self.pages[page as usize];
        let class = usize::from(it.class);
        let outside = (class == OUTSIDE).then(|| place(&it.room(room)[SCORE..]));
        if it.is_full() {
            it.next = self.open[class];
            self.open[class] = page;
        }
        let before = it.rooms.capacity();
        it.put_back(room);
        self.heap_bytes -= before - it.rooms.capacity();
        if let Some(place) = outside {
            self.remove_outside(place);
        }
    }

    pub fn heap_bytes(&self) -> usize {
        self.heap_bytes
            + self.pages.capacity() * size_of::<Page>()
            + self.open.capacity() * size_of::<u32>()
            + self.outside.capacity() * size_of::<Box<[u8]>>()
            + self.vacant.capacity() * size_of::<u32>()
    }

    /// Drops about `budget` members; whether there is more. Nothing else may
    /// be done with it afterwards.
    pub fn free_some(&mut self, budget: usize) -> bool {
        let mut freed = 0;
        while freed < budget {
            if self.outside.pop().is_some() {
                freed += 1;
                continue;
            }
            let Some(page) = self.pages.pop() else {
                return false;
            };
            // A page is freed in one go, whatever it holds.
            freed += 1 + usize::from(page.used) / 8;
        }
        true
    }

    pub fn try_clone(&self) -> Result<Self, OutOfMemory> {
        let mut pages = Vec::new();
        pages.try_reserve_exact(self.pages.len())?;
        for page in &self.pages {
            let rooms = copy(&page.rooms)?;
            pages.push(Page { rooms, ..*page });
        }
        let mut outside = Vec::new();
        outside.try_reserve_exact(self.outside.len())?;
        for member in &self.outside {
            outside.push(copy(member)?.into_boxed_slice());
        }
        let mut twin = Self {
            open: self.open.clone(),
            outside,
            vacant: self.vacant.clone(),
            heap_bytes: pages.iter().map(|page| page.rooms.capacity()).sum(),
            pages,
        };
        twin.heap_bytes += twin.outside.iter().map(|it| it.len()).sum::<usize>();
        Ok(twin)
    }

    /// Panics if the structure contradicts itself, or if it does not hold
    /// exactly `len` members.
    #[cfg(test)]
    pub fn check_invariants(&self, len: usize) {
        let used = self.pages.iter().map(|page| usize::from(page.used));
        assert_eq!(used.sum::<usize>(), len);
        let rooms = self.pages.iter().map(|page| page.rooms.capacity());
        let outside = self.outside.iter().map(|member| member.len());
        assert_eq!(
            self.heap_bytes,
            rooms.sum::<usize>() + outside.sum::<usize>()
        );
        let mut open = 0;
        for (class, first) in self.open.iter().enumerate() {
            let mut page = *first;
            while page != NO_PAGE {
                let it = &self.pages[page as usize];
                assert_eq!(usize::from(it.class), class);
                assert!(!it.is_full());
                (open, page) = (open + 1, it.next);
            }
        }
        let full = self.pages.iter().filter(|page| page.is_full()).count();
        assert_eq!(open + full, self.pages.len());
        for page in &self.pages {
            let size = room_size(usize::from(page.class));
            assert_eq!(page.rooms.len() % size, 0);
            let (mut free, mut next) = (0, page.free);
            while next != NO_ROOM {
                let room = page.room(usize::from(next));
                (free, next) = (free + 1, u16::from_le_bytes([room[0], room[1]]));
            }
            assert_eq!(page.rooms.len() / size, usize::from(page.used) + free);
        }
    }
}
