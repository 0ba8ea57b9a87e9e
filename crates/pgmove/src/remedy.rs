//! What resolves a refusal.

use serde::Serialize;

/// What resolves the conflicts of a refusal, most of it options of this crate. A caller words them, with its own names for these options.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Remedy {
    /// The target is not empty: use an empty or new database, [`Existing::Clean`](crate::Existing), or
    /// [`Existing::Into`](crate::Existing).
    HandleExistingData,
    /// Objects to be created exist already: [`Existing::Clean`](crate::Existing), rows only, or another database.
    HandleExistingObjects,
    /// Tables to be loaded hold rows: [`OnRows::Truncate`](crate::OnRows) or [`OnRows::Append`](crate::OnRows).
    HandleExistingRows,
    /// Continuous aggregates to be loaded hold rows: [`OnRows::Truncate`](crate::OnRows).
    TruncateRows,
    /// Roles are missing: create or restore them, map them to others, or restore without owners and privileges.
    ProvideRoles,
    /// Roles that policies and user mappings name are missing: create or restore them, map them to others, or skip these
    /// objects with [`OnError::Continue`](crate::OnError).
    ProvideNamedRoles,
    /// Roles of a database to be created are missing: create them, map them to others, or create it without owner and
    /// privileges.
    ProvideDatabaseRoles,
    /// Tablespaces are missing: create or restore them, map them to others, or restore without tablespaces.
    ProvideTablespaces,
    /// The database to be created exists: restore into it without creating it, drop it, or choose another name.
    DatabaseExists,
    /// An extension's version was not tested: [`TargetOptions::untried_extensions`](crate::TargetOptions).
    TryUntriedExtensions,
    /// The role lacks privileges: connect as a superuser or another role, or restore without owners and privileges.
    UsePrivilegedRole,
    /// Row security hides rows: connect as a superuser, as the tables' owner, or as a role with `BYPASSRLS`.
    BypassRowSecurity,
    /// A standby has no rows of unlogged tables: read the primary, or exclude their rows by a [`Filter`](crate::Filter).
    ReadPrimary,
    /// A function relies on a search path: [`TargetOptions::search_path`](crate::TargetOptions).
    SetSearchPath,
}
