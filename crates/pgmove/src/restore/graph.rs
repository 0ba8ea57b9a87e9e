//! The graph of a restore, from the first row to the planner's statistics: loads, indexes, constraints, statistics
//! and reading back are nodes with dependencies, locks and costs. It is data, which can be inspected before it is
//! run.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use serde::Serialize;

use super::RestorePlan;
use crate::catalog::table::TableKind;
use crate::catalog::{Catalog, QualifiedName, large_objects_table};
use crate::ddl::{Section, Statement, Step, TableLock};

/// Below this number of pages, two steps take no less time than one statement.
const MIN_STAGED_PAGES: u64 = 1024;
/// Cost of a page, in microseconds: loading its text, sorting it for an index, reading it back.
const LOAD: u64 = 150;
const BUILD: u64 = 100;
const READ: u64 = 60;
/// Minimum cost of a node, in microseconds.
const MIN_COST: u64 = 500;
/// Maximum cost of a sample of 30,000 rows, in microseconds.
const ANALYZE: u64 = 300_000;

/// A table with at least this many bytes of rows may have enough pages to be read back in ranges. A row takes a few
/// bytes of text, and dozens of its page.
const LARGE: u64 = 4 << 20;

/// A stream of rows to load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Load {
    /// The table.
    pub table: QualifiedName,
    /// Approximate size of the stream in bytes.
    pub bytes: u64,
}

/// What a node does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "work")]
#[non_exhaustive]
pub enum Work {
    /// Loads rows: one of the streams that the graph was built for.
    Load {
        /// The table.
        table: QualifiedName,
        /// Its position.
        stream: usize,
    },
    /// Nothing: the loads that it waits for are complete. Nodes that wait for all rows depend on this one, because
    /// many that depend on many others would need memory by the square of their number.
    Loaded,
    /// Runs a statement of the plan's script.
    Statement {
        /// The object of the statement.
        object: String,
        /// Its position.
        statement: usize,
        /// The step, if it has two.
        #[serde(skip_serializing_if = "Option::is_none")]
        step: Option<StepNumber>,
    },
    /// Collects the planner's statistics.
    Analyze {
        /// The table.
        table: QualifiedName,
    },
    /// Imports the planner's statistics that the source has.
    ImportStatistics {
        /// The table.
        table: QualifiedName,
    },
    /// Reads a table back, and digests it.
    ReadBack {
        /// The table.
        table: QualifiedName,
        /// Whether it may be large enough to be read in several ranges.
        #[serde(skip)]
        large: bool,
    },
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Work::Load { table, .. } => write!(f, "load {table}"),
            Work::Loaded => f.write_str("all rows loaded"),
            Work::Statement { object, step: Some(StepNumber::Then), .. } => {
                write!(f, "{object}, second step")
            }
            Work::Statement { object, .. } => f.write_str(object),
            Work::Analyze { table } => write!(f, "analyze {table}"),
            Work::ImportStatistics { table } => write!(f, "import statistics of {table}"),
            Work::ReadBack { table, .. } => write!(f, "read back {table}"),
        }
    }
}

/// A step of a statement in two steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepNumber {
    /// The first.
    First,
    /// The second.
    Then,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Node {
    /// What it does.
    #[serde(flatten)]
    pub work: Work,
    /// Nodes that must be done before, by index.
    pub needs: Vec<usize>,
    /// Estimated duration in microseconds, useful only to compare nodes.
    pub cost: u64,
    /// Estimated duration from its start to the end of the longest chain of nodes that depend on it.
    pub path: u64,
    #[serde(skip)]
    pub(super) locks: Vec<TableLock>,
}

/// The work after the creation of tables.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Graph {
    /// The nodes, each after those that it depends on.
    pub nodes: Vec<Node>,
    /// Tables and views to analyze, or to import statistics of, at the very end: those composed of others, or filled
    /// later.
    pub analyzed_last: Vec<QualifiedName>,
}

/// The tables of a catalog with their inheritance.
struct Tables<'a> {
    oids: HashMap<QualifiedName, u32>,
    children: HashMap<u32, Vec<u32>>,
    kinds: HashMap<u32, (&'a QualifiedName, TableKind)>,
}

/// The graph of a plan, for these streams of rows, with or without the statements that follow them.
pub(super) fn make(
    plan: &RestorePlan,
    catalog: &Catalog,
    loads: &[Load],
    statements: bool,
    read_back: bool,
) -> Graph {
    let names: Vec<QualifiedName> = catalog.tables.iter().map(|table| table.name()).collect();
    let mut tables = Tables { oids: HashMap::new(), children: HashMap::new(), kinds: HashMap::new() };
    for (table, name) in catalog.tables.iter().zip(&names) {
        tables.oids.insert(name.clone(), table.meta.oid);
        tables.kinds.insert(table.meta.oid, (name, table.kind));
        for parent in &table.parents {
            tables.children.entry(parent.oid).or_default().push(table.meta.oid);
        }
    }
    let config: HashSet<QualifiedName> = catalog.config_tables().map(|(table, _)| table.name()).collect();
    let config = loads.iter().any(|load| config.contains(&load.table));
    let mut maker = GraphBuilder { plan, tables, graph: Graph::default(), loads: HashMap::new(), config };
    maker.loads(loads);
    if statements && plan.into.is_none() {
        maker.statements();
    }
    maker.statistics(catalog);
    if read_back && plan.into.is_none() {
        maker.read_back(loads);
    }
    maker.graph.find_paths();
    maker.graph
}

impl Tables<'_> {
    /// A table and everything that inherits from it.
    fn with_children(&self, table: u32) -> HashSet<u32> {
        let (mut open, mut found) = (vec![table], HashSet::new());
        while let Some(table) = open.pop() {
            if found.insert(table) {
                open.extend(self.children.get(&table).into_iter().flatten());
            }
        }
        found
    }
}

struct GraphBuilder<'a> {
    plan: &'a RestorePlan,
    tables: Tables<'a>,
    graph: Graph,
    /// The nodes that load each table.
    loads: HashMap<u32, Vec<usize>>,
    /// Whether rows of an extension's own tables are restored, on which its functions may rely.
    config: bool,
}

impl GraphBuilder<'_> {
    fn add(&mut self, work: Work, needs: Vec<usize>, cost: u64, locks: Vec<TableLock>) -> usize {
        self.graph.nodes.push(Node { work, needs, cost: cost.max(MIN_COST), path: 0, locks });
        self.graph.nodes.len() - 1
    }

    /// Tables of a higher rank come after all those of a lower one.
    fn loads(&mut self, loads: &[Load]) {
        let mut ranks = BTreeMap::<usize, Vec<usize>>::new();
        for (stream, load) in loads.iter().enumerate() {
            ranks.entry(self.plan.rank(&load.table)).or_default().push(stream);
        }
        let last = ranks.len().saturating_sub(1);
        let mut before: Option<usize> = None;
        for (step, streams) in ranks.into_values().enumerate() {
            let mut these: Vec<usize> = before.into_iter().collect();
            for stream in streams {
                let Some(load) = loads.get(stream) else { continue };
                let work = Work::Load { table: load.table.clone(), stream };
                let node = self.add(work, before.into_iter().collect(), load.bytes / 8192 * LOAD, Vec::new());
                // Rows that are loaded through a partitioned table may be stored in any of its partitions.
                let root = self.plan.proven_as(&load.table);
                let places = match self.tables.oids.get(root) {
                    Some(oid) if *root != load.table => self.tables.with_children(*oid),
                    own => own.copied().into_iter().collect(),
                };
                places.into_iter().for_each(|oid| self.loads.entry(oid).or_default().push(node));
                these.push(node);
            }
            if step < last {
                before = Some(self.loaded(these));
            }
        }
    }

    /// A node that waits for these loads.
    fn loaded(&mut self, loads: Vec<usize>) -> usize {
        self.graph.nodes.push(Node { work: Work::Loaded, needs: loads, cost: 0, path: 0, locks: Vec::new() });
        self.graph.nodes.len() - 1
    }

    /// The nodes that load a table or its children: a statement on a partitioned table reaches its partitions.
    fn loads_of(&self, table: u32, found: &mut BTreeSet<usize>) {
        for table in self.tables.with_children(table) {
            found.extend(self.loads.get(&table).into_iter().flatten());
        }
    }

    /// Whether a statement depends on no rows other than those of the tables that it locks. A function may read other
    /// tables, regardless of its declaration.
    fn is_local(&self, statement: &Statement) -> bool {
        let of_tables = |needed: &Statement| match needed.object.kind.as_str() {
            "table" | "schema" | "index" | "constraint" | "statistics" | "sequence" => true,
            "extension" => !self.config,
            _ => false,
        };
        let script = &self.plan.script.statements;
        matches!(statement.object.kind.as_str(), "index" | "constraint" | "foreign key" | "statistics")
            && !statement.locks.is_empty()
            && statement.depends_on.iter().filter_map(|at| script.get(*at)).all(of_tables)
    }

    fn statements(&mut self) {
        let all: Vec<usize> = (0..self.graph.nodes.len()).collect();
        let mut all_loaded: Option<usize> = None;
        let script = &self.plan.script;
        let mut ends = HashMap::<usize, usize>::new();
        for (at, statement) in script.section(Section::PostData) {
            if self.plan.waits_for_compression(statement) {
                continue;
            }
            let mut needs: BTreeSet<usize> =
                statement.depends_on.iter().filter_map(|need| ends.get(need)).copied().collect();
            // A statement that comes later in the script than one that depends on it is part of a cycle, which the
            // script's order resolves.
            if self.is_local(statement) {
                statement.locks.iter().for_each(|lock| self.loads_of(lock.table, &mut needs));
            } else {
                let loaded = all_loaded.get_or_insert_with(|| self.loaded(all.clone()));
                needs.insert(*loaded);
            }
            let needs: Vec<usize> = needs.into_iter().collect();
            let node = |step| Work::Statement { object: statement.object.to_string(), statement: at, step };
            let cost = |weight: u64| weight.saturating_mul(BUILD);
            let staged = statement.staged.as_deref().filter(|_| statement.weight >= MIN_STAGED_PAGES);
            let end = match staged {
                Some(staged) => {
                    let Step { weight, locks, .. } = &staged.first;
                    let work = node(Some(StepNumber::First));
                    let first = self.add(work, needs, cost(*weight), locks.clone());
                    let Step { weight, locks, .. } = &staged.then;
                    self.add(node(Some(StepNumber::Then)), vec![first], cost(*weight), locks.clone())
                }
                None => self.add(node(None), needs, cost(statement.weight), statement.locks.clone()),
            };
            ends.insert(at, end);
        }
    }

    /// Statistics of each table when it is complete; of tables composed of others, or filled later, at the end.
    fn statistics(&mut self, catalog: &Catalog) {
        let mut on = HashMap::<u32, BTreeSet<usize>>::new();
        for (at, node) in self.graph.nodes.iter().enumerate() {
            node.locks.iter().for_each(|lock| {
                on.entry(lock.table).or_default().insert(at);
            });
        }
        let timescale = catalog.timescale.as_ref();
        let views = self.plan.filled_views();
        for table in &catalog.tables {
            let (oid, name) = (table.meta.oid, table.name());
            let taken = self.plan.takes(&name)
                || table.kind == TableKind::Partitioned
                || views.contains(&name.to_string());
            if !taken || table.kind == TableKind::Foreign {
                continue;
            }
            let hypertable = timescale.is_some_and(|timescale| timescale.hypertable(oid).is_some());
            let own =
                table.kind == TableKind::Ordinary && !self.tables.children.contains_key(&oid) && !hypertable;
            if !own || self.plan.into.is_some() {
                self.graph.analyzed_last.push(name);
                continue;
            }
            let mut needs = on.remove(&oid).unwrap_or_default();
            needs.extend(self.loads.get(&oid).into_iter().flatten());
            let (work, cost) = match self.plan.imports_statistics(&name) {
                true => (Work::ImportStatistics { table: name }, MIN_COST),
                false => {
                    let cost = (u64::try_from(table.pages).unwrap_or(0) * READ).min(ANALYZE);
                    (Work::Analyze { table: name }, cost)
                }
            };
            let lock = TableLock { table: oid, exclusive: true };
            self.add(work, needs.into_iter().collect(), cost, vec![lock]);
        }
    }

    /// Reads each table once, as soon as all its rows are loaded. It does not wait for indexes, and indexes do not
    /// wait for it.
    fn read_back(&mut self, loads: &[Load]) {
        let mut bytes = BTreeMap::<&QualifiedName, u64>::new();
        let own = |load: &&Load| self.plan.proven_as(&load.table) == &load.table;
        for load in loads.iter().filter(|load| load.table != large_objects_table()).filter(own) {
            *bytes.entry(&load.table).or_default() += load.bytes;
        }
        for (table, bytes) in bytes {
            let (mut needs, mut locks) = (BTreeSet::new(), Vec::new());
            if let Some(oid) = self.tables.oids.get(table).copied() {
                self.loads_of(oid, &mut needs);
                // A request for an exclusive lock behind a long read would make other sessions wait too.
                locks.push(TableLock { table: oid, exclusive: false });
            }
            let work = Work::ReadBack { table: table.clone(), large: bytes >= LARGE };
            self.add(work, needs.into_iter().collect(), bytes / 8192 * READ, locks);
        }
    }
}

impl Graph {
    /// The longest path from each node to the end. Dependencies come before their dependents.
    fn find_paths(&mut self) {
        for at in (0..self.nodes.len()).rev() {
            let Some(node) = self.nodes.get_mut(at) else { continue };
            node.path += node.cost;
            let (path, needs) = (node.path, node.needs.clone());
            for need in needs {
                if let Some(needed) = self.nodes.get_mut(need) {
                    // Until it is processed, a node's path is that of its dependents.
                    needed.path = needed.path.max(path);
                }
            }
        }
    }
}
