//! Report of a nightly run, as text, as JSON, and as a short notice.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::backup::BackupReport;
use super::check::CheckReport;
use super::forget::ForgetReport;
use super::rehearsal::RehearsalReport;
use super::time;
use crate::config::Occasion;
use crate::exit::{self, Exit};
use crate::failure::Failure;
use crate::jobs::nightly::plausibility::Suspicion;
use crate::ui::{seconds, size};

/// A run.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct NightlyReport {
    /// The job.
    pub(crate) job: String,
    /// Host that it ran on.
    pub(crate) host: String,
    /// The command: `nightly`, or `nightly --rehearse`.
    pub(crate) step: &'static str,
    /// Start time.
    pub(crate) started_at: DateTime<Utc>,
    /// Duration.
    pub(crate) seconds: f64,
    /// Exit code.
    pub(crate) exit_code: u8,
    /// Events to notify of.
    pub(crate) occasions: Vec<Occasion>,
    /// The snapshot.
    pub(crate) backup: Option<BackupReport>,
    /// Why the snapshot is suspicious.
    pub(crate) suspicions: Vec<Suspicion>,
    /// Snapshots pinned because of the suspicions.
    pub(crate) pinned: Vec<String>,
    /// Result of retention.
    pub(crate) retention: Option<ForgetReport>,
    /// Result of the sample check.
    pub(crate) check: Option<CheckReport>,
    /// Result of the rehearsal.
    pub(crate) rehearsal: Option<RehearsalReport>,
    /// Steps that failed after the snapshot was saved.
    pub(crate) troubles: Vec<String>,
    /// Sources without a recent good backup, with the time of the last one.
    pub(crate) stale: Vec<(String, Option<DateTime<Utc>>)>,
    /// The error that ended the run.
    pub(crate) error: Option<Failure>,
}

impl NightlyReport {
    /// The error's own code; otherwise 4 if a source or a step failed, 3 if a check found something wrong, 5 if
    /// retention refused its plan.
    pub(crate) fn exit(&self, error: Option<&anyhow::Error>) -> Exit {
        if let Some(error) = error {
            return exit::code_of(error);
        }
        let incomplete = self.backup.as_ref().is_some_and(|backup| !backup.complete);
        if incomplete || !self.troubles.is_empty() {
            return Exit::Partial;
        }
        if !self.suspicions.is_empty() || self.check.as_ref().is_some_and(|check| !check.passed()) {
            return Exit::Differs;
        }
        if let Some(rehearsal) = &self.rehearsal {
            return match rehearsal.exit() {
                // The check was made, and found damage.
                Exit::Failed | Exit::Partial if rehearsal.damaged => Exit::Differs,
                exit => exit,
            };
        }
        self.retention.as_ref().map_or(Exit::Done, ForgetReport::exit)
    }

    /// Whether something failed, apart from a suspicious result.
    pub(crate) fn failed(&self) -> bool {
        let damaged = self.check.as_ref().is_some_and(|check| !check.passed());
        let merely_suspicious =
            !self.suspicions.is_empty() && self.exit_code == Exit::Differs.code() && !damaged;
        self.exit_code != 0 && !merely_suspicious
    }

    /// Whether the next successful run is a recovery.
    pub(crate) fn has_problem(&self) -> bool {
        self.exit_code != 0 || !self.stale.is_empty()
    }

    /// What went wrong, one line each.
    fn troubles(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.error.iter().map(Failure::line).collect();
        lines.extend(self.backup.iter().flat_map(|backup| backup.complaints()));
        lines.extend(self.troubles.iter().cloned());
        let suspicions = self.suspicions.iter();
        lines.extend(
            suspicions.map(|found| format!("suspicious: source `{}`: {}", found.source, found.reason)),
        );
        lines.extend(self.pinned.iter().map(|id| {
            format!(
                "snapshot {id} is pinned until `dbhaul unpin {id}`, because it may contain the missing data"
            )
        }));
        if let Some(check) = self.check.as_ref().filter(|check| !check.passed()) {
            lines.push(format!(
                "the check of the repository found {} damaged or missing chunks and {} snapshots that depend on them",
                check.check.faults.len(),
                check.check.broken.len()
            ));
        }
        if let Some(refused) = self.retention.as_ref().and_then(|retention| retention.plan.refused.as_ref()) {
            lines.push(format!("retention removed nothing: {refused}"));
        }
        if let Some(rehearsal) = self.rehearsal.as_ref().filter(|rehearsal| !rehearsal.passed()) {
            let failed = rehearsal.failed.iter().map(|not| ("FAILED", not));
            let all = failed.chain(rehearsal.incomplete.iter().map(|not| ("incomplete", not)));
            lines.extend(
                all.map(|(word, not)| format!("rehearsal {word}: source `{}`: {}", not.source, not.why)),
            );
            if !rehearsal.restored.passed() {
                lines.push("rehearsal FAILED: the restored data differs from the backup".to_owned());
            }
        }
        lines
    }

    /// The first line of what went wrong.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.troubles().first().map(|line| line.lines().next().unwrap_or_default().to_owned())
    }

    fn verdict(&self) -> &'static str {
        match (self.failed(), self.suspicions.is_empty(), self.occasions.contains(&Occasion::Recovered)) {
            (true, ..) => "FAILED",
            (false, false, _) => "SUSPICIOUS",
            (false, true, true) => "recovered",
            (false, true, false) if !self.stale.is_empty() => "STALE",
            (false, true, false) => "done",
        }
    }

    /// Text of a notice, most important first.
    pub(crate) fn notice(&self, zone: Tz) -> String {
        let mut out = format!(
            "dbhaul {} of job {} on {}: {}",
            self.step.trim_start_matches("nightly --"),
            self.job,
            self.host,
            self.verdict()
        );
        if self.exit_code != 0 {
            out.push_str(&format!(" (exit code {})", self.exit_code));
        }
        out.push('\n');
        for line in self.troubles() {
            out.push_str(&format!("- {line}\n"));
        }
        for (source, last) in &self.stale {
            let last = last.map_or_else(
                || "there is none".to_owned(),
                |at| format!("the last is of {}", time(at, zone)),
            );
            out.push_str(&format!("- stale: source `{source}` has no recent good backup; {last}\n"));
        }
        if let Some(backup) = &self.backup {
            out.push_str(&format!(
                "snapshot {}{}: {} read, {} stored\n",
                backup.snapshot,
                if backup.complete { "" } else { " (INCOMPLETE)" },
                size(backup.stats.plain_bytes),
                size(backup.stats.stored_bytes)
            ));
        }
        if let Some(rehearsal) = self.rehearsal.as_ref().filter(|rehearsal| rehearsal.passed()) {
            out.push_str(&format!("rehearsal passed in {}\n", seconds(rehearsal.seconds)));
        }
        out.push_str(&format!("started {}, took {}\n", time(self.started_at, zone), seconds(self.seconds)));
        out
    }

    /// Text for a terminal or a mail.
    pub(crate) fn render(&self, zone: Tz) -> String {
        let mut out = String::new();
        if let Some(backup) = &self.backup {
            out.push_str(&backup.render());
        }
        if let Some(retention) = &self.retention {
            out.push_str(&format!("\n{}", retention.render()));
        }
        if let Some(check) = &self.check {
            out.push_str(&format!("\n{}", check.render()));
        }
        if let Some(rehearsal) = &self.rehearsal {
            out.push_str(&rehearsal.render());
        }
        out.push_str(&format!("\n{}", self.notice(zone)));
        out
    }
}
