//! Commands that take members from an end.

use super::reply_member;
use crate::command::replied::Replied;
use crate::command::spec::{Arity, Group, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Decision, Outcome, OwnedArgs, ROW, Row, Run, Work};
use crate::effects::Event;
use crate::error::CommandError;
use crate::number::parse_i64;
use crate::resp::{Protocol, Reply};
use crate::value::{Collection, Element, Zset, ZsetRef, ZsetRemoval};
use std::ops::Range;

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
        slices: InSlices::IfMuch,
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
        slices: InSlices::IfCounted,
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
        slices: InSlices::IfCounted,
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

    /// The ranks of so many members, of `len`, there.
    fn ranks(self, count: usize, len: usize) -> Range<usize> {
        match self {
            Self::Min => 0..count,
            Self::Max => len - count..len,
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

impl Shape {
    /// Whether each member and its score are an array.
    fn has_pairs(self, reply: &Reply<'_>) -> bool {
        match self {
            Self::Flat | Self::KeyAndOne => false,
            Self::PairsIfNew => reply.protocol() == Protocol::Resp3,
            Self::KeyAndPairs => true,
        }
    }

    /// What stands before `count` members of a key.
    fn begin(self, reply: &mut Reply<'_>, key: &[u8], count: usize) {
        match self {
            Self::KeyAndPairs => {
                reply.array(2);
                reply.bulk(key);
                reply.array(count);
            }
            Self::KeyAndOne => {
                reply.array(3);
                reply.bulk(key);
            }
            Self::Flat | Self::PairsIfNew => {
                let flat = !self.has_pairs(reply);
                reply.array(if flat { count * 2 } else { count });
            }
        }
    }
}

fn reply_taken(reply: &mut Reply<'_>, (member, score): (Element<'_>, f64), pairs: bool) {
    if pairs {
        reply.array(2);
    }
    reply_member(reply, member);
    reply.double(score);
}

/// What came of taking members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Popped {
    /// There are none; nothing is replied.
    Nothing,
    /// They are gone.
    Some,
    /// The request is to be called again.
    GoesOn,
}

/// Takes up to `count` members from an end and replies them; says what changed,
/// but not what is to be propagated.
pub fn pop(
    ctx: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
    shape: Shape,
) -> Result<Popped, CommandError> {
    // One member is always taken in one piece.
    if count > 1 && (ctx.has_work() || count > ctx.at_once()) {
        let len = ctx.db.lookup_as::<Zset>(key)?.map_or(0, ZsetRef::len);
        if len == 0 {
            return Ok(Popped::Nothing);
        }
        match ctx.work() {
            Some(Work::Taking(taking)) => return take_some(ctx, key, (end, shape), taking),
            Some(Work::Removal { removal, removed }) => {
                return remove_some(ctx, key, end, removal, removed);
            }
            _ => {}
        }
        let count = count.min(len);
        if ctx.in_slices(count, (0, 0))? {
            shape.begin(&mut ctx.reply, key, count);
            return take_some(ctx, key, (end, shape), Replied::of(count));
        }
    }
    let reply = &mut ctx.reply;
    let pairs = shape.has_pairs(reply);
    let taken = ctx.db.edit(key, |zset: &mut Zset| {
        let len = zset.view().len();
        let count = count.min(len);
        if count == 0 {
            return (0, None);
        }
        let ranks = end.ranks(count, len);
        shape.begin(reply, key, count);
        let walk = zset.view().range(ranks.clone(), end == End::Max);
        walk.for_each(|taken| reply_taken(reply, taken, pairs));
        (count, zset.remove_range(ranks))
    })?;
    let (taken, rest) = taken.unwrap_or_default();
    ctx.db.bury(rest);
    if taken == 0 {
        return Ok(Popped::Nothing);
    }
    ctx.changed_times(key, end.event(), taken);
    Ok(Popped::Some)
}

/// Replies some of the members that are to go. When all are replied they begin to go,
/// and then nothing can fail any more.
fn take_some(
    ctx: &mut Context<'_>,
    key: &[u8],
    (end, shape): (End, Shape),
    mut taking: Replied,
) -> Result<Popped, CommandError> {
    let mut slice = taking.slice(ctx);
    let pairs = shape.has_pairs(&ctx.reply);
    let Some(zset) = ctx.db.lookup_as::<Zset>(key)? else {
        return Ok(Popped::Nothing);
    };
    let ranks = end.ranks(taking.of, zset.len());
    let left = match end {
        End::Min => ranks.start + taking.done..ranks.end,
        End::Max => ranks.start..ranks.end - taking.done,
    };
    let walk = zset.range(left, end == End::Max);
    slice.fill(&mut ctx.reply, walk, |reply, taken| {
        reply_taken(reply, taken, pairs);
    });
    if taking.note(slice, ctx)? {
        ctx.leave(Work::Taking(taking))?;
        return Ok(Popped::GoesOn);
    }
    let removal = ctx.db.edit(key, |zset: &mut Zset| zset.removal(ranks))?;
    if let Some(removal) = removal {
        let removed = taking.of;
        ctx.leave(Work::Removal { removal, removed })?;
    }
    Ok(Popped::GoesOn)
}

/// Takes a step of a removal. Returns what is too large to be freed on the spot.
fn remove_step(
    ctx: &mut Context<'_>,
    key: &[u8],
    removal: &mut ZsetRemoval,
) -> Result<Option<Zset>, CommandError> {
    // What is flat is changed on a copy, for which there may be no memory: at once.
    let step = match ctx.db.lookup_as::<Zset>(key)? {
        Some(ZsetRef::Skiplist(_)) => ctx.step(),
        _ => usize::MAX,
    };
    let remove = |zset: &mut Zset| zset.remove_some(removal, step);
    Ok(ctx.db.edit(key, remove)?.flatten())
}

/// A slice of the removal of so many members, which are replied.
fn remove_some(
    ctx: &mut Context<'_>,
    key: &[u8],
    end: End,
    mut removal: ZsetRemoval,
    removed: usize,
) -> Result<Popped, CommandError> {
    let rest = remove_step(ctx, key, &mut removal)?;
    if !removal.is_over() {
        ctx.leave(Work::Removal { removal, removed })?;
        return Ok(Popped::GoesOn);
    }
    ctx.db.bury(rest);
    ctx.changed_times(key, end.event(), removed);
    Ok(Popped::Some)
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
    if pop(ctx, &args[1], end, count, shape)? == Popped::Nothing {
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

    /// Takes from `key` what is asked for; whether there is anything.
    pub fn pop(&self, ctx: &mut Context<'_>, key: &[u8]) -> Result<bool, CommandError> {
        let popped = pop(ctx, key, self.end, self.count, Shape::KeyAndPairs)?;
        if popped == Popped::Some {
            let request = self.request(key);
            let parts: Vec<&[u8]> = request.args().iter().collect();
            ctx.propagate(&parts);
        }
        Ok(popped != Popped::Nothing)
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
        popping.pop(ctx, key)?;
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
