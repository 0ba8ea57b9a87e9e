//! Two databases against each other: the schema object by object, the rows table by table, each side in one snapshot.

mod columns;
mod database;
mod deparse;
mod extensions;
mod rows;
pub(crate) mod schema;
mod spelling;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use crate::Error;
use crate::catalog::routing;
use crate::catalog::{Catalog, Filter, QualifiedName};
use crate::connect::ConnectOptions;
use crate::ddl::RenderOptions;
use crate::digest::TableProof;
use crate::dump::{Source, SourceOptions, TableSlice};
pub(crate) use columns::as_made;
pub(crate) use deparse::settled;
pub use rows::{DifferingRow, DifferingRows, ShownValue};
pub(crate) use spelling::same_but_for_spelling;

/// How two databases are compared.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// Connections for each side.
    pub jobs: usize,
    /// Which part of both.
    pub filter: Filter,
    /// Compare no rows.
    pub schema_only: bool,
    /// Whether settings of the databases (`ALTER DATABASE … SET`, `ALTER ROLE … IN DATABASE … SET`) count as differences.
    /// They are named in any case.
    pub database_settings: bool,
    /// What to leave out of the definitions of both sides, and other names for roles of the left.
    pub render: RenderOptions,
    /// How long to wait for the lock on a table: see [`SourceOptions::lock_timeout`].
    pub lock_timeout: Option<std::time::Duration>,
    /// How many rows of each table that differs to look up and show, 1000 at the most; 0 for none.
    pub show_rows: usize,
}

impl Default for CompareOptions {
    fn default() -> Self {
        CompareOptions {
            jobs: 2,
            filter: Filter::default(),
            schema_only: false,
            database_settings: false,
            render: RenderOptions::default(),
            lock_timeout: SourceOptions::default().lock_timeout,
            show_rows: 0,
        }
    }
}

/// One side of a comparison.
#[derive(Debug)]
pub enum Side<'a> {
    /// A server.
    Live(&'a ConnectOptions),
    /// What was once read of one, with the proof of each table.
    Stored(Box<Stored>),
}

/// A database as a backup keeps it in mind.
#[derive(Debug)]
pub struct Stored {
    /// What to call it.
    pub label: String,
    /// The schema.
    pub catalog: Catalog,
    /// Rows and digest of each table.
    pub tables: Vec<(QualifiedName, TableProof)>,
    /// The same of each materialized view, as far as that is known.
    pub views: Vec<(QualifiedName, TableProof)>,
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

/// What a target's schema is, beside what it was to be.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SchemaProof {
    /// Objects on either side.
    pub objects: usize,
    /// Those whose definitions differ, sequences with their values among them.
    pub differences: Vec<SchemaDifference>,
    /// What was not compared to the letter, and why.
    pub not_compared: Vec<String>,
    /// What no comparison looks at.
    pub outside: &'static [&'static str],
    /// True when both servers are of one major version. Else a difference may be another way to write the same.
    pub same_version: bool,
}

impl SchemaProof {
    /// True when nothing differs that could not be another version's way of writing.
    pub fn holds(&self) -> bool {
        self.differences.is_empty() || !self.same_version
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// The server that was reached on the left, or the snapshot.
    pub left: String,
    /// The server that was reached on the right, or the snapshot.
    pub right: String,
    /// Every table that holds rows on either side.
    pub tables: Vec<TableComparison>,
    /// Rows that differ, where they were asked for ([`CompareOptions::show_rows`]).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<DifferingRows>,
    /// Objects whose definitions differ, sequences with their values among them.
    pub schema: Vec<SchemaDifference>,
    /// What was not compared, or not to the letter, and why.
    pub not_compared: Vec<String>,
    /// What no comparison looks at.
    pub outside: &'static [&'static str],
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
    compare_sides(Side::Live(left), Side::Live(right), options, on_table).await
}

/// The same for servers and for what is stored of them.
pub async fn compare_sides(
    left: Side<'_>,
    right: Side<'_>,
    options: &CompareOptions,
    on_table: &(dyn Fn(&TableComparison) + Sync),
) -> Result<Comparison, Error> {
    let (mut left, mut right) =
        futures::try_join!(Opened::open(left, options), Opened::open(right, options))?;
    // What is stored was digested in its own order of columns; a server can be read in any.
    let reordered = match &right {
        Opened::Stored { .. } => left.read_columns_like(right.catalog()),
        Opened::Live { .. } => right.read_columns_like(left.catalog()),
    };
    let reordered = reordered.into_iter().map(|name| {
        format!("order of columns in {name}: it is another one; the rows were compared by the names of the columns")
    });
    let (schema, spelling) = schema::differences(left.catalog(), right.catalog(), options)?;
    let mut tables = Vec::new();
    let mut views = Vec::new();
    let mut differing = Vec::new();
    if !options.schema_only {
        let groups = groups(&left, &right);
        tables = stream::iter(groups.clone())
            .map(|(name, members)| {
                let (left, right) = (&left, &right);
                async move {
                    let (l, r) = futures::try_join!(
                        left.digest_all(&members, options.jobs),
                        right.digest_all(&members, options.jobs)
                    )?;
                    let equal =
                        matches!((l, r), (Some(l), Some(r)) if l.rows == r.rows && l.digest == r.digest);
                    let compared = TableComparison { table: name.to_string(), left: l, right: r, equal };
                    on_table(&compared);
                    Ok::<_, Error>(compared)
                }
            })
            .buffered(options.jobs.max(1))
            .try_collect()
            .await?;
        views = views_that_differ(&left, &right, options.jobs).await?;
        if options.show_rows > 0 {
            let compared = groups.iter().zip(&tables).filter(|(_, table)| !table.equal);
            for ((name, members), table) in compared {
                differing.extend(
                    rows_that_differ(name, members, (&left, &right), table, options.show_rows).await?,
                );
            }
        }
    }
    let named = |side: &'static str, opened: &Opened| {
        opened
            .catalog()
            .unsupported()
            .iter()
            .map(move |object| format!("{side}: {object}"))
            .collect::<Vec<_>>()
    };
    let rows = options.schema_only.then(|| "rows: only the schemas were compared".to_owned());
    let not_compared = named("left", &left)
        .into_iter()
        .chain(named("right", &right))
        .chain(reordered)
        .chain(spelling)
        .chain(views)
        .chain(rows)
        .collect();
    let outside = schema::OUTSIDE;
    let comparison = Comparison {
        left: left.label(),
        right: right.label(),
        tables,
        rows: differing,
        schema,
        not_compared,
        outside,
    };
    left.finish().await?;
    right.finish().await?;
    Ok(comparison)
}

/// The tables with rows, by the name under which they are compared: partitions whose rows may be spread otherwise on the
/// other side are compared together.
fn groups(left: &Opened, right: &Opened) -> BTreeMap<QualifiedName, BTreeSet<QualifiedName>> {
    let encodings_differ = left.catalog().database.encoding != right.catalog().database.encoding;
    let mut groups: BTreeMap<QualifiedName, BTreeSet<QualifiedName>> = BTreeMap::new();
    for side in [left, right] {
        let through = routing::through(side.catalog(), encodings_differ);
        for name in side.tables() {
            groups
                .entry(through.get(&name).cloned().unwrap_or_else(|| name.clone()))
                .or_default()
                .insert(name);
        }
    }
    groups
}

/// The rows of a table on both sides that differ; nothing where a side lacks the table.
async fn rows_that_differ(
    name: &QualifiedName,
    members: &BTreeSet<QualifiedName>,
    (left, right): (&Opened, &Opened),
    compared: &TableComparison,
    show: usize,
) -> Result<Option<DifferingRows>, Error> {
    let (Some(one), Some(other)) = (compared.left, compared.right) else { return Ok(None) };
    let (Some(left), Some(right)) = (left.live(members, one), right.live(members, other)) else {
        return Ok(Some(DifferingRows {
            table: name.to_string(),
            key: Vec::new(),
            rows: Vec::new(),
            more: true,
            not_shown: Some(
                "rows of a snapshot cannot be looked up by key; restore it, and compare the two databases"
                    .to_owned(),
            ),
        }));
    };
    rows::of(name, members, left, right, show).await.map(Some)
}

/// Materialized views that both sides have filled, and not with the same rows, in words. A view may be out of date, or
/// its query give other rows each time: whether that is a difference is for whoever knows the view.
async fn views_that_differ(left: &Opened, right: &Opened, jobs: usize) -> Result<Vec<String>, Error> {
    let filled = |opened: &Opened| -> BTreeSet<QualifiedName> {
        opened.catalog().filled_views().map(|view| view.name()).collect()
    };
    let both: Vec<QualifiedName> = filled(left).intersection(&filled(right)).cloned().collect();
    stream::iter(both)
        .map(|view| async move {
            let (one, other) = futures::try_join!(left.digest_view(&view), right.digest_view(&view))?;
            Ok::<_, Error>(match (one, other) {
                (Some(one), Some(other)) if one.rows == other.rows && one.digest == other.digest => None,
                (Some(one), Some(other)) => Some(format!(
                    "contents of materialized view {view}, which differ: {} rows on the left, {} on the right; it is out of \
                     date on a side, or its query does not give the same rows twice",
                    one.rows, other.rows
                )),
                _ => Some(format!("contents of materialized view {view}: what a side holds is not known")),
            })
        })
        .buffered(jobs.max(1))
        .try_filter_map(|said| std::future::ready(Ok(said)))
        .try_collect()
        .await
}

/// A side that can be asked.
enum Opened {
    Live {
        source: Box<Source>,
        slices: BTreeMap<QualifiedName, Vec<TableSlice>>,
    },
    Stored {
        label: String,
        catalog: Box<Catalog>,
        tables: BTreeMap<QualifiedName, TableProof>,
        views: BTreeMap<QualifiedName, TableProof>,
    },
}

impl Opened {
    async fn open(side: Side<'_>, options: &CompareOptions) -> Result<Opened, Error> {
        match side {
            Side::Live(connect) => {
                let settings = SourceOptions {
                    jobs: options.jobs,
                    filter: options.filter.clone(),
                    lock_timeout: options.lock_timeout,
                    ..SourceOptions::default()
                };
                let source = Source::open(connect, &settings).await?;
                let mut slices: BTreeMap<QualifiedName, Vec<TableSlice>> = BTreeMap::new();
                for slice in source.slices() {
                    slices.entry(slice.table.clone()).or_default().push(slice);
                }
                Ok(Opened::Live { source: Box::new(source), slices })
            }
            Side::Stored(stored) => {
                let Stored { label, catalog, tables, views } = *stored;
                let catalog = match options.filter.is_all() {
                    true => catalog,
                    false => catalog.narrowed(&options.filter),
                };
                let wanted = |name: &QualifiedName| catalog.filter.wants_rows(name);
                let tables = tables.into_iter().filter(|(name, _)| wanted(name)).collect();
                let views = views.into_iter().collect();
                Ok(Opened::Stored { label, catalog: Box::new(catalog), tables, views })
            }
        }
    }

    /// This side for looking up rows; nothing where it is no server.
    fn live(&self, members: &BTreeSet<QualifiedName>, proof: TableProof) -> Option<rows::Live<'_>> {
        match self {
            Opened::Live { source, slices } => {
                let slices = members.iter().filter_map(|name| slices.get(name)).flatten().collect();
                Some(rows::Live { source, slices, proof })
            }
            Opened::Stored { .. } => None,
        }
    }

    fn label(&self) -> String {
        match self {
            Opened::Live { source, .. } => source.server().to_string(),
            Opened::Stored { label, .. } => label.clone(),
        }
    }

    fn catalog(&self) -> &Catalog {
        match self {
            Opened::Live { source, .. } => source.catalog(),
            Opened::Stored { catalog, .. } => catalog,
        }
    }

    fn tables(&self) -> Vec<QualifiedName> {
        match self {
            Opened::Live { slices, .. } => slices.keys().cloned().collect(),
            Opened::Stored { tables, .. } => tables.keys().cloned().collect(),
        }
    }

    /// Reads tables that have the columns of another catalog's, in another order, in that order. Gives their names.
    ///
    /// A table that inherits gets its parents' columns first when it is made again, wherever they stood before.
    fn read_columns_like(&mut self, other: &Catalog) -> Vec<QualifiedName> {
        let Opened::Live { slices, .. } = self else { return Vec::new() };
        let mut reordered = Vec::new();
        for table in &other.tables {
            let name = table.name();
            let Some(slices) = slices.get_mut(&name) else { continue };
            let sorted = |mut names: Vec<String>| {
                names.sort_unstable();
                names
            };
            let theirs: Vec<String> = table.copy_columns().iter().map(|column| column.name.clone()).collect();
            let mut other_order = false;
            for slice in slices {
                if slice.columns != theirs && sorted(slice.columns.clone()) == sorted(theirs.clone()) {
                    slice.columns.clone_from(&theirs);
                    other_order = true;
                }
            }
            if other_order {
                reordered.push(name);
            }
        }
        reordered
    }

    /// All of these tables that this side has, together.
    async fn digest_all(
        &self,
        names: &BTreeSet<QualifiedName>,
        jobs: usize,
    ) -> Result<Option<TableProof>, Error> {
        let mut sum: Option<TableProof> = None;
        for name in names {
            if let Some(proof) = self.digest(name, jobs).await? {
                sum = Some(sum.unwrap_or_default() + proof);
            }
        }
        Ok(sum)
    }

    async fn digest(&self, name: &QualifiedName, jobs: usize) -> Result<Option<TableProof>, Error> {
        match self {
            Opened::Stored { tables, .. } => Ok(tables.get(name).copied()),
            Opened::Live { source, slices } => {
                let Some(slices) = slices.get(name) else { return Ok(None) };
                stream::iter(slices)
                    .map(|slice| async move { source.copy_out(slice).await?.drain().await })
                    .buffer_unordered(jobs.max(1))
                    .try_fold(TableProof::default(), |sum, proof| async move { Ok(sum + proof) })
                    .await
                    .map(Some)
            }
        }
    }

    async fn digest_view(&self, name: &QualifiedName) -> Result<Option<TableProof>, Error> {
        match self {
            Opened::Stored { views, .. } => Ok(views.get(name).copied()),
            Opened::Live { source, .. } => {
                match source.materialized_views().iter().find(|slice| slice.table == *name) {
                    Some(slice) => source.digest(slice).await,
                    None => Ok(None),
                }
            }
        }
    }

    async fn finish(self) -> Result<(), Error> {
        match self {
            Opened::Live { source, .. } => source.finish().await,
            Opened::Stored { .. } => Ok(()),
        }
    }
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
        self.rows.iter().try_for_each(|rows| write!(f, "{rows}"))?;
        for difference in &self.schema {
            writeln!(f, "{}: DIFFERENT definition", difference.object)?;
            difference.left.iter().try_for_each(|sql| writeln!(f, "  left:  {sql}"))?;
            difference.right.iter().try_for_each(|sql| writeln!(f, "  right: {sql}"))?;
        }
        for skipped in &self.not_compared {
            writeln!(f, "not compared: {skipped}")?;
        }
        writeln!(f, "never compared: {}", self.outside.join("; "))?;
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
