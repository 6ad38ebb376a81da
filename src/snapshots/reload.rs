//! DEBUG RELOAD: what was saved is loaded, and takes the place of what there is.
//!
//! Writes wait from before the cut until the end, or what they did would be lost. What is
//! loaded goes to stores that nobody sees, and all shards exchange them at one instant;
//! with NOFLUSH it goes to what is there.

use super::{CONDUCTOR, ending, loading, saving};
use crate::core::{
    Answer, ClientPause, Core, PausedBy, Question, QuestionId, Reload, ReloadOptions, SaveKind,
    Whom,
};
use crate::questions::gather;
use shards::command::exchange::EXCHANGE;
use shards::{CommandError, UnixMs};

/// Begins; the answer comes when it is over.
pub fn ask(core: &mut Core, options: ReloadOptions, asked: QuestionId) {
    debug_assert_eq!(core.id, CONDUCTOR);
    let conductor = core.conductor();
    if !conductor.is_free() {
        let error = CommandError::Static("ERR Background save already in progress");
        return gather::give_answer(core, asked, Answer::Error(error));
    }
    conductor.reload = Some(Reload {
        asked,
        options,
        exchanges: false,
    });
    let pause = Question::Pause(ClientPause {
        by: PausedBy::Server,
        until: UnixMs(i64::MAX),
        all: false,
    });
    gather::ask_by_itself(core, pause, &Whom::All, |core, _| {
        match core
            .conductor()
            .reload
            .as_ref()
            .map(|reload| reload.options)
        {
            Some(ReloadOptions { save: true, .. }) => saving::begin(core, SaveKind::Reload, None),
            Some(options) => loading::begin_reload(core, options),
            None => {}
        }
    });
}

/// It is saved, or cannot be.
pub fn saved(core: &mut Core, result: &Result<u64, String>) {
    let Some(reload) = &core.conductor().reload else {
        return;
    };
    let options = reload.options;
    match result {
        Ok(_) => loading::begin_reload(core, options),
        Err(why) => over(core, Err(CommandError::quoting("ERR ", why.as_bytes(), ""))),
    }
}

/// All shards have loaded what there was, or something is wrong with it.
pub fn loaded(core: &mut Core, result: Result<(), String>) {
    let Some(reload) = &mut core.conductor().reload else {
        return;
    };
    if let Err(why) = result {
        let before = "ERR Error trying to load the RDB dump: ";
        return over(core, Err(CommandError::quoting(before, why.as_bytes(), "")));
    }
    if !reload.options.flush {
        return over(core, Ok(()));
    }
    reload.exchanges = true;
    core.snapshots.is_busy = true;
    core.run_by_itself(&EXCHANGE);
}

/// The shards hold what was loaded.
pub fn exchanged(core: &mut Core) {
    over(core, Ok(()));
}

fn over(core: &mut Core, result: Result<(), CommandError>) {
    let Some(reload) = core.conductor().reload.take() else {
        return;
    };
    let is_ending = core.conductor().ending.is_some();
    let resume = Question::of(move |core| {
        core.node.shard_mut().forget_prepared();
        if !is_ending {
            core.end_pause(PausedBy::Server);
        }
        Answer::Done
    });
    gather::ask_by_itself(core, resume, &Whom::All, |_, _| {});
    let answer = match result {
        Ok(()) => {
            tracing::warn!("DB reloaded by DEBUG RELOAD");
            Answer::Done
        }
        Err(error) => Answer::Error(error),
    };
    gather::give_answer(core, reload.asked, answer);
    ending::goes_on(core);
}
