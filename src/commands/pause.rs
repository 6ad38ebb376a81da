//! CLIENT PAUSE, UNPAUSE and UNBLOCK: having clients wait, and ending that.
//!
//! A pause is heeded by every core on its own (`questions::pause`): requests that it
//! concerns stay in the input of their connection, which is not looked at until the
//! pause is over. What had begun before, blocks and requests that wait for locks
//! included, runs to its end, and then the pause is answered.

use super::{Context, Flow};
use crate::core::{Answer, ClientPause, Core, PausedBy, Question, Whom};
use shards::command::Args;
use shards::order::Unblock;
use shards::{CommandError, UnixMs, parse_i64};

/// Refuses more words than a subcommand takes.
fn too_many(args: Args<'_>) -> CommandError {
    CommandError::unfit_subcommand(&args[1], "CLIENT")
}

pub fn pause(ctx: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    if args.len() > 4 {
        return Err(too_many(args));
    }
    let all = match args.get(3) {
        None => true,
        Some(mode) if mode.eq_ignore_ascii_case(b"all") => true,
        Some(mode) if mode.eq_ignore_ascii_case(b"write") => false,
        Some(_) => {
            let text = "ERR CLIENT PAUSE mode must be WRITE or ALL";
            return Err(CommandError::Static(text));
        }
    };
    let timeout_ms = parse_i64(&args[2]).ok_or(CommandError::Static(
        "ERR timeout is not an integer or out of range",
    ))?;
    if timeout_ms < 0 {
        return Err(CommandError::Static("ERR timeout is negative"));
    }
    let until = ctx.core.now.0.checked_add(timeout_ms);
    let until = UnixMs(until.ok_or(CommandError::Static("ERR timeout is out of range"))?);
    Ok(Flow::ask(
        Question::Pause(ClientPause {
            by: PausedBy::Command,
            until,
            all,
        }),
        Whom::All,
        super::ok,
    ))
}

pub fn unpause(_: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    Ok(Flow::ask_all(unpause_here, super::ok))
}

fn unpause_here(core: &mut Core) -> Answer {
    core.end_pause(PausedBy::Command);
    Answer::Done
}

pub fn unblock(_: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    let how = match args.get(3) {
        _ if args.len() > 4 => return Err(too_many(args)),
        None => Unblock::Timeout,
        Some(how) if how.eq_ignore_ascii_case(b"timeout") => Unblock::Timeout,
        Some(how) if how.eq_ignore_ascii_case(b"error") => Unblock::Error,
        Some(_) => {
            let text = "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR";
            return Err(CommandError::Static(text));
        }
    };
    let id = parse_i64(&args[2]).ok_or(CommandError::NotAnInteger)?;
    Ok(Flow::ask_all(
        move |core| unblock_here(core, id, how),
        super::sum,
    ))
}

/// Ends the waiting of client `id`, if it is one of this core's and waits in a
/// blocking command. One that waits for the end of a pause does not count.
fn unblock_here(core: &mut Core, id: i64, how: Unblock) -> Answer {
    let meant = |session_id: u64| u64::try_from(id) == Ok(session_id);
    let found = core
        .connections
        .iter_mut()
        .find(|(_, connection)| meant(connection.session.id));
    let Some((key, connection)) = found else {
        return Answer::Count(0);
    };
    let Some((client, owner)) = connection.blocked(key as u32) else {
        return Answer::Count(0);
    };
    if !connection.is_blocked() {
        return Answer::Count(0);
    }
    connection.unblock();
    core.node.unblock(client, owner, how);
    core.deliver();
    Answer::Count(1)
}
