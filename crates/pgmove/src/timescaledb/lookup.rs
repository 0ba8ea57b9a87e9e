//! Existing TimescaleDB objects of a target: hypertables, aggregates, chunks, running jobs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::installed;
use crate::Error;
use crate::catalog::address::class;
use crate::catalog::{Address, Catalog, QualifiedName};
use crate::connect::Session;
use crate::ddl::RenderOptions;
use crate::quote::{ident, literal};
use crate::restore::plan::TablePlan;
use crate::warning::Warning;

/// The tables that are hypertables at the target; empty if the extension is not installed.
pub(crate) async fn hypertables(session: &Session) -> Result<Vec<QualifiedName>, Error> {
    if !installed(session).await? {
        return Ok(Vec::new());
    }
    let sql =
        "SELECT schema_name, table_name FROM _timescaledb_catalog.hypertable WHERE compression_state <> 2";
    Ok(QualifiedName::of_rows(session.query("the target's hypertables", sql).await?))
}

/// The continuous aggregates, each with its materialization hypertable.
pub(crate) async fn aggregates(session: &Session) -> Result<BTreeMap<QualifiedName, QualifiedName>, Error> {
    if !installed(session).await? {
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

/// Each continuous aggregate with the hypertable or aggregate that it reads, a dependency that `pg_depend` does not
/// contain.
pub(crate) async fn aggregate_sources(
    session: &Session,
    here: &Catalog,
) -> Result<Vec<(Address, Address)>, Error> {
    let Some(timescale) = here.timescale.as_ref().filter(|timescale| !timescale.aggregates.is_empty()) else {
        return Ok(Vec::new());
    };
    let sql = "SELECT a.user_view_schema, a.user_view_name, h.schema_name, h.table_name FROM _timescaledb_catalog.continuous_agg a \
               JOIN _timescaledb_catalog.hypertable h ON h.id = a.raw_hypertable_id";
    let rows = session.query("the sources of the target's continuous aggregates", sql).await?;
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

/// Policies belong to the owner of their table. A policy that belonged to another role gets that owner, which is
/// reported when it is created. Returns such policies with both owners.
pub(crate) fn settle_owners(
    left: &mut Catalog,
    here: &Catalog,
    options: &RenderOptions,
) -> Vec<(String, [String; 2])> {
    let mut settled = Vec::new();
    let Some(made) = &here.timescale else { return settled };
    for job in left.timescale.iter_mut().flat_map(|timescale| &mut timescale.jobs) {
        let Some(relation) = job.relation.clone() else { continue };
        let same =
            made.jobs.iter().find(|other| other.procedure == job.procedure && other.relation == job.relation);
        let owner = here.table(&relation).map(|table| &table.meta.owner);
        if let Some(other) =
            same.filter(|other| owner == Some(&other.owner) && options.role(&job.owner) != other.owner)
        {
            // Reported with the name at the source if roles are mapped.
            let source = options.role_map.iter().find(|(_, to)| **to == other.owner).map(|(from, _)| from);
            let policy = format!("job {} on {relation}", ident(&job.procedure.name));
            settled.push((policy, [job.owner.clone(), other.owner.clone()]));
            job.owner = source.unwrap_or(&other.owner).clone();
        }
    }
    settled
}

/// Running policies and jobs of the target on tables that will be filled, each as a warning.
pub(crate) async fn running_jobs(
    session: &Session,
    tables: &HashMap<QualifiedName, TablePlan>,
) -> Result<Vec<Warning>, Error> {
    if !installed(session).await? {
        return Ok(Vec::new());
    }
    let sql = "SELECT hypertable_schema, hypertable_name, job_id, application_name FROM timescaledb_information.jobs \
               WHERE scheduled AND job_id >= 1000 AND hypertable_name IS NOT NULL ORDER BY job_id";
    let rows = session.query("the target's jobs", sql).await?;
    let warning = |row: Vec<Option<String>>| {
        let mut fields = row.into_iter().flatten();
        let table = QualifiedName::new(fields.next()?, fields.next()?);
        let (id, title) = (fields.next()?, fields.next()?);
        tables.contains_key(&table).then_some(Warning::RunningJob { title, table, id })
    };
    Ok(rows.into_iter().filter_map(warning).collect())
}

/// Tables of all chunks.
pub(crate) async fn all_chunks(session: &Session) -> Result<BTreeSet<QualifiedName>, Error> {
    if !installed(session).await? {
        return Ok(BTreeSet::new());
    }
    let sql = "SELECT schema_name, table_name FROM _timescaledb_catalog.chunk";
    Ok(QualifiedName::of_rows(session.query("the target's chunks", sql).await?))
}

/// Tables of a hypertable's chunks.
pub(crate) async fn chunks(session: &Session, table: &QualifiedName) -> Result<Vec<QualifiedName>, Error> {
    let sql = format!(
        "SELECT k.schema_name, k.table_name FROM _timescaledb_catalog.chunk k JOIN _timescaledb_catalog.hypertable h ON h.id = k.hypertable_id \
         JOIN pg_namespace n ON n.nspname = k.schema_name JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = k.table_name \
         WHERE h.schema_name = {} AND h.table_name = {} ORDER BY k.id",
        literal(&table.schema),
        literal(&table.name)
    );
    Ok(QualifiedName::of_rows(session.query(&format!("the chunks of {table}"), &sql).await?))
}
