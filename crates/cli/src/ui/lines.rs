//! Plain lines for logs, and how numbers are written for people.
#![allow(clippy::print_stderr, reason = "showing progress on standard error is what this module is for")]

use std::time::{Duration, Instant};

use super::{Event, Show};

/// One line an event, without control characters.
pub(crate) struct Lines {
    started: Instant,
}

impl Lines {
    pub(crate) fn new() -> Lines {
        Lines { started: Instant::now() }
    }
}

impl Show for Lines {
    fn show(&self, event: &Event<'_>) {
        let at = duration(self.started.elapsed());
        match event {
            Event::Stage { name, total: Some(total) } => eprintln!("[{at}] {name} (about {})", size(*total)),
            Event::Stage { name, total: None } => eprintln!("[{at}] {name}"),
            Event::Finished { name, bytes, items, unit, .. } => {
                eprintln!("[{at}]   {name}: {} {unit}, {}", count(*items), size(*bytes));
            }
            Event::Note(text) => eprintln!("[{at}] {text}"),
            Event::Warning(text) => eprintln!("warning: {text}"),
            Event::Started { .. } | Event::Advanced { .. } => {}
        }
    }
}

/// Warnings and nothing else.
pub(crate) struct Quiet;

impl Show for Quiet {
    fn show(&self, event: &Event<'_>) {
        if let Event::Warning(text) = event {
            eprintln!("warning: {text}");
        }
    }
}

/// Bytes for people, in binary units.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A count with its thousands set apart.
pub(crate) fn count(n: u64) -> String {
    indicatif::HumanCount(n).to_string()
}

/// A duration for people: `0.4s`, `12.0s`, `3m05s`, `2h07m`.
pub(crate) fn duration(d: Duration) -> String {
    let seconds = d.as_secs();
    if seconds < 60 {
        format!("{:.1}s", d.as_secs_f64())
    } else if seconds < 3600 {
        format!("{}m{:02}s", seconds / 60, seconds % 60)
    } else {
        format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(duration(Duration::from_millis(1234)), "1.2s");
        assert_eq!(duration(Duration::from_secs(185)), "3m05s");
        assert_eq!(duration(Duration::from_secs(7620)), "2h07m");
        assert_eq!(count(182_341), "182,341");
        assert_eq!(size(3 * 1024 * 1024), "3.00 MiB");
    }
}
