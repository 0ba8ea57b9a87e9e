//! How a server is filled: what to do with what it holds, which keys, how fast.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// Which keys, and into which databases.
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

/// Which keys are meant, and the databases that they go to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct KeyChoice {
    /// Only keys whose names match one of these patterns, as KEYS and SCAN read them: `*`, `?`, `[a-c]`, `\`.
    pub include: Vec<String>,
    /// No keys whose names match one of these.
    pub exclude: Vec<String>,
    /// Databases that change their number: from, to.
    pub databases: BTreeMap<u64, u64>,
}

impl KeyChoice {
    /// Whether every key is meant, in its own database.
    pub fn is_all(&self) -> bool {
        *self == KeyChoice::default()
    }

    /// Whether a key is meant.
    pub fn wants(&self, name: &[u8]) -> bool {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| glob(pattern.as_bytes(), name));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }

    /// The database that a key of database `db` goes to.
    pub fn database(&self, db: u64) -> u64 {
        self.databases.get(&db).copied().unwrap_or(db)
    }
}

/// Matches as the server does (`util.c`, `stringmatchlen`), without recursion: the last star is tried again one byte on.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        let one = match (pattern.get(p), text.get(t)) {
            (Some(b'*'), _) => {
                star = Some((p, t));
                p += 1;
                continue;
            }
            (Some(_), Some(byte)) => one(pattern, p, *byte),
            _ => None,
        };
        match (one, star) {
            (Some(next), _) => {
                p = next;
                t += 1;
            }
            (None, Some((at, from))) => {
                star = Some((at, from + 1));
                p = at + 1;
                t = from + 1;
            }
            (None, None) => return false,
        }
    }
    pattern.get(p..).is_some_and(|rest| rest.iter().all(|byte| *byte == b'*'))
}

/// Where the pattern goes on when the piece of it at `at` stands for this byte.
fn one(pattern: &[u8], at: usize, byte: u8) -> Option<usize> {
    match pattern.get(at)? {
        b'?' => Some(at + 1),
        b'\\' => match pattern.get(at + 1) {
            Some(escaped) => (*escaped == byte).then_some(at + 2),
            None => (byte == b'\\').then_some(at + 1),
        },
        b'[' => {
            let (mut i, mut found) = (at + 1, false);
            let not = pattern.get(i) == Some(&b'^');
            i += usize::from(not);
            loop {
                match (pattern.get(i), pattern.get(i + 1), pattern.get(i + 2)) {
                    (Some(b'\\'), Some(escaped), _) => {
                        found |= *escaped == byte;
                        i += 2;
                    }
                    (Some(b']'), ..) => break,
                    (Some(low), Some(b'-'), Some(high)) => {
                        found |= (*low.min(high)..=*low.max(high)).contains(&byte);
                        i += 3;
                    }
                    (Some(single), ..) => {
                        found |= *single == byte;
                        i += 1;
                    }
                    // A class that is not closed ends with the pattern.
                    (None, ..) => break,
                }
            }
            (found != not).then_some((i + 1).min(pattern.len()))
        }
        literal => (*literal == byte).then_some(at + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_the_server_reads_them() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("bot:*", "bot:status", true),
            ("bot:*", "both", false),
            ("*:*:hwm", "position:KRW-BTC:hwm", true),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("a\\*", "a*", true),
            ("a\\*", "ab", false),
            ("[", "[", false),
            ("a[b", "ab", true),
            ("", "", true),
            ("", "a", false),
            ("**a**", "bab", true),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} on {text}");
        }
    }

    #[test]
    fn a_choice_excludes_after_it_includes() {
        let choice = KeyChoice {
            include: vec!["bot:*".into()],
            exclude: vec!["*:tmp".into()],
            databases: [(0, 3)].into(),
        };
        assert!(choice.wants(b"bot:x") && !choice.wants(b"bot:tmp") && !choice.wants(b"x"));
        assert_eq!((choice.database(0), choice.database(1)), (3, 1));
    }
}
