//! Commands on streams.
//!
//! ```text
//! ids ─▶ options ─▶ trim ─▶ add
//!    ├─▶ range        delete
//!    └─▶ reading ─▶ delivery ─▶ parts ─▶ read, read_group
//! ```
//!
//! [`ids`] reads ids and the bounds of ranges, [`options`] the words that XADD and XTRIM
//! have in common, and how to go about groups that still refer to what goes; [`reading`]
//! the arguments of XREAD and XREADGROUP, [`delivery`] how what was found is replied, and
//! [`parts`] how that of several shards is.

pub mod ack;
pub mod add;
pub mod claim;
pub mod delete;
pub mod delivery;
pub mod groups;
pub mod ids;
pub mod info;
pub mod options;
mod parts;
pub mod pending;
pub mod range;
pub mod read;
pub mod read_group;
mod reading;
pub mod trim;

#[cfg(test)]
mod group_tests;
#[cfg(test)]
mod tests;
