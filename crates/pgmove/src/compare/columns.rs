//! The order of columns of inheriting tables.
//!
//! A table created as a child has its parents' columns first, then its own. After `ALTER TABLE` they may be in any
//! order, which every dump and restore changes, although the columns are the same. So that this is not a difference,
//! the columns of both sides are sorted into the order of a newly created child.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::catalog::Catalog;
use crate::catalog::table::Table;

/// The catalog with the columns of children in the order that they would have if created now.
pub(crate) fn with_inherited_first(catalog: &Catalog) -> Cow<'_, Catalog> {
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

/// Maximum depth of inheritance; a catalog with more is damaged.
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
