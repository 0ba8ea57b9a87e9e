//! The deadline of a run: a snapshot is committed only while the chunk index that its writer read still holds. Prune
//! may delete unreferenced chunks once the grace period is over.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::{Error, Repository};

/// When a run started, by two clocks: the monotonic clock stops while a machine sleeps, the system clock can be set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RunClock(pub(crate) Instant, pub(crate) SystemTime);

impl RunClock {
    pub(crate) fn start() -> RunClock {
        RunClock(Instant::now(), SystemTime::now())
    }

    /// The longer of the two clocks' durations.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed().max(self.1.elapsed().unwrap_or_default())
    }
}

impl Repository {
    /// How long after its start a run may still commit a snapshot.
    pub(crate) fn longest_run(&self) -> Duration {
        self.grace.saturating_sub(self.margin())
    }

    /// Fails once the run is past its deadline.
    pub(crate) fn check_deadline(&self, run_clock: RunClock) -> Result<(), Error> {
        let longest = self.longest_run();
        if run_clock.elapsed() > longest {
            return Err(Error::TooLong { hours: longest.as_secs() / 3600 });
        }
        Ok(())
    }

    /// The part of the grace period reserved for slow requests: writers, undelete and prune all stop this much earlier.
    pub(crate) fn margin(&self) -> Duration {
        Duration::from_secs(3600).min(self.grace / 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_duration_counts() {
        let ago = |by| SystemTime::now().checked_sub(by).unwrap();
        // A machine that slept, or whose clock was set forward.
        assert!(RunClock(Instant::now(), ago(hours(80))).elapsed() >= hours(80));
        // One whose clock was set back.
        let ahead = SystemTime::now() + hours(1000);
        assert!(RunClock(Instant::now(), ahead).elapsed() < hours(1));
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }
}
