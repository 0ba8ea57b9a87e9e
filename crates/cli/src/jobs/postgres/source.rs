//! Reading a PostgreSQL source.

use anyhow::Context as _;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::exit;
use crate::jobs::record::ViewRecord;
use crate::ui::Progress;

/// How to read a live source.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ReadOptions {
    /// Lock timeout.
    pub(crate) lock_wait: Option<std::time::Duration>,
    /// Maximum bytes per second.
    pub(crate) rate: Option<repository::Rate>,
}

impl ReadOptions {
    /// The defaults.
    #[cfg(feature = "demo")]
    pub(crate) fn usual() -> ReadOptions {
        ReadOptions { lock_wait: pgmove::SourceOptions::default().lock_timeout, rate: None }
    }
}

/// Opens a database for reading. Fails if it contains what this version cannot copy.
pub(crate) async fn open_source(
    options: &pgmove::ConnectOptions,
    filter: &pgmove::Filter,
    jobs: usize,
    reading: ReadOptions,
    progress: &Progress,
) -> anyhow::Result<pgmove::Source> {
    let settings = pgmove::SourceOptions {
        jobs,
        filter: filter.clone(),
        lock_timeout: reading.lock_wait,
        rate_limit: reading.rate.map(|rate| rate.0),
        ..pgmove::SourceOptions::default()
    };
    let source = pgmove::Source::open(options, &settings)
        .await
        .with_context(|| format!("cannot read {}", options.display()))?;
    for warning in source.warnings() {
        progress.warn(warning.to_string());
    }
    for left_out in &source.catalog().left_out {
        progress.warn(left_out.to_string());
    }
    let list: Vec<String> = source.unsupported().iter().map(ToString::to_string).collect();
    if !list.is_empty() {
        return Err(exit::refused(format!(
            "{} contains what this version of dbhaul cannot copy; nothing was copied:\n  {}",
            options.display(),
            list.join("\n  ")
        )));
    }
    Ok(source)
}

/// Digests of every materialized view, in the source's snapshot.
pub(crate) async fn digest_views(source: &pgmove::Source, jobs: usize) -> anyhow::Result<Vec<ViewRecord>> {
    stream::iter(source.materialized_views())
        .map(|slice| async move {
            let proof = source.digest(&slice).await?;
            anyhow::Ok(ViewRecord { view: slice.table.clone(), proof })
        })
        .buffered(jobs)
        .try_collect()
        .await
}

/// Adds up the proofs of slices to proofs of tables, by name.
pub(crate) fn sum_by_table<'a>(
    proofs: impl Iterator<Item = (&'a pgmove::TableName, &'a pgmove::TableProof)>,
) -> Vec<(pgmove::TableName, pgmove::TableProof)> {
    let mut sums = std::collections::BTreeMap::<pgmove::TableName, pgmove::TableProof>::new();
    for (table, proof) in proofs {
        let sum = sums.entry(table.clone()).or_default();
        *sum = *sum + *proof;
    }
    sums.into_iter().collect()
}
