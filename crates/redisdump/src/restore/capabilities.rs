//! Capabilities of a server, found by asking it: the version string may be that of a proxy, a fork or a service.
//!
//! RESTORE checks the version stamp of a payload first. Payloads with a type byte that no version has reveal which
//! stamps are accepted, and are always refused: nothing is written.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};

use redis::{Value, cmd, from_redis_value};

use super::dry_run::{DryRun, unordered};
use crate::client::connection::Connection;
use crate::client::identity::setting;
use crate::client::text::Text;
use crate::cluster::{Tags, Topology};
use crate::convert::commands::Target;
use crate::rdb::{Dialect, NEWEST_REDIS, NEWEST_VALKEY, dump};
use crate::{Error, ServerIdentity};

/// A type byte that no server ever used.
const NO_TYPE: u8 = 8;
const OPERATION: &str = "testing which payloads it accepts (RESTORE)";

/// What a server accepts.
#[derive(Debug, Clone)]
pub(super) struct Capabilities {
    /// The format of the values: the server's version if its answers match it, otherwise the oldest version that they
    /// match.
    pub(super) target: Target,
    /// The server's error message if it refuses every RESTORE. Values are then sent as commands.
    pub(super) no_restore: Option<String>,
    /// The longest argument that it accepts (`proto-max-bulk-len`), in bytes.
    pub(super) longest: u64,
    /// The number of databases, if the server reveals it.
    pub(super) databases: Option<u64>,
    /// The server validates payloads (`sanitize-dump-payload`; Valkey from 9.1 on always), and refuses some that others
    /// load.
    pub(super) sanitizes: bool,
    /// The loaded modules, in lower case.
    modules: Vec<String>,
}

impl Capabilities {
    /// Queries the server. Nothing is written.
    pub(super) async fn ask(
        connection: &mut Connection,
        server: &ServerIdentity,
    ) -> Result<Capabilities, Error> {
        /// The default of `proto-max-bulk-len`.
        const USUAL: u64 = 512 << 20;
        let number = |text: Option<String>| text.and_then(|number| number.parse().ok());
        let longest = setting(connection, "proto-max-bulk-len").await?.ok().flatten();
        // Cluster nodes have one database, unless Valkey 9 is configured otherwise.
        let name = if server.cluster { "cluster-databases" } else { "databases" };
        let databases = setting(connection, name).await?.ok().flatten();
        let tag = if server.cluster { own_tag(connection).await? } else { None };
        let (rdb, no_restore) = match stamps(connection, tag).await? {
            Ok(Some(newest)) => (newest, None),
            Ok(None) => (server.target().rdb(), Some("it accepts no supported payload version".to_owned())),
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

    /// What both of two cluster nodes accept.
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

    /// Whether a module that implements this value type is loaded.
    pub(super) fn has_module(&self, module_type: &str) -> bool {
        let of_type = module_type.to_lowercase();
        let known = modules_of(module_type);
        self.modules.iter().any(|module| match known {
            // Most type names begin with the module's name.
            [] => module.len() >= 3 && of_type.starts_with(module.as_str()),
            known => known.contains(&module.as_str()),
        })
    }

    /// Whether it has all of these modules.
    pub(super) fn has_all_modules(&self, others: &[String]) -> bool {
        others.iter().all(|module| self.modules.contains(module))
    }
}

/// Value types and the modules that implement them, where the names do not match.
const MODULES: &[(&str, &[&str])] = &[
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

/// The modules, in lower case, any of which implements this value type; empty if unknown.
pub(crate) fn modules_of(module_type: &str) -> &'static [&'static str] {
    let of_type = module_type.to_lowercase();
    MODULES.iter().find(|(name, _)| *name == of_type).map_or(&[], |(_, modules)| modules)
}

/// The newest version stamp that RESTORE accepts, or the server's error message if it refuses every RESTORE.
async fn stamps(
    connection: &mut Connection,
    tag: Option<String>,
) -> Result<Result<Option<(Dialect, u16)>, String>, Error> {
    // The name of a key that does not exist: an existing key would be reported before the stamp is checked.
    let mut name = format!("dbhaul:no-such-key:{:016x}", RandomState::new().hash_one(0_u8));
    if let Some(tag) = tag {
        name.push_str(&format!(":{{{tag}}}"));
    }
    let stamps: Vec<u16> = std::iter::once(NEWEST_VALKEY).chain((6..=NEWEST_REDIS).rev()).collect();
    let mut pipeline = redis::pipe();
    for stamp in &stamps {
        let mut payload = vec![NO_TYPE];
        dump::seal(&mut payload, 0, *stamp);
        pipeline.cmd("RESTORE").arg(&name).arg(0).arg(payload);
    }
    let replies = connection.query_all(&pipeline, OPERATION).await?;
    let mut newest = None;
    let mut refused = None;
    for (stamp, reply) in stamps.into_iter().zip(replies) {
        match reply {
            Err(words) if words.contains("version or checksum") => {}
            Err(words) if words.to_lowercase().contains("bad data format") => {
                newest.get_or_insert((dump::dialect(stamp), stamp));
            }
            Err(words) => refused = Some(words),
            // A server that accepts anything has no such rule. If it created a key, that key is not deleted here.
            Ok(_) => {
                newest.get_or_insert((dump::dialect(stamp), stamp));
            }
        }
    }
    Ok(match (newest, refused) {
        (None, Some(words)) => Err(words),
        (newest, _) => Ok(newest),
    })
}

/// The hash tag that a key's name needs for this cluster node to serve it.
pub(super) async fn own_tag(connection: &mut Connection) -> Result<Option<String>, Error> {
    let own = Topology::own_slots(connection).await?;
    Ok(own.and_then(|slots| slots.first()).map(Tags::of))
}

/// The modules that a server has loaded, in lower case; empty if it does not reveal them.
pub(super) async fn modules(connection: &mut Connection) -> Result<Vec<String>, Error> {
    let modules: Option<Vec<HashMap<String, Value>>> =
        connection.query_optional(cmd("MODULE").arg("LIST")).await?;
    let name = |mut module: HashMap<String, Value>| {
        let name: Text = from_redis_value(module.remove("name")?).ok()?;
        Some(name.0.to_lowercase())
    };
    Ok(modules.unwrap_or_default().into_iter().filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_assigned_to_modules_by_name_or_by_known_ids() {
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
        // A proxy that reports an older version than the server behind it, and a fork that reports a newer one.
        assert_eq!(taking("2.8", (Dialect::Redis, 12)), "Redis 7.4");
        assert_eq!(taking("7.4", (Dialect::Redis, 9)), "Redis 5.0");
        assert_eq!(taking("7.2", (Dialect::Valkey, 80)), "Valkey 9.0");
    }
}
