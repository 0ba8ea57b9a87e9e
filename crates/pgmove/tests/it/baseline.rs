//! The baseline of the fixture's application against real databases: the old one meets it, and the new one, created
//! by an incomplete init script, lacks exactly the expected objects.

use std::path::{Path, PathBuf};

use pgmove::baseline::{Baseline, CheckOutcome, Observed, Severity, check};
use pgmove::{ConnectOptions, Environment, Session};
use sandbox::{Postgres, PostgresOptions};

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/coinpilot")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(fixture().join(file)).unwrap()
}

/// A file of the fixture for a server without extensions: see `coinpilot::Available`, which does the same. The leaves
/// do not know the fixture's crate, so the files themselves are read here.
fn plain(file: &str) -> String {
    let mut out = String::from("SET LOCAL search_path = public; SET LOCAL client_min_messages = error;\n");
    let mut leaving_out = false;
    for line in read(file).lines() {
        match line {
            line if line.starts_with("-- when ") => leaving_out = true,
            "-- end" => leaving_out = false,
            line if !leaving_out => out = out + line + "\n",
            _ => {}
        }
    }
    out.replace("vector(1536)", "real[]").replace("uuid_generate_v4()", "gen_random_uuid()")
}

/// The migrations in the order in which the baseline lists them.
fn migrations(baseline: &Baseline) -> Vec<String> {
    baseline.migrations.iter().map(|migration| format!("migrations/{}.sql", migration.name)).collect()
}

async fn session(server: &Postgres, database: &str) -> Session {
    let environment = Environment::from_process();
    let open = async |database: &str| {
        let options = ConnectOptions::parse(&server.url(database), &environment).unwrap();
        pgmove::connect(&options).await.unwrap()
    };
    if database != "postgres" {
        open("postgres").await.client().batch_execute(&format!("CREATE DATABASE {database}")).await.unwrap();
    }
    open(database).await
}

async fn verdict(session: &Session, baseline: &Baseline, environment: &str) -> CheckOutcome {
    let observed = Observed::read(session.client(), session.server().version_num).await.unwrap();
    check(baseline, &observed, Some(environment)).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_old_database_passes_and_the_new_one_lacks_what_it_lacked() {
    let baseline = Baseline::parse(&read("baseline.toml")).unwrap();
    for major in [15, 18] {
        let Some(binaries) = sandbox::testing::require_postgres(major) else { continue };
        let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();

        let old = session(&server, "old").await;
        old.client().batch_execute(&plain("schema/init.sql")).await.unwrap();
        for file in migrations(&baseline) {
            old.client().batch_execute(&plain(&file)).await.unwrap();
        }
        let found = verdict(&old, &baseline, "plain").await;
        assert!(found.passed, "PostgreSQL {major}\n{found}");
        assert!(found.findings.iter().all(|finding| finding.severity == Severity::Optional), "{found}");
        assert_eq!(found.checked, 190, "{found}");

        let new = session(&server, "new").await;
        new.client().batch_execute(&plain("schema/init-oci.sql")).await.unwrap();
        let found = verdict(&new, &baseline, "plain").await;
        let missing: Vec<(&str, String)> = found
            .failures()
            .map(|finding| (finding.object.as_str(), finding.provided_by.join(" or ")))
            .collect();
        let by = |object, migration: &str| (object, migration.to_owned());
        assert_eq!(
            missing,
            [
                by("column public.daily_risk_state.buy_count", "v3_2_1_trade_count_split"),
                by("column public.daily_risk_state.sell_count", "v3_2_1_trade_count_split"),
                by("table public.agent_decisions", "v3_3_1_agent_decisions_baseline"),
                by("table public.news_articles", "v3_3_0_news_rss_only"),
                by("table public.news_risk_scores", "v3_3_0_news_rss_only"),
                by("table public.news_summaries", "v3_3_0_news_rss_only"),
            ],
            "PostgreSQL {major}\n{found}"
        );
        assert!(!found.passed);

        // The environments that want the extensions miss them here, and the vectors with them.
        let found = verdict(&old, &baseline, "oci").await;
        let objects: Vec<&str> = found.failures().map(|finding| finding.object.as_str()).collect();
        for object in ["extension timescaledb", "extension vector", "column public.agent_memory.embedding"] {
            assert!(objects.contains(&object), "{object}\n{found}");
        }

        // The reported migrations fix it, and the stored catalog gives the same result as the live server.
        for file in ["v3_3_1_agent_decisions_baseline", "v3_2_1_trade_count_split", "v3_3_0_news_rss_only"] {
            new.client().batch_execute(&plain(&format!("migrations/{file}.sql"))).await.unwrap();
        }
        let found = verdict(&new, &baseline, "plain").await;
        assert!(found.passed, "{found}");
        let version = new.server().version_num;
        let catalog = pgmove::catalog::read(new.client(), version, &pgmove::Filter::default()).await.unwrap();
        let stored = serde_json::from_str(&serde_json::to_string(&catalog).unwrap()).unwrap();
        assert_eq!(check(&baseline, &Observed::from_catalog(&stored), Some("plain")).unwrap(), found);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differences_of_a_live_database_are_found_and_spellings_are_not() {
    let Some(binaries) = sandbox::testing::require_postgres(15) else { return };
    let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
    let session = session(&server, "postgres").await;
    session
        .client()
        .batch_execute(
            "CREATE TYPE public.mood AS ENUM ('good', 'bad');
             CREATE TABLE public.parent (id int PRIMARY KEY);
             CREATE TABLE public.\"Odd, Name\" (
                 a varchar(20)[], b numeric(20), c timestamptz(3), d public.mood, e int GENERATED ALWAYS AS IDENTITY,
                 \"F (x)\" int CONSTRAINT fk REFERENCES public.parent, g bit, h char, i bpchar);
             CREATE UNIQUE INDEX \"i WHERE\" ON public.\"Odd, Name\" (abs(b), \"F (x)\") INCLUDE (e);
             CREATE INDEX half ON public.\"Odd, Name\" USING hash (b) WHERE b > 0;",
        )
        .await
        .unwrap();
    let text = r#"
        [table."Odd, Name".columns]
        a = "character varying(20)[]"
        b = "decimal(20,0)"
        c = "timestamp(3) with time zone"
        d = "mood"
        e = { type = "int4", nullable = false, default = true }
        "F (x)" = { type = "INTEGER", default = false }
        g = "bit(1)"
        h = "character(1)"
        i = "bpchar"
        [table."Odd, Name".indexes]
        "i WHERE" = { columns = ["(expression)", "F (x)"], unique = true }
        named_otherwise = { columns = ["b"], method = "hash", partial = true }
        [table."Odd, Name".constraints]
        fk = { kind = "foreign-key", columns = ["F (x)"], references = "parent" }
    "#;
    let observed = Observed::read(session.client(), session.server().version_num).await.unwrap();
    let judge = |text: &str| check(&Baseline::parse(text).unwrap(), &observed, None).unwrap();
    let found = judge(text);
    assert!(found.passed, "{found}");

    for (from, to, expected, seen) in [
        ("varying(20)[]", "varying(21)[]", "character varying(21)[]", "character varying(20)[]"),
        ("decimal(20,0)", "decimal(20,1)", "decimal(20,1)", "numeric(20,0)"),
        ("timestamp(3)", "timestamp(4)", "timestamp(4) with time zone", "timestamp(3) with time zone"),
        ("nullable = false", "nullable = true", "nullable", "not null"),
        ("default = false", "default = true", "a default", "no default"),
        (
            "unique = true",
            "unique = false",
            "btree ((expression), F (x))",
            "unique btree ((expression), F (x))",
        ),
        ("partial = true", "partial = false", "hash (b)", "nothing"),
        (
            "\"parent\"",
            "\"other.parent\"",
            "foreign key (F (x)) references other.parent",
            "foreign key (F (x)) references public.parent",
        ),
    ] {
        let found = judge(&text.replace(from, to));
        let told: Vec<_> =
            found.failures().map(|finding| (finding.expected.as_str(), finding.found.as_str())).collect();
        assert_eq!(told, [(expected, seen)], "{to}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_captured_passes_and_misses_what_is_dropped() {
    for major in [12, 15, 18] {
        let Some(binaries) = sandbox::testing::require_postgres(major) else { continue };
        let server = Postgres::start(&binaries, PostgresOptions::default()).unwrap();
        let session = session(&server, "postgres").await;
        session
            .client()
            .batch_execute(
                "CREATE SCHEMA \"Odd.Schema\"; CREATE TYPE \"Odd.Schema\".\"Mood, (a)\" AS ENUM ('good');
                 CREATE TABLE public.parent (id int PRIMARY KEY, c \"char\", i interval day to second(3), o oid);
                 CREATE TABLE \"Odd.Schema\".\"T \"\"x\"\"\nnext\" (
                     m \"Odd.Schema\".\"Mood, (a)\"[], \"k = 1\" int REFERENCES public.parent, n name,
                     CONSTRAINT \"c = {\" CHECK (m IS NOT NULL), EXCLUDE USING gist (int4range(\"k = 1\", 9) WITH &&));
                 CREATE TABLE public.parted (at date) PARTITION BY RANGE (at);
                 CREATE TABLE public.parted_2026 PARTITION OF public.parted FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
                 CREATE UNIQUE INDEX ON public.parted USING btree (at) INCLUDE (at);
                 CREATE VIEW public.seen AS SELECT id, c FROM public.parent;
                 CREATE MATERIALIZED VIEW public.kept AS SELECT id FROM public.parent;
                 CREATE INDEX kept_hash ON public.kept USING hash (id) WHERE id > 0;",
            )
            .await
            .unwrap();
        let version = session.server().version_num;
        let catalog = async |filter: &pgmove::Filter| {
            pgmove::catalog::read(session.client(), version, filter).await.unwrap()
        };
        let all = pgmove::Filter::default();
        let text = pgmove::baseline::capture(&catalog(&all).await, "here");
        assert_eq!(text, pgmove::baseline::capture(&catalog(&all).await, "here"));
        let baseline = Baseline::parse(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let verdict = async || {
            let observed = Observed::read(session.client(), version).await.unwrap();
            check(&baseline, &observed, None).unwrap_or_else(|e| panic!("{e}\n{text}"))
        };
        let found = verdict().await;
        assert!(found.passed && found.checked > 20, "PostgreSQL {major}\n{found}\n{text}");
        assert!(!text.contains("parted_2026") && text.contains("1 partitions"), "{text}");

        for (sql, missing) in [
            ("ALTER TABLE public.parent DROP COLUMN o", "column public.parent.o"),
            ("DROP INDEX public.kept_hash", "index kept_hash on public.kept"),
            (
                "ALTER TABLE \"Odd.Schema\".\"T \"\"x\"\"\nnext\" DROP CONSTRAINT \"c = {\"",
                "constraint c = { on Odd.Schema.T \"x\"\nnext",
            ),
            ("DROP VIEW public.seen", "table public.seen"),
        ] {
            session.client().batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
            let found = verdict().await;
            let told: Vec<&str> = found.failures().map(|finding| finding.object.as_str()).collect();
            assert_eq!(told, [missing], "PostgreSQL {major}\n{found}");
            session.client().batch_execute("ROLLBACK").await.unwrap();
        }

        let odd = pgmove::Filter { schemas: vec!["Odd*".to_owned()], ..pgmove::Filter::default() };
        let text = pgmove::baseline::capture(&catalog(&odd).await, "here");
        assert_eq!(Baseline::parse(&text).unwrap().tables.len(), 1, "{text}");
    }
}
