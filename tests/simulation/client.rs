//! A connection and the client at its end, who knows only in which order it has asked.
//!
//! Now and then it is told something that is no reply, perhaps because of what it has
//! asked for last. Whatever comes it must be able to read: a reply that is cut in two is
//! none.

use shards::parse_i64;
use shards::replies::{Piece, Replies};
use std::collections::VecDeque;

/// What a connection has for its client, what that has asked for, and what has come.
pub struct Line<T> {
    pub replies: Replies,
    asked: VecDeque<T>,
    received: Vec<u8>,
    /// Replies that have been read.
    read: usize,
    /// Of each push that has not been read, how many replies are to be read before it.
    pushed: VecDeque<usize>,
    /// Number of the first of them.
    first_push: usize,
}

impl<T> Line<T> {
    pub fn new() -> Self {
        Self {
            replies: Replies::new(),
            asked: VecDeque::new(),
            received: Vec::new(),
            read: 0,
            pushed: VecDeque::new(),
            first_push: 0,
        }
    }

    /// The client is told the number of the push, at some length.
    pub fn push(&mut self, length: usize, by_last: bool) {
        let number = self.first_push + self.pushed.len();
        let text = "!".repeat(length);
        let message = format!(">2\r\n:{number}\r\n${length}\r\n{text}\r\n").into_bytes();
        let message = match number % 2 {
            0 => Piece::from(message),
            _ => Piece::shared(message),
        };
        let cause = self.replies.last_place().filter(|_| by_last);
        let before = if by_last {
            self.read + self.asked.len()
        } else {
            0
        };
        self.pushed.push_back(before);
        let pushed = self.replies.push(message, cause, usize::MAX);
        assert_eq!(pushed, Ok(()), "there is memory");
    }

    /// The client has asked for something.
    pub fn ask(&mut self, asked: T) {
        self.asked.push_back(asked);
    }

    /// What has been asked for and has not come as a whole.
    pub fn owed(&self) -> usize {
        self.asked.len()
    }

    /// Whether nothing is to come any more.
    pub fn is_at_rest(&self) -> bool {
        self.asked.is_empty() && self.pushed.is_empty()
    }

    /// The reply to the request at hand, which has been run at once.
    pub fn reply(&mut self, reply: &[u8]) {
        let buffer = self.replies.reply_buffer();
        let before = buffer.len();
        buffer.extend_from_slice(reply);
        self.replies.reply_written(before, false);
    }

    /// The client reads all that there is: what has become whole with that, with what it
    /// was asked for by.
    pub fn read(&mut self) -> Result<Vec<(T, Vec<u8>)>, String> {
        self.replies.check_invariants();
        while self.replies.has_output() {
            self.received.extend_from_slice(&self.replies.take_output());
            self.replies.sent();
        }
        let (mut read, mut start) = (Vec::new(), 0);
        while let Some(end) = end_of_reply(&self.received[start..]) {
            let reply = self.received[start..start + end].to_vec();
            start += end;
            if reply.starts_with(b">") {
                self.read_push(&reply)?;
                continue;
            }
            self.read += 1;
            let asked = self.asked.pop_front();
            read.push((asked.ok_or("a reply to nothing")?, reply));
        }
        self.received.drain(..start);
        Ok(read)
    }

    fn read_push(&mut self, push: &[u8]) -> Result<(), String> {
        let number = format!(">2\r\n:{}\r\n", self.first_push);
        if !push.starts_with(number.as_bytes()) {
            return Err("pushes are out of order".into());
        }
        self.first_push += 1;
        match self.pushed.pop_front() {
            Some(before) if before <= self.read => Ok(()),
            _ => Err("a push has come before the reply to what has caused it".into()),
        }
    }
}

/// Where the first reply ends, if all of it is there.
pub fn end_of_reply(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut owed) = (0, 1);
    while owed > 0 {
        let rest = &bytes[at..];
        let line = rest.windows(2).position(|two| two == b"\r\n")?;
        at += line + 2;
        owed -= 1;
        let count = rest[1..line].trim_ascii();
        let count = parse_i64(count).and_then(|count| usize::try_from(count).ok());
        match (rest[0], count) {
            (b'$', Some(length)) => at += length + 2,
            (b'*' | b'>', Some(elements)) => owed += elements,
            _ => {}
        }
        if at > bytes.len() {
            return None;
        }
    }
    Some(at)
}
