//! What a baseline check found, and what a capture wrote.

pub(crate) mod migrations;

use serde::Serialize;

/// A verdict, and what it is about.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct BaselineReport {
    /// The server or snapshot that was checked.
    pub(crate) of: String,
    /// The baseline's file.
    pub(crate) baseline: String,
    /// The finding.
    pub(crate) verdict: pgmove::baseline::CheckOutcome,
}

impl BaselineReport {
    /// True when nothing required is missing.
    pub(crate) fn passed(&self) -> bool {
        self.verdict.passed
    }

    /// For people.
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
