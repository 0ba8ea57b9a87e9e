//! Errors of a repository; each names the object it concerns.

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
        /// What was given, without secrets.
        url: String,
        /// What is wrong with it.
        message: String,
    },
    /// The store failed.
    #[error("cannot {action} {object} in {store}: {source}{}", hint(source))]
    Store {
        /// Where.
        store: String,
        /// What was tried: "read", "write", "list", "delete".
        action: &'static str,
        /// On which object.
        object: String,
        /// The store's own words.
        source: Box<object_store::Error>,
    },
    /// The bucket, or container, is not there.
    #[error(
        "bucket not found: {store} ({source}); create it, or check its name, the region and the endpoint"
    )]
    NoBucket {
        /// Where.
        store: String,
        /// The store's own words.
        source: Box<object_store::Error>,
    },
    /// The store does not do what a repository needs.
    #[error("{store} cannot hold a repository: {message}; nothing was created")]
    Unsuitable {
        /// Where.
        store: String,
        /// What it does not do.
        message: String,
    },
    /// There is no repository here.
    #[error("{store} does not contain a repository: there is no dbhaul.json")]
    NotARepository {
        /// Where.
        store: String,
    },
    /// There is a repository here already.
    #[error("{store} already contains a repository; nothing was changed")]
    AlreadyExists {
        /// Where.
        store: String,
    },
    /// Written by another version.
    #[error(
        "{object} is of format {found}, and this version of the tool reads format {known}: {}{}{consequence}",
        advice(*.found, *.known),
        if .consequence.is_empty() { "" } else { "; " }
    )]
    Format {
        /// Which object.
        object: String,
        /// Its format.
        found: u64,
        /// What this version reads.
        known: u64,
        /// What could not be done because of it; may be empty.
        consequence: &'static str,
    },
    /// The place is not empty: it holds what is left of a repository.
    #[error(
        "{store} holds {} and {} of a repository, but neither its dbhaul.json nor the second copy of it: nothing was \
         changed. Put dbhaul.json back from a copy of this store",
        count(*.snapshots as u64, "snapshot"),
        if *.chunks { "the chunks" } else { "no chunk" }
    )]
    Orphaned {
        /// Where.
        store: String,
        /// Manifests and tombstones that are there.
        snapshots: usize,
        /// Whether there are chunks.
        chunks: bool,
    },
    /// Something else writes to the repository.
    #[error(
        "the repository is in use: {by} began writing to it and was last seen at {}; nothing was deleted",
        .seen.format("%Y-%m-%d %H:%M:%S UTC")
    )]
    InUse {
        /// The snapshot that it writes.
        by: String,
        /// When it was last seen, by the store's clock.
        seen: chrono::DateTime<chrono::Utc>,
    },
    /// Prune ran at once, in the belief that nobody else writes.
    #[error(
        "a prune without waiting ran during this backup, and may have deleted chunks that it references; the backup is not \
         listed. Run it again"
    )]
    Overrun,
    /// The store acknowledged a manifest, and does not give it back.
    #[error(
        "{store} acknowledged {object} and did not keep it: {found}. No listed snapshot can be relied on; check the store \
         before anything is deleted"
    )]
    NotKept {
        /// Where.
        store: String,
        /// The manifest.
        object: String,
        /// What is there instead.
        found: &'static str,
    },
    /// Snapshots that the store did not let go.
    #[error("not forgotten and still listed: {}; {source}", .ids.join(", "))]
    StillListed {
        /// Which.
        ids: Vec<String>,
        /// The store's own words about the first of them.
        source: Box<Error>,
    },
    /// The disk is full, in the middle of a backup.
    #[error("{source}{}", kept_hint(*.kept, *.kept_bytes))]
    OutOfSpace {
        /// What could not be written.
        source: Box<Error>,
        /// Chunks of this run that its journal names, for the next one to use again.
        kept: u64,
        /// Their size in the store.
        kept_bytes: u64,
    },
    /// An object is not what it should be.
    #[error("{object} is damaged: {message}")]
    Damaged {
        /// Which object; with the snapshot and part it was read for, where there is one.
        object: String,
        /// What is wrong.
        message: String,
    },
    /// What is read into memory as a whole is larger than it may be.
    #[error(
        "{object} has {bytes}, more than the {limit} that may be read into memory; nothing of it was read"
    )]
    TooLarge {
        /// What it is.
        object: String,
        /// Its size.
        bytes: ByteSize,
        /// What is allowed.
        limit: ByteSize,
    },
    /// Source and target of a copy are one repository.
    #[error("{store} is the source of the copy itself; nothing was done")]
    SameRepository {
        /// Where.
        store: String,
    },
    /// It is encrypted, and nothing was given that opens it.
    #[error("{what} is encrypted, and neither an identity nor the passphrase was given to decrypt it")]
    Locked {
        /// What was to be read.
        what: String,
    },
    /// It is encrypted, and to none of the identities that were given. What is stored stays encrypted as it was, so that
    /// whoever became a recipient later cannot open it.
    #[error(
        "{what} cannot be read: none of the given identities can decrypt it. Stored data stays encrypted for those who were \
         recipients when it was written"
    )]
    OtherRecipients {
        /// What was to be read.
        what: String,
    },
    /// A key, identity, recipient or passphrase cannot be used.
    #[error("{what} cannot be used: {message}")]
    Key {
        /// Which.
        what: String,
        /// Why, without secrets.
        message: String,
    },
    /// No snapshot has this id.
    #[error("snapshot not found: `{wanted}`: {hint}")]
    NoSnapshot {
        /// What was asked for.
        wanted: String,
        /// What there is.
        hint: String,
    },
    /// The stream that was to be stored failed.
    #[error("the stream of part `{part}` failed: {source}")]
    Stream {
        /// Which part.
        part: String,
        /// Why.
        source: Source,
    },
    /// Two backups that began in the same second drew the same random number.
    #[error(
        "another backup is listed under the name {id}; this one is not listed. Run it again: its chunks are reused"
    )]
    NameTaken {
        /// The name.
        id: String,
    },
    /// A backup ran so long that prune might have removed what it reused.
    #[error(
        "this backup ran longer than {hours} hours and may reference chunks pruned in the meantime; it is not listed"
    )]
    TooLong {
        /// The limit.
        hours: u64,
    },
}

/// The hint of [`Error::NoSnapshot`] where no listed snapshot matches.
pub(crate) const NOT_LISTED: &str = "no snapshot has such an id";

/// `1 snapshot`, `2 snapshots`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What becomes of what a backup wrote before the disk was full.
fn kept_hint(kept: u64, bytes: u64) -> String {
    match kept {
        0 => "; this run had written nothing that the next one can reuse".to_owned(),
        _ => format!("; the next run reuses {} ({bytes} bytes) that this run wrote", count(kept, "chunk")),
    }
}

/// What to do when a folder cannot be written to.
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

/// There is no room for what was to be written.
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

/// What to do about another format.
fn advice(found: u64, known: u64) -> &'static str {
    if found < known {
        "it was written before the format was settled; create a new repository and back up again"
    } else {
        "use a newer version of the tool"
    }
}

impl Error {
    /// What can be done about it, where that is known.
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

    /// True when the repository exists already.
    pub fn is_already_exists(&self) -> bool {
        matches!(self, Error::AlreadyExists { .. })
    }

    /// True when a safety rule refused what was asked, and nothing was changed.
    pub fn is_refused(&self) -> bool {
        matches!(self, Error::AlreadyExists { .. } | Error::Orphaned { .. } | Error::InUse { .. })
    }

    /// True when what was asked for is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotARepository { .. } | Error::NoBucket { .. } | Error::NoSnapshot { .. })
    }

    /// True when an identity, a passphrase or a key file is missing, or the wrong one was given.
    pub fn is_locked(&self) -> bool {
        matches!(self, Error::Locked { .. } | Error::OtherRecipients { .. } | Error::Key { .. })
    }

    /// True when there was no room for what was to be written.
    pub fn is_no_room(&self) -> bool {
        match self {
            Error::Store { source, .. } => is_no_room(source),
            Error::OutOfSpace { .. } => true,
            _ => false,
        }
    }

    /// True when the store answered, and does not let this user do what was asked: by its rights, or since a lock or a
    /// retention rule holds the object.
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

    /// True when stored data is not what it should be.
    pub fn is_damaged(&self) -> bool {
        matches!(self, Error::Damaged { .. })
    }
}
