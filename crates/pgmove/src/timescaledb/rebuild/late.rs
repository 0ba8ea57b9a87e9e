//! Rows of continuous aggregates, which are loaded after everything else.

use super::{compress_one, functions, make_chunks_of};
use crate::Error;
use crate::catalog::QualifiedName;
use crate::conflict::Conflict;
use crate::quote::{ident, literal};
use crate::restore::context::Context;
use crate::restore::options::OnError;
use crate::restore::plan::RestorePlan;
use crate::timescaledb::lookup::aggregates;
use crate::timescaledb::model::{Aggregate, Timescale};
use crate::timescaledb::{ranges, statements};

/// Prepares a continuous aggregate for its rows ([`RestorePlan::late`]): it is refreshed as far as at the source, so
/// that it counts as up to date, and then emptied. [`crate::Target::copy_in`] then loads the source's rows. In the
/// reverse order, a refresh would delete what raw rows no longer cover.
///
/// # Errors
/// [`Error::Server`] if a refresh fails.
pub(crate) async fn open_late(
    target: &Context,
    plan: &RestorePlan,
    name: &QualifiedName,
) -> Result<(), Error> {
    let Some((timescale, aggregate)) = plan.aggregate(name) else { return Ok(()) };
    let Some(place) = aggregates(&target.session).await?.remove(name) else {
        // The failure list already contains the error of its creation.
        return match target.options.on_error {
            OnError::Continue => Ok(()),
            OnError::Stop => {
                let what = format!("continuous aggregate {name} cannot be loaded");
                Err(Error::refused(what, Conflict::MissingAggregate))
            }
        };
    };
    let object = format!("continuous aggregate {name}");
    if plan.into.is_none() {
        make_chunks_of(target, &place, &aggregate.materialized).await?;
    }
    let refreshed = refresh(target, timescale, aggregate, &object).await;
    if target.note(&object, refreshed)?.is_some() {
        target.session.execute(&object, &format!("DELETE FROM {place}")).await?;
        target.places().insert(name.clone(), place);
    }
    Ok(())
}

/// Refreshes exactly the ranges that were up to date at the source. Other ranges stay invalidated, and a later
/// refresh computes them as it would have at the source.
pub(super) async fn refresh(
    target: &Context,
    timescale: &Timescale,
    aggregate: &Aggregate,
    object: &str,
) -> Result<(), Error> {
    let functions = functions(target).await?;
    let kind = aggregate.materialized.dimensions.first().map_or("", |d| d.column_type.as_str());
    let watermark = || aggregate.watermark.clone().unwrap_or_else(|| "NULL".to_owned());
    let value = |number: i64| statements::value_of(&functions, kind, number);
    // A range from the beginning of time is open: given as a time, newer versions would begin at the first chunk.
    let begin = |number: &i64| *number > statements::first_of(kind);
    let ranges = match &aggregate.invalid {
        Some(invalid) => ranges::valid(invalid)
            .into_iter()
            .map(|(from, to)| {
                (
                    from.filter(begin).map_or_else(|| "NULL".to_owned(), &value),
                    to.map_or_else(&watermark, &value),
                )
            })
            .collect(),
        // A catalog of the first versions contains only the watermark.
        None => vec![("NULL".to_owned(), watermark())],
    };
    for (from, to) in ranges {
        let sql = format!(
            "CALL {}.refresh_continuous_aggregate({}::regclass, {from}, {to})",
            ident(&timescale.schema),
            literal(&aggregate.name.to_string())
        );
        // On the first refresh, versions from 2.25 on skip the range before the first raw row. That range was up to
        // date too, and its rows are yet to be loaded: a second refresh covers it.
        for _ in 0..2 {
            match target.session.execute(object, &sql).await {
                // Between two invalidated ranges there may be no whole bucket, and so nothing to refresh.
                Err(error) if aggregate.invalid.is_some() && error.sqlstate() == Some("22023") => {}
                done => done?,
            }
        }
    }
    Ok(())
}

/// Completes a continuous aggregate after its rows: watermark and compression.
pub(crate) async fn close_late(
    target: &Context,
    plan: &RestorePlan,
    name: &QualifiedName,
) -> Result<(), Error> {
    let Some((timescale, aggregate)) = plan.aggregate(name) else { return Ok(()) };
    let Some(place) = target.place(name) else { return Ok(()) };
    // Without raw rows the refresh could not compute the watermark. `drop_chunks` recomputes it, even if it drops
    // none.
    let kind = aggregate.materialized.dimensions.first().map_or("", |d| d.column_type.as_str());
    let sql = format!(
        "SELECT count(*) FROM {}.drop_chunks({}::regclass, older_than => {})",
        ident(&timescale.schema),
        literal(&name.to_string()),
        statements::before_all(kind)
    );
    target.session.execute(&format!("continuous aggregate {name}"), &sql).await?;
    if plan.rebuilt().is_none() {
        return Ok(());
    }
    let what = ("MATERIALIZED VIEW", name);
    compress_one(target, timescale, what, &aggregate.materialized, &place, true).await
}

/// Sets the chunk interval of aggregates to the user's; by default the extension derives it from the hypertable's.
pub(crate) async fn settle_aggregates(target: &Context, plan: &RestorePlan) -> Result<(), Error> {
    let Some(timescale) = plan.rebuilt().filter(|timescale| !timescale.aggregates.is_empty()) else {
        return Ok(());
    };
    let places = aggregates(&target.session).await?;
    for aggregate in &timescale.aggregates {
        let interval = aggregate.materialized.dimensions.first().and_then(|dimension| dimension.interval);
        if let (Some(place), Some(interval)) = (places.get(&aggregate.name), interval) {
            let object = format!("chunk interval of continuous aggregate {}", aggregate.name);
            let sql = statements::set_chunk_interval(&timescale.schema, place, interval);
            target.note(&object, target.session.execute(&object, &sql).await)?;
        }
    }
    Ok(())
}

/// Compression of aggregates that have no rows yet.
pub(crate) async fn close_empty(target: &Context, plan: &RestorePlan) -> Result<(), Error> {
    let Some(timescale) = plan.rebuilt() else { return Ok(()) };
    let late = plan.late();
    for aggregate in &timescale.aggregates {
        if !target.options.sections.data || !late.contains(&aggregate.name) {
            let what = ("MATERIALIZED VIEW", &aggregate.name);
            compress_one(target, timescale, what, &aggregate.materialized, &aggregate.name, false).await?;
        }
    }
    Ok(())
}
