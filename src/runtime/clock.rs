//! The time. Read once per turn and handed on as an argument.

use shards::UnixMs;
use std::time::Duration;

/// The instant now.
pub fn now() -> UnixMs {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    UnixMs(time.tv_sec * 1000 + time.tv_nsec / 1_000_000)
}

/// The same in microseconds since 1970.
pub fn now_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    time.tv_sec.unsigned_abs() * 1_000_000 + time.tv_nsec.unsigned_abs() / 1000
}

/// Nanoseconds of a clock that all cores share and that never goes back.
pub fn monotonic_ns() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// CPU time that the calling thread has used.
pub fn thread_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}
