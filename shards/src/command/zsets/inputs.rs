//! Inputs and results of commands on several sorted sets, here and on other
//! shards.
//!
//! From other shards come copies ([`read`]): of each input whether it has
//! scores, then its members, each followed by the eight bytes of its score. A
//! result goes to another shard likewise ([`store_elsewhere`]).

use super::limits;
use crate::command::args::bulks;
use crate::command::{Args, Context, Decision, Handler, Outcome, OwnedArgs, Work, Write};
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::{Ttl, ValueRef};
use crate::number::{float_text, parse_i64};
use crate::resp::Reply;
use crate::types::Settings;
use crate::value::{Collection, Element, SetPlace, SetRef, Zset, ZsetLimits, ZsetRef};
use std::convert::Infallible;
use std::ops::Range;

/// Members of one ZADD among the effects of a stored result.
const MEMBERS_PER_EFFECT: usize = 500;

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

/// How many changes a result of so many members counts as: Redis counts the places
/// that a search stores, and any other result once.
fn counted(event: Event, len: usize) -> usize {
    match event {
        Event::GeoSearchStore | Event::GeoRadiusStore => len,
        _ => 1,
    }
}

/// Sets `key` to a result and replies its length.
pub fn store(ctx: &mut Context<'_>, key: &[u8], result: Zset, event: Event) -> Outcome {
    let len = result.view().len();
    if len > 0 {
        ctx.db.put_collection(key, result, Ttl::Clear)?;
        ctx.changed_times(key, event, counted(event, len));
    } else if ctx.db.delete(key) {
        ctx.changed(key, Event::Del);
    }
    ctx.reply.integer(len as i64);
    Ok(())
}

/// An input that came from another shard.
pub struct Copied {
    pub zset: Zset,
}

/// Bulk strings one after the other, as [`read`] wrote them.
struct Bulks<'a>(&'a [u8]);

impl<'a> Bulks<'a> {
    /// The number of a line like `*3`, and what follows it.
    fn line(bytes: &'a [u8]) -> Option<(i64, &'a [u8])> {
        let end = memchr::memchr(b'\r', bytes)?;
        Some((parse_i64(bytes.get(1..end)?)?, bytes.get(end + 2..)?))
    }
}

impl<'a> Iterator for Bulks<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (len, rest) = Self::line(self.0)?;
        let len = usize::try_from(len).ok()?;
        self.0 = rest.get(len + 2..)?;
        rest.get(..len)
    }
}

impl Copied {
    /// The inputs; nothing for those that are missing.
    ///
    /// # Errors
    /// One was of another type.
    pub fn all(read: &[&[u8]], limits: &ZsetLimits) -> Result<Vec<Option<Self>>, CommandError> {
        // All types are looked at before anything is built.
        if read.iter().any(|reply| reply.first() == Some(&b'-')) {
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
    let (1.., rest) = Bulks::line(read).filter(|_| read.starts_with(b"*"))? else {
        return None;
    };
    Some(Bulks::line(rest).expect("whether it has scores comes first"))
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

/// Copies of inputs, for the connection's core.
pub fn read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    copy_inputs(ctx, args, false)
}

/// As [`read`], of sets alone if they must be; in slices if there is much.
pub fn copy_inputs(ctx: &mut Context<'_>, args: Args<'_>, only_sets: bool) -> Outcome {
    let (mut number, mut at, mut left) = match ctx.work() {
        Some(Work::Copy(number, at)) => (number, at, ctx.long_step()),
        _ => {
            ctx.reply.array(args.len() - 1);
            let left = match ctx.cargo.divisible {
                true => ctx.settings.slices.above.max(1),
                false => usize::MAX,
            };
            (1, SetPlace::default(), left)
        }
    };
    while let Some(key) = args.get(number) {
        if left == 0 {
            return ctx.leave(Work::Copy(number, at));
        }
        let view = match at.visited {
            0 => ctx.db.read(key),
            _ => ctx.db.lookup(key),
        };
        match view.map(|view| Input::of(view.value)) {
            None => ctx.reply.array(0),
            Some(Err(error)) => ctx.reply.error(&error),
            Some(Ok(Input::Zset(_))) if only_sets => ctx.reply.error(&CommandError::WrongType),
            Some(Ok(input)) => {
                let before = at.visited;
                copy_some(&mut ctx.reply, input, &mut at, left);
                left -= at.visited - before;
                if at.visited < input.len() {
                    continue;
                }
            }
        }
        left = left.saturating_sub(1);
        (number, at) = (number + 1, SetPlace::default());
    }
    Ok(())
}

/// A copy of up to `count` members from a place on; at the first, of what comes before.
fn copy_some(reply: &mut Reply<'_>, input: Input<'_>, at: &mut SetPlace, count: usize) {
    let scored = matches!(input, Input::Zset(_));
    if at.visited == 0 {
        reply.array(1 + input.len() * if scored { 2 } else { 1 });
        reply.integer(i64::from(scored));
    }
    let Ok(()) = input.walk(at, count, |member, score| {
        member.with_bytes(|member| reply.bulk(member));
        if scored {
            reply.bulk(&score.to_le_bytes());
        }
        Ok::<_, Infallible>(())
    });
}

/// A copy of some members of an input: their numbers must be within the length.
pub fn reply_input(reply: &mut Reply<'_>, input: Input<'_>, numbers: Range<usize>) {
    let scored = matches!(input, Input::Zset(_));
    reply.array(1 + numbers.len() * if scored { 2 } else { 1 });
    reply.integer(i64::from(scored));
    let Ok(()) = input.for_each_in(numbers, |member, score| {
        member.with_bytes(|member| reply.bulk(member));
        if scored {
            reply.bulk(&score.to_le_bytes());
        }
        Ok::<_, Infallible>(())
    });
}

/// As [`limits`], where there is no keyspace.
pub fn limits_away(settings: &Settings, seed: u64) -> ZsetLimits {
    ZsetLimits {
        entries: settings.encodings.zset_max_listpack_entries,
        value: settings.encodings.zset_max_listpack_value,
        seed,
    }
}

/// What [`store_read`] is to store, of the first key of a request; nothing of others.
pub fn read_result(ctx: &mut Context<'_>, result: Option<&Zset>) -> Outcome {
    ctx.reply.array(1);
    ctx.reply
        .array(result.map_or(0, |result| result.view().len() * 2));
    for (member, score) in result.iter().flat_map(|result| result.view().iter()) {
        member.with_bytes(|member| ctx.reply.bulk(member));
        ctx.reply.bulk(&score.to_le_bytes());
    }
    Ok(())
}

/// Has the shard of `key` store what [`read_result`] has replied of the first key, by
/// [`put_members`] or [`put_places`].
pub fn store_read(decision: &mut Decision<'_>, key: &[u8], put: Handler) -> Outcome {
    let read = decision.read.first().copied().unwrap_or_default();
    if read.len() + key.len() > REQUEST_MAX {
        return Err(CommandError::OutOfMemory);
    }
    let mut args = OwnedArgs::new([&b"ZADD"[..], key]);
    let mut len: i64 = 0;
    for pair in bulks(read) {
        args.push(pair);
        len += 1;
    }
    decision.writes.push(Write { handler: put, args });
    decision.reply.integer(len / 2);
    Ok(())
}

/// Has the shard of argument 1 store a result.
pub fn store_elsewhere(decision: &mut Decision<'_>, result: &Zset) -> Outcome {
    let key = decision.args.get(1).unwrap_or_default();
    let weight = |(member, _): (Element<'_>, f64)| member.len_bytes() + size_of::<f64>();
    let bytes: usize = result.view().iter().map(weight).sum();
    if bytes + key.len() > REQUEST_MAX {
        return Err(CommandError::OutOfMemory);
    }
    let mut text = Vec::new();
    let mut ends = Vec::new();
    text.try_reserve_exact(bytes)
        .map_err(|_| CommandError::OutOfMemory)?;
    for (member, score) in result.view().iter() {
        member.with_bytes(|member| text.extend_from_slice(member));
        ends.push(text.len());
        text.extend_from_slice(&score.to_le_bytes());
        ends.push(text.len());
    }
    let starts = std::iter::once(0).chain(ends.iter().copied());
    let words = starts.zip(&ends).map(|(start, end)| &text[start..*end]);
    decision.writes.push(Write {
        handler: put_members,
        args: OwnedArgs::new([&b"ZADD"[..], key].into_iter().chain(words)),
    });
    decision.reply.integer(result.view().len() as i64);
    Ok(())
}

/// The other half of [`store_elsewhere`] and [`store_read`].
pub fn put_members(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    put_pairs(ctx, args, Event::ZUnionStore)
}

/// The same of what a search has found.
pub fn put_places(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    put_pairs(ctx, args, Event::GeoSearchStore)
}

fn put_pairs(ctx: &mut Context<'_>, args: Args<'_>, event: Event) -> Outcome {
    let key = &args[1];
    let limits = limits(ctx);
    let words = args.from(2);
    let (mut result, from) = match ctx.work() {
        Some(Work::PutZset(result, from)) => (result, from),
        _ if ctx.slice_of(words.len()) < words.len() => (Zset::large(&limits)?, 0),
        _ => {
            let members = words.iter().step_by(2).map(<[u8]>::len);
            (Zset::to_hold(members, &limits)?, 0)
        }
    };
    let pairs = ctx.slice_of((words.len() - from) / 2);
    let end = from + 2 * pairs;
    let mut some = words.from(from).first(end - from).iter();
    while let (Some(member), Some(score)) = (some.next(), some.next()) {
        result.set(member, score_of(score), &limits)?;
    }
    if end < words.len() {
        return ctx.leave(Work::PutZset(result, end));
    }
    let result = result.fit(&limits)?;
    put_result(ctx, key, result, event)?;
    ctx.reply.ok();
    Ok(())
}

/// Sets `key` to a result and propagates what it is, not the request: the other
/// side cannot or might not come to the same.
pub fn put_result(ctx: &mut Context<'_>, key: &[u8], result: Zset, event: Event) -> Outcome {
    let existed = ctx.db.delete(key);
    if existed {
        ctx.propagate(&[b"DEL", key]);
    }
    if ctx.is_recording() {
        let mut walk = result.view().iter().peekable();
        while walk.peek().is_some() {
            let some = walk.by_ref().take(MEMBERS_PER_EFFECT);
            propagate_some(ctx, key, some);
        }
    }
    let len = result.view().len();
    let stored = ctx.db.put_collection(key, result, Ttl::Clear)?;
    if stored {
        ctx.changed_times(key, event, counted(event, len));
    } else if existed {
        ctx.changed(key, Event::Del);
    }
    Ok(())
}

fn propagate_some<'a>(
    ctx: &mut Context<'_>,
    key: &[u8],
    members: impl Iterator<Item = (Element<'a>, f64)>,
) {
    let words: Vec<Vec<u8>> = members
        .flat_map(|(member, score)| {
            let score = float_text(score).as_bytes().to_vec();
            [score, member.with_bytes(<[u8]>::to_vec)]
        })
        .collect();
    let mut parts: Vec<&[u8]> = vec![b"ZADD", key];
    parts.extend(words.iter().map(Vec::as_slice));
    ctx.propagate(&parts);
}
