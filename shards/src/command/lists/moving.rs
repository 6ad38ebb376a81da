//! Commands on more than one list.
//!
//! Over shards, a move reads both ends of both lists, then pushes and pops; and
//! LMPOP reads how long each list is, then pops from the first that has
//! anything, which makes the reply.

use super::{Popped, pop_into_reply, reply_element};
use crate::command::spec::{
    Access, Arity, Begin, Deprecated, Find, Group, InSlices, KeySpec, flags,
};
use crate::command::{Args, Context, Decision, Handler, Outcome, OwnedArgs, ROW, Row, Run, Write};
use crate::error::CommandError;
use crate::number::parse_i64;
use crate::resp::read;
use crate::value::{End, Limit, List, copy};

/// The second key of a move.
pub(super) const DESTINATION: KeySpec = KeySpec {
    begin: Begin::Index(2),
    find: Find::Range {
        last: 0,
        step: 1,
        limit: 0,
    },
    access: Access(&["RW", "insert"]),
    notes: "",
    vary: None,
};

/// Keys after their number.
const NUMBERED: KeySpec = KeySpec {
    begin: Begin::Index(1),
    find: Find::Count {
        count: 0,
        first: 1,
        step: 1,
    },
    access: Access(&["RW", "access", "delete"]),
    notes: "",
    vary: None,
};

pub static COMMANDS: &[Row] = &[
    Row {
        name: "lmove",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        summary: "Move an element from an end of a list to an end of another, and read it.",
        since: "6.2.0",
        complexity: "O(1)",
        group: Group::List,
        arity: Arity::Exactly(5),
        keys: &[KeySpec::first(&["RW", "access", "delete"]), DESTINATION],
        flags: flags::WRITE.with(flags::DENYOOM),
        run: Run::ReadThenWrite {
            whole: lmove,
            read: lmove_read,
            decide: lmove_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "rpoplpush",
        syntax: "source destination",
        summary: "Move the last element of a list to the front of another, and read it.",
        since: "1.2.0",
        complexity: "O(1)",
        group: Group::List,
        arity: Arity::Exactly(3),
        keys: &[KeySpec::first(&["RW", "access", "delete"]), DESTINATION],
        flags: flags::WRITE.with(flags::DENYOOM),
        deprecated: Some(Deprecated {
            since: "6.2.0",
            replaced_by: "`LMOVE` with the `RIGHT` and `LEFT` arguments",
        }),
        run: Run::ReadThenWrite {
            whole: rpoplpush,
            read: lmove_read,
            decide: rpoplpush_decide,
            skip: 0,
        },
        ..ROW
    },
    Row {
        name: "lmpop",
        syntax: "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        summary: "Remove and read elements of the first list that has any.",
        since: "7.0.0",
        complexity: "O(N+M) with N the number of keys and M of elements read",
        group: Group::List,
        arity: Arity::AtLeast(4),
        keys: &[NUMBERED],
        flags: flags::WRITE.with(flags::MOVABLEKEYS),
        slices: InSlices::IfMuch,
        run: Run::ReadThenWrite {
            whole: lmpop,
            read: lmpop_read,
            decide: lmpop_decide,
            skip: 0,
        },
        ..ROW
    },
];

/// The end a word names.
pub fn end_of(word: &[u8]) -> Result<End, CommandError> {
    if word.eq_ignore_ascii_case(b"LEFT") {
        Ok(End::Front)
    } else if word.eq_ignore_ascii_case(b"RIGHT") {
        Ok(End::Back)
    } else {
        Err(CommandError::Syntax)
    }
}

fn lmove(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [source, destination, from, to] = args.exactly()?;
    let (from, to) = (end_of(from)?, end_of(to)?);
    if !move_into_reply(ctx, (source, from), (destination, to))? {
        ctx.reply.null();
    }
    Ok(())
}

fn rpoplpush(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [source, destination] = args.exactly()?;
    if !move_into_reply(ctx, (source, End::Back), (destination, End::Front))? {
        ctx.reply.null();
    }
    Ok(())
}

/// Moves an element from an end of a list to an end of another, or of the same,
/// and replies it. Without the first list nothing is replied, and false
/// returned.
pub fn move_into_reply(
    ctx: &mut Context<'_>,
    source: (&[u8], End),
    destination: (&[u8], End),
) -> Result<bool, CommandError> {
    let ((source, from), (destination, to)) = (source, destination);
    let limit = Limit::of(ctx.settings);
    let end = ctx
        .db
        .lookup_as::<List>(source)?
        .and_then(|list| list.end(from));
    let Some(end) = end else {
        return Ok(false);
    };
    let element = end.with_bytes(copy)?;
    // Pushed before it is popped: the push may fail.
    ctx.db.edit_or_create(destination, |list: &mut List| {
        Ok(list.push(to, std::iter::once(&element[..]), limit)?)
    })?;
    ctx.changed(destination, to.pushed());
    let pop = |list: &mut List| list.pop(from, 1, limit, |_| ());
    if let Err(error) = ctx.db.edit(source, pop) {
        ctx.propagate(&[to.push_name(), destination, &element]);
        return Err(error);
    }
    ctx.also_changed(source, from.popped());
    ctx.reply.bulk(&element);
    Ok(true)
}

/// For each key an array with the elements at both ends, null if there is no
/// such key, or 0 if it is no list.
pub(super) fn lmove_read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let keys = args.from(1);
    ctx.reply.array(keys.len());
    for key in keys.iter() {
        let reply = &mut ctx.reply;
        match ctx.db.lookup_as::<List>(key) {
            Ok(Some(list)) => {
                reply.array(2);
                for end in [End::Front, End::Back] {
                    match list.end(end) {
                        Some(element) => reply_element(reply, element),
                        None => reply.null(),
                    }
                }
            }
            Ok(None) => reply.null(),
            Err(_) => reply.integer(0),
        }
    }
    Ok(())
}

fn lmove_decide(decision: &mut Decision<'_>) -> Outcome {
    let [_, _, from, to] = decision.args.exactly()?;
    decide_move(decision, end_of(from)?, end_of(to)?)
}

fn rpoplpush_decide(decision: &mut Decision<'_>) -> Outcome {
    decide_move(decision, End::Back, End::Front)
}

pub(super) fn decide_move(decision: &mut Decision<'_>, from: End, to: End) -> Outcome {
    let (source, destination) = (&decision.args[1], &decision.args[2]);
    let [first, second] = decision.read else {
        return Err(CommandError::Syntax);
    };
    if read::is_null(first) {
        decision.reply.null();
        return Ok(());
    }
    if [first, second]
        .iter()
        .any(|of| read::integer(of) == Some(0))
    {
        return Err(CommandError::WrongType);
    }
    let element = ends(first).map(|(front, back)| match from {
        End::Front => front,
        End::Back => back,
    });
    let element = element.expect("what is neither missing nor of another type has two ends");
    let pop = handler_of_pop(from);
    decision.writes.push(Write {
        handler: super::push_moved,
        args: OwnedArgs::new([to.push_name(), destination, element]),
    });
    decision.writes.push(Write {
        handler: pop,
        args: OwnedArgs::new([from.pop_name(), source]),
    });
    decision.reply.bulk(element);
    Ok(())
}

fn handler_of_pop(end: End) -> Handler {
    match end {
        End::Front => super::lpop,
        End::Back => super::rpop,
    }
}

/// The two elements of what [`lmove_read`] replied for a list.
fn ends(reply: &[u8]) -> Option<(&[u8], &[u8])> {
    let (front, rest) = read::bulk(read::elements(reply, 2)?)?;
    let (back, _) = read::bulk(rest)?;
    Some((front, back))
}

/// What LMPOP is asked for: how many keys from argument 2 on, the end, and how
/// many elements.
pub(super) struct Popping {
    pub keys: usize,
    pub end: End,
    pub count: usize,
}

impl Popping {
    pub fn parse(args: Args<'_>) -> Result<Self, CommandError> {
        let positive = |word: &[u8], error| {
            let number = parse_i64(word).and_then(|number| usize::try_from(number).ok());
            number
                .filter(|number| *number > 0)
                .ok_or(CommandError::Static(error))
        };
        let keys = positive(&args[1], "ERR numkeys should be greater than 0")?;
        let end = keys.checked_add(2).and_then(|at| args.get(at));
        let end = end_of(end.ok_or(CommandError::Syntax)?)?;
        let (mut count, mut at) = (None, keys + 3);
        while let Some(word) = args.get(at) {
            let number = args.get(at + 1).filter(|_| count.is_none());
            match number {
                Some(number) if word.eq_ignore_ascii_case(b"COUNT") => {
                    count = Some(positive(number, "ERR count should be greater than 0")?);
                }
                _ => return Err(CommandError::Syntax),
            }
            at += 2;
        }
        let count = count.unwrap_or(1);
        Ok(Self { keys, end, count })
    }

    /// The request that takes from `key` what is asked for.
    pub fn request(&self, key: &[u8]) -> OwnedArgs {
        let mut buffer = itoa::Buffer::new();
        let count = buffer.format(self.count).as_bytes();
        OwnedArgs::new([self.end.pop_name(), key, count])
    }
}

fn lmpop(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let popping = Popping::parse(args)?;
    for key in args.from(2).iter().take(popping.keys) {
        if multi_pop_into_reply(ctx, key, popping.end, popping.count)? {
            return Ok(());
        }
    }
    ctx.reply.null_array();
    Ok(())
}

/// Removes up to `count` elements at an end of a list and replies the key and
/// them. Without a list nothing is replied, and false returned.
pub fn multi_pop_into_reply(
    ctx: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
) -> Result<bool, CommandError> {
    let popped = pop_into_reply(ctx, key, end, count, |reply, count| {
        reply.array(2);
        reply.bulk(key);
        reply.array(count);
    })?;
    if let Popped::Some(popped) = popped {
        let mut buffer = itoa::Buffer::new();
        let count = buffer.format(popped).as_bytes();
        ctx.propagate(&[end.pop_name(), key, count]);
    }
    Ok(popped != Popped::Nothing)
}

/// The length of each key.
pub(super) fn lmpop_read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let keys = args.from(1);
    ctx.reply.array(keys.len());
    for key in keys.iter() {
        match ctx.db.lookup_as::<List>(key) {
            Ok(list) => ctx.reply.integer(list.map_or(0, |list| list.len()) as i64),
            Err(error) => ctx.reply.error(&error),
        }
    }
    Ok(())
}

fn lmpop_decide(decision: &mut Decision<'_>) -> Outcome {
    let popping = Popping::parse(decision.args)?;
    let keys = decision.args.from(2).iter().take(popping.keys);
    match decision.first_with_any(keys)? {
        Some(key) => decision.reply_as_written(lmpop_write, popping.request(key)),
        None => decision.reply.null_array(),
    }
    Ok(())
}

/// LPOP or RPOP with a count, with the reply of LMPOP.
pub(super) fn lmpop_write(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key, count] = args.exactly()?;
    let end = End::of_pop(&args[0]);
    let count = parse_i64(count).and_then(|count| usize::try_from(count).ok());
    multi_pop_into_reply(ctx, key, end, count.ok_or(CommandError::NotPositive)?)?;
    Ok(())
}
