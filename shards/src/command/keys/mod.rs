//! Commands on keys of any type, and on whole databases.
//!
//! Deadlines are in [`expiry`], what looks for keys in [`scan`], and what looks
//! at how values are kept in [`object`]. [`relocate`] has those that bring a value to
//! another key; [`dump`] makes bytes of one, [`restore`] makes it of them.

pub mod dump;
pub mod expiry;
pub mod object;
mod rebuild;
pub mod relocate;
pub mod restore;
pub mod scan;

use super::spec::{Arity, Group, KeySpec, flags};
use super::{Args, Context, Outcome, ROW, Row, Run, merge};
use crate::effects::Event;
use crate::error::CommandError;
use crate::number::parse_i64;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "del",
        syntax: "key [key ...]",
        summary: "Delete keys.",
        since: "1.0.0",
        complexity: "O(N) with N the number of keys",
        group: Group::Generic,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::every(1, &["RM", "delete"])],
        flags: flags::WRITE,
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        run: Run::EachShard {
            part: del,
            merge: merge::sum,
        },
        ..ROW
    },
    Row {
        name: "unlink",
        syntax: "key [key ...]",
        summary: "Delete keys; large values are freed in the background.",
        since: "4.0.0",
        complexity: "O(N) with N the number of keys",
        group: Group::Generic,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::every(1, &["RM", "delete"])],
        flags: flags::WRITE.with(flags::FAST),
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        run: Run::EachShard {
            part: del,
            merge: merge::sum,
        },
        ..ROW
    },
    Row {
        name: "exists",
        syntax: "key [key ...]",
        summary: "How many of the keys exist; a key named twice counts twice.",
        since: "1.0.0",
        complexity: "O(N) with N the number of keys",
        group: Group::Generic,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::every(1, &["RO"])],
        flags: flags::READONLY.with(flags::FAST),
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        history: &[("3.0.3", "Takes several keys.")],
        run: Run::EachShard {
            part: exists,
            merge: merge::sum,
        },
        ..ROW
    },
    Row {
        name: "touch",
        syntax: "key [key ...]",
        summary: "How many of the keys exist; refreshes their access times.",
        since: "3.2.1",
        complexity: "O(N) with N the number of keys",
        group: Group::Generic,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::every(1, &["RO"])],
        flags: flags::READONLY.with(flags::FAST),
        tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
        run: Run::EachShard {
            part: touch,
            merge: merge::sum,
        },
        ..ROW
    },
    Row {
        name: "type",
        syntax: "key",
        summary: "The type of the value a key holds.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Generic,
        arity: Arity::Exactly(2),
        keys: &[KeySpec::first(&["RO"])],
        flags: flags::READONLY.with(flags::FAST),
        run: Run::OneShard(type_of),
        ..ROW
    },
    Row {
        name: "dbsize",
        summary: "The number of keys in the selected database.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Server,
        arity: Arity::Exactly(1),
        flags: flags::READONLY.with(flags::FAST),
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        run: Run::EachShard {
            part: dbsize,
            merge: merge::sum,
        },
        ..ROW
    },
    Row {
        name: "flushdb",
        syntax: "[ASYNC | SYNC]",
        summary: "Delete every key of the selected database.",
        since: "1.0.0",
        complexity: "O(N) with N the number of keys in the database",
        group: Group::Server,
        arity: Arity::AtLeast(1),
        flags: flags::WRITE,
        categories: &["@dangerous"],
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        history: &[("4.0.0", "Takes `ASYNC`."), ("6.2.0", "Takes `SYNC`.")],
        run: Run::EachShard {
            part: flushdb,
            merge: merge::all_ok,
        },
        ..ROW
    },
    Row {
        name: "flushall",
        syntax: "[ASYNC | SYNC]",
        summary: "Delete every key of every database.",
        since: "1.0.0",
        complexity: "O(N) with N the number of keys in all databases",
        group: Group::Server,
        arity: Arity::AtLeast(1),
        flags: flags::WRITE,
        categories: &["@dangerous"],
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        history: &[("4.0.0", "Takes `ASYNC`."), ("6.2.0", "Takes `SYNC`.")],
        run: Run::EachShard {
            part: flushall,
            merge: merge::all_ok,
        },
        ..ROW
    },
    Row {
        name: "swapdb",
        syntax: "index1 index2",
        summary: "Exchange the contents of two databases.",
        since: "4.0.0",
        complexity: "O(1)",
        group: Group::Server,
        arity: Arity::Exactly(3),
        flags: flags::WRITE.with(flags::FAST),
        categories: &["@dangerous"],
        run: Run::EachShard {
            part: swapdb,
            merge: merge::all_ok,
        },
        ..ROW
    },
];

fn del(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let mut deleted = 0;
    for key in args.from(1).iter() {
        if ctx.db.delete(key) {
            ctx.changed(key, Event::Del);
            deleted += 1;
        }
    }
    ctx.reply.integer(deleted);
    Ok(())
}

fn exists(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let found = args
        .from(1)
        .iter()
        .filter(|key| ctx.db.peek(key).is_some())
        .count();
    ctx.reply.integer(found as i64);
    Ok(())
}

fn touch(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    // To refresh access times is what it is for: CLIENT NO-TOUCH does not stop it.
    ctx.db.touch_from_here();
    let found = args
        .from(1)
        .iter()
        .filter(|key| ctx.db.read(key).is_some())
        .count();
    ctx.reply.integer(found as i64);
    Ok(())
}

fn type_of(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let [key] = args.exactly()?;
    let name = ctx
        .db
        .peek(key)
        .map_or("none", |view| view.value.type_name());
    ctx.reply.simple(name);
    Ok(())
}

fn dbsize(ctx: &mut Context<'_>, _args: Args<'_>) -> Outcome {
    ctx.reply.integer(ctx.db.len() as i64);
    Ok(())
}

/// FLUSHDB and FLUSHALL take ASYNC or SYNC. Both are the same here: what was
/// in a table is freed in slices anyway, and nobody can tell when.
fn check_flush_mode(args: Args<'_>) -> Outcome {
    let is_mode =
        |word: &[u8]| word.eq_ignore_ascii_case(b"ASYNC") || word.eq_ignore_ascii_case(b"SYNC");
    match (args.len(), args.get(1)) {
        (1, _) => Ok(()),
        (2, Some(word)) if is_mode(word) => Ok(()),
        _ => Err(CommandError::Syntax),
    }
}

fn flushdb(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    check_flush_mode(args)?;
    ctx.overturned(ctx.selected(), None);
    let count = ctx.db.len();
    ctx.db.clear();
    // Propagated also when there was nothing to delete, as in Redis.
    ctx.changed_times(b"", Event::FlushDb, count);
    ctx.reply.ok();
    Ok(())
}

fn flushall(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    check_flush_mode(args)?;
    let mut number = 0;
    while let Some(index) = ctx.database(number) {
        ctx.overturned(index, None);
        number += 1;
    }
    let (now, mut count) = (ctx.db.now(), ctx.db.len());
    ctx.db.clear();
    for keyspace in ctx.others.iter_mut() {
        let mut db = keyspace.at(now, false, ctx.db.effects());
        count += db.len();
        db.clear();
    }
    ctx.changed_times(b"", Event::FlushDb, count);
    ctx.reply.ok();
    Ok(())
}

fn swapdb(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    const FIRST: CommandError = CommandError::Static("ERR invalid first DB index");
    const SECOND: CommandError = CommandError::Static("ERR invalid second DB index");
    let [first, second] = args.exactly()?;
    let number = |text| parse_i64(text).and_then(|number| i32::try_from(number).ok());
    let first = number(first).ok_or(FIRST)?;
    let second = number(second).ok_or(SECOND)?;
    let first = ctx.database(first).ok_or(CommandError::DbOutOfRange)?;
    let second = ctx.database(second).ok_or(CommandError::DbOutOfRange)?;
    if first != second {
        ctx.overturned(first, Some(second));
        ctx.overturned(second, Some(first));
        ctx.swap(first, second);
    }
    // Propagated also when it changes nothing, as in Redis; counted on one shard.
    let count = usize::from(ctx.db.is_first());
    ctx.changed_times(b"", Event::SwapDb, count);
    ctx.reply.ok();
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Engine;
    use crate::types::{DbIndex, UnixMs};

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn keys_and_databases() {
        Engine::new().talk(&[
            ("MSET a 1 b 2 c 3", "+OK"),
            ("EXISTS a a nokey", ":2"),
            ("TOUCH a b nokey", ":2"),
            ("TYPE a", "+string"),
            ("TYPE nokey", "+none"),
            ("DEL a a nokey", ":1"),
            ("UNLINK b nokey", ":1"),
            ("DBSIZE", ":1"),
            ("FLUSHDB foo", "-ERR syntax error"),
            ("FLUSHALL SYNC ASYNC", "-ERR syntax error"),
            ("DBSIZE", ":1"),
            ("FLUSHDB async", "+OK"),
            ("DBSIZE", ":0"),
            ("FLUSHALL sync", "+OK"),
        ]);
    }

    #[test]
    fn flushdb_empties_one_database_and_flushall_all() {
        let mut engine = Engine::new();
        for (flush, left) in [("FLUSHDB", ":1|"), ("FLUSHALL", ":0|")] {
            engine.run("SET k v");
            engine.db = DbIndex(1);
            engine.run("SET k v");
            engine.run(flush);
            assert_eq!(engine.run("DBSIZE"), ":0|");
            engine.db = DbIndex(0);
            assert_eq!(engine.run("DBSIZE"), left);
        }
    }

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn swapdb_exchanges_databases() {
        let mut engine = Engine::new();
        engine.run("SET k v");
        engine.talk(&[
            ("SWAPDB 0 0", "+OK"),
            ("SWAPDB 0 1", "+OK"),
            ("DBSIZE", ":0"),
            ("SWAPDB 1 0", "+OK"),
            ("GET k", "$1|v"),
            ("SWAPDB x 1", "-ERR invalid first DB index"),
            ("SWAPDB 0 x", "-ERR invalid second DB index"),
            ("SWAPDB 0 99999999999", "-ERR invalid second DB index"),
            ("SWAPDB 0 16", "-ERR DB index is out of range"),
            ("SWAPDB -1 0", "-ERR DB index is out of range"),
        ]);
        engine.db = DbIndex(1);
        engine.talk(&[("DBSIZE", ":0"), ("SWAPDB 0 1", "+OK"), ("GET k", "$1|v")]);
    }

    #[test]
    fn effects_say_which_database_and_what_expired() {
        let mut engine = Engine::new();
        engine.run("SET old v PX 1");
        engine.now = UnixMs(engine.now.0 + 1);
        assert_eq!(engine.effects("DEL k old"), "*2|$3|DEL|$3|old|");
        assert_eq!(engine.effects("DEL k"), "");
        engine.db = DbIndex(1);
        assert_eq!(
            engine.effects("FLUSHDB"),
            "*2|$6|SELECT|$1|1|*1|$7|FLUSHDB|"
        );
    }
}
