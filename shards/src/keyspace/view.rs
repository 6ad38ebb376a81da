//! Entries as they are seen through the doors.

use crate::types::UnixMs;
use crate::value::Encoding;
pub use crate::value::{StringRef, ValueRef};

/// What becomes of an entry's deadline when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    Keep,
    Clear,
    At(UnixMs),
}

/// An entry as seen through a door.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct View<'a> {
    pub value: ValueRef<'a>,
    pub expire_at: Option<UnixMs>,
}

/// What OBJECT and MEMORY USAGE tell about an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Object {
    pub encoding: Encoding,
    /// Since the last access, seconds.
    pub idle_s: u32,
    /// Memory of the key and its value, table included.
    pub bytes: usize,
}
