//! SORT and SORT_RO.
//!
//! Whatever is sorted is copied first ([`Texts`]), for looking at the keys that
//! a pattern names may delete what has expired. Then positions are sorted, cut
//! by LIMIT, and put out as elements or what GET names: in slices, if there are
//! many ([`Job`]).
//!
//! Over shards a request without patterns is one on its key and its
//! destination. One with patterns may meet any key there is, so it holds all
//! shards: the first round copies the elements, in the second each shard looks up
//! the keys it owns among those that patterns and elements form, and the rest is done
//! where the result is stored, or replied. What goes from shard to shard is moved.
//!
//! The effect of STORE is what was stored: no replica looks at other keys.

mod job;
mod options;
mod order;

use super::spec::{Arity, Begin, Group, InSlices, KeySpec, flags};
use super::texts::Texts;
use super::{Args, Context, Decision, Errand, Further, Outcome, OwnedArgs, ROW, Row, Run, Work};
use crate::error::CommandError;
use crate::keyspace::{Db, StringRef, ValueRef};
use crate::types::{ShardId, Type};
use crate::value::{Hash, SetPlace};
pub use job::{Job, LookedUp};
use options::{Sort, reaches_any_key, split_pattern};
use order::Sorting;
use std::sync::Arc;

/// So many elements are copied while one is compared.
const FASTER: usize = 8;

const SOURCE: KeySpec = KeySpec::first(&["RO", "access"]);
const PATTERNS: KeySpec = KeySpec {
    begin: Begin::Anywhere(reaches_any_key),
    ..KeySpec::first(&["RO", "access"])
}
.noted(
    "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from \
     the content of the key we sort",
);
const DESTINATION: KeySpec = KeySpec {
    begin: Begin::Unknown(options::destination),
    ..KeySpec::first(&["OW", "update"])
}
.noted(
    "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear \
     anywhere in the argument array",
);

const COMPLEXITY: &str =
    "O(N+M*log(M)) with N elements there are and M that are sorted; O(N) for those not sorted";

pub static COMMANDS: &[Row] = &[
    Row {
        name: "sort",
        syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] \
                 [ASC | DESC] [ALPHA] [STORE destination]",
        summary: "Sort the elements of a list, set or sorted set, and maybe store them as a list.",
        since: "1.0.0",
        complexity: COMPLEXITY,
        group: Group::Generic,
        arity: Arity::AtLeast(2),
        keys: &[SOURCE, PATTERNS, DESTINATION],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::MOVABLEKEYS),
        categories: &["@set", "@sortedset", "@list", "@dangerous"],
        slices: InSlices::IfMuch,
        run: RUN,
        ..ROW
    },
    Row {
        name: "sort_ro",
        syntax: "key [BY pattern] [LIMIT offset count] [GET pattern [GET pattern ...]] \
                 [ASC | DESC] [ALPHA]",
        summary: "Sort the elements of a list, set or sorted set.",
        since: "7.0.0",
        complexity: COMPLEXITY,
        group: Group::Generic,
        arity: Arity::AtLeast(2),
        keys: &[SOURCE, PATTERNS],
        flags: flags::READONLY.with(flags::MOVABLEKEYS),
        categories: &["@set", "@sortedset", "@list", "@dangerous"],
        slices: InSlices::IfMuch,
        run: RUN,
        ..ROW
    },
];

const RUN: Run = Run::ReadThenWrite {
    whole: sort,
    read,
    decide,
    skip: 0,
};

/// Adds elements of a value from a place on, as many as `budget` says.
fn gather(value: ValueRef<'_>, at: &mut SetPlace, budget: usize, texts: &mut Texts) -> Outcome {
    let from = texts.len();
    let mut push = |text: &[u8]| texts.push(Some(text));
    match value {
        ValueRef::List(list) => {
            let mut some = list.iter_from(from).take(budget);
            some.try_for_each(|element| element.with_bytes(&mut push))?;
        }
        ValueRef::Set(set) => {
            set.walk(at, budget, |member| member.with_bytes(&mut push))?;
        }
        ValueRef::Zset(zset) => {
            let end = from.saturating_add(budget).min(zset.len());
            let mut some = zset.range(from..end, false);
            some.try_for_each(|(member, _)| member.with_bytes(&mut push))?;
        }
        _ => return Err(CommandError::WrongType),
    }
    Ok(())
}

/// What a pattern makes of an element: the string there, or the hash's field.
/// Null if it is not there, or of another type.
fn push_looked_up(
    db: &mut Db<'_>,
    pattern: &[u8],
    element: &[u8],
    out: &mut Texts,
    own: bool,
) -> Result<(), CommandError> {
    let Some(parts) = split_pattern(pattern) else {
        return Ok(out.push(None)?);
    };
    let key = [parts.before, element, parts.after].concat();
    if !own && !db.owns(&key) {
        return Ok(out.push(None)?);
    }
    let now = db.now();
    if let Some(field) = parts.field {
        let value = match db.read_as::<Hash>(&key) {
            Ok(Some(hash)) => hash.get(field, now),
            _ => None,
        };
        match value {
            Some(value) => value.with_bytes(|value| out.push(Some(value)))?,
            None => out.push(None)?,
        }
        return Ok(());
    }
    match db.read_string(&key) {
        Ok(Some(StringRef::Int(number))) => {
            out.push(Some(itoa::Buffer::new().format(number).as_bytes()))?;
        }
        Ok(Some(StringRef::Bytes(bytes))) => out.push(Some(bytes))?,
        _ => out.push(None)?,
    }
    Ok(())
}

/// Copies some elements of a key; true and where it has come to if there are more, or
/// whether they are a set's. An expired key that a pattern names may be deleted when it
/// is looked at, so all are copied before.
fn gather_some(
    ctx: &mut Context<'_>,
    key: &[u8],
    (texts, at): (&mut Texts, &mut SetPlace),
    budget: usize,
) -> Result<(bool, bool), CommandError> {
    let Some(view) = ctx.db.lookup(key) else {
        return Ok((false, false));
    };
    gather(view.value, at, budget, texts)?;
    let is_set = view.value.type_of() == Type::Set;
    Ok((texts.len() < job::len_of(view.value), is_set))
}

/// Where all keys, or the only shard, are.
fn sort(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let sort = Sort::parse(args)?;
    let key = &args[1];
    let (mut texts, mut at) = match ctx.work() {
        Some(Work::Sort(job)) => return job.go_on(ctx, &sort),
        Some(Work::Reply(pieces, number)) => return ctx.reply_pieces(pieces, number),
        Some(Work::Gathering(texts, at)) => (texts, at),
        _ => {
            let len = match ctx.db.read(key) {
                Some(view) if !job::can_be_sorted(view.value) => {
                    return Err(CommandError::WrongType);
                }
                view => view.map_or(0, |view| job::len_of(view.value)),
            };
            let weight = len.saturating_mul(1 + sort.gets.len());
            let counted = (usize::from(len > 0), usize::from(len == 0));
            let (mut texts, mut at) = (Texts::default(), SetPlace::default());
            if !ctx.in_slices(weight, counted)? {
                let so_far = (&mut texts, &mut at);
                let (_, is_set) = gather_some(ctx, key, so_far, usize::MAX)?;
                let sorting = Sorting::new(&sort, texts, is_set);
                return Job::new(sorting, LookedUp::default()).run(ctx, &sort);
            }
            (texts, at)
        }
    };
    let budget = ctx.step().saturating_mul(FASTER);
    let (more, is_set) = gather_some(ctx, key, (&mut texts, &mut at), budget)?;
    ctx.leave(match more {
        true => Work::Gathering(texts, at),
        false => {
            let sorting = Sorting::new(&sort, texts, is_set);
            Work::Sort(Box::new(Job::new(sorting, LookedUp::default())))
        }
    })
}

/// Copies the elements of argument 1, if it is here, and hands them on. What the
/// destination holds does not matter.
fn read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = &args[1];
    let (mut texts, mut at) = match ctx.work() {
        Some(Work::Gathering(texts, at)) => (texts, at),
        _ => {
            let is_source = ctx.cargo.key == 0 || reaches_any_key(args);
            if !is_source || !ctx.db.owns(key) {
                return Ok(());
            }
            match ctx.db.read(key) {
                Some(view) if !job::can_be_sorted(view.value) => {
                    return Err(CommandError::WrongType);
                }
                Some(_) => (Texts::default(), SetPlace::default()),
                None => return Ok(()),
            }
        }
    };
    let budget = ctx.at_once().max(ctx.step().saturating_mul(FASTER));
    let (more, is_set) = gather_some(ctx, key, (&mut texts, &mut at), budget)?;
    match more {
        true => ctx.leave(Work::Gathering(texts, at)),
        false => ctx.hand_on(Work::Gathered(texts, is_set)),
    }
}

/// What the patterns name on a shard.
#[derive(Debug)]
pub struct LookUp {
    elements: Arc<Texts>,
    is_set: bool,
    /// For each element what each pattern names, if that key is here.
    found: Texts,
}

/// The elements are here. If there are patterns, the shards look up what these name,
/// else all is known.
fn decide(decision: &mut Decision<'_>) -> Outcome {
    let sort = Sort::parse(decision.args)?;
    let width = sort.patterns().len();
    let mut works = std::mem::take(&mut decision.works).into_iter();
    let (sorting, looked_up) = match works.next() {
        Some(Work::Gathered(texts, is_set)) if reaches_any_key(decision.args) => {
            look_everywhere(decision, Arc::new(texts), is_set);
            return Ok(());
        }
        Some(Work::Gathered(texts, is_set)) => {
            let sorting = Sorting::new(&sort, texts, is_set);
            (sorting, LookedUp::default())
        }
        Some(Work::LookUp(first)) => {
            let rest = works.filter_map(|work| match work {
                Work::LookUp(look) => Some(look.found),
                _ => None,
            });
            let of_shards = std::iter::once(first.found).chain(rest).collect();
            let sorting = Sorting::new(&sort, first.elements, first.is_set);
            (sorting, LookedUp { of_shards, width })
        }
        _ => {
            let sorting = Sorting::new(&sort, Texts::default(), false);
            (sorting, LookedUp::default())
        }
    };
    // Where it ends it needs its key no more.
    let key = decision.args.get(1).unwrap_or_default();
    let name = decision.args.get(0).unwrap_or_default();
    let words = [name, sort.store.unwrap_or(key)];
    let options = decision.args.from(2);
    decision.errand = Some(Errand {
        shard: Some(decision.home).filter(|_| sort.store.is_none()),
        handler: conclude,
        args: OwnedArgs::new(words.into_iter().chain(options.iter())),
        work: Work::Sort(Box::new(Job::new(sorting, looked_up))),
    });
    Ok(())
}

fn look_everywhere(decision: &mut Decision<'_>, elements: Arc<Texts>, is_set: bool) {
    let errand = |shard: &ShardId| Errand {
        shard: Some(*shard),
        handler: look_up,
        args: OwnedArgs::new(decision.args.iter()),
        work: Work::LookUp(LookUp {
            elements: Arc::clone(&elements),
            is_set,
            found: Texts::default(),
        }),
    };
    let errands = decision.owners.iter().map(errand).collect();
    decision.further = Some(Further::Errands(errands));
}

/// For each element, what each pattern names, if that key is here.
fn look_up(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let Some(Work::LookUp(mut look)) = ctx.work() else {
        return Err(CommandError::Syntax);
    };
    let sort = Sort::parse(args)?;
    let patterns = sort.patterns();
    let (from, all) = (look.found.len() / patterns.len(), look.elements.len());
    let some = ctx.slice_of((all - from).saturating_mul(patterns.len()));
    let end = from.saturating_add(some.div_ceil(patterns.len())).min(all);
    for index in from..end {
        let element = look.elements.get(index).unwrap_or_default();
        for pattern in &patterns {
            push_looked_up(&mut ctx.db, pattern, element, &mut look.found, false)?;
        }
    }
    match end < all {
        true => ctx.leave(Work::LookUp(look)),
        false => ctx.hand_on(Work::LookUp(look)),
    }
}

/// Sorts what is known, and replies it or stores it here.
fn conclude(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let sort = Sort::parse(args)?;
    match ctx.work() {
        Some(Work::Sort(job)) if job.weight(&sort) <= ctx.at_once() => job.run(ctx, &sort),
        Some(Work::Sort(job)) => job.go_on(ctx, &sort),
        Some(Work::Reply(pieces, number)) => ctx.reply_pieces(pieces, number),
        _ => Err(CommandError::Syntax),
    }
}

#[cfg(test)]
mod tests;
