//! The columns of the command table and what can be computed from them.

use super::Args;

/// A row of the command table. See the module above for what is derived from it.
pub struct Command<R: 'static> {
    /// Lower case; a subcommand's name is `container|sub`, as in COMMAND INFO.
    pub name: &'static str,
    /// The arguments in the notation of Redis's documentation, without the name:
    /// `key value [NX | XX] [EX seconds | PX milliseconds]`.
    pub syntax: &'static str,
    pub summary: &'static str,
    pub since: &'static str,
    pub complexity: &'static str,
    /// Versions of Redis, each with what it changed, from the oldest on.
    pub history: &'static [(&'static str, &'static str)],
    pub deprecated: Option<Deprecated>,
    /// Not for applications.
    pub is_system: bool,
    pub group: Group,
    pub arity: Arity,
    pub keys: &'static [KeySpec],
    /// What COMMAND shows.
    pub flags: Flags,
    /// Categories of access control that follow neither from the group nor from the flags.
    pub categories: &'static [&'static str],
    /// A read that may leave effects: a pause of writes holds it up, too.
    pub may_replicate: bool,
    pub slices: InSlices,
    pub in_multi: InMulti,
    /// Of a command of the server.
    pub waits: Waits,
    /// What each shard is given of a request that several read, if they do not run all
    /// there is to do.
    pub part_args: PartArgs,
    /// Command tips of COMMAND INFO, e.g. `request_policy:all_shards`.
    pub tips: &'static [&'static str],
    pub subcommands: &'static [Command<R>],
    pub run: R,
}

impl<R> Command<R> {
    /// What most rows leave as it is: a row states the columns that differ.
    pub const fn running(run: R) -> Self {
        Self {
            name: "",
            syntax: "",
            summary: "",
            since: "",
            complexity: "",
            history: &[],
            deprecated: None,
            is_system: false,
            group: Group::Generic,
            arity: Arity::AtLeast(1),
            keys: &[],
            flags: flags::NONE,
            categories: &[],
            may_replicate: false,
            slices: InSlices::Never,
            in_multi: InMulti::IsQueued,
            waits: Waits::ForEarlier,
            part_args: PartArgs::Keys,
            tips: &[],
            subcommands: &[],
            run,
        }
    }

    /// Whether a request of so many arguments, name included, may work in slices.
    #[inline]
    pub fn is_heavy(&self, count: usize) -> bool {
        match self.slices {
            InSlices::Never | InSlices::Always => false,
            InSlices::IfMuch => true,
            InSlices::IfCounted => !self.arity.is_least(count),
        }
    }

    /// Whether there are such requests.
    #[inline]
    pub fn may_be_heavy(&self) -> bool {
        matches!(self.slices, InSlices::IfMuch | InSlices::IfCounted)
    }
}

/// Whether a request may work in slices, between which its shard serves others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InSlices {
    Never,
    /// Each part of an `EachShard` without keys goes through all of its shard
    /// (`command/sliced.rs`).
    Always,
    /// If there is much to do (`command/work.rs`).
    IfMuch,
    /// The same, but only with a count, an argument more than must be.
    IfCounted,
}

/// What becomes of a command while a MULTI is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InMulti {
    IsQueued,
    Runs,
    /// It runs what has been queued.
    RunsQueue,
}

/// Whether a command of the server waits for what its client has under way elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waits {
    /// What it tells or changes may depend on that.
    ForEarlier,
    /// It concerns its connection alone, and so has no order with what others do, nor
    /// with what its own connection does on other cores.
    Never,
    /// Its function sees to it.
    AsItSays,
}

/// What the part of a shard has beside the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartArgs {
    /// Its own keys.
    Keys,
    /// They, and the last argument, on which depends what is read of them.
    KeysAndLast,
    /// What stands before the keys, then its own keys, then for each of them what stands
    /// as far behind it as there are keys (`XREAD STREAMS key key id id`).
    KeysAndIds,
    /// The whole request: what is read of the first key depends on all of it
    /// (`Cargo::key` says which key is the shard's own), and what others hold does not
    /// matter.
    All,
}

/// Of a command that has been replaced by another.
#[derive(Clone, Copy, Debug)]
pub struct Deprecated {
    /// The version of Redis.
    pub since: &'static str,
    /// What to use instead.
    pub replaced_by: &'static str,
}

/// Number of arguments, name included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arity {
    Exactly(u32),
    AtLeast(u32),
}

impl Arity {
    /// Whether a request of `count` arguments, name included, fits.
    #[inline]
    pub fn accepts(self, count: usize) -> bool {
        match self {
            Self::Exactly(n) => count == n as usize,
            Self::AtLeast(n) => count >= n as usize,
        }
    }

    /// Whether a request could have no fewer arguments than `count`.
    fn is_least(self, count: usize) -> bool {
        match self {
            Self::Exactly(n) | Self::AtLeast(n) => count == n as usize,
        }
    }

    /// As COMMAND INFO shows it: negative for a minimum.
    pub fn as_redis(self) -> i64 {
        match self {
            Self::Exactly(n) => i64::from(n),
            Self::AtLeast(n) => -i64::from(n),
        }
    }
}

/// The family, named as COMMAND DOCS names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Bitmap,
    Cluster,
    Connection,
    Generic,
    Geo,
    Hash,
    HyperLogLog,
    List,
    PubSub,
    Scripting,
    Server,
    Set,
    SortedSet,
    Stream,
    String,
    Transactions,
}

impl Group {
    /// The word COMMAND DOCS uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bitmap => "bitmap",
            Self::Cluster => "cluster",
            Self::Connection => "connection",
            Self::Generic => "generic",
            Self::Geo => "geo",
            Self::Hash => "hash",
            Self::HyperLogLog => "hyperloglog",
            Self::List => "list",
            Self::PubSub => "pubsub",
            Self::Scripting => "scripting",
            Self::Server => "server",
            Self::Set => "set",
            Self::SortedSet => "sorted-set",
            Self::Stream => "stream",
            Self::String => "string",
            Self::Transactions => "transactions",
        }
    }
}

/// A set of properties; combine with [`Flags::with`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flags(pub u32);

impl Flags {
    /// Both sets.
    #[must_use]
    pub const fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether every flag of `other` is here.
    #[inline]
    pub const fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// The flags, named as COMMAND INFO names them.
pub mod flags {
    use super::Flags;

    pub const NONE: Flags = Flags(0);
    pub const WRITE: Flags = Flags(1);
    pub const READONLY: Flags = Flags(1 << 1);
    pub const DENYOOM: Flags = Flags(1 << 2);
    pub const ADMIN: Flags = Flags(1 << 3);
    pub const FAST: Flags = Flags(1 << 4);
    pub const LOADING: Flags = Flags(1 << 5);
    pub const STALE: Flags = Flags(1 << 6);
    pub const NOSCRIPT: Flags = Flags(1 << 7);
    pub const BLOCKING: Flags = Flags(1 << 8);
    /// Allowed before AUTH.
    pub const NO_AUTH: Flags = Flags(1 << 9);
    pub const SKIP_MONITOR: Flags = Flags(1 << 10);
    pub const SKIP_SLOWLOG: Flags = Flags(1 << 11);
    pub const PUBSUB: Flags = Flags(1 << 12);
    pub const MOVABLEKEYS: Flags = Flags(1 << 13);
    pub const NO_ASYNC_LOADING: Flags = Flags(1 << 14);
    pub const ALLOW_BUSY: Flags = Flags(1 << 15);
    pub const NO_MULTI: Flags = Flags(1 << 16);
    pub const NO_MANDATORY_KEYS: Flags = Flags(1 << 17);
    pub const PROTECTED: Flags = Flags(1 << 18);
    pub const TOUCHES_ARBITRARY_KEYS: Flags = Flags(1 << 19);
    /// Refused, as writes are, while dumps cannot be written.
    pub const NEEDS_DISK: Flags = Flags(1 << 20);
    /// A client that listens to channels may send it in RESP2, too.
    pub const WHILE_LISTENING: Flags = Flags(1 << 21);

    /// What CLIENT CACHING has said of the next command is said of the one after it.
    pub const KEEPS_CACHING: Flags = Flags(1 << 22);

    /// Names of the flags that COMMAND INFO shows, in its order.
    pub const NAMES: &[(Flags, &str)] = &[
        (WRITE, "write"),
        (READONLY, "readonly"),
        (DENYOOM, "denyoom"),
        (MOVABLEKEYS, "movablekeys"),
        (ADMIN, "admin"),
        (PUBSUB, "pubsub"),
        (NOSCRIPT, "noscript"),
        (BLOCKING, "blocking"),
        (LOADING, "loading"),
        (STALE, "stale"),
        (SKIP_MONITOR, "skip_monitor"),
        (SKIP_SLOWLOG, "skip_slowlog"),
        (FAST, "fast"),
        (NO_AUTH, "no_auth"),
        (NO_MANDATORY_KEYS, "no_mandatory_keys"),
        (PROTECTED, "protected"),
        (NO_ASYNC_LOADING, "no_async_loading"),
        (NO_MULTI, "no_multi"),
        (ALLOW_BUSY, "allow_busy"),
        (TOUCHES_ARBITRARY_KEYS, "touches_arbitrary_keys"),
    ];
}

/// Where keys stand among the arguments, as in Redis 7's key specifications.
#[derive(Clone, Copy, Debug)]
pub struct KeySpec {
    pub begin: Begin,
    pub find: Find,
    pub access: Access,
    /// What COMMAND INFO says of it; empty for nothing.
    pub notes: &'static str,
    /// With `variable_flags`: what a request with these arguments does.
    pub vary: Option<Vary>,
}

/// From the arguments of a request, name included, to the words of [`Access`].
pub type Vary = fn(Args<'_>) -> &'static [&'static str];

impl KeySpec {
    /// The one key at argument 1.
    pub const fn first(access: &'static [&'static str]) -> Self {
        Self::range(0, 1, access)
    }

    /// The one key at argument `index`.
    pub const fn at(index: i32, access: &'static [&'static str]) -> Self {
        Self {
            begin: Begin::Index(index),
            ..Self::first(access)
        }
    }

    /// From argument 1 to the end, every `step`th.
    pub const fn every(step: i32, access: &'static [&'static str]) -> Self {
        Self::range(-1, step, access)
    }

    /// From argument 1 to `last`, counted from there (negative: from the end).
    pub const fn range(last: i32, step: i32, access: &'static [&'static str]) -> Self {
        Self {
            begin: Begin::Index(1),
            find: Find::Range {
                last,
                step,
                limit: 0,
            },
            access: Access(access),
            notes: "",
            vary: None,
        }
    }

    /// As many as argument `at` says, from the one behind it on.
    pub const fn counted(at: i32, access: &'static [&'static str]) -> Self {
        Self {
            begin: Begin::Index(at),
            find: Find::Count {
                count: 0,
                first: 1,
                step: 1,
            },
            access: Access(access),
            notes: "",
            vary: None,
        }
    }

    /// The same with options that decide what is done with the key.
    #[must_use]
    pub const fn varying(self, vary: Vary) -> Self {
        Self {
            vary: Some(vary),
            ..self
        }
    }

    /// What a request with these arguments does with the keys.
    pub fn access_of(&self, args: Args<'_>) -> &'static [&'static str] {
        self.vary.map_or(self.access.0, |vary| vary(args))
    }

    /// The same with notes.
    #[must_use]
    pub const fn noted(self, notes: &'static str) -> Self {
        Self { notes, ..self }
    }
}

/// Where the search for keys begins.
#[derive(Clone, Copy, Debug)]
pub enum Begin {
    /// At this argument (the name is 0).
    Index(i32),
    /// After the first such keyword, looked for from argument `from` (negative: from the
    /// end, backwards). [`KeySpec::positions`] takes all places where it stands.
    Keyword { word: &'static str, from: i32 },
    /// As clients are told by [`Begin::Keyword`]; but that word may stand for something
    /// else in front of it, and this finds the argument behind the right one.
    Behind {
        word: &'static str,
        from: i32,
        find: fn(Args<'_>) -> Option<usize>,
    },
    /// Where no client could tell; this finds it.
    Unknown(fn(Args<'_>) -> Option<usize>),
    /// No client could tell, nor can the server: if this says so, a request may name any
    /// key there is. Then all shards take part, and all of each is locked.
    Anywhere(fn(Args<'_>) -> bool),
}

/// Which arguments from there on are keys.
#[derive(Clone, Copy, Debug)]
pub enum Find {
    /// Up to `last` (relative to the beginning; negative: from the end of the
    /// request), every `step`th; with `limit` > 1 only the first 1/limit of the rest.
    Range { last: i32, step: i32, limit: i32 },
    /// A count stands at `count` (relative to the beginning), the first key at
    /// `first`, every `step`th.
    Count { count: i32, first: i32, step: i32 },
}

/// What the command does with the keys of a spec, as COMMAND INFO's words
/// (`RW`, `RO`, `OW`, `RM`, `access`, `update`, `insert`, `delete`,
/// `variable_flags` …), in its order.
#[derive(Clone, Copy, Debug)]
pub struct Access(pub &'static [&'static str]);

/// The positions of all keys of a request, in spec order.
///
/// # Errors
/// Nothing is returned when the request's arguments do not fit the specs (a
/// count that is no number, or is larger than the request).
pub fn keys_of<R>(row: &Command<R>, args: Args<'_>, out: &mut Vec<usize>) -> Option<()> {
    keys_in(row.keys, args, out)
}

/// [`keys_of`] for a row's specs alone.
pub fn keys_in(specs: &[KeySpec], args: Args<'_>, out: &mut Vec<usize>) -> Option<()> {
    for spec in specs {
        spec.positions(args, out)?;
    }
    Some(())
}

/// Whether a request may name any key there is.
pub fn reach_any_key(specs: &[KeySpec], args: Args<'_>) -> bool {
    let reaches = |spec: &KeySpec| match spec.begin {
        Begin::Anywhere(reaches) => reaches(args),
        _ => false,
    };
    specs.iter().any(reaches)
}

impl KeySpec {
    /// The positions of this specification's keys; see [`keys_of`].
    pub fn positions(&self, args: Args<'_>, out: &mut Vec<usize>) -> Option<()> {
        match self.begin {
            Begin::Index(index) => self.positions_from(index, args, out),
            Begin::Unknown(find) => {
                out.extend(find(args));
                Some(())
            }
            Begin::Anywhere(_) => Some(()),
            Begin::Behind { find, .. } => {
                self.positions_from(i32::try_from(find(args)?).ok()?, args, out)
            }
            // It need not be there. An option may be repeated, and then Redis stores
            // at the last (GEORADIUS); or it may be another's argument. Where a
            // request goes and what it locks takes in every key it may touch, and one
            // too many does no harm.
            Begin::Keyword { word, from } => {
                for index in keywords(args, word, from) {
                    self.positions_from(index + 1, args, out)?;
                }
                Some(())
            }
        }
    }

    /// The positions of the keys as Redis names them: behind the first place of a
    /// keyword, although another may be the one that counts. Only if there can be no key
    /// it looks for the right one.
    pub fn named_positions(&self, args: Args<'_>, out: &mut Vec<usize>) -> Option<()> {
        let (Begin::Keyword { word, from } | Begin::Behind { word, from, .. }) = self.begin else {
            return self.positions(args, out);
        };
        let before = out.len();
        if let Some(index) = keywords(args, word, from).next() {
            self.positions_from(index + 1, args, out)?;
        }
        match self.begin {
            Begin::Behind { .. } if out.len() == before => self.positions(args, out),
            _ => Some(()),
        }
    }

    /// The positions, if the search for keys begins at argument `first`.
    fn positions_from(&self, first: i32, args: Args<'_>, out: &mut Vec<usize>) -> Option<()> {
        let count = i32::try_from(args.len()).ok()?;
        let (first, last, step) = match self.find {
            Find::Range { last, step, limit } if last < 0 => {
                let end = count + last;
                let end = if limit > 1 {
                    first + (end - first + 1) / limit - 1
                } else {
                    end
                };
                (first, end, step)
            }
            Find::Range { last, step, .. } => (first, first + last, step),
            Find::Count {
                count: at,
                first: offset,
                step,
            } => {
                let number =
                    crate::number::parse_i64(args.get(usize::try_from(first + at).ok()?)?)?;
                let number = i32::try_from(number).ok().filter(|n| *n >= 0)?;
                let start = first + offset;
                (
                    start,
                    number
                        .checked_sub(1)?
                        .checked_mul(step)?
                        .checked_add(start)?,
                    step,
                )
            }
        };
        if last >= count {
            return None;
        }
        let step = usize::try_from(step).ok().filter(|step| *step > 0)?;
        let Ok(last) = usize::try_from(last) else {
            return Some(());
        };
        out.extend((usize::try_from(first).ok()?..=last).step_by(step));
        Some(())
    }
}

/// Where a keyword is that has something behind it, from argument `from` on, first
/// things first; the last such place, if `from` counts from the end.
fn keywords<'a>(args: Args<'a>, word: &'a str, from: i32) -> impl Iterator<Item = i32> + 'a {
    // Requests have fewer arguments.
    let behind = i32::try_from(args.len()).unwrap_or(0) - 1;
    let is_word = move |index: &i32| {
        usize::try_from(*index)
            .ok()
            .and_then(|index| args.get(index))
            .is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    };
    let (forwards, backwards) = if from >= 0 {
        (from..behind, 0..0)
    } else {
        (0..0, 1..(behind + 2 + from).min(behind))
    };
    let last = backwards.rev().find(is_word);
    forwards.filter(is_word).chain(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::OwnedArgs;

    fn found(spec: &KeySpec, line: &str) -> (Vec<usize>, Vec<usize>) {
        let args = OwnedArgs::new(line.split(' ').map(str::as_bytes));
        let (mut all, mut named) = (Vec::new(), Vec::new());
        spec.positions(args.args(), &mut all).unwrap();
        spec.named_positions(args.args(), &mut named).unwrap();
        (all, named)
    }

    #[test]
    fn a_keyword_names_the_first_and_routes_by_every_place_of_an_option() {
        let keyword = |find| KeySpec {
            begin: Begin::Keyword {
                word: "STORE",
                from: 2,
            },
            find,
            ..KeySpec::first(&["OW", "update"])
        };
        let option = keyword(Find::Range {
            last: 0,
            step: 1,
            limit: 0,
        });
        let (all, named) = found(&option, "X k STORE a store b");
        assert_eq!((all, named), (vec![3, 5], vec![3]));
        assert_eq!(found(&option, "X STORE STORE"), (vec![], vec![]));
    }

    #[test]
    fn keys_are_behind_the_right_one_of_words_that_clients_take_for_the_first() {
        let row = |name| &crate::command::row(name).unwrap().keys[0];
        let (xread, group) = (row("xread"), row("xreadgroup"));
        let both = |all: &[usize]| (all.to_vec(), all.to_vec());
        assert_eq!(found(xread, "XREAD STREAMS STREAMS b 0 0"), both(&[2, 3]));
        assert_eq!(
            found(xread, "XREAD COUNT STREAMS STREAMS s 0"),
            (vec![4], vec![3]) // Its handler refuses it.
        );
        let hidden = "XREADGROUP COUNT 1 GROUP STREAMS c STREAMS s >";
        assert_eq!(found(group, hidden), (vec![7], vec![5, 6]));
        // A client finds no key, and Redis looks for the right place, too.
        let early = "XREADGROUP STREAMS a b 0 0 STREAMS 0";
        assert_eq!(found(group, early), both(&[2, 3, 4]));
        let mut out = Vec::new();
        for none in [
            "XREAD STREAMS",
            "XREAD OTHER STREAMS s 0",
            "XREAD COUNT 1 s",
        ] {
            let args = OwnedArgs::new(none.split(' ').map(str::as_bytes));
            let _ = xread.positions(args.args(), &mut out);
            assert_eq!(out, []);
        }
    }
}
