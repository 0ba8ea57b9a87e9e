//! Reads keys one by one, where no snapshot is available: SCAN, and for each key DUMP and its expiry.
//!
//! The output is an ordinary RDB: a value's bytes in a DUMP payload are those of an RDB. It is not of one point in
//! time, though: each key is as of the time at which it was read. Value and expiry of a key are read in one MULTI if
//! the server allows it, so that they belong together.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;
use redis::{cmd, from_redis_value_ref};
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::payload::{Part, Payload};
use super::questions::{Answer, Questions};
use super::{Consistency, PIECE};
use crate::capture::stats::{CaptureReport, CaptureStats};
use crate::client::connection::Connection;
use crate::client::databases::{databases, keyspace};
use crate::client::names::step;
use crate::client::wire::command;
use crate::compare::canonical::knows_expire_time;
use crate::display::shown;
use crate::rdb::{Crc64, Dialect, Reader, dump};
use crate::{Error, ServerIdentity};

/// Maximum number of keys queried at a time.
const BATCH: usize = 256;
/// Approximate size of replies that the server may have to buffer for us.
const WINDOW: u64 = 4 << 20;
/// Payloads up to this length are held in memory; longer ones are streamed.
const MAX_BUFFERED: u64 = 1 << 20;
const OPERATION: &str = "reading keys one by one (SCAN and DUMP)";

/// A server whose keys are read.
pub(super) struct Scan {
    connection: Connection,
    questions: Questions,
    version: u16,
    /// The remaining databases, with their numbers of keys.
    dbs: VecDeque<(u64, u64)>,
    db: u64,
    /// For the current database: its number of keys, and the number of names returned by SCAN.
    counted: Option<(u64, u64)>,
    /// The current pass reads the keys whose hash leaves this remainder, of this number of passes.
    part: u128,
    parts: u128,
    remembered: u64,
    /// The last database selected in the RDB.
    named: Option<u64>,
    cursor: Option<Vec<u8>>,
    /// Keys, with the sizes reported by the server.
    waiting: VecDeque<(Vec<u8>, Option<u64>)>,
    asked: VecDeque<Vec<u8>>,
    /// The server reports key sizes (MEMORY USAGE, from 4.0 on, if permitted).
    sized: bool,
    /// Otherwise: the assumed size of the next keys, and how many are queried.
    guess: u64,
    batch: usize,
    /// The largest value among those queried together.
    largest: u64,
    /// The key whose value is being streamed.
    passing: Option<(Vec<u8>, Payload)>,
    /// Output that is too small to be forwarded yet.
    out: Vec<u8>,
    /// Hashes of the keys of this pass: SCAN returns a key twice when the server resizes its table.
    seen: HashSet<u128>,
    seed: u64,
    pieces: VecDeque<Bytes>,
    crc: Crc64,
    reader: Reader,
    pub(super) stats: CaptureStats,
    vanished: u64,
    pub(super) warnings: Vec<String>,
}

impl Scan {
    pub(super) async fn begin(
        mut connection: Connection,
        server: &ServerIdentity,
        remembered: u64,
        stats: CaptureStats,
    ) -> Result<Scan, Error> {
        // Reading a key marks it as used, which affects eviction; from 7.2 on this can be avoided.
        connection.reply_to(cmd("CLIENT").arg("NO-TOUCH").arg("ON")).await?.ok();
        let mut warnings = Vec::new();
        let begun = connection.reply_to(&cmd("MULTI")).await?.is_ok();
        let atomic = begun && connection.reply_to(&cmd("EXEC")).await?.is_ok();
        let mut version = server.target().rdb().1;
        let mut functions = Vec::new();
        if server.at_least(7, 0) {
            match connection.attempt::<Vec<u8>>(cmd("FUNCTION").arg("DUMP")).await? {
                Ok(payload) => {
                    let (body, of) = dump::open(&payload).map_err(|problem| {
                        connection.reader.protocol(format!("its functions (FUNCTION DUMP): {problem}"))
                    })?;
                    version = version.max(of);
                    functions = body.to_vec();
                }
                Err(message) => {
                    warnings
                        .push(format!("the function libraries could not be read and are missing: {message}"));
                }
            }
        }
        let dbs = databases(&mut connection, server).await?.into_iter().collect();
        let exact = server.at_least(7, 0) && knows_expire_time(&mut connection).await?;
        let mut scan = Scan {
            connection,
            questions: Questions { atomic, exact },
            version,
            dbs,
            db: 0,
            counted: None,
            part: 0,
            parts: 0,
            remembered: remembered.max(1),
            named: None,
            cursor: None,
            waiting: VecDeque::new(),
            asked: VecDeque::new(),
            sized: server.at_least(4, 0),
            guess: WINDOW,
            batch: 1,
            largest: 0,
            passing: None,
            out: Vec::new(),
            seen: HashSet::new(),
            seed: RandomState::new().hash_one(0_u8),
            pieces: VecDeque::new(),
            crc: Crc64::default(),
            reader: Reader::new(),
            stats,
            vanished: 0,
            warnings,
        };
        let mut head = match dump::dialect(version) {
            Dialect::Valkey => format!("VALKEY{version:03}"),
            Dialect::Redis => format!("REDIS{version:04}"),
        }
        .into_bytes();
        head.push(250);
        string(&mut head, b"redis-ver");
        string(&mut head, server.version.as_bytes());
        head.extend_from_slice(&functions);
        scan.put(Bytes::from(head))?;
        Ok(scan)
    }

    pub(super) fn consistency(&self) -> Consistency {
        if self.questions.atomic { Consistency::EachKey } else { Consistency::EachPart }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(mut piece) = self.pieces.pop_front() {
                let first = piece.split_to(piece.len().min(PIECE));
                if !piece.is_empty() {
                    self.pieces.push_front(piece);
                }
                return Ok(Some(first));
            }
            if let Some((key, payload)) = self.passing.take() {
                self.pass(key, payload).await?;
            } else if !self.asked.is_empty() {
                self.read().await?;
            } else if !self.waiting.is_empty() {
                self.ask().await?;
            } else if let Some(cursor) = self.cursor.take() {
                self.scan(&cursor).await?;
            } else if self.part + 1 < self.parts {
                self.part += 1;
                self.begin_part();
            } else if let Some(counted) = self.counted.take() {
                self.check_count(counted).await?;
            } else if let Some((db, keys)) = self.dbs.pop_front() {
                self.counted = Some((keys, 0));
                // A user who may not select a database is in the first.
                if db != self.db {
                    self.connection.select(db).await?;
                }
                (self.db, self.part, self.parts) = (db, 0, u128::from(keys.div_ceil(self.remembered)));
                self.begin_part();
            } else if !self.reader.is_complete() {
                self.out.push(255);
                self.flush()?;
                let crc = self.crc.value();
                self.put(Bytes::copy_from_slice(&crc.to_le_bytes()))?;
            } else {
                return Ok(None);
            }
        }
    }

    /// Starts the database again, for the next part of its keys.
    fn begin_part(&mut self) {
        self.cursor = Some(b"0".to_vec());
        self.seen.clear();
    }

    /// Compares the number of keys returned by SCAN with the server's own count. Keys come and go meanwhile, and a
    /// replica counts expired keys. If SCAN returns less than half of the others, it is incomplete, as with a proxy
    /// that counts the keys of all its servers and scans those of one.
    async fn check_count(&mut self, (before, told_names): (u64, u64)) -> Result<(), Error> {
        let after: Option<i64> = self.connection.query_optional(&cmd("DBSIZE")).await?;
        let after = after.and_then(|keys| u64::try_from(keys).ok());
        let least = before.min(after.unwrap_or(before));
        if told_names.saturating_mul(2) >= least {
            return Ok(());
        }
        let expires =
            keyspace(&mut self.connection).await?.and_then(|keyspace| keyspace.get(&self.db)?.expires);
        if least - told_names <= expires.unwrap_or(0) {
            return Ok(());
        }
        Err(Error::Server {
            target: self.connection.reader.target().to_owned(),
            operation: format!("{OPERATION}: database {}", self.db),
            message: format!(
                "DBSIZE counts {least} keys, but SCAN returned {told_names}: the result would be incomplete and is not \
                 used. For a proxy, name the servers behind it"
            ),
        })
    }

    /// Reads more key names.
    async fn scan(&mut self, cursor: &[u8]) -> Result<(), Error> {
        let (next, keys) = step(&mut self.connection, cursor).await?;
        self.cursor = next;
        let mut found = Vec::new();
        for key in keys {
            let hash = xxh3_128_with_seed(&key, self.seed);
            if hash % self.parts.max(1) == self.part && self.seen.insert(hash) {
                found.push(key);
            }
        }
        if let Some((_, count)) = &mut self.counted {
            *count += found.len() as u64;
        }
        let sizes = self.sizes(&found).await?;
        self.waiting.extend(found.into_iter().zip(sizes));
        Ok(())
    }

    /// The key sizes reported by the server.
    async fn sizes(&mut self, keys: &[Vec<u8>]) -> Result<Vec<Option<u64>>, Error> {
        if !self.sized || keys.is_empty() {
            return Ok(vec![None; keys.len()]);
        }
        let mut out = Vec::new();
        for key in keys {
            command(&mut out, &[b"MEMORY", b"USAGE", key]);
        }
        self.connection.writer.send(&out, OPERATION).await?;
        let mut sizes = Vec::new();
        for _ in keys {
            let size = match self.connection.reader.take_int() {
                Some(size) => Some(size),
                None => {
                    let reply = self.connection.reader.reply(OPERATION).await?;
                    // A user without this permission may still read the keys.
                    self.sized &= reply.is_ok();
                    reply.ok().and_then(|size| from_redis_value_ref(&size).ok())
                }
            };
            sizes.push(size.and_then(|bytes| u64::try_from(bytes).ok()));
        }
        Ok(sizes)
    }

    /// Queries the next keys: as many as the server can answer without buffering much, and at least one.
    async fn ask(&mut self) -> Result<(), Error> {
        let mut out = Vec::new();
        let mut bytes = 0_u64;
        while let Some((key, size)) = self.waiting.pop_front() {
            bytes = bytes.saturating_add(size.unwrap_or(self.guess));
            let most = if size.is_some() { BATCH } else { self.batch };
            if !self.asked.is_empty() && (bytes > WINDOW || self.asked.len() >= most) {
                self.waiting.push_front((key, size));
                break;
            }
            self.questions.write(&mut out, &key);
            self.asked.push_back(key);
        }
        // Grows slowly, so that one step does not reach a number for which the guess was too low.
        self.batch = self.asked.len().saturating_mul(2).clamp(1, BATCH);
        self.largest = 0;
        self.connection.writer.send(&out, OPERATION).await
    }

    /// Reads the replies for the next of the queried keys.
    async fn read(&mut self) -> Result<(), Error> {
        let Some(key) = self.asked.pop_front() else { return Ok(()) };
        let answer = self.questions.answer(&mut self.connection.reader, OPERATION).await?;
        if let Answer::Value { length, .. } | Answer::Again { length } = &answer {
            self.largest = self.largest.max(*length);
        }
        if self.asked.is_empty() {
            self.guess = self.largest;
        }
        match answer {
            Answer::Gone => {
                self.vanished += 1;
                Ok(())
            }
            Answer::Again { length } => {
                self.connection.reader.skip(length.saturating_add(2), OPERATION).await?;
                self.waiting.push_front((key, Some(length)));
                Ok(())
            }
            Answer::Value { expiry, length } if length > MAX_BUFFERED => {
                self.begin_passing(key, expiry, length).await
            }
            Answer::Value { expiry, length } => {
                let payload = self.connection.reader.bulk(length, OPERATION).await?;
                self.record(&key, expiry, payload)
            }
            Answer::Strange(message) => Err(self.strange(&key, &message)),
            Answer::Refused(message) => Err(Error::Server {
                target: self.connection.reader.target().to_owned(),
                operation: format!(
                    "{OPERATION}: key {} of database {}; the user needs +scan +dump, and +pexpiretime or +pttl +time, on all keys",
                    shown(&key),
                    self.db
                ),
                message,
            }),
        }
    }

    /// A key in RDB format.
    fn record(&mut self, key: &[u8], expiry: Option<i64>, payload: Vec<u8>) -> Result<(), Error> {
        let (body, version) =
            dump::open(&payload).map_err(|problem| self.strange(key, &problem.to_string()))?;
        self.check_version(key, version)?;
        let Some((&code, value)) = body.split_first() else {
            return Err(self.strange(key, "its DUMP is empty"));
        };
        self.name(key, expiry, code)?;
        if value.len() < PIECE {
            self.out.extend_from_slice(value);
            return if self.out.len() < PIECE { Ok(()) } else { self.flush() };
        }
        // Not copied.
        self.flush()?;
        let end = body.len();
        self.put(Bytes::from(payload).slice(1..end))
    }

    /// The same for a value that is streamed.
    async fn begin_passing(&mut self, key: Vec<u8>, expiry: Option<i64>, length: u64) -> Result<(), Error> {
        let mut payload = Payload::new(length);
        let Part::Body(body) = payload.next(&mut self.connection.reader, OPERATION).await? else {
            return Err(self.strange(&key, "its DUMP is empty"));
        };
        let body = Bytes::from(body);
        self.name(&key, expiry, body.first().copied().unwrap_or_default())?;
        self.flush()?;
        self.put(body.slice(1..))?;
        self.passing = Some((key, payload));
        Ok(())
    }

    /// Forwards more of a streamed value.
    async fn pass(&mut self, key: Vec<u8>, mut payload: Payload) -> Result<(), Error> {
        match payload.next(&mut self.connection.reader, OPERATION).await? {
            Part::Body(bytes) => {
                self.put(Bytes::from(bytes))?;
                self.passing = Some((key, payload));
                Ok(())
            }
            Part::End(Ok(version)) => self.check_version(&key, version),
            Part::End(Err(problem)) => Err(self.strange(&key, &problem.to_string())),
        }
    }

    fn check_version(&self, key: &[u8], version: u16) -> Result<(), Error> {
        if version <= self.version {
            return Ok(());
        }
        let message = format!("its DUMP is of version {version}, newer than {}", self.version);
        Err(self.strange(key, &message))
    }

    /// Writes what precedes a value: its database if it changed, its expiry, its type and its name.
    fn name(&mut self, key: &[u8], expiry: Option<i64>, code: u8) -> Result<(), Error> {
        if code == 243 {
            return Err(self.strange(
                key,
                "it has module metadata, which can be captured over PSYNC only (capture = \"psync\")",
            ));
        }
        if self.named != Some(self.db) {
            self.named = Some(self.db);
            self.out.push(254);
            length(&mut self.out, self.db);
        }
        if let Some(at) = expiry {
            self.out.push(252);
            self.out.extend_from_slice(&at.to_le_bytes());
        }
        self.out.push(code);
        string(&mut self.out, key);
        Ok(())
    }

    /// Forwards the collected output.
    fn flush(&mut self) -> Result<(), Error> {
        let out = std::mem::take(&mut self.out);
        self.put(Bytes::from(out))
    }

    /// Forwards bytes after parsing them as a consumer would.
    fn put(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.crc.update(&bytes);
        self.reader.feed(&bytes, &mut self.stats)?;
        if !bytes.is_empty() {
            self.pieces.push_back(bytes);
        }
        Ok(())
    }

    fn strange(&self, key: &[u8], message: &str) -> Error {
        self.connection.reader.protocol(format!("key {} of database {}: {message}", shown(key), self.db))
    }

    pub(super) fn report(&self, server: ServerIdentity) -> Result<CaptureReport, Error> {
        super::refuse_outside(&self.stats, self.connection.reader.target())?;
        Ok(CaptureReport {
            consistency: self.consistency(),
            warnings: self.warnings.clone(),
            gone_meanwhile: self.vanished,
            ..self.stats.report(server, &self.reader)?
        })
    }
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A length in RDB format: in one byte up to 63, otherwise marked and big-endian.
pub(crate) fn length(out: &mut Vec<u8>, n: u64) {
    match (u8::try_from(n), u32::try_from(n)) {
        (Ok(n), _) if n < 1 << 6 => out.push(n),
        (_, Ok(n)) => {
            out.push(0x80);
            out.extend_from_slice(&n.to_be_bytes());
        }
        _ => {
            out.push(0x81);
            out.extend_from_slice(&n.to_be_bytes());
        }
    }
}
