//! The table of commands that may occur in an append-only file matches what servers report. Reported as "every AOF
//! with PFCOUNT is refused".
#![allow(clippy::unwrap_used, missing_docs, reason = "test code")]

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{quick_redis, redis};
use sandbox::Redis;
use sandbox::testing::require_redis;

const VERSIONS: [&str; 9] = ["3.0", "3.2", "5.0", "6.2", "7.0", "8.2", "8.6", "valkey-8.1", "valkey-9"];
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../redisdump/src/restore/replay/commands.txt");

type Rows = BTreeMap<(String, String), Vec<String>>;

fn text(value: &::redis::Value) -> String {
    ::redis::from_redis_value(value.clone()).unwrap()
}

/// Adds a command and its subcommands.
fn add(rows: &mut Rows, version: &str, command: &::redis::Value) {
    let ::redis::Value::Array(fields) = command else { panic!("{command:?}") };
    let (name, flags) = (text(&fields[0]).to_lowercase(), &fields[2]);
    let ::redis::Value::Array(flags) = flags else { panic!("{flags:?}") };
    for flag in flags.iter().map(text).filter(|flag| flag == "write" || flag == "may_replicate") {
        rows.entry((name.clone(), flag)).or_default().push(version.to_owned());
    }
    if let Some(::redis::Value::Array(members)) = fields.get(9) {
        members.iter().for_each(|member| add(rows, version, member));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_table_agrees_with_the_servers() {
    let (mut rows, mut asked) = (Rows::new(), BTreeSet::new());
    for version in VERSIONS {
        let Some(binaries) = require_redis(version) else { continue };
        let mut options = quick_redis();
        if version.starts_with('3') {
            options.settings.clear();
        }
        let server = Redis::start(&binaries, options).unwrap();
        let commands = ::redis::cmd("COMMAND").query_async(&mut redis(&server.url()).await).await.unwrap();
        let ::redis::Value::Array(commands) = commands else { panic!() };
        commands.iter().for_each(|command| add(&mut rows, version, command));
        asked.insert(version);
    }
    let table = std::fs::read_to_string(TABLE).unwrap();
    if std::env::var_os("DBHAUL_WRITE_COMMANDS").is_some() {
        let mut out: String =
            table.lines().filter(|line| line.starts_with('#')).map(|line| format!("{line}\n")).collect();
        for ((name, flag), versions) in &rows {
            out.push_str(&format!("{name} {flag} {}\n", versions.join(" ")));
        }
        std::fs::write(TABLE, out).unwrap();
        return;
    }
    let mut written = Rows::new();
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split(' ').collect();
        let of: Vec<String> =
            words[2..].iter().filter(|version| asked.contains(**version)).map(|v| (*v).to_owned()).collect();
        if !of.is_empty() {
            written.insert((words[0].to_owned(), words[1].to_owned()), of);
        }
    }
    assert_eq!(written, rows);
}
