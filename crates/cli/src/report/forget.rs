//! Report of retention.

use serde::Serialize;

use crate::exit::Exit;

/// The plan for one series, and whether it was applied.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ForgetReport {
    /// The series.
    pub(crate) job: String,
    /// The policy: the configured one, with the changes of flags.
    pub(crate) policy: retention::Policy,
    /// Whether the plan was applied, even if it removed nothing.
    pub(crate) applied: bool,
    /// Every snapshot, with its reasons.
    pub(crate) plan: retention::Plan,
    /// Result of prune; `None` if it did not run.
    pub(crate) pruned: Option<repository::PruneReport>,
}

impl ForgetReport {
    /// 5 if the plan was refused.
    pub(crate) fn exit(&self) -> Exit {
        if self.plan.refused.is_some() { Exit::Refused } else { Exit::Done }
    }

    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        let end = if self.plan.refused.is_some() {
            "nothing was removed\n"
        } else if self.applied {
            "applied\n"
        } else {
            "dry run: nothing was removed\n"
        };
        let pruned = self.pruned.as_ref().map(ToString::to_string).unwrap_or_default();
        let hint = self.plan.refused.as_ref().and_then(hint);
        let hint = hint.map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
        format!("job {}: {}\n{}{end}{hint}{pruned}", self.job, self.policy, self.plan)
    }
}

/// Snapshots removed by name.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct NamedReport {
    /// False in a dry run.
    pub(crate) applied: bool,
    /// Their ids.
    pub(crate) snapshots: Vec<repository::SnapshotId>,
}

impl NamedReport {
    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        let verb = if self.applied { "removed" } else { "would remove" };
        let mut text: String = self.snapshots.iter().map(|id| format!("{verb} {id}\n")).collect();
        text += match self.applied {
            true => "`dbhaul undelete` restores them within the grace period\n",
            false => "dry run: nothing was removed\n",
        };
        text
    }
}

/// Hint for a refusal.
fn hint(refused: &retention::Refusal) -> Option<String> {
    use retention::Refusal::{Clock, NothingSucceeded, TooMany, Unreadable};
    match refused {
        Unreadable { .. } => Some("`dbhaul snapshots` names what cannot be read; repair or remove it".to_owned()),
        Clock => Some(
            "set the clock of this host; if it is right, the snapshots were taken while it was ahead: when newer ones are \
             there, remove them with `dbhaul forget SNAPSHOT…`"
                .to_owned(),
        ),
        NothingSucceeded { .. } => Some("get a backup to succeed first".to_owned()),
        TooMany { would_go, .. } => Some(format!("to confirm, pass --max-delete {would_go}")),
        _ => None,
    }
}
