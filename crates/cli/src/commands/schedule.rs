//! `dbhaul schedule`

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use chrono::Utc;
use clap::{Args, Subcommand};

use crate::config::parse_zone;
use crate::context::Context;
use crate::exit::{self, Exit};
use crate::failure;
use crate::schedule::{self, File, Plan, Scheduler};

const EXAMPLES: &str = "\
Examples:
  dbhaul schedule print --systemd --weekly
      Show the units that would be installed
  dbhaul schedule install --systemd --weekly
      Back up every night and rehearse every week
  dbhaul schedule install --cron
      The same by /etc/cron.d, without the rehearsal
  dbhaul schedule remove --systemd
      Stop the timers and remove the units";

/// Start nightly runs: systemd timers, cron, a Kubernetes CronJob or a compose service
///
/// The times are `at` and `rehearse-at` of `[nightly]`, in the time zone of `[retention]`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct ScheduleArgs {
    #[command(subcommand)]
    action: Action,
}

// No doc comments on the variants: they would replace the short and the long help of the structs.
#[derive(Debug, Subcommand)]
enum Action {
    Print(PrintArgs),
    Install(InstallArgs),
    Remove(RemoveArgs),
}

/// Print the files of a schedule
///
/// With --json as a list of paths and texts.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  dbhaul schedule print --k8s --namespace backup > dbhaul.yaml")]
struct PrintArgs {
    #[command(flatten)]
    plan: PlanArgs,
}

/// Write the files of a schedule and start it
///
/// systemd: writes the units and enables the timers. cron: writes /etc/cron.d/dbhaul. Kubernetes: applies the manifest with
/// kubectl. compose: writes a file into the current folder. The user of the backup must exist, and must be able to read
/// the configuration.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sudo dbhaul schedule install --systemd --weekly")]
struct InstallArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Only write the files, into this folder, and start nothing
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// Stop a schedule and remove its files
///
/// Snapshots and the record of runs stay.
#[derive(Debug, Args)]
#[command(after_long_help = "Example:\n  sudo dbhaul schedule remove --systemd")]
struct RemoveArgs {
    #[command(flatten)]
    plan: PlanArgs,
    /// Only remove the files, from this folder
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

/// What to schedule, and how.
#[derive(Debug, Args)]
struct PlanArgs {
    #[command(flatten)]
    by: SchedulerArgs,
    /// Also rehearse the newest snapshot every week
    #[arg(long)]
    weekly: bool,
    /// Time zone of the times [default: that of the configuration, otherwise UTC]
    #[arg(long, value_name = "ZONE", value_parser = parse_zone)]
    zone: Option<chrono_tz::Tz>,
    /// Time zone of the host, which cron uses [default: that of this host]
    #[arg(long, value_name = "ZONE", value_parser = parse_zone)]
    host_zone: Option<chrono_tz::Tz>,
    /// User that runs the backup
    #[arg(long, value_name = "USER", default_value = "dbhaul")]
    user: String,
    /// Program to run
    #[arg(long, value_name = "FILE", default_value = "/usr/local/bin/dbhaul")]
    binary: String,
    /// Container image
    #[arg(long, value_name = "IMAGE", default_value = "dbhaul:latest")]
    image: String,
    /// Kubernetes namespace
    #[arg(long, value_name = "NAME", default_value = "default")]
    namespace: String,
}

/// Exactly one scheduler.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SchedulerArgs {
    /// systemd timers
    #[arg(long)]
    systemd: bool,
    /// A file in /etc/cron.d
    #[arg(long)]
    cron: bool,
    /// Kubernetes CronJobs
    #[arg(long, visible_alias = "kubernetes")]
    k8s: bool,
    /// A service of a compose project, to be run by the host's scheduler
    #[arg(long)]
    compose: bool,
}

impl SchedulerArgs {
    fn scheduler(&self) -> Scheduler {
        match (self.systemd, self.cron, self.k8s) {
            (true, ..) => Scheduler::Systemd,
            (_, true, _) => Scheduler::Cron,
            (_, _, true) => Scheduler::Kubernetes,
            _ => Scheduler::Compose,
        }
    }
}

impl PlanArgs {
    fn plan(&self, context: &Context) -> anyhow::Result<Plan> {
        context.require_named_config()?;
        let config = match context.configured {
            true => std::path::absolute(&context.config.file)?.display().to_string(),
            false => "/etc/dbhaul/dbhaul.toml".to_owned(),
        };
        for (what, word) in [
            ("--user", &self.user),
            ("--binary", &self.binary),
            ("--image", &self.image),
            ("--namespace", &self.namespace),
            ("the path of the configuration", &config),
        ] {
            // The values become part of unit files, a crontab and YAML.
            let plain = |c: char| c.is_alphanumeric() || "-_./:@+".contains(c);
            if word.is_empty() || !word.chars().all(plain) {
                return Err(exit::usage(format!("{what} `{word}` cannot be written into a schedule")));
            }
        }
        let nightly = &context.config.nightly;
        Ok(Plan {
            at: nightly.at,
            rehearse: self.weekly.then_some(nightly.rehearse_at),
            zone: self.zone.unwrap_or(context.zone()),
            host_zone: self.host_zone.unwrap_or_else(host_zone),
            binary: self.binary.clone(),
            config,
            user: self.user.clone(),
            writes: writes(context),
            image: self.image.clone(),
            namespace: self.namespace.clone(),
        })
    }
}

/// Folders that a run writes to, in addition to /var/lib/dbhaul.
fn writes(context: &Context) -> Vec<String> {
    let config = &context.config;
    let folder = std::path::absolute(&config.folder).unwrap_or_else(|_| config.folder.clone());
    let repository = config.repository.as_ref().map(|repository| repository.url.as_str());
    let repository =
        repository.filter(|url| !url.contains("://") && !url.contains('$') && !url.starts_with('~'));
    let textfile = config.metrics.textfile.as_deref().map(crate::metrics::path);
    let textfile = textfile.as_deref().and_then(Path::parent).map(Path::to_owned);
    let all =
        repository.map(PathBuf::from).into_iter().chain(textfile).chain(config.nightly.state_dir.clone());
    let all = all.map(|path| folder.join(path).display().to_string());
    all.filter(|path| !path.starts_with("/var/lib/dbhaul") && !path.contains(char::is_whitespace)).collect()
}

/// The time zone of this host, if known.
fn host_zone() -> chrono_tz::Tz {
    let link = std::fs::read_link("/etc/localtime").unwrap_or_default();
    let link = link.to_string_lossy().into_owned();
    let named = link.split_once("zoneinfo/").and_then(|(_, name)| name.parse().ok());
    let file = || std::fs::read_to_string("/etc/timezone").ok().and_then(|text| text.trim().parse().ok());
    named.or_else(file).unwrap_or(chrono_tz::Tz::UTC)
}

pub(super) async fn run(args: ScheduleArgs, context: &Context) -> anyhow::Result<Exit> {
    let (plan_args, now) = (args.action.plan(), Utc::now());
    let scheduler = plan_args.by.scheduler();
    let plan = plan_args.plan(context)?;
    let files = schedule::files(scheduler, &plan, now);
    match &args.action {
        Action::Print(_) => context.print(&files, || printed(&files))?,
        Action::Install(InstallArgs { to, .. }) => {
            let done = install(scheduler, &plan, &files, to.as_deref())?;
            return context.conclude(Exit::Done, &files, || done.clone());
        }
        Action::Remove(RemoveArgs { to, .. }) => {
            let done = remove(scheduler, &files, to.as_deref())?;
            return context.conclude(Exit::Done, &done, || {
                done.iter().map(|path| format!("removed {path}\n")).collect()
            });
        }
    }
    Ok(Exit::Done)
}

impl Action {
    fn plan(&self) -> &PlanArgs {
        match self {
            Action::Print(args) => &args.plan,
            Action::Install(args) => &args.plan,
            Action::Remove(args) => &args.plan,
        }
    }
}

fn printed(files: &[File]) -> String {
    match files {
        [only] => only.text.clone(),
        files => files.iter().map(|file| format!("# {}\n{}\n", file.path, file.text)).collect(),
    }
}

/// The path to write a file to: its installed path, or its name in the given folder.
fn place(path: &str, to: Option<&Path>) -> PathBuf {
    match to {
        Some(folder) => folder.join(path.rsplit('/').next().unwrap_or(path)),
        None => PathBuf::from(path),
    }
}

fn install(scheduler: Scheduler, plan: &Plan, files: &[File], to: Option<&Path>) -> anyhow::Result<String> {
    if scheduler == Scheduler::Kubernetes && to.is_none() {
        kubectl("apply", &printed(files))?;
        return Ok("applied\n".to_owned());
    }
    if to.is_none() && matches!(scheduler, Scheduler::Systemd | Scheduler::Cron) {
        require_user(&plan.user)?;
    }
    let mut done = String::new();
    for file in files {
        let path = place(&file.path, to);
        write(&path, &file.text)?;
        done.push_str(&format!("wrote {}\n", path.display()));
    }
    if scheduler == Scheduler::Systemd && to.is_none() {
        systemctl(&["daemon-reload"])?;
        for timer in schedule::timers(plan) {
            systemctl(&["enable", "--now", timer])?;
            done.push_str(&format!("started {timer}\n"));
        }
    }
    Ok(done)
}

fn remove(scheduler: Scheduler, files: &[File], to: Option<&Path>) -> anyhow::Result<Vec<String>> {
    if scheduler == Scheduler::Kubernetes && to.is_none() {
        kubectl("delete", &printed(files))?;
        return Ok(vec!["the CronJobs".to_owned()]);
    }
    let mut removed = Vec::new();
    for path in schedule::paths(scheduler) {
        let place = place(&path, to);
        if !place.exists() {
            continue;
        }
        let name = path.rsplit('/').next().unwrap_or(&path);
        if to.is_none() && name.ends_with(".timer") {
            systemctl(&["disable", "--now", name])?;
        }
        std::fs::remove_file(&place).with_context(|| format!("cannot remove {}", place.display()))?;
        removed.push(place.display().to_string());
    }
    if scheduler == Scheduler::Systemd && to.is_none() && !removed.is_empty() {
        systemctl(&["daemon-reload"])?;
    }
    Ok(removed)
}

/// A schedule for a user that does not exist would fail silently every night.
fn require_user(user: &str) -> anyhow::Result<()> {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let known = users.lines().any(|line| line.split(':').next() == Some(user));
    match known {
        true => Ok(()),
        false => Err(failure::hint(
            exit::usage(format!("there is no user `{user}` on this host; nothing was written")),
            format!(
                "create it with `useradd --system --create-home --home-dir /var/lib/dbhaul {user}`, or pass `--user`"
            ),
        )),
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = || format!("cannot write {}", path.display());
    // Cron and systemd may read their folders at any time, so the file appears with a rename.
    let mut file = tempfile::Builder::new().prefix(".dbhaul-").tempfile_in(folder).with_context(failed)?;
    file.write_all(text.as_bytes()).with_context(failed)?;
    file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).with_context(failed)?;
    file.persist(path).with_context(failed)?;
    Ok(())
}

fn systemctl(args: &[&str]) -> anyhow::Result<()> {
    let shown = format!("systemctl {}", args.join(" "));
    let ended = Command::new("systemctl").args(args).stdin(Stdio::null()).output();
    let ended = ended.with_context(|| format!("the files are written, but `{shown}` cannot be run"))?;
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
    anyhow::bail!("the files are written, but `{shown}` failed: {}", said.trim())
}

fn kubectl(verb: &str, manifest: &str) -> anyhow::Result<()> {
    let shown = format!("kubectl {verb} -f -");
    let mut child = Command::new("kubectl")
        .args([verb, "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{shown}` cannot be run"))?;
    if let Some(mut input) = child.stdin.take() {
        // A write error means that kubectl stopped reading; its own error says why.
        let _ = input.write_all(manifest.as_bytes());
    }
    let ended = child.wait_with_output()?;
    if ended.status.success() {
        return Ok(());
    }
    anyhow::bail!("`{shown}` failed: {}", String::from_utf8_lossy(&ended.stderr).trim())
}
