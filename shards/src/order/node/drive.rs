//! Programs: blocks of a MULTI on several shards, or with commands of the server.
//!
//! A program asks for all its locks at once, and when
//! all shards have granted, the home core drives it:
//!
//! ```text
//!   check what is watched ─▶ begin command after command ─▶ release ─▶ reply
//!                             │ one shard: a Step
//!                             │ several: a transaction within, without locks
//!                             │ the server's: handed out, goes on with resume
//! ```
//!
//! Channels keep their order, so a command is begun without waiting for those
//! before it: whatever goes to one shard in one turn goes in one box. Only what
//! must read before it writes, a walk, or a command of the server makes the
//! program pause. The locks are released behind the last command, in the same
//! box. Locks belong to the program: a client that goes away leaves none.

use super::{Node, Placement};
use crate::command::{Args, Cargo, InSlices, OwnedArgs, Row, Run, Write, cursor_of};
use crate::keyspace::cursor_slot;
use crate::order::batch::Item;
use crate::order::call::Call;
use crate::order::post::MOVED_BYTES;
use crate::order::program::{Block, Manner, Pause, Phase, Program, Queued, Runs};
use crate::order::reply::Ran;
use crate::order::ticket::{Client, Ticket, TicketKind, number_of};
use crate::resp::Reply;
use crate::types::{ShardId, UnixMs};

/// A command of a program that the server is to run now.
pub struct ServerStep {
    pub ticket: Ticket,
    pub client: Client,
    /// Number of its row.
    pub row: u16,
    pub args: OwnedArgs,
}

impl Node {
    /// Runs a block that concerns several shards, or the server. The reply comes
    /// through [`Node::replies`]. The client must have no single-shard request
    /// under way.
    pub fn exec(
        &mut self,
        now: UnixMs,
        client: Client,
        (row, manner): (u16, Manner),
        block: Box<Block>,
    ) {
        self.close_convoy();
        let locks = self.site.locks_of_program(&block);
        let mut participants: Vec<ShardId> = locks.iter().map(|(shard, _)| *shard).collect();
        participants.dedup();
        let index = self.programs.vacant_key();
        let ticket = self.site.tickets.issue(TicketKind::Program, index);
        let unlocked = participants.is_empty();
        self.programs.insert(Program {
            client,
            ticket,
            row,
            replies: vec![Vec::new(); block.len()],
            bytes: 0,
            too_long: false,
            pieces: Vec::new(),
            block: Some(block),
            protocol: manner.protocol,
            manner,
            // One grant that nobody gives stands for none.
            missing: participants.len().max(1),
            at: UnixMs(0),
            participants,
            phase: Phase::Locking,
            changed: false,
            next: 0,
            pause: Pause::No,
            over: false,
            cut: usize::MAX,
            unheard: Vec::new(),
            headless: manner.silent,
        });
        if unlocked {
            self.program_granted(now, ticket, now);
        } else {
            self.ask_for_place(now, ticket, &locks);
        }
        self.pump(now);
    }

    /// The next command that the server is to run for a program; it answers
    /// with [`Node::resume`].
    pub fn server_step(&mut self) -> Option<ServerStep> {
        loop {
            let ticket = self.server_steps.pop_front()?;
            let Some(program) = self.program(ticket) else {
                continue;
            };
            let index = program.next.checked_sub(1)?;
            let queued = program.block.as_ref()?.get(index)?;
            return Some(ServerStep {
                ticket,
                client: program.client,
                row: queued.row,
                args: OwnedArgs::new(queued.args.iter()),
            });
        }
    }

    /// Whether [`Node::server_step`] has any.
    #[inline]
    pub fn has_server_steps(&self) -> bool {
        !self.server_steps.is_empty()
    }

    /// The server has run a command of a program: its reply, and how the
    /// client's further commands are to be run.
    pub fn resume(&mut self, now: UnixMs, ticket: Ticket, reply: Vec<u8>, manner: Manner) {
        let bytes_max = self.site.reply_bytes_max();
        let Some(program) = self.program(ticket) else {
            return;
        };
        if let Some(done) = program.next.checked_sub(1) {
            program.keep_reply(done, reply, Vec::new(), bytes_max);
        }
        program.manner = manner;
        program.pause = Pause::No;
        self.drive(now, ticket);
        self.pump(now);
    }

    /// The command that has just run for a program has closed its connection, after
    /// the reply to it: those to later commands, which run all the same, are left
    /// out.
    pub fn cut_replies(&mut self, ticket: Ticket) {
        if let Some(program) = self.program(ticket) {
            program.cut = program.cut.min(program.next);
        }
    }

    pub(super) fn program(&mut self, ticket: Ticket) -> Option<&mut Program> {
        let program = self.programs.get_mut(ticket.index())?;
        (program.ticket == ticket).then_some(program)
    }

    /// One more shard has granted a program of this node, at this instant.
    pub(super) fn program_granted(&mut self, now: UnixMs, ticket: Ticket, at: UnixMs) {
        let Some(program) = self.program(ticket) else {
            return;
        };
        if program.phase != Phase::Locking {
            return;
        }
        program.at = program.at.max(at);
        program.missing -= 1;
        if program.missing > 0 {
            return;
        }
        let at = program.at;
        let watched = program
            .block
            .as_mut()
            .and_then(|block| block.watched.take());
        let Some(watched) = watched else {
            program.phase = Phase::Running;
            self.drive(now, ticket);
            return;
        };
        program.phase = Phase::Checking;
        let shards = watched.shards();
        program.missing = shards.len();
        for shard in shards {
            let watcher = watched.watcher;
            if shard == self.site.id {
                let unchanged = self.site.shard.settle(at, watcher);
                self.checked(now, ticket, unchanged);
            } else {
                let item = Item::Check {
                    ticket,
                    watcher,
                    at,
                    unchanged: None,
                };
                self.site.post.tell(shard, item);
            }
        }
    }

    /// A shard has said whether what a program depends on is as it was.
    pub(super) fn checked(&mut self, now: UnixMs, ticket: Ticket, unchanged: bool) {
        let Some(program) = self.program(ticket) else {
            return;
        };
        program.changed |= !unchanged;
        program.missing -= 1;
        if program.missing > 0 {
            return;
        }
        program.phase = Phase::Running;
        if !program.changed {
            self.drive(now, ticket);
            return;
        }
        let program = self.programs.remove(ticket.index());
        for shard in &program.participants {
            self.release(*shard, ticket);
        }
        let mut out = Vec::new();
        if !program.headless {
            Reply::new(&mut out, program.protocol).null_array();
        }
        self.site
            .post
            .answer(program.client, program.row, Ran::ended(false), None, &out);
    }

    /// Begins the commands of a program, as far as it goes.
    fn drive(&mut self, now: UnixMs, ticket: Ticket) {
        let taken = self
            .program(ticket)
            .and_then(|program| program.block.take());
        let Some(block) = taken else {
            return; // being driven further up
        };
        let ended = self.begin_commands(now, ticket, &block);
        let Some(program) = self.program(ticket) else {
            return;
        };
        program.block = Some(block);
        if ended {
            program.over = true;
            for shard in std::mem::take(&mut program.participants) {
                self.release(shard, ticket);
            }
        }
        self.end_if_over(ticket);
    }

    /// See [`Node::drive`]; whether all commands are begun.
    fn begin_commands(&mut self, now: UnixMs, ticket: Ticket, block: &Block) -> bool {
        loop {
            let Some(program) = self.program(ticket) else {
                return false;
            };
            if program.pause == Pause::UntilQuiet && program.missing == 0 {
                program.pause = Pause::No;
            }
            if program.pause != Pause::No {
                return false;
            }
            let (index, manner) = (program.next, program.manner);
            let Some(queued) = block.get(index) else {
                return true;
            };
            match queued.runs {
                Runs::Server { apart: true } if program.missing > 0 => {
                    program.pause = Pause::UntilQuiet;
                }
                Runs::Server { .. } => {
                    program.next += 1;
                    program.pause = Pause::Server;
                    self.server_steps.push_back(ticket);
                }
                Runs::Engine { row, .. } => {
                    program.next += 1;
                    program.missing += 1;
                    if manner.silent {
                        program.leave_out(index);
                    }
                    self.begin_command(now, (ticket, index), &queued, row, manner);
                }
            }
        }
    }

    /// Begins one command: on its shard, or as a transaction within the program.
    fn begin_command(
        &mut self,
        now: UnixMs,
        (ticket, index): (Ticket, usize),
        queued: &Queued<'_>,
        row: &'static Row,
        manner: Manner,
    ) {
        let Some(call) = queued.call(manner) else {
            return;
        };
        let placement = match self.known_owner(queued) {
            Some(owner) => Placement::One(owner),
            None => self.place(row, queued.args),
        };
        // It may go on in slices, and what follows is not to overtake it.
        let pauses = |program: &mut Program| program.pause = Pause::For(index);
        if row.is_heavy(queued.args.len()) {
            self.program(ticket).map(pauses);
        }
        let owners = match placement {
            Placement::Several(owners) => owners,
            Placement::One(owner) => {
                return self.step(now, (ticket, index), owner, call, queued.args);
            }
        };
        let at_once = matches!(row.run, Run::EachShard { .. }) && row.slices != InSlices::Always;
        if !at_once {
            self.program(ticket).map(pauses);
        }
        if let Run::ByCursor(_) = row.run {
            self.walk_within(now, (ticket, index), call, queued.args);
            return;
        }
        let Some(program) = self.program(ticket) else {
            return;
        };
        let client = program.client;
        if let Some((transaction, _)) = self.compose(client, call, row, queued.args, owners) {
            self.begin_unlocked(now, transaction, Some((ticket, number_of(index))));
        }
    }

    /// A step of a walk of a program.
    fn walk_within(&mut self, now: UnixMs, of: (Ticket, usize), call: Call, args: Args<'_>) {
        let cursor = args.get(1).and_then(cursor_of);
        let owner = cursor.map_or(self.site.id, |cursor| {
            ShardId::of_slot(cursor_slot(cursor), self.site.shards)
        });
        self.step(now, of, owner, call, args);
    }

    /// Runs a command of a program on one shard: here, or there.
    fn step(
        &mut self,
        now: UnixMs,
        (ticket, index): (Ticket, usize),
        owner: ShardId,
        call: Call,
        args: Args<'_>,
    ) {
        let Some(Program { at, .. }) = self.program(ticket) else {
            return;
        };
        let at = *at;
        if owner != self.site.id {
            let item = Item::Step {
                call,
                ticket,
                at,
                index: number_of(index),
                reply: None,
                onward: None,
            };
            self.site.post.batch_for(owner).push(item, args.iter());
            return;
        }
        let mut reply = Vec::new();
        let mut cargo = Cargo {
            divisible: true,
            ..Cargo::default()
        };
        self.site.group(ticket, number_of(index));
        let ran = self.site.apply(at, &call, args, &mut cargo, &mut reply);
        self.site.shard.effects().leave_ticket();
        let ran = ran.expect("a command of a block never waits");
        if cargo.goes_on() {
            let number = number_of(index);
            let (who, step) = ((at, ticket, ticket, number), Some(number));
            return self
                .site
                .put_off(who, (call, false, cargo), step, args, (ran, reply));
        }
        match self.site.shard.onward() {
            Some(on) => {
                let call = Call {
                    handler: on.handler,
                    ..call
                };
                self.walk_within(now, (ticket, index), call, on.args.args());
            }
            None => {
                let how = (call.row, ran, self.site.timing.keep(ran.ticks, args));
                self.step_done(now, (ticket, index), how, reply);
            }
        }
    }

    /// A command of a program has run on another shard.
    pub(super) fn take_step(
        &mut self,
        now: UnixMs,
        (ticket, index): (Ticket, u32),
        call: Call,
        (ran, slow, onward): (Ran, Option<Box<OwnedArgs>>, Option<Box<Write>>),
        reply: Vec<u8>,
    ) {
        let of = (ticket, index as usize);
        match onward {
            Some(on) => {
                let call = Call {
                    handler: on.handler,
                    ..call
                };
                self.walk_within(now, of, call, on.args.args());
            }
            None => self.step_done(now, of, (call.row, ran, slow), reply),
        }
    }

    /// A command of a program has its reply.
    pub(super) fn step_done(
        &mut self,
        now: UnixMs,
        (ticket, index): (Ticket, usize),
        (row, ran, slow): (u16, Ran, Option<Box<OwnedArgs>>),
        reply: Vec<u8>,
    ) {
        let error: &[u8] = if ran.failed { &reply } else { &[] };
        let Some(Program { client, .. }) = self.program(ticket) else {
            return;
        };
        let client = client.only_counted();
        self.site.post.answer(client, row, ran, slow, error);
        let bytes_max = self.site.reply_bytes_max();
        let Some(program) = self.program(ticket) else {
            return;
        };
        program.too_long |= ran.too_long && !program.is_unheard(index);
        program.keep_reply(index, reply, Vec::new(), bytes_max);
        program.missing -= 1;
        if program.pause == Pause::For(index) {
            program.pause = Pause::No;
        }
        if program.over {
            self.end_if_over(ticket);
        } else {
            self.drive(now, ticket);
        }
    }

    /// A command of a program has sent what it writes: the next may follow.
    pub(super) fn writes_sent(&mut self, now: UnixMs, (ticket, index): (Ticket, u32)) {
        let Some(program) = self.program(ticket) else {
            return;
        };
        if program.pause == Pause::For(index as usize) {
            program.pause = Pause::No;
            self.drive(now, ticket);
        }
    }

    /// Answers when the last reply is in.
    fn end_if_over(&mut self, ticket: Ticket) {
        let Some(program) = self.program(ticket) else {
            return;
        };
        if !program.over || program.missing > 0 {
            return;
        }
        let program = self.programs.remove(ticket.index());
        let mut ran = Ran {
            too_long: program.too_long,
            ..Ran::ended(false)
        };
        let mut out = Vec::new();
        if !program.headless {
            Reply::new(&mut out, program.protocol).array(program.replies.len());
        }
        // Long replies are moved, short ones go where there is room behind the last.
        let mut tail: Vec<Vec<u8>> = Vec::new();
        let mut long = program.pieces.into_iter().peekable();
        for (index, reply) in program.replies.into_iter().enumerate().take(program.cut) {
            let last = tail.last_mut().unwrap_or(&mut out);
            if last.len() + reply.len() > MOVED_BYTES {
                tail.push(reply);
            } else if last.try_reserve(reply.len()).is_ok() {
                last.extend_from_slice(&reply);
            } else {
                ran.too_long = true;
                break;
            }
            while let Some((_, pieces)) = long.next_if(|(at, _)| *at == index) {
                tail.extend(pieces);
            }
        }
        if ran.too_long {
            (out, tail) = (Vec::new(), Vec::new());
        }
        self.site
            .post
            .answer(program.client, program.row, ran, None, &out);
        self.site.post.follow_with(tail);
    }
}
