//! The forms that values have: which are read, and what each is made of.

use super::format::{kind, version};
use super::reader::Fault;

/// A version of the format, and whose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    pub number: u16,
    pub is_valkey: bool,
}

impl Version {
    /// The first with a checksum at the end.
    const CHECKED: u16 = 5;

    /// That of a payload, which says only the number. 0 is no version, but Redis takes it
    /// for an old one.
    pub fn of_payload(number: u16) -> Option<Self> {
        let is_valkey = number >= version::VALKEY_MIN;
        let number = number.max(1);
        Self { number, is_valkey }.known()
    }

    /// It, if it is one whose files are read.
    pub fn known(self) -> Option<Self> {
        let known = match self.is_valkey {
            true => version::VALKEY_MIN..=version::VALKEY_MAX,
            false => 1..=version::REDIS_MAX,
        };
        known.contains(&self.number).then_some(self)
    }

    pub fn has_checksum(self) -> bool {
        self.number >= Self::CHECKED
    }
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    String,
    List,
    Set,
    /// With scores as texts.
    ZsetText,
    Zset,
    Hash,
    Zipmap,
    ListZiplist,
    Intset,
    ZsetZiplist,
    HashZiplist,
    /// Nodes are ziplists.
    Quicklist,
    HashListpack,
    ZsetListpack,
    SetListpack,
    /// Nodes are listpacks or single elements.
    Quicklist2,
    Stream,
    Stream2,
    Stream3,
    /// Field, value, deadline.
    HashValkey,
    /// The smallest deadline, then how much more each is, field, value.
    HashDeadlines,
    /// The smallest deadline, and a listpack of field, value, deadline.
    HashListpackEx,
}

impl Form {
    /// The form with this number in a file of this version.
    ///
    /// # Errors
    /// Such a value cannot be held, or it is not known what it is.
    #[inline]
    pub fn of(number: u8, version: Version) -> Result<Self, Fault> {
        Ok(match number {
            kind::STRING => Self::String,
            kind::LIST => Self::List,
            kind::SET => Self::Set,
            kind::ZSET => Self::ZsetText,
            kind::HASH => Self::Hash,
            kind::ZSET_2 => Self::Zset,
            kind::HASH_ZIPMAP => Self::Zipmap,
            kind::LIST_ZIPLIST => Self::ListZiplist,
            kind::SET_INTSET => Self::Intset,
            kind::ZSET_ZIPLIST => Self::ZsetZiplist,
            kind::HASH_ZIPLIST => Self::HashZiplist,
            kind::LIST_QUICKLIST => Self::Quicklist,
            kind::STREAM => Self::Stream,
            kind::HASH_LISTPACK => Self::HashListpack,
            kind::ZSET_LISTPACK => Self::ZsetListpack,
            kind::LIST_QUICKLIST_2 => Self::Quicklist2,
            kind::STREAM_2 => Self::Stream2,
            kind::SET_LISTPACK => Self::SetListpack,
            kind::STREAM_3 => Self::Stream3,
            kind::HASH_VALKEY if version.is_valkey => Self::HashValkey,
            kind::HASH_METADATA => Self::HashDeadlines,
            kind::HASH_LISTPACK_EX => Self::HashListpackEx,
            _ => return Err(Fault::Type(number, unread(number))),
        })
    }

    /// What it is made of.
    #[inline]
    pub fn parts(self) -> &'static [Part] {
        use Part::{Fixed, Length, Many, Score, Text};
        match self {
            Self::String
            | Self::Zipmap
            | Self::ListZiplist
            | Self::Intset
            | Self::ZsetZiplist
            | Self::HashZiplist
            | Self::HashListpack
            | Self::ZsetListpack
            | Self::SetListpack => &[Text],
            Self::List | Self::Set | Self::Quicklist => &[Many(&[Text])],
            Self::ZsetText => &[Many(&[Text, Score])],
            Self::Zset => &[Many(&[Text, Fixed(8)])],
            Self::Hash => &[Many(&[Text, Text])],
            Self::Quicklist2 => &[Many(&[Length, Text])],
            Self::HashValkey => &[Many(&[Text, Text, Fixed(8)])],
            Self::HashDeadlines => &[Fixed(8), Many(&[Length, Text, Text])],
            Self::HashListpackEx => &[Fixed(8), Text],
            Self::Stream => &[NODES, Length, Length, Length, Many(GROUP_1)],
            Self::Stream2 => STREAM_2,
            Self::Stream3 => STREAM_3,
        }
    }
}

/// Part of a value.
#[derive(Clone, Copy, Debug)]
pub enum Part {
    Text,
    Length,
    /// A score that is a text.
    Score,
    /// So many bytes.
    Fixed(u64),
    /// A length, and so many times these.
    Many(&'static [Part]),
}

const NODES: Part = Part::Many(&[Part::Text, Part::Text]);
const PENDING: Part = Part::Many(&[Part::Fixed(24), Part::Length]);
const IDS: Part = Part::Many(&[Part::Fixed(16)]);
const CONSUMERS: Part = Part::Many(&[Part::Text, Part::Fixed(8), IDS]);
const CONSUMERS_3: Part = Part::Many(&[Part::Text, Part::Fixed(16), IDS]);

const GROUP_1: &[Part] = {
    use Part::{Length, Text};
    &[Text, Length, Length, PENDING, CONSUMERS]
};

const STREAM_2: &[Part] = &counted_stream({
    use Part::{Length, Text};
    &[Text, Length, Length, Length, PENDING, CONSUMERS]
});

const STREAM_3: &[Part] = &counted_stream({
    use Part::{Length, Text};
    &[Text, Length, Length, Length, PENDING, CONSUMERS_3]
});

/// A stream with these groups: its nodes, its length, three ids, how many were added.
const fn counted_stream(group: &'static [Part]) -> [Part; 10] {
    use Part::{Length, Many};
    [
        NODES,
        Length,
        Length,
        Length,
        Length,
        Length,
        Length,
        Length,
        Length,
        Many(group),
    ]
}

/// What a value of a form is that is not read.
fn unread(number: u8) -> &'static str {
    match number {
        kind::MODULE => "a module's value of before Redis 4.0",
        kind::MODULE_2 => "a module's value",
        kind::HASH_METADATA_EARLY | kind::HASH_LISTPACK_EX_EARLY => {
            "a hash as release candidates of Redis 7.4 wrote it"
        }
        26 => "a stream with idempotent producers",
        27 => "a stream with refused entries",
        28 => "an array",
        29..=32 => "a hash that shares a template",
        _ => "a value of a type that is not known",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_up_to_the_newest_are_known() {
        let known = |number| Version::of_payload(number).is_some();
        for number in [0, 1, 6, 9, 10, 11, 12, 15, 80, 81] {
            assert!(known(number), "{number}");
        }
        for number in [16, 79, 82, u16::MAX] {
            assert!(!known(number), "{number}");
        }
    }

    #[test]
    fn a_number_may_mean_two_forms() {
        let redis = Version::of_payload(12).unwrap();
        let valkey = Version::of_payload(80).unwrap();
        assert_eq!(Form::of(22, valkey), Ok(Form::HashValkey));
        assert!(matches!(Form::of(22, redis), Err(Fault::Type(22, _))));
        for version in [redis, valkey] {
            for number in [6, 7, 8, 23, 26, 27, 28, 29, 32, 33, 100] {
                let refused = Form::of(number, version);
                assert!(matches!(refused, Err(Fault::Type(said, _)) if said == number));
            }
        }
    }
}
