//! Streams that were found to have entries are read, or delivered to a consumer: at once,
//! or slice by slice if there are many.
//!
//! A claim needs memory. Where that runs out, the rest stays new; what is claimed is
//! replied, or at least recorded: it is pending with the consumer, as it is for one whose
//! connection has gone.

use super::claim::Ascending;
use super::parts::Part;
use super::range::{reply_entry, reply_id};
use super::reading::{Reading, begin_stream, begin_streams};
use crate::command::{Context, Outcome, Work};
use crate::effects::Event;
use crate::error::{CommandError, OutOfMemory};
use crate::resp::{Protocol, Reply};
use crate::types::UnixMs;
use crate::value::Stream;
use crate::value::stream::{ConsumerId, Entries, Group, IdText, StreamId};

/// What a look at a stream has found.
#[derive(Debug)]
pub enum Found {
    Error(CommandError),
    /// Nothing behind this id.
    Nothing(StreamId),
    /// Something.
    Entries(StreamId),
    /// What is pending with a consumer behind this id is asked for, be it nothing.
    Pending(StreamId),
}

impl Found {
    /// Whether there is something to reply.
    pub fn has_any(&self) -> bool {
        !matches!(self, Self::Nothing(_))
    }

    pub fn id(&self) -> StreamId {
        match self {
            Self::Error(_) => StreamId::MIN,
            Self::Nothing(id) | Self::Entries(id) | Self::Pending(id) => *id,
        }
    }
}

/// Looks at each stream of a request.
///
/// # Errors
/// The first of `look`'s.
pub fn look_at_all<'a>(
    reading: &Reading<'a>,
    mut look: impl FnMut(&'a [u8], &'a [u8]) -> Result<Found, CommandError>,
) -> Result<Vec<Found>, CommandError> {
    let mut all = Vec::new();
    let reserved = all.try_reserve_exact(reading.streams);
    reserved.map_err(|_| CommandError::OutOfMemory)?;
    for (key, id) in reading.all() {
        all.push(look(key, id)?);
    }
    Ok(all)
}

/// Streams that are being read.
#[derive(Debug)]
pub struct Job {
    found: Vec<Found>,
    /// It is the part of a shard: what is read is not replied, but handed on as a client
    /// of this protocol is to read it; and what was read of each stream.
    part_for: Option<Protocol>,
    read: Vec<Vec<Vec<u8>>>,
    /// The stream that is being read, and how many of its entries are left, if its
    /// header has been written.
    at: usize,
    left: Option<usize>,
    /// What was delivered of each stream, to be recorded at the end.
    delivered: Vec<Delivered>,
}

/// What was delivered of one stream.
#[derive(Debug, Default)]
struct Delivered {
    /// A consumer was created.
    created: bool,
    /// The stream was read, maybe in vain.
    has_read: bool,
    /// What was claimed, and how often each was delivered by now; only if somebody
    /// records it.
    claimed: Vec<(StreamId, u64)>,
    /// What the group has read up to, and how many that were.
    group: Option<(StreamId, Option<u64>)>,
}

impl Job {
    /// What earlier calls have left.
    pub fn begun(ctx: &mut Context<'_>) -> Option<Box<Self>> {
        match ctx.has_work().then(|| ctx.work())?? {
            Work::Streams(job) => Some(job),
            _ => None,
        }
    }

    /// What was found is to be read.
    ///
    /// # Errors
    /// There is so much that it is to be done in slices, but not now.
    pub fn new(
        ctx: &mut Context<'_>,
        reading: &Reading<'_>,
        found: Vec<Found>,
        part_for: Option<Protocol>,
    ) -> Result<Box<Self>, CommandError> {
        let most = reading.most().saturating_mul(found.len());
        if most > ctx.at_once() {
            let count = count_all(ctx, reading, &found);
            ctx.in_slices(count, (found.len(), 0))?;
        }
        let (mut delivered, mut read) = (Vec::new(), Vec::new());
        if part_for.is_some() {
            let reserved = read.try_reserve_exact(found.len());
            reserved.map_err(|_| CommandError::OutOfMemory)?;
            read.extend(found.iter().map(|_| Vec::new()));
        }
        if reading.group.is_some() {
            let reserved = delivered.try_reserve_exact(found.len());
            reserved.map_err(|_| CommandError::OutOfMemory)?;
        }
        Ok(Box::new(Self {
            found,
            part_for,
            read,
            at: 0,
            left: None,
            delivered,
        }))
    }

    /// Reads on; all, or a slice.
    pub fn go_on(mut self: Box<Self>, ctx: &mut Context<'_>, reading: &Reading<'_>) -> Outcome {
        match self.part_for {
            Some(protocol) => ctx.reply.speak(protocol),
            None if self.at == 0 && self.left.is_none() => self.begin(&mut ctx.reply),
            None => {}
        }
        // What is pending is looked for, entry by entry.
        let step = match reading.group {
            Some(_) => ctx.step(),
            None => ctx.long_step(),
        };
        let (mut budget, mut room) = match ctx.cargo.divisible {
            true => (step, ctx.settings.long_replies.piece),
            false => (usize::MAX, usize::MAX),
        };
        for (key, _) in reading.all().skip(self.at) {
            let begin = ctx.reply.written();
            let full_at = begin.saturating_add(room);
            let more = self.read(ctx, reading, key, &mut budget, full_at);
            room = room.saturating_sub(ctx.reply.written() - begin);
            match more.and_then(|more| self.put_aside(ctx, begin).map(|()| more)) {
                Ok(true) => return ctx.leave(Work::Streams(self)),
                Ok(false) => {}
                Err(error) => {
                    self.record(ctx, reading);
                    return Err(error);
                }
            }
            self.at += 1;
            self.left = None;
        }
        self.record(ctx, reading);
        match self.part_for {
            Some(_) => ctx.hand_on(Work::Streams(self)),
            None => Ok(()),
        }
    }

    /// Of a part, takes back what was written of the stream that is being read.
    fn put_aside(&mut self, ctx: &mut Context<'_>, begin: usize) -> Outcome {
        if self.part_for.is_none() || ctx.reply.written() == begin {
            return Ok(());
        }
        let written = ctx.reply.take_from(begin)?;
        if let Some(read) = self.read.get_mut(self.at) {
            let reserved = read.try_reserve(1);
            reserved.map_err(|_| CommandError::OutOfMemory)?;
            read.push(written);
        }
        Ok(())
    }

    /// What was read, of a part.
    pub fn into_parts(self) -> impl Iterator<Item = Part> {
        let parts = self.found.into_iter().zip(self.read);
        parts.map(|(found, pieces)| Part { found, pieces })
    }

    /// Says what has changed, in place of the request.
    fn record(&self, ctx: &mut Context<'_>, reading: &Reading<'_>) {
        if reading.group.is_some() {
            for ((key, _), delivered) in reading.all().zip(&self.delivered) {
                record(ctx, reading, key, delivered);
            }
            ctx.propagate(&[]);
        }
    }

    fn begin(&self, reply: &mut Reply<'_>) {
        let count = self.found.iter().filter(|of| of.has_any()).count();
        if count > 0 {
            begin_streams(reply, count);
        }
    }

    /// Reads on in one stream; whether there is more.
    fn read(
        &mut self,
        ctx: &mut Context<'_>,
        reading: &Reading<'_>,
        key: &[u8],
        budget: &mut usize,
        full_at: usize,
    ) -> Result<bool, CommandError> {
        let Some(found) = self.found.get_mut(self.at) else {
            return Ok(false);
        };
        if self.left.is_none() && found.has_any() && self.part_for.is_none() {
            begin_stream(&mut ctx.reply, key);
        }
        let mut slice = Slice {
            found,
            left: self.left,
            most: reading.most(),
            is_exact: ctx.cargo.divisible,
            is_recording: ctx.is_recording(),
            budget,
            full_at,
        };
        match reading.group {
            None if !matches!(slice.found, Found::Entries(_)) => {}
            None => {
                if let Some(stream) = ctx.db.lookup_as::<Stream>(key)? {
                    slice.read(&mut ctx.reply, &stream.entries);
                }
            }
            Some(group) => {
                if self.delivered.len() <= self.at {
                    self.delivered.push(Delivered::default());
                }
                if let Some(delivered) = self.delivered.last_mut() {
                    slice.deliver(ctx, reading, (key, group), delivered)?;
                }
            }
        }
        self.left = slice.left;
        Ok(self.left.is_some_and(|left| left > 0))
    }
}

/// How many entries there are to read, or more than are read at once.
fn count_all(ctx: &mut Context<'_>, reading: &Reading<'_>, found: &[Found]) -> usize {
    let most = reading.most().min(ctx.at_once().saturating_add(1));
    let mut count = 0usize;
    for ((key, _), found) in reading.all().zip(found) {
        if let Ok(Some(stream)) = ctx.db.lookup_as::<Stream>(key) {
            count = count.saturating_add(match found {
                Found::Entries(id) => count_behind(&stream.entries, *id, most),
                Found::Pending(id) => {
                    let group = reading.group.and_then(|group| stream.groups.get(group));
                    let consumer = group.and_then(|group| group.find_consumer(reading.consumer));
                    let both = group.zip(consumer);
                    both.map_or(0, |(group, consumer)| {
                        count_pending(group, consumer, *id, most)
                    })
                }
                Found::Nothing(_) | Found::Error(_) => 0,
            });
        }
    }
    count
}

/// How many entries are behind an id, up to a number.
pub fn count_behind(entries: &Entries, id: StreamId, most: usize) -> usize {
    let next = id.next();
    next.map_or(0, |next| entries.count(next, StreamId::MAX, most))
}

fn count_pending(group: &Group, consumer: ConsumerId, id: StreamId, most: usize) -> usize {
    let consumer = group.consumer(consumer).zip(id.next());
    consumer.map_or(0, |(consumer, next)| {
        consumer.pending_len_from(next).min(most)
    })
}

/// Reads a slice of one stream.
struct Slice<'f, 'b> {
    found: &'f mut Found,
    /// How many entries are left, if the header has been written.
    left: Option<usize>,
    most: usize,
    /// The header must be right at once, because what follows it comes later.
    is_exact: bool,
    is_recording: bool,
    budget: &'b mut usize,
    full_at: usize,
}

impl Slice<'_, '_> {
    /// Whether one more entry is to be written.
    fn takes_more(&self, reply: &Reply<'_>) -> bool {
        self.left.is_some_and(|left| left > 0) && *self.budget > 0 && reply.written() < self.full_at
    }

    /// An entry with this id was written; the next comes behind it.
    fn wrote(&mut self, id: StreamId) {
        *self.budget -= 1;
        self.left = self.left.map(|left| left - 1);
        match self.found {
            Found::Entries(at) | Found::Pending(at) => *at = id,
            Found::Nothing(_) | Found::Error(_) => {}
        }
    }

    /// Replies entries of a stream, `write` each, from the first that is still to come.
    fn write(
        &mut self,
        reply: &mut Reply<'_>,
        entries: &Entries,
        mut write: impl FnMut(&mut Reply<'_>, StreamId) -> Result<(), OutOfMemory>,
    ) -> Result<(), OutOfMemory> {
        let Found::Entries(behind) = *self.found else {
            return Ok(());
        };
        let mark = reply.array_deferred();
        let told = match (self.left, self.is_exact) {
            (Some(_), _) => None,
            (None, true) => Some(count_behind(entries, behind, self.most)),
            (None, false) => Some(self.most.min(entries.len())),
        };
        if let Some(told) = told {
            reply.array(told);
            self.left = Some(told);
        }
        let Some(next) = behind.next() else {
            return Ok(());
        };
        let mut written = 0;
        let mut failed = None;
        for entry in entries.range(next, StreamId::MAX) {
            if !self.takes_more(reply) {
                break;
            }
            if let Err(error) = write(reply, entry.id) {
                failed = Some(error);
                break;
            }
            reply_entry(reply, &entry);
            self.wrote(entry.id);
            written += 1;
        }
        match (told, failed) {
            // What was claimed before this is on its way already.
            (None, Some(error)) => return Err(error),
            (Some(_), Some(error)) if written == 0 => return Err(error),
            _ => {}
        }
        if let Some(told) = told
            && (failed.is_some() || !self.is_exact)
        {
            if told != written {
                reply.correct_array(&mark, told, written);
            }
            self.left = Some(0);
        }
        Ok(())
    }

    fn read(&mut self, reply: &mut Reply<'_>, entries: &Entries) {
        let written = self.write(reply, entries, |_, _| Ok(()));
        debug_assert!(written.is_ok(), "nothing that can fail was asked for");
    }

    /// Delivers to a consumer, which is created if it is not there.
    fn deliver(
        &mut self,
        ctx: &mut Context<'_>,
        reading: &Reading<'_>,
        (key, group): (&[u8], &[u8]),
        delivered: &mut Delivered,
    ) -> Outcome {
        let now = ctx.db.now();
        let (db, reply) = (&mut ctx.db, &mut ctx.reply);
        let edited = db.try_edit(key, |stream: &mut Stream| {
            let Some(mut group) = stream.groups.get_mut(group) else {
                return Ok(());
            };
            let (consumer, created) = group.consumer_or_create(reading.consumer, now)?;
            group.note_seen(consumer, now);
            delivered.created |= created;
            let to = Recipient {
                consumer,
                now,
                no_ack: reading.no_ack,
                is_recording: self.is_recording,
            };
            match self.found {
                Found::Entries(behind) => {
                    // The same stream may stand before it in the request.
                    *behind = group.last_id;
                    let entries = &stream.entries;
                    self.write(reply, entries, |_, id| {
                        to.take(&mut group, id, delivered)?;
                        entries.advance(&mut group, id);
                        delivered.group = Some((group.last_id, group.entries_read));
                        Ok(())
                    })?;
                    group.note_active(consumer, now);
                }
                Found::Pending(_) => {
                    self.write_pending(reply, &stream.entries, &mut group, &to, delivered)?;
                }
                Found::Nothing(_) | Found::Error(_) => {}
            }
            Ok(())
        });
        edited?;
        Ok(())
    }

    /// What is pending with the consumer. Entries that are no more have no fields.
    fn write_pending(
        &mut self,
        reply: &mut Reply<'_>,
        entries: &Entries,
        group: &mut Group,
        to: &Recipient,
        delivered: &mut Delivered,
    ) -> Result<(), OutOfMemory> {
        if self.left.is_none() {
            let Found::Pending(id) = *self.found else {
                return Ok(());
            };
            let count = count_pending(group, to.consumer, id, self.most);
            reply.array(count);
            self.left = Some(count);
        }
        let mut entries = Ascending::of(entries);
        while self.takes_more(reply) {
            let next = self.found.id().next();
            let pending = next.and_then(|next| group.pending_of(to.consumer, next).next().copied());
            let Some(pending) = pending else {
                break;
            };
            match entries.find(pending.id) {
                Some(entry) => {
                    let deliveries = pending.deliveries.saturating_add(1);
                    to.claim(group, pending.id, deliveries, delivered)?;
                    reply_entry(reply, &entry);
                }
                None => {
                    reply.array(2);
                    reply_id(reply, pending.id);
                    reply.null_array();
                }
            }
            self.wrote(pending.id);
        }
        delivered.has_read = true;
        Ok(())
    }
}

/// To whom entries are delivered.
struct Recipient {
    consumer: ConsumerId,
    now: UnixMs,
    no_ack: bool,
    is_recording: bool,
}

impl Recipient {
    /// An entry that nobody has got yet is delivered.
    fn take(
        &self,
        group: &mut Group,
        id: StreamId,
        delivered: &mut Delivered,
    ) -> Result<(), OutOfMemory> {
        delivered.has_read = true;
        match self.no_ack {
            true => Ok(()),
            false => self.claim(group, id, 1, delivered),
        }
    }

    /// An entry is the consumer's.
    fn claim(
        &self,
        group: &mut Group,
        id: StreamId,
        deliveries: u64,
        delivered: &mut Delivered,
    ) -> Result<(), OutOfMemory> {
        if self.is_recording {
            delivered.claimed.try_reserve(1)?;
        }
        group.claim(id, self.consumer, self.now, deliveries)?;
        if self.is_recording {
            delivered.claimed.push((id, deliveries));
        }
        Ok(())
    }
}

/// Says what has changed, and leaves it as the claims it was: a follower has no chance to
/// deliver to another consumer.
fn record(ctx: &mut Context<'_>, reading: &Reading<'_>, key: &[u8], delivered: &Delivered) {
    let (group, consumer) = (reading.group.unwrap_or_default(), reading.consumer);
    if delivered.created {
        ctx.noticed(key, Event::XGroupCreateConsumer, 1);
        ctx.propagate(&[b"XGROUP", b"CREATECONSUMER", key, group, consumer]);
    }
    if delivered.has_read {
        ctx.counts(1);
    }
    if !ctx.is_recording() {
        return;
    }
    let same = delivered.claimed.chunk_by(|a, b| a.1 == b.1);
    for claims in same.flat_map(|same| same.chunks(CLAIMS)) {
        record_claims(ctx, key, (group, consumer), claims);
    }
    if let Some((id, entries_read)) = delivered.group {
        let (id, mut number) = (id.text(), itoa::Buffer::new());
        let read = entries_read.map_or("-1", |read| number.format(read));
        ctx.propagate(&[
            b"XGROUP",
            b"SETID",
            key,
            group,
            id.as_bytes(),
            b"ENTRIESREAD",
            read.as_bytes(),
        ]);
    }
}

/// So many ids are named in one command.
const CLAIMS: usize = 32;

/// Leaves claims of entries that were delivered equally often.
fn record_claims(
    ctx: &mut Context<'_>,
    key: &[u8],
    (group, consumer): (&[u8], &[u8]),
    claims: &[(StreamId, u64)],
) {
    let Some((_, deliveries)) = claims.first() else {
        return;
    };
    let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let now = time.format(ctx.db.now().0);
    let ids: [IdText; CLAIMS] = std::array::from_fn(|at| {
        let claim = claims.get(at);
        claim.map_or(StreamId::MIN, |claim| claim.0).text()
    });
    let before = [&b"XCLAIM"[..], key, group, consumer, b"0"];
    let behind = [
        &b"TIME"[..],
        now.as_bytes(),
        b"RETRYCOUNT",
        count.format(*deliveries).as_bytes(),
        b"FORCE",
        b"JUSTID",
    ];
    let ids = ids.iter().take(claims.len()).map(IdText::as_bytes);
    let mut words = [&b""[..]; 5 + CLAIMS + 6];
    let mut len = 0;
    for (place, word) in words
        .iter_mut()
        .zip(before.into_iter().chain(ids).chain(behind))
    {
        *place = word;
        len += 1;
    }
    ctx.propagate(&words[..len]);
}
