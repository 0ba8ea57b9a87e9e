//! Applies a plan: each file in its own session, as `psql -f` would, stopping at the first error.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::plan::{Mode, Plan};
use crate::baseline::script::Script;
use crate::baseline::script::effect::Control;
use crate::conflict::Conflict;
use crate::{ConnectOptions, Error, Session, connect};

/// Advisory lock that prevents concurrent runs: "dbhaul" and "m" in ASCII.
const LOCK: i64 = 0x0064_6268_6175_6c6d;
/// How long another run may hold it before that is an error.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// An applied file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Applied {
    /// The migration's name.
    pub name: String,
    /// The file.
    pub file: String,
    /// The transaction mode.
    pub mode: Mode,
    /// Number of statements.
    pub statements: usize,
    /// Duration in milliseconds.
    pub millis: u64,
}

/// A statement that the server rejected.
#[derive(Debug)]
pub struct Failed {
    /// The file.
    pub file: String,
    /// The line of the file, counted from 1: the server's error position, or the beginning of the statement.
    pub line: usize,
    /// The server's error.
    pub source: Error,
    /// The resulting state of the database.
    pub state: String,
    /// Files applied before.
    pub applied: Vec<Applied>,
    /// Names of files that were not run.
    pub not_run: Vec<String>,
}

/// Why a plan was not completed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// A file of the plan cannot be run; nothing was run.
    #[error("nothing was run:\n  {}", .0.join("\n  "))]
    Blocked(Vec<String>),
    /// A statement failed.
    #[error("{}, line {}: {}\nstate: {}", .0.file, .0.line, .0.source, .0.state)]
    Failed(Box<Failed>),
    /// The server is unreachable or does not accept changes.
    #[error(transparent)]
    Server(#[from] Error),
}

/// Applies a plan in its order. `on_file` is called with each file before it runs.
///
/// A file runs in one transaction if possible ([`Mode`]). The session has the settings of the role and the database;
/// this crate's pinned settings do not apply.
///
/// # Errors
/// [`ApplyError::Blocked`] before anything runs if a file of the plan cannot be run; [`ApplyError::Failed`] at the
/// first error in a file, with the line and the resulting state; [`ApplyError::Server`] if the connection fails, the
/// server is a standby, or another run holds the lock.
pub async fn apply(
    options: &ConnectOptions,
    scripts: &[Script],
    plan: &Plan,
    on_file: &(dyn Fn(&str) + Send + Sync),
) -> Result<Vec<Applied>, ApplyError> {
    let blocked: Vec<String> = plan
        .blocked()
        .flat_map(|file| {
            let obstacles = file
                .obstacles
                .iter()
                .map(|obstacle| format!("{}, line {}: {}", file.file, obstacle.line, obstacle.what));
            let reasons = file.reasons.iter().map(|reason| format!("{}: {reason}", file.file));
            obstacles.chain(reasons).collect::<Vec<_>>()
        })
        .collect();
    if !blocked.is_empty() {
        return Err(ApplyError::Blocked(blocked));
    }
    if plan.order.is_empty() {
        return Ok(Vec::new());
    }
    let guard = connect(options).await?;
    refuse_standby(&guard)?;
    take_lock(&guard).await?;
    let mut applied = Vec::new();
    for (at, name) in plan.order.iter().enumerate() {
        let Some(script) = scripts.iter().find(|script| script.name == *name) else {
            let what = format!("{name} is in the plan, but its file was not given");
            return Err(ApplyError::Blocked(vec![what]));
        };
        on_file(&script.file);
        let session = connect(options).await?;
        session.execute("the session's settings", "RESET ALL").await?;
        let started = Instant::now();
        match run(&session, script).await {
            Ok(()) => applied.push(Applied {
                name: name.clone(),
                file: script.file.clone(),
                mode: script.mode(),
                statements: script.statements.len(),
                millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
            }),
            Err(stopped) => {
                let not_run = plan.order.get(at + 1..).unwrap_or_default().to_vec();
                let before: Vec<&str> = applied.iter().map(|file| file.name.as_str()).collect();
                let state = format!(
                    "{}; applied before it: {}; not run: {}",
                    stopped.state,
                    listed(&before),
                    listed(&not_run.iter().map(String::as_str).collect::<Vec<_>>())
                );
                return Err(ApplyError::Failed(Box::new(Failed {
                    file: script.file.clone(),
                    line: stopped.line,
                    source: stopped.source,
                    state,
                    applied,
                    not_run,
                })));
            }
        }
    }
    Ok(applied)
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn refuse_standby(session: &Session) -> Result<(), Error> {
    if !session.server().in_recovery {
        return Ok(());
    }
    Err(Error::refused(session.server().to_string(), Conflict::Standby))
}

async fn take_lock(session: &Session) -> Result<(), Error> {
    let sql = format!("SELECT pg_try_advisory_lock({LOCK})");
    let begun = Instant::now();
    loop {
        if session.value("the lock of migrations", &sql).await?.as_deref() == Some("t") {
            return Ok(());
        }
        // A server takes a moment to notice that the session of a failed run is gone.
        if begun.elapsed() > LOCK_WAIT {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(Error::refused(session.server().to_string(), Conflict::MigrationsRunning { lock: LOCK }))
}

/// Where a file stopped.
struct Stopped {
    line: usize,
    source: Error,
    state: String,
}

async fn run(session: &Session, script: &Script) -> Result<(), Stopped> {
    let mode = script.mode();
    // For a file with its own COMMIT: the line of the last committed statement, and the line at which the open
    // transaction began.
    let (mut kept, mut begun) = (None::<usize>, None::<usize>);
    let first = script.statements.first().map_or(1, |statement| statement.line);
    if mode == Mode::Transaction {
        bracket(session, script, "BEGIN", first).await?;
    }
    for statement in &script.statements {
        let object = format!("the statement that begins on line {}", statement.line);
        if let Err(source) = session.execute(&object, &statement.text).await {
            let line = statement.line + lines_before(&source, &statement.text);
            // The connection may be lost; then the server has rolled back by itself.
            let _ = session.execute("the failed transaction", "ROLLBACK").await;
            return Err(Stopped { line, state: state(mode, begun, kept), source });
        }
        match statement.effect.control {
            Some(Control::Begin) => begun = Some(statement.line),
            Some(Control::Commit) => (begun, kept) = (None, Some(statement.line)),
            Some(Control::Rollback) => begun = None,
            None if begun.is_none() => kept = Some(statement.line),
            None => {}
        }
    }
    let last = script.statements.last().map_or(1, |statement| statement.line);
    match (mode, begun) {
        (Mode::Transaction, _) => bracket(session, script, "COMMIT", last).await,
        (_, Some(line)) => {
            let _ = session.execute("the open transaction", "ROLLBACK").await;
            let source = Error::Options(
                "the transaction that begins here is never ended: add COMMIT, or remove BEGIN".to_owned(),
            );
            Err(Stopped { line, source, state: state(mode, begun, kept) })
        }
        _ => Ok(()),
    }
}

/// Our own BEGIN or COMMIT. COMMIT may fail because of a deferred constraint.
async fn bracket(session: &Session, script: &Script, sql: &str, line: usize) -> Result<(), Stopped> {
    let object = format!("{sql} of {}", script.file);
    session.execute(&object, sql).await.map_err(|source| Stopped {
        line,
        state: match source.is_lost() && sql == "COMMIT" {
            true => {
                "the connection was lost during COMMIT: plan again to find out whether this file was applied"
                    .to_owned()
            }
            false => state(Mode::Transaction, None, None),
        },
        source,
    })
}

fn state(mode: Mode, begun: Option<usize>, kept: Option<usize>) -> String {
    if mode == Mode::Transaction {
        return "this file ran in one transaction, which was rolled back: nothing of it is in the database"
            .to_owned();
    }
    let rolled_back = match begun {
        Some(line) => format!("its transaction that begins on line {line} was rolled back"),
        None => "the failed statement changed nothing".to_owned(),
    };
    match kept {
        Some(line) => format!("{rolled_back}; the statements up to line {line} are committed"),
        None => format!("{rolled_back}; nothing of this file is in the database"),
    }
}

/// The number of lines between the statement's beginning and the server's error position.
fn lines_before(error: &Error, text: &str) -> usize {
    use tokio_postgres::error::ErrorPosition;
    let Error::Server { source, .. } = error else { return 0 };
    match source.as_db_error().and_then(|db| db.position()) {
        Some(ErrorPosition::Original(position)) => {
            let before = usize::try_from(*position).unwrap_or(0).saturating_sub(1);
            text.chars().take(before).filter(|c| *c == '\n').count()
        }
        _ => 0,
    }
}
