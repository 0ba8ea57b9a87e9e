//! Position and settings of a server when a snapshot was taken. Nothing depends on them, but they help whoever
//! examines a backup years later.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::connect::Session;

/// Settings that determine the meaning and storage of values.
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

/// State of a server when its snapshot was taken. What the role may not read, or the version does not have, is
/// absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ServerState {
    /// Position in the write-ahead log right after the snapshot was taken: written, or on a standby replayed so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wal_position: Option<String>,
    /// Settings by name, as effective for this role in this database, and the database's `lc_collate` and `lc_ctype`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, String>,
}

impl ServerState {
    /// Reads the state within a transaction, which stays usable.
    pub(super) async fn read(session: &Session) -> ServerState {
        let wal = match session.server().in_recovery {
            true => "SELECT pg_catalog.pg_last_wal_replay_lsn()",
            false => "SELECT pg_catalog.pg_current_wal_lsn()",
        };
        let wal_position = ask(session, wal).await.into_iter().next().and_then(|row| row.into_iter().next());
        // The session pins some of these; the value before counts.
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

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        *self == ServerState::default()
    }
}

/// The result, or nothing: a role without the permission must not lose its transaction.
async fn ask(session: &Session, sql: &str) -> Vec<Vec<Option<String>>> {
    let object = "the server's state";
    if session.execute(object, "SAVEPOINT state").await.is_err() {
        return Vec::new();
    }
    let (rows, end) = match session.query(object, sql).await {
        Ok(rows) => (rows, "RELEASE SAVEPOINT state"),
        Err(_) => (Vec::new(), "ROLLBACK TO SAVEPOINT state; RELEASE SAVEPOINT state"),
    };
    // A connection lost here is reported by its next user.
    let _ = session.execute(object, end).await;
    rows
}
