//! Replaces placeholders by the real expiries after all commands have run: see [`PlaceholderExpiries`].

use redis::{Cmd, Pipeline, cmd, from_redis_value_ref};

use crate::Error;
use crate::ServerIdentity;
use crate::client::connection::Connection;
use crate::client::databases::databases;
use crate::client::identity::clock;
use crate::convert::commands::PlaceholderExpiries;

/// Number of keys that are queried at a time.
const BATCH: u64 = 1000;
/// How often an expiry is queried again if the clock ticked meanwhile.
const MAX_ATTEMPTS: usize = 20;
/// A time this many milliseconds ago is certainly past, however inexact the clock.
const PAST_MARGIN_MS: i64 = 10_000;

/// What happened to the placeholders.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct SettledExpiries {
    /// Number of keys that had expired and no longer exist.
    pub(super) expired: u64,
    /// The same for hash fields.
    pub(super) expired_fields: u64,
    /// False if an expiry may be off by a millisecond: the server does not report it exactly.
    pub(super) exact: bool,
}

pub(super) async fn settle(
    connection: &mut Connection,
    server: &ServerIdentity,
    times: PlaceholderExpiries,
    fields: bool,
) -> Result<SettledExpiries, Error> {
    let mut settled = SettledExpiries { exact: true, ..SettledExpiries::default() };
    for db in databases(connection, server).await?.into_keys() {
        connection.select(db).await?;
        keys(connection, server, times, &mut settled).await?;
        if fields {
            hashes(connection, times, &mut settled).await?;
        }
    }
    Ok(settled)
}

async fn keys(
    connection: &mut Connection,
    server: &ServerIdentity,
    times: PlaceholderExpiries,
    settled: &mut SettledExpiries,
) -> Result<(), Error> {
    let mut cursor = b"0".to_vec();
    loop {
        let names: Vec<Vec<u8>>;
        (cursor, names) = scan(connection, cmd("SCAN").arg(&cursor).arg("COUNT").arg(BATCH)).await?;
        let now = clock(connection).await?;
        let expiries = if server.at_least(7, 0) {
            batch(connection, &each("PEXPIRETIME", &names)).await?
        } else {
            let mut expiries = batch(connection, &each("PTTL", &names)).await?;
            for (name, expiry) in names.iter().zip(&mut expiries) {
                let about = if *expiry > 0 { times.original(now.saturating_add(*expiry)) } else { None };
                *expiry = match about {
                    None => -1,
                    Some(at) if at < now - PAST_MARGIN_MS => now.saturating_add(*expiry),
                    Some(_) => exactly(connection, name, settled).await?,
                };
            }
            expiries
        };
        let mut right = redis::pipe();
        for (name, at) in names.iter().zip(expiries) {
            if let Some(at) = times.original(at) {
                settled.expired += u64::from(at <= now);
                right.cmd("PEXPIREAT").arg(name).arg(at);
            }
        }
        // This deletes keys whose expiry has passed.
        batch(connection, &right).await?;
        if cursor == b"0" {
            return Ok(());
        }
    }
}

/// When a key expires, for a server that only reports the remaining time: exact if its clock did not advance meanwhile.
async fn exactly(
    connection: &mut Connection,
    name: &[u8],
    settled: &mut SettledExpiries,
) -> Result<i64, Error> {
    let mut at = -1;
    for _ in 0..MAX_ATTEMPTS {
        let before = clock(connection).await?;
        let left = connection.query::<i64>(cmd("PTTL").arg(name)).await?;
        let after = clock(connection).await?;
        if left < 0 {
            return Ok(-1);
        }
        at = before.saturating_add(left);
        if before == after {
            return Ok(at);
        }
    }
    settled.exact = false;
    Ok(at)
}

async fn hashes(
    connection: &mut Connection,
    times: PlaceholderExpiries,
    settled: &mut SettledExpiries,
) -> Result<(), Error> {
    let mut cursor = b"0".to_vec();
    loop {
        let names: Vec<Vec<u8>>;
        let step = cmd("SCAN").arg(&cursor).arg("COUNT").arg(BATCH).arg("TYPE").arg("hash").take();
        (cursor, names) = scan(connection, &step).await?;
        for name in &names {
            fields(connection, times, name, settled).await?;
        }
        if cursor == b"0" {
            return Ok(());
        }
    }
}

async fn fields(
    connection: &mut Connection,
    times: PlaceholderExpiries,
    name: &[u8],
    settled: &mut SettledExpiries,
) -> Result<(), Error> {
    let mut cursor = b"0".to_vec();
    loop {
        let fields: Vec<Vec<u8>>;
        let step = cmd("HSCAN").arg(name).arg(&cursor).arg("COUNT").arg(BATCH).arg("NOVALUES").take();
        (cursor, fields) = scan(connection, &step).await?;
        if !fields.is_empty() {
            let asked = cmd("HPEXPIRETIME").arg(name).arg("FIELDS").arg(fields.len()).arg(&fields).take();
            // Nothing if the key no longer exists because its last field has expired.
            let Some(expiries) = connection.query::<Option<Vec<i64>>>(&asked).await? else { return Ok(()) };
            let now = clock(connection).await?;
            let mut right = redis::pipe();
            for (field, expiry) in fields.iter().zip(expiries) {
                if let Some(at) = times.original(expiry) {
                    settled.expired_fields += u64::from(at <= now);
                    right.cmd("HPEXPIREAT").arg(name).arg(at).arg("FIELDS").arg(1).arg(field);
                }
            }
            batch(connection, &right).await?;
        }
        if cursor == b"0" {
            return Ok(());
        }
    }
}

/// One step of a scan: the next cursor, and names.
async fn scan(connection: &mut Connection, step: &Cmd) -> Result<(Vec<u8>, Vec<Vec<u8>>), Error> {
    connection.query(step).await
}

/// The same question about each key.
fn each(question: &str, names: &[Vec<u8>]) -> Pipeline {
    let mut pipeline = redis::pipe();
    for name in names {
        pipeline.cmd(question).arg(name);
    }
    pipeline
}

/// Sends commands together and returns the number that each is answered with; -1 for any other reply.
async fn batch(connection: &mut Connection, commands: &Pipeline) -> Result<Vec<i64>, Error> {
    const OPERATION: &str =
        "correcting expiries after a replay; those not corrected yet are centuries in the future";
    let replies = connection.query_all(commands, OPERATION).await?;
    let numbers =
        replies.into_iter().map(|reply| reply.map(|value| from_redis_value_ref(&value).unwrap_or(-1)));
    numbers.collect::<Result<_, String>>().map_err(|message| Error::Server {
        target: connection.reader.target().to_owned(),
        operation: OPERATION.to_owned(),
        message,
    })
}
