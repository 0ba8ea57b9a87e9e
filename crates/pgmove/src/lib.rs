//! Moves PostgreSQL databases over the wire protocol: reads the catalog, renders DDL, copies rows out of one snapshot and
//! into another server, and proves by digests that both sides are equal.
//!
//! - [`mod@connect`] connects as libpq does and pins the session's settings, so that equal values have equal text;
//! - [`Source`] locks a database, exports its snapshot to several connections and streams its tables;
//! - [`Target`] finds all conflicts before anything is written, then creates the schema, loads rows and builds indexes;
//! - [`digest`] computes digests of tables that do not depend on the order of rows;
//! - [`compare()`] compares two databases;
//! - [`catalog`] is the schema as data, and [`ddl`] renders it for a server.
//!
//! A source is read like this:
//!
//! ```no_run
//! use futures::TryStreamExt as _;
//! use pgmove::{ConnectOptions, Environment, Source, SourceOptions};
//!
//! # async fn example() -> Result<(), pgmove::Error> {
//! let options = ConnectOptions::parse("postgres://app@db-1/app", &Environment::from_process())?;
//! let source = Source::open(&options, &SourceOptions::default()).await?;
//! for slice in source.slices() {
//!     let mut rows = source.copy_out(&slice).await?;
//!     while let Some(_bytes) = rows.try_next().await? {}
//!     println!("{}: {:?}", slice.table, rows.proof());
//! }
//! source.finish().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Digests of parts add up to the digest of the table, whatever the order:
//!
//! ```
//! use pgmove::digest::RowHasher;
//!
//! let proof = |rows: &[u8]| {
//!     let mut hasher = RowHasher::default();
//!     hasher.update(rows);
//!     hasher.proof()
//! };
//! assert_eq!(proof(b"1\tone\n2\ttwo\n"), proof(b"2\ttwo\n") + proof(b"1\tone\n"));
//! ```

pub mod baseline;
pub mod catalog;
mod conflict;
pub mod connect;
mod copy_format;
pub mod ddl;
pub mod digest;
mod dump;
pub mod error;
pub mod globals;
pub mod quote;
mod remedy;
mod restore;
pub mod sql;
mod statistics;

mod compare;
mod timescaledb;
mod warning;

pub use catalog::{Catalog, Filter, LeftOut, QualifiedName as TableName, Unsupported, large_objects_table};
pub use compare::{
    CompareOptions, Comparison, DifferingRow, DifferingRows, SchemaDifference, SchemaProof, ShownValue, Side,
    Stored, TableComparison, compare, compare_sides,
};
pub use conflict::Conflict;
pub use connect::{
    ByteStream, ConnectOptions, Dialer, Dialing, Environment, Preflight, Route, ServerIdentity, Session,
    connect, databases_named, drop_scratch_database, lacking_extensions, preflight, query_text,
};

pub use copy_format::CopyFormat;
pub use digest::{Digest, TableProof};
pub use dump::{CopyOut, SLICE_PAGES, ServerState, Source, SourceOptions, TableSlice};
pub use error::{BoxError, Error};
pub use remedy::Remedy;
pub use restore::{
    Existing, Failure, Graph, GraphOutcome, IndexMemory, Load, Node, OnError, OnRows, RestoreEvent,
    RestorePlan, RowCount, Sections, StepNumber, Target, TargetOptions, TimeSpent, Work, check_new_database,
    count_rows, create_database, drop_created_database,
};
pub use statistics::{Statistics, TableStatistics};
pub use timescaledb::conflict::TimescaleConflict;
pub use warning::Warning;
