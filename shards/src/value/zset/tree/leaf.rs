//! A leaf: items in order, scores and ids apart.

use crate::counted;
use crate::error::OutOfMemory;

/// Items of a leaf: it fits 768 bytes.
pub const LEAF: usize = 63;

/// A score and the id of the member that has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item {
    pub score: f64,
    pub id: u32,
}

#[derive(Clone, Debug)]
pub struct Leaf {
    pub scores: [f64; LEAF],
    pub ids: [u32; LEAF],
    pub len: u32,
}

pub const EMPTY_LEAF: Leaf = Leaf {
    scores: [0.0; LEAF],
    ids: [0; LEAF],
    len: 0,
};

impl Leaf {
    pub fn boxed(self) -> Result<Box<[Self; 1]>, OutOfMemory> {
        let mut one = Vec::new();
        one.try_reserve_exact(1)?;
        one.push(self);
        Ok(one.try_into().expect("it is one"))
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    #[inline]
    pub fn item(&self, at: usize) -> Item {
        counted::elements(1);
        Item {
            score: self.scores[at],
            id: self.ids[at],
        }
    }

    /// How many items `before` holds for; they come first.
    #[inline]
    pub fn behind(&self, before: &mut impl FnMut(Item) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            if before(self.item(middle)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }

    pub fn insert(&mut self, at: usize, item: Item) {
        let len = self.len();
        self.scores.copy_within(at..len, at + 1);
        self.ids.copy_within(at..len, at + 1);
        self.scores[at] = item.score;
        self.ids[at] = item.id;
        self.len += 1;
    }

    pub fn remove(&mut self, at: usize) -> Item {
        let (item, len) = (self.item(at), self.len());
        self.scores.copy_within(at + 1..len, at);
        self.ids.copy_within(at + 1..len, at);
        self.len -= 1;
        item
    }

    /// Moves the items from `at` on to an empty leaf.
    pub fn split(&mut self, at: usize, right: &mut Self) {
        let moved = self.len() - at;
        right.scores[..moved].copy_from_slice(&self.scores[at..self.len()]);
        right.ids[..moved].copy_from_slice(&self.ids[at..self.len()]);
        // Lossless: at most LEAF.
        right.len = moved as u32;
        self.len = at as u32;
    }

    /// Moves the first `count` items to the end of the leaf on the left.
    pub fn give_left(&mut self, count: usize, left: &mut Self) {
        let (len, kept) = (left.len(), self.len() - count);
        left.scores[len..len + count].copy_from_slice(&self.scores[..count]);
        left.ids[len..len + count].copy_from_slice(&self.ids[..count]);
        self.scores.copy_within(count..count + kept, 0);
        self.ids.copy_within(count..count + kept, 0);
        // Lossless: at most LEAF.
        left.len += count as u32;
        self.len = kept as u32;
    }

    /// Takes the last `count` items of the leaf on the left.
    pub fn take_left(&mut self, count: usize, left: &mut Self) {
        let (len, start) = (self.len(), left.len() - count);
        self.scores.copy_within(..len, count);
        self.ids.copy_within(..len, count);
        self.scores[..count].copy_from_slice(&left.scores[start..start + count]);
        self.ids[..count].copy_from_slice(&left.ids[start..start + count]);
        // Lossless: at most LEAF.
        self.len += count as u32;
        left.len = start as u32;
    }
}
