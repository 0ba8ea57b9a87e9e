//! The proof of tables: what was expected, what was found.

use serde::Serialize;

use super::Table;
use crate::ui::count;

/// One table, proven equal or not.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TableOutcome {
    /// Schema and name.
    pub(crate) table: String,
    /// Rows, bytes and digest at the source.
    pub(crate) expected: pgmove::TableProof,
    /// The same, read back from the target.
    pub(crate) found: pgmove::TableProof,
    /// True when row count and digest agree.
    pub(crate) equal: bool,
}

impl TableOutcome {
    /// Holds the two proofs against each other. Bytes are told, and not compared: the digest covers them.
    pub(crate) fn new(
        table: &pgmove::TableName,
        expected: pgmove::TableProof,
        found: pgmove::TableProof,
    ) -> TableOutcome {
        let equal = expected.rows == found.rows && expected.digest == found.digest;
        TableOutcome { table: table.to_string(), expected, found, equal }
    }
}

/// The outcomes as a table for people, and a line of sums.
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
