//! The loop of one core.
//!
//! One task inside the core's glommio executor, in turns:
//!
//! ```text
//! messages of other cores → one send per dirty connection, one batch per other
//!   core, a ring for those that sleep → one system call submits all that and
//!   waits → completions of the ring → what is due (expiry …)
//! ```
//!
//! When a turn found nothing to do: for a few milliseconds after traffic the
//! core waits in its own ring, where new traffic wakes it cheapest; after
//! that it parks in glommio, to be woken by its eventfd (the ring signals it)
//! or by the heartbeat. The heartbeat also bounds the harm of glommio's known
//! fault of parking with runnable tasks.

use super::listener::Listeners;
use super::{complete, flush, let_go, upkeep};
use crate::commands::transaction;
use crate::coordinator::gather;
use crate::core::{Activity, Core, Message};
use crate::dispatch::Scratch;
use crate::runtime::clock;
use crate::runtime::park::Park;
use crate::runtime::pressure::Pressure;
use crate::runtime::ring::Completion;
use shards::ShardId;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// After traffic, the core waits in its ring for so long before it parks.
const LINGER: Duration = Duration::from_millis(5);
/// glommio's other tasks run at least so often.
const YIELD: Duration = Duration::from_millis(1);
/// A wake-up costs more than a small request. A core that is busy more than
/// a third of the time with many connections lets requests come in for so long
/// and wakes up once. Measured at pipeline 1 with 50 clients, medians of five:
/// 14.5 us of CPU per request with 40 us, 12.3 with 100; in another run 12.5 with
/// 100 and 11.9 with 200; and on two shards 22.5 with 200 and 21.4 with 300.
const COALESCE: Duration = Duration::from_micros(300);
/// [`COALESCE`] while others wait for the CPUs: a wake-up then takes one from somebody,
/// and both find their caches cold. With a client on the same CPUs, medians of three at
/// pipeline 1: 15.3 us of CPU per request with 300, 13.3 with 700, 11.5 with 1,000.
const COALESCE_CONTENDED: Duration = Duration::from_millis(1);
/// At most one in so many of the active connections is waited for.
const ACTIVE_PER_AWAITED: u32 = 3;
/// The same while others wait for the CPUs.
const ACTIVE_PER_AWAITED_CONTENDED: u32 = 2;
/// A core is busy that works for more than one part in so many of the time.
const BUSY: u32 = 3;
/// The same while others wait for the CPUs.
const BUSY_CONTENDED: u32 = 8;
/// A core whose clients ask it for its own keys hears from others not more often than
/// once in so many receives. Where others wait for this core, [`COALESCE_CONTENDED`]
/// would cost them more than it saves: measured on two shards, a fifth of the
/// throughput of GETs at pipeline 16, and a third of that of MSETs.
const RECEIVES_PER_MESSAGE: u32 = 16;
/// Completions that are waited for at most.
const AWAITED_MAX: u128 = 32;
/// Background work is looked at so often.
const TICK: Duration = Duration::from_millis(10);
/// The same while there is more of it than fits one slice.
const TICK_BUSY: Duration = Duration::from_millis(1);
/// What a slice of background work may take.
const SLICE: Duration = Duration::from_micros(300);
/// What a turn may spend on requests that are worked on in slices. A request that
/// crosses to another core and back waits for three turns.
const REQUEST_SLICE: Duration = Duration::from_micros(100);
/// Entries and lines of tables that expiry visits between two looks at the clock.
const EXPIRE_STEP: usize = 256;
/// Entries that are freed between two looks at the clock.
const FREE_STEP: usize = 1024;

/// Serves until the server is asked to stop.
pub async fn run(core: &mut Core, listeners: &mut Listeners, park: &Park) {
    let mut completions: Vec<Completion> = Vec::with_capacity(512);
    let mut pace = Pace::new();
    let mut scratch = Scratch::default();
    while !core.shared.stopping.load(Ordering::Relaxed) {
        let messages = drain_messages(core);
        gather::take_finished(core);
        if core.node.has_server_steps() {
            transaction::run_server_steps(core);
        }
        flush(core, &mut scratch);
        core.publish();
        // Everything to be sent goes down with the same call that waits for
        // what comes next.
        let lingering = pace.lingers();
        let idle = !messages && core.next_turn.is_empty() && !core.node.has_slices();
        if idle && lingering && core.mesh.fall_asleep() {
            core.ring.wait(pace.want, pace.coalesce);
            core.mesh.wake_up();
        } else {
            core.ring.enter();
        }
        core.ring.completions(&mut completions);
        let mut busy = messages || !completions.is_empty();
        pace.now = Instant::now();
        if busy {
            pace.last_traffic = pace.now;
            core.now = clock::now();
            for completion in completions.drain(..) {
                complete(core, &mut scratch, listeners, completion);
            }
        }
        if core.node.next_timeout().is_some() {
            core.now = clock::now();
            busy |= core.node.time_out(core.now);
            core.deliver();
        }
        if let Some(pause) = core.pause {
            core.now = clock::now();
            if pause.until <= core.now {
                core.end_pause();
                busy = true;
            }
        }
        if core.node.has_slices() {
            go_on(core);
            busy = true;
        }
        if pace.now >= pace.next_tick {
            pace.more = background(core, listeners);
            pace.tick(core.activity.next());
        }
        if pace.now.duration_since(pace.last_yield) >= YIELD || park.should_yield() {
            pace.last_yield = pace.now;
            park.yield_now().await;
        }
        if !busy && !lingering && core.dirty.is_empty() && core.next_turn.is_empty() {
            sleep(core, park).await;
            pace.now = Instant::now();
        }
    }
}

/// When to wait, for how much, and when to do other things.
struct Pace {
    now: Instant,
    last_traffic: Instant,
    last_yield: Instant,
    last_tick: Instant,
    next_tick: Instant,
    /// There is background work left.
    more: bool,
    /// CPU time of this core's thread at the last tick.
    last_cpu: Duration,
    /// Completions worth waiting for together, and for how long; see [`Pace::tick`].
    want: u32,
    coalesce: Duration,
    pressure: Pressure,
}

impl Pace {
    fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            last_traffic: now,
            last_yield: now,
            last_tick: now,
            next_tick: now,
            more: false,
            last_cpu: clock::thread_cpu(),
            want: 1,
            coalesce: COALESCE,
            pressure: Pressure::new(now),
        }
    }

    /// Whether to wait in the ring rather than to park.
    fn lingers(&self) -> bool {
        self.more || self.now.duration_since(self.last_traffic) < LINGER
    }

    /// Plans the next tick, and how many receives to wait for until then. An
    /// idle core answers at once. A busy one waits for as many as come within
    /// [`COALESCE`] at the present rate, but for few beside the connections
    /// that are active: those that are waited for never wait for us. While others
    /// wait for the CPUs, a core that other cores hardly need counts as busy sooner,
    /// and waits for more and longer.
    fn tick(&mut self, activity: Activity) {
        let elapsed = self.now.duration_since(self.last_tick);
        let cpu = clock::thread_cpu();
        let worked = cpu - self.last_cpu;
        self.last_cpu = cpu;
        let mut busy = worked * BUSY > elapsed;
        let mut per_awaited = ACTIVE_PER_AWAITED;
        self.coalesce = COALESCE;
        let by_itself = activity.messages * RECEIVES_PER_MESSAGE <= activity.receives;
        if by_itself && worked * BUSY_CONTENDED > elapsed && self.pressure.is_high(self.now) {
            busy = true;
            per_awaited = ACTIVE_PER_AWAITED_CONTENDED;
            self.coalesce = COALESCE_CONTENDED;
        }
        let expected =
            u128::from(activity.receives) * self.coalesce.as_micros() / elapsed.as_micros().max(1);
        let most = u128::from(activity.active / per_awaited).min(AWAITED_MAX);
        // Lossless: at most AWAITED_MAX.
        self.want = if busy {
            expected.min(most).max(1) as u32
        } else {
            1
        };
        self.last_tick = self.now;
        self.next_tick = self.now + if self.more { TICK_BUSY } else { TICK };
    }
}

/// Parks in glommio until the ring, another core or the heartbeat has something.
async fn sleep(core: &mut Core, park: &Park) {
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
fn drain_messages(core: &mut Core) -> bool {
    if core.shards == 1 {
        return false;
    }
    let mut any = core.mesh.send_overdue();
    for index in 0..core.shards {
        let source = ShardId(index);
        while let Some(message) = core.mesh.receive(source) {
            if !std::mem::replace(&mut any, true) {
                core.now = clock::now();
            }
            handle(core, source, message);
        }
    }
    any
}

fn handle(core: &mut Core, source: ShardId, message: Message) {
    core.activity.messages += 1;
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
    upkeep::visit(core);
    let_go(core);
    let began = Instant::now();
    let mut more = true;
    while more && began.elapsed() < SLICE {
        // As in Redis, nothing expires by itself during a pause.
        let expires = core.pause.is_none() && core.active_expire;
        more = expires && core.node.shard.expire_due(core.now, EXPIRE_STEP).more;
        more |= core.node.shard.free_some(FREE_STEP);
    }
    core.note_expire_cycle(began);
    more
}
