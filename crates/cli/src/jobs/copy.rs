//! Copy: copies chunks into another repository, then each manifest.

use repository::Repository;

use crate::report::copy::CopyReport;
use crate::ui::Progress;

/// Copies the named snapshots, or all.
pub(crate) async fn run(
    from: &Repository,
    to: &Repository,
    wanted: &[String],
    progress: &Progress,
) -> anyhow::Result<CopyReport> {
    let mut ids = Vec::new();
    let mut unreadable = Vec::new();
    if wanted.is_empty() {
        let listing = from.headers().await?;
        unreadable = listing.unreadable;
        ids.extend(listing.headers.into_iter().map(|header| header.id));
    }
    for name in wanted {
        let id = from.find(name).await?.id;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    progress.stage(&format!("copying {} to {}", from.address(), to.address()), None);
    let task = progress.task("snapshots", None, "snapshots");
    let report = from.copy_to(to, &ids, &|bytes| task.advance(bytes, 0)).await?;
    task.advance(0, report.copied.len() as u64);
    task.finish();
    Ok(CopyReport { from: from.address(), to: to.address(), report, unreadable })
}
