//! How requests went, and the replies to them.

use super::ticket::{Client, Ticket};
use crate::command::Args;
use crate::error::CommandError;

/// How a request, or its part on one shard, went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ran {
    /// The reply is an error.
    pub failed: bool,
    /// The reply is too long: there is none, and the client is to be closed. See
    /// [`CommandError::TooLong`](crate::CommandError::TooLong).
    pub too_long: bool,
    /// By the clock of the shard where it ran. A request on several shards took
    /// the sum of what its parts did.
    pub ticks: u64,
}

impl Ran {
    /// What a shard has said of a request.
    #[inline]
    pub(super) fn of(outcome: &Result<(), CommandError>, ticks: u64) -> Self {
        let too_long = matches!(outcome, Err(CommandError::TooLong));
        Self {
            failed: outcome.is_err() && !too_long,
            too_long,
            ticks,
        }
    }

    /// What ended without having run: unblocked, timed out, refused.
    pub(super) fn ended(failed: bool) -> Self {
        Self {
            failed,
            ..Self::default()
        }
    }
}

/// A reply for a client of this core.
pub struct Replied<'a> {
    pub client: Client,
    /// The row of the request.
    pub row: u16,
    pub ran: Ran,
    /// The request, if it was slow.
    pub slow: Option<Args<'a>>,
    pub reply: &'a [u8],
    /// What follows that, if the reply is long.
    pub pieces: Vec<Vec<u8>>,
    pub rest: Rest,
}

impl Replied<'_> {
    /// The reply in one piece.
    pub fn whole(&self) -> Vec<u8> {
        [self.reply, &self.pieces.concat()].concat()
    }
}

/// What comes after a piece of a reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rest {
    /// This is the end; and only then the request has been counted.
    #[default]
    Nothing,
    /// More, if [`Node::ask`](super::Node::ask) is told so. If nobody wants it,
    /// [`Node::drop_reply`](super::Node::drop_reply) must be.
    Follows(Ticket),
    /// Nothing has run: its client has gone before. Its place is free.
    InVain,
    /// There should be more, but it is lost. Nothing that the client is sent now
    /// would make sense to it.
    Lost,
}
