//! Ends sleeps of executors that nothing else would end.
//!
//! glommio parks without looking for tasks that are ready when its preempt timer has run
//! out before it came to run any: when the kernel has kept the thread from its CPU for so
//! long, as happens on a machine with much more work than CPUs. Timers that have fired by
//! then do not fire again, the heartbeat's among them, and such a sleep has no end. But it
//! is one system call, and the executor looks for tasks once that has ended for whatever
//! reason. So a thread looks at all cores now and then, and interrupts those that have
//! not come back from glommio since it looked before. One that is only late, or has just
//! come back, is not harmed.

use super::park::{INTERRUPTION, Pulse};
use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// The time between two looks; a healthy core comes back from glommio with each heartbeat.
const LOOK: Duration = Duration::from_millis(250);

/// Watches `cores` until the process ends.
pub fn start(cores: Vec<Arc<Pulse>>) -> io::Result<()> {
    // A signal without a handler interrupts nothing. What this one does is not asked for.
    signal_hook::flag::register(INTERRUPTION, Arc::default())?;
    let watch = move || {
        let mut seen = vec![0; cores.len()];
        loop {
            thread::sleep(LOOK);
            for (index, core) in cores.iter().enumerate() {
                if is_overdue(&mut seen[index], core.steps()) {
                    tracing::debug!(shard = index, "its executor is woken from outside");
                    core.interrupt();
                }
            }
        }
    };
    let builder = thread::Builder::new().name("watchdog".into());
    builder.spawn(watch).map(drop)
}

/// Whether a core has been inside glommio since the look before. `seen` are its steps
/// then, and become those of `now`.
fn is_overdue(seen: &mut u32, now: u32) -> bool {
    std::mem::replace(seen, now) == now && now % 2 == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_does_not_come_back_from_glommio_is_woken() {
        let looks = [
            (1, false, "starts"),
            (1, true, "does not get further"),
            (1, true, "is woken until it does"),
            (2, false, "runs"),
            (2, false, "works on something long"),
            (5, false, "sleeps, and did something in between"),
            (7, false, "sleeps, and has beaten in between"),
            (7, true, "sleeps on"),
            (u32::MAX, false, "sleeps"),
            (0, false, "runs"),
        ];
        let mut seen = 0;
        for (steps, overdue, what) in looks {
            assert_eq!(is_overdue(&mut seen, steps), overdue, "{what}");
        }
    }
}
