//! Resumes an interrupted restore or migration: determines which tables are complete.
//!
//! Each existing table of the target is read back and compared with the expected digest: that of the snapshot for a
//! restore, that of a new snapshot of the source for a migration. So the result is as of one moment, as without the
//! interruption.

use std::collections::{BTreeMap, BTreeSet};

use crate::jobs::postgres::load::ReadBack;
use crate::jobs::settings::TargetSettings;
use crate::report::resumed::Resumed;
use crate::ui::Progress;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};

/// Where the expected digests come from.
pub(crate) trait Expected: Sync {
    /// Name of the origin, for reports.
    fn of(&self) -> &'static str;
    /// Rows and digest of a table, under the name that its proof uses; `None` if no rows belong to it.
    fn digest<'a>(
        &'a self,
        plan: &'a pgmove::RestorePlan,
        table: &'a pgmove::TableName,
    ) -> BoxFuture<'a, anyhow::Result<Option<pgmove::TableProof>>>;
}

/// The proofs in a stored snapshot.
pub(crate) struct StoredProofs<'a>(pub(crate) &'a [(pgmove::TableName, pgmove::TableProof)]);

impl Expected for StoredProofs<'_> {
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

/// Decides which tables of the target are kept. Nothing is written. Returns the content of the kept ones, and the
/// report.
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
    progress.stage("comparing the tables of the interrupted run", None);
    let compared: BTreeMap<pgmove::TableName, Option<pgmove::TableProof>> = {
        let plan = &*plan;
        stream::iter(plan.resumable())
            .map(|table| async move {
                let held = target.prove(plan, &table).await?;
                // If the target has no rows, the source need not be read.
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
