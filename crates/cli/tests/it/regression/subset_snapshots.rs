//! A snapshot of some sources counts for those, never for all.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::Path;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, TimeDelta, Utc};
use repository::{PartHeader, Repository, SnapshotStart, SourceRecord, Store};

use crate::common::{Run, ask, dbhaul, folder, postgres, quick_redis};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

/// Writes snapshots as a backup of that day would have, with the day's time on the manifest.
pub(super) async fn take(here: &Path, job: &str, at: DateTime<Utc>, sources: &[&str]) -> String {
    take_tagged(here, job, at, sources, &[]).await
}

/// The same, with tags.
pub(super) async fn take_tagged(
    here: &Path,
    job: &str,
    at: DateTime<Utc>,
    sources: &[&str],
    tags: &[&str],
) -> String {
    let repository = Repository::open(Store::folder(&here.join("store")).unwrap()).await.unwrap();
    let tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
    let mut start = SnapshotStart::new(job, at, "test 1");
    start.tags = tags;
    let writer = repository.begin(start).await.unwrap();
    let mut records = Vec::new();
    for name in sources {
        let rows = futures::stream::iter([Ok::<_, std::io::Error>(format!("{job} {name} {at}").into())]);
        let part = writer.write_part(PartHeader::new(format!("{name}/rows"), "test"), rows).await.unwrap();
        let kind = if *name == "postgres" { "postgres" } else { "redis" };
        records.push(SourceRecord {
            name: (*name).to_owned(),
            kind: kind.to_owned(),
            server: serde_json::Value::Null,
            details: serde_json::Value::Null,
            parts: vec![part],
        });
    }
    let id = writer.commit(records, true).await.unwrap().id.to_string();
    stamp(here, &id, at);
    id
}

/// Gives a manifest the time at which it would have been stored.
pub(super) fn stamp(here: &Path, id: &str, at: DateTime<Utc>) {
    let manifest =
        std::fs::File::options().append(true).open(here.join(format!("store/snapshots/{id}.json")));
    let seconds = Duration::from_secs(u64::try_from(at.timestamp()).unwrap());
    manifest.unwrap().set_modified(SystemTime::UNIX_EPOCH + seconds).unwrap();
}

pub(super) fn run(here: &Path, args: &[&str]) -> Run {
    let all: Vec<&str> = args.iter().copied().chain(["--repository", "store"]).collect();
    dbhaul(here, &all)
}

pub(super) fn init(here: &Path) {
    run(here, &["init"]).exits(0);
    std::fs::remove_file(here.join("dbhaul.toml")).unwrap();
}

fn listed(here: &Path) -> Vec<String> {
    let listed = run(here, &["snapshots", "--json"]).exits(0).json();
    let ids =
        listed["snapshots"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap().to_owned());
    ids.collect()
}

/// Six nights of both sources, and Redis at noon: retention kept two of the nights.
#[tokio::test]
async fn a_source_that_is_backed_up_alone_pushes_no_other_out() {
    let here = folder();
    init(here.path());
    let now = Utc::now();
    let mut nights = Vec::new();
    for day in (1..=30).rev() {
        let at = now - TimeDelta::days(day) - TimeDelta::hours(2);
        nights.push(take(here.path(), "default", at, &["postgres", "redis"]).await);
        for hours in [6, 8] {
            take(here.path(), "default", at + TimeDelta::hours(hours), &["redis"]).await;
        }
    }
    let forget = ["forget", "--daily", "7", "--weekly", "4", "--max-delete", "100"];
    let plan = run(here.path(), &[&forget[..], &["--dry-run"]].concat()).exits(0);
    let plan = plan.shows("daily (postgres)").shows("oldest restore point of postgres: ");
    plan.shows("oldest restore point of redis: ").shows("job default: daily 7, weekly 4 (UTC)");
    // A flag replaces only its own setting: the configured weeks stay.
    let config = "[repository]\nurl = \"store\"\n[retention]\ndaily = 7\nweekly = 4\n";
    std::fs::write(here.path().join("dbhaul.toml"), config).unwrap();
    dbhaul(here.path(), &["forget", "--daily", "6", "--dry-run", "--max-delete", "100"])
        .exits(0)
        .shows("daily 6, weekly 4 (UTC)");
    std::fs::remove_file(here.path().join("dbhaul.toml")).unwrap();
    run(here.path(), &forget).exits(0);
    let left = listed(here.path());
    for night in nights.iter().rev().take(7) {
        assert!(left.contains(night), "{night} is gone; left: {left:?}");
    }
    assert!(left.len() < 30, "{left:?}");
    // For a misspelled job, the error lists the existing ones.
    let typo = run(here.path(), &["forget", "--job", "typo", "--daily", "7"]);
    typo.exits(2).says("no snapshot of job `typo`").says("`default`");
    run(here.path(), &["snapshots", "--job", "typo"]).exits(2).says("`default`");
}

#[tokio::test(flavor = "multi_thread")]
async fn latest_is_the_newest_that_has_what_is_requested() {
    let (Some(pg), Some(rd)) = (require_postgres(15), require_redis("7.0")) else { return };
    let server = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let redis = Redis::start(&rd, quick_redis()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    client.batch_execute("CREATE TABLE t AS SELECT 1 AS a").await.unwrap();
    ask(&redis.url(), &["SET", "k", "night"]).await.unwrap();
    let here = folder();
    init(here.path());
    let config = format!(
        "[job]\nid = \"shop\"\n[repository]\nurl = \"store\"\n\
         [[source]]\nname = \"postgres\"\nkind = \"postgres\"\nurl = \"{}\"\n\
         [[source]]\nname = \"redis\"\nkind = \"redis\"\nurl = \"{}\"\n",
        server.url("postgres"),
        redis.url()
    );
    std::fs::write(here.path().join("dbhaul.toml"), config).unwrap();
    let go = |args: &[&str]| dbhaul(here.path(), args);
    let whole = go(&["backup", "--json"]).exits(0).json()["snapshot"].as_str().unwrap().to_owned();
    ask(&redis.url(), &["SET", "k", "noon"]).await.unwrap();
    let noon = go(&["backup", "redis", "--json"]).exits(0).json()["snapshot"].as_str().unwrap().to_owned();

    // The database was in the older one alone; a rehearsal was of Redis alone.
    client.batch_execute("CREATE DATABASE restored").await.unwrap();
    let target = server.url("restored");
    go(&["restore", "latest", "--postgres", &target]).exits(0).shows(&whole);
    go(&["compare", "latest", &target]).exits(0);
    let rehearsed = go(&["rehearse"]).exits(0).shows(&whole).says(&noon);
    assert!(rehearsed.says("holds only `redis`").stdout.contains("postgres"));
    let empty = Redis::start(&rd, quick_redis()).unwrap();
    go(&["restore", "latest", "--redis", &empty.url()]).exits(0).shows(&noon);
    assert_eq!(ask(&empty.url(), &["GET", "k"]).await.unwrap(), ["noon"]);
    // Both together are as of different times, which is reported.
    client.batch_execute("CREATE DATABASE two").await.unwrap();
    let (both, other) = (server.url("two"), Redis::start(&rd, quick_redis()).unwrap());
    let run = go(&["restore", "latest", "--postgres", &both, "--redis", &other.url()]).exits(0);
    run.says("were taken at different times").shows(&whole).shows(&noon);
    // Named, the part is what it is.
    go(&["rehearse", &noon]).exits(0).says("lacks `postgres`");
    go(&["inspect", "latest", "--source", "redis"]).exits(0).shows("1 keys");
}
