//! Expiries during a replay.
//!
//! A server that loads its own AOF lets nothing expire meanwhile: a key whose time has passed may be renewed by a later
//! command, and is deleted by one if it was not. A live server has no such state. So every expiry that may pass during
//! the replay is told as one of a far future, a stand-in, and set right at the end: what has passed then goes.
//!
//! The target keeps what it is told in its own AOF, which may be replayed in its turn, so that times that look like
//! stand-ins do occur. They move a step farther on themselves, and back at the end: no time is taken for another.

/// One step into the future: the year 2527, and so far on that three steps are within what hash fields take (2^46 ms,
/// `HFE_MAX_ABS_TIME_MSEC` in `t_hash.c`).
const STEP: i64 = 1 << 44;
/// What may pass while a replay runs, in milliseconds.
const SOON: i64 = 24 * 3600 * 1000;

/// Which expiries have stand-ins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StandIns {
    horizon: i64,
}

impl StandIns {
    /// By the server's clock, in milliseconds since the epoch.
    pub(crate) fn new(now: i64) -> StandIns {
        StandIns { horizon: now.saturating_add(SOON) }
    }

    /// What is told the server: the expiry itself, or its stand-in.
    pub(crate) fn told(self, at: i64) -> i64 {
        if at <= self.horizon {
            // Every time until the epoch's second day is equally past.
            STEP + at.max(SOON)
        } else if self.is_stand_in(at) {
            at.saturating_add(STEP)
        } else {
            at
        }
    }

    /// What an expiry of the server means, when it is a stand-in.
    pub(crate) fn meant(self, at: i64) -> Option<i64> {
        self.is_stand_in(at).then(|| at - STEP)
    }

    /// Some servers tell expiries within milliseconds only: there is room at both ends.
    fn is_stand_in(self, at: i64) -> bool {
        at >= STEP && at % STEP <= self.horizon.saturating_add(SOON)
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
            // Told twice, as by a replay of a replay.
            let twice = times.told(times.told(at));
            assert_eq!(times.meant(twice).and_then(|once| times.meant(once)), Some(at));
        }
        assert_eq!(times.meant(times.told(-5)), Some(SOON));
        assert!(times.meant(times.told(now + SOON) + 9).is_some());
        for at in [now + SOON + 1, 9_999_999_999_999, STEP - 1, STEP + 9_999_999_999_999] {
            assert_eq!((times.told(at), times.meant(at)), (at, None), "{at}");
        }
        for at in [STEP, STEP + now, 3 * STEP + 5] {
            assert_eq!(times.meant(times.told(at)), Some(at));
        }
    }
}
