//! SORT and SORT_RO.
//!
//! Whatever is sorted is copied first ([`Texts`]), for looking at the keys that
//! a pattern names may delete what has expired. Then positions are sorted, cut
//! by LIMIT, and put out as elements or what GET names: in slices, if there are
//! many ([`Job`]).
//!
//! Over shards a request without patterns is one on its key and its
//! destination. One with patterns may meet any key there is, so it holds all
//! shards: the first round reads the elements, the second asks each shard for
//! the keys it owns among those that patterns and elements form, and the home
//! core, which has now all that a single shard would have, goes on alike.
//!
//! The effect of STORE is what was stored: no replica looks at other keys.

mod job;
mod options;
mod order;
mod texts;

pub use options::reaches_any_key;

use super::args::bulks;
use super::spec::{Arity, Begin, Group, KeySpec, flags};
use super::{Args, Context, Decision, Further, Outcome, OwnedArgs, ROW, Row, Run, Work, Write};
use crate::error::CommandError;
use crate::keyspace::{Db, StringRef, ValueRef};
use crate::number::parse_i64;
use crate::resp::Reply;
use crate::types::Type;
use crate::value::{End, Hash, Limit, SetPlace};
pub use job::{Job, Stored};
use options::{Sort, split_pattern};
use order::Sorting;
use texts::Texts;

/// What a made-up request may weigh.
const REQUEST_MAX: usize = 3 << 30;

const SOURCE: KeySpec = KeySpec::first(&["RO", "access"]);
const PATTERNS: KeySpec = KeySpec {
    begin: Begin::Unknown(|_| None),
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
        flags: flags::WRITE
            .with(flags::DENYOOM)
            .with(flags::MOVABLEKEYS)
            .with(flags::DANGEROUS)
            .with(flags::SORTS)
            .with(flags::HEAVY),
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
        flags: flags::READONLY
            .with(flags::MOVABLEKEYS)
            .with(flags::DANGEROUS)
            .with(flags::SORTS)
            .with(flags::HEAVY),
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

/// Adds elements of a value from a place on, as many as `budget` says; how many there
/// are in all, and whether they are a set's.
fn gather(
    value: ValueRef<'_>,
    at: &mut SetPlace,
    budget: usize,
    texts: &mut Texts,
) -> Result<(usize, bool), CommandError> {
    let from = texts.len();
    let mut push = |text: &[u8]| texts.push(Some(text));
    match value {
        ValueRef::List(list) => {
            let mut some = list.iter_from(from).take(budget);
            some.try_for_each(|element| element.with_bytes(&mut push))?;
            Ok((list.len(), false))
        }
        ValueRef::Set(set) => {
            set.walk(at, budget, |member| member.with_bytes(&mut push))?;
            Ok((set.len(), true))
        }
        ValueRef::Zset(zset) => {
            let end = from.saturating_add(budget).min(zset.len());
            let mut some = zset.range(from..end, false);
            some.try_for_each(|(member, _)| member.with_bytes(&mut push))?;
            Ok((zset.len(), false))
        }
        _ => Err(CommandError::WrongType),
    }
}

/// From what [`read`] replied of a key: the elements, and whether they are a set's.
fn of_reply(reply: &[u8]) -> Result<(Texts, bool), CommandError> {
    if reply.first() == Some(&b'-') {
        return Err(CommandError::WrongType);
    }
    let mut words = bulks(reply);
    let is_set = words.next() == Some(SET);
    let mut texts = Texts::default();
    for word in words {
        texts.push(Some(word))?;
    }
    Ok((texts, is_set))
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
        let value = match db.lookup_as::<Hash>(&key) {
            Ok(Some(hash)) => hash.get(field, now),
            _ => None,
        };
        match value {
            Some(value) => value.with_bytes(|value| out.push(Some(value)))?,
            None => out.push(None)?,
        }
        return Ok(());
    }
    match db.lookup_string(&key) {
        Ok(Some(StringRef::Int(number))) => {
            out.push(Some(itoa::Buffer::new().format(number).as_bytes()))?;
        }
        Ok(Some(StringRef::Bytes(bytes))) => out.push(Some(bytes))?,
        _ => out.push(None)?,
    }
    Ok(())
}

/// Where all keys, or the only shard, are.
fn sort(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let sort = Sort::parse(args)?;
    let key = &args[1];
    match ctx.work() {
        Some(Work::Sort(job)) => return job.go_on(ctx, &sort, key),
        Some(Work::Reply(pieces, number)) => return ctx.reply_pieces(pieces, number),
        _ => {}
    }
    let len = match ctx.db.read(key) {
        Some(view) if !job::can_be_sorted(view.value) => return Err(CommandError::WrongType),
        view => view.map_or(0, |view| job::len_of(view.value)),
    };
    let weight = len.saturating_mul(1 + sort.gets.len());
    let counted = (usize::from(len > 0), usize::from(len == 0));
    let job = Job::Gathering(Texts::default(), SetPlace::default());
    match ctx.in_slices(weight, counted)? {
        true => job.go_on(ctx, &sort, key),
        false => job.run(ctx, &sort, key),
    }
}

fn reply_found(reply: &mut Reply<'_>, found: &Texts) {
    reply.array(found.len());
    for text in found.iter() {
        match text {
            Some(text) => reply.bulk(text),
            None => reply.null(),
        }
    }
}

/// How shards tell one another whether elements are those of a set.
const SET: &[u8] = b"set";

fn kind(is_set: bool) -> &'static [u8] {
    if is_set { SET } else { b"ordered" }
}

/// The elements of argument 1, after their [`kind`]; an empty array if
/// there is no such key here, an error if it cannot be sorted.
fn read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let key = &args[1];
    ctx.reply.array(1);
    // What the destination holds is no look at it.
    let is_source = ctx.cargo.key == 0 || reaches_any_key(args);
    let view = match ctx.db.owns(key) {
        true if is_source => ctx.db.read(key),
        true => ctx.db.lookup(key),
        false => None,
    };
    let Some(view) = view else {
        ctx.reply.array(0);
        return Ok(());
    };
    let name = kind(view.value.type_of() == Type::Set);
    let mut texts = Texts::default();
    match gather(view.value, &mut SetPlace::default(), usize::MAX, &mut texts) {
        Ok(_) => {
            ctx.reply.array(1 + texts.len());
            ctx.reply.bulk(name);
            let texts = texts.iter();
            texts.for_each(|text| ctx.reply.bulk(text.unwrap_or_default()));
        }
        Err(error @ CommandError::WrongType) => ctx.reply.error(&error),
        Err(error) => return Err(error),
    }
    Ok(())
}

/// The elements are here. If there are patterns, the shards are asked for what
/// these name, else all is known.
fn decide(decision: &mut Decision<'_>) -> Outcome {
    let sort = Sort::parse(decision.args)?;
    if !reaches_any_key(decision.args) {
        // What the destination holds was read, too, and does not matter.
        let (texts, is_set) = of_reply(decision.read.first().copied().unwrap_or_default())?;
        let found = arrange(&sort, texts, is_set, |_, _, out| Ok(out.push(None)?))?;
        return conclude(decision, &sort, &found);
    }
    let mut replies = decision.read.iter();
    let of_key = replies.find(|reply| !reply.starts_with(b"*0\r"));
    let (elements, is_set) = of_reply(of_key.copied().unwrap_or_default())?;
    let request: usize = decision.args.iter().map(<[u8]>::len).sum();
    if elements.bytes_len() + request > REQUEST_MAX {
        return Err(CommandError::OutOfMemory);
    }
    let words = itoa::Buffer::new()
        .format(decision.args.len())
        .as_bytes()
        .to_vec();
    let texts = elements.iter().map(Option::unwrap_or_default);
    let head = [words.as_slice()].into_iter().chain(decision.args.iter());
    decision.further = Some(Further::Everywhere {
        handler: look_up,
        args: OwnedArgs::new(head.chain([kind(is_set)]).chain(texts)),
        decide: decide_looked_up,
    });
    Ok(())
}

/// The arguments of the second round: how many words the request has, the
/// request, the kind, the elements.
fn second_round<'a>(args: Args<'a>) -> Result<(Args<'a>, Texts, bool), CommandError> {
    let words = args.get(0).and_then(parse_i64);
    let words = words.and_then(|words| usize::try_from(words).ok());
    let words = words.ok_or(CommandError::Syntax)?;
    let kind = args.get(1 + words).unwrap_or_default();
    let mut texts = Texts::default();
    for element in args.from(2 + words).iter() {
        texts.push(Some(element))?;
    }
    Ok((args.from(1).first(words), texts, kind == SET))
}

/// For each element, what each pattern names, if that key is here.
fn look_up(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (request, elements, _) = second_round(args)?;
    let sort = Sort::parse(request)?;
    let patterns = sort.patterns();
    let mut found = Texts::default();
    for element in elements.iter() {
        for pattern in &patterns {
            let element = element.unwrap_or_default();
            push_looked_up(&mut ctx.db, pattern, element, &mut found, false)?;
        }
    }
    ctx.reply.array(1);
    reply_found(&mut ctx.reply, &found);
    Ok(())
}

fn decide_looked_up(decision: &mut Decision<'_>) -> Outcome {
    let (request, elements, is_set) = second_round(decision.args)?;
    let sort = Sort::parse(request)?;
    let width = sort.patterns().len();
    let mut of_shards = Vec::with_capacity(decision.read.len());
    for reply in decision.read {
        of_shards.push(Texts::of_reply(reply)?);
    }
    let found = arrange(&sort, elements, is_set, |pattern, (index, _), out| {
        let at = index * width + pattern.0;
        let mut found = of_shards.iter().map(|texts| texts.get(at));
        Ok(out.push(found.find_map(|text| text))?)
    })?;
    conclude(decision, &sort, &found)
}

/// Replies what was found, or has the destination's shard store it.
fn conclude(decision: &mut Decision<'_>, sort: &Sort<'_>, found: &Texts) -> Outcome {
    let Some(key) = sort.store else {
        reply_found(&mut decision.reply, found);
        return Ok(());
    };
    if found.bytes_len() + key.len() > REQUEST_MAX {
        return Err(CommandError::OutOfMemory);
    }
    let texts = found.iter().map(Option::unwrap_or_default);
    decision.writes.push(Write {
        handler: put_elsewhere,
        args: OwnedArgs::new([&b"SORT"[..], key].into_iter().chain(texts)),
    });
    decision.reply.integer(found.len() as i64);
    Ok(())
}

fn put_elsewhere(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, texts) = (&args[1], args.from(2));
    let (mut list, from) = match ctx.work() {
        Some(Work::PutDown(stored)) => return put_down(ctx, key, stored),
        Some(Work::PutList(list, from)) => (list, from),
        _ => (job::empty(), 0),
    };
    let limit = Limit(ctx.settings.encodings.list_max_listpack_size);
    let end = from + ctx.slice_of(texts.len() - from);
    list.push(End::Back, texts.from(from).first(end - from).iter(), limit)?;
    if end < texts.len() {
        return ctx.leave(Work::PutList(list, end));
    }
    let stored = Stored::put(ctx, key, list)?;
    put_down(ctx, key, stored)
}

/// The list is stored: records it.
fn put_down(ctx: &mut Context<'_>, key: &[u8], mut stored: Stored) -> Outcome {
    let some = ctx.slice_of(stored.left());
    if stored.record_some(ctx, key, some) {
        return ctx.leave(Work::PutDown(stored));
    }
    ctx.reply.ok();
    Ok(())
}

/// Sorts, cuts, and puts out. `look` is as in [`Sorting::sort_some`].
fn arrange(
    sort: &Sort<'_>,
    texts: Texts,
    is_set: bool,
    mut look: impl FnMut((usize, &[u8]), (usize, &[u8]), &mut Texts) -> Outcome,
) -> Result<Texts, CommandError> {
    let places = sort.range(texts.len());
    let mut sorting = Sorting::new(sort, texts, is_set);
    while sorting.sort_some(sort, usize::MAX, &mut look)? {}
    let mut found = Texts::default();
    sorting.put_out(sort, places, look, |text| Ok(found.push(text)?))?;
    Ok(found)
}

#[cfg(test)]
mod tests;
