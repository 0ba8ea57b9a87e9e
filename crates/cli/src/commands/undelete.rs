//! `dbhaul undelete`

use anyhow::Context as _;
use clap::Args;
use repository::SnapshotId;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::report::time;

const EXAMPLES: &str = "\
Examples:
  dbhaul undelete
      List the snapshots that can be brought back
  dbhaul undelete 20261123T180500Z-1f3a9c
      Bring one of them back";

/// Bring back forgotten snapshots within their grace period
///
/// Without SNAPSHOT, lists the snapshots that can be brought back.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct UndeleteArgs {
    /// Snapshots, by their full ids
    #[arg(value_name = "SNAPSHOT")]
    snapshots: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct UndeleteReport {
    brought_back: Vec<SnapshotId>,
    can_be_brought_back: Vec<repository::Forgotten>,
    /// Chunks of the restored snapshots that are missing.
    missing: Vec<String>,
}

pub(super) async fn run(args: UndeleteArgs, context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    let forgotten = repository.forgotten().await?;
    let mut report =
        UndeleteReport { brought_back: Vec::new(), can_be_brought_back: Vec::new(), missing: Vec::new() };
    for name in &args.snapshots {
        let wanted = forgotten.iter().find(|entry| entry.header.id.as_str() == name);
        let id = match wanted {
            Some(entry) => entry.header.id.clone(),
            None => {
                return Err(repository::Error::NoSnapshot {
                    wanted: name.clone(),
                    hint: "no snapshot of this name was forgotten, or its grace period is over; `dbhaul undelete` lists \
                           those that can be brought back"
                        .to_owned(),
                }
                .into());
            }
        };
        let missing = repository.undelete(&id).await;
        report.missing.extend(missing.with_context(|| format!("{id} was not brought back"))?);
        report.brought_back.push(id);
    }
    report.can_be_brought_back =
        forgotten.into_iter().filter(|entry| !report.brought_back.contains(&entry.header.id)).collect();
    let list = args.snapshots.is_empty();
    let exit = if report.missing.is_empty() { Exit::Done } else { Exit::Differs };
    if list {
        context.print(&report, || report.render(list, context.zone()))?;
        return Ok(exit);
    }
    context.conclude(exit, &report, || report.render(list, context.zone()))
}

impl UndeleteReport {
    fn render(&self, list: bool, zone: chrono_tz::Tz) -> String {
        let mut text = String::new();
        for id in &self.brought_back {
            text += &format!("{id} is listed again\n");
        }
        for object in &self.missing {
            text += &format!("{object} is missing: `dbhaul check` lists the affected snapshots\n");
        }
        if list {
            for entry in &self.can_be_brought_back {
                text += &format!(
                    "{}  job {}, forgotten {}, can be brought back until {}\n",
                    entry.header.id,
                    entry.header.job,
                    time(entry.forgotten_at, zone),
                    time(entry.until, zone)
                );
            }
            if self.can_be_brought_back.is_empty() {
                text += "no forgotten snapshot can be brought back\n";
            }
        }
        text
    }
}
