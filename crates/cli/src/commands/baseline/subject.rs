//! Which schema a command works on: that of a live database, or the one stored in a snapshot.

use clap::Args;

use crate::commands::job::JobArgs;
use crate::config::Kind;
use crate::context::Context;
use crate::endpoint::Endpoint;
use crate::exit;
use crate::jobs::baseline::Subject;
use crate::jobs::find::{self, Ask};

/// The schema to work on.
#[derive(Debug, Args)]
pub(super) struct SubjectArgs {
    /// Live database; same as --to
    #[arg(value_name = "URL", conflicts_with_all = ["to", "snapshot"])]
    url: Option<String>,
    /// Live database
    #[arg(long, value_name = "URL", conflicts_with = "snapshot")]
    to: Option<String>,
    /// Snapshot: its id, the beginning of its id, or `latest`
    #[arg(long, value_name = "ID")]
    snapshot: Option<String>,
    /// PostgreSQL source of the snapshot, if it has several
    #[arg(long, value_name = "NAME", requires = "snapshot")]
    pub(super) source: Option<String>,
    #[command(flatten)]
    job: JobArgs,
}

impl SubjectArgs {
    /// Opens the database or the repository.
    pub(super) async fn subject(&self, context: &Context) -> anyhow::Result<Subject> {
        match (self.url.as_ref().or(self.to.as_ref()), &self.snapshot) {
            (Some(url), _) => Ok(Subject::Live(Box::new(Endpoint::from_url("target", url, None, context)?))),
            (None, Some(snapshot)) => {
                let repository = Box::new(context.open_repository().await?);
                let ask = Ask::named_or(self.source.as_deref(), Kind::Postgres);
                let series = self.job.series(context);
                let found = find::snapshot(&repository, &series, snapshot, ask, &context.progress).await?;
                Ok(Subject::Stored { repository, snapshot: found.id, source: self.source.clone() })
            }
            (None, None) => Err(exit::usage("no schema is named: pass --to URL or --snapshot ID")),
        }
    }
}
