//! Running a plan: each file in a session of its own, as `psql -f` would, and nothing after the first error.

use std::time::Instant;

use serde::Serialize;

use super::plan::{Mode, Plan};
use crate::baseline::script::Script;
use crate::baseline::script::effect::Control;
use crate::{ConnectOptions, Error, Session, connect};

/// Whoever applies migrations holds this advisory lock, so that two runs do not meet: "dbhaul" and "m" in ASCII.
const LOCK: i64 = 0x0064_6268_6175_6c6d;

/// A file that was run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Applied {
    /// The migration's name.
    pub name: String,
    /// The file.
    pub file: String,
    /// How it ran.
    pub mode: Mode,
    /// Statements that ran.
    pub statements: usize,
    /// How long it took, in milliseconds.
    pub millis: u64,
}

/// A statement that the server refused.
#[derive(Debug)]
pub struct Failed {
    /// The file.
    pub file: String,
    /// The line of the file, counted from 1: where the server points to, else where the statement begins.
    pub line: usize,
    /// What the server said.
    pub source: Error,
    /// The state that things are in now.
    pub state: String,
    /// The files that had run before.
    pub applied: Vec<Applied>,
    /// The names of those that were not run.
    pub not_run: Vec<String>,
}

/// Why a plan was not run to its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// A file of the plan cannot be run; nothing was.
    #[error("nothing was run:\n  {}", .0.join("\n  "))]
    Blocked(Vec<String>),
    /// A statement failed.
    #[error("{}, line {}: {}\nstate: {}", .0.file, .0.line, .0.source, .0.state)]
    Failed(Box<Failed>),
    /// The server could not be reached, or does not take changes.
    #[error(transparent)]
    Server(#[from] Error),
}

/// Runs what a plan says, in its order. `on_file` is told each file before it runs.
///
/// A file runs in one transaction where it can ([`Mode`]). The session has the settings that the role and the
/// database give it, none of this tool's own.
///
/// # Errors
/// [`ApplyError::Blocked`] before anything runs when a file of the plan cannot; [`ApplyError::Failed`] at the first
/// error of a file, with the line and what state things are in; [`ApplyError::Server`] when no session can be had,
/// the server is a standby, or another run holds the lock.
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
            let what = format!("{name} is in the plan, and its file is not among those given");
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
    Err(Error::Refused {
        what: session.server().to_string(),
        conflicts: vec!["it is a standby, which takes no changes: connect to its primary".to_owned()],
    })
}

async fn take_lock(session: &Session) -> Result<(), Error> {
    let sql = format!("SELECT pg_try_advisory_lock({LOCK})");
    if session.value("the lock of migrations", &sql).await?.as_deref() == Some("t") {
        return Ok(());
    }
    Err(Error::Refused {
        what: session.server().to_string(),
        conflicts: vec![format!(
            "another run applies migrations to this database just now (advisory lock {LOCK}): wait for its end"
        )],
    })
}

/// Where a file stopped.
struct Stopped {
    line: usize,
    source: Error,
    state: String,
}

async fn run(session: &Session, script: &Script) -> Result<(), Stopped> {
    let mode = script.mode();
    // Of a file that commits by itself: the line of the last statement that stays whatever follows, and where the
    // transaction began that is open.
    let (mut kept, mut begun) = (None::<usize>, None::<usize>);
    let first = script.statements.first().map_or(1, |statement| statement.line);
    if mode == Mode::Transaction {
        bracket(session, script, "BEGIN", first).await?;
    }
    for statement in &script.statements {
        let object = format!("the statement that begins on line {}", statement.line);
        if let Err(source) = session.execute(&object, &statement.text).await {
            let line = statement.line + lines_before(&source, &statement.text);
            // The connection may be gone; then the server has rolled back by itself.
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
                "the transaction that begins here is never ended: write COMMIT at its end, or leave BEGIN out"
                    .to_owned(),
            );
            Err(Stopped { line, source, state: state(mode, begun, kept) })
        }
        _ => Ok(()),
    }
}

/// BEGIN or COMMIT of our own. A COMMIT may fail by a deferred constraint.
async fn bracket(session: &Session, script: &Script, sql: &str, line: usize) -> Result<(), Stopped> {
    let object = format!("{sql} of {}", script.file);
    session.execute(&object, sql).await.map_err(|source| Stopped {
        line,
        state: match source.is_lost() && sql == "COMMIT" {
            true => {
                "the connection was lost at COMMIT: whether this file is in the database must be looked at \
                     (`dbhaul baseline plan`)"
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
        None => "the statement that failed left nothing".to_owned(),
    };
    match kept {
        Some(line) => format!(
            "{rolled_back}; what stands before it, up to the statement on line {line}, is committed and stays"
        ),
        None => format!("{rolled_back}; nothing of this file is in the database"),
    }
}

/// How many lines into the statement the server points.
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
