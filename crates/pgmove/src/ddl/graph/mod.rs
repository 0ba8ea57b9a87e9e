//! The dependency graph of everything created by its own statement, or possibly so.

mod edges;
mod entity;
mod objects;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};

pub(crate) use entity::Entity;

use super::script::Section;
use crate::catalog::table::Table;
use crate::catalog::{Address, Catalog, Object};
use crate::warning::Warning;

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
    pub(crate) warning: Option<Warning>,
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
