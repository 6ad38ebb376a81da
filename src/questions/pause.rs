//! CLIENT PAUSE over all cores: once it is answered, nothing is written until it ends.
//!
//! Each core heeds a pause by itself: from when it hears of it, requests that the pause
//! concerns stay in the input of their connections. What was dispatched before still runs,
//! maybe on other cores and in several steps. So a core answers in time:
//!
//! ```text
//!   hears of the pause ─▶ sends what it has, then to each core: that was all
//!   has heard that from all cores ─▶ what they had sent has come, and was run or waits
//!   nothing is under way here that may write ─▶ answers whether anything has happened since
//! ```
//!
//! As long as one of them says yes, all are asked anew: what it did may have left
//! something to others, to a client that waited for a key for example. While all say no
//! every one of them was still at one instant, and what is still stays so.
//!
//! Nothing waits for the pause while it holds a lock, and nothing that has begun waits for
//! a client, so all of that ends. Who asks within EXEC may hold locks itself: its block
//! goes on, and only its reply waits; see [`gather::before_reply`].

use super::gather;
use crate::core::{Answer, ClientPause, Core, Message, PauseQuestion, QuestionId};
use shards::ShardId;

/// Has this core's clients wait; of two pauses the longer and the stricter hold. The
/// answer follows.
pub fn begin(core: &mut Core, new: ClientPause, asked: QuestionId) {
    core.begin_pause(new);
    look(core, asked);
}

/// Tells all cores that what was sent to them before has been sent. The answer whether
/// all was still follows.
pub fn look(core: &mut Core, asked: QuestionId) {
    passed(core, asked);
    core.publish();
    for index in (0..core.shards).filter(|index| *index != core.id.0) {
        core.mesh.send(ShardId(index), Message::Passed(asked));
    }
}

/// All that a core has sent here before it was asked has come.
pub fn passed(core: &mut Core, asked: QuestionId) {
    let known = core.pause_questions.iter_mut().find(|it| it.asked == asked);
    if let Some(pausing) = known {
        pausing.missing -= 1;
        return;
    }
    core.pause_questions.push(PauseQuestion {
        asked,
        missing: core.shards - 1,
        busy: core.node.has_writes(),
        changes: core.node.shard_mut().effects().changes(),
    });
}

/// Answers those for whom nothing has to be waited for here any more.
pub fn settle(core: &mut Core) {
    if core.pause_questions.is_empty() {
        return;
    }
    let mut waiting = std::mem::take(&mut core.pause_questions);
    let has_writes = core.node.has_writes();
    let changes = core.node.shard_mut().effects().changes();
    let is_over = core.pause.is_none();
    waiting.retain_mut(|pausing| {
        pausing.busy |= has_writes;
        let settled = pausing.missing == 0 && (is_over || !has_writes);
        if settled {
            let busy = !is_over && (pausing.busy || pausing.changes != changes);
            gather::give_answer(core, pausing.asked, Answer::Count(u64::from(busy)));
        }
        !settled
    });
    let asked_anew = !core.pause_questions.is_empty();
    waiting.append(&mut core.pause_questions);
    core.pause_questions = waiting;
    if asked_anew && core.shards == 1 {
        // There is nobody to hear from.
        settle(core);
    }
}
