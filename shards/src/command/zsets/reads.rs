//! Commands that ask about members.

use super::bounds::{Bounds, By};
use super::{reply_member, reply_members};
use crate::command::args::{cursor_of, integer};
use crate::command::spec::{Arity, Group, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run};
use crate::error::CommandError;
use crate::glob;
use crate::number::float_text;
use crate::resp::{Protocol, Reply};
use crate::types::Random;
use crate::value::{Zset, ZsetRef};
use std::collections::BTreeSet;

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

/// As many members one ZRANDMEMBER may repeat: what a client asks for must not
/// take all memory.
const REPEATED_MAX: usize = 1 << 24;

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

fn zrandmember(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let mut random = Random::new(ctx.random());
    let Some(count) = args.get(2) else {
        let zset = ctx.db.read_as::<Zset>(&args[1])?;
        match zset.and_then(|zset| zset.at(below(&mut random, zset.len()))) {
            Some((member, _)) => reply_member(&mut ctx.reply, member),
            None => ctx.reply.null(),
        }
        return Ok(());
    };
    let (count, scores) = how_many(count, args)?;
    let Some(zset) = ctx.db.read_as::<Zset>(&args[1])? else {
        ctx.reply.array(0);
        return Ok(());
    };
    let len = zset.len();
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let chosen: Vec<usize> = if count < 0 {
        let mut ranks = Vec::new();
        if wanted > REPEATED_MAX || ranks.try_reserve_exact(wanted).is_err() {
            return Err(CommandError::OutOfMemory);
        }
        ranks.extend((0..wanted).map(|_| below(&mut random, len)));
        ranks
    } else if wanted >= len {
        reply_members(&mut ctx.reply, zset.iter(), scores);
        return Ok(());
    } else {
        distinct(&mut random, wanted, len)
    };
    let pairs = scores && ctx.reply.protocol() == Protocol::Resp3;
    let flat = scores && !pairs;
    ctx.reply.array(chosen.len() * if flat { 2 } else { 1 });
    for (member, score) in chosen.into_iter().filter_map(|rank| zset.at(rank)) {
        if pairs {
            ctx.reply.array(2);
        }
        reply_member(&mut ctx.reply, member);
        if scores {
            ctx.reply.double(score);
        }
        ctx.reply.complete()?;
    }
    Ok(())
}

/// The count of a ZRANDMEMBER, and whether it wants scores.
fn how_many(count: &[u8], args: Args<'_>) -> Result<(i64, bool), CommandError> {
    let count = integer(count)?;
    if count == i64::MIN {
        return Err(CommandError::Static(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ));
    }
    let word = args.get(3);
    let known = word.is_none_or(|word| word.eq_ignore_ascii_case(b"withscores"));
    if args.len() > 4 || !known {
        return Err(CommandError::Syntax);
    }
    if word.is_some() && count.unsigned_abs() > i64::MAX.unsigned_abs() / 2 {
        return Err(CommandError::Static("ERR value is out of range"));
    }
    Ok((count, word.is_some()))
}

/// A number below `len`, which is not 0.
fn below(random: &mut Random, len: usize) -> usize {
    // Lossless: the product is below `len` << 64.
    ((u128::from(random.next()) * len as u128) >> 64) as usize
}

/// So many different numbers below `len`, ascending (Floyd's way: each number
/// is drawn from a range that ends one further; one that is taken already
/// stands for the end of its range).
fn distinct(random: &mut Random, wanted: usize, len: usize) -> Vec<usize> {
    let mut chosen = BTreeSet::new();
    for end in len - wanted..len {
        let drawn = below(random, end + 1);
        if !chosen.insert(drawn) {
            chosen.insert(end);
        }
    }
    chosen.into_iter().collect()
}

fn zscan(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let invalid = CommandError::Static("ERR invalid cursor");
    let cursor = cursor_of(&args[2]).ok_or(invalid)?;
    let Some(zset) = ctx.db.read_as::<Zset>(&args[1])? else {
        ctx.reply.array(2);
        ctx.reply.bulk(b"0");
        ctx.reply.array(0);
        return Ok(());
    };
    let (pattern, budget) = scan_options(args)?;
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
