//! What can happen to a key, and how keyspace notifications tell it.
//!
//! Redis tells some things twice: a SET with a deadline is a `set` and then an
//! `expire`, so that event has two notices. Where the last element of a collection
//! goes, the collection's event is followed by a `del`; as that depends on what is
//! left and not on the event, it stands in no row.

use crate::types::DbIndex;

/// What happened to a key. What is notified of it, [`Event::notices`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Set,
    /// With a deadline.
    SetFor,
    SetRange,
    SetBit,
    GeoSearchStore,
    GeoRadiusStore,
    PfAdd,
    /// Nobody is notified: what a HyperLogLog keeps of its estimate, a string that
    /// BITFIELD has made longer without writing to it.
    Silent,
    Append,
    IncrBy,
    IncrByFloat,
    Del,
    Expire,
    Persist,
    Expired,
    /// All keys of a database; nobody is notified.
    FlushDb,
    /// Two databases; nobody is notified.
    SwapDb,
    RenameFrom,
    RenameTo,
    CopyTo,
    MoveFrom,
    MoveTo,
    Restore,
    LPush,
    RPush,
    LPop,
    RPop,
    LSet,
    LTrim,
    LInsert,
    LRem,
    ZAdd,
    ZIncr,
    ZRem,
    ZRemByLex,
    ZRemByRank,
    ZRemByScore,
    ZPopMax,
    ZPopMin,
    ZRangeStore,
    ZDiffStore,
    ZInterStore,
    ZUnionStore,
    SAdd,
    SRem,
    SPop,
    SInterStore,
    SUnionStore,
    SDiffStore,
    SortStore,
    HSet,
    HDel,
    HIncrBy,
    HIncrByFloat,
    HExpire,
    HPersist,
    HExpired,
    XAdd,
    XDel,
    XTrim,
    XSetId,
    XGroupCreate,
    XGroupSetId,
    XGroupDestroy,
    XGroupCreateConsumer,
    XGroupDelConsumer,
}

/// One message about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice {
    pub class: Class,
    /// What `__keyevent@<db>__:` is followed by.
    pub word: &'static str,
}

/// Kinds of notices that clients choose between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Generic,
    String,
    List,
    Set,
    Hash,
    Zset,
    Stream,
    Expired,
}

impl Class {
    /// The letter that `notify-keyspace-events` has for it.
    pub const fn letter(self) -> char {
        match self {
            Self::Generic => 'g',
            Self::String => '$',
            Self::List => 'l',
            Self::Set => 's',
            Self::Hash => 'h',
            Self::Zset => 'z',
            Self::Stream => 't',
            Self::Expired => 'x',
        }
    }
}

const fn notice(class: Class, word: &'static str) -> Notice {
    Notice { class, word }
}

impl Event {
    /// What is notified, in this order.
    pub fn notices(self) -> &'static [Notice] {
        NOTICES[self as usize].1
    }
}

/// A row for each event, in their order.
static NOTICES: &[(Event, &[Notice])] = &[
    (Event::Set, &[notice(Class::String, "set")]),
    (
        Event::SetFor,
        &[
            notice(Class::String, "set"),
            notice(Class::Generic, "expire"),
        ],
    ),
    (Event::SetRange, &[notice(Class::String, "setrange")]),
    (Event::SetBit, &[notice(Class::String, "setbit")]),
    (
        Event::GeoSearchStore,
        &[notice(Class::Zset, "geosearchstore")],
    ),
    (
        Event::GeoRadiusStore,
        &[notice(Class::Zset, "georadiusstore")],
    ),
    (Event::PfAdd, &[notice(Class::String, "pfadd")]),
    (Event::Silent, &[]),
    (Event::Append, &[notice(Class::String, "append")]),
    (Event::IncrBy, &[notice(Class::String, "incrby")]),
    (Event::IncrByFloat, &[notice(Class::String, "incrbyfloat")]),
    (Event::Del, &[notice(Class::Generic, "del")]),
    (Event::Expire, &[notice(Class::Generic, "expire")]),
    (Event::Persist, &[notice(Class::Generic, "persist")]),
    (Event::Expired, &[notice(Class::Expired, "expired")]),
    (Event::FlushDb, &[]),
    (Event::SwapDb, &[]),
    (Event::RenameFrom, &[notice(Class::Generic, "rename_from")]),
    (Event::RenameTo, &[notice(Class::Generic, "rename_to")]),
    (Event::CopyTo, &[notice(Class::Generic, "copy_to")]),
    (Event::MoveFrom, &[notice(Class::Generic, "move_from")]),
    (Event::MoveTo, &[notice(Class::Generic, "move_to")]),
    (Event::Restore, &[notice(Class::Generic, "restore")]),
    (Event::LPush, &[notice(Class::List, "lpush")]),
    (Event::RPush, &[notice(Class::List, "rpush")]),
    (Event::LPop, &[notice(Class::List, "lpop")]),
    (Event::RPop, &[notice(Class::List, "rpop")]),
    (Event::LSet, &[notice(Class::List, "lset")]),
    (Event::LTrim, &[notice(Class::List, "ltrim")]),
    (Event::LInsert, &[notice(Class::List, "linsert")]),
    (Event::LRem, &[notice(Class::List, "lrem")]),
    (Event::ZAdd, &[notice(Class::Zset, "zadd")]),
    (Event::ZIncr, &[notice(Class::Zset, "zincr")]),
    (Event::ZRem, &[notice(Class::Zset, "zrem")]),
    (Event::ZRemByLex, &[notice(Class::Zset, "zremrangebylex")]),
    (Event::ZRemByRank, &[notice(Class::Zset, "zremrangebyrank")]),
    (
        Event::ZRemByScore,
        &[notice(Class::Zset, "zremrangebyscore")],
    ),
    (Event::ZPopMax, &[notice(Class::Zset, "zpopmax")]),
    (Event::ZPopMin, &[notice(Class::Zset, "zpopmin")]),
    (Event::ZRangeStore, &[notice(Class::Zset, "zrangestore")]),
    (Event::ZDiffStore, &[notice(Class::Zset, "zdiffstore")]),
    (Event::ZInterStore, &[notice(Class::Zset, "zinterstore")]),
    (Event::ZUnionStore, &[notice(Class::Zset, "zunionstore")]),
    (Event::SAdd, &[notice(Class::Set, "sadd")]),
    (Event::SRem, &[notice(Class::Set, "srem")]),
    (Event::SPop, &[notice(Class::Set, "spop")]),
    (Event::SInterStore, &[notice(Class::Set, "sinterstore")]),
    (Event::SUnionStore, &[notice(Class::Set, "sunionstore")]),
    (Event::SDiffStore, &[notice(Class::Set, "sdiffstore")]),
    (Event::SortStore, &[notice(Class::List, "sortstore")]),
    (Event::HSet, &[notice(Class::Hash, "hset")]),
    (Event::HDel, &[notice(Class::Hash, "hdel")]),
    (Event::HIncrBy, &[notice(Class::Hash, "hincrby")]),
    (Event::HIncrByFloat, &[notice(Class::Hash, "hincrbyfloat")]),
    (Event::HExpire, &[notice(Class::Hash, "hexpire")]),
    (Event::HPersist, &[notice(Class::Hash, "hpersist")]),
    (Event::HExpired, &[notice(Class::Hash, "hexpired")]),
    (Event::XAdd, &[notice(Class::Stream, "xadd")]),
    (Event::XDel, &[notice(Class::Stream, "xdel")]),
    (Event::XTrim, &[notice(Class::Stream, "xtrim")]),
    (Event::XSetId, &[notice(Class::Stream, "xsetid")]),
    (
        Event::XGroupCreate,
        &[notice(Class::Stream, "xgroup-create")],
    ),
    (Event::XGroupSetId, &[notice(Class::Stream, "xgroup-setid")]),
    (
        Event::XGroupDestroy,
        &[notice(Class::Stream, "xgroup-destroy")],
    ),
    (
        Event::XGroupCreateConsumer,
        &[notice(Class::Stream, "xgroup-createconsumer")],
    ),
    (
        Event::XGroupDelConsumer,
        &[notice(Class::Stream, "xgroup-delconsumer")],
    ),
];

/// What has happened to keys, for tests. Only where debug assertions are compiled in
/// and only on a thread that has asked for it: in a release build there is nothing.
pub mod heard {
    use super::{DbIndex, Event};

    /// A database, a key of it, and what happened to it.
    pub type Heard = (DbIndex, Vec<u8>, Event);

    #[cfg(debug_assertions)]
    mod kept {
        use super::Heard;
        use std::cell::RefCell;

        thread_local! {
            static HEARD: RefCell<Option<Vec<Heard>>> = const { RefCell::new(None) };
        }

        pub fn note(heard: impl FnOnce() -> Heard) {
            HEARD.with_borrow_mut(|kept| {
                if let Some(kept) = kept {
                    kept.push(heard());
                }
            });
        }

        pub fn take() -> Vec<Heard> {
            HEARD.replace(Some(Vec::new())).unwrap_or_default()
        }
    }

    #[cfg(not(debug_assertions))]
    mod kept {
        use super::Heard;

        #[inline(always)]
        pub fn note(_: impl FnOnce() -> Heard) {}

        pub fn take() -> Vec<Heard> {
            Vec::new()
        }
    }

    /// What this thread has heard since it last asked; it listens from the first time on.
    pub fn take() -> Vec<Heard> {
        kept::take()
    }

    #[inline(always)]
    pub(crate) fn note(db: DbIndex, key: &[u8], event: Event) {
        kept::note(|| (db, key.to_vec(), event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_has_its_row() {
        for (at, (event, _)) in NOTICES.iter().enumerate() {
            assert_eq!(*event as usize, at, "{event:?}");
        }
        assert_eq!(NOTICES.len(), Event::XGroupDelConsumer as usize + 1);
    }
}
