//! XINFO: what there is to tell of a stream, its groups and their consumers.
//!
//! All parts of a reply say how many elements they have before they have them, so it is
//! written in order, however long it takes: [`Telling`] is where it goes on.

use super::groups::{no_group_of, reply_help, unfit};
use super::range::{reply_entry, reply_id};
use crate::command::args::integer;
use crate::command::spec::{Arity, Group as Family, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Handler, Outcome, ROW, Row, Run, Work};
use crate::counted;
use crate::error::CommandError;
use crate::resp::Reply;
use crate::types::UnixMs;
use crate::value::Stream;
use crate::value::stream::{Consumer, Entries, Entry, Group, Pending, StreamId};

pub static COMMANDS: &[Row] = &[Row {
    name: "xinfo",
    summary: "A container for commands that tell of streams.",
    since: "5.0.0",
    complexity: "Depends on the subcommand.",
    group: Family::Stream,
    arity: Arity::AtLeast(2),
    subcommands: SUBCOMMANDS,
    ..ROW
}];

const KEY: &[KeySpec] = &[KeySpec::at(2, &["RO", "access"])];

const fn row(
    name: &'static str,
    (syntax, arity): (&'static str, Arity),
    summary: &'static str,
    complexity: &'static str,
    handler: Handler,
) -> Row {
    Row {
        name,
        syntax,
        summary,
        since: "5.0.0",
        complexity,
        group: Family::Stream,
        arity,
        keys: KEY,
        flags: flags::READONLY,
        slices: InSlices::IfMuch,
        run: Run::OneShard(handler),
        ..ROW
    }
}

static SUBCOMMANDS: &[Row] = &[
    Row {
        history: &[("7.2.0", "Tells `inactive`.")],
        tips: &["nondeterministic_output"],
        ..row(
            "xinfo|consumers",
            ("key group", Arity::Exactly(4)),
            "The consumers of a group.",
            "O(N) with N the number of consumers",
            consumers,
        )
    },
    Row {
        history: &[("7.0.0", "Tells `entries-read` and `lag`.")],
        ..row(
            "xinfo|groups",
            ("key", Arity::Exactly(3)),
            "The consumer groups of a stream.",
            "O(N) with N the number of groups",
            groups,
        )
    },
    Row {
        keys: &[],
        flags: flags::LOADING.with(flags::STALE),
        slices: InSlices::Never,
        ..row(
            "xinfo|help",
            ("", Arity::Exactly(2)),
            "Say what XINFO can do.",
            "O(1)",
            help,
        )
    },
    Row {
        history: &[
            ("6.0.0", "Added FULL."),
            (
                "7.0.0",
                "Tells `max-deleted-entry-id`, `entries-added`, `recorded-first-entry-id`, `entries-read` and `lag`.",
            ),
            (
                "7.2.0",
                "Tells `active-time`; `seen-time` is that of every attempt.",
            ),
        ],
        ..row(
            "xinfo|stream",
            ("key [FULL [COUNT count]]", Arity::AtLeast(3)),
            "What there is to tell of a stream, with its entries and groups if all is asked for.",
            "O(1); with FULL O(N) with N the number of entries and records that are told of",
            stream,
        )
    },
];

/// Entries and pending entries that FULL tells of if it is not told.
const COUNT: usize = 10;

/// A record that is looked up for its consumer weighs as much as so many entries.
const LOOKED_UP: usize = 8;

/// How far a reply has come.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    /// Something is written.
    begun: bool,
    at: Part,
    group: usize,
    consumer: usize,
    /// The id from which on it goes on, and how many elements are left.
    next: StreamId,
    left: usize,
}

#[derive(Clone, Copy, Debug)]
enum Part {
    Entries,
    Group,
    /// What is pending in a group, its consumers, what is pending with one.
    Pending,
    Consumer,
    Ids,
}

impl Telling {
    const BEGIN: Self = Self {
        begun: false,
        at: Part::Entries,
        group: 0,
        consumer: 0,
        next: StreamId::MIN,
        left: 0,
    };

    /// Whether nothing is written yet; from now on something is.
    fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.begun, true)
    }
}

/// What one call may write.
struct Budget {
    left: usize,
    full_at: usize,
}

impl Budget {
    fn of(ctx: &Context<'_>, first: bool) -> Self {
        let limits = &ctx.settings.long_replies;
        let (left, room) = match (first, ctx.at_once()) {
            (false, _) => (ctx.long_step(), limits.piece),
            (true, usize::MAX) => (usize::MAX, usize::MAX),
            (true, most) => (most, limits.bytes),
        };
        Self {
            left,
            full_at: ctx.reply.written().saturating_add(room),
        }
    }

    /// Whether another element may be written, which weighs so much.
    fn take(&mut self, reply: &Reply<'_>, weight: usize) -> bool {
        if self.left == 0 || reply.written() >= self.full_at || reply.is_cut() {
            return false;
        }
        counted::elements(1);
        self.left = self.left.saturating_sub(weight);
        true
    }
}

/// Has a part of a reply written, `write` saying whether there is more of it.
fn tell(
    ctx: &mut Context<'_>,
    key: &[u8],
    write: impl FnOnce(
        &mut Reply<'_>,
        &Stream,
        &mut Telling,
        &mut Budget,
        UnixMs,
    ) -> Result<bool, CommandError>,
) -> Outcome {
    let (mut telling, first) = match ctx.work() {
        Some(Work::Info(telling)) => (telling, false),
        _ => (Telling::BEGIN, true),
    };
    let mut budget = Budget::of(ctx, first);
    let now = ctx.db.now();
    let stream = match first {
        true => ctx.db.read_as::<Stream>(key)?,
        false => ctx.db.lookup_as::<Stream>(key)?,
    };
    let stream = stream.ok_or(CommandError::NoSuchKey)?;
    let more = write(&mut ctx.reply, stream, &mut telling, &mut budget, now)?;
    if more && !ctx.reply.is_cut() {
        ctx.in_slices(usize::MAX, (usize::from(first), 0))?;
        return ctx.leave(Work::Info(telling));
    }
    Ok(())
}

fn groups(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    tell(ctx, &args[2], |reply, stream, telling, budget, _| {
        if telling.begins() {
            reply.array(stream.groups.len());
        }
        while let Some(group) = stream.groups.at(telling.group) {
            if !budget.take(reply, 1) {
                return Ok(true);
            }
            telling.group += 1;
            reply.map(6);
            reply.bulk(b"name");
            reply.bulk(group.name());
            reply.bulk(b"consumers");
            reply.integer(group.consumers_len() as i64);
            reply.bulk(b"pending");
            reply.integer(group.pending_len() as i64);
            progress(reply, &stream.entries, group);
        }
        Ok(false)
    })
}

/// How far a group has read: three fields.
fn progress(reply: &mut Reply<'_>, entries: &Entries, group: &Group) {
    reply.bulk(b"last-delivered-id");
    reply_id(reply, group.last_id);
    for (name, number) in [
        (&b"entries-read"[..], group.entries_read),
        (b"lag", entries.lag_of(group)),
    ] {
        reply.bulk(name);
        match number {
            Some(number) => reply.integer(number.cast_signed()),
            None => reply.null(),
        }
    }
}

fn consumers(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, name) = (&args[2], &args[3]);
    tell(ctx, key, |reply, stream, telling, budget, now| {
        let group = stream.groups.get(name);
        let group = group.ok_or_else(|| no_group_of(key, name))?;
        if telling.begins() {
            reply.array(group.consumers_len());
        }
        let since = |at: UnixMs| now.0.saturating_sub(at.0).max(0);
        while let Some((_, consumer)) = group.consumer_at(telling.consumer) {
            if !budget.take(reply, 1) {
                return Ok(true);
            }
            telling.consumer += 1;
            reply.map(4);
            reply.bulk(b"name");
            reply.bulk(consumer.name());
            reply.bulk(b"pending");
            reply.integer(consumer.pending_len() as i64);
            reply.bulk(b"idle");
            reply.integer(since(consumer.seen));
            reply.bulk(b"inactive");
            reply.integer(consumer.active.map_or(-1, since));
        }
        Ok(false)
    })
}

fn stream(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = &args[2];
    // What is no stream is told of before the words.
    tell(ctx, key, |reply, stream, telling, budget, _| {
        let count = match full(args)? {
            None => {
                overview(reply, stream);
                return Ok(false);
            }
            Some(0) => usize::MAX,
            Some(count) => count,
        };
        telling.go_on(stream, count, (reply, budget))
    })
}

/// How many elements FULL tells of, if that is asked for.
fn full(args: Args<'_>) -> Result<Option<usize>, CommandError> {
    let is = |index, word: &[u8]| {
        let found: Option<&[u8]> = args.get(index);
        found.is_some_and(|found| found.eq_ignore_ascii_case(word))
    };
    match args.len() {
        3 => Ok(None),
        4 if is(3, b"FULL") => Ok(Some(COUNT)),
        6 if is(3, b"FULL") && is(4, b"COUNT") => {
            let count = usize::try_from(integer(&args[5])?);
            Ok(Some(count.unwrap_or(COUNT)))
        }
        _ => Err(unfit(args, "XINFO")),
    }
}

/// What XINFO STREAM tells first, in so many fields with what follows.
fn header(reply: &mut Reply<'_>, entries: &Entries, fields: usize) {
    reply.map(fields);
    reply.bulk(b"length");
    reply.integer(entries.len() as i64);
    // There is no such tree: these are the nodes that the entries lie in.
    reply.bulk(b"radix-tree-keys");
    reply.integer(entries.nodes() as i64);
    reply.bulk(b"radix-tree-nodes");
    reply.integer(entries.nodes() as i64);
    reply.bulk(b"last-generated-id");
    reply_id(reply, entries.last_id());
    reply.bulk(b"max-deleted-entry-id");
    reply_id(reply, entries.max_deleted_id());
    reply.bulk(b"entries-added");
    reply.integer(entries.added().cast_signed());
    reply.bulk(b"recorded-first-entry-id");
    reply_id(reply, entries.first_id());
}

fn overview(reply: &mut Reply<'_>, stream: &Stream) {
    let entries = &stream.entries;
    header(reply, entries, 10);
    reply.bulk(b"groups");
    reply.integer(stream.groups.len() as i64);
    let mut end = |name: &[u8], entry: Option<Entry<'_>>| {
        reply.bulk(name);
        match entry {
            Some(entry) => reply_entry(reply, &entry),
            None => reply.null(),
        }
    };
    end(b"first-entry", entries.first());
    end(b"last-entry", entries.last());
}

impl Telling {
    /// Goes on telling all; whether there is more.
    fn go_on(
        &mut self,
        stream: &Stream,
        count: usize,
        (reply, budget): (&mut Reply<'_>, &mut Budget),
    ) -> Result<bool, CommandError> {
        if self.begins() {
            header(reply, &stream.entries, 9);
            self.begin(reply, b"entries", stream.entries.len().min(count));
        }
        loop {
            let group = stream.groups.at(self.group);
            match (self.at, group) {
                (Part::Entries, _) => {
                    let some = stream.entries.range(self.next, StreamId::MAX);
                    let more = self.fill(
                        (reply, budget),
                        some,
                        |entry| entry.id,
                        |reply, entry| {
                            reply_entry(reply, &entry);
                        },
                    );
                    if more {
                        return Ok(true);
                    }
                    reply.bulk(b"groups");
                    reply.array(stream.groups.len());
                    self.at = Part::Group;
                }
                (_, None) => return Ok(false),
                (Part::Group, Some(group)) => {
                    if !budget.take(reply, 1) {
                        return Ok(true);
                    }
                    reply.map(7);
                    reply.bulk(b"name");
                    reply.bulk(group.name());
                    progress(reply, &stream.entries, group);
                    reply.bulk(b"pel-count");
                    reply.integer(group.pending_len() as i64);
                    self.begin(reply, b"pending", group.pending_len().min(count));
                    self.at = Part::Pending;
                }
                (_, Some(group)) => {
                    if self.tell_group(group, count, (reply, budget)) {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// Begins an array in which so many elements are to be.
    fn begin(&mut self, reply: &mut Reply<'_>, name: &[u8], len: usize) {
        reply.bulk(name);
        reply.array(len);
        (self.next, self.left) = (StreamId::MIN, len);
    }

    /// Writes elements of an array as long as there are any; whether there are more.
    fn fill<E>(
        &mut self,
        (reply, budget): (&mut Reply<'_>, &mut Budget),
        elements: impl Iterator<Item = E>,
        id_of: impl Fn(&E) -> StreamId,
        mut write: impl FnMut(&mut Reply<'_>, E),
    ) -> bool {
        let weight = match self.at {
            Part::Ids => LOOKED_UP,
            _ => 1,
        };
        for element in elements.take(self.left) {
            if !budget.take(reply, weight) {
                self.next = id_of(&element);
                return true;
            }
            self.left -= 1;
            write(reply, element);
        }
        false
    }

    /// Goes on with what a group has; whether there is more than may be written now.
    fn tell_group(
        &mut self,
        group: &Group,
        count: usize,
        (reply, budget): (&mut Reply<'_>, &mut Budget),
    ) -> bool {
        match self.at {
            Part::Pending => {
                let some = group.pending_from(self.next);
                let write = |reply: &mut Reply<'_>, pending: &Pending| {
                    let consumer = group.consumer(pending.consumer);
                    reply.array(4);
                    reply_id(reply, pending.id);
                    reply.bulk(consumer.map_or(b"", Consumer::name));
                    reply.integer(pending.delivered.0);
                    reply.integer(pending.deliveries.cast_signed());
                };
                if self.fill((reply, budget), some, |pending| pending.id, write) {
                    return true;
                }
                reply.bulk(b"consumers");
                reply.array(group.consumers_len());
                (self.at, self.consumer) = (Part::Consumer, 0);
                false
            }
            Part::Ids => {
                let Some((number, _)) = group.consumer_at(self.consumer) else {
                    return false;
                };
                let some = group.pending_of(number, self.next);
                let write = |reply: &mut Reply<'_>, pending: &Pending| {
                    reply.array(3);
                    reply_id(reply, pending.id);
                    reply.integer(pending.delivered.0);
                    reply.integer(pending.deliveries.cast_signed());
                };
                if self.fill((reply, budget), some, |pending| pending.id, write) {
                    return true;
                }
                (self.at, self.consumer) = (Part::Consumer, self.consumer + 1);
                false
            }
            _ => self.tell_consumer(group, count, (reply, budget)),
        }
    }

    /// Goes on with a consumer, or with the next group; whether there is more than may
    /// be written now.
    fn tell_consumer(
        &mut self,
        group: &Group,
        count: usize,
        (reply, budget): (&mut Reply<'_>, &mut Budget),
    ) -> bool {
        let Some((_, consumer)) = group.consumer_at(self.consumer) else {
            (self.at, self.group) = (Part::Group, self.group + 1);
            return false;
        };
        if !budget.take(reply, 1) {
            return true;
        }
        reply.map(5);
        reply.bulk(b"name");
        reply.bulk(consumer.name());
        reply.bulk(b"seen-time");
        reply.integer(consumer.seen.0);
        reply.bulk(b"active-time");
        reply.integer(consumer.active.map_or(-1, |at| at.0));
        reply.bulk(b"pel-count");
        reply.integer(consumer.pending_len() as i64);
        self.begin(reply, b"pending", consumer.pending_len().min(count));
        self.at = Part::Ids;
        false
    }
}

fn help(ctx: &mut Context<'_>, _: Args<'_>) -> Outcome {
    const HELP: &[&str] = &[
        "XINFO <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CONSUMERS <key> <groupname>",
        "    Show consumers of <groupname>.",
        "GROUPS <key>",
        "    Show the stream consumer groups.",
        "STREAM <key> [FULL [COUNT <count>]",
        "    Show information about the stream.",
        "HELP",
        "    Prints this help.",
    ];
    reply_help(ctx, HELP)
}
