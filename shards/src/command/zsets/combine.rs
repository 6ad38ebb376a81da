//! Commands that make one sorted set out of several; plain sets may take part,
//! with a score of 1 for each member.
//!
//! On one shard the inputs are looked at where they are; where they come from
//! else is in [`super::inputs`].

use super::inputs::{Copied, Input, counted, limits_away, store};
use super::{limits, reply_members, score as parse_score};
use crate::command::apart::{
    Known, check_types, count_apart, count_here, known, read_inputs, read_whole_inputs, taken_up,
};
use crate::command::args::integer;
use crate::command::combining::{Job, Target};
use crate::command::spec::{Arity, Group, InSlices, KeySpec, flags};
use crate::command::stored::{Made, store_elsewhere};
use crate::command::{Args, Context, Decision, Outcome, ROW, Row, Run, Work};
use crate::effects::Event;
use crate::error::{CommandError, OutOfMemory};
use crate::number::parse_i64;
use crate::value::{Collection, Element, Zset, ZsetLimits};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "zdiff",
        syntax: "numkeys key [key ...] [WITHSCORES]",
        summary: "The members of the first input that no other has.",
        since: "6.2.0",
        complexity: "O(N*log(M)) with N the number of members of all inputs and M that of the result",
        group: Group::SortedSet,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::counted(1, &["RO", "access"])],
        flags: flags::READONLY.with(flags::MOVABLEKEYS),
        slices: InSlices::IfMuch,
        run: Run::ReadThenWrite {
            whole: zdiff,
            read: read_inputs,
            decide: zdiff_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "zdiffstore",
        syntax: "destination numkeys key [key ...]",
        summary: "Store the members of the first input that no other has in another key.",
        since: "6.2.0",
        complexity: "O(N*log(M)) with N the number of members of all inputs and M that of the result",
        group: Group::SortedSet,
        arity: Arity::AtLeast(4),
        keys: &[
            KeySpec::first(&["OW", "update"]),
            KeySpec::counted(2, &["RO", "access"]),
        ],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::MOVABLEKEYS),
        slices: InSlices::IfMuch,
        run: Run::ReadThenWrite {
            whole: zdiffstore,
            read: read_inputs,
            decide: zdiffstore_decide,
            skip: 1,
        },
        ..ROW
    },
    Row {
        name: "zinter",
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        summary: "The members that all inputs have.",
        since: "6.2.0",
        complexity: "O(N*log(M)) with N the number of members of all inputs and M that of the result",
        group: Group::SortedSet,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::counted(1, &["RO", "access"])],
        flags: flags::READONLY.with(flags::MOVABLEKEYS),
        slices: InSlices::IfMuch,
        run: Run::ReadThenWrite {
            whole: zinter,
            read: read_inputs,
            decide: zinter_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "zintercard",
        syntax: "numkeys key [key ...] [LIMIT limit]",
        summary: "The number of members that all inputs have.",
        since: "7.0.0",
        complexity: "O(N*K) with N the number of members of the smallest input and K the number of inputs",
        group: Group::SortedSet,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::counted(1, &["RO", "access"])],
        flags: flags::READONLY.with(flags::MOVABLEKEYS),
        slices: InSlices::IfMuch,
        run: Run::ReadThenWrite {
            whole: zintercard,
            read: read_inputs,
            decide: zintercard_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "zinterstore",
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        summary: "Store the members that all inputs have in another key.",
        since: "2.0.0",
        complexity: "O(N*log(M)) with N the number of members of all inputs and M that of the result",
        group: Group::SortedSet,
        arity: Arity::AtLeast(4),
        keys: &[
            KeySpec::first(&["OW", "update"]),
            KeySpec::counted(2, &["RO", "access"]),
        ],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::MOVABLEKEYS),
        slices: InSlices::IfMuch,
        run: Run::ReadThenWrite {
            whole: zinterstore,
            read: read_inputs,
            decide: zinterstore_decide,
            skip: 1,
        },
        ..ROW
    },
    Row {
        name: "zunion",
        syntax: "numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        summary: "The members of all inputs.",
        since: "6.2.0",
        complexity: "O(N*log(M)) with N the number of members of all inputs and M that of the result",
        group: Group::SortedSet,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::counted(1, &["RO", "access"])],
        flags: flags::READONLY.with(flags::MOVABLEKEYS),
        slices: InSlices::IfMuch,
        run: Run::ReadThenWrite {
            whole: zunion,
            read: read_whole_inputs,
            decide: zunion_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "zunionstore",
        syntax: "destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        summary: "Store the members of all inputs in another key.",
        since: "2.0.0",
        complexity: "O(N*log(M)) with N the number of members of all inputs and M that of the result",
        group: Group::SortedSet,
        arity: Arity::AtLeast(4),
        keys: &[
            KeySpec::first(&["OW", "update"]),
            KeySpec::counted(2, &["RO", "access"]),
        ],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::MOVABLEKEYS),
        slices: InSlices::IfMuch,
        run: Run::ReadThenWrite {
            whole: zunionstore,
            read: read_whole_inputs,
            decide: zunionstore_decide,
            skip: 1,
        },
        ..ROW
    },
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Diff,
    Inter,
    Union,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, one: f64, other: f64) -> f64 {
        match self {
            // Of opposite infinities.
            Self::Sum if (one + other).is_nan() => 0.0,
            Self::Sum => one + other,
            Self::Min if other < one => other,
            Self::Max if other > one => other,
            Self::Min | Self::Max => one,
        }
    }
}

/// A command of this family.
#[derive(Clone, Copy)]
pub struct Form {
    pub kind: Kind,
    name: &'static str,
    /// Where the number of keys stands: after a destination, if there is one.
    at: usize,
}

impl Form {
    /// How the result is kept. What is only replied never becomes a listpack, as
    /// in Redis: there -0 would turn into 0.
    fn result_limits(&self, stored: &ZsetLimits) -> ZsetLimits {
        let replied = self.at == 1;
        ZsetLimits {
            entries: if replied { 0 } else { stored.entries },
            ..*stored
        }
    }
}

/// The keys of a request: how many, and the arguments from the first one on.
fn keys<'a>(args: Args<'a>, form: Form) -> Result<(usize, Args<'a>), CommandError> {
    let count = integer(&args[form.at])?;
    if count < 1 {
        let name = form.name;
        let text = format!("ERR at least 1 input key is needed for '{name}' command");
        return Err(CommandError::Owned(text.into_bytes().into()));
    }
    let keys = args.from(form.at + 1);
    match usize::try_from(count) {
        Ok(count) if count <= keys.len() => Ok((count, keys)),
        _ => Err(CommandError::Syntax),
    }
}

/// What stands behind the keys.
#[derive(Debug)]
pub struct Options {
    weights: Vec<f64>,
    aggregate: Aggregate,
    pub scores: bool,
}

impl Options {
    fn parse(args: Args<'_>, count: usize, form: Form) -> Result<Self, CommandError> {
        let mut options = Self {
            weights: Vec::new(),
            aggregate: Aggregate::Sum,
            scores: false,
        };
        let (combining, storing) = (form.kind != Kind::Diff, form.at > 1);
        let mut at = count;
        while let Some(word) = args.get(at) {
            match word.to_ascii_lowercase().as_slice() {
                b"weights" if combining && args.len() > at + count => {
                    options.weights.clear();
                    for weight in args.from(at + 1).iter().take(count) {
                        options.weights.push(parse_score(weight).map_err(|_| {
                            CommandError::Static("ERR weight value is not a float")
                        })?);
                    }
                    at += count + 1;
                }
                b"aggregate" if combining && args.len() > at + 1 => {
                    options.aggregate = match args[at + 1].to_ascii_lowercase().as_slice() {
                        b"sum" => Aggregate::Sum,
                        b"min" => Aggregate::Min,
                        b"max" => Aggregate::Max,
                        _ => return Err(CommandError::Syntax),
                    };
                    at += 2;
                }
                b"withscores" if !storing => {
                    options.scores = true;
                    at += 1;
                }
                _ => return Err(CommandError::Syntax),
            }
        }
        Ok(options)
    }

    fn weighed(&self, input: usize, score: f64) -> f64 {
        self.weights
            .get(input)
            .map_or(score, |weight| weight * score)
    }

    /// The score that a member has by its first input.
    pub fn weighed_score(&self, input: usize, score: f64) -> f64 {
        let score = self.weighed(input, score);
        if score.is_nan() { 0.0 } else { score }
    }

    /// The score of a member once it is known whether another input has it, and with
    /// which; nothing if it is not in the result.
    pub fn narrowed(
        &self,
        kind: Kind,
        score: f64,
        input: usize,
        other: Option<f64>,
    ) -> Option<f64> {
        match (kind, other) {
            (Kind::Diff, None) => Some(score),
            (Kind::Diff, Some(_)) | (_, None) => None,
            (_, Some(other)) => Some(self.aggregate.of(score, self.weighed(input, other))),
        }
    }

    /// The score of a member of which one more is known.
    pub fn with(&self, old: Option<f64>, score: f64) -> f64 {
        old.map_or(score, |old| self.aggregate.of(old, score))
    }
}

/// Members and scores in a row, of which some will go.
#[derive(Default)]
pub struct Rows {
    text: Vec<u8>,
    /// End of the member in `text`, and its score.
    rows: Vec<(usize, usize, f64)>,
}

impl Rows {
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn push(&mut self, member: Element<'_>, score: f64) -> Result<(), OutOfMemory> {
        let start = self.text.len();
        self.text.try_reserve(member.len_bytes())?;
        self.rows.try_reserve(1)?;
        member.with_bytes(|member| self.text.extend_from_slice(member));
        self.rows.push((start, self.text.len(), score));
        Ok(())
    }

    /// Keeps the members that get a score.
    fn retain(&mut self, mut score: impl FnMut(&[u8], f64) -> Option<f64>) {
        let text = &self.text;
        self.rows.retain_mut(|(start, end, old)| {
            let new = score(&text[*start..*end], *old);
            *old = new.unwrap_or(*old);
            new.is_some()
        });
    }

    /// Keeps those that another input leaves, with the score that comes of it.
    pub fn narrow(&mut self, kind: Kind, options: &Options, input: usize, it: Input<'_>) {
        self.retain(|member, score| options.narrowed(kind, score, input, it.score(member)));
    }

    fn into_zset(self, limits: &ZsetLimits) -> Result<Zset, OutOfMemory> {
        let members = self.rows.iter().map(|(start, end, _)| end - start);
        let mut zset = Zset::to_hold(members, limits)?;
        for (member, score) in self.iter() {
            zset.set(member, score, limits)?;
        }
        Ok(zset)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&[u8], f64)> {
        let rows = self.rows.iter();
        rows.map(|(start, end, score)| (&self.text[*start..*end], *score))
    }
}

/// Shows the input with a number to a function.
type Look<'l> = &'l mut dyn FnMut(usize, Visit<'_>) -> Outcome;
type Visit<'v> = &'v mut dyn FnMut(Input<'_>) -> Outcome;

/// Members of an intersection or difference; `lens` has the length of each
/// input, 0 for one that is missing.
fn narrow(
    kind: Kind,
    options: &Options,
    lens: &[usize],
    look: Look<'_>,
) -> Result<Rows, CommandError> {
    let mut order: Vec<usize> = (0..lens.len()).collect();
    if kind == Kind::Inter {
        order.sort_by_key(|input| lens[*input]);
    }
    let mut rows = Rows::default();
    for (nth, input) in order.into_iter().enumerate() {
        if nth > 0 && rows.rows.is_empty() {
            break;
        }
        look(input, &mut |it| {
            if nth == 0 {
                return Ok(it.for_each(|member, score| {
                    rows.push(member, options.weighed_score(input, score))
                })?);
            }
            rows.narrow(kind, options, input, it);
            Ok(())
        })?;
        // A missing input has no members to intersect with.
        if kind == Kind::Inter && lens[input] == 0 {
            break;
        }
    }
    Ok(rows)
}

/// As [`Zset::to_hold`]; [`Zset::fit`] is due in the end, as inputs may share members.
fn room_for_union(
    lens: &[usize],
    limits: &ZsetLimits,
    look: Look<'_>,
) -> Result<Zset, CommandError> {
    if lens.iter().copied().fold(0, usize::saturating_add) > limits.entries {
        return Ok(Zset::large(limits)?);
    }
    let mut longest = 0;
    for input in 0..lens.len() {
        look(input, &mut |it| {
            it.for_each(|member, _| {
                longest = longest.max(member.len_bytes());
                Ok::<_, CommandError>(())
            })
        })?;
    }
    Ok(Zset::to_hold([longest], limits)?)
}

fn unite(
    options: &Options,
    lens: &[usize],
    limits: &ZsetLimits,
    look: Look<'_>,
) -> Result<Zset, CommandError> {
    // From the smallest to the largest, as Redis does: it decides in which order
    // scores are added.
    let mut order: Vec<usize> = (0..lens.len()).collect();
    order.sort_by_key(|input| lens[*input]);
    let mut union = room_for_union(lens, limits, look)?;
    for input in order {
        look(input, &mut |it| {
            Ok(it.for_each(|member, score| {
                let score = options.weighed_score(input, score);
                let sum = |old: Option<f64>| Some(options.with(old, score));
                let updated = member.with_bytes(|member| union.update(member, limits, sum));
                updated.map(drop)
            })?)
        })?;
    }
    Ok(union.fit(limits)?)
}

fn combine(
    kind: Kind,
    options: &Options,
    lens: &[usize],
    limits: &ZsetLimits,
    look: Look<'_>,
) -> Result<Zset, CommandError> {
    match kind {
        Kind::Union => unite(options, lens, limits, look),
        Kind::Diff | Kind::Inter => Ok(narrow(kind, options, lens, look)?.into_zset(limits)?),
    }
}

/// The length of each input; fails if one is of another type.
fn lens(ctx: &mut Context<'_>, keys: Args<'_>, count: usize) -> Result<Vec<usize>, CommandError> {
    let len = |key| match ctx.db.read(key) {
        Some(view) => Ok(Input::of(view.value)?.len()),
        None => Ok(0),
    };
    keys.iter().take(count).map(len).collect()
}

/// Shows an input of this shard.
fn look_here(ctx: &mut Context<'_>, key: &[u8], visit: Visit<'_>) -> Outcome {
    match ctx.db.lookup(key) {
        Some(view) => visit(Input::of(view.value)?),
        None => Ok(()),
    }
}

/// Combines inputs that are all here; the result is replied, unless it is to be stored.
fn whole(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    form: Form,
    stored: Option<(&[u8], Event)>,
) -> Outcome {
    let (count, keys) = keys(args, form)?;
    let destination = stored.map(|(key, _)| key);
    if let Some(Work::Combination(job)) = ctx.work() {
        return job.go_on(ctx, keys, destination);
    }
    let lens = lens(ctx, keys, count)?;
    let options = Options::parse(keys, count, form)?;
    let limits = form.result_limits(&limits(ctx));
    let weight = match form.kind {
        Kind::Union => lens.iter().copied().fold(0, usize::saturating_add),
        Kind::Diff => lens[0].saturating_mul(count),
        Kind::Inter => lens.iter().min().map_or(0, |len| len.saturating_mul(count)),
    };
    let missing = lens.iter().filter(|len| **len == 0).count();
    if ctx.in_slices(weight, (count - missing, missing))? {
        let target = Target::Zset(Zset::large(&limits)?, limits);
        let event = stored.map(|(_, event)| event);
        let job = Job::here(form.kind, options, target, event, &lens);
        return job.go_on(ctx, keys, destination);
    }
    let mut look = |input, visit: Visit<'_>| look_here(ctx, &keys[input], visit);
    let result = combine(form.kind, &options, &lens, &limits, &mut look)?;
    match stored {
        Some((key, event)) => store(ctx, key, result, event),
        None => {
            reply_members(&mut ctx.reply, result.view().iter(), options.scores);
            Ok(())
        }
    }
}

fn whole_reply(ctx: &mut Context<'_>, args: Args<'_>, form: Form) -> Outcome {
    whole(ctx, args, form, None)
}

/// The result, with what was read of the inputs; nothing if more is to be done first.
fn decide(
    decision: &mut Decision<'_>,
    form: Form,
    stored: Option<(&[u8], Event)>,
) -> Result<Option<(Zset, Options)>, CommandError> {
    let (count, keys) = keys(decision.args, form)?;
    let keys_only = keys.first(count);
    let destination = stored.map(|(key, _)| key);
    if let Some(job) = taken_up(decision) {
        job.depart(decision, keys_only, destination)?;
        return Ok(None);
    }
    check_types(decision)?;
    let options = Options::parse(keys, count, form)?;
    let limits = limits_away(decision.settings, decision.seed);
    match known(decision, form.kind, keys_only)? {
        Known::Asked => return Ok(None),
        Known::Apart(lens) => {
            let limits = form.result_limits(&limits);
            let target = Target::Zset(Zset::large(&limits)?, limits);
            let event = stored.map(|(_, event)| event);
            let job = Job::apart(decision, form.kind, options, target, event, &lens);
            job.depart(decision, keys_only, destination)?;
            return Ok(None);
        }
        Known::Enough => {}
    }
    let inputs = Copied::all(decision.read, &limits)?;
    let lens = lens_away(decision, &inputs);
    let mut look = |input: usize, visit: Visit<'_>| look_away(&inputs[input], visit);
    let limits = form.result_limits(&limits);
    let result = combine(form.kind, &options, &lens, &limits, &mut look)?;
    Ok(Some((result, options)))
}

/// The length of each input, also of those that only some members are known of.
fn lens_away(decision: &Decision<'_>, inputs: &[Option<Copied>]) -> Vec<usize> {
    let first = decision.first.iter().map(|read| counted(read));
    let len = |(input, counted): (&Option<Copied>, Option<usize>)| match input {
        Some(input) => counted.unwrap_or(input.zset.view().len()),
        None => 0,
    };
    inputs.iter().zip(first).map(len).collect()
}

fn look_away(input: &Option<Copied>, visit: Visit<'_>) -> Outcome {
    match input {
        Some(input) => visit(Input::Zset(input.zset.view())),
        None => Ok(()),
    }
}

fn decide_reply(decision: &mut Decision<'_>, form: Form) -> Outcome {
    if let Some((result, options)) = decide(decision, form, None)? {
        reply_members(&mut decision.reply, result.view().iter(), options.scores);
    }
    Ok(())
}

fn decide_store(decision: &mut Decision<'_>, form: Form, event: Event) -> Outcome {
    let key = decision.args.get(1).unwrap_or_default();
    if let Some((result, _)) = decide(decision, form, Some((key, event)))? {
        store_elsewhere(decision, key, Made::Zset(result), event);
    }
    Ok(())
}

/// ZINTERCARD's limit; 0 is none.
fn limit(args: Args<'_>, count: usize) -> Result<usize, CommandError> {
    let (mut limit, mut at) = (0, count);
    while let Some(word) = args.get(at) {
        let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
        if !word.eq_ignore_ascii_case(b"limit") {
            return Err(CommandError::Syntax);
        }
        let negative = CommandError::Static("ERR LIMIT can't be negative");
        let number = parse_i64(value).and_then(|number| usize::try_from(number).ok());
        limit = number.ok_or(negative)?;
        at += 2;
    }
    Ok(if limit == 0 { usize::MAX } else { limit })
}

const INTERCARD: Form = Form {
    kind: Kind::Inter,
    name: "zintercard",
    at: 1,
};

/// Nothing is weighed.
pub const PLAIN: Options = Options {
    weights: Vec::new(),
    aggregate: Aggregate::Sum,
    scores: false,
};

fn zintercard(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (count, keys) = keys(args, INTERCARD)?;
    let lens = match ctx.has_work() {
        true => Vec::new(),
        false => lens(ctx, keys, count)?,
    };
    let limit = limit(keys, count)?;
    count_here(ctx, keys.first(count), &lens, limit)
}

fn zintercard_decide(decision: &mut Decision<'_>) -> Outcome {
    let (count, keys) = keys(decision.args, INTERCARD)?;
    if decision.works.is_empty() {
        check_types(decision)?;
    }
    let limit = limit(keys, count)?;
    count_apart(decision, keys.first(count), limit, |decision| {
        let limits = limits_away(decision.settings, decision.seed);
        let inputs = Copied::all(decision.read, &limits)?;
        let lens = lens_away(decision, &inputs);
        let mut look = |input: usize, visit: Visit<'_>| look_away(&inputs[input], visit);
        Ok(narrow(Kind::Inter, &PLAIN, &lens, &mut look)?.len())
    })
}

const ZDIFF: Form = Form {
    kind: Kind::Diff,
    name: "zdiff",
    at: 1,
};
const ZDIFFSTORE: Form = Form {
    kind: Kind::Diff,
    name: "zdiffstore",
    at: 2,
};

fn zdiff(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    whole_reply(ctx, args, ZDIFF)
}

fn zdiff_decide(decision: &mut Decision<'_>) -> Outcome {
    decide_reply(decision, ZDIFF)
}

fn zdiffstore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    whole(ctx, args, ZDIFFSTORE, Some((&args[1], Event::ZDiffStore)))
}

fn zdiffstore_decide(decision: &mut Decision<'_>) -> Outcome {
    decide_store(decision, ZDIFFSTORE, Event::ZDiffStore)
}

const ZINTER: Form = Form {
    kind: Kind::Inter,
    name: "zinter",
    at: 1,
};
const ZINTERSTORE: Form = Form {
    kind: Kind::Inter,
    name: "zinterstore",
    at: 2,
};

fn zinter(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    whole_reply(ctx, args, ZINTER)
}

fn zinter_decide(decision: &mut Decision<'_>) -> Outcome {
    decide_reply(decision, ZINTER)
}

fn zinterstore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    whole(ctx, args, ZINTERSTORE, Some((&args[1], Event::ZInterStore)))
}

fn zinterstore_decide(decision: &mut Decision<'_>) -> Outcome {
    decide_store(decision, ZINTERSTORE, Event::ZInterStore)
}

const ZUNION: Form = Form {
    kind: Kind::Union,
    name: "zunion",
    at: 1,
};
const ZUNIONSTORE: Form = Form {
    kind: Kind::Union,
    name: "zunionstore",
    at: 2,
};

fn zunion(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    whole_reply(ctx, args, ZUNION)
}

fn zunion_decide(decision: &mut Decision<'_>) -> Outcome {
    decide_reply(decision, ZUNION)
}

fn zunionstore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    whole(ctx, args, ZUNIONSTORE, Some((&args[1], Event::ZUnionStore)))
}

fn zunionstore_decide(decision: &mut Decision<'_>) -> Outcome {
    decide_store(decision, ZUNIONSTORE, Event::ZUnionStore)
}
