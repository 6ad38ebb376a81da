//! A value that lies nowhere yet: on its way to a key, or out of a file.

use super::{Collection, Encoding, StringRef, Type, Value, ValueRef};
use crate::number::parse_i64;

/// A value by itself, in the form in which the keyspace takes it.
#[derive(Debug)]
pub enum Owned {
    /// A string that is a number.
    Int(i64),
    /// A string, or a collection in a flat encoding.
    Flat(Type, Vec<u8>, Encoding),
    Outside(Box<Value>, Encoding),
}

impl Owned {
    /// Longer ones are not copied on their way into the keyspace.
    const MOVED_FROM: usize = 4096;

    /// A string as a fresh one is kept.
    pub fn string(text: Vec<u8>) -> Self {
        if let Some(number) = parse_i64(&text) {
            return Self::Int(number);
        }
        let encoding = Encoding::of_text(&text);
        match text.len() {
            0..Self::MOVED_FROM => Self::Flat(Type::String, text, encoding),
            _ => Self::Outside(Box::new(Value::String(text)), encoding),
        }
    }

    /// A collection that is not empty.
    pub fn collection<C: Collection>(collection: C) -> Self {
        let encoding = collection.encoding();
        match collection.flat().map(<[u8]>::len) {
            Some(0..Self::MOVED_FROM) => {
                let flat = collection.into_flat().unwrap_or_default();
                Self::Flat(C::TYPE, flat, encoding)
            }
            _ => Self::Outside(Box::new(collection.into_value()), encoding),
        }
    }

    /// A collection whose flat bytes these are; it is not empty.
    pub fn flat(of: Type, bytes: Vec<u8>, encoding: Encoding) -> Self {
        match bytes.len() {
            0..Self::MOVED_FROM => Self::Flat(of, bytes, encoding),
            _ => Self::Outside(Box::new(Value::from_flat(of, encoding, bytes)), encoding),
        }
    }

    pub fn view(&self) -> ValueRef<'_> {
        match self {
            Self::Int(number) => ValueRef::String(StringRef::Int(*number)),
            Self::Flat(of, bytes, encoding) => ValueRef::of_flat(*of, *encoding, bytes),
            Self::Outside(value, _) => value.view(),
        }
    }

    pub fn type_of(&self) -> Type {
        self.view().type_of()
    }

    pub fn encoding(&self) -> Encoding {
        match self {
            Self::Int(_) => Encoding::Int,
            Self::Flat(.., encoding) | Self::Outside(_, encoding) => *encoding,
        }
    }
}
