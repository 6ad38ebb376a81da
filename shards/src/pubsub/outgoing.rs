//! What clients of a node are to be told, until the server hands it to them.
//!
//! Heads, short bodies and receivers lie behind each other in memory that is used again,
//! so a message takes no allocation.

use super::{Message, Push, append};
use crate::error::OutOfMemory;
use bytes::Bytes;
use std::ops::Range;

/// A body that is shorter is kept as a copy, which takes less than to share it.
const SHARED_BYTES_MIN: usize = 1 << 10;

/// Capacity of a buffer that is kept.
const KEEP: usize = 64 << 10;

/// Whose request has caused something, and the place of its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cause {
    pub key: u32,
    pub place: u32,
}

/// The part of a push that all share who are told.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    Short(&'a [u8]),
    Shared(&'a Bytes),
}

impl Body<'_> {
    pub fn len(&self) -> usize {
        match self {
            Self::Short(bytes) => bytes.len(),
            Self::Shared(bytes) => bytes.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What one client is to be told.
#[derive(Clone, Debug)]
pub struct Told<'a> {
    /// The key of its connection.
    pub to: u32,
    /// It must be this client; none is given where it can be no other.
    pub id: Option<u64>,
    /// Of a request of the client itself.
    pub cause: Option<Cause>,
    pub head: &'a [u8],
    pub body: Body<'a>,
}

#[derive(Clone, Debug)]
enum Kept {
    Short(Range<usize>),
    Shared(Bytes),
}

#[derive(Debug)]
struct Entry {
    head: Range<usize>,
    body: Kept,
    to: Range<usize>,
    id: Option<u64>,
    cause: Option<Cause>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Outgoing {
    entries: Vec<Entry>,
    texts: Vec<u8>,
    receivers: Vec<u32>,
}

/// A message that is being told: encoded when the first are told, and then kept for the
/// others.
#[derive(Debug)]
pub(super) struct Text<'a> {
    pub channel: &'a [u8],
    text: Source<'a>,
    kept: Option<Kept>,
}

#[derive(Debug)]
enum Source<'a> {
    Plain(&'a [u8]),
    Encoded(&'a Bytes),
}

impl<'a> Text<'a> {
    pub fn of(message: &'a Message) -> Self {
        Self {
            channel: message.channel(),
            text: Source::Encoded(&message.body),
            kept: None,
        }
    }

    pub fn plain(channel: &'a [u8], text: &'a [u8]) -> Self {
        Self {
            channel,
            text: Source::Plain(text),
            kept: None,
        }
    }
}

impl Outgoing {
    /// Whether there is nothing to be told.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Tells one client, if it is still the one with this number.
    pub fn tell(&mut self, to: u32, id: u64, cause: Option<Cause>, push: &Push) {
        let head = self.keep(&push.head);
        let body = self.encoded(&push.body);
        let start = self.receivers.len();
        self.receivers.push(to);
        self.entries.push(Entry {
            head,
            body,
            to: start..self.receivers.len(),
            id: Some(id),
            cause,
        });
    }

    /// Tells many, whose keys these are.
    ///
    /// # Errors
    /// There is no memory for it, and they are not told.
    pub(super) fn tell_all(
        &mut self,
        to: &[u32],
        head: impl FnOnce(&mut Vec<u8>),
        text: &mut Text<'_>,
        cause: Option<Cause>,
    ) -> Result<(), OutOfMemory> {
        let body = self.body(text)?;
        let start = self.texts.len();
        head(&mut self.texts);
        let head = start..self.texts.len();
        let start = self.receivers.len();
        self.receivers.extend_from_slice(to);
        self.entries.push(Entry {
            head,
            body,
            to: start..self.receivers.len(),
            id: None,
            cause,
        });
        Ok(())
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.texts.len();
        self.texts.extend_from_slice(bytes);
        start..self.texts.len()
    }

    fn encoded(&mut self, body: &Bytes) -> Kept {
        match body.len() >= SHARED_BYTES_MIN {
            true => Kept::Shared(body.clone()),
            false => Kept::Short(self.keep(body)),
        }
    }

    /// The body of a message, kept once for all who are told it.
    fn body(&mut self, message: &mut Text<'_>) -> Result<Kept, OutOfMemory> {
        if let Some(kept) = &message.kept {
            return Ok(kept.clone());
        }
        let kept = match message.text {
            Source::Encoded(body) => self.encoded(body),
            Source::Plain(text) if message.channel.len() + text.len() < SHARED_BYTES_MIN => {
                let start = self.texts.len();
                append(&mut self.texts, message.channel);
                append(&mut self.texts, text);
                Kept::Short(start..self.texts.len())
            }
            Source::Plain(text) => Kept::Shared(super::encode(message.channel, text)?.into()),
        };
        message.kept = Some(kept.clone());
        Ok(kept)
    }

    /// Hands out what there is to be told, in order, and forgets it.
    pub fn drain(&mut self, mut tell: impl FnMut(Told<'_>)) {
        let Self {
            entries,
            texts,
            receivers,
        } = self;
        for entry in entries.drain(..) {
            let body = match &entry.body {
                Kept::Short(range) => Body::Short(&texts[range.clone()]),
                Kept::Shared(bytes) => Body::Shared(bytes),
            };
            for to in &receivers[entry.to] {
                tell(Told {
                    to: *to,
                    id: entry.id,
                    cause: entry.cause.filter(|cause| cause.key == *to),
                    head: &texts[entry.head.clone()],
                    body: body.clone(),
                });
            }
        }
        texts.clear();
        texts.shrink_to(KEEP);
        receivers.clear();
        receivers.shrink_to(KEEP / size_of::<u32>());
        entries.shrink_to(KEEP / size_of::<Entry>());
    }
}
