//! What retention decided.

use serde::Serialize;

use crate::exit::Exit;

/// The plan for one series, and whether it was carried out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ForgetReport {
    /// The series.
    pub(crate) job: String,
    /// True when the removals were carried out (also when there were none).
    pub(crate) applied: bool,
    /// Every snapshot, with its reasons.
    pub(crate) plan: retention::Plan,
    /// What became of the chunks of snapshots that were forgotten earlier; nothing where prune did not run.
    pub(crate) pruned: Option<repository::PruneReport>,
}

impl ForgetReport {
    /// 5 when the plan was refused.
    pub(crate) fn exit(&self) -> Exit {
        if self.plan.refused.is_some() { Exit::Refused } else { Exit::Done }
    }

    /// For people.
    pub(crate) fn render(&self) -> String {
        let end = if self.plan.refused.is_some() {
            "nothing was removed\n"
        } else if self.applied {
            "applied\n"
        } else {
            "dry run: nothing was removed\n"
        };
        let pruned = self.pruned.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("job {}\n{}{end}{pruned}", self.job, self.plan)
    }
}
