//! Selects a snapshot. For a source, `latest` is the newest snapshot that contains it complete; otherwise the newest
//! that contains every source of the series. It is never a snapshot of fewer sources, of another job, or with a date
//! in the future.

use chrono::Utc;
use repository::{Manifest, Repository, SnapshotHeader, SnapshotId};

use crate::config::Kind;
use crate::exit;
use crate::jobs::record::holds_dump;
use crate::jobs::series::{self, Configured, PART, Series, listed};
use crate::ui::Progress;

/// What the snapshot must contain.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Ask<'a> {
    /// Every source of the series.
    Whole,
    /// The source of this name.
    Source(&'a str),
    /// The source of this kind.
    Kind(Kind),
}

impl<'a> Ask<'a> {
    /// The named source, otherwise the one of this kind.
    pub(crate) fn named_or(name: Option<&'a str>, kind: Kind) -> Ask<'a> {
        name.map_or(Ask::Kind(kind), Ask::Source)
    }

    /// The named source, otherwise all.
    pub(crate) fn named_or_whole(name: Option<&'a str>) -> Ask<'a> {
        name.map_or(Ask::Whole, Ask::Source)
    }
}

/// The snapshot with this id or with the only id that starts so, or `latest`.
pub(crate) async fn snapshot(
    repository: &Repository,
    series: &Series,
    wanted: &str,
    ask: Ask<'_>,
    progress: &Progress,
) -> anyhow::Result<Manifest> {
    if wanted == "latest" {
        let id = latest(repository, series, ask, progress).await?;
        let manifest = repository.find(id.as_str()).await?;
        warn_of_missing(&manifest, progress);
        return Ok(manifest);
    }
    let manifest = repository.find(wanted).await?;
    warn_of_missing(&manifest, progress);
    let part = |job: &str| manifest.job.strip_suffix(PART) == Some(job);
    if let Some(job) = series.job.as_ref().filter(|job| manifest.job != **job && !part(job)) {
        progress.warn(format!("snapshot `{}` is of job `{}`, not of `{job}`", manifest.id, manifest.job));
    } else if let Ask::Whole = ask {
        let covered = |wanted: &Configured| manifest.sources.iter().any(|source| wanted.covers(&source.name));
        let lacking = series.sources.iter().filter(|wanted| !covered(wanted));
        let lacking: Vec<&str> = lacking.map(|wanted| wanted.name.as_str()).collect();
        if !lacking.is_empty() {
            progress.warn(format!(
                "snapshot `{}` is not of every configured source: it lacks {}",
                manifest.id,
                listed(&lacking)
            ));
        }
    }
    Ok(manifest)
}

/// The id that `latest` refers to, which is known without decrypting a snapshot.
pub(crate) async fn latest(
    repository: &Repository,
    series: &Series,
    ask: Ask<'_>,
    progress: &Progress,
) -> anyhow::Result<SnapshotId> {
    // If a newer snapshot cannot be read, do not silently take an older one for the latest.
    let headers =
        repository.headers().await?.readable("name the snapshot you want by its id instead of `latest`")?;
    let nothing = |hint: String| repository::Error::NoSnapshot { wanted: "latest".to_owned(), hint };
    let Some(job) = series.job(&headers)? else {
        return Err(match headers.last() {
            Some(part) => exit::usage(format!(
                "every snapshot of this repository holds only a part that was chosen by flags; to use it, name it: \
                 {}",
                part.id
            )),
            None => nothing("the repository holds no complete snapshot".to_owned()).into(),
        });
    };
    let now = Utc::now();
    let (dumps, restorable): (Vec<_>, Vec<_>) =
        headers.iter().filter(|header| header.job == job).partition(|header| holds_dump(header));
    if let (Some(dump), true) = (dumps.last(), restorable.is_empty()) {
        return Err(nothing(format!(
            "job `{job}` has only imported SQL dumps, which are not restored; the newest is {}",
            dump.id
        ))
        .into());
    }
    let (future, past): (Vec<_>, Vec<_>) =
        restorable.into_iter().partition(|header| series::is_future(header, now));
    for header in &future {
        progress.warn(format!(
            "snapshot `{}` is dated in the future ({}) and is not considered the latest: to use it, name it by its id",
            header.id,
            header.taken_at.format("%Y-%m-%d %H:%M UTC")
        ));
    }
    if past.is_empty() && future.is_empty() {
        return Err(nothing("the repository holds no complete snapshot".to_owned()).into());
    }
    if past.is_empty() {
        return Err(nothing(format!("every snapshot of job `{job}` is dated in the future")).into());
    }
    let names = wanted_names(series, &past, ask);
    let mut newer: Vec<&SnapshotHeader> = Vec::new();
    // Without a configuration, only the snapshot itself records that a source is missing.
    let only_complete = matches!(ask, Ask::Whole) && series.sources.is_empty();
    for header in past.iter().rev() {
        if (header.complete || !only_complete) && holds_all(repository, header, &names).await? {
            warn_of_newer(&newer, &header.id, progress);
            return Ok(header.id.clone());
        }
        newer.push(header);
    }
    match only_complete && !past.iter().any(|header| header.complete) {
        true => Err(nothing(format!("job `{job}` has no complete snapshot")).into()),
        false => Err(not_held(job, &past, &names)),
    }
}

/// The sources that a snapshot must contain; empty if the series' sources are unknown.
fn wanted_names(series: &Series, past: &[&SnapshotHeader], ask: Ask<'_>) -> Vec<String> {
    let kind = match ask {
        Ask::Source(name) => return vec![name.to_owned()],
        Ask::Kind(kind) => Some(kind),
        Ask::Whole => None,
    };
    let configured = series.names(kind, past);
    if configured.is_empty() { series::sources(series::lineage(past), kind) } else { configured }
}

/// Whether a snapshot contains these sources complete. A snapshot whose header does not say is opened, if possible.
async fn holds_all(
    repository: &Repository,
    header: &SnapshotHeader,
    names: &[String],
) -> anyhow::Result<bool> {
    if names.is_empty() {
        return Ok(header.complete);
    }
    if header.contents.is_some() {
        return Ok(names.iter().all(|name| header.holds(name) == Some(true)));
    }
    match repository.find(header.id.as_str()).await {
        Ok(manifest) => {
            Ok(names.iter().all(|name| manifest.sources.iter().any(|source| source.name == *name)))
        }
        Err(error) if error.is_locked() => Ok(header.complete),
        Err(error) => Err(error.into()),
    }
}

/// Warns about newer snapshots that contain only some of the sources.
fn warn_of_newer(newer: &[&SnapshotHeader], chosen: &SnapshotId, progress: &Progress) {
    let Some(newest) = newer.first() else { return };
    let holds = series::sources(&[newest], None);
    progress.note(format!(
        "`latest` is {chosen}; {} is newer and holds only {}",
        newest.id,
        if holds.is_empty() { "part of it".to_owned() } else { listed(&holds) }
    ));
}

/// Warns about sources that failed and are not in the snapshot.
fn warn_of_missing(manifest: &Manifest, progress: &Progress) {
    if !manifest.complete {
        let held: Vec<&str> = manifest.sources.iter().map(|source| source.name.as_str()).collect();
        progress.warn(format!(
            "snapshot `{}` is incomplete: it holds only {}, and another source failed",
            manifest.id,
            listed(&held)
        ));
    }
}

fn not_held(job: &str, past: &[&SnapshotHeader], names: &[String]) -> anyhow::Error {
    let newest_of = |name: &String| {
        let newest = past.iter().rev().find(|header| header.holds(name) == Some(true));
        format!("`{name}`: {}", newest.map_or("no snapshot", |header| header.id.as_str()))
    };
    let newest: Vec<String> = names.iter().map(newest_of).collect();
    let hint = match names {
        [] => format!("job `{job}` has no complete snapshot"),
        [only] => format!(
            "job `{job}` has no complete snapshot of source `{only}`; its snapshots hold: {}",
            listed(&series::sources(past, None))
        ),
        _ => format!(
            "job `{job}` has no complete snapshot of all its sources; the newest of {}",
            newest.join(", of ")
        ),
    };
    repository::Error::NoSnapshot { wanted: "latest".to_owned(), hint }.into()
}
