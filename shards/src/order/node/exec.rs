//! EXEC: runs the block of a MULTI.
//!
//! A block of engine commands whose keys, watched ones included, lie on one
//! shard is a request like any other there: it looks at the locks, waits for
//! them if it must, and runs in one piece. It is moved to the shard, not copied.
//!
//! Any other block is a program; see `drive`.

use super::{Node, Placement};
use crate::command::{Args, Context, Outcome, OwnedArgs, Run, merge};
use crate::order::batch::Item;
use crate::order::program::{Block, Manner, Queued, Runs, Task, Watched, WatchedKey};
use crate::order::reply::Ran;
use crate::order::split::Owners;
use crate::order::ticket::{Client, Ticket, TicketKind};
use crate::order::transaction::{Then, Transaction};
use crate::types::{ShardId, UnixMs};

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
        let effects = ctx.db.effects();
        effects.watch(|watches| watches.add(watcher, (db, key), hidden));
    }
    ctx.reply.ok();
    Ok(())
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
            let (db, hash) = (manner.db, self.site.hash(key));
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
        let call = manner.keyless(watch, row);
        let transaction = Transaction::new(client, call, Then::Merge(merge::all_ok), parts);
        self.begin_unlocked(now, transaction, None);
        self.pump(now);
    }

    /// A client watches no more.
    pub fn unwatch(&mut self, watched: &Watched) {
        for shard in watched.shards() {
            let watcher = watched.watcher;
            if shard == self.site.id {
                self.site.shard.unwatch(watcher);
            } else {
                let item = Item::Unwatch { watcher };
                self.site.post.tell(shard, item);
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
        all_fit.then(|| only.unwrap_or(self.site.id))
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
        if !self.site.is_unlocked() && !self.site.may_pass(&task.block) {
            let parked = self.site.parked_block(self.site.id, client(), task);
            self.site.park(now, parked);
            self.pump(now);
            return None;
        }
        let running = self.site.begin_block(now, &task, None, out);
        if running.goes_on() {
            let reply = out.split_off(running.start());
            self.site
                .put_block_off((self.site.id, client()), task, running, reply);
            self.pump(now);
            return None;
        }
        let (done, too_long) = running.over();
        done.into_iter()
            .for_each(|done| self.site.count(whose, done));
        if too_long {
            let ran = Ran {
                too_long,
                ..Ran::ended(false)
            };
            self.site.post.answer(client(), row, ran, None, &[]);
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
            number: self.site.post.numbers(1),
            task: Some(task),
            reply: None,
        };
        self.site.post.tell(owner, item);
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
        let ticket = self.site.tickets.issue(TicketKind::Transaction, index);
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
