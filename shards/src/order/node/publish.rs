//! Messages to whoever listens, and what single clients are told unasked.
//!
//! A message goes in boxes of one stamp to all nodes where somebody may listen, this one
//! included. As all nodes open boxes in one order, everybody gets messages in one order,
//! behind what the publisher has written before, on whatever shards: who gets the
//! message and then asks for that finds it. If nobody but clients of this node may listen, and
//! nothing of the publisher is under way, it is told at once.
//!
//! Each node says how many have heard the message; the home core adds that up. Nobody waits
//! for it but who has asked.

use super::Node;
use crate::command::OwnedArgs;
use crate::error::OutOfMemory;
use crate::order::batch::Item;
use crate::order::reply::Ran;
use crate::order::ticket::{Client, Ticket};
use crate::pubsub::{Audience, Cause, Ears, Kind, Message, Push, Subscriptions, Told};
use crate::resp::{Protocol, Reply};
use crate::types::ShardId;
use std::sync::Arc;

/// Who wants to know how many have heard a message.
#[derive(Clone, Copy, Debug)]
pub enum Publisher {
    /// Nobody: the server publishes by itself.
    Nobody,
    /// The client, by a reply through [`Node::replies`] to a command of this row.
    Client { client: Client, row: u16 },
    /// The server, by [`Node::heard_within`], for a command of a block of this client.
    Step {
        ticket: Ticket,
        client: Client,
        row: u16,
    },
}

impl Publisher {
    /// The request that has caused the message.
    fn cause(self) -> Option<Cause> {
        match self {
            Self::Nobody => None,
            Self::Client { client, .. } | Self::Step { client, .. } => Some(Cause {
                key: client.key,
                place: client.place,
            }),
        }
    }
}

/// A message that was sent to nodes, not all of which have answered.
pub(super) struct Publication {
    by: Publisher,
    missing: u16,
    heard: u64,
}

/// A command of a block has published something that so many have heard.
#[derive(Clone, Copy, Debug)]
pub struct HeardWithin {
    pub ticket: Ticket,
    pub client: Client,
    pub row: u16,
    pub heard: u64,
}

impl Node {
    /// Where clients of all nodes listen. To be given before any subscribes; a node that is
    /// given none is alone.
    pub fn share_audience(&mut self, audience: Arc<Audience>) {
        let hasher = &self.topic_hasher;
        self.site.subscriptions = Subscriptions::new(self.site.id, hasher, audience);
    }

    /// What clients of this core listen to.
    pub fn subscriptions(&self) -> &Subscriptions {
        &self.site.subscriptions
    }

    /// See [`Node::subscriptions`].
    pub fn subscriptions_mut(&mut self) -> &mut Subscriptions {
        &mut self.site.subscriptions
    }

    /// Whether somebody on any core may listen to a channel.
    #[inline]
    pub fn is_heard(&self, kind: Kind, channel: &[u8]) -> bool {
        !self.site.subscriptions.ears(kind, channel).is_empty()
    }

    /// Tells a message at once if nobody on another core may listen to it: how many have
    /// heard it.
    ///
    /// # Errors
    /// There is no memory for it, and nobody has heard it.
    pub fn publish_here(
        &mut self,
        kind: Kind,
        channel: &[u8],
        text: &[u8],
        cause: Option<Cause>,
    ) -> Result<Option<u64>, OutOfMemory> {
        let (subscriptions, told) = (&self.site.subscriptions, &mut self.site.told);
        subscriptions.publish_here(kind, (channel, text), cause, told)
    }

    /// Sends a message to all who listen, after all that its publisher has under way. One
    /// that waits for the answer must have a place for it.
    ///
    /// # Errors
    /// There is no memory for it, and nobody hears it.
    pub fn publish(
        &mut self,
        by: Publisher,
        kind: Kind,
        channel: &[u8],
        text: &[u8],
    ) -> Result<(), OutOfMemory> {
        let ears = self.site.subscriptions.ears(kind, channel);
        if ears.is_empty() {
            // What its client sends next follows this, and so what came before.
            self.follow_convoy();
            self.have_heard(by, 0);
            return Ok(());
        }
        self.send_message(by, ears, &Message::new(kind, channel, text)?);
        Ok(())
    }

    fn send_message(&mut self, by: Publisher, ears: Ears, message: &Message) {
        self.follow_convoy();
        let asks = !matches!(by, Publisher::Nobody);
        let number = asks.then(|| {
            let publication = Publication {
                by,
                missing: u16::try_from(ears.nodes().count()).unwrap_or(u16::MAX),
                heard: 0,
            };
            self.publications.insert(publication)
        });
        for node in ears.nodes() {
            let item = Item::Publish {
                message: message.clone(),
                topics: self.site.subscriptions.topics_of(node),
                cause: by.cause().filter(|_| node == self.site.id),
                publication: number,
                heard: None,
            };
            self.site.post.tell(node, item);
        }
    }

    /// A node has told a message to so many.
    pub(super) fn take_heard(&mut self, publication: usize, heard: u64) {
        let Some(waiting) = self.publications.get_mut(publication) else {
            return;
        };
        waiting.heard += heard;
        waiting.missing -= 1;
        if waiting.missing == 0 {
            let Publication { by, heard, .. } = self.publications.remove(publication);
            self.have_heard(by, heard);
        }
    }

    fn have_heard(&mut self, by: Publisher, heard: u64) {
        match by {
            Publisher::Nobody => {}
            Publisher::Client { client, row } => {
                self.site
                    .post
                    .answer_with(client, row, |out| -> (Ran, Option<Box<OwnedArgs>>) {
                        Reply::new(out, Protocol::Resp2).integer(count(heard));
                        (Ran::ended(false), None)
                    });
            }
            Publisher::Step {
                ticket,
                client,
                row,
            } => self.heard_within.push(HeardWithin {
                ticket,
                client,
                row,
                heard,
            }),
        }
    }

    /// A command of a block of which it is known now how many have heard what it published.
    pub fn heard_within(&mut self) -> Option<HeardWithin> {
        self.heard_within.pop()
    }

    /// Tells one client of core `core` something that it has not asked for: in the order of
    /// boxes, or at once on this core. If that client is gone, nobody is told. `to.place` is
    /// that of the request that has caused it, if `caused`.
    pub fn tell(&mut self, core: ShardId, (to, caused): (Client, bool), push: Push) {
        if core == self.site.id {
            return self.site.tell_here((to, caused), &push);
        }
        let item = Item::Tell { to, caused, push };
        self.site.post.tell(core, item);
    }

    /// Whether clients of this core are to be told something.
    #[inline]
    pub fn has_told(&self) -> bool {
        !self.site.told.is_empty()
    }

    /// Hands out what clients of this core are to be told, and forgets it.
    pub fn told(&mut self, tell: impl FnMut(Told<'_>)) {
        self.site.told.drain(tell);
    }
}

/// As many as a reply can name.
fn count(heard: u64) -> i64 {
    i64::try_from(heard).unwrap_or(i64::MAX)
}
