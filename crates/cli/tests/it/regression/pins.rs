//! Snapshots that are kept or removed by name, and one that is dated in the future.
#![allow(clippy::unwrap_used, reason = "test code")]

use chrono::{TimeDelta, Utc};

use super::subset_snapshots::{init, run, stamp, take};
use crate::common::folder;

const POLICY: [&str; 5] = ["forget", "--daily", "2", "--max-delete", "50"];

#[tokio::test]
async fn a_pinned_snapshot_is_kept_and_takes_no_slot() {
    let here = folder();
    init(here.path());
    let mut ids = Vec::new();
    for day in (2..=9).rev() {
        ids.push(take(here.path(), "default", Utc::now() - TimeDelta::days(day), &["postgres"]).await);
    }
    let go = |args: &[&str]| run(here.path(), args);
    go(&["pin", &ids[1]]).exits(0).shows("pinned");
    go(&["pin", &ids[1]]).exits(0).shows("already pinned");
    go(&["pin", "latest"]).exits(0).shows(&ids[7]);
    go(&["unpin", "latest"]).exits(0).shows(&ids[7]);
    go(&["snapshots"]).exits(0).shows(&format!("{} (pinned)", ids[1]));
    go(&["forget", &ids[1]]).exits(5).says("pinned").says("nothing was removed");
    go(&POLICY).exits(0).shows("pinned");
    let left = go(&["snapshots", "--json"]).json();
    let left: Vec<&str> =
        left["snapshots"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(left, [&ids[1], &ids[6], &ids[7]]);
    // Nothing was rewritten: each step is a document of its own.
    let pins = std::fs::read_dir(here.path().join(format!("store/pins/{}", ids[7]))).unwrap().count();
    assert_eq!(pins, 2);
    // One that cannot be read keeps its snapshot.
    go(&["unpin", &ids[1]]).exits(0);
    let folder = here.path().join(format!("store/pins/{}", ids[1]));
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    std::fs::write(files.last().unwrap(), "torn").unwrap();
    go(&["snapshots"]).exits(0).shows(&format!("{} (pinned)", ids[1]));
}

#[tokio::test]
async fn a_snapshot_is_removed_by_name_but_not_the_last_of_its_kind() {
    let here = folder();
    init(here.path());
    let at = |day| Utc::now() - TimeDelta::days(day);
    let old = take(here.path(), "default", at(4), &["postgres", "redis"]).await;
    let whole = take(here.path(), "default", at(3), &["postgres", "redis"]).await;
    let noon = take(here.path(), "default", at(2), &["redis"]).await;
    let go = |args: &[&str]| run(here.path(), args);
    // The newest of PostgreSQL is not the newest snapshot.
    go(&["forget", &whole]).exits(5).says("newest (postgres)").says("--allow newest");
    go(&["forget", &noon, &old]).exits(5).says("newest (redis)");
    go(&["forget", "20200101T000000Z-aaaaaa", &old]).exits(1);
    assert_eq!(go(&["snapshots", "--json"]).json()["snapshots"].as_array().unwrap().len(), 3);
    go(&["forget", &old, "--dry-run"]).exits(0).shows("would remove");
    go(&["forget", &old]).exits(0).shows(&format!("removed {old}"));
    go(&["forget", &whole, "--allow", "newest"]).exits(0);
    let left = go(&["snapshots", "--json"]).json();
    assert_eq!(left["snapshots"][0]["id"], noon.as_str());
    go(&["undelete", &whole]).exits(0);
    // What passed a check is the proof that there is a good one.
    go(&["check", "--read-data"]).exits(0);
    go(&["forget", &whole, "--allow", "newest"]).exits(5).says("passed a check");
}

/// Retention refused each night with "no backup has succeeded since the last deletion (2027…)".
#[tokio::test]
async fn a_snapshot_dated_in_the_future_is_never_latest_and_guards_nothing() {
    let here = folder();
    init(here.path());
    for day in (2..=9).rev() {
        take(here.path(), "default", Utc::now() - TimeDelta::days(day), &["redis"]).await;
    }
    let ahead = take(here.path(), "default", Utc::now() + TimeDelta::days(365), &["redis"]).await;
    stamp(here.path(), &ahead, Utc::now());
    let go = |args: &[&str]| run(here.path(), args);
    go(&["snapshots"]).exits(0).shows(&format!("{ahead} (dated in the future)"));
    let pinned = go(&["pin", "latest"]).exits(0).says("is dated in the future").says(&ahead);
    assert!(!pinned.stdout.contains(&ahead), "{}", pinned.stdout);
    go(&["unpin", "latest"]).exits(0);
    // A deletion of that night, too, bears a date a year ahead.
    let repository =
        repository::Repository::open(repository::Store::folder(&here.path().join("store")).unwrap()).await;
    let repository = repository.unwrap();
    let first = repository.headers().await.unwrap().headers[0].id.clone();
    repository.forget(&[first], Utc::now() + TimeDelta::days(365)).await.unwrap();
    let fresh = take(here.path(), "default", Utc::now(), &["redis"]).await;
    go(&POLICY).exits(0).says("is never `latest`").shows("dated in the future");
    // The way out.
    go(&["forget", &ahead]).exits(0);
    let left = go(&["snapshots", "--json"]).json();
    assert_eq!(left["snapshots"].as_array().unwrap().last().unwrap()["id"], fresh.as_str());

    // One that is stored much later than it is dated takes no slot, and is shown so.
    let false_date = take(here.path(), "default", Utc::now() - TimeDelta::days(3), &["redis"]).await;
    stamp(here.path(), &false_date, Utc::now());
    go(&["snapshots"]).exits(0).shows(&format!("{false_date} (stored at another time)"));
}
