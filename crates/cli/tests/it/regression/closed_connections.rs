//! A server or a store closes a connection in the middle of a job: the job either fails or is complete. Reported as
//! "restore ends with exit 0 and a fifth of the keys when the target goes away".
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    missing_docs,
    reason = "test code; counts are to be seen"
)]

use crate::common::cut::{Cut, Direction, Proxy};
use crate::common::{Run, command, folder, postgres, quick_redis, redis, run};
use crate::s3_server;
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Listen, Postgres, PostgresOptions, Redis};
use tempfile::TempDir;

/// SplitMix64: a fixed sequence, so that failures are reproducible.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n.max(1)
    }
}

/// The job, and the connection to cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    MigrateRedisFrom,
    MigrateRedisTo,
    RestoreRedis,
    RestoreAof,
    BackupRedis,
    ScanRedis,
    CompareRedis,
    MigratePostgresFrom,
    MigratePostgresTo,
    RestorePostgres,
    BackupPostgres,
    ComparePostgres,
    BackupToS3,
    RestoreFromS3,
}

const JOBS: [Job; 14] = [
    Job::MigrateRedisFrom,
    Job::MigrateRedisTo,
    Job::RestoreRedis,
    Job::RestoreAof,
    Job::BackupRedis,
    Job::ScanRedis,
    Job::CompareRedis,
    Job::MigratePostgresFrom,
    Job::MigratePostgresTo,
    Job::RestorePostgres,
    Job::BackupPostgres,
    Job::ComparePostgres,
    Job::BackupToS3,
    Job::RestoreFromS3,
];

struct Stage {
    here: TempDir,
    redis: [Redis; 2],
    redis_proxies: [Proxy; 2],
    scan: Proxy,
    postgres: Postgres,
    postgres_proxies: [Proxy; 2],
    s3: Proxy,
    s3_direct: String,
    _s3_folder: TempDir,
}

impl Stage {
    async fn start() -> Option<Stage> {
        let (binaries, postgres_binaries) = (require_redis("7.0")?, require_postgres(15)?);
        // The proxies connect to ports.
        let server = || {
            let options = sandbox::RedisOptions { listen: Listen::Port, ..quick_redis() };
            Redis::start(&binaries, options).unwrap()
        };
        let redis = [server(), server()];
        let postgres = Postgres::start(
            &postgres_binaries,
            PostgresOptions { listen: Listen::Port, ..PostgresOptions::default() },
        )
        .unwrap();
        let (s3_folder, s3_direct) = s3_server::server().await;
        let s3_port = s3_direct.rsplit_once(':').unwrap().1.parse().unwrap();
        let stage = Stage {
            here: folder(),
            redis_proxies: [Proxy::to(redis[0].port().unwrap()), Proxy::to(redis[1].port().unwrap())],
            scan: Proxy::to(redis[0].port().unwrap()),
            postgres_proxies: [Proxy::to(postgres.port().unwrap()), Proxy::to(postgres.port().unwrap())],
            s3: Proxy::to(s3_port),
            redis,
            postgres,
            s3_direct,
            _s3_folder: s3_folder,
        };
        stage.fill().await;
        Some(stage)
    }

    async fn fill(&self) {
        let mut connection = redis(&self.redis[0].url()).await;
        let mut pipe = ::redis::pipe();
        for n in 0..1500 {
            pipe.cmd("SET").arg(format!("string:{n}")).arg(format!("value {n} ").repeat(n % 40));
        }
        for n in 0..200 {
            pipe.cmd("HSET").arg(format!("hash:{n}")).arg("f").arg(n).arg("g").arg("x".repeat(n));
            pipe.cmd("PEXPIREAT").arg(format!("hash:{n}")).arg(4_102_444_800_000_i64 + n as i64);
            pipe.cmd("ZADD").arg("z").arg(n).arg(format!("member {n}"));
        }
        pipe.exec_async(&mut connection).await.unwrap();
        ::redis::cmd("ACL")
            .arg(&["SETUSER", "scanner", "on", ">pw", "~*", "&*", "+@all", "-psync", "-sync"])
            .exec_async(&mut connection)
            .await
            .unwrap();
        let client = postgres(&self.postgres.url("postgres")).await;
        client.batch_execute("CREATE DATABASE source").await.unwrap();
        postgres(&self.postgres.url("source"))
            .await
            .batch_execute(
                "CREATE TABLE a (id int PRIMARY KEY, t text); CREATE TABLE b (id int REFERENCES a, v numeric);
                 CREATE INDEX ON b (v); CREATE TABLE c (j jsonb);
                 INSERT INTO a SELECT n, repeat(md5(n::text), 3) FROM generate_series(1, 2000) n;
                 INSERT INTO b SELECT n, n / 7.0 FROM generate_series(1, 1500) n;
                 INSERT INTO c SELECT jsonb_build_object('n', n) FROM generate_series(1, 1500) n;",
            )
            .await
            .unwrap();
        for (repository, redis) in [("repo", true), ("repo-pg", false)] {
            self.dbhaul(&["init", "--repository", repository, "--config", &format!("{repository}.toml")])
                .exits(0);
            let (flag, url) = match redis {
                true => ("--redis", self.redis[0].url()),
                false => ("--postgres", self.postgres.url("source")),
            };
            self.dbhaul(&["backup", "--repository", repository, flag, &url]).exits(0);
        }
        let s3 = self.s3_url(&self.s3_direct);
        self.dbhaul(&["init", "--repository", &s3, "--config", "s3.toml"]).exits(0);
        self.dbhaul(&["backup", "--repository", &s3, "--redis", &self.redis[0].url()]).exits(0);
        let mut commands = Vec::new();
        for n in 0..3000 {
            let set = redis::cmd("SET").arg(format!("key:{n}")).arg(format!("{n:0100}")).take();
            set.write_packed_command(&mut commands);
        }
        std::fs::write(self.here.path().join("appendonly.aof"), commands).unwrap();
    }

    fn s3_url(&self, endpoint: &str) -> String {
        // A store that has gone for good is not waited for longer than needed.
        format!("s3://backups/chaos?endpoint={endpoint}&region=r&retry-timeout=2s")
    }

    fn dbhaul(&self, args: &[&str]) -> Run {
        let mut command = command(self.here.path(), args);
        command.env("AWS_ACCESS_KEY_ID", "key").env("AWS_SECRET_ACCESS_KEY", "right-secret");
        run(command)
    }

    async fn empty_targets(&self) {
        let mut connection = redis(&self.redis[1].url()).await;
        ::redis::cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
        let client = postgres(&self.postgres.url("postgres")).await;
        client.batch_execute("DROP DATABASE IF EXISTS target WITH (FORCE)").await.unwrap();
        client.batch_execute("CREATE DATABASE target").await.unwrap();
    }

    /// The connection that is cut.
    fn proxy(&self, job: Job) -> &Proxy {
        match job {
            Job::MigrateRedisFrom | Job::BackupRedis | Job::CompareRedis => &self.redis_proxies[0],
            Job::ScanRedis => &self.scan,
            Job::MigrateRedisTo | Job::RestoreRedis | Job::RestoreAof => &self.redis_proxies[1],
            Job::MigratePostgresFrom | Job::BackupPostgres | Job::ComparePostgres => {
                &self.postgres_proxies[0]
            }
            Job::MigratePostgresTo | Job::RestorePostgres => &self.postgres_proxies[1],
            Job::BackupToS3 | Job::RestoreFromS3 => &self.s3,
        }
    }

    fn run(&self, job: Job, proof: bool) -> Run {
        let through = |proxy: &Proxy, server: &Redis| {
            server.url().replace(&format!(":{}", server.port().unwrap()), &format!(":{}", proxy.port()))
        };
        let database = |proxy: &Proxy, name: &str| {
            let port = self.postgres.port().unwrap();
            self.postgres.url(name).replace(&format!(":{port}/"), &format!(":{}/", proxy.port()))
        };
        let [from, to] = [0, 1].map(|at| through(&self.redis_proxies[at], &self.redis[at]));
        let [from_db, to_db] =
            [(0, "source"), (1, "target")].map(|(at, name)| database(&self.postgres_proxies[at], name));
        let scan = format!("redis://scanner:pw@127.0.0.1:{}", self.scan.port());
        let s3 = self.s3_url(&format!("http://127.0.0.1:{}", self.s3.port()));
        let mut args: Vec<&str> = match job {
            Job::MigrateRedisFrom | Job::MigrateRedisTo => vec!["migrate", "--from", &from, "--to", &to],
            Job::RestoreRedis => vec!["restore", "latest", "--repository", "repo", "--redis", &to],
            Job::RestoreAof => vec!["restore", "./appendonly.aof", "--redis", &to],
            Job::BackupRedis => vec!["backup", "--repository", "repo", "--redis", &from],
            Job::ScanRedis => vec!["backup", "--repository", "repo", "--redis", &scan],
            Job::CompareRedis => vec!["compare", &from, &from],
            Job::MigratePostgresFrom | Job::MigratePostgresTo => {
                vec!["migrate", "--from", &from_db, "--to", &to_db]
            }
            Job::RestorePostgres => {
                vec!["restore", "latest", "--repository", "repo-pg", "--postgres", &to_db]
            }
            Job::BackupPostgres => vec!["backup", "--repository", "repo-pg", "--postgres", &from_db],
            Job::ComparePostgres => vec!["compare", &from_db, &from_db],
            Job::BackupToS3 => vec!["backup", "--repository", &s3, "--redis", &from],
            Job::RestoreFromS3 => vec!["restore", "latest", "--repository", &s3, "--redis", &to],
        };
        if !proof && matches!(args[0], "migrate" | "restore") {
            args.push("--no-proof");
        }
        args.push("--quiet");
        self.dbhaul(&args)
    }

    /// Asserts what exit code 0 claims.
    fn assert_done(&self, job: Job) {
        let [source, target] = [0, 1].map(|at| self.redis[at].url());
        let s3 = self.s3_url(&self.s3_direct);
        let (source_db, target_db) = (self.postgres.url("source"), self.postgres.url("target"));
        let args: Vec<&str> = match job {
            Job::MigrateRedisFrom | Job::MigrateRedisTo | Job::RestoreRedis | Job::RestoreFromS3 => {
                vec!["compare", &source, &target]
            }
            Job::BackupRedis | Job::ScanRedis => vec!["compare", "latest", &source, "--repository", "repo"],
            Job::MigratePostgresFrom | Job::MigratePostgresTo | Job::RestorePostgres => {
                vec!["compare", &source_db, &target_db]
            }
            Job::BackupPostgres => vec!["compare", "latest", &source_db, "--repository", "repo-pg"],
            Job::BackupToS3 => vec!["compare", "latest", &source, "--repository", &s3],
            Job::RestoreAof | Job::CompareRedis | Job::ComparePostgres => return,
        };
        self.dbhaul(&args).exits(0);
    }
}

async fn cut_everywhere(runs: usize, seed: u64) {
    let Some(stage) = Stage::start().await else { return };
    let mut random = Random(seed);
    let mut lengths = std::collections::BTreeMap::new();
    let (mut failed, mut done, mut cuts) = (0, 0, 0);
    for n in 0..runs {
        let job = JOBS[n % JOBS.len()];
        let proxy = stage.proxy(job);
        let proof = random.below(2) == 0;
        let length = match lengths.get(&(job as u8, proof)) {
            Some(length) => *length,
            None => {
                stage.empty_targets().await;
                proxy.arm(None);
                stage.run(job, proof).exits(0);
                let length = [Direction::Up, Direction::Down].map(|direction| proxy.passed(direction));
                lengths.insert((job as u8, proof), length);
                length
            }
        };
        stage.empty_targets().await;
        let direction = if random.below(2) == 0 { Direction::Up } else { Direction::Down };
        let after = random.below(length[usize::from(direction == Direction::Down)]);
        let cut = Cut { direction, after, for_good: random.below(2) == 0 };
        proxy.arm(Some(cut));
        let run = stage.run(job, proof);
        let has_cut = proxy.has_cut();
        proxy.arm(None);
        cuts += usize::from(has_cut);
        let what = format!("run {n}: {job:?}, proof {proof}, {cut:?} of {length:?}");
        if run.code == 0 {
            done += 1;
            stage.assert_done(job);
            if job == Job::RestoreAof {
                let mut connection = redis(&stage.redis[1].url()).await;
                let keys: u64 = ::redis::cmd("DBSIZE").query_async(&mut connection).await.unwrap();
                assert_eq!(keys, 3000, "{what}");
            }
        } else {
            failed += 1;
            assert!(has_cut, "{what}: {}", run.stderr);
            assert!([1, 3, 4].contains(&run.code), "{what}: exit code {}\n{}", run.code, run.stderr);
            assert!(
                run.code == 3 || run.stderr.contains("error: "),
                "{what}: nothing is said\n{}",
                run.stderr
            );
        }
    }
    eprintln!("count: closed connections: {runs} runs, {cuts} cuts: {failed} failed, {done} done and equal");
    assert!(failed * 2 > runs, "{failed} of {runs} runs failed");
}

/// Passes on so many questions of each connection with their answers, and closes it behind the last.
fn close_after(exchanges: usize, socket: &std::path::Path, server: std::path::PathBuf) {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};
    let listener = UnixListener::bind(socket).unwrap();
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let server = server.clone();
            std::thread::spawn(move || {
                let mut upstream = UnixStream::connect(server).unwrap();
                let mut buffer = vec![0; 1 << 20];
                for _ in 0..exchanges {
                    let Ok(n @ 1..) = client.read(&mut buffer) else { return };
                    upstream.write_all(&buffer[..n]).unwrap();
                    let Ok(n @ 1..) = upstream.read(&mut buffer) else { return };
                    if client.write_all(&buffer[..n]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// A write to a peer that has closed gives "broken pipe", on a Unix socket at once: as of a standard output whose reader has
/// gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_broken_pipe_to_a_server_is_a_failure() {
    let Some(binaries) = require_redis("7.0") else { return };
    let target = Redis::start(&binaries, quick_redis()).unwrap();
    let here = folder();
    let path = here.path().join("appendonly.aof");
    std::fs::write(&path, "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n").unwrap();
    let mut broken = 0;
    for exchanges in 1..=8 {
        let socket = here.path().join(format!("{exchanges}.sock"));
        close_after(exchanges, &socket, target.socket());
        let url = format!("redis+unix://{}", socket.display());
        for args in [vec!["restore", "./appendonly.aof", "--redis", &url], vec!["compare", &url, &url]] {
            let run = run(command(here.path(), &args)).exits(1);
            broken += usize::from(run.stderr.to_lowercase().contains("broken pipe"));
        }
    }
    assert!(broken > 0, "no connection was found closed by a write");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_job_whose_connection_is_closed_never_succeeds() {
    cut_everywhere(42, 14).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "long: run by scripts/test --all"]
async fn nor_does_it_in_a_thousand_runs() {
    let runs = std::env::var("DBHAUL_CUTS").ok().and_then(|runs| runs.parse().ok()).unwrap_or(1000);
    let seed = std::env::var("DBHAUL_CUTS_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    cut_everywhere(runs, seed).await;
}
