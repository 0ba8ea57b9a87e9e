//! Reference pages: docs/cli.md is generated from the flags, docs/configuration.md from the table of keys. The tests
//! fail if a page is out of date; with `DBHAUL_UPDATE_DOCS=1` they write it.

mod cli;
mod configuration;

use std::path::Path;

/// Compares a page in docs/ with its generated text.
fn assert_current(name: &str, made: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("DBHAUL_UPDATE_DOCS").is_some() {
        std::fs::write(&path, made).unwrap();
    }
    let there = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = there.lines().zip(made.lines()).find(|(old, new)| old != new);
    assert!(
        there == made,
        "docs/{name} is not current: run `DBHAUL_UPDATE_DOCS=1 cargo test -p dbhaul reference`; it differs at {differs:?}"
    );
}
