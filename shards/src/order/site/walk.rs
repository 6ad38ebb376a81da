//! Walks over all shards ([`Run::ByCursor`](crate::command::Run::ByCursor)): a
//! request goes to the shard that its cursor names, and from there on to the
//! next, until it has a reply for its client.
//!
//! Each step is a request on one shard like any other, except that it concerns
//! all of the shard's keys: it waits for whatever is locked. Otherwise somebody
//! could see one half of a transaction elsewhere and then miss the other here.
//! It costs nothing while nothing is locked; a step that must wait stands in
//! the lock queues as a reader of the whole shard.
//!
//! A client with a walk under way must have nothing else under way: the steps
//! take a path of their own.

use super::{Parked, Site};
use crate::command::{Args, cursor_of};
use crate::keyspace::cursor_slot;
use crate::order::batch::Item;
use crate::order::call::Call;
use crate::order::ticket::Client;
use crate::types::{ShardId, UnixMs};

impl Site {
    /// Takes the next step of a walk of a client of `home`: here or elsewhere.
    pub fn walk(&mut self, now: UnixMs, home: ShardId, client: Client, call: Call, args: Args<'_>) {
        // What is no cursor is refused wherever it runs; here is nearest.
        let cursor = args.get(1).and_then(cursor_of);
        let owner = cursor.map_or(self.id, |cursor| {
            ShardId::of_slot(cursor_slot(cursor), self.shards)
        });
        if owner != self.id {
            let item = Item::Walk { call, home, client };
            self.post.batch_for(owner).push(item, args.iter());
            return;
        }
        let request = Parked::new(home, client, call, args);
        if self.must_wait(&call, args) {
            self.park(now, request);
        } else if let Some(long) = self.run_late(now, request) {
            self.park(now, long);
        }
    }
}
