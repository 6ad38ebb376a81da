//! Lists.

use super::listpack::Listpack;
use super::{Collection, Encoding, Type, Value, copy};
use crate::error::OutOfMemory;

/// A list that can be changed.
#[derive(Debug)]
pub enum List {
    Listpack(Vec<u8>),
}

/// A list that is looked at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ListRef<'a> {
    Listpack(Listpack<'a>),
}

impl Collection for List {
    const TYPE: Type = Type::List;

    type Ref<'a> = ListRef<'a>;

    fn from_flat(_encoding: Encoding, bytes: Vec<u8>) -> Self {
        Self::Listpack(bytes)
    }

    fn view_flat(_encoding: Encoding, bytes: &[u8]) -> ListRef<'_> {
        ListRef::Listpack(Listpack::new(bytes))
    }

    fn flat(&self) -> Option<&[u8]> {
        match self {
            Self::Listpack(bytes) => Some(bytes),
        }
    }

    fn into_flat(self) -> Option<Vec<u8>> {
        match self {
            Self::Listpack(bytes) => Some(bytes),
        }
    }

    fn view(&self) -> ListRef<'_> {
        match self {
            Self::Listpack(bytes) => ListRef::Listpack(Listpack::new(bytes)),
        }
    }

    fn encoding(&self) -> Encoding {
        match self {
            Self::Listpack(_) => Encoding::Listpack,
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Listpack(bytes) => Listpack::new(bytes).is_empty(),
        }
    }

    fn heap_bytes(&self) -> usize {
        match self {
            Self::Listpack(bytes) => bytes.capacity(),
        }
    }

    fn free_some(&mut self, _budget: usize) -> bool {
        match self {
            Self::Listpack(bytes) => *bytes = Vec::new(),
        }
        false
    }

    fn try_clone(&self) -> Result<Self, OutOfMemory> {
        match self {
            Self::Listpack(bytes) => Ok(Self::Listpack(copy(bytes)?)),
        }
    }

    fn into_value(self) -> Value {
        Value::List(self)
    }

    fn of(value: &Value) -> Option<&Self> {
        match value {
            Value::List(it) => Some(it),
            _ => None,
        }
    }

    fn of_mut(value: &mut Value) -> Option<&mut Self> {
        match value {
            Value::List(it) => Some(it),
            _ => None,
        }
    }
}
