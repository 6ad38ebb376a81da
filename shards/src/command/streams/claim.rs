//! XCLAIM and XAUTOCLAIM: pending entries get another owner.
//!
//! Both go through ids: the first through those of the request, the second through what
//! is pending. What came of each is recorded as it was done: an XCLAIM that says all of
//! it. An entry that is no longer there loses its record, and the XCLAIM that tells of
//! it names its owner of before; whoever follows does not find the entry either.

use super::groups::{group_of, no_such_group};
use super::ids;
use super::range::{reply_entry, reply_id};
use crate::command::spec::{Arity, Group as Family, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Outcome, Pieces, ROW, Row, Run, Work};
use crate::counted;
use crate::effects::Event;
use crate::error::CommandError;
use crate::number::parse_i64;
use crate::resp::Protocol;
use crate::types::UnixMs;
use crate::value::Stream;
use crate::value::stream::{ConsumerId, Entries, Entry, Group, Range, StreamId};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "xautoclaim",
        syntax: "key group consumer min-idle-time start [COUNT count] [JUSTID]",
        summary: "Give pending entries of a group that are idle to another consumer, from an id on.",
        since: "6.2.0",
        complexity: "O(M*log(N)) with N the number of pending entries and M of those looked at, ten times the count at most",
        history: &[(
            "7.0.0",
            "Replies which entries were not claimed because they are no more.",
        )],
        group: Family::Stream,
        arity: Arity::AtLeast(6),
        keys: &[KeySpec::first(&["RW", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        slices: InSlices::IfMuch,
        tips: &["nondeterministic_output"],
        run: Run::OneShard(xautoclaim),
        ..ROW
    },
    Row {
        name: "xclaim",
        syntax: "key group consumer min-idle-time id [id ...] [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        summary: "Give pending entries of a group to another consumer, as if it had been delivered them.",
        since: "5.0.0",
        complexity: "O(log(N)) for each id, with N the number of pending entries",
        group: Family::Stream,
        arity: Arity::AtLeast(6),
        keys: &[KeySpec::first(&["RW", "update"])],
        flags: flags::WRITE.with(flags::FAST),
        slices: InSlices::IfMuch,
        tips: &["nondeterministic_output"],
        run: Run::OneShard(xclaim),
        ..ROW
    },
];

/// So many ids are gone through in one go where there are no slices.
const TOGETHER: usize = 1024;

/// What XAUTOCLAIM looks at for each entry that it may claim.
const LOOKS_PER_CLAIM: usize = 10;

/// Entries that XAUTOCLAIM claims if it is not told.
const COUNT: i64 = 100;

/// The count that is too large for Redis to allot room for the ids of.
const COUNT_MAX: i64 = i64::MAX / 16;

/// How entries are claimed.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// Who was delivered less ago is left alone.
    min_idle: i64,
    /// When they count as delivered; now, if that is nothing.
    delivered: Option<i64>,
    /// How often they count as delivered.
    deliveries: Option<u64>,
    /// What is not pending is claimed, too.
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl Terms {
    fn new(min_idle: &[u8], error: CommandError) -> Result<Self, CommandError> {
        Ok(Self {
            min_idle: parse_i64(min_idle).ok_or(error)?.max(0),
            delivered: None,
            deliveries: None,
            force: false,
            just_id: false,
            last_id: StreamId::MIN,
        })
    }

    /// Reads an option of XCLAIM; how many words it has.
    fn option(&mut self, args: Args<'_>, now: UnixMs) -> Result<usize, CommandError> {
        const NO_IDLE: CommandError =
            CommandError::Static("ERR Invalid IDLE option argument for XCLAIM");
        const NO_TIME: CommandError =
            CommandError::Static("ERR Invalid TIME option argument for XCLAIM");
        const NO_COUNT: CommandError =
            CommandError::Static("ERR Invalid RETRYCOUNT option argument for XCLAIM");
        let word = args.get(0).unwrap_or_default();
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        match args.get(1) {
            _ if is(b"FORCE") => self.force = true,
            _ if is(b"JUSTID") => self.just_id = true,
            Some(ms) if is(b"IDLE") => {
                let idle = parse_i64(ms).ok_or(NO_IDLE)?;
                self.delivered = Some(now.0.wrapping_sub(idle));
                return Ok(2);
            }
            Some(ms) if is(b"TIME") => {
                self.delivered = Some(parse_i64(ms).ok_or(NO_TIME)?);
                return Ok(2);
            }
            Some(count) if is(b"RETRYCOUNT") => {
                let count = parse_i64(count).ok_or(NO_COUNT)?;
                self.deliveries = u64::try_from(count).ok();
                return Ok(2);
            }
            Some(id) if is(b"LASTID") => {
                // The last one is it, greater or not.
                self.last_id = ids::strict(id, 0)?;
                return Ok(2);
            }
            _ => {
                return Err(CommandError::quoting(
                    "ERR Unrecognized XCLAIM option '",
                    word,
                    "'",
                ));
            }
        }
        Ok(1)
    }

    /// When the entries count as delivered. What is in the future, or long before
    /// everything, is taken for a wrong clock of the client's; but who follows effects
    /// has no clock, and takes what they say.
    fn delivered(&self, now: UnixMs) -> UnixMs {
        let has_clock = now.0 >= 0;
        let sane = |at: &i64| *at >= 0 && (*at <= now.0 || !has_clock);
        self.delivered.filter(sane).map_or(now, UnixMs)
    }
}

/// How far a claim has come.
#[derive(Debug)]
pub struct Claiming {
    terms: Terms,
    /// XCLAIM: the argument at which it goes on, and where its ids end, if that is known.
    at: usize,
    ids_end: Option<usize>,
    /// XAUTOCLAIM: the id from which on it goes on; so many records may still be looked
    /// at.
    next: Option<StreamId>,
    looks: usize,
    /// The consumer is there: what follows claims.
    begun: bool,
    created: bool,
    /// The group's last id has grown.
    raised: bool,
    /// So many entries may still be replied.
    left: usize,
    claimed: usize,
    found: Pieces,
    deleted: Pieces,
}

impl Claiming {
    fn new(terms: Terms) -> Self {
        Self {
            terms,
            at: 5,
            ids_end: None,
            next: None,
            looks: usize::MAX,
            begun: false,
            created: false,
            raised: false,
            left: usize::MAX,
            claimed: 0,
            found: Pieces::default(),
            deleted: Pieces::default(),
        }
    }

    /// Of so many ids in all, how many to go through in this call.
    fn some(ctx: &Context<'_>, all: usize) -> usize {
        match ctx.cargo.divisible {
            true => ctx.slice_of(all),
            false => all.min(TOGETHER),
        }
    }

    /// Has the consumer be there, and the group's last id not be less than was said.
    fn begin(&mut self, ctx: &mut Context<'_>, names: Names<'_>) -> Outcome {
        let (now, last_id) = (ctx.db.now(), self.terms.last_id);
        let begin = |stream: &mut Stream| {
            let mut group = stream.groups.get_mut(names.group)?;
            Some(group.consumer_or_create(names.consumer, now).map(|found| {
                let (consumer, created) = found;
                group.note_seen(consumer, now);
                let raised = last_id > group.last_id;
                if raised {
                    group.last_id = last_id;
                }
                (created, raised)
            }))
        };
        let begun = ctx.db.edit(names.key, begin)?.flatten();
        let begun = begun.ok_or_else(|| no_such_group(names.key, names.group))?;
        (self.created, self.raised) = begun?;
        self.begun = true;
        Ok(())
    }

    /// Claims what can be claimed of these ids, until there is enough; how many it has
    /// gone through.
    fn claim_each(
        &mut self,
        ctx: &mut Context<'_>,
        names: Names<'_>,
        ids: impl Iterator<Item = StreamId>,
    ) -> Result<usize, CommandError> {
        let (now, protocol) = (ctx.db.now(), ctx.reply.protocol());
        let room = match ctx.cargo.divisible {
            true => ctx.settings.long_replies.piece,
            false => usize::MAX,
        };
        let full_at = self.found.bytes.saturating_add(room);
        let (mut passed, mut left_behind) = (0, LeftBehind::new(ctx.is_recording()));
        let claim = |stream: &mut Stream| {
            let Stream { entries, groups } = stream;
            let Some(mut group) = groups.get_mut(names.group) else {
                return Ok(());
            };
            let Some(consumer) = group.find_consumer(names.consumer) else {
                return Ok(());
            };
            left_behind.last_id = group.last_id;
            let mut entries = Ascending::of(entries);
            let before = self.claimed;
            let mut result = Ok(());
            for id in ids {
                if self.left == 0 || self.found.bytes >= full_at {
                    break;
                }
                counted::elements(1);
                let of = (consumer, id);
                result = self.claim(
                    &mut entries,
                    &mut group,
                    of,
                    (now, protocol),
                    &mut left_behind,
                );
                if result.is_err() {
                    break;
                }
                passed += 1;
            }
            if self.claimed > before {
                group.note_active(consumer, now);
            }
            result
        };
        let claimed = ctx.db.edit(names.key, claim)?;
        left_behind.propagate(ctx, names);
        claimed.unwrap_or(Ok(()))?;
        Ok(passed)
    }

    fn claim(
        &mut self,
        entries: &mut Ascending<'_>,
        group: &mut Group,
        (consumer, id): (ConsumerId, StreamId),
        (now, protocol): (UnixMs, Protocol),
        left_behind: &mut LeftBehind,
    ) -> Result<(), CommandError> {
        let record = group.pending(id).copied();
        let Some(entry) = entries.find(id) else {
            if let Some(record) = record {
                self.deleted.write(protocol, |reply| reply_id(reply, id))?;
                let owner = group.consumer(record.consumer);
                let owner = owner.map_or(&b""[..], |owner| owner.name());
                left_behind.note(id, Some(owner), record.delivered, record.deliveries);
                group.ack(id);
                self.left = self.left.saturating_sub(1);
            }
            return Ok(());
        };
        let deliveries = match record {
            Some(record) => {
                let idle = now.0.saturating_sub(record.delivered.0);
                if self.terms.min_idle > 0 && idle < self.terms.min_idle {
                    return Ok(());
                }
                record.deliveries
            }
            None if self.terms.force => 1,
            None => return Ok(()),
        };
        let once_more = deliveries.wrapping_add(u64::from(!self.terms.just_id));
        let deliveries = self.terms.deliveries.unwrap_or(once_more);
        let delivered = self.terms.delivered(now);
        group.claim(id, consumer, delivered, deliveries)?;
        self.claimed += 1;
        self.left = self.left.saturating_sub(1);
        left_behind.note(id, None, delivered, deliveries);
        self.found
            .write(protocol, |reply| match self.terms.just_id {
                true => reply_id(reply, id),
                false => reply_entry(reply, &entry),
            })
    }

    /// Says what has changed; what was recorded stands in place of the request.
    fn changed(&self, ctx: &mut Context<'_>, names: Names<'_>) {
        if self.created {
            ctx.noticed(names.key, Event::XGroupCreateConsumer, 1);
        }
        if self.created && self.claimed == 0 {
            let name: &[&[u8]] = &[b"XGROUP", b"CREATECONSUMER"];
            ctx.propagate(&[name, &[names.key, names.group, names.consumer]].concat());
        }
        let recorded = self.claimed + self.deleted.len;
        if recorded == 0 && self.raised {
            ctx.counts(1);
            super::groups::propagate_last_id(ctx, names.key, names.group);
        }
        if recorded > 0 {
            ctx.counts(recorded);
        }
        ctx.propagate(&[]);
    }

    /// As [`Claiming::changed`], if there is no memory to go on.
    fn give_up(&self, ctx: &mut Context<'_>, names: Names<'_>, error: CommandError) -> Outcome {
        self.changed(ctx, names);
        Err(error)
    }
}

/// Entries that are looked for by ids, mostly in their order: then the next one is near.
pub struct Ascending<'a> {
    entries: &'a Entries,
    /// What follows the last id that was looked for.
    behind: Option<Range<'a>>,
    last: StreamId,
}

impl<'a> Ascending<'a> {
    pub fn of(entries: &'a Entries) -> Self {
        Self {
            entries,
            behind: None,
            last: StreamId::MIN,
        }
    }

    pub fn find(&mut self, id: StreamId) -> Option<Entry<'a>> {
        /// So many entries are passed over before it is sought anew.
        const PASSED_MAX: usize = 8;
        if let Some(behind) = self.behind.as_mut().filter(|_| id > self.last) {
            for _ in 0..PASSED_MAX {
                let here = behind.clone();
                match behind.next() {
                    Some(entry) if entry.id < id => {}
                    Some(entry) if entry.id == id => {
                        self.last = id;
                        return Some(entry);
                    }
                    // It is not there; what is may be looked for next.
                    _ => {
                        (*behind, self.last) = (here, id);
                        return None;
                    }
                }
            }
        }
        let mut behind = self.entries.range(id, StreamId::MAX);
        let here = behind.clone();
        let found = behind.next().filter(|entry| entry.id == id);
        self.behind = Some(if found.is_some() { behind } else { here });
        self.last = id;
        found
    }
}

/// The key, the group and the consumer of a claim.
#[derive(Clone, Copy)]
struct Names<'a> {
    key: &'a [u8],
    group: &'a [u8],
    consumer: &'a [u8],
}

impl<'a> Names<'a> {
    fn of(args: Args<'a>) -> Self {
        let word = |index| args.get(index).unwrap_or_default();
        Self {
            key: word(1),
            group: word(2),
            consumer: word(3),
        }
    }
}

/// What came of one id: whose it was, if it is nobody's any more.
struct Left {
    id: StreamId,
    owner: Option<Box<[u8]>>,
    delivered: UnixMs,
    deliveries: u64,
}

/// What is to be recorded of one call.
struct LeftBehind {
    records: Vec<Left>,
    last_id: StreamId,
    is_recording: bool,
}

impl LeftBehind {
    fn new(is_recording: bool) -> Self {
        Self {
            records: Vec::new(),
            last_id: StreamId::MIN,
            is_recording,
        }
    }

    /// An id is pending now with the consumer who claims, or it was with another one and
    /// is not any more.
    fn note(&mut self, id: StreamId, owner: Option<&[u8]>, delivered: UnixMs, deliveries: u64) {
        if self.is_recording {
            self.records.push(Left {
                id,
                owner: owner.map(Box::from),
                delivered,
                deliveries,
            });
        }
    }

    fn propagate(self, ctx: &mut Context<'_>, names: Names<'_>) {
        let last_id = self.last_id.text();
        for left in &self.records {
            let consumer = left.owner.as_deref().unwrap_or(names.consumer);
            propagate_claim(
                ctx,
                (names.key, names.group, consumer),
                (left.id, last_id.as_bytes()),
                (left.delivered, left.deliveries),
            );
        }
    }
}

/// Records that an id is pending with a consumer.
pub fn propagate_claim(
    ctx: &mut Context<'_>,
    (key, group, consumer): (&[u8], &[u8], &[u8]),
    (id, last_id): (StreamId, &[u8]),
    (delivered, deliveries): (UnixMs, u64),
) {
    let (mut ms, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    ctx.propagate(&[
        b"XCLAIM",
        key,
        group,
        consumer,
        b"0",
        id.text().as_bytes(),
        b"TIME",
        ms.format(delivered.0).as_bytes(),
        b"RETRYCOUNT",
        count.format(deliveries).as_bytes(),
        b"FORCE",
        b"JUSTID",
        b"LASTID",
        last_id,
    ]);
}

fn xclaim(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match ctx.work() {
        Some(Work::Reply(pieces, number)) => return ctx.reply_pieces(pieces, number),
        Some(Work::Claim(claiming)) => return claiming.go_on_with_ids(ctx, args),
        _ => {}
    }
    const INVALID: CommandError =
        CommandError::Static("ERR Invalid min-idle-time argument for XCLAIM");
    let (key, name) = (&args[1], &args[2]);
    if group_of(ctx, key, name)?.is_none() {
        return Err(no_such_group(key, name));
    }
    let claiming = Claiming::new(Terms::new(&args[4], INVALID)?);
    ctx.in_slices(args.len() - 5, (1, 0))?;
    Box::new(claiming).go_on_with_ids(ctx, args)
}

impl Claiming {
    /// Reads ids and options; whether there are more.
    fn read_some(
        &mut self,
        args: Args<'_>,
        now: UnixMs,
        some: usize,
    ) -> Result<bool, CommandError> {
        for _ in 0..some {
            let Some(word) = args.get(self.at) else {
                break;
            };
            counted::elements(1);
            if self.ids_end.is_none() && ids::strict(word, 0).is_ok() {
                self.at += 1;
                continue;
            }
            self.ids_end.get_or_insert(self.at);
            self.at += self.terms.option(args.from(self.at), now)?;
        }
        Ok(self.at < args.len())
    }

    fn go_on_with_ids(mut self: Box<Self>, ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
        let names = Names::of(args);
        let (now, some) = (ctx.db.now(), Self::some(ctx, args.len()));
        while !self.begun {
            if self.read_some(args, now, some)? {
                if ctx.cargo.divisible {
                    return ctx.leave(Work::Claim(self));
                }
                continue;
            }
            self.begin(ctx, names)?;
            self.ids_end.get_or_insert(args.len());
            self.at = 5;
        }
        let end = self.ids_end.unwrap_or(self.at);
        while self.at < end {
            let from = self.at;
            let ids = (from..end).take(some);
            let ids = ids.filter_map(|at| ids::strict(args.get(at)?, 0).ok());
            match self.claim_each(ctx, names, ids) {
                Ok(0) => break,
                Ok(passed) => self.at += passed,
                Err(error) => return self.give_up(ctx, names, error),
            }
            if self.at < end && ctx.cargo.divisible {
                return ctx.leave(Work::Claim(self));
            }
        }
        self.changed(ctx, names);
        ctx.reply.array(self.found.len);
        ctx.reply_all(self.found)
    }
}

/// The id from which on XAUTOCLAIM goes through what is pending, if there is any left,
/// how many entries it may claim, and how.
fn parse_auto(args: Args<'_>) -> Result<(StreamId, usize, Terms), CommandError> {
    const INVALID: CommandError =
        CommandError::Static("ERR Invalid min-idle-time argument for XAUTOCLAIM");
    const NO_COUNT: CommandError = CommandError::Static("ERR COUNT must be > 0");
    let mut terms = Terms::new(&args[4], INVALID)?;
    let from = ids::start(&args[5])?;
    let mut count = COUNT;
    let mut at = 6;
    while let Some(word) = args.get(at) {
        match args.get(at + 1) {
            Some(number) if word.eq_ignore_ascii_case(b"COUNT") => {
                count = parse_i64(number).ok_or(NO_COUNT)?;
                if !(1..=COUNT_MAX).contains(&count) {
                    return Err(NO_COUNT);
                }
                at += 2;
            }
            _ if word.eq_ignore_ascii_case(b"JUSTID") => {
                terms.just_id = true;
                at += 1;
            }
            _ => return Err(CommandError::Syntax),
        }
    }
    let count = usize::try_from(count).map_err(|_| NO_COUNT)?;
    Ok((from, count, terms))
}

/// The group of a claim that is under way.
fn group_in<'c>(
    ctx: &'c mut Context<'_>,
    names: Names<'_>,
) -> Result<Option<&'c Group>, CommandError> {
    let stream = ctx.db.lookup_as::<Stream>(names.key)?;
    Ok(stream.and_then(|stream| stream.groups.get(names.group)))
}

fn xautoclaim(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match ctx.work() {
        Some(Work::Reply(pieces, number)) => return ctx.reply_pieces(pieces, number),
        Some(Work::Claim(claiming)) => return claiming.go_on_with_pending(ctx, args),
        _ => {}
    }
    let (from, count, terms) = parse_auto(args).inspect_err(|_| {
        // Redis has looked at the key by then.
        ctx.db.read(&args[1]);
    })?;
    let (key, name) = (&args[1], &args[2]);
    let pending = group_of(ctx, key, name)?.map(Group::pending_len);
    let pending = pending.ok_or_else(|| no_such_group(key, name))?;
    let looks = count.saturating_mul(LOOKS_PER_CLAIM);
    ctx.in_slices(looks.min(pending), (1, 0))?;
    let mut claiming = Box::new(Claiming {
        next: Some(from),
        left: count,
        looks,
        ..Claiming::new(terms)
    });
    claiming.begin(ctx, Names::of(args))?;
    claiming.go_on_with_pending(ctx, args)
}

impl Claiming {
    /// Some ids that are pending, of those that are still to be looked at.
    fn pending_ids(
        &self,
        ctx: &mut Context<'_>,
        names: Names<'_>,
    ) -> Result<Vec<StreamId>, CommandError> {
        let mut ids = Vec::new();
        let group = group_in(ctx, names)?;
        let pending = group.map_or(0, Group::pending_len);
        let some = Self::some(ctx, self.looks.min(pending));
        let some = some
            .min(self.looks)
            .min(self.left.saturating_mul(LOOKS_PER_CLAIM));
        if let (Some(group), Some(from)) = (group_in(ctx, names)?, self.next) {
            ids.try_reserve_exact(some.min(pending))
                .map_err(|_| CommandError::OutOfMemory)?;
            ids.extend(group.pending_from(from).take(some).map(|record| record.id));
        }
        Ok(ids)
    }

    fn go_on_with_pending(mut self: Box<Self>, ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
        let names = Names::of(args);
        let next = loop {
            let (ids, passed) = match self.claim_some(ctx, names) {
                Ok(found) => found,
                Err(error) => return self.give_up(ctx, names, error),
            };
            self.looks -= passed;
            if let Some(last) = passed.checked_sub(1).and_then(|last| ids.get(last)) {
                self.next = last.next();
            }
            let next = self.pending_ids_behind(ctx, names)?;
            if passed == 0 || self.left == 0 || self.looks == 0 || next.is_none() {
                break next;
            }
            if ctx.cargo.divisible {
                return ctx.leave(Work::Claim(self));
            }
        };
        self.changed(ctx, names);
        let protocol = ctx.reply.protocol();
        let mut all = Pieces::default();
        all.write(protocol, |reply| {
            reply.array(3);
            reply_id(reply, next.unwrap_or(StreamId::MIN));
            reply.array(self.found.len);
        })?;
        all.append(self.found);
        all.write(protocol, |reply| reply.array(self.deleted.len))?;
        all.append(self.deleted);
        ctx.reply_all(all)
    }

    /// Claims what can be claimed of some ids that are pending; which they were, and how
    /// many of them it has gone through.
    fn claim_some(
        &mut self,
        ctx: &mut Context<'_>,
        names: Names<'_>,
    ) -> Result<(Vec<StreamId>, usize), CommandError> {
        let ids = self.pending_ids(ctx, names)?;
        let passed = self.claim_each(ctx, names, ids.iter().copied())?;
        Ok((ids, passed))
    }

    /// The first id that is pending behind what was looked at.
    fn pending_ids_behind(
        &self,
        ctx: &mut Context<'_>,
        names: Names<'_>,
    ) -> Result<Option<StreamId>, CommandError> {
        let group = group_in(ctx, names)?;
        let behind = self.next.zip(group).and_then(|(from, group)| {
            let mut behind = group.pending_from(from);
            behind.next()
        });
        Ok(behind.map(|record| record.id))
    }
}
