//! Servers with a small application, a complete configuration, and a receiver of notices.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use crate::common::{Run, ask, dbhaul, dbhaul_with_clock_off, files, folder, postgres, quick_redis};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

/// An HTTP server that says 200 to everything and remembers it.
pub(super) struct Told {
    pub(super) port: u16,
    seen: Arc<Mutex<Vec<(String, String)>>>,
}

impl Told {
    fn start() -> Told {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { continue };
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let mut read = Vec::new();
                let mut buffer = [0; 65536];
                loop {
                    let n = stream.read(&mut buffer).unwrap_or(0);
                    read.extend_from_slice(&buffer[..n]);
                    let text = String::from_utf8_lossy(&read).into_owned();
                    if let Some((head, body)) = text.split_once("\r\n\r\n") {
                        let length = head.lines().find_map(|line| {
                            line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse::<usize>().ok()
                        });
                        if body.len() >= length.unwrap_or(0) || n == 0 {
                            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                            noted.lock().unwrap().push((path, body.to_owned()));
                            break;
                        }
                    }
                    if n == 0 {
                        break;
                    }
                }
                let _ =
                    stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            }
        });
        Told { port, seen }
    }

    /// Requests to this path since the last call.
    pub(super) fn take(&self, path: &str) -> Vec<(String, String)> {
        let mut seen = self.seen.lock().unwrap();
        let (wanted, other) = seen.drain(..).partition(|(at, _)| at.starts_with(path));
        *seen = other;
        wanted
    }

    /// The texts of the notices since the last time.
    pub(super) fn notices(&self) -> Vec<String> {
        let text = |(_, body): (String, String)| {
            let body: serde_json::Value = serde_json::from_str(&body).unwrap();
            body["content"].as_str().unwrap().to_owned()
        };
        self.take("/discord").into_iter().map(text).collect()
    }
}

pub(super) struct Stage {
    pub(super) pg: Postgres,
    pub(super) rd: Redis,
    pub(super) here: tempfile::TempDir,
    pub(super) told: Told,
}

impl Stage {
    pub(super) async fn start() -> Option<Stage> {
        let (pg, rd) = (require_postgres(15)?, require_redis("7.0")?);
        let stage = Stage {
            pg: Postgres::start(&pg, PostgresOptions::default()).unwrap(),
            rd: Redis::start(&rd, quick_redis()).unwrap(),
            here: folder(),
            told: Told::start(),
        };
        postgres(&stage.pg.url("postgres")).await.batch_execute("CREATE DATABASE app").await.unwrap();
        stage
            .sql(
                "CREATE TABLE positions (id bigint PRIMARY KEY, symbol text NOT NULL); \
                  INSERT INTO positions SELECT n, 'KRW-' || n FROM generate_series(1, 1000) n",
            )
            .await;
        let url = stage.rd.url();
        let fill = "for i = 1, 100 do redis.call('SET', 'k' .. i, i) end return 'ok'";
        ask(&url, &["EVAL", fill, "0"]).await.unwrap();
        std::fs::create_dir(stage.here.path().join("textfile")).unwrap();
        stage.configure(&url);
        stage.run(&["init", "--no-config", "--repository", "store"]).exits(0);
        Some(stage)
    }

    /// Writes the configuration, with this Redis.
    pub(super) fn configure(&self, redis: &str) {
        let hook = format!("http://127.0.0.1:{}", self.told.port);
        std::fs::write(self.here.path().join("hook"), format!("{hook}/discord/s3cret\n")).unwrap();
        let text = format!(
            "[job]\nid = \"app\"\n[repository]\nurl = \"store\"\n\
             [[source]]\nname = \"postgres\"\nkind = \"postgres\"\nurl = \"{}\"\n\
             [[source]]\nname = \"redis\"\nkind = \"redis\"\nurl = \"{redis}\"\n\
             [retention]\ndaily = 3\nzone = \"Asia/Seoul\"\n\
             [nightly]\nstate-dir = \"state\"\n\
             [[notify]]\nkind = \"discord\"\nurl-file = \"hook\"\nrepeat-after = \"0s\"\n\
             [[notify]]\nkind = \"healthchecks\"\nurl = \"{hook}/ping/s3cret\"\n\
             [metrics]\ntextfile = \"textfile\"\npushgateway = \"{hook}/push\"\n",
            self.pg.url("app")
        );
        std::fs::write(self.here.path().join("dbhaul.toml"), text).unwrap();
        for name in ["hook", "dbhaul.toml"] {
            use std::os::unix::fs::PermissionsExt as _;
            let path = self.here.path().join(name);
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    pub(super) async fn sql(&self, sql: &str) {
        postgres(&self.pg.url("app")).await.batch_execute(sql).await.unwrap();
    }

    pub(super) fn run(&self, args: &[&str]) -> Run {
        let run = dbhaul(self.here.path(), args);
        assert!(
            !run.stderr.contains("s3cret") && !run.stdout.contains("s3cret"),
            "{}{}",
            run.stdout,
            run.stderr
        );
        run
    }

    /// Runs so many hours ago, by the clocks of the host and of the store. `None` where no clock can be set.
    pub(super) fn run_ago(&self, hours: i64, args: &[&str]) -> Option<Run> {
        let before = SystemTime::now();
        let run = dbhaul_with_clock_off(self.here.path(), -hours * 3600, args)?;
        let ago = Duration::from_secs(hours.unsigned_abs() * 3600);
        for path in files(&self.here.path().join("store")) {
            let written = path.metadata().unwrap().modified().unwrap();
            if written >= before - Duration::from_millis(20) {
                let file = std::fs::File::options().write(true).open(&path).unwrap();
                file.set_modified(written - ago).unwrap();
            }
        }
        Some(run)
    }

    /// The snapshots, oldest first.
    pub(super) fn snapshots(&self) -> Vec<serde_json::Value> {
        let listed = self.run(&["snapshots", "--json"]).exits(0).json();
        listed["snapshots"].as_array().unwrap().clone()
    }

    /// The value of a metric, with its labels beside the job's.
    pub(super) fn metric(&self, name: &str) -> Option<f64> {
        let text = std::fs::read_to_string(self.here.path().join("textfile/dbhaul.prom")).unwrap();
        let (bare, labels) = name.split_once('{').unwrap_or((name, ""));
        let labels = labels.trim_end_matches('}');
        let comma = if labels.is_empty() { "" } else { "," };
        let wanted = format!("{bare}{{job_id=\"app\"{comma}{labels}}} ");
        text.lines().find_map(|line| line.strip_prefix(&wanted)?.parse().ok())
    }
}
