//! BITFIELD: integers of 1 to 64 bits at any offset of a string.
//!
//! All operations are parsed before the first runs, so an error changes
//! nothing. Each then reads the up to nine bytes its integer touches, and
//! writes them back; later operations see what earlier ones wrote. The string
//! grows once, beforehand, to where the farthest operation writes: also if
//! that operation then fails for overflow.

use super::BAD_OFFSET;
use crate::command::args::integer;
use crate::command::spec::{Arity, Group, KeySpec, flags};
use crate::command::strings::text_of;
use crate::command::{Args, Context, Outcome, ROW, Row, Run};
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::StringRef;
use crate::number::parse_i64;
use crate::types::Settings;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "bitfield",
        syntax: "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment> [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment> ...]]",
        summary: "Read, set and raise integers of any width at any offset of a string.",
        since: "3.2.0",
        complexity: "O(1) for each operation",
        group: Group::Bitmap,
        arity: Arity::AtLeast(2),
        keys: &[
            KeySpec::first(&["RW", "access", "update", "variable_flags"])
                .noted("This command allows both access and modification of the key")
                .varying(bitfield_access),
        ],
        flags: flags::WRITE.with(flags::DENYOOM),
        run: Run::OneShard(bitfield),
        ..ROW
    },
    Row {
        name: "bitfield_ro",
        syntax: "key [GET encoding offset [GET encoding offset ...]]",
        summary: "Read integers of any width at any offset of a string.",
        since: "6.0.0",
        complexity: "O(1) for each operation",
        group: Group::Bitmap,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(bitfield_ro),
        ..ROW
    },
];

const BAD_TYPE: CommandError = CommandError::Static(
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
);
const BAD_OVERFLOW: CommandError = CommandError::Static("ERR Invalid OVERFLOW type specified");
const ONLY_GET: CommandError =
    CommandError::Static("ERR BITFIELD_RO only supports the GET subcommand");
/// Bytes that an integer of 64 bits touches at most.
const WINDOW_BYTES: usize = 9;

/// What happens to a value that does not fit.
#[derive(Clone, Copy, Debug)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Overflow {
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        if is(b"WRAP") {
            Ok(Self::Wrap)
        } else if is(b"SAT") {
            Ok(Self::Saturate)
        } else if is(b"FAIL") {
            Ok(Self::Fail)
        } else {
            Err(BAD_OVERFLOW)
        }
    }
}

/// `i1` to `i64` and `u1` to `u63`: every value fits an i64.
#[derive(Clone, Copy, Debug)]
struct Width {
    signed: bool,
    bits: u32,
}

impl Width {
    fn parse(word: &[u8]) -> Result<Self, CommandError> {
        let (signed, max) = match word.first() {
            Some(b'i') => (true, 64),
            Some(b'u') => (false, 63),
            _ => return Err(BAD_TYPE),
        };
        let bits = parse_i64(&word[1..]).and_then(|bits| u32::try_from(bits).ok());
        let bits = bits.filter(|bits| (1..=max).contains(bits));
        Ok(Self {
            signed,
            bits: bits.ok_or(BAD_TYPE)?,
        })
    }

    /// The smallest and the largest value.
    fn limits(self) -> (i128, i128) {
        if self.signed {
            (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1)
        } else {
            (0, (1 << self.bits) - 1)
        }
    }

    /// The low bits of `value`, as this type reads them.
    fn wrap(self, value: i128) -> i64 {
        let unused = 128 - self.bits;
        let wrapped = if self.signed {
            value << unused >> unused
        } else {
            (value.cast_unsigned() << unused >> unused).cast_signed()
        };
        i64::try_from(wrapped).expect("at most 64 bits with, 63 without sign")
    }

    /// `value` made to fit, or nothing if it must fail.
    fn fit(self, value: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.limits();
        if (min..=max).contains(&value) {
            return Some(self.wrap(value));
        }
        match overflow {
            Overflow::Wrap => Some(self.wrap(value)),
            Overflow::Saturate => Some(self.wrap(value.clamp(min, max))),
            Overflow::Fail => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Get,
    Set(i64, Overflow),
    Add(i64, Overflow),
}

#[derive(Clone, Copy, Debug)]
struct Operation {
    width: Width,
    /// Of the highest bit.
    offset: usize,
    action: Action,
}

impl Operation {
    /// Bytes the string must have to hold the whole integer.
    fn end_byte(&self) -> usize {
        (self.offset + self.width.bits as usize).div_ceil(8)
    }
}

/// Parses everything behind the key.
fn parse(mut words: Args<'_>, settings: &Settings) -> Result<Vec<Operation>, CommandError> {
    let mut overflow = Overflow::Wrap;
    let mut operations = Vec::new();
    while let Some(name) = words.get(0) {
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        if is(b"OVERFLOW") && words.len() > 1 {
            overflow = Overflow::parse(&words[1])?;
            words = words.from(2);
            continue;
        }
        let (arguments, action): (_, fn(i64, Overflow) -> Action) = if is(b"GET") {
            (2, |_, _| Action::Get)
        } else if is(b"SET") {
            (3, Action::Set)
        } else if is(b"INCRBY") {
            (3, Action::Add)
        } else {
            return Err(CommandError::Syntax);
        };
        if words.len() <= arguments {
            return Err(CommandError::Syntax);
        }
        let width = Width::parse(&words[1])?;
        let offset = field_offset(&words[2], width, settings)?;
        let value = if arguments > 2 {
            integer(&words[3])?
        } else {
            0
        };
        operations
            .try_reserve(1)
            .map_err(|_| CommandError::OutOfMemory)?;
        operations.push(Operation {
            width,
            offset,
            action: action(value, overflow),
        });
        words = words.from(1 + arguments);
    }
    Ok(operations)
}

/// An offset in bits, or with `#` in integers of this width.
fn field_offset(word: &[u8], width: Width, settings: &Settings) -> Result<usize, CommandError> {
    let (number, unit) = match word.strip_prefix(b"#") {
        Some(number) => (number, width.bits as usize),
        None => (word, 1),
    };
    let offset = parse_i64(number).and_then(|offset| usize::try_from(offset).ok());
    let offset = offset.and_then(|offset| offset.checked_mul(unit));
    let allowed = |offset: &usize| offset / 8 < settings.proto_max_bulk_len;
    offset.filter(allowed).ok_or(BAD_OFFSET)
}

/// The bytes around an integer, as one number.
struct Window {
    first_byte: usize,
    bytes: [u8; 16],
    /// Bits to the right of the integer.
    below: u32,
}

impl Window {
    fn read(text: &[u8], operation: &Operation) -> Self {
        let first_byte = operation.offset / 8;
        let mut bytes = [0; 16];
        for (to, from) in bytes
            .iter_mut()
            .zip(text.iter().skip(first_byte).take(WINDOW_BYTES))
        {
            *to = *from;
        }
        // Lossless: below 8.
        #[allow(clippy::cast_possible_truncation)]
        let above = (operation.offset % 8) as u32;
        Self {
            first_byte,
            bytes,
            below: 128 - above - operation.width.bits,
        }
    }

    fn get(&self, width: Width) -> i64 {
        width.wrap(i128::from_be_bytes(self.bytes) >> self.below)
    }

    fn set(&mut self, width: Width, value: i64) {
        let mask = u128::MAX >> (128 - width.bits) << self.below;
        let value = i128::from(value).cast_unsigned() << self.below & mask;
        let word = u128::from_be_bytes(self.bytes) & !mask | value;
        self.bytes = word.to_be_bytes();
    }

    /// The bytes the integer of `operation` touches.
    fn touched(&self, operation: &Operation) -> &[u8] {
        &self.bytes[..operation.end_byte() - self.first_byte]
    }
}

/// It only reads if it has GET, and OVERFLOW, which changes nothing by itself,
/// alone. Of a request that is malformed the worst is assumed.
fn bitfield_access(args: Args<'_>) -> &'static [&'static str] {
    let mut at = 2;
    while let Some(word) = args.get(at) {
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let words = match () {
            () if is(b"get") => 3,
            () if is(b"overflow") => 2,
            () => return &["RW", "access", "update"],
        };
        at += words;
        if at > args.len() {
            return &["RW", "access", "update"];
        }
    }
    &["RO", "access"]
}

fn bitfield(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let operations = parse(args.from(2), ctx.settings)?;
    run(ctx, &args[1], &operations)
}

fn bitfield_ro(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let operations = parse(args.from(2), ctx.settings)?;
    if operations
        .iter()
        .any(|operation| !matches!(operation.action, Action::Get))
    {
        return Err(ONLY_GET);
    }
    run(ctx, &args[1], &operations)
}

fn run(ctx: &mut Context<'_>, key: &[u8], operations: &[Operation]) -> Outcome {
    let writes = |operation: &&Operation| !matches!(operation.action, Action::Get);
    let wanted = operations
        .iter()
        .filter(writes)
        .map(Operation::end_byte)
        .max();
    let mut buffer = itoa::Buffer::new();
    let Some(wanted) = wanted else {
        let string = ctx.db.read_string(key)?.unwrap_or(StringRef::Bytes(b""));
        let text = text_of(string, &mut buffer);
        ctx.reply.array(operations.len());
        for operation in operations {
            let value = Window::read(text, operation).get(operation.width);
            ctx.reply.integer(value);
        }
        return Ok(());
    };
    let grown = make_room(ctx, key, wanted)?;
    ctx.reply.array(operations.len());
    let mut changes = 0;
    for operation in operations {
        // In a string that has grown Redis counts whatever was written.
        let done = perform(ctx, key, operation)?;
        let counts = done.is_some_and(|changed| changed || grown);
        changes += usize::from(counts && writes(&operation));
    }
    if grown || changes > 0 {
        let event = match changes {
            0 => Event::Silent,
            _ => Event::SetBit,
        };
        ctx.changed_times(key, event, changes);
    }
    Ok(())
}

/// Makes the string at `key` at least `wanted` bytes long, and of bytes if it
/// was a number, so that what is written next needs no memory. Whether it grew.
fn make_room(ctx: &mut Context<'_>, key: &[u8], wanted: usize) -> Result<bool, CommandError> {
    let mut buffer = itoa::Buffer::new();
    let string = ctx.db.lookup_string(key)?;
    let text = text_of(string.unwrap_or(StringRef::Bytes(b"")), &mut buffer);
    let length = text.len();
    let last = text.get(wanted - 1).copied().unwrap_or(0);
    ctx.db.set_range(key, wanted - 1, &[last])?;
    Ok(wanted > length)
}

/// Runs one operation and replies; whether a bit changed, unless an overflow
/// forbade it.
fn perform(
    ctx: &mut Context<'_>,
    key: &[u8],
    operation: &Operation,
) -> Result<Option<bool>, CommandError> {
    let width = operation.width;
    let string = ctx.db.lookup_string(key)?.unwrap_or(StringRef::Bytes(b""));
    let mut buffer = itoa::Buffer::new();
    let mut window = Window::read(text_of(string, &mut buffer), operation);
    let old = window.get(width);
    let (new, reply) = match operation.action {
        Action::Get => (Some(old), old),
        Action::Set(value, overflow) => {
            // A negative one is above everything that has no sign.
            let value = if width.signed {
                i128::from(value)
            } else {
                i128::from(value.cast_unsigned())
            };
            (width.fit(value, overflow), old)
        }
        Action::Add(increment, overflow) => {
            let new = width.fit(i128::from(old) + i128::from(increment), overflow);
            (new, new.unwrap_or(old))
        }
    };
    let Some(new) = new else {
        ctx.reply.null();
        return Ok(None);
    };
    if new != old {
        window.set(width, new);
        ctx.db
            .set_range(key, window.first_byte, window.touched(operation))?;
    }
    ctx.reply.integer(reply);
    Ok(Some(new != old))
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Engine;

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn operations_run_in_order_and_overflow_as_told() {
        let mut engine = Engine::new();
        engine.talk(&[
            ("BITFIELD k", "*0"),
            ("BITFIELD k GET u8 0 GET i64 100", "*2|:0|:0"),
            ("EXISTS k", ":0"),
            ("BITFIELD k SET u8 0 -1 SET u8 0 256 SET i8 0 200", "*3|:0|:255|:0"),
            (
                "BITFIELD k GET i8 0 OVERFLOW SAT SET i8 0 200 SET i8 0 -200 GET i8 0",
                "*4|:-56|:-56|:127|:-128",
            ),
            ("BITFIELD k OVERFLOW FAIL SET i8 0 200 INCRBY u8 0 300", "*2|$-1|$-1"),
            (
                "BITFIELD k OVERFLOW SAT INCRBY u8 0 300 OVERFLOW FAIL INCRBY u8 0 1 INCRBY u8 0 -1",
                "*3|:255|$-1|:254",
            ),
            ("SET k abcd", "+OK"),
            ("BITFIELD k SET u8 0 254 INCRBY i5 3 -30", "*2|:97|:0"),
            ("SET k \"\"", "+OK"),
            ("BITFIELD k SET i64 1 -1 GET u63 0 GET u63 1", "*3|:0|:4611686018427387903|:9223372036854775807"),
            ("BITFIELD k OVERFLOW SAT INCRBY i64 1 -9223372036854775808", "*1|:-9223372036854775808"),
            ("BITFIELD k OVERFLOW FAIL INCRBY i64 1 -1", "*1|$-1"),
            ("BITFIELD k OVERFLOW WRAP INCRBY i64 1 -1", "*1|:9223372036854775807"),
            ("DEL k", ":1"),
            ("BITFIELD k SET u1 #35 1", "*1|:0"),
            ("GET k", "$5|\\x00\\x00\\x00\\x00\\x10"),
            ("BITFIELD fails OVERFLOW FAIL SET u2 9 9", "*1|$-1"),
            ("GET fails", "$2|\\x00\\x00"),
            ("SET n 10", "+OK"),
            ("BITFIELD n GET u8 0 SET u8 8 65", "*2|:49|:48"),
            ("GET n", "$2|1A"),
        ]);
        assert_eq!(engine.effects("BITFIELD n SET u8 8 65 GET u4 0"), "");
        let grown = "*6|$8|BITFIELD|$1|n|$3|SET|$2|u8|$3|100|$1|0|";
        assert_eq!(engine.effects("BITFIELD n SET u8 100 0"), grown);
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn what_is_refused() {
        let bad_type = "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
        let bad_offset = "-ERR bit offset is not an integer or out of range";
        let syntax = "-ERR syntax error";
        Engine::new().talk(&[
            ("BITFIELD k GET u64 0", bad_type),
            ("BITFIELD k GET i65 0", bad_type),
            ("BITFIELD k GET i0 0", bad_type),
            ("BITFIELD k GET U8 0", bad_type),
            ("BITFIELD k GET u08 0", bad_type),
            ("BITFIELD k GET \"\" 0", bad_type),
            ("BITFIELD k GET u8 #x", bad_offset),
            ("BITFIELD k GET u8 #-1", bad_offset),
            ("BITFIELD k GET u8 -1", bad_offset),
            ("BITFIELD k GET u8 34359738368", bad_offset),
            ("BITFIELD k GET u8 4294967295", "*1|:0"),
            ("BITFIELD k GET u8", syntax),
            ("BITFIELD k SET u8 0", syntax),
            ("BITFIELD k foo", syntax),
            ("BITFIELD k OVERFLOW", syntax),
            (
                "BITFIELD k OVERFLOW foo",
                "-ERR Invalid OVERFLOW type specified",
            ),
            (
                "BITFIELD k SET u8 0 x",
                "-ERR value is not an integer or out of range",
            ),
            ("BITFIELD k SET u8 0 1 GET u8", syntax),
            ("EXISTS k", ":0"),
            (
                "BITFIELD_RO k SET u8 0 1",
                "-ERR BITFIELD_RO only supports the GET subcommand",
            ),
            ("BITFIELD_RO k OVERFLOW WRAP GET u8 0", "*1|:0"),
            ("BITFIELD_RO k INCRBY u8 0", syntax),
        ]);
    }
}
