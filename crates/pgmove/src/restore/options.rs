//! How a target is filled: what to do with what it holds already, and which part of the work is wanted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::ddl::RenderOptions;

/// How a target is filled.
#[derive(Debug, Clone)]
pub struct TargetOptions {
    /// Connections that work at the same time.
    pub jobs: usize,
    /// The connecting role owns everything.
    pub no_owner: bool,
    /// Grants and default privileges are left out.
    pub no_acl: bool,
    /// Other names for roles.
    pub role_map: BTreeMap<String, String>,
    /// Everything goes to the database's own tablespace.
    pub no_tablespaces: bool,
    /// Other names for tablespaces.
    pub tablespace_map: BTreeMap<String, String>,
    /// How long the server may take nothing of a table, or send nothing of it when it is read back.
    pub patience: Duration,
    /// What to do with what the target holds already.
    pub existing: Existing,
    /// Which part of the work is wanted.
    pub sections: Sections,
    /// Try extensions in versions that nobody has tried.
    pub untried_extensions: bool,
    /// What to do when the server refuses a statement or the rows of a table.
    pub on_error: OnError,
    /// Roles that the server lacks and that will exist when the plan is carried out.
    pub assumed_roles: BTreeSet<String>,
    /// The `search_path` while indexes, constraints and materialized views are made. It is empty unless something
    /// here depends on it: a function that names tables without their schema.
    pub search_path: Option<String>,
    /// Memory for all index builds that run at the same time, in bytes; nothing for what the server's settings allow.
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
            patience: Duration::from_secs(1800),
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
    /// The same for the statements that are written.
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

/// What to do with what the target holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Existing {
    /// The target must be empty.
    #[default]
    Refuse,
    /// What is there may stay, as long as nothing of it has the name of what comes; a schema may be there already.
    Beside,
    /// Drop what is going to be made, and nothing else.
    Clean,
    /// What is there was made by the same job, which was interrupted: see [`super::RestorePlan::resumable`].
    Resume,
    /// The schema is there, made by somebody else: only rows are brought, column by column, by name.
    Into(OnRows),
}

/// What to do with rows that a table holds already, when rows are brought into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRows {
    /// The table must be empty.
    #[default]
    Refuse,
    /// Empty it first.
    Truncate,
    /// Leave them, and add the new ones.
    Append,
}

/// Which part of a restore is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sections {
    /// What rows need: schemas, types, functions, tables.
    pub pre_data: bool,
    /// Rows, values of sequences, large objects.
    pub data: bool,
    /// Indexes, constraints, triggers, privileges, materialized views.
    pub post_data: bool,
}

impl Sections {
    /// Everything.
    pub const ALL: Sections = Sections { pre_data: true, data: true, post_data: true };
    /// Everything but the rows.
    pub const SCHEMA: Sections = Sections { pre_data: true, data: false, post_data: true };
    /// Rows alone.
    pub const DATA: Sections = Sections { pre_data: false, data: true, post_data: false };
}

/// What to do when the server refuses a statement or the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// Stop at the first.
    #[default]
    Stop,
    /// Note it, and go on with what does not need it: see [`Target::failures`](super::Target::failures).
    Continue,
}

/// Something that the server refused while the rest went on.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Failure {
    /// What it was about.
    pub object: String,
    /// The whole complaint: the server's message, SQLSTATE, detail, hint and the statement.
    pub error: String,
}
