//! The schedule installed on this host, and the time of its next run, read from the schedule's files.

use std::path::Path;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;

use super::{cron, next, systemd};
use crate::config::units::TimeOfDay;

/// An installed schedule.
pub(crate) struct Installed {
    /// Description.
    pub(crate) description: String,
    /// It is installed but not enabled.
    pub(crate) disabled: bool,
    /// Time of the next run, if it can be determined.
    pub(crate) next_run: Option<DateTime<Utc>>,
}

/// The schedule installed under this root of a file system.
pub(crate) fn installed(root: &Path, now: DateTime<Utc>) -> Option<Installed> {
    let read = |path: &str| std::fs::read_to_string(root.join(path.trim_start_matches('/'))).ok();
    if let Some(timer) = read(&format!("/etc/systemd/system/{}", systemd::BACKUP_TIMER)) {
        let link = root.join("etc/systemd/system/timers.target.wants").join(systemd::BACKUP_TIMER);
        let disabled = link.symlink_metadata().is_err();
        let calendar = timer.lines().find_map(|line| line.strip_prefix("OnCalendar="));
        let name = systemd::BACKUP_TIMER;
        return Some(Installed {
            description: format!("{name}{}", if disabled { ", which is not enabled" } else { "" }),
            disabled,
            next_run: calendar
                .filter(|_| !disabled)
                .and_then(|calendar| next_of(calendar.strip_prefix("*-*-* ")?, now)),
        });
    }
    let file = read(cron::PATH)?;
    // The first line contains the time in the original zone.
    let said = file.lines().next().and_then(|line| line.split_once(": at ")).map(|(_, said)| said);
    Some(Installed {
        description: cron::PATH.to_owned(),
        disabled: false,
        next_run: said.and_then(|said| next_of(said.split(',').next()?, now)),
    })
}

/// `03:05 Asia/Seoul`, with or without seconds.
fn next_of(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let (time, zone) = text.split_once(' ')?;
    let at: TimeOfDay = time.get(..5)?.parse().ok()?;
    next(at, zone.trim().parse::<Tz>().ok()?, now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Scheduler, files, plan};

    #[test]
    fn what_was_written_is_found_again() {
        let now: DateTime<Utc> = "2026-11-24T00:00:00Z".parse().unwrap();
        let then: DateTime<Utc> = "2026-11-24T18:05:00Z".parse().unwrap();
        for scheduler in [Scheduler::Cron, Scheduler::Systemd] {
            let root = tempfile::tempdir().unwrap();
            assert!(installed(root.path(), now).is_none());
            for file in files(scheduler, &plan(), now) {
                let path = root.path().join(file.path.trim_start_matches('/'));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, file.text).unwrap();
            }
            if scheduler == Scheduler::Systemd {
                let found = installed(root.path(), now).unwrap();
                assert!(found.disabled && found.next_run.is_none());
                let wants = root.path().join("etc/systemd/system/timers.target.wants");
                std::fs::create_dir(&wants).unwrap();
                std::os::unix::fs::symlink("../x", wants.join(systemd::BACKUP_TIMER)).unwrap();
            }
            assert_eq!(installed(root.path(), now).unwrap().next_run, Some(then));
        }
    }
}
