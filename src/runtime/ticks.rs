//! The cheapest clock there is, for timing single commands.
//!
//! SLOWLOG, INFO commandstats and the latency histograms want the time of each
//! command, most of which take a fraction of a microsecond. One reading per
//! group of requests would be cheaper still, but could not tell which of them
//! was slow. Measured in a virtual machine under load: 45 ns for a call of
//! `clock_gettime`, 18 for the processor's time stamp counter, 31 for a reading
//! with all that is counted from it; a pipelined GET took some 700. Commands of
//! a group that follow one another on a core share a reading: the end of one is
//! the beginning of the next.
//!
//! Where the counter does not run at a constant rate through all sleep states,
//! or the processor has none, [`now`] is the monotonic clock in nanoseconds.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Nanoseconds per tick, 32 bits of them behind the point.
static RATE: AtomicU64 = AtomicU64::new(1 << 32);
/// The counter is used.
static COUNTER: AtomicBool = AtomicBool::new(false);

/// How long the counter is compared with the clock. Two readings of each are
/// wrong by less than 100 ns together: 20 millionths.
const COMPARED: Duration = Duration::from_millis(5);

/// Ticks since some instant. To be compared with others of the same thread.
#[inline]
pub fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    if COUNTER.load(Ordering::Relaxed) {
        // SAFETY: every x86-64 processor has the instruction, and it touches
        // no memory.
        return unsafe { std::arch::x86_64::_rdtsc() };
    }
    clock_ns()
}

/// The monotonic clock.
fn clock_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Ticks and clock at one instant. Of several readings the one during which the
/// least went by, because the thread may be interrupted between the two.
fn both() -> (u64, u64) {
    const READINGS: usize = 16;
    let reading = |_| {
        let (before, ns, after) = (now(), clock_ns(), now());
        let width = after.saturating_sub(before);
        (width, before + width / 2, ns)
    };
    let readings = (0..READINGS).map(reading);
    let (_, ticks, ns) = readings.min().expect("there is more than one reading");
    (ticks, ns)
}

/// Ticks in nanoseconds.
#[inline]
pub fn to_ns(ticks: u64) -> u64 {
    // Truncation only beyond 500 years.
    ((u128::from(ticks) * u128::from(RATE.load(Ordering::Relaxed))) >> 32) as u64
}

/// Nanoseconds in ticks, rounded up; the largest number stands for never.
pub fn of_ns(ns: u64) -> u64 {
    let ticks = (u128::from(ns) << 32).div_ceil(u128::from(RATE.load(Ordering::Relaxed).max(1)));
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

/// Finds out how fast the counter runs; takes some milliseconds. Before the
/// first core runs.
pub fn calibrate() {
    #[cfg(target_arch = "x86_64")]
    if has_steady_counter() {
        COUNTER.store(true, Ordering::Relaxed);
        let (first, first_ns) = both();
        std::thread::sleep(COMPARED);
        let (last, last_ns) = both();
        let (ticks, ns) = (last.saturating_sub(first), u128::from(last_ns - first_ns));
        let rate = u64::try_from((ns << 32) / u128::from(ticks.max(1))).unwrap_or(0);
        if ticks > 0 && rate > 0 {
            RATE.store(rate, Ordering::Relaxed);
        } else {
            COUNTER.store(false, Ordering::Relaxed);
        }
    }
}

/// Whether the time stamp counter runs at one rate in all states: what Linux
/// calls `constant_tsc` and `nonstop_tsc`.
#[cfg(target_arch = "x86_64")]
fn has_steady_counter() -> bool {
    use std::arch::x86_64::__cpuid;
    const EXTENDED: u32 = 0x8000_0000;
    const POWER: u32 = 0x8000_0007;
    const INVARIANT: u32 = 1 << 8;
    __cpuid(EXTENDED).eax >= POWER && __cpuid(POWER).edx & INVARIANT != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_keep_time() {
        calibrate();
        let (first, first_ns) = both();
        std::thread::sleep(Duration::from_millis(20));
        let (last, last_ns) = both();
        let (ns, real) = (to_ns(last - first), last_ns - first_ns);
        assert!(ns.abs_diff(real) < real / 50, "{ns} ns for {real} ns");
        assert_eq!(of_ns(u64::MAX), of_ns(u64::MAX).max(u64::MAX / 8));
        assert!(to_ns(of_ns(10_000_000)).abs_diff(10_000_000) <= 2);
    }
}
