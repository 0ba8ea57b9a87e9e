//! Why a database with TimescaleDB cannot be read or restored.

use serde::{Deserialize, Serialize};

use crate::catalog::QualifiedName;
use crate::quote::ident;

/// One reason, as part of a [`Conflict`](crate::Conflict). Displayed, it is a sentence that names the object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "timescaledb", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum TimescaleConflict {
    /// The server does not offer TimescaleDB, which hypertables need.
    #[error("extension timescaledb is not available on this server, and hypertables need it")]
    NotOffered,
    /// The target's TimescaleDB is too old, or was not tested.
    #[error("extension timescaledb of the target: {detail}")]
    Version {
        /// Why it is not used.
        detail: String,
        /// Whether it was not tested, and could be tried.
        untested: bool,
    },
    /// The server does not preload TimescaleDB.
    #[error(
        "extension timescaledb is not loaded at the target: add it to shared_preload_libraries and restart the server"
    )]
    NotPreloaded,
    /// The database lacks TimescaleDB, and only tables are restored.
    #[error(
        "extension timescaledb is not in this database, and is not created when only tables are restored: CREATE EXTENSION \
         timescaledb first"
    )]
    NotCreated,
    /// TimescaleDB is in another schema.
    #[error(
        "extension timescaledb is in schema {} at the target and in schema {} at the source, where definitions name \
         its functions: DROP EXTENSION timescaledb at the target, so that it is created in the schema of the source",
        ident(.here), ident(.at_source)
    )]
    Schema {
        /// Its schema at the target.
        here: String,
        /// Its schema at the source.
        at_source: String,
    },
    /// The target's TimescaleDB cannot enable or disable triggers of hypertables.
    #[error(
        "trigger {} on hypertable {table}: TimescaleDB {version} cannot {state} triggers of hypertables, 2.27 is the first: \
         update the extension at the target, or drop the trigger at the source",
        ident(.trigger)
    )]
    Trigger {
        /// The trigger.
        trigger: String,
        /// Its table.
        table: QualifiedName,
        /// The version of the extension.
        version: String,
        /// The keyword of `ALTER TABLE`.
        state: String,
    },
    /// A role that owns jobs may not log in.
    #[error("role {0} owns jobs and may not log in, so that none of them could run: ALTER ROLE {0} LOGIN", ident(.role))]
    JobOwner {
        /// The role.
        role: String,
    },
    /// The database is in TimescaleDB's restoring mode, in which a hypertable is an ordinary table.
    #[error(
        "timescaledb.restoring is on in database {0}, as timescaledb_pre_restore() leaves it: hypertables accept rows \
         but do not show them; run SELECT timescaledb_post_restore() there, or ALTER DATABASE {0} RESET timescaledb.restoring, \
         and try again",
        ident(.database)
    )]
    Restoring {
        /// The database.
        database: String,
    },
    /// The Apache edition of TimescaleDB lacks a feature.
    #[error("{object}: this server has TimescaleDB under the Apache license, which lacks it")]
    License {
        /// What needs the feature.
        object: String,
    },
}
