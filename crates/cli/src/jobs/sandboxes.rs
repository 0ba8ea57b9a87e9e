//! Where a source is rehearsed: a private server of this host, a container, or a database of its own on a server that the
//! user names.

use chrono::{DateTime, Utc};
use repository::SourceRecord;

use crate::config::{Config, Kind, SandboxKind};
use crate::context::Context;
use crate::endpoint::{Connection, Endpoint};
use crate::exit;
use crate::jobs::containers::ServerContainer;
use crate::jobs::rehearse::private_settings;
use crate::jobs::settings::TargetSettings;
use crate::jobs::stage::{self, PrivateServer};
use crate::ui::Progress;

/// Prefix of the databases that rehearsals create.
const PREFIX: &str = "dbhaul_rehearsal_";

/// Target of a rehearsal, removed when stopped or dropped.
pub(crate) enum Sandbox {
    /// A private server.
    PrivateServer(Box<PrivateServer>),
    /// A server in a container.
    Container(Box<ServerContainer>),
    /// A database of its own on another server.
    Database(Box<ScratchDatabase>),
}

impl Sandbox {
    /// The sandbox that is configured for this source; a private server otherwise. The catalog is that of a PostgreSQL
    /// source, whose extensions it has to offer.
    ///
    /// # Errors
    /// [`stage::NoSuitableServer`] if it cannot hold the source: the rehearsal then says nothing about the snapshot.
    pub(crate) async fn start(
        kind: Kind,
        source: &SourceRecord,
        catalog: Option<&pgmove::Catalog>,
        context: &Context,
    ) -> anyhow::Result<Sandbox> {
        let extensions = stage::extensions_of(catalog);
        let Some(config) = configured(&context.config, &source.name) else {
            return Ok(Sandbox::PrivateServer(Box::new(stage::start_for(kind, source, &extensions).await?)));
        };
        if config.kind == SandboxKind::Docker {
            let container = ServerContainer::start(kind, source, catalog, config, &context.progress).await?;
            return Ok(Sandbox::Container(Box::new(container)));
        }
        let server = Endpoint::from_config(&config.server(), context)?;
        let Connection::Postgres(options) = &server.connection else {
            return Err(exit::usage("a sandbox by url is a PostgreSQL server"));
        };
        stage::require(options, source, &extensions, &server.shown()).await?;
        let options = options.clone();
        let database = ScratchDatabase::reserve(server, &options, Utc::now(), &context.progress).await?;
        Ok(Sandbox::Database(Box::new(database)))
    }

    /// The target of the restore.
    pub(crate) fn endpoint(&self, name: &str) -> anyhow::Result<Endpoint> {
        match self {
            Sandbox::PrivateServer(private) => private.endpoint(name),
            Sandbox::Container(container) => Ok(container.endpoint(name)),
            Sandbox::Database(database) => {
                Ok(Endpoint { name: name.to_owned(), ..database.endpoint.clone() })
            }
        }
    }

    /// How to fill the target.
    pub(crate) fn settings(&self, jobs: usize) -> TargetSettings {
        let mut settings = private_settings(jobs);
        if let Sandbox::Database(_) = self {
            // Roles and tablespaces belong to the whole server, which is not private.
            settings.create = true;
            settings.create_roles = false;
            settings.run_jobs = false;
            settings.postgres.no_owner = true;
            settings.postgres.no_acl = true;
            settings.postgres.no_tablespaces = true;
        }
        settings
    }

    /// Removes it.
    pub(crate) async fn stop(self) {
        match self {
            Sandbox::PrivateServer(private) => private.stop().await,
            // Dropping waits for Docker, and for the server.
            Sandbox::Container(container) => {
                let _ = tokio::task::spawn_blocking(move || drop(container)).await;
            }
            Sandbox::Database(database) => {
                let _ = tokio::task::spawn_blocking(move || drop(database)).await;
            }
        }
    }
}

fn configured<'a>(config: &'a Config, name: &str) -> Option<&'a crate::config::SandboxConfig> {
    let covers = |wanted: &str| {
        wanted == name || config.sources.iter().any(|source| source.name == wanted && source.covers(name))
    };
    config.rehearse.sandboxes.iter().find(|sandbox| covers(&sandbox.source))
}

/// A database with a unique name. It does not exist yet when this is created, and is dropped with this value, even
/// after a failure or a signal.
pub(crate) struct ScratchDatabase {
    endpoint: Endpoint,
    options: pgmove::ConnectOptions,
    /// An existing database of the server, to connect to.
    through: String,
    progress: Progress,
}

impl ScratchDatabase {
    async fn reserve(
        server: Endpoint,
        options: &pgmove::ConnectOptions,
        now: DateTime<Utc>,
        progress: &Progress,
    ) -> anyhow::Result<ScratchDatabase> {
        let left = pgmove::databases_named(options, PREFIX).await?;
        if !left.is_empty() {
            progress.warn(format!(
                "{} holds databases of other rehearsals, which are under way or were killed: {}; drop those that no rehearsal \
                 uses",
                server.shown(),
                left.join(", ")
            ));
        }
        let unique = uuid::Uuid::new_v4().simple().to_string();
        let name =
            format!("{PREFIX}{}_{}", now.format("%Y%m%d%H%M%S"), unique.get(..12).unwrap_or(unique.as_str()));
        let through = options.database().to_owned();
        let options = options.clone().with_database(&name);
        let connection = Connection::Postgres(Box::new(options.clone()));
        let endpoint = Endpoint { connection, every_database: false, ..server };
        Ok(ScratchDatabase { endpoint, options, through, progress: progress.clone() })
    }
}

impl Drop for ScratchDatabase {
    fn drop(&mut self) {
        let (options, through) = (self.options.clone(), self.through.clone());
        // A runtime of its own, because the current one may be shutting down after a signal.
        let dropped = std::thread::spawn(move || -> anyhow::Result<()> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let limit = std::time::Duration::from_secs(60);
                tokio::time::timeout(limit, pgmove::drop_scratch_database(&options, &through)).await??;
                Ok(())
            })
        });
        let dropped = dropped.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the thread ended")));
        if let Err(error) = dropped {
            self.progress.warn(format!(
                "the database `{}` of this rehearsal was not dropped: {error:#}; drop it by hand",
                self.options.database()
            ));
        }
    }
}
