//! Compares extensions: versions, members, and objects that users added to their tables.
//!
//! Objects created by an extension's script are not compared: they depend on its version. But objects may be added to
//! an extension manually, and its tables may get columns, indexes and triggers. `CREATE EXTENSION` does not recreate
//! those, so both sides are compared name by name.

use std::collections::{BTreeMap, BTreeSet};

use super::SchemaDifference;
use super::schema::Scope;
use crate::catalog::plain::PlainKind;
use crate::catalog::schema::Extension;
use crate::catalog::types::TypeDefinition;
use crate::catalog::{Catalog, QualifiedName};
use crate::quote::ident;
use crate::timescaledb;

/// Maximum number of names in a note.
const NAMED: usize = 5;

/// Differences, and what could not be compared.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) differences: Vec<SchemaDifference>,
    pub(super) notes: Vec<String>,
}

/// Compares the extensions that both sides have.
pub(super) fn compare(left: &Catalog, right: &Catalog, scope: &Scope) -> Outcome {
    let mut found = Outcome::default();
    let same_major = left.server_version_num / 10_000 == right.server_version_num / 10_000;
    for (one, other) in both(left, right) {
        let name = ident(&one.meta.name);
        let same = one.version == other.version;
        // TimescaleDB is rebuilt in the server's own version, and its objects are compared separately.
        let of_server = one.meta.name == timescaledb::NAME;
        if !same && same_major && !scope.restored && !of_server {
            let version = |extension: &Extension| vec![format!("version {}", extension.version)];
            found.differences.push(SchemaDifference {
                object: format!("extension {name}"),
                left: version(one),
                right: version(other),
            });
        } else if !same {
            found.notes.push(format!(
                "version of extension {name}: {} on the left, {} on the right",
                one.version, other.version
            ));
        }
        // It creates relations at run time.
        if of_server {
            continue;
        }
        let sides = [members(left, &one.meta.name), members(right, &one.meta.name)];
        match same {
            true => members_differ(&name, sides, scope, &mut found),
            false => {
                let [left, right] = &sides;
                let lost: Vec<&String> = left.keys().filter(|member| !right.contains_key(*member)).collect();
                if !lost.is_empty() {
                    let some: Vec<&str> = lost.iter().take(NAMED).map(|name| name.as_str()).collect();
                    found.notes.push(format!(
                        "{} objects of extension {name} that only the left has, in a different version: {}{}",
                        lost.len(),
                        some.join(", "),
                        if lost.len() > NAMED { ", …" } else { "" }
                    ));
                }
            }
        }
    }
    found
}

/// Whether both sides have the extension, in different versions.
pub(super) fn other_version(left: &Catalog, right: &Catalog, name: &str) -> bool {
    both(left, right).any(|(one, other)| one.meta.name == name && one.version != other.version)
}

fn both<'a>(left: &'a Catalog, right: &'a Catalog) -> impl Iterator<Item = (&'a Extension, &'a Extension)> {
    left.extensions.iter().filter_map(|one| {
        let other = right.extensions.iter().find(|other| other.meta.name == one.meta.name)?;
        Some((one, other))
    })
}

fn members_differ(
    name: &str,
    [left, right]: [BTreeMap<String, BTreeSet<String>>; 2],
    scope: &Scope,
    found: &mut Outcome,
) {
    for member in left.keys().chain(right.keys().filter(|member| !left.contains_key(*member))) {
        let (one, other) = (left.get(member), right.get(member));
        let (mut only_left, mut only_right) = match (one, other) {
            (Some(_), None) => (vec![format!("ALTER EXTENSION {name} ADD {member}")], Vec::new()),
            (None, _) => (Vec::new(), vec![format!("ALTER EXTENSION {name} ADD {member}")]),
            (Some(one), Some(other)) => {
                let only = |some: &BTreeSet<String>, others: &BTreeSet<String>| {
                    some.difference(others).cloned().collect::<Vec<_>>()
                };
                (only(one, other), only(other, one))
            }
        };
        if scope.ours || scope.restored {
            only_right.clear();
        }
        if only_left.is_empty() && only_right.is_empty() {
            continue;
        }
        only_left.truncate(NAMED);
        only_right.truncate(NAMED);
        let object = format!("{member} of extension {name}");
        found.differences.push(SchemaDifference { object, left: only_left, right: only_right });
    }
}

/// The members of an extension, each with its parts: columns, indexes, constraints, triggers, rules, policies.
fn members(catalog: &Catalog, extension: &str) -> BTreeMap<String, BTreeSet<String>> {
    let own = |of: &Option<String>| of.as_deref() == Some(extension);
    let mut out: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut add = |kind: &str, name: String| {
        out.insert(super::deparse::settled(format!("{kind} {name}")), BTreeSet::new());
    };
    for schema in catalog.schemas.iter().filter(|schema| own(&schema.meta.extension)) {
        add("SCHEMA", schema.meta.qualified());
    }
    for kind in catalog.types.iter().filter(|kind| own(&kind.meta.extension)) {
        let word = if matches!(kind.definition, TypeDefinition::Domain(_)) { "DOMAIN" } else { "TYPE" };
        add(word, kind.meta.qualified());
    }
    for function in catalog.functions.iter().filter(|function| own(&function.meta.extension)) {
        let word = if function.procedure { "PROCEDURE" } else { "FUNCTION" };
        let types = function.types.as_ref().unwrap_or(&function.arguments);
        add(word, format!("{}({types})", function.meta.qualified()));
    }
    for aggregate in catalog.aggregates.iter().filter(|aggregate| own(&aggregate.meta.extension)) {
        add("AGGREGATE", format!("{}({})", aggregate.meta.qualified(), aggregate.types));
    }
    for sequence in catalog.sequences.iter().filter(|sequence| own(&sequence.meta.extension)) {
        add("SEQUENCE", sequence.meta.qualified());
    }
    // A table in a publication, for example, is not an object that could have been added.
    let plain = catalog
        .plain
        .iter()
        .filter(|plain| !matches!(plain.kind, PlainKind::PublicationTable | PlainKind::PublicationSchema));
    for plain in plain.filter(|plain| own(&plain.meta.extension)) {
        add(plain.kind.keyword(), plain.identity.clone());
    }
    for table in catalog.tables.iter().filter(|table| own(&table.meta.extension)) {
        let parts = parts(catalog, &table.name(), table);
        out.insert(super::deparse::settled(format!("{} {}", table.kind.keyword(), table.name())), parts);
    }
    out
}

fn parts(catalog: &Catalog, name: &QualifiedName, table: &crate::catalog::table::Table) -> BTreeSet<String> {
    let mut parts = BTreeSet::new();
    let mut add =
        |kind: &str, name: &str| parts.insert(super::deparse::settled(format!("{kind} {}", ident(name))));
    for column in &table.columns {
        add("column", &column.name);
    }
    for check in &table.checks {
        add("check constraint", &check.name);
    }
    for index in catalog.indexes.iter().filter(|index| index.table == *name) {
        add("index", &index.meta.name);
    }
    for key in catalog.foreign_keys.iter().filter(|key| key.table == *name) {
        add("foreign key", &key.name);
    }
    for trigger in catalog.triggers.iter().filter(|trigger| trigger.table == *name) {
        add("trigger", &trigger.name);
    }
    for rule in catalog.rules.iter().filter(|rule| rule.table == *name) {
        add("rule", &rule.name);
    }
    for policy in catalog.policies.iter().filter(|policy| policy.table == *name) {
        add("policy", &policy.name);
    }
    parts
}
