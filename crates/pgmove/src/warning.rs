//! What a user should know before, during or after an operation, and what does not prevent it.

use serde::{Deserialize, Serialize};

use crate::catalog::{LeftOut, QualifiedName};
use crate::conflict::Conflict;
use crate::quote::ident;

/// One warning. Displayed, it is a sentence that names the object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "warning", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[non_exhaustive]
pub enum Warning {
    /// An object of a part that cannot exist alone, or something else that is left out.
    #[error("{0}")]
    LeftOut(LeftOut),
    /// What of TimescaleDB is not copied, as the source's catalog recorded it.
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
    #[error("{server} is behind a connection pooler in session mode, whose timeouts may end long operations")]
    Pooler {
        /// The server.
        server: String,
    },
    /// The source is a standby.
    #[error(
        "{server} is a standby: a conflict with recovery may cancel the backup; raise max_standby_streaming_delay to avoid it"
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
        "the source's encoding is {at_source} and the target's is {here}: rows with characters that {here} lacks will be rejected"
    )]
    Encoding {
        /// The source's encoding.
        at_source: String,
        /// The target's encoding.
        here: String,
    },
    /// The target's major version is lower.
    #[error("the target's version is older than the source's ({here} against {at_source})")]
    OlderServer {
        /// The target's major version.
        here: u32,
        /// The source's major version.
        at_source: u32,
    },
    /// The server was built without LZ4.
    #[error("this server was built without LZ4: its default method will compress {}", .columns.join(", "))]
    WithoutLz4 {
        /// The columns that are compressed by LZ4 at the source.
        columns: Vec<String>,
    },
    /// A setting of the source's database is not carried over.
    #[error("a setting of the source's database is not copied: {statement}")]
    DatabaseSetting {
        /// The statement that would set it.
        statement: String,
    },
    /// The target rejects a setting of the source on which expressions depend.
    #[error(
        "the source's setting {name} = {value} is not accepted at the target ({message}): expressions that depend on it may give \
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
        "the source's setting {name} is not accepted at the target: expressions that read it may give different values"
    )]
    CustomSettingRejected {
        /// The setting.
        name: String,
    },

    /// The target offers another version of an extension.
    #[error("extension {}: version {here} at the target, {at_source} at the source", ident(.extension))]
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
        "the comment on extension {} is not restored: only the extension's owner may change it",
        ident(.extension)
    )]
    ExtensionComment {
        /// The extension.
        extension: String,
    },
    /// An extension at the target does not create an object, so that a statement about it is left out.
    #[error("left out: {what} of {object}, which extension {} of the target does not create", ident(.extension))]
    ExtensionMember {
        /// What is left out: privileges, the owner, the comment.
        what: String,
        /// The object with its kind.
        object: String,
        /// The extension.
        extension: String,
    },
    /// The comment on schema `public` is not carried over.
    #[error("the comment on schema public is not restored: only the schema's owner may change it")]
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
    #[error("configuration table {table} of extension {} does not exist at the target: its rows are left out", ident(.extension))]
    MissingConfigurationTable {
        /// The table.
        table: QualifiedName,
        /// The extension.
        extension: String,
    },
    /// A column may be null at the source only.
    #[error(
        "column {table}.{} may be NULL at the source but not at the target: a NULL would fail the load of this table",
        ident(.column)
    )]
    NotNull {
        /// The table.
        table: QualifiedName,
        /// The column.
        column: String,
    },
    /// A sequence does not exist.
    #[error("sequence {sequence} does not exist at the target, and its value is not restored")]
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
    #[error("the source's statistics of {table} were not accepted ({detail}): ANALYZE collects new ones")]
    StatisticsRejected {
        /// The table.
        table: QualifiedName,
        /// The error, with the server's own words.
        detail: String,
    },
    /// The server's `maintenance_work_mem` is more than its machine has for so many index builds.
    #[error(
        "the server's maintenance_work_mem is {configured} MiB, but the machine has {machine} MiB of memory: each of up to {builds} index \
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
    #[error("continuous aggregate {aggregate} does not exist at the target: its rows are left out")]
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
        "job {title} on {table} is enabled at the target, and may change rows during the load: alter_job({id}, scheduled => \
         false) disables it"
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
        "{object}: it belonged to role {} at the source, and belongs to role {} at the target, the owner of its table \
         or view: the extension allows no other owner",
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
        "the chunks of {table} cannot be created as at the source, and are created as rows are loaded: {detail}"
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
