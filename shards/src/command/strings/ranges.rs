//! Commands on parts of strings.

use super::text_of;
use crate::command::args::integer;
use crate::command::spec::{Arity, Deprecated, Group, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run};
use crate::effects::Event;
use crate::error::CommandError;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "append",
        syntax: "key value",
        summary: "Add to the end of a string; a missing key starts empty.",
        since: "2.0.0",
        complexity: "O(1), amortised",
        group: Group::String,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RW", "insert"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        run: Run::OneShard(append),
        ..ROW
    },
    Row {
        name: "getrange",
        syntax: "key start end",
        summary: "Read the part of a string between two offsets, both included; negative ones count from its end.",
        since: "2.4.0",
        complexity: "O(N) with N the length of the reply",
        group: Group::String,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        run: Run::OneShard(getrange),
        ..ROW
    },
    Row {
        name: "setrange",
        syntax: "key offset value",
        summary: "Overwrite part of a string from an offset on, padding with zero bytes.",
        since: "2.2.0",
        complexity: "O(N) with N the length of the value",
        group: Group::String,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RW", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM),
        run: Run::OneShard(setrange),
        ..ROW
    },
    Row {
        name: "strlen",
        syntax: "key",
        summary: "The length of a string in bytes.",
        since: "2.2.0",
        complexity: "O(1)",
        group: Group::String,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RO"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(strlen),
        ..ROW
    },
    Row {
        name: "substr",
        syntax: "key start end",
        summary: "The former name of GETRANGE.",
        since: "1.0.0",
        complexity: "O(N) with N the length of the reply",
        group: Group::String,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        deprecated: Some(Deprecated {
            since: "2.0.0",
            replaced_by: "`GETRANGE`",
        }),
        run: Run::OneShard(getrange),
        ..ROW
    },
];

/// The length of the string a writing command finds; nothing for a missing key.
fn length_of(ctx: &mut Context<'_>, key: &[u8]) -> Result<Option<usize>, CommandError> {
    let mut buffer = itoa::Buffer::new();
    let string = ctx.db.lookup_string(key)?;
    Ok(string.map(|string| text_of(string, &mut buffer).len()))
}

/// Where a string ends that has `more` bytes from `offset` on, if it may be so long.
fn end_of(ctx: &Context<'_>, offset: usize, more: usize) -> Result<usize, CommandError> {
    let allowed = |end: &usize| *end <= ctx.settings.proto_max_bulk_len;
    offset
        .checked_add(more)
        .filter(allowed)
        .ok_or(CommandError::StringTooLong)
}

fn append(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, tail] = args.exactly()?;
    let length = length_of(ctx, key)?;
    end_of(ctx, length.unwrap_or(0), tail.len())?;
    let length = ctx.db.append(key, tail)?;
    ctx.changed(key, Event::Append);
    ctx.reply.integer(length as i64);
    Ok(())
}

fn setrange(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, offset, value] = args.exactly()?;
    let offset = usize::try_from(integer(offset)?).map_err(|_| CommandError::OffsetOutOfRange)?;
    let length = length_of(ctx, key)?.unwrap_or(0);
    if value.is_empty() {
        ctx.reply.integer(length as i64);
        return Ok(());
    }
    end_of(ctx, offset, value.len())?;
    let length = ctx.db.set_range(key, offset, value)?;
    ctx.changed(key, Event::SetRange);
    ctx.reply.integer(length as i64);
    Ok(())
}

fn strlen(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    let mut buffer = itoa::Buffer::new();
    let length = match ctx.db.read_string(key)? {
        Some(string) => text_of(string, &mut buffer).len(),
        None => 0,
    };
    ctx.reply.integer(length as i64);
    Ok(())
}

fn getrange(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, start, end] = args.exactly()?;
    let (start, end) = (integer(start)?, integer(end)?);
    let mut buffer = itoa::Buffer::new();
    let text = match ctx.db.read_string(key)? {
        Some(string) => text_of(string, &mut buffer),
        None => b"",
    };
    ctx.reply.bulk(slice(text, start, end));
    Ok(())
}

/// From `start` to `end`, both included; negative ones count from the end.
fn slice(text: &[u8], start: i64, end: i64) -> &[u8] {
    if start < 0 && end < 0 && start > end {
        return b"";
    }
    let absolute = |index: i64| match index {
        0.. => usize::try_from(index).unwrap_or(usize::MAX),
        _ => text
            .len()
            .saturating_sub(usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let (start, end) = (
        absolute(start),
        absolute(end).min(text.len().saturating_sub(1)),
    );
    text.get(start..=end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Engine;

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn ranges() {
        Engine::new().talk(&[
            ("SET s Hello", "+OK"),
            ("GETRANGE s 0 -1", "$5|Hello"),
            ("GETRANGE s -3 -1", "$3|llo"),
            ("GETRANGE s -100 100", "$5|Hello"),
            ("GETRANGE s 3 1", "$0|"),
            ("GETRANGE s -1 -3", "$0|"),
            ("GETRANGE s 5 10", "$0|"),
            ("SUBSTR s 4 10", "$1|o"),
            (
                "GETRANGE s -9223372036854775808 9223372036854775807",
                "$5|Hello",
            ),
            ("GETRANGE s -100 -50", "$1|H"),
            ("GETRANGE nokey 0 -1", "$0|"),
            (
                "GETRANGE nokey a 1",
                "-ERR value is not an integer or out of range",
            ),
            ("SET n 12345", "+OK"),
            ("GETRANGE n 1 2", "$2|23"),
            ("STRLEN n", ":5"),
            ("STRLEN nokey", ":0"),
        ]);
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn growing() {
        Engine::new().talk(&[
            ("APPEND s ab", ":2"),
            ("APPEND s c", ":3"),
            ("GET s", "$3|abc"),
            ("APPEND s \"\"", ":3"),
            ("SETRANGE s 5 x", ":6"),
            ("GET s", "$6|abc\\x00\\x00x"),
            ("SETRANGE s 1 yy", ":6"),
            ("GET s", "$6|ayy\\x00\\x00x"),
            ("SETRANGE s -1 a", "-ERR offset is out of range"),
            (
                "SETRANGE s 536870912 a",
                "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            ),
            (
                "SETRANGE s 9223372036854775807 ab",
                "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            ),
            (
                "SETRANGE s a b",
                "-ERR value is not an integer or out of range",
            ),
            ("SETRANGE s 536870912 \"\"", ":6"),
            ("SETRANGE nokey 1 \"\"", ":0"),
            ("EXISTS nokey", ":0"),
            ("SET n 12", "+OK"),
            ("SETRANGE n 1 x", ":2"),
            ("GET n", "$2|1x"),
            ("SET n 1", "+OK"),
            ("APPEND n 2", ":2"),
            ("INCR n", ":13"),
        ]);
    }
}
