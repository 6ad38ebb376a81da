//! Running a command of the server, whoever asks for it: a request of a connection, or a
//! step of a block.
//!
//! The command's function says by a [`Flow`] what is to follow. That is done here, and
//! nowhere else; the [`Asker`] knows where the reply goes. What concerns the order of a
//! connection's requests is given back as [`Went`]: only requests have one.

use super::{Flow, ServerRow, pubsub};
use crate::core::{Asker, Context, Core, Inquiry, Question};
use crate::questions::gather;
use crate::runtime::ticks;
use shards::command::Args;
use shards::{CommandError, Row};

/// How it went with a command; of a step of a block, always [`Went::On`].
pub enum Went {
    /// It has its reply, or that comes by itself.
    On,
    /// The same, but until then the session is that of a block.
    Within,
    /// Nothing was done: ask again when all earlier replies are in.
    Later,
    /// Nothing was done: ask again in the next turn, which it has given the rest of this for.
    NextTurn,
    /// Nothing was done: this row of the engine is to be run in its place, on the
    /// arguments behind the command's name.
    Engine(&'static Row),
}

/// Runs a command of the server. Its reply goes to the asker, now or later.
pub fn run(core: &mut Core, asker: Asker, row: &'static ServerRow, args: Args<'_>) -> Went {
    let mut out = match asker.within {
        None => core.spare_buffers.take(),
        // It travels with what else the block has replied.
        Some(_) => Vec::new(),
    };
    core.secret.clear();
    core.lap = 0;
    let began = ticks::now();
    let mut ctx = Context {
        core,
        key: asker.key,
        out: &mut out,
    };
    let mut flow = (row.run)(&mut ctx, args);
    // What follows may note other commands, which have none.
    let secret = std::mem::take(&mut core.secret);
    if asker.within.is_some() {
        flow = flow.and_then(|flow| within_block(core, (asker, args), flow, &mut out));
    }
    let (mut tells, mut shown) = (false, false);
    if let Ok(Flow::Publish(kind)) = flow {
        shown = asker.within.is_some() && show(core, asker, args, &secret);
        flow = pubsub::publish(core, asker, kind, args, &mut out);
    }
    let has_reply = match flow {
        Ok(Flow::Done) => true,
        Ok(Flow::Told | Flow::Publish(_)) => {
            tells = true;
            true
        }
        Ok(Flow::Ask(ask)) => {
            // A block may go on, or end, before all of this returns.
            shown = show(core, asker, args, &secret);
            gather::ask(core, asker, ask, args);
            false
        }
        Ok(Flow::Wait(job, finish)) => {
            shown = show(core, asker, args, &secret);
            gather::wait(core, asker, job, finish, args);
            false
        }
        Ok(
            flow @ (Flow::Engine(_) | Flow::Pending | Flow::Block | Flow::Later | Flow::NextTurn),
        ) => {
            core.spare_buffers.keep(out);
            if matches!(flow, Flow::Pending) && !shown {
                show(core, asker, args, &secret);
            }
            return match flow {
                Flow::Engine(row) => Went::Engine(row),
                Flow::Block => Went::Within,
                Flow::Later => Went::Later,
                Flow::NextTurn => Went::NextTurn,
                _ => Went::On,
            };
        }
        Err(error) => {
            core.server_command_failed(asker, &error, &mut out);
            true
        }
    };
    ran(core, asker, began, (secret, shown), args);
    if has_reply {
        core.reply_now(asker, out);
        if tells {
            core.tell();
        }
    } else {
        core.spare_buffers.keep(out);
    }
    Went::On
}

/// Shows a command to those who monitor, if anybody does; that it was looked for.
fn show(core: &mut Core, asker: Asker, args: Args<'_>, secret: &[usize]) -> bool {
    if core.has_detours {
        core.monitor((asker.key, asker.id), asker.row, args, secret);
    }
    true
}

/// What a command may have follow within a block, whose reply is one.
fn within_block(
    core: &mut Core,
    (asker, args): (Asker, Args<'_>),
    flow: Flow,
    out: &mut Vec<u8>,
) -> Result<Flow, CommandError> {
    match flow {
        Flow::Done | Flow::Wait(..) | Flow::Told | Flow::Publish(_) => Ok(flow),
        Flow::Ask(Inquiry {
            question: question @ Question::Pause(_),
            finish,
            ..
        }) => {
            // What it waits for may wait for locks of this block.
            gather::before_reply(core, asker, question);
            let mut ctx = Context {
                core,
                key: asker.key,
                out,
            };
            finish(&mut ctx, args, Vec::new())?;
            Ok(Flow::Done)
        }
        Flow::Ask(..) => Ok(flow),
        Flow::Engine(row) => {
            let text = format!("ERR {} is not allowed inside MULTI", row.name);
            Err(CommandError::Owned(text.into_bytes().into()))
        }
        // What concerns the order of requests runs at once although a MULTI is open.
        Flow::Pending | Flow::Block | Flow::Later | Flow::NextTurn => {
            debug_assert!(false, "it cannot be queued");
            Ok(Flow::Done)
        }
    }
}

/// Counts a command that began then and has done its work on this core; `secret` are
/// those of its arguments that no log may show. Monitors may have been `shown` it.
fn ran(
    core: &mut Core,
    asker: Asker,
    began: u64,
    (secret, shown): (Vec<usize>, bool),
    args: Args<'_>,
) {
    let took = ticks::now().saturating_sub(began);
    core.stats.ran(asker.row, ticks::to_ns(took));
    if took >= core.noteworthy_ticks {
        if !shown {
            show(core, asker, args, &secret);
        }
        core.secret = secret;
        core.note(asker.key, asker.id, asker.row, took, args);
    }
}
