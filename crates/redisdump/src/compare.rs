//! Two servers against each other, key by key, both ways.

use std::collections::BTreeSet;

use crate::identity::{functions, identify, keyspace};
use crate::meaning::{Asker, Live, shown};
use crate::report::{Comparison, Difference, DifferenceKind, Progress};
use crate::restore::KeyChoice;
use crate::wire::{Connection, Reply, command};
use crate::{ConnectOptions, Error, ServerIdentity};

/// How two sides are compared.
#[derive(Debug, Clone)]
pub struct CompareOptions {
    /// How many of the keys that differ are named.
    pub show: usize,
    /// Which keys of an RDB a server is to hold, and in which databases ([`prove`](crate::prove()) only).
    pub choice: KeyChoice,
    /// The server may hold other keys and functions too ([`prove`](crate::prove()) only).
    pub others_allowed: bool,
}

impl Default for CompareOptions {
    fn default() -> Self {
        CompareOptions { show: 20, choice: KeyChoice::default(), others_allowed: false }
    }
}

/// Keys that are asked for at a time. Their values are in memory together.
pub(crate) const BATCH: usize = 64;

/// Compares every key of every database: type, value and expiry. Neither server is written to.
pub async fn compare(
    left: &ConnectOptions,
    right: &ConnectOptions,
    options: &CompareOptions,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<Comparison, Error> {
    let (mut left_scan, mut right_scan) =
        futures::try_join!(Connection::open(left), Connection::open(right))?;
    let (left_id, right_id) =
        futures::try_join!(identify(&mut left_scan, left), identify(&mut right_scan, right))?;
    let mut sides = Sides {
        left: Asker::new(Connection::open(left).await?, &left_id),
        right: Asker::new(Connection::open(right).await?, &right_id),
        findings: Findings::new(options.show),
    };
    let counters = sides.left.has_counters() && sides.right.has_counters();
    sides.left.counters(counters);
    sides.right.counters(counters);
    let mut dbs: BTreeSet<u64> = keyspace(&mut left_scan).await?.into_keys().collect();
    dbs.extend(keyspace(&mut right_scan).await?.into_keys());

    let mut seen = 0;
    for db in &dbs {
        sides.left.select(*db).await?;
        sides.right.select(*db).await?;
        let mut scan = Scan::begin(&mut left_scan, *db).await?;
        while let Some(keys) = scan.next().await? {
            for batch in keys.chunks(BATCH) {
                sides.compare(*db, batch).await?;
                seen += batch.len() as u64;
                on_progress(Progress { bytes: 0, keys: seen });
            }
        }
        let mut scan = Scan::begin(&mut right_scan, *db).await?;
        while let Some(keys) = scan.next().await? {
            for batch in keys.chunks(BATCH * 8) {
                sides.only_right(*db, batch).await?;
            }
        }
    }
    let libraries =
        (functions(&mut left_scan, &left_id).await?, functions(&mut right_scan, &right_id).await?);
    let exact = sides.left.tolerance() == 0 && sides.right.tolerance() == 0;
    Ok(sides.findings.finish(left_id.to_string(), right_id, equal_functions(libraries), exact))
}

/// Whether both sides have the same libraries; nothing where neither can have any.
pub(crate) fn equal_functions(sides: (Option<Vec<u128>>, Option<Vec<u128>>)) -> Option<bool> {
    match sides {
        (None, None) => None,
        (left, right) => Some(left.unwrap_or_default() == right.unwrap_or_default()),
    }
}

struct Sides {
    left: Asker,
    right: Asker,
    findings: Findings,
}

impl Sides {
    async fn compare(&mut self, db: u64, keys: &[Vec<u8>]) -> Result<(), Error> {
        let names: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let tolerance = self.left.tolerance().max(self.right.tolerance());
        let (left, right) = futures::try_join!(self.left.look_up(&names), self.right.look_up(&names))?;
        for ((name, left), right) in names.iter().zip(left).zip(right) {
            if judge(left.as_ref(), right.as_ref(), tolerance).is_none() {
                self.findings.equal(left.is_some());
                continue;
            }
            // Asked once more: it may have expired or changed between the two questions.
            let one = [*name];
            let (l, r) = futures::try_join!(self.left.look_up(&one), self.right.look_up(&one))?;
            let (l, r) = (l.into_iter().flatten().next(), r.into_iter().flatten().next());
            let Some((kind, details)) = judge(l.as_ref(), r.as_ref(), tolerance) else {
                self.findings.equal(l.is_some());
                continue;
            };
            // One side has let it go already; the other will within moments.
            let due = l.as_ref().or(r.as_ref()).and_then(|live| live.expiry);
            let one_side = matches!(kind, DifferenceKind::MissingLeft | DifferenceKind::MissingRight);
            if one_side && due.is_some_and(|at| at <= now() + 1000) {
                self.findings.expired_meanwhile += 1;
            } else {
                self.findings.differ(db, name, kind, details);
            }
        }
        Ok(())
    }

    /// Keys of the right side that the left one lacks.
    async fn only_right(&mut self, db: u64, keys: &[Vec<u8>]) -> Result<(), Error> {
        let mut out = Vec::new();
        for key in keys {
            command(&mut out, &[b"EXISTS", key]);
        }
        let doing = "looking for keys (EXISTS)";
        let Connection { reader, writer } = self.left.connection();
        let answers = async {
            let mut missing = Vec::new();
            for key in keys {
                if reader.reply(doing).await?.int() == Some(0) {
                    missing.push(key.as_slice());
                }
            }
            Ok::<_, Error>(missing)
        };
        let ((), missing) = futures::try_join!(writer.send(&out, doing), answers)?;
        for batch in missing.chunks(BATCH) {
            let left = self.left.look_up(batch).await?;
            let right = self.right.look_up(batch).await?;
            for ((name, left), right) in batch.iter().zip(left).zip(right) {
                let (None, Some(right)) = (left, right) else { continue };
                if right.expiry.is_some_and(|at| at <= now() + 1000) {
                    self.findings.expired_meanwhile += 1;
                } else {
                    self.findings.differ(db, name, DifferenceKind::MissingLeft, String::new());
                }
            }
        }
        Ok(())
    }
}

/// How two sides of a key differ, if they do.
pub(crate) fn judge(
    left: Option<&Live>,
    right: Option<&Live>,
    tolerance: i64,
) -> Option<(DifferenceKind, String)> {
    let (left, right) = match (left, right) {
        (None, None) => return None,
        (Some(_), None) => return Some((DifferenceKind::MissingRight, String::new())),
        (None, Some(_)) => return Some((DifferenceKind::MissingLeft, String::new())),
        (Some(left), Some(right)) => (left, right),
    };
    if left.meaning.kind != right.meaning.kind {
        return Some((
            DifferenceKind::Type,
            format!("({} against {})", left.meaning.kind, right.meaning.kind),
        ));
    }
    if left.meaning != right.meaning {
        return Some((DifferenceKind::Value, format!("({})", left.meaning.kind)));
    }
    let same = match (left.expiry, right.expiry) {
        (Some(left), Some(right)) => left.abs_diff(right) <= tolerance.unsigned_abs(),
        (left, right) => left == right,
    };
    let word = |expiry: Option<i64>| expiry.map_or_else(|| "never".to_owned(), |at| format!("at {at} ms"));
    (!same)
        .then(|| (DifferenceKind::Expiry, format!("({} against {})", word(left.expiry), word(right.expiry))))
}

/// Our clock, in milliseconds; only used to tell what is due to expire from what is lost.
pub(crate) fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Collects what differs.
pub(crate) struct Findings {
    show: usize,
    keys: u64,
    equal: u64,
    different: u64,
    pub(crate) expired_meanwhile: u64,
    pub(crate) unnamed_extra: u64,
    differences: Vec<Difference>,
}

impl Findings {
    pub(crate) fn new(show: usize) -> Findings {
        Findings {
            show,
            keys: 0,
            equal: 0,
            different: 0,
            expired_meanwhile: 0,
            unnamed_extra: 0,
            differences: Vec::new(),
        }
    }

    /// A key that is equal; one that is on neither side any more has expired.
    pub(crate) fn equal(&mut self, there: bool) {
        if there {
            self.keys += 1;
            self.equal += 1;
        } else {
            self.expired_meanwhile += 1;
        }
    }

    pub(crate) fn differ(&mut self, db: u64, key: &[u8], kind: DifferenceKind, details: String) {
        self.keys += 1;
        self.different += 1;
        if self.differences.len() < self.show {
            self.differences.push(Difference { db, key: shown(key), kind, details });
        }
    }

    pub(crate) fn finish(
        self,
        left: String,
        right: ServerIdentity,
        functions_equal: Option<bool>,
        expiry_exact: bool,
    ) -> Comparison {
        Comparison {
            left,
            right,
            keys: self.keys,
            equal_keys: self.equal,
            different_keys: self.different,
            expired_meanwhile: self.expired_meanwhile,
            unnamed_extra: self.unnamed_extra,
            differences: self.differences,
            functions_equal,
            expiry_exact,
        }
    }
}

/// Goes over the keys of a database.
struct Scan<'a> {
    connection: &'a mut Connection,
    cursor: Option<Vec<u8>>,
}

impl Scan<'_> {
    async fn begin(connection: &mut Connection, db: u64) -> Result<Scan<'_>, Error> {
        connection.ask(&[b"SELECT", db.to_string().as_bytes()]).await?;
        Ok(Scan { connection, cursor: Some(b"0".to_vec()) })
    }

    async fn next(&mut self) -> Result<Option<Vec<Vec<u8>>>, Error> {
        let Some(cursor) = self.cursor.take() else { return Ok(None) };
        let reply = self.connection.ask(&[b"SCAN", &cursor, b"COUNT", b"1000"]).await?;
        let Reply::Array(parts) = reply else {
            return Err(self.connection.reader.protocol("SCAN answered no array".to_owned()));
        };
        let mut parts = parts.into_iter();
        let (Some(next), Some(Reply::Array(keys))) = (parts.next(), parts.next()) else {
            return Err(self.connection.reader.protocol("SCAN answered another array".to_owned()));
        };
        let next = next.bytes().unwrap_or_default().to_vec();
        if next != b"0" {
            self.cursor = Some(next);
        }
        let keys = keys.into_iter().filter_map(|key| match key {
            Reply::Bulk(key) => Some(key),
            _ => None,
        });
        Ok(Some(keys.collect()))
    }
}
