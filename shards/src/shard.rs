//! One shard: the databases of one core and the only way into them.

use crate::command::{Args, Context, Handler, Others};
use crate::effects::Effects;
use crate::error::CommandError;
use crate::keyspace::Keyspace;
use crate::resp::{Protocol, Reply};
use crate::types::{DbIndex, UnixMs};

/// What the engine needs to know of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Longest string value, bytes (proto-max-bulk-len).
    pub proto_max_bulk_len: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            proto_max_bulk_len: 512 * 1024 * 1024,
        }
    }
}

/// One request for one shard.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    pub handler: Handler,
    pub args: Args<'a>,
    pub db: DbIndex,
    pub protocol: Protocol,
    /// Leave access times alone (CLIENT NO-TOUCH).
    pub no_touch: bool,
}

/// The databases of one core.
pub struct Shard {
    dbs: Vec<Keyspace>,
    effects: Effects,
    pub settings: Settings,
}

impl Shard {
    /// A shard with `dbs` empty databases. `seed` keys the hash of the tables:
    /// take it from a good source, or clients can choose colliding keys.
    pub fn new(dbs: u16, seed: u64, settings: Settings) -> Self {
        Self {
            dbs: (0..dbs).map(|_| Keyspace::new(seed)).collect(),
            effects: Effects::default(),
            settings,
        }
    }

    /// Runs one request at the instant `now` and appends its reply (or its
    /// error) to `out`. Returns the error for statistics.
    ///
    /// `request.db` must be below the number of databases.
    #[inline]
    pub fn apply(
        &mut self,
        now: UnixMs,
        request: &Request<'_>,
        out: &mut Vec<u8>,
    ) -> Result<(), CommandError> {
        let length = out.len();
        self.effects.begin(request.db);
        let (before, selected) = self.dbs.split_at_mut(request.db.index());
        let (keyspace, after) = selected.split_first_mut().expect("the database exists");
        let mut context = Context {
            db: keyspace.at(now, !request.no_touch, &mut self.effects),
            reply: Reply::new(out, request.protocol),
            settings: &self.settings,
            others: Others { before, after },
        };
        match (request.handler)(&mut context, request.args) {
            Ok(()) => {
                self.effects.finish(request.args.iter());
                Ok(())
            }
            Err(error) => {
                // Some handlers reply while they still hold what they read.
                out.truncate(length);
                Reply::new(out, request.protocol).error(&error);
                Err(error)
            }
        }
    }

    /// The database `db`, for INFO, expiry and the tests' invariants.
    pub fn keyspace(&self, db: DbIndex) -> &Keyspace {
        &self.dbs[db.index()]
    }

    /// See [`Shard::keyspace`].
    pub fn keyspace_mut(&mut self, db: DbIndex) -> &mut Keyspace {
        &mut self.dbs[db.index()]
    }

    /// The effects recorded so far.
    pub fn effects(&mut self) -> &mut Effects {
        &mut self.effects
    }
}
