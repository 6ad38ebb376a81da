//! A connection and the client at its end, who knows only in which order it has asked.

use shards::parse_i64;
use shards::replies::Replies;
use std::collections::VecDeque;

/// What a connection has for its client, what that has asked for, and what has come.
pub struct Line<T> {
    pub replies: Replies,
    asked: VecDeque<T>,
    received: Vec<u8>,
}

impl<T> Line<T> {
    pub fn new() -> Self {
        Self {
            replies: Replies::new(),
            asked: VecDeque::new(),
            received: Vec::new(),
        }
    }

    /// The client has asked for something.
    pub fn ask(&mut self, asked: T) {
        self.asked.push_back(asked);
    }

    /// What has been asked for and has not come as a whole.
    pub fn owed(&self) -> usize {
        self.asked.len()
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
            self.received.extend(self.replies.take_output());
            self.replies.sent();
        }
        let (mut read, mut start) = (Vec::new(), 0);
        while let Some(end) = end_of_reply(&self.received[start..]) {
            let reply = self.received[start..start + end].to_vec();
            let asked = self.asked.pop_front();
            read.push((asked.ok_or("a reply to nothing")?, reply));
            start += end;
        }
        self.received.drain(..start);
        Ok(read)
    }
}

/// Where the first reply ends, if all of it is there.
fn end_of_reply(bytes: &[u8]) -> Option<usize> {
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
            (b'*', Some(elements)) => owed += elements,
            _ => {}
        }
        if at > bytes.len() {
            return None;
        }
    }
    Some(at)
}
