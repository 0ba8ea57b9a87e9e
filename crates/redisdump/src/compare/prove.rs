//! Compares an RDB stream with a live server: every key is looked up, and every key of the server is accounted for.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use crate::client::connection::Connection;
use crate::client::identity::identify;
use crate::client::names::{Names, Scan};
use crate::compare::canonical::{Hint, KeyReader, Live};
use crate::compare::digest::Digester;
use crate::compare::digest_log::{DigestLog, Record};
use crate::compare::expiry_count::ExpiryCount;
use crate::compare::field_ttl::{Fields, LISTED, Watch};
use crate::compare::outcome::{Findings, KeyOutcome, Sides, diff};
use crate::compare::reach::Reach;
use crate::compare::report::{Comparison, DifferenceKind, Progress};
use crate::compare::servers::{BATCH, CompareOptions, equal_functions};
use crate::convert::commands::UnsupportedValues;
use crate::rdb::{Forward, Key, Kind, Reader, Visitor};
use crate::restore::{KeyChoice, Matched, written};
use crate::{ConnectOptions, Error, ServerIdentity};

/// Number of RDB bytes read between two rounds of queries.
const STEP: usize = 64 << 10;

/// Proves that a server holds the contents of an RDB: each key with its type, value and expiry, and no other key.
///
/// Additional keys of the server are found by SCAN and named. If the RDB has more keys than may be kept in memory
/// ([`CompareOptions::remembered_keys`]), they are only counted.
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
    // The restore has already accepted this version.
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
    expected.matched.finish(&settings.choice)?;
    seen += server_side.look_up(&mut expected).await?;
    on_progress(Progress { bytes: rdb.offset(), keys: seen });
    end("the snapshot's RDB", server, server_side, expected, settings).await
}

/// The same for a capture whose digests were kept: proves that a server holds what was captured, however the captured
/// server has changed since. `left` is the name of the latter.
pub async fn prove_digests(
    log: DigestLog,
    left: &str,
    options: &ConnectOptions,
    settings: &CompareOptions,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<Comparison, Error> {
    let (server, mut server_side, mut expected) = begin(options, settings).await?;
    let mut seen = 0;
    expected.moment = log.moment();
    for mut log in log.into_parts() {
        expected.functions.extend_from_slice(log.functions());
        let mut records = log.read()?;
        while let Some(Record { db, name, live, metadata }) = records.next()? {
            expected.add(db, name, live, metadata);
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
    let key_reader = KeyReader::open(options, &server).await?;
    let mut digester = match key_reader.has_counters() {
        true => Digester::default(),
        false => Digester::default().without_counters(),
    };
    digester.watch(Watch::new(key_reader.now(), LISTED));
    if settings.choice.drop_field_expiries {
        digester.without_field_expiries(i64::MIN);
    }
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
        moment: i64::MIN,
        matched: Matched::default(),
        // If others are allowed, their names do not matter.
        names: Names::new(if settings.others_allowed { 0 } else { settings.remembered_keys }),
        counts_expiries: ExpiryCount::is_possible(&key_reader, settings),
        with_metadata: 0,
    };
    let server_side = ServerSide {
        key_reader,
        findings: Findings::new(settings.show),
        others_allowed: settings.others_allowed,
        reach: Reach::of(options, &server).await?,
        present: BTreeMap::new(),
        expiries: ExpiryCount::default(),
        left_out: &settings.left_out,
    };
    Ok((server, server_side, expected))
}

/// After all keys were looked up: additional keys of the server, and its functions.
async fn end(
    left: &str,
    server: ServerIdentity,
    mut server_side: ServerSide<'_>,
    mut expected: Expected<'_>,
    settings: &CompareOptions,
) -> Result<Comparison, Error> {
    if !settings.others_allowed {
        let ServerSide { key_reader, findings, expiries, .. } = &mut server_side;
        expiries.verify(key_reader, &mut expected.names, findings).await?;
        server_side.find_others(&server, &expected.names, settings).await?;
    }
    let ServerSide { mut key_reader, mut findings, reach, .. } = server_side;
    findings.unreachable = reach.unreachable(&server.to_string());
    let of_server = key_reader.functions(&server).await?;
    let slots_moved = key_reader.changed().await?;
    expected.functions.sort_unstable();
    // Each master of a cluster has the same ones.
    expected.functions.dedup();
    let functions_equal = match of_server {
        _ if settings.left_out.left_out_functions() => None,
        // A server without support for functions lacks those of the RDB.
        None if expected.functions.is_empty() => None,
        found if settings.others_allowed || (settings.only_selected && settings.choice.is_part()) => {
            let found = found.unwrap_or_default();
            Some(expected.functions.iter().all(|library| found.contains(library)))
        }
        found => equal_functions((Some(expected.functions), found)),
    };
    Ok(findings.finish(Sides {
        left: left.to_owned(),
        right: server,
        functions_equal,
        counters: key_reader.has_counters(),
        slack: key_reader.slack(),
        with_metadata: key_reader.with_metadata().max(expected.with_metadata),
        slots_moved,
    }))
}

/// The server, and the findings about it.
struct ServerSide<'a> {
    key_reader: KeyReader,
    findings: Findings,
    /// The server held keys before, which are kept unless a restored key has the same name.
    others_allowed: bool,
    reach: Reach,
    /// Keys of each database that existed when they were looked up.
    present: BTreeMap<u64, u64>,
    expiries: ExpiryCount,
    left_out: &'a UnsupportedValues,
}

impl ServerSide<'_> {
    /// Looks up the collected keys; returns their number.
    async fn look_up(&mut self, expected: &mut Expected<'_>) -> Result<u64, Error> {
        let keys = std::mem::take(&mut expected.keys);
        expected.listed = 0;
        for batch in keys.chunk_by(|a, b| a.db == b.db).flat_map(|of_db| of_db.chunks(BATCH)) {
            let Some(db) = batch.first().map(|key| key.db) else { continue };
            self.look_up_of(db, batch, &mut expected.names).await?;
        }
        expected.digester.set_now(self.key_reader.now());
        Ok(keys.len() as u64)
    }

    async fn look_up_of(
        &mut self,
        db: u64,
        batch: &[ExpectedKey],
        names_of_rdb: &mut Names,
    ) -> Result<(), Error> {
        if self.reach.is_without(&mut self.key_reader, db, batch.len() as u64).await? {
            return Ok(());
        }
        let served: Vec<&ExpectedKey> = batch.iter().filter(|key| self.reach.serves(&key.name)).collect();
        self.reach.outside((batch.len() - served.len()) as u64);
        let names: Vec<&[u8]> = served.iter().map(|key| key.name.as_slice()).collect();
        let hints: Vec<Hint> = served.iter().map(|key| key.hint).collect();
        let found = self.key_reader.look_up_hinted(&names, &hints).await?;
        for (expected, mut found) in served.into_iter().zip(found) {
            *self.present.entry(db).or_default() += u64::from(found.is_some());
            // Keys that are queried together share the space for expiring fields.
            if found.as_ref().and_then(|live| live.fields.as_ref()).is_some_and(Fields::is_cut_off) {
                found =
                    self.key_reader.look_up(&[expected.name.as_slice()]).await?.into_iter().flatten().next();
            }
            let expiry = found.as_ref().and_then(|live| live.expiry);
            self.expiries.note(db, expiry, expected.hint.permanent);
            let now = self.key_reader.now();
            let mut outcome = diff(Some(&expected.live), found.as_ref(), now);
            // It may have expired before it was sent: then the existing key of that name is the server's own.
            let expired = self.others_allowed && expected.live.expiry.is_some_and(|at| at <= now);
            if expired && matches!(outcome, KeyOutcome::Different(..)) {
                outcome = KeyOutcome::Expired;
            }
            if expected.hint.permanent && !matches!(outcome, KeyOutcome::Equal { .. }) {
                names_of_rdb.unmark(db, &expected.name);
            }
            let missing = matches!(outcome, KeyOutcome::Different(DifferenceKind::MissingRight, _));
            if missing && self.left_out.left_out(db, &expected.name) {
                self.findings.leave_out();
            } else {
                self.findings.note(db, &expected.name, outcome);
            }
        }
        Ok(())
    }

    /// Keys of the server that the RDB does not have: named if all names of the RDB are known, otherwise counted.
    async fn find_others(
        &mut self,
        server: &ServerIdentity,
        names: &Names,
        settings: &CompareOptions,
    ) -> Result<(), Error> {
        let (choice, part) = (&settings.choice, settings.only_selected && settings.choice.is_part());
        let mut dbs = self.key_reader.databases(server).await?;
        if part {
            dbs.retain(|db, _| !choice.origins(*db).is_empty());
        }
        let by_name = part && (!choice.include.is_empty() || !choice.exclude.is_empty());
        if names.is_full() && by_name {
            return Err(Error::Options(format!(
                "more than {} keys are selected, too many to find which others the server has: compare fewer at a time",
                settings.remembered_keys
            )));
        }
        if names.is_full() {
            self.findings.extra_is_counted = true;
            for (db, keys) in dbs {
                let known = self.present.get(&db).copied().unwrap_or(0);
                self.findings.unnamed_extra += keys.saturating_sub(known);
            }
            return Ok(());
        }
        let mut others = Names::new(settings.remembered_keys);
        let chosen = |key: &[u8]| !by_name || !choice.origin_names(key).is_empty();
        for db in dbs.into_keys() {
            self.key_reader.select(db).await?;
            for connection in self.key_reader.connections() {
                let mut scan = Scan::of_chosen(connection);
                while let Some(keys) = scan.next().await? {
                    for key in keys.iter().filter(|key| !names.holds(db, key) && chosen(key)) {
                        if others.add(db, key) {
                            let outcome = KeyOutcome::Different(DifferenceKind::MissingLeft, String::new());
                            self.findings.note(db, key, outcome);
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
    hint: Hint,
}

/// Collects the keys of a part of an RDB.
struct Expected<'a> {
    digester: Digester,
    db: u64,
    name: Vec<u8>,
    expiry: Option<i64>,
    metadata: bool,
    keys: Vec<ExpectedKey>,
    /// The expiring fields of the collected keys.
    listed: usize,
    functions: Vec<u128>,
    choice: &'a KeyChoice,
    /// When the RDB was written, if it says so.
    moment: i64,
    matched: Matched,
    /// Those whose expiry is not queried are marked.
    names: Names,
    /// Whether keys without an expiry are counted in place of a query for each.
    counts_expiries: bool,
    with_metadata: u64,
}

impl Expected<'_> {
    /// True when the collected keys should be looked up.
    fn is_full(&self) -> bool {
        self.keys.len() >= BATCH || self.listed >= LISTED
    }

    /// A key of the source.
    fn add(&mut self, db: u64, name: Vec<u8>, mut live: Live, metadata: bool) {
        self.matched.note(self.choice, db, &name);
        let choice = self.choice;
        if !choice.selects(db, &name) || choice.had_expired(live.expiry, self.moment) {
            return;
        }
        live.expiry = choice.expiry(live.expiry, self.moment);
        let (db, name) = match choice.keeps_keys() {
            true => (choice.database(db), name),
            false => (choice.database(db), choice.name(&name).into_owned()),
        };
        let permanent = self.counts_expiries && live.expiry.is_none();
        match permanent {
            true => self.names.add_marked(db, &name),
            false => self.names.add(db, &name),
        };
        self.with_metadata += u64::from(metadata);
        self.listed += live.fields.as_ref().map_or(0, Fields::listed);
        let hint = Hint {
            string: live.digest.kind == Kind::String && !metadata,
            // Only the expiry of a key that is remembered can be queried later.
            permanent: permanent && !self.names.is_full(),
        };
        self.keys.push(ExpectedKey { db, name, live, hint });
    }
}
impl Forward for Expected<'_> {
    type To = Digester;

    fn to(&mut self) -> Option<&mut Digester> {
        Some(&mut self.digester)
    }
}

impl Visitor for Expected<'_> {
    fn aux(&mut self, name: &[u8], value: &[u8]) {
        let Some(moment) = written(name, value) else { return };
        self.moment = moment;
        if self.choice.drop_field_expiries {
            self.digester.without_field_expiries(moment);
        }
    }

    fn function(&mut self, code: &[u8]) {
        self.functions.push(crate::compare::digest::function(code));
    }

    fn key(&mut self, key: &Key<'_>) {
        self.db = key.db;
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
        let live = Live { digest: self.digester.digest(), fields, expiry: self.expiry, slack: 0 };
        let name = std::mem::take(&mut self.name);
        self.add(self.db, name, live, self.metadata);
    }
}
