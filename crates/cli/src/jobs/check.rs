//! Check: verifies every chunk of every manifest, and on request sets damaged chunks aside.

use chrono::Utc;
use repository::{CheckOptions, Portion, Repository};

use crate::report::check::CheckReport;
use crate::ui::Progress;

/// How much data to read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reading {
    /// None: check only the listing.
    Nothing,
    /// All of it.
    Everything,
    /// The next portion.
    Portion(Portion),
}

/// Checks the repository, which attests the result on each snapshot.
pub(crate) async fn run(
    repository: &Repository,
    reading: Reading,
    repair: bool,
    progress: &Progress,
) -> anyhow::Result<CheckReport> {
    let now = Utc::now();
    let check = match reading {
        Reading::Nothing => repository.check(&CheckOptions { read_data: false, now }).await?,
        Reading::Everything => repository.check(&CheckOptions { read_data: true, now }).await?,
        Reading::Portion(portion) => {
            progress.note(format!("checking {portion} of the data"));
            repository.check_portion(portion, now).await?
        }
    };
    let repair = match repair && !check.faults.is_empty() {
        true => Some(repository.quarantine_faults(&check, now).await?),
        false => None,
    };
    Ok(CheckReport { check, repair })
}
