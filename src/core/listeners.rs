//! Clients that listen, and what clients are told unasked.

use super::Core;
use super::monitor::LINE;
use crate::session::connection::Phase;
use shards::pubsub::Kind;
use shards::replies::Untold;

/// More than so many clients who are told something in one turn are a crowd: a send takes
/// some microseconds, and others are not to wait for thousands of them.
pub const CROWD: usize = 64;

/// Who publishes to more than so many clients in a turn goes on in the next.
pub const TOLD_PER_TURN: usize = 4096;

impl Core {
    /// What a client listens to has changed.
    pub fn mind_subscriptions(&mut self, key: u32) {
        let subscriptions = self.node.subscriptions();
        let listens = Kind::ALL
            .into_iter()
            .any(|kind| subscriptions.count(key, kind) > 0);
        let connection = &mut self.connections[key as usize];
        connection.session.listens = listens;
        connection.class = connection.session.class();
    }

    /// A client has gone, or begins anew: it listens to nothing.
    pub fn stop_listening(&mut self, key: u32) {
        if self.connections[key as usize].session.listens {
            self.node.subscriptions_mut().drop_client(key);
            self.mind_subscriptions(key);
        }
    }

    /// Hands out what clients are to be told. Who would be owed more than its class may be
    /// is closed at once.
    pub fn tell(&mut self) {
        let Self {
            node,
            connections,
            stats,
            dirty,
            spare_buffers,
            output_max,
            crowd,
            told: told_now,
            ..
        } = self;
        node.told(|told| {
            let Some(connection) = connections.get_mut(told.to as usize) else {
                return;
            };
            let is_meant = told.id.is_none_or(|id| id == connection.session.id);
            if !is_meant || connection.phase != Phase::Open {
                return;
            }
            if told.head == LINE && !connection.session.hears_commands() {
                return;
            }
            if !connection.has_buffer() {
                connection.lend_buffer(spare_buffers.take());
            }
            let max = output_max[connection.class as usize];
            match connection.tell(&told, max) {
                Ok(()) => {}
                Err(Untold::BeyondLimit) => connection.close_at_limit(stats),
                Err(Untold::NoMemory) => connection.close(),
            }
            *told_now += 1;
            if connection.dirty || connection.in_crowd {
                return;
            }
            if *told_now > CROWD {
                connection.in_crowd = true;
                crowd.push_back(told.to);
            } else {
                connection.dirty = true;
                dirty.push(told.to);
            }
        });
    }
}
