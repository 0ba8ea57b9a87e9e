//! Schedules: systemd timers, cron, a Kubernetes CronJob, a compose service. The files are generated from one plan,
//! so that they agree on times; `deploy/` contains those of the default plan.

mod compose;
mod cron;
mod installed;
mod kubernetes;
mod systemd;

use chrono::{DateTime, Datelike as _, NaiveDate, TimeDelta, TimeZone as _, Utc};
use chrono_tz::Tz;
use serde::Serialize;

use crate::config::units::{TimeOfDay, TimeOfWeek};

pub(crate) use installed::installed;

/// What starts the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheduler {
    /// A timer and a service for each kind of run.
    Systemd,
    /// A file for /etc/cron.d.
    Cron,
    /// A CronJob for each kind of run.
    Kubernetes,
    /// A service of a compose project, for the host's scheduler to start.
    Compose,
}

/// When and how to start runs.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// When the backup starts.
    pub(crate) at: TimeOfDay,
    /// When the weekly rehearsal starts, if there is one.
    pub(crate) rehearse: Option<TimeOfWeek>,
    /// Time zone of both.
    pub(crate) zone: Tz,
    /// Time zone of the host, which cron uses.
    pub(crate) host_zone: Tz,
    /// Path of the program.
    pub(crate) binary: String,
    /// Path of the configuration file.
    pub(crate) config: String,
    /// User that runs it.
    pub(crate) user: String,
    /// Folders that it writes to, besides its state.
    pub(crate) writes: Vec<String>,
    /// Container image.
    pub(crate) image: String,
    /// Kubernetes namespace.
    pub(crate) namespace: String,
}

/// A file of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct File {
    /// Installed path; for compose, the name.
    pub(crate) path: String,
    /// Content.
    pub(crate) text: String,
}

/// The files of a schedule.
pub(crate) fn files(scheduler: Scheduler, plan: &Plan, now: DateTime<Utc>) -> Vec<File> {
    match scheduler {
        Scheduler::Systemd => systemd::files(plan),
        Scheduler::Cron => vec![cron::file(plan, now)],
        Scheduler::Kubernetes => vec![kubernetes::file(plan)],
        Scheduler::Compose => vec![compose::file(plan)],
    }
}

/// The timers to enable.
pub(crate) fn timers(plan: &Plan) -> Vec<&'static str> {
    let weekly = plan.rehearse.map(|_| systemd::REHEARSAL_TIMER);
    std::iter::once(systemd::BACKUP_TIMER).chain(weekly).collect()
}

/// Every file that any plan may have, for removing a schedule.
pub(crate) fn paths(scheduler: Scheduler) -> Vec<String> {
    match scheduler {
        Scheduler::Systemd => systemd::paths(),
        Scheduler::Cron => vec![cron::PATH.to_owned()],
        Scheduler::Kubernetes => vec![kubernetes::NAME.to_owned()],
        Scheduler::Compose => vec![compose::NAME.to_owned()],
    }
}

/// The next occurrence of this time of day in this zone. A time that daylight saving time skips is passed over.
pub(crate) fn next(at: TimeOfDay, zone: Tz, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let today: NaiveDate = now.with_timezone(&zone).date_naive();
    (0..=2)
        .filter_map(|days| {
            let day = today.checked_add_signed(TimeDelta::days(days))?;
            zone.from_local_datetime(&day.and_time(at.0)).earliest()
        })
        .map(|at| at.with_timezone(&Utc))
        .find(|at| *at > now)
}

/// Converts a local time from one zone to another, as of now: minutes of the day, and the shift in days.
fn moved(time: chrono::NaiveTime, from: Tz, to: Tz, now: DateTime<Utc>) -> Option<(chrono::NaiveTime, i64)> {
    let day = now.with_timezone(&from).date_naive();
    let there = from.from_local_datetime(&day.and_time(time)).earliest()?.with_timezone(&to).naive_local();
    Some((there.time(), i64::from(there.date().num_days_from_ce() - day.num_days_from_ce())))
}

#[cfg(test)]
pub(crate) fn plan() -> Plan {
    Plan {
        at: TimeOfDay(chrono::NaiveTime::from_hms_opt(3, 5, 0).unwrap()),
        rehearse: "Sun 04:30".parse().ok(),
        zone: Tz::Asia__Seoul,
        host_zone: Tz::UTC,
        binary: "/usr/local/bin/dbhaul".to_owned(),
        config: "/etc/dbhaul/dbhaul.toml".to_owned(),
        user: "dbhaul".to_owned(),
        writes: Vec::new(),
        image: "dbhaul:latest".to_owned(),
        namespace: "default".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_is_by_the_zones_clock() {
        let at = |text: &str| text.parse::<TimeOfDay>().unwrap();
        let utc = |text: &str| text.parse::<DateTime<Utc>>().unwrap();
        let seoul = |now: &str| next(at("03:05"), Tz::Asia__Seoul, utc(now)).unwrap();
        assert_eq!(seoul("2026-11-23T18:04:00Z"), utc("2026-11-23T18:05:00Z"));
        assert_eq!(seoul("2026-11-23T18:05:00Z"), utc("2026-11-24T18:05:00Z"));
        // Daylight saving time skips 02:30 in the night of 28 to 29 March.
        let berlin = next(at("02:30"), Tz::Europe__Berlin, utc("2026-03-28T12:00:00Z")).unwrap();
        assert_eq!(berlin, utc("2026-03-30T00:30:00Z"));
    }
}
