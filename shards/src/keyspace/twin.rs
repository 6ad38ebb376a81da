//! The keyspace as one would write it on a whiteboard: an ordered map.
//!
//! The oracle of the model tests (`tests/model.rs`); no part of the engine.

use super::{StringRef, Ttl, UnixMs, ValueRef, View};
use std::collections::BTreeMap;

#[derive(Debug, Clone)]
enum Owned {
    Int(i64),
    Bytes(Vec<u8>),
}

/// The oracle's keys.
#[derive(Debug, Default, Clone)]
pub struct Twin {
    entries: BTreeMap<Vec<u8>, (Owned, Option<UnixMs>)>,
}

impl Twin {
    pub fn get(&self, key: &[u8]) -> Option<View<'_>> {
        let (value, expire_at) = self.entries.get(key)?;
        let string = match value {
            Owned::Int(number) => StringRef::Int(*number),
            Owned::Bytes(bytes) => StringRef::Bytes(bytes),
        };
        Some(View {
            value: ValueRef::String(string),
            expire_at: *expire_at,
        })
    }

    pub fn set(&mut self, key: &[u8], value: StringRef<'_>, ttl: Ttl) {
        let expire_at = match ttl {
            Ttl::Keep => self.entries.get(key).and_then(|entry| entry.1),
            Ttl::Clear => None,
            Ttl::At(at) => Some(at),
        };
        let value = match value {
            StringRef::Int(number) => Owned::Int(number),
            StringRef::Bytes(bytes) => Owned::Bytes(bytes.to_vec()),
        };
        self.entries.insert(key.to_vec(), (value, expire_at));
    }

    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.entries.remove(key).is_some()
    }

    pub fn set_expire_at(&mut self, key: &[u8], at: Option<UnixMs>) -> bool {
        match self.entries.get_mut(key) {
            Some(entry) => {
                entry.1 = at;
                true
            }
            None => false,
        }
    }

    /// Removes what is due at `now`; how many.
    pub fn expire(&mut self, now: UnixMs) -> usize {
        let before = self.entries.len();
        let alive = |at: Option<UnixMs>| at.is_none_or(|at| at > now);
        self.entries.retain(|_, entry| alive(entry.1));
        before - self.entries.len()
    }

    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.entries.keys().map(Vec::as_slice)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }
}
