//! One numbered database on one shard, and the only doors to its entries.
//!
//! [`Db`] is a [`Keyspace`] at an instant: the instant decides which entries
//! have expired, so two looks within one request can never disagree. Every
//! door drops an expired entry it meets and records a `DEL` for it.

mod slots;
mod twin;

pub use slots::slot_of;

use crate::effects::Effects;
use crate::error::CommandError;
use crate::types::UnixMs;
use twin::Twin;

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueRef<'a> {
    String(StringRef<'a>),
}

impl ValueRef<'_> {
    /// The name TYPE replies.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::String(_) => "string",
        }
    }
}

/// An entry as seen through a door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View<'a> {
    pub value: ValueRef<'a>,
    pub expire_at: Option<UnixMs>,
}

/// One numbered database on one shard.
pub struct Keyspace {
    twin: Twin,
    hits: u64,
    misses: u64,
}

impl Keyspace {
    /// An empty database; `seed` keys its hash.
    pub fn new(seed: u64) -> Self {
        let _ = seed;
        Self { twin: Twin::default(), hits: 0, misses: 0 }
    }

    /// The database at the instant `now`. With `touch`, reads refresh access times.
    #[inline]
    pub fn at<'a>(&'a mut self, now: UnixMs, touch: bool, effects: &'a mut Effects) -> Db<'a> {
        let _ = touch;
        Db { keyspace: self, effects, now }
    }

    /// Number of keys, expired ones not yet met included.
    pub fn len(&self) -> usize {
        self.twin.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The doors.
pub struct Db<'a> {
    keyspace: &'a mut Keyspace,
    effects: &'a mut Effects,
    now: UnixMs,
}

impl Db<'_> {
    /// The instant of the request.
    #[inline]
    pub fn now(&self) -> UnixMs {
        self.now
    }

    #[inline]
    pub(crate) fn effects(&mut self) -> &mut Effects {
        self.effects
    }

    /// Looks at a key for a reading command: counts a hit or a miss and
    /// refreshes the access time.
    #[inline]
    pub fn read(&mut self, key: &[u8]) -> Option<View<'_>> {
        self.peek(key)
    }

    /// As [`Db::read`], without refreshing the access time (TTL, TYPE, EXISTS …).
    #[inline]
    pub fn peek(&mut self, key: &[u8]) -> Option<View<'_>> {
        self.expire_if_due(key);
        let found = self.keyspace.twin.get(key);
        if found.is_some() {
            self.keyspace.hits += 1;
        } else {
            self.keyspace.misses += 1;
        }
        found
    }

    /// Looks at a key for a writing command: no hit or miss is counted.
    #[inline]
    pub fn lookup(&mut self, key: &[u8]) -> Option<View<'_>> {
        self.expire_if_due(key);
        self.keyspace.twin.get(key)
    }

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
    pub fn set(&mut self, key: &[u8], value: &[u8], ttl: Ttl) {
        let value = match crate::value::parse_i64(value) {
            Some(number) => StringRef::Int(number),
            None => StringRef::Bytes(value),
        };
        self.expire_if_due(key);
        self.keyspace.twin.set(key, value, ttl);
    }

    /// Sets `key` to a number, whatever it held; its deadline stays.
    #[inline]
    pub fn set_int(&mut self, key: &[u8], value: i64) {
        self.expire_if_due(key);
        self.keyspace.twin.set(key, StringRef::Int(value), Ttl::Keep);
    }

    /// Sets `key` to bytes that are kept as they are (encoding raw), also when
    /// they look like a number; its deadline stays.
    pub fn set_raw(&mut self, key: &[u8], value: &[u8]) {
        self.expire_if_due(key);
        self.keyspace.twin.set(key, StringRef::Bytes(value), Ttl::Keep);
    }

    /// Appends to a string, creating it, and returns its new length in bytes.
    /// The caller has checked the type and the length.
    pub fn append(&mut self, key: &[u8], tail: &[u8]) -> Result<usize, CommandError> {
        let length = match self.lookup_string(key)? {
            Some(StringRef::Bytes(bytes)) => bytes.len(),
            Some(StringRef::Int(number)) => itoa::Buffer::new().format(number).len(),
            None => 0,
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
        let mut bytes = match self.lookup_string(key)? {
            Some(StringRef::Bytes(bytes)) => bytes.to_vec(),
            Some(StringRef::Int(number)) => itoa::Buffer::new().format(number).into(),
            None => Vec::new(),
        };
        let end = offset + tail.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[offset..end].copy_from_slice(tail);
        self.set_raw(key, &bytes);
        Ok(bytes.len())
    }

    /// Deletes a key; whether it was there.
    #[inline]
    pub fn delete(&mut self, key: &[u8]) -> bool {
        self.expire_if_due(key);
        self.keyspace.twin.remove(key)
    }

    /// Sets or removes a key's deadline; whether the key is there.
    pub fn set_expire_at(&mut self, key: &[u8], at: Option<UnixMs>) -> bool {
        self.expire_if_due(key);
        self.keyspace.twin.set_expire_at(key, at)
    }

    /// Number of keys, expired ones not yet met included, as DBSIZE counts.
    pub fn len(&self) -> usize {
        self.keyspace.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keyspace.is_empty()
    }

    /// Deletes every key.
    pub fn clear(&mut self) {
        self.keyspace.twin = Twin::default();
    }

    fn expire_if_due(&mut self, key: &[u8]) {
        let due = |view: View<'_>| view.expire_at.is_some_and(|at| at <= self.now);
        if self.keyspace.twin.get(key).is_some_and(due) {
            self.keyspace.twin.remove(key);
            self.effects.expired(key);
        }
    }
}

fn as_string(view: Option<View<'_>>) -> Result<Option<StringRef<'_>>, CommandError> {
    match view {
        None => Ok(None),
        Some(View { value: ValueRef::String(string), .. }) => Ok(Some(string)),
    }
}
