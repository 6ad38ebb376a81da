//! Commands on strings that are numbers.

use super::text_of;
use crate::command::args::integer;
use crate::command::spec::{Arity, Command, Group, KeySpec, flags};
use crate::command::{Args, Context, Outcome, Row, Run};
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::StringRef;
use crate::value::LongDouble;

pub static COMMANDS: &[Row] = &[
    Command {
        name: "decr",
        syntax: "key",
        summary: "Lower a number by one; a missing key starts at zero.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        tips: &[],
        subcommands: &[],
        run: Run::OneShard(decr),
    },
    Command {
        name: "decrby",
        syntax: "key decrement",
        summary: "Lower a number; a missing key starts at zero.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        tips: &[],
        subcommands: &[],
        run: Run::OneShard(decrby),
    },
    Command {
        name: "incr",
        syntax: "key",
        summary: "Raise a number by one; a missing key starts at zero.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        tips: &[],
        subcommands: &[],
        run: Run::OneShard(incr),
    },
    Command {
        name: "incrby",
        syntax: "key increment",
        summary: "Raise a number; a missing key starts at zero.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        tips: &[],
        subcommands: &[],
        run: Run::OneShard(incrby),
    },
    Command {
        name: "incrbyfloat",
        syntax: "key increment",
        summary: "Raise a floating-point number; a missing key starts at zero.",
        since: "2.6.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        tips: &[],
        subcommands: &[],
        run: Run::OneShard(incrbyfloat),
    },
];

fn incr(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    add(ctx, key, 1)
}

fn decr(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    add(ctx, key, -1)
}

fn incrby(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, increment] = args.exactly()?;
    add(ctx, key, integer(increment)?)
}

fn decrby(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, decrement] = args.exactly()?;
    let increment = integer(decrement)?
        .checked_neg()
        .ok_or(CommandError::DecrementOverflow)?;
    add(ctx, key, increment)
}

fn add(ctx: &mut Context<'_>, key: &[u8], increment: i64) -> Outcome {
    let number = match ctx.db.lookup_string(key)? {
        Some(StringRef::Int(number)) => number,
        Some(StringRef::Bytes(bytes)) => integer(bytes)?,
        None => 0,
    };
    let sum = number
        .checked_add(increment)
        .ok_or(CommandError::IncrementOverflow)?;
    ctx.db.set_int(key, sum);
    ctx.changed(key, Event::IncrBy);
    ctx.reply.integer(sum);
    Ok(())
}

fn incrbyfloat(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, increment] = args.exactly()?;
    let mut buffer = itoa::Buffer::new();
    let number = match ctx.db.lookup_string(key)? {
        Some(string) => LongDouble::parse(text_of(string, &mut buffer)),
        None => Some(LongDouble::from(0)),
    };
    let number = number.ok_or(CommandError::NotAFloat)?;
    let increment = LongDouble::parse(increment).ok_or(CommandError::NotAFloat)?;
    let sum = number.add(increment).filter(LongDouble::is_finite);
    let text = sum.ok_or(CommandError::FloatOverflow)?.to_text();
    ctx.db.set_raw(key, text.as_bytes());
    ctx.changed(key, Event::IncrByFloat);
    // Another machine may add otherwise.
    ctx.propagate(&[b"SET", key, text.as_bytes(), b"KEEPTTL"]);
    ctx.reply.bulk(text.as_bytes());
    Ok(())
}
