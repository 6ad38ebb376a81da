//! Directives of Redis that have no effect here.
//!
//! A configuration file of Redis names many of them, mostly with their default
//! values. Nobody is helped if it is refused for that; but a file that asks for
//! something must not be told that it got it. So a directive that only tunes
//! what this server does in another way, or does not do at all, may have any
//! value; one that asks for a feature may only have the value that asks for
//! none. All that were met are named in one line of the log.

use super::Reason;
use super::words::parse_memory;

/// A directive without effect.
pub struct Known {
    pub name: &'static str,
    accepts: Accepts,
}

/// Which values do not ask for anything that there is not.
enum Accepts {
    Any,
    Only(&'static str),
    Nothing,
}

const fn any(name: &'static str) -> Known {
    let accepts = Accepts::Any;
    Known { name, accepts }
}

const fn only(name: &'static str, value: &'static str) -> Known {
    let accepts = Accepts::Only(value);
    Known { name, accepts }
}

const fn none(name: &'static str) -> Known {
    let accepts = Accepts::Nothing;
    Known { name, accepts }
}

static KNOWN: &[Known] = &[
    only("acl-pubsub-default", "resetchannels"),
    only("aclfile", ""),
    any("acllog-max-len"),
    any("active-defrag-cycle-max"),
    any("active-defrag-cycle-min"),
    any("active-defrag-ignore-bytes"),
    any("active-defrag-max-scan-fields"),
    any("active-defrag-threshold-lower"),
    any("active-defrag-threshold-upper"),
    any("active-expire-effort"),
    only("activedefrag", "no"),
    any("activerehashing"),
    any("always-show-logo"),
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
    only("bind-source-addr", ""),
    any("bio_cpulist"),
    any("busy-reply-threshold"),
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
    any("crash-log-enabled"),
    any("crash-memcheck-enabled"),
    any("daemonize"),
    any("disable-thp"),
    any("dynamic-hz"),
    only("enable-module-command", "no"),
    any("hz"),
    any("ignore-warnings"),
    any("io-threads"),
    any("io-threads-do-reads"),
    any("jemalloc-bg-thread"),
    any("lazyfree-lazy-eviction"),
    any("lazyfree-lazy-expire"),
    any("lazyfree-lazy-server-del"),
    any("lazyfree-lazy-user-del"),
    any("lazyfree-lazy-user-flush"),
    any("lfu-decay-time"),
    any("lfu-log-factor"),
    any("list-compress-depth"),
    none("loadmodule"),
    only("locale-collate", ""),
    any("lua-time-limit"),
    only("masterauth", ""),
    only("masteruser", ""),
    only("maxmemory-clients", "0"),
    any("maxmemory-eviction-tenacity"),
    only("maxmemory-policy", "noeviction"),
    any("maxmemory-samples"),
    any("min-replicas-max-lag"),
    only("min-replicas-to-write", "0"),
    any("no-appendfsync-on-rewrite"),
    only("notify-keyspace-events", ""),
    any("oom-score-adj"),
    any("oom-score-adj-values"),
    any("pidfile"),
    any("proc-title-template"),
    any("propagation-error-behavior"),
    any("rdb-del-sync-files"),
    any("rdb-save-incremental-fsync"),
    any("rdbchecksum"),
    any("rdbcompression"),
    none("rename-command"),
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
    any("sanitize-dump-payload"),
    any("server_cpulist"),
    any("set-proc-title"),
    only("shutdown-on-sigint", "default"),
    only("shutdown-on-sigterm", "default"),
    any("shutdown-timeout"),
    only("socket-mark-id", "0"),
    any("stop-writes-on-bgsave-error"),
    any("stream-node-max-bytes"),
    any("stream-node-max-entries"),
    any("supervised"),
    any("syslog-enabled"),
    any("syslog-facility"),
    any("syslog-ident"),
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
    any("tracking-table-max-keys"),
    only("unixsocket", ""),
    only("unixsocketperm", "0"),
    none("user"),
];

/// The row with this name, in any case; `slave` in it stands for `replica`.
pub fn find(name: &[u8]) -> Option<&'static Known> {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let name = name.replace("slave", "replica");
    KNOWN.iter().find(|known| known.name == name)
}

impl Known {
    /// Checks that a value asks for nothing that there is not.
    ///
    /// # Errors
    /// It does.
    pub fn check(&self, words: &[Vec<u8>]) -> Result<(), Reason> {
        let only = match self.accepts {
            Accepts::Any => return Ok(()),
            Accepts::Only(value) => value,
            Accepts::Nothing => return Err("not available in this server; remove it".into()),
        };
        let value = words.join(&b' ');
        let same_bytes = || {
            let bytes = parse_memory(&value);
            bytes.is_some() && bytes == parse_memory(only.as_bytes())
        };
        if value.eq_ignore_ascii_case(only.as_bytes()) || same_bytes() {
            return Ok(());
        }
        let shown = if only.is_empty() { "\"\"" } else { only };
        let text = format!("not available in this server; remove it, or give {shown}");
        Err(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Result<(), String> {
        let words: Vec<Vec<u8>> = value.split(' ').map(|word| word.into()).collect();
        let known = find(name.as_bytes()).unwrap();
        known.check(&words).map_err(|reason| reason.into_owned())
    }

    #[test]
    fn names_are_plain_and_unique() {
        for pair in KNOWN.windows(2) {
            assert!(pair[0].name < pair[1].name, "{}", pair[1].name);
        }
        for known in KNOWN {
            let plain = |byte: u8| byte.is_ascii_lowercase() || b"-_".contains(&byte);
            assert!(known.name.bytes().all(plain), "{}", known.name);
            let row = super::super::table::find(known.name.as_bytes());
            assert!(row.is_none(), "{} has an effect", known.name);
        }
        assert!(find(b"nosuch").is_none());
    }

    #[test]
    fn what_asks_for_nothing_is_accepted() {
        assert_eq!(check("Daemonize", "yes"), Ok(()));
        assert_eq!(check("slave-read-only", "no"), Ok(()));
        assert_eq!(check("cluster-enabled", "NO"), Ok(()));
        assert_eq!(check("maxmemory-clients", "0mb"), Ok(()));
        assert_eq!(
            check("cluster-enabled", "yes"),
            Err("not available in this server; remove it, or give no".to_owned())
        );
        assert_eq!(
            check("aclfile", "/etc/users.acl"),
            Err("not available in this server; remove it, or give \"\"".to_owned())
        );
        assert_eq!(
            check("rename-command", "FLUSHALL "),
            Err("not available in this server; remove it".to_owned())
        );
    }
}
