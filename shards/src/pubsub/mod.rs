//! Who listens to which channels, and what they are told.
//!
//! Each node knows the subscriptions of its own clients ([`Subscriptions`]); in one table
//! that all nodes share they say which of them have any ([`Audience`]). So to
//! subscribe asks no other node, and a message goes only to nodes where somebody may
//! listen. What is to be told collects in [`Outgoing`] until the server hands it to
//! connections.
//!
//! A message is encoded once for all who get it, whatever their protocol and whether they
//! subscribed to its channel or to a pattern: these differ in a short head only.
//!
//! ```text
//!   >3 message            ┐
//!   >4 pmessage <pattern> ┼ head     $7 channel $5 text: body
//!   >3 smessage           ┘
//! ```

mod audience;
mod outgoing;
mod subscriptions;

pub use audience::{Audience, Ears};
pub use outgoing::{Body, Cause, Outgoing, Told};
pub use subscriptions::Subscriptions;

use crate::error::OutOfMemory;
use bytes::Bytes;

/// What can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Channel,
    /// Channels that match a pattern.
    Pattern,
    /// A channel of SSUBSCRIBE: another one than the channel of that name.
    Sharded,
}

impl Kind {
    /// In the order of their numbers.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Pattern, Self::Sharded];
}

/// Something that a client is told unasked. `head` and `body` are one push of RESP3, or
/// some other whole line.
#[derive(Clone, Debug)]
pub struct Push {
    head: Bytes,
    body: Bytes,
}

impl Push {
    /// `head` begins with `>`, which is `*` for clients that speak RESP2, or is something else;
    /// `body` is what all share who are told.
    pub fn new(head: &'static [u8], body: Vec<u8>) -> Self {
        Self {
            head: Bytes::from_static(head),
            body: body.into(),
        }
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.head.len() + self.body.len()
    }
}

/// A message on its way to all nodes that may have listeners.
#[derive(Clone, Debug)]
pub struct Message {
    pub kind: Kind,
    /// As it stands in each push: the channel and the text.
    body: Bytes,
    /// Where the channel stands in it.
    channel: (u32, u32),
}

impl Message {
    /// Encodes it. Both are shorter than 4 GiB.
    ///
    /// # Errors
    /// There is no memory for it.
    pub fn new(kind: Kind, channel: &[u8], text: &[u8]) -> Result<Self, OutOfMemory> {
        let body = encode(channel, text)?;
        // `$`, the length, and the end of that line.
        let start = 3 + digits(channel.len());
        let end = start + channel.len();
        let place = |at| u32::try_from(at).expect("a request is shorter than 4 GiB");
        Ok(Self {
            kind,
            body: body.into(),
            channel: (place(start), place(end)),
        })
    }

    fn channel(&self) -> &[u8] {
        &self.body[self.channel.0 as usize..self.channel.1 as usize]
    }
}

/// A channel and a text, as they stand in each push.
fn encode(channel: &[u8], text: &[u8]) -> Result<Vec<u8>, OutOfMemory> {
    let mut body = Vec::new();
    body.try_reserve_exact(channel.len() + text.len() + 2 * FRAME_BYTES)?;
    append(&mut body, channel);
    append(&mut body, text);
    Ok(body)
}

fn digits(number: usize) -> usize {
    number.checked_ilog10().unwrap_or(0) as usize + 1
}

/// What a bulk string takes beside its bytes, at most.
const FRAME_BYTES: usize = 16;

/// Appends a bulk string.
fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    crate::resp::Reply::new(out, crate::resp::Protocol::Resp3).bulk(bytes);
}
