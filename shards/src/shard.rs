//! One shard: the databases of one core and the only way into them.

use crate::command::{Args, Cargo, Context, Handler, Others, Write};
use crate::effects::Effects;
use crate::error::{CommandError, OutOfMemory};
use crate::keep::Keep;
use crate::keyspace::{self, Chunk, ExpireProgress, Keyspace, Loaded, Located, Unloadable, Walked};
use crate::resp::{Protocol, Reply, UNLIMITED};
use crate::tracking::{Tracker, Tracking, Wish};
use crate::types::{Chance, DbIndex, Settings, Type, UnixMs};
use crate::value::Owned;
use std::ops::Range;

/// One request for one shard.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub handler: Handler,
    pub args: Args<'a>,
    pub db: DbIndex,
    pub protocol: Protocol,
    /// Leave access times alone (CLIENT NO-TOUCH).
    pub no_touch: bool,
    /// A blocking command may wait if there is nothing for it.
    pub alone: bool,
    /// Which argument is the first key, and where it belongs, if that is known
    /// already: then it is not hashed again.
    pub located: Option<(usize, Located)>,
}

impl<'a> Request<'a> {
    /// On database 0, in RESP2, not to wait, with keys that nobody has looked at.
    /// Change what is otherwise.
    #[inline]
    pub fn new(handler: Handler, args: Args<'a>) -> Self {
        Self {
            handler,
            args,
            db: DbIndex(0),
            protocol: Protocol::Resp2,
            no_touch: false,
            alone: false,
            located: None,
        }
    }
}

/// Capacity of a buffer that stays when a reply in it was cut.
const KEPT_BYTES: usize = 64 << 10;

/// The databases of one core.
pub struct Shard {
    dbs: Vec<Keyspace>,
    effects: Effects,
    chance: Chance,
    /// What the last request left to be done elsewhere.
    onward: Option<Write>,
    pub settings: Settings,
}

impl Shard {
    /// A shard with `dbs` empty databases for the keys of `slots`. `seed` keys
    /// the hash of the tables and decides what chance does (SPOP, RANDOMKEY):
    /// take it from a good source, or clients can choose colliding keys.
    pub fn new(dbs: u16, slots: Range<u16>, seed: u64, settings: Settings) -> Self {
        let keyspace = |_| Keyspace::new(seed, slots.clone());
        Self {
            dbs: (0..dbs).map(keyspace).collect(),
            effects: Effects::new(seed, slots.start == 0),
            chance: Chance::new(seed, slots.start),
            onward: None,
            settings,
        }
    }

    /// Runs one request in one piece at the instant `now` and appends its reply
    /// (or its error) to `out`. Returns the error for statistics; after
    /// [`CommandError::Blocked`] there is no reply yet, and after
    /// [`CommandError::TooLong`] there will be none.
    ///
    /// `request.db` must be below the number of databases.
    #[inline]
    pub fn apply(
        &mut self,
        now: UnixMs,
        request: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), CommandError> {
        let mut cargo = Cargo::default();
        let reply_bytes_max = self.settings.reply_max.bytes;
        let ran = self.run(now, request, &[], &mut cargo, reply_bytes_max, out);
        if !cargo.owns_anything() {
            // Its drop would look at all of it once more, in a call.
            std::mem::forget(cargo);
            return ran;
        }
        ran?;
        self.apply_slices(now, request, cargo, out)
    }

    /// Goes on with a request that works in slices until it is over.
    #[cold]
    fn apply_slices(
        &mut self,
        now: UnixMs,
        request: &Request<'_>,
        mut cargo: Cargo,
        out: &mut Vec<u8>,
    ) -> Result<(), CommandError> {
        while cargo.goes_on() {
            self.apply_with(now, request, &mut cargo, out)?;
        }
        if let Some(sliced) = cargo.sliced {
            let length = out.len();
            let end = length + self.settings.reply_max.bytes;
            let mut reply = Reply::until(out, request.protocol, end);
            sliced.found.reply_whole(&mut reply);
            if reply.is_cut() {
                return Err(self.cut(request, out, length));
            }
        }
        Ok(())
    }

    /// The reply that begins at `length` was cut. It is taken back; what the request
    /// has done is not.
    #[cold]
    fn cut(&mut self, request: &Request<'_>, out: &mut Vec<u8>, length: usize) -> CommandError {
        self.effects.finish(request.args.iter());
        out.truncate(length);
        out.shrink_to(KEPT_BYTES.max(length));
        // An error would say that nothing has changed.
        if self.settings.reply_max.closes || self.effects.has_changed() {
            return CommandError::TooLong;
        }
        Self::refuse(request, out, CommandError::OutOfMemory)
    }

    /// Replies an error and gives it back; if there is no memory even for that, the
    /// other one that leaves no reply.
    #[inline]
    fn refuse(request: &Request<'_>, out: &mut Vec<u8>, error: CommandError) -> CommandError {
        let mut reply = Reply::until(out, request.protocol, UNLIMITED);
        reply.error(&error);
        match reply.is_cut() {
            false => error,
            true => CommandError::TooLong,
        }
    }

    /// [`Shard::apply`] of a part of a request on several keys, all of which are
    /// known: where each of them belongs, in order. Their memory is being fetched.
    #[inline]
    pub(crate) fn apply_known(
        &mut self,
        now: UnixMs,
        request: &Request<'_>,
        known: &[Located],
        out: &mut Vec<u8>,
    ) -> Result<(), CommandError> {
        let reply_bytes_max = self.settings.reply_max.bytes;
        let mut cargo = Cargo::default();
        let ran = self.run(now, request, known, &mut cargo, reply_bytes_max, out);
        if !cargo.owns_anything() {
            std::mem::forget(cargo);
        }
        ran
    }

    /// [`Shard::apply`] of a part of a request, which brings or takes away a
    /// value.
    #[inline]
    pub fn apply_with(
        &mut self,
        now: UnixMs,
        request: &Request<'_>,
        cargo: &mut Cargo,
        out: &mut Vec<u8>,
    ) -> Result<(), CommandError> {
        let reply_bytes_max = match cargo.inner {
            false => self.settings.reply_max.bytes,
            true => UNLIMITED,
        };
        self.run(now, request, &[], cargo, reply_bytes_max, out)
    }

    #[inline]
    fn run(
        &mut self,
        now: UnixMs,
        request: &Request<'_>,
        known: &[Located],
        cargo: &mut Cargo,
        reply_bytes_max: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), CommandError> {
        let length = out.len();
        self.effects.begin(request.db);
        let (before, selected) = self.dbs.split_at_mut(request.db.index());
        let (keyspace, after) = selected.split_first_mut().expect("the database exists");
        let mut db = keyspace.at(now, !request.no_touch, &mut self.effects);
        if let Some((argument, located)) = request.located
            && let Some(key) = request.args.get(argument)
        {
            db.hint(located, key);
        }
        db.know(known);
        let mut context = Context {
            db,
            reply: Reply::until(out, request.protocol, length + reply_bytes_max),
            settings: &self.settings,
            alone: request.alone,
            cargo,
            chance: &mut self.chance,
            onward: &mut self.onward,
            others: Others { before, after },
        };
        match (request.handler)(&mut context, request.args) {
            Ok(()) => {
                if context.reply.is_cut() {
                    return Err(self.cut(request, out, length));
                }
                self.effects.finish(request.args.iter());
                Ok(())
            }
            Err(CommandError::TooLong) => Err(self.cut(request, out, length)),
            Err(error) => {
                context.db.effects().fail();
                if matches!(error, CommandError::Long) {
                    context.db.uncount_hit();
                }
                // Some handlers reply while they still hold what they read.
                out.truncate(length);
                if matches!(error, CommandError::Blocked(_) | CommandError::Long) {
                    return Err(error);
                }
                Err(Self::refuse(request, out, error))
            }
        }
    }

    /// Where the request that has just run wants to go on; see
    /// [`Context::go_on`].
    pub fn onward(&mut self) -> Option<Write> {
        self.onward.take()
    }

    /// See [`Chance`].
    pub(crate) fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// A client watches no more on this shard; whether nothing that it watched
    /// has changed. What has expired meanwhile has changed.
    pub fn settle(&mut self, now: UnixMs, watcher: u64) -> bool {
        for (index, key) in self
            .effects
            .watches()
            .unchanged(watcher)
            .unwrap_or_default()
        {
            self.effects.begin(index);
            let mut db = self.dbs[index.index()].at(now, false, &mut self.effects);
            db.expire(&key);
        }
        self.unwatch(watcher)
    }

    /// A client watches no more on this shard; whether nothing of it was seen to change.
    pub fn unwatch(&mut self, watcher: u64) -> bool {
        self.effects.watch(|watches| watches.remove(watcher))
    }

    /// A client tracks keys, wherever it is connected. See [`Tracking::admit`].
    pub fn track(&mut self, tracker: Tracker, wish: Wish) {
        self.effects.tracking.admit(tracker, wish);
        self.effects.listen();
    }

    /// It tracks no more.
    pub fn untrack(&mut self, tracker: Tracker) {
        self.effects.tracking.forget(tracker);
        self.effects.listen();
    }

    /// Who tracks what on this shard.
    #[inline]
    pub fn tracking(&self) -> &Tracking {
        &self.effects.tracking
    }

    /// See [`Shard::tracking`].
    pub fn tracking_mut(&mut self) -> &mut Tracking {
        &mut self.effects.tracking
    }

    /// Whether no client watches a key of this shard.
    pub fn is_unwatched(&self) -> bool {
        self.effects.watches().is_empty()
    }

    /// Where a key of this shard belongs; the same for all its databases.
    #[inline]
    pub fn locate(&self, key: &[u8]) -> Located {
        self.dbs[0].locate(key)
    }

    /// What [`Located`] tells of a key beside its slot; the same for all shards
    /// that were given the same seed.
    #[inline]
    pub(crate) fn hash(&self, key: &[u8]) -> u64 {
        self.dbs[0].hash(key)
    }

    /// Deletes entries that are due at `now`, visiting about `budget` lines and
    /// entries of the tables. See [`Keyspace::expire_due`].
    pub fn expire_due(&mut self, now: UnixMs, budget: usize) -> ExpireProgress {
        let mut sum = ExpireProgress {
            expired: 0,
            more: false,
            next: None,
        };
        for (index, keyspace) in (0..).zip(&mut self.dbs) {
            // A share each, so that one database cannot keep the others waiting.
            self.effects.begin(DbIndex(index));
            let part = keyspace.expire_due(now, budget, &mut self.effects);
            sum.expired += part.expired;
            sum.more |= part.more;
            sum.next = sum.next.into_iter().chain(part.next).min();
        }
        sum
    }

    /// What stays although its time has come.
    pub fn keep(&mut self) -> &mut Keep {
        self.effects.keep()
    }

    /// Frees a slice of what deletions left, about `budget` entries; whether
    /// there is more. See [`Keyspace::free_some`].
    pub fn free_some(&mut self, budget: usize) -> bool {
        self.dbs
            .iter_mut()
            .any(|keyspace| keyspace.free_some(budget))
    }

    /// What is loaded from now on is not seen until it takes the place of what is there
    /// (`command::exchange`).
    pub fn prepare(&mut self) {
        self.dbs.iter_mut().for_each(Keyspace::prepare);
    }

    /// What was loaded and not seen goes.
    pub fn forget_prepared(&mut self) {
        self.dbs.iter_mut().for_each(Keyspace::forget_prepared);
    }

    /// Adds an entry that a file has to database `db`. See [`Keyspace::load`].
    ///
    /// # Errors
    /// It cannot be there, and nothing has changed.
    pub fn load(
        &mut self,
        now: UnixMs,
        db: DbIndex,
        key: &[u8],
        value: Owned,
        (expire_at, idle_s): (Option<UnixMs>, u64),
    ) -> Result<Loaded, Unloadable> {
        self.dbs[db.index()].load(now, key, value, expire_at, idle_s)
    }

    /// A snapshot begins: all that the shard holds now will be encoded as it is now. None
    /// may be under way.
    pub fn begin_cut(&mut self) {
        for (index, keyspace) in (0..).zip(&mut self.dbs) {
            keyspace.begin_cut(DbIndex(index), &self.settings);
        }
    }

    /// Whether a snapshot is not over: there is more to walk, or what was encoded was not
    /// taken.
    pub fn is_being_cut(&self) -> bool {
        self.dbs.iter().any(Keyspace::is_being_cut)
    }

    /// Whether a snapshot has more to walk.
    pub(crate) fn is_being_walked(&self) -> bool {
        self.dbs.iter().any(Keyspace::is_being_walked)
    }

    /// Goes on with the snapshot that is under way, by about as much as so many entries
    /// take.
    pub fn walk_cut(&mut self, budget: usize) -> Walked {
        keyspace::walk(&mut self.dbs, budget)
    }

    /// Takes what the snapshot has encoded since it was last asked.
    ///
    /// # Errors
    /// The snapshot lacks something for which there was no memory: it is to be abandoned.
    pub fn take_chunks(&mut self) -> Result<Vec<Chunk>, OutOfMemory> {
        keyspace::take_chunks(&mut self.dbs)
    }

    /// The snapshot that is under way is of no use: no more chunks come of it. It is over
    /// when it has walked all there is, which takes little.
    pub fn abandon_cut(&mut self) {
        self.dbs.iter_mut().for_each(Keyspace::abandon_cut);
    }

    /// Whether a key has a large value, in whatever database, that a snapshot has not
    /// encoded: whoever changes it before [`Shard::take_ended_keys`] names it has all of
    /// it encoded in one piece.
    pub(crate) fn is_unmet(&self, key: Located) -> bool {
        self.dbs.iter().any(|keyspace| keyspace.is_unmet(key))
    }

    /// Has what a key holds encoded, by [`Shard::encode_large`].
    pub(crate) fn begin_large(&mut self, key: Located) {
        self.dbs
            .iter_mut()
            .for_each(|keyspace| keyspace.begin_large(key));
    }

    /// Takes a step of about so many elements; whether there was anything to do.
    pub(crate) fn encode_large(&mut self, key: Located, elements: usize) -> bool {
        let mut dbs = self.dbs.iter_mut();
        dbs.any(|keyspace| keyspace.encode_large(key, elements))
    }

    /// Keys for whose values nobody need wait any more, unless they are unmet in another
    /// database.
    pub(crate) fn take_ended_keys(&mut self) -> Vec<Located> {
        let mut ended = Vec::new();
        for keyspace in &mut self.dbs {
            keyspace.take_ended(&mut ended);
        }
        ended
    }

    /// So many large values were encoded in one piece.
    pub fn encoded_whole(&self) -> u64 {
        self.dbs.iter().map(Keyspace::encoded_whole).sum()
    }

    /// The database `db`, for INFO, expiry and the tests' invariants.
    pub fn keyspace(&self, db: DbIndex) -> &Keyspace {
        &self.dbs[db.index()]
    }

    /// See [`Shard::keyspace`].
    pub fn keyspace_mut(&mut self, db: DbIndex) -> &mut Keyspace {
        &mut self.dbs[db.index()]
    }

    /// Whether a key has appeared that somebody may wait for.
    #[inline]
    pub(crate) fn has_appeared(&self) -> bool {
        self.effects.has_appeared()
    }

    /// Whether a key holds a value of this type.
    pub(crate) fn holds(&mut self, now: UnixMs, db: DbIndex, key: &[u8], of: Type) -> bool {
        self.effects.begin(db);
        let mut db = self.dbs[db.index()].at(now, false, &mut self.effects);
        db.lookup(key)
            .is_some_and(|view| view.value.type_of() == of)
    }

    /// Whether what there is to notify of goes to the log.
    #[inline]
    pub(crate) fn is_ordering_notices(&self) -> bool {
        self.effects.is_ordering_notices()
    }

    /// Whether there is anything to notify of: [`Effects::take_notices`].
    #[inline]
    pub fn has_notices(&self) -> bool {
        self.effects.has_notices()
    }

    /// The effects recorded so far.
    pub fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }
}
