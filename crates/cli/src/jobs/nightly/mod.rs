//! Nightly: lock, backup, comparison with the previous snapshot, retention, sample check; then metrics and notices,
//! whatever the outcome. With `--rehearse`, a rehearsal instead of the backup.
//!
//! The order makes it safe: nothing is removed before the new snapshot is complete and compared, and if it looks
//! wrong, the one it was compared with is pinned.

mod conclude;
mod keep_before;
pub(crate) mod lock;
pub(crate) mod plausibility;
pub(crate) mod state;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use repository::Repository;

use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::interrupt::Signals;
use crate::jobs::backup::{self, Backup};
use crate::jobs::check::{self, Reading};
use crate::jobs::postgres::source::ReadOptions;
use crate::jobs::series::{Configured, Series};
use crate::jobs::{forget, rehearse};
use crate::notify::{Channel, Limits, Notifier};
use crate::report::nightly::NightlyReport;
use plausibility::SourceCounts;
use state::State;

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Take a backup.
    Backup,
    /// Rehearse the newest snapshot.
    Rehearse,
}

impl Step {
    fn command(self) -> &'static str {
        match self {
            Step::Backup => "nightly",
            Step::Rehearse => "nightly --rehearse",
        }
    }
}

/// Settings of a run.
pub(crate) struct Nightly<'a> {
    /// Configuration, repository and progress.
    pub(crate) context: &'a Context,
    /// What to do.
    pub(crate) step: Step,
    /// The sources. A configuration error in one is reported like any other failure.
    pub(crate) sources: anyhow::Result<Vec<Endpoint>>,
    /// All sources of the job.
    pub(crate) declared: Vec<Configured>,
    /// Series of the job.
    pub(crate) series: Series,
    /// Lock timeout.
    pub(crate) lock_wait: Option<Duration>,
    /// Connections per source.
    pub(crate) jobs: usize,
    /// How long to wait for another run of the job.
    pub(crate) wait: Duration,
}

/// Paths of a job's state on this host.
pub(crate) struct Paths {
    pub(crate) folder: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) lock: PathBuf,
}

impl Paths {
    /// Paths in this state folder.
    pub(crate) fn of(folder: &Path, job: &str) -> Paths {
        Paths {
            folder: folder.to_owned(),
            state: folder.join(state::file_name(job, "json")),
            lock: folder.join(state::file_name(job, "lock")),
        }
    }
}

/// Progress of a run, kept even if the run is stopped.
#[derive(Default)]
struct NightlyRun {
    report: NightlyReport,
    repository: Option<Repository>,
    counts: BTreeMap<String, SourceCounts>,
}

/// Runs once. The report is complete even if the run failed; the error is returned separately.
pub(crate) async fn run(mut nightly: Nightly<'_>) -> anyhow::Result<(NightlyReport, Option<anyhow::Error>)> {
    let context = nightly.context;
    let job = context.config.job.id.clone();
    let started_at = Utc::now();
    let began = std::time::Instant::now();
    let folder = state::folder(&context.config, &context.secrets)?;
    lock::private_folder(&folder)?;
    let paths = Paths::of(&folder, &job);
    // Before the notice that the run has begun: from then on a signal must end it with a notice too.
    let mut signals = Signals::listen()?;
    let lock = lock::acquire(&paths.lock, &job, nightly.step.command(), started_at, nightly.wait);
    let _lock = signals.stop(lock).await?;
    let (mut state, warning) = State::read(&paths.state);
    if let Some(warning) = warning {
        context.progress.warn(warning);
    }
    let channels = Channel::configured(&context.config, &context.secrets, &context.progress);
    let notifier = Notifier::start(channels, Limits::default(), &context.progress);

    let mut night = NightlyRun::default();
    night.report.job = job;
    night.report.host = host();
    night.report.step = nightly.step.command();
    night.report.started_at = started_at;
    let sources = std::mem::replace(&mut nightly.sources, Ok(Vec::new()));
    let work = async {
        match nightly.step {
            Step::Backup => back_up(&nightly, sources, &state, &mut night).await,
            Step::Rehearse => rehearse_newest(&nightly, &mut night).await,
        }
    };
    let error = signals.stop(work).await.err();
    let stopped = error.as_ref().map(crate::exit::code_of) == Some(Exit::Interrupted);
    night.report.error = error.as_ref().map(Failure::of);
    night.report.exit_code = night.report.exit(error.as_ref()).code();
    night.report.seconds = began.elapsed().as_secs_f64();
    conclude::run(&nightly, &paths, &mut state, &mut night, notifier, stopped).await;
    Ok((night.report, error))
}

async fn back_up(
    nightly: &Nightly<'_>,
    sources: anyhow::Result<Vec<Endpoint>>,
    state: &State,
    night: &mut NightlyRun,
) -> anyhow::Result<()> {
    let context = nightly.context;
    let (config, progress) = (&context.config, &context.progress);
    // Opened first, so that the job's status can be reported even if its sources are misconfigured.
    let repository = night.repository.insert(context.open_repository().await?);
    let sources = sources?;
    let taken = backup::run(Backup {
        repository,
        job: &config.job.id,
        sources: &sources,
        declared: &nightly.declared,
        new_lineage: false,
        tags: &std::collections::BTreeSet::new(),
        jobs: nightly.jobs,
        reading: ReadOptions { lock_wait: nightly.lock_wait, rate: config.job.rate_limit },
        // Retention waits until the snapshot has been compared.
        retention: None,
        progress,
    })
    .await?;
    night.counts = taken.counts.clone();
    let (snapshot, complete) = (taken.snapshot.clone(), taken.complete);
    let report = &mut night.report;
    report.backup = Some(taken);

    let comparison = keep_before::Comparison {
        repository,
        job: &config.job.id,
        snapshot: &snapshot,
        now: &night.counts,
        remembered: &state.counted,
        limits: plausibility::Limits {
            shrink: config.nightly.alert_shrink.0,
            except: &config.nightly.alert_shrink_except,
        },
        progress,
    };
    let compared = match comparison.run(Utc::now()).await {
        Ok(findings) => {
            report.suspicions = findings.suspicions;
            report.pinned = findings.pinned.iter().map(ToString::to_string).collect();
            true
        }
        Err(error) => {
            let message = Failure::of(&error).line();
            report.troubles.push(format!("the snapshot was not compared with the one before it: {message}"));
            false
        }
    };
    // A missing source or comparison prevents deletion.
    if let Some(policy) = config.retention.as_ref().filter(|_| complete && compared) {
        match forget::run(repository, &config.job.id, policy, None, false, progress).await {
            Ok(applied) => report.retention = Some(applied),
            Err(error) => report.troubles.push(format!("retention failed: {}", Failure::of(&error).line())),
        }
    }
    if let Some(portion) = config.nightly.check_after.0 {
        let reading = match (repository.can_read(), portion) {
            // A host that cannot decrypt can still find missing chunks.
            (false, _) => Reading::Nothing,
            (true, repository::Portion::BasisPoints(10_000)) => Reading::Everything,
            (true, portion) => Reading::Portion(portion),
        };
        match check::run(repository, reading, false, progress).await {
            Ok(checked) => report.check = Some(checked),
            Err(error) => {
                report
                    .troubles
                    .push(format!("the repository was not checked: {}", Failure::of(&error).line()));
            }
        }
    }
    Ok(())
}

async fn rehearse_newest(nightly: &Nightly<'_>, night: &mut NightlyRun) -> anyhow::Result<()> {
    let context = nightly.context;
    let repository = night.repository.insert(context.open_repository().await?);
    let gate = rehearse::BaselineSettings { file: None, environment: None, context };
    let (report, _) =
        rehearse::attempt(repository, &nightly.series, "latest", &gate, nightly.jobs, &context.progress)
            .await?;
    night.report.rehearsal = Some(report);
    Ok(())
}

/// Name of this host.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Whole seconds between two times.
fn seconds_since(from: DateTime<Utc>, to: DateTime<Utc>) -> i64 {
    (to - from).num_seconds()
}
