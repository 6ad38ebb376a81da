//! Every error text a client can see, written once.
//!
//! The texts are part of the protocol: clients and test suites compare them
//! byte for byte with Redis 7.2, so the differential tests do too. None of
//! them contains the leading `-` or the trailing CRLF. What is quoted from a
//! request is quoted in raw bytes.

use crate::types::Blocked;
use std::borrow::Cow;
use std::collections::TryReserveError;
use thiserror::Error;

/// Memory whose amount a client or a file determines could not be had; nothing
/// has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfMemory;

impl From<OutOfMemory> for CommandError {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<TryReserveError> for OutOfMemory {
    fn from(_: TryReserveError) -> Self {
        Self
    }
}

/// A write of several elements that could not be finished for want of memory.
///
/// Elements before that are done, and stay: to take them back would need memory,
/// too (what they replaced), and to have it all before the first change would make
/// every write look at its elements twice. So a handler says what was done
/// (`Context::give_up`): it counts and is propagated as the request cut off there.
/// Who repeats the request does the rest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// So many elements are done; none, if nothing has changed.
    pub done: usize,
    pub error: CommandError,
}

impl Unfinished {
    /// After so many elements, some of which have changed something.
    pub fn after(done: usize, error: OutOfMemory) -> Self {
        Self {
            done,
            error: error.into(),
        }
    }
}

impl From<CommandError> for Unfinished {
    fn from(error: CommandError) -> Self {
        Self { done: 0, error }
    }
}

impl From<OutOfMemory> for Unfinished {
    fn from(error: OutOfMemory) -> Self {
        Self::after(0, error)
    }
}

impl From<Unfinished> for CommandError {
    /// For writes of a single element.
    fn from(unfinished: Unfinished) -> Self {
        debug_assert_eq!(unfinished.done, 0, "what was done is to be told");
        unfinished.error
    }
}

/// Why a command failed. The keyspace is as it was (lazy expiry and [`Unfinished`]
/// writes aside) and nothing was propagated.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommandError {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    #[error("ERR value is not a valid float")]
    NotAFloat,
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR no such key")]
    NoSuchKey,
    #[error("ERR increment or decrement would overflow")]
    IncrementOverflow,
    #[error("ERR decrement would overflow")]
    DecrementOverflow,
    #[error("ERR increment would produce NaN or Infinity")]
    FloatOverflow,
    #[error("ERR offset is out of range")]
    OffsetOutOfRange,
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    #[error("ERR invalid expire time in '{0}' command")]
    InvalidExpire(&'static str),
    #[error("ERR wrong number of arguments for '{0}' command")]
    WrongArity(String),
    #[error("ERR DB index is out of range")]
    DbOutOfRange,
    #[error("ERR source and destination objects are the same")]
    SameObject,
    #[error("ERR out of memory allocating the reply or value")]
    OutOfMemory,
    /// No error for a client: there is nothing to take, and the request may
    /// wait for it. Said by blocking commands, if [`crate::Context::alone`].
    #[error("ERR the request waits")]
    Blocked(Box<Blocked>),
    /// No error for a client: the reply is long, and the request is to be called
    /// again to make it in pieces. Said only if [`crate::Context::alone`].
    #[error("ERR the reply is long")]
    Long,
    /// No error for a client: the request has run, and counts, but its reply is
    /// longer than the client may have, or than there is memory for. There is none,
    /// and the client is to be closed.
    #[error("ERR the reply is too long")]
    TooLong,
    /// A text that only one command uses; the whole line, code included.
    #[error("{0}")]
    Static(&'static str),
    /// As `Static`, with a part taken from the request: whatever bytes the
    /// client sent come back, so this is no text. See [`CommandError::quoting`].
    #[error("{}", String::from_utf8_lossy(.0))]
    Owned(Box<[u8]>),
}

impl CommandError {
    /// An error that quotes a word of the request, as a C string would: up to
    /// its first NUL.
    pub fn quoting(before: &str, word: &[u8], after: &str) -> Self {
        let parts = [before.as_bytes(), until_nul(word), after.as_bytes()];
        Self::Owned(parts.concat().into())
    }

    /// The arguments do not fit the subcommand `word` of a container.
    pub fn unfit_subcommand(word: &[u8], container: &str) -> Self {
        let before = "ERR unknown subcommand or wrong number of arguments for '";
        Self::quoting(before, word, &format!("'. Try {container} HELP."))
    }

    /// The line for the client, code included.
    pub fn to_bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Owned(bytes) => Cow::Borrowed(bytes),
            Self::Static(text) => Cow::Borrowed(text.as_bytes()),
            other => Cow::Owned(other.to_string().into_bytes()),
        }
    }
}

/// As much of `word` as Redis shows of it in an error.
pub fn until_nul(word: &[u8]) -> &[u8] {
    let end = word.iter().position(|byte| *byte == 0);
    word.get(..end.unwrap_or(word.len())).unwrap_or(word)
}

/// The stream cannot be understood any further: the reply is
/// `-ERR Protocol error: {self}` and the connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProtocolError {
    #[error("invalid multibulk length")]
    MultibulkLength,
    #[error("unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    #[error("invalid bulk length")]
    BulkLength,
    #[error("unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    #[error("too big mbulk count string")]
    MultibulkCountString,
    #[error("too big bulk count string")]
    BulkCountString,
    #[error("too big inline request")]
    InlineTooBig,
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    /// Another byte stood where `$` must.
    #[error("expected '$', got '{}'", char::from(*.0))]
    ExpectedBulk(u8),
    /// The request is larger than `client-query-buffer-limit`, or memory for
    /// it could not be had. Redis closes without a reply.
    #[error("query buffer limit reached")]
    QueryBufferLimit,
}
