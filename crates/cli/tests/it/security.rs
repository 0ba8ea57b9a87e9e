//! The statements of docs/security.md: what they grant is sufficient, and no more than is said there.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::Path;

use s3s::S3Result;
use s3s::access::{S3Access, S3AccessContext};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

use crate::common::{Run, ask, command, dbhaul, files, folder, postgres, quick_redis};
use crate::s3_server;

fn page(language: &str) -> String {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    std::fs::read_to_string(docs.join(language).join("security.md")).unwrap()
}

/// The fenced blocks of a kind, in order.
fn blocks(text: &str, kind: &str) -> Vec<String> {
    let begins = format!("```{kind}\n");
    text.split(&begins).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// `[to back up, only where needed, to back up before 14, to restore, to rehearse]`
fn statements() -> [String; 5] {
    blocks(&page(""), "sql").try_into().unwrap()
}

#[test]
fn both_languages_say_the_same_statements() {
    for kind in ["sql", "text", "json"] {
        assert!(!blocks(&page(""), kind).is_empty());
        assert_eq!(blocks(&page(""), kind), blocks(&page("ko"), kind), "{kind}");
    }
}

struct Stage {
    server: Postgres,
    here: tempfile::TempDir,
}

impl Stage {
    async fn start(major: u32) -> Option<Stage> {
        let server = Postgres::start(&require_postgres(major)?, PostgresOptions::default()).unwrap();
        let client = postgres(&server.url("postgres")).await;
        for sql in ["CREATE ROLE app", "CREATE DATABASE source"] {
            client.batch_execute(sql).await.unwrap();
        }
        let client = postgres(&server.url("source")).await;
        client
            .batch_execute(
                "GRANT ALL ON SCHEMA public TO app; SET ROLE app; CREATE TABLE t (id serial, v text);
                 INSERT INTO t (v) SELECT 'x' FROM generate_series(1, 100); CREATE VIEW v AS SELECT * FROM t;
                 CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM t",
            )
            .await
            .unwrap();
        let here = folder();
        dbhaul(here.path(), &["init", "--no-config", "--repository", "store"]).exits(0);
        Some(Stage { server, here })
    }

    async fn sql(&self, database: &str, statements: &str) {
        postgres(&self.server.url(database)).await.batch_execute(statements).await.unwrap();
    }

    fn url(&self, role: &str, database: &str) -> String {
        self.server.url(database).replacen("postgres@", &format!("{role}@"), 1)
    }

    fn run(&self, args: &[&str]) -> Run {
        dbhaul(self.here.path(), &[&["--repository", "store"][..], args].concat())
    }

    fn back_up(&self) -> Run {
        self.run(&["backup", "--postgres", &self.url("backup", "source")])
    }

    /// The role of the backup can change nothing.
    async fn is_read_only(&self) {
        let client = postgres(&self.url("backup", "source")).await;
        for sql in
            ["INSERT INTO t VALUES (1, 'y')", "DELETE FROM t", "SELECT nextval('t_id_seq')", "DROP TABLE t"]
        {
            let error = client.batch_execute(sql).await.unwrap_err();
            assert_eq!(error.code().unwrap().code(), "42501", "{sql}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_role_that_backs_up_reads_everything_and_writes_nothing() {
    let [back_up, where_needed, ..] = statements();
    for major in [15, 18] {
        let Some(stage) = Stage::start(major).await else { return };
        stage.sql("source", &back_up).await;
        stage.back_up().exits(0);
        stage.is_read_only().await;
        // What needs more says so, and the further statements are sufficient.
        stage.sql("source", "ALTER TABLE t ENABLE ROW LEVEL SECURITY").await;
        let url = stage.url("backup", "source");
        stage.back_up().exits(5).says("row security applies").says("BYPASSRLS");
        let [row_security, hashes] = &where_needed.lines().collect::<Vec<_>>()[..] else { panic!() };
        stage.sql("source", row_security).await;
        stage.back_up().exits(0);
        stage.sql("source", hashes).await;
        stage.run(&["backup", "--postgres", &url, "--globals", "--role-passwords"]).exits(0);
        stage.is_read_only().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_14_each_schema_is_granted() {
    let [_, _, back_up, ..] = statements();
    let Some(stage) = Stage::start(12).await else { return };
    stage.sql("source", &back_up).await;
    stage.back_up().exits(0);
    // A table that the application makes later is readable too.
    stage
        .sql("source", "SET ROLE app; CREATE TABLE later (id serial); INSERT INTO later DEFAULT VALUES")
        .await;
    stage.back_up().exits(0);
    stage.is_read_only().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_roles_that_restore_and_rehearse_need_no_superuser() {
    let [back_up, _, _, restore, rehearsal] = statements();
    let (Some(stage), Some(target)) = (Stage::start(15).await, Stage::start(15).await) else { return };
    stage.sql("source", &back_up).await;
    stage.back_up().exits(0);
    for statement in restore.lines() {
        target.sql("postgres", statement).await;
    }
    let to = target.url("restore", "app");
    stage.run(&["restore", "latest", "--postgres", &to, "--no-owner", "--no-acl"]).exits(0);

    target.sql("postgres", &rehearsal).await;
    let url = target.url("rehearsal", "postgres");
    let source = stage.url("backup", "source");
    let config = format!(
        "[repository]\nurl = \"store\"\n[[source]]\nname = \"postgres\"\nkind = \"postgres\"\nurl = \"{source}\"\n\
         [[rehearse.sandbox]]\nsource = \"postgres\"\nurl = \"{url}\"\n"
    );
    std::fs::write(stage.here.path().join("dbhaul.toml"), config).unwrap();
    dbhaul(stage.here.path(), &["backup", "--new-lineage"]).exits(0);
    dbhaul(stage.here.path(), &["rehearse"]).exits(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_user_of_redis_that_backs_up_writes_nothing() {
    let text = blocks(&page(""), "text").concat();
    let line = text.lines().find(|line| line.starts_with("ACL SETUSER backup ")).unwrap();
    for version in ["7.0", "8.6", "valkey-9"] {
        let Some(binaries) = require_redis(version) else { return };
        let server = Redis::start(&binaries, quick_redis()).unwrap();
        ask(&server.url(), &["SET", "k", "v"]).await.unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        ask(&server.url(), &words).await.unwrap();
        let path = server.socket().display().to_string();
        let login = format!("redis+unix://backup:PASSWORD@{path}");
        let here = folder();
        dbhaul(here.path(), &["init", "--no-config", "--repository", "store"]).exits(0);
        for capture in ["psync", "scan"] {
            let args = ["--repository", "store", "backup", "--redis", &login, "--capture", capture];
            dbhaul(here.path(), &args).exits(0);
        }
        for words in [
            &["SET", "k", "w"][..],
            &["DEL", "k"],
            &["FLUSHALL"],
            &["CONFIG", "SET", "save", ""],
            &["EVAL", "return 1", "0"],
        ] {
            let error = ask(&login, words).await.unwrap_err().to_string();
            assert!(error.to_uppercase().contains("NOPERM"), "{version}: {words:?}: {error}");
        }
    }
}

/// What a policy of S3 allows, by the operations of its API.
struct Policy(Vec<String>);

#[async_trait::async_trait]
impl S3Access for Policy {
    async fn check(&self, request: &mut S3AccessContext<'_>) -> S3Result<()> {
        let operation = request.s3_op().name();
        let action = match operation {
            "ListObjects" | "ListObjectsV2" | "HeadBucket" => "s3:ListBucket",
            "HeadObject" | "GetObject" => "s3:GetObject",
            "CreateMultipartUpload" | "UploadPart" | "CompleteMultipartUpload" | "PutObject" => {
                "s3:PutObject"
            }
            other => other,
        };
        match self.0.iter().any(|allowed| allowed == action) {
            true => Ok(()),
            false => Err(s3s::s3_error!(AccessDenied, "not allowed: {operation}")),
        }
    }
}

/// With the key file and the policy of the page, a host backs up every night, and reads and removes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_can_only_write_backs_up_and_destroys_nothing() {
    let Some(binaries) = require_redis("7.0") else { return };
    let server = Redis::start(&binaries, quick_redis()).unwrap();
    ask(&server.url(), &["SET", "k", "v"]).await.unwrap();
    let [policy] = &blocks(&page(""), "json")[..] else { panic!("not one policy") };
    let policy: serde_json::Value = serde_json::from_str(policy).unwrap();
    let statements = policy["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|statement| statement["Action"].as_array().unwrap().clone());
    let actions: Vec<String> = actions.map(|action| action.as_str().unwrap().to_owned()).collect();
    let (bucket, mut builder) = s3_server::builder();
    builder.set_access(Policy(actions));
    let (bucket, endpoint) = s3_server::serve(bucket, builder.build()).await;

    let (host, elsewhere) = (folder(), folder());
    dbhaul(elsewhere.path(), &["key", "generate", "-o", "identity.txt"]).exits(0);
    let identity = std::fs::read_to_string(elsewhere.path().join("identity.txt")).unwrap();
    let recipient = identity.split_whitespace().find(|word| word.starts_with("age1")).unwrap();
    let run = |here: &Path, args: &[&str]| {
        let mut command = command(here, args);
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "right-secret");
        crate::common::run(command)
    };
    let url = format!("s3://backups/app?endpoint={endpoint}&region=r");
    run(host.path(), &["init", "--no-config", "--repository", &url, "--recipient", recipient])
        .exits(0)
        .says("this host may not delete objects");
    let config = format!(
        "[repository]\nurl = \"{url}\"\nkey-file = \"dbhaul.key\"\n[[source]]\nname = \"redis\"\nkind = \"redis\"\n\
         url = \"{}\"\n[nightly]\nstate-dir = \"state\"\n",
        server.url()
    );
    std::fs::write(host.path().join("dbhaul.toml"), config).unwrap();
    let night = run(host.path(), &["nightly"]).exits(0);
    run(host.path(), &["nightly"]).exits(0);
    assert!(!night.stderr.contains("error"), "{}", night.stderr);
    let listed = run(host.path(), &["snapshots", "--json"]).exits(0).json();
    let ids: Vec<&str> =
        listed["snapshots"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2);
    // It reads nothing back, and removes nothing.
    let to = Redis::start(&binaries, quick_redis()).unwrap();
    run(host.path(), &["restore", "latest", "--redis", &to.url()]).exits(2).says("--identity");
    let stored = files(bucket.path());
    let forgotten = run(host.path(), &["forget", ids[0]]);
    assert_ne!(forgotten.code, 0, "{}", forgotten.stdout);
    let left = files(bucket.path());
    assert!(stored.iter().all(|file| left.contains(file)), "something is gone");
    // Who has the identity restores.
    let identity = elsewhere.path().join("identity.txt").display().to_string();
    let args = ["restore", "latest", "--repository", &url, "--identity", &identity, "--redis", &to.url()];
    run(elsewhere.path(), &args).exits(0);
    assert_eq!(ask(&to.url(), &["GET", "k"]).await.unwrap(), ["v"]);
}
