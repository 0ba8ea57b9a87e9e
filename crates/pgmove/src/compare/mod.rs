//! Two databases against each other: the schema object by object, the rows table by table, each side in one snapshot.

mod deparse;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use crate::Error;
use crate::catalog::QualifiedName;
use crate::connect::{ConnectOptions, ServerIdentity};
use crate::digest::TableProof;
use crate::source::{Source, SourceOptions, TableSlice};

/// How two databases are compared.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// Connections for each side.
    pub jobs: usize,
}

impl Default for CompareOptions {
    fn default() -> Self {
        CompareOptions { jobs: 2 }
    }
}

/// One table on both sides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TableComparison {
    /// Schema and name.
    pub table: String,
    /// Its rows on the left; nothing where the table is missing.
    pub left: Option<TableProof>,
    /// Its rows on the right.
    pub right: Option<TableProof>,
    /// True when both have it, with equal rows.
    pub equal: bool,
}

/// An object whose definition differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SchemaDifference {
    /// The object.
    pub object: String,
    /// Its statements on the left that the right lacks.
    pub left: Vec<String>,
    /// Its statements on the right that the left lacks.
    pub right: Vec<String>,
}

/// What a comparison found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// The server that was reached on the left.
    pub left: ServerIdentity,
    /// The server that was reached on the right.
    pub right: ServerIdentity,
    /// Every table that holds rows on either side.
    pub tables: Vec<TableComparison>,
    /// Objects whose definitions differ, sequences with their values among them.
    pub schema: Vec<SchemaDifference>,
    /// What was not compared, or not to the letter, and why.
    pub not_compared: Vec<String>,
}

impl Comparison {
    /// True when schema and rows are the same.
    pub fn equal(&self) -> bool {
        self.schema.is_empty() && self.tables.iter().all(|table| table.equal)
    }
}

/// Compares two databases completely. Neither is written to.
pub async fn compare(
    left: &ConnectOptions,
    right: &ConnectOptions,
    options: &CompareOptions,
    on_table: &(dyn Fn(&TableComparison) + Sync),
) -> Result<Comparison, Error> {
    let settings = SourceOptions { jobs: options.jobs, ..SourceOptions::default() };
    let (left, right) = futures::try_join!(Source::open(left, &settings), Source::open(right, &settings))?;
    let (schema, spelling) = schema::differences(&left, &right)?;
    let sides = [by_table(&left), by_table(&right)];
    let names: BTreeSet<&QualifiedName> = sides.iter().flat_map(BTreeMap::keys).collect();
    let tables: Vec<TableComparison> = stream::iter(names)
        .map(|name| {
            let (left, right, sides) = (&left, &right, &sides);
            async move {
                let [l, r] = sides;
                let (l, r) = futures::try_join!(
                    digest(left, l.get(name), options.jobs),
                    digest(right, r.get(name), options.jobs)
                )?;
                let equal = matches!((l, r), (Some(l), Some(r)) if l.rows == r.rows && l.digest == r.digest);
                let compared = TableComparison { table: name.to_string(), left: l, right: r, equal };
                on_table(&compared);
                Ok::<_, Error>(compared)
            }
        })
        .buffered(options.jobs.max(1))
        .try_collect()
        .await?;
    let not_compared = left
        .unsupported()
        .iter()
        .map(|object| format!("left: {object}"))
        .chain(right.unsupported().iter().map(|object| format!("right: {object}")))
        .chain(spelling)
        .collect();
    let comparison = Comparison {
        left: left.server().clone(),
        right: right.server().clone(),
        tables,
        schema,
        not_compared,
    };
    left.finish().await?;
    right.finish().await?;
    Ok(comparison)
}

fn by_table(source: &Source) -> BTreeMap<QualifiedName, Vec<TableSlice>> {
    let mut tables: BTreeMap<QualifiedName, Vec<TableSlice>> = BTreeMap::new();
    for slice in source.slices() {
        tables.entry(slice.table.clone()).or_default().push(slice);
    }
    tables
}

async fn digest(
    source: &Source,
    slices: Option<&Vec<TableSlice>>,
    jobs: usize,
) -> Result<Option<TableProof>, Error> {
    let Some(slices) = slices else { return Ok(None) };
    stream::iter(slices)
        .map(|slice| async move { source.copy_out(slice).await?.drain().await })
        .buffer_unordered(jobs.max(1))
        .try_fold(TableProof::default(), |sum, proof| async move { Ok(sum + proof) })
        .await
        .map(Some)
}

impl fmt::Display for TableComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.left, &self.right) {
            (Some(left), _) if self.equal => {
                write!(f, "{}: equal, {} rows, {}", self.table, left.rows, left.digest)
            }
            (Some(left), Some(right)) if left.rows != right.rows => {
                write!(f, "{}: DIFFERENT, {} rows against {}", self.table, left.rows, right.rows)
            }
            (Some(left), Some(right)) => write!(
                f,
                "{}: DIFFERENT, {} rows on both sides, and not the same ({} against {})",
                self.table, left.rows, left.digest, right.digest
            ),
            (Some(left), None) => write!(f, "{}: only on the left, {} rows", self.table, left.rows),
            (None, Some(right)) => write!(f, "{}: only on the right, {} rows", self.table, right.rows),
            (None, None) => write!(f, "{}: on neither side", self.table),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "left:  {}", self.left)?;
        writeln!(f, "right: {}", self.right)?;
        for table in &self.tables {
            writeln!(f, "{table}")?;
        }
        for difference in &self.schema {
            writeln!(f, "{}: DIFFERENT definition", difference.object)?;
            difference.left.iter().try_for_each(|sql| writeln!(f, "  left:  {sql}"))?;
            difference.right.iter().try_for_each(|sql| writeln!(f, "  right: {sql}"))?;
        }
        for skipped in &self.not_compared {
            writeln!(f, "not compared: {skipped}")?;
        }
        let equal = self.tables.iter().filter(|table| table.equal).count();
        let rows: u64 = self.tables.iter().filter_map(|table| table.left).map(|proof| proof.rows).sum();
        write!(
            f,
            "{equal} of {} tables equal ({rows} rows on the left), {} objects with different definitions",
            self.tables.len(),
            self.schema.len()
        )
    }
}
