//! Every kind of object between servers of every version: the catalogs are compared as statements and, if the server
//! includes `pg_dump`, by its output too.

use std::collections::BTreeMap;
use std::process::Command;

use crate::common::{copy, copy_with, database, options, run, session, value};
use pgmove::{CompareOptions, ConnectOptions, Source, SourceOptions, Target, TargetOptions, compare};
use sandbox::{Postgres, PostgresBinaries, PostgresOptions};

const EVERY_KIND: &str = include_str!("roundtrip/every_kind.sql");

/// The roles that the schema names, ready for SQL.
pub(crate) const ROLES: [&str; 3] = ["kind_owner", "kind_user", "\"kind \"\"role\"\"\""];

/// A server with what the schema asks of it.
struct Host {
    binaries: PostgresBinaries,
    server: Postgres,
    major: u32,
    icu: bool,
}

impl Host {
    async fn start(major: u32) -> Option<Host> {
        Host::of(major, sandbox::testing::require_postgres(major)?).await
    }

    async fn of(major: u32, binaries: PostgresBinaries) -> Option<Host> {
        let server = Postgres::start(&binaries, PostgresOptions::default()).expect("a private server starts");
        let session = session(&server, "postgres").await;
        let icu = value(&session, "SELECT count(*) FROM pg_collation WHERE collname = 'und-x-icu'").await;
        Some(Host { binaries, major, icu: icu != "0", server })
    }

    async fn make_roles(&self) {
        let session = session(&self.server, "postgres").await;
        for role in ROLES {
            run(&session, &format!("CREATE ROLE {role}")).await;
        }
    }

    async fn make(&self, name: &str, icu: bool) -> ConnectOptions {
        self.make_as(self.major, name, icu).await
    }

    /// The schema as a server of another version knows it.
    async fn make_as(&self, major: u32, name: &str, icu: bool) -> ConnectOptions {
        database(&self.server, name, &schema_for(major, icu)).await
    }

    /// The output of the server's own pg_dump: its entries without version-dependent names, sorted, because the order
    /// of objects with equal names depends on their OIDs. `None` if the server comes without the tool.
    fn dump(&self, name: &str) -> Option<Vec<String>> {
        let tool = self.binaries.bin().join("pg_dump");
        let output = tool.exists().then(|| {
            let mut command = Command::new(&tool);
            command.arg("--dbname").arg(self.server.url(name));
            command.env("LD_LIBRARY_PATH", self.binaries.bin().join("../lib"));
            command.output().expect("pg_dump starts")
        })?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("the database is in UTF-8");
        let passing = |line: &str| {
            line.is_empty()
                || line == "--"
                || ["-- Dumped ", "\\restrict ", "\\unrestrict "].iter().any(|start| line.starts_with(start))
        };
        let mut entries = vec![String::new()];
        for line in text.lines().filter(|line| !passing(line)) {
            if line.starts_with("-- Name: ") || line.starts_with("-- Data for Name: ") {
                entries.push(String::new());
            }
            if let Some(entry) = entries.last_mut() {
                entry.push_str(line);
                entry.push('\n');
            }
        }
        entries.sort();
        Some(entries)
    }
}

/// The part of the schema that a server knows.
pub(crate) fn schema_for(major: u32, icu: bool) -> String {
    let mut out = String::new();
    let mut wanted = true;
    for line in EVERY_KIND.lines() {
        let gate = line.strip_prefix("-- ").map(|words| words.split_once("since ").unwrap_or((words, "0")));
        match gate {
            Some((before, version)) if before.is_empty() || before.trim() == "with ICU" => {
                let since: u32 = version.parse().expect("a gate names a version");
                wanted = major >= since && (before.is_empty() || icu);
            }
            _ if line.is_empty() => wanted = true,
            _ => {}
        }
        if wanted {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// The first entries in which two dumps differ.
fn difference(left: &[String], right: &[String]) -> String {
    let only = |some: &[String], others: &[String]| {
        some.iter().filter(|line| !others.contains(line)).take(20).cloned().collect::<Vec<_>>().join("\n  ")
    };
    format!("only on the left:\n  {}\nonly on the right:\n  {}", only(left, right), only(right, left))
}

/// Copies the schema and compares the result.
async fn round(from: &Host, to: &Host, source: &str, target: &str, failures: &mut Vec<String>) {
    let pair = format!("PostgreSQL {} to {}", from.major, to.major);
    let left = options(&from.server, source);
    let right = database(&to.server, target, "").await;
    if let Err(error) = copy(&left, &right, &SourceOptions::default()).await {
        failures.push(format!("{pair}: {error}"));
        return;
    }
    let comparison = compare(&left, &right, &CompareOptions::default(), &|_| ()).await.unwrap();
    // Each server has its own version of an extension.
    let told =
        |words: &String| words.contains("print it differently") || words.starts_with("version of extension ");
    let lost = !comparison.not_compared.iter().all(told);
    // `public` belongs to a role that servers before 14 do not have.
    let own = |object: &str| from.major > to.major && object == "schema public";
    let tables = comparison.tables.iter().all(|table| table.equal);
    if !tables || lost || comparison.schema.iter().any(|found| !own(&found.object)) {
        failures.push(format!("{pair}\n{comparison}"));
    }
    if from.major == to.major
        && let (Some(before), Some(after)) = (from.dump(source), to.dump(target))
        && before != after
    {
        failures.push(format!("{pair}, by pg_dump:\n{}", difference(&before, &after)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_arrives() {
    let (Some(old), Some(new)) = (Host::start(15).await, Host::start(18).await) else { return };
    assert!(old.dump("postgres").is_some() && new.dump("postgres").is_some(), "the judge is there");
    let mut failures = Vec::new();
    for host in [&old, &new] {
        host.make_roles().await;
        host.make("kinds", host.icu).await;
        round(host, host, "kinds", "again", &mut failures).await;
    }
    old.make("shared", old.icu && new.icu).await;
    round(&old, &new, "shared", "newer", &mut failures).await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// An older server gets what it supports; the rest is refused by name before anything is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_server_says_what_it_cannot_express() {
    let (Some(old), Some(new)) = (Host::start(15).await, Host::start(18).await) else { return };
    old.make_roles().await;
    new.make_roles().await;
    let source = new.make("kinds", false).await;
    let target = database(&old.server, "older", "").await;
    let refused = copy(&source, &target, &SourceOptions::default()).await.unwrap_err().to_string();
    for words in [
        "nothing was written",
        "column app.generated_other.g: generated columns whose expression is not the parent's need PostgreSQL 16",
        "column app.named.b: NOT NULL constraints that are not inherited need PostgreSQL 18",
        "column app.named.c: NOT NULL constraints that are not valid need PostgreSQL 18",
        "column app.named.e: virtual generated columns need PostgreSQL 18",
        "check constraint loose on app.not_enforced: constraints that are not enforced",
        "constraint app.rooms_pk: WITHOUT OVERLAPS",
        "foreign key in_room on app.stays: foreign keys over periods",
        "collation app.built_in: clauses like `provider = builtin` need PostgreSQL 17",
        "publication with_generated: clauses like `publish_generated_columns = stored` need PostgreSQL 18",
        "subscription only_own: clauses like `origin = \"none\"` need PostgreSQL 16",
    ] {
        assert!(refused.contains(words), "{words}\n{refused}");
    }
    let count = "SELECT count(*) FROM pg_class WHERE oid >= 16384";
    assert_eq!(value(&session(&old.server, "older").await, count).await, "0");
    new.make_as(15, "known", false).await;
    let mut failures = Vec::new();
    round(&new, &old, "known", "known", &mut failures).await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What only newer servers reject is reported before anything is written, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_server_says_what_it_refuses() {
    let (Some(old), Some(new)) = (Host::start(15).await, Host::start(18).await) else { return };
    let sql = "CREATE TABLE parent (a int, b int); \
               CREATE TABLE child (a int, b int GENERATED ALWAYS AS (a * 2) STORED) INHERITS (parent);";
    let source = database(&old.server, "old", sql).await;
    let target = database(&new.server, "new", "").await;
    let refused = copy(&source, &target, &SourceOptions::default()).await.unwrap_err().to_string();
    assert!(
        refused.contains("column public.child.b: generated columns of a table whose parent's"),
        "{refused}"
    );
}

/// Missing features of a build are found before anything is written; a missing compression method is no reason to
/// refuse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_built_with_less_says_so() {
    let (Some(old), Some(new)) = (Host::start(15).await, Host::start(18).await) else { return };
    if !old.icu || new.icu {
        // Another build than the one that scripts/servers fetches: it lacks nothing that could be found.
        return;
    }
    let sql = "CREATE COLLATION c (provider = icu, locale = 'und'); \
               CREATE TABLE t (a text COMPRESSION lz4); INSERT INTO t VALUES (repeat('x', 10000));";
    let from = database(&old.server, "a", sql).await;
    let to = database(&new.server, "b", "").await;
    let refused = copy(&from, &to, &SourceOptions::default()).await.unwrap_err().to_string();
    assert!(
        refused.contains("collation public.c: it requires ICU, and this server was built without"),
        "{refused}"
    );
    run(&session(&old.server, "a").await, "DROP COLLATION public.c").await;
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    let target = Target::open(&to, &TargetOptions::default()).await.unwrap();
    let plan = target.plan(source.catalog()).await.unwrap();
    let warned = plan
        .warnings()
        .iter()
        .any(|found| found.to_string().ends_with("its default method will compress public.t.a"));
    assert!(warned, "{:?}", plan.warnings());
    copy(&from, &to, &SourceOptions::default()).await.unwrap();
    let proof = target.prove_schema(&plan, source.catalog()).await.unwrap();
    assert!(proof.holds(), "{proof:?}");
}

/// Connections and their passwords are compared, and never shown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn different_passwords_are_found_but_not_shown() {
    let Some(host) = Host::start(15).await else { return };
    let sql = |secret: &str| {
        format!(
            "CREATE FOREIGN DATA WRAPPER w; CREATE SERVER s FOREIGN DATA WRAPPER w; \
             CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (password '{secret}'); \
             CREATE SUBSCRIPTION x CONNECTION 'password={secret}' PUBLICATION p WITH (connect = false, slot_name = NONE);"
        )
    };
    let left = database(&host.server, "a", &sql("hunter2")).await;
    let right = database(&host.server, "b", &sql("hunter3")).await;
    let found = compare(&left, &right, &CompareOptions::default(), &|_| ()).await.unwrap();
    let objects: Vec<&str> = found.schema.iter().map(|difference| difference.object.as_str()).collect();
    assert_eq!(objects, ["subscription x", "user mapping FOR PUBLIC SERVER s"]);
    assert!(!found.to_string().contains("hunter"), "{found}");
    assert!(!format!("{found:?}").contains("hunter"), "{found:?}");
}

/// A table that inherits gets its parents' columns first when it is made again. Its rows are the same rows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_are_compared_by_the_names_of_columns() {
    let Some(host) = Host::start(15).await else { return };
    let sql = "CREATE TABLE parent (a int); CREATE TABLE heir (z text) INHERITS (parent); \
               ALTER TABLE parent ADD COLUMN b int; INSERT INTO heir (a, z, b) VALUES (1, '3', 2);";
    let left = database(&host.server, "a", sql).await;
    let right = database(&host.server, "b", "").await;
    copy(&left, &right, &SourceOptions::default()).await.unwrap();
    let equal = compare(&left, &right, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(equal.equal(), "{equal}");
    assert!(equal.to_string().contains("order of columns in public.heir"), "{equal}");
    run(&session(&host.server, "b").await, "UPDATE public.heir SET b = 3, z = '2'").await;
    let unequal = compare(&left, &right, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(!unequal.equal(), "{unequal}");
}

/// A server that has none of the roles: others take their places on the way there, and back again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_arrives_under_other_roles() {
    let (Some(from), Some(to)) = (Host::start(15).await, Host::start(15).await) else { return };
    from.make_roles().await;
    let left = from.make("kinds", from.icu).await;
    let names = ["kind_owner", "kind_user", "kind \"role\""];
    let others = ["an other", "Somebody", "x\"y"];
    let there = session(&to.server, "postgres").await;
    for other in others {
        run(&there, &format!("CREATE ROLE \"{}\"", other.replace('"', "\"\""))).await;
    }
    let map = |from: [&str; 3], to: [&str; 3]| -> BTreeMap<String, String> {
        from.into_iter().map(str::to_owned).zip(to.into_iter().map(str::to_owned)).collect()
    };
    let middle = database(&to.server, "middle", "").await;
    let refused = copy(&left, &middle, &SourceOptions::default()).await.unwrap_err().to_string();
    for role in ["kind_owner", "kind_user", "\"kind \"\"role\"\"\""] {
        assert!(refused.contains(&format!("role {role} does not exist at the target")), "{refused}");
    }
    let mapped = |role_map| TargetOptions { role_map, ..TargetOptions::default() };
    copy_with(&left, &middle, &SourceOptions::default(), &mapped(map(names, others))).await.unwrap();
    let owner = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE oid = 'app.base'::regclass";
    assert_eq!(value(&session(&to.server, "middle").await, owner).await, "an other");
    let back = database(&from.server, "back", "").await;
    copy_with(&middle, &back, &SourceOptions::default(), &mapped(map(others, names))).await.unwrap();
    let comparison = compare(&left, &back, &CompareOptions::default(), &|_| ()).await.unwrap();
    assert!(comparison.equal(), "{comparison}");
    let (before, after) = (from.dump("kinds").unwrap(), from.dump("back").unwrap());
    assert!(before == after, "{}", difference(&before, &after));

    let bare = database(&to.server, "bare", "").await;
    let nobody = TargetOptions { no_owner: true, no_acl: true, ..TargetOptions::default() };
    let refused = copy_with(&left, &bare, &SourceOptions::default(), &nobody).await.unwrap_err().to_string();
    assert!(refused.contains("needed by policy for_select on app.base"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "long: run by scripts/test --all"]
async fn every_kind_arrives_between_all_versions() {
    let mut hosts = Vec::new();
    for major in 12..=18 {
        if let Some(binaries) = sandbox::testing::long::require_postgres(major)
            && let Some(host) = Host::of(major, binaries).await
        {
            host.make_roles().await;
            host.make("kinds", false).await;
            hosts.push(host);
        }
    }
    let mut failures = Vec::new();
    for (n, from) in hosts.iter().enumerate() {
        for to in hosts.iter().skip(n) {
            let target = format!("from_{}", from.major);
            round(from, to, "kinds", &target, &mut failures).await;
        }
        for to in hosts.iter().take(n) {
            let (source, target) = (format!("for_{}", to.major), format!("down_from_{}", from.major));
            from.make_as(to.major, &source, false).await;
            round(from, to, &source, &target, &mut failures).await;
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
