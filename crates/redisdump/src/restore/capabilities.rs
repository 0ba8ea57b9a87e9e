//! What a server takes, found out by asking it: a version string may be a proxy's, a fork's or a service's.
//!
//! RESTORE looks at a payload's stamp before it looks at anything else in it, so that a payload with a type byte that no
//! version has tells which stamps are taken, and is refused in any case: nothing is written.

use std::hash::{BuildHasher as _, RandomState};

use super::dry_run::{DryRun, unordered};
use crate::client::identity::setting;
use crate::client::wire::{Connection, Reply, command};
use crate::cluster::{Tags, Topology};
use crate::convert::commands::Target;
use crate::rdb::{Dialect, NEWEST_REDIS, NEWEST_VALKEY, dump};
use crate::{Error, ServerIdentity};

/// A type byte that no server ever had.
const NO_TYPE: u8 = 8;
const OPERATION: &str = "asking which payloads it takes (RESTORE)";

/// What a server takes.
#[derive(Debug, Clone)]
pub(super) struct Capabilities {
    /// What values are put into form for: the server's version where the answers fit it, else the oldest that they fit.
    pub(super) target: Target,
    /// Its words, where it lets us RESTORE nothing: values are told by commands then.
    pub(super) no_restore: Option<String>,
    /// The longest argument that it takes (`proto-max-bulk-len`), in bytes.
    pub(super) longest: u64,
    /// How many databases it has, where it says that.
    pub(super) databases: Option<u64>,
    /// It looks closely at payloads (`sanitize-dump-payload`, and Valkey from 9.1 on in any case), and refuses some that others
    /// load.
    pub(super) sanitizes: bool,
    /// The modules that it has loaded, in lower case.
    modules: Vec<String>,
}

impl Capabilities {
    /// Asks the server. Nothing is written.
    pub(super) async fn ask(
        connection: &mut Connection,
        server: &ServerIdentity,
    ) -> Result<Capabilities, Error> {
        /// What `proto-max-bulk-len` is where nobody has changed it.
        const USUAL: u64 = 512 << 20;
        let number = |said: Option<String>| said.and_then(|number| number.parse().ok());
        let longest = setting(connection, "proto-max-bulk-len").await?.ok().flatten();
        // Nodes of clusters have one database, but where Valkey 9 is told otherwise.
        let name = if server.cluster { "cluster-databases" } else { "databases" };
        let databases = setting(connection, name).await?.ok().flatten();
        let tag = if server.cluster { own_tag(connection).await? } else { None };
        let (rdb, no_restore) = match stamps(connection, tag).await? {
            Ok(Some(newest)) => (newest, None),
            Ok(None) => (server.target().rdb(), Some("it takes no payload that is known here".to_owned())),
            Err(words) => (server.target().rdb(), Some(words)),
        };
        let dry_run = DryRun::of(connection, server).await?;
        let sanitizes = no_restore.is_none() && dry_run.refuses(connection, &unordered()).await?.is_some();
        Ok(Capabilities {
            target: server.target().taking(rdb),
            sanitizes,
            no_restore,
            longest: number(longest).unwrap_or(USUAL),
            databases: number(databases).or(server.cluster.then_some(1)),
            modules: modules(connection).await?,
        })
    }

    /// What both take: of two nodes of a cluster.
    pub(super) fn least(mut self, mut other: Capabilities) -> Capabilities {
        let modules = std::mem::take(&mut self.modules);
        let other_modules = std::mem::take(&mut other.modules);
        let (longest, databases) = (self.longest.min(other.longest), self.databases.min(other.databases));
        let older = match other.target.rdb().1 < self.target.rdb().1 {
            true => other.target,
            false => self.target,
        };
        Capabilities {
            target: older,
            no_restore: self.no_restore.or(other.no_restore),
            longest,
            databases,
            sanitizes: self.sanitizes || other.sanitizes,
            modules: modules.into_iter().filter(|module| other_modules.contains(module)).collect(),
        }
    }

    /// Whether a module that knows values of this type is loaded.
    pub(super) fn has_module(&self, module_type: &str) -> bool {
        let of_type = module_type.to_lowercase();
        let known = modules_of(module_type);
        self.modules.iter().any(|module| match known {
            // Most types begin as their module is called.
            [] => module.len() >= 3 && of_type.starts_with(module.as_str()),
            known => known.contains(&module.as_str()),
        })
    }

    /// Whether it has each of these modules.
    pub(super) fn has_all_modules(&self, others: &[String]) -> bool {
        others.iter().all(|module| self.modules.contains(module))
    }
}

/// Types of values and the modules that know them, where the names do not tell.
const KNOWN: &[(&str, &[&str])] = &[
    ("rejson-rl", &["rejson", "json"]),
    ("tsdb-type", &["timeseries"]),
    ("mbbloom--", &["bf"]),
    ("mbbloomcf", &["bf"]),
    ("cmsk-type", &["bf"]),
    ("topk-type", &["bf"]),
    ("tdis-type", &["bf"]),
    ("bloomfltr", &["bf"]),
    ("graphdata", &["graph"]),
    ("graphmeta", &["graph"]),
    ("ft_index0", &["search", "ft"]),
    ("trietype0", &["search", "ft"]),
];

/// The modules, in lower case, any of which knows values of this type; nothing where that is not known.
pub(crate) fn modules_of(module_type: &str) -> &'static [&'static str] {
    let of_type = module_type.to_lowercase();
    KNOWN.iter().find(|(name, _)| *name == of_type).map_or(&[], |(_, modules)| modules)
}

/// The newest stamp that RESTORE takes, or the server's words if it lets us RESTORE nothing.
async fn stamps(
    connection: &mut Connection,
    tag: Option<String>,
) -> Result<Result<Option<(Dialect, u16)>, String>, Error> {
    // A name that nobody has: a key that is there would be told before the stamp is looked at.
    let mut name = format!("dbhaul:no-such-key:{:016x}", RandomState::new().hash_one(0_u8));
    if let Some(tag) = tag {
        name.push_str(&format!(":{{{tag}}}"));
    }
    let stamps: Vec<u16> = std::iter::once(NEWEST_VALKEY).chain((6..=NEWEST_REDIS).rev()).collect();
    let mut out = Vec::new();
    for stamp in &stamps {
        let mut payload = vec![NO_TYPE];
        dump::seal(&mut payload, 0, *stamp);
        command(&mut out, &[b"RESTORE", name.as_bytes(), b"0", &payload]);
    }
    connection.writer.send(&out, OPERATION).await?;
    let mut newest = None;
    let mut refused = None;
    for stamp in stamps {
        match connection.reader.reply(OPERATION).await? {
            Reply::Error(words) if words.contains("version or checksum") => {}
            Reply::Error(words) if words.to_lowercase().contains("bad data format") => {
                newest.get_or_insert((dump::dialect(stamp), stamp));
            }
            Reply::Error(words) => refused = Some(words),
            // A server that takes anything has no such rule, and whatever it made of it is not ours to keep.
            _ => {
                newest.get_or_insert((dump::dialect(stamp), stamp));
            }
        }
    }
    Ok(match (newest, refused) {
        (None, Some(words)) => Err(words),
        (newest, _) => Ok(newest),
    })
}

/// What a key's name must have for the node of a cluster to serve it.
pub(super) async fn own_tag(connection: &mut Connection) -> Result<Option<String>, Error> {
    let own = Topology::own_slots(connection).await?;
    Ok(own.and_then(|slots| slots.first()).map(Tags::of))
}

/// The modules that a server has loaded, in lower case; none where it does not say.
pub(super) async fn modules(connection: &mut Connection) -> Result<Vec<String>, Error> {
    let Reply::Array(modules) = connection.ask_raw(&[b"MODULE", b"LIST"]).await? else {
        return Ok(Vec::new());
    };
    let name = |module: &Reply| {
        let Reply::Array(fields) = module else { return None };
        let at = fields.iter().position(|field| field.bytes() == Some(b"name"))?;
        Some(String::from_utf8_lossy(fields.get(at + 1)?.bytes()?).to_lowercase())
    };
    Ok(modules.iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_belong_to_modules_by_name_or_by_what_is_known() {
        let modules = ["bf", "rejson", "timeseries", "vectorset", "search"].map(str::to_owned).to_vec();
        let target = Target::redis(8, 2);
        let mut capabilities =
            Capabilities { target, no_restore: None, longest: 1, databases: None, sanitizes: false, modules };
        for known in ["MBbloom--", "MBbloomCF", "TDIS-TYPE", "ReJSON-RL", "TSDB-TYPE", "vectorset"] {
            assert!(capabilities.has_module(known), "{known}");
        }
        assert!(!capabilities.has_module("graphdata") && !capabilities.has_module("value-mod"));
        capabilities.modules = vec!["value".to_owned()];
        assert!(capabilities.has_module("value-mod") && !capabilities.has_module("ReJSON-RL"));
    }

    #[test]
    fn a_version_is_believed_where_its_answers_fit() {
        let taking = |text: &str, rdb| text.parse::<Target>().unwrap().taking(rdb).to_string();
        assert_eq!(taking("6.2", (Dialect::Redis, 9)), "Redis 6.2");
        // A proxy that calls itself older than what stands behind it, and a fork that calls itself newer.
        assert_eq!(taking("2.8", (Dialect::Redis, 12)), "Redis 7.4");
        assert_eq!(taking("7.4", (Dialect::Redis, 9)), "Redis 5.0");
        assert_eq!(taking("7.2", (Dialect::Valkey, 80)), "Valkey 9.0");
    }
}
