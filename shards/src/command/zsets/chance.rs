//! ZRANDMEMBER: members chosen by chance, each with the same. They are chosen by their
//! ranks.

use super::{members_header, reply_found, reply_member};
use crate::command::args::integer;
use crate::command::replied::Replied;
use crate::command::{Args, Context, Outcome, Work};
use crate::error::CommandError;
use crate::types::Random;
use crate::value::{Zset, ZsetRef, below};
use std::collections::BTreeSet;

/// What is chosen, and how far that has come.
#[derive(Debug)]
pub struct Choosing {
    scores: bool,
    replied: Replied,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// Each is any of all, whatever was chosen before.
    Again,
    /// All of them.
    All,
    /// These ranks, ascending, when there are enough of them; so many there are to
    /// choose from.
    Different(BTreeSet<usize>, usize),
}

/// As many members one ZRANDMEMBER may repeat: what a client asks for must not
/// take all memory.
const REPEATED_MAX: usize = 1 << 24;

pub fn zrandmember(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = &args[1];
    if let Some(Work::Ranks(choosing)) = ctx.work() {
        return choosing.go_on(ctx, key);
    }
    let Some(count) = args.get(2) else {
        let mut random = Random::new(ctx.random());
        let zset = ctx.db.read_as::<Zset>(key)?;
        match zset.and_then(|zset| zset.at(below(&mut random, zset.len()))) {
            Some((member, _)) => reply_member(&mut ctx.reply, member),
            None => ctx.reply.null(),
        }
        return Ok(());
    };
    let (count, scores) = how_many(count, args)?;
    let len = ctx.db.read_as::<Zset>(key)?.map_or(0, ZsetRef::len);
    if len == 0 || count == 0 {
        ctx.reply.array(0);
        return Ok(());
    }
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 && wanted > REPEATED_MAX {
        return Err(CommandError::OutOfMemory);
    }
    let (of, way) = match wanted {
        _ if count < 0 => (wanted, Way::Again),
        wanted if wanted >= len => (len, Way::All),
        wanted => (wanted, Way::Different(BTreeSet::new(), len)),
    };
    ctx.in_slices(of, (1, 0))?;
    members_header(&mut ctx.reply, of, scores);
    let replied = Replied::of(of);
    let choosing = Choosing {
        scores,
        replied,
        way,
    };
    choosing.go_on(ctx, key)
}

impl Choosing {
    /// Takes a slice of it: where there are none, all.
    fn go_on(mut self, ctx: &mut Context<'_>, key: &[u8]) -> Outcome {
        let of = self.replied.of;
        if let Way::Different(chosen, len) = &mut self.way
            && self.replied.done == 0
            && chosen.len() < of
        {
            let some = match ctx.cargo.divisible {
                true => ctx.step(),
                false => of,
            };
            add_different(&mut ctx.chance.choices, chosen, (some, of), *len);
            if chosen.len() < of {
                return ctx.leave(Work::Ranks(self));
            }
        }
        // A member of a rank takes its time to be found.
        let some = match self.way {
            Way::All => ctx.long_step(),
            _ => ctx.step(),
        };
        let mut slice = self.replied.slice_of(ctx, some);
        let Some(zset) = ctx.db.lookup_as::<Zset>(key)? else {
            return Ok(());
        };
        let (scores, done) = (self.scores, self.replied.done);
        let (reply, random) = (&mut ctx.reply, &mut ctx.chance.choices);
        match &mut self.way {
            Way::All => {
                let walk = zset.range(done..of, false);
                slice.fill(reply, walk, |reply, found| {
                    reply_found(reply, found, scores)
                });
            }
            Way::Again => {
                let ranks = std::iter::from_fn(|| zset.at(below(random, zset.len())));
                slice.fill(reply, ranks, |reply, found| {
                    reply_found(reply, found, scores)
                });
            }
            Way::Different(chosen, _) => {
                let ranks = std::iter::from_fn(|| zset.at(chosen.pop_first()?));
                slice.fill(reply, ranks, |reply, found| {
                    reply_found(reply, found, scores)
                });
            }
        }
        match self.replied.note(slice, ctx)? {
            true => ctx.leave(Work::Ranks(self)),
            false => Ok(()),
        }
    }
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

/// Adds up to `some` different numbers below `len`, until there are `of` (Floyd's way:
/// each number is drawn from a range that ends one further; one that is taken already
/// stands for the end of its range).
fn add_different(
    random: &mut Random,
    chosen: &mut BTreeSet<usize>,
    (some, of): (usize, usize),
    len: usize,
) {
    let first = chosen.len();
    for nth in first..first.saturating_add(some).min(of) {
        let end = len - of + nth;
        let drawn = below(random, end + 1);
        if !chosen.insert(drawn) {
            chosen.insert(end);
        }
    }
}
