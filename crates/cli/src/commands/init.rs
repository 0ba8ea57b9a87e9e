//! `dbhaul init`

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde::Serialize;

use crate::config::{DEFAULT_FILE, template};
use crate::context::{Context, open_store};
use crate::exit::{self, Exit};

/// Writes a commented dbhaul.toml and creates the repository.
///
/// Nothing that exists is overwritten. With a configuration that is already there, only the repository is created.
#[derive(Debug, Args)]
pub(crate) struct InitArgs {}

#[derive(Serialize)]
struct InitReport {
    configuration: PathBuf,
    configuration_written: bool,
    repository: String,
    repository_id: String,
}

pub(super) async fn run(_args: InitArgs, context: &Context) -> anyhow::Result<Exit> {
    let configuration = context.config_path.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_FILE));
    let written = !context.configured;
    let url = if written { context.repository_url_or("backup") } else { context.repository_url()? };
    // The repository first: a configuration that points at nothing would be the worse half.
    let repository = repository::Repository::init(open_store(&url)?, &repository::InitOptions::default())
        .await
        .with_context(|| format!("cannot create the repository {url}"))?;
    if written {
        write_new(&configuration, &template(&url))?;
    }
    let report = InitReport {
        configuration,
        configuration_written: written,
        repository: url,
        repository_id: repository.id().to_string(),
    };
    context.print(&report, || {
        let file = report.configuration.display();
        let first = if report.configuration_written {
            format!("wrote {file}: name your sources there")
        } else {
            format!("{file} is there already and was left as it is")
        };
        format!("{first}\ncreated the repository {} ({})\n", report.repository, report.repository_id)
    })?;
    Ok(Exit::Done)
}

fn write_new(path: &Path, text: &str) -> anyhow::Result<()> {
    let mut file = match std::fs::File::create_new(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(exit::refused(format!("{} exists and is not overwritten", path.display())));
        }
        Err(error) => {
            return Err(anyhow::Error::new(error).context(format!("cannot write {}", path.display())));
        }
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}
