//! One history over all shards: how requests reach the shards that own their
//! keys, and in which order they run there.
//!
//! A [`Node`] is one core's part of it: its [`Shard`](crate::Shard), the locks
//! on its keys, and the transactions that its connections have begun. Nodes
//! exchange [`Batch`]es over channels that keep the order of each pair; the
//! server moves the boxes between cores, a simulation moves them on one thread.
//!
//! # Order
//! A request whose keys lie on one shard runs there in one piece. It looks at
//! the locks only when there are any.
//!
//! Any other request is a *transaction*:
//!
//! ```text
//!   home core ──Begin──▶ coordinator ──Lock──▶ every shard with keys of it
//!   home core ◀─────────────Granted─────────── shard, once it has all its keys
//!   home core ──Work (when ALL have granted)─▶ shard: runs it, releases, replies
//! ```
//!
//! Requests that need one round only (MGET, MSET, DEL …) travel together: those
//! that a core's clients send in one turn form a *convoy*, which asks for the
//! locks of all of them at once and then sends one box to each shard. To the
//! order it is one transaction. Readers and writers travel apart, so that no
//! reader waits for what only a writer must wait for; a request of another kind
//! closes the convoy first, so that transactions begin in the order in which
//! they came.
//!
//! A convoy on all shards is told that it is granted its locks when it has its place
//! in their queues. Its boxes go out then, and a box that comes before its locks are
//! free waits for them where it is. Many convoys that share keys thus follow one
//! another without a round of messages between one and the next. A convoy of the
//! coordinator's own clients on its own shard and one other needs no grants at all:
//! the box carries the locks, the other shard works on it as soon as it has them,
//! and the coordinator's part runs when the answer is back.
//!
//! Invariants, and what they are for:
//! - The coordinator sends all `Lock`s in one order, and channels keep it, so
//!   the locks of two transactions queue in the same order on every shard:
//!   they cannot deadlock.
//! - No shard executes a part before all shards have granted: whoever saw one
//!   half of a transaction finds the other half locked or done. For a convoy on all
//!   shards it is enough that all have it in their queues: who comes later waits
//!   behind it. Not for one on some shards: what it follows on one of them might
//!   not have reached another yet, and who has seen the convoy done would find that
//!   undone. A convoy on all shards is everywhere after whatever was ordered before
//!   it.
//! - A shard releases a transaction's locks with its last part there. Locks
//!   belong to the transaction, not to the connection: a client that goes away
//!   leaves none behind.
//! - A request that must wait for a lock waits in the lock's queue, first come
//!   first served; later requests of the same client to the same shard wait
//!   behind it, so that they keep their order.
//! - A connection has either single-shard requests or transactions under way,
//!   never both: [`Node::begin`]'s caller waits for the former, and then for
//!   the latter. Transactions of one connection keep their order through the
//!   coordinator.

mod batch;
mod convoy;
mod locks;
mod node;
mod program;
mod split;
#[cfg(test)]
mod tests;
mod transaction;
mod waiters;
mod watch;

pub use batch::{Batch, Call, Client, Ticket};
pub use node::{Node, Placement, ServerStep, Unblock};
pub use program::{Block, Manner, Watched};
pub use split::Owners;
pub use watch::{Ran, Replied, Rest, Watch};
