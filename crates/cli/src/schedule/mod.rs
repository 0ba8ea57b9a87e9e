//! How runs are started: systemd timers, cron, a Kubernetes CronJob, a compose service. The files are made from one plan, so
//! that they agree on times, and `deploy/` holds what is made of the default one.

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

/// What starts runs.
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

/// When and how runs are to be started.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// When the backup starts.
    pub(crate) at: TimeOfDay,
    /// When the weekly rehearsal starts, if there is to be one.
    pub(crate) rehearse: Option<TimeOfWeek>,
    /// The zone of both.
    pub(crate) zone: Tz,
    /// The zone by which the host's cron goes.
    pub(crate) host_zone: Tz,
    /// The program.
    pub(crate) binary: String,
    /// The configuration file.
    pub(crate) config: String,
    /// Who runs it.
    pub(crate) user: String,
    /// Folders that it writes to, beside its state.
    pub(crate) writes: Vec<String>,
    /// The container image.
    pub(crate) image: String,
    /// The Kubernetes namespace.
    pub(crate) namespace: String,
}

/// A file of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct File {
    /// Where it belongs on a host; for compose, its name.
    pub(crate) path: String,
    /// What it holds.
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

/// The timers that systemd has to start.
pub(crate) fn timers(plan: &Plan) -> Vec<&'static str> {
    let weekly = plan.rehearse.map(|_| systemd::REHEARSAL_TIMER);
    std::iter::once(systemd::BACKUP_TIMER).chain(weekly).collect()
}

/// Every file that any plan has, for removing a schedule.
pub(crate) fn paths(scheduler: Scheduler) -> Vec<String> {
    match scheduler {
        Scheduler::Systemd => systemd::paths(),
        Scheduler::Cron => vec![cron::PATH.to_owned()],
        Scheduler::Kubernetes => vec![kubernetes::NAME.to_owned()],
        Scheduler::Compose => vec![compose::NAME.to_owned()],
    }
}

/// The first such time of day in this zone after now. A time that a change of clocks leaves out is passed over.
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

/// A local time of the first zone in the second, as of now: minutes of the day, and by how many days it moves.
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
        // 02:30 is left out in the night of 28 to 29 March.
        let berlin = next(at("02:30"), Tz::Europe__Berlin, utc("2026-03-28T12:00:00Z")).unwrap();
        assert_eq!(berlin, utc("2026-03-30T00:30:00Z"));
    }
}
