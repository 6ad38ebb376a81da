//! Requests are parsed and looked up in groups, before the first of a group runs.

use crate::admission::is_somebody;
use crate::commands::{AnyRow, registry};
use crate::core::Core;
use shards::command::Args;
use shards::resp::{Limits, Partial, Status, parse};
use shards::{Located, ProtocolError, Span, is_same};

/// Longest request whatever the configuration says: with the box that carries it
/// to another core it stays below the 4 GiB that a span can name.
const REQUEST_BYTES_MAX: usize = 3 << 30;

/// Requests that are parsed before the first of them runs.
const GROUP: usize = 32;

/// A request that has been parsed and looked up.
pub(super) struct Parsed {
    /// Where it begins in the input.
    pub(super) start: usize,
    /// Where its spans end; they begin where those of the one before end.
    pub(super) spans_end: usize,
    pub(super) command: Option<&'static AnyRow>,
    /// Where its first key belongs.
    pub(super) located: Option<Located>,
    /// That is its only key.
    pub(super) single: bool,
}

/// Why a group ended.
pub(super) enum End {
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

pub(super) fn parse_group(
    core: &mut Core,
    key: u32,
    input: &[u8],
    partial: &mut Partial,
    spans: &mut Vec<Span>,
    group: &mut Vec<Parsed>,
) -> End {
    let connection = &core.connections[key as usize];
    let limits = Limits {
        bulk_len: core.node.shard().settings.proto_max_bulk_len,
        request_len: core
            .config
            .clients
            .client_query_buffer_limit
            .min(REQUEST_BYTES_MAX),
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
pub(super) struct LastKey<'a>(Option<(&'a [u8], Located)>);

impl<'a> LastKey<'a> {
    #[inline]
    fn locate(&mut self, core: &Core, key: &'a [u8]) -> Located {
        match self.0 {
            Some((last, located)) if is_same(last, key) => located,
            _ => {
                let located = core.node.shard().locate(key);
                self.0 = Some((key, located));
                located
            }
        }
    }
}

/// Finds a request's row and where its first key belongs.
#[inline]
pub(super) fn look_up<'a>(
    core: &Core,
    last: &mut LastKey<'a>,
    start: usize,
    (input, spans): (&'a [u8], &[Span]),
    before: usize,
) -> Parsed {
    let args = Args::new(input, &spans[before..]);
    let command = registry().find(&args[0]);
    let first_key = command.and_then(|command| args.spans().get(command.first_key?));
    Parsed {
        start,
        spans_end: spans.len(),
        command,
        located: first_key.map(|span| last.locate(core, span.of(input))),
        single: command.is_some_and(|command| command.has_one_key(args.len())),
    }
}
