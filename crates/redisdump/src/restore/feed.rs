//! Feeds an RDB stream into a loader and forwards the resulting commands. A single server and a cluster differ only in
//! where commands are sent ([`Outlets`]).

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use super::loader::Loader;
use super::pipeline::Pipeline;
use super::preflight;
use super::settings::{BATCH, RestoreOptions};
use crate::compare::report::Progress;
use crate::conflict::{Conflict, joined};
use crate::convert::commands::UnsupportedValues;
use crate::rdb::Reader;
use crate::{Error, ServerIdentity};

/// Number of RDB bytes read at a time while the rate is limited.
const SLOW: usize = 512;

/// Where the commands of pipelines are sent.
pub(super) trait Outlets {
    /// Sends pipelines that have more than `beyond` bytes ready; true if anything was sent.
    async fn flush(&mut self, pipelines: &mut [Pipeline], beyond: usize) -> Result<bool, Error>;

    /// No further commands follow.
    fn close(&mut self);
}

/// The context of a feed.
pub(super) struct Feed<'a> {
    pub(super) server: &'a ServerIdentity,
    pub(super) settings: &'a RestoreOptions,
    pub(super) on_progress: &'a (dyn Fn(Progress) + Sync),
}

impl Feed<'_> {
    /// Feeds a whole stream.
    ///
    /// # Errors
    /// Errors of the stream and of the outlets, a damaged RDB, and values that the server does not support or that have
    /// no target database, if found only while keys are being sent.
    pub(super) async fn run<E>(
        &self,
        stream: impl Stream<Item = Result<Bytes, E>>,
        rdb: &mut Reader,
        loader: &mut Loader<'_>,
        outlets: &mut impl Outlets,
    ) -> Result<(), Error>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let rate = self.settings.rate.filter(|rate| *rate > 0);
        let (step, beyond) = if rate.is_some() { (SLOW, 0) } else { (BATCH, BATCH) };
        let began = Instant::now();
        // Keys that were ready at the last send.
        let mut sent = 0;
        let mut stream = std::pin::pin!(stream);
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(Error::stream)?;
            // Small steps keep the ready commands close to one batch; very small ones are needed while keys are
            // counted.
            for part in piece.chunks(step) {
                rdb.feed(part, loader)?;
                if !self.settings.skip_unsupported && loader.unsupported.is_serious() {
                    return Err(self.unsupported_error(loader.unsupported.clone(), sent));
                }
                if !loader.conflicts.is_empty() {
                    return Err(self.conflict_error(std::mem::take(&mut loader.conflicts), sent));
                }
                if outlets.flush(&mut loader.pipelines, beyond).await? {
                    sent = loader.keys;
                    (self.on_progress)(Progress { bytes: rdb.offset(), keys: loader.keys });
                    if let Some(rate) = rate {
                        pause(began, loader.keys, rate).await;
                    }
                }
            }
        }
        rdb.finish()?;
        outlets.flush(&mut loader.pipelines, 0).await?;
        outlets.close();
        Ok(())
    }

    /// Values that the server does not support, found only while keys were being sent.
    fn unsupported_error(&self, unsupported: UnsupportedValues, sent: u64) -> Error {
        match sent {
            0 => Error::Unsupported { target: self.server.to_string(), unsupported },
            _ => self.partial_error(&format!("it does not support all of this:\n{unsupported}\n"), sent),
        }
    }

    /// Keys whose database does not exist or is used by another one, found only while keys were being sent.
    fn conflict_error(&self, conflicts: Vec<Conflict>, sent: u64) -> Error {
        match sent {
            0 => preflight::misplaced(self.server, conflicts),
            _ => self.partial_error(&format!("{}. ", joined(&conflicts, "; ")), sent),
        }
    }

    fn partial_error(&self, message: &str, sent: u64) -> Error {
        Error::Server {
            target: self.server.to_string(),
            operation: "restoring keys".to_owned(),
            message: format!(
                "{message}Up to {sent} keys were sent before and remain there: clear it before retrying"
            ),
        }
    }
}

/// Waits until this number of keys is due at the rate limit.
pub(super) async fn pause(began: Instant, keys: u64, rate: u64) {
    let due = Duration::from_millis(keys.saturating_mul(1000) / rate);
    if let Some(ahead) = due.checked_sub(began.elapsed()) {
        tokio::time::sleep(ahead).await;
    }
}
