//! Who has a command of the server run, and where its reply goes.

use super::Core;
use shards::CommandError;
use shards::order::Ticket;
use shards::resp::Reply;

/// Who has a command of the server run.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// Key of the connection on whose session it runs, and its client.
    pub key: u32,
    pub id: u64,
    /// Of the command.
    pub row: u16,
    /// The block that the command is part of; a request of its own has none.
    pub within: Option<Ticket>,
}

impl Asker {
    /// The next request of a connection.
    #[inline]
    pub fn request(core: &Core, key: u32, row: u16) -> Self {
        let id = core.connections[key as usize].session.id;
        let within = None;
        Self {
            key,
            id,
            row,
            within,
        }
    }
}

impl Core {
    /// A command of the server has failed, or what it has written is too long: `out`
    /// becomes what is replied instead.
    #[cold]
    pub fn server_command_failed(&mut self, asker: Asker, error: &CommandError, out: &mut Vec<u8>) {
        let connection = &mut self.connections[asker.key as usize];
        if *error == CommandError::TooLong {
            *out = Vec::new();
            return connection.reply_too_long(&mut self.stats);
        }
        self.stats.count_error(&error.to_bytes());
        self.stats.rows[usize::from(asker.row)].failed += 1;
        out.clear();
        Reply::new(out, connection.session.protocol).error(error);
    }

    /// A command of the server that did not have to wait has its reply.
    #[inline]
    pub fn reply_now(&mut self, asker: Asker, out: Vec<u8>) {
        if let Some(block) = asker.within {
            return self.resume_block(asker, block, out);
        }
        let connection = &mut self.connections[asker.key as usize];
        let buffer = connection.reply_buffer();
        let before = buffer.len();
        match buffer.try_reserve(out.len()) {
            Ok(()) => buffer.extend_from_slice(&out),
            Err(_) => connection.reply_too_long(&mut self.stats),
        }
        connection.reply_written(before);
        self.spare_buffers.keep(out);
    }

    /// One that has waited has it: a request in the `place` that it took then. If it had
    /// set up a `barrier`, that falls.
    pub fn reply_late(&mut self, asker: Asker, place: u32, barrier: bool, out: Vec<u8>) {
        if let Some(block) = asker.within {
            return self.resume_block(asker, block, out);
        }
        if let Some(connection) = self.client(asker.key, asker.id) {
            if barrier {
                connection.barrier = connection.runs_block;
            }
            connection.answer(place, &out);
            self.mark_dirty(asker.key);
        }
    }

    /// A block goes on after a command of the server, as the client now wants it.
    fn resume_block(&mut self, asker: Asker, block: Ticket, mut reply: Vec<u8>) {
        let connection = self.client(asker.key, asker.id);
        let connection = connection.expect("a session stays until its block is over");
        let is_killed = connection.killed;
        let session = &connection.session;
        if session.is_silent() {
            reply.clear();
        }
        let manner = session.manner();
        if is_killed {
            self.node.cut_replies(block);
        }
        self.node.resume(self.now, block, reply, manner);
        self.deliver();
    }
}
