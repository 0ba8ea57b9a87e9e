//! Breaks dependency cycles, as `pg_dump` does (`pg_dump_sort.c`).
//!
//! Two situations prevent sorting: objects that depend on each other, and a pre-data object that depends on a post-data
//! object (a view that groups by a primary key depends on its index). Both are resolved by creating one of the objects
//! in two steps, or later. The rules are tried in order; the first that applies changes the graph, and the search
//! starts again.

use std::collections::BTreeSet;

use super::graph::{Entity, Graph};
use super::script::Section;
use crate::catalog::address::class;
use crate::catalog::table::{Table, TableKind};
use crate::catalog::types::TypeDefinition;
use crate::catalog::{Address, Object};
use crate::warning::Warning;

/// Breaks all cycles.
pub(super) fn break_all(graph: &mut Graph<'_>) {
    loop {
        postpone(graph);
        let cycles = cycles(graph);
        if cycles.is_empty() {
            return;
        }
        for cycle in cycles {
            break_one(graph, &cycle);
        }
    }
}

/// Moves objects that depend on a later section to that section, or splits them.
fn postpone(graph: &mut Graph<'_>) {
    loop {
        let late = |id: usize| graph.node(id).is_some_and(|node| node.section > Section::PreData);
        let found: Vec<usize> = (0..graph.nodes().len())
            .filter(|&id| {
                graph.node(id).is_some_and(|node| {
                    node.section == Section::PreData && node.needs.iter().any(|&n| late(n))
                })
            })
            .collect();
        let mut changed = false;
        for id in found {
            let Some(entity) = graph.node(id).map(|node| node.entity) else { continue };
            changed |= match entity {
                Entity::Table(table) if table.kind == TableKind::View => empty_view(graph, id, table),
                Entity::Table(table) if table.kind == TableKind::MaterializedView => later(graph, id),
                Entity::Table(table) => parts_later(graph, id, table.meta.oid),
                Entity::Type(_) => parts_later(graph, id, 0),
                Entity::Gone | Entity::Schema(_) | Entity::Extension(_) => false,
                _ => later(graph, id),
            };
        }
        if !changed {
            return;
        }
    }
}

fn later(graph: &mut Graph<'_>, id: usize) -> bool {
    graph.node_mut(id).is_some_and(|node| {
        let changed = node.section == Section::PreData;
        node.section = Section::PostData;
        changed
    })
}

/// Separates the late parts of a table or domain.
fn parts_later(graph: &mut Graph<'_>, whole: usize, _table: u32) -> bool {
    let parts: Vec<usize> =
        graph.node(whole).map(|node| node.needs.iter().copied().collect()).unwrap_or_default();
    let mut changed = false;
    for part in parts {
        let Some(node) = graph.node(part) else { continue };
        let movable = match node.entity {
            Entity::Default(_, column) => column.generated.is_none(),
            Entity::Check(..) | Entity::DomainCheck(..) => true,
            _ => false,
        };
        if movable && node.section > Section::PreData {
            graph.separate(whole, part);
            changed = true;
        }
    }
    changed
}

/// Creates a view in two steps: an empty one with the right columns, and its query after the rows.
fn empty_view<'a>(graph: &mut Graph<'a>, id: usize, table: &'a Table) -> bool {
    let Some(node) = graph.node(id) else { return false };
    if node.separate {
        return false;
    }
    let needs = node.needs.clone();
    let types: BTreeSet<usize> =
        table.columns.iter().filter_map(|c| graph.at(Address::new(class::TYPE, c.type_oid))).collect();
    let keeps: BTreeSet<usize> = needs
        .iter()
        .copied()
        .filter(|&need| {
            let early = graph.node(need).is_some_and(|node| node.section == Section::PreData);
            early
                && match graph.node(need).map(|node| node.entity) {
                    Some(Entity::Schema(_) | Entity::Extension(_) | Entity::Gone) => true,
                    Some(Entity::Plain(plain)) => plain.kind == crate::catalog::plain::PlainKind::Collation,
                    _ => types.contains(&need),
                }
        })
        .collect();
    let body = graph.view_body(table);
    if let Some(node) = graph.node_mut(id) {
        node.separate = true;
        node.needs = keeps;
    }
    if let Some(node) = graph.node_mut(body) {
        node.needs = needs;
        node.needs.insert(id);
    }
    // Rules and defaults of the view, and all post-data objects, depend on the final view.
    let after: Vec<usize> = (0..graph.nodes().len())
        .filter(|&other| {
            graph.node(other).is_some_and(|node| {
                other != body
                    && node.needs.contains(&id)
                    && matches!(node.entity, Entity::Rule(_) | Entity::Trigger(_) | Entity::Refresh(_))
            })
        })
        .collect();
    for other in after {
        graph.need(other, body);
    }
    true
}

/// Breaks one cycle.
fn break_one(graph: &mut Graph<'_>, cycle: &BTreeSet<usize>) {
    let in_line = |graph: &Graph<'_>, part: usize| {
        graph.node(part).and_then(|node| match node.entity {
            Entity::Default(_, column) if column.generated.is_none() && !node.separate => Some(()),
            Entity::Check(..) | Entity::DomainCheck(..) if !node.separate => Some(()),
            _ => None,
        })
    };
    // A range type and its functions: declare the type first.
    for &id in cycle {
        if let Some(Entity::Type(kind)) = graph.node(id).map(|node| node.entity) {
            let functions: Vec<usize> = cycle
                .iter()
                .copied()
                .filter(|&other| {
                    graph.node(other).is_some_and(|node| {
                        matches!(node.entity, Entity::Function(_)) && node.needs.contains(&id)
                    })
                })
                .collect();
            if matches!(kind.definition, TypeDefinition::Range(_) | TypeDefinition::Base(_))
                && !functions.is_empty()
            {
                let shell = graph.shell(id, kind);
                for function in functions {
                    graph.redirect(function, id, shell);
                }
                return;
            }
        }
    }
    // A default or check that depends on its own table, through a function or another table.
    for &part in cycle {
        if in_line(graph, part).is_some() {
            let whole = match graph.node(part).map(|node| node.entity) {
                Some(Entity::Default(table, _) | Entity::Check(table, _)) => graph.at(table.address()),
                Some(Entity::DomainCheck(kind, _)) => graph.at(kind.address()),
                _ => None,
            };
            if let Some(whole) = whole {
                let is_default =
                    matches!(graph.node(part).map(|node| node.entity), Some(Entity::Default(..)));
                graph.separate(whole, part);
                if !is_default {
                    later(graph, part);
                }
                return;
            }
        }
    }
    for &id in cycle {
        match graph.node(id).map(|node| node.entity) {
            Some(Entity::Table(table)) if table.kind == TableKind::View && empty_view(graph, id, table) => {
                return;
            }
            Some(Entity::Table(table)) if table.kind == TableKind::MaterializedView && later(graph, id) => {
                return;
            }
            _ => {}
        }
    }
    // No rule applies. Any order is better than none; warn about it.
    let edge = cycle.iter().copied().find_map(|id| {
        let need = graph.node(id)?.needs.iter().copied().find(|need| cycle.contains(need))?;
        Some((id, need))
    });
    if let Some((id, need)) = edge {
        let other = graph.node(need).map(|node| node.entity.object().to_string()).unwrap_or_default();
        if let Some(node) = graph.node_mut(id) {
            node.needs.remove(&need);
            node.warning = Some(Warning::Cycle { object: node.entity.object().to_string(), other });
        }
    }
}

/// The cycles: strongly connected components of more than one node (Tarjan's algorithm, without recursion).
fn cycles(graph: &Graph<'_>) -> Vec<BTreeSet<usize>> {
    #[derive(Clone, Copy)]
    struct State {
        index: usize,
        low: usize,
        open: bool,
    }
    let count = graph.nodes().len();
    let needs: Vec<Vec<usize>> =
        graph.nodes().iter().map(|node| node.needs.iter().copied().collect()).collect();
    let mut states: Vec<Option<State>> = vec![None; count];
    let mut stack = Vec::new();
    let mut out = Vec::new();
    let mut next = 0;
    for root in 0..count {
        if states[root].is_some() {
            continue;
        }
        let mut calls = vec![(root, 0)];
        while let Some((id, at)) = calls.pop() {
            if at == 0 {
                states[id] = Some(State { index: next, low: next, open: true });
                next += 1;
                stack.push(id);
            }
            if let Some(&need) = needs[id].get(at) {
                calls.push((id, at + 1));
                match states[need] {
                    None => calls.push((need, 0)),
                    Some(other) if other.open => lower(&mut states, id, other.index),
                    Some(_) => {}
                }
                continue;
            }
            let Some(state) = states[id] else { continue };
            if state.low == state.index {
                let mut cycle = BTreeSet::new();
                while let Some(member) = stack.pop() {
                    if let Some(state) = states[member].as_mut() {
                        state.open = false;
                    }
                    cycle.insert(member);
                    if member == id {
                        break;
                    }
                }
                if cycle.len() > 1 {
                    out.push(cycle);
                }
            }
            if let Some(&(caller, _)) = calls.last() {
                lower(&mut states, caller, state.low);
            }
        }
    }

    fn lower(states: &mut [Option<State>], id: usize, to: usize) {
        if let Some(Some(state)) = states.get_mut(id) {
            state.low = state.low.min(to);
        }
    }
    out
}
