//! A copy of a large value, made step by step.

use super::quicklist::Quicklist;
use super::table::Table;
use super::{COPIED_BYTES, Collection, Hash, List, Set, Stream, Value, Zset, ZsetCloning};
use crate::error::OutOfMemory;

/// How far a copy has come. Until it is made it must not be looked at.
#[derive(Debug)]
pub enum Copying {
    String(Vec<u8>),
    List(Quicklist),
    Set(Box<Table>),
    Zset(ZsetCloning),
    Hash(Box<Table>),
    Stream(Box<Stream>),
}

impl Value {
    /// How many elements a copy of it takes to go through; nothing if it is to be made
    /// at once.
    pub fn copied_elements(&self) -> usize {
        let (len, bytes) = match self {
            Self::String(bytes) => (0, bytes.len()),
            Self::List(List::Quicklist(list)) => (list.len(), list.heap_bytes()),
            Self::Set(Set::Table(table)) | Self::Hash(Hash::Table(table)) => {
                (table.len(), table.heap_bytes())
            }
            Self::Zset(zset @ Zset::Skiplist(_)) => (zset.view().len(), self.heap_bytes()),
            Self::Stream(stream) => (stream.copied_elements(), 0),
            Self::List(_) | Self::Set(_) | Self::Zset(_) | Self::Hash(_) => (0, 0),
        };
        len.max(bytes / COPIED_BYTES)
    }
}

impl Value {
    /// Bytes of a flat value.
    pub fn flat_bytes(&self) -> usize {
        let flat = match self {
            Self::String(bytes) => Some(bytes.as_slice()),
            Self::List(list) => list.flat(),
            Self::Set(set) => set.flat(),
            Self::Zset(zset) => zset.flat(),
            Self::Hash(hash) => hash.flat(),
            Self::Stream(_) => None,
        };
        flat.map_or(0, <[u8]>::len)
    }
}

impl Copying {
    /// The beginning of a copy of a large value; nothing of another.
    pub fn new(value: &Value) -> Result<Option<Self>, OutOfMemory> {
        Ok(Some(match value {
            Value::String(bytes) => {
                let mut copy = Vec::new();
                copy.try_reserve_exact(bytes.len())?;
                Self::String(copy)
            }
            Value::List(List::Quicklist(list)) => Self::List(list.begin_clone()?),
            Value::Set(Set::Table(table)) => Self::Set(Box::new(table.begin_clone()?)),
            Value::Hash(Hash::Table(table)) => Self::Hash(Box::new(table.begin_clone()?)),
            Value::Stream(_) => Self::Stream(Box::default()),
            Value::Zset(zset) => return Ok(zset.begin_clone()?.map(Self::Zset)),
            Value::List(_) | Value::Set(_) | Value::Hash(_) => return Ok(None),
        }))
    }

    /// Goes on by about `budget` elements of the value, which is the same all the time;
    /// whether there are more.
    pub fn go_on(&mut self, value: &Value, budget: usize) -> Result<bool, OutOfMemory> {
        match (value, self) {
            (Value::String(bytes), Self::String(copy)) => {
                let some = budget.saturating_mul(COPIED_BYTES);
                let end = copy.len().saturating_add(some).min(bytes.len());
                copy.extend_from_slice(&bytes[copy.len()..end]);
                Ok(end < bytes.len())
            }
            (Value::List(List::Quicklist(list)), Self::List(copy)) => list.clone_some(copy, budget),
            (Value::Set(Set::Table(table)), Self::Set(copy))
            | (Value::Hash(Hash::Table(table)), Self::Hash(copy)) => table.clone_some(copy, budget),
            (Value::Stream(stream), Self::Stream(copy)) => stream.clone_some(copy, budget),
            (Value::Zset(zset), Self::Zset(copy)) => zset.clone_some(copy, budget),
            _ => Ok(false),
        }
    }

    /// The copy, when it is made.
    pub fn into_copy(self) -> Value {
        match self {
            Self::String(bytes) => Value::String(bytes),
            Self::List(list) => Value::List(List::Quicklist(list)),
            Self::Set(table) => Value::Set(Set::Table(table)),
            Self::Hash(table) => Value::Hash(Hash::Table(table)),
            Self::Stream(stream) => Value::Stream(stream),
            Self::Zset(cloning) => Value::Zset(Zset::Skiplist(cloning.into_clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Settings, UnixMs};
    use crate::value::quicklist::End;
    use crate::value::{Element, FieldTtl, Growth, ZsetLimits};

    fn large(seed: u64) -> ZsetLimits {
        ZsetLimits {
            entries: 0,
            value: 0,
            seed,
        }
    }

    #[test]
    fn a_copy_made_in_steps_is_the_same() {
        let settings = Settings::default();
        let growth = Growth {
            thresholds: &settings.encodings,
            seed: 1,
        };
        let (mut set, mut hash) = (Set::large(&growth).unwrap(), Hash::new());
        let mut zset = Zset::large(&large(3)).unwrap();
        let mut list = Quicklist::default();
        for number in 0..3_000_i64 {
            let text = format!("text {number}");
            let text = text.as_bytes();
            set.add(text, &growth).unwrap();
            let ttl = match number % 3 {
                0 => FieldTtl::At(UnixMs(number)),
                _ => FieldTtl::Clear,
            };
            hash.set(text, b"value", ttl, &growth).unwrap();
            zset.set(text, (number % 7) as f64, &large(3)).unwrap();
            list.push(End::Back, Element::Bytes(text)).unwrap();
        }
        let values = [
            Value::Set(set),
            Value::Hash(hash),
            Value::Zset(zset),
            Value::List(List::Quicklist(list)),
            Value::String(vec![7; 300_001]),
        ];
        for value in values {
            assert!(value.copied_elements() > 500);
            for budget in [1, 100, usize::MAX] {
                let mut copying = Copying::new(&value).unwrap().unwrap();
                while copying.go_on(&value, budget).unwrap() {}
                let mut copy = copying.into_copy();
                if let (Value::Zset(zset), true) = (&mut copy, budget == 1) {
                    // What is found by member and by rank is the same, and can be changed.
                    for number in (0..3_000_i64).step_by(2) {
                        let text = format!("text {number}");
                        let score = zset.remove(text.as_bytes()).unwrap();
                        zset.set(text.as_bytes(), score, &large(3)).unwrap();
                    }
                }
                let whole = value.try_clone().unwrap();
                for other in [&value, &whole] {
                    let same = match (&copy, other) {
                        (Value::Set(one), Value::Set(other)) => one.view() == other.view(),
                        (Value::Hash(one), Value::Hash(other)) => {
                            let earliest = one.view().earliest() == other.view().earliest();
                            earliest && one.view() == other.view()
                        }
                        (Value::Zset(one), Value::Zset(other)) => one.view() == other.view(),
                        (Value::List(one), Value::List(other)) => one.view() == other.view(),
                        (Value::String(one), Value::String(other)) => one == other,
                        _ => false,
                    };
                    assert!(same, "{:?}", value.type_of());
                }
            }
        }
    }
}
