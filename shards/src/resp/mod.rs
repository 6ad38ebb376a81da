//! The Redis serialization protocol, both directions.

mod parser;
mod reply;

pub use parser::{Limits, Partial, Status, parse};
pub use reply::{Mark, Protocol, Reply};
