//! Errors of a repository. Each names the object concerned.

use crate::ByteSize;
use crate::remedy::Remedy;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// A repository could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL does not name a store.
    #[error("`{url}` is not a repository address: {message}")]
    Url {
        /// The URL, without secrets.
        url: String,
        /// What is wrong with it.
        message: String,
    },
    /// The store failed.
    #[error("cannot {action} {object} in {store}: {source}{}", hint(source))]
    Store {
        /// Address of the store.
        store: String,
        /// The operation: "read", "write", "list", "delete".
        action: &'static str,
        /// The object.
        object: String,
        /// Error of the store.
        source: Box<object_store::Error>,
    },
    /// The bucket or container does not exist.
    #[error(
        "bucket not found: {store} ({source}); create it, or check its name, the region and the endpoint"
    )]
    NoBucket {
        /// Address of the store.
        store: String,
        /// Error of the store.
        source: Box<object_store::Error>,
    },
    /// The store lacks a capability that a repository needs.
    #[error("{store} cannot hold a repository: {message}; nothing was created")]
    Unsuitable {
        /// Address of the store.
        store: String,
        /// The missing capability.
        message: String,
    },
    /// The store contains no repository.
    #[error("{store} does not contain a repository: there is no dbhaul.json")]
    NotARepository {
        /// Address of the store.
        store: String,
    },
    /// The store already contains a repository.
    #[error("{store} already contains a repository; nothing was changed")]
    AlreadyExists {
        /// Address of the store.
        store: String,
    },
    /// The object was written by another version.
    #[error(
        "{object} is of format {found}, and this version of the tool reads format {known}: {}{}{consequence}",
        advice(*.found, *.known),
        if .consequence.is_empty() { "" } else { "; " }
    )]
    Format {
        /// The object.
        object: String,
        /// Its format.
        found: u64,
        /// The supported format.
        known: u64,
        /// The consequence; may be empty.
        consequence: &'static str,
    },
    /// The store is not empty: it contains remains of a repository.
    #[error(
        "{store} holds {} and {} of a repository, but neither its dbhaul.json nor the second copy of it: nothing was \
         changed. Put dbhaul.json back from a copy of this store",
        count(*.snapshots as u64, "snapshot"),
        if *.chunks { "the chunks" } else { "no chunk" }
    )]
    Orphaned {
        /// Address of the store.
        store: String,
        /// Number of manifests and tombstones.
        snapshots: usize,
        /// Whether there are chunks.
        chunks: bool,
    },
    /// Another process is writing to the repository.
    #[error(
        "the repository is in use: {by} began writing to it and was last seen at {}; nothing was deleted",
        .seen.format("%Y-%m-%d %H:%M:%S UTC")
    )]
    InUse {
        /// The snapshot being written.
        by: String,
        /// Last sign of life, by the store's clock.
        seen: chrono::DateTime<chrono::Utc>,
    },
    /// A prune without waiting ran, on the assumption that nothing else was writing.
    #[error(
        "a prune without waiting ran during this backup, and may have deleted chunks that it references; the backup is not \
         listed. Run it again"
    )]
    Overrun,
    /// The store acknowledged a manifest but did not keep it.
    #[error(
        "{store} acknowledged {object} and did not keep it: {found}. No listed snapshot can be relied on; check the store \
         before anything is deleted"
    )]
    NotKept {
        /// Address of the store.
        store: String,
        /// The manifest.
        object: String,
        /// What was read instead.
        found: &'static str,
    },
    /// Snapshots whose manifests the store does not allow to be deleted.
    #[error("not forgotten and still listed: {}; {source}", .ids.join(", "))]
    StillListed {
        /// Their ids.
        ids: Vec<String>,
        /// Error of the store for the first of them.
        source: Box<Error>,
    },
    /// The disk became full during a backup.
    #[error("{source}{}", kept_hint(*.kept, *.kept_bytes))]
    OutOfSpace {
        /// The failed write.
        source: Box<Error>,
        /// Number of chunks in the journal, which the next backup can reuse.
        kept: u64,
        /// Their size in the store.
        kept_bytes: u64,
    },
    /// An object is damaged.
    #[error("{object} is damaged: {message}")]
    Damaged {
        /// The object; with the snapshot and part it belongs to, if known.
        object: String,
        /// The kind of damage.
        message: String,
    },
    /// Data that must be read into memory is larger than allowed.
    #[error(
        "{object} has {bytes}, more than the {limit} that may be read into memory; nothing of it was read"
    )]
    TooLarge {
        /// The object.
        object: String,
        /// Its size.
        bytes: ByteSize,
        /// The limit.
        limit: ByteSize,
    },
    /// Source and target of a copy are the same repository.
    #[error("{store} is the source of the copy itself; nothing was done")]
    SameRepository {
        /// Address of the store.
        store: String,
    },
    /// It is encrypted, and no identity was given.
    #[error("{what} is encrypted, and neither an identity nor the passphrase was given to decrypt it")]
    Locked {
        /// The object.
        what: String,
    },
    /// It is encrypted, but not to any of the given identities. Stored data is not re-encrypted when recipients are
    /// added, so a later recipient cannot decrypt it.
    #[error(
        "{what} cannot be read: none of the given identities can decrypt it. Stored data stays encrypted for those who were \
         recipients when it was written"
    )]
    OtherRecipients {
        /// The object.
        what: String,
    },
    /// A key, identity, recipient or passphrase cannot be used.
    #[error("{what} cannot be used: {message}")]
    Key {
        /// The key, identity, recipient or passphrase.
        what: String,
        /// The reason, without secrets.
        message: String,
    },
    /// No snapshot has this id.
    #[error("snapshot not found: `{wanted}`: {hint}")]
    NoSnapshot {
        /// The requested id.
        wanted: String,
        /// What exists instead.
        hint: String,
    },
    /// The stream to store failed.
    #[error("the stream of part `{part}` failed: {source}")]
    Stream {
        /// The part.
        part: String,
        /// The reason.
        source: Source,
    },
    /// Two backups started in the same second and drew the same random number.
    #[error(
        "another backup is listed under the name {id}; this one is not listed. Run it again: its chunks are reused"
    )]
    NameTaken {
        /// The id.
        id: String,
    },
    /// A backup ran so long that chunks it references may have been pruned.
    #[error(
        "this backup ran longer than {hours} hours and may reference chunks pruned in the meantime; it is not listed"
    )]
    TooLong {
        /// The limit.
        hours: u64,
    },
}

/// The hint of [`Error::NoSnapshot`] if no listed snapshot matches.
pub(crate) const NOT_LISTED: &str = "no snapshot has such an id";

/// `1 snapshot`, `2 snapshots`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What happens to the chunks written before the disk was full.
fn kept_hint(kept: u64, bytes: u64) -> String {
    match kept {
        0 => "; this run had written nothing that the next one can reuse".to_owned(),
        _ => format!("; the next run reuses {} ({bytes} bytes) that this run wrote", count(kept, "chunk")),
    }
}

/// A hint for a folder that cannot be written to.
fn hint(error: &object_store::Error) -> &'static str {
    use std::io::ErrorKind;
    if matches!(
        error,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. }
    ) {
        return "; the store refuses these credentials and the request was not retried: check the keys, their permissions \
                and this host's clock";
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        match current.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => {
                return "; the disk is full; listed snapshots stay intact";
            }
            Some(ErrorKind::ReadOnlyFilesystem) => {
                return "; it is mounted read-only: listed snapshots can be restored, and nothing can be written";
            }
            Some(ErrorKind::PermissionDenied) => {
                return "; permission denied: check the folder's owner and mode";
            }
            _ => cause = current.source(),
        }
    }
    ""
}

/// Whether the disk is full.
pub(crate) fn is_no_room(error: &object_store::Error) -> bool {
    use std::io::ErrorKind;
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(current) = cause {
        let kind = current.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
        if matches!(kind, Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = current.source();
    }
    false
}

/// Advice for an object in another format.
fn advice(found: u64, known: u64) -> &'static str {
    if found < known {
        "it was written before the format was settled; create a new repository and back up again"
    } else {
        "use a newer version of the tool"
    }
}

impl Error {
    /// The remedy, if there is one.
    pub fn remedy(&self) -> Option<Remedy> {
        match self {
            Error::InUse { .. } => Some(Remedy::WaitForWriter),
            Error::Orphaned { .. } => Some(Remedy::ChooseEmptyStore),
            Error::Locked { .. } => Some(Remedy::SupplyKey),
            Error::OtherRecipients { .. } => Some(Remedy::SupplyFurtherIdentity),
            Error::NoSnapshot { hint, .. } if hint == NOT_LISTED => Some(Remedy::ListSnapshots),
            Error::Damaged { object, .. } => Remedy::for_document(object),
            error if error.is_no_room() => Some(Remedy::FreeSpace),
            _ => None,
        }
    }

    /// Whether the repository already exists.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Error::AlreadyExists { .. })
    }

    /// Whether a safety rule refused the operation; nothing was changed.
    pub fn is_refused(&self) -> bool {
        matches!(self, Error::AlreadyExists { .. } | Error::Orphaned { .. } | Error::InUse { .. })
    }

    /// Whether the requested object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotARepository { .. } | Error::NoBucket { .. } | Error::NoSnapshot { .. })
    }

    /// Whether an identity, passphrase or key file is missing or wrong.
    pub fn is_locked(&self) -> bool {
        matches!(self, Error::Locked { .. } | Error::OtherRecipients { .. } | Error::Key { .. })
    }

    /// Whether there was no space for the data.
    pub fn is_no_room(&self) -> bool {
        match self {
            Error::Store { source, .. } => is_no_room(source),
            Error::OutOfSpace { .. } => true,
            _ => false,
        }
    }

    /// Whether the store refused the operation to this user: for lack of permissions, or because of an object lock or
    /// a retention rule.
    pub fn is_refused_by_store(&self) -> bool {
        use object_store::Error as Store;
        let source = match self {
            Error::Store { source, .. } => source,
            Error::StillListed { source, .. } => return source.is_refused_by_store(),
            _ => return false,
        };
        match &**source {
            Store::PermissionDenied { .. } | Store::Unauthenticated { .. } => true,
            other => {
                let said = other.to_string();
                [
                    "AccessDenied",
                    "ObjectLocked",
                    "RetentionRule",
                    "RetentionPolicyNotMet",
                    "BlobImmutableDueToPolicy",
                ]
                .iter()
                .any(|word| said.contains(word))
            }
        }
    }

    /// Whether stored data is damaged.
    pub fn is_damaged(&self) -> bool {
        matches!(self, Error::Damaged { .. })
    }
}
