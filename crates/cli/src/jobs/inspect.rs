//! inspect = a snapshot's manifest and its stored catalogs, as a list.

use repository::Repository;

use crate::config::Kind;
use crate::exit;
use crate::jobs::find;
use crate::jobs::record::{PostgresDetails, typed};
use crate::jobs::restore::read_catalog;
use crate::report::inspect::{InspectReport, SourceInspection};

/// Looks into one snapshot.
pub(crate) async fn run(
    repository: &Repository,
    snapshot: &str,
    source: Option<&str>,
) -> anyhow::Result<InspectReport> {
    let manifest = find::snapshot(repository, snapshot).await?;
    if let Some(name) = source
        && !manifest.sources.iter().any(|source| source.name == name)
    {
        return Err(exit::usage(format!("snapshot {} has no source `{name}`", manifest.id)));
    }
    let mut sources = Vec::new();
    for record in manifest.sources.iter().filter(|record| source.is_none_or(|name| record.name == name)) {
        if record.kind == Kind::Postgres.as_str() {
            let details: PostgresDetails =
                typed(record.details.clone(), &format!("source `{}`", record.name))?;
            let catalog = read_catalog(repository, record).await?;
            sources.push(SourceInspection::postgres(record, details, &catalog));
        } else {
            sources.push(SourceInspection::other(record));
        }
    }
    Ok(InspectReport::new(&manifest, sources))
}
