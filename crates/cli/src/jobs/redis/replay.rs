//! Replay: loads the base of an append-only file, then its commands, into a Redis or Valkey target.

use std::path::{Path, PathBuf};

use redisdump::aof::Files;

use crate::jobs::redis;
use crate::jobs::replacing;
use crate::jobs::settings::TargetSettings;
use crate::report::restore::TargetOutcome;
use crate::ui::Progress;

/// What a path contains.
pub(crate) enum FileContent {
    /// An RDB.
    Rdb(PathBuf),
    /// An append-only file, of one or several parts.
    Aof,
}

/// Examines a path: a file, a manifest, or a folder.
pub(crate) async fn look(path: &Path) -> anyhow::Result<FileContent> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || {
        let files = Files::locate(&path)?;
        Ok(match files.parts.as_slice() {
            [file] if !files.is_aof()? => FileContent::Rdb(file.path.clone()),
            _ => FileContent::Aof,
        })
    })
    .await?
}

/// Replays an append-only file into a server.
pub(crate) async fn run(
    path: &Path,
    until: Option<i64>,
    options: &redisdump::ConnectOptions,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<TargetOutcome> {
    replacing::redis(options, settings, replacing::keys_of_aof(path), progress).await?;
    redis::load::warn_of_evictions(options, progress).await?;
    let source = path.display().to_string();
    progress.stage(&format!("replaying `{source}` into {}", options.display()), None);
    let task = progress.task(&source, None, "keys");
    let replayed =
        redisdump::apply_aof(path, options, &settings.redis, until, &|at| task.reached(at.bytes, at.keys))
            .await?;
    task.finish();
    Ok(TargetOutcome::aof(&source, replayed))
}
