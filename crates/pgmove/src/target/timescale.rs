//! What a target with TimescaleDB needs beside the script: chunks, compression, rows of continuous aggregates, jobs.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::plan::TablePlan;
use super::{RestoreEvent, RestorePlan, Sections, Target};
use crate::Error;
use crate::catalog::address::class;
use crate::catalog::timescale::{Aggregate, Hypertable, Job, Timescale};
use crate::catalog::{Address, Catalog, QualifiedName};
use crate::connect::Session;
use crate::extension::installed;
use crate::extension::timescaledb::{FUNCTIONS, NAME, statements};
use crate::quote::{ident, literal};

/// Chunks are made in batches of this many.
const CHUNKS_AT_ONCE: usize = 100;

/// A job that was made, and does not start yet.
#[derive(Debug, Clone)]
pub(super) struct Waiting {
    id: String,
    job: Job,
}

/// A chunk of the target, and its ranges.
struct Found {
    name: QualifiedName,
    slices: BTreeMap<String, (i64, i64)>,
}

/// The tables that are hypertables here; none where the extension is not installed.
pub(super) async fn hypertables(session: &Session) -> Result<Vec<QualifiedName>, Error> {
    if !installed(session, NAME).await? {
        return Ok(Vec::new());
    }
    let sql =
        "SELECT schema_name, table_name FROM _timescaledb_catalog.hypertable WHERE compression_state <> 2";
    Ok(QualifiedName::of_rows(session.query("the target's hypertables", sql).await?))
}

/// The continuous aggregates, each with the hypertable that keeps its rows.
pub(super) async fn aggregates(session: &Session) -> Result<BTreeMap<QualifiedName, QualifiedName>, Error> {
    if !installed(session, NAME).await? {
        return Ok(BTreeMap::new());
    }
    let sql = "SELECT a.user_view_schema, a.user_view_name, h.schema_name, h.table_name FROM _timescaledb_catalog.continuous_agg a \
               JOIN _timescaledb_catalog.hypertable h ON h.id = a.mat_hypertable_id";
    let rows = session.query("the target's continuous aggregates", sql).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let mut fields = row.into_iter().flatten();
            let view = QualifiedName::new(fields.next()?, fields.next()?);
            Some((view, QualifiedName::new(fields.next()?, fields.next()?)))
        })
        .collect())
}

/// Each continuous aggregate with the hypertable or the aggregate that it is computed from: a dependency that
/// `pg_depend` does not hold.
pub(super) async fn aggregate_sources(
    session: &Session,
    here: &Catalog,
) -> Result<Vec<(Address, Address)>, Error> {
    let Some(timescale) = here.timescale.as_ref().filter(|timescale| !timescale.aggregates.is_empty()) else {
        return Ok(Vec::new());
    };
    let sql = "SELECT a.user_view_schema, a.user_view_name, h.schema_name, h.table_name FROM _timescaledb_catalog.continuous_agg a \
               JOIN _timescaledb_catalog.hypertable h ON h.id = a.raw_hypertable_id";
    let rows = session.query("what the target's continuous aggregates are computed from", sql).await?;
    let address = |oid| Address::new(class::CLASS, oid);
    let pair = |row: Vec<Option<String>>| {
        let mut fields = row.into_iter().flatten();
        let view = QualifiedName::new(fields.next()?, fields.next()?);
        let source = QualifiedName::new(fields.next()?, fields.next()?);
        let view = timescale.aggregates.iter().find(|aggregate| aggregate.name == view)?;
        let below = timescale.aggregates.iter().find(|aggregate| aggregate.materialized.name == source);
        let table = || here.table(&source).map(|table| table.meta.oid);
        Some((address(view.oid), address(below.map(|aggregate| aggregate.oid).or_else(table)?)))
    };
    Ok(rows.into_iter().filter_map(pair).collect())
}

/// Policies and jobs that run at the target and work on tables that are going to be filled, each as a warning.
pub(super) async fn running_jobs(
    session: &Session,
    tables: &HashMap<QualifiedName, TablePlan>,
) -> Result<Vec<String>, Error> {
    if !installed(session, NAME).await? {
        return Ok(Vec::new());
    }
    let sql = "SELECT hypertable_schema, hypertable_name, job_id, application_name FROM timescaledb_information.jobs \
               WHERE scheduled AND job_id >= 1000 AND hypertable_name IS NOT NULL ORDER BY job_id";
    let rows = session.query("the target's jobs", sql).await?;
    let warning = |row: Vec<Option<String>>| {
        let mut fields = row.into_iter().flatten();
        let table = QualifiedName::new(fields.next()?, fields.next()?);
        let (id, title) = (fields.next()?, fields.next()?);
        tables.contains_key(&table).then(|| {
            format!("job {title} on {table} is switched on here, and may work on rows while they arrive: alter_job({id}, scheduled => false) stops it for the time")
        })
    };
    Ok(rows.into_iter().filter_map(warning).collect())
}

/// The tables of all chunks.
pub(super) async fn all_chunks(session: &Session) -> Result<BTreeSet<QualifiedName>, Error> {
    if !installed(session, NAME).await? {
        return Ok(BTreeSet::new());
    }
    let sql = "SELECT schema_name, table_name FROM _timescaledb_catalog.chunk";
    Ok(QualifiedName::of_rows(session.query("the target's chunks", sql).await?))
}

/// The tables of a hypertable's chunks.
pub(super) async fn chunks(session: &Session, table: &QualifiedName) -> Result<Vec<QualifiedName>, Error> {
    let sql = format!(
        "SELECT k.schema_name, k.table_name FROM _timescaledb_catalog.chunk k JOIN _timescaledb_catalog.hypertable h ON h.id = k.hypertable_id \
         JOIN pg_namespace n ON n.nspname = k.schema_name JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = k.table_name \
         WHERE h.schema_name = {} AND h.table_name = {} ORDER BY k.id",
        literal(&table.schema),
        literal(&table.name)
    );
    Ok(QualifiedName::of_rows(session.query(&format!("the chunks of {table}"), &sql).await?))
}

impl Target {
    /// Gives the hypertables, which are still empty, the chunks of the source. Rows would make chunks too, but a table
    /// whose interval was once changed would get others. The function is not public: where it refuses, they come by
    /// the rows, and that is told.
    pub(super) async fn make_chunks(&self, plan: &RestorePlan) -> Result<(), Error> {
        // Without rows to come they would only lie there.
        let rows = self.options.sections != Sections::SCHEMA;
        let Some(timescale) = plan.rebuilt().filter(|_| rows) else { return Ok(()) };
        for table in &timescale.hypertables {
            self.make_chunks_of(&table.name, table).await?;
        }
        Ok(())
    }

    async fn make_chunks_of(&self, name: &QualifiedName, like: &Hypertable) -> Result<(), Error> {
        let functions = self.functions().await?;
        for batch in like.chunks.chunks(CHUNKS_AT_ONCE) {
            let sql: Vec<String> = batch
                .iter()
                .map(|chunk| {
                    format!(
                        "SELECT {functions}.create_chunk({}::regclass, {}::jsonb)",
                        literal(&name.to_string()),
                        literal(&statements::slices(chunk))
                    )
                })
                .collect();
            match self.session.execute(&format!("chunks of {name}"), &sql.join("; ")).await {
                Err(error @ Error::Server { .. }) if !error.is_lost() => {
                    self.remark(format!(
                        "the chunks of {name} cannot be made as they were, and come as the rows do: {error}"
                    ));
                    return Ok(());
                }
                done => done?,
            }
        }
        Ok(())
    }

    /// Switches compression on, and compresses what was compressed.
    pub(super) async fn compress(
        &self,
        plan: &RestorePlan,
        on_event: &(dyn Fn(RestoreEvent) + Sync),
    ) -> Result<(), Error> {
        let Some(timescale) = plan.rebuilt() else { return Ok(()) };
        for table in timescale.hypertables.iter().filter(|table| table.compression.is_some()) {
            let (data, begun) = (self.options.sections.data, Instant::now());
            self.compress_one(timescale, ("TABLE", &table.name), table, &table.name, data).await?;
            let object = format!("compression of hypertable {}", table.name);
            on_event(RestoreEvent::Ran { object, took: begun.elapsed() });
        }
        Ok(())
    }

    /// `what` is altered, `at` is the hypertable that holds its rows here, `like` is what it was.
    async fn compress_one(
        &self,
        timescale: &Timescale,
        what: (&str, &QualifiedName),
        like: &Hypertable,
        at: &QualifiedName,
        chunks: bool,
    ) -> Result<(), Error> {
        let Some(compression) = &like.compression else { return Ok(()) };
        let object = format!("compression of {}", what.1);
        let sql = statements::set_compression(what.0, what.1, compression);
        if self.note(&object, self.session.execute(&object, &sql).await)?.is_none() || !chunks {
            return Ok(());
        }
        let overlaps = |found: &Found, compressed: bool| {
            like.chunks.iter().filter(|chunk| chunk.compressed == compressed).any(|chunk| {
                found.slices.iter().all(|(column, (from, to))| {
                    chunk.slices.get(column).is_some_and(|(start, end)| from < end && start < to)
                })
            })
        };
        let found = self.chunks_with_ranges(at).await?;
        let wanted = found.iter().filter(|chunk| overlaps(chunk, true) && !overlaps(chunk, false));
        stream::iter(wanted)
            .map(|chunk| async {
                let sql = format!(
                    "SELECT {}.compress_chunk({}::regclass)",
                    ident(&timescale.schema),
                    literal(&chunk.name.to_string())
                );
                let object = format!("compression of chunk {} of {}", chunk.name, what.1);
                let lease = self.workers.get().await?;
                let done = lease.session().execute(&object, &sql).await;
                lease.give_back();
                self.note(&object, done).map(|_| ())
            })
            .buffer_unordered(self.options.jobs.max(1))
            .try_collect::<()>()
            .await
    }

    async fn chunks_with_ranges(&self, table: &QualifiedName) -> Result<Vec<Found>, Error> {
        let functions = self.functions().await?;
        let mut found = Vec::new();
        for name in chunks(&self.session, table).await? {
            let sql = format!(
                "SELECT slices FROM {functions}.show_chunk({}::regclass)",
                literal(&name.to_string())
            );
            let slices = self.session.value(&format!("chunk {name}"), &sql).await?;
            let slices = slices.and_then(|slices| serde_json::from_str(&slices).ok()).unwrap_or_default();
            found.push(Found { name, slices });
        }
        Ok(found)
    }

    /// The schema of the extension's inner functions, quoted.
    async fn functions(&self) -> Result<String, Error> {
        let found = self.session.value("TimescaleDB's functions", FUNCTIONS).await?;
        Ok(found.map_or_else(|| "_timescaledb_functions".to_owned(), |schema| ident(&schema).into_owned()))
    }

    /// Prepares a continuous aggregate for its rows ([`RestorePlan::late`]): it is refreshed up to where the source had
    /// it, so that it counts as up to date, and then emptied. What the source kept of it follows by
    /// [`Target::copy_in`]. In the other order a refresh would delete what raw rows no longer cover.
    ///
    /// # Errors
    /// [`Error::Server`] when a refresh is refused.
    pub async fn open_late(&self, plan: &RestorePlan, name: &QualifiedName) -> Result<(), Error> {
        let Some((timescale, aggregate)) = plan.aggregate(name) else { return Ok(()) };
        let Some(place) = aggregates(&self.session).await?.remove(name) else {
            return Err(Error::Refused {
                what: format!("continuous aggregate {name} cannot be filled"),
                conflicts: vec!["it is not here".to_owned()],
            });
        };
        let object = format!("continuous aggregate {name}");
        if plan.into.is_none() {
            self.make_chunks_of(&place, &aggregate.materialized).await?;
        }
        let sql = format!(
            "CALL {}.refresh_continuous_aggregate({}::regclass, NULL, {})",
            ident(&timescale.schema),
            literal(&name.to_string()),
            aggregate.watermark.as_deref().unwrap_or("NULL")
        );
        self.session.execute(&object, &sql).await?;
        self.session.execute(&object, &format!("DELETE FROM {place}")).await?;
        self.places().insert(name.clone(), place);
        Ok(())
    }

    /// Completes a continuous aggregate after its rows: how far it is refreshed, compression.
    pub async fn close_late(&self, plan: &RestorePlan, name: &QualifiedName) -> Result<(), Error> {
        let Some((timescale, aggregate)) = plan.aggregate(name) else { return Ok(()) };
        let Some(place) = self.place(name) else { return Ok(()) };
        // Where no raw rows are left, the refresh had nothing to reckon the watermark from. Dropping chunks reckons it
        // anew, even when there are none to drop.
        let kind = aggregate.materialized.dimensions.first().map_or("", |d| d.column_type.as_str());
        let sql = format!(
            "SELECT count(*) FROM {}.drop_chunks({}::regclass, older_than => {})",
            ident(&timescale.schema),
            literal(&name.to_string()),
            statements::before_all(kind)
        );
        self.session.execute(&format!("continuous aggregate {name}"), &sql).await?;
        if plan.rebuilt().is_none() {
            return Ok(());
        }
        let what = ("MATERIALIZED VIEW", name);
        self.compress_one(timescale, what, &aggregate.materialized, &place, true).await
    }

    /// Compression of aggregates that have no rows yet.
    pub(super) async fn close_empty(&self, plan: &RestorePlan) -> Result<(), Error> {
        let Some(timescale) = plan.rebuilt() else { return Ok(()) };
        let late = plan.late();
        for aggregate in &timescale.aggregates {
            if !self.options.sections.data || !late.contains(&aggregate.name) {
                let what = ("MATERIALIZED VIEW", &aggregate.name);
                self.compress_one(timescale, what, &aggregate.materialized, &aggregate.name, false).await?;
            }
        }
        Ok(())
    }

    /// Makes every job, none of which starts before [`Target::start_jobs`].
    pub(super) async fn make_jobs(&self, plan: &RestorePlan) -> Result<(), Error> {
        let Some(timescale) = plan.rebuilt() else { return Ok(()) };
        for job in &timescale.jobs {
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
        self.session.execute(object, "BEGIN").await?;
        if !self.options.no_owner {
            let render = self.options.render();
            let role = format!("SET LOCAL ROLE {}", ident(render.role(&job.owner)));
            self.session.execute(object, &role).await?;
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

impl RestorePlan {
    /// Continuous aggregates whose rows come after everything else, in this order: see [`Target::open_late`].
    pub fn late(&self) -> Vec<QualifiedName> {
        let aggregates = self.timescale.iter().flat_map(|timescale| &timescale.aggregates);
        aggregates.map(|aggregate| aggregate.name.clone()).filter(|name| self.takes(name)).collect()
    }

    fn aggregate(&self, name: &QualifiedName) -> Option<(&Timescale, &Aggregate)> {
        let timescale = self.timescale.as_ref()?;
        Some((timescale, timescale.aggregate_named(name)?))
    }
}
