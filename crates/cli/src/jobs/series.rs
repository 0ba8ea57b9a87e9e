//! Which series of snapshots a command works on: the job, and its sources.

use chrono::{DateTime, TimeDelta, Utc};
use repository::{Headers, SnapshotHeader};

use crate::config::Kind;
use crate::endpoint::Endpoint;
use crate::exit;

/// Suffix of the series of snapshots that contain a subset chosen by flags.
pub(crate) const PART: &str = ":part";
/// Clock differences up to this are tolerated before a snapshot counts as dated in the future.
const TOLERANCE: TimeDelta = TimeDelta::minutes(10);

/// The selected series.
#[derive(Debug, Clone, Default)]
pub(crate) struct Series {
    /// Job id; `None` for the only job of the repository.
    pub(crate) job: Option<String>,
    /// Configured sources; empty if the job is not configured here.
    pub(crate) sources: Vec<Configured>,
}

/// A configured source.
#[derive(Debug, Clone)]
pub(crate) struct Configured {
    /// Its name.
    pub(crate) name: String,
    /// Kind of its server.
    pub(crate) kind: Kind,
    /// It represents every database of a server; snapshots name each `NAME/DATABASE`.
    pub(crate) every_database: bool,
}

impl Configured {
    /// A server given by a flag.
    pub(crate) fn of(endpoint: &Endpoint) -> Configured {
        Configured { name: endpoint.name.clone(), kind: endpoint.kind(), every_database: false }
    }

    /// Whether a snapshot's source of this name belongs to this source.
    pub(crate) fn covers(&self, name: &str) -> bool {
        let database = name.strip_prefix(&self.name).and_then(|rest| rest.strip_prefix('/'));
        self.name == name || (self.every_database && database.is_some_and(|database| !database.is_empty()))
    }
}

impl Series {
    /// The job whose snapshots are used. Fails if there are several to choose from.
    pub(crate) fn job<'a>(&'a self, headers: &'a [SnapshotHeader]) -> anyhow::Result<Option<&'a str>> {
        let jobs = jobs(headers);
        match (&self.job, jobs.as_slice()) {
            (Some(job), [_, ..]) if !headers.iter().any(|header| header.job == *job) => {
                Err(unknown(job, &jobs))
            }
            (Some(job), _) => Ok(Some(job)),
            (None, []) => Ok(None),
            (None, [only]) => Ok(Some(only)),
            (None, several) => Err(exit::refused(format!(
                "the repository holds snapshots of several jobs: {}; choose one with --job, or use the configuration of one",
                listed(several)
            ))),
        }
    }

    /// The names of the configured sources in snapshots, of one kind or of both. For every database of a server, the
    /// names are those of the newest snapshot that contains any.
    pub(crate) fn names(&self, kind: Option<Kind>, headers: &[&SnapshotHeader]) -> Vec<String> {
        let mut names = Vec::new();
        for source in self.sources.iter().filter(|source| kind.is_none_or(|kind| source.kind == kind)) {
            let held = |header: &&SnapshotHeader| -> Option<Vec<String>> {
                let of_it = sources(&[*header], None).into_iter().filter(|name| source.covers(name));
                Some(of_it.collect()).filter(|names: &Vec<String>| !names.is_empty())
            };
            match source.every_database.then(|| headers.iter().rev().find_map(held)).flatten() {
                Some(databases) => names.extend(databases),
                None => names.push(source.name.clone()),
            }
        }
        names
    }
}

/// The jobs of these snapshots, without subset series.
pub(crate) fn jobs(headers: &[SnapshotHeader]) -> Vec<&str> {
    let mut jobs: Vec<&str> =
        headers.iter().map(|header| header.job.as_str()).filter(|job| !job.ends_with(PART)).collect();
    jobs.sort_unstable();
    jobs.dedup();
    jobs
}

/// The error for a job without snapshots, most often a misspelled id.
pub(crate) fn unknown(job: &str, jobs: &[&str]) -> anyhow::Error {
    exit::usage(format!(
        "the repository holds no snapshot of job `{job}`; it holds snapshots of: {}",
        listed(jobs)
    ))
}

/// Fails for a job without snapshots, unless the repository contains none at all.
pub(crate) fn require(job: &str, listing: &Headers) -> anyhow::Result<()> {
    let jobs = jobs(&listing.headers);
    match listing.headers.is_empty() || listing.headers.iter().any(|header| header.job == job) {
        true => Ok(()),
        false => Err(unknown(job, &jobs)),
    }
}

/// A list of names in backquotes.
pub(crate) fn listed<T: AsRef<str>>(names: &[T]) -> String {
    names.iter().map(|name| format!("`{}`", name.as_ref())).collect::<Vec<_>>().join(", ")
}

/// Whether a snapshot is dated later than clock differences allow.
pub(crate) fn is_future(header: &SnapshotHeader, now: DateTime<Utc>) -> bool {
    is_after(header.taken_at, now)
}

/// The same for a time.
pub(crate) fn is_after(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    at > now + TOLERANCE
}

/// The snapshots of a job since the newest `--new-lineage`, oldest first.
pub(crate) fn lineage<'a>(of_job: &'a [&'a SnapshotHeader]) -> &'a [&'a SnapshotHeader] {
    let begin = of_job.iter().rposition(|header| header.new_lineage).unwrap_or(0);
    of_job.get(begin..).unwrap_or_default()
}

/// The sources of these snapshots by name, of one kind or of both.
pub(crate) fn sources(headers: &[&SnapshotHeader], kind: Option<Kind>) -> Vec<String> {
    let contents = headers.iter().filter_map(|header| header.contents.as_ref()).flatten();
    let wanted = contents.filter(|content| kind.is_none_or(|kind| content.kind == kind.as_str()));
    let mut names: Vec<String> = wanted.map(|content| content.name.clone()).collect();
    names.sort_unstable();
    names.dedup();
    names
}
