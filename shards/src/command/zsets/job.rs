//! Unions, intersections and differences of inputs that are all on one shard and have
//! many members, in slices. What has few is combined in one piece ([`super::combine`]).
//!
//! Of an intersection or a difference some members at a time are gone through, of the
//! smallest input or the first, and the others are asked for each.

use super::combine::{Form, Kind, Options, Rows};
use super::inputs::{Input, store};
use super::{members_header, reply_found};
use crate::command::{Args, Context, Outcome, Work};
use crate::effects::Event;
use crate::error::{CommandError, OutOfMemory};
use crate::value::{Collection, SetPlace, Zset, ZsetLimits};

/// How far an operation has come.
#[derive(Debug)]
pub struct Job {
    kind: Kind,
    options: Options,
    limits: ZsetLimits,
    /// The inputs as they are gone through.
    order: Vec<usize>,
    /// At this one of them, and how far in it.
    at: usize,
    place: SetPlace,
    result: Zset,
    /// So many members of it have been replied.
    replied: Option<usize>,
}

impl Job {
    /// Nothing is done yet; `lens` are the lengths of the inputs.
    pub fn new(
        form: Form,
        options: Options,
        lens: &[usize],
        limits: ZsetLimits,
    ) -> Result<Self, OutOfMemory> {
        let mut order: Vec<usize> = (0..lens.len()).collect();
        if form.kind != Kind::Diff {
            order.sort_by_key(|input| lens[*input]);
        }
        Ok(Self {
            kind: form.kind,
            options,
            limits,
            order,
            at: 0,
            place: SetPlace::default(),
            result: Zset::large(&limits)?,
            replied: None,
        })
    }

    /// Takes a slice of it. The result is replied, unless it is to be stored.
    pub fn go_on(
        mut self: Box<Self>,
        ctx: &mut Context<'_>,
        keys: Args<'_>,
        stored: Option<(&[u8], Event)>,
    ) -> Outcome {
        if self.replied.is_none() {
            let step = ctx.step();
            let more = match self.kind {
                Kind::Union => self.unite_some(ctx, keys, step)?,
                Kind::Diff | Kind::Inter => self.narrow_some(ctx, keys, step)?,
            };
            if more {
                return ctx.leave(Work::Zsets(self));
            }
        }
        match stored {
            Some((key, event)) => {
                let result = self.result.fit(&self.limits)?;
                store(ctx, key, result, event)
            }
            None => self.reply_some(ctx),
        }
    }

    fn unite_some(
        &mut self,
        ctx: &mut Context<'_>,
        keys: Args<'_>,
        budget: usize,
    ) -> Result<bool, CommandError> {
        let input = self.order[self.at];
        let (options, limits) = (&self.options, &self.limits);
        let union = &mut self.result;
        let mut len = 0;
        if let Some(view) = ctx.db.lookup(&keys[input]) {
            let it = Input::of(view.value)?;
            len = it.len();
            it.walk(&mut self.place, budget, |member, score| {
                let score = options.weighed_score(input, score);
                let sum = |old: Option<f64>| Some(options.with(old, score));
                let updated = member.with_bytes(|member| union.update(member, limits, sum));
                updated.map(drop)
            })?;
        }
        if self.place.visited >= len {
            (self.at, self.place) = (self.at + 1, SetPlace::default());
        }
        Ok(self.at < self.order.len())
    }

    fn narrow_some(
        &mut self,
        ctx: &mut Context<'_>,
        keys: Args<'_>,
        budget: usize,
    ) -> Result<bool, CommandError> {
        let budget = budget.div_ceil(self.order.len());
        let mut rows = Rows::default();
        let mut len = 0;
        for (nth, input) in self.order.iter().copied().enumerate() {
            if nth > 0 && rows.len() == 0 {
                break;
            }
            let view = ctx.db.lookup(&keys[input]);
            let it = view.map(|view| Input::of(view.value)).transpose()?;
            match it {
                Some(it) if nth == 0 => {
                    len = it.len();
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
        rows.add_to(&mut self.result, &self.limits)?;
        Ok(self.place.visited < len)
    }

    fn reply_some(mut self: Box<Self>, ctx: &mut Context<'_>) -> Outcome {
        let view = self.result.view();
        let scores = self.options.scores;
        if self.replied.is_none() {
            members_header(&mut ctx.reply, view.len(), scores);
        }
        let from = self.replied.unwrap_or(0);
        let room = ctx.settings.long_replies.piece;
        let full = ctx.reply.written().saturating_add(room);
        let end = from.saturating_add(ctx.long_step()).min(view.len());
        let mut next = from;
        for found in view.range(from..end, false) {
            if ctx.reply.written() >= full {
                break;
            }
            reply_found(&mut ctx.reply, found, scores);
            next += 1;
        }
        if next < view.len() {
            self.replied = Some(next);
            return ctx.leave(Work::Zsets(self));
        }
        ctx.db.bury([self.result]);
        Ok(())
    }
}
