//! Scratch databases on an existing server: checks whether the server offers the required extensions, runs queries
//! with text results, and drops the database even if sessions are connected to it.

use crate::Error;
use crate::conflict::Conflict;
use crate::connect::{ConnectOptions, connect};
use crate::quote::{ident, literal};

/// Maximum number of rows in a result.
const MOST_ROWS: usize = 1000;

/// Those of these extensions that the server does not offer, and its major version.
pub async fn lacking_extensions(
    options: &ConnectOptions,
    names: &[String],
) -> Result<(Vec<String>, u32), Error> {
    let session = connect(options).await?;
    let offered = session
        .query("the list of extensions", "SELECT name FROM pg_catalog.pg_available_extensions")
        .await?;
    let offers =
        |name: &&String| !offered.iter().any(|row| row.first().is_some_and(|n| n.as_ref() == Some(*name)));
    Ok((names.iter().filter(offers).cloned().collect(), session.server().major()))
}

/// Databases of the server whose names start with this prefix.
pub async fn databases_named(options: &ConnectOptions, prefix: &str) -> Result<Vec<String>, Error> {
    let session = connect(options).await?;
    let sql = format!(
        "SELECT datname FROM pg_catalog.pg_database WHERE pg_catalog.left(datname::text, {}) = {} ORDER BY 1",
        prefix.chars().count(),
        literal(prefix)
    );
    let rows = session.query("the list of databases", &sql).await?;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

/// Drops the database in `options`, if it exists, and terminates the sessions that are connected to it. `through` is
/// another database of the same server.
pub async fn drop_scratch_database(options: &ConnectOptions, through: &str) -> Result<(), Error> {
    let name = options.database();
    let session = connect(&options.clone().with_database(through)).await?;
    let object = format!("database {}", ident(name));
    let end = format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = {}",
        literal(name)
    );
    // `WITH (FORCE)` exists only from 13 on, and does not end prepared transactions.
    for _ in 0..20 {
        session.query(&object, &end).await?;
        match session.execute(&object, &format!("DROP DATABASE IF EXISTS {}", ident(name))).await {
            Err(error) if error.sqlstate() == Some("55006") => {
                tokio::time::sleep(std::time::Duration::from_millis(250)).await;
            }
            done => return done,
        }
    }
    session.execute(&object, &format!("DROP DATABASE IF EXISTS {}", ident(name))).await
}

/// The result of a query as text: values of a row joined by `|`, rows by line breaks, NULL as nothing. Runs in a
/// read-only transaction of at most ten minutes, with the search path `"$user", public`.
///
/// # Errors
/// The server's error, also if the text is not a query; [`Error::Refused`] for a result of more than 1000 rows.
pub async fn query_text(options: &ConnectOptions, object: &str, sql: &str) -> Result<String, Error> {
    let session = connect(options).await?;
    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '10min'; \
                 SET LOCAL search_path = \"$user\", public; SET LOCAL row_security = on";
    session.execute(object, begin).await?;
    let query = sql.trim().trim_end_matches(';');
    session.execute(object, &format!("DECLARE dbhaul_query NO SCROLL CURSOR FOR {query}")).await?;
    let rows = session.query(object, &format!("FETCH {} FROM dbhaul_query", MOST_ROWS + 1)).await?;
    session.execute(object, "ROLLBACK").await?;
    if rows.len() > MOST_ROWS {
        return Err(Error::refused(object, Conflict::TooManyRows { most: MOST_ROWS }));
    }
    let line = |row: Vec<Option<String>>| {
        row.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join("|")
    };
    Ok(rows.into_iter().map(line).collect::<Vec<_>>().join("\n"))
}
