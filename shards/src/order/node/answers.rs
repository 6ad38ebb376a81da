//! Answers that come back to a home core: to requests it has sent, and of parts and
//! commands that it drives.

use super::Node;
use crate::command::Cargo;
use crate::order::batch::{Batch, Item};
use crate::order::reply::Ran;
use crate::order::site::Over;
use crate::order::ticket::Ticket;
use crate::order::transaction::Transaction;
use crate::types::{ShardId, UnixMs};

/// A reply that lies in a box, apart; if there is no memory for it there is none.
fn own(reply: &[u8], mut ran: Ran) -> (Vec<u8>, Ran) {
    let mut own = Vec::new();
    match own.try_reserve_exact(reply.len()) {
        Ok(()) => own.extend_from_slice(reply),
        Err(_) => ran.too_long = true,
    }
    (own, ran)
}

impl Node {
    /// An answered box has come back.
    pub(super) fn take_answers(&mut self, now: UnixMs, from: ShardId, batch: &mut Batch) {
        let mut start = 0;
        let mut items = std::mem::take(&mut batch.items);
        for (index, item) in items.iter_mut().enumerate() {
            match item {
                Item::Request {
                    call,
                    client,
                    reply: Some(reply),
                    ..
                } => {
                    let bytes = &batch.replies[start..reply.end];
                    let slow = self.site.timing.keep(reply.ran.ticks, batch.args(index));
                    self.site
                        .post
                        .answer(*client, call.row, reply.ran, slow, bytes);
                    start = reply.end;
                }
                Item::Work {
                    ticket,
                    cargo,
                    reply: Some(reply),
                    ..
                } => {
                    let bytes = &batch.replies[start..reply.end];
                    start = reply.end;
                    let cargo = std::mem::take(cargo);
                    let (bytes, ran) = own(bytes, reply.ran);
                    self.take_part(now, from, *ticket, (ran, cargo), bytes);
                }
                Item::Step {
                    call,
                    ticket,
                    index: at,
                    reply: Some(reply),
                    onward,
                    ..
                } => {
                    let bytes = &batch.replies[start..reply.end];
                    start = reply.end;
                    let slow = self.site.timing.keep(reply.ran.ticks, batch.args(index));
                    let (bytes, ran) = own(bytes, reply.ran);
                    let how = (ran, slow, onward.take());
                    self.take_step(now, (*ticket, *at), *call, how, bytes);
                }
                Item::Exec {
                    client,
                    task: Some(task),
                    reply: Some(reply),
                    ..
                } => {
                    let bytes = &batch.replies[start..reply.end];
                    start = reply.end;
                    self.site
                        .post
                        .answer(*client, task.row, reply.ran, None, bytes);
                    for done in task.done.drain(..) {
                        self.site.count(*client, done);
                    }
                }
                other => self.take_word(now, other),
            }
        }
        batch.items = items;
        self.pump(now);
    }

    /// An answer that is no reply.
    fn take_word(&mut self, now: UnixMs, item: &Item) {
        match item {
            Item::Check {
                ticket,
                unchanged: Some(unchanged),
                ..
            } => self.checked(now, *ticket, *unchanged),
            Item::Publish {
                publication: Some(publication),
                heard: Some(heard),
                ..
            } => self.take_heard(*publication, *heard),
            _ => {}
        }
    }

    /// The reply to an earlier request has come, with the request if it was slow.
    pub(super) fn take_late(&mut self, at: usize, batch: &mut Batch) {
        let Item::Late {
            client,
            row,
            ran,
            ref mut reply,
        } = batch.items[at]
        else {
            return;
        };
        let reply = std::mem::take(reply);
        let slow = self.site.timing.keep(ran.ticks, batch.args(at));
        self.site.post.answer_owned(client, row, ran, slow, reply);
    }

    /// A part that was done in slices is over, here or on another shard.
    pub(super) fn part_over(&mut self, now: UnixMs, from: ShardId, over: Over) {
        let Over {
            ticket,
            step,
            ran,
            slow,
            cargo,
            reply,
        } = over;
        match step {
            None => self.take_part(now, from, ticket, (ran, cargo), reply),
            Some((index, row)) => {
                self.keep_written((ticket, index), cargo);
                let how = (row, ran, slow);
                self.step_done(now, (ticket, index as usize), how, reply);
            }
        }
    }

    /// What a command of a program has replied before the rest of its reply.
    fn keep_written(&mut self, (ticket, index): (Ticket, u32), cargo: Cargo) {
        let written = cargo.sliced.map(|sliced| sliced.written);
        let bytes_max = self.site.reply_bytes_max();
        if let Some(written) = written.filter(|written| !written.is_empty())
            && let Some(program) = self.program(ticket)
        {
            program.keep_reply(index as usize, Vec::new(), written, bytes_max);
        }
    }

    /// A part that was put off is over on another shard.
    pub(super) fn take_ended(&mut self, now: UnixMs, from: ShardId, at: usize, batch: &mut Batch) {
        let Item::Ended {
            ticket,
            step,
            ran,
            cargo,
            reply,
        } = &mut batch.items[at]
        else {
            return;
        };
        let (ticket, step, ran) = (*ticket, *step, *ran);
        let (cargo, reply) = (std::mem::take(cargo), std::mem::take(reply));
        let slow = self.site.timing.keep(ran.ticks, batch.args(at));
        let over = Over {
            ticket,
            step,
            ran,
            slow: slow.filter(|_| step.is_some()),
            cargo,
            reply,
        };
        self.part_over(now, from, over);
    }

    /// A transaction has its reply, which ends with these pieces.
    pub(super) fn end_with(
        &mut self,
        now: UnixMs,
        transaction: &Transaction,
        (failed, reply): (bool, Vec<u8>),
        pieces: Vec<Vec<u8>>,
    ) {
        if pieces.is_empty() {
            self.end(now, transaction, failed, reply);
            return;
        }
        let Some((ticket, index)) = transaction.parent else {
            self.end(now, transaction, failed, reply);
            self.site.post.follow_with(pieces);
            return;
        };
        let bytes_max = self.site.reply_bytes_max();
        if let Some(program) = self.program(ticket) {
            program.keep_reply(index as usize, Vec::new(), pieces, bytes_max);
        }
        self.end(now, transaction, failed, reply);
    }
}
