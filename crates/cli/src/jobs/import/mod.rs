//! Import: turns files of earlier backup scripts into snapshots, dated by their names so that retention sees one
//! history.
//!
//! A pg_dump script is stored byte for byte, as a source of a kind of its own, which is kept and checked but not
//! restored. The data folder of a Redis server becomes a snapshot that can be restored. Nothing is stored of a file
//! that is not proven intact.

mod archive;
mod file;
mod name;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use futures::stream::TryStreamExt as _;
use repository::{PartHeader, Repository, SnapshotHeader, SnapshotStart, SnapshotWriter, SourceRecord};

use self::file::{Content, Fault, ValidFile};
use crate::exit;
use crate::jobs::record::{ImportDetails, KIND_SQL_DUMP, PART_FILE};
use crate::jobs::redis::data_folder;
use crate::jobs::{series, temporary};
use crate::report::import::{ImportOutcome, ImportReport, ImportedFile};
use crate::ui::Progress;

/// Settings of an import.
pub(crate) struct Import<'a> {
    /// Repository to write to.
    pub(crate) repository: &'a Repository,
    /// Job id, which is the series.
    pub(crate) job: &'a str,
    /// Files, and folders with files.
    pub(crate) paths: &'a [PathBuf],
    /// Source that PostgreSQL dumps belong to.
    pub(crate) postgres: &'a str,
    /// Source that Redis data folders belong to.
    pub(crate) redis: &'a str,
    /// Time zone of the dates in file names.
    pub(crate) zone: chrono_tz::Tz,
    /// Store nothing.
    pub(crate) dry_run: bool,
    /// Progress display.
    pub(crate) progress: &'a Progress,
}

/// Imports the files one by one. A file that fails does not stop the others.
pub(crate) async fn run(import: &Import<'_>) -> anyhow::Result<ImportReport> {
    let ImportPaths { files, ignored } = collect(import.paths)?;
    if files.is_empty() {
        return Err(exit::usage("there is no file to import: names of backups end with .sql.gz or .tar.gz"));
    }
    let mut known = import.repository.headers().await?.headers;
    known.retain(|header| header.job == import.job);
    let mut report =
        ImportReport { job: import.job.to_owned(), dry_run: import.dry_run, files: Vec::new(), ignored };
    for (path, content) in files {
        let (taken_at, outcome) = one(import, &path, content, &mut known)
            .await
            .with_context(|| format!("cannot import {}", path.display()))?;
        if let Some(complaint) = outcome.complaint() {
            import.progress.warn(format!("{}: {complaint}", path.display()));
        }
        let source = match content {
            Content::Sql => import.postgres,
            Content::RedisFolder => import.redis,
        };
        report.files.push(ImportedFile { path, source: source.to_owned(), taken_at, outcome });
    }
    Ok(report)
}

/// What was found at the paths of an import.
#[derive(Default)]
struct ImportPaths {
    /// Backup files.
    files: Vec<(PathBuf, Content)>,
    /// Other files in the folders.
    ignored: Vec<PathBuf>,
}

/// Lists files and folders, sorted by name.
fn collect(paths: &[PathBuf]) -> anyhow::Result<ImportPaths> {
    let mut found = ImportPaths::default();
    for path in paths {
        let there =
            path.metadata().map_err(|e| exit::usage(format!("cannot read {}: {e}", path.display())))?;
        if there.is_dir() {
            walk(path, &mut found)?;
            continue;
        }
        let content = content(path).ok_or_else(|| {
            exit::usage(format!(
                "{} cannot be imported: its name ends neither with .sql.gz nor with .tar.gz",
                path.display()
            ))
        })?;
        found.files.push((path.clone(), content));
    }
    found.files.sort_by(|a, b| a.0.cmp(&b.0));
    found.files.dedup_by(|a, b| a.0 == b.0);
    found.ignored.sort();
    Ok(found)
}

fn walk(folder: &Path, found: &mut ImportPaths) -> anyhow::Result<()> {
    let cannot = || format!("cannot read {}", folder.display());
    for entry in std::fs::read_dir(folder).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let (path, kind) = (entry.path(), entry.file_type().with_context(cannot)?);
        if kind.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "sha256") {
            // Read together with the file that it belongs to.
        } else if let Some(content) = content(&path).filter(|_| kind.is_file()) {
            found.files.push((path, content));
        } else {
            found.ignored.push(path);
        }
    }
    Ok(())
}

fn content(path: &Path) -> Option<Content> {
    Content::of(&path.file_name()?.to_string_lossy())
}

async fn one(
    import: &Import<'_>,
    path: &Path,
    content: Content,
    known: &mut Vec<SnapshotHeader>,
) -> anyhow::Result<(Option<DateTime<Utc>>, ImportOutcome)> {
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(taken_at) = name::date(&file_name, import.zone) else {
        let message = "its name contains no date for the snapshot".to_owned();
        return Ok((None, ImportOutcome::Unusable { message }));
    };
    if series::is_after(taken_at, Utc::now()) {
        let message = "its name is dated in the future: is the zone right?".to_owned();
        return Ok((Some(taken_at), ImportOutcome::Unusable { message }));
    }
    import.progress.stage(&format!("verifying {}", path.display()), None);
    let examined = path.to_owned();
    let valid = tokio::task::spawn_blocking(move || file::examine(&examined, content)).await??;
    let valid = match valid {
        Ok(valid) => valid,
        Err(Fault::Suspect(message)) => return Ok((Some(taken_at), ImportOutcome::Suspect { message })),
        Err(Fault::Damaged(message)) => return Ok((Some(taken_at), ImportOutcome::Damaged { message })),
    };
    let identity = format!("imported file with SHA-256 {}", valid.sha256);
    if let Some(header) = known.iter().find(|header| holds(import.repository, header, &identity)) {
        return Ok((Some(taken_at), ImportOutcome::Present { snapshot: header.id.to_string() }));
    }
    let details = ImportDetails {
        file: file_name,
        sha256: valid.sha256.clone(),
        bytes: path.metadata()?.len(),
        plain_bytes: valid.plain_bytes,
    };
    let source = match content {
        Content::Sql => import.postgres,
        Content::RedisFolder => import.redis,
    };
    // An archive is unpacked in a dry run too: it may contain no Redis data.
    let unpacked = match content {
        Content::Sql => None,
        Content::RedisFolder => {
            let into = temporary::folder("dbhaul-import-")?;
            let (archive, below) = (path.to_owned(), into.path().to_owned());
            match tokio::task::spawn_blocking(move || archive::unpack(&archive, &below)).await?? {
                Ok(folder) => Some((into, folder)),
                Err(message) => return Ok((Some(taken_at), ImportOutcome::Unusable { message })),
            }
        }
    };
    if import.dry_run {
        return Ok((Some(taken_at), ImportOutcome::Importable));
    }
    let mut start = SnapshotStart::new(import.job, taken_at, concat!("dbhaul ", env!("CARGO_PKG_VERSION")));
    start.identities.insert(source.to_owned(), identity);
    let writer = import.repository.begin(start).await.context("cannot begin a snapshot")?;
    let stored = match &unpacked {
        None => store_dump(import, source, path, &valid, &details, &writer).await,
        Some((_, folder)) => store_folder(import, source, folder, &details, &writer).await,
    };
    let record = match stored {
        Ok(record) => record,
        Err(error) => {
            writer.abandon().await;
            return Err(error);
        }
    };
    let manifest = writer
        .commit(vec![record], true)
        .await
        .context("cannot write the manifest: no snapshot is listed")?;
    let id = manifest.id.to_string();
    known.extend(
        import.repository.headers().await?.headers.into_iter().filter(|header| header.id == manifest.id),
    );
    Ok((Some(taken_at), ImportOutcome::Imported { snapshot: id, stored_bytes: manifest.stats.stored_bytes }))
}

/// Whether a snapshot was imported from exactly this file.
fn holds(repository: &Repository, header: &SnapshotHeader, identity: &str) -> bool {
    let stored = repository.identity_as_stored(identity);
    let mut identities = header.contents.iter().flatten().filter_map(|content| content.identity.as_ref());
    identities.any(|held| *held == stored || held == identity)
}

async fn store_dump(
    import: &Import<'_>,
    source: &str,
    path: &Path,
    valid: &ValidFile,
    details: &ImportDetails,
    writer: &SnapshotWriter,
) -> anyhow::Result<SourceRecord> {
    let task = import.progress.task(details.file.clone(), Some(details.bytes), "files");
    let file = tokio::fs::File::open(path).await?;
    let pieces = futures::stream::try_unfold(file, async |mut file| {
        let mut piece = bytes::BytesMut::with_capacity(1 << 18);
        let read = tokio::io::AsyncReadExt::read_buf(&mut file, &mut piece).await?;
        std::io::Result::Ok((read > 0).then(|| (piece.freeze(), file)))
    });
    let counted = pieces.inspect_ok(|piece| task.advance(piece.len() as u64, 0));
    let header = PartHeader::new(format!("{source}/{}", details.file), PART_FILE);
    let part = writer.write_part(header, counted).await?;
    anyhow::ensure!(part.sha256 == valid.sha256, "the file changed while it was read");
    task.advance(0, 1);
    task.finish();
    let server = match &valid.dumped_from {
        Some(version) => serde_json::json!({ "version": version }),
        None => serde_json::json!({}),
    };
    Ok(SourceRecord {
        name: source.to_owned(),
        kind: KIND_SQL_DUMP.to_owned(),
        server,
        details: serde_json::to_value(details)?,
        parts: vec![part],
    })
}

async fn store_folder(
    import: &Import<'_>,
    source: &str,
    folder: &Path,
    details: &ImportDetails,
    writer: &SnapshotWriter,
) -> anyhow::Result<SourceRecord> {
    let mut record = data_folder::store(source, folder, None, writer, import.progress).await?;
    if let serde_json::Value::Object(held) = &mut record.details {
        held.insert("import".to_owned(), serde_json::to_value(details)?);
    }
    Ok(record)
}
