//! INFO: what the server tells about itself, summed over all cores.

use super::{Context, Flow, ROW, ServerRow, registry};
use crate::config::REDIS_VERSION;
use crate::core::{Answer, Core, CoreStats, DumpStats, KeyspaceStats, Progress};
use crate::runtime::clock;
use crate::runtime::memory::{self, Memory};
use crate::session::Connection;
use crate::stats::{HZ, RowStats, Stats};
use shards::command::{Args, Arity, Group, flags};
use shards::pubsub::Kind;
use shards::{CommandError, DbIndex, UnixMs};
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub static COMMANDS: &[ServerRow] = &[ServerRow {
    name: "info",
    syntax: "[section [section ...]]",
    summary: "Figures and statistics of the server.",
    since: "1.0.0",
    complexity: "O(1)",
    group: Group::Server,
    arity: Arity::AtLeast(1),
    flags: flags::LOADING.with(flags::STALE),
    categories: &["@dangerous"],
    tips: &[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ],
    history: &[("7.0.0", "Takes several sections.")],
    run: info,
    ..ROW
}];

/// A section: its name, its heading, whether it is shown when none is asked
/// for, and its lines.
struct Section {
    name: &'static str,
    heading: &'static str,
    default: bool,
    write: fn(&mut String, &Figures<'_>) -> std::fmt::Result,
}

static SECTIONS: &[Section] = &[
    Section {
        name: "server",
        heading: "Server",
        default: true,
        write: server,
    },
    Section {
        name: "clients",
        heading: "Clients",
        default: true,
        write: clients,
    },
    Section {
        name: "memory",
        heading: "Memory",
        default: true,
        write: memory,
    },
    Section {
        name: "persistence",
        heading: "Persistence",
        default: true,
        write: persistence,
    },
    Section {
        name: "stats",
        heading: "Stats",
        default: true,
        write: stats,
    },
    Section {
        name: "replication",
        heading: "Replication",
        default: true,
        write: replication,
    },
    Section {
        name: "cpu",
        heading: "CPU",
        default: true,
        write: cpu,
    },
    Section {
        name: "modules",
        heading: "Modules",
        default: true,
        write: |_, _| Ok(()),
    },
    Section {
        name: "commandstats",
        heading: "Commandstats",
        default: false,
        write: commandstats,
    },
    Section {
        name: "errorstats",
        heading: "Errorstats",
        default: true,
        write: errorstats,
    },
    Section {
        name: "latencystats",
        heading: "Latencystats",
        default: false,
        write: latencystats,
    },
    Section {
        name: "cluster",
        heading: "Cluster",
        default: true,
        write: cluster,
    },
    Section {
        name: "keyspace",
        heading: "Keyspace",
        default: true,
        write: keyspace,
    },
];

/// What the sections are made of.
struct Figures<'a> {
    core: &'a Core,
    sum: CoreStats,
    memory: Memory,
}

fn info(_: &mut Context<'_>, args: Args<'_>) -> Result<Flow, CommandError> {
    // Large: only if they are to be shown.
    let latencies = |section: &&Section| section.name == "latencystats";
    let histograms = SECTIONS
        .iter()
        .filter(latencies)
        .any(|section| wanted(section, args));
    Ok(Flow::ask_all(
        move |core| stats_here(core, histograms),
        finish,
    ))
}

/// Whether the request asks for this section.
fn wanted(section: &Section, args: Args<'_>) -> bool {
    if args.len() == 1 {
        return section.default;
    }
    args.iter().skip(1).any(|word| {
        let word_is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        word_is(section.name)
            || word_is("all")
            || word_is("everything")
            || (section.default && word_is("default"))
    })
}

fn finish(ctx: &mut Context<'_>, args: Args<'_>, answers: Vec<Answer>) -> Result<(), CommandError> {
    let figures = Figures {
        core: ctx.core,
        sum: CoreStats::sum(&answers),
        memory: memory::read(),
    };
    let mut text = String::new();
    for section in SECTIONS.iter().filter(|section| wanted(section, args)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let written = write!(text, "# {}\r\n", section.heading)
            .and_then(|()| (section.write)(&mut text, &figures));
        written.expect("a string takes everything");
    }
    ctx.reply().verbatim("txt", &text);
    Ok(())
}

fn server(text: &mut String, figures: &Figures<'_>) -> std::fmt::Result {
    let core = figures.core;
    let uptime_s = (core.now.0 - core.shared.started_at.0).max(0) / 1000;
    let system = rustix::system::uname();
    let shown = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    write!(
        text,
        "redis_version:{REDIS_VERSION}\r\nserver_name:cordis\r\ncordis_version:{}\r\n\
         redis_git_sha1:00000000\r\nredis_git_dirty:0\r\nredis_build_id:0\r\n\
         redis_mode:standalone\r\nos:{} {} {}\r\narch_bits:{}\r\n\
         monotonic_clock:POSIX clock_gettime\r\nmultiplexing_api:io_uring\r\n\
         atomicvar_api:rust-core\r\ngcc_version:0.0.0\r\nprocess_id:{}\r\nprocess_supervised:no\r\nrun_id:{}\r\n\
         tcp_port:{}\r\nserver_time_usec:{}\r\nuptime_in_seconds:{uptime_s}\r\n\
         uptime_in_days:{}\r\nhz:{}\r\nconfigured_hz:{}\r\nlru_clock:{}\r\nexecutable:{}\r\n\
         config_file:{}\r\nio_threads_active:0\r\nlistener0:name=tcp{},port={}\r\n\
         shards:{}\r\n",
        env!("CARGO_PKG_VERSION"),
        shown(system.sysname()),
        shown(system.release()),
        shown(system.machine()),
        usize::BITS,
        std::process::id(),
        core.shared.run_id,
        core.shared.tcp_port,
        core.now.0 * 1000,
        uptime_s / 86_400,
        HZ,
        HZ,
        (core.now.0 / 1000) & 0xFF_FFFF,
        std::env::current_exe().unwrap_or_default().display(),
        core.config
            .config_file
            .as_deref()
            .unwrap_or("".as_ref())
            .display(),
        core.config
            .network
            .bind
            .iter()
            .fold(String::new(), |list, address| list + ",bind=" + address),
        core.shared.tcp_port,
        core.shards,
    )
}

fn clients(text: &mut String, figures: &Figures<'_>) -> std::fmt::Result {
    write!(
        text,
        "connected_clients:{}\r\ncluster_connections:0\r\nmaxclients:{}\r\n\
         client_recent_max_input_buffer:{}\r\nclient_recent_max_output_buffer:{}\r\n\
         blocked_clients:{}\r\ntracking_clients:{}\r\nclients_in_timeout_table:{}\r\n\
         total_blocking_keys:{}\r\ntotal_blocking_keys_on_nokey:0\r\n",
        figures.sum.clients,
        figures.core.config.network.maxclients,
        figures.sum.input_buffer_max,
        figures.sum.output_buffer_max,
        figures.sum.blocked,
        figures.sum.trackers,
        figures.sum.waiting_until,
        figures.sum.waited_keys,
    )
}

fn memory(text: &mut String, figures: &Figures<'_>) -> std::fmt::Result {
    let Memory {
        allocated,
        untouched,
        active,
        resident,
        rss,
        peak,
        total,
    } = figures.memory;
    let ratio = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
    // As MEMORY STATS tells them.
    let startup = figures.core.shared.startup_bytes.load(Ordering::Relaxed);
    let startup = startup.saturating_sub(untouched);
    let clients = figures.sum.client_bytes;
    let overhead = startup + clients;
    let dataset = allocated.saturating_sub(overhead);
    for (name, bytes) in [
        ("used_memory", allocated),
        ("used_memory_rss", rss),
        ("used_memory_peak", peak),
    ] {
        write!(text, "{name}:{bytes}\r\n{name}_human:{}\r\n", human(bytes))?;
    }
    write!(
        text,
        "used_memory_peak_perc:{:.2}%\r\nused_memory_overhead:{overhead}\r\n\
         used_memory_startup:{startup}\r\nused_memory_dataset:{dataset}\r\n\
         used_memory_dataset_perc:{:.2}%\r\nallocator_allocated:{allocated}\r\n\
         allocator_active:{active}\r\nallocator_resident:{resident}\r\n\
         total_system_memory:{total}\r\ntotal_system_memory_human:{}\r\n\
         used_memory_lua:0\r\nused_memory_vm_eval:0\r\nused_memory_lua_human:0B\r\n\
         used_memory_scripts_eval:0\r\nnumber_of_cached_scripts:0\r\nnumber_of_functions:0\r\n\
         number_of_libraries:0\r\nused_memory_vm_functions:0\r\nused_memory_vm_total:0\r\n\
         used_memory_vm_total_human:0B\r\nused_memory_functions:0\r\nused_memory_scripts:0\r\n\
         used_memory_scripts_human:0B\r\nmaxmemory:0\r\nmaxmemory_human:0B\r\nmaxmemory_policy:noeviction\r\n\
         allocator_frag_ratio:{:.2}\r\nallocator_frag_bytes:{}\r\n\
         allocator_rss_ratio:{:.2}\r\nallocator_rss_bytes:{}\r\n\
         rss_overhead_ratio:{:.2}\r\nrss_overhead_bytes:{}\r\n\
         mem_fragmentation_ratio:{:.2}\r\nmem_fragmentation_bytes:{}\r\n\
         mem_not_counted_for_evict:0\r\nmem_replication_backlog:0\r\n\
         mem_total_replication_buffers:0\r\nmem_clients_slaves:0\r\n\
         mem_clients_normal:{clients}\r\nmem_cluster_links:0\r\nmem_aof_buffer:0\r\n\
         mem_allocator:jemalloc-5.3.0\r\nactive_defrag_running:0\r\n\
         lazyfree_pending_objects:{}\r\nlazyfreed_objects:{}\r\n",
        100.0 * ratio(allocated, peak),
        100.0 * ratio(dataset, allocated.saturating_sub(startup)),
        human(total),
        ratio(active, allocated),
        active.saturating_sub(allocated),
        ratio(resident, active),
        resident.saturating_sub(active),
        ratio(rss, resident),
        rss as i64 - resident as i64,
        ratio(rss, allocated),
        rss as i64 - allocated as i64,
        figures.sum.unfreed,
        figures.sum.freed,
    )
}

/// Bytes as Redis shows them to people.
fn human(bytes: u64) -> String {
    const UNITS: &[(u64, char)] = &[
        (1 << 40, 'T'),
        (1 << 30, 'G'),
        (1 << 20, 'M'),
        (1 << 10, 'K'),
    ];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit) {
        Some((unit, letter)) => format!("{:.2}{letter}", bytes as f64 / *unit as f64),
        None => format!("{bytes}B"),
    }
}

fn persistence(text: &mut String, figures: &Figures<'_>) -> std::fmt::Result {
    let CoreStats {
        dumps: Some(DumpStats {
            save,
            load,
            loading,
        }),
        changes,
        saved_keys,
        ..
    } = &figures.sum
    else {
        return Ok(());
    };
    let now_s = figures.core.now.0 / 1000;
    let perc = 100.0 * *saved_keys as f64 / save.keys.max(1) as f64;
    let since_s = save
        .background_since
        .map(|since| (now_s - since.0 / 1000).max(0));
    let status = if save.failed.is_some() { "err" } else { "ok" };
    write!(
        text,
        "loading:{}\r\nasync_loading:0\r\ncurrent_cow_peak:0\r\ncurrent_cow_size:0\r\n\
         current_cow_size_age:0\r\ncurrent_fork_perc:{perc:.2}\r\n\
         current_save_keys_processed:{saved_keys}\r\ncurrent_save_keys_total:{}\r\n\
         rdb_changes_since_last_save:{}\r\nrdb_bgsave_in_progress:{}\r\n\
         rdb_last_save_time:{}\r\nrdb_last_bgsave_status:{status}\r\n",
        u8::from(loading.is_some()),
        save.keys,
        changes.saturating_sub(save.changes),
        u8::from(since_s.is_some()),
        save.last_save_s,
    )?;
    if let Some(why) = &save.failed {
        write!(text, "rdb_last_bgsave_error:{}\r\n", why.escape_debug())?;
    }
    write!(
        text,
        "rdb_last_bgsave_time_sec:{}\r\nrdb_current_bgsave_time_sec:{}\r\nrdb_saves:{}\r\n\
         rdb_last_cow_size:0\r\nrdb_last_load_keys_expired:{}\r\nrdb_last_load_keys_loaded:{}\r\n\
         aof_enabled:0\r\n\
         aof_rewrite_in_progress:0\r\naof_rewrite_scheduled:0\r\n\
         aof_last_rewrite_time_sec:-1\r\naof_current_rewrite_time_sec:-1\r\n\
         aof_last_bgrewrite_status:ok\r\naof_rewrites:0\r\n\
         aof_rewrites_consecutive_failures:0\r\naof_last_write_status:ok\r\n\
         aof_last_cow_size:0\r\nmodule_fork_in_progress:0\r\nmodule_fork_last_cow_size:0\r\n",
        save.last_took_s,
        since_s.unwrap_or(-1),
        save.saves,
        load.expired,
        load.keys,
    )?;
    loading
        .as_ref()
        .map_or(Ok(()), |progress| loading_progress(text, progress))
}

fn loading_progress(text: &mut String, progress: &Progress) -> std::fmt::Result {
    let read = progress.read.load(Ordering::Relaxed);
    let took_s = progress.began.elapsed().as_secs();
    let total = progress.total.load(Ordering::Relaxed);
    let left = total.saturating_sub(read);
    let eta_s = (took_s * left).checked_div(read).unwrap_or(1);
    write!(
        text,
        "loading_start_time:{}\r\nloading_total_bytes:{}\r\nloading_rdb_used_mem:{}\r\n\
         loading_loaded_bytes:{read}\r\nloading_loaded_perc:{:.2}\r\n\
         loading_eta_seconds:{eta_s}\r\n",
        progress.began_at.0 / 1000,
        total,
        progress.memory.load(Ordering::Relaxed),
        progress.percent(),
    )
}

fn stats(text: &mut String, figures: &Figures<'_>) -> std::fmt::Result {
    let CoreStats {
        stats,
        expired,
        hits,
        misses,
        ..
    } = &figures.sum;
    let [commands, input, output, cycles, worked_us] = stats.rates.mean();
    let cycle_us = worked_us.checked_div(cycles).unwrap_or(0);
    let [channels, patterns, shard_channels] = sum_of_topics(figures);
    let kib = |bytes: u64| bytes as f64 / 1024.0;
    write!(
        text,
        "total_connections_received:{}\r\ntotal_commands_processed:{}\r\n\
         instantaneous_ops_per_sec:{commands}\r\ntotal_net_input_bytes:{}\r\n\
         total_net_output_bytes:{}\r\ntotal_net_repl_input_bytes:0\r\n\
         total_net_repl_output_bytes:0\r\ninstantaneous_input_kbps:{:.2}\r\n\
         instantaneous_output_kbps:{:.2}\r\ninstantaneous_input_repl_kbps:0.00\r\n\
         instantaneous_output_repl_kbps:0.00\r\nrejected_connections:{}\r\n\
         sync_full:0\r\nsync_partial_ok:0\r\nsync_partial_err:0\r\nexpired_keys:{expired}\r\n\
         expired_stale_perc:0.00\r\nexpired_time_cap_reached_count:{}\r\n\
         expire_cycle_cpu_milliseconds:{}\r\nevicted_keys:0\r\nevicted_clients:0\r\ntotal_eviction_exceeded_time:0\r\n\
         current_eviction_exceeded_time:0\r\nkeyspace_hits:{hits}\r\n\
         keyspace_misses:{misses}\r\npubsub_channels:{channels}\r\npubsub_patterns:{patterns}\r\n\
         pubsubshard_channels:{shard_channels}\r\nlatest_fork_usec:0\r\ntotal_forks:0\r\n\
         migrate_cached_sockets:0\r\nslave_expires_tracked_keys:0\r\n\
         active_defrag_hits:0\r\nactive_defrag_misses:0\r\nactive_defrag_key_hits:0\r\n\
         active_defrag_key_misses:0\r\ntotal_active_defrag_time:0\r\n\
         current_active_defrag_time:0\r\ntracking_total_keys:{}\r\ntracking_total_items:{}\r\n\
         tracking_total_prefixes:{}\r\nunexpected_error_replies:0\r\n\
         total_error_replies:{}\r\nclient_query_buffer_limit_disconnections:{}\r\n\
         client_output_buffer_limit_disconnections:{}\r\ndump_payload_sanitizations:0\r\n\
         total_reads_processed:{}\r\ntotal_writes_processed:{}\r\n\
         io_threaded_reads_processed:0\r\nio_threaded_writes_processed:0\r\n\
         reply_buffer_shrinks:0\r\nreply_buffer_expands:0\r\n\
         eventloop_cycles:{}\r\neventloop_duration_sum:{}\r\neventloop_duration_cmd_sum:{}\r\n\
         instantaneous_eventloop_cycles_per_sec:{cycles}\r\n\
         instantaneous_eventloop_duration_usec:{cycle_us}\r\n\
         acl_access_denied_auth:{}\r\nacl_access_denied_cmd:0\r\nacl_access_denied_key:0\r\n\
         acl_access_denied_channel:0\r\n",
        stats.connections_received,
        stats.commands,
        stats.input_bytes,
        stats.output_bytes,
        kib(input),
        kib(output),
        stats.connections_rejected,
        stats.expiry_capped,
        stats.expiry_ns / 1_000_000,
        figures.sum.tracked_keys,
        figures.sum.tracked_copies,
        figures.sum.tracked_prefixes,
        stats.errors,
        stats.query_limit_disconnections,
        stats.output_limit_disconnections,
        stats.reads,
        stats.writes,
        stats.turns,
        stats.worked_us,
        stats.rows.iter().map(|row| row.ns).sum::<u64>() / 1000,
        stats.denied,
    )
}

fn replication(text: &mut String, figures: &Figures<'_>) -> std::fmt::Result {
    write!(
        text,
        "role:master\r\nconnected_slaves:0\r\nmaster_failover_state:no-failover\r\n\
         master_replid:{}\r\nmaster_replid2:{:0>40}\r\nmaster_repl_offset:0\r\n\
         second_repl_offset:-1\r\nrepl_backlog_active:0\r\nrepl_backlog_size:0\r\n\
         repl_backlog_first_byte_offset:0\r\nrepl_backlog_histlen:0\r\n",
        figures.core.shared.run_id, 0
    )
}

fn cpu(text: &mut String, _: &Figures<'_>) -> std::fmt::Result {
    let (user, system) = memory::cpu_seconds();
    let (main_user, main_system) = memory::cpu_seconds_of_main_thread();
    write!(
        text,
        "used_cpu_sys:{system:.6}\r\nused_cpu_user:{user:.6}\r\n\
         used_cpu_sys_children:0.000000\r\nused_cpu_user_children:0.000000\r\n\
         used_cpu_sys_main_thread:{main_system:.6}\r\n\
         used_cpu_user_main_thread:{main_user:.6}\r\n"
    )
}

fn commandstats(text: &mut String, figures: &Figures<'_>) -> std::fmt::Result {
    let rows = &figures.sum.stats.rows;
    for command in registry().all() {
        let row = rows.get(usize::from(command.number));
        let RowStats {
            calls,
            rejected,
            failed,
            ns,
        } = row.copied().unwrap_or_default();
        if calls + rejected + failed == 0 {
            continue;
        }
        let per_call = ns as f64 / 1000.0 / calls.max(1) as f64;
        write!(
            text,
            "cmdstat_{}:calls={calls},usec={},usec_per_call={per_call:.2},\
             rejected_calls={rejected},failed_calls={failed}\r\n",
            command.full_name,
            ns / 1000,
        )?;
    }
    Ok(())
}

fn latencystats(text: &mut String, figures: &Figures<'_>) -> std::fmt::Result {
    let percentiles = &figures.core.config.logs.latency_percentiles;
    let histograms = &figures.sum.stats.histograms;
    for command in registry().all() {
        let Some(Some(histogram)) = histograms.get(usize::from(command.number)) else {
            continue;
        };
        let values: Vec<String> = percentiles
            .iter()
            .map(|percent| {
                let ns = histogram.percentile(percent.parse().unwrap_or(0.0));
                format!("p{percent}={:.3}", ns as f64 / 1000.0)
            })
            .collect();
        let name = command.full_name;
        let values = values.join(",");
        write!(text, "latency_percentiles_usec_{name}:{values}\r\n")?;
    }
    Ok(())
}

fn errorstats(text: &mut String, figures: &Figures<'_>) -> std::fmt::Result {
    for (code, count) in &figures.sum.stats.error_codes {
        write!(text, "errorstat_{code}:count={count}\r\n")?;
    }
    Ok(())
}

fn cluster(text: &mut String, _: &Figures<'_>) -> std::fmt::Result {
    text.write_str("cluster_enabled:0\r\n")
}

fn keyspace(text: &mut String, figures: &Figures<'_>) -> std::fmt::Result {
    for (db, stats) in figures.sum.keyspace.iter().enumerate() {
        let KeyspaceStats {
            keys,
            expires,
            avg_ttl_ms,
        } = stats;
        if *keys > 0 {
            write!(
                text,
                "db{db}:keys={keys},expires={expires},avg_ttl={avg_ttl_ms}\r\n"
            )?;
        }
    }
    Ok(())
}

/// This core's share.
pub fn stats_here(core: &mut Core, histograms: bool) -> Answer {
    core.stats.note_work(core.turn, clock::thread_cpu());
    let mut sum = CoreStats {
        stats: match histograms {
            true => core.stats.clone(),
            false => core.stats.without_histograms(),
        },
        clients: core.connections.len() as u64,
        changes: core.node.shard_mut().effects().changes(),
        ..CoreStats::default()
    };
    sum.client_bytes = core.spare_buffers.bytes() as u64;
    for (_, connection) in &core.connections {
        let (input, output) = connection.buffer_bytes();
        sum.input_buffer_max = sum.input_buffer_max.max(input);
        sum.output_buffer_max = sum.output_buffer_max.max(output);
        sum.client_bytes += (size_of::<Connection>() + input + output) as u64;
        sum.blocked += u64::from(connection.is_blocked());
    }
    for db in 0..core.config.server.databases {
        let info = core.node.shard().keyspace(DbIndex(db)).info();
        let ttl_ms = |deadline: UnixMs| deadline.0.saturating_sub(core.now.0);
        let avg_ttl_ms = info.mean_deadline.map_or(0, ttl_ms);
        sum.keyspace.push(KeyspaceStats {
            keys: info.keys as u64,
            expires: info.expires as u64,
            avg_ttl_ms: u64::try_from(avg_ttl_ms).unwrap_or(0),
        });
        sum.hits += info.hits;
        sum.misses += info.misses;
        sum.expired += info.expired;
        sum.unfreed += info.unfreed as u64;
        sum.freed += info.freed;
    }
    sum.saved_keys = core.snapshots.walk.as_ref().map_or(0, |walk| walk.keys);
    sum.dumps = core
        .snapshots
        .conductor
        .as_ref()
        .map(|conductor| DumpStats {
            save: conductor.figures.clone(),
            load: conductor.loaded,
            loading: conductor
                .loading
                .as_ref()
                .map(|(progress, _)| Arc::clone(progress)),
        });
    let subscriptions = core.node.subscriptions();
    sum.topics = Kind::ALL.map(|kind| subscriptions.hashes(kind).collect());
    let (keys, deadlines) = core.node.waits();
    (sum.waited_keys, sum.waiting_until) = (keys as u64, deadlines as u64);
    let tracking = core.node.shard().tracking();
    let (keys, copies) = tracking.counts();
    (sum.tracked_keys, sum.tracked_copies) = (keys as u64, copies as u64);
    sum.tracked_prefixes = tracking.prefixes() as u64;
    sum.trackers = core.trackers.len() as u64;
    Answer::Stats(Box::new(sum))
}

/// How many channels, patterns and shard channels there are that anybody listens to, on
/// whatever cores.
fn sum_of_topics(figures: &Figures<'_>) -> [usize; 3] {
    figures.sum.topics.each_ref().map(|hashes| {
        let mut hashes = hashes.clone();
        hashes.sort_unstable();
        hashes.dedup();
        hashes.len()
    })
}

/// CONFIG RESETSTAT for this core.
pub fn reset_here(core: &mut Core) -> Answer {
    let mut stats = Stats::new(core.stats.rows.len());
    stats.tracking = core.stats.tracking;
    stats.begin_work(core.turn, clock::thread_cpu());
    core.stats = stats;
    for db in 0..core.config.server.databases {
        core.node
            .shard_mut()
            .keyspace_mut(DbIndex(db))
            .reset_counters();
    }
    Answer::Done
}

impl CoreStats {
    /// What all cores have answered.
    pub fn sum(answers: &[Answer]) -> Self {
        let mut sum = Self::default();
        for answer in answers {
            if let Answer::Stats(stats) = answer {
                sum.add(stats);
            }
        }
        sum
    }

    /// Adds another core's share.
    fn add(&mut self, other: &Self) {
        if self.stats.rows.is_empty() {
            self.stats = Stats::new(other.stats.rows.len());
        }
        self.stats += &other.stats;
        self.clients += other.clients;
        self.blocked += other.blocked;
        self.client_bytes += other.client_bytes;
        for (sum, topics) in self.topics.iter_mut().zip(&other.topics) {
            sum.extend(topics);
        }
        self.hits += other.hits;
        self.misses += other.misses;
        self.expired += other.expired;
        self.changes += other.changes;
        self.trackers += other.trackers;
        self.tracked_keys += other.tracked_keys;
        self.tracked_copies += other.tracked_copies;
        self.tracked_prefixes = self.tracked_prefixes.max(other.tracked_prefixes);
        self.waited_keys += other.waited_keys;
        self.waiting_until += other.waiting_until;
        self.unfreed += other.unfreed;
        self.saved_keys += other.saved_keys;
        self.dumps = self.dumps.take().or_else(|| other.dumps.clone());
        self.freed += other.freed;
        self.input_buffer_max = self.input_buffer_max.max(other.input_buffer_max);
        self.output_buffer_max = self.output_buffer_max.max(other.output_buffer_max);
        let dbs = self.keyspace.len().max(other.keyspace.len());
        self.keyspace.resize(dbs, KeyspaceStats::default());
        for (sum, db) in self.keyspace.iter_mut().zip(&other.keyspace) {
            // The mean of all is the mean of the parts, weighted.
            let ttls = sum.avg_ttl_ms * sum.expires + db.avg_ttl_ms * db.expires;
            sum.keys += db.keys;
            sum.expires += db.expires;
            sum.avg_ttl_ms = ttls.checked_div(sum.expires).unwrap_or(0);
        }
    }
}
