//! Dumps and the append-only log.

use super::ROW;
use crate::config::directive::{DefaultValue, Directive, ValueType};
use crate::config::known::{Known, any};

pub(super) static DIRECTIVES: &[Directive] = &[
    Directive {
        name: "save",
        doc: "Points in time to write a dump: only \"\" (never) is available yet",
        value: ValueType::Words {
            what: "",
            get: |_| String::new(),
            set: |_, words| match words {
                [] => Ok(()),
                [word] if word.is_empty() => Ok(()),
                _ => Err("writing dumps is not available yet, only \"\" is accepted".into()),
            },
            lines: |_| vec!["\"\"".to_owned()],
        },
        ..ROW
    },
    Directive {
        name: "appendonly",
        default: DefaultValue::Is("no"),
        doc: "Log every write to a file: only no is available yet",
        value: ValueType::Words {
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
        ..ROW
    },
];

pub(super) static WITHOUT_EFFECT: &[Known] = &[
    any("aof-disable-auto-gc"),
    any("aof-load-truncated"),
    any("aof-rewrite-incremental-fsync"),
    any("aof-timestamp-enabled"),
    any("aof-use-rdb-preamble"),
    any("aof_rewrite_cpulist"),
    any("appenddirname"),
    any("appendfilename"),
    any("appendfsync"),
    any("auto-aof-rewrite-min-size"),
    any("auto-aof-rewrite-percentage"),
    any("bgsave_cpulist"),
    any("no-appendfsync-on-rewrite"),
    any("rdb-del-sync-files"),
    any("rdb-save-incremental-fsync"),
    any("rdbchecksum"),
    any("rdbcompression"),
    any("sanitize-dump-payload"),
    any("stop-writes-on-bgsave-error"),
];
