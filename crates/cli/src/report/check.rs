//! Report of a repository check.

use serde::Serialize;

use crate::remedy;

/// The repository's own report, and the repair.
#[derive(Debug, Serialize)]
pub(crate) struct CheckReport {
    /// The findings.
    #[serde(flatten)]
    pub(crate) check: repository::CheckReport,
    /// Chunks that were set aside, if requested and any were damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repair: Option<repository::QuarantineReport>,
}

impl CheckReport {
    /// Whether every listed snapshot is intact.
    pub(crate) fn passed(&self) -> bool {
        self.check.passed()
    }

    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        let mut text = self.check.to_string();
        for unreadable in &self.check.unreadable {
            if let Some(remedy) = unreadable.remedy().and_then(remedy::repository) {
                text += &format!("{}: {remedy}\n", unreadable.name);
            }
        }
        if !self.check.read_data {
            text += "`dbhaul check --read-data` reads and verifies the data too\n";
        }
        if let Some(repair) = &self.repair {
            for object in repair.damaged.iter().chain(&repair.missing) {
                text += &format!("the next backup that meets its data writes {object} again\n");
            }
            for aside in &repair.aside {
                text += &format!("the damaged bytes were copied to {aside}\n");
            }
            let proven = repair.damaged.len() + repair.missing.len();
            match self.check.faults.len().saturating_sub(proven) {
                0 => {}
                left => {
                    text += &format!(
                        "{left} chunks that could not be read are left unchanged: they may be intact\n"
                    )
                }
            }
        } else if self.check.faults.iter().any(|fault| fault.kind.is_proven()) {
            text += "`dbhaul check --repair` sets damaged chunks aside, so that the next backup writes them again\n";
        }
        text
    }
}
