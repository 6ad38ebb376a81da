//! Fields that are numbers.

use super::writing;
use crate::command::args::integer;
use crate::command::spec::{Arity, KeySpec};
use crate::command::{Args, Context, Outcome, Row};
use crate::effects::Event;
use crate::error::CommandError;
use crate::number::parse_i64;
use crate::types::UnixMs;
use crate::value::{Element, FieldTtl, Hash, LongDouble};

const CHANGED: &[KeySpec] = &[KeySpec::first(&["RW", "access", "update"])];

pub static COMMANDS: &[Row] = &[
    Row {
        complexity: "O(1)",
        keys: CHANGED,
        ..writing(
            "hincrby",
            "key field increment",
            "Add to the number a field holds; a missing one starts at zero.",
            Arity::Exactly(4),
            hincrby,
        )
    },
    Row {
        since: "2.6.0",
        complexity: "O(1)",
        keys: CHANGED,
        ..writing(
            "hincrbyfloat",
            "key field increment",
            "Add to the floating-point number a field holds; a missing one starts at zero.",
            Arity::Exactly(4),
            hincrbyfloat,
        )
    },
];

fn hincrby(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    const NO_INTEGER: CommandError = CommandError::Static("ERR hash value is not an integer");
    let [key, name, increment] = args.exactly()?;
    let increment = integer(increment)?;
    ctx.db.drop_due_fields(key, [name].into_iter());
    let hash = ctx.db.lookup_as::<Hash>(key)?;
    let number = match hash.and_then(|hash| hash.find(name)).map(|it| it.value) {
        Some(Element::Int(number)) => number,
        Some(Element::Bytes(text)) => parse_i64(text).ok_or(NO_INTEGER)?,
        None => 0,
    };
    let sum = number
        .checked_add(increment)
        .ok_or(CommandError::IncrementOverflow)?;
    put(ctx, key, name, itoa::Buffer::new().format(sum).as_bytes())?;
    ctx.changed(key, Event::HIncrBy);
    ctx.reply.integer(sum);
    Ok(())
}

/// Sets a field, which keeps its deadline.
fn put(ctx: &mut Context<'_>, key: &[u8], name: &[u8], value: &[u8]) -> Outcome {
    let growth = ctx.growth();
    let set = |hash: &mut Hash| Ok(hash.set(name, value, FieldTtl::Keep, &growth)?);
    ctx.db.edit_or_create(key, set)?;
    Ok(())
}

fn hincrbyfloat(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    const NO_FLOAT: CommandError = CommandError::Static("ERR hash value is not a float");
    const NO_NUMBER: CommandError = CommandError::Static("ERR value is NaN or Infinity");
    let [key, name, increment] = args.exactly()?;
    let increment = LongDouble::parse(increment).ok_or(CommandError::NotAFloat)?;
    if !increment.is_finite() {
        return Err(NO_NUMBER);
    }
    ctx.db.drop_due_fields(key, [name].into_iter());
    let hash = ctx.db.lookup_as::<Hash>(key)?;
    let field = hash.and_then(|hash| hash.find(name));
    let number = match field {
        Some(field) => field.value.with_bytes(LongDouble::parse).ok_or(NO_FLOAT)?,
        None => LongDouble::from(0),
    };
    let expire_at = field.and_then(|field| field.expire_at);
    let sum = number.add(increment).filter(LongDouble::is_finite);
    let text = sum.ok_or(CommandError::FloatOverflow)?.to_text();
    put(ctx, key, name, text.as_bytes())?;
    ctx.changed(key, Event::HIncrByFloat);
    // Another machine may add otherwise.
    ctx.propagate(&[b"HSET", key, name, text.as_bytes()]);
    if let Some(UnixMs(at)) = expire_at {
        let mut buffer = itoa::Buffer::new();
        let at = buffer.format(at).as_bytes();
        ctx.propagate(&[b"HPEXPIREAT", key, at, b"FIELDS", b"1", name]);
    }
    ctx.reply.bulk(text.as_bytes());
    Ok(())
}
