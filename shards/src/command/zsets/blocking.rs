//! Taking from sorted sets, or waiting for one to take from.
//!
//! On one shard a request that finds nothing runs again when one of its keys
//! appears; over shards its decision is made again. See `order`.

use super::pops::{End, Popped, Popping, Shape, pop, zmpop_read, zmpop_write};
use crate::command::args::{deadline, keys_and_deadline};
use crate::command::spec::{Access, Arity, Begin, Find, Group, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Decision, Outcome, OwnedArgs, ROW, Row, Run};
use crate::error::CommandError;
use crate::types::Type;

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
        name: "bzpopmin",
        syntax: "key [key ...] timeout",
        summary: "Take the member with the lowest score of the first sorted set there is; wait for one.",
        since: "5.0.0",
        complexity: "O(log(N)) with N the number of members",
        group: Group::SortedSet,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::range(-2, 1, TAKEN)],
        flags: flags::WRITE
            .with(flags::NOSCRIPT)
            .with(flags::BLOCKING)
            .with(flags::FAST),
        history: &[("6.0.0", "The timeout may have a fraction.")],
        run: Run::ReadThenWrite {
            whole: bzpopmin,
            read: zmpop_read,
            decide: bzpopmin_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "bzpopmax",
        syntax: "key [key ...] timeout",
        summary: "Take the member with the highest score of the first sorted set there is; wait for one.",
        since: "5.0.0",
        complexity: "O(log(N)) with N the number of members",
        group: Group::SortedSet,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::range(-2, 1, TAKEN)],
        flags: flags::WRITE
            .with(flags::NOSCRIPT)
            .with(flags::BLOCKING)
            .with(flags::FAST),
        history: &[("6.0.0", "The timeout may have a fraction.")],
        run: Run::ReadThenWrite {
            whole: bzpopmax,
            read: zmpop_read,
            decide: bzpopmax_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "bzmpop",
        syntax: "timeout numkeys key [key ...] MIN | MAX [COUNT count]",
        summary: "Take members from an end of the first sorted set there is; wait for one.",
        since: "7.0.0",
        complexity: "O(K)+O(M*log(N)) with K keys, N members and M of them taken",
        group: Group::SortedSet,
        arity: Arity::AtLeast(5),
        keys: &[NUMBERED],
        flags: flags::WRITE.with(flags::BLOCKING).with(flags::MOVABLEKEYS),
        slices: InSlices::IfMuch,
        run: Run::ReadThenWrite {
            whole: bzmpop,
            read: zmpop_read,
            decide: bzmpop_decide,
            skip: 0,
        },
        ..ROW
    },
];

fn bzpopmin(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    pop_or_wait(ctx, args, End::Min)
}

fn bzpopmax(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    pop_or_wait(ctx, args, End::Max)
}

fn pop_or_wait(ctx: &mut Context<'_>, args: Args<'_>, end: End) -> Outcome {
    let (keys, until) = keys_and_deadline(args, ctx.db.now())?;
    for key in keys {
        if pop_with_key(ctx, key, end)? {
            return Ok(());
        }
    }
    ctx.wait_for(Type::Zset, until)?;
    ctx.reply.null_array();
    Ok(())
}

/// Takes one member and replies the key, it and its score. Without a sorted set
/// nothing is replied, and false returned.
fn pop_with_key(ctx: &mut Context<'_>, key: &[u8], end: End) -> Result<bool, CommandError> {
    let taken = pop(ctx, key, end, 1, Shape::KeyAndOne)? == Popped::Some;
    if taken {
        ctx.propagate(&[end.pop_name(), key]);
    }
    Ok(taken)
}

fn bzpopmin_decide(decision: &mut Decision<'_>) -> Outcome {
    decide_pop(decision, End::Min)
}

fn bzpopmax_decide(decision: &mut Decision<'_>) -> Outcome {
    decide_pop(decision, End::Max)
}

fn decide_pop(decision: &mut Decision<'_>, end: End) -> Outcome {
    let (keys, until) = keys_and_deadline(decision.args, decision.now)?;
    let Some(key) = decision.first_with_any(keys)? else {
        decision.wait_for(Type::Zset, until)?;
        decision.reply.null_array();
        return Ok(());
    };
    decision.reply_as_written(pop_write, OwnedArgs::new([end.pop_name(), key]));
    Ok(())
}

/// ZPOPMIN or ZPOPMAX, with the reply of BZPOPMIN.
fn pop_write(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    pop_with_key(ctx, key, End::of_pop(&args[0]))?;
    Ok(())
}

fn bzmpop(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let popping = Popping::parse(args.from(1))?;
    let until = deadline(&args[1], ctx.db.now())?;
    for key in args.from(3).iter().take(popping.keys) {
        if popping.pop(ctx, key)? {
            return Ok(());
        }
    }
    ctx.wait_for(Type::Zset, until)?;
    ctx.reply.null_array();
    Ok(())
}

fn bzmpop_decide(decision: &mut Decision<'_>) -> Outcome {
    let popping = Popping::parse(decision.args.from(1))?;
    let until = deadline(&decision.args[1], decision.now)?;
    let keys = decision.args.from(3).iter().take(popping.keys);
    let Some(key) = decision.first_with_any(keys)? else {
        decision.wait_for(Type::Zset, until)?;
        decision.reply.null_array();
        return Ok(());
    };
    decision.reply_as_written(zmpop_write, popping.request(key));
    Ok(())
}
