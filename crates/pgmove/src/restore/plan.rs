//! The plan of a restore as data: statements, tables with how their rows travel, warnings.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::resume::Resume;
use crate::catalog::routing;
use crate::catalog::{Catalog, QualifiedName, Unsupported};
use crate::connect::value_settings::ValueSettings;
use crate::ddl::{Script, Statement};
use crate::quote::ident;
use crate::remedy::Remedy;
use crate::timescaledb::model::{Aggregate, Timescale};

/// The kind of object that is data although statements make it.
pub(crate) const LARGE_OBJECT: &str = "large object";

/// What will be done to a target. Data: it can be looked at before it is carried out.
#[derive(Debug, Clone)]
pub struct RestorePlan {
    pub(crate) script: Script,
    pub(crate) warnings: Vec<String>,
    pub(crate) drops: Option<Drops>,
    pub(crate) into: Option<Into>,
    /// What TimescaleDB adds, as far as it is to be made or filled.
    pub(crate) timescale: Option<Timescale>,
    /// The tables that are hypertables at the target, or will be.
    pub(crate) hypertables: BTreeSet<QualifiedName>,
    /// What the target cannot express, where the rest is to come all the same.
    pub(crate) beyond: Vec<Unsupported>,
    pub(crate) tables: HashMap<QualifiedName, TablePlan>,
    /// Partitions whose rows go through another table, which finds their places.
    pub(crate) through: HashMap<QualifiedName, QualifiedName>,
    /// The settings under which the source evaluates its own expressions.
    pub(crate) values: ValueSettings,
    /// What an interrupted restore left here, where it is resumed.
    pub(crate) resume: Option<Resume>,
    /// What privileges are to be, where objects are not born here with those that every new database gives them.
    pub(crate) privileges: Option<Box<Catalog>>,
}

/// How the rows of one table are brought and read back.
#[derive(Debug, Clone, Default)]
pub(crate) struct TablePlan {
    /// The columns that are copied, in order.
    pub(crate) columns: Vec<String>,
    /// The clause that chooses rows when they are read back, where not all of the table's are meant.
    pub(crate) condition: String,
    /// Columns that are read back as another type: that of the source.
    pub(crate) casts: BTreeMap<String, String>,
    /// Tables of a higher rank come after all those of a lower one.
    pub(crate) rank: usize,
    /// Whether its rows lie in partitions here.
    pub(crate) divided: bool,
    /// Whether `COPY` may store its rows frozen: an ordinary table of the user's own.
    pub(crate) freezes: bool,
}

impl RestorePlan {
    /// What of TimescaleDB is made anew; nothing where the schema is there already.
    pub(crate) fn rebuilt(&self) -> Option<&Timescale> {
        self.timescale.as_ref().filter(|_| self.into.is_none())
    }

    /// Existing objects that are dropped first, with [`Existing::Clean`](super::Existing::Clean).
    pub fn dropped(&self) -> impl Iterator<Item = &str> {
        self.drops.iter().flat_map(|drops| drops.batches.iter().flatten()).map(|drop| drop.object.as_str())
    }

    /// The table whose `COPY` the rows of a partition go through, where its own may refuse them.
    pub fn routed(&self, table: &QualifiedName) -> Option<&QualifiedName> {
        self.through.get(table)
    }

    /// Whether `COPY` may store a table's rows frozen: one stream into an ordinary table that the plan creates.
    pub fn may_freeze(&self, table: &QualifiedName) -> bool {
        self.freezes(table)
    }

    /// Statements in order.
    pub fn script(&self) -> &Script {
        &self.script
    }

    /// Worth a word.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Whether rows of this table are part of the plan.
    pub fn takes(&self, table: &QualifiedName) -> bool {
        self.tables.contains_key(table)
    }

    /// Whether a materialized view is filled.
    pub fn fills(&self, view: &QualifiedName) -> bool {
        let name = view.to_string();
        let made = self.script.statements.iter();
        made.filter(|statement| statement.fills_view()).any(|statement| statement.object.name == name)
            || self.into.as_ref().is_some_and(|into| into.views.contains(view))
    }

    /// Tables of a higher rank are to be filled after all those of a lower one. Nearly always all have rank 0: the order
    /// of foreign keys has to be heeded by a role that cannot keep them from being checked, and among the configuration
    /// tables of an extension, which come with their foreign keys.
    pub fn rank(&self, table: &QualifiedName) -> usize {
        self.tables.get(table).map_or(0, |table| table.rank)
    }

    /// The table whose rows are to be proven, where those of this one may lie in other partitions of it than at the source;
    /// else the table itself.
    pub fn proven_as<'a>(&'a self, table: &'a QualifiedName) -> &'a QualifiedName {
        self.through.get(table).unwrap_or(table)
    }

    /// Leads the rows of partitions through the tables that find their places here, where that is uncertain. In a schema
    /// that is there already only tables count that are divided.
    pub(crate) fn lead_through(
        &mut self,
        catalog: &Catalog,
        encodings_differ: bool,
        divided: Option<&BTreeSet<QualifiedName>>,
    ) -> Vec<String> {
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
                conflicts.push(format!(
                    "partition {leaf}: its rows have to go through {root}, and its columns stand in another order: they could \
                     not be proven (create the partition anew, in the order of its parent)"
                ));
            }
            let plan = TablePlan { columns: theirs, divided: true, ..TablePlan::default() };
            self.tables.entry(root.clone()).or_insert(plan);
        }
        conflicts
    }

    /// Whether rows of a table that this plan makes can be stored frozen.
    pub(crate) fn freezes(&self, table: &QualifiedName) -> bool {
        let own = self.into.is_none() && !self.through.contains_key(table);
        own && self.tables.get(table).is_some_and(|table| table.freezes)
    }

    /// Every table that takes rows.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &QualifiedName> {
        self.tables.keys()
    }

    /// How rows are read back.
    pub(crate) fn table(&self, table: &QualifiedName) -> TablePlan {
        self.tables.get(table).cloned().unwrap_or_default()
    }

    /// `at` is where the rows of the table go.
    pub(crate) fn copy_in_statement(&self, table: &QualifiedName, at: &QualifiedName) -> String {
        let at = if at == table { self.proven_as(table) } else { at };
        let columns: Vec<String> =
            self.table(table).columns.iter().map(|column| ident(column).into_owned()).collect();
        match columns.is_empty() {
            true => format!("COPY {at} FROM STDIN"),
            false => format!("COPY {at} ({}) FROM STDIN", columns.join(", ")),
        }
    }
}

impl RestorePlan {
    /// Continuous aggregates whose rows come after everything else, in this order: see [`super::Target::open_late`].
    pub fn late(&self) -> Vec<QualifiedName> {
        let aggregates = self.timescale.iter().flat_map(|timescale| &timescale.aggregates);
        aggregates.map(|aggregate| aggregate.name.clone()).filter(|name| self.takes(name)).collect()
    }

    pub(crate) fn aggregate(&self, name: &QualifiedName) -> Option<(&Timescale, &Aggregate)> {
        let timescale = self.timescale.as_ref()?;
        Some((timescale, timescale.aggregate_named(name)?))
    }

    /// Whether a statement makes a foreign key that refers to a hypertable.
    pub(crate) fn waits_for_compression(&self, statement: &Statement) -> bool {
        let Some(timescale) = self.rebuilt() else { return false };
        // It locks its own table, and then the one that it refers to.
        let referred = statement.locks.get(1).filter(|_| statement.object.kind == "foreign key");
        referred.is_some_and(|lock| timescale.hypertable(lock.table).is_some())
    }
}

/// What bringing rows into a foreign schema takes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Into {
    /// Every table that takes rows.
    pub(crate) tables: HashMap<QualifiedName, TablePlan>,
    /// Those of them that belong to an extension, of which only some rows are the user's.
    pub(crate) config: BTreeSet<QualifiedName>,
    /// The tables of the target that are divided into partitions.
    pub(crate) divided: BTreeSet<QualifiedName>,
    /// Run first: empty tables.
    pub(crate) before: Vec<String>,
    /// Runs with the rows of each table: keeps triggers and foreign keys from firing.
    pub(crate) begin: String,
    /// Run last: values of sequences, materialized views.
    pub(crate) after: Vec<(String, String)>,
    /// Where each sequence is to stand: the last value, and whether it was given.
    pub(crate) values: Vec<(String, i64, bool)>,
    /// Materialized views that are filled again.
    pub(crate) views: BTreeSet<QualifiedName>,
    /// Queries that give a row for each reference that leads nowhere, with the foreign key's name.
    pub(crate) references: Vec<(String, String)>,
    /// Rows that are there already count apart in the proof.
    pub(crate) append: bool,
    pub(crate) conflicts: Vec<String>,
    pub(crate) remedies: Vec<Remedy>,
    pub(crate) warnings: Vec<String>,
}

/// What will be dropped.
#[derive(Debug, Clone, Default)]
pub(crate) struct Drops {
    /// Each in a transaction of its own.
    pub(crate) batches: Vec<Vec<Drop>>,
    /// Rows of extensions' configuration tables that give way to those that come.
    pub(crate) config_rows: Vec<(String, String)>,
    /// What stands against it.
    pub(crate) conflicts: Vec<String>,
    /// What the user is to know before.
    pub(crate) warnings: Vec<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Drop {
    pub(crate) object: String,
    pub(crate) sql: String,
    pub(crate) locks: u64,
}
