//! EXEC: runs the block of a MULTI.
//!
//! A block of engine commands whose keys, watched ones included, lie on one
//! shard is a request like any other there: it looks at the locks, waits for
//! them if it must, and runs in one piece. It is moved to the shard, not copied.
//!
//! Any other block is a program; see `drive`.

use super::{Node, Parked, Placement};
use crate::command::{Args, Cargo, Context, Handler, Merge, Outcome, OwnedArgs, Run, flags};
use crate::order::batch::{Batch, Item, ReplyEnd};
use crate::order::call::Call;
use crate::order::locks::{Lock, Scope};
use crate::order::program::{Block, Manner, Queued, Runs, Task, Watched, WatchedKey};
use crate::order::reply::Ran;
use crate::order::split::Owners;
use crate::order::ticket::{Client, Ticket, TicketKind};
use crate::order::transaction::{Then, Transaction};
use crate::resp::Protocol;
use crate::types::{DbIndex, ShardId, UnixMs};

/// Commands of a block whose memory is fetched together.
const PREFETCHED: usize = 16;

/// WATCH on one shard: the watcher's number, then the keys.
fn watch(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let watcher = args.get(1).and_then(|bytes| bytes.first_chunk());
    let watcher = u64::from_le_bytes(*watcher.expect("the home core puts it there"));
    let db = ctx.selected();
    for key in args.from(2).iter() {
        // What is due goes now, so that it does not count later; if it is to stay,
        // it is noted.
        ctx.db.expire(key);
        let hidden = ctx.db.is_hidden(key);
        let watches = &mut ctx.db.effects().watches;
        watches.add(watcher, (db, key), hidden);
    }
    ctx.reply.ok();
    Ok(())
}

/// A request whose keys, if it has any, are nobody's concern on its way.
fn keyless(handler: Handler, row: u16, manner: Manner) -> Call {
    Call {
        handler,
        row,
        db: manner.db,
        protocol: manner.protocol,
        no_touch: true,
        alone: false,
        write: false,
        keys: &[],
        located: None,
    }
}

impl Node {
    /// WATCH: from now on changes of these keys count for the client, by its
    /// id. Replies `+OK` through [`Node::replies`] when every shard knows.
    /// Appends the keys to `watched`, each once.
    pub fn watch(
        &mut self,
        now: UnixMs,
        client: Client,
        (row, manner): (u16, Manner),
        keys: Args<'_>,
        watched: &mut Watched,
    ) {
        watched.watcher = client.id;
        let mut own: Vec<(ShardId, &[u8])> = Vec::new();
        for key in keys.iter() {
            let shard = self.owner(key);
            let (db, hash) = (manner.db, self.hash(key));
            watched.keys.insert(WatchedKey { shard, db, hash });
            own.push((shard, key));
        }
        own.sort_by_key(|(shard, _)| *shard);
        let id = client.id.to_le_bytes();
        let part = |group: &[(ShardId, &[u8])]| {
            let keys = group.iter().map(|(_, key)| *key);
            let parts = [&b"WATCH"[..], &id].into_iter().chain(keys);
            Some((group.first()?.0, OwnedArgs::new(parts)))
        };
        let parts = own.chunk_by(|a, b| a.0 == b.0).filter_map(part).collect();
        let call = keyless(watch, row, manner);
        let transaction = Transaction::new(client, call, Then::Merge(Merge::Ok), parts);
        self.begin_unlocked(now, transaction, None);
        self.pump(now);
    }

    /// A client watches no more.
    pub fn unwatch(&mut self, watched: &Watched) {
        for shard in watched.shards() {
            let watcher = watched.watcher;
            if shard == self.id {
                self.shard.unwatch(watcher);
            } else {
                let item = Item::Unwatch { watcher };
                self.post.tell(shard, item);
            }
        }
    }

    /// The one shard that a block runs on in one piece, if there is one: any,
    /// if it has no keys at all.
    pub fn place_block(&self, block: &Block) -> Option<ShardId> {
        let mut only: Option<ShardId> = None;
        let mut fits = |shard: ShardId| *only.get_or_insert(shard) == shard;
        for queued in block.iter() {
            let Runs::Engine { row, .. } = queued.runs else {
                return None;
            };
            let owner = match self.known_owner(&queued) {
                Some(owner) => owner,
                None => match self.place_in(Owners::default(), row, queued.args) {
                    Placement::One(owner) => owner,
                    Placement::Several(_) => return None,
                },
            };
            if !fits(owner) {
                return None;
            }
        }
        let watched = block.watched.iter().flat_map(|watched| &watched.keys);
        let all_fit = watched.into_iter().all(|key| fits(key.shard));
        all_fit.then(|| only.unwrap_or(self.id))
    }

    /// The owner of a command's only key, when it was located before.
    pub(super) fn known_owner(&self, queued: &Queued<'_>) -> Option<ShardId> {
        let Runs::Engine { row, located } = queued.runs else {
            return None;
        };
        let single = matches!(row.run, Run::OneShard(_)) && row.keys.len() == 1;
        located
            .filter(|_| single)
            .map(|located| self.owner_of(&located))
    }

    /// Runs a block of `whose`, one of this core's clients, on its own shard and writes
    /// the reply, unless it has to wait: then the reply comes through
    /// [`Node::replies`], for `client()`, who has a place. Gives the block back if it is
    /// over; then how its commands went comes through [`Node::replies`], to be counted.
    pub fn exec_here(
        &mut self,
        now: UnixMs,
        (whose, client): (Client, impl FnOnce() -> Client),
        (row, manner): (u16, Manner),
        block: Box<Block>,
        out: &mut Vec<u8>,
    ) -> Option<Box<Block>> {
        let task = Task::new(block, manner, row);
        if !self.locks.is_empty() && !self.may_pass(&task.block) {
            let parked = self.parked_block(self.id, client(), task);
            self.hold_up(now, parked);
            self.pump(now);
            return None;
        }
        let running = self.begin_block(now, &task, None, out);
        if running.goes_on() {
            let reply = out.split_off(running.start());
            self.put_block_off((self.id, client()), task, running, reply);
            self.pump(now);
            return None;
        }
        let (done, too_long) = running.over();
        done.into_iter().for_each(|done| self.count(whose, done));
        if too_long {
            let ran = Ran {
                too_long,
                ..Ran::ended(false)
            };
            self.post.answer(client(), row, ran, None, &[]);
        }
        self.pump(now);
        Some(task.block)
    }

    /// Has a block run on the one shard with its keys, after all that its client has
    /// sent before.
    pub fn exec_there(
        &mut self,
        owner: ShardId,
        client: Client,
        (row, manner): (u16, Manner),
        block: Box<Block>,
    ) {
        let task = Box::new(Task::new(block, manner, row));
        let item = Item::Exec {
            client,
            task: Some(task),
            reply: None,
        };
        self.post.tell(owner, item);
    }

    /// What a request that waits here holds: a block, as a request.
    pub(super) fn parked_block(&self, home: ShardId, client: Client, task: Task) -> Parked {
        Parked {
            home,
            client,
            call: self.call_of_block(&task),
            args: OwnedArgs::default(),
            task: Some(Box::new(task)),
        }
    }

    /// EXEC as a request that does nothing itself.
    pub(super) fn call_of_block(&self, task: &Task) -> Call {
        const NOTHING: Handler = |_, _| Ok(());
        keyless(NOTHING, task.row, task.manner)
    }

    /// Whether a block need not wait, although something is locked. One that may go on
    /// in slices takes its locks first.
    fn may_pass(&self, block: &Block) -> bool {
        !block.is_heavy() && self.is_block_free(block)
    }

    /// Whether no lock is in the way of any command of a block.
    pub(super) fn is_block_free(&self, block: &Block) -> bool {
        let manner = Manner {
            db: DbIndex(0),
            protocol: Protocol::Resp2,
            no_touch: true,
            silent: true,
        };
        let free = |queued: Queued<'_>| {
            let call = queued.call(manner);
            call.is_none_or(|call| self.is_free(&call, queued.args))
        };
        let mut watched = block.watched.iter().flat_map(|watched| &watched.keys);
        watched.all(|key| self.locks.allows(key.hash, false)) && block.iter().all(free)
    }

    /// The locks that a block on this shard alone needs.
    pub(super) fn locks_of_block(&self, block: &Block) -> Vec<Lock> {
        let locks = self.locks_of_program(block).into_iter();
        locks.map(|(_, lock)| lock).collect()
    }

    /// All that a block locks, in shard order: the keys of its commands and, to
    /// be read, those that are watched; the whole shard where a command has no
    /// keys but is about them.
    pub(super) fn locks_of_program(&self, block: &Block) -> Vec<(ShardId, Lock)> {
        let mut locks: Vec<(ShardId, Lock)> = Vec::new();
        for queued in block.iter() {
            let Runs::Engine { row, .. } = queued.runs else {
                continue;
            };
            // What cannot be cut is refused where it runs, and reads nothing.
            let Some(owners) = Owners::find(row, queued.args, |key| self.owner(key)) else {
                continue;
            };
            let lock = |scope| Lock {
                scope,
                exclusive: queued.write,
            };
            if owners.shards.is_empty() && matches!(row.run, Run::OneShard(_)) {
                if row.flags.has(flags::READONLY) || queued.write {
                    locks.push((self.id, lock(Scope::Shard)));
                }
            } else if owners.shards.is_empty() {
                let all = owners.participants(self.shards).into_iter();
                locks.extend(all.map(|shard| (shard, lock(Scope::Shard))));
            } else {
                let keys = owners
                    .positions
                    .iter()
                    .filter_map(|at| queued.args.get(*at));
                let keys = keys.map(|key| lock(Scope::Key(self.hash(key))));
                locks.extend(owners.shards.iter().copied().zip(keys));
            }
        }
        for key in block.watched.iter().flat_map(|watched| &watched.keys) {
            let (scope, exclusive) = (Scope::Key(key.hash), false);
            locks.push((key.shard, Lock { scope, exclusive }));
        }
        united(locks)
    }

    /// What runs next, until the block is paused, is a part of what `ticket`
    /// holds locks for here, the `last` one perhaps: in the log it stands together
    /// with all other parts. Without locks nothing else belongs to it.
    pub(super) fn group(&mut self, ticket: Ticket, last: bool) {
        let effects = self.shard.effects();
        if effects.is_recording() {
            let last = last || !self.locks.knows(ticket);
            effects.go_on_with_block(ticket.block_id(), last);
        }
    }

    /// Handles an item of a box that EXEC or UNWATCH has sent; whether it is to
    /// go back.
    pub(super) fn receive_exec(
        &mut self,
        now: UnixMs,
        from: ShardId,
        index: usize,
        batch: &mut Batch,
    ) -> bool {
        match &mut batch.items[index] {
            Item::Exec {
                client,
                task,
                reply,
            } => {
                let Some(mut running) = task.take() else {
                    return false;
                };
                if !self.locks.is_empty() && !self.may_pass(&running.block) {
                    let parked = self.parked_block(from, *client, *running);
                    self.hold_up(now, parked);
                    return false;
                }
                self.prefetch_block(&running);
                let under_way = self.begin_block(now, &running, None, &mut batch.replies);
                if under_way.goes_on() {
                    let own = batch.replies.split_off(under_way.start());
                    self.put_block_off((from, *client), *running, under_way, own);
                    return false;
                }
                let (done, too_long) = under_way.over();
                running.done = done;
                let ticks = running.done.iter().map(|done| done.ran.ticks).sum();
                let ran = Ran {
                    failed: false,
                    too_long,
                    ticks,
                };
                let end = batch.replies.len();
                *reply = Some(ReplyEnd { end, ran });
                *task = Some(running);
                true
            }
            Item::Step { .. } => self.run_step(index, batch),
            Item::Check {
                watcher,
                at,
                unchanged,
                ..
            } => {
                *unchanged = Some(self.shard.settle(*at, *watcher));
                true
            }
            Item::Unwatch { watcher } => {
                self.shard.unwatch(*watcher);
                false
            }
            _ => false,
        }
    }

    /// Runs a command of a program that another node drives; whether its reply is there.
    fn run_step(&mut self, index: usize, batch: &mut Batch) -> bool {
        let Item::Step {
            call,
            ticket,
            at,
            index: number,
            ..
        } = batch.items[index]
        else {
            return false;
        };
        let mut cargo = Cargo {
            divisible: true,
            ..Cargo::default()
        };
        let before = batch.replies.len();
        self.group(ticket, false);
        let answer = self.run_in(at, &call, index, &mut cargo, batch);
        self.shard.effects().pause_block();
        let answer = answer.expect("a command of a block never waits");
        if cargo.goes_on() {
            let ran = (answer.ran, batch.replies.split_off(before));
            let how = (call, false, cargo);
            let who = (at, ticket, ticket);
            self.put_off(who, how, Some(number), batch.args(index), ran);
            return false;
        }
        let on = self.shard.onward().map(Box::new);
        if let Item::Step { reply, onward, .. } = &mut batch.items[index] {
            (*reply, *onward) = (Some(answer), on);
        }
        true
    }

    /// Has the memory that a block will touch fetched ahead.
    pub(super) fn prefetch_block(&self, task: &Task) {
        let located = || {
            let queued = task.block.iter().take(PREFETCHED);
            queued.filter_map(|queued| match queued.runs {
                Runs::Engine { located, .. } => located,
                Runs::Server { .. } => None,
            })
        };
        let keyspace = self.shard.keyspace(task.manner.db);
        located().for_each(|located| keyspace.prefetch_line(&located));
        located().for_each(|located| keyspace.prefetch_entry(&located));
    }

    /// Begins a transaction that needs no locks: those of `parent` cover it, or
    /// there is nothing to lock.
    pub(super) fn begin_unlocked(
        &mut self,
        now: UnixMs,
        mut transaction: Transaction,
        parent: Option<(Ticket, u32)>,
    ) {
        let index = self.transactions.vacant_key();
        let ticket = self.tickets.issue(TicketKind::Transaction, index);
        transaction.ticket = ticket;
        transaction.parent = parent;
        // As if all but one had granted, and that one did now.
        transaction.missing = 1;
        self.transactions.insert(transaction);
        let program = parent.and_then(|(ticket, _)| self.program(ticket));
        let at = program.map_or(now, |program| program.at);
        self.granted(now, ticket, at);
    }
}

/// Locks in shard order, each scope once and exclusively if anybody wants it so;
/// where a whole shard is wanted, nothing but that.
fn united(mut locks: Vec<(ShardId, Lock)>) -> Vec<(ShardId, Lock)> {
    // The whole shard comes last of its shard's, and exclusive before shared.
    locks.sort_unstable_by_key(|(shard, lock)| (*shard, lock.scope, !lock.exclusive));
    let mut united: Vec<(ShardId, Lock)> = Vec::with_capacity(locks.len());
    for group in locks.chunk_by(|a, b| a.0 == b.0) {
        match group.iter().find(|(_, lock)| lock.scope == Scope::Shard) {
            Some((shard, whole)) => {
                let exclusive = group.iter().any(|(_, lock)| lock.exclusive);
                united.push((
                    *shard,
                    Lock {
                        exclusive,
                        ..*whole
                    },
                ));
            }
            None => {
                let start = united.len();
                united.extend_from_slice(group);
                let rest = united.split_off(start);
                for lock in rest {
                    if united[start..]
                        .last()
                        .is_none_or(|last| last.1.scope != lock.1.scope)
                    {
                        united.push(lock);
                    }
                }
            }
        }
    }
    united
}
