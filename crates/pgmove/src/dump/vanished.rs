//! Reads the catalog while other sessions drop objects. Rows of the catalog are seen in the snapshot, but the
//! server's deparsers use the current state: they do not find objects that were dropped meanwhile. Then the whole
//! catalog is read again.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::lock::{self, Holder, LockedTable};
use super::{ServerState, SourceOptions};
use crate::Error;
use crate::catalog::table::TableKind;
use crate::catalog::{self, Catalog};
use crate::connect::Session;
use crate::quote::ident;

/// Maximum number of attempts.
const ATTEMPTS: u32 = 5;

/// Pause between two attempts, multiplied by the number of the attempt.
const PAUSE: Duration = Duration::from_millis(200);

/// What is known of a database before rows are read.
pub(super) struct Read {
    pub(super) tables: Vec<LockedTable>,
    pub(super) snapshot: String,
    pub(super) taken_at: DateTime<Utc>,
    pub(super) state: ServerState,
    pub(super) catalog: Catalog,
}

/// Locks, takes the snapshot and reads the catalog; starts over if an object was dropped meanwhile.
///
/// # Errors
/// That of the last attempt, with the name of the dropped object.
pub(super) async fn read(
    session: &Session,
    holder: &Holder,
    settings: &SourceOptions,
) -> Result<Read, Error> {
    let mut attempt = 1;
    loop {
        let tables = lock::begin(session, holder, &settings.filter, settings.lock_timeout).await?;
        let (snapshot, taken_at) = export(session).await?;
        let state = ServerState::read(session).await;
        holder.import(&snapshot).await?;
        // Deparsing a view locks the relations it uses, until the end of the transaction or of this savepoint.
        let both = async |sql| {
            futures::try_join!(
                session.execute("the catalog", sql),
                holder.session.execute("the catalog", sql)
            )
        };
        both("SAVEPOINT reading").await?;
        let clients = [session.client(), holder.session.client()];
        let found = catalog::read_on_two(clients, session.server().version_num, &settings.filter).await;
        match found.and_then(whole) {
            Ok(catalog) => {
                both("ROLLBACK TO SAVEPOINT reading").await?;
                return Ok(Read { tables, snapshot, taken_at, state, catalog });
            }
            Err(error) if has_vanished(&error) && attempt < ATTEMPTS => {
                session.execute("the snapshot's transaction", "ROLLBACK").await?;
                holder.session.execute("the transaction of the locks", "ROLLBACK").await?;
                tokio::time::sleep(PAUSE * attempt).await;
                attempt += 1;
            }
            Err(error) if has_vanished(&error) => return Err(named(session, error).await),
            Err(error) => return Err(error),
        }
    }
}

/// Exports the transaction's snapshot: its name, and the server's time.
async fn export(session: &Session) -> Result<(String, DateTime<Utc>), Error> {
    let rows = session
        .query("the snapshot", "SELECT pg_export_snapshot(), extract(epoch FROM statement_timestamp())")
        .await?;
    let field = |at: usize| rows.first().and_then(|row| row.get(at)).cloned().flatten().unwrap_or_default();
    let seconds: f64 = field(1).parse().unwrap_or(0.0);
    let taken_at = DateTime::from_timestamp_micros((seconds * 1e6) as i64).unwrap_or_default();
    Ok((field(0), taken_at))
}

/// Fails if a view's query is missing, because the view was dropped.
fn whole(catalog: Catalog) -> Result<Catalog, Error> {
    let is_view = |kind| matches!(kind, TableKind::View | TableKind::MaterializedView);
    match catalog.tables.iter().find(|table| is_view(table.kind) && table.definition.is_none()) {
        Some(table) => Err(Error::Vanished { object: format!("view {}", table.name()), attempts: ATTEMPTS }),
        None => Ok(catalog),
    }
}

/// Whether an error says that an object no longer exists.
fn has_vanished(error: &Error) -> bool {
    match error {
        Error::Server { sqlstate, message, .. } => match sqlstate.as_str() {
            // undefined_table, undefined_function, undefined_object, invalid_schema_name
            "42P01" | "42883" | "42704" | "3F000" => true,
            "XX000" => ["cache lookup failed", "could not find", "could not open relation"]
                .iter()
                .any(|words| message.contains(words)),
            _ => false,
        },
        // The deparser returned null.
        Error::CatalogRow { source, .. } => source.to_string().contains("null"),
        Error::Vanished { .. } => true,
        _ => false,
    }
}

/// The error with the name of the dropped object, if the server gave its OID: it still exists in the snapshot.
async fn named(session: &Session, error: Error) -> Error {
    if let Error::CatalogRow { what, row, .. } = &error {
        let row: serde_json::Value = serde_json::from_str(row).unwrap_or_default();
        let name =
            |key: &str| row.get(key).and_then(|name| name.as_str()).map(|name| ident(name).into_owned());
        let (Some(schema), Some(name)) = (name("schema"), name("name")) else { return error };
        return Error::Vanished { object: format!("{schema}.{name} ({what})"), attempts: ATTEMPTS };
    }
    let Error::Server { message, .. } = &error else { return error };
    let Some(oid) = message.split(|c: char| !c.is_ascii_digit()).rfind(|word| !word.is_empty()) else {
        return error;
    };
    if session.execute("the catalog", "ROLLBACK TO SAVEPOINT reading").await.is_err() {
        return error;
    }
    let name = |kind: &str, table: &str, column: &str, schema: &str| {
        format!(
            "SELECT {kind} || quote_ident(n.nspname) || '.' || quote_ident({column}) FROM {table} \
             JOIN pg_namespace n ON n.oid = {schema} WHERE {table}.oid = {oid}"
        )
    };
    let sql = [
        name(
            "CASE prokind WHEN 'p' THEN 'procedure ' ELSE 'function ' END",
            "pg_proc",
            "proname",
            "pronamespace",
        ),
        name("'relation '", "pg_class", "relname", "relnamespace"),
        name("'type '", "pg_type", "typname", "typnamespace"),
        name("'operator '", "pg_operator", "oprname", "oprnamespace"),
    ]
    .join(" UNION ALL ");
    match session.value("the catalog", &sql).await {
        Ok(Some(object)) => Error::Vanished { object, attempts: ATTEMPTS },
        _ => error,
    }
}
