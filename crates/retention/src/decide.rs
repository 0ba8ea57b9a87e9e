//! Decides which snapshots are kept. The rules apply to each source of a series separately, whatever else a snapshot
//! contains: a snapshot is kept as long as any of its sources needs it.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};

use crate::plan::{Entry, Plan, Reason, Refusal, RestorePoint, SourcedReason, Warning};
use crate::slot::Slot;
use crate::snapshot::{Holds, is_future};
use crate::{Guards, Policy, PolicyError, Snapshot};

/// Snapshots younger than this are always kept.
const ALWAYS_KEPT_AGE: TimeDelta = TimeDelta::hours(24);
/// This many may always be removed at once, however small the series.
const ALWAYS_REMOVABLE: usize = 3;

/// Plans the retention of one series. The order of `snapshots` does not matter; `now` is the caller's clock.
pub fn plan(
    policy: &Policy,
    snapshots: &[Snapshot],
    now: DateTime<Utc>,
    guards: &Guards,
) -> Result<Plan, PolicyError> {
    policy.validate()?;
    let within = policy.within()?;
    let mut series = Series::new(snapshots, now);
    series.local = series.snapshots.iter().map(|s| s.taken_at.with_timezone(&policy.zone)).collect();
    for source in series.sources() {
        series.count(policy, within, source.as_deref());
        series.guard(source.as_deref());
        series.keep_best_available(source.as_deref());
    }
    series.keep_always();
    Ok(series.into_plan(policy.zone, guards))
}

/// The snapshots that no policy removes: for each source the newest, the newest that passed a check and the newest that
/// passed a rehearsal; and the pinned ones. Entries of other snapshots have no reason.
pub fn protected(snapshots: &[Snapshot], now: DateTime<Utc>) -> Vec<Entry> {
    let mut series = Series::new(snapshots, now);
    for source in series.sources() {
        series.guard(source.as_deref());
    }
    for at in 0..series.snapshots.len() {
        if series.snapshots[at].pinned {
            series.keep(at, Reason::Pinned, None);
        }
    }
    series.into_entries()
}

struct Series<'a> {
    /// Oldest first.
    snapshots: Vec<&'a Snapshot>,
    /// When each was taken, in the zone of the policy.
    local: Vec<DateTime<chrono_tz::Tz>>,
    reasons: Vec<Vec<SourcedReason>>,
    now: DateTime<Utc>,
}

impl<'a> Series<'a> {
    fn new(snapshots: &'a [Snapshot], now: DateTime<Utc>) -> Series<'a> {
        let mut snapshots: Vec<&Snapshot> = snapshots.iter().collect();
        snapshots.sort_by(|a, b| (a.taken_at, &a.id).cmp(&(b.taken_at, &b.id)));
        let reasons = vec![Vec::new(); snapshots.len()];
        Series { snapshots, local: Vec::new(), reasons, now }
    }

    fn names(&self) -> BTreeSet<&'a str> {
        self.snapshots.iter().filter_map(|s| s.sources.as_ref()).flatten().map(String::as_str).collect()
    }

    /// The sources to count; one without a name where none is known.
    fn sources(&self) -> Vec<Option<String>> {
        let names: Vec<_> = self.names().into_iter().map(|name| Some(name.to_owned())).collect();
        if names.is_empty() { vec![None] } else { names }
    }

    fn keep(&mut self, at: usize, reason: Reason, source: Option<&str>) {
        let reasons = &mut self.reasons[at];
        let known = reasons.iter_mut().find(|sourced| sourced.reason == reason);
        match (known, source) {
            (Some(sourced), Some(source)) => {
                if !sourced.sources.iter().any(|known| known == source) {
                    sourced.sources.push(source.to_owned());
                }
            }
            (Some(_), None) => {}
            (None, source) => {
                let sources = source.map(str::to_owned).into_iter().collect();
                reasons.push(SourcedReason { reason, sources });
            }
        }
    }

    /// The snapshots that can restore a source, newest first, without those from the future: first those whose date and
    /// content are certain and that no other tool made, then all.
    fn holders(&self, source: Option<&str>) -> (Vec<usize>, Vec<usize>) {
        let all = (0..self.snapshots.len()).rev().filter(|&at| {
            let snapshot = self.snapshots[at];
            snapshot.holds(source) != Holds::No && !snapshot.is_future(self.now)
        });
        let all: Vec<usize> = all.collect();
        let certain = |at: &usize| {
            let snapshot = self.snapshots[*at];
            snapshot.holds(source) == Holds::Yes && !snapshot.is_date_unproven() && !snapshot.foreign
        };
        (all.iter().copied().filter(certain).collect(), all)
    }

    /// Counts one source. A snapshot whose date or content is uncertain takes no slot from a certain one; it is kept if
    /// it would be kept when certain.
    fn count(&mut self, policy: &Policy, within: Option<TimeDelta>, source: Option<&str>) {
        let (mut certain, mut all) = self.holders(source);
        let unpinned = |at: &usize| !self.snapshots[*at].pinned;
        certain.retain(unpinned);
        all.retain(unpinned);
        for (at, reason) in self.kept_by_rules(policy, within, &certain) {
            self.keep(at, reason, source);
        }
        if certain.len() < all.len() {
            for (at, reason) in self.kept_by_rules(policy, within, &all) {
                if !certain.contains(&at) {
                    self.keep(at, reason, source);
                }
            }
        }
    }

    /// What the rules keep of these snapshots, which are sorted newest first.
    fn kept_by_rules(
        &self,
        policy: &Policy,
        within: Option<TimeDelta>,
        eligible: &[usize],
    ) -> Vec<(usize, Reason)> {
        let last = usize::try_from(policy.last).unwrap_or(usize::MAX);
        let mut kept: Vec<_> = eligible.iter().take(last).map(|&at| (at, Reason::Last)).collect();
        for (period, count) in policy.rules().into_iter().filter(|(_, count)| *count > 0) {
            let mut filled = 0;
            let mut last = None;
            for &at in eligible {
                if filled == count {
                    break;
                }
                // The first one in a slot is its newest.
                let slot = Slot::of(period, &self.local[at]);
                if last != Some(slot) {
                    last = Some(slot);
                    filled += 1;
                    kept.push((at, Reason::Slot(period)));
                }
            }
            if let Some(&oldest) = eligible.last()
                && filled < count
                && !kept.contains(&(oldest, Reason::Slot(period)))
            {
                kept.push((oldest, Reason::Oldest(period)));
            }
        }
        if let (Some(span), Some(&newest)) = (within, eligible.first()) {
            let since = self.snapshots[newest].taken_at - span;
            let close = eligible.iter().filter(|&&at| self.snapshots[at].taken_at >= since);
            kept.extend(close.map(|&at| (at, Reason::Within)));
        }
        kept
    }

    /// Keeps what must not be removed without a replacement. A snapshot from the future, or with an uncertain date or
    /// content, does not replace a certain one as the newest: both are kept.
    fn guard(&mut self, source: Option<&str>) {
        let (certain, all) = self.holders(source);
        for reason in [Reason::Newest, Reason::Checked, Reason::Rehearsed] {
            let passed = |snapshot: &Snapshot| match reason {
                Reason::Checked => snapshot.checked,
                Reason::Rehearsed => snapshot.rehearsed,
                _ => true,
            };
            for holders in [&certain, &all] {
                if let Some(&at) = holders.iter().find(|&&at| passed(self.snapshots[at])) {
                    self.keep(at, reason, source);
                }
            }
        }
    }

    /// A snapshot that cannot be restored is better than nothing while there is no better, newer one.
    fn keep_best_available(&mut self, source: Option<&str>) {
        let newest = self.holders(source).1.into_iter().find(|&at| !self.snapshots[at].foreign);
        for at in 0..self.snapshots.len() {
            let snapshot = self.snapshots[at];
            let broken = snapshot.is_about(source) && snapshot.holds(source) == Holds::No && !snapshot.good();
            if broken && newest.is_none_or(|newest| at > newest) {
                self.keep(at, Reason::NothingNewer, source);
            }
        }
    }

    /// Keeps snapshots regardless of their contents.
    fn keep_always(&mut self) {
        for at in 0..self.snapshots.len() {
            let snapshot = self.snapshots[at];
            let future = snapshot.is_future(self.now);
            let always = [
                (snapshot.pinned, Reason::Pinned),
                (future, Reason::Future),
                (!future && self.now - snapshot.taken_at < ALWAYS_KEPT_AGE, Reason::Young),
                (snapshot.in_progress, Reason::InProgress),
            ];
            for (_, reason) in always.iter().filter(|(holds, _)| *holds) {
                self.keep(at, *reason, None);
            }
        }
    }

    fn into_entries(self) -> Vec<Entry> {
        let decided = self.snapshots.iter().zip(self.reasons);
        decided
            .map(|(snapshot, reasons)| Entry {
                id: snapshot.id.clone(),
                taken_at: snapshot.taken_at,
                keep: !reasons.is_empty(),
                reasons,
                date_unproven: snapshot.is_date_unproven(),
            })
            .collect()
    }

    fn into_plan(self, zone: chrono_tz::Tz, guards: &Guards) -> Plan {
        let mut warnings = Vec::new();
        for snapshot in self.snapshots.iter().filter(|snapshot| snapshot.is_future(self.now)) {
            warnings.push(Warning::Future { id: snapshot.id.clone(), taken_at: snapshot.taken_at });
        }
        if !self.snapshots.is_empty() && !self.snapshots.iter().any(|snapshot| snapshot.good()) {
            warnings.push(Warning::NoneComplete);
        }
        let oldest = |source: Option<String>| {
            let mut kept =
                self.snapshots.iter().zip(&self.reasons).filter(|(_, reasons)| !reasons.is_empty());
            let (oldest, _) = kept.find(|(snapshot, _)| snapshot.holds(source.as_deref()) == Holds::Yes)?;
            Some(RestorePoint { source, taken_at: oldest.taken_at })
        };
        let oldest_restore_points = self.sources().into_iter().filter_map(oldest).collect();
        let sources = self.names().into_iter().map(str::to_owned).collect();
        let refused = self.refusal(guards);
        Plan { zone, sources, entries: self.into_entries(), warnings, oldest_restore_points, refused }
    }

    /// Why the plan must not be applied. A single snapshot dated in the future is kept with a warning; if half of the
    /// series or more is, the clock is wrong and no date can be trusted.
    fn refusal(&self, guards: &Guards) -> Option<Refusal> {
        if guards.unreadable_manifests > 0 {
            return Some(Refusal::Unreadable { manifests: guards.unreadable_manifests });
        }
        let strays = self.snapshots.iter().filter(|snapshot| snapshot.is_future(self.now)).count();
        if strays > 0 && strays * 2 >= self.snapshots.len() {
            return Some(Refusal::Clock);
        }
        let would_go = self.reasons.iter().filter(|reasons| reasons.is_empty()).count();
        if would_go == 0 {
            return None;
        }
        let succeeded = |since: DateTime<Utc>| {
            let mut good = self.snapshots.iter().filter(|s| s.good() && !s.foreign && !s.is_future(self.now));
            good.any(|snapshot| snapshot.taken_at > since)
        };
        if let Some(since) = guards.last_deletion_at.filter(|since| !is_future(*since, self.now))
            && !succeeded(since)
        {
            return Some(Refusal::NothingSucceeded { since });
        }
        let limit = guards.max_delete.unwrap_or_else(|| ALWAYS_REMOVABLE.max(self.snapshots.len() / 2));
        (would_go > limit).then_some(Refusal::TooMany { would_go, limit })
    }
}
