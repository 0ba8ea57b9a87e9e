//! Each source of a series is counted separately, and neither a wrong clock nor a false date costs it a day.

use chrono::{DateTime, TimeDelta, TimeZone as _, Utc};
use retention::{Guards, Period, Plan, Policy, Reason, Refusal, Snapshot, plan, protected};

const BOTH: [&str; 2] = ["postgres", "redis"];

fn policy() -> Policy {
    Policy { daily: 7, weekly: 4, zone: chrono_tz::Asia::Seoul, ..Policy::default() }
}

/// Three in the morning in Seoul, this many days after a Monday.
fn night(day: i64) -> DateTime<Utc> {
    let first = chrono_tz::Asia::Seoul.with_ymd_and_hms(2026, 1, 5, 3, 0, 0).unwrap();
    first.with_timezone(&Utc) + TimeDelta::days(day)
}

fn judge(snapshots: &[Snapshot], now: DateTime<Utc>) -> Plan {
    let guards = Guards { max_delete: Some(usize::MAX), ..Guards::default() };
    plan(&policy(), snapshots, now, &guards).unwrap()
}

fn kept_with(plan: &Plan, snapshots: &[Snapshot], source: &str) -> usize {
    let kept = |snapshot: &&Snapshot| plan.kept().any(|entry| entry.id == snapshot.id);
    let holds = |snapshot: &&Snapshot| snapshot.sources.as_ref().is_some_and(|s| s.contains(source));
    snapshots.iter().filter(kept).filter(holds).count()
}

#[test]
fn a_snapshot_of_one_source_pushes_out_no_other() {
    let mut all: Vec<_> = (0..40).map(|day| Snapshot::of(format!("night {day}"), night(day), BOTH)).collect();
    all.extend(
        (0..40).map(|day| Snapshot::of(format!("noon {day}"), night(day) + TimeDelta::hours(9), ["redis"])),
    );
    let plan = judge(&all, night(41));
    assert_eq!(kept_with(&plan, &all, "postgres"), 9, "{plan}");
    assert!(kept_with(&plan, &all, "redis") >= 9);
    // The reasons name the source, and so does the oldest restore point.
    let last_night = plan.entries.iter().find(|entry| entry.id == "night 39").unwrap();
    let daily = last_night.reasons.iter().find(|b| b.reason == Reason::Slot(Period::Daily)).unwrap();
    assert_eq!(daily.sources, ["postgres"]);
    assert!(plan.to_string().contains("daily (postgres)"), "{plan}");
    assert!(plan.to_string().contains("oldest restore point of postgres: "), "{plan}");
    assert_eq!(plan.oldest_restore_points.len(), 2);
    let json = serde_json::to_value(last_night).unwrap();
    assert_eq!(json["reasons"][0]["sources"], serde_json::json!(["postgres"]), "{json}");
    assert_eq!(json["reasons"][0]["period"], "daily", "{json}");
}

#[test]
fn a_source_that_fails_keeps_its_snapshots_while_others_go_on() {
    let mut all: Vec<_> = (0..20).map(|day| Snapshot::of(format!("{day}"), night(day), BOTH)).collect();
    all.extend(
        (20..50)
            .map(|day| Snapshot { complete: false, ..Snapshot::of(format!("{day}"), night(day), ["redis"]) }),
    );
    let plan = judge(&all, night(50));
    assert_eq!(plan.oldest_restore_point(Some("postgres")), Some(night(0)), "{plan}");
    assert_eq!(kept_with(&plan, &all, "postgres"), 9);
    assert!(plan.entries[19].has(Reason::Newest));
}

#[test]
fn the_newest_checked_and_rehearsed_of_each_source_are_kept() {
    let mut all: Vec<_> = (0..40).map(|day| Snapshot::of(format!("{day}"), night(day), BOTH)).collect();
    (all[1].checked, all[2].rehearsed) = (true, true);
    let mut redis = Snapshot::of("redis", night(40), ["redis"]);
    (redis.checked, redis.rehearsed) = (true, true);
    all.push(redis);
    let plan = judge(&all, night(41));
    assert!(plan.entries[1].has(Reason::Checked) && plan.entries[2].has(Reason::Rehearsed), "{plan}");
    let guarded: Vec<_> = protected(&all, night(41)).into_iter().filter(|entry| entry.keep).collect();
    let ids: Vec<_> = guarded.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(ids, ["1", "2", "39", "redis"]);
}

#[test]
fn snapshots_dated_in_the_future_protect_no_other() {
    let mut all: Vec<_> = (0..12).map(|day| Snapshot::of(format!("{day}"), night(day), BOTH)).collect();
    let mut stray = Snapshot::of("stray", night(377), BOTH);
    (stray.checked, stray.rehearsed) = (true, true);
    all[0].checked = true;
    all.push(stray);
    let now = night(14);
    // The run with the wrong clock recorded a deletion a year ahead: that refuses nothing.
    let guards = |at| Guards { last_deletion_at: Some(at), ..Guards::default() };
    let plan_with = |at| plan(&policy(), &all, now, &guards(at)).unwrap();
    assert_eq!(plan_with(night(377)).refused, None);
    // And the stray snapshot is no success since a real deletion.
    assert_eq!(plan_with(night(13)).refused, Some(Refusal::NothingSucceeded { since: night(13) }));
    let plan = judge(&all, now);
    assert!(plan.entries[0].has(Reason::Checked) && plan.entries[11].has(Reason::Newest), "{plan}");
    let stray = plan.entries.last().unwrap();
    assert_eq!(stray.reasons.iter().map(|b| b.reason).collect::<Vec<_>>(), [Reason::Future]);
    assert!(protected(&all, now).iter().all(|entry| entry.id != "stray" || !entry.keep));
}

#[test]
fn a_false_date_takes_no_slot_and_a_copy_loses_none() {
    let genuine: Vec<_> = (0..12)
        .map(|day| {
            let stored = night(day) + TimeDelta::hours(1);
            let snapshot = Snapshot::of(format!("{day}"), night(day), BOTH);
            Snapshot { stored_at: Some(stored), ..snapshot }
        })
        .collect();
    let now = night(12);
    let before = judge(&genuine, now);
    // An attacker with write access adds a later snapshot to each past day.
    let mut all = genuine.clone();
    all.extend((0..11).map(|day| Snapshot {
        stored_at: Some(now),
        ..Snapshot::of(format!("false {day}"), night(day) + TimeDelta::hours(20), BOTH)
    }));
    let after = judge(&all, now);
    for entry in before.kept() {
        assert!(after.kept().any(|other| other.id == entry.id), "{} was pushed out\n{after}", entry.id);
    }
    assert!(
        after.entries.iter().all(|entry| entry.date_unproven == entry.id.starts_with("false")),
        "{after}"
    );
    // A repository of copies, all stored later than they were taken, is counted normally.
    let copies: Vec<_> =
        genuine.iter().map(|s| Snapshot { stored_at: Some(night(500)), ..s.clone() }).collect();
    let copied = judge(&copies, now);
    let kept = |plan: &Plan| plan.kept().map(|entry| entry.id.clone()).collect::<Vec<_>>();
    assert_eq!(kept(&copied), kept(&before));
}

#[test]
fn snapshots_of_unknown_content_push_out_nothing_and_go_in_time() {
    let old: Vec<_> = (0..20).map(|day| Snapshot::complete(format!("old {day}"), night(day))).collect();
    let alone = judge(&old, night(20));
    assert_eq!(alone.kept().count(), 9);
    let mut all = old;
    all.push(Snapshot::of("noon", night(19) + TimeDelta::hours(9), ["redis"]));
    let plan = judge(&all, night(20));
    assert!(plan.entries.last().unwrap().has(Reason::Slot(Period::Daily)));
    assert!(plan.kept().filter(|entry| entry.id.starts_with("old")).count() >= 8, "{plan}");
    // Once each source has its own seven days and four weeks, none of them is needed any more.
    all.extend((20..70).map(|day| Snapshot::of(format!("{day}"), night(day), BOTH)));
    let plan = judge(&all, night(70));
    assert_eq!(plan.kept().filter(|entry| entry.id.starts_with("old")).count(), 0, "{plan}");
}

#[test]
fn a_damaged_newest_snapshot_is_kept_until_its_source_has_an_intact_one() {
    let mut all: Vec<_> = (0..20).map(|day| Snapshot::of(format!("{day}"), night(day), BOTH)).collect();
    all[19].known_bad = true;
    all.push(Snapshot::of("redis", night(20), ["redis"]));
    let plan = judge(&all, night(23));
    let bad = &plan.entries[19];
    assert!(bad.has(Reason::NothingNewer), "{plan}");
    assert_eq!(bad.reasons[0].sources, ["postgres"]);
    all.push(Snapshot::of("whole", night(21), BOTH));
    assert!(!judge(&all, night(24)).entries[19].keep);
}

/// Imported files of an earlier backup script: one history with later snapshots, which they never displace.
#[test]
fn a_foreign_snapshot_takes_no_slot() {
    let foreign = |day: i64| Snapshot {
        foreign: true,
        ..Snapshot::of(format!("file {day}"), night(day) + TimeDelta::minutes(5), ["postgres"])
    };
    let mut all: Vec<_> = (0..20).map(foreign).collect();
    let own = |day: i64| Snapshot::of(format!("own {day}"), night(day), ["postgres"]);
    let keeps =
        |all: &[Snapshot], now: i64, id: &str| judge(all, night(now)).kept().any(|kept| kept.id == id);
    // While there is nothing else, the files are the history.
    let alone = judge(&all, night(20));
    assert_eq!(alone.kept().count(), 9, "{alone}");
    // Both on the same night: the newer file does not displace our own snapshot, and our own is the newest.
    all.push(own(19));
    for id in ["own 19", "file 19"] {
        assert!(keeps(&all, 20, id), "{id}");
    }
    assert!(protected(&all, night(20)).iter().any(|entry| entry.id == "own 19" && !entry.reasons.is_empty()));
    // Eight nights later the daily slots are ours.
    all.extend((20..28).map(own));
    for day in 10..20 {
        let weekly = day == 13;
        assert_eq!(
            keeps(&all, 28, &format!("file {day}")),
            weekly,
            "file {day}:\n{}",
            judge(&all, night(28))
        );
    }
    // Seven of the last nights, and day 20 as the last of its week.
    let ours: Vec<i64> = (20..28).filter(|day| keeps(&all, 28, &format!("own {day}"))).collect();
    assert_eq!(ours, [20, 21, 22, 23, 24, 25, 26, 27]);
    assert!(judge(&all, night(28)).to_string().contains("weekly"), "{}", judge(&all, night(28)));
}
