//! `dbhaul forget`

use clap::Args;

use crate::context::Context;
use crate::exit::{self, Exit};
use crate::jobs::forget::{self, Guard};

const EXAMPLES: &str = "\
Examples:
  dbhaul forget --dry-run
      Show what the configured policy would keep and remove, and why
  dbhaul forget
      Apply the configured policy
  dbhaul forget --daily 14
      Apply the configured policy with another number of days
  dbhaul forget 20261123T180500Z
      Remove one snapshot";

/// Apply the retention policy: list which snapshots are kept or removed, then remove them
///
/// The newest snapshot, the newest that passed a check and the newest that passed a rehearsal are always kept, and so
/// is everything younger than a day. A plan that removes suspiciously many is refused with exit code 5. `dbhaul
/// undelete` restores removed snapshots within their grace period.
///
/// Each source is counted separately: a snapshot is kept as long as any source in it needs it. Options replace what they
/// name in the configured policy and leave the others unchanged; 0 disables a rule.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct ForgetArgs {
    /// Snapshots to remove, by id or the beginning of an id [default: what the policy removes]
    #[arg(value_name = "SNAPSHOT", conflicts_with_all = ["max_delete", "job", "last", "hourly", "daily", "weekly", "monthly", "yearly", "keep_within", "zone"])]
    snapshots: Vec<String>,
    /// Remove the given snapshots although this protects them; may be repeated
    #[arg(long, value_name = "GUARD", requires = "snapshots")]
    allow: Vec<Guard>,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// Allow up to N snapshots to be removed at once
    #[arg(long, value_name = "N")]
    max_delete: Option<usize>,
    /// Job whose snapshots are counted [default: that of the configuration, otherwise "default"]
    #[arg(long, value_name = "ID")]
    job: Option<String>,
    /// Keep the newest N snapshots
    #[arg(long, value_name = "N", help_heading = "Policy")]
    last: Option<u32>,
    /// Keep the newest snapshot of each of the last N hours that have one
    #[arg(long, value_name = "N", help_heading = "Policy")]
    hourly: Option<u32>,
    /// Keep the newest snapshot of each of the last N days that have one
    #[arg(long, value_name = "N", help_heading = "Policy")]
    daily: Option<u32>,
    /// Keep the newest snapshot of each of the last N weeks (ending on Sunday) that have one
    #[arg(long, value_name = "N", help_heading = "Policy")]
    weekly: Option<u32>,
    /// Keep the newest snapshot of each of the last N months that have one
    #[arg(long, value_name = "N", help_heading = "Policy")]
    monthly: Option<u32>,
    /// Keep the newest snapshot of each of the last N years that have one
    #[arg(long, value_name = "N", help_heading = "Policy")]
    yearly: Option<u32>,
    /// Keep every snapshot taken within this time before the newest, such as 36h, 28d or 8w
    #[arg(long, value_name = "DURATION", help_heading = "Policy")]
    keep_within: Option<String>,
    /// Time zone of days and weeks, such as Asia/Seoul
    #[arg(long, value_name = "ZONE", value_parser = crate::config::parse_zone, help_heading = "Policy")]
    zone: Option<chrono_tz::Tz>,
}

pub(super) async fn run(args: ForgetArgs, context: &Context) -> anyhow::Result<Exit> {
    if !args.snapshots.is_empty() {
        let repository = context.open_repository().await?;
        let report = forget::named(
            &repository,
            &args.snapshots,
            &args.allow,
            context.config.retention.as_ref(),
            args.dry_run,
        )
        .await?;
        if args.dry_run {
            context.print(&report, || report.render())?;
            return Ok(Exit::Done);
        }
        return context.conclude(Exit::Done, &report, || report.render());
    }
    let policy = args.policy(context)?;
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

impl ForgetArgs {
    /// The configured policy, with the rules that flags replace.
    fn policy(&self, context: &Context) -> anyhow::Result<retention::Policy> {
        let counts = [self.last, self.hourly, self.daily, self.weekly, self.monthly, self.yearly];
        let flagged = counts.iter().any(Option::is_some) || self.keep_within.is_some();
        let policy = match &context.config.retention {
            Some(policy) => policy.clone(),
            None if flagged => retention::Policy::default(),
            None => {
                return Err(exit::usage(
                    "no retention policy is configured: set `daily = 7` and `weekly = 4` under `[retention]` in dbhaul.toml, \
                     or pass --daily and --weekly",
                ));
            }
        };
        Ok(retention::Policy {
            last: self.last.unwrap_or(policy.last),
            hourly: self.hourly.unwrap_or(policy.hourly),
            daily: self.daily.unwrap_or(policy.daily),
            weekly: self.weekly.unwrap_or(policy.weekly),
            monthly: self.monthly.unwrap_or(policy.monthly),
            yearly: self.yearly.unwrap_or(policy.yearly),
            keep_within: self.keep_within.clone().or(policy.keep_within),
            zone: self.zone.unwrap_or(policy.zone),
            keep_tags: policy.keep_tags,
        })
    }
}
