//! Stores and restores the data folder of a Redis or Valkey server.
//!
//! An RDB is stored like a captured one. The files of an AOF with commands are separate parts; to restore them they
//! are written to a private temporary folder, because a replay reads them twice.

use std::path::Path;

use anyhow::Context as _;
use futures::stream::{StreamExt as _, TryStreamExt as _};
use redisdump::aof::FileType;
use redisdump::{FolderCapture, FolderFile, Persistence};
use repository::{PartHeader, Repository, SnapshotWriter, SourceRecord};
use tokio::io::AsyncWriteExt as _;

use crate::config::Kind;
use crate::exit;
use crate::jobs::record::{PART_AOF, PART_RDB, attributes, typed};
use crate::jobs::redis::replay;
use crate::jobs::settings::TargetSettings;
use crate::jobs::temporary;
use crate::report::restore::TargetOutcome;
use crate::ui::Progress;

/// Stores the content of a folder.
pub(crate) async fn store(
    name: &str,
    folder: &Path,
    server: Option<&redisdump::ConnectOptions>,
    writer: &SnapshotWriter,
    progress: &Progress,
) -> anyhow::Result<SourceRecord> {
    if server.is_some_and(redisdump::ConnectOptions::is_cluster) {
        return Err(exit::usage(
            "a data folder belongs to one server, but redis+cluster:// means all: omit the folder, or name its server",
        ));
    }
    let mut capture = FolderCapture::open(folder, server).await?;
    let files = capture.files();
    let reported = capture.warnings().len();
    for warning in capture.warnings() {
        progress.warn(warning);
    }
    let bytes = files.iter().map(|file| file.bytes).sum();
    progress.stage(&format!("copying {name} from {}", folder.display()), Some(bytes));
    let task = progress.task(name, Some(bytes), "keys");
    let rdb = capture.persistence() == Persistence::Rdb;
    let mut parts = Vec::new();
    for (at, file) in files.iter().enumerate() {
        let header = match rdb {
            true => PartHeader::new(format!("{name}/dump.rdb"), PART_RDB),
            false => PartHeader::new(format!("{name}/{at:05}/{}", file.name), PART_AOF),
        };
        let counted = capture.read_next().inspect_ok(|piece| task.advance(piece.len() as u64, 0));
        let mut part = writer.write_part(header, counted.boxed()).await?;
        if !rdb {
            part.attributes = attributes(file)?;
        }
        parts.push(part);
    }
    let report = capture.finish()?;
    task.advance(0, report.rdb.as_ref().map_or(0, redisdump::CaptureReport::keys));
    task.finish();
    for warning in report.warnings.iter().skip(reported) {
        progress.warn(warning);
    }
    let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
    progress.note(format!("taken from {}: {}", folder.display(), names.join(", ")));
    if !report.not_taken.is_empty() {
        progress
            .note(format!("left out, because a server does not load it: {}", report.not_taken.join(", ")));
    }
    let server = serde_json::to_value(&report.server)?;
    // The same details as for a captured RDB, plus those of the folder.
    let mut details = match &report.rdb {
        Some(rdb) => attributes(rdb)?,
        None => serde_json::Map::new(),
    };
    let mut folder = attributes(&report)?;
    folder.remove("rdb");
    details.insert("folder".to_owned(), folder.into());
    Ok(SourceRecord {
        name: name.to_owned(),
        kind: Kind::Redis.as_str().to_owned(),
        server,
        details: details.into(),
        parts,
    })
}

/// Whether a source is stored as an append-only file.
pub(crate) fn is_aof(source: &SourceRecord) -> bool {
    source.parts.iter().any(|part| part.kind == PART_AOF)
}

/// A stored append-only file in a temporary folder, removed on drop.
pub(crate) struct UnpackedFolder {
    _folder: tempfile::TempDir,
    /// The folder, or the only file in it.
    pub(crate) path: std::path::PathBuf,
}

/// Replays a stored AOF into a server.
pub(crate) async fn replay(
    repository: &Repository,
    source: &SourceRecord,
    options: &redisdump::ConnectOptions,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<TargetOutcome> {
    let laid = unpack(repository, source, progress).await?;
    let mut outcome = replay::run(&laid.path, None, options, settings, progress).await?;
    outcome.source.clone_from(&source.name);
    Ok(outcome)
}

/// Writes a stored AOF to a temporary folder.
pub(crate) async fn unpack(
    repository: &Repository,
    source: &SourceRecord,
    progress: &Progress,
) -> anyhow::Result<UnpackedFolder> {
    let folder = temporary::folder("dbhaul-aof-")
        .context("cannot create a temporary folder for the append-only file")?;
    progress.stage(&format!("writing the append-only file of `{}` to a temporary folder", source.name), None);
    let mut manifest = String::new();
    let mut only = folder.path().to_owned();
    for part in source.parts.iter().filter(|part| part.kind == PART_AOF) {
        let file: FolderFile = typed(part.attributes.clone().into(), &format!("part `{}`", part.name))?;
        // File names are rebuilt: a name from a manifest could point anywhere.
        let name = match (file.file_type, file.sequence) {
            (Some(FileType::Base), Some(n)) => {
                let end = if file.name.ends_with(".rdb") { "rdb" } else { "aof" };
                let name = format!("appendonly.aof.{n}.base.{end}");
                manifest.push_str(&format!("file {name} seq {n} type b\n"));
                name
            }
            (Some(_), Some(n)) => {
                let name = format!("appendonly.aof.{n}.incr.aof");
                manifest.push_str(&format!("file {name} seq {n} type i\n"));
                name
            }
            _ => {
                only = folder.path().join("appendonly.aof");
                "appendonly.aof".to_owned()
            }
        };
        let path = folder.path().join(&name);
        let room = || {
            format!(
                "cannot write {} (there must be room for the append-only file; TMPDIR says where)",
                path.display()
            )
        };
        let mut out = temporary::file(&path).await.with_context(room)?;
        let mut stream = repository.read_part(part).boxed();
        while let Some(piece) = stream.try_next().await? {
            out.write_all(&piece).await.with_context(room)?;
        }
        out.flush().await.with_context(room)?;
        let modified = file.modified_ms.and_then(|ms| u64::try_from(ms).ok());
        if let Some(modified) = modified {
            // Relative expiries without a date are relative to the modification time.
            let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(modified);
            out.into_std().await.set_modified(time).with_context(room)?;
        }
    }
    if !manifest.is_empty() {
        let mut out = temporary::file(&folder.path().join("appendonly.aof.manifest")).await?;
        out.write_all(manifest.as_bytes()).await?;
        out.flush().await?;
    }
    Ok(UnpackedFolder { _folder: folder, path: only })
}
