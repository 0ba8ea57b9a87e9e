//! Tables in ranges of pages, so that one large table can use every connection.

use std::collections::HashMap;
use std::fmt;

use crate::Error;
use crate::catalog::table::Table;
use crate::catalog::{Catalog, QualifiedName, large_objects_table};
use crate::connect::Session;
use crate::copy_format::CopyFormat;
use crate::timescaledb::model::Hypertable;

/// Heap pages per slice (128 MiB at the usual 8 KiB). A fixed number, so that a table that only grows is split at the
/// same places every night, and unchanged slices stay the same bytes.
pub const SLICE_PAGES: u64 = 16_384;

/// Rows of a table: all, or those of a range of its pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSlice {
    /// The table.
    pub table: QualifiedName,
    /// The columns that are copied, in order.
    pub columns: Vec<String>,
    /// Approximate size on disk.
    pub estimated_bytes: u64,
    /// Number of the slice, from 1, and number of slices.
    pub number: (usize, usize),
    pub(super) pages: Option<PageRange>,
    /// The chunk with the rows, if the table is a hypertable.
    pub(super) relation: Option<QualifiedName>,
    pub(super) condition: String,
    /// Whether the condition is the user's own: it must be evaluated under the source's settings.
    pub(super) chosen: bool,
    /// Whether its rows may contain values of type `money`.
    pub(super) money: bool,
    /// The tables, by OID, whose locks it needs.
    pub(super) locks: Vec<u32>,
    pub(super) format: CopyFormat,
}

impl TableSlice {
    /// The same, read as text, which has a digest.
    pub(super) fn in_text(&self) -> TableSlice {
        TableSlice { format: CopyFormat::Text, ..self.clone() }
    }

    /// The condition of its rows, as a `WHERE …` clause; empty for all.
    pub(crate) fn condition(&self) -> &str {
        &self.condition
    }

    /// The format of its rows: text, unless [`Source::read_binary`](crate::Source::read_binary) selected binary.
    pub fn format(&self) -> CopyFormat {
        self.format
    }

    /// Whether its rows are in another relation than the table: a chunk.
    pub(crate) fn is_chunk(&self) -> bool {
        self.relation.is_some()
    }
}

impl fmt::Display for TableSlice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            (_, 1) => write!(f, "{}", self.table),
            (at, of) => write!(f, "{} [{at}/{of}]", self.table),
        }
    }
}

/// Heap pages, from and to; the last range is open, because the table may have grown.
pub(crate) type PageRange = (u64, Option<u64>);

/// The ranges of a table with this many pages; `None` if one is enough. The last range contains the rest, up to twice
/// the size, so that no slice is tiny.
pub(crate) fn ranges(pages: u64, slice_pages: u64) -> Option<Vec<PageRange>> {
    let slice_pages = slice_pages.max(1);
    let parts = pages / slice_pages;
    (parts > 1).then(|| {
        (0..parts).map(|at| (at * slice_pages, (at + 1 < parts).then_some((at + 1) * slice_pages))).collect()
    })
}

/// Splits the tables, largest first. Ranges of pages are read efficiently from PostgreSQL 14 on, and only heap tables
/// have such pages.
pub(super) async fn cut(
    session: &Session,
    catalog: &Catalog,
    slice_pages: u64,
) -> Result<Vec<TableSlice>, Error> {
    let can_split = session.server().version_num >= 140_000;
    let pages = match can_split {
        true => pages(session, catalog, slice_pages).await?,
        false => HashMap::new(),
    };
    let mut slices = Vec::new();
    let chosen = |table: &Table| {
        catalog
            .filter
            .condition(&table.name())
            .map(|condition| format!("WHERE ({condition})"))
            .unwrap_or_default()
    };
    let plain = catalog.data_tables().map(|table| (table, chosen(table), true));
    let config = catalog.config_tables().map(|(table, condition)| (table, condition.to_owned(), false));
    for (table, condition, own) in plain.chain(config) {
        let chosen = own && !condition.is_empty();
        let hypertable =
            catalog.timescale.as_ref().and_then(|timescale| timescale.hypertable(table.meta.oid));
        if let Some(hypertable) = hypertable {
            let columns = table.copy_columns().iter().map(|column| column.name.clone()).collect();
            let found = chunks(hypertable, &table.name(), columns, &condition);
            slices.extend(found.into_iter().map(|slice| TableSlice { chosen, money: money(table), ..slice }));
            continue;
        }
        let bytes = u64::try_from(table.bytes).unwrap_or(0);
        let heap = table.access_method.as_deref().is_none_or(|method| method == "heap");
        let splits = heap && condition.is_empty();
        let pages = pages.get(&table.meta.oid).filter(|_| splits);
        let ranges = pages.and_then(|pages| ranges(*pages, slice_pages));
        let ranges: Vec<Option<PageRange>> =
            ranges.map_or_else(|| vec![None], |ranges| ranges.into_iter().map(Some).collect());
        let of = ranges.len();
        for (at, pages) in ranges.into_iter().enumerate() {
            slices.push(TableSlice {
                table: table.name(),
                columns: table.copy_columns().iter().map(|column| column.name.clone()).collect(),
                estimated_bytes: bytes / of as u64,
                number: (at + 1, of),
                pages,
                relation: None,
                condition: condition.clone(),
                chosen,
                money: money(table),
                locks: Vec::new(),
                format: CopyFormat::Text,
            });
        }
    }
    if !catalog.large_objects.is_empty() {
        let sql = "SELECT pg_relation_size('pg_catalog.pg_largeobject')";
        let bytes = session.value("the size of the large objects", sql).await?;
        slices.push(TableSlice {
            table: large_objects_table(),
            columns: ["loid", "offset", "bytes"].map(str::to_owned).to_vec(),
            // They are transferred as hexadecimal text.
            estimated_bytes: bytes.and_then(|n| n.parse::<u64>().ok()).unwrap_or(0).saturating_mul(2),
            number: (1, 1),
            pages: None,
            relation: None,
            condition: String::new(),
            chosen: false,
            money: false,
            locks: Vec::new(),
            format: CopyFormat::Text,
        });
    }
    for aggregate in catalog.aggregates() {
        slices.extend(chunks(&aggregate.materialized, &aggregate.name, aggregate.columns.clone(), ""));
    }
    slices.sort_by(|a, b| b.estimated_bytes.cmp(&a.estimated_bytes).then_with(|| a.table.cmp(&b.table)));
    Ok(slices)
}

/// Whether rows of a table may contain values of type `money`, including nested ones in user-defined types.
fn money(table: &Table) -> bool {
    table.columns.iter().any(|column| column.type_name.contains("money") || column.type_name.contains('.'))
}

/// The populated materialized views outside of extensions, each to be read as a whole.
pub(super) fn materialized_views(catalog: &Catalog) -> Vec<TableSlice> {
    let slice = |table: &Table| TableSlice {
        table: table.name(),
        columns: table.columns.iter().map(|column| column.name.clone()).collect(),
        estimated_bytes: u64::try_from(table.pages).unwrap_or(0).saturating_mul(8192),
        number: (1, 1),
        pages: None,
        relation: Some(table.name()),
        condition: String::new(),
        chosen: false,
        money: false,
        locks: Vec::new(),
        format: CopyFormat::Text,
    };
    catalog.filled_views().map(slice).collect()
}

/// A slice per chunk. Old chunks do not change, so their slices stay the same bytes.
fn chunks(
    hypertable: &Hypertable,
    table: &QualifiedName,
    columns: Vec<String>,
    condition: &str,
) -> Vec<TableSlice> {
    let slice = |number, relation: &QualifiedName, bytes| TableSlice {
        table: table.clone(),
        columns: columns.clone(),
        estimated_bytes: bytes,
        number,
        pages: None,
        relation: Some(relation.clone()),
        condition: condition.to_owned(),
        chosen: false,
        money: false,
        locks: Vec::new(),
        format: CopyFormat::Text,
    };
    let of = hypertable.chunks.len();
    // One without chunks has no rows, but must still be reported.
    if of == 0 || !condition.is_empty() {
        let bytes = hypertable.chunks.iter().map(|chunk| chunk.bytes).sum();
        return vec![slice((1, 1), &hypertable.name, bytes)];
    }
    let chunks = hypertable.chunks.iter().enumerate();
    chunks.map(|(at, chunk)| slice((at + 1, of), &chunk.name, chunk.bytes)).collect()
}

/// The smallest block that PostgreSQL can be built with, in bytes.
const SMALLEST_BLOCK: u64 = 1024;

/// The current heap pages of each table that may be long enough to be sliced. The others are not queried: a size costs
/// the server file system calls.
async fn pages(session: &Session, catalog: &Catalog, slice_pages: u64) -> Result<HashMap<u32, u64>, Error> {
    let least = slice_pages.max(1).saturating_mul(2 * SMALLEST_BLOCK);
    let long = catalog.tables.iter().filter(|table| u64::try_from(table.bytes).is_ok_and(|n| n >= least));
    let oids: Vec<String> = long.map(|table| table.meta.oid.to_string()).collect();
    if oids.is_empty() {
        return Ok(HashMap::new());
    }
    let sql = format!(
        "SELECT oid, pg_relation_size(oid) / current_setting('block_size')::int8 FROM pg_class \
         WHERE relkind = 'r' AND oid IN ({})",
        oids.join(", ")
    );
    let rows = session.query("the sizes of tables", &sql).await?;
    Ok(rows
        .into_iter()
        .filter_map(|row| {
            let mut numbers = row.into_iter().map(|n| n.and_then(|n| n.parse::<u64>().ok()));
            let oid = u32::try_from(numbers.next()??).ok()?;
            Some((oid, numbers.next()?.unwrap_or(0)))
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_keep_their_places_when_a_table_grows() {
        assert_eq!(ranges(0, 10), None);
        assert_eq!(ranges(19, 10), None);
        assert_eq!(ranges(20, 10), Some(vec![(0, Some(10)), (10, None)]));
        assert_eq!(ranges(39, 10), Some(vec![(0, Some(10)), (10, Some(20)), (20, None)]));
        assert!(ranges(100, 0).is_some());
    }
}
