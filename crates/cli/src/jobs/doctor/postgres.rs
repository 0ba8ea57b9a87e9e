//! Problems of a PostgreSQL server that opening it as a backup does would not show.

use chrono::{DateTime, Utc};

use crate::endpoint::{Endpoint, Globals};
use crate::report::doctor::Finding;
use crate::ui::count;

/// Maximum clock difference; with a larger one, the age of a backup would be wrong.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// Findings about a server. `now` is this host's time when the server was queried.
pub(super) fn findings(
    endpoint: &Endpoint,
    role: &str,
    asked: &pgmove::Preflight,
    now: DateTime<Utc>,
) -> Vec<Finding> {
    let name = &endpoint.name;
    let mut found = Vec::new();
    found.push(match &asked.tls {
        Some(version) => Finding::ok(name, format!("the connection is encrypted ({version})")),
        None if asked.local => {
            Finding::ok(name, "the connection is not encrypted, and does not leave the host")
        }
        None if endpoint.transport.is_some() => {
            Finding::ok(name, "the connection is not encrypted, and goes through a tunnel")
        }
        None => Finding::warning(
            name,
            "rows travel without TLS",
            "add sslmode=verify-full to the URL, and ssl = on to the server",
        ),
    });
    if !asked.row_security.is_empty() {
        found.push(Finding::failure(
            name,
            format!("row-level security hides rows of {} from role {role}", asked.row_security.join(", ")),
            format!("ALTER ROLE {} BYPASSRLS", quoted(role)),
        ));
    }
    if endpoint.globals == Globals::TakeWithPasswords && !asked.reads_passwords {
        found.push(Finding::failure(
            name,
            format!("role-passwords is set, and role {role} cannot read the password hashes of roles"),
            format!(
                "GRANT SELECT ON pg_catalog.pg_authid TO {}, or set role-passwords = false",
                quoted(role)
            ),
        ));
    }
    if !asked.timeouts.is_empty() {
        let timeouts: Vec<String> =
            asked.timeouts.iter().map(|(setting, value)| format!("{setting} is {value}")).collect();
        found.push(Finding::ok(name, format!("{}; dbhaul disables it in its sessions", timeouts.join(", "))));
    }
    // Four fifths: others need locks too.
    if asked.tables.saturating_mul(5) > asked.lock_slots.saturating_mul(4) {
        found.push(Finding::warning(
            name,
            format!(
                "a backup locks {} tables, and the server has room for {} locks of all sessions",
                count(asked.tables),
                count(asked.lock_slots)
            ),
            "raise max_locks_per_transaction (needs a restart)",
        ));
    }
    found.push(clock(name, asked.clock_ms, now, &format!(", and its zone is {}", asked.zone)));
    found
}

/// Whether a server's clock agrees with this host's.
pub(super) fn clock(name: &str, clock_ms: i64, now: DateTime<Utc>, more: &str) -> Finding {
    let offset = clock_ms - now.timestamp_millis();
    match offset.abs() > CLOCK_TOLERANCE_MS {
        false => Finding::ok(name, format!("its clock agrees with this host's{more}")),
        true => Finding::warning(
            name,
            format!(
                "its clock is {} s {} this host's{more}",
                offset.abs() / 1000,
                if offset > 0 { "ahead of" } else { "behind" }
            ),
            "set the clocks (chrony, systemd-timesyncd): ages of backups are measured by this host's",
        ),
    }
}

fn quoted(role: &str) -> String {
    format!("\"{}\"", role.replace('"', "\"\""))
}
