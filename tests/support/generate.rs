//! Random command streams, derived from the command table's `syntax` strings.
//!
//! Most commands are valid. About one in six is slightly damaged: an argument
//! missing, doubled, swapped or replaced. The seed determines the stream,
//! apart from absolute times, which follow the clock.

use super::rng::Rng;
use super::syntax::{Node, parse};
use super::values::{LEXICAL_KEYS, Values};

/// A request as its arguments.
pub type Request = Vec<Vec<u8>>;

/// What a command looks like, and how often it comes.
pub struct Shape {
    /// Lower case; `container|sub` for a subcommand.
    pub name: String,
    syntax: Vec<Node>,
    /// Whether arguments may become deadlines.
    timed: bool,
    /// Comes in one of this many draws in which it is picked.
    rarity: usize,
}

/// Rows that would leave little to look at if they came as often as others.
const RARE: &[&str] = &["flushall", "flushdb", "swapdb", "select"];

impl Shape {
    pub fn new(name: &str, syntax: &str) -> Self {
        Self {
            name: name.to_string(),
            syntax: parse(syntax),
            timed: syntax.contains("seconds"),
            rarity: if RARE.contains(&name) { 60 } else { 1 },
        }
    }
}

/// Makes requests without end.
pub struct Generator {
    rng: Rng,
    values: Values,
    shapes: Vec<Shape>,
}

impl Generator {
    pub fn new(seed: u64, shapes: Vec<Shape>) -> Self {
        assert!(!shapes.is_empty(), "there is no command to generate");
        let mut rng = Rng::new(seed);
        let values = Values::new(Rng::new(rng.next()));
        Self {
            rng,
            values,
            shapes,
        }
    }

    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// The next request.
    pub fn next(&mut self) -> Request {
        let index = loop {
            let index = self.rng.below(self.shapes.len());
            let rarity = self.shapes[index].rarity;
            if self.rng.one_in(rarity) {
                break index;
            }
        };
        self.one(index)
    }

    /// `count` requests; every command comes at least once if they suffice.
    pub fn stream(&mut self, count: usize) -> Vec<Request> {
        // Made in their order: ids of entries grow.
        let mut places: Vec<Option<usize>> = vec![None; count];
        for index in 0..self.shapes.len().min(count) {
            let mut at = self.rng.below(count);
            while places[at].is_some() {
                at = (at + 1) % count;
            }
            places[at] = Some(index);
        }
        let request = |place: Option<usize>| match place {
            Some(index) => self.one(index),
            None => self.next(),
        };
        places.into_iter().map(request).collect()
    }

    fn one(&mut self, index: usize) -> Request {
        let name = self.shapes[index].name.clone();
        let syntax = self.shapes[index].syntax.clone();
        let mut request: Request = Vec::new();
        for word in name.split('|') {
            let word = self.in_some_case(word);
            request.push(word);
        }
        let fixed = request.len();
        self.sequence(&name, &syntax, &mut request);
        if name == "xread" && !self.rng.one_in(8) {
            self.give_each_an_id(&mut request);
        }
        // A damaged request may bring a score.
        let has_lexical_key = request
            .iter()
            .any(|it| LEXICAL_KEYS.contains(&it.as_slice()));
        // Redis 7.2 refuses some ids that 7.0 takes.
        if self.rng.one_in(6) && !has_lexical_key && name != "xsetid" {
            self.damage(&mut request, fixed);
            if self.shapes[index].timed {
                avoid_near_deadlines(&mut request[fixed..]);
            }
        }
        if ["xadd", "xtrim"].contains(&name.as_str()) {
            self.avoid_what_differs(&mut request, fixed);
        }
        if name == "xread" {
            avoid_what_waits(&mut request[fixed..]);
        }
        if ["srandmember", "hrandfield", "zrandmember"].contains(&name.as_str()) {
            avoid_endless_counts(&mut request[fixed..]);
        }
        request
    }

    /// Has as many ids follow the streams of XREAD as there are streams.
    fn give_each_an_id(&mut self, request: &mut Request) {
        let is_word = |word: &Vec<u8>| word.eq_ignore_ascii_case(b"STREAMS");
        let Some(at) = request.iter().position(is_word) else {
            return;
        };
        request.truncate(at + 1);
        let streams = 1 + self.rng.below(3);
        for _ in 0..streams {
            request.push(self.values.fill("xread", "key"));
        }
        for _ in 0..streams {
            request.push(match self.rng.below(6) {
                0 => b"0".to_vec(),
                1 => b"$".to_vec(),
                _ => self.values.fill("xread", "id"),
            });
        }
    }

    /// Ids of the clock are not the same on two servers, nor is where their nodes end.
    fn avoid_what_differs(&mut self, request: &mut Request, fixed: usize) {
        for word in &mut request[fixed..] {
            match word.as_slice() {
                b"*" => *word = self.values.fill("xadd", "id"),
                b"~" => *word = b"=".to_vec(),
                _ => {}
            }
        }
        let limit = request
            .iter()
            .position(|word| word.eq_ignore_ascii_case(b"LIMIT"));
        // Without `~` it is an error.
        if let Some(at) = limit.filter(|_| !self.rng.one_in(6)) {
            request.drain(at..request.len().min(at + 2));
        }
    }

    fn sequence(&mut self, command: &str, nodes: &[Node], out: &mut Request) {
        for node in nodes {
            self.node(command, node, out);
        }
    }

    fn node(&mut self, command: &str, node: &Node, out: &mut Request) {
        match node {
            Node::Keyword(word) => {
                let word = self.in_some_case(word);
                out.push(word);
            }
            Node::Placeholder(name) => out.push(self.values.fill(command, name)),
            Node::Choice(choices) => {
                let choice = self.rng.below(choices.len());
                self.sequence(command, &choices[choice], out);
            }
            Node::Optional(inner) => {
                if self.rng.one_in(2) {
                    self.node(command, inner, out);
                }
            }
            Node::Repeat(inner) => {
                for _ in 0..=self.rng.below(4) {
                    self.node(command, inner, out);
                }
            }
        }
    }

    /// Names and keywords are case-insensitive: mostly upper, sometimes not.
    fn in_some_case(&mut self, word: &str) -> Vec<u8> {
        match self.rng.below(10) {
            0 => word.to_ascii_lowercase().into_bytes(),
            1 => {
                let rng = &mut self.rng;
                let flip = |b: u8| {
                    if rng.one_in(2) {
                        b.to_ascii_lowercase()
                    } else {
                        b.to_ascii_uppercase()
                    }
                };
                word.bytes().map(flip).collect()
            }
            _ => word.to_ascii_uppercase().into_bytes(),
        }
    }

    /// Damages one argument after the first `fixed`.
    fn damage(&mut self, request: &mut Request, fixed: usize) {
        if request.len() == fixed || self.rng.one_in(5) {
            let extra = self.values.anything();
            request.push(extra);
            return;
        }
        let at = fixed + self.rng.below(request.len() - fixed);
        match self.rng.below(4) {
            0 => {
                request.remove(at);
            }
            1 => request.insert(at, request[at].clone()),
            2 => request[at] = self.values.anything(),
            _ => {
                let other = fixed + self.rng.below(request.len() - fixed);
                request.swap(at, other);
            }
        }
    }
}

/// A reader would wait for as long as chance says, and 7.0 does not know the id `+`.
fn avoid_what_waits(args: &mut [Vec<u8>]) {
    for arg in args {
        if arg.eq_ignore_ascii_case(b"BLOCK") {
            *arg = b"COUNT".to_vec();
        }
        if arg == b"+" {
            *arg = b"$".to_vec();
        }
    }
}

/// Below zero, a count of random elements is how many are replied, with
/// repetitions: Redis would be busy for minutes with some.
fn avoid_endless_counts(args: &mut [Vec<u8>]) {
    for arg in args {
        let number = std::str::from_utf8(arg)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        if number.is_some_and(|number| number < -1000 && number > i64::MIN) {
            *arg = b"-3".to_vec();
        }
    }
}

/// A damaged request may take any number for a time. Two servers would not
/// agree on when 100 ms are over, so such numbers become zero.
fn avoid_near_deadlines(args: &mut [Vec<u8>]) {
    for arg in args {
        let number = std::str::from_utf8(arg)
            .ok()
            .and_then(|text| text.parse::<i64>().ok());
        if number.is_some_and(|number| (1..1_000_000).contains(&number)) {
            *arg = b"0".to_vec();
        }
    }
}
