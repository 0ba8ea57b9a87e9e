//! Keys read one by one, where no snapshot is to be had: SCAN, and for each key DUMP and its expiry.
//!
//! What comes out is an RDB like any other: a value's bytes in a DUMP payload are those of an RDB. It stands for no
//! moment, though: each key is as it was when it was read. Value and expiry of one key are read in one MULTI where the
//! server lets us, so that they belong together.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::{Consistency, PIECE};
use crate::identity::keyspace;
use crate::meaning::shown;
use crate::rdb::{Crc64, Dialect, Reader, dump};
use crate::tally::{CaptureReport, Tally};
use crate::wire::{Connection, Reply, command};
use crate::{Error, ServerIdentity};

/// Keys that are asked for at a time, at the most.
const BATCH: usize = 256;
/// Bytes of replies that the server may have to hold for us, about.
const WINDOW: usize = 4 << 20;
const DOING: &str = "reading keys one by one (SCAN and DUMP)";

/// A server whose keys are read.
pub(super) struct Scan {
    connection: Connection,
    /// Value and expiry of a key are read together.
    atomic: bool,
    /// PEXPIRETIME came with 7.0.
    exact: bool,
    version: u16,
    /// Databases that are left, and how many keys each had.
    dbs: VecDeque<(u64, u64)>,
    db: u64,
    /// Of a database's keys those whose hash leaves this remainder, and of how many there are, are read now.
    part: u128,
    parts: u128,
    remembered: u64,
    /// The database that the RDB has named last.
    named: Option<u64>,
    cursor: Option<Vec<u8>>,
    waiting: VecDeque<Vec<u8>>,
    asked: VecDeque<Vec<u8>>,
    batch: usize,
    /// Hashes of the keys of this part: SCAN tells a key twice when the server's table changes its size.
    seen: HashSet<u128>,
    seed: u64,
    pieces: VecDeque<Bytes>,
    crc: Crc64,
    reader: Reader,
    tally: Tally,
    gone: u64,
    pub(super) warnings: Vec<String>,
}

impl Scan {
    pub(super) async fn begin(
        mut connection: Connection,
        server: &ServerIdentity,
        remembered: u64,
    ) -> Result<Scan, Error> {
        // Reading a key makes it look used, which eviction goes by; from 7.2 on it can be had without.
        connection.ask_raw(&[b"CLIENT", b"NO-TOUCH", b"ON"]).await?;
        let mut warnings = Vec::new();
        let atomic = match connection.ask_raw(&[b"MULTI"]).await? {
            Reply::Error(_) => false,
            _ => !matches!(connection.ask_raw(&[b"EXEC"]).await?, Reply::Error(_)),
        };
        let mut version = server.target().rdb().1;
        let mut functions = Vec::new();
        if server.at_least(7, 0) {
            match connection.ask_raw(&[b"FUNCTION", b"DUMP"]).await? {
                Reply::Bulk(payload) => {
                    let (body, of) = dump::open(&payload).map_err(|problem| {
                        connection.reader.protocol(format!("its functions (FUNCTION DUMP): {problem}"))
                    })?;
                    version = version.max(of);
                    functions = body.to_vec();
                }
                Reply::Error(message) => {
                    warnings
                        .push(format!("the function libraries could not be read and are missing: {message}"));
                }
                other => return Err(connection.reader.protocol(format!("FUNCTION DUMP answered {other:?}"))),
            }
        }
        let dbs = keyspace(&mut connection).await?.into_iter().collect();
        let mut scan = Scan {
            connection,
            atomic,
            exact: server.at_least(7, 0),
            version,
            dbs,
            db: 0,
            part: 0,
            parts: 0,
            remembered: remembered.max(1),
            named: None,
            cursor: None,
            waiting: VecDeque::new(),
            asked: VecDeque::new(),
            batch: 16,
            seen: HashSet::new(),
            seed: RandomState::new().hash_one(0_u8),
            pieces: VecDeque::new(),
            crc: Crc64::default(),
            reader: Reader::new(),
            tally: Tally::default(),
            gone: 0,
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
        if self.atomic { Consistency::EachKey } else { Consistency::EachPart }
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
            if !self.asked.is_empty() {
                self.read().await?;
            } else if !self.waiting.is_empty() {
                self.ask().await?;
            } else if let Some(cursor) = self.cursor.take() {
                self.scan(&cursor).await?;
            } else if self.part + 1 < self.parts {
                self.part += 1;
                self.begin_part();
            } else if let Some((db, keys)) = self.dbs.pop_front() {
                self.connection.ask(&[b"SELECT", db.to_string().as_bytes()]).await?;
                (self.db, self.part, self.parts) = (db, 0, u128::from(keys.div_ceil(self.remembered)));
                self.begin_part();
            } else if !self.reader.is_complete() {
                self.put(Bytes::from_static(&[255]))?;
                let crc = self.crc.value();
                self.put(Bytes::copy_from_slice(&crc.to_le_bytes()))?;
            } else {
                return Ok(None);
            }
        }
    }

    /// From the beginning of the database, for other keys than before.
    fn begin_part(&mut self) {
        self.cursor = Some(b"0".to_vec());
        self.seen.clear();
    }

    /// Finds more names of keys.
    async fn scan(&mut self, cursor: &[u8]) -> Result<(), Error> {
        let reply = self.connection.ask(&[b"SCAN", cursor, b"COUNT", b"1000"]).await?;
        let mut parts = match reply {
            Reply::Array(parts) => parts.into_iter(),
            _ => Vec::new().into_iter(),
        };
        let (Some(next), Some(Reply::Array(keys))) = (parts.next(), parts.next()) else {
            return Err(self.connection.reader.protocol("SCAN answered another array".to_owned()));
        };
        let next = next.bytes().unwrap_or_default();
        if next != b"0" {
            self.cursor = Some(next.to_vec());
        }
        for key in keys {
            let Reply::Bulk(key) = key else { continue };
            let hash = xxh3_128_with_seed(&key, self.seed);
            if hash % self.parts.max(1) == self.part && self.seen.insert(hash) {
                self.waiting.push_back(key);
            }
        }
        Ok(())
    }

    /// Asks for the next keys.
    async fn ask(&mut self) -> Result<(), Error> {
        let mut out = Vec::new();
        let keys: Vec<Vec<u8>> = self.waiting.drain(..self.batch.min(self.waiting.len())).collect();
        for key in keys {
            if self.atomic {
                command(&mut out, &[b"MULTI"]);
            }
            if self.exact {
                command(&mut out, &[b"PEXPIRETIME", &key]);
            } else {
                // The time left means something only with the time: it is exact when both clocks read the same.
                command(&mut out, &[b"TIME"]);
                command(&mut out, &[b"PTTL", &key]);
                command(&mut out, &[b"TIME"]);
            }
            command(&mut out, &[b"DUMP", &key]);
            if self.atomic {
                command(&mut out, &[b"EXEC"]);
            }
            self.asked.push_back(key);
        }
        self.connection.writer.send(&out, DOING).await
    }

    /// Reads what was answered about the keys that were asked for.
    async fn read(&mut self) -> Result<(), Error> {
        let count = self.asked.len();
        let mut bytes = 0_usize;
        let mut out = Vec::new();
        while let Some(key) = self.asked.pop_front() {
            let mut answers = self.answers(&key).await?;
            let payload = match answers.pop() {
                Some(Reply::Bulk(payload)) => payload,
                Some(Reply::Nil) => {
                    self.gone += 1;
                    continue;
                }
                other => return Err(self.strange(&key, &format!("{other:?}"))),
            };
            bytes = bytes.saturating_add(payload.len());
            let expiry = match answers.as_slice() {
                [at] => at.int().filter(|at| *at >= 0),
                [before, left, after] => match left.int().filter(|left| *left >= 0) {
                    Some(left) if milliseconds(before) == milliseconds(after) => {
                        milliseconds(before).map(|now| now.saturating_add(left))
                    }
                    // The clock went on in between.
                    Some(_) => {
                        self.waiting.push_front(key);
                        continue;
                    }
                    None => None,
                },
                _ => return Err(self.strange(&key, "too few answers")),
            };
            self.record(&mut out, &key, expiry, payload)?;
            if out.len() >= PIECE {
                self.put(Bytes::from(std::mem::take(&mut out)))?;
            }
        }
        self.put(Bytes::from(out))?;
        let each = (bytes / count.max(1)).max(1);
        self.batch = (WINDOW / each).clamp(1, BATCH);
        Ok(())
    }

    /// The answers about one key, in the order of the questions; a refusal is an error.
    async fn answers(&mut self, key: &[u8]) -> Result<Vec<Reply>, Error> {
        let questions = if self.exact { 2 } else { 4 };
        let reader = &mut self.connection.reader;
        let mut refused = None;
        let mut answers = Vec::new();
        for _ in 0..questions + if self.atomic { 2 } else { 0 } {
            match reader.reply(DOING).await? {
                Reply::Error(message) => {
                    refused.get_or_insert(message);
                }
                answer => answers.push(answer),
            }
        }
        if self.atomic
            && let Some(Reply::Array(all)) = answers.pop()
        {
            answers = all;
        }
        for answer in &answers {
            if let Reply::Error(message) = answer {
                refused.get_or_insert(message.clone());
            }
        }
        match refused {
            None => Ok(answers),
            Some(message) => Err(Error::Server {
                target: self.connection.reader.target().to_owned(),
                doing: format!(
                    "{DOING}: key {} of database {}; the user needs +scan +dump +pttl +pexpiretime +time on all keys",
                    shown(key),
                    self.db
                ),
                message,
            }),
        }
    }

    /// A key as it stands in an RDB. A large value is not copied.
    fn record(
        &mut self,
        out: &mut Vec<u8>,
        key: &[u8],
        expiry: Option<i64>,
        payload: Vec<u8>,
    ) -> Result<(), Error> {
        let (body, version) =
            dump::open(&payload).map_err(|problem| self.strange(key, &problem.to_string()))?;
        if version > self.version {
            let message = format!("its DUMP is of version {version}, newer than {}", self.version);
            return Err(self.strange(key, &message));
        }
        let Some((&code, value)) = body.split_first() else {
            return Err(self.strange(key, "its DUMP is empty"));
        };
        if code == 243 {
            return Err(self.strange(
                key,
                "modules keep metadata with it, which can be captured over PSYNC only (capture = \"psync\")",
            ));
        }
        if self.named != Some(self.db) {
            self.named = Some(self.db);
            out.push(254);
            length(out, self.db);
        }
        if let Some(at) = expiry {
            out.push(252);
            out.extend_from_slice(&at.to_le_bytes());
        }
        out.push(code);
        string(out, key);
        if value.len() < PIECE {
            out.extend_from_slice(value);
            return Ok(());
        }
        self.put(Bytes::from(std::mem::take(out)))?;
        let end = body.len();
        self.put(Bytes::from(payload).slice(1..end))
    }

    /// Hands bytes on, reading them as anybody will.
    fn put(&mut self, bytes: Bytes) -> Result<(), Error> {
        self.crc.update(&bytes);
        self.reader.feed(&bytes, &mut self.tally)?;
        if !bytes.is_empty() {
            self.pieces.push_back(bytes);
        }
        Ok(())
    }

    fn strange(&self, key: &[u8], message: &str) -> Error {
        self.connection.reader.protocol(format!("key {} of database {}: {message}", shown(key), self.db))
    }

    pub(super) fn report(&self, server: ServerIdentity) -> Result<CaptureReport, Error> {
        let (dialect, rdb_version) = self.reader.version();
        Ok(CaptureReport {
            server,
            dialect,
            rdb_version,
            bytes: self.reader.offset(),
            checksum: self.reader.finish()?,
            replication_id: String::new(),
            replication_offset: -1,
            databases: self.tally.databases.clone(),
            types: self.tally.types.clone(),
            functions: self.tally.functions,
            modules: self.tally.modules.clone(),
            digest: self.tally.digest,
            consistency: self.consistency(),
            warnings: self.warnings.clone(),
            gone_meanwhile: self.gone,
        })
    }
}

/// The server's clock from TIME's reply.
fn milliseconds(reply: &Reply) -> Option<i64> {
    let Reply::Array(parts) = reply else { return None };
    let part = |at: usize| parts.get(at).and_then(Reply::int);
    Some(part(0)?.saturating_mul(1000).saturating_add(part(1)? / 1000))
}

fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A length as RDBs have it: in one byte up to 63, else marked and big-endian.
fn length(out: &mut Vec<u8>, n: u64) {
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
