//! A consumer group: what was delivered to whom and is not acknowledged.
//!
//! `pending` has a record for every id that is, in their order; each consumer has the
//! ids that are pending with it. So a pending entry takes 40 bytes and 16, where chunks
//! of [`Ordered`] are full.
//!
//! Invariant: the ids of a consumer are those whose records name it.

use super::StreamId;
use super::consumers::{Consumer, ConsumerId, Consumers};
use super::ordered::{self, Keyed, Ordered};
use crate::counted;
use crate::error::OutOfMemory;
use crate::types::UnixMs;
use crate::value::copy;

/// A consumer with more ids does not move to another slot.
const MOVED_IDS_MAX: usize = 256;

/// An id that was delivered and not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub id: StreamId,
    /// When it was delivered last.
    pub delivered: UnixMs,
    /// How often.
    pub deliveries: u64,
    pub consumer: ConsumerId,
}

impl Keyed for Pending {
    #[inline]
    fn key(&self) -> StreamId {
        self.id
    }
}

/// See the module.
#[derive(Debug)]
pub struct Group {
    name: Box<[u8]>,
    /// What was delivered last.
    pub last_id: StreamId,
    /// How many entries were read, if that is known.
    pub entries_read: Option<u64>,
    pending: Ordered<Pending>,
    consumers: Consumers,
}

impl Group {
    pub(super) fn new(
        name: &[u8],
        last_id: StreamId,
        entries_read: Option<u64>,
    ) -> Result<Self, OutOfMemory> {
        Ok(Self {
            name: copy(name)?.into_boxed_slice(),
            last_id,
            entries_read,
            pending: Ordered::new(),
            consumers: Consumers::new(),
        })
    }

    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Bytes on the heap, and its own.
    pub fn heap_bytes(&self) -> usize {
        size_of::<Self>()
            + self.name.len()
            + self.pending.heap_bytes()
            + self.consumers.heap_bytes()
    }

    /// How many ids are pending.
    #[inline]
    pub fn pending_len(&self) -> usize {
        self.pending.len()
    }

    #[inline]
    pub fn pending(&self, id: StreamId) -> Option<&Pending> {
        self.pending.get(id)
    }

    /// What is pending from an id on, in the order of ids; with `StreamId::MIN` all.
    /// Backwards with `rev`.
    pub fn pending_from(&self, id: StreamId) -> ordered::Iter<'_, Pending> {
        self.pending.range_from(id)
    }

    /// The last that is pending.
    pub fn pending_last(&self) -> Option<&Pending> {
        self.pending.last()
    }

    /// What is pending with a consumer from an id on.
    pub fn pending_of(
        &self,
        consumer: ConsumerId,
        id: StreamId,
    ) -> impl Iterator<Item = &Pending> + '_ {
        let consumer = self.consumers.get(consumer);
        let ids = consumer.map(|consumer| consumer.ids_from(id));
        let ids = ids.unwrap_or_default();
        ids.filter_map(|id| self.pending.get(*id))
    }

    /// How many consumers there are.
    pub fn consumers_len(&self) -> usize {
        self.consumers.len()
    }

    /// All consumers, in the order of their names.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = (ConsumerId, &Consumer)> + Clone + '_ {
        self.consumers.iter()
    }

    /// The consumer with so many before it in the order of their names.
    pub fn consumer_at(&self, nth: usize) -> Option<(ConsumerId, &Consumer)> {
        self.consumers.at(nth)
    }

    /// The consumer with this name. Its number is valid until one is removed.
    pub fn find_consumer(&self, name: &[u8]) -> Option<ConsumerId> {
        self.consumers.find(name)
    }

    /// The consumer with this number.
    pub fn consumer(&self, consumer: ConsumerId) -> Option<&Consumer> {
        self.consumers.get(consumer)
    }

    /// The consumer with this name, which is created if it is not there; and whether it
    /// was.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    pub fn consumer_or_create(
        &mut self,
        name: &[u8],
        now: UnixMs,
    ) -> Result<(ConsumerId, bool), OutOfMemory> {
        self.consumers.find_or_create(name, now)
    }

    /// Notes that a consumer has tried to read or to claim.
    pub fn note_seen(&mut self, consumer: ConsumerId, now: UnixMs) {
        if let Some(consumer) = self.consumers.get_mut(consumer) {
            consumer.seen = now;
        }
    }

    /// Notes that a consumer has got something.
    pub fn note_active(&mut self, consumer: ConsumerId, now: UnixMs) {
        if let Some(consumer) = self.consumers.get_mut(consumer) {
            consumer.active = Some(now);
        }
    }

    /// Has an id be pending with a consumer of this group, whosever it was before.
    ///
    /// # Errors
    /// There is no memory for it; nothing has changed.
    #[inline]
    pub fn claim(
        &mut self,
        id: StreamId,
        consumer: ConsumerId,
        delivered: UnixMs,
        deliveries: u64,
    ) -> Result<(), OutOfMemory> {
        let record = Pending {
            id,
            delivered,
            deliveries,
            consumer,
        };
        // What is new is greater than all, as a rule.
        let place = match self.pending.last() {
            Some(last) if last.id >= id => self.pending.find(id),
            _ => None,
        };
        let Some(found) = place.and_then(|place| self.pending.at_mut(place)) else {
            self.consumers
                .change_ids(consumer, |ids| ids.insert(id))
                .unwrap_or(Ok(()))?;
            return self.pending.insert(record).inspect_err(|_| {
                self.consumers.change_ids(consumer, |ids| ids.remove(id));
            });
        };
        let before = found.consumer;
        if before != consumer {
            self.consumers
                .change_ids(consumer, |ids| ids.insert(id))
                .unwrap_or(Ok(()))?;
            self.consumers.change_ids(before, |ids| ids.remove(id));
        }
        *found = record;
        Ok(())
    }

    /// Has an id not be pending any more; what its record was.
    #[inline]
    pub fn ack(&mut self, id: StreamId) -> Option<Pending> {
        let record = self.pending.remove(id)?;
        self.consumers
            .change_ids(record.consumer, |ids| ids.remove(id));
        Some(record)
    }

    /// Has what is pending with a consumer not be pending any more, about `budget` ids
    /// of it; whether there are more.
    pub fn drop_pending_of(&mut self, consumer: ConsumerId, budget: usize) -> bool {
        for _ in 0..budget {
            let first = self.consumers.change_ids(consumer, Ordered::pop_first);
            let Some(Some(id)) = first else {
                return false;
            };
            counted::elements(1);
            self.pending.remove(id);
        }
        let consumer = self.consumers.get(consumer);
        consumer.is_some_and(|consumer| consumer.pending_len() > 0)
    }

    /// Removes a consumer, if it is there; and what is pending with it, that may be much
    /// (see [`Group::drop_pending_of`]): how much there was. Other consumers may have
    /// other numbers afterwards.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let consumer = self.consumers.find(name)?;
        let pending = self.consumers.get(consumer)?.pending_len();
        self.drop_pending_of(consumer, usize::MAX);
        self.consumers.remove(name);
        for _ in 0..2 {
            if self.consumers.is_sparse() {
                self.close_ranks();
            }
        }
        Some(pending)
    }

    fn close_ranks(&mut self) {
        let Some(moved) = self.consumers.close_ranks(MOVED_IDS_MAX) else {
            return;
        };
        let ids = self.consumers.get(moved).map(Consumer::ids);
        for id in ids.unwrap_or_default() {
            let place = self.pending.find(*id);
            if let Some(record) = place.and_then(|place| self.pending.at_mut(place)) {
                record.consumer = moved;
            }
        }
    }

    /// Whether an entry may still be asked for here: it was not delivered, or is not
    /// acknowledged.
    #[inline]
    pub fn refers_to(&self, id: StreamId) -> bool {
        self.last_id < id || self.pending.get(id).is_some()
    }

    /// Drops about as much as `budget` elements; whether there is more.
    pub(super) fn free_some(&mut self, budget: &mut usize) -> bool {
        ordered::free_plain(&mut self.pending, budget) || self.consumers.free_some(budget)
    }

    /// Goes on with a copy that began as [`Group::begin_clone`]; whether there is more.
    pub(super) fn clone_some(
        &self,
        clone: &mut Self,
        budget: &mut usize,
    ) -> Result<bool, OutOfMemory> {
        Ok(
            ordered::clone_plain(&self.pending, &mut clone.pending, budget)?
                || self.consumers.clone_some(&mut clone.consumers, budget)?,
        )
    }

    pub(super) fn begin_clone(&self) -> Result<Self, OutOfMemory> {
        Self::new(&self.name, self.last_id, self.entries_read)
    }

    /// Checks it; panics if it contradicts itself. For tests.
    pub fn check_invariants(&self) {
        self.pending.check_invariants();
        self.consumers.check_invariants();
        let mut pending = 0;
        for (number, consumer) in self.consumers() {
            for id in consumer.ids() {
                let record = self.pending(*id).expect("what a consumer has is pending");
                assert_eq!(record.consumer, number);
                pending += 1;
            }
        }
        assert_eq!(pending, self.pending_len());
    }
}

impl PartialEq for Group {
    /// The same contents.
    fn eq(&self, other: &Self) -> bool {
        let name_of = |group: &'_ Self, consumer: ConsumerId| {
            let consumer = group.consumer(consumer);
            consumer.map(|consumer| consumer.name().to_vec())
        };
        let all = StreamId::MIN;
        let same = |(one, theirs): (&Pending, &Pending)| {
            let record = |of: &Pending| (of.id, of.delivered, of.deliveries);
            record(one) == record(theirs)
                && name_of(self, one.consumer) == name_of(other, theirs.consumer)
        };
        self.name == other.name
            && self.last_id == other.last_id
            && self.entries_read == other.entries_read
            && self.pending_len() == other.pending_len()
            && self
                .pending_from(all)
                .zip(other.pending_from(all))
                .all(same)
            && self
                .consumers()
                .map(|(_, of)| (of.name(), of.seen, of.active))
                .eq(other
                    .consumers()
                    .map(|(_, of)| (of.name(), of.seen, of.active)))
    }
}
