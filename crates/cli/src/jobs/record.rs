//! A manifest's records of sources, beyond what the repository itself needs.
//!
//! These types are part of the repository format (docs/repository-format.md, "Sources"): fields may be added, but
//! never change their meaning.

use anyhow::Context as _;
use chrono::{DateTime, SecondsFormat, Utc};
use repository::SourceRecord;
use serde::{Deserialize, Serialize};

use crate::config::Kind;
use crate::{exit, failure};

/// Part kind: the catalog of a PostgreSQL database, JSON.
pub(crate) const PART_CATALOG: &str = "postgres/catalog";
/// Part kind: rows of one table as text COPY.
pub(crate) const PART_COPY: &str = "postgres/copy";
/// Part kind: roles, memberships and tablespaces of a PostgreSQL server, JSON.
pub(crate) const PART_GLOBALS: &str = "postgres/globals";
/// Part kind: the planner's statistics of a PostgreSQL database ([`pgmove::Statistics`] as JSON), from servers that give
/// them. A restore without it collects them.
pub(crate) const PART_STATISTICS: &str = "postgres/statistics";
/// Part kind: statements for psql, used only to restore by hand.
pub(crate) const PART_SQL: &str = "postgres/sql";
/// Part kind: an RDB file.
pub(crate) const PART_RDB: &str = "redis/rdb";
/// Part kind: the RDB file of one master of a cluster, with a [`redisdump::CapturedNode`] as its attributes. The keys
/// of the source are those of all its parts of this kind. It differs from [`PART_RDB`], so that a version which
/// expects one RDB per source refuses the source instead of restoring a fraction of it.
pub(crate) const PART_CLUSTER_RDB: &str = "redis/cluster-rdb";
/// Part kind: a file of an append-only file, with a [`redisdump::FolderFile`] as its attributes.
pub(crate) const PART_AOF: &str = "redis/aof";
/// Part kind: the users and settings of a Redis server ([`redisdump::Access`] as JSON).
pub(crate) const PART_ACCESS: &str = "redis/access";

/// Source kind: a compressed pg_dump script, written by another tool. It is kept and checked, but not restored.
pub(crate) const KIND_SQL_DUMP: &str = "sql-dump";
/// Part kind: an imported file, byte for byte.
pub(crate) const PART_FILE: &str = "import/file";

/// Record of an imported file: the details of a [`KIND_SQL_DUMP`] source, and `import` of a Redis source.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ImportDetails {
    /// File name.
    pub(crate) file: String,
    /// SHA-256 of the file, hexadecimal, equal to that in the checksum file next to it.
    pub(crate) sha256: String,
    /// Size in bytes.
    pub(crate) bytes: u64,
    /// Size after decompression.
    pub(crate) plain_bytes: u64,
}

/// Whether dbhaul keeps the source but cannot restore it.
pub(crate) fn is_dump(source: &SourceRecord) -> bool {
    source.kind == KIND_SQL_DUMP
}

/// The same for a snapshot of which only the header is known. An imported snapshot consists of one file.
pub(crate) fn holds_dump(header: &repository::SnapshotHeader) -> bool {
    header.contents.iter().flatten().any(|content| content.kind == KIND_SQL_DUMP)
}

/// Refuses an imported dump where a snapshot taken by dbhaul is required.
pub(crate) fn refuse_dump(manifest: &repository::Manifest) -> anyhow::Result<()> {
    let Some(source) = manifest.sources.iter().find(|source| is_dump(source)) else { return Ok(()) };
    let file = source.details.get("file").and_then(serde_json::Value::as_str).unwrap_or("dump.sql.gz");
    let refused = exit::refused(format!(
        "source `{}` of snapshot {} is an imported SQL dump (`{file}`): dbhaul keeps its bytes and does not run it",
        source.name, manifest.id
    ));
    Err(failure::hint(
        refused,
        format!(
            "`dbhaul export {} --format file --output dump.sql.gz` writes the file, which `gunzip -c dump.sql.gz | psql` runs",
            manifest.id
        ),
    ))
}

/// Record of a PostgreSQL source.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PostgresDetails {
    /// Time of the database snapshot, by the server's clock.
    pub(crate) taken_at: DateTime<Utc>,
    /// Every table with data, and the proof that a restore is compared with.
    pub(crate) tables: Vec<TableRecord>,
    /// Proofs of materialized views. Their rows are not stored, because a restore refreshes them. Missing in
    /// snapshots of the first versions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) materialized_views: Vec<ViewRecord>,
    /// Result of the schema baseline check, if there is a baseline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) baseline: Option<pgmove::baseline::CheckOutcome>,
    /// Part of the database that was backed up; by default all of it.
    #[serde(default, skip_serializing_if = "pgmove::Filter::is_all")]
    pub(crate) filter: pgmove::Filter,
    /// Position in the write-ahead log, and settings of the server. Missing in snapshots of the first versions.
    #[serde(default, skip_serializing_if = "pgmove::ServerState::is_empty")]
    pub(crate) state: pgmove::ServerState,
}

/// A table of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TableRecord {
    /// Schema and name.
    pub(crate) table: pgmove::TableName,
    /// Rows, bytes of COPY text and the digest over all slices.
    pub(crate) proof: pgmove::TableProof,
}

/// A materialized view of a snapshot.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ViewRecord {
    /// Schema and name.
    pub(crate) view: pgmove::TableName,
    /// Rows, bytes and digest; `None` if the view could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) proof: Option<pgmove::TableProof>,
}

/// Attributes of a part of kind [`PART_COPY`].
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CopyAttributes {
    /// Table of the rows.
    pub(crate) table: pgmove::TableName,
    /// Columns, in the order of the text.
    pub(crate) columns: Vec<String>,
    /// Rows, bytes and digest of this part alone.
    pub(crate) proof: pgmove::TableProof,
}

/// Adds to a source's details when reading began and ended, by this host's clock.
pub(crate) fn note_times(details: &mut serde_json::Value, started: DateTime<Utc>, finished: DateTime<Utc>) {
    if let serde_json::Value::Object(details) = details {
        for (name, at) in [("started-at", started), ("finished-at", finished)] {
            let text = at.to_rfc3339_opts(SecondsFormat::Millis, true);
            details.entry(name).or_insert(serde_json::Value::String(text));
        }
    }
}

/// Adds to a source's details the pod, the container and the hosts that it was reached through.
pub(crate) fn note_reached(details: &mut serde_json::Value, reached: Option<&tunnel::Reached>) {
    let reached = reached.and_then(|reached| serde_json::to_value(reached).ok());
    if let (serde_json::Value::Object(details), Some(reached)) = (details, reached) {
        details.entry("reached").or_insert(reached);
    }
}

/// The image that a source ran, where it was reached in a container or a pod.
pub(crate) fn image_of(source: &SourceRecord) -> Option<&str> {
    let at = |place| source.details.pointer(place).and_then(serde_json::Value::as_str);
    at("/reached/container/image").or_else(|| at("/reached/pod/image"))
}

/// A source of a snapshot that a newer version wrote and this version cannot read. The snapshot itself may be intact.
#[derive(Debug, thiserror::Error)]
#[error(
    "source `{source_name}` is of unknown {what} `{value}`: the snapshot was written by a newer version of dbhaul\nhint: \
     update dbhaul on this host"
)]
pub(crate) struct WrittenByNewer {
    source_name: String,
    what: &'static str,
    value: String,
}

/// Kind of a source in a snapshot.
///
/// # Errors
/// [`WrittenByNewer`] for an unknown kind.
pub(crate) fn kind_of(source: &SourceRecord) -> Result<Kind, WrittenByNewer> {
    parsed(source, "kind", &source.kind)
}

/// Redis or Valkey; `None` if the manifest does not say.
///
/// # Errors
/// [`WrittenByNewer`] for an unknown flavor.
pub(crate) fn flavor_of(source: &SourceRecord) -> Result<Option<redisdump::rdb::Dialect>, WrittenByNewer> {
    let flavor = source.server.pointer("/flavor").and_then(serde_json::Value::as_str);
    flavor.filter(|flavor| !flavor.is_empty()).map(|flavor| parsed(source, "flavor", flavor)).transpose()
}

fn parsed<T: serde::de::DeserializeOwned>(
    source: &SourceRecord,
    what: &'static str,
    value: &str,
) -> Result<T, WrittenByNewer> {
    serde_json::from_value(serde_json::Value::String(value.to_owned())).map_err(|_| WrittenByNewer {
        source_name: source.name.clone(),
        what,
        value: value.to_owned(),
    })
}

/// A serializable value as an attribute map.
pub(crate) fn attributes<T: Serialize>(
    value: &T,
) -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
    match serde_json::to_value(value)? {
        serde_json::Value::Object(map) => Ok(map),
        _ => anyhow::bail!("attributes must be a structure"),
    }
}

/// Deserializes a record from a manifest; `what` names it in errors.
pub(crate) fn typed<T: serde::de::DeserializeOwned>(
    value: serde_json::Value,
    what: &str,
) -> anyhow::Result<T> {
    serde_json::from_value(value).with_context(|| {
        format!(
            "{what} in the manifest is not as this version of dbhaul knows it: was it written by a newer one?"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_flavors_of_a_newer_version_are_errors() {
        let source = |kind: &str, flavor: &str| SourceRecord {
            name: "s".into(),
            kind: kind.into(),
            server: serde_json::json!({ "flavor": flavor }),
            details: serde_json::Value::Null,
            parts: Vec::new(),
        };
        for kind in [Kind::Postgres, Kind::Redis] {
            assert_eq!(kind_of(&source(kind.as_str(), "")).unwrap(), kind);
        }
        for (kind, flavor) in [("sqlite", ""), ("Postgres", ""), ("", ""), ("redis", "garnet")] {
            let source = source(kind, flavor);
            let error = kind_of(&source).map(drop).and_then(|()| flavor_of(&source).map(drop));
            let message = error.unwrap_err().to_string();
            assert!(message.contains("written by a newer version"), "{message}");
        }
        assert_eq!(flavor_of(&source("redis", "")).unwrap(), None);
        assert_eq!(flavor_of(&source("redis", "valkey")).unwrap(), Some(redisdump::rdb::Dialect::Valkey));
    }

    #[test]
    fn details_of_the_first_versions_are_read() {
        let old = serde_json::json!({ "taken-at": "2026-11-24T00:00:00Z", "tables": [] });
        let details: PostgresDetails = typed(old.clone(), "it").unwrap();
        assert!(details.state.is_empty() && serde_json::to_value(&details).unwrap() == old);
        let mut new = old;
        let at = |seconds: i64| DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap();
        note_times(&mut new, at(0), at(7));
        assert_eq!(new["started-at"], "2027-01-15T08:00:00.000Z");
        assert_eq!(new["finished-at"], "2027-01-15T08:00:07.000Z");
        assert!(typed::<PostgresDetails>(new, "it").is_ok());
    }
}
