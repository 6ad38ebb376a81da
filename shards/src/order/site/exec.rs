//! Blocks and commands of programs as they reach the shard: which locks they need,
//! whether they must wait for them, and what runs them.

use super::{Parked, Site};
use crate::command::{Cargo, Handler, OwnedArgs, Run, flags};
use crate::order::batch::{Batch, Item, ReplyEnd};
use crate::order::call::Call;
use crate::order::locks::{Lock, Scope};
use crate::order::program::{Block, Manner, Queued, Runs, Task};
use crate::order::reply::Ran;
use crate::order::split::Owners;
use crate::order::ticket::{Client, Ticket};
use crate::resp::Protocol;
use crate::tracking::Tracks;
use crate::types::{DbIndex, ShardId, UnixMs};

/// Commands of a block whose memory is fetched together.
const PREFETCHED: usize = 16;

impl Site {
    /// What a request that waits here holds: a block, as a request.
    pub fn parked_block(&self, home: ShardId, client: Client, task: Task) -> Parked {
        Parked {
            home,
            client,
            call: self.call_of_block(&task),
            args: OwnedArgs::default(),
            task: Some(Box::new(task)),
        }
    }

    /// EXEC as a request that does nothing itself.
    pub fn call_of_block(&self, task: &Task) -> Call {
        const NOTHING: Handler = |_, _| Ok(());
        task.manner.keyless(NOTHING, task.row)
    }

    /// Whether a block need not wait, although something is locked. One that may go on
    /// in slices takes its locks first.
    pub fn may_pass(&self, block: &Block) -> bool {
        !block.is_heavy() && self.is_block_free(block)
    }

    /// Whether no lock is in the way of any command of a block.
    pub fn is_block_free(&self, block: &Block) -> bool {
        let manner = Manner {
            db: DbIndex(0),
            protocol: Protocol::Resp2,
            no_touch: true,
            tracks: Tracks::default(),
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
    pub fn locks_of_block(&self, block: &Block) -> Vec<Lock> {
        let locks = self.locks_of_program(block).into_iter();
        locks.map(|(_, lock)| lock).collect()
    }

    /// All that a block locks, in shard order: the keys of its commands and, to
    /// be read, those that are watched; the whole shard where a command has no
    /// keys but is about them.
    pub fn locks_of_program(&self, block: &Block) -> Vec<(ShardId, Lock)> {
        let mut locks: Vec<(ShardId, Lock)> = Vec::new();
        for queued in block.iter() {
            let Runs::Engine { row, .. } = queued.runs else {
                continue;
            };
            // What cannot be cut is refused where it runs, and reads nothing.
            let Some(owners) = Owners::find(row, queued.args, |key| self.owner(key)) else {
                continue;
            };
            let whole = Lock::of_shard(queued.write);
            if owners.shards.is_empty() && matches!(row.run, Run::OneShard(_)) {
                if row.flags.has(flags::READONLY) || queued.write {
                    locks.push((self.id, whole));
                }
            } else if owners.shards.is_empty() {
                let all = owners.participants(self.shards).into_iter();
                locks.extend(all.map(|shard| (shard, whole)));
            } else {
                let keys = owners
                    .positions
                    .iter()
                    .filter_map(|at| queued.args.get(*at));
                let keys = keys.map(|key| Lock::of_key(self.locate(key), queued.write));
                locks.extend(owners.shards.iter().copied().zip(keys));
            }
        }
        for key in block.watched.iter().flat_map(|watched| &watched.keys) {
            locks.push((key.shard, Lock::to_read(key.hash)));
        }
        united(locks)
    }

    /// What runs next, until the block is paused, is a part of what `ticket`
    /// holds locks for here: in the log it stands together with all other parts. It belongs
    /// to the command with this number of the block, if it is one.
    pub fn group(&mut self, ticket: Ticket, number: u32) {
        let effects = self.shard.effects();
        effects.at_step(number);
        effects.enter_ticket(ticket.id());
    }

    /// Handles an item of a box that EXEC or UNWATCH has sent; whether it is to
    /// go back.
    pub fn receive_exec(
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
                ..
            } => {
                let Some(mut running) = task.take() else {
                    return false;
                };
                if !self.locks.is_empty() && !self.may_pass(&running.block) {
                    let parked = self.parked_block(from, *client, *running);
                    self.park(now, parked);
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
    pub fn run_step(&mut self, index: usize, batch: &mut Batch) -> bool {
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
        self.group(ticket, number);
        let answer = self.run_in(at, &call, index, &mut cargo, batch);
        self.shard.effects().leave_ticket();
        let answer = answer.expect("a command of a block never waits");
        if cargo.goes_on() {
            let ran = (answer.ran, batch.replies.split_off(before));
            let how = (call, false, cargo);
            let who = (at, ticket, ticket, number);
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
    pub fn prefetch_block(&self, task: &Task) {
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
