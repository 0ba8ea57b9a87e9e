//! Progress of a stage.
//!
//! Totals are estimates: the size of a table on disk only roughly predicts the bytes of its rows. So a running task
//! counts for at most its estimate, and a finished one for all of it, whatever it moved. A stage then ends exactly at
//! its total.

use std::collections::HashMap;

/// The position of a stage, from the events of its tasks.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    total: Option<u64>,
    done: u64,
    moved: u64,
    running: HashMap<u64, Running>,
}

#[derive(Debug, Default)]
struct Running {
    expected: Option<u64>,
    moved: u64,
}

impl Running {
    /// What it counts for so far.
    fn counts(&self) -> u64 {
        self.expected.map_or(self.moved, |expected| expected.min(self.moved))
    }
}

impl Meter {
    /// A stage of this estimated size.
    pub(crate) fn new(total: Option<u64>) -> Meter {
        Meter { total, ..Meter::default() }
    }

    /// A task began.
    pub(crate) fn started(&mut self, task: u64, expected: Option<u64>) {
        self.running.insert(task, Running { expected, moved: 0 });
    }

    /// A task made progress.
    pub(crate) fn advanced(&mut self, task: u64, bytes: u64) {
        self.moved += bytes;
        self.running.entry(task).or_default().moved += bytes;
    }

    /// A task is done.
    pub(crate) fn finished(&mut self, task: u64) {
        if let Some(task) = self.running.remove(&task) {
            self.done += task.expected.unwrap_or(task.moved);
        }
    }

    /// Bytes that were actually moved.
    pub(crate) fn moved(&self) -> u64 {
        self.moved
    }

    /// Position in units of the total; never exceeds it.
    pub(crate) fn position(&self) -> u64 {
        let position = self.done + self.running.values().map(Running::counts).sum::<u64>();
        self.total.map_or(position, |total| position.min(total))
    }

    /// Position in percent; `None` without a total.
    pub(crate) fn percent(&self) -> Option<u64> {
        let total = self.total.filter(|total| *total > 0)?;
        Some((u128::from(self.position()) * 100 / u128::from(total)) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tables smaller and larger than their estimates.
    #[test]
    fn a_stage_ends_at_its_total_whatever_the_estimates_were() {
        for really in [10, 66, 100, 250] {
            let mut meter = Meter::new(Some(200));
            let mut last = 0;
            for task in [1, 2] {
                meter.started(task, Some(100));
                for _ in 0..really {
                    meter.advanced(task, 1);
                    let now = meter.percent().unwrap();
                    assert!(now >= last && now <= 100, "{really}: from {last} to {now}");
                    last = now;
                }
                meter.finished(task);
                last = meter.percent().unwrap();
                assert_eq!(last, 50 * task, "{really}");
            }
            assert_eq!(meter.moved(), 2 * really);
        }
    }

    #[test]
    fn without_a_total_there_is_no_percentage() {
        let mut meter = Meter::new(None);
        meter.advanced(1, 5);
        assert_eq!((meter.percent(), meter.position(), meter.moved()), (None, 5, 5));
        assert_eq!(Meter::new(Some(0)).percent(), None);
    }
}
