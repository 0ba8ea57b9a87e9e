//! Calendar slots: the hour, day, week, month or year of a point in time.

use std::fmt;

use chrono::{DateTime, Datelike as _, Offset as _, Timelike as _};
use serde::{Deserialize, Serialize};

/// A period of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Period {
    /// An hour; the repeated hour at the end of daylight saving time is two.
    Hourly,
    /// A calendar day.
    Daily,
    /// An ISO week, Monday to Sunday, numbered with its own ISO year.
    Weekly,
    /// A calendar month.
    Monthly,
    /// A calendar year.
    Yearly,
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Period::Hourly => "hourly",
            Period::Daily => "daily",
            Period::Weekly => "weekly",
            Period::Monthly => "monthly",
            Period::Yearly => "yearly",
        })
    }
}

/// The slot of a point in time: equal for two points in time if they are in the same period. Slots of different periods
/// are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slot([i32; 5]);

impl Slot {
    pub(crate) fn of(period: Period, local: &DateTime<chrono_tz::Tz>) -> Slot {
        let (year, month, day) = (local.year(), local.month() as i32, local.day() as i32);
        Slot(match period {
            Period::Hourly => [year, month, day, local.hour() as i32, local.offset().fix().local_minus_utc()],
            Period::Daily => [year, month, day, 0, 0],
            Period::Weekly => [local.iso_week().year(), local.iso_week().week() as i32, 0, 0, 0],
            Period::Monthly => [year, month, 0, 0, 0],
            Period::Yearly => [year, 0, 0, 0, 0],
        })
    }
}
