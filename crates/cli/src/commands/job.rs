//! The `--job` flag of every command that accepts `latest`.

use clap::Args;

use crate::config::SourceConfig;
use crate::context::Context;
use crate::jobs::series::{Configured, Series};

/// The job whose snapshots are used.
#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// Job whose snapshots `latest` refers to [default: that of the configuration, otherwise the only one]
    #[arg(long, value_name = "ID")]
    job: Option<String>,
}

impl JobArgs {
    /// The selected series.
    pub(super) fn series(&self, context: &Context) -> Series {
        series(self.job.as_deref(), context)
    }
}

/// The series of the named job, or of the configured one. A configuration without a job id and without sources
/// selects none.
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

/// A configured source, as a series needs it.
pub(super) fn configured_source(source: &SourceConfig) -> Configured {
    Configured { name: source.name.clone(), kind: source.kind, every_database: source.every_database() }
}
