//! A version of TimescaleDB newer than any tested one, as after an update of the image. It is backed up; the restore
//! refuses it, unless untested versions are allowed.

use crate::common::{database, server};
use pgmove::{Source, SourceOptions, Target, TargetOptions};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_catalog_of_an_untested_version_is_refused_by_the_target_alone() {
    let Some(server) = server(15) else { return };
    let from = database(&server, "a", "CREATE TABLE t (id int)").await;
    let source = Source::open(&from, &SourceOptions::default()).await.unwrap();
    // As read from the extension's own tables.
    let mut stored = serde_json::to_value(source.catalog()).unwrap();
    stored["timescale"] = serde_json::json!({ "version": "2.99.0", "schema": "public", "untried": "version 2.99.0 was not tested" });
    let catalog: pgmove::Catalog = serde_json::from_value(stored).unwrap();
    assert_eq!(catalog.untried().count(), 1);
    assert!(catalog.unsupported().is_empty(), "a backup refuses what is unsupported");
    let to = database(&server, "b", "").await;
    let target = Target::open(&to, &TargetOptions::default()).await.unwrap();
    let refused = target.plan(&catalog).await.unwrap_err();
    assert!(
        refused.is_refused() && refused.to_string().contains("version 2.99.0 was not tested"),
        "{refused}"
    );
    let tries = TargetOptions { untried_extensions: true, ..TargetOptions::default() };
    Target::open(&to, &tries).await.unwrap().plan(&catalog).await.unwrap();
}
