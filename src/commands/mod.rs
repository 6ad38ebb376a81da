//! The commands of the server, by family, and how they are run. The one lookup over
//! these and the engine's is `registry`.

mod acl;
mod client;
mod command_info;
mod connection;
mod debug;
mod dumps;
mod info;
mod latency;
mod lolwut;
mod memory;
pub mod monitor;
mod pause;
mod pubsub;
mod registry;
pub mod run;
mod server;
mod slowlog;
mod syntax;
pub mod tracking;
pub mod transaction;

use crate::core::{Answer, Context, Core, Finish, Inquiry, Job, Question, Whom};
use shards::command::{Args, Command};
use shards::pubsub::Kind;
use shards::resp::Protocol;
use shards::{CommandError, Row};

pub use registry::{AnyRow, RowOf, registry};

/// A row of the server: a function on the session.
pub type ServerRow = Command<Handler>;

/// A server command's function.
pub type Handler = fn(&mut Context<'_>, Args<'_>) -> Result<Flow, CommandError>;

/// What follows a server command's function.
pub enum Flow {
    /// The reply is written.
    Done,
    /// Cores are asked, and what they answer makes the reply.
    Ask(Inquiry),
    /// The job runs on another thread, because it waits for the machine; its
    /// answer is given to the function as the only one.
    Wait(Job, Finish),
    /// This row of the engine is run in its place, on the arguments behind the
    /// command's name. Not in a block.
    Engine(&'static Row),
    /// The arguments are a channel of this kind and what is to be published there.
    Publish(Kind),
    /// The reply is written, and clients are to be told something behind it.
    Told,
    /// Nothing was done: the replies to earlier requests must be in first.
    Later,
    /// Nothing was done: it is the turn of others first.
    NextTurn,
    /// The reply has a place in the connection's order, and comes there.
    Pending,
    /// The same, and until then the session is that of a block with commands of the
    /// server, which change how it is answered.
    Block,
}

/// All families of the server.
static SERVER_COMMANDS: &[&[ServerRow]] = &[
    connection::COMMANDS,
    client::COMMANDS,
    command_info::COMMANDS,
    server::COMMANDS,
    dumps::COMMANDS,
    pubsub::COMMANDS,
    info::COMMANDS,
    slowlog::COMMANDS,
    latency::COMMANDS,
    memory::COMMANDS,
    monitor::COMMANDS,
    acl::COMMANDS,
    debug::COMMANDS,
    lolwut::COMMANDS,
    transaction::COMMANDS,
];

/// The defaults of a row; each states what differs.
const ROW: ServerRow = Command::running(container);

/// The function of a container, which never runs: the path of a request looks
/// for the subcommand and refuses what is none.
fn container(_: &mut Context<'_>, _: Args<'_>) -> Result<Flow, CommandError> {
    Err(CommandError::Syntax)
}

impl Flow {
    /// Every core does something to itself; `finish` writes the reply from what they
    /// answer. Later requests of the connection wait for that.
    fn ask_all(deed: impl Fn(&mut Core) -> Answer + Send + Sync + 'static, finish: Finish) -> Self {
        Self::ask(Question::of(deed), Whom::All, finish)
    }

    fn ask(question: Question, whom: Whom, finish: Finish) -> Self {
        Self::Ask(Inquiry {
            question,
            whom,
            finish,
            barrier: true,
        })
    }
}

/// The sum of counts that cores have answered.
fn total(answers: &[Answer]) -> u64 {
    let count = |answer: &Answer| match answer {
        Answer::Count(count) => *count,
        _ => 0,
    };
    answers.iter().map(count).sum()
}

/// A number that is no integer: a double in RESP3, a bulk string in RESP2.
fn double(ctx: &mut Context<'_>, text: &str) {
    match ctx.session().protocol {
        Protocol::Resp2 => ctx.reply().bulk(text.as_bytes()),
        Protocol::Resp3 => {
            let parts = [b",", text.as_bytes(), b"\r\n"];
            ctx.out.extend_from_slice(&parts.concat());
        }
    }
}

/// The finish of a question whose answers are counted together.
fn sum(ctx: &mut Context<'_>, _: Args<'_>, answers: Vec<Answer>) -> Result<(), CommandError> {
    ctx.reply().integer(total(&answers) as i64);
    Ok(())
}

/// The finish of a question that every core has simply heeded.
fn ok(ctx: &mut Context<'_>, _: Args<'_>, _: Vec<Answer>) -> Result<(), CommandError> {
    ctx.reply().ok();
    Ok(())
}
