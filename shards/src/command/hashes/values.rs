//! Values together with deadlines: HGETEX, HSETEX, HGETDEL.

use super::expiry::{about, deadline, fields, propagate_removal, set_deadlines};
use super::{UPDATED, names_of, reply_value, set_all, writing};
use crate::command::keys::expiry::Unit;
use crate::command::spec::{Arity, KeySpec, flags};
use crate::command::{Args, Context, Outcome, Row};
use crate::effects::Event;
use crate::error::CommandError;
use crate::number::parse_i64;
use crate::types::UnixMs;
use crate::value::{Collection, FieldTtl, Hash};

pub static COMMANDS: &[Row] = &[
    Row {
        since: "8.0.0",
        keys: &[KeySpec::first(&["RW", "access", "update"])
            .noted("RW and UPDATE because it changes the TTL")],
        flags: flags::WRITE.with(flags::FAST),
        ..writing(
            "hgetex",
            "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS numfields field [field ...]",
            "The values of fields; sets or removes their deadlines.",
            Arity::AtLeast(5),
            hgetex,
        )
    },
    Row {
        since: "8.0.0",
        keys: UPDATED,
        ..writing(
            "hsetex",
            "key [FNX | FXX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] FIELDS numfields field value [field value ...]",
            "Set fields and their deadline, if all or none of them are there.",
            Arity::AtLeast(6),
            hsetex,
        )
    },
    Row {
        since: "8.0.0",
        keys: &[KeySpec::first(&["RW", "access", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        ..writing(
            "hgetdel",
            "key FIELDS numfields field [field ...]",
            "The values of fields, which are removed.",
            Arity::AtLeast(5),
            hgetdel,
        )
    },
];

const NO_COUNT: &str = "ERR Number of fields must be a positive integer";

/// What is to become of deadlines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Deadline {
    Unsaid,
    At(UnixMs),
    /// PERSIST or KEEPTTL.
    Word,
}

/// What stands before FIELDS.
struct Options {
    deadline: Deadline,
    fnx: bool,
    fxx: bool,
    /// Where FIELDS stands.
    end: usize,
}

/// What distinguishes the two commands with options.
struct Dialect {
    command: &'static str,
    /// The word for a deadline that is not an instant.
    word: &'static [u8],
    conditions: bool,
    only_one: CommandError,
}

impl Options {
    fn parse(args: Args<'_>, now: UnixMs, dialect: &Dialect) -> Result<Self, CommandError> {
        let mut options = Self {
            deadline: Deadline::Unsaid,
            fnx: false,
            fxx: false,
            end: 2,
        };
        while let Some(word) = args.get(options.end) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            if is(b"FIELDS") {
                break;
            }
            options.end += 1;
            if dialect.conditions && (is(b"FNX") || is(b"FXX")) {
                if options.fnx || options.fxx {
                    return Err(CommandError::Static(
                        "ERR Only one of FXX or FNX arguments can be specified",
                    ));
                }
                (options.fnx, options.fxx) = (is(b"FNX"), is(b"FXX"));
                continue;
            }
            let (unit, base) = match () {
                () if is(b"EX") => (Unit::Seconds, now),
                () if is(b"PX") => (Unit::Milliseconds, now),
                () if is(b"EXAT") => (Unit::Seconds, UnixMs(0)),
                () if is(b"PXAT") => (Unit::Milliseconds, UnixMs(0)),
                () if is(dialect.word) => {
                    options.say(Deadline::Word, dialect)?;
                    continue;
                }
                () => return Err(CommandError::quoting("ERR unknown argument: ", word, "")),
            };
            let number = args.get(options.end).ok_or(CommandError::Syntax)?;
            options.end += 1;
            // Two of them are refused before the number is looked at.
            options.say(Deadline::Word, dialect)?;
            let at = deadline(number, unit, base, dialect.command)?;
            options.deadline = Deadline::At(at);
        }
        Ok(options)
    }

    fn say(&mut self, deadline: Deadline, dialect: &Dialect) -> Outcome {
        if self.deadline != Deadline::Unsaid {
            return Err(dialect.only_one.clone());
        }
        self.deadline = deadline;
        Ok(())
    }
}

fn hgetex(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, now) = (&args[1], ctx.db.now());
    ctx.db.lookup_as::<Hash>(key)?;
    let dialect = Dialect {
        command: "hgetex",
        word: b"PERSIST",
        conditions: false,
        only_one: CommandError::Static(
            "ERR Only one of EX, PX, EXAT, PXAT or PERSIST arguments can be specified",
        ),
    };
    let options = Options::parse(args, now, &dialect)?;
    let names = fields(args, options.end, NO_COUNT)?;
    ctx.db.drop_due_fields(key, names.iter());
    let hash = ctx.db.read_as::<Hash>(key)?;
    ctx.reply.array(names.len());
    let mut changed: Vec<&[u8]> = Vec::new();
    for name in names.iter() {
        let field = hash.and_then(|hash| hash.find(name));
        reply_value(&mut ctx.reply, field.map(|field| field.value));
        let changes = field.is_some_and(|field| match options.deadline {
            Deadline::Unsaid => false,
            Deadline::At(_) => true,
            Deadline::Word => field.expire_at.is_some(),
        });
        if changes {
            changed.push(name);
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    let at = match options.deadline {
        Deadline::At(at) => Some(at),
        Deadline::Unsaid | Deadline::Word => None,
    };
    if at.is_some_and(|at| at <= now) {
        // One that is named twice is removed once.
        let remove = |hash: &mut Hash| changed.retain(|name| hash.remove(name));
        ctx.db.edit(key, remove)?;
        ctx.changed_times(key, Event::HDel, changed.len());
        propagate_removal(ctx, key, &changed);
        return Ok(());
    }
    set_deadlines(ctx, key, &changed, at, Event::HExpire)
}

/// Fields and values of HSETEX.
fn pairs_of(args: Args<'_>, at: usize) -> Result<Args<'_>, CommandError> {
    if args.get(at).is_none() {
        return Err(CommandError::Static(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let count = args.get(at + 1).and_then(parse_i64);
    let count = count.and_then(|count| i32::try_from(count).ok());
    let count = count.and_then(|count| usize::try_from(count).ok());
    let count = count
        .filter(|count| *count > 0)
        .ok_or(CommandError::Static("ERR invalid number of fields"))?;
    if args.len() - (at + 2) != count * 2 {
        return Err(CommandError::WrongArity("hsetex".into()));
    }
    Ok(args.from(at + 2))
}

fn hsetex(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, now) = (&args[1], ctx.db.now());
    let dialect = Dialect {
        command: "hsetex",
        word: b"KEEPTTL",
        conditions: true,
        only_one: CommandError::Static(
            "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
        ),
    };
    let options = Options::parse(args, now, &dialect)?;
    let pairs = pairs_of(args, options.end)?;
    ctx.db.drop_due_fields(key, names_of(pairs));
    let hash = ctx.db.lookup_as::<Hash>(key)?;
    let is_there = |name: &[u8]| hash.is_some_and(|hash| hash.find(name).is_some());
    let refused = options.fnx && names_of(pairs).any(is_there)
        || options.fxx && !names_of(pairs).all(is_there);
    if refused {
        ctx.reply.integer(0);
        return Ok(());
    }
    let ttl = match options.deadline {
        Deadline::Unsaid => FieldTtl::Clear,
        Deadline::Word => FieldTtl::Keep,
        Deadline::At(at) if at <= now => {
            remove_past(ctx, key, pairs)?;
            ctx.reply.integer(1);
            return Ok(());
        }
        Deadline::At(at) => FieldTtl::At(at),
    };
    let growth = ctx.growth();
    let set = |hash: &mut Hash| {
        let set = set_all(hash, pairs, ttl, &growth);
        set.map_err(|unfinished| match options.fnx {
            // None of them was there, and all are to be set or none.
            true => {
                for name in names_of(pairs).take(unfinished.done) {
                    hash.remove(name);
                }
                unfinished.error.into()
            }
            false => unfinished,
        })
    };
    let (pairs, failed) = match ctx.db.edit_or_create(key, set) {
        Ok(_) => (pairs, None),
        Err(it) => (pairs.first(2 * it.done), Some(it.error)),
    };
    if pairs.is_empty() {
        return failed.map_or(Ok(()), Err);
    }
    ctx.changed_times(key, Event::HSet, pairs.len() / 2);
    if ctx.is_recording() {
        let (mut count, mut ms) = (itoa::Buffer::new(), itoa::Buffer::new());
        let count = count.format(pairs.len() / 2).as_bytes();
        let words: Vec<&[u8]> = pairs.iter().collect();
        let parts = match ttl {
            FieldTtl::Clear => about(&[b"HSETEX", key], count, &words),
            FieldTtl::Keep => about(&[b"HSETEX", key, b"KEEPTTL"], count, &words),
            FieldTtl::At(at) => {
                let ms = ms.format(at.0).as_bytes();
                about(&[b"HSETEX", key, b"PXAT", ms], count, &words)
            }
        };
        ctx.propagate(&parts);
    }
    ctx.reply.integer(1);
    failed.map_or(Ok(()), Err)
}

/// Fields set with a deadline that has passed are as good as removed.
fn remove_past(ctx: &mut Context<'_>, key: &[u8], pairs: Args<'_>) -> Outcome {
    let mut gone: Vec<&[u8]> = Vec::new();
    let remove = |hash: &mut Hash| gone.extend(names_of(pairs).filter(|name| hash.remove(name)));
    ctx.db.edit(key, remove)?;
    if !gone.is_empty() {
        ctx.changed_times(key, Event::HDel, gone.len());
        propagate_removal(ctx, key, &gone);
    }
    Ok(())
}

fn hgetdel(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = &args[1];
    ctx.db.lookup_as::<Hash>(key)?;
    let names = fields(args, 2, NO_COUNT)?;
    ctx.db.drop_due_fields(key, names.iter());
    let reply = &mut ctx.reply;
    reply.array(names.len());
    let mut gone: Vec<&[u8]> = Vec::new();
    let take = |hash: &mut Hash| {
        for name in names.iter() {
            let field = hash.view().find(name);
            reply_value(reply, field.map(|field| field.value));
            if field.is_some() {
                hash.remove(name);
                gone.push(name);
            }
        }
    };
    if ctx.db.edit(key, take)?.is_none() {
        (0..names.len()).for_each(|_| ctx.reply.null());
    }
    if !gone.is_empty() {
        ctx.changed_times(key, Event::HDel, gone.len());
        propagate_removal(ctx, key, &gone);
    }
    Ok(())
}
