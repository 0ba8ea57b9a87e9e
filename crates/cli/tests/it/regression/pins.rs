//! Snapshots that are kept or removed by name, and one that is dated in the future.
#![allow(clippy::unwrap_used, reason = "test code")]

use chrono::{TimeDelta, Utc};

use super::subset_snapshots::{init, run, stamp, take, take_tagged};
use crate::common::{dbhaul, dbhaul_with_clock_off, folder, quick_redis};
use sandbox::testing::require_redis;

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
    // A passed check proves that there is a good snapshot.
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
    // A tombstone of that night is also dated a year ahead.
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

#[tokio::test]
async fn a_snapshot_with_a_tag_that_the_policy_keeps_is_pinned_until_it_is_unpinned() {
    let here = folder();
    init(here.path());
    let mut ids = Vec::new();
    for day in (2..=9).rev() {
        let tags: &[&str] = match day {
            9 => &["keep"],
            8 => &["release-1", "seen"],
            7 => &["seen"],
            _ => &[],
        };
        let at = Utc::now() - TimeDelta::days(day);
        ids.push(take_tagged(here.path(), "default", at, &["postgres"], tags).await);
    }
    let go = |args: &[&str]| run(here.path(), args);
    let kept = |args: &[&str]| {
        let plan = go(args).exits(0).json();
        let entries = plan["plan"]["entries"].as_array().unwrap().clone();
        let kept = entries.into_iter().filter(|entry| entry["keep"] == true);
        kept.map(|entry| entry["id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let plan = [&POLICY[..], &["--dry-run", "--json"]].concat();
    go(&["snapshots"]).exits(0).shows(&format!("{} (pinned) [keep]", ids[0])).shows("[release-1] [seen]");
    assert_eq!(kept(&plan), [&ids[0], &ids[6], &ids[7]].map(String::as_str));
    go(&["forget", &ids[0]]).exits(5).says("pinned");
    // A configuration says which.
    let policy = "[repository]\nurl = \"store\"\n[retention]\ndaily = 2\nkeep-tags = [\"release-1\"]\n";
    std::fs::write(here.path().join("dbhaul.toml"), policy).unwrap();
    assert_eq!(kept(&plan), [&ids[1], &ids[6], &ids[7]].map(String::as_str));
    // `unpin` overrides a tag.
    go(&["unpin", &ids[1]]).exits(0).shows("unpinned");
    go(&["unpin", &ids[1]]).exits(0).shows("not pinned");
    assert_eq!(kept(&plan), [&ids[6], &ids[7]].map(String::as_str));
    go(&["pin", &ids[1]]).exits(0).shows("pinned");
    assert_eq!(kept(&plan), [&ids[1], &ids[6], &ids[7]].map(String::as_str));
    // The other rules of the policy.
    let with = |more: &[&str]| {
        kept(&[&["forget", "--dry-run", "--json", "--daily", "0", "--max-delete", "9"], more].concat())
    };
    assert_eq!(with(&["--last", "3"]), [&ids[1], &ids[5], &ids[6], &ids[7]].map(String::as_str));
    assert_eq!(with(&["--keep-within", "49h"]), [&ids[1], &ids[5], &ids[6], &ids[7]].map(String::as_str));
    go(&["forget", "--daily", "0"]).exits(2).says("keeps nothing");
    go(&["forget", "--keep-within", "soon"]).exits(2).says("keep-within");
}

/// A host that cannot decrypt backups pins and tags all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_cannot_decrypt_pins() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = sandbox::Redis::start(&binaries, quick_redis()).unwrap();
    let here = folder();
    let go = |args: &[&str]| dbhaul(here.path(), args);
    let generated = go(&["key", "generate", "-o", "identity.txt"]).exits(0);
    let recipient =
        generated.stdout.split_whitespace().find(|word| word.starts_with("age1")).unwrap().to_owned();
    go(&["init", "--recipient", &recipient]).exits(0);
    let url = server.url();
    let config = std::fs::read_to_string(here.path().join("dbhaul.toml")).unwrap();
    let (before, _) = config.split_once("[[source]]").unwrap();
    std::fs::write(here.path().join("dbhaul.toml"), before).unwrap();
    go(&["backup", "--redis", &url, "--tag", "keep", "--no-forget"]).exits(0);
    go(&["backup", "--redis", &url, "--no-forget", "--tag", "two words"]).exits(2).says("a tag is");
    go(&["backup", "--redis", &url, "--no-forget"]).exits(0);
    let listed = go(&["snapshots", "--json"]).exits(0).json();
    let pinned = |listed: &serde_json::Value| {
        let rows = listed["snapshots"].as_array().unwrap();
        rows.iter().filter(|row| row["pinned"] == true).count()
    };
    assert_eq!((listed["snapshots"].as_array().unwrap().len(), pinned(&listed)), (2, 1));
    go(&["pin", "latest"]).exits(0).shows("pinned");
    assert_eq!(pinned(&go(&["snapshots", "--json"]).exits(0).json()), 2);
    for row in listed["snapshots"].as_array().unwrap() {
        go(&["unpin", row["id"].as_str().unwrap()]).exits(0).shows("unpinned");
    }
    assert_eq!(pinned(&go(&["snapshots", "--json"]).exits(0).json()), 0);
}

/// The program's clock is a year ahead for one night, the store's is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_ahead_for_a_night_is_reported_and_affects_no_other_night() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = sandbox::Redis::start(&binaries, quick_redis()).unwrap();
    let here = folder();
    let url = server.url();
    let config = "[retention]\ndaily = 7\nweekly = 4\nzone = \"Asia/Seoul\"\n";
    init(here.path());
    std::fs::write(here.path().join("dbhaul.toml"), format!("[repository]\nurl = \"store\"\n{config}"))
        .unwrap();
    let backup = ["backup", "--redis", &url];
    let night = |off: i64| dbhaul_with_clock_off(here.path(), off, &backup);
    let Some(first) = night(-86_400) else { return };
    first.exits(0).says("behind the store's");
    night(0).unwrap().exits(0);
    night(365 * 86_400).unwrap().exits(0).says("ahead of the store's");
    night(0).unwrap().exits(0);
    let listed = dbhaul(here.path(), &["snapshots", "--json"]).exits(0).json();
    let rows = listed["snapshots"].as_array().unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows.iter().filter(|row| row["dated"] == "in-future").count(), 1);
    assert_eq!(rows[3]["dated"], "in-future");
    // `latest` is of the night after, and retention goes on.
    let latest = rows[2]["id"].as_str().unwrap();
    dbhaul(here.path(), &["pin", "latest"]).exits(0).shows(latest);
    dbhaul(here.path(), &["forget", "--dry-run"]).exits(0).shows("KST").says("dated in the future");
}
