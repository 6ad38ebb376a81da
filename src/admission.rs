//! Whether a command may run: what each passes before it runs or is queued by MULTI,
//! whoever asks for it.
//!
//! Nothing here knows where a request came from: [`admit`] is given who asks (a session),
//! the row that was found and the arguments, and it changes nothing. A refusal is an
//! error like any other; what it does to an open MULTI is `transaction::refused`'s.
//!
//! The order is that of Redis, because a client sees which refusal comes first. Checks
//! of features that are not there yet have their place in it:
//!
//! | | refusal | reads of the row | reads else |
//! |---|---|---|---|
//! | 1 | unknown command or subcommand | `subcommands` | |
//! | 2 | wrong number of arguments | `arity` | |
//! | | *not by whom configuration allows it* | PROTECTED | configuration, the session's address |
//! | 3 | NOAUTH | NO_AUTH | configuration, session |
//! | 4 | not inside a transaction | NO_MULTI | session |
//! | | *NOPERM (ACL)* | categories, `keys` | the session's user |
//! | | *MOVED (cluster)* | `keys` | who owns the slot |
//! | | *OOM* | DENYOOM; of EXEC, its commands' | memory of the core |
//! | 5 | MISCONF | WRITE, NEEDS_DISK; of EXEC, its commands' | `Hindrances` |
//! | | *NOREPLICAS, READONLY* | WRITE | replicas, role |
//! | 6 | only (P\|S)SUBSCRIBE and the like | WHILE_LISTENING | session |
//! | | *MASTERDOWN* | STALE | the link to the primary |
//! | 7 | LOADING | LOADING; of EXEC, its commands' | `Hindrances` |
//! | | *BUSY* | ALLOW_BUSY | whether a script runs too long |
//! | | *not from a script* | NOSCRIPT, NO_MULTI | who asks |
//!
//! DEBUG, the one command that is protected, asks for that itself. What an open MULTI
//! queues passes the same checks when it is queued; a pause (`ClientPause::holds`) refuses
//! nothing and comes after them.
//!
//! Single-key requests pass here, so a check that may refuse them is one look at a word
//! of `Core` that its feature keeps up to date.

use crate::commands::{AnyRow, transaction};
use crate::core::{Core, Hindrances};
use crate::session::Session;
use shards::command::{Args, flags};
use shards::resp::Protocol;
use shards::{CommandError, until_nul};

/// Why a command may not run.
pub struct Refused {
    /// The row that was found, which counts it.
    pub row: Option<&'static AnyRow>,
    pub error: CommandError,
}

impl Refused {
    #[cold]
    fn new(command: &'static AnyRow, error: CommandError) -> Self {
        let row = Some(command);
        Self { row, error }
    }

    #[cold]
    fn by(command: &'static AnyRow, text: &'static str) -> Self {
        Self::new(command, CommandError::Static(text))
    }
}

/// Makes all checks; what comes back is the row to run: of a container, that of the
/// subcommand.
///
/// # Errors
/// The first that refuses.
#[inline]
pub fn admit(
    core: &Core,
    session: &Session,
    found: Option<&'static AnyRow>,
    args: Args<'_>,
) -> Result<&'static AnyRow, Refused> {
    let Some(found) = found else {
        let error = unknown_command(args);
        return Err(Refused { row: None, error });
    };
    let command = with_subcommand(found, args)?;
    if !command.arity.accepts(args.len()) {
        let error = CommandError::WrongArity(command.full_name.to_owned());
        return Err(Refused::new(command, error));
    }
    if !is_somebody(core, session) && !command.flags.has(flags::NO_AUTH) {
        return Err(Refused::by(command, "NOAUTH Authentication required."));
    }
    if session.queue.is_some() && command.flags.has(flags::NO_MULTI) {
        let text = "ERR Command not allowed inside a transaction";
        return Err(Refused::by(command, text));
    }
    if session.listens
        && session.protocol == Protocol::Resp2
        && !command.flags.has(flags::WHILE_LISTENING)
    {
        return Err(Refused::new(command, only_listens(command)));
    }
    if core.hindrances != Hindrances::NONE
        && let Some(text) = hindered(core.hindrances, session, command)
    {
        return Err(Refused::by(command, text));
    }
    Ok(command)
}

/// A client that listens in RESP2 could not tell a reply from a message.
#[cold]
fn only_listens(command: &AnyRow) -> CommandError {
    let text = format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
         allowed in this context",
        command.full_name
    );
    CommandError::Owned(text.into_bytes().into())
}

/// Why a command cannot be run at this time.
#[cold]
fn hindered(
    hindrances: Hindrances,
    session: &Session,
    command: &'static AnyRow,
) -> Option<&'static str> {
    let any = |is_meant: fn(&AnyRow) -> bool| {
        is_meant(command) || transaction::queued(session, command).any(is_meant)
    };
    let needs_disk = command.flags.has(flags::NEEDS_DISK);
    if hindrances.disk && (needs_disk || any(|row| row.flags.has(flags::WRITE))) {
        return Some(
            "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to \
             persist to disk. Commands that may modify the data set are disabled, because this \
             instance is configured to report errors during writes if RDB snapshotting fails \
             (stop-writes-on-bgsave-error option). Please check the Redis logs for details about \
             the RDB error.",
        );
    }
    if hindrances.loading && any(|row| !row.flags.has(flags::LOADING)) {
        return Some("LOADING Redis is loading the dataset in memory");
    }
    None
}

/// Whether the client is somebody, or need not be. Who has given no password is
/// served while there is none, and no longer.
#[inline]
pub fn is_somebody(core: &Core, session: &Session) -> bool {
    session.authenticated || core.config.network.requirepass.is_empty()
}

/// The row of the subcommand, for a container that is given one.
#[inline]
fn with_subcommand(found: &'static AnyRow, args: Args<'_>) -> Result<&'static AnyRow, Refused> {
    match args.get(1) {
        Some(name) if !found.subcommands.is_empty() => found.subcommand(name).ok_or_else(|| {
            let error = unknown_subcommand(found.name, name);
            Refused::new(found, error)
        }),
        _ => Ok(found),
    }
}

/// Bytes of an unknown command's name and of its arguments that are echoed.
const ECHO_BYTES: usize = 128;

#[cold]
fn unknown_command(args: Args<'_>) -> CommandError {
    let shown = |bytes: &[u8], room: usize| {
        let bytes = until_nul(bytes);
        bytes[..bytes.len().min(room)].to_vec()
    };
    let mut words = Vec::new();
    for arg in args.iter().skip(1) {
        let Some(room @ 1..) = ECHO_BYTES.checked_sub(words.len()) else {
            break;
        };
        words.extend([b"'", shown(arg, room).as_slice(), b"' "].concat());
    }
    let parts: [&[u8]; 4] = [
        b"ERR unknown command '",
        &shown(&args[0], ECHO_BYTES),
        b"', with args beginning with: ",
        &words,
    ];
    CommandError::Owned(parts.concat().into())
}

#[cold]
fn unknown_subcommand(container: &str, name: &[u8]) -> CommandError {
    let help = container.to_ascii_uppercase();
    CommandError::quoting(
        "ERR unknown subcommand '",
        &name[..name.len().min(ECHO_BYTES)],
        &format!("'. Try {help} HELP."),
    )
}
