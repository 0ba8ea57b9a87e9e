//! Going on with an interrupted restore or migration: which tables are whole already.
//!
//! Each table that the target holds is read back and held against the digest that it is to have: of the snapshot for a
//! restore, and of a new snapshot of the source for a migration. So what the end result promises is the same as without
//! the interruption: all of it is as of one moment.

use std::collections::{BTreeMap, BTreeSet};

use crate::jobs::postgres::load::ReadBack;
use crate::jobs::settings::TargetSettings;
use crate::report::resumed::Resumed;
use crate::ui::Progress;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

/// Where the digests come from that tables are to have.
pub(crate) trait Expected: Sync {
    /// What they are of, for reports.
    fn of(&self) -> &'static str;
    /// Rows and digest of a table by the name under which it is proven; nothing where it has no rows to come.
    fn digest<'a>(
        &'a self,
        plan: &'a pgmove::RestorePlan,
        table: &'a pgmove::TableName,
    ) -> BoxFuture<'a, anyhow::Result<Option<pgmove::TableProof>>>;
}

/// The proofs of a stored snapshot.
pub(crate) struct Known<'a>(pub(crate) &'a [(pgmove::TableName, pgmove::TableProof)]);

impl Expected for Known<'_> {
    fn of(&self) -> &'static str {
        "the snapshot"
    }

    fn digest<'a>(
        &'a self,
        plan: &'a pgmove::RestorePlan,
        table: &'a pgmove::TableName,
    ) -> BoxFuture<'a, anyhow::Result<Option<pgmove::TableProof>>> {
        let parts = self.0.iter().filter(|(name, _)| plan.proven_as(name) == table);
        let sum = parts.map(|(_, proof)| *proof).reduce(|sum, proof| sum + proof);
        Box::pin(std::future::ready(Ok(sum)))
    }
}

/// Settles which tables of the target stay. Nothing is written. Gives what the kept ones hold, and what to report.
pub(crate) async fn settle(
    target: &pgmove::Target,
    plan: &mut pgmove::RestorePlan,
    expected: &impl Expected,
    settings: &TargetSettings,
    progress: &Progress,
) -> anyhow::Result<Option<(ReadBack, Resumed)>> {
    if settings.postgres.existing != pgmove::Existing::Resume {
        return Ok(None);
    }
    progress.stage("comparing what an interrupted run left", None);
    let compared: BTreeMap<pgmove::TableName, Option<pgmove::TableProof>> = {
        let plan = &*plan;
        stream::iter(plan.resumable())
            .map(|table| async move {
                let held = target.prove(plan, &table).await?;
                // Rows that are not there need not be looked for at the source.
                let same = match held.rows {
                    0 => false,
                    _ => expected
                        .digest(plan, &table)
                        .await?
                        .is_some_and(|wanted| wanted.rows == held.rows && wanted.digest == held.digest),
                };
                anyhow::Ok((table, same.then_some(held)))
            })
            .buffer_unordered(settings.jobs)
            .try_collect()
            .await?
    };
    let kept: ReadBack =
        compared.iter().filter_map(|(table, held)| Some((table.clone(), (*held)?))).collect();
    plan.keep(kept.keys().cloned().collect::<BTreeSet<_>>());
    let loaded_again = plan.emptied().map(ToString::to_string).collect();
    let resumed = Resumed { kept: kept.len(), loaded_again, verified_against: expected.of() };
    progress.note(resumed.render().trim_end());
    Ok(Some((kept, resumed)))
}
