//! The plan of a restore as data: statements, tables with how their rows are copied, warnings.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::imported::Imported;
use super::resume::Resume;
use crate::catalog::routing;
use crate::catalog::{Catalog, QualifiedName, Unsupported};
use crate::conflict::Conflict;
use crate::connect::value_settings::ValueSettings;
use crate::copy_format::CopyFormat;
use crate::ddl::{Script, Statement};
use crate::quote::ident;
use crate::timescaledb::model::{Aggregate, Timescale};
use crate::warning::Warning;

/// A kind of object that counts as data although statements create it.
pub(crate) const LARGE_OBJECT: &str = "large object";

/// The plan of a restore: data that can be inspected before it is executed.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    pub(crate) script: Script,
    pub(crate) warnings: Vec<Warning>,
    pub(crate) drops: Option<Drops>,
    pub(crate) into: Option<IntoExisting>,
    /// The TimescaleDB objects to create or fill.
    pub(crate) timescale: Option<Timescale>,
    /// The tables that are hypertables on the target, or will be.
    pub(crate) hypertables: BTreeSet<QualifiedName>,
    /// Unsupported objects, if the rest is to be restored anyway.
    pub(crate) beyond: Vec<Unsupported>,
    pub(crate) tables: HashMap<QualifiedName, TablePlan>,
    /// Partitions whose rows are loaded through another table, which routes them.
    pub(crate) through: HashMap<QualifiedName, QualifiedName>,
    /// The settings under which the source evaluates its own expressions.
    pub(crate) values: ValueSettings,
    /// State of an interrupted restore that is resumed.
    pub(crate) resume: Option<Resume>,
    /// The wanted privileges, if new objects on the target do not have the default privileges of a new database.
    pub(crate) privileges: Option<Box<Catalog>>,
    /// The planner's statistics that are imported.
    pub(crate) statistics: Imported,
}

/// How the rows of a table are copied and read back.
#[derive(Debug, Clone, Default)]
pub(crate) struct TablePlan {
    /// The columns to copy, in order.
    pub(crate) columns: Vec<String>,
    /// The clause for the rows to read back, if not all of the table's.
    pub(crate) condition: String,
    /// Columns to read back as another type: that of the source.
    pub(crate) casts: BTreeMap<String, String>,
    /// Tables of a higher rank come after all those of a lower one.
    pub(crate) rank: usize,
    /// Whether its rows are in partitions.
    pub(crate) divided: bool,
    /// Whether `COPY` may store its rows frozen: an ordinary user table.
    pub(crate) freezes: bool,
    /// Format of its rows.
    pub(crate) format: CopyFormat,
}

impl RestorePlan {
    /// The TimescaleDB objects to recreate; `None` if the schema exists.
    pub(crate) fn rebuilt(&self) -> Option<&Timescale> {
        self.timescale.as_ref().filter(|_| self.into.is_none())
    }

    /// Existing objects that are dropped first, with [`Existing::Clean`](super::Existing::Clean).
    pub fn dropped(&self) -> impl Iterator<Item = &str> {
        self.drops.iter().flat_map(|drops| drops.batches.iter().flatten()).map(|drop| drop.object.as_str())
    }

    /// The table through which the rows of a partition are loaded, if the partition may not accept them.
    pub fn routed(&self, table: &QualifiedName) -> Option<&QualifiedName> {
        self.through.get(table)
    }

    /// Whether `COPY` may store a table's rows frozen: one stream into an ordinary table that the plan creates.
    pub fn may_freeze(&self, table: &QualifiedName) -> bool {
        self.freezes(table)
    }

    /// Format of the rows of a table.
    pub fn copy_format(&self, table: &QualifiedName) -> CopyFormat {
        self.tables.get(table).map_or(CopyFormat::Text, |table| table.format)
    }

    /// Switches these tables to binary rows, if the plan creates them with the types of the source. Returns those that
    /// were switched: only their rows may be binary.
    pub fn load_binary(&mut self, tables: &BTreeSet<QualifiedName>) -> BTreeSet<QualifiedName> {
        let into = self.into.is_some();
        let mut taken = BTreeSet::new();
        for table in tables {
            let Some(plan) = self.tables.get_mut(table).filter(|plan| !into && plan.casts.is_empty()) else {
                continue;
            };
            plan.format = CopyFormat::Binary;
            taken.insert(table.clone());
        }
        taken
    }

    /// Statements in order.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// Frees the statements, once all of them have run: a large schema has many.
    pub fn forget_script(&mut self) {
        self.script.statements = Vec::new();
    }

    /// Warnings.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Whether rows of this table are part of the plan.
    pub fn takes(&self, table: &QualifiedName) -> bool {
        self.tables.contains_key(table)
    }

    /// Whether a materialized view is refreshed.
    pub fn fills(&self, view: &QualifiedName) -> bool {
        self.filled_views().contains(&view.to_string())
    }

    /// The names of the materialized views that are refreshed.
    pub(crate) fn filled_views(&self) -> HashSet<String> {
        let made = self.script.statements.iter().filter(|statement| statement.fills_view());
        let existing = self.into.iter().flat_map(|into| &into.views).map(ToString::to_string);
        made.map(|statement| statement.object.name.clone()).chain(existing).collect()
    }

    /// Tables of a higher rank must be filled after all those of a lower one. Nearly always all have rank 0: the
    /// order of foreign keys matters only for a role that cannot disable their checks, and among the configuration
    /// tables of an extension, whose foreign keys exist before the rows.
    pub fn rank(&self, table: &QualifiedName) -> usize {
        self.tables.get(table).map_or(0, |table| table.rank)
    }

    /// The table that is verified instead of this one, if rows may be stored in other partitions of it than at the
    /// source; otherwise the table itself.
    pub fn proven_as<'a>(&'a self, table: &'a QualifiedName) -> &'a QualifiedName {
        self.through.get(table).unwrap_or(table)
    }

    /// Routes the rows of partitions through the partitioned tables, if their places are uncertain. In an existing
    /// schema only partitioned tables count.
    pub(crate) fn route_partitions(
        &mut self,
        catalog: &Catalog,
        encodings_differ: bool,
        divided: Option<&BTreeSet<QualifiedName>>,
    ) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        let through = routing::through(catalog, encodings_differ).into_iter().filter(|(leaf, root)| {
            self.tables.contains_key(leaf) && divided.is_none_or(|divided| divided.contains(root))
        });
        self.through = through.collect();
        for (leaf, root) in &self.through {
            let columns = |name| {
                let table = catalog.table(name);
                let columns = table.iter().flat_map(|table| table.copy_columns());
                columns.map(|column| column.name.clone()).collect::<Vec<_>>()
            };
            let (mine, theirs) = (columns(leaf), columns(root));
            if mine != theirs {
                conflicts.push(Conflict::PartitionColumns { partition: leaf.clone(), parent: root.clone() });
            }
            let plan = TablePlan { columns: theirs, divided: true, ..TablePlan::default() };
            self.tables.entry(root.clone()).or_insert(plan);
        }
        conflicts
    }

    /// Whether rows of a table that this plan creates can be stored frozen.
    pub(crate) fn freezes(&self, table: &QualifiedName) -> bool {
        let own = self.into.is_none() && !self.through.contains_key(table);
        own && self.tables.get(table).is_some_and(|table| table.freezes)
    }

    /// Every table that gets rows.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &QualifiedName> {
        self.tables.keys()
    }

    /// How rows are read back.
    pub(crate) fn table(&self, table: &QualifiedName) -> TablePlan {
        self.tables.get(table).cloned().unwrap_or_default()
    }

    /// `at` is the table into which the rows are copied.
    pub(crate) fn copy_in_statement(
        &self,
        table: &QualifiedName,
        at: &QualifiedName,
        freeze: bool,
    ) -> String {
        let options = match (self.copy_format(table), freeze) {
            (CopyFormat::Text, false) => "",
            (CopyFormat::Text, true) => " WITH (FREEZE)",
            (CopyFormat::Binary, false) => " WITH (FORMAT binary)",
            (CopyFormat::Binary, true) => " WITH (FORMAT binary, FREEZE)",
        };
        let at = if at == table { self.proven_as(table) } else { at };
        let columns: Vec<String> =
            self.table(table).columns.iter().map(|column| ident(column).into_owned()).collect();
        match columns.is_empty() {
            true => format!("COPY {at} FROM STDIN{options}"),
            false => format!("COPY {at} ({}) FROM STDIN{options}", columns.join(", ")),
        }
    }
}

impl RestorePlan {
    /// Continuous aggregates whose rows are loaded after everything else, in this order: see
    /// [`super::Target::open_late`].
    pub fn late(&self) -> Vec<QualifiedName> {
        let aggregates = self.timescale.iter().flat_map(|timescale| &timescale.aggregates);
        aggregates.map(|aggregate| aggregate.name.clone()).filter(|name| self.takes(name)).collect()
    }

    pub(crate) fn aggregate(&self, name: &QualifiedName) -> Option<(&Timescale, &Aggregate)> {
        let timescale = self.timescale.as_ref()?;
        Some((timescale, timescale.aggregate_named(name)?))
    }

    /// Whether a statement creates a foreign key that references a hypertable.
    pub(crate) fn waits_for_compression(&self, statement: &Statement) -> bool {
        let Some(timescale) = self.rebuilt() else { return false };
        // It locks its own table, then the referenced one.
        let referred = statement.locks.get(1).filter(|_| statement.object.kind == "foreign key");
        referred.is_some_and(|lock| timescale.hypertable(lock.table).is_some())
    }
}

/// What restoring rows into an existing schema requires.
#[derive(Debug, Clone, Default)]
pub(crate) struct IntoExisting {
    /// Every table that gets rows.
    pub(crate) tables: HashMap<QualifiedName, TablePlan>,
    /// Those of them that belong to an extension, with only some rows of the user.
    pub(crate) config: BTreeSet<QualifiedName>,
    /// The partitioned tables of the target.
    pub(crate) divided: BTreeSet<QualifiedName>,
    /// Statements to run first: empty tables.
    pub(crate) before: Vec<String>,
    /// Runs with the rows of each table: disables triggers and foreign key checks.
    pub(crate) begin: String,
    /// Statements to run last: values of sequences, materialized views.
    pub(crate) after: Vec<(String, String)>,
    /// The value of each sequence: the last value, and whether it was returned.
    pub(crate) values: Vec<(String, i64, bool)>,
    /// Materialized views to refresh.
    pub(crate) views: BTreeSet<QualifiedName>,
    /// Queries that return a row for each dangling reference, with the foreign key's name.
    pub(crate) references: Vec<(String, String)>,
    /// Existing rows are subtracted from the proof.
    pub(crate) append: bool,
    pub(crate) conflicts: Vec<Conflict>,
    pub(crate) warnings: Vec<Warning>,
}

/// The objects to drop.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drops {
    /// One transaction each.
    pub(crate) batches: Vec<Vec<Drop>>,
    /// Rows of extensions' configuration tables to be replaced.
    pub(crate) config_rows: Vec<(String, String)>,
    /// Conflicts.
    pub(crate) conflicts: Vec<Conflict>,
    /// Warnings.
    pub(crate) warnings: Vec<Warning>,
}

#[derive(Debug, Clone)]
pub(crate) struct Drop {
    pub(crate) object: String,
    pub(crate) sql: String,
    pub(crate) locks: u64,
}
