//! What a person sees while a job runs. Jobs emit [`Event`]s; how they look is decided here and nowhere else:
//! bars on a terminal, plain lines in a log, nothing with `--quiet`. Everything goes to standard error; what a command
//! prints as its result goes through [`stdout`].

mod bars;
mod lines;
mod meter;
pub(crate) mod repository;
pub(crate) mod stdout;
mod timeline;

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::redact::redact;
pub(crate) use lines::{count, size};
use timeline::Timeline;
pub(crate) use timeline::{Recorded, Span};

/// One thing that happened in a job.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A new stage began; `total` is its expected number of bytes, if anybody knows.
    Stage { name: &'a str, total: Option<u64> },
    /// A task (a table, a key space) began.
    Started { task: u64, name: &'a str, total: Option<u64> },
    /// A task moved on by so much.
    Advanced { task: u64, bytes: u64, items: u64 },
    /// A task is done; the sums of all that it moved.
    Finished { task: u64, name: &'a str, bytes: u64, items: u64, unit: &'static str },
    /// Worth a line.
    Note(&'a str),
    /// Worth attention even with `--quiet`.
    Warning(&'a str),
}

/// Somebody who shows events.
pub(crate) trait Show: Send + Sync {
    /// Shows one event. Must not block for long: it is called on the path of the data.
    fn show(&self, event: &Event<'_>);
}

/// The handle by which jobs tell what they do. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Progress {
    shown: Arc<dyn Show>,
    next: Arc<AtomicU64>,
    timeline: Arc<Timeline>,
}

impl Progress {
    /// Bars where standard error is a terminal, lines where it is not, warnings alone when `quiet`.
    pub(crate) fn new(quiet: bool) -> Progress {
        let shown: Arc<dyn Show> = if quiet {
            Arc::new(lines::Quiet)
        } else if std::io::stderr().is_terminal() {
            Arc::new(bars::Bars::new())
        } else {
            Arc::new(lines::Lines::new())
        };
        Progress { shown, next: Arc::new(AtomicU64::new(1)), timeline: Arc::new(Timeline::begin()) }
    }

    /// Shown by somebody of the caller's.
    #[cfg(test)]
    pub(crate) fn shown_by(shown: Arc<dyn Show>) -> Progress {
        Progress { shown, next: Arc::new(AtomicU64::new(1)), timeline: Arc::new(Timeline::begin()) }
    }

    /// What was recorded since this was made.
    pub(crate) fn recorded(&self) -> Recorded {
        self.timeline.recorded()
    }

    fn show(&self, event: &Event<'_>) {
        self.timeline.note(event);
        self.shown.show(event);
    }

    /// Begins a stage.
    pub(crate) fn stage(&self, name: &str, total: Option<u64>) {
        self.show(&Event::Stage { name: &redact(name), total });
    }

    /// A line for the reader.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        self.show(&Event::Note(&redact(text.as_ref())));
    }

    /// A line that even `--quiet` shows.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        self.show(&Event::Warning(&redact(text.as_ref())));
    }

    /// Asks the person at the terminal for a line; nothing where nobody is there to answer.
    pub(crate) async fn ask(&self, question: &str) -> Option<String> {
        if !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
            return None;
        }
        self.warn(question);
        let answer = tokio::task::spawn_blocking(|| {
            let mut line = String::new();
            std::io::stdin().read_line(&mut line).map(|_| line.trim().to_owned())
        });
        Some(answer.await.ok().and_then(Result::ok).unwrap_or_default())
    }

    /// Begins a task; `unit` names what it counts beside bytes ("rows", "keys").
    pub(crate) fn task(&self, name: impl Into<String>, total: Option<u64>, unit: &'static str) -> Task {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let name = redact(&name.into());
        self.show(&Event::Started { task: id, name: &name, total });
        Task { progress: self.clone(), id, name, unit, bytes: AtomicU64::new(0), items: AtomicU64::new(0) }
    }
}

/// A task under way.
pub(crate) struct Task {
    progress: Progress,
    id: u64,
    name: String,
    unit: &'static str,
    bytes: AtomicU64,
    items: AtomicU64,
}

impl Task {
    /// So many more bytes and items are through.
    pub(crate) fn advance(&self, bytes: u64, items: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.items.fetch_add(items, Ordering::Relaxed);
        self.progress.show(&Event::Advanced { task: self.id, bytes, items });
    }

    /// The sums so far are these (for leaves that report totals and not steps).
    pub(crate) fn reached(&self, bytes: u64, items: u64) {
        let before = self.bytes.fetch_max(bytes, Ordering::Relaxed);
        let items_before = self.items.fetch_max(items, Ordering::Relaxed);
        self.progress.show(&Event::Advanced {
            task: self.id,
            bytes: bytes.saturating_sub(before),
            items: items.saturating_sub(items_before),
        });
    }

    /// The task is done.
    pub(crate) fn finish(self) {
        self.progress.show(&Event::Finished {
            task: self.id,
            name: &self.name,
            bytes: self.bytes.load(Ordering::Relaxed),
            items: self.items.load(Ordering::Relaxed),
            unit: self.unit,
        });
    }
}
