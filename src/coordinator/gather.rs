//! Server commands that more than their own core answers.
//!
//! The reply takes its place in the connection's order at once; it is written
//! when the last answer has come in. Later requests of the connection wait
//! until then, because they may depend on what the cores were told. What waits
//! outlives its connection, because answers still come in.

use super::pause;
use crate::core::{Answer, Asked, Asker, Call, Core, Finish, Gathering, Job, Question};
use shards::command::{Args, OwnedArgs};
use shards::{CommandError, ShardId};
use std::sync::Arc;

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

/// Asks all cores what is to be over before the reply to the block leaves that the
/// asker's command is part of.
pub fn before_reply(
    core: &mut Core,
    asker: Asker,
    question: Question,
    answer: impl FnOnce(&mut Core, &Question, Asked) -> Option<Answer>,
) {
    let client = core.connections[asker.key as usize].place_before(asker.key);
    let asker = Asker {
        within: None,
        ..asker
    };
    let finish: Finish = |_, _, _| Ok(());
    let args = OwnedArgs::default();
    let ticket = note(core, asker, client.place, core.shards, finish, args);
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
fn await_answers(core: &mut Core, asker: Asker, count: u16, finish: Finish, args: Args<'_>) -> u32 {
    let connection = &mut core.connections[asker.key as usize];
    connection.barrier = true;
    let place = match asker.within {
        // The block has one.
        Some(_) => 0,
        None => connection.wait(),
    };
    let request = OwnedArgs::new(args.iter());
    note(core, asker, place, count, finish, request)
}

fn note(
    core: &mut Core,
    asker: Asker,
    place: u32,
    count: u16,
    finish: Finish,
    request: OwnedArgs,
) -> u32 {
    let gathering = Gathering {
        asker,
        place,
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
        asker,
        place,
        answers,
        finish,
        request,
        ..
    } = gathering;
    if core.client(asker.key, asker.id).is_none() {
        assert!(
            asker.within.is_none(),
            "a session stays until its block is over"
        );
        return;
    }
    let answers: Vec<Answer> = answers.into_iter().flatten().collect();
    let mut out = Vec::new();
    let mut call = Call {
        core,
        key: asker.key,
        out: &mut out,
    };
    let finished = match request.lack_memory() {
        true => Err(CommandError::OutOfMemory),
        false => finish(&mut call, request.args(), answers),
    };
    if let Err(error) = finished {
        core.server_command_failed(asker, &error, &mut out);
    }
    core.reply_late(asker, place, out);
}
