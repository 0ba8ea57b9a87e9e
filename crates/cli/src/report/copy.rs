//! Report of a copy into another repository.

use serde::Serialize;

use crate::exit::Exit;
use crate::ui::size;

/// The repository's own report, with both locations.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CopyReport {
    /// Source repository.
    pub(crate) from: String,
    /// Target repository.
    pub(crate) to: String,
    /// Result.
    #[serde(flatten)]
    pub(crate) report: repository::CopyReport,
    /// Manifests that cannot be read here. Their snapshots are not copied.
    pub(crate) unreadable: Vec<repository::Unreadable>,
}

impl CopyReport {
    /// 3 if some snapshot was not copied.
    pub(crate) fn exit(&self) -> Exit {
        let all = self.report.failed.is_empty() && self.unreadable.is_empty();
        if all { Exit::Done } else { Exit::Differs }
    }

    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        let report = &self.report;
        let mut text = String::new();
        for copied in &report.copied {
            text += &format!(
                "{} copied: {} of data, {} written\n",
                copied.id,
                size(copied.stats.plain_bytes),
                size(copied.stats.stored_bytes)
            );
        }
        for id in &report.repaired {
            text += &format!("{id} already existed; its missing or damaged chunks were written again\n");
        }
        for id in &report.forgotten {
            text += &format!(
                "{id} was forgotten in the target and was not copied (`dbhaul undelete` brings it back within the grace period)\n"
            );
        }
        for failed in &report.failed {
            text += &format!("{} was NOT copied: {}\n", failed.id, failed.error);
        }
        for damaged in &self.unreadable {
            text += &format!("{} was NOT copied: {}\n", damaged.name, damaged.error);
        }
        text += &format!(
            "{} -> {}: {} copied, {} already existed, {} failed\n",
            self.from,
            self.to,
            report.copied.len(),
            report.present.len(),
            report.failed.len() + self.unreadable.len()
        );
        text
    }
}
