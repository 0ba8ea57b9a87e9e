//! Server settings and privileges of the role that matter to a backup.

use serde::Serialize;

use crate::Error;
use crate::connect::{ConnectOptions, Session, connect};
use crate::quote::ident;

/// Maximum number of relations to name; the count covers all.
const NAMED: usize = 20;

/// Findings. Nothing was locked or written.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub struct Preflight {
    /// TLS protocol version, such as `TLSv1.3`; `None` if the connection is not encrypted.
    pub tls: Option<String>,
    /// The connection does not leave the host: it uses a socket or a loopback address.
    pub local: bool,
    /// Tables, materialized views and sequences that the role cannot read.
    pub unreadable: Vec<String>,
    /// Number of such relations.
    pub unreadable_count: usize,
    /// Statements that grant the missing privileges.
    pub grants: Vec<String>,
    /// Tables with row-level security that hides rows from the role.
    pub row_security: Vec<String>,
    /// The role can read the password hashes of roles.
    pub reads_passwords: bool,
    /// Timeouts set by the database, the role or the server, with their units. Sessions of this crate disable them.
    pub timeouts: Vec<(String, String)>,
    /// Default time zone of sessions.
    pub zone: String,
    /// The server's clock, in milliseconds since the epoch.
    pub clock_ms: i64,
    /// Number of tables, each of which a backup locks.
    pub tables: u64,
    /// Capacity of the server's lock table, which all sessions share.
    pub lock_slots: u64,
}

const UNREADABLE: &str = "\
    SELECT n.nspname, c.relname, c.relkind FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'S') AND c.relpersistence <> 't' AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid
                    AND d.deptype = 'e')
    AND NOT (pg_catalog.has_schema_privilege(n.oid, 'USAGE') AND CASE c.relkind
             WHEN 'S' THEN pg_catalog.has_sequence_privilege(c.oid, 'SELECT')
             ELSE pg_catalog.has_table_privilege(c.oid, 'SELECT') END)
    ORDER BY 1, 2";

const ROW_SECURITY: &str = "\
    SELECT n.nspname, c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relrowsecurity AND pg_catalog.row_security_active(c.oid) ORDER BY 1, 2 LIMIT 20";

const SETTINGS: &str = "\
    SELECT name, pg_catalog.coalesce(reset_val, ''), pg_catalog.coalesce(unit, '') FROM pg_catalog.pg_settings
    WHERE name IN ('statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout', 'idle_session_timeout',
                   'transaction_timeout', 'TimeZone', 'max_connections', 'max_prepared_transactions',
                   'max_locks_per_transaction') ORDER BY name";

const OWN_SETTINGS: &str = "\
    SELECT pg_catalog.unnest(setconfig) FROM pg_catalog.pg_db_role_setting
    WHERE setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = current_user))
    AND setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))";

/// Queries the server as the role in `options`.
///
/// # Errors
/// If the server cannot be reached or rejects a query.
pub async fn preflight(options: &ConnectOptions) -> Result<Preflight, Error> {
    // Other sessions start with `statement_timeout` and `lock_timeout` off, and `reset_val` shows what a session started with.
    let beginning = connect(&options.keeping_timeouts()).await?;
    let settings = &SETTINGS.replace("pg_catalog.coalesce", "coalesce");
    let settings = beginning.query("the preflight", settings).await?;
    drop(beginning);
    let session = connect(options).await?;
    let role = session.server().user.clone();
    let what = "the preflight";
    let tls = "SELECT version FROM pg_catalog.pg_stat_ssl WHERE ssl AND pid = pg_catalog.pg_backend_pid()";
    let tls = session.value(what, tls).await?;
    let local = "SELECT pg_catalog.inet_client_addr() IS NULL OR pg_catalog.inet_client_addr() <<= '127.0.0.0/8' \
                 OR pg_catalog.inet_client_addr() = '::1'";
    let local = session.value(what, local).await?.as_deref() == Some("t");
    let lacking = relations(&session, UNREADABLE).await?;
    let setting = |name: &str| {
        let row = settings.iter().find(|row| row.first().is_some_and(|n| n.as_deref() == Some(name)))?;
        Some((row.get(1)?.clone()?, row.get(2)?.clone()?))
    };
    let number = |name: &str| setting(name).and_then(|(value, _)| value.parse::<u64>().ok()).unwrap_or(0);
    // Settings of the role and the database as written; for others, the value that a session starts with.
    let own = session.query(what, OWN_SETTINGS).await?;
    let own = own.iter().filter_map(|row| row.first()?.as_ref()?.split_once('='));
    let mut timeouts: Vec<(String, String)> = own
        .filter(|(name, value)| name.ends_with("_timeout") && *value != "0")
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    for row in &settings {
        let Some(name) = row.first().cloned().flatten().filter(|name| name.ends_with("_timeout")) else {
            continue;
        };
        if let Some((value, unit)) = setting(&name).filter(|(value, _)| value != "0")
            && !timeouts.iter().any(|(known, _)| *known == name)
        {
            timeouts.push((name, format!("{value} {unit}")));
        }
    }
    let clock = "SELECT (extract(epoch FROM pg_catalog.clock_timestamp()) * 1000)::bigint";
    let clock = session.value(what, clock).await?.and_then(|text| text.parse().ok()).unwrap_or(0);
    let tables = "SELECT count(*) FROM pg_catalog.pg_class WHERE relkind IN ('r', 'p') AND oid >= 16384";
    let tables = session.value(what, tables).await?.and_then(|text| text.parse().ok()).unwrap_or(0);
    let passwords = "SELECT pg_catalog.has_table_privilege('pg_catalog.pg_authid', 'SELECT')";
    Ok(Preflight {
        tls,
        local,
        grants: grants(&role, session.server().major(), &lacking),
        unreadable_count: lacking.len(),
        unreadable: lacking.iter().take(NAMED).map(|(schema, name)| shown(schema, name)).collect(),
        row_security: relations(&session, ROW_SECURITY)
            .await?
            .iter()
            .map(|(schema, name)| shown(schema, name))
            .collect(),
        reads_passwords: session.value(what, passwords).await?.as_deref() == Some("t"),
        timeouts,
        zone: setting("TimeZone").map(|(zone, _)| zone).unwrap_or_default(),
        clock_ms: clock,
        tables,
        lock_slots: number("max_locks_per_transaction")
            .saturating_mul(number("max_connections") + number("max_prepared_transactions")),
    })
}

async fn relations(session: &Session, sql: &str) -> Result<Vec<(String, String)>, Error> {
    let rows = session.query("the preflight", sql).await?;
    let named = rows.into_iter().filter_map(|row| {
        let mut fields = row.into_iter();
        Some((fields.next()??, fields.next()??))
    });
    Ok(named.collect())
}

fn shown(schema: &str, name: &str) -> String {
    format!("{}.{}", ident(schema), ident(name))
}

/// Statements that grant a role the privileges it lacks.
fn grants(role: &str, major: u32, lacking: &[(String, String)]) -> Vec<String> {
    if lacking.is_empty() {
        return Vec::new();
    }
    let role = format!("\"{}\"", role.replace('"', "\"\""));
    if major >= 14 {
        return vec![format!("GRANT pg_read_all_data TO {role}")];
    }
    let mut schemas: Vec<&String> = lacking.iter().map(|(schema, _)| schema).collect();
    schemas.dedup();
    let of = |schema: &&String| {
        let schema = ident(schema);
        [
            format!("GRANT USAGE ON SCHEMA {schema} TO {role}"),
            format!("GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}"),
            format!("GRANT SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}"),
        ]
    };
    schemas.iter().flat_map(of).collect()
}
