//! What MULTI collects until EXEC.

use shards::order::Block;

/// The commands of an open MULTI.
#[derive(Debug, Default)]
pub struct Queue {
    pub block: Box<Block>,
    /// A command was refused: EXEC will refuse them all.
    pub refused: bool,
}
