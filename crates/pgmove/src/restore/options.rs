//! Options of a restore: what to do with existing data, and which sections to restore.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ddl::RenderOptions;

/// Options of a restore.
#[derive(Debug, Clone)]
pub struct TargetOptions {
    /// Number of parallel connections.
    pub jobs: usize,
    /// The connecting role owns every object.
    pub no_owner: bool,
    /// Omit grants and default privileges.
    pub no_acl: bool,
    /// Role mapping.
    pub role_map: BTreeMap<String, String>,
    /// Use the database's default tablespace for everything.
    pub no_tablespaces: bool,
    /// Tablespace mapping.
    pub tablespace_map: BTreeMap<String, String>,
    /// How long the server may accept no rows of a table, or send none when it is read back.
    pub idle_timeout: Duration,
    /// What to do with existing data.
    pub existing: Existing,
    /// Which sections to restore.
    pub sections: Sections,
    /// Allow untested versions of extensions.
    pub untried_extensions: bool,
    /// What to do if the server rejects a statement or the rows of a table.
    pub on_error: OnError,
    /// Missing roles that will exist when the plan is executed.
    pub assumed_roles: BTreeSet<String>,
    /// The `search_path` for the creation of indexes, constraints and materialized views. Empty unless something
    /// depends on it: a function that uses unqualified table names.
    pub search_path: Option<String>,
    /// Memory for all parallel index builds, in bytes; `None` for what the server's settings allow.
    pub index_memory: Option<u64>,
}

impl Default for TargetOptions {
    fn default() -> Self {
        TargetOptions {
            jobs: 2,
            no_owner: false,
            no_acl: false,
            role_map: BTreeMap::new(),
            no_tablespaces: false,
            tablespace_map: BTreeMap::new(),
            idle_timeout: Duration::from_secs(1800),
            existing: Existing::Refuse,
            sections: Sections::ALL,
            untried_extensions: false,
            on_error: OnError::Stop,
            assumed_roles: BTreeSet::new(),
            search_path: None,
            index_memory: None,
        }
    }
}

impl TargetOptions {
    /// The corresponding options for rendering.
    pub(crate) fn render(&self) -> RenderOptions {
        RenderOptions {
            no_owner: self.no_owner,
            no_acl: self.no_acl,
            role_map: self.role_map.clone(),
            no_tablespaces: self.no_tablespaces,
            ..RenderOptions::default()
        }
    }
}

/// What to do with existing data of the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// The target must be empty.
    #[default]
    Refuse,
    /// Existing objects may stay, unless their names collide with restored ones; schemas may exist.
    Beside,
    /// Drop the objects that will be created, and nothing else.
    Clean,
    /// Existing objects belong to the same job, which was interrupted: see [`super::RestorePlan::resumable`].
    Resume,
    /// The schema exists: only rows are restored, column by column, by name.
    Into(OnRows),
}

/// What to do with existing rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRows {
    /// The table must be empty.
    #[default]
    Refuse,
    /// Empty it first.
    Truncate,
    /// Keep them, and add the new ones.
    Append,
}

/// Which sections to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sections {
    /// What rows require: schemas, types, functions, tables.
    pub pre_data: bool,
    /// Rows, values of sequences, large objects.
    pub data: bool,
    /// Indexes, constraints, triggers, privileges, materialized views.
    pub post_data: bool,
}

impl Sections {
    /// Everything.
    pub const ALL: Sections = Sections { pre_data: true, data: true, post_data: true };
    /// Everything except rows.
    pub const SCHEMA: Sections = Sections { pre_data: true, data: false, post_data: true };
    /// Only rows.
    pub const DATA: Sections = Sections { pre_data: false, data: true, post_data: false };
}

/// What to do if the server rejects a statement or the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// Stop at the first error.
    #[default]
    Stop,
    /// Record it, and continue with what does not depend on it: see [`Target::failures`](super::Target::failures).
    Continue,
}

/// Something that the server rejected while the restore continued.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// The object.
    pub object: String,
    /// The complete error: the server's message, SQLSTATE, detail, hint and the statement.
    pub error: String,
}
