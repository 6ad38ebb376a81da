//! The engine of Cordis: everything deterministic.
//!
//! A [`Shard`] is a function *(state, now, request) → (state, reply, effects)*.
//! The crate has no socket, file, thread, clock, `async` or ambient
//! randomness, so one thread can run eight shards and replay any history from
//! a seed. `README.md` beside `Cargo.toml` holds the invariants and pictures
//! of the memory layout.
#![deny(unsafe_code)]
// Handlers return `Outcome`; documenting "# Errors" on each would repeat the
// command's own documentation.

pub mod command;
pub mod counted;
mod effects;
mod error;
pub mod glob;
mod keep;
mod keyspace;
mod log;
mod number;
pub mod order;
pub mod pubsub;
pub mod rdb;
pub mod replies;
pub mod resp;
mod shard;
pub mod tracking;
mod types;
mod value;
mod watch;

pub use command::{Args, COMMANDS, Command, Context, Outcome, Row, row};
pub use effects::{Effects, Event, Notice, Notify};
pub use error::{CommandError, ProtocolError, until_nul};
pub use keep::Keep;
pub use keyspace::{
    Chunk, Db, ExpireProgress, Item, Keyspace, KeyspaceInfo, Loaded, Located, Object, Parcel,
    StringRef, Ttl, Unloadable, ValueRef, View, Walked, slot_of,
};
pub use log::{Notified, Record, Stamp};
pub use number::parse_i64;
pub use shard::{Request, Shard};
pub use types::{
    Claim, DbIndex, LongReplies, ReplyMax, Settings, ShardId, Slices, Slot, Span, Thresholds, Type,
    UnixMs, Waiting,
};
pub use value::{Collection, Encoding, Growth, Owned, is_same, listpack, stream};
