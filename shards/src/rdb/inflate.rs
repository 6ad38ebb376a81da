//! A text that is decompressed step by step.

use super::lzf::{Inflater, LzfError};
use super::reader::Fault;
use crate::counted;
use std::ops::Range;

/// See the module.
#[derive(Debug)]
pub struct Inflating {
    /// Where it lies among the bytes that are shown to every step.
    place: Range<usize>,
    inflater: Inflater,
    text: Vec<u8>,
}

impl Inflating {
    /// Begins with what lies in such a place and will be so long.
    pub fn new(place: Range<usize>, len: u64) -> Result<Self, Fault> {
        let len = usize::try_from(len).map_err(|_| LzfError::Corrupt)?;
        Ok(Self {
            inflater: Inflater::new(place.len(), len)?,
            place,
            text: Vec::new(),
        })
    }

    /// Goes on by about so many bytes; whether there are more.
    pub fn go_on(&mut self, bytes: &[u8], budget: usize) -> Result<bool, Fault> {
        let packed = bytes.get(self.place.clone()).unwrap_or_default();
        let before = self.text.len();
        let more = self.inflater.go_on(packed, &mut self.text, budget)?;
        counted::copied(self.text.len().saturating_sub(before));
        Ok(more)
    }

    /// The text, when there is no more.
    pub fn into_text(self) -> Vec<u8> {
        self.text
    }
}
