//! What several sets have in common: SINTER, SUNION, SDIFF, their storing forms
//! and SINTERCARD.
//!
//! Where all keys are on one shard see [`super::job`].
//!
//! Across shards the home core does the same with sets made of what was read: all
//! members for a union, else those that matter (`command/apart.rs`). Then it has
//! the destination's shard write the members.

use super::job::{self, Operation};
use super::reply_element;
use crate::command::apart::{
    Base, Members, check_types, count_here, count_on, is_known, is_piece_known, read_sets,
};
use crate::command::spec::{Arity, Begin, Find, Group, KeySpec, flags};
use crate::command::zsets::inputs::{copy_inputs, members_of};
use crate::command::{
    Access, Args, Context, Decide, Decision, Handler, Outcome, OwnedArgs, ROW, Row, Run, Work,
    Write,
};
use crate::effects::Event;
use crate::error::{CommandError, OutOfMemory};
use crate::keyspace::Ttl;
use crate::number::parse_i64;
use crate::resp::Reply;
use crate::value::{Collection, Growth, Set};

/// A row of a command that replies a set.
const fn replying(
    name: &'static str,
    summary: &'static str,
    whole: Handler,
    read: Handler,
    decide: Decide,
) -> Row {
    Row {
        name,
        syntax: "key [key ...]",
        summary,
        since: "1.0.0",
        complexity: "O(N) with N the number of members of all the sets",
        group: Group::Set,
        arity: Arity::AtLeast(2),
        keys: READ,
        flags: flags::READONLY.with(flags::HEAVY),
        tips: &["nondeterministic_output_order"],
        run: Run::ReadThenWrite {
            whole,
            read,
            decide,
            skip: 0,
        },
        ..ROW
    }
}

/// The sets that are read by a command that stores its result.
const SOURCES: KeySpec = KeySpec {
    begin: Begin::Index(2),
    ..KeySpec::every(1, &["RO", "access"])
};

/// A row of a command that stores a set.
const fn storing(
    name: &'static str,
    summary: &'static str,
    keys: &'static [KeySpec],
    whole: Handler,
    read: Handler,
    decide: Decide,
) -> Row {
    Row {
        name,
        syntax: "destination key [key ...]",
        summary,
        since: "1.0.0",
        complexity: "O(N) with N the number of members of all the sets",
        group: Group::Set,
        arity: Arity::AtLeast(3),
        keys,
        flags: flags::WRITE.with(flags::DENYOOM).with(flags::HEAVY),
        run: Run::ReadThenWrite {
            whole,
            read,
            decide,
            skip: 1,
        },
        ..ROW
    }
}

const READ: &[KeySpec] = &[KeySpec::every(1, &["RO", "access"])];
const UPDATED: &[KeySpec] = &[KeySpec::first(&["RW", "update"]), SOURCES];
const OVERWRITTEN: &[KeySpec] = &[KeySpec::first(&["OW", "update"]), SOURCES];

pub static COMMANDS: &[Row] = &[
    replying(
        "sinter",
        "The members that all of the sets have.",
        sinter,
        read_sets,
        sinter_decide,
    ),
    replying(
        "sunion",
        "The members that any of the sets has.",
        sunion,
        read_whole_sets,
        sunion_decide,
    ),
    replying(
        "sdiff",
        "The members of the first set that no other has.",
        sdiff,
        read_sets,
        sdiff_decide,
    ),
    storing(
        "sinterstore",
        "Store the members that all of the sets have.",
        UPDATED,
        sinterstore,
        read_sets,
        sinterstore_decide,
    ),
    storing(
        "sunionstore",
        "Store the members that any of the sets has.",
        OVERWRITTEN,
        sunionstore,
        read_whole_sets,
        sunionstore_decide,
    ),
    storing(
        "sdiffstore",
        "Store the members of the first set that no other has.",
        OVERWRITTEN,
        sdiffstore,
        read_sets,
        sdiffstore_decide,
    ),
    Row {
        name: "sintercard",
        syntax: "numkeys key [key ...] [LIMIT limit]",
        summary: "How many members all of the sets have, counted up to a limit.",
        since: "7.0.0",
        complexity: "O(N*M) with N the size of the smallest set and M the number of sets",
        group: Group::Set,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec {
            begin: Begin::Index(1),
            find: Find::Count {
                count: 0,
                first: 1,
                step: 1,
            },
            access: Access(&["RO", "access"]),
            notes: "",
            vary: None,
        }],
        flags: flags::READONLY.with(flags::MOVABLEKEYS).with(flags::HEAVY),
        run: Run::ReadThenWrite {
            whole: sintercard,
            read: read_sets,
            decide: sintercard_decide,
            skip: 0,
        },
        ..ROW
    },
];

/// A result on its way to a reply or a key.
enum Found {
    Members(Members),
    Set(Set),
}

impl Found {
    fn reply(&self, reply: &mut Reply<'_>) {
        match self {
            Self::Members(members) => {
                reply.set(members.len());
                members.iter().for_each(|member| reply.bulk(member));
            }
            Self::Set(set) => {
                reply.set(set.view().len());
                set.view().iter().for_each(|it| reply_element(reply, it));
            }
        }
    }

    fn into_set(self, growth: &Growth<'_>) -> Result<Set, OutOfMemory> {
        match self {
            Self::Set(set) => Ok(set),
            Self::Members(members) => {
                let mut set = Set::new();
                for member in members.iter() {
                    set.add(member, growth)?;
                }
                Ok(set)
            }
        }
    }
}

/// The operation on members that were read on several shards; nothing if more of
/// them are to be read.
fn compute_read(
    decision: &mut Decision<'_>,
    operation: Operation,
    keys: Args<'_>,
) -> Result<Option<Found>, CommandError> {
    let base = match operation {
        Operation::Union => None,
        Operation::Intersection => Some(Base::Any),
        Operation::Difference => Some(Base::First),
    };
    check_types(decision)?;
    let growth = growth_for(decision);
    let Some(base) = base else {
        let mut union = Set::new();
        for (member, _) in decision.read.iter().flat_map(|read| members_of(read)) {
            union.add(member, &growth)?;
        }
        return Ok(Some(Found::Set(union)));
    };
    match is_known(decision, base, keys)? {
        true => Ok(Some(Found::Members(narrow_read(decision, base)?))),
        false => Ok(None),
    }
}

/// An intersection, or a difference, of what is known.
fn narrow_read(decision: &Decision<'_>, base: Base) -> Result<Members, CommandError> {
    let growth = growth_for(decision);
    let common = base == Base::Any;
    let lengths = decision.read.iter().map(|read| read.len());
    let shortest = lengths.enumerate().min_by_key(|(_, len)| *len);
    let first = shortest.filter(|_| common).map_or(0, |(index, _)| index);
    let mut members = Members::default();
    for (member, _) in members_of(decision.read.get(first).copied().unwrap_or_default()) {
        members.push(member)?;
    }
    for (index, read) in decision.read.iter().enumerate() {
        if index != first && members.len() > 0 {
            // In a listpack each would be compared with all.
            let mut set = Set::large(&growth)?;
            for (member, _) in members_of(read) {
                set.add(member, &growth)?;
            }
            members.retain(|member| set.view().contains(member) == common);
        }
    }
    Ok(members)
}

fn answer(ctx: &mut Context<'_>, args: Args<'_>, operation: Operation) -> Outcome {
    job::run(ctx, operation, args.from(1), None)
}

fn store(ctx: &mut Context<'_>, args: Args<'_>, operation: Operation) -> Outcome {
    job::run(ctx, operation, args.from(2), Some(&args[1]))
}

/// All members of each key, which must be a set.
fn read_whole_sets(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    copy_inputs(ctx, args, true)
}

fn growth_for<'a>(decision: &Decision<'a>) -> Growth<'a> {
    Growth {
        thresholds: &decision.settings.encodings,
        seed: decision.seed,
    }
}

fn answer_read(decision: &mut Decision<'_>, operation: Operation) -> Outcome {
    let keys = decision.args.from(1);
    if let Some(found) = compute_read(decision, operation, keys)? {
        found.reply(&mut decision.reply);
    }
    Ok(())
}

fn store_read(decision: &mut Decision<'_>, operation: Operation) -> Outcome {
    /// A request is below 4 GiB; this leaves room for its name and key.
    const BYTES_MAX: usize = 3 << 30;
    let keys = decision.args.from(2);
    let Some(found) = compute_read(decision, operation, keys)? else {
        return Ok(());
    };
    let set = found.into_set(&growth_for(decision))?;
    let (len, bytes) = (set.view().len(), set.heap_bytes());
    if bytes > BYTES_MAX {
        return Err(CommandError::OutOfMemory);
    }
    let mut args = OwnedArgs::new([&b"SADD"[..], &decision.args[1]]);
    for member in set.view().iter() {
        member.with_bytes(|member| args.push(member));
    }
    decision.writes.push(Write {
        handler: put_members,
        args,
    });
    decision.reply.integer(len as i64);
    Ok(())
}

/// Has `args[1]` hold the members that follow, and nothing else.
fn put_members(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (key, members) = (&args[1], args.from(2));
    let (mut set, from) = match ctx.work() {
        Some(Work::PutSet(set, from)) => (set, from),
        _ => (Set::new(), 0),
    };
    let growth = ctx.growth();
    let end = from + ctx.slice_of(members.len() - from);
    for member in members.from(from).first(end - from).iter() {
        set.add(member, &growth)?;
    }
    if end < members.len() {
        return ctx.leave(Work::PutSet(set, end));
    }
    let existed = ctx.db.delete(key);
    let stored = ctx.db.put_collection(key, set, Ttl::Clear)?;
    if existed {
        ctx.propagate(&[b"DEL", key]);
    }
    if existed && !stored {
        ctx.changed(key, Event::Del);
    }
    if stored {
        ctx.changed(key, Event::SUnionStore);
        let parts: Vec<&[u8]> = args.iter().collect();
        ctx.propagate(&parts);
    }
    ctx.reply.ok();
    Ok(())
}

fn sinter(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    answer(ctx, args, Operation::Intersection)
}

fn sunion(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    answer(ctx, args, Operation::Union)
}

fn sdiff(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    answer(ctx, args, Operation::Difference)
}

fn sinterstore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    store(ctx, args, Operation::Intersection)
}

fn sunionstore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    store(ctx, args, Operation::Union)
}

fn sdiffstore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    store(ctx, args, Operation::Difference)
}

fn sinter_decide(decision: &mut Decision<'_>) -> Outcome {
    answer_read(decision, Operation::Intersection)
}

fn sunion_decide(decision: &mut Decision<'_>) -> Outcome {
    answer_read(decision, Operation::Union)
}

fn sdiff_decide(decision: &mut Decision<'_>) -> Outcome {
    answer_read(decision, Operation::Difference)
}

fn sinterstore_decide(decision: &mut Decision<'_>) -> Outcome {
    store_read(decision, Operation::Intersection)
}

fn sunionstore_decide(decision: &mut Decision<'_>) -> Outcome {
    store_read(decision, Operation::Union)
}

fn sdiffstore_decide(decision: &mut Decision<'_>) -> Outcome {
    store_read(decision, Operation::Difference)
}

/// The keys of SINTERCARD and its limit; 0 means none.
fn sintercard_args(args: Args<'_>) -> Result<(usize, usize), CommandError> {
    let count = args.get(1).and_then(parse_i64).filter(|count| *count > 0);
    let count = count.ok_or(CommandError::Static("ERR numkeys should be greater than 0"))?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    if count > args.len() - 2 {
        return Err(CommandError::Static(
            "ERR Number of keys can't be greater than number of args",
        ));
    }
    let (mut limit, mut index) = (0, 2 + count);
    while let Some(option) = args.get(index) {
        let value = args.get(index + 1);
        let value = value.filter(|_| option.eq_ignore_ascii_case(b"LIMIT"));
        let number = parse_i64(value.ok_or(CommandError::Syntax)?);
        let number = number.and_then(|number| usize::try_from(number).ok());
        limit = number.ok_or(CommandError::Static("ERR LIMIT can't be negative"))?;
        index += 2;
    }
    Ok((count, if limit == 0 { usize::MAX } else { limit }))
}

fn sintercard(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let (count, limit) = sintercard_args(args)?;
    let keys = args.first(2 + count).from(2);
    let mut lens = Vec::new();
    if !ctx.has_work() {
        for key in keys.iter() {
            lens.push(ctx.db.read_as::<Set>(key)?.map_or(0, |set| set.len()));
        }
    }
    count_here(ctx, keys, &lens, limit)
}

fn sintercard_decide(decision: &mut Decision<'_>) -> Outcome {
    let (count, limit) = sintercard_args(decision.args)?;
    let keys = decision.args.from(2).first(count);
    if !is_piece_known(decision, keys)? {
        return Ok(());
    }
    let found = narrow_read(decision, Base::Any)?.len();
    count_on(decision, keys, found, limit)
}
