//! Nodes for the objects of a catalog, with the dependencies that follow from what they are.

use std::collections::HashMap;

use super::{Entity, Graph};
use crate::catalog::address::class;
use crate::catalog::index::Index;
use crate::catalog::table::{Table, TableKind};
use crate::catalog::types::TypeDefinition;
use crate::catalog::{Address, Catalog, Object, QualifiedName};
use crate::ddl::parents;
use crate::ddl::script::Section;

impl<'a> Graph<'a> {
    pub(super) fn add_objects(&mut self, catalog: &'a Catalog) {
        for schema in &catalog.schemas {
            self.add_object(schema, Entity::Schema(schema));
        }
        for extension in &catalog.extensions {
            let id = self.add(Entity::Extension(extension), Some(extension.address()));
            let schema = catalog.schemas.iter().find(|schema| schema.meta.name == extension.target_schema);
            if let Some(schema) = schema.filter(|schema| schema.meta.extension.is_none()) {
                self.need_address(id, schema.address());
            }
        }
        for kind in &catalog.types {
            let id = self.add_object(kind, Entity::Type(kind));
            if let TypeDefinition::Domain(domain) = &kind.definition {
                for check in &domain.checks {
                    let part = self.add(
                        Entity::DomainCheck(kind, check),
                        Some(Address::new(class::CONSTRAINT, check.oid)),
                    );
                    self.part(id, part);
                }
            }
        }
        for function in &catalog.functions {
            self.add_object(function, Entity::Function(function));
        }
        for aggregate in &catalog.aggregates {
            self.add_object(aggregate, Entity::Aggregate(aggregate));
        }
        for plain in &catalog.plain {
            let entity = if plain.meta.extension.is_some() { Entity::Gone } else { Entity::Plain(plain) };
            self.add(entity, Some(plain.address()));
        }
        for statistics in &catalog.statistics {
            self.add_object(statistics, Entity::Statistics(statistics));
        }
        for object in &catalog.large_objects {
            self.add_object(object, Entity::LargeObject(object));
        }
    }

    pub(super) fn add_tables(&mut self, catalog: &'a Catalog) {
        let by_oid: HashMap<u32, &Table> =
            catalog.tables.iter().map(|table| (table.meta.oid, table)).collect();
        for table in &catalog.tables {
            let id = self.add_object(table, Entity::Table(table));
            if let Some(node) = self.nodes.get_mut(id) {
                node.level = level(table, &by_oid);
            }
            if table.meta.extension.is_some() {
                continue;
            }
            for column in &table.columns {
                if let Some(default) = &column.default {
                    if parents::inherits_same_generated(table, column, &by_oid) {
                        continue;
                    }
                    let part = self
                        .add(Entity::Default(table, column), Some(Address::new(class::DEFAULT, default.oid)));
                    if table.kind == TableKind::View || !table.prints(column) {
                        self.separate(id, part);
                    } else {
                        self.part(id, part);
                    }
                } else if parents::drops_inherited_default(table, column, &by_oid) {
                    let part = self.add(Entity::NoDefault(table, column), None);
                    self.separate(id, part);
                }
                if let Some(constraint) = &column.not_null_constraint
                    && parents::separate_not_null(table, column, &by_oid)
                {
                    let part = self.add(
                        Entity::NotNull(table, column),
                        Some(Address::new(class::CONSTRAINT, constraint.oid)),
                    );
                    self.separate(id, part);
                }
            }
            for check in &table.checks {
                let part =
                    self.add(Entity::Check(table, check), Some(Address::new(class::CONSTRAINT, check.oid)));
                if check.validated { self.part(id, part) } else { self.separate(id, part) }
            }
            if table.row_security || table.force_row_security {
                let part = self.add(Entity::RowSecurity(table), None);
                self.need(part, id);
            }
            if table.is_partition() {
                let part = self.add(Entity::Attach(table), None);
                self.need(part, id);
                for parent in &table.parents {
                    if let Some(&parent) = self.by_address.get(&Address::new(class::CLASS, parent.oid)) {
                        self.need(part, parent);
                    }
                }
            }
        }
        // Partitions may precede their parents in the catalog, so look the parents' nodes up in a second pass.
        for id in 0..self.nodes.len() {
            if let Some(Entity::Attach(table)) = self.nodes.get(id).map(|node| node.entity) {
                for parent in &table.parents {
                    self.need_address(id, Address::new(class::CLASS, parent.oid));
                }
            }
        }
        for sequence in &catalog.sequences {
            let id = self.add_object(sequence, Entity::Sequence(sequence));
            if sequence.meta.extension.is_some() {
                // The extension creates it; if it is a configuration table, its value is the user's.
                if sequence.value.is_some() && catalog.is_config_sequence(sequence) {
                    let value = self.add(Entity::SequenceValue(sequence), None);
                    self.need(value, id);
                }
                continue;
            }
            if let Some(owner) = &sequence.owned_by {
                let table = Address::new(class::CLASS, owner.table_oid);
                if owner.identity {
                    self.need_address(id, table);
                } else {
                    let part = self.add(Entity::SequenceOwner(sequence), None);
                    self.need(part, id);
                    self.need_address(part, table);
                }
            }
            if sequence.value.is_some() {
                let value = self.add(Entity::SequenceValue(sequence), None);
                self.need(value, id);
            }
        }
    }

    /// Hypertables depend on their partitioning functions; continuous aggregates come after the rows and, for integer
    /// time, need the function for the current time.
    pub(super) fn add_hypertables(&mut self, catalog: &'a Catalog) {
        let Some(timescale) = &catalog.timescale else { return };
        let function = |name: &QualifiedName| {
            let meta =
                catalog.functions.iter().find(|f| f.meta.schema == name.schema && f.meta.name == name.name);
            meta.map(Object::address)
        };
        let mut now = Vec::new();
        for table in &timescale.hypertables {
            let address = Address::new(class::CLASS, table.oid);
            for dimension in &table.dimensions {
                let divides = dimension.function.as_ref().and_then(function);
                if let (Some(id), Some(divides)) = (self.at(address), divides) {
                    self.need_address(id, divides);
                }
                if let Some(name) = &dimension.integer_now {
                    let id = self.add(Entity::IntegerNow(table), None);
                    self.need_address(id, address);
                    if let Some(function) = function(name) {
                        self.need_address(id, function);
                    }
                    now.push(id);
                }
            }
        }
        for aggregate in &timescale.aggregates {
            let Some(id) = self.at(Address::new(class::CLASS, aggregate.oid)) else { continue };
            if let Some(node) = self.nodes.get_mut(id) {
                node.section = Section::PostData;
            }
            for &now in &now {
                self.need(id, now);
            }
        }
    }

    pub(super) fn add_table_parts(&mut self, catalog: &'a Catalog) {
        let table = |oid: u32| Address::new(class::CLASS, oid);
        for index in &catalog.indexes {
            let gone = index.meta.extension.is_some() || self.is_gone(table(index.table_oid));
            let entity =
                if gone || !(index.valid || index.partitioned) { Entity::Gone } else { Entity::Index(index) };
            let id = self.add(entity, Some(index.address()));
            if let Some(constraint) = &index.constraint {
                self.by_address.insert(Address::new(class::CONSTRAINT, constraint.oid), id);
            }
            self.need_address(id, table(index.table_oid));
        }
        for index in &catalog.indexes {
            if let (Some(parent), Some(&child)) = (&index.parent, self.by_address.get(&index.address())) {
                if matches!(self.nodes.get(child).map(|node| node.entity), Some(Entity::Gone) | None) {
                    continue;
                }
                let attach = self.add(Entity::IndexAttach(index), None);
                self.need(attach, child);
                self.need_address(attach, table(parent.oid));
            }
        }
        let mut attaches: HashMap<u32, Vec<usize>> = HashMap::new();
        for (id, node) in self.nodes.iter().enumerate() {
            if let Entity::IndexAttach(Index { parent: Some(parent), .. }) = node.entity {
                attaches.entry(parent.oid).or_default().push(id);
            }
        }
        // Attaching at a lower level completes the index that the level above attaches.
        let lower: Vec<(usize, usize)> = attaches
            .values()
            .flatten()
            .filter_map(|&id| match self.nodes.get(id)?.entity {
                Entity::IndexAttach(index) => Some((id, attaches.get(&index.meta.oid)?)),
                _ => None,
            })
            .flat_map(|(id, below)| below.iter().map(move |&below| (id, below)))
            .collect();
        for (id, below) in lower {
            self.need(id, below);
        }
        for key in &catalog.foreign_keys {
            if self.is_gone(table(key.table_oid)) {
                continue;
            }
            let id = self.add(Entity::ForeignKey(key), Some(Address::new(class::CONSTRAINT, key.oid)));
            self.need_address(id, table(key.table_oid));
            self.need_address(id, table(key.references_oid));
            self.need_address(id, table(key.index_oid));
            for &attach in attaches.get(&key.index_oid).into_iter().flatten() {
                self.need(id, attach);
            }
        }
        for trigger in &catalog.triggers {
            let address = Address::new(class::TRIGGER, trigger.oid);
            self.add_on_table(Entity::Trigger(trigger), address, table(trigger.table_oid));
        }
        for rule in &catalog.rules {
            self.add_on_table(Entity::Rule(rule), Address::new(class::RULE, rule.oid), table(rule.table_oid));
        }
        for policy in &catalog.policies {
            self.add_on_table(
                Entity::Policy(policy),
                Address::new(class::POLICY, policy.oid),
                table(policy.table_oid),
            );
        }
    }

    fn add_on_table(&mut self, entity: Entity<'a>, address: Address, table: Address) {
        if !self.is_gone(table) {
            let id = self.add(entity, Some(address));
            self.need_address(id, table);
        }
    }
}

/// The number of partitioned tables above a table.
fn level(table: &Table, by_oid: &HashMap<u32, &Table>) -> usize {
    let mut level = 0;
    let mut at = table;
    // The depth is limited, in case a damaged catalog contains a cycle.
    while level < 64
        && at.is_partition()
        && let Some(parent) = at.parents.first().and_then(|parent| by_oid.get(&parent.oid))
    {
        level += 1;
        at = parent;
    }
    level
}
