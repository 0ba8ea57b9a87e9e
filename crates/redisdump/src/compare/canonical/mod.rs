//! Reads live keys in pipelines: the value by DUMP, or by MGET if it is a string, and the expiry.

mod flight;
mod key_reader;
mod payload;
mod strings;

pub(crate) use key_reader::KeyReader;

use std::collections::BTreeMap;

use redis::{cmd, from_redis_value_ref};

use crate::client::connection::Connection;
use crate::client::identity::{clock, milliseconds};
use crate::client::wire::{Head, Reader, command};
use crate::compare::digest::{CanonicalDigest, Digester};
use crate::compare::field_ttl::{EXPIRY_MARGIN, Fields, LISTED, Watch};
use crate::display::shown;
use crate::rdb::{Dialect, Kind, Problem};
use crate::{ConnectOptions, Error, ServerIdentity};
use flight::{Batches, Window};

/// A key as it is on one side.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    pub(crate) digest: CanonicalDigest,
    /// The field TTLs of a hash.
    pub(crate) fields: Option<Fields>,
    /// Absolute, in milliseconds.
    pub(crate) expiry: Option<i64>,
    /// The number of milliseconds by which it may expire later; usually 0.
    pub(crate) slack: u64,
}

impl Live {
    /// True if the key may have expired completely by a clock that shows `now`.
    pub(crate) fn is_due(&self, now: i64) -> bool {
        let whole = self.expiry.is_some_and(|at| at <= now.saturating_add(EXPIRY_MARGIN));
        let rest = self.fields.as_ref().and_then(|fields| fields.rest(now));
        whole || rest.is_some_and(|rest| rest.count == 0)
    }
}

/// The RDB version from which on Redis stores module metadata with any value.
const METADATA_SINCE: u16 = 13;
/// How often the remaining time is queried again if the clock advanced meanwhile.
const MAX_ATTEMPTS: usize = 100;
const OPERATION: &str = "reading keys (DUMP)";

/// What is expected of a key, which saves queries.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hint {
    /// It is likely to be a string. If it is not, only time is lost.
    pub(crate) string: bool,
    /// It is taken to have no expiry, which the caller verifies by other means.
    pub(crate) permanent: bool,
}

/// A key to be queried.
#[derive(Clone, Copy)]
struct QueriedKey<'a> {
    key: &'a [u8],
    /// Its value, if it is known already.
    value: Option<CanonicalDigest>,
    /// Whether its expiry is queried.
    expiry: bool,
}

/// A connection that reads keys, without marking them as used if the server supports that.
pub(crate) struct NodeKeyReader {
    connection: Connection,
    /// PEXPIRETIME came with 7.0; before, only the remaining time can be queried.
    exact: bool,
    counters: bool,
    /// The expiries of hash fields are ignored.
    unexpiring: bool,
    digester: Digester,
    db: Option<u64>,
    /// MGET is available. Nodes of a cluster do not answer it for keys of several slots.
    bundled: bool,
    /// Keys of unknown type may be read by MGET. Newer servers have module metadata with a string, which only
    /// DUMP shows.
    plain: bool,
    /// For MGET, and for all other queries.
    windows: (Window, Window),
    now: i64,
    buffer: Vec<u8>,
    slack: u64,
    metadata: u64,
    /// The keys are in a cluster slot that this node is importing.
    asking: bool,
}

impl NodeKeyReader {
    /// Connects to an identified server.
    pub(crate) async fn open(
        options: &ConnectOptions,
        server: &ServerIdentity,
    ) -> Result<NodeKeyReader, Error> {
        let mut connection = Connection::open(options).await?;
        // Reading a key marks it as used, which affects eviction; from 7.2 on this can be avoided.
        connection.reply_to(cmd("CLIENT").arg("NO-TOUCH").arg("ON")).await?.ok();
        let now = clock(&mut connection).await?;
        let counters = server.at_least(7, 0);
        let exact = counters && knows_expire_time(&mut connection).await?;
        let bundled = !server.cluster && allows(&mut connection, "MGET").await?;
        let (dialect, rdb_version) = server.target().rdb();
        let mut key_reader = NodeKeyReader {
            connection,
            exact,
            counters,
            unexpiring: false,
            digester: Digester::default(),
            db: Some(0),
            bundled,
            plain: dialect == Dialect::Valkey || rdb_version < METADATA_SINCE,
            windows: (Window::default(), Window::default()),
            now,
            buffer: Vec::new(),
            slack: 0,
            metadata: 0,
            asking: false,
        };
        key_reader.counters(counters);
        Ok(key_reader)
    }

    /// Whether stream counters are part of canonical digests: the other side may not have them.
    pub(crate) fn counters(&mut self, counters: bool) {
        self.counters &= counters;
        self.digester = match self.counters {
            true => Digester::default(),
            false => Digester::default().without_counters(),
        };
    }

    /// Ignores the expiries of hash fields: the other side was restored without them.
    pub(crate) fn without_field_expiries(&mut self) {
        self.unexpiring = true;
    }

    /// True if this server has stream counters.
    pub(crate) fn has_counters(&self) -> bool {
        self.counters
    }

    /// The server's clock at its last reply, in milliseconds; it decides whether a missing key has expired or is lost.
    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    /// The maximum error of an expiry, in milliseconds.
    pub(crate) fn slack(&self) -> u64 {
        self.slack
    }

    /// Number of values with additional module metadata.
    pub(crate) fn with_metadata(&self) -> u64 {
        self.metadata
    }

    pub(crate) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// The databases with keys, and their approximate numbers of keys.
    pub(crate) async fn databases(&mut self, server: &ServerIdentity) -> Result<BTreeMap<u64, u64>, Error> {
        // The call selects database 0 again.
        self.db = Some(0);
        crate::client::databases::databases(&mut self.connection, server).await
    }

    pub(crate) async fn select(&mut self, db: u64) -> Result<(), Error> {
        if self.db != Some(db) {
            self.connection.select(db).await?;
            self.db = Some(db);
        }
        Ok(())
    }

    /// Starts or stops querying keys of a slot that this cluster node is importing.
    pub(crate) fn set_asking(&mut self, asking: bool) {
        self.asking = asking;
    }

    /// Reads these keys; `None` for a key that does not exist. `hints` has one for each key, or is empty.
    pub(crate) async fn look_up(
        &mut self,
        keys: &[&[u8]],
        hints: &[Hint],
    ) -> Result<Vec<Option<Live>>, Error> {
        let values = self.strings(keys, hints).await?;
        let permanent = |at: usize| hints.get(at).is_some_and(|hint| hint.permanent);
        let queried: Vec<QueriedKey<'_>> = keys
            .iter()
            .zip(values)
            .enumerate()
            .map(|(at, (key, value))| QueriedKey { key, value, expiry: !permanent(at) })
            .collect();
        self.query(&queried).await
    }

    /// The expiries of these keys, in milliseconds since the epoch; `None` for a key without one, or that does not
    /// exist.
    pub(crate) async fn expiries(&mut self, keys: &[&[u8]]) -> Result<Vec<Option<i64>>, Error> {
        // With any value as known, none is read.
        self.digester.begin(Kind::String);
        let value = Some(self.digester.digest());
        let queried: Vec<QueriedKey<'_>> =
            keys.iter().map(|key| QueriedKey { key, value, expiry: true }).collect();
        let found = self.query(&queried).await?;
        Ok(found.into_iter().map(|live| live?.expiry).collect())
    }

    async fn query(&mut self, queried: &[QueriedKey<'_>]) -> Result<Vec<Option<Live>>, Error> {
        let mut found = Vec::with_capacity(queried.len());
        let mut room = LISTED;
        let mut flight = Batches::of(queried);
        loop {
            let mut out = Vec::new();
            while let Some(batch) = flight.depart(&self.windows.1) {
                self.write(&mut out, batch);
            }
            let Some(batch) = flight.arrive() else { break };
            self.exchange(&out, batch, &mut room, &mut found).await?;
        }
        for (QueriedKey { key, .. }, live) in queried.iter().zip(&mut found) {
            if live.as_ref().is_some_and(|live| live.slack > 0) {
                self.pin(key, live).await?;
            }
        }
        Ok(found)
    }

    /// The digests of those of these keys that are strings, where it is cheaper to read them as such.
    async fn strings(
        &mut self,
        keys: &[&[u8]],
        hints: &[Hint],
    ) -> Result<Vec<Option<CanonicalDigest>>, Error> {
        let mut values = vec![None; keys.len()];
        let asked: Vec<(usize, &[u8])> = keys
            .iter()
            .copied()
            .enumerate()
            .filter(|(at, _)| self.bundled && hints.get(*at).map_or(self.plain, |hint| hint.string))
            .collect();
        let mut flight = Batches::of(&asked);
        loop {
            let mut out = Vec::new();
            while let Some(batch) = flight.depart(&self.windows.0) {
                strings::write(&mut out, batch);
            }
            let Some(batch) = flight.arrive() else { return Ok(values) };
            let Connection { reader, writer } = &mut self.connection;
            let answers = strings::read(reader, batch, &mut self.digester, &mut self.buffer, &mut values);
            // Both at once: the server may answer before it has read all commands.
            let ((), bytes) = futures::try_join!(writer.send(&out, OPERATION), answers)?;
            match bytes {
                Some(bytes) => self.windows.0.fit(bytes, batch.len()),
                None => {
                    self.bundled = false;
                    flight.stop();
                }
            }
        }
    }

    /// Writes the queries about some keys: values, expiries, and the clock.
    fn write(&self, out: &mut Vec<u8>, batch: &[QueriedKey<'_>]) {
        for QueriedKey { key, value, expiry } in batch {
            if *expiry && !self.exact {
                time_left(out, key, self.asking);
            }
            if value.is_none() {
                self.announce(out);
                command(out, &[b"DUMP", key]);
            }
            if *expiry && self.exact {
                self.announce(out);
                command(out, &[b"PEXPIRETIME", key]);
            }
        }
        command(out, &[b"TIME"]);
    }

    /// Sends queries, and digests each reply to an earlier batch before the next is read.
    async fn exchange(
        &mut self,
        out: &[u8],
        batch: &[QueriedKey<'_>],
        room: &mut usize,
        found: &mut Vec<Option<Live>>,
    ) -> Result<(), Error> {
        let Connection { reader, writer } = &mut self.connection;
        let (digester, buffer) = (&mut self.digester, &mut self.buffer);
        if self.unexpiring {
            digester.without_field_expiries(self.now);
        }
        let (mut bytes, mut metadata) = (0_u64, 0);
        let answers = async {
            for QueriedKey { key, value: known, expiry: asked } in batch {
                let ttl = match (asked, self.exact) {
                    (false, _) => Some((-1, 0)),
                    (true, true) => None,
                    (true, false) => Some(left(reader, key, self.asking).await?),
                };
                let value = match known {
                    Some(digest) => Some((*digest, None)),
                    None => {
                        digester.watch(Watch::new(self.now, *room));
                        announced(reader, self.asking).await?;
                        let value = value(reader, key, digester, buffer).await?;
                        let whole = !(self.unexpiring && digester.is_empty_collection());
                        value.filter(|_| whole).map(|value| {
                            bytes = bytes.saturating_add(value.bytes);
                            metadata += u64::from(value.metadata);
                            (digester.digest(), digester.fields())
                        })
                    }
                };
                let (expiry, slack) = match ttl {
                    Some(ttl) => ttl,
                    None => {
                        announced(reader, self.asking).await?;
                        (number(reader, "PEXPIRETIME", key).await?, 0)
                    }
                };
                found.push(value.filter(|_| expiry != -2).map(|(digest, fields)| {
                    *room = room.saturating_sub(fields.as_ref().map_or(0, Fields::listed));
                    Live { digest, fields, expiry: (expiry >= 0).then_some(expiry), slack }
                }));
            }
            time(reader).await
        };
        // Both at once: the server may answer before it has read all commands.
        let ((), now) = futures::try_join!(writer.send(out, OPERATION), answers)?;
        self.now = now;
        self.metadata += metadata;
        self.windows.1.fit(bytes, batch.len());
        Ok(())
    }

    /// The prefix of a query about a key in a slot that this node is importing.
    fn announce(&self, out: &mut Vec<u8>) {
        if self.asking {
            command(out, &[b"ASKING"]);
        }
    }

    /// Queries a key's remaining time until the clock does not advance meanwhile.
    async fn pin(&mut self, key: &[u8], live: &mut Option<Live>) -> Result<(), Error> {
        for _ in 0..MAX_ATTEMPTS {
            let mut out = Vec::new();
            time_left(&mut out, key, self.asking);
            self.connection.writer.send(&out, OPERATION).await?;
            let (expiry, slack) = left(&mut self.connection.reader, key, self.asking).await?;
            if expiry == -2 {
                *live = None;
            }
            let Some(live) = live else { return Ok(()) };
            (live.expiry, live.slack) = ((expiry >= 0).then_some(expiry), slack);
            if slack == 0 {
                return Ok(());
            }
        }
        self.slack = self.slack.max(live.as_ref().map_or(0, |live| live.slack));
        Ok(())
    }
}

/// Whether PEXPIRETIME is available. If it is forbidden or renamed, the remaining time gives the same result with more
/// queries.
pub(crate) async fn knows_expire_time(connection: &mut Connection) -> Result<bool, Error> {
    allows(connection, "PEXPIRETIME").await
}

/// Whether a command that takes a key is available.
async fn allows(connection: &mut Connection, command: &str) -> Result<bool, Error> {
    Ok(match connection.reply_to(cmd(command).arg("dbhaul:no-such-key")).await? {
        // The key's name does not matter: a user may have access to other keys.
        Err(words) => !(words.contains(" to run the ") || words.contains("unknown command")),
        Ok(_) => true,
    })
}

/// A value that was read.
struct Value {
    bytes: u64,
    /// Modules store additional metadata.
    metadata: bool,
}

/// Reads the reply to DUMP, and feeds it to the digester as it arrives.
async fn value(
    reader: &mut Reader,
    key: &[u8],
    digester: &mut Digester,
    buffer: &mut Vec<u8>,
) -> Result<Option<Value>, Error> {
    let unreadable = |reader: &Reader, problem: Problem| {
        reader.protocol(format!("the DUMP of key {} cannot be read: {problem}", shown(key)))
    };
    if let Some((bytes, metadata)) =
        reader.take_bulk(|payload| (payload.len() as u64, payload::whole(payload, digester)))
    {
        let metadata = metadata.map_err(|problem| unreadable(reader, problem))?;
        return Ok(Some(Value { bytes, metadata }));
    }
    match reader.head(OPERATION).await? {
        Head::Bulk(bytes) => {
            let metadata = payload::digest(reader, bytes, digester, buffer).await?;
            let metadata = metadata.map_err(|problem| unreadable(reader, problem))?;
            Ok(Some(Value { bytes, metadata }))
        }
        Head::Other(Ok(redis::Value::Nil)) => Ok(None),
        Head::Other(Err(message)) => Err(refused(reader, "DUMP", key, message)),
        other => Err(refused(reader, "DUMP", key, format!("unexpected reply {other:?}"))),
    }
}

/// Queries the remaining time between two queries for the clock, which it is relative to; it is exact if both clock
/// readings are equal.
pub(crate) fn time_left(out: &mut Vec<u8>, key: &[u8], asking: bool) {
    command(out, &[b"TIME"]);
    if asking {
        command(out, &[b"ASKING"]);
    }
    command(out, &[b"PTTL", key]);
    command(out, &[b"TIME"]);
}

/// The expiry that follows from the remaining time (-1 for never, -2 for a missing key), and its maximum error.
async fn left(reader: &mut Reader, key: &[u8], asking: bool) -> Result<(i64, u64), Error> {
    let before = time(reader).await?;
    announced(reader, asking).await?;
    let left = number(reader, "PTTL", key).await?;
    let after = time(reader).await?;
    Ok(expires_at(before, left, after))
}

/// The expiry that follows from the remaining time queried between two clock readings, and its maximum error.
pub(crate) fn expires_at(before: i64, left: i64, after: i64) -> (i64, u64) {
    match left {
        ..0 => (left, 0),
        left => (before.saturating_add(left), after.abs_diff(before)),
    }
}

/// Reads the reply to ASKING.
async fn announced(reader: &mut Reader, asking: bool) -> Result<(), Error> {
    if asking {
        reader.reply(OPERATION).await?.ok();
    }
    Ok(())
}

async fn number(reader: &mut Reader, question: &str, key: &[u8]) -> Result<i64, Error> {
    if let Some(number) = reader.take_int() {
        return Ok(number);
    }
    match reader.reply(OPERATION).await? {
        Err(message) => Err(refused(reader, question, key, message)),
        Ok(reply) => from_redis_value_ref(&reply)
            .map_err(|_| refused(reader, question, key, format!("unexpected reply {reply:?}"))),
    }
}

async fn time(reader: &mut Reader) -> Result<i64, Error> {
    let reply = reader.reply(OPERATION).await?.map_err(|message| Error::Server {
        target: reader.target().to_owned(),
        operation: "reading its clock (TIME)".to_owned(),
        message,
    })?;
    let time = from_redis_value_ref(&reply);
    time.map(milliseconds).map_err(|_| reader.protocol(format!("TIME answered {reply:?}")))
}

fn refused(reader: &Reader, question: &str, key: &[u8], mut message: String) -> Error {
    if message.starts_with("MOVED") {
        message.push_str(": this node of a cluster does not serve the key's slot; name the whole cluster (redis+cluster://)");
    }
    Error::Server {
        target: reader.target().to_owned(),
        operation: format!("{question} of key {}", shown(key)),
        message,
    }
}
