//! Where clients come in, and who is let in.

use super::ROW;
use crate::config::directive::{DefaultValue, Directive, Mutability, ValueType};
use crate::config::known::{Known, any, only};
use crate::config::{Config, Reason};

const SECONDS_MAX: i64 = i32::MAX as i64;

/// Where clients come in, and who is let in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    pub port: u16,
    /// Addresses; `-` in front: listen if the address exists, `*`: all IPv4,
    /// `::*`: all IPv6 (as in redis.conf).
    pub bind: Vec<String>,
    pub protected_mode: bool,
    /// Empty: no password.
    pub requirepass: Vec<u8>,
    pub tcp_backlog: u32,
    /// Zero: no keepalive.
    pub tcp_keepalive_s: u32,
    /// Idle clients are closed after this long; zero: never.
    pub timeout_s: u32,
    pub maxclients: u32,
}

// Casts in the setters are lossless: the row's limits have been checked.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) static DIRECTIVES: &[Directive] = &[
    Directive {
        name: "port",
        mutability: Mutability::AtStart,
        default: DefaultValue::Is("6379"),
        doc: "TCP port to listen on",
        value: ValueType::Integer {
            min: 0,
            max: 65535,
            get: |c| i64::from(c.network.port),
            set: |c, n| c.network.port = n as u16,
        },
        ..ROW
    },
    Directive {
        name: "bind",
        mutability: Mutability::AtStart,
        default: DefaultValue::Is("* -::*"),
        doc: "Addresses to listen on; one with '-' in front may be missing",
        value: ValueType::Words {
            what: "at most 16 addresses",
            get: |c| c.network.bind.join(" "),
            set: set_bind,
            lines: |c| vec![c.network.bind.join(" ")],
        },
        ..ROW
    },
    Directive {
        name: "protected-mode",
        default: DefaultValue::Is("yes"),
        doc: "Without a password, serve loopback clients only",
        value: ValueType::Bool {
            get: |c| c.network.protected_mode,
            set: |c, yes| c.network.protected_mode = yes,
        },
        ..ROW
    },
    Directive {
        name: "requirepass",
        is_secret: true,
        doc: "Password that clients must give with AUTH; empty for none",
        value: ValueType::Text {
            what: "a password",
            get: |c| c.network.requirepass.clone(),
            set: |c, password| {
                c.network.requirepass = password.to_vec();
                Ok(())
            },
        },
        ..ROW
    },
    Directive {
        name: "tcp-backlog",
        mutability: Mutability::AtStart,
        default: DefaultValue::Is("511"),
        doc: "Connections that may wait to be accepted",
        value: ValueType::Integer {
            min: 0,
            max: SECONDS_MAX,
            get: |c| i64::from(c.network.tcp_backlog),
            set: |c, n| c.network.tcp_backlog = n as u32,
        },
        ..ROW
    },
    Directive {
        name: "tcp-keepalive",
        default: DefaultValue::Is("300"),
        doc: "Seconds between probes of a silent client; 0 for none",
        value: ValueType::Integer {
            min: 0,
            max: SECONDS_MAX,
            get: |c| i64::from(c.network.tcp_keepalive_s),
            set: |c, n| c.network.tcp_keepalive_s = n as u32,
        },
        ..ROW
    },
    Directive {
        name: "timeout",
        default: DefaultValue::Is("0"),
        doc: "Close a client after so many idle seconds; 0 for never",
        value: ValueType::Integer {
            min: 0,
            max: SECONDS_MAX,
            get: |c| i64::from(c.network.timeout_s),
            set: |c, n| c.network.timeout_s = n as u32,
        },
        ..ROW
    },
    Directive {
        name: "maxclients",
        default: DefaultValue::Is("10000"),
        doc: "Clients connected at the same time",
        value: ValueType::Integer {
            min: 1,
            max: u32::MAX as i64,
            get: |c| i64::from(c.network.maxclients),
            set: |c, n| c.network.maxclients = n as u32,
        },
        ..ROW
    },
];

pub(super) static WITHOUT_EFFECT: &[Known] = &[
    only("bind-source-addr", ""),
    any("io-threads"),
    any("io-threads-do-reads"),
    only("socket-mark-id", "0"),
    only("unixsocket", ""),
    only("unixsocketperm", "0"),
];

fn set_bind(config: &mut Config, words: &[Vec<u8>]) -> Result<(), Reason> {
    const ADDRESSES_MAX: usize = 16;
    if words.len() > ADDRESSES_MAX {
        return Err("Too many bind addresses specified.".into());
    }
    let text = |word: &Vec<u8>| String::from_utf8(word.clone()).ok();
    let addresses: Option<Vec<_>> = words.iter().map(text).collect();
    config.network.bind = addresses.ok_or(Reason::from("an address must be text"))?;
    Ok(())
}
