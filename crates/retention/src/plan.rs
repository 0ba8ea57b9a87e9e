//! The plan: every snapshot with its verdict and its reasons.

use chrono::{DateTime, TimeDelta, Utc};
use serde::Serialize;

use crate::slot::Slot;
use crate::{Period, Policy, PolicyError};

/// A snapshot may be this much ahead of `now` before it counts as coming from the future.
const TOLERANCE: TimeDelta = TimeDelta::minutes(10);
/// What is younger than this always stays.
const YOUNG: TimeDelta = TimeDelta::hours(24);
/// So many may always go at once, however small the series.
const SMALL: usize = 3;

/// What retention needs to know of a snapshot of one series.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Names it.
    pub id: String,
    /// When the database's own snapshot began.
    pub taken_at: DateTime<Utc>,
    /// Every source is in it.
    pub complete: bool,
    /// Its newest check or rehearsal failed.
    pub known_bad: bool,
    /// A person said that it stays.
    pub pinned: bool,
    /// It passed a check of its data.
    pub checked: bool,
    /// It passed a rehearsal.
    pub rehearsed: bool,
    /// It is still being written.
    pub in_progress: bool,
}

impl Snapshot {
    /// A complete snapshot of which nothing else is known.
    pub fn complete(id: impl Into<String>, taken_at: DateTime<Utc>) -> Snapshot {
        Snapshot {
            id: id.into(),
            taken_at,
            complete: true,
            known_bad: false,
            pinned: false,
            checked: false,
            rehearsed: false,
            in_progress: false,
        }
    }

    /// Could be restored, as far as is known.
    fn good(&self) -> bool {
        self.complete && !self.known_bad && !self.in_progress
    }
}

/// What else must be known before anything may be deleted.
#[derive(Debug, Clone, Default)]
pub struct Guards {
    /// Manifests that could not be read: they may be snapshots of this series.
    pub unreadable_manifests: usize,
    /// When something of this series was last deleted.
    pub last_deletion_at: Option<DateTime<Utc>>,
    /// The most that may go at once; without it, half of the series.
    pub max_delete: Option<usize>,
}

/// Why a snapshot stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason", content = "period")]
pub enum Reason {
    /// It is the newest of its slot.
    Slot(Period),
    /// It is the oldest, and this rule is not full yet.
    Oldest(Period),
    /// It lies within `keep-within` of the newest.
    Within,
    /// It is the newest complete one.
    Newest,
    /// It is the newest that passed a check.
    Checked,
    /// It is the newest that passed a rehearsal.
    Rehearsed,
    /// A person pinned it.
    Pinned,
    /// It is younger than a day.
    Young,
    /// It is dated in the future; it takes no slot.
    Future,
    /// It is still being written.
    InProgress,
    /// It is not whole, but nothing whole is newer.
    NothingNewer,
}

/// One snapshot's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// Names it.
    pub id: String,
    /// When it was taken.
    pub taken_at: DateTime<Utc>,
    /// Stays, or goes.
    pub keep: bool,
    /// Why it stays; empty when it goes.
    pub reasons: Vec<Reason>,
}

/// Why nothing may be deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "refusal")]
#[non_exhaustive]
pub enum Refusal {
    /// Some manifests cannot be read, so the series is not known.
    Unreadable {
        /// How many.
        manifests: usize,
    },
    /// Most snapshots are dated in the future: the clock is wrong.
    Clock,
    /// Nothing succeeded since the last deletion: backups fail.
    NothingSucceeded {
        /// The last deletion.
        since: DateTime<Utc>,
    },
    /// More would go than looks like housekeeping.
    TooMany {
        /// How many would go.
        would_go: usize,
        /// How many may.
        limit: usize,
    },
}

/// Worth a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "warning")]
#[non_exhaustive]
pub enum Warning {
    /// A snapshot is dated in the future.
    Future {
        /// Which.
        id: String,
        /// Its date.
        taken_at: DateTime<Utc>,
    },
    /// No snapshot of the series is complete.
    NoneComplete,
}

/// The verdict on a whole series, oldest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Plan {
    /// Every snapshot.
    pub entries: Vec<Entry>,
    /// Worth a word.
    pub warnings: Vec<Warning>,
    /// The oldest moment that can still be restored afterwards.
    pub oldest_restore_point: Option<DateTime<Utc>>,
    /// Why the plan must not be carried out.
    pub refused: Option<Refusal>,
}

impl Plan {
    /// What goes.
    pub fn removed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.keep)
    }

    /// What stays.
    pub fn kept(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| entry.keep)
    }
}

/// Judges one series. The order of `snapshots` does not matter; `now` is the caller's clock.
pub fn plan(
    policy: &Policy,
    snapshots: &[Snapshot],
    now: DateTime<Utc>,
    guards: &Guards,
) -> Result<Plan, PolicyError> {
    policy.validate()?;
    let within = policy.within()?;
    let mut series: Vec<&Snapshot> = snapshots.iter().collect();
    series.sort_by(|a, b| (a.taken_at, &a.id).cmp(&(b.taken_at, &b.id)));
    let mut reasons: Vec<Vec<Reason>> = vec![Vec::new(); series.len()];

    let future = |snapshot: &Snapshot| snapshot.taken_at > now + TOLERANCE;
    // Newest first: the first that falls into a slot is the one that keeps it.
    let eligible: Vec<usize> = (0..series.len())
        .rev()
        .filter(|&at| series.get(at).is_some_and(|s| s.good() && !s.pinned && !future(s)))
        .collect();

    for (period, count) in policy.rules() {
        let mut filled = 0;
        let mut last = None;
        for &at in &eligible {
            if filled == count {
                break;
            }
            let slot = Slot::of(period, series[at].taken_at, policy.zone);
            if last != Some(slot) {
                last = Some(slot);
                filled += 1;
                reasons[at].push(Reason::Slot(period));
            }
        }
        if let Some(&oldest) = eligible.last()
            && filled < count
            && !reasons[oldest].contains(&Reason::Slot(period))
        {
            reasons[oldest].push(Reason::Oldest(period));
        }
    }
    if let (Some(span), Some(&newest)) = (within, eligible.first()) {
        let since = series[newest].taken_at - span;
        for &at in eligible.iter().filter(|&&at| series[at].taken_at >= since) {
            reasons[at].push(Reason::Within);
        }
    }

    let newest_that = |test: &dyn Fn(&Snapshot) -> bool| series.iter().rposition(|s| s.good() && test(s));
    // A stray from the future must not stand for the newest: both are kept.
    for (found, reason) in [
        (newest_that(&|s| !future(s)).or(newest_that(&|_| true)), Reason::Newest),
        (newest_that(&|s| s.checked), Reason::Checked),
        (newest_that(&|s| s.rehearsed), Reason::Rehearsed),
    ] {
        if let Some(at) = found {
            reasons[at].push(reason);
        }
    }
    let newest_good = newest_that(&|s| !future(s));
    let mut warnings = Vec::new();
    for (at, snapshot) in series.iter().enumerate() {
        let always = [
            (snapshot.pinned, Reason::Pinned),
            (future(snapshot), Reason::Future),
            (!future(snapshot) && now - snapshot.taken_at < YOUNG, Reason::Young),
            (snapshot.in_progress, Reason::InProgress),
            (!snapshot.good() && newest_good.is_none_or(|newest| at > newest), Reason::NothingNewer),
        ];
        reasons[at].extend(always.iter().filter(|(holds, _)| *holds).map(|(_, reason)| *reason));
        if future(snapshot) {
            warnings.push(Warning::Future { id: snapshot.id.clone(), taken_at: snapshot.taken_at });
        }
    }
    if newest_that(&|_| true).is_none() && !series.is_empty() {
        warnings.push(Warning::NoneComplete);
    }

    let entries: Vec<Entry> = series
        .iter()
        .zip(reasons)
        .map(|(snapshot, reasons)| Entry {
            id: snapshot.id.clone(),
            taken_at: snapshot.taken_at,
            keep: !reasons.is_empty(),
            reasons,
        })
        .collect();
    let oldest_restore_point =
        series.iter().zip(&entries).find(|(s, entry)| s.good() && entry.keep).map(|(s, _)| s.taken_at);
    let strays = series.iter().filter(|s| future(s)).count();
    let refused = refusal(&series, &entries, strays, guards);
    Ok(Plan { entries, warnings, oldest_restore_point, refused })
}

/// What speaks against carrying the plan out. One stray in the future is kept and told; when half of the series or
/// more lies in the future, it is the clock that is wrong, and no date can be trusted.
fn refusal(series: &[&Snapshot], entries: &[Entry], strays: usize, guards: &Guards) -> Option<Refusal> {
    if guards.unreadable_manifests > 0 {
        return Some(Refusal::Unreadable { manifests: guards.unreadable_manifests });
    }
    if strays > 0 && strays * 2 >= series.len() {
        return Some(Refusal::Clock);
    }
    let would_go = entries.iter().filter(|entry| !entry.keep).count();
    if would_go == 0 {
        return None;
    }
    if let Some(since) = guards.last_deletion_at
        && !series.iter().any(|s| s.good() && s.taken_at > since)
    {
        return Some(Refusal::NothingSucceeded { since });
    }
    let limit = guards.max_delete.unwrap_or_else(|| SMALL.max(series.len() / 2));
    (would_go > limit).then_some(Refusal::TooMany { would_go, limit })
}
