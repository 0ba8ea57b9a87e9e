//! `dbhaul forget`

use clap::Args;

use crate::context::Context;
use crate::exit::{self, Exit};
use crate::jobs::forget;

/// Applies the retention policy to the snapshots of this job, and says of each why it stays or goes.
///
/// The newest snapshot, the newest that passed a check and the newest that passed a rehearsal always stay, and so
/// does everything younger than a day. A plan that would remove suspiciously much is refused with exit code 5.
/// Forgotten snapshots can be brought back until the grace period is over.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Only say what would happen
    #[arg(long)]
    dry_run: bool,
    /// Allow up to N snapshots to go at once
    #[arg(long, value_name = "N")]
    max_delete: Option<usize>,
    /// Keep the newest snapshot of each of the last N days that have one
    #[arg(long, value_name = "N")]
    daily: Option<u32>,
    /// Keep the newest snapshot of each of the last N weeks (ending on Sunday) that have one
    #[arg(long, value_name = "N")]
    weekly: Option<u32>,
    /// The time zone of days and weeks, such as Asia/Seoul
    #[arg(long, value_name = "ZONE")]
    zone: Option<chrono_tz::Tz>,
    /// The job whose snapshots are counted [default: the configuration's, else "default"]
    #[arg(long, value_name = "ID")]
    job: Option<String>,
}

pub(super) async fn run(args: ForgetArgs, context: &Context) -> anyhow::Result<Exit> {
    let configured = context.config.retention.clone();
    let flagged = args.daily.is_some() || args.weekly.is_some();
    let mut policy = match configured {
        Some(policy) if !flagged => policy,
        None if !flagged => {
            return Err(exit::usage(
                "there is no retention policy: write `[retention] daily = 7, weekly = 4` into dbhaul.toml, or give \
                 --daily and --weekly",
            ));
        }
        other => retention::Policy {
            daily: args.daily.unwrap_or(0),
            weekly: args.weekly.unwrap_or(0),
            zone: other.map_or(chrono_tz::Tz::UTC, |policy| policy.zone),
            ..retention::Policy::default()
        },
    };
    if let Some(zone) = args.zone {
        policy.zone = zone;
    }
    policy.validate().map_err(|e| exit::usage(e.to_string()))?;
    let repository = context.open_repository().await?;
    let job = args.job.as_deref().unwrap_or(&context.config.job.id);
    let report =
        forget::run(&repository, job, &policy, args.max_delete, args.dry_run, &context.progress).await?;
    context.print(&report, || report.render())?;
    Ok(report.exit())
}
