//! How a server is filled: what to do with what it holds, which keys, how fast.

use serde::Serialize;

use super::choice::KeyChoice;

/// Commands are sent when about so many bytes are ready.
pub(super) const BATCH: usize = 64 << 10;

/// How a server is filled.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Refuse the server with this run id: the source itself.
    pub not_this_run: Option<String>,
    /// Connections that write at the same time.
    pub connections: usize,
    /// What to do with what the server holds already.
    pub on_existing: OnExisting,
    /// Empty the whole server first. It must be named: by the address at which it is reached, `host:port`.
    pub flush: Option<String>,
    /// Which keys, and as what they arrive.
    pub choice: KeyChoice,
    /// Keys a second, at the most.
    pub rate: Option<u64>,
    /// Leave out what the server cannot hold, instead of refusing.
    pub skip_unsupported: bool,
    /// Try RDB versions that are newer than those known here.
    pub try_newer: bool,
    /// How the commands of an append-only file are replayed.
    pub replay: ReplayOptions,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        RestoreOptions {
            not_this_run: None,
            connections: 4,
            on_existing: OnExisting::Refuse,
            flush: None,
            choice: KeyChoice::default(),
            rate: None,
            skip_unsupported: false,
            try_newer: false,
            replay: ReplayOptions::default(),
        }
    }
}

/// How the commands of an append-only file are replayed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReplayOptions {
    /// The first error reply ends the replay. Servers ignore error replies while they load, and so does a replay without
    /// this, as far as the server that wrote the file would have got the same one.
    pub strict: bool,
    /// What undated relative expiries are counted from.
    pub expiry_base: ExpiryBase,
}

/// What an expiry is counted from that the file states relative to a moment which it does not state: servers before 4.0
/// write `SET key value EX seconds` as they are told it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExpiryBase {
    /// The time at which the file was modified last.
    #[default]
    FileTime,
    /// The target's clock at the beginning of the replay, as servers do when they load the file.
    Now,
    /// This moment, in milliseconds since the epoch.
    At(i64),
}

/// What to do with what a server holds already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnExisting {
    /// It must be empty.
    #[default]
    Refuse,
    /// What has the name of a key that comes is replaced; all else stays.
    Replace,
    /// What has the name of a key that comes stays, and the key is left out.
    Skip,
}
