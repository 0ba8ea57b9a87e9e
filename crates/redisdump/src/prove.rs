//! An RDB stream against a live server: every key looked up, every key of the server accounted for.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use crate::compare::{BATCH, CompareOptions, Findings, equal_functions, judge, now};
use crate::digest::Digester;
use crate::identity::{functions, identify, keyspace};
use crate::meaning::{Asker, Live};
use crate::rdb::{Elements, Key, Reader, StreamId, StreamMeta, Visitor};
use crate::report::{Comparison, DifferenceKind, Progress};
use crate::restore::KeyChoice;
use crate::tally::digest_elements;
use crate::wire::Connection;
use crate::{ConnectOptions, Error};

/// Proves that a server holds what an RDB holds: each key with its type, value and expiry, and no key beside them.
///
/// Keys of the server beyond the RDB's are known by count: all of the RDB's keys are looked up by name, so that a
/// larger count means others.
pub async fn prove<E>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    options: &ConnectOptions,
    settings: &CompareOptions,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<Comparison, Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = Connection::open(options).await?;
    let server = identify(&mut connection, options).await?;
    let mut asker = Asker::new(connection, &server);
    let mut findings = Findings::new(settings.show);
    let mut present: BTreeMap<u64, u64> = BTreeMap::new();
    let mut rdb = Reader::new();
    let digester = match asker.has_counters() {
        true => Digester::default(),
        false => Digester::default().without_counters(),
    };
    let mut expected = Expected { digester, choice: settings.choice.clone(), ..Expected::default() };
    let mut stream = std::pin::pin!(stream);
    let mut seen = 0;
    loop {
        let piece = stream.next().await.transpose().map_err(Error::stream)?;
        if let Some(piece) = &piece {
            rdb.feed(piece, &mut expected)?;
        } else {
            rdb.finish()?;
        }
        let ended = piece.is_none();
        if expected.keys.len() >= BATCH || ended {
            let keys = std::mem::take(&mut expected.keys);
            for batch in keys.chunk_by(|a, b| a.db == b.db).flat_map(|of_db| of_db.chunks(BATCH)) {
                let Some(db) = batch.first().map(|key| key.db) else { continue };
                look_up(&mut asker, db, batch, &mut findings, &mut present).await?;
                seen += batch.len() as u64;
            }
            on_progress(Progress { bytes: rdb.offset(), keys: seen });
        }
        if ended {
            break;
        }
    }
    let everything = !settings.others_allowed;
    for (db, keys) in keyspace(asker.connection()).await? {
        if !everything {
            break;
        }
        let known = present.get(&db).copied().unwrap_or(0);
        findings.unnamed_extra += keys.saturating_sub(known);
    }
    let of_server = functions(asker.connection(), &server).await?;
    expected.functions.sort_unstable();
    let functions = of_server.map(|found| match everything {
        true => equal_functions((Some(expected.functions), Some(found))).unwrap_or(true),
        false => expected.functions.iter().all(|library| found.contains(library)),
    });
    let exact = asker.tolerance() == 0;
    Ok(findings.finish("the snapshot's RDB".to_owned(), server, functions, exact))
}

async fn look_up(
    asker: &mut Asker,
    db: u64,
    batch: &[ExpectedKey],
    findings: &mut Findings,
    present: &mut BTreeMap<u64, u64>,
) -> Result<(), Error> {
    asker.select(db).await?;
    let names: Vec<&[u8]> = batch.iter().map(|key| key.name.as_slice()).collect();
    let found = asker.look_up(&names).await?;
    for (expected, found) in batch.iter().zip(found) {
        *present.entry(db).or_default() += u64::from(found.is_some());
        let due = expected.live.expiry.is_some_and(|at| at <= now() + 1000);
        match judge(Some(&expected.live), found.as_ref(), asker.tolerance()) {
            None => findings.equal(true),
            Some((DifferenceKind::MissingRight, _)) if due => findings.expired_meanwhile += 1,
            Some((kind, details)) => findings.differ(db, &expected.name, kind, details),
        }
    }
    Ok(())
}

/// A key that the server must have.
struct ExpectedKey {
    db: u64,
    name: Vec<u8>,
    live: Live,
}

/// Collects the keys of a piece of RDB.
#[derive(Default)]
struct Expected {
    digester: Digester,
    db: u64,
    name: Vec<u8>,
    expiry: Option<i64>,
    keys: Vec<ExpectedKey>,
    functions: Vec<u128>,
    choice: KeyChoice,
}
digest_elements!(Expected);

impl Visitor for Expected {
    fn function(&mut self, code: &[u8]) {
        self.functions.push(crate::digest::function(code));
    }

    fn key(&mut self, key: &Key<'_>) {
        self.db = self.choice.database(key.db);
        self.name = key.name.to_vec();
        self.expiry = key.expiry;
        self.digester.begin(key.value_type.kind());
    }

    fn key_end(&mut self) {
        if !self.choice.wants(&self.name) || self.digester.is_empty_collection() {
            return;
        }
        self.keys.push(ExpectedKey {
            db: self.db,
            name: std::mem::take(&mut self.name),
            live: Live { meaning: self.digester.meaning(), expiry: self.expiry },
        });
    }
}
