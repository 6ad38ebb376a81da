//! What the kernel has finished, and how it says that something has ended.

use shards::replies::Piece;
use std::io;
use std::os::fd::OwnedFd;

/// Received bytes, owned by whoever holds this until [`Ring::recycle`].
pub struct Buffer {
    pub(super) memory: Box<[u8]>,
    pub(super) len: usize,
    pub(super) id: u16,
}

impl Buffer {
    /// The bytes that were received.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.memory[..self.len]
    }
}

/// What the kernel has finished. Results are errno-style: negative is an error.
pub enum Completion {
    /// A connection was accepted (or accepting failed) on the listener `token`.
    /// Unless `more`, [`Ring::accept`] must be called again.
    Accepted {
        token: u32,
        socket: io::Result<OwnedFd>,
        more: bool,
    },
    /// Bytes arrived. Unless `more`, nothing more is received until
    /// [`Ring::receive`] or [`Ring::receive_once`] is called again.
    Received {
        token: u32,
        buffer: Buffer,
        more: bool,
    },
    /// Receiving has ended.
    ReceiveEnded { token: u32, end: End },
    /// Watching has ended. What the peer sent last may not have been received yet.
    WatchEnded { token: u32, end: End },
    /// A send has ended: `sent` bytes of the buffer, which comes back.
    Sent {
        token: u32,
        buffer: Piece,
        sent: io::Result<usize>,
    },
    /// Another core rang.
    Rung,
}

/// Why receiving or watching has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The peer has ended its side of the stream.
    SaidAll,
    /// It was stopped, or memory was short: it can begin again.
    Again,
    /// The connection is broken.
    Broken,
}

#[cold]
pub(super) fn end_of(result: io::Result<usize>) -> End {
    use rustix::io::Errno;
    let again = [Errno::NOBUFS, Errno::CANCELED, Errno::INTR, Errno::AGAIN];
    match result {
        Ok(_) => End::SaidAll,
        Err(error) if again.map(Some).contains(&Errno::from_io_error(&error)) => End::Again,
        Err(_) => End::Broken,
    }
}

/// What a poll has found.
#[cold]
pub(super) fn seen(result: io::Result<usize>) -> End {
    use rustix::event::PollFlags;
    let found = |flags: PollFlags, events: usize| events & usize::from(flags.bits()) != 0;
    match result {
        Ok(events) if found(PollFlags::ERR | PollFlags::HUP, events) => End::Broken,
        Ok(events) if found(PollFlags::RDHUP, events) => End::SaidAll,
        _ => End::Again,
    }
}
