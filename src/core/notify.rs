//! Keyspace notifications: what has happened to keys, told to whoever listens.
//!
//! A shard collects what is wanted (`shards::Notify`) in the order in which it happens. If
//! it is the only one, that is told with what else leaves in the turn; otherwise core 0 puts
//! what all shards have collected in one order, and tells it ([`history`](super::history)).
//! An event of a key is told by the channel of the key, then by that of the event.

use super::Core;
use shards::order::Publisher;
use shards::pubsub::Kind;
use shards::{Notified, Notify};

impl Core {
    /// The shard collects what the configuration wants.
    pub fn notify_as_configured(&mut self) {
        self.keep_history(self.config.logs.notify_keyspace_events);
    }

    /// Whether there is anything to publish that has not to be put in the order of others.
    #[inline]
    pub fn has_notices(&self) -> bool {
        self.node.shard().has_notices()
    }

    /// Publishes what has happened to keys, all of which are this core's.
    #[cold]
    pub fn publish_notices(&mut self) {
        let notices = self.node.shard_mut().effects().take_notices();
        self.notify(self.config.logs.notify_keyspace_events, &notices);
        self.deliver();
    }

    pub(super) fn notify(&mut self, wanted: Notify, notices: &[Notified]) {
        let mut channel = Vec::new();
        for Notified { db, key, word, .. } in notices {
            let mut tell = |core: &mut Self, of: &str, name: &[u8], text: &[u8]| {
                channel.clear();
                channel.extend_from_slice(of.as_bytes());
                channel.extend_from_slice(itoa::Buffer::new().format(db.0).as_bytes());
                channel.extend_from_slice(b"__:");
                channel.extend_from_slice(name);
                core.publish_by_itself(&channel, text);
            };
            if wanted.by_key() {
                tell(self, "__keyspace@", key, word.as_bytes());
            }
            if wanted.by_event() {
                tell(self, "__keyevent@", word.as_bytes(), key);
            }
        }
    }

    fn publish_by_itself(&mut self, channel: &[u8], text: &[u8]) {
        // Without memory for it nobody hears it, as nobody would whose connection lacks it.
        let _ = match self.shards {
            1 => {
                let told = self.node.publish_here(Kind::Channel, channel, text, None);
                told.map(|_| ())
            }
            // Always in boxes: what is told at once would overtake them.
            _ => {
                let by = Publisher::Nobody;
                self.node.publish(by, Kind::Channel, channel, text)
            }
        };
    }
}
