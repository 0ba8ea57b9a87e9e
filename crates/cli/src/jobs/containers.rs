//! A container as the place of a rehearsal: of the image that the source ran, so that its extensions are there.

use std::time::{Duration, Instant};

use repository::SourceRecord;

use crate::config::{Kind, SandboxConfig};
use crate::endpoint::{Connection, Endpoint};
use crate::jobs::record::{PART_CLUSTER_RDB, flavor_of, image_of};
use crate::jobs::stage::{self, NoSuitableServer};
use crate::ui::Progress;

/// The database that is restored into, besides those of the image.
const DATABASE: &str = "dbhaul_rehearsal";

/// An image may initialize a cluster and run scripts before its server accepts connections.
const START_TIMEOUT: Duration = Duration::from_secs(300);

/// Settings of a server whose data need not survive a crash, as for the private servers of this host.
const WITHOUT_DURABILITY: [(&str, &str); 3] =
    [("fsync", "off"), ("full_page_writes", "off"), ("synchronous_commit", "off")];

/// A container with a server of our own. It is removed with this, also after a failure or a signal.
pub(crate) struct ServerContainer {
    container: sandbox::Container,
    endpoint: Endpoint,
    progress: Progress,
}

impl ServerContainer {
    /// Starts one that can hold this source, whose catalog is given if it is a PostgreSQL database.
    ///
    /// # Errors
    /// [`NoSuitableServer`] if this host has none: the rehearsal then says nothing about the snapshot.
    pub(crate) async fn start(
        kind: Kind,
        source: &SourceRecord,
        catalog: Option<&pgmove::Catalog>,
        config: &SandboxConfig,
        progress: &Progress,
    ) -> anyhow::Result<ServerContainer> {
        let Some(image) = config.image.as_deref().or_else(|| image_of(source)) else {
            return Err(lacking(format!(
                "the snapshot does not say which image `{}` ran: it was not reached through docker:// or k8s://\nhint: set \
                 `image` of its `[[rehearse.sandbox]]`",
                source.name
            )));
        };
        if source.parts.iter().any(|part| part.kind == PART_CLUSTER_RDB) {
            return Err(lacking(format!("a container holds no cluster, and `{}` is one", source.name)));
        }
        let extensions = stage::extensions_of(catalog);
        let options = options(kind, image, &extensions);
        progress.stage(&format!("starting a container of {image}"), None);
        let container = launch(options, progress).await?;
        let server = format!("docker://{}", container.name());
        let url = match kind {
            Kind::Postgres => {
                format!(
                    "{server}/postgres?user=postgres&password-env=POSTGRES_PASSWORD&route=exec&sslmode=disable"
                )
            }
            Kind::Redis => format!("{server}?kind=redis&route=exec"),
        };
        let endpoint = Endpoint::in_own_container(&source.name, kind, &url)?;
        let mut started = ServerContainer { container, endpoint, progress: progress.clone() };
        started.wait_until_ready(image).await?;
        match (&started.endpoint.connection, catalog) {
            (Connection::Postgres(options), Some(catalog)) => {
                stage::require(options, source, &extensions, &format!("image {image}")).await?;
                let options = options.as_ref().clone().with_database(DATABASE);
                create_database(&options, catalog, progress).await?;
                started.endpoint.connection = Connection::Postgres(Box::new(options));
            }
            (Connection::Redis(options), _) => require_redis(options, source, image).await?,
            _ => {}
        }
        Ok(started)
    }

    /// The target of the restore.
    pub(crate) fn endpoint(&self, name: &str) -> Endpoint {
        Endpoint { name: name.to_owned(), ..self.endpoint.clone() }
    }

    async fn wait_until_ready(&self, image: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let tried = match &self.endpoint.connection {
                Connection::Postgres(options) => {
                    pgmove::connect(options).await.map(drop).map_err(anyhow::Error::new)
                }
                Connection::Redis(options) => {
                    redisdump::key_count(options).await.map(drop).map_err(anyhow::Error::new)
                }
                Connection::Folder(_) => return Ok(()),
            };
            let Err(error) = tried else { return Ok(()) };
            if let Some(ended) = self.container.ended() {
                return Err(lacking(format!("no server runs in a container of {image}: {ended}")));
            }
            if began.elapsed() > START_TIMEOUT {
                let said = crate::failure::Failure::of(&error).line();
                let seconds = START_TIMEOUT.as_secs();
                return Err(lacking(format!(
                    "the server in a container of {image} did not answer within {seconds} s: {said}"
                )));
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

impl Drop for ServerContainer {
    fn drop(&mut self) {
        if let Err(error) = self.container.remove() {
            let name = self.container.name();
            self.progress.warn(format!("the container {name} of this rehearsal was not removed: {error}"));
        }
    }
}

fn lacking(what: String) -> anyhow::Error {
    anyhow::Error::new(NoSuitableServer::of(what))
}

/// What the official images, and those that are made from them, understand.
fn options(kind: Kind, image: &str, extensions: &[String]) -> sandbox::ContainerOptions {
    let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let (environment, arguments) = match kind {
        Kind::Postgres => {
            let password = uuid::Uuid::new_v4().simple().to_string();
            let environment = [
                ("POSTGRES_USER", "postgres"),
                ("POSTGRES_DB", "postgres"),
                ("POSTGRES_PASSWORD", &password),
            ];
            let settings = WITHOUT_DURABILITY.map(owned).into_iter().chain(stage::settings_for(extensions));
            let arguments = settings.flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
            (environment.map(owned).to_vec(), arguments.collect())
        }
        Kind::Redis => {
            let words = ["--bind", "127.0.0.1", "--save", "", "--repl-diskless-sync-delay", "0"];
            (Vec::new(), words.map(str::to_owned).to_vec())
        }
    };
    sandbox::ContainerOptions { image: image.to_owned(), environment, arguments }
}

/// Removes what killed rehearsals left, and starts a container.
async fn launch(
    options: sandbox::ContainerOptions,
    progress: &Progress,
) -> anyhow::Result<sandbox::Container> {
    let work = move || (sandbox::container::remove_stale(), sandbox::Container::start(&options));
    let (stale, started) = tokio::task::spawn_blocking(work).await?;
    if let Ok(stale) = stale {
        if !stale.removed.is_empty() {
            let names = stale.removed.join(", ");
            progress.note(format!("removed containers of rehearsals that were killed: {names}"));
        }
        if !stale.unknown.is_empty() {
            progress.warn(format!(
                "Docker runs containers of rehearsals of another host: {}; remove those that no rehearsal uses",
                stale.unknown.join(", ")
            ));
        }
    }
    started.map_err(|error| lacking(error.to_string()))
}

/// Makes an empty database, since that of the image may hold its extensions already. The image may lack the locale, of
/// which neither the rows nor their digests depend.
async fn create_database(
    options: &pgmove::ConnectOptions,
    catalog: &pgmove::Catalog,
    progress: &Progress,
) -> anyhow::Result<()> {
    let settings = pgmove::TargetOptions { no_owner: true, no_acl: true, ..pgmove::TargetOptions::default() };
    let mut info = catalog.database.clone();
    info.settings.clear();
    (info.comment, info.tablespace, info.is_template, info.connection_limit) = (None, None, false, -1);
    let Err(error) = pgmove::create_database(options, &info, &settings).await else { return Ok(()) };
    progress.note(format!("the database of the rehearsal is made with the locale C: {error}"));
    (info.collate, info.ctype) = ("C".to_owned(), "C".to_owned());
    (info.locale_provider, info.locale, info.icu_rules) = (Default::default(), None, None);
    Ok(pgmove::create_database(options, &info, &settings).await?)
}

/// The server is of the source's flavor, and not older.
async fn require_redis(
    options: &redisdump::ConnectOptions,
    source: &SourceRecord,
    image: &str,
) -> anyhow::Result<()> {
    let (server, _) = redisdump::key_count(options).await?;
    let wanted = source.server.pointer("/version").and_then(serde_json::Value::as_str).unwrap_or_default();
    let versions = (server.version.parse::<sandbox::Version>(), wanted.parse::<sandbox::Version>());
    let older = matches!(versions, (Ok(found), Ok(wanted)) if !found.same_or_newer_minor(&wanted));
    let other = flavor_of(source)?.is_some_and(|flavor| flavor != server.flavor);
    match older || other {
        true => Err(lacking(format!("image {image} has {server}, and the source was of version {wanted}"))),
        false => Ok(()),
    }
}
