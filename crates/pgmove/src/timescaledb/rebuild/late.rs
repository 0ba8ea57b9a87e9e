//! Continuous aggregates: their rows come after everything else.

use super::{compress_one, functions, make_chunks_of};
use crate::Error;
use crate::catalog::QualifiedName;
use crate::quote::{ident, literal};
use crate::restore::context::Context;
use crate::restore::options::OnError;
use crate::restore::plan::RestorePlan;
use crate::timescaledb::lookup::aggregates;
use crate::timescaledb::model::{Aggregate, Timescale};
use crate::timescaledb::{ranges, statements};

/// Prepares a continuous aggregate for its rows ([`RestorePlan::late`]): it is refreshed up to where the source had
/// it, so that it counts as up to date, and then emptied. What the source kept of it follows by
/// [`crate::Target::copy_in`]. In the other order a refresh would delete what raw rows no longer cover.
///
/// # Errors
/// [`Error::Server`] when a refresh is refused.
pub(crate) async fn open_late(
    target: &Context,
    plan: &RestorePlan,
    name: &QualifiedName,
) -> Result<(), Error> {
    let Some((timescale, aggregate)) = plan.aggregate(name) else { return Ok(()) };
    let Some(place) = aggregates(&target.session).await?.remove(name) else {
        // That it could not be made is among the failures already.
        return match target.options.on_error {
            OnError::Continue => Ok(()),
            OnError::Stop => Err(Error::Refused {
                what: format!("continuous aggregate {name} cannot be filled"),
                conflicts: vec!["it is not here".to_owned()],
                remedies: Vec::new(),
            }),
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

/// Refreshes what was up to date at the source, range by range, and nothing else: what was not stays marked, and a
/// later refresh computes it as it would have at the source.
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
    // From the very first time on is an open range: said as a time, newer versions begin at the first chunk.
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
        // A catalog of the first versions knows only how far.
        None => vec![("NULL".to_owned(), watermark())],
    };
    for (from, to) in ranges {
        let sql = format!(
            "CALL {}.refresh_continuous_aggregate({}::regclass, {from}, {to})",
            ident(&timescale.schema),
            literal(&aggregate.name.to_string())
        );
        // The first time, versions from 2.25 on leave out what lies before the first raw row. That was up to date
        // too, and its rows are still to come: the second time it is taken.
        for _ in 0..2 {
            match target.session.execute(object, &sql).await {
                // Between two changes there may be no whole bucket, and so nothing that is up to date.
                Err(error) if aggregate.invalid.is_some() && error.sqlstate() == Some("22023") => {}
                done => done?,
            }
        }
    }
    Ok(())
}

/// Completes a continuous aggregate after its rows: how far it is refreshed, compression.
pub(crate) async fn close_late(
    target: &Context,
    plan: &RestorePlan,
    name: &QualifiedName,
) -> Result<(), Error> {
    let Some((timescale, aggregate)) = plan.aggregate(name) else { return Ok(()) };
    let Some(place) = target.place(name) else { return Ok(()) };
    // Where no raw rows are left, the refresh had nothing to reckon the watermark from. Dropping chunks reckons it
    // anew, even when there are none to drop.
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

/// Gives aggregates the chunk length that somebody chose; the extension reckons one from the hypertable's.
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
