//! The table of directives, one row each, by what they are about.
//!
//! A file here holds what a directive needs: its row, with the default, and its field of
//! the configuration. Only directives that have an effect in this server have a row; a
//! name without one is unknown to CONFIG, and elsewhere refused unless its file lists it
//! as one of Redis's that has no effect (`known`). Rows whose feature is still to come
//! (`appendonly`, `maxmemory`, `replicaof`) accept the one value that is true
//! today, because clients and benchmarks ask for them.

mod clients;
mod cluster;
mod encodings;
mod logs;
mod memory;
mod network;
mod persistence;
mod protection;
mod replication;
mod server;
mod tls;

use super::directive::{DefaultValue, Directive, Mutability, ValueType};
use super::known::Known;

pub use clients::Clients;
pub use logs::{LogLevel, Logs};
pub use network::Network;
pub use persistence::{Persistence, SaveLines, SavePoint};
#[cfg(test)]
pub use protection::AllowFrom;
pub use protection::Protection;
pub use server::{SHARDS_MAX, Server};

/// The directives of one file.
struct Group {
    directives: &'static [Directive],
    /// Those of Redis that have no effect here.
    without_effect: &'static [Known],
}

const fn group(directives: &'static [Directive], without_effect: &'static [Known]) -> Group {
    Group {
        directives,
        without_effect,
    }
}

static GROUPS: &[Group] = &[
    group(network::DIRECTIVES, network::WITHOUT_EFFECT),
    group(server::DIRECTIVES, server::WITHOUT_EFFECT),
    group(clients::DIRECTIVES, clients::WITHOUT_EFFECT),
    group(logs::DIRECTIVES, logs::WITHOUT_EFFECT),
    group(protection::DIRECTIVES, protection::WITHOUT_EFFECT),
    group(persistence::DIRECTIVES, persistence::WITHOUT_EFFECT),
    group(memory::DIRECTIVES, memory::WITHOUT_EFFECT),
    group(replication::DIRECTIVES, replication::WITHOUT_EFFECT),
    group(encodings::DIRECTIVES, encodings::WITHOUT_EFFECT),
    group(&[], cluster::WITHOUT_EFFECT),
    group(&[], tls::WITHOUT_EFFECT),
];

/// What most rows leave as it is.
const ROW: Directive = Directive {
    name: "",
    alias: None,
    mutability: Mutability::AtRunTime,
    default: DefaultValue::Is(""),
    is_secret: false,
    doc: "",
    value: ValueType::Text {
        what: "",
        get: |_| Vec::new(),
        set: |_, _| Ok(()),
    },
};

/// All rows.
pub fn directives() -> impl Iterator<Item = &'static Directive> + Clone {
    GROUPS.iter().flat_map(|group| group.directives)
}

/// The row with this name or alias, in any case.
pub fn find(name: &[u8]) -> Option<&'static Directive> {
    directives().find(|directive| {
        directive
            .names()
            .any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
    })
}

/// The directive without effect of this name, in any case; `slave` in it stands for
/// `replica`.
pub fn find_without_effect(name: &[u8]) -> Option<&'static Known> {
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let name = name.replace("slave", "replica");
    let mut known = GROUPS.iter().flat_map(|group| group.without_effect);
    known.find(|known| known.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::config::directive::WRONG_NUMBER;
    use crate::config::words::split;
    use std::path::{Path, PathBuf};

    fn is_threshold(directive: &Directive) -> bool {
        let mut thresholds = encodings::DIRECTIVES.iter();
        thresholds.any(|threshold| threshold.name == directive.name)
    }

    fn config() -> Config {
        Config::new(PathBuf::from("/"), 2)
    }

    #[test]
    fn every_name_stands_once() {
        for directive in directives() {
            for name in directive.names() {
                assert!(name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-'));
                let owner = find(name.to_uppercase().as_bytes()).unwrap();
                assert!(std::ptr::eq(owner, directive), "{name} stands twice");
            }
        }
    }

    /// What a file or CONFIG SET is given back must be accepted and mean the same.
    #[test]
    fn values_are_read_back() {
        for directive in directives() {
            let mut copy = config();
            directive
                .set_text(&mut copy, &directive.get(&config()))
                .unwrap_or_else(|reason| {
                    assert_eq!(directive.name, "replicaof", "{reason}");
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
        assert_eq!(config.network.bind, ["127.0.0.1", "-::1"]);
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
        // Those of encodings are described where Redis does it.
        let listed = GROUPS.iter().flat_map(|group| group.directives);
        for directive in listed.filter(|directive| !is_threshold(directive)) {
            let default = match directive.name {
                "shards" => "CPUs".to_owned(),
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

    /// The engine has them, too, for whoever uses it alone.
    #[test]
    fn defaults_are_those_of_the_engine() {
        assert_eq!(config().engine, shards::Settings::default());
    }

    fn check(name: &str, value: &str) -> Result<(), String> {
        let words: Vec<Vec<u8>> = value.split(' ').map(|word| word.into()).collect();
        let known = find_without_effect(name.as_bytes()).unwrap();
        known.check(&words).map_err(|reason| reason.into_owned())
    }

    #[test]
    fn those_without_effect_have_plain_names_once() {
        let all = || GROUPS.iter().flat_map(|group| group.without_effect);
        for group in GROUPS {
            let known = group.without_effect;
            assert!(known.is_sorted_by(|one, other| one.name < other.name));
        }
        for known in all() {
            let name = known.name;
            let plain = |byte: u8| byte.is_ascii_lowercase() || b"-_".contains(&byte);
            assert!(name.bytes().all(plain), "{name}");
            assert_eq!(
                all().filter(|other| other.name == name).count(),
                1,
                "{name}"
            );
            assert!(find(name.as_bytes()).is_none(), "{name} has an effect");
        }
        assert!(find_without_effect(b"nosuch").is_none());
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
