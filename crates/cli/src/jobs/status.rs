//! Status: combines what the repository records about a job with the outcome of this host's last run.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use repository::{Attestation, AttestationKind, Manifest, Repository, SnapshotHeader, SnapshotId};

use crate::jobs::nightly::plausibility::{SourceCounts, Suspicion};
use crate::jobs::nightly::state::State;
use crate::jobs::record;
use crate::jobs::series::{self, Series};
use crate::report::status::{Newest, Problem, Proof, Severity, SourceStatus, StatusReport};

/// Number of snapshots in a trend.
const TREND: usize = 14;

/// Input of a status report.
pub(crate) struct Status<'a> {
    /// Repository to query.
    pub(crate) repository: &'a Repository,
    /// The job, with its sources if they are configured here.
    pub(crate) series: &'a Series,
    /// Name of the job, in case the repository contains no snapshot of it.
    pub(crate) job: &'a str,
    /// The age at which a backup is stale.
    pub(crate) stale_after: TimeDelta,
    /// Run state of this host.
    pub(crate) state: &'a State,
    /// Current time.
    pub(crate) now: DateTime<Utc>,
}

/// Queries the repository.
pub(crate) async fn run(status: &Status<'_>) -> anyhow::Result<StatusReport> {
    let Status { repository, now, .. } = *status;
    let attested = repository.newest_attestations().await?;
    let known_bad = repository.known_bad(&attested).await?;
    let mut held: BTreeMap<SnapshotId, Vec<(String, SourceCounts)>> = BTreeMap::new();
    let wanted = |manifest: &Manifest| manifest.job == status.job;
    let unreadable = repository
        .visit_snapshots(|manifest: Manifest, _| {
            if wanted(&manifest) {
                let counts =
                    manifest.sources.iter().map(|source| (source.name.clone(), SourceCounts::of(source)));
                held.insert(manifest.id.clone(), counts.collect());
            }
        })
        .await?;
    let headers = repository.headers().await?.headers;
    let past: Vec<&SnapshotHeader> =
        headers.iter().filter(|header| header.job == status.job && !series::is_future(header, now)).collect();
    // Snapshots that dbhaul cannot restore do not count as safe.
    let of_job: Vec<&SnapshotHeader> =
        past.iter().copied().filter(|header| !record::holds_dump(header)).collect();
    let facts = Facts { of_job: &of_job, attested: &attested, known_bad: &known_bad, held: &held };

    let mut names = status.series.names(None, &of_job);
    if names.is_empty() {
        names = series::sources(series::lineage(&of_job), None);
    }
    let sources: Vec<SourceStatus> = names.iter().map(|name| facts.source(name, status)).collect();
    let check = facts.newest(AttestationKind::Check);
    let remembered =
        status.state.check.map(|check| Proof { at: check.at, passed: check.passed, ..Proof::default() });
    let check = [check, remembered].into_iter().flatten().max_by_key(|proof| proof.at);
    let rehearsal = facts.newest(AttestationKind::Rehearsal);
    let newest = of_job.last().map(|header| Newest {
        id: header.id.to_string(),
        taken_at: header.taken_at,
        complete: header.complete,
        plain_bytes: header.stats.plain_bytes,
        stored_bytes: header.stats.stored_bytes,
    });

    let mut problems = Vec::new();
    for source in &sources {
        problems.extend(source_problems(source, status));
    }
    for manifest in &unreadable {
        problems.push(Problem::failure(None, format!("{} cannot be read", manifest.name)));
    }
    if sources.is_empty() {
        problems.push(Problem::failure(None, format!("job `{}` has no snapshot", status.job)));
    }
    if let Some(newest) = newest.as_ref().filter(|newest| !newest.complete) {
        problems.push(Problem::warning(None, format!("the newest snapshot {} is incomplete", newest.id)));
    }
    if check.as_ref().is_some_and(|check| !check.passed) {
        problems.push(Problem::failure(None, "the last check of the repository found damage".to_owned()));
    }
    match &rehearsal {
        Some(rehearsal) if !rehearsal.passed && !rehearsal.incomplete => {
            problems.push(Problem::failure(None, "the last rehearsal failed".to_owned()));
        }
        None if !sources.is_empty() => {
            problems.push(Problem::warning(None, "no snapshot was ever rehearsed".to_owned()));
        }
        _ => {}
    }
    for (run, what) in [(&status.state.backup, "nightly run"), (&status.state.rehearsal, "rehearsal run")] {
        if let Some(run) = run.as_ref().filter(|run| run.exit_code != 0) {
            let message = run.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
            let text =
                format!("the last {what} on this host ended with exit code {}{message}", run.exit_code);
            problems.push(Problem::warning(None, text));
        }
    }
    Ok(StatusReport {
        repository: repository.address(),
        job: status.job.to_owned(),
        at: now,
        safe: !problems.iter().any(|problem| problem.severity == Severity::Failure),
        stale_after_seconds: status.stale_after.num_seconds(),
        sources,
        snapshots: past.len(),
        newest,
        stored_bytes: status.state.stored_bytes,
        check,
        rehearsal,
        rehearsals: facts.rehearsals(),
        last_run: status.state.backup.clone(),
        schedule: None,
        next_run: None,
        problems,
    })
}

/// The newest rehearsal of each snapshot of a job, oldest first, with the time it took.
pub(crate) async fn rehearsals(repository: &Repository, job: &str) -> anyhow::Result<Vec<Proof>> {
    let attested = repository.newest_attestations().await?;
    let headers = repository.headers().await?.headers;
    let of_job: Vec<&SnapshotHeader> = headers.iter().filter(|header| header.job == job).collect();
    let facts = Facts {
        of_job: &of_job,
        attested: &attested,
        known_bad: &Default::default(),
        held: &Default::default(),
    };
    Ok(facts.rehearsals())
}

/// The same of the job of a snapshot; none where the snapshot is not listed.
pub(crate) async fn rehearsals_beside(repository: &Repository, snapshot: &str) -> anyhow::Result<Vec<Proof>> {
    let headers = repository.headers().await?.headers;
    match headers.iter().find(|header| header.id.as_str() == snapshot) {
        Some(header) => rehearsals(repository, &header.job).await,
        None => Ok(Vec::new()),
    }
}

fn source_problems(source: &SourceStatus, status: &Status<'_>) -> Vec<Problem> {
    let name = Some(source.name.clone());
    let mut problems = Vec::new();
    match source.taken_at {
        None => problems.push(Problem::failure(name.clone(), "there is no good backup of it".to_owned())),
        Some(_) if source.stale => {
            let limit = crate::config::units::Span(status.stale_after);
            problems.push(Problem::failure(
                name.clone(),
                format!("its newest good backup is older than {limit}: it is stale"),
            ));
        }
        Some(_) => {}
    }
    for suspicion in &source.suspicions {
        problems.push(Problem::warning(name.clone(), format!("suspicious: {}", suspicion.reason)));
    }
    problems
}

/// What was read from the repository.
struct Facts<'a> {
    of_job: &'a [&'a SnapshotHeader],
    attested: &'a BTreeMap<SnapshotId, Vec<Attestation>>,
    known_bad: &'a std::collections::BTreeSet<SnapshotId>,
    held: &'a BTreeMap<SnapshotId, Vec<(String, SourceCounts)>>,
}

impl Facts<'_> {
    fn finding(&self, id: &SnapshotId, kind: AttestationKind) -> Option<&Attestation> {
        self.attested.get(id)?.iter().find(|finding| finding.kind == kind)
    }

    /// The newest attestation of a kind.
    fn newest(&self, kind: AttestationKind) -> Option<Proof> {
        let found =
            self.of_job.iter().filter_map(|header| self.finding(&header.id, kind).map(|f| (header, f)));
        found.max_by_key(|(_, finding)| finding.at).map(|(header, finding)| proof(&header.id, finding))
    }

    /// The newest rehearsal of each snapshot that has one, oldest first, as far as they record a duration.
    fn rehearsals(&self) -> Vec<Proof> {
        let found = self.of_job.iter().filter_map(|header| {
            self.finding(&header.id, AttestationKind::Rehearsal).map(|finding| proof(&header.id, finding))
        });
        let mut found: Vec<Proof> = found.filter(|proof| !proof.incomplete).collect();
        found.sort_by_key(|proof| proof.at);
        found
    }

    fn counts(&self, id: &SnapshotId, source: &str) -> Option<&SourceCounts> {
        self.held.get(id)?.iter().find(|(name, _)| name == source).map(|(_, counts)| counts)
    }

    fn source(&self, name: &str, status: &Status<'_>) -> SourceStatus {
        let good: Vec<&&SnapshotHeader> = self
            .of_job
            .iter()
            .filter(|header| header.holds(name) == Some(true) && !self.known_bad.contains(&header.id))
            .collect();
        let newest = good.last();
        let remembered = |header: &SnapshotHeader| {
            let is_it = status.state.counted.snapshot == header.id.as_str();
            status.state.counted.sources.get(name).filter(|_| is_it).cloned()
        };
        let counts =
            newest.and_then(|header| self.counts(&header.id, name).cloned().or_else(|| remembered(header)));
        let kind = newest.and_then(|header| header.contents.iter().flatten().find(|held| held.name == name));
        let taken_at = newest.map(|header| header.taken_at);
        let age = taken_at.map(|taken_at| status.now - taken_at);
        let trend = good.iter().rev().take(TREND).rev();
        // With encrypted manifests, only the size of the whole snapshot is known.
        let size = |header: &&&SnapshotHeader| {
            self.counts(&header.id, name).map_or(header.stats.plain_bytes, |counts| counts.bytes)
        };
        let proven = |kind: AttestationKind| {
            let found = good.iter().filter_map(|header| self.finding(&header.id, kind).map(|f| (header, f)));
            let passed = found.filter(|(_, finding)| finding.passed);
            passed
                .max_by_key(|(header, _)| header.taken_at)
                .map(|(header, finding)| proof(&header.id, finding))
        };
        let counted = |of: fn(&SourceCounts) -> u64, is: bool| {
            counts.as_ref().filter(|counts| counts.counted && is).map(of)
        };
        let postgres = kind.is_some_and(|kind| kind.kind == crate::config::Kind::Postgres.as_str());
        SourceStatus {
            name: name.to_owned(),
            kind: kind.map(|kind| kind.kind.clone()).unwrap_or_default(),
            snapshot: newest.map(|header| header.id.to_string()),
            taken_at,
            age_seconds: age.map(|age| age.num_seconds()),
            stale: age.is_some_and(|age| age > status.stale_after),
            bytes: counts.as_ref().map(|counts| counts.bytes),
            rows: counted(SourceCounts::rows, postgres),
            keys: counted(SourceCounts::keys, !postgres),
            trend: trend.map(size).collect(),
            baseline_passed: counts.as_ref().and_then(|counts| counts.baseline_passed),
            checked: proven(AttestationKind::Check),
            rehearsed: proven(AttestationKind::Rehearsal),
            oldest_restore_point: good.first().map(|header| header.taken_at),
            suspicions: newest.map(|header| self.suspicions(&header.id, name)).unwrap_or_default(),
        }
    }

    fn suspicions(&self, id: &SnapshotId, source: &str) -> Vec<Suspicion> {
        let Some(finding) = self.finding(id, AttestationKind::Plausibility).filter(|finding| !finding.passed)
        else {
            return Vec::new();
        };
        let listed: Option<Vec<Suspicion>> =
            finding.details.get("suspicions").and_then(|listed| serde_json::from_value(listed.clone()).ok());
        match listed {
            Some(listed) => listed.into_iter().filter(|suspicion| suspicion.source == source).collect(),
            // The manifest is encrypted: the snapshot is known to be suspicious, but not which source.
            None => vec![Suspicion {
                source: source.to_owned(),
                reason: "it differs suspiciously from the previous snapshot; the reasons are encrypted"
                    .to_owned(),
            }],
        }
    }
}

fn proof(id: &SnapshotId, finding: &Attestation) -> Proof {
    Proof {
        at: finding.at,
        passed: finding.passed,
        incomplete: finding.incomplete,
        snapshot: Some(id.to_string()),
        seconds: finding.details.get("seconds").and_then(serde_json::Value::as_f64),
        age_seconds: finding.details.get("age-seconds").and_then(serde_json::Value::as_i64),
    }
}
