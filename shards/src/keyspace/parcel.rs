//! A value on its way from one key to another, of whatever shard or database.

use super::entry::EntryRef;
use super::{Db, Payload, Ttl, View};
use crate::counted;
use crate::error::{CommandError, OutOfMemory};
use crate::types::UnixMs;
use crate::value::{Copying, Owned, Type, Value, copy};

/// A value without a key.
#[derive(Debug)]
pub struct Parcel {
    pub value: Owned,
    pub expire_at: Option<UnixMs>,
}

impl Parcel {
    /// A copy of what an entry holds.
    pub(super) fn copy_of(entry: EntryRef<'_>) -> Result<Self, OutOfMemory> {
        let value = match (entry.number(), entry.outside()) {
            (Some(number), _) => Owned::Int(number),
            (_, Some(value)) => Owned::Outside(Box::new(value.try_clone()?), entry.encoding()),
            _ => Owned::Flat(entry.type_of(), copy(entry.inline())?, entry.encoding()),
        };
        Ok(Self {
            value,
            expire_at: entry.expire_at(),
        })
    }

    /// It as it is looked at.
    pub fn view(&self) -> View<'_> {
        View {
            value: self.value.view(),
            expire_at: self.expire_at,
        }
    }

    pub fn type_of(&self) -> Type {
        self.value.type_of()
    }
}

/// What has been copied of a value.
pub enum Copied {
    Some(Box<Copying>),
    All(Parcel),
}

impl Db<'_> {
    /// A copy of what `key` holds. A large value takes as long as it is large.
    pub fn copy_of(&mut self, key: &[u8]) -> Result<Option<Parcel>, CommandError> {
        let Some(place) = self.find(key) else {
            return Ok(None);
        };
        let entry = self.keyspace.store.entry(place);
        counted::copied(entry.outside().map_or(0, Value::flat_bytes));
        Ok(Some(Parcel::copy_of(entry)?))
    }

    /// How many elements a copy of what `key` holds takes to go through.
    pub fn copied_elements(&mut self, key: &[u8]) -> usize {
        let outside = self.find(key);
        let outside = outside.and_then(|place| self.keyspace.store.entry(place).outside());
        outside.map_or(0, Value::copied_elements)
    }

    /// Goes on with a copy of the large value that `key` holds, by about `budget`
    /// elements; the copy, when it is made.
    pub fn copy_some(
        &mut self,
        key: &[u8],
        copying: Option<Box<Copying>>,
        budget: usize,
    ) -> Result<Copied, CommandError> {
        let place = self.find(key).ok_or(CommandError::NoSuchKey)?;
        let entry = self.keyspace.store.entry(place);
        let value = entry.outside().ok_or(CommandError::NoSuchKey)?;
        let mut copying = match copying {
            Some(copying) => copying,
            None => Box::new(Copying::new(value)?.ok_or(CommandError::NoSuchKey)?),
        };
        if copying.go_on(value, budget)? {
            return Ok(Copied::Some(copying));
        }
        let value = Box::new(copying.into_copy());
        Ok(Copied::All(Parcel {
            value: Owned::Outside(value, entry.encoding()),
            expire_at: entry.expire_at(),
        }))
    }

    /// Removes `key` and returns what it held. O(1) for a value outside.
    pub fn take(&mut self, key: &[u8]) -> Result<Option<Parcel>, OutOfMemory> {
        let Some(place) = self.find_to_write(self.home(key), key) else {
            return Ok(None);
        };
        let entry = self.keyspace.store.entry(place);
        let (expire_at, encoding) = (entry.expire_at(), entry.encoding());
        let value = match (entry.number(), entry.outside()) {
            (Some(number), _) => Some(Owned::Int(number)),
            (_, Some(_)) => None,
            _ => Some(Owned::Flat(
                entry.type_of(),
                copy(entry.inline())?,
                encoding,
            )),
        };
        let outside = self.keyspace.store.take(place);
        super::note_gone(self.effects, key, outside.as_deref());
        let value = value.unwrap_or_else(|| {
            let outside = outside.expect("what is neither a number nor inline lies outside");
            Owned::Outside(outside, encoding)
        });
        Ok(Some(Parcel { value, expire_at }))
    }

    /// Has `key` hold what the parcel brings, with its deadline, whatever it
    /// held before. A deadline that has passed meanwhile is kept, too: the next
    /// look finds the key expired.
    pub fn put_parcel(&mut self, key: &[u8], parcel: Parcel) -> Result<(), CommandError> {
        self.effects.appeared(key, parcel.type_of());
        let ttl = parcel.expire_at.map_or(Ttl::Clear, Ttl::At);
        match parcel.value {
            Owned::Int(number) => self.put(key, Payload::Int(number), ttl),
            Owned::Flat(of, bytes, encoding) => {
                self.put(key, Payload::Flat(of, &bytes, encoding), ttl)
            }
            Owned::Outside(value, encoding) => {
                self.put(key, Payload::Outside(value, encoding), ttl)
            }
        }?;
        // Whatever it has taken the place of: to Redis the key is a new one.
        self.effects.created(key);
        Ok(())
    }
}
