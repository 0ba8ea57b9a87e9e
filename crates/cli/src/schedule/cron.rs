//! A file for /etc/cron.d. Cron uses the host's time zone only, so times are converted to it.

use chrono::{DateTime, Utc};

use super::{File, Plan, moved};

pub(super) const PATH: &str = "/etc/cron.d/dbhaul";

pub(super) fn file(plan: &Plan, now: DateTime<Utc>) -> File {
    let Plan { user, binary, config, zone, host_zone, .. } = plan;
    let fields = |time: chrono::NaiveTime| time.format("%-M %-H").to_string();
    let there = |time| moved(time, *zone, *host_zone, now).unwrap_or((time, 0));
    let mut out = format!(
        "# The nightly backup of dbhaul: at {} {zone}, as {host_zone} is the zone of this host's cron.
",
        plan.at
    );
    if zone != host_zone {
        out.push_str("# When daylight saving time starts or ends in either zone, write the file again.\n");
    }
    out.push_str(&format!(
        "#
# Files that a run writes are readable only by its user (umask). While a run is active, the next one exits at once.
# Cron mails what is printed: nothing if the run succeeds.
SHELL=/bin/sh
PATH=/usr/local/bin:/usr/bin:/bin
DBHAUL_CONFIG={config}
STATE_DIRECTORY=/var/lib/dbhaul

# m h dom mon dow user command
{} * * * {user} umask 077; {binary} --quiet nightly
",
        fields(there(plan.at.0).0)
    ));
    if let Some(rehearse) = plan.rehearse {
        let (time, days) = there(rehearse.time);
        let day = (i64::from(rehearse.day.num_days_from_sunday()) + days).rem_euclid(7);
        let (fields, command) = (fields(time), "nightly --rehearse --wait 4h");
        out.push_str(&format!("{fields} * * {day} {user} umask 077; {binary} --quiet {command}\n"));
    }
    File { path: PATH.to_owned(), text: out }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::plan;
    use chrono_tz::Tz;

    #[test]
    fn times_are_those_of_the_hosts_zone_and_days_move_with_them() {
        let now: DateTime<Utc> = "2026-11-24T00:00:00Z".parse().unwrap();
        let text = file(&plan(), now).text;
        assert!(text.contains("\n5 18 * * * dbhaul umask 077;"), "{text}");
        assert!(text.contains("\n30 19 * * 6 dbhaul umask 077;"), "{text}");
        let here = Plan { host_zone: Tz::Asia__Seoul, ..plan() };
        let text = file(&here, now).text;
        assert!(text.contains("\n5 3 * * * dbhaul") && text.contains("\n30 4 * * 0 dbhaul"), "{text}");
    }
}
