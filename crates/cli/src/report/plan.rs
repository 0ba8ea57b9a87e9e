//! The plan of a restore or a migration, as `--dry-run` prints it.

use std::fmt::Write as _;

use serde::Serialize;

use crate::exit::Exit;
use crate::report::text::Table;
use crate::ui::{count, size};
use crate::worded::Worded;

/// The plan for all targets of one run.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PlanReport {
    /// The snapshot's id, or the server that would be read.
    pub(crate) from: String,
    /// One plan per target.
    pub(crate) targets: Vec<TargetPlan>,
}

/// The plan for one target.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TargetPlan {
    /// The source's name.
    pub(crate) source: String,
    /// Address of the target.
    pub(crate) server: String,
    /// What would be done there.
    #[serde(flatten)]
    pub(crate) plan: TargetActions,
}

/// What would be done, by kind.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub(crate) enum TargetActions {
    /// A database.
    Postgres(PostgresPlan),
    /// A Redis or Valkey server.
    Redis(RedisPlan),
}

/// What happens to existing data of the target.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "policy")]
#[non_exhaustive]
pub(crate) enum ExistingData {
    /// There is none, or it is not touched.
    Empty,
    /// The database is created first.
    NewDatabase {
        /// Its name.
        name: String,
    },
    /// These objects are dropped first.
    Dropped {
        /// Each with its kind.
        objects: Vec<String>,
    },
    /// The tables are emptied first.
    Truncated,
    /// An interrupted run is resumed: complete tables are kept, the others emptied.
    Resumed {
        /// Tables that are compared with the source first.
        tables: Vec<String>,
    },
    /// Rows are added to existing ones.
    AddedTo,
    /// All keys are deleted first.
    Flushed,
    /// Keys of the same name are replaced.
    Replaced,
    /// Keys of the same name are kept.
    Kept,
}

/// How a table's rows are copied.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "copy")]
#[non_exhaustive]
pub(crate) enum Copying {
    /// `COPY`.
    Plain,
    /// `COPY FREEZE`: one stream, into a table of the same transaction.
    Frozen,
    /// Through this partitioned table, because rows may belong to other partitions here.
    Through {
        /// The partitioned table.
        table: pgmove::TableName,
    },
    /// Into a continuous aggregate, after it was refreshed.
    AfterRefresh,
}

/// Where the planner's statistics of a table come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub(crate) enum StatisticsPlan {
    /// From the source.
    Imported,
    /// `ANALYZE` collects them.
    Collected,
}

/// A table's rows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct TablePlan {
    /// Its name.
    pub(crate) table: pgmove::TableName,
    /// Number of rows, if the source has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<u64>,
    /// Approximate bytes to read.
    pub(crate) bytes: u64,
    /// Number of streams that can be loaded in parallel.
    pub(crate) streams: usize,
    /// How they are loaded.
    #[serde(flatten)]
    pub(crate) copying: Copying,
    /// The format of their rows.
    pub(crate) format: pgmove::CopyFormat,
    /// Where the planner's statistics come from.
    pub(crate) statistics: StatisticsPlan,
}

/// The plan for a database.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct PostgresPlan {
    /// What happens to existing data.
    pub(crate) existing: ExistingData,
    /// Memory and parallel workers of each index build.
    pub(crate) index_memory: pgmove::IndexMemory,
    /// Roles to create first, unless they exist.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) roles: Vec<String>,
    /// Number of schema statements.
    pub(crate) statements: usize,
    /// Connections.
    pub(crate) jobs: usize,
    /// Tables with rows.
    pub(crate) tables: Vec<TablePlan>,
    /// Loads, indexes, constraints, statistics and verification, with their dependencies.
    pub(crate) graph: pgmove::Graph,
    /// Whether everything is read back and compared.
    pub(crate) verified: bool,
    /// Differences at the target that do not prevent the restore.
    pub(crate) warnings: Vec<Worded<pgmove::Warning>>,
}

/// The plan for a Redis or Valkey server.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RedisPlan {
    /// What happens to existing keys.
    pub(crate) existing: ExistingData,
    /// Number of keys, if all are selected and the source reports it.
    pub(crate) keys: Option<u64>,
    /// Number of existing keys.
    pub(crate) existing_keys: u64,
    /// Values that the target cannot hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unsupported: Option<String>,
    /// Whether the run would be refused because of them.
    pub(crate) refused: bool,
    /// The target's memory limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<String>,
    /// Whether everything is read back and compared.
    pub(crate) verified: bool,
}

impl PlanReport {
    /// 5 if the run itself would be refused.
    pub(crate) fn exit(&self) -> Exit {
        let refused =
            |target: &TargetPlan| matches!(&target.plan, TargetActions::Redis(plan) if plan.refused);
        if self.targets.iter().any(refused) { Exit::Refused } else { Exit::Done }
    }

    /// Renders the report as text.
    pub(crate) fn render(&self) -> String {
        let mut out = format!("dry run: nothing was written\nfrom {}\n", self.from);
        for target in &self.targets {
            let _ = writeln!(out, "\nsource `{}` into {}", target.source, target.server);
            match &target.plan {
                TargetActions::Postgres(plan) => plan.render(&mut out),
                TargetActions::Redis(plan) => plan.render(&mut out),
            }
        }
        out
    }
}

impl ExistingData {
    fn line(&self) -> String {
        match self {
            ExistingData::Empty => "existing data: none, or untouched".to_owned(),
            ExistingData::NewDatabase { name } => {
                format!("existing data: none; database `{name}` is created")
            }
            ExistingData::Dropped { objects } => {
                let mut line =
                    format!("existing data: {} dropped first", number(objects.len() as u64, "object"));
                for object in objects {
                    let _ = write!(line, "\n  drop {object}");
                }
                line
            }
            ExistingData::Truncated => "existing data: tables are emptied first".to_owned(),
            ExistingData::Resumed { tables } => {
                let tables = number(tables.len() as u64, "table");
                format!(
                    "existing data: {tables} of an interrupted run; complete ones are kept, others emptied first"
                )
            }
            ExistingData::AddedTo => "existing data: rows are added to it".to_owned(),
            ExistingData::Flushed => "existing data: all keys are deleted first".to_owned(),
            ExistingData::Replaced => "existing data: keys of the same name are replaced".to_owned(),
            ExistingData::Kept => "existing data: keys of the same name are kept".to_owned(),
        }
    }
}

impl TablePlan {
    fn shown(&self) -> String {
        let format = if self.format == pgmove::CopyFormat::Binary { ", binary" } else { "" };
        self.copying.shown() + format
    }
}

impl Copying {
    fn shown(&self) -> String {
        match self {
            Copying::Plain => "COPY".to_owned(),
            Copying::Frozen => "COPY FREEZE".to_owned(),
            Copying::Through { table } => format!("COPY through {table}"),
            Copying::AfterRefresh => "after refresh".to_owned(),
        }
    }
}

impl StatisticsPlan {
    fn shown(self) -> &'static str {
        match self {
            StatisticsPlan::Imported => "imported",
            StatisticsPlan::Collected => "ANALYZE",
        }
    }
}

fn verified(verified: bool) -> &'static str {
    if verified { "then read back and compared" } else { "not verified" }
}

impl PostgresPlan {
    fn render(&self, out: &mut String) {
        let _ = writeln!(out, "{}", self.existing.line());
        let pgmove::IndexMemory { builds, bytes, workers, .. } = self.index_memory;
        let _ = writeln!(
            out,
            "indexes: up to {builds} built at the same time, each with {} and {}",
            repository::ByteSize(bytes),
            number(workers, "parallel worker")
        );
        if !self.roles.is_empty() {
            let _ = writeln!(out, "roles created unless they exist: {}", self.roles.join(", "));
        }
        let _ = writeln!(
            out,
            "{}, {}; {}",
            number(self.statements as u64, "statement"),
            number(self.jobs as u64, "connection"),
            verified(self.verified)
        );
        for warning in &self.warnings {
            let _ = writeln!(out, "warning: {warning}");
        }
        if !self.tables.is_empty() {
            let mut table = Table::new(&["table", ">rows", ">size", ">streams", "copy", "statistics"]);
            for one in &self.tables {
                table.row([
                    one.table.to_string(),
                    one.rows.map_or_else(|| "-".to_owned(), |rows| rows.to_string()),
                    size(one.bytes),
                    one.streams.to_string(),
                    one.shown(),
                    one.statistics.shown().to_owned(),
                ]);
            }
            let _ = write!(out, "\n{}", table.render());
        }
        if !self.graph.nodes.is_empty() {
            let mut table = Table::new(&[">step", "what", "waits for", ">estimate", ">longest path"]);
            for (at, node) in self.graph.nodes.iter().enumerate() {
                let needs: Vec<String> = node.needs.iter().map(ToString::to_string).collect();
                table.row([
                    at.to_string(),
                    node.work.to_string(),
                    needs.join(", "),
                    estimate(node.cost),
                    estimate(node.path),
                ]);
            }
            let _ = write!(out, "\n{}", table.render());
        }
    }
}

/// `1 key`, `2 keys`.
fn number(n: u64, unit: &str) -> String {
    format!("{} {unit}{}", count(n), if n == 1 { "" } else { "s" })
}

/// An estimate in microseconds, useful only to compare steps.
fn estimate(microseconds: u64) -> String {
    format!("{}.{:03} s", microseconds / 1_000_000, microseconds / 1000 % 1000)
}

impl RedisPlan {
    fn render(&self, out: &mut String) {
        let _ = writeln!(out, "{}; it holds {}", self.existing.line(), number(self.existing_keys, "key"));
        match self.keys {
            Some(keys) => {
                let _ = writeln!(out, "{}; {}", number(keys, "key"), verified(self.verified));
            }
            None => {
                let _ = writeln!(out, "{}", verified(self.verified));
            }
        }
        if let Some(memory) = &self.memory {
            let _ = writeln!(out, "memory: {memory}");
        }
        if let Some(unsupported) = &self.unsupported {
            let end = if self.refused { "the run would be refused" } else { "they are left out" };
            let _ = writeln!(out, "the target cannot hold these; {end}:\n{unsupported}");
        }
    }
}
