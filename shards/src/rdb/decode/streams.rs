//! Streams.
//!
//! What Redis keeps of a group is written as two lists that must fit: all that is
//! pending, and for each consumer the ids that are with it. An id that two consumers
//! have, or none, is refused. What is pending is kept aside until its owners are known.

mod groups;
mod nodes;

use super::{Terms, bytes_of};
use crate::rdb::form::Form;
use crate::rdb::inflate::Inflating;
use crate::rdb::reader::{Fault, Reader, Text};
use crate::value::stream::{NodeLimits, Stream, StreamId};
use crate::value::{Collection, Owned, Value};
use groups::Grouping;
use nodes::Node;
use std::ops::Range;

/// A stream that is being made.
#[derive(Debug)]
pub struct Streaming {
    form: Form,
    stream: Stream,
    /// Nodes that were not begun.
    left: u64,
    node: Option<Node>,
    /// The text of a node that is being decompressed, and the first id.
    inflating: Option<(Inflating, StreamId)>,
    blob: Blob,
    /// What follows the entries, when it was begun.
    groups: Option<Grouping>,
}

/// The text of a node.
#[derive(Debug)]
enum Blob {
    /// In the bytes of the value.
    Given(Range<usize>),
    Own(Vec<u8>),
}

impl Streaming {
    pub fn begin(form: Form, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            form,
            stream: Stream::new(),
            left: reader.length()?,
            node: None,
            inflating: None,
            blob: Blob::Given(0..0),
            groups: None,
        })
    }

    /// Where in the bytes of the value the walk is, if it is in a node that lies there.
    pub fn place(&self) -> Option<usize> {
        match (&self.blob, &self.node) {
            (Blob::Given(range), Some(node)) => Some(range.start.saturating_add(node.at())),
            _ => None,
        }
    }

    /// The stream, when there is no more.
    pub fn finish(self) -> Owned {
        Owned::collection(self.stream)
    }

    /// What there is of it.
    pub fn into_made(self) -> Value {
        self.stream.into_value()
    }

    /// Goes on by about `budget` entries; whether there is more to do.
    pub fn go_on(
        &mut self,
        bytes: &[u8],
        reader: &mut Reader<'_>,
        terms: &Terms<'_>,
        mut budget: usize,
    ) -> Result<bool, Fault> {
        if self.groups.is_none() {
            if self.entries(bytes, reader, terms, &mut budget)? {
                return Ok(true);
            }
            self.about(reader)?;
        }
        match &mut self.groups {
            Some(groups) => groups.go_on(&mut self.stream, reader, &mut budget),
            None => Ok(false),
        }
    }

    /// Goes on with the nodes; whether there are more.
    fn entries(
        &mut self,
        bytes: &[u8],
        reader: &mut Reader<'_>,
        terms: &Terms<'_>,
        budget: &mut usize,
    ) -> Result<bool, Fault> {
        let limits = NodeLimits::of(terms.growth.thresholds);
        loop {
            if let Some((inflating, first)) = &mut self.inflating {
                let first = *first;
                if inflating.go_on(bytes, bytes_of(*budget))? {
                    return Ok(true);
                }
                if let Some((inflating, _)) = self.inflating.take() {
                    let text = inflating.into_text();
                    self.node = Some(Node::open(&text, first)?);
                    self.blob = Blob::Own(text);
                }
            }
            if let Some(node) = &mut self.node {
                let blob = match &self.blob {
                    Blob::Given(range) => bytes.get(range.clone()).unwrap_or_default(),
                    Blob::Own(blob) => blob,
                };
                if node.go_on(blob, &mut self.stream.entries, limits, budget)? {
                    return Ok(true);
                }
                self.node = None;
            }
            let Some(left) = self.left.checked_sub(1) else {
                return Ok(false);
            };
            self.left = left;
            self.read_node(reader)?;
            *budget = budget.saturating_sub(1);
            if *budget == 0 {
                return Ok(true);
            }
        }
    }

    /// Reads a node's text.
    fn read_node(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let Text::Raw(key) = reader.text()? else {
            return Err(BAD_KEY);
        };
        let mut key_reader = Reader::new(key, 0);
        let first = key_reader.id().map_err(|_| BAD_KEY)?;
        if !key_reader.rest().is_empty() {
            return Err(BAD_KEY);
        }
        match reader.text()? {
            Text::Raw(text) => {
                let end = reader.at();
                self.node = Some(Node::open(text, first)?);
                self.blob = Blob::Given(end.saturating_sub(text.len())..end);
            }
            Text::Lzf(packed, len) => {
                let end = reader.at();
                let place = end.saturating_sub(packed.len())..end;
                self.inflating = Some((Inflating::new(place, len)?, first));
            }
            Text::Int(_) => return Err(super::packed::DAMAGED),
        }
        Ok(())
    }

    /// Reads what is remembered, and how many groups there are.
    fn about(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let entries = &mut self.stream.entries;
        let (len, last) = (reader.length()?, reader.short_id()?);
        if len != entries.len() as u64 {
            return Err(Fault::Corrupt(
                "a stream's length is not that of its entries",
            ));
        }
        if last < entries.last_id() {
            return Err(Fault::Corrupt(
                "a stream's last id is less than that of an entry",
            ));
        }
        let (mut added, mut deleted) = (len, StreamId::MIN);
        if self.form != Form::Stream {
            // The first id follows from the entries.
            reader.short_id()?;
            deleted = reader.short_id()?;
            added = reader.length()?;
        }
        entries.set_id(last, Some(added), Some(deleted));
        self.groups = Some(Grouping::begin(self.form, reader)?);
        Ok(())
    }
}

const BAD_KEY: Fault = Fault::Corrupt("the key of a stream's node is no id");

#[cfg(test)]
mod tests;
