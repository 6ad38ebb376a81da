//! Server commands that more than their own core answers.
//!
//! The reply takes its place in the connection's order at once; it is written
//! when the last answer has come in. Later requests of the connection wait
//! until then, because they may depend on what the cores were told. What waits
//! outlives its connection, because answers still come in.

use super::pause;
use crate::core::{Answer, Asked, Call, Core, Finish, Gathering, Job, Question};
use shards::command::{Args, OwnedArgs};
use shards::order::{Client, Manner, Ticket};
use shards::resp::{Protocol, Reply};
use shards::{CommandError, ShardId};
use std::sync::Arc;

/// Who wants a reply: the connection, the block that the command is part of, and
/// the row of the command.
pub type Asker = (u32, Option<Ticket>, u16);

/// Asks all cores, this one included, which answers with `answer`; `finish`
/// writes the reply.
pub fn ask(
    core: &mut Core,
    asker: Asker,
    (question, finish): (Question, Finish),
    args: Args<'_>,
    answer: impl FnOnce(&mut Core, &Question, Asked) -> Option<Answer>,
) {
    let ticket = await_answers(core, asker, core.shards, finish, args);
    ask_all(core, ticket, question, answer);
}

/// Asks all cores what is to be over before the reply to the block leaves in which a
/// connection runs a command.
pub fn before_reply(
    core: &mut Core,
    (key, row): (u32, u16),
    question: Question,
    answer: impl FnOnce(&mut Core, &Question, Asked) -> Option<Answer>,
) {
    let client = core.connections[key as usize].place_before(key);
    let finish: Finish = |_, _, _| Ok(());
    let args = OwnedArgs::default();
    let ticket = note(core, (client, None, row), core.shards, finish, args);
    ask_all(core, ticket, question, answer);
}

fn ask_all(
    core: &mut Core,
    ticket: u32,
    question: Question,
    answer: impl FnOnce(&mut Core, &Question, Asked) -> Option<Answer>,
) {
    core.gatherings[ticket as usize].pauses = matches!(question, Question::Pause(_));
    let question = Arc::new(question);
    core.ask_others(ticket, &question);
    // The others first: the own answer may take its time.
    let by = core.id;
    if let Some(own) = answer(core, &question, Asked { by, ticket }) {
        take_answer(core, ticket, by, own);
    }
}

/// Has a thread of the blocking pool do a job; `finish` writes the reply.
pub fn wait(core: &mut Core, asker: Asker, job: Job, finish: Finish, args: Args<'_>) {
    let ticket = await_answers(core, asker, 1, finish, args);
    core.jobs.run(move || (ticket, job()));
}

/// Gives the answers of finished jobs to those who wait for them.
pub fn take_finished(core: &mut Core) {
    for (ticket, answer) in core.jobs.take() {
        take_answer(core, ticket, core.id, answer);
    }
}

/// Holds a place in the connection's order for a reply that `count` answers
/// make, and all later requests back.
fn await_answers(
    core: &mut Core,
    (key, within, row): Asker,
    count: u16,
    finish: Finish,
    args: Args<'_>,
) -> u32 {
    let connection = &mut core.connections[key as usize];
    connection.barrier = true;
    let client = Client {
        key,
        id: connection.session.id,
        // The block that the command is part of has a place.
        place: match within {
            Some(_) => 0,
            None => connection.wait(),
        },
    };
    let request = OwnedArgs::new(args.iter());
    note(core, (client, within, row), count, finish, request)
}

fn note(
    core: &mut Core,
    (client, within, row): (Client, Option<Ticket>, u16),
    count: u16,
    finish: Finish,
    request: OwnedArgs,
) -> u32 {
    let gathering = Gathering {
        client,
        within,
        row,
        missing: count,
        answers: (0..core.shards).map(|_| None).collect(),
        finish,
        request,
        pauses: false,
    };
    core.gatherings.insert(gathering) as u32
}

/// A core has answered a question.
pub fn take_answer(core: &mut Core, ticket: u32, from: ShardId, answer: Answer) {
    let Some(gathering) = core.gatherings.get_mut(ticket as usize) else {
        return;
    };
    gathering.answers[from.index()] = Some(answer);
    gathering.missing -= 1;
    if gathering.missing > 0 {
        return;
    }
    let was_busy = |answer: &Option<Answer>| matches!(answer, Some(Answer::Count(1..)));
    if gathering.pauses && gathering.answers.iter().any(was_busy) {
        gathering.missing = core.shards;
        core.ask_others(ticket, &Arc::new(Question::Still));
        let by = core.id;
        return pause::look(core, Asked { by, ticket });
    }
    let gathering = core.gatherings.remove(ticket as usize);
    complete(core, gathering);
}

/// All answers are in.
fn complete(core: &mut Core, gathering: Gathering) {
    let Gathering {
        client,
        within,
        row,
        answers,
        finish,
        request,
        ..
    } = gathering;
    let answers: Vec<Answer> = answers.into_iter().flatten().collect();
    let mut out = Vec::new();
    if core.client(client.key, client.id).is_none() {
        assert!(within.is_none(), "a session stays until its block is over");
        return;
    }
    let mut call = Call {
        core,
        key: client.key,
        out: &mut out,
    };
    let finished = match request.lack_memory() {
        true => Err(CommandError::OutOfMemory),
        false => finish(&mut call, request.args(), answers),
    };
    if let Err(CommandError::TooLong) = finished {
        out = Vec::new();
        core.connections[client.key as usize].reply_too_long(&mut core.stats);
    } else if let Err(error) = finished {
        out.clear();
        Reply::new(&mut out, Protocol::Resp2).error(&error);
        core.stats.count_error(&error.to_bytes());
        core.stats.rows[usize::from(row)].failed += 1;
    }
    if let Some(ticket) = within {
        resume(core, ticket, client, out);
    } else if let Some(connection) = core.client(client.key, client.id) {
        connection.barrier = connection.runs_block;
        connection.answer(client.place, &out);
        core.mark_dirty(client.key);
    }
}

/// A command of the server in a block has its reply: the block goes on, as the
/// client now wants it.
pub fn resume(core: &mut Core, ticket: Ticket, client: Client, mut reply: Vec<u8>) {
    let connection = core.client(client.key, client.id);
    let connection = connection.expect("a session stays until its block is over");
    let is_killed = connection.killed;
    let session = &connection.session;
    if session.is_silent() {
        reply.clear();
    }
    let manner = Manner {
        db: session.db,
        protocol: session.protocol,
        no_touch: session.no_touch,
        silent: session.is_silent(),
    };
    if is_killed {
        core.node.cut_replies(ticket);
    }
    core.node.resume(core.now, ticket, reply, manner);
    core.deliver();
}
