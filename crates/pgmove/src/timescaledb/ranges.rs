//! Time ranges that a continuous aggregate considers up to date, in the extension's internal integers.
//!
//! The extension records ranges that are *not* up to date: an invalidation log for each aggregate, one for changes of
//! a hypertable that were not moved to its aggregates yet, and ranges whose refresh is in progress. Together they
//! determine what a refresh recomputes. A target must get the same ranges: with more of them, a refresh would
//! recompute from raw rows that may be gone; with fewer, data would never be recomputed.

use super::statements::is_time;
use crate::timescaledb::model::Aggregate;

/// From and to, both inclusive, as in the extension's logs.
pub(crate) type Range = (i64, i64);

/// Sorts ranges and merges those that overlap or touch.
pub(super) fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.retain(|(from, to)| from <= to);
    ranges.sort_unstable();
    let mut out: Vec<Range> = Vec::new();
    for (from, to) in ranges {
        match out.last_mut() {
            Some(last) if from <= last.1.saturating_add(1) => last.1 = last.1.max(to),
            _ => out.push((from, to)),
        }
    }
    out
}

/// The intersection of `ranges` with `within`.
pub(super) fn overlap(ranges: &[Range], within: &[Range]) -> Vec<Range> {
    let pairs = ranges.iter().flat_map(|range| within.iter().map(move |other| (range, other)));
    merged(pairs.map(|(a, b)| (a.0.max(b.0), a.1.min(b.1))).collect())
}

/// The gaps between `invalid`, which is merged: the ranges that are up to date, as `[from, to)`, where `None` is an
/// open end.
pub(crate) fn valid(invalid: &[Range]) -> Vec<(Option<i64>, Option<i64>)> {
    let mut out = Vec::new();
    let mut from = Some(i64::MIN);
    for (start, end) in invalid {
        if let Some(from) = from.filter(|from| from < start) {
            out.push(((from != i64::MIN).then_some(from), Some(*start)));
        }
        from = end.checked_add(1);
    }
    if let Some(from) = from {
        out.push(((from != i64::MIN).then_some(from), None));
    }
    out
}

/// Formats a range: times as times.
pub(super) fn shown(column_type: &str, (from, to): Range) -> String {
    let one = |value: i64| match chrono::DateTime::from_timestamp_micros(value) {
        Some(time) if is_time(column_type) => time.format("%Y-%m-%d %H:%M:%S%.f+00").to_string(),
        _ => value.to_string(),
    };
    format!("from {} up to {}", one(from), one(to))
}

/// Formats the length of a range: times in days and hours, otherwise the integer.
pub(super) fn length(column_type: &str, length: i64) -> String {
    const UNITS: [(&str, i64); 4] =
        [("days", 86_400_000_000), ("hours", 3_600_000_000), ("minutes", 60_000_000), ("seconds", 1_000_000)];
    let whole = UNITS.iter().find(|(_, unit)| length % unit == 0).filter(|_| is_time(column_type));
    match whole {
        Some((name, unit)) => format!("{} {name}", length / unit),
        None if is_time(column_type) => format!("{length} microseconds"),
        None => length.to_string(),
    }
}

/// Maximum number of ranges in a message.
const NAMED: usize = 5;

/// A warning about rows below the watermark that changed and were not refreshed since, if raw rows remain: `changed`
/// are such ranges. Without raw rows, a refresh would not change anything.
pub(super) fn pending_warning(aggregate: &Aggregate, changed: &[Range]) -> Option<String> {
    let kind = aggregate.materialized.dimensions.first().map_or("", |d| d.column_type.as_str());
    let mut listed: Vec<String> = changed.iter().take(NAMED).map(|range| shown(kind, *range)).collect();
    if changed.len() > NAMED {
        listed.push(format!("and in {} more ranges", changed.len() - NAMED));
    }
    (!listed.is_empty()).then(|| {
        format!(
            "continuous aggregate {}: not refreshed {}, where there are rows to refresh it from; its rows are copied as they \
             are, and the target marks the same ranges as not refreshed",
            aggregate.name,
            listed.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_touch_are_one() {
        assert_eq!(
            merged(vec![(5, 9), (i64::MIN, 4), (20, i64::MAX), (21, 22)]),
            [(i64::MIN, 9), (20, i64::MAX)]
        );
        assert_eq!(merged(vec![(3, 1)]), []);
    }

    #[test]
    fn what_is_not_invalid_is_valid() {
        assert_eq!(valid(&[(i64::MIN, i64::MAX)]), []);
        assert_eq!(valid(&[(10, i64::MAX)]), [(None, Some(10))]);
        assert_eq!(
            valid(&[(i64::MIN, 4), (10, 19), (30, i64::MAX)]),
            [(Some(5), Some(10)), (Some(20), Some(30))]
        );
        assert_eq!(valid(&[]), [(None, None)]);
    }

    #[test]
    fn only_buckets_with_raw_rows_count() {
        assert_eq!(overlap(&[(0, 10), (50, 60)], &[(5, 20), (21, 40)]), [(5, 10)]);
        assert_eq!(overlap(&[(0, 10)], &[]), []);
    }

    #[test]
    fn times_are_shown_as_times() {
        assert_eq!(
            shown("timestamp with time zone", (1_769_904_000_000_000, 1_769_904_000_500_000)),
            "from 2026-02-01 00:00:00+00 up to 2026-02-01 00:00:00.500+00"
        );
        assert_eq!(shown("bigint", (1, 2)), "from 1 up to 2");
        assert_eq!(length("date", 7 * 86_400_000_000), "7 days");
        assert_eq!(length("timestamp with time zone", 90_000_000), "90 seconds");
        assert_eq!(length("bigint", 86_400_000_000), "86400000000");
    }
}
