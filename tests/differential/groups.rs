//! Consumer groups: random histories of a few streams, over all commands on groups.
//!
//! Consumers are there before anybody claims for them: Redis 7.2 creates them although
//! there is nothing to claim, and 7.0 does not. Times are long past or now, so that
//! both servers agree on what is idle.

use crate::support::compare::{Mode, Pair};
use crate::support::generate::Request;
use crate::support::long_run;
use crate::support::rng::{Rng, seed};
use crate::support::server::Server;

const KEYS: &[&str] = &["stream:1", "stream:2", "{t}stream"];
const GROUPS: &[&str] = &["g", "h", "another group"];
const CONSUMERS: &[&str] = &["c", "d", "e"];

struct Histories {
    rng: Rng,
    requests: Vec<Request>,
    /// Milliseconds of the last id that was given.
    ms: usize,
}

impl Histories {
    fn one_of(&mut self, words: &[&str]) -> String {
        (*self.rng.pick(words)).to_string()
    }

    /// An id that is, was, or may become one of an entry.
    fn id(&mut self) -> String {
        let ms = self.ms.saturating_sub(self.rng.below(40));
        let seq = self.one_of(&["", "-0", "-0", "-1", "-2"]);
        format!("{ms}{seq}")
    }

    fn bound(&mut self, end: &str) -> String {
        match self.rng.below(4) {
            0 => end.to_string(),
            1 => format!("({}", self.id()),
            _ => self.id(),
        }
    }

    fn ids(&mut self) -> String {
        let count = 1 + self.rng.below(6);
        let ids: Vec<String> = (0..count).map(|_| self.id()).collect();
        ids.join(" ")
    }

    /// Adds a request. A group of more than one word is one argument all the same.
    fn say(&mut self, line: &str, group: &str) {
        let words = line.split_ascii_whitespace();
        let words = words.map(|word| if word == "@" { group } else { word });
        let request = words.map(|word| word.as_bytes().to_vec()).collect();
        self.requests.push(request);
    }

    fn options_of_claim(&mut self) -> String {
        let mut options = String::new();
        for _ in 0..self.rng.below(4) {
            let id = self.id();
            let lastid = format!(" LASTID {id}");
            options += &self.one_of(&[
                " FORCE",
                " FORCE",
                " FORCE",
                " JUSTID",
                " IDLE 100000000",
                " TIME 1000000000000",
                " RETRYCOUNT 7",
                &lastid,
            ]);
        }
        options
    }

    /// Creates a group, and all consumers that it may have.
    fn create(&mut self, key: &str, group: &str, id: &str) {
        let entries_read = format!(" ENTRIESREAD {}", self.rng.below(30));
        let at = self.one_of(&["$", "0", "0", id]);
        let read = self.one_of(&["", "", &entries_read]);
        self.say(&format!("XGROUP CREATE {key} @ {at} MKSTREAM{read}"), group);
        for consumer in CONSUMERS {
            self.say(&format!("XGROUP CREATECONSUMER {key} @ {consumer}"), group);
        }
    }

    fn next(&mut self) {
        let (key, group) = (self.one_of(KEYS), self.one_of(GROUPS));
        let (consumer, id) = (self.one_of(CONSUMERS), self.id());
        let idle = self.one_of(&["0", "0", "0", "10000000"]);
        let read = self.rng.below(30);
        let line = match self.rng.below(100) {
            0..18 => {
                self.ms += self.rng.below(3);
                format!("XADD {key} {}-* field value", self.ms)
            }
            18..28 => {
                let count = self.rng.below(9);
                let no_ack = self.one_of(&["", "", "", " NOACK"]);
                let from = self.one_of(&[">", ">", ">", "0", &id]);
                format!("XREADGROUP GROUP @ {consumer} COUNT {count}{no_ack} STREAMS {key} {from}")
            }
            28..40 => {
                let (ids, options) = (self.ids(), self.options_of_claim());
                format!("XCLAIM {key} @ {consumer} {idle} {ids} FORCE{options}")
            }
            40..44 => {
                let (ids, options) = (self.ids(), self.options_of_claim());
                format!("XCLAIM {key} @ {consumer} {idle} {ids}{options}")
            }
            44..51 => {
                let (from, count) = (self.bound("-"), 1 + self.rng.below(9));
                let just_id = self.one_of(&["", " JUSTID"]);
                format!("XAUTOCLAIM {key} @ {consumer} {idle} {from} COUNT {count}{just_id}")
            }
            51..60 => format!("XACK {key} @ {}", self.ids()),
            60..65 => format!("XDEL {key} {}", self.ids()),
            65..67 => format!("XTRIM {key} MAXLEN {}", 5 + self.rng.below(20)),
            67 => format!("XTRIM {key} MINID {id}"),
            68..74 => {
                let of = self.one_of(&["", " c", " d", " none"]);
                let (from, to) = (self.bound("-"), self.bound("+"));
                let count = self.rng.below(9);
                let filter = self.one_of(&["", "", " IDLE 10000000"]);
                format!("XPENDING {key} @{filter} {from} {to} {count}{of}")
            }
            74..77 => format!("XPENDING {key} @"),
            77..80 => format!("XINFO GROUPS {key}"),
            80 => format!("XINFO CONSUMERS {key} @"),
            81 => format!("XINFO STREAM {key} FULL COUNT {}", self.rng.below(5)),
            82 => format!("XINFO STREAM {key}"),
            83..86 => {
                let at = self.one_of(&["$", "0", &id]);
                let read = self.one_of(&["", &format!(" ENTRIESREAD {read}")]);
                format!("XGROUP SETID {key} @ {at}{read}")
            }
            86 => format!("XGROUP DESTROY {key} @"),
            87..89 => {
                self.say(&format!("XGROUP DELCONSUMER {key} @ {consumer}"), &group);
                format!("XGROUP CREATECONSUMER {key} @ {consumer}")
            }
            89 => format!("XSETID {key} {}", self.ms + 1),
            90 => format!("COPY {key} {} REPLACE", self.one_of(KEYS)),
            91 if self.rng.one_in(4) => format!("DEL {key}"),
            _ => return self.create(&key, &group, &id),
        };
        self.say(&line, &group);
    }
}

/// Plays histories on both servers: replies, changes counted, and all that there is to
/// tell of the streams in the end.
pub fn run(test: &str, cordis: Server) {
    let redis = Server::redis(&[]);
    let pair = Pair::new(&redis, &cordis);
    let seed = seed(test);
    for round in 0..if long_run() { 200 } else { 4 } {
        let mut histories = Histories {
            rng: Rng::new(seed.wrapping_add(round)),
            requests: Vec::new(),
            ms: 1,
        };
        while histories.requests.len() < 3_000 {
            histories.next();
        }
        let protocol = if round % 2 == 0 { 2 } else { 3 };
        let depth = if round % 4 < 2 { 100 } else { 1 };
        pair.run(Mode { protocol, depth }, &histories.requests);
    }
}
