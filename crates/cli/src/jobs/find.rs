//! Which snapshot is meant.

use repository::{Manifest, Repository};

use crate::exit;

/// Ends the name of a series of snapshots that hold a part of a database, chosen by flags of one command.
pub(crate) const PART: &str = ":part";

/// The snapshot of this id, or the newest complete one: `latest` is never one that holds less than the configured
/// sources.
pub(crate) async fn snapshot(repository: &Repository, wanted: &str) -> anyhow::Result<Manifest> {
    let found = repository.find(wanted).await?;
    if wanted != "latest" || !found.job.ends_with(PART) {
        return Ok(found);
    }
    let listing = repository.headers().await?;
    let whole =
        listing.headers.into_iter().rev().find(|header| header.complete && !header.job.ends_with(PART));
    let whole = whole.ok_or_else(|| {
        exit::usage(format!(
            "every snapshot of this repository holds only a part that was chosen by flags; if that is what you want, name it: {}",
            found.id
        ))
    })?;
    Ok(repository.find(whole.id.as_str()).await?)
}
