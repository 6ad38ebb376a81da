//! LZF, the compression of texts: runs of literals, and copies of what came before.
//!
//! ```text
//! 000lllll  then l + 1 bytes                       literals
//! lllooooo  oooooooo                               copy l + 2 bytes from o + 1 back
//! 111ooooo  llllllll  oooooooo                     copy l + 9 bytes
//! ```
//!
//! A table has for each hash of three bytes where they were seen last. The longer a run
//! without a copy becomes, the fewer of its places are looked at: what cannot be
//! compressed is soon known not to be.

use crate::error::OutOfMemory;

/// A run of literals.
const LITERALS_MAX: usize = 32;
/// A copy comes from no farther back.
const DISTANCE_MAX: usize = 1 << 13;
/// A copy is worth it from here on.
const COPY_MIN: usize = 3;
/// And is no longer.
const COPY_MAX: usize = 264;

/// A compressed text is at least so many bytes shorter, as in Redis.
const SAVED_MIN: usize = 4;

/// After so many literals each place that is looked at is one farther from the next.
const PATIENCE: usize = 32;

/// Three bytes make up to 264 of a text, and one cannot do more than that.
const EXPANSION_MAX: usize = COPY_MAX / 3;

/// Longer texts are not compressed: places are kept in four bytes.
const TEXT_MAX: usize = u32::MAX as usize;

/// Appends the compressed form of a text; whether it has one that is shorter. If not,
/// nothing is appended.
///
/// # Errors
/// There is no memory; nothing is appended.
pub fn compress(text: &[u8], out: &mut Vec<u8>) -> Result<bool, OutOfMemory> {
    if text.len() <= SAVED_MIN + COPY_MIN || text.len() > TEXT_MAX {
        return Ok(false);
    }
    // The smaller a table the less there is to clear; each is soon full.
    match text.len() {
        0..=128 => Compressor::<128>::whole(&mut [0; 128], text, out),
        129..=1024 => Compressor::<1024>::whole(&mut [0; 1024], text, out),
        1025..=4096 => Compressor::<4096>::whole(&mut [0; 4096], text, out),
        _ => Compressor::<8192>::whole(&mut [0; 8192], text, out),
    }
}

/// Bytes of a text that a step looks at, at most.
const STEP: usize = 16 << 10;

/// Bytes of a piece of what is compressed in steps.
const PIECE: usize = 64 << 10;

/// From so many bytes on a text is given up that has not become shorter so far.
const GIVEN_UP_FROM: usize = 256 << 10;

/// And one that has more bytes when it is compressed: they are kept meanwhile.
const KEPT_MAX: usize = 16 << 20;

/// The compression of a long text, in steps, to pieces of memory, of up to [`KEPT_MAX`]
/// bytes together.
#[derive(Debug)]
pub struct Steps {
    table: Vec<u32>,
    place: Place,
    pieces: Vec<Vec<u8>>,
    len: usize,
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    More,
    Over,
    /// The text has no form that is much shorter, as far as can be told, or that is too
    /// long.
    Longer,
}

impl Steps {
    const SLOTS: usize = 8192;

    /// Nothing is compressed yet.
    pub fn new() -> Result<Self, OutOfMemory> {
        let mut table = Vec::new();
        table.try_reserve_exact(Self::SLOTS)?;
        table.resize(Self::SLOTS, 0);
        Ok(Self {
            table,
            place: Place::default(),
            pieces: Vec::new(),
            len: 0,
        })
    }

    /// Bytes of the text that were looked at.
    pub fn at(&self) -> usize {
        self.place.at
    }

    /// Bytes that it is compressed to.
    #[allow(clippy::len_without_is_empty)] // Never asked before it is over.
    pub fn len(&self) -> usize {
        self.len
    }

    /// What it is compressed to.
    pub fn take_pieces(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.pieces)
    }

    /// Goes on by about so many bytes of the text, which is the same all the time.
    pub fn go_on(&mut self, text: &[u8], bytes: usize) -> Result<Step, OutOfMemory> {
        let most = text.len().saturating_sub(SAVED_MIN).min(TEXT_MAX);
        let until = self.place.at.saturating_add(bytes.clamp(COPY_MAX, STEP));
        let until = until.min(text.len());
        // The worst is literals all the way, and a copy that goes on behind the end.
        let needed = STEP.saturating_add(STEP / 16).saturating_add(1024);
        let has_room = |piece: &Vec<u8>| piece.capacity().saturating_sub(piece.len()) >= needed;
        if !self.pieces.last().is_some_and(has_room) {
            let mut piece = Vec::new();
            piece.try_reserve_exact(PIECE)?;
            self.pieces.try_reserve(1)?;
            self.pieces.push(piece);
        }
        let (Some(piece), Some(table)) = (self.pieces.last_mut(), self.table.first_chunk_mut())
        else {
            return Ok(Step::Longer);
        };
        let start = piece.len();
        let end = start.saturating_add(most.saturating_sub(self.len));
        let place = self.place;
        let mut compressor = Compressor::<{ Self::SLOTS }> { table, place };
        if !compressor.go_on(text, until, piece, end) {
            return Ok(Step::Longer);
        }
        let Place { at, written } = compressor.place;
        // The last few bytes were not looked at.
        let at = if until == text.len() {
            until
        } else {
            at.min(text.len())
        };
        if !put_literals(text, written..at, piece, end) {
            return Ok(Step::Longer);
        }
        self.place = Place { at, written: at };
        self.len = self.len.saturating_add(piece.len().saturating_sub(start));
        if at == text.len() {
            return Ok(Step::Over);
        }
        let hopeless = at >= GIVEN_UP_FROM && self.len.saturating_add(self.len / 32) >= at;
        match hopeless || self.len > KEPT_MAX {
            true => Ok(Step::Longer),
            false => Ok(Step::More),
        }
    }
}

/// How far the compression of a text has come.
#[derive(Debug)]
struct Compressor<'t, const SLOTS: usize> {
    table: &'t mut [u32; SLOTS],
    place: Place,
}

/// See [`Compressor`].
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    /// Up to here the text was looked at.
    at: usize,
    /// Up to here it was written.
    written: usize,
}

impl<const SLOTS: usize> Compressor<'_, SLOTS> {
    fn whole(
        table: &mut [u32; SLOTS],
        text: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, OutOfMemory> {
        let start = out.len();
        let room = text.len().saturating_sub(SAVED_MIN);
        out.try_reserve(room)?;
        let end = start.saturating_add(room);
        let mut compressor = Compressor {
            table,
            place: Place::default(),
        };
        let fits = compressor.go_on(text, text.len(), out, end)
            && put_literals(text, compressor.place.written..text.len(), out, end);
        if !fits {
            out.truncate(start);
        }
        Ok(fits)
    }

    /// Goes on until this place of the text, or a bit farther; whether the output, for
    /// which there is room, ends before `end`.
    #[inline]
    fn go_on(&mut self, text: &[u8], until: usize, out: &mut Vec<u8>, end: usize) -> bool {
        let Place {
            mut at,
            mut written,
        } = self.place;
        while at < until
            && let Some(here) = four(text, at)
        {
            let found = self.exchange(here, at);
            let back = at.wrapping_sub(found);
            // At the very beginning it is the place itself that is found.
            if back.wrapping_sub(1) >= DISTANCE_MAX
                || (four(text, found).unwrap_or(!here) ^ here) & THREE != 0
            {
                let run = at.wrapping_sub(written);
                at = at.saturating_add(1).saturating_add(run / PATIENCE);
                continue;
            }
            let len = common(text, found, at);
            if !put_literals(text, written..at, out, end) || !put_copy(back, len, out, end) {
                return false;
            }
            at = at.saturating_add(len);
            written = at;
            // Of the places that were passed over, one of the last will do.
            let last = at.saturating_sub(2);
            if let Some(here) = four(text, last) {
                self.exchange(here, last);
            }
        }
        self.place = Place { at, written };
        true
    }

    /// Where these three bytes were seen last; now it is here.
    #[inline]
    fn exchange(&mut self, here: u32, at: usize) -> usize {
        let bits = SLOTS.trailing_zeros();
        let hash = (here & THREE).wrapping_mul(0x9E37_79B1);
        let slot = hash.wrapping_shr(u32::BITS.wrapping_sub(bits)) as usize & SLOTS.wrapping_sub(1);
        // Lossless: TEXT_MAX.
        #[allow(clippy::cast_possible_truncation)]
        let at = at as u32;
        let slot = self.table.get_mut(slot);
        slot.map_or(0, |slot| std::mem::replace(slot, at)) as usize
    }
}

/// Of four bytes those that are compared at first.
const THREE: u32 = 0x00FF_FFFF;

#[inline]
fn four(text: &[u8], at: usize) -> Option<u32> {
    let chunk = text.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*chunk))
}

/// How many bytes are the same here and there, where the first three are.
#[inline]
fn common(text: &[u8], there: usize, here: usize) -> usize {
    let behind = |at: usize| text.get(at.saturating_add(COPY_MIN)..).unwrap_or_default();
    let (there, here) = (behind(there), behind(here));
    let most = COPY_MAX.saturating_sub(COPY_MIN);
    let here = here.get(..most).unwrap_or(here);
    let words = here.as_chunks::<8>().0.iter().zip(there.as_chunks::<8>().0);
    let mut same = COPY_MIN;
    for (one, other) in words {
        let differs = u64::from_le_bytes(*one) ^ u64::from_le_bytes(*other);
        if differs != 0 {
            return same.saturating_add(differs.trailing_zeros() as usize / 8);
        }
        same = same.saturating_add(8);
    }
    let passed = same.saturating_sub(COPY_MIN);
    let one = here.get(passed..).unwrap_or_default();
    let other = there.get(passed..).unwrap_or_default();
    let more = one
        .iter()
        .zip(other)
        .take_while(|(one, other)| one == other);
    same.saturating_add(more.count())
}

/// Whether so many bytes more end before `end`.
#[inline]
fn fits(out: &[u8], more: usize, end: usize) -> bool {
    out.len().saturating_add(more) <= end
}

#[inline]
fn put_literals(text: &[u8], range: std::ops::Range<usize>, out: &mut Vec<u8>, end: usize) -> bool {
    let mut rest = text.get(range).unwrap_or_default();
    if !fits(
        out,
        rest.len().saturating_add(rest.len().div_ceil(LITERALS_MAX)),
        end,
    ) {
        return false;
    }
    while let Some((run, behind)) = rest.split_at_checked(rest.len().min(LITERALS_MAX))
        && !run.is_empty()
    {
        // Lossless: LITERALS_MAX.
        #[allow(clippy::cast_possible_truncation)]
        out.push(run.len().wrapping_sub(1) as u8);
        out.extend_from_slice(run);
        rest = behind;
    }
    true
}

#[inline]
fn put_copy(back: usize, len: usize, out: &mut Vec<u8>, end: usize) -> bool {
    if !fits(out, 3, end) {
        return false;
    }
    let [low, high, ..] = back.wrapping_sub(1).to_le_bytes();
    let more = len.wrapping_sub(COPY_MIN.wrapping_sub(1));
    match u8::try_from(more) {
        Ok(more @ ..7) => out.extend_from_slice(&[more << 5 | high, low]),
        _ => {
            let [more, ..] = more.wrapping_sub(7).to_le_bytes();
            out.extend_from_slice(&[7 << 5 | high, more, low]);
        }
    }
    true
}

/// Why bytes could not be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LzfError {
    /// They are no compressed text of this length.
    Corrupt,
    OutOfMemory,
}

/// Appends the text of so many bytes that these are the compressed form of. What is
/// reserved is at most 88 times as much as these are, whatever the length.
///
/// # Errors
/// They are not, or there is no memory; nothing is appended.
pub fn decompress(bytes: &[u8], len: usize, out: &mut Vec<u8>) -> Result<(), LzfError> {
    if len > bytes.len().saturating_mul(EXPANSION_MAX) {
        return Err(LzfError::Corrupt);
    }
    let start = out.len();
    out.try_reserve(len).map_err(|_| LzfError::OutOfMemory)?;
    let end = start.saturating_add(len);
    match expand(bytes, out, start..end, usize::MAX) {
        Some(_) if out.len() == end => Ok(()),
        _ => {
            out.truncate(start);
            Err(LzfError::Corrupt)
        }
    }
}

/// A text that is decompressed step by step.
#[derive(Clone, Copy, Debug)]
pub struct Inflater {
    /// Up to here the compressed form was read.
    at: usize,
    len: usize,
}

impl Inflater {
    /// To a text of so many bytes, from so many.
    ///
    /// # Errors
    /// It cannot be that long.
    pub fn new(packed: usize, len: usize) -> Result<Self, LzfError> {
        match len > packed.saturating_mul(EXPANSION_MAX) {
            true => Err(LzfError::Corrupt),
            false => Ok(Self { at: 0, len }),
        }
    }

    /// Appends about so many bytes more to the text, which holds what it was given before,
    /// and nothing else; whether there are more. The bytes are the same all the time.
    ///
    /// # Errors
    /// As of [`decompress`].
    pub fn go_on(
        &mut self,
        bytes: &[u8],
        text: &mut Vec<u8>,
        budget: usize,
    ) -> Result<bool, LzfError> {
        let lacking = self.len.saturating_sub(text.len());
        let room = text.try_reserve_exact(lacking);
        room.map_err(|_| LzfError::OutOfMemory)?;
        let rest = bytes.get(self.at..).unwrap_or_default();
        let until = text.len().saturating_add(budget.max(1));
        let left = expand(rest, text, 0..self.len, until).ok_or(LzfError::Corrupt)?;
        self.at = bytes.len().saturating_sub(left);
        match left {
            0 if text.len() != self.len => Err(LzfError::Corrupt),
            _ => Ok(left > 0),
        }
    }
}

/// Writes a text behind what is there, in a range of places, up to `until` or a bit
/// farther. So many of the bytes are left; nothing if they are not right.
fn expand(
    mut bytes: &[u8],
    out: &mut Vec<u8>,
    range: std::ops::Range<usize>,
    until: usize,
) -> Option<usize> {
    let std::ops::Range { start, end } = range;
    while out.len() < until
        && let Some((head, rest)) = bytes.split_first()
    {
        let count = usize::from(head >> 5);
        if count == 0 {
            let (run, rest) = rest.split_at_checked(usize::from(*head).checked_add(1)?)?;
            fits(out, run.len(), end).then(|| out.extend_from_slice(run))?;
            bytes = rest;
            continue;
        }
        let (count, rest) = match count {
            7 => {
                let (more, rest) = rest.split_first()?;
                (usize::from(*more).checked_add(7)?, rest)
            }
            _ => (count, rest),
        };
        let (low, rest) = rest.split_first()?;
        bytes = rest;
        let back = (usize::from(head & 0x1F) << 8 | usize::from(*low)).checked_add(1)?;
        let from = out.len().checked_sub(back).filter(|from| *from >= start)?;
        let mut left = count.checked_add(2)?;
        if !fits(out, left, end) {
            return None;
        }
        // A copy may run into itself: there is more to copy with each step.
        while left > 0 {
            let some = left.min(out.len().checked_sub(from)?);
            out.extend_from_within(from..from.checked_add(some)?);
            left = left.checked_sub(some)?;
        }
    }
    Some(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn compressed(text: &[u8]) -> Option<Vec<u8>> {
        let mut out = b"before".to_vec();
        let shorter = compress(text, &mut out).unwrap();
        let rest = out.strip_prefix(b"before").unwrap().to_vec();
        assert_eq!(shorter, !rest.is_empty());
        shorter.then_some(rest)
    }

    /// The same, step by step.
    fn inflated(bytes: &[u8], len: usize, budget: usize) -> Result<Vec<u8>, LzfError> {
        let mut inflater = Inflater::new(bytes.len(), len)?;
        let mut text = Vec::new();
        while inflater.go_on(bytes, &mut text, budget)? {
            assert!(text.len() <= len);
        }
        Ok(text)
    }

    fn decompressed(bytes: &[u8], len: usize) -> Result<Vec<u8>, LzfError> {
        let mut out = b"before".to_vec();
        let result = decompress(bytes, len, &mut out);
        let rest = out.strip_prefix(b"before").unwrap().to_vec();
        for budget in [1, 100, usize::MAX] {
            let steps = inflated(bytes, len, budget);
            assert_eq!(steps, result.map(|()| rest.clone()));
        }
        match result {
            Ok(()) => Ok(rest),
            Err(error) => {
                assert!(rest.is_empty());
                Err(error)
            }
        }
    }

    fn check(text: &[u8]) {
        if let Some(bytes) = compressed(text) {
            assert!(bytes.len() + SAVED_MIN <= text.len());
            assert_eq!(decompressed(&bytes, text.len()).as_deref(), Ok(text));
            let other = [text.len() - 1, text.len() + 1, 0, usize::MAX];
            for len in other {
                assert_eq!(decompressed(&bytes, len), Err(LzfError::Corrupt));
            }
        }
    }

    #[test]
    fn what_repeats_is_compressed() {
        for len in [21, 40, 127, 128, 129, 4096, 4097, 100_000] {
            for period in [1, 2, 3, 7, 13, 100, 9_000] {
                let text: Vec<u8> = (0..len).map(|at| (at % period * 31) as u8).collect();
                check(&text);
                if period < len / 4 {
                    let bytes = compressed(&text).expect("it repeats");
                    assert!(bytes.len() < len / 2 + 30 + period, "{len} {period}");
                }
            }
        }
        assert!(compressed(&[b'a'; 100_000]).unwrap().len() < 100_000 / 80);
    }

    #[test]
    fn copies_reach_as_far_as_they_may() {
        // Nothing in between is the same as anything before.
        for distance in [8_190, 8_191, 8_192, 8_193] {
            let mut text = b"abcdefghijklmnopqrstuvwxyz".to_vec();
            let mut state = 7u64;
            while text.len() < distance {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                text.push((state >> 56) as u8 | 0x80);
            }
            text.extend_from_within(..26);
            check(&text);
        }
    }

    /// Recorded from DUMP of redis-server 7.0.15.
    #[test]
    fn what_redis_wrote_is_read() {
        let bytes = b"\x01aa\xE0\x13\x00\x01aa";
        assert_eq!(decompressed(bytes, 32).unwrap(), [b'a'; 32]);
        let bytes = b"\x0A01234567890\xE0\x12\x09\x0189";
        let text = b"0123456789".repeat(4);
        assert_eq!(decompressed(bytes, 40).unwrap(), text);
    }

    #[test]
    fn what_is_corrupt_is_refused() {
        for bytes in [
            &b""[..],
            b"\x05abc",       // A run that is not there.
            b"\x20\x00",      // A copy of nothing.
            b"\x00a\x20\x01", // From before the beginning.
            b"\x00a\xE0",     // Torn.
            b"\x00a\xE0\x01",
        ] {
            for len in [1, 4, 300, 1 << 40] {
                assert_eq!(decompressed(bytes, len), Err(LzfError::Corrupt));
            }
        }
        assert_eq!(decompressed(b"", 0), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn any_text_comes_back(
            words in proptest::collection::vec(proptest::collection::vec(0u8..6, 1..9), 1..6),
            order in proptest::collection::vec(0usize..6, 0..600),
        ) {
            let text: Vec<u8> = order.iter().flat_map(|at| words[at % words.len()].clone()).collect();
            check(&text);
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200),
            len in 0usize..2_000,
        ) {
            let text = decompressed(&bytes, len);
            prop_assert!(text.is_err() || text.is_ok_and(|text| text.len() == len));
        }
    }
}
