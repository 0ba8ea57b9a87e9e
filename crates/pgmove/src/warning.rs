//! What a user should know before, during or after an operation, and what does not prevent it.

use serde::{Deserialize, Serialize};

use crate::catalog::QualifiedName;
use crate::conflict::Conflict;
use crate::quote::ident;

/// One warning. Displayed, it is a sentence that names the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "warning", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum Warning {
    /// What the source's catalog recorded when it was read: objects of a part that cannot exist alone, and what of
    /// TimescaleDB is not copied.
    #[error("{detail}")]
    Recorded {
        /// The sentence that the catalog holds.
        detail: String,
    },
    /// A conflict that was accepted ([`OnError::Continue`](crate::OnError)): the server will reject statements.
    #[error("{0}")]
    Accepted(Conflict),

    /// A password file was ignored.
    #[error("{file} is ignored because other users can read it; fix it with `chmod 600 {file}`")]
    PasswordFile {
        /// The file.
        file: String,
    },
    /// A connection pooler is between the client and the server.
    #[error(
        "a connection pooler stands before {server}, with a session for each client; its timeouts may end long work"
    )]
    Pooler {
        /// The server.
        server: String,
    },
    /// The source is a standby.
    #[error(
        "{server} is a standby: a conflict with recovery may end the backup; max_standby_streaming_delay can avoid it"
    )]
    Standby {
        /// The server.
        server: String,
    },
    /// The server had no connection left for some workers.
    #[error(
        "the server {} no connection left for {missing} of {jobs} workers{} the others {} their work",
        if *.ran { "had" } else { "has" }, if *.ran { ";" } else { ":" }, if *.ran { "did" } else { "do" }
    )]
    FewerConnections {
        /// Connections that were not available.
        missing: usize,
        /// Connections that were asked for.
        jobs: usize,
        /// Whether the work is done.
        ran: bool,
    },

    /// The encodings differ.
    #[error(
        "the source's encoding is {at_source} and the target's is {here}: characters that {here} lacks will be refused, by table and row"
    )]
    Encoding {
        /// The source's encoding.
        at_source: String,
        /// The target's encoding.
        here: String,
    },
    /// The target's major version is lower.
    #[error("the target is of an older version than the source ({here} against {at_source})")]
    OlderServer {
        /// The target's major version.
        here: u32,
        /// The source's major version.
        at_source: u32,
    },
    /// The server was built without LZ4.
    #[error("this server was built without LZ4: its own method will compress {}", .columns.join(", "))]
    WithoutLz4 {
        /// The columns that are compressed by LZ4 at the source.
        columns: Vec<String>,
    },
    /// A setting of the source's database is not carried over.
    #[error("a setting of the source's database is left behind: {statement}")]
    DatabaseSetting {
        /// The statement that would set it.
        statement: String,
    },
    /// The target rejects a setting of the source on which expressions depend.
    #[error(
        "the source's setting {name} = {value} is not accepted here ({message}): expressions that depend on it may give \
         different values"
    )]
    SettingRejected {
        /// The setting.
        name: String,
        /// Its value.
        value: String,
        /// The server's message.
        message: String,
    },
    /// The target rejects a custom setting of the source, whose value may be a secret.
    #[error(
        "the source's setting {name} is not accepted here: expressions that read it may give different values"
    )]
    CustomSettingRejected {
        /// The setting.
        name: String,
    },

    /// The target offers another version of an extension.
    #[error("extension {}: version {here} here, {at_source} at the source", ident(.extension))]
    ExtensionVersion {
        /// The extension.
        extension: String,
        /// The target's version.
        here: String,
        /// The source's version.
        at_source: String,
    },
    /// The comment on an extension is not carried over.
    #[error(
        "the comment on extension {} is not carried: only the extension's owner may change it",
        ident(.extension)
    )]
    ExtensionComment {
        /// The extension.
        extension: String,
    },
    /// An extension at the target does not create an object, so that a statement about it is left out.
    #[error("left out: {what} of {object}, which extension {} here does not make", ident(.extension))]
    ExtensionMember {
        /// What is left out: privileges, the owner, the comment.
        what: String,
        /// The object with its kind.
        object: String,
        /// The extension.
        extension: String,
    },
    /// The comment on schema `public` is not carried over.
    #[error("the comment on schema public is not carried: only the schema's owner may change it")]
    PublicComment,
    /// Objects depend on each other in a way that no rule resolves.
    #[error("{object} and {other} depend on each other, and no rule decides which comes first")]
    Cycle {
        /// The object that is created first.
        object: String,
        /// The one that it needs.
        other: String,
    },
    /// The target's version does not know the privilege `MAINTAIN`.
    #[error("privilege MAINTAIN on {object} is left out: the target's version does not know it")]
    Maintain {
        /// The object with its kind.
        object: String,
    },
    /// What is replaced is dropped in several transactions, because of the size of the server's lock table.
    #[error(
        "what is replaced is dropped in {transactions} transactions, since dropping it takes about {locks} locks and the server's \
         lock table holds {capacity}: an interrupted run leaves a part of it dropped, and the same run again completes it"
    )]
    DroppedInBatches {
        /// How many transactions.
        transactions: usize,
        /// Locks that dropping everything takes.
        locks: u64,
        /// Locks that the server's lock table holds.
        capacity: u64,
    },

    /// A configuration table of an extension does not exist.
    #[error("configuration table {table} of extension {} does not exist here: its rows are left out", ident(.extension))]
    MissingConfigurationTable {
        /// The table.
        table: QualifiedName,
        /// The extension.
        extension: String,
    },
    /// A column may be null at the source only.
    #[error(
        "column {table}.{} may be NULL at the source and may not here: a NULL would stop this table",
        ident(.column)
    )]
    NotNull {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
    },
    /// A sequence does not exist.
    #[error("sequence {sequence} has no counterpart here, and its value is not brought")]
    MissingSequence {
        /// The sequence.
        sequence: QualifiedName,
    },
    /// The planner has no statistics for tables.
    #[error(
        "{} statistics for the planner: {detail}",
        match .table { Some(table) => format!("{table} has no"), None => "not every table has".to_owned() }
    )]
    Statistics {
        /// The table, or none where several are concerned.
        table: Option<QualifiedName>,
        /// The error, with the server's own words.
        detail: String,
    },

    /// The target did not accept a table's statistics; they are collected again.
    #[error(
        "the statistics of {table} were not accepted as the source has them ({detail}): ANALYZE collects them"
    )]
    StatisticsRejected {
        /// The table.
        table: QualifiedName,
        /// The error, with the server's own words.
        detail: String,
    },
    /// The server's `maintenance_work_mem` is more than its machine has for so many index builds.
    #[error(
        "the server's maintenance_work_mem is {configured} MiB, and its machine has {machine} MiB: each of up to {builds} index \
         builds gets {used} MiB"
    )]
    IndexMemory {
        /// The setting in MiB.
        configured: u64,
        /// The machine's memory in MiB.
        machine: u64,
        /// Index builds at the same time.
        builds: usize,
        /// Memory of each in MiB.
        used: u64,
    },

    /// A continuous aggregate does not exist.
    #[error("continuous aggregate {aggregate} does not exist here: its rows are left out")]
    MissingAggregate {
        /// The aggregate.
        aggregate: QualifiedName,
    },
    /// Rows of a continuous aggregate cannot be added to others.
    #[error(
        "continuous aggregate {aggregate}: its rows are left out, because they cannot be added to others; refresh it afterwards"
    )]
    AggregateRows {
        /// The aggregate.
        aggregate: QualifiedName,
    },
    /// A job of the target works on a table that is loaded.
    #[error(
        "job {title} on {table} is switched on here, and may work on rows while they arrive: alter_job({id}, scheduled => \
         false) stops it for the time"
    )]
    RunningJob {
        /// The job's title.
        title: String,
        /// The table.
        table: QualifiedName,
        /// The job's number.
        id: String,
    },
    /// The title of a job is not carried over.
    #[error("{object}: this version does not support job titles, {title} is lost")]
    JobTitle {
        /// The job.
        object: String,
        /// Its title at the source.
        title: String,
    },
    /// A policy has another owner.
    #[error(
        "{object}: it belonged to role {}, and belongs to role {} here, who owns what it works on: the extension \
         gives policies no other owner",
        ident(.at_source), ident(.here)
    )]
    PolicyOwner {
        /// The policy.
        object: String,
        /// Its owner at the source.
        at_source: String,
        /// Its owner at the target.
        here: String,
    },
    /// The chunks of a hypertable are not created in advance.
    #[error(
        "the chunks of {table} cannot be created as at the source, and are created by the rows: {detail}"
    )]
    Chunks {
        /// The hypertable.
        table: QualifiedName,
        /// The error, with the server's own words.
        detail: String,
    },
}

impl Warning {
    /// Sentences that a catalog holds.
    pub(crate) fn recorded(sentences: &[String]) -> impl Iterator<Item = Warning> + '_ {
        sentences.iter().map(|detail| Warning::Recorded { detail: detail.clone() })
    }
}
