//! HRANDFIELD: fields chosen by chance, each with the same.

use super::looking;
use crate::command::args::{integer, random_count};
use crate::command::sets::reply_element;
use crate::command::spec::{Arity, Command, flags};
use crate::command::{Args, Context, Outcome, Row};
use crate::error::CommandError;
use crate::resp::{Protocol, Reply};
use crate::types::{Random, UnixMs};
use crate::value::{Element, Field, Hash, HashRef, below};
use std::collections::BTreeMap;

pub static COMMANDS: &[Row] = &[Command {
    since: "6.2.0",
    complexity: "O(N) with N the number of fields replied",
    flags: flags::READONLY,
    tips: &["nondeterministic_output"],
    ..looking(
        "hrandfield",
        "key [count [WITHVALUES]]",
        "Fields chosen at random; a negative count may repeat them.",
        Arity::AtLeast(2),
        hrandfield,
    )
}];

fn hrandfield(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, now) = (&args[1], ctx.db.now());
    let asked = match (args.get(2), args.get(3)) {
        (None, _) => None,
        (Some(count), option) => Some(parse(integer(count)?, option, args.len())?),
    };
    ctx.db.expire_fields(key, std::iter::empty());
    let hash = ctx.db.read_as::<Hash>(key)?;
    let hash = hash.filter(|hash| hash.iter().any(|field| !field.is_due(now)));
    let (random, reply) = (&mut *ctx.random, &mut ctx.reply);
    match (asked, hash) {
        (None, None) => reply.null(),
        (None, Some(hash)) => reply_element(reply, choose(hash, random, now).name),
        (Some(_), None) => reply.array(0),
        (Some((count, values)), Some(hash)) if count < 0 => {
            array(reply, count.unsigned_abs() as usize, values);
            for _ in 0..count.unsigned_abs() {
                let field = choose(hash, random, now);
                pair(reply, field.name, values.then_some(field.value));
                reply.complete()?;
            }
        }
        (Some((count, values)), Some(hash)) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX);
            different(reply, hash, count, values, random, now)?;
        }
    }
    Ok(())
}

/// The count, and whether values are wanted.
fn parse(count: i64, option: Option<&[u8]>, len: usize) -> Result<(i64, bool), CommandError> {
    if count == i64::MIN {
        // This before anything else that may be wrong.
        return random_count(count).map(|count| (count, false));
    }
    let values = option.is_some_and(|option| option.eq_ignore_ascii_case(b"WITHVALUES"));
    if len > 4 || option.is_some() && !values {
        return Err(CommandError::Syntax);
    }
    let half = i64::MAX / 2;
    if values && !(-half..=half).contains(&count) {
        return Err(CommandError::Static("ERR value is out of range"));
    }
    Ok((random_count(count)?, values))
}

/// A field that is not due; there is one.
fn choose<'a>(hash: HashRef<'a>, random: &mut Random, now: UnixMs) -> Field<'a> {
    loop {
        let field = hash.choose(random);
        if !field.is_due(now) {
            return field;
        }
    }
}

/// Replies `count` different fields, or all if there are not so many.
fn different(
    reply: &mut Reply<'_>,
    hash: HashRef<'_>,
    count: usize,
    values: bool,
    random: &mut Random,
    now: UnixMs,
) -> Outcome {
    if count <= hash.len() / 4 && hash.earliest().is_none_or(|at| at > now) {
        let mut seen = BTreeMap::new();
        while seen.len() < count {
            let field = hash.choose(random);
            seen.insert(field.name.with_bytes(<[u8]>::to_vec), field.value);
        }
        array(reply, count, values);
        for (name, value) in &seen {
            pair(reply, Element::Bytes(name), values.then_some(*value));
        }
        return Ok(());
    }
    let mut fields = Vec::new();
    fields
        .try_reserve_exact(hash.len())
        .map_err(|_| CommandError::OutOfMemory)?;
    fields.extend(hash.iter().filter(|field| !field.is_due(now)));
    if count < fields.len() {
        for at in 0..count {
            let other = at + below(random, fields.len() - at);
            fields.swap(at, other);
        }
        fields.truncate(count);
    }
    array(reply, fields.len(), values);
    for field in &fields {
        pair(reply, field.name, values.then_some(field.value));
    }
    Ok(())
}

/// RESP3 has an array for each pair, RESP2 one for all.
fn array(reply: &mut Reply<'_>, pairs: usize, values: bool) {
    let flat = values && reply.protocol() == Protocol::Resp2;
    reply.array(if flat { pairs * 2 } else { pairs });
}

fn pair(reply: &mut Reply<'_>, name: Element<'_>, value: Option<Element<'_>>) {
    if value.is_some() && reply.protocol() == Protocol::Resp3 {
        reply.array(2);
    }
    reply_element(reply, name);
    if let Some(value) = value {
        reply_element(reply, value);
    }
}
