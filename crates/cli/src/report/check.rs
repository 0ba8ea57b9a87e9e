//! What a check of the repository found.

use serde::Serialize;

/// The repository's own report, rendered here.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct CheckReport(pub(crate) repository::CheckReport);

impl CheckReport {
    /// True when every listed snapshot is whole.
    pub(crate) fn passed(&self) -> bool {
        self.0.passed()
    }

    /// For people.
    pub(crate) fn render(&self) -> String {
        self.0.to_string()
    }
}
