//! Limits the upload rate of a run, over all parallel uploads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::Rate;

/// Spreads uploads over time. Unlimited by default.
#[derive(Debug, Default)]
pub(crate) struct UploadLimit {
    /// Bytes per second; 0 for no limit.
    rate: AtomicU64,
    /// When the line is free again.
    free_at: Mutex<Option<Instant>>,
}

impl UploadLimit {
    pub(crate) fn set(&self, rate: Rate) {
        self.rate.store(rate.0.get(), Ordering::Relaxed);
    }

    /// Waits until this many bytes may be sent. An object is sent at once when its turn comes, and the following ones
    /// wait for as long as it should have taken: the average holds, in steps of one object.
    pub(crate) async fn take(&self, bytes: u64) {
        let rate = self.rate.load(Ordering::Relaxed);
        if rate == 0 || bytes == 0 {
            return;
        }
        let turn = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = free_at.unwrap_or_else(Instant::now).max(Instant::now());
            *free_at = Some(turn + Duration::from_secs_f64(bytes as f64 / rate as f64));
            turn
        };
        tokio::time::sleep_until(turn).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn writers_at_the_same_time_share_one_rate() {
        let limit = UploadLimit::default();
        let began = Instant::now();
        limit.take(1 << 40).await;
        assert_eq!(began.elapsed(), Duration::ZERO, "unlimited");
        limit.set("1MiB/s".parse().unwrap());
        futures::future::join_all((0..11).map(|_| limit.take(1 << 20))).await;
        assert_eq!(began.elapsed().as_secs(), 10);
        // Unused time is not made up for.
        tokio::time::sleep(Duration::from_secs(100)).await;
        limit.take(1 << 20).await;
        limit.take(1 << 20).await;
        assert_eq!(began.elapsed().as_secs(), 111);
    }
}
