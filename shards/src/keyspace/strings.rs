//! The doors for strings.
//!
//! A canonical integer is kept as a number, other text within its entry as far as it
//! fits there, and as a value outside beyond.

use super::entry::Payload;
use super::slab::ROOM_MAX;
use super::{Db, StringRef, Ttl, ValueRef, View};
use crate::error::CommandError;
use crate::number::parse_i64;
use crate::value::{Encoding, Value};

impl Db<'_> {
    /// [`Db::read`] for a string.
    #[inline]
    pub fn read_string(&mut self, key: &[u8]) -> Result<Option<StringRef<'_>>, CommandError> {
        as_string(self.read(key))
    }

    /// [`Db::lookup`] for a string.
    #[inline]
    pub fn lookup_string(&mut self, key: &[u8]) -> Result<Option<StringRef<'_>>, CommandError> {
        as_string(self.lookup(key))
    }

    /// Sets `key` to a string, whatever it held. Canonical integers are kept as
    /// numbers.
    #[inline]
    pub fn set(&mut self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<(), CommandError> {
        let payload = match parse_i64(value) {
            Some(number) => Payload::Int(number),
            None => Payload::Bytes(value, Encoding::of_text(value)),
        };
        self.put(key, payload, ttl)
    }

    /// Sets `key` to a number, whatever it held; its deadline stays.
    #[inline]
    pub fn set_int(&mut self, key: &[u8], value: i64) -> Result<(), CommandError> {
        self.put(key, Payload::Int(value), Ttl::Keep)
    }

    /// Sets `key` to bytes that are kept as they are (encoding raw), also when
    /// they look like a number, whatever it held.
    pub fn set_raw(&mut self, key: &[u8], value: &[u8], ttl: Ttl) -> Result<(), CommandError> {
        self.put(key, Payload::Bytes(value, Encoding::Raw), ttl)
    }

    /// As [`Db::set_raw`]; a large value is not copied.
    pub fn set_owned(&mut self, key: &[u8], value: Vec<u8>, ttl: Ttl) -> Result<(), CommandError> {
        if key.len() + value.len() + 2 * size_of::<u64>() > ROOM_MAX {
            let value = Box::new(Value::String(value));
            return self.put(key, Payload::Outside(value, Encoding::Raw), ttl);
        }
        self.set_raw(key, &value, ttl)
    }

    /// Lets `change` work on the bytes of a string that lies outside its entry,
    /// where it is; its length stays. Nothing if there is no such string.
    pub fn edit_string<R>(&mut self, key: &[u8], change: impl FnOnce(&mut [u8]) -> R) -> Option<R> {
        let place = self.find_to_write(self.home(key), key)?;
        match self.keyspace.store.outside(place) {
            Some(Value::String(bytes)) => Some(change(bytes)),
            _ => None,
        }
    }

    /// As [`Db::set_raw`], with the encoding a fresh string gets (embstr or
    /// raw), and the deadline stays: what INCRBYFLOAT leaves.
    pub fn set_text(&mut self, key: &[u8], value: &[u8]) -> Result<(), CommandError> {
        self.put(
            key,
            Payload::Bytes(value, Encoding::of_text(value)),
            Ttl::Keep,
        )
    }

    /// Adds to the number a string holds, creating it from 0; its deadline
    /// stays. Returns the sum.
    #[inline]
    pub fn add_int(&mut self, key: &[u8], by: i64) -> Result<i64, CommandError> {
        let home = self.home(key);
        let Some(place) = self.find_to_write(home, key) else {
            self.put_at(home, None, key, Payload::Int(by), Ttl::Keep)?;
            return Ok(by);
        };
        if self.touch {
            let clock = self.clock();
            self.keyspace.store.touch(place, clock);
        }
        if let Some(number) = self.keyspace.store.number(place) {
            *number = number
                .checked_add(by)
                .ok_or(CommandError::IncrementOverflow)?;
            return Ok(*number);
        }
        let view = self.keyspace.store.entry(place).view();
        let number = match as_string(Some(view))? {
            Some(StringRef::Bytes(bytes)) => parse_i64(bytes),
            Some(StringRef::Int(number)) => Some(number),
            None => None,
        };
        let number = number.ok_or(CommandError::NotAnInteger)?;
        let sum = number
            .checked_add(by)
            .ok_or(CommandError::IncrementOverflow)?;
        self.put_at(home, Some(place), key, Payload::Int(sum), Ttl::Keep)?;
        Ok(sum)
    }

    /// Appends to a string, creating it as [`Db::set`] does, and returns its new
    /// length in bytes. The caller has checked the type and the length.
    pub fn append(&mut self, key: &[u8], tail: &[u8]) -> Result<usize, CommandError> {
        let length = match self.lookup_string(key)? {
            Some(StringRef::Bytes(bytes)) => bytes.len(),
            Some(StringRef::Int(number)) => itoa::Buffer::new().format(number).len(),
            None => {
                self.set(key, tail, Ttl::Clear)?;
                return Ok(tail.len());
            }
        };
        self.set_range(key, length, tail)
    }

    /// Overwrites a string from `offset` (bytes) on, padding with zero bytes,
    /// creating it, and returns its new length in bytes. The caller has checked
    /// the type and the length; `tail` is not empty.
    pub fn set_range(
        &mut self,
        key: &[u8],
        offset: usize,
        tail: &[u8],
    ) -> Result<usize, CommandError> {
        let home = self.home(key);
        let place = self.find_to_write(home, key);
        let mut number = itoa::Buffer::new();
        let mut old: &[u8] = b"";
        if let Some(place) = place {
            if let Some(length) = self.keyspace.store.overwrite(place, offset, tail)? {
                return Ok(length);
            }
            old = match as_string(Some(self.keyspace.store.entry(place).view()))? {
                Some(StringRef::Bytes(bytes)) => bytes,
                Some(StringRef::Int(value)) => number.format(value).as_bytes(),
                None => b"",
            };
        }
        let end = offset
            .checked_add(tail.len())
            .ok_or(CommandError::OutOfMemory)?;
        let length = end.max(old.len());
        let mut bytes = Vec::new();
        bytes
            .try_reserve_exact(length)
            .map_err(|_| CommandError::OutOfMemory)?;
        bytes.extend_from_slice(old);
        bytes.resize(length, 0);
        bytes[offset..end].copy_from_slice(tail);
        let payload = if key.len() + length + 2 * size_of::<u64>() > ROOM_MAX {
            Payload::Outside(
                Box::new(Value::String(std::mem::take(&mut bytes))),
                Encoding::Raw,
            )
        } else {
            Payload::Bytes(&bytes, Encoding::Raw)
        };
        self.put_at(home, place, key, payload, Ttl::Keep)?;
        Ok(length)
    }
}

fn as_string(view: Option<View<'_>>) -> Result<Option<StringRef<'_>>, CommandError> {
    match view {
        None => Ok(None),
        Some(View {
            value: ValueRef::String(string),
            ..
        }) => Ok(Some(string)),
        Some(_) => Err(CommandError::WrongType),
    }
}
