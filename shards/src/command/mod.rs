//! What a command is: one row and one function.
//!
//! A [`Command`] says all there is to know of a command before it runs; lookup,
//! arity errors, routing, refusals, COMMAND INFO/DOCS/GETKEYS, the table in the
//! README and the generated tests are derived from it. Rows are immutable and
//! `static`; statistics live in per-core arrays indexed by the row's number.
//!
//! The type parameter `R` of [`Command`] is how a row runs: [`Run`] here in the
//! engine, a function on the session in the server.

mod apart;
mod args;
mod bitmaps;
mod choosing;
mod combining;
pub mod digest;
pub mod exchange;
#[cfg(test)]
mod freeing;
mod geo;
#[cfg(test)]
mod harness;
mod hashes;
mod hyperloglogs;
mod keys;
mod lists;
mod long;
mod memory;
pub mod merge;
mod replied;
mod scanning;
mod sets;
mod sliced;
pub mod snapshot;
mod sort;
mod spec;
mod stored;
mod streams;
mod strings;
mod texts;
mod work;
mod zsets;

pub use args::{Args, OwnedArgs, cursor_of};
pub use long::Long;
pub use memory::debug_object;
pub use merge::Merge;
pub use sliced::{Pieces, Sliced};
pub use spec::{
    Access, Arity, Begin, Command, Deprecated, Find, Flags, Group, InMulti, InSlices, KeySpec,
    PartArgs, Waits, flags, keys_in, keys_of, reach_any_key,
};
pub use work::Work;

use crate::effects::{Effects, Event};
use crate::error::{CommandError, Unfinished};
use crate::keyspace::{Db, Keyspace, Parcel};
use crate::resp::Reply;
use crate::resp::read::{self, Read};
use crate::types::{Blocked, Chance, DbIndex, Settings, ShardId, Type, UnixMs, Waiting};
use crate::value::Growth;

/// A row of the engine.
pub type Row = Command<Run>;

/// The defaults of a row; each states what differs.
pub const ROW: Row = Command::running(Run::OneShard(container));

/// The function of a row with subcommands, which never runs: the path of a request
/// looks for the subcommand and refuses what is none.
fn container(_: &mut Context<'_>, _: Args<'_>) -> Outcome {
    Err(CommandError::Syntax)
}

/// Nothing to say on success: the reply is already written.
pub type Outcome = Result<(), CommandError>;

/// A command's function. It parses and validates everything, then writes, then
/// calls [`Context::changed`], then replies: an error means nothing changed,
/// nothing was replied and nothing will be propagated. One exception: a write of
/// several elements that runs out of memory halfway, [`Context::give_up`].
pub type Handler = fn(&mut Context<'_>, Args<'_>) -> Outcome;

/// How a row runs when its keys are spread over shards. With all keys on one
/// shard the first handler of the variant runs there on the whole request, and
/// its reply is the reply.
///
/// A request is cut by its one key spec, which begins at argument 1 and steps
/// by `step`: each key takes the `step - 1` arguments behind it along. A request
/// that does not divide so (`MSET a 1 b`) runs whole on any shard, which refuses
/// it. When parts of a request answer with errors, the reply is the first of
/// them in shard order.
#[derive(Clone, Copy)]
pub enum Run {
    /// One key: runs whole on the shard that owns it.
    OneShard(Handler),
    /// Each shard runs `part` on the name with its own keys (on the whole
    /// request, if the command has no keys); `merge` makes one reply of theirs. A write of
    /// this kind cannot fail once its arguments are parsed.
    EachShard { part: Handler, merge: Merge },
    /// Two hops. Every shard runs `read` on the name and its own keys, without
    /// what stands between them; it replies an array with one element per key.
    /// The connection's core decides with all of them in hand what the reply is
    /// and what is to be written. The first `skip` keys are destinations only:
    /// they are locked with the rest, but `read` does not get them.
    ReadThenWrite {
        whole: Handler,
        read: Handler,
        decide: Decide,
        skip: usize,
    },
    /// A value goes from the first of two keys to the second. With the keys on
    /// two shards there are two hops, but each shard runs `read` on the whole
    /// request; [`Cargo::key`] says which key is its own. What it takes away
    /// travels to the home core and on to where [`Decision::put`] wants it.
    Relocate {
        whole: Handler,
        read: Handler,
        decide: Decide,
    },
    /// A walk over all shards, which argument 1, a cursor, says where to go on
    /// with. Runs on the shard that the cursor names; when that has no more,
    /// [`Context::go_on`] may send a request of the walk's own to the next. No
    /// step sees half of what another request does, but the shards are met one
    /// after the other, as with one request each.
    ByCursor(Handler),
}

impl Run {
    /// How many keys at the front are destinations only.
    pub fn skip(&self) -> usize {
        match *self {
            Self::ReadThenWrite { skip, .. } => skip,
            _ => 0,
        }
    }

    /// What runs where all keys of a request lie on one shard.
    #[inline]
    pub fn whole(&self) -> Handler {
        match *self {
            Self::OneShard(handler)
            | Self::ByCursor(handler)
            | Self::EachShard { part: handler, .. } => handler,
            Self::ReadThenWrite { whole, .. } | Self::Relocate { whole, .. } => whole,
        }
    }
}

/// Looks at what was read, then either fails, or writes the reply and asks for
/// writes. The reply is sent once all writes are done; they cannot fail.
pub type Decide = fn(&mut Decision<'_>) -> Outcome;

/// What a [`Decide`] function sees and what it says.
pub struct Decision<'a> {
    /// The home core's time.
    pub now: UnixMs,
    /// The whole request.
    pub args: Args<'a>,
    /// What `read` replied for each key after those skipped, as RESP2, in the
    /// order of the keys; for a request without keys one element per shard. What
    /// a shard was asked for since ([`Further::Keys`]) stands in place of that.
    pub read: &'a [&'a [u8]],
    /// As `read` was after the first round.
    pub first: &'a [&'a [u8]],
    /// The shard of each of these keys.
    pub owners: &'a [ShardId],
    /// What shards have handed on in the round before this one, in their order
    /// ([`Context::hand_on`]). Then it is not said what was read before.
    pub works: Vec<Work>,
    /// The shard of the first key that is only written, if there is one.
    pub destination: Option<ShardId>,
    /// Where the decision is made.
    pub home: ShardId,
    /// A random number, for what is chosen.
    pub random: u64,
    /// Another one, which nobody must learn anything of: it keys tables.
    pub seed: u64,
    pub settings: &'a Settings,
    /// As [`Context::alone`].
    pub alone: bool,
    pub reply: Reply<'a>,
    /// What follows the reply, if it is long: it is neither moved nor copied.
    pub pieces: Vec<Vec<u8>>,
    /// What to write; empty for a command that only reads. Writes of one shard
    /// run in this order.
    pub writes: Vec<Write>,
    /// There is one write, and its reply is the reply.
    pub written_reply: bool,
    /// What a shard has taken away for [`Run::Relocate`]. If it is not put
    /// anywhere it is gone.
    pub parcel: Option<Box<Parcel>>,
    /// Where a parcel goes, before all other writes.
    pub put: Option<Put>,
    /// The one thing that is still to be done: what it replies is the reply.
    pub errand: Option<Errand>,
    /// Another round, instead of an end: reply and writes are not looked at. There is
    /// the same decision again when it is over.
    pub further: Option<Further>,
}

/// Another round under the locks that are held.
pub enum Further {
    /// Some shards, each once, are asked more about some of their keys: their replies
    /// stand in place of what was read of these keys before.
    Keys(Vec<Ask>),
    /// Some shards, each once, do some of the work, and hand on what they have done.
    Errands(Vec<Errand>),
}

/// Work that goes on on another shard.
pub struct Errand {
    /// One that takes part; if none is named, that of argument 1, a key.
    pub shard: Option<ShardId>,
    pub handler: Handler,
    pub args: OwnedArgs,
    pub work: Work,
}

/// What one shard is asked for: an array with one element for each of these keys,
/// which are numbered as those that are read.
pub struct Ask {
    pub shard: ShardId,
    pub keys: Vec<usize>,
    pub handler: Handler,
    pub args: OwnedArgs,
}

/// A write that brings a parcel, maybe to another database.
pub struct Put {
    pub write: Write,
    /// The selected one if there is none.
    pub db: Option<DbIndex>,
    pub parcel: Box<Parcel>,
}

/// What a part of a request has with it besides its arguments.
#[derive(Debug, Default)]
pub struct Cargo {
    /// Which of the keys that are read, from 0, is the first on this shard.
    pub key: usize,
    /// What it brings, until the handler has taken it; or what it takes away.
    pub parcel: Option<Box<Parcel>>,
    /// What a part that works in slices has done so far.
    pub sliced: Option<Box<Sliced>>,
    /// A long reply may be made in pieces, and has come so far.
    pub long: Option<Long>,
    /// What it replies is no client's: something is decided on it.
    pub inner: bool,
    /// The locks that it needs are held, and it is called again if it has more to
    /// do: it may work in slices.
    pub divisible: bool,
}

impl Cargo {
    /// One that brings this.
    pub fn with_work(work: Work) -> Self {
        Self {
            sliced: Some(Box::new(Sliced {
                work: Some(work),
                ..Sliced::default()
            })),
            ..Self::default()
        }
    }

    /// Whether there is anything in it that has memory of its own.
    #[inline]
    pub fn owns_anything(&self) -> bool {
        self.parcel.is_some() || self.sliced.is_some()
    }

    /// Whether the part is to be called again.
    #[inline]
    pub fn goes_on(&self) -> bool {
        self.sliced.as_ref().is_some_and(|sliced| sliced.more)
    }

    /// Whether the request is to be called again, for more of its reply or of its work.
    pub fn more(&self) -> bool {
        self.goes_on() || self.long.is_some_and(|long| long.more)
    }
}

impl<'a> Decision<'a> {
    /// What there is to decide on; nothing is written yet.
    pub fn new(
        args: Args<'a>,
        read: &'a [&'a [u8]],
        settings: &'a Settings,
        reply: Reply<'a>,
    ) -> Self {
        Self {
            args,
            read,
            first: read,
            owners: &[],
            works: Vec::new(),
            destination: None,
            home: ShardId(0),
            random: 0,
            seed: 0,
            settings,
            now: UnixMs(0),
            alone: false,
            reply,
            pieces: Vec::new(),
            writes: Vec::new(),
            parcel: None,
            put: None,
            errand: None,
            further: None,
            written_reply: false,
        }
    }
}

impl<'a> Decision<'a> {
    /// See [`Context::wait_for`].
    pub fn wait_for(&self, of: Type, until: Option<UnixMs>) -> Outcome {
        wait_for(self.alone, of, until)
    }

    /// The first of the keys that has any elements, where `read` replied how many
    /// each has, or the error for one of another type.
    pub fn first_with_any(
        &self,
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> Result<Option<&'a [u8]>, CommandError> {
        let has_any = |found: &(_, &&[u8])| read::integer(found.1) != Some(0);
        match keys.zip(self.read).find(has_any) {
            Some((_, found)) if matches!(read::read(found), Some((Read::Error(_), _))) => {
                Err(CommandError::WrongType)
            }
            Some((key, _)) => Ok(Some(key)),
            None => Ok(None),
        }
    }

    /// There is this one write, and its reply is the reply.
    pub fn reply_as_written(&mut self, handler: Handler, args: OwnedArgs) {
        self.writes.push(Write { handler, args });
        self.written_reply = true;
    }
}

fn wait_for(alone: bool, of: Type, until: Option<UnixMs>) -> Outcome {
    match alone {
        true => Err(CommandError::Blocked(Box::new(Blocked {
            waiting: Waiting::to_take(of, until),
            instead: Vec::new(),
        }))),
        false => Ok(()),
    }
}

/// One write of a [`Decision`], for the shard that owns `args[1]`.
pub struct Write {
    pub handler: Handler,
    pub args: OwnedArgs,
}

/// What a handler may touch.
pub struct Context<'a> {
    /// The selected database on this shard, at the request's time. The only
    /// way to entries.
    pub db: Db<'a>,
    pub reply: Reply<'a>,
    pub settings: &'a Settings,
    /// The request is no part of another, nor of a block. Then a blocking command
    /// that finds nothing may fail with [`CommandError::Blocked`]; otherwise it
    /// replies its null. And a reply that would be long may fail with
    /// [`CommandError::Long`].
    pub alone: bool,
    /// The other databases of the shard.
    pub others: Others<'a>,
    pub cargo: &'a mut Cargo,
    pub(crate) chance: &'a mut Chance,
    pub(crate) onward: &'a mut Option<Write>,
}

/// The databases of a shard that are not selected.
pub struct Others<'a> {
    pub before: &'a mut [Keyspace],
    pub after: &'a mut [Keyspace],
}

impl Others<'_> {
    /// One of them; nothing for the selected one.
    pub fn get_mut(&mut self, db: DbIndex) -> Option<&mut Keyspace> {
        match db.index().checked_sub(self.before.len()) {
            None => self.before.get_mut(db.index()),
            Some(at) => self.after.get_mut(at.checked_sub(1)?),
        }
    }

    fn swap(&mut self, one: DbIndex, other: DbIndex) {
        let (low, high) = (one.min(other), one.max(other));
        match (
            low.index() < self.before.len(),
            high.index().checked_sub(self.before.len() + 1),
        ) {
            (true, None) => self.before.swap(low.index(), high.index()),
            (true, Some(high)) => {
                std::mem::swap(&mut self.before[low.index()], &mut self.after[high])
            }
            (false, _) => {
                let first = self.before.len() + 1;
                self.after.swap(low.index() - first, high.index() - first);
            }
        }
    }

    /// All of them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Keyspace> {
        self.before.iter_mut().chain(self.after.iter_mut())
    }
}

/// Keys of a request whose memory is fetched at once: enough for the processor to
/// be busy, few enough not to drive one another out of its cache.
const TOGETHER: usize = 16;

impl<'a> Context<'a> {
    /// Calls `look` for every `step`th argument from the first on, which are all
    /// the keys of the request, with its position. The memory of several is fetched
    /// at once, and none is hashed twice.
    pub fn each_key(
        &mut self,
        args: Args<'_>,
        step: usize,
        mut look: impl FnMut(&mut Self, usize, &[u8]) -> Outcome,
    ) -> Outcome {
        let count = args.len().saturating_sub(1).div_ceil(step);
        let at = |key: usize| 1 + key * step;
        let known = self.db.known();
        if known.len() == count {
            for (key, located) in known.iter().enumerate() {
                self.db.hint_for_now(*located, &args[at(key)]);
                look(self, at(key), &args[at(key)])?;
            }
            self.db.forget_hint();
            return Ok(());
        }
        let mut places = [None; TOGETHER];
        for first in (0..count).step_by(TOGETHER) {
            let group = first..count.min(first + TOGETHER);
            let places = &mut places[..group.len()];
            self.db
                .fetch(group.clone().map(|key| &args[at(key)]), places);
            for (key, located) in group.zip(places.iter().flatten()) {
                self.db.hint_for_now(*located, &args[at(key)]);
                look(self, at(key), &args[at(key)])?;
            }
        }
        self.db.forget_hint();
        Ok(())
    }

    /// Says that the request changed `key`: counts it, marks the request to be
    /// propagated as it stands, and records the event. Call it after the write
    /// and before the reply, once per changed key.
    #[inline]
    pub fn changed(&mut self, key: &[u8], event: Event) {
        self.effects().changed(key, event);
    }

    /// As [`Context::changed`], counted as so many changes: one for each element
    /// that has come or gone, as in Redis.
    #[inline]
    pub fn changed_times(&mut self, key: &[u8], event: Event, count: usize) {
        self.effects().changed_times(key, event, count);
    }

    /// As [`Context::changed`] for the other key of a change that counts as one.
    pub fn also_changed(&mut self, key: &[u8], event: Event) {
        self.effects().changed_times(key, event, 0);
    }

    /// A write has run out of memory: counts what it has done, if anything, and
    /// propagates `done`, the request cut off there. Returns the error.
    #[cold]
    pub fn give_up(
        &mut self,
        key: &[u8],
        event: Event,
        done: Args<'_>,
        unfinished: Unfinished,
    ) -> CommandError {
        if unfinished.done > 0 {
            self.changed_times(key, event, unfinished.done);
            self.cut_off(done);
        }
        unfinished.error
    }

    /// Propagates `done`, what was done of the request that is about to fail, if
    /// it has changed anything.
    #[cold]
    pub fn cut_off(&mut self, done: Args<'_>) {
        self.effects().finish(done.iter());
    }

    /// As [`Context::changed_times`] for what those who watch `key` do not look at, as in
    /// Redis.
    pub fn noticed(&mut self, key: &[u8], event: Event, count: usize) {
        self.effects().noticed(key, event, count);
    }

    /// As [`Context::noticed`], without an event.
    pub fn counts(&mut self, count: usize) {
        self.effects().counts(count);
    }

    /// `key` is as it was, but to those who watch it, or who are notified, that counts
    /// as a change, as it does in Redis.
    pub fn touched(&mut self, key: &[u8], event: Event) {
        self.effects().touched(key, event);
    }

    /// [`Context::changed`] for a key of another database, counted as so many.
    pub fn changed_in(&mut self, index: DbIndex, key: &[u8], event: Event, count: usize) {
        let before = self.effects().select(index);
        self.changed_times(key, event, count);
        self.effects().select(before);
    }

    /// Propagates `parts` in place of the request. For handlers whose result
    /// depends on chance, relative time or arithmetic of the machine.
    #[inline]
    pub fn propagate(&mut self, parts: &[&[u8]]) {
        self.effects().replace(parts);
    }

    /// As [`Context::propagate`], of words that are made one after the other.
    pub fn propagate_words<'w>(&mut self, words: impl ExactSizeIterator<Item = &'w [u8]>) {
        self.effects().replace_words(words);
    }

    /// Says that there is more in what `key` holds than before, to those who wait for it.
    #[inline]
    pub fn grew(&mut self, key: &[u8], of: Type) {
        self.effects().appeared(key, of);
    }

    /// Whether anybody will read what is propagated.
    #[inline]
    pub fn is_recording(&mut self) -> bool {
        self.effects().is_recording()
    }

    /// Has a request of a walk ([`Run::ByCursor`]) go on, with these arguments,
    /// on the shard that its cursor, argument 1, names. What it has replied here
    /// is dropped.
    pub fn go_on(&mut self, handler: Handler, args: OwnedArgs) {
        *self.onward = Some(Write { handler, args });
    }

    /// The selected database.
    pub fn selected(&self) -> DbIndex {
        // Lossless: databases are counted in u16.
        #[allow(clippy::cast_possible_truncation)]
        DbIndex(self.others.before.len() as u16)
    }

    /// The database called `number`, if there is one.
    pub fn database(&self, number: i32) -> Option<DbIndex> {
        let count = self.others.before.len() + 1 + self.others.after.len();
        let index = u16::try_from(number).ok().map(DbIndex)?;
        (index.index() < count).then_some(index)
    }

    /// Does something in a database of the shard, selected or not.
    pub fn in_db<T>(&mut self, index: DbIndex, act: impl FnOnce(&mut Db<'_>) -> T) -> T {
        let (now, touches) = (self.db.now(), self.db.touches());
        let Some(keyspace) = self.others.get_mut(index) else {
            return act(&mut self.db);
        };
        let before = self.db.effects().select(index);
        let done = act(&mut keyspace.at(now, touches, self.db.effects()));
        self.db.effects().select(before);
        done
    }

    /// Says that all keys of a database are about to go, and those of `other`
    /// to come in their place: to those who watch a key that is in either.
    pub fn overturned(&mut self, index: DbIndex, other: Option<DbIndex>) {
        if self.effects().watches().is_empty() {
            return;
        }
        let now = self.db.now();
        for key in self.effects().watches().in_db(index) {
            // One that has expired was there when it was watched.
            let goes = self.in_db(index, |db| db.deadline(&key)).is_some();
            let comes = other.and_then(|other| self.in_db(other, |db| db.deadline(&key)));
            let comes = comes.is_some_and(|deadline| deadline.is_none_or(|at| at > now));
            if goes || comes {
                self.effects().watch(|watches| watches.touch(index, &key));
            }
        }
    }

    /// Exchanges the contents of two databases, which are not the same.
    pub fn swap(&mut self, one: DbIndex, other: DbIndex) {
        let selected = self.selected();
        if one == selected || other == selected {
            let other = if one == selected { other } else { one };
            if let Some(keyspace) = self.others.get_mut(other) {
                self.db.swap(keyspace);
            }
            return;
        }
        self.others.swap(one, other);
    }

    /// A random number. Whatever depends on it is propagated as what came of it.
    #[inline]
    pub fn random(&mut self) -> u64 {
        self.chance.choices.next()
    }

    /// A random number to key a table with. Nothing that clients see depends on it.
    #[inline]
    pub fn seed(&mut self) -> u64 {
        self.chance.seeds.next()
    }

    /// What a set or a hash needs to know to grow.
    #[inline]
    pub fn growth(&mut self) -> Growth<'a> {
        Growth {
            thresholds: &self.settings.encodings,
            seed: self.seed(),
        }
    }

    /// There is nothing to take: fails so that the request waits for a value of
    /// this type to appear, until an instant, if it may.
    pub fn wait_for(&self, of: Type, until: Option<UnixMs>) -> Outcome {
        wait_for(self.alone, of, until)
    }

    #[inline]
    fn effects(&mut self) -> &mut Effects {
        self.db.effects()
    }
}

/// The row of the command with this name, in any case. It goes through all rows:
/// who serves requests looks names up in a table made of them once.
pub fn row(name: impl AsRef<[u8]>) -> Option<&'static Row> {
    let is = |row: &&Row| row.name.as_bytes().eq_ignore_ascii_case(name.as_ref());
    COMMANDS.iter().copied().flatten().find(is)
}

/// All families of the engine.
pub static COMMANDS: &[&[Row]] = &[
    strings::COMMANDS,
    strings::counters::COMMANDS,
    strings::lcs::COMMANDS,
    strings::many::COMMANDS,
    strings::ranges::COMMANDS,
    bitmaps::COMMANDS,
    bitmaps::combine::COMMANDS,
    bitmaps::fields::COMMANDS,
    geo::COMMANDS,
    geo::search::COMMANDS,
    hyperloglogs::COMMANDS,
    keys::COMMANDS,
    keys::dump::COMMANDS,
    keys::expiry::COMMANDS,
    keys::object::COMMANDS,
    keys::relocate::COMMANDS,
    keys::restore::COMMANDS,
    keys::scan::COMMANDS,
    memory::COMMANDS,
    lists::COMMANDS,
    lists::blocking::COMMANDS,
    lists::moving::COMMANDS,
    lists::search::COMMANDS,
    zsets::blocking::COMMANDS,
    zsets::combine::COMMANDS,
    zsets::pops::COMMANDS,
    zsets::ranges::COMMANDS,
    zsets::reads::COMMANDS,
    zsets::writes::COMMANDS,
    hashes::COMMANDS,
    hashes::chance::COMMANDS,
    hashes::expiry::COMMANDS,
    hashes::numbers::COMMANDS,
    hashes::values::COMMANDS,
    sets::COMMANDS,
    sets::SMOVE,
    sets::algebra::COMMANDS,
    sets::chance::COMMANDS,
    sort::COMMANDS,
    streams::add::COMMANDS,
    streams::delete::COMMANDS,
    streams::range::COMMANDS,
    streams::read::COMMANDS,
    streams::read_group::COMMANDS,
    streams::trim::COMMANDS,
    streams::ack::COMMANDS,
    streams::claim::COMMANDS,
    streams::groups::COMMANDS,
    streams::info::COMMANDS,
    streams::pending::COMMANDS,
];
