//! Whether a connection's client reads what it is owed.
//!
//! Beyond [`OUTPUT_BYTES_SOFT`] requests wait, and a long reply is made only as it is read.
//! So who reads slowly has little waiting, however much it has asked for, and would never
//! pass a limit that is higher: nor would who does not read at all. Therefore it is looked
//! whether clients that wait for their own reading get on. One that does not for
//! [`UNREAD_MS`], and has a limit, is given replies until they pass it, and is closed
//! then; if they do not pass it, it has all of its replies waiting, as in Redis. One that
//! gets on waits as ever, and so does one without a limit.

use super::{Connection, OUTPUT_BYTES_SOFT};
use crate::runtime::tcp::acked_bytes;
use shards::UnixMs;
use shards::replies::OUTPUT_BYTES_LOW;
use std::os::fd::AsFd;

/// For so long a client takes nothing of what it is sent before it counts as one that
/// does not read.
const UNREAD_MS: i64 = 1000;

/// How a client reads.
#[derive(Clone, Copy)]
pub(super) struct Reader {
    /// Bytes that it had taken, …
    taken: u64,
    /// … and since when they are no more.
    since: UnixMs,
}

impl Connection {
    /// Whether something waits until its client has read, or would if the client read.
    #[inline]
    pub fn waits_for_reader(&self) -> bool {
        (self.stalled || self.barrier || self.is_made_ahead()) && self.is_ahead_of_reader()
    }

    #[cold]
    fn is_ahead_of_reader(&self) -> bool {
        let more = self.stalled || self.is_made_ahead();
        let full = more && self.output_bytes() >= OUTPUT_BYTES_SOFT;
        // Without anything behind it a long reply is within the limit: a longer one
        // would not have begun.
        let flows = self.is_unread() && (more || self.replies.places() > 1);
        full || flows
    }

    /// Whether it is given replies although it does not read.
    #[inline]
    fn is_made_ahead(&self) -> bool {
        self.made_up_to > OUTPUT_BYTES_SOFT
    }

    /// Looks how the client reads; whether something may go on that has waited for it.
    /// `to_pass` is its highest limit.
    pub fn look_at_reader(&mut self, to_pass: Option<usize>, now: UnixMs) -> bool {
        let reads = to_pass.is_none() || !self.waits_for_reader() || self.has_taken_more(now);
        let before = self.made_up_to;
        self.made_up_to = match to_pass {
            Some(to_pass) if !reads => OUTPUT_BYTES_SOFT.max(to_pass.saturating_add(1)),
            _ => OUTPUT_BYTES_SOFT,
        };
        if !self.waits_for_reader() {
            self.reader = None;
        }
        self.made_up_to > before
    }

    /// Whether the client has taken something of late.
    fn has_taken_more(&mut self, now: UnixMs) -> bool {
        let Some(taken) = acked_bytes(self.socket.as_fd()) else {
            return true;
        };
        let reader = self.reader.get_or_insert(Reader { taken, since: now });
        if reader.taken != taken {
            *reader = Reader { taken, since: now };
        }
        now.0 - reader.since.0 < UNREAD_MS
    }

    /// Bytes waiting from which on no more of a long reply is asked for.
    #[inline]
    pub(super) fn flows_up_to(&self) -> usize {
        if self.is_made_ahead() {
            self.made_up_to
        } else {
            OUTPUT_BYTES_LOW
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Session;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn who_takes_nothing_is_made_ahead_until_it_takes_something() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has free ports");
        let address = listener.local_addr().expect("it is bound");
        let mut client = TcpStream::connect(address).expect("it listens");
        let (mut socket, peer) = listener.accept().expect("somebody connects");
        let session = Session::new(1, peer, address, UnixMs(0));
        let own = socket.try_clone().expect("a socket can be shared");
        let mut connection = Connection::new(own.into(), session);
        let to_pass = Some(4 * OUTPUT_BYTES_SOFT);
        let look = |connection: &mut Connection, to_pass, now_ms| {
            let goes_on = connection.look_at_reader(to_pass, UnixMs(now_ms));
            assert_eq!(goes_on, connection.may_execute());
            goes_on
        };

        connection
            .reply_buffer()
            .resize(2 * OUTPUT_BYTES_SOFT, b'x');
        connection.stalled = true;
        assert!(connection.waits_for_reader() && !connection.may_execute());
        assert!(!look(&mut connection, to_pass, 0));
        assert!(!look(&mut connection, to_pass, 999));
        assert!(!look(&mut connection, None, 1000), "it has no limit");
        assert!(look(&mut connection, to_pass, 1000));
        // Its requests have run, and more may come.
        connection.stalled = false;
        assert!(!connection.look_at_reader(to_pass, UnixMs(1001)));
        assert!(connection.waits_for_reader() && connection.may_execute());
        connection
            .reply_buffer()
            .resize(4 * OUTPUT_BYTES_SOFT + 1, b'x');
        assert!(!connection.may_execute(), "beyond its limit");

        connection.reply_buffer().truncate(2 * OUTPUT_BYTES_SOFT);
        socket.write_all(b"x").expect("it is open");
        client.read_exact(&mut [0]).expect("it is sent");
        client.write_all(b"x").expect("it is open");
        socket.read_exact(&mut [0]).expect("it is sent");
        assert!(!connection.look_at_reader(to_pass, UnixMs(2000)));
        assert!(!connection.may_execute(), "it reads");
        connection.stalled = true;
        assert!(!look(&mut connection, to_pass, 2999));
        connection.drop_output();
        assert!(!connection.look_at_reader(to_pass, UnixMs(3000)));
        assert!(connection.may_execute() && connection.reader.is_none());
    }
}
