//! Replaces placeholders by the real expiries after all commands have run: see [`PlaceholderExpiries`].

use crate::Error;
use crate::ServerIdentity;
use crate::client::databases::databases;
use crate::client::identity::clock;
use crate::client::wire::{Connection, Reply, command};
use crate::convert::commands::PlaceholderExpiries;

/// Number of keys that are queried at a time.
const BATCH: &[u8] = b"1000";
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
        connection.ask(&[b"SELECT", db.to_string().as_bytes()]).await?;
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
        (cursor, names) = scan(connection, &[b"SCAN", &cursor, b"COUNT", BATCH]).await?;
        let now = clock(connection).await?;
        let told = if server.at_least(7, 0) {
            batch(connection, names.iter().map(|name| vec![b"PEXPIRETIME".as_slice(), name])).await?
        } else {
            let mut told = batch(connection, names.iter().map(|name| vec![b"PTTL".as_slice(), name])).await?;
            for (name, told) in names.iter().zip(&mut told) {
                let about = if *told > 0 { times.original(now.saturating_add(*told)) } else { None };
                *told = match about {
                    None => -1,
                    Some(at) if at < now - PAST_MARGIN_MS => now.saturating_add(*told),
                    Some(_) => exactly(connection, name, settled).await?,
                };
            }
            told
        };
        let mut right = Vec::new();
        for (name, at) in names.iter().zip(told) {
            if let Some(at) = times.original(at) {
                settled.expired += u64::from(at <= now);
                right.push((name, at.to_string()));
            }
        }
        // This deletes keys whose expiry has passed.
        batch(
            connection,
            right.iter().map(|(name, at)| vec![b"PEXPIREAT".as_slice(), name.as_slice(), at.as_bytes()]),
        )
        .await?;
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
        let left = connection.ask(&[b"PTTL", name]).await?.int().unwrap_or(-1);
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
        (cursor, names) = scan(connection, &[b"SCAN", &cursor, b"COUNT", BATCH, b"TYPE", b"hash"]).await?;
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
        (cursor, fields) = scan(connection, &[b"HSCAN", name, &cursor, b"COUNT", BATCH, b"NOVALUES"]).await?;
        if !fields.is_empty() {
            let count = fields.len().to_string();
            let mut words: Vec<&[u8]> = vec![b"HPEXPIRETIME", name, b"FIELDS", count.as_bytes()];
            words.extend(fields.iter().map(Vec::as_slice));
            // Empty if the key no longer exists because its last field has expired.
            let Reply::Array(told) = connection.ask(&words).await? else { return Ok(()) };
            let now = clock(connection).await?;
            let right: Vec<(&[u8], String)> = fields
                .iter()
                .zip(&told)
                .filter_map(|(field, told)| {
                    let at = times.original(told.int()?)?;
                    settled.expired_fields += u64::from(at <= now);
                    Some((field.as_slice(), at.to_string()))
                })
                .collect();
            let right = right.iter().map(|(field, at)| {
                vec![b"HPEXPIREAT".as_slice(), name, at.as_bytes(), b"FIELDS", b"1", field]
            });
            batch(connection, right).await?;
        }
        if cursor == b"0" {
            return Ok(());
        }
    }
}

/// One step of a scan: the next cursor, and names.
async fn scan(connection: &mut Connection, words: &[&[u8]]) -> Result<(Vec<u8>, Vec<Vec<u8>>), Error> {
    let Reply::Array(mut parts) = connection.ask(words).await? else {
        return Ok((b"0".to_vec(), Vec::new()));
    };
    let names = match parts.pop() {
        Some(Reply::Array(names)) => names,
        _ => Vec::new(),
    };
    let cursor = parts.pop().and_then(|cursor| cursor.bytes().map(<[u8]>::to_vec));
    let names = names.iter().filter_map(|name| name.bytes().map(<[u8]>::to_vec)).collect();
    Ok((cursor.unwrap_or_else(|| b"0".to_vec()), names))
}

/// Sends commands together and returns the number that each is answered with; -1 for any other reply.
async fn batch<'b>(
    connection: &mut Connection,
    commands: impl Iterator<Item = Vec<&'b [u8]>>,
) -> Result<Vec<i64>, Error> {
    const OPERATION: &str =
        "correcting expiries after a replay; those not corrected yet are centuries in the future";
    let mut out = Vec::new();
    let mut count = 0;
    for words in commands {
        command(&mut out, &words);
        count += 1;
    }
    let Connection { reader, writer } = connection;
    let mut told = Vec::with_capacity(count);
    let read = async {
        for _ in 0..count {
            match reader.reply(OPERATION).await? {
                Reply::Error(message) => {
                    return Err(Error::Server {
                        target: reader.target().to_owned(),
                        operation: OPERATION.to_owned(),
                        message,
                    });
                }
                reply => told.push(reply.int().unwrap_or(-1)),
            }
        }
        Ok(())
    };
    futures::try_join!(writer.send(&out, OPERATION), read)?;
    Ok(told)
}
