//! The Cordis server: a Redis-compatible data server, one thread per core.
#![deny(unsafe_code)]

mod commands;
mod config;
mod coordinator;
mod core;
mod dispatch;
mod net;
mod runtime;
mod server;
mod session;
mod stats;

use std::process::ExitCode;

/// jemalloc: cheapest where memory that one core allocated is freed on another.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let started = config::load(std::env::args_os().skip(1)).and_then(|start| match start {
        config::Start::Print(text) => {
            print!("{text}");
            Ok(())
        }
        config::Start::Serve(config) => server::run(*config),
    });
    match started {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cordis-server: {error}");
            ExitCode::FAILURE
        }
    }
}
