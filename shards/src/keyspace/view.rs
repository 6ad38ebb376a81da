//! Entries as they are seen through the doors.

use crate::types::UnixMs;
use crate::value::{Encoding, HashRef, ListRef, SetRef, Type, ZsetRef};

/// A string value as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringRef<'a> {
    /// Canonical decimal integers are kept as numbers.
    Int(i64),
    Bytes(&'a [u8]),
}

/// What becomes of an entry's deadline when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    Keep,
    Clear,
    At(UnixMs),
}

/// A value as seen through a door. One variant per Redis type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    String(StringRef<'a>),
    List(ListRef<'a>),
    Set(SetRef<'a>),
    Zset(ZsetRef<'a>),
    Hash(HashRef<'a>),
}

impl ValueRef<'_> {
    pub fn type_of(&self) -> Type {
        match self {
            Self::String(_) => Type::String,
            Self::List(_) => Type::List,
            Self::Set(_) => Type::Set,
            Self::Zset(_) => Type::Zset,
            Self::Hash(_) => Type::Hash,
        }
    }

    /// The name TYPE replies.
    pub fn type_name(&self) -> &'static str {
        self.type_of().name()
    }
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
