//! Keys of an RDB stream into a server: pipelined RESTORE with absolute expiries.
//!
//! A value's bytes in an RDB are the body of its DUMP payload, so nothing is decoded on the way. The payload is stamped
//! with the lowest version that knows its type, since servers refuse stamps that are newer than themselves, and not
//! types that they know.

use std::fmt;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::identity::{functions, identify, keyspace};
use crate::meaning::shown;
use crate::rdb::{Dialect, Elements, Key, Kind, Reader, ValueType, Visitor, dump};
use crate::report::Progress;
use crate::wire::{Connection, Reply, command};
use crate::{ConnectOptions, Error, ServerIdentity};

/// How a server is filled.
#[derive(Debug, Clone, Default)]
pub struct RestoreOptions {
    /// Refuse the server with this run id: the source itself.
    pub not_this_run: Option<String>,
}

/// What was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct RestoreReport {
    /// The server that was filled.
    pub server: ServerIdentity,
    /// Keys that it took.
    pub keys: u64,
    /// Keys whose expiry had passed: they would be gone at once, and were not sent.
    pub expired: u64,
    /// Function libraries.
    pub functions: u64,
    /// Modules whose data beside the keys cannot be restored by commands.
    pub skipped_module_data: Vec<String>,
    /// Bytes of the RDB.
    pub bytes: u64,
}

impl fmt::Display for RestoreReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} keys restored, {} had expired, {} function libraries",
            self.keys, self.expired, self.functions
        )?;
        match self.skipped_module_data.as_slice() {
            [] => Ok(()),
            modules => {
                write!(f, "; data of modules beside their keys was NOT restored: {}", modules.join(", "))
            }
        }
    }
}

/// Commands that may wait for their replies; with what the sockets hold, this bounds what is in flight.
const WINDOW: usize = 4096;
/// Commands are sent when about so many bytes are ready.
const BATCH: usize = 64 << 10;

/// Restores a stream into an empty server.
///
/// # Errors
/// [`Error::Refused`] when the server holds keys or functions, is a replica, or is the source itself: nothing was
/// written. Any later error says how many keys the server has taken by then.
pub async fn restore<E>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    options: &ConnectOptions,
    settings: &RestoreOptions,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<RestoreReport, Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let mut connection = Connection::open(options).await?;
    let server = identify(&mut connection, options).await?;
    refuse_if_unfit(&mut connection, &server, settings).await?;
    let now = clock(&mut connection).await?;

    let Connection { mut reader, mut writer } = connection;
    let (sent, mut awaited) = mpsc::channel::<Sent>(WINDOW);
    let target = reader.target().to_owned();
    let mut loader = Loader::new(now, server.at_least(5, 0));
    let mut rdb = Reader::new();
    let feed = async {
        let mut stream = std::pin::pin!(stream);
        while let Some(piece) = stream.next().await {
            let piece = piece.map_err(Error::stream)?;
            // Small steps, so that the ready commands never grow far beyond a batch.
            for part in piece.chunks(BATCH) {
                rdb.feed(part, &mut loader)?;
                loader.refuse_newer(&server)?;
                if loader.out.len() >= BATCH {
                    flush(&mut loader, &mut writer, &sent).await?;
                    on_progress(Progress { bytes: rdb.offset(), keys: loader.keys });
                }
            }
        }
        rdb.finish()?;
        flush(&mut loader, &mut writer, &sent).await?;
        drop(sent);
        Ok::<_, Error>(())
    };
    let check = async {
        let mut taken = 0_u64;
        while let Some(what) = awaited.recv().await {
            let doing = "restoring keys; what it has taken stays there: empty it before the next try";
            if let Reply::Error(message) = reader.reply(doing).await? {
                return Err(refused_key(&target, &what, &message, taken));
            }
            taken += u64::from(matches!(what, Sent::Key { .. }));
        }
        Ok::<_, Error>(taken)
    };
    let (feed, check) = {
        // When the server refuses a key, the feeding must stop too, and the refusal is what is reported.
        let mut feed = std::pin::pin!(feed);
        let mut check = std::pin::pin!(check);
        tokio::select! {
            biased;
            checked = &mut check => (None, checked),
            fed = &mut feed => match fed {
                Ok(()) => (Some(Ok(())), check.await),
                Err(error) => (Some(Err(error)), Ok(0)),
            },
        }
    };
    if let Some(fed) = feed {
        fed?;
    }
    let keys = check?;
    on_progress(Progress { bytes: rdb.offset(), keys });
    Ok(RestoreReport {
        server,
        keys,
        expired: loader.expired,
        functions: loader.functions,
        skipped_module_data: loader.modules,
        bytes: rdb.offset(),
    })
}

/// What a reply is awaited for.
#[derive(Debug)]
enum Sent {
    Select,
    Function,
    Key { db: u64, name: Vec<u8>, kind: Kind },
}

async fn flush(
    loader: &mut Loader,
    writer: &mut crate::wire::Writer,
    sent: &mpsc::Sender<Sent>,
) -> Result<(), Error> {
    for what in loader.queue.drain(..) {
        // The other side only goes away with an error of its own, which is then the one that is reported.
        if sent.send(what).await.is_err() {
            return Ok(());
        }
    }
    let result = writer
        .send(&loader.out, "restoring keys; what it has taken stays there: empty it before the next try")
        .await;
    loader.out.clear();
    if loader.out.capacity() > 4 << 20 {
        loader.out = Vec::new();
    }
    result
}

fn refused_key(target: &str, what: &Sent, message: &str, taken: u64) -> Error {
    let doing = match what {
        Sent::Select => "choosing a database".to_owned(),
        Sent::Function => "loading a function library".to_owned(),
        Sent::Key { db, name, kind } => format!("key {} of database {db} ({kind})", shown(name)),
    };
    let hint = if message.contains("DUMP payload version or checksum") {
        ". This server cannot load this kind of value: it is older than the source, or another fork"
    } else {
        ""
    };
    Error::Server {
        target: target.to_owned(),
        doing,
        message: format!(
            "{message}{hint}. It has taken {taken} keys before, which stay there: empty it before the next try"
        ),
    }
}

async fn refuse_if_unfit(
    connection: &mut Connection,
    server: &ServerIdentity,
    settings: &RestoreOptions,
) -> Result<(), Error> {
    let mut conflicts = Vec::new();
    if settings.not_this_run.as_ref() == Some(&server.run_id) {
        conflicts.push("it is the source itself".to_owned());
    }
    if server.role == "slave" {
        conflicts.push("it is a replica, and read-only: name its master".to_owned());
    }
    let keys = keyspace(connection).await?;
    for (db, keys) in &keys {
        conflicts.push(format!("database {db} is not empty: it holds {keys} keys"));
    }
    if let Some(libraries) = functions(connection, server).await?.filter(|libraries| !libraries.is_empty()) {
        conflicts.push(format!(
            "it holds {} function libraries (FLUSHALL keeps them; FUNCTION FLUSH does not)",
            libraries.len()
        ));
    }
    if conflicts.is_empty() {
        return Ok(());
    }
    Err(Error::Refused { what: format!("{server} cannot be filled"), conflicts })
}

/// The target's clock: it decides what has expired.
async fn clock(connection: &mut Connection) -> Result<i64, Error> {
    let Reply::Array(parts) = connection.ask(&[b"TIME"]).await? else { return Ok(0) };
    let part = |at: usize| parts.get(at).and_then(Reply::int).unwrap_or(0);
    Ok(part(0).saturating_mul(1000).saturating_add(part(1) / 1000))
}

/// Turns what a reader tells into commands.
struct Loader {
    /// ABSTTL, IDLETIME and FREQ came with 5.0.
    absolute: bool,
    now: i64,
    out: Vec<u8>,
    queue: Vec<Sent>,
    payload: Vec<u8>,
    dialect: Dialect,
    version: u16,
    db: u64,
    name: Vec<u8>,
    value_type: Option<ValueType>,
    expiry: Option<i64>,
    idle: Option<u64>,
    frequency: Option<u8>,
    has_metadata: bool,
    selected: u64,
    keys: u64,
    expired: u64,
    functions: u64,
    modules: Vec<String>,
}

impl Loader {
    fn new(now: i64, absolute: bool) -> Loader {
        Loader {
            absolute,
            now,
            out: Vec::new(),
            queue: Vec::new(),
            payload: Vec::new(),
            dialect: Dialect::Redis,
            version: 0,
            db: 0,
            name: Vec::new(),
            value_type: None,
            expiry: None,
            idle: None,
            frequency: None,
            has_metadata: false,
            selected: 0,
            keys: 0,
            expired: 0,
            functions: 0,
            modules: Vec::new(),
        }
    }

    /// A server refuses values of an RDB version that it does not know. That is said while nothing has been sent yet.
    fn refuse_newer(&self, server: &ServerIdentity) -> Result<(), Error> {
        let newest = server.newest_rdb();
        // The two numberings go their own ways from 12 and 80 on: the same number means other values.
        let foreign = match self.dialect {
            Dialect::Redis => server.flavor == "valkey" && self.version >= 12,
            Dialect::Valkey => server.flavor != "valkey",
        };
        if self.version <= newest && !foreign {
            return Ok(());
        }
        Err(Error::Refused {
            what: format!("{server} cannot load this RDB"),
            conflicts: vec![format!(
                "it is of version {} of {}: moving to an older server, or between newer versions of Redis and Valkey, is \
                 not carried yet",
                self.version,
                if self.dialect == Dialect::Valkey { "Valkey" } else { "Redis" }
            )],
        })
    }

    fn gone(&self) -> bool {
        self.expiry.is_some_and(|at| at <= self.now)
    }
}

impl Elements for Loader {}

impl Visitor for Loader {
    fn header(&mut self, dialect: Dialect, version: u16) {
        (self.dialect, self.version) = (dialect, version);
    }

    fn function(&mut self, code: &[u8]) {
        command(&mut self.out, &[b"FUNCTION", b"LOAD", code]);
        self.queue.push(Sent::Function);
        self.functions += 1;
    }

    fn module_aux(&mut self, module: &str) {
        if !self.modules.iter().any(|known| known == module) {
            self.modules.push(module.to_owned());
        }
    }

    fn key(&mut self, key: &Key<'_>) {
        self.payload.clear();
        if self.payload.capacity() > 4 << 20 {
            self.payload = Vec::new();
        }
        self.payload.extend_from_slice(key.metadata);
        self.payload.push(key.value_type.code());
        self.has_metadata = !key.metadata.is_empty();
        self.name.clear();
        self.name.extend_from_slice(key.name);
        (self.db, self.expiry, self.value_type) = (key.db, key.expiry, Some(key.value_type));
        (self.idle, self.frequency) = (key.idle, key.frequency);
    }

    fn raw(&mut self, bytes: &[u8]) {
        if !self.gone() {
            self.payload.extend_from_slice(bytes);
        }
    }

    fn key_end(&mut self) {
        let Some(value_type) = self.value_type.take() else { return };
        if self.gone() {
            self.expired += 1;
            return;
        }
        let stamp = value_type.since().filter(|_| !self.has_metadata).unwrap_or(self.version);
        dump::seal(&mut self.payload, 0, stamp);
        if self.selected != self.db {
            self.selected = self.db;
            command(&mut self.out, &[b"SELECT", self.db.to_string().as_bytes()]);
            self.queue.push(Sent::Select);
        }
        let ttl = match self.expiry {
            Some(at) if self.absolute => at,
            Some(at) => at.saturating_sub(self.now).max(1),
            None => 0,
        };
        let (ttl, idle, frequency) =
            (ttl.to_string(), self.idle.map(|n| n.to_string()), self.frequency.map(|n| n.to_string()));
        let mut arguments: Vec<&[u8]> = vec![b"RESTORE", &self.name, ttl.as_bytes(), &self.payload];
        if self.absolute {
            if self.expiry.is_some() {
                arguments.push(b"ABSTTL");
            }
            // A server takes one of the two.
            if let Some(idle) = &idle {
                arguments.extend([b"IDLETIME".as_slice(), idle.as_bytes()]);
            } else if let Some(frequency) = &frequency {
                arguments.extend([b"FREQ".as_slice(), frequency.as_bytes()]);
            }
        }
        command(&mut self.out, &arguments);
        self.queue.push(Sent::Key { db: self.db, name: self.name.clone(), kind: value_type.kind() });
        self.keys += 1;
    }
}
