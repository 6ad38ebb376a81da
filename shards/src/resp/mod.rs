//! The Redis serialization protocol, both directions.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation
)]

mod inline;
mod parser;
pub mod read;
mod reply;

pub use parser::{Limits, Partial, Status, parse};
pub use reply::{FRAME_BYTES, Mark, Protocol, Reply, UNLIMITED};
