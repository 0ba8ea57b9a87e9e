//! Input: snapshots as retention sees them, and the guards that must hold before anything is removed.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

/// A snapshot may be this much ahead of `now` before it counts as dated in the future.
const TOLERANCE: TimeDelta = TimeDelta::minutes(10);
/// A manifest that was stored this much later than it says it was taken does not prove its date. A backup that ran
/// longer loses nothing by it.
const LATE: TimeDelta = TimeDelta::hours(24);

/// What retention needs to know about one snapshot of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// When the database's own snapshot began, as the manifest says.
    pub taken_at: DateTime<Utc>,
    /// When its manifest was stored, by the store's clock.
    pub stored_at: Option<DateTime<Utc>>,
    /// The sources that it holds whole. `None` where they cannot be known.
    pub sources: Option<BTreeSet<String>>,
    /// Every source that was asked for is in it.
    pub complete: bool,
    /// Its newest check found damage.
    pub known_bad: bool,
    /// Pinned by a user.
    pub pinned: bool,
    /// It passed a check of its data.
    pub checked: bool,
    /// It passed a rehearsal.
    pub rehearsed: bool,
    /// It is still being written.
    pub in_progress: bool,
}

impl Snapshot {
    /// A complete snapshot about which nothing else is known.
    pub fn complete(id: impl Into<String>, taken_at: DateTime<Utc>) -> Snapshot {
        Snapshot {
            id: id.into(),
            taken_at,
            stored_at: None,
            sources: None,
            complete: true,
            known_bad: false,
            pinned: false,
            checked: false,
            rehearsed: false,
            in_progress: false,
        }
    }

    /// The same, of these sources.
    pub fn of<S: Into<String>>(
        id: impl Into<String>,
        taken_at: DateTime<Utc>,
        sources: impl IntoIterator<Item = S>,
    ) -> Snapshot {
        let sources = Some(sources.into_iter().map(Into::into).collect());
        Snapshot { sources, ..Snapshot::complete(id, taken_at) }
    }

    /// True if it is dated later than the clock allows for.
    pub fn is_future(&self, now: DateTime<Utc>) -> bool {
        is_future(self.taken_at, now)
    }

    /// True if its manifest was stored much later than it says it was taken, or before. The first is so of a copy from
    /// another repository, of one that was undeleted, and of one whose writer chose the date; the second of one that
    /// was taken while the clock was ahead, also once that date has passed.
    pub fn is_date_unproven(&self) -> bool {
        let differs = |stored| stored > self.taken_at + LATE || is_future(self.taken_at, stored);
        self.stored_at.is_some_and(differs)
    }

    /// Neither damaged nor unfinished.
    fn sound(&self) -> bool {
        !self.known_bad && !self.in_progress
    }

    /// Could be restored, as far as is known, at least in part.
    pub(crate) fn good(&self) -> bool {
        self.sound() && self.sources.as_ref().map_or(self.complete, |sources| !sources.is_empty())
    }

    /// Whether it can restore this source; without a name, the whole of what it is about.
    pub(crate) fn holds(&self, source: Option<&str>) -> Holds {
        match (&self.sources, source) {
            _ if !self.sound() => Holds::No,
            (Some(sources), Some(source)) if sources.contains(source) => Holds::Yes,
            (None, None) if self.complete => Holds::Yes,
            (None, Some(_)) if self.complete => Holds::Unknown,
            _ => Holds::No,
        }
    }

    /// Whether it was to hold this source, restorable or not.
    pub(crate) fn is_about(&self, source: Option<&str>) -> bool {
        match (&self.sources, source) {
            (Some(sources), Some(source)) => sources.is_empty() || sources.contains(source),
            _ => true,
        }
    }
}

/// Whether a snapshot can restore a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Holds {
    Yes,
    No,
    /// It is complete, but what it is complete of is not known.
    Unknown,
}

/// True if this moment lies further ahead of `now` than clocks may differ.
pub(crate) fn is_future(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    at > now + TOLERANCE
}

/// What must be known before anything may be removed.
#[derive(Debug, Clone, Default)]
pub struct Guards {
    /// Manifests that could not be read: they may be snapshots of this series.
    pub unreadable_manifests: usize,
    /// When something of this series was last removed. A moment in the future was stamped by a wrong clock, and is not
    /// taken into account.
    pub last_deletion_at: Option<DateTime<Utc>>,
    /// The most that may be removed at once; without it, half of the series.
    pub max_delete: Option<usize>,
}
