//! Dependencies between nodes: those that `pg_depend` records, and those that it does not.

use std::collections::{BTreeSet, HashMap};

use super::{Entity, Graph, Node};
use crate::catalog::address::{DependencyKind, class};
use crate::catalog::table::TableKind;
use crate::catalog::types::{Type, TypeDefinition};
use crate::catalog::{Address, Catalog, Object as _};

impl<'a> Graph<'a> {
    /// Objects of an extension are created with the extension.
    pub(super) fn add_members_of_extensions(&mut self, catalog: &'a Catalog) {
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

    pub(super) fn add_edges(&mut self, catalog: &'a Catalog) {
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
    pub(in crate::ddl) fn shell(&mut self, id: usize, kind: &'a Type) -> usize {
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
    pub(in crate::ddl) fn redirect(&mut self, node: usize, from: usize, to: usize) {
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
    pub(super) fn add_refreshes(&mut self, catalog: &'a Catalog) {
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
}
