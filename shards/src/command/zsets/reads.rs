//! Commands that ask about members.

use super::bounds::{Bounds, By};
use super::chance::zrandmember;
use super::reply_member;
use crate::command::args::{cursor_of, integer};
use crate::command::scanning::Scanning;
use crate::command::spec::{Arity, Group, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run};
use crate::error::CommandError;
use crate::glob;
use crate::number::float_text;
use crate::resp::Reply;
use crate::value::{Zset, ZsetRef};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "zcard",
        syntax: "key",
        summary: "The number of members.",
        since: "1.2.0",
        complexity: "O(1)",
        group: Group::SortedSet,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RO"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(zcard),
        ..ROW
    },
    Row {
        name: "zcount",
        syntax: "key min max",
        summary: "The number of members between two scores.",
        since: "2.0.0",
        complexity: "O(log(N)) with N the number of members",
        group: Group::SortedSet,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(zcount),
        ..ROW
    },
    Row {
        name: "zlexcount",
        syntax: "key min max",
        summary: "The number of members between two texts; all scores must be the same.",
        since: "2.8.9",
        complexity: "O(log(N)) with N the number of members",
        group: Group::SortedSet,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(zlexcount),
        ..ROW
    },
    Row {
        name: "zmscore",
        syntax: "key member [member ...]",
        summary: "The scores of several members; null for what is none.",
        since: "6.2.0",
        complexity: "O(N) with N the number of members asked for",
        group: Group::SortedSet,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(zmscore),
        ..ROW
    },
    Row {
        name: "zrandmember",
        syntax: "key [count [WITHSCORES]]",
        summary: "Members by chance: up to a count, or exactly as many with repetitions.",
        since: "6.2.0",
        complexity: "O(M*log(N)) with N the number of members and M the number of them replied",
        group: Group::SortedSet,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        slices: InSlices::IfCounted,
        tips: &["nondeterministic_output"],
        run: Run::OneShard(zrandmember),
        ..ROW
    },
    Row {
        name: "zrank",
        syntax: "key member [WITHSCORE]",
        summary: "How many members come before one.",
        since: "2.0.0",
        complexity: "O(log(N)) with N the number of members",
        group: Group::SortedSet,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(zrank),
        ..ROW
    },
    Row {
        name: "zrevrank",
        syntax: "key member [WITHSCORE]",
        summary: "How many members come after one.",
        since: "2.0.0",
        complexity: "O(log(N)) with N the number of members",
        group: Group::SortedSet,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(zrevrank),
        ..ROW
    },
    Row {
        name: "zscan",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        summary: "Walk over the members and scores, a few at a time.",
        since: "2.8.0",
        complexity: "O(1) for each call, O(N) for a whole walk, with N the number of members",
        group: Group::SortedSet,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        slices: InSlices::IfMuch,
        tips: &["nondeterministic_output"],
        run: Run::OneShard(zscan),
        ..ROW
    },
    Row {
        name: "zscore",
        syntax: "key member",
        summary: "The score of a member.",
        since: "1.2.0",
        complexity: "O(1)",
        group: Group::SortedSet,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(zscore),
        ..ROW
    },
];

fn zcard(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    let len = ctx.db.read_as::<Zset>(key)?.map_or(0, ZsetRef::len);
    ctx.reply.integer(len as i64);
    Ok(())
}

fn zscore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, member] = args.exactly()?;
    let zset = ctx.db.read_as::<Zset>(key)?;
    match zset.and_then(|zset| zset.score(member)) {
        Some(score) => ctx.reply.double(score),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn zmscore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let zset = ctx.db.read_as::<Zset>(&args[1])?;
    ctx.reply.array(args.len() - 2);
    for member in args.from(2).iter() {
        match zset.and_then(|zset| zset.score(member)) {
            Some(score) => ctx.reply.double(score),
            None => ctx.reply.null(),
        }
    }
    Ok(())
}

fn zrank(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    rank(ctx, args, "zrank", |rank, _| rank)
}

fn zrevrank(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    rank(ctx, args, "zrevrank", |rank, len| len - 1 - rank)
}

fn rank(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    name: &str,
    from_end: impl FnOnce(usize, usize) -> usize,
) -> Outcome {
    if args.len() > 4 {
        return Err(CommandError::WrongArity(name.into()));
    }
    let with_score = args
        .get(3)
        .map(|word| word.eq_ignore_ascii_case(b"withscore"));
    if with_score == Some(false) {
        return Err(CommandError::Syntax);
    }
    let zset = ctx.db.read_as::<Zset>(&args[1])?;
    let found = zset.and_then(|zset| Some((zset.rank(&args[2])?, zset.len())));
    match (found, with_score) {
        (Some(((rank, _), len)), None) => ctx.reply.integer(from_end(rank, len) as i64),
        (Some(((rank, score), len)), Some(_)) => {
            ctx.reply.array(2);
            ctx.reply.integer(from_end(rank, len) as i64);
            ctx.reply.double(score);
        }
        (None, None) => ctx.reply.null(),
        (None, Some(_)) => ctx.reply.null_array(),
    }
    Ok(())
}

fn zcount(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    count(ctx, args, By::Score)
}

fn zlexcount(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    count(ctx, args, By::Lex)
}

fn count(ctx: &mut Context<'_>, args: Args<'_>, by: By) -> Outcome {
    let [key, min, max] = args.exactly()?;
    let bounds = Bounds::parse(by, min, max)?;
    let zset = ctx.db.read_as::<Zset>(key)?;
    let count = zset.map_or(0, |zset| bounds.ranks(zset, false).len());
    ctx.reply.integer(count as i64);
    Ok(())
}

fn zscan(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let invalid = CommandError::Static("ERR invalid cursor");
    let cursor = cursor_of(&args[2]).ok_or(invalid)?;
    match Scanning::resumed(ctx) {
        None => {}
        Some(Ok(scanning)) => return scan_on(ctx, args, scanning),
        Some(Err(outcome)) => return outcome,
    }
    let Some(zset) = ctx.db.read_as::<Zset>(&args[1])? else {
        ctx.reply.array(2);
        ctx.reply.bulk(b"0");
        ctx.reply.array(0);
        return Ok(());
    };
    let (len, (pattern, budget)) = (zset.len(), scan_options(args)?);
    if ctx.in_slices(budget.min(len), (1, 0))? {
        return scan_on(ctx, args, Scanning::new(cursor, budget));
    }
    let Some(zset) = ctx.db.lookup_as::<Zset>(&args[1])? else {
        return Ok(());
    };
    let mut found = Vec::new();
    let max = ctx.settings.reply_max.bytes;
    let mut elements = Reply::until(&mut found, ctx.reply.protocol(), max);
    let mut count = 0;
    let next = zset.scan(cursor, budget, |member, score| {
        let wanted = |pattern| member.with_bytes(|member| glob::matches(pattern, member));
        if pattern.is_none_or(wanted) {
            reply_member(&mut elements, member);
            elements.bulk(float_text(score).as_bytes());
            count += 2;
        }
    });
    elements.complete()?;
    ctx.reply.array(2);
    ctx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    ctx.reply.array(count);
    ctx.reply.raw(&found);
    Ok(())
}

/// A slice of ZSCAN.
fn scan_on(ctx: &mut Context<'_>, args: Args<'_>, mut scanning: Box<Scanning>) -> Outcome {
    let ((pattern, _), protocol) = (scan_options(args)?, ctx.reply.protocol());
    let budget = scanning.budget(ctx);
    let mut next = 0;
    if let Some(zset) = ctx.db.lookup_as::<Zset>(&args[1])? {
        next = zset.scan(scanning.cursor, budget, |member, score| {
            scanning.meet();
            let wanted = |pattern| member.with_bytes(|member| glob::matches(pattern, member));
            if pattern.is_none_or(wanted) {
                member.with_bytes(|member| scanning.add(protocol, member));
                scanning.add(protocol, float_text(score).as_bytes());
            }
        });
    }
    scanning.end(ctx, next)
}

/// MATCH and COUNT.
fn scan_options(args: Args<'_>) -> Result<(Option<&[u8]>, usize), CommandError> {
    let (mut pattern, mut budget, mut at) = (None, 10, 3);
    while let Some(word) = args.get(at) {
        let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
        if word.eq_ignore_ascii_case(b"match") {
            pattern = Some(value);
        } else if word.eq_ignore_ascii_case(b"count") {
            let count = integer(value)?;
            budget = usize::try_from(count).unwrap_or(0);
            if budget == 0 {
                return Err(CommandError::Syntax);
            }
        } else {
            return Err(CommandError::Syntax);
        }
        at += 2;
    }
    Ok((pattern, budget))
}
