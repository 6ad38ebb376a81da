//! OBJECT: how a value is kept, and when it was last looked at.

use crate::command::spec::{Arity, Begin, Flags, Group, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run};
use crate::error::CommandError;
use crate::keyspace::{Object, StringRef, ValueRef};

pub static COMMANDS: &[Row] = &[Row {
    name: "object",
    summary: "Look at how values are kept.",
    since: "2.2.3",
    complexity: "Depends on the subcommand.",
    group: Group::Generic,
    arity: Arity::AtLeast(2),
    subcommands: SUBCOMMANDS,
    ..ROW
}];

const KEY: &[KeySpec] = &[KeySpec {
    begin: Begin::Index(2),
    ..KeySpec::first(&["RO"])
}];

const fn row(
    name: &'static str,
    since: &'static str,
    summary: &'static str,
    handler: crate::command::Handler,
) -> Row {
    Row {
        name,
        syntax: "key",
        summary,
        since,
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::Exactly(3),
        keys: KEY,
        flags: flags::READONLY,
        tips: &["nondeterministic_output"],
        run: Run::OneShard(handler),
        ..ROW
    }
}

const HELP_FLAGS: Flags = flags::LOADING.with(flags::STALE);

static SUBCOMMANDS: &[Row] = &[
    row(
        "object|encoding",
        "2.2.3",
        "The internal representation of a value.",
        encoding,
    ),
    row(
        "object|freq",
        "4.0.0",
        "How often a key is accessed, as a logarithm.",
        freq,
    ),
    row(
        "object|idletime",
        "2.2.3",
        "Seconds since a key was last accessed.",
        idletime,
    ),
    row(
        "object|refcount",
        "2.2.3",
        "The number of references to a value.",
        refcount,
    ),
    Row {
        keys: &[],
        arity: Arity::Exactly(2),
        syntax: "",
        flags: HELP_FLAGS,
        tips: &[],
        ..row("object|help", "6.2.0", "Say what OBJECT can do.", help)
    },
];

/// Without an LFU policy accesses are not counted.
const NO_LFU: CommandError = CommandError::Static(
    "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that \
     when switching between policies at runtime LRU and LFU data will take some time to adjust.",
);

/// What Redis says of the objects that it shares: small numbers.
const SHARED: i64 = 2_147_483_647;
const SHARED_NUMBERS: std::ops::Range<i64> = 0..10_000;

/// What there is to tell about a key; a hit or a miss, as any look, but nobody is
/// notified of a miss.
fn object(ctx: &mut Context<'_>, key: &[u8]) -> Option<Object> {
    ctx.db.peek_quietly(key)?;
    ctx.db.object(key)
}

fn encoding(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [_, key] = args.exactly()?;
    match object(ctx, key) {
        Some(object) => ctx.reply.bulk(object.encoding.name().as_bytes()),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn freq(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [_, key] = args.exactly()?;
    if object(ctx, key).is_some() {
        return Err(NO_LFU);
    }
    ctx.reply.null();
    Ok(())
}

fn idletime(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [_, key] = args.exactly()?;
    match object(ctx, key) {
        Some(object) => ctx.reply.integer(i64::from(object.idle_s)),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn refcount(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [_, key] = args.exactly()?;
    let Some(view) = ctx.db.peek_quietly(key) else {
        ctx.reply.null();
        return Ok(());
    };
    let shared = match view.value {
        ValueRef::String(StringRef::Int(number)) => SHARED_NUMBERS.contains(&number),
        _ => false,
    };
    ctx.reply.integer(if shared { SHARED } else { 1 });
    Ok(())
}

fn help(ctx: &mut Context<'_>, _: Args<'_>) -> Outcome {
    const HELP: &[&str] = &[
        "OBJECT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ENCODING <key>",
        "    Return the kind of internal representation used in order to store the value",
        "    associated with a <key>.",
        "FREQ <key>",
        "    Return the access frequency index of the <key>. The returned integer is",
        "    proportional to the logarithm of the recent access frequency of the key.",
        "IDLETIME <key>",
        "    Return the idle time of the <key>, that is the approximated number of",
        "    seconds elapsed since the last access to the key.",
        "REFCOUNT <key>",
        "    Return the number of references of the value associated with the specified",
        "    <key>.",
        "HELP",
        "    Prints this help.",
    ];
    ctx.reply.array(HELP.len());
    for line in HELP {
        ctx.reply.simple(line);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Engine;
    use crate::types::UnixMs;

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn objects() {
        let mut engine = Engine::new();
        engine.talk(&[
            ("MSET n 9999 big 10000 neg -1 text hello", "+OK"),
            ("OBJECT ENCODING n", "$3|int"),
            ("OBJECT ENCODING text", "$6|embstr"),
            ("OBJECT ENCODING nokey", "$-1"),
            ("OBJECT REFCOUNT n", ":2147483647"),
            ("OBJECT REFCOUNT big", ":1"),
            ("OBJECT REFCOUNT neg", ":1"),
            ("OBJECT REFCOUNT text", ":1"),
            ("OBJECT REFCOUNT nokey", "$-1"),
            ("OBJECT FREQ nokey", "$-1"),
            ("OBJECT IDLETIME nokey", "$-1"),
            ("OBJECT IDLETIME text", ":0"),
        ]);
        assert!(
            engine
                .run("OBJECT FREQ n")
                .starts_with("-ERR An LFU maxmemory policy is not")
        );
        engine.now = UnixMs(engine.now.0 + 3_000);
        engine.talk(&[
            ("OBJECT IDLETIME text", ":3"),
            ("OBJECT ENCODING text", "$6|embstr"),
            ("OBJECT IDLETIME text", ":3"),
        ]);
        engine.no_touch = true;
        engine.talk(&[
            ("GET text", "$5|hello"),
            ("OBJECT IDLETIME text", ":3"),
            ("TOUCH text", ":1"),
            ("OBJECT IDLETIME text", ":0"),
        ]);
    }
}
