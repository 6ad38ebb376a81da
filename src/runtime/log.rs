//! Where log lines go and which are written: `logfile` and `loglevel`.
//!
//! Nothing on the path of a request is logged; a line is written by the core
//! that has something to say.

use crate::config::{Config, LogLevel, StartError};
use std::fs::OpenOptions;
use std::sync::{Mutex, OnceLock};
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
    let level = filter(config.loglevel);
    if config.logfile.as_os_str().is_empty() {
        start_with(std::io::stdout, level);
        return Ok(());
    }
    let mut options = OpenOptions::new();
    let file = options.append(true).create(true).open(&config.logfile);
    let file = file.map_err(|error| {
        let path = config.logfile.display();
        StartError::new(&format!(
            "--logfile {path}: {error}; give a file that this user may write"
        ))
    })?;
    start_with(Mutex::new(file), level);
    Ok(())
}

fn start_with<W>(writer: W, level: LevelFilter)
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(level);
    // The only error is that the log is gone, and then nothing is written.
    let set_level = move |level| drop(handle.reload(level));
    if SET_LEVEL.set(Box::new(set_level)).is_ok() {
        let lines = fmt::layer()
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
