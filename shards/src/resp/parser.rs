//! Cuts a byte stream into requests without copying them.
//!
//! [`parse`] is resumable: what it has understood of an incomplete request is
//! kept in a [`Partial`] and never looked at again. Lengths are limits first
//! and numbers second; nothing is allocated for a length that was only claimed.

use crate::command::Span;
use crate::error::ProtocolError;

/// What a request may be at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Longest bulk string, bytes (proto-max-bulk-len).
    pub bulk_len: usize,
    /// Longest request, bytes (client-query-buffer-limit). Below 4 GiB.
    pub request_len: usize,
    /// The client has authenticated, or need not.
    pub authenticated: bool,
}

/// How far an incomplete request has been understood. The default is the
/// beginning of a buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Partial {
    /// Where the request begins in the buffer.
    pub start: usize,
    /// Up to where it has been understood.
    position: usize,
    /// Arguments still to come; zero before the header.
    args_left: usize,
    /// Length of the argument at `position`, once its header has been read.
    bulk_len: Option<usize>,
}

/// What [`parse`] found.
#[derive(Debug, PartialEq, Eq)]
pub enum Status {
    /// A request; its spans were appended and `partial.start` is now behind it.
    /// A request without arguments (`*0`, an empty line) appends none.
    Complete,
    /// An inline request, rewritten as a RESP array; `partial.start` is behind it.
    Inline(Vec<u8>),
    /// More bytes are needed, at least this many.
    Incomplete(usize),
}
