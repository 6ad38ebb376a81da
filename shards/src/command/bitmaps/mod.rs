//! Commands on the bits of strings: single ones, counting, searching.
//!
//! Bitmaps are strings; a bit's offset counts from the highest bit of the first
//! byte. A number that is kept as one behaves as its text, and becomes bytes
//! when it is written to. `words` does what is done to many bits at once,
//! `fields` is BITFIELD, `combine` BITOP.

pub mod combine;
pub mod fields;
mod words;

use super::args::integer;
use super::spec::{Arity, Group, InSlices, KeySpec, flags};
use super::strings::text_of;
use super::{Args, Context, Outcome, ROW, Row, Run, Work};
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::StringRef;
use crate::number::parse_i64;
use crate::types::Settings;
use std::ops::Range;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "bitcount",
        syntax: "key [start end [BYTE | BIT]]",
        summary: "Count the bits set in a string or in part of it.",
        since: "2.6.0",
        complexity: "O(N) with N the length of the part",
        group: Group::Bitmap,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        slices: InSlices::IfMuch,
        history: &[("7.0.0", "Takes `BYTE` and `BIT`.")],
        run: Run::OneShard(bitcount),
        ..ROW
    },
    Row {
        name: "bitpos",
        syntax: "key bit [start [end [BYTE | BIT]]]",
        summary: "Find the first bit set or clear in a string or in part of it.",
        since: "2.8.7",
        complexity: "O(N) with N the length of the part",
        group: Group::Bitmap,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        slices: InSlices::IfMuch,
        history: &[("7.0.0", "Takes `BYTE` and `BIT`.")],
        run: Run::OneShard(bitpos),
        ..ROW
    },
    Row {
        name: "getbit",
        syntax: "key offset",
        summary: "Read one bit of a string; beyond its end all are clear.",
        since: "2.2.0",
        complexity: "O(1)",
        group: Group::Bitmap,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(getbit),
        ..ROW
    },
    Row {
        name: "setbit",
        syntax: "key offset value",
        summary: "Set or clear one bit of a string, which grows as needed; what it was before.",
        since: "2.2.0",
        complexity: "O(1)",
        group: Group::Bitmap,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RW", "access", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM),
        run: Run::OneShard(setbit),
        ..ROW
    },
];

const BAD_OFFSET: CommandError =
    CommandError::Static("ERR bit offset is not an integer or out of range");
const BAD_BIT: CommandError = CommandError::Static("ERR bit is not an integer or out of range");
const NOT_A_BIT: CommandError = CommandError::Static("ERR The bit argument must be 1 or 0.");

/// The offset of a bit, which must lie within the longest string there may be.
fn bit_offset(text: &[u8], settings: &Settings) -> Result<usize, CommandError> {
    let offset = parse_i64(text).and_then(|offset| usize::try_from(offset).ok());
    let allowed = |offset: &usize| offset / 8 < settings.proto_max_bulk_len;
    offset.filter(allowed).ok_or(BAD_OFFSET)
}

fn getbit(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, offset] = args.exactly()?;
    let offset = bit_offset(offset, ctx.settings)?;
    let mut buffer = itoa::Buffer::new();
    let string = ctx.db.read_string(key)?;
    let text = text_of(string.unwrap_or(StringRef::Bytes(b"")), &mut buffer);
    ctx.reply.integer(i64::from(words::bit(text, offset)));
    Ok(())
}

fn setbit(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, offset, value] = args.exactly()?;
    let offset = bit_offset(offset, ctx.settings)?;
    let value = match parse_i64(value) {
        Some(0) => 0,
        Some(1) => 1,
        _ => return Err(BAD_BIT),
    };
    let mut buffer = itoa::Buffer::new();
    let string = ctx.db.lookup_string(key)?;
    let text = text_of(string.unwrap_or(StringRef::Bytes(b"")), &mut buffer);
    let grows = offset / 8 >= text.len();
    let old = text.get(offset / 8).copied().unwrap_or(0);
    let mask = 0x80 >> (offset % 8);
    let new = if value == 1 { old | mask } else { old & !mask };
    // Written also if it is the same: a number becomes bytes, as in Redis.
    ctx.db.set_range(key, offset / 8, &[new])?;
    if grows || new != old {
        ctx.changed(key, Event::SetBit);
    }
    ctx.reply.integer(i64::from(old & mask != 0));
    Ok(())
}

/// What the offsets of BITCOUNT and BITPOS count.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn parse(word: Option<&[u8]>) -> Result<Self, CommandError> {
        match word {
            None => Ok(Self::Byte),
            Some(word) if word.eq_ignore_ascii_case(b"BYTE") => Ok(Self::Byte),
            Some(word) if word.eq_ignore_ascii_case(b"BIT") => Ok(Self::Bit),
            Some(_) => Err(CommandError::Syntax),
        }
    }

    fn bits(self) -> usize {
        match self {
            Self::Byte => 8,
            Self::Bit => 1,
        }
    }

    /// The bits from `start` to `end`, both included, of a string of `length`
    /// bytes; negative ones count from its end.
    fn range(self, start: i64, end: i64, length: usize) -> Range<usize> {
        let units = length * (8 / self.bits());
        let absolute = |index: i64| {
            let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
            if index < 0 {
                units.saturating_sub(distance)
            } else {
                distance
            }
        };
        let (start, end) = (absolute(start), absolute(end));
        if units == 0 || start > end || start >= units {
            return 0..0;
        }
        start * self.bits()..(end.min(units - 1) + 1) * self.bits()
    }
}

/// Bytes that take as long as an element of a collection to go through.
pub(super) const ELEMENT_BYTES: usize = 1024;

/// Bits of a range that are gone through in this call, in slices if they are many:
/// from one on that earlier calls have come to. Nothing was counted but a hit.
fn bits_now(
    ctx: &mut Context<'_>,
    range: &Range<usize>,
    from: Option<usize>,
) -> Result<Range<usize>, CommandError> {
    const BITS: usize = ELEMENT_BYTES * 8;
    let start = from.unwrap_or(range.start);
    if from.is_none() && !ctx.in_slices(range.len() / BITS, (1, 0))? {
        return Ok(range.clone());
    }
    let some = ctx.step().saturating_mul(BITS);
    Ok(start..start.saturating_add(some).min(range.end))
}

/// The bits that BITCOUNT is about, of a string of so many bytes.
fn counted_range(args: Args<'_>, length: usize) -> Result<Range<usize>, CommandError> {
    match (args.get(2), args.get(3)) {
        (None, _) => Ok(0..length * 8),
        (Some(start), Some(end)) if args.len() <= 5 => {
            let (start, end) = (integer(start)?, integer(end)?);
            if start < 0 && end < 0 && start > end {
                return Ok(0..0); // before the unit is looked at, and if both lie before the string
            }
            Ok(Unit::parse(args.get(4))?.range(start, end, length))
        }
        _ => Err(CommandError::Syntax),
    }
}

/// The length of a string, which is looked at for the first time or again.
fn length_of(ctx: &mut Context<'_>, key: &[u8]) -> Result<Option<usize>, CommandError> {
    let mut buffer = itoa::Buffer::new();
    let string = match ctx.has_work() {
        false => ctx.db.read_string(key)?,
        true => ctx.db.lookup_string(key)?,
    };
    Ok(string.map(|string| text_of(string, &mut buffer).len()))
}

fn bitcount(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    // Redis looks at the rest of a request only if there is a string.
    let Some(length) = length_of(ctx, &args[1])? else {
        ctx.reply.integer(0);
        return Ok(());
    };
    let range = counted_range(args, length)?;
    let (from, before) = match ctx.work() {
        Some(Work::Bits(from, count)) => (Some(from), count),
        _ => (None, 0),
    };
    let some = bits_now(ctx, &range, from)?;
    let mut buffer = itoa::Buffer::new();
    let string = ctx.db.lookup_string(&args[1])?;
    let text = text_of(string.unwrap_or(StringRef::Bytes(b"")), &mut buffer);
    // A string is far shorter than 2^60 bytes.
    let count = before + words::count_range(text, some.clone()).cast_signed();
    if some.end < range.end {
        return ctx.leave(Work::Bits(some.end, count));
    }
    ctx.reply.integer(count);
    Ok(())
}

fn bitpos(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let wanted = match integer(&args[2])? {
        0 => false,
        1 => true,
        _ => return Err(NOT_A_BIT),
    };
    let Some(length) = length_of(ctx, &args[1])? else {
        ctx.reply.integer(-i64::from(wanted));
        return Ok(());
    };
    if args.len() > 6 {
        return Err(CommandError::Syntax);
    }
    let start = args.get(3).map_or(Ok(0), integer)?;
    let unit = Unit::parse(args.get(5))?;
    let end = args.get(4).map(integer).transpose()?;
    let range = unit.range(start, end.unwrap_or(-1), length);
    let from = match ctx.work() {
        Some(Work::Bits(from, _)) => Some(from),
        _ => None,
    };
    let some = bits_now(ctx, &range, from)?;
    let mut buffer = itoa::Buffer::new();
    let string = ctx.db.lookup_string(&args[1])?;
    let text = text_of(string.unwrap_or(StringRef::Bytes(b"")), &mut buffer);
    let position = match words::find(text, some.clone(), wanted) {
        Some(position) => position as i64,
        None if some.end < range.end => return ctx.leave(Work::Bits(some.end, 0)),
        // Zeros follow the string, unless its end was given.
        None if !wanted && end.is_none() && !range.is_empty() => range.end as i64,
        None => -1,
    };
    ctx.reply.integer(position);
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Engine;

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn single_bits() {
        let bad_offset = "-ERR bit offset is not an integer or out of range";
        let bad_bit = "-ERR bit is not an integer or out of range";
        let mut engine = Engine::new();
        engine.talk(&[
            ("SETBIT k 7 1", ":0"),
            ("SETBIT k 7 1", ":1"),
            ("GETBIT k 7", ":1"),
            ("GETBIT k 8", ":0"),
            ("GETBIT nokey 100", ":0"),
            ("GET k", "$1|\\x01"),
            ("SETBIT k 20 0", ":0"),
            ("GET k", "$3|\\x01\\x00\\x00"),
            ("SETBIT k 7 0", ":1"),
            ("SETBIT k 7 2", bad_bit),
            ("SETBIT k 1 x", bad_bit),
            ("SETBIT k x 2", bad_offset),
            ("SETBIT k -1 1", bad_offset),
            ("SETBIT k 4294967296 1", bad_offset),
            ("GETBIT k #1", bad_offset),
            ("GETBIT k 4294967295", ":0"),
            ("SET n 10", "+OK"),
            ("GETBIT n 2", ":1"),
            ("SETBIT n 7 0", ":1"),
            ("GET n", "$2|00"),
        ]);
        assert_eq!(engine.effects("SETBIT n 7 0"), "");
        assert_eq!(
            engine.effects("SETBIT n 7 1"),
            "*4|$6|SETBIT|$1|n|$1|7|$1|1|"
        );
        assert_eq!(
            engine.effects("SETBIT n 20 0"),
            "*4|$6|SETBIT|$1|n|$2|20|$1|0|"
        );
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn counting() {
        let no_integer = "-ERR value is not an integer or out of range";
        Engine::new().talk(&[
            ("SET k foobar", "+OK"),
            ("BITCOUNT k", ":26"),
            ("BITCOUNT k 0 0", ":4"),
            ("BITCOUNT k 1 1 byte", ":6"),
            ("BITCOUNT k 5 30 BIT", ":17"),
            ("BITCOUNT k -5 -3 BIT", ":1"),
            ("BITCOUNT k -100 -100", ":4"),
            ("BITCOUNT k -1 -5 foo", ":0"),
            ("BITCOUNT k 3 1", ":0"),
            ("BITCOUNT k 6 7", ":0"),
            ("BITCOUNT k 1", "-ERR syntax error"),
            ("BITCOUNT k 0 1 foo", "-ERR syntax error"),
            ("BITCOUNT k 0 0 BIT BIT", "-ERR syntax error"),
            ("BITCOUNT k 0 x foo", no_integer),
            ("BITCOUNT nokey 1", ":0"),
            ("BITCOUNT nokey a b", ":0"),
        ]);
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn searching() {
        Engine::new().talk(&[
            ("SET k \"\\xff\\xf0\\x00\"", "+OK"),
            ("BITPOS k 0", ":12"),
            ("BITPOS k 1", ":0"),
            ("BITPOS k 1 2", ":-1"),
            ("BITPOS k 0 0 0", ":-1"),
            ("BITPOS k 0 2 -1", ":16"),
            ("BITPOS k 1 9 -1 BIT", ":9"),
            ("BITPOS k 1 12 -1 BIT", ":-1"),
            ("BITPOS k 0 0 11 BIT", ":-1"),
            ("BITPOS k 0 -100 -100", ":-1"),
            ("BITPOS k 1 5", ":-1"),
            ("SET full \"\\xff\\xff\"", "+OK"),
            ("BITPOS full 0", ":16"),
            ("BITPOS full 0 1", ":16"),
            ("BITPOS full 0 2", ":-1"),
            ("BITPOS full 0 0 -1", ":-1"),
            ("BITPOS nokey 0", ":0"),
            ("BITPOS nokey 1 a", ":-1"),
            ("SET empty \"\"", "+OK"),
            ("BITPOS empty 0", ":-1"),
            ("BITPOS k 2", "-ERR The bit argument must be 1 or 0."),
            (
                "BITPOS nokey x",
                "-ERR value is not an integer or out of range",
            ),
            (
                "BITPOS k 1 a 1 foo",
                "-ERR value is not an integer or out of range",
            ),
            ("BITPOS k 1 0 x foo", "-ERR syntax error"),
            ("BITPOS k 1 0 1 BIT 3", "-ERR syntax error"),
        ]);
    }
}
