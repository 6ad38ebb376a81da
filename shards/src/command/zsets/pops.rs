//! Commands that take members from an end.

use super::reply_member;
use crate::command::spec::{Arity, Command, Group, KeySpec, flags};
use crate::command::{Args, Context, Outcome, Row, Run};
use crate::effects::Event;
use crate::error::CommandError;
use crate::number::parse_i64;
use crate::resp::Protocol;
use crate::value::{Collection, Zset};

pub static COMMANDS: &[Row] = &[
    Command {
        name: "zpopmax",
        syntax: "key [count]",
        summary: "Remove and reply the members with the highest scores.",
        since: "5.0.0",
        complexity: "O(log(N)*M) with N the number of members and M the number of them removed",
        group: Group::SortedSet,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RW", "access", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        tips: &[],
        subcommands: &[],
        run: Run::OneShard(zpopmax),
    },
    Command {
        name: "zpopmin",
        syntax: "key [count]",
        summary: "Remove and reply the members with the lowest scores.",
        since: "5.0.0",
        complexity: "O(log(N)*M) with N the number of members and M the number of them removed",
        group: Group::SortedSet,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RW", "access", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        tips: &[],
        subcommands: &[],
        run: Run::OneShard(zpopmin),
    },
];

/// The end that is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> Event {
        match self {
            Self::Min => Event::ZPopMin,
            Self::Max => Event::ZPopMax,
        }
    }
}

/// How members and scores are replied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One after the other.
    Flat,
    /// In pairs in RESP3, else one after the other.
    PairsIfNew,
}

/// Takes up to `count` members from an end and replies them; says what changed,
/// but not what is to be propagated. How many it took; with none, nothing is
/// replied.
pub fn pop(
    ctx: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
    shape: Shape,
) -> Result<usize, CommandError> {
    let reply = &mut ctx.reply;
    let pairs = match shape {
        Shape::Flat => false,
        Shape::PairsIfNew => reply.protocol() == Protocol::Resp3,
    };
    let taken = ctx.db.edit(key, |zset: &mut Zset| {
        let len = zset.view().len();
        let count = count.min(len);
        if count == 0 {
            return 0;
        }
        let ranks = match end {
            End::Min => 0..count,
            End::Max => len - count..len,
        };
        reply.array(if pairs { count } else { count * 2 });
        for (member, score) in zset.view().range(ranks.clone(), end == End::Max) {
            if pairs {
                reply.array(2);
            }
            reply_member(reply, member);
            reply.double(score);
        }
        zset.remove_range(ranks);
        count
    })?;
    let taken = taken.unwrap_or(0);
    if taken > 0 {
        ctx.changed(key, end.event());
    }
    Ok(taken)
}

fn zpopmin(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    pop_one_key(ctx, args, End::Min)
}

fn zpopmax(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    pop_one_key(ctx, args, End::Max)
}

fn pop_one_key(ctx: &mut Context<'_>, args: Args<'_>, end: End) -> Outcome {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let (count, shape) = match args.get(2) {
        None => (1, Shape::Flat),
        Some(count) => (positive(count)?, Shape::PairsIfNew),
    };
    if pop(ctx, &args[1], end, count, shape)? == 0 {
        ctx.reply.array(0);
    }
    Ok(())
}

fn positive(text: &[u8]) -> Result<usize, CommandError> {
    let count = parse_i64(text).and_then(|count| usize::try_from(count).ok());
    count.ok_or(CommandError::Static(
        "ERR value is out of range, must be positive",
    ))
}
