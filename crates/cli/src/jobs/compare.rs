//! compare = copy-out streams of both sides -> digests.

use crate::endpoint::{Connection, Endpoint};
use crate::exit;
use crate::report::compare::CompareReport;
use crate::ui::Progress;

/// Compares two servers of one kind completely. Neither is written to.
pub(crate) async fn run(
    left: &Endpoint,
    right: &Endpoint,
    jobs: usize,
    show: usize,
    progress: &Progress,
) -> anyhow::Result<CompareReport> {
    match (&left.connection, &right.connection) {
        (Connection::Postgres(left), Connection::Postgres(right)) => {
            progress.stage("comparing row by row", None);
            let options = pgmove::CompareOptions { jobs };
            let comparison =
                pgmove::compare(left, right, &options, &|event| progress.note(event.to_string())).await?;
            Ok(CompareReport::Postgres(Box::new(comparison)))
        }
        (Connection::Redis(left), Connection::Redis(right)) => {
            progress.stage("comparing key by key, both ways", None);
            let task = progress.task("keys", None, "keys");
            let options = redisdump::CompareOptions { show };
            let comparison =
                redisdump::compare(left, right, &options, &|at| task.reached(at.bytes, at.keys)).await?;
            task.finish();
            Ok(CompareReport::Redis(Box::new(comparison)))
        }
        _ => Err(exit::usage("the two servers must be of one kind: both PostgreSQL, or both Redis")),
    }
}
