//! THE PATH: bytes → requests → look up → check → run here or send across.
//!
//! [`receive`] is called with what a socket has delivered. Requests are
//! executed in the buffer they arrived in; what cannot be executed yet (an
//! incomplete request, or a connection that must wait for its client or for
//! another core) is copied to the connection's own input buffer, from which
//! [`resume`] goes on.
//!
//! Requests are taken in groups: first all are parsed, looked up and their
//! keys located, then the memory they will touch is prefetched, then they run.
//! A group that follows from one receive thus waits for memory about once.

mod ahead;
mod http;

use crate::admission::{admit, is_somebody};
use crate::commands::run::{Went, run as run_server};
use crate::commands::{Entry, Run, ServerRow, registry, transaction};
use crate::core::{Asker, Core};
use crate::runtime::ticks;
use crate::session::Connection;
use crate::session::connection::{Kind, SPARE_BYTES_MAX};
use http::{drop_http, is_http};
use shards::command::{Args, Group, flags};
use shards::order::{Call, Placement};
use shards::resp::{Limits, Partial, Reply, Status, parse};
use shards::{CommandError, Located, ProtocolError, Row, ShardId, Span, is_same};

/// Longest request whatever the configuration says: with the box that carries it
/// to another core it stays below the 4 GiB that a span can name.
const REQUEST_BYTES_MAX: usize = 3 << 30;

/// Requests that are parsed before the first of them runs.
const GROUP: usize = 32;

/// Spans of requests for which memory is kept.
const SPARE_SPANS: usize = SPARE_BYTES_MAX / size_of::<Span>();

/// Memory that is used again from call to call. The loop of a core keeps it.
#[derive(Default)]
pub struct Scratch {
    spans: Vec<Span>,
    group: Vec<Parsed>,
}

/// A request that has been parsed and looked up.
struct Parsed {
    /// Where it begins in the input.
    start: usize,
    /// Where its spans end; they begin where those of the one before end.
    spans_end: usize,
    entry: Option<&'static Entry>,
    /// Where its first key belongs.
    located: Option<Located>,
    /// That is its only key.
    single: bool,
}

/// What the connection does after a request.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Next,
    /// The same, but the request is not over for the session.
    Within,
    /// This request could not be run yet: it and what follows wait.
    Stall,
}

/// Takes bytes that a socket has delivered.
pub fn receive(core: &mut Core, scratch: &mut Scratch, key: u32, bytes: &[u8]) {
    core.stats.input_bytes += bytes.len() as u64;
    let now = core.now;
    let connection = &mut core.connections[key as usize];
    connection.session.active_at = now;
    if connection.input.is_empty()
        && connection.may_execute()
        && connection.allowance(core.turn) > 0
    {
        let mut partial = Partial::default();
        let Scratch { spans, group } = scratch;
        execute(core, group, key, bytes, &mut partial, spans);
        keep_rest(core, key, bytes, partial, spans);
        spans.clear();
        spans.shrink_to(SPARE_SPANS);
        return;
    }
    if !append_input(connection, bytes) {
        protocol_error(core, key, ProtocolError::QueryBufferLimit);
        return;
    }
    resume(core, scratch, key);
}

/// Goes on with what waits in the connection's own input buffer.
pub fn resume(core: &mut Core, scratch: &mut Scratch, key: u32) {
    let connection = &mut core.connections[key as usize];
    connection.stalled = false;
    if connection.input.is_empty() {
        return;
    }
    if !connection.may_execute() || connection.allowance(core.turn) == 0 {
        connection.stalled = true;
        return;
    }
    let input = std::mem::take(&mut connection.input);
    let mut partial = connection.partial;
    let mut spans = std::mem::take(&mut connection.spans);
    let group = &mut scratch.group;
    execute(core, group, key, &input, &mut partial, &mut spans);
    let Some(connection) = core.connections.get_mut(key as usize) else {
        return;
    };
    connection.input = input;
    connection.partial = partial;
    connection.spans = spans;
    compact(connection);
}

/// Copies what was not executed to the connection's own buffer.
fn keep_rest(core: &mut Core, key: u32, bytes: &[u8], mut partial: Partial, spans: &mut [Span]) {
    let rest = &bytes[partial.start..];
    let connection = &mut core.connections[key as usize];
    if rest.is_empty() || connection.phase != crate::session::connection::Phase::Open {
        return;
    }
    partial.rebase(spans);
    connection.partial = partial;
    connection.spans.extend_from_slice(spans);
    if !append_input(connection, rest) {
        protocol_error(core, key, ProtocolError::QueryBufferLimit);
    }
}

/// Drops executed bytes from the front when that costs little.
fn compact(connection: &mut Connection) {
    let start = connection.partial.start;
    if start == connection.input.len() {
        connection.input.clear();
        connection.input.shrink_to(SPARE_BYTES_MAX);
        connection.partial = Partial::default();
        connection.spans.clear();
        connection.spans.shrink_to(SPARE_SPANS);
    } else if start > connection.input.len() / 2 {
        connection.input.drain(..start);
        let Connection { partial, spans, .. } = connection;
        partial.rebase(spans);
    }
}

/// Appends to the input buffer; false if there is no memory for it.
fn append_input(connection: &mut Connection, bytes: &[u8]) -> bool {
    if connection.input.try_reserve(bytes.len()).is_err() {
        return false;
    }
    connection.input.extend_from_slice(bytes);
    true
}

/// Executes requests of `input` until it is exhausted or the connection must
/// wait. Afterwards `partial` and `spans` describe what is left.
fn execute(
    core: &mut Core,
    group: &mut Vec<Parsed>,
    key: u32,
    input: &[u8],
    partial: &mut Partial,
    spans: &mut Vec<Span>,
) {
    loop {
        let start = partial.start;
        let end = parse_group(core, key, input, partial, spans, group);
        ahead::fetch(core, key, group, (input, spans));
        core.lap = 0;
        let mut first = 0;
        let mut step = Step::Next;
        for parsed in group.drain(..) {
            if step == Step::Next {
                let args = Args::new(input, &spans[first..parsed.spans_end]);
                step = run(core, key, &parsed, args);
                if step == Step::Stall {
                    *partial = Partial::at(parsed.start);
                    core.connections[key as usize].stalled = true;
                }
            }
            first = parsed.spans_end;
        }
        if step == Step::Stall {
            spans.clear();
            break;
        }
        if first == spans.len() {
            spans.clear();
        } else {
            spans.drain(..first);
        }
        let turn = core.turn;
        let connection = &mut core.connections[key as usize];
        connection.spend(turn, partial.start - start);
        match end {
            End::More if connection.allowance(turn) > 0 => {}
            End::More => {
                connection.stalled = true;
                break;
            }
            End::Inline { start, request } => {
                if inline(core, key, &request) == Step::Stall {
                    *partial = Partial::at(start);
                    core.connections[key as usize].stalled = true;
                    spans.clear();
                    break;
                }
                let connection = &mut core.connections[key as usize];
                if connection.allowance(turn) == 0 {
                    connection.stalled = true;
                    break;
                }
            }
            End::Incomplete => break,
            End::Malformed(error) => {
                protocol_error(core, key, error);
                partial.start = input.len();
                spans.clear();
                break;
            }
        }
    }
    core.mark_dirty(key);
}

/// Why a group ended.
enum End {
    /// It is full; more may follow.
    More,
    /// At an inline request, or one without a word.
    Inline {
        start: usize,
        request: Vec<u8>,
    },
    Incomplete,
    Malformed(ProtocolError),
}

fn parse_group(
    core: &mut Core,
    key: u32,
    input: &[u8],
    partial: &mut Partial,
    spans: &mut Vec<Span>,
    group: &mut Vec<Parsed>,
) -> End {
    let connection = &core.connections[key as usize];
    let limits = Limits {
        bulk_len: core.node.shard.settings.proto_max_bulk_len,
        request_len: core.config.client_query_buffer_limit.min(REQUEST_BYTES_MAX),
        authenticated: is_somebody(core, &connection.session),
    };
    // What a command before AUTH may be depends on the commands before it.
    let at_most = if limits.authenticated { GROUP } else { 1 };
    let mut last = LastKey::default();
    while group.len() < at_most {
        let start = partial.start;
        let before = group.last().map_or(0, |parsed: &Parsed| parsed.spans_end);
        match parse(input, partial, spans, &limits) {
            Ok(Status::Complete) => {
                if spans.len() == before {
                    let request = Vec::new();
                    return End::Inline { start, request };
                }
                group.push(look_up(core, &mut last, start, (input, spans), before));
            }
            Ok(Status::Inline(request)) => return End::Inline { start, request },
            Ok(Status::Incomplete(_)) => {
                // The buffer of a stalled connection may hold many requests.
                if input.len() - partial.start > limits.request_len {
                    return End::Malformed(ProtocolError::QueryBufferLimit);
                }
                return End::Incomplete;
            }
            Err(error) => return End::Malformed(error),
        }
    }
    End::More
}

/// The first key of the request before: a pipeline often goes to one key, which then
/// is located and fetched once.
#[derive(Default)]
struct LastKey<'a>(Option<(&'a [u8], Located)>);

impl<'a> LastKey<'a> {
    #[inline]
    fn locate(&mut self, core: &Core, key: &'a [u8]) -> Located {
        match self.0 {
            Some((last, located)) if is_same(last, key) => located,
            _ => {
                let located = core.node.shard.locate(key);
                self.0 = Some((key, located));
                located
            }
        }
    }
}

/// Finds a request's row and where its first key belongs.
#[inline]
fn look_up<'a>(
    core: &Core,
    last: &mut LastKey<'a>,
    start: usize,
    (input, spans): (&'a [u8], &[Span]),
    before: usize,
) -> Parsed {
    let args = Args::new(input, &spans[before..]);
    let entry = registry().find(&args[0]);
    let first_key = entry.and_then(|entry| args.spans().get(entry.first_key?));
    Parsed {
        start,
        spans_end: spans.len(),
        entry,
        located: first_key.map(|span| last.locate(core, span.of(input))),
        single: entry.is_some_and(|entry| entry.has_one_key(args.len())),
    }
}

/// An inline request has come back as an array: parse and run that. One without a word
/// uses up CLIENT REPLY SKIP, as in Redis.
fn inline(core: &mut Core, key: u32, request: &[u8]) -> Step {
    if request.is_empty() {
        let connection = &mut core.connections[key as usize];
        if !connection.may_execute() {
            return Step::Stall;
        }
        connection.session.command_done();
        return Step::Next;
    }
    let limits = Limits {
        bulk_len: usize::MAX,
        request_len: usize::MAX,
        authenticated: true,
    };
    let (mut partial, mut spans) = (Partial::default(), Vec::new());
    let status = parse(request, &mut partial, &mut spans, &limits);
    debug_assert!(
        matches!(status, Ok(Status::Complete)),
        "the parser writes what it reads"
    );
    let args = Args::new(request, &spans);
    let parsed = look_up(core, &mut LastKey::default(), 0, (request, &spans), 0);
    run(core, key, &parsed, args)
}

/// Runs one request, or finds that it must wait.
#[inline]
fn run(core: &mut Core, key: u32, parsed: &Parsed, args: Args<'_>) -> Step {
    let connection = &*core.connections[key as usize];
    if !connection.may_execute() {
        return Step::Stall;
    }
    let entry = match admit(core, &connection.session, parsed.entry, args) {
        Ok(entry) => entry,
        Err(_) if parsed.entry.is_none() && is_http(&args[0]) => {
            drop_http(core, key);
            return Step::Stall;
        }
        Err(refused) => {
            refuse(core, key, refused.row, &refused.error);
            return Step::Next;
        }
    };
    if let Some(pause) = &core.pause
        && pause.holds(transaction::flags_of(&connection.session, entry))
    {
        core.connections[key as usize].paused = true;
        core.paused.push(key);
        return Step::Stall;
    }
    if connection.session.queue.is_some() && !entry.flags.has(flags::AT_ONCE) {
        enqueue(core, key, entry, parsed.located, args);
        return Step::Next;
    }
    match &entry.run {
        Run::Engine(row) => {
            if engine(core, key, entry, row, parsed, args) == Step::Stall {
                return Step::Stall;
            }
        }
        Run::Server(row) => {
            if overtakes(core, key, entry) {
                return Step::Stall;
            }
            match serve(core, key, entry, row, args) {
                Step::Next => {}
                Step::Stall => return Step::Stall,
                Step::Within => return Step::Next,
            }
        }
    }
    core.connections[key as usize].session.command_done();
    Step::Next
}

/// A command for the open MULTI.
#[inline]
fn enqueue(
    core: &mut Core,
    key: u32,
    entry: &'static Entry,
    located: Option<Located>,
    args: Args<'_>,
) {
    match transaction::enqueue(core, key, entry, located, args) {
        Ok(()) => {
            let connection = &mut core.connections[key as usize];
            let protocol = connection.session.protocol;
            let out = connection.reply_buffer();
            let before = out.len();
            Reply::new(out, protocol).simple("QUEUED");
            connection.reply_written(before);
            connection.session.command_done();
        }
        Err(full) => protocol_error(core, key, full),
    }
}

/// Runs a command of the engine: here, on another core, or as a transaction.
#[inline]
fn engine(
    core: &mut Core,
    key: u32,
    entry: &'static Entry,
    row: &'static Row,
    parsed: &Parsed,
    args: Args<'_>,
) -> Step {
    let placement = match parsed.located {
        Some(located) if parsed.single => Placement::One(core.node.owner_of(&located)),
        _ => core.node.place(row, args),
    };
    let connection = &mut *core.connections[key as usize];
    let (kind, owner) = match placement {
        Placement::One(owner) => (Kind::Single, Some(owner)),
        Placement::Several(_) => (Kind::Transaction, None),
    };
    // The steps of a walk take another path than requests and transactions.
    let alone = owner.is_none() && matches!(row.run, shards::command::Run::ByCursor(_));
    if alone && connection.is_waiting() {
        // Trying again before the replies are in would be in vain, for ever.
        connection.barrier = true;
        return Step::Stall;
    }
    let session = &mut connection.session;
    session.last_command = Some(entry.number);
    let call = Call {
        handler: row.run.whole(),
        row: entry.number,
        db: session.db,
        protocol: session.protocol,
        no_touch: session.no_touch,
        alone: true,
        write: entry.flags.has(flags::WRITE),
        keys: entry.keys,
        located: parsed.located,
    };
    // What its client has under way elsewhere comes first.
    let at_once = core.shards == 1 || !connection.is_waiting();
    core.stats.commands += 1;
    match placement {
        Placement::One(owner) if at_once && owner == core.id => here(core, key, &call, args),
        Placement::One(owner) => {
            core.lap = 0;
            if connection.waits_for(Kind::Transaction) {
                core.node.follow_convoy();
            }
            across(core, key, owner, call, args);
        }
        Placement::Several(owners) => {
            core.lap = 0;
            let client = connection.client(key, kind);
            connection.barrier = alone;
            core.node.begin(core.now, client, call, row, args, owners);
            core.deliver();
        }
    }
    if entry.flags.has(flags::BLOCKING) {
        core.connections[key as usize].block(owner);
        core.deliver();
    }
    Step::Next
}

/// Replies an error to a request that did not run.
#[cold]
fn refuse(core: &mut Core, key: u32, row: Option<u16>, error: &CommandError) {
    if let Some(row) = row {
        core.stats.rows[usize::from(row)].rejected += 1;
    }
    let instead = transaction::refused(core, key, row, error);
    let error = instead.as_ref().unwrap_or(error);
    core.stats.count_error(&error.to_bytes());
    let connection = &mut core.connections[key as usize];
    let protocol = connection.session.protocol;
    let out = connection.reply_buffer();
    let before = out.len();
    Reply::new(out, protocol).error(error);
    connection.reply_written(before);
    connection.session.command_done();
    core.mark_dirty(key);
}

/// All keys are on this core: a function call that writes the reply. Only if
/// a transaction holds one of them does the request wait.
#[inline]
fn here(core: &mut Core, key: u32, call: &Call, args: Args<'_>) {
    let connection = &mut *core.connections[key as usize];
    if !core.node.is_unlocked() && core.node.must_wait(call, args) {
        let client = connection.client(key, Kind::Single);
        core.node.park(core.now, client, *call, args);
        core.lap = 0;
        return;
    }
    let began = match core.lap {
        0 => ticks::now(),
        lap => lap,
    };
    if connection.out.capacity() == 0 {
        connection.out = core.spare_buffers.take();
    }
    let out = connection.reply_buffer();
    let before = out.len();
    match core.node.shard.apply(core.now, &call.request(args), out) {
        Ok(()) => {}
        Err(CommandError::Blocked(waiting)) => {
            let client = connection.client(key, Kind::Single);
            core.node.wait(client, *call, args, waiting);
            core.lap = 0;
            return;
        }
        Err(CommandError::Long) => {
            let client = connection.client(key, Kind::Single);
            core.node.reply_at_length(core.now, client, *call, args);
            core.deliver();
            core.lap = 0;
            return;
        }
        Err(CommandError::TooLong) => connection.reply_too_long(&mut core.stats),
        Err(error) => {
            core.stats.count_error(&error.to_bytes());
            core.stats.rows[usize::from(call.row)].failed += 1;
        }
    }
    connection.reply_written(before);
    let id = connection.session.id;
    let ended = ticks::now();
    core.lap = ended;
    let took = ended.saturating_sub(began);
    core.stats.ran(call.row, ticks::to_ns(took));
    if took >= core.noteworthy_ticks {
        core.secret.clear();
        core.note(key, id, call.row, took, args);
    }
    if core.node.has_appeared() {
        core.node.serve(core.now);
        core.deliver();
        core.lap = 0;
    }
}

/// All keys are on one core, which is not to run it right now: copied once into its
/// batch.
#[inline]
fn across(core: &mut Core, key: u32, owner: ShardId, call: Call, args: Args<'_>) {
    let connection = &mut core.connections[key as usize];
    let client = connection.client(key, Kind::Single);
    core.node.send(owner, client, call, args);
}

/// Whether a server command would come before what its client has running elsewhere,
/// whose batch has not even left: what it tells or changes may depend on that. (Those of
/// transactions see to their order themselves.)
fn overtakes(core: &mut Core, key: u32, entry: &Entry) -> bool {
    let connection = &mut core.connections[key as usize];
    let overtakes = connection.is_waiting()
        && !entry.concerns_connection_alone()
        && entry.group != Group::Transactions;
    connection.barrier |= overtakes;
    overtakes
}

/// A command of the server.
#[inline]
fn serve(
    core: &mut Core,
    key: u32,
    entry: &'static Entry,
    row: &'static ServerRow,
    args: Args<'_>,
) -> Step {
    core.stats.commands += 1;
    core.connections[key as usize].session.last_command = Some(entry.number);
    let asker = Asker::request(core, key, entry.number);
    match run_server(core, asker, row, args) {
        Went::On => Step::Next,
        Went::Within => Step::Within,
        Went::Later => {
            core.stats.commands -= 1;
            core.connections[key as usize].barrier = true;
            Step::Stall
        }
        Went::Engine(row) => instead(core, key, entry, row, args.from(1)),
    }
}

/// Runs a row of the engine for a command of the server.
fn instead(
    core: &mut Core,
    key: u32,
    entry: &'static Entry,
    row: &'static Row,
    args: Args<'_>,
) -> Step {
    // It is counted where it runs.
    core.stats.commands -= 1;
    let parsed = Parsed {
        start: 0,
        spans_end: 0,
        entry: Some(entry),
        located: None,
        single: false,
    };
    engine(core, key, entry, row, &parsed, args)
}

/// The stream has lost its frame: say so, send it, close.
#[cold]
fn protocol_error(core: &mut Core, key: u32, error: ProtocolError) {
    core.stats.count_error(b"ERR");
    core.stats.query_limit_disconnections += u64::from(error == ProtocolError::QueryBufferLimit);
    let connection = &mut core.connections[key as usize];
    if error != ProtocolError::QueryBufferLimit {
        let protocol = connection.session.protocol;
        let out = connection.reply_buffer();
        let before = out.len();
        Reply::new(out, protocol).protocol_error(error);
        connection.reply_written(before);
    }
    connection.phase = crate::session::connection::Phase::Closing;
    core.mark_dirty(key);
}
