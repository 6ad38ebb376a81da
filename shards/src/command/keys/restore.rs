//! RESTORE: a key is given the value that DUMP has told, here or elsewhere.
//!
//! A payload is a value as a snapshot has it, behind its type, and before a version and a
//! checksum. Whoever sends one may have made it: it is looked at as a file is
//! (`rdb/decode.rs`), and a large one in slices, the checksum, too. Nothing has changed
//! until the whole value is there.

use crate::command::args::integer;
use crate::command::spec::{Arity, Group, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run, Work};
use crate::counted;
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::Parcel;
use crate::rdb::{Crc64, Decoder, Fault, Form, LoadError, Terms, Version, elements_told};
use crate::types::UnixMs;
use crate::value::Owned;

pub static COMMANDS: &[Row] = &[Row {
    name: "restore",
    syntax: "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
    summary: "Give a key the value that DUMP has told.",
    since: "2.6.0",
    complexity: "O(N) with N the elements of the value, O(N log N) for a sorted set",
    group: Group::Generic,
    arity: Arity::AtLeast(4),
    keys: &[KeySpec::first(&["OW", "update"])],
    flags: flags::WRITE.with(flags::DENYOOM),
    categories: &["@dangerous"],
    history: &[
        ("3.0.0", "Takes `REPLACE`."),
        ("5.0.0", "Takes `ABSTTL`."),
        ("5.0.0", "Takes `IDLETIME` and `FREQ`."),
    ],
    slices: InSlices::IfMuch,
    run: Run::OneShard(restore),
    ..ROW
}];

const EXISTS: CommandError = CommandError::Static("BUSYKEY Target key name already exists.");
const BAD_TTL: CommandError = CommandError::Static("ERR Invalid TTL value, must be >= 0");
const BAD_IDLE: CommandError = CommandError::Static("ERR Invalid IDLETIME value, must be >= 0");
const BAD_FREQ: CommandError =
    CommandError::Static("ERR Invalid FREQ value, must be >= 0 and <= 255");
const BAD_PAYLOAD: CommandError =
    CommandError::Static("ERR DUMP payload version or checksum are wrong");
const BAD_FORMAT: CommandError = CommandError::Static("ERR Bad data format");

/// Bytes of the checksum, and with the version before it.
const CHECKSUM: usize = 8;
const FOOTER: usize = CHECKSUM + 2;

/// So many bytes of a payload are summed up while one element is found.
const SUMMED_BYTES: usize = 256;

/// What the options say.
#[derive(Default)]
struct Options {
    replace: bool,
    is_absolute: bool,
    idle_s: Option<u64>,
    /// The policy that would look at it is not there.
    freq: Option<u8>,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut index = 4;
        while let Some(word) = args.get(index) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            let next = args.get(index + 1);
            index += 1;
            if is(b"REPLACE") {
                options.replace = true;
            } else if is(b"ABSTTL") {
                options.is_absolute = true;
            } else if let (true, Some(seconds), None) = (is(b"IDLETIME"), next, options.freq) {
                options.idle_s = Some(u64::try_from(integer(seconds)?).map_err(|_| BAD_IDLE)?);
                index += 1;
            } else if let (true, Some(freq), None) = (is(b"FREQ"), next, options.idle_s) {
                options.freq = Some(u8::try_from(integer(freq)?).map_err(|_| BAD_FREQ)?);
                index += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

/// The deadline that the argument says; nothing if there is to be none.
fn deadline(ttl: &[u8], options: &Options, now: UnixMs) -> Result<Option<UnixMs>, CommandError> {
    Ok(match integer(ttl)? {
        ..0 => return Err(BAD_TTL),
        0 => None,
        at if options.is_absolute => Some(UnixMs(at)),
        // What is too far ahead is past, as in Redis.
        ttl => Some(UnixMs(now.0.wrapping_add(ttl))),
    })
}

/// A payload that is being looked at.
#[derive(Debug)]
pub struct Job {
    /// Of the bytes up to a place, until all are summed up.
    crc: Crc64,
    summed: usize,
    /// What the value of the key will be keyed with.
    seed: u64,
    /// Once the checksum is known to be right.
    decoder: Option<Decoder>,
}

impl Job {
    /// Nothing of it was looked at.
    ///
    /// # Errors
    /// It is of no known version. Or it tells of much, and is to wait for the lock of
    /// its key.
    fn new(ctx: &mut Context<'_>, payload: &[u8]) -> Result<Self, CommandError> {
        let version = version_of(payload).ok_or(BAD_PAYLOAD)?;
        if let Some((number, value)) = payload.split_first() {
            let told = match Form::of(*number, version) {
                Ok(form) => usize::try_from(elements_told(form, value)).unwrap_or(usize::MAX),
                Err(_) => 0,
            };
            ctx.in_slices(told.max(payload.len() / SUMMED_BYTES), (0, 0))?;
        }
        Ok(Self {
            crc: Crc64::default(),
            summed: 0,
            seed: ctx.seed(),
            decoder: None,
        })
    }

    /// Goes on by about `budget` elements; the value, when it is there.
    fn go_on(
        &mut self,
        ctx: &Context<'_>,
        payload: &[u8],
        budget: usize,
    ) -> Result<Option<Owned>, CommandError> {
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            None => {
                let (body, said) = payload.split_last_chunk().ok_or(BAD_PAYLOAD)?;
                let most = budget.saturating_mul(SUMMED_BYTES);
                let end = self.summed.saturating_add(most).min(body.len());
                self.crc
                    .update(body.get(self.summed..end).unwrap_or_default());
                counted::elements(end.saturating_sub(self.summed).div_ceil(SUMMED_BYTES));
                self.summed = end;
                if end < body.len() {
                    return Ok(None);
                }
                if self.crc.value() != u64::from_le_bytes(*said) {
                    return Err(BAD_PAYLOAD);
                }
                self.decoder.insert(Decoder::new(form_of(payload)?))
            }
        };
        let terms = Terms {
            growth: crate::value::Growth {
                thresholds: &ctx.settings.encodings,
                seed: self.seed,
            },
            // A field whose time has come goes as any other: whoever follows the log sees
            // it go.
            now: UnixMs(i64::MIN),
        };
        let value = payload.get(1..payload.len().saturating_sub(FOOTER));
        match decoder.go_on(value.unwrap_or_default(), &terms, budget) {
            Ok(None) => Ok(None),
            Ok(Some(value)) => value.map(Some).ok_or(BAD_FORMAT),
            Err(LoadError {
                kind: Fault::OutOfMemory,
                ..
            }) => Err(CommandError::OutOfMemory),
            Err(_) => Err(BAD_FORMAT),
        }
    }
}

/// The version of a payload, if it is one that is read.
fn version_of(payload: &[u8]) -> Option<Version> {
    let version = payload.get(payload.len().checked_sub(FOOTER)?..)?;
    Version::of_payload(u16::from_le_bytes(*version.first_chunk()?))
}

fn form_of(payload: &[u8]) -> Result<Form, CommandError> {
    let version = version_of(payload).ok_or(BAD_PAYLOAD)?;
    let (number, _) = payload.split_first().ok_or(BAD_FORMAT)?;
    // Without a value the first byte is that of the version.
    if payload.len() <= FOOTER {
        return Err(BAD_FORMAT);
    }
    Form::of(*number, version).map_err(|_| BAD_FORMAT)
}

fn restore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, payload) = (&args[1], &args[3]);
    let options = Options::parse(args)?;
    let work = ctx.work();
    if work.is_none() && !options.replace && ctx.db.lookup(key).is_some() {
        return Err(EXISTS);
    }
    let expire_at = deadline(&args[2], &options, ctx.db.now())?;
    let mut job = match work {
        Some(Work::Restore(job)) => job,
        _ => Box::new(Job::new(ctx, payload)?),
    };
    // What is not over then is begun anew with the locks of the key.
    let budget = match ctx.cargo.divisible {
        true => ctx.step(),
        false => ctx.at_once(),
    };
    loop {
        match job.go_on(ctx, payload, budget) {
            Ok(Some(value)) => {
                let parcel = Parcel { value, expire_at };
                return put(ctx, args, parcel, &options);
            }
            Ok(None) => {}
            Err(error) => {
                // What was made of it until then may be much.
                let made = job.decoder.and_then(Decoder::into_made);
                made.into_iter().for_each(|made| ctx.db.bury_value(made));
                return Err(error);
            }
        }
        if ctx.at_once() == usize::MAX {
            continue;
        }
        ctx.in_slices(usize::MAX, (0, 0))?;
        return ctx.leave(Work::Restore(job));
    }
}

/// Has the key hold what was restored.
fn put(ctx: &mut Context<'_>, args: Args<'_>, parcel: Parcel, options: &Options) -> Outcome {
    let (key, now) = (&args[1], ctx.db.now());
    let expire_at = parcel.expire_at;
    if expire_at.is_some_and(|at| at <= now) {
        if let Owned::Outside(value, _) = parcel.value {
            ctx.db.bury_value(*value);
        }
        if options.replace && ctx.db.delete(key) {
            ctx.changed(key, Event::Del);
            ctx.propagate(&[b"DEL", key]);
        }
        ctx.reply.ok();
        return Ok(());
    }
    ctx.db.put_parcel(key, parcel)?;
    if let Some(idle_s) = options.idle_s {
        ctx.db.set_idle(key, idle_s);
    }
    ctx.changed(key, Event::Restore);
    if let (Some(at), false) = (expire_at, options.is_absolute) {
        let mut text = itoa::Buffer::new();
        let at = text.format(at.0).as_bytes();
        let mut words: Vec<&[u8]> = args.iter().collect();
        words[2] = at;
        words.push(b"ABSTTL");
        ctx.propagate(&words);
    }
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::harness::Engine;
    use crate::rdb::written::{listpack, payload, text, texts};

    /// A payload as a word of a request.
    fn quoted(payload: &[u8]) -> String {
        let bytes = payload.iter().map(|byte| format!("\\x{byte:02x}"));
        format!("\"{}\"", bytes.collect::<String>())
    }

    fn string(value: &str) -> String {
        let body = [&[0][..], &text(value.as_bytes())].concat();
        quoted(&payload(&body, 10))
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn errors_come_in_the_order_of_redis() {
        let mut engine = Engine::new();
        let v = string("v");
        let wrong = "-ERR DUMP payload version or checksum are wrong";
        let syntax = "-ERR syntax error";
        let integer = "-ERR value is not an integer or out of range";
        let idle = "-ERR Invalid IDLETIME value, must be >= 0";
        let freq = "-ERR Invalid FREQ value, must be >= 0 and <= 255";
        let exists = "-BUSYKEY Target key name already exists.";
        engine.run("SET k v");
        for (line, reply) in [
            ("k 0 garbage", exists),
            ("k abc garbage", exists),
            ("k 0 garbage REPLACE", wrong),
            ("x 0 garbage", wrong),
            ("x 0 \"\"", wrong),
            ("x -1 garbage", "-ERR Invalid TTL value, must be >= 0"),
            ("x abc garbage", integer),
            ("x abc garbage FOO", syntax),
            ("x 0 garbage IDLETIME", syntax),
            ("x 0 garbage IDLETIME -1", idle),
            ("x 0 garbage IDLETIME abc", integer),
            ("k 0 garbage FREQ 256", freq),
            ("k 0 garbage FREQ -1", freq),
            ("k 0 garbage FREQ abc", integer),
            ("x 0 garbage IDLETIME 1 FREQ 2", syntax),
            ("x 0 garbage FREQ 1 IDLETIME 2", syntax),
        ] {
            assert_eq!(engine.run(&format!("RESTORE {line}")), format!("{reply}|"));
        }
        let ok = [
            format!("a 0 {v} FREQ 255"),
            format!("a 0 {v} idletime 10 IDLETIME 20 replace REPLACE"),
            format!("b 0 {v} ABSTTL"),
        ];
        for line in ok {
            assert_eq!(engine.run(&format!("RESTORE {line}")), "+OK|");
        }
        assert_eq!(engine.run("OBJECT IDLETIME a"), ":20|");
        assert_eq!(engine.run("GET b"), "$1|v|");
    }

    #[test]
    fn payloads_are_looked_at() {
        let mut engine = Engine::new();
        let wrong = "-ERR DUMP payload version or checksum are wrong|";
        let bad = "-ERR Bad data format|";
        let mut damaged = payload(b"\x00\x01v", 10);
        damaged[2] ^= 1;
        let mut unsummed = payload(b"\x00\x01v", 10);
        unsummed[5..].fill(0);
        let twice = texts(2, &["a", "a"]);
        for (bytes, reply) in [
            (damaged, wrong),
            (unsummed, wrong),
            (payload(b"\x00\x01v", 16), wrong),
            (payload(b"\x00\x01v", 79), wrong),
            (payload(b"\x00\x01v", 82), wrong),
            (payload(b"\x00\x01v", 15), "+OK|"),
            (payload(b"\x00\x01v", 81), "+OK|"),
            (payload(b"\x00\x01v", 0), "+OK|"),
            // What follows a value is not looked at, as in Redis.
            (payload(b"\x00\x01vtrailing", 10), "+OK|"),
            (payload(b"", 10), bad),
            (payload(b"\x00", 10), bad),
            (payload(b"\x00\x02v", 10), bad),
            (payload(b"\x01\x00", 10), bad),
            (payload(b"\x06\x00", 10), bad),
            (payload(b"\x07\x00", 10), bad),
            (payload(b"\xFF", 10), bad),
            (payload(&[&[2][..], &twice].concat(), 10), bad),
            (payload(&[&[22, 0][..]].concat(), 12), bad),
        ] {
            let line = format!("RESTORE k 0 {}", quoted(&bytes));
            assert_eq!(engine.run(&line), reply);
            assert_eq!(
                engine.run("DEL k"),
                format!(":{}|", i64::from(reply == "+OK|"))
            );
        }
    }

    #[test]
    fn what_is_past_is_not_there() {
        let mut engine = Engine::new();
        let v = string("v");
        for ttl in ["1 ABSTTL", "9223372036854775807", "9223372036854775000"] {
            let (ttl, option) = ttl.split_once(' ').unwrap_or((ttl, ""));
            let line = format!("RESTORE k {ttl} {v} REPLACE {option}");
            assert_eq!(engine.effects(&line), "");
            engine.run("SET k old");
            assert_eq!(engine.effects(&line), "*2|$3|DEL|$1|k|");
            assert_eq!(engine.run("EXISTS k"), ":0|");
            let line = format!("RESTORE k {ttl} {v} {option}");
            assert_eq!(engine.run(&line), "+OK|");
            assert_eq!(engine.run("EXISTS k"), ":0|");
        }
        let line = format!("RESTORE k 9223372036854775807 {v} ABSTTL");
        assert_eq!(engine.run(&line), "+OK|");
        assert_eq!(engine.run("PEXPIRETIME k"), ":9223372036854775807|");
    }

    #[test]
    fn effects_say_when_it_expires() {
        let mut engine = Engine::new();
        let payload = payload(b"\x00\x01v", 10);
        let shown = crate::command::harness::text(&payload);
        let v = quoted(&payload);
        let len = payload.len();
        let restored = format!("|$7|RESTORE|$1|k|$13|1000000005000|${len}|{shown}|");
        assert_eq!(
            engine.effects(&format!("RESTORE k 5000 {v} REPLACE")),
            format!("*6{restored}$7|REPLACE|$6|ABSTTL|")
        );
        assert_eq!(
            engine.effects(&format!("RESTORE k 1000000005000 {v} ABSTTL REPLACE")),
            format!("*6{restored}$6|ABSTTL|$7|REPLACE|")
        );
        assert_eq!(engine.run("PTTL k"), ":5000|");
        let line = format!("RESTORE k 0 {v}");
        assert_eq!(engine.effects(&line), "");
        assert_eq!(
            engine.effects(&format!("{line} REPLACE")),
            format!("*5|$7|RESTORE|$1|k|$1|0|${len}|{shown}|$7|REPLACE|")
        );
        assert_eq!(engine.run("PTTL k"), ":-1|");
        assert_eq!(engine.shard.effects().changes(), 3);
    }

    #[test]
    fn fields_that_are_past_go_as_others_do() {
        let mut engine = Engine::new();
        let past = (engine.now.0 - 1).to_string();
        let later = (engine.now.0 + 1).to_string();
        let row = listpack(&["f", "1", &past, "g", "2", &later]);
        let body = [&[25][..], &[0; 8], &crate::rdb::written::raw(&row)].concat();
        let line = format!("RESTORE h 0 {}", quoted(&payload(&body, 12)));
        assert_eq!(engine.run(&line), "+OK|");
        assert_eq!(engine.effects("HGETALL h"), "*3|$4|HDEL|$1|h|$1|f|");
        assert_eq!(engine.run("HGETALL h"), "*2|$1|g|$1|2|");
        engine.now = UnixMs(engine.now.0 + 1);
        assert_eq!(engine.run("HGETALL h"), "*0|");
    }
}
