//! The loop of one core.
//!
//! One task inside the core's glommio executor, in turns:
//!
//! ```text
//! messages of other cores → completions of the ring → what is due (expiry …)
//!   → one send per dirty connection, one batch per other core → wake sleepers
//! ```
//!
//! When a turn found nothing to do: for a few milliseconds after traffic the
//! core waits in its own ring, where new traffic wakes it cheapest; after
//! that it parks in glommio, to be woken by its eventfd (the ring signals it)
//! or by the heartbeat. The heartbeat also bounds the harm of glommio's known
//! fault of parking with runnable tasks.

use super::listener::Listeners;
use super::{complete, flush, upkeep};
use crate::coordinator::gather;
use crate::core::{Core, Message};
use crate::runtime::park::Park;
use crate::runtime::ring::Completion;
use shards::ShardId;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// After traffic, the core waits in its ring for so long before it parks.
const LINGER: Duration = Duration::from_millis(5);
/// The longest wait in the ring: glommio's tasks run in between.
const WAIT: Duration = Duration::from_micros(200);
/// Turns between visits to glommio.
const TURNS: u32 = 64;
/// Background work is looked at so often.
const TICK: Duration = Duration::from_millis(10);
/// The same while there is more of it than fits one slice.
const TICK_BUSY: Duration = Duration::from_millis(1);
/// What a slice of background work may take.
const SLICE: Duration = Duration::from_micros(300);
/// Entries and lines of tables that expiry visits between two looks at the clock.
const EXPIRE_STEP: usize = 256;
/// Entries that are freed between two looks at the clock.
const FREE_STEP: usize = 1024;

/// Serves until the server is asked to stop.
pub async fn run(core: &mut Core, listeners: &mut Listeners, park: &Park) {
    let mut completions: Vec<Completion> = Vec::with_capacity(512);
    let mut last_traffic = Instant::now();
    let mut next_tick = Instant::now();
    let mut turns = 0u32;
    let mut more = false;
    while !core.shared.stopping.load(Ordering::Relaxed) {
        let mut busy = drain_messages(core);
        gather::take_finished(core);
        if core.ring.has_work() {
            core.ring.enter();
            core.ring.completions(&mut completions);
        }
        if !completions.is_empty() {
            busy = true;
            core.now = crate::runtime::clock::now();
            for completion in completions.drain(..) {
                complete(core, listeners, completion);
            }
        }
        turns += 1;
        if busy || turns.is_multiple_of(TURNS) {
            let now = Instant::now();
            if busy {
                last_traffic = now;
            }
            if now >= next_tick {
                more = background(core, listeners);
                next_tick = now + if more { TICK_BUSY } else { TICK };
            }
        }
        flush(core);
        core.publish();
        if turns.is_multiple_of(TURNS) || park.should_yield() {
            park.yield_now().await;
        }
        if busy || core.ring.has_work() {
            continue;
        }
        if more || last_traffic.elapsed() < LINGER {
            if core.mesh.fall_asleep() {
                core.ring.wait(WAIT);
                core.mesh.wake_up();
            }
            park.yield_now().await;
        } else {
            sleep(core, park).await;
        }
        let now = Instant::now();
        if now >= next_tick {
            more = background(core, listeners);
            next_tick = now + if more { TICK_BUSY } else { TICK };
        }
    }
}

/// Parks in glommio until the ring, another core or the heartbeat has something.
async fn sleep(core: &mut Core, park: &Park) {
    core.ring.signal(true);
    if core.mesh.fall_asleep() && !core.ring.has_work() {
        park.park().await;
    }
    core.mesh.wake_up();
    core.ring.signal(false);
}

/// Handles what other cores have sent; whether there was anything.
#[inline]
fn drain_messages(core: &mut Core) -> bool {
    if core.shards == 1 {
        return false;
    }
    let mut any = core.mesh.send_overdue();
    for index in 0..core.shards {
        let source = ShardId(index);
        while let Some(message) = core.mesh.receive(source) {
            if !std::mem::replace(&mut any, true) {
                core.now = crate::runtime::clock::now();
            }
            handle(core, source, message);
        }
    }
    any
}

fn handle(core: &mut Core, source: ShardId, message: Message) {
    match message {
        Message::Batch(batch) => {
            core.node.receive(core.now, source, batch);
            core.deliver();
        }
        Message::Ask { ticket, question } => {
            let answer = crate::commands::answer(core, &question);
            core.mesh.send(source, Message::Answer { ticket, answer });
        }
        Message::Answer { ticket, answer } => gather::take_answer(core, ticket, source, answer),
    }
}

/// Work that no request asked for, a slice at a time; whether there is more.
fn background(core: &mut Core, listeners: &mut Listeners) -> bool {
    core.now = crate::runtime::clock::now();
    listeners.rearm(core);
    upkeep::visit(core);
    let until = Instant::now() + SLICE;
    let mut more = true;
    while more && Instant::now() < until {
        let progress = core.node.shard.expire_due(core.now, EXPIRE_STEP);
        let unfreed = core.node.shard.free_some(FREE_STEP);
        more = progress.more || unfreed;
    }
    more
}
