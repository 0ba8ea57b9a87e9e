//! Post-data objects: indexes and constraints, foreign keys, triggers, rules, policies, statistics.

use std::collections::BTreeSet;

use super::script::{Builder, Step, TableLock};
use super::table::settings;
use crate::catalog::address::class;
use crate::catalog::constraint::{ForeignKey, IndexConstraint, IndexConstraintKind};
use crate::catalog::index::Index;
use crate::catalog::rule::{Firing, Policy, Rule, Statistics, Trigger};
use crate::catalog::{Address, Object};
use crate::quote::ident;

impl<'a> Builder<'a> {
    pub(super) fn index(&mut self, index: &'a Index) {
        let (name, table) = (index.name().to_string(), index.table.to_string());
        let lock = TableLock { table: index.table_oid, exclusive: index.constraint.is_some() };
        self.cost(self.pages(index.table_oid), vec![lock]);
        match &index.constraint {
            Some(constraint) => {
                let body = self.constraint_body(index, constraint);
                self.push(format!(
                    "ALTER TABLE {}{table} ADD CONSTRAINT {} {body}",
                    self.only(index.table_oid),
                    ident(&constraint.name)
                ));
                self.stage_unique(index, constraint);
            }
            None => {
                let tablespace = self.tablespace(index.tablespace.as_deref());
                // The deparser omits the tablespace, whose clause precedes that of a partial index: set it afterwards.
                self.push(index.definition.clone());
                if !tablespace.is_empty() {
                    self.push(format!("ALTER INDEX {name} SET {}", tablespace.trim_start()));
                }
            }
        }
        self.cost(0, vec![TableLock { table: index.table_oid, exclusive: true }]);
        if index.clustered {
            self.push(format!("ALTER TABLE {table} CLUSTER ON {}", ident(&index.meta.name)));
        }
        for (column, target) in &index.statistics {
            self.push(format!("ALTER INDEX {name} ALTER COLUMN {column} SET STATISTICS {target}"));
        }
        if index.replica_identity {
            self.push(format!(
                "ALTER TABLE {}{table} REPLICA IDENTITY USING INDEX {}",
                self.only(index.table_oid),
                ident(&index.meta.name)
            ));
        }
        if let Some(constraint) = &index.constraint {
            let of = format!("{} ON {table}", ident(&constraint.name));
            self.annotations("CONSTRAINT", &of, Address::new(class::CONSTRAINT, constraint.oid), 0);
        }
        self.annotations("INDEX", &name, index.address(), 0);
    }

    /// A unique index can be built in parallel with others of its table and become a constraint afterwards, except on
    /// partitioned tables and hypertables, and except `WITHOUT OVERLAPS`, which is not a B-tree.
    fn stage_unique(&mut self, index: &Index, constraint: &IndexConstraint) {
        let hypertable = self.hypertables().any(|table| table.oid == index.table_oid);
        let word = match constraint.kind {
            IndexConstraintKind::PrimaryKey => "PRIMARY KEY",
            IndexConstraintKind::Unique => "UNIQUE",
            IndexConstraintKind::Exclusion => return,
        };
        // Attaching an index under another name would rename it; here it is built with the constraint's name.
        let named = constraint.name == index.meta.name;
        if index.partitioned || index.parent.is_some() || hypertable || constraint.period || !named {
            return;
        }
        let (table, name) = (index.table.to_string(), ident(&constraint.name).into_owned());
        let mut first = index.definition.clone();
        let tablespace = self.tablespace(index.tablespace.as_deref());
        if !tablespace.is_empty() {
            // A constraint's index has no condition, so the tablespace is the last clause.
            first += &tablespace;
        }
        let mut then = format!(
            "ALTER TABLE {}{table} ADD CONSTRAINT {name} {word} USING INDEX {name}",
            self.only(index.table_oid)
        );
        if constraint.deferrable {
            then += " DEFERRABLE";
        }
        if constraint.deferred {
            then += " INITIALLY DEFERRED";
        }
        let lock = |exclusive| vec![TableLock { table: index.table_oid, exclusive }];
        self.stage(
            Step { sql: first, weight: self.pages(index.table_oid), locks: lock(false) },
            Step { sql: then, weight: 0, locks: lock(true) },
        );
    }

    fn constraint_body(&self, index: &Index, constraint: &IndexConstraint) -> String {
        if let Some(definition) = &constraint.definition {
            return definition.clone();
        }
        let mut sql = match constraint.kind {
            IndexConstraintKind::PrimaryKey => "PRIMARY KEY",
            IndexConstraintKind::Unique if index.nulls_not_distinct => "UNIQUE NULLS NOT DISTINCT",
            IndexConstraintKind::Unique | IndexConstraintKind::Exclusion => "UNIQUE",
        }
        .to_owned();
        let names: Vec<String> =
            index.columns.iter().flatten().map(|column| ident(column).into_owned()).collect();
        let count = usize::try_from(index.key_columns).unwrap_or(0).min(names.len());
        let (keys, included) = names.split_at(count);
        let period = if constraint.period { " WITHOUT OVERLAPS" } else { "" };
        sql += &format!(" ({}{period})", keys.join(", "));
        if !included.is_empty() {
            sql += &format!(" INCLUDE ({})", included.join(", "));
        }
        if !index.options.is_empty() {
            sql += &format!(" WITH ({})", settings("", &index.options));
        }
        if let Some(tablespace) = index.tablespace.as_ref().filter(|_| !self.options.no_tablespaces) {
            sql += &format!(" USING INDEX TABLESPACE {}", ident(tablespace));
        }
        if constraint.deferrable {
            sql += " DEFERRABLE";
        }
        if constraint.deferred {
            sql += " INITIALLY DEFERRED";
        }
        sql
    }

    pub(super) fn index_attach(&mut self, index: &'a Index) {
        if let Some(parent) = &index.parent {
            self.cost(
                0,
                vec![
                    TableLock { table: index.table_oid, exclusive: true },
                    TableLock { table: parent.oid, exclusive: true },
                ],
            );
            self.push(format!("ALTER INDEX {} ATTACH PARTITION {}", parent.name, index.name()));
        }
    }

    pub(super) fn foreign_key(&mut self, key: &'a ForeignKey) {
        let lock = |table| TableLock { table, exclusive: true };
        self.cost(self.pages(key.table_oid), vec![lock(key.table_oid), lock(key.references_oid)]);
        // On a partitioned table a foreign key always includes the partitions.
        let only = if key.partitioned { "" } else { self.only(key.table_oid) };
        let table = key.table.to_string();
        self.push(format!(
            "ALTER TABLE {only}{table} ADD CONSTRAINT {} {}",
            ident(&key.name),
            key.definition
        ));
        self.stage_foreign_key(key, &table, only);
        let of = format!("{} ON {table}", ident(&key.name));
        self.annotations("CONSTRAINT", &of, Address::new(class::CONSTRAINT, key.oid), 0);
    }

    /// A foreign key can be added as NOT VALID and validated in parallel with other work on the table. Partitioned
    /// tables do not support NOT VALID.
    fn stage_foreign_key(&mut self, key: &ForeignKey, table: &str, only: &str) {
        if key.partitioned || !key.validated {
            return;
        }
        let name = ident(&key.name);
        let add = format!("ALTER TABLE {only}{table} ADD CONSTRAINT {name} {} NOT VALID", key.definition);
        let validate = format!("ALTER TABLE {only}{table} VALIDATE CONSTRAINT {name}");
        let lock = |table, exclusive| TableLock { table, exclusive };
        let own = lock(key.table_oid, true);
        let then = vec![own, lock(key.references_oid, key.references_oid == key.table_oid)];
        self.stage(
            Step { sql: add, weight: 0, locks: vec![own, lock(key.references_oid, true)] },
            Step { sql: validate, weight: self.pages(key.table_oid), locks: then },
        );
    }

    pub(super) fn trigger(&mut self, trigger: &'a Trigger) {
        let (name, table) = (ident(&trigger.name).into_owned(), trigger.table.to_string());
        self.cost(0, vec![TableLock { table: trigger.table_oid, exclusive: true }]);
        if !trigger.inherited {
            self.push(trigger.definition.clone());
        }
        if trigger.inherited || trigger.firing != Firing::Origin {
            let keyword = if trigger.table_kind == crate::catalog::table::TableKind::Foreign {
                "FOREIGN TABLE"
            } else {
                "TABLE"
            };
            self.push(format!("ALTER {keyword} {table} {} TRIGGER {name}", trigger.firing.keyword()));
        }
        self.annotations(
            "TRIGGER",
            &format!("{name} ON {table}"),
            Address::new(class::TRIGGER, trigger.oid),
            0,
        );
    }

    pub(super) fn rule(&mut self, rule: &'a Rule) {
        let (name, table) = (ident(&rule.name).into_owned(), rule.table.to_string());
        self.cost(0, vec![TableLock { table: rule.table_oid, exclusive: true }]);
        self.push(rule.definition.trim_end().trim_end_matches(';'));
        if rule.firing != Firing::Origin {
            self.push(format!("ALTER TABLE {table} {} RULE {name}", rule.firing.keyword()));
        }
        self.annotations("RULE", &format!("{name} ON {table}"), Address::new(class::RULE, rule.oid), 0);
    }

    pub(super) fn policy(&mut self, policy: &'a Policy) {
        let (name, table) = (ident(&policy.name).into_owned(), policy.table.to_string());
        self.cost(0, vec![TableLock { table: policy.table_oid, exclusive: true }]);
        let mut sql = format!("CREATE POLICY {name} ON {table}");
        if !policy.permissive {
            sql += " AS RESTRICTIVE";
        }
        sql += &format!(" FOR {}", policy.command);
        if !policy.roles.is_empty() {
            // Two roles may be the same at the target; the server returns them ordered by name.
            let roles: BTreeSet<&str> = policy.roles.iter().map(|role| self.options.role(role)).collect();
            let roles: Vec<String> = roles.into_iter().map(|role| ident(role).into_owned()).collect();
            sql += &format!(" TO {}", roles.join(", "));
        }
        if let Some(using) = &policy.using {
            sql += &format!(" USING ({using})");
        }
        if let Some(check) = &policy.check {
            sql += &format!(" WITH CHECK ({check})");
        }
        self.push(sql);
        self.annotations("POLICY", &format!("{name} ON {table}"), Address::new(class::POLICY, policy.oid), 0);
    }

    pub(super) fn statistics(&mut self, statistics: &'a Statistics) {
        let name = statistics.meta.qualified();
        let needs = self.catalog.dependencies.iter().filter(|edge| edge.from() == statistics.address());
        let tables = needs.map(|edge| edge.to()).filter(|to| to.class == class::CLASS);
        self.cost(0, tables.map(|table| TableLock { table: table.oid, exclusive: true }).collect());
        self.push(statistics.definition.clone());
        self.owner("STATISTICS", &name, &statistics.meta);
        if let Some(target) = statistics.target.filter(|target| *target >= 0 && self.target >= 130_000) {
            self.push(format!("ALTER STATISTICS {name} SET STATISTICS {target}"));
        }
        self.annotations("STATISTICS", &name, statistics.address(), 0);
    }
}
