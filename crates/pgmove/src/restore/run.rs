//! Runs the sections of a script: in order, or in parallel as dependencies and locks allow.

use std::collections::BTreeSet;
use std::time::Instant;

use futures::stream::{FuturesUnordered, StreamExt as _};

use super::batch::{may_share, messages};
use super::plan::LARGE_OBJECT;
use super::{RestoreEvent, RestorePlan, Target, deadlock};
use crate::Error;
use crate::ddl::{Section, Statement};
use crate::warning::Warning;

/// Runs a section in order.
pub(super) async fn in_order(
    target: &Target,
    plan: &RestorePlan,
    section: Section,
    on_event: &(dyn Fn(RestoreEvent) + Sync),
) -> Result<(), Error> {
    let session = &target.context.session;
    let mut shared: Vec<&Statement> = Vec::new();
    for (_, statement) in plan.script.section(section) {
        // Rows of a materialized view count as rows, and large objects as data.
        let data = statement.object.kind == LARGE_OBJECT || statement.fills_view();
        if statement.sql.is_empty() || data && !target.context.options.sections.data {
            continue;
        }
        if may_share(statement) {
            shared.push(statement);
            continue;
        }
        send_all(target, std::mem::take(&mut shared)).await?;
        let begun = Instant::now();
        let object = statement.object.to_string();
        let done = deadlock::execute(session, &object, &statement.sql).await;
        if let (Err(error), Some(extension)) = (&done, &statement.extension)
            && error.sqlstate().is_some_and(|state| UNDEFINED.contains(&state))
        {
            let what = if section == Section::Privileges { "privileges" } else { "value" };
            target.context.warn(Warning::ExtensionMember {
                what: what.to_owned(),
                object: object.clone(),
                extension: extension.clone(),
            });
            // It may have been acting as another role.
            session.execute("the session's role", "RESET SESSION AUTHORIZATION").await?;
            continue;
        }
        target.context.note(&object, done.map_err(|e| target.with_hint(e)))?;
        on_event(RestoreEvent::Ran { object, took: begun.elapsed() });
    }
    send_all(target, shared).await
}

async fn send_all(target: &Target, statements: Vec<&Statement>) -> Result<(), Error> {
    for message in messages(statements.into_iter()) {
        target.send(&target.context.session, &message).await?;
    }
    Ok(())
}

/// SQLSTATEs for a function, relation, type or other object, schema or column that does not exist.
const UNDEFINED: [&str; 5] = ["42883", "42P01", "42704", "3F000", "42703"];

/// Runs the requested statements of the post-data section on all workers: the heaviest ready statement first whose
/// locks are free. Statements with conflicting locks would only wait for each other, or deadlock.
pub(super) async fn in_parallel(
    target: &Target,
    plan: &RestorePlan,
    wanted: &(dyn Fn(&Statement) -> bool + Sync),
    on_event: &(dyn Fn(RestoreEvent) + Sync),
) -> Result<(), Error> {
    let (workers, jobs) = (&target.context.workers, target.context.options.jobs);
    let mut waiting: Vec<(usize, &Statement)> =
        plan.script.section(Section::PostData).filter(|(_, statement)| wanted(statement)).collect();
    waiting.sort_by_key(|(at, statement)| (std::cmp::Reverse(statement.weight), *at));
    let mut open: BTreeSet<usize> = waiting.iter().map(|(at, _)| *at).collect();
    let mut running: Vec<(usize, &Statement)> = Vec::new();
    let mut work = FuturesUnordered::new();
    loop {
        while running.len() < jobs.max(1) {
            // All statements of earlier sections have run: only pending ones count.
            let ready = |(_, statement): &(usize, &Statement)| {
                statement.depends_on.iter().all(|need| !open.contains(need))
                    && running.iter().all(|(_, other)| !conflict(statement, other))
            };
            let Some(next) = waiting.iter().position(ready) else { break };
            let (at, statement) = waiting.remove(next);
            running.push((at, statement));
            work.push(async move {
                let begun = Instant::now();
                let lease = workers.get().await?;
                let object = statement.object.to_string();
                let done = deadlock::execute(lease.session(), &object, &statement.sql)
                    .await
                    .map_err(|e| target.with_hint(e));
                lease.give_back();
                target.context.note(&object, done)?;
                Ok::<_, Error>((at, begun.elapsed()))
            });
        }
        match work.next().await {
            Some(Ok((at, took))) => {
                open.remove(&at);
                if let Some(done) = running.iter().position(|(other, _)| *other == at) {
                    let (_, statement) = running.remove(done);
                    on_event(RestoreEvent::Ran { object: statement.object.to_string(), took });
                }
            }
            Some(Err(error)) => return Err(error),
            None if waiting.is_empty() => return Ok(()),
            // Cyclic dependencies: use the order of the script.
            None => {
                let first = waiting.iter().enumerate().min_by_key(|(_, (at, _))| *at).map(|(index, _)| index);
                let Some((at, statement)) = first.map(|index| waiting.remove(index)) else { return Ok(()) };
                let lease = workers.get().await?;
                let object = statement.object.to_string();
                let done = deadlock::execute(lease.session(), &object, &statement.sql)
                    .await
                    .map_err(|e| target.with_hint(e));
                lease.give_back();
                target.context.note(&object, done)?;
                open.remove(&at);
            }
        }
    }
}

fn conflict(a: &Statement, b: &Statement) -> bool {
    a.locks.iter().any(|mine| {
        b.locks.iter().any(|theirs| mine.table == theirs.table && (mine.exclusive || theirs.exclusive))
    })
}
