//! The digests of a capture, key by key: a target can be compared with them however the source has changed since,
//! without reading anything twice.
//!
//! A record is a key's name, its expiry, and the digest of its value. Records are kept in memory up to a limit; further
//! ones go to an unnamed temporary file that only this process can read. No value is in it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _, Write as _};

use crate::client::identity::identify;
use crate::compare::canonical::{KeyReader, Live};
use crate::compare::digest::{CanonicalDigest, Digester};
use crate::compare::field_ttl::{Fields, LISTED, Watch, number};
use crate::rdb::Kind;
use crate::{ConnectOptions, Error};

/// Maximum size of the records in memory, in bytes.
const MAX_IN_MEMORY: usize = 16 << 20;

/// The digests of a capture's keys, in order of arrival.
#[derive(Debug)]
pub struct DigestLog {
    /// Whether the server to compare with has stream counters.
    counters: bool,
    /// That server's clock when the log was started.
    now: i64,
    /// Hash fields are digested without their expiries.
    unexpiring: bool,
    /// When the captured data was written, in milliseconds since the epoch, if it says so.
    moment: i64,
    most: usize,
    held: Vec<u8>,
    spilled: Option<File>,
    failed: Option<io::Error>,
    records: u64,
    functions: Vec<u128>,
    /// The logs of the other nodes of a cluster.
    others: Vec<DigestLog>,
}

/// One key of a log.
pub(crate) struct Record {
    pub(crate) db: u64,
    pub(crate) name: Vec<u8>,
    pub(crate) live: Live,
    /// Modules store additional metadata.
    pub(crate) metadata: bool,
}

impl DigestLog {
    /// An empty log for a comparison with this server: what it does not store is omitted from the digests.
    ///
    /// # Errors
    /// The server cannot be queried.
    pub async fn against(target: &ConnectOptions) -> Result<DigestLog, Error> {
        let mut connection = crate::client::connection::Connection::open(target).await?;
        let server = identify(&mut connection, target).await?;
        let key_reader = KeyReader::open(target, &server).await?;
        Ok(DigestLog::empty(key_reader.has_counters(), key_reader.now(), MAX_IN_MEMORY))
    }

    /// An empty log with this limit for records in memory, in bytes.
    fn empty(counters: bool, now: i64, most: usize) -> DigestLog {
        DigestLog {
            counters,
            now,
            unexpiring: false,
            moment: i64::MIN,
            most,
            held: Vec::new(),
            spilled: None,
            failed: None,
            records: 0,
            functions: Vec::new(),
            others: Vec::new(),
        }
    }

    /// Empty logs for the nodes of a cluster, which share the memory limit of this one.
    pub(crate) fn divided(&self, number: usize) -> Vec<DigestLog> {
        let most = self.most / number.max(1);
        let one =
            || DigestLog { unexpiring: self.unexpiring, ..DigestLog::empty(self.counters, self.now, most) };
        (0..number).map(|_| one()).collect()
    }

    /// Combines the logs of several nodes.
    pub(crate) fn joined(logs: Vec<DigestLog>) -> Option<DigestLog> {
        let mut logs = logs.into_iter();
        let first = logs.next()?;
        Some(DigestLog { others: logs.collect(), ..first })
    }

    /// The logs that it consists of, to be read one after another.
    pub(crate) fn into_parts(mut self) -> Vec<DigestLog> {
        let others = std::mem::take(&mut self.others);
        std::iter::once(self).chain(others).collect()
    }

    /// Sets the limit for records in memory, in bytes.
    #[must_use]
    pub fn holding(mut self, bytes: usize) -> DigestLog {
        self.most = bytes;
        self
    }

    /// Digests hash fields without their expiries, if the target is restored without them.
    #[must_use]
    pub fn without_field_expiries(mut self, without: bool) -> DigestLog {
        self.unexpiring = without;
        self
    }

    /// Number of keys in the log.
    pub fn keys(&self) -> u64 {
        self.records + self.others.iter().map(DigestLog::keys).sum::<u64>()
    }

    /// A digester with the settings of this log.
    pub(crate) fn digester(&self) -> Digester {
        let mut digester = match self.counters {
            true => Digester::default(),
            false => Digester::default().without_counters(),
        };
        digester.watch(Watch::new(self.now, LISTED));
        if self.unexpiring {
            digester.without_field_expiries(self.moment);
        }
        digester
    }

    /// Records when the captured data was written; returns it if digests depend on it.
    pub(crate) fn written(&mut self, moment: i64) -> Option<i64> {
        self.moment = moment;
        self.unexpiring.then_some(moment)
    }

    /// When the captured data was written; for several nodes, the earliest time.
    pub(crate) fn moment(&self) -> i64 {
        self.moment
    }

    pub(crate) fn function(&mut self, code: &[u8]) {
        self.functions.push(crate::compare::digest::function(code));
    }

    /// The function libraries, as hashes of their code.
    pub(crate) fn functions(&self) -> &[u128] {
        &self.functions
    }

    /// Adds a key. A write error is reported when the log is read.
    pub(crate) fn add(
        &mut self,
        (db, name): (u64, &[u8]),
        expiry: Option<i64>,
        digest: &CanonicalDigest,
        fields: Option<Fields>,
        metadata: bool,
    ) {
        self.records += 1;
        let out = &mut self.held;
        out.extend_from_slice(&db.to_le_bytes());
        out.extend_from_slice(&(name.len() as u64).to_le_bytes());
        out.extend_from_slice(name);
        let flags = u8::from(expiry.is_some())
            | u8::from(digest.field_expiry) << 1
            | u8::from(digest.opaque) << 2
            | u8::from(metadata) << 3
            | u8::from(fields.is_some()) << 4;
        out.extend_from_slice(&[flags, digest.kind as u8]);
        out.extend_from_slice(&expiry.unwrap_or_default().to_le_bytes());
        out.extend_from_slice(&digest.value.to_le_bytes());
        out.extend_from_slice(&digest.module.to_le_bytes());
        if let Some(fields) = fields {
            fields.write(out);
        }
        if self.held.len() >= self.most
            && let Err(error) = self.spill()
        {
            self.failed.get_or_insert(error);
            self.held.clear();
        }
    }

    fn spill(&mut self) -> io::Result<()> {
        if self.spilled.is_none() {
            self.spilled = Some(tempfile::tempfile()?);
        }
        if let Some(file) = &mut self.spilled {
            file.write_all(&self.held)?;
        }
        self.held.clear();
        Ok(())
    }

    /// Reads the log from its beginning.
    ///
    /// # Errors
    /// The temporary file could not be written or read.
    pub(crate) fn read(&mut self) -> Result<Records<'_>, Error> {
        if let Some(error) = self.failed.take() {
            return Err(broken(error));
        }
        let file = match &mut self.spilled {
            Some(file) => {
                file.rewind().map_err(broken)?;
                Some(BufReader::with_capacity(256 << 10, &*file))
            }
            None => None,
        };
        Ok(Records { file, held: &self.held, left: self.records })
    }
}

/// The records of a log, one after another.
pub(crate) struct Records<'a> {
    file: Option<BufReader<&'a File>>,
    held: &'a [u8],
    left: u64,
}

impl Records<'_> {
    /// The next record.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, Error> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        // A record is never split between the two.
        if let Some(file) = &mut self.file {
            match io::BufRead::fill_buf(file).map_err(broken)?.is_empty() {
                true => self.file = None,
                false => return record(file).map(Some).map_err(broken),
            }
        }
        record(&mut self.held).map(Some).map_err(broken)
    }
}

fn broken(error: io::Error) -> Error {
    Error::stream(format!(
        "the temporary file with the digests of the capture (in the folder named by TMPDIR): {error}"
    ))
}

fn record(from: &mut impl Read) -> io::Result<Record> {
    let db = u64::from_le_bytes(number(from)?);
    let length = u64::from_le_bytes(number(from)?);
    let mut name = Vec::new();
    if from.by_ref().take(length).read_to_end(&mut name)? as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let [flags, kind] = number(from)?;
    let expiry = i64::from_le_bytes(number(from)?);
    let value = u128::from_le_bytes(number(from)?);
    let module = u64::from_le_bytes(number(from)?);
    let flag = |bit: u8| flags & 1 << bit != 0;
    const KINDS: [Kind; 8] = [
        Kind::String,
        Kind::List,
        Kind::Set,
        Kind::Zset,
        Kind::Hash,
        Kind::Stream,
        Kind::Module,
        Kind::Array,
    ];
    let kind = KINDS.into_iter().find(|one| *one as u8 == kind);
    let kind = kind.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    let digest = CanonicalDigest { kind, value, field_expiry: flag(1), module, opaque: flag(2) };
    let fields = if flag(4) { Some(Fields::read(from)?) } else { None };
    let expiry = flag(0).then_some(expiry);
    Ok(Record { db, name, live: Live { digest, fields, expiry, slack: 0 }, metadata: flag(3) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rdb::Elements as _;

    #[test]
    fn records_are_read_as_they_were_written() {
        for most in [0, 100, 1 << 20] {
            let mut log = DigestLog::empty(true, 1_000_000, most);
            let mut digester = log.digester();
            let mut expected = Vec::new();
            for n in 0..50_u64 {
                digester.begin(if n % 2 == 0 { Kind::Hash } else { Kind::String });
                match n % 2 {
                    0 => digester.field(b"f", &n.to_le_bytes(), Some(1_005_000 + n as i64)),
                    _ => digester.string(&n.to_le_bytes()),
                }
                let (fields, digest) = (digester.fields(), digester.digest());
                let expiry = (n % 3 == 0).then_some(n as i64);
                let name = vec![b'x'; n as usize];
                log.add((n, &name), expiry, &digest, fields.clone(), n % 5 == 0);
                expected.push((n, name, digest, fields, expiry, n % 5 == 0));
            }
            let mut records = log.read().unwrap();
            for (db, name, digest, fields, expiry, metadata) in expected {
                let found = records.next().unwrap().unwrap();
                assert_eq!((found.db, found.name, found.metadata), (db, name, metadata), "{most}");
                assert_eq!(
                    (found.live.digest, found.live.fields, found.live.expiry),
                    (digest, fields, expiry)
                );
            }
            assert!(records.next().unwrap().is_none());
        }
    }
}
