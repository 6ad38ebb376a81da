//! Reading several streams behind ids, and waiting for more.
//!
//! A request that finds nothing waits with ids of its own: what `$` means is decided
//! when the wait begins. On several shards its keys are locked while they are read, and
//! the home core puts together what each shard has ([`parts`](super::parts)).

use super::delivery::{Found, Job, look_at_all};
use super::parts;
use super::reading::{Reading, behind, has_more, resolved, still_waits, streams};
use crate::command::spec::{Arity, Group, InSlices, PartArgs, flags};
use crate::command::{Args, Context, Decision, Outcome, ROW, Row, Run};
use crate::error::CommandError;
use crate::resp::Protocol;
use crate::types::Claim;
use crate::value::Stream;

pub static COMMANDS: &[Row] = &[Row {
    name: "xread",
    syntax: "[COUNT count] [BLOCK milliseconds] STREAMS key [key ...] id [id ...]",
    summary: "Read the entries of streams behind ids; wait for some.",
    since: "5.0.0",
    complexity: "O(log(M)+N) with M the number of entries and N that of entries read",
    group: Group::Stream,
    arity: Arity::AtLeast(4),
    keys: &[streams(1, &["RO", "access"])],
    flags: flags::READONLY
        .with(flags::BLOCKING)
        .with(flags::MOVABLEKEYS),
    slices: InSlices::IfMuch,
    part_args: PartArgs::KeysAndIds,
    run: Run::ReadThenWrite {
        whole: xread,
        read: xread_look,
        decide: xread_decide,
        skip: 0,
    },
    ..ROW
}];

/// What one stream has for XREAD.
fn look(ctx: &mut Context<'_>, key: &[u8], id: &[u8]) -> Result<Found, CommandError> {
    let stream = ctx.db.read_as::<Stream>(key)?;
    let id = behind(stream, id)?;
    Ok(match stream.is_some_and(|stream| has_more(stream, id)) {
        true => Found::Entries(id),
        false => Found::Nothing(id),
    })
}

fn xread(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let reading = Reading::parse(args, false, ctx.db.now())?;
    if let Some(job) = Job::begun(ctx) {
        return job.go_on(ctx, &reading);
    }
    let found = look_at_all(&reading, |key, id| look(ctx, key, id))?;
    if !found.iter().any(Found::has_any) {
        let instead = resolved(&reading, found.iter().map(Found::id));
        return reading.wait_or_reply(ctx.alone, &mut ctx.reply, instead, Claim::Reads);
    }
    Job::new(ctx, &reading, found, None)?.go_on(ctx, &reading)
}

/// The part of a shard: what its streams have, or what is wrong with them. Who waits is looked at in the same way, and goes on waiting while no
/// key has anything.
fn xread_look(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let reading = Reading::parse(args, false, ctx.db.now())?;
    if let Some(job) = Job::begun(ctx) {
        return job.go_on(ctx, &reading);
    }
    let look = |key: &[u8], id: &[u8]| Ok(look(ctx, key, id).unwrap_or_else(Found::Error));
    let found = look_at_all(&reading, look)?;
    if !ctx.cargo.inner {
        return still_waits(ctx, found.iter().any(Found::has_any));
    }
    // Entries are the same to all clients.
    Job::new(ctx, &reading, found, Some(Protocol::Resp2))?.go_on(ctx, &reading)
}

fn xread_decide(decision: &mut Decision<'_>) -> Outcome {
    let reading = Reading::parse(decision.args, false, decision.now)?;
    let mut parts = parts::of(decision)?;
    if parts::reply(decision, &reading, &mut parts) > 0 {
        return Ok(());
    }
    let instead = resolved(&reading, parts.iter().map(|part| part.found.id()));
    reading.wait_or_reply(decision.alone, &mut decision.reply, instead, Claim::Reads)
}
