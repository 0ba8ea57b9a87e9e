//! Shared code of the tests of the binary: real servers, the binary itself, and a folder for its repository.
#![allow(dead_code, reason = "each test file uses its own part of this")]
#![allow(clippy::unwrap_used, clippy::print_stderr, missing_docs, unreachable_pub, reason = "test code")]

pub mod cut;
pub mod image;
pub mod writer;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// Result of a run of the binary.
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn of(output: Output) -> Run {
        Run {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts the exit code, and shows everything when it is another.
    #[track_caller]
    pub fn exits(self, code: i32) -> Run {
        assert_eq!(
            self.code, code,
            "exit code {} instead of {code}\n--- stdout\n{}\n--- stderr\n{}",
            self.code, self.stdout, self.stderr
        );
        self
    }

    /// Asserts that standard error says this.
    #[track_caller]
    pub fn says(self, text: &str) -> Run {
        assert!(self.stderr.contains(text), "stderr does not say {text:?}:\n{}", self.stderr);
        self
    }

    /// Asserts that standard output shows this.
    #[track_caller]
    pub fn shows(self, text: &str) -> Run {
        assert!(self.stdout.contains(text), "stdout does not show {text:?}:\n{}", self.stdout);
        self
    }

    /// Standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {}", self.stdout))
    }
}

/// The binary, free of the environment's own settings, in a folder of its own.
pub fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dbhaul"));
    command.current_dir(folder).args(args);
    for name in [
        "PGPASSWORD",
        "PGHOST",
        "PGPORT",
        "PGUSER",
        "PGDATABASE",
        "PGSERVICE",
        "REDISCLI_AUTH",
        "DBHAUL_FROM_PASSWORD",
        "DBHAUL_TO_PASSWORD",
        "DBHAUL_CONFIG",
        "DBHAUL_REPOSITORY",
        "DBHAUL_KEY_FILE",
        "DBHAUL_IDENTITY_FILE",
        "DBHAUL_PASSPHRASE",
    ] {
        command.env_remove(name);
    }
    // Do not use the configuration of the user who runs the tests.
    command.env("XDG_CONFIG_HOME", folder.join(".config"));
    command
}

/// Runs the binary to its end.
pub fn dbhaul(folder: &Path, args: &[&str]) -> Run {
    run(command(folder, args))
}

/// Runs a command to its end.
pub fn run(mut command: Command) -> Run {
    Run::of(command.output().unwrap())
}

/// The same, to a program whose clock is off by so many seconds. Files that it writes get the true time, as from a store
/// with a clock of its own. `None` where libfaketime is not installed.
pub fn dbhaul_with_clock_off(folder: &Path, seconds: i64, args: &[&str]) -> Option<Run> {
    let places = std::fs::read_dir("/usr/lib").unwrap().flatten();
    let library =
        places.map(|place| place.path().join("faketime/libfaketime.so.1")).find(|path| path.exists());
    let Some(library) = library else {
        eprintln!("SKIPPED: libfaketime is not installed");
        return None;
    };
    let mut command = command(folder, args);
    command.env("LD_PRELOAD", library).env("FAKETIME", format!("{seconds:+}"));
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("NO_FAKE_STAT", "1");
    Some(run(command))
}

/// An empty folder, gone after the test.
pub fn folder() -> TempDir {
    tempfile::Builder::new().prefix("dbhaul-test-").tempdir().unwrap()
}

/// A client for preparing and changing databases.
pub async fn postgres(url: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// A client for preparing and changing Redis.
pub async fn redis(url: &str) -> redis::aio::MultiplexedConnection {
    // On a socket this client wants the login behind the path.
    let login = url.strip_prefix("redis+unix://").and_then(|rest| rest.split_once('@'));
    let url = match login.and_then(|(login, path)| Some((login.split_once(':')?, path))) {
        Some(((user, password), path)) => format!("redis+unix://{path}?user={user}&pass={password}"),
        None => url.to_owned(),
    };
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

/// Asks Redis; gives an array's items, or the one answer.
pub async fn ask(url: &str, words: &[&str]) -> Result<Vec<String>, ::redis::RedisError> {
    let mut command = ::redis::cmd(words[0]);
    command.arg(&words[1..]);
    let text = |value| ::redis::from_redis_value::<String>(value).unwrap();
    Ok(match command.query_async(&mut redis(url).await).await? {
        ::redis::Value::Array(items) => items.into_iter().map(text).collect(),
        other => vec![text(other)],
    })
}

/// Fills both servers with the sample application at its real size.
pub async fn load_sample(postgres_url: &str, redis_url: &str) {
    let client = postgres(postgres_url).await;
    coinpilot::load_postgres(&client, 1).await.unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    coinpilot::load_redis(redis_url, 1, now).await.unwrap();
}

/// The name of a private server's database for `--replace`: the URL contains its folder instead of a host.
pub fn target_name(url: &str) -> String {
    let (_, place) = url.split('?').next().unwrap().rsplit_once('@').unwrap();
    let (folder, database) = place.split_once('/').unwrap();
    format!("{}:5432/{database}", folder.replace("%2F", "/"))
}

/// Redis that does not wait 5 s for further replicas before it sends its snapshot.
pub fn quick_redis() -> sandbox::RedisOptions {
    let settings = vec![("repl-diskless-sync-delay".to_owned(), "0".to_owned())];
    sandbox::RedisOptions { settings, ..sandbox::RedisOptions::default() }
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}
