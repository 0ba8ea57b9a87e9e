//! Report on the state of a job, on one screen.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use super::{Table, time};
use crate::exit::Exit;
use crate::jobs::nightly::plausibility::Suspicion;
use crate::jobs::nightly::state::LastRun;
use crate::ui::{count, seconds, size};

/// State of a job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StatusReport {
    /// Location of the repository.
    pub(crate) repository: String,
    /// The job.
    pub(crate) job: String,
    /// Time of the query.
    pub(crate) at: DateTime<Utc>,
    /// Nothing that a restore depends on is wrong.
    pub(crate) safe: bool,
    /// Age from which a backup is stale.
    pub(crate) stale_after_seconds: i64,
    /// Each source of the job.
    pub(crate) sources: Vec<SourceStatus>,
    /// Snapshots of the job.
    pub(crate) snapshots: usize,
    /// The newest one.
    pub(crate) newest: Option<Newest>,
    /// Size of the repository, as this host last computed it.
    pub(crate) stored_bytes: Option<u64>,
    /// The newest check, complete or of a portion.
    pub(crate) check: Option<Proof>,
    /// The newest rehearsal.
    pub(crate) rehearsal: Option<Proof>,
    /// Rehearsals of the existing snapshots, oldest first.
    pub(crate) rehearsals: Vec<Proof>,
    /// The last nightly run on this host.
    pub(crate) last_run: Option<LastRun>,
    /// The schedule on this host.
    pub(crate) schedule: Option<String>,
    /// Time of the next run.
    pub(crate) next_run: Option<DateTime<Utc>>,
    /// Problems.
    pub(crate) problems: Vec<Problem>,
}

/// The newest snapshot of a job.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Newest {
    pub(crate) id: String,
    pub(crate) taken_at: DateTime<Utc>,
    pub(crate) complete: bool,
    pub(crate) plain_bytes: u64,
    pub(crate) stored_bytes: u64,
}

/// State of a source.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SourceStatus {
    /// Name.
    pub(crate) name: String,
    /// Kind; empty if there is no snapshot of it.
    pub(crate) kind: String,
    /// The newest good snapshot that contains it.
    pub(crate) snapshot: Option<String>,
    /// Time of that snapshot.
    pub(crate) taken_at: Option<DateTime<Utc>>,
    /// Its age.
    pub(crate) age_seconds: Option<i64>,
    /// Whether it is too old.
    pub(crate) stale: bool,
    /// Size before compression.
    pub(crate) bytes: Option<u64>,
    /// Number of rows (PostgreSQL).
    pub(crate) rows: Option<u64>,
    /// Number of keys (Redis).
    pub(crate) keys: Option<u64>,
    /// Sizes of the last snapshots, oldest first.
    pub(crate) trend: Vec<u64>,
    /// Result of the schema baseline check.
    pub(crate) baseline_passed: Option<bool>,
    /// The newest snapshot of it that passed a check of all its data.
    pub(crate) checked: Option<Proof>,
    /// The newest snapshot of it that passed a rehearsal.
    pub(crate) rehearsed: Option<Proof>,
    /// The oldest time to which it can be restored.
    pub(crate) oldest_restore_point: Option<DateTime<Utc>>,
    /// Why its newest snapshot is suspicious.
    pub(crate) suspicions: Vec<Suspicion>,
}

/// Result of a check or a rehearsal.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Proof {
    /// When.
    pub(crate) at: DateTime<Utc>,
    /// Every check passed.
    pub(crate) passed: bool,
    /// Part of it could not be done, but nothing failed.
    pub(crate) incomplete: bool,
    /// The snapshot; `None` for a check of a portion of the repository.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<String>,
    /// Duration of a rehearsal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) seconds: Option<f64>,
    /// Age of the snapshot when it was rehearsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) age_seconds: Option<i64>,
}

/// Severity of a problem.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Severity {
    /// Needs attention.
    Warning,
    /// A restore may fail, or would lose more than is accepted.
    Failure,
}

/// A problem.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Problem {
    pub(crate) severity: Severity,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source: Option<String>,
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn failure(source: Option<String>, message: String) -> Problem {
        Problem { severity: Severity::Failure, source, message }
    }

    pub(crate) fn warning(source: Option<String>, message: String) -> Problem {
        Problem { severity: Severity::Warning, source, message }
    }

    /// One line.
    pub(crate) fn line(&self) -> String {
        let source = self.source.as_ref().map(|source| format!("source `{source}`: ")).unwrap_or_default();
        format!("{source}{}", self.message)
    }
}

impl StatusReport {
    /// 3 if something that a restore depends on is wrong.
    pub(crate) fn exit(&self) -> Exit {
        if self.safe { Exit::Done } else { Exit::Differs }
    }

    /// The verdict in a word or two.
    pub(crate) fn verdict(&self) -> &'static str {
        match (self.safe, self.problems.is_empty()) {
            (true, true) => "safe",
            (true, false) => "safe, with warnings",
            (false, _) => "NOT SAFE",
        }
    }

    /// Renders the report as text, with times in this zone.
    pub(crate) fn render(&self, zone: Tz) -> String {
        let mut out = format!("job {}: {}\n\n", self.job, self.verdict());
        let mut table =
            Table::new(&["source", "last good backup", ">age", ">size", "trend", "rehearsed", "oldest"]);
        for source in &self.sources {
            let day = |at: DateTime<Utc>| super::day(at, zone);
            table.row([
                source.name.clone(),
                source.taken_at.map_or_else(|| "NONE".to_owned(), |at| time(at, zone)),
                source.age_seconds.map(age).unwrap_or_default() + if source.stale { " STALE" } else { "" },
                source.bytes.map(size).unwrap_or_else(|| "?".to_owned()),
                sparkline(&source.trend),
                source.rehearsed.as_ref().map_or_else(|| "never".to_owned(), |proof| day(proof.at)),
                source.oldest_restore_point.map(day).unwrap_or_default(),
            ]);
        }
        out.push_str(&table.render());
        out.push('\n');
        let proven = |what: &str, proof: &Option<Proof>| match proof {
            None => format!("{what:<16} never\n"),
            Some(proof) => {
                let verdict = match (proof.passed, proof.incomplete) {
                    (true, _) => "passed",
                    (false, true) => "incomplete",
                    (false, false) => "FAILED",
                };
                let took = proof
                    .seconds
                    .map(|seconds| format!(", took {}", crate::ui::seconds(seconds)))
                    .unwrap_or_default();
                let old = proof.age_seconds.map(|seconds| format!(", data {} old", age(seconds)));
                let took = took + &old.unwrap_or_default();
                format!("{what:<16} {verdict} {}{took}\n", time(proof.at, zone))
            }
        };
        out.push_str(&proven("last check", &self.check));
        out.push_str(&proven("last rehearsal", &self.rehearsal));
        let times: Vec<f64> = self.rehearsals.iter().filter_map(|proof| proof.seconds).collect();
        if let (Some(newest), true) = (times.last(), times.len() > 1) {
            let scaled: Vec<u64> = times.iter().map(|seconds| (seconds.max(0.0) * 1000.0) as u64).collect();
            let longest = times.iter().copied().fold(0.0, f64::max);
            out.push_str(&format!(
                "{:<16} {} now {}, longest {}\n",
                "time to restore",
                sparkline(&scaled),
                seconds(*newest),
                seconds(longest)
            ));
        }
        out.push_str(&format!("{:<16} {}, {}\n", "repository", count_of(self.snapshots), self.repository));
        if let Some(bytes) = self.stored_bytes {
            out.push_str(&format!("{:<16} {}\n", "stored", size(bytes)));
        }
        let last = self
            .last_run
            .as_ref()
            .map(|run| format!("{}, exit code {}", time(run.started_at, zone), run.exit_code));
        out.push_str(&format!("{:<16} {}\n", "last run", last.as_deref().unwrap_or("none on this host")));
        let next = match (&self.schedule, self.next_run) {
            (Some(schedule), Some(next)) => format!("{} ({schedule})", time(next, zone)),
            (Some(schedule), None) => schedule.clone(),
            (None, _) => "no schedule is installed on this host (`dbhaul schedule install`)".to_owned(),
        };
        out.push_str(&format!("{:<16} {next}\n", "next run"));
        if !self.problems.is_empty() {
            out.push('\n');
        }
        for problem in &self.problems {
            let word = if problem.severity == Severity::Failure { "failure" } else { "warning" };
            out.push_str(&format!("{word}: {}\n", problem.line()));
        }
        out
    }
}

fn count_of(snapshots: usize) -> String {
    format!("{} snapshot{}", count(snapshots as u64), if snapshots == 1 { "" } else { "s" })
}

/// An age: `7h 12m`, `3d 4h`.
pub(crate) fn age(seconds: i64) -> String {
    let minutes = seconds.max(0) / 60;
    match (minutes / (24 * 60), minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h {minutes:02}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// Sizes as bars, scaled from zero to the largest.
pub(crate) fn sparkline(values: &[u64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let largest = values.iter().copied().max().unwrap_or(0).max(1);
    let bar = |value: &u64| {
        let step = (*value as f64 / largest as f64 * 7.0).round() as usize;
        BARS.get(step.min(7)).copied().unwrap_or('█')
    };
    values.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trend_and_an_age_are_short() {
        assert_eq!(sparkline(&[0, 50, 100]), "▁▅█");
        assert_eq!(sparkline(&[]), "");
        assert_eq!(sparkline(&[0, 0]), "▁▁");
        assert_eq!(sparkline(&[u64::MAX]), "█");
        assert_eq!(
            [age(59), age(7 * 3600 + 720), age(76 * 3600 + 1), age(-5)],
            ["0m", "7h 12m", "3d 4h", "0m"]
        );
    }
}
