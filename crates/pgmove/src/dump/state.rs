//! Where a server was when a snapshot was taken, and how it is set: nothing leans on it, but whoever looks at a backup
//! years later asks.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::connect::Session;

/// Settings that say what values meant and how they were kept.
const SETTINGS: [&str; 10] = [
    "DateStyle",
    "IntervalStyle",
    "TimeZone",
    "block_size",
    "data_checksums",
    "default_text_search_config",
    "lc_monetary",
    "lc_numeric",
    "server_encoding",
    "wal_level",
];

/// What a server said of itself when its snapshot was taken. What a role may not ask, or a version does not know, is
/// absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ServerState {
    /// The position in the write-ahead log right after the snapshot was taken: written so far, or on a standby replayed
    /// so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_position: Option<String>,
    /// Settings by name, as they stand for this role in this database, and the database's `lc_collate` and `lc_ctype`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

impl ServerState {
    /// Asks, within a transaction, and leaves that as it was.
    pub(super) async fn read(session: &Session) -> ServerState {
        let wal = match session.server().in_recovery {
            true => "SELECT pg_catalog.pg_last_wal_replay_lsn()",
            false => "SELECT pg_catalog.pg_current_wal_lsn()",
        };
        let wal_position = ask(session, wal).await.into_iter().next().and_then(|row| row.into_iter().next());
        // The session pins some of these for itself; what stood before is what counts.
        let names: Vec<String> = SETTINGS.iter().map(|name| format!("'{name}'")).collect();
        let settings = format!(
            "SELECT name, reset_val FROM pg_catalog.pg_settings WHERE name IN ({}) UNION ALL \
             SELECT kind, value FROM pg_catalog.pg_database, \
             LATERAL (VALUES ('lc_collate', datcollate::text), ('lc_ctype', datctype::text)) AS v(kind, value) \
             WHERE datname = current_database()",
            names.join(", ")
        );
        let mut state = ServerState { wal_position: wal_position.flatten(), settings: BTreeMap::new() };
        for row in ask(session, &settings).await {
            let mut fields = row.into_iter();
            if let (Some(Some(name)), Some(Some(value))) = (fields.next(), fields.next()) {
                state.settings.insert(name, value);
            }
        }
        state
    }

    /// True when nothing was learnt.
    pub fn is_empty(&self) -> bool {
        *self == ServerState::default()
    }
}

/// An answer, or none: a role that may not ask must not lose its transaction.
async fn ask(session: &Session, sql: &str) -> Vec<Vec<Option<String>>> {
    let object = "the server's state";
    if session.execute(object, "SAVEPOINT state").await.is_err() {
        return Vec::new();
    }
    let (rows, end) = match session.query(object, sql).await {
        Ok(rows) => (rows, "RELEASE SAVEPOINT state"),
        Err(_) => (Vec::new(), "ROLLBACK TO SAVEPOINT state; RELEASE SAVEPOINT state"),
    };
    // A connection that is lost here is told by whoever needs it next.
    let _ = session.execute(object, end).await;
    rows
}
