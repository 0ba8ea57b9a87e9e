//! Compares two databases: the schema object by object, the rows table by table, each side in one snapshot.

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
pub(crate) use columns::with_inherited_first;
pub(crate) use deparse::settled;
pub use rows::{DifferingRow, DifferingRows, ShownValue};
pub(crate) use spelling::same_but_for_spelling;

/// How two databases are compared.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// Connections per side.
    pub jobs: usize,
    /// Part of both databases to compare.
    pub filter: Filter,
    /// Do not compare rows.
    pub schema_only: bool,
    /// Whether settings of the databases (`ALTER DATABASE … SET`, `ALTER ROLE … IN DATABASE … SET`) count as differences.
    /// They are named in any case.
    pub database_settings: bool,
    /// What to omit from the definitions of both sides, and how to map roles of the left side.
    pub render: RenderOptions,
    /// Lock timeout: see [`SourceOptions::lock_timeout`].
    pub lock_timeout: Option<std::time::Duration>,
    /// Number of rows to look up and show for each table that differs, at most 1000; 0 for none.
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
    /// Stored data about a database, with the proof of each table.
    Stored(Box<Stored>),
}

/// A database as stored in a backup.
#[derive(Debug)]
pub struct Stored {
    /// Label for reports.
    pub label: String,
    /// The schema.
    pub catalog: Catalog,
    /// Rows and digest of each table.
    pub tables: Vec<(QualifiedName, TableProof)>,
    /// The same of each materialized view, if known.
    pub views: Vec<(QualifiedName, TableProof)>,
}

/// Comparison of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TableComparison {
    /// Schema and name.
    pub table: String,
    /// Its rows on the left; `None` if the table is missing.
    pub left: Option<TableProof>,
    /// Its rows on the right.
    pub right: Option<TableProof>,
    /// Whether both sides have it, with equal rows.
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

/// Comparison of a target's schema with the expected one.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct SchemaProof {
    /// Number of objects on either side.
    pub objects: usize,
    /// Objects whose definitions differ, including sequences with their values.
    pub differences: Vec<SchemaDifference>,
    /// What was not compared exactly, and why.
    pub not_compared: Vec<String>,
    /// What no comparison covers.
    pub outside: &'static [&'static str],
    /// Whether both servers have the same major version. If not, a difference may be another spelling of the same
    /// definition.
    pub same_version: bool,
}

impl SchemaProof {
    /// Whether nothing differs except what may be another version's spelling.
    pub fn holds(&self) -> bool {
        self.differences.is_empty() || !self.same_version
    }
}

/// Result of a comparison.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// The server on the left, or the snapshot.
    pub left: String,
    /// The server on the right, or the snapshot.
    pub right: String,
    /// Every table with rows on either side.
    pub tables: Vec<TableComparison>,
    /// Differing rows, if requested ([`CompareOptions::show_rows`]).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<DifferingRows>,
    /// Objects whose definitions differ, including sequences with their values.
    pub schema: Vec<SchemaDifference>,
    /// What was not compared, or not exactly, and why.
    pub not_compared: Vec<String>,
    /// What no comparison covers.
    pub outside: &'static [&'static str],
}

impl Comparison {
    /// Whether schema and rows are equal.
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

/// The same for servers and stored databases.
pub async fn compare_sides(
    left: Side<'_>,
    right: Side<'_>,
    options: &CompareOptions,
    on_table: &(dyn Fn(&TableComparison) + Sync),
) -> Result<Comparison, Error> {
    let (mut left, mut right) =
        futures::try_join!(Opened::open(left, options), Opened::open(right, options))?;
    // Stored digests depend on the stored order of columns; a server can be read in any order.
    let reordered = match &right {
        Opened::Stored { .. } => left.read_columns_like(right.catalog()),
        Opened::Live { .. } => right.read_columns_like(left.catalog()),
    };
    let reordered = reordered.into_iter().map(|name| {
        format!("order of columns in {name}: it differs; the rows were compared by the names of the columns")
    });
    let (schema, spelling) = schema::differences(left.catalog(), right.catalog(), options)?;
    let mut tables = Vec::new();
    let mut views = Vec::new();
    let mut differing = Vec::new();
    if !options.schema_only {
        let groups = groups(&left, &right);
        // The biggest first, so that none is read alone at the end.
        let bytes = |(_, members): &(&QualifiedName, &BTreeSet<QualifiedName>)| {
            members.iter().map(|name| left.bytes(name).max(right.bytes(name))).sum::<u64>()
        };
        let mut order: Vec<_> = groups.iter().collect();
        order.sort_by_key(|group| std::cmp::Reverse(bytes(group)));
        tables = stream::iter(order)
            .map(|(name, members)| {
                let (left, right) = (&left, &right);
                async move {
                    let (l, r) = futures::try_join!(
                        left.digest_all(members, options.jobs),
                        right.digest_all(members, options.jobs)
                    )?;
                    let equal =
                        matches!((l, r), (Some(l), Some(r)) if l.rows == r.rows && l.digest == r.digest);
                    let compared = TableComparison { table: name.to_string(), left: l, right: r, equal };
                    on_table(&compared);
                    Ok::<_, Error>((name, compared))
                }
            })
            .buffer_unordered(options.jobs.max(1))
            .try_collect::<BTreeMap<_, _>>()
            .await?
            .into_values()
            .collect();
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

/// The tables with rows, by the name under which they are compared: partitions whose rows may be distributed
/// differently on the other side are compared together.
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

/// The differing rows of a table; `None` if a side lacks the table.
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

/// Materialized views that are populated on both sides with different rows, as text. A view may be out of date, or
/// its query may be volatile: whether that is a difference is for the user to decide.
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
                    "contents of materialized view {view}, which differ: {} rows on the left, {} on the right; it is \
                     out of date on one side, or its query does not always return the same rows",
                    one.rows, other.rows
                )),
                _ => Some(format!("contents of materialized view {view}: the contents of one side are unknown")),
            })
        })
        .buffered(jobs.max(1))
        .try_filter_map(|said| std::future::ready(Ok(said)))
        .try_collect()
        .await
}

/// A side that can be queried.
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

    /// This side for looking up rows; `None` if it is not a server.
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

    /// Approximate size of the rows of a table, in bytes.
    fn bytes(&self, name: &QualifiedName) -> u64 {
        match self {
            Opened::Live { slices, .. } => {
                slices.get(name).into_iter().flatten().map(|slice| slice.estimated_bytes).sum()
            }
            Opened::Stored { tables, .. } => tables.get(name).map_or(0, |proof| proof.bytes),
        }
    }

    /// Makes this side read tables that have the same columns as in another catalog, but in another order, in that
    /// order. Returns their names.
    ///
    /// A table that inherits gets its parents' columns first when it is recreated, whatever their order was before.
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

    /// The combined digest of those of these tables that this side has.
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
                    .map(|slice| source.proof_of(slice))
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
                "{}: DIFFERENT, {} rows on both sides with different contents ({} against {})",
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
