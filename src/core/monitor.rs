//! What clients in MONITOR mode are told: a line about each command.
//!
//! Every core knows all monitors. It writes the lines of its own clients' commands: of one
//! of the engine when it is sent on its way, of one of the server when its function has
//! run, of those of a block when EXEC is sent on its way or, where it must be seen first
//! whether and how they run, when it is over. So they are in the order of each connection.
//! What a turn has written leaves with its boxes, before its replies do: as all cores open
//! boxes in one order, whoever has been answered and then asks another core comes later in
//! the lines of all monitors.
//!
//! While nobody monitors nothing looks for it: requests pass here because of
//! [`Core::has_detours`] and [`Core::noteworthy_ticks`], which they look at anyway.

use super::Core;
use crate::runtime::clock;
use crate::session::monitored::{MonitoredBlock, Told};
use shards::command::{Args, flags};
use shards::order::{Block, Client};
use shards::pubsub::Push;
use shards::{DbIndex, ShardId};
use std::net::SocketAddr;

/// Flags of commands that no monitor sees.
fn is_hidden(core: &Core, row: u16) -> bool {
    let row_flags = core.row_flags[usize::from(row)];
    row_flags.has(flags::ADMIN) || row_flags.has(flags::SKIP_MONITOR)
}

/// What a line begins with, and no other push does.
pub const LINE: &[u8] = b"+";

/// Who monitors, and what they are to be told.
#[derive(Default)]
pub struct Monitors {
    /// Of all cores.
    clients: Vec<(ShardId, Client)>,
    /// Lines that have not left yet, but for the [`LINE`] that the first begins with.
    lines: Vec<u8>,
    /// Connections with a block of which not all lines are written.
    blocks: Vec<u32>,
}

impl Core {
    /// Whether somebody on any core monitors.
    #[inline]
    pub fn is_monitored(&self) -> bool {
        !self.monitors.clients.is_empty()
    }

    /// A client of a core begins to monitor, or ends.
    pub fn note_monitor(&mut self, core: ShardId, client: Client, begins: bool) {
        let monitors = &mut self.monitors;
        monitors
            .clients
            .retain(|(at, other)| *at != core || other.id != client.id);
        if begins {
            monitors.clients.push((core, client));
        }
        self.time_as_configured();
        self.mind_detours();
    }

    /// Writes the line of a request or of a command of a block; `secret` are those of its
    /// arguments that are not shown.
    #[cold]
    pub fn monitor(&mut self, (key, id): (u32, u64), row: u16, args: Args<'_>, secret: &[usize]) {
        if !self.is_monitored() {
            return;
        }
        self.end_monitored_blocks();
        if is_hidden(self, row) {
            return;
        }
        let Some(session) = self.connections.get(key as usize).map(|it| &it.session) else {
            return;
        };
        if session.id == id {
            let lines = &mut self.monitors.lines;
            write_line(lines, (session.db, session.peer), args, secret);
        }
    }

    /// Writes the lines of a block that is sent on its way, but that of EXEC.
    pub fn monitor_block(&mut self, key: u32, block: &Block) {
        self.end_monitored_blocks();
        let session = &self.connections[key as usize].session;
        let from = (session.db, session.peer);
        for (row, args, _) in block.commands() {
            if !is_hidden(self, row) {
                write_line(&mut self.monitors.lines, from, args, &[]);
            }
        }
    }

    /// The lines of a block are written as it runs, and of EXEC, which this is, when it
    /// has.
    pub fn begin_monitored_block(&mut self, key: u32, exec: (u16, Args<'_>), block: &Block) {
        self.end_monitored_blocks();
        let block = MonitoredBlock::new(exec, block);
        self.connections[key as usize].monitored_block = Some(Box::new(block));
        self.monitors.blocks.push(key);
    }

    /// It is a command of the server's turn in such a block: what comes before it has run,
    /// or counts as if it had.
    pub fn monitor_up_to_step(&mut self, key: u32) {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return;
        };
        let Some(block) = &mut connection.monitored_block else {
            return;
        };
        let before = block.before_step();
        let from = (connection.session.db, connection.session.peer);
        self.write_lines(from, before);
    }

    /// It has run at once, with this reply: its lines are written, but that of EXEC, as of
    /// any command that has run.
    pub fn monitored_block_ran(&mut self, key: u32, reply: &[u8]) {
        let connection = &mut self.connections[key as usize];
        if let Some(mut block) = connection.monitored_block.take() {
            block.ends(reply);
            let from = (connection.session.db, connection.session.peer);
            self.write_lines(from, block.take_rest());
        }
    }

    fn write_lines(
        &mut self,
        from: (DbIndex, SocketAddr),
        commands: impl IntoIterator<Item = Told>,
    ) {
        for (row, args) in commands {
            if !is_hidden(self, row) {
                write_line(&mut self.monitors.lines, from, args.args(), &[]);
            }
        }
    }

    /// Writes what is left to be written of blocks that are over.
    fn end_monitored_blocks(&mut self) {
        if self.monitors.blocks.is_empty() {
            return;
        }
        let mut under_way = std::mem::take(&mut self.monitors.blocks);
        under_way.retain(|key| {
            let Some(connection) = self.connections.get_mut(*key as usize) else {
                return false;
            };
            let over = connection.monitored_block.take_if(|block| block.is_over());
            let Some(mut block) = over else {
                return connection.monitored_block.is_some();
            };
            let from = (connection.session.db, connection.session.peer);
            self.write_lines(from, block.take_rest());
            self.write_lines(from, [block.exec]);
            false
        });
        under_way.append(&mut self.monitors.blocks);
        self.monitors.blocks = under_way;
    }

    /// Tells all monitors what has been written, at the latest before what it is about
    /// leaves this core.
    #[inline]
    pub fn tell_monitors(&mut self) {
        if !self.monitors.lines.is_empty() || !self.monitors.blocks.is_empty() {
            self.tell_monitors_now();
        }
    }

    #[cold]
    fn tell_monitors_now(&mut self) {
        self.end_monitored_blocks();
        let lines = std::mem::take(&mut self.monitors.lines);
        if lines.is_empty() || !self.is_monitored() {
            return;
        }
        let push = Push::new(LINE, lines);
        for (core, client) in self.monitors.clients.clone() {
            if core != self.id {
                self.node.tell(core, (client, false), push.clone());
                continue;
            }
            // A line about its own request comes behind the reply.
            let connection = self.client(client.key, client.id);
            let last = connection.and_then(|connection| connection.last_place());
            let (place, caused) = (last.unwrap_or_default(), last.is_some());
            let client = Client { place, ..client };
            self.node.tell(core, (client, caused), push.clone());
        }
        self.tell();
    }
}

/// Appends the line of a command, as Redis writes it. Without memory for it there is none.
fn write_line(
    lines: &mut Vec<u8>,
    (db, peer): (DbIndex, SocketAddr),
    args: Args<'_>,
    secret: &[usize],
) {
    let bytes = args
        .iter()
        .flatten()
        .copied()
        .map(escaped_bytes)
        .sum::<usize>();
    let now = clock::now_us();
    let head = format!(
        "{}.{:06} [{} {peer}]",
        now / 1_000_000,
        now % 1_000_000,
        db.0
    );
    let frame = args.len() * " \"\"".len() + secret.len() * REDACTED.len() + "\r\n".len();
    if lines
        .try_reserve(LINE.len() + head.len() + bytes + frame)
        .is_err()
    {
        return tracing::warn!("MONITOR: no memory for the line of a command");
    }
    if !lines.is_empty() {
        lines.extend_from_slice(LINE);
    }
    lines.extend_from_slice(head.as_bytes());
    for (at, arg) in args.iter().enumerate() {
        lines.extend_from_slice(b" \"");
        let arg = if secret.contains(&at) { REDACTED } else { arg };
        arg.iter().for_each(|byte| escape(lines, *byte));
        lines.push(b'"');
    }
    lines.extend_from_slice(b"\r\n");
}

/// What stands for a secret.
const REDACTED: &[u8] = b"(redacted)";

/// What [`escape`] appends.
fn escaped_bytes(byte: u8) -> usize {
    match byte {
        b'\\' | b'"' | b'\n' | b'\r' | b'\t' | 7 | 8 => 2,
        b' '..=b'~' => 1,
        _ => 4,
    }
}

/// Appends a byte of an argument so that the line stays one.
fn escape(line: &mut Vec<u8>, byte: u8) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let letter = match byte {
        b'\\' | b'"' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        7 => b'a',
        8 => b'b',
        b' '..=b'~' => return line.push(byte),
        _ => {
            let digits = [byte >> 4, byte & 15].map(|digit| DIGITS[usize::from(digit)]);
            return line.extend_from_slice(&[b'\\', b'x', digits[0], digits[1]]);
        }
    };
    line.extend_from_slice(&[b'\\', letter]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::command::OwnedArgs;

    #[test]
    fn lines_are_whole_and_hide_secrets() {
        let from = (DbIndex(7), SocketAddr::from(([127, 0, 0, 1], 80)));
        let all: Vec<u8> = (0..=255).collect();
        let mut lines = Vec::new();
        for (words, secret) in [
            (vec![&b"auth"[..], b"name", b"password"], &[1, 2][..]),
            (vec![b"set", b"", &all], &[]),
        ] {
            let args = OwnedArgs::new(words.iter().copied());
            write_line(&mut lines, from, args.args(), secret);
        }
        let text = String::from_utf8(lines).expect("what is no ASCII is escaped");
        let lines: Vec<&str> = text.split("\r\n").collect();
        let end = "[7 127.0.0.1:80] \"auth\" \"(redacted)\" \"(redacted)\"";
        assert!(lines[0].ends_with(end), "{text}");
        assert!(lines[1].starts_with('+') && !lines[0].starts_with('+'));
        let quoted = r#" "set" "" "\x00\x01\x02\x03\x04\x05\x06\a\b\t\n\x0b\x0c\r\x0e"#;
        assert!(lines[1].contains(quoted), "{text}");
        assert!(lines[1].contains(" !\\\"#$%&'()*") && lines[1].contains(r"[\\]^"));
        assert!(lines[1].ends_with(r#"\xfe\xff""#), "{text}");
        assert_eq!((lines.len(), lines[2]), (3, ""));
    }

    #[test]
    fn as_much_room_is_asked_for_as_is_needed() {
        for byte in 0..=255 {
            let mut line = Vec::new();
            escape(&mut line, byte);
            assert_eq!(line.len(), escaped_bytes(byte), "{byte}");
        }
    }
}
