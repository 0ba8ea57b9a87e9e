//! Reports sessions that block the restore by holding locks on the target.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::Target;
use crate::connect::Session;
use crate::dump::brief;

/// Interval of the checks.
const INTERVAL: Duration = Duration::from_secs(1);

impl Target {
    /// Checks whether statements of this restore wait for a lock of another application, and reports each holder to
    /// `on_note` once it has blocked for `after`. Runs until it is dropped, on its own connection. If the server had
    /// none left for it when the restore was planned, nothing is reported.
    pub async fn name_lock_holders(&self, after: Duration, on_note: &(dyn Fn(String) + Sync)) {
        let observer = self.observer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(session) = observer else { return };
        let mut since: BTreeMap<String, (Instant, bool)> = BTreeMap::new();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let Some(waits) = waits(&session).await else { return };
            since.retain(|wait, _| waits.contains(wait));
            for wait in waits {
                let (began, reported) = since.entry(wait.clone()).or_insert_with(|| (Instant::now(), false));
                if !*reported && began.elapsed() >= after {
                    *reported = true;
                    on_note(wait);
                }
            }
        }
    }
}

/// Descriptions of each session like this one that waits for one that is not. `None` if the server no longer answers.
async fn waits(session: &Session) -> Option<Vec<String>> {
    let sql = "SELECT a.query, b.pid, b.usename, b.application_name, b.state, b.xact_start::timestamptz(0), b.query \
               FROM pg_catalog.pg_stat_activity me \
               JOIN pg_catalog.pg_stat_activity a ON a.datid = me.datid AND a.usesysid = me.usesysid \
                 AND a.application_name = me.application_name AND a.client_addr IS NOT DISTINCT FROM me.client_addr \
               CROSS JOIN LATERAL pg_catalog.unnest(pg_catalog.pg_blocking_pids(a.pid)) AS blocking(pid) \
               LEFT JOIN pg_catalog.pg_stat_activity b ON b.pid = blocking.pid \
               WHERE me.pid = pg_catalog.pg_backend_pid() AND a.wait_event_type = 'Lock' \
               AND (b.application_name IS DISTINCT FROM me.application_name OR b.usesysid IS DISTINCT FROM me.usesysid) \
               ORDER BY b.pid";
    let rows = session.query("who holds locks", sql).await.ok()?;
    let description = |row: Vec<Option<String>>| {
        let mut fields = row.into_iter();
        let mut next = || fields.next().flatten().filter(|text| !text.is_empty());
        let (ours, pid, role, application) = (next(), next(), next(), next());
        let (state, since, query) = (next(), next(), next());
        let mut known: Vec<String> = Vec::new();
        known.extend(role.map(|role| format!("role {role}")));
        known.extend(application.map(|name| format!("application {name}")));
        known.extend(state);
        known.extend(since.map(|since| format!("since {since}")));
        known.extend(query.map(|query| format!("query: {}", brief(&query))));
        let who = match pid {
            Some(pid) => format!("process {pid}"),
            None => "a prepared transaction".to_owned(),
        };
        let known = if known.is_empty() { String::new() } else { format!(" ({})", known.join(", ")) };
        format!("`{}` waits for a lock that {who} holds{known}", brief(&ours.unwrap_or_default()))
    };
    let mut waits: Vec<String> = rows.into_iter().map(description).collect();
    waits.dedup();
    Some(waits)
}
