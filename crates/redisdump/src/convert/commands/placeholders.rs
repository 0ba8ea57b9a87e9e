//! Placeholders for expiries during a replay.
//!
//! A server that loads its own AOF does not expire keys meanwhile: a later command may still extend or delete a key
//! whose time has passed. A live server has no such mode. So every expiry that may pass during the replay is replaced
//! by a placeholder in the far future, and restored at the end, when past ones take effect.
//!
//! The target records the commands in its own AOF, which may be replayed again, so that times which look like
//! placeholders do occur. Those are moved by a further step, and back at the end: times are never confused.

/// One step into the future: the year 2527, so far that three steps are within the range of field TTLs (2^46 ms,
/// `HFE_MAX_ABS_TIME_MSEC` in `t_hash.c`).
const STEP: i64 = 1 << 44;
/// The maximum duration of a replay, in milliseconds.
const MAX_REPLAY: i64 = 24 * 3600 * 1000;

/// Decides which expiries have placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PlaceholderExpiries {
    horizon: i64,
}

impl PlaceholderExpiries {
    /// By the server's clock, in milliseconds since the epoch.
    pub(crate) fn new(now: i64) -> PlaceholderExpiries {
        PlaceholderExpiries { horizon: now.saturating_add(MAX_REPLAY) }
    }

    /// The expiry to send: the expiry itself, or its placeholder.
    pub(crate) fn placeholder(self, at: i64) -> i64 {
        if at <= self.horizon {
            // All times up to the epoch's second day are equally past.
            STEP + at.max(MAX_REPLAY)
        } else if self.is_placeholder(at) {
            at.saturating_add(STEP)
        } else {
            at
        }
    }

    /// The expiry that a placeholder on the server represents.
    pub(crate) fn original(self, at: i64) -> Option<i64> {
        self.is_placeholder(at).then(|| at - STEP)
    }

    /// Some servers round expiries to milliseconds, so leave room at both ends.
    fn is_placeholder(self, at: i64) -> bool {
        at >= STEP && at % STEP <= self.horizon.saturating_add(MAX_REPLAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_expiries_that_may_pass_meanwhile_have_a_placeholder() {
        let now = 1_800_000_000_000;
        let times = PlaceholderExpiries::new(now);
        for at in [MAX_REPLAY, now - 1, now, now + MAX_REPLAY] {
            assert!(
                times.placeholder(at) > now + MAX_REPLAY && times.original(times.placeholder(at)) == Some(at),
                "{at}"
            );
            // Converted twice, as in a replay of a replay.
            let twice = times.placeholder(times.placeholder(at));
            assert_eq!(times.original(twice).and_then(|once| times.original(once)), Some(at));
        }
        assert_eq!(times.original(times.placeholder(-5)), Some(MAX_REPLAY));
        assert!(times.original(times.placeholder(now + MAX_REPLAY) + 9).is_some());
        for at in [now + MAX_REPLAY + 1, 9_999_999_999_999, STEP - 1, STEP + 9_999_999_999_999] {
            assert_eq!((times.placeholder(at), times.original(at)), (at, None), "{at}");
        }
        for at in [STEP, STEP + now, 3 * STEP + 5] {
            assert_eq!(times.original(times.placeholder(at)), Some(at));
        }
    }
}
