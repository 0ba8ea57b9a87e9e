//! What every command needs: the configuration, the shared flags, and the progress display.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use anyhow::Context as _;
use chrono::{DateTime, Utc};

use crate::config::{self, Config, ConfigError, Secrets, expand};
use crate::exit::{self, Exit};
use crate::failure;
use crate::redact::without_user;
use crate::report::document::{Document, ReportFile};
use crate::report::status::Proof;
use crate::shared_args::Shared;
use crate::ui::stdout::{self, Stdout};
use crate::ui::{self, Progress};

/// Context of a run.
pub(crate) struct Context {
    /// The configuration; the default one if there is no file.
    pub(crate) config: Config,
    /// The file given by `--config`, whether it exists or not.
    pub(crate) config_path: Option<PathBuf>,
    /// True when `config` was read from a file.
    pub(crate) configured: bool,
    /// Where `${VAR}` is looked up.
    pub(crate) secrets: Secrets,
    /// Progress display.
    pub(crate) progress: Progress,
    /// Print JSON instead of text.
    pub(crate) json: bool,
    quiet: bool,
    repository: Option<String>,
    key_file: Option<PathBuf>,
    identities: Vec<PathBuf>,
    started_at: DateTime<Utc>,
    report: OnceLock<(ReportFile, &'static str)>,
    rehearsals: Mutex<Vec<Proof>>,
}

impl Context {
    /// Reads the configuration, if there is one.
    pub(crate) fn new(shared: Shared) -> Result<Context, ConfigError> {
        let found = match &shared.config {
            // `init` creates the named file, so it may be missing here. Other commands call `require_named_config`.
            Some(path) if !path.exists() => None,
            named => Config::find(
                named.as_deref(),
                &config::places(|name| {
                    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
                }),
            )?,
        };
        let progress = Progress::new(shared.quiet);
        let more = shared.key_file.iter().map(|path| ("the key file", path.as_path()));
        let more: Vec<_> =
            more.chain(shared.identity.iter().map(|path| ("the identity file", path.as_path()))).collect();
        let configured = found.is_some();
        let config = found.unwrap_or_default();
        for warning in config.exposed(&more) {
            progress.warn(warning);
        }
        Ok(Context {
            configured,
            config,
            config_path: shared.config,
            secrets: Secrets::from_process(),
            progress,
            json: shared.json,
            quiet: shared.quiet,
            repository: shared.repository,
            key_file: shared.key_file,
            identities: shared.identity,
            started_at: Utc::now(),
            report: OnceLock::new(),
            rehearsals: Mutex::new(Vec::new()),
        })
    }

    /// Time zone of reports.
    pub(crate) fn zone(&self) -> chrono_tz::Tz {
        self.config.zone()
    }

    /// Fails if the named configuration file does not exist. Called for every command but `init`.
    pub(crate) fn require_named_config(&self) -> anyhow::Result<()> {
        match &self.config_path {
            Some(path) if !self.configured => {
                Err(exit::usage(format!("the configuration file {} does not exist", path.display())))
            }
            _ => Ok(()),
        }
    }

    /// URL of the repository: from `--repository`, otherwise from the configuration.
    pub(crate) fn repository_url(&self) -> anyhow::Result<String> {
        self.require_named_config()?;
        if let Some(url) = &self.repository {
            return Ok(url.clone());
        }
        let Some(repository) = &self.config.repository else {
            return Err(exit::usage(
                "no repository is named: pass --repository URL|DIR, or set `url` of `[repository]` in dbhaul.toml \
                 (`dbhaul init` writes one)",
            ));
        };
        let url = expand("repository.url", &repository.url, &self.secrets)?;
        // A relative folder in a configuration file is relative to that file, whatever the working directory.
        if url.contains("://") || url.starts_with('~') {
            Ok(url)
        } else {
            Ok(self.config.folder.join(url).to_string_lossy().into_owned())
        }
    }

    /// URL of the repository from `--repository`, otherwise `default`: for `init`, which may run without a
    /// configuration.
    pub(crate) fn repository_url_or(&self, default: &str) -> String {
        self.repository.clone().unwrap_or_else(|| default.to_owned())
    }

    /// Opens the repository.
    pub(crate) async fn open_repository(&self) -> anyhow::Result<repository::Repository> {
        let url = self.repository_url()?;
        let store = open_store(&url)?;
        let repository = repository::Repository::open_with(store, &self.access()?)
            .await
            .map_err(|error| with_remedy(error, || self.init_command(&url)))
            .with_context(|| format!("cannot open the repository {}", without_user(&url)))?;
        if repository.is_from_copy() {
            self.progress.warn(
                "dbhaul.json is missing or damaged: its copy, dbhaul.json.copy, was read; the next backup writes it again",
            );
        }
        Ok(ui::repository::observed(self.as_configured(repository), &self.progress))
    }

    /// The command that creates the repository of this run.
    fn init_command(&self, url: &str) -> String {
        match (&self.repository, &self.config_path) {
            (Some(_), _) => init_command(url),
            (None, Some(path)) => format!("dbhaul init --config {}", quoted(&path.display().to_string())),
            (None, None) => "dbhaul init".to_owned(),
        }
    }

    /// Applies the configured compression level, upload rate and memory limit to the repository.
    pub(crate) fn as_configured(&self, repository: repository::Repository) -> repository::Repository {
        let Some(configured) = &self.config.repository else { return repository };
        let mut repository = repository;
        if let Some(level) = configured.compression_level {
            repository = repository.at_level(level);
        }
        if let Some(rate) = configured.limit_upload {
            repository = repository.limit_uploads(rate);
        }
        if let Some(most) = configured.max_in_memory {
            repository = repository.at_most_in_memory(most);
        }
        repository
    }

    /// Path of the key file: from the flag, otherwise from the configuration.
    pub(crate) fn key_file(&self) -> Option<PathBuf> {
        let configured = self.config.repository.as_ref().and_then(|repository| repository.key_file.as_ref());
        self.key_file.clone().or_else(|| configured.map(|path| self.config.folder.join(path)))
    }

    /// Everything available here that can open an encrypted repository.
    pub(crate) fn access(&self) -> anyhow::Result<repository::Access> {
        let mut paths = self.identities.clone();
        if paths.is_empty()
            && let Some(path) = self.config.repository.as_ref().and_then(|r| r.identity_file.as_ref())
        {
            paths.push(self.config.folder.join(path));
        }
        let files = read_access(self.key_file().as_deref(), &paths)?;
        Ok(repository::Access { passphrase: self.passphrase()?, ..files })
    }

    /// The passphrase: from `DBHAUL_PASSPHRASE`, else from the configuration.
    pub(crate) fn passphrase(&self) -> anyhow::Result<Option<repository::Passphrase>> {
        let configured = match &self.config.repository {
            Some(repository) => repository.resolve_passphrase(&self.config.folder, &self.secrets)?,
            None => None,
        };
        let text = self.secrets.get("DBHAUL_PASSPHRASE").map(str::to_owned).or(configured);
        Ok(text.map(repository::Passphrase::new).transpose()?)
    }

    /// Connections per source.
    pub(crate) fn jobs(&self, flag: Option<usize>) -> usize {
        let wanted = flag.unwrap_or(self.config.job.jobs);
        if wanted > 0 {
            return wanted;
        }
        // One more than cores: while a server and this program wait for each other on one connection, a core is free.
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        cores.saturating_add(1).clamp(3, 8)
    }

    /// Registers a file to write the command's report to.
    pub(crate) fn report_to(&self, file: Option<&ReportFile>, command: &'static str) -> anyhow::Result<()> {
        if let Some(file) = file {
            file.try_out()?;
            let _ = self.report.set((file.clone(), command));
        }
        Ok(())
    }

    /// Adds rehearsals, earlier ones and that of this run, to the report.
    pub(crate) fn note_rehearsals(&self, rehearsals: Vec<Proof>) {
        if let Ok(mut noted) = self.rehearsals.lock() {
            *noted = rehearsals;
        }
    }

    /// Writes the report of a failed command, if one was requested.
    pub(crate) fn conclude_failed(&self, error: &anyhow::Error) {
        let failure = failure::Failure::of(error);
        let written = self.write_report(exit::code_of(error), &failure.json(), || failure.render());
        if let Err(error) = written {
            self.progress.warn(format!("{error:#}"));
        }
    }

    fn write_report<T: serde::Serialize>(
        &self,
        exit: Exit,
        report: &T,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        let Some((file, command)) = self.report.get() else { return Ok(()) };
        file.write(&Document {
            command,
            exit_code: exit.code(),
            started_at: self.started_at,
            tool: concat!("dbhaul ", env!("CARGO_PKG_VERSION")),
            host: crate::jobs::nightly::host(),
            text: text(),
            report: serde_json::to_value(report)?,
            timeline: self.progress.recorded(),
            rehearsals: self.rehearsals.lock().map(|noted| noted.clone()).unwrap_or_default(),
            zone: self.zone(),
        })
    }

    /// Ends a command: prints its report, unless it succeeded and `--quiet` is given. Commands whose output is their
    /// purpose use [`Context::print`].
    pub(crate) fn conclude<T: serde::Serialize>(
        &self,
        exit: Exit,
        report: &T,
        text: impl Fn() -> String,
    ) -> anyhow::Result<Exit> {
        if !self.quiet || self.json || exit != Exit::Done {
            self.print(report, &text)?;
        }
        self.write_report(exit, report, &text)?;
        Ok(exit)
    }

    /// Prints a result as JSON or as text. A closed standard output does not change the exit code.
    pub(crate) fn print<T: serde::Serialize>(
        &self,
        result: &T,
        text: impl FnOnce() -> String,
    ) -> anyhow::Result<()> {
        let mut text = if self.json { serde_json::to_string_pretty(result)? } else { text() };
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let printed = Stdout.write_all(text.as_bytes()).and_then(|()| Stdout.flush());
        match printed {
            Err(error) if stdout::is_closed(&error) => Ok(()),
            printed => Ok(printed?),
        }
    }
}

/// Opens the store that a URL names.
pub(crate) fn open_store(url: &str) -> anyhow::Result<repository::Store> {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    if query.contains('@') || query.contains("%40") {
        return Err(exit::usage(format!(
            "cannot use the repository {}: behind the ? there is user information, and credentials do not belong into a \
             URL: they are taken from the environment, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            without_user(url)
        )));
    }
    repository::Store::open(url, &repository::StoreEnv::from_process())
        .with_context(|| format!("cannot use the repository {}", without_user(url)))
}

/// Reads a key file and identities.
pub(crate) fn read_access(key_file: Option<&Path>, paths: &[PathBuf]) -> anyhow::Result<repository::Access> {
    let mut access = repository::Access::default();
    if let Some(path) = key_file {
        let key = repository::RepositoryKey::parse_file(&read_key(path)?);
        access.key = Some(key.with_context(|| shown_path(path))?);
    }
    for path in paths {
        let identities = repository::Identity::parse_file(&read_key(path)?);
        access.identities.extend(identities.with_context(|| shown_path(path))?);
    }
    Ok(access)
}

fn shown_path(path: &Path) -> String {
    format!("{} is not usable", path.display())
}

fn read_key(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).map_err(|e| exit::usage(format!("cannot read {}: {e}", path.display())))
}

/// Adds the command that creates the repository as a hint, if there is none yet.
pub(crate) fn with_remedy(error: repository::Error, command: impl FnOnce() -> String) -> anyhow::Error {
    match error {
        repository::Error::NotARepository { .. } => {
            failure::hint(error, format!("create it with `{}`", command()))
        }
        error => error.into(),
    }
}

/// The command that creates a repository at this URL.
pub(crate) fn init_command(url: &str) -> String {
    format!("dbhaul init --no-config --repository {}", quoted(&without_user(url)))
}

/// Quotes a word for a POSIX shell if necessary.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:,+@%=".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}
