//! Reports as files: one page that loads nothing, Markdown, JSON; and the page of the status.
#![allow(clippy::unwrap_used, reason = "test code")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use sandbox::testing::{require_postgres, require_redis};
use sandbox::{Postgres, PostgresOptions, Redis, RedisOptions};

use crate::common::{ask, dbhaul, folder, postgres};

const HOSTILE: &str = "</pre><script src=\"http://evil/x\">'&amp;";

/// Every tag that is opened is closed, names are text, and nothing is loaded from anywhere.
fn check(page: &str) {
    const EMPTY: [&str; 2] = ["meta", "!doctype"];
    let mut open: Vec<String> = Vec::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>'), "a stray > in {:?}", &rest[..at]);
        let end = at + rest[at..].find('>').expect("an open tag");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "{tag}");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        assert!(!["script", "link", "img", "iframe", "a", "object"].contains(&name), "<{tag}>");
        assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
        for foreign in ["src=", "href=", "http:", "https:", "url("] {
            assert!(!tag.contains(foreign), "<{tag}>");
        }
        if !tag.ends_with('/') && !EMPTY.contains(&name) {
            open.push(name.to_owned());
        }
    }
    assert!(open.is_empty(), "{open:?}");
    assert!(!page.contains("@import") && !page.contains("<script"));
}

fn read(here: &Path, name: &str) -> String {
    std::fs::read_to_string(here.join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_job_writes_its_report_in_three_formats() {
    let (Some(pg), Some(rd)) = (require_postgres(15), require_redis("7.0")) else { return };
    let start = || Postgres::start(&pg, PostgresOptions::default()).unwrap();
    let (source, target) = (start(), start());
    let redis = Redis::start(&rd, RedisOptions::default()).unwrap();
    ask(&redis.url(), &["SET", "bot:status", "live"]).await.unwrap();
    let client = postgres(&source.url("postgres")).await;
    let table = format!("\"{}\"", HOSTILE.replace('"', "\"\""));
    let rows = format!(
        "CREATE TABLE {table} (id int, t text); INSERT INTO {table} SELECT n, repeat('x', 100) FROM generate_series(1, 20000) n"
    );
    client.batch_execute(&rows).await.unwrap();
    let here = folder();
    let config = format!(
        "[repository]\nurl = \"store\"\n\n[retention]\ndaily = 3\n\n[[source]]\nname = \"main\"\nkind = \"postgres\"\nurl = \"{}\"\n\n\
         [[source]]\nname = \"cache\"\nkind = \"redis\"\nurl = \"{}\"\n",
        source.url("postgres"),
        redis.url()
    );
    std::fs::write(here.path().join("dbhaul.toml"), config).unwrap();
    let run = |args: &[&str]| dbhaul(here.path(), args);
    run(&["init", "--no-config", "--repository", "store"]).exits(0);
    let (from, to) = (source.url("postgres"), target.url("postgres"));
    run(&["backup", "--report", "backup.html"]).exits(0);
    run(&["rehearse", "--report", "one.html"]).exits(0);
    run(&["backup"]).exits(0);
    run(&["rehearse", "--quiet", "--report", "rehearse.html"]).exits(0);
    run(&["restore", "latest", "--source", "main", "--to", &to, "--report", "restore.html"]).exits(0);
    run(&["compare", &from, &to, "--report", "compare.md"]).exits(0);
    postgres(&to).await.batch_execute(&format!("DELETE FROM {table} WHERE id = 1")).await.unwrap();
    run(&["compare", &from, &to, "--report", "compare.html"]).exits(3);
    // A target that is not empty is refused: that is a report too.
    run(&["migrate", "--from", &from, "--to", &to, "--report", "migrate.html"]).exits(5);
    run(&["migrate", "--from", &from, "--to", &to, "--report", "migrate.json"]).exits(5);
    for name in ["backup", "rehearse", "restore", "compare", "migrate"] {
        let page = read(here.path(), &format!("{name}.html"));
        check(&page);
        assert!(page.contains(&format!("dbhaul {name}")), "{name}");
        let mode = here.path().join(format!("{name}.html")).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let rehearse = read(here.path(), "rehearse.html");
    for expected in [
        "<b>Throughput</b>",
        "<b>Time by phase</b>",
        "<b>Time to restore</b>",
        "<b>Longest tasks</b>",
        "(RPO)",
    ] {
        assert!(rehearse.contains(expected), "{expected}");
    }
    assert_eq!(rehearse.matches("class=\"held\"").count(), 2, "two rehearsals");
    // A restore shows what they took, too.
    let restore = read(here.path(), "restore.html");
    assert!(restore.contains("<b>Time to restore</b>"), "{restore}");
    assert_eq!(restore.matches("class=\"held\"").count(), 2, "two rehearsals");
    assert!(rehearse.contains("&lt;script src=&quot;"), "the table is named");
    assert!(read(here.path(), "compare.html").contains("differences found"));
    let markdown = read(here.path(), "compare.md");
    assert!(markdown.starts_with("# dbhaul compare: done\n"), "{markdown}");
    let failed: serde_json::Value = serde_json::from_str(&read(here.path(), "migrate.json")).unwrap();
    assert_eq!((&failed["exit-code"], &failed["command"]), (&5.into(), &"migrate".into()), "{failed}");
    assert!(failed["report"]["error"]["message"].as_str().is_some(), "{failed}");

    // A report that could not be written fails before a run of hours.
    run(&["backup", "--report", "nowhere/x.html"]).exits(2).says("cannot write nowhere/x.html");
    run(&["backup", "--report", "x.pdf"]).exits(2).says(".md, .html or .json");

    // The page of the status.
    run(&["status", "--html", "status.html"]).exits(0);
    let status = read(here.path(), "status.html");
    check(&status);
    for expected in
        ["<h2>main</h2>", "<h2>cache</h2>", "last rehearsal", "aria-label=\"size of the last 2 snapshots\""]
    {
        assert!(status.contains(expected), "{expected}");
    }
    let mode = here.path().join("status.html").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o644, "a web server reads it");
    if let Some(keep) = std::env::var_os("DBHAUL_KEEP_REPORTS") {
        for name in ["rehearse.html", "status.html"] {
            std::fs::copy(here.path().join(name), Path::new(&keep).join(name)).unwrap();
        }
    }
}
