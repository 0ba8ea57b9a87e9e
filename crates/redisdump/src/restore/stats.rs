//! Statistics of a restore, from the replies.

use std::sync::atomic::{AtomicU64, Ordering};

use super::pipeline::{Operation, Sent};
use crate::Error;
use crate::client::wire::Reply;
use crate::display::shown;
use redis::Value;

/// Counts of one restore, over all connections.
pub(super) struct RestoreStats<'a> {
    target: &'a str,
    /// Existing keys are kept, and restored keys of the same name are skipped.
    skip: bool,
    total: AtomicU64,
    skipped: AtomicU64,
    expired_count: AtomicU64,
}

impl RestoreStats<'_> {
    pub(super) fn new(target: &str, skip: bool) -> RestoreStats<'_> {
        RestoreStats {
            target,
            skip,
            total: AtomicU64::new(0),
            skipped: AtomicU64::new(0),
            expired_count: AtomicU64::new(0),
        }
    }

    /// Number of keys restored.
    pub(super) fn keys(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Number of existing keys that were kept.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Number of keys that expired before they were renamed.
    pub(super) fn expired_count(&self) -> u64 {
        self.expired_count.load(Ordering::Relaxed)
    }

    /// All of these were answered by OK.
    pub(super) fn all_taken(&self, sent: &[Sent]) {
        let keys = sent.iter().filter(|sent| sent.what.is_key()).count() as u64;
        self.total.fetch_add(keys, Ordering::Relaxed);
    }

    /// One reply.
    ///
    /// # Errors
    /// The server refused the command.
    pub(super) fn note(&self, sent: &Sent, name: &[u8], reply: Reply) -> Result<(), Error> {
        let of = match (sent.what, reply) {
            // A key with that name exists.
            (Operation::Rename(_), Ok(Value::Int(0))) => &self.skipped,
            // It expired before it was renamed.
            (Operation::Rename(_), Err(message)) if message.contains("no such key") => &self.expired_count,
            (what, Err(message)) if self.skip && is_there(what, &message) => &self.skipped,
            (what, Err(message)) => {
                return Err(refused_key(self.target, what, (sent.db, name), &message, self.keys()));
            }
            _ => &self.total,
        };
        of.fetch_add(u64::from(sent.what.is_key()), Ordering::Relaxed);
        Ok(())
    }
}

/// Whether an error reply says that the name is taken.
pub(super) fn is_there(what: Operation, message: &str) -> bool {
    match what {
        Operation::Key(_) => message.starts_with("BUSYKEY"),
        Operation::Function => message.contains("already exists"),
        _ => false,
    }
}

fn refused_key(target: &str, what: Operation, (db, name): (u64, &[u8]), message: &str, taken: u64) -> Error {
    let operation = match what {
        Operation::Select => format!("choosing database {db}"),
        Operation::Function => "loading a function library".to_owned(),
        Operation::Key(kind) | Operation::Part(kind) | Operation::Rename(kind) => {
            format!("key {} of database {db} ({kind})", shown(name))
        }
    };
    let hint = if message.contains("DUMP payload version or checksum") {
        ". This server does not support this value: it is older than the source, or another fork"
    } else {
        ""
    };
    Error::Server {
        target: target.to_owned(),
        operation,
        message: format!(
            "{message}{hint}. It has accepted {taken} keys before, which remain there: clear it before retrying"
        ),
    }
}
