//! How a server is restored into: how to handle existing keys, which keys, how fast.

use serde::Serialize;

use super::choice::KeyChoice;

/// Commands are sent when about this many bytes are ready.
pub(super) const BATCH: usize = 64 << 10;

/// How a server is restored into.
#[derive(Debug, Clone)]
pub struct RestoreOptions {
    /// Refuse the server with this run id: the source itself.
    pub not_this_run: Option<String>,
    /// Number of connections that write concurrently.
    pub connections: usize,
    /// How to handle existing keys.
    pub on_existing: OnExisting,
    /// Empty the whole server first. It must be named by the address at which it is reached, `host:port`.
    pub flush: Option<String>,
    /// Which keys, and how they are renamed and expire.
    pub choice: KeyChoice,
    /// Maximum number of keys per second.
    pub rate: Option<u64>,
    /// Omit unsupported values instead of refusing.
    pub skip_unsupported: bool,
    /// Try RDB versions newer than the supported ones.
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
    /// The first error reply ends the replay. Servers ignore error replies while they load a file. So does a replay
    /// without this option, if the server that wrote the file would have received the same error.
    pub strict: bool,
    /// The base of undated relative expiries.
    pub expiry_base: ExpiryBase,
}

/// The base of an expiry that the file states relative to an unknown time: servers before 4.0 write `SET key value EX
/// seconds` as they received it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExpiryBase {
    /// The last modification time of the file.
    #[default]
    FileTime,
    /// The target's clock at the start of the replay, as servers do when they load the file.
    Now,
    /// This time, in milliseconds since the epoch.
    At(i64),
}

/// How to handle keys that a server already holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnExisting {
    /// The server must be empty.
    #[default]
    Refuse,
    /// Keys of the same name are replaced; all others are kept.
    Replace,
    /// Keys of the same name are kept, and the restored key is skipped.
    Skip,
}
