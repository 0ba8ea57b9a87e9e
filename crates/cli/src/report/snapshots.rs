//! The list of snapshots.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::{Table, day, time};
use crate::ui::size;

/// All snapshots of a repository.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SnapshotsReport {
    /// Oldest first.
    pub(crate) snapshots: Vec<SnapshotRow>,
    /// Manifests that cannot be read.
    pub(crate) unreadable: Vec<repository::Unreadable>,
}

/// One snapshot.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SnapshotRow {
    id: String,
    job: String,
    taken_at: DateTime<Utc>,
    complete: bool,
    /// The sources cannot be known here: the manifest is encrypted, and no identity was given.
    sealed: bool,
    sources: Vec<SourceRow>,
    plain_bytes: u64,
    stored_bytes: u64,
    check: Option<Proof>,
    rehearsal: Option<Proof>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SourceRow {
    name: String,
    kind: String,
    bytes: u64,
    /// Which part of the database it is, where it is not the whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Proof {
    at: DateTime<Utc>,
    passed: bool,
}

impl SnapshotRow {
    /// A row from a manifest and its newest check and rehearsal.
    pub(crate) fn new(
        manifest: &repository::Manifest,
        check: Option<(DateTime<Utc>, bool)>,
        rehearsal: Option<(DateTime<Utc>, bool)>,
    ) -> SnapshotRow {
        let proof = |found: Option<(DateTime<Utc>, bool)>| found.map(|(at, passed)| Proof { at, passed });
        SnapshotRow {
            id: manifest.id.to_string(),
            job: manifest.job.clone(),
            taken_at: manifest.taken_at,
            complete: manifest.complete,
            sealed: manifest.is_sealed(),
            sources: manifest
                .sources
                .iter()
                .map(|source| SourceRow {
                    name: source.name.clone(),
                    kind: source.kind.clone(),
                    bytes: source.parts.iter().map(|part| part.bytes).sum(),
                    part: part_of(source),
                })
                .collect(),
            plain_bytes: manifest.stats.plain_bytes,
            stored_bytes: manifest.stats.stored_bytes,
            check: proof(check),
            rehearsal: proof(rehearsal),
        }
    }

    fn proven(&self, zone: Tz) -> String {
        let word = |name: &str, proof: &Option<Proof>| {
            proof.as_ref().map(|proof| {
                let verdict = if proof.passed { "passed" } else { "FAILED" };
                format!("{name} {verdict} {}", day(proof.at, zone))
            })
        };
        let said: Vec<String> =
            [word("check", &self.check), word("rehearsal", &self.rehearsal)].into_iter().flatten().collect();
        if said.is_empty() { "nothing yet".to_owned() } else { said.join(", ") }
    }
}

/// What the manifest says of a source that is not whole.
fn part_of(source: &repository::SourceRecord) -> Option<String> {
    let filter = source.details.get("filter")?.clone();
    serde_json::from_value::<pgmove::Filter>(filter).ok().map(|filter| filter.to_string())
}

impl SnapshotsReport {
    /// For people, with times of this zone.
    pub(crate) fn render(&self, zone: Tz) -> String {
        if self.snapshots.is_empty() {
            return "no snapshots\n".to_owned();
        }
        let mut table = Table::new(&["snapshot", "taken at", "job", "sources", ">size", ">stored", "proven"]);
        for row in &self.snapshots {
            let name = |source: &SourceRow| match &source.part {
                Some(part) => format!("{} (only {part})", source.name),
                None => source.name.clone(),
            };
            let names: Vec<String> = row.sources.iter().map(name).collect();
            table.row([
                if row.complete { row.id.clone() } else { format!("{} (incomplete)", row.id) },
                time(row.taken_at, zone),
                row.job.clone(),
                if row.sealed { "(encrypted)".to_owned() } else { names.join(", ") },
                size(row.plain_bytes),
                size(row.stored_bytes),
                row.proven(zone),
            ]);
        }
        table.render()
    }
}
