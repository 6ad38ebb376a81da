//! Commands on hashes.
//!
//! [`numbers`] has what adds to a field, [`chance`] what chooses one, and
//! [`expiry`] and [`values`] what concerns fields' deadlines.
//!
//! Every handler that writes first has the fields that it is about removed if their
//! time has come (`Db::drop_due_fields`), so that what it does needs no clock where
//! its effect is played. One that looks has some removed (`Db::expire_fields`), but
//! they may be to stay, so it judges each field that it shows.

pub mod chance;
pub mod expiry;
pub mod numbers;
pub mod values;

use super::args::Scan;
use super::long::Piece;
use super::scanning::Scanning;
use super::sets::reply_element;
use super::spec::{Arity, Deprecated, Group, InSlices, KeySpec, flags};
use super::{Args, Context, Outcome, ROW, Row, Run};
use crate::effects::Event;
use crate::error::{CommandError, Unfinished};
use crate::resp::Reply;
use crate::value::{Collection, Element, FieldTtl, Growth, Hash, HashRef};

/// A row that only looks at one hash.
const fn looking(
    name: &'static str,
    syntax: &'static str,
    summary: &'static str,
    arity: Arity,
    run: super::Handler,
) -> Row {
    Row {
        name,
        syntax,
        summary,
        since: "2.0.0",
        complexity: "O(N) with N the number of fields given",
        group: Group::Hash,
        arity,
        keys: ACCESSED,
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(run),
        ..ROW
    }
}

/// A row that replies all of a hash.
const fn listing(name: &'static str, summary: &'static str, run: super::Handler) -> Row {
    Row {
        complexity: "O(N) with N the number of fields",
        flags: flags::READONLY,
        tips: &["nondeterministic_output_order"],
        ..looking(name, "key", summary, Arity::Exactly(2), run)
    }
}

/// A row that writes to one hash.
const fn writing(
    name: &'static str,
    syntax: &'static str,
    summary: &'static str,
    arity: Arity,
    run: super::Handler,
) -> Row {
    Row {
        keys: UPDATED,
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        ..looking(name, syntax, summary, arity, run)
    }
}

const ACCESSED: &[KeySpec] = &[KeySpec::first(&["RO", "access"])];
const UPDATED: &[KeySpec] = &[KeySpec::first(&["RW", "update"])];
const SCANNED: &str = "O(1) per call, O(N) for all calls of one pass over N fields";

pub static COMMANDS: &[Row] = &[
    Row {
        history: &[("4.0.0", "Sets several fields.")],
        ..writing(
            "hset",
            "key field value [field value ...]",
            "Set fields of a hash; a missing one is created.",
            Arity::AtLeast(4),
            hset,
        )
    },
    Row {
        deprecated: Some(Deprecated {
            since: "4.0.0",
            replaced_by: "`HSET` with multiple field-value pairs",
        }),
        ..writing(
            "hmset",
            "key field value [field value ...]",
            "Set fields of a hash, as HSET does, and reply OK.",
            Arity::AtLeast(4),
            hmset,
        )
    },
    Row {
        keys: &[KeySpec::first(&["RW", "insert"])],
        ..writing(
            "hsetnx",
            "key field value",
            "Set a field of a hash unless it is there.",
            Arity::Exactly(4),
            hsetnx,
        )
    },
    looking(
        "hget",
        "key field",
        "The value of a field.",
        Arity::Exactly(3),
        hget,
    ),
    looking(
        "hmget",
        "key field [field ...]",
        "The values of several fields; null for what is missing.",
        Arity::AtLeast(3),
        hmget,
    ),
    listing("hgetall", "All fields of a hash and their values.", hgetall),
    listing("hkeys", "All fields of a hash.", hkeys),
    listing("hvals", "The values of all fields of a hash.", hvals),
    Row {
        complexity: "O(1)",
        keys: &[KeySpec::first(&["RO"])],
        ..looking(
            "hlen",
            "key",
            "The number of fields of a hash.",
            Arity::Exactly(2),
            hlen,
        )
    },
    Row {
        keys: &[KeySpec::first(&["RO"])],
        ..looking(
            "hexists",
            "key field",
            "Whether a hash has a field.",
            Arity::Exactly(3),
            hexists,
        )
    },
    Row {
        since: "3.2.0",
        keys: &[KeySpec::first(&["RO"])],
        ..looking(
            "hstrlen",
            "key field",
            "The length of the value of a field.",
            Arity::Exactly(3),
            hstrlen,
        )
    },
    Row {
        keys: &[KeySpec::first(&["RW", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        history: &[("2.4.0", "Takes several fields.")],
        ..writing(
            "hdel",
            "key field [field ...]",
            "Remove fields from a hash.",
            Arity::AtLeast(3),
            hdel,
        )
    },
    Row {
        since: "2.8.0",
        complexity: SCANNED,
        flags: flags::READONLY,
        slices: InSlices::IfMuch,
        tips: &["nondeterministic_output"],
        ..looking(
            "hscan",
            "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
            "Go through the fields of a hash, some with each call.",
            Arity::AtLeast(3),
            hscan,
        )
    },
];

/// The first of every two arguments.
fn names_of(pairs: Args<'_>) -> impl Iterator<Item = &[u8]> {
    pairs.iter().step_by(2)
}

/// Sets fields and values; how many fields are new.
fn set_all(
    hash: &mut Hash,
    pairs: Args<'_>,
    ttl: FieldTtl,
    growth: &Growth<'_>,
) -> Result<i64, Unfinished> {
    let longest = pairs.iter().map(<[u8]>::len).max().unwrap_or(0);
    hash.expect(pairs.len() / 2, longest, growth)?;
    let (mut words, mut done, mut new) = (pairs.iter(), 0, 0);
    while let (Some(name), Some(value)) = (words.next(), words.next()) {
        let is_new = hash.set(name, value, ttl, growth);
        new += i64::from(is_new.map_err(|error| Unfinished::after(done, error))?);
        done += 1;
    }
    Ok(new)
}

fn set_pairs(ctx: &mut Context<'_>, args: Args<'_>, command: &str) -> Result<i64, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity(command.into()));
    }
    let (key, pairs) = (&args[1], args.from(2));
    ctx.db.drop_due_fields(key, names_of(pairs));
    let growth = ctx.growth();
    let set = |hash: &mut Hash| set_all(hash, pairs, FieldTtl::Clear, &growth);
    let new = ctx
        .db
        .edit_or_create(key, set)
        .map_err(|it| ctx.give_up(key, Event::HSet, args.first(2 + 2 * it.done), it))?;
    ctx.changed_times(key, Event::HSet, pairs.len() / 2);
    Ok(new)
}

fn hset(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let new = set_pairs(ctx, args, "hset")?;
    ctx.reply.integer(new);
    Ok(())
}

fn hmset(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    set_pairs(ctx, args, "hmset")?;
    ctx.reply.ok();
    Ok(())
}

fn hsetnx(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, name, value] = args.exactly()?;
    ctx.db.drop_due_fields(key, [name].into_iter());
    let growth = ctx.growth();
    let set = |hash: &mut Hash| {
        let is_free = hash.view().find(name).is_none();
        if is_free {
            hash.set(name, value, FieldTtl::Clear, &growth)?;
        }
        Ok(is_free)
    };
    let was_set = ctx.db.edit_or_create(key, set)?;
    if was_set {
        ctx.changed(key, Event::HSet);
    }
    ctx.reply.integer(i64::from(was_set));
    Ok(())
}

fn reply_value(reply: &mut Reply<'_>, value: Option<Element<'_>>) {
    match value {
        Some(value) => reply_element(reply, value),
        None => reply.null(),
    }
}

fn hget(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, name] = args.exactly()?;
    let now = ctx.db.now();
    ctx.db.expire_fields(key, [name].into_iter());
    let hash = ctx.db.read_as::<Hash>(key)?;
    let value = hash.and_then(|hash| hash.get(name, now));
    reply_value(&mut ctx.reply, value);
    Ok(())
}

fn hmget(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, names, now) = (&args[1], args.from(2), ctx.db.now());
    ctx.db.expire_fields(key, names.iter());
    let hash = ctx.db.read_as::<Hash>(key)?;
    ctx.reply.array(names.len());
    for name in names.iter() {
        let value = hash.and_then(|hash| hash.get(name, now));
        reply_value(&mut ctx.reply, value);
    }
    Ok(())
}

/// Which halves of the pairs are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Halves {
    Names,
    Values,
    Both,
}

fn reply_all(ctx: &mut Context<'_>, args: Args<'_>, halves: Halves) -> Outcome {
    let [key] = args.exactly()?;
    let now = ctx.db.now();
    let mut piece = Piece::new(ctx);
    ctx.db.expire_fields(key, std::iter::empty());
    let hash = piece.read::<Hash>(&mut ctx.db, key)?;
    // With very many due fields at once some are still there.
    let due = |hash: &HashRef<'_>| hash.earliest().is_some_and(|at| at <= now);
    let len = match hash {
        Some(hash) if due(&hash) => hash.iter().filter(|field| !field.is_due(now)).count(),
        Some(hash) => hash.len(),
        None => 0,
    };
    let reply = &mut ctx.reply;
    piece.begin(reply, len, |reply| match halves {
        Halves::Both => reply.map(len),
        Halves::Names | Halves::Values => reply.array(len),
    })?;
    let from = piece.from;
    let fields = hash.into_iter().flat_map(|hash| hash.iter_from(from));
    piece.fill(reply, fields, |reply, field| {
        if field.is_due(now) {
            return;
        }
        if halves != Halves::Values {
            reply_element(reply, field.name);
        }
        if halves != Halves::Names {
            reply_element(reply, field.value);
        }
    });
    piece.end(&ctx.db, ctx.cargo, key)
}

fn hgetall(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    reply_all(ctx, args, Halves::Both)
}

fn hkeys(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    reply_all(ctx, args, Halves::Names)
}

fn hvals(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    reply_all(ctx, args, Halves::Values)
}

fn hlen(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    ctx.db.expire_fields(key, std::iter::empty());
    let len = ctx.db.read_as::<Hash>(key)?.map_or(0, |hash| hash.len());
    ctx.reply.integer(len as i64);
    Ok(())
}

fn hexists(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, name] = args.exactly()?;
    let now = ctx.db.now();
    ctx.db.expire_fields(key, [name].into_iter());
    let hash = ctx.db.read_as::<Hash>(key)?;
    let exists = hash.is_some_and(|hash| hash.get(name, now).is_some());
    ctx.reply.integer(i64::from(exists));
    Ok(())
}

fn hstrlen(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, name] = args.exactly()?;
    let now = ctx.db.now();
    ctx.db.expire_fields(key, [name].into_iter());
    let hash = ctx.db.read_as::<Hash>(key)?;
    let value = hash.and_then(|hash| hash.get(name, now));
    let len = value.map_or(0, |value| value.len_bytes());
    ctx.reply.integer(len as i64);
    Ok(())
}

fn hdel(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, names) = (&args[1], args.from(2));
    ctx.db.drop_due_fields(key, names.iter());
    let remove = |hash: &mut Hash| names.iter().filter(|it| hash.remove(it)).count();
    let removed = ctx.db.edit(key, remove)?.unwrap_or(0);
    if removed > 0 {
        ctx.changed_times(key, Event::HDel, removed);
    }
    ctx.reply.integer(removed as i64);
    Ok(())
}

fn hscan(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (cursor, now) = (Scan::cursor(args)?, ctx.db.now());
    match Scanning::resumed(ctx) {
        None => {}
        Some(Ok(scanning)) => return scan_on(ctx, args, scanning),
        Some(Err(outcome)) => return outcome,
    }
    ctx.db.expire_fields(&args[1], std::iter::empty());
    let Some(hash) = ctx.db.read_as::<Hash>(&args[1])? else {
        Scan::reply_nothing(&mut ctx.reply);
        return Ok(());
    };
    let (count, scan) = (hash.len(), Scan::parse(args, true)?);
    if ctx.in_slices(scan.count.min(count), (1, 0))? {
        return scan_on(ctx, args, Scanning::new(cursor, scan.count));
    }
    let Some(hash) = ctx.db.lookup_as::<Hash>(&args[1])? else {
        return Ok(());
    };
    let (mut found, mut len) = (Vec::new(), 0);
    let max = ctx.settings.reply_max.bytes;
    let mut elements = Reply::until(&mut found, ctx.reply.protocol(), max);
    let next = hash.scan(cursor, scan.count, &mut |field| {
        if field.is_due(now) || !field.name.with_bytes(|name| scan.wants(name)) {
            return;
        }
        reply_element(&mut elements, field.name);
        len += 1;
        if !scan.no_values {
            reply_element(&mut elements, field.value);
            len += 1;
        }
    });
    elements.complete()?;
    Scan::reply(&mut ctx.reply, next, len, &found);
    Ok(())
}

/// A slice of HSCAN.
fn scan_on(ctx: &mut Context<'_>, args: Args<'_>, mut scanning: Box<Scanning>) -> Outcome {
    let (scan, protocol) = (Scan::parse(args, true)?, ctx.reply.protocol());
    let (now, budget) = (ctx.db.now(), scanning.budget(ctx));
    let mut next = 0;
    if let Some(hash) = ctx.db.lookup_as::<Hash>(&args[1])? {
        next = hash.scan(scanning.cursor, budget, &mut |field| {
            scanning.meet();
            if field.is_due(now) || !field.name.with_bytes(|name| scan.wants(name)) {
                return;
            }
            field.name.with_bytes(|name| scanning.add(protocol, name));
            if !scan.no_values {
                field
                    .value
                    .with_bytes(|value| scanning.add(protocol, value));
            }
        });
    }
    scanning.end(ctx, next)
}

#[cfg(test)]
mod tests;
