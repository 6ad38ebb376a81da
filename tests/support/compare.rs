//! Sends the same requests to both servers and compares the replies.

use super::chance::is_plausible;
use super::client::Client;
use super::generate::Request;
use super::same::{comparison, same};
use super::server::Server;
use super::show_command;
use super::state::{changes, difference_of_states};
use std::fmt::Debug;

/// How a stream is sent.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    pub protocol: u8,
    /// At most this many requests are in flight. Batches grow up to it by
    /// turns, unless it is [`usize::MAX`]: then all go in one.
    pub depth: usize,
}

/// Two servers with the same history.
pub struct Pair<'a> {
    redis: &'a Server,
    cordis: &'a Server,
}

/// Where two servers parted.
struct Difference {
    index: usize,
    how: String,
}

impl Difference {
    fn new(index: usize, how: &str, redis: impl Debug, cordis: impl Debug) -> Self {
        let how = format!("{how}\n  redis:  {redis:?}\n  cordis: {cordis:?}");
        Self { index, how }
    }
}

impl<'a> Pair<'a> {
    pub fn new(redis: &'a Server, cordis: &'a Server) -> Self {
        Self { redis, cordis }
    }

    /// Runs `stream` on both from an empty start; panics at the first reply
    /// that differs, with the shortest history that was found to show it.
    pub fn run(&self, mode: Mode, stream: &[Request]) {
        let Some(difference) = self.attempt(mode, stream) else {
            return;
        };
        let stream = &stream[..=difference.index];
        // One by one if that shows it, or else all at once: then it is about
        // order, and a reader must know that it was one pipeline.
        let shorter = [1, usize::MAX].into_iter().find_map(|depth| {
            let mode = Mode { depth, ..mode };
            let (history, difference) = self.shorten(mode, stream)?;
            Some((mode, history, difference))
        });
        let (mode, history, difference) = shorter.unwrap_or_else(|| {
            let tail = stream.len().saturating_sub(30);
            (mode, stream[tail..].to_vec(), difference)
        });
        let lines: Vec<String> = history
            .iter()
            .map(|request| show_command(request))
            .collect();
        panic!(
            "servers part ({mode:?}, {}) after\n  {}\n{}",
            self.cordis.name,
            lines.join("\n  "),
            difference.how
        );
    }

    fn attempt(&self, mode: Mode, stream: &[Request]) -> Option<Difference> {
        let (mut redis, mut cordis) = self.fresh(mode);
        let mut at = 0;
        let mut depth = if mode.depth == usize::MAX {
            mode.depth
        } else {
            1
        };
        let mut watching = [self.redis.connect(), self.cordis.connect()];
        let mut before = watching.each_mut().map(changes);
        while at < stream.len() {
            let batch = &stream[at..stream.len().min(at.saturating_add(depth))];
            let expected = redis.pipeline(batch);
            let replies = cordis.pipeline(batch);
            let alone = batch.len() == 1;
            for (i, (redis, reply)) in expected.into_iter().zip(replies).enumerate() {
                let request = &batch[i];
                if !same(comparison(request), request, &redis, &reply) {
                    return Some(Difference::new(at + i, "in reply", redis, reply));
                }
                if alone && !is_plausible(&mut cordis, request, &reply) {
                    return Some(Difference::new(
                        at + i,
                        "chance found what is not there",
                        redis,
                        reply,
                    ));
                }
            }
            let after = watching.each_mut().map(changes);
            let counted = [0, 1].map(|server| after[server] - before[server]);
            at += batch.len();
            if counted[0] != counted[1] {
                return Some(Difference::new(
                    at - 1,
                    "in changes counted",
                    counted[0],
                    counted[1],
                ));
            }
            before = after;
            depth = if depth >= mode.depth { 1 } else { depth * 2 };
        }
        let left = difference_of_states(self.redis, self.cordis)?;
        Some(Difference {
            index: stream.len() - 1,
            how: format!("in what is there: {left}"),
        })
    }

    fn fresh(&self, mode: Mode) -> (Client, Client) {
        let open = |server: &Server| {
            let mut client = server.connect_with(mode.protocol);
            client.call(&["FLUSHALL"]);
            client
        };
        (open(self.redis), open(self.cordis))
    }

    /// Leaves out ever smaller pieces of the stream as long as the last
    /// request still differs. Nothing when it does not show one by one.
    fn shorten(&self, mode: Mode, stream: &[Request]) -> Option<(Vec<Request>, Difference)> {
        // What depends on timing shows in one attempt and hides in the next.
        let attempts = if mode.depth == 1 { 1 } else { 3 };
        let shows = |stream: &[Request]| {
            (0..attempts).find_map(|_| {
                let found = self.attempt(mode, stream)?;
                (found.index + 1 == stream.len()).then_some(found)
            })
        };
        let mut best = (stream.to_vec(), shows(stream)?);
        let mut piece = stream.len() / 2;
        while piece > 0 {
            let mut at = 0;
            while at + piece < best.0.len() {
                let mut shorter = best.0.clone();
                shorter.drain(at..at + piece);
                match shows(&shorter) {
                    Some(found) => best = (shorter, found),
                    None => at += piece,
                }
            }
            piece /= 2;
        }
        Some(best)
    }
}
