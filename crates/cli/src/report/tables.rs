//! Proofs of tables and views: expected and found.

use serde::Serialize;

use super::Table;
use crate::ui::count;

/// Outcome for a table.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TableOutcome {
    /// Schema and name.
    pub(crate) table: String,
    /// Rows, bytes and digest at the source.
    pub(crate) expected: pgmove::TableProof,
    /// The same, read back from the target.
    pub(crate) found: pgmove::TableProof,
    /// Whether row count and digest agree.
    pub(crate) equal: bool,
}

impl TableOutcome {
    /// Compares the two proofs. Byte counts are reported but not compared: the digest covers them.
    pub(crate) fn new(
        table: &pgmove::TableName,
        expected: pgmove::TableProof,
        found: pgmove::TableProof,
    ) -> TableOutcome {
        let equal = expected.rows == found.rows && expected.digest == found.digest;
        TableOutcome { table: table.to_string(), expected, found, equal }
    }
}

/// Outcome for a materialized view that was refreshed.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ViewOutcome {
    /// Schema and name.
    pub(crate) view: String,
    /// Its content at the source; `None` if unknown.
    pub(crate) expected: Option<pgmove::TableProof>,
    /// Its content at the target.
    pub(crate) found: pgmove::TableProof,
    /// Whether both are known and agree. A difference is not an error: a view may be out of date at the source, and
    /// its query may be volatile.
    pub(crate) equal: bool,
}

impl ViewOutcome {
    /// Compares the two proofs.
    pub(crate) fn new(
        view: &pgmove::TableName,
        expected: Option<pgmove::TableProof>,
        found: pgmove::TableProof,
    ) -> ViewOutcome {
        let equal = expected.is_some_and(|proof| proof.rows == found.rows && proof.digest == found.digest);
        ViewOutcome { view: view.to_string(), expected, found, equal }
    }
}

/// One line for all views, and one for each that could not be verified.
pub(crate) fn render_views(outcomes: &[ViewOutcome]) -> String {
    if outcomes.is_empty() {
        return String::new();
    }
    let equal = outcomes.iter().filter(|outcome| outcome.equal).count();
    let mut out = format!("{equal} of {} materialized views equal\n", outcomes.len());
    for outcome in outcomes.iter().filter(|outcome| !outcome.equal) {
        let why = match outcome.expected {
            None => "its content at the source is unknown".to_owned(),
            Some(expected) => format!(
                "{} rows at the source, {} at the target; it was out of date there, or its query is volatile",
                count(expected.rows),
                count(outcome.found.rows)
            ),
        };
        out.push_str(&format!("not verified: materialized view {}: {why}\n", outcome.view));
    }
    out
}

/// The outcomes as a text table, with a line of totals.
pub(crate) fn render(outcomes: &[TableOutcome]) -> String {
    let mut table = Table::new(&["table", ">source rows", ">target rows", "digest", "proof"]);
    for outcome in outcomes {
        let digest = outcome.found.digest.to_string();
        table.row([
            outcome.table.clone(),
            count(outcome.expected.rows),
            count(outcome.found.rows),
            digest.chars().take(16).collect(),
            if outcome.equal { "equal".into() } else { "DIFFERENT".into() },
        ]);
    }
    let equal = outcomes.iter().filter(|outcome| outcome.equal).count();
    let rows: u64 = outcomes.iter().map(|outcome| outcome.found.rows).sum();
    format!("{}{equal} of {} tables equal, {} rows\n", table.render(), outcomes.len(), count(rows))
}
