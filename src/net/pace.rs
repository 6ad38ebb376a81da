//! When a core looks for what is due, and for how much it waits before.
//!
//! A wake-up costs more than a small request: a core that is busy waits until a
//! few requests have come, and answers them together. It must not wait for those
//! who wait for it, so it asks for less than it expects to come.

use crate::runtime::clock;
use crate::runtime::pressure::Pressure;
use crate::session::activity::Activity;
use std::time::{Duration, Instant};

/// After traffic, the core waits in its ring for so long before it parks. To wake up
/// meanwhile, only to find nothing, costs as much as a request: with one client that answers
/// after half a millisecond, 20 us of CPU a message with 300 us, 13 with this.
const LINGER: Duration = Duration::from_millis(5);
/// Background work is looked at so often.
const TICK: Duration = Duration::from_millis(10);
/// The same while there is more of it than fits one slice.
const TICK_BUSY: Duration = Duration::from_millis(1);
/// A core that is busy more than a third of the time with many connections lets
/// requests come in for so long and wakes up once. Measured at pipeline 1 with 50
/// clients, medians of five: 14.5 us of CPU per request with 40 us, 12.3 with 100; in
/// another run 12.5 with 100 and 11.9 with 200; and on two shards 22.5 with 200 and
/// 21.4 with 300.
const COALESCE: Duration = Duration::from_micros(300);
/// [`COALESCE`] while others wait for the CPUs: a wake-up then takes one from somebody,
/// and both find their caches cold. With a client on the same CPUs, medians of three at
/// pipeline 1: 15.3 us of CPU per request with 300, 13.3 with 700, 11.5 with 1,000.
const COALESCE_CONTENDED: Duration = Duration::from_millis(1);
/// At most one in so many of the active connections is waited for.
const ACTIVE_PER_AWAITED: u32 = 3;
/// While others wait for the CPUs, all active connections but one are waited for, yet
/// not more than give so much work, beside which a wake-up is cheap. Measured on keys
/// of the core's own with half of the connections, four fifths and nearly all: 8.9, 8.2
/// and 7.7 us of CPU per request at pipeline 1; at pipeline 100, where each receive is
/// work for 30 us, a tenth of the throughput was lost without this limit.
const WORK_PER_WAKE_UP: Duration = Duration::from_micros(300);
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
const AWAITED_MAX: u32 = 32;

/// When to wait, for how much, and when to do other things.
pub struct Pace {
    pub now: Instant,
    /// There is background work left.
    pub more: bool,
    pub plan: Plan,
    last_traffic: Instant,
    last_tick: Instant,
    next_tick: Instant,
    /// CPU time of this core's thread at the last tick.
    last_cpu: Duration,
    pressure: Pressure,
}

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Completions worth waiting for together, …
    pub want: u32,
    /// … and for how long.
    pub patience: Duration,
}

/// What happened between two ticks.
struct Load {
    elapsed: Duration,
    /// CPU time of this core.
    worked: Duration,
    activity: Activity,
}

impl Load {
    /// Whether other cores can do without this one for longer, and it has enough to do.
    fn may_wait_longer(&self) -> bool {
        let Activity {
            messages, receives, ..
        } = self.activity;
        messages * RECEIVES_PER_MESSAGE <= receives && self.worked * BUSY_CONTENDED > self.elapsed
    }
}

impl Pace {
    pub fn new() -> Self {
        let now = Instant::now();
        Self {
            now,
            more: false,
            plan: Plan {
                want: 1,
                patience: LINGER,
            },
            last_traffic: now,
            last_tick: now,
            next_tick: now,
            last_cpu: clock::thread_cpu(),
            pressure: Pressure::new(now),
        }
    }

    /// Whether to wait in the ring rather than to park, where the end of jobs is heard of.
    pub fn lingers(&self, jobs: bool) -> bool {
        self.more || !jobs && self.has_traffic()
    }

    /// There was something to do of late.
    pub fn has_traffic(&self) -> bool {
        self.now.duration_since(self.last_traffic) < LINGER
    }

    /// There is something to do.
    pub fn busy(&mut self) {
        self.last_traffic = self.now;
    }

    /// Whether [`Pace::tick`] is due.
    pub fn ticks(&self) -> bool {
        self.now >= self.next_tick
    }

    /// How long it is until [`Pace::ticks`].
    pub fn until_tick(&self) -> Duration {
        self.next_tick.saturating_duration_since(self.now)
    }

    /// A tick is due.
    pub fn tick_now(&mut self) {
        self.next_tick = self.now;
    }

    /// Plans what to wait for until the next tick.
    pub fn tick(&mut self, activity: Activity) {
        let cpu = clock::thread_cpu();
        let load = Load {
            elapsed: self.now.duration_since(self.last_tick),
            worked: cpu - std::mem::replace(&mut self.last_cpu, cpu),
            activity,
        };
        let contended = load.may_wait_longer() && self.pressure.is_high(self.now);
        self.plan = Plan::of(&load, contended);
        self.last_tick = self.now;
        self.next_tick = self.now + if self.more { TICK_BUSY } else { TICK };
    }
}

impl Plan {
    /// An idle core answers at once. A busy one waits for as many as come within
    /// [`COALESCE`] at the present rate, but for few beside the connections
    /// that are active: those that are waited for never wait for us. While others
    /// wait for the CPUs (`contended`), a core counts as busy sooner, and waits for
    /// more and longer.
    fn of(load: &Load, contended: bool) -> Self {
        let &Load {
            elapsed,
            worked,
            activity,
        } = load;
        let (active, receives) = (activity.active(), activity.receives);
        let (most, patience) = if contended {
            let per_receive = (worked / receives.max(1)).as_nanos().max(1);
            let worth = WORK_PER_WAKE_UP.as_nanos() / per_receive;
            let worth = u32::try_from(worth).unwrap_or(u32::MAX);
            (active.saturating_sub(1).min(worth), COALESCE_CONTENDED)
        } else {
            (active / ACTIVE_PER_AWAITED, COALESCE)
        };
        let busy = contended || worked * BUSY > elapsed;
        let expected = u128::from(receives) * patience.as_micros() / elapsed.as_micros().max(1);
        let expected = u32::try_from(expected).unwrap_or(u32::MAX);
        let most = most.min(AWAITED_MAX);
        let want = if busy { expected.min(most).max(1) } else { 1 };
        // What is waited for alone ends the wait whenever it comes.
        let patience = if want == 1 { LINGER } else { patience };
        Self { want, patience }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(worked_us: u64, connections: &[(u32, u32)]) -> Load {
        Load {
            elapsed: TICK,
            worked: Duration::from_micros(worked_us),
            activity: Activity::of(connections),
        }
    }

    #[test]
    fn who_is_idle_answers_at_once() {
        for (worked_us, connections, contended) in [
            (3_000, &[(50, 20)][..], false),
            (9_000, &[(1, 1_000)], false),
            (9_000, &[(2, 500)], true),
            (9_000, &[], true),
        ] {
            let plan = Plan::of(&load(worked_us, connections), contended);
            assert_eq!(plan.want, 1, "{connections:?}");
        }
    }

    #[test]
    fn who_is_busy_waits_for_some_and_under_contention_for_more() {
        let busy = load(8_000, &[(30, 33)]);
        assert_eq!(Plan::of(&busy, false).want, 10);
        let plan = Plan::of(&busy, true);
        assert_eq!((plan.want, plan.patience), (29, COALESCE_CONTENDED));
        // Not more than comes in time, ...
        assert_eq!(Plan::of(&load(8_000, &[(30, 5)]), false).want, 4);
        assert_eq!(Plan::of(&load(2_000, &[(30, 5)]), true).want, 15);
        // ... and not more than gives work enough.
        assert_eq!(Plan::of(&load(9_000, &[(30, 10)]), true).want, 10);
    }

    /// Five clients wait for each reply before they send again, and twenty others
    /// send now and then: those would be waited for in vain.
    #[test]
    fn who_sends_now_and_then_is_not_waited_for() {
        let few = load(8_000, &[(5, 200), (20, 2)]);
        assert_eq!(Plan::of(&few, false).want, 1);
        assert_eq!(Plan::of(&few, true).want, 4);
    }

    #[test]
    fn who_others_need_does_not_wait_longer() {
        let mut load = load(8_000, &[(30, 33)]);
        assert!(load.may_wait_longer());
        load.activity.messages = 100;
        assert!(!load.may_wait_longer());
    }
}
