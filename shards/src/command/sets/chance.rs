//! SPOP and SRANDMEMBER: members chosen by chance, each with the same.
//!
//! Few of many are drawn one by one, drawing again what came twice; else all
//! members are laid out and the first of them shuffled.

use super::reply_element;
use crate::command::args::{integer, random_count};
use crate::command::choosing::{Choosing, replied, weight};
use crate::command::spec::{Arity, Group, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run, Work};
use crate::effects::Event;
use crate::error::{CommandError, OutOfMemory};
use crate::number::parse_i64;
use crate::types::Random;
use crate::value::{Collection, Element, Set, SetPlace, SetRef, below};
use std::collections::BTreeSet;
use std::convert::Infallible;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "spop",
        syntax: "key [count]",
        summary: "Remove members chosen at random and reply them.",
        since: "1.0.0",
        complexity: "O(1) for one member, else O(N) with N the number of them",
        group: Group::Set,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RW", "access", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        slices: InSlices::IfCounted,
        tips: &["nondeterministic_output"],
        history: &[("3.2.0", "Takes a count.")],
        run: Run::OneShard(spop),
        ..ROW
    },
    Row {
        name: "srandmember",
        syntax: "key [count]",
        summary: "Members chosen at random; a negative count may repeat them.",
        since: "1.0.0",
        complexity: "O(1) for one member, else O(N) with N the number of them",
        group: Group::Set,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        slices: InSlices::IfCounted,
        tips: &["nondeterministic_output"],
        history: &[("2.6.0", "Takes a count.")],
        run: Run::OneShard(srandmember),
        ..ROW
    },
];

const NOT_POSITIVE: CommandError =
    CommandError::Static("ERR value is out of range, must be positive");

fn spop(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let key = &args[1];
    let count = match args.get(2) {
        Some(count) => {
            let count = parse_i64(count).and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(NOT_POSITIVE)?)
        }
        None => None,
    };
    if let Some(Work::Popping(popping)) = ctx.work() {
        return popping.go_on(ctx, key);
    }
    if let Some(count) = count.filter(|count| *count > ctx.at_once()) {
        let len = ctx.db.lookup_as::<Set>(key)?.map_or(0, SetRef::len);
        let count = count.min(len);
        if ctx.in_slices(count, (0, 0))? {
            ctx.reply.set(count);
            let popping = Popping {
                choosing: Choosing::different(&ctx.growth(), count, (len, true))?,
                gone: SetPlace::default(),
            };
            return Box::new(popping).go_on(ctx, key);
        }
    }
    let random = &mut ctx.chance.choices;
    let pop = |set: &mut Set| {
        let drawn = draw(set.view(), count.unwrap_or(1), random)?;
        let popped: Result<Vec<Vec<u8>>, OutOfMemory> = drawn.into_iter().map(copied).collect();
        let popped = popped?;
        for member in &popped {
            set.remove(member);
        }
        Ok((popped, set.is_empty()))
    };
    let (popped, emptied) = ctx.db.try_edit(key, pop)?.unwrap_or_default();
    if !popped.is_empty() {
        ctx.changed_times(key, Event::SPop, popped.len());
        if emptied {
            ctx.propagate(&[b"DEL", key]);
        } else {
            let members = popped.iter().map(Vec::as_slice);
            let parts: Vec<&[u8]> = [&b"SREM"[..], key].into_iter().chain(members).collect();
            ctx.propagate(&parts);
        }
    }
    match (count, popped.first()) {
        (None, None) => ctx.reply.null(),
        (None, Some(member)) => ctx.reply.bulk(member),
        (Some(_), _) => {
            ctx.reply.set(popped.len());
            popped.iter().for_each(|member| ctx.reply.bulk(member));
        }
    }
    Ok(())
}

fn srandmember(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let count = match args.len() {
        2 => None,
        3 => Some(random_count(integer(&args[2])?)?),
        _ => return Err(CommandError::Syntax),
    };
    let key = &args[1];
    if let Some(Work::Members(choosing)) = ctx.work() {
        return go_on(ctx, key, choosing);
    }
    let Some(count) = count else {
        match ctx.db.read_as::<Set>(key)? {
            None => ctx.reply.null(),
            Some(set) => reply_element(&mut ctx.reply, set.choose(&mut ctx.chance.choices)),
        }
        return Ok(());
    };
    let at_once = ctx.at_once();
    let len = ctx.db.read_as::<Set>(key)?.map_or(0, SetRef::len);
    let (replied, weight) = (replied(count, len), weight(count, len));
    if len > 0 && weight > at_once && ctx.in_slices(weight, (1, 0))? {
        ctx.reply.array(replied);
        let choosing = match count < 0 {
            true => Choosing::again(replied),
            false => Choosing::different(&ctx.growth(), replied, (len, false))?,
        };
        return go_on(ctx, key, Box::new(choosing));
    }
    let Some(set) = ctx.db.lookup_as::<Set>(key)? else {
        ctx.reply.array(0);
        return Ok(());
    };
    ctx.reply.array(replied);
    let reply = &mut ctx.reply;
    let random = &mut ctx.chance.choices;
    if count < 0 {
        for _ in 0..replied {
            reply_element(reply, set.choose(random));
            reply.complete()?;
        }
    } else if replied == len {
        set.iter().for_each(|member| reply_element(reply, member));
    } else {
        let drawn = draw(set, replied, random)?;
        drawn
            .into_iter()
            .for_each(|member| reply_element(reply, member));
    }
    Ok(())
}

/// SPOP of many members: they are chosen and replied, then they go.
#[derive(Debug)]
pub struct Popping {
    choosing: Choosing,
    /// Members that have gone.
    gone: SetPlace,
}

/// A slice of SRANDMEMBER.
fn go_on(ctx: &mut Context<'_>, key: &[u8], mut choosing: Box<Choosing>) -> Outcome {
    match choose_some(ctx, key, &mut choosing)? {
        true => ctx.leave(Work::Members(choosing)),
        false => Ok(()),
    }
}

/// Replies some members; whether there are more.
fn choose_some(
    ctx: &mut Context<'_>,
    key: &[u8],
    choosing: &mut Choosing,
) -> Result<bool, CommandError> {
    let growth = ctx.growth();
    let mut slice = choosing.slice(ctx);
    let Some(set) = ctx.db.lookup_as::<Set>(key)? else {
        return Ok(false);
    };
    let (random, reply) = (&mut ctx.chance.choices, &mut ctx.reply);
    choosing.choose_some(set, (&mut slice, &growth, random), |member, _| {
        reply_element(reply, member);
        reply.written()
    })?;
    choosing.replied.note(slice, ctx)
}

impl Popping {
    fn go_on(mut self: Box<Self>, ctx: &mut Context<'_>, key: &[u8]) -> Outcome {
        if self.choosing.replied.is_over() {
            return self.remove_some(ctx, key);
        }
        choose_some(ctx, key, &mut self.choosing)?;
        ctx.leave(Work::Popping(self))
    }

    /// Has some of the members go that were chosen; all of them are replied, so nothing
    /// can fail any more.
    fn remove_some(mut self: Box<Self>, ctx: &mut Context<'_>, key: &[u8]) -> Outcome {
        let count = self.choosing.replied.of;
        let Some(chosen) = self.choosing.chosen() else {
            ctx.db.delete_emptied(key);
            ctx.changed_times(key, Event::SPop, count);
            ctx.propagate(&[b"DEL", key]);
            return Ok(());
        };
        // What is flat is changed on a copy, for which there may be no memory: at once.
        let step = match ctx.db.lookup_as::<Set>(key)? {
            Some(SetRef::Table(_)) => ctx.step(),
            _ => usize::MAX,
        };
        let (view, from) = (chosen.view(), self.gone.visited);
        ctx.db.edit(key, |set: &mut Set| {
            let Ok(()) = view.walk(&mut self.gone, step, |member| {
                member.with_bytes(|member| set.remove(member));
                Ok::<_, Infallible>(())
            });
        })?;
        if ctx.is_recording() {
            let some = view.iter_from(from).take(step);
            let texts: Vec<Vec<u8>> = some.map(|it| it.with_bytes(<[u8]>::to_vec)).collect();
            let members = texts.iter().map(Vec::as_slice);
            let parts: Vec<&[u8]> = [&b"SREM"[..], key].into_iter().chain(members).collect();
            ctx.propagate(&parts);
        }
        if self.gone.visited < view.len() {
            return ctx.leave(Work::Popping(self));
        }
        ctx.changed_times(key, Event::SPop, count);
        // What is recorded stands in its place.
        ctx.propagate(&[]);
        ctx.db.bury(self.choosing.into_chosen());
        Ok(())
    }
}

/// `count` different members, or all if there are not so many.
fn draw<'a>(
    set: SetRef<'a>,
    count: usize,
    random: &mut Random,
) -> Result<Vec<Element<'a>>, OutOfMemory> {
    let count = count.min(set.len());
    let mut drawn = Vec::new();
    if count == 1 {
        drawn.push(set.choose(random));
    } else if count > set.len() / 4 {
        drawn.try_reserve_exact(set.len())?;
        drawn.extend(set.iter());
        for at in 0..count {
            let other = at + below(random, drawn.len() - at);
            drawn.swap(at, other);
        }
        drawn.truncate(count);
    } else {
        let mut seen = BTreeSet::new();
        while seen.len() < count {
            seen.insert(set.choose(random));
        }
        drawn.extend(seen);
    }
    Ok(drawn)
}

/// The text of a member, apart from its set.
fn copied(member: Element<'_>) -> Result<Vec<u8>, OutOfMemory> {
    member.with_bytes(|member| {
        let mut copy = Vec::new();
        copy.try_reserve_exact(member.len())?;
        copy.extend_from_slice(member);
        Ok(copy)
    })
}
