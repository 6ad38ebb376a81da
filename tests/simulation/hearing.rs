//! A world of clients who write, publish and listen, on several nodes.
//!
//! Each writes numbers that grow to keys of its own, and publishes beside it, in pipelines.
//! A message says which of the numbers were sent before it, so whoever reads such a key
//! after anybody has got the message must find at least that. Nobody waits for replies.

use crate::client::end_of_reply;
use crate::network::Network;
use crate::rng::Rng;
use shards::command::OwnedArgs;
use shards::order::{Call, Client, Node, Placement, Publisher};
use shards::pubsub::{Audience, Body, Kind};
use shards::replies::{Pending, Replies};
use shards::resp::Protocol;
use shards::{Settings, Shard, ShardId, UnixMs, row};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

const NOW: UnixMs = UnixMs(1_700_000_000_000);
/// Keys of each client.
const KEYS: usize = 4;
const CHANNELS: usize = 3;
/// Replies that a client may be owed.
const PLACES_MAX: usize = 24;

/// The rule that a run breaks, to see whether the checks notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    Nothing,
    /// What concerns only listeners of the publisher's core is told at once, whatever that
    /// has under way.
    AtOnce,
    /// Boxes are opened as they come.
    NoFrontier,
    /// Nodes do not know who listens elsewhere.
    Alone,
    /// What a client sends to one shard does not follow what it has sent to several.
    UnfollowedConvoy,
    /// A client that goes is forgotten by nobody.
    Inherits,
}

/// What a reply is to.
enum Asked {
    Write,
    Publish(usize),
    Subscribe(usize),
    Unsubscribe,
    /// At least this must be found.
    Read(u64),
}

struct Person {
    id: u64,
    home: ShardId,
    replies: Replies,
    asked: VecDeque<Asked>,
    received: Vec<u8>,
    /// What it has written to its keys.
    written: [u64; KEYS],
    numbers: u64,
    /// What it has asked to listen to, and since when it knows that it does.
    wants: Option<usize>,
    listens: Option<usize>,
}

struct Message {
    by: u64,
    channel: usize,
    floors: [u64; KEYS],
    begun: usize,
    /// When it was answered, and with which count.
    answered: Option<(usize, u64)>,
    told: u64,
}

/// From the confirmation that a client listens until it asks to leave.
struct Period {
    /// All channels if none.
    channel: Option<usize>,
    confirmed: Option<usize>,
    left: Option<usize>,
    /// It has gone without reading to the end.
    gone: bool,
    messages: Vec<usize>,
    who: u64,
}

pub struct Hearing {
    nodes: Vec<Node>,
    rng: Rng,
    broken: Broken,
    people: Vec<Person>,
    next_id: u64,
    network: Network,
    messages: Vec<Message>,
    periods: Vec<Period>,
    /// What everybody may rely on, by client.
    floors: HashMap<u64, [u64; KEYS]>,
    now: usize,
    pub wrong: Option<String>,
    pub heard: usize,
    pub requests: usize,
    weights: [usize; 3],
}

fn key(id: u64, at: usize) -> String {
    format!("k:{id}:{at}")
}

fn channel(channel: usize) -> String {
    format!("c{channel}")
}

impl Hearing {
    pub fn new(seed: u64, broken: Broken) -> Self {
        let mut rng = Rng::new(seed);
        let shards = 1 + rng.below(4) as u16;
        let hash_seed = rng.next();
        let shared = Arc::new(Audience::new(shards));
        let node = |id| {
            let slots = ShardId(id).slots(shards);
            let shard = Shard::new(1, slots, hash_seed, Settings::default());
            let mut node = Node::new(ShardId(id), shards, shard, hash_seed);
            let audience = match broken {
                Broken::Alone => Arc::new(Audience::new(shards)),
                _ => Arc::clone(&shared),
            };
            node.share_audience(audience);
            node
        };
        let people = 3 + rng.below(8) as u64;
        let person = |id| Person::new(id, ShardId((id % u64::from(shards)) as u16));
        Self {
            nodes: (0..shards).map(node).collect(),
            broken,
            people: (0..people).map(person).collect(),
            next_id: people,
            network: Network::new(usize::from(shards)),
            messages: Vec::new(),
            periods: Vec::new(),
            floors: HashMap::new(),
            now: 0,
            wrong: None,
            heard: 0,
            requests: 0,
            weights: [20, 40, 20].map(|weight| 1 + rng.below(weight * 2)),
            rng,
        }
    }

    /// Lets things happen until so many requests have been sent and all has arrived; what
    /// was wrong.
    pub fn run(&mut self, requests: usize) -> Result<(), String> {
        while self.requests < requests && self.wrong.is_none() {
            let [act, deliver, publish] = self.weights;
            let at = self.rng.below(act + deliver + publish + 1);
            if at < act {
                self.act();
            } else if at < act + deliver {
                self.deliver();
            } else if at < act + deliver + publish {
                let node = self.rng.below(self.nodes.len());
                self.network.publish(node, &mut self.nodes[node]);
            } else if self.rng.one_in(8) {
                self.leave();
            }
        }
        loop {
            for (at, node) in self.nodes.iter_mut().enumerate() {
                self.network.publish(at, node);
            }
            if !self.deliver() {
                break;
            }
            while self.deliver() {}
        }
        match self.wrong.take() {
            Some(wrong) => Err(wrong),
            None => self.check(),
        }
    }

    /// A client goes, and another takes its place.
    fn leave(&mut self) {
        let index = self.rng.below(self.people.len());
        let home = self.people[index].home;
        if self.broken != Broken::Inherits {
            let node = &mut self.nodes[home.index()];
            node.subscriptions_mut().drop_client(index as u32);
        }
        if let Some(period) = self.people[index].listens {
            self.periods[period].gone = true;
        }
        self.people[index] = Person::new(self.next_id, home);
        self.next_id += 1;
    }

    fn act(&mut self) {
        let index = self.rng.below(self.people.len());
        let home = self.people[index].home.index();
        self.catch_up(home);
        for _ in 0..1 + self.rng.below(5) {
            if self.people[index].replies.places() >= PLACES_MAX {
                break;
            }
            self.requests += 1;
            self.now += 1;
            match self.rng.below(14) {
                0..=2 => {
                    let at = self.rng.below(KEYS);
                    self.write(index, &[at]);
                }
                3..=5 => {
                    let first = self.rng.below(KEYS);
                    self.write(index, &[first, (first + 1) % KEYS, (first + 2) % KEYS]);
                }
                6..=9 => self.tell_all(index),
                10 | 11 => self.read_key(index),
                _ => self.turn(index),
            }
            self.hand_out(home);
        }
    }

    /// Writes the client's next number to keys of its own.
    fn write(&mut self, index: usize, keys: &[usize]) {
        let person = &mut self.people[index];
        person.numbers += 1;
        let number = person.numbers;
        let mut words = vec![if keys.len() == 1 { "set" } else { "mset" }.to_owned()];
        for at in keys {
            person.written[*at] = number;
            words.extend([key(person.id, *at), number.to_string()]);
        }
        self.request(index, &words, Asked::Write);
    }

    /// Reads a key that somebody has written.
    fn read_key(&mut self, index: usize) {
        let at = self.rng.below(KEYS);
        let (id, floor) = if self.rng.one_in(3) {
            let person = &self.people[index];
            (person.id, person.written[at])
        } else {
            let other = self.people[self.rng.below(self.people.len())].id;
            (
                other,
                self.floors.get(&other).map_or(0, |floors| floors[at]),
            )
        };
        self.request(index, &["get".to_owned(), key(id, at)], Asked::Read(floor));
    }

    fn request(&mut self, index: usize, words: &[String], asked: Asked) {
        let request = OwnedArgs::new(words.iter().map(String::as_bytes));
        let (args, row) = (request.args(), row(&words[0]).unwrap());
        let call = Call {
            alone: true,
            ..Call::of(row)
        };
        let person = &mut self.people[index];
        person.asked.push_back(asked);
        let node = &mut self.nodes[person.home.index()];
        match node.place(row, args) {
            Placement::Several(owners) => {
                let client = person.client(index, Pending::Transaction);
                node.begin(NOW, client, call, row, args, owners);
            }
            Placement::One(owner) if owner == person.home && !person.replies.is_waiting() => {
                if node.must_wait(&call, args) {
                    let client = person.client(index, Pending::Single);
                    return node.park(NOW, client, call, args);
                }
                let mut out = Vec::new();
                let applied = node.shard_mut().apply(NOW, &call.request(args), &mut out);
                applied.unwrap();
                person.reply(&out);
            }
            Placement::One(owner) => {
                let follows = person.replies.waits_for(Pending::Transaction);
                if follows && self.broken != Broken::UnfollowedConvoy {
                    node.follow_convoy();
                }
                let client = person.client(index, Pending::Single);
                node.send(owner, client, call, args);
            }
        }
    }

    /// Publishes, as the server does.
    fn tell_all(&mut self, index: usize) {
        let to = self.rng.below(CHANNELS);
        let person = &mut self.people[index];
        let text = self.messages.len().to_string();
        person.asked.push_back(Asked::Publish(self.messages.len()));
        self.messages.push(Message {
            by: person.id,
            channel: to,
            floors: person.written,
            begun: self.now,
            answered: None,
            told: 0,
        });
        let node = &mut self.nodes[person.home.index()];
        let (name, text) = (channel(to), text.as_bytes());
        if self.broken == Broken::AtOnce || !person.replies.is_waiting() {
            let heard = node.publish_here(Kind::Channel, name.as_bytes(), text, None);
            if let Some(heard) = heard.unwrap() {
                return person.reply(format!(":{heard}\r\n").as_bytes());
            }
        }
        let client = person.client(index, Pending::Single);
        let by = Publisher::Client { client, row: 0 };
        let published = node.publish(by, Kind::Channel, name.as_bytes(), text);
        published.unwrap();
    }

    /// Begins to listen, or ends it.
    fn turn(&mut self, index: usize) {
        let some = self.rng.below(CHANNELS + 1);
        let person = &mut self.people[index];
        let subscriptions = self.nodes[person.home.index()].subscriptions_mut();
        let what = |channel_of: Option<usize>| match channel_of {
            Some(number) => (Kind::Channel, channel(number)),
            None => (Kind::Pattern, "c*".to_owned()),
        };
        if let Some(period) = person.wants.take() {
            let (kind, name) = what(self.periods[period].channel);
            subscriptions.unsubscribe(index as u32, kind, name.as_bytes());
            self.periods[period].left = Some(self.now);
            person.asked.push_back(Asked::Unsubscribe);
            return person.reply(b"+left\r\n");
        }
        let channel = (some < CHANNELS).then_some(some);
        let (kind, name) = what(channel);
        let subscribed = subscriptions.subscribe(index as u32, kind, name.as_bytes());
        subscribed.unwrap();
        person.wants = Some(self.periods.len());
        person.asked.push_back(Asked::Subscribe(self.periods.len()));
        self.periods.push(Period {
            channel,
            confirmed: None,
            left: None,
            gone: false,
            messages: Vec::new(),
            who: person.id,
        });
        person.reply(b"+listens\r\n");
    }

    /// Gives clients what a node has for them, and has them read it.
    fn hand_out(&mut self, node: usize) {
        let people = &mut self.people;
        while self.nodes[node].has_replies() {
            self.nodes[node].replies(|replied| {
                let person = &mut people[replied.client.key as usize];
                if person.id == replied.client.id {
                    let answered = person
                        .replies
                        .answer(replied.client.place, &replied.whole());
                    answered.expect("there is memory");
                }
            });
        }
        let messages = &mut self.messages;
        self.nodes[node].told(|told| {
            let Body::Short(body) = told.body else {
                panic!("it is short");
            };
            messages[number_in(body)].told += 1;
            let replies = &mut people[told.to as usize].replies;
            let pushed = replies.tell(&told, Protocol::Resp3, usize::MAX);
            assert_eq!(pushed, Ok(()), "there is memory");
        });
        for index in 0..self.people.len() {
            if self.people[index].home.index() == node {
                self.read(index);
            }
        }
    }

    /// A client reads what has come.
    fn read(&mut self, index: usize) {
        self.now += 1;
        let person = &mut self.people[index];
        person.replies.check_invariants();
        while person.replies.has_output() {
            let output = person.replies.take_output();
            person.received.extend_from_slice(&output);
            person.replies.sent();
        }
        while let Some(end) = end_of_reply(&self.people[index].received) {
            let reply: Vec<u8> = self.people[index].received.drain(..end).collect();
            let judged = match reply[0] {
                b'>' => self.read_message(index, &reply),
                _ => self.read_reply(index, &reply),
            };
            if let Err(wrong) = judged {
                let id = self.people[index].id;
                self.wrong.get_or_insert(format!("client {id}: {wrong}"));
            }
        }
    }

    fn read_message(&mut self, index: usize, push: &[u8]) -> Result<(), String> {
        let number = number_in(push);
        let message = &self.messages[number];
        let person = &mut self.people[index];
        let period = person
            .listens
            .ok_or("a message although it does not listen")?;
        let period = &mut self.periods[period];
        if period
            .channel
            .is_some_and(|channel| channel != message.channel)
        {
            return Err("a message of another channel".into());
        }
        period.messages.push(number);
        self.heard += 1;
        let floors = self.floors.entry(message.by).or_default();
        for (floor, written) in floors.iter_mut().zip(message.floors) {
            *floor = (*floor).max(written);
        }
        Ok(())
    }

    fn read_reply(&mut self, index: usize, reply: &[u8]) -> Result<(), String> {
        let person = &mut self.people[index];
        match person.asked.pop_front().ok_or("a reply to nothing")? {
            Asked::Write => Ok(()),
            Asked::Publish(message) => {
                let heard = std::str::from_utf8(&reply[1..]).unwrap().trim_end();
                let heard = heard.parse().map_err(|_| "no count")?;
                self.messages[message].answered = Some((self.now, heard));
                Ok(())
            }
            Asked::Subscribe(period) => {
                self.periods[period].confirmed = Some(self.now);
                person.listens = Some(period);
                Ok(())
            }
            Asked::Unsubscribe => {
                person.listens = None;
                Ok(())
            }
            Asked::Read(floor) => {
                let text = String::from_utf8_lossy(reply);
                let value = text.split("\r\n").nth(1).and_then(|it| it.parse().ok());
                let value: u64 = value.unwrap_or(0);
                match value >= floor {
                    true => Ok(()),
                    false => Err(format!("read {value}, which is older than {floor}")),
                }
            }
        }
    }

    fn deliver(&mut self) -> bool {
        let mut steps = self.network.steps(&mut self.rng, false);
        steps.any(|(node, pushes)| match pushes {
            true => self.network.push(node),
            false => self.catch_up(node),
        })
    }

    fn catch_up(&mut self, node: usize) -> bool {
        let frontier = match self.broken {
            Broken::NoFrontier => u64::MAX,
            _ => self.network.frontier(),
        };
        let mut any = false;
        for (source, batch) in self.network.take(node) {
            any = true;
            self.nodes[node].receive(source, batch);
        }
        any |= self.nodes[node].catch_up(NOW, frontier);
        self.hand_out(node);
        any
    }

    /// Judges what everybody has been told, now that all has arrived.
    fn check(&self) -> Result<(), String> {
        for node in &self.nodes {
            node.subscriptions().check_invariants();
            if !node.is_at_rest() {
                return Err(format!("node {} is not at rest", node.id().0));
            }
        }
        for (number, message) in self.messages.iter().enumerate() {
            if let Some((_, heard)) = message.answered
                && heard != message.told
            {
                let told = message.told;
                return Err(format!(
                    "message {number}: {heard} is replied, {told} were told"
                ));
            }
        }
        self.periods
            .iter()
            .try_for_each(|period| self.is_complete(period))?;
        self.is_one_order()
    }

    /// All that was sent and answered while somebody knew to listen has come, once.
    fn is_complete(&self, period: &Period) -> Result<(), String> {
        let (Some(from), until) = (period.confirmed, period.left.unwrap_or(usize::MAX)) else {
            return Ok(());
        };
        let who = period.who;
        let mut come = period.messages.clone();
        come.sort_unstable();
        if come.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(format!("client {who} was told something twice"));
        }
        for (number, message) in self.messages.iter().enumerate() {
            let meant = period
                .channel
                .is_none_or(|channel| channel == message.channel);
            let answered = message.answered.is_some_and(|(at, _)| at < until);
            let within = message.begun > from && answered;
            if meant && within && !period.gone && come.binary_search(&number).is_err() {
                return Err(format!("client {who} has missed message {number}"));
            }
        }
        Ok(())
    }

    /// Whoever gets the same messages gets them in the same order, that of each publisher.
    fn is_one_order(&self) -> Result<(), String> {
        let mut lists: HashMap<u64, Vec<usize>> = HashMap::new();
        for period in &self.periods {
            lists
                .entry(period.who)
                .or_default()
                .extend(&period.messages);
        }
        let mut last = HashMap::new();
        for (who, list) in &lists {
            for number in list {
                let before = last.insert((who, self.messages[*number].by), number);
                if before.is_some_and(|before| before > number) {
                    return Err(format!("client {who} was told {number} too late"));
                }
            }
            let places: HashMap<_, _> = list.iter().zip(0..).collect();
            for (other, list) in &lists {
                let common: Vec<i32> = list
                    .iter()
                    .filter_map(|it| places.get(it).copied())
                    .collect();
                if !common.is_sorted() {
                    return Err(format!("clients {who} and {other} differ about the order"));
                }
            }
        }
        Ok(())
    }
}

impl Person {
    fn new(id: u64, home: ShardId) -> Self {
        Self {
            id,
            home,
            replies: Replies::new(),
            asked: VecDeque::new(),
            received: Vec::new(),
            written: [0; KEYS],
            numbers: 0,
            wants: None,
            listens: None,
        }
    }

    /// The reply to what it has asked last, which has been run at once.
    fn reply(&mut self, reply: &[u8]) {
        let buffer = self.replies.reply_buffer();
        let before = buffer.len();
        buffer.extend_from_slice(reply);
        self.replies.reply_written(before, false);
    }

    /// Takes a place for that reply.
    fn client(&mut self, index: usize, pending: Pending) -> Client {
        Client {
            key: index as u32,
            id: self.id,
            place: self.replies.wait_for(pending, false),
        }
    }
}

/// The number that a message is.
fn number_in(message: &[u8]) -> usize {
    let text = String::from_utf8_lossy(message);
    let lines = text.split_terminator("\r\n");
    let number = lines.last().and_then(|line| line.parse().ok());
    number.expect("a message is a number")
}
