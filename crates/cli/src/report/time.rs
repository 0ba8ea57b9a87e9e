//! Times in reports: in the configured zone, with its name, so that they are unambiguous.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

/// `2026-11-24 03:05:00 KST`; with an offset if the zone has no abbreviation.
pub(crate) fn time(at: DateTime<Utc>, zone: Tz) -> String {
    at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S %Z").to_string()
}

/// The date in this zone.
pub(crate) fn day(at: DateTime<Utc>, zone: Tz) -> String {
    at.with_timezone(&zone).format("%Y-%m-%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone as _;

    #[test]
    fn a_time_is_of_its_zone() {
        let at = Utc.with_ymd_and_hms(2026, 11, 23, 18, 5, 0).unwrap();
        assert_eq!(time(at, chrono_tz::Asia::Seoul), "2026-11-24 03:05:00 KST");
        assert_eq!(time(at, Tz::UTC), "2026-11-23 18:05:00 UTC");
        assert_eq!(time(at, chrono_tz::America::Sao_Paulo), "2026-11-23 15:05:00 -03");
        assert_eq!(day(at, chrono_tz::Asia::Seoul), "2026-11-24");
    }
}
