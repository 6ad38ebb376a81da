//! DEBUG: for test suites. What has no meaning here answers like a subcommand
//! that does not exist.

use super::{Context, Flow, ROW, ServerRow, dumps, ok};
use crate::config;
use crate::core::{Answer, Core, Question, ReloadOptions, Whom};
use crate::snapshots::{CONDUCTOR, reload};
use shards::command::{Args, Arity, Group, digest, flags};
use shards::resp::Protocol;
use shards::{CommandError, DbIndex, Request, Slices};
use std::time::Duration;

pub static COMMANDS: &[ServerRow] = &[ServerRow {
    name: "debug",
    syntax: "subcommand [argument [argument ...]]",
    summary: "For tests: look inside, or have the server misbehave.",
    since: "1.0.0",
    complexity: "Depends on subcommand.",
    group: Group::Server,
    arity: Arity::AtLeast(2),
    flags: flags::ADMIN
        .with(flags::NOSCRIPT)
        .with(flags::LOADING)
        .with(flags::STALE),
    is_system: true,
    run: debug,
    ..ROW
}];

/// A subcommand: its name, the number of its arguments, its function.
struct Sub {
    name: &'static str,
    args: usize,
    run: super::Handler,
}

/// Any number of arguments.
const ANY: usize = usize::MAX;

static SUBCOMMANDS: &[Sub] = &[
    Sub {
        name: "help",
        args: 0,
        run: help,
    },
    Sub {
        name: "digest",
        args: 0,
        run: |_, _| Ok(Flow::Engine(&digest::DIGEST)),
    },
    Sub {
        name: "digest-value",
        args: ANY,
        run: |_, _| Ok(Flow::Engine(&digest::DIGEST_VALUE)),
    },
    Sub {
        name: "sleep",
        args: 1,
        run: sleep,
    },
    Sub {
        name: "object",
        args: 1,
        run: object,
    },
    Sub {
        name: "set-active-expire",
        args: 1,
        run: set_active_expire,
    },
    Sub {
        name: "slices",
        args: 2,
        run: slices,
    },
    Sub {
        name: "quicklist-packed-threshold",
        args: 1,
        run: packed_threshold,
    },
    Sub {
        name: "error",
        args: 1,
        run: |_, args| Err(CommandError::Owned(args[2].into())),
    },
    Sub {
        name: "log",
        args: 1,
        run: log,
    },
    Sub {
        name: "protocol",
        args: 1,
        run: protocol,
    },
    Sub {
        name: "change-repl-id",
        args: 0,
        run: |_, _| {
            Err(CommandError::Static(
                "ERR Replication is not available in this server",
            ))
        },
    },
    Sub {
        name: "reload",
        args: ANY,
        run: reload,
    },
    Sub {
        name: "loadaof",
        args: 0,
        run: |_, _| {
            Err(CommandError::Static(
                "ERR The append-only log is not available in this server",
            ))
        },
    },
];

fn debug(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let local = ctx.is_local();
    if !ctx
        .core
        .config
        .protection
        .enable_debug_command
        .permits(local)
    {
        return Err(CommandError::Static(
            "ERR DEBUG command not allowed. If the enable-debug-command option is set to \
             \"local\", you can run it from a local connection, otherwise you need to set this \
             option in the configuration file, and then restart the server.",
        ));
    }
    let named = |sub: &&Sub| {
        args[1].eq_ignore_ascii_case(sub.name.as_bytes())
            && (sub.args == ANY || args.len() == sub.args + 2)
    };
    match SUBCOMMANDS.iter().find(named) {
        Some(sub) => (sub.run)(ctx, args),
        None => Err(CommandError::unfit_subcommand(&args[1], "DEBUG")),
    }
}

fn help(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    const HELP: &[&str] = &[
        "DIGEST",
        "    Output a hex signature representing the current DB content.",
        "DIGEST-VALUE <key> [<key> ...]",
        "    Output a hex signature of the values of all the specified keys.",
        "ERROR <string>",
        "    Return a Redis protocol error with <string> as message. Useful for clients",
        "    unit tests to simulate Redis errors.",
        "LOG <message>",
        "    Write <message> to the server log.",
        "OBJECT <key>",
        "    Show low level info about `key` and associated value.",
        "PROTOCOL <type>",
        "    Reply with a test value of the specified type. <type> can be: string,",
        "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
        "    true, false.",
        "QUICKLIST-PACKED-THRESHOLD <size>",
        "    Checks the size and does nothing: no encoding depends on it here.",
        "RELOAD [option ...]",
        "    Save the RDB on disk and reload it back to memory. Valid <option> values:",
        "    * MERGE: conflicting keys will be loaded from RDB.",
        "    * NOFLUSH: the existing database will not be removed before load, but",
        "      conflicting keys end the load with an error.",
        "    * NOSAVE: the database will be loaded from an existing RDB file.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    Setting it to 0 disables expiring keys in background when they are not",
        "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
        "    default.",
        "SLICES <above> <step>",
        "    Work in slices of <step> elements if there are more than <above>.",
        "SLEEP <seconds>",
        "    Stop the server for <seconds>. Decimals allowed.",
    ];
    ctx.help("DEBUG", HELP);
    Ok(Flow::Done)
}

fn reload(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut options = ReloadOptions {
        save: true,
        flush: true,
        merge: false,
    };
    for word in args.iter().skip(2) {
        let word_is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if word_is("merge") => options.merge = true,
            () if word_is("noflush") => options.flush = false,
            () if word_is("nosave") => options.save = false,
            () => {
                return Err(CommandError::Static(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    if ctx.connection().runs_block {
        // It waits for all that is under way.
        return Err(CommandError::Static(
            "ERR DEBUG RELOAD is not allowed inside MULTI",
        ));
    }
    let reload = Question::begin(move |core, asked| reload::ask(core, options, asked));
    Ok(Flow::ask(
        reload,
        Whom::These(vec![CONDUCTOR]),
        dumps::reply,
    ))
}

fn sleep(_: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    // As in Redis, what is no number is no time.
    let seconds = std::str::from_utf8(&args[2])
        .ok()
        .and_then(|text| text.parse().ok());
    let duration = Duration::try_from_secs_f64(seconds.unwrap_or(0.0)).unwrap_or_default();
    Ok(Flow::ask_all(
        move |_| {
            std::thread::sleep(duration);
            Answer::Done
        },
        ok,
    ))
}

/// What is no number is zero.
fn set_active_expire(_: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let active = shards::parse_i64(&args[2]).is_some_and(|number| number != 0);
    Ok(Flow::ask_all(
        move |core| {
            core.active_expire = active;
            Answer::Done
        },
        ok,
    ))
}

fn slices(_: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let number = |at: usize| shards::parse_i64(&args[at]).and_then(|it| usize::try_from(it).ok());
    let (Some(above), Some(step @ 1..)) = (number(2), number(3)) else {
        return Err(CommandError::NotPositive);
    };
    Ok(Flow::ask_all(
        move |core| {
            core.node.shard_mut().settings.slices = Slices { above, step };
            Answer::Done
        },
        ok,
    ))
}

fn packed_threshold(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    const MAX: u64 = 4 << 30;
    if config::parse_memory(&args[2]).is_none_or(|bytes| bytes > MAX) {
        return Err(CommandError::Static(
            "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
        ));
    }
    ctx.reply().ok();
    Ok(Flow::Done)
}

fn log(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    tracing::warn!(message = %String::from_utf8_lossy(&args[2]).escape_debug(), "DEBUG LOG");
    ctx.reply().ok();
    Ok(Flow::Done)
}

fn object(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let (db, key) = (ctx.session().db, Box::<[u8]>::from(&args[2]));
    // Nobody else knows the key.
    let owner = ctx.core.node.owner(&key);
    let question = Question::of(move |core| object_here(core, db, &key));
    Ok(Flow::ask(question, Whom::These(vec![owner]), object_finish))
}

/// Only the owner of the key answers with a text: the reply as it stands.
fn object_finish(
    ctx: &mut Context<'_>,
    _: Args<'_>,
    answers: Vec<Answer>,
) -> Result<(), CommandError> {
    let text = answers.into_iter().find_map(|answer| match answer {
        Answer::Text(text) => Some(text),
        _ => None,
    });
    match text {
        Some(text) => ctx.out.extend_from_slice(&text),
        None => return Err(CommandError::NoSuchKey),
    }
    Ok(())
}

/// What this core knows of a key, if it is its own.
fn object_here(core: &mut Core, db: DbIndex, key: &[u8]) -> Answer {
    let words: [&[u8]; 3] = [b"DEBUG", b"OBJECT", key];
    let args = shards::command::OwnedArgs::new(words);
    let request = Request {
        db,
        no_touch: true,
        ..Request::new(shards::command::debug_object, args.args())
    };
    let mut reply = Vec::new();
    match core.node.shard_mut().apply(core.now, &request, &mut reply) {
        Ok(()) => Answer::Text(reply),
        Err(_) => Answer::Done,
    }
}

/// The types of PROTOCOL: as they are in RESP2 and in RESP3.
const TYPES: &[(&str, &str, &str)] = &[
    ("string", "$11\r\nHello World\r\n", "$11\r\nHello World\r\n"),
    ("integer", ":12345\r\n", ":12345\r\n"),
    ("double", "$5\r\n3.141\r\n", ",3.141\r\n"),
    (
        "bignum",
        "$37\r\n1234567999999999999999999999999999999\r\n",
        "(1234567999999999999999999999999999999\r\n",
    ),
    ("null", "$-1\r\n", "_\r\n"),
    (
        "array",
        "*3\r\n:0\r\n:1\r\n:2\r\n",
        "*3\r\n:0\r\n:1\r\n:2\r\n",
    ),
    (
        "set",
        "*3\r\n:0\r\n:1\r\n:2\r\n",
        "~3\r\n:0\r\n:1\r\n:2\r\n",
    ),
    (
        "map",
        "*6\r\n:0\r\n:0\r\n:1\r\n:1\r\n:2\r\n:0\r\n",
        "%3\r\n:0\r\n#f\r\n:1\r\n#t\r\n:2\r\n#f\r\n",
    ),
    (
        "attrib",
        "$39\r\nSome real reply following the attribute\r\n",
        "|1\r\n$14\r\nkey-popularity\r\n*2\r\n$7\r\nkey:123\r\n:90\r\n\
         $39\r\nSome real reply following the attribute\r\n",
    ),
    (
        "push",
        "-ERR RESP2 is not supported by this command\r\n",
        ">2\r\n$16\r\nserver-cpu-usage\r\n:42\r\n\
         $40\r\nSome real reply following the push reply\r\n",
    ),
    (
        "verbatim",
        "$25\r\nThis is a verbatim\nstring\r\n",
        "=29\r\ntxt:This is a verbatim\nstring\r\n",
    ),
    ("true", ":1\r\n", "#t\r\n"),
    ("false", ":0\r\n", "#f\r\n"),
];

fn protocol(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let named = |(name, _, _): &&(&str, &str, &str)| args[2].eq_ignore_ascii_case(name.as_bytes());
    let Some((_, resp2, resp3)) = TYPES.iter().find(named) else {
        return Err(CommandError::Static(
            "ERR Wrong protocol type name. Please use one of the following: \
             string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
        ));
    };
    let reply = match ctx.session().protocol {
        Protocol::Resp2 => resp2,
        Protocol::Resp3 => resp3,
    };
    ctx.out.extend_from_slice(reply.as_bytes());
    Ok(Flow::Done)
}
