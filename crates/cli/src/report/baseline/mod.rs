//! Reports of baseline checks and captures.

pub(crate) mod migrations;

use serde::Serialize;

/// A check, and its subject.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct BaselineReport {
    /// The server or snapshot that was checked.
    pub(crate) of: String,
    /// The baseline's file.
    pub(crate) baseline: String,
    /// The result.
    pub(crate) verdict: pgmove::baseline::CheckOutcome,
}

impl BaselineReport {
    /// Whether every required object is present.
    pub(crate) fn passed(&self) -> bool {
        self.verdict.passed
    }

    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        format!("{}\nagainst {}\n{}", self.of, self.baseline, self.verdict)
    }
}

/// A captured baseline.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CaptureReport {
    /// The server or snapshot that it was captured from.
    pub(crate) of: String,
    /// The baseline, in TOML.
    #[serde(rename = "baseline")]
    pub(crate) text: String,
}
