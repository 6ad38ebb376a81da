//! BITOP: a string made of the bits of others.
//!
//! Short strings of other shards are sent to where the request came. With a long one the
//! result goes from shard to shard instead, and takes up the strings of each in slices,
//! while all are locked; it is not copied. Operations on several strings are the same in
//! any order, so it comes to each shard once, and to that of the destination at last.

use super::ELEMENT_BYTES;
use super::words::Operation;
use crate::command::spec::{Access, Arity, Begin, Find, Group, InSlices, KeySpec, flags};
use crate::command::strings::text_of;
use crate::command::{
    Args, Context, Decision, Errand, Further, Outcome, OwnedArgs, ROW, Row, Run, Work, Write,
};
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::{StringRef, Ttl};
use crate::resp::read::{Read, bulk_text, read as read_reply};
use crate::types::ShardId;
use std::ops::Range;

pub static COMMANDS: &[Row] = &[Row {
    name: "bitop",
    syntax: "<AND | OR | XOR | NOT> destkey key [key ...]",
    summary: "Combine the bits of strings and store what comes out; its length.",
    since: "2.6.0",
    complexity: "O(N) with N the length of all strings together",
    group: Group::Bitmap,
    arity: Arity::AtLeast(4),
    keys: &[
        keys_from(2, 0, &["OW", "update"]),
        keys_from(3, -1, &["RO", "access"]),
    ],
    flags: flags::WRITE.with(flags::DENYOOM),
    slices: InSlices::IfMuch,
    run: Run::ReadThenWrite {
        whole: bitop,
        read,
        decide,
        skip: 1,
    },
    ..ROW
}];

const fn keys_from(at: i32, last: i32, access: &'static [&'static str]) -> KeySpec {
    KeySpec {
        begin: Begin::Index(at),
        find: Find::Range {
            last,
            step: 1,
            limit: 0,
        },
        access: Access(access),
        notes: "",
        vary: None,
    }
}

/// More bytes are not read of the strings of a shard together.
const READ_BYTES: usize = 64 << 10;

const ONE_SOURCE: CommandError =
    CommandError::Static("ERR BITOP NOT must be called with a single source key.");

/// What is to be done, and the keys: the destination first.
fn parse(args: Args<'_>) -> Result<(Operation, Args<'_>), CommandError> {
    let is = |name: &[u8]| args[1].eq_ignore_ascii_case(name);
    let operation = if is(b"AND") {
        Operation::And
    } else if is(b"OR") {
        Operation::Or
    } else if is(b"XOR") {
        Operation::Xor
    } else if is(b"NOT") {
        Operation::Not
    } else {
        return Err(CommandError::Syntax);
    };
    if operation == Operation::Not && args.len() != 4 {
        return Err(ONE_SOURCE);
    }
    Ok((operation, args.from(2)))
}

/// Strings being combined.
#[derive(Debug)]
pub struct Combination {
    operation: Operation,
    /// As long as the longest string, in the end.
    length: usize,
    result: Vec<u8>,
    /// So far the strings here are combined.
    at: usize,
    /// Those of another shard have been before.
    begun: bool,
    /// Where it still has to go, the last at the front, and the numbers of the strings
    /// there.
    stops: Vec<(ShardId, Vec<usize>)>,
}

impl Combination {
    /// `length`: of the longest string to come.
    fn new(operation: Operation, length: usize) -> Result<Self, CommandError> {
        let mut result = Vec::new();
        let reserved = result.try_reserve_exact(length);
        reserved.map_err(|_| CommandError::OutOfMemory)?;
        Ok(Self {
            operation,
            length,
            result,
            at: 0,
            begun: false,
            stops: Vec::new(),
        })
    }

    /// The next bytes of the result, up to so many.
    fn next(&mut self, bytes: usize) -> Range<usize> {
        let start = self.at;
        self.at = start.saturating_add(bytes).min(self.length);
        if self.result.len() < self.at {
            self.result.resize(self.at, 0);
        }
        start..self.at
    }

    /// Adds the `nth` string here to some bytes of the result.
    fn add(&mut self, nth: usize, some: Range<usize>, text: &[u8]) {
        let operation = match self.operation {
            // The result is all zeros so far.
            Operation::And if nth == 0 && !self.begun => Operation::Or,
            operation => operation,
        };
        let part = text.get(some.start..text.len().min(some.end));
        operation.apply(&mut self.result[some], part.unwrap_or_default());
    }

    /// Goes on with about so many bytes of the strings of these keys; whether there are
    /// more.
    fn combine_some(
        &mut self,
        ctx: &mut Context<'_>,
        keys: Args<'_>,
        bytes: usize,
    ) -> Result<bool, CommandError> {
        if keys.is_empty() {
            return Ok(false);
        }
        let some = self.next((bytes / keys.len()).max(1));
        for (nth, key) in keys.iter().enumerate() {
            let mut buffer = itoa::Buffer::new();
            let string = ctx.db.lookup_string(key)?;
            let string = string.unwrap_or(StringRef::Bytes(b""));
            self.add(nth, some.clone(), text_of(string, &mut buffer));
        }
        Ok(self.at < self.length)
    }

    /// Is to go to the shards of all strings, and then to that of the destination.
    fn plan(&mut self, decision: &Decision<'_>) {
        let last = decision.destination.unwrap_or(decision.home);
        self.stops.push((last, Vec::new()));
        for (number, shard) in decision.owners.iter().enumerate() {
            match self.stops.iter_mut().find(|stop| stop.0 == *shard) {
                Some((_, numbers)) => numbers.push(number),
                None => self.stops.push((*shard, vec![number])),
            }
        }
    }

    /// Sends it to its next stop; `keys` has the destination first.
    fn depart(mut self: Box<Self>, decision: &mut Decision<'_>, keys: Args<'_>) -> Outcome {
        let Some((shard, numbers)) = self.stops.pop() else {
            return Err(CommandError::Syntax);
        };
        let is_last = self.stops.is_empty();
        let name = decision.args.get(0).unwrap_or_default();
        let words = [name, &keys[0]].into_iter();
        let errand = Errand {
            shard: Some(shard).filter(|_| !is_last),
            handler: stop,
            args: OwnedArgs::new(words.chain(numbers.iter().map(|number| &keys[1 + number]))),
            work: Work::Bitop(self),
        };
        match is_last {
            true => decision.errand = Some(errand),
            false => decision.further = Some(Further::Errands(vec![errand])),
        }
        Ok(())
    }
}

fn bitop(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (operation, keys) = parse(args)?;
    let (destination, sources) = (&keys[0], keys.from(1));
    let work = ctx.work();
    let mut bytes = ctx.step().saturating_mul(ELEMENT_BYTES);
    let mut combination = match work {
        Some(Work::Bitop(combination)) => combination,
        _ => {
            let (mut length, mut sum, mut hits) = (0, 0_usize, 0);
            for key in sources.iter() {
                let mut buffer = itoa::Buffer::new();
                let string = ctx.db.read_string(key)?;
                hits += usize::from(string.is_some());
                let string = string.unwrap_or(StringRef::Bytes(b""));
                let own = text_of(string, &mut buffer).len();
                (length, sum) = (length.max(own), sum.saturating_add(own));
            }
            let counted = (hits, sources.len() - hits);
            if !ctx.in_slices(sum / ELEMENT_BYTES, counted)? {
                bytes = usize::MAX;
            }
            Box::new(Combination::new(operation, length)?)
        }
    };
    if combination.combine_some(ctx, sources, bytes)? {
        return ctx.leave(Work::Bitop(combination));
    }
    put(ctx, destination, combination.result)
}

/// Stores a result, and replies its length.
fn put(ctx: &mut Context<'_>, destination: &[u8], result: Vec<u8>) -> Outcome {
    let length = result.len();
    if length > 0 {
        ctx.db.set_owned(destination, result, Ttl::Clear)?;
        ctx.changed(destination, Event::Set);
    } else if ctx.db.delete(destination) {
        ctx.changed(destination, Event::Del);
    }
    ctx.reply.integer(length as i64);
    Ok(())
}

/// A stop of a result on its way: the name, the destination, and the keys of the strings
/// here.
fn stop(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let Some(Work::Bitop(mut combination)) = ctx.work() else {
        return Err(CommandError::Syntax);
    };
    let bytes = ctx.step().saturating_mul(ELEMENT_BYTES);
    if combination.combine_some(ctx, args.from(2), bytes)? {
        return ctx.leave(Work::Bitop(combination));
    }
    (combination.at, combination.begun) = (0, true);
    if !combination.stops.is_empty() {
        return ctx.hand_on(Work::Bitop(combination));
    }
    let destination = &args[1];
    let mut copy = Vec::new();
    if ctx.is_recording() {
        let room = copy.try_reserve_exact(combination.length);
        room.map_err(|_| CommandError::OutOfMemory)?;
        copy.extend_from_slice(&combination.result);
    }
    put(ctx, destination, combination.result)?;
    // Nobody else has all the strings.
    ctx.propagate(&[b"SET", destination, &copy]);
    Ok(())
}

/// One string per key, a missing one empty, and of a long one its length; an error in
/// place of one that is no string, because what is wrong with the request itself comes
/// first.
fn read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let mut left = READ_BYTES.min(ctx.settings.slices.above.saturating_mul(ELEMENT_BYTES));
    ctx.reply.array(args.len() - 1);
    for key in args.from(1).iter() {
        let mut buffer = itoa::Buffer::new();
        match ctx.db.read_string(key) {
            Ok(string) => {
                let string = string.unwrap_or(StringRef::Bytes(b""));
                let text = text_of(string, &mut buffer);
                match left.checked_sub(text.len()) {
                    Some(less) => {
                        left = less;
                        ctx.reply.bulk(text);
                    }
                    None => ctx.reply.integer(text.len() as i64),
                }
            }
            Err(error) => ctx.reply.error(&error),
        }
    }
    Ok(())
}

fn decide(decision: &mut Decision<'_>) -> Outcome {
    let (operation, keys) = parse(decision.args)?;
    if let Some(Work::Bitop(combination)) = decision.works.pop() {
        return combination.depart(decision, keys);
    }
    let (mut length, mut all) = (0, true);
    for reply in decision.read {
        let own = match read_reply(reply) {
            Some((Read::Error(_), _)) => return Err(CommandError::WrongType),
            Some((Read::Integer(len), _)) => {
                all = false;
                usize::try_from(len).unwrap_or(0)
            }
            _ => bulk_text(reply).len(),
        };
        length = length.max(own);
    }
    let mut combination = Combination::new(operation, length)?;
    if !all {
        combination.plan(decision);
        return Box::new(combination).depart(decision, keys);
    }
    let some = combination.next(length);
    for (nth, reply) in decision.read.iter().enumerate() {
        combination.add(nth, some.clone(), bulk_text(reply));
    }
    decision.reply.integer(length as i64);
    let destination = &keys[0];
    let write = if length > 0 {
        Write {
            handler: store,
            args: OwnedArgs::new([&b"SET"[..], destination, &combination.result]),
        }
    } else {
        Write {
            handler: clear,
            args: OwnedArgs::new([&b"DEL"[..], destination]),
        }
    };
    decision.writes.push(write);
    Ok(())
}

/// `SET destination result`, kept as bytes.
fn store(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, value] = args.exactly()?;
    ctx.db.set_raw(key, value, Ttl::Clear)?;
    ctx.changed(key, Event::Set);
    Ok(())
}

/// `DEL destination`.
fn clear(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    if ctx.db.delete(key) {
        ctx.changed(key, Event::Del);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{COMMANDS, Run};
    use crate::command::Decision;
    use crate::command::harness::{Engine, text, words};
    use crate::resp::{Protocol, Reply};
    use crate::types::Settings;

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn combinations() {
        let mut engine = Engine::new();
        engine.talk(&[
            ("MSET a \"\\xff\\x0f\\x01\" b \"\\xf0\\xff\" n 10", "+OK"),
            ("BITOP AND d a b", ":3"),
            ("GET d", "$3|\\xf0\\x0f\\x00"),
            ("BITOP or d a b nokey", ":3"),
            ("GET d", "$3|\\xff\\xff\\x01"),
            ("BITOP XOR d a b", ":3"),
            ("GET d", "$3|\\x0f\\xf0\\x01"),
            ("BITOP NOT d a", ":3"),
            ("GET d", "$3|\\x00\\xf0\\xfe"),
            ("BITOP AND d a nokey", ":3"),
            ("GET d", "$3|\\x00\\x00\\x00"),
            ("BITOP OR n n", ":2"),
            ("GET n", "$2|10"),
            ("EXPIRE d 100", ":1"),
            ("BITOP OR d n", ":2"),
            ("TTL d", ":-1"),
            ("BITOP OR d nokey", ":0"),
            ("EXISTS d", ":0"),
            ("BITOP foo d a", "-ERR syntax error"),
            (
                "BITOP NOT d a b",
                "-ERR BITOP NOT must be called with a single source key.",
            ),
        ]);
        assert_eq!(engine.effects("BITOP AND d nokey"), "");
        assert_eq!(
            engine.effects("BITOP AND d n"),
            "*4|$5|BITOP|$3|AND|$1|d|$1|n|"
        );
    }

    #[test]
    fn combinations_in_two_hops() {
        let Run::ReadThenWrite { decide, .. } = COMMANDS[0].run else {
            panic!("BITOP reads before it writes")
        };
        let decided = |line: &str, read: &[&[u8]]| {
            let (args, settings, mut out) = (words(line), Settings::default(), Vec::new());
            let reply = Reply::new(&mut out, Protocol::Resp2);
            let mut decision = Decision::new(args.args(), read, &settings, reply);
            let failed = decide(&mut decision).err();
            let writes = decision
                .writes
                .iter()
                .flat_map(|write| write.args.args().iter());
            let writes: Vec<String> = writes.map(text).collect();
            (
                failed.map(|error| error.to_string()),
                writes.join(" "),
                text(&out),
            )
        };
        let read: &[&[u8]] = &[b"$2\r\nab\r\n", b"$0\r\n\r\n"];
        let done = (None, "SET d ab".to_owned(), ":2|".to_owned());
        assert_eq!(decided("BITOP OR d a b", read), done);
        let done = (None, "DEL d".to_owned(), ":0|".to_owned());
        assert_eq!(decided("BITOP AND d b", &read[1..]), done);
        let read: &[&[u8]] = &[b"-WRONGTYPE\r\n"];
        let failed = decided("BITOP OR d a", read).0.unwrap_or_default();
        assert!(failed.starts_with("WRONGTYPE"), "{failed}");
        let failed = decided("BITOP what d a", read).0.unwrap_or_default();
        assert_eq!(failed, "ERR syntax error");
    }
}
