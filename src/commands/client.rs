//! CLIENT: who is connected, and how a connection wants to be treated.
//!
//! Every core knows its own clients only. LIST and KILL ask all of them; a
//! client is described by the core that serves it.

use super::{Context, Flow, ServerRow, pause, registry, tracking};
use crate::core::{Answer, Core};
use crate::runtime::ring::BUFFER_BYTES;
use crate::session::connection::{Connection, Phase};
use crate::session::tracking::{Mode, Tracking};
use crate::session::{ClientFilter, Monitoring};
use shards::command::{Args, Arity, Flags, Group, Waits, flags};
use shards::pubsub::Kind;
use shards::resp::Protocol;
use shards::{CommandError, UnixMs, parse_i64};
use std::fmt::Write;
use std::os::fd::AsRawFd;

const PLAIN: Flags = flags::NOSCRIPT
    .with(flags::LOADING)
    .with(flags::STALE)
    .with(flags::KEEPS_CACHING);
const ADMIN: Flags = PLAIN.with(flags::ADMIN);

pub static COMMANDS: &[ServerRow] = &[ServerRow {
    name: "client",
    summary: "A container for commands about client connections.",
    since: "2.4.0",
    complexity: "Depends on subcommand.",
    group: Group::Connection,
    arity: Arity::AtLeast(2),
    flags: flags::NONE,
    subcommands: SUBCOMMANDS,
    ..ROW
}];

/// What the rows below have in common.
const ROW: ServerRow = ServerRow {
    complexity: "O(1)",
    group: Group::Connection,
    waits: Waits::Never,
    arity: Arity::Exactly(2),
    flags: PLAIN,
    ..super::ROW
};

static SUBCOMMANDS: &[ServerRow] = &[
    ServerRow {
        name: "client|id",
        summary: "The number of this connection.",
        since: "5.0.0",
        run: id,
        ..ROW
    },
    ServerRow {
        name: "client|getname",
        summary: "The name of this connection.",
        since: "2.6.9",
        run: getname,
        ..ROW
    },
    ServerRow {
        name: "client|setname",
        syntax: "connection-name",
        summary: "Name this connection.",
        since: "2.6.9",
        arity: Arity::Exactly(3),
        run: setname,
        ..ROW
    },
    ServerRow {
        name: "client|setinfo",
        syntax: "<LIB-NAME libname | LIB-VER libver>",
        summary: "Say which library this client uses.",
        since: "7.2.0",
        arity: Arity::Exactly(4),
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        run: setinfo,
        ..ROW
    },
    ServerRow {
        name: "client|info",
        summary: "Describe this connection.",
        since: "6.2.0",
        tips: &["nondeterministic_output"],
        run: info,
        ..ROW
    },
    ServerRow {
        name: "client|list",
        syntax: "[TYPE <NORMAL | MASTER | REPLICA | PUBSUB>] [ID client-id [client-id ...]]",
        summary: "Describe the connections.",
        since: "2.4.0",
        complexity: "O(N) where N is the number of client connections.",
        arity: Arity::AtLeast(2),
        flags: ADMIN,
        waits: Waits::ForEarlier,
        tips: &["nondeterministic_output"],
        history: &[
            ("2.8.12", "Shows `id`."),
            ("5.0.0", "Takes `TYPE`."),
            ("6.0.0", "Shows `user`."),
            (
                "6.2.0",
                "Takes `ID`; shows `argv-mem`, `tot-mem`, `laddr` and `redir`.",
            ),
            ("7.0.0", "Shows `resp`, `multi-mem`, `rbs` and `rbp`."),
            ("7.0.3", "Shows `ssub`."),
        ],
        run: list,
        ..ROW
    },
    ServerRow {
        name: "client|kill",
        syntax: "<ip:port | [ID client-id] [TYPE <NORMAL | MASTER | SLAVE | REPLICA | PUBSUB>] \
                 [USER username] [ADDR ip:port] [LADDR ip:port] [SKIPME <YES | NO>]>",
        summary: "Close connections.",
        since: "2.4.0",
        complexity: "O(N) where N is the number of client connections.",
        arity: Arity::AtLeast(3),
        flags: ADMIN,
        waits: Waits::ForEarlier,
        history: &[
            ("2.8.12", "Takes filters."),
            ("2.8.12", "Has the filter `ID`."),
            ("3.2.0", "Has the `TYPE` `master`."),
            ("5.0.0", "Calls the `TYPE` `slave` `replica`, too."),
            ("6.2.0", "Has the filter `LADDR`."),
        ],
        run: kill,
        ..ROW
    },
    ServerRow {
        name: "client|pause",
        syntax: "timeout [WRITE | ALL]",
        summary: "Have clients wait for a time.",
        since: "2.9.50",
        arity: Arity::AtLeast(3),
        flags: ADMIN,
        waits: Waits::ForEarlier,
        history: &[("6.2.0", "Takes `WRITE` and `ALL`.")],
        run: pause::pause,
        ..ROW
    },
    ServerRow {
        name: "client|unpause",
        summary: "Let clients go on that a pause holds up.",
        since: "6.2.0",
        complexity: "O(N) Where N is the number of paused clients",
        flags: ADMIN,
        waits: Waits::ForEarlier,
        run: pause::unpause,
        ..ROW
    },
    ServerRow {
        name: "client|unblock",
        syntax: "client-id [TIMEOUT | ERROR]",
        summary: "End the waiting of a client in a blocking command.",
        since: "5.0.0",
        complexity: "O(log N) where N is the number of client connections",
        arity: Arity::AtLeast(3),
        flags: ADMIN,
        waits: Waits::ForEarlier,
        run: pause::unblock,
        ..ROW
    },
    ServerRow {
        name: "client|tracking",
        syntax: "<ON | OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] \
                 [OPTIN] [OPTOUT] [NOLOOP]",
        summary: "Tell this connection when keys change of which it keeps copies, or no more.",
        since: "6.0.0",
        complexity: "O(1). Some options may introduce additional complexity.",
        arity: Arity::AtLeast(3),
        run: tracking::tracking,
        ..ROW
    },
    ServerRow {
        name: "client|trackinginfo",
        summary: "The state of client-side caching on this connection.",
        since: "6.2.0",
        run: tracking::trackinginfo,
        ..ROW
    },
    ServerRow {
        name: "client|caching",
        syntax: "<YES | NO>",
        summary: "Whether client-side caching minds the keys of the next request.",
        since: "6.0.0",
        arity: Arity::Exactly(3),
        run: tracking::caching,
        ..ROW
    },
    ServerRow {
        name: "client|getredir",
        summary: "The client that is told of changes for client-side caching.",
        since: "6.0.0",
        run: tracking::getredir,
        ..ROW
    },
    ServerRow {
        name: "client|reply",
        syntax: "<ON | OFF | SKIP>",
        summary: "Say whether to reply to commands.",
        since: "3.2.0",
        arity: Arity::Exactly(3),
        run: reply,
        ..ROW
    },
    ServerRow {
        name: "client|no-evict",
        syntax: "<ON | OFF>",
        summary: "Spare this connection when memory for clients is short.",
        since: "7.0.0",
        arity: Arity::Exactly(3),
        flags: ADMIN,
        waits: Waits::ForEarlier,
        run: no_evict,
        ..ROW
    },
    ServerRow {
        name: "client|no-touch",
        syntax: "<ON | OFF>",
        summary: "Leave access times alone when this connection reads.",
        since: "7.2.0",
        arity: Arity::Exactly(3),
        run: no_touch,
        ..ROW
    },
    ServerRow {
        name: "client|help",
        summary: "Describe the subcommands.",
        since: "5.0.0",
        flags: flags::LOADING.with(flags::STALE).with(flags::KEEPS_CACHING),
        run: help,
        ..ROW
    },
];

const HELP: &[&str] = &[
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "    * ID id [id...]",
    "      Return clients of specified IDs only.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
];

pub const BAD_NAME: CommandError =
    CommandError::Static("ERR Client names cannot contain spaces, newlines or special characters.");

/// Names are shown in lists of words, so they have no spaces.
pub fn is_printable(name: &[u8]) -> bool {
    name.iter().all(u8::is_ascii_graphic)
}

fn help(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    ctx.help("CLIENT", HELP);
    Ok(Flow::Done)
}

fn id(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    let id = ctx.session().id as i64;
    ctx.reply().integer(id);
    Ok(Flow::Done)
}

fn getname(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    let name = ctx.session().name.clone();
    match name.is_empty() {
        true => ctx.reply().null(),
        false => ctx.reply().bulk(&name),
    }
    Ok(Flow::Done)
}

fn setname(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    if !is_printable(&args[2]) {
        return Err(BAD_NAME);
    }
    ctx.session().name = args[2].into();
    ctx.reply().ok();
    Ok(Flow::Done)
}

fn setinfo(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let [_, option, value] = args.exactly()?;
    let session = ctx.session();
    let target = if option.eq_ignore_ascii_case(b"lib-name") {
        &mut session.lib_name
    } else if option.eq_ignore_ascii_case(b"lib-ver") {
        &mut session.lib_version
    } else {
        return Err(CommandError::quoting(
            "ERR Unrecognized option '",
            option,
            "'",
        ));
    };
    if !is_printable(value) {
        let text = " cannot contain spaces, newlines or special characters.";
        return Err(CommandError::quoting("ERR ", option, text));
    }
    *target = value.into();
    ctx.reply().ok();
    Ok(Flow::Done)
}

fn info(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let running = running(ctx, args);
    let connection = &ctx.core.connections[ctx.key as usize];
    let topics = topics(ctx.core, ctx.key);
    let line = describe(connection, topics, ctx.core.now, running);
    ctx.reply().verbatim("txt", &line);
    Ok(Flow::Done)
}

fn reply(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let [_, mode] = args.exactly()?;
    let muted = &mut ctx.session().muted;
    if mode.eq_ignore_ascii_case(b"on") {
        // What SKIP has announced in the same block stays announced.
        (muted.off, muted.this) = (false, false);
        ctx.reply().ok();
    } else if mode.eq_ignore_ascii_case(b"off") {
        muted.off = true;
    } else if !mode.eq_ignore_ascii_case(b"skip") {
        return Err(CommandError::Syntax);
    } else if !muted.off {
        muted.next = true;
    }
    Ok(Flow::Done)
}

/// ON or OFF.
fn switch(word: &[u8]) -> Result<bool, CommandError> {
    let on = word.eq_ignore_ascii_case(b"on");
    if on || word.eq_ignore_ascii_case(b"off") {
        return Ok(on);
    }
    Err(CommandError::Syntax)
}

fn no_evict(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    ctx.session().no_evict = switch(&args[2])?;
    ctx.reply().ok();
    Ok(Flow::Done)
}

fn no_touch(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    ctx.session().no_touch = switch(&args[2])?;
    ctx.reply().ok();
    Ok(Flow::Done)
}

/// The client whose command is being executed.
#[derive(Clone, Copy, Debug)]
struct Running {
    client: u64,
    /// Bytes of the request as it was received, and of its arguments.
    request_bytes: usize,
    args_bytes: usize,
}

/// Who calls, and with what.
fn running(ctx: &mut Context<'_>, args: Args<'_>) -> Running {
    let digits = |number: usize| number.to_string().len();
    let args_bytes = args.iter().map(<[u8]>::len).sum();
    // A letter and a line end each; behind a text another line end.
    let frames = args.iter().map(|arg| 5 + digits(arg.len()));
    Running {
        client: ctx.session().id,
        request_bytes: 3 + digits(args.len()) + frames.sum::<usize>() + args_bytes,
        args_bytes,
    }
}

fn list(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut filter = ClientFilter::default();
    match args.get(2) {
        None => {}
        Some(word) if word.eq_ignore_ascii_case(b"type") && args.len() == 4 => {
            filter.set_type(&args[3])?;
        }
        Some(word) if word.eq_ignore_ascii_case(b"id") && args.len() > 3 => {
            let ids: Option<Vec<_>> = args.iter().skip(3).map(parse_i64).collect();
            filter.ids = Some(ids.ok_or(CommandError::Static("ERR Invalid client ID"))?);
        }
        Some(_) => return Err(CommandError::Syntax),
    }
    let running = running(ctx, args);
    Ok(Flow::ask_all(
        move |core| list_here(core, &filter, running),
        list_finish,
    ))
}

fn list_finish(
    ctx: &mut Context<'_>,
    _: Args<'_>,
    answers: Vec<Answer>,
) -> Result<(), CommandError> {
    let mut lines = Vec::new();
    for answer in &answers {
        if let Answer::Text(text) = answer {
            let text = std::str::from_utf8(text).expect("describe() writes text");
            lines.extend(text.lines());
        }
    }
    // In the order of connecting, as Redis lists them.
    let id =
        |line: &&str| -> Option<u64> { line.strip_prefix("id=")?.split(' ').next()?.parse().ok() };
    lines.sort_by_key(id);
    let mut text = String::new();
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    ctx.reply().verbatim("txt", &text);
    Ok(())
}

fn kill(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let mut filter = ClientFilter::default();
    if args.len() == 3 {
        filter.addr = Some(args[2].to_vec());
        return Ok(Flow::ask_all(
            move |core| kill_here(core, &filter),
            kill_one_finish,
        ));
    }
    let mut skip_me = true;
    let mut rest = args.iter().skip(2);
    while let Some(option) = rest.next() {
        let value = rest.next().ok_or(CommandError::Syntax)?;
        let option_is = |name: &str| option.eq_ignore_ascii_case(name.as_bytes());
        if option_is("id") {
            let id = parse_i64(value).filter(|id| *id > 0);
            let error = "ERR client-id should be greater than 0";
            filter.ids = Some(vec![id.ok_or(CommandError::Static(error))?]);
        } else if option_is("type") {
            filter.set_type(value)?;
        } else if option_is("addr") {
            filter.addr = Some(value.to_vec());
        } else if option_is("laddr") {
            filter.laddr = Some(value.to_vec());
        } else if option_is("user") {
            if value != b"default" {
                return Err(CommandError::quoting("ERR No such user '", value, "'"));
            }
        } else if option_is("skipme") {
            skip_me = value.eq_ignore_ascii_case(b"yes");
            if !skip_me && !value.eq_ignore_ascii_case(b"no") {
                return Err(CommandError::Syntax);
            }
        } else {
            return Err(CommandError::Syntax);
        }
    }
    filter.not = skip_me.then(|| ctx.session().id);
    Ok(Flow::ask_all(
        move |core| kill_here(core, &filter),
        super::sum,
    ))
}

fn kill_one_finish(
    ctx: &mut Context<'_>,
    _: Args<'_>,
    answers: Vec<Answer>,
) -> Result<(), CommandError> {
    if super::total(&answers) == 0 {
        return Err(CommandError::Static("ERR No such client"));
    }
    ctx.reply().ok();
    Ok(())
}

/// The lines of the matching clients of this core.
fn list_here(core: &Core, filter: &ClientFilter, running: Running) -> Answer {
    let mut text = String::new();
    for (key, connection) in &core.connections {
        if connection.is_listed() && filter.matches(&connection.session) {
            let topics = topics(core, key as u32);
            text.push_str(&describe(connection, topics, core.now, running));
        }
    }
    Answer::Text(text.into_bytes())
}

/// Closes the matching clients of this core. One that waits for a reply, the
/// one that asked among them, gets it first, unless it is closing already: then it
/// may never read what it is sent.
fn kill_here(core: &mut Core, filter: &ClientFilter) -> Answer {
    let meant = |connection: &Connection| {
        connection.phase != Phase::Closed && filter.matches(&connection.session)
    };
    let keys: Vec<usize> = core
        .connections
        .iter()
        .filter(|(_, connection)| meant(connection))
        .map(|(key, _)| key)
        .collect();
    for key in &keys {
        let connection = &mut core.connections[*key];
        if connection.phase == Phase::Open && connection.is_waiting() && !connection.is_unread() {
            connection.phase = Phase::Closing;
            connection.killed = true;
        } else {
            connection.close();
        }
        // Whoever is told of it counts them no more.
        core.stop_listening(*key as u32);
        core.mark_dirty(*key as u32);
    }
    Answer::Count(keys.len() as u64)
}

/// To how many channels, patterns and shard channels a client listens.
fn topics(core: &Core, key: u32) -> [usize; 3] {
    Kind::ALL.map(|kind| core.node.subscriptions().count(key, kind))
}

/// A client's line in CLIENT LIST.
fn describe(connection: &Connection, topics: [usize; 3], now: UnixMs, running: Running) -> String {
    let session = &connection.session;
    let seconds = |since: UnixMs| (now.0 - since.0).max(0) / 1000;
    let mut flags = String::new();
    let is = |what: fn(&Tracking) -> bool| session.tracking.as_deref().is_some_and(what);
    for (set, letter) in [
        // In Redis's order.
        (session.monitoring == Monitoring::Yes, 'O'),
        (session.listens, 'P'),
        (session.queue.is_some(), 'x'),
        (connection.is_blocked(), 'b'),
        (session.tracking.is_some(), 't'),
        (is(|it| it.broken), 'R'),
        (is(|it| it.mode == Mode::Broadcast), 'B'),
        (connection.phase == Phase::Closing, 'c'),
        (session.no_evict, 'e'),
        (session.no_touch, 'T'),
    ] {
        if set {
            flags.push(letter);
        }
    }
    if flags.is_empty() {
        flags.push('N');
    }
    let (input, output) = connection.buffer_bytes();
    let queued = connection.backlog();
    let command = session
        .last_command
        .map_or("NULL", |row| registry().name_of(row));
    let resp = match session.protocol {
        Protocol::Resp2 => 2,
        Protocol::Resp3 => 3,
    };
    let block = session.queue.as_ref().map(|queue| &queue.block);
    let multi = block.map_or(-1, |block| block.len() as i64);
    let multi_bytes = block.map_or(0, |block| block.bytes());
    // Its request lies in a buffer that it was received in, and nobody else's does.
    let runs = running.client == session.id;
    let (request, args, buffer) = match runs {
        true => (running.request_bytes, running.args_bytes, BUFFER_BYTES),
        false => (0, 0, 0),
    };
    let free = input.saturating_sub(queued) + buffer.saturating_sub(request);
    let mut line = format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={flags} db={} ",
        session.id,
        session.peer,
        session.local,
        connection.socket.as_raw_fd(),
        String::from_utf8_lossy(&session.name),
        seconds(session.connected_at),
        seconds(session.active_at),
        session.db.0,
    );
    writeln!(
        line,
        "sub={} psub={} ssub={} multi={multi} qbuf={} qbuf-free={free} argv-mem={args} \
         multi-mem={multi_bytes} rbs={output} \
         rbp=0 obl={output} oll=0 omem=0 tot-mem={} events=r cmd={command} user=default redir={} \
         resp={resp} lib-name={} lib-ver={}",
        topics[0],
        topics[1],
        topics[2],
        queued + request,
        size_of::<Connection>() + input + output + buffer,
        session.redirection(),
        String::from_utf8_lossy(&session.lib_name),
        String::from_utf8_lossy(&session.lib_version),
    )
    .expect("a string takes everything");
    line
}
