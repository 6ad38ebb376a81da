//! SPOP and SRANDMEMBER: members chosen by chance, each with the same.
//!
//! Few of many are drawn one by one, drawing again what came twice; else all
//! members are laid out and the first of them shuffled.

use super::reply_element;
use crate::command::args::{integer, random_count};
use crate::command::spec::{Arity, Group, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run};
use crate::effects::Event;
use crate::error::{CommandError, OutOfMemory};
use crate::number::parse_i64;
use crate::types::Random;
use crate::value::{Collection, Element, Set, SetRef, below};
use std::collections::BTreeSet;

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
    let set = ctx.db.read_as::<Set>(&args[1])?;
    match (count, set) {
        (None, None) => ctx.reply.null(),
        (None, Some(set)) => reply_element(&mut ctx.reply, set.choose(&mut ctx.chance.choices)),
        (Some(_), None) => ctx.reply.array(0),
        (Some(count), Some(set)) if count < 0 => {
            ctx.reply.array(count.unsigned_abs() as usize);
            for _ in 0..count.unsigned_abs() {
                reply_element(&mut ctx.reply, set.choose(&mut ctx.chance.choices));
                ctx.reply.complete()?;
            }
        }
        (Some(count), Some(set)) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            if count >= set.len() {
                ctx.reply.array(set.len());
                for member in set.iter() {
                    reply_element(&mut ctx.reply, member);
                }
                return Ok(());
            }
            let drawn = draw(set, count, &mut ctx.chance.choices)?;
            ctx.reply.array(drawn.len());
            for member in drawn {
                reply_element(&mut ctx.reply, member);
            }
        }
    }
    Ok(())
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
