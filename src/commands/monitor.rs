//! MONITOR: be told of every command that the server runs. What is told and when is in
//! `core::monitor`.

use super::{Context, Flow, ROW, ServerRow};
use crate::core::{Answer, Core, Question, Whom};
use crate::questions::gather;
use crate::session::Monitoring;
use shards::CommandError;
use shards::command::{Args, Arity, Group, flags};
use shards::order::Client;

pub static COMMANDS: &[ServerRow] = &[ServerRow {
    name: "monitor",
    summary: "Be told of every command that the server runs.",
    since: "1.0.0",
    complexity: "O(1), and O(M) for each command with M monitors",
    group: Group::Server,
    arity: Arity::Exactly(1),
    flags: flags::ADMIN
        .with(flags::NOSCRIPT)
        .with(flags::LOADING)
        .with(flags::STALE),
    run: monitor,
    ..ROW
}];

/// Who monitors already is not answered, as in Redis.
fn monitor(ctx: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    if ctx.connection().runs_block {
        let text = "ERR MONITOR isn't allowed for DENY BLOCKING client";
        return Err(CommandError::Static(text));
    }
    if ctx.session().monitoring != Monitoring::No {
        return Ok(Flow::Done);
    }
    ctx.session().monitoring = Monitoring::Begins;
    Ok(Flow::ask_all(noting(ctx.core, ctx.key, true), begins))
}

/// All cores write lines. What has been told before the reply is nobody's.
fn begins(ctx: &mut Context<'_>, _: Args<'_>, _: Vec<Answer>) -> Result<(), CommandError> {
    ctx.session().monitoring = Monitoring::Yes;
    let connection = ctx.connection();
    connection.class = connection.session.class();
    ctx.reply().ok();
    Ok(())
}

/// A client is gone, or begins anew: it does not monitor any more.
pub fn end(core: &mut Core, key: u32) {
    let connection = &mut core.connections[key as usize];
    if connection.session.monitoring == Monitoring::No {
        return;
    }
    connection.session.monitoring = Monitoring::No;
    connection.class = connection.session.class();
    let question = Question::of(noting(core, key, false));
    gather::ask_by_itself(core, question, &Whom::All, |_, _| {});
}

/// Has a core note that this client begins to monitor, or ends.
fn noting(
    core: &Core,
    key: u32,
    begins: bool,
) -> impl Fn(&mut Core) -> Answer + Send + Sync + use<> {
    let id = core.connections[key as usize].session.id;
    let client = Client { key, id, place: 0 };
    let home = core.id;
    move |core| {
        core.note_monitor(home, client, begins);
        Answer::Done
    }
}
