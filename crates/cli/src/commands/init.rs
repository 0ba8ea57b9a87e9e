//! `dbhaul init`

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use repository::{Chunker, Encryption, InitOptions, Recipient, Repository};
use serde::Serialize;

use crate::commands::files::{refuse_existing, write_new, write_secret};
use crate::config::{DEFAULT_FILE, template};
use crate::context::{Context, open_store};
use crate::exit::{self, Exit};

/// Default path of the key file of an encrypted repository.
const DEFAULT_KEY_FILE: &str = "dbhaul.key";

const EXAMPLES: &str = "\
Examples:
  dbhaul init --repository /var/lib/dbhaul/backups
      Write dbhaul.toml and create the repository
  dbhaul init --no-config --repository ./backup
      Create the repository only
  dbhaul init --repository 's3://bucket/app?endpoint=https://s3.example.org&region=eu-1' \\
              --recipient age1…
      Create an encrypted repository in object storage";

/// Create a repository and write a commented dbhaul.toml
///
/// Nothing that exists is overwritten. If there is a configuration already, only the repository is created.
///
/// --recipient or --passphrase encrypts the repository. A key file is then written next to the configuration: with it
/// this host can back up, list, forget and prune, but cannot decrypt backups. Restoring requires the identity that
/// belongs to a recipient (`dbhaul key generate` creates one; keep it elsewhere) or the passphrase. If those are lost,
/// nothing can be restored.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct InitArgs {
    /// Do not write a configuration file
    #[arg(long)]
    no_config: bool,
    /// Encrypt to this recipient (age1…); may be repeated, and the identity of any one of them restores
    #[arg(long, value_name = "RECIPIENT", help_heading = "Encryption")]
    recipient: Vec<String>,
    /// Encrypt with a passphrase, taken from DBHAUL_PASSPHRASE or the configuration
    #[arg(long, help_heading = "Encryption")]
    passphrase: bool,
    /// Average chunk size, from 64KiB to 4MiB; cannot be changed later
    ///
    /// Smaller chunks deduplicate tables with scattered changes better, but make more objects and larger manifests.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = chunk_size, help_heading = "Storage")]
    chunk_size: Chunker,
    /// Grace period in hours
    ///
    /// Within it `undelete` works and prune deletes nothing. No backup may run longer.
    #[arg(long, value_name = "HOURS", default_value_t = 72, value_parser = clap::value_parser!(u32).range(4..=87_600), help_heading = "Storage")]
    grace: u32,
    /// Let the group of the repository's folder read and write it (modes 2770 and 0660)
    ///
    /// Without this, the repository is accessible to its owner only (0700 and 0600).
    #[arg(long, help_heading = "Storage")]
    shared_group: bool,
}

/// Average chunk size; minimum and maximum are derived from it.
fn chunk_size(text: &str) -> Result<Chunker, String> {
    let bytes = match text.parse() {
        Ok(repository::Portion::Bytes(bytes)) => u32::try_from(bytes).ok(),
        _ => None,
    };
    bytes.and_then(Chunker::around).ok_or_else(|| format!("`{text}` is not a size from 64KiB to 4MiB"))
}

#[derive(Serialize)]
struct InitReport {
    /// The configuration file; `None` with `--no-config`.
    configuration: Option<PathBuf>,
    configuration_written: bool,
    repository: String,
    repository_id: String,
    key_file: Option<PathBuf>,
    recipients: Vec<String>,
    store: Option<repository::Probe>,
}

pub(super) async fn run(args: InitArgs, context: &Context) -> anyhow::Result<Exit> {
    let configuration = match context.configured {
        true => context.config.file.clone(),
        false => context.config_path.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE)),
    };
    let written = !context.configured && !args.no_config;
    let url = if written { context.repository_url_or("backup") } else { context.repository_url()? };
    let encryption = encryption(&args, context)?;
    let beside = configuration.parent().unwrap_or(Path::new("")).join(DEFAULT_KEY_FILE);
    let key_file = encryption.is_some().then(|| context.key_file().unwrap_or(beside));
    if let Some(path) = &key_file {
        refuse_existing(path)?;
    }
    // The repository first: a configuration without a repository would be worse than the reverse.
    let grace = Duration::from_secs(u64::from(args.grace) * 3600);
    let store = open_store(&url)?;
    if args.shared_group {
        store.share_with_group().with_context(|| format!("cannot create the repository {url}"))?;
    }
    let repository = Repository::init(store, &InitOptions { chunker: args.chunk_size, grace, encryption })
        .await
        .with_context(|| format!("cannot create the repository {url}"))?;
    if let (Some(path), Some(key)) = (&key_file, repository.key()) {
        write_secret(path, &key.to_file()).context(
            "the repository was created, but its key file was not written: `dbhaul key export` with an identity or \
             the passphrase writes it again",
        )?;
    }
    if written {
        let named = context.key_file().or_else(|| key_file.as_ref().map(|_| DEFAULT_KEY_FILE.into()));
        let named = named.filter(|_| key_file.is_some()).map(|path| path.to_string_lossy().into_owned());
        write_new(&configuration, &template(&job_id(&configuration), &url, named.as_deref()))?;
    }
    let report = InitReport {
        configuration: (!args.no_config).then_some(configuration),
        configuration_written: written,
        repository: url,
        repository_id: repository.id().to_string(),
        key_file,
        recipients: repository.recipients().iter().map(ToString::to_string).collect(),
        store: repository.probe(),
    };
    if repository.is_unsynced() {
        context.progress.warn(
            "the file system cannot sync folders: after a power failure the newest files of the repository may be missing",
        );
    }
    if report.store.is_some_and(|probe| !probe.delete) {
        context.progress.warn(
            "this host may not delete objects in the store: it can back up, but `forget` and `prune` must run on another host",
        );
    }
    if report.store.is_some_and(|probe| !probe.overwrite) {
        context
            .progress
            .warn("objects in the store cannot be overwritten: `check --repair` and `key add` will not work");
    }
    context.conclude(Exit::Done, &report, || {
        report.render(context.config.repository.as_ref().is_some_and(|r| r.key_file.is_some()))
    })
}

/// The encryption that the flags ask for, if any.
fn encryption(args: &InitArgs, context: &Context) -> anyhow::Result<Option<Encryption>> {
    let recipients = args.recipient.iter().map(|text| text.parse()).collect::<Result<Vec<Recipient>, _>>()?;
    let passphrase = if args.passphrase {
        let found = context.passphrase()?.ok_or_else(|| {
            exit::usage(
                "--passphrase requires DBHAUL_PASSPHRASE, or passphrase-file or passphrase-command in `[repository]`: none of \
                 them is set",
            )
        })?;
        Some(found)
    } else {
        None
    };
    if recipients.is_empty() && passphrase.is_none() {
        return Ok(None);
    }
    Ok(Some(Encryption { recipients, passphrase }))
}

impl InitReport {
    fn render(&self, key_is_configured: bool) -> String {
        let file = self.configuration.as_ref().map(|path| path.display().to_string());
        let mut text = match &file {
            Some(file) if self.configuration_written => {
                format!("wrote {file}: set your sources and the zone there\n")
            }
            Some(file) => format!("{file} exists and was not changed\n"),
            None => String::new(),
        };
        text += &format!("created the repository {} ({})\n", self.repository, self.repository_id);
        if let Some(path) = &self.key_file {
            text += &format!(
                "it is encrypted to {}\nwrote {}: this host needs this key file to back up; it cannot decrypt backups\n",
                self.recipients.join(", "),
                path.display()
            );
            match &file {
                Some(file) if !self.configuration_written && !key_is_configured => {
                    text += &format!("add `key-file = \"{}\"` to [repository] in {file}\n", path.display());
                }
                None if !key_is_configured => {
                    text += &format!("pass it to other commands: --key-file {}\n", path.display());
                }
                _ => {}
            }
            text += "keep two copies of the identity (or the passphrase) elsewhere: without it nothing can be restored\n";
        }
        text
    }
}

/// A default job id from host name and folder name, which another application is unlikely to use by accident.
fn job_id(configuration: &Path) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").or_else(|_| {
        std::env::var("HOSTNAME").map_err(|_| std::io::Error::from(std::io::ErrorKind::NotFound))
    });
    let folder = configuration.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize().ok();
    let folder = folder.and_then(|folder| Some(folder.file_name()?.to_string_lossy().into_owned()));
    job_id_of(host.as_deref().unwrap_or_default(), &folder.unwrap_or_default())
}

fn job_id_of(host: &str, folder: &str) -> String {
    let plain = |text: &str| -> String {
        let host = text.trim().split('.').find(|part| !part.is_empty()).unwrap_or_default();
        let kept = host.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
        kept.collect::<String>().trim_matches('-').to_owned()
    };
    let names = [plain(host), plain(folder)].into_iter().filter(|name| !name.is_empty());
    let id = names.collect::<Vec<_>>().join("-");
    if id.is_empty() { "default".to_owned() } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_named_after_its_host_and_folder() {
        assert_eq!(job_id_of("web1.example.org\n", "Coin Pilot"), "web1-coin-pilot");
        assert_eq!(job_id_of("web1", ""), "web1");
        assert_eq!(job_id_of("", ".app"), "app");
        assert_eq!(job_id_of("", "/"), "default");
    }
}
