//! The demonstration: backup, restore and comparison of a sample application, with private servers only.

use chrono::Utc;
use repository::{InitOptions, Repository, Store};

use crate::endpoint::{Connection, Endpoint};
use crate::jobs::backup::{self, Backup};
use crate::jobs::compare::{self, Compare};
use crate::jobs::postgres::source::ReadOptions;
use crate::jobs::rehearse::private_settings;
use crate::jobs::restore::{self, Restore};
use crate::jobs::series::Series;
use crate::jobs::stage::{self, PrivateServer};
use crate::jobs::temporary;
use crate::report::demo::DemoReport;
use crate::ui::Progress;

/// Number of differing keys to list.
const SHOWN: usize = 20;

/// Starts servers, fills them, backs them up, restores into others, and compares.
pub(crate) async fn run(scale: u32, jobs: usize, progress: &Progress) -> anyhow::Result<DemoReport> {
    progress.stage("starting private servers", None);
    let sources = [
        stage::start_postgres(None, &[]).await?,
        stage::start_redis(sandbox::Flavor::Redis, "", false).await?,
    ];
    let targets = [
        stage::start_postgres(None, &[]).await?,
        stage::start_redis(sandbox::Flavor::Redis, "", false).await?,
    ];

    progress.stage("loading the sample application", None);
    let from = endpoints(&sources, ["postgres", "redis"])?;
    let left_out = fill(&from, scale).await?;

    let folder = temporary::folder("dbhaul-demo-")?;
    let repository =
        Repository::init(Store::folder(&folder.path().join("repository"))?, &InitOptions::default()).await?;
    let backup = backup::run(Backup {
        repository: &repository,
        job: "demo",
        sources: &from,
        declared: &[],
        new_lineage: false,
        tags: &Default::default(),
        jobs,
        reading: ReadOptions::usual(),
        retention: None,
        progress,
    })
    .await?;

    let to = endpoints(&targets, ["postgres", "redis"])?;
    let restore = restore::run(Restore {
        repository: &repository,
        snapshot: &backup.snapshot,
        series: &Series::default(),
        source: None,
        targets: &to,
        settings: private_settings(jobs),
        progress,
    })
    .await?;

    let mut comparisons = Vec::new();
    for (left, right) in from.iter().zip(&to) {
        comparisons.push(compare::run(Compare::servers(left, right, jobs, SHOWN, progress)).await?);
    }
    let servers = sources.iter().map(ToString::to_string).collect();
    for server in sources.into_iter().chain(targets) {
        server.stop().await;
    }
    Ok(DemoReport { servers, left_out, backup, restore, comparisons })
}

fn endpoints(servers: &[PrivateServer], names: [&str; 2]) -> anyhow::Result<Vec<Endpoint>> {
    servers.iter().zip(names).map(|(server, name)| server.endpoint(name)).collect()
}

/// Fills both sources; returns what the servers could not hold.
async fn fill(endpoints: &[Endpoint], scale: u32) -> anyhow::Result<Vec<String>> {
    let mut left_out = Vec::new();
    for endpoint in endpoints {
        match &endpoint.connection {
            Connection::Postgres(options) => {
                let session = pgmove::connect(options).await?;
                let loaded = coinpilot::load_postgres(session.client(), scale).await?;
                left_out.extend(loaded.left_out);
            }
            Connection::Redis(options) => {
                coinpilot::load_redis(&options.display().to_string(), scale, Utc::now().timestamp_millis())
                    .await?;
            }
            Connection::Folder(_) => {}
        }
    }
    Ok(left_out)
}
