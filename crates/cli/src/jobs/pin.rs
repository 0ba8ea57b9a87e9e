//! pin = a numbered document beside a snapshot, which retention reads.

use chrono::Utc;
use repository::{Repository, SnapshotId};

use crate::jobs::find::{self, Ask};
use crate::jobs::series::Series;
use crate::ui::Progress;

/// The snapshots that these names mean, each once. All are found before anything is done to one.
pub(crate) async fn resolve(
    repository: &Repository,
    series: &Series,
    wanted: &[String],
    progress: &Progress,
) -> anyhow::Result<Vec<SnapshotId>> {
    let mut ids = Vec::new();
    for name in wanted {
        let id = match name.as_str() {
            "latest" => find::latest(repository, series, Ask::Whole, progress).await?,
            name => repository.resolve(name).await?,
        };
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Pins or unpins; gives those that were changed, and those that were so already.
pub(crate) async fn set(
    repository: &Repository,
    ids: Vec<SnapshotId>,
    pinned: bool,
) -> anyhow::Result<(Vec<SnapshotId>, Vec<SnapshotId>)> {
    let (mut changed, mut unchanged) = (Vec::new(), Vec::new());
    for id in ids {
        match repository.pin(&id, pinned, Utc::now()).await? {
            true => changed.push(id),
            false => unchanged.push(id),
        }
    }
    Ok((changed, unchanged))
}
