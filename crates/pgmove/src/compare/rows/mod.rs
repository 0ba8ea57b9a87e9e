//! Finds the differing rows of a table, by its key and in ranges.

mod cell;
mod copy_text;
mod key;
mod ranges;
mod search;

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

pub use cell::ShownValue;

use cell::Cell;
use ranges::Relation;
use search::Searched;

use crate::Error;
use crate::catalog::{Catalog, QualifiedName, large_objects_table};
use crate::digest::TableProof;
use crate::dump::{Source, TableSlice};
use crate::quote::ident;

/// Rows of a table that differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DifferingRows {
    /// Schema and name.
    pub table: String,
    /// The columns by which rows were matched.
    pub key: Vec<String>,
    /// The first differing rows, in the order of their keys.
    pub rows: Vec<DifferingRow>,
    /// Whether further rows differ.
    pub more: bool,
    /// Why no row can be shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_shown: Option<String>,
}

/// A row that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct DifferingRow {
    /// The values of the key.
    pub key: Vec<ShownValue>,
    /// Its values on the left; if both sides have the row, only those that differ. `None` if the left side lacks the
    /// row.
    pub left: Option<Vec<ShownValue>>,
    /// Its values on the right.
    pub right: Option<Vec<ShownValue>>,
}

impl DifferingRow {
    fn new(
        key: &[String],
        columns: &[String],
        left: Option<Vec<Cell>>,
        right: Option<Vec<Cell>>,
    ) -> DifferingRow {
        let either = left.as_ref().or(right.as_ref());
        let of_key = |column: &String| {
            let at = columns.iter().position(|other| other == column)?;
            Some(either?.get(at)?.shown(column))
        };
        let key_values = key.iter().filter_map(of_key).collect();
        let differs = |at: usize| match (&left, &right) {
            (Some(left), Some(right)) => left.get(at) != right.get(at),
            _ => columns.get(at).is_none_or(|column| !key.contains(column)),
        };
        let shown = |cells: &Option<Vec<Cell>>| {
            cells.as_ref().map(|cells| {
                let cells = cells.iter().zip(columns).enumerate();
                cells.filter(|(at, _)| differs(*at)).map(|(_, (cell, column))| cell.shown(column)).collect()
            })
        };
        DifferingRow { key: key_values, left: shown(&left), right: shown(&right) }
    }
}

/// Result of a search.
struct SearchResult {
    rows: Vec<DifferingRow>,
    more: bool,
}

/// A side that can be queried for rows: a server, with the slices by which tables are read.
pub(super) struct Live<'a> {
    pub(super) source: &'a Source,
    pub(super) slices: Vec<&'a TableSlice>,
    pub(super) proof: TableProof,
}

/// The first differing rows of a table, or of the partitions that are compared under its name.
pub(super) async fn of(
    name: &QualifiedName,
    members: &BTreeSet<QualifiedName>,
    left: Live<'_>,
    right: Live<'_>,
    show: usize,
) -> Result<DifferingRows, Error> {
    let show = show.min(search::MOST_SHOWN);
    let nothing = |why: &str| DifferingRows {
        table: name.to_string(),
        key: Vec::new(),
        rows: Vec::new(),
        more: true,
        not_shown: Some(why.to_owned()),
    };
    if *name == large_objects_table() {
        return Ok(nothing("large objects are not searched by key"));
    }
    let rows = left.proof.rows.saturating_add(right.proof.rows);
    let prepared = match prepare(name, members, &left, &right) {
        Ok(prepared) => prepared,
        Err(why) => return Ok(nothing(why)),
    };
    let (one, other, columns) = prepared;
    let key = one.key.columns.clone();
    let object = format!("table {name}");
    let sides = (
        &Searched { source: left.source, relation: one },
        &Searched { source: right.source, relation: other },
    );
    match search::search(&object, sides, &columns, rows, show).await {
        Ok(SearchResult { rows, more }) => {
            Ok(DifferingRows { table: name.to_string(), key, rows, more, not_shown: None })
        }
        // A value that one side cannot compare must not end the whole comparison.
        Err(error @ (Error::Server { .. } | Error::NotText { .. })) => Ok(nothing(&error.to_string())),
        Err(error) => Err(error),
    }
}

fn prepare(
    name: &QualifiedName,
    members: &BTreeSet<QualifiedName>,
    left: &Live<'_>,
    right: &Live<'_>,
) -> Result<(Relation, Relation, Vec<String>), &'static str> {
    if left.slices.iter().chain(&right.slices).any(|slice| !slice.condition().is_empty()) {
        return Err("its rows were chosen by a condition");
    }
    let table = |catalog: &'_ Catalog| catalog.tables.iter().find(|table| table.name() == *name).cloned();
    let catalogs = (left.source.catalog(), right.source.catalog());
    let (Some(one), Some(other)) = (table(catalogs.0), table(catalogs.1)) else {
        return Err("it is not one table on both sides");
    };
    let names = |table: &crate::catalog::table::Table| -> Vec<String> {
        table.copy_columns().iter().map(|column| column.name.clone()).collect()
    };
    let (columns, theirs) = (names(&one), names(&other));
    if columns.iter().collect::<BTreeSet<_>>() != theirs.iter().collect() {
        return Err("its columns are not the same on both sides");
    }
    let Some((left_key, right_key)) = key::of((catalogs.0, &one), (catalogs.1, &other)) else {
        return Err("it has no primary key, and no unique key of columns that are NOT NULL, on both sides");
    };
    let alone = members.len() == 1 && members.contains(name);
    let list = columns.iter().map(|column| ident(column).into_owned()).collect::<Vec<_>>().join(", ");
    let relation = |live: &Live<'_>, key| {
        // The rows of a hypertable are in its chunks.
        let only = alone && live.slices.iter().all(|slice| !slice.is_chunk());
        let from = if only { format!("ONLY {name}") } else { name.to_string() };
        Relation { from, key, columns: list.clone() }
    };
    Ok((relation(left, left_key), relation(right, right_key), columns))
}

/// Maximum characters of a value in a line.
const SHOWN: usize = 60;

/// Maximum number of values in a line.
const VALUES: usize = 12;

impl fmt::Display for ShownValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", printable(&self.column))?;
        let Some(text) = &self.text else { return f.write_str("NULL") };
        let start: String = text.chars().take(SHOWN).collect();
        write!(f, "'{}", printable(&start))?;
        let whole = self.bytes.unwrap_or(text.len());
        match start.len() < whole {
            true => write!(f, "…' ({whole} bytes)"),
            false => f.write_str("'"),
        }
    }
}

/// Removes characters that a terminal would interpret.
fn printable(text: &str) -> String {
    let one = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(one).collect()
}

fn list(f: &mut fmt::Formatter<'_>, side: &str, values: &[ShownValue]) -> fmt::Result {
    write!(f, "    {side}")?;
    for (at, value) in values.iter().take(VALUES).enumerate() {
        write!(f, "{}{value}", if at == 0 { " " } else { ", " })?;
    }
    match values.len().checked_sub(VALUES) {
        Some(rest) if rest > 0 => writeln!(f, ", … and {rest} more"),
        _ => writeln!(f),
    }
}

impl fmt::Display for DifferingRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.not_shown {
            return writeln!(f, "{}: no differing row is shown: {why}", self.table);
        }
        let more = if self.more { ", and there are more" } else { "" };
        let rows = if self.rows.len() == 1 { "row" } else { "rows" };
        writeln!(f, "{}: {} differing {rows}{more}", self.table, self.rows.len())?;
        for row in &self.rows {
            let key: Vec<String> = row.key.iter().map(ToString::to_string).collect();
            let key = key.join(", ");
            match (&row.left, &row.right) {
                (Some(left), Some(right)) => {
                    writeln!(f, "  {key}")?;
                    list(f, "left: ", left)?;
                    list(f, "right:", right)?;
                }
                (Some(left), None) => {
                    writeln!(f, "  {key}: only on the left")?;
                    list(f, "left: ", left)?;
                }
                (None, right) => {
                    writeln!(f, "  {key}: only on the right")?;
                    list(f, "right:", right.as_deref().unwrap_or_default())?;
                }
            }
        }
        Ok(())
    }
}
