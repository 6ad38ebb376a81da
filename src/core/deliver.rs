//! Replies that have come from shards, handed to the connections they are for.

use super::{Asker, Core};
use crate::runtime::ticks;
use crate::session::Connection;
use shards::command::OwnedArgs;
use shards::order::{HeardWithin, Replied, Rest, Ticket};
use shards::resp::{Protocol, Reply};

impl Core {
    /// Hands out the replies that have come from shards.
    #[inline]
    pub fn deliver(&mut self) {
        while let Some(client) = self.node.begun_to_wait() {
            if let Some(connection) = self.client(client.key, client.id)
                && connection.waits(client.place)
            {
                self.mark_dirty(client.key);
            }
        }
        // Long replies that nobody reads are dropped, and what that lets through may
        // be the next of them.
        while self.node.has_replies() {
            for ticket in self.hand_out() {
                self.node.drop_reply(self.now, ticket);
            }
        }
        if self.node.has_told() {
            self.tell();
        }
        while let Some(heard) = self.node.heard_within() {
            self.published_within(&heard);
        }
    }

    /// How many have heard what a command of a block has published is its reply.
    #[cold]
    fn published_within(&mut self, heard: &HeardWithin) {
        let HeardWithin {
            ticket,
            client,
            row,
            heard,
        } = *heard;
        self.stats.ran(row, 0);
        let mut out = Vec::new();
        Reply::new(&mut out, Protocol::Resp2).integer(heard as i64);
        let asker = Asker {
            key: client.key,
            id: client.id,
            row,
            within: Some(ticket),
        };
        self.reply_now(asker, out);
    }

    /// The replies that have come so far; gives those back of which nobody wants the
    /// rest.
    #[inline]
    fn hand_out(&mut self) -> Vec<Ticket> {
        let Self {
            node,
            connections,
            stats,
            dirty,
            own_replies,
            ..
        } = self;
        let (mut slow, mut unread) = (Vec::new(), Vec::new());
        node.replies(|replied| {
            let Replied {
                client,
                row,
                ran,
                reply,
                slow: request,
                pieces,
                rest,
            } = replied;
            if rest != Rest::Nothing {
                if rest == Rest::InVain {
                    stats.commands = stats.commands.saturating_sub(1);
                }
                let connection = connections.get_mut(client.key as usize);
                let connection = connection.filter(|it| it.session.id == client.id);
                if let Some(connection) = connection {
                    if !std::mem::replace(&mut connection.dirty, true) {
                        dirty.push(client.key);
                    }
                    unread.extend(flow(connection, client.place, rest, pieces));
                } else if let Rest::Follows(ticket) = rest {
                    unread.push(ticket);
                }
                return;
            }
            stats.ran(row, ticks::to_ns(ran.ticks));
            if ran.failed {
                stats.count_error(reply.get(1..).unwrap_or_default());
                stats.rows[usize::from(row)].failed += 1;
            }
            if let Some(args) = request {
                slow.push((client, row, ran.ticks, OwnedArgs::new(args.iter())));
            }
            let Some(connection) = connections.get_mut(client.key as usize) else {
                return keep_own(own_replies, client.key, reply, &pieces);
            };
            if connection.session.id != client.id {
                return;
            }
            if ran.too_long {
                if !connection.is_unheard(client.place) {
                    connection.close_at_limit(stats);
                }
                // Its place is free all the same: what runs on its session is over.
                connection.answer(client.place, &[]);
            } else {
                connection.answer_in_pieces(client.place, reply, pieces);
            }
            if !std::mem::replace(&mut connection.dirty, true) {
                dirty.push(client.key);
            }
        });
        if !slow.is_empty() {
            self.secret.clear();
        }
        for (client, row, ticks, request) in slow {
            self.note(client.connection(), client.id, row, ticks, request.args());
        }
        unread
    }
}

/// Keeps a reply if it is to what the server has run by itself; who else it may be for is
/// gone.
#[cold]
fn keep_own(own: &mut Vec<Vec<u8>>, key: u32, reply: &[u8], pieces: &[Vec<u8>]) {
    if key == Core::OWN_KEY {
        let pieces = pieces.iter().map(Vec::as_slice);
        own.push(
            std::iter::once(reply)
                .chain(pieces)
                .collect::<Vec<_>>()
                .concat(),
        );
    }
}

/// Hands a piece of a long reply to its connection. If that does not want the rest,
/// returns whose it is.
fn flow(
    connection: &mut Connection,
    place: u32,
    rest: Rest,
    pieces: Vec<Vec<u8>>,
) -> Option<Ticket> {
    match rest {
        Rest::Follows(ticket) => {
            let flows = connection.answer_flowing(place, ticket, pieces);
            (!flows).then_some(ticket)
        }
        Rest::Lost => {
            connection.close();
            None
        }
        Rest::InVain => {
            connection.answer(place, &[]);
            None
        }
        Rest::Nothing => None,
    }
}
