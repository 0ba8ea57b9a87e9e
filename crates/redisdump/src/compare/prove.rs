//! An RDB stream against a live server: every key looked up, every key of the server accounted for.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use crate::capture::stats::digest_elements;
use crate::client::identity::identify;
use crate::client::names::{Names, Scan};
use crate::client::wire::Connection;
use crate::compare::canonical::{Asker, Live};
use crate::compare::digest::Digester;
use crate::compare::digest_log::{DigestLog, Record};
use crate::compare::field_ttl::{Fields, LISTED, Watch};
use crate::compare::outcome::{Findings, Sides, Verdict, judge};
use crate::compare::report::{Comparison, DifferenceKind, Progress};
use crate::compare::servers::{BATCH, CompareOptions, equal_functions};
use crate::convert::commands::Losses;
use crate::rdb::{Elements, Key, Reader, StreamId, StreamMeta, Visitor};
use crate::restore::KeyChoice;
use crate::{ConnectOptions, Error, ServerIdentity};

/// Bytes of an RDB that are read between two rounds of questions.
const STEP: usize = 64 << 10;

/// Proves that a server holds what an RDB holds: each key with its type, value and expiry, and no key beside them.
///
/// Keys of the server beyond the RDB's are found by SCAN and named. Of an RDB with more keys than are to be remembered
/// ([`CompareOptions::remembered_keys`]) they are known by count alone.
pub async fn prove<E>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    options: &ConnectOptions,
    settings: &CompareOptions,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<Comparison, Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (server, mut server_side, mut expected) = begin(options, settings).await?;
    // Whoever has restored it has decided that it can be read.
    let mut rdb = Reader::new().try_newer(true);
    let mut stream = std::pin::pin!(stream);
    let mut seen = 0;
    while let Some(piece) = stream.next().await.transpose().map_err(Error::stream)? {
        for part in piece.chunks(STEP) {
            rdb.feed(part, &mut expected)?;
            if expected.is_full() {
                seen += server_side.look_up(&mut expected).await?;
                on_progress(Progress { bytes: rdb.offset(), keys: seen });
            }
        }
    }
    rdb.finish()?;
    seen += server_side.look_up(&mut expected).await?;
    on_progress(Progress { bytes: rdb.offset(), keys: seen });
    end("the snapshot's RDB", server, server_side, expected, settings).await
}

/// The same for what a capture held whose digests were kept: proves that a server holds what was captured, however the
/// captured server has changed since. `left` names that one.
pub async fn prove_digests(
    log: DigestLog,
    left: &str,
    options: &ConnectOptions,
    settings: &CompareOptions,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<Comparison, Error> {
    let (server, mut server_side, mut expected) = begin(options, settings).await?;
    let mut seen = 0;
    for mut log in log.into_parts() {
        expected.functions.extend_from_slice(log.functions());
        let mut records = log.read()?;
        while let Some(Record { db, name, live, metadata }) = records.next()? {
            expected.add(settings.choice.database(db), name, live, metadata);
            if expected.is_full() {
                seen += server_side.look_up(&mut expected).await?;
                on_progress(Progress { bytes: 0, keys: seen });
            }
        }
    }
    seen += server_side.look_up(&mut expected).await?;
    on_progress(Progress { bytes: 0, keys: seen });
    end(left, server, server_side, expected, settings).await
}

async fn begin<'a>(
    options: &ConnectOptions,
    settings: &'a CompareOptions,
) -> Result<(ServerIdentity, ServerSide<'a>, Expected<'a>), Error> {
    let mut connection = Connection::open(options).await?;
    let server = identify(&mut connection, options).await?;
    drop(connection);
    let asker = Asker::open(options, &server).await?;
    let mut digester = match asker.has_counters() {
        true => Digester::default(),
        false => Digester::default().without_counters(),
    };
    digester.watch(Watch::new(asker.now(), LISTED));
    let expected = Expected {
        digester,
        db: 0,
        name: Vec::new(),
        expiry: None,
        metadata: false,
        keys: Vec::new(),
        listed: 0,
        functions: Vec::new(),
        choice: &settings.choice,
        // Where others are allowed nobody asks which they are.
        names: Names::new(if settings.others_allowed { 0 } else { settings.remembered_keys }),
        with_metadata: 0,
    };
    let server_side = ServerSide {
        asker,
        findings: Findings::new(settings.show),
        present: BTreeMap::new(),
        left_out: &settings.left_out,
    };
    Ok((server, server_side, expected))
}

/// When all keys were looked up: what the server holds beside them, and its functions.
async fn end(
    left: &str,
    server: ServerIdentity,
    mut server_side: ServerSide<'_>,
    mut expected: Expected<'_>,
    settings: &CompareOptions,
) -> Result<Comparison, Error> {
    if !settings.others_allowed {
        server_side.find_others(&server, &expected.names, settings.remembered_keys).await?;
    }
    let ServerSide { mut asker, findings, .. } = server_side;
    let of_server = asker.functions(&server).await?;
    let slots_moved = asker.changed().await?;
    expected.functions.sort_unstable();
    // Each master of a cluster has the same ones.
    expected.functions.dedup();
    let functions_equal = match of_server {
        _ if settings.left_out.left_out_functions() => None,
        // A server that knows no functions lacks those of the RDB.
        None if expected.functions.is_empty() => None,
        found if settings.others_allowed => {
            let found = found.unwrap_or_default();
            Some(expected.functions.iter().all(|library| found.contains(library)))
        }
        found => equal_functions((Some(expected.functions), found)),
    };
    Ok(findings.finish(Sides {
        left: left.to_owned(),
        right: server,
        functions_equal,
        counters: asker.has_counters(),
        slack: asker.slack(),
        with_metadata: asker.with_metadata().max(expected.with_metadata),
        slots_moved,
    }))
}

/// The server, and what was found of it.
struct ServerSide<'a> {
    asker: Asker,
    findings: Findings,
    /// Keys of each database that were there when they were looked up.
    present: BTreeMap<u64, u64>,
    left_out: &'a Losses,
}

impl ServerSide<'_> {
    /// Looks the keys up that have been collected; how many they were.
    async fn look_up(&mut self, expected: &mut Expected<'_>) -> Result<u64, Error> {
        let keys = std::mem::take(&mut expected.keys);
        expected.listed = 0;
        for batch in keys.chunk_by(|a, b| a.db == b.db).flat_map(|of_db| of_db.chunks(BATCH)) {
            let Some(db) = batch.first().map(|key| key.db) else { continue };
            self.look_up_of(db, batch).await?;
        }
        expected.digester.set_now(self.asker.now());
        Ok(keys.len() as u64)
    }

    async fn look_up_of(&mut self, db: u64, batch: &[ExpectedKey]) -> Result<(), Error> {
        self.asker.select(db).await?;
        let names: Vec<&[u8]> = batch.iter().map(|key| key.name.as_slice()).collect();
        let found = self.asker.look_up(&names).await?;
        for (expected, mut found) in batch.iter().zip(found) {
            *self.present.entry(db).or_default() += u64::from(found.is_some());
            // The room for fields that expire is shared by those that are asked for together.
            if found.as_ref().and_then(|live| live.fields.as_ref()).is_some_and(Fields::is_cut_off) {
                found = self.asker.look_up(&[expected.name.as_slice()]).await?.into_iter().flatten().next();
            }
            let verdict = judge(Some(&expected.live), found.as_ref(), self.asker.now());
            let missing = matches!(verdict, Verdict::Different(DifferenceKind::MissingRight, _));
            if missing && self.left_out.left_out(db, &expected.name) {
                self.findings.leave_out();
            } else {
                self.findings.note(db, &expected.name, verdict);
            }
        }
        Ok(())
    }

    /// Keys of the server that the RDB does not have: named where its names are all known, else counted.
    async fn find_others(
        &mut self,
        server: &ServerIdentity,
        names: &Names,
        remembered: u64,
    ) -> Result<(), Error> {
        let dbs = self.asker.databases(server).await?;
        if names.is_full() {
            self.findings.extra_is_counted = true;
            for (db, keys) in dbs {
                let known = self.present.get(&db).copied().unwrap_or(0);
                self.findings.unnamed_extra += keys.saturating_sub(known);
            }
            return Ok(());
        }
        let mut others = Names::new(remembered);
        for db in dbs.into_keys() {
            self.asker.select(db).await?;
            for connection in self.asker.connections() {
                let mut scan = Scan::of_chosen(connection);
                while let Some(keys) = scan.next().await? {
                    for key in keys.iter().filter(|key| !names.holds(db, key)) {
                        if others.add(db, key) {
                            let verdict = Verdict::Different(DifferenceKind::MissingLeft, String::new());
                            self.findings.note(db, key, verdict);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// A key that the server must have.
struct ExpectedKey {
    db: u64,
    name: Vec<u8>,
    live: Live,
}

/// Collects the keys of a piece of RDB.
struct Expected<'a> {
    digester: Digester,
    db: u64,
    name: Vec<u8>,
    expiry: Option<i64>,
    metadata: bool,
    keys: Vec<ExpectedKey>,
    /// Fields that expire of the keys that were collected.
    listed: usize,
    functions: Vec<u128>,
    choice: &'a KeyChoice,
    names: Names,
    with_metadata: u64,
}

impl Expected<'_> {
    /// True when it is time to look up what was collected.
    fn is_full(&self) -> bool {
        self.keys.len() >= BATCH || self.listed >= LISTED
    }

    /// A key, in the database that it was to go to.
    fn add(&mut self, db: u64, name: Vec<u8>, live: Live, metadata: bool) {
        if !self.choice.wants(&name) {
            return;
        }
        self.names.add(db, &name);
        self.with_metadata += u64::from(metadata);
        self.listed += live.fields.as_ref().map_or(0, Fields::listed);
        self.keys.push(ExpectedKey { db, name, live });
    }
}
digest_elements!(Expected<'_>);

impl Visitor for Expected<'_> {
    fn function(&mut self, code: &[u8]) {
        self.functions.push(crate::compare::digest::function(code));
    }

    fn key(&mut self, key: &Key<'_>) {
        self.db = self.choice.database(key.db);
        self.name = key.name.to_vec();
        self.expiry = key.expiry;
        self.metadata = !key.metadata.is_empty();
        self.digester.begin(key.value_type.kind());
    }

    fn key_end(&mut self) {
        if self.digester.is_empty_collection() {
            return;
        }
        let fields = self.digester.fields();
        let live = Live { meaning: self.digester.meaning(), fields, expiry: self.expiry, slack: 0 };
        let name = std::mem::take(&mut self.name);
        self.add(self.db, name, live, self.metadata);
    }
}
