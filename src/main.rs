//! The Cordis server: a Redis-compatible data server, one thread per core.
#![deny(unsafe_code)]

mod admission;
mod commands;
mod config;
mod core;
mod dispatch;
mod net;
mod questions;
mod runtime;
mod server;
mod session;
mod snapshots;
mod stats;

use std::io::Write;
use std::process::ExitCode;

/// jemalloc: cheapest where memory that one core allocated is freed on another.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let started = config::load(std::env::args_os().skip(1)).and_then(|start| match start {
        config::Start::Print(text) => {
            // Whoever reads only a part of it has what he wants.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Ok(())
        }
        config::Start::Serve(config) => server::run(*config),
    });
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // The status says it, too, where nobody listens.
            let _ = writeln!(std::io::stderr(), "cordis-server: {error}");
            ExitCode::FAILURE
        }
    }
}
