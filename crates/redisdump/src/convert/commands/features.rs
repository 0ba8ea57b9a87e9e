//! The capabilities of server versions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::rdb::Dialect;

/// The fork and version of a server for which values are converted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    /// The fork.
    pub flavor: Dialect,
    /// The major version.
    pub major: u32,
    /// The minor version.
    pub minor: u32,
}

impl Target {
    /// Redis with this version.
    pub const fn redis(major: u32, minor: u32) -> Target {
        Target { flavor: Dialect::Redis, major, minor }
    }

    /// Valkey with this version.
    pub const fn valkey(major: u32, minor: u32) -> Target {
        Target { flavor: Dialect::Valkey, major, minor }
    }

    fn at_least(self, redis: (u32, u32), valkey: (u32, u32)) -> bool {
        let since = if self.flavor == Dialect::Redis { redis } else { valkey };
        (self.major, self.minor) >= since
    }

    /// The commands that it supports.
    pub fn features(self) -> Features {
        // Valkey starts with the features of Redis 7.2.
        let since = |redis| self.at_least(redis, (0, 0));
        Features {
            many_fields: since((4, 0)),
            streams: since((5, 0)),
            create_consumer: since((6, 2)),
            stream_counters: since((7, 0)),
            functions: since((7, 0)),
            field_expiry: self.at_least((7, 4), (9, 0)),
        }
    }

    /// The dialect and version of the RDBs that it writes (`RDB_VERSION` in its `rdb.h`), which are the newest that it
    /// loads. Versions later than the known ones are assumed to load what the last known one does.
    pub fn rdb(self) -> (Dialect, u16) {
        let known = if self.flavor == Dialect::Valkey { VALKEY } else { REDIS };
        let reached = known.iter().rev().find(|(since, ..)| (self.major, self.minor) >= *since);
        reached.map_or((Dialect::Redis, 6), |(_, dialect, version)| (*dialect, *version))
    }

    /// The target that loads RDBs up to this one: itself if possible, or else the oldest version that loads exactly
    /// those.
    #[must_use]
    pub fn taking(self, rdb: (Dialect, u16)) -> Target {
        if self.rdb() == rdb {
            return self;
        }
        let (flavor, known) = match rdb.0 {
            Dialect::Valkey => (Dialect::Valkey, VALKEY),
            Dialect::Redis => (Dialect::Redis, REDIS),
        };
        let oldest = known.iter().find(|(_, dialect, version)| (*dialect, *version) == rdb);
        oldest.map_or(self, |((major, minor), ..)| Target { flavor, major: *major, minor: *minor })
    }
}

/// The first server version with an RDB version.
type Since = ((u32, u32), Dialect, u16);
const VALKEY: &[Since] = &[((7, 2), Dialect::Redis, 11), ((9, 0), Dialect::Valkey, 80)];
const REDIS: &[Since] = &[
    ((2, 6), Dialect::Redis, 6),
    ((3, 2), Dialect::Redis, 7),
    ((4, 0), Dialect::Redis, 8),
    ((5, 0), Dialect::Redis, 9),
    ((7, 0), Dialect::Redis, 10),
    ((7, 2), Dialect::Redis, 11),
    ((7, 4), Dialect::Redis, 12),
    ((8, 6), Dialect::Redis, 13),
    ((8, 8), Dialect::Redis, 14),
    ((8, 10), Dialect::Redis, 15),
];

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.flavor == Dialect::Valkey { "Valkey" } else { "Redis" };
        write!(f, "{name} {}.{}", self.major, self.minor)
    }
}

impl FromStr for Target {
    type Err = String;

    /// Parses `6.2`, `7`, `redis-7.2.5`, `valkey-9`, and the output of [`Display`](fmt::Display).
    fn from_str(text: &str) -> Result<Target, String> {
        let lower = text.trim().to_ascii_lowercase();
        let (flavor, number) = match lower.split_once(['-', ' ']) {
            Some(("redis", number)) => (Dialect::Redis, number),
            Some(("valkey", number)) => (Dialect::Valkey, number),
            _ => (Dialect::Redis, lower.as_str()),
        };
        let mut numbers = number.splitn(3, '.').map(|n| n.parse::<u32>().ok());
        let first = |n: Option<Option<u32>>| n.unwrap_or(Some(0));
        match (numbers.next().flatten(), first(numbers.next())) {
            (Some(major), Some(minor)) if (2..100).contains(&major) => Ok(Target { flavor, major, minor }),
            _ => Err(format!("{text:?} is not a server version: expected a form like 6.2 or valkey-9")),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = String;

    fn try_from(text: String) -> Result<Target, String> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.to_string()
    }
}

/// The commands that a server supports. [`Target::features`] derives them from the version; probing may be more
/// accurate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a feature of its own, probed by itself")]
pub struct Features {
    /// `HSET` with several fields (4.0); `HMSET` before.
    pub many_fields: bool,
    /// Streams (5.0).
    pub streams: bool,
    /// `XGROUP CREATECONSUMER` (6.2); before, reading as a consumer creates it.
    pub create_consumer: bool,
    /// `ENTRIESADDED`, `MAXDELETEDID` of `XSETID`, and `ENTRIESREAD` of `XGROUP` (7.0).
    pub stream_counters: bool,
    /// `FUNCTION LOAD` (7.0).
    pub functions: bool,
    /// `HPEXPIREAT` (Redis 7.4, Valkey 9.0).
    pub field_expiry: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_in_every_form() {
        let read = |text: &str| text.parse::<Target>();
        assert_eq!(read("6.2"), Ok(Target::redis(6, 2)));
        assert_eq!(read("redis-7.2.5"), Ok(Target::redis(7, 2)));
        assert_eq!(read("7"), Ok(Target::redis(7, 0)));
        assert_eq!(read("valkey-9"), Ok(Target::valkey(9, 0)));
        assert_eq!(read(&Target::valkey(8, 1).to_string()), Ok(Target::valkey(8, 1)));
        for bad in ["", "latest", "1.2", "6.x", "dragonfly-1.2", "-6"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn each_version_loads_its_own_rdb() {
        let rdb = |text: &str| text.parse::<Target>().unwrap().rdb();
        for (version, rdb_version) in [
            ("3.0", 6),
            ("3.2", 7),
            ("4.0", 8),
            ("5.0", 9),
            ("6.2", 9),
            ("7.0", 10),
            ("7.2", 11),
            ("7.4", 12),
        ] {
            assert_eq!(rdb(version), (Dialect::Redis, rdb_version), "{version}");
        }
        assert_eq!(rdb("8.2"), (Dialect::Redis, 12));
        assert_eq!(rdb("8.6"), (Dialect::Redis, 13));
        assert_eq!((rdb("8.8"), rdb("8.10")), ((Dialect::Redis, 14), (Dialect::Redis, 15)));
        assert_eq!(rdb("valkey-8.1"), (Dialect::Redis, 11));
        assert_eq!(rdb("valkey-9"), (Dialect::Valkey, 80));
    }
}
