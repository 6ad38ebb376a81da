//! Commands that reply or store the members of a range.

use super::bounds::{Bounds, By};
use super::inputs::{hand_on, store, store_read};
use super::{limits, members_header, reply_found};
use crate::command::args::integer;
use crate::command::long::Piece;
use crate::command::spec::{Arity, Begin, Deprecated, Group, InSlices, KeySpec, PartArgs, flags};
use crate::command::{Args, Context, Decision, Outcome, ROW, Row, Run, Work};
use crate::effects::Event;
use crate::error::CommandError;
use crate::value::{Zset, ZsetLimits, ZsetRef};
use std::ops::Range;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "zrange",
        syntax: "key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
        summary: "The members between two ranks, scores or texts.",
        since: "1.2.0",
        complexity: "O(log(N)+M) with N the number of members and M the number of them replied",
        group: Group::SortedSet,
        arity: Arity::AtLeast(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        history: &[("6.2.0", "Takes `REV`, `BYSCORE`, `BYLEX` and `LIMIT`.")],
        run: Run::OneShard(zrange),
        ..ROW
    },
    Row {
        name: "zrangebylex",
        syntax: "key min max [LIMIT offset count]",
        summary: "The members between two texts; all scores must be the same.",
        since: "2.8.9",
        complexity: "O(log(N)+M) with N the number of members and M the number of them replied",
        group: Group::SortedSet,
        arity: Arity::AtLeast(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`ZRANGE` with the `BYLEX` argument",
        }),
        run: Run::OneShard(zrangebylex),
        ..ROW
    },
    Row {
        name: "zrangebyscore",
        syntax: "key min max [WITHSCORES] [LIMIT offset count]",
        summary: "The members between two scores.",
        since: "1.0.5",
        complexity: "O(log(N)+M) with N the number of members and M the number of them replied",
        group: Group::SortedSet,
        arity: Arity::AtLeast(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        history: &[("2.0.0", "Takes `WITHSCORES`.")],
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`ZRANGE` with the `BYSCORE` argument",
        }),
        run: Run::OneShard(zrangebyscore),
        ..ROW
    },
    Row {
        name: "zrangestore",
        syntax: "dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
        summary: "Store the members between two ranks, scores or texts in another key.",
        since: "6.2.0",
        complexity: "O(log(N)+M*log(M)) with N the number of members and M the number of them stored",
        group: Group::SortedSet,
        arity: Arity::AtLeast(5),
        keys: &[
            KeySpec::first(&["OW", "update"]),
            KeySpec {
                begin: Begin::Index(2),
                ..KeySpec::first(&["RO", "access"])
            },
        ],
        flags: flags::WRITE.with(flags::DENYOOM),
        slices: InSlices::IfMuch,
        part_args: PartArgs::All,
        run: Run::ReadThenWrite {
            whole: zrangestore,
            read: zrangestore_read,
            decide: zrangestore_decide,
            skip: 1,
        },
        ..ROW
    },
    Row {
        name: "zrevrange",
        syntax: "key start stop [WITHSCORES]",
        summary: "The members between two ranks, counted from the end.",
        since: "1.2.0",
        complexity: "O(log(N)+M) with N the number of members and M the number of them replied",
        group: Group::SortedSet,
        arity: Arity::AtLeast(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`ZRANGE` with the `REV` argument",
        }),
        run: Run::OneShard(zrevrange),
        ..ROW
    },
    Row {
        name: "zrevrangebylex",
        syntax: "key max min [LIMIT offset count]",
        summary: "The members between two texts, from the last to the first; all scores must be the same.",
        since: "2.8.9",
        complexity: "O(log(N)+M) with N the number of members and M the number of them replied",
        group: Group::SortedSet,
        arity: Arity::AtLeast(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`ZRANGE` with the `REV` and `BYLEX` arguments",
        }),
        run: Run::OneShard(zrevrangebylex),
        ..ROW
    },
    Row {
        name: "zrevrangebyscore",
        syntax: "key max min [WITHSCORES] [LIMIT offset count]",
        summary: "The members between two scores, from the last to the first.",
        since: "2.2.0",
        complexity: "O(log(N)+M) with N the number of members and M the number of them replied",
        group: Group::SortedSet,
        arity: Arity::AtLeast(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        history: &[("2.1.6", "`min` and `max` may be exclusive.")],
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`ZRANGE` with the `REV` and `BYSCORE` arguments",
        }),
        run: Run::OneShard(zrevrangebyscore),
        ..ROW
    },
];

/// A range as one of the commands asks for it.
#[derive(Clone, Copy, Debug)]
struct Query<'a> {
    bounds: Bounds<'a>,
    reverse: bool,
    /// Members to pass over; with a negative number there is nothing behind.
    offset: i64,
    /// Negative: all.
    count: i64,
    scores: bool,
}

/// What a command leaves open for its arguments to say.
#[derive(Clone, Copy)]
struct Form {
    /// `None`: by rank, unless an option says otherwise.
    by: Option<By>,
    /// `None`: an option says so.
    reverse: Option<bool>,
    /// There is no WITHSCORES.
    storing: bool,
}

impl<'a> Query<'a> {
    /// `args` begin with what stands before the key.
    fn parse(args: Args<'a>, form: Form) -> Result<Self, CommandError> {
        let (mut by, mut reverse) = (form.by, form.reverse);
        let (mut offset, mut count, mut scores) = (0, -1, false);
        let mut at = 4;
        while let Some(word) = args.get(at) {
            match word.to_ascii_lowercase().as_slice() {
                b"withscores" if !form.storing => scores = true,
                b"limit" if at + 2 < args.len() => {
                    offset = integer(&args[at + 1])?;
                    count = integer(&args[at + 2])?;
                    at += 2;
                }
                b"rev" if reverse.is_none() => reverse = Some(true),
                b"bylex" if by.is_none() => by = Some(By::Lex),
                b"byscore" if by.is_none() => by = Some(By::Score),
                _ => return Err(CommandError::Syntax),
            }
            at += 1;
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if count != -1 && by == By::Rank {
            return Err(CommandError::Static(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if scores && by == By::Lex {
            return Err(CommandError::Static(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let (one, other) = (
            args.get(2).unwrap_or_default(),
            args.get(3).unwrap_or_default(),
        );
        let (min, max) = if reverse && by != By::Rank {
            (other, one)
        } else {
            (one, other)
        };
        Ok(Self {
            bounds: Bounds::parse(by, min, max)?,
            reverse,
            // By rank there is no limit, and then the offset is of no effect.
            offset: if by == By::Rank { 0 } else { offset },
            count,
            scores,
        })
    }

    /// The ranks of what is asked for.
    fn ranks(&self, zset: ZsetRef<'_>) -> Range<usize> {
        let ranks = self.bounds.ranks(zset, self.reverse);
        let skipped = usize::try_from(self.offset).unwrap_or(usize::MAX);
        let left = ranks.len().saturating_sub(skipped);
        let left = left.min(usize::try_from(self.count).unwrap_or(usize::MAX));
        if left == 0 {
            0..0
        } else if self.reverse {
            let end = ranks.end - skipped;
            end - left..end
        } else {
            let start = ranks.start + skipped;
            start..start + left
        }
    }

    /// A sorted set of what is asked for.
    fn select(&self, zset: ZsetRef<'_>, limits: &ZsetLimits) -> Result<Zset, CommandError> {
        let ranks = self.ranks(zset);
        let members = zset.range(ranks.clone(), false);
        let mut selected = Zset::to_hold(members.map(|(member, _)| member.len_bytes()), limits)?;
        // In order, whatever the direction: so it is appended.
        for (member, score) in zset.range(ranks, false) {
            member.with_bytes(|member| selected.set(member, score, limits))?;
        }
        Ok(selected)
    }
}

fn reply_range(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    by: Option<By>,
    reverse: Option<bool>,
) -> Outcome {
    let form = Form {
        by,
        reverse,
        storing: false,
    };
    let query = Query::parse(args, form)?;
    let (key, scores) = (&args[1], query.scores);
    let mut piece = Piece::new(ctx);
    let reply = &mut ctx.reply;
    let Some(zset) = piece.read::<Zset>(&mut ctx.db, key)? else {
        reply.array(0);
        return Ok(());
    };
    let ranks = query.ranks(zset);
    piece.begin(reply, ranks.len(), |reply| {
        members_header(reply, ranks.len(), scores);
    })?;
    let left = match query.reverse {
        true => ranks.start..ranks.end.saturating_sub(piece.from).max(ranks.start),
        false => ranks.start.saturating_add(piece.from).min(ranks.end)..ranks.end,
    };
    let walk = zset.range(left, query.reverse);
    piece.fill(reply, walk, |reply, found| {
        reply_found(reply, found, scores)
    });
    piece.end(&ctx.db, ctx.cargo, key)
}

fn zrange(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    reply_range(ctx, args, None, None)
}

fn zrevrange(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    reply_range(ctx, args, Some(By::Rank), Some(true))
}

fn zrangebyscore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    reply_range(ctx, args, Some(By::Score), Some(false))
}

fn zrevrangebyscore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    reply_range(ctx, args, Some(By::Score), Some(true))
}

fn zrangebylex(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    reply_range(ctx, args, Some(By::Lex), Some(false))
}

fn zrevrangebylex(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    reply_range(ctx, args, Some(By::Lex), Some(true))
}

/// How ZRANGESTORE reads its arguments.
const STORING: Form = Form {
    by: None,
    reverse: None,
    storing: true,
};

/// What ZRANGESTORE is to store; nothing if the request is to be called again.
fn selected(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Option<Zset>, CommandError> {
    let query = Query::parse(args.from(1), STORING)?;
    let (limits, step) = (limits(ctx), ctx.step());
    let (mut selected, from) = match ctx.work() {
        Some(Work::Selecting(selected, from)) => (selected, from),
        _ => {
            let at_once = ctx.at_once();
            let Some(zset) = ctx.db.read_as::<Zset>(&args[2])? else {
                return Ok(Some(Zset::new()));
            };
            let count = query.ranks(zset).len();
            if count <= at_once {
                return query.select(zset, &limits).map(Some);
            }
            ctx.in_slices(count, (1, 0))?;
            (Zset::large(&limits)?, 0)
        }
    };
    let (mut end, mut len) = (from, 0);
    if let Some(zset) = ctx.db.lookup_as::<Zset>(&args[2])? {
        let ranks = query.ranks(zset);
        (end, len) = (from.saturating_add(step).min(ranks.len()), ranks.len());
        for (member, score) in zset.range(ranks.start + from..ranks.start + end, false) {
            member.with_bytes(|member| selected.set(member, score, &limits))?;
        }
    }
    if end < len {
        ctx.leave(Work::Selecting(selected, end))?;
        return Ok(None);
    }
    Ok(Some(selected.fit(&limits)?))
}

fn zrangestore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match selected(ctx, args)? {
        Some(selected) => store(ctx, &args[1], selected, Event::ZRangeStore),
        None => Ok(()),
    }
}

/// The range is cut out where the source is.
fn zrangestore_read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match selected(ctx, args)? {
        Some(selected) => hand_on(ctx, selected, Event::ZRangeStore),
        None => Ok(()),
    }
}

fn zrangestore_decide(decision: &mut Decision<'_>) -> Outcome {
    let destination = decision.args.get(1).unwrap_or_default();
    store_read(decision, destination)
}
