//! Filling a Redis or Valkey target from any RDB stream, and proving it.

use bytes::Bytes;
use futures::stream::BoxStream;

use crate::jobs::settings::TargetSettings;
use crate::report::restore::TargetOutcome;
use crate::ui::Progress;

/// A stream of RDB bytes.
pub(crate) type RdbStream<'a> = BoxStream<'a, anyhow::Result<Bytes>>;

/// Restores a stream into an empty server; then reads the stream a second time and looks every key up.
pub(crate) async fn fill_and_prove<'a>(
    source: &str,
    open: impl Fn() -> RdbStream<'a>,
    options: &redisdump::ConnectOptions,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<TargetOutcome> {
    progress.stage(&format!("restoring `{source}` into {}", options.display()), None);
    let task = progress.task(source, None, "keys");
    let restored = redisdump::restore(open(), options, &redisdump::RestoreOptions::default(), &|at| {
        task.reached(at.bytes, at.keys)
    })
    .await?;
    task.finish();

    let proof = if settings.proof {
        progress.stage("proving: looking every key up", None);
        let task = progress.task(format!("proof of {source}"), None, "keys");
        let comparison = redisdump::prove(open(), options, &redisdump::CompareOptions::default(), &|at| {
            task.reached(at.bytes, at.keys)
        })
        .await?;
        task.finish();
        Some(comparison)
    } else {
        None
    };
    Ok(TargetOutcome::redis(source, restored, proof))
}

/// Streams one live server into an empty one; then compares the two, both ways.
pub(crate) async fn stream_and_compare(
    source: &str,
    from: &redisdump::ConnectOptions,
    to: &redisdump::ConnectOptions,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<TargetOutcome> {
    let capture = redisdump::Capture::start(from, &redisdump::CaptureOptions::default()).await?;
    progress.stage(&format!("copying {} into {}", capture.server(), to.display()), None);
    let not_itself = redisdump::RestoreOptions { not_this_run: Some(capture.server().run_id.clone()) };
    let task = progress.task(source, None, "keys");
    let restored =
        redisdump::restore(capture, to, &not_itself, &|at| task.reached(at.bytes, at.keys)).await?;
    task.finish();

    let proof = if settings.proof {
        progress.stage("proving: comparing every key, both ways", None);
        let task = progress.task(format!("proof of {source}"), None, "keys");
        let comparison = redisdump::compare(from, to, &redisdump::CompareOptions::default(), &|at| {
            task.reached(at.bytes, at.keys);
        })
        .await?;
        task.finish();
        Some(comparison)
    } else {
        None
    };
    Ok(TargetOutcome::redis(source, restored, proof))
}
