//! The planner's statistics: stored with a backup, and taken into the plan of a restore or a migration.

use std::convert::Infallible;

use repository::{Part, PartHeader, SnapshotWriter};

use crate::jobs::postgres::load::Rows;
use crate::jobs::record::PART_STATISTICS;
use crate::jobs::settings::TargetSettings;

/// Stores a database's statistics, where its server gives any.
pub(crate) async fn store(
    name: &str,
    source: &pgmove::Source,
    writer: &SnapshotWriter,
) -> anyhow::Result<Option<Part>> {
    let statistics = source.statistics().await?;
    if statistics.tables.is_empty() {
        return Ok(None);
    }
    let header = PartHeader::new(format!("{name}/statistics.json"), PART_STATISTICS);
    let bytes = bytes::Bytes::from(serde_json::to_vec(&statistics)?);
    let bytes = futures::stream::iter([Ok::<_, Infallible>(bytes)]);
    Ok(Some(writer.write_part(header, bytes).await?))
}

/// Takes the statistics that came with the rows into the plan, where the target imports them.
pub(crate) async fn use_in(
    plan: &mut pgmove::RestorePlan,
    target: &pgmove::Target,
    catalog: &pgmove::Catalog,
    rows: &impl Rows,
    settings: &TargetSettings,
) -> anyhow::Result<()> {
    if !target.imports_statistics(plan, catalog) {
        return Ok(());
    }
    // A database that is created for this gets the locale of the source's.
    if settings.create || target.sorts_as(catalog).await? {
        target.use_statistics(plan, catalog, rows.statistics().await?);
    }
    Ok(())
}
