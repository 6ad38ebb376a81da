//! Commands on several strings at once.

use crate::command::spec::{Arity, Group, KeySpec, flags};
use crate::command::{Args, Context, Decision, Outcome, OwnedArgs, ROW, Row, Run, Write, merge};
use crate::effects::Event;
use crate::error::CommandError;
use crate::keyspace::Ttl;
use crate::resp::read::integer;

pub static COMMANDS: &[Row] = &[
    Row {
        name: "mget",
        syntax: "key [key ...]",
        summary: "Read several strings; null for what is no string.",
        since: "1.0.0",
        complexity: "O(N) with N the number of keys",
        group: Group::String,
        arity: Arity::AtLeast(2),
        keys: &[KeySpec::every(1, &["RO", "access"])],
        flags: flags::READONLY.with(flags::FAST),
        tips: &["request_policy:multi_shard"],
        run: Run::EachShard {
            part: mget,
            merge: merge::in_key_order,
        },
        ..ROW
    },
    Row {
        name: "mset",
        syntax: "key value [key value ...]",
        summary: "Write several strings at once.",
        since: "1.0.1",
        complexity: "O(N) with N the number of keys",
        group: Group::String,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::every(2, &["OW", "update"])],
        flags: flags::WRITE.with(flags::DENYOOM),
        tips: &[
            "request_policy:multi_shard",
            "response_policy:all_succeeded",
        ],
        run: Run::EachShard {
            part: mset,
            merge: merge::all_ok,
        },
        ..ROW
    },
    Row {
        name: "msetnx",
        syntax: "key value [key value ...]",
        summary: "Write several strings at once if none of the keys exists.",
        since: "1.0.1",
        complexity: "O(N) with N the number of keys",
        group: Group::String,
        arity: Arity::AtLeast(3),
        keys: &[KeySpec::every(2, &["OW", "insert"])],
        flags: flags::WRITE.with(flags::DENYOOM),
        tips: &["request_policy:multi_shard", "response_policy:agg_min"],
        run: Run::ReadThenWrite {
            whole: msetnx,
            read: msetnx_read,
            decide: msetnx_decide,
            skip: 0,
        },
        ..ROW
    },
];

fn mget(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    ctx.reply.array(args.len() - 1);
    ctx.each_key(args, 1, |ctx, _, key| {
        // What is no string reads as if it were not there.
        super::reply_string(&mut ctx.reply, ctx.db.read_string(key).unwrap_or(None));
        Ok(())
    })
}

/// The keys and values of `args`, in order.
fn pairs<'a>(
    args: Args<'a>,
    command: &str,
) -> Result<impl Iterator<Item = (&'a [u8], &'a [u8])>, CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity(command.into()));
    }
    let at = move |index| args.get(index).unwrap_or_default();
    Ok((1..args.len())
        .step_by(2)
        .map(move |index| (at(index), at(index + 1))))
}

fn mset(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::WrongArity("mset".into()));
    }
    ctx.each_key(args, 2, |ctx, at, key| {
        if let Err(error) = ctx.db.set(key, &args[at + 1], Ttl::Clear) {
            ctx.cut_off(args.first(at));
            return Err(error);
        }
        ctx.changed(key, Event::Set);
        Ok(())
    })?;
    ctx.reply.ok();
    Ok(())
}

fn msetnx(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    let mut keys = pairs(args, "msetnx")?.map(|(key, _)| key);
    let free = keys.all(|key| ctx.db.lookup(key).is_none());
    if free {
        for (done, (key, value)) in pairs(args, "msetnx")?.enumerate() {
            if let Err(error) = ctx.db.set(key, value, Ttl::Clear) {
                // None of them was there.
                for (key, _) in pairs(args, "msetnx")?.take(done) {
                    ctx.db.delete(key);
                }
                return Err(error);
            }
        }
        for (key, _) in pairs(args, "msetnx")? {
            ctx.changed(key, Event::Set);
        }
    }
    ctx.reply.integer(i64::from(free));
    Ok(())
}

/// One integer per key: whether it exists.
fn msetnx_read(ctx: &mut Context<'_>, args: Args<'_>) -> Outcome {
    ctx.reply.array(args.len() - 1);
    for key in args.from(1).iter() {
        let exists = ctx.db.lookup(key).is_some();
        ctx.reply.integer(i64::from(exists));
    }
    Ok(())
}

fn msetnx_decide(decision: &mut Decision<'_>) -> Outcome {
    let free = decision
        .read
        .iter()
        .all(|exists| integer(exists) == Some(0));
    if free {
        for (key, value) in pairs(decision.args, "msetnx")? {
            let args = OwnedArgs::new([&b"MSET"[..], key, value]);
            decision.writes.push(Write {
                handler: mset,
                args,
            });
        }
    }
    decision.reply.integer(i64::from(free));
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::command::harness::Engine;
    use crate::command::harness::{text, words};
    use crate::command::{Decision, Run, row};
    use crate::resp::{Protocol, Reply};

    /// Recorded from redis-server 7.0.15.
    #[test]
    fn several_at_once() {
        Engine::new().talk(&[
            ("MSET a 1 b 2 a 3", "+OK"),
            ("MGET a nokey b a", "*4|$1|3|$-1|$1|2|$1|3"),
            ("MSETNX c 1 a 2", ":0"),
            ("EXISTS c", ":0"),
            ("MSETNX c 1 c 2", ":1"),
            ("GET c", "$1|2"),
            (
                "MSET a 1 b",
                "-ERR wrong number of arguments for 'mset' command",
            ),
            (
                "MSETNX z 1 b",
                "-ERR wrong number of arguments for 'msetnx' command",
            ),
        ]);
    }

    #[test]
    fn more_keys_than_are_fetched_at_once() {
        let keys: Vec<String> = (0..40).map(|key| format!("k{}", key % 37)).collect();
        let pairs = keys.iter().enumerate();
        let pairs: Vec<String> = pairs.map(|(at, key)| format!("{key} v{at:02}")).collect();
        let last = |at: usize| if at < 3 { at + 37 } else { at };
        let values: String = (0..40)
            .map(|at| format!("|$3|v{:02}", last(at % 37)))
            .collect();
        Engine::new().talk(&[
            (&format!("MSET {}", pairs.join(" ")), "+OK"),
            ("DBSIZE", ":37"),
            (&format!("MGET {}", keys.join(" ")), &format!("*40{values}")),
        ]);
    }

    #[test]
    fn msetnx_in_two_hops() {
        let Run::ReadThenWrite { decide, .. } = row("msetnx").unwrap().run else {
            panic!()
        };
        let args = words("MSETNX a 1 b 2");
        let settings = crate::types::Settings::default();
        for (read, reply, writes) in [
            ([&b":0\r\n"[..], b":0\r\n"], ":1|", 2),
            ([b":0\r\n", b":1\r\n"], ":0|", 0),
        ] {
            let mut out = Vec::new();
            let written = Reply::new(&mut out, Protocol::Resp2);
            let mut decision = Decision::new(args.args(), &read, &settings, written);
            decide(&mut decision).unwrap();
            assert_eq!(decision.writes.len(), writes);
            assert!(
                decision
                    .writes
                    .iter()
                    .all(|write| write.args.args().len() == 3)
            );
            assert_eq!(text(&out), reply);
        }
    }
}
