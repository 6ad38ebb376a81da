//! Values as they are looked at, wherever they lie.

use super::{
    Collection, Encoding, Hash, HashRef, List, ListRef, Set, SetRef, Stream, Type, Value, Zset,
    ZsetRef,
};

/// A string value as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringRef<'a> {
    /// Canonical decimal integers are kept as numbers.
    Int(i64),
    Bytes(&'a [u8]),
}

/// A value that is looked at. One variant per Redis type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ValueRef<'a> {
    String(StringRef<'a>),
    List(ListRef<'a>),
    Set(SetRef<'a>),
    Zset(ZsetRef<'a>),
    Hash(HashRef<'a>),
    Stream(&'a Stream),
}

impl<'a> ValueRef<'a> {
    /// A value whose flat bytes these are; see [`Collection::flat`].
    pub fn of_flat(of: Type, encoding: Encoding, bytes: &'a [u8]) -> Self {
        match of {
            Type::String => Self::String(StringRef::Bytes(bytes)),
            Type::List => Self::List(List::view_flat(encoding, bytes)),
            Type::Set => Self::Set(Set::view_flat(encoding, bytes)),
            Type::Zset => Self::Zset(Zset::view_flat(encoding, bytes)),
            Type::Hash => Self::Hash(Hash::view_flat(encoding, bytes)),
            Type::Stream => Self::Stream(Stream::view_flat(encoding, bytes)),
        }
    }

    pub fn type_of(&self) -> Type {
        match self {
            Self::String(_) => Type::String,
            Self::List(_) => Type::List,
            Self::Set(_) => Type::Set,
            Self::Zset(_) => Type::Zset,
            Self::Hash(_) => Type::Hash,
            Self::Stream(_) => Type::Stream,
        }
    }

    /// The name TYPE replies.
    pub fn type_name(&self) -> &'static str {
        self.type_of().name()
    }
}

impl Value {
    pub fn view(&self) -> ValueRef<'_> {
        match self {
            Self::String(bytes) => ValueRef::String(StringRef::Bytes(bytes)),
            Self::List(list) => ValueRef::List(list.view()),
            Self::Set(set) => ValueRef::Set(set.view()),
            Self::Zset(zset) => ValueRef::Zset(zset.view()),
            Self::Hash(hash) => ValueRef::Hash(hash.view()),
            Self::Stream(stream) => ValueRef::Stream(stream.view()),
        }
    }

    pub fn type_of(&self) -> Type {
        self.view().type_of()
    }
}
