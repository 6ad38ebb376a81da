//! What several sets have in common: SINTER, SUNION, SDIFF, their storing forms
//! and SINTERCARD.
//!
//! What has many members is done in slices, wherever it lies
//! ([`combining`](crate::command::combining)). Of few members on several shards the home
//! core has all that matters (`command/apart.rs`).

use super::reply_element;
use crate::command::apart::{
    Known, Members, count_apart, count_here, known, read_sets, read_whole_sets, taken_up,
};
use crate::command::combining::{Job, Target};
use crate::command::spec::{Arity, Begin, Find, Group, InSlices, KeySpec, flags};
use crate::command::stored::{Made, store_elsewhere, store_here};
use crate::command::zsets::combine::{Kind, PLAIN};
use crate::command::zsets::inputs::members_of;
use crate::command::{
    Access, Args, Context, Decide, Decision, Handler, Outcome, Pieces, ROW, Row, Run, Work,
};
use crate::effects::Event;
use crate::error::{CommandError, OutOfMemory};
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
        flags: flags::READONLY,
        slices: InSlices::IfMuch,
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
        flags: flags::WRITE.with(flags::DENYOOM),
        slices: InSlices::IfMuch,
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
        flags: flags::READONLY.with(flags::MOVABLEKEYS),
        slices: InSlices::IfMuch,
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

/// The event of storing what an operation makes.
fn stored(kind: Kind) -> Event {
    match kind {
        Kind::Inter => Event::SInterStore,
        Kind::Union => Event::SUnionStore,
        Kind::Diff => Event::SDiffStore,
    }
}

/// What an operation on large sets is to make.
fn target(kind: Kind, stores: bool) -> Target {
    match kind {
        Kind::Inter | Kind::Diff if !stores => Target::Elements(Pieces::default()),
        _ => Target::Set(Set::new()),
    }
}

/// Runs the operation on keys that are all here: replies the result, or stores it.
fn whole(ctx: &mut Context<'_>, kind: Kind, keys: Args<'_>, destination: Option<&[u8]>) -> Outcome {
    match ctx.work() {
        Some(Work::Combination(job)) => return job.go_on(ctx, keys, destination),
        Some(Work::Reply(pieces, number)) => return ctx.reply_pieces(pieces, number),
        _ => {}
    }
    // Every key's type is looked at, whatever the others hold.
    let mut lens = Vec::new();
    for key in keys.iter() {
        lens.push(ctx.db.read_as::<Set>(key)?.map_or(0, |set| set.len()));
    }
    let weight = match kind {
        Kind::Union => lens.iter().copied().fold(0, usize::saturating_add),
        Kind::Inter => lens
            .iter()
            .min()
            .map_or(0, |len| len.saturating_mul(keys.len())),
        Kind::Diff => lens[0].saturating_mul(keys.len()),
    };
    let missing = lens.iter().filter(|len| **len == 0).count();
    if ctx.in_slices(weight, (lens.len() - missing, missing))? {
        let target = target(kind, destination.is_some());
        let job = Job::here(kind, PLAIN, target, Some(stored(kind)), &lens);
        return job.go_on(ctx, keys, destination);
    }
    let found = combine(ctx, kind, keys, &lens)?;
    match destination {
        None => found.reply(&mut ctx.reply),
        Some(key) => {
            let set = found.into_set(&ctx.growth())?;
            return store_here(ctx, key, Made::Set(set), stored(kind));
        }
    }
    Ok(())
}

/// The operation on keys that are all here, in one piece.
fn combine(
    ctx: &mut Context<'_>,
    kind: Kind,
    keys: Args<'_>,
    lens: &[usize],
) -> Result<Found, CommandError> {
    if kind == Kind::Union {
        let (mut union, growth) = (Set::new(), ctx.growth());
        for key in keys.iter() {
            let set = ctx.db.lookup_as::<Set>(key)?;
            for member in set.iter().flat_map(|set| set.iter()) {
                member.with_bytes(|member| union.add(member, &growth))?;
            }
        }
        return Ok(Found::Set(union));
    }
    let common = kind == Kind::Inter;
    let smallest = (0..lens.len()).min_by_key(|key| lens[*key]);
    let base = smallest.filter(|_| common).unwrap_or(0);
    // They are copied, as the doors show one key at a time.
    let mut members = Members::default();
    if let Some(set) = ctx.db.lookup_as::<Set>(&keys[base])? {
        let mut all = set.iter();
        all.try_for_each(|member| member.with_bytes(|member| members.push(member)))?;
    }
    for (index, key) in keys.iter().enumerate() {
        if index == base || members.len() == 0 {
            continue;
        }
        match ctx.db.lookup_as::<Set>(key)? {
            Some(set) => members.retain(|member| set.contains(member) == common),
            None if common => members = Members::default(),
            None => {}
        }
    }
    Ok(Found::Members(members))
}

/// The operation on members that were read on several shards; nothing if more is to
/// be done first.
fn combine_read(
    decision: &mut Decision<'_>,
    kind: Kind,
    keys: Args<'_>,
    destination: Option<&[u8]>,
) -> Result<Option<Found>, CommandError> {
    if let Some(job) = taken_up(decision) {
        job.depart(decision, keys, destination)?;
        return Ok(None);
    }
    match known(decision, kind, keys)? {
        Known::Asked => return Ok(None),
        Known::Apart(lens) => {
            let stores = destination.is_some();
            let event = Some(stored(kind)).filter(|_| stores);
            let target = target(kind, stores);
            let job = Job::apart(decision, kind, PLAIN, target, event, &lens);
            job.depart(decision, keys, destination)?;
            return Ok(None);
        }
        Known::Enough => {}
    }
    if kind != Kind::Union {
        return Ok(Some(Found::Members(narrow_read(decision, kind)?)));
    }
    let (mut union, growth) = (Set::new(), growth_for(decision));
    for (member, _) in decision.read.iter().flat_map(|read| members_of(read)) {
        union.add(member, &growth)?;
    }
    Ok(Some(Found::Set(union)))
}

/// An intersection, or a difference, of what is known.
fn narrow_read(decision: &Decision<'_>, kind: Kind) -> Result<Members, CommandError> {
    let growth = growth_for(decision);
    let common = kind == Kind::Inter;
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

fn answer(ctx: &mut Context<'_>, args: Args<'_>, kind: Kind) -> Outcome {
    whole(ctx, kind, args.from(1), None)
}

fn store(ctx: &mut Context<'_>, args: Args<'_>, kind: Kind) -> Outcome {
    whole(ctx, kind, args.from(2), Some(&args[1]))
}

fn growth_for<'a>(decision: &Decision<'a>) -> Growth<'a> {
    Growth {
        thresholds: &decision.settings.encodings,
        seed: decision.seed,
    }
}

fn answer_read(decision: &mut Decision<'_>, kind: Kind) -> Outcome {
    let keys = decision.args.from(1);
    if let Some(found) = combine_read(decision, kind, keys, None)? {
        found.reply(&mut decision.reply);
    }
    Ok(())
}

fn store_read(decision: &mut Decision<'_>, kind: Kind) -> Outcome {
    let (key, keys) = (
        decision.args.get(1).unwrap_or_default(),
        decision.args.from(2),
    );
    if let Some(found) = combine_read(decision, kind, keys, Some(key))? {
        let set = found.into_set(&growth_for(decision))?;
        store_elsewhere(decision, key, Made::Set(set), stored(kind));
    }
    Ok(())
}

fn sinter(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    answer(ctx, args, Kind::Inter)
}

fn sunion(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    answer(ctx, args, Kind::Union)
}

fn sdiff(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    answer(ctx, args, Kind::Diff)
}

fn sinterstore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    store(ctx, args, Kind::Inter)
}

fn sunionstore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    store(ctx, args, Kind::Union)
}

fn sdiffstore(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    store(ctx, args, Kind::Diff)
}

fn sinter_decide(decision: &mut Decision<'_>) -> Outcome {
    answer_read(decision, Kind::Inter)
}

fn sunion_decide(decision: &mut Decision<'_>) -> Outcome {
    answer_read(decision, Kind::Union)
}

fn sdiff_decide(decision: &mut Decision<'_>) -> Outcome {
    answer_read(decision, Kind::Diff)
}

fn sinterstore_decide(decision: &mut Decision<'_>) -> Outcome {
    store_read(decision, Kind::Inter)
}

fn sunionstore_decide(decision: &mut Decision<'_>) -> Outcome {
    store_read(decision, Kind::Union)
}

fn sdiffstore_decide(decision: &mut Decision<'_>) -> Outcome {
    store_read(decision, Kind::Diff)
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
    count_apart(decision, keys, limit, |decision| {
        Ok(narrow_read(decision, Kind::Inter)?.len())
    })
}
