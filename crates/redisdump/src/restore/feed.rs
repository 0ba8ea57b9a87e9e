//! An RDB stream into a loader, and what the loader makes of it on to the server: the same for one server and for a
//! cluster, which differ in where commands go ([`Outlets`]).

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use super::loader::Loader;
use super::pipeline::Pipeline;
use super::preflight;
use super::settings::{BATCH, RestoreOptions};
use crate::compare::report::Progress;
use crate::convert::commands::UnsupportedValues;
use crate::rdb::Reader;
use crate::{Error, ServerIdentity};

/// Bytes of an RDB that are read at a time where the rate is limited.
const SLOW: usize = 512;

/// Where the commands of pipelines go.
pub(super) trait Outlets {
    /// Sends what pipelines have ready beyond `beyond` bytes; true when anything was.
    async fn flush(&mut self, pipelines: &mut [Pipeline], beyond: usize) -> Result<bool, Error>;

    /// Nothing more follows.
    fn close(&mut self);
}

/// What a stream is fed for.
pub(super) struct Feed<'a> {
    pub(super) server: &'a ServerIdentity,
    pub(super) settings: &'a RestoreOptions,
    pub(super) on_progress: &'a (dyn Fn(Progress) + Sync),
}

impl Feed<'_> {
    /// Feeds a whole stream.
    ///
    /// # Errors
    /// Those of the stream and of the outlets, a damaged RDB, and what the server cannot hold or place, when that is found
    /// only while keys are sent.
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
        // Keys that were ready when something was sent last.
        let mut sent = 0;
        let mut stream = std::pin::pin!(stream);
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(Error::stream)?;
            // Small steps, so that the ready commands never grow far beyond a batch; and very small ones where keys are
            // counted.
            for part in piece.chunks(step) {
                rdb.feed(part, loader)?;
                if !self.settings.skip_unsupported && loader.unsupported.is_serious() {
                    return Err(self.cannot_hold(loader.unsupported.clone(), sent));
                }
                if !loader.conflicts.is_empty() {
                    return Err(self.cannot_place(std::mem::take(&mut loader.conflicts), sent));
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

    /// What the server cannot hold, when that is found only while keys are sent.
    fn cannot_hold(&self, unsupported: UnsupportedValues, sent: u64) -> Error {
        match sent {
            0 => Error::Unsupported { target: self.server.to_string(), unsupported },
            _ => self.half_way(&format!("it cannot hold all of this:\n{unsupported}\n"), sent),
        }
    }

    /// Keys whose database is not there, or another's, when that is found only while keys are sent.
    fn cannot_place(&self, conflicts: Vec<String>, sent: u64) -> Error {
        match sent {
            0 => preflight::misplaced(self.server, conflicts),
            _ => self.half_way(&format!("{}. ", conflicts.join("; ")), sent),
        }
    }

    fn half_way(&self, message: &str, sent: u64) -> Error {
        Error::Server {
            target: self.server.to_string(),
            operation: "restoring keys".to_owned(),
            message: format!(
                "{message}Up to {sent} keys were sent before, which stay there: empty it before the next try"
            ),
        }
    }
}

/// Waits until so many keys are due at this rate.
pub(super) async fn pause(began: Instant, keys: u64, rate: u64) {
    let due = Duration::from_millis(keys.saturating_mul(1000) / rate);
    if let Some(ahead) = due.checked_sub(began.elapsed()) {
        tokio::time::sleep(ahead).await;
    }
}
