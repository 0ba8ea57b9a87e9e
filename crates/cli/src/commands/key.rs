//! `dbhaul key`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use repository::{Identity, Recipient};
use serde::Serialize;

use crate::commands::files::write_secret;
use crate::context::Context;
use crate::exit::{self, Exit};

const EXAMPLES: &str = "\
Examples:
  dbhaul key generate --output identity.txt
      Create an identity; keep it away from the backup host
  dbhaul key list
      Show the recipients of the repository
  dbhaul key export --identity identity.txt --output dbhaul.key
      Write the key file for another backup host";

/// Manage the keys of an encrypted repository
///
/// An identity decrypts backups and belongs where restores are run. Its public half, a recipient, is what backups are
/// encrypted to. The key file is what a backup host holds: it names chunks and signs documents, and decrypts nothing.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct KeyArgs {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Create an identity, as age-keygen does
    #[command(after_long_help = "Example:\n  dbhaul key generate --output identity.txt")]
    Generate {
        /// Write to this new file, readable only by its owner [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Show the recipients of new backups, and whether this host can decrypt
    #[command(after_long_help = "Example:\n  dbhaul key list --identity identity.txt")]
    List,
    /// Add a recipient of new backups
    ///
    /// The new identity cannot decrypt existing data, nor chunks of it that a later backup reuses. It can restore
    /// only snapshots written entirely since. `dbhaul copy` into a new repository encrypts
    /// everything again.
    #[command(after_long_help = "Example:\n  dbhaul key add age1…")]
    Add {
        /// Recipient (age1…)
        recipient: String,
    },
    /// Remove a recipient of new backups
    ///
    /// Its identity can still decrypt existing data. The last recipient cannot be removed.
    #[command(after_long_help = "Example:\n  dbhaul key remove age1…")]
    Remove {
        /// Recipient (age1…)
        recipient: String,
    },
    /// Encrypt what is stored for the current recipients
    ///
    /// Every snapshot that a current recipient cannot decrypt alone is encrypted again. Pass the identities that
    /// decrypt what is stored and one of a current recipient, with which the new objects are read back before the
    /// manifest refers to them. `dbhaul prune` removes the old objects after the grace period.
    #[command(after_long_help = "Example:\n  dbhaul key rotate --identity old.txt --identity new.txt")]
    Rotate,
    /// Write the key file of the repository, for another backup host
    #[command(after_long_help = "Example:\n  dbhaul key export --identity identity.txt --output dbhaul.key")]
    Export {
        /// Write to this new file, readable only by its owner [default: standard output]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

pub(super) async fn run(args: KeyArgs, context: &Context) -> anyhow::Result<Exit> {
    match args.verb {
        Verb::Generate { output } => generate(output, context),
        Verb::List => list(context).await,
        Verb::Add { recipient } => change(&recipient, true, context).await,
        Verb::Remove { recipient } => change(&recipient, false, context).await,
        Verb::Export { output } => export(output, context).await,
        Verb::Rotate => rotate(context).await,
    }
}

/// A secret is written to its file, or to standard output if no file is given.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    recipient: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

impl Written {
    fn put(
        recipient: Option<String>,
        text: String,
        output: Option<PathBuf>,
        context: &Context,
    ) -> anyhow::Result<Exit> {
        let report = match output {
            Some(path) => {
                write_secret(&path, &text)?;
                Written { recipient, file: Some(path), text: None }
            }
            None => Written { recipient, file: None, text: Some(text) },
        };
        // Without a file, the secret itself is the output.
        let text = || match (&report.file, &report.recipient, &report.text) {
            (Some(file), Some(recipient), _) => format!("wrote {}\nrecipient: {recipient}\n", file.display()),
            (Some(file), None, _) => format!("wrote {}\n", file.display()),
            (None, _, text) => text.clone().unwrap_or_default(),
        };
        if report.file.is_some() {
            return context.conclude(Exit::Done, &report, text);
        }
        context.print(&report, text)?;
        Ok(Exit::Done)
    }
}

fn generate(output: Option<PathBuf>, context: &Context) -> anyhow::Result<Exit> {
    let identity = Identity::generate();
    Written::put(Some(identity.recipient().to_string()), identity.to_file(), output, context)
}

async fn export(output: Option<PathBuf>, context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    let Some(key) = repository.key() else {
        return Err(exit::usage(format!("{} is not encrypted: it has no key", repository.address())));
    };
    Written::put(None, key.to_file(), output, context)
}

/// Output of `key list`.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct KeyReport {
    repository: String,
    encrypted: bool,
    recipients: Vec<String>,
    /// dbhaul.json contains an identity encrypted with a passphrase.
    passphrase: bool,
    /// Whether that identity's recipient is a current one. Known only if the passphrase was given.
    passphrase_current: Option<bool>,
    can_read: bool,
    /// Snapshots that no current recipient can restore alone.
    not_restorable: Vec<String>,
}

impl KeyReport {
    async fn of(repository: &repository::Repository, context: &Context) -> anyhow::Result<KeyReport> {
        let passphrase = repository.has_passphrase().await?;
        let given = if passphrase { context.passphrase()? } else { None };
        let passphrase_current = match given {
            Some(given) => repository.passphrase_is_current(&given).await?,
            None => None,
        };
        Ok(KeyReport {
            repository: repository.address(),
            encrypted: repository.is_encrypted(),
            recipients: repository.recipients().iter().map(ToString::to_string).collect(),
            passphrase,
            passphrase_current,
            can_read: repository.can_read(),
            not_restorable: repository.not_restorable().await?.iter().map(ToString::to_string).collect(),
        })
    }
}

async fn list(context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    let report = KeyReport::of(&repository, context).await?;
    context.print(&report, || {
        if !report.encrypted {
            return format!("{} is not encrypted\n", report.repository);
        }
        let mut text = format!("{} is encrypted to\n", report.repository);
        for recipient in &report.recipients {
            text += &format!("  {recipient}\n");
        }
        text += match (report.passphrase, report.passphrase_current) {
            (false, _) => "",
            (true, Some(true)) => "the passphrase decrypts it too\n",
            (true, Some(false)) => {
                "the passphrase decrypts only data stored before its recipient was removed\n"
            }
            (true, None) => {
                "dbhaul.json also holds an identity behind a passphrase; whether its recipient is among these can only \
                 be determined with the passphrase: set DBHAUL_PASSPHRASE\n"
            }
        };
        text += if report.can_read {
            "an identity was given: backups can be read here\n"
        } else {
            "no identity was given: backups can be written here, but not read\n"
        };
        text += &not_restorable(&report.not_restorable);
        text
    })?;
    Ok(Exit::Done)
}

async fn change(recipient: &str, add: bool, context: &Context) -> anyhow::Result<Exit> {
    let recipient: Recipient = recipient.parse()?;
    let mut repository = context.open_repository().await?;
    let mut recipients = repository.recipients().to_vec();
    let known = recipients.contains(&recipient);
    if add == known && repository.is_encrypted() {
        let state = if known { "is already a recipient" } else { "is not a recipient" };
        return Err(exit::usage(format!("{recipient} {state}; nothing was changed")));
    }
    if add {
        recipients.push(recipient);
    } else {
        recipients.retain(|other| *other != recipient);
    }
    repository.set_recipients(recipients).await?;
    let report = KeyReport::of(&repository, context).await?;
    context.conclude(Exit::Done, &report, || {
        let mut text = format!("new data is encrypted to {}\n", report.recipients.join(", "));
        text += if add {
            "existing data is not: the new recipient's identity cannot read it, nor later snapshots that reuse its \
             chunks\n"
        } else {
            "the removed identity can still decrypt existing data\n"
        };
        if !add && report.passphrase && report.passphrase_current != Some(true) {
            text += "the identity behind the passphrase stays in dbhaul.json: some data may be readable only with it\n";
        }
        text += &not_restorable(&report.not_restorable);
        text
    })
}

/// The warning about snapshots that no current recipient can restore alone; empty if there are none.
pub(crate) fn not_restorable(ids: &[String]) -> String {
    if ids.is_empty() {
        return String::new();
    }
    format!(
        "no current recipient can restore these snapshots alone; `dbhaul key rotate` encrypts them for the current \
         recipients:\n  {}\n",
        ids.join("\n  ")
    )
}

async fn rotate(context: &Context) -> anyhow::Result<Exit> {
    let repository = context.open_repository().await?;
    context.progress.stage("encrypting for the current recipients", None);
    let task = context.progress.task("chunks", None, "chunks");
    let report = repository.rotate(&|bytes| task.advance(bytes, 0)).await?;
    task.finish();
    let exit = match report.failed.is_empty() && report.unreadable.is_empty() {
        true => Exit::Done,
        false => Exit::Differs,
    };
    context.conclude(exit, &report, || {
        let mut text = String::new();
        for failed in &report.failed {
            text += &format!("snapshot {} was not changed: {}\n", failed.id, failed.error);
        }
        for unreadable in &report.unreadable {
            text += &format!("{} cannot be read: {}\n", unreadable.name, unreadable.error);
        }
        for id in &report.rotated {
            text += &format!("snapshot {id} was encrypted for the current recipients\n");
        }
        text += &format!(
            "{} rotated, {} already current, {} failed; {} chunks written, {}\n",
            report.rotated.len(),
            report.current,
            report.failed.len() + report.unreadable.len(),
            report.chunks,
            crate::ui::size(report.stored_bytes)
        );
        text
    })
}
