//! A cluster of servers.

use crate::config::known::{Known, any, only};

pub(super) static WITHOUT_EFFECT: &[Known] = &[
    any("cluster-allow-pubsubshard-when-down"),
    any("cluster-allow-reads-when-down"),
    any("cluster-allow-replica-migration"),
    any("cluster-announce-bus-port"),
    any("cluster-announce-hostname"),
    any("cluster-announce-human-nodename"),
    any("cluster-announce-ip"),
    any("cluster-announce-port"),
    any("cluster-announce-tls-port"),
    any("cluster-config-file"),
    only("cluster-enabled", "no"),
    any("cluster-link-sendbuf-limit"),
    any("cluster-migration-barrier"),
    any("cluster-node-timeout"),
    any("cluster-port"),
    any("cluster-preferred-endpoint-type"),
    any("cluster-replica-no-failover"),
    any("cluster-replica-validity-factor"),
    any("cluster-require-full-coverage"),
];
