//! Report on the sizes of a repository.

use serde::Serialize;

use super::Table;
use crate::ui::size;

/// The repository's own report.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct StatsReport(pub(crate) repository::StatsReport);

impl StatsReport {
    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        let stats = &self.0;
        let mut table = Table::new(&[
            "snapshot",
            "job",
            ">raw",
            ">deduplicated",
            ">stored",
            ">own",
            ">chunks",
            ">own chunks",
        ]);
        for row in &stats.snapshots {
            table.row([
                row.id.to_string(),
                row.job.clone(),
                size(row.raw_bytes),
                size(row.deduplicated_bytes),
                size(row.stored_bytes),
                size(row.own_stored_bytes),
                row.chunks.to_string(),
                row.own_chunks.to_string(),
            ]);
        }
        table.row([
            format!("{} snapshots", stats.snapshots.len()),
            String::new(),
            size(stats.raw_bytes),
            size(stats.deduplicated_bytes),
            size(stats.stored_bytes),
            String::new(),
            stats.chunks.to_string(),
            String::new(),
        ]);
        let mut text = table.render();
        if stats.stored_bytes > 0 {
            text += &format!(
                "the data takes {:.1} times as much space as its backups\n",
                stats.raw_bytes as f64 / stats.stored_bytes as f64
            );
        }
        text += &match &stats.prune {
            Some(prune) => {
                let mut text = format!(
                    "pruning would free {} now, and mark {} to be freed once the grace period is over; {} are marked already and \
                     wait for that\n",
                    size(prune.deleted_bytes),
                    size(prune.marked_bytes),
                    size(prune.waiting_bytes)
                );
                if prune.forgotten > 0 {
                    text += &format!(
                        "{} belong to forgotten snapshots that `dbhaul undelete` can still bring back\n",
                        size(prune.forgotten_bytes)
                    );
                }
                text
            }
            None => "prune would refuse to run: a document cannot be read, and may reference any chunk\n"
                .to_owned(),
        };
        text
    }
}
