//! The subscriptions of one node's clients.
//!
//! ```text
//!   names ──▶ topic: name, who listens ──▶ [client, client, …]
//!                        ▲                    ▲ position
//!   client ──▶ topic ────┴────────────────────┘
//! ```
//!
//! A topic is a channel or a pattern with at least one listener. A client knows at which
//! position of a topic's list it stands, so whoever leaves is found without a search, and a
//! client's end costs in proportion to what it listens to. What a client listens to
//! is told by its key; the server says when a client ends.
//!
//! A message must be compared with patterns. They are found by what they begin with before
//! their first special byte, up to eight bytes: a message looks up each length that
//! occurs, and is compared only with patterns that begin as its channel does.

use super::audience::{Audience, CELLS, cell};
use super::outgoing::{Cause, Outgoing, Text};
use super::{Ears, Kind, Message, append};
use crate::error::OutOfMemory;
use crate::glob;
use crate::types::ShardId;
use ahash::RandomState;
use hashbrown::{HashMap, HashTable};
use slab::Slab;
use std::sync::Arc;

/// Who listens to one topic.
#[derive(Debug)]
enum Listeners {
    One([u32; 1]),
    Many(Vec<u32>),
}

impl Listeners {
    fn all(&self) -> &[u32] {
        match self {
            Self::One(one) => one,
            Self::Many(many) => many,
        }
    }
}

#[derive(Debug)]
struct Topic {
    name: Box<[u8]>,
    /// Its number among all that have appeared here.
    number: u64,
    listeners: Listeners,
}

/// All topics of one kind.
#[derive(Debug, Default)]
struct Topics {
    by_name: HashTable<u32>,
    topics: Slab<Topic>,
}

/// The number of a topic in a slab, which has fewer than 2^32.
fn number(key: usize) -> u32 {
    u32::try_from(key).expect("a topic takes more than a byte")
}

/// A hash of a topic's number: a permutation, so that neighbours lie apart.
fn spread(topic: u32) -> u64 {
    u64::from(topic).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// What one client listens to: per kind, topics, each with the client's position there.
#[derive(Debug, Default)]
struct Subscriber {
    topics: [HashTable<(u32, u32)>; 3],
}

/// Topics of one client for which memory is kept.
const SPARE_TOPICS: usize = 64;

/// What patterns begin with: how many bytes, and these.
type Beginning = (u8, [u8; 8]);

/// Where patterns are found.
#[derive(Debug)]
struct Patterns {
    by_beginning: HashMap<Beginning, Vec<u32>, RandomState>,
    /// How many beginnings there are of each length.
    lengths: [u32; 9],
    /// Where each pattern stands in its list.
    positions: Vec<u32>,
}

/// See the module.
pub struct Subscriptions {
    node: ShardId,
    hasher: RandomState,
    audience: Arc<Audience>,
    kinds: [Topics; 3],
    subscribers: HashMap<u32, Subscriber, RandomState>,
    patterns: Patterns,
    /// How many topics fall into each cell of the audience, none before the first. Who has
    /// come to the end of counting counts no more: the mark stays.
    marks: Vec<u8>,
}

impl Subscriptions {
    /// None yet. All nodes are given the same `hasher` and audience.
    pub fn new(node: ShardId, hasher: &RandomState, audience: Arc<Audience>) -> Self {
        Self {
            node,
            hasher: hasher.clone(),
            audience,
            kinds: Default::default(),
            subscribers: HashMap::with_hasher(hasher.clone()),
            patterns: Patterns {
                by_beginning: HashMap::with_hasher(hasher.clone()),
                lengths: [0; 9],
                positions: Vec::new(),
            },
            marks: Vec::new(),
        }
    }

    fn hash(&self, kind: Kind, name: &[u8]) -> u64 {
        self.hasher.hash_one((kind as u8, name))
    }

    /// On which nodes somebody may listen to a channel.
    #[inline]
    pub fn ears(&self, kind: Kind, channel: &[u8]) -> Ears {
        self.audience.of(kind, self.hash(kind, channel))
    }

    /// How many topics have appeared on a node: to be asked after [`Subscriptions::ears`].
    pub fn topics_of(&self, node: ShardId) -> u64 {
        self.audience.topics_of(node)
    }

    /// Tells a message that has come from some node to whoever listens here; how many
    /// there are. Nobody hears it of a topic that has appeared behind the first `known`.
    pub fn hear(
        &self,
        message: &Message,
        known: u64,
        cause: Option<Cause>,
        out: &mut Outgoing,
    ) -> u64 {
        let topic = (message.kind, self.hash(message.kind, message.channel()));
        let heard = self.publish(topic, known, &mut Text::of(message), cause, out);
        // It is encoded already.
        heard.unwrap_or(0)
    }

    /// Tells a message to all who listen, if that can only be clients of this node; how many
    /// there are.
    ///
    /// # Errors
    /// There is no memory for it, and nobody is told.
    pub fn publish_here(
        &self,
        kind: Kind,
        (channel, text): (&[u8], &[u8]),
        cause: Option<Cause>,
        out: &mut Outgoing,
    ) -> Result<Option<u64>, OutOfMemory> {
        let hash = self.hash(kind, channel);
        let ears = self.audience.of(kind, hash);
        if ears.is_empty() {
            return Ok(Some(0));
        }
        if !ears.are_only_of(self.node) {
            return Ok(None);
        }
        let mut text = Text::plain(channel, text);
        self.publish((kind, hash), u64::MAX, &mut text, cause, out)
            .map(Some)
    }

    /// A client listens to a topic from now on; false if it did before.
    ///
    /// # Errors
    /// There is no memory for it, and nothing has changed.
    pub fn subscribe(&mut self, client: u32, kind: Kind, name: &[u8]) -> Result<bool, OutOfMemory> {
        let hash = self.hash(kind, name);
        let topics = &mut self.kinds[kind as usize];
        let found = topics.find(hash, name);
        self.subscribers.try_reserve(1).map_err(|_| OutOfMemory)?;
        let subscriber = self.subscribers.entry(client).or_default();
        let held = &mut subscriber.topics[kind as usize];
        let is = |topic: u32| move |entry: &(u32, u32)| entry.0 == topic;
        if let Some(topic) = found
            && held.find(spread(topic), is(topic)).is_some()
        {
            return Ok(false);
        }
        let room = held.try_reserve(1, |entry| spread(entry.0)).is_ok();
        let count = || self.audience.count_topic(self.node);
        let added = match room {
            true => topics.add((hash, name), client, found, count, |name| {
                self.hasher.hash_one((kind as u8, name))
            }),
            false => Err(OutOfMemory),
        };
        let (topic, position) = match added {
            Ok(added) => added,
            Err(error) => {
                self.forget_if_idle(client);
                return Err(error);
            }
        };
        held.insert_unique(spread(topic), (topic, position), |entry| spread(entry.0));
        if found.is_none() {
            self.appeared(kind, hash, topic, name);
        }
        Ok(true)
    }

    /// A client no longer listens to a topic; false if it did not.
    pub fn unsubscribe(&mut self, client: u32, kind: Kind, name: &[u8]) -> bool {
        let hash = self.hash(kind, name);
        let Some(topic) = self.kinds[kind as usize].find(hash, name) else {
            return false;
        };
        let Some(subscriber) = self.subscribers.get_mut(&client) else {
            return false;
        };
        let held = &mut subscriber.topics[kind as usize];
        let Ok(entry) = held.find_entry(spread(topic), |entry| entry.0 == topic) else {
            return false;
        };
        let ((_, position), _) = entry.remove();
        if held.capacity() > SPARE_TOPICS && held.len() * 8 < held.capacity() {
            held.shrink_to(held.len() * 2, |entry| spread(entry.0));
        }
        self.leave(kind, topic, position);
        self.forget_if_idle(client);
        true
    }

    /// To how many topics of a kind a client listens.
    pub fn count(&self, client: u32, kind: Kind) -> usize {
        let subscriber = self.subscribers.get(&client);
        subscriber.map_or(0, |it| it.topics[kind as usize].len())
    }

    /// A client no longer listens to any topic of a kind; `tell` learns of each, and how many
    /// are left.
    pub fn unsubscribe_all(&mut self, client: u32, kind: Kind, mut tell: impl FnMut(&[u8], usize)) {
        let Some(subscriber) = self.subscribers.get_mut(&client) else {
            return;
        };
        // At once: to look for the next one in a table that empties takes ever longer.
        let held = std::mem::take(&mut subscriber.topics[kind as usize]);
        let mut left = held.len();
        for (topic, position) in held {
            left -= 1;
            if let Some(Topic { name, .. }) = self.kinds[kind as usize].topics.get(topic as usize) {
                tell(name, left);
            }
            self.leave(kind, topic, position);
        }
        self.forget_if_idle(client);
    }

    /// A client has gone, or listens to nothing any more.
    pub fn drop_client(&mut self, client: u32) {
        let Some(subscriber) = self.subscribers.remove(&client) else {
            return;
        };
        for (kind, topics) in Kind::ALL.into_iter().zip(subscriber.topics) {
            for (topic, position) in topics {
                self.leave(kind, topic, position);
            }
        }
        if self.subscribers.is_empty() {
            self.subscribers = HashMap::with_hasher(self.hasher.clone());
        }
    }

    fn forget_if_idle(&mut self, client: u32) {
        let idle = |it: &Subscriber| it.topics.iter().all(HashTable::is_empty);
        if self.subscribers.get(&client).is_some_and(idle) {
            self.drop_client(client);
        }
    }

    /// The client at a position of a topic's list has been removed from its own.
    fn leave(&mut self, kind: Kind, topic: u32, position: u32) {
        let topics = &mut self.kinds[kind as usize];
        match topics.remove(topic, position) {
            Left::Nobody => {
                let name = topics.topics.remove(topic as usize).name;
                let hash = self.hash(kind, &name);
                let topics = &mut self.kinds[kind as usize];
                if let Ok(entry) = topics.by_name.find_entry(hash, |it| *it == topic) {
                    entry.remove();
                }
                topics.give_back(|name| self.hasher.hash_one((kind as u8, name)));
                self.disappeared(kind, hash, topic, &name);
            }
            Left::Moved(client) => {
                let moved = self.subscribers.get_mut(&client);
                let entry = moved.and_then(|it| {
                    it.topics[kind as usize].find_mut(spread(topic), |entry| entry.0 == topic)
                });
                if let Some(entry) = entry {
                    entry.1 = position;
                }
            }
            Left::Others => {}
        }
    }

    /// A topic has its first listener.
    fn appeared(&mut self, kind: Kind, hash: u64, topic: u32, name: &[u8]) {
        if kind == Kind::Pattern {
            self.patterns.add(topic, name);
            self.audience.set_patterns(self.node, true);
            return;
        }
        if self.marks.is_empty() {
            self.marks = vec![0; CELLS];
        }
        let count = &mut self.marks[cell(hash)];
        *count = count.saturating_add(1);
        self.audience.mark(self.node, hash);
    }

    /// A topic has lost its last one.
    fn disappeared(&mut self, kind: Kind, hash: u64, topic: u32, name: &[u8]) {
        if kind == Kind::Pattern {
            self.patterns.remove(topic, name);
            let any = !self.kinds[kind as usize].topics.is_empty();
            self.audience.set_patterns(self.node, any);
            return;
        }
        let count = &mut self.marks[cell(hash)];
        if *count < u8::MAX {
            *count -= 1;
            if *count == 0 {
                self.audience.unmark(self.node, hash);
            }
        }
    }

    /// Tells a message to all clients of this node that listen to its channel; how many
    /// there are, counted once for each topic, as in Redis.
    ///
    /// # Errors
    /// There is no memory for it, and nobody is told.
    fn publish(
        &self,
        (kind, hash): (Kind, u64),
        known: u64,
        text: &mut Text<'_>,
        cause: Option<Cause>,
        out: &mut Outgoing,
    ) -> Result<u64, OutOfMemory> {
        let channel = text.channel;
        let mut heard = 0;
        let topics = &self.kinds[kind as usize];
        if let Some(topic) = topics.find(hash, channel)
            && let topic = &topics.topics[topic as usize]
            && topic.number <= known
        {
            let listeners = topic.listeners.all();
            let head: &[u8] = match kind {
                Kind::Sharded => b">3\r\n$8\r\nsmessage\r\n",
                Kind::Channel | Kind::Pattern => b">3\r\n$7\r\nmessage\r\n",
            };
            out.tell_all(listeners, |out| out.extend_from_slice(head), text, cause)?;
            heard += listeners.len() as u64;
        }
        if kind != Kind::Channel || self.patterns.by_beginning.is_empty() {
            return Ok(heard);
        }
        let patterns = &self.kinds[Kind::Pattern as usize].topics;
        for list in self.patterns.candidates(channel) {
            for topic in list {
                let Topic {
                    name,
                    number,
                    listeners,
                } = &patterns[*topic as usize];
                if *number > known || !glob::matches(name, channel) {
                    continue;
                }
                let head = |out: &mut Vec<u8>| {
                    out.extend_from_slice(b">4\r\n$8\r\npmessage\r\n");
                    append(out, name);
                };
                out.tell_all(listeners.all(), head, text, cause)?;
                heard += listeners.all().len() as u64;
            }
        }
        Ok(heard)
    }

    /// The names of a kind.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &[u8]> {
        let topics = self.kinds[kind as usize].topics.iter();
        topics.map(|(_, topic)| &*topic.name)
    }

    /// A number for each name, the same on all nodes.
    pub fn hashes(&self, kind: Kind) -> impl Iterator<Item = u64> {
        self.names(kind).map(move |name| self.hash(kind, name))
    }

    /// How many clients listen to a topic.
    pub fn listeners(&self, kind: Kind, name: &[u8]) -> usize {
        let topics = &self.kinds[kind as usize];
        let found = topics.find(self.hash(kind, name), name);
        found.map_or(0, |topic| {
            topics.topics[topic as usize].listeners.all().len()
        })
    }

    /// Whether everything fits together; for tests.
    pub fn check_invariants(&self) {
        for (kind, topics) in Kind::ALL.into_iter().zip(&self.kinds) {
            assert_eq!(topics.by_name.len(), topics.topics.len());
            let mut edges = 0;
            for (
                topic,
                Topic {
                    name, listeners, ..
                },
            ) in &topics.topics
            {
                assert_eq!(
                    topics.find(self.hash(kind, name), name),
                    Some(number(topic))
                );
                assert!(!listeners.all().is_empty());
                for (position, client) in listeners.all().iter().enumerate() {
                    let held = &self.subscribers[client].topics[kind as usize];
                    let topic = number(topic);
                    let found = held.find(spread(topic), |entry| entry.0 == topic);
                    assert_eq!(found.map(|entry| entry.1 as usize), Some(position));
                    edges += 1;
                }
                let ears = match kind {
                    Kind::Pattern => self.audience.of(Kind::Channel, 0),
                    _ => self.ears(kind, name),
                };
                assert!(ears.nodes().any(|node| node == self.node));
            }
            let held = |it: &Subscriber| it.topics[kind as usize].len();
            assert_eq!(self.subscribers.values().map(held).sum::<usize>(), edges);
        }
        let lists = self.patterns.by_beginning.values();
        let patterns = &self.kinds[Kind::Pattern as usize];
        assert_eq!(lists.map(Vec::len).sum::<usize>(), patterns.topics.len());
        let idle = |it: &Subscriber| it.topics.iter().all(HashTable::is_empty);
        assert!(!self.subscribers.values().any(idle));
    }
}

/// What is left of a topic when one has gone.
enum Left {
    Nobody,
    Others,
    /// This client has taken the place of who has gone.
    Moved(u32),
}

impl Topics {
    fn find(&self, hash: u64, name: &[u8]) -> Option<u32> {
        let is = |topic: &u32| *self.topics[*topic as usize].name == *name;
        self.by_name.find(hash, is).copied()
    }

    /// Adds a client to the topic that was `found`, or to a new one; which it is, and the
    /// client's position there. `count` numbers topics as they appear.
    fn add(
        &mut self,
        (hash, name): (u64, &[u8]),
        client: u32,
        found: Option<u32>,
        count: impl FnOnce() -> u64,
        hash_of: impl Fn(&[u8]) -> u64,
    ) -> Result<(u32, u32), OutOfMemory> {
        let Some(topic) = found else {
            let mut own = Vec::new();
            own.try_reserve_exact(name.len())?;
            own.extend_from_slice(name);
            let Self { by_name, topics } = self;
            by_name
                .try_reserve(1, |topic| hash_of(&topics[*topic as usize].name))
                .map_err(|_| OutOfMemory)?;
            let topic = number(topics.insert(Topic {
                name: own.into(),
                number: count(),
                listeners: Listeners::One([client]),
            }));
            by_name.insert_unique(hash, topic, |topic| hash_of(&topics[*topic as usize].name));
            return Ok((topic, 0));
        };
        let listeners = &mut self.topics[topic as usize].listeners;
        match listeners {
            Listeners::One([first]) => {
                let mut many = Vec::new();
                many.try_reserve(2)?;
                many.extend([*first, client]);
                *listeners = Listeners::Many(many);
                Ok((topic, 1))
            }
            Listeners::Many(many) => {
                many.try_reserve(1)?;
                many.push(client);
                Ok((topic, number(many.len() - 1)))
            }
        }
    }

    fn remove(&mut self, topic: u32, position: u32) -> Left {
        let listeners = &mut self.topics[topic as usize].listeners;
        let Listeners::Many(many) = listeners else {
            return Left::Nobody;
        };
        many.swap_remove(position as usize);
        let moved = many.get(position as usize).copied();
        match many[..] {
            [only] => *listeners = Listeners::One([only]),
            _ if many.len() * 4 < many.capacity() => many.shrink_to(many.len() * 2),
            _ => {}
        }
        moved.map_or(Left::Others, Left::Moved)
    }

    /// Gives memory back that was needed for more topics.
    fn give_back(&mut self, hash_of: impl Fn(&[u8]) -> u64) {
        let Self { by_name, topics } = self;
        if topics.is_empty() {
            *self = Self::default();
        } else if by_name.len() * 8 < by_name.capacity() {
            by_name.shrink_to(by_name.len() * 2, |topic| {
                hash_of(&topics[*topic as usize].name)
            });
        }
    }
}

impl Patterns {
    /// What a pattern begins with, and as many bytes of a channel must be.
    fn beginning(pattern: &[u8]) -> Beginning {
        let special = |byte: &u8| matches!(byte, b'*' | b'?' | b'[' | b'\\');
        let literal = pattern.iter().position(special).unwrap_or(pattern.len());
        Self::cut(pattern, literal.min(8))
    }

    fn cut(text: &[u8], length: usize) -> Beginning {
        let mut bytes = [0; 8];
        bytes[..length].copy_from_slice(&text[..length]);
        // Up to eight.
        (length as u8, bytes)
    }

    fn add(&mut self, topic: u32, pattern: &[u8]) {
        let beginning = Self::beginning(pattern);
        let list = self.by_beginning.entry(beginning).or_default();
        if list.is_empty() {
            self.lengths[usize::from(beginning.0)] += 1;
        }
        let at = topic as usize;
        if self.positions.len() <= at {
            self.positions.resize(at + 1, 0);
        }
        self.positions[at] = number(list.len());
        list.push(topic);
    }

    fn remove(&mut self, topic: u32, pattern: &[u8]) {
        let beginning = Self::beginning(pattern);
        let Some(list) = self.by_beginning.get_mut(&beginning) else {
            return;
        };
        let at = self.positions[topic as usize];
        list.swap_remove(at as usize);
        if let Some(moved) = list.get(at as usize) {
            self.positions[*moved as usize] = at;
        }
        if list.is_empty() {
            self.by_beginning.remove(&beginning);
            self.lengths[usize::from(beginning.0)] -= 1;
        }
        if self.by_beginning.is_empty() {
            self.by_beginning.shrink_to_fit();
            self.positions = Vec::new();
        }
    }

    /// Lists of patterns that begin as a channel does.
    fn candidates<'a>(&'a self, channel: &[u8]) -> impl Iterator<Item = &'a Vec<u32>> {
        let lengths = self.lengths.iter().enumerate().take(channel.len() + 1);
        let used = lengths.filter(|(_, count)| **count > 0);
        used.filter_map(|(length, _)| self.by_beginning.get(&Self::cut(channel, length)))
    }
}

#[cfg(test)]
mod tests;
