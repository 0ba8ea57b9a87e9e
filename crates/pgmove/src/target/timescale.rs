//! What a target with TimescaleDB needs beside the script: chunks, compression, rows of continuous aggregates, jobs.

mod jobs;
mod late;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use super::plan::TablePlan;
use super::{OnError, RestoreEvent, RestorePlan, Sections, Target};
use crate::Error;
use crate::catalog::address::class;
use crate::catalog::timescale::{Hypertable, Timescale};
use crate::catalog::{Address, Catalog, QualifiedName};
use crate::connect::Session;
use crate::ddl::RenderOptions;
use crate::extension::installed;
use crate::extension::timescaledb::{FUNCTIONS, NAME, preflight, statements};
use crate::quote::{ident, literal};

pub(super) use jobs::Waiting;

/// Chunks are made in batches of this many.
const CHUNKS_AT_ONCE: usize = 100;

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

/// Policies belong to whoever owns what they work on: one that belonged to another role cannot be as it was, which is
/// told when it is made.
pub(super) fn settle_owners(left: &mut Catalog, here: &Catalog, options: &RenderOptions) {
    let Some(made) = &here.timescale else { return };
    for job in left.timescale.iter_mut().flat_map(|timescale| &mut timescale.jobs) {
        let Some(relation) = job.relation.clone() else { continue };
        let same =
            made.jobs.iter().find(|other| other.procedure == job.procedure && other.relation == job.relation);
        let owner = here.table(&relation).map(|table| &table.meta.owner);
        if let Some(other) =
            same.filter(|other| owner == Some(&other.owner) && options.role(&job.owner) != other.owner)
        {
            // Told by the name that becomes this one, where roles are mapped.
            let source = options.role_map.iter().find(|(_, to)| **to == other.owner).map(|(from, _)| from);
            job.owner = source.unwrap_or(&other.owner).clone();
        }
    }
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

    /// Looks whether the extension, which is there only now, may do what it is going to be asked for: under the Apache
    /// license it knows no compression, aggregates and policies.
    pub(super) async fn check_license(&self, plan: &RestorePlan) -> Result<(), Error> {
        let Some(timescale) = plan.rebuilt() else { return Ok(()) };
        let sql = "SELECT current_setting('timescaledb.license', true)";
        let license = self.session.value("TimescaleDB's license", sql).await?;
        let conflicts = preflight::beyond_apache(timescale);
        // With failures noted one by one, the server itself refuses each.
        let goes_on = self.options.on_error == OnError::Continue;
        if license.as_deref() != Some("apache") || conflicts.is_empty() || goes_on {
            return Ok(());
        }
        Err(Error::Incapable { what: format!("{} cannot take this", self.session.server()), conflicts })
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
}
