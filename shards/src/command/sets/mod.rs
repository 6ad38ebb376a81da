//! Commands on sets.
//!
//! What depends on chance is in [`chance`], what compares several sets in
//! [`algebra`].

pub mod algebra;
pub mod chance;
mod smove;

pub use smove::COMMANDS as SMOVE;

use super::args::Scan;
use super::long::Piece;
use super::scanning::Scanning;
use super::spec::{Arity, Group, InSlices, KeySpec, flags};
use super::{Args, Context, Outcome, ROW, Row, Run};
use crate::effects::Event;
use crate::error::Unfinished;
use crate::resp::Reply;
use crate::value::{Element, Growth, Set};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "sadd",
        syntax: "key member [member ...]",
        summary: "Add members to a set; a missing one is created.",
        since: "1.0.0",
        complexity: "O(N) with N the number of members given",
        group: Group::Set,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RW", "insert"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        history: &[("2.4.0", "Takes several members.")],
        run: Run::OneShard(sadd),
        ..ROW
    },
    Row {
        name: "srem",
        syntax: "key member [member ...]",
        summary: "Remove members from a set.",
        since: "1.0.0",
        complexity: "O(N) with N the number of members given",
        group: Group::Set,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RW", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        history: &[("2.4.0", "Takes several members.")],
        run: Run::OneShard(srem),
        ..ROW
    },
    Row {
        name: "scard",
        syntax: "key",
        summary: "The number of members of a set.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Set,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RO"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(scard),
        ..ROW
    },
    Row {
        name: "sismember",
        syntax: "key member",
        summary: "Whether something is a member of a set.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Set,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RO"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(sismember),
        ..ROW
    },
    Row {
        name: "smismember",
        syntax: "key member [member ...]",
        summary: "Which of several things are members of a set.",
        since: "6.2.0",
        complexity: "O(N) with N the number of members given",
        group: Group::Set,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(smismember),
        ..ROW
    },
    Row {
        name: "smembers",
        syntax: "key",
        summary: "All members of a set.",
        since: "1.0.0",
        complexity: "O(N) with N the number of members",
        group: Group::Set,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        tips: &["nondeterministic_output_order"],
        run: Run::OneShard(smembers),
        ..ROW
    },
    Row {
        name: "sscan",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        summary: "Go through the members of a set, some with each call.",
        since: "2.8.0",
        complexity: "O(1) per call, O(N) for all calls of one pass over N members",
        group: Group::Set,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        slices: InSlices::IfMuch,
        tips: &["nondeterministic_output"],
        run: Run::OneShard(sscan),
        ..ROW
    },
];

fn sadd(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, members) = (&args[1], args.from(2));
    let growth = ctx.growth();
    let added = ctx
        .db
        .edit_or_create(key, |set: &mut Set| add_all(set, members, &growth))
        .map_err(|it| ctx.give_up(key, Event::SAdd, args.first(2 + it.done), it))?;
    if added > 0 {
        ctx.changed_times(key, Event::SAdd, added);
    }
    ctx.reply.integer(added as i64);
    Ok(())
}

/// How many were new.
fn add_all(set: &mut Set, members: Args<'_>, growth: &Growth<'_>) -> Result<usize, Unfinished> {
    set.expect(members.len(), growth)?;
    let mut added = 0;
    for (done, member) in members.iter().enumerate() {
        let new = set.add(member, growth);
        added += usize::from(new.map_err(|error| match added {
            0 => error.into(),
            _ => Unfinished::after(done, error),
        })?);
    }
    Ok(added)
}

fn srem(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, members) = (&args[1], args.from(2));
    let remove = |set: &mut Set| members.iter().filter(|it| set.remove(it)).count();
    let removed = ctx.db.edit(key, remove)?.unwrap_or(0);
    if removed > 0 {
        ctx.changed_times(key, Event::SRem, removed);
    }
    ctx.reply.integer(removed as i64);
    Ok(())
}

fn scard(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    let len = ctx.db.read_as::<Set>(key)?.map_or(0, |set| set.len());
    ctx.reply.integer(len as i64);
    Ok(())
}

fn sismember(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, member] = args.exactly()?;
    let set = ctx.db.read_as::<Set>(key)?;
    let is_member = set.is_some_and(|set| set.contains(member));
    ctx.reply.integer(i64::from(is_member));
    Ok(())
}

fn smismember(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let set = ctx.db.read_as::<Set>(&args[1])?;
    ctx.reply.array(args.len() - 2);
    for member in args.from(2).iter() {
        let is_member = set.is_some_and(|set| set.contains(member));
        ctx.reply.integer(i64::from(is_member));
    }
    Ok(())
}

fn smembers(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    let mut piece = Piece::new(ctx);
    let reply = &mut ctx.reply;
    let Some(set) = piece.read::<Set>(&mut ctx.db, key)? else {
        reply.set(0);
        return Ok(());
    };
    let len = set.len();
    piece.begin(reply, len, |reply| reply.set(len))?;
    piece.fill(reply, set.iter_from(piece.from), reply_element);
    piece.end(&ctx.db, ctx.cargo, key)
}

fn sscan(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let cursor = Scan::cursor(args)?;
    match Scanning::resumed(ctx) {
        None => {}
        Some(Ok(scanning)) => return scan_on(ctx, args, scanning),
        Some(Err(outcome)) => return outcome,
    }
    let Some(set) = ctx.db.read_as::<Set>(&args[1])? else {
        Scan::reply_nothing(&mut ctx.reply);
        return Ok(());
    };
    let (len, scan) = (set.len(), Scan::parse(args, false)?);
    if ctx.in_slices(scan.count.min(len), (1, 0))? {
        return scan_on(ctx, args, Scanning::new(cursor, scan.count));
    }
    let Some(set) = ctx.db.lookup_as::<Set>(&args[1])? else {
        return Ok(());
    };
    let (mut found, mut len) = (Vec::new(), 0);
    let max = ctx.settings.reply_max.bytes;
    let mut elements = Reply::until(&mut found, ctx.reply.protocol(), max);
    let next = set.scan(cursor, scan.count, &mut |member| {
        member.with_bytes(|member| {
            if scan.wants(member) {
                elements.bulk(member);
                len += 1;
            }
        });
    });
    elements.complete()?;
    Scan::reply(&mut ctx.reply, next, len, &found);
    Ok(())
}

/// A slice of SSCAN.
fn scan_on(ctx: &mut Context<'_>, args: Args<'_>, mut scanning: Box<Scanning>) -> Outcome {
    let (scan, protocol) = (Scan::parse(args, false)?, ctx.reply.protocol());
    let budget = scanning.budget(ctx);
    let mut next = 0;
    if let Some(set) = ctx.db.lookup_as::<Set>(&args[1])? {
        next = set.scan(scanning.cursor, budget, &mut |member| {
            scanning.meet();
            member.with_bytes(|member| {
                if scan.wants(member) {
                    scanning.add(protocol, member);
                }
            });
        });
    }
    scanning.end(ctx, next)
}

/// Replies an element's text.
pub fn reply_element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Int(number) => reply.bulk_integer(number),
        Element::Bytes(bytes) => reply.bulk(bytes),
    }
}

#[cfg(test)]
mod tests;
