//! A request on its way to a shard: how it is run there.

use crate::command::{Args, Begin, Find, Handler, KeySpec, Row, flags, reach_any_key};
use crate::keyspace::Located;
use crate::resp::Protocol;
use crate::shard::Request;
use crate::tracking::Tracker;
use crate::types::DbIndex;

/// How a request is to be run: all of it but its arguments.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub handler: Handler,
    /// Number of its row, for statistics.
    pub row: u16,
    pub db: DbIndex,
    pub protocol: Protocol,
    pub no_touch: bool,
    /// Whose copies the keys become that it reads; or who need not be told of what it
    /// changes.
    pub caller: Option<Tracker>,
    /// A blocking command that may wait.
    pub alone: bool,
    /// May change keys: takes locks exclusively.
    pub write: bool,
    /// Where the keys to lock stand.
    pub keys: &'static [KeySpec],
    /// Where the first key belongs, if it is known.
    pub located: Option<Located>,
}

impl Call {
    /// A request of this row whose keys nobody has looked at: on database 0, in
    /// RESP2, not to wait, counted with row 0. Change what is otherwise.
    #[inline]
    pub fn of(row: &Row) -> Self {
        Self {
            handler: row.run.whole(),
            row: 0,
            db: DbIndex(0),
            protocol: Protocol::Resp2,
            no_touch: false,
            caller: None,
            alone: false,
            write: row.flags.has(flags::WRITE),
            keys: row.keys,
            located: None,
        }
    }

    /// The same, but nobody keeps what it reads.
    pub(super) fn unread(self) -> Self {
        let caller = self.caller.filter(|_| self.write);
        Self { caller, ..self }
    }

    /// The argument that `located` is about.
    #[inline]
    fn first_key(&self) -> Option<usize> {
        match self.keys {
            [
                KeySpec {
                    begin: Begin::Index(at),
                    ..
                },
                ..,
            ] => usize::try_from(*at).ok(),
            _ => None,
        }
    }

    /// The argument that is its only key, if its row says so.
    #[inline]
    pub(super) fn only_key(&self) -> Option<usize> {
        match self.keys {
            [
                KeySpec {
                    begin: Begin::Index(at),
                    find: Find::Range { last: 0, .. },
                    ..
                },
            ] => usize::try_from(*at).ok(),
            _ => None,
        }
    }

    /// Whether patterns in it may name any key (SORT).
    pub(super) fn reaches_any_key(&self, args: Args<'_>) -> bool {
        reach_any_key(self.keys, args)
    }

    /// With its arguments, as the engine takes it.
    #[inline]
    pub fn request<'a>(&self, args: Args<'a>) -> Request<'a> {
        Request {
            handler: self.handler,
            args,
            db: self.db,
            protocol: self.protocol,
            no_touch: self.no_touch,
            alone: self.alone,
            located: self
                .located
                .and_then(|located| Some((self.first_key()?, located))),
        }
    }
}
