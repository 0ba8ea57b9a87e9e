//! The flag that chooses a job, for every command that takes `latest`.

use clap::Args;

use crate::config::SourceConfig;
use crate::context::Context;
use crate::jobs::series::{Configured, Series};

/// Which job's snapshots are meant.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// Job whose snapshots `latest` refers to [default: that of the configuration, otherwise the only one]
    #[arg(long, value_name = "ID")]
    job: Option<String>,
}

impl JobArgs {
    /// The series that is meant.
    pub(super) fn series(&self, context: &Context) -> Series {
        series(self.job.as_deref(), context)
    }
}

/// The series of a job: of the one that is named, else of the configuration's. A configuration that names neither a job
/// nor a source is of no job.
pub(super) fn series(job: Option<&str>, context: &Context) -> Series {
    let config = &context.config;
    let configured = !config.sources.is_empty() || config.job != Default::default();
    match job {
        Some(job) if !configured || job != config.job.id => {
            Series { job: Some(job.to_owned()), sources: Vec::new() }
        }
        None if !configured => Series::default(),
        _ => Series {
            job: Some(config.job.id.clone()),
            sources: config.sources.iter().map(configured_source).collect(),
        },
    }
}

/// A source as a series knows it.
pub(super) fn configured_source(source: &SourceConfig) -> Configured {
    Configured { name: source.name.clone(), kind: source.kind, every_database: source.every_database() }
}
