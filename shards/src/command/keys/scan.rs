//! Looking for keys: KEYS, SCAN, RANDOMKEY.
//!
//! KEYS is exact: it reads whole shards under shared locks, so it sees one
//! instant of all of them. Every shard goes through its keys in slices, all at
//! the same time, and serves others in between: reads run as ever, and writes
//! wait until KEYS is over on their shard, some hundred nanoseconds per key. What
//! was found travels in pieces that are not copied, to the home core and from
//! there to the client. SCAN is for those whose writes cannot wait.
//!
//! SCAN goes through one shard after the other; its cursor names the slot, and
//! so the shard. A step that comes to the end of a shard with some of its COUNT
//! left goes on with the next, so that a small database takes one call.

use crate::command::args::{cursor_of, integer};
use crate::command::merge::Parts;
use crate::command::spec::{Arity, Group, InSlices, flags};
use crate::command::{Args, Context, Decision, Outcome, OwnedArgs, Pieces, ROW, Row, Run};
use crate::error::CommandError;
use crate::glob;
use crate::keyspace::Item;
use crate::number::parse_i64;
use crate::resp::Reply;
use crate::resp::read::{Read, elements, read};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "keys",
        syntax: "pattern",
        summary: "All keys that match a glob pattern.",
        since: "1.0.0",
        complexity: "O(N) with N the number of keys in the database",
        group: Group::Generic,
        arity: Arity::Exactly(2),
        flags: flags::READONLY,
        categories: &["@dangerous"],
        slices: InSlices::Always,
        tips: &["request_policy:all_shards", "nondeterministic_output_order"],
        run: Run::EachShard {
            part: keys,
            merge: join_found,
        },
        ..ROW
    },
    Row {
        name: "scan",
        syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type]",
        summary: "Go through all keys, some with each call.",
        since: "2.8.0",
        complexity: "O(1) per call, O(N) for all calls of one pass over N keys",
        group: Group::Generic,
        arity: Arity::AtLeast(2),
        flags: flags::READONLY,
        tips: &["nondeterministic_output", "request_policy:special"],
        history: &[("6.0.0", "Takes `TYPE`.")],
        run: Run::ByCursor(scan),
        ..ROW
    },
    Row {
        name: "randomkey",
        summary: "A key chosen at random.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::Exactly(1),
        flags: flags::READONLY,
        tips: &["request_policy:all_shards", "nondeterministic_output"],
        run: Run::ReadThenWrite {
            whole: randomkey,
            read: randomkey_read,
            decide: randomkey_decide,
            skip: 0,
        },
        ..ROW
    },
];

fn keys(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [pattern] = args.exactly()?;
    let mut sliced = ctx.cargo.sliced.take().unwrap_or_default();
    let (protocol, mut added) = (ctx.reply.protocol(), Ok(()));
    sliced.cursor = ctx
        .db
        .scan(sliced.cursor, ctx.settings.keys_per_step, &mut |item| {
            if added.is_ok() && glob::matches(pattern, item.key) {
                added = sliced.found.bulk(protocol, item.key);
            }
        });
    added?;
    if sliced.found.bytes > ctx.settings.reply_max.bytes {
        return Err(CommandError::TooLong);
    }
    sliced.more = !ctx.db.is_end(sliced.cursor);
    ctx.cargo.sliced = Some(sliced);
    Ok(())
}

/// The keys that all shards have found.
fn join_found(parts: &mut Parts<'_>, reply: &mut Reply<'_>) {
    let mut found = Pieces::default();
    for part in parts.sliced.drain(..) {
        found.append(part.found);
    }
    parts.pieces = found.reply(reply);
}

/// Bytes of found keys with which a walk does not go on to the next shard.
const CARRIED_BYTES_MAX: usize = 64 << 10;

/// A step of a walk.
struct Step<'a> {
    cursor: u64,
    /// Keys still to be met.
    count: usize,
    pattern: &'a [u8],
    /// The only type that is wanted, if one was named.
    kind: Option<&'a [u8]>,
    /// What has been found, as a reply without its header.
    found: Vec<u8>,
    found_len: usize,
}

impl<'a> Step<'a> {
    fn parse(args: Args<'a>) -> Result<Self, CommandError> {
        const INVALID: CommandError = CommandError::Static("ERR invalid cursor");
        let mut step = Self {
            cursor: args.get(1).and_then(cursor_of).ok_or(INVALID)?,
            count: 10,
            pattern: b"*",
            kind: None,
            found: Vec::new(),
            found_len: 0,
        };
        let mut index = 2;
        while let Some(option) = args.get(index) {
            let value = args.get(index + 1).ok_or(CommandError::Syntax)?;
            let is = |name: &[u8]| option.eq_ignore_ascii_case(name);
            if is(b"COUNT") {
                let count = integer(value)?;
                let count = usize::try_from(count).ok().filter(|count| *count > 0);
                step.count = count.ok_or(CommandError::Syntax)?;
            } else if is(b"MATCH") {
                step.pattern = value;
            } else if is(b"TYPE") {
                step.kind = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
            index += 2;
        }
        Ok(step)
    }

    fn wants(&self, item: &Item<'_>) -> bool {
        let kind = item.view.value.type_name().as_bytes();
        self.kind.is_none_or(|name| name.eq_ignore_ascii_case(kind))
            && glob::matches(self.pattern, item.key)
    }

    /// Looks for keys on this shard; then either replies or goes on.
    fn take(mut self, ctx: &mut Context<'_>) -> Outcome {
        let (protocol, max) = (ctx.reply.protocol(), ctx.settings.reply_max.bytes);
        let (mut met, mut found_len) = (0, self.found_len);
        let mut found = std::mem::take(&mut self.found);
        let mut keys = Reply::until(&mut found, protocol, max);
        let next = ctx.db.scan(self.cursor, self.count, &mut |item| {
            met += 1;
            if self.wants(&item) {
                found_len += 1;
                keys.bulk(item.key);
            }
        });
        keys.complete()?;
        self.count = self.count.saturating_sub(met);
        if ctx.db.is_beyond(next) && self.count > 0 && found.len() < CARRIED_BYTES_MAX {
            (self.cursor, self.found, self.found_len) = (next, found, found_len);
            ctx.go_on(scan_on, self.into_args());
            return Ok(());
        }
        ctx.reply.array(2);
        ctx.reply.bulk(itoa::Buffer::new().format(next).as_bytes());
        ctx.reply.array(found_len);
        ctx.reply.raw(&found);
        Ok(())
    }

    /// As a request for the next shard, which [`Step::carried`] reads.
    fn into_args(self) -> OwnedArgs {
        let number = |number: u64| itoa::Buffer::new().format(number).to_owned();
        let words = [
            number(self.cursor),
            number(self.count as u64),
            number(self.found_len as u64),
        ];
        let [cursor, count, len] = words.each_ref().map(String::as_bytes);
        let parts = [b"SCAN", cursor, count, len, &self.found, self.pattern];
        OwnedArgs::new(parts.into_iter().chain(self.kind))
    }

    fn carried(args: Args<'a>) -> Option<Self> {
        let number = |at| args.get(at).and_then(parse_i64);
        Some(Self {
            cursor: cursor_of(args.get(1)?)?,
            count: usize::try_from(number(2)?).ok()?,
            found_len: usize::try_from(number(3)?).ok()?,
            found: args.get(4)?.to_vec(),
            pattern: args.get(5)?,
            kind: args.get(6),
        })
    }
}

fn scan(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    Step::parse(args)?.take(ctx)
}

/// SCAN come from another shard with what it found there.
fn scan_on(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    Step::carried(args).ok_or(CommandError::Syntax)?.take(ctx)
}

fn randomkey(ctx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let random = ctx.random();
    match ctx.db.random_key(random) {
        Some(key) => ctx.reply.bulk(&key),
        None => ctx.reply.null(),
    }
    Ok(())
}

/// One element: a key, and how many it stands for.
fn randomkey_read(ctx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let random = ctx.random();
    let key = ctx.db.random_key(random);
    ctx.reply.array(1);
    ctx.reply.array(2);
    match key {
        Some(key) => {
            ctx.reply.integer(ctx.db.len() as i64);
            ctx.reply.bulk(&key);
        }
        None => {
            ctx.reply.integer(0);
            ctx.reply.null();
        }
    }
    Ok(())
}

/// Every shard's key is as likely as that shard has keys.
fn randomkey_decide(decision: &mut Decision<'_>) -> Outcome {
    let parts: Vec<(u64, &[u8])> = decision
        .read
        .iter()
        .filter_map(|part| weighed(part))
        .collect();
    let total: u64 = parts.iter().map(|(weight, _)| weight).sum();
    let mut nth = (u128::from(decision.random) * u128::from(total)) >> 64;
    for (weight, key) in parts {
        if nth < u128::from(weight) {
            decision.reply.raw(key);
            return Ok(());
        }
        nth -= u128::from(weight);
    }
    decision.reply.null();
    Ok(())
}

/// `*2 :weight key` apart; the key stays a reply.
fn weighed(part: &[u8]) -> Option<(u64, &[u8])> {
    match read(elements(part, 2)?)? {
        (Read::Integer(weight), key) => Some((u64::try_from(weight).ok()?, key)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Engine;
    use crate::types::{DbIndex, UnixMs};

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn keys_match_patterns() {
        let mut engine = Engine::new();
        engine.talk(&[
            ("KEYS *", "*0"),
            ("RANDOMKEY", "$-1"),
            ("MSET b 1 {b}2 2", "+OK"),
            ("KEYS b", "*1|$1|b"),
            ("KEYS b?", "*0"),
            ("KEYS [^x]", "*1|$1|b"),
            ("KEYS {*}?", "*1|$4|{b}2"),
            ("PEXPIREAT b 1000000000500", ":1"),
        ]);
        engine.now = UnixMs(engine.now.0 + 500);
        engine.talk(&[("KEYS *", "*1|$4|{b}2"), ("RANDOMKEY", "$4|{b}2")]);
        engine.db = DbIndex(1);
        engine.talk(&[("KEYS *", "*0"), ("RANDOMKEY", "$-1")]);
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn scan_has_options() {
        let one = "*2|$1|0|*1|$1|b";
        Engine::new().talk(&[
            ("SCAN 0", "*2|$1|0|*0"),
            ("SET b 1", "+OK"),
            ("SCAN 0", one),
            ("SCAN \"\"", one),
            ("SCAN +0", one),
            ("SCAN 00", one),
            ("SCAN 18446744073709551615", "*2|$1|0|*0"),
            ("SCAN -1", "*2|$1|0|*0"),
            ("SCAN 18446744073709551616", "-ERR invalid cursor"),
            ("SCAN \" 1\"", "-ERR invalid cursor"),
            ("SCAN 1x COUNT 0", "-ERR invalid cursor"),
            ("SCAN - FOO", "-ERR invalid cursor"),
            ("SCAN 0 COUNT 0", "-ERR syntax error"),
            ("SCAN 0 COUNT -1", "-ERR syntax error"),
            (
                "SCAN 0 COUNT x",
                "-ERR value is not an integer or out of range",
            ),
            ("SCAN 0 COUNT 9223372036854775807", one),
            ("SCAN 0 COUNT", "-ERR syntax error"),
            ("SCAN 0 FOO bar", "-ERR syntax error"),
            ("SCAN 0 TYPE STRING MATCH a* match b*", one),
            ("SCAN 0 TYPE nosuch", "*2|$1|0|*0"),
            ("SCAN 0 TYPE \"\"", "*2|$1|0|*0"),
            ("SCAN 0 MATCH a*", "*2|$1|0|*0"),
        ]);
    }

    /// Nobody waits for all of them to be gone through.
    #[test]
    #[cfg(debug_assertions)] // a release build counts nothing
    fn a_random_key_is_found_soon_although_all_are_due() {
        let mut engine = Engine::new();
        for first in (0..40_000).step_by(1000) {
            let keys: Vec<String> = (first..first + 1000).map(|it| format!("k{it} v")).collect();
            engine.run(&format!("MSET {}", keys.join(" ")));
        }
        for number in 0..40_000 {
            engine.run(&format!("PEXPIREAT k{number} {}", engine.now.0 + 5));
        }
        engine.now = UnixMs(engine.now.0 + 5);
        for _ in 0..3 {
            crate::counted::take();
            let reply = engine.run("RANDOMKEY");
            assert!(reply.contains("|k"), "as a replica of Redis: {reply}");
            let counts = crate::counted::take();
            assert!(counts.lines + counts.elements < 20_000, "{counts:?}");
        }
    }

    #[test]
    fn a_random_key_is_any_key() {
        let mut engine = Engine::new();
        engine.run("MSET a 1 b 2 c 3 d 4");
        let mut counts = [0; 4];
        for _ in 0..4000 {
            let reply = engine.run("RANDOMKEY");
            counts["abcd".find(&reply[3..4]).unwrap()] += 1;
        }
        assert!(
            counts.iter().all(|count| (900..1100).contains(count)),
            "{counts:?}"
        );
    }
}
