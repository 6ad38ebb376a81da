//! Commands on strings.

use super::spec::{Arity, Command, Group, KeySpec, flags};
use super::{Args, Context, Outcome, Row, Run};
use crate::effects::Event;
use crate::keyspace::{StringRef, Ttl};

pub static COMMANDS: &[Row] = &[
    Command {
        name: "get",
        syntax: "key",
        summary: "Read a string.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        tips: &[],
        subcommands: &[],
        run: Run::OneShard(get),
    },
    Command {
        name: "set",
        syntax: "key value",
        summary: "Write a string.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["OW", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM),
        tips: &[],
        subcommands: &[],
        run: Run::OneShard(set),
    },
];

fn get(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    match ctx.db.read_string(key)? {
        Some(StringRef::Bytes(bytes)) => ctx.reply.bulk(bytes),
        Some(StringRef::Int(number)) => ctx.reply.bulk_integer(number),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn set(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, value] = args.exactly()?;
    ctx.db.set(key, value, Ttl::Clear);
    ctx.changed(key, Event::Set);
    ctx.reply.ok();
    Ok(())
}
