//! Progress output. Jobs emit [`Event`]s; this module decides how they look: bars on a terminal, plain lines in a
//! log, nothing with `--quiet`. Everything goes to standard error; results of commands go through [`stdout`].

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
pub(crate) use lines::{count, duration, seconds, size};
use timeline::Timeline;
pub(crate) use timeline::{Recorded, Span};

/// An event of a job.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A new stage began; `total` is its expected number of bytes, if known.
    Stage { name: &'a str, total: Option<u64> },
    /// A task (a table, a database of Redis) began.
    Started { task: u64, name: &'a str, total: Option<u64> },
    /// A task made progress.
    Advanced { task: u64, bytes: u64, items: u64 },
    /// A task ended; totals of what it moved.
    Finished { task: u64, name: &'a str, bytes: u64, items: u64, unit: &'static str },
    /// Information.
    Note(&'a str),
    /// A warning, shown even with `--quiet`.
    Warning(&'a str),
}

/// A display for events.
pub(crate) trait Show: Send + Sync {
    /// Shows an event. Must not block for long: it is called while data is moved.
    fn show(&self, event: &Event<'_>);
}

/// The handle through which jobs report progress. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Progress {
    shown: Arc<dyn Show>,
    next: Arc<AtomicU64>,
    timeline: Arc<Timeline>,
}

impl Progress {
    /// Bars if standard error is a terminal, lines if not, only warnings if `quiet`.
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

    /// With a display of the caller's.
    #[cfg(test)]
    pub(crate) fn shown_by(shown: Arc<dyn Show>) -> Progress {
        Progress { shown, next: Arc::new(AtomicU64::new(1)), timeline: Arc::new(Timeline::begin()) }
    }

    /// The timeline since this was created.
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

    /// Shows information.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        self.show(&Event::Note(&redact(text.as_ref())));
    }

    /// Shows a warning, even with `--quiet`.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        self.show(&Event::Warning(&redact(text.as_ref())));
    }

    /// Asks the user at the terminal for a line; `None` if there is no terminal.
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

    /// Begins a task; `unit` names what it counts besides bytes ("rows", "keys").
    pub(crate) fn task(&self, name: impl Into<String>, total: Option<u64>, unit: &'static str) -> Task {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let name = redact(&name.into());
        self.show(&Event::Started { task: id, name: &name, total });
        Task { progress: self.clone(), id, name, unit, bytes: AtomicU64::new(0), items: AtomicU64::new(0) }
    }
}

/// A running task.
pub(crate) struct Task {
    progress: Progress,
    id: u64,
    name: String,
    unit: &'static str,
    bytes: AtomicU64,
    items: AtomicU64,
}

impl Task {
    /// Adds to what the task has moved.
    pub(crate) fn advance(&self, bytes: u64, items: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.items.fetch_add(items, Ordering::Relaxed);
        self.progress.show(&Event::Advanced { task: self.id, bytes, items });
    }

    /// Sets the totals so far (for crates that report totals instead of steps).
    pub(crate) fn reached(&self, bytes: u64, items: u64) {
        let before = self.bytes.fetch_max(bytes, Ordering::Relaxed);
        let items_before = self.items.fetch_max(items, Ordering::Relaxed);
        self.progress.show(&Event::Advanced {
            task: self.id,
            bytes: bytes.saturating_sub(before),
            items: items.saturating_sub(items_before),
        });
    }

    /// Ends the task.
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
