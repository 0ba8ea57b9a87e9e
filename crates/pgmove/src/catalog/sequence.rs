//! Sequences and their values.

use serde::{Deserialize, Serialize};
use tokio_postgres::Client;

use super::address::class;
use super::meta::{Meta, MetaColumns, QualifiedName, in_user_schema, object};
use super::query::{prepared, rows};
use super::table::Persistence;
use crate::conflict::Conflict;
use crate::error::Error;

/// A sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    /// Identity, owner and privileges.
    #[serde(flatten)]
    pub meta: Meta,
    /// Whether it is logged.
    pub persistence: Persistence,
    /// `smallint`, `integer` or `bigint`.
    #[serde(rename = "type")]
    pub type_name: String,
    /// `START WITH`
    pub start: i64,
    /// `INCREMENT BY`
    pub increment: i64,
    /// `MINVALUE`
    pub min: i64,
    /// `MAXVALUE`
    pub max: i64,
    /// `CACHE`
    pub cache: i64,
    /// `CYCLE`
    pub cycle: bool,
    /// The column that owns it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owned_by: Option<OwningColumn>,
    /// Its value; `None` if the role may not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<SequenceValue>,
}
object!(Sequence, class::CLASS);

impl Sequence {
    /// Schema and name.
    pub fn name(&self) -> QualifiedName {
        QualifiedName::new(&self.meta.schema, &self.meta.name)
    }

    /// Whether it implements an identity column.
    pub fn is_identity(&self) -> bool {
        self.owned_by.as_ref().is_some_and(|owner| owner.identity)
    }
}

/// The column that owns a sequence; the sequence is dropped with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwningColumn {
    /// OID of the table.
    pub table_oid: u32,
    /// The table.
    pub table: QualifiedName,
    /// The column.
    pub column: String,
    /// Whether the sequence implements an identity column, rather than being `OWNED BY`.
    pub identity: bool,
}

/// The value of a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SequenceValue {
    /// `last_value`: the last value returned, or the first to return.
    pub last: i64,
    /// `is_called`: whether `last` has been returned.
    pub called: bool,
}

/// A row of the query for values.
#[derive(Debug, Deserialize)]
struct ValueRow {
    oid: u32,
    #[serde(flatten)]
    value: SequenceValue,
}

/// Number of sequences per statement, because each takes a lock.
const VALUES_AT_ONCE: usize = 200;

/// The sequences in user schemas.
pub(super) async fn read(client: &Client, version: u32) -> Result<Vec<Sequence>, Error> {
    let meta = MetaColumns {
        catalog: "pg_class",
        alias: "c",
        name: "relname",
        schema: Some("relnamespace"),
        owner: Some("relowner"),
        acl: Some(("relacl", "'s'")),
    }
    .sql();
    let user = in_user_schema("c.relnamespace");
    let mut sequences: Vec<Sequence> = rows(
        client,
        "sequences",
        &format!(
            "SELECT {meta}, c.relpersistence AS persistence, format_type(s.seqtypid, NULL) AS type, s.seqstart AS start, \
             s.seqincrement AS increment, s.seqmin AS min, s.seqmax AS max, s.seqcache AS cache, s.seqcycle AS cycle, \
             (SELECT json_build_object('table_oid', t.oid::int8, 'table', json_build_object('schema', tn.nspname, 'name', t.relname), \
                'column', a.attname, 'identity', d.deptype = 'i') \
              FROM pg_depend d JOIN pg_class t ON t.oid = d.refobjid JOIN pg_namespace tn ON tn.oid = t.relnamespace \
              JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid \
              WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 \
              AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') LIMIT 1) AS owned_by \
             FROM pg_class c JOIN pg_sequence s ON s.seqrelid = c.oid \
             WHERE c.relkind = 'S' AND c.relpersistence <> 't' AND {user} ORDER BY 3, 2"
        ),
    )
    .await?;
    read_values(client, version, &mut sequences).await?;
    Ok(sequences)
}

/// From 18 on, `pg_get_sequence_data` reads a sequence by OID. Before, a sequence is read as a relation, by name, and
/// another user could replace it by a view, which would run with the reader's rights. So the statement is prepared
/// first, which locks the relations and runs nothing, and is run only if the locked relations are the sequences
/// themselves.
async fn read_values(client: &Client, version: u32, sequences: &mut [Sequence]) -> Result<(), Error> {
    for batch in sequences.chunks_mut(VALUES_AT_ONCE) {
        let selects: Vec<String> = batch
            .iter()
            .map(|sequence| {
                let oid = sequence.meta.oid;
                if version >= 180_000 {
                    format!(
                        "SELECT {oid}::int8 AS oid, last_value AS last, is_called AS called \
                         FROM pg_get_sequence_data({oid}::regclass) WHERE last_value IS NOT NULL"
                    )
                } else {
                    let name = sequence.name();
                    format!("SELECT {oid}::int8 AS oid, last_value AS last, is_called AS called FROM {name}")
                }
            })
            .collect();
        let sql = selects.join(" UNION ALL ");
        let found: Vec<ValueRow> = match version {
            180_000.. => rows(client, "sequence values", &sql).await?,
            _ => {
                let locked = prepared(client, "sequence values", &sql).await?;
                if let Some(oid) = not_locked(client, batch).await?.first().copied() {
                    let name = batch.iter().find(|sequence| sequence.meta.oid == oid).map(Sequence::name);
                    let name = name.map(|name| name.to_string()).unwrap_or_default();
                    let what = format!("sequence {name} was replaced while the catalog was read");
                    return Err(Error::refused(what, Conflict::SequenceReplaced));
                }
                locked.rows(client).await?
            }
        };
        for row in found {
            if let Some(sequence) = batch.iter_mut().find(|sequence| sequence.meta.oid == row.oid) {
                sequence.value = Some(row.value);
            }
        }
    }
    Ok(())
}

/// Those sequences that the transaction has not locked. A locked relation cannot be renamed until the transaction ends.
async fn not_locked(client: &Client, batch: &[Sequence]) -> Result<Vec<u32>, Error> {
    #[derive(Deserialize)]
    struct Oid {
        oid: u32,
    }
    let oids: Vec<String> = batch.iter().map(|sequence| sequence.meta.oid.to_string()).collect();
    let sql = format!(
        "SELECT oid::int8 AS oid FROM unnest('{{{}}}'::oid[]) oid WHERE NOT EXISTS (SELECT FROM pg_locks l \
         WHERE l.locktype = 'relation' AND l.relation = oid AND coalesce(l.pid, 0) = pg_backend_pid() AND l.granted \
         AND l.database = (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()))",
        oids.join(", ")
    );
    Ok(rows::<Oid>(client, "locks", &sql).await?.into_iter().map(|row| row.oid).collect())
}
