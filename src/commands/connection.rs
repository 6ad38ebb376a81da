//! Commands about the connection itself.

use super::{Call, Flow, ServerRow};
use shards::CommandError;
use shards::command::{Args, Arity, Group, flags};

pub static COMMANDS: &[ServerRow] = &[ServerRow {
    name: "ping",
    syntax: "[message]",
    summary: "Answer PONG, or the message.",
    since: "1.0.0",
    complexity: "O(1)",
    group: Group::Connection,
    arity: Arity::AtLeast(1),
    keys: &[],
    flags: flags::FAST,
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    subcommands: &[],
    run: ping,
}];

fn ping(call: &mut Call<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    match args.len() {
        1 => call.reply().simple("PONG"),
        2 => call.reply().bulk(&args[1]),
        _ => return Err(CommandError::WrongArity("ping".into())),
    }
    Ok(Flow::Done)
}
