//! Remedies for errors, as data: the caller words them with its own commands.

use serde::Serialize;

/// The next step for a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Remedy {
    /// Wait until the writer has ended; one that was killed no longer counts after 15 minutes.
    WaitForWriter,
    /// Create the new repository in an empty store; this one needs its `dbhaul.json`.
    ChooseEmptyStore,
    /// Free space on the disk, or prune without waiting.
    FreeSpace,
    /// Supply an identity or the passphrase to read; writing, listing and a check without data need only the key file.
    SupplyKey,
    /// Supply another identity: of a recipient at the time when the data was written.
    SupplyFurtherIdentity,
    /// List the snapshots that exist.
    ListSnapshots,
    /// Put back a copy of `dbhaul.json`: nothing else can replace it, and the second copy is missing or damaged too.
    RestoreConfig,
    /// Put the manifest back from a copy of the store, or remove it: the snapshot is then gone, unless another repository
    /// has a copy.
    RestoreManifest,
    /// Put the tombstone back, or remove it: the forgotten snapshot can then no longer be undeleted.
    RestoreTombstone,
    /// Remove the mark once no prune has been running for an hour: its objects are marked again.
    RemoveMark,
    /// Remove the quarantine list, then check the data again, which finds the same chunks.
    RemoveQuarantineList,
}

impl Remedy {
    /// The remedy for a damaged document of this name. Damaged chunks are found and repaired by a check.
    pub(crate) fn for_document(object: &str) -> Option<Remedy> {
        let folder = object.split_once('/').map_or(object, |(folder, _)| folder);
        Some(match folder {
            "dbhaul.json" => Remedy::RestoreConfig,
            "snapshots" => Remedy::RestoreManifest,
            "tombstones" => Remedy::RestoreTombstone,
            "marks" => Remedy::RemoveMark,
            "quarantine" => Remedy::RemoveQuarantineList,
            _ => return None,
        })
    }
}
