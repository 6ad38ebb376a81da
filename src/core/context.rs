//! What a command of the server may touch.

use super::Core;
use crate::session::{Connection, Session};
use shards::resp::Reply;

/// What a server command may touch. The reply goes to `out`, never into the
/// connection's own buffers.
pub struct Context<'a> {
    pub core: &'a mut Core,
    /// The connection's key in `core.connections`.
    pub key: u32,
    pub out: &'a mut Vec<u8>,
}

impl Context<'_> {
    /// The connection the request came on.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.core.connections[self.key as usize]
    }

    /// The client that called.
    pub fn session(&mut self) -> &mut Session {
        &mut self.connection().session
    }

    /// Whether the client is on this machine.
    pub fn is_local(&mut self) -> bool {
        self.session().peer.ip().to_canonical().is_loopback()
    }

    /// Replies the help of a container: a line that Redis has for all, the
    /// given lines, and the subcommand HELP.
    pub fn help(&mut self, container: &str, lines: &[&str]) {
        let first = format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:");
        let mut reply = self.reply();
        reply.array(lines.len() + 3);
        reply.simple(&first);
        for line in lines {
            reply.simple(line);
        }
        reply.simple("HELP");
        reply.simple("    Prints this help.");
    }

    /// Argument `at` of the request is a secret: nobody may see it in a log.
    pub fn redact(&mut self, at: usize) {
        self.core.secret.push(at);
    }

    /// [`Context::reply`], for a reply that a client can make as long as it likes: it is
    /// cut where it is too long, and the command is to end with [`Reply::complete`].
    pub fn long_reply(&mut self) -> Reply<'_> {
        let max = self.core.node.shard().settings.reply_max.bytes;
        let protocol = self.core.connections[self.key as usize].session.protocol;
        Reply::until(self.out, protocol, max)
    }

    /// A writer in the client's protocol version.
    pub fn reply(&mut self) -> Reply<'_> {
        let protocol = self.core.connections[self.key as usize].session.protocol;
        Reply::new(self.out, protocol)
    }
}
