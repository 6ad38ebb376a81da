//! Commands on streams.
//!
//! ```text
//! ids ─▶ options ─▶ trim ─▶ add
//!    └─▶ range        delete
//! ```
//!
//! [`ids`] reads ids and the bounds of ranges, [`options`] the words that XADD and XTRIM
//! have in common, and how to go about groups that still refer to what goes.

pub mod add;
pub mod delete;
pub mod ids;
pub mod options;
pub mod range;
pub mod trim;

#[cfg(test)]
mod tests;
