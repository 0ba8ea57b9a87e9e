//! The COPY statement that reads a table, a part of one, or the large objects.

use std::collections::BTreeMap;

use crate::catalog::{QualifiedName, large_objects_table};
use crate::connect::value_settings::ValueSettings;
use crate::copy_format::CopyFormat;
use crate::dump::PageRange;
use crate::quote::ident;

/// Large objects are read in pieces of this many bytes.
pub(crate) const LARGE_OBJECT_PIECE: usize = 256 << 10;

/// What to read of a table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CopySource<'a> {
    pub(crate) table: &'a QualifiedName,
    pub(crate) columns: &'a [String],
    /// Heap pages; `None` for all.
    pub(crate) pages: Option<PageRange>,
    /// The relation to read with all its children, if the rows are in another relation: a chunk.
    pub(crate) relation: Option<&'a QualifiedName>,
    /// A `WHERE …` clause, as an extension declares it for its configuration tables.
    pub(crate) condition: &'a str,
    /// Set if the condition is the user's own.
    pub(crate) chosen: Option<ConditionSettings<'a>>,
    /// Columns to read as another type.
    pub(crate) casts: &'a BTreeMap<String, String>,
    pub(crate) format: CopyFormat,
}

/// Settings for a user's condition: `at::date = '2024-01-02'` selects different rows under other settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConditionSettings<'a> {
    pub(crate) values: &'a ValueSettings,
    /// Whether the rows may contain values of type `money`.
    pub(crate) money: bool,
}

impl CopySource<'_> {
    /// The COPY statement. A table without columns to copy is read unchanged: each of its rows is an empty line.
    pub(crate) fn statement(self) -> String {
        match self.format {
            CopyFormat::Text => self.text_statement(),
            CopyFormat::Binary => self.text_statement() + " WITH (FORMAT binary)",
        }
    }

    fn text_statement(self) -> String {
        if *self.table == large_objects_table() {
            return large_objects_statement();
        }
        let columns: Vec<_> = self.columns.iter().map(|column| ident(column)).collect();
        let columns = columns.join(", ");
        let table = self.table;
        let condition = match self.pages {
            Some((from, Some(to))) => format!("WHERE ctid >= '({from},0)'::tid AND ctid < '({to},0)'::tid"),
            Some((from, None)) => format!("WHERE ctid >= '({from},0)'::tid"),
            None => self.condition.to_owned(),
        };
        // A compressed chunk returns its rows to a SELECT, but not to COPY or ONLY.
        let from = self.relation.map_or_else(|| format!("ONLY {table}"), ToString::to_string);
        if let Some((source, pinned)) = self.chosen.and_then(|chosen| chosen.values.switches(chosen.money)) {
            // Per row: the condition under the source's settings, then the row's text under the pinned ones. OFFSET
            // prevents merging with the inner query, and no parallel worker runs an expression that changes settings.
            let chosen = condition.strip_prefix("WHERE ").unwrap_or("true");
            return format!(
                "COPY (SELECT {columns} FROM (SELECT {columns} FROM {from} WHERE CASE WHEN {source} THEN {chosen} END OFFSET 0) q \
                 WHERE {pinned}) TO STDOUT"
            );
        }
        if !self.casts.is_empty() {
            let expression = |column: &String| match self.casts.get(column) {
                Some(kind) => format!("{}::{kind}", ident(column)),
                None => ident(column).into_owned(),
            };
            let columns: Vec<String> = self.columns.iter().map(expression).collect();
            format!("COPY (SELECT {} FROM {from} {condition}) TO STDOUT", columns.join(", "))
        } else if self.relation.is_some() || !condition.is_empty() {
            format!("COPY (SELECT {columns} FROM {from} {condition}) TO STDOUT")
        } else if columns.is_empty() {
            format!("COPY {table} TO STDOUT")
        } else {
            format!("COPY {table} ({columns}) TO STDOUT")
        }
    }
}

/// Every large object as rows: object, offset, bytes. An empty one has one row without bytes. Only superusers may
/// read `pg_largeobject` itself; the functions check the privileges of each object.
///
/// Nothing is stored between the rows: a recursive query, a sort or a function in FROM would write the objects, or a
/// list of their pieces, to temporary files. So the length is queried first, the offsets are generated in the select
/// list, and the objects are read through their index ([`LARGE_OBJECTS_IN_ORDER`]). OFFSET 0 keeps each step from
/// being merged with the next.
fn large_objects_statement() -> String {
    let size = LARGE_OBJECT_PIECE;
    // 262144 is INV_READ, and 2 SEEK_END.
    format!(
        "COPY (SELECT oid, at, pg_catalog.lo_get(oid, at, {size}) FROM ( \
         SELECT oid, pg_catalog.generate_series(0::int8, greatest(length - 1, 0), {size}::int8) AS at FROM ( \
         SELECT oid, length, pg_catalog.lo_close(fd) AS closed FROM ( \
         SELECT oid, fd, pg_catalog.lo_lseek64(fd, 0, 2) AS length FROM ( \
         SELECT oid, pg_catalog.lo_open(oid, 262144) AS fd FROM ( \
         SELECT oid FROM pg_catalog.pg_largeobject_metadata ORDER BY oid \
         OFFSET 0) o OFFSET 0) f OFFSET 0) l OFFSET 0) c OFFSET 0) p) TO STDOUT"
    )
}

/// Settings with which the objects are read in order without a sort.
const LARGE_OBJECTS_IN_ORDER: [&str; 3] = ["enable_sort", "enable_seqscan", "enable_bitmapscan"];

pub(super) fn large_objects_in_order(value: &str) -> String {
    LARGE_OBJECTS_IN_ORDER.iter().map(|name| format!("SET {name} = {value};")).collect()
}
