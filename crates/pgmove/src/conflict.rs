//! Why an operation is refused.

use serde::{Deserialize, Serialize};

use crate::catalog::{QualifiedName, Unsupported};
use crate::quote::ident;
use crate::remedy::Remedy;
use crate::timescaledb::conflict::TimescaleConflict;

/// One reason for a refusal. Displayed, it is a sentence that names the object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "conflict", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum Conflict {
    /// The server is a standby.
    #[error("it is a standby, which is read-only: connect to its primary")]
    Standby,
    /// The server is older than the oldest supported version.
    #[error("servers older than PostgreSQL 12 are not supported")]
    ServerTooOld,
    /// A pooler assigns a server session to each transaction.
    #[error(
        "it assigns a server session to each transaction, so that settings and snapshots do not persist: \
         connect to the server itself, or to a pool with pool_mode = session"
    )]
    TransactionPooling,
    /// The server's lock table cannot hold a lock for each table.
    #[error("raise max_locks_per_transaction at the source and restart it")]
    LockTable {
        /// Tables to lock.
        tables: usize,
        /// Locks that the server's lock table holds.
        locks: usize,
    },
    /// A standby has no rows of unlogged tables.
    #[error("table {table} is unlogged, and a standby has none of its rows")]
    Unlogged {
        /// The table.
        table: QualifiedName,
    },
    /// Row security hides rows from the role.
    #[error("table {table}: row security applies to this role{}", if *.forced { ", by FORCE also to its owner" } else { "" })]
    RowSecurity {
        /// The table.
        table: QualifiedName,
        /// Whether it applies to the table's owner too.
        forced: bool,
    },
    /// A sequence was dropped while the catalog was read, and another relation has its name.
    #[error("another relation now has its name and was not read; check it and run again")]
    SequenceReplaced,
    /// A query returned too many rows.
    #[error("the result has more than {most} rows")]
    TooManyRows {
        /// The most that are read.
        most: usize,
    },
    /// The server's machine has less memory than index builds are to use.
    #[error("the machine has {mebibytes} MiB of memory")]
    MachineMemory {
        /// Its memory in MiB.
        mebibytes: u64,
    },
    /// Another run is applying migrations.
    #[error("another run is applying migrations to this database (advisory lock {lock}): wait until it ends")]
    MigrationsRunning {
        /// The key of the advisory lock.
        lock: i64,
    },
    /// psql would execute part of a stored statement as a meta-command, or split it differently than the server.
    #[error("{object}: {detail}")]
    NotForPsql {
        /// The statement's object.
        object: String,
        /// The text that psql would misinterpret.
        detail: String,
    },
    /// The server rejected a query.
    #[error("{detail}")]
    Rejected {
        /// The error, with the server's own words.
        detail: String,
    },

    /// The database to be created exists.
    #[error("it already exists")]
    DatabaseExists,
    /// A role of the database to be created is missing.
    #[error("role {} does not exist at the target: {}", ident(.role), .uses.join(", "))]
    MissingDatabaseRole {
        /// The role.
        role: String,
        /// What it is needed for.
        uses: Vec<String>,
    },
    /// A role is missing.
    #[error("role {} does not exist at the target and is needed by {}", ident(.role), some(.objects))]
    MissingRole {
        /// The role.
        role: String,
        /// The objects that name it.
        objects: Vec<String>,
        /// Whether owners and privileges are left out already, so that policies and user mappings name it.
        by_name: bool,
    },
    /// A tablespace is missing.
    #[error("tablespace {} does not exist at the target and is needed by {}", ident(.tablespace), some(.objects))]
    MissingTablespace {
        /// The tablespace.
        tablespace: String,
        /// The objects in it.
        objects: Vec<String>,
    },
    /// The role may not create objects in a tablespace.
    #[error("tablespace {0}: this role has no CREATE privilege on it (GRANT CREATE ON TABLESPACE {0})", ident(.tablespace))]
    TablespacePrivilege {
        /// The tablespace.
        tablespace: String,
    },
    /// The server does not offer an extension.
    #[error("extension {} {version} is not available on this server: install it there", ident(.extension))]
    MissingExtension {
        /// The extension.
        extension: String,
        /// Its version at the source.
        version: String,
    },
    /// An object is not supported by this version, or by the target's.
    #[error("{0}")]
    Unsupported(Unsupported),
    /// An extension's version was not tested with this release.
    #[error("{0}")]
    UntestedExtension(Unsupported),

    /// The database to be filled holds an object.
    #[error("it is not empty: it holds {object}")]
    NotEmpty {
        /// The object with its kind.
        object: String,
    },
    /// The database to be filled holds rows in a configuration table of an extension.
    #[error("it is not empty: configuration table {table} holds rows")]
    ConfigurationRows {
        /// The table.
        table: QualifiedName,
    },
    /// An object to be created exists.
    #[error("{object} already exists")]
    ObjectExists {
        /// The object with its kind.
        object: String,
    },
    /// More conflicts of the same kind as the one before, which are not listed.
    #[error("… and {count} more")]
    More {
        /// How many.
        count: usize,
    },
    /// An object of another kind has the name of one to be replaced.
    #[error("{object} has the name of {replacement}: an object of another kind is not replaced")]
    OtherKind {
        /// The existing object with its kind.
        object: String,
        /// The object to be created, with its kind.
        replacement: String,
    },
    /// An object to be replaced belongs to an extension.
    #[error("{object} belongs to extension {} at the target", ident(.extension))]
    ExtensionMember {
        /// The existing object with its kind.
        object: String,
        /// The extension.
        extension: String,
    },
    /// An object that is not replaced depends on one that is.
    #[error("{object} depends on objects to be replaced, and would be lost")]
    Dependent {
        /// The object with its kind.
        object: String,
    },
    /// A resumed restore finds an object that it does not create.
    #[error("{object} exists, but is not part of this restore")]
    NotOfThisRestore {
        /// The object with its kind.
        object: String,
    },
    /// A resumed restore finds an object with another definition.
    #[error("{object} exists with a different definition")]
    OtherDefinition {
        /// The object with its kind.
        object: String,
    },
    /// A restore of a database with TimescaleDB was interrupted.
    #[error(
        "the restore of a database that uses TimescaleDB cannot be resumed: dbhaul cannot distinguish incomplete \
         chunks and jobs from complete ones; clear the target and start again"
    )]
    ResumeTimescale,

    /// A table to be loaded does not exist.
    #[error("table {table} does not exist at the target")]
    MissingTable {
        /// The table.
        table: QualifiedName,
    },
    /// A column to be loaded does not exist.
    #[error("column {table}.{} does not exist at the target", ident(.column))]
    MissingColumn {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
    },
    /// A column to be loaded is generated.
    #[error("column {table}.{} is generated at the target, but not at the source", ident(.column))]
    GeneratedColumn {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
    },
    /// A column's type does not hold every value of the source's.
    #[error("column {table}.{} is {here} at the target and {at_source} at the source: some values may not fit", ident(.column))]
    ColumnType {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
        /// Its type at the target.
        here: String,
        /// Its type at the source.
        at_source: String,
    },
    /// A column of the target that the source lacks needs a value.
    #[error("column {table}.{} is NOT NULL at the target, has no default, and does not exist at the source", ident(.column))]
    RequiredColumn {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
    },
    /// A table to be loaded holds rows.
    #[error("table {table} holds rows")]
    TableHoldsRows {
        /// The table.
        table: QualifiedName,
    },
    /// A continuous aggregate to be loaded holds rows.
    #[error("continuous aggregate {aggregate} holds rows")]
    AggregateHoldsRows {
        /// The aggregate.
        aggregate: QualifiedName,
    },
    /// A large object to be loaded exists.
    #[error("large object {oid} already exists")]
    LargeObjectExists {
        /// Its OID.
        oid: String,
    },
    /// The role lacks a privilege on a table to be loaded.
    #[error("table {table}: this role lacks {privilege} on it")]
    TablePrivilege {
        /// The table.
        table: QualifiedName,
        /// The privilege.
        privilege: String,
    },
    /// A trigger fires for replicated rows too.
    #[error(
        "trigger {} on {table} fires even for replicated rows (ENABLE {}): disable it during the load",
        ident(.trigger), if *.always { "ALWAYS" } else { "REPLICA" }
    )]
    ReplicaTrigger {
        /// The trigger.
        trigger: String,
        /// Its table.
        table: QualifiedName,
        /// Whether it fires for other rows as well.
        always: bool,
    },
    /// A trigger fires, and the role may not suppress that.
    #[error(
        "trigger {} on {table} would fire for every row: connect as a superuser, or GRANT SET ON PARAMETER \
         session_replication_role to this role (15 and newer), or disable the trigger during the load",
        ident(.trigger)
    )]
    Trigger {
        /// The trigger.
        trigger: String,
        /// Its table.
        table: QualifiedName,
    },
    /// Foreign keys refer to each other, and the role may not suppress their checks.
    #[error(
        "the foreign keys of {} form a cycle: connect as a superuser, or GRANT SET ON PARAMETER \
         session_replication_role to this role",
        joined(.tables, ", ")
    )]
    ForeignKeyCycle {
        /// The tables of the cycle, and those that refer to them.
        tables: Vec<QualifiedName>,
    },
    /// A table that is not loaded refers to one that would be truncated.
    #[error(
        "table {table} cannot be truncated: {referencing} references it and is not among the tables to load"
    )]
    Referenced {
        /// The table to be truncated.
        table: QualifiedName,
        /// The table with the foreign key.
        referencing: QualifiedName,
    },
    /// A partition's rows are routed through a parent with another order of columns.
    #[error(
        "partition {partition}: its rows have to be routed through {parent}, whose columns are in a different order, \
         so that they could not be verified (recreate the partition with the column order of its parent)"
    )]
    PartitionColumns {
        /// The partition.
        partition: QualifiedName,
        /// The partitioned table.
        parent: QualifiedName,
    },

    /// Only a superuser may create an extension.
    #[error("extension {0}: only a superuser may CREATE EXTENSION {0}", ident(.extension))]
    UntrustedExtension {
        /// The extension.
        extension: String,
    },
    /// Only a superuser may create an object.
    #[error("{object}: only a superuser may create it")]
    SuperuserObject {
        /// The object with its kind.
        object: String,
    },
    /// The role may not create schemas.
    #[error(
        "schema {}: role {} may not create schemas in this database (GRANT CREATE ON DATABASE)",
        ident(.schema), ident(.role)
    )]
    CreateSchema {
        /// The first schema to be created.
        schema: String,
        /// The connected role.
        role: String,
    },
    /// The role may not create objects in schema `public`.
    #[error("schema public: role {} may not create objects in it (GRANT CREATE ON SCHEMA public)", ident(.role))]
    CreateInPublic {
        /// The connected role.
        role: String,
    },
    /// The role may not make another the owner of objects.
    #[error(
        "role {} may not make role {} the owner of {} (GRANT {1} TO {0})",
        ident(.role), ident(.owner), some(.objects)
    )]
    ForeignOwner {
        /// The connected role.
        role: String,
        /// The owner.
        owner: String,
        /// Its objects.
        objects: Vec<String>,
    },
    /// An owner may not own objects in schema `public`.
    #[error(
        "role {0} may not create objects in schema public, and so cannot own {1} there (GRANT CREATE ON SCHEMA public TO {0})",
        ident(.owner), some(.objects)
    )]
    OwnerInPublic {
        /// The owner.
        owner: String,
        /// Its objects there.
        objects: Vec<String>,
    },
    /// Only a superuser may change privileges of what belongs to the server.
    #[error("privileges of {object}: it belongs to the server, and only a superuser may change them")]
    ServerPrivileges {
        /// The object.
        object: String,
    },
    /// Only an extension's owner may change privileges of its objects.
    #[error("privileges of {object}: it belongs to extension {}, and only its owner may change them", ident(.extension))]
    ExtensionPrivileges {
        /// The object with its kind.
        object: String,
        /// The extension.
        extension: String,
    },
    /// Only a superuser may grant privileges as another role.
    #[error(
        "privileges of {object}: role {grantor} granted them, and only a superuser may grant in its place"
    )]
    ForeignGrantor {
        /// The object with its kind.
        object: String,
        /// The role that granted them, quoted as needed.
        grantor: String,
    },
    /// Only the owner of schema `public` may change its privileges.
    #[error("privileges of schema public: it belongs to another role, and only its owner may change them")]
    PublicPrivileges,

    /// A conflict of TimescaleDB.
    #[error("{0}")]
    Timescaledb(TimescaleConflict),
    /// A job like the one to be created exists.
    #[error("an identical job already exists")]
    JobExists,
    /// A continuous aggregate to be filled does not exist.
    #[error("it does not exist")]
    MissingAggregate,
}

impl Conflict {
    /// Options of this crate, and of the server, that resolve it.
    pub fn remedy(&self) -> Option<Remedy> {
        Some(match self {
            Self::NotEmpty { .. } | Self::ConfigurationRows { .. } => Remedy::HandleExistingData,
            Self::ObjectExists { .. } => Remedy::HandleExistingObjects,
            Self::TableHoldsRows { .. } => Remedy::HandleExistingRows,
            Self::AggregateHoldsRows { .. } => Remedy::TruncateRows,
            Self::MissingRole { by_name: false, .. } => Remedy::ProvideRoles,
            Self::MissingRole { by_name: true, .. } => Remedy::ProvideNamedRoles,
            Self::MissingDatabaseRole { .. } => Remedy::ProvideDatabaseRoles,
            Self::MissingTablespace { .. } => Remedy::ProvideTablespaces,
            Self::DatabaseExists => Remedy::DatabaseExists,
            Self::UntestedExtension(_)
            | Self::Timescaledb(TimescaleConflict::Version { untested: true, .. }) => {
                Remedy::TryUntriedExtensions
            }
            Self::Unlogged { .. } => Remedy::ReadPrimary,
            Self::RowSecurity { .. } => Remedy::BypassRowSecurity,
            Self::UntrustedExtension { .. }
            | Self::SuperuserObject { .. }
            | Self::CreateSchema { .. }
            | Self::CreateInPublic { .. }
            | Self::ForeignOwner { .. }
            | Self::OwnerInPublic { .. }
            | Self::ServerPrivileges { .. }
            | Self::ExtensionPrivileges { .. }
            | Self::ForeignGrantor { .. }
            | Self::PublicPrivileges => Remedy::UsePrivilegedRole,
            _ => return None,
        })
    }
}

/// Many objects: the first three, and how many more.
fn some(objects: &[String]) -> String {
    let named: Vec<&str> = objects.iter().take(3).map(String::as_str).collect();
    let more = objects.len().saturating_sub(named.len());
    named.join(", ") + &if more > 0 { format!(" and {more} more") } else { String::new() }
}

/// All of them, separated.
pub(crate) fn joined<T: ToString>(items: &[T], separator: &str) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_conflict_is_a_sentence_and_data() {
        let objects = ["a", "b", "c", "d"].map(|name| format!("table public.{name}")).to_vec();
        let conflict = Conflict::MissingRole { role: "App".to_owned(), objects, by_name: false };
        assert_eq!(
            conflict.to_string(),
            "role \"App\" does not exist at the target and is needed by table public.a, table public.b, table public.c and 1 more"
        );
        assert_eq!(conflict.remedy(), Some(Remedy::ProvideRoles));
        let value = serde_json::to_value(&conflict).unwrap();
        assert_eq!(
            (&value["conflict"], &value["objects"][3]),
            (&"missing-role".into(), &"table public.d".into())
        );
        assert_eq!(value["by-name"], false);

        let nested = Conflict::Timescaledb(TimescaleConflict::Restoring { database: "d".to_owned() });
        let value = serde_json::to_value(&nested).unwrap();
        assert_eq!((&value["conflict"], &value["timescaledb"]), (&"timescaledb".into(), &"restoring".into()));
    }

    #[test]
    fn remedies_are_named_once() {
        let table = |name: &str| Conflict::TableHoldsRows { table: QualifiedName::new("public", name) };
        let conflicts = vec![table("a"), table("b"), Conflict::Standby];
        let error = crate::Error::Refused { what: "cannot restore into server".to_owned(), conflicts };
        assert_eq!(error.remedies(), [Remedy::HandleExistingRows]);
        assert_eq!(
            error.to_string(),
            "cannot restore into server; nothing was written:\n  table public.a holds rows\n  table public.b holds rows\n  \
             it is a standby, which is read-only: connect to its primary"
        );
    }
}
