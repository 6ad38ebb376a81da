//! Primaries and replicas.

use super::ROW;
use crate::config::directive::{DefaultValue, Directive, Mutability, ValueType, WRONG_NUMBER};
use crate::config::known::{Known, any, only};
use crate::config::{Config, Reason};

pub(super) static DIRECTIVES: &[Directive] = &[Directive {
    name: "replicaof",
    alias: Some("slaveof"),
    mutability: Mutability::AtStart,
    default: DefaultValue::Is("no one"),
    doc: "Primary to follow: not available yet",
    value: ValueType::Words {
        what: "",
        get: |_| String::new(),
        set: set_replicaof,
        lines: |_| vec!["no one".to_owned()],
    },
    ..ROW
}];

pub(super) static WITHOUT_EFFECT: &[Known] = &[
    only("masterauth", ""),
    only("masteruser", ""),
    any("min-replicas-max-lag"),
    only("min-replicas-to-write", "0"),
    any("propagation-error-behavior"),
    any("repl-backlog-size"),
    any("repl-backlog-ttl"),
    any("repl-disable-tcp-nodelay"),
    any("repl-diskless-load"),
    any("repl-diskless-sync"),
    any("repl-diskless-sync-delay"),
    any("repl-diskless-sync-max-replicas"),
    any("repl-ping-replica-period"),
    any("repl-timeout"),
    only("replica-announce-ip", ""),
    only("replica-announce-port", "0"),
    any("replica-announced"),
    any("replica-ignore-disk-write-errors"),
    any("replica-ignore-maxmemory"),
    any("replica-lazy-flush"),
    any("replica-priority"),
    any("replica-read-only"),
    any("replica-serve-stale-data"),
];

fn set_replicaof(_: &mut Config, words: &[Vec<u8>]) -> Result<(), Reason> {
    match words {
        [no, one] if no.eq_ignore_ascii_case(b"no") && one.eq_ignore_ascii_case(b"one") => Ok(()),
        [_, _] => Err("replication is not available yet, start without it".into()),
        _ => Err(WRONG_NUMBER.into()),
    }
}
