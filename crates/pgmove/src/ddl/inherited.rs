//! Order of defaults and checks that tables and their children share, and checks that must wait for the rows.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::graph::{Entity, Graph};
use super::script::Section;
use crate::catalog::address::class;
use crate::catalog::column::Column;
use crate::catalog::function::Function;
use crate::catalog::plain::PlainKind;
use crate::catalog::table::Table;
use crate::catalog::types::TypeDefinition;
use crate::catalog::{Address, Catalog, Object as _};

/// Maximum depth of inheritance; a catalog with more is damaged.
const GENERATIONS: usize = 1000;

impl<'a> Graph<'a> {
    /// Creating a table with two parents fails if their defaults for a column differ. So these defaults are set
    /// afterwards, on each table separately.
    pub(super) fn order_inherited_defaults(&mut self, catalog: &'a Catalog) {
        let by_oid: HashMap<u32, &Table> =
            catalog.tables.iter().map(|table| (table.meta.oid, table)).collect();
        let made = |table: &&&Table| table.parents.len() > 1 && !table.is_partition();
        for table in catalog.tables.iter().collect::<Vec<_>>().iter().filter(made) {
            let Some(child) = self.at(table.address()) else { continue };
            let above = ancestors(table, &by_oid);
            for column in &table.columns {
                let direct = table.parents.iter().filter_map(|parent| by_oid.get(&parent.oid));
                let sources = direct.filter(|parent| plain_default(parent, &column.name).is_some()).count();
                let defaults: Vec<(&Table, &Column)> = above
                    .iter()
                    .filter_map(|parent| Some((*parent, plain_default(parent, &column.name)?)))
                    .collect();
                let expression = |column: &Column| column.default.as_ref().map(|d| d.expression.clone());
                let different: BTreeSet<_> = defaults.iter().map(|(_, column)| expression(column)).collect();
                if sources < 2 || different.len() < 2 {
                    continue;
                }
                for (parent, column) in defaults {
                    let Some(default) = &column.default else { continue };
                    let part = self.at(Address::new(class::DEFAULT, default.oid));
                    if let (Some(whole), Some(part)) = (self.at(parent.address()), part) {
                        self.separate(whole, part);
                        self.need(part, child);
                    }
                }
            }
        }
    }

    /// Adds a check of a table or of a domain that reads other tables, by a function, after the rows: otherwise it
    /// would depend on which table is loaded first. The catalog does not record what a function reads, so its text is
    /// searched.
    pub(super) fn postpone_reading_checks(&mut self, catalog: &'a Catalog) {
        let own: HashMap<Address, &Function> = catalog
            .functions
            .iter()
            .filter(|function| function.meta.extension.is_none())
            .map(|function| (function.address(), function))
            .collect();
        let names: HashSet<String> = own.values().map(|function| function.meta.name.to_lowercase()).collect();
        let reads = |address: &Address| own.get(address).is_some_and(|function| may_read(function, &names));
        let operators: HashSet<Address> = catalog
            .plain
            .iter()
            .filter(|plain| plain.kind == PlainKind::Operator && plain.meta.extension.is_none())
            .map(|plain| plain.address())
            .collect();
        let reading_operators: HashSet<Address> = catalog
            .dependencies
            .iter()
            .filter(|edge| operators.contains(&edge.from()) && reads(&edge.to()))
            .map(|edge| edge.from())
            .collect();
        let late: HashSet<Address> = catalog
            .dependencies
            .iter()
            .filter(|edge| edge.class == class::CONSTRAINT)
            .filter(|edge| reads(&edge.to()) || reading_operators.contains(&edge.to()))
            .map(|edge| edge.from())
            .collect();
        for table in &catalog.tables {
            for check in &table.checks {
                let address = Address::new(class::CONSTRAINT, check.oid);
                if !late.contains(&address) {
                    continue;
                }
                self.postpone(table.address(), address);
            }
        }
        for kind in &catalog.types {
            let TypeDefinition::Domain(domain) = &kind.definition else { continue };
            // The server cannot add a check to a domain that is nested in another type of some column.
            if is_nested(catalog, &kind.meta.qualified()) {
                continue;
            }
            for check in &domain.checks {
                let address = Address::new(class::CONSTRAINT, check.oid);
                if late.contains(&address) {
                    self.postpone(kind.address(), address);
                }
            }
        }
    }

    /// Creates a check separately, after the rows.
    fn postpone(&mut self, whole: Address, check: Address) {
        if let (Some(whole), Some(part)) = (self.at(whole), self.at(check)) {
            self.separate(whole, part);
            if let Some(node) = self.node_mut(part) {
                node.section = Section::PostData;
            }
        }
    }

    /// Adds a table's own check before an equal one of its parent, which then merges with it. In the reverse order
    /// the table would already have it.
    pub(super) fn order_inherited_checks(&mut self, catalog: &'a Catalog) {
        let by_oid: HashMap<u32, &Table> =
            catalog.tables.iter().map(|table| (table.meta.oid, table)).collect();
        let separate = |graph: &Self, oid: u32| {
            let id = graph.at(Address::new(class::CONSTRAINT, oid))?;
            let node = graph.node(id)?;
            (node.separate && matches!(node.entity, Entity::Check(..))).then_some(id)
        };
        for table in catalog.tables.iter().filter(|table| !table.parents.is_empty()) {
            for check in table.checks.iter().filter(|check| check.local) {
                let Some(own) = separate(self, check.oid) else { continue };
                for parent in table.parents.iter().filter_map(|parent| by_oid.get(&parent.oid)) {
                    for theirs in parent.checks.iter().filter(|theirs| theirs.name == check.name) {
                        if let Some(theirs) = separate(self, theirs.oid) {
                            self.need(theirs, own);
                        }
                    }
                }
            }
        }
    }
}

/// The column with that name, if it has a default and is not generated.
fn plain_default<'a>(table: &'a Table, name: &str) -> Option<&'a Column> {
    let column = table.columns.iter().find(|column| column.name == name)?;
    (column.default.is_some() && column.generated.is_none()).then_some(column)
}

/// Whether a domain is the element, an attribute or the subtype of another type.
fn is_nested(catalog: &Catalog, domain: &str) -> bool {
    let array = format!("{domain}[]");
    let columns = catalog.tables.iter().flat_map(|table| &table.columns);
    let inside = |kind: &TypeDefinition| match kind {
        TypeDefinition::Composite { columns, .. } => {
            columns.iter().any(|column| column.type_name == domain || column.type_name == array)
        }
        TypeDefinition::Range(range) => range.subtype == domain,
        TypeDefinition::Domain(other) => other.base == array,
        _ => false,
    };
    columns.into_iter().any(|column| column.type_name == array)
        || catalog.types.iter().any(|kind| inside(&kind.definition))
}

/// Every table that this one inherits from, directly or not.
fn ancestors<'a>(table: &Table, by_oid: &HashMap<u32, &'a Table>) -> Vec<&'a Table> {
    let mut found: Vec<&Table> = Vec::new();
    let mut next: Vec<u32> = table.parents.iter().map(|parent| parent.oid).collect();
    for _ in 0..GENERATIONS {
        let above: Vec<&'a Table> = next
            .iter()
            .filter(|oid| !found.iter().any(|table| table.meta.oid == **oid))
            .filter_map(|oid| by_oid.get(oid).copied())
            .collect();
        if above.is_empty() {
            break;
        }
        next = above.iter().flat_map(|table| table.parents.iter().map(|parent| parent.oid)).collect();
        found.extend(above);
    }
    found
}

/// Keywords without which an SQL or PL/pgSQL function cannot read a table.
const READING: [&str; 6] = ["from", "table", "execute", "perform", "call", "join"];

/// Whether a function may read tables: true unless it is in SQL or PL/pgSQL and contains none of the keywords and no
/// name of another user function.
fn may_read(function: &Function, names: &HashSet<String>) -> bool {
    let definition = function.definition.to_lowercase();
    // The body starts here.
    let body = definition.split_once("\nas ").map(|(_, body)| body);
    let body = body.or_else(|| definition.split_once("\nbegin atomic").map(|(_, body)| body));
    let body = body.or_else(|| definition.split_once("\nreturn ").map(|(_, body)| body));
    let known = [" language sql", " language plpgsql"].iter().any(|language| definition.contains(language));
    let Some(body) = body.filter(|_| known) else { return true };
    let own = function.meta.name.to_lowercase();
    body.split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .any(|word| READING.contains(&word) || (word != own && names.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn function(definition: &str) -> Function {
        Function {
            meta: crate::catalog::Meta { name: "f".into(), ..Default::default() },
            procedure: false,
            arguments: String::new(),
            types: None,
            definition: definition.to_owned(),
            sql_body: false,
        }
    }

    #[test]
    fn a_function_that_reads_no_table_is_recognized() {
        let names = HashSet::from(["f".to_owned(), "g".to_owned()]);
        let head = "CREATE OR REPLACE FUNCTION s.f(k text)\n RETURNS boolean\n LANGUAGE";
        for (rest, reads) in [
            ("sql\n IMMUTABLE\nAS $function$ SELECT k ~ '^[a-z]+$' $function$", false),
            ("sql\nAS $function$ SELECT EXISTS (SELECT 1 FROM s.t WHERE a = k) $function$", true),
            ("sql\nAS $function$ SELECT s.g(k) $function$", true),
            ("sql\nRETURN (k <> ''::text)", false),
            ("plpgsql\nAS $function$ BEGIN PERFORM 1 FROM s.t; RETURN FOUND; END $function$", true),
            ("plpgsql\nAS $function$ BEGIN RETURN length(k) > 1; END $function$", false),
            ("c\nAS '$libdir/x', $function$f$function$", true),
        ] {
            assert_eq!(may_read(&function(&format!("{head} {rest}")), &names), reads, "{rest}");
        }
    }
}
