//! A value, made of the bytes that it has in a file or a payload.
//!
//! Whatever the bytes are, what comes of them is a value that this module's own side could
//! have made, or an error. Every count and length is believed only when what it counts is
//! there; every element comes once where it must; everything is looked at, down to the
//! last byte of a listpack.
//!
//! | file | has |
//! |---|---|
//! | `rows.rs` | elements as they are read |
//! | `packed.rs`, `legacy.rs` | those that lie together in one text |
//! | `making.rs`, `seen.rs` | what is made of them |
//! | `adopt.rs` | listpacks that are kept as they are |
//! | `streams.rs`, `streams/` | streams |
//!
//! A large value is decoded in slices: a [`Decoder`] keeps how far it has come.

mod adopt;
mod legacy;
mod making;
mod packed;
mod rows;
mod seen;
mod streams;

use super::form::Form;
use super::inflate::Inflating;
use super::reader::{Fault, LoadError, Reader, Text};
use crate::counted;
use crate::types::UnixMs;
use crate::value::{Growth, List, Owned, Value, copy};
use making::{Fields, Making, Members, Scored};
use rows::{Next, Rows};
use std::ops::Range;
use streams::Streaming;

/// So many bytes are as much work as an element.
const WORK_BYTES: usize = 256;

/// To find a place for an element of a large collection is as much work as so many
/// elements are that are only gone through.
const FOUND: usize = 4;

/// Bytes that a budget of elements may be spent on.
fn bytes_of(budget: usize) -> usize {
    budget.saturating_mul(WORK_BYTES)
}

/// What is known when values are decoded.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    /// Thresholds of encodings, and a seed of the value's own.
    pub growth: Growth<'a>,
    /// Fields of hashes whose time has come by then are left out.
    pub now: UnixMs,
}

/// The value that these bytes are, all of them; nothing if it would be empty.
///
/// # Errors
/// They are no value of this form, and where. Or there is no memory.
pub fn decode(form: Form, bytes: &[u8], terms: &Terms<'_>) -> Result<Option<Owned>, LoadError> {
    let mut decoder = Decoder::new(form);
    let value = loop {
        if let Some(value) = decoder.go_on(bytes, terms, usize::MAX)? {
            break value;
        }
    };
    if decoder.at != bytes.len() {
        let kind = Fault::Corrupt("a value is followed by bytes that are not its own");
        return Err(LoadError::new(decoder.at, kind));
    }
    Ok(value)
}

/// The text that a value of this form is, if it is no more than that.
#[inline]
pub fn plain_text(form: Form, bytes: &[u8]) -> Option<&[u8]> {
    let mut reader = Reader::new(bytes, 0);
    match form {
        Form::String => match reader.text() {
            Ok(Text::Raw(text)) if reader.rest().is_empty() => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// About how many elements the bytes say that there are to go through, or more. It may
/// be anything: nothing was looked at.
pub fn elements_told(form: Form, bytes: &[u8]) -> u64 {
    /// The least that an element takes among others, about.
    const ELEMENT: u64 = 8;
    let mut reader = Reader::new(bytes, 0);
    let (told, each) = match form {
        Form::String => (text_len(&mut reader), WORK_BYTES as u64),
        Form::List | Form::Set | Form::Zset | Form::ZsetText | Form::Hash | Form::HashValkey => {
            (reader.length(), 1)
        }
        Form::HashDeadlines => (reader.ms().and_then(|_| reader.length()), 1),
        Form::HashListpackEx => {
            let len = reader.ms().and_then(|_| text_len(&mut reader));
            (len, ELEMENT)
        }
        Form::Quicklist | Form::Quicklist2 | Form::Stream | Form::Stream2 | Form::Stream3 => {
            (Ok(bytes.len() as u64), ELEMENT)
        }
        _ => (text_len(&mut reader), ELEMENT),
    };
    told.unwrap_or_default()
        .checked_div(each)
        .unwrap_or_default()
}

/// How long a text is when it is decompressed.
fn text_len(reader: &mut Reader<'_>) -> Result<u64, Fault> {
    Ok(match reader.text()? {
        Text::Int(_) => 0,
        Text::Raw(text) => text.len() as u64,
        Text::Lzf(_, len) => len,
    })
}

/// A value that is being decoded.
#[derive(Debug)]
pub struct Decoder {
    form: Form,
    /// Up to here the bytes were read.
    at: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    New,
    /// A string, so far.
    Copying(Range<usize>, Vec<u8>),
    Inflating(Inflating),
    Rows(Box<(Rows, Making)>),
    Stream(Box<Streaming>),
    /// There is no more to be had.
    Over,
}

impl Decoder {
    pub fn new(form: Form) -> Self {
        Self {
            form,
            at: 0,
            state: State::New,
        }
    }

    /// What has been made so far, if it is so much that it is to be freed in slices.
    pub fn into_made(self) -> Option<Value> {
        match self.state {
            State::Rows(state) => state.1.into_made(),
            State::Stream(stream) => Some(stream.into_made()),
            _ => None,
        }
    }

    /// Goes on by about `budget` elements. The value, when it is there, or that it is
    /// empty; nothing if there is more to do. Bytes, terms and instant are the same in
    /// every call.
    ///
    /// # Errors
    /// As of [`decode`]. There is nothing more to be had.
    pub fn go_on(
        &mut self,
        bytes: &[u8],
        terms: &Terms<'_>,
        budget: usize,
    ) -> Result<Option<Option<Owned>>, LoadError> {
        let mut reader = Reader::new(bytes, self.at);
        let done = self.step(bytes, &mut reader, terms, budget.max(1));
        self.at = reader.at();
        done.map_err(|kind| {
            let place = match &self.state {
                State::Rows(rows) => rows.0.place(),
                State::Stream(stream) => stream.place(),
                _ => None,
            };
            LoadError::new(place.unwrap_or(self.at), kind)
        })
    }

    fn step<'i>(
        &mut self,
        bytes: &'i [u8],
        reader: &mut Reader<'i>,
        terms: &Terms<'_>,
        budget: usize,
    ) -> Result<Option<Option<Owned>>, Fault> {
        if let State::New = self.state
            && let Some(text) = self.begin(reader, terms)?
        {
            return Ok(Some(Some(text)));
        }
        match &mut self.state {
            State::Copying(place, text) => {
                let end = place.end.min(place.start.saturating_add(bytes_of(budget)));
                text.extend_from_slice(bytes.get(place.start..end).unwrap_or_default());
                counted::copied(end.saturating_sub(place.start));
                place.start = end;
                if place.start < place.end {
                    return Ok(None);
                }
                let text = std::mem::take(text);
                Ok(Some(Some(Owned::string(text))))
            }
            State::Inflating(inflating) => {
                if inflating.go_on(bytes, bytes_of(budget))? {
                    return Ok(None);
                }
                let State::Inflating(inflating) = std::mem::replace(&mut self.state, State::Over)
                else {
                    return Ok(Some(None));
                };
                Ok(Some(Some(Owned::string(inflating.into_text()))))
            }
            State::Rows(_) => self.rows(bytes, reader, terms, budget),
            State::Stream(stream) => {
                if stream.go_on(bytes, reader, terms, budget)? {
                    return Ok(None);
                }
                let State::Stream(stream) = std::mem::replace(&mut self.state, State::Over) else {
                    return Ok(Some(None));
                };
                Ok(Some(Some(stream.finish())))
            }
            State::New | State::Over => Ok(Some(None)),
        }
    }

    /// Reads the beginning; a short string is there already.
    #[inline]
    fn begin(
        &mut self,
        reader: &mut Reader<'_>,
        terms: &Terms<'_>,
    ) -> Result<Option<Owned>, Fault> {
        let growth = &terms.growth;
        match self.form {
            Form::String => match reader.text()? {
                Text::Int(number) => return Ok(Some(Owned::Int(number))),
                Text::Raw(text) if text.len() <= bytes_of(1) => {
                    return Ok(Some(Owned::string(copy(text)?)));
                }
                Text::Raw(text) => {
                    let mut room = Vec::new();
                    let reserved = room.try_reserve_exact(text.len());
                    reserved.map_err(|_| Fault::OutOfMemory)?;
                    let end = reader.at();
                    self.state = State::Copying(end.saturating_sub(text.len())..end, room);
                }
                Text::Lzf(packed, len) => {
                    let end = reader.at();
                    let place = end.saturating_sub(packed.len())..end;
                    self.state = State::Inflating(Inflating::new(place, len)?);
                }
            },
            Form::Stream | Form::Stream2 | Form::Stream3 => {
                let stream = Streaming::begin(self.form, reader)?;
                self.state = State::Stream(Box::new(stream));
            }
            form => {
                let rows = Rows::begin(form, reader)?;
                let making = making(form, rows.count(), growth)?;
                self.state = State::Rows(Box::new((rows, making)));
            }
        }
        Ok(None)
    }

    /// Goes on with the elements of a collection.
    fn rows<'i>(
        &mut self,
        bytes: &'i [u8],
        reader: &mut Reader<'i>,
        terms: &Terms<'_>,
        mut budget: usize,
    ) -> Result<Option<Option<Owned>>, Fault> {
        let State::Rows(state) = &mut self.state else {
            return Ok(Some(None));
        };
        let (rows, making) = &mut **state;
        let growth = &terms.growth;
        loop {
            match rows.advance(bytes, reader, bytes_of(budget))? {
                Next::Row => {}
                Next::Pause => return Ok(None),
                Next::End => break,
            }
            if let Some(blob) = rows.whole(bytes)
                && let Some(value) = adopt::adopt(self.form, blob, growth)?
            {
                return Ok(Some(Some(value)));
            }
            let row = rows.read(bytes, reader)?;
            let each = if making.is_large() { FOUND } else { 1 };
            let cost = row.bytes().div_euclid(WORK_BYTES).saturating_add(each);
            counted::elements(1);
            counted::copied(row.bytes());
            if row.deadline.is_none_or(|at| at > terms.now) {
                making.add(&row, growth)?;
            }
            let Some(left) = budget.checked_sub(cost).filter(|left| *left > 0) else {
                return Ok(None);
            };
            budget = left;
        }
        let State::Rows(state) = std::mem::replace(&mut self.state, State::Over) else {
            return Ok(Some(None));
        };
        let (_, making) = *state;
        Ok(Some(making.finish(growth)?))
    }
}

/// What elements of this form become; so many, if that is told.
fn making(form: Form, count: u64, growth: &Growth<'_>) -> Result<Making, Fault> {
    Ok(match form {
        Form::Set => Making::Set(Members::new(count, false, growth)?),
        Form::Intset => Making::Set(Members::new(0, false, growth)?),
        Form::SetListpack => Making::Set(Members::packed(growth)),
        Form::Zset | Form::ZsetText => Making::Zset(Scored::new(count, false, growth)?),
        Form::ZsetListpack | Form::ZsetZiplist => Making::Zset(Scored::new(0, true, growth)?),
        Form::Hash => Making::Hash(Fields::new(count, false, false, growth)?),
        Form::HashValkey | Form::HashDeadlines => {
            Making::Hash(Fields::new(count, false, true, growth)?)
        }
        Form::HashListpackEx => Making::Hash(Fields::new(0, true, true, growth)?),
        // What is too long in a zipmap does not stay together in Redis either.
        Form::Zipmap => Making::Hash(Fields::new(0, false, false, growth)?),
        Form::HashListpack | Form::HashZiplist => {
            Making::Hash(Fields::new(0, true, false, growth)?)
        }
        _ => Making::List(List::long()),
    })
}

#[cfg(test)]
mod tests;
