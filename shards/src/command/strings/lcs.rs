//! LCS: the longest common subsequence of two strings.
//!
//! How it is found is in [`table`]. That takes many steps if both strings are long, or one
//! is very long; then it is done in slices. The longer string stays where it is, the
//! shorter one goes there. What the table may take bounds the shorter one: no more than
//! some thousand bytes, as long as nobody has raised `proto-max-bulk-len`.

mod table;

use super::text_of;
use crate::command::args::integer;
use crate::command::replied::Replied;
use crate::command::spec::{Arity, Group, InSlices, KeySpec, flags};
use crate::command::{
    Args, Context, Decision, Errand, Further, Outcome, OwnedArgs, ROW, Row, Run, Work,
};
use crate::error::CommandError;
use crate::keyspace::StringRef;
use crate::resp::Reply;
use crate::resp::read::{Read, bulk_text, read as read_reply};
use crate::types::Settings;
use table::{ELEMENT_STEPS, Match, Table, steps};

pub static COMMANDS: &[Row] = &[Row {
    name: "lcs",
    syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
    summary: "The longest common subsequence of two strings.",
    since: "7.0.0",
    complexity: "O(N*M) with N and M the lengths of the strings",
    group: Group::String,
    arity: Arity::AtLeast(3),
    keys: &[KeySpec::range(1, 1, &["RO", "access"])],
    flags: flags::READONLY,
    slices: InSlices::IfMuch,
    run: Run::ReadThenWrite {
        whole: lcs,
        read: lcs_read,
        decide: lcs_decide,
        skip: 0,
    },
    ..ROW
}];

const NOT_STRINGS: CommandError =
    CommandError::Static("ERR The specified keys must contain string values");
const BOTH: CommandError =
    CommandError::Static("ERR If you want both the length and indexes, please just use IDX.");
const TOO_LONG: CommandError = CommandError::Static(
    "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
);
const NO_MEMORY: CommandError =
    CommandError::Static("ERR Insufficient memory, failed allocating transient memory for LCS");
/// What Redis's table takes per cell; its limit is ours.
const CELL_BYTES: usize = 4;
/// More bytes are not read of the strings of a shard together, nor copied in a slice.
const READ_BYTES: usize = 64 << 10;
/// Bytes that are copied while an element of a collection is gone through.
const BYTES: usize = 1024;

/// What is to be replied.
#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    min_match_len: usize,
}

impl Options {
    fn parse(options: Args<'_>) -> Result<Self, CommandError> {
        let mut parsed = Self::default();
        let mut index = 0;
        while let Some(word) = options.get(index) {
            let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
            index += 1;
            if is(b"IDX") {
                parsed.idx = true;
            } else if is(b"LEN") {
                parsed.len = true;
            } else if is(b"WITHMATCHLEN") {
                parsed.with_match_len = true;
            } else if is(b"MINMATCHLEN") {
                let number = integer(options.get(index).ok_or(CommandError::Syntax)?)?;
                parsed.min_match_len = usize::try_from(number).unwrap_or(0);
                index += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if parsed.len && parsed.idx {
            Err(BOTH)
        } else {
            Ok(parsed)
        }
    }

    /// The table of strings of these lengths.
    fn table(&self, [a, b]: Pair<usize>) -> Table {
        let least = match self.idx {
            true => self.min_match_len,
            false => 0,
        };
        Table::new(a, b, Some(least).filter(|_| !self.len))
    }
}

/// The two strings, in their order.
type Pair<T> = [T; 2];

/// Which of two lengths is the smaller.
fn shorter([a, b]: Pair<usize>) -> usize {
    usize::from(b < a)
}

/// Whether strings of these lengths have a table that is not too large.
fn check([a, b]: Pair<usize>, settings: &Settings) -> Outcome {
    let cells = a.saturating_add(1).checked_mul(b.saturating_add(1));
    let bytes = cells.and_then(|cells| cells.checked_mul(CELL_BYTES));
    match bytes.is_none_or(|bytes| bytes > settings.proto_max_bulk_len) {
        true => Err(TOO_LONG),
        false => Ok(()),
    }
}

/// How many elements of a collection it takes as long to go through.
fn weight([a, b]: Pair<usize>) -> usize {
    steps(a, b) / ELEMENT_STEPS
}

fn lcs(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let keys = [&args[1], &args[2]];
    let options = args.from(3);
    if let Some(Work::Lcs(job)) = ctx.work() {
        let short = job.short;
        return job.go_on(ctx, (Some(keys[short]), keys[1 - short]), options);
    }
    let (mut lens, mut hits) = ([0; 2], 0);
    for (len, key) in lens.iter_mut().zip(keys) {
        let mut buffer = itoa::Buffer::new();
        let string = ctx.db.read_string(key).map_err(|_| NOT_STRINGS)?;
        hits += usize::from(string.is_some());
        *len = string.map_or(0, |string| text_of(string, &mut buffer).len());
    }
    let parsed = Options::parse(options)?;
    check(lens, ctx.settings)?;
    if ctx.in_slices(weight(lens), (hits, keys.len() - hits))? {
        let short = shorter(lens);
        let job = Box::new(Job::new(lens, &parsed));
        return job.go_on(ctx, (Some(keys[short]), keys[1 - short]), options);
    }
    let mut texts = [Vec::new(), Vec::new()];
    for (text, key) in texts.iter_mut().zip(keys) {
        copy_some(ctx, key, text, usize::MAX)?;
    }
    let [a, b] = &texts;
    answer([a, b], &parsed, &mut ctx.reply)
}

/// Copies some more bytes of a string; whether there are more.
fn copy_some(
    ctx: &mut Context<'_>,
    key: &[u8],
    copy: &mut Vec<u8>,
    bytes: usize,
) -> Result<bool, CommandError> {
    let mut buffer = itoa::Buffer::new();
    let string = ctx.db.lookup_string(key).map_err(|_| NOT_STRINGS)?;
    let text = text_of(string.unwrap_or(StringRef::Bytes(b"")), &mut buffer);
    let room = copy.try_reserve_exact(text.len() - copy.len());
    room.map_err(|_| NO_MEMORY)?;
    let end = copy.len().saturating_add(bytes).min(text.len());
    copy.extend_from_slice(&text[copy.len()..end]);
    Ok(end < text.len())
}

/// One string per key; a missing one is empty, and of a long one there is the length.
fn lcs_read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let mut left = READ_BYTES.min(ctx.settings.slices.above.saturating_mul(BYTES));
    ctx.reply.array(args.len() - 1);
    for key in args.from(1).iter() {
        let mut buffer = itoa::Buffer::new();
        let string = ctx.db.read_string(key).map_err(|_| NOT_STRINGS)?;
        let text = text_of(string.unwrap_or(StringRef::Bytes(b"")), &mut buffer);
        match left.checked_sub(text.len()) {
            Some(less) => {
                left = less;
                ctx.reply.bulk(text);
            }
            None => ctx.reply.integer(text.len() as i64),
        }
    }
    Ok(())
}

fn lcs_decide(decision: &mut Decision<'_>) -> Outcome {
    if let Some(Work::Lcs(job)) = decision.works.pop() {
        return job.depart(decision);
    }
    let options = Options::parse(decision.args.from(3))?;
    let read = |index: usize| decision.read.get(index).copied().unwrap_or_default();
    let texts = [read(0), read(1)];
    let lens = texts.map(|reply| match read_reply(reply) {
        Some((Read::Integer(len), _)) => usize::try_from(len).unwrap_or(0),
        _ => bulk_text(reply).len(),
    });
    check(lens, decision.settings)?;
    let is_here = |index: usize| bulk_text(texts[index]).len() == lens[index];
    let is_much = weight(lens) > decision.settings.slices.above;
    if !is_much && is_here(0) && is_here(1) {
        return answer(texts.map(bulk_text), &options, &mut decision.reply);
    }
    let mut job = Box::new(Job::new(lens, &options));
    let short = job.short;
    if is_here(short) {
        let text = bulk_text(texts[short]);
        job.text
            .try_reserve_exact(text.len())
            .map_err(|_| NO_MEMORY)?;
        job.text.extend_from_slice(text);
        return job.depart(decision);
    }
    let name = decision.args.get(0).unwrap_or_default();
    decision.further = Some(Further::Errands(vec![Errand {
        shard: Some(decision.owners[short]),
        handler: fetch,
        args: OwnedArgs::new([name, &decision.args[1 + short]]),
        work: Work::Lcs(job),
    }]));
    Ok(())
}

/// Copies the shorter string, argument 1, for where the other one is.
fn fetch(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let Some(Work::Lcs(mut job)) = ctx.work() else {
        return Err(CommandError::Syntax);
    };
    match copy_some(ctx, &args[1], &mut job.text, READ_BYTES)? {
        true => ctx.leave(Work::Lcs(job)),
        false => ctx.hand_on(Work::Lcs(job)),
    }
}

/// Compares the longer string, argument 1, with the other one; then follow the options.
fn compare(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    match ctx.work() {
        Some(Work::Lcs(job)) => job.go_on(ctx, (None, &args[1]), args.from(2)),
        _ => Err(CommandError::Syntax),
    }
}

/// A request in slices.
#[derive(Debug)]
pub struct Job {
    /// Which of the strings is shorter, how long it is, and what is copied of it.
    short: usize,
    len: usize,
    text: Vec<u8>,
    table: Table,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    Comparing,
    /// Matches are replied.
    Replying(Replied),
    Clearing,
}

impl Job {
    fn new(lens: Pair<usize>, options: &Options) -> Self {
        let short = shorter(lens);
        Self {
            short,
            len: lens[short],
            text: Vec::new(),
            table: options.table(lens),
            stage: Stage::Comparing,
        }
    }

    /// Sends it to where the longer string is.
    fn depart(self: Box<Self>, decision: &mut Decision<'_>) -> Outcome {
        let (name, long) = (decision.args.get(0).unwrap_or_default(), 1 - self.short);
        let words = [name, &decision.args[1 + long]].into_iter();
        decision.errand = Some(Errand {
            shard: Some(decision.owners[long]),
            handler: compare,
            args: OwnedArgs::new(words.chain(decision.args.from(3).iter())),
            work: Work::Lcs(self),
        });
        Ok(())
    }

    /// Takes a slice of it, where the longer string is.
    fn go_on(
        mut self: Box<Self>,
        ctx: &mut Context<'_>,
        (short, long): (Option<&[u8]>, &[u8]),
        options: Args<'_>,
    ) -> Outcome {
        let options = Options::parse(options)?;
        match &mut self.stage {
            Stage::Comparing => match short {
                Some(key) if self.text.len() < self.len => {
                    copy_some(ctx, key, &mut self.text, READ_BYTES)?;
                }
                _ => self.compare_some(ctx, long, &options)?,
            },
            Stage::Replying(replied) => {
                let mut slice = replied.slice(ctx);
                let (table, done) = (&self.table, replied.done);
                let matches = (done..replied.of).filter_map(|index| table.found(index));
                slice.fill(&mut ctx.reply, matches, |reply, found| {
                    found.reply(reply, options.with_match_len);
                });
                if !replied.note(slice, ctx)? {
                    end_matches(&mut ctx.reply, &self.table);
                    self.stage = Stage::Clearing;
                }
            }
            Stage::Clearing => {
                if !self.table.free_some() {
                    return Ok(());
                }
            }
        }
        ctx.leave(Work::Lcs(self))
    }

    /// Goes on with the table, and begins the reply when it is done.
    fn compare_some(
        &mut self,
        ctx: &mut Context<'_>,
        long: &[u8],
        options: &Options,
    ) -> Result<(), CommandError> {
        let mut buffer = itoa::Buffer::new();
        let budget = ctx.step().saturating_mul(ELEMENT_STEPS);
        let string = ctx.db.lookup_string(long).map_err(|_| NOT_STRINGS)?;
        let long = text_of(string.unwrap_or(StringRef::Bytes(b"")), &mut buffer);
        let (a, b) = match self.short {
            0 => (&self.text[..], long),
            _ => (long, &self.text[..]),
        };
        if self.table.go_on(a, b, budget).map_err(|_| NO_MEMORY)? {
            return Ok(());
        }
        self.stage = match options.idx {
            true => {
                begin_matches(&mut ctx.reply, &self.table);
                Stage::Replying(Replied::of(self.table.matches()))
            }
            false => {
                reply_whole(&mut ctx.reply, &self.table, a, options)?;
                Stage::Clearing
            }
        };
        Ok(())
    }
}

/// Does all of it at once.
fn answer([a, b]: Pair<&[u8]>, options: &Options, reply: &mut Reply<'_>) -> Outcome {
    let mut table = options.table([a.len(), b.len()]);
    let more = table.go_on(a, b, usize::MAX).map_err(|_| NO_MEMORY)?;
    debug_assert!(!more, "there is no end to the budget");
    if !options.idx {
        return reply_whole(reply, &table, a, options);
    }
    begin_matches(reply, &table);
    for found in (0..table.matches()).filter_map(|index| table.found(index)) {
        found.reply(reply, options.with_match_len);
    }
    end_matches(reply, &table);
    Ok(())
}

/// The length, or the text of the subsequence.
fn reply_whole(reply: &mut Reply<'_>, table: &Table, a: &[u8], options: &Options) -> Outcome {
    if options.len {
        reply.integer(table.length() as i64);
        return Ok(());
    }
    let mut text = Vec::new();
    text.try_reserve_exact(table.length())
        .map_err(|_| NO_MEMORY)?;
    let matches = (0..table.matches()).rev();
    for found in matches.filter_map(|index| table.found(index)) {
        text.extend_from_slice(&a[found.a..found.a + found.len]);
    }
    reply.bulk(&text);
    Ok(())
}

fn begin_matches(reply: &mut Reply<'_>, table: &Table) {
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(table.matches());
}

fn end_matches(reply: &mut Reply<'_>, table: &Table) {
    reply.bulk(b"len");
    reply.integer(table.length() as i64);
}

impl Match {
    fn reply(&self, reply: &mut Reply<'_>, with_len: bool) {
        reply.array(if with_len { 3 } else { 2 });
        for start in [self.a, self.b] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer((start + self.len - 1) as i64);
        }
        if with_len {
            reply.integer(self.len as i64);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Engine;
    use crate::resp::Protocol;

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn subsequences() {
        let ranges = "*2|*2|*2|:4|:7|*2|:5|:8|*2|*2|:2|:3|*2|:0|:1|$3|len|:6";
        let long = "*1|*3|*2|:4|:7|*2|:5|:8|:4|$3|len|:6";
        Engine::new().talk(&[
            ("MSET a ohmytext b mynewtext", "+OK"),
            ("LCS a b", "$6|mytext"),
            ("LCS a b LEN", ":6"),
            ("LCS a b IDX", &format!("*4|$7|matches|{ranges}")),
            (
                "LCS a b IDX MINMATCHLEN -1",
                &format!("*4|$7|matches|{ranges}"),
            ),
            (
                "LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN",
                &format!("*4|$7|matches|{long}"),
            ),
            ("LCS a nokey", "$0|"),
            ("LCS a nokey IDX", "*4|$7|matches|*0|$3|len|:0"),
            (
                "LCS a b LEN IDX",
                "-ERR If you want both the length and indexes, please just use IDX.",
            ),
            ("LCS a b IDX MINMATCHLEN", "-ERR syntax error"),
            ("LCS a b foo", "-ERR syntax error"),
            (
                "LCS a b MINMATCHLEN a",
                "-ERR value is not an integer or out of range",
            ),
        ]);
    }

    #[test]
    fn a_table_has_a_largest_size() {
        let mut engine = Engine::new();
        engine.run("SETRANGE a 20000 x");
        let too_long =
            "-ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len";
        engine.talk(&[("LCS a a", too_long)]);
    }

    #[test]
    fn a_map_in_resp3() {
        let mut engine = Engine::new();
        engine.protocol = Protocol::Resp3;
        engine.talk(&[("LCS a b IDX", "%2|$7|matches|*0|$3|len|:0")]);
    }
}
