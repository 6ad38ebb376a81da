//! Reading a stream: its length, and its entries between two ids.

use super::ids;
use crate::command::args::integer;
use crate::command::long::Piece;
use crate::command::spec::{Arity, Group, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run};
use crate::error::CommandError;
use crate::resp::Reply;
use crate::value::Stream;
use crate::value::stream::{Entry, StreamId};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "xlen",
        syntax: "key",
        summary: "The number of entries of a stream.",
        since: "5.0.0",
        complexity: "O(1)",
        group: Group::Stream,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RO"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(xlen),
        ..ROW
    },
    Row {
        name: "xrange",
        syntax: "key start end [COUNT count]",
        summary: "Read the entries of a stream from one id to another.",
        since: "5.0.0",
        complexity: "O(log(M)+N) with M the number of entries and N that of entries read",
        history: &[("6.2.0", "Ranges may exclude their ends.")],
        group: Group::Stream,
        arity: Arity::AtLeast(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        run: Run::OneShard(xrange),
        ..ROW
    },
    Row {
        name: "xrevrange",
        syntax: "key end start [COUNT count]",
        summary: "Read the entries of a stream from one id to another, the last one first.",
        since: "5.0.0",
        complexity: "O(log(M)+N) with M the number of entries and N that of entries read",
        history: &[("6.2.0", "Ranges may exclude their ends.")],
        group: Group::Stream,
        arity: Arity::AtLeast(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        run: Run::OneShard(xrevrange),
        ..ROW
    },
];

/// Replies an id.
#[inline]
pub fn reply_id(reply: &mut Reply<'_>, id: StreamId) {
    reply.bulk(id.text().as_bytes());
}

/// Replies an entry: its id, and its fields and values.
#[inline]
pub fn reply_entry(reply: &mut Reply<'_>, entry: &Entry<'_>) {
    reply.array(2);
    reply_id(reply, entry.id);
    reply.array(entry.fields.len() * 2);
    for (field, value) in entry.fields.clone() {
        reply.bulk(field);
        reply.bulk(value);
    }
}

fn xlen(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    let stream = ctx.db.read_as::<Stream>(key)?;
    let len = stream.map_or(0, |stream| stream.entries.len());
    ctx.reply.integer(len as i64);
    Ok(())
}

fn xrange(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let bounds = (ids::start(&args[2])?, ids::end(&args[3])?);
    reply_range(ctx, args, bounds, false)
}

fn xrevrange(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let bounds = (ids::start(&args[3])?, ids::end(&args[2])?);
    reply_range(ctx, args, bounds, true)
}

/// How many entries are asked for, if that is limited.
fn count(args: Args<'_>) -> Result<Option<usize>, CommandError> {
    let mut count = None;
    let mut at = 4;
    while let Some(option) = args.get(at) {
        let value = args.get(at + 1);
        let Some(value) = value.filter(|_| option.eq_ignore_ascii_case(b"COUNT")) else {
            return Err(CommandError::Syntax);
        };
        // Below zero there are none.
        count = Some(usize::try_from(integer(value)?).unwrap_or(0));
        at += 2;
    }
    Ok(count)
}

fn reply_range(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    (start, end): (StreamId, StreamId),
    back: bool,
) -> Outcome {
    let (key, count) = (&args[1], count(args)?);
    let mut piece = Piece::new(ctx);
    let reply = &mut ctx.reply;
    let Some(stream) = piece.read::<Stream>(&mut ctx.db, key)? else {
        reply.array(0);
        return Ok(());
    };
    if count == Some(0) {
        reply.null_array();
        return Ok(());
    }
    let entries = &stream.entries;
    let most = count.unwrap_or(usize::MAX).min(entries.len());
    // How many there are is found out where it must be known before they are.
    let (start, end, left) = match piece.ids {
        Some((id, left)) if back => (start, id, left),
        Some((id, left)) => (id, end, left),
        None if piece.is_divisible() => (start, end, entries.count(start, end, most)),
        None => (start, end, most),
    };
    let mark = reply.array_deferred();
    piece.begin(reply, 0, |reply| reply.array(left))?;
    let step = if back { StreamId::prev } else { StreamId::next };
    let mut written = 0;
    let mut next = None;
    let write = |reply: &mut Reply<'_>, entry: Entry<'_>| {
        reply_entry(reply, &entry);
        next = step(entry.id);
        written += 1;
    };
    // One more than is short, and it is long.
    let looks = left.min(piece.elements_max().saturating_add(1));
    match back {
        false => piece.fill(reply, entries.range(start, end).take(looks), write),
        true => piece.fill(reply, entries.range_back(start, end).take(looks), write),
    }
    if written > piece.elements_max() {
        return Err(CommandError::Long);
    }
    if written != left && !piece.is_divisible() {
        reply.correct_array(&mark, left, written);
    }
    piece.ids = Some((next.unwrap_or_default(), left - written));
    piece.end(&ctx.db, ctx.cargo, key)
}
