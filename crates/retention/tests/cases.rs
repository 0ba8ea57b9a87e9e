//! Fixed cases with expected results, and properties that hold for every series.

use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use proptest::prelude::*;
use retention::{Guards, Plan, Policy, PolicyError, Reason, Refusal, Snapshot, plan};

fn policy() -> Policy {
    Policy { daily: 7, weekly: 4, zone: chrono_tz::Asia::Seoul, ..Policy::default() }
}

/// A time in Seoul.
fn seoul(year: i32, month: u32, day: u32, hour: u32) -> DateTime<Utc> {
    chrono_tz::Asia::Seoul.with_ymd_and_hms(year, month, day, hour, 0, 0).unwrap().with_timezone(&Utc)
}

/// One snapshot a night at 03:00 in Seoul, the last on `last`.
fn nights(count: i64, last: DateTime<Utc>) -> Vec<Snapshot> {
    (0..count).rev().map(|back| at(last - TimeDelta::days(back))).collect()
}

fn at(moment: DateTime<Utc>) -> Snapshot {
    Snapshot::complete(
        moment.with_timezone(&chrono_tz::Asia::Seoul).format("%m-%d %H:%M").to_string(),
        moment,
    )
}

/// Plans a series of which only this is known, and the same series with its one source named: the decisions agree.
fn judge(policy: &Policy, snapshots: &[Snapshot], now: DateTime<Utc>) -> Plan {
    let unnamed = plan(policy, snapshots, now, &Guards::default()).unwrap();
    let named: Vec<Snapshot> = snapshots
        .iter()
        .map(|snapshot| {
            let sources = snapshot.complete.then(|| "postgres".to_owned()).into_iter().collect();
            Snapshot { sources: Some(sources), ..snapshot.clone() }
        })
        .collect();
    let named = plan(policy, &named, now, &Guards::default()).unwrap();
    assert_eq!(unnamed.refused, named.refused);
    for (one, other) in unnamed.entries.iter().zip(&named.entries) {
        assert_eq!((&one.id, reasons(one)), (&other.id, reasons(other)));
    }
    unnamed
}

fn reasons(entry: &retention::Entry) -> Vec<Reason> {
    entry.reasons.iter().map(|because| because.reason).collect()
}

fn kept_days(plan: &Plan) -> Vec<String> {
    plan.kept().map(|entry| entry.id[..5].to_owned()).collect()
}

#[test]
fn case_01_forty_nights() {
    let last = seoul(2026, 2, 9, 3);
    let plan = judge(&policy(), &nights(40, last), last + TimeDelta::hours(1));
    let expected = ["01-25", "02-01", "02-03", "02-04", "02-05", "02-06", "02-07", "02-08", "02-09"];
    assert_eq!(kept_days(&plan), expected);
}

#[test]
fn case_02_twice_a_day() {
    let last = seoul(2026, 2, 9, 15);
    let mut all = nights(40, last);
    all.extend(nights(40, last - TimeDelta::hours(12)));
    let plan = judge(&policy(), &all, last + TimeDelta::hours(1));
    let young: Vec<_> = plan.kept().filter(|e| e.has(Reason::Young)).map(|e| e.id.clone()).collect();
    assert_eq!(young, ["02-09 03:00", "02-09 15:00"]);
    assert!(plan.kept().filter(|e| !e.has(Reason::Young)).all(|e| e.id.ends_with("15:00")));
    assert_eq!(plan.kept().count(), 10);
}

#[test]
fn case_03_a_gap_of_thirty_days() {
    let last = seoul(2026, 2, 9, 3);
    let mut all = nights(10, last - TimeDelta::days(30));
    all.push(at(last));
    assert_eq!(judge(&policy(), &all, last).kept().count(), 9);
}

#[test]
fn case_04_across_the_iso_year() {
    let last = seoul(2026, 1, 10, 3);
    let plan = judge(&policy(), &nights(40, last), last);
    let weekly: Vec<_> = plan
        .kept()
        .filter(|e| e.has(Reason::Slot(retention::Period::Weekly)))
        .map(|e| e.id[..5].to_owned())
        .collect();
    assert_eq!(weekly, ["12-21", "12-28", "01-04", "01-10"]);
}

#[test]
fn case_05_a_month_does_not_take_a_weeks_slot() {
    let last = seoul(2026, 1, 20, 3);
    let policy = Policy { monthly: 24, ..policy() };
    let plan = judge(&policy, &nights(40, last), last);
    assert!(kept_days(&plan).contains(&"01-04".to_owned()));
}

#[test]
fn case_06_the_first_twelve_nights() {
    // 2026-01-07 is a Wednesday.
    let last = seoul(2026, 1, 18, 3);
    assert_eq!(judge(&policy(), &nights(12, last), last).kept().count(), 9);
}

#[test]
fn case_07_twenty_runs_in_one_day() {
    let first = seoul(2026, 2, 9, 1);
    let all: Vec<_> = (0..20).map(|n| at(first + TimeDelta::minutes(n * 30))).collect();
    let same_day = judge(&policy(), &all, first + TimeDelta::hours(12));
    assert_eq!((same_day.kept().count(), same_day.refused), (20, None));
    let later = judge(&policy(), &all, first + TimeDelta::hours(48));
    assert_eq!(later.kept().count(), 2);
    assert_eq!(later.refused, Some(Refusal::TooMany { would_go: 18, limit: 10 }));
}

#[test]
fn case_08_a_stray_from_the_future() {
    let last = seoul(2026, 2, 9, 3);
    let mut all = nights(20, last);
    all.push(at(last + TimeDelta::days(365)));
    let plan = judge(&policy(), &all, last);
    assert_eq!(plan.kept().count(), 10);
    let stray = plan.entries.last().unwrap();
    assert_eq!(reasons(stray), [Reason::Future]);
    assert_eq!(plan.warnings.len(), 1);
    assert_ne!(plan.refused, Some(Refusal::Clock));
}

#[test]
fn case_09_the_clock_was_set_back() {
    let last = seoul(2026, 2, 9, 3);
    let plan = judge(&policy(), &nights(20, last), last - TimeDelta::days(400));
    assert_eq!((plan.kept().count(), plan.refused.clone()), (20, Some(Refusal::Clock)));
    assert_eq!(plan.warnings.len(), 20);
}

#[test]
fn case_10_the_configured_zone_decides() {
    // 2026-02-08 20:00 UTC is the 9th in Seoul: one day there, two in UTC.
    let evening = Utc.with_ymd_and_hms(2026, 2, 8, 20, 0, 0).unwrap();
    let morning = Utc.with_ymd_and_hms(2026, 2, 9, 10, 0, 0).unwrap();
    let all = [at(evening), at(morning), at(morning - TimeDelta::days(3)), at(morning - TimeDelta::days(5))];
    let now = morning + TimeDelta::days(3);
    let seoul = judge(&Policy { daily: 2, zone: chrono_tz::Asia::Seoul, ..Policy::default() }, &all, now);
    let utc = judge(&Policy { daily: 2, ..Policy::default() }, &all, now);
    assert!(!seoul.kept().any(|entry| entry.taken_at == evening));
    assert!(utc.kept().any(|entry| entry.taken_at == evening));
}

#[test]
fn case_11_the_repeated_hour_is_two_slots() {
    let zone = chrono_tz::Europe::Berlin;
    // Daylight saving time ended on 2026-10-25 at 01:00 UTC.
    let first = Utc.with_ymd_and_hms(2026, 10, 25, 0, 30, 0).unwrap();
    let all: Vec<_> = (0..2).map(|n| at(first + TimeDelta::hours(n))).collect();
    let policy = Policy { hourly: 2, zone, ..Policy::default() };
    let plan = judge(&policy, &all, first + TimeDelta::days(3));
    let slots = plan.kept().filter(|e| e.has(Reason::Slot(retention::Period::Hourly))).count();
    assert_eq!(slots, 2);
}

#[test]
fn case_12_the_newest_is_partial() {
    let last = seoul(2026, 2, 9, 3);
    let mut all = nights(20, last);
    all.last_mut().unwrap().complete = false;
    let plan = judge(&policy(), &all, last + TimeDelta::days(2));
    let partial = plan.entries.last().unwrap();
    assert_eq!(reasons(partial), [Reason::NothingNewer]);
    assert!(plan.entries[18].has(Reason::Newest));
    let slots = plan.kept().filter(|e| e.has(Reason::Slot(retention::Period::Daily))).count();
    assert_eq!(slots, 7);
}

#[test]
fn case_13_a_pinned_one_takes_no_slot() {
    let last = seoul(2026, 2, 9, 3);
    let mut all = nights(6, last);
    let mut pinned = at(last + TimeDelta::hours(5));
    pinned.pinned = true;
    all.push(pinned);
    let policy = Policy { daily: 2, zone: chrono_tz::Asia::Seoul, ..Policy::default() };
    let plan = judge(&policy, &all, last + TimeDelta::days(9));
    assert_eq!(kept_days(&plan), ["02-08", "02-09", "02-09"]);
}

#[test]
fn case_14_the_only_verified_one_is_the_oldest() {
    let last = seoul(2026, 2, 9, 3);
    let mut all = nights(60, last);
    all[0].checked = true;
    assert!(judge(&policy(), &all, last).entries[0].has(Reason::Checked));
    all[0].checked = false;
    all[0].rehearsed = true;
    assert!(judge(&policy(), &all, last).entries[0].has(Reason::Rehearsed));
}

#[test]
fn case_15_a_policy_is_cut() {
    let last = seoul(2026, 2, 9, 3);
    let policy = Policy { daily: 7, zone: chrono_tz::Asia::Seoul, ..Policy::default() };
    let all = nights(30, last);
    assert_eq!(judge(&policy, &all, last).refused, Some(Refusal::TooMany { would_go: 23, limit: 15 }));
    let allowed = Guards { max_delete: Some(23), ..Guards::default() };
    assert_eq!(plan(&policy, &all, last, &allowed).unwrap().refused, None);
}

#[test]
fn case_16_an_empty_policy_is_an_error() {
    let error = plan(&Policy::default(), &[], Utc::now(), &Guards::default()).unwrap_err();
    assert_eq!(error, PolicyError::Empty);
    let wrong = Policy { keep_within: Some("28x".into()), ..policy() };
    assert_eq!(wrong.validate(), Err(PolicyError::KeepWithin("28x".into())));
}

#[test]
fn case_17_sundays_only() {
    let last = seoul(2026, 2, 8, 3);
    let all: Vec<_> = (0..14).map(|back| at(last - TimeDelta::weeks(back))).collect();
    assert_eq!(judge(&policy(), &all, last).kept().count(), 7);
}

#[test]
fn guards_refuse() {
    let last = seoul(2026, 2, 9, 3);
    let all = nights(12, last);
    let now = last + TimeDelta::days(2);
    let with = |guards: Guards| plan(&policy(), &all, now, &guards).unwrap().refused;
    let unreadable = Guards { unreadable_manifests: 1, ..Guards::default() };
    assert_eq!(with(unreadable), Some(Refusal::Unreadable { manifests: 1 }));
    let since = last + TimeDelta::hours(1);
    let failing = Guards { last_deletion_at: Some(since), ..Guards::default() };
    assert_eq!(with(failing), Some(Refusal::NothingSucceeded { since }));
    let fine = Guards { last_deletion_at: Some(last - TimeDelta::hours(1)), ..Guards::default() };
    assert_eq!(with(fine), None);
}

#[test]
fn a_policy_reads_from_toml() {
    let policy: Policy =
        toml::from_str("daily = 7\nweekly = 4\nzone = \"Asia/Seoul\"\nkeep-within = \"2w\"").unwrap();
    assert_eq!((policy.daily, policy.zone), (7, chrono_tz::Asia::Seoul));
    assert!(toml::from_str::<Policy>("dayly = 7").is_err());
    assert!(toml::from_str::<Policy>("zone = \"Asia/Soul\"").is_err());
}

prop_compose! {
    fn series()(hours in prop::collection::btree_set(0_i64..24 * 120, 1..60)) -> Vec<Snapshot> {
        hours.iter().map(|h| at(seoul(2026, 1, 1, 0) + TimeDelta::hours(*h))).collect()
    }
}

proptest! {
    #[test]
    fn applying_twice_changes_nothing(all in series(), daily in 1_u32..10, weekly in 0_u32..5) {
        let policy = Policy { daily, weekly, zone: chrono_tz::Asia::Seoul, ..Policy::default() };
        let now = all.last().unwrap().taken_at + TimeDelta::days(3);
        let first = judge(&policy, &all, now);
        let left: Vec<_> = all.iter().filter(|s| first.kept().any(|e| e.id == s.id && e.taken_at == s.taken_at)).cloned().collect();
        prop_assert_eq!(judge(&policy, &left, now).removed().count(), 0);
    }

    #[test]
    fn the_order_of_input_does_not_matter(all in series(), seed in any::<u64>()) {
        let now = all.last().unwrap().taken_at;
        let mut mixed = all.clone();
        mixed.sort_by_key(|s| s.taken_at.timestamp().wrapping_mul(seed as i64 | 1));
        prop_assert_eq!(judge(&policy(), &all, now), judge(&policy(), &mixed, now));
    }

    #[test]
    fn an_older_snapshot_never_drops_a_newer_one(all in series()) {
        let now = all.last().unwrap().taken_at + TimeDelta::days(2);
        let (oldest, rest) = all.split_first().unwrap();
        let before = judge(&policy(), rest, now);
        let after = judge(&policy(), &all, now);
        // The previously oldest one may lose that role to the added one; nothing else changes.
        for entry in before.kept().filter(|e| !e.reasons.iter().all(|r| matches!(r.reason, Reason::Oldest(_)))) {
            prop_assert!(after.kept().any(|e| e.taken_at == entry.taken_at), "{} was dropped for {}", entry.id, oldest.id);
        }
    }

    #[test]
    fn the_newest_of_each_of_the_last_filled_slots_stays(all in series(), daily in 0_u32..12, weekly in 0_u32..6, monthly in 1_u32..4) {
        let policy = Policy { daily, weekly, monthly, zone: chrono_tz::Asia::Seoul, ..Policy::default() };
        let plan = judge(&policy, &all, all.last().unwrap().taken_at + TimeDelta::days(2));
        // An independent count: the calendar's own formats as keys, the last of each wins.
        for (format, count) in [("%Y-%m-%d", daily), ("%G-W%V", weekly), ("%Y-%m", monthly)] {
            let newest: std::collections::BTreeMap<String, &Snapshot> = all
                .iter()
                .map(|s| (s.taken_at.with_timezone(&chrono_tz::Asia::Seoul).format(format).to_string(), s))
                .collect();
            for (slot, snapshot) in newest.iter().rev().take(count as usize) {
                let kept = plan.kept().any(|entry| entry.taken_at == snapshot.taken_at);
                prop_assert!(kept, "{slot}: {} was not kept", snapshot.id);
            }
        }
    }

    #[test]
    fn the_newest_always_stays(all in series()) {
        let now = all.last().unwrap().taken_at + TimeDelta::days(40);
        prop_assert!(judge(&policy(), &all, now).entries.last().unwrap().keep);
    }
}
