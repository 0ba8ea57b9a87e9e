//! Preflight: whether a server can be restored into, determined before anything is written.

use bytes::Bytes;
use futures::{Stream, StreamExt as _};

use super::capabilities::{self, Capabilities};
use super::dry_run::DryRun;
use super::loader::{Loader, MalformedValue};
use super::memory::{self, mebibytes};
use super::settings::{BATCH, OnExisting, RestoreOptions};
use crate::client::connection::Connection;
use crate::client::databases::databases;
use crate::client::identity::{clock, functions, identify};
use crate::cluster::each_master;
use crate::conflict::{Conflict, Remedy};
use crate::convert::commands::{Target, UnsupportedValues};
use crate::display::shown;
use crate::rdb::{Dialect, NEWEST_REDIS, Reader, Tee};
use crate::verify::uniqueness::Uniqueness;
use crate::{ConnectOptions, Error, ServerIdentity};
use redis::cmd;

impl ServerIdentity {
    /// What it supports, by its flavor and version.
    pub fn target(&self) -> Target {
        let (major, minor) = self.major_minor();
        Target { flavor: self.flavor, major, minor }
    }
}

/// Identifies a server.
pub async fn server_identity(options: &ConnectOptions) -> Result<ServerIdentity, Error> {
    let mut connection = Connection::open(options).await?;
    identify(&mut connection, options).await
}

/// A server, its capabilities, and its clock; for a cluster, what all of its masters support.
pub(super) async fn asked(options: &ConnectOptions) -> Result<(ServerIdentity, Capabilities, i64), Error> {
    let mut connection = Connection::open(options).await?;
    let server = identify(&mut connection, options).await?;
    drop(connection);
    let nodes = each_master(options, |node| async move {
        let mut connection = Connection::open(&node).await?;
        let server = identify(&mut connection, &node).await?;
        let now = clock(&mut connection).await?;
        Ok((Capabilities::ask(&mut connection, &server).await?, now))
    })
    .await?;
    let now = nodes.iter().map(|(_, now)| *now).min().unwrap_or_default();
    let least = nodes.into_iter().map(|(capabilities, _)| capabilities).reduce(Capabilities::least);
    let capabilities = least.ok_or_else(|| Error::stream("a cluster without a master"))?;
    Ok((server, capabilities, now))
}

/// Which parts of an RDB a server does not support if it is restored with these settings. Reads all of it, and writes
/// nothing.
///
/// # Errors
/// A damaged RDB; a server that cannot be queried; [`Error::Refused`] for keys whose databases do not exist on the
/// server or would receive keys of another one, and for an RDB with duplicate keys or members.
pub async fn unsupported<E>(
    stream: impl Stream<Item = Result<Bytes, E>>,
    options: &ConnectOptions,
    settings: &RestoreOptions,
) -> Result<(ServerIdentity, UnsupportedValues), Error>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (server, capabilities, now) = asked(options).await?;
    let mut loader = Loader::new(settings, &capabilities, server.at_least(5, 0), now).only_look();
    let mut rdb = Reader::new().try_newer(settings.try_newer);
    let mut uniqueness = Uniqueness::default();
    let mut refused = RefusedValues::default();
    let mut stream = std::pin::pin!(stream);
    while let Some(piece) = stream.next().await {
        for part in piece.map_err(Error::stream)?.chunks(BATCH) {
            rdb.feed(part, &mut Tee(&mut loader, &mut uniqueness))?;
            loader.discard();
            for doubtful in std::mem::take(&mut loader.doubtful) {
                refused.ask(options, doubtful).await?;
            }
        }
    }
    rdb.finish()?;
    loader.matched.finish(&settings.choice)?;
    if let Some(twice) = uniqueness.finish().map_err(Error::stream)? {
        return Err(Error::Refused {
            what: format!("{server} cannot be restored from this RDB"),
            conflicts: vec![Conflict::from(format!(
                "{}: the server would refuse it after accepting other keys. The RDB is damaged, and servers do not load it",
                twice.shown(&uniqueness, None::<std::io::Empty>)
            ))],
        });
    }
    refuse(&server, refused.conflicts())?;
    if !loader.conflicts.is_empty() {
        return Err(misplaced(&server, loader.conflicts));
    }
    let collisions = loader.collisions.map_or(Ok(Vec::new()), |found| found.finish());
    let collisions = collisions.map_err(Error::stream)?;
    if !collisions.is_empty() {
        let what = format!("{server} cannot store the keys under their new names");
        return Err(Error::Refused { what, conflicts: collisions.into_iter().map(Conflict::from).collect() });
    }
    if let Some(limit) = memory::memory_limit(options).await?.filter(|limit| !limit.evicts()) {
        // In memory nothing is smaller than in an RDB, where strings are compressed.
        let left = limit.left(settings.flush.is_some());
        if loader.wanted_bytes > left {
            let (bytes, left) = (mebibytes(loader.wanted_bytes), mebibytes(left));
            return Err(Error::Refused {
                what: format!("{server} does not have enough memory ({limit})"),
                conflicts: vec![Conflict::from(format!(
                    "the values need {bytes} in the RDB and more in memory, but only {left} are available: raise maxmemory"
                ))],
            });
        }
    }
    Ok((server, loader.unsupported))
}

/// Values that the server refused when asked about them.
#[derive(Default)]
struct RefusedValues {
    asked: Option<(Connection, DryRun)>,
    named: Vec<String>,
    keys: usize,
}

impl RefusedValues {
    /// Asks about a value. All masters of a cluster are assumed to be like the first.
    async fn ask(&mut self, options: &ConnectOptions, value: MalformedValue) -> Result<(), Error> {
        const NAMED: usize = 20;
        if self.asked.is_none() {
            let node = match options.is_cluster() {
                true => crate::cluster::seed(options).await?,
                false => options.clone(),
            };
            let mut connection = Connection::open(&node).await?;
            let server = identify(&mut connection, &node).await?;
            let dry_run = DryRun::of(&mut connection, &server).await?;
            self.asked = Some((connection, dry_run));
        }
        let Some((connection, dry_run)) = &mut self.asked else { return Ok(()) };
        let Some(words) = dry_run.refuses(connection, &value.payload).await? else { return Ok(()) };
        self.keys += 1;
        if self.named.len() < NAMED {
            let name = shown(&value.name);
            self.named.push(format!("key `{name}` of database {}: {} ({words})", value.db, value.lint));
        }
        Ok(())
    }

    fn conflicts(mut self) -> Vec<Conflict> {
        if self.keys > self.named.len() {
            self.named.push(format!("… and {} more keys", self.keys - self.named.len()));
        }
        self.named.into_iter().map(Conflict::from).collect()
    }
}

/// Keys cannot be restored into their databases.
pub(super) fn misplaced(server: &ServerIdentity, conflicts: Vec<Conflict>) -> Error {
    Error::Refused { what: format!("{server} cannot store the keys in these databases"), conflicts }
}

/// Refuses a server that is the source, a replica, or not empty although it must be.
pub(super) async fn refuse_unsuitable(
    connection: &mut Connection,
    server: &ServerIdentity,
    settings: &RestoreOptions,
) -> Result<(), Error> {
    let mut conflicts: Vec<Conflict> = Vec::new();
    if settings.not_this_run.as_ref() == Some(&server.run_id) && !server.run_id.is_empty() {
        conflicts.push("it is the source itself".into());
    }
    if server.cluster && server.masters == 0 {
        conflicts.push("it is a node of a cluster, and accepts only keys of its own slots: use a redis+cluster:// URL for the whole cluster".into());
    }
    if server.role == "slave" {
        conflicts.push("it is a read-only replica: use its master".into());
    }
    if let Some(named) = &settings.flush
        && *named != server.address
    {
        conflicts.push(Conflict::from(format!(
            "the server to clear was named as {named}, but its address is {}: name the intended server",
            server.address
        )));
    }
    // The nodes of a cluster are asked one by one.
    if settings.on_existing == OnExisting::Refuse && settings.flush.is_none() && server.masters == 0 {
        let found = occupied(connection, server).await?;
        conflicts.extend(found.into_iter().map(|reason| existing(reason, server)));
    }
    refuse(server, conflicts)
}

/// Refuses a server if there are conflicts.
pub(super) fn refuse(server: &ServerIdentity, conflicts: Vec<Conflict>) -> Result<(), Error> {
    match conflicts.is_empty() {
        true => Ok(()),
        false => Err(Error::Refused { what: format!("{server} cannot be restored into"), conflicts }),
    }
}

pub(super) async fn occupied(
    connection: &mut Connection,
    server: &ServerIdentity,
) -> Result<Vec<String>, Error> {
    let mut conflicts: Vec<String> = databases(connection, server)
        .await?
        .iter()
        .map(|(db, keys)| format!("database {db} is not empty: {keys} keys"))
        .collect();
    if let Some(libraries) = functions(connection, server).await?.filter(|libraries| !libraries.is_empty()) {
        conflicts.push(format!(
            "it has {} function libraries (which FLUSHALL keeps and FUNCTION FLUSH deletes)",
            libraries.len()
        ));
    }
    Ok(conflicts)
}

/// A conflict with existing keys or functions of a server.
pub(super) fn existing(reason: String, server: &ServerIdentity) -> Conflict {
    Conflict::with_remedy(reason, Remedy::HandleExisting { server: server.address.clone() })
}

/// Empties the server, including functions.
pub(super) async fn flush(connection: &mut Connection, server: &ServerIdentity) -> Result<(), Error> {
    connection.query::<()>(&cmd("FLUSHALL")).await?;
    if server.at_least(7, 0) {
        connection.query::<()>(cmd("FUNCTION").arg("FLUSH")).await?;
    }
    Ok(())
}

/// Whether a server supports everything that another one has, as far as can be known without reading it: its payloads
/// and its modules. Nothing is written to either.
pub async fn takes_all_of(target: &ConnectOptions, source: &ConnectOptions) -> Result<bool, Error> {
    let (_, capabilities, _) = asked(target).await?;
    let mut connection = Connection::open(source).await?;
    let source = identify(&mut connection, source).await?;
    // The source is only read, so its version is trusted.
    let (dialect, version) = source.target().rdb();
    let newest = capabilities.target.rdb();
    // Up to version 11 both forks write the same format.
    let payloads = (dialect == newest.0 || version <= 11) && version <= newest.1;
    let known = source.target().rdb().1 <= NEWEST_REDIS || dialect == Dialect::Valkey;
    let modules = capabilities::modules(&mut connection).await?;
    Ok(payloads && known && capabilities.no_restore.is_none() && capabilities.has_all_modules(&modules))
}
