//! Commands that look for elements of a list.

use crate::command::args::integer;
use crate::command::spec::{Arity, Group, KeySpec, flags};
use crate::command::{Args, Context, Outcome, ROW, Row, Run};
use crate::effects::Event;
use crate::error::CommandError;
use crate::number::parse_i64;
use crate::resp::Reply;
use crate::value::listpack::{Element, Wanted};
use crate::value::{End, Limit, List, ListRef};

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

fn lrem(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, count, element] = args.exactly()?;
    let count = integer(count)?;
    let end = if count < 0 { End::Back } else { End::Front };
    let most = match usize::try_from(count.unsigned_abs()) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(count) => count,
    };
    let limit = Limit::of(ctx.settings);
    let remove = |list: &mut List| list.remove_equal(element, most, end, limit);
    let removed = ctx.db.edit(key, remove)?.unwrap_or(0);
    if removed > 0 {
        ctx.changed_times(key, Event::LRem, removed);
    }
    ctx.reply.integer(removed as i64);
    Ok(())
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

    /// Hands the indices of what is found to `found`, as long as that wants more.
    fn run(&self, list: ListRef<'_>, text: &[u8], mut found: impl FnMut(usize) -> bool) {
        let wanted = Wanted::new(text);
        let mut skip = self.skip;
        let mut compare = |index: usize, element: Element<'_>| {
            if !wanted.is(element) {
                return true;
            }
            if skip > 0 {
                skip -= 1;
                return true;
            }
            found(index)
        };
        let elements = list.iter();
        match self.from {
            End::Front => {
                let mut elements = (0..).zip(elements).take(self.compare);
                elements.all(|(index, element)| compare(index, element));
            }
            End::Back => {
                let indices = (0..list.len()).rev();
                let mut elements = indices.zip(elements.rev()).take(self.compare);
                elements.all(|(index, element)| compare(index, element));
            }
        }
    }
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
    let reply = &mut ctx.reply;
    let list = ctx.db.read_as::<List>(key)?;
    match (list, search.count) {
        (Some(list), Some(count)) => reply_all(reply, list, text, &search, count),
        (None, Some(_)) => reply.array(0),
        (list, None) => {
            let mut first = None;
            if let Some(list) = list {
                search.run(list, text, |index| {
                    first = Some(index);
                    false
                });
            }
            match first {
                Some(index) => reply.integer(index as i64),
                None => reply.null(),
            }
        }
    }
    Ok(())
}

/// Replies the indices of up to `count` matches: first counts them, so that
/// none need be kept.
fn reply_all(reply: &mut Reply<'_>, list: ListRef<'_>, text: &[u8], search: &Search, count: usize) {
    let mut matches = 0;
    search.run(list, text, |_| {
        matches += 1;
        matches < count
    });
    reply.array(matches);
    let mut left = matches;
    if left > 0 {
        search.run(list, text, |index| {
            reply.integer(index as i64);
            left -= 1;
            left > 0
        });
    }
}
