//! The dependency graph of everything created by its own statement, or possibly so.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

use super::script::{ObjectRef, Section};
use crate::catalog::address::{DependencyKind, class};
use crate::catalog::column::{Check, Column};
use crate::catalog::constraint::ForeignKey;
use crate::catalog::function::{Aggregate, Function};
use crate::catalog::index::Index;
use crate::catalog::large_object::LargeObject;
use crate::catalog::plain::{Plain, PlainKind};
use crate::catalog::rule::{Policy, Rule, Statistics, Trigger};
use crate::catalog::schema::{Extension, Schema};
use crate::catalog::sequence::Sequence;
use crate::catalog::table::{Table, TableKind};
use crate::catalog::types::{Type, TypeDefinition};
use crate::catalog::{Address, Catalog, Object, QualifiedName};
use crate::timescaledb::model::Hypertable;

/// What a node creates.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Entity<'a> {
    Schema(&'a Schema),
    Extension(&'a Extension),
    /// The shell type that a type's own functions refer to.
    Shell(&'a Type),
    Type(&'a Type),
    DomainCheck(&'a Type, &'a Check),
    Function(&'a Function),
    Aggregate(&'a Aggregate),
    Plain(&'a Plain),
    Sequence(&'a Sequence),
    /// `OWNED BY`
    SequenceOwner(&'a Sequence),
    SequenceValue(&'a Sequence),
    Table(&'a Table),
    /// The query of a view that was first created empty.
    ViewBody(&'a Table),
    /// `ATTACH PARTITION`
    Attach(&'a Table),
    Default(&'a Table, &'a Column),
    /// A column without default whose parent's column has one.
    NoDefault(&'a Table, &'a Column),
    Check(&'a Table, &'a Check),
    /// A NOT NULL constraint that is not validated, or cannot be written inline.
    NotNull(&'a Table, &'a Column),
    Index(&'a Index),
    IndexAttach(&'a Index),
    ForeignKey(&'a ForeignKey),
    Trigger(&'a Trigger),
    Rule(&'a Rule),
    Policy(&'a Policy),
    RowSecurity(&'a Table),
    Statistics(&'a Statistics),
    LargeObject(&'a LargeObject),
    Refresh(&'a Table),
    /// The function for the current time of a hypertable with integer time.
    IntegerNow(&'a Hypertable),
    /// All privileges: one node, after everything else.
    Privileges,
    /// An object of an extension, which the extension creates.
    Gone,
}

impl Entity<'_> {
    /// Kind and name for messages.
    pub(crate) fn object(&self) -> ObjectRef {
        let (kind, name) = match self {
            Self::Schema(o) => ("schema", o.meta.qualified()),
            Self::Extension(o) => ("extension", o.meta.qualified()),
            Self::Shell(o) | Self::Type(o) => ("type", o.meta.qualified()),
            Self::DomainCheck(o, check) => {
                ("domain constraint", format!("{} on {}", check.name, o.meta.qualified()))
            }
            Self::Function(o) => (
                if o.procedure { "procedure" } else { "function" },
                format!("{}({})", o.meta.qualified(), o.arguments),
            ),
            Self::Aggregate(o) => ("aggregate", format!("{}({})", o.meta.qualified(), o.arguments)),
            Self::Plain(o) => {
                return ObjectRef { kind: o.kind.keyword().to_lowercase(), name: o.identity.clone() };
            }
            Self::Sequence(o) | Self::SequenceOwner(o) | Self::SequenceValue(o) => {
                ("sequence", o.meta.qualified())
            }
            Self::Table(o)
            | Self::ViewBody(o)
            | Self::Attach(o)
            | Self::RowSecurity(o)
            | Self::Refresh(o) => {
                return ObjectRef { kind: o.kind.keyword().to_lowercase(), name: o.meta.qualified() };
            }
            Self::Default(o, column) | Self::NoDefault(o, column) => {
                ("default", format!("{}.{}", o.meta.qualified(), crate::quote::ident(&column.name)))
            }
            Self::NotNull(o, column) => (
                "not-null constraint",
                format!("{}.{}", o.meta.qualified(), crate::quote::ident(&column.name)),
            ),
            Self::Check(o, check) => {
                ("check constraint", format!("{} on {}", check.name, o.meta.qualified()))
            }
            Self::Index(o) if o.constraint.is_some() => {
                ("constraint", format!("{} on {}", o.meta.name, o.table))
            }
            Self::Index(o) | Self::IndexAttach(o) => ("index", o.meta.qualified()),
            Self::ForeignKey(o) => ("foreign key", format!("{} on {}", o.name, o.table)),
            Self::Trigger(o) => ("trigger", format!("{} on {}", o.name, o.table)),
            Self::Rule(o) => ("rule", format!("{} on {}", o.name, o.table)),
            Self::Policy(o) => ("policy", format!("{} on {}", o.name, o.table)),
            Self::Statistics(o) => ("statistics", o.meta.qualified()),
            Self::LargeObject(o) => ("large object", o.meta.name.clone()),
            Self::IntegerNow(o) => ("hypertable", o.name.to_string()),
            Self::Privileges | Self::Gone => ("privileges", String::new()),
        };
        ObjectRef { kind: kind.to_owned(), name }
    }

    /// The section, unless a dependency requires a later one.
    fn section(&self) -> Section {
        match self {
            Self::Check(_, check) if !check.validated => Section::PostData,
            Self::DomainCheck(_, check) if !check.validated => Section::PostData,
            Self::SequenceValue(_) => Section::Data,
            Self::NotNull(_, column) if column.not_null_constraint.as_ref().is_none_or(|c| c.validated) => {
                Section::PreData
            }
            Self::NotNull(..)
            | Self::Index(_)
            | Self::IndexAttach(_)
            | Self::ForeignKey(_)
            | Self::Trigger(_)
            | Self::Rule(_)
            | Self::Policy(_)
            | Self::RowSecurity(_)
            | Self::Statistics(_)
            | Self::IntegerNow(_)
            | Self::ViewBody(_) => Section::PostData,
            Self::Plain(plain) => match plain.kind {
                PlainKind::EventTrigger => Section::Finish,
                PlainKind::Publication
                | PlainKind::PublicationTable
                | PlainKind::PublicationSchema
                | PlainKind::Subscription => Section::PostData,
                _ => Section::PreData,
            },
            Self::Refresh(_) => Section::Finish,
            Self::Privileges => Section::Privileges,
            _ => Section::PreData,
        }
    }

    /// The position among nodes that no dependency orders: the order in which people write schemas.
    fn rank(&self) -> u8 {
        match self {
            Self::Gone => 0,
            Self::Schema(_) => 1,
            Self::Extension(_) => 2,
            Self::Shell(_) => 3,
            Self::Type(_) | Self::DomainCheck(..) => 4,
            Self::Function(_) => 5,
            Self::Aggregate(_) => 6,
            Self::Plain(plain) => match plain.kind {
                PlainKind::Language => 2,
                PlainKind::Collation => 3,
                PlainKind::Publication => 70,
                PlainKind::PublicationTable | PlainKind::PublicationSchema => 71,
                PlainKind::Subscription => 72,
                PlainKind::EventTrigger => 91,
                _ => 7,
            },
            Self::Sequence(_) => 20,
            Self::LargeObject(_) => 25,
            Self::Table(_)
            | Self::Default(..)
            | Self::Check(..)
            | Self::NotNull(..)
            | Self::NoDefault(..) => 21,
            Self::SequenceOwner(_) => 22,
            Self::Attach(_) => 23,
            Self::SequenceValue(_) => 30,
            Self::IntegerNow(_) => 39,
            Self::Index(_) => 40,
            Self::IndexAttach(_) => 41,
            Self::Statistics(_) => 42,
            Self::ViewBody(_) => 43,
            Self::Rule(_) => 44,
            Self::Trigger(_) => 45,
            Self::ForeignKey(_) => 50,
            Self::RowSecurity(_) => 60,
            Self::Policy(_) => 61,
            Self::Privileges => 80,
            Self::Refresh(_) => 90,
        }
    }

    /// The name, for a stable order.
    fn sort_name(&self) -> (String, String) {
        let object = self.object();
        (object.name, object.kind)
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

/// A node of the graph.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) entity: Entity<'a>,
    pub(crate) section: Section,
    /// For a part of another object: whether it is created separately, after it. For a view: whether it is first
    /// created empty.
    pub(crate) separate: bool,
    /// The nodes that it depends on.
    pub(crate) needs: BTreeSet<usize>,
    /// A warning.
    pub(crate) warning: Option<String>,
    /// The number of partitioned tables above it. A partition does not depend on them, but is created after them, so
    /// that the names of inherited constraints are still free when they are created.
    pub(crate) level: usize,
}

/// Nodes and edges.
#[derive(Debug, Default)]
pub(crate) struct Graph<'a> {
    nodes: Vec<Node<'a>>,
    by_address: HashMap<Address, usize>,
}

impl<'a> Graph<'a> {
    /// All objects of the catalog, with the dependencies of `pg_depend` and those that it does not record.
    pub(crate) fn build(catalog: &'a Catalog) -> Self {
        let mut graph = Self::default();
        graph.add_objects(catalog);
        graph.add_tables(catalog);
        graph.add_table_parts(catalog);
        for alias in &catalog.aliases {
            let of = graph.resolve(catalog, Address::new(alias.of_class, alias.of_oid));
            if let Some(of) = of {
                graph.by_address.entry(Address::new(alias.class, alias.oid)).or_insert(of);
            }
        }
        graph.add_members_of_extensions(catalog);
        graph.add_hypertables(catalog);
        graph.add_edges(catalog);
        graph.order_inherited_defaults(catalog);
        graph.postpone_reading_checks(catalog);
        graph.order_inherited_checks(catalog);
        graph.add_refreshes(catalog);
        graph.add(Entity::Privileges, None);
        graph
    }

    fn add(&mut self, entity: Entity<'a>, address: Option<Address>) -> usize {
        let id = self.nodes.len();
        let section = entity.section();
        self.nodes.push(Node {
            entity,
            section,
            separate: section != Section::PreData,
            needs: BTreeSet::new(),
            warning: None,
            level: 0,
        });
        if let Some(address) = address {
            self.by_address.insert(address, id);
        }
        id
    }

    /// As [`Graph::add`], for objects; those of an extension are created with the extension.
    fn add_object<T: Object>(&mut self, object: &'a T, entity: Entity<'a>) -> usize {
        let entity = if object.meta().extension.is_some() { Entity::Gone } else { entity };
        self.add(entity, Some(object.address()))
    }

    fn add_objects(&mut self, catalog: &'a Catalog) {
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

    fn add_tables(&mut self, catalog: &'a Catalog) {
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
                    if super::parents::inherits_same_generated(table, column, &by_oid) {
                        continue;
                    }
                    let part = self
                        .add(Entity::Default(table, column), Some(Address::new(class::DEFAULT, default.oid)));
                    if table.kind == TableKind::View || !table.prints(column) {
                        self.separate(id, part);
                    } else {
                        self.part(id, part);
                    }
                } else if super::parents::drops_inherited_default(table, column, &by_oid) {
                    let part = self.add(Entity::NoDefault(table, column), None);
                    self.separate(id, part);
                }
                if let Some(constraint) = &column.not_null_constraint
                    && super::parents::separate_not_null(table, column, &by_oid)
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
    fn add_hypertables(&mut self, catalog: &'a Catalog) {
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

    fn add_table_parts(&mut self, catalog: &'a Catalog) {
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

    /// Whether the table belongs to an extension or is not in the catalog.
    fn is_gone(&self, table: Address) -> bool {
        match self.by_address.get(&table).and_then(|&id| self.nodes.get(id)) {
            Some(node) => matches!(node.entity, Entity::Gone),
            None => true,
        }
    }

    fn resolve(&self, catalog: &Catalog, address: Address) -> Option<usize> {
        if let Some(&id) = self.by_address.get(&address) {
            return Some(id);
        }
        // A part of a part, such as the array of a row type. There are no more than two levels.
        let next = catalog.aliases.iter().find(|alias| Address::new(alias.class, alias.oid) == address)?;
        self.by_address.get(&Address::new(next.of_class, next.of_oid)).copied()
    }

    /// Objects of an extension are created with the extension.
    fn add_members_of_extensions(&mut self, catalog: &'a Catalog) {
        let extensions: HashMap<&str, usize> = catalog
            .extensions
            .iter()
            .filter_map(|extension| {
                Some((extension.meta.name.as_str(), *self.by_address.get(&extension.address())?))
            })
            .collect();
        let members = catalog.addressed_metas().filter_map(|(address, meta)| {
            let extension = extensions.get(meta.extension.as_deref()?)?;
            Some((*self.by_address.get(&address)?, *extension))
        });
        for (member, extension) in members.collect::<Vec<_>>() {
            self.need(member, extension);
        }
    }

    fn add_edges(&mut self, catalog: &'a Catalog) {
        for edge in &catalog.dependencies {
            let (Some(&from), Some(&to)) =
                (self.by_address.get(&edge.from()), self.by_address.get(&edge.to()))
            else {
                continue;
            };
            let (Some(a), Some(b)) = (self.nodes.get(from), self.nodes.get(to)) else { continue };
            let skip = match (a.entity, b.entity) {
                // Inline parts are created by their owner.
                (Entity::Default(..) | Entity::Check(..) | Entity::DomainCheck(..), _)
                    if b.needs.contains(&from) =>
                {
                    true
                }
                // `OWNED BY` is set afterwards.
                (Entity::Sequence(sequence), Entity::Table(_)) => {
                    !sequence.is_identity() && edge.kind == DependencyKind::Auto
                }
                // Only a partition's own dependencies: it is created alone, then attached.
                (Entity::Table(table), Entity::Table(_)) if edge.kind == DependencyKind::Auto => {
                    table.is_partition()
                }
                // Members of extensions have no dependencies besides the extension.
                (Entity::Gone, _) => true,
                // Indexes and their attachment have edges of their own.
                (Entity::Index(_), Entity::Index(_)) => true,
                _ => false,
            };
            if !skip {
                self.need(from, to);
            }
        }
        self.order_inherited_triggers(catalog);
        self.declare_base_types();
    }

    /// A partition's trigger is cloned from its parent's, or from the nearest ancestor's that is created by a
    /// statement, because those in between are not listed.
    fn order_inherited_triggers(&mut self, catalog: &Catalog) {
        let parents: HashMap<Address, Address> = catalog
            .dependencies
            .iter()
            .filter(|edge| edge.class == class::TRIGGER && edge.ref_class == class::TRIGGER)
            .map(|edge| (edge.from(), edge.to()))
            .collect();
        for trigger in catalog.triggers.iter().filter(|trigger| trigger.inherited) {
            let address = Address::new(class::TRIGGER, trigger.oid);
            let Some(&id) = self.by_address.get(&address) else { continue };
            let mut next = parents.get(&address);
            while let Some(parent) = next {
                if let Some(&on) = self.by_address.get(parent) {
                    self.need(id, on);
                    break;
                }
                next = parents.get(parent);
            }
        }
    }

    /// A base type and its functions depend on each other: the type is declared as a shell type first.
    fn declare_base_types(&mut self) {
        for id in 0..self.nodes.len() {
            let Some(Node { entity: Entity::Type(kind), needs, .. }) = self.nodes.get(id) else { continue };
            if !matches!(kind.definition, TypeDefinition::Base(_)) {
                continue;
            }
            let kind = *kind;
            let functions: Vec<usize> =
                needs.iter().copied().filter(|&need| self.is_function(need)).collect();
            let shell = self.shell(id, kind);
            for function in functions {
                self.redirect(function, id, shell);
            }
        }
    }

    /// Adds the shell type for a type, which then depends on it.
    pub(super) fn shell(&mut self, id: usize, kind: &'a Type) -> usize {
        let schema = self.nodes.get(id).map(|node| {
            let schemas = node.needs.iter().copied();
            schemas
                .filter(|&need| matches!(self.nodes.get(need).map(|n| n.entity), Some(Entity::Schema(_))))
                .collect::<Vec<_>>()
        });
        let shell = self.add(Entity::Shell(kind), None);
        for schema in schema.into_iter().flatten() {
            self.need(shell, schema);
        }
        self.need(id, shell);
        shell
    }

    /// Replaces a dependency of a node.
    pub(super) fn redirect(&mut self, node: usize, from: usize, to: usize) {
        if let Some(node) = self.nodes.get_mut(node)
            && node.needs.remove(&from)
        {
            node.needs.insert(to);
        }
    }

    fn is_function(&self, id: usize) -> bool {
        matches!(self.nodes.get(id).map(|node| node.entity), Some(Entity::Function(_)))
    }

    /// A materialized view is refreshed after those that it reads, also through views and functions.
    fn add_refreshes(&mut self, catalog: &'a Catalog) {
        let mut refreshes: HashMap<usize, usize> = HashMap::new();
        for table in
            catalog.tables.iter().filter(|table| table.kind == TableKind::MaterializedView && table.populated)
        {
            if let Some(&id) = self.by_address.get(&table.address())
                && table.meta.extension.is_none()
            {
                let refresh = self.add(Entity::Refresh(table), None);
                self.need(refresh, id);
                refreshes.insert(id, refresh);
            }
        }
        for (&view, &refresh) in &refreshes {
            let mut seen = BTreeSet::from([view]);
            let mut open = vec![view];
            while let Some(id) = open.pop() {
                let needs: Vec<usize> =
                    self.nodes.get(id).map(|node| node.needs.iter().copied().collect()).unwrap_or_default();
                for need in needs.into_iter().filter(|need| seen.insert(*need)) {
                    if let Some(&other) = refreshes.get(&need) {
                        self.need(refresh, other);
                    } else {
                        open.push(need);
                    }
                }
            }
        }
    }

    fn need_address(&mut self, id: usize, address: Address) {
        if let Some(&on) = self.by_address.get(&address) {
            self.need(id, on);
        }
    }

    pub(super) fn need(&mut self, id: usize, on: usize) {
        if id != on
            && let Some(node) = self.nodes.get_mut(id)
        {
            node.needs.insert(on);
        }
    }

    /// Declares that `whole` writes `part`.
    fn part(&mut self, whole: usize, part: usize) {
        self.need(whole, part);
    }

    /// Declares that `part` is created separately, after `whole`.
    pub(super) fn separate(&mut self, whole: usize, part: usize) {
        if let Some(node) = self.nodes.get_mut(whole) {
            node.needs.remove(&part);
        }
        if let Some(node) = self.nodes.get_mut(part) {
            node.separate = true;
            node.needs.insert(whole);
        }
    }

    pub(crate) fn node(&self, id: usize) -> Option<&Node<'a>> {
        self.nodes.get(id)
    }

    pub(super) fn node_mut(&mut self, id: usize) -> Option<&mut Node<'a>> {
        self.nodes.get_mut(id)
    }

    pub(super) fn nodes(&self) -> &[Node<'a>] {
        &self.nodes
    }

    /// The node of an object.
    pub(super) fn at(&self, address: Address) -> Option<usize> {
        self.by_address.get(&address).copied()
    }

    /// Adds the query of a view that is first created empty.
    pub(super) fn view_body(&mut self, table: &'a Table) -> usize {
        self.add(Entity::ViewBody(table), None)
    }

    /// The nodes, each after its dependencies; otherwise ordered by section, rank and name.
    pub(crate) fn sorted(&self) -> Vec<usize> {
        let mut waiting: Vec<usize> = self.nodes.iter().map(|node| node.needs.len()).collect();
        let mut dependents: Vec<Vec<usize>> = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.nodes.iter().enumerate() {
            for &need in &node.needs {
                if let Some(list) = dependents.get_mut(need) {
                    list.push(id);
                }
            }
        }
        let key = |id: usize| {
            self.nodes.get(id).map(|node| {
                Reverse((node.section, node.entity.rank(), node.level, node.entity.sort_name(), id))
            })
        };
        let mut ready: BinaryHeap<_> = waiting
            .iter()
            .enumerate()
            .filter(|(_, count)| **count == 0)
            .filter_map(|(id, _)| key(id))
            .collect();
        let mut out = Vec::with_capacity(self.nodes.len());
        while let Some(Reverse((_, _, _, _, id))) = ready.pop() {
            out.push(id);
            for &dependent in dependents.get(id).into_iter().flatten() {
                if let Some(count) = waiting.get_mut(dependent) {
                    *count -= 1;
                    if *count == 0 {
                        ready.extend(key(dependent));
                    }
                }
            }
        }
        out
    }
}
