//! Commands on strings: reading and writing whole values.
//!
//! The rest of the family is beside this file: [`counters`], [`lcs`], [`many`]
//! (several keys at once) and [`ranges`].
//!
//! What expires is propagated with its instant (`SET key value PXAT ms`,
//! `PEXPIREAT`), conditions and `GET` are propagated as what came of them.

pub mod counters;
pub mod lcs;
pub mod many;
pub mod ranges;

use super::args::integer;
use super::keys::expiry::{Unit, deadline, expire_at, persist_key};
use super::spec::{Arity, Deprecated, Group, KeySpec, flags};
use super::{Args, Context, Outcome, ROW, Row, Run};
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::{StringRef, Ttl};
use crate::resp::Reply;
use crate::types::UnixMs;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "get",
        syntax: "key",
        summary: "Read a string.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(get),
        ..ROW
    },
    Row {
        name: "set",
        syntax: "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        summary: "Write a string, whatever the key held, if the condition holds; GET replies what it held.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::AtLeast(3),
        keys: &[
            KeySpec::first(&["RW", "access", "update", "variable_flags"])
                .noted("RW and ACCESS due to the optional `GET` argument")
                .varying(set_access),
        ],
        flags: flags::WRITE.with(flags::DENYOOM),
        history: &[
            ("2.6.12", "Takes `EX`, `PX`, `NX` and `XX`."),
            ("6.0.0", "Takes `KEEPTTL`."),
            ("6.2.0", "Takes `GET`, `EXAT` and `PXAT`."),
            ("7.0.0", "Takes `NX` and `GET` together."),
        ],
        run: Run::OneShard(set),
        ..ROW
    },
    Row {
        name: "setnx",
        syntax: "key value",
        summary: "Write a string if the key does not exist.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["OW", "insert"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        run: Run::OneShard(setnx),
        ..ROW
    },
    Row {
        name: "setex",
        syntax: "key seconds value",
        summary: "Write a string that expires after so many seconds.",
        since: "2.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["OW", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM),
        run: Run::OneShard(setex),
        ..ROW
    },
    Row {
        name: "psetex",
        syntax: "key milliseconds value",
        summary: "Write a string that expires after so many milliseconds.",
        since: "2.6.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["OW", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM),
        run: Run::OneShard(psetex),
        ..ROW
    },
    Row {
        name: "getset",
        syntax: "key value",
        summary: "Write a string and reply what the key held before.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`SET` with the `!GET` argument",
        }),
        run: Run::OneShard(getset),
        ..ROW
    },
    Row {
        name: "getdel",
        syntax: "key",
        summary: "Read a string and delete its key.",
        since: "6.2.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RW", "access", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        run: Run::OneShard(getdel),
        ..ROW
    },
    Row {
        name: "getex",
        syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
        summary: "Read a string and change when it expires.",
        since: "6.2.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RW", "access", "update"])
            .noted("RW and UPDATE because it changes the TTL")],
        flags: flags::WRITE.with(flags::FAST),
        run: Run::OneShard(getex),
        ..ROW
    },
];

fn get(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    reply_string(&mut ctx.reply, ctx.db.read_string(key)?);
    Ok(())
}

fn reply_string(reply: &mut Reply<'_>, string: Option<StringRef<'_>>) {
    match string {
        Some(StringRef::Bytes(bytes)) => reply.bulk(bytes),
        Some(StringRef::Int(number)) => reply.bulk_integer(number),
        None => reply.null(),
    }
}

/// The bytes of a string; a number is written into `buffer`.
pub(super) fn text_of<'a>(string: StringRef<'a>, buffer: &'a mut itoa::Buffer) -> &'a [u8] {
    match string {
        StringRef::Bytes(bytes) => bytes,
        StringRef::Int(number) => buffer.format(number).as_bytes(),
    }
}

/// What SET does to a key that exists or does not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Condition {
    Always,
    IfMissing,
    IfExists,
}

/// How EX, PX, EXAT and PXAT count.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Clock {
    unit: Unit,
    relative: bool,
}

impl Clock {
    fn of(word: &[u8]) -> Option<Self> {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let (unit, relative) = if is(b"EX") {
            (Unit::Seconds, true)
        } else if is(b"PX") {
            (Unit::Milliseconds, true)
        } else if is(b"EXAT") {
            (Unit::Seconds, false)
        } else if is(b"PXAT") {
            (Unit::Milliseconds, false)
        } else {
            return None;
        };
        Some(Self { unit, relative })
    }
}

/// What SET and GETEX are told about the deadline.
#[derive(Clone, Copy)]
enum NewTtl<'a> {
    Unsaid,
    Keep,
    Persist,
    At(Clock, &'a [u8]),
}

impl NewTtl<'_> {
    /// The instant, if one was given. It must be after 1970.
    fn deadline(self, now: UnixMs, command: &'static str) -> Result<Option<UnixMs>, CommandError> {
        let Self::At(clock, number) = self else {
            return Ok(None);
        };
        let number = integer(number)?;
        if number <= 0 {
            return Err(CommandError::InvalidExpire(command));
        }
        let base = if clock.relative { now } else { UnixMs(0) };
        deadline(number, clock.unit, base, command).map(Some)
    }
}

struct SetOptions<'a> {
    condition: Condition,
    get: bool,
    ttl: NewTtl<'a>,
}

impl<'a> SetOptions<'a> {
    /// `options` are the arguments behind the value. Redis lets an option be
    /// repeated but not contradicted.
    fn parse(options: Args<'a>) -> Result<Self, CommandError> {
        let mut parsed = Self {
            condition: Condition::Always,
            get: false,
            ttl: NewTtl::Unsaid,
        };
        let mut index = 0;
        while let Some(word) = options.get(index) {
            index += 1;
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if is(b"NX") && parsed.condition != Condition::IfExists {
                parsed.condition = Condition::IfMissing;
            } else if is(b"XX") && parsed.condition != Condition::IfMissing {
                parsed.condition = Condition::IfExists;
            } else if is(b"GET") {
                parsed.get = true;
            } else if is(b"KEEPTTL") && matches!(parsed.ttl, NewTtl::Unsaid | NewTtl::Keep) {
                parsed.ttl = NewTtl::Keep;
            } else {
                parsed.ttl = clock_option(parsed.ttl, word, options.get(index))?;
                index += 1;
            }
        }
        Ok(parsed)
    }
}

/// `word number`, after `before` was said.
fn clock_option<'a>(
    before: NewTtl<'a>,
    word: &[u8],
    number: Option<&'a [u8]>,
) -> Result<NewTtl<'a>, CommandError> {
    let (Some(clock), Some(number)) = (Clock::of(word), number) else {
        return Err(CommandError::Syntax);
    };
    match before {
        NewTtl::Unsaid => Ok(NewTtl::At(clock, number)),
        NewTtl::At(same, _) if same == clock => Ok(NewTtl::At(clock, number)),
        _ => Err(CommandError::Syntax),
    }
}

/// Without GET the key is only overwritten.
fn set_access(args: Args<'_>) -> &'static [&'static str] {
    let get = |arg: &[u8]| arg.eq_ignore_ascii_case(b"get");
    match args.iter().skip(3).any(get) {
        true => &["RW", "access", "update"],
        false => &["OW", "update"],
    }
}

fn set(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if let Ok([key, value]) = args.exactly() {
        ctx.db.set(key, value, Ttl::Clear)?;
        ctx.changed(key, Event::Set);
        ctx.reply.ok();
        return Ok(());
    }
    let (key, value) = (&args[1], &args[2]);
    set_with_options(ctx, key, value, &SetOptions::parse(args.from(3))?)
}

fn set_with_options(
    ctx: &mut Context<'_>,
    key: &[u8],
    value: &[u8],
    options: &SetOptions<'_>,
) -> Outcome {
    let deadline = options.ttl.deadline(ctx.db.now(), "set")?;
    let exists = if options.get {
        // Replied before the write; should that fail, the reply is taken back.
        let old = ctx.db.read_string(key)?;
        reply_string(&mut ctx.reply, old);
        old.is_some()
    } else {
        options.condition != Condition::Always && ctx.db.lookup(key).is_some()
    };
    let refused = match options.condition {
        Condition::Always => false,
        Condition::IfMissing => exists,
        Condition::IfExists => !exists,
    };
    if refused {
        if !options.get {
            ctx.reply.null();
        }
        return Ok(());
    }
    let keep = matches!(options.ttl, NewTtl::Keep);
    let ttl = match deadline {
        Some(at) => Ttl::At(at),
        None if keep => Ttl::Keep,
        None => Ttl::Clear,
    };
    ctx.db.set(key, value, ttl)?;
    ctx.changed(key, deadline.map_or(Event::Set, |_| Event::SetFor));
    match deadline {
        Some(at) => propagate_set_at(ctx, key, value, at),
        None if keep => ctx.propagate(&[b"SET", key, value, b"KEEPTTL"]),
        None => ctx.propagate(&[b"SET", key, value]),
    }
    if !options.get {
        ctx.reply.ok();
    }
    Ok(())
}

fn propagate_set_at(ctx: &mut Context<'_>, key: &[u8], value: &[u8], at: UnixMs) {
    if !ctx.is_recording() {
        return;
    }
    let mut buffer = itoa::Buffer::new();
    ctx.propagate(&[b"SET", key, value, b"PXAT", buffer.format(at.0).as_bytes()]);
}

fn setnx(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, value] = args.exactly()?;
    let missing = ctx.db.lookup(key).is_none();
    if missing {
        ctx.db.set(key, value, Ttl::Clear)?;
        ctx.changed(key, Event::Set);
    }
    ctx.reply.integer(i64::from(missing));
    Ok(())
}

fn setex(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    set_for(ctx, args, Unit::Seconds, "setex")
}

fn psetex(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    set_for(ctx, args, Unit::Milliseconds, "psetex")
}

fn set_for(ctx: &mut Context<'_>, args: Args<'_>, unit: Unit, command: &'static str) -> Outcome {
    let [key, duration, value] = args.exactly()?;
    let ttl = NewTtl::At(
        Clock {
            unit,
            relative: true,
        },
        duration,
    );
    if let Some(at) = ttl.deadline(ctx.db.now(), command)? {
        ctx.db.set(key, value, Ttl::At(at))?;
        ctx.changed(key, Event::SetFor);
        propagate_set_at(ctx, key, value, at);
        ctx.reply.ok();
    }
    Ok(())
}

fn getset(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, value] = args.exactly()?;
    reply_string(&mut ctx.reply, ctx.db.read_string(key)?);
    ctx.db.set(key, value, Ttl::Clear)?;
    ctx.changed(key, Event::Set);
    ctx.propagate(&[b"SET", key, value]);
    Ok(())
}

fn getdel(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    let old = ctx.db.read_string(key)?;
    reply_string(&mut ctx.reply, old);
    if old.is_some() {
        ctx.db.delete(key);
        ctx.changed(key, Event::Del);
        ctx.propagate(&[b"DEL", key]);
    }
    Ok(())
}

fn getex(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = &args[1];
    let mut ttl = NewTtl::Unsaid;
    let (options, mut index) = (args.from(2), 0);
    while let Some(word) = options.get(index) {
        let persist = word.eq_ignore_ascii_case(b"PERSIST");
        if persist && matches!(ttl, NewTtl::Unsaid | NewTtl::Persist) {
            ttl = NewTtl::Persist;
            index += 1;
        } else {
            ttl = clock_option(ttl, word, options.get(index + 1))?;
            index += 2;
        }
    }
    // The type before the number, and neither for a key that is not there.
    let Some(string) = ctx.db.read_string(key)? else {
        ctx.reply.null();
        return Ok(());
    };
    reply_string(&mut ctx.reply, Some(string));
    if let Some(at) = ttl.deadline(ctx.db.now(), "getex")? {
        expire_at(ctx, key, at);
    } else if matches!(ttl, NewTtl::Persist) {
        persist_key(ctx, key);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Engine;

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn set_and_its_options() {
        Engine::new().talk(&[
            ("SET k v", "+OK"),
            ("GET k", "$1|v"),
            ("SET k w NX", "$-1"),
            ("SET k w nx get", "$1|v"),
            ("SET k w XX GET", "$1|v"),
            ("GET k", "$1|w"),
            ("SET k 1 EX 10", "+OK"),
            ("PTTL k", ":10000"),
            ("SET k 2 KEEPTTL", "+OK"),
            ("PTTL k", ":10000"),
            ("SET k 3", "+OK"),
            ("PTTL k", ":-1"),
            ("SET k 3 EX 5 EX 6", "+OK"),
            ("TTL k", ":6"),
            ("SET k 3 PX 1500", "+OK"),
            ("PTTL k", ":1500"),
            ("SET k 3 EXAT 1000000001", "+OK"),
            ("PTTL k", ":1000"),
            ("SET k 3 PXAT 1000000000001", "+OK"),
            ("PTTL k", ":1"),
            ("SET k 3 PXAT 1", "+OK"),
            ("GET k", "$-1"),
            ("SET k w XX", "$-1"),
            ("SET k w NX GET", "$-1"),
            ("GET k", "$1|w"),
            ("SET k v NX XX", "-ERR syntax error"),
            ("SET k v XX NX", "-ERR syntax error"),
            ("SET k v EX", "-ERR syntax error"),
            ("SET k v EX 1 PX 1", "-ERR syntax error"),
            ("SET k v EX 1 KEEPTTL", "-ERR syntax error"),
            ("SET k v KEEPTTL EX 1", "-ERR syntax error"),
            ("SET k v PERSIST", "-ERR syntax error"),
            ("SET k v foo", "-ERR syntax error"),
            (
                "SET k v EX a",
                "-ERR value is not an integer or out of range",
            ),
            ("SET k v EX 0", "-ERR invalid expire time in 'set' command"),
            ("SET k v PX -1", "-ERR invalid expire time in 'set' command"),
            (
                "SET k v EXAT 9223372036854776",
                "-ERR invalid expire time in 'set' command",
            ),
            (
                "SET k v EX 9223372036854775",
                "-ERR invalid expire time in 'set' command",
            ),
            (
                "SET k v PX 9223372036854775807",
                "-ERR invalid expire time in 'set' command",
            ),
            ("GET k", "$1|w"),
        ]);
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn the_older_ways_to_set() {
        Engine::new().talk(&[
            ("SETNX k 1", ":1"),
            ("SETNX k 2", ":0"),
            ("SETEX k 10 v", "+OK"),
            ("PTTL k", ":10000"),
            ("PSETEX k 11 v", "+OK"),
            ("PTTL k", ":11"),
            ("SETEX k 0 v", "-ERR invalid expire time in 'setex' command"),
            (
                "PSETEX k -1 v",
                "-ERR invalid expire time in 'psetex' command",
            ),
            (
                "SETEX k a v",
                "-ERR value is not an integer or out of range",
            ),
            ("GETSET k w", "$1|v"),
            ("PTTL k", ":-1"),
            ("GETSET other w", "$-1"),
            ("GETDEL k", "$1|w"),
            ("GETDEL k", "$-1"),
        ]);
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn getex() {
        Engine::new().talk(&[
            ("GETEX k EX 0", "$-1"),
            ("GETEX k EX a", "$-1"),
            ("GETEX k foo", "-ERR syntax error"),
            ("SET k v", "+OK"),
            ("GETEX k", "$1|v"),
            ("GETEX k EX 10", "$1|v"),
            ("PTTL k", ":10000"),
            ("GETEX k", "$1|v"),
            ("PTTL k", ":10000"),
            ("GETEX k PERSIST PERSIST", "$1|v"),
            ("PTTL k", ":-1"),
            (
                "GETEX k PX 0",
                "-ERR invalid expire time in 'getex' command",
            ),
            (
                "GETEX k EX 9223372036854775807",
                "-ERR invalid expire time in 'getex' command",
            ),
            ("GETEX k KEEPTTL", "-ERR syntax error"),
            ("GETEX k EX", "-ERR syntax error"),
            ("GETEX k PERSIST EX 1", "-ERR syntax error"),
            ("GETEX k EX 1 PERSIST", "-ERR syntax error"),
            ("GETEX k NX", "-ERR syntax error"),
            ("GETEX k EXAT 1", "$1|v"),
            ("EXISTS k", ":0"),
        ]);
    }

    #[test]
    fn effects_are_absolute_and_unconditional() {
        let mut engine = Engine::new();
        for (line, effect) in [
            ("SET k v", "*3|$3|SET|$1|k|$1|v|"),
            (
                "SET k v EX 1",
                "*5|$3|SET|$1|k|$1|v|$4|PXAT|$13|1000000001000|",
            ),
            ("SET k v XX GET KEEPTTL", "*4|$3|SET|$1|k|$1|v|$7|KEEPTTL|"),
            ("SET k v NX", ""),
            (
                "PSETEX k 1 v",
                "*5|$3|SET|$1|k|$1|v|$4|PXAT|$13|1000000000001|",
            ),
            ("GETEX k PX 5", "*3|$9|PEXPIREAT|$1|k|$13|1000000000005|"),
            ("GETEX k", ""),
            ("GETEX k PERSIST", "*2|$7|PERSIST|$1|k|"),
            ("GETEX k PERSIST", ""),
            ("GETSET k w", "*3|$3|SET|$1|k|$1|w|"),
            ("GETEX k PXAT 5", "*2|$3|DEL|$1|k|"),
            ("GETDEL k", ""),
            ("SETNX k v", "*3|$5|SETNX|$1|k|$1|v|"),
            ("GETDEL k", "*2|$3|DEL|$1|k|"),
            ("SET k v EX 0", ""),
        ] {
            assert_eq!(engine.effects(line), effect, "{line}");
        }
    }
}
