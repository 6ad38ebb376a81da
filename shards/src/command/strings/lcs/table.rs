//! The textbook's table, cell `[i][j]` the length for the first `i` bytes of one string
//! and the first `j` of the other, in one bit per cell: whether it is longer than the cell
//! to the left, which neighbours never are by more than one. A row follows from the row
//! above 64 cells at a time (Crochemore, Iliopoulos, Pinzon and Reid, "A fast and
//! practical bit-vector algorithm for the longest common subsequence problem", 2001). On
//! the way back, where the two bytes differ, such a cell has its length from above, and
//! any other as well from the left. Ties go left, which decides which of several
//! subsequences is found.
//!
//! All of that may be done in slices: then nothing large is allocated, filled or freed in
//! one piece.

use crate::command::texts::Chunked;
use crate::counted;
use crate::error::OutOfMemory;

/// Bytes of rows that are allocated together, unless one has more.
const CHUNK_BYTES: usize = 256 << 10;
/// Chunks that are freed at once.
const CHUNKS_FREED: usize = 4;
/// Words that are filled with zeros while one of cells is computed.
const ZEROS: usize = 8;
/// Steps that take as long as an element of a collection to go through.
pub const ELEMENT_STEPS: usize = 32;

/// A stretch of bytes that the strings have in common.
#[derive(Clone, Copy, Debug)]
pub struct Match {
    /// Where it begins in either string.
    pub a: usize,
    pub b: usize,
    pub len: usize,
}

/// Rows of one width, in chunks, filled one after the other.
#[derive(Debug)]
struct Rows<T> {
    width: usize,
    /// Rows of a chunk.
    per: usize,
    chunks: Vec<Vec<T>>,
}

impl<T: Copy> Rows<T> {
    fn new(width: usize, count: usize) -> Self {
        let per = CHUNK_BYTES / size_of::<T>() / width.max(1);
        Self {
            width,
            per: per.clamp(1, count.max(1)),
            chunks: Vec::new(),
        }
    }

    /// Where the next items go: how many there is room for, at least one.
    fn room(&mut self) -> Result<(&mut Vec<T>, usize), OutOfMemory> {
        let full = (self.per * self.width).max(1);
        if self.chunks.last().is_none_or(|last| last.len() >= full) {
            self.chunks.try_reserve(1)?;
            let mut chunk = Vec::new();
            chunk.try_reserve_exact(full)?;
            self.chunks.push(chunk);
        }
        let last = self.chunks.last_mut().ok_or(OutOfMemory)?;
        let room = full - last.len();
        Ok((last, room))
    }

    fn row(&self, number: usize) -> &[T] {
        let start = number % self.per * self.width;
        &self.chunks[number / self.per][start..start + self.width]
    }

    fn row_mut(&mut self, number: usize) -> &mut [T] {
        let start = number % self.per * self.width;
        &mut self.chunks[number / self.per][start..start + self.width]
    }

    fn free_some(&mut self) -> bool {
        let left = self.chunks.len().saturating_sub(CHUNKS_FREED);
        self.chunks.truncate(left);
        left > 0
    }
}

/// What is to be done next.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// So many bytes of `a` have been looked at, for which there are.
    Kinds(usize),
    /// So many words of masks and of the first row are made.
    Words(usize),
    /// So many bytes of `b` are in the masks.
    Masks(usize),
    /// In row `i`, from a word on.
    Fill {
        i: usize,
        word: usize,
        carry: bool,
    },
    /// So many words of the last row are counted.
    Count(usize),
    /// On the way back, with so many bytes that were the same.
    Back {
        i: usize,
        j: usize,
        len: usize,
    },
    Over,
}

const NONE: u16 = u16::MAX;

/// See above.
#[derive(Debug)]
pub struct Table {
    /// The last row filled: a bit is 0 where the length grows.
    row: Vec<u64>,
    /// All rows, each in whole bytes, if somebody will walk back.
    rows: Option<Rows<u8>>,
    /// Per byte value, the number of its mask among `masks`.
    mask_of: [u16; 256],
    kinds: u16,
    /// For each byte value in `a`, where it stands in `b`: as long as a row.
    masks: Rows<u64>,
    stage: Stage,
    length: usize,
    /// Matches of at least so many bytes, from the last to the first.
    least: usize,
    found: Chunked<Match>,
}

/// About how many steps the table of strings of these lengths takes.
pub fn steps(a: usize, b: usize) -> usize {
    let words = a.saturating_mul(1 + b.div_ceil(64));
    words.saturating_add(a.saturating_add(b).saturating_mul(2))
}

impl Table {
    /// Of strings of these lengths. With `least`, the matches of at least so many bytes are
    /// looked for, else only the length.
    pub fn new(a: usize, b: usize, least: Option<usize>) -> Self {
        let is_empty = a == 0 || b == 0;
        Self {
            row: Vec::new(),
            rows: least.map(|_| Rows::new(b.div_ceil(8), a)),
            mask_of: [NONE; 256],
            kinds: 0,
            masks: Rows::new(0, 0),
            stage: if is_empty {
                Stage::Over
            } else {
                Stage::Kinds(0)
            },
            length: 0,
            least: least.unwrap_or(0),
            found: Chunked::default(),
        }
    }

    /// Goes on with about so many steps; whether there is more to do. The strings are the
    /// same each time.
    pub fn go_on(&mut self, a: &[u8], b: &[u8], budget: usize) -> Result<bool, OutOfMemory> {
        let mut left = budget.max(1);
        while left > 0 && !matches!(self.stage, Stage::Over) {
            self.stage = match self.stage {
                Stage::Kinds(at) => self.note_kinds(a, b, at, &mut left),
                Stage::Words(made) => self.make_words(made, &mut left)?,
                Stage::Masks(at) => self.fill_masks(b, at, &mut left),
                Stage::Fill { i, word, carry } => self.fill(a, b, (i, word, carry), &mut left)?,
                Stage::Count(at) => self.count(b, (a.len(), at), &mut left),
                Stage::Back { i, j, len } => self.walk_back(a, b, (i, j, len), &mut left)?,
                Stage::Over => Stage::Over,
            };
        }
        counted::elements(budget.saturating_sub(left).div_ceil(ELEMENT_STEPS));
        Ok(!matches!(self.stage, Stage::Over))
    }

    /// The length of the longest common subsequence.
    pub fn length(&self) -> usize {
        self.length
    }

    /// How many matches were found.
    pub fn matches(&self) -> usize {
        self.found.len()
    }

    /// One of them; the first one is the last in the strings.
    pub fn found(&self, index: usize) -> Option<Match> {
        self.found.get(index).copied()
    }

    /// Frees some memory of one that is not needed any more; whether there is more of it.
    pub fn free_some(&mut self) -> bool {
        let rows = self.rows.as_mut().is_some_and(Rows::free_some);
        rows | self.masks.free_some() | self.found.free_some()
    }

    fn note_kinds(&mut self, a: &[u8], b: &[u8], at: usize, left: &mut usize) -> Stage {
        let end = at.saturating_add(*left).min(a.len());
        *left -= end - at;
        for byte in &a[at..end] {
            let number = &mut self.mask_of[usize::from(*byte)];
            if *number == NONE {
                (*number, self.kinds) = (self.kinds, self.kinds + 1);
            }
        }
        if end < a.len() {
            return Stage::Kinds(end);
        }
        self.masks = Rows::new(b.len().div_ceil(64), usize::from(self.kinds));
        Stage::Words(0)
    }

    fn make_words(&mut self, made: usize, left: &mut usize) -> Result<Stage, OutOfMemory> {
        let width = self.masks.width;
        let all = width * usize::from(self.kinds);
        let some = left.saturating_mul(ZEROS);
        let some = if made < all {
            let (chunk, room) = self.masks.room()?;
            let some = some.min(room).min(all - made);
            chunk.resize(chunk.len() + some, 0);
            some
        } else {
            let some = some.min(all + width - made);
            self.row.try_reserve_exact(width - self.row.len())?;
            self.row.resize(self.row.len() + some, u64::MAX);
            some
        };
        *left = left.saturating_sub(some.div_ceil(ZEROS));
        Ok(match made + some < all + width {
            true => Stage::Words(made + some),
            false => Stage::Masks(0),
        })
    }

    fn fill_masks(&mut self, b: &[u8], at: usize, left: &mut usize) -> Stage {
        let end = at.saturating_add(*left).min(b.len());
        *left -= end - at;
        for (j, byte) in (at..).zip(&b[at..end]) {
            let number = self.mask_of[usize::from(*byte)];
            if number != NONE {
                self.masks.row_mut(usize::from(number))[j / 64] |= 1 << (j % 64);
            }
        }
        match end < b.len() {
            true => Stage::Masks(end),
            false => Stage::Fill {
                i: 0,
                word: 0,
                carry: false,
            },
        }
    }

    /// Fills rows, from a word of one on.
    fn fill(
        &mut self,
        a: &[u8],
        b: &[u8],
        (mut i, mut word, mut carry): (usize, usize, bool),
        left: &mut usize,
    ) -> Result<Stage, OutOfMemory> {
        let width = self.row.len();
        while i < a.len() && *left > 0 {
            let end = word.saturating_add(*left).min(width);
            let mask = self.masks.row(usize::from(self.mask_of[usize::from(a[i])]));
            let some = &mut self.row[word..end];
            for (cells, mask) in some.iter_mut().zip(&mask[word..end]) {
                let (sum, over) = cells.overflowing_add(*cells & mask);
                let (sum, over_too) = sum.overflowing_add(u64::from(carry));
                carry = over || over_too;
                *cells = sum | (*cells & !mask);
            }
            if let Some(rows) = &mut self.rows {
                let (chunk, _) = rows.room()?;
                for (number, cells) in (word..).zip(some) {
                    let bytes = b.len().div_ceil(8) - number * 8;
                    chunk.extend_from_slice(&cells.to_le_bytes()[..bytes.min(8)]);
                }
            }
            *left = left.saturating_sub(1 + end - word);
            (i, word, carry) = match end < width {
                true => (i, end, carry),
                false => (i + 1, 0, false),
            };
        }
        Ok(match i < a.len() {
            true => Stage::Fill { i, word, carry },
            false => Stage::Count(0),
        })
    }

    /// Counts where the last of `a_len` rows grows. What is behind the end of `b` never does.
    fn count(&mut self, b: &[u8], (a_len, at): (usize, usize), left: &mut usize) -> Stage {
        let end = at.saturating_add(*left).min(self.row.len());
        *left -= end - at;
        let zeros = self.row[at..end].iter().map(|cells| cells.count_zeros());
        self.length += zeros.map(|count| count as usize).sum::<usize>();
        match (end < self.row.len(), &self.rows) {
            (true, _) => Stage::Count(end),
            (false, None) => Stage::Over,
            (false, Some(_)) => Stage::Back {
                i: a_len,
                j: b.len(),
                len: 0,
            },
        }
    }

    fn walk_back(
        &mut self,
        a: &[u8],
        b: &[u8],
        (mut i, mut j, mut len): (usize, usize, usize),
        left: &mut usize,
    ) -> Result<Stage, OutOfMemory> {
        let Some(rows) = &self.rows else {
            return Ok(Stage::Over);
        };
        while i > 0 && j > 0 {
            if *left == 0 {
                return Ok(Stage::Back { i, j, len });
            }
            *left -= 1;
            if a[i - 1] == b[j - 1] {
                (i, j, len) = (i - 1, j - 1, len + 1);
                continue;
            }
            if len > 0 && len >= self.least {
                self.found.push(Match { a: i, b: j, len })?;
            }
            len = 0;
            if rows.row(i - 1)[(j - 1) / 8] >> ((j - 1) % 8) & 1 == 0 {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        if len > 0 && len >= self.least {
            self.found.push(Match { a: i, b: j, len })?;
        }
        Ok(Stage::Over)
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::types::Random;

    /// Two rows of lengths, and the way back by the rule that ties go left.
    fn by_the_textbook(a: &[u8], b: &[u8]) -> (Vec<u8>, usize) {
        let mut lengths = vec![vec![0usize; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                lengths[i][j] = match a[i - 1] == b[j - 1] {
                    true => lengths[i - 1][j - 1] + 1,
                    false => lengths[i - 1][j].max(lengths[i][j - 1]),
                };
            }
        }
        let (mut i, mut j, mut text) = (a.len(), b.len(), Vec::new());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                text.push(a[i - 1]);
                (i, j) = (i - 1, j - 1);
            } else if lengths[i - 1][j] > lengths[i][j - 1] {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        text.reverse();
        (text, lengths[a.len()][b.len()])
    }

    /// The table of two strings, made with so many steps at a time.
    fn table(a: &[u8], b: &[u8], least: Option<usize>, budget: usize) -> Table {
        let mut table = Table::new(a.len(), b.len(), least);
        while table.go_on(a, b, budget).unwrap() {}
        table
    }

    #[test]
    fn words_of_cells_do_as_single_cells_do() {
        let mut random = Random::new(3);
        let lengths = [0, 1, 2, 7, 8, 9, 63, 64, 65, 127, 128, 129, 200];
        for a_len in lengths {
            for b_len in lengths {
                for letters in [1, 2, 4, 26, 256] {
                    let mut text = |len| -> Vec<u8> {
                        let letter = |_| (random.next() % letters) as u8;
                        (0..len).map(letter).collect()
                    };
                    let (a, b) = (text(a_len), text(b_len));
                    let (subsequence, length) = by_the_textbook(&a, &b);
                    for budget in [usize::MAX, 1, 7] {
                        let table = table(&a, &b, Some(0), budget);
                        assert_eq!(table.length(), length);
                        let found = (0..table.matches()).rev();
                        let found = found.filter_map(|index| table.found(index));
                        let found: Vec<u8> = found
                            .flat_map(|it| a[it.a..it.a + it.len].to_vec())
                            .collect();
                        assert_eq!(found, subsequence);
                    }
                    assert_eq!(table(&a, &b, None, 3).length(), length);
                }
            }
        }
    }

    #[test]
    fn long_rows_and_many_are_in_chunks() {
        let (long, short) = (vec![b'x'; 600_000], b"axbxx".to_vec());
        for (a, b) in [(&long, &short), (&short, &long)] {
            for budget in [usize::MAX, 1000] {
                let mut table = table(a, b, Some(0), budget);
                assert_eq!(table.length(), 3);
                while table.free_some() {}
                assert!(table.rows.unwrap().chunks.is_empty());
            }
        }
    }
}
