//! Input: snapshots as retention sees them, and the guards that must hold before anything is removed.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

/// How far a snapshot may be ahead of `now` before it counts as dated in the future.
const TOLERANCE: TimeDelta = TimeDelta::minutes(10);
/// A manifest stored this much later than its date does not prove the date. Backups that take longer are unaffected.
const MAX_STORE_DELAY: TimeDelta = TimeDelta::hours(24);

/// What retention needs to know about one snapshot of a series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its id.
    pub id: String,
    /// When the database snapshot began, by the manifest.
    pub taken_at: DateTime<Utc>,
    /// When its manifest was stored, by the store's clock.
    pub stored_at: Option<DateTime<Utc>>,
    /// The sources that it contains completely; `None` if unknown.
    pub sources: Option<BTreeSet<String>>,
    /// True if it contains all requested sources.
    pub complete: bool,
    /// True if its newest check found damage.
    pub known_bad: bool,
    /// Pinned by a user.
    pub pinned: bool,
    /// It passed a check of its data.
    pub checked: bool,
    /// It passed a rehearsal.
    pub rehearsed: bool,
    /// It is still being written.
    pub in_progress: bool,
    /// Another tool made it, and its user has to restore it by hand. It is kept like any other where nothing better is in
    /// its slot, and takes no slot from a snapshot that is not foreign.
    pub foreign: bool,
}

impl Snapshot {
    /// A complete snapshot with no other properties.
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
            foreign: false,
        }
    }

    /// A complete snapshot of these sources.
    pub fn of<S: Into<String>>(
        id: impl Into<String>,
        taken_at: DateTime<Utc>,
        sources: impl IntoIterator<Item = S>,
    ) -> Snapshot {
        let sources = Some(sources.into_iter().map(Into::into).collect());
        Snapshot { sources, ..Snapshot::complete(id, taken_at) }
    }

    /// True if its date is later than the clock tolerance.
    pub fn is_future(&self, now: DateTime<Utc>) -> bool {
        is_future(self.taken_at, now)
    }

    /// True if its manifest was stored much later than its date, or before it. The former applies to a copy from
    /// another repository, to an undeleted snapshot, and to one whose writer chose the date; the latter to one taken
    /// while the clock was ahead, even after that date has passed.
    pub fn is_date_unproven(&self) -> bool {
        let differs = |stored| stored > self.taken_at + MAX_STORE_DELAY || is_future(self.taken_at, stored);
        self.stored_at.is_some_and(differs)
    }

    /// Neither damaged nor unfinished.
    fn sound(&self) -> bool {
        !self.known_bad && !self.in_progress
    }

    /// Can be restored at least in part, as far as is known.
    pub(crate) fn good(&self) -> bool {
        self.sound() && self.sources.as_ref().map_or(self.complete, |sources| !sources.is_empty())
    }

    /// Whether it can restore this source, or without a name, all of its sources.
    pub(crate) fn holds(&self, source: Option<&str>) -> Holds {
        match (&self.sources, source) {
            _ if !self.sound() => Holds::No,
            (Some(sources), Some(source)) if sources.contains(source) => Holds::Yes,
            (None, None) if self.complete => Holds::Yes,
            (None, Some(_)) if self.complete => Holds::Unknown,
            _ => Holds::No,
        }
    }

    /// Whether it was meant to contain this source, restorable or not.
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
    /// It is complete, but its sources are unknown.
    Unknown,
}

/// True if this time is ahead of `now` by more than the clock tolerance.
pub(crate) fn is_future(at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    at > now + TOLERANCE
}

/// Facts that must be known before anything is removed.
#[derive(Debug, Clone, Default)]
pub struct Guards {
    /// Manifests that could not be read: they may be snapshots of this series.
    pub unreadable_manifests: usize,
    /// When something of this series was last removed. A time in the future came from a wrong clock and is ignored.
    pub last_deletion_at: Option<DateTime<Utc>>,
    /// The maximum number of removals at once; by default, half of the series.
    pub max_delete: Option<usize>,
}
