//! check = every chunk of every manifest, looked at or read; then, if that is asked for, what is damaged set aside.

use chrono::Utc;
use repository::{CheckOptions, Portion, Repository};

use crate::report::check::CheckReport;
use crate::ui::Progress;

/// How much of the data is read.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Reading {
    /// None: only what the listing shows.
    Nothing,
    /// All.
    Everything,
    /// What follows on the last portion.
    Portion(Portion),
}

/// Checks the repository; the finding is attested on each snapshot by the repository itself.
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
