//! Streams: entries in listpacks, then what is remembered, then groups with what is
//! pending and with whom.
//!
//! ```text
//! listpack:  count │ deleted │ fields │ name … │ 0      what entries may share
//!            flags │ ms │ seq │ value … │ elements      an entry that shares the names
//!            flags │ ms │ seq │ fields │ (name │ value) … │ elements
//! ```
//!
//! Each node of ours becomes one listpack, whose id is the node's; deleted entries are
//! left out. A node of more than [`HUGE`] bytes has one entry: it is measured first, and
//! then written as it is, both in steps.

use super::Budget;
use super::long::{LONG, copy_some};
use super::packed::{head, put_flat};
use super::text::{put, put_len, put_text};
use crate::error::OutOfMemory;
use crate::rdb::format::{ENTRIES_READ_UNKNOWN, entry, packed};
use crate::value::listpack::{self, Encoded};
use crate::value::stream::{Entry, Fields, FieldsPlace, Group, Node, Stream, StreamId};
use crate::value::{Element, stream::ConsumerId};

/// A node of more bytes is written in steps.
const HUGE: usize = 64 << 10;

/// So many ids are written with as much work as one element.
const IDS: usize = 4;

/// How far a stream has come.
#[derive(Debug, Default)]
pub struct StreamSteps {
    at: At,
    /// A node that is being written in steps.
    huge: Option<Huge>,
}

#[derive(Clone, Copy, Debug, Default)]
enum At {
    #[default]
    Begin,
    /// Nodes from this id on.
    Nodes(StreamId),
    Remembered,
    /// So many groups are written.
    Group(usize),
    /// Of this group: what is pending from an id on.
    Pending(usize, StreamId),
    /// Of this group: so many consumers are written.
    Consumer(usize, usize),
    /// Of this consumer: ids from one on.
    Ids(usize, usize, StreamId),
    End,
}

impl StreamSteps {
    pub fn go_on(
        &mut self,
        stream: &Stream,
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<bool, OutOfMemory> {
        loop {
            let next = match self.at {
                At::Begin => {
                    put_len(out, stream.entries.nodes() as u64)?;
                    Some(At::Nodes(StreamId::MIN))
                }
                At::Nodes(from) => self.nodes(stream, from, budget, out)?,
                At::Remembered => {
                    put_remembered(stream, out)?;
                    Some(At::Group(0))
                }
                At::End => return Ok(false),
                within => groups(stream, within, budget, out)?,
            };
            if let Some(next) = next {
                self.at = next;
            }
            if next.is_none() || budget.is_spent() {
                return Ok(true);
            }
        }
    }

    /// Writes nodes; where to go on, or nothing if that is where it was.
    fn nodes(
        &mut self,
        stream: &Stream,
        from: StreamId,
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<Option<At>, OutOfMemory> {
        for node in stream.entries.nodes_from(from) {
            if budget.is_spent() {
                return Ok(Some(At::Nodes(node.first())));
            }
            if node.len_bytes() <= HUGE {
                put_key(out, node)?;
                put_node(out, node, budget.compress)?;
                budget.spend(node.len_bytes());
                continue;
            }
            if self.huge.is_none() {
                put_key(out, node)?;
            }
            let huge = self.huge.get_or_insert_default();
            if huge.go_on(node, budget, out)? {
                self.at = At::Nodes(node.first());
                return Ok(None);
            }
            self.huge = None;
        }
        Ok(Some(At::Remembered))
    }
}

/// The id of a node, as a text.
fn put_key(out: &mut Vec<u8>, node: &Node) -> Result<(), OutOfMemory> {
    put_len(out, 16)?;
    put_id(out, node.first())
}

/// An id as it is kept among others: the highest bytes first.
fn put_id(out: &mut Vec<u8>, id: StreamId) -> Result<(), OutOfMemory> {
    out.try_reserve(16)?;
    out.extend_from_slice(&id.ms.to_be_bytes());
    out.extend_from_slice(&id.seq.to_be_bytes());
    Ok(())
}

/// An id as two lengths.
fn put_id_lens(out: &mut Vec<u8>, id: StreamId) -> Result<(), OutOfMemory> {
    put_len(out, id.ms)?;
    put_len(out, id.seq)
}

fn put_remembered(stream: &Stream, out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
    let entries = &stream.entries;
    put_len(out, entries.len() as u64)?;
    put_id_lens(out, entries.last_id())?;
    put_id_lens(out, entries.first_id())?;
    put_id_lens(out, entries.max_deleted_id())?;
    put_len(out, entries.added())?;
    put_len(out, stream.groups.len() as u64)
}

fn number(number: u64) -> Element<'static> {
    // As it is: what is above is read as such again.
    Element::Int(i64::from_le_bytes(number.to_le_bytes()))
}

/// What stands before all entries.
fn put_master(flat: &mut Vec<u8>, node: &Node) -> Result<(), OutOfMemory> {
    let names = node.names();
    let begin = [node.live() as u64, 0, names.len() as u64].map(number);
    listpack::append(flat, begin.into_iter())?;
    listpack::append(flat, names)?;
    listpack::push_back(flat, Element::Int(0))
}

/// What stands before the values, or names and values, of an entry.
fn put_entry_head(flat: &mut Vec<u8>, node: &Node, entry: &Entry<'_>) -> Result<(), OutOfMemory> {
    let (first, id) = (node.first(), entry.id);
    let shared = entry.fields.are_shared();
    let flags = if shared { entry::SAME_FIELDS } else { 0 };
    let differences = [
        Element::Int(flags),
        number(id.ms.wrapping_sub(first.ms)),
        number(id.seq.wrapping_sub(first.seq)),
    ];
    listpack::append(flat, differences.into_iter())?;
    match shared {
        true => Ok(()),
        false => listpack::push_back(flat, number(entry.fields.len() as u64)),
    }
}

/// How many elements an entry has, without this number.
fn elements_of(entry: &Entry<'_>) -> Element<'static> {
    let fields = entry.fields.len() as u64;
    number(match entry.fields.are_shared() {
        true => fields.saturating_add(3),
        false => fields.saturating_mul(2).saturating_add(4),
    })
}

/// A node as a listpack.
fn put_node(out: &mut Vec<u8>, node: &Node, compress: bool) -> Result<(), OutOfMemory> {
    let mut flat = Vec::new();
    let bytes = node.len_bytes();
    flat.try_reserve(bytes.saturating_add(bytes / 2).saturating_add(64))?;
    put_master(&mut flat, node)?;
    let mut at = node.start();
    while let Some(entry) = node.next_live(&mut at) {
        put_entry_head(&mut flat, node, &entry)?;
        let shared = entry.fields.are_shared();
        for (name, value) in entry.fields.clone() {
            if !shared {
                listpack::push_back(&mut flat, name)?;
            }
            listpack::push_back(&mut flat, value)?;
        }
        listpack::push_back(&mut flat, elements_of(&entry))?;
    }
    put_flat(out, &flat, compress)
}

/// How far a node has come whose one entry is very long.
#[derive(Debug, Default)]
struct Huge {
    /// Bytes and elements that its names and values take; all of them, once it is
    /// measured.
    bytes: usize,
    count: usize,
    measured: bool,
    /// Where to go on among the fields; if not at the first.
    place: Option<FieldsPlace>,
    /// The name of the field there is written.
    named: bool,
    /// So many bytes of a long text are written, and what stands before it.
    text: Option<usize>,
}

impl Huge {
    fn go_on(
        &mut self,
        node: &Node,
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<bool, OutOfMemory> {
        let entry = node.first_entry();
        if !self.measured {
            if self.measure(&entry, budget) {
                return Ok(true);
            }
            self.begin(node, &entry, out)?;
        }
        let shared = entry.fields.are_shared();
        let mut fields = self.fields(&entry);
        loop {
            self.place = Some(fields.place());
            let Some((name, value)) = fields.next() else {
                break;
            };
            if budget.is_spent() {
                return Ok(true);
            }
            if !shared && !self.named {
                if self.put_text(name, budget, out)? {
                    return Ok(true);
                }
                self.named = true;
            }
            if self.put_text(value, budget, out)? {
                return Ok(true);
            }
            self.named = false;
        }
        Encoded::new(elements_of(&entry)).append_to(reserved(out, 16)?);
        put(out, &[packed::END])?;
        Ok(false)
    }

    /// The fields that are left.
    fn fields<'a>(&self, entry: &Entry<'a>) -> Fields<'a> {
        let fields = entry.fields.clone();
        match self.place {
            Some(place) => fields.from(place),
            None => fields,
        }
    }

    /// Goes on with measuring; whether there is more to measure.
    fn measure(&mut self, entry: &Entry<'_>, budget: &mut Budget) -> bool {
        let shared = entry.fields.are_shared();
        let mut fields = self.fields(entry);
        while !budget.is_spent() {
            let Some((name, value)) = fields.next() else {
                (self.measured, self.place) = (true, None);
                return false;
            };
            let mut add = |text: &[u8]| {
                self.bytes = self.bytes.saturating_add(Element::from(text).room());
                self.count = self.count.saturating_add(1);
            };
            if !shared {
                add(name);
            }
            add(value);
            budget.spend(0);
        }
        self.place = Some(fields.place());
        true
    }

    /// Writes what stands before names and values.
    fn begin(
        &mut self,
        node: &Node,
        entry: &Entry<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), OutOfMemory> {
        let mut flat = Vec::new();
        put_master(&mut flat, node)?;
        put_entry_head(&mut flat, node, entry)?;
        let (count, elements) = flat.split_first_chunk::<2>().unwrap_or((&[0, 0], &[]));
        let count = usize::from(u16::from_le_bytes(*count)).saturating_add(1);
        let last = elements_of(entry).room();
        let bytes = self
            .bytes
            .saturating_add(elements.len())
            .saturating_add(last);
        let head = head(bytes, self.count.saturating_add(count))?;
        let total = bytes.saturating_add(packed::HEADER).saturating_add(1);
        put_len(out, total as u64)?;
        put(out, &head)?;
        put(out, elements)
    }

    /// Goes on with an element; whether there is more of it.
    fn put_text(
        &mut self,
        text: &[u8],
        budget: &mut Budget,
        out: &mut Vec<u8>,
    ) -> Result<bool, OutOfMemory> {
        let encoded = Encoded::new(Element::from(text));
        if text.len() <= LONG {
            encoded.append_to(reserved(out, encoded.len())?);
            budget.spend(text.len());
            return Ok(false);
        }
        if self.text.is_none() {
            put(out, encoded.head())?;
        }
        let at = self.text.get_or_insert(0);
        if copy_some(text, at, budget, out)? {
            return Ok(true);
        }
        self.text = None;
        put(out, encoded.back())?;
        Ok(false)
    }
}

/// The output, with room for so many bytes.
fn reserved(out: &mut Vec<u8>, bytes: usize) -> Result<&mut Vec<u8>, OutOfMemory> {
    out.try_reserve(bytes)?;
    Ok(out)
}

/// Writes some of what groups have; where to go on.
fn groups(
    stream: &Stream,
    at: At,
    budget: &mut Budget,
    out: &mut Vec<u8>,
) -> Result<Option<At>, OutOfMemory> {
    let (At::Group(nth) | At::Pending(nth, _) | At::Consumer(nth, _) | At::Ids(nth, ..)) = at
    else {
        return Ok(Some(At::End));
    };
    let Some(group) = stream.groups.at(nth) else {
        return Ok(Some(At::End));
    };
    let next = match at {
        At::Pending(_, id) => match put_pending(group, id, budget, out)? {
            Some(id) => At::Pending(nth, id),
            None => {
                put_len(out, group.consumers_len() as u64)?;
                At::Consumer(nth, 0)
            }
        },
        At::Consumer(_, consumer) => match group.consumer_at(consumer) {
            Some((id, _)) => {
                put_consumer(group, id, budget, out)?;
                At::Ids(nth, consumer, StreamId::MIN)
            }
            None => At::Group(nth.saturating_add(1)),
        },
        At::Ids(_, consumer, id) => match put_ids(group, consumer, id, budget, out)? {
            Some(id) => At::Ids(nth, consumer, id),
            None => At::Consumer(nth, consumer.saturating_add(1)),
        },
        _ => {
            put_group(group, budget, out)?;
            At::Pending(nth, StreamId::MIN)
        }
    };
    Ok(Some(next))
}

fn put_group(group: &Group, budget: &mut Budget, out: &mut Vec<u8>) -> Result<(), OutOfMemory> {
    put_text(out, group.name(), budget.compress)?;
    put_id_lens(out, group.last_id)?;
    put_len(out, group.entries_read.unwrap_or(ENTRIES_READ_UNKNOWN))?;
    put_len(out, group.pending_len() as u64)?;
    budget.spend(group.name().len());
    Ok(())
}

/// What is pending from an id on; where to go on.
fn put_pending(
    group: &Group,
    from: StreamId,
    budget: &mut Budget,
    out: &mut Vec<u8>,
) -> Result<Option<StreamId>, OutOfMemory> {
    let most = budget.elements.saturating_mul(IDS);
    let mut pending = group.pending_from(from);
    let mut written = 0_usize;
    for record in pending.by_ref().take(most) {
        put_id(out, record.id)?;
        put(out, &record.delivered.0.to_le_bytes())?;
        put_len(out, record.deliveries)?;
        written = written.saturating_add(1);
    }
    budget.elements = budget.elements.saturating_sub(written / IDS);
    Ok(pending.next().map(|record| record.id))
}

fn put_consumer(
    group: &Group,
    id: ConsumerId,
    budget: &mut Budget,
    out: &mut Vec<u8>,
) -> Result<(), OutOfMemory> {
    let Some(consumer) = group.consumer(id) else {
        return Ok(());
    };
    put_text(out, consumer.name(), budget.compress)?;
    put(out, &consumer.seen.0.to_le_bytes())?;
    put_len(out, consumer.pending_len() as u64)?;
    budget.spend(consumer.name().len());
    Ok(())
}

/// What is pending with a consumer from an id on; where to go on.
fn put_ids(
    group: &Group,
    consumer: usize,
    from: StreamId,
    budget: &mut Budget,
    out: &mut Vec<u8>,
) -> Result<Option<StreamId>, OutOfMemory> {
    let Some((_, consumer)) = group.consumer_at(consumer) else {
        return Ok(None);
    };
    let most = budget.elements.saturating_mul(IDS);
    let mut ids = consumer.ids_from(from);
    let mut written = 0_usize;
    for id in ids.by_ref().take(most) {
        put_id(out, *id)?;
        written = written.saturating_add(1);
    }
    budget.elements = budget.elements.saturating_sub(written / IDS);
    Ok(ids.next().copied())
}
