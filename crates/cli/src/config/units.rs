//! Configuration values with a unit: durations, percentages, times of day.

use std::fmt;
use std::str::FromStr;

use chrono::{NaiveTime, TimeDelta, Weekday};
use serde::{Deserialize, Deserializer};

/// Deserializes a value from its text, so that an error names the line and what was expected.
fn from_text<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err = String>,
{
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

/// A duration, such as `90s`, `15m`, `36h`, `8d` or `2w`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) TimeDelta);

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        let wrong =
            || format!("`{text}` is not a duration: expected a number and one of s, m, h, d, w, as in 36h");
        let unit = text.chars().last().ok_or_else(wrong)?;
        let number: i64 = text.strip_suffix(unit).and_then(|n| n.trim().parse().ok()).ok_or_else(wrong)?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 24 * 3600,
            'w' => 7 * 24 * 3600,
            _ => return Err(wrong()),
        };
        let span = number.checked_mul(seconds).and_then(TimeDelta::try_seconds).ok_or_else(wrong)?;
        if span < TimeDelta::zero() { Err(wrong()) } else { Ok(Span(span)) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.num_seconds();
        let units = [(7 * 24 * 3600, "w"), (24 * 3600, "d"), (3600, "h"), (60, "m")];
        // The largest unit that divides it: 36h stays 36h.
        match units.into_iter().find(|(unit, _)| seconds != 0 && seconds % unit == 0) {
            Some((unit, name)) => write!(f, "{}{name}", seconds / unit),
            None => write!(f, "{seconds}s"),
        }
    }
}

/// A percentage, such as `50%`; `None` for `none`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Share(pub(crate) Option<f64>);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        if text == "none" {
            return Ok(Share(None));
        }
        let number = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
        match number.filter(|number| *number > 0.0 && *number <= 100.0) {
            Some(percent) => Ok(Share(Some(percent / 100.0))),
            None => Err(format!("`{text}` is not a share: expected a percentage, as in 50%, or none")),
        }
    }
}

/// How much data to read and verify, such as `5%` or `2GiB`; `None` for `none`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample(pub(crate) Option<repository::Portion>);

impl FromStr for Sample {
    type Err = String;

    fn from_str(text: &str) -> Result<Sample, String> {
        match text {
            "none" => Ok(Sample(None)),
            text => text.parse().map(|portion| Sample(Some(portion))),
        }
    }
}

/// A time of day, such as `03:05`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeOfDay(pub(crate) NaiveTime);

impl FromStr for TimeOfDay {
    type Err = String;

    fn from_str(text: &str) -> Result<TimeOfDay, String> {
        NaiveTime::parse_from_str(text, "%H:%M")
            .map(TimeOfDay)
            .map_err(|_| format!("`{text}` is not a time of day: expected hours and minutes, as in 03:05"))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.format("%H:%M"))
    }
}

/// A day of the week and a time, such as `Sun 04:30`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TimeOfWeek {
    /// The day.
    pub(crate) day: Weekday,
    /// The time.
    pub(crate) time: NaiveTime,
}

impl FromStr for TimeOfWeek {
    type Err = String;

    fn from_str(text: &str) -> Result<TimeOfWeek, String> {
        let wrong =
            || format!("`{text}` is not a time of the week: expected a day and a time, as in Sun 04:30");
        let (day, time) = text.split_once(' ').ok_or_else(wrong)?;
        let time = time.trim().parse::<TimeOfDay>().map_err(|_| wrong())?.0;
        Ok(TimeOfWeek { day: day.parse().map_err(|_| wrong())?, time })
    }
}

impl fmt::Display for TimeOfWeek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.day, self.time.format("%H:%M"))
    }
}

macro_rules! deserialize_from_text {
    ($($name:ty),*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                from_text(deserializer)
            }
        }
    )*};
}

deserialize_from_text!(Span, Share, Sample, TimeOfDay, TimeOfWeek);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_unit_and_is_shown_as_it_was_written() {
        for text in ["90s", "15m", "36h", "8d", "2w"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for wrong in ["", "36", "h", "-1h", "36 hours", "99999999999999999w", "1é"] {
            assert!(wrong.parse::<Span>().unwrap_err().contains("is not a duration"), "{wrong}");
        }
    }

    #[test]
    fn shares_samples_and_times_are_checked() {
        assert_eq!("50%".parse::<Share>().unwrap().0, Some(0.5));
        assert_eq!("none".parse::<Share>().unwrap().0, None);
        for wrong in ["50", "0%", "101%", "x%", ""] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
        assert_eq!("5%".parse::<Sample>().unwrap().0, Some(repository::Portion::BasisPoints(500)));
        assert_eq!("none".parse::<Sample>().unwrap().0, None);
        assert!("all".parse::<Sample>().is_err());
        assert_eq!("03:05".parse::<TimeOfDay>().unwrap().to_string(), "03:05");
        assert!("25:00".parse::<TimeOfDay>().is_err());
        assert_eq!("Sun 04:30".parse::<TimeOfWeek>().unwrap().to_string(), "Sun 04:30");
        assert!("04:30".parse::<TimeOfWeek>().is_err());
    }
}
