//! Ctrl-C and SIGTERM: the job's future is dropped, which closes connections and removes temporary folders. The error
//! message describes what is left behind.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

use crate::exit;

/// How long requests to cancel statements may take to be sent.
const CANCELLING: std::time::Duration = std::time::Duration::from_millis(300);

/// Runs `work` until it ends or a signal arrives.
pub(crate) async fn stop_on_signal<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let name = tokio::select! {
        result = work => return result,
        _ = interrupt.recv() => "SIGINT",
        _ = terminate.recv() => "SIGTERM",
        _ = hangup.recv() => "SIGHUP",
    };
    // The work is dropped. Cancel requests for the statements that its connections waited for are sent before the
    // runtime ends.
    tokio::time::sleep(CANCELLING).await;
    Err(exit::interrupted(format!(
        "stopped by {name}. A source is never written to; a snapshot that was under way is not \
         listed; a target that was being loaded is incomplete: clear it before retrying"
    )))
}
