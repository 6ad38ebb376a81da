//! Reading several streams for a consumer of a group, and waiting for more.
//!
//! On several shards this takes three steps under the locks of all keys: first each shard
//! says what is wrong with its streams, and whether they have anything; only if nothing
//! is wrong anywhere does each deliver; then the home core puts together what was
//! delivered. So nothing is claimed that is not replied.
//!
//! ```text
//! on one shard:   look and deliver
//! on several:     look ─▶ decide ─▶ deliver ─▶ decide
//! ```

use super::delivery::{Found, Job, count_behind, look_at_all};
use super::ids;
use super::parts;
use super::reading::{Reading, has_more, still_waits, streams};
use crate::command::spec::{Arity, Group, InSlices, PartArgs, flags};
use crate::command::{Args, Ask, Context, Decision, Further, Outcome, OwnedArgs, ROW, Row, Run};
use crate::error::{CommandError, until_nul};
use crate::resp::{Protocol, read};
use crate::value::Stream;
use crate::value::stream::StreamId;

pub static COMMANDS: &[Row] = &[Row {
    name: "xreadgroup",
    syntax: "GROUP group consumer [COUNT count] [BLOCK milliseconds] [NOACK] STREAMS key \
                 [key ...] id [id ...]",
    summary: "Read new entries of streams for a consumer of a group, or those pending with \
                  it; wait for some.",
    since: "5.0.0",
    complexity: "O(log(M)+N) with M the number of entries and N that of entries read",
    group: Group::Stream,
    arity: Arity::AtLeast(7),
    keys: &[streams(4, &["RO", "access"])],
    flags: flags::WRITE.with(flags::BLOCKING).with(flags::MOVABLEKEYS),
    slices: InSlices::IfMuch,
    part_args: PartArgs::KeysAndIds,
    run: Run::ReadThenWrite {
        whole: xreadgroup,
        read: xreadgroup_look,
        decide: xreadgroup_decide,
        skip: 0,
    },
    ..ROW
}];

/// What XREADGROUP is asked for of one stream.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// What nobody of the group has got yet.
    New,
    /// What is pending with the consumer behind this id.
    Pending(StreamId),
}

impl Wanted {
    pub fn parse(id: &[u8]) -> Result<Self, CommandError> {
        const LAST: CommandError = CommandError::Static(
            "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the \
             history of this consumer by specifying a proper ID, or use the > ID to get new \
             messages. The $ ID would just return an empty result set.",
        );
        const FINAL: CommandError = CommandError::Static(
            "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the \
             history of this consumer by specifying a proper ID, or use the > ID to get new \
             messages. The + ID would just return an empty result set.",
        );
        match until_nul(id) {
            b"$" => Err(LAST),
            b"+" => Err(FINAL),
            b">" => Ok(Self::New),
            _ => Ok(match ids::strict(id, 0)? {
                // Redis knows `>` by this id.
                StreamId::MAX => Self::New,
                id => Self::Pending(id),
            }),
        }
    }
}

/// Looks whether a stream can be read as asked for, and whether it has anything, of which
/// an empty history is one.
fn look(
    ctx: &mut Context<'_>,
    reading: &Reading<'_>,
    key: &[u8],
    id: &[u8],
) -> Result<Found, CommandError> {
    let stream = ctx.db.read_as::<Stream>(key)?;
    let group = stream.and_then(|stream| Some((stream, stream.groups.get(reading.group?)?)));
    let (stream, group) = group.ok_or_else(|| no_group(key, reading.group.unwrap_or_default()))?;
    Ok(match Wanted::parse(id)? {
        Wanted::New if has_more(stream, group.last_id) => Found::Entries(group.last_id),
        Wanted::New => Found::Nothing(group.last_id),
        Wanted::Pending(id) => Found::Pending(id),
    })
}

/// Of a stream that is named more than once each reads on behind those before: there may
/// be nothing left for it.
fn leave_to_earlier(ctx: &mut Context<'_>, reading: &Reading<'_>, found: &mut [Found]) -> Outcome {
    if found.len() < 2 {
        return Ok(());
    }
    let mut order: Vec<(&[u8], usize)> = Vec::new();
    let reserved = order.try_reserve_exact(found.len());
    reserved.map_err(|_| CommandError::OutOfMemory)?;
    let keys = reading.all().zip(0..).zip(found.iter());
    let new = keys.filter(|(_, found)| matches!(found, Found::Entries(_)));
    order.extend(new.map(|(((key, _), number), _)| (key, number)));
    order.sort_unstable();
    for same in order.chunk_by(|one, other| one.0 == other.0) {
        let Some(((key, first), others)) = same.split_first() else {
            continue;
        };
        if others.is_empty() {
            continue;
        }
        let id = found[*first].id();
        let most = reading.most().saturating_mul(same.len());
        let stream = ctx.db.lookup_as::<Stream>(key)?;
        let all = stream.map_or(0, |stream| count_behind(&stream.entries, id, most));
        for (before, (_, number)) in (1..).zip(others) {
            if reading.most().saturating_mul(before) >= all {
                found[*number] = Found::Nothing(id);
            }
        }
    }
    Ok(())
}

fn no_group(key: &[u8], group: &[u8]) -> CommandError {
    let parts: [&[u8]; 5] = [
        b"NOGROUP No such key '",
        until_nul(key),
        b"' or consumer group '",
        until_nul(group),
        b"' in XREADGROUP with GROUP option",
    ];
    CommandError::Owned(parts.concat().into())
}

fn xreadgroup(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let reading = Reading::parse(args, true, ctx.db.now())?;
    if let Some(job) = Job::begun(ctx) {
        return job.go_on(ctx, &reading);
    }
    let mut found = look_at_all(&reading, |key, id| look(ctx, &reading, key, id))?;
    leave_to_earlier(ctx, &reading, &mut found)?;
    let has_any = found.iter().any(Found::has_any);
    // Where there is nothing, the consumer has tried all the same.
    Job::new(ctx, &reading, found, None)?.go_on(ctx, &reading)?;
    match has_any {
        true => Ok(()),
        false => reading.wait_or_reply(ctx.alone, &mut ctx.reply, Vec::new(), reading.share()),
    }
}

/// The part of a shard: for each key its error, or whether there is anything.
fn xreadgroup_look(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let reading = Reading::parse(args, true, ctx.db.now())?;
    let look =
        |key: &[u8], id: &[u8]| Ok(look(ctx, &reading, key, id).unwrap_or_else(Found::Error));
    let found = look_at_all(&reading, look)?;
    ctx.reply.array(reading.streams);
    for of in &found {
        match of {
            Found::Error(error) => ctx.reply.error(error),
            of => ctx.reply.integer(of.has_any().into()),
        }
    }
    still_waits(ctx, found.iter().any(Found::has_any))
}

/// Each stream has been looked at, and is locked: what was delivered of each is handed on.
fn deliver(ctx: &mut Context<'_>, args: Args<'_>, protocol: Protocol) -> Outcome {
    let reading = Reading::parse(args, true, ctx.db.now())?;
    if let Some(job) = Job::begun(ctx) {
        return job.go_on(ctx, &reading);
    }
    let mut found = look_at_all(&reading, |key, id| look(ctx, &reading, key, id))?;
    leave_to_earlier(ctx, &reading, &mut found)?;
    Job::new(ctx, &reading, found, Some(protocol))?.go_on(ctx, &reading)
}

fn deliver_resp2(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    deliver(ctx, args, Protocol::Resp2)
}

fn deliver_resp3(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    deliver(ctx, args, Protocol::Resp3)
}

fn xreadgroup_decide(decision: &mut Decision<'_>) -> Outcome {
    let reading = Reading::parse(decision.args, true, decision.now)?;
    if decision.works.is_empty() {
        first_error(decision.first)?;
        decision.further = Some(Further::Keys(asks(decision, &reading)));
        return Ok(());
    }
    let mut parts = parts::of(decision)?;
    if parts::reply(decision, &reading, &mut parts) > 0 {
        return Ok(());
    }
    let (alone, share) = (decision.alone, reading.share());
    reading.wait_or_reply(alone, &mut decision.reply, Vec::new(), share)
}

/// What is wrong with the first of the streams with which anything is.
fn first_error(found: &[&[u8]]) -> Outcome {
    match found.iter().find_map(|of| read::error(of)) {
        Some(text) => Err(CommandError::Owned(text.into())),
        None => Ok(()),
    }
}

/// Has every shard deliver what its streams have.
fn asks(decision: &Decision<'_>, reading: &Reading<'_>) -> Vec<Ask> {
    // What is pending and no more is an array that is null.
    let handler = match decision.reply.protocol() {
        Protocol::Resp2 => deliver_resp2,
        Protocol::Resp3 => deliver_resp3,
    };
    let mut asks: Vec<Ask> = Vec::new();
    for (number, owner) in decision.owners.iter().enumerate() {
        match asks.iter_mut().find(|ask| ask.shard == *owner) {
            Some(ask) => ask.keys.push(number),
            None => asks.push(Ask {
                shard: *owner,
                keys: vec![number],
                handler,
                args: OwnedArgs::default(),
            }),
        }
    }
    for ask in &mut asks {
        let options = reading.args.iter().take(reading.first);
        let keys = ask.keys.iter().map(|at| &reading.args[reading.first + at]);
        let ids = ask.keys.iter().map(|at| &reading.args[reading.id_at(*at)]);
        ask.args = OwnedArgs::new(options.chain(keys).chain(ids));
    }
    asks
}
