//! Checks of this host: free space, the schedule, the last run, the metrics textfile.

use std::path::Path;

use chrono::{DateTime, Utc};

use crate::context::Context;
use crate::jobs::nightly::state::{self, State};
use crate::report::doctor::{DoctorReport, Finding};
use crate::report::status::age;
use crate::ui::size;

/// Less free space is a failure; less than ten times as much is a warning.
const MIN_FREE_SPACE: u64 = 256 << 20;

/// Free space on the disk of a folder.
pub(super) fn space(subject: &str, folder: &Path, report: &mut DoctorReport) {
    let Ok(disk) = rustix::fs::statvfs(folder) else { return };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let text = format!("{} free on the disk of {}", size(free), folder.display());
    report.add(match free {
        free if free < MIN_FREE_SPACE => Finding::failure(subject, text, "make room: a run would fail"),
        free if free / 10 < MIN_FREE_SPACE => Finding::warning(subject, text, "make room"),
        _ => Finding::ok(subject, text),
    });
}

pub(super) fn check(context: &Context, root: &Path, now: DateTime<Utc>, report: &mut DoctorReport) {
    let config = &context.config;
    match &config.retention {
        Some(policy) => report.add(Finding::ok("retention", policy.to_string())),
        None => report.add(Finding::warning(
            "retention",
            "it is not configured: every snapshot is kept, and times are in UTC",
            "set `daily`, `weekly` and `zone` of `[retention]`",
        )),
    }
    let subject = "schedule";
    match crate::schedule::installed(root, now) {
        Some(installed) if installed.disabled => report.add(Finding::failure(
            subject,
            installed.description,
            "systemctl enable --now dbhaul-nightly.timer",
        )),
        Some(installed) => {
            report.add(Finding::ok(subject, format!("{} is installed", installed.description)))
        }
        None => report.add(Finding::warning(
            subject,
            "none is installed on this host",
            "dbhaul schedule install --systemd --weekly",
        )),
    }
    let folder = match state::folder(config, &context.secrets) {
        Ok(folder) => folder,
        Err(error) => return report.add(Finding::error(subject, &error)),
    };
    let (remembered, damaged) = State::read(&folder.join(state::file_name(&config.job.id, "json")));
    if let Some(said) = damaged {
        report.add(Finding::warning(subject, said, ""));
    }
    match remembered.backup {
        None => report.add(Finding::warning(subject, "no run is recorded on this host", "dbhaul nightly")),
        Some(run) => {
            let ago = (now - run.started_at).num_seconds();
            let text =
                format!("the last run began {} ago and ended with exit code {}", age(ago), run.exit_code);
            let late = ago > config.nightly.stale_after.0.num_seconds();
            report.add(match (late, run.exit_code) {
                (true, _) => Finding::failure(subject, text, "the schedule does not fire: look at its log"),
                (false, 0) => Finding::ok(subject, text),
                (false, _) => Finding::warning(subject, text, "dbhaul status"),
            });
        }
    }
    if folder.exists() {
        space("state folder", &folder, report);
    }
    if let Some(textfile) = &config.metrics.textfile {
        let path = crate::metrics::path(&config.folder.join(textfile));
        let folder = path.parent().unwrap_or(Path::new("/"));
        report.add(match tempfile::Builder::new().prefix(".dbhaul-").tempfile_in(folder) {
            Ok(_) => Finding::ok("metrics", format!("{} can be written to", folder.display())),
            Err(error) => Finding::failure(
                "metrics",
                format!("{} cannot be written to: {error}", folder.display()),
                "make it writable for the user of the backup",
            ),
        });
    }
}
