//! Pub/sub: who listens to what is the node's to know (`shards::pubsub`), on the core of
//! each client; so only PUBSUB asks other cores.
//!
//! A confirmation is a reply in its place, although it looks like a push; CLIENT REPLY does
//! not keep it back, as it keeps back no message.

use super::{Flow, ROW, ServerRow};
use crate::core::{Answer, Asker, Context, Core, TOLD_PER_TURN};
use crate::session::connection::{Pending, TURN_BYTES};
use shards::command::{Args, Arity, Flags, Group, KeySpec, Waits, flags};
use shards::order::{Client, Publisher};
use shards::pubsub::{Cause, Kind, Push, Subscriptions};
use shards::resp::{Protocol, Reply};
use shards::{CommandError, glob};
use std::collections::BTreeSet;

const PLAIN: Flags = flags::PUBSUB.with(flags::LOADING).with(flags::STALE);
const LISTEN: Flags = PLAIN.with(flags::NOSCRIPT).with(flags::WHILE_LISTENING);
const SEND: Flags = PLAIN.with(flags::FAST);
const SHARD_CHANNEL: KeySpec = KeySpec::first(&["not_key"]);
const SHARD_CHANNELS: KeySpec = KeySpec::every(1, &["not_key"]);

/// What the rows below have in common.
const PUBSUB: ServerRow = ServerRow {
    group: Group::PubSub,
    flags: PLAIN,
    ..ROW
};

pub static COMMANDS: &[ServerRow] = &[
    ServerRow {
        name: "subscribe",
        syntax: "channel [channel ...]",
        summary: "Listen to channels.",
        since: "2.0.0",
        complexity: "O(N) where N is the number of channels to subscribe to.",
        arity: Arity::AtLeast(2),
        flags: LISTEN,
        run: |ctx, args| listen(ctx, args, Kind::Channel),
        ..PUBSUB
    },
    ServerRow {
        name: "unsubscribe",
        syntax: "[channel [channel ...]]",
        summary: "No longer listen to channels.",
        since: "2.0.0",
        complexity: "O(N) where N is the number of channels to unsubscribe.",
        flags: LISTEN,
        run: |ctx, args| leave(ctx, args, Kind::Channel),
        ..PUBSUB
    },
    ServerRow {
        name: "psubscribe",
        syntax: "pattern [pattern ...]",
        summary: "Listen to all channels that match patterns.",
        since: "2.0.0",
        complexity: "O(N) where N is the number of patterns to subscribe to.",
        arity: Arity::AtLeast(2),
        flags: LISTEN,
        run: |ctx, args| listen(ctx, args, Kind::Pattern),
        ..PUBSUB
    },
    ServerRow {
        name: "punsubscribe",
        syntax: "[pattern [pattern ...]]",
        summary: "No longer listen to channels that match patterns.",
        since: "2.0.0",
        complexity: "O(N) where N is the number of patterns to unsubscribe.",
        flags: LISTEN,
        run: |ctx, args| leave(ctx, args, Kind::Pattern),
        ..PUBSUB
    },
    ServerRow {
        name: "ssubscribe",
        syntax: "shardchannel [shardchannel ...]",
        summary: "Listen to shard channels.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of shard channels to subscribe to.",
        arity: Arity::AtLeast(2),
        keys: &[SHARD_CHANNELS],
        flags: LISTEN,
        run: |ctx, args| listen(ctx, args, Kind::Sharded),
        ..PUBSUB
    },
    ServerRow {
        name: "sunsubscribe",
        syntax: "[shardchannel [shardchannel ...]]",
        summary: "No longer listen to shard channels.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of shard channels to unsubscribe.",
        keys: &[SHARD_CHANNELS],
        flags: LISTEN,
        run: |ctx, args| leave(ctx, args, Kind::Sharded),
        ..PUBSUB
    },
    ServerRow {
        name: "publish",
        syntax: "channel message",
        summary: "Send a message to all who listen to a channel.",
        since: "2.0.0",
        complexity: "O(N+M) where N is the number of clients subscribed to the receiving channel \
                     and M is the number of patterns that begin as the channel does.",
        arity: Arity::Exactly(3),
        flags: SEND,
        may_replicate: true,
        waits: Waits::AsItSays,
        run: |_, _| Ok(Flow::Publish(Kind::Channel)),
        ..PUBSUB
    },
    ServerRow {
        name: "spublish",
        syntax: "shardchannel message",
        summary: "Send a message to all who listen to a shard channel.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of clients subscribed to the receiving shard \
                     channel.",
        arity: Arity::Exactly(3),
        keys: &[SHARD_CHANNEL],
        flags: SEND,
        may_replicate: true,
        waits: Waits::AsItSays,
        run: |_, _| Ok(Flow::Publish(Kind::Sharded)),
        ..PUBSUB
    },
    ServerRow {
        name: "pubsub",
        summary: "A container for commands about who listens to what.",
        since: "2.8.0",
        complexity: "Depends on subcommand.",
        arity: Arity::AtLeast(2),
        flags: flags::NONE,
        subcommands: SUBCOMMANDS,
        ..PUBSUB
    },
];

static SUBCOMMANDS: &[ServerRow] = &[
    ServerRow {
        name: "pubsub|channels",
        syntax: "[pattern]",
        summary: "The channels that somebody listens to.",
        since: "2.8.0",
        complexity: "O(N) where N is the number of active channels.",
        arity: Arity::AtLeast(2),
        run: |_, args| channels(args, Kind::Channel),
        ..PUBSUB
    },
    ServerRow {
        name: "pubsub|numsub",
        syntax: "[channel [channel ...]]",
        summary: "How many listen to these channels.",
        since: "2.8.0",
        complexity: "O(N) where N is the number of requested channels.",
        arity: Arity::AtLeast(2),
        run: |_, args| Ok(numsub(args, Kind::Channel)),
        ..PUBSUB
    },
    ServerRow {
        name: "pubsub|numpat",
        summary: "How many patterns somebody listens to.",
        since: "2.8.0",
        complexity: "O(N) where N is the number of patterns.",
        arity: Arity::Exactly(2),
        run: numpat,
        ..PUBSUB
    },
    ServerRow {
        name: "pubsub|shardchannels",
        syntax: "[pattern]",
        summary: "The shard channels that somebody listens to.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of active shard channels.",
        arity: Arity::AtLeast(2),
        run: |_, args| channels(args, Kind::Sharded),
        ..PUBSUB
    },
    ServerRow {
        name: "pubsub|shardnumsub",
        syntax: "[shardchannel [shardchannel ...]]",
        summary: "How many listen to these shard channels.",
        since: "7.0.0",
        complexity: "O(N) where N is the number of requested shard channels.",
        arity: Arity::AtLeast(2),
        run: |_, args| Ok(numsub(args, Kind::Sharded)),
        ..PUBSUB
    },
    ServerRow {
        name: "pubsub|help",
        summary: "Describe the subcommands.",
        since: "6.2.0",
        complexity: "O(1)",
        arity: Arity::Exactly(2),
        flags: flags::LOADING.with(flags::STALE),
        run: help,
        ..PUBSUB
    },
];

const HELP: &[&str] = &[
    "CHANNELS [<pattern>]",
    "    Return the currently active channels matching a <pattern> (default: '*').",
    "NUMPAT",
    "    Return number of subscriptions to patterns.",
    "NUMSUB [<channel> ...]",
    "    Return the number of subscribers for the specified channels, excluding",
    "    pattern subscriptions(default: no channels).",
    "SHARDCHANNELS [<pattern>]",
    "    Return the currently active shard level channels matching a <pattern> (default: '*').",
    "SHARDNUMSUB [<shardchannel> ...]",
    "    Return the number of subscribers for the specified shard level channel(s)",
];

fn help(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    ctx.help("PUBSUB", HELP);
    Ok(Flow::Done)
}

/// What a confirmation begins with.
fn words(kind: Kind) -> (&'static [u8], &'static [u8]) {
    match kind {
        Kind::Channel => (b"subscribe", b"unsubscribe"),
        Kind::Pattern => (b"psubscribe", b"punsubscribe"),
        Kind::Sharded => (b"ssubscribe", b"sunsubscribe"),
    }
}

/// SUBSCRIBE and its kin.
fn listen(ctx: &mut Context<'_>, args: Args<'_>, kind: Kind) -> Result<Flow, CommandError> {
    // As in Redis, which has left it to the older two.
    if kind == Kind::Sharded && ctx.connection().runs_block {
        let text = "ERR SSUBSCRIBE isn't allowed for a DENY BLOCKING client";
        return Err(CommandError::Static(text));
    }
    for name in args.iter().skip(1) {
        let key = ctx.key;
        ctx.core
            .node
            .subscriptions_mut()
            .subscribe(key, kind, name)?;
        confirm(ctx, words(kind).0, Some(name), kind);
    }
    let connection = ctx.connection();
    connection.listens_within |= connection.runs_block;
    Ok(listens_now(ctx))
}

/// UNSUBSCRIBE and its kin.
fn leave(ctx: &mut Context<'_>, args: Args<'_>, kind: Kind) -> Result<Flow, CommandError> {
    let key = ctx.key;
    let word = words(kind).1;
    for name in args.iter().skip(1) {
        ctx.core
            .node
            .subscriptions_mut()
            .unsubscribe(key, kind, name);
        confirm(ctx, word, Some(name), kind);
    }
    if args.len() == 1 {
        leave_all(ctx, kind);
    }
    Ok(listens_now(ctx))
}

/// Ends all subscriptions of a kind that a client has.
fn leave_all(ctx: &mut Context<'_>, kind: Kind) {
    let (key, word) = (ctx.key, words(kind).1);
    let protocol = ctx.session().protocol;
    let subscriptions = ctx.core.node.subscriptions_mut();
    let beside = counted(subscriptions, key, kind) - subscriptions.count(key, kind);
    if subscriptions.count(key, kind) == 0 {
        return confirm(ctx, word, None, kind);
    }
    let out = &mut *ctx.out;
    subscriptions.unsubscribe_all(key, kind, |name, left| {
        write_confirmation(
            &mut Reply::new(out, protocol),
            word,
            Some(name),
            left + beside,
        );
    });
}

/// To how many topics a client listens, of the kinds that are counted with this one.
fn counted(subscriptions: &Subscriptions, key: u32, kind: Kind) -> usize {
    let count = |kind| subscriptions.count(key, kind);
    match kind {
        Kind::Sharded => count(kind),
        Kind::Channel | Kind::Pattern => count(Kind::Channel) + count(Kind::Pattern),
    }
}

/// Confirms what the client has asked for.
fn confirm(ctx: &mut Context<'_>, word: &[u8], name: Option<&[u8]>, kind: Kind) {
    let count = counted(ctx.core.node.subscriptions(), ctx.key, kind);
    write_confirmation(&mut ctx.reply(), word, name, count);
}

fn write_confirmation(reply: &mut Reply<'_>, word: &[u8], name: Option<&[u8]>, count: usize) {
    reply.push(3);
    reply.bulk(word);
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(count as i64);
}

/// What follows for the client from what it listens to now. What it has been confirmed is
/// told it also if it wants no replies, behind those that it has wanted.
fn listens_now(ctx: &mut Context<'_>) -> Flow {
    ctx.core.mind_subscriptions(ctx.key);
    let connection = &ctx.core.connections[ctx.key as usize];
    if !connection.session.is_silent() {
        return Flow::Done;
    }
    let last = connection.last_place();
    let to = Client {
        key: ctx.key,
        id: connection.session.id,
        place: last.unwrap_or_default(),
    };
    let push = Push::new(b"", std::mem::take(ctx.out));
    let own = ctx.core.id;
    ctx.core.node.tell(own, (to, last.is_some()), push);
    Flow::Told
}

/// Publishes for a client; what is to follow.
///
/// # Errors
/// There is no memory for it.
pub fn publish(
    core: &mut Core,
    asker: Asker,
    kind: Kind,
    args: Args<'_>,
    out: &mut Vec<u8>,
) -> Result<Flow, CommandError> {
    let [channel, text] = args.exactly()?;
    if core.shards == 1 && core.has_notices() {
        // They are told at once, too, and come before.
        core.publish_notices();
    }
    let Asker {
        key,
        id,
        row,
        within,
    } = asker;
    let connection = &mut *core.connections[key as usize];
    if core.told > TOLD_PER_TURN && within.is_none() {
        connection.spend(core.turn, TURN_BYTES);
        return Ok(Flow::NextTurn);
    }
    // Within a block all that came before is over, and what is told stands behind its reply.
    let block = within.map(|ticket| (ticket, connection.last_place().unwrap_or_default()));
    if core.shards == 1 || block.is_some() || !connection.is_waiting() {
        let cause = block.map(|(_, place)| Cause { key, place });
        if let Some(heard) = core.node.publish_here(kind, channel, text, cause)? {
            Reply::new(out, Protocol::Resp2).integer(heard as i64);
            return Ok(Flow::Told);
        }
    }
    let by = match block {
        Some((ticket, place)) => Publisher::Step {
            ticket,
            client: Client { key, id, place },
            row,
        },
        None => Publisher::Client {
            client: connection.client(key, Pending::Single),
            row,
        },
    };
    let published = core.node.publish(by, kind, channel, text);
    match (published, by) {
        (Ok(()), _) => {}
        (Err(error), Publisher::Client { client, .. }) => {
            let mut refusal = Vec::new();
            Reply::new(&mut refusal, Protocol::Resp2).error(&error.into());
            core.connections[key as usize].answer(client.place, &refusal);
        }
        (Err(error), _) => return Err(error.into()),
    }
    core.deliver();
    Ok(Flow::Pending)
}

fn channels(args: Args<'_>, kind: Kind) -> Result<Flow, CommandError> {
    let pattern: Option<Box<[u8]>> = match args.len() {
        2 => None,
        3 => Some(args[2].into()),
        _ => return Err(CommandError::unfit_subcommand(&args[1], "PUBSUB")),
    };
    let names = move |core: &mut Core| {
        let meant = |name: &&[u8]| {
            let pattern = pattern.as_deref();
            pattern.is_none_or(|pattern| glob::matches(pattern, name))
        };
        let names = core.node.subscriptions().names(kind);
        Answer::Names(names.filter(meant).map(Box::from).collect())
    };
    Ok(Flow::ask_all(names, |ctx, _, answers| {
        let names = distinct(&answers);
        let mut reply = ctx.reply();
        reply.array(names.len());
        names.iter().for_each(|name| reply.bulk(name));
        Ok(())
    }))
}

/// Names that cores have answered, each once.
fn distinct(answers: &[Answer]) -> BTreeSet<&[u8]> {
    let names = answers.iter().filter_map(|answer| match answer {
        Answer::Names(names) => Some(names),
        _ => None,
    });
    names.flatten().map(|name| &**name).collect()
}

fn numsub(args: Args<'_>, kind: Kind) -> Flow {
    let names: Vec<Box<[u8]>> = args.iter().skip(2).map(Box::from).collect();
    let counts = move |core: &mut Core| {
        let subscriptions = core.node.subscriptions();
        let count = |name: &[u8]| subscriptions.listeners(kind, name) as u64;
        Answer::Counts(names.iter().map(|name| count(name)).collect())
    };
    Flow::ask_all(counts, |ctx, args, answers| {
        let mut reply = ctx.reply();
        reply.array(2 * (args.len() - 2));
        for (at, name) in args.iter().skip(2).enumerate() {
            let counts = answers.iter().filter_map(|answer| match answer {
                Answer::Counts(counts) => counts.get(at),
                _ => None,
            });
            reply.bulk(name);
            reply.integer(counts.sum::<u64>() as i64);
        }
        Ok(())
    })
}

fn numpat(_: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    let names = |core: &mut Core| {
        let names = core.node.subscriptions().names(Kind::Pattern);
        Answer::Names(names.map(Box::from).collect())
    };
    Ok(Flow::ask_all(names, |ctx, _, answers| {
        ctx.reply().integer(distinct(&answers).len() as i64);
        Ok(())
    }))
}
