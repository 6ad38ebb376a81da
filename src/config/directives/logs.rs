//! What is noted of what happens: the log, slow commands, latencies.

use super::ROW;
use crate::config::directive::{DefaultValue, Directive, Mutability, ValueType};
use crate::config::known::{Known, any};
use crate::config::words::{bytes_path, path_bytes};
use crate::config::{Config, Reason};
use shards::Notify;
use std::path::PathBuf;

/// What is noted of what happens: the log, slow commands, latencies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logs {
    pub loglevel: LogLevel,
    /// Empty: standard output.
    pub logfile: PathBuf,
    /// Microseconds; negative: no command is logged as slow.
    pub slowlog_log_slower_than: i64,
    pub slowlog_max_len: usize,
    /// Zero: off.
    pub latency_monitor_threshold_ms: u64,
    pub latency_tracking: bool,
    /// Numbers from 0 to 100, as INFO names them.
    pub latency_percentiles: Vec<String>,
    /// What clients are notified of.
    pub notify_keyspace_events: Notify,
}

/// How much is logged; each level includes those after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LogLevel {
    Debug,
    Verbose,
    #[default]
    Notice,
    Warning,
    Nothing,
}

// Casts in the setters are lossless: the row's limits have been checked.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) static DIRECTIVES: &[Directive] = &[
    Directive {
        name: "loglevel",
        default: DefaultValue::Is("notice"),
        doc: "Least important message that is logged",
        value: ValueType::Choice {
            words: &["debug", "verbose", "notice", "warning", "nothing"],
            get: |c| c.logs.loglevel as usize,
            set: |c, index| {
                c.logs.loglevel = match index {
                    0 => LogLevel::Debug,
                    1 => LogLevel::Verbose,
                    2 => LogLevel::Notice,
                    3 => LogLevel::Warning,
                    _ => LogLevel::Nothing,
                };
            },
        },
        ..ROW
    },
    Directive {
        name: "logfile",
        mutability: Mutability::AtStart,
        doc: "File for the log; empty for standard output",
        value: ValueType::Text {
            what: "a path",
            get: |c| path_bytes(&c.logs.logfile),
            set: |c, path| {
                c.logs.logfile = bytes_path(path);
                Ok(())
            },
        },
        ..ROW
    },
    Directive {
        name: "slowlog-log-slower-than",
        default: DefaultValue::Is("10000"),
        doc: "Microseconds from which on SLOWLOG keeps a command; 0 for all, -1 for none",
        value: ValueType::Integer {
            min: -1,
            max: i64::MAX,
            get: |c| c.logs.slowlog_log_slower_than,
            set: |c, n| c.logs.slowlog_log_slower_than = n,
        },
        ..ROW
    },
    Directive {
        name: "slowlog-max-len",
        default: DefaultValue::Is("128"),
        doc: "Commands that SLOWLOG keeps",
        value: ValueType::Integer {
            min: 0,
            max: i64::MAX,
            get: |c| c.logs.slowlog_max_len as i64,
            set: |c, n| c.logs.slowlog_max_len = n as usize,
        },
        ..ROW
    },
    Directive {
        name: "latency-monitor-threshold",
        default: DefaultValue::Is("0"),
        doc: "Milliseconds from which on LATENCY keeps an event; 0 for none",
        value: ValueType::Integer {
            min: 0,
            max: i64::MAX,
            get: |c| c.logs.latency_monitor_threshold_ms as i64,
            set: |c, n| c.logs.latency_monitor_threshold_ms = n as u64,
        },
        ..ROW
    },
    Directive {
        name: "latency-tracking",
        default: DefaultValue::Is("yes"),
        doc: "Keep a histogram of the latencies of each command",
        value: ValueType::Bool {
            get: |c| c.logs.latency_tracking,
            set: |c, yes| c.logs.latency_tracking = yes,
        },
        ..ROW
    },
    Directive {
        name: "latency-tracking-info-percentiles",
        default: DefaultValue::Is("50 99 99.9"),
        doc: "Percentiles of latencies that INFO shows",
        value: ValueType::Words {
            what: "numbers from 0 to 100",
            get: |c| c.logs.latency_percentiles.join(" "),
            set: set_percentiles,
            lines: |c| match c.logs.latency_percentiles.as_slice() {
                [] => vec!["\"\"".to_owned()],
                percentiles => vec![percentiles.join(" ")],
            },
        },
        ..ROW
    },
    Directive {
        name: "notify-keyspace-events",
        doc: "Events of keys that clients are notified of, by letters; empty for none",
        value: ValueType::Text {
            what: "letters of Ag$lshzxeKEtmdn",
            get: |c| c.logs.notify_keyspace_events.letters(true).into_bytes(),
            set: set_notify,
        },
        ..ROW
    },
];

fn set_notify(config: &mut Config, letters: &[u8]) -> Result<(), Reason> {
    let notify =
        Notify::parse(letters).ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?;
    config.logs.notify_keyspace_events = notify;
    Ok(())
}

pub(super) static WITHOUT_EFFECT: &[Known] = &[
    any("crash-log-enabled"),
    any("crash-memcheck-enabled"),
    any("syslog-enabled"),
    any("syslog-facility"),
    any("syslog-ident"),
];

fn set_percentiles(config: &mut Config, words: &[Vec<u8>]) -> Result<(), Reason> {
    if matches!(words, [word] if word.is_empty()) {
        config.logs.latency_percentiles = Vec::new();
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
    config.logs.latency_percentiles = percentiles;
    Ok(())
}
