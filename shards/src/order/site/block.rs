//! Blocks whose keys all lie on this shard, as they run there: in one piece, or, if a
//! command of theirs has much to do, in slices.
//!
//! A block takes no locks before a command goes on in slices (`command/work.rs`). Then
//! it takes those of all its commands, which are free, as nothing else has run since it
//! began; and it is judged at the instant of its beginning to its end. One that may
//! come to that does not pass what waits for locks, or they would not be free.

use super::slices::{Slice, Stepped};
use super::{Parked, Site};
use crate::command::{Cargo, OwnedArgs};
use crate::order::call::Call;
use crate::order::program::{Done, Task};
use crate::order::reply::Ran;
use crate::order::ticket::{Client, Ticket, TicketKind};
use crate::resp::Reply;
use crate::types::{ShardId, UnixMs};

/// How far a block has come.
pub struct Running {
    at: UnixMs,
    /// What holds its locks, or will if it goes on in slices; only for those that may.
    ticket: Option<Ticket>,
    /// The command that is next, or at work.
    next: usize,
    /// What that has done, where its reply begins, and what it took.
    cargo: Cargo,
    reply_from: usize,
    ticks: u64,
    done: Vec<Done>,
    /// Where the reply to all begins, and where it is too long.
    start: usize,
    end: usize,
    too_long: bool,
}

impl Running {
    /// Whether a command has more to do.
    pub fn goes_on(&self) -> bool {
        self.cargo.goes_on()
    }

    /// Where its reply begins in what it was given.
    pub fn start(&self) -> usize {
        self.start
    }

    /// How its commands went, and whether the reply is too long: then all of it has run
    /// all the same, and there is none.
    pub fn over(self) -> (Vec<Done>, bool) {
        (self.done, self.too_long)
    }
}

/// A block that goes on in slices.
pub(super) struct LongBlock {
    home: ShardId,
    client: Client,
    task: Task,
    running: Running,
    reply: Vec<u8>,
}

impl LongBlock {
    /// Whether it may change keys.
    pub fn writes(&self) -> bool {
        self.task.block.writes()
    }
}

impl Site {
    /// Runs a block, in one piece unless a command goes on in slices. `held` is what has
    /// its locks, if it had to take them.
    pub fn begin_block(
        &mut self,
        now: UnixMs,
        task: &Task,
        held: Option<Ticket>,
        out: &mut Vec<u8>,
    ) -> Running {
        let Task { block, manner, .. } = task;
        let start = out.len();
        let mut running = Running {
            at: now,
            ticket: None,
            next: 0,
            cargo: Cargo::default(),
            reply_from: start,
            ticks: 0,
            done: Vec::new(),
            start,
            end: start.saturating_add(self.reply_bytes_max()),
            too_long: false,
        };
        if let Some(watched) = &block.watched
            && !self.shard.settle(now, watched.watcher)
        {
            Reply::new(out, manner.protocol).null_array();
            running.next = block.len();
            return running;
        }
        running.done.reserve(block.len());
        let mut header = Reply::until(out, manner.protocol, running.end);
        header.array(block.len());
        running.too_long = header.is_cut();
        if block.is_heavy() {
            let number = self.parked.vacant_key();
            let new = || self.tickets.issue(TicketKind::Request, number);
            running.ticket = Some(held.unwrap_or_else(new));
            running.cargo.divisible = true;
        }
        if let Some(ticket) = running.ticket.filter(|_| block.writes()) {
            // It has no locks yet, but nothing else has run when it takes them.
            let nothing = (std::iter::empty(), false);
            self.shard.effects().reserve(ticket.id(), nothing, true);
        }
        self.run_commands(task, &mut running, out);
        running
    }

    /// Runs the commands of a block until one has more to do, or all are over.
    fn run_commands(&mut self, task: &Task, running: &mut Running, out: &mut Vec<u8>) {
        let effects = self.shard.effects();
        match running.ticket {
            Some(ticket) => effects.enter_ticket(ticket.id()),
            None => effects.open_block(),
        }
        let mut began = (self.timing.clock)();
        while let Some(queued) = task.block.get(running.next) {
            let Some(call) = queued.call(task.manner) else {
                running.next += 1;
                continue;
            };
            if !running.goes_on() {
                running.reply_from = out.len();
                // What the command before has left is none of its.
                running.cargo.sliced = None;
            }
            let before = out.len();
            let request = call.request(queued.args);
            self.begins(&call);
            let outcome = match running.ticket {
                Some(_) => {
                    let cargo = &mut running.cargo;
                    self.shard.apply_with(running.at, &request, cargo, out)
                }
                None => self.shard.apply(running.at, &request, out),
            };
            self.ran(&call, queued.args);
            let ended = (self.timing.clock)();
            running.ticks += ended.saturating_sub(began);
            began = ended;
            let ran = Ran::of(&outcome, running.ticks);
            if ran.failed {
                // What it has replied in slices before is no reply any more.
                out.drain(running.reply_from..before);
            }
            running.too_long |= ran.too_long || out.len() > running.end;
            if running.too_long {
                out.truncate(running.start);
                running.reply_from = running.start;
            }
            if running.goes_on() {
                break;
            }
            let error = match ran.failed {
                true => out.get(running.reply_from..).unwrap_or_default().to_vec(),
                false => Vec::new(),
            };
            running.done.push(Done {
                row: queued.row,
                ran,
                slow: self.timing.keep(ran.ticks, queued.args),
                error,
            });
            running.next += 1;
            running.ticks = 0;
        }
        let effects = self.shard.effects();
        effects.leave_ticket();
        if let Some(ticket) = running.ticket.filter(|_| !running.goes_on()) {
            effects.end_ticket(ticket.id());
        }
    }

    /// A block has more to do: it takes its locks, unless it has them.
    pub fn put_block_off(
        &mut self,
        (home, client): (ShardId, Client),
        task: Task,
        running: Running,
        reply: Vec<u8>,
    ) {
        let mut running = running;
        if let Some(ticket) = running.ticket {
            if !self.locks.knows(ticket) {
                let locks = self.locks_of_block(&task.block);
                let granted = self.try_lock(ticket, locks);
                assert!(granted, "no lock was in its way when it began");
            }
            self.look_for_long(running.at, ticket);
        }
        // From here on the reply lies alone.
        let apart = running.start;
        running.start = 0;
        running.reply_from -= apart;
        running.end -= apart;
        self.slices.push_back(Slice::Block(Box::new(LongBlock {
            home,
            client,
            task,
            running,
            reply,
        })));
    }

    /// Takes a step of a block that goes on in slices.
    pub(super) fn go_on_with_block(&mut self, mut long: Box<LongBlock>) -> Stepped {
        self.run_commands(&long.task, &mut long.running, &mut long.reply);
        if long.running.goes_on() {
            self.slices.push_back(Slice::Block(long));
            return Stepped::On;
        }
        let LongBlock {
            home,
            client,
            task,
            running,
            reply,
        } = *long;
        let ticket = running.ticket;
        self.block_over((home, client), &task, running, reply);
        if let Some(ticket) = ticket {
            self.release_here(ticket);
        }
        Stepped::Over(None)
    }

    /// A block has its locks and runs, for a request that had to wait; whether it goes
    /// on under them.
    pub(super) fn exec_late(&mut self, now: UnixMs, held: Ticket, request: Parked) -> bool {
        let Some(task) = request.task else {
            return false;
        };
        let client = (request.home, request.client);
        let mut reply = Vec::new();
        let running = self.begin_block(now, &task, Some(held), &mut reply);
        let goes_on = running.goes_on();
        match goes_on {
            true => self.put_block_off(client, *task, running, reply),
            false => self.block_over(client, &task, running, reply),
        }
        goes_on
    }

    /// A block whose box has gone back without a reply is over.
    fn block_over(
        &mut self,
        (home, client): (ShardId, Client),
        task: &Task,
        running: Running,
        reply: Vec<u8>,
    ) {
        let (done, too_long) = running.over();
        let call = self.call_of_block(task);
        let ticks = done.iter().map(|done| done.ran.ticks).sum();
        for Done {
            row,
            ran,
            slow,
            error,
        } in done
        {
            let call = Call { row, ..call };
            let request = slow.unwrap_or_default();
            let client = client.only_counted();
            self.answer_late(home, client, &call, request.args(), ran, error);
        }
        let ran = Ran {
            failed: false,
            too_long,
            ticks,
        };
        let nothing = OwnedArgs::default();
        self.answer_late(home, client, &call, nothing.args(), ran, reply);
    }

    /// Counts a command of a client's block.
    pub fn count(&mut self, client: Client, done: Done) {
        self.post.answer(
            client.only_counted(),
            done.row,
            done.ran,
            done.slow,
            &done.error,
        );
    }
}
