//! `dbhaul`: migrates, backs up and rehearses PostgreSQL and Redis.
//!
//! This binary is the trunk that joins the leaves (`pgmove`, `redisdump`, `retention`, `repository`, `sandbox`):
//!
//! - `args` and `commands` parse the command line and print results;
//! - `jobs` move the data, and neither parse nor print;
//! - `report` is what a job hands back: data that renders as text or as JSON;
//! - `ui` shows progress on standard error;
//! - `exit` turns errors into exit codes, in one place.

mod args;
mod commands;
mod config;
mod context;
mod endpoint;
mod exit;
mod interrupt;
mod jobs;
mod report;
mod ui;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;
use crate::context::Context;
use crate::exit::Exit;

fn main() -> ExitCode {
    let cli = Cli::parse();
    if matches!(cli.command, args::Command::Backup(_)) {
        step_back();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("cannot start the runtime")),
    };
    let result = runtime.block_on(async {
        let context = Context::new(cli.shared)?;
        interrupt::stop_on_signal(commands::run(cli.command, &context)).await
    });
    // A worker stuck in a system call must not keep a stopped program alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    match result {
        Ok(exit) => exit.into(),
        Err(error) if exit::is_closed_stdout(&error) => Exit::Done.into(),
        Err(error) => fail(&error),
    }
}

/// Takes a lower priority than the other work of this host, before any thread is started. A backup mostly waits for a
/// server; where that is on the same host it has the first right to a processor, for others' sake and for ours: what we
/// do with the bytes is done while it makes the next. It counts among what the system weighs together: between services
/// of systemd `CPUWeight` decides, which the unit in `deploy` sets.
fn step_back() {
    /// As the command `nice` does by itself.
    const NICE: i32 = 10;
    // Where it cannot be had, it goes without.
    let _ = rustix::process::nice(NICE);
}

/// Prints an error with its causes, each once, and gives its exit code.
#[allow(clippy::print_stderr, reason = "the one place where errors are printed")]
fn fail(error: &anyhow::Error) -> ExitCode {
    let mut said = error.to_string();
    eprintln!("error: {said}");
    for cause in error.chain().skip(1) {
        let text = cause.to_string();
        // Many errors already quote their source; saying it twice helps nobody.
        if !said.contains(&text) {
            eprintln!("  because: {text}");
        }
        said = text;
    }
    exit::code_of(error).into()
}
