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

/// A snapshot.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SnapshotRow {
    id: String,
    job: String,
    taken_at: DateTime<Utc>,
    /// Whether that time is doubtful.
    #[serde(skip_serializing_if = "Option::is_none")]
    dated: Option<Dated>,
    /// Retention keeps it whatever the policy says.
    pinned: bool,
    tags: std::collections::BTreeSet<String>,
    complete: bool,
    /// Details of the sources are unknown: the manifest is encrypted, and no identity was given.
    sealed: bool,
    sources: Vec<SourceRow>,
    /// Names of the sources, even if the manifest is encrypted; empty for snapshots of the first versions.
    contents: Vec<String>,
    plain_bytes: u64,
    stored_bytes: u64,
    check: Option<Proof>,
    rehearsal: Option<Proof>,
}

/// A time that cannot be relied on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Dated {
    /// Later than now: the clock was ahead. Never `latest`, and takes no slot.
    InFuture,
    /// The manifest was stored at another time: the snapshot takes no slot from others.
    Unproven,
}

impl Dated {
    /// Whether a snapshot's time is doubtful, given when the store says its manifest was stored.
    pub(crate) fn of(
        manifest: &repository::Manifest,
        stored_at: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Option<Dated> {
        let snapshot = retention::Snapshot {
            stored_at: Some(stored_at),
            ..retention::Snapshot::complete(manifest.id.as_str(), manifest.taken_at)
        };
        match (snapshot.is_future(now), snapshot.is_date_unproven()) {
            (true, _) => Some(Dated::InFuture),
            (false, true) => Some(Dated::Unproven),
            (false, false) => None,
        }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct SourceRow {
    name: String,
    kind: String,
    bytes: u64,
    /// Which part of the database it is, if not all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
struct Proof {
    at: DateTime<Utc>,
    passed: bool,
    /// Part of it could not be done, but nothing failed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    incomplete: bool,
}

impl SnapshotRow {
    /// A row from a manifest and its newest check and rehearsal.
    pub(crate) fn new(
        manifest: &repository::Manifest,
        pinned: bool,
        dated: Option<Dated>,
        check: Option<repository::Attestation>,
        rehearsal: Option<repository::Attestation>,
    ) -> SnapshotRow {
        let proof = |found: Option<repository::Attestation>| {
            found.map(|found| Proof { at: found.at, passed: found.passed, incomplete: found.incomplete })
        };
        SnapshotRow {
            id: manifest.id.to_string(),
            job: manifest.job.clone(),
            taken_at: manifest.taken_at,
            dated,
            pinned,
            tags: manifest.tags.clone(),
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
            contents: manifest.contents.iter().map(|content| content.name.clone()).collect(),
            plain_bytes: manifest.stats.plain_bytes,
            stored_bytes: manifest.stats.stored_bytes,
            check: proof(check),
            rehearsal: proof(rehearsal),
        }
    }

    /// Marks for everything unusual about the snapshot.
    fn marks(&self) -> String {
        let dated = self.dated.map(|dated| match dated {
            Dated::InFuture => "dated in the future",
            Dated::Unproven => "stored at another time",
        });
        let marks = (!self.complete).then_some("incomplete").into_iter().chain(dated);
        let marks = marks.chain(self.pinned.then_some("pinned"));
        let marks = marks.map(|mark| format!(" ({mark})"));
        marks.chain(self.tags.iter().map(|tag| format!(" [{tag}]"))).collect()
    }

    fn proven(&self, zone: Tz) -> String {
        let word = |name: &str, proof: &Option<Proof>| {
            proof.as_ref().map(|proof| {
                let verdict = match (proof.passed, proof.incomplete) {
                    (true, _) => "passed",
                    (false, true) => "incomplete",
                    (false, false) => "FAILED",
                };
                format!("{name} {verdict} {}", day(proof.at, zone))
            })
        };
        let proofs: Vec<String> =
            [word("check", &self.check), word("rehearsal", &self.rehearsal)].into_iter().flatten().collect();
        if proofs.is_empty() { "nothing yet".to_owned() } else { proofs.join(", ") }
    }
}

/// The manifest's description of a partial source.
fn part_of(source: &repository::SourceRecord) -> Option<String> {
    let filter = source.details.get("filter")?.clone();
    serde_json::from_value::<pgmove::Filter>(filter).ok().map(|filter| filter.to_string())
}

impl SnapshotsReport {
    /// Renders the report as text, with times in this zone.
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
                format!("{}{}", row.id, row.marks()),
                time(row.taken_at, zone),
                row.job.clone(),
                if row.sealed { row.contents.join(", ") + " (encrypted)" } else { names.join(", ") },
                size(row.plain_bytes),
                size(row.stored_bytes),
                row.proven(zone),
            ]);
        }
        table.render()
    }
}
