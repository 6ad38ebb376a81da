//! The cut: the instant that a snapshot shows, on all shards.
//!
//! It locks all shards exclusively, so no transaction is half done at it, and no request
//! on one shard is known to somebody who does not know what it has seen on another. Each
//! shard only notes that what it holds now belongs to the snapshot (`keyspace/cut.rs`), and
//! what is encoded of it later is as of here.
//!
//! The server begins a cut once it knows that the one before is over on all shards. If it
//! is refused, nobody else has begun one: the server abandons what other shards may have
//! begun (`Shard::abandon_cut`).
//!
//! While effects are recorded the ticket of the cut takes a place in each shard's log
//! (`Log::reserve`) and leaves it empty. That is where a replica that is sent the snapshot
//! goes on: a record of the cut belongs there.

use super::merge::Parts;
use super::spec::{Arity, Group, InSlices, flags};
use super::{Args, Context, Outcome, ROW, Row, Run};
use crate::error::CommandError;
use crate::resp::Reply;
use crate::resp::read::{self, Read};
use crate::types::DbIndex;
use std::collections::BTreeMap;

/// Not in the table: the server runs it for whoever wants a snapshot. What it replies is
/// read by [`Begun::read`].
pub static CUT: Row = Row {
    name: "cut",
    summary: "Begins a snapshot.",
    since: "1.0.0",
    complexity: "O(1)",
    group: Group::Server,
    arity: Arity::Exactly(1),
    // It changes no key, but nobody else may be about to.
    flags: flags::WRITE,
    // It takes one, but is never run without the locks of all shards.
    slices: InSlices::Always,
    run: Run::EachShard {
        part: cut,
        merge: add_up,
    },
    ..ROW
};

const UNDER_WAY: CommandError = CommandError::Static("ERR a snapshot is under way");

/// What there was at the cut.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// So many changes had been made ([`Effects::changes`](crate::Effects::changes)).
    pub changes: u64,
    /// There may be hashes whose fields have deadlines.
    pub fields_expire: bool,
    /// Those with keys.
    pub dbs: BTreeMap<DbIndex, Keys>,
}

/// The keys of one database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    pub keys: u64,
    /// Of those, with a deadline.
    pub expires: u64,
}

impl Begun {
    /// From the reply to [`CUT`]; nothing if that is an error.
    pub fn read(reply: &[u8]) -> Option<Self> {
        let (Read::Array(len), rest) = read::read(reply)? else {
            return None;
        };
        let mut rest = rest;
        let mut next = || {
            let (Read::Integer(number), after) = read::read(rest)? else {
                return None;
            };
            rest = after;
            u64::try_from(number).ok()
        };
        let mut begun = Self {
            changes: next()?,
            fields_expire: next()? != 0,
            dbs: BTreeMap::new(),
        };
        for _ in 0..len.saturating_sub(2) / 3 {
            let db = DbIndex(u16::try_from(next()?).ok()?);
            let (keys, expires) = (next()?, next()?);
            begun.dbs.insert(db, Keys { keys, expires });
        }
        Some(begun)
    }

    fn add(&mut self, other: &Self) {
        self.changes += other.changes;
        self.fields_expire |= other.fields_expire;
        for (db, other) in &other.dbs {
            let sum = self.dbs.entry(*db).or_default();
            sum.keys += other.keys;
            sum.expires += other.expires;
        }
    }

    fn write(&self, reply: &mut Reply<'_>) {
        let header = [self.changes, u64::from(self.fields_expire)];
        let dbs = self.dbs.iter();
        let dbs = dbs.map(|(db, it)| [u64::from(db.0), it.keys, it.expires]);
        let numbers: Vec<u64> = header.into_iter().chain(dbs.flatten()).collect();
        reply.array(numbers.len());
        for number in numbers {
            reply.integer(i64::try_from(number).unwrap_or(i64::MAX));
        }
    }
}

fn cut(ctx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    let dbs: Vec<DbIndex> = (0..).map_while(|number| ctx.database(number)).collect();
    for index in &dbs {
        if ctx.in_db(*index, |db| db.is_being_cut()) {
            return Err(UNDER_WAY);
        }
    }
    let mut begun = Begun {
        changes: ctx.effects().changes(),
        ..Begun::default()
    };
    for index in dbs {
        let settings = ctx.settings;
        let (keys, fields_expire) = ctx.in_db(index, |db| {
            db.begin_cut(index, settings);
            let info = db.info();
            let (keys, expires) = (info.keys as u64, info.expires as u64);
            (Keys { keys, expires }, db.elements_expire())
        });
        begun.fields_expire |= fields_expire;
        if keys.keys > 0 {
            begun.dbs.insert(index, keys);
        }
    }
    ctx.effects().note_cut();
    begun.write(&mut ctx.reply);
    Ok(())
}

/// What there was on all shards.
fn add_up(parts: &mut Parts<'_>, reply: &mut Reply<'_>) {
    let mut all = Begun::default();
    let parts = parts.replies.iter().filter(|part| !part.is_empty());
    for part in parts {
        let part = Begun::read(part).expect("a part that is no error tells what there was");
        all.add(&part);
    }
    all.write(reply);
}
