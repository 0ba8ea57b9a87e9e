//! What TimescaleDB adds to a database, as data: hypertables, their chunks, continuous aggregates, jobs.
//!
//! None of it is copied as rows: the extension's own tables have another form in each of its versions. A target gets
//! all of it anew, through the extension's public functions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::catalog::meta::QualifiedName;

/// Everything of TimescaleDB in one database.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Timescale {
    /// Version of the extension.
    pub version: String,
    /// The schema that holds its public functions.
    pub schema: String,
    /// Hypertables, without those inside of aggregates and compression.
    pub hypertables: Vec<Hypertable>,
    /// Continuous aggregates, each after those that it reads.
    pub aggregates: Vec<Aggregate>,
    /// Policies and jobs of the user's, in the order in which they were made.
    pub jobs: Vec<Job>,
    /// Why the version should not be worked with, where nobody has tried it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub untried: Option<String>,
    /// Worth a word before anything is copied.
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

    /// Whether there is nothing to make: no hypertable, no aggregate, no job.
    pub fn is_empty(&self) -> bool {
        self.hypertables.is_empty() && self.aggregates.is_empty() && self.jobs.is_empty()
    }

    /// Whether the ranges are known that are not up to date, of every aggregate.
    pub(crate) fn knows_ranges(&self) -> bool {
        self.aggregates.iter().all(|aggregate| aggregate.invalid.is_some())
    }

    /// The continuous aggregate of that name.
    pub fn aggregate_named(&self, name: &QualifiedName) -> Option<&Aggregate> {
        self.aggregates.iter().find(|aggregate| aggregate.name == *name)
    }
}

/// A hypertable: a table whose rows lie in chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hypertable {
    /// OID of the table.
    pub oid: u32,
    /// The table.
    #[serde(flatten)]
    pub name: QualifiedName,
    /// How rows are divided; the first is time, or a number that stands for it.
    pub dimensions: Vec<Dimension>,
    /// The chunks, in the order in which they were made.
    #[serde(default)]
    pub chunks: Vec<Chunk>,
    /// How old chunks are compressed, where that is switched on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// Tablespaces for its chunks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tablespaces: Vec<String>,
    /// The schema that its chunks are made in, unless it is the extension's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_schema: Option<String>,
    /// What the names of its chunks begin with, unless it is what the extension makes up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk_prefix: Option<String>,
}

/// One way in which rows are divided among chunks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dimension {
    /// The column.
    pub column: String,
    /// The column's type, formatted.
    pub column_type: String,
    /// Length of a chunk's range: microseconds for times, else units of the number. Only where `partitions` is absent.
    #[serde(default)]
    pub interval: Option<i64>,
    /// Number of hash partitions.
    #[serde(default)]
    pub partitions: Option<i32>,
    /// A function that gives the value to divide by, unless it is the extension's own hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<QualifiedName>,
    /// The function that says what "now" is, where time is a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub integer_now: Option<QualifiedName>,
}

/// A table that holds the rows of one range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// OID of the table.
    pub oid: u32,
    /// The table at the source. A target gives its chunks names of its own.
    #[serde(flatten)]
    pub name: QualifiedName,
    /// The range in each dimension, from and to (exclusive), in the extension's internal numbers.
    pub slices: BTreeMap<String, (i64, i64)>,
    /// Whether it is compressed.
    #[serde(default)]
    pub compressed: bool,
    /// Size on disk in bytes, compressed part included; an estimate.
    #[serde(default)]
    pub bytes: u64,
}

/// How chunks are compressed.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Compression {
    /// Columns that segments are made by.
    pub segment_by: Vec<String>,
    /// Order inside of a segment.
    pub order_by: Vec<OrderBy>,
    /// Chunks are merged up to this length when they are compressed, as SQL writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_interval: Option<String>,
}

/// A column of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderBy {
    /// The column.
    pub column: String,
    /// `ASC` rather than `DESC`.
    pub ascending: bool,
    /// `NULLS FIRST` rather than `NULLS LAST`.
    pub nulls_first: bool,
}

/// A continuous aggregate: a view over rows that the extension keeps, and that may outlive those they were made of.
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
    /// Whether rows that are newer than the watermark are left out.
    pub materialized_only: bool,
    /// The hypertable that keeps its rows. Named by the extension, otherwise at each server.
    pub materialized: Hypertable,
    /// The columns that are kept, in order.
    pub columns: Vec<String>,
    /// Up to where it has been refreshed, as a literal with its type; absent when it never was.
    #[serde(default)]
    pub watermark: Option<String>,
    /// What of it is not up to date: ranges, both ends inclusive, in the extension's internal numbers, sorted and apart.
    /// Absent in catalogs of the first versions, which did not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invalid: Option<Vec<(i64, i64)>>,
}

impl Aggregate {
    /// Whether any of it was ever refreshed.
    pub fn was_refreshed(&self) -> bool {
        let everything = [(i64::MIN, i64::MAX)];
        self.watermark.is_some() || self.invalid.as_ref().is_some_and(|ranges| ranges[..] != everything)
    }
}

/// A policy or a job of the user's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Number at the source; a target gives it another.
    pub id: i32,
    /// What runs.
    pub procedure: QualifiedName,
    /// Its title.
    pub title: String,
    /// How often, an `interval`.
    pub schedule_interval: String,
    /// How long it may run, an `interval`.
    pub max_runtime: String,
    /// How often it is tried again, -1 without end.
    pub max_retries: i32,
    /// How soon it is tried again, an `interval`.
    pub retry_period: String,
    /// The role that it runs as.
    pub owner: String,
    /// Whether it runs at all.
    pub scheduled: bool,
    /// Whether its times are reckoned from the first start rather than from the last end.
    pub fixed_schedule: bool,
    /// The first start.
    #[serde(default)]
    pub initial_start: Option<String>,
    /// Time zone of the schedule.
    #[serde(default)]
    pub timezone: Option<String>,
    /// Its arguments, JSON. What names the hypertable by number is to be replaced.
    #[serde(default)]
    pub config: Option<String>,
    /// The function that checks the arguments, where the user gave one.
    #[serde(default)]
    pub check: Option<QualifiedName>,
    /// The hypertable or continuous aggregate that it works on.
    #[serde(default)]
    pub relation: Option<QualifiedName>,
}

/// A job that was made, and does not start yet.
#[derive(Debug, Clone)]
pub(crate) struct WaitingJob {
    pub(crate) id: String,
    pub(crate) job: Job,
}
