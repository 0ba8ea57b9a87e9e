//! Statements that make a catalog come true on another server: rendered from data, without a connection.
//!
//! Every object, and every part of one that may have to be made by itself (a default, a check, the attaching of a
//! partition), is a node of a graph whose edges are `pg_depend`. The graph is sorted, its cycles broken, and each
//! node written for the target's version.

mod acl;
mod cycles;
pub(crate) mod database;
mod function;
mod graph;
mod hypertable;
mod index;
mod inexpressible;
mod inherited;
pub(crate) mod options;
mod parents;
mod remark;
pub(crate) mod script;
mod sequence;
mod table;
mod types;

pub use inexpressible::{inexpressible, lz4_columns, needs_icu};
pub use options::RenderOptions;
pub(crate) use remark::settle_privileges;
pub use script::{ObjectRef, Script, Section, Staged, Statement, Step, TableLock};

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::Catalog;
use crate::error::Error;

/// Settings that a session must have before it runs a [`Script`]: name and value, for `SET name = value`.
pub const SESSION: &[(&str, &str)] = &[
    ("search_path", "''"),
    ("check_function_bodies", "off"),
    ("xmloption", "content"),
    ("row_security", "off"),
    ("client_min_messages", "warning"),
    ("standard_conforming_strings", "on"),
    ("default_tablespace", "''"),
    // Statements name the access method of a table only where it is another one.
    ("default_table_access_method", "heap"),
];

/// Renders `catalog` for a server of version `target_version_num`, sorted by dependency.
///
/// # Errors
/// None today; a catalog that holds what the target cannot express is told by [`inexpressible`].
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

/// The roles that the script names, each with the objects that need it. A target must have them all, or the options
/// must map them or leave owners and privileges out.
pub fn required_roles(catalog: &Catalog, options: &RenderOptions) -> BTreeMap<String, BTreeSet<String>> {
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    // Servers from 14 on have it by birth, and `public` belongs to it. On an older one `public` stays whose it is.
    let born = |role: &str, object: &str| role == function::PUBLIC_OWNER && object.ends_with("schema public");
    let mut need = |role: &str, object: String| {
        if !role.is_empty() && !born(role, &object) {
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
