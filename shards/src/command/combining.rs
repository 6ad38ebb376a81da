//! Unions, intersections and differences of sets and sorted sets with many members, in
//! slices, wherever their inputs lie.
//!
//! Inputs do not go to the work, the work goes to them: while all keys of a request are
//! locked, a job travels from shard to shard, through the home core, and does at each
//! *stop* what is to be done with the inputs there. What it has with it is moved, not
//! copied. Where all keys lie on one shard there is one stop.
//!
//! A union is built up as a value of its own. Of an intersection or a difference the
//! members of its *base* are gone through, some at a time: that of the smallest input, or
//! the first. They are copied, as the doors show one key at a time, and the others are
//! asked for each. What they leave goes on to the next stop; the result is made at the
//! last. What has few members is combined in one piece, by others.

use super::sets::reply_element;
use super::stored::{Made, Stored, store_here};
use super::texts::{Chunked, Texts};
use super::zsets::combine::{Kind, Options, Rows};
use super::zsets::inputs::Input;
use super::zsets::{members_header, reply_found};
use super::{Args, Context, Decision, Errand, Further, Outcome, OwnedArgs, Pieces, Work};
use crate::effects::Event;
use crate::error::{CommandError, OutOfMemory};
use crate::resp::Protocol;
use crate::types::ShardId;
use crate::value::{Collection, Element, Growth, Set, SetPlace, Zset, ZsetLimits};
use std::ops::Range;

/// So many members are put into a set while one finds its place in a sorted set.
const SLOWER: usize = 4;

/// A slice in which a set has grown by so many segments is over: they all fill up at
/// about the same time, and splitting one takes as long as a slice should.
const SPLIT: usize = 1;
/// Members after which that is looked at.
const BETWEEN_LOOKS: usize = 32;

/// How far an operation has come.
#[derive(Debug)]
pub struct Job {
    kind: Kind,
    options: Options,
    result: Target,
    /// What storing the result counts as.
    event: Option<Event>,
    /// The inputs as they are gone through, if they are not all here, and how many
    /// members the first has.
    order: Vec<usize>,
    base_len: usize,
    /// The stops to come, the next one at the end.
    stops: Vec<Stop>,
    /// The inputs here, in the order of their keys.
    here: Vec<usize>,
    /// At this one of them, if it is a union.
    at: usize,
    /// How far in the input that is gone through, and so far it is to be.
    place: SetPlace,
    until: usize,
    /// What is left of the base.
    kept: Kept,
    /// Members that were counted before.
    found: usize,
    phase: Phase,
    /// Not all is on one shard.
    is_apart: bool,
}

/// Inputs that are dealt with together.
#[derive(Debug)]
struct Stop {
    shard: ShardId,
    inputs: Vec<usize>,
}

/// What is made.
#[derive(Debug)]
pub enum Target {
    Set(Set),
    Zset(Zset, ZsetLimits),
    /// The elements of a reply.
    Elements(Pieces),
    /// Members are only counted.
    Count,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// The base, or the inputs of a union, are gone through.
    Gathering,
    /// Those that are kept have been narrowed down up to `from`, to so many.
    Narrowing { from: usize, left: usize },
    /// So many of those that are kept are in the result.
    Making(usize),
    /// All are, and their memory is freed.
    Clearing,
    /// So much of the result has been replied.
    Replying(SetPlace),
}

/// Members and their scores.
#[derive(Debug, Default)]
struct Kept {
    members: Texts,
    scores: Chunked<f64>,
}

impl Kept {
    fn push(&mut self, member: &[u8], score: f64) -> Result<(), OutOfMemory> {
        self.members.push(Some(member))?;
        self.scores.push(score)
    }

    fn len(&self) -> usize {
        self.scores.len()
    }

    fn get(&self, index: usize) -> (&[u8], f64) {
        let member = self.members.get(index).unwrap_or_default();
        (member, self.scores.get(index).copied().unwrap_or_default())
    }

    fn overwrite(&mut self, to: usize, from: usize, score: f64) {
        self.members.overwrite(to, from);
        if let Some(to) = self.scores.get_mut(to) {
            *to = score;
        }
    }

    fn free_some(&mut self) -> bool {
        self.members.free_some() | self.scores.free_some()
    }

    fn truncate(&mut self, len: usize) {
        self.members.truncate(len);
        self.scores.truncate(len);
    }

    /// Of some members, puts those that get a score to the front; where they end.
    fn retain(
        &mut self,
        some: Range<usize>,
        mut score: impl FnMut(&[u8], f64) -> Option<f64>,
    ) -> usize {
        let mut end = some.start;
        for index in some {
            let (member, old) = self.get(index);
            if let Some(new) = score(member, old) {
                self.overwrite(end, index, new);
                end += 1;
            }
        }
        end
    }
}

impl Target {
    fn add(
        &mut self,
        (member, score): (&[u8], f64),
        protocol: Protocol,
        growth: &Growth<'_>,
    ) -> Outcome {
        match self {
            Self::Set(set) => drop(set.add(member, growth)?),
            Self::Zset(zset, limits) => drop(zset.set(member, score, limits)?),
            Self::Elements(found) => found.bulk(protocol, member)?,
            Self::Count => {}
        }
        Ok(())
    }

    /// Adds a member to a union, in which it may be already.
    fn unite(
        &mut self,
        (member, score): (Element<'_>, f64),
        options: &Options,
        growth: &Growth<'_>,
    ) -> Result<(), OutOfMemory> {
        match self {
            Self::Set(set) => {
                member.with_bytes(|member| set.add(member, growth))?;
            }
            Self::Zset(zset, limits) => {
                let sum = |old: Option<f64>| Some(options.with(old, score));
                member.with_bytes(|member| zset.update(member, limits, sum))?;
            }
            Self::Elements(_) | Self::Count => {}
        }
        Ok(())
    }

    /// Parts that have to be split as it grows.
    fn segments(&self) -> usize {
        match self {
            Self::Set(set) => set.view().segments(),
            _ => 0,
        }
    }

    /// Whether it is made in the order in which the inputs are gone through.
    fn has_order(&self, kind: Kind) -> bool {
        matches!(self, Self::Zset(..)) && kind != Kind::Diff
    }
}

/// The inputs as they are gone through: from the smallest to the largest, as Redis
/// does, where it matters in which order scores are added, or members are looked for.
fn in_order(kind: Kind, target: &Target, lens: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..lens.len()).collect();
    if kind == Kind::Inter || target.has_order(kind) {
        order.sort_by_key(|input| lens[*input]);
    }
    order
}

impl Job {
    fn new(kind: Kind, options: Options, result: Target, event: Option<Event>) -> Self {
        Self {
            kind,
            options,
            result,
            event,
            order: Vec::new(),
            base_len: 0,
            stops: Vec::new(),
            here: Vec::new(),
            at: 0,
            place: SetPlace::default(),
            until: usize::MAX,
            kept: Kept::default(),
            found: 0,
            phase: Phase::Gathering,
            is_apart: false,
        }
    }

    /// One whose inputs, of these lengths, all lie here.
    pub fn here(
        kind: Kind,
        options: Options,
        result: Target,
        event: Option<Event>,
        lens: &[usize],
    ) -> Box<Self> {
        let mut job = Self::new(kind, options, result, event);
        job.here = in_order(kind, &job.result, lens);
        Box::new(job)
    }

    /// One that begins its way to inputs, of these lengths, on several shards.
    pub fn apart(
        decision: &Decision<'_>,
        kind: Kind,
        options: Options,
        result: Target,
        event: Option<Event>,
        lens: &[usize],
    ) -> Box<Self> {
        let mut job = Self::new(kind, options, result, event);
        job.is_apart = true;
        job.order = in_order(kind, &job.result, lens);
        job.base_len = job.order.first().map_or(0, |base| lens[*base]);
        job.plan(decision);
        Box::new(job)
    }

    /// Whether it is not at the end of its way.
    pub fn has_stops(&self) -> bool {
        !self.stops.is_empty()
    }

    /// Members of the base that have been gone through.
    pub fn visited(&self) -> usize {
        self.place.visited
    }

    /// Members that the base has.
    pub fn base_len(&self) -> usize {
        self.base_len
    }

    /// How many of the members that have been gone through all inputs have, in all.
    pub fn take_count(&mut self) -> usize {
        self.found += std::mem::take(&mut self.kept).len();
        self.found
    }

    /// Is to go through the base once more, from where it is until there.
    pub fn set_out(&mut self, decision: &Decision<'_>, until: usize) {
        self.until = until;
        self.phase = Phase::Gathering;
        self.plan(decision);
    }

    fn plan(&mut self, decision: &Decision<'_>) {
        self.stops.clear();
        let has_order = self.result.has_order(self.kind);
        let stops = &mut self.stops;
        for input in self.order.iter().copied() {
            let shard = decision.owners[input];
            let known = match has_order {
                true => stops.last_mut().filter(|stop| stop.shard == shard),
                false => stops.iter_mut().find(|stop| stop.shard == shard),
            };
            match known {
                Some(stop) => stop.inputs.push(input),
                None => stops.push(Stop {
                    shard,
                    inputs: vec![input],
                }),
            }
        }
        if let Some(shard) = decision.destination.filter(|_| self.event.is_some()) {
            let fixed = usize::from(self.kind != Kind::Union);
            let last = stops.iter().skip(fixed).position(|it| it.shard == shard);
            if let Some(at) = last.filter(|_| !has_order) {
                let stop = stops.remove(fixed + at);
                stops.push(stop);
            }
            if stops.last().is_none_or(|stop| stop.shard != shard) {
                let inputs = Vec::new();
                stops.push(Stop { shard, inputs });
            }
        }
        stops.reverse();
    }

    /// Sends it to its next stop. `keys` are those of all inputs.
    pub fn depart(
        mut self: Box<Self>,
        decision: &mut Decision<'_>,
        keys: Args<'_>,
        destination: Option<&[u8]>,
    ) -> Outcome {
        let Some(Stop { shard, inputs }) = self.stops.pop() else {
            return Err(CommandError::Syntax);
        };
        let is_last = self.is_at_the_last_stop();
        let name = decision.args.get(0).unwrap_or_default();
        let destination = destination.filter(|_| is_last);
        let words = [name].into_iter().chain(destination);
        let args = OwnedArgs::new(words.chain(inputs.iter().map(|input| &keys[*input])));
        self.here = inputs;
        self.at = 0;
        let errand = Errand {
            shard: Some(shard).filter(|_| destination.is_none()),
            handler: stop,
            args,
            work: Work::Combination(self),
        };
        match is_last {
            true => decision.errand = Some(errand),
            false => decision.further = Some(Further::Errands(vec![errand])),
        }
        Ok(())
    }

    /// Whether the result is to be made here.
    fn is_at_the_last_stop(&self) -> bool {
        self.stops.is_empty() && !matches!(self.result, Target::Count)
    }

    /// Takes a slice of it, here. `keys` are those of its inputs here.
    pub fn go_on(
        mut self: Box<Self>,
        ctx: &mut Context<'_>,
        keys: Args<'_>,
        destination: Option<&[u8]>,
    ) -> Outcome {
        if let Phase::Replying(at) = self.phase {
            return self.reply_some(ctx, at);
        }
        match self.combine_some(ctx, keys) {
            Ok(true) => return ctx.leave(Work::Combination(self)),
            Ok(false) if !self.is_at_the_last_stop() => {
                return ctx.hand_on(Work::Combination(self));
            }
            Ok(false) => {}
            Err(error) => {
                bury(ctx, self.result);
                return Err(error);
            }
        }
        match destination {
            Some(key) => self.store(ctx, key),
            None => self.reply_some(ctx, SetPlace::default()),
        }
    }

    /// Goes on with the inputs here; whether there is more to do with them.
    fn combine_some(
        &mut self,
        ctx: &mut Context<'_>,
        keys: Args<'_>,
    ) -> Result<bool, CommandError> {
        match self.phase {
            Phase::Gathering if self.kind == Kind::Union => self.unite_some(ctx, keys),
            Phase::Gathering => {
                let more = self.gather_some(ctx, keys)?;
                if !more {
                    self.phase = Phase::Narrowing { from: 0, left: 0 };
                }
                Ok(more)
            }
            Phase::Narrowing { from, left } => {
                if self.narrow_some(ctx, keys, (from, left))? {
                    return Ok(true);
                }
                let is_last = self.is_at_the_last_stop();
                self.phase = match is_last {
                    true => Phase::Making(0),
                    false => Phase::Narrowing { from: 0, left: 0 },
                };
                Ok(is_last)
            }
            Phase::Making(from) => {
                let end = from.saturating_add(self.step(ctx)).min(self.kept.len());
                let (protocol, growth) = (ctx.reply.protocol(), ctx.growth());
                let enough = self.result.segments() + SPLIT;
                let mut made = from;
                while made < end && self.result.segments() < enough {
                    self.result.add(self.kept.get(made), protocol, &growth)?;
                    made += 1;
                }
                self.phase = match made < self.kept.len() {
                    true => Phase::Making(made),
                    false => Phase::Clearing,
                };
                Ok(true)
            }
            Phase::Clearing => Ok(self.kept.free_some()),
            Phase::Replying(_) => Ok(false),
        }
    }

    /// Members that are put into the result in a slice.
    fn step(&self, ctx: &Context<'_>) -> usize {
        match self.result {
            Target::Zset(..) => ctx.step().div_ceil(SLOWER),
            _ => ctx.step(),
        }
    }

    /// The key of an input here.
    fn key<'a>(&self, keys: Args<'a>, nth: usize) -> &'a [u8] {
        let number = match self.is_apart {
            true => nth,
            false => self.here[nth],
        };
        keys.get(number).unwrap_or_default()
    }

    fn unite_some(&mut self, ctx: &mut Context<'_>, keys: Args<'_>) -> Result<bool, CommandError> {
        let (mut budget, growth) = (self.step(ctx), ctx.growth());
        let enough = self.result.segments() + SPLIT;
        while budget > 0
            && self.result.segments() < enough
            && let Some(input) = self.here.get(self.at).copied()
        {
            let mut len = 0;
            let before = self.place.visited;
            if let Some(view) = ctx.db.lookup(self.key(keys, self.at)) {
                let it = Input::of(view.value)?;
                len = it.len();
                let (result, options) = (&mut self.result, &self.options);
                it.walk(
                    &mut self.place,
                    budget.min(BETWEEN_LOOKS),
                    |member, score| {
                        let score = options.weighed_score(input, score);
                        result.unite((member, score), options, &growth)
                    },
                )?;
            }
            budget = budget.saturating_sub((self.place.visited - before).max(1));
            if self.place.visited >= len {
                (self.at, self.place) = (self.at + 1, SetPlace::default());
            }
        }
        Ok(self.at < self.here.len())
    }

    fn gather_some(&mut self, ctx: &mut Context<'_>, keys: Args<'_>) -> Result<bool, CommandError> {
        let mut rows = Rows::default();
        let mut end = 0;
        for (nth, input) in self.here.iter().copied().enumerate() {
            if nth > 0 && rows.len() == 0 {
                break;
            }
            let view = ctx.db.lookup(self.key(keys, nth));
            let it = view.map(|view| Input::of(view.value)).transpose()?;
            match it {
                Some(it) if nth == 0 => {
                    end = it.len().min(self.until);
                    let budget = ctx.settings.slices.step.div_ceil(self.here.len());
                    let budget = budget.min(end.saturating_sub(self.place.visited));
                    it.walk(&mut self.place, budget, |member, score| {
                        rows.push(member, self.options.weighed_score(input, score))
                    })?;
                }
                Some(it) => rows.narrow(self.kind, &self.options, input, it),
                // A missing input has no members to intersect with.
                None if self.kind == Kind::Inter => rows = Rows::default(),
                None => {}
            }
        }
        let is_last = self.is_at_the_last_stop();
        let (protocol, growth) = (ctx.reply.protocol(), ctx.growth());
        for (member, score) in rows.iter() {
            match is_last {
                true => self.result.add((member, score), protocol, &growth)?,
                false => self.kept.push(member, score)?,
            }
        }
        Ok(self.place.visited < end)
    }

    fn narrow_some(
        &mut self,
        ctx: &mut Context<'_>,
        keys: Args<'_>,
        (from, left): (usize, usize),
    ) -> Result<bool, CommandError> {
        if self.here.is_empty() {
            return Ok(false);
        }
        let len = self.kept.len();
        let budget = ctx.step().div_ceil(self.here.len());
        let end = from.saturating_add(budget).min(len);
        let (kind, options, mut until) = (self.kind, &self.options, end);
        for (nth, input) in self.here.iter().copied().enumerate() {
            if until == from {
                break;
            }
            let view = ctx.db.lookup(self.key(keys, nth));
            until = match view.map(|view| Input::of(view.value)).transpose()? {
                Some(it) => self.kept.retain(from..until, |member, score| {
                    options.narrowed(kind, score, input, it.score(member))
                }),
                None if kind == Kind::Inter => from,
                None => until,
            };
        }
        for (to, from) in (left..).zip(from..until) {
            let (_, score) = self.kept.get(from);
            self.kept.overwrite(to, from, score);
        }
        let left = left + (until - from);
        if end < len {
            self.phase = Phase::Narrowing { from: end, left };
            return Ok(true);
        }
        self.kept.truncate(left);
        Ok(false)
    }

    fn store(self: Box<Self>, ctx: &mut Context<'_>, key: &[u8]) -> Outcome {
        let event = self.event.unwrap_or(Event::SUnionStore);
        let made = match self.result {
            Target::Set(set) => Made::Set(set),
            Target::Zset(zset, limits) => Made::Zset(zset.fit(&limits)?),
            Target::Elements(_) | Target::Count => return Err(CommandError::Syntax),
        };
        match self.is_apart {
            true => Stored::put_made(ctx, key, made, event)?.go_on(ctx, key),
            false => store_here(ctx, key, made, event),
        }
    }

    fn reply_some(mut self: Box<Self>, ctx: &mut Context<'_>, at: SetPlace) -> Outcome {
        let (mut at, first) = (at, at.visited == 0);
        let room = ctx.settings.long_replies.piece;
        let full = ctx.reply.written().saturating_add(room);
        let end = at.visited.saturating_add(ctx.long_step());
        let len = match self.result {
            Target::Elements(found) => {
                ctx.reply.set(found.len);
                return ctx.reply_pieces(found, 0);
            }
            Target::Count => 0,
            Target::Set(ref set) => {
                let view = set.view();
                if first {
                    ctx.reply.set(view.len());
                }
                while at.visited < end.min(view.len()) && ctx.reply.written() < full {
                    let reply = &mut ctx.reply;
                    view.walk(&mut at, ctx.settings.slices.step, |member| {
                        reply_element(reply, member);
                        Ok::<_, CommandError>(())
                    })?;
                }
                view.len()
            }
            Target::Zset(ref zset, _) => {
                let view = zset.view();
                let scores = self.options.scores;
                if first {
                    members_header(&mut ctx.reply, view.len(), scores);
                }
                for found in view.range(at.visited..end.min(view.len()), false) {
                    if ctx.reply.written() >= full {
                        break;
                    }
                    reply_found(&mut ctx.reply, found, scores);
                    at.visited += 1;
                }
                view.len()
            }
        };
        if at.visited < len {
            self.phase = Phase::Replying(at);
            return ctx.leave(Work::Combination(self));
        }
        bury(ctx, self.result);
        Ok(())
    }
}

/// Frees a result, in slices if it is large.
fn bury(ctx: &mut Context<'_>, result: Target) {
    match result {
        Target::Set(set) => ctx.db.bury([set]),
        Target::Zset(zset, _) => ctx.db.bury([zset]),
        Target::Elements(_) | Target::Count => {}
    }
}

/// A stop of a job on its way: the name, the destination if the result is stored here,
/// and the keys of the inputs.
fn stop(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match ctx.work() {
        Some(Work::Combination(job)) => {
            let stores = job.event.is_some() && job.is_at_the_last_stop();
            let destination = args.get(1).filter(|_| stores);
            job.go_on(ctx, args.from(1 + usize::from(stores)), destination)
        }
        Some(Work::Recording(stored)) => stored.go_on(ctx, &args[1]),
        Some(Work::Reply(pieces, number)) => ctx.reply_pieces(pieces, number),
        _ => Err(CommandError::Syntax),
    }
}
