//! Limits the read rate of a source, over all its connections.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Spreads reads over time. While a reader waits for its turn it reads nothing from its connection, so that the
/// server waits too.
#[derive(Debug)]
pub(crate) struct ReadLimit {
    /// Bytes per second.
    rate: NonZeroU64,
    /// When the bytes read so far are paid off.
    free_at: Mutex<Option<Instant>>,
}

impl ReadLimit {
    pub(crate) fn new(rate: NonZeroU64) -> ReadLimit {
        ReadLimit { rate, free_at: Mutex::new(None) }
    }

    /// Counts bytes that were read; the next ones may be read from the returned time on. Unused time is not made up
    /// for.
    pub(crate) fn read(&self, bytes: usize) -> Instant {
        #[expect(clippy::cast_precision_loss, reason = "a duration")]
        let takes = Duration::from_secs_f64(bytes as f64 / self.rate.get() as f64);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let next = free_at.unwrap_or(now).max(now) + takes;
        *free_at = Some(next);
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn readers_at_the_same_time_share_one_rate() {
        let limit = ReadLimit::new(NonZeroU64::new(1 << 20).unwrap());
        let began = Instant::now();
        let turns = [limit.read(1 << 20), limit.read(2 << 20)].map(|turn| (turn - began).as_secs());
        assert_eq!(turns, [1, 3]);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!((limit.read(1 << 20) - began).as_secs(), 101);
    }
}
