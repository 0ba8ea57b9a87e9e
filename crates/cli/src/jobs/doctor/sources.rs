//! Checks whether a source can be backed up: connects, and reads what a backup reads, except for rows.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use crate::endpoint::{Connection, Endpoint};
use crate::failure::Failure;
use crate::report::doctor::Finding;
use crate::ui::count;

/// How long to wait for a table that another session has locked.
const LOCK_WAIT: Duration = Duration::from_secs(2);

/// Checks one source. `now` returns this host's current time.
pub(super) async fn check(endpoint: &Endpoint, now: DateTime<Utc>) -> Vec<Finding> {
    let began = std::time::Instant::now();
    let clock = || now + TimeDelta::from_std(began.elapsed()).unwrap_or_default();
    match &endpoint.connection {
        Connection::Postgres(options) => postgres(endpoint, options, &clock).await,
        Connection::Redis(options) => redis(endpoint, options, &clock).await,
        Connection::Folder(folder) => vec![match std::fs::read_dir(folder).map(|_| ()) {
            Ok(()) => Finding::ok(&endpoint.name, format!("{} can be read", folder.display())),
            Err(_) if folder.is_file() => Finding::ok(&endpoint.name, format!("{} exists", folder.display())),
            Err(error) => Finding::error(&endpoint.name, &error.into()),
        }],
    }
}

async fn postgres(
    endpoint: &Endpoint,
    options: &pgmove::ConnectOptions,
    clock: &impl Fn() -> DateTime<Utc>,
) -> Vec<Finding> {
    let name = &endpoint.name;
    let session = match pgmove::connect(options).await {
        Ok(session) => session,
        Err(error) => return vec![Finding::error(name, &error.into())],
    };
    let server = session.server().clone();
    let system = server.system_identifier.as_deref().unwrap_or("not readable by this role");
    let mut found = vec![Finding::ok(
        name,
        format!(
            "PostgreSQL {} at {}:{}, database {}, role {}, system identifier {system}",
            server.version, server.host, server.port, server.database, server.user
        ),
    )];
    if session.is_pooled() {
        found.push(Finding::warning(name, "it is behind a connection pooler", "use the server's own port"));
    }
    if server.in_recovery {
        found.push(Finding::warning(
            name,
            "it is a standby: replay may cancel a long backup",
            "set max_standby_streaming_delay, or back up the primary",
        ));
    }
    drop(session);
    let asked = pgmove::preflight(options).await;
    match &asked {
        Ok(asked) => found.extend(super::postgres::findings(endpoint, &server.user, asked, clock())),
        Err(error) => found.push(Finding::failure(name, error.to_string(), "")),
    }
    let settings = pgmove::SourceOptions {
        jobs: 1,
        filter: endpoint.filter.clone(),
        lock_timeout: Some(LOCK_WAIT),
        ..pgmove::SourceOptions::default()
    };
    // Locks every table as a backup does, which requires the same privileges.
    match pgmove::Source::open(options, &settings).await {
        Ok(source) => {
            found.push(Finding::ok(name, "every table can be read".to_owned()));
            found.extend(source.warnings().iter().map(|found| Finding::warning(name, found.to_string(), "")));
            for untried in source.catalog().untried() {
                found.push(Finding::warning(name, untried.to_string(), "rehearse a backup of it"));
            }
            for unsupported in source.unsupported() {
                found.push(Finding::failure(
                    name,
                    format!("not supported: {unsupported}"),
                    "exclude it by a filter",
                ));
            }
            let names: Vec<&str> =
                source.catalog().extensions.iter().map(|extension| extension.meta.name.as_str()).collect();
            if !names.is_empty() {
                found.push(Finding::ok(name, format!("extensions: {}", names.join(", "))));
            }
            if let Err(error) = source.finish().await {
                found.push(Finding::error(name, &error.into()));
            }
        }
        Err(error) => {
            let error = anyhow::Error::new(error);
            let said = Failure::of(&error).line();
            let grant = match &asked {
                Ok(asked) if !asked.grants.is_empty() => asked.grants.join("; "),
                _ => format!("GRANT pg_read_all_data TO \"{}\"", server.user.replace('"', "\"\"")),
            };
            let hint =
                if ["42501", "permission denied", "GRANT SELECT"].iter().any(|words| said.contains(words)) {
                    grant
                } else {
                    String::new()
                };
            found.push(Finding::failure(name, said, hint));
        }
    }
    found
}

async fn redis(
    endpoint: &Endpoint,
    options: &redisdump::ConnectOptions,
    clock: &impl Fn() -> DateTime<Utc>,
) -> Vec<Finding> {
    let name = &endpoint.name;
    let mut found = Vec::new();
    match redisdump::key_count(options).await {
        Ok((server, keys)) => {
            found
                .push(Finding::ok(name, format!("{server}, {} keys, run id {}", count(keys), server.run_id)));
            found.extend(super::redis::findings(endpoint, options, clock()).await);
        }
        Err(error) => {
            let said = Failure::of(&error.into()).line();
            let hint = match said.contains("NOPERM") {
                true => {
                    "ACL SETUSER USER +@connection +info +psync +replconf +select +scan +dump +pttl +memory|usage ~*"
                }
                false => "",
            };
            found.push(Finding::failure(name, said, hint));
        }
    }
    let shown = endpoint.shown();
    let host =
        shown.strip_prefix("redis://").map(|rest| rest.rsplit_once('@').map_or(rest, |(_, host)| host));
    let near = |host: &str| ["127.", "localhost", "[::1]"].iter().any(|near| host.starts_with(near));
    if host.is_some_and(|host| !near(host)) {
        found.push(Finding::warning(name, "keys and the password travel without TLS", "use a rediss:// URL"));
    }
    found
}
