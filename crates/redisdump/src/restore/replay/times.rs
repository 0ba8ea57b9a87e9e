//! Expiries during a replay.
//!
//! A server that loads its own AOF lets nothing expire meanwhile: a key whose time has passed may be renewed by a later
//! command, and is deleted by one if it was not. A live server has no such state. So every expiry that may pass during
//! the replay is told as one of a far future, a stand-in, and set right at the end: what has passed then goes.

/// Later than any time that is meant, and before the latest that hash fields take (2^46 ms, `HFE_MAX_ABS_TIME_MSEC` in
/// `t_hash.c`): the year 3084.
const FAR: i64 = 1 << 45;
/// What may pass while a replay runs, in milliseconds.
const SOON: i64 = 24 * 3600 * 1000;

/// Which expiries have stand-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::restore) struct StandIns {
    horizon: i64,
}

impl StandIns {
    /// By the server's clock, in milliseconds since the epoch.
    pub(in crate::restore) fn new(now: i64) -> StandIns {
        StandIns { horizon: now.saturating_add(SOON) }
    }

    /// What is told the server: the expiry itself, or its stand-in.
    pub(in crate::restore) fn told(self, at: i64) -> i64 {
        // Every time until the epoch's second day is equally past.
        if at <= self.horizon { FAR + at.max(SOON) } else { at }
    }

    /// What an expiry of the server means, when it is a stand-in. Some servers tell expiries within milliseconds only:
    /// there is room at both ends.
    pub(in crate::restore) fn meant(self, at: i64) -> Option<i64> {
        (FAR..=self.horizon.saturating_add(FAR + SOON)).contains(&at).then(|| at - FAR)
    }

    /// Whether an expiry, as it stands in a file, could be taken for a stand-in: one around the year 3110.
    pub(in crate::restore) fn is_like_one(self, at: i64) -> bool {
        self.meant(at).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_pass_meanwhile_has_a_stand_in() {
        let now = 1_800_000_000_000;
        let times = StandIns::new(now);
        for at in [SOON, now - 1, now, now + SOON] {
            assert!(times.told(at) > now + SOON && times.meant(times.told(at)) == Some(at), "{at}");
        }
        assert_eq!(times.meant(times.told(-5)), Some(SOON));
        assert!(times.meant(times.told(now + SOON) + 9).is_some() && times.is_like_one(times.told(0)));
        for at in [now + SOON + 1, 9_999_999_999_999, i64::MAX] {
            assert_eq!((times.told(at), times.meant(at)), (at, None), "{at}");
        }
    }
}
