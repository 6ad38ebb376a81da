//! The allocator's settings and counters.
#![allow(unsafe_code)]

use tikv_jemalloc_ctl::{background_thread, raw};

/// Freed pages go back to the system after about this long, ms.
const DECAY_MS: isize = 1000;

/// Has freed memory go back to the system within seconds, also when nobody
/// allocates. Where the allocator refuses, memory only goes back later.
pub fn configure() {
    // SAFETY: the names end in NUL, and both are of type ssize_t.
    let decay = unsafe {
        raw::write(b"arenas.dirty_decay_ms\0", DECAY_MS)
            .and(raw::write(b"arenas.muzzy_decay_ms\0", 0isize))
    };
    if let Err(error) = decay.and(background_thread::write(true)) {
        tracing::warn!(%error, "jemalloc keeps its own decay times");
    }
}
