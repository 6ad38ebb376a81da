//! Where entries live: a size-class allocator of one keyspace.
//!
//! Classes go in steps of 8 bytes up to 128 and in eighths of a power of two
//! up to 2 KiB, so rounding up costs at most an eighth and for small entries
//! at most 7 bytes. A class takes its rooms from pages of 16 KiB; anything
//! larger comes straight from the global allocator.
//!
//! ```text
//! page, aligned to 16 KiB          header (64 B)             rooms of one class
//! ┌──────────────────────────────────────────────────────┬──────┬──────┬─────┐
//! │ owner │ next prev │ all_next all_prev │ used bump … │ room │ room │  …  │
//! └──────────────────────────────────────────────────────┴──────┴──────┴─────┘
//!           pages with room  all pages of the slab            freed rooms form a
//!                                                             list of u16 offsets
//! ```
//!
//! What begins with [`FREE`] is a freed room: no entry does.
//!
//! Invariants: a page is in its class's list exactly if it has a free room;
//! `used` counts its rooms in use; a page without any is given back at once,
//! unless it is the only page with room of its class. Taking and giving back
//! a room is O(1). The slab moves nothing itself: it finds a page that is better
//! left ([`Slab::begin_leaving`]), and whoever knows what lies there moves it.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU64, Ordering};

/// Size and alignment of a page: the page of a room is found by masking.
const PAGE: usize = 16 * 1024;
const HEADER: usize = size_of::<Page>();
/// Largest room that lies in a page.
pub const ROOM_MAX: usize = 2048;
const CLASSES: usize = 48;
/// Sizes above [`ROOM_MAX`] are rounded up to this, so that a value may grow
/// or shrink a little in place.
const LARGE_STEP: usize = 512;

#[repr(C, align(64))]
struct Page {
    /// Number of the slab that owns the page.
    owner: u64,
    next: *mut Page,
    prev: *mut Page,
    all_next: *mut Page,
    all_prev: *mut Page,
    /// Rooms in use.
    used: u16,
    /// Offset of the first room that was never used.
    bump: u16,
    /// Offset of the first freed room; 0: none.
    free: u16,
    /// With fewer rooms in use the class is looked at for pages to leave.
    few: u16,
    class: u8,
}

/// Marks a freed room, in the bits of an entry's header that are never set. The offset
/// of the next freed one stands above it.
pub const FREE: u64 = 1 << 13;
const NEXT_SHIFT: u32 = 16;

/// Pages without a used room that stay, so that what comes and goes need not allocate.
const SPARE_PAGES: usize = 4;

pub use crate::error::OutOfMemory;

/// The allocator of one keyspace's entries.
pub struct Slab {
    /// Tells this slab's pages from others'.
    id: u64,
    with_room: [*mut Page; CLASSES],
    all: *mut Page,
    pages: usize,
    rooms: usize,
    large: usize,
    /// Classes in which a page has become sparse, one bit each.
    sparse: u64,
    /// Of the class that is being looked at: the next page.
    cursor: *mut Page,
}

// SAFETY: the pages belong to the slab alone and move with it.
unsafe impl Send for Slab {}

/// The class of a size of at most [`ROOM_MAX`].
#[inline]
fn class_of(size: usize) -> usize {
    if size <= 128 {
        return size.saturating_sub(1) / 8;
    }
    let last = size - 1;
    let power = last.ilog2() as usize;
    16 + (power - 7) * 8 + (last >> (power - 3)) - 8
}

/// The bytes of a room of `class`.
#[inline]
fn room_of(class: usize) -> usize {
    if class < 16 {
        (class + 1) * 8
    } else {
        let (power, eighth) = ((class - 16) / 8 + 7, (class - 16) % 8);
        (9 + eighth) << (power - 3)
    }
}

fn large_layout(size: usize) -> Option<Layout> {
    let rounded = size.checked_next_multiple_of(LARGE_STEP)?;
    Layout::from_size_align(rounded, 8).ok()
}

/// Whether two sizes get rooms of one size: then one may become the other in
/// place.
#[inline]
pub fn same_room(a: usize, b: usize) -> bool {
    if a <= ROOM_MAX && b <= ROOM_MAX {
        class_of(a) == class_of(b)
    } else {
        a > ROOM_MAX && b > ROOM_MAX && a.div_ceil(LARGE_STEP) == b.div_ceil(LARGE_STEP)
    }
}

/// The bytes an allocation of `size` really takes.
#[inline]
pub fn room_bytes(size: usize) -> usize {
    if size <= ROOM_MAX {
        room_of(class_of(size))
    } else {
        size.next_multiple_of(LARGE_STEP)
    }
}

impl Default for Slab {
    fn default() -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            with_room: [ptr::null_mut(); CLASSES],
            all: ptr::null_mut(),
            pages: 0,
            rooms: 0,
            large: 0,
            sparse: 0,
            cursor: ptr::null_mut(),
        }
    }
}

impl Slab {
    /// Room for `size` bytes, aligned to 8, uninitialised.
    #[inline]
    pub fn alloc(&mut self, size: usize) -> Result<NonNull<u8>, OutOfMemory> {
        if size > ROOM_MAX {
            return self.alloc_large(size);
        }
        let class = class_of(size);
        let mut page = self.with_room[class];
        if page.is_null() {
            page = self.new_page(class)?;
        }
        self.rooms += 1;
        // SAFETY: pages in the lists are live, belong to this slab alone and
        // have a free room: either on their list or at `bump`. Offsets in the
        // list were stored by `free` and lie within the page.
        unsafe {
            let offset = match (*page).free {
                0 => {
                    let offset = (*page).bump;
                    // No overflow: offsets stay below PAGE, which fits.
                    (*page).bump = offset + room_of(class) as u16;
                    offset
                }
                offset => {
                    (*page).free = next_free(page.byte_add(usize::from(offset)).cast());
                    offset
                }
            };
            (*page).used += 1;
            if !has_room(page) {
                self.unlink(page);
            }
            Ok(NonNull::new_unchecked(
                page.byte_add(usize::from(offset)).cast(),
            ))
        }
    }

    /// Gives a room back.
    ///
    /// # Safety
    /// `at` came from [`Slab::alloc`] with a size of the same room, was not
    /// given back since, and is not used any more. (That it came from *this*
    /// slab is checked.)
    #[inline]
    pub unsafe fn free(&mut self, at: NonNull<u8>, size: usize) {
        if size > ROOM_MAX {
            self.large -= 1;
            let layout = large_layout(size).expect("it was allocated with this layout");
            // SAFETY: the caller vouches for pointer and size.
            unsafe { dealloc(at.as_ptr(), layout) };
            return;
        }
        let offset = at.as_ptr().addr() % PAGE;
        let page: *mut Page = ptr::with_exposed_provenance_mut(at.as_ptr().addr() - offset);
        // SAFETY: a room that is in use lies in a live page, whose header is
        // at the aligned address below it; the header is initialised.
        unsafe {
            assert!((*page).owner == self.id, "a room goes back to its own slab");
            let was_full = !has_room(page);
            let mark = FREE | u64::from((*page).free) << NEXT_SHIFT;
            page.byte_add(offset).cast::<u64>().write(mark);
            (*page).free = offset as u16; // offset < PAGE
            (*page).used -= 1;
            if (*page).used < (*page).few {
                self.sparse |= 1 << (*page).class;
            }
            self.rooms -= 1;
            if was_full {
                self.link(page);
            }
            if (*page).used == 0 && !((*page).next.is_null() && (*page).prev.is_null()) {
                self.unlink(page);
                self.drop_page(page);
            }
        }
    }

    /// Bytes of the pages held.
    pub fn page_bytes(&self) -> usize {
        self.pages * PAGE
    }

    /// Entries held, in pages and outside of them.
    pub fn entries(&self) -> usize {
        self.rooms + self.large
    }

    /// Whether there may be a page to leave.
    #[inline]
    pub fn has_sparse(&self) -> bool {
        self.sparse != 0
    }

    /// Looks for a page whose entries have room in others of its class, at about
    /// `budget` of them. The page is taken out of the list; [`Slab::end_leaving`] is
    /// due. Nothing: come again while [`Slab::has_sparse`].
    pub fn begin_leaving(&mut self, budget: &mut usize) -> Option<Leaving> {
        let class = self.sparse.trailing_zeros() as usize;
        let first = *self.with_room.get(class)?;
        if self.cursor.is_null() {
            self.cursor = first;
        }
        while !self.cursor.is_null() && *budget > 0 {
            *budget -= 1;
            let page = self.cursor;
            // SAFETY: pages in the lists are live, and `unlink` keeps the cursor in
            // them.
            unsafe {
                self.cursor = (*page).next;
                let alone = (*page).next.is_null() && (*page).prev.is_null();
                if alone && (*page).used == 0 && self.spare_pages() > SPARE_PAGES {
                    self.unlink(page);
                    self.drop_page(page);
                } else if !alone && (*page).used < (*page).few * 2 {
                    self.unlink(page);
                    return Some(Leaving {
                        page,
                        offset: HEADER,
                    });
                }
            }
        }
        if self.cursor.is_null() {
            self.sparse &= !(1 << class);
        }
        None
    }

    /// Pages without a used room: at most one per class, the only one in its list.
    fn spare_pages(&self) -> usize {
        let heads = self.with_room.iter().filter(|page| !page.is_null());
        // SAFETY: pages in the lists are live.
        heads.filter(|page| unsafe { (***page).used == 0 }).count()
    }

    /// The next room in use of a page that is being left, if the one before has been
    /// given back and there is room for what lies there in another.
    pub fn next_leaving(&mut self, leaving: &mut Leaving) -> Option<NonNull<u8>> {
        let page = leaving.page;
        // SAFETY: the page is live until `end_leaving`. Rooms below `bump` have been in
        // use, so they begin with a header or with the mark of a free one.
        unsafe {
            let class = usize::from((*page).class);
            if self.with_room[class].is_null() {
                return None;
            }
            while leaving.offset < usize::from((*page).bump) {
                let at = page.byte_add(leaving.offset);
                leaving.offset += room_of(class);
                if at.cast::<u64>().read() & FREE == 0 {
                    return Some(NonNull::new_unchecked(at.cast()));
                }
            }
        }
        None
    }

    /// Gives a page back that has been left, or puts it into its list again.
    pub fn end_leaving(&mut self, leaving: Leaving) {
        let page = leaving.page;
        // SAFETY: the page is live and not in the list: it was taken out, and only a
        // full page is put there when a room is given back.
        unsafe {
            if (*page).used == 0 {
                self.drop_page(page);
                return;
            }
            self.link(page);
            // There is no room for more of it, nor for any other.
            self.sparse &= !(1 << (*page).class);
        }
        self.cursor = ptr::null_mut();
    }

    /// Takes note that `rooms` rooms in pages will never be used again, though
    /// they were not given back: their pages may go as they are.
    ///
    /// # Safety
    /// So it is, and they are rooms of this slab.
    pub unsafe fn abandon(&mut self, rooms: usize) {
        self.rooms -= rooms;
    }

    /// Gives back up to `count` pages; whether there are more. All rooms must
    /// have been given back or abandoned.
    pub fn drop_pages(&mut self, count: usize) -> bool {
        assert_eq!(self.rooms, 0, "no room is in use");
        for _ in 0..count {
            if self.all.is_null() {
                break;
            }
            let page = self.all;
            // SAFETY: pages on the list are live; no room is in use.
            unsafe {
                if has_room(page) {
                    self.unlink(page);
                }
                self.drop_page(page);
            }
        }
        !self.all.is_null()
    }

    #[cold]
    fn alloc_large(&mut self, size: usize) -> Result<NonNull<u8>, OutOfMemory> {
        let layout = large_layout(size).ok_or(OutOfMemory)?;
        // SAFETY: the layout's size is above ROOM_MAX, so not zero.
        let at = NonNull::new(unsafe { alloc(layout) }).ok_or(OutOfMemory)?;
        self.large += 1;
        Ok(at)
    }

    /// A new page with all rooms free, linked everywhere.
    #[cold]
    fn new_page(&mut self, class: usize) -> Result<*mut Page, OutOfMemory> {
        // SAFETY: the layout's size is not zero.
        let page: *mut Page = unsafe { alloc(page_layout()) }.cast();
        if page.is_null() {
            return Err(OutOfMemory);
        }
        page.expose_provenance();
        // SAFETY: fresh memory of the right size and alignment for a header;
        // the list's first page, if any, is live.
        unsafe {
            page.write(Page {
                owner: self.id,
                next: ptr::null_mut(),
                prev: ptr::null_mut(),
                all_next: self.all,
                all_prev: ptr::null_mut(),
                used: 0,
                bump: HEADER as u16,
                free: 0,
                few: ((PAGE - HEADER) / room_of(class)).div_ceil(4) as u16,
                class: class as u8,
            });
            if !self.all.is_null() {
                (*self.all).all_prev = page;
            }
            self.all = page;
            self.link(page);
        }
        self.pages += 1;
        Ok(page)
    }

    /// Puts a page first in its class's list.
    ///
    /// # Safety
    /// `page` is a live page of this slab and not in the list.
    unsafe fn link(&mut self, page: *mut Page) {
        // SAFETY: as above; pages in the list are live.
        unsafe {
            let head = &mut self.with_room[usize::from((*page).class)];
            (*page).prev = ptr::null_mut();
            (*page).next = *head;
            if !head.is_null() {
                (**head).prev = page;
            }
            *head = page;
        }
    }

    /// Takes a page out of its class's list.
    ///
    /// # Safety
    /// `page` is a live page of this slab and in the list.
    unsafe fn unlink(&mut self, page: *mut Page) {
        // SAFETY: as above; its neighbours are live.
        unsafe {
            let (next, prev) = ((*page).next, (*page).prev);
            if page == self.cursor {
                self.cursor = next;
            }
            if prev.is_null() {
                self.with_room[usize::from((*page).class)] = next;
            } else {
                (*prev).next = next;
            }
            if !next.is_null() {
                (*next).prev = prev;
            }
            (*page).next = ptr::null_mut();
            (*page).prev = ptr::null_mut();
        }
    }

    /// Returns a page to the global allocator.
    ///
    /// # Safety
    /// `page` is a live page of this slab, not in its class's list, and none
    /// of its rooms is used any more.
    unsafe fn drop_page(&mut self, page: *mut Page) {
        // SAFETY: as above; its neighbours in the list of all are live.
        unsafe {
            let (next, prev) = ((*page).all_next, (*page).all_prev);
            if prev.is_null() {
                self.all = next;
            } else {
                (*prev).all_next = next;
            }
            if !next.is_null() {
                (*next).all_prev = prev;
            }
            dealloc(page.cast(), page_layout());
        }
        self.pages -= 1;
    }

    /// Checks the lists and counts; panics if they contradict each other.
    pub fn check_invariants(&self) {
        let (mut pages, mut rooms, mut empty) = (0, 0, [0; CLASSES]);
        let mut page = self.all;
        while !page.is_null() {
            // SAFETY: pages on the list are live; nobody changes them meanwhile.
            let header = unsafe { &*page };
            assert_eq!(header.owner, self.id);
            pages += 1;
            rooms += usize::from(header.used);
            let head = self.with_room[usize::from(header.class)];
            let linked = head == page || !header.prev.is_null() || !header.next.is_null();
            // SAFETY: as above.
            let room = unsafe { has_room(page) };
            assert_eq!(linked, room, "listed exactly if it has room");
            empty[usize::from(header.class)] += u32::from(header.used == 0);
            page = header.all_next;
        }
        assert_eq!((pages, rooms), (self.pages, self.rooms));
        assert!(
            empty.iter().all(|count| *count <= 1),
            "at most one empty page per class"
        );
    }
}

/// A page that is being left; see [`Slab::begin_leaving`].
pub struct Leaving {
    page: *mut Page,
    offset: usize,
}

impl Drop for Slab {
    /// Pages with rooms in use are leaked rather than left dangling.
    fn drop(&mut self) {
        if self.rooms == 0 {
            self.drop_pages(usize::MAX);
        }
    }
}

fn page_layout() -> Layout {
    Layout::from_size_align(PAGE, PAGE).expect("a power of two")
}

/// The offset of the room freed before the one at `at`.
///
/// # Safety
/// `at` is a freed room.
#[inline]
unsafe fn next_free(at: *const u64) -> u16 {
    // SAFETY: as above. Truncation intended: it is what `free` put there.
    unsafe { (at.read() >> NEXT_SHIFT) as u16 }
}

/// Whether a room of the page is free.
///
/// # Safety
/// `page` is live.
#[inline]
unsafe fn has_room(page: *const Page) -> bool {
    // SAFETY: as above.
    let (free, bump, class) = unsafe { ((*page).free, (*page).bump, (*page).class) };
    free != 0 || usize::from(bump) + room_of(usize::from(class)) <= PAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_cover_every_size_with_little_waste() {
        for size in 1..=ROOM_MAX {
            let class = class_of(size);
            assert!(class < CLASSES);
            let room = room_of(class);
            assert!(room >= size && room.is_multiple_of(8), "{size}: {room}");
            assert!(room - size < 8.max(size / 8 + 1), "{size}: {room}");
            assert!(
                class == 0 || room_of(class - 1) < size,
                "{size}: not the smallest"
            );
        }
        assert_eq!(room_of(CLASSES - 1), ROOM_MAX);
        assert!(!same_room(ROOM_MAX, ROOM_MAX + 1));
        assert!(same_room(ROOM_MAX + 1, 2560) && !same_room(2560, 2561));
    }

    #[test]
    fn rooms_do_not_overlap_and_pages_go_back() {
        let mut slab = Slab::default();
        let sizes = [8usize, 16, 56, 130, 1000, 2048, 5000];
        let count = if cfg!(miri) { 60 } else { 2000 };
        let mut held = Vec::new();
        for i in 0..count {
            let size = sizes[i % sizes.len()];
            let at = slab.alloc(size).unwrap();
            assert_eq!(at.as_ptr().addr() % 8, 0);
            // SAFETY: the room has `size` bytes and is ours.
            unsafe { at.as_ptr().write_bytes(i as u8, size) };
            held.push((at, size, i as u8));
        }
        slab.check_invariants();
        assert_eq!(slab.entries(), count);
        let mut order = 7usize;
        while !held.is_empty() {
            order = order.wrapping_mul(31).wrapping_add(17);
            let (at, size, fill) = held.swap_remove(order % held.len());
            // SAFETY: the room is ours, initialised, and given back once.
            unsafe {
                assert!(
                    std::slice::from_raw_parts(at.as_ptr(), size)
                        .iter()
                        .all(|b| *b == fill)
                );
                slab.free(at, size);
            }
        }
        slab.check_invariants();
        assert_eq!(slab.entries(), 0);
        assert!(
            slab.pages <= sizes.len(),
            "at most one empty page per class"
        );
    }

    #[test]
    fn sizes_beyond_the_address_space_are_refused() {
        let mut slab = Slab::default();
        assert_eq!(slab.alloc(usize::MAX), Err(OutOfMemory));
        assert_eq!(slab.alloc(isize::MAX as usize - 8), Err(OutOfMemory));
    }
}
