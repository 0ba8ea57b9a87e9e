//! Policies and jobs: created last, started after verification.

use crate::Error;
use crate::catalog::QualifiedName;
use crate::conflict::Conflict;
use crate::quote::{ident, literal};
use crate::restore::context::Context;
use crate::restore::plan::RestorePlan;
use crate::timescaledb::model::{Job, Timescale, WaitingJob};
use crate::timescaledb::statements;
use crate::warning::Warning;

/// Creates every job. None starts before [`start_jobs`].
pub(crate) async fn make_jobs(target: &Context, plan: &RestorePlan) -> Result<(), Error> {
    let Some(timescale) = plan.rebuilt() else { return Ok(()) };
    let mut jobs: Vec<&Job> = timescale.jobs.iter().collect();
    // Refresh policies first: the extension refuses one on an aggregate that already has a compression policy, but
    // not the reverse.
    jobs.sort_by_key(|job| (!statements::refreshes(job), job.id));
    for job in jobs {
        let on = job.relation.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
        let object = format!("job {}{on}", job.procedure);
        let made = make_job(target, timescale, job, &object).await;
        if made.is_err() {
            // If the connection is lost, the error that lost it is reported.
            let _ = target.session.execute(&object, "ROLLBACK").await;
        }
        if let Some(id) = target.note(&object, made)? {
            if let Some(sql) = statements::name_job(&timescale.schema, job, &id)
                && let Err(error) = target.session.execute(&object, &sql).await
            {
                match error.sqlstate() {
                    Some("42883") => {
                        target.warn(Warning::JobTitle { object: object.clone(), title: job.title.clone() })
                    }
                    _ => return Err(error),
                }
            }
            target.jobs().push(WaitingJob { id, job: job.clone() });
        }
    }
    Ok(())
}

pub(super) async fn make_job(
    target: &Context,
    timescale: &Timescale,
    job: &Job,
    object: &str,
) -> Result<String, Error> {
    // A policy belongs to the owner of its table, a job to its creator.
    let render = target.options.render();
    let wanted = (!target.options.no_owner).then(|| render.role(&job.owner).to_owned());
    let owner = match (&wanted, &job.relation) {
        (Some(_), Some(relation)) => owner_of(target, relation, object).await?,
        _ => wanted.clone(),
    };
    if let (Some(wanted), Some(owner)) = (&wanted, &owner)
        && wanted != owner
    {
        target.warn(Warning::PolicyOwner {
            object: object.to_owned(),
            at_source: wanted.clone(),
            here: owner.clone(),
        });
    }
    target.session.execute(object, "BEGIN").await?;
    if let Some(owner) = &owner {
        target.session.execute(object, &format!("SET LOCAL ROLE {}", ident(owner))).await?;
    }
    let id = target.session.value(object, &statements::add_job(&timescale.schema, job)).await?;
    let id = id
        .filter(|id| id.parse::<i32>().is_ok_and(|id| id > 0))
        .ok_or_else(|| Error::refused(format!("{object} was not created"), Conflict::JobExists))?;
    target.session.execute(object, &statements::settle_job(&timescale.schema, job, &id)).await?;
    target.session.execute(object, "COMMIT").await?;
    Ok(id)
}

pub(super) async fn owner_of(
    target: &Context,
    relation: &QualifiedName,
    object: &str,
) -> Result<Option<String>, Error> {
    let name = literal(&relation.to_string());
    let sql = format!("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = {name}::regclass");
    target.session.value(object, &sql).await
}

/// Whether jobs were created that do not run yet.
pub(crate) fn has_jobs(target: &Context) -> bool {
    target.jobs().iter().any(|waiting| waiting.job.scheduled)
}

/// Starts the jobs that ran at the source. Call it after verification: a policy may immediately compress or drop
/// chunks that the proof has yet to read.
pub(crate) async fn start_jobs(target: &Context, plan: &RestorePlan) -> Result<(), Error> {
    let Some(timescale) = &plan.timescale else { return Ok(()) };
    let waiting: Vec<WaitingJob> = std::mem::take(&mut *target.jobs());
    for WaitingJob { id, job } in waiting.iter().filter(|waiting| waiting.job.scheduled) {
        let sql = statements::start_job(&timescale.schema, job, id);
        let object = format!("job {}", job.procedure);
        target.note(&object, target.session.execute(&object, &sql).await)?;
    }
    Ok(())
}
