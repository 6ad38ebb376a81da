//! MEMORY USAGE and DEBUG OBJECT: what a key and its value take. The server has
//! the rest of both commands.

use super::spec::{Arity, Begin, Group, KeySpec, flags};
use super::{Args, Context, Outcome, ROW, Row, Run};
use crate::command::args::integer;
use crate::error::CommandError;

pub static COMMANDS: &[Row] = &[Row {
    name: "memory",
    summary: "A container for commands about memory.",
    since: "4.0.0",
    complexity: "Depends on subcommand.",
    group: Group::Server,
    arity: Arity::AtLeast(2),
    subcommands: &[USAGE],
    ..ROW
}];

const USAGE: Row = Row {
    name: "memory|usage",
    syntax: "key [SAMPLES count]",
    summary: "The bytes that a key and its value take.",
    since: "4.0.0",
    complexity: "O(N) where N is the number of samples.",
    group: Group::Server,
    arity: Arity::AtLeast(3),
    keys: &[KeySpec {
        begin: Begin::Index(2),
        ..KeySpec::first(&["RO"])
    }],
    flags: flags::READONLY,
    run: Run::OneShard(usage),
    ..ROW
};

/// What is counted is what the allocations hold, so there is nothing to sample:
/// SAMPLES is checked and changes nothing.
fn usage(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let mut options = args.from(3).iter();
    while let Some(option) = options.next() {
        if !option.eq_ignore_ascii_case(b"samples") {
            return Err(CommandError::Syntax);
        }
        let count = options.next().ok_or(CommandError::Syntax)?;
        if integer(count)? < 0 {
            return Err(CommandError::Syntax);
        }
    }
    match ctx.db.object(&args[2]) {
        Some(object) => ctx.reply.integer(object.bytes as i64),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// DEBUG OBJECT on the shard that owns the key. The entry moves when it is
/// rewritten, so it has no address to show; its length is that in memory, as
/// nothing is serialised.
pub fn debug_object(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    const CLOCK_BITS: i64 = 0xFF_FFFF;
    let object = ctx.db.object(&args[2]).ok_or(CommandError::NoSuchKey)?;
    let seconds = ctx.db.now().0 / 1000;
    let text = format!(
        "Value at:0x0 refcount:1 encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}",
        object.encoding.name(),
        object.bytes,
        (seconds - i64::from(object.idle_s)) & CLOCK_BITS,
        object.idle_s,
    );
    ctx.reply.simple(&text);
    Ok(())
}
