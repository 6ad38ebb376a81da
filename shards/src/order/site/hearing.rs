//! What clients of this core are told unasked.

use super::Site;
use crate::order::batch::Item;
use crate::order::ticket::Client;
use crate::pubsub::{Cause, Message, Push};

impl Site {
    /// Tells a message to those who listen here; how many there are.
    fn hear(&mut self, message: &Message, topics: u64, cause: Option<Cause>) -> u64 {
        self.subscriptions
            .hear(message, topics, cause, &mut self.told)
    }

    /// An item has come that is for clients; whether the sender wants to know how many
    /// were told.
    pub fn receive_told(&mut self, item: &mut Item) -> bool {
        match item {
            Item::Publish {
                message,
                topics,
                cause,
                publication,
                heard,
            } => {
                *heard = Some(self.hear(message, *topics, *cause));
                publication.is_some()
            }
            Item::Tell { to, caused, push } => {
                self.tell_here((*to, *caused), push);
                false
            }
            _ => false,
        }
    }

    /// Tells one client something.
    pub fn tell_here(&mut self, (to, caused): (Client, bool), push: &Push) {
        let cause = caused.then_some(Cause {
            key: to.key,
            place: to.place,
        });
        self.told.tell(to.key, to.id, cause, push);
    }
}
