//! PostgreSQL for `dbhaul`: the catalog read natively, DDL rendered from it, rows moved by COPY, equality proven.
//!
//! - [`mod@connect`] reaches a server the way libpq does, and pins the session so that equal values are equal text;
//! - [`Source`] locks a database, exports one snapshot to several connections, and streams tables out;
//! - [`Target`] finds every conflict before anything is written, then fills schema, rows and indexes;
//! - [`digest`] proves a table equal whatever the order of its rows;
//! - [`compare()`] holds two databases against each other;
//! - [`catalog`] is the schema as data and [`ddl`] renders it for a server.

pub mod baseline;
pub mod catalog;
pub mod connect;
pub mod ddl;
pub mod digest;
mod dump;
pub mod error;
pub mod globals;
pub mod quote;
mod restore;
pub mod sql;

mod compare;
mod timescaledb;

pub use catalog::{Catalog, Filter, QualifiedName as TableName, Unsupported, large_objects_table};
pub use compare::{
    CompareOptions, Comparison, SchemaDifference, SchemaProof, Side, Stored, TableComparison, compare,
    compare_sides,
};
pub use connect::{
    ByteStream, ConnectOptions, Dialer, Dialing, Environment, ServerIdentity, Session, Way, connect,
};

pub use digest::{Digest, TableProof};
pub use dump::{CopyOut, SLICE_PAGES, ServerState, Source, SourceOptions, TableSlice};
pub use error::Error;
pub use restore::{
    Existing, Failure, Graph, GraphOutcome, Load, Node, OnError, OnRows, RestoreEvent, RestorePlan, RowCount,
    Sections, StepNumber, Target, TargetOptions, TimeSpent, Work, check_new_database, count_rows,
    create_database, drop_created_database,
};
