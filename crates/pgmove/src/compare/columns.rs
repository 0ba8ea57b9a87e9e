//! The order of columns of tables that inherit.
//!
//! A table that is made as a child gets its parents' columns first, and its own behind them. One that became what it is
//! by `ALTER TABLE` may have them in any order, and loses it when it is dumped and made again, by whichever tool: the
//! columns are the same. So that this is no difference, both sides are put into the order that a new child would have.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::catalog::Catalog;
use crate::catalog::table::Table;

/// The catalog with the columns of children in the order that they would have if they were made now.
pub(crate) fn as_made(catalog: &Catalog) -> Cow<'_, Catalog> {
    let is_child = |table: &Table| !table.parents.is_empty() && !table.is_partition();
    if !catalog.tables.iter().any(is_child) {
        return Cow::Borrowed(catalog);
    }
    let mut catalog = catalog.clone();
    let by_oid: HashMap<u32, &Table> = catalog.tables.iter().map(|table| (table.meta.oid, table)).collect();
    let mut orders: HashMap<u32, Vec<String>> = HashMap::new();
    for table in catalog.tables.iter().filter(|table| is_child(table)) {
        order(table, &by_oid, &mut orders, 0);
    }
    for table in catalog.tables.iter_mut().filter(|table| is_child(table)) {
        if let Some(order) = orders.get(&table.meta.oid) {
            let place: HashMap<&str, usize> =
                order.iter().enumerate().map(|(at, name)| (name.as_str(), at)).collect();
            table.columns.sort_by_key(|column| place.get(column.name.as_str()).copied());
        }
    }
    Cow::Owned(catalog)
}

/// How deep children of children are followed. A catalog that says more is damaged.
const DEPTH: usize = 1000;

fn order(
    table: &Table,
    by_oid: &HashMap<u32, &Table>,
    orders: &mut HashMap<u32, Vec<String>>,
    depth: usize,
) -> Vec<String> {
    if let Some(known) = orders.get(&table.meta.oid) {
        return known.clone();
    }
    let mut names: Vec<String> = Vec::new();
    if depth < DEPTH {
        for parent in table.parents.iter().filter_map(|parent| by_oid.get(&parent.oid)) {
            for name in order(parent, by_oid, orders, depth + 1) {
                if !names.contains(&name) && table.columns.iter().any(|column| column.name == name) {
                    names.push(name);
                }
            }
        }
    }
    for column in &table.columns {
        if !names.contains(&column.name) {
            names.push(column.name.clone());
        }
    }
    orders.insert(table.meta.oid, names.clone());
    names
}
