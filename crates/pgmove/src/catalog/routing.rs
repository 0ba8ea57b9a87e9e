//! Hash partitions whose rows may belong to another partition on another server.
//!
//! The hash of an enum value depends on the OID of its label, which differs between databases; that of text depends on
//! the encoding, that of a user-defined type or operator class on its definition. Rows of such partitions are loaded
//! through the partitioned table, and only the whole partitioned table is compared, not each partition.

use std::collections::HashMap;

use crate::catalog::table::{Table, TableKind};
use crate::catalog::{Catalog, QualifiedName};

/// For each partition with rows, the table through which they must be loaded, if the partition of the same name may not
/// accept them: the topmost one with an unportable hash. `encodings_differ` tells that the other server has another
/// encoding.
pub(crate) fn through(catalog: &Catalog, encodings_differ: bool) -> HashMap<QualifiedName, QualifiedName> {
    let by_oid: HashMap<u32, &Table> = catalog.tables.iter().map(|table| (table.meta.oid, table)).collect();
    let mut found = HashMap::new();
    for leaf in catalog.tables.iter().filter(|table| table.is_partition() && table.has_data()) {
        let mut at = leaf;
        let mut topmost = None;
        while at.is_partition()
            && let Some(parent) = at.parents.first().and_then(|parent| by_oid.get(&parent.oid))
        {
            if is_uncertain(parent, encodings_differ) {
                topmost = Some(parent.name());
            }
            at = parent;
        }
        if let Some(name) = topmost {
            found.insert(leaf.name(), name);
        }
    }
    found
}

/// Whether the hash partitioning of a table may differ on another server.
fn is_uncertain(table: &Table, encodings_differ: bool) -> bool {
    let key = table.partition_key.as_deref().filter(|_| table.kind == TableKind::Partitioned);
    let Some(columns) = key.and_then(|key| key.strip_prefix("HASH (")?.strip_suffix(')')) else {
        return false;
    };
    // Other than a simple column name, a key contains an expression, a collation, an operator class or a name with a
    // comma.
    columns.split(", ").any(|item| {
        let is_item = |name: &str| item == name || item == format!("\"{}\"", name.replace('"', "\"\""));
        match table.columns.iter().find(|column| is_item(&column.name)) {
            // User-defined types are schema-qualified.
            Some(column) => {
                column.type_name.contains('.') || (encodings_differ && is_text(&column.type_name))
            }
            None => true,
        }
    })
}

fn is_text(type_name: &str) -> bool {
    ["text", "char", "name", "json", "xml"].iter().any(|word| type_name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(key: &str, columns: &[(&str, &str)]) -> Table {
        let columns: Vec<_> = columns
            .iter()
            .enumerate()
            .map(|(at, (name, kind))| serde_json::json!({ "number": at + 1, "name": name, "type": kind, "type_oid": 1, "storage": "plain", "type_storage": "plain", "local": true }))
            .collect();
        serde_json::from_value(serde_json::json!({
            "oid": 1, "schema": "s", "name": "t", "kind": "partitioned", "persistence": "permanent",
            "replica_identity": "default", "partition_key": key, "columns": columns
        }))
        .unwrap()
    }

    #[test]
    fn only_hashes_of_the_servers_own_types_are_the_same_everywhere() {
        let columns = [("id", "bigint"), ("m", "public.mood"), ("t", "text"), ("A b", "uuid")];
        for (key, uncertain, in_another_encoding) in [
            ("HASH (id)", false, false),
            ("HASH (\"A b\", id)", false, false),
            ("HASH (id, m)", true, true),
            ("HASH (t)", false, true),
            ("HASH (t COLLATE public.loose)", true, true),
            ("HASH (lower(t))", true, true),
            ("LIST (m)", false, false),
            ("RANGE (t)", false, false),
        ] {
            let table = table(key, &columns);
            assert_eq!(is_uncertain(&table, false), uncertain, "{key}");
            assert_eq!(is_uncertain(&table, true), in_another_encoding, "{key}");
        }
    }
}
