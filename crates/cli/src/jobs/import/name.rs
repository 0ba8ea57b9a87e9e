//! The time in the name of a backup file. Scripts put the date there, and it survives a copy, unlike the modification
//! time.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone as _, Utc};

/// The time in a file name, such as `20261123`, `20261123_030500`, `2026-11-23_03-05-00` or `20261123T030500Z`, in
/// this zone unless it ends with `Z`. Without a time of day, the beginning of the day.
pub(super) fn date(name: &str, zone: chrono_tz::Tz) -> Option<DateTime<Utc>> {
    let bytes = name.as_bytes();
    (0..bytes.len()).find_map(|at| {
        // A date starts at the beginning of a number.
        let begins = at == 0 || !bytes.get(at - 1).is_some_and(u8::is_ascii_digit);
        let (moment, utc) = begins.then(|| moment(bytes.get(at..)?)).flatten()?;
        match utc {
            true => Some(moment.and_utc()),
            // A local time that daylight saving time skips maps to the first one after the gap.
            false => [0, 1]
                .into_iter()
                .find_map(|hours| {
                    zone.from_local_datetime(&(moment + chrono::TimeDelta::hours(hours))).earliest()
                })
                .map(|local| local.with_timezone(&Utc)),
        }
    })
}

fn moment(text: &[u8]) -> Option<(NaiveDateTime, bool)> {
    let mut rest = text;
    let year = digits(&mut rest, 4)?;
    let dashed = separator(&mut rest, b"-");
    let month = digits(&mut rest, 2)?;
    if separator(&mut rest, b"-") != dashed {
        return None;
    }
    let day = digits(&mut rest, 2)?;
    // A longer number is not a date.
    if rest.first().is_some_and(u8::is_ascii_digit) && !dashed {
        return match time(&mut rest) {
            Some(time) => Some((at(year, month, day, time)?, separator(&mut rest, b"Z"))),
            None => None,
        };
    }
    let mut after = rest;
    let time = match separator(&mut after, b"_-T ") {
        true => time(&mut after).inspect(|_| rest = after),
        false => None,
    };
    let utc = time.is_some() && separator(&mut rest, b"Z");
    Some((at(year, month, day, time.unwrap_or_default())?, utc))
}

fn at(year: u32, month: u32, day: u32, time: NaiveTime) -> Option<NaiveDateTime> {
    // Other numbers of eight digits are not dates.
    (1990..2200).contains(&year).then_some(())?;
    Some(NaiveDate::from_ymd_opt(year.try_into().ok()?, month, day)?.and_time(time))
}

/// `HHMM` or `HHMMSS`, with or without separators.
fn time(rest: &mut &[u8]) -> Option<NaiveTime> {
    let mut read = *rest;
    let hour = digits(&mut read, 2)?;
    let apart = separator(&mut read, b"-:.");
    let minute = digits(&mut read, 2)?;
    let mut longer = read;
    let second = match separator(&mut longer, b"-:.") == apart {
        true => digits(&mut longer, 2).inspect(|_| read = longer),
        false => None,
    };
    if read.first().is_some_and(u8::is_ascii_digit) {
        return None;
    }
    *rest = read;
    NaiveTime::from_hms_opt(hour, minute, second.unwrap_or(0))
}

fn digits(rest: &mut &[u8], number: usize) -> Option<u32> {
    let (digits, after) = rest.split_at_checked(number)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    *rest = after;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn separator(rest: &mut &[u8], any_of: &[u8]) -> bool {
    match rest.split_first() {
        Some((first, after)) if any_of.contains(first) => {
            *rest = after;
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_as_scripts_write_them() {
        let seoul = chrono_tz::Tz::Asia__Seoul;
        for (name, expected) in [
            ("coinpilot_20261123_030500.sql.gz", Some("2026-11-22T18:05:00Z")),
            ("coinpilot_20261123-0305.sql.gz", Some("2026-11-22T18:05:00Z")),
            ("coinpilot_20261123030500.sql.gz", Some("2026-11-22T18:05:00Z")),
            ("coinpilot_redis_2026-11-23_03-05-00.tar.gz", Some("2026-11-22T18:05:00Z")),
            ("coinpilot_2026-11-23T03:05:00Z.sql.gz", Some("2026-11-23T03:05:00Z")),
            ("coinpilot_20261123.sql.gz", Some("2026-11-22T15:00:00Z")),
            ("v2_coinpilot_20261123T030500Z.sql.gz", Some("2026-11-23T03:05:00Z")),
            ("20261123.sql.gz", Some("2026-11-22T15:00:00Z")),
            ("coinpilot_20261323.sql.gz", None),
            ("coinpilot_20261123_2505.sql.gz", Some("2026-11-22T15:00:00Z")),
            ("coinpilot_12345678.sql.gz", None),
            ("coinpilot_2026112.sql.gz", None),
            ("coinpilot_202611231.sql.gz", None),
            ("coinpilot_latest.sql.gz", None),
            ("é20261123.sql.gz", Some("2026-11-22T15:00:00Z")),
            ("", None),
        ] {
            let found = date(name, seoul).map(|at| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true));
            assert_eq!(found.as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn an_hour_that_the_clock_skipped_or_had_twice() {
        let zone = chrono_tz::Tz::Europe__Berlin;
        let of = |name| date(name, zone).unwrap().to_rfc3339();
        assert_eq!(of("x_20260329_023000"), "2026-03-29T01:30:00+00:00");
        assert_eq!(of("x_20261025_023000"), "2026-10-25T00:30:00+00:00");
    }
}
