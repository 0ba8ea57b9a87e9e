//! Plain lines for logs, and number formatting.
#![allow(clippy::print_stderr, reason = "showing progress on standard error is what this module is for")]

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::meter::Meter;
use super::{Event, Show};

/// Interval between progress lines of a long stage.
const INTERVAL: Duration = Duration::from_secs(15);

/// One line per event, without control characters.
pub(crate) struct Lines {
    started: Instant,
    stage: Mutex<Stage>,
}

struct Stage {
    meter: Meter,
    printed: Instant,
}

impl Lines {
    pub(crate) fn new() -> Lines {
        let started = Instant::now();
        Lines { started, stage: Mutex::new(Stage { meter: Meter::default(), printed: started }) }
    }

    /// Prints progress of the stage, unless the last line is recent.
    fn advanced(&self, task: u64, bytes: u64) {
        let Ok(mut stage) = self.stage.lock() else { return };
        stage.meter.advanced(task, bytes);
        if stage.printed.elapsed() < INTERVAL {
            return;
        }
        stage.printed = Instant::now();
        let at = duration(self.started.elapsed());
        let moved = size(stage.meter.moved());
        match stage.meter.percent() {
            Some(percent) => eprintln!("[{at}]   {percent} %, {moved}"),
            None => eprintln!("[{at}]   {moved}"),
        }
    }

    fn with_meter(&self, change: impl FnOnce(&mut Meter)) {
        if let Ok(mut stage) = self.stage.lock() {
            change(&mut stage.meter);
        }
    }
}

impl Show for Lines {
    fn show(&self, event: &Event<'_>) {
        let at = duration(self.started.elapsed());
        match event {
            Event::Stage { total, .. } => self.with_meter(|meter| *meter = Meter::new(*total)),
            Event::Started { task, total, .. } => self.with_meter(|meter| meter.started(*task, *total)),
            Event::Advanced { task, bytes, .. } => self.advanced(*task, *bytes),
            Event::Finished { task, .. } => self.with_meter(|meter| meter.finished(*task)),
            Event::Note(_) | Event::Warning(_) => {}
        }
        match event {
            Event::Stage { name, total: Some(total) } => eprintln!("[{at}] {name} (about {})", size(*total)),
            Event::Stage { name, total: None } => eprintln!("[{at}] {name}"),
            Event::Finished { name, bytes, items, unit, .. } => {
                eprintln!("[{at}]   {name}: {}", moved(*items, unit, *bytes));
            }
            Event::Note(text) => eprintln!("[{at}] {text}"),
            Event::Warning(text) => eprintln!("warning: {text}"),
            Event::Started { .. } | Event::Advanced { .. } => {}
        }
    }
}

/// Shows warnings only.
pub(crate) struct Quiet;

impl Show for Quiet {
    fn show(&self, event: &Event<'_>) {
        if let Event::Warning(text) = event {
            eprintln!("warning: {text}");
        }
    }
}

/// What a task has moved.
pub(crate) fn moved(items: u64, unit: &str, bytes: u64) -> String {
    let size = if bytes > 0 { format!(", {}", size(bytes)) } else { String::new() };
    format!("{} {}{size}", count(items), if items == 1 { unit.trim_end_matches('s') } else { unit })
}

/// Bytes in binary units.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// A count with thousands separators.
pub(crate) fn count(n: u64) -> String {
    indicatif::HumanCount(n).to_string()
}

/// A duration: `0.4s`, `12.0s`, `3m 05s`, `2h 07m`.
pub(crate) fn duration(d: Duration) -> String {
    let seconds = d.as_secs();
    if seconds < 60 {
        format!("{:.1}s", d.as_secs_f64())
    } else if seconds < 3600 {
        format!("{}m {:02}s", seconds / 60, seconds % 60)
    } else {
        format!("{}h {:02}m", seconds / 3600, seconds / 60 % 60)
    }
}

/// The same of seconds.
pub(crate) fn seconds(seconds: f64) -> String {
    duration(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(duration(Duration::from_millis(1234)), "1.2s");
        assert_eq!(duration(Duration::from_secs(185)), "3m 05s");
        assert_eq!(duration(Duration::from_secs(7620)), "2h 07m");
        assert_eq!([seconds(3.21), seconds(-1.0), seconds(f64::NAN)], ["3.2s", "0.0s", "0.0s"]);
        assert_eq!(moved(1, "rows", 0), "1 row");
        assert_eq!(moved(2000, "rows", 1024), "2,000 rows, 1.00 KiB");
        assert_eq!(count(182_341), "182,341");
        assert_eq!(size(3 * 1024 * 1024), "3.00 MiB");
    }
}
