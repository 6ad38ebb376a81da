//! The time. Read once per turn and handed on as an argument.

use shards::UnixMs;

/// The instant now.
pub fn now() -> UnixMs {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    UnixMs(time.tv_sec * 1000 + time.tv_nsec / 1_000_000)
}
