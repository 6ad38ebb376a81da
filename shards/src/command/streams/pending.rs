//! XPENDING: what was delivered to the consumers of a group and is not acknowledged.

use super::groups::no_such_group;
use super::ids;
use super::range::reply_id;
use crate::command::args::integer;
use crate::command::spec::{Arity, Group as Family, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Outcome, Pieces, ROW, Row, Run, Work};
use crate::counted;
use crate::error::CommandError;
use crate::resp::Protocol;
use crate::types::UnixMs;
use crate::value::Stream;
use crate::value::stream::{Group, Pending, StreamId};

pub static COMMANDS: &[Row] = &[Row {
    name: "xpending",
    syntax: "key group [[IDLE min-idle-time] start end count [consumer]]",
    summary: "What a group was delivered and has not acknowledged: an overview, or entries one by one.",
    since: "5.0.0",
    complexity: "O(log(N)+M) with N the number of pending entries and M of those looked at; of consumers, without a range",
    history: &[("6.2.0", "Added IDLE; ranges may exclude their ends.")],
    group: Family::Stream,
    arity: Arity::AtLeast(3),
    keys: &[KeySpec::first(&["RO", "access"])],
    flags: flags::READONLY,
    slices: InSlices::IfMuch,
    tips: &["nondeterministic_output"],
    run: Run::OneShard(xpending),
    ..ROW
}];

/// Which pending entries are asked for one by one.
struct Query<'a> {
    min_idle: i64,
    from: StreamId,
    to: StreamId,
    count: usize,
    consumer: Option<&'a [u8]>,
}

impl<'a> Query<'a> {
    /// Nothing, if an overview is asked for.
    fn parse(args: Args<'a>) -> Result<Option<Self>, CommandError> {
        if args.len() == 3 {
            return Ok(None);
        }
        if !(6..=9).contains(&args.len()) {
            return Err(CommandError::Syntax);
        }
        let (mut min_idle, mut rest) = (0, args.from(3));
        if rest[0].eq_ignore_ascii_case(b"IDLE") {
            min_idle = integer(&rest[1])?;
            rest = rest.from(2);
            if rest.len() < 3 {
                return Err(CommandError::Syntax);
            }
        }
        let count = integer(&rest[2])?;
        Ok(Some(Self {
            min_idle,
            from: ids::start(&rest[0])?,
            to: ids::end(&rest[1])?,
            count: usize::try_from(count).unwrap_or(0),
            consumer: rest.get(3),
        }))
    }
}

/// How far an XPENDING has come.
#[derive(Debug)]
pub struct Listing {
    /// Where it goes on: an id, if there are any left; and a consumer.
    next: Option<StreamId>,
    consumer: usize,
    /// So many records may still be found.
    left: usize,
    found: Pieces,
}

/// What one call may look at.
struct Budget {
    looks: usize,
    bytes: usize,
}

fn xpending(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let query = Query::parse(args)?;
    let (key, name) = (&args[1], &args[2]);
    let (mut listing, budget, first) = match ctx.work() {
        Some(Work::Reply(pieces, number)) => return ctx.reply_pieces(pieces, number),
        Some(Work::Pending(listing)) => {
            let bytes = ctx.settings.long_replies.piece;
            // What is pending with one consumer is looked up one by one.
            let looks = match args.len() {
                3 | 6 => ctx.long_step(),
                _ => ctx.step(),
            };
            (listing, Budget { looks, bytes }, false)
        }
        _ => {
            let looks = ctx.at_once();
            let bytes = match looks {
                usize::MAX => usize::MAX,
                _ => ctx.settings.long_replies.bytes,
            };
            let listing = Box::new(Listing {
                next: query.as_ref().map(|query| query.from),
                consumer: 0,
                left: query.as_ref().map_or(0, |query| query.count),
                found: Pieces::default(),
            });
            (listing, Budget { looks, bytes }, true)
        }
    };
    let protocol = ctx.reply.protocol();
    let now = ctx.db.now();
    let stream = match first {
        true => ctx.db.read_as::<Stream>(key)?,
        false => ctx.db.lookup_as::<Stream>(key)?,
    };
    let group = stream.and_then(|stream| stream.groups.get(name));
    let group = group.ok_or_else(|| no_such_group(key, name))?;
    let more = match &query {
        Some(query) => listing.records(group, query, (now, protocol), budget)?,
        None => listing.consumers(group, protocol, budget)?,
    };
    let overview = query.is_none().then(|| Overview::of(group));
    if listing.found.bytes > ctx.settings.reply_max.bytes && !ctx.cargo.inner {
        return Err(CommandError::TooLong);
    }
    if more {
        ctx.in_slices(usize::MAX, (usize::from(first), 0))?;
        return ctx.leave(Work::Pending(listing));
    }
    let found = listing.found;
    if let Some(overview) = overview
        && !overview.reply(ctx)
    {
        return Ok(());
    }
    ctx.reply.array(found.len);
    ctx.reply_all(found)
}

impl Listing {
    /// Goes on with the records that are asked for; whether there are more.
    fn records(
        &mut self,
        group: &Group,
        query: &Query<'_>,
        (now, protocol): (UnixMs, Protocol),
        budget: Budget,
    ) -> Result<bool, CommandError> {
        let Some(next) = self.next.filter(|next| *next <= query.to && self.left > 0) else {
            return Ok(false);
        };
        let Some(name) = query.consumer else {
            let records = group.pending_from(next);
            return self.find(records, (group, query), (now, protocol), budget);
        };
        match group.find_consumer(name) {
            Some(consumer) => {
                let records = group.pending_of(consumer, next);
                self.find(records, (group, query), (now, protocol), budget)
            }
            None => Ok(false),
        }
    }

    fn find<'g>(
        &mut self,
        records: impl Iterator<Item = &'g Pending>,
        (group, query): (&Group, &Query<'_>),
        (now, protocol): (UnixMs, Protocol),
        budget: Budget,
    ) -> Result<bool, CommandError> {
        let full_at = self.found.bytes.saturating_add(budget.bytes);
        for (looked, record) in records.enumerate() {
            if record.id > query.to || self.left == 0 {
                return Ok(false);
            }
            if looked >= budget.looks || self.found.bytes >= full_at {
                self.next = Some(record.id);
                return Ok(true);
            }
            counted::elements(1);
            let idle = now.0.saturating_sub(record.delivered.0);
            if query.min_idle != 0 && idle < query.min_idle {
                continue;
            }
            let consumer = group.consumer(record.consumer);
            self.found.write(protocol, |reply| {
                reply.array(4);
                reply_id(reply, record.id);
                reply.bulk(consumer.map_or(b"", |consumer| consumer.name()));
                reply.integer(idle.max(0));
                reply.integer(record.deliveries.cast_signed());
            })?;
            self.left -= 1;
        }
        Ok(false)
    }

    /// Goes on with the consumers who have anything; whether there are more.
    fn consumers(
        &mut self,
        group: &Group,
        protocol: Protocol,
        budget: Budget,
    ) -> Result<bool, CommandError> {
        let full_at = self.found.bytes.saturating_add(budget.bytes);
        let end = self.consumer.saturating_add(budget.looks);
        while let Some((_, consumer)) = group.consumer_at(self.consumer) {
            if self.consumer >= end || self.found.bytes >= full_at {
                return Ok(true);
            }
            counted::elements(1);
            self.consumer += 1;
            if consumer.pending_len() == 0 {
                continue;
            }
            self.found.write(protocol, |reply| {
                reply.array(2);
                reply.bulk(consumer.name());
                reply.bulk_integer(consumer.pending_len() as i64);
            })?;
        }
        Ok(false)
    }
}

/// What there is to tell of a group as a whole.
struct Overview {
    len: usize,
    ends: Option<(StreamId, StreamId)>,
}

impl Overview {
    fn of(group: &Group) -> Self {
        let first = group.pending_from(StreamId::MIN).next();
        let ends = first.zip(group.pending_last());
        Self {
            len: group.pending_len(),
            ends: ends.map(|(first, last)| (first.id, last.id)),
        }
    }

    /// Replies it; whether consumers are to follow.
    fn reply(&self, ctx: &mut Context<'_>) -> bool {
        let reply = &mut ctx.reply;
        reply.array(4);
        reply.integer(self.len as i64);
        match self.ends {
            Some((first, last)) => {
                reply_id(reply, first);
                reply_id(reply, last);
            }
            None => {
                reply.null();
                reply.null();
                reply.null_array();
            }
        }
        self.ends.is_some()
    }
}
