//! A search that goes through many places, in slices (`work.rs`).
//!
//! Of what is found only the distance is kept, and where it stands: the sorted set does
//! not change meanwhile, so a member is copied once, to where it is to be.

use super::partial_sort::PartialSort;
use super::query::{Found, Query, ranks};
use super::search::reply_place;
use crate::command::replied::Replied;
use crate::command::texts::Chunked;
use crate::command::zsets::limits;
use crate::command::{Context, Work};
use crate::error::CommandError;
use crate::value::geohash::Point;
use crate::value::{Zset, ZsetRef};
use std::ops::Range;

/// So many places are compared while one is found.
const FASTER: usize = 4;
/// So many are looked at while one is replied, or put into a sorted set.
const SLOWER: usize = 4;

/// How far a search has come.
#[derive(Debug)]
pub struct Job {
    /// The ranks of the places to be looked at, in that order.
    ranges: Vec<Range<usize>>,
    found: Chunked<Place>,
    stage: Stage,
}

/// A place that was found.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// In the unit of the query.
    distance: f64,
    /// Among those that were looked at.
    number: usize,
}

#[derive(Debug)]
enum Stage {
    /// So many have been looked at.
    Looking(usize),
    Ordering(PartialSort),
    Replying(Replied),
    /// So many are in the result.
    Making(Zset, usize),
    /// Its memory is freed; this is the result, if there is one.
    Clearing(Option<Zset>),
}

impl Job {
    /// A search that has not begun.
    pub fn new(query: &Query<'_>, source: Option<ZsetRef<'_>>) -> Self {
        let numbers = query.area().map(|area| area.ranges());
        let numbers = numbers.unwrap_or_default().into_iter();
        let ranges = source.map(|zset| numbers.map(|some| ranks(zset, some)).collect());
        Self {
            ranges: ranges.unwrap_or_default(),
            found: Chunked::default(),
            stage: Stage::Looking(0),
        }
    }

    /// Takes a slice of it; what is to be stored, if all has been found.
    pub fn go_on(
        mut self: Box<Self>,
        ctx: &mut Context<'_>,
        (query, key): (&Query<'_>, &[u8]),
    ) -> Result<Option<Zset>, CommandError> {
        let wanted = query.count().min(self.found.len());
        let stage = std::mem::replace(&mut self.stage, Stage::Clearing(None));
        self.stage = match stage {
            Stage::Looking(from) => match self.look_some(ctx, (query, key), from)? {
                Some(looked) => Stage::Looking(looked),
                None => Stage::Ordering(self.sort(query)),
            },
            Stage::Ordering(mut sort) => match self.sort_some(ctx, query, &mut sort) {
                true => Stage::Ordering(sort),
                false if query.destination.is_some() => {
                    Stage::Making(Zset::large(&limits(ctx))?, 0)
                }
                false => {
                    ctx.reply.array(wanted);
                    Stage::Replying(Replied::of(wanted))
                }
            },
            Stage::Replying(mut replied) => {
                match self.reply_some(ctx, (query, key), &mut replied)? {
                    true => Stage::Replying(replied),
                    false => Stage::Clearing(None),
                }
            }
            Stage::Making(mut made, from) => {
                let end = from.saturating_add(ctx.step().div_ceil(SLOWER)).min(wanted);
                if let Err(error) = self.make_some(ctx, (query, key), &mut made, from..end) {
                    ctx.db.bury([made]);
                    return Err(error);
                }
                match end < wanted {
                    true => Stage::Making(made, end),
                    false => Stage::Clearing(Some(made)),
                }
            }
            Stage::Clearing(made) => match (self.found.free_some(), made) {
                (true, made) => Stage::Clearing(made),
                (false, None) => return Ok(None),
                (false, Some(made)) => return Ok(Some(made.fit(&limits(ctx))?)),
            },
        };
        ctx.leave(Work::Search(self))?;
        Ok(None)
    }

    /// Looks at some places; how many have been, if there are more to look at.
    fn look_some(
        &mut self,
        ctx: &mut Context<'_>,
        (query, key): (&Query<'_>, &[u8]),
        from: usize,
    ) -> Result<Option<usize>, CommandError> {
        let end = from.saturating_add(ctx.step());
        let (zset, area) = (ctx.db.lookup_as::<Zset>(key)?, query.area());
        let (Some(zset), Some(area)) = (zset, area) else {
            return Ok(None);
        };
        let mut number = from;
        for ranks in ranks_of(&self.ranges, from..end) {
            for (_, score) in zset.range(ranks, false) {
                if query.is_enough(self.found.len()) {
                    return Ok(None);
                }
                if let Some(metres) = area.distance_within(Point::decode(score)) {
                    let distance = query.in_unit(metres);
                    self.found.push(Place { distance, number })?;
                }
                number += 1;
            }
        }
        Ok((number == end).then_some(end))
    }

    fn sort(&self, query: &Query<'_>) -> PartialSort {
        let (len, wanted) = (self.found.len(), query.count());
        PartialSort::new(len, if query.has_order() { wanted } else { 0 })
    }

    /// Brings some of what is found in order; whether there is more to do.
    fn sort_some(&mut self, ctx: &Context<'_>, query: &Query<'_>, sort: &mut PartialSort) -> bool {
        let budget = ctx.step().saturating_mul(FASTER);
        // As where it is done at once, it is only chance that decides if some are left over.
        let all = query.count() >= self.found.len();
        sort.go_on(&mut self.found, budget, &mut |one, other| {
            let order = query.compare(one.distance, other.distance);
            match all {
                true => order.then(one.number.cmp(&other.number)),
                false => order,
            }
        })
    }

    /// Replies some of the places; whether there are more.
    fn reply_some(
        &self,
        ctx: &mut Context<'_>,
        (query, key): (&Query<'_>, &[u8]),
        replied: &mut Replied,
    ) -> Result<bool, CommandError> {
        let mut slice = replied.slice_of(ctx, ctx.step().div_ceil(SLOWER));
        let Some(zset) = ctx.db.lookup_as::<Zset>(key)? else {
            return Ok(false);
        };
        let places = (replied.done..replied.of).filter_map(|index| self.found(zset, index));
        slice.fill(&mut ctx.reply, places, |reply, found| {
            reply_place(reply, query, &found);
        });
        replied.note(slice, ctx)
    }

    /// Puts some of the places into the result.
    fn make_some(
        &self,
        ctx: &mut Context<'_>,
        (query, key): (&Query<'_>, &[u8]),
        made: &mut Zset,
        some: Range<usize>,
    ) -> Result<(), CommandError> {
        let limits = limits(ctx);
        let Some(zset) = ctx.db.lookup_as::<Zset>(key)? else {
            return Ok(());
        };
        for found in some.filter_map(|index| self.found(zset, index)) {
            let score = query.stored_score(found.score, found.distance);
            let member = found.member;
            member.with_bytes(|member| made.set(member, score, &limits))?;
        }
        Ok(())
    }

    /// One of those that were found.
    fn found<'z>(&self, zset: ZsetRef<'z>, index: usize) -> Option<Found<'z>> {
        let Place { distance, number } = *self.found.get(index)?;
        let ranks = ranks_of(&self.ranges, number..number + 1).next()?;
        let (member, score) = zset.range(ranks, false).next()?;
        Some(Found {
            member,
            score,
            point: Point::decode(score),
            distance,
        })
    }
}

/// The ranks of those that are looked at as these numbers.
fn ranks_of(ranges: &[Range<usize>], numbers: Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let mut before = 0;
    ranges.iter().filter_map(move |range| {
        let within = |number: usize| number.saturating_sub(before).min(range.len());
        let (from, end) = (within(numbers.start), within(numbers.end));
        before += range.len();
        (from < end).then(|| range.start + from..range.start + end)
    })
}
