//! One pinned executor per core, and what the machine grants for them.

use super::park::Pulse;
use crate::config::{Config, StartError};
use glommio::{LocalExecutorBuilder, Placement};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Registered I/O memory per executor, bytes: the least that glommio's timers
/// and files need. Counts against memlock.
const IO_MEMORY: usize = 64 * 1024;
/// glommio may park with runnable tasks when this has passed before it ran one
/// (`watchdog`): the longer, the rarer.
const PREEMPT: Duration = Duration::from_millis(100);

/// Descriptors of the process beside those of clients and shards: files, mostly.
const OTHER_DESCRIPTORS: u64 = 128;
/// Of a shard: sockets of which it is not known yet whether there is room for them.
pub const UNDECIDED_MAX: usize = 32;
/// Of a shard: its rings and eventfds, eight when it was counted.
const SHARD_DESCRIPTORS: u64 = 16;
/// Of a shard for each address: a socket, and the second to end listening with.
const LISTENING_DESCRIPTORS: u64 = 2;

/// Starts the executor of core `index` on CPU `cpu` (or anywhere) and runs `main` in
/// it, or `failed` if there cannot be one. Nobody waits for its end: a core tells by itself.
pub fn start<F, G>(
    index: u16,
    cpu: Option<usize>,
    pulse: Arc<Pulse>,
    main: G,
    failed: impl FnOnce(StartError) + Send + 'static,
) -> Result<(), StartError>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    let run = move || {
        // Before the executor first sleeps.
        pulse.begin();
        let placement = cpu.map_or(Placement::Unbound, Placement::Fixed);
        let executor = LocalExecutorBuilder::new(placement)
            .io_memory(IO_MEMORY)
            .preempt_timer(PREEMPT)
            .make();
        match executor {
            Ok(executor) => executor.run(async move { main().await }),
            Err(error) => failed(no_executor(index, &error)),
        }
    };
    let builder = thread::Builder::new().name(format!("shard-{index}"));
    let started = builder.spawn(run).map(drop);
    started.map_err(|error| no_executor(index, &error))
}

fn no_executor(index: u16, error: &dyn std::fmt::Display) -> StartError {
    StartError::new(&format!(
        "shards: cannot start the executor of shard {index} ({error}); raise memlock (ulimit -l) or lower --shards"
    ))
}

/// Finds out whether a core's ring can be had, with a remedy if not.
pub fn probe() -> Result<(), StartError> {
    use rustix::io::Errno;
    let Err(error) = super::ring::Ring::new() else {
        return Ok(());
    };
    let remedy = match Errno::from_io_error(&error) {
        Some(Errno::NOSYS) => "this kernel has no io_uring; use Linux 6.1 or later",
        Some(Errno::PERM | Errno::ACCESS) => {
            "io_uring is forbidden here; set sysctl kernel.io_uring_disabled=0 and allow io_uring in the container's seccomp profile"
        }
        Some(Errno::INVAL) => "this kernel's io_uring is too old; use Linux 6.1 or later",
        Some(Errno::NOMEM) => "memlock is too small; raise it (ulimit -l) or lower --shards",
        _ => "io_uring cannot be used",
    };
    Err(StartError::new(&format!(
        "shards: {remedy} (io_uring_setup: {error})"
    )))
}

/// Lets glommio's other tasks run for a millisecond.
pub async fn nap() {
    glommio::timer::sleep(std::time::Duration::from_millis(1)).await;
}

/// The CPUs this process may run on.
pub fn cpus() -> Vec<usize> {
    let Ok(set) = rustix::thread::sched_getaffinity(None) else {
        return Vec::new();
    };
    (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|cpu| set.is_set(*cpu))
        .collect()
}

/// Clients need descriptors; asks for as many as `maxclients` may take.
///
/// # Errors
/// The largest `maxclients` for which there are enough.
pub fn raise_descriptor_limit(config: &Config) -> Result<(), u64> {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let own = SHARD_DESCRIPTORS + UNDECIDED_MAX as u64;
    let per_shard = own + LISTENING_DESCRIPTORS * config.network.bind.len() as u64;
    let other = OTHER_DESCRIPTORS + per_shard * u64::from(config.server.shards);
    let wanted = u64::from(config.network.maxclients) + other;
    let mut limit = getrlimit(Resource::Nofile);
    let Some(current) = limit.current.filter(|current| *current < wanted) else {
        return Ok(());
    };
    let possible = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    limit.current = Some(possible);
    let possible = setrlimit(Resource::Nofile, limit).map_or(current, |()| possible);
    if possible < wanted {
        return Err(possible.saturating_sub(other));
    }
    Ok(())
}
