//! Commands of the engine that the server has run by itself, for no client.

use super::Core;
use shards::Row;
use shards::command::OwnedArgs;
use shards::order::{Call, Client, Placement};

impl Core {
    /// The key of a connection that there is not: replies to it are the server's own.
    pub(super) const OWN_KEY: u32 = (1 << 31) - 1;

    /// The number of the row that such commands are counted with, behind those of the
    /// registry.
    fn own_row(&self) -> u16 {
        (self.row_flags.len() - 1) as u16
    }

    /// Has all shards run a command that takes no arguments. The reply comes to
    /// [`Core::own_replies`].
    pub fn run_by_itself(&mut self, row: &'static Row) {
        let args = OwnedArgs::new([row.name.as_bytes()]);
        let client = Client {
            key: Self::OWN_KEY,
            id: 0,
            place: 0,
        };
        let call = Call {
            row: self.own_row(),
            no_touch: true,
            ..Call::of(row)
        };
        match self.node.place(row, args.args()) {
            Placement::One(owner) => self.node.send(owner, client, call, args.args()),
            Placement::Several(owners) => {
                self.node
                    .begin(self.now, client, call, row, args.args(), owners);
            }
        }
        self.deliver();
    }
}
