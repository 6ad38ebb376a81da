//! Commands that add, change and remove members.

use super::bounds::{Bounds, By};
use super::{NAN_SCORE, limits, score};
use crate::command::spec::{Arity, Group, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run, Work};
use crate::effects::Event;
use crate::error::{CommandError, Unfinished};
use crate::value::{Collection, Zset, ZsetRemoval, ZsetUpdate};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "zadd",
        syntax: "key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
        summary: "Add members to a sorted set, or change their scores.",
        since: "1.2.0",
        complexity: "O(log(N)) for each member, with N the number of members",
        group: Group::SortedSet,
        arity: Arity::AtLeast(4),
        keys: &[KeySpec::first(&["RW", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        history: &[
            ("2.4.0", "Takes several members."),
            ("3.0.2", "Takes `XX`, `NX`, `CH` and `INCR`."),
            ("6.2.0", "Takes `GT` and `LT`."),
        ],
        run: Run::OneShard(zadd),
        ..ROW
    },
    Row {
        name: "zincrby",
        syntax: "key increment member",
        summary: "Add to the score of a member; a missing member starts at zero.",
        since: "1.2.0",
        complexity: "O(log(N)) with N the number of members",
        group: Group::SortedSet,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        run: Run::OneShard(zincrby),
        ..ROW
    },
    Row {
        name: "zrem",
        syntax: "key member [member ...]",
        summary: "Remove members.",
        since: "1.2.0",
        complexity: "O(log(N)*M) with N the number of members and M the number of them removed",
        group: Group::SortedSet,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RW", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        history: &[("2.4.0", "Takes several members.")],
        run: Run::OneShard(zrem),
        ..ROW
    },
    Row {
        name: "zremrangebylex",
        syntax: "key min max",
        summary: "Remove the members between two texts; all scores must be the same.",
        since: "2.8.9",
        complexity: "O(log(N)*M) with N the number of members and M the number of them removed",
        group: Group::SortedSet,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RW", "delete"])],
        flags: flags::WRITE,
        slices: InSlices::IfMuch,
        run: Run::OneShard(zremrangebylex),
        ..ROW
    },
    Row {
        name: "zremrangebyrank",
        syntax: "key start stop",
        summary: "Remove the members between two ranks.",
        since: "2.0.0",
        complexity: "O(log(N)*M) with N the number of members and M the number of them removed",
        group: Group::SortedSet,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RW", "delete"])],
        flags: flags::WRITE,
        slices: InSlices::IfMuch,
        run: Run::OneShard(zremrangebyrank),
        ..ROW
    },
    Row {
        name: "zremrangebyscore",
        syntax: "key min max",
        summary: "Remove the members between two scores.",
        since: "1.2.0",
        complexity: "O(log(N)*M) with N the number of members and M the number of them removed",
        group: Group::SortedSet,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RW", "delete"])],
        flags: flags::WRITE,
        slices: InSlices::IfMuch,
        run: Run::OneShard(zremrangebyscore),
        ..ROW
    },
];

/// The options of ZADD.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    ch: bool,
    incr: bool,
}

impl Options {
    /// The options of a request, and where they end.
    fn parse(args: Args<'_>) -> Result<(Self, usize), CommandError> {
        let (mut options, mut at) = (Self::default(), 2);
        while let Some(word) = args.get(at) {
            let flag = match word.to_ascii_lowercase().as_slice() {
                b"nx" => &mut options.nx,
                b"xx" => &mut options.xx,
                b"gt" => &mut options.gt,
                b"lt" => &mut options.lt,
                b"ch" => &mut options.ch,
                b"incr" => &mut options.incr,
                _ => break,
            };
            *flag = true;
            at += 1;
        }
        let words = args.len() - at;
        if words == 0 || !words.is_multiple_of(2) {
            return Err(CommandError::Syntax);
        }
        options.check(words)?;
        Ok((options, at))
    }

    fn check(&self, words: usize) -> Outcome {
        let text = if self.nx && self.xx {
            "ERR XX and NX options at the same time are not compatible"
        } else if self.nx && (self.gt || self.lt) || self.gt && self.lt {
            "ERR GT, LT, and/or NX options at the same time are not compatible"
        } else if self.incr && words > 2 {
            "ERR INCR option supports a single increment-element pair"
        } else {
            return Ok(());
        };
        Err(CommandError::Static(text))
    }

    /// The score a member gets that has `old` and is asked to have (with INCR:
    /// to add) `score`; none if it stays as it is.
    fn choose(&self, old: Option<f64>, score: f64) -> Option<f64> {
        let Some(old) = old else {
            return (!self.xx).then_some(score);
        };
        let score = if self.incr { old + score } else { score };
        let refused = self.nx || self.lt && score >= old || self.gt && score <= old;
        (!refused).then_some(score)
    }
}

fn zadd(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (options, at) = Options::parse(args)?;
    let pairs = args.from(at);
    let key = &args[1];
    if options.incr {
        let increment = score(&pairs[0])?;
        let chosen = add(ctx, key, options, increment, &pairs[1])?;
        match chosen {
            Some(score) => ctx.reply.double(score),
            None => ctx.reply.null(),
        }
        return Ok(());
    }
    for index in (0..pairs.len()).step_by(2) {
        score(&pairs[index])?;
    }
    let limits = limits(ctx);
    let edited = ctx.db.edit_or_create(key, |zset: &mut Zset| {
        let (mut added, mut updated) = (0, 0);
        for index in (0..pairs.len()).step_by(2) {
            let score = score(&pairs[index])?;
            let choose = |old| options.choose(old, score);
            let update = zset.update(&pairs[index + 1], &limits, choose);
            let done = if added + updated > 0 { index / 2 } else { 0 };
            let ZsetUpdate { before, after } =
                update.map_err(|error| Unfinished::after(done, error))?;
            added += usize::from(before.is_none() && after.is_some());
            updated += usize::from(before.is_some() && before != after);
        }
        Ok((added, updated))
    });
    let (added, updated) =
        edited.map_err(|it| ctx.give_up(key, Event::ZAdd, args.first(at + 2 * it.done), it))?;
    if added + updated > 0 {
        ctx.changed_times(key, Event::ZAdd, added + updated);
    }
    let counted = if options.ch { added + updated } else { added };
    ctx.reply.integer(counted as i64);
    Ok(())
}

fn zincrby(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    // Redis reads it as a ZADD: a word that is an option there is none here.
    let (_, at) = Options::parse(args)?;
    let (increment, member) = (score(&args[at])?, &args[at + 1]);
    let options = Options {
        incr: true,
        ..Options::default()
    };
    let score = add(ctx, &args[1], options, increment, member)?;
    // Without conditions there always is one.
    ctx.reply.double(score.unwrap_or(increment));
    Ok(())
}

/// Adds to the score of one member; its score, unless a condition refused it.
fn add(
    ctx: &mut Context<'_>,
    key: &[u8],
    options: Options,
    increment: f64,
    member: &[u8],
) -> Result<Option<f64>, CommandError> {
    let limits = limits(ctx);
    let (chosen, updated) = ctx.db.edit_or_create(key, |zset: &mut Zset| {
        let mut chosen = None;
        let updated = zset.update(member, &limits, |old| {
            chosen = options.choose(old, increment);
            chosen.filter(|score| !score.is_nan())
        })?;
        Ok((chosen, updated))
    })?;
    if chosen.is_some_and(f64::is_nan) {
        return Err(NAN_SCORE);
    }
    if updated.before != updated.after {
        ctx.changed(key, Event::ZIncr);
    }
    Ok(chosen)
}

fn zrem(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = &args[1];
    let removed = ctx.db.edit(key, |zset: &mut Zset| {
        let members = args.from(2).iter();
        members
            .filter(|member| zset.remove(member).is_some())
            .count()
    })?;
    let removed = removed.unwrap_or(0);
    if removed > 0 {
        ctx.changed_times(key, Event::ZRem, removed);
    }
    ctx.reply.integer(removed as i64);
    Ok(())
}

fn zremrangebyrank(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    remove_range(ctx, args, By::Rank, Event::ZRemByRank)
}

fn zremrangebyscore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    remove_range(ctx, args, By::Score, Event::ZRemByScore)
}

fn zremrangebylex(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    remove_range(ctx, args, By::Lex, Event::ZRemByLex)
}

fn remove_range(ctx: &mut Context<'_>, args: Args<'_>, by: By, event: Event) -> Outcome {
    let [key, min, max] = args.exactly()?;
    let bounds = Bounds::parse(by, min, max)?;
    if let Some(Work::Removal { removal, removed }) = ctx.work() {
        return remove_on(ctx, key, removal, removed, event);
    }
    let at_once = ctx.at_once();
    let removed = ctx.db.edit(key, |zset: &mut Zset| {
        let ranks = bounds.ranks(zset.view(), false);
        let count = ranks.len();
        let removal = zset.removal(ranks.clone());
        match removal.left() > at_once {
            true => (count, Err(removal)),
            false => (count, Ok(zset.remove_range(ranks))),
        }
    })?;
    let (removed, rest) = match removed {
        None => (0, None),
        Some((count, Ok(rest))) => (count, rest),
        Some((count, Err(removal))) => {
            ctx.in_slices(removal.left(), (0, 0))?;
            return remove_on(ctx, key, removal, count, event);
        }
    };
    removed_range(ctx, key, rest, removed, event);
    Ok(())
}

/// A slice of the removal of so many members.
fn remove_on(
    ctx: &mut Context<'_>,
    key: &[u8],
    mut removal: ZsetRemoval,
    removed: usize,
    event: Event,
) -> Outcome {
    let step = ctx.step();
    let remove = |zset: &mut Zset| zset.remove_some(&mut removal, step);
    let rest = ctx.db.edit(key, remove)?.flatten();
    if !removal.is_over() {
        return ctx.leave(Work::Removal { removal, removed });
    }
    removed_range(ctx, key, rest, removed, event);
    Ok(())
}

fn removed_range(
    ctx: &mut Context<'_>,
    key: &[u8],
    rest: Option<Zset>,
    removed: usize,
    event: Event,
) {
    ctx.db.bury(rest);
    if removed > 0 {
        ctx.changed_times(key, event, removed);
    }
    ctx.reply.integer(removed as i64);
}
