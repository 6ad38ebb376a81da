//! The process, its databases and its folder.

use super::ROW;
use crate::config::directive::{DefaultValue, Directive, Mutability, ValueType};
use crate::config::known::{Known, any, only};
use crate::config::words::{bytes_path, os_reason, path_bytes};
use crate::config::{Config, Reason};
use std::path::PathBuf;

/// More executors than this is a slip of the keyboard: their channels alone,
/// one per ordered pair, would take gigabytes.
pub const SHARDS_MAX: u16 = 1024;

/// The process, its databases and its folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Server {
    /// One executor and one slice of the keyspace each.
    pub shards: u16,
    pub databases: u16,
    /// Absolute.
    pub dir: PathBuf,
    pub dbfilename: Vec<u8>,
}

// Casts in the setters are lossless: the row's limits have been checked.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) static DIRECTIVES: &[Directive] = &[
    Directive {
        name: "shards",
        mutability: Mutability::AtStart,
        default: DefaultValue::OfMachine,
        doc: "Executors, each with its slice of the keyspace; default: usable CPUs",
        value: ValueType::Integer {
            min: 1,
            max: SHARDS_MAX as i64,
            get: |c| i64::from(c.server.shards),
            set: |c, n| c.server.shards = n as u16,
        },
        ..ROW
    },
    Directive {
        name: "databases",
        mutability: Mutability::AtStart,
        default: DefaultValue::Is("16"),
        doc: "Databases that SELECT can choose from",
        value: ValueType::Integer {
            min: 1,
            max: u16::MAX as i64,
            get: |c| i64::from(c.server.databases),
            set: |c, n| c.server.databases = n as u16,
        },
        ..ROW
    },
    Directive {
        name: "dir",
        mutability: Mutability::Protected,
        default: DefaultValue::OfMachine,
        doc: "Folder for the server's files: must exist",
        value: ValueType::Text {
            what: "a folder that exists",
            get: |c| path_bytes(&c.server.dir),
            set: set_dir,
        },
        ..ROW
    },
    Directive {
        name: "dbfilename",
        mutability: Mutability::Protected,
        default: DefaultValue::Is("dump.rdb"),
        doc: "Name of the dump in that folder",
        value: ValueType::Text {
            what: "a file name without '/'",
            get: |c| c.server.dbfilename.clone(),
            set: |c, name| {
                if name.contains(&b'/') {
                    return Err("dbfilename can't be a path, just a filename".into());
                }
                c.server.dbfilename = name.to_vec();
                Ok(())
            },
        },
        ..ROW
    },
];

pub(super) static WITHOUT_EFFECT: &[Known] = &[
    any("always-show-logo"),
    any("bio_cpulist"),
    any("busy-reply-threshold"),
    any("daemonize"),
    any("disable-thp"),
    any("dynamic-hz"),
    any("hz"),
    any("ignore-warnings"),
    only("locale-collate", ""),
    any("lua-time-limit"),
    any("oom-score-adj"),
    any("oom-score-adj-values"),
    any("pidfile"),
    any("proc-title-template"),
    any("server_cpulist"),
    any("set-proc-title"),
    only("shutdown-on-sigint", "default"),
    only("shutdown-on-sigterm", "default"),
    any("shutdown-timeout"),
    any("supervised"),
];

/// Redis enters the folder to see whether it can; this looks at it, and leaves
/// entering to whoever owns the process.
fn set_dir(config: &mut Config, path: &[u8]) -> Result<(), Reason> {
    let reason = |error: std::io::Error| os_reason(&error);
    let dir = config.server.dir.join(bytes_path(path));
    if path.is_empty() {
        return Err("No such file or directory".into());
    }
    let dir = dir.canonicalize().map_err(reason)?;
    if !dir.metadata().map_err(reason)?.is_dir() {
        return Err("Not a directory".into());
    }
    config.server.dir = dir;
    Ok(())
}
