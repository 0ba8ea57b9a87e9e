//! Fills a Redis or Valkey target from an RDB stream, and verifies it.

use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};

use crate::jobs::replacing;
use crate::jobs::settings::TargetSettings;
use crate::report::restore::TargetOutcome;
use crate::ui::Progress;
use crate::{exit, failure};

/// A stream of RDB bytes.
pub(crate) type RdbStream<'a> = BoxStream<'a, anyhow::Result<Bytes>>;

/// An RDB file as a stream.
pub(crate) fn file(path: &std::path::Path) -> RdbStream<'static> {
    redisdump::convert::export::file(path).map_err(anyhow::Error::new).boxed()
}

/// Restores a stream into a server, then reads the stream again and looks up every key. Values that the server cannot
/// hold are found before anything is written. `known` is the number of keys in the stream, if known.
pub(crate) async fn fill_and_prove<'a>(
    source: &str,
    open: impl Fn() -> RdbStream<'a>,
    known: Option<u64>,
    options: &redisdump::ConnectOptions,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<TargetOutcome> {
    preflight(open(), options, settings, progress).await?;
    let choice = &settings.redis.choice;
    let coming = async {
        match known.filter(|_| choice.is_all()) {
            Some(known) => Ok(Some(known)),
            None => replacing::keys_of_rdb(open(), choice).await,
        }
    };
    replacing::redis(options, settings, coming, progress).await?;
    warn_of_evictions(options, progress).await?;
    progress.stage(&format!("restoring `{source}` into {}", options.display()), None);
    let task = progress.task(source, None, "keys");
    let restored =
        redisdump::restore(open(), options, &settings.redis, &|at| task.reached(at.bytes, at.keys)).await?;
    task.finish();
    let proof = match settings.proof && settings.redis.on_existing != redisdump::OnExisting::Skip {
        true => Some(look_up(source, open(), options, settings, &restored, progress).await?),
        false => None,
    };
    Ok(TargetOutcome::redis(source, restored, proof))
}

/// Refuses, by name and count, values that the target cannot hold, unless they may be left out; then it warns. It
/// also finds a damaged RDB before the target is flushed.
async fn preflight(
    stream: RdbStream<'_>,
    options: &redisdump::ConnectOptions,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<()> {
    progress.stage(&format!("checking whether {} can hold every value", options.display()), None);
    let (server, unsupported) = redisdump::unsupported(stream, options, &settings.redis).await?;
    if unsupported.is_serious() && settings.redis.skip_unsupported {
        progress.warn(format!("{server} cannot hold these values; they are left out:\n{unsupported}"));
    } else if unsupported.is_serious() {
        return Err(exit::refused(format!(
            "{server} cannot hold these values; nothing was written. --on-unsupported skip leaves them out:\n{unsupported}"
        )));
    }
    Ok(())
}

/// Warns before anything is written if the server may evict keys while it is filled.
pub(crate) async fn warn_of_evictions(
    options: &redisdump::ConnectOptions,
    progress: &Progress,
) -> anyhow::Result<()> {
    if let Some(limit) = redisdump::memory_limit(options).await?.filter(redisdump::MemoryLimit::evicts) {
        progress.warn(format!(
            "{} evicts keys when its memory is full ({limit}); evictions during the run make the exit code 3",
            options.display()
        ));
    }
    Ok(())
}

/// Whether the source may exceed the memory limit of a target that refuses writes. If so, all keys are read before
/// anything is written, since only their sizes can tell.
pub(crate) async fn may_be_full(
    from: &redisdump::ConnectOptions,
    to: &redisdump::ConnectOptions,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<bool> {
    let Some(limit) = redisdump::memory_limit(to).await?.filter(|limit| !limit.evicts()) else {
        return Ok(false);
    };
    let Some(bytes) = redisdump::data_size(from).await? else { return Ok(true) };
    let full = bytes > limit.left(settings.redis.flush.is_some());
    if full {
        progress.warn(format!(
            "{} may have too little memory ({limit}): the keys of the source use {} there; writes are refused when it is full",
            to.display(),
            redisdump::mebibytes(bytes)
        ));
    }
    Ok(full)
}

/// Reads a stream and looks up every key on the server, except those it could not hold.
async fn look_up(
    source: &str,
    stream: RdbStream<'_>,
    options: &redisdump::ConnectOptions,
    settings: &TargetSettings,
    restored: &redisdump::RestoreReport,
    progress: &Progress,
) -> anyhow::Result<redisdump::Comparison> {
    progress.stage("verifying: looking up every key", None);
    let task = progress.task(format!("proof of {source}"), None, "keys");
    let compare = expectations(settings, restored);
    let comparison = redisdump::prove(stream, options, &compare, &|at| task.reached(at.bytes, at.keys))
        .await
        .map_err(|error| unproven(error, restored, options))?;
    task.finish();
    Ok(comparison)
}

/// The message if all keys were copied but the target cannot be read back.
fn unproven(
    error: redisdump::Error,
    restored: &redisdump::RestoreReport,
    options: &redisdump::ConnectOptions,
) -> anyhow::Error {
    let forbidden = error.is_forbidden();
    let error = anyhow::Error::new(error).context(format!(
        "all {} keys were copied into {}, but could not be read back: not verified",
        restored.keys,
        options.display()
    ));
    if !forbidden {
        return error;
    }
    let user = options.user().unwrap_or("default");
    failure::hint(
        error,
        format!(
            "the proof reads every key: `ACL SETUSER {user} +select +dbsize +scan +exists +dump +pexpiretime +pttl +time ~*` \
             allows that, and `dbhaul compare` then verifies the copy; --no-proof copies without verifying"
        ),
    )
}

fn expectations(settings: &TargetSettings, restored: &redisdump::RestoreReport) -> redisdump::CompareOptions {
    redisdump::CompareOptions {
        choice: settings.redis.choice.clone(),
        others_allowed: settings.redis.on_existing != redisdump::OnExisting::Refuse,
        left_out: restored.left_out.clone(),
        ..redisdump::CompareOptions::default()
    }
}

/// Streams a live server into another, and compares every key with the digest taken during the capture, because the
/// source may be written to meanwhile.
pub(crate) async fn stream_and_prove(
    source: &str,
    from: &redisdump::ConnectOptions,
    to: &redisdump::ConnectOptions,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<TargetOutcome> {
    let capture_options = redisdump::CaptureOptions::default();
    let destructive =
        settings.redis.flush.is_some() || settings.redis.on_existing == redisdump::OnExisting::Replace;
    redisdump::refuse_shared_data(from, to, destructive).await?;
    redisdump::refuse_missing_databases(from, &settings.redis.choice).await?;
    let scan_needed =
        settings.redis.choice.needs_preflight_scan() || may_be_full(from, to, settings, progress).await?;
    if scan_needed || !redisdump::takes_all_of(to, from).await? {
        let capture = redisdump::Capture::start(from, &capture_options).await?;
        preflight(capture.map_err(anyhow::Error::new).boxed(), to, settings, progress).await?;
    }
    let coming = replacing::keys_of_source(from, &settings.redis.choice);
    replacing::redis(to, settings, coming, progress).await?;
    warn_of_evictions(to, progress).await?;
    let before = redisdump::write_position(from).await?;
    let proof = settings.proof && settings.redis.on_existing != redisdump::OnExisting::Skip;
    let mut capture = match proof {
        true => {
            let without = settings.redis.choice.drop_field_expiries;
            let digests = redisdump::DigestLog::against(to).await?.without_field_expiries(without);
            redisdump::Capture::start_with_digests(from, &capture_options, digests).await?
        }
        false => redisdump::Capture::start(from, &capture_options).await?,
    };
    for warning in capture.warnings() {
        progress.warn(warning);
    }
    progress.stage(&format!("copying {} into {}", capture.server(), to.display()), None);
    let not_itself = redisdump::RestoreOptions {
        not_this_run: Some(capture.server().run_id.clone()),
        ..settings.redis.clone()
    };
    let task = progress.task(source, None, "keys");
    let restored =
        redisdump::restore(&mut capture, to, &not_itself, &|at| task.reached(at.bytes, at.keys)).await?;
    task.finish();

    let comparison = match capture.digests() {
        None => None,
        Some(digests) => {
            progress.stage("verifying: looking up every key", None);
            let task = progress.task(format!("proof of {source}"), None, "keys");
            let compare = expectations(settings, &restored);
            let left = format!("capture of {}", capture.server());
            let on_progress = |at: redisdump::Progress| task.reached(at.bytes, at.keys);
            let comparison = redisdump::prove_digests(digests, &left, to, &compare, &on_progress)
                .await
                .map_err(|error| unproven(error, &restored, to))?;
            task.finish();
            Some(comparison)
        }
    };
    anyhow::ensure!(comparison.is_some() == proof, "the capture ended without the digests of its keys");
    let mut outcome = TargetOutcome::redis(source, restored, comparison);
    // All keys are copied and verified; a source that stopped answering is no failure.
    if let Ok(after) = redisdump::write_position(from).await {
        let offset = capture.report().map(|report| report.replication_offset).filter(|offset| *offset >= 0);
        let before = redisdump::WritePosition { offset: offset.or(before.offset), ..before };
        outcome.note_source_writes(before, after);
    }
    Ok(outcome)
}
