//! Threads that compress and encrypt chunks: one per processor, while a snapshot is written.
//!
//! They are separate from the runtime's blocking threads, of which there are many: an allocator with per-thread
//! caches would keep a compressor's megabytes for every one of them.

use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use zstd::bulk::Compressor;

use crate::Error;
use crate::tasks::blocking;

type Job = Box<dyn FnOnce(&mut Compressor<'static>) + Send>;

/// The pool. Its threads end when it is dropped and its queue is empty.
#[derive(Debug)]
pub(crate) struct CompressionPool(Mutex<Sender<Job>>);

impl CompressionPool {
    /// Starts the threads, which compress at this level.
    pub(crate) fn start(level: i32) -> Result<CompressionPool, Error> {
        let failed = |source: std::io::Error| Error::Stream {
            part: "the start of a compression thread".to_owned(),
            source: source.into(),
        };
        let (sender, receiver) = channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            let mut compressor = Compressor::new(level).map_err(failed)?;
            let receiver = Arc::clone(&receiver);
            std::thread::Builder::new()
                .name("compress".to_owned())
                .spawn(move || {
                    while let Some(job) = next(&receiver) {
                        job(&mut compressor);
                    }
                })
                .map_err(failed)?;
        }
        Ok(CompressionPool(Mutex::new(sender)))
    }

    /// Runs a job on one of the threads. A blocking thread of the runtime waits for it, so that a paused test clock does
    /// not advance in the meantime.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Compressor<'static>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (done, outcome) = sync_channel(1);
        let job: Job = Box::new(move |compressor| {
            // The caller may have given up in the meantime.
            let _ = done.send(job(compressor));
        });
        let waited = blocking(move || sender.send(job).ok().and_then(|()| outcome.recv().ok())).await?;
        waited.ok_or_else(|| Error::Stream {
            part: "a compression thread".to_owned(),
            source: "it ended early".into(),
        })
    }
}

/// Only one thread waits on the channel at a time; the others wait for the lock.
fn next(receiver: &Mutex<Receiver<Job>>) -> Option<Job> {
    receiver.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
