//! Backup: streams sources into repository parts, writes one manifest, then applies retention.

use std::collections::VecDeque;

use anyhow::Context as _;
use chrono::Utc;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use repository::{PartHeader, Repository, SnapshotStart, SnapshotWriter, SourceRecord};

use crate::config::Kind;
use crate::endpoint::{Connection, Endpoint, Globals};
use crate::failure::Failure;
use crate::jobs::json_pieces::json_pieces;
use crate::jobs::postgres::databases;
use crate::jobs::postgres::source::{ReadOptions, digest_views, open_source, sum_by_table};
use crate::jobs::record::{
    CopyAttributes, PART_CATALOG, PART_COPY, PART_GLOBALS, PART_RDB, PostgresDetails, TableRecord,
    attributes, note_reached, note_times,
};
use crate::jobs::redis::{cluster, data_folder};
use crate::jobs::series::{Configured, PART};
use crate::jobs::{baseline, clock, forget, lineage};
use crate::jobs::{postgres, redis};
use crate::report::backup::{BackupReport, SourceOutcome};
use crate::ui::Progress;

/// Settings of a backup.
pub(crate) struct Backup<'a> {
    /// Repository to write to.
    pub(crate) repository: &'a Repository,
    /// Job id, which is the series.
    pub(crate) job: &'a str,
    /// Sources to back up.
    pub(crate) sources: &'a [Endpoint],
    /// All sources of the job, including those not backed up this time.
    pub(crate) declared: &'a [Configured],
    /// Accept other sources than those of earlier snapshots.
    pub(crate) new_lineage: bool,
    /// Tags of the snapshot.
    pub(crate) tags: &'a std::collections::BTreeSet<String>,
    /// Connections per source.
    pub(crate) jobs: usize,
    /// How to read PostgreSQL sources.
    pub(crate) reading: ReadOptions,
    /// Policy to apply after a complete backup.
    pub(crate) retention: Option<&'a retention::Policy>,
    /// Progress display.
    pub(crate) progress: &'a Progress,
}

/// Takes one snapshot of all sources. If a source fails, the snapshot is marked incomplete: retention does not count
/// it and `latest` does not select it. If every source fails, no snapshot is written.
pub(crate) async fn run(backup: Backup<'_>) -> anyhow::Result<BackupReport> {
    let sources = databases::expand(backup.sources).await;
    let known: Vec<&Endpoint> =
        sources.iter().filter(|(_, unlisted)| unlisted.is_none()).map(|(source, _)| source).collect();
    let identities = lineage::identities(&known).await;
    // Retention ignores subsets chosen by flags.
    if !backup.new_lineage && !backup.job.ends_with(PART) {
        let Backup { repository, job, declared, .. } = backup;
        lineage::check(repository, job, &known, declared, &identities).await?;
    }
    let started = Utc::now();
    let mut start = SnapshotStart::new(backup.job, started, concat!("dbhaul ", env!("CARGO_PKG_VERSION")));
    start.identities = identities;
    start.new_lineage = backup.new_lineage;
    start.tags = backup.tags.clone();
    let writer = backup.repository.begin(start).await.context("cannot begin a snapshot")?;

    let mut records = Vec::new();
    let mut outcomes = Vec::new();
    let number = sources.len();
    for (source, unlisted) in sources {
        let source = &source;
        let done = match unlisted {
            Some(error) => Err(error),
            None => one(source, &writer, &backup).await.map_err(|error| source.explain(error)),
        };
        match done {
            Ok(record) => {
                outcomes.push(SourceOutcome::done(source, &record));
                records.push(record);
            }
            // With a single source there is nothing to save: its error is the command's.
            Err(error) if number == 1 => {
                writer.abandon().await;
                return Err(error.context(format!(
                    "no snapshot was created: source `{}` ({}) was not backed up",
                    source.name,
                    source.shown()
                )));
            }
            Err(error) => {
                let message = Failure::of(&error).line();
                backup.progress.note(format!("source `{}` failed", source.name));
                outcomes.push(SourceOutcome::failed(source, message));
            }
        }
    }
    if records.is_empty() {
        writer.abandon().await;
        let messages: Vec<String> = outcomes.iter().filter_map(SourceOutcome::complaint).collect();
        anyhow::bail!("no snapshot was created: no source could be backed up\n  {}", messages.join("\n  "));
    }
    for message in outcomes.iter().filter_map(SourceOutcome::complaint) {
        backup.progress.warn(message);
    }

    let complete = records.len() == number;
    let before = Utc::now();
    let manifest =
        writer.commit(records, complete).await.context("cannot write the manifest: no snapshot is listed")?;
    let after = Utc::now();
    // The snapshot exists; do not fail if the store reports no time.
    let stored_at = backup.repository.stored_at(&manifest.id).await.ok().flatten();
    if let Some(offset) = stored_at.and_then(|stored_at| clock::offset(before, stored_at, after)) {
        backup.progress.warn(clock::warning(offset));
    }
    // The snapshot is saved, whatever is wrong with older ones.
    let old = backup.repository.not_restorable().await.unwrap_or_else(|error| {
        backup
            .progress
            .warn(format!("cannot tell whether current recipients can restore older snapshots: {error}"));
        Vec::new()
    });
    let old: Vec<String> = old.iter().map(ToString::to_string).collect();
    if !old.is_empty() {
        backup.progress.warn(format!(
            "no current recipient can restore these snapshots alone: {}; `dbhaul key rotate` encrypts them for the current \
             recipients",
            old.join(", ")
        ));
    }
    let forgotten = match backup.retention {
        Some(policy) if complete => {
            Some(forget::run(backup.repository, backup.job, policy, None, false, backup.progress).await)
        }
        _ => None,
    };
    let (forgotten, failed) = match forgotten.transpose() {
        Ok(forgotten) => (forgotten, None),
        Err(error) => (None, Some(Failure::of(&error).line())),
    };
    let report = BackupReport::new(&manifest, outcomes, forgotten);
    Ok(BackupReport { retention_error: failed, ..report })
}

async fn one(
    source: &Endpoint,
    writer: &SnapshotWriter,
    backup: &Backup<'_>,
) -> anyhow::Result<SourceRecord> {
    let started = Utc::now();
    let mut record = match &source.connection {
        Connection::Postgres(options) => postgres(source, options, writer, backup).await?,
        Connection::Redis(options) => match &source.data_dir {
            Some(folder) => {
                data_folder::store(&source.name, folder, Some(options), writer, backup.progress).await?
            }
            None if options.is_cluster() => cluster::store(source, options, writer, backup.progress).await?,
            None => redis(source, options, writer, backup).await?,
        },
        Connection::Folder(folder) => {
            data_folder::store(&source.name, folder, None, writer, backup.progress).await?
        }
    };
    record.parts.extend(redis::acl::store(source, writer, backup.progress).await?);
    note_times(&mut record.details, started, Utc::now());
    note_reached(&mut record.details, source.transport.as_ref().and_then(|transport| transport.reached()));
    Ok(record)
}

async fn postgres(
    endpoint: &Endpoint,
    options: &pgmove::ConnectOptions,
    writer: &SnapshotWriter,
    backup: &Backup<'_>,
) -> anyhow::Result<SourceRecord> {
    let progress = backup.progress;
    let name = &endpoint.name;
    let source = open_source(options, &endpoint.filter, backup.jobs, backup.reading, progress).await?;
    // A backup of an untested version is better than none; the restore decides whether it can use it.
    for untried in source.catalog().untried() {
        progress.warn(format!(
            "{untried}; it is backed up unchanged; whether it can be restored is checked by the restore"
        ));
    }
    for warning in source.catalog().timescale.iter().flat_map(|timescale| &timescale.warnings) {
        progress.warn(warning);
    }

    let header = PartHeader::new(format!("{name}/catalog.json"), PART_CATALOG);
    let mut parts = vec![writer.write_part(header, json_pieces(source.shared_catalog())).await?];
    parts.extend(postgres::scripts::write(name, source.catalog(), writer).await?);
    parts.extend(postgres::statistics::store(name, &source, writer).await?);

    if endpoint.globals != Globals::Leave {
        let passwords = endpoint.globals == Globals::TakeWithPasswords;
        let globals = serde_json::to_vec(&pgmove::globals::read_globals(options, passwords).await?)?;
        let header = PartHeader::new(format!("{name}/globals.json"), PART_GLOBALS);
        parts.push(writer.write_part(header, once(globals)).await?);
    }

    let slices = source.slices();
    progress.stage(
        &format!("copying {} from {}", name, source.server()),
        Some(slices.iter().map(|slice| slice.estimated_bytes).sum()),
    );
    let mut pending: VecDeque<(usize, &pgmove::TableSlice)> = slices.iter().enumerate().collect();
    let next = || {
        let wanted = source.first_wanted(pending.iter().map(|(_, slice)| *slice));
        pending.remove(wanted.unwrap_or(0))
    };
    let mut copied: Vec<(repository::Part, CopyAttributes)> = stream::iter(std::iter::from_fn(next))
        .map(|(at, slice)| {
            let source = &source;
            async move {
                let task = progress.task(slice.to_string(), Some(slice.estimated_bytes), "rows");
                let mut copy = source.copy_out(slice).await?;
                let header = PartHeader::new(format!("{name}/{at:05}/{}", slice.table), PART_COPY);
                let counted = (&mut copy).inspect_ok(|chunk| task.advance(chunk.len() as u64, 0));
                let mut part = writer.write_part(header, counted).await?;
                let proof = copy.proof().context("the copy ended without a proof")?;
                task.advance(0, proof.rows);
                task.finish();
                let described =
                    CopyAttributes { table: slice.table.clone(), columns: slice.columns.clone(), proof };
                part.attributes = attributes(&described)?;
                anyhow::Ok((part, described))
            }
        })
        .buffer_unordered(backup.jobs)
        .try_collect()
        .await?;
    // Sorted, so that the same database gives the same manifest whichever worker finishes first.
    copied.sort_by(|a, b| a.0.name.cmp(&b.0.name));

    let tables = sum_by_table(copied.iter().map(|(_, described)| (&described.table, &described.proof)));
    let details = PostgresDetails {
        taken_at: source.taken_at(),
        tables: tables.into_iter().map(|(table, proof)| TableRecord { table, proof }).collect(),
        materialized_views: digest_views(&source, backup.jobs).await?,
        baseline: baseline::check_source(endpoint, source.catalog(), progress)?,
        filter: endpoint.filter.clone(),
        state: source.state().clone(),
    };
    let server = serde_json::to_value(source.server())?;
    source.notes().iter().for_each(|note| progress.warn(note));
    source.finish().await?;
    parts.extend(copied.into_iter().map(|(part, _)| part));
    Ok(SourceRecord {
        name: name.clone(),
        kind: Kind::Postgres.as_str().to_owned(),
        server,
        details: serde_json::to_value(details)?,
        parts,
    })
}

async fn redis(
    endpoint: &Endpoint,
    options: &redisdump::ConnectOptions,
    writer: &SnapshotWriter,
    backup: &Backup<'_>,
) -> anyhow::Result<SourceRecord> {
    let progress = backup.progress;
    let method = redisdump::CaptureOptions::by(endpoint.capture);
    let mut capture = redisdump::Capture::start(options, &method).await?;
    for warning in capture.warnings() {
        progress.warn(warning);
    }
    progress.stage(&format!("copying {} from {}", endpoint.name, capture.server()), None);
    let task = progress.task(endpoint.name.clone(), None, "keys");
    let header = PartHeader::new(format!("{}/dump.rdb", endpoint.name), PART_RDB);
    let counted = (&mut capture).inspect_ok(|chunk| task.advance(chunk.len() as u64, 0));
    let part = writer.write_part(header, counted).await?;
    let report = capture.report().context("the capture ended without a report")?;
    task.advance(0, report.keys());
    task.finish();
    Ok(SourceRecord {
        name: endpoint.name.clone(),
        kind: Kind::Redis.as_str().to_owned(),
        server: serde_json::to_value(&report.server)?,
        details: serde_json::to_value(&report)?,
        parts: vec![part],
    })
}

pub(crate) fn once(
    bytes: Vec<u8>,
) -> impl futures::Stream<Item = Result<bytes::Bytes, std::convert::Infallible>> {
    stream::iter([Ok(bytes::Bytes::from(bytes))])
}
