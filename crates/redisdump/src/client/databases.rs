//! Finds the databases that contain keys by asking for each of them. INFO alone is not sufficient: proxies answer it in
//! their own way, and users may lack the permission.

use std::collections::BTreeMap;

use redis::{InfoDict, Value, cmd, from_redis_value, from_redis_value_ref};

use crate::client::connection::Connection;
use crate::client::identity::{identify, setting};
use crate::client::text::Text;
use crate::cluster::each_master;
use crate::conflict::Conflict;
use crate::restore::{KeyChoice, named, unmatched, without_keys};
use crate::{ConnectOptions, Error, ServerIdentity};

/// Number of databases per round trip.
const BATCH: u64 = 128;
/// Limit for the number of databases that a server claims to have.
const MOST: u64 = 1 << 20;
const OPERATION: &str = "asking for its databases (SELECT, DBSIZE, SCAN)";

/// Statistics of a database in INFO.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct KeyspaceEntry {
    pub(crate) keys: u64,
    /// Number of keys with an expiry, if the server tells.
    pub(crate) expires: Option<u64>,
}

/// `INFO keyspace`; `None` if the reply does not have the server's format.
pub(crate) async fn keyspace(
    connection: &mut Connection,
) -> Result<Option<BTreeMap<u64, KeyspaceEntry>>, Error> {
    let text: Option<Text> = connection.query_optional(cmd("INFO").arg("keyspace")).await?;
    // Only a server's own reply has this heading.
    let Some(Text(text)) = text.filter(|text| text.0.to_ascii_lowercase().contains("# keyspace")) else {
        return Ok(None);
    };
    let databases = InfoDict::new(&text);
    let databases = databases.keys().filter_map(|name| {
        let db = name.strip_prefix("db")?.parse().ok()?;
        let value: String = databases.get(name)?;
        let number = |name: &str| value.split(',').find_map(|pair| pair.strip_prefix(name)?.parse().ok());
        Some((db, KeyspaceEntry { keys: number("keys=")?, expires: number("expires=") }))
    });
    Ok(Some(databases.collect()))
}

/// The databases with keys, and their approximate numbers of keys. Afterwards, database 0 is selected.
///
/// # Errors
/// [`Error::Refused`] if the server does not reveal it.
pub(crate) async fn databases(
    connection: &mut Connection,
    server: &ServerIdentity,
) -> Result<BTreeMap<u64, u64>, Error> {
    let keyspace = keyspace(connection).await?;
    let all = match setting(connection, "databases").await? {
        Ok(Some(number)) => number.parse().ok(),
        _ => None,
    };
    let mut found = BTreeMap::new();
    let mut next = 0;
    // If the number of databases is unknown, ask until one does not exist.
    let end = all.unwrap_or(MOST).min(MOST);
    'probing: while next < end {
        let last = (next + if all.is_some() { BATCH } else { 16 }).min(end);
        for (db, probe) in probe(connection, next..last).await? {
            match probe.selected {
                Err(words) if db > 0 && is_missing(&words) => break 'probing,
                Err(words) if db > 0 || !only_one(server, keyspace.as_ref(), &words) => {
                    // For the others use INFO, if it is the server's own.
                    let Some(keyspace) = &keyspace else {
                        return Err(unknown(server, db, &words));
                    };
                    found.extend(
                        keyspace.iter().filter(|(_, entry)| entry.keys > 0).map(|(db, t)| (*db, t.keys)),
                    );
                    break 'probing;
                }
                _ => {}
            }
            let keyspace =
                keyspace.as_ref().map(|keyspace| keyspace.get(&db).copied().unwrap_or_default().keys);
            let keys = match (probe.size, keyspace) {
                (Ok(keys), keyspace) => keys.max(keyspace.unwrap_or(0)),
                (Err(_), Some(keys)) => keys,
                (Err(words), None) => match probe.any {
                    Ok(any) => u64::from(any),
                    Err(_) => return Err(unknown(server, db, &words)),
                },
            };
            let keys = keys.max(u64::from(matches!(probe.any, Ok(true))));
            if keys > 0 {
                found.insert(db, keys);
            }
            if db == 0 && server.cluster && keyspace.is_none() {
                break 'probing;
            }
        }
        next = last;
    }
    connection.reply_to(cmd("SELECT").arg(0)).await?.ok();
    Ok(found)
}

/// A server's identity, and the total number of keys in all its databases.
///
/// # Errors
/// A server that is unreachable or does not reveal it.
pub async fn key_count(options: &ConnectOptions) -> Result<(ServerIdentity, u64), Error> {
    let mut connection = Connection::open(options).await?;
    let server = identify(&mut connection, options).await?;
    drop(connection);
    let counts = each_master(options, |node| async move {
        let mut connection = Connection::open(&node).await?;
        let server = identify(&mut connection, &node).await?;
        Ok(databases(&mut connection, &server).await?.values().sum::<u64>())
    });
    let keys = counts.await?.into_iter().sum();
    Ok((server, keys))
}

/// Refuses a selection of databases if any of them contains no keys.
///
/// # Errors
/// [`Error::Options`], which lists all of them; or a server that cannot be queried.
pub async fn refuse_missing_databases(options: &ConnectOptions, choice: &KeyChoice) -> Result<(), Error> {
    let mut wanted = named(choice);
    if wanted.is_empty() {
        return Ok(());
    }
    let found = each_master(options, |node| async move {
        let mut connection = Connection::open(&node).await?;
        let server = identify(&mut connection, &node).await?;
        databases(&mut connection, &server).await
    });
    for of_node in found.await? {
        wanted.retain(|db| !of_node.contains_key(db));
    }
    unmatched(without_keys(wanted.iter()))
}

/// The reply about one database.
struct Probe {
    selected: Result<(), String>,
    size: Result<u64, String>,
    /// Whether the first step of SCAN shows that there are keys.
    any: Result<bool, String>,
}

async fn probe(connection: &mut Connection, dbs: std::ops::Range<u64>) -> Result<Vec<(u64, Probe)>, Error> {
    let mut pipeline = redis::pipe();
    for db in dbs.clone() {
        pipeline.cmd("SELECT").arg(db).cmd("DBSIZE").cmd("SCAN").arg(0);
    }
    let mut replies = connection.query_all(&pipeline, OPERATION).await?.into_iter();
    let probes = dbs.map_while(|db| {
        let (selected, size, any) = (replies.next()?, replies.next()?, replies.next()?);
        let size = size.and_then(|size| {
            let keys: Option<i64> = from_redis_value_ref(&size).ok();
            let keys = keys.and_then(|keys| u64::try_from(keys).ok());
            keys.ok_or_else(|| format!("DBSIZE answered {size:?}"))
        });
        let any = any.map(|any| {
            let step: Option<(Vec<u8>, Vec<Value>)> = from_redis_value(any).ok();
            step.is_some_and(|(cursor, keys)| cursor != b"0" || !keys.is_empty())
        });
        Some((db, Probe { selected: selected.map(drop), size, any }))
    });
    Ok(probes.collect())
}

/// Whether a refusal of SELECT says that there is no such database.
pub(crate) fn is_missing(words: &str) -> bool {
    let words = words.to_ascii_lowercase();
    ["out of range", "invalid db index", "cluster mode"].iter().any(|sign| words.contains(sign))
}

/// Whether a server that rejects `SELECT 0` has only one database.
fn only_one(server: &ServerIdentity, keyspace: Option<&BTreeMap<u64, KeyspaceEntry>>, words: &str) -> bool {
    server.cluster || is_missing(words) || keyspace.is_some_and(|keyspace| keyspace.keys().all(|db| *db == 0))
}

fn unknown(server: &ServerIdentity, db: u64, words: &str) -> Error {
    Error::Refused {
        what: format!("cannot determine the keys of {server}"),
        conflicts: vec![Conflict::from(format!(
            "database {db}: {words}. The user needs +select +dbsize +scan, or +info; a proxy that supports none of them hides \
             the server behind it: name that server itself"
        ))],
    }
}
