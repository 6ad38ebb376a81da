//! What is under way on a node and may still write: what a pause waits for.

use super::Node;

impl Node {
    /// Whether something that has begun may still write: a transaction, a block or a
    /// convoy of this core's clients, a request that waits for locks here or goes on in
    /// slices, one for which a key has appeared here, or one in a box that has come and
    /// is not opened. Requests that travel are not seen, nor those that wait for a key
    /// that has not appeared.
    pub fn has_writes(&self) -> bool {
        let mut programs = self.programs.iter();
        self.transactions.iter().any(|(_, it)| it.call.write)
            || self.open.iter().any(|convoy| convoy.writes())
            || self.convoys.iter().any(|(_, convoy)| convoy.writes())
            || self.own_boxes().any(|batch| batch.writes())
            || programs.any(|(_, it)| it.block.as_ref().is_some_and(|block| block.writes()))
            || self.site.has_writes()
    }
}
