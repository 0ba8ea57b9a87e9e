//! Report of a backup.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::Table;
use super::forget::ForgetReport;
use crate::endpoint::Endpoint;
use crate::exit::Exit;
use crate::jobs::nightly::plausibility::SourceCounts;
use crate::ui::{count, size};

/// A finished backup.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct BackupReport {
    /// The snapshot's id.
    pub(crate) snapshot: String,
    /// Start time.
    pub(crate) taken_at: DateTime<Utc>,
    /// Whether every source is in the snapshot.
    pub(crate) complete: bool,
    /// Outcome of each source.
    pub(crate) sources: Vec<SourceOutcome>,
    /// Sizes: read, new, stored.
    pub(crate) stats: repository::SnapshotStats,
    /// Counts of each source.
    #[serde(skip)]
    pub(crate) counts: BTreeMap<String, SourceCounts>,
    /// Result of retention, if it was applied.
    pub(crate) retention: Option<ForgetReport>,
    /// Why retention failed after the snapshot was saved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retention_error: Option<String>,
}

/// Outcome of a source.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SourceOutcome {
    name: String,
    kind: &'static str,
    server: String,
    parts: usize,
    bytes: u64,
    baseline_passed: Option<bool>,
    error: Option<String>,
}

impl SourceOutcome {
    /// A source that is in the snapshot.
    pub(crate) fn done(endpoint: &Endpoint, record: &repository::SourceRecord) -> SourceOutcome {
        SourceOutcome {
            name: endpoint.name.clone(),
            kind: endpoint.kind().as_str(),
            server: endpoint.shown(),
            parts: record.parts.len(),
            bytes: record.parts.iter().map(|part| part.bytes).sum(),
            baseline_passed: record.details.pointer("/baseline/passed").and_then(serde_json::Value::as_bool),
            error: None,
        }
    }

    /// A source that failed.
    pub(crate) fn failed(endpoint: &Endpoint, error: String) -> SourceOutcome {
        SourceOutcome {
            name: endpoint.name.clone(),
            kind: endpoint.kind().as_str(),
            server: endpoint.shown(),
            parts: 0,
            bytes: 0,
            baseline_passed: None,
            error: Some(error),
        }
    }

    /// The error of a failed source.
    pub(crate) fn complaint(&self) -> Option<String> {
        self.error.as_ref().map(|error| format!("source `{}` was not backed up: {error}", self.name))
    }
}

impl BackupReport {
    /// Combines the manifest with the outcomes of the run.
    pub(crate) fn new(
        manifest: &repository::Manifest,
        sources: Vec<SourceOutcome>,
        retention: Option<ForgetReport>,
    ) -> BackupReport {
        BackupReport {
            snapshot: manifest.id.to_string(),
            taken_at: manifest.taken_at,
            complete: manifest.complete,
            sources,
            stats: manifest.stats.clone(),
            counts: manifest
                .sources
                .iter()
                .map(|source| (source.name.clone(), SourceCounts::of(source)))
                .collect(),
            retention,
            retention_error: None,
        }
    }

    /// Errors of failed sources.
    pub(crate) fn complaints(&self) -> impl Iterator<Item = String> {
        self.sources.iter().filter_map(SourceOutcome::complaint)
    }

    /// 4 if a source failed; 5 if all are saved but retention refused its plan; otherwise 0.
    pub(crate) fn exit(&self) -> Exit {
        if !self.complete || self.retention_error.is_some() {
            return Exit::Partial;
        }
        self.retention.as_ref().map_or(Exit::Done, ForgetReport::exit)
    }

    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        let mut table = Table::new(&["source", "kind", "server", ">parts", ">bytes", "state"]);
        for source in &self.sources {
            table.row([
                source.name.clone(),
                source.kind.to_owned(),
                source.server.clone(),
                count(source.parts as u64),
                size(source.bytes),
                match (&source.error, source.baseline_passed) {
                    (Some(_), _) => "FAILED".to_owned(),
                    (None, Some(false)) => "saved; schema baseline NOT met".to_owned(),
                    (None, _) => "saved".to_owned(),
                },
            ]);
        }
        let mut out =
            format!("snapshot {}{}\n", self.snapshot, if self.complete { "" } else { " (INCOMPLETE)" });
        out.push_str(&table.render());
        let stats = &self.stats;
        out.push_str(&format!(
            "{} read, {} new, {} stored\n",
            size(stats.plain_bytes),
            size(stats.new_plain_bytes),
            size(stats.stored_bytes)
        ));
        if let Some(retention) = &self.retention {
            out.push('\n');
            out.push_str(&retention.render());
        }
        out
    }
}
