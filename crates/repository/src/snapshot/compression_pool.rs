//! Threads that pack chunks: one for each processor, for as long as a snapshot is written.
//!
//! They are our own and not those which wait for files and networks. Of those there are many, and an allocator that keeps
//! what each thread freed would keep a compressor's megabytes for every one of them.

use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use zstd::bulk::Compressor;

use crate::Error;
use crate::tasks::blocking;

type Work = Box<dyn FnOnce(&mut Compressor<'static>) + Send>;

/// Packs; its threads end when it is dropped and what was given to them is done.
#[derive(Debug)]
pub(crate) struct Packers(Mutex<Sender<Work>>);

impl Packers {
    /// Starts the threads, which compress at this level.
    pub(crate) fn start(level: i32) -> Result<Packers, Error> {
        let failed = |source: std::io::Error| Error::Stream {
            part: "the start of a packing thread".to_owned(),
            source: source.into(),
        };
        let (give, take) = channel::<Work>();
        let take = Arc::new(Mutex::new(take));
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            let mut compressor = Compressor::new(level).map_err(failed)?;
            let take = Arc::clone(&take);
            std::thread::Builder::new()
                .name("packer".to_owned())
                .spawn(move || {
                    while let Some(work) = next(&take) {
                        work(&mut compressor);
                    }
                })
                .map_err(failed)?;
        }
        Ok(Packers(Mutex::new(give)))
    }

    /// Runs this on one of the threads. One of the runtime's own waits for it, as for all work that is not to be raced by
    /// a clock that stands still in tests.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Compressor<'static>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let give = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (done, outcome) = sync_channel(1);
        let work: Work = Box::new(move |compressor| {
            // Whoever asked may have given up meanwhile.
            let _ = done.send(work(compressor));
        });
        let waited = blocking(move || give.send(work).ok().and_then(|()| outcome.recv().ok())).await?;
        waited.ok_or_else(|| Error::Stream {
            part: "a packing thread".to_owned(),
            source: "it ended early".into(),
        })
    }
}

/// Only one thread waits at the channel at a time; the others wait for the lock, which is as good.
fn next(take: &Mutex<Receiver<Work>>) -> Option<Work> {
    take.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}
