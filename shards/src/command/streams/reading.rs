//! The arguments of XREAD and XREADGROUP, and what their replies have in common.

use super::ids;
use crate::command::args::{deadline_ms, integer};
use crate::command::spec::{Access, Begin, Find, KeySpec};
use crate::command::{Args, Context, Outcome};
use crate::error::{CommandError, until_nul};
use crate::resp::{Protocol, Reply};
use crate::types::{Blocked, Claim, Type, UnixMs, Waiting};
use crate::value::Stream;
use crate::value::stream::StreamId;
use std::hash::Hasher;

/// The keys behind the word STREAMS: half of what follows it.
pub const fn streams(from: i32, access: &'static [&'static str]) -> KeySpec {
    KeySpec {
        begin: Begin::Behind {
            word: "STREAMS",
            from,
            find: first_key,
        },
        find: Find::Range {
            last: -1,
            step: 1,
            limit: 2,
        },
        access: Access(access),
        notes: "",
        vary: None,
    }
}

/// What may stand before the keys.
enum ReadOption<'a> {
    Block(&'a [u8]),
    Count(&'a [u8]),
    /// With the consumer.
    Group(&'a [u8], &'a [u8]),
    NoAck,
    /// The keys follow.
    Streams,
}

/// The option at an argument, and what stands behind it.
fn option_at(args: Args<'_>, at: usize) -> Option<(ReadOption<'_>, usize)> {
    let word = args.get(at)?;
    let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
    Some(match (args.get(at + 1), args.get(at + 2)) {
        (Some(ms), _) if is(b"BLOCK") => (ReadOption::Block(ms), at + 2),
        (Some(count), _) if is(b"COUNT") => (ReadOption::Count(count), at + 2),
        (Some(_), _) if is(b"STREAMS") => (ReadOption::Streams, at + 1),
        (Some(group), Some(consumer)) if is(b"GROUP") => {
            (ReadOption::Group(group, consumer), at + 3)
        }
        _ if is(b"NOACK") => (ReadOption::NoAck, at + 1),
        _ => return None,
    })
}

/// Where the first key stands: a group, a consumer or a key may have the name of the
/// option before it. There is none unless each key has an id.
fn first_key(args: Args<'_>) -> Option<usize> {
    let mut at = 1;
    loop {
        match option_at(args, at)? {
            (ReadOption::Streams, first) => {
                return Some(first).filter(|first| (args.len() - first).is_multiple_of(2));
            }
            (_, behind) => at = behind,
        }
    }
}

/// The options of a request.
pub struct Reading<'a> {
    /// Of XREADGROUP; and who reads for it.
    pub group: Option<&'a [u8]>,
    pub consumer: &'a [u8],
    pub no_ack: bool,
    /// So many entries of each stream; 0 for all.
    count: usize,
    /// Waits if there is nothing, until then.
    block: Option<Option<UnixMs>>,
    pub args: Args<'a>,
    /// Where the first key stands, and how many there are.
    pub first: usize,
    pub streams: usize,
}

impl<'a> Reading<'a> {
    /// Reads the options of XREAD, or of XREADGROUP if it is `grouped`.
    pub fn parse(args: Args<'a>, grouped: bool, now: UnixMs) -> Result<Self, CommandError> {
        const GROUP: CommandError = CommandError::Static(
            "ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.",
        );
        const NO_ACK: CommandError = CommandError::Static(
            "ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.",
        );
        const NO_GROUP: CommandError =
            CommandError::Static("ERR Missing GROUP option for XREADGROUP");
        // Of XREADGROUP, too.
        const UNBALANCED: CommandError = CommandError::Static(
            "ERR Unbalanced XREAD list of streams: for each stream key an ID or '$' must be \
             specified.",
        );
        let mut reading = Self {
            group: None,
            consumer: b"",
            no_ack: false,
            count: 0,
            block: None,
            args,
            first: 1,
            streams: 0,
        };
        loop {
            let (option, behind) = option_at(args, reading.first).ok_or(CommandError::Syntax)?;
            reading.first = behind;
            match option {
                ReadOption::Block(ms) => reading.block = Some(deadline_ms(ms, now)?),
                ReadOption::Count(count) => {
                    reading.count = usize::try_from(integer(count)?).unwrap_or(0);
                }
                ReadOption::Group(..) if !grouped => return Err(GROUP),
                ReadOption::Group(group, consumer) => {
                    (reading.group, reading.consumer) = (Some(group), consumer);
                }
                ReadOption::NoAck if !grouped => return Err(NO_ACK),
                ReadOption::NoAck => reading.no_ack = true,
                ReadOption::Streams => break,
            }
        }
        let left = args.len() - reading.first;
        if !left.is_multiple_of(2) {
            return Err(UNBALANCED);
        }
        reading.streams = left / 2;
        if grouped && reading.group.is_none() {
            return Err(NO_GROUP);
        }
        Ok(reading)
    }

    /// Keys and ids as they stand.
    pub fn all(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let keys = self.args.from(self.first).first(self.streams);
        let ids = self.args.from(self.first + self.streams);
        keys.iter().zip(ids.iter())
    }

    /// Where the id of a stream stands.
    pub fn id_at(&self, number: usize) -> usize {
        self.first + self.streams + number
    }

    /// Most entries of a stream that are wanted.
    pub fn most(&self) -> usize {
        match self.count {
            0 => usize::MAX,
            count => count,
        }
    }

    /// There is nothing: waits as one of the group's consumers, or alone; or replies so.
    pub fn wait_or_reply(
        &self,
        alone: bool,
        reply: &mut Reply<'_>,
        instead: Vec<(usize, Vec<u8>)>,
        claim: Claim,
    ) -> Outcome {
        if let Some(until) = self.block.filter(|_| alone) {
            let waiting = Waiting {
                until,
                of: Type::Stream,
                claim,
            };
            return Err(CommandError::Blocked(Box::new(Blocked {
                waiting,
                instead,
            })));
        }
        reply.null_array();
        Ok(())
    }

    /// What the consumers of this group have in common while they wait.
    pub fn share(&self) -> Claim {
        // That two groups of one key have the same number is left out of account: its
        // owner could do no more than have one wait for the other's entries.
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(self.group.unwrap_or_default());
        Claim::Shares(hasher.finish())
    }
}

/// Begins the reply: of so many streams, each is followed by its entries.
pub fn begin_streams(reply: &mut Reply<'_>, streams: usize) {
    match reply.protocol() {
        Protocol::Resp2 => reply.array(streams),
        Protocol::Resp3 => reply.map(streams),
    }
}

pub fn begin_stream(reply: &mut Reply<'_>, key: &[u8]) {
    if reply.protocol() == Protocol::Resp2 {
        reply.array(2);
    }
    reply.bulk(key);
}

/// Behind which id a stream is read, as XREAD is told. Of what `+` names, the last entry,
/// the one before is said.
pub fn behind(stream: Option<&Stream>, id: &[u8]) -> Result<StreamId, CommandError> {
    const NO_GROUP: CommandError = CommandError::Static(
        "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
         <consumer> option.",
    );
    let last = stream.map_or(StreamId::MIN, |stream| stream.entries.last_id());
    match until_nul(id) {
        b"$" => Ok(last),
        b"+" => {
            let entry = stream.and_then(|stream| stream.entries.last());
            Ok(entry.and_then(|entry| entry.id.prev()).unwrap_or(last))
        }
        b">" => Err(NO_GROUP),
        _ => ids::strict(id, 0),
    }
}

/// Whether a stream has an entry behind an id.
pub fn has_more(stream: &Stream, id: StreamId) -> bool {
    // Mostly there is none, and then no node is looked at.
    let next = id.next().filter(|_| stream.entries.last_id() > id);
    next.is_some_and(|next| stream.entries.range(next, StreamId::MAX).next().is_some())
}

/// What a request that begins to wait says in place of `$` and `+`.
pub fn resolved(
    reading: &Reading<'_>,
    ids: impl Iterator<Item = StreamId>,
) -> Vec<(usize, Vec<u8>)> {
    let asked = reading.all().zip(ids).enumerate();
    let relative = asked.filter(|(_, ((_, id), _))| matches!(until_nul(id), b"$" | b"+"));
    relative
        .map(|(at, (_, id))| (reading.id_at(at), id.text().as_bytes().to_vec()))
        .collect()
}

/// What is looked at for one who waits, and not as the part of a request, says so if there
/// is nothing for it.
pub fn still_waits(ctx: &Context<'_>, found: bool) -> Outcome {
    if found || !ctx.alone || ctx.cargo.inner {
        return Ok(());
    }
    Err(CommandError::Blocked(Box::new(Blocked {
        waiting: Waiting::to_take(Type::Stream, None),
        instead: Vec::new(),
    })))
}
