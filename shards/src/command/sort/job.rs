//! SORT, step by step.

use super::options::Sort;
use super::order::Sorting;
use super::push_looked_up;
use crate::command::stored::Stored;
use crate::command::texts::Texts;
use crate::command::{Context, Outcome, Pieces, Work};
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::{Db, ValueRef};
use crate::value::{Collection, Encoding, End, Limit, List};

/// A SORT whose elements are known.
#[derive(Debug)]
pub struct Job {
    looked_up: LookedUp,
    stage: Stage,
}

/// What patterns name, where that was found on several shards.
#[derive(Debug, Default)]
pub struct LookedUp {
    /// For each element what each pattern names, if that key is there.
    pub of_shards: Vec<Texts>,
    /// The number of patterns.
    pub width: usize,
}

impl LookedUp {
    fn free_some(&mut self) -> bool {
        let last = self.of_shards.last_mut();
        if last.is_some_and(|texts| !texts.free_some()) {
            self.of_shards.pop();
        }
        !self.of_shards.is_empty()
    }

    /// Adds what a pattern, given with its place in [`Sort::patterns`], names for an
    /// element, given with its number.
    fn push(
        &self,
        db: &mut Db<'_>,
        pattern: (usize, &[u8]),
        (index, element): (usize, &[u8]),
        out: &mut Texts,
    ) -> Outcome {
        if self.of_shards.is_empty() {
            return push_looked_up(db, pattern.1, element, out, true);
        }
        let at = index * self.width + pattern.0;
        let mut found = self.of_shards.iter().map(|texts| texts.get(at));
        Ok(out.push(found.find_map(|text| text))?)
    }
}

/// How far it has come.
#[derive(Debug)]
enum Stage {
    Sorting(Sorting),
    /// So many places of the order have been put out.
    Finding {
        sorting: Sorting,
        place: usize,
        found: Pieces,
    },
    Listing {
        sorting: Sorting,
        place: usize,
        list: List,
    },
    /// What it was made of is freed, before it goes on.
    Clearing(Sorting, Box<Stage>),
    Recording(Stored),
    /// What is to be replied, or nothing more.
    Over(Option<Pieces>),
}

impl Job {
    pub fn new(sorting: Sorting, looked_up: LookedUp) -> Self {
        Self {
            looked_up,
            stage: Stage::Sorting(sorting),
        }
    }

    /// Elements that it goes through.
    pub fn weight(&self, sort: &Sort<'_>) -> usize {
        match &self.stage {
            Stage::Sorting(sorting) => sorting.texts.len().saturating_mul(1 + sort.gets.len()),
            _ => usize::MAX,
        }
    }

    /// Goes on with about `budget` elements.
    fn step(
        self,
        ctx: &mut Context<'_>,
        sort: &Sort<'_>,
        budget: usize,
    ) -> Result<Self, CommandError> {
        let Self {
            mut looked_up,
            stage,
        } = self;
        let stage = match stage {
            Stage::Sorting(mut sorting) => {
                let db = &mut ctx.db;
                let more = sorting.sort_some(sort, budget, |pattern, element, out| {
                    looked_up.push(db, pattern, element, out)
                })?;
                let place = sort.range(sorting.texts.len()).start;
                match (more, sort.store) {
                    (true, _) => Stage::Sorting(sorting),
                    (false, None) => Stage::Finding {
                        sorting,
                        place,
                        found: Pieces::default(),
                    },
                    (false, Some(_)) => Stage::Listing {
                        sorting,
                        place,
                        list: List::from_flat(Encoding::Listpack, Vec::new()),
                    },
                }
            }
            Stage::Finding {
                sorting,
                place,
                found,
            } => find_some(ctx, (sort, &looked_up), sorting, (place, budget), found)?,
            Stage::Listing {
                sorting,
                place,
                list,
            } => list_some(ctx, (sort, &looked_up), sorting, (place, budget), list)?,
            Stage::Clearing(mut sorting, then) => {
                let more = sorting.free_some() | looked_up.free_some();
                match more && budget < usize::MAX {
                    true => Stage::Clearing(sorting, then),
                    false => *then,
                }
            }
            Stage::Recording(mut stored) => {
                let key = sort.store.unwrap_or_default();
                match stored.record_some(ctx, key, budget) {
                    true => Stage::Recording(stored),
                    false => {
                        ctx.reply.integer(stored.len() as i64);
                        Stage::Over(None)
                    }
                }
            }
            Stage::Over(found) => Stage::Over(found),
        };
        Ok(Self { looked_up, stage })
    }

    /// All of it.
    pub fn run(mut self, ctx: &mut Context<'_>, sort: &Sort<'_>) -> Outcome {
        loop {
            self = self.step(ctx, sort, usize::MAX)?;
            if let Stage::Over(found) = &self.stage {
                found.iter().for_each(|it| it.reply_whole(&mut ctx.reply));
                return Ok(());
            }
        }
    }

    /// A slice of it.
    pub fn go_on(self, ctx: &mut Context<'_>, sort: &Sort<'_>) -> Outcome {
        let budget = ctx.step();
        let job = self.step(ctx, sort, budget)?;
        match job.stage {
            Stage::Over(Some(found)) => {
                ctx.reply.array(found.len);
                ctx.reply_pieces(found, 0)
            }
            Stage::Over(None) => Ok(()),
            _ => ctx.leave(Work::Sort(Box::new(job))),
        }
    }
}

fn find_some(
    ctx: &mut Context<'_>,
    how: (&Sort<'_>, &LookedUp),
    sorting: Sorting,
    places: (usize, usize),
    mut found: Pieces,
) -> Result<Stage, CommandError> {
    let (protocol, max) = (ctx.reply.protocol(), ctx.settings.reply_max.bytes);
    let (place, more) = put_out_some(ctx, how, &sorting, places, |text| {
        found.add(protocol, text)?;
        match found.bytes > max {
            true => Err(CommandError::TooLong),
            false => Ok(()),
        }
    })?;
    Ok(match more {
        true => Stage::Finding {
            sorting,
            place,
            found,
        },
        false => Stage::Clearing(sorting, Box::new(Stage::Over(Some(found)))),
    })
}

fn list_some(
    ctx: &mut Context<'_>,
    how: (&Sort<'_>, &LookedUp),
    sorting: Sorting,
    places: (usize, usize),
    mut list: List,
) -> Result<Stage, CommandError> {
    let limit = Limit(ctx.settings.encodings.list_max_listpack_size);
    let (place, more) = put_out_some(ctx, how, &sorting, places, |text| {
        let text = [text.unwrap_or_default()];
        Ok(list.push(End::Back, text.into_iter(), limit)?)
    })?;
    if more {
        return Ok(Stage::Listing {
            sorting,
            place,
            list,
        });
    }
    let (key, len) = (how.0.store.unwrap_or_default(), list.len());
    let stored = Stored::put(ctx, key, (list, len), Event::SortStore)?;
    Ok(Stage::Clearing(sorting, Box::new(Stage::Recording(stored))))
}

/// Whether a value has elements in any order.
pub fn can_be_sorted(value: ValueRef<'_>) -> bool {
    matches!(
        value,
        ValueRef::List(_) | ValueRef::Set(_) | ValueRef::Zset(_)
    )
}

/// How many elements there are to sort.
pub fn len_of(value: ValueRef<'_>) -> usize {
    match value {
        ValueRef::List(list) => list.len(),
        ValueRef::Set(set) => set.len(),
        ValueRef::Zset(zset) => zset.len(),
        _ => 0,
    }
}

/// Puts out elements from a place on; where to go on, and whether there is more.
fn put_out_some(
    ctx: &mut Context<'_>,
    (sort, looked_up): (&Sort<'_>, &LookedUp),
    sorting: &Sorting,
    (place, budget): (usize, usize),
    put: impl FnMut(Option<&[u8]>) -> Outcome,
) -> Result<(usize, bool), CommandError> {
    let all = sort.range(sorting.texts.len()).end;
    let some = budget.div_ceil(1 + sort.gets.len());
    let end = place.saturating_add(some).min(all);
    let db = &mut ctx.db;
    let look = |pattern: (usize, &[u8]), element: (usize, &[u8]), out: &mut Texts| {
        looked_up.push(db, pattern, element, out)
    };
    sorting.put_out(sort, place..end, look, put)?;
    Ok((end, end < all))
}
