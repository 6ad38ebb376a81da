//! The command line: any directive as `--name value…`, and a file before them.
//!
//! The options are those of the table. As with redis-server an option takes
//! all words up to the next one, so the words of each option are gathered first
//! and clap is given one argument per option; help, version and the proposal
//! for a misspelt name come from clap.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command};

use super::directive::ValueType;
use super::directives::{SHARDS_MAX, SaveLines, directives, find, find_without_effect};
use super::file::{read, read_text, with_remedy};
use super::words::{os_reason, quote, split};
use super::{Config, StartError};

/// What the command line asks for.
#[derive(Debug)]
pub enum Start {
    Serve(Box<Config>),
    /// Print this and end (`--help`, `--version`).
    Print(String),
}

/// Reads the command line (without the program's name), the file it names, and
/// checks that a server can start with the outcome.
///
/// # Errors
/// The first thing that is wrong, with its remedy.
pub fn load(args: impl IntoIterator<Item = OsString>) -> Result<Start, StartError> {
    let dir = std::env::current_dir().map_err(|error| {
        let reason = os_reason(&error);
        StartError::new(&format!(
            "current folder: {reason}; start from a folder that exists"
        ))
    })?;
    let args = args.into_iter().map(OsString::into_vec).collect();
    load_from(args, Config::new(dir, usable_cpus()))
}

/// CPUs that this process may use: its affinity and the quota of its control
/// groups, both versions, are respected. Counted once, at the start: a thread
/// that is pinned later would count its own CPU alone.
pub fn usable_cpus() -> u16 {
    static CPUS: OnceLock<u16> = OnceLock::new();
    *CPUS.get_or_init(|| {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from);
        u16::try_from(cpus).unwrap_or(SHARDS_MAX).min(SHARDS_MAX)
    })
}

fn load_from(args: Vec<Vec<u8>>, mut config: Config) -> Result<Start, StartError> {
    config.persistence.save_lines = SaveLines::First;
    let (gathered, others) = gather(args)?;
    let matches = match command().try_get_matches_from(gathered) {
        Ok(matches) => matches,
        Err(error) => return explain(&error),
    };
    if let Some(path) = matches.get_one::<OsString>("config") {
        read_named(&mut config, path.clone().into())?;
    }
    for directive in directives() {
        for line in matches
            .get_many::<OsString>(directive.name)
            .into_iter()
            .flatten()
        {
            let line = line.clone().into_vec();
            let words = split(&line).expect("gather() balances its quotes");
            directive.set_words(&mut config, &words).map_err(|reason| {
                let mut option = format!("--{}", directive.name);
                for word in &words {
                    option.push(' ');
                    option.push_str(&String::from_utf8_lossy(word));
                }
                let reason = with_remedy(&reason, &directive.expects());
                StartError::new(&format!("{option}: {reason}"))
            })?;
        }
    }
    for (name, words) in others {
        let shown = String::from_utf8_lossy(&name);
        config.take_known(&name, &words).map_err(|reason| {
            let reason = reason.unwrap_or("unknown directive; --help lists all".into());
            StartError::new(&format!("--{shown}: {reason}"))
        })?;
    }
    config.persistence.save_lines = SaveLines::Replace;
    check(&config)?;
    Ok(Start::Serve(Box::new(config)))
}

/// An option and its words.
type Given = (Vec<u8>, Vec<Vec<u8>>);

/// Makes one argument, `--name=words`, of each option and its words. The words
/// are quoted, so that [`split`] finds them again. Options that Redis knows and
/// this server does not are returned beside.
fn gather(args: Vec<Vec<u8>>) -> Result<(Vec<OsString>, Vec<Given>), StartError> {
    let mut others = Vec::new();
    let mut gathered = vec![OsString::from("cordis-server")];
    let mut args = args.into_iter().peekable();
    if let Some(first) = args.next_if(|arg| !arg.starts_with(b"--") && !is_misshaped(arg)) {
        gathered.push(OsString::from_vec(first));
    }
    while let Some(arg) = args.next() {
        let Some(option) = arg.strip_prefix(b"--").filter(|name| !name.is_empty()) else {
            let shown = String::from_utf8_lossy(&arg);
            let text = format!("'{shown}': unexpected; options are --directive value (see --help)");
            return Err(StartError::new(&text));
        };
        let (name, mut words) = match option.iter().position(|byte| *byte == b'=') {
            Some(at) => (&option[..at], vec![option[at + 1..].to_vec()]),
            None => (option, Vec::new()),
        };
        // A text may begin with two dashes itself: a password, for one.
        let takes_dashes = find(name).is_some_and(|d| matches!(d.value, ValueType::Text { .. }));
        if words.is_empty() && takes_dashes {
            words.extend(args.next());
        }
        while let Some(word) = args.next_if(|arg| !arg.starts_with(b"--")) {
            words.push(word);
        }
        if find(name).is_none() && find_without_effect(name).is_some() {
            others.push((name.to_vec(), words));
            continue;
        }
        let mut line = [b"--", name.to_ascii_lowercase().as_slice()].concat();
        if find(name).is_some() {
            let words: Vec<_> = words.iter().map(|word| quote(word)).collect();
            line.push(b'=');
            line.extend_from_slice(words.join(" ").as_bytes());
        }
        gathered.push(OsString::from_vec(line));
    }
    Ok((gathered, others))
}

/// One dash and more than one letter, or a letter that means nothing: such as
/// the `-p` of clients.
fn is_misshaped(arg: &[u8]) -> bool {
    arg.len() > 1 && arg[0] == b'-' && !matches!(arg, b"-v" | b"-h")
}

fn command() -> Command {
    let version = format!(
        "v={} compatible with Redis {}",
        env!("CARGO_PKG_VERSION"),
        super::REDIS_VERSION
    );
    let defaults = Config::new(PathBuf::from("."), usable_cpus());
    let options = directives().map(|directive| {
        let default = directive.get(&defaults);
        let default = match String::from_utf8_lossy(&default) {
            value if value.is_empty() => "none".into(),
            value => value,
        };
        Arg::new(directive.name)
            .long(directive.name)
            .aliases(directive.alias)
            .value_name("VALUE")
            .value_parser(clap::value_parser!(OsString))
            .action(ArgAction::Append)
            .help(format!("{} [default: {default}]", directive.doc))
    });
    Command::new("cordis-server")
        .about("A Redis-compatible in-memory data server, one thread per core.")
        .version(version)
        .disable_version_flag(true)
        .arg(
            Arg::new("config")
                .value_name("FILE")
                .value_parser(clap::value_parser!(OsString))
                .help("Configuration file as of Redis, before all options; - reads standard input"),
        )
        .arg(
            Arg::new("version")
                .short('v')
                .long("version")
                .action(ArgAction::Version)
                .help("Print version"),
        )
        .args(options)
}

/// Makes one line of what clap has to say.
fn explain(error: &clap::Error) -> Result<Start, StartError> {
    if matches!(
        error.kind(),
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
    ) {
        return Ok(Start::Print(error.to_string()));
    }
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => texts.first().cloned(),
        _ => None,
    };
    let what = context(ContextKind::InvalidArg).unwrap_or_default();
    let remedy = match context(ContextKind::SuggestedArg) {
        Some(name) => format!("did you mean {name}?"),
        None => "--help lists all".to_owned(),
    };
    Err(StartError::new(&format!(
        "{what}: unknown directive; {remedy}"
    )))
}

fn read_named(config: &mut Config, path: PathBuf) -> Result<(), StartError> {
    if path == Path::new("-") {
        let mut text = Vec::new();
        std::io::stdin().read_to_end(&mut text).map_err(|error| {
            let reason = os_reason(&error);
            StartError::new(&format!(
                "standard input: {reason}; give a file instead of -"
            ))
        })?;
        return read_text(config, "standard input", &text, 0);
    }
    read(config, &path)?;
    config.config_file = path.canonicalize().ok();
    Ok(())
}

/// What can only be judged when everything has been read.
fn check(config: &Config) -> Result<(), StartError> {
    if config.network.port == 0 {
        let text = "--port 0 leaves nothing to listen on: give a port from 1 to 65535";
        return Err(StartError::new(text));
    }
    if config.network.bind.is_empty() {
        let text = "--bind leaves nothing to listen on: give an address such as 127.0.0.1";
        return Err(StartError::new(text));
    }
    let wanted =
        rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    rustix::fs::access(&config.server.dir, wanted).map_err(|errno| {
        let reason = os_reason(&errno.into());
        StartError::new(&format!(
            "--dir {}: {reason}; give a folder that this user may read and write",
            config.server.dir.display()
        ))
    })?;
    if config.logs.logfile.as_os_str().is_empty() {
        return Ok(());
    }
    let log = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        // Relative to the folder that the server will be in.
        .open(config.server.dir.join(&config.logs.logfile));
    log.map(drop).map_err(|error| {
        let reason = os_reason(&error);
        StartError::new(&format!(
            "--logfile {}: {reason}; give a file that this user may write",
            config.logs.logfile.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(args: &[&str]) -> Result<Start, String> {
        let args = args.iter().map(|arg| arg.as_bytes().to_vec()).collect();
        let config = Config::new(std::env::temp_dir(), 2);
        load_from(args, config).map_err(|error| error.to_string())
    }

    fn serve(args: &[&str]) -> Config {
        match start(args).unwrap() {
            Start::Serve(config) => *config,
            Start::Print(text) => panic!("{text}"),
        }
    }

    #[test]
    fn options_take_words_up_to_the_next() {
        let config = serve(&[
            "--PORT",
            "7000",
            "--bind",
            "127.0.0.1",
            "-::1",
            "--save",
            "--requirepass",
            "--x",
            "--timeout=5",
            "--tcp-keepalive",
            "20",
            "--tcp-keepalive",
            "30",
            "--client-output-buffer-limit",
            "normal",
            "1mb",
            "2",
            "3",
        ]);
        assert_eq!((config.network.port, config.network.timeout_s), (7000, 5));
        assert_eq!(config.network.tcp_keepalive_s, 30);
        assert_eq!(config.network.bind, ["127.0.0.1", "-::1"]);
        assert_eq!(config.network.requirepass, b"--x");
        assert_eq!(config.clients.output_limits.normal.hard_bytes, 1 << 20);
        assert_eq!(serve(&["--bind", "127.0.0.1 ::1"]).network.bind.len(), 2);
        assert_eq!(
            serve(&["--requirepass", "a \"b\\x41'"]).network.requirepass,
            b"a \"b\\x41'"
        );
        assert_eq!(serve(&[]), Config::new(std::env::temp_dir(), 2));
    }

    #[test]
    fn a_file_comes_first_and_options_win() {
        let path = std::env::temp_dir().join(format!("cordis-cli-{}", std::process::id()));
        std::fs::write(&path, "port 7001\ntimeout 9\n").unwrap();
        let config = serve(&[path.to_str().unwrap(), "--port", "7002"]);
        assert_eq!((config.network.port, config.network.timeout_s), (7002, 9));
        assert_eq!(config.config_file, path.canonicalize().ok());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn help_and_version_are_printed() {
        for (args, expected) in [
            (["--version"], "v="),
            (["-v"], "v="),
            (["--help"], "--maxclients <VALUE>"),
            (["-h"], "[default: 6379]"),
        ] {
            match start(&args).unwrap() {
                Start::Print(text) => assert!(text.contains(expected), "{text}"),
                Start::Serve(_) => panic!("{args:?}"),
            }
        }
    }

    #[test]
    fn errors_are_one_line_with_a_remedy() {
        for (args, expected) in [
            (
                &["--prot", "1"][..],
                "--prot: unknown directive; did you mean --port?",
            ),
            (&["--xyzzy"], "--xyzzy: unknown directive; --help lists all"),
            (
                &["--unixsocket", "/x"],
                "--unixsocket: not available in this server; remove it, or give \"\"",
            ),
            (
                &["-p", "6380"],
                "'-p': unexpected; options are --directive value (see --help)",
            ),
            (
                &["--", "--port", "1"],
                "'--': unexpected; options are --directive value (see --help)",
            ),
            (
                &["--shards", "0"],
                "--shards 0: argument must be between 1 and 1024 inclusive; \
                 give an integer from 1 to 1024",
            ),
            (
                &["--port", "--timeout", "1"],
                "--port: wrong number of arguments; give an integer from 0 to 65535",
            ),
            (
                &["--dir", "/nope"],
                "--dir /nope: No such file or directory; give a folder that exists",
            ),
            (
                &["--replicaof", "localhost 6379"],
                "--replicaof localhost 6379: replication is not available yet, start without it",
            ),
            (
                &["--port", "0"],
                "--port 0 leaves nothing to listen on: give a port from 1 to 65535",
            ),
            (
                &["/nope.conf"],
                "configuration file '/nope.conf': No such file or directory; \
                 give the path of a file that can be read",
            ),
            (
                &["--save", "60"],
                "--save 60: Invalid save parameters; give pairs of seconds and changes, or \"\"",
            ),
            (
                &["--logfile", "/nope/log"],
                "--logfile /nope/log: No such file or directory; \
                 give a file that this user may write",
            ),
        ] {
            assert_eq!(start(args).unwrap_err(), expected, "{args:?}");
        }
    }
}
