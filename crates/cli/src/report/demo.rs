//! Report of the demonstration.

use serde::Serialize;

use super::backup::BackupReport;
use super::compare::CompareReport;
use super::restore::RestoreReport;
use crate::exit::Exit;

/// Backup, restore and comparison of a sample application on private servers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct DemoReport {
    /// The servers that ran.
    pub(crate) servers: Vec<String>,
    /// What the servers could not hold of the application.
    pub(crate) left_out: Vec<String>,
    /// The backup.
    pub(crate) backup: BackupReport,
    /// The restore, with its proof.
    pub(crate) restore: RestoreReport,
    /// Direct comparison of sources and targets, independent of the snapshot.
    pub(crate) comparisons: Vec<CompareReport>,
}

impl DemoReport {
    /// Whether every table and every key is equal.
    pub(crate) fn passed(&self) -> bool {
        self.restore.passed() && self.comparisons.iter().all(CompareReport::equal)
    }

    /// 0, or 3 if something differs.
    pub(crate) fn exit(&self) -> Exit {
        if self.passed() { Exit::Done } else { Exit::Differs }
    }

    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        let mut out = String::from("BACKUP\n");
        out.push_str(&self.backup.render());
        out.push_str("\nRESTORE\n");
        out.push_str(&self.restore.render());
        for comparison in &self.comparisons {
            out.push_str("\nCOMPARISON of source and target\n");
            out.push_str(&comparison.render());
            out.push('\n');
        }
        out.push_str("\nservers: ");
        out.push_str(&self.servers.join("; "));
        out.push('\n');
        for left_out in &self.left_out {
            out.push_str(&format!("left out: {left_out}\n"));
        }
        for target in &self.restore.targets {
            out.push_str(&format!("{}\n", target.summary()));
        }
        out.push_str(if self.passed() {
            "every table and every key is equal\n"
        } else {
            "NOT everything is equal: see above\n"
        });
        out
    }
}
