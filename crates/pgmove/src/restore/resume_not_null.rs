//! Pending NOT NULL constraints of an interrupted restore.
//!
//! A NOT NULL constraint that is not validated is added after the rows. Until then, the server describes a child's
//! constraint on the same column as if `CREATE TABLE` had created it, so that a table which is complete so far seems to
//! differ. Therefore the target's catalog is rendered as if the pending constraints existed, and only these are
//! created.

use std::collections::HashMap;

use crate::catalog::column::NotNull;
use crate::catalog::{Catalog, QualifiedName};
use crate::quote::ident;

/// Adds the constraints of the wanted catalog that are not validated and that this one lacks. Returns the objects of
/// their statements.
pub(super) fn assume_pending(here: &mut Catalog, wanted: &Catalog) -> Vec<String> {
    let mut pending: HashMap<(QualifiedName, &str), &NotNull> = HashMap::new();
    for table in &wanted.tables {
        for column in &table.columns {
            if let Some(constraint) = column.not_null_constraint.as_ref().filter(|one| !one.validated) {
                pending.insert((table.name(), &column.name), constraint);
            }
        }
    }
    let mut assumed = Vec::new();
    if pending.is_empty() {
        return assumed;
    }
    for table in &mut here.tables {
        let name = table.name();
        for column in table.columns.iter_mut().filter(|column| !column.not_null) {
            let Some(constraint) = pending.get(&(name.clone(), column.name.as_str())) else { continue };
            // OIDs that no object has.
            let oid = u32::MAX - u32::try_from(assumed.len()).unwrap_or_default();
            column.not_null_constraint = Some(NotNull { oid, ..(*constraint).clone() });
            assumed.push(format!("not-null constraint {name}.{}", ident(&column.name)));
        }
    }
    assumed
}
