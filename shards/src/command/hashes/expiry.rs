//! Deadlines of fields: setting, reading and removing them.
//!
//! As those of keys they are propagated as instants (`HPEXPIREAT`), and ones
//! that have passed as `HDEL`.

use super::{ACCESSED, UPDATED, looking, writing};
use crate::command::args::integer;
use crate::command::keys::expiry::Unit;
use crate::command::spec::{Arity, flags};
use crate::command::{Args, Context, Handler, Outcome, Row};
use crate::effects::Event;
use crate::error::{CommandError, Unfinished};
use crate::number::parse_i64;
use crate::types::UnixMs;
use crate::value::{Collection, Hash};

const fn setting(
    name: &'static str,
    syntax: &'static str,
    summary: &'static str,
    run: Handler,
) -> Row {
    Row {
        since: "7.4.0",
        ..writing(name, syntax, summary, Arity::AtLeast(6), run)
    }
}

const fn reading(name: &'static str, summary: &'static str, run: Handler) -> Row {
    Row {
        since: "7.4.0",
        keys: ACCESSED,
        ..looking(
            name,
            "key FIELDS numfields field [field ...]",
            summary,
            Arity::AtLeast(5),
            run,
        )
    }
}

pub static COMMANDS: &[Row] = &[
    setting(
        "hexpire",
        "key seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        "Have fields expire after so many seconds.",
        hexpire,
    ),
    setting(
        "hpexpire",
        "key milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        "Have fields expire after so many milliseconds.",
        hpexpire,
    ),
    setting(
        "hexpireat",
        "key unix-time-seconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        "Have fields expire at an instant given in seconds.",
        hexpireat,
    ),
    setting(
        "hpexpireat",
        "key unix-time-milliseconds [NX | XX | GT | LT] FIELDS numfields field [field ...]",
        "Have fields expire at an instant given in milliseconds.",
        hpexpireat,
    ),
    Row {
        tips: &["nondeterministic_output"],
        ..reading("httl", "How many seconds fields have left.", httl)
    },
    Row {
        tips: &["nondeterministic_output"],
        ..reading("hpttl", "How many milliseconds fields have left.", hpttl)
    },
    reading(
        "hexpiretime",
        "The instants at which fields expire, in seconds.",
        hexpiretime,
    ),
    reading(
        "hpexpiretime",
        "The instants at which fields expire, in milliseconds.",
        hpexpiretime,
    ),
    Row {
        keys: UPDATED,
        flags: flags::WRITE.with(flags::FAST),
        ..reading("hpersist", "Have fields expire no more.", hpersist)
    },
];

/// The last instant a field's deadline may be, ms.
const LATEST: i64 = (1 << 46) - 1;
const NO_COUNT: &str = "ERR Number of fields must be a positive integer";

/// The instant `number` units after `base`.
pub fn deadline(
    number: &[u8],
    unit: Unit,
    base: UnixMs,
    command: &'static str,
) -> Result<UnixMs, CommandError> {
    let number = integer(number)?;
    if number < 0 {
        return Err(CommandError::Static(
            "ERR invalid expire time, must be >= 0",
        ));
    }
    let factor = match unit {
        Unit::Seconds => 1000,
        Unit::Milliseconds => 1,
    };
    let ms = number
        .checked_mul(factor)
        .and_then(|ms| ms.checked_add(base.0));
    let ms = ms.filter(|ms| *ms <= LATEST);
    ms.map(UnixMs).ok_or(CommandError::InvalidExpire(command))
}

/// What follows `FIELDS numfields`, where argument `at` must be that word.
pub fn fields<'a>(
    args: Args<'a>,
    at: usize,
    no_count: &'static str,
) -> Result<Args<'a>, CommandError> {
    let is_there = args
        .get(at)
        .is_some_and(|word| word.eq_ignore_ascii_case(b"FIELDS"));
    if !is_there {
        return Err(CommandError::Static(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let count = args.get(at + 1).and_then(parse_i64);
    let count = count.and_then(|count| usize::try_from(count).ok());
    let count = count.filter(|count| *count > 0);
    if count.ok_or(CommandError::Static(no_count))? != args.len() - (at + 2) {
        return Err(CommandError::Static(
            "ERR The `numfields` parameter must match the number of arguments",
        ));
    }
    Ok(args.from(at + 2))
}

/// The command with these words in front of `FIELDS`, about these fields.
pub fn about<'a>(head: &[&'a [u8]], count: &'a [u8], names: &[&'a [u8]]) -> Vec<&'a [u8]> {
    let mut parts = head.to_vec();
    parts.extend([&b"FIELDS"[..], count]);
    parts.extend(names);
    parts
}

/// Propagates that these fields now have the deadline `at`, or none.
pub fn propagate_deadline(ctx: &mut Context<'_>, key: &[u8], at: Option<UnixMs>, names: &[&[u8]]) {
    let (mut count, mut ms) = (itoa::Buffer::new(), itoa::Buffer::new());
    let count = count.format(names.len()).as_bytes();
    let parts = match at {
        Some(at) => {
            let ms = ms.format(at.0).as_bytes();
            about(&[b"HPEXPIREAT", key, ms], count, names)
        }
        None => about(&[b"HPERSIST", key], count, names),
    };
    ctx.propagate(&parts);
}

/// Propagates that these fields are gone.
pub fn propagate_removal(ctx: &mut Context<'_>, key: &[u8], names: &[&[u8]]) {
    let parts: Vec<&[u8]> = [&b"HDEL"[..], key].iter().chain(names).copied().collect();
    ctx.propagate(&parts);
}

/// Which deadlines may be replaced. A field without one counts as living forever.
#[derive(Clone, Copy)]
enum Condition {
    None,
    Nx,
    Xx,
    Gt,
    Lt,
}

impl Condition {
    fn parse(word: Option<&[u8]>) -> Self {
        let is = |name: &[u8]| word.is_some_and(|word| word.eq_ignore_ascii_case(name));
        match () {
            () if is(b"NX") => Self::Nx,
            () if is(b"XX") => Self::Xx,
            () if is(b"GT") => Self::Gt,
            () if is(b"LT") => Self::Lt,
            () => Self::None,
        }
    }

    fn allows(self, old: Option<UnixMs>, new: UnixMs) -> bool {
        match self {
            Self::None => true,
            Self::Nx => old.is_none(),
            Self::Xx => old.is_some(),
            Self::Gt => old.is_some_and(|old| new > old),
            Self::Lt => old.is_none_or(|old| new < old),
        }
    }
}

fn hexpire(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.db.now();
    expire_generic(ctx, args, Unit::Seconds, now, "hexpire")
}

fn hpexpire(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.db.now();
    expire_generic(ctx, args, Unit::Milliseconds, now, "hpexpire")
}

fn hexpireat(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    expire_generic(ctx, args, Unit::Seconds, UnixMs(0), "hexpireat")
}

fn hpexpireat(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    expire_generic(ctx, args, Unit::Milliseconds, UnixMs(0), "hpexpireat")
}

const MISSING: i64 = -2;
const NOT_MET: i64 = 0;
const SET: i64 = 1;
const DELETED: i64 = 2;

fn expire_generic(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    unit: Unit,
    base: UnixMs,
    command: &'static str,
) -> Outcome {
    const NO_COUNT: &str = "ERR Parameter `numFields` should be greater than 0";
    let (key, now) = (&args[1], ctx.db.now());
    ctx.db.lookup_as::<Hash>(key)?;
    let at = deadline(&args[2], unit, base, command)?;
    let condition = Condition::parse(args.get(3));
    let from = 3 + usize::from(!matches!(condition, Condition::None));
    let names = fields(args, from, NO_COUNT)?;
    ctx.db.drop_due_fields(key, names.iter());
    let mut codes = Vec::new();
    codes
        .try_reserve_exact(names.len())
        .map_err(|_| CommandError::OutOfMemory)?;
    let change = |hash: &mut Hash| {
        for name in names.iter() {
            let code = match hash.view().find(name) {
                None => MISSING,
                Some(field) if !condition.allows(field.expire_at, at) => NOT_MET,
                Some(_) if at <= now => {
                    hash.remove(name);
                    DELETED
                }
                Some(_) => {
                    let set = hash.set_deadline(name, Some(at));
                    set.map_err(|error| Unfinished::after(codes.len(), error))?;
                    SET
                }
            };
            codes.push(code);
        }
        Ok(())
    };
    let failed = match ctx.db.try_edit(key, change) {
        Ok(found) => {
            if found.is_none() {
                codes.resize(names.len(), MISSING);
            }
            None
        }
        Err(Unfinished { done, error }) => {
            codes.truncate(done);
            Some(error)
        }
    };
    let with = |code: i64| -> Vec<&[u8]> {
        let pairs = names.iter().zip(&codes).filter(|(_, it)| **it == code);
        pairs.map(|(name, _)| name).collect()
    };
    let (set, deleted) = (with(SET), with(DELETED));
    if !set.is_empty() {
        ctx.changed_times(key, Event::HExpire, set.len());
        propagate_deadline(ctx, key, Some(at), &set);
    }
    if !deleted.is_empty() {
        ctx.changed_times(key, Event::HDel, deleted.len());
        propagate_removal(ctx, key, &deleted);
    }
    ctx.reply.array(codes.len());
    codes.iter().for_each(|code| ctx.reply.integer(*code));
    failed.map_or(Ok(()), Err)
}

/// Gives fields that are there a deadline, or none, and says so to everybody.
pub(super) fn set_deadlines(
    ctx: &mut Context<'_>,
    key: &[u8],
    names: &[&[u8]],
    at: Option<UnixMs>,
    event: Event,
) -> Outcome {
    let set = |hash: &mut Hash| {
        for (done, name) in names.iter().enumerate() {
            let set = hash.set_deadline(name, at);
            set.map_err(|error| Unfinished::after(done, error))?;
        }
        Ok(())
    };
    let (done, failed) = match ctx.db.try_edit(key, set) {
        Ok(_) => (names.len(), Ok(())),
        Err(Unfinished { done, error }) => (done, Err(error)),
    };
    if done > 0 {
        ctx.changed_times(key, event, done);
        propagate_deadline(ctx, key, at, &names[..done]);
    }
    failed
}

/// Replies -2 for a missing field, -1 for one that lives forever, else `number`
/// of its deadline.
fn reply_deadlines(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    number: impl Fn(UnixMs) -> i64,
) -> Outcome {
    let (key, now) = (&args[1], ctx.db.now());
    ctx.db.lookup_as::<Hash>(key)?;
    let names = fields(args, 2, NO_COUNT)?;
    ctx.db.expire_fields(key, names.iter());
    let hash = ctx.db.read_as::<Hash>(key)?;
    ctx.reply.array(names.len());
    for name in names.iter() {
        let field = hash.and_then(|hash| hash.find(name));
        let field = field.filter(|field| !field.is_due(now));
        let deadline = field.map(|field| field.expire_at.map_or(-1, &number));
        ctx.reply.integer(deadline.unwrap_or(MISSING));
    }
    Ok(())
}

fn httl(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.db.now();
    // Rounded up: a field that is there has time left.
    reply_deadlines(ctx, args, |at| (at.0 - now.0 + 999) / 1000)
}

fn hpttl(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let now = ctx.db.now();
    reply_deadlines(ctx, args, |at| at.0 - now.0)
}

fn hexpiretime(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    reply_deadlines(ctx, args, |at| (at.0 + 999) / 1000)
}

fn hpexpiretime(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    reply_deadlines(ctx, args, |at| at.0)
}

fn hpersist(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = &args[1];
    ctx.db.lookup_as::<Hash>(key)?;
    let names = fields(args, 2, NO_COUNT)?;
    ctx.db.drop_due_fields(key, names.iter());
    let hash = ctx.db.lookup_as::<Hash>(key)?;
    let had = |name: &[u8]| match hash.and_then(|hash| hash.find(name)) {
        None => MISSING,
        Some(field) => field.expire_at.map_or(-1, |_| SET),
    };
    let codes: Vec<i64> = names.iter().map(had).collect();
    let pairs = names.iter().zip(&codes).filter(|(_, code)| **code == SET);
    let freed: Vec<&[u8]> = pairs.map(|(name, _)| name).collect();
    if !freed.is_empty() {
        set_deadlines(ctx, key, &freed, None, Event::HPersist)?;
    }
    ctx.reply.array(codes.len());
    codes.iter().for_each(|code| ctx.reply.integer(*code));
    Ok(())
}
