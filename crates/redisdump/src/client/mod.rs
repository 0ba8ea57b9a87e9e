//! Connections to a server: URL and TLS, RESP, identity, ACL.

pub(crate) mod acl;
pub(crate) mod address;
pub(crate) mod connection;
pub(crate) mod databases;
pub(crate) mod dialer;
pub(crate) mod identity;
pub(crate) mod idle_timeout;
pub(crate) mod lineage;
pub(crate) mod names;
mod open;
pub(crate) mod options;
pub(crate) mod preflight;
pub(crate) mod resp;
pub(crate) mod sentinel;
pub(crate) mod text;
pub(crate) mod tls;
pub(crate) mod wire;
pub(crate) mod write_position;
