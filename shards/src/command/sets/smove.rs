//! SMOVE: a member from one set to another.
//!
//! Across shards the first hop asks both keys for the member, the second
//! removes it here and adds it there.

use crate::command::spec::{Arity, Group, KeySpec, PartArgs, flags};
use crate::command::{Args, Context, Decision, Outcome, OwnedArgs, ROW, Row, Run, Write};
use crate::effects::Event;
use crate::error::CommandError;
use crate::resp::read::integer;
use crate::value::Set;

pub static COMMANDS: &[Row] = &[Row {
    name: "smove",
    syntax: "source destination member",
    summary: "Move a member from one set to another.",
    since: "1.0.0",
    complexity: "O(1)",
    group: Group::Set,
    arity: Arity::Exactly(4),
    keys: &[
        KeySpec::first(&["RW", "access", "delete"]),
        KeySpec::at(2, &["RW", "insert"]),
    ],
    flags: flags::WRITE.with(flags::FAST),
    part_args: PartArgs::KeysAndLast,
    run: Run::ReadThenWrite {
        whole: smove,
        read: smove_read,
        decide: smove_decide,
        skip: 0,
    },
    ..ROW
}];

/// What `smove_read` says of a key.
const NO_SET: i64 = -1;
const WRONG_TYPE: i64 = -2;
const MEMBER: i64 = 1;

fn smove(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [source, destination, member] = args.exactly()?;
    let Some(set) = ctx.db.lookup(source) else {
        ctx.reply.integer(0);
        return Ok(());
    };
    if !set.is::<Set>() || ctx.db.lookup(destination).is_some_and(|it| !it.is::<Set>()) {
        return Err(CommandError::WrongType);
    }
    let set = ctx.db.lookup_as::<Set>(source)?;
    let is_member = set.is_some_and(|set| set.contains(member));
    if is_member && source != destination {
        // First what may lack memory.
        let growth = ctx.growth();
        let add = |set: &mut Set| Ok(set.add(member, &growth)?);
        let added = ctx.db.edit_or_create(destination, add)?;
        if let Err(error) = ctx.db.edit(source, |set: &mut Set| set.remove(member)) {
            if added {
                ctx.changed(destination, Event::SAdd);
                ctx.propagate(&[b"SADD", destination, member]);
            }
            return Err(error);
        }
        ctx.changed(source, Event::SRem);
        if added {
            ctx.changed(destination, Event::SAdd);
        }
    }
    ctx.reply.integer(i64::from(is_member));
    Ok(())
}

/// One integer per key: whether the last argument is a member, or why not.
fn smove_read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let keys = args.len() - 2;
    let member = &args[args.len() - 1];
    ctx.reply.array(keys);
    for key in args.from(1).iter().take(keys) {
        let found = match ctx.db.lookup_as::<Set>(key) {
            Ok(Some(set)) => i64::from(set.contains(member)),
            Ok(None) => NO_SET,
            Err(_) => WRONG_TYPE,
        };
        ctx.reply.integer(found);
    }
    Ok(())
}

fn smove_decide(decision: &mut Decision<'_>) -> Outcome {
    let [source, destination, member] = decision.args.exactly()?;
    let read = |index: usize| decision.read.get(index).and_then(|of| integer(of));
    let read = |index| read(index).unwrap_or(NO_SET);
    if read(0) != NO_SET && (read(0) == WRONG_TYPE || read(1) == WRONG_TYPE) {
        return Err(CommandError::WrongType);
    }
    let is_member = read(0) == MEMBER;
    if is_member {
        decision.writes.push(Write {
            handler: super::srem,
            args: OwnedArgs::new([&b"SREM"[..], source, member]),
        });
        if read(1) != MEMBER {
            decision.writes.push(Write {
                handler: super::sadd,
                args: OwnedArgs::new([&b"SADD"[..], destination, member]),
            });
        }
    }
    decision.reply.integer(i64::from(is_member));
    Ok(())
}
