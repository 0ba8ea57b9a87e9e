//! The identity of the server that answered.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The server that was reached. Reports and confirmations name it, because one host and port may lead to different
/// servers at different times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ServerIdentity {
    /// The version as the server prints it, such as `15.18 (Debian 15.18-0+deb12u1)`.
    pub version: String,
    /// The version as a number, such as 150018.
    pub version_num: u32,
    /// The system identifier that initdb assigned to the cluster; `None` if the role may not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_identifier: Option<String>,
    /// The host as given in the connection parameters.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The database.
    pub database: String,
    /// The role.
    pub user: String,
    /// The database's encoding.
    pub encoding: String,
    /// True on a standby.
    pub in_recovery: bool,
    /// What a dialer connected through, such as a pod with its UID.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<String>,
    /// When the server was started, to the microsecond. Readable by roles that may not read the identifier.
    #[serde(skip)]
    pub(super) started: Option<String>,
}

impl ServerIdentity {
    /// The major version, such as 15.
    pub fn major(&self) -> u32 {
        self.version_num / 10_000
    }

    /// True when both are the same database of the same cluster, whatever address was used.
    pub fn same_database(&self, other: &ServerIdentity) -> bool {
        let same_cluster = match (&self.system_identifier, &other.system_identifier) {
            (Some(a), Some(b)) => a == b,
            _ => match (&self.started, &other.started) {
                (Some(a), Some(b)) => a == b,
                _ => (&self.host, self.port, &self.via) == (&other.host, other.port, &other.via),
            },
        };
        same_cluster && self.database == other.database
    }
}

impl fmt::Display for ServerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.version.split_whitespace().next().unwrap_or_default();
        write!(f, "PostgreSQL {version} at {}:{}, database {}", self.host, self.port, self.database)?;
        if let Some(identifier) = &self.system_identifier {
            write!(f, ", system {identifier}")?;
        }
        match &self.via {
            Some(via) => write!(f, ", {via}"),
            None => Ok(()),
        }
    }
}
