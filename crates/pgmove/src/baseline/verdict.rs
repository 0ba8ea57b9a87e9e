//! What a check found, as data and as a table for people.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// A required object is not there.
    Missing,
    /// It is there, and is another one.
    Different,
    /// It is not there, and need not be in this environment.
    Optional,
}

/// One thing that is not as declared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The object, such as `column public.daily_risk_state.buy_count`.
    pub object: String,
    /// What was declared.
    pub expected: String,
    /// What is there.
    pub found: String,
    /// The migrations that provide it, in the order in which they are applied; any one of them does.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub provided_by: Vec<String>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verdict {
    /// True when nothing required is missing or different.
    pub passed: bool,
    /// The environment that was asked about.
    pub environment: Option<String>,
    /// Objects that were looked at.
    pub checked: usize,
    /// What is not as declared: first what is missing, then what differs, then what is optional.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// Findings that fail the check.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.severity != Severity::Optional)
    }
}

impl fmt::Display for Verdict {
    /// A table of the findings, if there are any, and a last line with the verdict.
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
    // A name may hold anything; a line of the table is one line all the same.
    let line = |text: &str| text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    [word.to_owned(), line(&finding.object), line(&finding.expected), line(&finding.found), provided_by]
}
