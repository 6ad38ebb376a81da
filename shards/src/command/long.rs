//! Long replies, which are made a piece at a time, as the client reads them.
//!
//! A read of a whole collection (LRANGE, SMEMBERS, HGETALL, ZRANGE and their kin)
//! that stands alone is answered at once if its reply is short. If not, it fails
//! with [`CommandError::Long`] and is called again, under a shared lock of its
//! key, with [`Cargo::long`](super::Cargo::long): then it writes about as much as
//! [`LongReplies::piece`](crate::types::LongReplies::piece) and leaves there where
//! it is to go on, until nothing is left. Nobody writes to the collection
//! meanwhile, so a place in it is a number of elements, or an id in a stream.

use super::{Cargo, Context};
use crate::error::CommandError;
use crate::keyspace::Db;
use crate::resp::Reply;
use crate::types::UnixMs;
use crate::value::Collection;
use crate::value::stream::StreamId;

/// How far a long reply has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Long {
    /// Elements that were visited. Nothing was written before the first piece.
    visited: usize,
    /// Of a stream: the next id, and how many entries are left.
    ids: (StreamId, usize),
    /// There is more to come: the request is to be called again.
    pub more: bool,
    /// Then the key, or something in it, goes by itself.
    pub goes_at: Option<UnixMs>,
}

/// What one call of a handler writes of a reply that may be long.
pub struct Piece {
    /// Elements that earlier calls have visited.
    pub from: usize,
    /// Of a stream: where earlier calls have left off, and how many entries were left.
    pub ids: Option<(StreamId, usize)>,
    /// This is not the first call.
    goes_on: bool,
    /// The handler may be called again.
    divisible: bool,
    /// Elements from which on a reply is surely long.
    elements_max: usize,
    /// Bytes of this call from which on it writes no more.
    room: usize,
    /// Length of the reply at which it is full.
    full_at: usize,
    visited: usize,
    is_full: bool,
}

impl Piece {
    /// What `ctx` is to write now.
    pub fn new(ctx: &mut Context<'_>) -> Self {
        let limits = &ctx.settings.long_replies;
        let long = ctx.cargo.long.take();
        let (elements_max, room) = match long {
            Some(_) => (usize::MAX, limits.piece),
            None if ctx.alone => (limits.elements, limits.bytes),
            None => (usize::MAX, usize::MAX),
        };
        let from = long.map_or(0, |long| long.visited);
        Self {
            from,
            ids: long.filter(|long| long.more).map(|long| long.ids),
            goes_on: long.is_some_and(|long| long.more),
            divisible: long.is_some(),
            elements_max,
            room,
            full_at: usize::MAX,
            visited: from,
            is_full: false,
        }
    }

    /// [`Db::read_as`], but one request counts as one.
    ///
    /// # Errors
    /// There is another value, or none any more.
    pub fn read<'d, C: Collection>(
        &self,
        db: &'d mut Db<'_>,
        key: &[u8],
    ) -> Result<Option<C::Ref<'d>>, CommandError> {
        if self.goes_on {
            // It was there, and is locked; see `order/site/long.rs`.
            let found = db.lookup_as::<C>(key)?;
            return found.map_or(Err(CommandError::NoSuchKey), |it| Ok(Some(it)));
        }
        db.read_as::<C>(key)
    }

    /// Whether the handler may be called again for more.
    pub fn is_divisible(&self) -> bool {
        self.divisible
    }

    /// With more elements in this call a reply is long.
    pub fn elements_max(&self) -> usize {
        self.elements_max
    }

    /// Begins to reply `len` elements; the first call writes what stands before
    /// them.
    ///
    /// # Errors
    /// The reply is long and may not be written now.
    pub fn begin(
        &mut self,
        reply: &mut Reply<'_>,
        len: usize,
        header: impl FnOnce(&mut Reply<'_>),
    ) -> Result<(), CommandError> {
        if len > self.elements_max {
            return Err(CommandError::Long);
        }
        if !self.goes_on {
            header(reply);
        }
        self.full_at = reply.written().saturating_add(self.room);
        Ok(())
    }

    /// Writes elements, which begin with element `self.from`, until it is enough.
    #[inline]
    pub fn fill<E>(
        &mut self,
        reply: &mut Reply<'_>,
        elements: impl Iterator<Item = E>,
        mut write: impl FnMut(&mut Reply<'_>, E),
    ) {
        for element in elements {
            if reply.written() >= self.full_at {
                self.is_full = true;
                return;
            }
            write(reply, element);
            self.visited += 1;
        }
    }

    /// Notes where to go on.
    ///
    /// # Errors
    /// The reply is longer than it may be now.
    pub fn end(self, db: &Db<'_>, cargo: &mut Cargo, key: &[u8]) -> Result<(), CommandError> {
        if !self.is_full {
            return Ok(());
        }
        if !self.divisible {
            return Err(CommandError::Long);
        }
        cargo.long = Some(Long {
            visited: self.visited,
            ids: self.ids.unwrap_or_default(),
            more: true,
            goes_at: db.goes_at(key),
        });
        Ok(())
    }
}
