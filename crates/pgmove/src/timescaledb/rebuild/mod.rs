//! What a target with TimescaleDB needs besides the script: chunks, compression, rows of continuous aggregates, jobs.

pub(crate) mod jobs;
pub(crate) mod late;

use std::collections::BTreeMap;
use std::time::Instant;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};

use crate::Error;
use crate::catalog::QualifiedName;
use crate::conflict::Conflict;
use crate::quote::{ident, literal};
use crate::restore::context::Context;
use crate::restore::event::RestoreEvent;
use crate::restore::options::{OnError, Sections};
use crate::restore::plan::RestorePlan;
use crate::timescaledb::lookup::chunks;
use crate::timescaledb::model::{Hypertable, Timescale};
use crate::timescaledb::{FUNCTIONS, preflight, statements};
use crate::warning::Warning;

/// Chunks are created in batches of this size.
const CHUNKS_AT_ONCE: usize = 100;

/// A chunk of the target, with its ranges.
struct TargetChunk {
    name: QualifiedName,
    slices: BTreeMap<String, (i64, i64)>,
}

/// Creates the chunks of the source in the hypertables, which are still empty. Rows would create chunks too, but
/// different ones if the interval of the table was ever changed. The function is not public: if it fails, chunks are
/// created by the rows, with a warning.
pub(crate) async fn make_chunks(target: &Context, plan: &RestorePlan) -> Result<(), Error> {
    // Without rows they would only be empty tables.
    let rows = target.options.sections != Sections::SCHEMA;
    let Some(timescale) = plan.rebuilt().filter(|_| rows) else { return Ok(()) };
    for table in &timescale.hypertables {
        make_chunks_of(target, &table.name, table).await?;
    }
    Ok(())
}

pub(super) async fn make_chunks_of(
    target: &Context,
    name: &QualifiedName,
    like: &Hypertable,
) -> Result<(), Error> {
    let functions = functions(target).await?;
    for batch in like.chunks.chunks(CHUNKS_AT_ONCE) {
        let sql: Vec<String> = batch
            .iter()
            .map(|chunk| {
                format!(
                    "SELECT {functions}.create_chunk({}::regclass, {}::jsonb)",
                    literal(&name.to_string()),
                    literal(&statements::slices(chunk))
                )
            })
            .collect();
        match target.session.execute(&format!("chunks of {name}"), &sql.join("; ")).await {
            Err(error @ Error::Server { .. }) if !error.is_lost() => {
                target.warn(Warning::Chunks { table: name.clone(), detail: error.to_string() });
                return Ok(());
            }
            done => done?,
        }
    }
    Ok(())
}

/// Checks whether the extension, now that it is created, supports what will be requested: under the Apache license it
/// lacks compression, aggregates and policies.
pub(crate) async fn check_license(target: &Context, plan: &RestorePlan) -> Result<(), Error> {
    let Some(timescale) = plan.rebuilt() else { return Ok(()) };
    let conflicts = preflight::requires_full_license(timescale);
    // With `OnError::Continue`, each rejection by the server is recorded.
    let goes_on = target.options.on_error == OnError::Continue;
    if conflicts.is_empty() || goes_on || !preflight::is_apache(&target.session).await? {
        return Ok(());
    }
    let conflicts = conflicts.into_iter().map(Conflict::Timescaledb).collect();
    Err(Error::Incapable { what: format!("cannot restore into {}", target.session.server()), conflicts })
}

/// Enables compression, and compresses the chunks that were compressed.
pub(crate) async fn compress(
    target: &Context,
    plan: &RestorePlan,
    on_event: &(dyn Fn(RestoreEvent) + Sync),
) -> Result<(), Error> {
    let Some(timescale) = plan.rebuilt() else { return Ok(()) };
    for table in timescale.hypertables.iter().filter(|table| table.compression.is_some()) {
        let (data, begun) = (target.options.sections.data, Instant::now());
        compress_one(target, timescale, ("TABLE", &table.name), table, &table.name, data).await?;
        let object = format!("compression of hypertable {}", table.name);
        on_event(RestoreEvent::Ran { object, took: begun.elapsed() });
    }
    Ok(())
}

/// `what` is altered, `at` is its hypertable at the target, `like` is the source's.
pub(super) async fn compress_one(
    target: &Context,
    timescale: &Timescale,
    what: (&str, &QualifiedName),
    like: &Hypertable,
    at: &QualifiedName,
    chunks: bool,
) -> Result<(), Error> {
    let Some(compression) = &like.compression else { return Ok(()) };
    let object = format!("compression of {}", what.1);
    let sql = statements::set_compression(what.0, what.1, compression);
    if target.note(&object, target.session.execute(&object, &sql).await)?.is_none() || !chunks {
        return Ok(());
    }
    let overlaps = |found: &TargetChunk, compressed: bool| {
        like.chunks.iter().filter(|chunk| chunk.compressed == compressed).any(|chunk| {
            found.slices.iter().all(|(column, (from, to))| {
                chunk.slices.get(column).is_some_and(|(start, end)| from < end && start < to)
            })
        })
    };
    let found = chunks_with_ranges(target, at).await?;
    let wanted = found.iter().filter(|chunk| overlaps(chunk, true) && !overlaps(chunk, false));
    stream::iter(wanted)
        .map(|chunk| async {
            let sql = format!(
                "SELECT {}.compress_chunk({}::regclass)",
                ident(&timescale.schema),
                literal(&chunk.name.to_string())
            );
            let object = format!("compression of chunk {} of {}", chunk.name, what.1);
            let lease = target.workers.get().await?;
            let done = lease.session().execute(&object, &sql).await;
            lease.give_back();
            target.note(&object, done).map(|_| ())
        })
        .buffer_unordered(target.options.jobs.max(1))
        .try_collect::<()>()
        .await
}

async fn chunks_with_ranges(target: &Context, table: &QualifiedName) -> Result<Vec<TargetChunk>, Error> {
    let functions = functions(target).await?;
    let mut found = Vec::new();
    for name in chunks(&target.session, table).await? {
        let sql =
            format!("SELECT slices FROM {functions}.show_chunk({}::regclass)", literal(&name.to_string()));
        let slices = target.session.value(&format!("chunk {name}"), &sql).await?;
        let slices = slices.and_then(|slices| serde_json::from_str(&slices).ok()).unwrap_or_default();
        found.push(TargetChunk { name, slices });
    }
    Ok(found)
}

/// Schema of the extension's internal functions, quoted.
pub(super) async fn functions(target: &Context) -> Result<String, Error> {
    let found = target.session.value("TimescaleDB's functions", FUNCTIONS).await?;
    Ok(found.map_or_else(|| "_timescaledb_functions".to_owned(), |schema| ident(&schema).into_owned()))
}
