//! Commands on lists: both ends, and places.
//!
//! What looks for elements is in [`search`], what goes from one list to another
//! or chooses among several in [`moving`].

pub mod blocking;
pub mod moving;
pub mod search;

use super::args::integer;
use super::long::Piece;
use super::replied::Replied;
use super::spec::{Arity, Group, InSlices, KeySpec, flags};
use super::{Args, Context, Outcome, ROW, Row, Run, Work};
use crate::effects::Event;
use crate::error::CommandError;
use crate::number::parse_i64;
use crate::resp::Reply;
use crate::types::Settings;
use crate::value::listpack::Element;
use crate::value::{End, Limit, List, ListRef};
use std::ops::Range;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "lpush",
        syntax: "key element [element ...]",
        summary: "Add elements at the front of a list, one after the other; a missing list is created.",
        since: "1.0.0",
        complexity: "O(N) with N the number of elements",
        group: Group::List,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RW", "insert"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        history: &[("2.4.0", "Takes several elements.")],
        run: Run::OneShard(lpush),
        ..ROW
    },
    Row {
        name: "rpush",
        syntax: "key element [element ...]",
        summary: "Add elements at the back of a list; a missing list is created.",
        since: "1.0.0",
        complexity: "O(N) with N the number of elements",
        group: Group::List,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RW", "insert"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        history: &[("2.4.0", "Takes several elements.")],
        run: Run::OneShard(rpush),
        ..ROW
    },
    Row {
        name: "lpushx",
        syntax: "key element [element ...]",
        summary: "Add elements at the front of a list that exists.",
        since: "2.2.0",
        complexity: "O(N) with N the number of elements",
        group: Group::List,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RW", "insert"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        history: &[("4.0.0", "Takes several elements.")],
        run: Run::OneShard(lpushx),
        ..ROW
    },
    Row {
        name: "rpushx",
        syntax: "key element [element ...]",
        summary: "Add elements at the back of a list that exists.",
        since: "2.2.0",
        complexity: "O(N) with N the number of elements",
        group: Group::List,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RW", "insert"])],
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::FAST),
        history: &[("4.0.0", "Takes several elements.")],
        run: Run::OneShard(rpushx),
        ..ROW
    },
    Row {
        name: "lpop",
        syntax: "key [count]",
        summary: "Remove and read elements at the front of a list.",
        since: "1.0.0",
        complexity: "O(N) with N the number of elements",
        group: Group::List,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RW", "access", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        slices: InSlices::IfCounted,
        history: &[("6.2.0", "Takes a count.")],
        run: Run::OneShard(lpop),
        ..ROW
    },
    Row {
        name: "rpop",
        syntax: "key [count]",
        summary: "Remove and read elements at the back of a list.",
        since: "1.0.0",
        complexity: "O(N) with N the number of elements",
        group: Group::List,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::first(&["RW", "access", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        slices: InSlices::IfCounted,
        history: &[("6.2.0", "Takes a count.")],
        run: Run::OneShard(rpop),
        ..ROW
    },
    Row {
        name: "llen",
        syntax: "key",
        summary: "The number of elements of a list.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::List,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RO"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(llen),
        ..ROW
    },
    Row {
        name: "lindex",
        syntax: "key index",
        summary: "Read the element at a place; negative ones count from the back.",
        since: "1.0.0",
        complexity: "O(N) with N the number of elements from there to the nearer end",
        group: Group::List,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        run: Run::OneShard(lindex),
        ..ROW
    },
    Row {
        name: "lset",
        syntax: "key index element",
        summary: "Replace the element at a place.",
        since: "1.0.0",
        complexity: "O(N) with N the number of elements from there to the nearer end",
        group: Group::List,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RW", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM),
        run: Run::OneShard(lset),
        ..ROW
    },
    Row {
        name: "lrange",
        syntax: "key start stop",
        summary: "Read the elements between two places, both included.",
        since: "1.0.0",
        complexity: "O(S+N) with S the distance of the first from the nearer end and N the number of elements read",
        group: Group::List,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        run: Run::OneShard(lrange),
        ..ROW
    },
    Row {
        name: "ltrim",
        syntax: "key start stop",
        summary: "Remove all elements but those between two places.",
        since: "1.0.0",
        complexity: "O(N) with N the number of elements removed",
        group: Group::List,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RW", "delete"])],
        flags: flags::WRITE,
        run: Run::OneShard(ltrim),
        ..ROW
    },
];

impl Limit {
    fn of(settings: &Settings) -> Self {
        Self(settings.encodings.list_max_listpack_size)
    }
}

impl End {
    /// What happens there when elements are added.
    fn pushed(self) -> Event {
        match self {
            Self::Front => Event::LPush,
            Self::Back => Event::RPush,
        }
    }

    /// What happens there when elements are removed.
    fn popped(self) -> Event {
        match self {
            Self::Front => Event::LPop,
            Self::Back => Event::RPop,
        }
    }

    /// The command that removes elements there.
    fn pop_name(self) -> &'static [u8] {
        match self {
            Self::Front => b"LPOP",
            Self::Back => b"RPOP",
        }
    }

    /// The end that a command of [`End::pop_name`] is about.
    fn of_pop(name: &[u8]) -> Self {
        match name {
            b"LPOP" => Self::Front,
            _ => Self::Back,
        }
    }

    /// The word for it.
    fn word(self) -> &'static [u8] {
        match self {
            Self::Front => b"LEFT",
            Self::Back => b"RIGHT",
        }
    }

    /// The command that adds elements there.
    fn push_name(self) -> &'static [u8] {
        match self {
            Self::Front => b"LPUSH",
            Self::Back => b"RPUSH",
        }
    }

    /// The end that a command of [`End::push_name`] is about.
    fn of_push(name: &[u8]) -> Self {
        match name {
            b"LPUSH" => Self::Front,
            _ => Self::Back,
        }
    }
}

fn reply_element(reply: &mut Reply<'_>, element: Element<'_>) {
    match element {
        Element::Int(number) => reply.bulk_integer(number),
        Element::Bytes(bytes) => reply.bulk(bytes),
    }
}

fn lpush(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    push(ctx, args, End::Front)
}

fn rpush(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    push(ctx, args, End::Back)
}

fn push(ctx: &mut Context<'_>, args: Args<'_>, end: End) -> Outcome {
    push_counted(ctx, args, end, args.len() - 2)
}

/// What comes from a list on another shard: it counts where it is taken away.
fn push_moved(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    push_counted(ctx, args, End::of_push(&args[0]), 0)
}

fn push_counted(ctx: &mut Context<'_>, args: Args<'_>, end: End, count: usize) -> Outcome {
    let (key, elements) = (&args[1], args.from(2).iter());
    let limit = Limit::of(ctx.settings);
    let len = ctx.db.edit_or_create(key, |list: &mut List| {
        list.push(end, elements, limit)?;
        Ok(list.len())
    })?;
    ctx.changed_times(key, end.pushed(), count);
    ctx.reply.integer(len as i64);
    Ok(())
}

fn lpushx(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    push_if_there(ctx, args, End::Front)
}

fn rpushx(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    push_if_there(ctx, args, End::Back)
}

fn push_if_there(ctx: &mut Context<'_>, args: Args<'_>, end: End) -> Outcome {
    let (key, elements) = (&args[1], args.from(2).iter());
    let limit = Limit::of(ctx.settings);
    let pushed = ctx.db.try_edit(key, |list: &mut List| {
        list.push(end, elements, limit)?;
        Ok(list.len())
    })?;
    let Some(len) = pushed else {
        ctx.reply.integer(0);
        return Ok(());
    };
    ctx.changed_times(key, end.pushed(), args.len() - 2);
    ctx.reply.integer(len as i64);
    Ok(())
}

fn lpop(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    pop(ctx, args, End::Front)
}

fn rpop(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    pop(ctx, args, End::Back)
}

fn pop(ctx: &mut Context<'_>, args: Args<'_>, end: End) -> Outcome {
    let key = &args[1];
    let Some(count) = args.get(2) else {
        if let Popped::Nothing = pop_into_reply(ctx, key, end, 1, |_, _| ())? {
            ctx.reply.null();
        }
        return Ok(());
    };
    if args.len() > 3 {
        let name = String::from_utf8_lossy(end.pop_name()).to_ascii_lowercase();
        return Err(CommandError::WrongArity(name));
    }
    let count = parse_i64(count).and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or(CommandError::NotPositive)?;
    if count == 0 {
        match ctx.db.lookup_as::<List>(key)? {
            Some(_) => ctx.reply.array(0),
            None => ctx.reply.null_array(),
        }
        return Ok(());
    }
    let begin = |reply: &mut Reply<'_>, count| reply.array(count);
    if let Popped::Nothing = pop_into_reply(ctx, key, end, count, begin)? {
        ctx.reply.null_array();
    }
    Ok(())
}

/// What came of taking elements from a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Popped {
    /// There is no list; nothing is replied.
    Nothing,
    /// So many are gone.
    Some(usize),
    /// The request is to be called again.
    GoesOn,
}

/// Removes up to `count` (at least one) elements at an end of a list and
/// replies them, after what `begin` replies, which is told how many.
pub fn pop_into_reply(
    ctx: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
    begin: impl FnOnce(&mut Reply<'_>, usize),
) -> Result<Popped, CommandError> {
    // One element is always taken in one piece.
    if count > 1 && (ctx.has_work() || count > ctx.at_once()) {
        let len = ctx.db.lookup_as::<List>(key)?.map_or(0, ListRef::len);
        if len == 0 {
            return Ok(Popped::Nothing);
        }
        if let Some(Work::Taking(taking)) = ctx.work() {
            return take_some(ctx, key, end, taking);
        }
        let count = count.min(len);
        if ctx.in_slices(count, (0, 0))? {
            begin(&mut ctx.reply, count);
            return take_some(ctx, key, end, Replied::of(count));
        }
    }
    let limit = Limit::of(ctx.settings);
    let reply = &mut ctx.reply;
    let popped = ctx.db.edit(key, |list: &mut List| {
        let count = count.min(list.len());
        begin(reply, count);
        list.pop(end, count, limit, |element| reply_element(reply, element));
        count
    })?;
    let Some(popped) = popped else {
        return Ok(Popped::Nothing);
    };
    ctx.changed_times(key, end.popped(), popped);
    Ok(Popped::Some(popped))
}

/// Replies some of the elements that are to go. When all are replied, they go
/// together: until then nothing has changed.
fn take_some(
    ctx: &mut Context<'_>,
    key: &[u8],
    end: End,
    mut taking: Replied,
) -> Result<Popped, CommandError> {
    let mut slice = taking.slice(ctx);
    let Some(list) = ctx.db.lookup_as::<List>(key)? else {
        return Ok(Popped::Nothing);
    };
    let len = list.len();
    let mut elements = list.iter_behind(end, taking.done);
    let elements = std::iter::from_fn(|| match end {
        End::Front => elements.next(),
        End::Back => elements.next_back(),
    });
    slice.fill(&mut ctx.reply, elements, reply_element);
    if taking.note(slice, ctx)? {
        ctx.leave(Work::Taking(taking))?;
        return Ok(Popped::GoesOn);
    }
    let count = taking.done;
    if count == len {
        ctx.db.delete_emptied(key);
    } else {
        let limit = Limit::of(ctx.settings);
        let from = if end == End::Front { count } else { 0 };
        let trim = |list: &mut List| list.trim(from, len - count, limit);
        let parts = ctx.db.edit(key, trim)?.unwrap_or_default();
        ctx.db.bury(parts);
    }
    ctx.changed_times(key, end.popped(), count);
    Ok(Popped::Some(count))
}

fn llen(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    let list = ctx.db.read_as::<List>(key)?;
    ctx.reply.integer(list.map_or(0, |list| list.len()) as i64);
    Ok(())
}

/// The index that a place names in a list of `len` elements, if it is there.
fn index_of(place: i64, len: usize) -> Option<usize> {
    let index = if place < 0 {
        len.checked_sub(usize::try_from(place.unsigned_abs()).ok()?)?
    } else {
        usize::try_from(place).ok()?
    };
    (index < len).then_some(index)
}

/// The indices from one place to another, in a list of `len` elements.
fn indices(start: i64, stop: i64, len: usize) -> Range<usize> {
    let len = len as i64;
    let absolute = |place: i64| {
        if place < 0 {
            place.saturating_add(len)
        } else {
            place
        }
    };
    let start = absolute(start).max(0);
    let end = absolute(stop).min(len - 1) + 1;
    if start >= end {
        return 0..0;
    }
    // Both are between 0 and `len`.
    start as usize..end as usize
}

fn lindex(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, place] = args.exactly()?;
    let Some(list) = ctx.db.read_as::<List>(key)? else {
        ctx.reply.null();
        return Ok(());
    };
    let index = index_of(integer(place)?, list.len());
    match index.and_then(|index| list.get(index)) {
        Some(element) => reply_element(&mut ctx.reply, element),
        None => ctx.reply.null(),
    }
    Ok(())
}

fn lset(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, place, element] = args.exactly()?;
    let list = ctx.db.lookup_as::<List>(key)?;
    let len = list.ok_or(CommandError::NoSuchKey)?.len();
    let index = index_of(integer(place)?, len);
    let index = index.ok_or(CommandError::Static("ERR index out of range"))?;
    let limit = Limit::of(ctx.settings);
    let set = |list: &mut List| Ok(list.set(index, element, limit)?);
    ctx.db.try_edit(key, set)?;
    ctx.changed(key, Event::LSet);
    ctx.reply.ok();
    Ok(())
}

fn lrange(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, start, stop] = args.exactly()?;
    let (start, stop) = (integer(start)?, integer(stop)?);
    let mut piece = Piece::new(ctx);
    let reply = &mut ctx.reply;
    let Some(list) = piece.read::<List>(&mut ctx.db, key)? else {
        reply.array(0);
        return Ok(());
    };
    let indices = indices(start, stop, list.len());
    let len = indices.len();
    piece.begin(reply, len, |reply| reply.array(len))?;
    let elements = list.iter_from(indices.start.saturating_add(piece.from));
    let left = len.saturating_sub(piece.from);
    piece.fill(reply, elements.take(left), reply_element);
    piece.end(&ctx.db, ctx.cargo, key)
}

fn ltrim(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, start, stop] = args.exactly()?;
    let (start, stop) = (integer(start)?, integer(stop)?);
    let limit = Limit::of(ctx.settings);
    let trimmed = ctx.db.edit(key, |list: &mut List| {
        let len = list.len();
        let kept = indices(start, stop, len);
        let cut = len - kept.len();
        (cut > 0).then(|| (list.trim(kept.start, kept.len(), limit), cut))
    })?;
    match trimmed {
        Some(Some((parts, cut))) => {
            ctx.db.bury(parts);
            ctx.changed_times(key, Event::LTrim, cut);
        }
        Some(None) => ctx.touched(key, Event::LTrim),
        None => {}
    }
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests;
