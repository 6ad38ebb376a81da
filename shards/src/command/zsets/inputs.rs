//! Inputs and results of commands on several sorted sets, here and on other
//! shards.
//!
//! From other shards come copies of what has few members ([`reply_input`]): of each
//! input whether it has scores, then its members, each followed by the eight bytes of its
//! score. A result goes to another shard as it is ([`store_read`]).

use crate::command::stored::{Made, store_elsewhere, store_here};
use crate::command::{Context, Decision, Outcome, Work};
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::ValueRef;
use crate::resp::Reply;
use crate::resp::read::{self as resp, Read};
use crate::types::Settings;
use crate::value::{Element, SetPlace, SetRef, Zset, ZsetLimits, ZsetRef};
use std::convert::Infallible;
use std::ops::Range;

/// What a request may weigh that is made up of a result.
pub const REQUEST_MAX: usize = u32::MAX as usize - 1024;

/// One input where it is.
#[derive(Clone, Copy)]
pub enum Input<'a> {
    Zset(ZsetRef<'a>),
    Set(SetRef<'a>),
}

impl<'a> Input<'a> {
    pub fn of(value: ValueRef<'a>) -> Result<Self, CommandError> {
        match value {
            ValueRef::Zset(zset) => Ok(Self::Zset(zset)),
            ValueRef::Set(set) => Ok(Self::Set(set)),
            _ => Err(CommandError::WrongType),
        }
    }

    pub fn len(self) -> usize {
        match self {
            Self::Zset(zset) => zset.len(),
            Self::Set(set) => set.len(),
        }
    }

    pub fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Self::Zset(zset) => zset.score(member),
            Self::Set(set) => set.contains(member).then_some(1.0),
        }
    }

    pub fn for_each<E>(
        self,
        visit: impl FnMut(Element<'_>, f64) -> Result<(), E>,
    ) -> Result<(), E> {
        self.for_each_in(0..self.len(), visit)
    }

    /// Visits up to `count` members from a place on, which it moves on. Meanwhile the input
    /// must not change.
    pub fn walk<E>(
        self,
        at: &mut SetPlace,
        count: usize,
        mut visit: impl FnMut(Element<'_>, f64) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Set(set) => set.walk(at, count, |member| visit(member, 1.0)),
            Self::Zset(_) => {
                let end = at.visited.saturating_add(count).min(self.len());
                self.for_each_in(at.visited..end, visit)?;
                at.visited = end;
                Ok(())
            }
        }
    }

    /// Visits some of the members: their numbers must be within the length.
    pub fn for_each_in<E>(
        self,
        numbers: Range<usize>,
        mut visit: impl FnMut(Element<'_>, f64) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Zset(zset) => {
                let mut walk = zset.range(numbers, false);
                walk.try_for_each(|(member, score)| visit(member, score))
            }
            Self::Set(set) => {
                let mut walk = set.iter_from(numbers.start).take(numbers.len());
                walk.try_for_each(|member| visit(member, 1.0))
            }
        }
    }
}

/// Sets `key` to a result and replies its length.
pub fn store(ctx: &mut Context<'_>, key: &[u8], result: Zset, event: Event) -> Outcome {
    store_here(ctx, key, Made::Zset(result), event)
}

/// An input that came from another shard.
pub struct Copied {
    pub zset: Zset,
}

/// Bulk strings one after the other, as [`read`] wrote them.
struct Bulks<'a>(&'a [u8]);

impl<'a> Iterator for Bulks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (bulk, rest) = resp::bulk(self.0)?;
        self.0 = rest;
        Some(bulk)
    }
}

impl Copied {
    /// The inputs; nothing for those that are missing.
    ///
    /// # Errors
    /// One was of another type.
    pub fn all(read: &[&[u8]], limits: &ZsetLimits) -> Result<Vec<Option<Self>>, CommandError> {
        // All types are looked at before anything is built.
        if read.iter().any(|reply| resp::error(reply).is_some()) {
            return Err(CommandError::WrongType);
        }
        read.iter().map(|reply| Self::one(reply, limits)).collect()
    }

    fn one(reply: &[u8], limits: &ZsetLimits) -> Result<Option<Self>, CommandError> {
        let Some((scored, rest)) = parts_of(reply) else {
            return Ok(None);
        };
        let members = Bulks(rest).step_by(if scored == 0 { 1 } else { 2 });
        let mut zset = Zset::to_hold(members.map(<[u8]>::len), limits)?;
        for (member, score) in members_of(reply) {
            zset.set(member, score, limits)?;
        }
        Ok(Some(Self { zset }))
    }
}

/// Whether the members of an input that was read have scores, and those; nothing if
/// there is no such input, or it was only counted.
fn parts_of(read: &[u8]) -> Option<(i64, &[u8])> {
    let (1.., rest) = resp::array(read)? else {
        return None;
    };
    match resp::read(rest) {
        Some((Read::Integer(scored), members)) => Some((scored, members)),
        _ => unreachable!("whether it has scores comes first"),
    }
}

/// The members of an input that was read, with their scores.
pub fn members_of(read: &[u8]) -> impl Iterator<Item = (&[u8], f64)> {
    let (scored, rest) = parts_of(read).unwrap_or_default();
    let mut bulks = Bulks(rest);
    std::iter::from_fn(move || {
        let member = bulks.next()?;
        let score = match scored {
            0 => 1.0,
            _ => score_of(bulks.next().unwrap_or_default()),
        };
        Some((member, score))
    })
}

fn score_of(bytes: &[u8]) -> f64 {
    f64::from_le_bytes(bytes.try_into().expect("a score has eight bytes"))
}

/// How many members an input has that was only counted.
pub fn counted(read: &[u8]) -> Option<usize> {
    usize::try_from(resp::integer(read)?).ok()
}

/// How many members an input has.
pub fn len_of(read: &[u8]) -> usize {
    if let Some(count) = counted(read) {
        return count;
    }
    let words = resp::array(read).map_or(0, |(words, _)| words);
    match parts_of(read) {
        Some((1.., _)) => words / 2,
        _ => words.saturating_sub(1),
    }
}

/// A copy of an input.
pub fn reply_input(reply: &mut Reply<'_>, input: Input<'_>) {
    let scored = matches!(input, Input::Zset(_));
    reply.array(1 + input.len() * if scored { 2 } else { 1 });
    reply.integer(i64::from(scored));
    let Ok(()) = input.for_each(|member, score| {
        member.with_bytes(|member| reply.bulk(member));
        if scored {
            reply.bulk(&score.to_le_bytes());
        }
        Ok::<_, Infallible>(())
    });
}

/// As [`limits`](super::limits), where there is no keyspace.
pub fn limits_away(settings: &Settings, seed: u64) -> ZsetLimits {
    ZsetLimits {
        entries: settings.encodings.zset_max_listpack_entries,
        value: settings.encodings.zset_max_listpack_value,
        seed,
    }
}

/// A result is found here: it is handed on to [`store_read`].
pub fn hand_on(ctx: &mut Context<'_>, result: Zset, event: Event) -> Outcome {
    ctx.hand_on(Work::Put(Box::new(Made::Zset(result)), event))
}

/// Has the shard of `key` store what a shard has handed on; nothing, if none has.
pub fn store_read(decision: &mut Decision<'_>, key: &[u8]) -> Outcome {
    let (made, event) = match decision.works.pop() {
        Some(Work::Put(made, event)) => (*made, event),
        _ => (Made::Zset(Zset::new()), Event::Del),
    };
    store_elsewhere(decision, key, made, event);
    Ok(())
}
