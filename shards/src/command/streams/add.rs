//! XADD, and XSETID: what a stream remembers.

use super::ids::{self, Given};
use super::options::Options;
use super::range::reply_id;
use super::trim::{Job, Threshold, go_on};
use crate::command::args::integer;
use crate::command::spec::{Arity, Group, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run, Work};
use crate::effects::Event;
use crate::error::{CommandError, Unfinished};
use crate::types::Type;
use crate::value::Stream;
use crate::value::stream::{Entries, NodeLimits, StreamId, TrimTo, pairs};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "xadd",
        syntax: "key [NOMKSTREAM] [KEEPREF | DELREF | ACKED] \
                 [<MAXLEN | MINID> [= | ~] threshold [LIMIT count]] <* | id> \
                 field value [field value ...]",
        summary: "Add an entry at the end of a stream; a missing stream is created.",
        since: "5.0.0",
        complexity: "O(1) for the entry; O(N) to trim, with N the number of entries removed",
        history: &[
            ("6.2.0", "Added NOMKSTREAM, MINID and LIMIT."),
            ("7.0.0", "Takes ids of the form ms-*."),
        ],
        group: Group::Stream,
        arity: Arity::AtLeast(5),
        keys: &[KeySpec::first(&["RW", "update"])
            .noted("UPDATE instead of INSERT because of the optional trimming feature")],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        slices: InSlices::IfCounted,
        tips: &["nondeterministic_output"],
        run: Run::OneShard(xadd),
        ..ROW
    },
    Row {
        name: "xsetid",
        syntax: "key last-id [ENTRIESADDED entries-added] [MAXDELETEDID max-deleted-id]",
        summary: "Set what a stream remembers of its entries; for replicas.",
        since: "5.0.0",
        complexity: "O(1)",
        history: &[("7.0.0", "Added ENTRIESADDED and MAXDELETEDID.")],
        group: Group::Stream,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RW", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        run: Run::OneShard(xsetid),
        ..ROW
    },
];

const ZERO: CommandError =
    CommandError::Static("ERR The ID specified in XADD must be greater than 0-0");
const EXHAUSTED: CommandError = CommandError::Static(
    "ERR The stream has exhausted the last possible ID, unable to add more items",
);
const NOT_GREATER: CommandError = CommandError::Static(
    "ERR The ID specified in XADD is equal or smaller than the target stream top item",
);
const TOO_LARGE: CommandError = CommandError::Static("ERR Elements are too large to be stored");

/// Bytes of the fields and values of an entry, at most.
const ENTRY_BYTES_MAX: usize = 1 << 30;

/// What came of an XADD so far.
struct Added {
    id: StreamId,
    /// How many entries were trimmed, and what would trim them exactly.
    trimmed: Option<(u64, TrimTo)>,
    more: Option<Box<Job>>,
}

fn xadd(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let options = Options::of_xadd(args, ctx.settings)?;
    let fields = args.from(options.end + 1);
    if fields.len() < 2 || fields.len() % 2 == 1 {
        return Err(CommandError::WrongArity("xadd".to_owned()));
    }
    if options.id == Some(Given::Whole(StreamId::MIN)) {
        return Err(ZERO);
    }
    let key = &args[1];
    if options.trimming.is_some()
        && let Some(Work::Trim(job)) = ctx.work()
    {
        let Some((job, left)) = go_on(ctx, key, job)? else {
            return Ok(());
        };
        let id = job.added.unwrap_or_default();
        return added(ctx, args, &options, (id, Some((job.removed(), left))));
    }
    let now = u64::try_from(ctx.db.now().0).unwrap_or(0);
    let limits = NodeLimits::of(&ctx.settings.encodings);
    let (slices, divisible) = ((ctx.at_once(), ctx.step()), ctx.cargo.divisible);
    let change = |stream: &mut Stream| {
        let id = next_id(&stream.entries, options.id, now)?;
        check_size(fields)?;
        let Some(trimming) = &options.trimming else {
            stream.entries.append(id, pairs(fields.iter()), limits)?;
            return Ok(Added::only(id));
        };
        let mut job = Job::new(trimming, options.references);
        let budget = job.budget(stream, 1, slices, divisible)?;
        stream.entries.append(id, pairs(fields.iter()), limits)?;
        let more = job.go_on(stream, budget);
        job.added = Some(id);
        Ok(Added {
            trimmed: Some((job.removed(), job.left(stream))),
            more: more.then(|| Box::new(job)),
            ..Added::only(id)
        })
    };
    let done = match options.only_if_there {
        false => ctx.db.edit_or_create(key, change)?,
        true => match ctx.db.try_edit(key, change)? {
            Some(done) => done,
            None => {
                ctx.reply.null();
                return Ok(());
            }
        },
    };
    match done.more {
        Some(job) => ctx.leave(Work::Trim(job)),
        None => added(ctx, args, &options, (done.id, done.trimmed)),
    }
}

impl Added {
    #[inline]
    fn only(id: StreamId) -> Self {
        Self {
            id,
            trimmed: None,
            more: None,
        }
    }
}

/// The id of an entry that is to be added.
#[inline]
fn next_id(entries: &Entries, given: Option<Given>, now: u64) -> Result<StreamId, Unfinished> {
    let last = entries.last_id();
    if last == StreamId::MAX {
        return Err(EXHAUSTED.into());
    }
    let id = match given {
        // Where the clock has gone back, ids do not.
        None if now <= last.ms => last.next(),
        None => Some(StreamId::new(now, 0)),
        Some(Given::Whole(id)) => Some(id),
        Some(Given::Within(ms)) if ms == last.ms => {
            last.seq.checked_add(1).map(|seq| StreamId::new(ms, seq))
        }
        Some(Given::Within(ms)) => Some(StreamId::new(ms, 0)),
    };
    Ok(id.filter(|id| *id > last).ok_or(NOT_GREATER)?)
}

#[inline]
fn check_size(fields: Args<'_>) -> Result<(), CommandError> {
    // Less than the buffer that holds them: almost always.
    if fields.buffer().len() <= ENTRY_BYTES_MAX {
        return Ok(());
    }
    let bytes: usize = fields.iter().map(<[u8]>::len).sum();
    match bytes <= ENTRY_BYTES_MAX {
        true => Ok(()),
        false => Err(TOO_LARGE),
    }
}

/// An entry is there, and what was to be trimmed is not.
fn added(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    options: &Options,
    (id, trimmed): (StreamId, Option<(u64, TrimTo)>),
) -> Outcome {
    let key = &args[1];
    ctx.changed(key, Event::XAdd);
    if trimmed.is_some_and(|(removed, _)| removed > 0) {
        ctx.also_changed(key, Event::XTrim);
    }
    ctx.grew(key, Type::Stream);
    if ctx.is_recording() {
        propagate(ctx, args, options, (id, trimmed));
    }
    reply_id(&mut ctx.reply, id);
    Ok(())
}

fn propagate(
    ctx: &mut Context<'_>,
    args: Args<'_>,
    options: &Options,
    (id, trimmed): (StreamId, Option<(u64, TrimTo)>),
) {
    let approx = options.trimming.is_some_and(|trimming| trimming.approx);
    let left = trimmed.filter(|_| approx);
    let mut left = left.map(|(_, left)| Threshold::new(left));
    let text = id.text();
    let id = match options.id {
        Some(Given::Whole(_)) => None,
        _ => Some(text.as_bytes()),
    };
    let left = left.as_mut().map(Threshold::as_bytes);
    if id.is_some() || left.is_some() {
        ctx.propagate_words(options.effect(args, id, left));
    }
}

fn xsetid(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    const NEGATIVE: CommandError = CommandError::Static("ERR entries_added must be positive");
    const BEFORE_GIVEN: CommandError = CommandError::Static(
        "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
    );
    const BEFORE_DELETED: CommandError = CommandError::Static(
        "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
    );
    const BEFORE_LAST: CommandError = CommandError::Static(
        "ERR The ID specified in XSETID is smaller than the target stream top item",
    );
    const TOO_FEW: CommandError = CommandError::Static(
        "ERR The entries_added specified in XSETID is smaller than the target stream length",
    );
    let (key, id) = (&args[1], ids::strict(&args[2], 0)?);
    let (mut count, mut deleted) = (None, None);
    let mut at = 3;
    while let Some(option) = args.get(at) {
        let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
        match args.get(at + 1) {
            Some(value) if is(b"ENTRIESADDED") => {
                count = Some(u64::try_from(integer(value)?).map_err(|_| NEGATIVE)?);
            }
            Some(value) if is(b"MAXDELETEDID") => {
                let given = ids::strict(value, 0)?;
                if id < given {
                    return Err(BEFORE_GIVEN);
                }
                deleted = Some(given);
            }
            _ => return Err(CommandError::Syntax),
        }
        at += 2;
    }
    let set = ctx.db.try_edit(key, |stream: &mut Stream| {
        let entries = &mut stream.entries;
        if id < entries.max_deleted_id() {
            return Err(BEFORE_DELETED.into());
        }
        if let Some(last) = entries.last() {
            if id < last.id {
                return Err(BEFORE_LAST.into());
            }
            if count.is_some_and(|count| count < entries.len() as u64) {
                return Err(TOO_FEW.into());
            }
        }
        entries.set_id(id, count, deleted.filter(|id| !id.is_zero()));
        Ok(())
    })?;
    set.ok_or(CommandError::NoSuchKey)?;
    ctx.changed(key, Event::XSetId);
    ctx.reply.ok();
    Ok(())
}
