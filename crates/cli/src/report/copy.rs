//! What a copy into a second repository did.

use serde::Serialize;

use crate::ui::size;

/// The repository's own report, with the two places.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CopyReport {
    /// Where from.
    pub(crate) from: String,
    /// Where to.
    pub(crate) to: String,
    /// What was done.
    #[serde(flatten)]
    pub(crate) report: repository::CopyReport,
}

impl CopyReport {
    /// For people.
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
        for id in &report.forgotten {
            text += &format!(
                "{id} was forgotten in the target, and is left so (`dbhaul undelete` brings it back)\n"
            );
        }
        for failed in &report.failed {
            text += &format!("{} was NOT copied: {}\n", failed.id, failed.error);
        }
        text += &format!(
            "{} -> {}: {} copied, {} were there already, {} failed\n",
            self.from,
            self.to,
            report.copied.len(),
            report.present.len(),
            report.failed.len()
        );
        text
    }
}
