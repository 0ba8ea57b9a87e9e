//! Migrations planned from a real catalog, and applied to a real server.

use std::path::Path;

use pgmove::baseline::{
    Action, ApplyError, Baseline, Mode, Observed, Plan, PlanOptions, Script, Status, apply, check, plan,
};
use pgmove::{ConnectOptions, Environment, Filter, Session};
use sandbox::{Postgres, PostgresOptions};

fn fixture(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/coinpilot").join(file);
    std::fs::read_to_string(path).unwrap()
}

/// A file of the fixture for a server without extensions.
fn plain(file: &str) -> String {
    let (mut out, mut leaving_out) = (String::new(), false);
    for line in fixture(file).lines() {
        match line {
            line if line.starts_with("-- when ") => leaving_out = true,
            "-- end" => leaving_out = false,
            line if !leaving_out => out = out + line + "\n",
            _ => out.push('\n'),
        }
    }
    out.replace("vector(1536)", "real[]").replace("uuid_generate_v4()", "gen_random_uuid()")
}

struct Stage {
    _server: Postgres,
    options: ConnectOptions,
    session: Session,
}

impl Stage {
    async fn start(major: u32) -> Option<Stage> {
        let server = Postgres::start(&sandbox::testing::require_postgres(major)?, PostgresOptions::default());
        let server = server.unwrap();
        let options = ConnectOptions::parse(&server.url("postgres"), &Environment::from_process()).unwrap();
        let session = pgmove::connect(&options).await.unwrap();
        Some(Stage { _server: server, options, session })
    }

    async fn sql(&self, sql: &str) {
        let sql = format!("SET search_path = public; {sql}; SET search_path = ''");
        self.session.client().batch_execute(&sql).await.unwrap();
    }

    async fn plan(&self, scripts: &[Script], options: &PlanOptions<'_>) -> Plan {
        let version = self.session.server().version_num;
        let catalog =
            pgmove::catalog::read(self.session.client(), version, &Filter::default()).await.unwrap();
        plan(scripts, &catalog, &["public".to_owned()], options).unwrap()
    }

    async fn apply(&self, scripts: &[Script]) -> Result<Vec<String>, ApplyError> {
        let plan = self.plan(scripts, &PlanOptions::default()).await;
        let applied = apply(&self.options, scripts, &plan, &|_| ()).await?;
        Ok(applied.into_iter().map(|file| file.name).collect())
    }

    async fn count(&self, what: &str) -> i64 {
        let sql = format!("SELECT count(*) FROM {what}");
        self.session.client().query_one(&sql, &[]).await.unwrap().get(0)
    }
}

fn scripts(files: &[(&str, &str)]) -> Vec<Script> {
    files.iter().map(|(name, sql)| Script::read(&format!("migrations/{name}.sql"), sql)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_new_database_of_the_incident_is_repaired() {
    let baseline = Baseline::parse(&fixture("baseline.toml")).unwrap();
    let names: Vec<&str> = baseline.migrations.iter().map(|migration| migration.name.as_str()).collect();
    let files: Vec<(&str, String)> =
        names.iter().map(|name| (*name, plain(&format!("migrations/{name}.sql")))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, sql)| (*name, sql.as_str())).collect();
    let scripts = scripts(&files);
    for major in [15, 18] {
        let Some(stage) = Stage::start(major).await else { continue };
        stage.sql(&plain("schema/init-oci.sql")).await;
        let action = |plan: &Plan, name: &str| plan.file(name).unwrap().action;

        // v3_1 is optional in that environment, but its needs are still reported.
        let options =
            PlanOptions { baseline: Some(&baseline), environment: Some("oci"), ..PlanOptions::default() };
        let found = stage.plan(&scripts, &options).await;
        assert_eq!(
            found.order,
            ["v3_2_1_trade_count_split", "v3_3_0_news_rss_only", "v3_3_1_agent_decisions_baseline"],
            "{found:#?}"
        );
        let skipped = found.file("v3_1_reject_tracking").unwrap();
        assert_eq!((skipped.action, skipped.status), (Action::Skip, Status::Missing));
        assert_eq!(
            skipped.reasons,
            [
                "optional in oci",
                "line 2 needs public.agent_decisions, which only v3_3_1_agent_decisions_baseline creates"
            ]
        );
        for name in ["004_add_pgvector", "v3_0_regime_trading", "v3_3_2_llm_usage_observability"] {
            assert_eq!(found.file(name).unwrap().status, Status::Applied, "{name}");
        }
        // Without an environment it waits for the table, and then has nothing left to do.
        let found = stage.plan(&scripts, &PlanOptions::default()).await;
        assert_eq!(found.order.len(), 3, "{found:#?}");
        assert_eq!(action(&found, "v3_1_reject_tracking"), Action::Covered);

        apply(&stage.options, &scripts, &found, &|_| ()).await.unwrap();
        let observed =
            Observed::read(stage.session.client(), stage.session.server().version_num).await.unwrap();
        let verdict = check(&baseline, &observed, Some("plain")).unwrap();
        assert!(verdict.passed, "{verdict}");
        let found = stage.plan(&scripts, &PlanOptions::default()).await;
        assert!(found.is_done() && found.order.is_empty(), "{found:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_database_of_the_incident_needs_them_in_order() {
    let Some(stage) = Stage::start(15).await else { return };
    let baseline = Baseline::parse(&fixture("baseline.toml")).unwrap();
    let names: Vec<&str> = baseline.migrations.iter().map(|migration| migration.name.as_str()).collect();
    let files: Vec<(&str, String)> =
        names.iter().map(|name| (*name, plain(&format!("migrations/{name}.sql")))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, sql)| (*name, sql.as_str())).collect();
    stage.sql(&plain("schema/init.sql")).await;
    let scripts = scripts(&files);
    let options = PlanOptions { baseline: Some(&baseline), ..PlanOptions::default() };
    let found = stage.plan(&scripts, &options).await;
    // The old init script makes agent_decisions without the columns of v3_1: v3_3_1 finds some of it there, and would
    // not bring them; v3_1 does.
    let partly = found.file("v3_3_1_agent_decisions_baseline").unwrap();
    assert_eq!((partly.status, partly.action), (Status::Partly, Action::Covered), "{found:#?}");
    assert_eq!(found.order.len(), 8, "{found:#?}");
    assert_eq!(found.order[2], "v3_1_reject_tracking");

    // Without v3_1 it would run without effect: reported, and not run.
    let skip = ["v3_1_reject_tracking".to_owned()];
    let found = stage.plan(&scripts, &PlanOptions { skip: &skip, ..options }).await;
    let stuck = found.file("v3_3_1_agent_decisions_baseline").unwrap();
    assert_eq!(stuck.action, Action::Blocked);
    assert!(stuck.reasons[0].contains("would not create column public.agent_decisions"), "{stuck:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_is_reported_with_its_line_and_what_remains() {
    let Some(stage) = Stage::start(15).await else { return };
    let good = ("1_good", "CREATE TABLE one (id int PRIMARY KEY);");
    let never = ("9_never", "CREATE TABLE never (id int);");
    let failed = async |sql: &str| match stage.apply(&scripts(&[good, ("2_bad", sql), never])).await {
        Err(ApplyError::Failed(failed)) => failed,
        other => panic!("{other:?}"),
    };

    let told =
        failed("CREATE TABLE two (id int);\n-- a comment\nINSERT INTO two\nVALUES (1),\n  ('x');").await;
    assert_eq!((told.file.as_str(), told.line), ("migrations/2_bad.sql", 5));
    assert_eq!(told.source.sqlstate(), Some("22P02"));
    assert_eq!((told.applied.len(), told.not_run.as_slice()), (1, ["9_never".to_owned()].as_slice()));
    let text = ApplyError::Failed(told).to_string();
    for part in [
        "migrations/2_bad.sql, line 5",
        "22P02",
        "nothing of it is in the database",
        "applied before it: 1_good",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert_eq!(stage.count("pg_class WHERE relname IN ('two', 'never')").await, 0);
    assert_eq!(stage.count("pg_class WHERE relname = 'one'").await, 1);

    // A deferred constraint fails at COMMIT.
    let told = failed(
        "CREATE TABLE two (id int REFERENCES one DEFERRABLE INITIALLY DEFERRED);\nINSERT INTO two VALUES (7);",
    )
    .await;
    assert_eq!((told.line, told.source.sqlstate()), (2, Some("23503")));

    // Its own transactions: committed statements stay, and are reported.
    let told = failed("BEGIN;\nCREATE TABLE two (id int);\nCOMMIT;\nBEGIN;\nCREATE TABLE three (id int);\nSELECT 1/0;\nCOMMIT;").await;
    assert_eq!((told.line, told.source.sqlstate()), (6, Some("22012")));
    assert!(
        told.state.contains("begins on line 4 was rolled back")
            && told.state.contains("up to line 3 are committed"),
        "{}",
        told.state
    );
    assert_eq!(stage.count("pg_class WHERE relname IN ('two', 'three')").await, 1);
    stage.sql("DROP TABLE two").await;

    // One that runs in no transaction: the others stay too.
    let told =
        failed("CREATE TABLE two (id int);\nCREATE INDEX CONCURRENTLY two_id ON two (id);\nSELECT 1/0;")
            .await;
    assert!(told.state.contains("up to line 2 are committed"), "{}", told.state);
    assert_eq!(stage.count("pg_class WHERE relname = 'two_id'").await, 1);
    stage.sql("DROP TABLE two").await;

    let told = failed("BEGIN;\nCREATE TABLE two (id int);").await;
    assert!(told.source.to_string().contains("never ended"), "{}", told.source);
    assert_eq!(stage.count("pg_class WHERE relname = 'two'").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_run_stops_all_before_anything_runs() {
    let Some(stage) = Stage::start(15).await else { return };
    stage.sql("CREATE TABLE half (a int)").await;
    for (sql, told) in [
        (
            "CREATE TABLE x (a int);\n\\i other.sql",
            "migrations/2.sql, line 2: has a meta-command of psql: \\i other.sql",
        ),
        (
            "CREATE TABLE half (a int);\nALTER TABLE half ADD COLUMN b int;",
            "line 1 (create table half a int)",
        ),
        ("ALTER TABLE nowhere ADD COLUMN b int", "needs public.nowhere, which no file creates"),
    ] {
        let error =
            stage.apply(&scripts(&[("1", "CREATE TABLE one (id int)"), ("2", sql)])).await.unwrap_err();
        assert!(matches!(error, ApplyError::Blocked(_)) && error.to_string().contains(told), "{error}");
        assert_eq!(stage.count("pg_class WHERE relname = 'one'").await, 0);
    }
    // Half applied, and every statement may run again: that is safe.
    let again = "CREATE TABLE IF NOT EXISTS half (a int);\nALTER TABLE half ADD COLUMN IF NOT EXISTS b int;";
    assert_eq!(stage.apply(&scripts(&[("2", again)])).await.unwrap(), ["2"]);
    assert!(stage.apply(&scripts(&[("2", again)])).await.unwrap().is_empty());

    // Two at once: the second is refused.
    stage.session.client().batch_execute("SELECT pg_advisory_lock(28255698122271853)").await.unwrap();
    let error = stage.apply(&scripts(&[("3", "CREATE TABLE three (a int)")])).await.unwrap_err();
    assert!(error.to_string().contains("another run"), "{error}");
    stage.session.client().batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    // The role's own settings apply, not this tool's.
    stage.sql("CREATE SCHEMA app; ALTER ROLE CURRENT_USER SET search_path = app").await;
    let scripts = scripts(&[("3", "CREATE TABLE three (a int)")]);
    let version = stage.session.server().version_num;
    let catalog = pgmove::catalog::read(stage.session.client(), version, &Filter::default()).await.unwrap();
    let found = plan(&scripts, &catalog, &["app".to_owned()], &PlanOptions::default()).unwrap();
    let applied = apply(&stage.options, &scripts, &found, &|_| ()).await.unwrap();
    assert_eq!((applied[0].mode, applied[0].statements), (Mode::Transaction, 1));
    assert_eq!(stage.count("app.three").await, 0);
}
