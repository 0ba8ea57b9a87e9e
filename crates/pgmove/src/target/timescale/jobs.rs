//! Policies and jobs: made last, started when everything is proven.

use crate::Error;
use crate::catalog::QualifiedName;
use crate::catalog::timescale::{Job, Timescale};
use crate::extension::timescaledb::statements;
use crate::quote::{ident, literal};
use crate::target::{RestorePlan, Target};

/// A job that was made, and does not start yet.
#[derive(Debug, Clone)]
pub(in crate::target) struct Waiting {
    id: String,
    job: Job,
}

impl Target {
    /// Makes every job, none of which starts before [`Target::start_jobs`].
    pub(in crate::target) async fn make_jobs(&self, plan: &RestorePlan) -> Result<(), Error> {
        let Some(timescale) = plan.rebuilt() else { return Ok(()) };
        let mut jobs: Vec<&Job> = timescale.jobs.iter().collect();
        // A policy that refreshes an aggregate is refused where another compresses what it refreshes; the other way
        // round the extension lets it be.
        jobs.sort_by_key(|job| (!statements::refreshes(job), job.id));
        for job in jobs {
            let on = job.relation.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
            let object = format!("job {}{on}", job.procedure);
            let made = self.make_job(timescale, job, &object).await;
            if made.is_err() {
                // That a lost connection cannot roll back is no news beside what it was lost over.
                let _ = self.session.execute(&object, "ROLLBACK").await;
            }
            if let Some(id) = self.note(&object, made)? {
                if let Some(sql) = statements::name_job(&timescale.schema, job, &id)
                    && let Err(error) = self.session.execute(&object, &sql).await
                {
                    match error.sqlstate() {
                        Some("42883") => self.remark(format!(
                            "{object}: this version knows no titles of jobs, {} is lost",
                            job.title
                        )),
                        _ => return Err(error),
                    }
                }
                self.jobs().push(Waiting { id, job: job.clone() });
            }
        }
        Ok(())
    }

    async fn make_job(&self, timescale: &Timescale, job: &Job, object: &str) -> Result<String, Error> {
        // A policy belongs to whoever owns its table, and a job to whoever makes it.
        let render = self.options.render();
        let wanted = (!self.options.no_owner).then(|| render.role(&job.owner).to_owned());
        let owner = match (&wanted, &job.relation) {
            (Some(_), Some(relation)) => self.owner_of(relation, object).await?,
            _ => wanted.clone(),
        };
        if let (Some(wanted), Some(owner)) = (&wanted, &owner)
            && wanted != owner
        {
            self.remark(format!(
                "{object}: it belonged to role {}, and belongs to role {} here, who owns what it works on: the extension \
                 gives policies no other owner",
                ident(wanted),
                ident(owner)
            ));
        }
        self.session.execute(object, "BEGIN").await?;
        if let Some(owner) = &owner {
            self.session.execute(object, &format!("SET LOCAL ROLE {}", ident(owner))).await?;
        }
        let id = self.session.value(object, &statements::add_job(&timescale.schema, job)).await?;
        let id = id.filter(|id| id.parse::<i32>().is_ok_and(|id| id > 0)).ok_or_else(|| Error::Refused {
            what: format!("{object} was not made"),
            conflicts: vec!["another one like it is there already".to_owned()],
        })?;
        self.session.execute(object, &statements::settle_job(&timescale.schema, job, &id)).await?;
        self.session.execute(object, "COMMIT").await?;
        Ok(id)
    }

    async fn owner_of(&self, relation: &QualifiedName, object: &str) -> Result<Option<String>, Error> {
        let name = literal(&relation.to_string());
        let sql = format!("SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = {name}::regclass");
        self.session.value(object, &sql).await
    }

    /// Whether jobs were made that do not run yet.
    pub fn has_jobs(&self) -> bool {
        self.jobs().iter().any(|waiting| waiting.job.scheduled)
    }

    /// Lets the jobs run that ran at the source. To be called when everything is proven: a policy may at once compress
    /// or drop what a proof still has to read.
    pub async fn start_jobs(&self, plan: &RestorePlan) -> Result<(), Error> {
        let Some(timescale) = &plan.timescale else { return Ok(()) };
        let waiting: Vec<Waiting> = std::mem::take(&mut *self.jobs());
        for Waiting { id, job } in waiting.iter().filter(|waiting| waiting.job.scheduled) {
            let sql = statements::start_job(&timescale.schema, job, id);
            let object = format!("job {}", job.procedure);
            self.note(&object, self.session.execute(&object, &sql).await)?;
        }
        Ok(())
    }
}
