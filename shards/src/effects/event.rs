//! What can happen to a key, and how keyspace notifications tell it.
//!
//! Redis tells some things twice: a SET with a deadline is a `set` and then an
//! `expire`, so that event has two notices. Where the last element of a collection
//! goes, the collection's event is followed by a `del`, and one that creates a key is
//! preceded by a `new`; as both depend on what is there and not on the event, they stand
//! in no row ([`Notices`](super::notices::Notices)).

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
    /// A key has come to be there. Precedes the event that says by what.
    New,
    /// A read has found no such key.
    KeyMiss,
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

/// Kinds of notices that clients choose between, in the order in which CONFIG GET names
/// them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Generic,
    String,
    List,
    Set,
    Hash,
    Zset,
    Expired,
    /// Of keys that had to go for want of memory.
    Evicted,
    Stream,
    /// Of types that modules add.
    Module,
    New,
    KeyMiss,
}

/// Their letters.
const LETTERS: &[u8; 12] = b"g$lshzxetdnm";

impl Class {
    const fn bit(self) -> u16 {
        1 << self as u16
    }
}

/// Which notices are wanted, and by which channels they are told: the value of
/// `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notify(u16);

impl Notify {
    const BY_KEY: u16 = 1 << 14;
    const BY_EVENT: u16 = 1 << 15;
    /// What `A` stands for: all classes but the last two.
    const ALL: u16 = Class::New.bit() - 1;

    /// Reads letters; nothing if one is unknown.
    pub fn parse(letters: &[u8]) -> Option<Self> {
        let mut bits = letters.iter().map(|letter| match letter {
            b'A' => Some(Self::ALL),
            b'K' => Some(Self::BY_KEY),
            b'E' => Some(Self::BY_EVENT),
            _ => Some(1 << LETTERS.iter().position(|known| known == letter)?),
        });
        bits.try_fold(0, |sum, bits| Some(sum | bits?)).map(Self)
    }

    /// The letters, each once. `briefly`: as Redis shows them, which is silent about `n`
    /// beside `A`.
    pub fn letters(self, briefly: bool) -> String {
        let has = |bits: u16| self.0 & bits == bits;
        let mut letters = String::new();
        if has(Self::ALL) {
            letters.push('A');
        }
        for (number, letter) in LETTERS.iter().enumerate().take(11) {
            let in_all = has(Self::ALL) && (briefly || 1 << number & Self::ALL != 0);
            if has(1 << number) && !in_all {
                letters.push(char::from(*letter));
            }
        }
        for (bits, letter) in [
            (Self::BY_KEY, 'K'),
            (Self::BY_EVENT, 'E'),
            (Class::KeyMiss.bit(), 'm'),
        ] {
            if has(bits) {
                letters.push(letter);
            }
        }
        letters
    }

    /// Whether the channel of the key is told.
    pub fn by_key(self) -> bool {
        self.0 & Self::BY_KEY != 0
    }

    /// Whether the channel of the event is told.
    pub fn by_event(self) -> bool {
        self.0 & Self::BY_EVENT != 0
    }

    /// Whether there is a channel that is told anything.
    pub fn is_on(self) -> bool {
        let channels = Self::BY_KEY | Self::BY_EVENT;
        self.0 & channels != 0 && self.0 & !channels != 0
    }

    pub(super) fn wants(self, class: Class) -> bool {
        self.0 & class.bit() != 0
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
    (Event::New, &[notice(Class::New, "new")]),
    (Event::KeyMiss, &[notice(Class::KeyMiss, "keymiss")]),
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

    /// As redis-server 7.0.15 answers CONFIG GET.
    #[test]
    fn letters_are_shown_as_redis_does() {
        for (given, shown) in [
            ("KEA", "AKE"),
            ("", ""),
            ("g$lszhxetdnm", "Am"),
            ("KEAnm", "AKEm"),
            ("KEg$lshzxetd", "AKE"),
            ("xK", "xK"),
            ("mK", "Km"),
            ("dKE", "dKE"),
            ("EKngg", "gnKE"),
        ] {
            let notify = Notify::parse(given.as_bytes()).unwrap();
            assert_eq!(notify.letters(true), shown, "{given}");
            let again = notify.letters(false);
            assert_eq!(Notify::parse(again.as_bytes()), Some(notify), "{again}");
        }
        for given in ["q", "K E", "kEA", "KEA\n", "\0"] {
            assert_eq!(Notify::parse(given.as_bytes()), None, "{given:?}");
        }
    }
}
