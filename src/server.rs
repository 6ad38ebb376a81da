//! From a configuration to a serving process, and to its end.

use crate::commands::registry;
use crate::config::{Authority, Config, StartError};
use crate::core::{
    Conductor, Core, Hindrances, LoadFigures, Marks, Message, Parts, SaveFigures, Shared, Snapshots,
};
use crate::net::listener::Claimed;
use crate::net::{driver, listener};
use crate::runtime::mesh::{Mesh, connect};
use crate::runtime::park::{Park, Pulse};
use crate::runtime::ring::Ring;
use crate::runtime::sequencer::{Sequencer, sequencers};
use crate::runtime::{boot, clock, log, memory, random, ticks, watchdog};
use crate::snapshots::{loading, thread, writer};
use shards::pubsub::Audience;
use socket2::Socket;
use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;

const NO_DESCRIPTORS: &str = "maxclients: nofile is too small for a single client; \
                              raise it (ulimit -n) or lower --shards";

/// Serves until a signal or SHUTDOWN ends it.
///
/// # Errors
/// What keeps the server from starting; nothing is running then.
pub fn run(mut config: Config) -> Result<(), StartError> {
    abort_on_panic();
    outlive_terminals()?;
    std::env::set_current_dir(&config.server.dir).map_err(|error| {
        let dir = config.server.dir.display();
        StartError::new(&format!(
            "--dir {dir}: {error}; give a folder that this user may enter"
        ))
    })?;
    // A relative path is one from that folder, as in Redis.
    log::start(&config)?;
    boot::probe()?;
    let claimed = listener::claim_all(&config)?;
    let addresses: Vec<SocketAddr> = claimed.iter().map(|(address, _)| *address).collect();
    if let Err(possible) = boot::raise_descriptor_limit(&config) {
        // Whoever is beyond it must be told, and cannot without a descriptor.
        config.network.maxclients = match u32::try_from(possible) {
            Ok(possible @ 1..) => possible,
            _ => return Err(StartError::new(NO_DESCRIPTORS)),
        };
        tracing::warn!(
            possible,
            "maxclients: lowered, because nofile (ulimit -n) is too low for more"
        );
    }
    writer::remove_leftovers(&config.server.dir);
    let changes = (0..config.server.shards).map(|_| AtomicU64::new(0));
    let shared = Arc::new(Shared {
        marks: Marks::new(config.server.shards),
        audience: Arc::new(Audience::new(config.server.shards)),
        run_id: random_hex(),
        started_at: clock::now(),
        tcp_port: config.network.port,
        config: Authority::new(config.clone()),
        startup_bytes: AtomicU64::new(0),
        next_slow: AtomicU64::new(0),
        next_client: AtomicU64::new(1),
        clients: AtomicU64::new(0),
        serving: AtomicBool::new(false),
        end_asked: AtomicBool::new(false),
        stopping: AtomicBool::new(false),
        changes: changes.collect(),
    });
    ticks::calibrate();
    let dump = loading::find(&config)?;
    let is_loading = dump.is_some();
    let (started, loaded) = mpsc::channel();
    let readiness = start_cores(&config, claimed, &shared, dump.map(|dump| (dump, started)))?;
    if !config.without_effect.is_empty() {
        let names = config.without_effect.join(" ");
        tracing::warn!("directives of Redis without effect here: {names}");
    }
    stop_on_signals(&shared)?;
    let startup_bytes = memory::allocated();
    shared.startup_bytes.store(startup_bytes, Ordering::Relaxed);
    if !is_loading {
        announce(&config, &addresses);
    }
    // The first client finds the log written and signals attended to.
    shared.serving.store(true, Ordering::Relaxed);
    // Nobody has anything to say if there was nothing to load, or not all was loaded.
    let served = loaded.recv().unwrap_or(Ok(()));
    if served.is_err() {
        shared.stopping.store(true, Ordering::Relaxed);
    } else if is_loading && !shared.stopping.load(Ordering::Relaxed) {
        announce(&config, &addresses);
    }
    // Each core says once more that it is there: at its end. The process does
    // not wait for the executors, which take seconds to wind down.
    for _ in 0..config.server.shards {
        if readiness.recv().is_err() {
            break;
        }
    }
    // Of a dump that nobody wanted to wait for.
    writer::remove_under_way();
    served
}

/// Starts all cores and waits until each is ready. They serve as soon as
/// [`Shared::serving`] is set, and what is returned tells when one has ended.
fn start_cores(
    config: &Config,
    claimed: Vec<Claimed>,
    shared: &Arc<Shared>,
    dump: Option<ToLoad>,
) -> Result<mpsc::Receiver<Result<(), StartError>>, StartError> {
    let cpus = boot::cpus();
    let pinned = usize::from(config.server.shards) <= cpus.len();
    let seed = random::number();
    let (ready, readiness) = mpsc::channel();
    let (addresses, claims): (Vec<SocketAddr>, Vec<Socket>) = claimed.into_iter().unzip();
    let mut claims = Some(claims);
    let is_loading = dump.is_some();
    let mut dump = dump;
    let mut dumps = Some(thread::start().map_err(|error| {
        StartError::new(&format!(
            "dir: no thread for dumps can be had ({error}); raise nproc (ulimit -u)"
        ))
    })?);
    let pulses: Vec<Arc<Pulse>> = (0..config.server.shards).map(|_| Arc::default()).collect();
    watchdog::start(pulses.clone()).map_err(no_signals)?;
    for (mesh, sequencer) in connect(config.server.shards)
        .into_iter()
        .zip(sequencers(config.server.shards))
    {
        let index = mesh.id().0;
        let pulse = &pulses[usize::from(index)];
        let part = Part {
            mesh,
            sequencer,
            config: config.clone(),
            addresses: addresses.clone(),
            // The claims are the first core's sockets.
            sockets: claims.take().unwrap_or_default(),
            // It conducts.
            dumps: dumps.take(),
            dump: dump.take(),
            is_loading,
            shared: Arc::clone(shared),
            seed,
            pulse: Arc::clone(pulse),
            ready: ready.clone(),
        };
        let cpu = pinned.then(|| cpus[usize::from(index)]);
        let ready = ready.clone();
        // The receiver goes away only if another core could not start.
        let failed = move |error| drop(ready.send(Err(error)));
        boot::start(index, cpu, Arc::clone(pulse), move || serve(part), failed)?;
    }
    for _ in 0..config.server.shards {
        readiness
            .recv()
            .map_err(|_| StartError::new("shards: a core ended while starting"))??;
    }
    Ok(readiness)
}

/// A dump to begin with, and who is to hear what comes of it.
type ToLoad = (File, mpsc::Sender<Result<(), StartError>>);

/// What a core is made of before it runs.
struct Part {
    mesh: Mesh<Message>,
    sequencer: Sequencer,
    config: Config,
    addresses: Vec<SocketAddr>,
    /// Those that there are already, in the order of the addresses.
    sockets: Vec<Socket>,
    dumps: Option<thread::Ends>,
    dump: Option<ToLoad>,
    /// Some core has a dump to load first.
    is_loading: bool,
    shared: Arc<Shared>,
    seed: u64,
    pulse: Arc<Pulse>,
    ready: mpsc::Sender<Result<(), StartError>>,
}

/// A core's life.
async fn serve(mut part: Part) {
    let ready = part.ready.clone();
    let dump = part.dump.take();
    match set_up(part) {
        Ok((mut core, (sockets, same), park)) => {
            // The executor's first park may take tens of milliseconds: before
            // the first client, not after.
            boot::nap().await;
            while !core.mesh.all_ready() {
                boot::nap().await;
            }
            let mut listeners = listener::Listeners::new(&mut core, sockets);
            // The receiver goes away only if another core could not start.
            let _ = ready.send(Ok(()));
            while !core.shared.serving.load(Ordering::Relaxed) {
                boot::nap().await;
            }
            if let Some((dump, started)) = dump {
                core.conductor().started = Some(started);
                loading::begin(&mut core, dump);
            }
            driver::run(&mut core, &mut listeners, &park).await;
            // The kernel takes rings apart some time after the process has ended,
            // and what waits in them keeps its socket: who starts the server anew
            // would find its port in use.
            for socket in same {
                let _ = socket.shutdown(std::net::Shutdown::Both);
            }
            let _ = ready.send(Ok(()));
        }
        Err(error) => {
            let _ = ready.send(Err(error));
        }
    }
}

/// Listening sockets, and second descriptors of the same to end listening with.
type Sockets = (Vec<Socket>, Vec<Socket>);

fn set_up(part: Part) -> Result<(Core, Sockets, Park), StartError> {
    let failed = |what: &str, error: std::io::Error| {
        StartError::new(&format!(
            "shards: cannot set up {what} ({error}); raise memlock (ulimit -l) and nofile (ulimit -n), or lower --shards"
        ))
    };
    let Part {
        mesh,
        sequencer,
        config,
        addresses,
        mut sockets,
        dumps,
        is_loading,
        shared,
        pulse,
        seed,
        ..
    } = part;
    let mut ring = Ring::new().map_err(|error| failed("a core's io_uring", error))?;
    let park = Park::new(pulse).map_err(|error| failed("a core's eventfd", error))?;
    ring.register_eventfd(park.eventfd())
        .map_err(|error| failed("a core's eventfd", error))?;
    for address in &addresses[sockets.len()..] {
        let socket = listener::join(*address, config.network.tcp_backlog);
        sockets.push(socket.map_err(|error| failed("a core's listening socket", error))?);
    }
    let same: Result<Vec<_>, _> = sockets.iter().map(Socket::try_clone).collect();
    let same = same.map_err(|error| failed("a core's listening socket", error))?;
    let alarm = park.alarm();
    let alarm = alarm.map_err(|error| failed("a core's eventfd", error))?;
    mesh.publish_ring(ring.fd());
    let conductor = dumps.map(|(orders, reports)| Conductor {
        orders,
        reports,
        alarm,
        saving: None,
        waiting: VecDeque::new(),
        scheduled: false,
        ending: None,
        reload: None,
        figures: SaveFigures::new(clock::now()),
        loading: None,
        read: None,
        loaded: LoadFigures::default(),
        started: None,
        libraries: Vec::new(),
        looked_at: clock::now(),
    });
    let snapshots = Snapshots {
        conductor: conductor.map(Box::new),
        ..Snapshots::default()
    };
    let mut core = Core::new(Parts {
        mesh,
        sequencer,
        ring,
        bell: park.bell(),
        config,
        seed,
        row_flags: registry().flags(),
        snapshots,
        shared,
    });
    core.hindrances = Hindrances {
        loading: is_loading,
        ..Hindrances::NONE
    };
    Ok((core, (sockets, same), park))
}

fn announce(config: &Config, addresses: &[SocketAddr]) {
    let list: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    // Whoever closed standard output does not want to know.
    let _ = writeln!(
        std::io::stdout(),
        "cordis-server {} ready on {}, {} shards, pid {}",
        env!("CARGO_PKG_VERSION"),
        list.join(" and "),
        config.server.shards,
        std::process::id()
    );
}

/// A shard that failed in the middle of a write is worse than none.
fn abort_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        report(info);
        std::process::abort();
    }));
}

/// SIGHUP has no effect, as in Redis: a terminal that closes, or whoever rotates logs
/// and signals each writer, does not end the server. Nor does a file that may not become
/// longer, whose writer is told so.
fn outlive_terminals() -> Result<(), StartError> {
    for signal in [signal_hook::consts::SIGHUP, libc::SIGXFSZ] {
        let ignored = signal_hook::flag::register(signal, Arc::default());
        ignored.map_err(no_signals)?;
    }
    Ok(())
}

fn no_signals(error: std::io::Error) -> StartError {
    StartError::new(&format!("signals: cannot be handled ({error})"))
}

/// SIGTERM and SIGINT end the server, after a last dump if there are save points; the
/// core that decides sees it within a heartbeat. Who sends SIGINT twice does not want to
/// wait for that.
fn stop_on_signals(shared: &Arc<Shared>) -> Result<(), StartError> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).map_err(no_signals)?;
    let shared = Arc::clone(shared);
    let wait = move || {
        let mut asked = false;
        for signal in signals.forever() {
            if asked && signal == SIGINT {
                tracing::warn!("SIGINT once more: ending now");
                writer::remove_under_way();
                std::process::exit(1);
            }
            asked = true;
            tracing::info!(signal, "stopping");
            shared.end_asked.store(true, Ordering::Relaxed);
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(wait)
        .map_err(no_signals)?;
    Ok(())
}

/// Forty hexadecimal digits, as Redis's run id.
fn random_hex() -> String {
    random::bytes::<20>()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
