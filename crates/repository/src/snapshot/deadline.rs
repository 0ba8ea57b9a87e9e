//! Time: a snapshot is committed only while what its writer saw at its beginning surely still holds.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use crate::snapshot::presence::Presence;
use crate::{Error, Manifest, Repository};

/// The moment of a beginning, by two clocks: the monotonic one stands still while a laptop sleeps, the other may be set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Begun(pub(crate) Instant, pub(crate) SystemTime);

impl Begun {
    pub(crate) fn now() -> Begun {
        Begun(Instant::now(), SystemTime::now())
    }

    /// The longer of what the two clocks say.
    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed().max(self.1.elapsed().unwrap_or_default())
    }
}

impl Repository {
    /// How long after its beginning a run may still commit a snapshot.
    pub(crate) fn longest_run(&self) -> Duration {
        self.grace.saturating_sub(self.margin())
    }

    pub(crate) fn in_time(&self, begun: Begun) -> Result<(), Error> {
        let longest = self.longest_run();
        if begun.elapsed() > longest {
            return Err(Error::TooLong { hours: longest.as_secs() / 3600 });
        }
        Ok(())
    }

    /// Writes a manifest, and takes it back if that took so long that its chunks may be gone by now: a machine may have
    /// slept in the midst of it.
    /// The same if a prune that does not wait took the writer for dead.
    pub(crate) async fn list_in_time(
        &self,
        begun: Begun,
        presence: &Presence,
        manifest: &Manifest,
    ) -> Result<(), Error> {
        self.put_manifest(manifest).await?;
        let present = presence.check(self).await;
        match self.in_time(begun).and(present) {
            Err(late @ (Error::TooLong { .. } | Error::Overrun)) => {
                self.store.delete(&manifest.id.object()).await?;
                Err(late)
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_that_says_more_counts() {
        let ago = |by| SystemTime::now().checked_sub(by).unwrap();
        // A machine that slept, or whose clock was set forward.
        assert!(Begun(Instant::now(), ago(hours(80))).elapsed() >= hours(80));
        // One whose clock was set back.
        let ahead = SystemTime::now() + hours(1000);
        assert!(Begun(Instant::now(), ahead).elapsed() < hours(1));
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }
}
