//! When keys expire: setting, reading and removing deadlines.
//!
//! Deadlines are propagated as instants (`PEXPIREAT`), and one that has passed
//! already as `DEL`.

use crate::command::args::integer;
use crate::command::spec::{Arity, Group, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run};
use crate::effects::Event;
use crate::error::CommandError;
use crate::types::UnixMs;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "expire",
        syntax: "key seconds [NX | XX | GT | LT]",
        summary: "Have a key expire after so many seconds.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RW", "update"])],
        flags: flags::WRITE.with(flags::FAST),
        history: &[("7.0.0", "Takes `NX`, `XX`, `GT` and `LT`.")],
        run: Run::OneShard(expire),
        ..ROW
    },
    Row {
        name: "pexpire",
        syntax: "key milliseconds [NX | XX | GT | LT]",
        summary: "Have a key expire after so many milliseconds.",
        since: "2.6.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RW", "update"])],
        flags: flags::WRITE.with(flags::FAST),
        history: &[("7.0.0", "Takes `NX`, `XX`, `GT` and `LT`.")],
        run: Run::OneShard(pexpire),
        ..ROW
    },
    Row {
        name: "expireat",
        syntax: "key unix-time-seconds [NX | XX | GT | LT]",
        summary: "Have a key expire at an instant given in seconds.",
        since: "1.2.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RW", "update"])],
        flags: flags::WRITE.with(flags::FAST),
        history: &[("7.0.0", "Takes `NX`, `XX`, `GT` and `LT`.")],
        run: Run::OneShard(expireat),
        ..ROW
    },
    Row {
        name: "pexpireat",
        syntax: "key unix-time-milliseconds [NX | XX | GT | LT]",
        summary: "Have a key expire at an instant given in milliseconds.",
        since: "2.6.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RW", "update"])],
        flags: flags::WRITE.with(flags::FAST),
        history: &[("7.0.0", "Takes `NX`, `XX`, `GT` and `LT`.")],
        run: Run::OneShard(pexpireat),
        ..ROW
    },
    Row {
        name: "ttl",
        syntax: "key",
        summary: "How many seconds a key has left.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        tips: &["nondeterministic_output"],
        history: &[("2.8.0", "Replies -2 for a key that does not exist.")],
        run: Run::OneShard(ttl),
        ..ROW
    },
    Row {
        name: "pttl",
        syntax: "key",
        summary: "How many milliseconds a key has left.",
        since: "2.6.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        tips: &["nondeterministic_output"],
        history: &[("2.8.0", "Replies -2 for a key that does not exist.")],
        run: Run::OneShard(pttl),
        ..ROW
    },
    Row {
        name: "expiretime",
        syntax: "key",
        summary: "The instant at which a key expires, in seconds.",
        since: "7.0.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(expiretime),
        ..ROW
    },
    Row {
        name: "pexpiretime",
        syntax: "key",
        summary: "The instant at which a key expires, in milliseconds.",
        since: "7.0.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(pexpiretime),
        ..ROW
    },
    Row {
        name: "persist",
        syntax: "key",
        summary: "Have a key expire no more.",
        since: "2.2.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RW", "update"])],
        flags: flags::WRITE.with(flags::FAST),
        run: Run::OneShard(persist),
        ..ROW
    },
];

/// What a number of a command counts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
}

/// The instant `number` units after `base`.
pub fn deadline(
    number: i64,
    unit: Unit,
    base: UnixMs,
    command: &'static str,
) -> Result<UnixMs, CommandError> {
    let factor = match unit {
        Unit::Seconds => 1000,
        Unit::Milliseconds => 1,
    };
    let ms = number
        .checked_mul(factor)
        .and_then(|ms| ms.checked_add(base.0));
    ms.map(UnixMs).ok_or(CommandError::InvalidExpire(command))
}

/// Gives `key`, which exists, the deadline `at`; one that has passed deletes it.
pub fn expire_at(ctx: &mut Context<'_>, key: &[u8], at: UnixMs) {
    if at <= ctx.db.now() {
        ctx.db.delete(key);
        ctx.changed(key, Event::Del);
        ctx.propagate(&[b"DEL", key]);
        return;
    }
    ctx.db.set_expire_at(key, Some(at));
    ctx.changed(key, Event::Expire);
    if ctx.is_recording() {
        let mut buffer = itoa::Buffer::new();
        ctx.propagate(&[b"PEXPIREAT", key, buffer.format(at.0).as_bytes()]);
    }
}

/// Removes the deadline of `key`; whether it had one.
pub fn persist_key(ctx: &mut Context<'_>, key: &[u8]) -> bool {
    let had = ctx
        .db
        .lookup(key)
        .is_some_and(|view| view.expire_at.is_some());
    if had {
        ctx.db.set_expire_at(key, None);
        ctx.changed(key, Event::Persist);
        ctx.propagate(&[b"PERSIST", key]);
    }
    had
}

/// Which deadlines may be replaced. A key without one counts as living forever.
#[derive(Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(options: Args<'_>) -> Result<Self, CommandError> {
        let mut parsed = Self::default();
        for word in options.iter() {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if is(b"NX") {
                parsed.nx = true;
            } else if is(b"XX") {
                parsed.xx = true;
            } else if is(b"GT") {
                parsed.gt = true;
            } else if is(b"LT") {
                parsed.lt = true;
            } else {
                return Err(unsupported(word));
            }
        }
        if parsed.nx && (parsed.xx || parsed.gt || parsed.lt) {
            return Err(CommandError::Static(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if parsed.gt && parsed.lt {
            return Err(CommandError::Static(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(parsed)
    }

    fn allow(&self, old: Option<UnixMs>, new: UnixMs) -> bool {
        match old {
            None => !self.xx && !self.gt,
            Some(old) => !(self.nx || self.gt && new <= old || self.lt && new >= old),
        }
    }
}

fn unsupported(option: &[u8]) -> CommandError {
    CommandError::quoting("ERR Unsupported option ", option, "")
}

fn expire(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.db.now();
    expire_generic(ctx, args, Unit::Seconds, now, "expire")
}

fn pexpire(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.db.now();
    expire_generic(ctx, args, Unit::Milliseconds, now, "pexpire")
}

fn expireat(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    expire_generic(ctx, args, Unit::Seconds, UnixMs(0), "expireat")
}

fn pexpireat(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    expire_generic(ctx, args, Unit::Milliseconds, UnixMs(0), "pexpireat")
}

fn expire_generic(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    unit: Unit,
    base: UnixMs,
    command: &'static str,
) -> Outcome {
    let (key, number) = (&args[1], &args[2]);
    let conditions = Conditions::parse(args.from(3))?;
    let at = deadline(integer(number)?, unit, base, command)?;
    let allowed = ctx
        .db
        .lookup(key)
        .is_some_and(|view| conditions.allow(view.expire_at, at));
    if allowed {
        expire_at(ctx, key, at);
    }
    ctx.reply.integer(i64::from(allowed));
    Ok(())
}

fn persist(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    let had = persist_key(ctx, key);
    ctx.reply.integer(i64::from(had));
    Ok(())
}

fn ttl(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.db.now();
    // Rounded to the nearest second, as Redis does.
    reply_deadline(ctx, args, |at| {
        (at.0.saturating_sub(now.0).saturating_add(500)) / 1000
    })
}

fn pttl(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.db.now();
    reply_deadline(ctx, args, |at| at.0.saturating_sub(now.0))
}

fn expiretime(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    // Rounded to the nearest second, up to the last instant there is.
    reply_deadline(ctx, args, |at| at.0 / 1000 + i64::from(at.0 % 1000 >= 500))
}

fn pexpiretime(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    reply_deadline(ctx, args, |at| at.0)
}

/// -2 for a missing key, -1 for one that lives forever, else `number` of its deadline.
fn reply_deadline(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    number: impl Fn(UnixMs) -> i64,
) -> Outcome {
    let [key] = args.exactly()?;
    let reply = match ctx.db.peek(key) {
        None => -2,
        Some(view) => view.expire_at.map_or(-1, number),
    };
    ctx.reply.integer(reply);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Engine;

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn which_deadlines_may_be_replaced() {
        Engine::new().talk(&[
            ("EXPIRE k 10", ":0"),
            ("SET k v", "+OK"),
            ("EXPIRE k 10 XX", ":0"),
            ("EXPIRE k 10 GT", ":0"),
            ("EXPIRE k 10 xx lt", ":0"),
            ("EXPIRE k 100 LT", ":1"),
            ("TTL k", ":100"),
            ("EXPIRE k 100 LT", ":0"),
            ("EXPIRE k 100 GT", ":0"),
            ("EXPIRE k 200 GT", ":1"),
            ("EXPIRE k 300 LT", ":0"),
            ("EXPIRE k 10 NX", ":0"),
            ("EXPIRE k 300 XX GT", ":1"),
            ("EXPIRE k -1 GT", ":0"),
            ("PERSIST k", ":1"),
            ("PERSIST k", ":0"),
            ("EXPIRE k 10 nx NX", ":1"),
            ("EXPIRE k -1 LT", ":1"),
            ("EXISTS k", ":0"),
            ("PERSIST k", ":0"),
            (
                "EXPIRE k 10 NX XX",
                "-ERR NX and XX, GT or LT options at the same time are not compatible",
            ),
            (
                "EXPIRE k 10 NX GT",
                "-ERR NX and XX, GT or LT options at the same time are not compatible",
            ),
            (
                "EXPIRE k 10 LT NX",
                "-ERR NX and XX, GT or LT options at the same time are not compatible",
            ),
            (
                "EXPIRE k 10 GT LT",
                "-ERR GT and LT options at the same time are not compatible",
            ),
            ("EXPIRE k a foo", "-ERR Unsupported option foo"),
            ("EXPIRE k a", "-ERR value is not an integer or out of range"),
        ]);
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn instants_and_their_limits() {
        Engine::new().talk(&[
            ("SET k v", "+OK"),
            ("TTL k", ":-1"),
            ("PEXPIRETIME k", ":-1"),
            ("PTTL nokey", ":-2"),
            ("EXPIRETIME nokey", ":-2"),
            ("PEXPIRE k 1500", ":1"),
            ("TTL k", ":2"),
            ("PEXPIRE k 1499", ":1"),
            ("TTL k", ":1"),
            ("PEXPIRE k 499", ":1"),
            ("TTL k", ":0"),
            ("PEXPIRETIME k", ":1000000000499"),
            ("EXPIRETIME k", ":1000000000"),
            ("PEXPIREAT k 1000000000500", ":1"),
            ("EXPIRETIME k", ":1000000001"),
            ("EXPIREAT k 1000000009", ":1"),
            ("PTTL k", ":9000"),
            (
                "EXPIRE k 9223372036854775",
                "-ERR invalid expire time in 'expire' command",
            ),
            (
                "EXPIRE k -9223372036854775808",
                "-ERR invalid expire time in 'expire' command",
            ),
            (
                "PEXPIRE k 9223372036854775807",
                "-ERR invalid expire time in 'pexpire' command",
            ),
            (
                "EXPIREAT k 9223372036854776",
                "-ERR invalid expire time in 'expireat' command",
            ),
            ("PTTL k", ":9000"),
            ("PEXPIREAT k 9223372036854775807", ":1"),
            ("PTTL k", ":9223371036854775807"),
            ("TTL k", ":9223371036854776"),
            ("EXPIREAT k 9223372036854775", ":1"),
            ("PEXPIRE k 0", ":1"),
            ("EXISTS k", ":0"),
            ("SET k v", "+OK"),
            ("PEXPIREAT k -1", ":1"),
            ("EXISTS k", ":0"),
            ("SET k v", "+OK"),
            ("EXPIRE k -9223372036854775", ":1"),
            ("EXISTS k", ":0"),
        ]);
    }

    #[test]
    fn effects_are_instants() {
        let mut engine = Engine::new();
        engine.run("SET k v");
        for (line, effect) in [
            ("EXPIRE k 1 NX", "*3|$9|PEXPIREAT|$1|k|$13|1000000001000|"),
            ("EXPIRE k 1 NX", ""),
            ("PEXPIRE k 7", "*3|$9|PEXPIREAT|$1|k|$13|1000000000007|"),
            ("PERSIST k", "*2|$7|PERSIST|$1|k|"),
            ("PERSIST k", ""),
            ("EXPIREAT k 1", "*2|$3|DEL|$1|k|"),
            ("EXPIREAT k 1", ""),
        ] {
            assert_eq!(engine.effects(line), effect, "{line}");
        }
    }
}
