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

/// Where the key of an encrypted repository is written when no other file is named.
const DEFAULT_KEY_FILE: &str = "dbhaul.key";

/// Writes a commented dbhaul.toml and creates the repository.
///
/// Nothing that exists is overwritten. With a configuration that is already there, only the repository is created.
///
/// With --recipient or --passphrase the repository is encrypted. A key file is then written beside the configuration:
/// it lets this host back up, list, forget and prune, and opens no backup. Restoring needs the identity that belongs to
/// a recipient (`dbhaul key generate` makes one; keep it elsewhere), or the passphrase. Without them nothing can be
/// restored: there is no other way in.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Encrypt to this recipient (age1…); may be given several times, and any one of their identities then restores
    #[arg(long, value_name = "AGE1…")]
    recipient: Vec<String>,
    /// Encrypt with a passphrase, taken from DBHAUL_PASSPHRASE or the configuration
    #[arg(long)]
    passphrase: bool,
    /// Cut what is stored into chunks of about this size, from 64KiB to 4MiB; it never changes for this repository
    ///
    /// Smaller ones find more of a table whose rows change here and there, and make more objects and larger manifests.
    #[arg(long, value_name = "SIZE", default_value = "1MiB", value_parser = chunk_size)]
    chunk_size: Chunker,
    /// For how many hours `undelete` works, and prune waits before it deletes; no backup may run longer
    #[arg(long, value_name = "HOURS", default_value_t = 72, value_parser = clap::value_parser!(u32).range(4..=87_600))]
    grace: u32,
}

/// A chunk's average size, as sizes around it.
fn chunk_size(text: &str) -> Result<Chunker, String> {
    let bytes = match text.parse() {
        Ok(repository::Portion::Bytes(bytes)) => u32::try_from(bytes).ok(),
        _ => None,
    };
    bytes.and_then(Chunker::around).ok_or_else(|| format!("`{text}` is no size from 64KiB to 4MiB"))
}

#[derive(Serialize)]
struct InitReport {
    configuration: PathBuf,
    configuration_written: bool,
    repository: String,
    repository_id: String,
    key_file: Option<PathBuf>,
    recipients: Vec<String>,
    store: Option<repository::Probe>,
}

pub(super) async fn run(args: InitArgs, context: &Context) -> anyhow::Result<Exit> {
    let configuration = context.config_path.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let written = !context.configured;
    let url = if written { context.repository_url_or("backup") } else { context.repository_url()? };
    let encryption = encryption(&args, context)?;
    let beside = configuration.parent().unwrap_or(Path::new("")).join(DEFAULT_KEY_FILE);
    let key_file = encryption.is_some().then(|| context.key_file().unwrap_or(beside));
    if let Some(path) = &key_file {
        refuse_existing(path)?;
    }
    // The repository first: a configuration that points at nothing would be the worse half.
    let grace = Duration::from_secs(u64::from(args.grace) * 3600);
    let repository =
        Repository::init(open_store(&url)?, &InitOptions { chunker: args.chunk_size, grace, encryption })
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
        write_new(&configuration, &template(&url, named.as_deref()))?;
    }
    let report = InitReport {
        configuration,
        configuration_written: written,
        repository: url,
        repository_id: repository.id().to_string(),
        key_file,
        recipients: repository.recipients().iter().map(ToString::to_string).collect(),
        store: repository.probe(),
    };
    if report.store.is_some_and(|probe| !probe.delete) {
        context.progress.warn(
            "this host may not delete in the store: it can back up, and `forget` and `prune` must be run from another",
        );
    }
    if report.store.is_some_and(|probe| !probe.overwrite) {
        context
            .progress
            .warn("nothing can be overwritten in the store: `check --repair` and `key add` will not work");
    }
    context.print(&report, || {
        report.render(context.config.repository.as_ref().is_some_and(|r| r.key_file.is_some()))
    })?;
    Ok(Exit::Done)
}

/// Whom to encrypt to, if to anybody.
fn encryption(args: &InitArgs, context: &Context) -> anyhow::Result<Option<Encryption>> {
    let recipients = args.recipient.iter().map(|text| text.parse()).collect::<Result<Vec<Recipient>, _>>()?;
    let passphrase = if args.passphrase {
        let found = context.passphrase()?.ok_or_else(|| {
            exit::usage(
                "--passphrase asks for DBHAUL_PASSPHRASE, or passphrase-file or passphrase-command in `[repository]`: \
                 none of them is set",
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
        let file = self.configuration.display();
        let mut text = if self.configuration_written {
            format!("wrote {file}: name your sources there\n")
        } else {
            format!("{file} is there already and was left as it is\n")
        };
        text += &format!("created the repository {} ({})\n", self.repository, self.repository_id);
        if let Some(path) = &self.key_file {
            text += &format!(
                "it is encrypted to {}\nwrote {}: this host needs it to back up; it opens no backup\n",
                self.recipients.join(", "),
                path.display()
            );
            if !self.configuration_written && !key_is_configured {
                text += &format!("add `key-file = \"{}\"` to [repository] in {file}\n", path.display());
            }
            text += "without an identity (or the passphrase) nothing can ever be restored: keep two copies elsewhere\n";
        }
        text
    }
}
