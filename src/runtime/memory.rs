//! The allocator's settings and counters.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};
use tikv_jemalloc_ctl::stats;

/// jemalloc's options, read by it before `main`. Freed pages go back to the
/// system within about a second (the default is ten), also when nobody
/// allocates: a background thread sees to it. Allocations from 16 KiB on begin
/// at the start of a page: by default each gets another page, so that it can
/// begin at a place of its own, and for the pages of collections that is a
/// tenth of their memory.
// SAFETY: jemalloc expects a pointer to a string that ends in NUL under this
// name, and a reference to an array is one.
#[unsafe(export_name = "_rjem_malloc_conf")]
#[used]
static OPTIONS: &[u8; 82] =
    b"dirty_decay_ms:1000,muzzy_decay_ms:0,background_thread:true,cache_oblivious:false\0";

/// Memory figures for INFO, in bytes. What was allocated and never touched (buffers
/// of cores that have had little to do) takes no memory and counts nowhere: it would
/// look as if it had been swapped out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// What the server asked for and has not freed.
    pub allocated: u64,
    /// What it asked for beyond that and never touched.
    pub untouched: u64,
    /// The pages that `allocated` lies on.
    pub active: u64,
    /// What the allocator holds.
    pub resident: u64,
    /// What the kernel counts for the process.
    pub rss: u64,
    /// The largest `allocated` that was read.
    pub peak: u64,
    /// Of the machine.
    pub total: u64,
}

/// Notes the highest use of memory, which INFO reports.
pub fn note_peak() -> u64 {
    static PEAK: AtomicU64 = AtomicU64::new(0);
    // The counters are of the moment of the last advance.
    let _ = tikv_jemalloc_ctl::epoch::advance();
    let allocated = stats::allocated::read().map_or(0, |bytes| bytes as u64);
    PEAK.fetch_max(allocated, Ordering::Relaxed).max(allocated)
}

/// Memory of the machine, bytes.
pub fn total() -> u64 {
    let system = rustix::system::sysinfo();
    system.totalram.saturating_mul(u64::from(system.mem_unit))
}

/// What the server asked for and has not freed, touched or not.
pub fn allocated() -> u64 {
    let _ = tikv_jemalloc_ctl::epoch::advance();
    stats::allocated::read().map_or(0, |bytes| bytes as u64)
}

/// Reads the figures. Microseconds; figures that cannot be had are zero.
pub fn read() -> Memory {
    let peak = note_peak();
    let bytes = |read: Result<usize, _>| read.map_or(0, |bytes| bytes as u64);
    Memory {
        allocated: bytes(stats::allocated::read()),
        untouched: 0,
        active: bytes(stats::active::read()),
        resident: bytes(stats::resident::read()),
        rss: proc_field("/proc/self/statm", 1) * rustix::param::page_size() as u64,
        peak,
        total: total(),
    }
    .without_untouched(swapped)
}

/// Bytes of the process that were swapped out.
fn swapped() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmSwap:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

impl Memory {
    /// The figures without what is neither in memory nor swapped out. `swapped` is
    /// asked only if that may matter.
    fn without_untouched(mut self, swapped: impl FnOnce() -> u64) -> Self {
        if self.rss >= self.resident {
            return self;
        }
        let there = self.rss + swapped();
        self.untouched = self.allocated.saturating_sub(there);
        self.peak -= self.untouched.min(self.peak);
        for figure in [&mut self.allocated, &mut self.active, &mut self.resident] {
            *figure = there.min(*figure);
        }
        self
    }
}

/// Gives the pages that hold nothing back to the system; whether the allocator
/// did so. Milliseconds: keep it off the executors.
pub fn purge() -> bool {
    // All arenas at once have this number.
    const NAME: &std::ffi::CStr = c"arena.4096.purge";
    // SAFETY: the name ends in NUL, and this control neither reads nor writes
    // a value, which null pointers say.
    let failed = unsafe {
        tikv_jemalloc_sys::mallctl(
            NAME.as_ptr(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            0,
        )
    };
    failed == 0
}

/// What the allocator tells about itself. Milliseconds: keep it off the executors.
pub fn allocator_report() -> Vec<u8> {
    let mut report = Vec::new();
    let options = tikv_jemalloc_ctl::stats_print::Options::default();
    match tikv_jemalloc_ctl::stats_print::stats_print(&mut report, options) {
        Ok(()) => report,
        Err(error) => error.to_string().into_bytes(),
    }
}

/// CPU seconds of the process: in user mode, in the kernel.
pub fn cpu_seconds() -> (f64, f64) {
    cpu_seconds_in("/proc/self/stat")
}

/// The same of the thread that `main` runs in; here it only waits for the cores.
pub fn cpu_seconds_of_main_thread() -> (f64, f64) {
    cpu_seconds_in(&format!("/proc/self/task/{}/stat", std::process::id()))
}

fn cpu_seconds_in(path: &str) -> (f64, f64) {
    // Counted from behind the name, which may contain anything.
    let seconds = |field| {
        let ticks = proc_field(path, field);
        ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    };
    (seconds(11), seconds(12))
}

/// Field number `index` of a file in /proc, behind a name in parentheses if
/// there is one.
fn proc_field(path: &str, index: usize) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let fields = text
        .rsplit_once(')')
        .map_or(text.as_str(), |(_, rest)| rest);
    let field = fields.split_whitespace().nth(index);
    field.and_then(|field| field.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(allocated: u64, resident: u64, rss: u64) -> Memory {
        Memory {
            allocated,
            active: allocated + 5,
            resident,
            rss,
            peak: allocated + 3,
            ..Memory::default()
        }
    }

    /// Monitoring takes more used than resident memory for swapping; that it is only
    /// where something was swapped.
    #[test]
    fn what_was_never_touched_does_not_count() {
        let memory = figures(200, 230, 120).without_untouched(|| 0);
        assert_eq!((memory.allocated, memory.untouched), (120, 80));
        assert_eq!((memory.active, memory.resident), (120, 120));
        assert_eq!(memory.peak, 123);
        let memory = figures(200, 230, 120).without_untouched(|| 90);
        assert_eq!((memory.allocated, memory.untouched), (200, 0));
        assert_eq!((memory.active, memory.resident), (205, 210));
        assert_eq!(memory.peak, 203);
        let memory = figures(200, 230, 240).without_untouched(|| 0);
        assert_eq!((memory.allocated, memory.untouched), (200, 0));
        assert_eq!((memory.active, memory.resident), (205, 230));
    }
}
