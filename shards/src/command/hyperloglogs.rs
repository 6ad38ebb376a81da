//! Commands on HyperLogLogs: strings that estimate how many different elements
//! were added to them.
//!
//! Dense ones are changed where they lie; sparse ones, at most some kilobytes,
//! are copied, changed and put back, so that what turns out to be corrupt on
//! the way has changed nothing. PFCOUNT keeps what it has estimated in the
//! string: the one reading command that writes, as in Redis.

use super::spec::{Arity, Begin, Find, Group, KeySpec, flags};
use super::strings::text_of;
use super::{Args, Context, Decision, Outcome, OwnedArgs, ROW, Row, Run, Write};
use crate::command::spec::Access;
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::{StringRef, Ttl};
use crate::resp::Reply;
use crate::resp::read::{self as resp, Read, bulk_text};
use crate::value::hyperloglog::{
    CACHE_AT, Corrupt, HyperLogLog, HyperLogLogRef, REGISTERS, Registers, add_in_place,
};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "pfadd",
        syntax: "key [element [element ...]]",
        summary: "Add elements to a HyperLogLog; whether its estimate may have changed.",
        since: "2.8.9",
        complexity: "O(1) for each element",
        group: Group::HyperLogLog,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RW", "insert"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        run: Run::OneShard(pfadd),
..ROW
},
    Row {
        name: "pfcount",
        syntax: "key [key ...]",
        summary: "Estimate how many different elements were added to HyperLogLogs together.",
        since: "2.8.9",
        complexity: "O(1) for one key, O(N) for N keys",
        group: Group::HyperLogLog,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::every(1, &["RW", "access"]).noted(
            "RW because it may change the internal representation of the key, and propagate to replicas",
        )],
        flags: flags::READONLY,
        may_replicate: true,
        run: Run::ReadThenWrite {
            whole: pfcount,
            read,
            decide: pfcount_decide,
            skip: 0,
        },
..ROW
},
    Row {
        name: "pfmerge",
        syntax: "destkey [sourcekey [sourcekey ...]]",
        summary: "Add to a HyperLogLog all that was added to others.",
        since: "2.8.9",
        complexity: "O(N) for N keys",
        group: Group::HyperLogLog,
        arity: Arity::AtLeast(2),
        keys: &[
            KeySpec::first(&["RW", "access", "insert"]),
            KeySpec {
                begin: Begin::Index(2),
                find: Find::Range {
                    last: -1,
                    step: 1,
                    limit: 0,
                },
                access: Access(&["RO", "access"]),
                notes: "",
vary: None,
            },
        ],
        flags: flags::WRITE.with(flags::DENYOOM),
        run: Run::ReadThenWrite {
            whole: pfmerge,
            read,
            decide: pfmerge_decide,
            skip: 0,
        },
..ROW
},
    Row {
        name: "pfdebug",
        syntax: "subcommand key",
        summary: "Look into a HyperLogLog: GETREG, DECODE, ENCODING, TODENSE.",
        since: "2.8.9",
        complexity: "O(1)",
        group: Group::HyperLogLog,
        arity: Arity::Exactly(3),
        keys: &[KeySpec {
            begin: Begin::Index(2),
            find: Find::Range {
                last: 0,
                step: 1,
                limit: 0,
            },
            access: Access(&["RW", "access"]),
            notes: "",
vary: None,
        }],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::ADMIN),
is_system: true,
        run: Run::OneShard(pfdebug),
..ROW
},
    Row {
        name: "pfselftest",
        summary: "Check that HyperLogLogs on this machine estimate as they should.",
        since: "2.8.9",
        complexity: "O(1)",
        group: Group::HyperLogLog,
        arity: Arity::Exactly(1),
        flags: flags::ADMIN,
is_system: true,
        run: Run::OneShard(pfselftest),
..ROW
},
];

const NOT_ONE: CommandError =
    CommandError::Static("WRONGTYPE Key is not a valid HyperLogLog string value.");
const CORRUPT: CommandError = CommandError::Static("INVALIDOBJ Corrupted HLL object detected");

impl From<Corrupt> for CommandError {
    fn from(_: Corrupt) -> Self {
        CORRUPT
    }
}

/// The HyperLogLog in a string.
fn of_string(string: StringRef<'_>) -> Result<HyperLogLogRef<'_>, CommandError> {
    match string {
        StringRef::Bytes(bytes) => HyperLogLogRef::of(bytes).ok_or(NOT_ONE),
        StringRef::Int(_) => Err(NOT_ONE),
    }
}

/// Where a key's HyperLogLog is to be changed.
enum Target {
    /// Dense, and some of the elements would change it.
    InPlace,
    /// Dense, and none would.
    Unchanged,
    Copy(HyperLogLog),
    Missing,
}

impl Target {
    fn of(ctx: &mut Context<'_>, key: &[u8], elements: Args<'_>) -> Result<Self, CommandError> {
        let Some(string) = ctx.db.lookup_string(key)? else {
            return Ok(Self::Missing);
        };
        let it = of_string(string)?;
        Ok(if !it.is_dense() {
            Self::Copy(HyperLogLog::copy_of(it)?)
        } else if elements.iter().all(|element| it.has(element)) {
            Self::Unchanged
        } else {
            Self::InPlace
        })
    }
}

fn pfadd(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, elements) = (&args[1], args.from(2));
    let (mut copy, mut changes) = match Target::of(ctx, key, elements)? {
        // Created even if nothing is added.
        Target::Missing => (Some(HyperLogLog::new()), 1),
        Target::Copy(copy) => (Some(copy), 0),
        Target::InPlace => {
            let mut added = 0;
            let add = |bytes: &mut [u8]| {
                for element in elements.iter() {
                    added += usize::from(add_in_place(bytes, element));
                }
            };
            ctx.db
                .edit_string(key, add)
                .expect("12 KiB lie outside their entry");
            (None, added)
        }
        Target::Unchanged => (None, 0),
    };
    if let Some(copy) = &mut copy {
        for element in elements.iter() {
            let new = copy.add(element, ctx.settings.hll_sparse_max_bytes)?;
            changes += usize::from(new);
        }
    }
    if let Some(mut copy) = copy.filter(|_| changes > 0) {
        copy.make_stale();
        ctx.db.set_owned(key, copy.into_bytes(), Ttl::Keep)?;
    }
    if changes > 0 {
        ctx.changed_times(key, Event::PfAdd, changes);
    }
    ctx.reply.integer(i64::from(changes > 0));
    Ok(())
}

fn reply_count(reply: &mut Reply<'_>, count: u64) {
    reply.integer(i64::try_from(count).unwrap_or(i64::MAX));
}

fn pfcount(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len() > 2 {
        let mut union = Union::new();
        for key in args.from(1).iter() {
            union.add(ctx, key)?;
        }
        reply_count(&mut ctx.reply, union.count()?);
        return Ok(());
    }
    let [key] = args.exactly()?;
    let Some(string) = ctx.db.read_string(key)? else {
        ctx.reply.integer(0);
        return Ok(());
    };
    let it = of_string(string)?;
    if let Some(count) = it.cached_count() {
        reply_count(&mut ctx.reply, count);
        return Ok(());
    }
    let count = it.count()?;
    ctx.db.set_range(key, CACHE_AT, &count.to_le_bytes())?;
    ctx.changed(key, Event::Silent);
    reply_count(&mut ctx.reply, count);
    Ok(())
}

/// The registers of several HyperLogLogs together.
struct Union {
    registers: Box<Registers>,
    /// One of them is dense.
    dense: bool,
}

impl Union {
    fn new() -> Self {
        Self {
            registers: Box::new([0; REGISTERS]),
            dense: false,
        }
    }

    /// Adds the HyperLogLog at `key`, if there is one.
    fn add(&mut self, ctx: &mut Context<'_>, key: &[u8]) -> Result<(), CommandError> {
        match ctx.db.read_string(key)? {
            Some(string) => self.merge(of_string(string)?),
            None => Ok(()),
        }
    }

    /// Adds what [`read`] replied for a key.
    fn add_reply(&mut self, reply: &[u8]) -> Result<(), CommandError> {
        match resp::read(reply) {
            Some((Read::Error(text), _)) => Err(CommandError::Owned(text.into())),
            Some((Read::Bulk(text), _)) => {
                HyperLogLogRef::of(text).map_or(Ok(()), |it| self.merge(it))
            }
            _ => Ok(()), // the null of a missing key
        }
    }

    fn merge(&mut self, it: HyperLogLogRef<'_>) -> Result<(), CommandError> {
        self.dense |= it.is_dense();
        Ok(it.merge_into(&mut self.registers)?)
    }

    fn count(&self) -> Result<u64, CommandError> {
        let mut all = HyperLogLog::new();
        all.make_dense()?;
        all.raise_to(&self.registers, 0)?;
        Ok(all.view().count()?)
    }

    /// What becomes of `destination`, which is one of those that were added.
    fn merged(&self, destination: HyperLogLog, sparse_max: usize) -> Result<Vec<u8>, CommandError> {
        let mut merged = destination;
        if self.dense {
            merged.make_dense()?;
        }
        merged.raise_to(&self.registers, sparse_max)?;
        merged.make_stale();
        Ok(merged.into_bytes())
    }
}

fn pfmerge(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let mut union = Union::new();
    for key in args.from(1).iter() {
        union.add(ctx, key)?;
    }
    let key = &args[1];
    let old = ctx.db.lookup_string(key)?.map(of_string).transpose()?;
    let destination = old.map_or_else(|| Ok(HyperLogLog::new()), HyperLogLog::copy_of)?;
    let merged = union.merged(destination, ctx.settings.hll_sparse_max_bytes)?;
    ctx.db.set_owned(key, merged, Ttl::Keep)?;
    ctx.changed(key, Event::PfAdd);
    ctx.reply.ok();
    Ok(())
}

/// One HyperLogLog per key, null for a missing one; an error in place of what is
/// none, so that the first in the order of the keys is the one replied.
fn read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    ctx.reply.array(args.len() - 1);
    for key in args.from(1).iter() {
        let mut buffer = itoa::Buffer::new();
        let found = match ctx.db.read_string(key) {
            Ok(None) => Ok(None),
            Ok(Some(string)) => of_string(string).map(|_| Some(text_of(string, &mut buffer))),
            Err(error) => Err(error),
        };
        match found {
            Ok(None) => ctx.reply.null(),
            Ok(Some(text)) => ctx.reply.bulk(text),
            Err(error) => ctx.reply.error(&error),
        }
    }
    Ok(())
}

fn union_of(decision: &Decision<'_>) -> Result<Union, CommandError> {
    let mut union = Union::new();
    for reply in decision.read {
        union.add_reply(reply)?;
    }
    Ok(union)
}

fn pfcount_decide(decision: &mut Decision<'_>) -> Outcome {
    let count = union_of(decision)?.count()?;
    reply_count(&mut decision.reply, count);
    Ok(())
}

fn pfmerge_decide(decision: &mut Decision<'_>) -> Outcome {
    let union = union_of(decision)?;
    let old = decision.read.first().map(|reply| bulk_text(reply));
    let old = old.and_then(HyperLogLogRef::of);
    let destination = old.map_or_else(|| Ok(HyperLogLog::new()), HyperLogLog::copy_of)?;
    let merged = union.merged(destination, decision.settings.hll_sparse_max_bytes)?;
    decision.reply.ok();
    decision.writes.push(Write {
        handler: store,
        args: OwnedArgs::new([&b"SET"[..], &decision.args[1], &merged, b"KEEPTTL"]),
    });
    Ok(())
}

/// `SET destination result KEEPTTL`.
fn store(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, value, _] = args.exactly()?;
    ctx.db.set_raw(key, value, Ttl::Keep)?;
    ctx.changed(key, Event::PfAdd);
    Ok(())
}

fn pfdebug(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [subcommand, key] = args.exactly()?;
    let Some(string) = ctx.db.lookup_string(key)? else {
        return Err(CommandError::Static("ERR The specified key does not exist"));
    };
    let it = of_string(string)?;
    let is = |name: &[u8]| subcommand.eq_ignore_ascii_case(name);
    if is(b"GETREG") {
        let mut registers = Box::new([0; REGISTERS]);
        it.merge_into(&mut registers)?;
        make_dense(ctx, key)?;
        ctx.reply.array(REGISTERS);
        for register in registers.iter() {
            ctx.reply.integer(i64::from(*register));
        }
    } else if is(b"DECODE") {
        if it.is_dense() {
            return Err(CommandError::Static("ERR HLL encoding is not sparse"));
        }
        ctx.reply.bulk(it.describe().as_bytes());
    } else if is(b"ENCODING") {
        let name = if it.is_dense() { "dense" } else { "sparse" };
        ctx.reply.simple(name);
    } else if is(b"TODENSE") {
        let changed = make_dense(ctx, key)?;
        ctx.reply.integer(i64::from(changed));
    } else {
        let (before, after) = ("ERR Unknown PFDEBUG subcommand '", "'");
        return Err(CommandError::quoting(before, subcommand, after));
    }
    Ok(())
}

/// Makes the HyperLogLog at `key` dense; whether it was not.
fn make_dense(ctx: &mut Context<'_>, key: &[u8]) -> Result<bool, CommandError> {
    let old = ctx.db.lookup_string(key)?.map(of_string).transpose()?;
    let Some(old) = old.filter(|old| !old.is_dense()) else {
        return Ok(false);
    };
    let mut copy = HyperLogLog::copy_of(old)?;
    copy.make_dense()?;
    ctx.db.set_owned(key, copy.into_bytes(), Ttl::Keep)?;
    ctx.changed(key, Event::Silent);
    ctx.propagate(&[b"PFDEBUG", b"TODENSE", key]);
    Ok(true)
}

/// Adds numbers to a sparse and to a dense one: the registers must be the same
/// and the estimates near. Some milliseconds.
fn pfselftest(ctx: &mut Context<'_>, _: Args<'_>) -> Outcome {
    const ELEMENTS: u32 = 5_000;
    const CHECKED_EVERY: u32 = 1_000;
    /// Six times the standard error, 1.04 / √16384.
    const ERROR_MAX: f64 = 6.0 * 1.04 / 128.0;
    let (mut sparse, mut dense) = (HyperLogLog::new(), HyperLogLog::new());
    dense.make_dense()?;
    for number in 1..=ELEMENTS {
        let element = number.to_le_bytes();
        sparse.add(&element, ctx.settings.hll_sparse_max_bytes)?;
        dense.add(&element, 0)?;
        if number % CHECKED_EVERY != 0 {
            continue;
        }
        let counts = [sparse.view().count()?, dense.view().count()?];
        let error = (counts[0] as f64 - f64::from(number)).abs();
        if counts[0] != counts[1] || error > f64::from(number) * ERROR_MAX {
            return Err(CommandError::Static(
                "TESTFAILED HyperLogLogs do not estimate as they should",
            ));
        }
    }
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Engine;

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn bytes_are_those_of_redis() {
        let created =
            "$18|HYLL\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80\\x7f\\xff";
        let three = "$27|HYLL\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x80`\\xf3\\x80P\\xb1\\x84K\\xfb\\x80BZ";
        let counted = "$27|HYLL\\x01\\x00\\x00\\x00\\x03\\x00\\x00\\x00\\x00\\x00\\x00\\x00`\\xf3\\x80P\\xb1\\x84K\\xfb\\x80BZ";
        Engine::new().talk(&[
            ("PFADD h", ":1"),
            ("GET h", created),
            ("PFADD h a b", ":1"),
            ("PFADD h a b c", ":1"),
            ("GET h", three),
            ("PFCOUNT h", ":3"),
            ("GET h", counted),
            ("PFADD h", ":0"),
            ("PFADD h a c", ":0"),
            ("GET h", counted),
            (
                "PFDEBUG DECODE h",
                "$44|Z:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603",
            ),
            ("PFDEBUG ENCODING h", "+sparse"),
            ("PFMERGE m", "+OK"),
            ("GET m", created),
            ("PFMERGE m h", "+OK"),
            ("GET m", three),
            ("PFDEBUG TODENSE h", ":1"),
            ("PFDEBUG todense h", ":0"),
            ("PFDEBUG ENCODING h", "+dense"),
            ("STRLEN h", ":12304"),
            ("PFADD h a", ":0"),
            ("PFADD h d", ":1"),
            ("PFCOUNT h", ":4"),
            ("PFCOUNT h m nokey", ":4"),
            ("PFCOUNT nokey", ":0"),
            ("PFMERGE m h", "+OK"),
            ("PFDEBUG ENCODING m", "+dense"),
            ("PFSELFTEST", "+OK"),
        ]);
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn what_is_none_is_refused() {
        let none = "-WRONGTYPE Key is not a valid HyperLogLog string value.";
        let corrupt = "-INVALIDOBJ Corrupted HLL object detected";
        Engine::new().talk(&[
            ("SET s hello", "+OK"),
            ("SET n 10", "+OK"),
            ("PFADD s a", none),
            ("PFADD n a", none),
            ("PFCOUNT s nokey", none),
            ("PFMERGE d s", none),
            ("PFMERGE s", none),
            ("EXISTS d", ":0"),
            ("PFDEBUG GETREG s", none),
            (
                "PFDEBUG GETREG nokey",
                "-ERR The specified key does not exist",
            ),
            ("PFADD h a", ":1"),
            ("PFDEBUG foo h", "-ERR Unknown PFDEBUG subcommand 'foo'"),
            ("APPEND h hello", ":26"),
            ("PFCOUNT h", corrupt),
            ("PFCOUNT h nokey", corrupt),
            ("PFMERGE d h", corrupt),
            ("PFDEBUG TODENSE h", corrupt),
            ("PFDEBUG GETREG h", corrupt),
            ("SETRANGE h 4 \"\\x02\"", ":26"),
            ("PFADD h a", none),
            ("SETRANGE h 4 \"\\x00\"", ":26"),
            ("PFCOUNT h", none),
        ]);
    }

    #[test]
    fn estimates_and_conversions_leave_effects() {
        let mut engine = Engine::new();
        let added = "*4|$5|PFADD|$1|h|$1|a|$1|b|";
        assert_eq!(engine.effects("PFADD h a b"), added);
        assert_eq!(engine.effects("PFADD h b a"), "");
        assert_eq!(engine.effects("PFCOUNT h"), "*2|$7|PFCOUNT|$1|h|");
        assert_eq!(engine.effects("PFCOUNT h"), "");
        assert_eq!(engine.effects("PFCOUNT h x"), "");
        let dense = "*3|$7|PFDEBUG|$7|TODENSE|$1|h|";
        assert_eq!(engine.effects("PFDEBUG GETREG h"), dense);
        assert_eq!(engine.effects("PFDEBUG TODENSE h"), "");
    }
}
