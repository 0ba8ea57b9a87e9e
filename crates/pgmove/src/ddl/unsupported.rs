//! Features of a catalog that a target's version does not support: those that older servers lack, and a few that newer
//! ones removed.
//!
//! Found from the catalog alone, before anything is written. Features that an older server lacks but whose absence does
//! not change the meaning (the name of a NOT NULL constraint, a compression method, a statistics target) are omitted
//! from the statements and not listed. Deparsed expressions and queries are not analyzed; an older server rejects what
//! it does not support in them.

use std::collections::{HashMap, HashSet};

use crate::catalog::address::{DependencyKind, class};
use crate::catalog::column::{Compression, Generated};
use crate::catalog::constraint::IndexConstraintKind;
use crate::catalog::plain::PlainKind;
use crate::catalog::table::{Table, TableKind};
use crate::catalog::types::TypeDefinition;
use crate::catalog::{Address, Catalog, Object as _, Unsupported};
use crate::quote::ident;

/// Storage parameters, and the version that introduced each.
const OPTIONS: &[(&str, u32)] = &[
    ("autovacuum_vacuum_insert_threshold", 130_000),
    ("autovacuum_vacuum_insert_scale_factor", 130_000),
    ("deduplicate_items", 130_000),
    ("security_invoker", 150_000),
    ("autovacuum_vacuum_max_threshold", 180_000),
    ("vacuum_max_eager_freeze_failure_rate", 180_000),
];

/// Functions with `anycompatiblearray` since 14: objects created over their `anyarray` form no longer find them.
const COMPATIBLE: &[&str] = &[
    "array_append",
    "array_cat",
    "array_position",
    "array_positions",
    "array_prepend",
    "array_remove",
    "array_replace",
    "width_bucket",
];

/// What a server of version `target_version_num` does not support, object by object.
pub fn unsupported(catalog: &Catalog, target_version_num: u32) -> Vec<Unsupported> {
    let mut list = List { target: target_version_num, found: Vec::new() };
    let by_oid: HashMap<u32, &Table> = catalog.tables.iter().map(|table| (table.meta.oid, table)).collect();
    for table in catalog.tables.iter().filter(|table| table.meta.extension.is_none()) {
        list.options("table", &table.meta.qualified(), table.options.iter().chain(&table.toast_options));
        list.columns(table, &by_oid);
        list.checks(table);
    }
    list.indexes(catalog);
    list.foreign_keys(catalog);
    list.types(catalog);
    list.routines(catalog);
    list.triggers(catalog, &by_oid);
    for statistics in &catalog.statistics {
        let columns = statistics.definition.split_once(" ON ").map_or("", |(_, columns)| columns);
        if outside_quotes(columns).contains('(') {
            list.needs(140_000, "statistics", statistics.meta.qualified(), "statistics on expressions");
        }
    }
    list.plain(catalog, &by_oid);
    list.found
}

/// Objects that a server built without ICU cannot create.
pub fn needs_icu(catalog: &Catalog) -> Vec<Unsupported> {
    let own = catalog
        .plain
        .iter()
        .filter(|plain| plain.kind == PlainKind::Collation && plain.meta.extension.is_none());
    own.filter(|plain| plain.clauses.iter().any(|clause| clause.text == "provider = icu"))
        .map(|plain| Unsupported {
            kind: "collation".to_owned(),
            name: plain.identity.clone(),
            why: "it requires ICU, and this server was built without ICU".to_owned(),
        })
        .collect()
}

/// Columns with LZ4 compression, which requires a server built with LZ4.
pub fn lz4_columns(catalog: &Catalog) -> Vec<String> {
    let of = |table: &Table| {
        let lz4 = table.columns.iter().filter(|column| column.compression == Some(Compression::Lz4));
        lz4.map(|column| format!("{}.{}", table.meta.qualified(), ident(&column.name))).collect::<Vec<_>>()
    };
    catalog.tables.iter().filter(|table| table.meta.extension.is_none()).flat_map(of).collect()
}

/// The findings for one target.
struct List {
    target: u32,
    found: Vec<Unsupported>,
}

impl List {
    fn needs(&mut self, since: u32, kind: &str, name: String, what: &str) {
        if self.target < since {
            let why = format!("{what} need PostgreSQL {} or newer", since / 10_000);
            self.found.push(Unsupported { kind: kind.to_owned(), name, why });
        }
    }

    fn dropped(&mut self, since: u32, kind: &str, name: String, what: &str) {
        if self.target >= since {
            let why = format!("{what} are not supported by PostgreSQL {} and newer", since / 10_000);
            self.found.push(Unsupported { kind: kind.to_owned(), name, why });
        }
    }

    fn options<'a>(&mut self, kind: &str, name: &str, options: impl Iterator<Item = &'a String>) {
        for option in options {
            let option = option.split_once('=').map_or(option.as_str(), |(name, _)| name);
            if let Some((_, since)) = OPTIONS.iter().find(|(known, _)| *known == option) {
                self.needs(*since, kind, name.to_owned(), &format!("storage parameters like `{option}`"));
            }
        }
    }

    fn columns(&mut self, table: &Table, by_oid: &HashMap<u32, &Table>) {
        for column in &table.columns {
            let name = || format!("{}.{}", table.meta.qualified(), ident(&column.name));
            if column.generated == Some(Generated::Virtual) {
                self.needs(180_000, "column", name(), "virtual generated columns");
            }
            if negative_scale(&column.type_name) {
                self.needs(
                    150_000,
                    "column",
                    name(),
                    "numerics whose scale is negative or beyond their precision",
                );
            }
            if let Some(constraint) = &column.not_null_constraint {
                if !constraint.validated {
                    self.needs(180_000, "column", name(), "NOT NULL constraints that are not valid");
                }
                let children =
                    || by_oid.values().any(|child| child.parents.iter().any(|p| p.oid == table.meta.oid));
                if constraint.no_inherit && self.target < 180_000 && children() {
                    self.needs(180_000, "column", name(), "NOT NULL constraints that are not inherited");
                }
            }
            if table.is_partition() || column.generated.is_none() {
                continue;
            }
            let parents = table.parents.iter().filter_map(|parent| by_oid.get(&parent.oid));
            for theirs in parents.flat_map(|parent| parent.columns.iter().filter(|c| c.name == column.name)) {
                let expression = |column: &crate::catalog::column::Column| {
                    column.default.as_ref().map(|default| default.expression.clone())
                };
                if theirs.generated.is_none() {
                    let what = "generated columns of a table whose parent's column is not generated";
                    self.dropped(160_000, "column", name(), what);
                } else if expression(theirs) != expression(column) {
                    let what = "generated columns whose expression is not the parent's";
                    self.needs(160_000, "column", name(), what);
                }
            }
        }
    }

    fn checks(&mut self, table: &Table) {
        for check in table.checks.iter().filter(|check| check.definition.ends_with(" NOT ENFORCED")) {
            let name = format!("{} on {}", ident(&check.name), table.meta.qualified());
            self.needs(180_000, "check constraint", name, "constraints that are not enforced");
        }
    }

    fn indexes(&mut self, catalog: &Catalog) {
        for index in catalog.indexes.iter().filter(|index| index.meta.extension.is_none()) {
            let name = index.name().to_string();
            self.options("index", &name, index.options.iter());
            if index.nulls_not_distinct {
                self.needs(150_000, "index", name.clone(), "NULLS NOT DISTINCT constraints");
            }
            let Some(constraint) = &index.constraint else { continue };
            if constraint.period {
                self.needs(180_000, "constraint", name.clone(), "WITHOUT OVERLAPS constraints");
            }
            if constraint.kind == IndexConstraintKind::Exclusion && index.partitioned {
                self.needs(170_000, "constraint", name, "exclusion constraints of partitioned tables");
            }
        }
    }

    fn foreign_keys(&mut self, catalog: &Catalog) {
        for key in &catalog.foreign_keys {
            let name = || format!("{} on {}", ident(&key.name), key.table);
            let definition = outside_quotes(&key.definition);
            if definition.contains("PERIOD ") {
                self.needs(180_000, "foreign key", name(), "foreign keys over periods");
            }
            if definition.ends_with(" NOT ENFORCED") {
                self.needs(180_000, "foreign key", name(), "constraints that are not enforced");
            } else if key.partitioned && !key.validated {
                let what = "foreign keys of partitioned tables that are not valid";
                self.needs(180_000, "foreign key", name(), what);
            }
            if definition.contains(" SET NULL (") || definition.contains(" SET DEFAULT (") {
                self.needs(150_000, "foreign key", name(), "actions on some columns of a foreign key");
            }
        }
    }

    fn types(&mut self, catalog: &Catalog) {
        for kind in catalog.types.iter().filter(|kind| kind.meta.extension.is_none()) {
            match &kind.definition {
                TypeDefinition::Range(range)
                    if range.multirange.is_some()
                        && self.target < 140_000
                        && uses_multirange(catalog, kind.address().oid) =>
                {
                    self.needs(140_000, "type", kind.meta.qualified(), "multirange types");
                }
                TypeDefinition::Base(base)
                    if base.functions.iter().any(|(clause, _)| clause == "SUBSCRIPT") =>
                {
                    self.needs(140_000, "type", kind.meta.qualified(), "types with a subscript function");
                }
                _ => {}
            }
        }
    }

    fn routines(&mut self, catalog: &Catalog) {
        for function in catalog.functions.iter().filter(|function| function.meta.extension.is_none()) {
            let name = || format!("{}({})", function.meta.qualified(), function.arguments);
            if function.sql_body {
                self.needs(140_000, "function", name(), "SQL bodies (RETURN, BEGIN ATOMIC)");
                if function.definition.contains("MERGE INTO ") {
                    self.needs(150_000, "function", name(), "MERGE commands");
                }
            }
            if function.procedure && format!(", {}", function.arguments).contains(", OUT ") {
                self.needs(140_000, "procedure", name(), "OUT arguments of procedures");
            }
        }
        for aggregate in catalog.aggregates.iter().filter(|aggregate| aggregate.meta.extension.is_none()) {
            let over_arrays = aggregate.types.contains("anyarray") || aggregate.types.contains("anyelement");
            let calls = |(clause, value): &(String, String)| {
                matches!(clause.as_str(), "SFUNC" | "FINALFUNC") && COMPATIBLE.contains(&value.as_str())
            };
            if over_arrays && catalog.server_version_num < 140_000 && aggregate.clauses.iter().any(calls) {
                let name = format!("{}({})", aggregate.meta.qualified(), aggregate.arguments);
                self.dropped(140_000, "aggregate", name, "array functions over `anyarray` and `anyelement`");
            }
        }
    }

    fn triggers(&mut self, catalog: &Catalog, by_oid: &HashMap<u32, &Table>) {
        if self.target >= 130_000 {
            return;
        }
        for trigger in &catalog.triggers {
            let partitioned =
                by_oid.get(&trigger.table_oid).is_some_and(|table| table.kind == TableKind::Partitioned);
            let definition = outside_quotes(&trigger.definition);
            if partitioned && definition.contains(" BEFORE ") && definition.contains(" FOR EACH ROW ") {
                let name = format!("{} on {}", ident(&trigger.name), trigger.table);
                self.needs(130_000, "trigger", name, "BEFORE triggers on rows of partitioned tables");
            }
        }
    }

    fn plain(&mut self, catalog: &Catalog, by_oid: &HashMap<u32, &Table>) {
        let published: HashSet<Address> = if self.target < 130_000 {
            let edges = catalog.dependencies.iter().filter(|edge| {
                edge.class == class::PUBLICATION_TABLE
                    && edge.ref_class == class::CLASS
                    && by_oid.get(&edge.ref_oid).is_some_and(|table| table.kind == TableKind::Partitioned)
            });
            edges.map(|edge| edge.from()).collect()
        } else {
            HashSet::new()
        };
        for plain in catalog.plain.iter().filter(|plain| plain.meta.extension.is_none()) {
            let kind = plain.kind.keyword().to_lowercase();
            for clause in plain.clauses.iter().filter(|clause| clause.needed) {
                let what = format!("clauses like `{}`", clause.text);
                self.needs(clause.since, &kind, plain.identity.clone(), &what);
            }
            let statement = outside_quotes(plain.statements.first().map_or("", String::as_str));
            match plain.kind {
                PlainKind::PublicationSchema => {
                    self.needs(150_000, "publication", plain.identity.clone(), "schemas in publications");
                }
                PlainKind::PublicationTable => {
                    if statement.ends_with(')') {
                        let what = "column lists and conditions of publications";
                        self.needs(150_000, "publication", plain.identity.clone(), what);
                    }
                    if published.contains(&plain.address()) {
                        let what = "partitioned tables in publications";
                        self.needs(130_000, "publication", plain.identity.clone(), what);
                    }
                }
                PlainKind::Operator if !statement.contains("RIGHTARG = ") => {
                    self.dropped(140_000, &kind, plain.identity.clone(), "postfix operators");
                }
                PlainKind::EventTrigger if statement.contains(" ON login ") => {
                    self.needs(170_000, &kind, plain.identity.clone(), "event triggers at login");
                }
                _ => {}
            }
        }
    }
}

/// `numeric(precision, scale)` with a scale that older servers reject.
fn negative_scale(type_name: &str) -> bool {
    let Some(modifiers) = type_name.strip_prefix("numeric(").and_then(|rest| rest.split_once(')')) else {
        return false;
    };
    let Some((precision, scale)) = modifiers.0.split_once(',') else { return false };
    match (precision.trim().parse::<i32>(), scale.trim().parse::<i32>()) {
        (Ok(precision), Ok(scale)) => scale < 0 || scale > precision,
        _ => false,
    }
}

/// The text without quoted strings and names.
fn outside_quotes(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut quote = None;
    for c in sql.chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (None, _) => out.push(c),
            (Some(open), _) if open == c => quote = None,
            (Some(_), _) => {}
        }
    }
    out
}

/// Whether anything refers to the multirange of a range type, besides its own constructor functions.
fn uses_multirange(catalog: &Catalog, range: u32) -> bool {
    let mut own: HashSet<u32> =
        catalog.aliases.iter().filter(|alias| alias.of_oid == range).map(|alias| alias.oid).collect();
    let multiranges = own.clone();
    own.insert(range);
    let internal = catalog.dependencies.iter().filter(|edge| edge.kind == DependencyKind::Internal);
    let restored: HashSet<Address> =
        internal.filter(|edge| own.contains(&edge.ref_oid)).map(|edge| edge.from()).collect();
    catalog.dependencies.iter().any(|edge| {
        multiranges.contains(&edge.ref_oid) && !own.contains(&edge.oid) && !restored.contains(&edge.from())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_are_read_from_the_type() {
        for (name, odd) in [
            ("numeric", false),
            ("numeric(10,2)", false),
            ("numeric(3,-2)", true),
            ("numeric(2,5)[]", true),
            ("app.numeric(", false),
        ] {
            assert_eq!(negative_scale(name), odd, "{name}");
        }
    }

    #[test]
    fn names_do_not_pass_for_clauses() {
        assert_eq!(outside_quotes("a \"PERIOD \"\" x\" 'SET NULL (' b"), "a   b");
    }
}
