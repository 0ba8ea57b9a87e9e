//! Simulated nights: subset backups, two jobs in one repository, a clock ahead, sources that fail for a week, false
//! dates. In all cases each source keeps its seven days and four weeks, as counted by an independent model.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use retention::{Guards, Policy, Snapshot, plan};

const SCHEDULES: u64 = 10_000;
const NIGHTS: u64 = 35;
/// How days and weeks are written, and how many of each are kept.
const SLOTS: [(&str, usize); 2] = [("%Y-%m-%d", 7), ("%G-W%V", 4)];

/// xorshift64*: the schedules are the same in every run, and a failure names its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A job with its sources, the one that fails this week, and everything ever taken of each, by its true time.
struct Job {
    name: &'static str,
    sources: &'static [&'static str],
    failing: Option<(&'static str, u64)>,
    /// The newest of each slot, by source and slot format.
    newest: BTreeMap<(&'static str, &'static str), BTreeMap<String, String>>,
    last_deletion_at: Option<DateTime<Utc>>,
}

/// The listed snapshots, each with its job.
type Repository = Vec<(&'static str, Snapshot)>;

impl Job {
    fn new(name: &'static str, sources: &'static [&'static str]) -> Job {
        Job { name, sources, failing: None, newest: BTreeMap::new(), last_deletion_at: None }
    }

    /// Takes a snapshot of these sources at this true time, with a clock that is ahead by this much.
    fn back_up(
        &mut self,
        at: DateTime<Utc>,
        ahead: TimeDelta,
        wanted: &[&'static str],
        list: &mut Repository,
    ) {
        let whole: Vec<&'static str> = wanted
            .iter()
            .copied()
            .filter(|s| self.failing.is_none_or(|(failing, _)| failing != *s))
            .collect();
        if whole.is_empty() {
            return;
        }
        let id = format!("{}-{}", self.name, list.len() as i64 * 1000 + at.timestamp());
        let complete = whole.len() == wanted.len();
        if ahead.is_zero() {
            let seoul = at.with_timezone(&chrono_tz::Asia::Seoul);
            for (format, _) in SLOTS {
                let slot = seoul.format(format).to_string();
                for source in &whole {
                    self.newest.entry((*source, format)).or_default().insert(slot.clone(), id.clone());
                }
            }
        }
        let snapshot = Snapshot { complete, stored_at: Some(at), ..Snapshot::of(id, at + ahead, whole) };
        list.push((self.name, snapshot));
    }

    /// Applies the plan for this job. `now` is the store's clock, which is correct.
    fn forget(&mut self, policy: &Policy, now: DateTime<Utc>, list: &mut Repository) {
        let series: Vec<Snapshot> =
            list.iter().filter(|(job, _)| *job == self.name).map(|(_, s)| s.clone()).collect();
        let guards = Guards { last_deletion_at: self.last_deletion_at, ..Guards::default() };
        let plan = plan(policy, &series, now, &guards).unwrap();
        if plan.refused.is_some() {
            return;
        }
        let gone: BTreeSet<String> = plan.removed().map(|entry| entry.id.clone()).collect();
        if !gone.is_empty() {
            self.last_deletion_at = Some(now);
            list.retain(|(_, snapshot)| !gone.contains(&snapshot.id));
        }
    }

    /// The model: for each source, the last snapshot of each of its last seven days and four weeks is still listed.
    fn check(&self, seed: u64, night: u64, list: &Repository) {
        let listed: BTreeSet<&str> =
            list.iter().filter(|(job, _)| *job == self.name).map(|(_, s)| s.id.as_str()).collect();
        for ((source, format), slots) in &self.newest {
            let (_, count) = SLOTS.into_iter().find(|(of, _)| of == format).unwrap();
            for (slot, id) in slots.iter().rev().take(count) {
                assert!(
                    listed.contains(id.as_str()),
                    "schedule {seed}, night {night}: {source} of {} lost {id}, its newest of {slot}",
                    self.name
                );
            }
        }
    }
}

fn play(seed: u64) -> usize {
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let policy = Policy { daily: 7, weekly: 4, zone: chrono_tz::Asia::Seoul, ..Policy::default() };
    let first =
        Utc.with_ymd_and_hms(2026, 1, 1, 18, 5, 0).unwrap() + TimeDelta::days(random.below(400) as i64);
    let mut jobs =
        [Job::new("shop", &["postgres", "redis"]), Job::new("blog", &["postgres", "cache", "redis"])];
    let mut list = Repository::new();
    let clock_ahead = random.below(NIGHTS);
    for night in 0..NIGHTS {
        let now = first + TimeDelta::days(night as i64);
        for job in &mut jobs {
            // A host that is down takes no snapshots; it is so for some nights in a row.
            if random.one_in(12) {
                continue;
            }
            job.failing = match job.failing {
                Some((source, left)) if left > 1 => Some((source, left - 1)),
                Some(_) => None,
                None if random.one_in(15) => {
                    Some((job.sources[random.below(job.sources.len() as u64) as usize], 7))
                }
                None => None,
            };
            let ahead = match night == clock_ahead {
                true => TimeDelta::days(1 + random.below(700) as i64),
                false => TimeDelta::zero(),
            };
            job.back_up(now, ahead, job.sources, &mut list);
            job.forget(&policy, now + TimeDelta::minutes(5), &mut list);
            // By day, one or two sources by name, as the runbook says after a failure.
            let by_day = random.below(3);
            for hour in 1..=by_day {
                let at = now + TimeDelta::hours(hour as i64 * 5);
                let from = random.below(job.sources.len() as u64) as usize;
                job.back_up(at, TimeDelta::zero(), &job.sources[from..=from], &mut list);
            }
            if by_day > 0 {
                job.forget(&policy, now + TimeDelta::hours(15), &mut list);
            }
            // An attacker with write access chooses a past date.
            if random.one_in(6) {
                let dated = now - TimeDelta::hours(25 + random.below(24 * 20) as i64);
                let id = format!("false-{night}-{}", job.name);
                let snapshot =
                    Snapshot { stored_at: Some(now), ..Snapshot::of(id, dated, job.sources.iter().copied()) };
                list.push((job.name, snapshot));
            }
            job.check(seed, night, &list);
        }
    }
    list.len()
}

#[test]
fn each_source_keeps_its_seven_days_and_four_weeks_over_ten_thousand_schedules() {
    // On a few threads.
    let threads: Vec<_> = (0..4)
        .map(|thread| std::thread::spawn(move || (thread..SCHEDULES).step_by(4).map(play).max().unwrap()))
        .collect();
    let largest = threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap();
    // A policy that kept everything would pass too.
    assert!(largest < 150, "a repository was left with {largest} snapshots");
}
