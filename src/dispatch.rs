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
mod group;
mod http;
mod run;

use crate::core::Core;
use crate::session::Connection;
use crate::session::connection::{Phase, SPARE_BYTES_MAX};
use group::{End, LastKey, Parsed, look_up, parse_group};
use shards::command::Args;
use shards::resp::{Limits, Partial, Reply, Status, parse};
use shards::{ProtocolError, Span};

/// Spans of requests for which memory is kept.
const SPARE_SPANS: usize = SPARE_BYTES_MAX / size_of::<Span>();

/// Memory that is used again from call to call. The loop of a core keeps it.
#[derive(Default)]
pub struct Scratch {
    spans: Vec<Span>,
    group: Vec<Parsed>,
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
    let mut partial = std::mem::take(&mut connection.partial);
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
    if rest.is_empty() || connection.phase != Phase::Open {
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
                step = run::run(core, key, &parsed, args);
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
    run::run(core, key, &parsed, args)
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
    connection.phase = Phase::Closing;
    core.mark_dirty(key);
}
