//! Server commands that other cores answer, or a thread that does a job.
//!
//! The reply takes its place in the connection's order at once; it is written
//! when the last answer has come in. Whether later requests of the connection wait
//! until then is the command's word: as a rule they do, because they may depend on what
//! the cores were told. What waits outlives its connection, because answers still come in.

#[cfg(test)]
mod tests;

use super::pause;
use crate::core::{
    Answer, Asker, Context, Core, Finish, Gathering, Inquiry, Job, Message, Question, QuestionId,
    Then, Whom,
};
use shards::command::{Args, OwnedArgs};
use shards::{CommandError, ShardId};
use std::sync::Arc;

/// Asks the cores that `ask` is for; the reply comes when all have answered.
pub fn ask(core: &mut Core, asker: Asker, ask: Inquiry, args: Args<'_>) {
    let Inquiry {
        question,
        whom,
        finish,
        barrier,
    } = ask;
    let ticket = await_answers(core, asker, finish, args, barrier);
    pose(core, ticket, question, &whom);
}

/// Asks all cores what is to be over before the reply to the block leaves that the
/// asker's command is part of.
pub fn before_reply(core: &mut Core, asker: Asker, question: Question) {
    let client = core.connections[asker.key as usize].place_before(asker.key);
    let then = Then::Reply {
        asker: Asker {
            within: None,
            ..asker
        },
        place: client.place,
        finish: |_, _, _| Ok(()),
        request: OwnedArgs::default(),
        barrier: true,
    };
    let ticket = note(core, then);
    pose(core, ticket, question, &Whom::All);
}

/// Asks cores although no client wants to know; goes on with `then` when all have
/// answered.
pub fn ask_by_itself(
    core: &mut Core,
    question: Question,
    whom: &Whom,
    then: fn(&mut Core, Vec<Answer>),
) {
    let ticket = note(core, Then::Do(then));
    pose(core, ticket, question, whom);
}

fn pose(core: &mut Core, ticket: u32, question: Question, whom: &Whom) {
    core.gatherings[ticket as usize].pauses = matches!(question, Question::Pause(_));
    let cores: Vec<ShardId> = match whom {
        Whom::All => (0..core.shards).map(ShardId).collect(),
        Whom::These(cores) => cores.clone(),
    };
    send(core, ticket, &Arc::new(question), &cores);
}

/// Sends a question to these cores, each of which is to answer.
fn send(core: &mut Core, ticket: u32, question: &Arc<Question>, cores: &[ShardId]) {
    let own = core.id;
    core.gatherings[ticket as usize].missing = cores.len() as u16;
    for other in cores.iter().copied().filter(|other| *other != own) {
        let question = Arc::clone(question);
        core.mesh.send(other, Message::Ask { ticket, question });
    }
    // The others first: the own answer may take its time.
    if cores.contains(&own) {
        let asked = QuestionId { by: own, ticket };
        if let Some(answer) = answer(core, question, asked) {
            take_answer(core, ticket, own, answer);
        }
    }
}

/// Answers a question for this core, at once or later.
pub fn answer(core: &mut Core, question: &Question, asked: QuestionId) -> Option<Answer> {
    match question {
        Question::Do(deed) => return Some(deed(core)),
        Question::Begin(beginning) => beginning(core, asked),
        Question::Pause(new) => pause::begin(core, *new, asked),
        Question::Still => pause::look(core, asked),
    }
    None
}

/// Has a thread of the blocking pool do a job; `finish` writes the reply.
pub fn wait(core: &mut Core, asker: Asker, job: Job, finish: Finish, args: Args<'_>) {
    let ticket = await_answers(core, asker, finish, args, true);
    core.gatherings[ticket as usize].missing = 1;
    core.jobs.run(move || (ticket, job()));
}

/// A command has its answers and asks anew; its reply keeps its place.
fn ask_further(
    core: &mut Core,
    (asker, place, request): (Asker, u32, OwnedArgs),
    Inquiry {
        question,
        whom,
        finish,
        barrier,
    }: Inquiry,
) {
    let then = Then::Reply {
        asker,
        place,
        finish,
        request,
        barrier,
    };
    let ticket = note(core, then);
    pose(core, ticket, question, &whom);
}

/// Gives the answers of finished jobs to those who wait for them.
pub fn take_finished(core: &mut Core) {
    for (ticket, answer) in core.jobs.take() {
        take_answer(core, ticket, core.id, answer);
    }
}

/// Holds a place in the connection's order for a reply that answers make, and all later
/// requests back if there is a `barrier`.
fn await_answers(
    core: &mut Core,
    asker: Asker,
    finish: Finish,
    args: Args<'_>,
    barrier: bool,
) -> u32 {
    let connection = &mut core.connections[asker.key as usize];
    connection.barrier |= barrier;
    let place = match asker.within {
        // The block has one.
        Some(_) => 0,
        None => connection.wait(),
    };
    let then = Then::Reply {
        asker,
        place,
        finish,
        request: OwnedArgs::new(args.iter()),
        barrier,
    };
    note(core, then)
}

fn note(core: &mut Core, then: Then) -> u32 {
    let gathering = Gathering {
        missing: 0,
        answers: (0..core.shards).map(|_| None).collect(),
        pauses: false,
        then,
    };
    core.gatherings.insert(gathering) as u32
}

/// Answers a question that was begun with.
pub fn give_answer(core: &mut Core, QuestionId { by, ticket }: QuestionId, answer: Answer) {
    if by == core.id {
        take_answer(core, ticket, by, answer);
    } else {
        core.mesh.send(by, Message::Answer { ticket, answer });
    }
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
        return pose_again(core, ticket);
    }
    let gathering = core.gatherings.remove(ticket as usize);
    complete(core, gathering);
}

/// Something was under way when a pause was asked about.
fn pose_again(core: &mut Core, ticket: u32) {
    let all: Vec<ShardId> = (0..core.shards).map(ShardId).collect();
    send(core, ticket, &Arc::new(Question::Still), &all);
}

/// All answers are in.
fn complete(core: &mut Core, gathering: Gathering) {
    let Gathering { answers, then, .. } = gathering;
    let answers: Vec<Answer> = answers.into_iter().flatten().collect();
    let (asker, place, finish, request, barrier) = match then {
        Then::Do(then) => return then(core, answers),
        Then::Reply {
            asker,
            place,
            finish,
            request,
            barrier,
        } => (asker, place, finish, request, barrier),
    };
    if core.client(asker.key, asker.id).is_none() {
        assert!(
            asker.within.is_none(),
            "a session stays until its block is over"
        );
        return;
    }
    let mut out = Vec::new();
    let mut ctx = Context {
        core,
        key: asker.key,
        out: &mut out,
    };
    let finished = match request.lack_memory() {
        true => Err(CommandError::OutOfMemory),
        false => finish(&mut ctx, request.args(), answers),
    };
    if let Some(further) = core.further.take() {
        return ask_further(core, (asker, place, request), further);
    }
    if let Err(error) = finished {
        core.server_command_failed(asker, &error, &mut out);
    }
    core.reply_late(asker, place, barrier, out);
}
