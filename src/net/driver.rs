//! The loop of one core.
//!
//! One task inside the core's glommio executor, in turns:
//!
//! ```text
//! messages of other cores → one send per dirty connection, one batch per other
//!   core, a ring for those that sleep → one system call submits all that and
//!   waits → messages that came before the completions of the ring → these → what is
//!   due (expiry …)
//! ```
//!
//! When a turn found nothing to do: for a few milliseconds after traffic the
//! core waits in its own ring, where new traffic wakes it cheapest; after
//! that it parks in glommio, to be woken by its eventfd (the ring signals it)
//! or by the heartbeat.

use super::listener::Listeners;
use super::pace::Pace;
use super::{complete, flush, let_go, upkeep};
use crate::commands::{tracking, transaction};
use crate::core::{Core, Message, QuestionId};
use crate::dispatch::Scratch;
use crate::questions::{gather, pause};
use crate::runtime::clock;
use crate::runtime::park::Park;
use crate::runtime::ring::Completion;
use crate::snapshots;
use shards::ShardId;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// glommio's other tasks run at least so often.
const YIELD: Duration = Duration::from_millis(1);
/// What a slice of background work may take.
const SLICE: Duration = Duration::from_micros(300);
/// What a turn may spend on requests that are worked on in slices. A request that
/// crosses to another core and back waits for three turns.
const REQUEST_SLICE: Duration = Duration::from_micros(100);
/// Entries and lines of tables that expiry visits between two looks at the clock.
const EXPIRE_STEP: usize = 256;
/// So many turns in a row a core looks again at once for what it must open first.
const BEHIND_TURNS: u32 = 16;
/// How long it waits for it after that.
const BEHIND_WAIT: Duration = Duration::from_micros(50);
/// How often a core looks what has become of a dump, while it has nothing else to do.
const SNAPSHOT_WAIT: Duration = Duration::from_micros(300);
/// Entries that are freed between two looks at the clock.
const FREE_STEP: usize = 1024;
/// Keys that are forgotten of clients that have tracked them.
const FORGET_STEP: usize = 256;

/// Serves until the server is asked to stop.
pub async fn run(core: &mut Core, listeners: &mut Listeners, park: &Park) {
    let mut completions: Vec<Completion> = Vec::with_capacity(512);
    let mut pace = Pace::new();
    let mut last_yield = pace.now;
    let mut scratch = Scratch::default();
    let mut behind = 0;
    while !core.shared.stopping.load(Ordering::Relaxed) {
        let messages = drain_messages(core, listeners);
        // It has boxes that it may not open yet.
        behind = if core.node.has_incoming() || core.awaits_marks() {
            behind + 1
        } else {
            0
        };
        gather::take_finished(core);
        if core.node.has_server_steps() {
            transaction::run_server_steps(core);
        }
        pause::settle(core);
        tracking::tell(core);
        flush(core, &mut scratch);
        // What has run meanwhile; nothing has left before `submit`.
        tracking::tell(core);
        listeners.newcomers.settle(core);
        core.publish();
        if !core.asked.is_empty() {
            answer_questions(core);
        }
        submit(core, listeners, &pace, messages, behind);
        core.ring.completions(&mut completions);
        // Whatever has been sent before these came is opened before they are served.
        let looks = core.keeps_history || !completions.is_empty();
        let messages = looks && drain_messages(core, listeners) || messages;
        let mut busy = messages || !completions.is_empty() || core.node.has_incoming();
        pace.now = Instant::now();
        if busy {
            pace.busy();
            core.now = clock::now();
            for completion in completions.drain(..) {
                complete(core, &mut scratch, listeners, completion);
            }
        }
        busy |= end_due(core);
        if core.node.has_slices() {
            go_on(core);
            busy = true;
        }
        if core.snapshots.is_busy {
            core.now = clock::now();
            busy |= snapshots::turn(core, pace.has_traffic());
        }
        if pace.ticks() {
            pace.more = background(core, listeners);
            pace.tick(core.activity.next());
        }
        if pace.now.duration_since(last_yield) >= YIELD || park.should_yield() {
            last_yield = pace.now;
            park.yield_now().await;
        }
        if !busy
            && !core.snapshots.is_busy
            && !pace.lingers(core.jobs.are_running())
            && !has_more(core)
        {
            sleep(core, park).await;
            pace.now = Instant::now();
            if core.snapshots.awaits_report {
                // It may have been woken for that.
                pace.tick_now();
            }
        }
    }
}

/// Ends what waits until a time that has come; whether there was any.
#[inline]
fn end_due(core: &mut Core) -> bool {
    let mut any = false;
    if core.node.next_timeout().is_some() {
        core.now = clock::now();
        any = core.node.time_out(core.now);
        core.deliver();
    }
    if let Some(pause) = core.pause {
        core.now = clock::now();
        if pause.until <= core.now {
            core.end_pauses_due();
            any = true;
        }
    }
    any
}

/// Whether there is something to go on with in the next turn.
#[inline]
fn has_more(core: &Core) -> bool {
    !core.dirty.is_empty()
        || !core.next_turn.is_empty()
        || !core.crowd.is_empty()
        || core.has_notices()
        || core.node.has_letters()
        || core.awaits_marks()
}

/// Everything to be sent goes down with the same call that waits for what comes next, if
/// there is nothing else to do.
#[inline]
fn submit(core: &mut Core, listeners: &Listeners, pace: &Pace, messages: bool, behind: u32) {
    let idle = !messages
        && !has_more(core)
        && !core.node.has_slices()
        && !core.node.has_incoming()
        && !core.snapshots.works
        && !listeners.newcomers.is_settling();
    if behind > BEHIND_TURNS {
        // A core is kept from sending what it has a stamp for: let it run.
        core.ring.wait(1, BEHIND_WAIT);
    } else if idle
        && (core.snapshots.is_busy || pace.lingers(core.jobs.are_running()))
        && core.mesh.fall_asleep()
    {
        let patience = patience(core, pace);
        core.ring.wait(pace.plan.want, patience);
        core.mesh.wake_up();
    } else {
        core.ring.enter();
    }
}

/// For how long to wait in the ring: not beyond what is due meanwhile.
fn patience(core: &Core, pace: &Pace) -> Duration {
    let plan = pace.plan;
    if plan.want > 1 {
        return plan.patience;
    }
    if core.snapshots.is_busy {
        return SNAPSHOT_WAIT;
    }
    let due = core.node.next_timeout().into_iter();
    let due = due.chain(core.pause.map(|pause| pause.until)).min();
    let due = due.map(|at| Duration::from_millis(u64::try_from(at.0 - core.now.0).unwrap_or(0)));
    let patience = plan.patience.min(pace.until_tick());
    patience.min(due.unwrap_or(plan.patience))
}

/// Parks in glommio until the ring, another core or the heartbeat has something.
async fn sleep(core: &mut Core, park: &Park) {
    // What was done since is not to wait for it to wake up.
    core.publish();
    if core.node.has_incoming() || has_more(core) {
        return;
    }
    core.ring.signal(true);
    if core.mesh.fall_asleep() && !core.ring.has_work() {
        let pause_end = core.pause.map(|pause| pause.until);
        match core.node.next_timeout().into_iter().chain(pause_end).min() {
            None => park.park().await,
            Some(at) => {
                let ms = at.0.saturating_sub(clock::now().0);
                let most = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
                park.park_at_most(most).await;
            }
        }
    }
    core.mesh.wake_up();
    core.ring.signal(false);
}

/// Handles what other cores have sent; whether there was anything.
#[inline]
fn drain_messages(core: &mut Core, listeners: &mut Listeners) -> bool {
    if core.shards == 1 {
        return false;
    }
    let urgent = core.mesh.receive_urgent();
    let mut any = core.send_overdue();
    core.look_at_marks();
    let frontier = core.sequencer.frontier();
    for message in urgent.into_iter().flatten() {
        any = true;
        handle(core, listeners, core.id, message);
    }
    for index in 0..core.shards {
        let source = ShardId(index);
        while let Some(message) = core.mesh.receive(source) {
            if !std::mem::replace(&mut any, true) {
                core.now = clock::now();
            }
            handle(core, listeners, source, message);
        }
    }
    if core.node.has_incoming() {
        core.now = clock::now();
        any |= core.node.catch_up(core.now, frontier);
        core.deliver();
    }
    core.stand(frontier);
    any
}

fn handle(core: &mut Core, listeners: &mut Listeners, source: ShardId, message: Message) {
    core.activity.messages += 1;
    match message {
        Message::Batch(batch) => core.node.receive(source, batch),
        Message::Letters(letters) => tracking::deliver(core, letters),
        Message::Ask { ticket, question } => core.asked.push((source, ticket, question)),
        Message::Answer { ticket, answer } => gather::take_answer(core, ticket, source, answer),
        Message::Settle => listeners.newcomers.asked(core, source),
        Message::Settled => listeners.newcomers.settled(core),
        Message::Passed(asked) => pause::passed(core, asked),
        Message::Records(records) => {
            if let Some(history) = &mut core.history {
                history.take(source, records);
            }
        }
    }
}

/// Answers what other cores have asked. Whatever the answers tell has been published:
/// who learns from one that a client is gone finds that it waits for nothing any more.
#[cold]
fn answer_questions(core: &mut Core) {
    for (by, ticket, question) in std::mem::take(&mut core.asked) {
        if let Some(answer) = gather::answer(core, &question, QuestionId { by, ticket }) {
            core.mesh.send(by, Message::Answer { ticket, answer });
        }
    }
    pause::settle(core);
    core.publish();
}

/// Goes on with what requests go through whole shards for, as long as others can
/// wait.
fn go_on(core: &mut Core) {
    core.now = clock::now();
    let began = Instant::now();
    while core.node.has_slices() && began.elapsed() < REQUEST_SLICE {
        core.node.go_on(core.now);
    }
    core.deliver();
}

/// Work that no request asked for, a slice at a time; whether there is more.
fn background(core: &mut Core, listeners: &mut Listeners) -> bool {
    core.now = clock::now();
    listeners.rearm(core);
    let noticed = snapshots::tick(core);
    upkeep::visit(core);
    let_go(core);
    let began = Instant::now();
    let (mut more, mut late) = (true, false);
    while more && began.elapsed() < SLICE {
        // As in Redis, nothing expires by itself during a pause.
        let expires = core.pause.is_none() && core.active_expire && !core.hindrances.loading;
        if expires {
            let before = Instant::now();
            late = core.node.shard_mut().expire_due(core.now, EXPIRE_STEP).more;
            core.stats.expiry_ns += before.elapsed().as_nanos() as u64;
        }
        more = late;
        more |= core.node.shard_mut().free_some(FREE_STEP);
        more |= core
            .node
            .shard_mut()
            .tracking_mut()
            .forget_some(FORGET_STEP);
    }
    // What has expired may be what somebody waits for.
    if core.node.has_appeared() {
        core.node.serve(core.now);
        core.deliver();
    }
    core.stats.expiry_capped += u64::from(late);
    core.note_expire_cycle(began);
    more || noticed
}
