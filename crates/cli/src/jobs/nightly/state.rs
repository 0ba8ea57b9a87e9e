//! The run state of a host: outcome of the last run, delivered notices, counts, and metrics. Everything that matters
//! for restoring is in the repository; if this file is lost or damaged, the next run starts a new one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::config::{Config, Secrets};
use crate::exit;
use crate::jobs::nightly::plausibility::SourceCounts;
use crate::metrics::Sample;

/// A larger file is not a state file.
const LARGEST: u64 = 64 << 20;

/// Outcome of the last run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LastRun {
    /// When it began.
    pub(crate) started_at: DateTime<Utc>,
    /// How long it took.
    pub(crate) seconds: f64,
    /// Its exit code.
    pub(crate) exit_code: u8,
    /// The error, as one sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) message: Option<String>,
}

/// Outcome of the last sample check.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct LastCheck {
    /// When.
    pub(crate) at: DateTime<Utc>,
    /// Whether the data that was read is intact.
    pub(crate) passed: bool,
}

/// Content of the state file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct State {
    /// The last backup run.
    pub(crate) backup: Option<LastRun>,
    /// The last rehearsal run.
    pub(crate) rehearsal: Option<LastRun>,
    /// The last sample check.
    pub(crate) check: Option<LastCheck>,
    /// The last run of either kind did not succeed.
    pub(crate) in_trouble: bool,
    /// Size of the repository, as of the last run that computed it.
    pub(crate) stored_bytes: Option<u64>,
    /// Counts of the newest snapshot, if its manifest cannot be read here.
    pub(crate) counted: SnapshotCounts,
    /// Time of the last delivery of each notice.
    #[serde(rename = "told")]
    pub(crate) last_sent: BTreeMap<String, DateTime<Utc>>,
    /// Metrics of the last run.
    pub(crate) samples: Vec<Sample>,
}

/// Counts of a snapshot.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(crate) struct SnapshotCounts {
    /// Id of the snapshot.
    pub(crate) snapshot: String,
    /// Counts by source.
    pub(crate) sources: BTreeMap<String, SourceCounts>,
}

impl State {
    /// Reads the file; an empty state if there is none. The second value is the reason why a file could not be used.
    pub(crate) fn read(path: &Path) -> (State, Option<String>) {
        let ignored = |why: String| {
            (State::default(), Some(format!("the run state {} is ignored: {why}", path.display())))
        };
        let bytes = match std::fs::metadata(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return (State::default(), None),
            Ok(file) if file.len() > LARGEST => return ignored("it is too large".to_owned()),
            Err(error) => return ignored(error.to_string()),
            Ok(_) => std::fs::read(path),
        };
        let parsed = bytes
            .map_err(|error| error.to_string())
            .and_then(|bytes| serde_json::from_slice(&bytes).map_err(|error| error.to_string()));
        parsed.map_or_else(ignored, |state| (state, None))
    }

    /// Replaces the file atomically.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer_pretty(&mut file, self)?;
        file.as_file().sync_all()?;
        file.persist(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(())
    }
}

/// The state folder: the configured one, that of the systemd unit, or the user's.
pub(crate) fn folder(config: &Config, environment: &Secrets) -> anyhow::Result<PathBuf> {
    if let Some(folder) = &config.nightly.state_dir {
        return Ok(config.folder.join(folder));
    }
    if let Some(folders) = environment.get("STATE_DIRECTORY") {
        return Ok(PathBuf::from(folders.split(':').next().unwrap_or(folders)));
    }
    let absolute = |name: &str| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let user = absolute("XDG_STATE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
    user.map(|folder| folder.join("dbhaul")).ok_or_else(|| {
        exit::usage("there is no folder for the lock and the run state: set `state-dir` of `[nightly]`")
    })
}

/// A job id as a file name: everything but letters, digits, `.`, `_` and `-` is written as `%XX`.
pub(crate) fn file_name(job: &str, extension: &str) -> String {
    let mut name = String::new();
    for (at, byte) in job.bytes().enumerate() {
        match byte {
            b'.' if at == 0 => name.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'_' | b'-' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    format!("{name}.{extension}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_reported_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(file_name("app/../x", "json"));
        assert_eq!(path.file_name().unwrap(), "app%2F..%2Fx.json");
        assert!(State::read(&path).1.is_none());
        let state = State { in_trouble: true, ..State::default() };
        state.write(&path).unwrap();
        assert!(State::read(&path).0.in_trouble);
        for damaged in ["", "{", "3", "{\"told\": 3}"] {
            std::fs::write(&path, damaged).unwrap();
            let (state, warning) = State::read(&path);
            assert!(!state.in_trouble && warning.unwrap().contains("is ignored"), "{damaged}");
        }
        // A later version may have added keys.
        std::fs::write(&path, "{\"in-trouble\": true, \"more\": {}}").unwrap();
        assert!(State::read(&path).0.in_trouble);
    }

    #[test]
    fn the_folder_is_the_configured_one_or_the_units_or_the_users() {
        let mut config = Config { folder: PathBuf::from("/etc/dbhaul"), ..Config::default() };
        let of = |config: &Config, pairs: &[(&str, &str)]| folder(config, &Secrets::of(pairs));
        assert_eq!(of(&config, &[("HOME", "/h")]).unwrap(), Path::new("/h/.local/state/dbhaul"));
        let unit = [("HOME", "/h"), ("STATE_DIRECTORY", "/var/lib/dbhaul:/x")];
        assert_eq!(of(&config, &unit).unwrap(), Path::new("/var/lib/dbhaul"));
        assert!(of(&config, &[]).is_err());
        config.nightly.state_dir = Some("state".into());
        assert_eq!(of(&config, &[]).unwrap(), Path::new("/etc/dbhaul/state"));
    }
}
