//! Connections that are encrypted.

use crate::config::known::{Known, any, only};

pub(super) static WITHOUT_EFFECT: &[Known] = &[
    only("tls-auth-clients", "yes"),
    only("tls-ca-cert-dir", ""),
    only("tls-ca-cert-file", ""),
    only("tls-cert-file", ""),
    only("tls-ciphers", ""),
    only("tls-ciphersuites", ""),
    only("tls-client-cert-file", ""),
    only("tls-client-key-file", ""),
    only("tls-client-key-file-pass", ""),
    only("tls-cluster", "no"),
    only("tls-dh-params-file", ""),
    only("tls-key-file", ""),
    only("tls-key-file-pass", ""),
    only("tls-port", "0"),
    only("tls-prefer-server-ciphers", "no"),
    only("tls-protocols", ""),
    only("tls-replication", "no"),
    any("tls-session-cache-size"),
    any("tls-session-cache-timeout"),
    any("tls-session-caching"),
];
