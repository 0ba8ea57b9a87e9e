//! `dbhaul compare`

use clap::Args;

use crate::context::Context;
use crate::endpoint::{Endpoint, kind_of};
use crate::exit::{self, Exit};
use crate::jobs::compare;

/// Compares two databases, or two Redis servers, completely.
///
/// PostgreSQL: the schema object by object, and every row of every table by count and digest, each side in one
/// snapshot. Redis: every key of every database by type, value and expiry, both ways. Exit code 0 when they are
/// equal, 3 when they differ. Neither side is written to.
#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// One server: postgres://… or redis://…
    #[arg(value_name = "URL")]
    left: String,
    /// The other server, of the same kind
    #[arg(value_name = "URL")]
    right: String,
    /// Connections for each side
    #[arg(long, short, value_name = "N")]
    jobs: Option<usize>,
    /// How many differing keys to name
    #[arg(long, value_name = "N", default_value_t = 20)]
    show: usize,
}

pub(super) async fn run(args: CompareArgs, context: &Context) -> anyhow::Result<Exit> {
    if kind_of(&args.left)? != kind_of(&args.right)? {
        return Err(exit::usage("the two servers must be of one kind: both PostgreSQL, or both Redis"));
    }
    let left = Endpoint::from_url("left", &args.left, context)?;
    let right = Endpoint::from_url("right", &args.right, context)?;
    let report = compare::run(&left, &right, context.jobs(args.jobs), args.show, &context.progress).await?;
    context.print(&report, || report.render())?;
    Ok(if report.equal() { Exit::Done } else { Exit::Differs })
}
