//! Ctrl-C and SIGTERM: the job's future is dropped, which closes connections and removes temporary folders. The error
//! message describes what is left behind.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit;

/// How long requests to cancel statements may take to be sent.
const CANCELLING: std::time::Duration = std::time::Duration::from_millis(300);

/// The signals that stop a run. From [`Signals::listen`] on, none of them ends the process by itself, and one that
/// arrives while nothing waits for it stops the next [`Signals::stop`].
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Installs the handlers. To be called before anything is done that others can see.
    pub(crate) fn listen() -> std::io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Runs `work` until it ends or a signal arrives.
    pub(crate) async fn stop<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let name = tokio::select! {
            result = work => return result,
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hangup.recv() => "SIGHUP",
        };
        // The work is dropped. Cancel requests for the statements that its connections waited for are sent before the
        // runtime ends.
        tokio::time::sleep(CANCELLING).await;
        Err(exit::interrupted(format!(
            "stopped by {name}. A source is never written to; a snapshot that was under way is not \
             listed; a target that was being loaded is incomplete: clear it before retrying"
        )))
    }
}
