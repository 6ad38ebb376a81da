//! Unions, intersections and differences of inputs on several shards: what is small
//! goes to the large.
//!
//! Of each input the first round reads the members if they are few, else only how
//! many there are ([`read_sets`], [`read_inputs`]). With few members in all the home
//! core has all that it needs ([`Known::Enough`]). A result has no members that its
//! base has not: the first input of a difference, the smallest of an intersection. So
//! few members of a base are sent, under the same locks, to those shards that have only
//! counted so far, and they reply which of it their inputs have, with the scores. What
//! is known then are the inputs as far as they matter: the decision is made of them as
//! of whole ones.
//!
//! Everything else is work for a job that goes to the inputs
//! ([`combining`](super::combining)). Where members are only counted it goes through its
//! base piece by piece, and only until there are enough ([`count_apart`], [`count_here`]).
//!
//! An input is an array: whether it has scores, then its members, each followed by
//! the eight bytes of its score if it has; empty if there is no such key.

use super::args::integer;
use super::combining::{Job, Target};
use super::zsets::combine::{Kind, PLAIN};
use super::zsets::inputs::{Input, REQUEST_MAX, counted, len_of, members_of, reply_input};
use super::{Args, Ask, Context, Decision, Further, Outcome, OwnedArgs, Work};
use crate::error::{CommandError, OutOfMemory};
use crate::resp::read::error;
use crate::value::SetPlace;

/// An input with more members, or more bytes in them, is counted only if not all of it
/// may matter.
const FEW_MEMBERS: usize = 128;
const FEW_BYTES: usize = 4 << 10;

/// More bytes are not read of the inputs of a shard together.
const READ_BYTES: usize = 64 << 10;

/// Members of a piece that are counted together: a few first, as they may be enough,
/// and never so many that copies of them are much.
const PIECE_MIN: usize = 256;
const PIECE_MAX: usize = 8192;

/// Copied members of a piece take so many bytes and the last one.
const PIECE_BYTES: usize = 16 << 10;

/// What is known of the inputs of a request.
pub enum Known {
    /// As much as the result depends on.
    Enough,
    /// Not enough: another round is asked for, and the decision is to be made then.
    Asked,
    /// There is too much in the inputs, which have so many members each.
    Apart(Vec<usize>),
}

/// Reads each key, which must be a set, if it has few members.
pub fn read_sets(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    read_each(ctx, args, true, false)
}

/// As [`read_sets`], where all members matter.
pub fn read_whole_sets(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    read_each(ctx, args, true, true)
}

/// Reads each key, a set or a sorted set, if it has few members.
pub fn read_inputs(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    read_each(ctx, args, false, false)
}

/// As [`read_inputs`], where all members matter.
pub fn read_whole_inputs(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    read_each(ctx, args, false, true)
}

fn read_each(ctx: &mut Context<'_>, args: Args<'_>, only_sets: bool, all: bool) -> Outcome {
    let (mut members, mut bytes) = (ctx.settings.slices.above, READ_BYTES);
    let reply = &mut ctx.reply;
    reply.array(args.len() - 1);
    for key in args.from(1).iter() {
        let few = match all {
            true => (members, bytes),
            false => (members.min(FEW_MEMBERS), bytes.min(FEW_BYTES)),
        };
        match ctx.db.read(key).map(|view| Input::of(view.value)) {
            None => reply.array(0),
            Some(Err(error)) => reply.error(&error),
            Some(Ok(Input::Zset(_))) if only_sets => reply.error(&CommandError::WrongType),
            Some(Ok(input)) => match bytes_of_few(input, few) {
                Some(read) => {
                    members = members.saturating_sub(input.len());
                    bytes = bytes.saturating_sub(read);
                    reply_input(reply, input);
                }
                None => reply.integer(input.len() as i64),
            },
        }
    }
    Ok(())
}

/// The bytes of an input's members, if it has not more, nor more members.
fn bytes_of_few(input: Input<'_>, (members, bytes): (usize, usize)) -> Option<usize> {
    if input.len() > members {
        return None;
    }
    let mut left = bytes;
    let fit = input.for_each(|member, _| {
        left = left.checked_sub(member.len_bytes()).ok_or(())?;
        Ok::<_, ()>(())
    });
    fit.is_ok().then(|| bytes - left)
}

/// Fails if an input is of another type.
pub fn check_types(decision: &Decision<'_>) -> Outcome {
    let failed = |read: &&[u8]| error(read).is_some();
    match decision.first.iter().any(failed) {
        true => Err(CommandError::WrongType),
        false => Ok(()),
    }
}

/// What is known of the inputs (`keys`).
pub fn known(
    decision: &mut Decision<'_>,
    kind: Kind,
    keys: Args<'_>,
) -> Result<Known, CommandError> {
    check_types(decision)?;
    let lens: Vec<usize> = decision.first.iter().map(|read| len_of(read)).collect();
    let base = match kind {
        Kind::Union => None,
        Kind::Diff => Some(0),
        Kind::Inter => (0..lens.len()).min_by_key(|input| lens[*input]),
    };
    let weight = match base {
        None => lens.iter().copied().fold(0, usize::saturating_add),
        Some(base) => lens[base].saturating_mul(lens.len()),
    };
    if weight == 0 {
        return Ok(Known::Enough);
    }
    let is_counted = |input: &usize| counted(decision.read[*input]).is_some();
    let lacking: Vec<usize> = (0..lens.len()).filter(is_counted).collect();
    let is_large = weight > decision.settings.slices.above;
    match base {
        _ if is_large => Ok(Known::Apart(lens)),
        _ if lacking.is_empty() => Ok(Known::Enough),
        Some(base) if !lacking.contains(&base) => {
            ask(decision, keys, base, &lacking)?;
            Ok(Known::Asked)
        }
        _ => Ok(Known::Apart(lens)),
    }
}

/// Asks which members of the base the inputs have that are only counted.
fn ask(decision: &mut Decision<'_>, keys: Args<'_>, base: usize, lacking: &[usize]) -> Outcome {
    let request: usize = keys.iter().map(<[u8]>::len).sum();
    if decision.read[base].len().saturating_add(request) > REQUEST_MAX {
        return Err(CommandError::OutOfMemory);
    }
    let mut asks: Vec<Ask> = Vec::new();
    for key in lacking.iter().copied() {
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
    decision.further = Some(Further::Keys(asks));
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

/// Replies how many members all inputs (`keys`) have, up to a limit. `count` says how
/// many that are in what is known of them, if that is enough.
pub fn count_apart(
    decision: &mut Decision<'_>,
    keys: Args<'_>,
    limit: usize,
    count: impl FnOnce(&Decision<'_>) -> Result<usize, CommandError>,
) -> Outcome {
    let (mut job, found) = match taken_up(decision) {
        Some(job) if job.has_stops() => return job.depart(decision, keys, None),
        Some(mut job) => {
            let found = job.take_count();
            (job, found)
        }
        None => match known(decision, Kind::Inter, keys)? {
            Known::Asked => return Ok(()),
            Known::Enough => {
                let found = count(decision)?;
                decision.reply.integer(found.min(limit) as i64);
                return Ok(());
            }
            Known::Apart(lens) => {
                let (kind, target) = (Kind::Inter, Target::Count);
                (Job::apart(decision, kind, PLAIN, target, None, &lens), 0)
            }
        },
    };
    match job.visited() {
        from if found < limit && from < job.base_len() => {
            job.set_out(decision, from + piece(from));
            job.depart(decision, keys, None)
        }
        _ => {
            decision.reply.integer(found.min(limit) as i64);
            Ok(())
        }
    }
}

/// The job that has come back from a stop, if this is the decision on how it goes on.
pub fn taken_up(decision: &mut Decision<'_>) -> Option<Box<Job>> {
    match decision.works.pop() {
        Some(Work::Combination(job)) => Some(job),
        _ => None,
    }
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
