//! Results that are stored in a key of this shard and may be large.
//!
//! What goes into the log is what was stored, not the request: the other side cannot,
//! or might not, come to the same. It is written in slices.

use super::{Args, Context, Decision, Errand, Outcome, OwnedArgs, Work};
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::{Ttl, ValueRef};
use crate::number::float_text;
use crate::value::{Collection, Set, SetPlace, Zset};
use std::convert::Infallible;

/// Elements of one command among the effects.
const PER_EFFECT: usize = 500;

/// A value that was made of others.
#[derive(Debug)]
pub enum Made {
    Set(Set),
    Zset(Zset),
}

impl Made {
    fn len(&self) -> usize {
        match self {
            Self::Set(set) => set.view().len(),
            Self::Zset(zset) => zset.view().len(),
        }
    }
}

/// A result is stored, and has to be recorded.
#[derive(Debug)]
pub struct Stored {
    existed: bool,
    event: Event,
    len: usize,
    /// So far it has been.
    at: SetPlace,
}

/// How many changes a result of so many elements counts as: Redis counts the elements
/// that are sorted and the places that are found, and any other result once.
fn counted(event: Event, len: usize) -> usize {
    match event {
        Event::SortStore | Event::GeoSearchStore | Event::GeoRadiusStore => len,
        _ => 1,
    }
}

/// Sets `key` to what was made of other keys of this shard, and replies its length. It
/// follows from them, so what is recorded is the request.
pub fn store_here(ctx: &mut Context<'_>, key: &[u8], made: Made, event: Event) -> Outcome {
    let len = made.len();
    if len > 0 {
        match made {
            Made::Set(set) => ctx.db.put_collection(key, set, Ttl::Clear)?,
            Made::Zset(zset) => ctx.db.put_collection(key, zset, Ttl::Clear)?,
        };
        ctx.changed_times(key, event, counted(event, len));
    } else if ctx.db.delete(key) {
        ctx.changed(key, Event::Del);
    }
    ctx.reply.integer(len as i64);
    Ok(())
}

/// The shard of `key` is to store a value and to reply how many elements it has.
pub fn store_elsewhere(decision: &mut Decision<'_>, key: &[u8], made: Made, event: Event) {
    let name = decision.args.get(0).unwrap_or_default();
    decision.errand = Some(Errand {
        shard: None,
        handler: put,
        args: OwnedArgs::new([name, key]),
        work: Work::Put(Box::new(made), event),
    });
}

/// The other half of [`store_elsewhere`].
fn put(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = &args[1];
    let stored = match ctx.work() {
        Some(Work::Recording(stored)) => stored,
        Some(Work::Put(made, event)) => Stored::put_made(ctx, key, *made, event)?,
        _ => return Err(CommandError::Syntax),
    };
    stored.go_on(ctx, key)
}

impl Stored {
    pub fn put_made(
        ctx: &mut Context<'_>,
        key: &[u8],
        made: Made,
        event: Event,
    ) -> Result<Self, CommandError> {
        let len = made.len();
        match made {
            Made::Set(set) => Self::put(ctx, key, (set, len), event),
            Made::Zset(zset) => Self::put(ctx, key, (zset, len), event),
        }
    }

    /// Has `key` hold a collection of so many elements, and nothing else.
    pub fn put<C: Collection>(
        ctx: &mut Context<'_>,
        key: &[u8],
        (collection, len): (C, usize),
        event: Event,
    ) -> Result<Self, CommandError> {
        let existed = ctx.db.lookup(key).is_some();
        ctx.db.put_collection(key, collection, Ttl::Clear)?;
        Ok(Self {
            existed,
            event,
            len,
            at: SetPlace::default(),
        })
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Records a slice of it, and replies how many elements there are when all are.
    pub fn go_on(mut self, ctx: &mut Context<'_>, key: &[u8]) -> Outcome {
        let some = ctx.slice_of(self.len - self.at.visited);
        if self.record_some(ctx, key, some) {
            return ctx.leave(Work::Recording(self));
        }
        ctx.reply.integer(self.len as i64);
        Ok(())
    }

    /// Records about so many elements; whether there are more. When all are it says
    /// what has changed.
    pub fn record_some(&mut self, ctx: &mut Context<'_>, key: &[u8], budget: usize) -> bool {
        if self.existed && self.at.visited == 0 {
            ctx.propagate(&[b"DEL", key]);
        }
        let end = match ctx.is_recording() {
            true => self.at.visited.saturating_add(budget).min(self.len),
            false => self.len,
        };
        while ctx.is_recording() && self.at.visited < end {
            self.record_once(ctx, key, PER_EFFECT.min(end - self.at.visited));
        }
        if end < self.len {
            return true;
        }
        if self.len > 0 {
            ctx.changed_times(key, self.event, counted(self.event, self.len));
        } else if self.existed {
            ctx.changed(key, Event::Del);
        }
        // What is recorded stands in its place.
        ctx.propagate(&[]);
        false
    }

    /// Records so many elements with one command.
    fn record_once(&mut self, ctx: &mut Context<'_>, key: &[u8], count: usize) {
        let mut words: Vec<Vec<u8>> = Vec::with_capacity(count);
        let (from, until) = (self.at.visited, self.at.visited + count);
        let name: &[u8] = match ctx.db.lookup(key).map(|view| view.value) {
            Some(ValueRef::Set(set)) => {
                let Ok(()) = set.walk(&mut self.at, count, |member| {
                    words.push(member.with_bytes(<[u8]>::to_vec));
                    Ok::<_, Infallible>(())
                });
                b"SADD"
            }
            Some(ValueRef::Zset(zset)) => {
                for (member, score) in zset.range(from..until.min(zset.len()), false) {
                    words.push(float_text(score).as_bytes().to_vec());
                    words.push(member.with_bytes(<[u8]>::to_vec));
                }
                b"ZADD"
            }
            Some(ValueRef::List(list)) => {
                let some = list.iter_from(from).take(count);
                words.extend(some.map(|element| element.with_bytes(<[u8]>::to_vec)));
                b"RPUSH"
            }
            _ => b"",
        };
        self.at.visited = until;
        if !words.is_empty() {
            let words = words.iter().map(Vec::as_slice);
            let words: Vec<&[u8]> = [name, key].into_iter().chain(words).collect();
            ctx.propagate(&words);
        }
    }
}
