//! One history over all shards: how requests reach the shards that own their
//! keys, and in which order they run there.
//!
//! A [`Node`] is one core's part of it. It owns a site: its [`Shard`](crate::Shard), the
//! locks on its keys and all that waits or works there, which knows nothing of what
//! clients have under way elsewhere; and it drives the requests on several shards
//! that its own clients have begun. Nodes
//! exchange [`Batch`]es over channels that keep the order of each pair; the
//! server moves the boxes between cores, a simulation moves them on one thread.
//!
//! # One order
//! Whatever a node sends in one turn leaves in boxes with one *stamp*: a number that is
//! greater than all that were taken before, on whatever node. Nodes open boxes in the
//! order of stamps. What a node has for itself and may not do at once goes into a box,
//! too. A box is opened when it is below the node's *frontier*: all boxes with smaller
//! stamps have been pushed to where they go. Who takes a stamp and how the frontier is
//! known is the server's matter (`runtime/sequencer.rs`); nobody waits for a node that
//! has nothing to send.
//!
//! Requests that come from clients of the node itself, for its own keys, run at once:
//! they have no stamp. They come after all boxes that the node has opened, and it opens
//! what is below its frontier *after* it has collected its clients' input and *before*
//! it serves that.
//!
//! The order of everything is this: a box stands where the frontier passes its stamp; a
//! request that runs at once stands where its node has last looked at the frontier. The
//! frontier is one for all nodes, as it never goes back whoever asks.
//!
//! - Every node acts in that order: what was below the frontier when it looked, it has
//!   opened, and nothing else.
//! - It respects real time: both instants lie between the arrival of a request and its
//!   reply.
//! - It respects the order of a connection: a request runs at once only if nothing of
//!   its client is under way; otherwise it goes into a box, of this turn or a later one.
//!
//! So the history is strictly serializable, with the order of each connection, however
//! its pipeline goes from shard to shard; no request waits for the one before it.
//!
//! # Several shards
//! A request that the shards can answer in one round (MGET, MSET, DEL …) needs nothing
//! else: its parts have one stamp. Those of one turn travel together, as a *convoy*.
//!
//! Any other request on several shards is a *transaction*. It locks its keys, in that
//! order, and works under the locks:
//!
//! ```text
//!   home core ──Lock──▶ every shard with keys of it, in boxes with one stamp
//!   home core ◀─Granted─ shard, once it has all its keys
//!   home core ──Work (when ALL have granted)─▶ shard: runs it, releases, replies
//! ```
//!
//! Who meets a lock waits in its queue. It keeps its place in the order: whoever comes
//! later to the same key waits behind it, so nobody can tell that it has not run yet;
//! and it sees the shard as of when it came (the site's `instant`). What its client has
//! sent after it therefore need not wait.
//!
//! Invariants, and what they are for:
//! - All shards act on `Lock`s in the order of stamps, so the locks of two
//!   transactions queue in the same order everywhere: they cannot deadlock.
//! - No shard executes a part of a transaction before all shards have granted: whoever
//!   saw one half of it finds the other half locked or done.
//! - No read passes a write that waits, of the same key: what that write's client has sent
//!   after it may have been seen.
//! - A shard releases a transaction's locks with its last part there. Locks
//!   belong to the transaction, not to the connection: a client that goes away
//!   leaves none behind.
//! - A request that must wait for a lock waits in the lock's queue, first come
//!   first served.

//!
//! # Words for waiting
//! - *parked*: has come to its shard, and a lock is in its way: a request, a block, a box
//!   of a convoy. It has a ticket and runs when that is *granted*. What a ticket has been
//!   granted it *holds*.
//! - *blocked*: ran, found nothing to take, and waits for a key to appear; on each of
//!   its shards stands a *waiter* for it.
//! - *put off*: has begun, and goes on in slices.
//! - *paused*: a program that begins no further command yet. (CLIENT PAUSE is the
//!   server's.)
//! - *kept*: a key that is due and stays, for somebody who is judged as of before.

mod batch;
mod call;
mod convoy;
mod locks;
mod merge;
mod node;
mod post;
mod program;
mod reply;
mod site;
mod split;
#[cfg(test)]
mod tests;
mod ticket;
mod timing;
mod transaction;
mod waiters;

pub use batch::Batch;
pub use call::Call;
pub use merge::LogMerge;
pub use node::{HeardWithin, Node, Placement, Publisher, ServerStep};
pub use program::{Block, Manner, Watched};
pub use reply::{Ran, Replied, Rest};
pub use split::Owners;
pub use ticket::{Client, Ticket, TicketKind};
pub use timing::Timing;
pub use waiters::Unblock;
