//! Compares this host's clock, which dates snapshots, with that of the store.

use chrono::{DateTime, TimeDelta, Utc};

/// Smaller differences are ignored.
const TOLERANCE: TimeDelta = TimeDelta::minutes(5);

/// By how much this host's clock is ahead of the store's (behind, if negative), if that is worth a warning.
/// `stored_at` is the store's time of an object written between these two moments.
pub(crate) fn offset(
    before: DateTime<Utc>,
    stored_at: DateTime<Utc>,
    after: DateTime<Utc>,
) -> Option<TimeDelta> {
    let offset = if stored_at < before {
        before - stored_at
    } else if stored_at > after {
        after - stored_at
    } else {
        return None;
    };
    (offset.abs() > TOLERANCE).then_some(offset)
}

/// The warning.
pub(crate) fn warning(offset: TimeDelta) -> String {
    let (minutes, direction) =
        (offset.num_minutes().abs(), if offset > TimeDelta::zero() { "ahead of" } else { "behind" });
    let amount = match (minutes / (24 * 60), minutes / 60) {
        (0, 0) => format!("{minutes} min"),
        (0, hours) => format!("{hours} h {:02} min", minutes % 60),
        (days, _) => format!("{days} days"),
    };
    format!(
        "the clock of this host is {amount} {direction} the store's: the snapshot is dated by it; set the clock, and remove a \
         snapshot that is dated in the future with `dbhaul forget SNAPSHOT` once a newer one is there"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_off_by_more_than_five_minutes_is_reported() {
        let at =
            |minutes: i64| DateTime::from_timestamp(1_800_000_000, 0).unwrap() + TimeDelta::minutes(minutes);
        // A slow upload is not a clock difference.
        assert_eq!(offset(at(0), at(30), at(60)), None);
        assert_eq!(offset(at(0), at(-5), at(1)), None);
        assert_eq!(offset(at(0), at(6), at(1)), None);
        let ahead = offset(at(0), at(-6), at(1)).unwrap();
        assert!(warning(ahead).contains("is 6 min ahead of the store's"), "{}", warning(ahead));
        let behind = offset(at(0), at(7), at(1)).unwrap();
        assert!(warning(behind).contains("is 6 min behind the store's"), "{}", warning(behind));
        let year = offset(at(0), at(-365 * 24 * 60), at(0)).unwrap();
        assert!(warning(year).contains("is 365 days ahead"), "{}", warning(year));
        assert!(warning(TimeDelta::minutes(62)).contains("1 h 02 min"));
    }
}
