//! The configuration file: its types, and validation.
//!
//! Everything is optional: each command also works from flags alone. The file is TOML with kebab-case keys; an
//! unknown key is an error that names the line and the nearest known key. [`keys`] documents the keys.

mod error;
mod exposed;
pub(crate) mod keys;
mod nightly;
mod nightly_keys;
mod rehearse;
mod secret;
mod template;
pub(crate) mod units;
mod zone;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub(crate) use error::ConfigError;
pub(crate) use nightly::{ChannelKind, MetricsConfig, NightlyConfig, NotifyConfig, Occasion};
pub(crate) use rehearse::{RehearseConfig, SandboxConfig, SandboxKind};
pub(crate) use secret::{Secrets, expand};
pub(crate) use template::template;
pub(crate) use zone::parse_zone;

/// The name of a configuration file.
pub(crate) const DEFAULT_FILE: &str = "dbhaul.toml";

/// Paths where a configuration is searched if none is named; the first that exists is read. `variable` looks up an
/// environment variable.
pub(crate) fn places(variable: impl Fn(&str) -> Option<PathBuf>) -> Vec<PathBuf> {
    // The XDG base directory specification says to ignore relative paths.
    let user = variable("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| variable("HOME").map(|home| home.join(".config")));
    let folders = user.into_iter().chain([PathBuf::from("/etc")]);
    let named = folders.map(|folder| folder.join("dbhaul").join(DEFAULT_FILE));
    std::iter::once(PathBuf::from(DEFAULT_FILE)).chain(named).collect()
}

/// A whole configuration file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct Config {
    /// The backup job. Its id is the series that retention counts.
    pub(crate) job: JobConfig,
    /// Where backups go.
    pub(crate) repository: Option<RepositoryConfig>,
    /// What is backed up.
    #[serde(rename = "source")]
    pub(crate) sources: Vec<SourceConfig>,
    /// Which snapshots to keep.
    pub(crate) retention: Option<retention::Policy>,
    /// What the nightly run does besides the backup.
    pub(crate) nightly: NightlyConfig,
    /// Assertions and sandboxes of rehearsals.
    pub(crate) rehearse: RehearseConfig,
    /// Where to send notices.
    pub(crate) notify: Vec<NotifyConfig>,
    /// Where to write metrics.
    pub(crate) metrics: MetricsConfig,
    /// Folder of this file; relative paths start here.
    #[serde(skip)]
    pub(crate) folder: PathBuf,
    /// Path of this file.
    #[serde(skip)]
    pub(crate) file: PathBuf,
}

/// `[job]`
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct JobConfig {
    pub(crate) id: String,
    pub(crate) jobs: usize,
    pub(crate) rate_limit: Option<repository::Rate>,
}

impl Default for JobConfig {
    fn default() -> Self {
        JobConfig { id: "default".into(), jobs: 0, rate_limit: None }
    }
}

/// `[repository]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct RepositoryConfig {
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) key_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) identity_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) passphrase: Option<String>,
    #[serde(default)]
    pub(crate) passphrase_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) passphrase_command: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) compression_level: Option<i32>,
    #[serde(default)]
    pub(crate) limit_upload: Option<repository::Rate>,
    #[serde(default)]
    pub(crate) max_in_memory: Option<repository::ByteSize>,
}

/// Kind of a source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// One PostgreSQL database.
    Postgres,
    /// A whole Redis or Valkey server.
    Redis,
}

impl Kind {
    /// The kind as written in manifests and reports.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Postgres => "postgres",
            Kind::Redis => "redis",
        }
    }
}

/// `[[source]]`
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct SourceConfig {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    #[serde(default)]
    pub(crate) url: String,
    #[serde(default)]
    pub(crate) database: Option<String>,
    #[serde(default)]
    pub(crate) password: Option<String>,
    #[serde(default)]
    pub(crate) password_file: Option<PathBuf>,
    #[serde(default)]
    pub(crate) password_command: Option<Vec<String>>,
    #[serde(default)]
    pub(crate) baseline: Option<PathBuf>,
    #[serde(default)]
    pub(crate) environment: Option<String>,
    #[serde(default)]
    pub(crate) filter: Option<FilterConfig>,
    #[serde(default)]
    pub(crate) globals: bool,
    #[serde(default)]
    pub(crate) role_passwords: bool,
    #[serde(default)]
    pub(crate) capture: redisdump::CaptureMethod,
    #[serde(default)]
    pub(crate) with_acl: bool,
    #[serde(default)]
    pub(crate) data_dir: Option<PathBuf>,
    #[serde(default)]
    pub(crate) tls_cacert: Option<PathBuf>,
    #[serde(default)]
    pub(crate) tls_cert: Option<PathBuf>,
    #[serde(default)]
    pub(crate) tls_key: Option<PathBuf>,
}

/// `[source.filter]`: see [`pgmove::Filter`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub(crate) struct FilterConfig {
    schemas: Vec<String>,
    exclude_schemas: Vec<String>,
    tables: Vec<String>,
    exclude_tables: Vec<String>,
    exclude_table_data: Vec<String>,
    #[serde(rename = "where")]
    conditions: std::collections::BTreeMap<String, String>,
}

impl From<FilterConfig> for pgmove::Filter {
    fn from(config: FilterConfig) -> pgmove::Filter {
        pgmove::Filter {
            schemas: config.schemas,
            exclude_schemas: config.exclude_schemas,
            tables: config.tables,
            exclude_tables: config.exclude_tables,
            exclude_table_data: config.exclude_table_data,
            conditions: config.conditions,
            ..pgmove::Filter::default()
        }
    }
}

impl SourceConfig {
    /// A source with default settings.
    pub(crate) fn new(name: &str, kind: Kind, url: &str) -> SourceConfig {
        SourceConfig {
            name: name.to_owned(),
            kind,
            url: url.to_owned(),
            database: None,
            password: None,
            password_file: None,
            password_command: None,
            baseline: None,
            environment: None,
            filter: None,
            globals: false,
            role_passwords: false,
            capture: redisdump::CaptureMethod::Auto,
            with_acl: false,
            data_dir: None,
            tls_cacert: None,
            tls_cert: None,
            tls_key: None,
        }
    }

    /// Whether it represents every database of its server.
    pub(crate) fn every_database(&self) -> bool {
        self.database.as_deref() == Some("*")
    }

    /// The database of a source named `NAME/DATABASE`, if this source represents every database.
    pub(crate) fn database_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        let database = name.strip_prefix(&self.name)?.strip_prefix('/')?;
        Some(database).filter(|database| self.every_database() && !database.is_empty())
    }

    /// Whether a snapshot's source of this name belongs to this source.
    pub(crate) fn covers(&self, name: &str) -> bool {
        self.name == name || self.database_of(name).is_some()
    }

    /// Checks for keys that do not fit together.
    fn misplaced(&self) -> Option<String> {
        let of = |message: &str| Some(format!("source `{}` {message}", self.name));
        if self.url.is_empty() && self.data_dir.is_none() {
            return match self.kind {
                Kind::Postgres => of("has no url"),
                Kind::Redis => of("has neither url nor data-dir"),
            };
        }
        if self.with_acl && (self.kind != Kind::Redis || self.url.is_empty()) {
            return of("has with-acl, which requires kind redis and a url");
        }
        if self.kind != Kind::Postgres && self.database.is_some() {
            return of("is not of kind postgres: `database` applies only to PostgreSQL");
        }
        if self.kind != Kind::Redis && self.data_dir.is_some() {
            return of("is not of kind redis: data-dir applies only to Redis");
        }
        let tls = [&self.tls_cacert, &self.tls_cert, &self.tls_key];
        if self.kind != Kind::Redis && tls.iter().any(|file| file.is_some()) {
            return of(
                "is not of kind redis: tls-cacert, tls-cert and tls-key apply only to Redis (sslrootcert, sslcert and sslkey \
                 in the url of a PostgreSQL source)",
            );
        }
        if self.data_dir.is_some() && self.capture != redisdump::CaptureMethod::Auto {
            return of(
                "has both data-dir and capture: keys come from the folder or from the server, not from both",
            );
        }
        None
    }
}

impl Config {
    /// Reads a file. Errors name the file, the line and the key.
    pub(crate) fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
        let mut config = Config::parse(&text, path)?;
        config.folder = path.parent().map(Path::to_owned).unwrap_or_default();
        config.file = path.to_owned();
        Ok(config)
    }

    /// Parses the text of a file; `path` is used only in errors.
    pub(crate) fn parse(text: &str, path: &Path) -> Result<Config, ConfigError> {
        let config: Config = toml::from_str(text).map_err(|e| ConfigError::from_toml(path, text, &e))?;
        config.validate(path)?;
        Ok(config)
    }

    /// The named file, or the first of these paths that exists, or `None`. A file that exists but cannot be read is
    /// an error: the next one may belong to another user.
    pub(crate) fn find(named: Option<&Path>, places: &[PathBuf]) -> Result<Option<Config>, ConfigError> {
        let found = named.or_else(|| places.iter().find(|path| path.exists()).map(PathBuf::as_path));
        found.map(Config::read).transpose()
    }

    /// Time zone of reports: that of retention, otherwise UTC.
    pub(crate) fn zone(&self) -> chrono_tz::Tz {
        self.retention.as_ref().map_or(chrono_tz::Tz::UTC, |policy| policy.zone)
    }

    fn validate(&self, path: &Path) -> Result<(), ConfigError> {
        let invalid = |message: String| ConfigError::Invalid { path: path.to_owned(), message };
        if self.job.id.is_empty() {
            return Err(invalid("`job.id` is empty: it names the series that retention counts in".into()));
        }
        for (at, source) in self.sources.iter().enumerate() {
            if source.name.is_empty() {
                return Err(invalid(format!("source number {} has an empty name", at + 1)));
            }
            if self.sources.iter().take(at).any(|other| other.name == source.name) {
                return Err(invalid(format!(
                    "two sources are named `{}`: `restore --source` could not tell them apart",
                    source.name
                )));
            }
            if let Some(message) = source.misplaced() {
                return Err(invalid(message));
            }
            let given = [
                source.password.is_some(),
                source.password_file.is_some(),
                source.password_command.is_some(),
            ];
            if given.iter().filter(|given| **given).count() > 1 {
                return Err(invalid(format!(
                    "source `{}` has more than one of password, password-file and password-command",
                    source.name
                )));
            }
        }
        if let Some(message) = self.rehearse.misplaced(&self.sources) {
            return Err(invalid(message));
        }
        if let Some(repository) = &self.repository {
            let levels = repository::Repository::levels();
            if let Some(level) = repository.compression_level.filter(|level| !levels.contains(level)) {
                return Err(invalid(format!(
                    "`repository.compression-level` is {level}, and zstd's levels are {} to {}",
                    levels.start(),
                    levels.end()
                )));
            }
            let given = [
                repository.passphrase.is_some(),
                repository.passphrase_file.is_some(),
                repository.passphrase_command.is_some(),
            ];
            if given.iter().filter(|given| **given).count() > 1 {
                return Err(invalid(
                    "`repository` has more than one of passphrase, passphrase-file and passphrase-command"
                        .into(),
                ));
            }
        }
        for (at, notify) in self.notify.iter().enumerate() {
            if let Some(message) = notify.misplaced() {
                return Err(invalid(message));
            }
            if self.notify.iter().take(at).any(|other| other.shown() == notify.shown()) {
                return Err(invalid(format!(
                    "two channels of notify are called `{}`: give each a `name`",
                    notify.shown()
                )));
            }
        }
        if let Some(policy) = &self.retention {
            policy.validate().map_err(|e| invalid(e.to_string()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("dbhaul.toml"))
    }

    #[test]
    fn the_template_is_a_valid_configuration() {
        let config = parse(&template("web1-app", "backup", None)).unwrap();
        assert_eq!(config.repository.unwrap().url, "backup");
        assert_eq!(config.sources.len(), 2);
        assert!(config.retention.is_some());
    }

    #[test]
    fn a_misspelt_key_names_its_line_and_the_nearest_key() {
        let error = parse("[repository]\nurl = \"x\"\n\n[retention]\ndayly = 7\n").unwrap_err().to_string();
        assert!(error.contains("dbhaul.toml:5"), "{error}");
        assert!(error.contains("`dayly`"), "{error}");
        assert!(error.contains("did you mean `daily`"), "{error}");
    }

    #[test]
    fn a_misspelt_table_is_found_too() {
        let error = parse("[repositry]\nurl = \"x\"\n").unwrap_err().to_string();
        assert!(error.contains("did you mean `repository`"), "{error}");
    }

    #[test]
    fn two_sources_of_one_name_are_refused() {
        let one = "[[source]]\nname = \"a\"\nkind = \"redis\"\nurl = \"redis://h\"\n";
        let error = parse(&format!("{one}{one}")).unwrap_err().to_string();
        assert!(error.contains("two sources are named `a`"), "{error}");
    }

    #[test]
    fn a_source_is_reached_by_url_or_folder() {
        let redis = "[[source]]\nname = \"a\"\nkind = \"redis\"\n";
        for (more, expected) in
            [("", "neither url nor data-dir"), ("data-dir = \"/d\"\ncapture = \"scan\"\n", "not from both")]
        {
            let error = parse(&format!("{redis}{more}")).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        assert!(parse(&format!("{redis}data-dir = \"/d\"\n")).is_ok());
        let postgres = "[[source]]\nname = \"a\"\nkind = \"postgres\"\n";
        assert!(parse(postgres).unwrap_err().to_string().contains("has no url"));
        let error = parse(&format!("{postgres}url = \"postgres://h/d\"\ndata-dir = \"/d\"\n")).unwrap_err();
        assert!(error.to_string().contains("not of kind redis"), "{error}");
        let error = parse(&format!("{postgres}url = \"postgres://h/d\"\ntls-cert = \"c\"\n")).unwrap_err();
        assert!(error.to_string().contains("sslcert"), "{error}");
    }

    #[test]
    fn a_level_of_compression_is_one_that_there_is() {
        let level = |level: i32| parse(&format!("[repository]\nurl = \"x\"\ncompression-level = {level}\n"));
        assert_eq!(level(19).unwrap().repository.unwrap().compression_level, Some(19));
        for wrong in [0, -3, 23] {
            let error = level(wrong).unwrap_err().to_string();
            assert!(error.contains(&format!("is {wrong}")) && error.contains("1 to 22"), "{error}");
        }
    }

    #[test]
    fn a_configuration_is_looked_for_here_then_for_the_user_then_for_the_host() {
        let places_of = |pairs: &[(&str, &str)]| {
            let pairs: Vec<_> = pairs.iter().map(|(k, v)| ((*k).to_owned(), PathBuf::from(v))).collect();
            places(|name| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
        };
        let here = PathBuf::from("dbhaul.toml");
        let host = PathBuf::from("/etc/dbhaul/dbhaul.toml");
        let user = |path: &str| vec![here.clone(), PathBuf::from(path), host.clone()];
        let home = ("HOME", "/home/u");
        assert_eq!(places_of(&[home]), user("/home/u/.config/dbhaul/dbhaul.toml"));
        assert_eq!(places_of(&[home, ("XDG_CONFIG_HOME", "/x")]), user("/x/dbhaul/dbhaul.toml"));
        assert_eq!(places_of(&[home, ("XDG_CONFIG_HOME", "x")]), user("/home/u/.config/dbhaul/dbhaul.toml"));
        assert_eq!(places_of(&[]), [here, host]);
    }

    #[test]
    fn an_unknown_zone_suggests_a_similar_one() {
        for (wrong, right) in [("Asia/Soul", "Asia/Seoul"), ("KST", "Asia/Seoul")] {
            let error =
                parse(&format!("[retention]\ndaily = 7\nzone = \"{wrong}\"\n")).unwrap_err().to_string();
            assert!(error.starts_with("dbhaul.toml:3:8: "), "{error}");
            assert!(error.contains(&format!("`{wrong}`")), "{error}");
            assert!(error.contains(&format!("did you mean `{right}`?")), "{error}");
        }
        let error = parse("[retention]\ndaily = 7\nzone = \"Mars/Base\"\n").unwrap_err().to_string();
        assert!(error.contains("unknown time zone `Mars/Base`"), "{error}");
    }

    #[test]
    fn rates_and_sizes_have_units() {
        let with = |line: &str| parse(&format!("[repository]\nurl = \"x\"\n{line}\n"));
        let config =
            with("limit-upload = \"10MiB/s\"\nmax-in-memory = \"1GiB\"").unwrap().repository.unwrap();
        assert_eq!(config.limit_upload.unwrap().0.get(), 10 << 20);
        assert_eq!(config.max_in_memory.unwrap().0, 1 << 30);
        for wrong in ["limit-upload = \"10 Mbit\"", "limit-upload = \"0\"", "max-in-memory = \"much\""] {
            let error = with(wrong).unwrap_err().to_string();
            assert!(error.contains("dbhaul.toml:3") && error.contains("is not a"), "{error}");
        }
    }

    #[test]
    fn an_empty_retention_is_a_configuration_error() {
        assert!(parse("[retention]\nzone = \"Asia/Seoul\"\n").is_err());
        assert!(parse("[retention]\ndaily = 7\nzone = \"Asia/Soul\"\n").is_err());
    }
}
