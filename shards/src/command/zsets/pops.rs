//! Commands that take members from an end.

use super::reply_member;
use crate::command::spec::{Arity, Group, KeySpec, flags};
use crate::command::{Args, Context, Decision, Outcome, OwnedArgs, ROW, Row, Run};
use crate::effects::Event;
use crate::error::CommandError;
use crate::number::parse_i64;
use crate::resp::Protocol;
use crate::value::{Collection, Zset, ZsetRef};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "zmpop",
        syntax: "numkeys key [key ...] <MIN | MAX> [COUNT count]",
        summary: "Remove and reply members at one end of the first sorted set that has any.",
        since: "7.0.0",
        complexity: "O(K+M*log(N)) with K the number of keys, N the number of members and M the number of them removed",
        group: Group::SortedSet,
        arity: Arity::AtLeast(4),
        keys: &[KeySpec::counted(1, &["RW", "access", "delete"])],
        flags: flags::WRITE.with(flags::MOVABLEKEYS),
        run: Run::ReadThenWrite {
            whole: zmpop,
            read: zmpop_read,
            decide: zmpop_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "zpopmax",
        syntax: "key [count]",
        summary: "Remove and reply the members with the highest scores.",
        since: "5.0.0",
        complexity: "O(log(N)*M) with N the number of members and M the number of them removed",
        group: Group::SortedSet,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RW", "access", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        run: Run::OneShard(zpopmax),
        ..ROW
    },
    Row {
        name: "zpopmin",
        syntax: "key [count]",
        summary: "Remove and reply the members with the lowest scores.",
        since: "5.0.0",
        complexity: "O(log(N)*M) with N the number of members and M the number of them removed",
        group: Group::SortedSet,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RW", "access", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        run: Run::OneShard(zpopmin),
        ..ROW
    },
];

/// The end that is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Min,
    Max,
}

impl End {
    /// The command that takes from this end of one key.
    pub fn pop_name(self) -> &'static [u8] {
        match self {
            Self::Min => b"ZPOPMIN",
            Self::Max => b"ZPOPMAX",
        }
    }

    /// The end that a command of [`End::pop_name`] is about.
    pub fn of_pop(name: &[u8]) -> Self {
        match name {
            b"ZPOPMIN" => Self::Min,
            _ => Self::Max,
        }
    }

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
    /// The key, then in pairs.
    KeyAndPairs,
    /// The key, then one member and its score.
    KeyAndOne,
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
        Shape::Flat | Shape::KeyAndOne => false,
        Shape::PairsIfNew => reply.protocol() == Protocol::Resp3,
        Shape::KeyAndPairs => true,
    };
    let taken = ctx.db.edit(key, |zset: &mut Zset| {
        let len = zset.view().len();
        let count = count.min(len);
        if count == 0 {
            return (0, None);
        }
        let ranks = match end {
            End::Min => 0..count,
            End::Max => len - count..len,
        };
        match shape {
            Shape::KeyAndPairs => {
                reply.array(2);
                reply.bulk(key);
                reply.array(count);
            }
            Shape::KeyAndOne => {
                reply.array(3);
                reply.bulk(key);
            }
            Shape::Flat | Shape::PairsIfNew => reply.array(if pairs { count } else { count * 2 }),
        }
        for (member, score) in zset.view().range(ranks.clone(), end == End::Max) {
            if pairs {
                reply.array(2);
            }
            reply_member(reply, member);
            reply.double(score);
        }
        (count, zset.remove_range(ranks))
    })?;
    let (taken, rest) = taken.unwrap_or_default();
    ctx.db.bury(rest);
    if taken > 0 {
        ctx.changed_times(key, end.event(), taken);
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

/// What ZMPOP asks for.
pub(super) struct Popping {
    /// How many keys, from argument 2 on.
    pub keys: usize,
    pub end: End,
    pub count: usize,
}

impl Popping {
    pub fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let at_least_one = |text, error| {
            let number = parse_i64(text).and_then(|number| usize::try_from(number).ok());
            let number = number.filter(|number| *number > 0);
            number.ok_or(CommandError::Static(error))
        };
        let keys = at_least_one(&args[1], "ERR numkeys should be greater than 0")?;
        let at = keys.checked_add(2).ok_or(CommandError::Syntax)?;
        let end = match args.get(at) {
            Some(word) if word.eq_ignore_ascii_case(b"min") => End::Min,
            Some(word) if word.eq_ignore_ascii_case(b"max") => End::Max,
            _ => return Err(CommandError::Syntax),
        };
        let count = match (args.get(at + 1), args.get(at + 2)) {
            (None, _) => 1,
            (Some(word), Some(count)) if word.eq_ignore_ascii_case(b"count") => {
                at_least_one(count, "ERR count should be greater than 0")?
            }
            _ => return Err(CommandError::Syntax),
        };
        if args.len() > at + 3 {
            return Err(CommandError::Syntax);
        }
        Ok(Self { keys, end, count })
    }

    /// The request that takes from `key` what is asked for.
    pub fn request(&self, key: &[u8]) -> OwnedArgs {
        let mut buffer = itoa::Buffer::new();
        let count = buffer.format(self.count).as_bytes();
        OwnedArgs::new([self.end.pop_name(), key, count])
    }
}

fn zmpop(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let popping = Popping::parse(args)?;
    for key in args.from(2).iter().take(popping.keys) {
        if ctx.db.lookup_as::<Zset>(key)?.is_none() {
            continue;
        }
        pop(ctx, key, popping.end, popping.count, Shape::KeyAndPairs)?;
        let request = popping.request(key);
        let parts: Vec<&[u8]> = request.args().iter().collect();
        ctx.propagate(&parts);
        return Ok(());
    }
    ctx.reply.null_array();
    Ok(())
}

/// The length of each key.
pub(super) fn zmpop_read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    ctx.reply.array(args.len() - 1);
    for key in args.from(1).iter() {
        match ctx.db.lookup_as::<Zset>(key) {
            Ok(zset) => ctx.reply.integer(zset.map_or(0, ZsetRef::len) as i64),
            Err(error) => ctx.reply.error(&error),
        }
    }
    Ok(())
}

fn zmpop_decide(decision: &mut Decision<'_>) -> Outcome {
    let popping = Popping::parse(decision.args)?;
    let keys = decision.args.from(2).iter().take(popping.keys);
    match decision.first_with_any(keys)? {
        Some(key) => decision.reply_as_written(zmpop_write, popping.request(key)),
        None => decision.reply.null_array(),
    }
    Ok(())
}

/// ZPOPMIN or ZPOPMAX with a count, with the reply of ZMPOP.
pub(super) fn zmpop_write(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, count] = args.exactly()?;
    let end = End::of_pop(&args[0]);
    pop(ctx, key, end, positive(count)?, Shape::KeyAndPairs)?;
    Ok(())
}

fn positive(text: &[u8]) -> Result<usize, CommandError> {
    let count = parse_i64(text).and_then(|count| usize::try_from(count).ok());
    count.ok_or(CommandError::NotPositive)
}
