//! `dbhaul forget`

use clap::Args;

use crate::context::Context;
use crate::exit::{self, Exit};
use crate::jobs::forget;

const EXAMPLES: &str = "\
Examples:
  dbhaul forget --dry-run
      Show what the configured policy would keep and remove, and why
  dbhaul forget
      Apply the configured policy
  dbhaul forget --daily 7 --weekly 4 --zone Asia/Seoul
      Apply this policy";

/// Apply the retention policy: list which snapshots are kept or removed, then remove them
///
/// The newest snapshot, the newest that passed a check and the newest that passed a rehearsal are always kept, and so
/// is everything younger than a day. A plan that removes suspiciously many is refused with exit code 5. `dbhaul
/// undelete` restores removed snapshots within their grace period.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct ForgetArgs {
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Allow up to N snapshots to be removed at once
    #[arg(long, value_name = "N")]
    max_delete: Option<usize>,
    /// Job whose snapshots are counted [default: that of the configuration, otherwise "default"]
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Keep the newest snapshot of each of the last N days that have one
    #[arg(long, value_name = "N", help_heading = "Policy")]
    daily: Option<u32>,
    /// Keep the newest snapshot of each of the last N weeks (ending on Sunday) that have one
    #[arg(long, value_name = "N", help_heading = "Policy")]
    weekly: Option<u32>,
    /// Time zone of days and weeks, such as Asia/Seoul
    #[arg(long, value_name = "ZONE", value_parser = crate::config::parse_zone, help_heading = "Policy")]
    zone: Option<chrono_tz::Tz>,
}

pub(super) async fn run(args: ForgetArgs, context: &Context) -> anyhow::Result<Exit> {
    let configured = context.config.retention.clone();
    let flagged = args.daily.is_some() || args.weekly.is_some();
    let mut policy = match configured {
        Some(policy) if !flagged => policy,
        None if !flagged => {
            return Err(exit::usage(
                "no retention policy is configured: set `daily = 7` and `weekly = 4` under `[retention]` in dbhaul.toml, or \
                 pass --daily and --weekly",
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
    if args.dry_run {
        context.print(&report, || report.render())?;
        return Ok(report.exit());
    }
    context.conclude(report.exit(), &report, || report.render())
}
