//! Commands on keys of any type.

use super::Row;

pub static COMMANDS: &[Row] = &[];
