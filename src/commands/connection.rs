//! Commands about the connection itself.

use super::client::{BAD_NAME, is_printable};
use super::{Context, Flow, ROW, ServerRow, monitor, tracking};
use crate::config::REDIS_VERSION;
use crate::session::connection::Phase;
use shards::command::{Args, Arity, Flags, Group, InMulti, Waits, flags};
use shards::resp::Protocol;
use shards::{CommandError, DbIndex, parse_i64};

/// Commands that a client needs before it is anybody.
const HANDSHAKE: Flags = flags::NOSCRIPT
    .with(flags::LOADING)
    .with(flags::STALE)
    .with(flags::FAST)
    .with(flags::NO_AUTH)
    .with(flags::ALLOW_BUSY);
const SIMPLE: Flags = flags::LOADING.with(flags::STALE).with(flags::FAST);

pub static COMMANDS: &[ServerRow] = &[
    ServerRow {
        name: "ping",
        syntax: "[message]",
        summary: "Answer PONG, or the message.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Connection,
        waits: Waits::Never,
        arity: Arity::AtLeast(1),
        flags: flags::FAST
            .with(flags::NEEDS_DISK)
            .with(flags::WHILE_LISTENING),
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        run: ping,
        ..ROW
    },
    ServerRow {
        name: "echo",
        syntax: "message",
        summary: "Answer the message.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Connection,
        waits: Waits::Never,
        arity: Arity::Exactly(2),
        flags: SIMPLE,
        run: echo,
        ..ROW
    },
    ServerRow {
        name: "select",
        syntax: "index",
        summary: "Use another database on this connection.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Connection,
        waits: Waits::Never,
        arity: Arity::Exactly(2),
        flags: SIMPLE,
        run: select,
        ..ROW
    },
    ServerRow {
        name: "quit",
        summary: "Answer everything before, then close the connection.",
        since: "1.0.0",
        complexity: "O(1)",
        group: Group::Connection,
        waits: Waits::Never,
        arity: Arity::AtLeast(1),
        flags: HANDSHAKE.with(flags::WHILE_LISTENING),
        in_multi: InMulti::Runs,
        run: quit,
        ..ROW
    },
    ServerRow {
        name: "reset",
        summary: "Give the connection the state of a new one.",
        since: "6.2.0",
        complexity: "O(1)",
        group: Group::Connection,
        waits: Waits::Never,
        arity: Arity::Exactly(1),
        flags: HANDSHAKE.with(flags::WHILE_LISTENING),
        in_multi: InMulti::Runs,
        run: reset,
        ..ROW
    },
    ServerRow {
        name: "hello",
        syntax: "[protover [AUTH username password] [SETNAME clientname]]",
        summary: "Introduce server and client, and agree on a protocol version.",
        since: "6.0.0",
        complexity: "O(1)",
        group: Group::Connection,
        waits: Waits::Never,
        arity: Arity::AtLeast(1),
        flags: HANDSHAKE,
        history: &[("6.2.0", "Without a version, only tells of the connection.")],
        run: hello,
        ..ROW
    },
    ServerRow {
        name: "auth",
        syntax: "[username] password",
        summary: "Prove who the client is.",
        since: "1.0.0",
        complexity: "O(N) where N is the number of passwords of the user.",
        group: Group::Connection,
        waits: Waits::Never,
        arity: Arity::AtLeast(2),
        flags: HANDSHAKE,
        history: &[("6.0.0", "Takes a user name.")],
        run: auth,
        ..ROW
    },
];

fn ping(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    match args.len() {
        1 | 2 if ctx.session().listens && ctx.session().protocol == Protocol::Resp2 => {
            let mut reply = ctx.reply();
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(args.get(1).unwrap_or_default());
        }
        1 => ctx.reply().simple("PONG"),
        2 => ctx.reply().bulk(&args[1]),
        _ => return Err(CommandError::WrongArity("ping".into())),
    }
    Ok(Flow::Done)
}

fn echo(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    ctx.reply().bulk(&args[1]);
    Ok(Flow::Done)
}

fn select(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let index = parse_i64(&args[1]).ok_or(CommandError::NotAnInteger)?;
    if i32::try_from(index).is_err() {
        return Err(CommandError::Static(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    }
    let databases = ctx.core.config.server.databases;
    let index = u16::try_from(index).ok().filter(|index| *index < databases);
    ctx.session().db = DbIndex(index.ok_or(CommandError::DbOutOfRange)?);
    ctx.reply().ok();
    Ok(Flow::Done)
}

fn quit(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    ctx.reply().ok();
    ctx.connection().phase = Phase::Closing;
    Ok(Flow::Done)
}

/// The library's name stays, as in Redis.
fn reset(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    let open = ctx.core.config.network.requirepass.is_empty();
    ctx.core.discard(ctx.key);
    ctx.core.stop_listening(ctx.key);
    tracking::untrack(ctx.core, ctx.key);
    monitor::end(ctx.core, ctx.key);
    let session = ctx.session();
    session.db = DbIndex(0);
    session.protocol = Protocol::Resp2;
    session.authenticated = open;
    session.name = Box::default();
    // A SKIP is about this very reply, and holds.
    session.muted.off = false;
    session.no_evict = false;
    session.no_touch = false;
    ctx.reply().simple("RESET");
    Ok(Flow::Done)
}

const WRONG_PASSWORD: CommandError =
    CommandError::Static("WRONGPASS invalid username-password pair or user is disabled.");

/// Whether this is the only user there is, with its password.
fn is_default_user(ctx: &Context<'_>, user: &[u8], password: &[u8]) -> bool {
    let wanted = &ctx.core.config.network.requirepass;
    user == b"default" && (wanted.is_empty() || same(wanted, password))
}

/// Compares in a time that does not tell how much of a guess is right.
fn same(wanted: &[u8], given: &[u8]) -> bool {
    let differences = wanted
        .iter()
        .zip(given)
        .fold(0, |all, (left, right)| all | (left ^ right));
    wanted.len() == given.len() && std::hint::black_box(differences) == 0
}

fn auth(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() <= 3 {
        (1..args.len()).for_each(|at| ctx.redact(at));
    }
    let (user, password): (&[u8], _) = match args.len() {
        2 if ctx.core.config.network.requirepass.is_empty() => {
            return Err(CommandError::Static(
                "ERR AUTH <password> called without any password configured for the default \
                 user. Are you sure your configuration is correct?",
            ));
        }
        2 => (b"default", &args[1]),
        3 => (&args[1], &args[2]),
        _ => return Err(CommandError::Syntax),
    };
    if !is_default_user(ctx, user, password) {
        ctx.core.stats.denied += 1;
        return Err(WRONG_PASSWORD);
    }
    ctx.session().authenticated = true;
    ctx.reply().ok();
    Ok(Flow::Done)
}

/// What HELLO was asked for.
#[derive(Default)]
struct Hello<'a> {
    protocol: Option<Protocol>,
    user: Option<(&'a [u8], &'a [u8])>,
    name: Option<&'a [u8]>,
}

fn parse_hello(args: Args<'_>) -> Result<Hello<'_>, CommandError> {
    let mut hello = Hello::default();
    let Some(version) = args.get(1) else {
        return Ok(hello);
    };
    hello.protocol = Some(match parse_i64(version) {
        Some(2) => Protocol::Resp2,
        Some(3) => Protocol::Resp3,
        Some(_) => return Err(CommandError::Static("NOPROTO unsupported protocol version")),
        None => {
            return Err(CommandError::Static(
                "ERR Protocol version is not an integer or out of range",
            ));
        }
    });
    let mut rest = args.iter().skip(2);
    while let Some(option) = rest.next() {
        if option.eq_ignore_ascii_case(b"auth") && rest.len() >= 2 {
            hello.user = rest.next().zip(rest.next());
        } else if option.eq_ignore_ascii_case(b"setname") && rest.len() >= 1 {
            hello.name = rest.next();
            if !hello.name.is_none_or(is_printable) {
                return Err(BAD_NAME);
            }
        } else {
            return Err(CommandError::quoting(
                "ERR Syntax error in HELLO option '",
                option,
                "'",
            ));
        }
    }
    Ok(hello)
}

/// Name and password behind AUTH.
fn redact_hello(ctx: &mut Context<'_>, args: Args<'_>) {
    let mut at = 2;
    while at < args.len() {
        if args[at].eq_ignore_ascii_case(b"auth") && at + 2 < args.len() {
            ctx.redact(at + 1);
            ctx.redact(at + 2);
            at += 1;
        }
        at += 2;
    }
}

fn hello(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    redact_hello(ctx, args);
    let hello = parse_hello(args)?;
    if let Some((user, password)) = hello.user {
        if !is_default_user(ctx, user, password) {
            ctx.core.stats.denied += 1;
            return Err(WRONG_PASSWORD);
        }
        ctx.session().authenticated = true;
    }
    let session = ctx.session();
    if !session.authenticated {
        return Err(CommandError::Static(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the \
             HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and \
             select the RESP protocol version at the same time",
        ));
    }
    if let Some(name) = hello.name {
        session.name = name.into();
    }
    if let Some(protocol) = hello.protocol {
        session.protocol = protocol;
    }
    let id = session.id as i64;
    let version = match session.protocol {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    };
    let mut reply = ctx.reply();
    reply.map(7);
    for (name, value) in [("server", "redis"), ("version", REDIS_VERSION)] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    for (name, value) in [("proto", version), ("id", id)] {
        reply.bulk(name.as_bytes());
        reply.integer(value);
    }
    for (name, value) in [("mode", "standalone"), ("role", "master")] {
        reply.bulk(name.as_bytes());
        reply.bulk(value.as_bytes());
    }
    reply.bulk(b"modules");
    reply.array(0);
    Ok(Flow::Done)
}
