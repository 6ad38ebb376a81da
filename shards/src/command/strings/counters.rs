//! Commands on strings that are numbers.

use super::text_of;
use crate::command::args::integer;
use crate::command::spec::{Arity, Group, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run};
use crate::effects::Event;
use crate::error::CommandError;
use crate::value::LongDouble;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "decr",
        syntax: "key",
        summary: "Lower a number by one; a missing key starts at zero.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        run: Run::OneShard(decr),
        ..ROW
    },
    Row {
        name: "decrby",
        syntax: "key decrement",
        summary: "Lower a number; a missing key starts at zero.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        run: Run::OneShard(decrby),
        ..ROW
    },
    Row {
        name: "incr",
        syntax: "key",
        summary: "Raise a number by one; a missing key starts at zero.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        run: Run::OneShard(incr),
        ..ROW
    },
    Row {
        name: "incrby",
        syntax: "key increment",
        summary: "Raise a number; a missing key starts at zero.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        run: Run::OneShard(incrby),
        ..ROW
    },
    Row {
        name: "incrbyfloat",
        syntax: "key increment",
        summary: "Raise a floating-point number; a missing key starts at zero.",
        since: "2.6.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        run: Run::OneShard(incrbyfloat),
        ..ROW
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
    let sum = ctx.db.add_int(key, increment)?;
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
    ctx.db.set_text(key, text.as_bytes())?;
    ctx.changed(key, Event::IncrByFloat);
    // Another machine may add otherwise.
    ctx.propagate(&[b"SET", key, text.as_bytes(), b"KEEPTTL"]);
    ctx.reply.bulk(text.as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Engine;

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn integers() {
        Engine::new().talk(&[
            ("INCR n", ":1"),
            ("INCRBY n 9", ":10"),
            ("DECR n", ":9"),
            ("DECRBY n -1", ":10"),
            (
                "INCRBY n 9223372036854775807",
                "-ERR increment or decrement would overflow",
            ),
            (
                "DECRBY n -9223372036854775808",
                "-ERR decrement would overflow",
            ),
            ("DECRBY n 9223372036854775807", ":-9223372036854775797"),
            (
                "INCRBY n +1",
                "-ERR value is not an integer or out of range",
            ),
            ("INCRBY n a", "-ERR value is not an integer or out of range"),
            ("SET n \" 1\"", "+OK"),
            ("INCR n", "-ERR value is not an integer or out of range"),
            ("SET n 01", "+OK"),
            ("INCR n", "-ERR value is not an integer or out of range"),
            ("SET n \"\"", "+OK"),
            ("INCR n", "-ERR value is not an integer or out of range"),
            ("SET n 9223372036854775807 EX 10", "+OK"),
            ("INCR n", "-ERR increment or decrement would overflow"),
            ("DECR n", ":9223372036854775806"),
            ("PTTL n", ":10000"),
        ]);
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn floats() {
        let (no_float, overflow) = (
            "-ERR value is not a valid float",
            "-ERR increment would produce NaN or Infinity",
        );
        Engine::new().talk(&[
            ("SET f 0.1 EX 10", "+OK"),
            ("INCRBYFLOAT f 0.2", "$3|0.3"),
            ("PTTL f", ":10000"),
            ("INCRBYFLOAT f 1e17", "$25|100000000000000000.296875"),
            ("SET f 3.0e3", "+OK"),
            ("INCRBYFLOAT f 200", "$4|3200"),
            ("INCRBYFLOAT f abc", no_float),
            ("INCRBYFLOAT f nan", no_float),
            ("INCRBYFLOAT f inf", overflow),
            ("GET f", "$4|3200"),
            ("INCRBYFLOAT g -1e-30", "$1|0"),
        ]);
    }

    #[test]
    fn effects() {
        let mut engine = Engine::new();
        assert_eq!(engine.effects("INCR n"), "*2|$4|INCR|$1|n|");
        assert_eq!(engine.effects("INCRBY n x"), "");
        let set = "*4|$3|SET|$1|n|$3|1.5|$7|KEEPTTL|";
        assert_eq!(engine.effects("INCRBYFLOAT n 0.5"), set);
    }
}
