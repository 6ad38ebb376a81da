//! XGROUP: consumer groups.

use super::ids;
use crate::command::args::integer;
use crate::command::spec::{Arity, Group as Family, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Handler, Outcome, ROW, Row, Run, Work};
use crate::effects::Event;
use crate::error::{CommandError, until_nul};
use crate::types::Type;
use crate::value::Stream;
use crate::value::stream::{Group, StreamId};

pub static COMMANDS: &[Row] = &[Row {
    name: "xgroup",
    summary: "A container for commands on consumer groups.",
    since: "5.0.0",
    complexity: "Depends on the subcommand.",
    group: Family::Stream,
    arity: Arity::AtLeast(2),
    subcommands: SUBCOMMANDS,
    ..ROW
}];

const fn row(
    name: &'static str,
    (syntax, arity): (&'static str, Arity),
    summary: &'static str,
    keys: &'static [KeySpec],
    handler: Handler,
) -> Row {
    Row {
        name,
        syntax,
        summary,
        since: "5.0.0",
        complexity: "O(1)",
        group: Family::Stream,
        arity,
        keys,
        flags: flags::WRITE,
        run: Run::OneShard(handler),
        ..ROW
    }
}

const INSERTS: &[KeySpec] = &[KeySpec::at(2, &["RW", "insert"])];
const UPDATES: &[KeySpec] = &[KeySpec::at(2, &["RW", "update"])];
const DELETES: &[KeySpec] = &[KeySpec::at(2, &["RW", "delete"])];

static SUBCOMMANDS: &[Row] = &[
    Row {
        flags: flags::WRITE.with(flags::DENYOOM),
        history: &[("7.0.0", "Added ENTRIESREAD.")],
        ..row(
            "xgroup|create",
            (
                "key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]",
                Arity::AtLeast(5),
            ),
            "Create a consumer group.",
            INSERTS,
            create,
        )
    },
    Row {
        since: "6.2.0",
        flags: flags::WRITE.with(flags::DENYOOM),
        ..row(
            "xgroup|createconsumer",
            ("key group consumer", Arity::Exactly(5)),
            "Create a consumer of a group.",
            INSERTS,
            create_consumer,
        )
    },
    Row {
        slices: InSlices::IfMuch,
        complexity: "O(N) with N the number of entries pending with the consumer",
        ..row(
            "xgroup|delconsumer",
            ("key group consumer", Arity::Exactly(5)),
            "Delete a consumer of a group, and what is pending with it.",
            DELETES,
            delete_consumer,
        )
    },
    Row {
        complexity: "O(1); the memory of what is pending is freed in slices",
        ..row(
            "xgroup|destroy",
            ("key group", Arity::Exactly(4)),
            "Destroy a consumer group.",
            DELETES,
            destroy,
        )
    },
    Row {
        flags: flags::LOADING.with(flags::STALE),
        ..row(
            "xgroup|help",
            ("", Arity::Exactly(2)),
            "Say what XGROUP can do.",
            &[],
            help,
        )
    },
    Row {
        history: &[("7.0.0", "Added ENTRIESREAD.")],
        ..row(
            "xgroup|setid",
            (
                "key group <id | $> [ENTRIESREAD entries-read]",
                Arity::AtLeast(5),
            ),
            "Say what a group was delivered last.",
            UPDATES,
            set_id,
        )
    },
];

const NO_KEY: CommandError = CommandError::Static(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use \
     the MKSTREAM option to create an empty stream automatically.",
);

/// A text with two words of the request in it.
fn quoting(parts: [&str; 3], words: [&[u8]; 2]) -> CommandError {
    let parts = parts.map(str::as_bytes);
    let words = words.map(until_nul);
    let text = [parts[0], words[0], parts[1], words[1], parts[2]].concat();
    CommandError::Owned(text.into())
}

/// There is no such key, or no such group.
pub fn no_such_group(key: &[u8], group: &[u8]) -> CommandError {
    let parts = ["NOGROUP No such key '", "' or consumer group '", "'"];
    quoting(parts, [key, group])
}

/// There is a stream, but no such group.
pub fn no_group_of(key: &[u8], group: &[u8]) -> CommandError {
    let parts = ["NOGROUP No such consumer group '", "' for key name '", "'"];
    quoting(parts, [group, key])
}

/// The arguments do not fit the subcommand.
pub fn unfit(args: Args<'_>, container: &str) -> CommandError {
    CommandError::unfit_subcommand(args.get(1).unwrap_or_default(), container)
}

/// The group of this name; the look counts as a hit or a miss.
pub fn group_of<'c>(
    ctx: &'c mut Context<'_>,
    key: &[u8],
    name: &[u8],
) -> Result<Option<&'c Group>, CommandError> {
    let stream = ctx.db.read_as::<Stream>(key)?;
    Ok(stream.and_then(|stream| stream.groups.get(name)))
}

/// Records what a group was delivered last, and how many entries it has read.
pub fn propagate_last_id(ctx: &mut Context<'_>, key: &[u8], name: &[u8]) {
    let stream = ctx.db.lookup_as::<Stream>(key).ok().flatten();
    let Some(group) = stream.and_then(|stream| stream.groups.get(name)) else {
        return;
    };
    let (id, read) = (group.last_id.text(), group.entries_read);
    let mut number = itoa::Buffer::new();
    let read = read.map_or("-1", |read| number.format(read.cast_signed()));
    ctx.propagate(&[
        b"XGROUP",
        b"SETID",
        key,
        name,
        id.as_bytes(),
        b"ENTRIESREAD",
        read.as_bytes(),
    ]);
}

/// What stands behind the id of CREATE and SETID.
#[derive(Default)]
struct Options {
    make_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(args: Args<'_>, creates: bool) -> Result<Self, CommandError> {
        const NEGATIVE: CommandError =
            CommandError::Static("ERR value for ENTRIESREAD must be positive or -1");
        let mut options = Self::default();
        let mut at = 5;
        while let Some(word) = args.get(at) {
            match args.get(at + 1) {
                _ if creates && word.eq_ignore_ascii_case(b"MKSTREAM") => {
                    options.make_stream = true;
                    at += 1;
                }
                Some(number) if word.eq_ignore_ascii_case(b"ENTRIESREAD") => {
                    let number = integer(number)?;
                    if number < -1 {
                        return Err(NEGATIVE);
                    }
                    options.entries_read = u64::try_from(number).ok();
                    at += 2;
                }
                _ => return Err(unfit(args, "XGROUP")),
            }
        }
        Ok(options)
    }
}

/// The id of CREATE and SETID; nothing for `$`, which is the last of the stream. Only the
/// latter takes `-` and `+`.
fn id_or_last(text: &[u8], creates: bool) -> Result<Option<StreamId>, CommandError> {
    match until_nul(text) {
        b"$" => Ok(None),
        _ if creates => ids::strict(text, 0).map(Some),
        _ => ids::parse(text, 0).map(Some),
    }
}

fn create(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    const BUSY: CommandError = CommandError::Static("BUSYGROUP Consumer Group name already exists");
    /// Redis takes no more words, whatever they say.
    const WORDS_MAX: usize = 8;
    let options = Options::parse(args, true)?;
    let (key, name) = (&args[2], &args[3]);
    let is_there = ctx.db.lookup_as::<Stream>(key)?.is_some();
    if !is_there && !options.make_stream {
        return Err(NO_KEY);
    }
    if args.len() > WORDS_MAX {
        return Err(unfit(args, "XGROUP"));
    }
    let id = id_or_last(&args[4], true)?;
    let create = |stream: &mut Stream| {
        let id = id.unwrap_or_else(|| stream.entries.last_id());
        Ok(stream.groups.create(name, id, options.entries_read)?)
    };
    if !ctx.db.edit_or_create(key, create)? {
        return Err(BUSY);
    }
    if is_there {
        ctx.noticed(key, Event::XGroupCreate, 1);
    } else {
        ctx.changed(key, Event::XGroupCreate);
    }
    ctx.reply.ok();
    Ok(())
}

/// The key of a subcommand is a stream that has the group.
fn check_group(ctx: &mut Context<'_>, key: &[u8], name: &[u8]) -> Outcome {
    let stream = ctx.db.lookup_as::<Stream>(key)?.ok_or(NO_KEY)?;
    match stream.groups.get(name) {
        Some(_) => Ok(()),
        None => Err(no_group_of(key, name)),
    }
}

/// Changes a group that is there.
pub fn edit_group<R>(
    ctx: &mut Context<'_>,
    (key, name): (&[u8], &[u8]),
    change: impl FnOnce(&mut Group) -> R,
) -> Result<Option<R>, CommandError> {
    let edit = |stream: &mut Stream| {
        let mut group = stream.groups.get_mut(name)?;
        Some(change(&mut group))
    };
    Ok(ctx.db.edit(key, edit)?.flatten())
}

fn set_id(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let options = Options::parse(args, false)?;
    let (key, name) = (&args[2], &args[3]);
    check_group(ctx, key, name)?;
    if !matches!(args.len(), 5 | 7) {
        return Err(unfit(args, "XGROUP"));
    }
    let id = id_or_last(&args[4], false)?;
    ctx.db.edit(key, |stream: &mut Stream| {
        let id = id.unwrap_or_else(|| stream.entries.last_id());
        if let Some(mut group) = stream.groups.get_mut(name) {
            group.last_id = id;
            group.entries_read = options.entries_read;
        }
    })?;
    ctx.noticed(key, Event::XGroupSetId, 1);
    ctx.reply.ok();
    Ok(())
}

fn destroy(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [_, key, name] = args.exactly()?;
    ctx.db.lookup_as::<Stream>(key)?.ok_or(NO_KEY)?;
    let destroy = |stream: &mut Stream| stream.destroy_group(name);
    let Some(group) = ctx.db.edit(key, destroy)?.flatten() else {
        ctx.reply.integer(0);
        return Ok(());
    };
    ctx.db.bury([group]);
    ctx.noticed(key, Event::XGroupDestroy, 1);
    // Who waits for entries of the group is to learn that there is none.
    ctx.grew(key, Type::Stream);
    ctx.reply.integer(1);
    Ok(())
}

fn create_consumer(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [_, key, name, consumer] = args.exactly()?;
    check_group(ctx, key, name)?;
    let now = ctx.db.now();
    let create = |group: &mut Group| group.consumer_or_create(consumer, now);
    let created = edit_group(ctx, (key, name), create)?.transpose()?;
    let created = created.is_some_and(|(_, created)| created);
    if created {
        ctx.noticed(key, Event::XGroupCreateConsumer, 1);
    }
    ctx.reply.integer(i64::from(created));
    Ok(())
}

fn delete_consumer(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [_, key, name, consumer] = args.exactly()?;
    let pending = match ctx.work() {
        Some(Work::Leaving(pending)) => pending,
        _ => {
            check_group(ctx, key, name)?;
            let pending = pending_with(ctx, (key, name), consumer)?;
            let Some(pending) = pending else {
                ctx.reply.integer(0);
                return Ok(());
            };
            ctx.in_slices(pending, (0, 0))?;
            pending
        }
    };
    let some = ctx.slice_of(pending.max(1));
    let more = edit_group(ctx, (key, name), |group| {
        let Some(id) = group.find_consumer(consumer) else {
            return false;
        };
        let more = group.drop_pending_of(id, some);
        if !more {
            group.remove_consumer(consumer);
        }
        more
    })?;
    if more == Some(true) {
        return ctx.leave(Work::Leaving(pending));
    }
    ctx.noticed(key, Event::XGroupDelConsumer, 1);
    ctx.reply.integer(pending as i64);
    Ok(())
}

/// How much is pending with a consumer, if it is there.
fn pending_with(
    ctx: &mut Context<'_>,
    (key, name): (&[u8], &[u8]),
    consumer: &[u8],
) -> Result<Option<usize>, CommandError> {
    let stream = ctx.db.lookup_as::<Stream>(key)?;
    let group = stream.and_then(|stream| stream.groups.get(name));
    Ok(group.and_then(|group| {
        let consumer = group.consumer(group.find_consumer(consumer)?)?;
        Some(consumer.pending_len())
    }))
}

fn help(ctx: &mut Context<'_>, _: Args<'_>) -> Outcome {
    const HELP: &[&str] = &[
        "XGROUP <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "CREATE <key> <groupname> <id|$> [option]",
        "    Create a new consumer group. Options are:",
        "    * MKSTREAM",
        "      Create the empty stream if it does not exist.",
        "    * ENTRIESREAD entries_read",
        "      Set the group's entries_read counter (internal use).",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "    Create a new consumer in the specified group.",
        "DELCONSUMER <key> <groupname> <consumer>",
        "    Remove the specified consumer.",
        "DESTROY <key> <groupname>",
        "    Remove the specified group.",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
        "    Set the current group ID and entries_read counter.",
        "HELP",
        "    Prints this help.",
    ];
    reply_help(ctx, HELP)
}

/// Replies what a container can do.
pub fn reply_help(ctx: &mut Context<'_>, lines: &[&str]) -> Outcome {
    ctx.reply.array(lines.len());
    for line in lines {
        ctx.reply.simple(line);
    }
    Ok(())
}
