//! Counts rows for checks that need no proof: cheap for large tables, exact for small ones.

use std::collections::{BTreeSet, HashMap};

use crate::Error;
use crate::catalog::QualifiedName;
use crate::connect::Session;
use crate::quote::literal;
use crate::timescaledb::lookup;

/// Number of rows of a table up to which they are counted; above, the server's estimate is used.
const MAX_COUNTED_ROWS: u64 = 1_000_000;

/// A number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct RowCount {
    /// The number.
    pub rows: u64,
    /// False if it contains the server's estimates of large tables.
    pub exact: bool,
}

/// Counts the rows of these tables that satisfy their conditions (as after `WHERE`). A table that does not exist
/// counts as empty. Inheriting tables are separate tables; chunks of a hypertable and partitions are not.
///
/// # Errors
/// [`Error::Server`] if a table may not be read, or a condition is wrong.
pub async fn count_rows(
    session: &Session,
    tables: impl IntoIterator<Item = (QualifiedName, Option<String>)>,
) -> Result<RowCount, Error> {
    let here = tables_here(session).await?;
    let mut sum = RowCount { rows: 0, exact: true };
    for (table, condition) in tables {
        let Some(divided) = here.get(&table) else { continue };
        let only = if *divided { "" } else { "ONLY " };
        let condition = condition.map(|text| format!("WHERE ({text})")).unwrap_or_default();
        let object = format!("rows of {table}");
        let sql = format!(
            "SELECT count(*) FROM (SELECT FROM {only}{table} {condition} LIMIT {}) counted",
            MAX_COUNTED_ROWS + 1
        );
        let rows = number(session.value(&object, &sql).await?);
        if rows <= MAX_COUNTED_ROWS {
            sum.rows += rows;
            continue;
        }
        let sql = format!(
            "SELECT sum(greatest(reltuples, 0))::bigint FROM pg_class WHERE oid = {name}::regclass \
             OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = {name}::regclass AND {divided})",
            name = literal(&table.to_string())
        );
        sum.rows += number(session.value(&object, &sql).await?).max(rows);
        sum.exact = false;
    }
    Ok(sum)
}

fn number(text: Option<String>) -> u64 {
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// Every table, and whether its rows are in chunks or partitions.
async fn tables_here(session: &Session) -> Result<HashMap<QualifiedName, bool>, Error> {
    let sql = "SELECT n.nspname, c.relname, c.relkind = 'p' FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
               WHERE c.relkind IN ('r', 'p')";
    let hypertables: BTreeSet<QualifiedName> = lookup::hypertables(session).await?.into_iter().collect();
    let table = |row: Vec<Option<String>>| {
        let mut fields = row.into_iter().flatten();
        let name = QualifiedName::new(fields.next()?, fields.next()?);
        let divided = fields.next()? == "t" || hypertables.contains(&name);
        Some((name, divided))
    };
    Ok(session.query("the tables", sql).await?.into_iter().filter_map(table).collect())
}
