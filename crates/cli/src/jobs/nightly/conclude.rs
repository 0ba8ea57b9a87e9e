//! What follows a run, whatever its outcome: the run state, metrics, notices. Nothing here fails the run.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::state::{LastCheck, LastRun, State};
use super::{Nightly, NightlyRun, Paths, Step, seconds_since};
use crate::config::Occasion;
use crate::failure::Failure;
use crate::jobs::status::{self, Status};
use crate::metrics;
use crate::notify::{DRAIN, Limits, Notice, Notifier};
use crate::report::status::StatusReport;

/// How long a run stopped by a signal waits for its notices.
const DRAIN_WHEN_STOPPED: Duration = Duration::from_secs(10);

pub(super) async fn run(
    nightly: &Nightly<'_>,
    paths: &Paths,
    state: &mut State,
    night: &mut NightlyRun,
    notifier: Notifier,
    stopped: bool,
) {
    let context = nightly.context;
    let was_in_trouble = state.in_trouble;
    record(nightly.step, state, night);
    let status = match (&night.repository, stopped) {
        (Some(repository), false) => {
            if let Some(stored) = night.report.check.as_ref().and_then(|check| check.check.data.as_ref()) {
                state.stored_bytes = Some(stored.of_stored_bytes);
            } else if nightly.step == Step::Backup {
                state.stored_bytes = repository.stats(Utc::now()).await.ok().map(|stats| stats.stored_bytes);
            }
            let asked = Status {
                repository,
                series: &nightly.series,
                job: &night.report.job,
                stale_after: context.config.nightly.stale_after.0,
                state,
                now: Utc::now(),
            };
            status::run(&asked).await.map_err(|error| {
                context
                    .progress
                    .warn(format!("the status of the job is unknown: {}", Failure::of(&error).line()));
            })
        }
        _ => Err(()),
    };
    let status = status.ok();
    occasions(nightly, state, night, status.as_ref(), was_in_trouble);
    state.in_trouble = night.report.has_problem();

    state.samples = metrics::of(
        &night.report.job,
        state,
        context.config.nightly.stale_after.0.num_seconds() as f64,
        status.as_ref(),
    );
    // Saved before the notices, which may take a while.
    save(nightly, paths, state);
    textfile(nightly, paths, state);

    let notice = Notice {
        job: night.report.job.clone(),
        host: night.report.host.clone(),
        at: Utc::now(),
        occasions: night.report.occasions.clone(),
        exit_code: night.report.exit_code,
        text: night.report.notice(context.zone()),
        report: serde_json::to_value(&night.report).unwrap_or_default(),
    };
    let within = if stopped { DRAIN_WHEN_STOPPED } else { DRAIN };
    let last_sent: BTreeMap<String, DateTime<Utc>> = state.last_sent.clone();
    let finish = notifier.finish(&notice, |key| last_sent.get(key).copied(), within);
    let push = tokio::time::timeout(within, push(nightly, &night.report.job, state));
    let (delivered, pushed) = tokio::join!(finish, push);
    if let Ok(Err(warning)) = pushed {
        context.progress.warn(warning);
    } else if pushed.is_err() {
        context.progress.warn("metrics were not sent to the Pushgateway: no answer in time");
    }
    if !delivered.is_empty() {
        state.last_sent.extend(delivered.into_iter().map(|key| (key, notice.at)));
        save(nightly, paths, state);
    }
}

/// Records the outcome of the run.
fn record(step: Step, state: &mut State, night: &NightlyRun) {
    let report = &night.report;
    let run = LastRun {
        started_at: report.started_at,
        seconds: report.seconds,
        exit_code: report.exit_code,
        message: report.trouble(),
    };
    match step {
        Step::Backup => state.backup = Some(run),
        Step::Rehearse => state.rehearsal = Some(run),
    }
    if let Some(check) = &report.check {
        state.check = Some(LastCheck { at: Utc::now(), passed: check.passed() });
    }
    if let Some(taken) = &report.backup {
        state.counted.snapshot.clone_from(&taken.snapshot);
        state.counted.sources.clone_from(&night.counts);
    }
}

/// The events that the run is notified for.
fn occasions(
    nightly: &Nightly<'_>,
    state: &State,
    night: &mut NightlyRun,
    status: Option<&StatusReport>,
    was_in_trouble: bool,
) {
    let report = &mut night.report;
    if report.failed() {
        report.occasions.push(Occasion::Failure);
    }
    if !report.suspicions.is_empty() {
        report.occasions.push(Occasion::Suspicious);
    }
    report.stale = match status {
        Some(status) => {
            let old = status.sources.iter().filter(|source| source.stale || source.taken_at.is_none());
            old.map(|source| (source.name.clone(), source.taken_at)).collect()
        }
        // Without access to the repository, the state of this host is all there is.
        None => previously_stale(nightly, state),
    };
    if !report.stale.is_empty() {
        report.occasions.push(Occasion::Stale);
    }
    if report.occasions.is_empty() && was_in_trouble {
        report.occasions.push(Occasion::Recovered);
    }
}

fn previously_stale(nightly: &Nightly<'_>, state: &State) -> Vec<(String, Option<DateTime<Utc>>)> {
    let now = Utc::now();
    let limit = nightly.context.config.nightly.stale_after.0.num_seconds();
    let succeeded = |sample: &&metrics::Sample| sample.name == "dbhaul_last_success_timestamp_seconds";
    let stale = |sample: &metrics::Sample| {
        let source = sample.labels.iter().find(|(name, _)| name == "source")?.1.clone();
        let at = DateTime::from_timestamp(sample.value as i64, 0)?;
        (seconds_since(at, now) > limit).then_some((source, Some(at)))
    };
    state.samples.iter().filter(succeeded).filter_map(stale).collect()
}

fn save(nightly: &Nightly<'_>, paths: &Paths, state: &State) {
    if let Err(error) = state.write(&paths.state) {
        nightly
            .context
            .progress
            .warn(format!("the outcome of this run was not saved: {}", Failure::of(&error).line()));
    }
}

/// Writes the textfile for all jobs in the state folder: the exporter accepts the help of each metric only once.
fn textfile(nightly: &Nightly<'_>, paths: &Paths, state: &State) {
    let Some(configured) = &nightly.context.config.metrics.textfile else { return };
    let path = metrics::path(&nightly.context.config.folder.join(configured));
    let mut samples = state.samples.clone();
    for other in others(&paths.folder, &paths.state) {
        samples.extend(State::read(&other).0.samples);
    }
    if let Err(error) = metrics::write(&path, &samples) {
        nightly.context.progress.warn(Failure::of(&error).line());
    }
}

/// State files of other jobs in the state folder.
fn others(folder: &Path, own: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|extension| extension == "json") && path != own)
        .collect();
    found.sort();
    found
}

async fn push(nightly: &Nightly<'_>, job: &str, state: &State) -> Result<(), String> {
    let context = nightly.context;
    let Some(gateway) = &context.config.metrics.pushgateway else { return Ok(()) };
    let gateway = crate::config::expand("metrics.pushgateway", gateway, &context.secrets);
    match gateway {
        Ok(gateway) => metrics::push(&gateway, job, &state.samples, Limits::default()).await,
        Err(error) => Err(error.to_string()),
    }
}
