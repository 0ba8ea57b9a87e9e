//! What a child's column inherits from its parents, and what the child must define itself.

use std::collections::HashMap;

use crate::catalog::column::Column;
use crate::catalog::table::{Table, TableKind};

/// Whether a child's generated column has the same expression as its parent's and inherits it.
pub(super) fn inherits_same_generated(table: &Table, column: &Column, by_oid: &HashMap<u32, &Table>) -> bool {
    let Some(default) =
        column.default.as_ref().filter(|_| column.generated.is_some() && !table.is_partition())
    else {
        return false;
    };
    let mut same = false;
    for parent in parents_column(table, column, by_oid).filter(|parent| parent.generated.is_some()) {
        if parent.default.as_ref().is_none_or(|theirs| theirs.expression != default.expression) {
            return false;
        }
        same = true;
    }
    same
}

/// Whether a parent's column has a default that this one lacks but would inherit.
pub(super) fn drops_inherited_default(table: &Table, column: &Column, by_oid: &HashMap<u32, &Table>) -> bool {
    table.kind != TableKind::View
        && !table.is_partition()
        && column.default.is_none()
        && parents_column(table, column, by_oid)
            .any(|parent| parent.default.is_some() && parent.generated.is_none())
}

/// Whether a NOT NULL constraint (18 and newer) needs its own statement: if it is not validated, or if the table adds
/// it to a column that it only inherits.
pub(super) fn separate_not_null(table: &Table, column: &Column, by_oid: &HashMap<u32, &Table>) -> bool {
    column.not_null_constraint.as_ref().is_some_and(|constraint| {
        !constraint.validated || (!table.prints(column) && says_not_null(table, column, by_oid))
    })
}

/// Whether the table itself must define its NOT NULL constraint. It inherits those of its parents, but validated only
/// where one of theirs is.
pub(super) fn says_not_null(table: &Table, column: &Column, by_oid: &HashMap<u32, &Table>) -> bool {
    column
        .not_null_constraint
        .as_ref()
        .is_some_and(|constraint| constraint.local || validated_only_locally(table, column, by_oid))
}

/// Whether a NOT NULL constraint is validated although those of its parents are not.
pub(super) fn validated_only_locally(table: &Table, column: &Column, by_oid: &HashMap<u32, &Table>) -> bool {
    let is = |valid: bool| {
        move |parent: &Column| {
            parent.not_null_constraint.as_ref().is_some_and(|theirs| theirs.validated == valid)
        }
    };
    column.not_null_constraint.as_ref().is_some_and(|constraint| constraint.validated)
        && parents_column(table, column, by_oid).any(is(false))
        && !parents_column(table, column, by_oid).any(is(true))
}

/// Whether a local constraint on an inherited column can be part of `CREATE TABLE`. Only there does it keep its name;
/// afterwards the column has the parent's constraint.
pub(super) fn not_null_in_line(
    table: &Table,
    column: &Column,
    by_oid: &HashMap<u32, &Table>,
    target: u32,
) -> bool {
    target >= 180_000
        && !table.prints(column)
        && column
            .not_null_constraint
            .as_ref()
            .is_some_and(|constraint| constraint.local && constraint.validated)
        && !validated_only_locally(table, column, by_oid)
}

pub(super) fn parents_column<'a>(
    table: &'a Table,
    column: &'a Column,
    by_oid: &'a HashMap<u32, &'a Table>,
) -> impl Iterator<Item = &'a Column> {
    table
        .parents
        .iter()
        .filter_map(|parent| by_oid.get(&parent.oid))
        .filter_map(|parent| parent.columns.iter().find(|candidate| candidate.name == column.name))
}
