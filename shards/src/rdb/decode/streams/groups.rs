//! The groups of a stream.

use crate::rdb::form::Form;
use crate::rdb::format::ENTRIES_READ_UNKNOWN;
use crate::rdb::reader::{Fault, Reader};
use crate::types::UnixMs;
use crate::value::stream::{ConsumerId, Stream, StreamId};

/// So many names or ids may be in whatever order, as other servers than those that are
/// known might write them; more would take too long to put in theirs.
const UNSORTED_MAX: usize = 1024;

const UNSORTED: Fault = Fault::Corrupt("names or ids of a stream's group are not in order");
const TWO_OWNERS: Fault = Fault::Corrupt("an id is pending with two consumers");
const NO_OWNER: Fault = Fault::Corrupt("an id is pending with no consumer");
const NOT_PENDING: Fault = Fault::Corrupt("a consumer has an id that is not pending");

/// Bytes of what is pending, at least.
const PENDING_BYTES: usize = 25;

/// Groups that are being read.
#[derive(Debug)]
pub struct Grouping {
    form: Form,
    /// Groups that were not begun.
    left: u64,
    group: Option<Group>,
    last_name: Vec<u8>,
}

/// A group that is being read.
#[derive(Debug)]
struct Group {
    name: Vec<u8>,
    pending: Vec<Waiting>,
    pending_left: u64,
    is_sorted: bool,
    consumers_left: Option<u64>,
    last_consumer: Vec<u8>,
    /// Whose ids are being read, and how many there are.
    consumer: Option<(ConsumerId, u64)>,
    /// So many are in the group.
    claimed: usize,
}

/// What is pending, and with whom if that is known.
#[derive(Debug)]
struct Waiting {
    id: StreamId,
    delivered: UnixMs,
    deliveries: u64,
    owner: Option<ConsumerId>,
}

impl Grouping {
    pub fn begin(form: Form, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        Ok(Self {
            form,
            left: reader.length()?,
            group: None,
            last_name: Vec::new(),
        })
    }

    /// Goes on by about so many ids; whether there are more.
    pub fn go_on(
        &mut self,
        stream: &mut Stream,
        reader: &mut Reader<'_>,
        budget: &mut usize,
    ) -> Result<bool, Fault> {
        loop {
            if let Some(group) = &mut self.group {
                if group.go_on(self.form, stream, reader, budget)? {
                    return Ok(true);
                }
                self.group = None;
            }
            let Some(left) = self.left.checked_sub(1) else {
                return Ok(false);
            };
            self.left = left;
            self.begin_group(stream, reader)?;
            if spent(budget) {
                return Ok(true);
            }
        }
    }

    fn begin_group(&mut self, stream: &mut Stream, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let name = text(reader)?;
        let last_id = reader.short_id()?;
        let read = match self.form {
            Form::Stream => stream.entries.count_until(last_id),
            _ => match reader.length()? {
                ENTRIES_READ_UNKNOWN => None,
                read => Some(read),
            },
        };
        let groups = &mut stream.groups;
        if name < self.last_name && groups.len() > UNSORTED_MAX {
            return Err(UNSORTED);
        }
        if !groups.create(&name, last_id, read)? {
            return Err(Fault::Corrupt("a stream has two groups of one name"));
        }
        self.last_name.clone_from(&name);
        self.group = Some(Group::begin(name, reader)?);
        Ok(())
    }
}

/// Takes one off a budget; whether it is spent.
fn spent(budget: &mut usize) -> bool {
    *budget = budget.saturating_sub(1);
    *budget == 0
}

fn text(reader: &mut Reader<'_>) -> Result<Vec<u8>, Fault> {
    let mut inflated = Vec::new();
    let element = reader.text()?.element(&mut inflated)?;
    Ok(element.with_bytes(crate::value::copy)?)
}

impl Group {
    fn begin(name: Vec<u8>, reader: &mut Reader<'_>) -> Result<Self, Fault> {
        let pending_left = reader.length()?;
        // As many as there are bytes for.
        let most = reader.rest().len().div_euclid(PENDING_BYTES);
        let count = usize::try_from(pending_left).map_or(most, |count| count.min(most));
        let mut pending = Vec::new();
        let room = pending.try_reserve_exact(count);
        room.map_err(|_| Fault::OutOfMemory)?;
        Ok(Self {
            name,
            pending,
            pending_left,
            is_sorted: true,
            consumers_left: None,
            last_consumer: Vec::new(),
            consumer: None,
            claimed: 0,
        })
    }

    fn go_on(
        &mut self,
        form: Form,
        stream: &mut Stream,
        reader: &mut Reader<'_>,
        budget: &mut usize,
    ) -> Result<bool, Fault> {
        while self.pending_left > 0 {
            self.read_pending(reader)?;
            if spent(budget) {
                return Ok(true);
            }
        }
        let consumers = match self.consumers_left {
            Some(left) => left,
            None => {
                self.sort()?;
                reader.length()?
            }
        };
        self.consumers_left = Some(consumers);
        loop {
            if self.read_ids(reader, budget)? {
                return Ok(true);
            }
            let Some(left) = self.consumers_left.and_then(|left| left.checked_sub(1)) else {
                break;
            };
            self.consumers_left = Some(left);
            self.read_consumer(form, stream, reader)?;
            if spent(budget) {
                return Ok(true);
            }
        }
        self.claim(stream, budget)
    }

    fn read_pending(&mut self, reader: &mut Reader<'_>) -> Result<(), Fault> {
        let waiting = Waiting {
            id: reader.id()?,
            delivered: UnixMs(reader.ms()?),
            deliveries: reader.length()?,
            owner: None,
        };
        let last = self.pending.last();
        if last.is_some_and(|last| last.id >= waiting.id) {
            self.is_sorted = false;
        }
        if !self.is_sorted && self.pending.len() > UNSORTED_MAX {
            return Err(UNSORTED);
        }
        self.pending_left = self.pending_left.saturating_sub(1);
        // There is room: it was reserved for all that there are bytes for.
        self.pending.push(waiting);
        Ok(())
    }

    /// Puts what is pending in the order of ids.
    fn sort(&mut self) -> Result<(), Fault> {
        if self.is_sorted {
            return Ok(());
        }
        self.pending.sort_unstable_by_key(|waiting| waiting.id);
        match self.pending.is_sorted_by(|one, other| one.id < other.id) {
            true => Ok(()),
            false => Err(Fault::Corrupt("an id is pending twice")),
        }
    }

    fn read_consumer(
        &mut self,
        form: Form,
        stream: &mut Stream,
        reader: &mut Reader<'_>,
    ) -> Result<(), Fault> {
        let name = text(reader)?;
        let seen = reader.ms()?;
        let active = match form {
            Form::Stream3 => reader.ms()?,
            // Nobody knows better.
            _ => seen,
        };
        let ids = reader.length()?;
        let Some(mut group) = stream.groups.get_mut(&self.name) else {
            return Err(NO_OWNER);
        };
        if name < self.last_consumer && group.consumers_len() > UNSORTED_MAX {
            return Err(UNSORTED);
        }
        let (consumer, is_new) = group.consumer_or_create(&name, UnixMs(seen))?;
        if !is_new {
            return Err(Fault::Corrupt("a group has two consumers of one name"));
        }
        if active != NEVER {
            group.note_active(consumer, UnixMs(active));
        }
        self.last_consumer = name;
        self.consumer = Some((consumer, ids));
        Ok(())
    }

    /// Reads ids of a consumer; whether there are more.
    fn read_ids(&mut self, reader: &mut Reader<'_>, budget: &mut usize) -> Result<bool, Fault> {
        while let Some((consumer, left)) = &mut self.consumer {
            let Some(rest) = left.checked_sub(1) else {
                break;
            };
            *left = rest;
            let (consumer, id) = (*consumer, reader.id()?);
            let found = self.pending.binary_search_by_key(&id, |waiting| waiting.id);
            let waiting = found.ok().and_then(|at| self.pending.get_mut(at));
            let owner = &mut waiting.ok_or(NOT_PENDING)?.owner;
            if owner.is_some() {
                return Err(TWO_OWNERS);
            }
            *owner = Some(consumer);
            if spent(budget) {
                return Ok(true);
            }
        }
        self.consumer = None;
        Ok(false)
    }

    /// Puts what is pending into the group, in the order of ids; whether there is more.
    fn claim(&mut self, stream: &mut Stream, budget: &mut usize) -> Result<bool, Fault> {
        let Some(mut group) = stream.groups.get_mut(&self.name) else {
            return Err(NO_OWNER);
        };
        while let Some(waiting) = self.pending.get(self.claimed) {
            if *budget == 0 {
                return Ok(true);
            }
            let owner = waiting.owner.ok_or(NO_OWNER)?;
            group.claim(waiting.id, owner, waiting.delivered, waiting.deliveries)?;
            self.claimed = self.claimed.saturating_add(1);
            spent(budget);
        }
        Ok(false)
    }
}

/// The time at which a consumer got something that has got nothing.
const NEVER: i64 = -1;
