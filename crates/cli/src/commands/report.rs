//! The `--report` flag of every command that moves or verifies data.

use clap::Args;

use crate::context::Context;
use crate::report::document::ReportFile;

/// The report file.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Write a report to this file, whose name ends with .html, .md or .json; it is replaced if it exists
    ///
    /// The page is one file that loads nothing: the result, throughput over time, time by phase, the longest tasks. A command
    /// that fails writes one too.
    #[arg(long, value_name = "FILE")]
    report: Option<ReportFile>,
}

impl ReportArgs {
    /// Whether a report was requested.
    pub(super) fn is_wanted(&self) -> bool {
        self.report.is_some()
    }

    /// Registers the report file in the context.
    pub(super) fn apply(&self, command: &'static str, context: &Context) -> anyhow::Result<()> {
        context.report_to(self.report.as_ref(), command)
    }
}
