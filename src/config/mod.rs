//! The configuration: one value, one table of directives.
//!
//! [`Config`] is a plain value with one field per setting. The table in
//! `directives/` says how each directive is named, read, written and checked (a
//! row's type is in `directive.rs`), and what it is by default; the command line
//! (`cli.rs`), configuration files (`file.rs`), CONFIG GET, SET and REWRITE are all
//! driven by it.
//!
//! Every core holds a copy and reads no other. CONFIG SET changes the
//! [`Authority`]'s value, which numbers the changes, and sends copies around; a
//! core takes a copy that is newer than its own. So two clients that change
//! settings at the same time on different cores leave all cores with the same
//! configuration, and both changes in it.

mod cli;
mod directive;
mod directives;
mod file;
mod known;
mod words;

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use shards::{CommandError, Settings};

pub use cli::{Start, load};
pub use directives::{LogLevel, SavePoint, directives};
pub use words::parse_memory;

use directive::{DefaultValue, Directive, Mutability};
use directives::{Clients, Logs, Network, Persistence, Protection, Server};

/// The version of Redis whose behaviour this server has.
pub const REDIS_VERSION: &str = "7.2.4";

/// All settings of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Which of two copies is the newer one; see [`Authority`].
    pub revision: u64,
    /// The file that CONFIG REWRITE writes back: absolute.
    pub config_file: Option<PathBuf>,
    /// Directives of Redis that were given and have no effect here; see `known`.
    pub without_effect: Vec<&'static str>,
    pub network: Network,
    pub server: Server,
    pub clients: Clients,
    pub logs: Logs,
    pub protection: Protection,
    pub persistence: Persistence,
    /// What the engine must know.
    pub engine: Settings,
}

/// Whether the value of a directive must not be shown in a log.
pub fn is_secret(name: &[u8]) -> bool {
    directives::find(name).is_some_and(|directive| directive.is_secret)
}

/// Why a value was refused, in Redis's words where Redis knows the directive.
pub type Reason = Cow<'static, str>;

/// CONFIG SET refuses the value or the name of a directive that exists.
pub fn refused(name: &[u8], reason: &Reason) -> CommandError {
    let before = "ERR CONFIG SET failed (possibly related to argument '";
    CommandError::quoting(before, name, &format!("') - {reason}"))
}

fn unknown(name: &[u8]) -> CommandError {
    let before = "ERR Unknown option or number of arguments for CONFIG SET - '";
    CommandError::quoting(before, name, "'")
}

/// Why the server does not start: one line that names the directive and the
/// remedy. The process ends with status 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError(String);

impl StartError {
    /// Keeps the promise of one line whatever `text` was made of.
    pub fn new(text: &str) -> Self {
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        Self(text.chars().map(clean).collect())
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}

impl Config {
    /// The defaults: those of the rows, and what the machine has. `dir` must be absolute.
    pub fn new(dir: PathBuf, shards: u16) -> Self {
        let mut config = Self {
            revision: 0,
            config_file: None,
            without_effect: Vec::new(),
            network: Network::default(),
            server: Server::default(),
            clients: Clients::default(),
            logs: Logs::default(),
            protection: Protection::default(),
            persistence: Persistence::default(),
            engine: Settings::default(),
        };
        for directive in directives() {
            if let DefaultValue::Is(value) = directive.default {
                let set = directive.set_text(&mut config, value.as_bytes());
                assert!(set.is_ok(), "{}: a row accepts its default", directive.name);
            }
        }
        config.server.dir = dir;
        config.server.shards = shards;
        config
    }

    /// Takes a directive that has no row in the table, if Redis knows it.
    ///
    /// # Errors
    /// `None`: nobody knows it; otherwise why its value is refused.
    fn take_known(&mut self, name: &[u8], words: &[Vec<u8>]) -> Result<(), Option<Reason>> {
        let known = directives::find_without_effect(name).ok_or(None)?;
        known.check(words).map_err(Some)?;
        if !self.without_effect.contains(&known.name) {
            self.without_effect.push(known.name);
        }
        Ok(())
    }

    /// CONFIG GET: names and values of all directives that a pattern matches,
    /// each once. A name given in full is returned as it was written.
    pub fn get<'a>(&self, patterns: impl IntoIterator<Item = &'a [u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut add = |name: &[u8], directive: &Directive| {
            if !found
                .iter()
                .any(|(have, _)| have.eq_ignore_ascii_case(name))
            {
                found.push((name.to_vec(), directive.get(self)));
            }
        };
        for pattern in patterns {
            if !pattern.iter().any(|byte| b"[*?".contains(byte)) {
                if let Some(directive) = directives::find(pattern) {
                    add(pattern, directive);
                }
                continue;
            }
            for directive in directives() {
                for name in directive.names() {
                    if shards::glob::matches_ignoring_case(pattern, name.as_bytes()) {
                        add(name.as_bytes(), directive);
                    }
                }
            }
        }
        found
    }

    /// CONFIG SET: checks all pairs, then keeps all of them. `local` says that
    /// the client came over loopback.
    ///
    /// # Errors
    /// Unknown, immutable, protected and repeated names first, then the first
    /// bad value. Nothing has changed.
    pub fn set(&mut self, pairs: &[(&[u8], &[u8])], local: bool) -> Result<(), CommandError> {
        let mut directives: Vec<&'static Directive> = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let directive = directives::find(name).ok_or_else(|| unknown(name))?;
            let protected = directive.mutability == Mutability::Protected;
            if directive.mutability == Mutability::AtStart {
                return Err(refused(name, &"can't set immutable config".into()));
            }
            if protected && !self.protection.enable_protected_configs.permits(local) {
                return Err(refused(name, &"can't set protected config".into()));
            }
            // A directive may come under its name and its alias: the last one counts.
            let before = &pairs[..directives.len()];
            if before
                .iter()
                .any(|(other, _)| other.eq_ignore_ascii_case(name))
            {
                return Err(refused(name, &"duplicate parameter".into()));
            }
            directives.push(directive);
        }
        let mut changed = self.clone();
        for (directive, (name, value)) in directives.iter().zip(pairs) {
            directive
                .set_text(&mut changed, value)
                .map_err(|reason| refused(name, &reason))?;
        }
        *self = changed;
        Ok(())
    }
}

/// The configuration that CONFIG SET changes.
#[derive(Debug)]
pub struct Authority {
    /// Its lock is held for some microseconds.
    newest: Mutex<Config>,
    /// Held while the file is written, which waits for the disk.
    file: Mutex<()>,
}

impl Authority {
    /// The configuration that all cores start with.
    pub fn new(config: Config) -> Self {
        Self {
            newest: Mutex::new(config),
            file: Mutex::new(()),
        }
    }

    fn newest(&self) -> MutexGuard<'_, Config> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the configuration and returns the copy to send around.
    ///
    /// # Errors
    /// Those of `change`, which then must have changed nothing.
    pub fn change<E>(
        &self,
        change: impl FnOnce(&mut Config) -> Result<(), E>,
    ) -> Result<Box<Config>, E> {
        let mut config = self.newest();
        change(&mut config)?;
        config.revision += 1;
        Ok(Box::new(config.clone()))
    }

    /// CONFIG REWRITE: writes what is set now to the file `path`. One call at a
    /// time, whichever cores ask: what each finds there is what the one before has
    /// left, and the last to write has the newest configuration. It waits for the
    /// disk: keep it off the executors.
    ///
    /// # Errors
    /// What the operating system says; the old file is untouched.
    pub fn rewrite(&self, path: &Path) -> Result<(), Reason> {
        let _one_at_a_time = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let config = self.newest().clone();
        file::rewrite(&config, path)
    }
}

#[cfg(test)]
mod tests {
    use super::directives::AllowFrom;
    use super::*;

    fn config() -> Config {
        Config::new(PathBuf::from("/"), 2)
    }

    fn set(config: &mut Config, pairs: &[(&str, &str)]) -> Result<(), String> {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        config.set(&pairs, true).map_err(|error| error.to_string())
    }

    fn get(config: &Config, patterns: &[&str]) -> Vec<(String, String)> {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        config
            .get(patterns.iter().map(|pattern| pattern.as_bytes()))
            .into_iter()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    fn pair(name: &str, value: &str) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn get_by_name_and_pattern() {
        let config = config();
        assert_eq!(get(&config, &["port"]), [pair("port", "6379")]);
        assert_eq!(get(&config, &["PORT", "port"]), [pair("PORT", "6379")]);
        assert_eq!(get(&config, &["nosuch", "nosuch*"]), []);
        assert_eq!(
            get(&config, &["tcp-*", "tcp-keepalive", "Sav?"]),
            [
                pair("tcp-backlog", "511"),
                pair("tcp-keepalive", "300"),
                pair("save", "3600 1 300 100 60 10000")
            ]
        );
        assert_eq!(
            get(&config, &["*"]).len(),
            get(&config, &["*", "*a*", "port"]).len()
        );
        assert_eq!(
            get(&config, &["client-output-buffer-limit", "slaveof", "bind"]),
            [
                pair(
                    "client-output-buffer-limit",
                    "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60"
                ),
                pair("slaveof", ""),
                pair("bind", "* -::*"),
            ]
        );
    }

    #[test]
    fn set_takes_several_in_any_case() {
        let mut config = config();
        let changed = set(
            &mut config,
            &[
                ("Timeout", "5"),
                ("tcp-keepalive", "300"),
                ("maxclients", "7"),
            ],
        );
        assert_eq!(changed, Ok(()));
        assert_eq!(
            (config.network.timeout_s, config.network.maxclients),
            (5, 7)
        );
        assert_eq!(set(&mut config, &[("loglevel", "DEBUG")]), Ok(()));
        assert_eq!(config.logs.loglevel, LogLevel::Debug);
    }

    /// As in redis-server: only the same name is the same parameter.
    #[test]
    fn set_takes_a_name_and_its_alias() {
        let (name, alias) = ("hash-max-listpack-entries", "hash-max-ziplist-entries");
        for pairs in [
            [(name, "100"), (alias, "200")],
            [(alias, "100"), (name, "200")],
        ] {
            let mut config = config();
            set(&mut config, &pairs).unwrap();
            assert_eq!(
                get(&config, &[name, alias]),
                [pair(name, "200"), pair(alias, "200")]
            );
            set(&mut config, &[(name, "1"), (alias, "x")]).unwrap_err();
            assert_eq!(get(&config, &[name]), [pair(name, "200")]);
        }
    }

    /// Texts as redis-server gives them.
    #[test]
    fn set_refusals() {
        let about = |name: &str, reason: &str| {
            format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {reason}")
        };
        let unknown = "ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'";
        let immutable = about("databases", "can't set immutable config");
        let no_integer = "argument couldn't be parsed into an integer";
        let level =
            "argument(s) must be one of the following: debug, verbose, notice, warning, nothing";
        let seconds = "argument must be between 0 and 2147483647 inclusive";
        let bulk = "argument must be between 1048576 and 4294967295 inclusive";
        for (pairs, expected) in [
            (
                &[("nosuch", "1"), ("databases", "3")][..],
                unknown.to_owned(),
            ),
            (&[("databases", "3"), ("nosuch", "1")], immutable.clone()),
            (&[("timeout", "abc"), ("databases", "3")], immutable),
            (
                &[("timeout", "3"), ("TIMEOUT", "3")],
                about("TIMEOUT", "duplicate parameter"),
            ),
            (&[("timeout", "-1")], about("timeout", seconds)),
            (
                &[("timeout", "9223372036854775808")],
                about("timeout", no_integer),
            ),
            (&[("timeout", "")], about("timeout", no_integer)),
            (
                &[("timeout", "5"), ("tcp-keepalive", "x")],
                about("tcp-keepalive", no_integer),
            ),
            (
                &[("protected-mode", "1")],
                about("protected-mode", "argument must be 'yes' or 'no'"),
            ),
            (&[("loglevel", "")], about("loglevel", level)),
            (
                &[("client-query-buffer-limit", "1xx")],
                about(
                    "client-query-buffer-limit",
                    "argument must be a memory value",
                ),
            ),
            (
                &[("proto-max-bulk-len", "10")],
                about("proto-max-bulk-len", bulk),
            ),
            (&[("dir", "/")], about("dir", "can't set protected config")),
        ] {
            let mut config = config();
            assert_eq!(set(&mut config, pairs), Err(expected), "{pairs:?}");
            assert_eq!(config, self::config(), "{pairs:?} changed something");
        }
    }

    #[test]
    fn output_limits() {
        const NAME: &str = "client-output-buffer-limit";
        let mut config = config();
        let value = "NORMAL 1kb 2 3 Replica 4mb 5 6";
        assert_eq!(set(&mut config, &[(NAME, value)]), Ok(()));
        assert_eq!(
            get(&config, &[NAME])[0].1,
            "normal 1024 2 3 slave 4194304 5 6 pubsub 33554432 8388608 60"
        );
        assert_eq!(set(&mut config, &[(NAME, "")]), Ok(()));
        for (value, reason) in [
            (
                "foo 1 2 3",
                "Invalid client class specified in buffer limit configuration.",
            ),
            (
                "normal 1 2",
                "Wrong number of arguments in buffer limit configuration.",
            ),
            (
                "normal 1  2 3",
                "Wrong number of arguments in buffer limit configuration.",
            ),
            (
                "normal 1 2 -3",
                "Error in hard, soft or soft_seconds setting in buffer limit configuration.",
            ),
        ] {
            let error = set(&mut config, &[(NAME, value)]).unwrap_err();
            assert!(error.ends_with(reason), "{value}: {error}");
        }
    }

    #[test]
    fn protected_configs_can_be_allowed() {
        let mut config = config();
        config.protection.enable_protected_configs = AllowFrom::Local;
        assert!(config.set(&[(b"dbfilename", b"x")], false).is_err());
        assert_eq!(set(&mut config, &[("dbfilename", "x.rdb")]), Ok(()));
        let error = set(&mut config, &[("dbfilename", "a/b")]).unwrap_err();
        assert!(error.ends_with(" - dbfilename can't be a path, just a filename"));
        let error = set(&mut config, &[("dir", "/nonexistent")]).unwrap_err();
        assert!(error.ends_with(" - No such file or directory"), "{error}");
        let error = set(&mut config, &[("dir", "/etc/passwd")]).unwrap_err();
        assert!(error.ends_with(" - Not a directory"), "{error}");
    }

    /// Whoever reads the file meanwhile sees one whole file or another, and the end
    /// is what was set last.
    #[test]
    fn many_rewrite_the_file_at_once() {
        let folder = std::env::temp_dir().join(format!("cordis-crowd-{}", std::process::id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("cordis.conf");
        let comments = "# a comment\n".repeat(2000);
        std::fs::write(&path, format!("{comments}timeout 0\n# the end\n")).unwrap();
        let authority = Authority::new(config());
        let (writers, rewrites) = (8, 20);
        let left = std::sync::atomic::AtomicUsize::new(writers);
        let work = |number: u32| {
            for _ in 0..rewrites {
                let change = |config: &mut Config| {
                    config.network.timeout_s += 1;
                    config.network.tcp_keepalive_s = number;
                    Ok::<(), Reason>(())
                };
                authority.change(change).unwrap();
                authority.rewrite(&path).unwrap();
            }
            left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        };
        std::thread::scope(|scope| {
            for number in 0..writers {
                let work = &work;
                scope.spawn(move || work(number as u32));
            }
            while left.load(std::sync::atomic::Ordering::Relaxed) > 0 {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(text.starts_with(&comments), "{} bytes", text.len());
                assert!(text.contains("# the end\n"), "{} bytes", text.len());
            }
        });
        let mut written = config();
        file::read(&mut written, &path).unwrap();
        assert_eq!(written.network.timeout_s, writers as u32 * rewrites);
        assert_eq!(
            written.network.timeout_s,
            authority.newest().network.timeout_s
        );
        assert_eq!(
            written.network.tcp_keepalive_s,
            authority.newest().network.tcp_keepalive_s
        );
        let files = std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(files, 1, "a temporary file stayed");
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn what_is_not_available_says_so() {
        let mut config = config();
        for (name, value) in [("appendonly", "yes"), ("maxmemory", "1gb")] {
            let error = set(&mut config, &[(name, value)]).unwrap_err();
            assert!(error.contains("not available yet"), "{error}");
        }
        for (name, value) in [("appendonly", "no"), ("maxmemory", "0")] {
            assert_eq!(set(&mut config, &[(name, value)]), Ok(()));
        }
    }
}
