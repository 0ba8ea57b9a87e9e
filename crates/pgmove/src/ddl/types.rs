//! Types.

use super::script::{Builder, TableLock};
use crate::catalog::address::class;
use crate::catalog::column::Check;
use crate::catalog::types::{BaseType, Type, TypeDefinition};
use crate::catalog::{Address, Object};
use crate::quote::{ident, literal};

impl<'a> Builder<'a> {
    pub(super) fn shell(&mut self, kind: &'a Type) {
        self.push(format!("CREATE TYPE {}", kind.meta.qualified()));
    }

    pub(super) fn type_(&mut self, kind: &'a Type) {
        let name = kind.meta.qualified();
        let mut keyword = "TYPE";
        match &kind.definition {
            TypeDefinition::Enum { labels } => {
                let labels: Vec<String> = labels.iter().map(|label| literal(label)).collect();
                self.push(
                    format!("CREATE TYPE {name} AS ENUM (\n    {}\n)", labels.join(",\n    "))
                        .replace("(\n    \n)", "()"),
                );
            }
            TypeDefinition::Composite { columns, .. } => {
                let columns: Vec<String> = columns
                    .iter()
                    .map(|column| {
                        let collation =
                            column.collation.as_ref().map(|c| format!(" COLLATE {c}")).unwrap_or_default();
                        format!("{} {}{collation}", ident(&column.name), column.type_name)
                    })
                    .collect();
                self.push(
                    format!("CREATE TYPE {name} AS (\n    {}\n)", columns.join(",\n    "))
                        .replace("(\n    \n)", "()"),
                );
            }
            TypeDefinition::Domain(domain) => {
                keyword = "DOMAIN";
                let mut sql = format!("CREATE DOMAIN {name} AS {}", domain.base);
                if let Some(collation) = &domain.collation {
                    sql += &format!(" COLLATE {collation}");
                }
                if domain.not_null {
                    let usual = format!("{}_not_null", kind.meta.name);
                    if let Some(given) = domain
                        .not_null_name
                        .as_ref()
                        .filter(|given| **given != usual && self.target >= 170_000)
                    {
                        sql += &format!(" CONSTRAINT {}", ident(given));
                    }
                    sql += " NOT NULL";
                }
                if let Some(default) = &domain.default {
                    sql += &format!(" DEFAULT {default}");
                }
                for check in &domain.checks {
                    if !self.is_separate(Address::new(class::CONSTRAINT, check.oid)) {
                        sql += &format!("\n    CONSTRAINT {} {}", ident(&check.name), check.definition);
                    }
                }
                self.push(sql);
            }
            TypeDefinition::Range(range) => {
                let mut clauses = vec![format!("subtype = {}", range.subtype)];
                if let Some(multirange) = range.multirange.as_ref().filter(|_| self.target >= 140_000) {
                    clauses.push(format!("multirange_type_name = {multirange}"));
                }
                clauses.extend(range.opclass.as_ref().map(|name| format!("subtype_opclass = {name}")));
                clauses.extend(range.collation.as_ref().map(|name| format!("collation = {name}")));
                clauses.extend(range.canonical.as_ref().map(|name| format!("canonical = {name}")));
                clauses.extend(range.difference.as_ref().map(|name| format!("subtype_diff = {name}")));
                self.push(format!("CREATE TYPE {name} AS RANGE (\n    {}\n)", clauses.join(",\n    ")));
            }
            TypeDefinition::Base(base) => {
                let clauses = base_clauses(base, self.target);
                self.push(format!("CREATE TYPE {name} (\n    {}\n)", clauses.join(",\n    ")));
            }
            TypeDefinition::Shell => self.push(format!("CREATE TYPE {name}")),
        }
        self.owner(keyword, &name, &kind.meta);
        self.annotations(keyword, &name, kind.address(), 0);
        match &kind.definition {
            TypeDefinition::Domain(domain) => {
                if let (Some(constraint), Some(oid)) = (&domain.not_null_name, domain.not_null_oid)
                    && self.target >= 170_000
                {
                    let of = format!("{} ON DOMAIN {name}", ident(constraint));
                    self.annotations("CONSTRAINT", &of, Address::new(class::CONSTRAINT, oid), 0);
                }
                for check in domain.checks.iter().filter(|check| check.validated) {
                    if !self.is_separate(Address::new(class::CONSTRAINT, check.oid)) {
                        self.domain_check_comment(&name, check);
                    }
                }
            }
            TypeDefinition::Composite { relation, columns } => {
                for column in columns {
                    let column_name = format!("{name}.{}", ident(&column.name));
                    self.annotations(
                        "COLUMN",
                        &column_name,
                        Address::new(class::CLASS, *relation),
                        column.number,
                    );
                }
            }
            _ => {}
        }
    }

    fn domain_check_comment(&mut self, domain: &str, check: &Check) {
        let of = format!("{} ON DOMAIN {domain}", ident(&check.name));
        self.annotations("CONSTRAINT", &of, Address::new(class::CONSTRAINT, check.oid), 0);
    }

    pub(super) fn domain_check(&mut self, kind: &'a Type, check: &'a Check) {
        let name = kind.meta.qualified();
        // Every table with such a column is read and locked.
        let users = self.catalog.tables.iter().filter(|t| t.columns.iter().any(|c| c.type_name == name));
        let tables = users.map(|table| table.meta.oid).chain([kind.meta.oid]);
        self.cost(0, tables.map(|table| TableLock { table, exclusive: true }).collect());
        self.push(format!("ALTER DOMAIN {name} ADD CONSTRAINT {} {}", ident(&check.name), check.definition));
        self.domain_check_comment(&name, check);
    }
}

fn base_clauses(base: &BaseType, target: u32) -> Vec<String> {
    let mut out: Vec<String> = base
        .functions
        .iter()
        .filter(|(clause, _)| clause != "SUBSCRIPT" || target >= 140_000)
        .map(|(clause, function)| format!("{clause} = {function}"))
        .collect();
    let length = if base.length == -1 { "variable".to_owned() } else { base.length.to_string() };
    out.push(format!("INTERNALLENGTH = {length}"));
    out.extend(base.default.as_ref().map(|default| format!("DEFAULT = {}", literal(default))));
    out.extend(base.element.as_ref().map(|element| format!("ELEMENT = {element}")));
    if base.category != "U" {
        out.push(format!("CATEGORY = {}", literal(&base.category)));
    }
    if base.preferred {
        out.push("PREFERRED = true".to_owned());
    }
    if base.delimiter != "," {
        out.push(format!("DELIMITER = {}", literal(&base.delimiter)));
    }
    out.push(format!(
        "ALIGNMENT = {}",
        match base.alignment.as_str() {
            "c" => "char",
            "s" => "int2",
            "d" => "double",
            _ => "int4",
        }
    ));
    out.push(format!(
        "STORAGE = {}",
        match base.storage.as_str() {
            "e" => "external",
            "x" => "extended",
            "m" => "main",
            _ => "plain",
        }
    ));
    if base.collatable {
        out.push("COLLATABLE = true".to_owned());
    }
    if base.by_value {
        out.push("PASSEDBYVALUE".to_owned());
    }
    out
}
