//! What stands between a user and rows that are gone: a target that would lose what it holds is named by the user, both
//! sides are counted, and a source with far less than what it replaces is refused. The usual mistake is a source and a
//! target that were swapped.

use std::future::Future;

use futures::stream::TryStreamExt as _;

use crate::exit;
use crate::jobs::redis::load::RdbStream;
use crate::jobs::settings::TargetSettings;
use crate::ui::{Progress, count};

/// What the user says of rows and keys that would be destroyed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Replacing {
    /// The PostgreSQL target whose rows may go, as `HOST:PORT/DATABASE`.
    pub(crate) named: Option<String>,
    /// They may also be replaced by far fewer.
    pub(crate) fewer: bool,
}

/// Both sides in numbers; `unit` is "rows" or "keys".
struct Sides<'a> {
    target: &'a str,
    unit: &'static str,
    there: u64,
    /// Nothing where it is not known before it comes.
    coming: Option<u64>,
    /// Some of the numbers are estimates.
    about: &'static str,
}

impl Sides<'_> {
    /// Under half of what is there: it may be the older of the two, a part, or nothing at all.
    fn far_fewer(&self) -> bool {
        self.coming.is_some_and(|coming| coming.saturating_mul(2) < self.there)
    }

    fn told(&self) -> String {
        let Sides { target, unit, about, .. } = self;
        let coming = match self.coming {
            Some(coming) => format!("{about}{} {unit}", count(coming)),
            None => format!("{unit} that are not counted before they come"),
        };
        format!("{about}{} {unit} of {target} by {coming}", count(self.there))
    }

    /// Refuses what is far too little, unless that was allowed.
    fn enough(&self, replacing: &Replacing) -> anyhow::Result<()> {
        if !self.far_fewer() || replacing.fewer {
            return Ok(());
        }
        Err(exit::refused(format!(
            "this would replace {}, which is less than half; nothing was written. Are source and target swapped? \
             --allow-fewer replaces them all the same",
            self.told()
        )))
    }
}

/// Asks for leave to destroy the rows that `--clean`, `--on-existing truncate` or `--resume` would: nothing to ask where there are
/// none. `coming` counts those of the source, and is asked only where it matters.
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
        // Also a table whose rows do not come is made anew.
        pgmove::Existing::Clean => own.map(|table| table.name()).collect(),
        pgmove::Existing::Into(pgmove::OnRows::Truncate) => {
            catalog.data_tables().map(|table| table.name()).collect()
        }
        pgmove::Existing::Resume => plan.emptied().cloned().collect(),
        _ => return Ok(()),
    };
    let replacing = &settings.replacing;
    let session = pgmove::connect(options).await?;
    // As it is reached: behind a pooler a database may have another name of its own.
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
            format!("this replaces {}. To go on, type the name of the target, {target}:", sides.told());
        match progress.ask(&question).await {
            Some(answer) if answer == target => {}
            Some(_) => return Err(exit::refused("the target was not named; nothing was written")),
            None => {
                return Err(exit::refused(format!(
                    "this would replace {}; nothing was written. --replace {target} says that it is meant",
                    sides.told()
                )));
            }
        }
    }
    progress.note(format!("replacing {}", sides.told()));
    Ok(())
}

/// The rows of a live source, as far as the catalog wants them.
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

/// Refuses to empty a server for far fewer keys than it holds. The server itself is named by `--flush`, and held against
/// the name when it is emptied.
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
    progress.note(format!("replacing {}", sides.told()));
    Ok(())
}

/// How many keys of an RDB are wanted: reads all of it.
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

/// Keys are only counted: a version that is too new is refused elsewhere.
fn counting() -> redisdump::inspect::InspectOptions {
    redisdump::inspect::InspectOptions { try_newer: true, ..redisdump::inspect::InspectOptions::default() }
}

/// How many keys of a live server are wanted.
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

/// How many keys an append-only file leaves, where only its base tells: commands are known by running them alone.
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
            (sides.far_fewer(), sides.enough(&Replacing { named: None, fewer: true }).is_ok())
        };
        assert_eq!(fewer(1, Some(0)), (true, true));
        assert_eq!(fewer(100, Some(49)), (true, true));
        assert_eq!(fewer(100, Some(50)), (false, true));
        assert_eq!(fewer(3, Some(u64::MAX)), (false, true));
        assert_eq!(fewer(100, None), (false, true));
    }
}
