//! A hash table of entries: the keys of one slot (or of a part of it).
//!
//! ```text
//! lines of 64 bytes          a word
//! ┌────────────────────┐     ┌─────────┬──────────┬────────────────┐
//! │ w w w w w w w w    │     │ tag: 18 │ expires:1│ address >> 3:45│   0: empty
//! │ w w w 0 0 0 0 0    │     └─────────┴──────────┴────────────────┘
//! │ …                  │
//! └────────────────────┘     home line = tag · lines >> 18
//! ```
//!
//! Linear probing over lines. The home line is monotonic in the tag, so the
//! order of the tags is an order of the table that growth and shrinking do not
//! change: a scan's position is a tag. Growing moves words and never touches
//! an entry. `expires` marks what has a deadline, itself or an element, so that the
//! expiry cycle passes by the others without touching them.
//!
//! Invariants: a line's words are packed to its front; between an entry's home
//! line and its line (wrapping around) every line is full; so a search ends at
//! the first line that is not. Deletion moves words back and leaves no
//! tombstones. At most nine tenths of the words are used.
//!
//! Costs: a search reads one line nearly always, and the entries whose tag
//! agrees. Numbers of lines follow the size classes of common allocators.
#![allow(unsafe_code)]

use super::entry::{Entry, EntryMut, EntryRef};
use super::slab::{OutOfMemory, Slab};
use crate::counted;
use crate::value::is_same;

/// Bits of the hash that a word keeps.
pub const TAG_BITS: u32 = 18;
/// One beyond the greatest tag.
pub const TAG_END: u32 = 1 << TAG_BITS;
const TAG_SHIFT: u32 = 64 - TAG_BITS;
const EXPIRES: u64 = 1 << 45;
const ADDRESS: u64 = EXPIRES - 1;
const WORDS: usize = 8;
/// A table of this size that is full asks to be split rather than to grow.
pub const LINES_MAX: usize = 256;

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u64; WORDS]);

/// Where an entry is, until the next insertion or removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    line: u32,
    index: u32,
}

/// Why a table cannot take one more entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// It has reached [`LINES_MAX`]: split it.
    Split,
    OutOfMemory,
}

/// The table. Entries left in it when it is dropped leak: take them out first.
#[derive(Default)]
pub struct Table {
    lines: Box<[Line]>,
    used: u32,
}

#[inline]
fn tag_of(word: u64) -> u32 {
    (word >> TAG_SHIFT) as u32
}

/// Bit `i` is set if word `i` has the tag. (An empty word looks like tag 0.)
#[inline]
fn matches(line: &Line, tag: u32) -> u32 {
    let wanted = tag << (32 - TAG_BITS);
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: SSE2 is part of every x86-64.
    return unsafe { matches_sse2(line, wanted) };
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    matches_plainly(line, wanted)
}

/// The bits of the upper half of a word that hold the tag.
const TAG_MASK: u32 = !0 << (32 - TAG_BITS);

/// Word by word; the oracle of the vector version, and what other processors run.
#[cfg_attr(all(target_arch = "x86_64", not(miri), not(test)), expect(dead_code))]
fn matches_plainly(line: &Line, wanted: u32) -> u32 {
    let mut found = 0;
    for (index, word) in line.0.iter().enumerate() {
        found |= u32::from(((word >> 32) as u32 ^ wanted) & TAG_MASK == 0) << index;
    }
    found
}

/// The upper halves of four words at a time (the compiler does not find this
/// by itself).
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[target_feature(enable = "sse2")]
#[inline]
fn matches_sse2(line: &Line, wanted: u32) -> u32 {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_castps_si128, _mm_castsi128_ps, _mm_cmpeq_epi32,
        _mm_movemask_ps, _mm_set_epi64x, _mm_set1_epi32, _mm_shuffle_ps,
    };
    let [a, b, c, d, e, f, g, h] = line.0.map(u64::cast_signed);
    let four = |low: __m128i, high: __m128i| {
        let (low, high) = (_mm_castsi128_ps(low), _mm_castsi128_ps(high));
        // Elements 1 and 3 of both: the upper halves, in the order of the words.
        let upper = _mm_castps_si128(_mm_shuffle_ps::<0b11_01_11_01>(low, high));
        let tags = _mm_and_si128(upper, _mm_set1_epi32(TAG_MASK.cast_signed()));
        let equal = _mm_cmpeq_epi32(tags, _mm_set1_epi32(wanted.cast_signed()));
        _mm_movemask_ps(_mm_castsi128_ps(equal)).cast_unsigned()
    };
    four(_mm_set_epi64x(b, a), _mm_set_epi64x(d, c))
        | four(_mm_set_epi64x(f, e), _mm_set_epi64x(h, g)) << 4
}

/// Greatest number of entries in `lines` lines.
fn room(lines: usize) -> usize {
    lines * WORDS * 9 / 10
}

/// The next size: four per power of two, as allocators have them.
fn next_size(lines: usize) -> usize {
    if lines < 4 {
        lines + 1
    } else {
        lines + (1 << (lines.ilog2() - 2))
    }
}

impl Table {
    /// Number of entries.
    pub fn len(&self) -> usize {
        self.used as usize
    }

    /// Number of lines.
    pub fn lines(&self) -> usize {
        self.lines.len()
    }

    /// The home line of a tag. The table must have lines.
    #[inline]
    pub fn home(&self, tag: u32) -> usize {
        ((u64::from(tag) * self.lines.len() as u64) >> TAG_BITS) as usize
    }

    /// The smallest tag whose home is at or after `line`.
    #[inline]
    pub fn first_tag(&self, line: usize) -> u32 {
        ((line as u64) << TAG_BITS).div_ceil(self.lines.len() as u64) as u32
    }

    /// Finds a key whose hash has `tag`, and its entry.
    #[inline]
    pub fn find(&self, tag: u32, key: &[u8]) -> Option<(Spot, EntryRef<'_>)> {
        let count = self.lines.len();
        let mut at = self.home(tag);
        for _ in 0..count {
            counted::line();
            let line = &self.lines[at];
            let mut found = matches(line, tag);
            while found != 0 {
                let index = found.trailing_zeros();
                let word = line.0[index as usize];
                // SAFETY: words that are not zero hold addresses of entries
                // that belong to the table; `self` is borrowed.
                let entry = (word != 0).then(|| unsafe { entry_at(word) });
                if let Some(entry) = entry
                    && is_same(entry.key(), key)
                {
                    let line = at as u32;
                    return Some((Spot { line, index }, entry));
                }
                found &= found - 1;
            }
            if line.0[WORDS - 1] == 0 {
                return None;
            }
            at = if at + 1 == count { 0 } else { at + 1 };
        }
        None
    }

    /// As [`Table::find`]; the entry may be changed in place.
    #[inline]
    pub fn find_mut(&mut self, tag: u32, key: &[u8]) -> Option<(Spot, EntryMut<'_>)> {
        let (spot, entry) = self.find(tag, key)?;
        // SAFETY: the entry is the table's, which is borrowed exclusively.
        Some((spot, unsafe { entry.into_mut() }))
    }

    /// Has the processor fetch the line where a search for `tag` begins.
    #[inline]
    pub fn prefetch_line(&self, tag: u32) {
        if let Some(line) = self.lines.get(self.home(tag)) {
            prefetch((&raw const *line).cast());
        }
    }

    /// Has the processor fetch the entries that a search for `tag` will read.
    #[inline]
    pub fn prefetch_entry(&self, tag: u32) {
        let Some(line) = self.lines.get(self.home(tag)) else {
            return;
        };
        let mut found = matches(line, tag);
        while found != 0 {
            let word = line.0[found.trailing_zeros() as usize];
            let address = (word & ADDRESS) as usize * 8;
            prefetch(std::ptr::without_provenance(address));
            prefetch(std::ptr::without_provenance(address + ENTRY_TAIL));
            found &= found - 1;
        }
    }

    /// Looks at the entry at a spot.
    #[inline]
    pub fn entry(&self, spot: Spot) -> EntryRef<'_> {
        // SAFETY: the word holds an entry of the table's; `self` is borrowed.
        unsafe { entry_at(self.word(spot)) }
    }

    /// The entry at a spot, to be changed in place.
    #[inline]
    pub fn entry_mut(&mut self, spot: Spot) -> EntryMut<'_> {
        // SAFETY: the word holds an entry of the table's; `self` is borrowed
        // exclusively.
        unsafe { EntryMut::from_address((self.word(spot) & ADDRESS) << 3) }
    }

    #[inline]
    fn word(&self, spot: Spot) -> u64 {
        let word = self.lines[spot.line as usize].0[spot.index as usize];
        assert!(word != 0, "a spot holds an entry until the table changes");
        word
    }

    /// The tag of the entry at a spot.
    pub fn tag(&self, spot: Spot) -> u32 {
        tag_of(self.word(spot))
    }

    /// Whether the entry at a spot is marked to have a deadline.
    #[inline]
    pub fn expires(&self, spot: Spot) -> bool {
        self.word(spot) & EXPIRES != 0
    }

    /// Marks the entry at a spot.
    #[inline]
    pub fn set_expires(&mut self, spot: Spot, expires: bool) {
        let mark = if expires { EXPIRES } else { 0 };
        let word = self.word(spot) & !EXPIRES | mark;
        self.lines[spot.line as usize].0[spot.index as usize] = word;
    }

    /// Puts another entry with the same key at a spot.
    pub fn replace(&mut self, spot: Spot, entry: Entry) -> Entry {
        let word = self.word(spot);
        let address = entry.into_address() >> 3;
        self.lines[spot.line as usize].0[spot.index as usize] = word & !ADDRESS | address;
        // SAFETY: the old word held an entry of the table's, which no word
        // holds any more.
        unsafe { Entry::from_address((word & ADDRESS) << 3) }
    }

    /// Makes room for one more entry. On failure the table is as it was.
    #[inline]
    pub fn reserve(&mut self) -> Result<(), Full> {
        if self.len() < room(self.lines.len()) {
            return Ok(());
        }
        self.grow(LINES_MAX)
    }

    /// As [`Table::reserve`], beyond [`LINES_MAX`] if need be.
    pub fn reserve_beyond(&mut self) -> Result<(), OutOfMemory> {
        if self.len() < room(self.lines.len()) {
            return Ok(());
        }
        self.grow(usize::MAX).map_err(|_| OutOfMemory)
    }

    #[cold]
    fn grow(&mut self, lines_max: usize) -> Result<(), Full> {
        let lines = next_size(self.lines.len());
        if lines > lines_max {
            return Err(Full::Split);
        }
        self.resize(lines).map_err(|_| Full::OutOfMemory)
    }

    /// Adds an entry whose key is not in the table; there must be room.
    pub fn insert(&mut self, tag: u32, entry: Entry) {
        assert!(self.len() < room(self.lines.len()), "room was reserved");
        let expires = if entry.look().due_at().is_some() {
            EXPIRES
        } else {
            0
        };
        let address = entry.into_address() >> 3;
        debug_assert!(address <= ADDRESS, "user addresses have 47 bits");
        self.insert_word(u64::from(tag) << TAG_SHIFT | expires | address);
        self.used += 1;
    }

    #[inline]
    fn insert_word(&mut self, word: u64) {
        let mut at = self.home(tag_of(word));
        loop {
            let line = &mut self.lines[at].0;
            if line[WORDS - 1] == 0 {
                let free = line.iter().position(|word| *word == 0);
                line[free.expect("the last one is free")] = word;
                return;
            }
            at = if at + 1 == self.lines.len() {
                0
            } else {
                at + 1
            };
        }
    }

    /// Takes the entry at a spot out. What a walk along [`Table::of_home`] has
    /// not met yet stays at or after the spot.
    pub fn remove(&mut self, spot: Spot) -> Entry {
        let word = self.word(spot);
        self.used -= 1;
        self.close_gap(spot.line as usize, spot.index as usize);
        // SAFETY: the word held an entry of the table's, which no word holds
        // any more.
        unsafe { Entry::from_address((word & ADDRESS) << 3) }
    }

    /// Restores the invariants after the word at a place was taken.
    fn close_gap(&mut self, line: usize, index: usize) {
        let count = self.lines.len();
        let (mut gap_line, mut gap_index) = (line, index);
        loop {
            let words = &mut self.lines[gap_line].0;
            let was_full = words[WORDS - 1] != 0;
            let last = words
                .iter()
                .rposition(|word| *word != 0)
                .unwrap_or(gap_index);
            words[gap_index] = words[last];
            words[last] = 0;
            if !was_full {
                return;
            }
            // The line is not full any more: an entry after it whose search
            // passes through it would not be found.
            let hole = gap_line;
            let mut at = hole;
            let mover = loop {
                at = if at + 1 == count { 0 } else { at + 1 };
                if at == hole {
                    return;
                }
                let passes = |word: &u64| {
                    let home = self.home(tag_of(*word));
                    *word != 0 && distance(home, at, count) >= distance(hole, at, count)
                };
                if let Some(index) = self.lines[at].0.iter().position(passes) {
                    break index;
                }
                if self.lines[at].0[WORDS - 1] == 0 {
                    return;
                }
            };
            self.lines[hole].0[WORDS - 1] = self.lines[at].0[mover];
            (gap_line, gap_index) = (at, mover);
        }
    }

    /// Gives memory back if the table is sparse.
    #[inline]
    pub fn shrink(&mut self) {
        let (used, lines) = (self.len(), self.lines.len());
        if used * 5 < lines * WORDS * 2 && (lines > 1 || used == 0) {
            self.shrink_to(used);
        }
    }

    #[cold]
    fn shrink_to(&mut self, used: usize) {
        let mut lines = used.min(1);
        // At most three quarters full, so that it does not grow again at once.
        while lines * WORDS * 3 < used * 4 {
            lines = next_size(lines);
        }
        if lines < self.lines.len() {
            // Without memory for the smaller one the larger one stays.
            let _ = self.resize(lines);
        }
    }

    fn resize(&mut self, lines: usize) -> Result<(), OutOfMemory> {
        let mut fresh = Vec::new();
        fresh.try_reserve_exact(lines).map_err(|_| OutOfMemory)?;
        fresh.resize(lines, Line([0; WORDS]));
        let old = std::mem::replace(&mut self.lines, fresh.into_boxed_slice());
        for word in old.iter().flat_map(|line| line.0).filter(|word| *word != 0) {
            self.insert_word(word);
        }
        Ok(())
    }

    /// Moves the entries whose key `leaves` chooses into a new table. On
    /// failure the table is as it was.
    pub fn split(&mut self, leaves: impl Fn(&[u8]) -> bool) -> Result<Self, OutOfMemory> {
        /// Lines between the one being moved and the one being fetched.
        const AHEAD: usize = 4;
        let (mut kept, mut left) = (Self::default(), Self::default());
        // Each could hold everything, so nothing can fail half-way.
        kept.resize(self.lines.len())?;
        left.resize(self.lines.len())?;
        let old = std::mem::take(&mut self.lines);
        for at in 0..old.len() {
            for word in old.get(at + AHEAD).iter().flat_map(|line| line.0) {
                prefetch(std::ptr::without_provenance((word & ADDRESS) as usize * 8));
            }
            for word in old[at].0.into_iter().filter(|word| *word != 0) {
                // SAFETY: the word holds an entry of the table's.
                let key = unsafe { entry_at(word) }.key();
                let side = if leaves(key) { &mut left } else { &mut kept };
                side.insert_word(word);
                side.used += 1;
            }
        }
        kept.shrink_to(kept.len());
        left.shrink_to(left.len());
        *self = kept;
        Ok(left)
    }

    /// The first entry at or after `step` whose home line is `home`, and the
    /// step after it. Steps count from 0; the walk meets every entry of the
    /// home line once, also if those it met are removed, each at once, with
    /// the next step being the one at which it was found.
    pub fn of_home(&self, home: usize, mut step: usize) -> Option<(usize, Spot)> {
        let count = self.lines.len();
        while step < count * WORDS {
            counted::line();
            let at = (home + step / WORDS) % count;
            let word = self.lines[at].0[step % WORDS];
            if word == 0 {
                return None;
            }
            if self.home(tag_of(word)) == home {
                let spot = Spot {
                    line: at as u32,
                    index: (step % WORDS) as u32,
                };
                return Some((step + 1, spot));
            }
            step += 1;
        }
        None
    }

    /// The entry at a place chosen by a number, if one is there.
    pub fn at_random(&self, random: u64) -> Option<EntryRef<'_>> {
        let words = (self.lines.len() * WORDS) as u64;
        let place = ((u128::from(random) * u128::from(words)) >> 64) as usize;
        let word = *self.lines.get(place / WORDS)?.0.get(place % WORDS)?;
        // SAFETY: as in `entry`.
        (word != 0).then(|| unsafe { entry_at(word) })
    }

    /// All entries, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = EntryRef<'_>> {
        // SAFETY: as in `entry`.
        let entry = |word| unsafe { entry_at(word) };
        let counted = |_: &u64| counted::elements(1);
        self.lines
            .iter()
            .flat_map(|line| line.0)
            .filter(|word| *word != 0)
            .inspect(counted)
            .map(entry)
    }

    /// Takes all entries out and leaves an empty table.
    pub fn drain(&mut self) -> impl Iterator<Item = Entry> + use<> {
        let lines = std::mem::take(&mut self.lines);
        self.used = 0;
        // SAFETY: the words held entries of the table's; no word does any more.
        let entry = |word: u64| unsafe { Entry::from_address((word & ADDRESS) << 3) };
        let words = lines.into_vec().into_iter().flat_map(|line| line.0);
        words.filter(|word| *word != 0).map(entry)
    }

    /// Gives its entries up without touching them: `slab`, which holds all of
    /// them whole, will drop its pages as they are.
    pub fn abandon(self, slab: &mut Slab) {
        // SAFETY: the words are gone with the table. Entries of a store come
        // from its one slab; `scattered` entries, which a page does not hold
        // whole, are freed one by one by the store.
        unsafe { slab.abandon(self.len()) };
    }

    /// Checks the structure; panics if it contradicts itself. `tag` computes
    /// the tag of a key.
    pub fn check_invariants(&self, tag: impl Fn(&[u8]) -> u32) {
        let mut used = 0;
        for (at, line) in self.lines.iter().enumerate() {
            let packed = line.0.iter().take_while(|word| **word != 0).count();
            assert!(
                line.0[packed..].iter().all(|word| *word == 0),
                "packed to the front"
            );
            for (index, word) in line.0[..packed].iter().enumerate() {
                used += 1;
                let spot = Spot {
                    line: at as u32,
                    index: index as u32,
                };
                let entry = self.entry(spot);
                assert_eq!(tag_of(*word), tag(entry.key()), "the tag is the key's");
                assert!(
                    self.expires(spot) || entry.due_at().is_none(),
                    "what may expire is marked"
                );
                assert_eq!(
                    self.find(tag_of(*word), entry.key()).map(|(spot, _)| spot),
                    Some(spot),
                    "it is found"
                );
            }
        }
        assert_eq!(used, self.len());
        assert!(used <= room(self.lines.len()));
        assert!(
            used > 0 || self.lines.is_empty(),
            "an empty table holds no memory"
        );
    }
}

/// Lines from `from` on to `to`, wrapping around.
#[inline]
fn distance(from: usize, to: usize, count: usize) -> usize {
    if to >= from {
        to - from
    } else {
        to + count - from
    }
}

/// # Safety
/// `word` is a word of a table that is borrowed for `'a`, and not zero.
#[inline]
unsafe fn entry_at<'a>(word: u64) -> EntryRef<'a> {
    // SAFETY: such words hold addresses of entries that belong to the table.
    unsafe { EntryRef::from_address((word & ADDRESS) << 3) }
}

/// Where the entry of a key of 16 bytes and a value of 32 ends: in the next line of the
/// cache as a rule.
const ENTRY_TAIL: usize = 56;

/// A hint; any address is allowed.
#[inline]
fn prefetch(at: *const u8) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: the instruction exists on every x86-64 and never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = at;
}

#[cfg(test)]
mod tests;
