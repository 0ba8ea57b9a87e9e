//! check = every chunk of every manifest, looked at or read.

use repository::{CheckOptions, Repository};

use crate::report::check::CheckReport;
use crate::ui::Progress;

/// Checks the repository; the finding is attested on each snapshot by the repository itself.
pub(crate) async fn run(
    repository: &Repository,
    read_data: bool,
    progress: &Progress,
) -> anyhow::Result<CheckReport> {
    progress.stage(if read_data { "reading every chunk" } else { "looking for every chunk" }, None);
    let report = repository.check(&CheckOptions { read_data, now: chrono::Utc::now() }).await?;
    Ok(CheckReport(report))
}
