//! Pin: a numbered document next to a snapshot, which retention reads. A tag that the policy keeps pins a snapshot
//! from the start, until it is unpinned.

use std::collections::{BTreeMap, BTreeSet};

use chrono::Utc;
use repository::{Repository, SnapshotId};

use crate::jobs::find::{self, Ask};
use crate::jobs::series::Series;
use crate::ui::Progress;

/// The snapshots with these names, without duplicates. All are resolved before any is changed.
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

/// Pins or unpins. Returns the snapshots that were changed, and those that were already so.
pub(crate) async fn set(
    repository: &Repository,
    ids: Vec<SnapshotId>,
    pinned: bool,
    policy: Option<&retention::Policy>,
) -> anyhow::Result<(Vec<SnapshotId>, Vec<SnapshotId>)> {
    let pins = Pins::read(repository, policy).await?;
    let tags = repository.headers().await?.headers.into_iter().map(|header| (header.id, header.tags));
    let tags: BTreeMap<SnapshotId, BTreeSet<String>> = tags.collect();
    let none = BTreeSet::new();
    let (mut changed, mut unchanged) = (Vec::new(), Vec::new());
    for id in ids {
        if pins.keep(&id, tags.get(&id).unwrap_or(&none)) == pinned {
            unchanged.push(id);
        } else {
            repository.pin(&id, pinned, Utc::now()).await?;
            changed.push(id);
        }
    }
    Ok((changed, unchanged))
}

/// The pinned snapshots of a repository.
pub(crate) struct Pins {
    explicit: BTreeMap<SnapshotId, bool>,
    policy: retention::Policy,
}

impl Pins {
    /// The pins of a repository, with the tags of this policy or, without one, the default tags.
    pub(crate) async fn read(
        repository: &Repository,
        policy: Option<&retention::Policy>,
    ) -> anyhow::Result<Pins> {
        let policy = policy.cloned().unwrap_or_default();
        Ok(Pins { explicit: repository.pins().await?, policy })
    }

    /// Whether this snapshot is pinned. `pin` and `unpin` override its tags.
    pub(crate) fn keep(&self, id: &SnapshotId, tags: &BTreeSet<String>) -> bool {
        self.explicit.get(id).copied().unwrap_or_else(|| self.policy.keeps(tags))
    }
}
