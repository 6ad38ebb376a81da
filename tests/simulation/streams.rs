//! A world of long replies: lists that only grow, those who append to them, and
//! those who read them in pieces, slowly, or go away before the end.
//!
//! - RPUSH to a list, LMOVE of a token from another list, perhaps of another shard;
//! - LRANGE of a whole list, a piece each time its reader asks for it;
//! - DBSIZE, KEYS and EXISTS of several lists, whose locks come in between;
//! - boxes between nodes arrive in any order that keeps each channel's.
//!
//! What was read must be a beginning of what the list holds in the end: with all
//! that had been appended before the reader asked, and nothing that was appended
//! after it had its answer. When all is over, all nodes are at rest although some
//! readers went away.

use crate::client::Line;
use crate::network::Network;
use crate::rng::Rng;
use shards::command::OwnedArgs;
use shards::order::{Call, Client, Node, Placement, Rest};
use shards::replies::{OUTPUT_BYTES_LOW, Pending};
use shards::{CommandError, LongReplies, Settings, Shard, ShardId, UnixMs, row};
use std::collections::BTreeMap;

const NOW: UnixMs = UnixMs(1_700_000_000_000);
const LISTS: usize = 3;
const CLIENTS: usize = 8;
/// Tokens are elements from this number on.
const TOKEN: u64 = 1 << 32;
/// Rounds of deliveries after which everything must have arrived.
const SETTLED_AFTER: usize = 10_000;

/// What a client has asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Append(usize, u64),
    Read(usize),
    Other,
}

struct Request {
    asked: Asked,
    invoked: usize,
}

struct Person {
    id: u64,
    home: usize,
    line: Line<Request>,
}

/// A list as somebody saw it between two instants.
struct Seen {
    list: usize,
    invoked: usize,
    completed: usize,
    elements: Vec<u64>,
}

pub struct Streams {
    rng: Rng,
    nodes: Vec<Node>,
    network: Network,
    people: Vec<Person>,
    next_id: u64,
    next_element: u64,
    /// Tokens that are not moved yet.
    tokens: u64,
    /// Counts what happens.
    instant: usize,
    /// The list of each element, and when it was asked for and was known to be there.
    appended: BTreeMap<u64, (usize, usize, Option<usize>)>,
    seen: Vec<Seen>,
    pub requests: usize,
    /// Replies that came in several pieces.
    pub long: usize,
    /// Locks are not looked at.
    broken: bool,
}

fn key(list: usize) -> String {
    format!("list:{list}")
}

/// The elements of an array of numbers.
fn elements(reply: &[u8]) -> Result<Vec<u64>, String> {
    let text = String::from_utf8_lossy(reply);
    let mut lines = text.split("\r\n");
    let header = lines.next().unwrap_or_default();
    let numbers = lines.filter(|line| !line.starts_with('$') && !line.is_empty());
    let numbers: Option<Vec<u64>> = numbers.map(|line| line.parse().ok()).collect();
    match numbers {
        Some(numbers) if header == format!("*{}", numbers.len()) => Ok(numbers),
        _ => Err(format!("no array of numbers: {text}")),
    }
}

impl Streams {
    pub fn new(seed: u64, broken: bool) -> Self {
        let mut rng = Rng::new(seed);
        let count = 1 + rng.below(4) as u16;
        let settings = Settings {
            keys_per_step: 1,
            long_replies: LongReplies {
                elements: 1 + rng.below(4),
                bytes: 1 + rng.below(100),
                piece: 1 + rng.below(40),
            },
            ..Settings::default()
        };
        let node = |id| {
            let slots = ShardId(id).slots(count);
            Node::new(
                ShardId(id),
                count,
                Shard::new(1, slots, seed, settings.clone()),
                7,
            )
        };
        let person = |id| Person {
            id,
            home: id as usize % usize::from(count),
            line: Line::new(),
        };
        let mut world = Self {
            nodes: (0..count).map(node).collect(),
            network: Network::new(usize::from(count)),
            people: (0..CLIENTS as u64).map(person).collect(),
            next_id: CLIENTS as u64,
            next_element: 0,
            tokens: 50,
            instant: 0,
            appended: BTreeMap::new(),
            seen: Vec::new(),
            requests: 0,
            long: 0,
            broken,
            rng,
        };
        world.put_tokens();
        world
    }

    /// Plays so many steps and says what is wrong afterwards.
    pub fn run(&mut self, steps: usize) -> Result<(), String> {
        for _ in 0..steps {
            self.instant += 1;
            let index = self.rng.below(self.people.len());
            match self.rng.below(100) {
                0..=29 => self.send(index)?,
                30..=59 => {
                    self.deliver()?;
                }
                60..=74 => {
                    let node = self.rng.below(self.nodes.len());
                    self.publish(node);
                }
                75..=84 => self.go_on()?,
                85..=94 => self.read_on(index)?,
                95..=98 => {
                    let length = self.rng.below(3) * 1000;
                    let by_last = self.rng.one_in(2);
                    self.people[index].line.push(length, by_last);
                    self.read(index)?;
                }
                _ => self.go_away(index)?,
            }
        }
        self.settle()?;
        self.check()
    }

    /// What somebody asks for.
    fn choose(&mut self) -> (String, Asked) {
        let list = self.rng.below(LISTS);
        let other = self.rng.below(LISTS);
        match self.rng.below(12) {
            0..=4 => {
                self.next_element += 1;
                let element = self.next_element;
                (
                    format!("RPUSH {} {element}", key(list)),
                    Asked::Append(list, element),
                )
            }
            5 if self.tokens > 0 => {
                self.tokens -= 1;
                let element = TOKEN + self.tokens;
                (
                    format!("LMOVE token:{element} {} LEFT RIGHT", key(list)),
                    Asked::Append(list, element),
                )
            }
            6..=8 => (format!("LRANGE {} 0 -1", key(list)), Asked::Read(list)),
            9 => ("DBSIZE".to_owned(), Asked::Other),
            10 => ("KEYS *".to_owned(), Asked::Other),
            _ => (format!("EXISTS {} {}", key(list), key(other)), Asked::Other),
        }
    }

    fn send(&mut self, index: usize) -> Result<(), String> {
        // Requests and transactions of one client do not mix.
        let person = &self.people[index];
        if person.line.owed() >= 2 || person.line.replies.waits_for(Pending::Transaction) {
            return Ok(());
        }
        let (line, asked) = self.choose();
        let words = OwnedArgs::new(line.split(' ').map(str::as_bytes));
        let (args, row) = (words.args(), row(line.split(' ').next().unwrap()).unwrap());
        let home = self.people[index].home;
        self.catch_up(home)?;
        let several = self.nodes.len() > 1;
        let node = &mut self.nodes[home];
        let placement = match row.run {
            shards::command::Run::OneShard(_) => Placement::One(node.owner(&args[1])),
            _ => node.place(row, args),
        };
        let person = &mut self.people[index];
        let is_waiting = person.line.owed() > 0;
        let kind = match placement {
            Placement::One(_) => Pending::Single,
            Placement::Several(_) if is_waiting => return Ok(()),
            Placement::Several(_) => Pending::Transaction,
        };
        if let Asked::Append(list, element) = asked {
            self.appended.insert(element, (list, self.instant, None));
        }
        person.line.ask(Request {
            asked,
            invoked: self.instant,
        });
        let (id, replies) = (person.id, &mut person.line.replies);
        let mut client = || Client {
            key: index as u32,
            id,
            place: replies.wait_for(kind, false),
        };
        self.requests += 1;
        let call = Call {
            alone: true,
            ..Call::of(row)
        };
        match placement {
            Placement::One(owner) if owner.index() == home && !(several && is_waiting) => {
                if !self.broken && node.must_wait(&call, args) {
                    node.park(NOW, client(), call, args);
                } else {
                    let mut out = Vec::new();
                    match node.shard_mut().apply(NOW, &call.request(args), &mut out) {
                        Err(CommandError::Long) => node.reply_at_length(NOW, client(), call, args),
                        _ => person.line.reply(&out),
                    }
                }
            }
            Placement::One(owner) => node.send(owner, client(), call, args),
            Placement::Several(owners) => node.begin(NOW, client(), call, row, args, owners),
        }
        self.read(index)?;
        self.hand_out(home)
    }

    /// Lists of one element each, for LMOVE.
    fn put_tokens(&mut self) {
        for element in (0..self.tokens).map(|number| TOKEN + number) {
            let line = format!("RPUSH token:{element} {element}");
            let words = OwnedArgs::new(line.split(' ').map(str::as_bytes));
            let args = words.args();
            let owner = self.nodes[0].owner(&args[1]);
            let request = Call::of(row("rpush").unwrap()).request(args);
            let put = self.nodes[owner.index()]
                .shard_mut()
                .apply(NOW, &request, &mut Vec::new());
            assert!(put.is_ok());
        }
    }

    /// Somebody has read what came and wants more.
    fn read_on(&mut self, index: usize) -> Result<(), String> {
        let home = self.people[index].home;
        if let Some(ticket) = self.people[index].line.replies.wants_more(OUTPUT_BYTES_LOW) {
            self.nodes[home].ask(NOW, ticket);
        }
        self.hand_out(home)
    }

    fn go_away(&mut self, index: usize) -> Result<(), String> {
        self.next_id += 1;
        let person = &mut self.people[index];
        let (home, mut line) = (
            person.home,
            std::mem::replace(&mut person.line, Line::new()),
        );
        person.id = self.next_id;
        for ticket in line.replies.take_flows() {
            self.nodes[home].drop_reply(NOW, ticket);
        }
        self.hand_out(home)
    }

    fn hand_out(&mut self, node: usize) -> Result<(), String> {
        while self.nodes[node].has_replies() {
            let mut come = Vec::new();
            self.nodes[node]
                .replies(|it| come.push((it.client, it.reply.to_vec(), it.pieces, it.rest)));
            for (client, reply, pieces, rest) in come {
                self.take(client, &reply, pieces, rest)?;
            }
        }
        Ok(())
    }

    /// A reply has come, or a piece of one.
    fn take(
        &mut self,
        client: Client,
        reply: &[u8],
        pieces: Vec<Vec<u8>>,
        rest: Rest,
    ) -> Result<(), String> {
        let person = &mut self.people[client.key as usize];
        if person.id != client.id {
            if let Rest::Follows(ticket) = rest {
                let home = person.home;
                self.nodes[home].drop_reply(NOW, ticket);
            }
            return Ok(());
        }
        let replies = &mut person.line.replies;
        let taken = match rest {
            Rest::Lost => return Err("a reply is lost".into()),
            Rest::Follows(ticket) => {
                self.long += 1;
                replies.answer_flowing(client.place, ticket, pieces)
            }
            Rest::Nothing | Rest::InVain => replies
                .answer_in_pieces(client.place, reply, pieces)
                .map(|()| true),
        };
        assert_eq!(taken, Ok(true), "there is memory, and nobody is silent");
        self.read(client.key as usize)
    }

    /// Somebody reads what has come.
    fn read(&mut self, index: usize) -> Result<(), String> {
        for (request, reply) in self.people[index].line.read()? {
            match request.asked {
                Asked::Append(_, element) => {
                    let appended = self.appended.get_mut(&element).unwrap();
                    appended.2 = Some(self.instant);
                }
                Asked::Read(list) => self.seen.push(Seen {
                    list,
                    invoked: request.invoked,
                    completed: self.instant,
                    elements: elements(&reply)?,
                }),
                Asked::Other => {}
            }
        }
        Ok(())
    }

    fn publish(&mut self, node: usize) {
        self.network.publish(node, &mut self.nodes[node]);
    }

    /// A random node pushes a box, or takes in what was pushed to it; false if nothing
    /// of that can be done.
    fn deliver(&mut self) -> Result<bool, String> {
        for (node, pushes) in self.network.steps(&mut self.rng, false) {
            let any = match pushes {
                true => self.network.push(node),
                false => self.catch_up(node)?,
            };
            if any {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A node takes in what was pushed to it and opens what it may; whether there was
    /// anything.
    fn catch_up(&mut self, node: usize) -> Result<bool, String> {
        let frontier = self.network.frontier();
        let mut any = false;
        for (from, batch) in self.network.take(node) {
            any = true;
            self.nodes[node].receive(from, batch);
        }
        any |= self.nodes[node].catch_up(NOW, frontier);
        self.hand_out(node)?;
        Ok(any)
    }

    /// A node takes a step of what is not over.
    fn go_on(&mut self) -> Result<(), String> {
        let node = self.rng.below(self.nodes.len());
        self.nodes[node].go_on(NOW);
        self.hand_out(node)
    }

    /// Lets everything that is on its way arrive, and everybody read to the end.
    fn settle(&mut self) -> Result<(), String> {
        for _ in 0..SETTLED_AFTER {
            (0..self.nodes.len()).for_each(|node| self.publish(node));
            while self.deliver()? {}
            for node in 0..self.nodes.len() {
                self.nodes[node].go_on(NOW);
                self.hand_out(node)?;
            }
            self.instant += 1;
            (0..CLIENTS).try_for_each(|index| self.read_on(index))?;
            if self.people.iter().all(|person| person.line.is_at_rest())
                && self.nodes.iter().all(Node::is_at_rest)
                && self.network.is_empty()
            {
                return Ok(());
            }
        }
        Err("never at rest".into())
    }

    fn check(&mut self) -> Result<(), String> {
        let mut whole = Vec::new();
        for list in 0..LISTS {
            let words = OwnedArgs::new(["LRANGE", &key(list), "0", "-1"].map(str::as_bytes));
            let args = words.args();
            let owner = self.nodes[0].owner(&args[1]);
            let call = Call::of(row("lrange").unwrap());
            let mut out = Vec::new();
            let shard = self.nodes[owner.index()].shard_mut();
            let read = shard.apply(NOW, &call.request(args), &mut out);
            read.map_err(|error| error.to_string())?;
            whole.push(elements(&out)?);
        }
        for seen in &self.seen {
            let list = &whole[seen.list];
            if !list.starts_with(&seen.elements) {
                return Err(format!("read {:?} of {list:?}", seen.elements));
            }
            for (at, element) in list.iter().enumerate() {
                let (_, invoked, completed) = self.appended[element];
                let was_read = at < seen.elements.len();
                if !was_read && completed.is_some_and(|at| at < seen.invoked) {
                    return Err(format!("{element} was there, and not read"));
                }
                if was_read && invoked > seen.completed {
                    return Err(format!("{element} was read before it was there"));
                }
            }
        }
        Ok(())
    }
}
