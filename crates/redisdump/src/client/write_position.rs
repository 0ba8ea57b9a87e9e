//! How much has been written to a server, to detect writes to the source during a copy.

use serde::Serialize;

use crate::client::connection::Connection;
use crate::client::identity::sections;
use crate::cluster::each_master;
use crate::{ConnectOptions, Error};

/// A server's counters of writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct WritePosition {
    /// Its replication offset: bytes of commands and of PINGs to replicas.
    pub offset: Option<i64>,
    /// Number of changes since the last saved RDB (`rdb_changes_since_last_save`).
    #[serde(skip)]
    pub changes: Option<u64>,
    /// The time of that RDB, in seconds since the epoch.
    #[serde(skip)]
    pub saved: Option<i64>,
}

/// Reads a server's counters. Those that it does not reveal are `None`.
///
/// # Errors
/// If it is unreachable.
pub async fn write_position(options: &ConnectOptions) -> Result<WritePosition, Error> {
    // For a cluster, the sums over its masters.
    let positions = each_master(options, |node| async move { of_node(&node).await }).await?;
    let sum = |one: WritePosition, other: WritePosition| WritePosition {
        offset: one.offset.zip(other.offset).map(|(one, other)| one.saturating_add(other)),
        changes: one.changes.zip(other.changes).map(|(one, other)| one.saturating_add(other)),
        saved: one.saved.zip(other.saved).map(|(one, other)| one.saturating_add(other)),
    };
    Ok(positions.into_iter().reduce(sum).unwrap_or_default())
}

async fn of_node(options: &ConnectOptions) -> Result<WritePosition, Error> {
    let mut connection = Connection::open(options).await?;
    let (info, _) = sections(&mut connection, &["replication", "persistence"]).await?;
    let replica = info.get::<String>("role").is_some_and(|role| role == "slave");
    let offset = if replica { "slave_repl_offset" } else { "master_repl_offset" };
    Ok(WritePosition {
        offset: info.get(offset),
        changes: info.get("rdb_changes_since_last_save"),
        saved: info.get("rdb_last_save_time"),
    })
}

impl WritePosition {
    /// Whether anything was written between this position and a later one; `None` if unknown.
    pub fn written_until(&self, later: &WritePosition) -> Option<bool> {
        if let (Some(before), Some(after)) = (self.changes, later.changes)
            && self.saved == later.saved
        {
            return Some(before != after);
        }
        match (self.offset, later.offset) {
            (Some(before), Some(after)) if before != after => Some(true),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted_if_nothing_was_saved_meanwhile() {
        let at = |offset, changes, saved| WritePosition {
            offset: Some(offset),
            changes: Some(changes),
            saved: Some(saved),
        };
        assert_eq!(at(1, 5, 0).written_until(&at(99, 5, 0)), Some(false));
        assert_eq!(at(1, 5, 0).written_until(&at(1, 6, 0)), Some(true));
        assert_eq!(at(1, 5, 0).written_until(&at(2, 0, 7)), Some(true));
        assert_eq!(at(1, 5, 0).written_until(&at(1, 0, 7)), None);
        assert_eq!(WritePosition::default().written_until(&WritePosition::default()), None);
    }
}
