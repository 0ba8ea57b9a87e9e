//! The migration that this tool was written for: a new database created by an incomplete init script, checked against
//! the baseline, completed by the migrations, filled, and verified as equal.
#![allow(clippy::unwrap_used, reason = "test code")]

use crate::common::{Run, dbhaul, folder, postgres};
use sandbox::testing::require_postgres;
use sandbox::{Postgres, PostgresOptions};
use tempfile::TempDir;

/// The old server with the application in it, the new one as its init script left it, and a folder with the
/// application's migrations and baseline.
struct Stage {
    old: Postgres,
    new: Postgres,
    here: TempDir,
    environment: &'static str,
}

impl Stage {
    async fn start() -> Option<Stage> {
        let binaries = require_postgres(15)?;
        let old = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
        let new = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
        coinpilot::load_postgres(&postgres(&old.url("postgres")).await, 1).await.unwrap();
        let client = postgres(&new.url("postgres")).await;
        let available = coinpilot::Available::detect(&client).await.unwrap();
        for script in coinpilot::schema_of_new_environment(&available) {
            client.batch_execute(&script.sql).await.unwrap();
        }
        let here = folder();
        let migrations = here.path().join("migrations");
        std::fs::create_dir(&migrations).unwrap();
        for name in coinpilot::MIGRATIONS {
            let script = coinpilot::migration(name, &available).unwrap();
            std::fs::write(migrations.join(format!("{name}.sql")), script.sql).unwrap();
        }
        let baseline = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/coinpilot/baseline.toml");
        std::fs::copy(baseline, here.path().join("baseline.toml")).unwrap();
        Some(Stage { old, new, here, environment: "plain" })
    }

    fn old_url(&self) -> String {
        self.old.url("postgres")
    }

    fn new_url(&self) -> String {
        self.new.url("postgres")
    }

    fn run(&self, args: &[&str]) -> Run {
        dbhaul(self.here.path(), args)
    }

    /// With the baseline of the application, as it is for a server without extensions.
    fn gated(&self, args: &[&str]) -> Run {
        let gate = ["--baseline", "baseline.toml", "--environment", self.environment];
        self.run(&args.iter().copied().chain(gate).collect::<Vec<_>>())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_move_of_coinpilot() {
    let Some(stage) = Stage::start().await else { return };
    let (old, new) = (stage.old_url(), stage.new_url());
    stage.gated(&["baseline", "check", "--to", &old]).exits(0).shows("baseline passed");

    // Missing objects are reported, with the migration that creates them.
    let found = stage.gated(&["baseline", "check", "--to", &new]).exits(3);
    let found = found.shows("baseline FAILED").shows("v3_2_1_trade_count_split");
    for object in [
        "daily_risk_state.buy_count",
        "daily_risk_state.sell_count",
        "public.news_articles",
        "public.agent_decisions",
    ] {
        assert!(found.stdout.contains(object), "{object}\n{}", found.stdout);
    }

    // Bringing the rows into it is refused, every table and column that it lacks at once, and nothing is written.
    let into = ["migrate", "--from", &old, "--to", &new, "--into-existing"];
    let refused = stage.run(&into).exits(5);
    for object in ["buy_count", "sell_count", "news_articles", "agent_decisions"] {
        assert!(refused.stderr.contains(object), "{object}\n{}", refused.stderr);
    }
    let client = postgres(&new).await;
    let rows: i64 = client.query_one("SELECT count(*) FROM market_data", &[]).await.unwrap().get(0);
    assert_eq!(rows, 0);

    // The plan: three migrations, and the one that failed that day waits for the table that only a later one makes.
    let plan = ["baseline", "plan", "--to", &new, "--migrations", "migrations"];
    let wanted = ["v3_2_1_trade_count_split", "v3_3_0_news_rss_only", "v3_3_1_agent_decisions_baseline"];
    let found = stage.gated(&[plan.as_slice(), &["--json"]].concat()).exits(3).json();
    assert_eq!(found["plan"]["order"], serde_json::json!(wanted), "{found:#}");
    stage
        .gated(&plan)
        .exits(3)
        .shows("needs public.agent_decisions, which only v3_3_1_agent_decisions_baseline creates")
        .shows("lacks: column public.daily_risk_state.buy_count, column public.daily_risk_state.sell_count\n")
        .shows("3 to apply");
    // Where it is optional it is left out.
    let oci = ["--baseline", "baseline.toml", "--environment", "oci"];
    stage.run(&[plan.as_slice(), &oci].concat()).exits(3).shows("optional in oci").shows("3 to apply");

    let apply = ["baseline", "apply", "--to", &new, "--migrations", "migrations"];
    let done = stage.gated(&apply).exits(0).shows("baseline passed");
    for name in wanted {
        assert!(done.stdout.contains(&format!("applied {name}")), "{}", done.stdout);
    }
    stage.gated(&plan).exits(0).shows("nothing to apply");
    stage.gated(&apply).exits(0).shows("nothing to apply");

    // Now the rows: proven while they move, and once more by an independent comparison.
    stage.gated(&into).exits(0).shows("equal").shows("baseline passed");
    stage.run(&["compare", &old, &new]).exits(0);
    for (table, rows) in [
        ("market_data", 182_341),
        ("agent_decisions", 353),
        ("trading_history", 16),
        ("daily_risk_state", 22),
    ] {
        let sql = format!("SELECT count(*) FROM {table}");
        let found: i64 = client.query_one(&sql, &[]).await.unwrap().get(0);
        assert_eq!(found, rows, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_baseline_is_a_gate_everywhere() {
    let Some(stage) = Stage::start().await else { return };
    let new = stage.new_url();
    let client = postgres(&new).await;
    stage.run(&["init", "--repository", "store"]).exits(0);

    // A database that does not meet its baseline is still backed up; the result is in the manifest and is reported.
    let taken = stage.gated(&["backup", "--postgres", &new, "--json"]).exits(0);
    let taken = taken.says("does not meet its schema baseline").says("news_articles");
    assert_eq!(taken.json()["sources"][0]["baseline-passed"], false, "{}", taken.stdout);
    let id = taken.json()["snapshot"].as_str().unwrap().to_owned();
    let manifest =
        std::fs::read_to_string(stage.here.path().join(format!("store/snapshots/{id}.json"))).unwrap();
    assert!(manifest.contains("column public.daily_risk_state.buy_count"), "{manifest}");

    // Targets filled from it are checked at the end: the data is there, and the exit code reports what is missing.
    for database in ["restored", "moved"] {
        client.batch_execute(&format!("CREATE DATABASE {database}")).await.unwrap();
    }
    let (restored, moved) = (stage.new.url("restored"), stage.new.url("moved"));
    stage
        .gated(&["restore", &id, "--postgres", &restored])
        .exits(3)
        .shows("baseline FAILED")
        .shows("buy_count");
    stage.gated(&["migrate", "--from", &new, "--to", &moved]).exits(3).shows("baseline FAILED");
    stage.gated(&["rehearse", &id]).exits(3).shows("baseline FAILED").shows("buy_count");
    stage.run(&["compare", &new, &restored]).exits(0);

    // An invalid baseline is reported before anything is filled, but does not stop a backup.
    std::fs::write(stage.here.path().join("broken.toml"), "[table.t.colums]\n").unwrap();
    client.batch_execute("CREATE DATABASE untouched").await.unwrap();
    let untouched = stage.new.url("untouched");
    let broken = ["--baseline", "broken.toml"];
    for args in [
        ["restore", id.as_str(), "--postgres", &untouched].as_slice(),
        &["migrate", "--from", &new, "--to", &untouched],
        &["rehearse", id.as_str()],
    ] {
        stage.run(&[args, &broken].concat()).exits(2).says("broken.toml").says("colums");
    }
    let count = "SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let rows: i64 = postgres(&untouched).await.query_one(count, &[]).await.unwrap().get(0);
    assert_eq!(rows, 0);
    stage.run(&[["backup", "--postgres", &new].as_slice(), &broken].concat()).exits(0).says("broken.toml");
}
