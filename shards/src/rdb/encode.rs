//! Values as bytes.
//!
//! | value | type |
//! |---|---|
//! | string | 0 |
//! | list | 18: its nodes' listpacks as they are, or one element by itself |
//! | set | 11 of integers, or 2 |
//! | sorted set | 17 a small one, or 5 |
//! | hash | 16 a small one, or 4; with deadlines of fields 25 or 24 |
//! | stream | 19 |
//!
//! A value that is in one piece is written at once, a large one in steps by an
//! [`Encoder`], which has no part of the value, only how far it has come. What is long
//! within it is written in steps, too. Only what is added at the end of the output is
//! ever looked at, so that may be taken away between two steps.

pub mod file;
mod large;
mod long;
mod packed;
mod stream;
pub mod text;

use super::format::{kind, version};
use crate::error::OutOfMemory;
use crate::value::{HashRef, ListRef, SetRef, StringRef, ValueRef, ZsetRef};
use large::{HashSteps, ListSteps, SetSteps, ZsetSteps};
use long::{LONG, LongText};
use stream::StreamSteps;
use text::{put_number, put_text};

/// So many bytes are as much work to compress as an element is to write.
const PRESSED_BYTES: usize = 32;
/// And so many to copy.
const COPIED_BYTES: usize = 256;

/// The type of what [`encode`] writes.
pub fn type_of(value: ValueRef<'_>) -> u8 {
    match value {
        ValueRef::String(_) => kind::STRING,
        ValueRef::List(_) => kind::LIST_QUICKLIST_2,
        ValueRef::Set(SetRef::Intset(_)) => kind::SET_INTSET,
        ValueRef::Set(_) => kind::SET,
        ValueRef::Zset(ZsetRef::Listpack(_)) => kind::ZSET_LISTPACK,
        ValueRef::Zset(ZsetRef::Skiplist(_)) => kind::ZSET_2,
        ValueRef::Hash(hash) => match (hash, hash.earliest()) {
            (HashRef::Table(_), None) => kind::HASH,
            (HashRef::Table(_), Some(_)) => kind::HASH_METADATA,
            (_, None) => kind::HASH_LISTPACK,
            (_, Some(_)) => kind::HASH_LISTPACK_EX,
        },
        ValueRef::Stream(_) => kind::STREAM_2,
    }
}

/// The least version of the format that has this.
pub fn version_of(value: ValueRef<'_>) -> u16 {
    match value {
        ValueRef::Hash(hash) if hash.earliest().is_some() => version::REDIS_7_4,
        _ => version::REDIS_7_0,
    }
}

/// About how many elements an [`Encoder`] has to go through; 0 for what is written at
/// once.
pub fn elements_of(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::String(StringRef::Bytes(text)) if text.len() > LONG => text.len() / PRESSED_BYTES,
        ValueRef::List(ListRef::Quicklist(list)) => {
            list.len().max(list.heap_bytes() / PRESSED_BYTES)
        }
        ValueRef::Set(SetRef::Table(table)) | ValueRef::Hash(HashRef::Table(table)) => {
            table.len().max(table.heap_bytes() / PRESSED_BYTES)
        }
        ValueRef::Zset(ZsetRef::Skiplist(zset)) => {
            zset.len().max(zset.heap_bytes() / PRESSED_BYTES)
        }
        ValueRef::Stream(stream) => stream.heap_bytes() / PRESSED_BYTES,
        _ => 0,
    }
}

/// Writes a value, without its type.
///
/// # Errors
/// There is no memory; nothing is written.
#[inline]
pub fn encode(value: ValueRef<'_>, compress: bool, out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
    match value {
        ValueRef::String(StringRef::Int(number)) => put_number(out, number),
        ValueRef::String(StringRef::Bytes(text)) if text.len() <= LONG => {
            put_text(out, text, compress)
        }
        _ => encode_all(value, compress, out),
    }
}

fn encode_all(value: ValueRef<'_>, compress: bool, out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
    let start = out.len();
    let mut encoder = Encoder::new(value);
    loop {
        match encoder.go_on(value, compress, usize::MAX, out) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(lacking) => {
                out.truncate(start);
                return Err(lacking);
            }
        }
    }
}

/// How far the writing of a value has come.
#[derive(Debug)]
pub struct Encoder(Steps);

#[derive(Debug)]
enum Steps {
    /// It is written at once.
    Whole,
    Text(LongText),
    List(ListSteps),
    Set(SetSteps),
    Zset(ZsetSteps),
    Hash(HashSteps),
    Stream(Box<StreamSteps>),
}

impl Encoder {
    /// Nothing is written yet.
    pub fn new(value: ValueRef<'_>) -> Self {
        Self(match value {
            ValueRef::String(StringRef::Bytes(text)) if text.len() > LONG => {
                Steps::Text(LongText::default())
            }
            ValueRef::List(ListRef::Quicklist(_)) => Steps::List(ListSteps::default()),
            ValueRef::Set(SetRef::Table(_)) => Steps::Set(SetSteps::default()),
            ValueRef::Zset(ZsetRef::Skiplist(_)) => Steps::Zset(ZsetSteps::default()),
            ValueRef::Hash(HashRef::Table(_)) => Steps::Hash(HashSteps::default()),
            ValueRef::Stream(_) => Steps::Stream(Box::default()),
            _ => Steps::Whole,
        })
    }

    /// Goes on with writing the value, which is the same all the time, by about `budget`
    /// elements; whether there is more. A text counts as more elements the longer it is.
    ///
    /// # Errors
    /// There is no memory: what has been written is of no use.
    pub fn go_on(
        &mut self,
        value: ValueRef<'_>,
        compress: bool,
        budget: usize,
        out: &mut Vec<u8>,
    ) -> Result<bool, OutOfMemory> {
        let budget = &mut Budget::new(budget, compress);
        match (&mut self.0, value) {
            (Steps::Text(steps), ValueRef::String(StringRef::Bytes(text))) => {
                steps.go_on(text, budget, out)
            }
            (Steps::List(steps), ValueRef::List(ListRef::Quicklist(list))) => {
                steps.go_on(list, budget, out)
            }
            (Steps::Set(steps), ValueRef::Set(set)) => steps.go_on(set, budget, out),
            (Steps::Zset(steps), ValueRef::Zset(zset)) => steps.go_on(zset, budget, out),
            (Steps::Hash(steps), ValueRef::Hash(hash)) => steps.go_on(hash, budget, out),
            (Steps::Stream(steps), ValueRef::Stream(stream)) => steps.go_on(stream, budget, out),
            _ => whole(value, compress, out).map(|()| false),
        }
    }
}

/// A value in one piece.
fn whole(value: ValueRef<'_>, compress: bool, out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
    match value {
        ValueRef::String(StringRef::Int(number)) => put_number(out, number),
        ValueRef::String(StringRef::Bytes(text)) => put_text(out, text, compress),
        ValueRef::List(list) => packed::put_list(out, list, compress),
        ValueRef::Set(set) => packed::put_set(out, set, compress),
        ValueRef::Zset(zset) => packed::put_zset(out, zset, compress),
        ValueRef::Hash(hash) => packed::put_hash(out, hash, compress),
        // It is none.
        ValueRef::Stream(_) => Ok(()),
    }
}

/// What a step may still do.
#[derive(Clone, Copy, Debug)]
struct Budget {
    elements: usize,
    compress: bool,
}

impl Budget {
    fn new(elements: usize, compress: bool) -> Self {
        Self {
            elements: elements.max(1),
            compress,
        }
    }

    fn is_spent(&self) -> bool {
        self.elements == 0
    }

    /// An element has been written, of so many bytes.
    #[inline]
    fn spend(&mut self, bytes: usize) {
        let more = match self.compress {
            true => bytes / PRESSED_BYTES,
            false => bytes / COPIED_BYTES,
        };
        self.elements = self.elements.saturating_sub(more.saturating_add(1));
    }
}

#[cfg(test)]
mod tests;
