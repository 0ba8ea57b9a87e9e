//! The runbooks as a reader follows them: their commands, in both languages, run against real servers; and every
//! command in any page has options that exist.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{ask, command, dbhaul, folder, postgres, quick_redis};
use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis};

/// Programs of others that a runbook calls: not run here. Any other command of a runbook is.
const OF_OTHERS: [&str; 2] = ["kubectl ", "ssh "];

/// Placeholders, in Korean and in English: both pages must contain the same commands.
const PLACEHOLDERS: [(&str, &str); 6] = [
    ("DB주소", "ADDRESS-OF-DB"),
    ("REDIS주소", "ADDRESS-OF-REDIS"),
    ("경로/", "PATH/"),
    ("옛이름=새이름", "OLD=NEW"),
    ("이름", "NAME"),
    ("서비스", "SERVICE"),
];

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The fenced blocks of this language, in order.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() == format!("```{language}") {
            let indent = line.len() - line.trim_start().len();
            let body = lines.by_ref().take_while(|line| line.trim() != "```");
            found.push(body.map(|line| format!("{}\n", line.get(indent..).unwrap_or(""))).collect());
        }
    }
    found
}

/// The commands of a page, without comments.
fn commands(text: &str) -> Vec<String> {
    let all = blocks(text, "sh").concat();
    let lines = all.lines().map(|line| line.split(" #").next().unwrap().trim().to_owned());
    lines.filter(|line| !line.is_empty()).collect()
}

/// A runbook's text, once both languages are found to hold the same commands and the same configuration.
fn runbook(name: &str) -> String {
    let read = |path: PathBuf| std::fs::read_to_string(path).unwrap();
    let english = read(docs().join(name));
    let mut korean = read(docs().join("ko").join(name));
    for (from, to) in PLACEHOLDERS {
        korean = korean.replace(from, to);
    }
    assert!(!commands(&english).is_empty(), "{name} holds no commands");
    assert_eq!(commands(&english), commands(&korean), "{name}: the languages differ");
    assert_eq!(blocks(&english, "toml"), blocks(&korean, "toml"), "{name}: the languages differ");
    english
}

/// Servers with a little of the application in them, and empty ones.
struct Stage {
    servers: Vec<(Postgres, Redis)>,
    here: tempfile::TempDir,
}

impl Stage {
    async fn start(pairs: usize) -> Option<Stage> {
        let (pg, rd) = (require_postgres(15)?, require_redis("7.0")?);
        let mut servers = Vec::new();
        for _ in 0..pairs {
            let pg = Postgres::start(&pg, PostgresOptions::default()).unwrap();
            let rd = Redis::start(&rd, quick_redis()).unwrap();
            let client = postgres(&pg.url("postgres")).await;
            client.batch_execute("CREATE DATABASE coinpilot").await.unwrap();
            servers.push((pg, rd));
        }
        let stage = Stage { servers, here: folder() };
        let client = postgres(&stage.postgres(0)).await;
        let rows = "CREATE TABLE positions (id bigint PRIMARY KEY, symbol text NOT NULL); \
                    INSERT INTO positions SELECT n, 'KRW-' || n FROM generate_series(1, 1000) n";
        client.batch_execute(rows).await.unwrap();
        ask(&stage.servers[0].1.url(), &["SET", "bot:status:1", "live"]).await.unwrap();
        let baseline = dbhaul(stage.here.path(), &["baseline", "capture", &stage.postgres(0)]).exits(0);
        stage.write("baseline.toml", &baseline.stdout);
        Some(stage)
    }

    fn postgres(&self, at: usize) -> String {
        self.servers[at].0.url("coinpilot")
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.here.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Replaces the runbook's addresses in a command or configuration by those of this stage: (its address, ours).
    fn put(&self, text: &str, servers: &[(&str, &str)]) -> String {
        let mut text = text.to_owned();
        for (at, (pg, rd)) in servers.iter().enumerate().filter(|(_, (pg, _))| !pg.is_empty()) {
            text = text.replace(&format!("postgres://postgres@{pg}/coinpilot"), &self.postgres(at));
            text = text.replace(&format!("redis://{rd}"), &self.servers[at].1.url());
        }
        let here = self.here.path().display();
        text.replace("/etc/dbhaul/", &format!("{here}/etc/dbhaul/"))
            .replace("/var/lib/dbhaul/", &format!("{here}/var/"))
            .replace("--environment NAME", "--environment oci")
    }

    /// Runs a command line as a shell does; it must succeed.
    #[track_caller]
    fn run(&self, line: &str) {
        let mut shell = Command::new("sh");
        let binary = command(self.here.path(), &[]);
        let bin = Path::new(binary.get_program()).parent().unwrap().to_owned();
        let path = std::env::var("PATH").unwrap();
        shell.current_dir(self.here.path()).args(["-e", "-c", line]);
        for (name, value) in binary.get_envs() {
            match value {
                Some(value) => shell.env(name, value),
                None => shell.env_remove(name),
            };
        }
        shell.env("PATH", format!("{}:{path}", bin.display()));
        // Where a runbook relies on /etc/dbhaul, the test has a folder of its own.
        let host = self.here.path().join("etc/dbhaul/dbhaul.toml");
        if host.exists() {
            shell.env("DBHAUL_CONFIG", host);
        }
        let output = shell.output().unwrap();
        assert!(
            output.status.success(),
            "`{line}`: {}\n{}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Runs all commands of a runbook, in order. `put` makes a command one of this stage.
    fn follow(&self, text: &str, put: impl Fn(&str) -> String) -> usize {
        let mut ran = 0;
        for line in commands(text) {
            if OF_OTHERS.iter().any(|program| line.starts_with(program)) {
                continue;
            }
            assert!(line.starts_with("dbhaul "), "neither ours nor of {OF_OTHERS:?}: {line}");
            self.run(&put(&line));
            ran += 1;
        }
        ran
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_migration_follows_its_runbook() {
    let text = runbook("runbook-migration.md");
    let Some(stage) = Stage::start(2).await else { return };
    let servers = [("127.0.0.1:15432", "127.0.0.1:16379"), ("127.0.0.1:25432", "127.0.0.1:26379")];
    assert!(stage.follow(&text, |line| stage.put(line, &servers)) >= 8);
    let client = postgres(&stage.postgres(1)).await;
    let rows: i64 = client.query_one("SELECT count(*) FROM positions", &[]).await.unwrap().get(0);
    assert_eq!(rows, 1000);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_nightly_backup_follows_its_runbook() {
    let text = runbook("runbook-nightly.md");
    let Some(stage) = Stage::start(1).await else { return };
    let servers = [("127.0.0.1:15432", "127.0.0.1:16379")];
    let put = |text: &str| stage.put(text, &servers);
    stage.write("etc/dbhaul/db-password", "unused\n");
    std::fs::copy(
        stage.here.path().join("baseline.toml"),
        stage.here.path().join("etc/dbhaul/baseline.toml"),
    )
    .unwrap();
    let [configuration] = &blocks(&text, "toml")[..] else { panic!("not one configuration") };
    let all = commands(&text);
    let (init, rest) = all.split_first().unwrap();
    stage.run(&put(init));
    stage.write("etc/dbhaul/dbhaul.toml", &put(configuration));
    for line in rest {
        assert!(line.starts_with("dbhaul "), "{line}");
        stage.run(&put(line));
    }
    // Promises of the text beside the blocks.
    stage.run("test \"$(dbhaul snapshots --json | grep -c '\"passed\": true')\" = 2");
    stage.run(&put("dbhaul backup redis"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rehearsal_follows_its_runbook() {
    let text = runbook("runbook-rehearsal.md");
    let Some(stage) = Stage::start(2).await else { return };
    let source = [("127.0.0.1:15432", "127.0.0.1:16379")];
    let configuration = "[job]\nid = \"coinpilot\"\n[repository]\nurl = \"store\"\n[[source]]\nname = \"postgres\"\n\
         kind = \"postgres\"\nurl = \"postgres://postgres@127.0.0.1:15432/coinpilot\"\n[[source]]\nname = \"redis\"\n\
         kind = \"redis\"\nurl = \"redis://127.0.0.1:16379\"\n";
    stage.write("dbhaul.toml", &stage.put(configuration, &source));
    stage.run("dbhaul init");
    stage.run("dbhaul backup");
    let listed = dbhaul(stage.here.path(), &["snapshots", "--json"]).exits(0).json();
    let id = listed["snapshots"][0]["id"].as_str().unwrap().to_owned();
    let targets = [("", ""), ("127.0.0.1:5433", "127.0.0.1:6380")];
    let put = |line: &str| {
        let line = line.replace("20261123T180500Z", id.split('-').next().unwrap());
        stage.put(&line, &targets)
    };
    assert!(stage.follow(&text, put) >= 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_server_is_restored_by_its_runbook() {
    let text = runbook("runbook-disaster.md");
    let Some(stage) = Stage::start(2).await else { return };
    stage.run("dbhaul key generate --output identity.txt");
    stage.run("dbhaul init --no-config --repository store --recipient $(grep -o 'age1[a-z0-9]*' identity.txt | head -n 1)");
    let (pg, redis) = (stage.postgres(0), stage.servers[0].1.url());
    stage.run(&format!(
        "dbhaul backup --repository store --key-file dbhaul.key --postgres {pg} --redis {redis}"
    ));
    // Only on the lost server.
    std::fs::remove_file(stage.here.path().join("dbhaul.key")).unwrap();
    let targets = [("", ""), ("127.0.0.1:25432", "127.0.0.1:26379")];
    let put = |line: &str| stage.put(&line.replace("s3://backups/coinpilot", "store"), &targets);
    assert!(stage.follow(&text, put) >= 10);
    let client = postgres(&stage.postgres(1)).await;
    let rows: i64 = client.query_one("SELECT count(*) FROM positions", &[]).await.unwrap().get(0);
    assert_eq!(rows, 1000);
    let listed = "dbhaul snapshots --json --repository store --identity identity.txt";
    stage.run(&format!("test \"$({listed} | grep -c '\"id\":')\" = 2"));
}

/// The first two commands build and install the binary, which the tests have already; the others run as they stand.
#[tokio::test(flavor = "multi_thread")]
async fn six_commands_of_the_readme_lead_to_an_installed_and_proven_nightly() {
    let text = std::fs::read_to_string(docs().join("../README.md")).unwrap();
    let block = blocks(&text, "sh").into_iter().find(|block| block.contains("dbhaul nightly")).unwrap();
    let all = commands(&format!("```sh\n{block}```\n"));
    assert!(all.len() <= 6, "{all:?}");
    let [build, install, init, steps @ .., schedule] = &all[..] else { panic!("{all:?}") };
    assert_eq!(
        (build.as_str(), install.as_str()),
        ("scripts/quickstart", "sudo install target/release/dbhaul /usr/local/bin/")
    );
    assert!(docs().join("..").join(build).exists());
    let Some(stage) = Stage::start(1).await else { return };
    stage.run(init);
    // What it tells the reader to do: the sources that the file names are replaced by the reader's own.
    let template = std::fs::read_to_string(stage.here.path().join("dbhaul.toml")).unwrap();
    let ours = template
        .replace("postgres://postgres@127.0.0.1:5432/app", &stage.postgres(0))
        .replace("redis://127.0.0.1:6379", &stage.servers[0].1.url());
    assert_ne!(template, ours);
    stage.write("dbhaul.toml", &format!("{ours}\n[nightly]\nstate-dir = \"state\"\n"));
    for line in steps {
        stage.run(line);
    }
    // Without root, and without systemd: the units are written into a folder, and what they start is started.
    let schedule = schedule.strip_prefix("sudo ").unwrap().replace("$USER", "somebody");
    stage.write("units/.keep", "");
    stage.run(&format!("{schedule} --to units"));
    for unit in ["dbhaul-nightly.service", "dbhaul-rehearse.service"] {
        let unit = std::fs::read_to_string(stage.here.path().join("units").join(unit)).unwrap();
        let value = |name: &str| unit.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        assert_eq!(value("User="), "somebody");
        let start = value("ExecStart=").replace("/usr/local/bin/dbhaul", "dbhaul");
        stage.run(&format!("cd / && {} {start}", value("Environment=")));
    }
    stage.run("test \"$(dbhaul snapshots --json | grep -c '\"id\":')\" = 2");
    stage.run("dbhaul status");
}

/// Every page of the project.
fn pages() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in [docs(), docs().join("ko"), docs().join("..")] {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ext| ext == "md") {
                found.push((path.display().to_string(), std::fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found
}

/// Texts in pages that begin like a command and are none.
const NO_COMMANDS: [&str; 3] = ["dbhaul chunk ids", "dbhaul documents", "dbhaul source identities"];

/// The command lines of `dbhaul` in a page: in fenced blocks, and in backquotes.
fn mentioned(text: &str) -> Vec<String> {
    let fenced = blocks(text, "sh").concat();
    let lines = fenced.lines().map(str::trim).filter(|line| line.starts_with("dbhaul "));
    let quoted = text.split('`').skip(1).step_by(2);
    let inline = quoted.filter(|code| code.starts_with("dbhaul ") && !code.contains('\n'));
    lines.chain(inline).filter(|line| !NO_COMMANDS.contains(line)).map(str::to_owned).collect()
}

#[test]
fn every_command_in_a_page_has_options_that_exist() {
    let here = folder();
    let mut checked = std::collections::BTreeSet::new();
    for (page, text) in pages() {
        for line in mentioned(&text) {
            let plain = line.split(" #").next().unwrap().split([';', '>', '|', '&']).next().unwrap();
            let words: Vec<&str> =
                plain.split_whitespace().map(|word| word.trim_matches(['\'', '"'])).collect();
            // `--help` ends the parsing of the command line, after everything before it.
            let named: Vec<&str> =
                words.iter().skip(1).copied().filter(|word| !word.contains(['…', '[', '=', '('])).collect();
            if named.is_empty() || !checked.insert(named.join(" ")) {
                continue;
            }
            // Values are not read, so that a page may say URL or N.
            let flags: Vec<&str> = named.iter().copied().filter(|word| word.starts_with("--")).collect();
            let verb: Vec<&str> = named
                .iter()
                .copied()
                .take_while(|word| word.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
                .collect();
            let help = (1..=verb.len().min(2)).rev().find_map(|depth| {
                let verb: Vec<&str> =
                    verb.iter().take(depth).copied().filter(|word| !word.starts_with('-')).collect();
                let run = dbhaul(here.path(), &[&verb[..], &["--help"]].concat());
                (run.code == 0).then_some(run.stdout)
            });
            let help = help.unwrap_or_else(|| panic!("{page}: there is no such command: {line}"));
            for flag in flags.iter().map(|flag| flag.trim_end_matches([',', '.', ':'])) {
                assert!(
                    help.split_whitespace()
                        .any(|word| word.trim_end_matches(',') == flag
                            || word.starts_with(&format!("{flag}[="))),
                    "{page}: there is no {flag}: {line}"
                );
            }
        }
    }
    assert!(checked.len() > 30, "{checked:?}");
}

/// An id in a page is the beginning of one that could exist: `20261123T180500Z-1f3a9c`.
#[test]
fn snapshot_ids_in_pages_have_the_form_of_real_ones() {
    let mut found = 0;
    for (page, text) in pages() {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == ':'));
        for word in words.filter(|word| word.len() >= 14 && word.starts_with("20") && word.ends_with('Z')) {
            let digits = |text: &str, n: usize| text.len() == n && text.bytes().all(|b| b.is_ascii_digit());
            let rfc3339 = word.contains(':');
            let (day, time) = word.trim_end_matches('Z').split_once('T').unwrap_or((word, ""));
            assert!(rfc3339 || digits(day, 8) && digits(time, 6), "{page}: {word}");
            found += usize::from(!rfc3339);
        }
    }
    assert!(found >= 2, "no page shows an id");
}
