//! Report of a rehearsal, source by source.

use serde::Serialize;

use super::restore::RestoreReport;
use crate::exit::Exit;

/// The outcome for all sources of a snapshot.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RehearsalReport {
    /// What was restored and verified.
    #[serde(flatten)]
    pub(crate) restored: RestoreReport,
    /// User-defined assertions with their results.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) assertions: Vec<AssertionOutcome>,
    /// Sources that this host cannot rehearse.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) incomplete: Vec<NotRehearsed>,
    /// Sources whose rehearsal failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) failed: Vec<NotRehearsed>,
    /// Stored data of a source is damaged.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) damaged: bool,
    /// Time to restore and verify everything, in seconds.
    pub(crate) seconds: f64,
    /// Job of the snapshot.
    pub(crate) job: String,
    /// Age of the snapshot at that time, in seconds: the data that would be lost.
    pub(crate) age_seconds: i64,
}

/// Outcome of an assertion.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct AssertionOutcome {
    /// The source.
    pub(crate) source: String,
    /// Name.
    pub(crate) name: String,
    /// The result is as expected.
    pub(crate) passed: bool,
    /// The expected result.
    pub(crate) expected: String,
    /// The result; `None` if the query failed.
    pub(crate) got: Option<String>,
    /// The error, if the query failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
}

impl AssertionOutcome {
    fn line(&self) -> String {
        let shown = self.name.escape_debug();
        let got = match (&self.got, &self.error) {
            (Some(got), _) => format!("`{}`", got.escape_debug()),
            (None, error) => error.clone().unwrap_or_else(|| "nothing".to_owned()),
        };
        match self.passed {
            true => format!("assertion `{shown}` holds: {got}"),
            false => {
                format!("assertion `{shown}` FAILED: expected `{}`, got {got}", self.expected.escape_debug())
            }
        }
    }
}

/// A source that was not verified.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct NotRehearsed {
    /// Its name.
    pub(crate) source: String,
    /// The reason.
    pub(crate) why: String,
}

impl RehearsalReport {
    /// Number of sources of the snapshot.
    pub(crate) fn sources(&self) -> usize {
        self.restored.targets.len() + self.failed.len() + self.incomplete.len()
    }

    /// Whether every source was rehearsed and every check passed.
    pub(crate) fn passed(&self) -> bool {
        self.nothing_failed() && self.incomplete.is_empty()
    }

    /// Whether some source could not be rehearsed here, and every other check passed.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.nothing_failed() && !self.incomplete.is_empty()
    }

    fn nothing_failed(&self) -> bool {
        self.failed.is_empty() && self.restored.passed() && self.assertions.iter().all(|asked| asked.passed)
    }

    /// 0; 3 if a check failed; 4 if some sources were not rehearsed; 1 if the rehearsal of every source failed.
    pub(crate) fn exit(&self) -> Exit {
        match (self.failed.is_empty(), self.restored.targets.is_empty()) {
            (false, true) => Exit::Failed,
            (false, false) => Exit::Partial,
            (true, _) if !self.restored.passed() => self.restored.exit(),
            (true, _) if !self.nothing_failed() => Exit::Differs,
            (true, _) if !self.incomplete.is_empty() => Exit::Partial,
            (true, _) => Exit::Done,
        }
    }

    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        let mut out = self.restored.render();
        let indented = |why: &str| why.replace('\n', "\n  ");
        for source in &self.failed {
            out.push_str(&format!("\n{}: rehearsal FAILED: {}\n", source.source, indented(&source.why)));
        }
        for source in &self.incomplete {
            out.push_str(&format!("\n{}: not rehearsed: {}\n", source.source, indented(&source.why)));
        }
        for asked in &self.assertions {
            out.push_str(&format!("\n{}: {}", asked.source, asked.line()));
        }
        out.push_str(&format!(
            "{}\ntime to restore and verify (RTO) {}, age of the data (RPO) {}\n",
            if self.assertions.is_empty() { "" } else { "\n" },
            crate::ui::seconds(self.seconds),
            super::status::age(self.age_seconds)
        ));
        if !self.incomplete.is_empty() {
            let all = self.sources();
            out.push_str(&format!(
                "\nrehearsal INCOMPLETE: {} of {all} sources cannot be rehearsed on this host; this says nothing against the \
                 snapshot, and earlier results stand\n",
                self.incomplete.len()
            ));
        }
        out
    }
}
