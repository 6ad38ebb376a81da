//! What every integration test shares: servers, clients, generated commands.
//!
//! Each test binary compiles this module for itself and uses a part of it,
//! hence the `allow`. Nothing here knows a fixed port or asserts a duration.
#![allow(dead_code)]

pub mod chance;
pub mod client;
pub mod commands;
pub mod compare;
pub mod generate;
pub mod lines;
pub mod payloads;
pub mod rng;
pub mod same;
pub mod server;
pub mod state;
pub mod syntax;
pub mod values;

use std::time::{Duration, Instant};

/// How long a test waits for something that must happen before it gives up.
/// Generous on purpose: it bounds a hang, it does not measure anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the long doses were asked for (`tests/run.sh --long`).
pub fn long_run() -> bool {
    std::env::var_os("CORDIS_LONG").is_some_and(|value| value != "0")
}

/// What threads are to have done, each at least once, before a test may end: on a
/// loaded machine some take longer than the time that is meant for all.
pub struct Roles(std::sync::Mutex<std::collections::BTreeSet<&'static str>>);

impl Roles {
    pub fn new(names: &[&'static str]) -> Self {
        Self(std::sync::Mutex::new(names.iter().copied().collect()))
    }

    /// Somebody has done what he is there for.
    pub fn did(&self, name: &str) {
        self.0.lock().expect("nobody panics with it").remove(name);
    }

    /// Whether all have.
    pub fn all_did(&self) -> bool {
        self.0.lock().expect("nobody panics with it").is_empty()
    }

    /// Whether a test that is meant to end then goes on.
    pub fn go_on(&self, end: Instant) -> bool {
        let now = Instant::now();
        now < end || now < end + PATIENCE && !self.all_did()
    }
}

/// Polls `ready` until it says yes, and panics naming `what` when patience ends.
pub fn wait_until(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !ready() {
        assert!(
            Instant::now() < deadline,
            "waited {PATIENCE:?} in vain: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Bytes as a test failure should show them: printable ASCII as it is, the
/// rest escaped, long runs cut in the middle.
pub fn show(bytes: &[u8]) -> String {
    const LONGEST: usize = 600;
    if bytes.len() <= LONGEST {
        return bytes.escape_ascii().to_string();
    }
    format!(
        "{} …({} bytes)… {}",
        bytes[..LONGEST / 2].escape_ascii(),
        bytes.len(),
        bytes[bytes.len() - LONGEST / 4..].escape_ascii()
    )
}

/// A command line as a test failure should show it, ready for redis-cli.
pub fn show_command(args: &[Vec<u8>]) -> String {
    let quoted = args.iter().map(|arg| {
        let plain = !arg.is_empty()
            && arg.len() < 300
            && arg
                .iter()
                .all(|b| b.is_ascii_graphic() && !b"\"'\\".contains(b));
        if plain {
            String::from_utf8_lossy(arg).into_owned()
        } else {
            format!("\"{}\"", show(arg))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// `["SET", "k", "v"]` as owned arguments.
pub fn words(args: &[&str]) -> Vec<Vec<u8>> {
    args.iter().map(|arg| arg.as_bytes().to_vec()).collect()
}
