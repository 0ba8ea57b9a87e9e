//! Report of `doctor`: one line per finding.

use serde::Serialize;

use crate::exit::Exit;

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// No problem.
    Ok,
    /// Runs work, but something is missing.
    Warning,
    /// A run would fail, or its failure would go unnoticed.
    Failure,
}

/// A finding.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Finding {
    /// Severity.
    pub(crate) verdict: Verdict,
    /// A source by name, or a part of the setup.
    pub(crate) subject: String,
    /// What was found.
    pub(crate) message: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) hint: String,
}

impl Finding {
    pub(crate) fn ok(subject: &str, message: impl Into<String>) -> Finding {
        Finding::of(Verdict::Ok, subject, message.into(), String::new())
    }

    pub(crate) fn warning(subject: &str, message: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding::of(Verdict::Warning, subject, message.into(), hint.into())
    }

    pub(crate) fn failure(subject: &str, message: impl Into<String>, hint: impl Into<String>) -> Finding {
        Finding::of(Verdict::Failure, subject, message.into(), hint.into())
    }

    fn of(verdict: Verdict, subject: &str, message: String, hint: String) -> Finding {
        Finding { verdict, subject: subject.to_owned(), message, hint }
    }
}

/// All findings.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DoctorReport {
    /// In the order of the checks.
    pub(crate) findings: Vec<Finding>,
}

impl DoctorReport {
    pub(crate) fn add(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// 3 if something fails.
    pub(crate) fn exit(&self) -> Exit {
        let fails = self.findings.iter().any(|finding| finding.verdict == Verdict::Failure);
        if fails { Exit::Differs } else { Exit::Done }
    }

    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        let mut out = String::new();
        for finding in &self.findings {
            let word = match finding.verdict {
                Verdict::Ok => "ok",
                Verdict::Warning => "warning",
                Verdict::Failure => "failure",
            };
            let message = finding.message.trim_end().replace('\n', "\n         ");
            out.push_str(&format!("{word:<8} {}: {message}\n", finding.subject));
            if !finding.hint.is_empty() {
                out.push_str(&format!("         hint: {}\n", finding.hint));
            }
        }
        out
    }
}
