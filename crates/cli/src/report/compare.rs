//! Report of a comparison.

use serde::Serialize;

/// The comparison of two servers of one kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum CompareReport {
    /// Two databases.
    Postgres(Box<pgmove::Comparison>),
    /// Two Redis servers.
    Redis(Box<redisdump::Comparison>),
}

impl CompareReport {
    /// Whether nothing differs.
    pub(crate) fn equal(&self) -> bool {
        match self {
            CompareReport::Postgres(comparison) => comparison.equal(),
            CompareReport::Redis(comparison) => comparison.equal(),
        }
    }

    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        match self {
            CompareReport::Postgres(comparison) => comparison.to_string(),
            CompareReport::Redis(comparison) => comparison.to_string(),
        }
    }
}
