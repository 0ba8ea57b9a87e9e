//! Metrics of the last run in the Prometheus text format: a textfile for the node exporter, and optionally a
//! Pushgateway.
//!
//! Alerts use timestamps that dbhaul wrote as values: they survive restarts, and grow old if the host is dead. An
//! event that never happened has no sample, so 0 never means "never".

mod samples;
mod textfile;

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use crate::notify::{Http, Limits, Method, Request};

pub(crate) use samples::of;
pub(crate) use textfile::{path, write};

/// A value with its name and labels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// A name in [`METRICS`].
    pub(crate) name: String,
    /// Label names and values.
    pub(crate) labels: Vec<(String, String)>,
    /// The value.
    pub(crate) value: f64,
}

/// Every metric with its help text, in output order. All are gauges.
pub(crate) const METRICS: &[(&str, &str)] = &[
    ("dbhaul_last_run_timestamp_seconds", "When the last nightly run ended."),
    ("dbhaul_last_run_duration_seconds", "How long the last nightly run took."),
    ("dbhaul_last_run_exit_code", "Exit code of the last nightly run; 0 is success."),
    ("dbhaul_stale_after_seconds", "Configured age at which a backup counts as stale."),
    ("dbhaul_last_success_timestamp_seconds", "When the newest good backup of a source was taken."),
    ("dbhaul_source_raw_bytes", "Size of a source in its newest good backup, before compression."),
    ("dbhaul_source_rows", "Rows of a PostgreSQL source in its newest good backup."),
    ("dbhaul_source_keys", "Keys of a Redis source in its newest good backup."),
    ("dbhaul_source_suspicious", "1 if the newest backup of a source does not look like the one before it."),
    ("dbhaul_source_gate_passed", "1 if a source met its schema baseline in its newest good backup."),
    ("dbhaul_oldest_restore_point_timestamp_seconds", "Oldest moment to which a source can be restored."),
    ("dbhaul_snapshots", "Snapshots of the job."),
    ("dbhaul_snapshot_raw_bytes", "Size of the newest snapshot, before compression."),
    ("dbhaul_snapshot_stored_bytes", "Bytes that the newest snapshot added to the repository."),
    ("dbhaul_repository_stored_bytes", "Size of the data in the repository."),
    ("dbhaul_last_check_timestamp_seconds", "When data of the repository was last read and verified."),
    ("dbhaul_last_check_passed", "1 if that check found no damage."),
    ("dbhaul_last_rehearsal_timestamp_seconds", "When a snapshot was last rehearsed."),
    ("dbhaul_last_rehearsal_passed", "1 if the last rehearsal passed, 0 if it failed or was incomplete."),
    ("dbhaul_last_rehearsal_duration_seconds", "Time to restore and verify in the last rehearsal."),
];

/// Renders the text format: the help of each metric once, then its samples. No timestamps, which the node exporter
/// rejects.
pub(crate) fn render(samples: &[Sample]) -> String {
    let mut text = String::new();
    for (name, help) in METRICS {
        let mut of_name = samples.iter().filter(|sample| sample.name == *name).peekable();
        if of_name.peek().is_some() {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        }
        for sample in of_name {
            let labels: Vec<String> =
                sample.labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
            let _ = writeln!(text, "{name}{{{}}} {}", labels.join(","), number(sample.value));
        }
    }
    text
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Never with an exponent, which would truncate seconds since 1970.
fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") }
}

/// Replaces the job's group on a Pushgateway. An error is the text of a warning, without the URL.
pub(crate) async fn push(gateway: &str, job: &str, samples: &[Sample], limits: Limits) -> Result<(), String> {
    let job: String = job.bytes().fold(String::new(), |mut text, byte| {
        let _ = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => write!(text, "{}", char::from(byte)),
            other => write!(text, "%{other:02X}"),
        };
        text
    });
    // A grouping label must not be empty, and must equal the label of the samples.
    let request = Request {
        method: Method::Put,
        url: format!("{}/metrics/job/dbhaul/job_id/{job}", gateway.trim_end_matches('/')),
        content_type: "text/plain; version=0.0.4",
        body: render(samples),
    };
    let sent = match Http::new(limits) {
        Ok(http) => http.deliver(&request).await,
        Err(error) => Err(error),
    };
    sent.map_err(|error| format!("metrics were not sent to the Pushgateway: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_has_one_help_over_all_jobs_and_values_are_whole() {
        let sample = |name: &str, job: &str, value: f64| Sample {
            name: name.to_owned(),
            labels: vec![("job_id".to_owned(), job.to_owned())],
            value,
        };
        let text = render(&[
            sample("dbhaul_last_run_exit_code", "a", 0.0),
            sample("dbhaul_last_run_timestamp_seconds", "a", 1_795_000_000.0),
            sample("dbhaul_last_run_timestamp_seconds", "b \"x\"\\\n", 1_795_000_001.25),
            sample("not_ours", "a", 1.0),
        ]);
        assert_eq!(
            text,
            "# HELP dbhaul_last_run_timestamp_seconds When the last nightly run ended.\n\
             # TYPE dbhaul_last_run_timestamp_seconds gauge\n\
             dbhaul_last_run_timestamp_seconds{job_id=\"a\"} 1795000000\n\
             dbhaul_last_run_timestamp_seconds{job_id=\"b \\\"x\\\"\\\\\\n\"} 1795000001.250\n\
             # HELP dbhaul_last_run_exit_code Exit code of the last nightly run; 0 is success.\n\
             # TYPE dbhaul_last_run_exit_code gauge\n\
             dbhaul_last_run_exit_code{job_id=\"a\"} 0\n"
        );
    }
}
