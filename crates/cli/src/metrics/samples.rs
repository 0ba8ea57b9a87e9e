//! Computes the samples of a job.

use chrono::{DateTime, Utc};

use super::Sample;
use crate::jobs::nightly::state::State;
use crate::report::status::StatusReport;

/// The samples of a job. If the repository could not be queried, there is no status: the samples of the last run are
/// kept, in addition to the outcome of this one.
pub(crate) fn of(job: &str, state: &State, stale_after: f64, status: Option<&StatusReport>) -> Vec<Sample> {
    let mut samples = Samples { job, found: Vec::new() };
    if let Some(run) = &state.backup {
        let ended = moment(run.started_at) + run.seconds;
        samples.add("dbhaul_last_run_timestamp_seconds", None, ended.floor());
        samples.add("dbhaul_last_run_duration_seconds", None, run.seconds);
        samples.add("dbhaul_last_run_exit_code", None, f64::from(run.exit_code));
    }
    samples.add("dbhaul_stale_after_seconds", None, stale_after);
    match status {
        Some(status) => samples.of_repository(state, status),
        None => {
            let known: Vec<String> = samples.found.iter().map(|sample| sample.name.clone()).collect();
            samples.found.extend(state.samples.iter().filter(|old| !known.contains(&old.name)).cloned());
        }
    }
    samples.found
}

struct Samples<'a> {
    job: &'a str,
    found: Vec<Sample>,
}

impl Samples<'_> {
    fn add(&mut self, name: &str, source: Option<&str>, value: f64) {
        // Prometheus sets `job` itself.
        let mut labels = vec![("job_id".to_owned(), self.job.to_owned())];
        labels.extend(source.map(|source| ("source".to_owned(), source.to_owned())));
        self.found.push(Sample { name: name.to_owned(), labels, value });
    }

    fn of_repository(&mut self, state: &State, status: &StatusReport) {
        for source in &status.sources {
            let name = Some(source.name.as_str());
            let mut add = |metric: &str, value: Option<f64>| {
                if let Some(value) = value {
                    self.add(metric, name, value);
                }
            };
            add("dbhaul_last_success_timestamp_seconds", source.taken_at.map(moment));
            add("dbhaul_source_raw_bytes", source.bytes.map(|n| n as f64));
            add("dbhaul_source_rows", source.rows.map(|n| n as f64));
            add("dbhaul_source_keys", source.keys.map(|n| n as f64));
            add("dbhaul_source_suspicious", Some(flag(!source.suspicions.is_empty())));
            add("dbhaul_source_gate_passed", source.baseline_passed.map(flag));
            add("dbhaul_oldest_restore_point_timestamp_seconds", source.oldest_restore_point.map(moment));
        }
        self.add("dbhaul_snapshots", None, status.snapshots as f64);
        if let Some(newest) = &status.newest {
            self.add("dbhaul_snapshot_raw_bytes", None, newest.plain_bytes as f64);
            self.add("dbhaul_snapshot_stored_bytes", None, newest.stored_bytes as f64);
        }
        if let Some(bytes) = state.stored_bytes {
            self.add("dbhaul_repository_stored_bytes", None, bytes as f64);
        }
        if let Some(check) = &status.check {
            self.add("dbhaul_last_check_timestamp_seconds", None, moment(check.at));
            self.add("dbhaul_last_check_passed", None, flag(check.passed));
        }
        if let Some(rehearsal) = &status.rehearsal {
            self.add("dbhaul_last_rehearsal_timestamp_seconds", None, moment(rehearsal.at));
            self.add("dbhaul_last_rehearsal_passed", None, flag(rehearsal.passed));
            if let Some(seconds) = rehearsal.seconds {
                self.add("dbhaul_last_rehearsal_duration_seconds", None, seconds);
            }
        }
    }
}

fn moment(at: DateTime<Utc>) -> f64 {
    at.timestamp() as f64
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}
