//! The outcome of a check, as data and as a table.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A required object is missing.
    Missing,
    /// It exists but differs.
    Different,
    /// It is missing, but optional in this environment.
    Optional,
}

/// A deviation from the baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// Its severity.
    pub severity: Severity,
    /// The object, such as `column public.daily_risk_state.buy_count`.
    pub object: String,
    /// The declaration.
    pub expected: String,
    /// What exists.
    pub found: String,
    /// The migrations that provide it, in the order in which they are applied; one of them is sufficient.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provided_by: Vec<String>,
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CheckOutcome {
    /// True if nothing required is missing or different.
    pub passed: bool,
    /// The environment.
    pub environment: Option<String>,
    /// Number of checked objects.
    pub checked: usize,
    /// Deviations: missing objects first, then different ones, then optional ones.
    pub findings: Vec<Finding>,
}

impl CheckOutcome {
    /// The findings that fail the check.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity != Severity::Optional)
    }
}

impl fmt::Display for CheckOutcome {
    /// Writes a table of the findings, if any, and a line with the result.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.findings.is_empty() {
            let head = ["", "object", "expected", "found", "provided by"].map(str::to_owned);
            let rows: Vec<[String; 5]> =
                std::iter::once(head).chain(self.findings.iter().map(cells)).collect();
            let width =
                |i: usize| rows.iter().filter_map(|row| row.get(i)).map(|cell| cell.chars().count()).max();
            let widths: Vec<usize> = (0..5).map(|i| width(i).unwrap_or(0)).collect();
            for row in &rows {
                let line: Vec<String> =
                    row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
                writeln!(f, "{}", line.join("  ").trim_end())?;
            }
        }
        let wrong = self.failures().count();
        let verdict = if self.passed { "passed" } else { "FAILED" };
        write!(f, "baseline {verdict}: {} objects checked, {wrong} missing or different", self.checked)?;
        match &self.environment {
            Some(environment) => write!(f, " (environment {environment})"),
            None => Ok(()),
        }
    }
}

fn cells(finding: &Finding) -> [String; 5] {
    let word = match finding.severity {
        Severity::Missing => "MISSING",
        Severity::Different => "DIFFERENT",
        Severity::Optional => "optional",
    };
    let provided_by = finding.provided_by.join(" or ");
    // Escapes control characters, so that a row stays on one line.
    let line = |text: &str| text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    [word.to_owned(), line(&finding.object), line(&finding.expected), line(&finding.found), provided_by]
}
