//! Statements that create a catalog's objects on another server: rendered from data, without a connection.
//!
//! Every object, and every part that may have to be created separately (a default, a check, the attachment of a
//! partition), is a node of a graph whose edges come from `pg_depend`. The graph is sorted, its cycles are broken, and
//! each node is rendered for the target's version.

mod acl;
mod annotation;
mod cycles;
pub(crate) mod database;
mod function;
mod graph;
mod hypertable;
mod index;
mod inherited;
pub(crate) mod options;
mod parents;
pub(crate) mod script;
mod sequence;
mod table;
mod types;
mod unsupported;

pub(crate) use annotation::settle_privileges;
pub use options::RenderOptions;
pub use script::{ObjectRef, Script, Section, Staged, Statement, Step, TableLock};
pub use unsupported::{lz4_columns, needs_icu, unsupported};

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::Catalog;
use crate::error::Error;

/// Settings required in a session that runs a [`Script`], as name and value for `SET name = value`.
pub const SESSION: &[(&str, &str)] = &[
    ("search_path", "''"),
    ("check_function_bodies", "off"),
    ("xmloption", "content"),
    ("row_security", "off"),
    ("client_min_messages", "warning"),
    ("standard_conforming_strings", "on"),
    ("default_tablespace", "''"),
    // Statements name a table's access method only if it differs from this one.
    ("default_table_access_method", "heap"),
];

/// Renders `catalog` for a server of version `target_version_num`, sorted by dependencies.
///
/// # Errors
/// None at present; [`unsupported`] lists what the target does not support.
pub fn render(catalog: &Catalog, target_version_num: u32, options: &RenderOptions) -> Result<Script, Error> {
    let mut graph = graph::Graph::build(catalog);
    cycles::break_all(&mut graph);
    let order = graph.sorted();
    let mut script = script::Builder::new(catalog, &graph, target_version_num, options);
    for node in order {
        script.node(&graph, node);
    }
    Ok(script.finish())
}

/// The roles that the script names, each with the objects that require it. The target must have all of them, unless the
/// options map them or leave out owners and privileges.
pub fn required_roles(catalog: &Catalog, options: &RenderOptions) -> BTreeMap<String, BTreeSet<String>> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // From 14 on this predefined role exists and owns `public`. On an older server `public` keeps its owner.
    let owned_initially =
        |role: &str, object: &str| role == function::PUBLIC_OWNER && object.ends_with("schema public");
    let mut need = |role: &str, object: String| {
        if !role.is_empty() && !owned_initially(role, &object) {
            out.entry(options.role(role).to_owned()).or_default().insert(object);
        }
    };
    for (kind, meta) in catalog.metas() {
        if meta.extension.is_none() && !options.no_owner {
            need(&meta.owner, format!("{kind} {}", meta.qualified()));
        }
        if !options.no_acl && meta.acl != meta.initial_acl {
            for role in acl::roles(meta.acl.as_deref().unwrap_or_default()) {
                need(&role, format!("privileges of {kind} {}", meta.qualified()));
            }
        }
    }
    if !options.no_acl {
        for table in &catalog.tables {
            for column in &table.columns {
                for role in acl::roles(column.acl.as_deref().unwrap_or_default()) {
                    need(
                        &role,
                        format!(
                            "privileges of column {}.{}",
                            table.name(),
                            crate::quote::ident(&column.name)
                        ),
                    );
                }
            }
        }
        for default in &catalog.default_acls {
            need(&default.role, format!("default privileges of {}", default.role));
            for role in acl::roles(&default.acl) {
                need(&role, format!("default privileges of {}", default.role));
            }
        }
        for builtin in &catalog.builtin_acls {
            let owner = (!options.no_owner).then(|| builtin.owner.clone());
            for role in acl::roles(&builtin.acl).into_iter().chain(owner) {
                need(&role, format!("privileges of {}", builtin.identity));
            }
        }
    }
    if let Some(timescale) = catalog.timescale.as_ref().filter(|_| !options.no_owner) {
        for job in &timescale.jobs {
            need(&job.owner, format!("job {} ({})", job.id, job.title));
        }
    }
    for plain in catalog.plain.iter().filter(|plain| plain.meta.extension.is_none()) {
        if let Some(role) = function::mapped_role(plain) {
            need(&role, format!("user mapping {}", plain.identity));
        }
    }
    for policy in &catalog.policies {
        for role in &policy.roles {
            need(role, format!("policy {} on {}", policy.name, policy.table));
        }
    }
    out
}
