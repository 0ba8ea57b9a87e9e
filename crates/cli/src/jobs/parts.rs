//! Parts of a snapshot: the source for a target, its single part of a kind, and JSON documents.

use anyhow::Context as _;
use repository::{Manifest, Part, Repository, SourceRecord};

use crate::config::Kind;
use crate::exit;
use crate::jobs::record::{PART_AOF, PART_CATALOG, PART_RDB, kind_of, refuse_dump};

/// The catalog stored with a PostgreSQL source.
pub(crate) async fn read_catalog(
    repository: &Repository,
    source: &SourceRecord,
) -> anyhow::Result<pgmove::Catalog> {
    read_json(repository, only_part(source, PART_CATALOG)?).await
}

/// Reads a part that is a JSON document.
pub(crate) async fn read_json<T: serde::de::DeserializeOwned>(
    repository: &Repository,
    part: &Part,
) -> anyhow::Result<T> {
    let bytes = match repository.read_whole(part).await {
        Err(error @ repository::Error::TooLarge { .. }) => {
            return Err(anyhow::Error::new(error).context(
                "the snapshot holds a document that is too large: either the repository was damaged or forged, or \
                 `max-in-memory` under [repository] in dbhaul.toml must be raised",
            ));
        }
        other => other?,
    };
    serde_json::from_slice(&bytes)
        .with_context(|| format!("part `{}` is not as this version of dbhaul knows it", part.name))
}

/// The snapshot's source for a target of this kind.
pub(crate) fn source_for<'a>(
    manifest: &'a Manifest,
    named: Option<&str>,
    kind: Kind,
) -> anyhow::Result<&'a SourceRecord> {
    refuse_dump(manifest)?;
    let listed =
        || manifest.sources.iter().map(|s| format!("{} ({})", s.name, s.kind)).collect::<Vec<_>>().join(", ");
    if let Some(name) = named {
        let Some(source) = manifest.sources.iter().find(|source| source.name == name) else {
            return Err(exit::usage(format!(
                "snapshot {} has no source `{name}`; it has: {}",
                manifest.id,
                listed()
            )));
        };
        if kind_of(source)? != kind {
            return Err(exit::usage(format!(
                "source `{name}` is of kind {}, and the target is of kind {}",
                source.kind,
                kind.as_str()
            )));
        }
        return Ok(source);
    }
    let mut candidates = manifest.sources.iter().filter(|source| source.kind == kind.as_str());
    match (candidates.next(), candidates.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(exit::usage(format!(
            "snapshot {} has no source of kind {}; it has: {}",
            manifest.id,
            kind.as_str(),
            listed()
        ))),
        (Some(_), Some(_)) => Err(exit::usage(format!(
            "snapshot {} has several sources of kind {}: choose with --source NAME --to URL among {}",
            manifest.id,
            kind.as_str(),
            listed()
        ))),
    }
}

/// The only part of this kind.
pub(crate) fn only_part<'a>(source: &'a SourceRecord, kind: &str) -> anyhow::Result<&'a Part> {
    if kind == PART_RDB && source.parts.iter().any(|part| part.kind == PART_AOF) {
        return Err(exit::usage(format!(
            "source `{}` of this snapshot is an append-only file, whose keys are only known after a replay: `restore` \
             and `rehearse` do that; then inspect, compare or export the server that holds them",
            source.name
        )));
    }
    source.parts.iter().find(|part| part.kind == kind).with_context(|| {
        format!("source `{}` has no part of kind {kind}: the manifest is incomplete", source.name)
    })
}

/// The selected part of a stored catalog. Row conditions are refused: stored rows cannot be filtered.
pub(crate) fn narrowed(catalog: pgmove::Catalog, filter: &pgmove::Filter) -> anyhow::Result<pgmove::Catalog> {
    if let Some(table) = filter.conditions.keys().next() {
        return Err(exit::usage(format!(
            "--where {table}=… chooses rows while they are read from a server, and a snapshot's are stored already: \
             use it with backup or migrate"
        )));
    }
    let unmatched = catalog.unmatched(filter);
    if !unmatched.is_empty() {
        return Err(exit::usage(format!("the snapshot does not contain: {}", unmatched.join("; "))));
    }
    Ok(catalog.narrowed(filter))
}
