//! The table of directives, one row each.
//!
//! Only directives that have an effect in this server have a row; a name
//! without a row is unknown to CONFIG, and elsewhere refused unless `known.rs`
//! has it. Rows whose feature is still
//! to come (`save`, `appendonly`, `maxmemory`, `replicaof`) accept the one
//! value that is true today, because clients and benchmarks ask for them.

use std::path::{Path, PathBuf};

use shards::parse_i64;

use super::directive::{Directive, Kind, Mutability, WRONG_NUMBER};
use super::thresholds::THRESHOLDS;
use super::words::{format_memory, parse_memory};
use super::{AllowFrom, Config, LogLevel, OutputLimit, Reason};

/// A row's number, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DirectiveId {
    Port,
    Bind,
    ProtectedMode,
    Requirepass,
    TcpBacklog,
    TcpKeepalive,
    Timeout,
    Maxclients,
    Shards,
    Databases,
    Dir,
    Dbfilename,
    ProtoMaxBulkLen,
    ClientQueryBufferLimit,
    ClientOutputBufferLimit,
    Loglevel,
    Logfile,
    SlowlogLogSlowerThan,
    SlowlogMaxLen,
    LatencyMonitorThreshold,
    LatencyTracking,
    LatencyTrackingInfoPercentiles,
    EnableDebugCommand,
    EnableProtectedConfigs,
    Save,
    Appendonly,
    Maxmemory,
    Replicaof,
    ListMaxListpackSize,
    HashMaxListpackEntries,
    HashMaxListpackValue,
    SetMaxIntsetEntries,
    SetMaxListpackEntries,
    SetMaxListpackValue,
    ZsetMaxListpackEntries,
    ZsetMaxListpackValue,
    HllSparseMaxBytes,
}

/// All rows.
pub fn directives() -> impl Iterator<Item = &'static Directive> + Clone {
    DIRECTIVES.iter().chain(THRESHOLDS)
}

/// The row with this name or alias, in any case.
pub fn find(name: &[u8]) -> Option<&'static Directive> {
    directives().find(|directive| {
        directive
            .names()
            .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    })
}

const SECONDS_MAX: i64 = i32::MAX as i64;
/// A request is addressed with 32 bits.
const REQUEST_BYTES_MAX: u64 = u32::MAX as u64;
const ALLOW_WORDS: &[&str] = &["no", "yes", "local"];
/// More executors than this is a slip of the keyboard: their channels alone,
/// one per ordered pair, would take gigabytes.
pub const SHARDS_MAX: u16 = 1024;

// Casts in the setters are lossless: the row's limits have been checked.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
static DIRECTIVES: &[Directive] = &[
    Directive {
        id: DirectiveId::Port,
        name: "port",
        alias: None,
        mutability: Mutability::AtStart,
        doc: "TCP port to listen on",
        kind: Kind::Integer {
            min: 0,
            max: 65535,
            get: |c| i64::from(c.port),
            set: |c, n| c.port = n as u16,
        },
    },
    Directive {
        id: DirectiveId::Bind,
        name: "bind",
        alias: None,
        mutability: Mutability::AtStart,
        doc: "Addresses to listen on; one with '-' in front may be missing",
        kind: Kind::Words {
            what: "at most 16 addresses",
            get: |c| c.bind.join(" "),
            set: set_bind,
            lines: |c| vec![c.bind.join(" ")],
        },
    },
    Directive {
        id: DirectiveId::ProtectedMode,
        name: "protected-mode",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Without a password, serve loopback clients only",
        kind: Kind::Bool {
            get: |c| c.protected_mode,
            set: |c, yes| c.protected_mode = yes,
        },
    },
    Directive {
        id: DirectiveId::Requirepass,
        name: "requirepass",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Password that clients must give with AUTH; empty for none",
        kind: Kind::Text {
            what: "a password",
            get: |c| c.requirepass.clone(),
            set: |c, password| {
                c.requirepass = password.to_vec();
                Ok(())
            },
        },
    },
    Directive {
        id: DirectiveId::TcpBacklog,
        name: "tcp-backlog",
        alias: None,
        mutability: Mutability::AtStart,
        doc: "Connections that may wait to be accepted",
        kind: Kind::Integer {
            min: 0,
            max: SECONDS_MAX,
            get: |c| i64::from(c.tcp_backlog),
            set: |c, n| c.tcp_backlog = n as u32,
        },
    },
    Directive {
        id: DirectiveId::TcpKeepalive,
        name: "tcp-keepalive",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Seconds between probes of a silent client; 0 for none",
        kind: Kind::Integer {
            min: 0,
            max: SECONDS_MAX,
            get: |c| i64::from(c.tcp_keepalive_s),
            set: |c, n| c.tcp_keepalive_s = n as u32,
        },
    },
    Directive {
        id: DirectiveId::Timeout,
        name: "timeout",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Close a client after so many idle seconds; 0 for never",
        kind: Kind::Integer {
            min: 0,
            max: SECONDS_MAX,
            get: |c| i64::from(c.timeout_s),
            set: |c, n| c.timeout_s = n as u32,
        },
    },
    Directive {
        id: DirectiveId::Maxclients,
        name: "maxclients",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Clients connected at the same time",
        kind: Kind::Integer {
            min: 1,
            max: u32::MAX as i64,
            get: |c| i64::from(c.maxclients),
            set: |c, n| c.maxclients = n as u32,
        },
    },
    Directive {
        id: DirectiveId::Shards,
        name: "shards",
        alias: None,
        mutability: Mutability::AtStart,
        doc: "Executors, each with its slice of the keyspace; default: usable CPUs",
        kind: Kind::Integer {
            min: 1,
            max: SHARDS_MAX as i64,
            get: |c| i64::from(c.shards),
            set: |c, n| c.shards = n as u16,
        },
    },
    Directive {
        id: DirectiveId::Databases,
        name: "databases",
        alias: None,
        mutability: Mutability::AtStart,
        doc: "Databases that SELECT can choose from",
        kind: Kind::Integer {
            min: 1,
            max: u16::MAX as i64,
            get: |c| i64::from(c.databases),
            set: |c, n| c.databases = n as u16,
        },
    },
    Directive {
        id: DirectiveId::Dir,
        name: "dir",
        alias: None,
        mutability: Mutability::Protected,
        doc: "Folder for the server's files: must exist",
        kind: Kind::Text {
            what: "a folder that exists",
            get: |c| path_bytes(&c.dir),
            set: set_dir,
        },
    },
    Directive {
        id: DirectiveId::Dbfilename,
        name: "dbfilename",
        alias: None,
        mutability: Mutability::Protected,
        doc: "Name of the dump in that folder",
        kind: Kind::Text {
            what: "a file name without '/'",
            get: |c| c.dbfilename.clone(),
            set: |c, name| {
                if name.contains(&b'/') {
                    return Err("dbfilename can't be a path, just a filename".into());
                }
                c.dbfilename = name.to_vec();
                Ok(())
            },
        },
    },
    Directive {
        id: DirectiveId::ProtoMaxBulkLen,
        name: "proto-max-bulk-len",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Longest key or value",
        kind: Kind::Memory {
            min: 1 << 20,
            max: REQUEST_BYTES_MAX,
            get: |c| c.engine.proto_max_bulk_len as u64,
            set: |c, bytes| c.engine.proto_max_bulk_len = bytes as usize,
        },
    },
    Directive {
        id: DirectiveId::ClientQueryBufferLimit,
        name: "client-query-buffer-limit",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Longest request",
        kind: Kind::Memory {
            min: 1 << 20,
            max: REQUEST_BYTES_MAX,
            get: |c| c.client_query_buffer_limit as u64,
            set: |c, bytes| c.client_query_buffer_limit = bytes as usize,
        },
    },
    Directive {
        id: DirectiveId::ClientOutputBufferLimit,
        name: "client-output-buffer-limit",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "What may wait for a client of a class: class, hard limit, soft limit, seconds",
        kind: Kind::Words {
            what: "for each class (normal, replica, pubsub): class, bytes, bytes, seconds",
            get: get_output_limits,
            set: set_output_limits,
            lines: output_limit_lines,
        },
    },
    Directive {
        id: DirectiveId::Loglevel,
        name: "loglevel",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Least important message that is logged",
        kind: Kind::Choice {
            words: &["debug", "verbose", "notice", "warning", "nothing"],
            get: |c| c.loglevel as usize,
            set: |c, index| {
                c.loglevel = match index {
                    0 => LogLevel::Debug,
                    1 => LogLevel::Verbose,
                    2 => LogLevel::Notice,
                    3 => LogLevel::Warning,
                    _ => LogLevel::Nothing,
                };
            },
        },
    },
    Directive {
        id: DirectiveId::Logfile,
        name: "logfile",
        alias: None,
        mutability: Mutability::AtStart,
        doc: "File for the log; empty for standard output",
        kind: Kind::Text {
            what: "a path",
            get: |c| path_bytes(&c.logfile),
            set: |c, path| {
                c.logfile = bytes_path(path);
                Ok(())
            },
        },
    },
    Directive {
        id: DirectiveId::SlowlogLogSlowerThan,
        name: "slowlog-log-slower-than",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Microseconds from which on SLOWLOG keeps a command; 0 for all, -1 for none",
        kind: Kind::Integer {
            min: -1,
            max: i64::MAX,
            get: |c| c.slowlog_log_slower_than,
            set: |c, n| c.slowlog_log_slower_than = n,
        },
    },
    Directive {
        id: DirectiveId::SlowlogMaxLen,
        name: "slowlog-max-len",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Commands that SLOWLOG keeps",
        kind: Kind::Integer {
            min: 0,
            max: i64::MAX,
            get: |c| c.slowlog_max_len as i64,
            set: |c, n| c.slowlog_max_len = n as usize,
        },
    },
    Directive {
        id: DirectiveId::LatencyMonitorThreshold,
        name: "latency-monitor-threshold",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Milliseconds from which on LATENCY keeps an event; 0 for none",
        kind: Kind::Integer {
            min: 0,
            max: i64::MAX,
            get: |c| c.latency_monitor_threshold_ms as i64,
            set: |c, n| c.latency_monitor_threshold_ms = n as u64,
        },
    },
    Directive {
        id: DirectiveId::LatencyTracking,
        name: "latency-tracking",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Keep a histogram of the latencies of each command",
        kind: Kind::Bool {
            get: |c| c.latency_tracking,
            set: |c, yes| c.latency_tracking = yes,
        },
    },
    Directive {
        id: DirectiveId::LatencyTrackingInfoPercentiles,
        name: "latency-tracking-info-percentiles",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Percentiles of latencies that INFO shows",
        kind: Kind::Words {
            what: "numbers from 0 to 100",
            get: |c| c.latency_percentiles.join(" "),
            set: set_percentiles,
            lines: |c| match c.latency_percentiles.as_slice() {
                [] => vec!["\"\"".to_owned()],
                percentiles => vec![percentiles.join(" ")],
            },
        },
    },
    Directive {
        id: DirectiveId::EnableDebugCommand,
        name: "enable-debug-command",
        alias: None,
        mutability: Mutability::AtStart,
        doc: "Who may use DEBUG",
        kind: Kind::Choice {
            words: ALLOW_WORDS,
            get: |c| c.enable_debug_command as usize,
            set: |c, index| c.enable_debug_command = allow_from(index),
        },
    },
    Directive {
        id: DirectiveId::EnableProtectedConfigs,
        name: "enable-protected-configs",
        alias: None,
        mutability: Mutability::AtStart,
        doc: "Who may change dir and dbfilename with CONFIG SET",
        kind: Kind::Choice {
            words: ALLOW_WORDS,
            get: |c| c.enable_protected_configs as usize,
            set: |c, index| c.enable_protected_configs = allow_from(index),
        },
    },
    Directive {
        id: DirectiveId::Save,
        name: "save",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Points in time to write a dump: only \"\" (never) is available yet",
        kind: Kind::Words {
            what: "",
            get: |_| String::new(),
            set: |_, words| match words {
                [] => Ok(()),
                [word] if word.is_empty() => Ok(()),
                _ => Err("writing dumps is not available yet, only \"\" is accepted".into()),
            },
            lines: |_| vec!["\"\"".to_owned()],
        },
    },
    Directive {
        id: DirectiveId::Appendonly,
        name: "appendonly",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Log every write to a file: only no is available yet",
        kind: Kind::Words {
            what: "",
            get: |_| "no".to_owned(),
            set: |_, words| match words {
                [word] if word.eq_ignore_ascii_case(b"no") => Ok(()),
                [word] if word.eq_ignore_ascii_case(b"yes") => {
                    Err("the append-only log is not available yet, only 'no' is accepted".into())
                }
                _ => Err("argument must be 'yes' or 'no'".into()),
            },
            lines: |_| vec!["no".to_owned()],
        },
    },
    Directive {
        id: DirectiveId::Maxmemory,
        name: "maxmemory",
        alias: None,
        mutability: Mutability::AtRunTime,
        doc: "Limit of memory: only 0 (none) is available yet",
        kind: Kind::Words {
            what: "",
            get: |_| "0".to_owned(),
            set: |_, words| match words {
                [] => Ok(()),
                [word] if parse_memory(word) == Some(0) => Ok(()),
                [word] if parse_memory(word).is_some() => {
                    Err("a memory limit is not available yet, only 0 is accepted".into())
                }
                _ => Err("argument must be a memory value".into()),
            },
            lines: |_| vec!["0".to_owned()],
        },
    },
    Directive {
        id: DirectiveId::Replicaof,
        name: "replicaof",
        alias: Some("slaveof"),
        mutability: Mutability::AtStart,
        doc: "Primary to follow: not available yet",
        kind: Kind::Words {
            what: "",
            get: |_| String::new(),
            set: set_replicaof,
            lines: |_| vec!["no one".to_owned()],
        },
    },
];

fn allow_from(index: usize) -> AllowFrom {
    match index {
        0 => AllowFrom::Nobody,
        1 => AllowFrom::Everybody,
        _ => AllowFrom::Local,
    }
}

fn set_bind(config: &mut Config, words: &[Vec<u8>]) -> Result<(), Reason> {
    const ADDRESSES_MAX: usize = 16;
    if words.len() > ADDRESSES_MAX {
        return Err("Too many bind addresses specified.".into());
    }
    let text = |word: &Vec<u8>| String::from_utf8(word.clone()).ok();
    let addresses: Option<Vec<_>> = words.iter().map(text).collect();
    config.bind = addresses.ok_or(Reason::from("an address must be text"))?;
    Ok(())
}

fn set_percentiles(config: &mut Config, words: &[Vec<u8>]) -> Result<(), Reason> {
    if matches!(words, [word] if word.is_empty()) {
        config.latency_percentiles = Vec::new();
        return Ok(());
    }
    let mut percentiles = Vec::new();
    for word in words {
        let number = std::str::from_utf8(word)
            .ok()
            .and_then(|text| text.parse::<f64>().ok())
            .filter(|number| number.is_finite());
        let number = number.ok_or("Invalid latency-tracking-info-percentiles parameters")?;
        if !(0.0..=100.0).contains(&number) {
            let text =
                "latency-tracking-info-percentiles parameters should sit between [0.0,100.0]";
            return Err(text.into());
        }
        // As C prints it, without the zeros at the end.
        let shown = format!("{number:.6}");
        percentiles.push(shown.trim_end_matches('0').trim_end_matches('.').to_owned());
    }
    config.latency_percentiles = percentiles;
    Ok(())
}

/// Redis enters the folder to see whether it can; this looks at it, and leaves
/// entering to whoever owns the process.
fn set_dir(config: &mut Config, path: &[u8]) -> Result<(), Reason> {
    let reason = |error: std::io::Error| os_reason(&error);
    let dir = config.dir.join(bytes_path(path));
    if path.is_empty() {
        return Err("No such file or directory".into());
    }
    let dir = dir.canonicalize().map_err(reason)?;
    if !dir.metadata().map_err(reason)?.is_dir() {
        return Err("Not a directory".into());
    }
    config.dir = dir;
    Ok(())
}

fn set_replicaof(_: &mut Config, words: &[Vec<u8>]) -> Result<(), Reason> {
    match words {
        [no, one] if no.eq_ignore_ascii_case(b"no") && one.eq_ignore_ascii_case(b"one") => Ok(()),
        [_, _] => Err("replication is not available yet, start without it".into()),
        _ => Err(WRONG_NUMBER.into()),
    }
}

fn get_output_limits(config: &Config) -> String {
    let limits = &config.output_limits;
    [
        ("normal", limits.normal),
        ("slave", limits.replica),
        ("pubsub", limits.pubsub),
    ]
    .map(|(class, limit)| {
        let OutputLimit {
            hard_bytes,
            soft_bytes,
            soft_s,
        } = limit;
        format!("{class} {hard_bytes} {soft_bytes} {soft_s}")
    })
    .join(" ")
}

fn output_limit_lines(config: &Config) -> Vec<String> {
    let limits = &config.output_limits;
    [
        ("normal", limits.normal),
        ("replica", limits.replica),
        ("pubsub", limits.pubsub),
    ]
    .map(|(class, limit)| {
        let hard = format_memory(limit.hard_bytes);
        let soft = format_memory(limit.soft_bytes);
        format!("{class} {hard} {soft} {}", limit.soft_s)
    })
    .to_vec()
}

fn set_output_limits(config: &mut Config, words: &[Vec<u8>]) -> Result<(), Reason> {
    if !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".into());
    }
    let mut limits = config.output_limits;
    for group in words.chunks_exact(4) {
        let class = group[0].to_ascii_lowercase();
        let limit = match class.as_slice() {
            b"normal" => &mut limits.normal,
            b"replica" | b"slave" => &mut limits.replica,
            b"pubsub" => &mut limits.pubsub,
            _ => {
                return Err("Invalid client class specified in buffer limit configuration.".into());
            }
        };
        let seconds = parse_i64(&group[3]).and_then(|n| u32::try_from(n).ok());
        let (Some(hard_bytes), Some(soft_bytes), Some(soft_s)) =
            (parse_memory(&group[1]), parse_memory(&group[2]), seconds)
        else {
            let text = "Error in hard, soft or soft_seconds setting in buffer limit configuration.";
            return Err(text.into());
        };
        *limit = OutputLimit {
            hard_bytes,
            soft_bytes,
            soft_s,
        };
    }
    config.output_limits = limits;
    Ok(())
}

/// What the operating system calls the failure, without Rust's "(os error N)".
pub fn os_reason(error: &std::io::Error) -> Reason {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((reason, _)) => reason.to_owned().into(),
        None => text.into(),
    }
}

pub fn bytes_path(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

pub fn path_bytes(path: &Path) -> Vec<u8> {
    use std::os::unix::ffi::OsStrExt;
    path.as_os_str().as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::super::words::split;
    use super::*;

    fn config() -> Config {
        Config::new(PathBuf::from("/"), 2)
    }

    #[test]
    fn rows_are_in_order_and_unique() {
        for (index, directive) in DIRECTIVES.iter().enumerate() {
            assert_eq!(directive.id as usize, index, "{}", directive.name);
            for name in directive.names() {
                assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
                let owner = find(name.to_uppercase().as_bytes()).unwrap();
                assert_eq!(owner.id, directive.id, "{name} stands twice");
            }
        }
    }

    /// What a file or CONFIG SET is given back must be accepted and mean the same.
    #[test]
    fn values_are_read_back() {
        for directive in DIRECTIVES {
            let mut copy = config();
            directive
                .set_text(&mut copy, &directive.get(&config()))
                .unwrap_or_else(|reason| {
                    assert_eq!(directive.id, DirectiveId::Replicaof, "{reason}");
                });
            for line in directive.lines(&config()) {
                let words = split(line.as_bytes()).unwrap();
                directive.set_words(&mut copy, &words).unwrap();
            }
            assert_eq!(copy, config(), "{}", directive.name);
        }
    }

    #[test]
    fn words_may_come_in_one_pair_of_quotes() {
        let mut config = config();
        let bind = find(b"bind").unwrap();
        bind.set_words(&mut config, &[b"127.0.0.1 -::1".to_vec()])
            .unwrap();
        assert_eq!(config.bind, ["127.0.0.1", "-::1"]);
        let many = vec![b"::1".to_vec(); 17];
        assert_eq!(
            bind.set_words(&mut config, &many).unwrap_err(),
            "Too many bind addresses specified."
        );
        let replicaof = find(b"slaveof").unwrap();
        for (words, reason) in [
            (
                &[b"localhost 6379".to_vec()][..],
                "replication is not available yet, start without it",
            ),
            (&[b"localhost".to_vec()][..], WRONG_NUMBER),
        ] {
            assert_eq!(replicaof.set_words(&mut config, words).unwrap_err(), reason);
        }
        assert_eq!(
            replicaof.set_words(&mut config, &[b"no".to_vec(), b"ONE".to_vec()]),
            Ok(())
        );
    }

    /// The options of the README. `CORDIS_BLESS=1 cargo test` rewrites them.
    #[test]
    fn readme_lists_the_directives_there_are() {
        const BEGIN: &str = "<!-- options:begin -->\n";
        const END: &str = "<!-- options:end -->";
        let mut table = "| directive | default | change | |\n|---|---|---|---|\n".to_owned();
        let defaults = Config::new(PathBuf::from("."), 2);
        for directive in DIRECTIVES {
            let default = match directive.id {
                DirectiveId::Shards => "CPUs".to_owned(),
                _ => format!("`{}`", directive.lines(&defaults).join(", ")),
            };
            let change = match directive.mutability {
                Mutability::AtStart => "",
                Mutability::AtRunTime => "run time",
                Mutability::Protected => "protected",
            };
            let (name, doc) = (directive.name, directive.doc);
            table.push_str(&format!("| {name} | {default} | {change} | {doc} |\n"));
        }
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let readme = std::fs::read_to_string(&path).unwrap();
        let (before, rest) = readme.split_once(BEGIN).unwrap();
        let (written, after) = rest.split_once(END).unwrap();
        if written == table {
            return;
        }
        assert!(
            std::env::var_os("CORDIS_BLESS").is_some(),
            "out of date: see above"
        );
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
    }
}
