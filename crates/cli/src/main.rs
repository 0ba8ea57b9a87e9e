//! `dbhaul`: migrates, backs up and rehearses PostgreSQL and Redis.
//!
//! This binary connects the library crates (`pgmove`, `redisdump`, `retention`, `repository`, `sandbox`):
//!
//! - `args` and `commands` parse the command line and print results;
//! - `jobs` move the data, and do not parse or print;
//! - `report` holds the results of jobs, which render as text or as JSON;
//! - `ui` shows progress on standard error;
//! - `exit` turns errors into exit codes, and `failure` into text and JSON, each in one place.

mod args;
mod commands;
mod config;
mod context;
mod endpoint;
mod exit;
mod failure;
mod interrupt;
mod jobs;
mod metrics;
mod notify;
mod redact;
#[cfg(test)]
mod reference;
mod remedy;
mod report;
mod schedule;
mod shared_args;
mod transport;
mod ui;
mod worded;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Cli;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Signals;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return misused(&error),
    };
    let json = cli.shared.json;
    if matches!(cli.command, args::Command::Backup(_) | args::Command::Nightly(_)) {
        step_back();
    }
    if let Some(result) = commands::describe(&cli.command) {
        return ended(result, json);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&anyhow::Error::new(error).context("cannot start the runtime"), json),
    };
    let result = runtime.block_on(async {
        let context = Context::new(cli.shared)?;
        // A nightly run handles signals itself: it sends its notices before it ends.
        if matches!(cli.command, args::Command::Nightly(_)) {
            return commands::run(cli.command, &context).await;
        }
        let result = Signals::listen()?.stop(commands::run(cli.command, &context)).await;
        if let Err(error) = &result {
            context.conclude_failed(error);
        }
        result
    });
    // A thread blocked in a system call must not keep the program alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    ended(result, json)
}

/// The exit code of a command. Prints its error.
fn ended(result: anyhow::Result<Exit>, json: bool) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(error) if exit::is_closed_stdout(&error) => Exit::Done.into(),
        Err(error) => fail(&error, json),
    }
}

/// Lowers the priority of this process, before any thread is started. A backup mostly waits for the server. If that
/// runs on the same host, it should get the processor first: dbhaul processes the bytes while the server produces the
/// next ones. Between systemd services `CPUWeight` decides, which the unit in `deploy` sets.
fn step_back() {
    /// The default of `nice`.
    const NICE: i32 = 10;
    // Not required: continue if it fails.
    let _ = rustix::process::nice(NICE);
}

/// Prints an error on standard error, and with `--json` also on standard output. Returns its exit code.
#[allow(clippy::print_stderr, reason = "the one place where errors are printed")]
fn fail(error: &anyhow::Error, json: bool) -> ExitCode {
    let failure = Failure::of(error);
    eprint!("{}", failure.render());
    if json {
        print_json(&failure);
    }
    exit::code_of(error).into()
}

/// Prints help, the version, or a command line error with passwords hidden.
#[allow(clippy::print_stderr, reason = "the one place where errors are printed")]
fn misused(error: &clap::Error) -> ExitCode {
    let plain = error.render().to_string();
    let shown = redact::redact(&plain);
    if error.use_stderr() && shown != plain {
        eprint!("{shown}");
    } else {
        // If the output is closed, there is nowhere to report to.
        let _ = error.print();
    }
    if !error.use_stderr() {
        return Exit::Done.into();
    }
    if std::env::args_os().any(|arg| arg == "--json") {
        print_json(&Failure::of_usage(error));
    }
    Exit::Usage.into()
}

fn print_json(failure: &Failure) {
    let text = format!("{:#}\n", failure.json());
    // A closed pipe must not change the exit code.
    let _ = crate::ui::stdout::Stdout.write_all(text.as_bytes());
}
