//! The end of the server: SHUTDOWN and signals, with a last dump if there is to be one.
//!
//! Nothing may be written between the cut of the last dump and the end, or a client would
//! be told of a write that nobody keeps: so writes wait first (`questions::pause`), and go
//! on if the dump cannot be written.

use super::saving;
use crate::core::{
    Answer, ClientPause, Core, Ending, PausedBy, Question, QuestionId, SaveKind, Whom,
};
use crate::questions::gather;
use shards::{CommandError, UnixMs};
use std::sync::atomic::Ordering;

/// How the server is to end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// SAVE or NOSAVE; otherwise save if there are save points.
    pub save: Option<bool>,
    /// Also if the dump cannot be written.
    pub force: bool,
}

/// SHUTDOWN. It is answered if the server goes on.
pub fn asked_by_client(core: &mut Core, manner: Manner, asked: QuestionId) {
    tracing::info!("SHUTDOWN: stopping");
    end(core, manner, Some(asked));
}

/// SIGTERM or SIGINT.
pub fn asked_by_signal(core: &mut Core) {
    end(core, Manner::default(), None);
}

fn end(core: &mut Core, manner: Manner, asked: Option<QuestionId>) {
    let has_points = !core.config.persistence.save.is_empty();
    // What has not been loaded must not replace what is to be loaded.
    if core.hindrances.loading || !manner.save.unwrap_or(has_points) {
        return stop(core);
    }
    if let Some(ending) = &mut core.conductor().ending {
        ending.asked.extend(asked);
        ending.force |= manner.force;
        return;
    }
    saving::cancel(core);
    core.conductor().ending = Some(Ending {
        asked: asked.into_iter().collect(),
        force: manner.force,
        is_still: false,
    });
    let pause = Question::Pause(ClientPause {
        by: PausedBy::Server,
        until: UnixMs(i64::MAX),
        all: false,
    });
    gather::ask_by_itself(core, pause, &Whom::All, |core, _| {
        if let Some(ending) = &mut core.conductor().ending {
            ending.is_still = true;
        }
        goes_on(core);
    });
}

/// Begins the last dump if it is time to; whether the server is about to end.
pub fn goes_on(core: &mut Core) -> bool {
    if core.shared.stopping.load(Ordering::Relaxed) {
        return true;
    }
    let conductor = core.conductor();
    let Some(ending) = &conductor.ending else {
        return false;
    };
    if ending.is_still && conductor.saving.is_none() && conductor.reload.is_none() {
        saving::begin(core, SaveKind::Ending, None);
    }
    true
}

/// The last dump is there, or cannot be.
pub fn saved(core: &mut Core, is_saved: bool) {
    match &core.conductor().ending {
        None => {}
        Some(ending) if is_saved || ending.force => stop(core),
        Some(_) => {
            tracing::warn!("not ended, because the dump cannot be written");
            go_on_serving(core);
        }
    }
}

/// SHUTDOWN ABORT.
pub fn abort(core: &mut Core) -> Answer {
    if core.conductor().ending.is_none() {
        return Answer::Error(CommandError::Static("ERR No shutdown in progress."));
    }
    tracing::info!("SHUTDOWN ABORT: going on");
    saving::cancel(core);
    go_on_serving(core);
    Answer::Done
}

fn go_on_serving(core: &mut Core) {
    let Some(ending) = core.conductor().ending.take() else {
        return;
    };
    let resume = Question::of(|core| {
        core.end_pause(PausedBy::Server);
        Answer::Done
    });
    gather::ask_by_itself(core, resume, &Whom::All, |_, _| {});
    for asked in ending.asked {
        let text = "ERR Errors trying to SHUTDOWN. Check logs.";
        gather::give_answer(core, asked, Answer::Error(CommandError::Static(text)));
    }
}

fn stop(core: &mut Core) {
    core.shared.stopping.store(true, Ordering::Relaxed);
}
