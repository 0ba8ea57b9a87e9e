//! Servers that are reached through kubectl and ssh. The programs and the servers are real; the Kubernetes API is a
//! fake with the parts that kubectl needs.

mod backups;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use sandbox::testing::{
    FakeKubernetes, FakePod, Sshd, require_kubectl, require_postgres, require_redis, require_sshd,
};
use sandbox::{Postgres, PostgresOptions, Redis};

use crate::common::{Run, ask, command, folder, postgres, quick_redis};

const PASSWORD: &str = "s3cret word";

/// PostgreSQL and Redis, each in a pod of its own and behind ssh.
struct Stage {
    source: Option<Postgres>,
    redis: Redis,
    api: FakeKubernetes,
    sshd: Sshd,
    path: OsString,
    here: tempfile::TempDir,
}

fn pod(name: &str, app: &str, socket: PathBuf) -> FakePod {
    FakePod {
        name: name.to_owned(),
        uid: format!("uid-of-{name}"),
        app: app.to_owned(),
        phase: "Running".to_owned(),
        socket: Some(socket),
    }
}

fn stage() -> Option<Stage> {
    let options = PostgresOptions { password: Some(PASSWORD.to_owned()), ..PostgresOptions::default() };
    stage_with(Some(Postgres::start(&require_postgres(15)?, options).unwrap()))
}

fn stage_with(source: Option<Postgres>) -> Option<Stage> {
    let (kubectl, sshd) = (require_kubectl()?, require_sshd()?);
    let redis = Redis::start(&require_redis("7.0")?, quick_redis()).unwrap();
    let socket = source.as_ref().map(|source| source.socket_dir().join(".s.PGSQL.5432")).unwrap_or_default();
    let api = FakeKubernetes::start(vec![pod("db-0", "db", socket), pod("redis-0", "redis", redis.socket())])
        .unwrap();
    api.service("db", "db", r#"[{"port":5432}]"#);
    api.service("redis", "redis", r#"[{"port":6379}]"#);
    api.stateful_set("db", "db");
    api.secret("coin-pilot-secret", "DB_PASSWORD", PASSWORD);
    let sshd = Sshd::start(&sshd, "").unwrap();
    let own = [api.kubectl(&kubectl).unwrap(), sshd.ssh().unwrap()];
    let own = own.iter().filter_map(|program| program.parent()).map(Path::to_owned);
    let usual = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths(own.chain(std::env::split_paths(&usual))).unwrap();
    Some(Stage { source, redis, api, sshd, path, here: folder() })
}

impl Stage {
    fn source(&self) -> &Postgres {
        self.source.as_ref().unwrap()
    }

    fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = command(self.here.path(), args);
        // By this mark the processes are known that a run leaves behind.
        command.env("PATH", &self.path).env("TRANSPORTS_TEST", self.here.path());
        command
    }

    fn run(&self, args: &[&str]) -> Run {
        let run = Run::of(self.command(args).output().unwrap());
        self.leaves_nothing();
        run
    }

    /// No child of a run outlives it for long.
    fn leaves_nothing(&self) {
        let mark = format!("TRANSPORTS_TEST={}", self.here.path().display());
        let marked = || {
            let processes = std::fs::read_dir("/proc").unwrap().flatten();
            let line = |path: PathBuf| {
                String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
            };
            processes
                .filter(|process| line(process.path().join("environ")).contains(&mark))
                .map(|process| line(process.path().join("cmdline")).replace('\0', " "))
                .collect::<Vec<_>>()
        };
        let began = Instant::now();
        while !marked().is_empty() {
            assert!(began.elapsed() < Duration::from_secs(8), "left behind: {:?}", marked());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A database of the source, behind ssh.
    fn by_ssh(&self, role: &str, database: &str) -> String {
        let folder = self.source().socket_dir().display().to_string().replace('/', "%2F");
        format!("ssh://vm/postgres://{role}@{folder}/{database}")
    }

    /// Rows of so many megabytes, in tables of two.
    async fn fill(&self, megabytes: u32) {
        let sql = format!(
            "CREATE TABLE a (id int PRIMARY KEY, t text); \
             INSERT INTO a SELECT n, repeat(md5(n::text), 32) FROM generate_series(1, {}) n",
            megabytes * 1000
        );
        postgres(&self.source().url("app")).await.batch_execute(&sql).await.unwrap();
    }
}

const IN_POD: &str = "k8s://coin-pilot-ns/svc/db/app?user=postgres&secret=coin-pilot-secret/DB_PASSWORD";

async fn databases(stage: &Stage) {
    let admin = postgres(&stage.source().url("postgres")).await;
    for name in ["app", "copy"] {
        admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_moves_from_a_pod_to_a_host_behind_ssh() {
    let Some(stage) = stage() else { return };
    databases(&stage).await;
    stage.fill(3).await;
    let to = stage.by_ssh("postgres", "copy");
    std::fs::write(stage.here.path().join("password"), PASSWORD).unwrap();
    let args = ["migrate", "--from", IN_POD, "--to", &to, "--to-password-file", "password", "--json"];
    let run = stage.run(&args).exits(0);
    // The server that was reached.
    let run =
        run.says("from PostgreSQL 15").says("pod coin-pilot-ns/db-0 (uid uid-of-db-0, context minikube)");
    let run = run.says("through ssh vm");
    let server = run.json()["targets"][0]["server"].as_str().unwrap().to_owned();
    assert!(server.contains("system ") && server.contains("through ssh vm"), "{server}");
    let args = ["compare", IN_POD, &to, "--right-password-file", "password"];
    stage.run(&args).exits(0);

    // The same, as sources of a configuration; what was reached is in the manifest.
    let config = format!(
        "[repository]\nurl = \"backup\"\n[[source]]\nname = \"db\"\nkind = \"postgres\"\nurl = \"{IN_POD}\"\n\
         [[source]]\nname = \"redis\"\nkind = \"redis\"\nurl = \"k8s://coin-pilot-ns/svc/redis\"\n"
    );
    std::fs::write(stage.here.path().join("dbhaul.toml"), config).unwrap();
    ask(&stage.redis.url(), &["SET", "key", "value"]).await.unwrap();
    stage.run(&["init"]).exits(0);
    stage.run(&["backup"]).exits(0);
    let shown = stage.run(&["inspect", "latest", "--json"]).exits(0).stdout;
    assert!(
        shown.contains("pod coin-pilot-ns/db-0") && shown.contains("pod coin-pilot-ns/redis-0"),
        "{shown}"
    );
    assert!(!shown.contains(PASSWORD));
    // One that cannot be reached does not keep the other from being backed up.
    stage.api.change(|pods| pods[0].phase = "Pending".to_owned());
    stage.run(&["backup"]).exits(4).says("pod `db-0` is not running: Pending");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_move_between_transports() {
    let Some(stage) = stage_with(None) else { return };
    let Some(binaries) = require_redis("8.2") else { return };
    let target = Redis::start(&binaries, quick_redis()).unwrap();
    for n in 0..50 {
        ask(&stage.redis.url(), &["SET", &format!("key:{n}"), "value"]).await.unwrap();
    }
    let to = format!("ssh://vm/redis+unix://{}", target.socket().display());
    let from = "k8s://coin-pilot-ns/pod/redis-0:6379";
    let run = stage.run(&["migrate", "--from", from, "--to", &to]).exits(0);
    run.shows("through ssh vm");
    assert_eq!(ask(&target.url(), &["GET", "key:7"]).await.unwrap(), ["value"]);
    stage.run(&["compare", from, &to]).exits(0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_server_is_recognized_by_every_route() {
    let Some(stage) = stage() else { return };
    databases(&stage).await;
    stage.fill(1).await;
    std::fs::write(stage.here.path().join("password"), PASSWORD).unwrap();
    let same = |role: &str| {
        let to = stage.by_ssh(role, "app");
        let from = IN_POD.replace("user=postgres", &format!("user={role}"));
        let args = ["migrate", "--from", &from, "--to", &to, "--to-password-file", "password", "--clean"];
        stage.run(&args).exits(5).says("the same database").says("nothing was written");
    };
    same("postgres");
    // A role that may not read the identifier.
    let client = postgres(&stage.source().url("app")).await;
    let sql = format!(
        "CREATE ROLE plain LOGIN PASSWORD '{PASSWORD}'; GRANT SELECT ON ALL TABLES IN SCHEMA public TO plain; \
         REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC"
    );
    client.batch_execute(&sql).await.unwrap();
    same("plain");
    assert_eq!(client.query_one("SELECT count(*) FROM a", &[]).await.unwrap().get::<_, i64>(0), 1000);

    let redis = format!("ssh://vm/redis+unix://{}", stage.redis.socket().display());
    let args = ["migrate", "--from", "k8s://coin-pilot-ns/svc/redis:6379", "--to", &redis];
    stage.run(&args).exits(5).says("the same server");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreachable_targets_are_reported_with_the_programs_message() {
    let Some(stage) = stage_with(None) else { return };
    let run = |url: &str| stage.run(&["baseline", "capture", url]);
    run(&IN_POD.replace("DB_PASSWORD", "PASSWORD"))
        .exits(1)
        .says("has no key `PASSWORD`; it has `DB_PASSWORD`");
    run("k8s://elsewhere/coin-pilot-ns/svc/db/app").exits(1).says("127.0.0.1:1");
    run("k8s://coin-pilot-ns/svc/db:9999/app").exits(1).says("service `db` has no port 9999; it has 5432");
    run("ssh://no-such-user@vm/postgres://localhost/app").exits(1).says("Permission denied");
    run("ssh://vm/postgres://127.0.0.1:1/app").exits(1).says("Connection refused");
    run("ssh://-oProxyCommand=id/docker://x/app").exits(2).says("must not begin with `-`");
    run("docker://x").exits(2).says("?kind=postgres");
    // A password in a URL is not repeated.
    let refused = run("k8s://coin-pilot-ns/svc/db/app?password=hunter2").exits(2);
    assert!(!refused.stderr.contains("hunter2"));
}

async fn cut_by_kubectl(megabytes: u32) {
    let Some(stage) = stage() else { return };
    databases(&stage).await;
    stage.fill(megabytes).await;
    stage.api.cut_after(u64::from(megabytes) << 19);
    let to = stage.source().url("copy");
    let run = stage.run(&["migrate", "--from", IN_POD, "--to", &to]).exits(1);
    run.says("kubectl port-forward to pod `db-0`").says("lost connection to pod");
}

async fn cut_by_ssh(megabytes: u32) {
    let Some(stage) = stage() else { return };
    databases(&stage).await;
    stage.fill(megabytes).await;
    std::fs::write(stage.here.path().join("password"), PASSWORD).unwrap();
    let (from, to) = (stage.by_ssh("postgres", "app"), stage.source().url("copy"));
    let args = ["migrate", "--from", &from, "--to", &to, "--from-password-file", "password"];
    let child = stage.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let admin = postgres(&stage.source().url("postgres")).await;
    let began = Instant::now();
    let copying =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%TO STDOUT%' AND state = 'active'";
    while admin.query_one(copying, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "no COPY began");
        std::thread::sleep(Duration::from_millis(5));
    }
    stage.sshd.cut();
    let run = Run::of(child.wait_with_output().unwrap()).exits(1);
    stage.leaves_nothing();
    assert!(run.stderr.contains("ssh vm: "), "{}", run.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forward_that_is_cut_during_a_copy_fails_with_its_message() {
    cut_by_kubectl(10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_lost_during_a_copy_fails_with_sshs_message() {
    cut_by_ssh(30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all"]
async fn a_copy_of_200_megabytes_is_cut() {
    cut_by_kubectl(200).await;
    cut_by_ssh(200).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_killed_leaves_no_child() {
    let Some(stage) = stage() else { return };
    databases(&stage).await;
    stage.fill(40).await;
    std::fs::write(stage.here.path().join("password"), PASSWORD).unwrap();
    let to = stage.by_ssh("postgres", "copy");
    let args = ["migrate", "--from", IN_POD, "--to", &to, "--to-password-file", "password"];
    let mut child = stage.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let admin = postgres(&stage.source().url("postgres")).await;
    let began = Instant::now();
    let copying = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%FROM STDIN%'";
    while admin.query_one(copying, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        assert!(began.elapsed() < Duration::from_secs(30), "no COPY began");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    stage.leaves_nothing();
    // And no session remains on the servers.
    let began = Instant::now();
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dbhaul'";
    while admin.query_one(ours, &[]).await.unwrap().get::<_, i64>(0) > 0 {
        assert!(began.elapsed() < Duration::from_secs(15), "sessions are left at the server");
        std::thread::sleep(Duration::from_millis(50));
    }
}
