//! Taking from lists, or waiting for one to take from.
//!
//! On one shard a request that finds nothing runs again when one of its keys
//! appears; over shards its decision is made again. See `order`.

use super::moving::{
    DESTINATION, Popping, decide_move, end_of, lmove_read, lmpop_read, lmpop_write,
    move_into_reply, multi_pop_into_reply,
};
use super::{Popped, pop_into_reply};
use crate::command::args::{deadline, keys_and_deadline};
use crate::command::spec::{
    Access, Arity, Begin, Deprecated, Find, Group, InSlices, KeySpec, flags,
};
use crate::command::{Args, Context, Decision, Outcome, OwnedArgs, ROW, Row, Run};
use crate::error::CommandError;
use crate::resp::read::is_null;
use crate::types::Type;
use crate::value::End;

const TAKEN: &[&str] = &["RW", "access", "delete"];

/// Keys after a timeout and their number.
const NUMBERED: KeySpec = KeySpec {
    begin: Begin::Index(2),
    find: Find::Count {
        count: 0,
        first: 1,
        step: 1,
    },
    access: Access(TAKEN),
    notes: "",
    vary: None,
};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "blpop",
        syntax: "key [key ...] timeout",
        summary: "Remove and read the first element of the first list that has any; wait for one.",
        since: "2.0.0",
        complexity: "O(N) with N the number of keys",
        group: Group::List,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::range(-2, 1, TAKEN)],
        flags: flags::WRITE.with(flags::NOSCRIPT).with(flags::BLOCKING),
        history: &[("6.0.0", "The timeout may have a fraction.")],
        run: Run::ReadThenWrite {
            whole: blpop,
            read: lmpop_read,
            decide: blpop_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "brpop",
        syntax: "key [key ...] timeout",
        summary: "Remove and read the last element of the first list that has any; wait for one.",
        since: "2.0.0",
        complexity: "O(N) with N the number of keys",
        group: Group::List,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::range(-2, 1, TAKEN)],
        flags: flags::WRITE.with(flags::NOSCRIPT).with(flags::BLOCKING),
        history: &[("6.0.0", "The timeout may have a fraction.")],
        run: Run::ReadThenWrite {
            whole: brpop,
            read: lmpop_read,
            decide: brpop_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "blmove",
        syntax: "source destination LEFT | RIGHT LEFT | RIGHT timeout",
        summary: "Move an element from an end of a list to an end of another; wait for one.",
        since: "6.2.0",
        complexity: "O(1)",
        group: Group::List,
        arity: Arity::Exactly(6),
        keys: &[KeySpec::first(TAKEN), DESTINATION],
        flags: flags::WRITE
            .with(flags::DENYOOM)
            .with(flags::NOSCRIPT)
            .with(flags::BLOCKING),
        run: Run::ReadThenWrite {
            whole: blmove,
            read: lmove_read,
            decide: blmove_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "brpoplpush",
        syntax: "source destination timeout",
        summary: "Move the last element of a list to the front of another; wait for one.",
        since: "2.2.0",
        complexity: "O(1)",
        group: Group::List,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(TAKEN), DESTINATION],
        flags: flags::WRITE
            .with(flags::DENYOOM)
            .with(flags::NOSCRIPT)
            .with(flags::BLOCKING),
        history: &[("6.0.0", "The timeout may have a fraction.")],
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`BLMOVE` with the `RIGHT` and `LEFT` arguments",
        }),
        run: Run::ReadThenWrite {
            whole: brpoplpush,
            read: lmove_read,
            decide: brpoplpush_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "blmpop",
        syntax: "timeout numkeys key [key ...] LEFT | RIGHT [COUNT count]",
        summary: "Remove and read elements of the first list that has any; wait for one.",
        since: "7.0.0",
        complexity: "O(N+M) with N the number of keys and M of elements read",
        group: Group::List,
        arity: Arity::AtLeast(5),
        keys: &[NUMBERED],
        flags: flags::WRITE.with(flags::BLOCKING).with(flags::MOVABLEKEYS),
        slices: InSlices::IfMuch,
        run: Run::ReadThenWrite {
            whole: blmpop,
            read: lmpop_read,
            decide: blmpop_decide,
            skip: 0,
        },
        ..ROW
    },
];

fn blpop(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    pop_or_wait(ctx, args, End::Front)
}

fn brpop(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    pop_or_wait(ctx, args, End::Back)
}

fn pop_or_wait(ctx: &mut Context<'_>, args: Args<'_>, end: End) -> Outcome {
    let (keys, until) = keys_and_deadline(args, ctx.db.now())?;
    for key in keys {
        if pop_with_key(ctx, key, end)? {
            return Ok(());
        }
    }
    ctx.wait_for(Type::List, until)?;
    ctx.reply.null_array();
    Ok(())
}

/// Removes an element at an end of a list and replies the key and it. Without
/// a list nothing is replied, and false returned.
fn pop_with_key(ctx: &mut Context<'_>, key: &[u8], end: End) -> Result<bool, CommandError> {
    let popped = pop_into_reply(ctx, key, end, 1, |reply, _| {
        reply.array(2);
        reply.bulk(key);
    })?;
    if popped != Popped::Nothing {
        ctx.propagate(&[end.pop_name(), key]);
    }
    Ok(popped != Popped::Nothing)
}

fn blpop_decide(decision: &mut Decision<'_>) -> Outcome {
    decide_pop(decision, End::Front)
}

fn brpop_decide(decision: &mut Decision<'_>) -> Outcome {
    decide_pop(decision, End::Back)
}

fn decide_pop(decision: &mut Decision<'_>, end: End) -> Outcome {
    let (keys, until) = keys_and_deadline(decision.args, decision.now)?;
    let Some(key) = decision.first_with_any(keys)? else {
        decision.wait_for(Type::List, until)?;
        decision.reply.null_array();
        return Ok(());
    };
    decision.reply_as_written(pop_write, OwnedArgs::new([end.pop_name(), key]));
    Ok(())
}

/// LPOP or RPOP, with the reply of BLPOP.
fn pop_write(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    pop_with_key(ctx, key, End::of_pop(&args[0]))?;
    Ok(())
}

fn blmove(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [source, destination, from, to, timeout] = args.exactly()?;
    let (from, to) = (end_of(from)?, end_of(to)?);
    move_or_wait(ctx, (source, from), (destination, to), timeout)
}

fn brpoplpush(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [source, destination, timeout] = args.exactly()?;
    let (from, to) = (End::Back, End::Front);
    move_or_wait(ctx, (source, from), (destination, to), timeout)
}

fn move_or_wait(
    ctx: &mut Context<'_>,
    source: (&[u8], End),
    destination: (&[u8], End),
    timeout: &[u8],
) -> Outcome {
    let until = deadline(timeout, ctx.db.now())?;
    if !move_into_reply(ctx, source, destination)? {
        ctx.wait_for(Type::List, until)?;
        ctx.reply.null();
        return Ok(());
    }
    let ((source, from), (destination, to)) = (source, destination);
    ctx.propagate(&[b"LMOVE", source, destination, from.word(), to.word()]);
    Ok(())
}

fn blmove_decide(decision: &mut Decision<'_>) -> Outcome {
    let [_, _, from, to, timeout] = decision.args.exactly()?;
    let (from, to) = (end_of(from)?, end_of(to)?);
    decide_move_or_wait(decision, from, to, timeout)
}

fn brpoplpush_decide(decision: &mut Decision<'_>) -> Outcome {
    let [_, _, timeout] = decision.args.exactly()?;
    decide_move_or_wait(decision, End::Back, End::Front, timeout)
}

fn decide_move_or_wait(decision: &mut Decision<'_>, from: End, to: End, timeout: &[u8]) -> Outcome {
    let until = deadline(timeout, decision.now)?;
    if decision.read.first().is_some_and(|first| is_null(first)) {
        decision.wait_for(Type::List, until)?;
    }
    decide_move(decision, from, to)
}

fn blmpop(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let popping = Popping::parse(args.from(1))?;
    let until = deadline(&args[1], ctx.db.now())?;
    for key in args.from(3).iter().take(popping.keys) {
        if multi_pop_into_reply(ctx, key, popping.end, popping.count)? {
            return Ok(());
        }
    }
    ctx.wait_for(Type::List, until)?;
    ctx.reply.null_array();
    Ok(())
}

fn blmpop_decide(decision: &mut Decision<'_>) -> Outcome {
    let popping = Popping::parse(decision.args.from(1))?;
    let until = deadline(&decision.args[1], decision.now)?;
    let keys = decision.args.from(3).iter().take(popping.keys);
    let Some(key) = decision.first_with_any(keys)? else {
        decision.wait_for(Type::List, until)?;
        decision.reply.null_array();
        return Ok(());
    };
    decision.reply_as_written(lmpop_write, popping.request(key));
    Ok(())
}
