//! XTRIM, and the trimming that XADD asks for.

use super::options::{Options, References, Trimming};
use crate::command::spec::{Arity, Group, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run, Work};
use crate::effects::Event;
use crate::error::CommandError;
use crate::value::Stream;
use crate::value::stream::{IdText, StreamId, Trim, TrimTo};

pub static COMMANDS: &[Row] = &[Row {
    name: "xtrim",
    syntax: "key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]",
    summary: "Remove entries at the beginning of a stream, all but so many or those before an id.",
    since: "5.0.0",
    complexity: "O(N) with N the number of entries removed; whole nodes of them are quick",
    history: &[("6.2.0", "Added MINID and LIMIT.")],
    group: Group::Stream,
    arity: Arity::AtLeast(4),
    keys: &[KeySpec::first(&["RW", "delete"])],
    flags: flags::WRITE,
    slices: InSlices::IfMuch,
    tips: &["nondeterministic_output"],
    run: Run::OneShard(xtrim),
    ..ROW
}];

/// A trimming that is under way.
#[derive(Debug)]
pub struct Job {
    trim: Trim,
    /// What was added before.
    pub added: Option<StreamId>,
}

impl Job {
    pub fn new(trimming: &Trimming, references: References) -> Self {
        let trim = Trim::new(trimming.to, trimming.approx, trimming.limit);
        Self {
            trim: trim.with(references),
            added: None,
        }
    }

    /// How many entries have gone.
    pub fn removed(&self) -> u64 {
        self.trim.removed
    }

    /// What comes of it if it is meant so, which is exact.
    pub fn left(&self, stream: &Stream) -> TrimTo {
        stream.trimmed_to(&self.trim)
    }

    /// The budget of a first slice, or of all if there are none, where so many entries
    /// are still to be added.
    ///
    /// # Errors
    /// There are slices, but not now: the request is to be called again.
    pub fn budget(
        &self,
        stream: &Stream,
        added: u64,
        (at_once, step): (usize, usize),
        divisible: bool,
    ) -> Result<usize, CommandError> {
        if at_once == usize::MAX || !stream.trim_exceeds(&self.trim, added, at_once) {
            return Ok(usize::MAX);
        }
        match divisible {
            true => Ok(step),
            false => Err(CommandError::Long),
        }
    }

    /// Goes on, by about as much work as so many elements are; whether there is more.
    pub fn go_on(&mut self, stream: &mut Stream, budget: usize) -> bool {
        stream.trim_some(&mut self.trim, budget)
    }
}

/// The text of a threshold.
pub enum Threshold {
    Number(itoa::Buffer, u64),
    Id(IdText),
}

impl Threshold {
    pub fn new(to: TrimTo) -> Self {
        match to {
            TrimTo::MaxLen(most) => Self::Number(itoa::Buffer::new(), most),
            TrimTo::MinId(id) => Self::Id(id.text()),
        }
    }

    pub fn as_bytes(&mut self) -> &[u8] {
        match self {
            Self::Number(buffer, number) => buffer.format(*number).as_bytes(),
            Self::Id(text) => text.as_bytes(),
        }
    }
}

/// What is left by a trimming that is over, with it.
pub type Over = (Box<Job>, TrimTo);

/// A slice of a trimming; what came of all, if it was the last.
pub fn go_on(
    ctx: &mut Context<'_>,
    key: &[u8],
    mut job: Box<Job>,
) -> Result<Option<Over>, CommandError> {
    let step = ctx.step();
    let change = |stream: &mut Stream| (job.go_on(stream, step), job.left(stream));
    let (more, left) = ctx.db.edit(key, change)?.ok_or(CommandError::NoSuchKey)?;
    if more {
        ctx.leave(Work::Trim(job))?;
        return Ok(None);
    }
    Ok(Some((job, left)))
}

fn xtrim(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let options = Options::of_xtrim(args, ctx.settings)?;
    let trimming = options.trimming.ok_or(CommandError::Syntax)?;
    let key = &args[1];
    if let Some(Work::Trim(job)) = ctx.work() {
        return match go_on(ctx, key, job)? {
            Some((job, left)) => trimmed(ctx, args, &options, (job.removed(), left)),
            None => Ok(()),
        };
    }
    let (slices, divisible) = ((ctx.at_once(), ctx.step()), ctx.cargo.divisible);
    let done = ctx.db.try_edit(key, |stream: &mut Stream| {
        let mut job = Job::new(&trimming, options.references);
        let budget = job.budget(stream, 0, slices, divisible)?;
        let more = job.go_on(stream, budget);
        Ok((more, job.left(stream), job))
    })?;
    match done {
        Some((true, _, job)) => ctx.leave(Work::Trim(Box::new(job))),
        Some((false, left, job)) => trimmed(ctx, args, &options, (job.removed(), left)),
        None => {
            ctx.reply.integer(0);
            Ok(())
        }
    }
}

/// So many entries have gone.
fn trimmed(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    options: &Options,
    (removed, left): (u64, TrimTo),
) -> Outcome {
    let key = &args[1];
    if removed > 0 {
        ctx.changed_times(key, Event::XTrim, removed as usize);
        if ctx.is_recording() && options.trimming.is_some_and(|it| it.approx) {
            let mut left = Threshold::new(left);
            ctx.propagate_words(options.effect(args, None, Some(left.as_bytes())));
        }
    }
    ctx.reply.integer(removed as i64);
    Ok(())
}
