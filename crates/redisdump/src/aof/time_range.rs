//! The points in time up to which an AOF can be read, by its base and its `#TS:` annotations.

use super::command::{Command, Keep};
use super::error::FileError;
use super::files::{Files, ReadOptions, read};
use super::visitor::Visitor;
use crate::rdb::{self, Elements};

/// The time range of an AOF, in seconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeRange {
    /// The time at which its base was written (`ctime` of an RDB).
    pub base: Option<i64>,
    /// The first annotation.
    pub first: Option<i64>,
    /// The latest annotation.
    pub last: Option<i64>,
    /// Number of commands; [`TimeRange::undated`] of them precede the first annotation, so that their time is unknown.
    pub commands: u64,
    /// See [`TimeRange::commands`].
    pub undated: u64,
}

impl TimeRange {
    /// Reads all files, blocking on disk I/O.
    ///
    /// # Errors
    /// The first fault found by [`read`].
    pub fn of(files: &Files) -> Result<TimeRange, FileError> {
        let mut moments = TimeRange::default();
        let keep = Keep::Beginning { arguments: 1, bytes: 16 };
        read(files, ReadOptions { keep, ..ReadOptions::default() }, &mut moments, &mut |_, _| ())?;
        Ok(moments)
    }

    /// The earliest point in time that can be restored, if known.
    pub fn earliest(&self) -> Option<i64> {
        match (self.undated, self.base) {
            (0, Some(base)) => Some(base),
            _ => self.first,
        }
    }

    /// The latest time in the files.
    pub fn latest(&self) -> Option<i64> {
        match self.commands {
            0 => self.last.max(self.base),
            _ => self.last,
        }
    }

    /// Why the contents at a point in time are unknown; `None` if they are known.
    pub fn refusal(&self, until: i64) -> Option<String> {
        let why = match (self.earliest(), self.first) {
            (_, None) if self.commands > 0 => {
                "its commands carry no timestamps (no #TS: lines; `aof-timestamp-enabled yes` writes them): when they \
                 ran is unknown"
                    .to_owned()
            }
            (Some(earliest), _) if until >= earliest => return None,
            (Some(_), _) => format!("{} is before the earliest restorable time", shown(until)),
            (None, _) => "it contains no timestamps".to_owned(),
        };
        let moment = |at: Option<i64>| at.map_or_else(|| "not known".to_owned(), shown);
        let base = match self.base {
            Some(base) if self.earliest() != Some(base) => {
                format!("; its base was written at {}", shown(base))
            }
            _ => String::new(),
        };
        let (earliest, latest) = (moment(self.earliest()), moment(self.latest()));
        Some(format!("{why}. Earliest moment: {earliest}; latest: {latest}{base}"))
    }
}

impl Elements for TimeRange {}

impl rdb::Visitor for TimeRange {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        if name == b"ctime" && self.base.is_none() {
            self.base = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
        }
    }
}

impl Visitor for TimeRange {
    fn annotation(&mut self, _offset: u64, text: &[u8]) {
        let digits = text.strip_prefix(b"TS:").and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(seconds) = digits.and_then(|digits| digits.trim().parse::<i64>().ok()) {
            self.first.get_or_insert(seconds);
            self.last = self.last.max(Some(seconds));
        }
    }

    fn command(&mut self, _command: &Command<'_>) {
        self.commands += 1;
        self.undated += u64::from(self.first.is_none());
    }
}

/// A point in time in UTC, in the form of RFC 3339.
pub(crate) fn shown(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // RFC 3339 has no form for years with more than four digits. The calculation is Howard Hinnant's `civil_from_days`.
    if !(-719_528..2_932_897).contains(&days) {
        return format!("{seconds} s since 1970");
    }
    let z = days + 719_468;
    let (era, of_era) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_shown_in_utc() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_826_154, "2000-02-29T12:09:14Z"),
            (1_764_288_000, "2025-11-28T00:00:00Z"),
            (4_102_444_799, "2099-12-31T23:59:59Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (i64::MAX, "9223372036854775807 s since 1970"),
        ] {
            assert_eq!(shown(seconds), text);
        }
    }

    #[test]
    fn a_moment_is_dated_as_exactly_as_the_file_allows() {
        let all = TimeRange { base: Some(100), first: Some(110), last: Some(120), commands: 5, undated: 0 };
        assert_eq!((all.refusal(100), all.refusal(115), all.refusal(999)), (None, None, None));
        let early = all.refusal(99).unwrap();
        assert!(
            early.contains("Earliest moment: 1970-01-01T00:01:40Z; latest: 1970-01-01T00:02:00Z"),
            "{early}"
        );
        // Commands of unknown time, between the base and the first annotation.
        let undated = TimeRange { undated: 2, ..all };
        assert!(undated.refusal(105).unwrap().contains("base was written at 1970-01-01T00:01:40Z"));
        assert_eq!(undated.refusal(110), None);
        let none = TimeRange { first: None, last: None, undated: 5, ..all };
        assert!(none.refusal(999).unwrap().contains("no timestamps"));
        let base = TimeRange { base: Some(100), ..TimeRange::default() };
        assert_eq!((base.refusal(100), base.latest()), (None, Some(100)));
        assert!(base.refusal(99).is_some() && TimeRange::default().refusal(5).is_some());
    }
}
