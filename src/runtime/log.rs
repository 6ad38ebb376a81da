//! Where log lines go and which are written: `logfile` and `loglevel`.
//!
//! Nothing on the path of a request is logged; a line is written by the core
//! that has something to say. A file is known by its name: when somebody has moved
//! it away to keep it, the next line begins a new one.

use crate::config::{Config, LogLevel, StartError};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::prelude::*;
use tracing_subscriber::reload;

/// Sets the level of the running log.
type SetLevel = Box<dyn Fn(LevelFilter) + Send + Sync>;

static SET_LEVEL: OnceLock<SetLevel> = OnceLock::new();

/// Starts the log. Lines before are lost.
///
/// # Errors
/// The file cannot be written.
pub fn start(config: &Config) -> Result<(), StartError> {
    let level = filter(config.logs.loglevel);
    if config.logs.logfile.as_os_str().is_empty() {
        start_with(std::io::stdout, level);
        return Ok(());
    }
    let file = LogFile::open(config.logs.logfile.clone()).map_err(|error| {
        let path = config.logs.logfile.display();
        StartError::new(&format!(
            "--logfile {path}: {error}; give a file that this user may write"
        ))
    })?;
    start_with(file, level);
    Ok(())
}

/// A file of a name, whichever file that is.
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
}

impl LogFile {
    fn open(path: PathBuf) -> io::Result<Self> {
        let file = Mutex::new(open(&path)?);
        Ok(Self { path, file })
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).open(path)
}

/// Whether the file has this name. No file that somebody has open gives its number
/// to another.
fn is_named(file: &File, path: &Path) -> bool {
    let of = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    let (own, named) = (file.metadata().map(of), path.metadata().map(of));
    own.ok()
        .is_some_and(|own| named.is_ok_and(|named| named == own))
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = Line<'a>;

    /// A line goes to the file that has the name now. Where none can be made, the
    /// old one takes it: better there than nowhere.
    fn make_writer(&'a self) -> Line<'a> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_named(&file, &self.path)
            && let Ok(new) = open(&self.path)
        {
            *file = new;
        }
        Line(file)
    }
}

/// Writes one line.
struct Line<'a>(MutexGuard<'a, File>);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn start_with<W>(writer: W, level: LevelFilter)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(level);
    // The only error is that the log is gone, and then nothing is written.
    let set_level = move |level| drop(handle.reload(level));
    if SET_LEVEL.set(Box::new(set_level)).is_ok() {
        // What cannot be written is lost: to say so on standard error would end the
        // server where that is closed, too.
        let lines = fmt::layer()
            .log_internal_errors(false)
            .with_writer(writer)
            .with_ansi(false)
            .with_target(false);
        tracing_subscriber::registry()
            .with(filter)
            .with(lines)
            .init();
    }
}

/// Takes over a changed `loglevel`.
pub fn set_level(level: LogLevel) {
    if let Some(set_level) = SET_LEVEL.get() {
        set_level(filter(level));
    }
}

fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Debug => LevelFilter::TRACE,
        LogLevel::Verbose => LevelFilter::DEBUG,
        LogLevel::Notice => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Nothing => LevelFilter::OFF,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_file_that_was_moved_away_is_begun_anew() {
        let folder = std::env::temp_dir().join(format!("cordis-log-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let path = |name: &str| folder.join(name);
        let text = |name: &str| fs::read_to_string(path(name)).unwrap();
        let log = LogFile::open(path("log")).unwrap();
        let say = |line: &str| log.make_writer().write_all(line.as_bytes()).unwrap();
        say("one ");
        fs::rename(path("log"), path("log.1")).unwrap();
        say("two ");
        say("three ");
        assert_eq!(
            (text("log.1"), text("log")),
            ("one ".into(), "two three ".into())
        );
        // Another file in its place, and one that was emptied.
        fs::write(path("other"), "other ").unwrap();
        fs::rename(path("other"), path("log")).unwrap();
        say("four ");
        assert_eq!(text("log"), "other four ");
        fs::write(path("log"), "").unwrap();
        say("five ");
        assert_eq!(text("log"), "five ");
        // Where no file can be made the old one takes it.
        fs::rename(&folder, folder.with_extension("away")).unwrap();
        say("six ");
        fs::rename(folder.with_extension("away"), &folder).unwrap();
        assert_eq!(text("log"), "five six ");
        fs::remove_dir_all(&folder).unwrap();
    }
}
