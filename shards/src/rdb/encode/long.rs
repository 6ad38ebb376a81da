//! Texts that are so long that they are written in steps.
//!
//! One that may become shorter is compressed first, in steps, into memory of its own,
//! because how long it will be stands before it. One that becomes no shorter, or would
//! take too much of that memory, is written as it is ([`lzf::Steps`]).

use super::text::{Few, compressed_head, put};
use super::{Budget, COPIED_BYTES, PRESSED_BYTES};
use crate::error::OutOfMemory;
use crate::rdb::lzf;

/// Texts up to this length (bytes) are written at once.
pub const LONG: usize = 8 << 10;

/// How far the writing of a text has come.
#[derive(Debug, Default)]
pub enum LongText {
    #[default]
    New,
    Pressing(Box<lzf::Steps>),
    /// What is compressed, the last piece first.
    Pressed(Vec<Vec<u8>>),
    /// So many bytes of it are written as they are.
    Plain(usize),
}

impl LongText {
    /// Goes on; whether there is more.
    pub fn go_on(
        &mut self,
        text: &[u8],
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<bool, OutOfMemory> {
        while !budget.is_spent() {
            match self {
                Self::New if budget.compress => {
                    *self = Self::Pressing(Box::new(lzf::Steps::new()?));
                }
                Self::New => *self = Self::plain(text, out)?,
                Self::Pressing(steps) => {
                    let bytes = budget.elements.saturating_mul(PRESSED_BYTES);
                    let before = steps.at();
                    let step = steps.go_on(text, bytes)?;
                    budget.spend(steps.at().saturating_sub(before));
                    match step {
                        lzf::Step::More => {}
                        lzf::Step::Longer => *self = Self::plain(text, out)?,
                        lzf::Step::Over => {
                            let head = compressed_head(steps.len(), text.len());
                            put(out, head.as_bytes())?;
                            let mut pieces = steps.take_pieces();
                            pieces.reverse();
                            *self = Self::Pressed(pieces);
                        }
                    }
                }
                Self::Pressed(pieces) => {
                    let Some(piece) = pieces.pop() else {
                        return Ok(false);
                    };
                    put(out, &piece)?;
                    budget.elements = budget.elements.saturating_sub(piece.len() / COPIED_BYTES);
                }
                Self::Plain(at) => return copy_some(text, at, budget, out),
            }
        }
        Ok(true)
    }

    fn plain(text: &[u8], out: &mut Vec<u8>) -> Result<Self, OutOfMemory> {
        put(out, Few::of_len(text.len() as u64).as_bytes())?;
        Ok(Self::Plain(0))
    }
}

/// Writes what follows the first `at` bytes; whether there is more.
pub fn copy_some(
    text: &[u8],
    at: &mut usize,
    budget: &mut Budget,
    out: &mut Vec<u8>,
) -> Result<bool, OutOfMemory> {
    let some = budget.elements.saturating_mul(COPIED_BYTES);
    let end = at.saturating_add(some).min(text.len());
    put(out, text.get(*at..end).unwrap_or_default())?;
    let copied = end.saturating_sub(*at);
    *at = end;
    budget.elements = budget.elements.saturating_sub(copied / COPIED_BYTES);
    Ok(end < text.len())
}
