//! The TimescaleDB objects of a database, as data: hypertables, their chunks, continuous aggregates, jobs.
//!
//! They are not copied as rows, because the structure of the extension's own tables differs between versions. A
//! target recreates all of them with the extension's public functions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalog::meta::QualifiedName;

/// All TimescaleDB objects of a database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Timescale {
    /// Version of the extension.
    pub version: String,
    /// Schema of its public functions.
    pub schema: String,
    /// Hypertables, without the internal ones of aggregates and compression.
    pub hypertables: Vec<Hypertable>,
    /// Continuous aggregates, each after those that it reads.
    pub aggregates: Vec<Aggregate>,
    /// Policies and user-defined jobs, in the order in which they were created.
    pub jobs: Vec<Job>,
    /// A warning if the version is untested.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untried: Option<String>,
    /// Warnings before anything is copied.
    pub warnings: Vec<String>,
}

impl Timescale {
    /// The hypertable with this OID.
    pub fn hypertable(&self, oid: u32) -> Option<&Hypertable> {
        self.hypertables.iter().find(|table| table.oid == oid)
    }

    /// The continuous aggregate whose view has this OID.
    pub fn aggregate(&self, oid: u32) -> Option<&Aggregate> {
        self.aggregates.iter().find(|aggregate| aggregate.oid == oid)
    }

    /// Whether there are no hypertables, aggregates and jobs.
    pub fn is_empty(&self) -> bool {
        self.hypertables.is_empty() && self.aggregates.is_empty() && self.jobs.is_empty()
    }

    /// Whether the invalidated ranges of every aggregate are known.
    pub(crate) fn knows_ranges(&self) -> bool {
        self.aggregates.iter().all(|aggregate| aggregate.invalid.is_some())
    }

    /// The continuous aggregate of that name.
    pub fn aggregate_named(&self, name: &QualifiedName) -> Option<&Aggregate> {
        self.aggregates.iter().find(|aggregate| aggregate.name == *name)
    }
}

/// A hypertable: a table whose rows are stored in chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hypertable {
    /// OID of the table.
    pub oid: u32,
    /// The table.
    #[serde(flatten)]
    pub name: QualifiedName,
    /// Dimensions; the first is time, or an integer that represents it.
    pub dimensions: Vec<Dimension>,
    /// Chunks, in the order in which they were created.
    #[serde(default)]
    pub chunks: Vec<Chunk>,
    /// Compression settings, if enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Tablespaces for its chunks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tablespaces: Vec<String>,
    /// Schema for its chunks, unless it is the extension's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_schema: Option<String>,
    /// Name prefix of its chunks, unless it is the extension's default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_prefix: Option<String>,
}

/// A dimension by which rows are partitioned into chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimension {
    /// The column.
    pub column: String,
    /// The column's type, formatted.
    pub column_type: String,
    /// Length of a chunk's range: microseconds for times, otherwise units of the integer. Only if `partitions` is
    /// absent.
    #[serde(default)]
    pub interval: Option<i64>,
    /// Number of hash partitions.
    #[serde(default)]
    pub partitions: Option<i32>,
    /// Partitioning function, unless it is the extension's default hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<QualifiedName>,
    /// Function for the current time, if time is an integer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integer_now: Option<QualifiedName>,
}

/// A chunk: a table with the rows of one range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// OID of the table.
    pub oid: u32,
    /// The table at the source. The target names its chunks itself.
    #[serde(flatten)]
    pub name: QualifiedName,
    /// The range in each dimension, from and to (exclusive), in the extension's internal integers.
    pub slices: BTreeMap<String, (i64, i64)>,
    /// Whether it is compressed.
    #[serde(default)]
    pub compressed: bool,
    /// Size on disk in bytes, including the compressed part; an estimate.
    #[serde(default)]
    pub bytes: u64,
}

/// Compression settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Compression {
    /// `segmentby` columns.
    pub segment_by: Vec<String>,
    /// `orderby` columns.
    pub order_by: Vec<OrderBy>,
    /// Chunks are merged up to this length when they are compressed, as an SQL interval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_interval: Option<String>,
}

/// An `orderby` column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderBy {
    /// The column.
    pub column: String,
    /// `ASC` rather than `DESC`.
    pub ascending: bool,
    /// `NULLS FIRST` rather than `NULLS LAST`.
    pub nulls_first: bool,
}

/// A continuous aggregate: a view of stored rows, which may outlive the raw rows from which they were computed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    /// OID of the view.
    pub oid: u32,
    /// The view.
    #[serde(flatten)]
    pub name: QualifiedName,
    /// Its query, as the server deparses it.
    #[serde(deserialize_with = "crate::catalog::deparsed::text")]
    pub definition: String,
    /// Whether rows newer than the watermark are left out.
    pub materialized_only: bool,
    /// The hypertable that stores its rows. The extension generates its name, which differs between servers.
    pub materialized: Hypertable,
    /// The stored columns, in order.
    pub columns: Vec<String>,
    /// Watermark, as a literal with its type; `None` if it was never refreshed.
    #[serde(default)]
    pub watermark: Option<String>,
    /// Invalidated ranges: both ends inclusive, in the extension's internal integers, sorted and disjoint. `None` in
    /// catalogs of the first versions, which did not read them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid: Option<Vec<(i64, i64)>>,
}

impl Aggregate {
    /// Whether it was ever refreshed.
    pub fn was_refreshed(&self) -> bool {
        let everything = [(i64::MIN, i64::MAX)];
        self.watermark.is_some() || self.invalid.as_ref().is_some_and(|ranges| ranges[..] != everything)
    }
}

/// A policy or a user-defined job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Id at the source; the target assigns another one.
    pub id: i32,
    /// Procedure that it runs.
    pub procedure: QualifiedName,
    /// Its title.
    pub title: String,
    /// Schedule interval, an `interval`.
    pub schedule_interval: String,
    /// Maximum run time, an `interval`.
    pub max_runtime: String,
    /// Maximum number of retries; -1 for no limit.
    pub max_retries: i32,
    /// Pause before a retry, an `interval`.
    pub retry_period: String,
    /// The role that it runs as.
    pub owner: String,
    /// Whether it is scheduled.
    pub scheduled: bool,
    /// Whether the schedule is relative to the first start rather than to the last end.
    pub fixed_schedule: bool,
    /// The first start.
    #[serde(default)]
    pub initial_start: Option<String>,
    /// Time zone of the schedule.
    #[serde(default)]
    pub timezone: Option<String>,
    /// Arguments as JSON. References to the hypertable by id must be replaced.
    #[serde(default)]
    pub config: Option<String>,
    /// Function that checks the arguments, if the user set one.
    #[serde(default)]
    pub check: Option<QualifiedName>,
    /// Hypertable or continuous aggregate that it works on.
    #[serde(default)]
    pub relation: Option<QualifiedName>,
}

/// A job that was created but does not start yet.
#[derive(Debug, Clone)]
pub(crate) struct WaitingJob {
    pub(crate) id: String,
    pub(crate) job: Job,
}
