//! Commands that look for elements of a list.

use crate::command::args::integer;
use crate::command::replied::Replied;
use crate::command::spec::{Arity, Group, InSlices, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run, Work};
use crate::effects::Event;
use crate::error::CommandError;
use crate::number::parse_i64;
use crate::value::listpack::{Element, Wanted};
use crate::value::{End, Limit, List, ListRef, Purge};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "linsert",
        syntax: "key <BEFORE | AFTER> pivot element",
        summary: "Add an element next to the first one that equals the pivot.",
        since: "2.2.0",
        complexity: "O(N) with N the number of elements up to the pivot",
        group: Group::List,
        arity: Arity::Exactly(5),
        keys: &[KeySpec::first(&["RW", "insert"])],
        flags: flags::WRITE.with(flags::DENYOOM),
        slices: InSlices::IfMuch,
        run: Run::OneShard(linsert),
        ..ROW
    },
    Row {
        name: "lpos",
        syntax: "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        summary: "Where in a list an element is.",
        since: "6.0.6",
        complexity: "O(N) with N the number of elements compared",
        group: Group::List,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::first(&["RO", "access"])],
        flags: flags::READONLY,
        slices: InSlices::IfMuch,
        run: Run::OneShard(lpos),
        ..ROW
    },
    Row {
        name: "lrem",
        syntax: "key count element",
        summary: "Remove elements that equal one: all, or so many from the front or, negative, from the back.",
        since: "1.0.0",
        complexity: "O(N+M) with N the number of elements and M of those removed",
        group: Group::List,
        arity: Arity::Exactly(4),
        keys: &[KeySpec::first(&["RW", "delete"])],
        flags: flags::WRITE,
        slices: InSlices::IfMuch,
        run: Run::OneShard(lrem),
        ..ROW
    },
];

fn linsert(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, side, pivot, element] = args.exactly()?;
    let after = if side.eq_ignore_ascii_case(b"AFTER") {
        true
    } else if side.eq_ignore_ascii_case(b"BEFORE") {
        false
    } else {
        return Err(CommandError::Syntax);
    };
    let limit = Limit::of(ctx.settings);
    let len = ctx.db.lookup_as::<List>(key)?.map_or(0, ListRef::len);
    if len > ctx.at_once() || ctx.has_work() {
        return insert_far(ctx, key, (pivot, after), element);
    }
    let inserted = ctx.db.try_edit(key, |list: &mut List| {
        let found = list.insert(pivot, after, element, limit)?;
        Ok(found.then(|| list.len()))
    })?;
    match inserted {
        None => ctx.reply.integer(0),
        Some(None) => ctx.reply.integer(-1),
        Some(Some(len)) => {
            ctx.changed(key, Event::LInsert);
            ctx.reply.integer(len as i64);
        }
    }
    Ok(())
}
/// LINSERT into a list that is long: the pivot is looked for in slices, if it is not
/// among the first elements.
fn insert_far(
    ctx: &mut Context<'_>,
    key: &[u8],
    (pivot, after): (&[u8], bool),
    element: &[u8],
) -> Outcome {
    let (passed, budget) = match ctx.work() {
        Some(Work::Passed(passed)) => (passed, ctx.long_step()),
        _ => (0, ctx.at_once()),
    };
    let (mut index, mut len) = (None, 0);
    if let Some(list) = ctx.db.lookup_as::<List>(key)? {
        len = list.len();
        let wanted = Wanted::new(pivot);
        let mut some = (passed..).zip(list.iter_from(passed)).take(budget);
        let found = some.find(|(_, element)| wanted.is(*element));
        index = found.map(|(index, _)| index);
    }
    let passed = passed.saturating_add(budget);
    let Some(index) = index else {
        if passed < len && ctx.in_slices(usize::MAX, (0, 0))? {
            return ctx.leave(Work::Passed(passed));
        }
        ctx.reply.integer(-1);
        return Ok(());
    };
    let limit = Limit::of(ctx.settings);
    ctx.db.try_edit(key, |list: &mut List| {
        Ok(list.insert_beside(index, after, element, limit)?)
    })?;
    ctx.changed(key, Event::LInsert);
    ctx.reply.integer(len as i64 + 1);
    Ok(())
}

fn lrem(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, count, element] = args.exactly()?;
    let count = integer(count)?;
    let end = if count < 0 { End::Back } else { End::Front };
    let most = match usize::try_from(count.unsigned_abs()) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(count) => count,
    };
    let limit = Limit::of(ctx.settings);
    if let Some(Work::Purge(mut purge)) = ctx.work() {
        let step = ctx.long_step();
        let remove = |list: &mut List| list.remove_some_equal(element, &mut purge, step, limit);
        if ctx.db.edit(key, remove)? == Some(true) {
            return ctx.leave(Work::Purge(purge));
        }
        return removed(ctx, key, purge.removed);
    }
    if takes_long(ctx, key, (element, end), most)? && ctx.in_slices(usize::MAX, (0, 0))? {
        return ctx.leave(Work::Purge(Purge::new(end, most)));
    }
    let remove = |list: &mut List| list.remove_equal(element, most, end, limit);
    let count = ctx.db.edit(key, remove)?.unwrap_or(0);
    removed(ctx, key, count)
}

fn removed(ctx: &mut Context<'_>, key: &[u8], count: usize) -> Outcome {
    if count > 0 {
        ctx.changed_times(key, Event::LRem, count);
    }
    ctx.reply.integer(count as i64);
    Ok(())
}

/// Whether up to `most` elements to be removed are not found among the first that may be
/// gone through at once.
fn takes_long(
    ctx: &mut Context<'_>,
    key: &[u8],
    (element, end): (&[u8], End),
    most: usize,
) -> Result<bool, CommandError> {
    let at_once = ctx.at_once();
    let list = ctx.db.lookup_as::<List>(key)?;
    // A listpack is short, however many elements it may have.
    let long = list.filter(|list| list.len() > at_once);
    let Some(list @ ListRef::Quicklist(_)) = long else {
        return Ok(false);
    };
    let wanted = Wanted::new(element);
    let is = |element: &Element<'_>| wanted.is(*element);
    let found = match end {
        End::Front => list.iter().take(at_once).filter(is).count(),
        End::Back => list.iter().rev().take(at_once).filter(is).count(),
    };
    Ok(found < most)
}

/// What LPOS is asked for.
struct Search {
    from: End,
    /// Matches to pass over.
    skip: u64,
    /// How many matches; nothing for the first one, which is no array then.
    count: Option<usize>,
    /// How many elements to compare.
    compare: usize,
}

impl Search {
    fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let mut search = Self {
            from: End::Front,
            skip: 0,
            count: None,
            compare: usize::MAX,
        };
        let mut at = 3;
        while let Some(option) = args.get(at) {
            let number = args.get(at + 1).ok_or(CommandError::Syntax)?;
            if option.eq_ignore_ascii_case(b"RANK") {
                search.rank(integer(number)?)?;
            } else if option.eq_ignore_ascii_case(b"COUNT") {
                let error = CommandError::Static("ERR COUNT can't be negative");
                search.count = Some(all_if_zero(number).ok_or(error)?);
            } else if option.eq_ignore_ascii_case(b"MAXLEN") {
                let error = CommandError::Static("ERR MAXLEN can't be negative");
                search.compare = all_if_zero(number).ok_or(error)?;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 2;
        }
        Ok(search)
    }

    fn rank(&mut self, rank: i64) -> Outcome {
        match rank {
            0 => {
                return Err(CommandError::Static(
                    "ERR RANK can't be zero: use 1 to start from the first match, \
                     2 from the second ... or use negative to start from the end of the list",
                ));
            }
            // Redis could not turn its sign.
            i64::MIN => {
                return Err(CommandError::Static(
                    "ERR value is out of range, value must between \
                     -9223372036854775807 and 9223372036854775807",
                ));
            }
            _ => {}
        }
        self.from = if rank < 0 { End::Back } else { End::Front };
        self.skip = rank.unsigned_abs() - 1;
        Ok(())
    }

    /// Goes on with about `budget` elements; whether there are more to compare.
    fn go_on(
        &self,
        list: ListRef<'_>,
        text: &[u8],
        found: &mut Found,
        budget: usize,
    ) -> Result<bool, CommandError> {
        let (wanted, len) = (Wanted::new(text), list.len());
        let most = self.count.unwrap_or(1);
        let all = self.compare.min(len);
        let end = found.compared.saturating_add(budget).min(all);
        let mut elements = list.iter_behind(self.from, found.compared);
        for nth in found.compared..end {
            let (element, index) = match self.from {
                End::Front => (elements.next(), nth),
                End::Back => (elements.next_back(), len - 1 - nth),
            };
            if !element.is_some_and(|element| wanted.is(element)) {
                continue;
            }
            found.matches += 1;
            if found.matches > self.skip {
                let room = found.indices.try_reserve(1);
                room.map_err(|_| CommandError::OutOfMemory)?;
                found.indices.push(index);
                if found.indices.len() >= most {
                    return Ok(false);
                }
            }
        }
        found.compared = end;
        Ok(end < all)
    }
}

/// How far an LPOS has come.
#[derive(Debug, Default)]
pub struct Found {
    /// Elements that were compared, and how many of them are equal.
    compared: usize,
    matches: u64,
    /// Where those are that are asked for.
    indices: Vec<usize>,
    /// How many are replied, when all are found.
    replied: Option<Replied>,
}

/// A count of which 0 means all.
fn all_if_zero(number: &[u8]) -> Option<usize> {
    match usize::try_from(parse_i64(number)?).ok()? {
        0 => Some(usize::MAX),
        count => Some(count),
    }
}

fn lpos(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let search = Search::parse(args)?;
    let (key, text) = (&args[1], &args[2]);
    if let Some(Work::Found(mut found)) = ctx.work() {
        if found.replied.is_none() {
            let step = ctx.long_step();
            if let Some(list) = ctx.db.lookup_as::<List>(key)?
                && search.go_on(list, text, &mut found, step)?
            {
                return ctx.leave(Work::Found(found));
            }
        }
        return reply_found(ctx, &search, found);
    }
    let at_once = ctx.at_once();
    let mut found = Box::<Found>::default();
    match ctx.db.read_as::<List>(key)? {
        Some(list) => {
            if search.go_on(list, text, &mut found, at_once)?
                && ctx.in_slices(usize::MAX, (1, 0))?
            {
                return ctx.leave(Work::Found(found));
            }
            reply_found(ctx, &search, found)
        }
        None if search.count.is_some() => {
            ctx.reply.array(0);
            Ok(())
        }
        None => {
            ctx.reply.null();
            Ok(())
        }
    }
}

/// Replies what is found; many indices in slices.
fn reply_found(ctx: &mut Context<'_>, search: &Search, mut found: Box<Found>) -> Outcome {
    if search.count.is_none() {
        match found.indices.first() {
            Some(index) => ctx.reply.integer(*index as i64),
            None => ctx.reply.null(),
        }
        return Ok(());
    }
    let len = found.indices.len();
    let mut replied = found.replied.unwrap_or_else(|| {
        ctx.reply.array(len);
        Replied::of(len)
    });
    let mut slice = replied.slice(ctx);
    let rest = found.indices.get(replied.done..).unwrap_or_default();
    slice.fill(&mut ctx.reply, rest.iter(), |reply, index| {
        reply.integer(*index as i64);
    });
    if replied.note(slice, ctx)? {
        found.replied = Some(replied);
        return ctx.leave(Work::Found(found));
    }
    Ok(())
}
