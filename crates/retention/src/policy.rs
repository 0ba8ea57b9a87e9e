//! The policy, as it is written in a configuration.

use std::collections::BTreeSet;
use std::fmt;

use chrono::TimeDelta;
use serde::{Deserialize, Serialize};

use crate::Period;

/// How many slots of each period keep their newest snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Policy {
    /// The newest N, whatever their age.
    pub last: u32,
    /// Hours.
    pub hourly: u32,
    /// Calendar days.
    pub daily: u32,
    /// ISO weeks, which end on Sunday.
    pub weekly: u32,
    /// Calendar months.
    pub monthly: u32,
    /// Calendar years.
    pub yearly: u32,
    /// Everything within this duration of the newest snapshot: a number and `h`, `d` or `w`, such as `28d`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_within: Option<String>,
    /// Snapshots with one of these tags are kept like pinned ones; `keep` by default.
    pub keep_tags: BTreeSet<String>,
    /// The time zone whose calendar the rules use.
    pub zone: chrono_tz::Tz,
}

impl Default for Policy {
    fn default() -> Self {
        Policy {
            last: 0,
            hourly: 0,
            daily: 0,
            weekly: 0,
            monthly: 0,
            yearly: 0,
            keep_within: None,
            keep_tags: BTreeSet::from(["keep".to_owned()]),
            zone: chrono_tz::Tz::UTC,
        }
    }
}

/// An invalid policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// Every count is zero: this would keep nothing.
    #[error(
        "the retention policy keeps nothing: set at least one of last, hourly, daily, weekly, monthly, yearly, keep-within"
    )]
    Empty,
    /// `keep-within` is not a duration.
    #[error("keep-within = \"{0}\" is not a number followed by h, d or w")]
    KeepWithin(String),
}

impl Policy {
    /// Checks that the policy keeps something.
    pub fn validate(&self) -> Result<(), PolicyError> {
        let within = self.within()?;
        if within.is_none() && self.last == 0 && self.rules().iter().all(|(_, count)| *count == 0) {
            return Err(PolicyError::Empty);
        }
        Ok(())
    }

    /// True if a snapshot with these tags is kept whatever its age.
    pub fn keeps(&self, tags: &BTreeSet<String>) -> bool {
        !self.keep_tags.is_disjoint(tags)
    }

    /// The periods with their counts.
    pub(crate) fn rules(&self) -> [(Period, u32); 5] {
        [
            (Period::Hourly, self.hourly),
            (Period::Daily, self.daily),
            (Period::Weekly, self.weekly),
            (Period::Monthly, self.monthly),
            (Period::Yearly, self.yearly),
        ]
    }

    /// `keep-within` as a duration.
    pub(crate) fn within(&self) -> Result<Option<TimeDelta>, PolicyError> {
        let Some(text) = &self.keep_within else { return Ok(None) };
        let wrong = || PolicyError::KeepWithin(text.clone());
        let unit = text.chars().last().ok_or_else(wrong)?;
        let number: i64 = text.strip_suffix(unit).and_then(|n| n.trim().parse().ok()).ok_or_else(wrong)?;
        let hours = match unit {
            'h' => 1,
            'd' => 24,
            'w' => 24 * 7,
            _ => return Err(wrong()),
        };
        let span = number.checked_mul(hours).and_then(TimeDelta::try_hours).ok_or_else(wrong)?;
        if span <= TimeDelta::zero() { Err(wrong()) } else { Ok(Some(span)) }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.rules().into_iter().filter(|(_, count)| *count > 0);
        let mut rules: Vec<String> =
            Some(self.last).filter(|last| *last > 0).map(|last| format!("last {last}")).into_iter().collect();
        rules.extend(counts.map(|(period, count)| format!("{period} {count}")));
        rules.extend(self.keep_within.as_ref().map(|span| format!("keep-within {span}")));
        write!(f, "{} ({})", rules.join(", "), self.zone)
    }
}
