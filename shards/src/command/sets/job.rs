//! Intersections, unions and differences of sets that are all on one shard, step by
//! step.
//!
//! A union is built up as a set of its own. For an intersection or a difference the
//! members of one set, the smallest or the first, are gone through some at a time:
//! they are copied, as the doors show one key at a time, and the other sets are asked
//! for each.

use super::reply_element;
use crate::command::apart::Members;
use crate::command::{Args, Context, Outcome, Pieces, Work};
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::Ttl;
use crate::value::{Collection, Set, SetPlace};

/// What is made of the sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Intersection,
    Union,
    Difference,
}

impl Operation {
    fn event(self) -> Event {
        match self {
            Self::Intersection => Event::SInterStore,
            Self::Union => Event::SUnionStore,
            Self::Difference => Event::SDiffStore,
        }
    }
}

/// How far an operation has come.
#[derive(Debug)]
pub struct Job {
    operation: Operation,
    /// The set that is gone through, and how far.
    base: usize,
    at: SetPlace,
    found: Found,
    /// How far the result has been replied.
    replied: Option<SetPlace>,
}

/// The result.
#[derive(Debug)]
enum Found {
    Elements(Pieces),
    Set(Set),
}

/// Runs the operation on the keys: replies the result, or stores it.
pub fn run(
    ctx: &mut Context<'_>,
    operation: Operation,
    keys: Args<'_>,
    destination: Option<&[u8]>,
) -> Outcome {
    match ctx.work() {
        Some(Work::Sets(job)) => return job.go_on(ctx, keys, destination),
        Some(Work::Reply(pieces, number)) => return ctx.reply_pieces(pieces, number),
        _ => {}
    }
    // Every key's type is looked at, whatever the others hold.
    let (mut smallest, mut sum, mut first, mut hits) = ((usize::MAX, 0), 0_usize, 0, 0);
    for (index, key) in keys.iter().enumerate() {
        let set = ctx.db.read_as::<Set>(key)?;
        hits += usize::from(set.is_some());
        let len = set.map_or(0, |set| set.len());
        smallest = smallest.min((len, index));
        sum = sum.saturating_add(len);
        first = if index == 0 { len } else { first };
    }
    let (base, weight) = match operation {
        Operation::Union => (0, sum),
        Operation::Intersection => (smallest.1, smallest.0.saturating_mul(keys.len())),
        Operation::Difference => (0, first.saturating_mul(keys.len())),
    };
    let mut job = Job {
        operation,
        base,
        at: SetPlace::default(),
        found: match (operation, destination) {
            (Operation::Union, _) | (_, Some(_)) => Found::Set(Set::new()),
            _ => Found::Elements(Pieces::default()),
        },
        replied: None,
    };
    if ctx.in_slices(weight, (hits, keys.len() - hits))? {
        return Box::new(job).go_on(ctx, keys, destination);
    }
    while job.combine_some(ctx, keys, usize::MAX)? {}
    match (job.found, destination) {
        (Found::Set(set), Some(key)) => store(ctx, key, set, operation),
        (Found::Set(set), None) => {
            ctx.reply.set(set.view().len());
            let members = set.view().iter();
            members.for_each(|member| reply_element(&mut ctx.reply, member));
            Ok(())
        }
        (Found::Elements(found), _) => {
            ctx.reply.set(found.len);
            found.reply_elements(&mut ctx.reply);
            Ok(())
        }
    }
}

impl Job {
    /// Takes a slice of what is to be done.
    fn go_on(
        mut self: Box<Self>,
        ctx: &mut Context<'_>,
        keys: Args<'_>,
        destination: Option<&[u8]>,
    ) -> Outcome {
        let step = ctx.step();
        if self.replied.is_none() && self.combine_some(ctx, keys, step)? {
            return ctx.leave(Work::Sets(self));
        }
        match (&self.found, destination) {
            (Found::Set(_), None) => return self.reply_some(ctx),
            (Found::Elements(found), _) => ctx.reply.set(found.len),
            (Found::Set(_), Some(_)) => {}
        }
        match (self.found, destination) {
            (Found::Elements(found), _) => ctx.reply_pieces(found, 0),
            (Found::Set(set), key) => store(ctx, key.unwrap_or_default(), set, self.operation),
        }
    }

    /// Goes on with about `budget` members; whether there are more.
    fn combine_some(
        &mut self,
        ctx: &mut Context<'_>,
        keys: Args<'_>,
        budget: usize,
    ) -> Result<bool, CommandError> {
        match self.operation {
            Operation::Union => self.unite_some(ctx, keys, budget),
            Operation::Intersection => self.narrow_some(ctx, keys, budget, true),
            Operation::Difference => self.narrow_some(ctx, keys, budget, false),
        }
    }

    fn unite_some(
        &mut self,
        ctx: &mut Context<'_>,
        keys: Args<'_>,
        budget: usize,
    ) -> Result<bool, CommandError> {
        let growth = ctx.growth();
        let Found::Set(union) = &mut self.found else {
            return Ok(false);
        };
        let mut len = 0;
        if let Some(set) = ctx.db.lookup_as::<Set>(&keys[self.base])? {
            len = set.len();
            set.walk(&mut self.at, budget, |member| {
                let added = member.with_bytes(|member| union.add(member, &growth));
                added.map(drop)
            })?;
        }
        if self.at.visited >= len {
            (self.base, self.at) = (self.base + 1, SetPlace::default());
        }
        Ok(self.base < keys.len())
    }

    fn narrow_some(
        &mut self,
        ctx: &mut Context<'_>,
        keys: Args<'_>,
        budget: usize,
        common: bool,
    ) -> Result<bool, CommandError> {
        let budget = budget.div_ceil(keys.len());
        let mut some = Members::default();
        let mut len = 0;
        if let Some(set) = ctx.db.lookup_as::<Set>(&keys[self.base])? {
            len = set.len();
            set.walk(&mut self.at, budget, |member| {
                member.with_bytes(|member| some.push(member))
            })?;
        }
        for (index, key) in keys.iter().enumerate() {
            if index == self.base || some.len() == 0 {
                continue;
            }
            match ctx.db.lookup_as::<Set>(key)? {
                Some(set) => some.retain(|member| set.contains(member) == common),
                None if common => some = Members::default(),
                None => {}
            }
        }
        let (protocol, growth) = (ctx.reply.protocol(), ctx.growth());
        for member in some.iter() {
            match &mut self.found {
                Found::Elements(found) => found.bulk(protocol, member)?,
                Found::Set(found) => drop(found.add(member, &growth)?),
            }
        }
        Ok(self.at.visited < len)
    }

    /// Replies some members of a result that is a set.
    fn reply_some(mut self: Box<Self>, ctx: &mut Context<'_>) -> Outcome {
        let Found::Set(set) = &self.found else {
            return Ok(());
        };
        let view = set.view();
        if self.replied.is_none() {
            ctx.reply.set(view.len());
        }
        let mut at = self.replied.unwrap_or_default();
        let room = ctx.settings.long_replies.piece;
        let full = ctx.reply.written().saturating_add(room);
        let end = at.visited.saturating_add(ctx.long_step());
        while at.visited < end.min(view.len()) && ctx.reply.written() < full {
            let reply = &mut ctx.reply;
            view.walk(&mut at, ctx.settings.slices.step, |member| {
                reply_element(reply, member);
                Ok::<_, CommandError>(())
            })?;
        }
        if at.visited < view.len() {
            self.replied = Some(at);
            return ctx.leave(Work::Sets(self));
        }
        if let Found::Set(set) = self.found {
            ctx.db.bury([set]);
        }
        Ok(())
    }
}

fn store(ctx: &mut Context<'_>, key: &[u8], set: Set, operation: Operation) -> Outcome {
    let len = set.view().len();
    if len > 0 {
        ctx.db.put_collection(key, set, Ttl::Clear)?;
        ctx.changed(key, operation.event());
    } else if ctx.db.delete(key) {
        ctx.changed(key, Event::Del);
    }
    ctx.reply.integer(len as i64);
    Ok(())
}
