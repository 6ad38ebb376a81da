//! What XADD and XTRIM take before, and instead of, what they add.

use super::ids::{self, Given};
use crate::command::Args;
use crate::command::args::integer;
use crate::error::CommandError;
use crate::types::Settings;
pub use crate::value::stream::References;
use crate::value::stream::{StreamId, TrimTo};

impl References {
    /// What a word says of it.
    pub fn of(word: &[u8]) -> Option<Self> {
        let words: [(&[u8], Self); 3] = [
            (b"KEEPREF", Self::Keep),
            (b"DELREF", Self::Delete),
            (b"ACKED", Self::Acknowledged),
        ];
        let found = words
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name));
        found.map(|(_, references)| *references)
    }
}

/// What is to be trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trimming {
    pub to: TrimTo,
    /// `~`, which stands before the threshold.
    pub approx: bool,
    /// Where the threshold stands.
    pub at: usize,
    /// At most so many entries go; 0 for any number.
    pub limit: u64,
}

/// See the module.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub only_if_there: bool,
    pub trimming: Option<Trimming>,
    pub references: References,
    /// LIMIT is among the words.
    pub has_limit: bool,
    /// Where the id stands, of XADD; or where there is nothing more.
    pub end: usize,
    /// It; nothing for `*`.
    pub id: Option<Given>,
}

const ONCE: CommandError = CommandError::Static(
    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
);
const NEGATIVE_LENGTH: CommandError = CommandError::Static("ERR The MAXLEN argument must be >= 0.");
const NEGATIVE_LIMIT: CommandError = CommandError::Static("ERR The LIMIT argument must be >= 0.");
const LIMIT_OF_NOTHING: CommandError = CommandError::Static(
    "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
);
const LIMIT_OF_EXACT: CommandError =
    CommandError::Static("ERR syntax error, LIMIT cannot be used without the special ~ option");
const NO_STRATEGY: CommandError =
    CommandError::Static("ERR syntax error, XTRIM must be called with a trimming strategy");

/// While they are being read.
struct Reading<'a> {
    args: Args<'a>,
    options: Options,
    limit: Option<u64>,
    has_references: bool,
}

impl Options {
    /// Those of XADD, up to the id.
    #[inline]
    pub fn of_xadd(args: Args<'_>, settings: &Settings) -> Result<Self, CommandError> {
        // As most come.
        if args.get(2) == Some(b"*") {
            return Ok(Self::none(2));
        }
        Self::read(args, settings, true)
    }

    /// Those of XTRIM, which are all there is.
    pub fn of_xtrim(args: Args<'_>, settings: &Settings) -> Result<Self, CommandError> {
        Self::read(args, settings, false)
    }

    #[inline]
    fn none(end: usize) -> Self {
        Self {
            only_if_there: false,
            trimming: None,
            references: References::Keep,
            has_limit: false,
            end,
            id: None,
        }
    }

    fn read(args: Args<'_>, settings: &Settings, adds: bool) -> Result<Self, CommandError> {
        let mut reading = Reading {
            args,
            options: Self::none(2),
            limit: None,
            has_references: false,
        };
        while let Some(word) = args.get(reading.options.end) {
            if adds && word == b"*" {
                break;
            }
            if reading.word(word, adds)? {
                continue;
            }
            if !adds {
                return Err(CommandError::Syntax);
            }
            reading.options.id = Some(ids::given(word)?);
            break;
        }
        reading.finish(settings, adds)
    }

    /// The request as it is to be done again: with this id, and with exactly what was
    /// left of it in place of a threshold that was not exact.
    pub fn effect<'a>(
        &self,
        args: Args<'a>,
        id: Option<&'a [u8]>,
        left: Option<&'a [u8]>,
    ) -> impl ExactSizeIterator<Item = &'a [u8]> {
        let (end, at) = (self.end, self.trimming.map_or(0, |trimming| trimming.at));
        let has_limit = self.has_limit;
        let is_limit = move |index: usize| {
            has_limit && (2..end).contains(&index) && args[index].eq_ignore_ascii_case(b"LIMIT")
        };
        let kept = move |index: &usize| !is_limit(*index) && !is_limit(index.wrapping_sub(1));
        let word = move |index: usize| -> &'a [u8] {
            match (id, left) {
                (Some(id), _) if index == end => id,
                (_, Some(left)) if index == at => left,
                (_, Some(_)) if index + 1 == at => b"=",
                _ => args.get(index).unwrap_or_default(),
            }
        };
        let kept = (0..args.len()).filter(kept);
        Words {
            left: kept.clone().count(),
            words: kept.map(word),
        }
    }
}

/// Words that are counted.
struct Words<I> {
    words: I,
    left: usize,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Iterator for Words<I> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        self.left = self.left.saturating_sub(1);
        self.words.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'a, I: Iterator<Item = &'a [u8]>> ExactSizeIterator for Words<I> {}

impl Reading<'_> {
    /// Reads an option, if it is one; then goes behind it.
    fn word(&mut self, word: &[u8], adds: bool) -> Result<bool, CommandError> {
        let at = self.options.end;
        let is = |name: &[u8]| word.eq_ignore_ascii_case(name);
        let has_value = at + 1 < self.args.len();
        if has_value && (is(b"MAXLEN") || is(b"MINID")) {
            self.trimming(is(b"MAXLEN"))?;
            return Ok(true);
        }
        if has_value && is(b"LIMIT") {
            let limit = u64::try_from(integer(&self.args[at + 1])?);
            self.limit = Some(limit.map_err(|_| NEGATIVE_LIMIT)?);
            self.options.end = at + 2;
            return Ok(true);
        }
        if adds && is(b"NOMKSTREAM") {
            self.options.only_if_there = true;
        } else if let Some(references) = References::of(word).filter(|_| !self.has_references) {
            self.options.references = references;
            self.has_references = true;
        } else {
            return Ok(false);
        }
        self.options.end = at + 1;
        Ok(true)
    }

    /// Reads what follows MAXLEN or MINID.
    fn trimming(&mut self, by_length: bool) -> Result<(), CommandError> {
        if self.options.trimming.is_some() {
            return Err(ONCE);
        }
        let mut at = self.options.end + 1;
        let sign = Some(&self.args[at]).filter(|_| at + 1 < self.args.len());
        let approx = sign == Some(b"~");
        if approx || sign == Some(b"=") {
            at += 1;
        }
        let threshold = &self.args[at];
        let to = if by_length {
            let most = u64::try_from(integer(threshold)?);
            TrimTo::MaxLen(most.map_err(|_| NEGATIVE_LENGTH)?)
        } else {
            TrimTo::MinId(ids::strict(threshold, 0)?)
        };
        self.options.trimming = Some(Trimming {
            to,
            approx,
            at,
            limit: 0,
        });
        self.options.end = at + 1;
        Ok(())
    }

    fn finish(self, settings: &Settings, adds: bool) -> Result<Options, CommandError> {
        const MOST: u64 = 1_000_000;
        const USUAL: u64 = 10_000;
        let mut options = self.options;
        options.has_limit = self.limit.is_some();
        let Some(trimming) = &mut options.trimming else {
            return match self.limit {
                Some(1..) => Err(LIMIT_OF_NOTHING),
                _ if !adds => Err(NO_STRATEGY),
                Some(0) => Err(LIMIT_OF_EXACT),
                None => Ok(options),
            };
        };
        trimming.limit = match self.limit {
            Some(_) if !trimming.approx => return Err(LIMIT_OF_EXACT),
            Some(limit) => limit,
            None if trimming.approx => {
                let entries = settings.encodings.stream_node_max_entries as u64;
                match entries.saturating_mul(100) {
                    0 => USUAL,
                    limit => limit.min(MOST),
                }
            }
            None => 0,
        };
        Ok(options)
    }
}

/// The words of XDELEX and XACKDEL from an argument on:
/// `[KEEPREF | DELREF | ACKED] IDS numids id [id ...]`.
pub struct Chosen<'a> {
    pub references: References,
    ids: Args<'a>,
}

impl<'a> Chosen<'a> {
    pub fn read(args: Args<'a>, from: usize) -> Result<Self, CommandError> {
        let chosen = Self::words(args, from)?;
        for id in chosen.ids.iter() {
            ids::strict(id, 0)?;
        }
        Ok(chosen)
    }

    /// As [`Chosen::read`], but what should be ids may be none.
    pub fn words(args: Args<'a>, from: usize) -> Result<Self, CommandError> {
        const COUNT: CommandError =
            CommandError::Static("ERR Number of IDs must be a positive integer");
        const OTHER_COUNT: CommandError =
            CommandError::Static("ERR The `numids` parameter must match the number of arguments");
        let (mut references, mut ids) = (None, None);
        let mut at = from;
        while let Some(word) = args.get(at) {
            if let Some(found) = References::of(word).filter(|_| references.is_none()) {
                references = Some(found);
                at += 1;
                continue;
            }
            let count = args.get(at + 1).filter(|_| ids.is_none());
            let Some(count) = count.filter(|_| word.eq_ignore_ascii_case(b"IDS")) else {
                return Err(CommandError::Syntax);
            };
            let count = crate::number::parse_i64(count).and_then(|it| usize::try_from(it).ok());
            let count = count.filter(|it| *it > 0).ok_or(COUNT)?;
            let rest = args.from(at + 2);
            if count > rest.len() {
                return Err(OTHER_COUNT);
            }
            ids = Some(rest.first(count));
            at += 2 + count;
        }
        Ok(Self {
            references: references.unwrap_or(References::Keep),
            ids: ids.ok_or(CommandError::Syntax)?,
        })
    }

    /// The words that are, or should be, ids.
    pub fn all(&self) -> Args<'a> {
        self.ids
    }

    /// The ids, all of which are some.
    pub fn ids(&self) -> impl ExactSizeIterator<Item = StreamId> + Clone + use<'a> {
        let ids = self.ids.iter();
        ids.map(|id| ids::strict(id, 0).unwrap_or_default())
    }
}
