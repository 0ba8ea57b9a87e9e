//! Two jobs in one repository are never confused.
#![allow(clippy::unwrap_used, reason = "test code")]

use chrono::{TimeDelta, Utc};

use super::subset_snapshots::{init, run, take};
use crate::common::{dbhaul, folder, postgres};
use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};

/// From the configuration of one job, the other's database was restored and "proven".
#[tokio::test(flavor = "multi_thread")]
async fn latest_is_of_the_configured_job() {
    let Some(pg) = require_postgres(15) else { return };
    let server = Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let client = postgres(&server.url("postgres")).await;
    let here = folder();
    init(here.path());
    for (job, database) in [("blog", "blog"), ("shop", "shop")] {
        client.batch_execute(&format!("CREATE DATABASE {database}")).await.unwrap();
        let sql = format!("CREATE TABLE of_{job} AS SELECT 1 AS a");
        postgres(&server.url(database)).await.batch_execute(&sql).await.unwrap();
        let config = format!(
            "[job]\nid = \"{job}\"\n[repository]\nurl = \"store\"\n\
             [[source]]\nname = \"postgres\"\nkind = \"postgres\"\nurl = \"{}\"\n",
            server.url(database)
        );
        std::fs::write(here.path().join(format!("{job}.toml")), config).unwrap();
        dbhaul(here.path(), &["backup", "--config", &format!("{job}.toml")]).exits(0);
    }
    let blog = |args: &[&str]| dbhaul(here.path(), &[args, &["--config", "blog.toml"]].concat());
    blog(&["inspect"]).exits(0).shows("of_blog");
    blog(&["rehearse"]).exits(0).shows("public.of_blog");
    client.batch_execute("CREATE DATABASE restored").await.unwrap();
    blog(&["restore", "latest", "--postgres", &server.url("restored")]).exits(0);
    blog(&["compare", "latest", &server.url("blog")]).exits(0);
    blog(&["compare", "latest", &server.url("shop")]).exits(3);
    // Without a configuration the job is not guessed; with a name it is used.
    let refused = run(here.path(), &["rehearse"]).exits(5).says("several jobs: `blog`, `shop`");
    assert!(refused.stdout.is_empty());
    run(here.path(), &["inspect", "--job", "shop"]).exits(0).shows("of_shop");
    run(here.path(), &["inspect", "--job", "shup"])
        .exits(2)
        .says("no snapshot of job `shup`")
        .says("`blog`, `shop`");
    // A snapshot given by its id that belongs to another job is reported as such.
    let shop = run(here.path(), &["inspect", "--job", "shop", "--json"]).json();
    let id = shop["snapshot"].as_str().or(shop["id"].as_str()).unwrap().to_owned();
    blog(&["inspect", &id]).exits(0).says("is of job `shop`, not of `blog`");
}

/// Two jobs of one policy pushed each other's snapshots out: two of five nights were left.
#[tokio::test]
async fn retention_counts_each_job_by_itself() {
    let here = folder();
    init(here.path());
    for day in (2..=20).rev() {
        for (job, hours) in [("blog", 0), ("shop", 1)] {
            let at = Utc::now() - TimeDelta::days(day) + TimeDelta::hours(hours);
            take(here.path(), job, at, &["postgres"]).await;
        }
    }
    for job in ["blog", "shop"] {
        let args = ["forget", "--job", job, "--daily", "7", "--max-delete", "20", "--json"];
        let kept = run(here.path(), &args).exits(0).json()["plan"]["entries"].clone();
        assert_eq!(kept.as_array().unwrap().len(), 19);
        assert_eq!(kept.as_array().unwrap().iter().filter(|entry| entry["keep"] == true).count(), 7);
    }
}
