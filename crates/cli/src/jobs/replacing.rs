//! Safety checks before data is destroyed: the user names the target, rows or keys of both sides are counted, and a
//! source with far fewer than the target is refused. The usual mistake is to swap source and target.

use std::future::Future;

use futures::stream::TryStreamExt as _;

use crate::exit;
use crate::jobs::redis::load::RdbStream;
use crate::jobs::settings::TargetSettings;
use crate::ui::{Progress, count};

/// The user's confirmation that rows and keys may be destroyed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replacing {
    /// The PostgreSQL target whose rows may be replaced, as `HOST:PORT/DATABASE`.
    pub(crate) named: Option<String>,
    /// Accept far fewer rows or keys.
    pub(crate) fewer: bool,
}

/// Counts of both sides; `unit` is "rows" or "keys".
struct Sides<'a> {
    target: &'a str,
    unit: &'static str,
    there: u64,
    /// `None` if it is not known in advance.
    coming: Option<u64>,
    /// "about " if any number is an estimate.
    about: &'static str,
}

impl Sides<'_> {
    /// Less than half: the source may be the older one, a subset, or empty.
    fn shrinks_by_half(&self) -> bool {
        self.coming.is_some_and(|coming| coming.saturating_mul(2) < self.there)
    }

    fn summary(&self) -> String {
        let Sides { target, unit, about, .. } = self;
        let coming = match self.coming {
            Some(coming) => format!("{about}{} {unit}", count(coming)),
            None => format!("an unknown number of {unit}"),
        };
        format!("{about}{} {unit} of {target} by {coming}", count(self.there))
    }

    /// Refuses far fewer, unless that is allowed.
    fn enough(&self, replacing: &Replacing) -> anyhow::Result<()> {
        if !self.shrinks_by_half() || replacing.fewer {
            return Ok(());
        }
        Err(exit::refused(format!(
            "this would replace {}, which is less than half; nothing was written. Are source and target swapped? \
             --allow-fewer replaces them all the same",
            self.summary()
        )))
    }
}

/// Asks for confirmation to destroy the rows that `--clean`, `--on-existing truncate` or `--resume` would; does
/// nothing if there are none. `coming` counts the rows of the source, and is called only if needed.
pub(crate) async fn postgres(
    options: &pgmove::ConnectOptions,
    catalog: &pgmove::Catalog,
    plan: &pgmove::RestorePlan,
    settings: &TargetSettings,
    coming: impl Future<Output = anyhow::Result<pgmove::RowCount>>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let own = catalog.tables.iter().filter(|table| table.meta.extension.is_none());
    let destroyed: Vec<pgmove::TableName> = match settings.postgres.existing {
        // A table is recreated even if its rows are not restored.
        pgmove::Existing::Clean => own.map(|table| table.name()).collect(),
        pgmove::Existing::Into(pgmove::OnRows::Truncate) => {
            catalog.data_tables().map(|table| table.name()).collect()
        }
        pgmove::Existing::Resume => plan.emptied().cloned().collect(),
        _ => return Ok(()),
    };
    let replacing = &settings.replacing;
    let session = pgmove::connect(options).await?;
    // The database as addressed: behind a pooler it may have another name.
    let server = session.server();
    let target = format!("{}:{}/{}", server.host, server.port, options.database());
    if let Some(named) = replacing.named.as_ref().filter(|named| **named != target) {
        return Err(exit::refused(format!(
            "--replace names {named}, and the target is {target}; nothing was written. Name the target whose rows are \
             to be replaced"
        )));
    }
    progress.stage("counting the rows that would be replaced", None);
    let there = pgmove::count_rows(&session, destroyed.into_iter().map(|table| (table, None))).await?;
    if there.rows == 0 {
        return Ok(());
    }
    let coming = match settings.postgres.sections.data {
        true => coming.await?,
        false => pgmove::RowCount { rows: 0, exact: true },
    };
    let sides = Sides {
        target: &target,
        unit: "rows",
        there: there.rows,
        coming: Some(coming.rows),
        about: if there.exact && coming.exact { "" } else { "about " },
    };
    sides.enough(replacing)?;
    if replacing.named.is_none() {
        let question =
            format!("this replaces {}. To go on, type the name of the target, {target}:", sides.summary());
        match progress.ask(&question).await {
            Some(answer) if answer == target => {}
            Some(_) => return Err(exit::refused("the target was not named; nothing was written")),
            None => {
                return Err(exit::refused(format!(
                    "this would replace {}; nothing was written; to confirm, pass --replace {target}",
                    sides.summary()
                )));
            }
        }
    }
    progress.note(format!("replacing {}", sides.summary()));
    Ok(())
}

/// Number of rows of a live source that the catalog includes.
pub(crate) async fn rows_of_source(
    options: &pgmove::ConnectOptions,
    catalog: &pgmove::Catalog,
) -> anyhow::Result<pgmove::RowCount> {
    let session = pgmove::connect(options).await?;
    let tables = catalog.data_tables().map(|table| {
        let name = table.name();
        let condition = catalog.filter.condition(&name);
        (name, condition)
    });
    Ok(pgmove::count_rows(&session, tables).await?)
}

/// Refuses to flush a server for far fewer keys than it holds. The name given to `--flush` is checked when the server
/// is flushed.
pub(crate) async fn redis(
    options: &redisdump::ConnectOptions,
    settings: &TargetSettings,
    coming: impl Future<Output = anyhow::Result<Option<u64>>>,
    progress: &Progress,
) -> anyhow::Result<()> {
    let Some(named) = &settings.redis.flush else { return Ok(()) };
    let (server, there) = redisdump::key_count(options).await?;
    let target = server.address;
    if there == 0 || *named != target {
        return Ok(());
    }
    let sides = Sides { target: &target, unit: "keys", there, coming: coming.await?, about: "" };
    sides.enough(&settings.replacing)?;
    progress.note(format!("replacing {}", sides.summary()));
    Ok(())
}

/// Number of selected keys in an RDB. Reads all of it.
pub(crate) async fn keys_of_rdb(
    stream: RdbStream<'_>,
    choice: &redisdump::KeyChoice,
) -> anyhow::Result<Option<u64>> {
    let mut keys = 0;
    let mut on_key =
        |key: &redisdump::inspect::KeyRecord| keys += u64::from(choice.selects(key.db, &key.name));
    let options = counting();
    redisdump::inspect::inspect_stream(
        stream.map_err(anyhow::Error::into_boxed_dyn_error),
        options,
        &mut on_key,
        &|_| (),
    )
    .await?;
    Ok(Some(keys))
}

/// Counting only: a version that is too new is refused elsewhere.
fn counting() -> redisdump::inspect::InspectOptions {
    redisdump::inspect::InspectOptions { try_newer: true, ..redisdump::inspect::InspectOptions::default() }
}

/// Number of selected keys on a live server.
pub(crate) async fn keys_of_source(
    from: &redisdump::ConnectOptions,
    choice: &redisdump::KeyChoice,
) -> anyhow::Result<Option<u64>> {
    if choice.is_all() {
        return Ok(Some(redisdump::key_count(from).await?.1));
    }
    let capture = redisdump::Capture::start(from, &redisdump::CaptureOptions::default()).await?;
    keys_of_rdb(Box::pin(capture.map_err(anyhow::Error::new)), choice).await
}

/// Number of keys in an append-only file, if it consists of a base only: the effect of commands is not known without
/// running them.
pub(crate) async fn keys_of_aof(path: &std::path::Path) -> anyhow::Result<Option<u64>> {
    let path = path.to_owned();
    let found = tokio::task::spawn_blocking(move || {
        let options = counting();
        redisdump::inspect::inspect_path(&path, options, &mut |_| (), &mut |_| ())
    })
    .await??;
    Ok(found.commands.is_none_or(|commands| commands.commands == 0).then_some(found.sizes.keys))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn under_half_is_far_fewer() {
        let fewer = |there, coming| {
            let sides = Sides { target: "h:1/d", unit: "rows", there, coming, about: "" };
            (sides.shrinks_by_half(), sides.enough(&Replacing { named: None, fewer: true }).is_ok())
        };
        assert_eq!(fewer(1, Some(0)), (true, true));
        assert_eq!(fewer(100, Some(49)), (true, true));
        assert_eq!(fewer(100, Some(50)), (false, true));
        assert_eq!(fewer(3, Some(u64::MAX)), (false, true));
        assert_eq!(fewer(100, None), (false, true));
    }
}
