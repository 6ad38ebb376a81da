//! Intersections and differences of inputs on several shards: the small goes to
//! the large.
//!
//! Of each input the first round reads the members if they are few, else only how
//! many there are ([`read_sets`], [`read_inputs`]). A result has no members that
//! its base has not: the first input of a difference, any input of an
//! intersection. So, under the same locks, what the base has is sent to those
//! shards that have only counted so far, and they reply which of it their inputs
//! have, with the scores. What is known then are the inputs as far as they matter:
//! the decision is made of them as of whole ones. Only a base that is large itself
//! is fetched before, in a round of its own.
//!
//! Where members are only counted, a large base is gone through piece by piece,
//! and only until there are enough ([`count_on`], [`count_here`]).
//!
//! An input is an array: whether it has scores, then its members, each followed by
//! the eight bytes of its score if it has; empty if there is no such key.

use super::args::integer;
use super::zsets::inputs::{Input, REQUEST_MAX, members_of, reply_input};
use super::{Args, Ask, Context, Decision, Further, Outcome, OwnedArgs, Progress, Work};
use crate::error::{CommandError, OutOfMemory};
use crate::number::parse_i64;
use crate::value::SetPlace;

/// An input with more members, or more bytes in them, is counted only.
const FEW_MEMBERS: usize = 128;
const FEW_BYTES: usize = 4 << 10;

/// Members of a piece that are counted together: a few first, as they may be enough,
/// and never so many that going through them takes a millisecond.
const PIECE_MIN: usize = 256;
const PIECE_MAX: usize = 8192;

/// Copied members of a piece take so many bytes and the last one.
const PIECE_BYTES: usize = 16 << 10;

/// Which input has all members of the result.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Base {
    First,
    Any,
}

impl Base {
    /// The base among what the first round has read. Nothing if there is none,
    /// because an input that must have all members has none.
    fn of(self, first: &[&[u8]]) -> Option<usize> {
        if self == Self::First {
            return Some(0);
        }
        let size = |read: &&[u8]| (counted(read).is_some(), line_number(read));
        let sizes = first.iter().map(size).enumerate();
        let smallest = sizes.min_by_key(|(_, size)| *size);
        smallest.filter(|(_, (_, len))| *len > 0).map(|(at, _)| at)
    }
}

/// The number in the first line of a reply.
fn line_number(read: &[u8]) -> usize {
    let end = memchr::memchr(b'\r', read).unwrap_or_default();
    let number = read.get(1..end).and_then(parse_i64);
    number.and_then(|n| usize::try_from(n).ok()).unwrap_or(0)
}

/// How many members an input has that was only counted.
pub fn counted(read: &[u8]) -> Option<usize> {
    (read.first() == Some(&b':')).then(|| line_number(read))
}

/// Reads each key, which must be a set.
pub fn read_sets(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    read_each(ctx, args, true)
}

/// Reads each key, a set or a sorted set.
pub fn read_inputs(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    read_each(ctx, args, false)
}

fn read_each(ctx: &mut Context<'_>, args: Args<'_>, only_sets: bool) -> Outcome {
    let reply = &mut ctx.reply;
    reply.array(args.len() - 1);
    for key in args.from(1).iter() {
        match ctx.db.read(key).map(|view| Input::of(view.value)) {
            None => reply.array(0),
            Some(Err(error)) => reply.error(&error),
            Some(Ok(Input::Zset(_))) if only_sets => reply.error(&CommandError::WrongType),
            Some(Ok(input)) if are_few(input) => reply_input(reply, input, 0..input.len()),
            Some(Ok(input)) => reply.integer(input.len() as i64),
        }
    }
    Ok(())
}

fn are_few(input: Input<'_>) -> bool {
    let mut left = FEW_BYTES;
    input.len() <= FEW_MEMBERS
        && input
            .for_each(|member, _| {
                left = left.checked_sub(member.len_bytes()).ok_or(())?;
                Ok::<_, ()>(())
            })
            .is_ok()
}

/// Fails if an input is of another type.
pub fn check_types(decision: &Decision<'_>) -> Outcome {
    let failed = |read: &&[u8]| read.first() == Some(&b'-');
    match decision.first.iter().any(failed) {
        true => Err(CommandError::WrongType),
        false => Ok(()),
    }
}

/// Whether as much of all inputs (`keys`) is known as the result depends on. If it
/// is not, another round is asked for, and the decision is to be made then.
pub fn is_known(
    decision: &mut Decision<'_>,
    base: Base,
    keys: Args<'_>,
) -> Result<bool, CommandError> {
    check_types(decision)?;
    let Some(base) = base.of(decision.first) else {
        return Ok(true);
    };
    if counted(decision.read[base]).is_some() {
        let progress = decision.progress;
        fetch_next(decision, base, keys, (progress, usize::MAX));
        return Ok(false);
    }
    let lacking = |at: &usize| counted(decision.read[*at]).is_some();
    let lacking: Vec<usize> = (0..decision.read.len()).filter(lacking).collect();
    if lacking.is_empty() || members_of(decision.read[base]).next().is_none() {
        return Ok(true);
    }
    if decision.read[base].len().saturating_add(request_len(keys)) > REQUEST_MAX {
        return Err(CommandError::OutOfMemory);
    }
    let mut asks: Vec<Ask> = Vec::new();
    for key in lacking {
        let shard = decision.owners[key];
        match asks.iter_mut().find(|ask| ask.shard == shard) {
            Some(ask) => ask.keys.push(key),
            None => asks.push(Ask {
                shard,
                keys: vec![key],
                handler: pick,
                args: OwnedArgs::default(),
            }),
        }
    }
    for ask in &mut asks {
        let mut buffer = itoa::Buffer::new();
        let count = buffer.format(ask.keys.len()).as_bytes();
        let names = ask.keys.iter().map(|key| &keys[*key]);
        let members = members_of(decision.read[base]).map(|(member, _)| member);
        let words = [&b"PICK"[..], count].into_iter().chain(names);
        ask.args = OwnedArgs::new(words.chain(members));
    }
    decision.further = Some(Further::Keys {
        asks,
        progress: decision.progress,
        forget: false,
    });
    Ok(false)
}

fn request_len(keys: Args<'_>) -> usize {
    keys.iter().map(<[u8]>::len).sum()
}

/// Asks for so many members of the base, from where the progress says.
fn fetch_next(
    decision: &mut Decision<'_>,
    base: usize,
    keys: Args<'_>,
    (progress, count): (Progress, usize),
) {
    let [from, count] = [progress.from, count].map(|number| number.to_string());
    let words = [b"FETCH", &keys[base], from.as_bytes(), count.as_bytes()];
    let asks = vec![Ask {
        shard: decision.owners[base],
        keys: vec![base],
        handler: fetch,
        args: OwnedArgs::new(words),
    }];
    decision.further = Some(Further::Keys {
        asks,
        progress,
        forget: true,
    });
}

/// `key from count`: some members of an input.
fn fetch(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, from, count] = args.exactly()?;
    let number = |text| parse_i64(text).and_then(|number| usize::try_from(number).ok());
    let (from, count) = (
        number(from).unwrap_or(0),
        number(count).unwrap_or(usize::MAX),
    );
    ctx.reply.array(1);
    match ctx.db.lookup(key) {
        Some(view) => {
            let input = Input::of(view.value)?;
            let from = from.min(input.len());
            let until = from.saturating_add(count).min(input.len());
            reply_input(&mut ctx.reply, input, from..until);
        }
        None => ctx.reply.array(0),
    }
    Ok(())
}

/// `count key [key ...] member [member ...]`: which of the members each input has.
fn pick(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let count = usize::try_from(integer(&args[1])?).unwrap_or(0);
    let (keys, members) = (args.from(2).first(count), args.from(2 + count));
    ctx.reply.array(count);
    let mut found: Vec<(&[u8], f64)> = Vec::new();
    for key in keys.iter() {
        let Some(view) = ctx.db.lookup(key) else {
            ctx.reply.array(0);
            continue;
        };
        let input = Input::of(view.value)?;
        found.clear();
        for member in members.iter() {
            if let Some(score) = input.score(member) {
                found.try_reserve(1).map_err(OutOfMemory::from)?;
                found.push((member, score));
            }
        }
        let scored = matches!(input, Input::Zset(_));
        let each = if scored { 2 } else { 1 };
        ctx.reply.array(1 + found.len() * each);
        ctx.reply.integer(i64::from(scored));
        for (member, score) in &found {
            ctx.reply.bulk(member);
            if scored {
                ctx.reply.bulk(&score.to_le_bytes());
            }
        }
    }
    Ok(())
}

/// How many members are counted together behind so many.
fn piece(from: usize) -> usize {
    from.saturating_mul(3).clamp(PIECE_MIN, PIECE_MAX)
}

/// As [`is_known`] for an intersection that is only counted: of a large base one
/// piece is enough.
pub fn is_piece_known(decision: &mut Decision<'_>, keys: Args<'_>) -> Result<bool, CommandError> {
    check_types(decision)?;
    if let Some(base) = Base::Any.of(decision.first)
        && counted(decision.read[base]).is_some()
    {
        let progress = decision.progress;
        fetch_next(decision, base, keys, (progress, piece(progress.from)));
        return Ok(false);
    }
    is_known(decision, Base::Any, keys)
}

/// `here` members are common to what is known of the inputs: replies how many all
/// inputs have, up to a limit, or goes on with the next piece.
pub fn count_on(decision: &mut Decision<'_>, keys: Args<'_>, here: usize, limit: usize) -> Outcome {
    let before = decision.progress;
    let found = before.found + here;
    let base = Base::Any.of(decision.first);
    let len = base.and_then(|base| counted(decision.first[base]));
    let progress = Progress {
        from: before.from + piece(before.from),
        found,
    };
    match (base, len) {
        (Some(base), Some(len)) if found < limit && progress.from < len => {
            fetch_next(decision, base, keys, (progress, piece(progress.from)));
        }
        _ => decision.reply.integer(found.min(limit) as i64),
    }
    Ok(())
}

/// Replies how many members all inputs have, up to a limit, where all are on this
/// shard. `lens` are their lengths, at the first call.
pub fn count_here(ctx: &mut Context<'_>, keys: Args<'_>, lens: &[usize], limit: usize) -> Outcome {
    let sizes = lens.iter().copied().enumerate();
    let (base, len) = sizes.min_by_key(|(_, len)| *len).unwrap_or_default();
    let (mut counting, goes_on) = match ctx.work() {
        Some(Work::Count(counting)) => (counting, true),
        _ => {
            // Of one input all are common.
            let known = if keys.len() == 1 { len } else { 0 };
            let counting = Counting {
                base,
                len: len - known,
                at: SetPlace::default(),
                found: known,
            };
            (counting, false)
        }
    };
    let step = ctx.step();
    while counting.at.visited < counting.len && counting.found < limit {
        if goes_on {
            counting.count_some(ctx, keys, step.div_ceil(keys.len()))?;
            break;
        }
        let from = counting.at.visited;
        let piece = piece(from);
        let until = from.saturating_add(piece).min(counting.len);
        let missing = lens.iter().filter(|len| **len == 0).count();
        let weight = until.saturating_mul(keys.len());
        if ctx.in_slices(weight, (lens.len() - missing, missing))? {
            break;
        }
        counting.count_some(ctx, keys, piece)?;
    }
    if counting.at.visited < counting.len && counting.found < limit {
        return ctx.leave(Work::Count(counting));
    }
    ctx.reply.integer(counting.found.min(limit) as i64);
    Ok(())
}

/// How far members are counted that all inputs have.
#[derive(Debug)]
pub struct Counting {
    /// The input that is gone through, and how many members it has.
    base: usize,
    len: usize,
    /// How far it has been, and how many were found.
    at: SetPlace,
    found: usize,
}

impl Counting {
    fn count_some(&mut self, ctx: &mut Context<'_>, keys: Args<'_>, count: usize) -> Outcome {
        let mut some = Members::default();
        let mut left = count;
        while left > 0 && some.heap_bytes() < PIECE_BYTES {
            // As many as there is room for, if they are like those before.
            let fit = match some.len() {
                0 => 1,
                len => (PIECE_BYTES * len / some.heap_bytes()).clamp(1, 64),
            };
            if let Some(view) = ctx.db.lookup(&keys[self.base]) {
                Input::of(view.value)?.walk(&mut self.at, fit.min(left), |member, _| {
                    member.with_bytes(|member| some.push(member))
                })?;
            }
            left = left.saturating_sub(fit);
        }
        for (_, key) in keys.iter().enumerate().filter(|(at, _)| *at != self.base) {
            match ctx.db.lookup(key) {
                Some(view) => {
                    let input = Input::of(view.value)?;
                    some.retain(|member| input.score(member).is_some());
                }
                None => some = Members::default(),
            }
        }
        self.found += some.len();
        Ok(())
    }
}

/// Copied members, one after the other.
#[derive(Default)]
pub struct Members {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Members {
    pub fn push(&mut self, member: &[u8]) -> Result<(), OutOfMemory> {
        self.bytes.try_reserve(member.len())?;
        self.ends.try_reserve(1)?;
        self.bytes.extend_from_slice(member);
        self.ends.push(self.bytes.len());
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    fn heap_bytes(&self) -> usize {
        self.bytes.len() + self.ends.len() * size_of::<usize>()
    }

    pub fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Keeps those that `wanted` is true of.
    pub fn retain(&mut self, wanted: impl Fn(&[u8]) -> bool) {
        let (mut kept, mut end, mut start) = (0, 0, 0);
        for index in 0..self.ends.len() {
            let old = start..self.ends[index];
            start = old.end;
            if wanted(&self.bytes[old.clone()]) {
                let len = old.len();
                self.bytes.copy_within(old, end);
                end += len;
                self.ends[kept] = end;
                kept += 1;
            }
        }
        self.ends.truncate(kept);
        self.bytes.truncate(end);
    }
}
