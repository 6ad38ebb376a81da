//! SORT where all keys are on one shard, step by step.

use super::options::Sort;
use super::order::Sorting;
use super::texts::Texts;
use super::{gather, push_looked_up};
use crate::command::{Context, Outcome, Pieces, Work};
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::{Ttl, ValueRef};
use crate::value::{Collection, Encoding, End, Limit, List, SetPlace};

/// So many elements are copied while one is compared.
const FASTER: usize = 8;
/// Elements of one command among the effects.
const PER_EFFECT: usize = 500;

/// How far a SORT has come.
#[derive(Debug)]
pub enum Job {
    /// The elements are being copied: looking at the keys that a pattern names may
    /// delete what has expired.
    Gathering(Texts, SetPlace),
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
    Recording(Stored),
    /// What is to be replied, or nothing more.
    Over(Option<Pieces>),
}

/// A list is stored, and has to be recorded.
#[derive(Debug)]
pub struct Stored {
    pub existed: bool,
    len: usize,
    /// So many elements have been.
    from: usize,
}

impl Job {
    /// Goes on with about `budget` elements.
    fn step(
        self,
        ctx: &mut Context<'_>,
        sort: &Sort<'_>,
        key: &[u8],
        budget: usize,
    ) -> Result<Self, CommandError> {
        match self {
            Self::Gathering(texts, at) => {
                let budget = budget.saturating_mul(FASTER);
                gather_some(ctx, sort, key, (texts, at), budget)
            }
            Self::Sorting(mut sorting) => {
                let db = &mut ctx.db;
                let more = sorting.sort_some(sort, budget, |pattern, (_, element), out| {
                    push_looked_up(db, pattern.1, element, out, true)
                })?;
                let place = sort.range(sorting.texts.len()).start;
                Ok(match (more, sort.store) {
                    (true, _) => Self::Sorting(sorting),
                    (false, None) => Self::Finding {
                        sorting,
                        place,
                        found: Pieces::default(),
                    },
                    (false, Some(_)) => Self::Listing {
                        sorting,
                        place,
                        list: empty(),
                    },
                })
            }
            Self::Finding {
                sorting,
                place,
                found,
            } => find_some(ctx, sort, sorting, (place, budget), found),
            Self::Listing {
                sorting,
                place,
                list,
            } => list_some(ctx, sort, sorting, (place, budget), list),
            Self::Recording(mut stored) => {
                let key = sort.store.unwrap_or_default();
                if stored.record_some(ctx, key, budget) {
                    return Ok(Self::Recording(stored));
                }
                ctx.reply.integer(stored.len as i64);
                Ok(Self::Over(None))
            }
            Self::Over(found) => Ok(Self::Over(found)),
        }
    }

    /// All of it.
    pub fn run(mut self, ctx: &mut Context<'_>, sort: &Sort<'_>, key: &[u8]) -> Outcome {
        loop {
            self = match self.step(ctx, sort, key, usize::MAX)? {
                Self::Over(found) => {
                    found.iter().for_each(|it| it.reply_whole(&mut ctx.reply));
                    return Ok(());
                }
                more => more,
            };
        }
    }

    /// A slice of it.
    pub fn go_on(self, ctx: &mut Context<'_>, sort: &Sort<'_>, key: &[u8]) -> Outcome {
        match self.step(ctx, sort, key, ctx.step())? {
            Self::Over(Some(found)) => {
                ctx.reply.array(found.len);
                ctx.reply_pieces(found, 0)
            }
            Self::Over(None) => Ok(()),
            more => ctx.leave(Work::Sort(Box::new(more))),
        }
    }
}

fn gather_some(
    ctx: &mut Context<'_>,
    sort: &Sort<'_>,
    key: &[u8],
    (mut texts, mut at): (Texts, SetPlace),
    budget: usize,
) -> Result<Job, CommandError> {
    let (len, is_set) = match ctx.db.lookup(key) {
        Some(view) => {
            let len = len_of(view.value);
            if texts.len() == 0 {
                texts.expect(len)?;
            }
            gather(view.value, &mut at, budget, &mut texts)?
        }
        None => (0, false),
    };
    Ok(match texts.len() < len {
        true => Job::Gathering(texts, at),
        false => Job::Sorting(Sorting::new(sort, texts, is_set)),
    })
}

fn find_some(
    ctx: &mut Context<'_>,
    sort: &Sort<'_>,
    sorting: Sorting,
    places: (usize, usize),
    mut found: Pieces,
) -> Result<Job, CommandError> {
    let (protocol, max) = (ctx.reply.protocol(), ctx.settings.reply_max.bytes);
    let (place, more) = put_out_some(ctx, sort, &sorting, places, |text| {
        found.add(protocol, text)?;
        match found.bytes > max {
            true => Err(CommandError::TooLong),
            false => Ok(()),
        }
    })?;
    Ok(match more {
        true => Job::Finding {
            sorting,
            place,
            found,
        },
        false => Job::Over(Some(found)),
    })
}

fn list_some(
    ctx: &mut Context<'_>,
    sort: &Sort<'_>,
    sorting: Sorting,
    places: (usize, usize),
    mut list: List,
) -> Result<Job, CommandError> {
    let limit = Limit(ctx.settings.encodings.list_max_listpack_size);
    let (place, more) = put_out_some(ctx, sort, &sorting, places, |text| {
        let text = [text.unwrap_or_default()];
        Ok(list.push(End::Back, text.into_iter(), limit)?)
    })?;
    if more {
        return Ok(Job::Listing {
            sorting,
            place,
            list,
        });
    }
    let key = sort.store.unwrap_or_default();
    Ok(Job::Recording(Stored::put(ctx, key, list)?))
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
    sort: &Sort<'_>,
    sorting: &Sorting,
    (place, budget): (usize, usize),
    put: impl FnMut(Option<&[u8]>) -> Outcome,
) -> Result<(usize, bool), CommandError> {
    let all = sort.range(sorting.texts.len()).end;
    let some = budget.div_ceil(1 + sort.gets.len());
    let end = place.saturating_add(some).min(all);
    let db = &mut ctx.db;
    let look = |pattern: (usize, &[u8]), (_, element): (usize, &[u8]), out: &mut Texts| {
        push_looked_up(db, pattern.1, element, out, true)
    };
    sorting.put_out(sort, place..end, look, put)?;
    Ok((end, end < all))
}

/// An empty list.
pub fn empty() -> List {
    List::from_flat(Encoding::Listpack, Vec::new())
}

impl Stored {
    /// Has `key` hold a list, and nothing else.
    pub fn put(ctx: &mut Context<'_>, key: &[u8], list: List) -> Result<Self, CommandError> {
        let existed = ctx.db.lookup(key).is_some();
        let len = list.len();
        ctx.db.put_collection(key, list, Ttl::Clear)?;
        Ok(Self {
            existed,
            len,
            from: 0,
        })
    }

    /// Elements that are not recorded yet.
    pub fn left(&self) -> usize {
        self.len - self.from
    }

    /// Records about so many elements; whether there are more. When all are it says
    /// what has changed.
    pub fn record_some(&mut self, ctx: &mut Context<'_>, key: &[u8], budget: usize) -> bool {
        if self.existed && self.from == 0 {
            ctx.propagate(&[b"DEL", key]);
        }
        let end = match ctx.is_recording() {
            true => self.from.saturating_add(budget).min(self.len),
            false => self.len,
        };
        while ctx.is_recording() && self.from < end {
            let count = PER_EFFECT.min(end - self.from);
            let mut texts = Vec::with_capacity(count);
            if let Ok(Some(list)) = ctx.db.lookup_as::<List>(key) {
                let some = list.iter_from(self.from).take(count);
                texts.extend(some.map(|element| element.with_bytes(<[u8]>::to_vec)));
            }
            let words = texts.iter().map(Vec::as_slice);
            let words: Vec<&[u8]> = [&b"RPUSH"[..], key].into_iter().chain(words).collect();
            ctx.propagate(&words);
            self.from += count;
        }
        if end < self.len {
            return true;
        }
        if self.len > 0 {
            ctx.changed_times(key, Event::SortStore, self.len);
        } else if self.existed {
            ctx.changed(key, Event::Del);
        }
        // What is recorded stands in its place.
        ctx.propagate(&[]);
        false
    }
}
