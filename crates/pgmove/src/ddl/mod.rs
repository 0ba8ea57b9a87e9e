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
mod index;
mod remark;
mod script;
mod sequence;
mod table;
mod types;

pub use script::{ObjectRef, RenderOptions, Script, Section, Statement, TableLock};

use std::collections::{BTreeMap, BTreeSet};

use crate::catalog::{Catalog, Object, Unsupported};
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
    let mut need = |role: &str, object: String| {
        if !role.is_empty() {
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
            for role in acl::roles(&builtin.acl) {
                need(&role, format!("privileges of {}", builtin.identity));
            }
        }
    }
    for policy in &catalog.policies {
        for role in &policy.roles {
            need(role, format!("policy {} on {}", policy.name, policy.table));
        }
    }
    out
}

/// What a server of version `target_version_num` cannot express. An older server lacks what a newer one has learnt.
pub fn inexpressible(catalog: &Catalog, target_version_num: u32) -> Vec<Unsupported> {
    let target = target_version_num;
    let mut out = Vec::new();
    let mut lacks = |kind: &str, name: String, since: u32, what: &str| {
        if target < since {
            out.push(Unsupported {
                kind: kind.to_owned(),
                name,
                why: format!("{what} need PostgreSQL {}", since / 10_000),
            });
        }
    };
    for table in &catalog.tables {
        for column in &table.columns {
            if column.generated == Some(crate::catalog::column::Generated::Virtual) {
                lacks(
                    "column",
                    format!("{}.{}", table.name(), column.name),
                    180_000,
                    "virtual generated columns",
                );
            }
        }
    }
    for index in &catalog.indexes {
        if index.nulls_not_distinct {
            lacks("index", index.name().to_string(), 150_000, "NULLS NOT DISTINCT constraints");
        }
        if index.constraint.as_ref().is_some_and(|constraint| constraint.period) {
            lacks("constraint", index.name().to_string(), 180_000, "WITHOUT OVERLAPS constraints");
        }
    }
    for kind in &catalog.types {
        if let crate::catalog::types::TypeDefinition::Range(range) = &kind.definition
            && range.multirange.is_some()
            && target < 140_000
            && uses_multirange(catalog, kind.address().oid)
        {
            lacks("type", kind.meta.qualified(), 140_000, "multirange types");
        }
    }
    for plain in &catalog.plain {
        use crate::catalog::plain::PlainKind;
        for clause in plain.clauses.iter().filter(|clause| clause.needed) {
            let what = format!("clauses like `{}`", clause.text);
            lacks(&plain.kind.keyword().to_lowercase(), plain.identity.clone(), clause.since, &what);
        }
        match plain.kind {
            PlainKind::PublicationSchema => {
                lacks("publication", plain.identity.clone(), 150_000, "schemas in publications")
            }
            PlainKind::PublicationTable if plain.statements.iter().any(|sql| sql.ends_with(')')) => {
                lacks(
                    "publication",
                    plain.identity.clone(),
                    150_000,
                    "column lists and conditions of publications",
                );
            }
            _ => {}
        }
    }
    out
}

/// Whether anything refers to the multirange of a range type.
fn uses_multirange(catalog: &Catalog, range: u32) -> bool {
    let multiranges: Vec<u32> =
        catalog.aliases.iter().filter(|alias| alias.of_oid == range).map(|alias| alias.oid).collect();
    catalog.dependencies.iter().any(|edge| {
        multiranges.contains(&edge.ref_oid) && edge.oid != range && !multiranges.contains(&edge.oid)
    })
}
