//! What one client may send and have waiting.

use super::ROW;
use crate::config::directive::{DefaultValue, Directive, ValueType};
use crate::config::known::{Known, only};
use crate::config::words::{format_memory, parse_memory};
use crate::config::{Config, Reason};
use shards::parse_i64;
use shards::replies::Class;

/// A request is addressed with 32 bits.
const REQUEST_BYTES_MAX: u64 = u32::MAX as u64;

/// What one client may send and have waiting.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clients {
    pub client_query_buffer_limit: usize,
    pub output_limits: OutputLimits,
    /// Keys of all shards that are remembered for clients that keep copies of them; zero:
    /// any number.
    pub tracking_table_max_keys: u64,
}

/// Bounds of what may wait to be sent to a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputLimit {
    /// Zero: none.
    pub hard_bytes: u64,
    /// Zero: none.
    pub soft_bytes: u64,
    /// How long the soft limit may be exceeded.
    pub soft_s: u32,
}

/// `client-output-buffer-limit`, per class of clients.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutputLimits {
    pub normal: OutputLimit,
    pub replica: OutputLimit,
    pub pubsub: OutputLimit,
}

impl OutputLimits {
    pub fn of(&self, class: Class) -> OutputLimit {
        match class {
            Class::Normal => self.normal,
            Class::Replica => self.replica,
            Class::Pubsub => self.pubsub,
            // In Redis these are normal clients, which have no limit unless one is set.
            Class::Monitor if self.normal.hard_bytes == 0 && self.normal.soft_bytes == 0 => {
                self.pubsub
            }
            Class::Monitor => self.normal,
        }
    }
}

// Casts in the setters are lossless: the row's limits have been checked.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) static DIRECTIVES: &[Directive] = &[
    Directive {
        name: "proto-max-bulk-len",
        default: DefaultValue::Is("512mb"),
        doc: "Longest key or value",
        value: ValueType::Memory {
            min: 1 << 20,
            max: REQUEST_BYTES_MAX,
            get: |c| c.engine.proto_max_bulk_len as u64,
            set: |c, bytes| c.engine.proto_max_bulk_len = bytes as usize,
        },
        ..ROW
    },
    Directive {
        name: "client-query-buffer-limit",
        default: DefaultValue::Is("1gb"),
        doc: "Longest request",
        value: ValueType::Memory {
            min: 1 << 20,
            max: REQUEST_BYTES_MAX,
            get: |c| c.clients.client_query_buffer_limit as u64,
            set: |c, bytes| c.clients.client_query_buffer_limit = bytes as usize,
        },
        ..ROW
    },
    Directive {
        name: "client-output-buffer-limit",
        default: DefaultValue::Is("normal 0 0 0 replica 256mb 64mb 60 pubsub 32mb 8mb 60"),
        doc: "What may wait for a client of a class: class, hard limit, soft limit, seconds",
        value: ValueType::Words {
            what: "for each class (normal, replica, pubsub): class, bytes, bytes, seconds",
            get: get_output_limits,
            set: set_output_limits,
            lines: output_limit_lines,
        },
        ..ROW
    },
    Directive {
        name: "tracking-table-max-keys",
        default: DefaultValue::Is("1000000"),
        doc: "Keys that are remembered for client-side caching; 0 for any number",
        value: ValueType::Integer {
            min: 0,
            max: i64::MAX,
            get: |c| c.clients.tracking_table_max_keys as i64,
            set: |c, n| c.clients.tracking_table_max_keys = n as u64,
        },
        ..ROW
    },
];

pub(super) static WITHOUT_EFFECT: &[Known] = &[only("maxmemory-clients", "0")];

fn get_output_limits(config: &Config) -> String {
    let limits = &config.clients.output_limits;
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
    let limits = &config.clients.output_limits;
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
    let mut limits = config.clients.output_limits;
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
    config.clients.output_limits = limits;
    Ok(())
}
